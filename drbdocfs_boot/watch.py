"""Looking at stacks again and again, for the command: what they are now, and until one is up or has failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from drbdocfs_boot import report, systemd
from drbdocfs_boot.events import State
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import drbd, records
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.verdict import STAND_ALONE, Policy, Verdict, judge

EVERY = 1.0


def target(stack: Stack) -> str:
    """The unit that starts and stops the whole stack."""
    return f"drbdocfs@{stack.name}.target"


def peer_name(instance: str) -> str:
    """ "server2 at 10.0.0.2:7789", from the record of the attach; "" when there is none."""
    attached = records.read(instance, "attach") or {}
    name, address = attached.get("PEER", ""), attached.get("PEER_ADDRESS", "")
    return f"{name} at {address}" if name and address else name


def drbd_verdict(stack: Stack, policy: Policy | None = None) -> tuple[State, Verdict]:
    """DRBD's state now and the verdict on it.  Raises Failure."""
    drbd.require_module()
    state = drbd.state(stack.resource)

    def ask(why: str = "") -> Verdict:
        return judge(
            state, stack.resource, why, policy=policy, peer=peer_name(stack.name), progress=drbd.progress(state)
        )

    verdict = ask()
    if verdict.kind == STAND_ALONE:
        verdict = ask(drbd.why_stand_alone(state, stack.resource))
    return state, verdict


def look(stacks: Iterable[Stack]) -> list[report.StackReport]:
    """What ``status`` says of these stacks.  Raises NoSystemd."""
    stacks = list(stacks)
    units = systemd.states(u for s in stacks for u in report.layer_units(s).values()) if stacks else {}
    found = []
    for stack in stacks:
        waiting = records.read(stack.name, "waiting")
        # Nothing is recorded of a stack that was stopped, and of one that was never started.
        policy = Policy(stopped=True) if records.read(stack.name, "attach") is None and waiting is None else None
        try:
            state, verdict = drbd_verdict(stack)
            if policy is not None and not state.configured:
                verdict = judge(state, stack.resource, policy=policy)
            about = report.drbd_report(state, verdict)
        except Failure as failure:
            about = report.DrbdReport("unknown", failure.message, failure.advice)
        found.append(
            report.stack_report(
                stack,
                units,
                about,
                report.waiting_report(waiting, time.monotonic(), time.time()),
                report.alone_report(records.read(stack.name, "alone")),
            )
        )
    return found


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
        up = all(unit.active == "active" for unit in now.values())
        line = "up" if up else _steps(stack, now)
        if report.gist(line) != told:
            say(f"{stack.name}: {line}")
            told = report.gist(line)
        if up:
            return ""
        for name, unit in now.items():
            if unit.active == "failed" and (unit.since, "failed") != (began[name].since, began[name].active):
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
            return f"{text}: {unit.status}" if unit.status and layer == "wait" else text
    for layer, name in report.layer_units(stack).items():
        if units[name].active != "active":
            return f"{layer} {report.WORDS.get(units[name].active, 'unknown')}"
    return f"{target(stack)} {units[target(stack)].active}"
