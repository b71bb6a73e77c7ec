"""A folder that keeps what is slow to make, each entry made once and only ever seen complete."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

KEEP_UNUSED = 7 * 24 * 3600.0


def folder() -> Path:
    """The lab's place in the user's cache (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says that a relative path there is to be ignored.
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "drbdocfs-boot"


def digest(parts: Iterable[bytes]) -> str:
    """A short hash of all the inputs, each kept apart from the next by its length."""
    total = hashlib.sha256()
    for part in parts:
        total.update(b"%d:" % len(part))
        total.update(part)
    return total.hexdigest()[:16]


def build_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return the entry `name`, calling make(EMPTY FOLDER) first if it does not exist.

    A second run that wants the same entry waits for the first. The entry appears under its name by one rename,
    so an interrupted build leaves only a folder that the next one throws away.
    """
    entry = folder() / name
    if entry.is_dir():
        os.utime(entry)
        return entry
    entry.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{entry}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if entry.is_dir():
            return entry
        for left in entry.parent.glob(f"{entry.name}.new-*"):
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"{entry.name}.new-", dir=entry.parent))
        try:
            work.chmod(0o755)
            make(work)
            os.sync()
            work.rename(entry)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    _forget_old(entry)
    return entry


def _forget_old(entry: Path) -> None:
    """Remove earlier versions of an entry (KIND-RELEASE-HASH) that nobody has asked for in a week."""
    kind = entry.name.rpartition("-")[0]
    for other in entry.parent.glob(f"{kind}-*"):
        if other.is_dir() and time.time() - other.stat().st_mtime > KEEP_UNUSED:
            shutil.rmtree(other, ignore_errors=True)
