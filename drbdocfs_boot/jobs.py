"""How far a start or a stop of a stack is: states of units and systemd's jobs in, layers and an outcome out.  Pure.

A unit that had failed before counts only when it fails again.  Nothing is concluded while systemd still has a job for
the stack: a stop of a target returns before its layers are down, and a layer that failed may yet be followed by others.
"""

from __future__ import annotations

from drbdocfs_boot import escape
from drbdocfs_boot.frozen import Frozen
from drbdocfs_boot.report import layer_units
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.systemd import Job, UnitState

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Units = Mapping[str, UnitState]

# States of a layer on its way.
WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
# What systemd calls on its way, up or down.
BUSY = ("activating", "deactivating", "reloading")


class Step(Frozen):
    """One layer: ``state`` waiting, running, done or failed; ``detail`` its own words."""

    layer: str
    unit: str
    state: str
    detail: str


def target(stack: Stack) -> str:
    """The unit that starts and stops the whole stack."""
    return f"drbdocfs@{stack.name}.target"


def stop_units(stack: Stack) -> dict[str, str]:
    """Layer -> unit, in the order of their stop; ``holders`` is what looks for users of the mount before it goes."""
    layers = layer_units(stack)
    order = ["mount", "o2cb", "promote", "wait", "attach", *(["loop"] if "loop" in layers else [])]
    return {"holders": f"drbdocfs-holders@{stack.name}.service", **{layer: layers[layer] for layer in order}}


def all_units(stack: Stack) -> list[str]:
    """Everything that a start or a stop of the stack touches, its target included."""
    return [*stop_units(stack).values(), target(stack)]


def is_up(stack: Stack, now: Units) -> bool:
    """True when every layer and the target are."""
    return all(now[name].active == "active" for name in [*layer_units(stack).values(), target(stack)])


def shared(stack: Stack, stacks: Iterable[Stack], now: Units) -> list[str]:
    """Names of other stacks of the same cluster that are mounted or about to be: they keep O2CB up."""
    return [
        other.name
        for other in stacks
        if other.name != stack.name
        and other.cluster == stack.cluster
        and getattr(now.get(escape.mount_unit(other.mountpoint)), "active", "") in ("active", "activating")
    ]


def is_down(stack: Stack, now: Units, keeps_o2cb: bool = False) -> bool:
    """True when no layer is up or on its way; ``keeps_o2cb``: the cluster is left to other stacks."""
    return all(
        now[unit].active in ("inactive", "failed")
        for layer, unit in {**stop_units(stack), "target": target(stack)}.items()
        if not (keeps_o2cb and layer == "o2cb")
    )


def new_failure(before: UnitState | None, now: UnitState) -> bool:
    """True when the unit has failed since."""
    if now.active != "failed":
        return False
    return before is None or (before.since, before.active) != (now.since, now.active)


def starting(stack: Stack, before: Units, now: Units) -> list[Step]:
    """The layers of a start, in order."""
    steps = []
    for layer, name in layer_units(stack).items():
        unit = now[name]
        detail = unit.status
        if unit.active == "active":
            state = DONE
        elif new_failure(before.get(name), unit):
            state, detail = FAILED, unit.status or unit.result
        elif unit.load not in ("loaded", ""):
            state, detail = FAILED, f"unit is {unit.load}"
        elif unit.active in BUSY:
            state = RUNNING
        else:
            state, detail = WAITING, ""
        steps.append(Step(layer, name, state, detail))
    return steps


def stopping(stack: Stack, before: Units, now: Units, pending: Mapping[str, Job]) -> list[Step]:
    """The layers of a stop, in order.  A layer that is up when no job is left for it could not be stopped."""
    steps = []
    for layer, name in stop_units(stack).items():
        unit = now[name]
        # Until the stop has a word of its own, systemd still has the start's.
        detail = unit.status if name not in before or unit.status != before[name].status else ""
        if unit.active in BUSY:
            state = RUNNING
        elif name in pending:
            state, detail = WAITING, ""
        elif unit.active == "active":
            state, detail = FAILED, unit.result if unit.result not in ("", "success") else "it is still up"
        elif new_failure(before.get(name), unit):
            state, detail = FAILED, unit.status or unit.result
        else:
            state, detail = DONE, ""
        steps.append(Step(layer, name, state, detail))
    return steps


def current(steps: list[Step]) -> Step | None:
    """The layer that is being worked on: the first that runs, else the first that waits."""
    running = next((step for step in steps if step.state == RUNNING), None)
    return running or next((step for step in steps if step.state == WAITING), None)


def failed(steps: list[Step]) -> Step | None:
    """The first layer that failed."""
    return next((step for step in steps if step.state == FAILED), None)


def pending(stack: Stack, jobs: Mapping[str, Job]) -> dict[str, Job]:
    """The jobs that concern the stack."""
    return {name: jobs[name] for name in all_units(stack) if name in jobs}
