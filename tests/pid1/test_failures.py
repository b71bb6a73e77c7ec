"""Many boots with random delays and failures in the tools: every one gets to a login, and what came up goes down.

Some peers come late, when the boot is over: then the stack comes up by itself.  Some never come to a stack that may go
on alone: then it is up all the same.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.pid1 import world
from tests.pid1.conftest import Installation
from tests.pid1.container import Machine, Session, machine

pytestmark = [pytest.mark.pid1, pytest.mark.slow]

BOOTS = int(os.environ.get("DRBDOCFS_PID1_BOOTS", "100"))
FIRST = int(os.environ.get("DRBDOCFS_STANDIN_SEED", "1"))
# Far above what a boot takes, and as far below what any unit of ours would be given before systemd cuts it off.
BOOT_LIMIT = 25.0
OFF_LIMIT = 25.0

NOT_READY = r"{} was not ready after 0:01 \(boot_timeout\)"
LAYERS = ("loop", "attach", "wait", "promote", "mount")


@dataclass
class Fault:
    """What the plan does to one stack: which layer fails by it, and what (a regular expression) the journal says."""

    layer: str
    reason: str
    lines: list[str] = field(default_factory=list)
    peer: str = ""
    comes: bool = False  # the peer, once the boot is over


def faults(number: int) -> list[Fault]:
    """All faults of a stack that end in a failed layer."""
    resource, loop, device = f"r{number}", f"/dev/loop{7 + number}", f"/dev/drbd{number}"
    return [
        Fault("loop", "no free loops", [f"rule losetup attach {loop}: code=1 say=no_free_loops"]),
        Fault("attach", "no such resource", [f"rule drbdadm dump {resource}: code=10 say=no_such_resource"]),
        Fault("attach", "bad superblock", [f"rule drbdadm adjust {resource}: code=1 say=bad_superblock"]),
        Fault("wait", NOT_READY.format(resource), peer="outcome=never"),
        Fault("wait", f"{resource} is StandAlone", peer="outcome=standalone"),
        # When DRBD has found it before the wait began to listen, only StandAlone is left to be seen.
        Fault("wait", f"both nodes changed {resource}|{resource} is StandAlone", peer="outcome=split-brain"),
        Fault("promote", "no good data", [f"rule drbdadm primary {resource}: code=17 say=no_good_data"]),
        Fault("mount", "group is full", [f"rule mount.ocfs2 mount {device}: code=1 say=group_is_full"]),
    ]


def hiccups(number: int) -> list[str]:
    """Failures that pass: the next attempt of the helper succeeds."""
    resource = f"r{number}"
    return [
        f"rule drbdadm adjust {resource}: code=20 times=1 say=did_not_terminate_within_5_seconds",
        f"rule drbdadm primary {resource}: code=11 times=1 say=state_changes",
        f"rule drbdsetup secondary {resource}: code=11 times=1 say=held_open",
        f"rule drbdsetup down {resource}: code=11 times=1 say=held_open",
    ]


@dataclass
class Scene:
    """One boot, made from its seed alone.  ``later``: the plan after the boot; ``alone``: stacks and their policy."""

    lines: list[str]
    later: list[str]
    broken: dict[str, Fault]
    alone: dict[str, str]
    cluster_fails: bool
    stop_first: bool


def scene(seed: int) -> Scene:
    """The boot of this seed."""
    luck = random.Random(seed)
    lines = [f"seed {seed}", f"delay {luck.choice((0.0, 0.02, 0.06)):g}"]
    later = []
    broken, alone = {}, {}
    for number, name in enumerate(("web", "db")):
        peer = ""
        what = luck.choices(("fault", "late", "alone", "good"), (4, 2, 2, 3))[0]
        if what == "fault":
            broken[name] = fault = luck.choice(faults(number))
            lines += fault.lines
            peer = fault.peer
        elif what == "late":
            broken[name] = Fault("wait", NOT_READY.format(f"r{number}"), peer="outcome=never", comes=True)
            peer = "outcome=never"
        elif what == "alone":
            alone[name] = luck.choice(("always", "newest"))
            lines.append(f"metadata r{number}: bitmap=1C6A8C27D81A6CC7")
            peer = "outcome=never"
        elif luck.random() < 0.5:
            lines.append(luck.choice(hiccups(number)))
        moments = f"peer r{number}: connect={luck.uniform(0, 0.2):.2f} sync={luck.choice((0, 0.1))}"
        lines.append(f"{moments} {peer}".rstrip())
        later.append(f"{moments} {'' if what == 'late' else peer}".rstrip())
    cluster_fails = luck.random() < 0.1
    if cluster_fails:
        lines.append(f"rule {world.REGISTER}: code=1 say=no_cluster_stack")
    later = [*(line for line in lines if not line.startswith("peer ")), *later]
    return Scene(lines, later, broken, alone, cluster_fails, luck.random() < 0.5)


@pytest.fixture(scope="module")
def old_machine(session: Session, installation: Installation) -> Iterator[Machine]:
    """One machine that goes through all the boots."""
    with machine(session) as made:
        yield made


@pytest.fixture
def node(old_machine: Machine) -> Iterator[Machine]:
    """The same, off, with an empty log, and with no split brain of an earlier boot to be resolved first."""
    world.forget(old_machine)
    for marker in (old_machine.root / "var/lib/drbdocfs").glob("*.split-brain"):
        marker.unlink()
    yield old_machine
    old_machine.kill()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + BOOTS))
def test_boot_with_delays_and_failures(node: Machine, seed: int) -> None:
    played = scene(seed)
    sections = []
    for number, name in enumerate(("web", "db")):
        fault = played.broken.get(name)
        # The wait that is to reach its limit has the shortest that there is; the others have time enough.
        changes = {"boot_timeout": "1s" if fault and "never" in fault.peer else "20s"}
        if name in played.alone:
            changes |= {"peer_timeout": "1s", "when_alone": played.alone[name]}
        sections.append(world.stack(name, number, **changes))
    world.configure(node, *sections)
    world.plan(node, *played.lines)
    assert node.boot(limit=BOOT_LIMIT) < BOOT_LIMIT

    units = {name: dict(zip((*LAYERS, "target"), world.units(name))) for name in ("web", "db")}
    cluster = "drbdocfs-o2cb@web.service"
    system = ["multi-user.target", "remote-fs.target", "systemd-user-sessions.service", "console-getty.service"]
    every = [unit for stack in units.values() for unit in stack.values()]
    state = world.states(node, [*every, cluster, *system])
    assert {name: state[name] for name in system} == dict.fromkeys(system, "active")
    journal = node.journal("-b")
    for name, stack in units.items():
        fault = played.broken.get(name)
        bad = fault.layer if fault else "mount" if played.cluster_fails else "target"
        height = (*LAYERS, "target").index(bad)
        for layer in LAYERS[:height]:
            assert state[stack[layer]] == "active", (name, layer, played.lines)
        for layer in (*LAYERS, "target")[height:]:
            own_fault = fault is not None and layer == bad and not (layer == "mount" and played.cluster_fails)
            wanted = "failed" if own_fault else "inactive" if fault or played.cluster_fails else "active"
            assert state[stack[layer]] == wanted, (name, layer, played.lines)
        if fault and not (bad == "mount" and played.cluster_fails):
            assert re.search(fault.reason, journal), (name, played.lines)
        if not fault:
            status = node.show(stack["wait"], "ExecMainStatus")
            assert status == ["10" if name in played.alone else "0"], (name, played.lines)
    if played.cluster_fails:
        assert state[cluster] == "failed"
        assert "no cluster stack" in journal
    good = not played.broken and not played.cluster_fails
    assert node.call("systemctl", "is-system-running").stdout.strip() == ("running" if good else "degraded")

    coming = [units[name] for name, fault in played.broken.items() if fault.comes]
    world.plan(node, *played.later)
    tops = [stack["promote" if played.cluster_fails else "target"] for stack in coming]
    if tops:
        node.until(lambda: set(world.states(node, tops).values()) == {"active"}, BOOT_LIMIT, f"{tops} by themselves")
    node.settle()
    for stack in coming:
        reached = [stack[layer] for layer in (LAYERS[:-1] if played.cluster_fails else (*LAYERS, "target"))]
        assert world.states(node, reached) == dict.fromkeys(reached, "active"), played.lines
    untouched = [unit for stack in units.values() if stack not in coming for unit in stack.values()]
    assert world.states(node, untouched) == {unit: state[unit] for unit in untouched}, played.lines

    if played.stop_first:
        node.systemctl("stop", "drbdocfs.target", limit=OFF_LIMIT)
        node.settle(limit=OFF_LIMIT)
        left = world.states(node, [*every, cluster])
        assert {name: state for name, state in left.items() if state not in ("inactive", "failed")} == {}
    node.poweroff(limit=OFF_LIMIT)

    found = world.calls(node)
    assert world.ordered(found, *world.chains([0, 1], at_once=not played.stop_first)) == []
    for number in (0, 1):
        rise, fall = world.up(number), world.down(number)
        # The highest that came up decides what has to be taken down.
        pairs = [(rise[0], fall[3]), (rise[1], fall[2]), (rise[3], fall[1]), (rise[4], fall[0])]
        for made, undone in [*pairs, (world.REGISTER, world.UNREGISTER)]:
            was_made = any(call.words == made and call.code == 0 for call in found)
            was_undone = any(call.words == undone and call.code == 0 for call in found)
            assert was_undone == was_made, (made, undone, played.lines)
    assert world.complaints(node) == []
    assert "timed out" not in node.journal("-b", "_PID=1")
