"""What ``drbdocfs status`` says: states of units and of DRBD in, plain words or JSON out.  Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from drbdocfs_boot import escape
from drbdocfs_boot.events import State
from drbdocfs_boot.stack import Problem, Stack
from drbdocfs_boot.systemd import UnitState
from drbdocfs_boot.verdict import Verdict

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
class StackReport:
    """A stack; ``state`` is up only when every layer is."""

    name: str
    state: str
    mountpoint: str
    device: str
    resource: str
    cluster: str
    layers: list[LayerReport]
    drbd: DrbdReport | None


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


def stack_report(stack: Stack, units: dict[str, UnitState], drbd: DrbdReport | None) -> StackReport:
    """Put one stack together."""
    layers = [_layer(layer, units[unit]) for layer, unit in layer_units(stack).items()]
    states = [layer.state for layer in layers]
    if all(state == "up" for state in states):
        overall = "up"
    else:
        overall = next((s for s in ("failed", "starting", "stopping", "unknown") if s in states), "down")
    return StackReport(stack.name, overall, stack.mountpoint, stack.device, stack.resource, stack.cluster, layers, drbd)


def _layer(layer: str, unit: UnitState) -> LayerReport:
    state = WORDS.get(unit.active, "unknown")
    detail = unit.status
    if unit.load not in ("loaded", ""):
        state, detail = "unknown", f"unit is {unit.load}"
    elif state == "failed" and not detail:
        detail = unit.result
    return LayerReport(layer, unit.name, state, detail, unit.since / 1e6)


def as_json(stacks: list[StackReport], problems: tuple[Problem, ...]) -> dict[str, object]:
    """The stable form, see drbdocfs(8)."""
    return {
        "version": JSON_VERSION,
        "stacks": [asdict(stack) for stack in stacks],
        "problems": [{"file": p.file, "line": p.line, "stack": p.stack, "message": p.message} for p in problems],
    }


def as_text(stacks: list[StackReport], problems: tuple[Problem, ...]) -> str:
    """For people: one block a stack, one line a layer."""
    blocks = []
    for stack in stacks:
        lines = [f"{stack.name}: {stack.state}  {stack.mountpoint} on {stack.device} ({stack.resource})"]
        for layer in stack.layers:
            lines.append(f"  {layer.layer:<8} {layer.state:<9} {layer.detail}".rstrip())
        if stack.drbd is not None:
            lines.append(f"  {'drbd':<8} {stack.drbd.words()}")
            if stack.drbd.advice and stack.state != "up":
                lines.append(f"  {'':<8} what to do: {stack.drbd.advice}")
        blocks.append("\n".join(lines))
    if problems:
        blocks.append("\n".join(f"configuration: {problem}" for problem in problems))
    return "\n\n".join(blocks) if blocks else "no stack is configured (/etc/drbdocfs/drbdocfs.conf)"
