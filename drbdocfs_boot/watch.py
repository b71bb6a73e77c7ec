"""Looking at stacks again and again, for the command: what they are now, and until one is up or has failed."""

from __future__ import annotations

import os
import time

from drbdocfs_boot import observe, report, systemd
from drbdocfs_boot.events import State
from drbdocfs_boot.jobs import is_up, new_failure, target
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import drbd, kmsg, mounts, o2cb, records, system, usage
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.verdict import NO_MODULE, STAND_ALONE, Policy, Verdict, judge

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

EVERY = 1.0
__all__ = ["EVERY", "drbd_verdict", "look", "out_of_sync", "peer_name", "target", "until_up"]


def peer_name(instance: str) -> str:
    """ "server2 at 10.0.0.2:7789", from the record of the attach; "" when there is none."""
    return _peer(records.read(instance, "attach") or {})


def _peer(attached: dict[str, str]) -> str:
    name, address = attached.get("PEER", ""), attached.get("PEER_ADDRESS", "")
    return f"{name} at {address}" if name and address else name


def drbd_verdict(stack: Stack, policy: Policy | None = None, seen: State | None = None) -> tuple[State, Verdict]:
    """DRBD's state now, if it was not ``seen`` already, and the verdict on it.  Raises Failure."""
    drbd.require_module()
    state = drbd.state(stack.resource) if seen is None else seen

    attached = records.read(stack.name, "attach") or {}
    own = attached.get("ADDRESS", "")

    def ask(why: str = "") -> Verdict:
        return judge(
            state, stack.resource, why, policy=policy, peer=_peer(attached), own=own,
            progress=drbd.progress(state),
        )  # fmt: skip

    verdict = ask()
    if verdict.kind == STAND_ALONE:
        from drbdocfs_boot.helpers import address  # not for every status

        verdict = ask(address.why_stand_alone(state, stack.resource, own, stack.name))
    return state, verdict


def out_of_sync(state: State) -> int:
    """KiB that are out of sync; from /proc/drbd on 8.4, which is always up to date."""
    kernel = observe.out_of_sync_84(system.read("/proc/drbd") or "")
    minors = [device.get("minor", "") for device in state.devices.values()]
    if kernel and all(minor in kernel for minor in minors):
        return sum(kernel[minor] for minor in minors)
    return observe.out_of_sync(state)


def look(stacks: Iterable[Stack]) -> list[report.StackReport]:
    """What ``status`` says of these stacks.  Raises NoSystemd."""
    stacks = list(stacks)
    return _look_all(stacks, systemd.states(_units(stacks)) if stacks else {})


def _units(stacks: list[Stack]) -> list[str]:
    return [unit for stack in stacks for unit in report.layer_units(stack).values()] + [report.FOLLOW]


def without_systemd(stacks: Iterable[Stack]) -> list[report.StackReport]:
    """The same where systemd cannot be asked: the state of its units is not known."""
    stacks = list(stacks)
    units = {name: systemd.UnitState(name, "", "unknown", "", "", "", 0) for name in _units(stacks)}
    return _look_all(stacks, units)


class _Shared:
    """What one process or one file tells of all stacks: DRBD's states (or why they cannot be had), mounts, and how full
    those are (None: that cannot be asked)."""

    def __init__(self, stacks: list[Stack]) -> None:
        self.states: dict[str, State] | Failure = {}
        try:
            drbd.require_module()
            self.states = drbd.states([stack.resource for stack in stacks])
        except Failure as failure:
            self.states = failure
        table = mounts.table()
        # Of several on one mount point only the last is seen there.
        seen = {mount.target: mount for mount in table}
        ours = {stack.name: mounts.on_device(table, stack.device) for stack in stacks}
        self.mounts = {
            stack.name: seen[stack.mountpoint]
            for stack in stacks
            if seen.get(stack.mountpoint) in ours[stack.name]
        }
        self.space: dict[str, dict[str, int] | None] | None = None
        try:
            self.space = usage.ask_all([system.path(mount.target) for mount in self.mounts.values()])
        except (Failure, OSError):
            pass

    def state(self, resource: str) -> State:
        """DRBD's state of it.  Raises Failure."""
        if isinstance(self.states, Failure):
            raise self.states
        return self.states[resource]


def _look_all(stacks: list[Stack], units: dict[str, systemd.UnitState]) -> list[report.StackReport]:
    if not stacks:
        return []
    shared = _Shared(stacks)
    return [_look(stack, units, shared) for stack in stacks]


def _look(stack: Stack, units: dict[str, systemd.UnitState], shared: _Shared) -> report.StackReport:
    waiting = records.waiting(stack.name)
    # Nothing is recorded of a stack that was stopped, and of one that was never started.
    attached = records.read(stack.name, "attach")
    policy = Policy(stopped=True) if attached is None and waiting is None else None
    peer = (attached or {}).get("PEER", "")
    unreadable: list[str] = []
    try:
        state, verdict = drbd_verdict(stack, seen=shared.state(stack.resource))
        if policy is not None and not state.configured:
            verdict = judge(state, stack.resource, policy=policy)
        about = report.drbd_report(state, verdict, out_of_sync(state), peer)
        if verdict.kind == STAND_ALONE and os.geteuid() != 0 and not kmsg.readable():
            unreadable.append("the kernel log, which says why DRBD dropped the connection")
    except Failure as failure:
        about = report.DrbdReport("unknown" if drbd.loaded() else NO_MODULE, failure.message, failure.advice)
    return report.stack_report(
        stack,
        units,
        about,
        report.waiting_report(waiting, time.monotonic(), time.time()),
        report.alone_report(records.read(stack.name, "alone")),
        _cluster(stack, unreadable),
        _mount(stack, shared),
        unreadable,
        _fencing(stack, about, unreadable),
        report.survivor_report(records.read(stack.name, "survivor")),
    )


def _fencing(stack: Stack, about: report.DrbdReport, unreadable: list[str]) -> report.FencingReport | None:
    """What the fence-peer handler has written down; only while DRBD waits for it, else it is an old word."""
    if not report.frozen_by_fencing(about):
        return None
    found = report.fencing_report(records.read(stack.name, "fencing"), time.monotonic(), time.time())
    if found is None and os.geteuid() != 0:
        file = f"{records.PLACE}/{stack.name}.fencing"
        if os.path.exists(system.path(file)):
            unreadable.append(f"what the fence-peer handler does ({file})")
    return found


def _cluster(stack: Stack, unreadable: list[str]) -> report.ClusterReport:
    """The nodes that O2CB knows, and which of them are seen."""
    cluster = stack.cluster
    if cluster not in o2cb.online():
        return report.ClusterReport(False)
    block = os.path.basename(os.path.realpath(system.path(stack.device)))
    region = o2cb.region_of(cluster, block)
    linked = o2cb.connected()
    alive = o2cb.heartbeats(region) if region else set()
    if (linked is None or alive is None) and os.geteuid() != 0:
        unreadable.append(f"which nodes O2CB sees ({o2cb.DEBUGFS})")
    log = kmsg.messages() if linked is None else []
    nodes = []
    for name in o2cb.nodes(cluster):
        text = o2cb.node_attribute(cluster, name, "num")
        number = int(text) if text.isdigit() else None
        local = o2cb.node_attribute(cluster, name, "local") == "1"
        if local:
            connected = None
        else:
            connected = observe.o2net_connected(log, name) if linked is None else number in linked
        nodes.append(
            report.NodeReport(
                name=name,
                number=number,
                address=o2cb.node_attribute(cluster, name, "ipv4_address"),
                local=local,
                connected=connected,
                heartbeat=None if alive is None else number in alive,
            )
        )
    return report.ClusterReport(True, sorted(nodes, key=lambda node: (not node.local, node.name)))


def _mount(stack: Stack, shared: _Shared) -> report.MountReport | None:
    mount = shared.mounts.get(stack.name)
    if mount is None:
        return None
    if shared.space is None:
        return report.MountReport(mount.options, None)
    found = shared.space[system.path(mount.target)]
    return report.MountReport(mount.options, found is not None, **(found or {}))


def until_up(stack: Stack, limit: float, say: Callable[[str], None]) -> str:
    """Follow a start until the whole stack is up or one of its units has failed; "" or the reason why it is not up.

    A unit that had failed before counts only when it fails again.  Raises NoSystemd.
    """
    units = [*report.layer_units(stack).values(), target(stack)]
    began = systemd.states(units)
    deadline = time.monotonic() + limit
    told = ""
    while True:
        now = systemd.states(units)
        up = is_up(stack, now)
        line = "up" if up else _steps(stack, now)
        if report.gist(line) != told:
            say(f"{stack.name}: {line}")
            told = report.gist(line)
        if up:
            return ""
        for name, unit in now.items():
            if new_failure(began[name], unit):
                return f"{name} failed: {unit.status or unit.result or 'see its journal'}"
        if time.monotonic() >= deadline:
            return f"not up after {limit:.0f} s: {line}"
        time.sleep(EVERY / 4)


def _steps(stack: Stack, units: dict[str, systemd.UnitState]) -> str:
    """What goes on just now."""
    for layer, name in report.layer_units(stack).items():
        unit = units[name]
        if unit.active in ("activating", "deactivating", "reloading"):
            text = f"{layer} {report.WORDS[unit.active]}"
            return f"{text}: {unit.status}" if unit.status and layer in ("wait", "o2cb") else text
    for layer, name in report.layer_units(stack).items():
        if units[name].active != "active":
            return f"{layer} {report.WORDS.get(units[name].active, 'unknown')}"
    return f"{target(stack)} {units[target(stack)].active}"
