"""The mount table, from /proc/self/mountinfo (proc(5))."""

import os

from drbdocfs_boot.tools import system
from drbdocfs_boot.tools.run import Result, run


class Mount:
    """``device`` "MAJOR:MINOR", ``source`` as mountinfo shows it, ``target`` the mount point, ``type`` the kind."""

    __slots__ = ("device", "source", "target", "type")

    def __init__(self, device: str, source: str, target: str, type: str) -> None:
        self.device = device
        self.source = source
        self.target = target
        self.type = type


def _unescape(field: str) -> str:
    """Octal escapes of mountinfo: blank, tab, newline, backslash and #."""
    if "\\" not in field:
        return field
    parts = field.split("\\")
    return parts[0] + "".join(chr(int(part[:3], 8)) + part[3:] if part[:3].isdigit() else part for part in parts[1:])


def table() -> "list[Mount]":
    """All mounts that this process sees, in the order in which they were made."""
    mounts = []
    for line in (system.read("/proc/self/mountinfo") or "").splitlines():
        head, _, tail = line.partition(" - ")
        fields, rest = head.split(" "), tail.split(" ")
        if len(fields) >= 5 and len(rest) >= 2:
            mounts.append(Mount(fields[2], _unescape(rest[1]), _unescape(fields[4]), rest[0]))
    return mounts


def device_number(node: str) -> "str | None":
    """ "MAJOR:MINOR" of a block device node; None when there is no such node."""
    try:
        number = os.stat(system.path(node)).st_rdev
    except OSError:
        return None
    return f"{os.major(number)}:{os.minor(number)}"


def of_device(node: str) -> "list[Mount]":
    """Mounts of a block device, by its number or, where a file system hides that, by its name."""
    number = device_number(node)
    return [m for m in table() if m.source == node or (number not in (None, "0:0") and m.device == number)]


def unmount(target: str) -> Result:
    """Unmount, in good order: never lazily, never by force."""
    return run(["umount", target], 60)
