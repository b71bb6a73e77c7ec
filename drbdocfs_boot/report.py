"""What ``drbdocfs status`` says: states of units and of DRBD in, plain words or JSON out.  Pure."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass, field

from drbdocfs_boot import escape
from drbdocfs_boot.events import State
from drbdocfs_boot.stack import Problem, Stack
from drbdocfs_boot.systemd import UnitState
from drbdocfs_boot.verdict import ALONE_REFUSED, NO_ADDRESS, NOT_UPTODATE, READY, WAITING, Verdict, clock

JSON_VERSION = 1
# systemd's words for a unit -> the words of an administrator.
WORDS = {
    "active": "up",
    "reloading": "up",
    "activating": "starting",
    "deactivating": "stopping",
    "inactive": "down",
    "failed": "failed",
}


@dataclass(frozen=True)
class LayerReport:
    """One layer: ``state`` up, starting, stopping, down, failed or unknown; ``since`` seconds since 1970."""

    layer: str
    unit: str
    state: str
    detail: str
    since: float


@dataclass(frozen=True)
class DrbdReport:
    """DRBD's state of the stack's resource; ``verdict`` as the wait would judge it now."""

    verdict: str
    reason: str
    advice: str
    role: str = ""
    disks: list[str] = field(default_factory=list)
    peers: list[dict[str, str]] = field(default_factory=list)

    def words(self) -> str:
        """One line: what stands on this side and on the other."""
        if not self.role:
            return self.reason
        text = f"this node {self.role}, {'/'.join(self.disks) or 'no disk'}"
        for peer in self.peers:
            text += f"; {peer['name']} {peer['connection']}, {peer['role']}, {peer['disk']}, {peer['replication']}"
        return text if self.verdict == "ready" else f"{text}: {self.reason}"


@dataclass(frozen=True)
class WaitingReport:
    """A wait for the peer that goes on: ``state`` boot while the wait unit does it, late while
    drbdocfs-follow.service does; ``seconds`` since when the peer is missing, ``since`` the same in seconds since
    1970; ``peer_timeout`` seconds after which ``when_alone`` decides."""

    state: str
    kind: str
    reason: str
    seconds: float
    since: float
    when_alone: str
    peer_timeout: float


@dataclass(frozen=True)
class AloneReport:
    """The stack was brought up without its peer, ``since`` (seconds since 1970), because of ``reason``."""

    since: float
    reason: str


@dataclass(frozen=True)
class StackReport:
    """A stack; ``state`` is up only when every layer is.  ``waiting`` and ``alone`` are None where they are not."""

    name: str
    state: str
    mountpoint: str
    device: str
    resource: str
    cluster: str
    layers: list[LayerReport]
    drbd: DrbdReport | None
    waiting: WaitingReport | None = None
    alone: AloneReport | None = None


def layer_units(stack: Stack) -> dict[str, str]:
    """Layer -> unit, in the order of their start; the target last."""
    layers = {"loop": f"drbdocfs-loop@{stack.name}.service"} if stack.loop_device else {}
    for layer in ("attach", "wait", "promote"):
        layers[layer] = f"drbdocfs-{layer}@{stack.name}.service"
    layers["o2cb"] = f"drbdocfs-o2cb@{stack.cluster}.service"
    layers["mount"] = escape.mount_unit(stack.mountpoint)
    return layers


def drbd_report(state: State, verdict: Verdict) -> DrbdReport:
    """DRBD's state in words."""
    peers = []
    for index, connection in sorted(state.connections.items()):
        devices = [d for d in state.peer_devices.values() if d.get("peer-node-id", "") == index]
        name = connection.get("conn-name", "peer")
        peers.append(
            {
                "name": "peer" if name == "peer" else name,
                "connection": connection.get("connection", "Unknown"),
                "role": connection.get("role", "Unknown"),
                "disk": "/".join(d.get("peer-disk", "DUnknown") for d in devices) or "DUnknown",
                "replication": "/".join(d.get("replication", "Off") for d in devices) or "Off",
            }
        )
    return DrbdReport(
        verdict=verdict.kind,
        reason=verdict.reason,
        advice=verdict.advice,
        role=state.resource.get("role", ""),
        disks=[d.get("disk", "Unknown") for _, d in sorted(state.devices.items())],
        peers=peers,
    )


def waiting_report(record: dict[str, str] | None, monotonic: float, now: float) -> WaitingReport | None:
    """From the record STACK.waiting; both clocks as they are now, since the record counts from the boot."""
    if record is None:
        return None
    seconds = max(0.0, monotonic - _number(record.get("BEGAN", ""), monotonic))
    return WaitingReport(
        state="late" if record.get("STATE") == "late" else "boot",
        kind=record.get("KIND", ""),
        reason=record.get("REASON", ""),
        seconds=round(seconds, 1),
        since=round(now - seconds, 1),
        when_alone=record.get("WHEN_ALONE", ""),
        peer_timeout=_number(record.get("PEER_TIMEOUT", ""), 0.0) / 1e6,
    )


def alone_report(record: dict[str, str] | None) -> AloneReport | None:
    """From the record STACK.alone."""
    return None if record is None else AloneReport(_number(record.get("TIME", ""), 0.0), record.get("WHY", ""))


def _number(text: str, otherwise: float) -> float:
    try:
        return float(text)
    except ValueError:
        return otherwise


def stack_report(
    stack: Stack,
    units: dict[str, UnitState],
    drbd: DrbdReport | None,
    waiting: WaitingReport | None = None,
    alone: AloneReport | None = None,
) -> StackReport:
    """Put one stack together."""
    layers = [_layer(layer, units[unit]) for layer, unit in layer_units(stack).items()]
    states = [layer.state for layer in layers]
    if all(state == "up" for state in states):
        overall = "up"
    else:
        overall = next((s for s in ("failed", "starting", "stopping", "unknown") if s in states), "down")
    if drbd is not None and drbd.verdict == READY:
        alone = None  # it was, until its peer came back
    return StackReport(
        stack.name, overall, stack.mountpoint, stack.device, stack.resource, stack.cluster, layers, drbd, waiting, alone
    )


def _layer(layer: str, unit: UnitState) -> LayerReport:
    state = WORDS.get(unit.active, "unknown")
    detail = unit.status
    if unit.load not in ("loaded", ""):
        state, detail = "unknown", f"unit is {unit.load}"
    elif state == "failed" and not detail:
        detail = unit.result
    elif state == "down":
        detail = ""  # systemd keeps the words of the last run
    return LayerReport(layer, unit.name, state, detail, unit.since / 1e6)


def as_json(stacks: list[StackReport], problems: tuple[Problem, ...]) -> dict[str, object]:
    """The stable form, see drbdocfs(8)."""
    return {
        "version": JSON_VERSION,
        "stacks": [asdict(stack) for stack in stacks],
        "problems": [{"file": p.file, "line": p.line, "stack": p.stack, "message": p.message} for p in problems],
    }


def word(stack: StackReport) -> str:
    """The stack's state in one word for people: a stack that waits in the background has not simply failed, and one
    of which nothing is up, failed or waits was stopped (or never started)."""
    if stack.waiting is not None and stack.waiting.state == "late" and stack.state not in ("up", "starting"):
        return "late"
    if stack.state == "down" and stack.waiting is None:
        # Units that several stacks share, and a mount by hand, may be up all the same.
        own = [layer.state for layer in stack.layers if layer.layer in ("loop", "attach", "wait", "promote")]
        return "stopped" if all(state == "down" for state in own) else "down"
    return stack.state


def notes(stack: StackReport) -> list[tuple[str, str]]:
    """(Name, sentence) of what the layers do not say: a wait in the background, a stack that is up alone."""
    found = []
    if word(stack) == "late" and stack.waiting is not None:
        found.append(("late", f"waits in the background (drbdocfs-follow.service): {_waits_for(stack)}"))
    elif stack.waiting is not None and stack.state == "starting":
        found.append(("waits", _waits_for(stack)))
    if stack.alone is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stack.alone.since))
        found.append(("alone", f"since {when}, because {stack.alone.reason}"))
    return found


def _waits_for(stack: StackReport) -> str:
    """What the stack waits for now, and for how long: DRBD's state is newer than the record."""
    waiting = stack.waiting
    if waiting is None:
        return ""
    kind, reason = waiting.kind, waiting.reason
    # Why it may not go on alone stands in the record only; else DRBD's state is newer.
    recorded = kind in (ALONE_REFUSED, NOT_UPTODATE)
    if (
        stack.drbd is not None
        and stack.drbd.verdict not in ("unknown", "starting", "ready")
        and not (recorded and stack.drbd.verdict in (WAITING, NO_ADDRESS))
    ):
        kind, reason = stack.drbd.verdict, stack.drbd.reason
    if kind in (WAITING, NO_ADDRESS):
        whole = waiting.peer_timeout if waiting.when_alone != "wait" else 0.0
        if waiting.seconds < whole:
            return f"{reason}, {clock(waiting.seconds)} of {clock(whole)}"
        return f"{reason}, {clock(waiting.seconds)}"
    return reason


def summary(stack: StackReport) -> str:
    """One line: the state and its reason."""
    state = word(stack)
    text = "; ".join(f"{name}: {said}" if name != state else said for name, said in notes(stack))
    if not text and state in ("failed", "starting", "stopping", "unknown"):
        layer = next((one for one in stack.layers if one.state == state), None)
        if layer is not None:
            text = f"{layer.layer}: {layer.detail}" if layer.detail else layer.layer
    if state == "up" and stack.drbd is not None and stack.drbd.verdict != "ready":
        text = "; ".join(filter(None, (text, stack.drbd.reason)))
    return f"{state}: {text}" if text else state


def gist(line: str) -> str:
    """A summary without what changes all the time (clocks, single percents): a new line is due when it differs."""
    line = re.sub(r"(?:, )?(?<![\w.:])\d+(?::\d\d){1,2}(?![\w:])(?: of \d+(?::\d\d){1,2}| left)?", "", line)
    return re.sub(r"\b(\d*)\d %", r"\1_ %", line)


def as_text(stacks: list[StackReport], problems: tuple[Problem, ...]) -> str:
    """For people: one block a stack, one line a layer."""
    blocks = []
    for stack in stacks:
        lines = [f"{stack.name}: {word(stack)}  {stack.mountpoint} on {stack.device} ({stack.resource})"]
        for layer in stack.layers:
            lines.append(f"  {layer.layer:<8} {layer.state:<9} {layer.detail}".rstrip())
        if stack.drbd is not None:
            lines.append(f"  {'drbd':<8} {stack.drbd.words()}")
        lines += [f"  {name:<8} {said}" for name, said in notes(stack)]
        if stack.drbd is not None and stack.drbd.advice and stack.state != "up":
            lines.append(f"  {'':<8} what to do: {stack.drbd.advice.replace('STACK', stack.name)}")
        blocks.append("\n".join(lines))
    if problems:
        blocks.append("\n".join(f"configuration: {problem}" for problem in problems))
    return "\n\n".join(blocks) if blocks else "no stack is configured (/etc/drbdocfs/drbdocfs.conf)"
