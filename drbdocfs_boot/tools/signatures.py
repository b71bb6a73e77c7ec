"""What stands on a disk, and who has it: asked before anything is written there, and nothing is ever wiped.

For the command only: not part of the boot path.
"""

from __future__ import annotations

import os
import stat
from errno import EBUSY, ENXIO

from drbdocfs_boot import creating
from drbdocfs_boot.creating import Finding
from drbdocfs_boot.tools import losetup, mounts, system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import run

EX_UNAVAILABLE = 69
BLKID_NOTHING = 2
BLKID_AMBIVALENT = 8


def findings(node: str) -> list[Finding]:
    """Signatures on a disk or in a file, those that only one of the two tools knows included.

    Raises Failure (69) when they cannot be looked for: then nothing may be written.
    """
    place = system.path(node)
    wiped = run(["wipefs", "--no-act", "--json", place], 60)
    if wiped.code != 0:
        raise Failure(EX_UNAVAILABLE, f"wipefs cannot look at {node}: {wiped.said}")
    probed = run(["blkid", "-p", "-o", "export", place], 60)
    if probed.code not in (0, BLKID_NOTHING, BLKID_AMBIVALENT):
        raise Failure(EX_UNAVAILABLE, f"blkid cannot look at {node}: {probed.said}")
    try:
        found = creating.of_wipefs(wiped.out)
    except (ValueError, KeyError, TypeError):
        raise Failure(EX_UNAVAILABLE, f"what wipefs says of {node} cannot be read: {wiped.out[:200]}") from None
    known = {one.kind for one in found}
    tables = {f"a partition table ({kind})" for kind in known}
    found += [one for one in creating.of_blkid(probed.out) if one.kind not in known and one.kind not in tables]
    if probed.code == BLKID_AMBIVALENT:
        found.append(Finding("more than one kind of data"))
    return found


def blank(name: str) -> bool:
    """Whether a file holds nothing but zeroes; holes, and allocated blocks never written to, need no reading.

    Raises OSError.
    """
    fd = os.open(system.path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        at, end = 0, os.fstat(fd).st_size
        while at < end:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == ENXIO:
                    return True
                raise
            stop = os.lseek(fd, at, os.SEEK_HOLE)
            while at < stop:
                data = os.pread(fd, min(1 << 20, stop - at), at)
                if not data or data.count(0) != len(data):
                    return False
                at += len(data)
        return True
    finally:
        os.close(fd)


def made(node: str) -> bool:
    """Whether mkfs.ocfs2 has come to its end on a device: lost+found is the last that it writes, long after the
    superblock with the UUID."""
    return "lost+found" in run(["debugfs.ocfs2", "-R", "ls /", system.path(node)], 60).out.split()


def size(node: str) -> int:
    """Bytes of a disk.  Raises OSError."""
    fd = os.open(system.path(node), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)


def users(node: str) -> list[str]:
    """Who has a disk: mounts, swap, devices above it, partitions on it, or somebody unknown; empty when it is free."""
    real = os.path.realpath(system.path(node))
    name = os.path.basename(real)
    found = [f"is mounted on {mount.target}" for mount in mounts.of_device(node)]
    swaps = (system.read("/proc/swaps") or "").splitlines()[1:]
    found += ["is swap space" for line in swaps if os.path.realpath(system.path(line.split()[0])) == real]
    found += [f"is below {above}" for above in losetup.holders("/dev/" + name)]
    parts = [one for one in system.names(f"/sys/class/block/{name}") if one.startswith(name)]
    if parts:
        found.append(f"has the partitions {', '.join(parts)}")
    if not found:
        try:
            # What holds it for itself, whatever that is, lets nobody else do so.
            os.close(os.open(real, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            if error.errno == EBUSY:
                found.append("is in use (by RAID, LVM, multipath or DRBD?)")
    return found


def is_disk(node: str) -> bool:
    """True for a block device; below another root a file stands for one."""
    try:
        mode = os.stat(system.path(node)).st_mode
    except OSError:
        return False
    return stat.S_ISBLK(mode) or (bool(system.path("")) and stat.S_ISREG(mode))
