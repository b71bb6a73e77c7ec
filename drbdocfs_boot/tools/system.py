"""Where the system's files are, and how to read small ones.

``DRBDOCFS_ROOT`` puts another root before every path (tests, offline work).

``posix`` in place of ``os`` here and in all that a layer's start imports: ``os`` with what it needs is a tenth of what
a helper costs, and a quarter of a megabyte for each wait.
"""

import posix
import sys


def environment(name: str, otherwise: str = "") -> str:
    """A variable of the environment, ``otherwise`` where it is not set."""
    value = posix.environ.get(name.encode())
    return otherwise if value is None else decoded(value)


def decoded(name: bytes) -> str:
    """A name as the kernel has it, as text; every call that takes a name turns it back into the same bytes."""
    return name.decode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def path(name: str) -> str:
    """``name`` (absolute) below the root that is in force."""
    return environment("DRBDOCFS_ROOT").rstrip("/") + name


def read(name: str) -> "str | None":
    """Text of a small file (sysfs, procfs, configfs) without its line end; None when it cannot be read."""
    try:
        with open(path(name), encoding="utf-8", errors="surrogateescape") as file:
            return file.read().rstrip("\n")
    except OSError:
        return None


def names(directory: str) -> "list[str]":
    """Sorted names in a directory; empty when there is none."""
    try:
        return sorted(posix.listdir(path(directory)))
    except OSError:
        return []


def exists(name: str) -> bool:
    """True when the path exists below the root."""
    try:
        posix.lstat(path(name))
    except (OSError, ValueError):  # ValueError: no name can have a NUL in it
        return False
    return True


def make_directory(name: str) -> None:
    """A directory, with what is missing above it, that all may read.  Raises OSError."""
    above = name.rpartition("/")[0]
    if above and not exists(above):
        make_directory(above)
    try:
        posix.mkdir(name, 0o755)
    except FileExistsError:
        pass
