"""What ``drbdocfs status`` says: states of units and of DRBD in, plain words or JSON out.  Pure."""

from __future__ import annotations

import time

from drbdocfs_boot import escape, terminal
from drbdocfs_boot.events import State
from drbdocfs_boot.frozen import Frozen, asdict
from drbdocfs_boot.observe import size
from drbdocfs_boot.stack import Problem, Stack
from drbdocfs_boot.systemd import UnitState
from drbdocfs_boot.verdict import (
    ALONE_REFUSED,
    DISK_GONE,
    HANDLER_REFUSED,
    NO_ADDRESS,
    NOT_UPTODATE,
    READY,
    RESYNCING,
    SPLIT_BRAIN,
    STAND_ALONE,
    WAITING,
    Verdict,
    clock,
)

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Paint = Callable[[str, str], str]

__all__ = ["size"]

JSON_VERSION = 1
FOLLOW = "drbdocfs-follow.service"
# systemd's words for a unit -> the words of an administrator.
WORDS = {
    "active": "up",
    "reloading": "up",
    "activating": "starting",
    "deactivating": "stopping",
    "inactive": "down",
    "failed": "failed",
}


class LayerReport(Frozen):
    """One layer: ``state`` up, starting, stopping, down, failed or unknown; ``since`` seconds since 1970."""

    layer: str
    unit: str
    state: str
    detail: str
    since: float


class ResyncReport(Frozen):
    """A running resync: ``percent`` done, ``left`` seconds, ``speed`` bytes a second (None: not known yet), and
    ``direction`` from or to the peer."""

    percent: float | None
    left: float | None
    speed: float | None
    direction: str


class DrbdReport(Frozen):
    """DRBD's state of the stack's resource; ``verdict`` as the wait would judge it now; ``out_of_sync`` bytes that
    differ from the peer's as far as is known (None: the resource is down);
    ``suspended`` why DRBD holds back all I/O, in its words ("" while it does not)."""

    verdict: str
    reason: str
    advice: str
    role: str = ""
    disks: Sequence[str] = ()
    peers: Sequence[dict[str, str]] = ()
    out_of_sync: int | None = None
    resync: ResyncReport | None = None
    suspended: str = ""

    def words(self) -> str:
        """One line: what stands on this side and on the other."""
        if not self.role:
            return self.reason
        text = f"this node {self.role}, {'/'.join(self.disks) or 'no disk'}"
        if self.suspended:
            text += f", I/O frozen ({self.suspended})"
        for peer in self.peers:
            text += f"; {peer['name']} {peer['connection']}, {peer['role']}, {peer['disk']}, {peer['replication']}"
        return text if self.verdict == "ready" else f"{text}: {self.reason}"


class WaitingReport(Frozen):
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


class AloneReport(Frozen):
    """The stack was brought up without its peer, ``since`` (seconds since 1970), because of ``reason``."""

    since: float
    reason: str


class FencingReport(Frozen):
    """The fence-peer handler's word while DRBD holds back all I/O: ``phase`` grace, head start, switching off, lock or
    frozen; ``until`` when the phase ends, for frozen when O2CB resets this node (None: that has passed); both times in
    seconds since 1970."""

    phase: str
    reason: str
    since: float
    until: float | None

    def end(self) -> str:
        """The time of day when the phase ends; "" where that has passed."""
        return "" if self.until is None else time.strftime("%H:%M:%S", time.localtime(self.until))

    def words(self) -> str:
        until = f" until {self.end()}" if self.end() else ""
        return f"{self.phase}{until}: {self.reason}"


class SurvivorReport(Frozen):
    """This node is the one that goes on, ``since`` (seconds since 1970), because of ``reason``: the fence-peer handler
    has let it, or the follow service has seen that the peer has older data, or none."""

    since: float
    reason: str


class NodeReport(Frozen):
    """A node of the O2CB cluster as the kernel of this host has it.  ``connected``: o2net has a connection to it;
    ``heartbeat``: it writes its heartbeat to this stack's file system, so it has it mounted.  None: not known."""

    name: str
    number: int | None
    address: str
    local: bool
    connected: bool | None
    heartbeat: bool | None


class ClusterReport(Frozen):
    """The O2CB cluster of the stack."""

    online: bool
    nodes: Sequence[NodeReport] = ()


class MountReport(Frozen):
    """The mounted file system.  Sizes in bytes; all None where it did not answer (``answers`` false) or was not asked
    (``answers`` null)."""

    options: str
    answers: bool | None
    size: int | None = None
    used: int | None = None
    available: int | None = None
    files: int | None = None
    files_free: int | None = None


class StackReport(Frozen):
    """A stack; ``state`` is up only when every layer is.  ``waiting``, ``alone``, ``fencing`` and ``survivor`` are
    None where they are not, ``mount`` where nothing is mounted.  ``unreadable``: what this user may not read, in
    words.  ``followed``: drbdocfs-follow.service runs or is to be started (None: not known)."""

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
    o2cb: ClusterReport | None = None
    mount: MountReport | None = None
    unreadable: Sequence[str] = ()
    fencing: FencingReport | None = None
    survivor: SurvivorReport | None = None
    followed: bool | None = None


def layer_units(stack: Stack) -> dict[str, str]:
    """Layer -> unit, in the order of their start; the target last."""
    layers = {"loop": f"drbdocfs-loop@{stack.name}.service"} if stack.loop_device else {}
    for layer in ("attach", "wait", "promote"):
        layers[layer] = f"drbdocfs-{layer}@{stack.name}.service"
    layers["o2cb"] = f"drbdocfs-o2cb@{stack.cluster}.service"
    layers["mount"] = escape.mount_unit(stack.mountpoint)
    return layers


def resync_report(state: State, verdict: Verdict, kib: int) -> ResyncReport | None:
    """How far a resync is; ``kib`` is what is out of sync.  The speed is what the time left was reckoned with."""
    if verdict.kind != RESYNCING:
        return None
    speed = kib * 1024 / verdict.left if verdict.left else None
    direction = "from" if verdict.reason.startswith("resync from") else "to"
    return ResyncReport(verdict.percent, verdict.left, None if speed is None else round(speed), direction)


def drbd_report(state: State, verdict: Verdict, kib: int | None = None, peer: str = "") -> DrbdReport:
    """DRBD's state in words; ``kib`` is what is out of sync, ``peer`` the peer's name where the driver has none."""
    peers = []
    for index, connection in sorted(state.connections.items()):
        devices = [d for d in state.peer_devices.values() if d.get("peer-node-id", "") == index]
        name = connection.get("conn-name", "peer")
        peers.append(
            {
                "name": (peer or name) if name == "peer" else name,
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
        out_of_sync=None if kib is None or not state.configured else kib * 1024,
        resync=None if kib is None else resync_report(state, verdict, kib),
        suspended="" if state.resource.get("suspended", "no") == "no" else state.resource["suspended"],
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


def fencing_report(record: dict[str, str] | None, monotonic: float, now: float) -> FencingReport | None:
    """From the record STACK.fencing; both clocks as they are now, since the record counts from the boot."""
    if record is None:
        return None
    began = _number(record.get("BEGAN", ""), monotonic)
    until = _number(record.get("UNTIL", ""), monotonic)
    return FencingReport(
        phase=record.get("PHASE", "") or "unknown",
        reason=record.get("REASON", ""),
        since=round(now - monotonic + began, 1),
        until=round(now - monotonic + until, 1) if until > monotonic else None,
    )


def survivor_report(record: dict[str, str] | None) -> SurvivorReport | None:
    """From the record STACK.survivor."""
    return None if record is None else SurvivorReport(_number(record.get("TIME", ""), 0.0), record.get("WHY", ""))


def frozen_by_fencing(drbd: DrbdReport | None) -> bool:
    """Whether DRBD holds back all I/O until its peer is fenced or back."""
    return drbd is not None and "fencing" in drbd.suspended.split(",")


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
    o2cb: ClusterReport | None = None,
    mount: MountReport | None = None,
    unreadable: list[str] | None = None,
    fencing: FencingReport | None = None,
    survivor: SurvivorReport | None = None,
) -> StackReport:
    """Put one stack together; ``units`` are its layers', and FOLLOW's where it was asked for."""
    layers = [_layer(layer, units[unit]) for layer, unit in layer_units(stack).items()]
    states = [layer.state for layer in layers]
    if all(state == "up" for state in states):
        overall = "up"
    else:
        overall = next((s for s in ("failed", "starting", "stopping", "unknown") if s in states), "down")
    if drbd is not None and drbd.verdict == READY:
        alone = None  # it was, until its peer came back
    if not frozen_by_fencing(drbd):
        fencing = None  # what a handler has left behind
    return StackReport(
        stack.name, overall, stack.mountpoint, stack.device, stack.resource, stack.cluster, layers, drbd, waiting,
        alone, o2cb, mount, unreadable or [], fencing, survivor, _followed(units.get(FOLLOW)),
    )  # fmt: skip


def _followed(unit: UnitState | None) -> bool | None:
    """At a boot its start waits for those of all stacks."""
    if unit is None or unit.active not in WORDS:
        return None
    return WORDS[unit.active] in ("up", "starting") or unit.job not in ("", "stop")


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
    """(Name, sentence) of what the layers do not say: a wait in the background, a stack that is up alone, and
    what the fence-peer handler does or has decided."""
    found = []
    if word(stack) == "late" and stack.waiting is not None:
        does = f"waits in the background ({FOLLOW}):"
        if unfollowed(stack):
            does = f"does not wait any more: {FOLLOW} does not run;"
        found.append(("late", f"{does} {_waits_for(stack)}"))
    elif stack.waiting is not None and stack.state == "starting":
        found.append(("waits", _waits_for(stack)))
    if stack.alone is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stack.alone.since))
        found.append(("alone", f"since {when}, because {stack.alone.reason}"))
    if stack.fencing is not None:
        found.append(("fencing", stack.fencing.words()))
    if stack.survivor is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stack.survivor.since))
        # With the peer connected, but without a disk or not in step yet, it is not alone, and still the one to go on.
        here = stack.drbd is not None and any(peer.get("connection") == "Connected" for peer in stack.drbd.peers)
        what = "only this node has all data" if here else "this node went on without its peer"
        found.append(("fencing", f"{what} since {when}: {stack.survivor.reason}"))
    if unfollowed(stack) and word(stack) != "late":
        found.append(("follow", f"{FOLLOW} does not run"))
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


def ailing(stack: StackReport) -> str:
    """Why a stack that is up does not serve as it should; "" when it does."""
    if stack.drbd is not None and stack.drbd.suspended:
        return f"I/O is frozen ({stack.drbd.suspended})"
    if stack.mount is not None and stack.mount.answers is False:
        return "the file system does not answer: its I/O stands still"
    if _elsewhere(stack):
        return f"{stack.device} is not what is mounted on {stack.mountpoint}"
    if stack.drbd is not None and stack.drbd.verdict in (DISK_GONE, SPLIT_BRAIN, STAND_ALONE):
        return stack.drbd.reason
    return ""


def unfollowed(stack: StackReport) -> bool:
    """Nobody looks after a stack that is up, or waits for one that is late."""
    return stack.followed is False and word(stack) in ("up", "late")


def _elsewhere(stack: StackReport) -> bool:
    """The mount's unit is up, for systemd takes whatever is mounted there, and it is another file system."""
    return stack.mount is None and any(one.layer == "mount" and one.state == "up" for one in stack.layers)


def summary(stack: StackReport) -> str:
    """One line: the state and its reason."""
    state = word(stack)
    text = "; ".join(f"{name}: {said}" if name != state else said for name, said in notes(stack))
    if not text and state in ("failed", "starting", "stopping", "unknown"):
        layer = next((one for one in stack.layers if one.state == state), None)
        if layer is not None:
            text = f"{layer.layer}: {layer.detail}" if layer.detail else layer.layer
    if state == "up":
        reason = stack.drbd.reason if stack.drbd is not None and stack.drbd.verdict != READY else ""
        text = "; ".join(dict.fromkeys(filter(None, (text, reason, ailing(stack)))))
    return f"{state}: {text}" if text else state


def gist(line: str) -> str:
    """A summary without what changes all the time (clocks, single percents): a new line is due when it differs."""
    import re  # here, because only who goes on looking needs it

    line = re.sub(r"(?:, )?(?<![\w.:])\d+(?::\d\d){1,2}(?!\w|:\w)(?: of \d+(?::\d\d){1,2}| left)?", "", line)
    return re.sub(r"\b(\d*)\d %", r"\1_ %", line)


def _plain(text: str, _: str) -> str:
    return text


def as_text(
    stacks: list[StackReport],
    problems: tuple[Problem, ...],
    columns: int = 0,
    paint: Paint = _plain,
    now: float | None = None,
) -> str:
    """For people: one block a stack, one line a layer.

    ``columns`` of the terminal, in which long words wrap under their column, 0 for no limit; ``paint`` colours a text
    in the style of a state; ``now`` seconds since 1970.
    """
    now = time.time() if now is None else now
    blocks = []
    for stack in stacks:
        lines = [_title(stack, columns, paint, now)]
        for name, state, when, text in _rows(stack, now):
            # Without a state the text begins in its column: the name stands before what is said of all layers.
            head = f"  {name:<8} " + (f"{state:<9} " if state else "") + (f"{when}  " if when else "")
            wrapped = list(terminal.wrap(text, columns, head, " " * len(head)))
            if state:
                wrapped[0] = wrapped[0].replace(f" {state}", " " + paint(state, state), 1)
            lines += [line.rstrip() for line in wrapped]
        blocks.append("\n".join(lines))
    if problems:
        blocks.append("\n".join(f"configuration: {problem}" for problem in problems))
    return "\n\n".join(blocks) if blocks else "no stack is configured (/etc/drbdocfs/drbdocfs.conf)"


def _title(stack: StackReport, columns: int, paint: Paint, now: float) -> str:
    state = word(stack)
    since = _since(stack)
    head = f"{stack.name}: {state}"
    text = f"since {moment(since, now)} ({duration(now - since)})  " if since else " "
    place = f"{stack.mountpoint} on {stack.device} ({stack.resource})"
    lines = [f"{head} {text}{place}"]
    if columns and len(lines[0]) > columns:
        lines = [f"{head} {text}".rstrip(), f"  {place}"]
    lines[0] = lines[0].replace(head, f"{stack.name}: {paint(paint(state, state), 'bold')}", 1)
    return "\n".join(lines)


def _since(stack: StackReport) -> float:
    """Since when the stack is what it is now: the last change of the layers that make it so; 0.0 not known."""
    state = word(stack)
    if state == "late" and stack.waiting is not None:
        return stack.waiting.since
    decisive = [layer.since for layer in stack.layers if layer.state == stack.state]
    return max(decisive, default=0.0)


def _rows(stack: StackReport, now: float) -> Iterator[tuple[str, str, str, str]]:
    """(Name, state or "", since when or "", text) of each line below the title."""
    times = [moment(layer.since, now) if layer.since else "" for layer in stack.layers]
    wide = max((len(text) for text in times), default=0)
    for layer, text in zip(stack.layers, times):
        yield layer.layer, layer.state, f"{text:<{wide}}", layer.detail
    if stack.drbd is not None:
        yield "drbd", "", "", stack.drbd.words() + _differs(stack.drbd)
        if stack.drbd.resync is not None and stack.drbd.resync.percent is not None:
            yield "resync", "", "", _resync(stack.drbd.resync, stack.drbd.out_of_sync)
    if stack.o2cb is not None and stack.o2cb.nodes:
        yield "nodes", "", "", "; ".join(_node(node) for node in stack.o2cb.nodes)
    if stack.mount is not None:
        yield "space", "", "", _space(stack.mount)
        yield "options", "", "", stack.mount.options.replace(",", ", ")
    for name, said in notes(stack):
        yield name, "", "", said
    for text in advice(stack):
        yield "", "", "", f"what to do: {text}"


def _differs(drbd: DrbdReport) -> str:
    if not drbd.out_of_sync or drbd.resync is not None:
        return ""
    return f"; {size(drbd.out_of_sync)} out of sync"


def _resync(resync: ResyncReport, out_of_sync: int | None) -> str:
    percent = resync.percent or 0.0
    parts = [f"{terminal.bar(percent / 100)} {percent:.0f} %"]
    if resync.speed is not None:
        parts.append(f"{size(resync.speed)}/s")
    if resync.left is not None:
        parts.append(f"{clock(resync.left)} left")
    if out_of_sync:
        parts.append(f"{size(out_of_sync)} to go")
    return ", ".join(parts)


def _node(node: NodeReport) -> str:
    if node.local:
        return f"{node.name} (this node)" + ("" if node.heartbeat is None else ", mounted" if node.heartbeat else "")
    if node.connected is None:
        seen = "not known whether it is connected"
    else:
        seen = "connected" if node.connected else "not connected"
    if node.heartbeat is not None:
        seen += ", mounted there" if node.heartbeat else ", not mounted there"
    return f"{node.name} {seen}"


def _space(mount: MountReport) -> str:
    if mount.answers is None:
        return "not known: stat(1) cannot be run"
    if not mount.answers or mount.size is None or mount.used is None or mount.available is None:
        return "the file system does not answer: its I/O stands still"
    percent = 100.0 * mount.used / mount.size if mount.size else 0.0
    text = f"{size(mount.used)} of {size(mount.size)} used ({percent:.0f} %), {size(mount.available)} free"
    if mount.files and mount.files_free is not None and mount.files_free < mount.files / 20:
        text += f"; only {mount.files_free} files can still be made"
    return text


def advice(stack: StackReport) -> list[str]:
    """What an administrator is to do, where something is off."""
    found = []
    if stack.drbd is not None and stack.drbd.advice and word(stack) != "stopped":
        text = stack.drbd.advice.replace("STACK", stack.name)
        if stack.state == "up":
            # Nothing is to go on: it is up.  What remains is how its peer comes back.
            text = "" if text.startswith("it goes on by itself") else text.partition(" 'drbdocfs proceed")[0]
        elif any(HANDLER_REFUSED in layer.detail for layer in stack.layers):
            # So it would be again; the layer's line says what would help.
            text = text.partition(" 'drbdocfs proceed")[0]
        if text:
            found.append(text)
    if word(stack) == "stopped":
        found.append(f"'drbdocfs start {stack.name}' when it is wanted")
    if stack.drbd is not None and "user" in stack.drbd.suspended.split(","):
        found.append(f"'drbdadm resume-io {stack.resource}': somebody has suspended the I/O by hand")
    elif stack.fencing is not None:
        found.append(_while_fencing(stack.fencing, stack))
    elif stack.drbd is not None and stack.drbd.suspended:
        found.append(
            f"DRBD holds back all I/O until its peer is fenced or back ({stack.drbd.suspended}):"
            " 'journalctl -k -g drbd'"
        )
    if stack.mount is not None and stack.mount.answers is False:
        found.append(
            "OCFS2 waits for its peer (60 s after a node was lost, by default) or DRBD for its disk or link:"
            " 'journalctl -k'; do not reset this node before that is over"
        )
    if _elsewhere(stack):
        found.append(f"'findmnt {stack.mountpoint}' shows what is; 'umount' that, then 'drbdocfs restart {stack.name}'")
    if unfollowed(stack):
        found.append(
            f"'systemctl start {FOLLOW}': without it no late stack comes up, and no connection that was lost with this"
            " host's address is made again"
        )
    if stack.o2cb is not None and stack.state == "up" and stack.drbd is not None and stack.drbd.verdict == READY:
        apart = [n.name for n in stack.o2cb.nodes if not n.local and n.heartbeat and n.connected is False]
        if apart:
            found.append(
                f"O2CB is not connected with {', '.join(apart)}, which has the file system mounted: is its port (7777)"
                " open between the nodes? 'journalctl -k -g o2net'"
            )
    return found


def _while_fencing(fencing: FencingReport, stack: StackReport) -> str:
    """Nothing that is typed helps; ``drbdadm resume-io`` would make it a split brain."""
    if fencing.phase != "frozen":
        return (
            "nothing is to be typed: the fence-peer handler decides whether this node goes on. Look at the link and at"
            " the other node: when they are connected again in time, both go on and nothing is lost"
        )
    if stack.mount is None and fencing.until is None:
        return (
            "mend the link, or bring the other node up; 'drbdadm resume-io' would be a split brain. Connected again,"
            " this node goes on, unless the other one has gone on without it. Nothing is mounted here, so O2CB does not"
            f" reset it: once the other one has gone on, 'drbdocfs stop {stack.name}', then"
            f" 'drbdocfs start {stack.name}'"
        )
    reset = f" Else O2CB resets this node, at {fencing.end()}" if fencing.end() else " Else O2CB resets this node"
    return (
        "mend the link, or bring the other node up; nothing is to be typed here, and 'drbdadm resume-io' would be a"
        f" split brain. Connected again, this node goes on, unless the other one was chosen.{reset}: then it boots, and"
        " waits for the other"
    )


def moment(when: float, now: float) -> str:
    """A time of day; with the date where it was another day."""
    there, here = time.localtime(when), time.localtime(now)
    return time.strftime("%H:%M:%S" if there[:3] == here[:3] else "%Y-%m-%d %H:%M", there)


def duration(seconds: float) -> str:
    """A length of time for people: its two largest units."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    if whole < 86400:
        return f"{whole // 3600} h" + (f" {whole // 60 % 60} min" if whole // 60 % 60 else "")
    return f"{whole // 86400} d" + (f" {whole // 3600 % 24} h" if whole // 3600 % 24 else "")


def unreadable(stacks: list[StackReport]) -> list[str]:
    """What this user may not read, each once."""
    return list(dict.fromkeys(text for stack in stacks for text in stack.unreadable))
