"""Faults during a resync: the power of its source or of its target, a shutdown of either."""

from __future__ import annotations

from . import stack
from .fault import Case, fault
from .node import Node
from .provision import BACKING_FILE
from .situations import RESOURCE_FILE, TARGET, checksum, write

GROUP = "resync"
_FENCING = "disk { fencing resource-and-stonith;"
_SLOW = " resync-rate 300k; c-plan-ahead 0;"


def slow(node: Node) -> None:
    """A fixed, slow rate at the next attach or adjust, in place of DRBD's own control; fencing as it is."""
    node.run(
        f"sed -i -e 's/syncer {{/# slow &/' -e 's/{_FENCING}/&{_SLOW}/' {RESOURCE_FILE};"
        f" grep -q '{_SLOW}' {RESOURCE_FILE}; drbdadm dump r0 >/dev/null; sync --file-system {RESOURCE_FILE}"
    )


def fast(node: Node) -> None:
    """The end of slow(), at once where DRBD is up."""
    node.run(
        f"sed -i -e 's/# slow //' -e 's/{_SLOW}//' {RESOURCE_FILE}; sync --file-system {RESOURCE_FILE};"
        " ! grep -q ' ro:' /proc/drbd 2>/dev/null || drbdadm adjust r0"
    )


def _under_way(case: Case) -> None:
    """server2 is target of a resync of 40 MiB, which takes two minutes; it is not mounted there.

    At the end of the row it goes on at full speed, and the file that was written meanwhile has to be whole on both.
    """
    total = ""

    def whole() -> None:
        for node in case.lab.nodes:
            node.wait_until(f"systemctl is-active --quiet {TARGET}", 240)
            case.must(checksum(node, "while-away") == total, f"{node.name}: another checksum after the resync")
        case.one.run(f"rm {stack.MOUNTPOINT}/while-away")

    case.afterwards(whole)
    case.afterwards(lambda: case.lab.both(fast))
    case.records.stop(case.two)
    stack.stop(case.two)
    case.lab.both(slow)
    case.one.run("drbdadm adjust r0")
    total = write(case.one, "while-away", "40M")
    case.two.run(f"systemctl start --no-block {TARGET}")
    case.two.wait_until("grep -q 'cs:SyncTarget' /proc/drbd", 60)
    case.says(case.two, "resync from server1")
    case.down_and_waiting(case.two)


def _from_its_start(case: Case) -> None:
    """server2 has booted, and all of its file is resynchronized, whatever DRBD's bitmap has left."""
    case.two.wait_until("grep -q 'cs:SyncTarget' /proc/drbd", 60)
    said = case.two.run("journalctl --boot --output=cat --unit=drbdocfs-attach@web.service")
    case.must("all of it is resynchronized" in said, f"the attach says\n{said}")
    case.down_and_waiting(case.two)


@fault("resync-power-cut-target", "the source writes on; the target's file is resynchronized from its start at its next"
       " boot, and it comes up when that is whole", group=GROUP, seconds=280)  # fmt: skip
def target_cut(case: Case) -> None:
    case.short_limits()
    _under_way(case)
    case.power_cut(case.two)
    case.power_on(case.two)
    _from_its_start(case)


# DRBD writes its bitmap for each part of the disk that is done, without a flush. What of that has got to the disk, as
# by the kernel's own writeback of dirty pages, is there afterwards; the blocks that it speaks of have no place in their
# file yet, for the file system's journal follows some seconds later.
# Of the 45056 bytes of metadata the last 4096 are the superblock; the activity log beside the bitmap stands still here.
_DIE = f"""\
import ctypes, os, time
fd = os.open({BACKING_FILE!r}, os.O_RDONLY)
size = os.fstat(fd).st_size
bitmap = lambda: os.pread(fd, 40960, size - 45056)
before = bitmap()
while bitmap() == before:
    time.sleep(0.02)
ctypes.CDLL(None).sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), 7)
open("/proc/sysrq-trigger", "w").write("b")
"""


@fault("resync-target-dies-after-a-bitmap-write", "all is resynchronized, not what the bitmap has left, and the attach"
       " says so; the target comes up when it is whole", group=GROUP, seconds=330)  # fmt: skip
def target_dies(case: Case) -> None:
    case.short_limits()
    _under_way(case)
    case.two.put_text("/run/die", _DIE)
    case.two.run("sysctl --quiet kernel.sysrq=1; systemd-run --quiet python3 /run/die")
    case.one.wait_until("grep -q 'cs:WFConnection' /proc/drbd", 240)
    case.power_cut(case.two)
    case.power_on(case.two)
    _from_its_start(case)


@fault("resync-power-cut-source", "the target is Inconsistent and waits, its status says for whom; both come up when"
       " the source is back", group=GROUP, seconds=280)  # fmt: skip
def source_cut(case: Case) -> None:
    case.short_limits()
    _under_way(case)
    case.records.collect(case.one)
    case.power_cut(case.one)
    case.two.wait_until("grep -q 'cs:WFConnection' /proc/drbd", 60)
    case.says(case.two, "local disk Inconsistent")
    case.down_and_waiting(case.two)
    case.power_on(case.one)


@fault("resync-shutdown-target", "in good order; the target goes on with the resync at its next boot", group=GROUP,
       seconds=260)  # fmt: skip
def target_shutdown(case: Case) -> None:
    case.short_limits()
    _under_way(case)
    case.note(f"down in {case.two.shutdown():.0f} s")
    case.power_on(case.two)
    case.down_and_waiting(case.two)


@fault("resync-shutdown-source", "in good order; both come up when the source is back", group=GROUP, seconds=260)
def source_shutdown(case: Case) -> None:
    case.short_limits()
    _under_way(case)
    case.note(f"down in {case.one.shutdown():.0f} s")
    case.says(case.two, "local disk Inconsistent")
    case.down_and_waiting(case.two)
    case.power_on(case.one)
