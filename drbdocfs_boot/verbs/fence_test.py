"""Try on a live pair, before it is needed, all that decides who goes on when the link between the nodes is lost."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from drbdocfs_boot import choose, clusterconf, fencetest, fencing, lean, metadata, terminal
from drbdocfs_boot.events import State
from drbdocfs_boot.exits import (
    EX_INTERRUPTED,
    EX_NO,
    EX_NOPERM,
    EX_OK,
    EX_UNAVAILABLE,
    EX_USAGE,
    refuse,
)
from drbdocfs_boot.fencetest import FAILED, NOT_TESTED, OK, Answer, Called, Expected, Power, Row, Side, Watched
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import agent, ask, drbd, o2cb, ssh, system, witness
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import find
from drbdocfs_boot.tools.run import run as run_tool

PARTS = ("facts", "power", "handler", "probe", "take", "release", "left")
AGENT_LIMIT = 30.0  # seconds; slow management boards take ten
WITNESS_LIMIT = 15.0
HANDLER_LIMIT = 60.0
REPORT_LIMIT = 90.0  # for one part on the other side, whatever it waits for there
COUNTDOWN = 10
EVERY = 0.5  # seconds between two looks at DRBD
UNDO_LATER = 5  # seconds after the block has ended by itself, until its empty table is taken away
BACK_LIMIT = 60.0  # seconds after a link is back, until both are in step
BOOT_LIMIT = 900.0  # seconds for a node that was reset or switched off to boot, and to be in step again
MOST_SECONDS = 3600


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stack", metavar="STACK", help="the stack")
    parser.add_argument("--peer", metavar="HOST", help="where to reach the other side by ssh (default: its name)")
    parser.add_argument("--this-side", action="store_true", help="try this host's part only; for hosts without ssh")
    parser.add_argument(
        "--really", choices=("link", "power"), help="afterwards do it: cut the link, or switch the victim off and on"
    )
    parser.add_argument("--victim", metavar="HOST", action="append", help="a host, named in full, that may fall by it")
    parser.add_argument("--seconds", type=int, help="with --really link: how long the link is cut")
    parser.add_argument("--yes", action="store_true", help="with --really: needed where there is no terminal")
    parser.add_argument("--report", nargs="+", metavar="PART", help="one part of this side as JSON, for the other one")


def run(args: argparse.Namespace) -> int:
    """0 all is well; 1 something failed; 2 usage; 65 both nodes would go on; 69 the other side is not reachable;
    77 not root; 78 a mistake in the configuration; 130 ended by Ctrl-C."""
    stack = choose.one(args.stack)
    if isinstance(stack, int):
        return stack
    problem = _usage(args)
    if problem:
        return refuse(EX_USAGE, problem)
    if os.geteuid() != 0:
        return refuse(EX_NOPERM, "only root may do this", f"sudo drbdocfs fence-test {stack.name}")
    try:
        if args.report:
            print(json.dumps(_report(stack, args.report)))
            return EX_OK
        return _Test(stack, args).run()
    except Failure as failure:
        return refuse(failure.status, failure.message, failure.advice)
    except OSError as error:
        return refuse(EX_NO, str(error))


def _usage(args: argparse.Namespace) -> str:
    if args.report and (args.report[0] not in PARTS or len(args.report) != _WORDS.get(args.report[0], 1)):
        return f"--report {' '.join(args.report)}: there is no such part; parts: {', '.join(PARTS)}"
    if args.really and args.this_side:
        return "--really needs the other side, so not --this-side"
    if not args.really and (args.victim or args.seconds is not None or args.yes):
        return "--victim, --seconds and --yes belong to --really"
    if args.seconds is not None and (args.really != "link" or not 1 <= args.seconds <= MOST_SECONDS):
        return f"--seconds belongs to --really link, and is between 1 and {MOST_SECONDS}"
    return ""


# --- this side ------------------------------------------------------------------------------------------------

# Words of a part, itself included: GENERATION, NONCE, LABEL.
_WORDS = {"take": 4, "release": 3, "left": 2}


def _report(stack: Stack, words: Sequence[str]) -> Any:
    """One part of this side, as JSON can have it."""
    part, *rest = words
    if part == "facts":
        return fencetest.to_json(own_side(stack))
    if part == "power":
        return dataclasses.asdict(own_power(stack, _peer_name(stack)))
    if part == "handler":
        return dataclasses.asdict(own_handler(own_side(stack)))
    return dataclasses.asdict(own_witness(stack, part, *rest))


def _host() -> str:
    return os.environ.get("__DRBD_NODE__") or os.uname().nodename


def _peer_name(stack: Stack) -> str:
    """Raises Failure (78) where the configuration does not say."""
    peers = drbd.describe(stack.resource).peers
    if not peers:
        raise Failure(78, f"the resource {stack.resource} has no other host", "'on HOST' in the resource's file")
    return peers[0][0]


def own_side(stack: Stack) -> Side:
    """What this host is configured for, and what is in force.  What cannot be read is noted, and left out."""
    unread: list[str] = []

    def tool(*argv: str) -> str:
        try:
            result = run_tool(list(argv))
        except Failure as failure:
            unread.append(failure.message)
            return ""
        if result.code != 0:
            unread.append(f"'{shlex.join(argv)}' failed: {result.said}")
        return result.out if result.code == 0 else ""

    facts: dict[str, Any] = {}
    dump = tool("drbdadm", "dump", stack.resource)
    # Whoever has no disk has nothing to be fenced from.
    apart = fencetest.thirds(dump)
    if not drbd.loaded():
        unread.append("the module drbd is not loaded")
    else:
        show = tool("drbdsetup", "show", "--show-defaults", stack.resource)
        facts.update(
            in_force=fencetest.settings(show, "fencing", apart),
            quorum=next(iter(fencetest.settings(show, "quorum")), ""),
            net=fencetest.times(show, apart),
        )
        facts.update(_drbd_state(stack, unread))
    handler = fencetest.handler(dump)
    helper = system.read("/sys/module/drbd/parameters/usermode_helper") or ""
    return Side(
        host=_host(),
        stack=stack.name,
        resource=stack.resource,
        keys={key: str(getattr(stack, key)) for key in fencetest.KEYS},
        driver=system.read("/sys/module/drbd/version") or "",
        handler=handler,
        handler_problem=_not_a_program(handler.split()[0]) if handler.split() else "",
        helper=helper,
        helper_problem=_not_a_program(helper.split()[0]) if helper.split() else "it has no usermode_helper",
        addresses=fencetest.addresses(dump),
        thirds=[host.name for host in apart],
        several=fencing.several(lean.read(os.environ.get("DRBDOCFS_ROOT", "")).stacks, stack),
        file=stack.file,
        unread=unread,
        **facts,
        **_o2cb_facts(stack.cluster),
    )


def _drbd_state(stack: Stack, unread: list[str]) -> dict[str, Any]:
    try:
        state = drbd.state(stack.resource)
        slots = metadata.parse(run_tool(["drbdadm", "get-gi", stack.resource]).out) if state.configured else []
    except Failure as failure:
        unread.append(failure.message)
        return {}
    if not state.configured:
        unread.append(f"{stack.resource} is down")
        return {}
    return {**_of_state(state), "current": slots[0].current if slots else ""}


def _of_state(state: State) -> dict[str, Any]:
    """Of several volumes and connections what is not as it should be: one is enough."""

    def worst(objects: dict[str, dict[str, str]], key: str, good: str, none: str) -> str:
        values = [one.get(key, "") for one in objects.values()] or [none]
        return next((value for value in values if value != good), good)

    return {
        "role": state.resource.get("role", ""),
        "suspended": state.resource.get("suspended", ""),
        "disk": worst(state.devices, "disk", "UpToDate", ""),
        "connection": worst(state.connections, "connection", "Connected", "StandAlone"),
        "peer_disk": worst(state.peer_devices, "peer-disk", "UpToDate", ""),
        "replication": worst(state.peer_devices, "replication", "Established", "Off"),
    }


def _not_a_program(name: str) -> str:
    """Why this cannot be called; "" when it can."""
    path = system.path(name)
    if not os.path.exists(path):
        return "there is no such file"
    return "" if os.path.isfile(path) and os.access(path, os.X_OK) else "it cannot be executed"


def _o2cb_facts(cluster: str) -> dict[str, Any]:
    """O2CB's limits as they run, and the numbers of the nodes: the kernel's, or else those of the file."""
    place = f"{o2cb.CONFIGFS}/{cluster}"
    threshold = system.read(f"{place}/heartbeat/dead_threshold") or ""
    idle = system.read(f"{place}/idle_timeout_ms") or ""
    numbers = {name: o2cb.node_attribute(cluster, name, "num") for name in o2cb.nodes(cluster)}
    if not numbers:
        written = clusterconf.nodes(clusterconf.parse(system.read(o2cb.CLUSTER_CONF) or ""), cluster)
        numbers = {name: keys.get("number", "") for name, keys in written.items()}
    return {
        "threshold": int(threshold) if threshold.isdigit() else None,
        "idle": int(idle) / 1000 if idle.isdigit() else None,
        "numbers": numbers,
    }


def _options_file(stack: Stack) -> str:
    return stack.fence_options or fencing.OPTIONS


def own_power(stack: Stack, peer: str) -> Power:
    """What the agent says here about the peer."""
    file = _options_file(stack)
    began = time.monotonic()
    try:
        mode = f"{os.stat(system.path(file)).st_mode & 0o7777:o}"
    except OSError:
        mode = "?"
    try:
        options = agent.load(file, peer)
        answer = agent.status(stack.fence_agent, options, AGENT_LIMIT)
        took = time.monotonic() - began
        # It says only which; why it does not know has to be asked for.
        said = "" if answer in ("on", "off") else agent.call(stack.fence_agent, options, "status", AGENT_LIMIT).said
    except Failure as failure:
        return Power(mode=mode, file=file, problem=failure.message, advice=failure.advice)
    return Power(answer, took, said, mode, file)


def own_handler(side: Side) -> Called:
    """The handler's dry run."""
    if not fencetest.callable_there(side):
        return Called(problem=fencetest.not_called(side).text)
    began = time.monotonic()
    # As DRBD calls it, by the name of the resource.
    argv = ["env", f"DRBD_RESOURCE={side.resource}", side.handler.split()[0], "--dry-run"]
    try:
        result = run_tool(argv, HANDLER_LIMIT)
    except Failure as failure:
        return Called(problem=failure.message)
    return Called(result.code, (result.out + result.err).splitlines(), time.monotonic() - began)


def own_witness(stack: Stack, part: str, *words: str, holder: str = "") -> Answer:
    """One question of this host to the witness: probe; take GENERATION NONCE LABEL; release GENERATION NONCE;
    left LABEL."""
    where, holder = stack.witness, holder or _host()
    began = time.monotonic()
    try:
        if part == "left":
            lines = witness.held(where, holder, words[0], WITNESS_LIMIT)
            answer = Answer("left", said="; ".join(str(line) for line in lines)) if lines else Answer("ok")
        else:
            if part == "probe":
                found = witness.probe(where, WITNESS_LIMIT)
            elif part == "take":
                found = witness.take(where, words[0], holder, words[1], words[2], WITNESS_LIMIT)
            else:
                found = witness.release(where, words[0], words[1], WITNESS_LIMIT)
            kind = found.kind
            answer = Answer(kind, found.holder, found.said)
    except Failure as failure:
        answer = Answer("error", said=failure.message)
    return dataclasses.replace(answer, took=time.monotonic() - began)


# --- the other side -------------------------------------------------------------------------------------------


class _Other:
    """The other host, over ssh."""

    def __init__(self, stack: Stack, where: str | None) -> None:
        self.stack = stack
        if where:
            self.ways = [where if "@" in where else ssh.destination(where)]
            self.name = where.rpartition("@")[2]
        else:
            try:
                peers = drbd.describe(stack.resource).peers
            except Failure:
                peers = []
            self.name, address = peers[0] if peers else ("", "")
            # The name first: the address is that of the link.
            address = address.rpartition(":")[0].strip("[]")
            self.ways = [ssh.destination(one) for one in (self.name, address) if one]

    def part(self, *words: str) -> Any:
        """A part of its report.  Raises Failure (69)."""
        if not self.ways:
            raise Failure(EX_UNAVAILABLE, "it is not known who the other host is", "--peer HOST")
        argv = ["drbdocfs", "fence-test", self.stack.name, "--report", *words]
        problem = None
        for way in self.ways:
            try:
                result = ssh.run(way, argv, REPORT_LIMIT)
            except Failure as failure:
                problem = problem or failure
                continue
            self.ways = [way]
            if result.code == ssh.NOT_FOUND:
                raise Failure(EX_UNAVAILABLE, f"{way} has no drbdocfs", "install drbdocfs-boot there, or --this-side")
            try:
                return json.loads(result.out)
            except ValueError:
                said = result.said or f"exit {result.code}"
                raise Failure(EX_UNAVAILABLE, f"'{shlex.join(argv)}' at {way}: {said}", "mend that there") from None
        assert problem is not None
        advice = problem.advice or "root here has to get there by key; or '--this-side' on each of the two hosts"
        raise Failure(problem.status, problem.message, advice)


# --- the test -------------------------------------------------------------------------------------------------


class _Test:
    def __init__(self, stack: Stack, args: argparse.Namespace) -> None:
        self.stack = stack
        self.args = args
        self.rows: list[Row] = []
        self.own = own_side(stack)
        self.other = None if args.this_side else _Other(stack, args.peer)
        self.theirs: Side | None = None

    def run(self) -> int:
        if self.other is not None:
            try:
                self.theirs = fencetest.from_json(self.other.part("facts"))
            except Failure as failure:
                self._add([fencetest.unreachable(self.other.name, failure.message, failure.advice)])
            except ValueError as error:
                self._add([fencetest.unreachable(self.other.name, str(error), "the same version on both nodes")])
        else:
            self._add([Row(NOT_TESTED, "other side", "", "--this-side", "the same command on the other host")])
        if self.theirs is not None and self.theirs.host == self.own.host:
            return refuse(EX_USAGE, f"{self.own.host} is this host, not the other one", "--peer HOST")
        self._add(fencetest.configuration(self.own, self.theirs))
        self._add(fencetest.kernel(self.own, self.theirs))
        self._add(fencetest.plans(self.own, self.theirs))
        self._add(self._power())
        self._add(self._witness())
        self._add(self._dry_runs())
        status = fencetest.status(self.rows)
        if not self.args.really:
            return status
        print()
        problem = fencetest.ready(self.rows, self.own, self.theirs)
        if problem:
            return refuse(status or EX_NO, f"no real test now: {problem}", "mend that, then the same command again")
        return self._link() if self.args.really == "link" else self._switch()

    def _add(self, rows: Iterable[Row]) -> None:
        """Each row is shown when it is known: an agent or a witness may take its time."""
        for row in rows:
            self.rows.append(row)
            _show(row)

    @property
    def _peer(self) -> str:
        """The other node's name."""
        return self.theirs.host if self.theirs is not None else _peer_name(self.stack)

    def _there(self, make: Callable[[Any], Row], *words: str) -> Row:
        """A row about the other side, made of a part of its report."""
        assert self.other is not None
        try:
            return make(self.other.part(*words))
        except Failure as failure:
            return fencetest.unreachable(self._peer, failure.message, failure.advice)
        except (TypeError, ValueError) as error:
            return fencetest.unreachable(self._peer, f"no report: {error}", "the same version on both nodes")

    def _power(self) -> Iterable[Row]:
        if self.own.survivor != fencing.POWER:
            return [fencetest.not_power(self.own.survivor)]
        return self._powers()

    def _powers(self) -> Iterator[Row]:
        if not self.stack.fence_agent:
            yield Row(NOT_TESTED, "power", "", "there is no fence_agent")
            return
        peer, name = self._peer, self.stack.fence_agent
        yield fencetest.power(self.own.host, peer, name, own_power(self.stack, peer))
        if self.theirs is not None:
            theirs = self.theirs
            agent_there = theirs.keys.get("fence_agent", "")
            yield self._there(
                lambda found: fencetest.power(theirs.host, self.own.host, agent_there, Power(**found)), "power"
            )

    def _witness(self) -> Iterable[Row]:
        if self.own.survivor != fencing.WITNESS:
            return [fencetest.not_witness(self.own.survivor)]
        if not self.stack.witness:
            return [Row(NOT_TESTED, "witness", "", "there is no witness")]
        return self._witnesses()

    def _ask(self, host: str, *words: str) -> Answer:
        """A question to the witness from one of the hosts."""
        if host == self.own.host:
            return own_witness(self.stack, *words)
        if self.theirs is None:  # --this-side: this host asks in the other one's name
            return own_witness(self.stack, *words, holder=host)
        assert self.other is not None
        try:
            return Answer(**self.other.part(*words))
        except Failure as failure:
            return Answer("error", said=failure.message)
        except TypeError as error:
            return Answer("error", said=f"no report: {error}")

    def _witnesses(self) -> Iterator[Row]:
        where, own, peer = self.stack.witness, self.own.host, self._peer
        rows = [fencetest.probed(own, where, self._ask(own, "probe"))]
        if self.theirs is not None:
            there = self.theirs.keys.get("witness", "")
            rows.append(fencetest.probed(peer, there, self._ask(peer, "probe")))
        yield from rows
        if any(row.result != OK for row in rows):
            yield Row(NOT_TESTED, "witness", "", "no lock was tried")
            return
        label = f"fence-test-{_digits(8)}"
        for first, second in ((own, peer), (peer, own)):
            # DRBD's generations are random numbers of this form, too: a test's is nobody's.
            generation, nonces = f"{int(_digits(16), 16) & ~1:016X}", (_digits(16), _digits(16))
            released = Answer("error", said="not tried")
            try:
                taken = self._ask(first, "take", generation, nonces[0], label)
                refused = Answer("error", said="not tried")
                if taken.kind == "taken":
                    refused = self._ask(second, "take", generation, nonces[1], label)
            finally:
                # Whatever was said: an answer that was lost may have been a lock.
                for host, nonce in ((first, nonces[0]), (second, nonces[1])):
                    answer = self._ask(host, "release", generation, nonce)
                    released = answer if host == first else released
            yield fencetest.locked(first, second, where, taken, refused, released)
        yield from fencetest.left(where, {host: self._ask(host, "left", label) for host in (own, peer)})
        if self.theirs is None:
            yield Row(NOT_TESTED, "witness", peer, f"{own} asked in its name", "the same command there")

    def _dry_runs(self) -> Iterator[Row]:
        if fencetest.callable_there(self.own):
            yield fencetest.dry_run(self.own, own_handler(self.own))
        else:
            yield fencetest.not_called(self.own)
        theirs = self.theirs
        if theirs is not None:
            if fencetest.callable_there(theirs):
                yield self._there(lambda found: fencetest.dry_run(theirs, Called(**found)), "handler")
            else:
                yield fencetest.not_called(theirs)

    # --- the real thing ---

    def _begin(self, what: str, expected: Expected) -> int:
        """Say what will happen, and let it be stopped; 0 to go on."""
        print(f"{what}: {expected.text}.")
        problem = fencetest.victims(expected, self.args.victim or [])
        if problem:
            named = "".join(f" --victim {host}" for host in expected.risk)
            return refuse(EX_USAGE, problem, f"the same command with{named}" if named else "no --victim")
        if self.own.host in expected.risk and len(expected.risk) == 1:
            return refuse(EX_USAGE, f"{self.own.host} would fall, and this command with it", f"run it on {self._peer}")
        if not self.args.yes and not ask.possible():
            return refuse(EX_USAGE, "there is nobody here who could stop it", "--yes")
        for host in expected.risk:
            print(f"What is not yet written to disk on {host} may be lost there, as at every reset.")
        try:
            _count_down()
        except KeyboardInterrupt:
            print()
            return refuse(EX_INTERRUPTED, "nothing was done")
        return EX_OK

    def _link(self) -> int:
        assert self.theirs is not None
        seconds = self.args.seconds or fencetest.usual(self.own, self.theirs)
        expected = fencetest.cut(self.own, self.theirs, seconds)
        here = self.own.addresses.get(self.own.host, "")
        peers = [address for host, address in self.own.addresses.items() if host != self.own.host and address]
        if not here or not peers:
            return refuse(EX_NO, f"DRBD's configuration does not say which ports {self.stack.resource} has")
        find("nft")
        find("systemd-run")
        begun = self._begin(f"the link of {self.stack.resource} is cut for {seconds} s", expected)
        if begun:
            return begun
        # Somebody may have waited long before; and nothing may be begun that has begun to fail.
        self.own = own_side(self.stack)
        problem = fencetest.ready(self.rows, self.own, self.theirs)
        if problem:
            return refuse(EX_NO, f"nothing was done: {problem}")
        watched = Watched()
        with _blocked(fencetest.block(here, peers, seconds), seconds):
            _tell(0.0, "DRBD's connection is cut")
            limit = BOOT_LIMIT if expected.chosen else BACK_LIMIT
            self._watch(
                watched, lambda now: watched.done >= 0 or now > seconds + limit or _unseen(watched, now, seconds)
            )
        return self._end(watched, expected)

    def _switch(self) -> int:
        assert self.theirs is not None
        peer, name = self._peer, self.stack.fence_agent
        if self.own.survivor != fencing.POWER:
            return refuse(EX_USAGE, f"the policy is {self.own.survivor}, nobody is switched off")
        expected = Expected(f"{peer} is switched off and, once {self.own.host} goes on alone, on again", True, (peer,))
        options = agent.load(_options_file(self.stack), peer)
        begun = self._begin("power", expected)
        if begun:
            return begun
        watched = Watched()
        began = time.monotonic()
        step_limit = self.own.plan.limit

        def tell(text: str) -> None:
            with suppress(OSError):  # the terminal may be gone, and the victim is to be switched on all the same
                _tell(time.monotonic() - began, text)

        switched = False
        on = False
        with _signals() as ignore:
            try:
                tell(f"{name} switches {peer} off")
                switched = agent.switch_off(name, options, step_limit, tell)
                if switched:
                    tell(f"{peer} is off")
                    late = time.monotonic() - began + step_limit
                    self._watch(watched, lambda now: watched.thawed >= 0 or now > late, began)
            finally:
                ignore()
                # Also where it is not known: a machine that is on already stays so.
                tell(f"{name} switches {peer} on")
                with suppress(Failure):
                    on = agent.switch_on(name, options, step_limit, tell)
        if not switched or not on:
            verb = "off" if not switched else "on again"
            return refuse(EX_NO, f"{name} did not switch {peer} {verb}", f"see to {peer} by hand")
        tell(f"{peer} is on")
        if watched.lost < 0:
            text = f"DRBD has not lost {peer} while {peer} is off for the agent: this is the plug of another machine"
            advice = f"the plug (port) in section [{peer}] of {_options_file(self.stack)}; see what was switched off"
            _show(Row(FAILED, "power", self.own.host, text, advice))
            return EX_NO
        self._watch(watched, lambda now: watched.done >= 0 or now > BOOT_LIMIT, began)
        if watched.thawed < 0 <= watched.frozen:
            text = f"{self.own.host} did not go on alone while {peer} was off"
            _show(Row(FAILED, "power", self.own.host, text, "'journalctl -t drbdocfs-fence-peer' says why"))
            return EX_NO
        return self._end(watched, expected)

    def _watch(self, watched: Watched, over: Callable[[float], bool], began: float | None = None) -> None:
        began = time.monotonic() if began is None else began
        progress = terminal.Progress(every=60.0)
        side = self.own
        while True:
            now = time.monotonic() - began
            with suppress(Failure):  # DRBD's tools may wait for DRBD; the next look tells
                # The kernel only: the metadata may be busy.
                side = dataclasses.replace(self.own, **_of_state(drbd.state(self.own.resource)))
            for line in watched.see(now, side):
                progress.clear()
                _tell(now, line)
            now = time.monotonic() - began
            if over(now):
                progress.clear()
                return
            progress.show(f"{now:6.1f} s  {side.connection}, {side.disk}, peer {side.peer_disk}")
            time.sleep(EVERY)

    def _end(self, watched: Watched, expected: Expected) -> int:
        own = own_side(self.stack)
        theirs = None
        assert self.other is not None
        with suppress(Failure, ValueError):
            theirs = fencetest.from_json(self.other.part("facts"))
        print()
        rows = fencetest.judged(watched, expected, own, theirs)
        for row in rows:
            _show(row)
        return fencetest.status(rows)


def _unseen(watched: Watched, now: float, seconds: int) -> bool:
    """The cut is over, and DRBD has not noticed it in the time after it either."""
    return watched.lost < 0 and now > seconds + 5.0


@contextmanager
def _signals() -> Iterator[Callable[[], None]]:
    """SIGHUP and SIGTERM end what is inside as Ctrl-C does; what it gives lets none of the three end the rest."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    try:
        for number in numbers:
            if before[number] != signal.SIG_IGN:  # nohup(1)
                signal.signal(number, interrupt)
        yield ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _digits(count: int) -> str:
    """Random hexadecimal digits, and not the same in two tests begun at once."""
    return f"{random.SystemRandom().getrandbits(4 * count):0{count}X}"


@contextmanager
def _blocked(words: str, seconds: int) -> Iterator[None]:
    """DRBD's connection is cut inside; the kernel and a unit of systemd's end that without us.

    Raises Failure when the block or what ends it cannot be had.
    """
    delete = ["nft", "delete", "table", "inet", fencetest.TABLE]
    run_tool(["systemctl", "stop", fencetest.UNDO])  # of a test before, which was killed
    again = shlex.join([find("nft"), *delete[1:]])
    started = run_tool(
        [
            "systemd-run", "--quiet", "--collect", f"--unit={fencetest.UNDO}", "--description=end of a fence test",
            "/bin/sh", "-c", f"sleep {seconds + UNDO_LATER}; exec {again}",
        ]
    )  # fmt: skip
    if started.code != 0:
        raise Failure(EX_UNAVAILABLE, f"nothing was done: systemd-run failed: {started.said}")
    try:
        cut = run_tool(["nft", words])
        if cut.code != 0:
            raise Failure(EX_UNAVAILABLE, f"nothing was done: nft failed: {cut.said}", "nftables of this kernel")
        yield
    finally:
        run_tool(delete)
        run_tool(["systemctl", "stop", fencetest.UNDO])


def _count_down() -> None:
    """Raises KeyboardInterrupt when somebody does not want it."""
    moving = terminal.movable(sys.stdout)
    if not moving:
        print(f"it begins in {COUNTDOWN} s", flush=True)
    progress = terminal.Progress(every=COUNTDOWN)
    for left in range(COUNTDOWN, 0, -1):
        if moving:
            progress.show(f"it begins in {left} s; Ctrl-C ends this, and nothing is done")
        time.sleep(1.0)
    progress.clear()


def _tell(now: float, text: str) -> None:
    print(f"{now:6.1f} s  {text}", flush=True)


def _show(row: Row) -> None:
    out = sys.stdout
    columns = terminal.width(out)
    result = terminal.style(f"{row.result:<10}", {OK: "ok", FAILED: "failed"}.get(row.result, "dim"), out)
    text = f"{row.host}: {row.text}" if row.host else row.text
    indent = " " * 27
    # The colour's signs have no width, so the first column is put in after the wrapping.
    for number, line in enumerate(terminal.wrap(text, columns, indent, indent)):
        print(f"{result}  {row.step:<13}  {line[27:]}" if number == 0 else line)
    if row.advice:
        for line in terminal.wrap(row.advice, columns, indent + "what to do: ", indent + "  "):
            print(line)
    out.flush()
