# ruff: noqa: N999 (the verb's name is a word of Python; cli.py imports it by name)
"""From a set-up made by hand (init scripts, rc.local, fstab) to our configuration; changes nothing without --write."""

from __future__ import annotations

import argparse
import errno
import glob
import os
import re
import shlex
import stat
import sys
import time
from collections.abc import Callable

from drbdocfs_boot import config, importing, lean, terminal
from drbdocfs_boot.checks import facts, unitfiles
from drbdocfs_boot.exits import (
    EX_CANTCREAT,
    EX_CONFIG,
    EX_DATAERR,
    EX_INTERRUPTED,
    EX_NO,
    EX_NOPERM,
    EX_OK,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
    refuse,
)
from drbdocfs_boot.importing import Edit, Note, Proposal, Question, Sources
from drbdocfs_boot.tools import ask, changes, system
from drbdocfs_boot.tools.changes import Set, Step
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import run as run_tool

LARGEST = 1 << 20  # bytes; no boot script is larger
OWN = ("/etc/", "/var/spool/cron/")  # where a file is the administrator's, so that he is told what is not read
_RUNLEVEL = re.compile(r"/rc([S0-6])\.d/")
LINKS_MOST = 40  # as the kernel follows them
TARGET = "drbdocfs.target"
OPTIONS = ("name", "cluster", "mountpoint", "backing_file", "drbd", *importing.POLICY)


def arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="do it, with backups; finishes one that was interrupted")
    what.add_argument(
        "--undo",
        nargs="?",
        const="",
        metavar="DATE",
        help="take an import back: the last one, or the one of that date as --list shows it",
    )
    what.add_argument("--list", action="store_true", help="show the imports that were made")
    parser.add_argument("--force", action="store_true", help="with --undo: also where a file was changed since")
    parser.add_argument("--resource", metavar="RESOURCE", help="import this DRBD resource only")
    parser.add_argument("--name", metavar="STACK", help="name of the new stack")
    parser.add_argument("--cluster", metavar="CLUSTER", help="O2CB cluster, where cluster.conf has several")
    parser.add_argument("--mountpoint", metavar="DIR", help="mount point, where there are several")
    parser.add_argument("--backing-file", metavar="FILE", help="file behind the loop device, where it is not certain")
    parser.add_argument(
        "--drbd",
        choices=("disable", "keep"),
        help="DRBD's own start at boot, where it also brings up resources of others",
    )
    parser.add_argument(
        "--survivor",
        metavar="none|HOST|power|witness",
        help="who goes on when the link is lost; DRBD's resource gets fencing for it",
    )
    parser.add_argument("--fence-agent", metavar="PROGRAM", help="for power: what switches the other host off")
    parser.add_argument("--witness", metavar="WHERE", help="for witness: [USER@]HOST[:PORT], or a shared directory")


def run(args: argparse.Namespace) -> int:
    """0 shown, written, undone, or nothing to do; 1 nothing to import; 2 something has to be decided; 65 files were
    changed since; 73 cannot write; 75 another import runs; 77 not root; 78 a mistake in the old set-up or ours; 130
    Ctrl-C."""
    if args.force and args.undo is None:
        return refuse(EX_USAGE, "--force goes with --undo", "see drbdocfs-import(8)")
    if (args.write or args.undo is not None) and os.geteuid() != 0:
        return refuse(EX_NOPERM, "only root may do this", "sudo drbdocfs import ..., or without --write to see it")
    before = _states()
    try:
        if args.list:
            return _list()
        if args.undo is not None:
            with changes.alone():
                return _undo(args.undo, args.force)
        if args.write:
            with changes.alone():
                return _import(args)
        return _import(args)
    except changes.Busy:
        return refuse(EX_TEMPFAIL, "another import runs on this host", "wait for its end")
    except changes.Unreadable as error:
        return refuse(EX_CONFIG, str(error), f"look at it; without it nothing can be undone from {changes.PLACE}")
    except changes.Conflict as conflict:
        for place in conflict.places:
            print(f"drbdocfs: {place}: was changed since", file=sys.stderr)
        what = f"{len(conflict.places)} of the files are not as the import left or found them; nothing was done"
        advice = f"the backups are in {changes.PLACE}; '--undo --force' overwrites what was changed, and keeps a copy"
        return refuse(EX_DATAERR, what, advice)
    except OSError as error:
        if error.errno == errno.EACCES:
            return refuse(EX_NOPERM, f"{error.filename}: {error.strerror}", "as root")
        place = f" ({error.filename})" if error.filename else ""
        return refuse(
            EX_CANTCREAT,
            f"cannot write: {error.strerror}{place}; what was said above is done, and nothing is half-written",
            "make room or mend it, and run the same again: it goes on from here",
        )
    except KeyboardInterrupt:
        return _interrupted(before)


def _states() -> dict[str, str]:
    """The sets with their states; none where they cannot be read, which others complain about."""
    try:
        return {one.name: one.state for one in changes.all_sets()}
    except changes.Unreadable:
        return {}


def _interrupted(before: dict[str, str]) -> int:
    """After Ctrl-C: what is so, and what is next."""
    print(file=sys.stderr)
    now = _states()
    open_set = next((name for name in sorted(now)[::-1] if now[name] in (changes.BEGUN, changes.UNDOING)), "")
    if open_set and now[open_set] == changes.BEGUN:
        done = f"interrupted: the import of {open_set} is begun"
        advice = f"'drbdocfs import --write' finishes it, 'drbdocfs import --undo {open_set}' takes it back"
    elif open_set:
        done = f"interrupted: the undo of the import of {open_set} is begun"
        advice = f"'drbdocfs import --undo {open_set}' finishes it"
    elif now != before:
        done, advice = "interrupted: all files are done, but systemd may not know", "'systemctl daemon-reload'"
    else:
        done, advice = "interrupted: nothing was changed", ""
    return refuse(EX_INTERRUPTED, done, advice)


def _regardless(show: Callable[[], int | None]) -> int | None:
    """Print, and go on when the reader (head, less) has gone: what was asked for, or begun, is done all the same."""
    try:
        status = show()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = show()
    return status


def _say(text: str = "") -> None:
    _regardless(lambda: print(text))


def _not_enabled() -> str:
    """Why the next boot would not start our stacks; "" where it would, or in a tree without our units."""
    host = facts.collect()
    masked = unitfiles.masked(host, TARGET)
    if masked:
        return f"{TARGET} is masked ({masked})"
    if not unitfiles.provided(host, TARGET):
        return f"{TARGET} is not installed" if host.live else ""
    return "" if TARGET in unitfiles.enabled(host) else f"{TARGET} is not enabled"


def _refuse_not_enabled(why: str) -> int:
    first = {"masked": f"systemctl unmask {TARGET}; systemctl enable {TARGET}", "installed": "install drbdocfs-boot"}
    how = next((text for word, text in first.items() if f"is {word}" in why or f"not {word}" in why), "")
    how = how or f"systemctl enable {TARGET}"
    return refuse(
        EX_CONFIG, f"{why}: the next boot would have neither set-up", f"{how}, then the same again; nothing was changed"
    )


# Show and write


def _again(args: argparse.Namespace) -> str:
    """The command that does what was shown: with what was given for it."""
    words = ["drbdocfs", *(["--root", args.root] if args.root else []), "import", "--write"]
    for option in ("resource", *OPTIONS):
        value = getattr(args, option)
        if value:
            words += ["--" + option.replace("_", "-"), value]
    return _printable(" ".join(shlex.quote(word) for word in words))


def _import(args: argparse.Namespace) -> int:
    begun = next((one for one in changes.all_sets()[::-1] if one.state in (changes.BEGUN, changes.UNDOING)), None)
    if begun is not None and (begun.state == changes.UNDOING or not args.write):
        was = "an import" if begun.state == changes.BEGUN else "the undo of an import"
        how = "'drbdocfs import --write' finishes it, " if begun.state == changes.BEGUN else ""
        return refuse(
            EX_NO,
            f"{was} was interrupted ({begun.place})",
            f"{how}'drbdocfs import --undo {begun.name}' takes it back",
        )
    if begun is not None:
        why = _not_enabled()
        if why:
            return _refuse_not_enabled(why)
        _say(f"finishing the import of {begun.name}")
        changes.finish(begun, _told)
        return _after(begun)
    sources, notes = _sources()
    if sources.reading.problems:
        for problem in sources.reading.problems:
            print(f"drbdocfs: {problem}", file=sys.stderr)
        return refuse(EX_CONFIG, "our own configuration has mistakes", "mend them first")
    proposal = _decided(sources, args)
    if isinstance(proposal, int):
        return proposal
    proposal.kept[:0] = notes.values()
    wrong = importing.verify(proposal) or _clash(sources, proposal)
    not_enabled = _not_enabled()
    if not_enabled and not args.write:
        text = "the next boot would have neither set-up, so '--write' refuses until it is enabled"
        proposal.advice.insert(0, Note(TARGET, f"{not_enabled.partition(' ')[2]}: {text}"))
    status = _regardless(lambda: _show(sources, proposal)) if args.write else _show(sources, proposal)
    if wrong:
        return refuse(EX_CONFIG, wrong, "mend it there, then import again")
    if proposal.blockers:
        one = proposal.blockers[0]
        return refuse(EX_CONFIG, f"{one.place}: {one.text}", "mend it there, then import again; nothing was changed")
    if status is not None:
        return status
    if not args.write:
        print(f"\nNothing was changed.  This does it, with backups below {changes.PLACE}:\n  {_again(args)}")
        return EX_OK
    if not_enabled:
        return _refuse_not_enabled(not_enabled)
    _say()
    new = changes.begin(time.strftime("%Y%m%d-%H%M%S"), order(sources, proposal))
    _say(f"backups and manifest are in {new.place}")
    changes.finish(new, _told)
    return _after(new)


def order(sources: Sources, proposal: Proposal) -> list[tuple[Step, str, str]]:
    """The steps of a proposal, in the order in which a power cut may come between any two.

    The new configuration first.  It is complete from that moment on, and the generator acts on it at the next boot,
    whatever of the old set-up still runs: its loop device, its attach and its mount are taken as they are found by our
    layers, which do nothing twice.  That boot is at worst what each boot was before.  The other way round a cut would
    leave neither: the file system not mounted, and services that write below the mount point.

    Of the old lines first those that mount, then those that make DRBD Primary, then those that bind the loop device:
    only a mount writes.  What is left at a cut comes ever earlier in the old boot, so that nothing of it gets past our
    wait for the peer: a mount that was left without DRBD's old start before it could promote a stale disk by itself
    where DRBD 9 has auto-promote.

    fstab's line serves the old and the new set-up alike and is not touched.  An undo goes the same way backwards, and
    takes the configuration away as the last.
    """
    steps: list[tuple[Step, str, str]] = []
    if proposal.text:
        steps.append((Step("create", resolve(proposal.file)), "", proposal.text))
    edited: dict[str, dict[int, str]] = {}
    for edit in proposal.edits:
        if edit.line:
            first = edit.file not in edited
            edited.setdefault(edit.file, {})[edit.line] = edit.new
            if first:
                # All lines of a file in one step, in the place of the one that has to go first.
                steps.append((Step("replace", edit.file), sources.read(edit.file) or "", ""))
        elif edit.new:
            steps.append((Step("rename", edit.file, edit.new, edit.old), "", ""))
        else:
            steps.append((Step("unlink", edit.file, "", edit.old), "", ""))
    for position, (step, old, _) in enumerate(steps):
        if step.kind == "replace":
            steps[position] = (step, old, _edited(old, edited[step.path]))
    return steps


def _edited(text: str, lines: dict[int, str]) -> str:
    """The text with some lines changed; their ends stay as they are."""
    rows = text.split("\n")
    for number, new in lines.items():
        rows[number - 1] = new + ("\r" if rows[number - 1].endswith("\r") else "")
    return "\n".join(rows)


def _after(new: Set) -> int:
    """Tell systemd, and say what is next."""
    if not _reload():
        return EX_UNAVAILABLE
    _say("Nothing was started, stopped or unmounted.  Next, on this host and on its peer:")
    undo = f"drbdocfs import --undo {new.name}"
    for command, text in (
        ("drbdocfs check", "what is left that is wrong or risky"),
        ("systemctl start drbdocfs.target", "takes over what is up, and brings up what is not"),
        ("reboot", "at last, to see it come up by itself"),
        (undo, "takes all of this back"),
    ):
        _say(f"  {command:<{len(undo)}}   {text}")
    return EX_OK


def _reload() -> bool:
    if system.path("") or not os.path.isdir("/run/systemd/system"):
        return True
    try:
        result = run_tool(["systemctl", "daemon-reload"], 90)
        reason = result.said if result.code else ""
    except Failure as failure:
        reason = failure.message
    if reason:
        refuse(EX_UNAVAILABLE, f"systemd was not told: {reason}", "'systemctl daemon-reload'; all else is done")
    return not reason


def _told(step: Step) -> None:
    """A line for each step that was done, or taken back."""
    now = step.state()
    done = {
        "create": ("written", "removed"),
        "replace": ("fencing added" if step.path.startswith("/etc/drbd") else "old lines disabled", "as it was"),
        "rename": (f"is now {os.path.basename(step.new)}", "back"),
        "unlink": ("removed", "back"),
    }[step.kind][0 if now == changes.AFTER else 1]
    _say(f"  {_printable(step.path)}: {done}")


def _undo(name: str, force: bool) -> int:
    sets = changes.all_sets()
    if not sets:
        return refuse(EX_USAGE, "there is no import to undo", f"{changes.PLACE} is empty")
    if name:
        chosen = next((one for one in sets if one.name == name), None)
        if chosen is None:
            names = ", ".join(one.name for one in sets)
            return refuse(EX_USAGE, f"there is no import of {name}; there are: {names}", "'drbdocfs import --list'")
    else:
        chosen = next((one for one in sets[::-1] if one.state != changes.UNDONE), sets[-1])
    if chosen.state == changes.UNDONE:
        _say(f"the import of {chosen.name} is undone already")
        return EX_OK
    _say(f"undoing the import of {chosen.name}")
    for place in changes.undo(chosen, force, _told):
        _say(f"  {_printable(place)}: left as it is: the import had not come to it")
    if not _reload():
        return EX_UNAVAILABLE
    _say("Nothing was started, stopped or unmounted.  The old set-up acts at the next boot.")
    return EX_OK


def _list() -> int:
    words = {
        changes.BEGUN: "interrupted; '--write' finishes it, '--undo' takes it back",
        changes.WRITTEN: "written",
        changes.UNDOING: "its undo was interrupted; '--undo' finishes that",
        changes.UNDONE: "undone",
    }
    sets = changes.all_sets()
    for one in sets:
        print(f"{one.name}  {words.get(one.state, one.state)}, {len(one.steps)} changes, {one.place}")
    if not sets:
        print("no imports")
    return EX_OK


# Questions


def _decided(sources: Sources, args: argparse.Namespace) -> Proposal | int:
    """The proposal without open questions; or the exit status, after what is to be decided was said."""
    given = {("", "--" + o.replace("_", "-")): getattr(args, o) for o in OPTIONS if getattr(args, o)}
    choices: dict[tuple[str, str], str] = dict(given)
    if args.resource and not _known_resource(sources, args.resource):
        return refuse(EX_USAGE, f"DRBD's configuration has no resource '{args.resource}'", "see /etc/drbd.d")
    while True:
        proposal = importing.propose(sources, choices, args.resource or "")
        for _, option in given:
            if option != "--drbd" and len(proposal.stacks) > 1:
                names = ", ".join(found.keys["resource"] for found in proposal.stacks)
                return refuse(EX_USAGE, f"{option} is for one stack, and there are {names}", "name one with --resource")
        other = next((one for one in proposal.existing if args.survivor not in (None, one.survivor)), None)
        if not proposal.questions and other is not None:
            what = f"stack {other.name} is configured with survivor = {other.survivor}, and stays as it is"
            how = f"write survivor = {args.survivor} into {other.file} on both hosts first; nothing was changed"
            return refuse(EX_USAGE, what, how)
        if not proposal.questions:
            return proposal
        question = proposal.questions[0]
        answer = _answer(question) if ask.possible() and question.choices else ""
        if not answer:
            values = "|".join(question.choices) or "VALUE"
            of = f"--resource {question.resource} " if question.resource else ""
            return refuse(EX_USAGE, question.text, f"decide with {of}{question.option} {values}; nothing was changed")
        choices[question.resource, question.option] = answer


def _known_resource(sources: Sources, name: str) -> bool:
    from drbdocfs_boot import drbdconf

    return drbdconf.load(sources.read, sources.glob, importing.DRBD_CONF).resource(name) is not None


def _answer(question: Question) -> str:
    """One of the choices by its number; "" for none."""
    for text in terminal.wrap(_printable(question.text), terminal.width(sys.stdout)):
        print(text)
    last = len(question.choices)
    for number, choice in enumerate(question.choices, 1):
        print(f"  {number}  {_printable(choice)}")
    while True:
        numbers = f"1 to {last}" if last > 1 else "1"
        sys.stdout.write(f"Which one is right ({question.option})? {numbers}, or nothing to end: ")
        sys.stdout.flush()
        line = sys.stdin.readline().strip()
        if not line:
            return ""
        if line.isascii() and line.isdigit() and 1 <= int(line) <= last:
            return question.choices[int(line) - 1]


def _clash(sources: Sources, proposal: Proposal) -> str:
    """Why the new stacks cannot stand beside those that are configured."""
    for found in proposal.stacks:
        for stack in sources.reading.stacks:
            for key in ("device", "backing_file", "loop_device", "mountpoint"):
                value = found.keys.get(key)
                if value and value == getattr(stack, key):
                    return f"{stack.file}:{stack.line}: stack {stack.name} has {key} = {value} already"
    if proposal.file and proposal.file != lean.MAIN_FILE and system.exists(proposal.file):
        return f"{proposal.file}: is there already"
    return ""


# The page


def _show(sources: Sources, proposal: Proposal) -> int | None:
    """Print it; the exit status when there is nothing to do, else None."""
    out = sys.stdout
    _notes("Not imported:", proposal.skipped + proposal.refused)
    if not proposal.stacks and not proposal.existing:
        if proposal.refused:
            one = proposal.refused[0]
            return refuse(EX_CONFIG, f"{one.place}: {one.text}", "mend it there, then import again")
        print("Nothing to import: nothing mounts OCFS2 on a DRBD resource of this host with allow-two-primaries.")
        return EX_NO
    for stack in proposal.existing:
        print(f"Resource {stack.resource} is stack {stack.name} ({stack.file}:{stack.line}), which stays as it is.")
    if proposal.text:
        print(terminal.style(f"{proposal.file} would be written:", "bold", out))
        for line in proposal.text.splitlines():
            print("  " + (terminal.style("+ " + _printable(line), "green", out) if line else "+"))
    old = [edit for edit in proposal.edits if edit.rank != importing.FENCES]
    fencing = [edit for edit in proposal.edits if edit.rank == importing.FENCES]
    if old:
        print(terminal.style("\nThese old lines would be disabled, in this order:", "bold", out))
        _edits(old)
    if fencing:
        print(terminal.style("\nThis would be added to DRBD's configuration:", "bold", out))
        _edits(fencing)
    if proposal.fencing:
        title = "\nA pulled cable can cost data.  This would be added with --survivor, see drbdocfs-import(8):"
        print(terminal.style(title, "bold", out))
        _edits(proposal.fencing)
    _notes("\nLeft alone:", proposal.kept)
    _notes("\nWorth changing by hand, not done here:", proposal.advice)
    _notes("\nIn the way:", proposal.blockers)
    if not proposal.text and not proposal.edits and not proposal.blockers:
        print("Nothing to do.")
        return EX_OK
    return None


def _edits(edits: list[Edit]) -> None:
    out = sys.stdout
    columns = terminal.width(out)
    why = ""
    for edit in _together(edits):
        if edit.why != why:
            why = edit.why
            for line in terminal.wrap(why + ":", columns, "  ", "  "):
                print(line)
        if edit.rank == importing.FENCES:
            print(f"    {_printable(edit.place)}: {_printable(edit.old)}")
            for line in edit.new.split("\n")[1:]:
                print("    " + terminal.style(f"+ {edit.file}: {_printable(line)}", "green", out))
            continue
        if edit.line:
            old, new = f"{edit.place}: {edit.old}", f"{edit.place}: {edit.new}"
        else:
            old, new = f"{edit.place} -> {edit.old}", edit.new and f"{edit.new} -> {edit.old}"
        print("    " + terminal.style("- " + _printable(old), "red", out))
        if new:
            print("    " + terminal.style("+ " + _printable(new), "green", out))


def _together(edits: list[Edit]) -> list[Edit]:
    """Links of the same name in several runlevels become one: /etc/rc[2345].d/S20drbd."""
    groups: dict[tuple[str, ...], list[Edit]] = {}
    for edit in edits:
        level = _RUNLEVEL.search(edit.file) if not edit.line else None
        same: tuple[str, ...] = (edit.file, str(edit.line))
        if level is not None:
            same = tuple(_RUNLEVEL.sub("/rc?.d/", text) for text in (edit.file, edit.old, edit.new))
        groups.setdefault(same, []).append(edit)
    found = []
    for group in groups.values():
        one = group[0]
        if len(group) > 1:
            levels = "".join(match[1] for edit in group if (match := _RUNLEVEL.search(edit.file)))
            file, new = (_RUNLEVEL.sub(f"/rc[{levels}].d/", text) for text in (one.file, one.new))
            one = Edit(file, 0, one.old, new, one.why, one.rank)
        found.append(one)
    return found


def _notes(title: str, notes: list[Note]) -> None:
    if not notes:
        return
    out = sys.stdout
    print(terminal.style(title, "bold", out))
    for note in dict.fromkeys(notes):
        text = f"{_printable(note.place)}: {_printable(note.text)}"
        for line in terminal.wrap(text, terminal.width(out), "  ", "    "):
            print(line)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text)


# The host's files


def _sources() -> tuple[Sources, dict[str, Note]]:
    """The files of the root that is in force; the notes fill with those that cannot be read, as they are read."""
    notes: dict[str, Note] = {}
    texts: dict[tuple[str, bool], str | None] = {}

    def look(name: str, unmarked: bool) -> str | None:
        if "\0" in name:
            return None  # only a shell could know it
        real = resolve(name)
        if (real, unmarked) not in texts:
            try:
                texts[real, unmarked] = _text(real, unmarked)
            except _Unread as why:
                texts[real, unmarked] = None
                notes[real] = Note(real, f"is not read: {why}")
        return texts[real, unmarked]

    def read(name: str) -> str | None:
        return look(name, False)

    def sourced(name: str) -> str | None:
        return look(name, True)

    def names(directory: str) -> list[str]:
        return system.names(resolve(directory))

    def link(name: str) -> str | None:
        try:
            return os.readlink(system.path(_in_directory(name)))
        except (OSError, ValueError):
            return None

    def find(pattern: str) -> list[str]:
        root = system.path("")
        directory, _, last = pattern.rpartition("/")
        place = resolve(directory) if not glob.has_magic(directory) else directory
        return sorted(name[len(root) :] for name in glob.glob(glob.escape(root) + f"{place}/{last}"))

    bound = {}
    parts = set()
    for name in system.names("/sys/block"):
        file = system.read(f"/sys/block/{name}/loop/backing_file") if name.startswith("loop") else None
        if file and not file.endswith(" (deleted)"):
            bound["/dev/" + name] = file
            limits = [system.read(f"/sys/block/{name}/loop/{what}") for what in ("offset", "sizelimit")]
            if any(limit not in (None, "", "0") for limit in limits):
                parts.add("/dev/" + name)
    sources = Sources(
        host=facts.collect().host,
        today=time.strftime("%Y-%m-%d"),
        read=read,
        names=names,
        link=link,
        resolve=resolve,
        glob=find,
        sourced=sourced,
        reading=config.read(system.path("")),
        bound=bound,
        driver=facts.collect().driver,
        parts=frozenset(parts),
    )
    return sources, notes


class _Unread(Exception):
    """Why a file is not read."""


def _text(name: str, unmarked: bool = False) -> str | None:
    """A text file as it is, byte for byte (surrogateescape); None where there is none.  Raises _Unread.

    ``unmarked``: elsewhere than in the administrator's places, too, a file that does not begin with #!.
    """
    path = system.path(name)
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            return None
        if not unmarked and not name.startswith(OWN):
            with open(path, "rb") as file:
                if file.read(2) != b"#!":
                    return None  # a program, of which a boot script calls many
        if found.st_size > LARGEST:
            raise _Unread(f"it has {found.st_size} bytes, and no boot script is larger than {LARGEST}")
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _Unread(f"{error.strerror}" + ("; run it as root" if error.errno == errno.EACCES else "")) from None
    if b"\0" in data:
        raise _Unread("it is no text")
    return data.decode("utf-8", "surrogateescape")


def resolve(name: str) -> str:
    """A name with all links followed inside the root that is in force: an absolute link does not lead out of it."""
    done: list[str] = []
    parts = [part for part in name.split("/") if part][::-1]
    followed = 0
    while parts:
        part = parts.pop()
        if part == ".":
            continue
        if part == "..":
            done = done[:-1]
            continue
        here = "/" + "/".join([*done, part])
        try:
            target = os.readlink(system.path(here))
        except (OSError, ValueError):
            done.append(part)
            continue
        followed += 1
        if followed > LINKS_MOST:
            return name
        if target.startswith("/"):
            done = []
        parts += [one for one in target.split("/") if one][::-1]
    return "/" + "/".join(done)


def _in_directory(name: str) -> str:
    """A name whose directory has its links followed, but not the last part."""
    directory, _, last = name.rpartition("/")
    return resolve(directory).rstrip("/") + "/" + last
