"""Faults: the fencing put to the test by `drbdocfs fence-test`, with a good third party and a dead one."""

from __future__ import annotations

import time

from . import fencing, powerswitch, witnesshost
from .fault import Case, fault
from .rows_resync import fast, slow
from .stack import MOUNTPOINT

GROUP = "fencing put to the test"
LIMIT = 600.0


@fault("fence-test-really-power", "server2 is switched off and on, server1 goes on alone; fence-test says ok",
       group=GROUP, policy="power", seconds=300)  # fmt: skip
def really_power(case: Case) -> None:
    before = len(case.lab.switch.offs())
    done = case.one.execute("drbdocfs fence-test web --really power --victim server2 --yes 2>&1", timeout=LIMIT)
    case.note(f"exit {done.status}")
    case.must(done.status == 0, done.out)
    case.must("server2 is off" in done.out and "server2 is on" in done.out, f"not said: {done.out}")
    case.must(len(case.lab.switch.offs()) == before + 1, "the power was not cut exactly once")


@fault("fence-test-really-link", "the link is cut for a time within the grace; both go on; fence-test says ok",
       group=GROUP, policy="server1", seconds=120)  # fmt: skip
def really_link(case: Case) -> None:
    resets = [node.resets for node in case.lab.nodes]
    done = case.one.execute("drbdocfs fence-test web --really link --seconds 12 --yes 2>&1", timeout=LIMIT)
    case.note(f"exit {done.status}")
    case.must(done.status == 0, done.out)
    case.must(resets == [node.resets for node in case.lab.nodes], "a node was reset")


def _no_third_party(case: Case, words: str) -> None:
    """While the link is good nobody needs the third party, and fence-test says that it is not there."""
    written = {node.name: time.monotonic() for node in case.lab.nodes}
    done = case.one.execute("drbdocfs fence-test web 2>&1", timeout=LIMIT)
    case.note(f"fence-test: exit {done.status}")
    case.must(done.status == 1 and words in done.out, f"fence-test, exit {done.status}:\n{done.out}")
    for node in case.lab.nodes:
        case.records.await_writes(node, written[node.name], 20.0)
    case.must("susp" not in case.one.run("dmesg | tail -n 5"), "DRBD has frozen")


@fault("witness-dead-link-good", "both write on, fence-test names the witness", group=GROUP, seconds=90)
def dead_witness(case: Case) -> None:
    case.lab.witness.modes.update({node.name: witnesshost.REFUSE for node in case.lab.nodes})
    case.afterwards(case.lab.witness.modes.clear)
    _no_third_party(case, "witness")


@fault("agent-dead-link-good", "both write on, fence-test names the agent", group=GROUP, policy="power", seconds=90)
def dead_agent(case: Case) -> None:
    case.lab.switch.modes.update({node.name: powerswitch.FAIL for node in case.lab.nodes})
    case.afterwards(case.lab.switch.modes.clear)
    _no_third_party(case, "fence_lab")


@fault("link-again-in-the-resync", "server1 goes on at once, without the grace; server2 comes up after the second mend",
       group=GROUP, policy="server1", seconds=330)  # fmt: skip
def again_in_the_resync(case: Case) -> None:
    case.afterwards(lambda: case.lab.both(fast))
    case.lab.both(slow)
    case.lab.both(lambda node: node.run("drbdadm adjust r0"))
    began = fencing.cut(case.lab, fencing.CABLE)
    case.one.wait_until("grep -q 'ro:Primary/Unknown ds:UpToDate/Outdated [ABC ] r' /proc/drbd", 90)
    case.note(f"thawed after {time.monotonic() - began:.0f} s")
    # What the resync has to carry: 12 MiB, 40 s of it.
    case.one.run("systemd-run --quiet --collect dd if=/dev/urandom of=/mnt/storage/bulk bs=1M count=12 conv=fsync")
    case.afterwards(lambda: case.one.run("rm -f /mnt/storage/bulk"))
    resets = case.two.resets
    case.must(case.two.await_reset(resets, 120.0), "server2 was not reset")
    case.boots(case.two)
    case.one.wait_until("test $(stat -c %s /mnt/storage/bulk 2>/dev/null || echo 0) -ge 12582912", 120)
    case.apart.append((began, fencing.mend(case.lab, fencing.CABLE)))
    case.one.wait_until("grep -q 'cs:SyncSource' /proc/drbd", 90)
    written = time.monotonic()
    again = fencing.cut(case.lab, fencing.CABLE)
    case.one.wait_until("grep -q 'cs:[A-Z][A-Za-z]* ro:Primary/Unknown' /proc/drbd", 60)
    case.one.wait_until("grep -q 'ro:Primary/Unknown ds:UpToDate/[A-Za-z]* [ABC ] r' /proc/drbd", 30)
    case.note(f"gone again: thawed after {time.monotonic() - again:.0f} s")
    case.records.await_writes(case.one, written, 120.0)
    case.must("mnt/storage" not in case.two.run("cat /proc/mounts"), "server2 has mounted amid its resync")
    case.apart.append((again, fencing.mend(case.lab, fencing.CABLE)))


@fault("link-lost-nothing-mounted", "the node that has nothing mounted asks for the lock last: the other goes on, and"
       " this one is frozen and not reset; `drbdocfs stop` and `start` bring it back",
       group=GROUP, seconds=330)  # fmt: skip
def nothing_mounted(case: Case) -> None:
    node, other = case.two, case.one  # without the lowest number, whose grace is shorter
    case.records.stop(node)
    node.run(f"umount {MOUNTPOINT}")
    resets = [each.resets for each in case.lab.nodes]
    began = fencing.cut(case.lab, fencing.CABLE)
    other.wait_until("grep -q 'ro:Primary/Unknown ds:UpToDate/Outdated [ABC ] r' /proc/drbd", 90)
    case.note(f"thawed after {time.monotonic() - began:.0f} s")
    case.records.await_writes(other, time.monotonic(), 60.0)
    case.says(node, "O2CB does not reset it", limit=120.0)
    time.sleep(max(0.0, began + 120.0 - time.monotonic()))
    case.must(resets == [each.resets for each in case.lab.nodes], "a node was reset")
    case.apart.append((began, fencing.mend(case.lab, fencing.CABLE)))
    time.sleep(15)
    case.note(f"then {node.name} is {node.run('drbdadm cstate r0').strip()}, {other.name} "
              f"{other.run('drbdadm cstate r0').strip()}")  # fmt: skip
    node.run("drbdocfs stop web", timeout=180)
    node.run("drbdocfs start web", timeout=300)
