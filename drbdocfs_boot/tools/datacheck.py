"""The data check from the controller: libexec/data-check on the hosts, sent over standard input: nothing of it stays.

The text comes with its length before it, and standard input stays open after it: for the requests of `serve`, and so
that a writer ends when the controller does.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from drbdocfs_boot import datacheck
from drbdocfs_boot.datacheck import Findings, LockTrial, Notes, RaceFindings, Report, Seen
from drbdocfs_boot.tools.failure import Failure

EX_DATAERR = 65
EX_UNAVAILABLE = 69
EX_CANTCREAT = 73
EX_IOERR = 74
EX_TEMPFAIL = 75
PROGRAM = Path("/usr/libexec/drbdocfs-boot/data-check")
# In a checkout, beside the library.
CHECKOUT = Path(__file__).resolve().parent.parent.parent / "libexec" / "data-check"
BOOTSTRAP = "import sys; i = sys.stdin.buffer; exec(compile(i.read(int(i.readline())), 'data-check', 'exec'))"
ANSWER_LIMIT = 120.0
VERIFY_LIMIT = 600.0
STOP_LIMIT = 20.0
# Numbers of one session; the next one begins above.
STEP = 10_000_000


class Host(Protocol):
    """A host where commands can be run as root."""

    @property
    def name(self) -> str:
        """As a node is called: letters, digits, and _.- after the first, at most 64."""

    def popen(self, argv: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command with pipes for standard input and output, and standard error going to that file.

        Raises Failure where that is not possible. Standard input's end and a signal to the process have to end it.
        """


def program() -> bytes:
    """The text of libexec/data-check. Raises OSError."""
    return (CHECKOUT if CHECKOUT.exists() else PROGRAM).read_bytes()


def start(host: Host, words: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the check on a host; standard input is open. Raises Failure."""
    process = host.popen(["python3", "-I", "-c", BOOTSTRAP, *words], errors)
    text = program()
    assert process.stdin is not None
    try:
        process.stdin.write(b"%d\n" % len(text) + text)
        process.stdin.flush()
    except OSError:
        pass  # how it ended says why
    return process


def _said(errors: IO[bytes]) -> str:
    """What stands in a file of errors, its last line."""
    errors.seek(0)
    return (errors.read().decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and close its pipes."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                pass


def run(host: Host, words: Sequence[str], limit: float) -> tuple[int, str, str]:
    """Run the check to its end: exit status, output, last line of the errors. Raises Failure (75) at the limit."""
    with tempfile.TemporaryFile() as errors:
        process = start(host, words, errors)
        try:
            out, _ = process.communicate(timeout=limit)
            return process.returncode, out.decode("utf-8", "replace"), _said(errors)
        except subprocess.TimeoutExpired:
            raise Failure(
                EX_TEMPFAIL, f"{host.name}: the data check's '{words[0]}' has no end after {limit:.0f} s"
            ) from None
        finally:
            _end(process)


class Players:
    """The check's server on several hosts at the same time."""

    def __init__(self, hosts: Sequence[Host], directory: str, mount: str) -> None:
        self._hosts = hosts
        self._errors = [tempfile.TemporaryFile() for _ in hosts]  # noqa: SIM115 (as long as the players)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._rests = [b"" for _ in hosts]
        self._words = ["--mount", mount] if mount else []
        self._directory = directory

    def __enter__(self) -> Players:
        """Start them. Raises Failure."""
        try:
            for host, errors in zip(self._hosts, self._errors):
                self._processes.append(start(host, ["serve", self._directory, host.name, *self._words], errors))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End them all."""
        for process in self._processes:
            _end(process)
        for errors in self._errors:
            errors.close()

    def ask(self, index: int, **request: object) -> object:
        """One request to one host. Raises Failure."""
        self._send(index, request)
        return self._receive(index, request)

    def all(self, **request: object) -> list[object]:
        """The same request to all of them at once. Raises Failure."""
        for index in range(len(self._hosts)):
            self._send(index, request)
        return [self._receive(index, request) for index in range(len(self._hosts))]

    def _send(self, index: int, request: Mapping[str, object]) -> None:
        pipe = self._processes[index].stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(request).encode() + b"\n")
            pipe.flush()
        except OSError:
            raise self._gone(index) from None

    def _receive(self, index: int, request: Mapping[str, object]) -> object:
        pipe = self._processes[index].stdout
        assert pipe is not None
        limit = time.monotonic() + ANSWER_LIMIT
        while b"\n" not in self._rests[index]:
            if not select.select([pipe], [], [], max(0.0, limit - time.monotonic()))[0]:
                name = self._hosts[index].name
                raise Failure(EX_TEMPFAIL, f"{name} has not answered '{request['do']}' in {ANSWER_LIMIT:.0f} s")
            data = os.read(pipe.fileno(), 65536)
            if not data:
                raise self._gone(index)
            self._rests[index] += data
        line, _, self._rests[index] = self._rests[index].partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise Failure(EX_UNAVAILABLE, f"{self._hosts[index].name}, '{request['do']}': {answer['error']}")
        found: object = answer["answer"]
        return found

    def _gone(self, index: int) -> Failure:
        return Failure(
            EX_UNAVAILABLE, f"{self._hosts[index].name}: the data check has ended: {_said(self._errors[index])}"
        )


def _strings(answer: object) -> list[str]:
    return [str(each) for each in answer] if isinstance(answer, list) else []


def races(hosts: Sequence[Host], directory: str, mount: str = "", names: int = 30, rounds: int = 30) -> RaceFindings:
    """All races of two hosts: `names` for each kind, `rounds` for reads in turns, a third of it for locks.

    Raises Failure when a host does not play.
    """
    with Players(hosts, directory, mount) as players:
        about = [each if isinstance(each, dict) else {} for each in players.all(do="hello")]
        players.ask(0, do="sweep")  # what races that were cut short have left; "put" takes no value a second time
        found = [_race(players, hosts, kind, names) for kind in ("create", "mkdir", "link", "rename", "unlink")]
        found.append(datacheck.judge_locks(_lock_trials(players, hosts, max(2, rounds // 3)), about[0]))
        found.append(datacheck.judge_reads(_reads(players, hosts, rounds)))
        players.ask(0, do="sweep")
        return datacheck.together(found)


def _race(players: Players, hosts: Sequence[Host], race: str, count: int) -> RaceFindings:
    names = [f"{race}-{secrets.token_hex(4)}-{number}" for number in range(count)]
    if race in ("rename", "unlink"):
        players.ask(0, do="make", names=names)
    outcomes = {host.name: _strings(said) for host, said in zip(hosts, players.all(do=race, names=names))}
    # Where to look, for each name: rename has a target of each node as well.
    places = [[name, *(f"{name}.{host.name}" for host in hosts)] if race == "rename" else [name] for name in names]
    flat = [place for each in places for place in each]
    width = len(places[0])
    stands = {}
    for host, said in zip(hosts, players.all(do="look", names=flat)):
        seen = _strings(said)
        stands[host.name] = [seen[at : at + width] for at in range(0, len(seen), width)]
    return datacheck.judge_race(race, names, outcomes, stands)


def _lock_trials(players: Players, hosts: Sequence[Host], rounds: int) -> list[LockTrial]:
    trials = []
    for number in range(rounds):
        here, there = number % 2, 1 - number % 2
        for how in ("posix", "flock"):
            name = f"lock-{how}"
            same: dict[str, object] = {"how": how, "name": name, "start": 100, "length": 10}
            other: dict[str, object] = {"how": how, "name": name, "start": 200, "length": 10}
            holder = str(players.ask(here, do="lock", wait=True, **same))
            local = str(players.ask(here, do="local", **same))
            overlap = str(players.ask(there, do="lock", **same))
            beside = str(players.ask(there, do="lock", wait=True, **other)) if how == "posix" else ""
            players.ask(here, do="unlock", **same)
            after = str(players.ask(there, do="lock", wait=True, **same))
            players.ask(there, do="unlock", **same)
            players.ask(there, do="unlock", **other)
            trials.append(LockTrial(how, hosts[here].name, hosts[there].name, holder, local, overlap, beside, after))
    return trials


def _reads(players: Players, hosts: Sequence[Host], rounds: int) -> list[Seen]:
    seen = []
    for value in range(1, rounds + 1):
        writer, reader = value % 2, 1 - value % 2
        players.ask(writer, do="put", value=value)
        views = players.ask(reader, do="get")
        found = {str(way): int(number) for way, number in views.items()} if isinstance(views, dict) else {}
        seen.append(Seen(hosts[writer].name, hosts[reader].name, value, found))
    return seen


class _Running:
    """A writer that was started: its process, and the thread that notes what it acknowledges."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], session: str) -> None:
        self.process = process
        self.errors = errors
        self.session = session
        self.heard = 0
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def more(self) -> None:
        """An acknowledgement was noted, or there will be no more."""
        with self.changed:
            self.heard += 1
            self.changed.notify_all()


class Writers:
    """Writers on hosts, and the notes of what they have acknowledged: a file for each host in a folder.

    A run that was interrupted goes on with the notes that it had. Writers end with the controller.
    """

    def __init__(
        self,
        directory: str,
        notes: Path,
        mount: str = "",
        period: float = 0.2,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`directory`: on the hosts, on the file system mounted at `mount`. `clock`: that of the windows of `findings`;
        it has to go on over an interruption where one is to be resumed."""
        self.directory = directory
        self.mount = mount
        self.period = period
        self._notes = notes
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._run = secrets.token_hex(3)
        self._unnoted = ""  # why an acknowledgement could not be noted
        notes.mkdir(parents=True, exist_ok=True)

    def _options(self) -> list[str]:
        return ["--mount", self.mount] if self.mount else []

    def _file(self, name: str) -> Path:
        return self._notes / f"acknowledged.{name}"

    def _note(self, name: str, line: str) -> None:
        """Append one whole line, below half of one that an interruption has left."""
        with self._file(name).open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(line.encode())

    def notes(self) -> Notes:
        """All that was acknowledged so far. Raises Failure (73) once anything of it could not be noted."""
        if self._unnoted:
            raise Failure(
                EX_CANTCREAT,
                f"what was acknowledged could not be noted in {self._notes}: {self._unnoted}",
                "make room on this machine, and begin anew",
            )
        files = sorted(self._notes.glob("acknowledged.*"))
        return datacheck.joined(datacheck.read_notes(file.read_text("utf-8", "replace")) for file in files)

    def start(self, host: Host, limit: float = 60.0) -> str:
        """Begin to write; comes back with the session's name when a record is acknowledged.

        Raises Failure with what the writer said, (73) when that cannot be noted, or (75) when nothing is acknowledged
        in `limit` seconds.
        """
        if self.running(host):
            raise Failure(EX_UNAVAILABLE, f"{host.name}: its writer runs already")
        self.stop(host)
        file = self._file(host.name)
        before = datacheck.read_notes(file.read_text("utf-8", "replace")) if file.exists() else Notes((), ())
        count = len(before.sessions) + 1
        session, first = f"{self._run}-{count}", count * STEP
        self._note(host.name, f"{self._clock():.6f} start {host.name} {session} {first}\n")
        words = ["write", self.directory, host.name, session, str(first), "--period", str(self.period), "--input"]
        errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the writer)
        try:
            process = start(host, [*words, *self._options()], errors)
        except BaseException:
            errors.close()
            raise
        running = self._running[host.name] = _Running(process, errors, session)
        running.thread = threading.Thread(target=self._listen, args=(host.name, running), daemon=True)
        running.thread.start()
        with running.changed:
            heard = running.changed.wait_for(lambda: running.heard or process.poll() is not None, limit)
        if process.poll() is not None:
            said = _said(errors)
            self.stop(host)
            raise Failure(EX_UNAVAILABLE, f"{host.name}: the writer has ended: {said}")
        if self._unnoted:
            self.stop(host)
            self.notes()
        if not heard:
            self.stop(host, 1.0)
            raise Failure(EX_TEMPFAIL, f"{host.name}: nothing was written in {limit:.0f} s")
        return session

    def _listen(self, name: str, running: _Running) -> None:
        assert running.process.stdout is not None
        try:
            for line in running.process.stdout:
                text = line.decode("utf-8", "replace")
                if datacheck.parse_ack(text) is None:
                    continue
                try:
                    self._note(name, f"{self._clock():.6f} {text}")
                except OSError as error:  # the disk here is full
                    self._unnoted = str(error)
                running.more()
        except (OSError, ValueError):
            pass  # it was closed
        running.process.wait()
        running.more()

    def running(self, host: Host) -> bool:
        """Whether a host's writer is there, as far as this end knows; it may stand still."""
        running = self._running.get(host.name)
        return running is not None and running.process.poll() is None

    def last_words(self, host: Host) -> tuple[int, str] | None:
        """Exit status and last words of a host's writer that has ended without `stop`; None where there is none.  255
        is ssh's, below 0 a signal here: both say nothing of the host's file system."""
        running = self._running.get(host.name)
        code = None if running is None else running.process.poll()
        return None if running is None or code is None else (code, _said(running.errors))

    def await_record(self, host: Host, limit: float) -> bool:
        """Wait until something more is acknowledged; False when nothing was, or the writer has ended."""
        running = self._running.get(host.name)
        if running is None:
            return False
        with running.changed:
            heard = running.heard
            running.changed.wait_for(lambda: running.heard > heard, limit)
            return running.heard > heard and running.process.poll() is None

    def stop(self, host: Host, limit: float = STOP_LIMIT) -> bool:
        """End a host's writer and note the last of what it says; False when it had to be left behind.

        A writer whose write stands still cannot end: it does so at once when that goes on.
        """
        running = self._running.pop(host.name, None)
        if running is None:
            return True
        assert running.process.stdin is not None
        try:
            running.process.stdin.close()
        except OSError:
            pass
        try:
            running.process.wait(limit)
            ended = True
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()
            ended = False
        if running.thread is not None:
            running.thread.join(limit)
        if running.process.stdout is not None and not (running.thread and running.thread.is_alive()):
            running.process.stdout.close()
        running.errors.close()
        return ended

    def close(self) -> None:
        """End all writers."""
        for running in self._running.values():
            try:
                if running.process.stdin is not None:
                    running.process.stdin.close()
            except OSError:
                pass
        for name in list(self._running):
            self.stop(_Name(name), 5.0)

    @contextmanager
    def ended(self) -> Iterator[Writers]:
        """For `with`: all writers end at its end."""
        try:
            yield self
        finally:
            self.close()

    def verify(self, host: Host, limit: float = VERIFY_LIMIT) -> Report:
        """What stands on a host; incomplete where it could not be read to the end. Raises Failure (75) at the limit."""
        status, out, said = run(host, ["verify", self.directory, *self._options()], limit)
        report = datacheck.parse_report(host.name, out)
        if status or not report.complete:
            return replace(report, complete=False, why=f"{said} (exit status {status})")
        return report

    def findings(self, up: Sequence[Host], apart: Sequence[tuple[float, float]] = (), quiet: bool = False) -> Findings:
        """Verify all hosts that are up, against all that was acknowledged before."""
        notes = self.notes()
        return datacheck.judge(notes, [self.verify(host) for host in up], apart, quiet)

    def races(self, hosts: Sequence[Host], names: int = 30, rounds: int = 30) -> RaceFindings:
        """All races of two hosts. Raises Failure when a host does not play."""
        return races(hosts, self.directory, self.mount, names, rounds)

    def clean(self, host: Host) -> None:
        """Remove all records (of both nodes: it is one file system). Raises Failure with what stays."""
        status, _, said = run(host, ["clean", self.directory, *self._options()], ANSWER_LIMIT)
        if status:
            raise Failure(EX_UNAVAILABLE, f"{host.name}: {said}")


class _Name:
    """A host of which only the name is needed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def popen(self, argv: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        """Nothing is started here."""
        raise Failure(EX_UNAVAILABLE, f"{self.name}: {argv[0]}")
