"""The mount table, from /proc/self/mountinfo (proc(5))."""

import posix

from drbdocfs_boot.tools import system
from drbdocfs_boot.tools.run import Result, run


class Mount:
    """``device`` "MAJOR:MINOR", ``source`` as mountinfo shows it, ``target`` the mount point, ``type`` the kind.

    ``number`` and ``parent``: the mount's own id and that of the mount it lies on; ``root``: which directory of the
    file system is mounted; ``groups``: its optional fields, such as "shared:1" (mount_namespaces(7)); ``options``
    those of the mount and those of the file system, "rw,noatime,...".
    """

    __slots__ = ("device", "groups", "number", "options", "parent", "root", "source", "target", "type")

    def __init__(self, fields: "list[str]", type: str, source: str, options: str = "") -> None:
        self.number, self.parent, self.device = fields[:3]
        self.root = unescape(fields[3])
        self.target = unescape(fields[4])
        self.groups = fields[6:]
        # Both name rw or ro; the mount's own come first.
        words = ",".join((*fields[5:6], options)).split(",")
        self.options = ",".join(dict.fromkeys(word for word in words if word))
        self.type = type
        self.source = source


def unescape(field: str) -> str:
    """Octal escapes of mountinfo: blank, tab, newline, backslash and #."""
    if "\\" not in field:
        return field
    head, *parts = field.split("\\")
    return head + "".join(chr(int(p[:3], 8)) + p[3:] if _octal(p[:3]) else "\\" + p for p in parts)


def _octal(digits: str) -> bool:
    return len(digits) == 3 and all(digit in "01234567" for digit in digits)


def table(process: str = "self") -> "list[Mount]":
    """All mounts that a process sees, this one if not told otherwise, in the order in which they were made."""
    mounts = []
    for line in (system.read(f"/proc/{process}/mountinfo") or "").split("\n"):
        head, _, tail = line.partition(" - ")
        fields, rest = head.split(" "), tail.split(" ")
        if len(fields) >= 5 and len(rest) >= 2:
            mounts.append(Mount(fields, rest[0], unescape(rest[1]), rest[2] if len(rest) > 2 else ""))
    return mounts


def device_number(node: str) -> "str | None":
    """ "MAJOR:MINOR" of a block device node; None when there is no such node."""
    try:
        number = posix.stat(system.path(node)).st_rdev
    except OSError:
        return None
    return f"{posix.major(number)}:{posix.minor(number)}"


def of_device(node: str) -> "list[Mount]":
    """Mounts of a block device, by its number or, where a file system hides that, by its name."""
    return on_device(table(), node)


def on_device(mounts: "list[Mount]", node: str) -> "list[Mount]":
    """Those of the mounts that are of this device."""
    number = device_number(node)
    return [m for m in mounts if m.source == node or (number not in (None, "0:0") and m.device == number)]


def unmount(target: str, limit: float = 60.0) -> Result:
    """Unmount, in good order: never lazily, never by force.  Raises Failure (75) after ``limit`` seconds."""
    return run(["umount", target], limit)
