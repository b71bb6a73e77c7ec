"""Area storage of check: each fault planted in a good host is found, and nothing else."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from drbdocfs_boot import drbdmd
from drbdocfs_boot.checks import lower, mounts, storage
from drbdocfs_boot.checks.facts import Facts
from tests.unit.checktree import MOUNTINFO, SIZE, Tree, added, disk, freeze, good, metadata, steps, superblock

FILE = "/drbd-loop.img"
DISK = "/dev/disk/by-id/virtio-data"
RES = "/etc/drbd.d/r0.res"
LENGTH = drbdmd.least(SIZE) // 512
CLUSTERS = struct.pack("<I", 64)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    return good(tmp_path / "root", monkeypatch)


@pytest.fixture
def frozen(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    freeze(tree, monkeypatch)


def sparse(tree: Tree) -> None:
    data = disk()
    with tree.path(FILE).open("wb") as file:
        file.truncate(SIZE)
        file.write(data[:16384])
        file.seek(SIZE - 4096)
        file.write(data[-4096:])


def directory(tree: Tree) -> None:
    tree.remove(FILE)
    tree.path(FILE).mkdir()


def fifo(tree: Tree) -> None:
    tree.remove(FILE)
    os.mkfifo(tree.path(FILE), 0o600)


def on_its_own_mount(tree: Tree) -> None:
    tree.path(FILE).rename(tree.path("/mnt/storage/loop.img"))
    tree.link(FILE, "/mnt/storage/loop.img")


def other_loop(tree: Tree) -> None:
    tree.write("/sys/block/loop3/loop/backing_file", FILE + "\n")


def mount(line: str) -> Callable[[Tree], None]:
    return lambda tree: tree.write("/proc/self/mountinfo", MOUNTINFO + line + "\n")


def ocfs2(**patches: bytes) -> Callable[[Tree], None]:
    return lambda tree: tree.backing(disk(block=superblock(at_14=CLUSTERS, **patches)))


def foreign(tree: Tree) -> None:
    block = bytearray(disk(block=b""))
    block[1080:1082] = b"\x53\xef"
    tree.backing(bytes(block))


CASES: dict[str, tuple[Callable[[Tree], object], str, str]] = {
    "missing": (lambda t: t.remove(FILE), "backing-missing", FILE),
    "dangling": (steps(lambda t: t.remove(FILE), lambda t: t.link(FILE, "/srv/gone.img")), "backing-missing", FILE),
    "directory": (directory, "backing-not-a-file", FILE),
    "fifo": (fifo, "backing-not-a-file", FILE),
    "tmpfs": (
        lambda t: t.replace("/proc/self/mountinfo", "- ext4 /dev/vda", "- overlay overlay"),
        "backing-volatile",
        FILE,
    ),
    "nfs": (
        lambda t: t.replace("/proc/self/mountinfo", "- ext4 /dev/vda", "- nfs4 filer:/root"),
        "backing-network",
        FILE,
    ),
    "own-mount": (on_its_own_mount, "backing-on-stack", FILE),
    "sparse": (sparse, "backing-sparse", FILE),
    "readable": (lambda t: t.path(FILE).chmod(0o644), "backing-readable", FILE),
    "empty": (lambda t: t.backing(b"\0" * 4096), "disk-too-small", FILE),
    "cut-off": (lambda t: t.backing(disk()[: SIZE // 2]), "metadata-missing", FILE),
    "grown": (lambda t: t.backing(disk() + bytes(SIZE)), "metadata-missing", FILE),
    "smaller-than-agreed": (
        lambda t: t.backing(disk(tail=metadata(SIZE // 512, LENGTH))),
        "disk-too-small",
        FILE,
    ),
    "loop-taken-by-snapd": (
        lambda t: t.write("/sys/block/loop7/loop/backing_file", "/var/lib/snapd/snaps/core20_1.snap\n"),
        "loop-taken",
        "/dev/loop7",
    ),
    "loop-of-removed-file": (
        lambda t: t.write("/sys/block/loop7/loop/backing_file", FILE + " (deleted)\n"),
        "loop-taken",
        "/dev/loop7",
    ),
    "other-loop": (other_loop, "loop-elsewhere", "/dev/loop3"),
    "ext4": (foreign, "foreign-signature", FILE),
    "nothing": (lambda t: t.backing(disk(block=b"")), "ocfs2-missing", FILE),
    "too-large": (lambda t: t.backing(disk(block=superblock())), "ocfs2-too-large", FILE),
    "other-cluster": (ocfs2(at_168=b"db\0"), "ocfs2-cluster", FILE),
    "pacemaker-stack": (ocfs2(at_160=b"pcmk"), "ocfs2-stack", FILE),
    "one-slot": (ocfs2(at_100=b"\x01\x00"), "ocfs2-slots", FILE),
    "local": (ocfs2(at_e0=struct.pack("<I", 46936)), "ocfs2-local", FILE),
    "no-label": (ocfs2(at_110=bytes(64)), "ocfs2-no-label", FILE),
}


@pytest.mark.parametrize("case", CASES)
def test_fault(case: str, tree: Tree) -> None:
    mutate, code, where = CASES[case]
    # Offline: all of it stands in files.
    assert added(tree, storage.find, mutate, live=False) == [(code, where)]


REAL: dict[str, tuple[Callable[[Tree], object], str, str]] = {
    "missing": (lambda t: t.remove("/dev/vdb"), "disk-missing", DISK),
    "mounted": (mount("40 22 254:16 / /srv rw - ocfs2 /dev/vdb rw"), "disk-mounted", DISK),
    "read-only": (lambda t: t.write("/sys/class/block/vdb/ro", "1\n"), "disk-read-only", DISK),
    "name": (lambda t: t.replace(RES, DISK, "/dev/vdb"), "disk-name-may-change", f"{RES}:4"),
    "no-metadata": (lambda t: t.on_disk(disk(tail=b"")), "metadata-missing", DISK),
    "xfs": (lambda t: t.on_disk(b"XFSB" + disk(block=b"")[4:]), "foreign-signature", DISK),
    "other-cluster": (
        lambda t: t.on_disk(disk(block=superblock(at_14=CLUSTERS, at_168=b"db\0"))),
        "ocfs2-cluster",
        DISK,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REAL)
def test_fault_of_a_real_disk(case: str, tree: Tree) -> None:
    tree.real_disk()
    mutate, code, where = REAL[case]
    assert added(tree, storage.find, mutate) == [(code, where)]


@pytest.mark.parametrize("there", [True, False])
def test_the_advice_for_a_removed_file_trusts_no_file_in_its_place(tree: Tree, there: bool) -> None:
    tree.write("/sys/block/loop7/loop/backing_file", FILE + " (deleted)\n")
    if not there:
        tree.remove(FILE)
    (found,) = (f for f in storage.find(tree.facts()) if f.code == "loop-taken")
    assert ("another one lies in its place" in found.message) is there
    # First the other host, then the stop, and nothing that is there is trusted.
    distrust = "'drbdadm invalidate r0'" if there else "'drbdadm create-md r0'"
    steps = ("connected and UpToDate", "Then stop the stack", "'losetup /dev/loop7", distrust, "'losetup --detach")
    places = [found.advice.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


def test_a_real_disk_is_not_looked_for_offline(tree: Tree) -> None:
    tree.real_disk()
    tree.remove("/dev/vdb")
    assert list(storage.find(tree.facts(live=False))) == []


def test_a_disk_that_cannot_be_read_gives_no_findings(tree: Tree) -> None:
    tree.real_disk()
    tree.answers.clear()
    assert list(storage.find(tree.facts())) == []


def test_the_disk_of_this_host_counts(tree: Tree) -> None:
    tree.real_disk()
    tree.replace("/etc/drbd.d/r0.res", "on server1 {", "on server1 { disk /dev/disk/by-id/other;")
    assert [(f.code, f.where) for f in storage.find(tree.facts())] == [("disk-missing", "/dev/disk/by-id/other")]
    assert list(storage.find(Facts(True, "server2"))) == []


def test_before_the_first_sync_there_need_be_no_file_system(tree: Tree) -> None:
    tree.backing(disk(block=b"", tail=metadata(0, LENGTH, flags=0)))
    assert list(storage.find(tree.facts())) == []


def test_external_metadata_is_not_looked_for_at_the_end(tree: Tree) -> None:
    tree.replace("/etc/drbd.d/r0.res", "meta-disk internal", "meta-disk /dev/vdc[0]")
    tree.write("/dev/vdc", "")
    tree.backing(disk(tail=b""))
    assert list(storage.find(tree.facts())) == []


META = "/dev/disk/by-id/virtio-meta"


def external(tree: Tree) -> None:
    tree.replace(RES, "meta-disk internal", f"meta-disk {META}[0]")
    tree.write("/dev/vdc", "")
    tree.link(META, "../../vdc")
    tree.write("/sys/class/block/vdc/ro", "0\n")


METADATA: dict[str, tuple[Callable[[Tree], object], list[str]]] = {
    "good": (lambda t: None, []),
    "missing": (lambda t: t.remove("/dev/vdc"), ["disk-missing"]),
    "mounted": (mount("40 22 254:32 / /srv rw - ext4 /dev/vdc rw"), ["disk-mounted"]),
    "read-only": (lambda t: t.write("/sys/class/block/vdc/ro", "1\n"), ["disk-read-only"]),
}


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("case", METADATA)
def test_the_device_of_external_metadata(tree: Tree, case: str, real: bool) -> None:
    if real:
        tree.real_disk()
    external(tree)
    mutate, codes = METADATA[case]
    mutate(tree)
    assert [(f.code, f.where) for f in storage.find(tree.facts())] == [(code, META) for code in codes]
    assert list(storage.find(tree.facts(live=False))) == []


def test_our_loop_device_bound_to_our_file_by_another_name(tree: Tree) -> None:
    # After a bind mount the kernel shows another path of the same file.
    os.link(tree.path(FILE), tree.path("/same.img"))
    tree.write("/sys/block/loop7/loop/backing_file", "/same.img\n")
    assert list(storage.find(tree.facts())) == []


def test_a_file_on_a_network_file_system_is_not_touched(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.replace("/proc/self/mountinfo", "- ext4 /dev/vda", "- nfs4 filer:/root")

    def never(facts: Facts, name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(Facts, "stat", never)
    assert [f.code for f in storage.find(tree.facts())] == ["backing-network"]


def test_nothing_below_a_stack_s_mount_is_touched(tree: Tree, frozen: None) -> None:
    """Reached by a link, by the loop device's file or by a line in fstab: it may never answer."""
    on_its_own_mount(tree)
    tree.write("/sys/block/loop7/loop/backing_file", "/mnt/storage/old.img\n")
    tree.append("/etc/fstab", "LABEL=web /srv ocfs2 defaults 0 0\n/mnt/storage/x /srv/x none bind 0 0\n")
    expected = [("backing-on-stack", FILE), ("loop-taken", "/dev/loop7")]
    assert [(f.code, f.where) for f in storage.find(tree.facts())] == expected
    tree.write("/proc/self/mountinfo", MOUNTINFO + "50 22 147:0 / /mnt/storage rw - ocfs2 /dev/drbd0 rw,barrier=1\n")
    assert list(mounts.find(tree.facts())) == []


@pytest.mark.parametrize("device", ["/dev/drbd1", "/dev/drbd/by-res/r0/1", "/dev/drbd/by-disk/loop7"])
@pytest.mark.parametrize("shared", [True, False])
def test_the_disk_of_the_stack_s_own_volume(tree: Tree, device: str, shared: bool) -> None:
    numbers = "volume 0 { device minor 0; } volume 1 { device minor 1; }"
    disks = "volume 0 { disk /dev/loop8; } volume 1 { disk /dev/loop7; }"
    top, own = (numbers, disks) if shared else (disks, numbers)
    hosts = "".join(f"on server{n} {{ {own} address 10.181.76.{9 + n}:7789; }}\n" for n in (1, 2))
    tree.write(RES, f"resource r0 {{ {top}\n{hosts} }}\n")
    tree.replace("/etc/drbdocfs/drbdocfs.conf", "/dev/drbd0", device)
    (stack,) = tree.facts().reading.stacks
    setting = lower.setting(tree.facts(), stack)
    assert setting is not None
    assert setting.name == "/dev/loop7"


def test_the_disk_of_a_host_whose_name_drbd_9_takes(tree: Tree) -> None:
    tree.replace(RES, "on server1 {", "on server1.example.com { disk /dev/vdz;")
    (stack,) = tree.facts().reading.stacks
    for version, name in (("9.2.0", "/dev/vdz"), ("8.4.11", "/dev/loop7")):
        tree.write("/sys/module/drbd/version", version)
        setting = lower.setting(tree.facts(), stack)
        assert setting is not None
        assert setting.name == name


def test_writable_by_everybody_is_an_error(tree: Tree) -> None:
    tree.path(FILE).chmod(0o666)
    assert [(f.code, f.severity) for f in storage.find(tree.facts())] == [("backing-readable", "error")]


def test_every_rule_has_a_fault() -> None:
    assert {case[1] for case in (*CASES.values(), *REAL.values())} == set(storage.BOOK.rules)
