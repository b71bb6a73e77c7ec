"""Faults: what the disk below DRBD, its backing file, its metadata or the root file system can do."""

from __future__ import annotations

import time

from . import stack
from .fault import WRITES, Case, fault
from .mending import named, rebooted, refused_at_boot, script, start, stays_down, stopped
from .node import Node
from .provision import BACKING_FILE, LOOP
from .situations import await_up, configure, history, status
from .stack import MOUNTPOINT, is_mounted

GROUP = "storage"
AWAY = "/root/whole.img"
# The virtual machines' second disk, which nothing else uses.
DISK = "/dev/vdb"
OWN = "/srv/own"
MIB = 1024 * 1024


@fault("file-missing", "login, the file named; mended and started it is up", group=GROUP)
def file_missing(case: Case) -> None:
    refused_at_boot(
        case,
        f"mv {BACKING_FILE} {AWAY}", f"mv {AWAY} {BACKING_FILE}",
        f"backing file {BACKING_FILE}: No such file or directory",
    )  # fmt: skip


@fault(
    "file-truncated",
    "login, the disk named; an empty file is named as such; the whole one back, it is up",
    group=GROUP,
    seconds=240.0,
)
def file_truncated(case: Case) -> None:
    node = case.two
    stopped(case, node)
    script(
        case, node,
        f"mv {BACKING_FILE} {AWAY}; head --bytes=100M {AWAY} > {BACKING_FILE}",
        f"mv {AWAY} {BACKING_FILE}",
    )  # fmt: skip
    rebooted(case, node)
    stays_down(case, node)
    named(case, node, "No valid meta data found")
    stack.stop(node)
    node.run(f": > {BACKING_FILE}")
    node.fail("systemctl start drbdocfs@web.target", timeout=120)
    named(case, node, f"backing file {BACKING_FILE} is empty")
    case.put_back()
    start(node)


@fault(
    "file-late",
    "the boot waits for the file system of the file, a minute, and comes up by itself",
    group=GROUP,
    seconds=260.0,
)
def file_late(case: Case) -> None:
    node = case.two
    stopped(case, node)
    # Outside local-fs.target, as a file system that comes over the network: only who needs it waits for it.
    node.put_text(
        "/etc/systemd/system/srv-late.mount",
        "[Unit]\nDefaultDependencies=no\nConflicts=umount.target\nBefore=umount.target\n"
        "Requires=slow.service\nAfter=slow.service\n"
        "[Mount]\nWhat=/srv/.late\nWhere=/srv/late\nType=none\nOptions=bind\n",
    )
    node.put_text(
        "/etc/systemd/system/slow.service",
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=sleep 60\n",
    )

    def undo() -> None:
        stopped(case, node)
        node.run(
            f"systemctl stop srv-late.mount; mv /srv/.late/disk.img {BACKING_FILE};"
            " rm /etc/systemd/system/srv-late.mount /etc/systemd/system/slow.service"
        )
        configure([node], backing_file=BACKING_FILE)
        start(node)

    case.afterwards(undo)
    node.run(f"mkdir -p /srv/.late /srv/late; mv {BACKING_FILE} /srv/.late/disk.img")
    configure([node], backing_file="/srv/late/disk.img")
    node.run("sync")
    rebooted(case, node)
    await_up([node], 30)
    node.check_clean_boot()
    loop = node.boot_times().units["drbdocfs-loop@web.service"]
    slow = node.boot_times().units["slow.service"]
    case.must(loop.began >= slow.active >= 60, f"the loop device began at {loop.began:.0f} s, slow at {slow.active} s")
    stack.exchange(case.lab)


@fault("loop-taken", "login, who has taken the number is named; released and started it is up", group=GROUP)
def loop_taken(case: Case) -> None:
    unit = "/etc/systemd/system/thief.service"
    case.two.put_text(
        unit,
        "[Unit]\nDefaultDependencies=no\nAfter=systemd-udevd.service\nBefore=drbdocfs-loop@web.service sysinit.target\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStartPre=modprobe loop\n"
        f"ExecStart=losetup {LOOP} /root/other.img\n",
    )
    refused_at_boot(
        case,
        "truncate --size=10M /root/other.img; mkdir -p /etc/systemd/system/sysinit.target.wants;"
        f" ln -s {unit} /etc/systemd/system/sysinit.target.wants/; systemctl daemon-reload",
        f"rm {unit} /etc/systemd/system/sysinit.target.wants/thief.service; losetup --detach {LOOP};"
        " rm /root/other.img; systemctl daemon-reload",
        f"{LOOP} is taken by /root/other.img",
    )


@fault(
    "metadata-destroyed",
    "login, named; new metadata, the whole disk comes from the peer, nothing is lost",
    group=GROUP,
    seconds=280.0,
)
def metadata_destroyed(case: Case) -> None:
    node = case.two
    before = history(case.one)
    stopped(case, node)
    node.run(f"dd if=/dev/zero of={BACKING_FILE} bs=1M seek=159 count=1 conv=notrunc,fsync status=none")
    rebooted(case, node)
    stays_down(case, node)
    named(case, node, "No valid meta data found")
    stack.stop(node)
    node.run(
        f"losetup {LOOP} {BACKING_FILE}; drbdadm create-md --force r0 </dev/null 2>&1; losetup --detach {LOOP}",
        timeout=120,
    )
    start(node)
    await_up([node])
    seen = node.run("journalctl --boot --dmesg --no-pager --grep SyncTarget || :")
    case.must("SyncTarget" in seen, "there was no resync")
    case.must(history(case.one) == before, "something restarted on server1")


# A file system of its own for the backing file: what happens to it does not happen to the root file system.


def on_own_file_system(case: Case, node: Node, size: str) -> None:
    """The backing file of a node, with holes where it is empty, on the second disk; back again afterwards."""
    new = f"{OWN}/disk.img"

    def undo() -> None:
        stopped(case, node)
        node.run(
            f"findmnt {OWN} >/dev/null || mount {DISK} {OWN}; cp --sparse=never {new} {BACKING_FILE}; umount {OWN};"
            f" wipefs --all --quiet {DISK}; sync",
            timeout=240,
        )
        configure([node], backing_file=BACKING_FILE)
        start(node)

    stopped(case, node)
    node.run(
        f"mkdir -p {OWN}; mkfs.ext4 -q -F -m 0 {DISK} {size}; mount {DISK} {OWN};"
        # DRBD's metadata at the end are no hole, so that the fault hits what is written.
        f" cp --sparse=always {BACKING_FILE} {new}; fallocate --offset={155 * MIB} --length={5 * MIB} {new}; sync",
        timeout=240,
    )
    case.afterwards(undo)
    configure([node], backing_file=new)
    start(node)
    await_up([node])
    case.records.start(node)


def diskless(case: Case, node: Node) -> None:
    """DRBD has given its disk up and works on that of the peer; status says so."""
    node.wait_until("grep -q 'ds:Diskless' /proc/drbd", 120)
    case.says(node, "Diskless")
    case.must(is_mounted(node), f"{node.name}: {MOUNTPOINT} is not mounted any more")
    case.note(f"named: {next((line.strip() for line in status(node).splitlines() if 'Diskless' in line), '')}")


@fault(
    "file-full",
    "write errors below DRBD: the disk is dropped, writers go on with the peer's; room made and attached, it"
    " resyncs",
    group=GROUP,
    seconds=360.0,
)
def file_full(case: Case) -> None:
    node = case.two
    on_own_file_system(case, node, "220M")
    before = history(node)
    node.run(f"head --bytes=220M /dev/zero > {OWN}/full 2>/dev/null || :; sync {OWN}/full", timeout=120)
    node.run(f"head --bytes=60M /dev/urandom > {MOUNTPOINT}/holes; sync {MOUNTPOINT}/holes", timeout=240)
    diskless(case, node)
    case.records.await_writes(node, case.records.last(node), 60)
    case.must(history(node) == before, "something restarted")
    node.run(f"rm {OWN}/full; drbdadm attach r0", timeout=60)
    node.wait_until("grep -q 'ds:UpToDate/UpToDate' /proc/drbd", 180)
    node.run(f"rm {MOUNTPOINT}/holes")


@fault(
    "disk-errors",
    "the disk below the file fails: it is dropped, writers go on with the peer's; back again and started, it"
    " resyncs",
    group=GROUP,
    seconds=360.0,
)
def disk_errors(case: Case) -> None:
    node = case.two
    on_own_file_system(case, node, "300M")
    before = history(node)
    driver = "/sys/bus/virtio/drivers/virtio_blk"
    device = node.run("basename $(readlink -f /sys/block/vdb/device)").strip()

    def undo() -> None:
        stopped(case, node)
        # The file system that lost its disk goes first, so that the disk gets its old name.
        node.run(f"umount {OWN} || umount --lazy {OWN}; echo {device} > {driver}/bind; udevadm settle; test -b {DISK}")

    case.afterwards(undo)
    node.run(f"echo {device} > {driver}/unbind")
    # What goes to a file below a dead disk stays in memory without an error, and a flush that fails makes DRBD 8.4 do
    # without: its own metadata is what it cannot write, and that it writes for each 4 MiB that it has not written yet.
    node.run(f"head --bytes=30M /dev/urandom > {MOUNTPOINT}/after; sync {MOUNTPOINT}/after", timeout=240)
    diskless(case, node)
    case.records.await_writes(node, case.records.last(node), 60)
    case.must(history(node) == before, "something restarted")


@fault(
    "failed-disk-stopped",
    "the stack of a node without its disk is stopped: the other one is not held up; started again it is up",
    group=GROUP,
)
def failed_disk_stopped(case: Case) -> None:
    node, other = case.two, case.one
    node.run("drbdadm detach --force r0")
    diskless(case, node)
    for _ in range(2):  # DRBD 8.4 hung in about every third try when it had frozen the other one
        stopped(case, node)
        # By its policy it would be held back for a minute, and then reset.
        case.says(other, "went on without its peer since", limit=10.0)
        case.records.await_writes(other, time.monotonic(), 10.0)
        case.must(" s-----" not in other.run("cat /proc/drbd"), f"{other.name}: input and output are frozen")
        start(node)
        await_up([node])
        node.run("drbdadm detach --force r0")
        diskless(case, node)
    stopped(case, node)
    start(node)


def reset_by_hand(case: Case, node: Node) -> None:
    """As docs/recovery.md has it for a host that hangs.  Without -n it waits for a sync, which never ends where input
    and output are frozen, and O2CB comes first, after a minute."""
    resets = node.resets
    node.run("setsid sh -c 'sleep 1; exec reboot -f -n' >/dev/null 2>&1 </dev/null &")
    case.must(node.await_reset(resets, 20.0), f"{node.name} was not reset")


@fault(
    "only-disk-resets",
    "one has lost its disk and works on the peer's, which resets: both come back by themselves, nothing is lost",
    group=GROUP,
)
def only_disk_resets(case: Case) -> None:
    node, other = case.two, case.one
    node.run("drbdadm detach --force r0")
    diskless(case, node)
    case.records.await_writes(node, time.monotonic(), 30.0)
    before = node.resets
    reset_by_hand(case, other)
    case.boots(other)
    # Without any disk it can do nothing; O2CB resets a host whose heartbeat cannot be written.
    case.note(f"{node.name} {'reset itself' if node.await_reset(before, 120.0) else 'was not reset'}")


@fault(
    "frozen-one-resets",
    "both frozen for good: `reboot -f -n` resets one at once, `drbdadm resume-io` lets the other go on; the one that"
    " comes back is resynced",
    group=GROUP,
)
def frozen_one_resets(case: Case) -> None:
    node, other = case.two, case.one
    before = history(other)
    node.run(f"head --bytes=8M /dev/urandom > {MOUNTPOINT}/unsynced")
    for each in case.lab.nodes:
        each.run("drbdsetup suspend-io 0")
    began = time.monotonic()
    reset_by_hand(case, node)
    case.note(f"reset after {time.monotonic() - began:.0f} s")
    other.run("drbdadm resume-io r0")
    case.must(" s-----" not in other.run("cat /proc/drbd"), f"{other.name}: input and output are frozen")
    case.records.await_writes(other, time.monotonic(), WRITES)
    case.boots(node)
    case.must(history(other) == before, f"something restarted on {other.name}")
    await_up([node])
    node.run(f"rm --force {MOUNTPOINT}/unsynced")


@fault(
    "disk-slow",
    "writes wait for the slow disk on both nodes; nothing is dropped, nobody is reset",
    group=GROUP,
    seconds=330.0,
)
def disk_slow(case: Case) -> None:
    node = case.two
    on_own_file_system(case, node, "300M")
    before = [history(each) for each in case.lab.nodes]
    case.afterwards(lambda: node.throttle("data", 0))
    node.throttle("data", 4)
    # Longer than O2CB's limit of a minute would let a heartbeat stand still.
    node.run(f"timeout 75 sh -c 'while :; do head --bytes=256K /dev/urandom > {MOUNTPOINT}/slow;"
             f" sync {MOUNTPOINT}/slow; done' || :", timeout=240)  # fmt: skip
    for each, old in zip(case.lab.nodes, before):
        case.must(history(each) == old, f"{each.name}: something restarted")
    case.must("Diskless" not in node.run("cat /proc/drbd"), "a slow disk was dropped")
    node.throttle("data", 0)
    node.run(f"rm {MOUNTPOINT}/slow", timeout=120)


@fault(
    "root-full",
    "the stack goes on, status and a reboot work, it comes up by itself with no room left",
    group=GROUP,
    seconds=220.0,
)
def root_full(case: Case) -> None:
    node = case.two
    before = history(node)
    case.records.stop(node)  # its notes are on the full file system
    script(case, node, "fallocate --length=$(df --output=avail --block-size=1 / | tail -n 1) /full 2>/dev/null || :;"
           " head --bytes=300M /dev/zero >> /full 2>/dev/null || :; test $(df --output=avail / | tail -n 1) -lt 100",
           "rm -f /full")  # fmt: skip
    case.says(node, "web: up")
    node.run("systemctl daemon-reload; systemctl restart drbdocfs-follow.service", timeout=90)
    case.must(history(node) == before, "something restarted")
    rebooted(case, node)
    await_up([node])
    stack.exchange(case.lab)


@fault("root-read-only", "login, the file that cannot be written is named; writable again and started it is up",
       group=GROUP)
def root_read_only(case: Case) -> None:
    node = case.two
    stopped(case, node)
    script(
        case, node,
        "cp /etc/fstab /root/fstab; sed -i 's|^/dev/vda .*|/dev/vda / ext4 ro 0 1|' /etc/fstab;"
        " grep -q ' ro ' /etc/fstab",
        f"mount -o remount,rw /; cp /root/fstab /etc/fstab; systemctl stop drbdocfs.target;"
        f" losetup --detach {LOOP} 2>/dev/null || :; systemctl daemon-reload; systemctl reset-failed",
    )  # fmt: skip
    rebooted(case, node)
    stays_down(case, node)
    named(case, node, f"{LOOP} is bound to {BACKING_FILE}, but read-only")
    case.put_back()
    start(node)
