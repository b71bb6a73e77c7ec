"""What the tests and the demo ask of a stack on real nodes: is it up, was the boot clean, was the shutdown in order."""

from __future__ import annotations

import re
import time

from .lab import Lab
from .node import Node

MOUNTPOINT = "/mnt/storage"
MOUNT_UNIT = "mnt-storage.mount"
# Layer -> unit, in the order of their start.
LAYERS = {
    "loop": "drbdocfs-loop@web.service",
    "attach": "drbdocfs-attach@web.service",
    "wait": "drbdocfs-wait@web.service",
    "promote": "drbdocfs-promote@web.service",
    "o2cb": "drbdocfs-o2cb@web.service",
    "mount": MOUNT_UNIT,
}
# Some 15 s on an idle machine, 31 s were seen beside four other virtual machines; what hangs takes 90 s and more, and
# systemd says then that it timed out.
_SHUTDOWN_SECONDS = 45.0
# What the kernel takes to start PID 1 beside another pair of virtual machines on two cores: 6.4 to 7.3 s were seen.
_KERNEL_SECONDS = 7.0
# Each must have happened before the next one, whoever says it: PID 1 in the journal.
DOWN_ORDER = (
    f"Unmounted {MOUNT_UNIT}",
    "Stopped drbdocfs-promote@web.service",
    "Stopped drbdocfs-attach@web.service",
    "Stopped drbdocfs-loop@web.service",
)
CLUSTER_ORDER = (DOWN_ORDER[0], "Stopped drbdocfs-o2cb@web.service", DOWN_ORDER[2])
# What a shutdown in good order never says.
BAD_WORDS = re.compile(
    r"Failed to|Could not detach|Could not unmount|timed out|Timed out|Forcibly|forcibly|SIGKILL|self-fencing|"
    r"Split-Brain|ordering cycle|BUG:|Call Trace|busy",
)
# systemd-shutdown says so at every shutdown, whether a process is left or not.
HARMLESS = re.compile(r"Sending SIG(TERM|KILL) to remaining processes")


def is_mounted(node: Node) -> bool:
    """True when the mount point holds OCFS2 on the DRBD device."""
    return node.execute(f"findmnt --noheadings --types ocfs2 --source /dev/drbd0 --mountpoint {MOUNTPOINT}").status == 0


def check_up(lab: Lab) -> None:
    """Both nodes: a clean boot, the stack up by our own word, and a file of the other node readable."""
    lab.both(lambda node: node.check_clean_boot())
    for node in lab.nodes:
        assert is_mounted(node), f"{node.name}: {MOUNTPOINT} is not mounted"
    lab.both(lambda node: node.run("drbdocfs status"))
    exchange(lab)


def exchange(lab: Lab) -> None:
    """Each node writes a file, the other reads it; then they are removed."""
    stamp = str(time.monotonic_ns())
    lab.both(lambda node: node.run(f"echo {node.name}-{stamp} > {MOUNTPOINT}/{node.name}.txt; sync"))
    for reader, writer in (lab.nodes, lab.nodes[::-1]):
        found = reader.run(f"cat {MOUNTPOINT}/{writer.name}.txt").strip()
        assert found == f"{writer.name}-{stamp}", f"{reader.name} reads {found!r} in the file of {writer.name}"
    lab.both(lambda node: node.run(f"rm {MOUNTPOINT}/{node.name}.txt"))


def check_down(node: Node) -> None:
    """No layer is left: no mount, no cluster, no DRBD minor, no loop device."""
    assert not is_mounted(node)
    assert node.run("ls /sys/kernel/config/cluster 2>/dev/null || true").strip() == ""
    assert "r0" not in node.run("drbdsetup status 2>/dev/null || true")
    assert node.run("cat /sys/block/loop7/loop/backing_file 2>/dev/null || true").strip() == ""
    assert node.run("ls /run/drbdocfs 2>/dev/null || true").strip() == ""


def stop(node: Node) -> None:
    """Stop all stacks, and wait for the layers: systemctl itself only waits for the target, which stops first."""
    node.run("systemctl stop drbdocfs.target", timeout=120)
    node.wait_until("! systemctl list-jobs | grep -q stop", timeout=120)


def check_order(text: str, *orders: tuple[str, ...]) -> None:
    """The lines of each order (those of a stop) stand in `text`, each first found after the one before."""
    for order in orders or (DOWN_ORDER, CLUSTER_ORDER):
        places = []
        for words in order:
            assert words in text, f"{words!r} is not in the journal:\n{text[-6000:]}"
            places.append(text.rindex(words))
        assert places == sorted(places), "wrong order:\n" + "\n".join(
            line for line in text.splitlines() if any(words in line for words in order)
        )


def shutdown_text(journal: str) -> str:
    """The part of a boot's journal in which systemd stops units."""
    for begin in ("Stopped target multi-user.target", "Stopping drbdocfs", "Unmounting " + MOUNT_UNIT):
        if begin in journal:
            return journal[journal.rindex(begin) :]
    return journal


def check_shutdown_order(text: str) -> None:
    """As for any stop; and what uses the network goes before it does, which the loop device does not."""
    check_order(text)
    check_order(text, (DOWN_ORDER[2], "Stopped target network.target"))


def shutdown_limit(node: Node) -> float:
    """Seconds that the shutdown before this boot may have taken; more where the machine made this boot a slow one."""
    return _SHUTDOWN_SECONDS * max(1.0, node.kernel_seconds() / _KERNEL_SECONDS)


def check_shutdown(node: Node) -> None:
    """The shutdown before this boot: in order, nothing forced, nothing failed, in time."""
    text = shutdown_text(node.journal(boot=-1))
    check_shutdown_order(text)
    console = node.console(boot=-1)
    bad = [
        line
        for line in (*text.splitlines(), *console[console.rfind("Stopped target multi-user") :].splitlines())
        if BAD_WORDS.search(line) and not HARMLESS.search(line)
    ]
    assert not bad, f"{node.name}, at shutdown:\n" + "\n".join(bad)
    limit = shutdown_limit(node)
    assert node.last_shutdown < limit, f"{node.name} took {node.last_shutdown:.1f} s to shut down, not {limit:.1f} s"
