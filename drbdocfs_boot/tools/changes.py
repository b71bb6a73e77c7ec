"""A set of changes to the system's files, with backups: begun, finished or taken back whole, whatever interrupts it.

A set has a directory of its own.  Backups and the new texts are in it, and on disk, before the manifest is; the
manifest is on disk before the first change.  How far a set has come is never noted: each step is looked at.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from drbdocfs_boot.tools import files, system

PLACE = "/var/lib/drbdocfs/import"
MANIFEST = "manifest.json"
VERSION = 1
# States of a set: begun, its changes may be made in part; written; undoing, they may be taken back in part; undone.
BEGUN, WRITTEN, UNDOING, UNDONE = "begun", "written", "undoing", "undone"
# States of a step.
BEFORE, AFTER, OTHER = "before", "after", "other"


class Conflict(Exception):
    """Files that were changed by somebody else since; ``places`` names them."""

    def __init__(self, places: list[str]) -> None:
        super().__init__(", ".join(places))
        self.places = places


class Busy(Exception):
    """Another process works on the sets."""


class Unreadable(Exception):
    """A manifest that is none, or of a later version; the text says which and why."""


@dataclass
class Step:
    """``kind``: "create" or "replace" the file ``path``; "rename" the link ``path`` to ``new``, or "unlink" it.

    ``before``, ``after``: sha256 of the file's bytes, "" where there is none.  ``text_before``, ``text_after``: names
    of the copies in the set's directory.  ``target``: what the link holds.
    """

    kind: str
    path: str
    new: str = ""
    target: str = ""
    before: str = ""
    after: str = ""
    text_before: str = ""
    text_after: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0

    def state(self) -> str:
        """BEFORE, AFTER, or OTHER where somebody else has been at it."""
        path = system.path(self.path)
        if self.kind in ("create", "replace"):
            now = digest(path)
            return {self.before: BEFORE, self.after: AFTER}.get(now, OTHER)
        here = _link(path) == self.target
        if self.kind == "unlink":
            return BEFORE if here else OTHER if os.path.lexists(path) else AFTER
        there = _link(system.path(self.new)) == self.target
        if here and not os.path.lexists(system.path(self.new)):
            return BEFORE
        return AFTER if there and not os.path.lexists(path) else OTHER


@dataclass
class Set:
    """One import: its name (date and time), state, steps, and the directories that it made."""

    name: str
    state: str
    steps: list[Step]
    made: list[str]

    @property
    def place(self) -> str:
        return f"{PLACE}/{self.name}"

    def save(self) -> None:
        content = {"version": VERSION, "state": self.state, "made": self.made, "steps": [asdict(s) for s in self.steps]}
        files.write(f"{self.place}/{MANIFEST}", json.dumps(content, indent=1) + "\n", 0o644)


def digest(path: str) -> str:
    """sha256 of a file (a real path), "" where there is none; "?" for what is no regular file."""
    if not os.path.lexists(path):
        return ""
    if os.path.islink(path) or not os.path.isfile(path):
        return "?"
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Nobody else works on the sets meanwhile.  Raises Busy."""
    directory = system.path(PLACE)
    files.make_directory(directory)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        yield
    finally:
        os.close(fd)


def all_sets() -> list[Set]:
    """All sets, the oldest first.  Raises Unreadable.  A directory without a manifest has changed nothing."""
    found = []
    for name in system.names(PLACE):
        text = system.read(f"{PLACE}/{name}/{MANIFEST}")
        if text is None:
            continue
        try:
            content = json.loads(text)
            if content["version"] != VERSION:
                what = f"has version {content['version']}, and this program knows {VERSION}"
                raise Unreadable(f"{PLACE}/{name}/{MANIFEST} {what}")
            steps = [Step(**step) for step in content["steps"]]
            found.append(Set(name, content["state"], steps, content["made"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{PLACE}/{name}/{MANIFEST} cannot be read: {error}") from None
    return found


def begin(name: str, steps: list[tuple[Step, str, str]]) -> Set:
    """Put backups and manifest on disk: (step, old text, new text) in the order in which they are to be done.

    Raises OSError; nothing of the system is changed then.  What an interruption left of earlier sets goes.
    """
    for old in system.names(PLACE):
        if not system.exists(f"{PLACE}/{old}/{MANIFEST}") and old[:1].isdigit():
            shutil.rmtree(system.path(f"{PLACE}/{old}"))
    last = max((old for old in system.names(PLACE) if system.exists(f"{PLACE}/{old}/{MANIFEST}")), default="")
    if name <= last:
        name = _after(last)  # a second one in a second, or the clock was set back
    made: list[str] = []
    for position, (step, old_text, new_text) in enumerate(steps, 1):
        if step.kind not in ("create", "replace"):
            continue
        copies = [("text_after", new_text)]
        if step.kind == "replace":
            copies.append(("text_before", old_text))
            there = os.stat(system.path(step.path))
            step.mode, step.uid, step.gid = there.st_mode & 0o7777, there.st_uid, there.st_gid
            step.before = _sha(old_text)
        else:
            directory = step.path.rpartition("/")[0]
            while directory and not os.path.isdir(system.path(directory)):
                made.append(directory)
                directory = directory.rpartition("/")[0]
        step.after = _sha(new_text)
        for field, text in copies:
            copy = f"{position:02d}-{os.path.basename(step.path)}.{field.rpartition('_')[2]}"
            files.write(f"{PLACE}/{name}/{copy}", text, 0o600)
            setattr(step, field, copy)
    new = Set(name, BEGUN, [step for step, _, _ in steps], made)
    new.save()
    return new


def _after(last: str) -> str:
    """A name that sorts after another: the last import is the one whose name is the last."""
    head, _, tail = last.rpartition("-")
    if head.count("-") and tail in tuple("2345678"):
        return f"{head}-{int(tail) + 1}"
    return f"{last}-2"


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def finish(changes: Set, told: Callable[[Step], None]) -> None:
    """Do what is not done yet, in order.  Raises Conflict before anything is done, or OSError in the middle."""
    _must_be_ours(changes.steps)
    for step in changes.steps:
        if step.state() == BEFORE:
            _do(changes, step)
            told(step)
        _sweep(step)
    changes.state = WRITTEN
    changes.save()


def undo(changes: Set, force: bool, told: Callable[[Step], None]) -> list[str]:
    """Take back what is done, in reverse order.  Raises Conflict before anything is done (unless ``force``), OSError.

    With ``force`` what was changed since is kept beside the backups, as N-NAME.forced.  Returns the files that are not
    as they were found, and were left so: of a set that was begun and has done nothing none was its own.
    """
    states = [step.state() for step in changes.steps]
    if changes.state == BEGUN and AFTER not in states:
        for step in changes.steps:
            _sweep(step)
        _undone(changes)
        return [step.path for step, state in zip(changes.steps, states) if state == OTHER]
    if not force:
        _must_be_ours(changes.steps)
    if changes.state != UNDOING:
        changes.state = UNDOING
        changes.save()
    for step in reversed(changes.steps):
        state = step.state()
        if state == AFTER or (state == OTHER and force):
            if state == OTHER:
                _keep(changes, step)
            _undo(changes, step)
            told(step)
        _sweep(step)
    _undone(changes)
    return []


def _undone(changes: Set) -> None:
    """The end of an undo: directories that the import made go, unless something else is in them."""
    for directory in changes.made:
        try:
            os.rmdir(system.path(directory))
            files.sync_directory(os.path.dirname(system.path(directory)))
        except OSError:
            pass  # somebody else has put something there, or it is gone already
    changes.state = UNDONE
    changes.save()


def _must_be_ours(steps: list[Step]) -> None:
    foreign = [step.path for step in steps if step.state() == OTHER]
    if foreign:
        raise Conflict(foreign)


def _do(changes: Set, step: Step) -> None:
    path = system.path(step.path)
    if step.kind in ("create", "replace"):
        files.write(step.path, _text(changes, step.text_after), step.mode)
    elif step.kind == "rename":
        os.rename(path, system.path(step.new))
        files.sync_directory(os.path.dirname(path))
    else:
        os.unlink(path)
        files.sync_directory(os.path.dirname(path))


def _undo(changes: Set, step: Step) -> None:
    path = system.path(step.path)
    if step.kind == "replace":
        if os.path.islink(path):
            os.unlink(path)  # put there since; what it leads to is not ours
        gone = not os.path.lexists(path)
        files.write(step.path, _text(changes, step.text_before), step.mode)
        if gone and os.geteuid() == 0:
            os.chown(path, step.uid, step.gid)
    elif step.kind == "create":
        if os.path.lexists(path):
            os.unlink(path)
            files.sync_directory(os.path.dirname(path))
    else:
        if os.path.lexists(path):
            os.unlink(path)
        if step.kind == "rename" and _link(system.path(step.new)) == step.target:
            os.rename(system.path(step.new), path)
        else:
            files.make_directory(os.path.dirname(path))
            os.symlink(step.target, path)
        files.sync_directory(os.path.dirname(path))


def _keep(changes: Set, step: Step) -> None:
    """A copy of what an undo by force is about to overwrite; of a link the link."""
    path = system.path(step.path)
    name = f"{changes.place}/{changes.steps.index(step) + 1:02d}-{os.path.basename(path)}.forced"
    if os.path.islink(path):
        if not os.path.lexists(system.path(name)):
            os.symlink(os.readlink(path), system.path(name))
    elif os.path.isfile(path):
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            text = file.read()
        files.write(name, text, 0o600)


def _text(changes: Set, name: str) -> str:
    path = system.path(f"{changes.place}/{name}")
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def _sweep(step: Step) -> None:
    """Take away the half-written file that a power cut may have left beside this one."""
    if step.kind in ("create", "replace"):
        for left in glob.glob(glob.escape(system.path(step.path)) + ".*.drbdocfs-new"):
            os.unlink(left)
