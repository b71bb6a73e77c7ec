"""What rows have in common in which an administrator mends something: put it out of order, boot, look, mend, start."""

from __future__ import annotations

from . import stack
from .fault import Case
from .node import Node
from .situations import history
from .stack import MOUNTPOINT, is_mounted


def stopped(case: Case, node: Node) -> None:
    """The stack stopped in good order on one node, whose writer would hold the mount."""
    case.records.stop(node)
    stack.stop(node)


def script(case: Case, node: Node, make: str, undo: str) -> None:
    """Put something out of order on a node by a shell script; it is put back afterwards, also if this one fails."""
    case.afterwards(lambda: node.run(undo, timeout=180))
    # On the disk before the power or a reset can come.
    node.run(f"{make}; sync", timeout=180)


def stays_down(case: Case, node: Node) -> None:
    """Nothing is mounted there, and it is not Primary."""
    case.must(not is_mounted(node), f"{node.name}: {MOUNTPOINT} is mounted")
    proc = node.run("cat /proc/drbd 2>/dev/null || :")
    case.must("ro:Primary" not in proc, f"{node.name} is Primary:\n{proc}")


def rebooted(case: Case, node: Node) -> None:
    """A reboot in good order, to a login."""
    shutdown = node.reboot()
    case.boots(node)
    case.note(f"{node.name}: shutdown {shutdown:.0f} s, boot {node.boot_times().finish:.0f} s")


def named(case: Case, node: Node, *words: str) -> None:
    """What `drbdocfs status` has to say, each within a minute."""
    for each in words:
        case.says(node, each)
    case.note(f"named: {'; '.join(words)}")


def start(node: Node) -> None:
    """What an administrator does after mending."""
    node.run("systemctl start drbdocfs.target", timeout=300)


def refused_at_boot(case: Case, make: str, undo: str, *words: str) -> None:
    """server2 boots with the fault in: to a login, nothing mounted, the reason in `status`; mended and started, it is
    up, and server1 has not noticed more than a peer that was away."""
    case.records.collect(case.one)
    before = history(case.one)
    stopped(case, case.two)
    script(case, case.two, make, undo)
    rebooted(case, case.two)
    stays_down(case, case.two)
    named(case, case.two, *words)
    case.put_back()
    start(case.two)
    case.must(history(case.one) == before, "something restarted on server1")
