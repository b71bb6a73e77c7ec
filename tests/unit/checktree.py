"""A good host as a tree of files, for the tests of ``drbdocfs check``: the guide's set-up on a plain Debian 12."""

from __future__ import annotations

import builtins
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from drbdocfs_boot import drbdmd
from drbdocfs_boot.checks.facts import Facts
from drbdocfs_boot.checks.model import Finding
from drbdocfs_boot.tools.run import Result
from tests.lab.provision import BACKING_FILE, FILES

SIZE = 1 << 20  # of the backing file, in bytes
KERNEL = "6.1.0-56-amd64"
MODULES = (
    "kernel/drivers/block/loop.ko:\n"
    "kernel/drivers/block/drbd/drbd.ko: kernel/lib/lru_cache.ko\n"
    "kernel/fs/ocfs2/ocfs2.ko: kernel/fs/configfs/configfs.ko\n"
    "kernel/fs/ocfs2/ocfs2_stack_o2cb.ko: kernel/fs/ocfs2/ocfs2_stackglue.ko\n"
)
MOUNTINFO = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n23 22 0:22 / /run rw shared:2 - tmpfs tmpfs rw\n"

# The first 512 bytes of block 2 of a file system by mkfs.ocfs2 1.8.7 (-b 4096 -C 4K -L web -N 2
# --cluster-stack=o2cb --cluster-name=web, 64 MiB); lines of zeros left out.
_DUMP = """
000 4f43465356320000 7a8ad5caffffffff
010 0000000000400000 0000000000000000
020 0000000000000000 0000000031000000
030 0000000000000000 3794056b00000000
040 3794056b00000000 0000000000000000
050 0200000000000000 0000000000000000
060 7a8ad5ca00000000 0000000000000000
0c0 00005a0000001400 0000000000000000
0d0 3794056b00000000 0000000003000000
0e0 50f7000001000000 0500000000000000
0f0 0600000000000000 0c0000000c000000
100 02000000243f5a27 0300000000000000
110 7765620000000000 0000000000000000
150 d6d5f7ee542f4e44 a8eb11f8d4cc571e
160 6f32636200000000 7765620005000000
170 0000000000000000 0001000047e8f814
180 1084ad1df8b63d6e 0000000000000000
"""


def superblock(**patches: bytes) -> bytes:
    """The real superblock; ``patches``: at_HEX=bytes that stand at that offset instead."""
    block = bytearray(512)
    for line in _DUMP.split("\n"):
        offset, _, digits = line.partition(" ")
        if digits:
            block[int(offset, 16) : int(offset, 16) + 16] = bytes.fromhex(digits)
    for name, data in patches.items():
        place = int(name.removeprefix("at_"), 16)
        block[place : place + len(data)] = data
    return bytes(block)


def metadata(sectors: int, length: int, flags: int = 0x13, magic: int = 0x8374026B) -> bytes:
    """DRBD's superblock, of 8.4 if not told otherwise: last agreed size and metadata's length in sectors."""
    block = bytearray(drbdmd.BLOCK)
    struct.pack_into(">Q", block, 0, sectors)
    struct.pack_into(">III", block, 56, flags, magic, length)
    return bytes(block)


def disk(size: int = SIZE, block: bytes | None = None, tail: bytes | None = None) -> bytes:
    """A disk with OCFS2 of 64 clusters at its start and DRBD's metadata at its end."""
    length = drbdmd.least(size) // 512
    data = bytearray(size)
    start = superblock(at_14=struct.pack("<I", 64)) if block is None else block
    data[8192 : 8192 + len(start)] = start
    end = metadata(size // 512 - length, length) if tail is None else tail
    offset = drbdmd.offset(size)
    data[offset : offset + len(end)] = end
    return bytes(data)


class Tree:
    """The root directory ``root``; ``answers``: what tools say, by the beginning of their command line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[str, str] = {}

    def path(self, name: str) -> Path:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.path(name)
        path.write_text(text)
        path.chmod(mode)

    def append(self, name: str, text: str) -> None:
        with self.path(name).open("a") as file:
            file.write(text)

    def link(self, name: str, target: str) -> None:
        path = self.path(name)
        if path.is_symlink():
            path.unlink()
        path.symlink_to(target)

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.path(name)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def remove(self, name: str) -> None:
        self.path(name).unlink()

    def enable(self, unit: str, by: str = "multi-user.target.wants") -> None:
        self.link(f"/etc/systemd/system/{by}/{unit}", f"/lib/systemd/system/{unit}")

    def backing(self, data: bytes) -> None:
        path = self.path(BACKING_FILE)
        path.unlink(missing_ok=True)
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, len(data))
            file.write(data)
        path.chmod(0o600)

    def stanza(self, name: str, **keys: str) -> None:
        """One more stack."""
        text = "".join(f"{key} = {value}\n" for key, value in keys.items())
        self.append("/etc/drbdocfs/drbdocfs.conf", f"[{name}]\n{text}")

    def real_disk(self, node: str = "/dev/disk/by-id/virtio-data") -> None:
        """The stack on a disk: vdb, called by its id."""
        for line in ("backing_file  = /drbd-loop.img\n", "loop_device   = /dev/loop7\n"):
            self.replace("/etc/drbdocfs/drbdocfs.conf", line, "")
        self.replace("/etc/drbd.d/r0.res", "/dev/loop7", node)
        self.write("/dev/vdb", "")
        self.link("/dev/disk/by-id/virtio-data", "../../vdb")
        self.write("/sys/class/block/vdb/size", f"{SIZE // 512}\n")
        self.write("/sys/class/block/vdb/ro", "0\n")
        self.on_disk(disk())

    def on_disk(self, data: bytes, node: str = "/dev/disk/by-id/virtio-data") -> None:
        """What reading the disk gives."""
        blocks = len(data) // 4096
        for skip, count in ((0, 17), (drbdmd.offset(len(data)) // 4096, 1)):
            part = data[skip * 4096 : (skip + min(count, blocks)) * 4096]
            self.answers[f"sh … {node} {skip} {count}"] = part.hex(" ") + "\n"

    def facts(self, live: bool = True) -> Facts:
        return Facts(live, "server1")


Find = Callable[[Facts], Iterable[Finding]]


def good(root: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """The good host; tools say nothing unless they have an answer."""
    tree = Tree(root)
    monkeypatch.setenv("DRBDOCFS_ROOT", str(root))
    for name, text in FILES.items():
        tree.write(name, text)
    tree.write("/etc/drbd.conf", 'include "drbd.d/global_common.conf";\ninclude "drbd.d/*.res";\n')
    tree.write("/etc/fstab", "/dev/drbd0  /mnt/storage  ocfs2  noauto,noatime,barrier=1  0 0\n")
    tree.write("/etc/hostname", "server1\n")
    tree.write("/etc/default/o2cb", "O2CB_ENABLED=false\nO2CB_BOOTCLUSTER=ocfs2\n")
    tree.write("/etc/modprobe.d/amd64-microcode-blacklist.conf", "blacklist microcode\n")
    tree.write("/proc/sys/kernel/hostname", "server1\n")
    tree.write("/proc/sys/kernel/osrelease", KERNEL + "\n")
    tree.write("/proc/cmdline", f"BOOT_IMAGE=/boot/vmlinuz-{KERNEL} root=/dev/vda ro quiet\n")
    tree.write("/proc/self/mountinfo", MOUNTINFO)
    tree.write(f"/usr/lib/modules/{KERNEL}/modules.dep", MODULES)
    tree.link("/lib", "usr/lib")
    tree.write("/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so", "")
    for tool in ("drbdadm", "drbdsetup", "drbdmeta", "o2cb", "mount.ocfs2", "losetup"):
        tree.write(f"/usr/sbin/{tool}", "", 0o755)
    units = Path(__file__).parent.parent.parent / "units"
    for unit in units.iterdir():
        tree.write(f"/usr/lib/systemd/system/{unit.name}", unit.read_text())
    tree.write("/usr/lib/systemd/system/drbd.service", "[Service]\nExecStart=/lib/drbd/scripts/drbd start\n")
    tree.enable("drbdocfs.target")
    tree.enable("systemd-timesyncd.service", "sysinit.target.wants")
    tree.enable("systemd-networkd-wait-online.service", "network-online.target.wants")
    # As Debian 12's packages leave them.
    for script, link in (("drbd", "K01drbd"), ("o2cb", "S01o2cb"), ("ocfs2", "S01ocfs2")):
        tree.write(f"/etc/init.d/{script}", f"#!/bin/sh\n# Provides: {script}\nmount -a -t ocfs2\n", 0o755)
        tree.link(f"/etc/rc2.d/{link}", f"../init.d/{script}")
    tree.path("/mnt/storage").mkdir()
    tree.path("/var/lib").mkdir()
    tree.path("/run").mkdir()
    tree.backing(disk())

    def answer(facts: Facts, *argv: str, limit: float = 10.0) -> Result | None:
        line = " ".join((*argv[:1], "…", *argv[3:]) if argv[0] == "sh" else argv)
        for head, text in tree.answers.items():
            if facts.live and line.startswith(head):
                return Result(0, text, "")
        return None

    monkeypatch.setattr(Facts, "tool", answer)
    return tree


def freeze(tree: Tree, monkeypatch: pytest.MonkeyPatch, top: str = "/mnt/storage") -> None:
    """From now on whoever asks the kernel for something below ``top``, which would hang him, fails the test."""
    tops = (f"{tree.root}{top}/", f"{top}/")
    looking: list[bool] = []

    def guard(place: Any, name: str) -> None:
        really = getattr(place, name)

        def ask(path: Any, *rest: Any, **more: Any) -> Any:
            if not looking and not isinstance(path, int):
                looking.append(True)
                try:
                    text = os.fspath(path)
                    head, _, tail = text.rpartition("/")
                    # What the kernel walks through on its way.
                    at_link = name in ("lstat", "readlink")
                    real = f"{os.path.realpath(head)}/{tail}" if at_link else os.path.realpath(text)
                finally:
                    looking.clear()
                assert not real.startswith(tops), f"looked at: {path}"
            return really(path, *rest, **more)

        monkeypatch.setattr(place, name, ask)

    for name in ("stat", "lstat", "readlink", "open", "access", "listdir", "scandir", "statvfs"):
        guard(os, name)
    guard(builtins, "open")


def steps(*mutations: Callable[[Tree], object]) -> Callable[[Tree], None]:
    """One mutation after the other."""

    def mutate(tree: Tree) -> None:
        for mutation in mutations:
            mutation(tree)

    return mutate


def added(tree: Tree, find: Find, mutate: Callable[[Tree], object], live: bool = True) -> list[tuple[str, str]]:
    """Code and place of the findings that a mutation of the tree adds; there are none before."""
    assert list(find(tree.facts(live))) == []
    mutate(tree)
    return [(finding.code, finding.where) for finding in find(tree.facts(live))]
