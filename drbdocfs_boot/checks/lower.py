"""The disk below DRBD, file or block device, and what stands on it; for the areas storage and mounts.

/dev/drbdN itself is never opened: DRBD 8.4 refuses it to a Secondary, and while I/O is frozen whoever reads it hangs.
Internal metadata is at the end of the disk, so the file system begins where the disk does.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from drbdocfs_boot import drbdmd, ocfs2sb
from drbdocfs_boot.checks.facts import Facts
from drbdocfs_boot.drbdconf import Statement
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools.mounts import Mount

NETWORK_TYPES = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "9p", "afs", "ocfs2")
)
_BY_DISK = "/dev/drbd/by-disk/"
VOLATILE_TYPES = frozenset(("tmpfs", "ramfs", "overlay", "squashfs", "zram"))

# Read past the page cache, which may be older than what DRBD wrote below it; od, because tools answer in text.
_READ = 'dd if="$0" iflag=direct bs=4096 skip="$1" count="$2" 2>/dev/null | od -An -v -tx1'


@dataclass(frozen=True)
class Setting:
    """What drbd.conf says of a stack's disk on this host: ``name``, where (``place``), its meta-disk, and where."""

    name: str
    place: str
    meta_disk: str
    meta_place: str = ""

    @property
    def internal(self) -> bool:
        return self.meta_disk.startswith("internal")

    @property
    def metadata(self) -> str:
        """The device that has DRBD's metadata, "" where the disk itself does; several share one by ``[0]``, ``[1]``."""
        return "" if self.internal else self.meta_disk.partition("[")[0]


def setting(facts: Facts, stack: Stack) -> Setting | None:
    """The disk of a stack in drbd.conf: of this host's volume, else of the resource; None when it names none."""
    resource = facts.drbd.resource(stack.resource)
    if resource is None:
        return None
    # The nearest counts: volume before host, host before resource.
    levels: list[Statement] = []
    host = facts.named([name for s in resource.sections("on") for name in s.words[1:]])
    places = (*(s for s in resource.sections("on") if host in s.words[1:]), resource)
    # The volume's device and its disk need not stand in the same place.
    wanted = next((v.words[1:2] for place in places for v in place.sections("volume") if _device(v, stack)), None)
    for place in places:
        volumes = list(place.sections("volume"))
        chosen = [v for v in volumes if v.words[1:2] == wanted] if wanted is not None else volumes[:1]
        levels += [*chosen, place]
    disk = next((s for level in levels for s in _named(level.settings("disk"))), None)
    meta = next((s for level in levels for s in level.settings("meta-disk", "flexible-meta-disk")), None)
    if disk is None or disk.words[1] == "none":
        return None
    if meta is None or len(meta.words) < 2:
        return Setting(disk.words[1], disk.place, "internal")
    return Setting(disk.words[1], disk.place, meta.words[1], meta.place)


def _device(volume: Statement, stack: Stack) -> bool:
    if stack.device == f"/dev/drbd/by-res/{stack.resource}/{''.join(volume.words[1:2])}":
        return True
    if stack.device.startswith(_BY_DISK):
        return any(stack.device == _BY_DISK + s.words[1].removeprefix("/dev/") for s in _named(volume.settings("disk")))
    return any(stack.device in (word, f"/dev/drbd{word}") for s in volume.settings("device") for word in s.words[1:])


def _named(settings: Iterable[Statement]) -> Iterator[Statement]:
    return (one for one in settings if len(one.words) > 1)


def mount_of(facts: Facts, name: str) -> Mount | None:
    """The mount that a (resolved) name lies on: the longest mount point, of equal ones the last."""
    found: Mount | None = None
    for mount in facts.mounts:
        top = mount.target.rstrip("/")
        if (name == top or name.startswith(top + "/")) and (found is None or len(top) >= len(found.target.rstrip("/"))):
            found = mount
    return found


def kernel_name(facts: Facts, node: str) -> str:
    """A block device's name in /sys/class/block; "" when the kernel has none of that name."""
    name = facts.resolve(node).rpartition("/")[2]
    return name if name and facts.exists(f"/sys/class/block/{name}") else ""


def same(facts: Facts, one: str, other: str) -> bool:
    """Whether two names lead to the same place."""
    return one == other or facts.resolve(one) == facts.resolve(other)


@dataclass(frozen=True)
class Content:
    """What stands on the disk below DRBD: ``name``, ``size`` in bytes, its first bytes and DRBD's block at the end."""

    name: str
    size: int
    head: bytes
    tail: bytes

    @property
    def metadata(self) -> drbdmd.Metadata | None:
        return drbdmd.parse(self.tail)

    @property
    def ocfs2(self) -> ocfs2sb.Superblock | None:
        return ocfs2sb.parse(self.head)


def content(facts: Facts, stack: Stack) -> Content | None:
    """What stands on a stack's disk; None when it cannot be told: missing, not permitted, or on a file system that
    may not answer."""
    if stack.backing_file:
        return _file(facts, stack.backing_file)
    disk = setting(facts, stack)
    return _block(facts, disk.name) if disk is not None and facts.live else None


def _file(facts: Facts, name: str) -> Content | None:
    real = facts.resolve(name)
    if facts.on_stack(real):
        return None
    mount = mount_of(facts, real)
    if mount is not None and mount.type in NETWORK_TYPES:
        return None
    found = facts.stat(real)
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    head = facts.piece(real, 0, ocfs2sb.NEEDED)
    tail = facts.piece(real, max(0, drbdmd.offset(found.st_size)), drbdmd.BLOCK)
    return None if head is None or tail is None else Content(name, found.st_size, head, tail)


def _block(facts: Facts, node: str) -> Content | None:
    name = kernel_name(facts, node)
    sectors = (facts.read(f"/sys/class/block/{name}/size") or "").strip() if name else ""
    if not (sectors.isdigit() and sectors.isascii()) or int(sectors) < 16:
        return None
    size = int(sectors) * 512
    head = _dump(facts, node, 0, ocfs2sb.NEEDED // 4096)
    tail = _dump(facts, node, drbdmd.offset(size) // 4096, 1)
    return Content(node, size, head, tail) if head and tail else None


def _dump(facts: Facts, node: str, block: int, count: int) -> bytes:
    said = facts.tool("sh", "-c", _READ, node, str(block), str(count))
    try:
        return bytes.fromhex("".join(said.out.split())) if said is not None and said.code == 0 else b""
    except ValueError:
        return b""
