"""Reboot two nodes again and again from a third machine, and look after each boot whether all is as it should be."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import re
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from drbdocfs_boot import (
    __version__,
    exits,
    rebootfacts,
    rebooting,
    reboottest,
    reboottest_html,
    reboottest_junit,
    reboottest_text,
    terminal,
)
from drbdocfs_boot.datacheck import Ack, longest_gap
from drbdocfs_boot.exits import (
    EX_CANTCREAT,
    EX_INTERRUPTED,
    EX_NO,
    EX_OK,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
)
from drbdocfs_boot.reboottest import CHECK, DATA, DONE, INTERRUPTED, PATTERNS, RUNNING, STOPPED, Finding, Run
from drbdocfs_boot.tools import ask, datacheck, nodes, results, system
from drbdocfs_boot.tools.failure import Failure

RESULTS = "run.json"
OPTIONS = "options.json"
# The parser has none of them, so that what was given is seen.
DEFAULTS: dict[str, Any] = {
    "stack": "", "nodes": "", "cycles": 10, "pattern": "alternate", "stagger": 30.0, "power_off": "", "power_on": "",
    "power_limit": 60.0, "boot_limit": 600.0, "shutdown_limit": 180.0, "data": True, "go_on": False,
    "unhealthy": False, "ssh_config": "", "to": "", "dry_run": False,
}  # fmt: skip
# What a resumed run takes from the one before.
KEPT = tuple(key for key in DEFAULTS if key not in ("to", "dry_run"))
TOKEN = re.compile(r"[0-9a-f]{16}\Z")  # of a run, in OPTIONS
CLAIM_LIMIT = 30.0  # seconds
LONGEST = 86400.0  # seconds, of each option that has some
DIRECTORY = ".drbdocfs-reboot-test"  # below the mount point
REMOVING = "removing"  # beside notes: the removal of their records was begun
LOOK_LIMIT = 300.0  # seconds for the questions before the first cycle
RACE_NAMES, RACE_ROUNDS = 8, 8  # of each kind and each cycle: few, as each costs a turn over ssh
# Seconds until a writer's first record, and between two: the peer's power may just have been cut, and all writes stand
# still until O2CB has given it up, a minute at most.
WRITE_LIMIT = 120.0
# Exit statuses of a writer that could not go on.  All others are those of ssh, of signals, of an end in order.
BROKEN = (1, datacheck.EX_DATAERR, datacheck.EX_UNAVAILABLE, datacheck.EX_IOERR)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stack", metavar="STACK", nargs="?", help="the stack (default: the only one)")
    parser.add_argument("--nodes", metavar="A,B", help="the two nodes, as ssh reaches them: HOST or USER@HOST")
    parser.add_argument("--cycles", metavar="N", type=int, help="how many cycles (default: 10)")
    parser.add_argument("--pattern", choices=tuple(PATTERNS), help="who goes down in a cycle")
    parser.add_argument("--stagger", metavar="SECONDS", type=_seconds, help="time between the two (30)")
    parser.add_argument("--power-off", metavar="COMMAND", help="switches the power of {node} off")
    parser.add_argument("--power-on", metavar="COMMAND", help="switches the power of {node} on")
    parser.add_argument("--power-limit", metavar="SECONDS", type=_seconds, help="for each of them (60)")
    parser.add_argument("--boot-limit", metavar="SECONDS", type=_seconds, help="for a boot (600)")
    parser.add_argument("--shutdown-limit", metavar="SECONDS", type=_seconds, help="to go down (180)")
    parser.add_argument(
        "--no-data", dest="data", action="store_false", default=None, help="write and look for no records"
    )
    parser.add_argument(
        "--continue", dest="go_on", action="store_true", default=None, help="go on after a cycle with a finding"
    )
    parser.add_argument(
        "--unhealthy", action="store_true", default=None, help="begin although the cluster is not healthy"
    )
    parser.add_argument("--ssh-config", metavar="FILE", help="a configuration file for ssh")
    parser.add_argument("--to", metavar="DIR", help="where the results go")
    parser.add_argument("--resume", metavar="DIR", help="go on with the run whose results are there")
    parser.add_argument("--clean-up", metavar="DIR", help="remove what a run that was killed has left on the nodes")
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    parser.add_argument(
        "--dry-run", action="store_true", default=None, help="look at the nodes, say what would be done, and end"
    )
    parser.add_argument("--json", action="store_true", help="the results as JSON at the end")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= LONGEST:
        raise argparse.ArgumentTypeError("seconds, at most a day")
    return value


def run(args: argparse.Namespace) -> int:
    """0 all cycles done and nothing found; 1 something was found, or the cluster is not healthy; 2 usage; 69 a node
    is not reachable at the beginning; 73 the results cannot be written; 75 nodes did not come back for a resumed run;
    130 interrupted."""
    with results.Folder() as folder:
        return _run(args, folder)


def _run(args: argparse.Namespace, folder: results.Folder) -> int:
    stop = _Stop()
    try:
        old = _earlier(args, folder)
        problem = _usage(args)
        if problem:
            return refuse(EX_USAGE, problem)
        with _signals(stop):
            return _Test(args, old, stop, folder).run()
    except Failure as failure:
        return _refused(failure)
    except KeyboardInterrupt:
        if stop.words:  # in the cycles it is caught: only when all was over
            return refuse(EX_INTERRUPTED, "interrupted at the end; the results are whole")
        if args.clean_up:
            return refuse(EX_INTERRUPTED, "interrupted; records may still be on the nodes")
        if args.resume:
            again = f"to go on: drbdocfs reboot-test --resume {shlex.quote(args.resume)}"
            return refuse(EX_INTERRUPTED, "interrupted before the run went on", again)
        return refuse(EX_INTERRUPTED, "interrupted before the first cycle; nothing was rebooted")
    except OSError as error:
        return refuse(EX_CANTCREAT, str(error))


def _refused(failure: Failure) -> int:
    return refuse(failure.status, failure.message, failure.advice)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


def _earlier(args: argparse.Namespace, folder: results.Folder) -> Run | None:
    """The run that is to be resumed or cleaned up after; its options are put into `args`.  Its directory is taken, so
    that no other run has it.  Raises Failure and OSError."""
    given = [key for key in DEFAULTS if getattr(args, key) is not None]
    for key in DEFAULTS.keys() - set(given):
        setattr(args, key, DEFAULTS[key])
    args.token = secrets.token_hex(8)
    where = args.resume or args.clean_up
    if not where:
        return None
    if args.resume and args.clean_up:
        raise Failure(EX_USAGE, "--resume and --clean-up: one of them")
    if given:
        words = ", ".join(
            {"stack": "STACK", "data": "--no-data", "go_on": "--continue"}.get(key, _option(key)) for key in given
        )
        option = "--resume" if args.resume else "--clean-up"
        raise Failure(EX_USAGE, f"{words}: {option} takes all that from the run in {where}", "leave that out")
    place = results.real(where)
    if not (place / OPTIONS).exists():
        raise Failure(EX_USAGE, f"{where} has no run of this test: there is no {OPTIONS}")
    folder.take(place)
    try:
        options = json.loads((place / OPTIONS).read_text(encoding="utf-8"))
        old = reboottest.from_json(json.loads((place / RESULTS).read_text(encoding="utf-8")))
        for key in KEPT:
            setattr(args, key, _kept(key, options[key]))
        args.token = options["token"]
        if not TOKEN.match(args.token):
            raise ValueError(f"{OPTIONS} has a token that is none")
        if (args.pattern, args.cycles) != (old.pattern, old.planned) or args.stack not in ("", old.stack):
            raise ValueError(f"{OPTIONS} and {RESULTS} are not of the same run")
        if len(old.nodes) != 2 or not all(nodes.NAME.match(name) for name in old.nodes):
            raise ValueError(f"{RESULTS} does not have the names of two nodes")
    except KeyError as error:
        raise Failure(EX_USAGE, f"{where} has no run of this test: {OPTIONS} has no {error}") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Failure(EX_USAGE, f"{where} has no run of this test: {error}") from None
    return old


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def _kept(key: str, value: Any) -> Any:
    """An option of the run before.  Raises ValueError for what cannot be one."""
    known = DEFAULTS[key]
    if isinstance(known, float) and type(value) in (int, float) and 0 <= value <= LONGEST:
        return float(value)
    if type(value) is not type(known) or isinstance(known, float) or (key == "pattern" and value not in PATTERNS):
        raise ValueError(f"{OPTIONS} has {_option(key)} as {value!r}")
    return value


def _usage(args: argparse.Namespace) -> str:
    given = args.nodes.split(",")
    if len(given) != 2 or not all(given) or given[0] == given[1] or any(one.startswith("-") for one in given):
        return "--nodes A,B: two nodes, as ssh reaches them"
    if not 1 <= args.cycles <= 100000:
        return f"--cycles {args.cycles}: 1 to 100000"
    if args.pattern.startswith("power") and not (args.power_off and args.power_on):
        return f"--pattern {args.pattern} needs --power-off and --power-on"
    return ""


@dataclass
class _Stop:
    """What a signal does: `ending`, once it has been heard or the end has come, nothing is interrupted any more;
    `words` are the last ones where it ends at once, and there are some from the begin of the cycles on."""

    ending: bool = False
    words: list[str] = field(default_factory=list)
    asked: int = 0  # how often by Ctrl-C


@contextmanager
def _signals(stop: _Stop) -> Iterator[None]:
    """SIGTERM, SIGHUP and Ctrl-C interrupt once.  After that only a second Ctrl-C ends at once: a terminal that is
    closed after SIGTERM, or systemd's SIGHUP after it, must not leave a node without power."""
    before = {}

    def interrupt(number: int, _frame: object) -> None:
        stop.asked += number == signal.SIGINT
        if not stop.ending:
            stop.ending = True
            raise KeyboardInterrupt
        if number != signal.SIGINT:
            return
        again = stop.asked > 1
        words = stop.words if again else ["the end is being made in good order; once more ends at once"]
        try:
            os.write(2, "\n".join(["", *words, ""]).encode("utf-8", "replace"))
        except OSError:  # the terminal has gone
            pass
        if again:
            os._exit(EX_INTERRUPTED)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before[number] = signal.getsignal(number)
        if before[number] != signal.SIG_IGN:  # nohup(1)
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- words ----------------------------------------------------------------------------------------------------

# What nodes and commands say goes through `clean` on its way to a terminal.  And no output ends a run: its reader may
# go, its terminal may be closed, but nodes have to have their power, and the results are in files.


def _written(stream: TextIO, write: Callable[[], object]) -> None:
    try:
        write()
    except OSError:
        # Nowhere from now on; what is in the buffer would raise again, at the interpreter's end at the latest.
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass


def _complain(text: str) -> None:
    """A line on standard error."""
    _written(sys.stderr, lambda: print(reboottest_text.clean(text), file=sys.stderr, flush=True))


def refuse(status: int, message: str, advice: str = "") -> int:
    """As exits.refuse."""
    message, advice = (" ".join(reboottest_text.clean_lines(text)) for text in (message, advice))

    def write() -> None:
        exits.refuse(status, message, advice)
        sys.stderr.flush()

    _written(sys.stderr, write)
    return status


# --- the data check -------------------------------------------------------------------------------------------


class NoData:
    """Nothing is written."""

    def start(self, node: str) -> list[Finding]:
        """Nothing."""
        return []

    def stop(self, node: str) -> None:
        """Nothing."""

    def verify(self, nodes: Sequence[str]) -> tuple[list[Finding], int]:
        """Nothing is missing."""
        return [], 0

    def look(self) -> tuple[list[Finding], int]:
        """Nothing was left behind."""
        return [], 0

    def close(self) -> list[str]:
        """Nothing is left."""
        return []


class Records:
    """The data check's writers on the nodes."""

    def __init__(self, hosts: Mapping[str, nodes.Node], mount: str, notes: Path) -> None:
        self._hosts = hosts
        self._notes = notes
        self._writers = datacheck.Writers(mount.rstrip("/") + "/" + DIRECTORY, notes, mount)
        self._went: set[str] = set()  # since the last look: down by our order
        self._known: dict[str, int] = {}  # how many acknowledgements of a node the last look had
        self._still: dict[str, float] = {}  # a node that stood still at the last look -> when that was

    def start(self, node: str) -> list[Finding]:
        """Write there; what hinders it is a finding, and so is what had ended a writer before."""
        host = self._hosts[node]
        if self._writers.running(host):
            return []
        found = []
        code, said = self._writers.last_words(host) or (0, "")
        if code in BROKEN:
            found.append(Finding(node, DATA, f"its writer has ended by itself: {said} (exit status {code})"))
        try:
            self._writers.start(host, WRITE_LIMIT)
        except Failure as failure:
            found.append(Finding(node, DATA, f"nothing can be written: {failure.message}"))
        return found

    def stop(self, node: str) -> None:
        """It goes down, or is down already: what it still says is heard."""
        self._went.add(node)
        self._writers.stop(self._hosts[node], 10.0)

    def verify(self, nodes: Sequence[str]) -> tuple[list[Finding], int]:
        """Each acknowledged record has to be whole on every node that is up, and each of them has to write.  Writers
        that have ended begin again."""
        found = [finding for node in nodes for finding in self.start(node) or self._stands(node)]
        count = 0
        try:
            acks = self._writers.notes().acks
            count = len(acks)
            found += self._gaps(acks, [node for node in nodes if node not in {finding.node for finding in found}])
            result = self._writers.findings([self._hosts[node] for node in nodes])
        except Failure as failure:
            return [*found, Finding("", DATA, f"the records could not be looked for: {failure.message}")], count
        found += [Finding("", DATA, words) for words in result.words]
        return [*found, *self._races(nodes)], count

    def look(self) -> tuple[list[Finding], int]:
        """What is lost of the records that a part of the run before has left behind, and how many were acknowledged.
        0 where they were removed, or partly so."""
        try:
            count = len(self._writers.notes().acks)
            result = self._writers.findings(list(self._hosts.values())) if count else None
        except Failure as failure:
            return [Finding("", DATA, f"the records could not be looked for: {failure.message}")], 0
        gone = result and result.unread and all("there is no " in words for words in result.unread)
        if result is None or result.cleaning or (gone and (self._notes / REMOVING).exists()):
            return [], 0
        return [Finding("", DATA, words) for words in result.words], count

    def _stands(self, node: str) -> list[Finding]:
        """A writer that is there, and acknowledges nothing."""
        host = self._hosts[node]
        if not self._writers.running(host) or self._writers.await_record(host, WRITE_LIMIT):
            return []
        if self._writers.running(host):
            self._still[node] = time.time()
            return [Finding(node, DATA, f"writing stands still: nothing was acknowledged in {WRITE_LIMIT:.0f} s")]
        code, said = self._writers.last_words(host) or (0, "")
        self._writers.stop(host)  # the next look is not to find its end again
        return [Finding(node, DATA, f"its writer has ended by itself: {said} (exit status {code})")]

    def _gaps(self, acks: Sequence[Ack], nodes: Sequence[str]) -> list[Finding]:
        """Nodes that were up all the time since the last look, and acknowledged nothing for too long of it."""
        found = []
        for node in nodes:
            # What the last look has found is not found again.
            since = self._still.pop(node, float("-inf"))
            gap = longest_gap(acks, node, self._known.get(node, 0), since)
            if gap > WRITE_LIMIT and node not in self._went:
                text = f"writing stood still: nothing was acknowledged for {gap:.0f} s, although it was up"
                found.append(Finding(node, DATA, text))
        self._known = {node: sum(ack.node == node for ack in acks) for node in self._hosts}
        self._went.clear()
        return found

    def _races(self, nodes: Sequence[str]) -> list[Finding]:
        """One winner for each name, no stale read; where both can play."""
        if len(nodes) < 2:
            return []
        try:
            played = self._writers.races([self._hosts[node] for node in nodes], RACE_NAMES, RACE_ROUNDS)
        except Failure as failure:
            return [Finding("", DATA, f"the nodes' view of each other could not be tried: {failure.message}")]
        return [Finding("", DATA, words) for words in played.wrong]

    def close(self) -> list[str]:
        """End all writers and remove the records; what is left, in words."""
        self._writers.close()
        try:
            (self._notes / REMOVING).touch()
        except OSError:  # no room here: they are removed all the same
            pass
        problem = ""
        for host in self._hosts.values():
            try:
                self._writers.clean(host)
                return []
            except Failure as failure:
                problem = failure.message
        return [f"records in {self._writers.directory}: {problem}"]


# --- the test -------------------------------------------------------------------------------------------------


class _Test:
    def __init__(self, args: argparse.Namespace, old: Run | None, stop: _Stop, folder: results.Folder) -> None:
        self.args = args
        self.old = old
        self.stop = stop
        self.folder = folder
        self.out: TextIO = sys.stderr if args.json else sys.stdout
        self.progress = terminal.Progress(self.out)
        self.nodes: dict[str, nodes.Node] = {}
        self.stack = old.stack if old is not None else args.stack
        self.mount = ""
        self.down: list[Finding] = []  # of a stack that is not up
        self.said: dict[str, Mapping[str, Any]] = {}  # node -> what its status says of the stack
        self.cut: dict[str, None] = {}  # the nodes whose power was ordered off
        self.began = time.monotonic()
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.place = results.real(args.resume or args.clean_up or args.to or f"drbdocfs-reboot-test-{stamp}")
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        words = f"{_user()} on {os.uname().nodename}, with {self.place}, since {since}"
        self.claim = rebootfacts.Claim(args.token, reboottest_text.clean(words))

    def tell(self, text: str) -> None:
        """A line that stays, with the seconds since the begin."""
        self.say(f"{time.monotonic() - self.began:8.1f} s  {reboottest_text.clean(text)}")

    def say(self, text: str) -> None:
        """Lines that stay, as they are."""

        def write() -> None:
            self.progress.clear()
            print(text, file=self.out, flush=True)

        _written(self.out, write)

    def show(self, text: str) -> None:
        """What is being waited for."""
        _written(self.out, lambda: self.progress.show(reboottest_text.clean(text)))

    def run(self) -> int:
        """Look, ask, do."""
        results.look(self.place)
        self._unused()
        where = self.args.nodes.split(",")
        found = [nodes.Node(one, self.args.ssh_config) for one in where]
        if self.args.clean_up:
            return self._clean_up(found)
        versions = self._reach(found)
        before = self._healthy()
        apart, named = rebootfacts.pair({name: self.said.get(name, {}) for name in self.nodes})
        if apart:
            return self._no_pair(apart)
        if self.old is not None and self.down:
            said = "; ".join(f"{finding.node}: {finding.text}" for finding in self.down)
            return refuse(EX_TEMPFAIL, f"the run cannot go on: {said}", "'drbdocfs status' there says the reason")
        if before and not self.args.unhealthy:
            for finding in before:
                _complain(f"drbdocfs: {finding.node}: {finding.kind}: {finding.text}")
            return refuse(EX_NO, "the cluster is not healthy", "mend that, or --unhealthy to begin all the same")
        if not named:
            return self._no_pair("neither of them says who its peer is")
        if self.args.data and not self.mount.strip("/"):
            return refuse(EX_USAGE, f"no node says where {self.stack} is mounted", "--no-data writes nothing there")
        plan = reboottest.plan(self.args.pattern, list(self.nodes), self.args.cycles, self.args.stagger)
        if self.args.dry_run:
            return self._dry_run(plan)
        names = " and ".join(self.nodes)
        if not self.args.yes:
            if not ask.possible():
                return refuse(EX_USAGE, f"this reboots {names}, and there is nobody to ask", "--yes")
            if not ask.yes(f"{self.args.cycles} cycles, '{self.args.pattern}', on {names}. Reboot them?"):
                return refuse(EX_INTERRUPTED, "nothing was done")
        if self.old is None:
            self.folder.take(self.place)
            self._unused()  # another one may have come and gone meanwhile
        options = {key: getattr(self.args, key) for key in KEPT}
        options["ssh_config"] = os.path.abspath(self.args.ssh_config) if self.args.ssh_config else ""
        results.write(self.place / OPTIONS, json.dumps({**options, "token": self.args.token}, indent=2))
        self._take()
        result = self.old or Run(
            stack=self.stack,
            nodes=tuple(self.nodes),
            pattern=self.args.pattern,
            planned=self.args.cycles,
            began=time.time(),
            product=__version__,
            versions=versions,
            before=tuple(before),
        )
        release = True
        try:
            lost, count = self._records(self._earlier_notes()).look() if self.old is not None else ([], 0)
            if lost:
                release = False  # another run would remove the records
                return self._lost(result, lost, count)
            if count:
                self.tell(f"what the run had acknowledged before it ended is there: {count} records")
            return self._cycles(replace(result, ended=RUNNING), plan)
        finally:
            if release:
                self._release()

    # Before

    def _no_pair(self, why: str) -> int:
        """Two nodes of different pairs may have a stack of the same name."""
        names = " and ".join(self.nodes)
        text = f"{names} are not known to be the two nodes of {self.stack}: {why}"
        return refuse(EX_USAGE, text, "look at --nodes, at where ssh leads, and at 'drbdocfs status' there")

    def _in_use(self, node: nodes.Node, words: str) -> Failure:
        advice = "wait until it ends; after one that was killed 'drbdocfs reboot-test --clean-up' with its directory"
        text = f"{node.where}: {rebooting.in_use(words)}"
        return Failure(EX_TEMPFAIL, text, f"{advice}, or 'rm -r {rebootfacts.CLAIM}' on each node")

    def _take(self) -> None:
        """Both nodes for this run; the second one takes nothing from the first.  Raises Failure."""
        calls = {name: node.call(rebootfacts.take(self.claim), CLAIM_LIMIT) for name, node in self.nodes.items()}
        problem: Failure | None = None
        for name, call in calls.items():
            result = call.wait()
            said, _, words = result.out.strip().partition(" ")
            if said == rebootfacts.THEIRS:
                problem = self._in_use(self.nodes[name], words)
            elif said != rebootfacts.OURS:
                why = result.said or f"exit {result.code}"
                problem = Failure(EX_UNAVAILABLE, f"{name}: {rebootfacts.CLAIM} cannot be made: {why}")
        if problem is not None:
            self._release()
            raise problem

    def _release(self) -> None:
        """Both nodes are free again.  What hinders that is said, and hinders nothing."""
        try:
            text = rebootfacts.release(self.claim.token)
            calls = {name: node.call(text, CLAIM_LIMIT) for name, node in self.nodes.items()}
            left = [name for name, call in calls.items() if call.wait().code != 0]
        except Exception as error:
            left = [*self.nodes, str(error)]
        if left:
            text = f"left on the nodes: {rebootfacts.CLAIM}, until they boot ({', '.join(left)})"
            refuse(0, text, f"drbdocfs reboot-test --clean-up {shlex.quote(str(self.place))}")

    def _unused(self) -> None:
        if self.old is None and (self.place / RESULTS).exists():
            advice = f"--resume {shlex.quote(str(self.place))}, or another --to"
            raise Failure(EX_USAGE, f"{self.place} has results of a run already", advice)

    def _reach(self, found: Sequence[nodes.Node]) -> dict[str, dict[str, str]]:
        """Log in at both, learn their names and versions.  Raises Failure."""
        command = (
            "cat /proc/sys/kernel/random/boot_id; uname -n; id -u; uname -r;"
            f" drbdocfs --version; cat /sys/module/drbd/version; {rebootfacts.look_at_claim()}"
        )
        here = system.read("/proc/sys/kernel/random/boot_id") or ""
        limit = time.monotonic() + (self.args.boot_limit if self.old is not None else 0.0)
        versions: dict[str, dict[str, str]] = {}
        ids: dict[str, str] = {}
        for node in found:
            said, theirs = rebootfacts.claimed(self._login(node, command, limit).out, self.claim.token)
            lines = (said.split("\n") + [""] * 6)[:6]
            boot, name, user, kernel, product, drbd = (line.strip() for line in lines)
            if boot and boot == here:
                raise Failure(
                    EX_USAGE, f"{node.where} is this machine, which would reboot itself", "run it on a third machine"
                )
            if user != "0":
                raise Failure(EX_UNAVAILABLE, f"{node.where}: not root there", "log in as root, by key")
            if boot in ids:
                raise Failure(EX_USAGE, f"{node.where} and {ids[boot]} are the same machine")
            if not nodes.NAME.match(name):
                said = reboottest_text.clean(name)
                advice = "letters, digits and '_.-', at most 64: 'hostnamectl set-hostname' there"
                raise Failure(
                    EX_USAGE, f"{node.where} calls itself '{said}' (uname -n), which is no host's name", advice
                )
            if self.old is not None and name != self.old.nodes[found.index(node)]:
                asked = self.old.nodes[found.index(node)]
                raise Failure(
                    EX_USAGE,
                    f"{node.where} is {name} now, and was {asked} in the run that is to be gone on with",
                    "look where ssh leads: its configuration, the addresses of names",
                )
            if not product.startswith("drbdocfs "):
                raise Failure(EX_UNAVAILABLE, f"{node.where} has no drbdocfs", "install drbdocfs-boot there")
            if theirs is not None:
                raise self._in_use(node, theirs)
            ids[boot] = node.where
            node.name = name
            versions[name] = {"drbdocfs-boot": product.split()[1], "kernel": kernel, "drbd": drbd}
            self.nodes[name] = node
        if len(self.nodes) != 2:
            raise Failure(EX_USAGE, f"both nodes call themselves {found[0].name} (uname -n)")
        products = {name: one["drbdocfs-boot"] for name, one in versions.items()}
        if len(set(products.values())) > 1:
            said = ", ".join(f"{name} {version}" for name, version in products.items())
            raise Failure(EX_UNAVAILABLE, f"drbdocfs-boot is not the same on both: {said}", "the same version on both")
        return versions

    def _login(self, node: nodes.Node, command: str, limit: float) -> Any:
        while True:
            try:
                return node.run(command)
            except Failure as failure:
                if self.old is None:
                    raise
                if time.monotonic() >= limit:
                    raise Failure(EX_TEMPFAIL, failure.message, failure.advice) from None
                self.show(f"{node.where} to answer, for the run to go on")
                time.sleep(rebooting.EVERY)

    def _healthy(self) -> list[Finding]:
        """What `status` and `check` say on both; stack and mount point are known afterwards.  Raises Failure."""
        limit = time.monotonic() + (self.args.boot_limit if self.old is not None else 0.0)
        while True:
            found = self._look()
            self.down = found["status"]
            # Only a stack that is not up yet comes up by itself.
            if not found["status"] or time.monotonic() >= limit:
                return [*found["status"], *found["check"]]
            self.show("the stack to be up on both nodes, for the run to go on")
            time.sleep(rebooting.EVERY)

    def _look(self) -> dict[str, list[Finding]]:
        named = shlex.quote(self.stack) + " " if self.stack else ""
        scripts = {
            "status": f"drbdocfs status {named}--json",
            "check": f"drbdocfs check {named}--json",
        }
        calls = {
            (name, verb): node.call(text, LOOK_LIMIT)
            for name, node in self.nodes.items()
            for verb, text in scripts.items()
        }
        found: dict[str, list[Finding]] = {verb: [] for verb in scripts}
        for (name, verb), call in calls.items():
            result = call.wait()
            try:
                said = json.loads(result.out)
                entries = _entries(said, "stacks" if verb == "status" else "findings")
            except ValueError:
                text = f"'{scripts[verb]}': {result.err.strip() or f'exit {result.code}'}"
                if "there is no stack" in text:
                    raise Failure(EX_USAGE, f"{name}: {text}") from None
                if not self.stack:
                    raise Failure(EX_UNAVAILABLE, f"{name}: {text}") from None
                found[verb].append(Finding(name, CHECK, text))
                continue
            if verb == "status":
                self._know(name, entries)
                own = next((one for one in entries if one.get("name") == self.stack), {})
                if own.get("state") != "up":
                    found[verb].append(Finding(name, CHECK, f"the stack {self.stack} is {own.get('state', 'unknown')}"))
                elif result.code != 0:
                    found[verb].append(Finding(name, CHECK, f"status: {result.err.strip() or f'exit {result.code}'}"))
            else:
                found[verb] += [
                    Finding(name, CHECK, f"{one.get('code')} {one.get('where')}: {one.get('message')}")
                    for one in entries
                    if one.get("severity") == "error"
                ]
        return found

    def _know(self, name: str, stacks: Sequence[Mapping[str, Any]]) -> None:
        names = [str(one.get("name")) for one in stacks]
        if not self.stack and len(names) != 1:
            raise Failure(EX_USAGE, f"{name} has {', '.join(names) or 'no stack'}: say which", "STACK")
        self.stack = self.stack or names[0]
        for one in stacks:
            if one.get("name") == self.stack:
                self.said[name] = one
                self.mount = str(one.get("mountpoint") or "") or self.mount

    def _dry_run(self, plan: Sequence[Sequence[reboottest.Down]]) -> int:
        for number, downs in enumerate(plan, 1):
            words = [f"{down.node} after {down.after:.0f} s: {down.how}" for down in downs]
            self.say(reboottest_text.clean(f"cycle {number}: {', '.join(words)}"))
        for node in self.nodes.values():
            if self.args.pattern.startswith("power"):
                for what in ("off", "on"):
                    self.say(reboottest_text.clean(f"{node.name}: power {what}: {self._command(what, node.name)}"))
        self.say(f"results would go to {self.place}; nothing was done")
        return EX_OK

    # The cycles

    def _records(self, notes: Path | None = None) -> NoData | Records:
        if not self.args.data:
            return NoData()
        # Of each part of a run its own: the records of the part before were removed at its end.
        return Records(self.nodes, self.mount, notes or self.place / "data" / time.strftime("%Y%m%d-%H%M%S"))

    def _earlier_notes(self) -> Path | None:
        """The notes of the last part of the run whose writers had begun: of records that are there, if any are."""
        found = list((self.place / "data").glob("*/acknowledged.*"))
        return max(found, key=lambda path: path.stat().st_mtime_ns).parent if found else None

    def _lost(self, result: Run, found: Sequence[Finding], count: int) -> int:
        """The part before has ended in the middle of a cycle, and its records are not all there: that is this cycle's
        result, and the run's last one."""
        for finding in found:
            self.tell(f"{finding.node or 'both'}: {finding.kind}: {finding.text}")
        cycles = result.cycles
        number = max((cycle.number for cycle in cycles), default=0) + 1
        if not cycles or not set(found) <= set(cycles[-1].findings):  # else it was resumed before
            if number > result.planned:
                last = replace(cycles[-1], findings=(*cycles[-1].findings, *found))
                cycles = (*cycles[:-1], last)
            else:
                cycles = (*cycles, reboottest.Cycle(number, time.time(), 0.0, (), tuple(found), count))
        result = replace(result, cycles=cycles, ended=STOPPED)
        self._save(result)
        self._report(result)
        where = f"{self.mount.rstrip('/')}/{DIRECTORY} on the nodes"
        return refuse(
            EX_NO,
            f"the records are kept in {where}, and the notes of what was acknowledged in {self._earlier_notes()}",
            "keep both disks as they are; /usr/share/doc/drbdocfs-boot/recovery.md; in the end"
            f" 'drbdocfs reboot-test --clean-up {shlex.quote(str(self.place))}'",
        )

    def _clean_up(self, found: Sequence[nodes.Node]) -> int:
        """One node that has the file system mounted is enough, and nobody is waited for: it is one file system."""
        assert self.old is not None
        problems = []
        able: dict[str, nodes.Node] = {}
        mine: dict[str, nodes.Node] = {}
        for node in found:
            try:
                said, theirs = rebootfacts.claimed(
                    node.run(f"uname -n; {rebootfacts.look_at_claim()}").out, self.claim.token
                )
                if theirs is not None:  # its records are in the same place
                    return _refused(self._in_use(node, theirs))
                node.name = said.strip()
                if node.name not in self.old.nodes:
                    names = " and ".join(self.old.nodes)
                    raise Failure(EX_USAGE, f"{node.where} calls itself {node.name}, and the run was on {names}")
                mine[node.name] = node
                self.nodes = {node.name: node}
                down = self._look()["status"]
                problems += [f"{finding.node}: {finding.text}" for finding in down]
                if not down:
                    able[node.name] = node
            except Failure as failure:
                problems.append(failure.message)
        self.nodes = mine
        if not able or not self.mount:
            self._release()
            advice = "again when the stack is up on one of the nodes"
            if self.args.pattern.startswith("power"):
                advice += "".join(f"; power on for {name}: {self._command('on', name)}" for name in self.old.nodes)
            return refuse(EX_UNAVAILABLE, f"nothing can be removed: {'; '.join(problems)}", advice)
        left = Records(able, self.mount, self._earlier_notes() or self.place / "data" / "clean-up").close()
        self._release()
        for words in left:
            refuse(EX_NO, f"left: {words}")
        if not left:
            self.say("nothing is left on the nodes")
        return EX_NO if left else EX_OK

    def _command(self, what: str, node: str) -> str:
        """The command of the power switch as the shell gets it."""
        command: str = self.args.power_off if what == "off" else self.args.power_on
        return command.replace("{node}", shlex.quote(node))

    def _power(self, what: str, node: str) -> nodes.Call:
        if what == "off":
            self.cut[node] = None
        command = self.args.power_off if what == "off" else self.args.power_on
        return nodes.power(command, node, self.args.power_limit)

    def _last_words(self) -> list[str]:
        place = shlex.quote(str(self.place))
        words = ["ended at once: the writers end by themselves, but records may be left on the nodes"]
        if self.args.pattern.startswith("power"):
            words[0] += ","
            words.append("and a node that was being switched off may be without power.")
            words += [f"power on for {name}: {self._command('on', name)}" for name in self.nodes]
        else:
            words[0] += "."
        return [*words, f"what to do: drbdocfs reboot-test --clean-up {place}"]

    def _cycles(self, result: Run, plan: Sequence[Sequence[reboottest.Down]]) -> int:
        records: NoData | Records = NoData()
        setting: rebooting.Setting | None = None
        current: rebooting.Round | None = None
        error: BaseException | None = None
        try:
            try:
                self.stop.words[:] = self._last_words()
                done = max((cycle.number for cycle in result.cycles), default=0)
                self._save(result)
                if self.old is not None:  # of a run that was killed
                    records = self._records(self._earlier_notes())
                    records.close()
                records = self._records()
                setting = self._setting(records)
                for name in self.nodes:
                    for finding in records.start(name):
                        raise Failure(EX_UNAVAILABLE, f"{name}: {finding.text}", "mend that, or --no-data")
                known: dict[str, str] = {}
                for number, downs in enumerate(plan, 1):
                    if number <= done:
                        continue
                    self.tell(f"cycle {number} of {len(plan)}{_remaining(result, len(plan))}")
                    current = rebooting.Round(setting, number, downs, time.time(), known)
                    cycle = current.run()
                    known = current.boots
                    result = replace(result, cycles=(*result.cycles, cycle))
                    self._save(result)
                    for finding in cycle.findings:
                        if finding not in current.told:
                            self.tell(f"{finding.node or 'both'}: {finding.kind}: {finding.text}")
                    last, current = current.last, None
                    self.tell(f"cycle {number}: {'good' if cycle.good else 'NOT good'}, {cycle.seconds:.0f} s")
                    if (last or (not cycle.good and not self.args.go_on)) and number < len(plan):
                        result = replace(result, ended=STOPPED)
                        break
                else:
                    result = replace(result, ended=DONE)
            finally:
                self.stop.ending = True  # no signal raises anything from here on
        except KeyboardInterrupt:
            result = replace(result, ended=INTERRUPTED)
        except BaseException as caught:
            error = caught
            result = replace(result, ended=INTERRUPTED)
        # Power first, then the results, and only then words and what takes its time; none hinders the next one.
        dark: dict[str, str] = {}
        try:
            if current is not None:
                dark = dict.fromkeys(current.rescue(), "its power switch has failed, and it may be without power")
            if setting is not None and self.cut:
                silent = rebooting.unanswered(setting, list(self.cut))
                dark.update(dict.fromkeys(silent, "it does not answer yet, and may be without power"))
        except Exception as caught:
            error = error or caught
            dark = dict.fromkeys(self.cut, "it may be without power")
        error = self._saved(result) or error
        if result.ended == INTERRUPTED:
            how = "interrupted" if error is None else "it cannot go on"
            again = "once more" if self.stop.asked else "Ctrl-C twice"
            unread = ", not looked for since the last complete cycle" if self.args.data else ""
            self.tell(f"{how}; what is on the nodes is removed{unread} ({again} ends at once)")
        try:
            left = records.close()
        except Exception as caught:
            left = [f"perhaps records: {caught}"]
        self._report(result)
        for name, text in dark.items():
            refuse(0, f"{name}: {text}", f"if it does not come back: {self._command('on', name)}")
        for words in left:
            refuse(0, f"left on the nodes: {words}", f"drbdocfs reboot-test --clean-up {shlex.quote(str(self.place))}")
        if error is not None:
            raise error
        if result.ended == INTERRUPTED:
            return refuse(
                EX_INTERRUPTED, "interrupted", f"to go on: drbdocfs reboot-test --resume {shlex.quote(str(self.place))}"
            )
        return EX_OK if result.good else EX_NO

    def _setting(self, records: NoData | Records) -> rebooting.Setting:
        return rebooting.Setting(
            stack=self.stack,
            nodes=self.nodes,
            limits=rebooting.Limits(self.args.shutdown_limit, self.args.boot_limit, self.args.power_limit),
            power=self._power,
            data=records,
            clock=time.monotonic,
            sleep=time.sleep,
            tell=self.tell,
            show=self.show,
            claim=self.claim,
        )

    def _saved(self, result: Run) -> Exception | None:
        try:
            self._save(result)
        except Exception as error:
            return error
        return None

    def _save(self, result: Run) -> None:
        """The three files, each whole or as before."""
        results.write(self.place / RESULTS, json.dumps(reboottest.to_json(result), indent=2) + "\n")
        results.write(self.place / "junit.xml", reboottest_junit.junit(result))
        results.write(self.place / "report.html", reboottest_html.page(result))

    def _report(self, result: Run) -> None:
        columns = terminal.width(self.out) or 100
        self.say("\n" + reboottest_text.table(result, terminal.coloured(self.out), columns))
        self.say(f"results: {self.place}/report.html, junit.xml, {RESULTS}")
        if self.args.json:
            text = json.dumps(reboottest.to_json(result), indent=2)
            _written(sys.stdout, lambda: print(text, flush=True))


def _entries(said: object, key: str) -> list[dict[str, Any]]:
    """A list of objects in a node's JSON.  Raises ValueError where there is none."""
    found = said.get(key) if isinstance(said, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"no {key}")
    return found


def _remaining(result: Run, planned: int) -> str:
    """How long it may still take, from the cycles that were done."""
    if not result.cycles:
        return ""
    mean = sum(cycle.seconds for cycle in result.cycles) / len(result.cycles)
    return f", about {mean * (planned - len(result.cycles)) / 60:.0f} min left"
