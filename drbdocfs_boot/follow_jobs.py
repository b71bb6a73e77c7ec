"""Starts and stops stacks through systemd and shows, layer by layer, how far they are.

systemd does the work whether somebody looks or not: the end of the watching, by Ctrl-C or a limit, ends nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence

from drbdocfs_boot import choose, config, jobs, report, systemd, terminal, values, watch
from drbdocfs_boot.exits import (
    EX_CONFIG,
    EX_DATAERR,
    EX_INTERRUPTED,
    EX_NO,
    EX_NOPERM,
    EX_OK,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    refuse,
)
from drbdocfs_boot.jobs import Step
from drbdocfs_boot.news import TOGETHER, News
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.systemd import Manager, UnitState
from drbdocfs_boot.tools import drbd, holders, mounts, records, system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import find
from drbdocfs_boot.tools.run import run as run_tool
from drbdocfs_boot.verdict import FINAL, RESYNCING, SPLIT_BRAIN, Verdict, clock

EVERY = 1.0  # seconds between two looks where no signal comes; the clock on a terminal moves with it
SHARE = 4.0  # the least pause between two looks, in lengths of a look, but no more than EVERY
UNNEEDED = 3.0  # seconds after the last unmount in which systemd stops a cluster that nobody needs any more
QUIET = 2.0  # seconds that a layer may take before a pipe hears of its beginning
EVERYTHING = "drbdocfs.target"
GENERATED = "/run/systemd/generator"
HELPERS = "/usr/libexec/drbdocfs-boot"
HELPER_LIMIT = 150.0  # seconds, the longest stop of the units
UNMOUNT_LIMIT = 180.0  # seconds, as the mount unit has
RECORDED = ("promote", "attach", "loop")  # layers that leave a record while they are up
MARKS = {jobs.DONE: "done", jobs.FAILED: "failed", jobs.RUNNING: "starting", jobs.WAITING: "waiting"}


class Follow:
    """One start or stop of some stacks, from the order to its end.

    ``configured``: all stacks, since some may share a cluster with these.
    """

    def __init__(self, verb: str, stacks: Sequence[Stack], configured: Iterable[Stack], manager: Manager) -> None:
        """``verb`` start or stop.  Raises NoSystemd."""
        self.verb = verb
        self.stacks = list(stacks)
        self.configured = list(configured)
        self.manager = manager
        self.names = list(
            dict.fromkeys(
                [unit for stack in self.stacks for unit in jobs.all_units(stack)]
                + [report.layer_units(stack)["mount"] for stack in self.configured]
            )
        )
        self.before, self.queue = manager.look(self.names)
        self.now = self.before
        self.began = time.time()
        self.shown = _Shown(verb, len(self.stacks) > 1)
        self.unneeded: float | None = None

    def settled(self, stack: Stack) -> bool:
        """True when the stack is already what it is to become, and nothing works on it."""
        if jobs.pending(stack, self.queue):
            return False
        if self.verb == "start":
            return jobs.is_up(stack, self.before)
        waits = records.read(stack.name, "waiting") is not None
        return not waits and jobs.is_down(stack, self.before, self._keeps(stack)) and not _left(stack)

    def given_up(self, stack: Stack) -> bool:
        """True when systemd has no unit of the stack up, and yet layers are there: a stop of theirs has failed.

        systemd does not stop what has failed, so somebody else has to.
        """
        return (
            self.verb == "stop"
            and not jobs.pending(stack, self.queue)
            and jobs.is_down(stack, self.before, self._keeps(stack))
            and bool(_left(stack))
        )

    def unwind(self, stack: Stack) -> int:
        """Take down by the units' helpers what systemd has left, if anything; say how it ended.  The exit status."""
        place = (records.read(stack.name, "promote") or {}).get("MOUNTPOINT", "") or stack.mountpoint
        for layer, unit in jobs.stop_units(stack).items():
            held = mounts.of_device(stack.device) if layer == "mount" else []
            online = (
                layer == "o2cb"
                and self.now[unit].active == "failed"
                and not jobs.shared(stack, self.configured, self.now)
                and self.manager.came_up(unit)  # else it is not ours: somebody else has brought a cluster online
            )
            if not (held or online or (layer in RECORDED and records.read(stack.name, layer) is not None)):
                continue
            # The units' own commands, past systemd: only as long as systemd does nothing with the stack itself.
            self.now, self.queue = self.manager.look(self.names)
            if jobs.pending(stack, self.queue) or not jobs.is_down(stack, self.now, keeps_o2cb=True):
                return refuse(
                    EX_NO,
                    f"{stack.name} is not stopped: it was started again meanwhile",
                    f"'drbdocfs status {stack.name}' shows it",
                )
            if held:
                refused = _not_ours(stack, held, place)
                if refused is not None:
                    return refused
                result = mounts.unmount(place, UNMOUNT_LIMIT)
            elif online:
                result = run_tool([f"{HELPERS}/o2cb", "stop", stack.cluster], HELPER_LIMIT)
            else:
                result = run_tool([f"{HELPERS}/{layer}", "stop", stack.name], HELPER_LIMIT)
            said = result.said.replace("<3>", "")
            if result.code != 0:
                self.shown.steps(stack, [Step(layer, unit, jobs.FAILED, said)])
                users = holders.brief(holders.of_mount(stack.device, besides=False))
                return refuse(
                    EX_NO,
                    f"{stack.name} is not stopped: {layer} failed: {said}" + (f"; in use by {users}" if users else ""),
                    f"end what uses it, then 'drbdocfs stop {stack.name}' again",
                )
            self.shown.steps(stack, [Step(layer, unit, jobs.DONE, "")])
        # What is stopped has not failed any more, whatever happened to it before.
        for unit in jobs.all_units(stack):
            if self.now[unit].active == "failed":
                self.manager.forgive(unit)
        self.shown.end(stack, "stopped", _by_hand(stack))
        return EX_OK

    def run(self, limit: float | None) -> bool:
        """Until systemd has no job left for the stacks; False when ``limit`` seconds were not enough.

        Raises NoSystemd.
        """
        deadline = None if limit is None else time.monotonic() + limit
        with News() as news:
            try:
                while True:
                    look = time.monotonic()
                    self.now, self.queue = self.manager.look(self.names)
                    # Once for each look: the clock has its say in them, and the last ones have to be shown.
                    steps = [(stack, self._steps(stack)) for stack in self.stacks]
                    for stack, those in steps:
                        self.shown.steps(stack, those)
                    if not self._goes_on([step for _, those in steps for step in those]):
                        return True
                    self.shown.draw()
                    # With many stacks a look costs this host as much as a layer of theirs: the time is theirs.
                    pause = max(TOGETHER, SHARE * (time.monotonic() - look))
                    left = EVERY if deadline is None else min(EVERY, deadline - time.monotonic())
                    if left <= 0:
                        return False
                    news.wait(left, pause)
            finally:
                self.shown.clear()

    def _steps(self, stack: Stack) -> list[Step]:
        if self.verb == "start":
            return jobs.starting(stack, self.before, self.now)
        steps = jobs.stopping(stack, self.before, self.now, jobs.pending(stack, self.queue))
        return [self._cluster(stack, step) if step.layer == "o2cb" else self._really(stack, step) for step in steps]

    def _really(self, stack: Stack, step: Step) -> Step:
        """A unit that was stopped well is "failed" all the same where an earlier stop of it had failed."""
        if step.state != jobs.FAILED or self.now[step.unit].active != "failed" or step.layer in _left(stack):
            return step
        return Step(step.layer, step.unit, jobs.DONE, "") if step.layer in ("mount", *RECORDED) else step

    def _cluster(self, stack: Stack, step: Step) -> Step:
        """A cluster that other stacks use stays; one that nobody uses goes a moment after the last unmount."""
        if step.state != jobs.FAILED or self.now[step.unit].active != "active":
            return step
        users = jobs.shared(stack, self.configured, self.now)
        if users:
            return Step(step.layer, step.unit, jobs.DONE, f"stays online: {', '.join(users)} uses it")
        if self.unneeded is None and not jobs.pending(stack, self.queue):
            self.unneeded = time.monotonic() + UNNEEDED
        if self.unneeded is None or time.monotonic() < self.unneeded:
            return Step(step.layer, step.unit, jobs.WAITING, "")
        other = next((mount.target for mount in mounts.table() if mount.type == "ocfs2"), "")
        if other:
            return Step(step.layer, step.unit, jobs.DONE, f"stays online: {other} is mounted")
        # With several stacks systemd takes it down when none of them wants it any more; with one it had to go.
        several = any(one.cluster == stack.cluster and one.name != stack.name for one in self.configured)
        return Step(step.layer, step.unit, jobs.DONE, "stays online") if several else step

    def _goes_on(self, steps: list[Step]) -> bool:
        if any(jobs.pending(stack, self.queue) for stack in self.stacks):
            return True
        # Only the cluster of a stop is waited for without a job.
        return self.verb == "stop" and any(step.state == jobs.WAITING for step in steps)

    def _keeps(self, stack: Stack) -> bool:
        return bool(jobs.shared(stack, self.configured, self.before))

    # --- the outcome ---

    def outcome(self, stack: Stack) -> int:
        """Say how it ended; the exit status."""
        return self._started(stack) if self.verb == "start" else self._stopped(stack)

    def _started(self, stack: Stack) -> int:
        if jobs.is_up(stack, self.now):
            self.shown.end(stack, "up", f"{stack.mountpoint} on {stack.device}")
            return EX_OK
        waiting = records.waiting(stack.name)
        if waiting is not None and waiting.get("STATE") == "late":
            kind, reason = waiting.get("KIND", ""), waiting.get("REASON", "")
            if kind not in FINAL:
                self.shown.end(stack, "late", reason)
                return refuse(
                    EX_TEMPFAIL,
                    f"{stack.name} is not up yet, but it waits on in the background (drbdocfs-follow.service) and comes"
                    " up by itself",
                    f"'drbdocfs status --watch {stack.name}' shows it; "
                    + (
                        "'journalctl -k' on both hosts may say why DRBD refuses it"
                        if kind == records.REFUSED
                        else f"'drbdocfs proceed {stack.name}' goes on without the peer"
                    ),
                )
        step = jobs.failed(jobs.starting(stack, self.before, self.now))
        if step is None:
            cancelled = next(
                (layer for layer, unit in report.layer_units(stack).items() if self.now[unit].active != "active"),
                "the target",
            )
            return refuse(
                EX_NO,
                f"{stack.name} is not up: the start ended before {cancelled} (was it stopped meanwhile?)",
                f"'systemctl status {jobs.target(stack)}', then 'drbdocfs start {stack.name}'",
            )
        reason, advice = last_words(self.now[step.unit], step.detail, self.began)
        status = EX_NO
        if step.layer == "wait" and waiting is not None and waiting.get("KIND") == SPLIT_BRAIN:
            status = EX_DATAERR
        return refuse(
            status,
            f"{stack.name} is not up: {step.layer} failed: {reason}",
            advice.replace("STACK", stack.name) or f"'journalctl -b -u {step.unit}' has all that was said",
        )

    def _stopped(self, stack: Stack) -> int:
        if jobs.is_up(stack, self.now):
            return refuse(
                EX_NO,
                f"{stack.name} is up: it was started again meanwhile",
                f"'drbdocfs stop {stack.name}' again",
            )
        step = jobs.failed(self._steps(stack))
        if step is None:
            # systemd has stopped what was up; a layer whose stop had failed earlier is none of that.
            return self.unwind(stack)
        reason, advice = last_words(self.now[step.unit], step.detail, self.began)
        users = ""
        if step.layer == "o2cb" and self.now[step.unit].active == "active":
            advice = advice or f"'systemctl stop {step.unit}'; 'systemctl status {step.unit}' shows what it is"
        if step.layer in ("mount", "promote"):
            users = holders.brief(holders.of_mount(stack.device, besides=False))
            advice = advice or f"end what uses {stack.mountpoint}, then 'drbdocfs stop {stack.name}' again"
        if users and users not in reason:
            reason += f"; in use by {users}"
        return refuse(
            EX_NO,
            f"{stack.name} is not stopped: {step.layer} failed: {reason}",
            advice.replace("STACK", stack.name) or f"'journalctl -b -u {step.unit}' has all that was said",
        )


def _left(stack: Stack) -> list[str]:
    """Layers of the stack that were started and not stopped, whatever systemd has of them."""
    left = [layer for layer in RECORDED if records.read(stack.name, layer) is not None]
    return (["mount"] if mounts.of_device(stack.device) else []) + left


def _by_hand(stack: Stack) -> str:
    """What is said of a DRBD resource that is up although nothing of ours has brought it up; "" when it is down."""
    try:
        up = drbd.loaded() and drbd.state(stack.resource).configured
    except Failure:
        return ""
    if not up:
        return ""
    return (
        f"{stack.resource} is up in DRBD all the same; it was brought up by hand, so it is left alone"
        f" ('drbdadm down {stack.resource}')"
    )


def _not_ours(stack: Stack, held: Sequence[mounts.Mount], place: str) -> int | None:
    """The exit status, after it was said, where an unmount of ``place`` would not be that of the stack's device."""
    elsewhere = [mount.target for mount in held if mount.target != place]
    top = next((mount for mount in reversed(mounts.table()) if mount.target == place), None)
    if elsewhere:
        there = " as well" if len(elsewhere) < len(held) else f", not on {place}"
        what, target = f"{stack.device} is mounted on {', '.join(elsewhere)}{there}", elsewhere[0]
    elif top is not None and top.number not in [mount.number for mount in held]:
        what, target = f"{top.source} ({top.type}) is mounted over it on {place}", place
    else:
        return None
    return refuse(
        EX_NO,
        f"{stack.name} is not stopped: {what}",
        f"'umount {target}' if it may go, then 'drbdocfs stop {stack.name}' again",
    )


def last_words(unit: UnitState, status: str, since: float) -> tuple[str, str]:
    """(Reason, advice) of a unit that failed, as its process put them into the journal after ``since``.

    A mount has no status line of its own, so what mount.ocfs2 said is taken from there.
    """
    command = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=40", f"--since=@{since - 1:.0f}"]
    try:
        lines = run_tool([*command, f"_SYSTEMD_UNIT={unit.name}"], 10).out.splitlines()
    except Failure:
        lines = []
    advice = ""
    said = ""
    for line in lines:
        before, mark, after = line.partition("what to do: ")
        if mark:
            advice = after
        elif before.strip():
            said = before.strip()
    if unit.name.endswith(".mount"):
        return said or f"{status} (systemd: {unit.result})" if status != unit.result else said or status, advice
    return status or said or "its process ended without a word", advice


class _Shown:
    """What the reader has seen: a line per layer that came to an end; on a terminal a line that moves besides."""

    def __init__(self, verb: str, several: bool) -> None:
        self.verb = verb
        self.several = several
        self.out = sys.stdout
        self.live = terminal.movable(self.out)
        self.progress = terminal.Progress(self.out)
        self.began = time.monotonic()
        self.told: dict[tuple[str, str], tuple[str, str]] = {}  # (stack, layer) -> state and gist of the detail
        self.seen: dict[tuple[str, str], float] = {}  # since when a layer runs
        self.moving: tuple[Stack, Step] | None = None
        self.asked = 0.0
        self.verdict: Verdict | None = None
        self.speed = ""

    def steps(self, stack: Stack, steps: list[Step]) -> None:
        """Say what is new."""
        now = time.monotonic()
        for step in steps:
            key = (stack.name, step.layer)
            if step.state == jobs.WAITING:
                continue
            since = self.seen.setdefault(key, now)
            if step.state in (jobs.DONE, jobs.FAILED):
                if self.told.get(key, ("", ""))[0] != step.state:
                    self.told[key] = (step.state, "")
                    self._line(stack, step, _took(now - since))
            elif not self.live:
                gist = report.gist(step.detail)
                # A layer that is done at once needs no line for its beginning; one that waits says for what.
                due = now - since >= QUIET or (step.layer == "wait" and bool(step.detail))
                if due and self.told.get(key) != (step.state, gist):
                    self.told[key] = (step.state, gist)
                    self._line(stack, step, "")
        if self.live and (self.moving is None or self.moving[0].name == stack.name or self._over(self.moving)):
            step_now = jobs.current(steps)
            self.moving = None if step_now is None else (stack, step_now)

    def _over(self, moving: tuple[Stack, Step]) -> bool:
        return self.told.get((moving[0].name, moving[1].layer), ("", ""))[0] in (jobs.DONE, jobs.FAILED)

    def draw(self) -> None:
        """The moving line anew."""
        if not self.live or self.moving is None:
            return
        stack, step = self.moving
        since = self.seen.get((stack.name, step.layer))
        clock_now = "" if since is None else clock(time.monotonic() - since)
        text = f"{self._head(stack, step)} {clock_now:>5}  "
        self.progress.show(text + (self._resync(stack) or step.detail) if step.layer == "wait" else text + step.detail)

    def clear(self) -> None:
        """Take the moving line away."""
        self.progress.clear()

    def end(self, stack: Stack, word: str, detail: str) -> None:
        """The last line of a stack."""
        self.progress.clear()
        took = _took(time.monotonic() - self.began)
        text = f"{terminal.style(word, word, self.out)}"
        tail = "".join([f": {detail}" if detail else "", f" {took}" if took else ""])
        print(f"{stack.name} is {text}{tail}", file=self.out, flush=True)

    def _head(self, stack: Stack, step: Step) -> str:
        word = "stopping" if step.state == jobs.RUNNING and self.verb == "stop" else MARKS[step.state]
        name = f"{stack.name}: " if self.several else ""
        return f"{name}{step.layer:<8} " + terminal.style(f"{word:<8}", word, self.out)

    def _line(self, stack: Stack, step: Step, took: str) -> None:
        self.progress.clear()
        name = f"{stack.name}: " if self.several else ""
        detail = " ".join(part for part in (step.detail, took) if part)
        # Colours have no width, so the lines are cut where they would be without.
        plain = " " * (len(name) + 18)
        lines = list(terminal.wrap(detail, terminal.width(self.out), plain, plain))
        lines[0] = self._head(stack, step) + " " + lines[0][len(plain) :]
        print("\n".join(line.rstrip() for line in lines), file=self.out, flush=True)

    def _resync(self, stack: Stack) -> str:
        """A bar, percent, speed and time left while DRBD resyncs; "" else.  Asked once a second."""
        now = time.monotonic()
        if now - self.asked >= EVERY:
            self.asked = now
            try:
                state, self.verdict = watch.drbd_verdict(stack)
            except Failure:
                self.verdict = None
            else:
                found = report.resync_report(state, self.verdict, watch.out_of_sync(state))
                self.speed = "" if found is None or found.speed is None else f"{report.size(found.speed)}/s"
        verdict = self.verdict
        if verdict is None or verdict.kind != RESYNCING or verdict.percent is None:
            return ""
        left = "" if verdict.left is None else f"{clock(verdict.left)} left"
        way = " ".join(verdict.reason.split()[:3])
        parts = [terminal.bar(verdict.percent / 100), f"{verdict.percent:3.0f} %", self.speed, left, way]
        return " ".join(part for part in parts if part)


def _took(seconds: float) -> str:
    return f"({report.duration(seconds)})" if seconds >= 1.0 else ""


def perform(
    verb: str, stacks: Sequence[Stack], configured: Sequence[Stack], everything: bool, wait: bool, limit: float | None
) -> int:
    """start, stop or restart the stacks; ``everything``: it was not one that was named.  The worst exit status.

    Raises NoSystemd.
    """
    again = (
        f"'drbdocfs status --watch{'' if everything else ' ' + stacks[0].name}' shows it"
        if stacks
        else "'drbdocfs status' shows it"
    )
    began = time.monotonic()
    with Manager() as manager:
        if verb == "restart" and not wait:
            return _order(manager, "restart", stacks, everything)
        for step in ("stop", "start") if verb == "restart" else (verb,):
            follow = Follow(step, stacks, configured, manager)
            todo = [stack for stack in stacks if not follow.settled(stack)]
            if verb != "restart":
                for stack in stacks:
                    if stack not in todo:
                        note = "" if step == "start" else _by_hand(stack)
                        word = "up" if step == "start" else "stopped"
                        print(f"{stack.name} is {word} already" + (f": {note}" if note else ""), flush=True)
            given_up = [stack for stack in todo if follow.given_up(stack)]
            statuses = _each(follow.unwind, given_up)
            if any(statuses):
                return worst(statuses)
            todo = [stack for stack in todo if stack not in given_up]
            if not todo:
                continue
            follow = Follow(step, todo, configured, manager)
            status = _order(manager, step, todo, everything)
            if status != EX_OK:
                return status
            if not wait:
                continue
            left = None if limit is None else max(0.0, limit - (time.monotonic() - began))
            try:
                if not follow.run(left):
                    return refuse(
                        EX_TEMPFAIL,
                        f"the {step} was not done after {report.duration(limit or 0.0)}; it goes on",
                        again,
                    )
            except KeyboardInterrupt:
                print(f"the watching ends here, the {step} goes on; {again}", file=sys.stderr)
                if verb == "restart" and step == "stop":
                    name = "" if everything else f" {stacks[0].name}"
                    print(f"what to do: 'drbdocfs start{name}', once it is stopped", file=sys.stderr)
                return EX_INTERRUPTED
            except systemd.NoSystemd as error:
                return refuse(
                    EX_UNAVAILABLE, f"systemd does not answer any more ({error.message}); the {step} goes on", again
                )
            statuses = _each(follow.outcome, todo)
            if any(statuses):
                return worst(statuses)
    return EX_OK


def _each(end: Callable[[Stack], int], stacks: Iterable[Stack]) -> list[int]:
    """The exit status of each stack's end, which may be the unwinding: that is our own work, not systemd's, so a step
    that was not done in its time is not done, and Ctrl-C ends the rest of it."""
    statuses = []
    for stack in stacks:
        try:
            statuses.append(end(stack))
        except Failure as failure:
            statuses.append(refuse(EX_NO, f"{stack.name} is not stopped: {failure.message}", failure.advice))
        except KeyboardInterrupt:
            words = f"interrupted; a step that had begun may go on; 'drbdocfs status {stack.name}' shows it"
            print(words, file=sys.stderr)
            return [EX_INTERRUPTED]
    return statuses


def worst(statuses: Iterable[int]) -> int:
    """Of several exit statuses the one to end with: danger, then a failure, then what goes on by itself."""
    order = (EX_DATAERR, EX_NO, EX_TEMPFAIL)
    found = set(statuses) - {EX_OK}
    return next((status for status in order if status in found), max(found, default=EX_OK))


def _order(manager: Manager, verb: str, stacks: Sequence[Stack], everything: bool) -> int:
    """Queue the jobs.  The stacks by name as well: a target that is active already does not carry a start along
    reliably, and one that is inactive not a stop."""
    units = [*([EVERYTHING] if everything else []), *(jobs.target(stack) for stack in stacks)]
    if verb == "restart":
        units = units[:1] if everything else units
    for unit in units:
        try:
            manager.order(verb, unit)
        except systemd.Refused as refused:
            return refuse(EX_NO, f"systemd does not {verb} {unit}: {refused}", f"'systemctl status {unit}'")
    return EX_OK


# --- what the three verbs share ---------------------------------------------------------------------------------


def arguments(parser: argparse.ArgumentParser, words: str) -> None:
    """The arguments of start, stop and restart."""
    parser.add_argument("stack", metavar="STACK", nargs="?", help="this stack only; without it all of them")
    parser.add_argument("--no-wait", action="store_true", help=f"return as soon as systemd has taken the {words}")
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=_limit,
        help=f"watch for so long at the most (30s, 5min, a number of seconds); the {words} goes on",
    )


def _limit(text: str) -> float:
    try:
        return values.time_span(text) / 1_000_000
    except values.Refused as refused:
        raise argparse.ArgumentTypeError(f"'{text}' {refused}") from None


def run(verb: str, args: argparse.Namespace) -> int:
    """Do it; the exit status, see drbdocfs-start(8)."""
    problems = 0
    if args.stack is not None:
        chosen = choose.one(args.stack)
        if isinstance(chosen, int):
            return chosen
    reading = config.read(os.environ.get("DRBDOCFS_ROOT", ""))
    stacks = [stack for stack in reading.stacks if args.stack in (None, stack.name)]
    if args.stack is None:
        problems = len(reading.problems)
        for problem in reading.problems:
            print(f"drbdocfs: {problem}", file=sys.stderr)
        if not stacks and problems:
            return EX_CONFIG
        if not stacks:
            return refuse(
                EX_CONFIG,
                "no stack is configured (/etc/drbdocfs/drbdocfs.conf)",
                "see drbdocfs.conf(5); 'drbdocfs import' makes one of an old set-up, 'drbdocfs create' a new one",
            )
    name = "" if args.stack is None else f" {args.stack}"
    if os.geteuid() != 0:
        return refuse(EX_NOPERM, "only root may do this", f"sudo drbdocfs {verb}{name}")
    try:
        if verb != "stop":
            find("drbdadm")
            for stack in stacks:
                status = _fresh(stack, f"drbdocfs {verb}{name}")
                if status != EX_OK:
                    return status
        status = perform(verb, stacks, reading.stacks, args.stack is None, not args.no_wait, args.timeout)
    except systemd.NoSystemd as error:
        return refuse(EX_UNAVAILABLE, error.message, error.advice)
    except Failure as failure:
        return refuse(failure.status, failure.message, failure.advice)
    return EX_CONFIG if status == EX_OK and problems else status


def _fresh(stack: Stack, command: str) -> int:
    """Whether systemd's units are those of the configuration as it stands; 0, or the exit status after it was said.

    The command does not reload by itself: a reload takes in everybody's changes below /etc/systemd, not only ours.
    """
    if "drbdocfs=off" in (system.read("/proc/cmdline") or "").split():
        return refuse(
            EX_CONFIG,
            f"{stack.name} has no units: this boot was made with drbdocfs=off on the kernel's command line",
            "boot without it",
        )
    unit = jobs.target(stack)
    with Manager() as manager:
        if system.exists(f"{GENERATED}/{unit}.d") and not manager.outdated(unit):
            return EX_OK
        known = system.exists(f"{GENERATED}/{unit}.d")
    why = f"{stack.file} was changed since then" if known else "the stack was not there then"
    return refuse(
        EX_CONFIG,
        f"systemd has not read the configuration of {stack.name} yet: {why}",
        f"'systemctl daemon-reload', then '{command}'",
    )
