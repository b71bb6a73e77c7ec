"""Area storage of ``drbdocfs check``: backing file, loop device, the disk below DRBD, and the OCFS2 that is on it."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator

from drbdocfs_boot import drbdmd, ocfs2sb
from drbdocfs_boot.checks import lower
from drbdocfs_boot.checks.facts import Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Book, Finding, Rule
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools.mounts import Mount

BOOK = Book(
    backing_missing=Rule(
        ERROR,
        "the backing file is not there",
        "Without it there is no loop device, no disk for DRBD, and no mount.",
        "bring the file back from where it was moved, or set backing_file; 'drbdocfs create' makes a new one",
    ),
    backing_not_a_file=Rule(
        ERROR,
        "the backing file is not a regular file",
        "A loop device is only bound to a regular file.",
        "for a disk or a partition leave backing_file and loop_device out: DRBD takes it as it is",
    ),
    backing_volatile=Rule(
        ERROR,
        "the backing file is on a file system that does not survive a reboot",
        "What is in memory or in the upper layer of an overlay is gone at the next boot, and the data with it.",
        "move the file to a file system on a disk, with the stack stopped",
    ),
    backing_network=Rule(
        WARNING,
        "the backing file is on a network file system",
        "A loop device over the network hangs when the server does, also at shutdown, and OCFS2 resets a node whose"
        " heartbeat cannot be written for a minute.",
        "put the file on a local disk: DRBD is what carries it over the network",
    ),
    backing_on_stack=Rule(
        ERROR,
        "the backing file is on a stack's own mount",
        "The file has to be there before the stack that is mounted there is: they would wait for each other.",
        "move the file to a file system that is mounted without DRBD",
    ),
    backing_sparse=Rule(
        WARNING,
        "the backing file is sparse",
        "Its blocks are taken from the file system below only as they are written. When that is full, DRBD and OCFS2"
        " meet an I/O error in the middle of operation, although there seems to be room. A file that was filled gets"
        " holes again by what discards blocks: mkfs.ocfs2 without --nodiscard, fstrim, the mount option discard.",
        "fill it in with the stack stopped: 'fallocate --length SIZE FILE' with the size it has keeps what is in it",
    ),
    backing_readable=Rule(
        WARNING,
        "the backing file may be read or written by everybody",
        "It holds all files of the mounted file system, whatever permissions they have there.",
        "chmod 600 FILE",
    ),
    disk_too_small=Rule(
        ERROR,
        "DRBD's disk is smaller than DRBD needs",
        "The end of a disk holds DRBD's metadata, and the device must not be smaller than the nodes agreed. DRBD"
        " refuses such a disk, and what was cut off is lost here.",
        "give it the size back that it had; DRBD brings the data over from the peer",
    ),
    metadata_missing=Rule(
        ERROR,
        "there is no DRBD metadata at the end of the disk",
        "DRBD does not attach a disk without it. Either it was never made, or the size of the disk has changed since.",
        "if the size has changed, set it back. Only on a disk that never held data of DRBD: 'drbdadm create-md"
        " RESOURCE'.",
    ),
    loop_taken=Rule(
        ERROR,
        "the loop device is bound to another file",
        "The stack cannot have it, and DRBD must not take a disk that is somebody else's.",
        "choose a loop_device with a higher number, here and in DRBD's 'disk' line, or release it",
    ),
    loop_elsewhere=Rule(
        ERROR,
        "the backing file is bound to another loop device",
        "Two loop devices of one file do not know of each other's writes; the stack's loop unit refuses that.",
        "release it with 'losetup -d DEVICE', or make it the loop_device, here and in DRBD's 'disk' line",
    ),
    disk_missing=Rule(
        ERROR,
        "DRBD's disk is not there",
        "DRBD has nothing to attach, and this node no data.",
        "see with 'lsblk' what the disk is called now; a name below /dev/disk/by-id stays",
    ),
    disk_mounted=Rule(
        ERROR,
        "DRBD's disk is mounted by itself",
        "What is written past DRBD never reaches the peer, and both sides differ without knowing. DRBD cannot attach"
        " the disk meanwhile.",
        "unmount it, and mount DRBD's device in its place. If it was written to, the sides differ: 'drbdadm invalidate"
        " RESOURCE' here takes the peer's data, and what was written is lost.",
    ),
    disk_read_only=Rule(
        ERROR,
        "DRBD's disk is read-only",
        "DRBD cannot be Primary on it.",
        "'blockdev --setrw DISK', if nothing speaks against it; else see the kernel log for why",
    ),
    disk_name_may_change=Rule(
        NOTE,
        "DRBD's disk is called by a name that may change",
        "The kernel hands these names out in the order in which it finds the disks: after a reboot with one disk more"
        " or less it may be another's.",
        "name it in DRBD's 'disk' line by /dev/disk/by-id/..., or put it on a logical volume",
    ),
    foreign_signature=Rule(
        ERROR,
        "something else than OCFS2 is on DRBD's disk",
        "The mount fails, and making OCFS2 there would destroy what is on it.",
        "make sure that the right disk or file is named. 'wipefs DISK' shows what stands there.",
    ),
    ocfs2_missing=Rule(
        ERROR,
        "there is no OCFS2 on DRBD's disk",
        "There is nothing to mount.",
        "once, on one node, with the device Primary there and in step: 'mkfs.ocfs2 -N 2 --cluster-stack=o2cb"
        " --cluster-name=CLUSTER DEVICE', or let 'drbdocfs create' do it",
    ),
    ocfs2_too_large=Rule(
        ERROR,
        "OCFS2 is larger than DRBD's device",
        "It was made on the bare disk, or the device has shrunk: its end lies in DRBD's metadata or beyond the disk."
        " Writes there fail, or destroy the metadata.",
        "save the data, and make the file system anew on DRBD's device",
    ),
    ocfs2_cluster=Rule(
        ERROR,
        "OCFS2 belongs to another cluster than the stack",
        "mount.ocfs2 refuses a file system whose cluster is not the one that is online.",
        "set cluster, and the name in /etc/ocfs2/cluster.conf, to the one on the disk; or, with the file system"
        " mounted nowhere, 'tunefs.ocfs2 --update-cluster-stack DEVICE' while ours is online",
    ),
    ocfs2_stack=Rule(
        ERROR,
        "OCFS2 was made for another cluster stack than o2cb",
        "It can only be mounted under that cluster manager, and the stack brings o2cb online.",
        "with the file system mounted nowhere and o2cb online: 'tunefs.ocfs2 --update-cluster-stack DEVICE'",
    ),
    ocfs2_slots=Rule(
        ERROR,
        "OCFS2 has fewer than two node slots",
        "Each node that has it mounted takes a slot: the second one cannot mount.",
        "with the file system mounted nowhere: 'tunefs.ocfs2 -N 2 DEVICE'",
    ),
    ocfs2_local=Rule(
        ERROR,
        "OCFS2 was made for one host alone",
        "Such a file system is mounted without locks between the nodes: two nodes destroy it.",
        "with the file system mounted nowhere and the cluster online: 'tunefs.ocfs2 -M cluster DEVICE'",
    ),
    ocfs2_no_label=Rule(
        NOTE,
        "OCFS2 has no label",
        "Nothing needs it, but mounted.ocfs2 and blkid then show only a UUID.",
        "'tunefs.ocfs2 -L NAME DEVICE'",
    ),
)

_SNAP = "/var/lib/snapd/snaps/"
_CHANGING = re.compile(r"/dev/(?:sd[a-z]+|hd[a-z]+|vd[a-z]+|nvme\d+n\d+)(?:p?\d+)?\Z")


def find(facts: Facts) -> Iterator[Finding]:
    """All findings of the area."""
    for stack in facts.reading.stacks:
        disk = lower.setting(facts, stack)
        if stack.backing_file:
            yield from _backing(facts, stack)
            yield from _loop(facts, stack)
        elif disk is not None and facts.live and not disk.name.startswith("/dev/loop"):
            # (A loop device that is not ours to bind is no fault of the disk; area drbd names it.)
            yield from _disk(facts, stack, disk.name, disk.place, "DRBD's disk")
        if disk is not None and disk.metadata and facts.live and not disk.metadata.startswith("/dev/loop"):
            yield from _disk(facts, stack, disk.metadata, disk.meta_place, "the device of DRBD's metadata")
        if not stack.backing_file and disk is not None and _CHANGING.match(disk.name):
            yield BOOK.finding(
                "disk-name-may-change", disk.place, f"DRBD's disk is {disk.name}, a name that may change", stack.name
            )
        found = lower.content(facts, stack)
        if found is not None:
            yield from _content(stack, found, disk is None or disk.internal)


# --- backing file and loop device


def _backing(facts: Facts, stack: Stack) -> Iterator[Finding]:
    name, real = stack.backing_file, facts.resolve(stack.backing_file)
    for other in facts.reading.stacks:
        top = facts.resolve(other.mountpoint)
        if real.startswith(top + "/"):
            whose = "its own mount" if other is stack else f"the mount of stack {other.name}"
            yield BOOK.finding(
                "backing-on-stack", name, f"the backing file {real} is on {whose}, {other.mountpoint}", stack.name
            )
            return
    mount = lower.mount_of(facts, real)
    if mount is not None and mount.type in lower.NETWORK_TYPES:
        # Not looked at any further: who asks after a file there may hang with the server.
        yield BOOK.finding("backing-network", name, f"the backing file is on {_on(mount)}", stack.name)
        return
    found = facts.stat(real)
    if found is None:
        if facts.hidden(real):
            return
        where = f" ({name} is a link to {real})" if real != name else ""
        yield BOOK.finding("backing-missing", name, f"there is no backing file {name}{where}", stack.name)
        return
    if mount is not None and mount.type in lower.VOLATILE_TYPES:
        yield BOOK.finding("backing-volatile", name, f"the backing file is on {_on(mount)}", stack.name)
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "a device, a pipe or a socket"
        yield BOOK.finding("backing-not-a-file", name, f"the backing file {name} is {kind}", stack.name)
        return
    # A block that the file system keeps for itself (indirect blocks) can only make this figure larger.
    if found.st_blocks * 512 < found.st_size:
        missing = found.st_size - found.st_blocks * 512
        yield BOOK.finding(
            "backing-sparse",
            name,
            f"{_size(missing)} of the {_size(found.st_size)} of the backing file have no blocks yet",
            stack.name,
            advice=f"with the stack stopped: 'fallocate --length {found.st_size} {name}' fills the holes and keeps"
            " what is in it",
        )
    if found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        may = "read and written" if found.st_mode & stat.S_IWOTH else "read"
        yield BOOK.finding(
            "backing-readable",
            name,
            f"the backing file may be {may} by everybody (mode {stat.S_IMODE(found.st_mode):04o})",
            stack.name,
            severity=ERROR if found.st_mode & stat.S_IWOTH else "",
            advice=f"chmod 600 {name}",
        )


def _loop(facts: Facts, stack: Stack) -> Iterator[Finding]:
    ours = {stack.backing_file, facts.resolve(stack.backing_file)}
    for name in facts.names("/sys/block"):
        bound = facts.read(f"/sys/block/{name}/loop/backing_file") if name.startswith("loop") else None
        if bound is None:
            continue
        file = bound[: -len(" (deleted)")] if bound.endswith(" (deleted)") else bound
        node = f"/dev/{name}"
        if node == stack.loop_device and file not in ours and not facts.same_file(file, stack.backing_file):
            by = " by snapd" if file.startswith(_SNAP) else ""
            yield BOOK.finding("loop-taken", node, f"{node} is taken{by}: it is bound to {bound}", stack.name)
        elif node == stack.loop_device and bound != file:
            yield BOOK.finding(
                "loop-taken",
                node,
                f"{node} is bound to a file that was removed, {file}"
                + (", and another one lies in its place" if _in_place(facts, stack) else ""),
                stack.name,
                advice=_after_removal(facts, stack),
            )
        elif node != stack.loop_device and file in ours and bound == file:
            yield BOOK.finding(
                "loop-elsewhere", node, f"{file} is bound to {node}, not to {stack.loop_device}", stack.name
            )


def _in_place(facts: Facts, stack: Stack) -> bool:
    """Whether a file of that name can be seen."""
    real = facts.resolve(stack.backing_file)
    mount = lower.mount_of(facts, real)
    if facts.on_stack(real) or (mount is not None and mount.type in lower.NETWORK_TYPES):
        return False  # who asks there may hang
    return facts.exists(real)


def _after_removal(facts: Facts, stack: Stack) -> str:
    """What to do while the data are in a file without a name.

    A file that was put in its place, such as a copy of last week, has DRBD's metadata of that time: after a stop and a
    start DRBD takes it for the old one, and brings over only what was written since the stop.
    """
    file, node, resource = stack.backing_file, stack.loop_device, stack.resource
    first = (
        "do not stop the stack and do not reboot before 'drbdocfs status' shows the other host connected and UpToDate:"
        f" the removed file goes with the stop. If it cannot be had, unmount {stack.mountpoint}, and copy {node} into"
        " another file first. Then stop the stack, "
    )
    if _in_place(facts, stack):
        then = (
            f"and before it starts have DRBD distrust what lies there now: 'losetup {node} {file}', 'drbdadm invalidate"
            f" {resource}', 'losetup --detach {node}'"
        )
    else:
        then = (
            f"make a new file of the same size, 'losetup {node} {file}', 'drbdadm create-md {resource}', 'losetup"
            f" --detach {node}'"
        )
    return f"{first}{then}, and start it: all of it is resynchronized (docs/recovery.md, 6)"


# --- a real disk


def _disk(facts: Facts, stack: Stack, disk: str, place: str, what: str) -> Iterator[Finding]:
    """Of the disk, or the device that has its metadata (``what``)."""
    if not facts.exists(facts.resolve(disk)):
        yield BOOK.finding("disk-missing", disk, f"{what} {disk} is not there ({place})", stack.name)
        return
    for mount in facts.mounts:
        if mount.source.startswith("/dev/") and lower.same(facts, mount.source, disk):
            data = what == "DRBD's disk"
            yield BOOK.finding(
                "disk-mounted",
                disk,
                f"{disk} is mounted on {mount.target}, although it is {'the disk' if data else what} below"
                f" {stack.device}",
                stack.name,
                advice=""
                if data
                else "unmount it, or give 'meta-disk' another device: with the stack stopped, and 'drbdadm create-md"
                f" {stack.resource}' after it",
            )
            break
    name = lower.kernel_name(facts, disk)
    if name and (facts.read(f"/sys/class/block/{name}/ro") or "").strip() == "1":
        yield BOOK.finding("disk-read-only", disk, f"{disk} is read-only", stack.name)


# --- what stands on it


def _content(stack: Stack, found: lower.Content, internal: bool) -> Iterator[Finding]:
    consistent, device = True, found.size
    if internal:
        metadata = found.metadata
        needed = drbdmd.least(found.size)
        if found.size <= needed:
            yield BOOK.finding(
                "disk-too-small",
                found.name,
                f"{found.name} has {_size(found.size)}, and DRBD's metadata alone needs {_size(needed)}",
                stack.name,
                advice="make it as large as the file system is to be, and a little more",
            )
            return
        if metadata is None:
            yield BOOK.finding(
                "metadata-missing",
                found.name,
                f"{found.name} ({_size(found.size)}) has no metadata of DRBD at its end",
                stack.name,
                advice="if the size has changed, set it back. Only on a disk that never held data of DRBD:"
                f" 'drbdadm create-md {stack.resource}'.",
            )
            return
        room = drbdmd.offset(found.size) + drbdmd.BLOCK - metadata.length
        if metadata.size > room:
            yield BOOK.finding(
                "disk-too-small",
                found.name,
                f"{found.name} has room for {_size(room)} beside DRBD's metadata, and the nodes agreed on"
                f" {_size(metadata.size)}",
                stack.name,
            )
        consistent, device = metadata.consistent, metadata.size or room
    superblock = found.ocfs2
    if superblock is None:
        # Before and during the first sync there need not be anything yet.
        if consistent:
            other = ocfs2sb.foreign(found.head)
            if other:
                yield BOOK.finding("foreign-signature", found.name, f"{found.name} holds {other}", stack.name)
            else:
                yield BOOK.finding("ocfs2-missing", found.name, f"there is no OCFS2 on {found.name}", stack.name)
        return
    yield from _ocfs2(stack, found, superblock, device)


def _ocfs2(stack: Stack, found: lower.Content, superblock: ocfs2sb.Superblock, device: int) -> Iterator[Finding]:
    where = found.name
    if superblock.size > device:
        yield BOOK.finding(
            "ocfs2-too-large",
            where,
            f"OCFS2 on {where} takes {_size(superblock.size)}, and {stack.device} has {_size(device)}",
            stack.name,
        )
    if superblock.local:
        yield BOOK.finding("ocfs2-local", where, f"OCFS2 on {where} was made with '-M local'", stack.name)
    elif superblock.stack not in ("", "o2cb"):
        yield BOOK.finding(
            "ocfs2-stack", where, f"OCFS2 on {where} was made for the cluster stack {superblock.stack!r}", stack.name
        )
    elif superblock.cluster and superblock.cluster != stack.cluster:
        yield BOOK.finding(
            "ocfs2-cluster",
            where,
            f"OCFS2 on {where} belongs to the cluster {superblock.cluster!r}, the stack to {stack.cluster!r}"
            f" ({stack.file}:{stack.line})",
            stack.name,
        )
    if superblock.slots < 2:
        yield BOOK.finding("ocfs2-slots", where, f"OCFS2 on {where} has {superblock.slots} node slot", stack.name)
    if not superblock.label:
        yield BOOK.finding("ocfs2-no-label", where, f"OCFS2 on {where} has no label", stack.name)


def _on(mount: Mount) -> str:
    return f"{mount.target}, which is {mount.type}"


def _size(number: int) -> str:
    if number < 1 << 20:
        return f"{number} bytes"
    value, unit = number / (1 << 20), "MiB"
    for larger in ("GiB", "TiB"):
        if value >= 1024:
            value, unit = value / 1024, larger
    return f"{value:.1f} {unit}".replace(".0 ", " ")
