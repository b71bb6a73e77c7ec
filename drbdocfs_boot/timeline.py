"""What a boot spent on a stack: what systemd and the helpers said, in; when each layer started and ended, what it
waited for and which of them made the boot long, out.  Pure.

All times are seconds on the monotonic clock, which begins with the kernel and does not jump when the clock is set.
Sources: systemd.journal-fields(7), systemd's sd-messages.h (the MESSAGE_IDs), drbdocfs.target(7) (the order).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from drbdocfs_boot import escape
from drbdocfs_boot.messages import KINDS
from drbdocfs_boot.report import layer_units
from drbdocfs_boot.stack import Stack

# MESSAGE_ID -> what it says about a unit.
STARTING, STARTED, FAILED, STOPPING, STOPPED, RESULT = "starting", "started", "failed", "stopping", "stopped", "result"
LOG, LATE, FINISHED, CLOSED = "log", "late", "finished", "closed"
MESSAGE_ID = {
    "7d4958e842da4a758f6c1cdc7b36dcc5": STARTING,
    "39f53479d3a045ac8e11786248231fbf": STARTED,
    "be02cf6855d2428ba40df7e9d022f03d": FAILED,
    "de5b426a63be47a7b6ac3eaac82e2f6f": STOPPING,
    "9d1aaa27d60140bd96365438aad20286": STOPPED,
    "d9b373ed55a64feb8242e02dbe79a49c": RESULT,
    "b07a249cd024414a82dd00cd181378ff": FINISHED,  # "Startup finished in ..."
    "d93fb3c9c24d451a97cea615ce59c00b": CLOSED,  # "Journal stopped"
    KINDS["late-start"].id: LATE,
    KINDS["alone"].id: LATE,
}
ONLINE, REMOTE_FS, MULTI_USER, SHUTDOWN = (
    "network-online.target",
    "remote-fs.target",
    "multi-user.target",
    "shutdown.target",
)
# Reached at every boot, shown where they were.
MILESTONES = (ONLINE, REMOTE_FS, MULTI_USER)
DONE, RUNNING, CUT, DEPENDENCY = "done", "running", "cut", "dependency"
# What may lie between two sockets of the journal: a helper's line may come after systemd's word on its unit.
SLACK = 1.0
# A predecessor ends before its successor begins; systemd and the journal round differently.
ROUNDING = 0.05
# A start by the follow service begins with its message.
LATE_WITHIN = 15.0


@dataclass(frozen=True)
class Event:
    """Something said at ``at``.  ``unit`` "" where it is not about one; ``result`` of the job, in systemd's words."""

    at: float
    kind: str
    unit: str = ""
    text: str = ""
    result: str = ""
    priority: int = 6
    invocation: str = ""
    stack: str = ""


@dataclass(frozen=True)
class Journal:
    """What the journal has of one boot.  ``zero``: seconds since 1970 at the kernel's start, as the clock stood at the
    last entry (None: nothing was said); ``last``: the last entry of the whole boot; ``damaged``: lines that could not
    be read."""

    boot_id: str = ""
    zero: float | None = None
    last: float = 0.0
    userspace: float | None = None
    generators: float | None = None
    events: tuple[Event, ...] = ()
    damaged: int = 0


@dataclass(frozen=True)
class Live:
    """A unit as systemd has it now: seconds since the kernel's start, 0 for never; ``after`` its predecessors."""

    unit: str
    active: str
    began: float
    ended: float
    after: tuple[str, ...] = ()
    result: str = ""
    text: str = ""


@dataclass(frozen=True)
class Run:
    """One start of a unit; ``ended`` None while it goes on, or where the journal does not say."""

    unit: str
    began: float
    ended: float | None = None
    result: str = RUNNING
    invocation: str = ""
    log: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Layer:
    """One layer in one start of a stack.  ``after``: the unit after whose end it could begin, the one that ended last;
    ``critical``: on the path that made the start as long as it was; ``share`` of network-online to mounted, 0 to 1."""

    layer: str
    unit: str
    began: float
    ended: float | None
    result: str
    after: str = ""
    critical: bool = False
    share: float | None = None
    reason: str = ""
    advice: str = ""
    log: tuple[tuple[float, str], ...] = ()

    @property
    def took(self) -> float | None:
        return None if self.ended is None else self.ended - self.began


@dataclass(frozen=True)
class Start:
    """One start of a stack: ``kind`` boot (within the boot), late (by the follow service), hand (by an administrator);
    ``result`` done, failed, running or cut; ``stopped_at`` the layer that it did not get beyond."""

    kind: str
    began: float
    result: str
    layers: tuple[Layer, ...]
    online: float | None = None
    mounted: float | None = None
    why: str = ""
    stopped_at: str = ""
    reason: str = ""
    advice: str = ""

    @property
    def origin(self) -> float:
        """From where its length is counted: network-online.target, or its first layer when it came later."""
        return self.began if self.online is None or self.kind != "boot" else self.online


@dataclass(frozen=True)
class Timeline:
    """A stack in a boot.  ``result``: mounted (within the boot), late (after a try within the boot), hand (started by
    an administrator only), failed, running, cut or none."""

    stack: str
    boot: int
    boot_id: str
    zero: float | None
    result: str
    starts: tuple[Start, ...] = ()
    milestones: Mapping[str, float] = field(default_factory=dict)
    userspace: float | None = None
    generators: float | None = None
    ends: float | None = None  # where the journal ends without a shutdown; None: this boot, or in good order
    damaged: int = 0

    @property
    def total(self) -> float | None:
        """Seconds from network-online (or from the first layer) to mounted; a late stack's from the boot's own try."""
        for start in self.starts:
            if start.mounted is not None:
                return start.mounted - self.starts[0].origin
        return None

    @property
    def end(self) -> float:
        """The last moment of the boot's own part, for a picture of it."""
        moments = [0.0, *self.milestones.values(), self.userspace or 0.0]
        for start in self.starts[:1]:
            moments += [layer.ended or layer.began for layer in start.layers]
            if start.result in (RUNNING, CUT):
                moments.append(self.ends or 0.0)
        return max(moments)


# Lines of the journal


def parse(lines: Iterable[str], boot_id: str = "") -> Journal:
    """The events of a boot from ``journalctl -o json``; of several boots, the named one or else the last."""
    entries: list[dict[str, Any]] = []
    damaged = 0
    for line in lines:
        if not line.strip() or line.startswith("-- "):  # "-- No entries --"
            continue
        try:
            entry = json.loads(line)
            entry["at"] = int(_text(entry["__MONOTONIC_TIMESTAMP"])) / 1e6
            entry["clock"] = int(_text(entry["__REALTIME_TIMESTAMP"])) / 1e6
            entry["boot"] = _text(entry["_BOOT_ID"])
        except (ValueError, KeyError, TypeError):
            damaged += 1
            continue
        entries.append(entry)
    if not boot_id and entries:
        boot_id = entries[-1]["boot"]
    entries = [entry for entry in entries if entry["boot"] == boot_id]
    if not entries:
        return Journal(boot_id, damaged=damaged)
    entries.sort(key=lambda entry: float(entry["at"]))
    events = [event for event in map(_event, entries) if event is not None]
    last = entries[-1]
    userspace = None
    for entry in entries:
        if MESSAGE_ID.get(_text(entry.get("MESSAGE_ID"))) == FINISHED and entry.get("KERNEL_USEC"):
            try:
                userspace = (int(_text(entry["KERNEL_USEC"])) + int(_text(entry.get("INITRD_USEC")) or 0)) / 1e6
            except ValueError:
                damaged += 1
    return Journal(boot_id, last["clock"] - last["at"], last["at"], userspace, None, tuple(events), damaged)


def _text(value: object) -> str:
    """A field of the journal's JSON: a string, null (too long to be shown), bytes as numbers, or a list of those."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        if all(isinstance(byte, int) for byte in value):
            return bytes(byte & 255 for byte in value).decode("utf-8", "replace")
        return _text(value[-1])
    return ""


def _event(entry: dict[str, Any]) -> Event | None:
    kind = MESSAGE_ID.get(_text(entry.get("MESSAGE_ID")), "")
    text = " ".join(_text(entry.get("MESSAGE")).split())
    if kind in (LATE, FINISHED, CLOSED):
        return Event(entry["at"], kind, text=text, stack=_text(entry.get("DRBDOCFS_STACK")))
    unit = _text(entry.get("UNIT"))
    if kind and unit:
        return Event(
            entry["at"], kind, unit, text, _text(entry.get("JOB_RESULT")) or _text(entry.get("UNIT_RESULT")),
            invocation=_text(entry.get("INVOCATION_ID")),
        )  # fmt: skip
    own = _text(entry.get("_SYSTEMD_UNIT"))
    if own and not unit and text:
        priority = _text(entry.get("PRIORITY"))
        return Event(
            entry["at"], LOG, own, text,
            priority=int(priority) if re.fullmatch("[0-7]", priority) else 6,
            invocation=_text(entry.get("_SYSTEMD_INVOCATION_ID")),
        )  # fmt: skip
    return None


# Order


def order(stack: Stack, stacks: Sequence[Stack]) -> dict[str, tuple[str, ...]]:
    """Unit of each layer -> the units that it is ordered after, as units.py and units/ have it."""
    units = layer_units(stack)
    basic = ("basic.target",)
    network = "network.target"
    modules = "drbdocfs-modules.service"
    found: dict[str, tuple[str, ...]] = {}
    if "loop" in units:
        parents, path = [], stack.backing_file.rpartition("/")[0]
        while path:
            try:
                parents.append(escape.mount_unit(path))
            except escape.Unwritable:
                pass
            path = path.rpartition("/")[0]
        found[units["loop"]] = (*basic, modules, *parents)
    found[units["attach"]] = (*([units["loop"]] if "loop" in units else []), *basic, network, modules)
    found[units["wait"]] = (units["attach"], ONLINE)
    found[units["promote"]] = (units["wait"],)
    cluster = [s for s in stacks if s.cluster == stack.cluster]
    anchors = [layer_units(s)["attach"] for s in cluster]
    found[units["o2cb"]] = (*anchors, *basic, network, modules)
    found[units["mount"]] = (units["promote"], units["o2cb"], ONLINE)
    return found


def units_of(stacks: Sequence[Stack], everything: Sequence[Stack]) -> list[str]:
    """All units whose events are needed, each once."""
    found = [*MILESTONES, SHUTDOWN]
    for stack in stacks:
        for unit, after in order(stack, everything).items():
            found += [unit, *after]
        found.append(f"drbdocfs@{stack.name}.target")
    return list(dict.fromkeys(found))


# Runs


def runs(events: Iterable[Event]) -> list[Run]:
    """The starts of units, in the order of their beginning."""
    found: list[Run] = []
    current: dict[str, int] = {}  # unit -> its open run in found
    logs: list[Event] = []
    results: dict[str, str] = {}

    def close(event: Event, result: str) -> None:
        place = current.pop(event.unit, None)
        if place is not None:
            found[place] = replace(found[place], ended=event.at, result=result)
        elif event.kind in (STARTED, FAILED):
            found.append(Run(event.unit, event.at, event.at, result, event.invocation))

    for event in events:
        if event.kind == LOG:
            logs.append(event)
        elif event.kind == STARTING:
            if event.unit in current:  # its end was not written
                close(event, CUT)
            results.pop(event.unit, None)
            current[event.unit] = len(found)
            found.append(Run(event.unit, event.at, invocation=event.invocation))
        elif event.kind == STARTED:
            close(event, DONE)
        elif event.kind == RESULT:
            results[event.unit] = event.result
        elif event.kind == FAILED:
            result = event.result or "failed"
            close(event, results.pop(event.unit, result) if result == "failed" else result)
        elif event.kind in (STOPPING, STOPPED):
            close(event, "canceled")
    return sorted((_with_log(run, logs) for run in found), key=lambda run: run.began)


def _with_log(run: Run, logs: list[Event]) -> Run:
    until = float("inf") if run.ended is None else run.ended + SLACK
    own = [
        event
        for event in logs
        if event.unit == run.unit
        and run.began - SLACK <= event.at <= until
        and (not run.invocation or not event.invocation or run.invocation == event.invocation)
    ]
    return replace(run, log=tuple(own))


def exact(found: list[Run], live: Mapping[str, Live]) -> list[Run]:
    """The runs with systemd's own times in place of the journal's, for the last run of each unit; with the runs that
    the journal does not have."""
    last = {run.unit: place for place, run in enumerate(found)}
    result = list(found)
    for unit, state in live.items():
        if not state.began and not state.ended:
            continue
        done = state.active in ("active", "reloading")
        ended = state.ended if done else None
        place = last.get(unit)
        if place is None:
            if done or state.active == "activating":
                result.append(Run(unit, state.began or state.ended, ended, DONE if done else RUNNING))
            continue
        run = result[place]
        # A target has one time; else what differs by more was another run.
        began = state.began if abs(state.began - run.began) < SLACK else run.began
        if ended is None or run.ended is None or abs(ended - run.ended) >= SLACK:
            ended = run.ended
        result[place] = replace(run, began=began, ended=ended)
    return sorted(result, key=lambda run: run.began)


# The timeline


def timeline(
    stack: Stack, stacks: Sequence[Stack], journal: Journal, boot: int, live: Mapping[str, Live] | None = None
) -> Timeline:
    """Put one stack of one boot together.  ``live``: the units as systemd has them now, for this boot only."""
    found = exact(runs(journal.events), live or {})
    layers = layer_units(stack)
    names = {unit: layer for layer, unit in layers.items()}
    milestones: dict[str, float] = {}
    finished = next((event.at for event in journal.events if event.kind == FINISHED), None)
    reached = [(run.unit, run.ended) for run in found if run.result == DONE and run.ended is not None]
    booted = finished if finished is not None else next((at for u, at in reached if u == MULTI_USER), float("inf"))
    for unit, at in reached:
        # An initrd with systemd reaches targets of the same names before; after the boot somebody may start one again.
        if unit in MILESTONES and (unit not in milestones or at <= booted + SLACK):
            milestones[unit] = at
    # journald stops within a boot, too: at the end of an initrd, and where it is restarted.
    shut = any(
        (e.kind == CLOSED and e.at >= journal.last - SLACK) or (e.unit == SHUTDOWN and e.kind == STARTED)
        for e in journal.events
    )
    ends = None if live is not None or shut else journal.last
    groups: list[dict[str, Run]] = []
    for run in found:
        if run.unit == layers["o2cb"]:
            # Other stacks of the cluster start it, too: it is part of a start of ours that had not mounted yet.
            if groups and not {run.unit, layers["mount"]} & set(groups[-1]):
                groups[-1][run.unit] = run
        elif run.unit in names:
            if not groups or run.unit in groups[-1]:
                groups.append({})
            groups[-1][run.unit] = run
    after = order(stack, stacks)
    if live:
        after = {unit: (*units, *(live[unit].after if unit in live else ())) for unit, units in after.items()}
    starts: list[Start] = []
    for group in groups:
        began = min(run.began for run in group.values())
        late = [
            event for event in journal.events
            if event.kind == LATE and event.stack == stack.name and began - LATE_WITHIN <= event.at <= began + SLACK
        ]  # fmt: skip
        # Said within the boot, "alone" is the wait's own word, not the follow service's.
        kind = "boot" if began <= booted and not starts else "late" if late else "hand"
        why = late[-1].text.partition(": ")[2] if late and kind == "late" else ""
        starts.append(_start(kind, why, group, found, names, after, milestones.get(ONLINE), live is None))
    mounted = next((start for start in starts if start.mounted is not None), None)
    if mounted is not None:
        result = "hand" if starts[0].kind != "boot" else "mounted" if mounted is starts[0] else "late"
    else:
        result = starts[-1].result if starts else "none"
    return Timeline(
        stack.name, boot, journal.boot_id, journal.zero, result, tuple(starts), milestones,
        journal.userspace, journal.generators, ends, journal.damaged,
    )  # fmt: skip


def _start(
    kind: str,
    why: str,
    group: dict[str, Run],
    found: list[Run],
    names: Mapping[str, str],
    after: Mapping[str, tuple[str, ...]],
    online: float | None,
    over: bool,
) -> Start:
    """One start of a stack from the runs of its layers; ``over``: the boot has ended, so nothing goes on in it."""
    layers: dict[str, Layer] = {}
    began = min(run.began for run in group.values())
    for unit in names:  # in the order of their start
        if unit not in group:
            continue
        run = group[unit]
        result = CUT if over and run.result == RUNNING else run.result
        reason, advice = _words(run)
        last = _last(run, after.get(unit, ()), group, found, began if kind != "boot" else 0.0)
        layers[unit] = Layer(
            names[unit], unit, run.began, run.ended, result, last, reason=reason, advice=advice,
            log=tuple((event.at, _without_name(event.text, unit)) for event in run.log),
        )  # fmt: skip
    mount = next((layer for layer in layers.values() if layer.layer == "mount"), None)
    mounted = mount.ended if mount is not None and mount.result == DONE else None
    # The path to what was reached: the mount, or the layer that the start did not get beyond.
    bad = [layer for layer in layers.values() if layer.result not in (DONE, DEPENDENCY)]
    tip = mount if mounted is not None else (bad or list(layers.values()))[0 if bad else -1]
    result = DONE
    if mounted is None:
        states = {layer.result for layer in layers.values()}
        result = RUNNING if RUNNING in states else CUT if CUT in states else "failed"
        if states <= {DONE}:
            result = CUT if over else RUNNING  # the next layer had not begun
    origin = began if online is None or kind != "boot" else online
    step: Layer | None = tip
    while step is not None and not step.critical:
        share = None
        if mounted is not None and mounted > origin and step.ended is not None:
            share = max(0.0, step.ended - max(step.began, origin)) / (mounted - origin)
        layers[step.unit] = replace(step, critical=True, share=share)
        step = layers.get(step.after)
    stopped = mounted is None and tip is not None
    return Start(
        kind, began, result, tuple(layers.values()), online, mounted, why,
        tip.layer if stopped and tip else "", tip.reason if stopped and tip else "",
        tip.advice if stopped and tip else "",
    )  # fmt: skip


def _last(run: Run, after: Iterable[str], group: Mapping[str, Run], found: list[Run], since: float) -> str:
    """The unit of ``after`` that ended last before the run began; "" when none is known to have."""
    wanted = set(after)
    best: Run | None = None
    for other in found:
        ended = other.ended
        if other.unit not in wanted or (other.result not in (DONE, DEPENDENCY) and other.unit not in group):
            continue
        if ended is None or not since <= ended <= run.began + ROUNDING:
            continue
        # At the same moment, a layer of ours counts more than what stands below it.
        if best is None or ended > (best.ended or 0.0) or (ended == best.ended and other.unit in group):
            best = other
    return best.unit if best else ""


def _without_name(text: str, unit: str) -> str:
    """A helper's line without the instance before it."""
    instance = unit.partition("@")[2].rpartition(".")[0]
    return text[len(instance) + 2 :] if instance and text.startswith(instance + ": ") else text


def _words(run: Run) -> tuple[str, str]:
    """Why it took as long as it did, or failed; and what to do."""
    lines = [(event.priority, _without_name(event.text, run.unit)) for event in run.log]
    advice = next((text[12:] for _, text in lines if text.startswith("what to do: ")), "")
    lines = [line for line in lines if not line[1].startswith("what to do: ")]
    if run.result == DONE or run.result in (RUNNING, CUT):
        return (lines[-1][1] if lines else ""), ""
    errors = [text for priority, text in lines if priority <= 3]
    if errors:
        return errors[0], advice
    if run.result == DEPENDENCY:
        return "not tried: a layer before it failed", ""
    return (lines[-1][1] if lines else f"systemd says '{run.result}'"), advice
