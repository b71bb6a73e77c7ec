"""The wait before promotion: until the peer is connected, replication is Established and both disks are UpToDate.

Event-driven on ``drbdsetup events2``.  It ends well only with that; it ends badly at once where no waiting helps
(split brain, StandAlone, disk gone, not configured), and with the reason when the stack's boot_timeout is over.
"""

import time

from drbdocfs_boot.events import State
from drbdocfs_boot.helpers.base import Layer
from drbdocfs_boot.tools import drbd
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.notify import status
from drbdocfs_boot.tools.run import Process
from drbdocfs_boot.verdict import EX_TEMPFAIL, EX_UNAVAILABLE, RESYNCING, STAND_ALONE, STARTING, Verdict, judge

# A connection is StandAlone for a moment while 'drbdadm adjust' or an administrator connects it again.
SETTLE = 1.5
DUMP_LIMIT = 20.0  # seconds for the first dump; a drbdsetup that hangs must not eat the whole boot_timeout
# Seconds between looks at the state by a dump of its own.  The events decide; but an event that got lost on its way
# would otherwise cost the whole boot_timeout, and nobody would know why.
LOOK_EVERY = 15.0
SHOW_EVERY = 2.0  # seconds between looks at a resync's progress and the clock, for the status line only


def start(layer: Layer) -> None:
    """Wait; returns when ready, raises Failure with the verdict's status or 75 at the limit."""
    resource = layer.setting("RESOURCE")
    limit = layer.seconds("BOOT_TIMEOUT")
    drbd.require_module()
    began = time.monotonic()
    told = ""
    while True:
        process = drbd.events_process(resource)
        try:
            verdict = _follow(layer, process, resource, began, limit, told)
        finally:
            process.end()
        if verdict is not None:
            break
        told = "again"  # events were lost, or the tool ended: a new dump by a new process
        if time.monotonic() - began >= limit:
            verdict = Verdict(STARTING, f"drbdsetup events2 {resource} keeps ending")
            break
        time.sleep(0.5)
    if verdict.status == 0:
        layer.say(f"{resource}: {verdict.reason}")
        return
    if verdict.final:
        raise Failure(verdict.status, verdict.reason, verdict.advice)
    raise Failure(
        EX_TEMPFAIL,
        f"{resource} was not ready after {_clock(limit)} (boot_timeout): {verdict.reason}",
        f"when the peer is back or the resync has ended: 'systemctl start drbdocfs@{layer.instance}.target'",
    )


def stop(layer: Layer) -> None:
    """Nothing is held by a wait that has ended."""


def _follow(layer: Layer, process: Process, resource: str, began: float, limit: float, told: str) -> "Verdict | None":
    """Follow one events2 process; a final verdict, the last one at the limit, or None when a new dump is needed."""
    state = State()
    rest = b""
    errors = b""
    opened = time.monotonic()
    settled = 0.0
    looked = opened
    verdict = judge(state, resource)
    while True:
        now = time.monotonic()
        if verdict.status == 0 or (verdict.final and verdict.kind != STAND_ALONE):
            return verdict
        if verdict.kind == STAND_ALONE:
            settled = settled or now
            if now - settled >= SETTLE:
                return drbd.verdict(state, resource)
        else:
            settled = 0.0
        left = began + limit - now
        if left <= 0:
            return verdict
        if not state.complete and now - opened >= DUMP_LIMIT:
            raise Failure(
                EX_TEMPFAIL,
                f"'drbdsetup events2 {resource}' has said nothing for {DUMP_LIMIT:.0f} s",
                "see the kernel log: journalctl -k",
            )
        if state.complete and now - looked >= LOOK_EVERY:
            looked = now
            if _differs(resource, verdict):
                return None
        told = _show(layer, state, verdict, told, now - began, limit)
        pause = SETTLE if verdict.kind == STAND_ALONE else SHOW_EVERY
        for fd, data in process.read(min(left, pause)):
            if fd == process.out_fd:
                rest += data
            else:
                errors = (errors + data)[-2000:]
        *lines, rest = rest.split(b"\n")
        for line in lines:
            state.feed(line.decode("utf-8", "replace"))
        if state.lost:
            return None
        verdict = judge(state, resource)
        if not process.fds and not (verdict.final or verdict.status == 0):
            code = process.wait(1.0)
            if code == drbd.NO_MODULE:
                drbd.require_module()
            if not state.complete:
                said = errors.decode("utf-8", "replace").strip()
                raise Failure(EX_UNAVAILABLE, f"drbdsetup events2 {resource} ended with {code}: {said}")
            return None


def _differs(resource: str, verdict: Verdict) -> bool:
    """True when a dump of its own leads to another verdict; a dump that cannot be had proves nothing."""
    try:
        return drbd.verdict(drbd.state(resource), resource).kind != verdict.kind
    except Failure:
        return False


def _show(layer: Layer, state: State, verdict: Verdict, told: str, spent: float, limit: float) -> str:
    """Status line every time, a journal line when the reason changed; returns what was told."""
    text = verdict.reason
    if verdict.kind == RESYNCING and verdict.percent is None:
        for device in state.devices.values():
            progress = drbd.resync_84(device.get("minor", ""))
            if progress:
                text += f" {progress[0]:.0f} %" + (f", {progress[1]} left" if progress[1] else "")
    status(f"{text}, {_clock(spent)} of {_clock(limit)}")
    what = verdict.reason.partition(" %")[0].rstrip("0123456789") if verdict.kind == RESYNCING else verdict.reason
    if verdict.kind != STARTING and what != told:
        print(f"{layer.instance}: {verdict.reason}", flush=True)
        return what
    return told


def _clock(seconds: float) -> str:
    """M:SS, or H:MM:SS from an hour on."""
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}"
