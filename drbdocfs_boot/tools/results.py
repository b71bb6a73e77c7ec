"""The directory of a test's results: nobody else may write there, as a later run takes commands from it, and one run
at a time uses it.

For the command only, on the machine that runs the test: no path is below DRBDOCFS_ROOT.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import stat
from pathlib import Path
from types import TracebackType

from drbdocfs_boot.tools import files
from drbdocfs_boot.tools.failure import Failure

EX_USAGE = 2
EX_TEMPFAIL = 75
LOCK = "lock"  # empty; it stays


class Folder:
    """The directory that this run has taken; none at first.  For `with`: it is free again at the end."""

    def __init__(self) -> None:
        self._fd = -1

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def take(self, path: Path) -> None:
        """Make it where it is not there, durably, and keep others off.  Raises Failure (2 for one that `look` refuses,
        75 while another run has it) and OSError."""
        if not path.is_dir():
            files.make_directory(str(path.parent))
            path.mkdir(0o700)
            files.sync_directory(str(path.parent))
        look(path)
        fd = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                raise Failure(EX_TEMPFAIL, f"another run uses {path} at this moment", "wait until it ends") from None
            raise
        self._fd = fd


def real(name: str) -> Path:
    """Where it is, past all links: what is looked at is what is used."""
    return Path(os.path.realpath(name))


def look(path: Path) -> None:
    """Raises Failure (2) where something is there (`real`) that is not ours alone."""
    try:
        about = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(about.st_mode):
        raise Failure(EX_USAGE, f"{path} is no directory")
    if about.st_uid != os.geteuid():
        raise Failure(EX_USAGE, f"{path} belongs to another user (uid {about.st_uid})", "a directory of your own")
    if about.st_mode & 0o022:
        advice = f"look at what is in it, as commands are run from there; then chmod go-w {shlex.quote(str(path))}"
        raise Failure(EX_USAGE, f"others may write in {path}", advice)


def write(path: Path, text: str) -> None:
    """Put ``text`` in place of a file, for its owner only, whole or not at all, and durably.  Raises OSError.

    A link is replaced, never followed.
    """
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
    new.replace(path)
    files.sync_directory(str(path.parent))
