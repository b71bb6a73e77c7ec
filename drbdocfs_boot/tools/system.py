"""Where the system's files are, and how to read small ones.

``DRBDOCFS_ROOT`` puts another root before every path (tests, offline work).
"""

import os


def path(name: str) -> str:
    """``name`` (absolute) below the root that is in force."""
    return os.environ.get("DRBDOCFS_ROOT", "").rstrip("/") + name


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
        return sorted(os.listdir(path(directory)))
    except OSError:
        return []


def exists(name: str) -> bool:
    """True when the path exists below the root."""
    return os.path.lexists(path(name))
