"""Loop devices: losetup(8) does the work, sysfs and its listing tell the truth.

``losetup -d`` on a busy device exits 0 and only sets autoclear (util-linux#484), so what it says is never believed.
"""

import posix

from drbdocfs_boot.tools import system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import run


class Mapping:
    """What a loop device is bound to: ``file`` as the kernel shows it, ``identity`` (device, inode) of that file."""

    __slots__ = ("file", "identity", "node", "offset", "read_only")

    def __init__(self, node: str, file: str, identity: "tuple[int, int]", read_only: bool, offset: int) -> None:
        self.node = node
        self.file = file
        self.identity = identity
        self.read_only = read_only
        self.offset = offset


def _block(node: str) -> str:
    return node.rpartition("/")[2]


def backing_file(node: str) -> "str | None":
    """The file that the kernel says is bound to ``node``; None when it is free or not there."""
    return system.read(f"/sys/block/{_block(node)}/loop/backing_file")


def none_bound() -> bool:
    """True when the kernel says that no loop device is bound, as at most boots; it costs no process."""
    return not any(backing_file(name) for name in system.names("/sys/block") if name.startswith("loop"))


def bound_as_given(node: str, file: str) -> bool:
    """True when ``node`` is bound to a file of this very name, whole and writable.

    After a bind of our own that is proof enough, and costs no process.  False proves nothing: the kernel shows another
    name for a link.
    """
    place = f"/sys/block/{_block(node)}"
    found = [backing_file(node), system.read(place + "/loop/offset"), system.read(place + "/ro")]
    return found == [file, "0", "0"]


def mappings() -> "list[Mapping]":
    """All bound loop devices.  Compared by device and inode: names lie after a rename or a bind mount.

    Raises Failure when losetup is missing, hangs or fails.
    """
    columns = "NAME,RO,OFFSET,BACK-INO,BACK-MAJ:MIN,BACK-FILE"
    result = run(["losetup", "--list", "--noheadings", "--raw", "--output", columns])
    if result.code != 0:
        raise Failure(69, f"losetup cannot list the loop devices: {result.said}")
    found = []
    for line in result.out.splitlines():
        # --raw escapes blanks as \x20, in names of files and in the padding of MAJ:MIN alike.
        fields = [_unescape(field).strip() for field in line.split(" ", 5)]
        if len(fields) < 5 or ":" not in fields[4]:
            continue
        major, minor = fields[4].split(":")
        found.append(
            Mapping(
                fields[0],
                fields[5] if len(fields) > 5 else "?",
                (posix.makedev(int(major), int(minor)), int(fields[3])),
                fields[1] == "1",
                int(fields[2]),
            )
        )
    return found


def _unescape(field: str) -> str:
    """Undo ``\\xNN``, byte by byte: a name of several bytes a character comes as several escapes."""
    if "\\x" not in field:
        return field
    head, *rest = field.encode("utf-8", "surrogateescape").split(b"\\x")
    out = head
    for part in rest:
        try:
            out += bytes((int(part[:2], 16),)) + part[2:]
        except ValueError:
            out += b"\\x" + part
    return out.decode("utf-8", "surrogateescape")


def attach(node: str, file: str) -> None:
    """Bind ``file`` to ``node``; raises Failure with what losetup said."""
    result = run(["losetup", node, file], 30)
    if result.code != 0:
        raise Failure(69, f"losetup {node} {file} failed: {result.said}")


def detach(node: str) -> str:
    """Ask for the release of ``node``; returns what losetup said.  Look at ``backing_file`` afterwards."""
    return run(["losetup", "--detach", node], 30).said


def holders(node: str) -> "list[str]":
    """Block devices on top of ``node``, as /dev names."""
    return ["/dev/" + name for name in system.names(f"/sys/block/{_block(node)}/holders")]
