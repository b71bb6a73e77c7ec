"""Faults: reboots, and the power going at every stage of a boot and of a shutdown."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

from . import fencing, stack
from .fault import Case, fault
from .node import Node
from .situations import properties, sit_in_the_mount

GROUP = "reboots and power"
# The number of reboots of the row `many-reboots`: 50 for the record, fewer to try it.
CYCLES = int(os.environ.get("LAB_REBOOTS", "50"))
# What a line of the console is followed by, before the power goes, is left to chance: the layer's work takes from
# half a second to several.
_AT_MOST = 2.0


@fault("reboot-one", "the other writes on; it comes back by itself", group=GROUP)
def reboot_one(case: Case) -> None:
    case.reboot(case.two)


@fault("reboot-the-first", "the other writes on; it comes back by itself", group=GROUP)
def reboot_the_first(case: Case) -> None:
    case.reboot(case.one)


@fault("reboot-both", "both shut down in good order and come back by themselves", group=GROUP)
def reboot_both(case: Case) -> None:
    case.lab.both(case.reboot)


@fault("reboot-both-30s-apart", "both shut down in good order and come back by themselves", group=GROUP, seconds=230)
def reboot_both_apart(case: Case) -> None:
    def work(node: Node) -> None:
        if node is case.two:
            time.sleep(30)
        case.reboot(node)

    case.lab.both(work)


def many_reboots(case: Case) -> None:
    """Without writers, which stop at each; a file of the other node is read after each."""
    for cycle in range(1, CYCLES + 1):
        case.lab.both(case.reboot)
        fencing.await_together(case.lab)
        stack.exchange(case.lab)
        if case.wrong:
            case.wrong.append(f"stopped after {cycle} of {CYCLES} reboots")
            break
    case.notes[:] = [f"{cycle} reboots of both"]


fault("many-reboots", "each time both shut down in good order and come back by themselves", group=GROUP,
      seconds=110.0 * CYCLES, writing=False, named_only=True)(many_reboots)  # fmt: skip


@fault("kernel-panic", "it resets itself, and the other writes on; it comes back by itself", group=GROUP)
def kernel_panic(case: Case) -> None:
    node = case.two
    for each in case.lab.nodes:
        settings = each.run("cat /proc/sys/kernel/panic_on_oops /proc/sys/kernel/panic").split()
        case.must(settings == ["1", "10"], f"{each.name}: the kernel's settings are {settings}")
    resets = node.resets
    node.execute("(sleep 1; echo c > /proc/sysrq-trigger) >/dev/null 2>&1 &")
    case.must(node.await_reset(resets, 60.0), f"{node.name} has not reset itself")
    case.boots(node)


# The power of one, of both


def _one_cut(case: Case) -> None:
    case.power_cut(case.two)
    case.says(case.one, "went on without its peer", limit=120)
    case.power_on(case.two)


fault("power-cut-one-idle", "the other has the lock and goes on, and its status says so; it comes back by itself",
      group=GROUP, writing=False)(_one_cut)  # fmt: skip
fault("power-cut-one-writing", "the other has the lock and writes on, and its status says so; it comes back by itself",
      group=GROUP, seconds=250)(_one_cut)  # fmt: skip


def _both_cut(case: Case) -> None:
    case.power_cut(case.one, case.two)
    case.power_on(case.one, case.two)


fault("power-cut-both-idle", "both come back by themselves", group=GROUP, writing=False)(_both_cut)
fault("power-cut-both-writing", "both come back by themselves, and no record is lost", group=GROUP)(_both_cut)


@fault("power-cut-both-on-60s-apart", "the first waits for the second and is not mounted alone; both come up",
       group=GROUP, seconds=260)  # fmt: skip
def on_apart(case: Case) -> None:
    case.power_cut(case.one, case.two)
    case.one.start()
    on = time.monotonic()
    case.one.wait_connected()
    case.says(case.one, "waiting for server2")
    time.sleep(max(0.0, on + 60 - time.monotonic()))
    case.down_and_waiting(case.one)
    case.power_on(case.two)
    case.boots(case.one)


@fault("power-cut-one-then-the-other", "the one that went on alone has the newest data; both come back with them",
       group=GROUP, seconds=330)  # fmt: skip
def one_after_the_other(case: Case) -> None:
    case.power_cut(case.two)
    case.records.await_writes(case.one, time.monotonic() + 1, 150)
    case.records.collect(case.one)
    case.power_cut(case.one)
    case.power_on(case.one, case.two)


@fault("power-cut-the-stale-one-first", "it is not mounted alone, for it may lack what the other one wrote; both come"
       " up as soon as the other one is back", group=GROUP, seconds=380)  # fmt: skip
def stale_first(case: Case) -> None:
    case.short_limits()
    case.power_cut(case.two)
    case.records.await_writes(case.one, time.monotonic() + 1, 150)
    case.records.collect(case.one)
    case.power_cut(case.one)
    case.power_on(case.two)
    case.says(case.two, "not alone", "cannot go on without it")
    case.down_and_waiting(case.two)
    case.power_on(case.one)


# The power at a stage

BOOT_STAGES = {
    "loop": "Starting drbdocfs-loop@web.service",
    "attach": "Starting drbdocfs-attach@web.service",
    "wait": "Starting drbdocfs-wait@web.service",
    "promote": "Starting drbdocfs-promote@web.service",
    "o2cb": "Starting drbdocfs-o2cb@web.service",
    "mount": "Mounting mnt-storage.mount",
}
SHUTDOWN_STAGES = {
    "unmount": "Unmounting mnt-storage.mount",
    "o2cb": "Stopping drbdocfs-o2cb@web.service",
    "demote": "Stopping drbdocfs-promote@web.service",
    "down": "Stopping drbdocfs-attach@web.service",
    "loop": "Stopping drbdocfs-loop@web.service",
}


def _cut_after(case: Case, node: Node, words: str, begin: int = 0) -> None:
    """The power of a node goes when its console has said so, and a moment later."""
    case.await_console(node, words, begin)
    delay = random.uniform(0.0, _AT_MOST)
    time.sleep(delay)
    case.power_cut(node)
    case.note(f"{node.name} cut {delay:.1f} s after {words!r}")


def _at_boot(words: str) -> Callable[[Case], None]:
    def make(case: Case) -> None:
        case.two.shutdown()
        case.two.start()
        _cut_after(case, case.two, words)
        case.power_on(case.two)

    return make


def _at_boot_of_both(words: str) -> Callable[[Case], None]:
    def make(case: Case) -> None:
        case.lab.shutdown()
        for node in case.lab.nodes:
            node.start()
        case.lab.both(lambda node: _cut_after(case, node, words))
        case.power_on(case.one, case.two)

    return make


def _at_shutdown(words: str) -> Callable[[Case], None]:
    def make(case: Case) -> None:
        begin = len(case.two.console())
        case.two.ask("systemctl --no-block poweroff", 20)
        _cut_after(case, case.two, words, begin)
        case.power_on(case.two)

    return make


for _stage, _words in BOOT_STAGES.items():
    fault(f"power-cut-at-boot-{_stage}", "the other writes on; it comes up at its next boot", group=GROUP,
          seconds=260)(_at_boot(_words))  # fmt: skip
for _stage in ("wait", "promote", "mount"):
    fault(f"power-cut-both-at-boot-{_stage}", "both come up at their next boot", group=GROUP, seconds=260)(
        _at_boot_of_both(BOOT_STAGES[_stage]))  # fmt: skip
for _stage, _words in SHUTDOWN_STAGES.items():
    fault(f"power-cut-at-shutdown-{_stage}", "the other writes on; it comes up at its next boot", group=GROUP,
          seconds=240)(_at_shutdown(_words))  # fmt: skip


# Shutdowns that have something in their way


@fault("shutdown-held", "a process in the mount is named in the journal and does not keep the machine up;"
       " the other writes on", group=GROUP, seconds=300)  # fmt: skip
def shutdown_held(case: Case) -> None:
    pid = sit_in_the_mount(case.two)
    case.note(f"down in {case.two.shutdown(200):.0f} s")
    case.power_on(case.two)
    text = stack.shutdown_text(case.two.journal(boot=-1))
    named = [line for line in text.splitlines() if f"pid {pid}" in line or (pid in line and "holders" in line)]
    case.must(bool(named), f"the process {pid} is not named in the journal of the shutdown")


@fault("shutdown-while-the-peer-is-off", "in good order and in time; both come back by themselves, with what the last"
       " one wrote", group=GROUP, seconds=300)  # fmt: skip
def shutdown_alone(case: Case) -> None:
    case.two.shutdown()
    case.records.await_writes(case.one, time.monotonic(), 60)
    case.note(f"down in {case.one.shutdown():.0f} s")
    case.power_on(case.one, case.two)
    for node in case.lab.nodes:
        case.clean_shutdown(node)


@fault("shutdown-while-the-peer-is-dead", "in good order, though it has to wait for O2CB to find the peer dead; both"
       " come back by themselves", group=GROUP, seconds=380)  # fmt: skip
def shutdown_beside_a_dead_peer(case: Case) -> None:
    case.power_cut(case.two)
    time.sleep(10)
    case.note(f"down in {case.one.shutdown(240):.0f} s, 10 s after the peer's death")
    case.power_on(case.one, case.two)
    case.must(properties(case.one, stack.LAYERS["wait"])["ActiveState"] == "active", "server1's wait has failed")
