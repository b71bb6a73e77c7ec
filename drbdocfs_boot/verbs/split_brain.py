"""Show both sides of a split brain; with --victim give up the changes of one of them, and bring both in step again."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence

from drbdocfs_boot import choose, metadata, report, splitbrain, systemd, watch
from drbdocfs_boot.events import State
from drbdocfs_boot.exits import (
    EX_DATAERR,
    EX_INTERRUPTED,
    EX_NO,
    EX_NOPERM,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
    refuse,
)
from drbdocfs_boot.splitbrain import Refusal, Side, Step
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import ask, drbd, holders, mounts, newest, o2cb, records, ssh, system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Result
from drbdocfs_boot.tools.run import run as run_tool
from drbdocfs_boot.verdict import READY, RESYNCING, SPLIT_BRAIN, STAND_ALONE, peers_present

REPORT_LIMIT = 60.0  # seconds for the other side's report, its look at the newest files included
STEP_LIMIT = 240.0  # seconds for one command; the attach may have to wait for a disk or an address
MET_LIMIT = 20.0  # seconds until the kernel shows what a command has done
CONNECT_LIMIT = 60.0  # seconds until the two have found each other
SETTLE = 5.0  # a connection may be StandAlone for a moment on its way
START_LIMIT = 600.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stack", metavar="STACK", help="the stack")
    parser.add_argument("--victim", metavar="HOST", help="the host, named in full, whose changes are to be given up")
    parser.add_argument("--yes", action="store_true", help="do not ask (needed where there is no terminal)")
    parser.add_argument("--ssh", metavar="DESTINATION", help="where to reach the other side, as ssh wants it")
    parser.add_argument("--this-side", action="store_true", help="do this host's part only; for hosts without ssh")
    parser.add_argument("--report", action="store_true", help="this side as JSON, for the other one")
    parser.add_argument("--quick", action="store_true", help="with --report: only what DRBD says now")


def run(args: argparse.Namespace) -> int:
    """0 no split brain, or it is resolved; 1 a step failed; 2 usage; 65 split brain, or refused for the data's sake;
    69 the other side is not reachable; 75 the two did not connect; 77 not root; 78 a mistake in the configuration."""
    stack = choose.one(args.stack)
    if isinstance(stack, int):
        return stack
    if args.this_side and not args.victim:
        return _refuse(Refusal(EX_USAGE, "--this-side needs --victim HOST"))
    if os.geteuid() != 0:
        return _refuse(Refusal(EX_NOPERM, "only root may do this", f"sudo drbdocfs split-brain {stack.name}"))
    try:
        if args.report:
            print(json.dumps(splitbrain.to_json(own_side(stack, args.quick))))
            return 0
        if args.victim:
            return _Resolution(stack, args).run()
        return _show(stack, args.ssh)
    except systemd.NoSystemd as error:
        return _refuse(Refusal(EX_UNAVAILABLE, error.message, error.advice))
    except Failure as failure:
        return _refuse(Refusal(failure.status, failure.message, failure.advice))
    except OSError as error:
        return _refuse(Refusal(EX_NO, str(error)))


def _refuse(refusal: Refusal) -> int:
    return refuse(refusal.status, refusal.message, refusal.advice)


# --- this side ------------------------------------------------------------------------------------------------


def own_side(stack: Stack, quick: bool = False, look_inside: bool = True) -> Side:
    """This host's report.  ``quick``: only what DRBD says now; ``look_inside``: what is newest in the file system."""
    state = drbd.state(stack.resource) if drbd.loaded() else State()
    minors = [d["minor"] for _, d in sorted(state.devices.items()) if "minor" in d]
    disks = list(dict.fromkeys(d.get("disk", "Unknown") for _, d in sorted(state.devices.items())))
    replication = list(dict.fromkeys(d.get("replication", "Off") for d in state.peer_devices.values()))
    connections = [c.get("connection", "Unknown") for c in state.connections.values()]
    changed = [int(d["out-of-sync"]) for d in state.peer_devices.values() if d.get("out-of-sync", "").isdigit()]
    devices = list(dict.fromkeys([stack.device, *(f"/dev/drbd{minor}" for minor in minors)]))
    mounted = list(dict.fromkeys(m.target for device in devices for m in mounts.of_device(device)))
    alone = state.configured and (state.stand_alone or not connections)
    lost = found = 0.0
    slot = None
    if not quick:
        if not minors and stack.device.startswith("/dev/drbd") and stack.device[9:].isdigit():
            minors = [stack.device[9:]]
        lost, found = splitbrain.times(_kernel_log(), stack.resource, minors)
        slot = _generation(stack.resource)
    seen: tuple[list[tuple[str, float]], bool] = ([], False)
    if mounted and look_inside and not quick:
        seen = newest.files(mounted[0])
    return Side(
        host=os.environ.get("__DRBD_NODE__") or os.uname().nodename,
        stack=stack.name,
        resource=stack.resource,
        device=stack.device,
        driver=system.read("/sys/module/drbd/version") or "",
        role=state.resource.get("role", ""),
        # One disk for the one file system; where the resource has more, all must be as good.
        disk=disks[0] if len(disks) == 1 else "/".join(disks),
        connection="" if not state.configured else "StandAlone" if alone else "/".join(connections),
        replication=next((r for r in replication if r != "Established"), "Established") if replication else "Off",
        why=drbd.why_stand_alone(state, stack.resource) if alone else "",
        lost=lost,
        found=found,
        marked=_marked(stack.name),
        out_of_sync=sum(changed) if changed else None,
        mounted=tuple(mounted),
        held=() if quick or mounted else tuple(str(holder) for holder in holders.of_device(stack.device)),
        heartbeat=tuple(_regions({os.path.basename(os.path.realpath(system.path(d))) for d in devices})),
        current=slot.current if slot else "",
        bitmap=slot.bitmap if slot else "",
        newest=tuple(seen[0]),
        newest_all=seen[1],
        waiting=records.read(stack.name, "waiting") is not None,
        target=_target_state(stack),
        units=(*report.layer_units(stack).values(), watch.target(stack)),
    )


def _marked(instance: str) -> float:
    """When a split brain of this stack was noted down that nobody has resolved yet; 0.0 when there is none."""
    try:
        return os.stat(system.path(f"{records.MARKERS}/{instance}.split-brain")).st_mtime
    except OSError:
        return 0.0


def _target_state(stack: Stack) -> str:
    try:
        return systemd.states([watch.target(stack)])[watch.target(stack)].active
    except systemd.NoSystemd:
        return ""


def _regions(names: set[str]) -> list[str]:
    """O2CB's heartbeat regions on these devices, as CLUSTER/REGION."""
    return [
        f"{cluster}/{region}"
        for cluster in o2cb.online()
        for region in o2cb.regions(cluster)
        if system.read(f"{o2cb.CONFIGFS}/{cluster}/heartbeat/{region}/dev") in names
    ]


def _generation(resource: str) -> metadata.Slot | None:
    """The data generation towards the peer, also while the resource is down; None when it cannot be read."""
    try:
        slots = metadata.parse(run_tool(["drbdadm", "get-gi", resource]).out)
    except Failure:
        return None
    return next((slot for slot in slots if slot.bitmap.strip("0")), slots[0] if slots else None)


def _kernel_log() -> list[tuple[float, str]]:
    """The kernel's messages with their times, of earlier boots too: a split brain outlives a reboot."""
    command = ["journalctl", "--quiet", "--no-pager", "--output=short-unix", "--lines=20000", "_TRANSPORT=kernel"]
    try:
        text = run_tool(command, 15).out
    except Failure:
        return []
    found = []
    for line in text.splitlines():
        words = line.split(" ", 3)  # TIME HOST kernel: MESSAGE
        if len(words) == 4 and words[2] == "kernel:":
            try:
                found.append((float(words[0]), words[3]))
            except ValueError:
                continue
    return found


# --- the other side -------------------------------------------------------------------------------------------


def _peer(stack: Stack) -> tuple[str, str]:
    """The other host's name and address, as far as they are known."""
    attached = records.read(stack.name, "attach") or {}
    name, address = attached.get("PEER", ""), attached.get("PEER_ADDRESS", "")
    if not name:
        try:
            peers = drbd.describe(stack.resource).peers
        except Failure:
            peers = []
        name, address = peers[0] if peers else ("", "")
    return name, address.rpartition(":")[0].strip("[]")


class _Other:
    """The other host, over ssh."""

    def __init__(self, stack: Stack, where: str | None) -> None:
        self.stack = stack
        self.name, address = _peer(stack)
        # The name first: the address is that of the link between the two, which may be what is broken.
        self.ways = [where] if where else [ssh.destination(one) for one in (self.name, address) if one]

    def run(self, argv: Sequence[str], limit: float) -> Result:
        """Run it there.  Raises Failure (69)."""
        if not self.ways:
            raise Failure(EX_UNAVAILABLE, "it is not known who the other host is", "--ssh DESTINATION")
        failures = []
        for way in self.ways:
            try:
                result = ssh.run(way, argv, limit)
            except Failure as failure:
                failures.append(failure)
                continue
            self.ways = [way]
            return result
        raise failures[0]

    def side(self, quick: bool = False) -> Side:
        """Its report.  Raises Failure (69)."""
        words = ["drbdocfs", "split-brain", self.stack.name, "--report", *(["--quick"] if quick else [])]
        result = self.run(words, REPORT_LIMIT)
        where = self.ways[0]
        if result.code == ssh.NOT_FOUND:
            raise Failure(EX_UNAVAILABLE, f"{where} has no drbdocfs", "install drbdocfs-boot there, or --this-side")
        try:
            return splitbrain.from_json(json.loads(result.out))
        except ValueError as error:
            said = result.said if result.code else str(error)
            raise Failure(EX_UNAVAILABLE, f"'{shlex.join(words)}' at {where} gave no report: {said}") from None


def _show(stack: Stack, where: str | None) -> int:
    sides = [own_side(stack)]
    other = _Other(stack, where)
    problem = None
    try:
        sides.append(other.side())
    except Failure as failure:
        problem = failure
    if len(sides) == 2:
        broken = splitbrain.split(sides[0], sides[1])
    else:
        broken = splitbrain.suspected(sides[0])
    # With both sides known the metadata decides; one side alone can only have been told.
    text = "split brain" if broken else "no split brain" if len(sides) == 2 else "no split brain is known here"
    since = splitbrain.since(sides) if broken else ""
    print(f"{stack.name} ({stack.resource}): {text}" + (f", {since}" if since else ""))
    print()
    print(splitbrain.as_text(sides, sides[0].host))
    if problem is not None:
        print()
        print(f"the other side could not be asked: {problem.message}")
        print(f"what to do: run 'drbdocfs split-brain {stack.name}' on {other.name or 'the other host'}, too")
    if broken:
        print()
        names = " or ".join(side.host for side in sides) if len(sides) == 2 else "HOST"
        print("what to do: decide whose changes to give up, save by hand what is still wanted of them, stop the stack")
        print(f"  there ('systemctl stop {watch.target(stack)}'), then here:")
        print(f"  drbdocfs split-brain {stack.name} --victim {names}" + (" --this-side" if problem else ""))
    return EX_DATAERR if broken else 0


# --- the resolution -------------------------------------------------------------------------------------------


class _Resolution:
    """One run of the steps; it can be run again after any of them."""

    def __init__(self, stack: Stack, args: argparse.Namespace) -> None:
        self.stack = stack
        self.victim: str = args.victim
        self.sure: bool = args.yes
        self.other = None if args.this_side else _Other(stack, args.ssh)
        self.peer = _peer(stack)[0]
        self.own = own_side(stack, look_inside=False)
        begun = records.read(stack.name, "resolving")
        self.resumed = begun is not None and begun.get("VICTIM") == self.victim

    def run(self) -> int:
        planned = self._plan()
        if isinstance(planned, Refusal):
            return _refuse(planned)
        self._tell(planned)
        if not self.sure and planned:
            if not ask.possible():
                return _refuse(
                    Refusal(
                        EX_USAGE,
                        "there is nobody to ask here",
                        f"'drbdocfs split-brain {self.stack.name} --victim {self.victim} --yes'",
                    )
                )
            if not ask.yes(f"Give up the changes of {self.victim}?"):
                return _refuse(Refusal(EX_NO, "nothing was changed"))
            # Somebody thought about it, for however long: what was seen before may be old.
            self.own = own_side(self.stack, look_inside=False)
            planned = self._plan()
            if isinstance(planned, Refusal):
                return _refuse(planned)
        records.write(self.stack.name, "resolving", VICTIM=self.victim, TIME=str(int(time.time())))
        for step in planned:
            problem = self._do(step)
            if problem is not None:
                return _refuse(problem)
        try:
            problem = self._follow()
        except KeyboardInterrupt:
            print()
            print("the resync goes on by itself; 'drbdocfs status --watch' shows it")
            print(f"the same command again goes on from here, and starts the stack on {self.victim} at the end")
            return EX_INTERRUPTED
        if problem is not None:
            if sys.stdout.isatty():
                print()
            return _refuse(problem)
        return self._finish()

    def _plan(self) -> Refusal | list[Step]:
        if self.other is None:
            return splitbrain.plan_side(self.own, self.peer, self.victim, self.resumed)
        theirs = self.other.side()
        self.peer = theirs.host
        self.theirs = theirs
        return splitbrain.plan(self.own, theirs, self.victim, self.resumed)

    def _tell(self, planned: list[Step]) -> None:
        sides = [self.own] if self.other is None else [self.own, self.theirs]
        print(splitbrain.as_text(sides, self.own.host))
        print()
        if not planned:
            print("nothing is left to do but to follow it")
            return
        survivor = self.peer if self.victim == self.own.host else self.own.host
        loser = next((side for side in sides if side.host == self.victim), None)
        amount = "" if loser is None or loser.out_of_sync is None else f" ({splitbrain.size(loser.out_of_sync)})"
        print(f"what {self.victim} has changed by itself{amount} is given up: its disk becomes that of {survivor}.")
        print("This cannot be undone. The steps:")
        for step in planned:
            print(f"  {step.host}: {shlex.join(step.command)}")
        sys.stdout.flush()

    def _on(self, host: str, argv: Sequence[str], limit: float) -> Result:
        if host == self.own.host:
            return run_tool(list(argv), limit)
        assert self.other is not None  # plan_side has steps for this host only
        return self.other.run(argv, limit)

    def _do(self, step: Step) -> Refusal | None:
        """One step; done only when the kernel shows it."""
        print(f"{step.host}: {shlex.join(step.command)}", flush=True)
        result = self._on(step.host, step.command, STEP_LIMIT)
        deadline = time.monotonic() + MET_LIMIT
        while True:
            if step.host == self.own.host:
                side = own_side(self.stack, quick=True)
            else:
                assert self.other is not None
                side = self.other.side(quick=True)
            if splitbrain.met(step, side):
                return None
            if result.code != 0 or time.monotonic() >= deadline:
                break
            time.sleep(0.5)
        return Refusal(
            EX_NO,
            f"'{shlex.join(step.command)}' on {step.host} did not lead to '{step.expect}' (exit {result.code}):"
            f" {result.said or 'no message'}; {side.role or 'down'}, {side.disk or '-'}, {side.connection or '-'}",
            "mend that, then run the same command again: it goes on from here",
        )

    def _follow(self) -> Refusal | None:
        """Until both nodes are UpToDate; None then.  A resync may take hours."""
        began = time.monotonic()
        told = ""
        apart = 0.0
        met = False
        bad = splitbrain.SOURCES if self.victim == self.own.host else splitbrain.TARGETS
        while True:
            state, verdict = watch.drbd_verdict(self.stack)
            now = time.monotonic()
            line = verdict.reason
            if verdict.kind == READY:
                _progress(told, line, True)
                return None
            if any(d.get("replication") in bad for d in state.peer_devices.values()):
                return Refusal(
                    EX_DATAERR,
                    f"DRBD found no split brain and resyncs from {self.victim}, which had all that the other side has",
                    f"nothing is lost; when it has ended: 'systemctl start {watch.target(self.stack)}' on both",
                )
            met = met or peers_present(state)
            if verdict.kind in (SPLIT_BRAIN, STAND_ALONE) or not state.configured:
                apart = apart or now
                # Without the other side's steps, that side connects whenever somebody does them.
                if now - apart >= SETTLE:
                    return Refusal(verdict.status, verdict.reason, "run the same command again: it goes on from here")
            else:
                apart = 0.0
            if not met and self.other is not None and now - began >= CONNECT_LIMIT:
                return Refusal(
                    EX_TEMPFAIL,
                    f"the two have not connected in {CONNECT_LIMIT:.0f} s: {verdict.reason}",
                    "is the link between them up? The same command again goes on from here",
                )
            if verdict.kind != RESYNCING and not met and self.other is None:
                line += f"; now the same command on {self.peer or 'the other host'}"
            told = _progress(told, line, False)
            time.sleep(watch.EVERY)

    def _finish(self) -> int:
        """Both are in step: start what is not up, the victim first."""
        marker = f"{records.MARKERS}/{self.stack.name}.split-brain"
        records.clear_split_brain(self.stack.name)
        hosts = [self.own.host]
        if self.other is not None:
            hosts = [self.victim, *(h for h in (self.own.host, self.peer) if h != self.victim)]
            self.other.run(["rm", "-f", marker], REPORT_LIMIT)
        worst = 0
        for host in hosts:
            own = host == self.own.host
            side = self.own if own else self.theirs
            if side.target == "active" and side.mounted:
                continue
            target = watch.target(self.stack)
            print(f"{host}: systemctl start {target}", flush=True)
            self._on(host, ["systemctl", "reset-failed", *side.units], REPORT_LIMIT)
            result = self._on(host, ["systemctl", "start", target], START_LIMIT)
            if result.code != 0:
                worst = _refuse(
                    Refusal(
                        EX_NO,
                        f"both disks are in step, but {target} did not start on {host}: {result.said}",
                        f"on {host}: 'drbdocfs status {self.stack.name}'",
                    )
                )
        if not worst:
            records.remove(self.stack.name, "resolving")
            print(f"{self.stack.name}: the split brain is resolved")
        return worst


def _progress(told: str, line: str, last: bool) -> str:
    """Show where the resync is: on a terminal in place, else a line per change that counts; returns what was told."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[K{line}" + ("\n" if last else ""))
        sys.stdout.flush()
        return line
    if report.gist(line) != report.gist(told):
        print(line, flush=True)
        return line
    return told
