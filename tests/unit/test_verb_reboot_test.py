"""``drbdocfs reboot-test`` on two nodes that are played (see test_rebooting), without ssh and without time."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drbdocfs_boot import datacheck, rebootfacts, reboottest
from drbdocfs_boot.cli import main
from drbdocfs_boot.tools import ask, nodes, system
from drbdocfs_boot.tools import results as folders
from drbdocfs_boot.tools.datacheck import Writers as RealWriters
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Result
from drbdocfs_boot.verbs import reboot_test
from tests.unit import test_datacheck, test_rebootfacts, test_rebooting
from tests.unit.test_rebooting import Done, World


class Clock:
    """In the place of the module time."""

    def __init__(self, world: World) -> None:
        self.monotonic = lambda: world.now
        self.time = lambda: 1000.0 + world.now
        self.sleep = world.sleep

    def strftime(self, form: str) -> str:
        return "20261124-120000"


class Writers:
    """Writers that run on all nodes, and stand still or end on some as soon as they are looked at."""

    def __init__(self, stands: str = "", ends: str = "", full: bool = False) -> None:
        self.stands, self.ends, self.full = stands, ends, full
        self.up = {"a", "b"}
        self.can_start = False
        self.last: dict[str, tuple[int, str]] = {}  # of those that have ended
        self.acks = [datacheck.Ack("a", "s", 1, 0.0, 0.0, 0.0)]

    def running(self, host: Any) -> bool:
        return host.name in self.up

    def start(self, host: Any, limit: float) -> str:
        self.last.pop(host.name, None)
        if not self.can_start:
            raise Failure(69, f"{host.name}: the writer has ended: no")
        self.up.add(host.name)
        return "s"

    def stop(self, host: Any, limit: float = 0.0) -> bool:
        self.up.discard(host.name)
        self.last.pop(host.name, None)
        return True

    def last_words(self, host: Any) -> tuple[int, str] | None:
        return self.last.get(host.name)

    def end(self, name: str, code: int, said: str = "") -> None:
        self.up.discard(name)
        self.last[name] = code, said

    def await_record(self, host: Any, limit: float) -> bool:
        if host.name == self.ends:
            self.end(host.name, 255, "Connection reset")
        return host.name not in (self.stands, self.ends)

    def notes(self) -> datacheck.Notes:
        if self.full:
            raise Failure(73, "what was acknowledged could not be noted: No space left")
        return datacheck.Notes((), tuple(self.acks))

    def findings(self, hosts: Any) -> datacheck.Findings:
        return datacheck.judge(datacheck.Notes((), ()), [])

    def races(self, *_: object) -> datacheck.RaceFindings:
        return datacheck.together([])


def records_of(writers: Writers, tmp_path: Path) -> reboot_test.Records:
    records = reboot_test.Records({name: nodes.Node(name) for name in "ab"}, "/mnt", tmp_path)
    records._writers = writers  # type: ignore[assignment]
    return records


def verified(writers: Writers, tmp_path: Path) -> tuple[list[tuple[str, str]], int]:
    return looked(records_of(writers, tmp_path))


def looked(records: reboot_test.Records) -> tuple[list[tuple[str, str]], int]:
    found, count = records.verify(["a", "b"])
    assert {finding.kind for finding in found} <= {reboottest.DATA}
    return [(finding.node, finding.text) for finding in found], count


def shared(peer: str) -> dict[str, Any]:
    """What `status` says of a stack that is shared with a peer."""
    drbd = {**test_rebootfacts.stack()["drbd"], "peers": [{**test_rebootfacts.PEER, "name": peer}]}
    return {"resource": "r0", "cluster": "web", "drbd": drbd, "o2cb": {"online": True, "nodes": [{"name": peer}]}}


DOWN: dict[str, Any] = {"state": "failed", "drbd": {"disks": [], "peers": []}, "o2cb": None}


class Pair:
    """The two nodes a and b, whom ssh knows as first and second, and what the verb sees of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World()
        self.world.sleep = self.sleep  # type: ignore[method-assign]
        self.own_boot = "of-this-machine"
        self.version = {"a": "0.1.0", "b": "0.1.0"}
        self.user = "0"
        self.calls_itself: dict[str, str] = {}
        self.unreachable = ""
        self.state = "up"
        self.errors: list[dict[str, str]] = []
        self.status = self.check = ""  # JSON, in the place of what they say
        self.changes: dict[str, dict[str, Any]] = {"a": {}, "b": {}}  # in what `status` says of the stack
        self.interrupt_at = float("inf")
        self.signals = [signal.SIGINT]
        self.closing: list[signal.Signals] = []  # come while the records are removed
        self.left: list[str] = []
        self.cleaned = 0
        self.claims: dict[str, str] = {}  # node -> token and words, as they stand in the file
        self.each: Callable[[], object] = lambda: None  # at each wait
        self.late_claim = False  # another run takes b after the first look
        self.lost: list[reboottest.Finding] = []  # of what the part before has left
        self.hosts: list[str] = []
        pair = self

        class Node:
            def __init__(self, where: str, config: str = "") -> None:
                self.where = where
                self.played = pair.world.nodes[{"first": "a", "second": "b"}[where]]
                self.name = where

            def run(self, command: str, limit: float = 60.0) -> Result:
                if pair.unreachable == self.where:
                    raise Failure(69, f"{self.where} is not reachable by ssh: no", "try")
                name = self.played.name
                said = pair.calls_itself.get(name, name)
                mark = rebootfacts.MARK + "claim\n"
                claim = mark + pair.claims[name] if name in pair.claims else ""
                if command.startswith("uname -n;"):
                    return Result(0, f"{said}\n{claim}", "")
                words = [pair.boot(name), said, pair.user, "6.1", f"drbdocfs {pair.version[name]}", "8.4.11"]
                return Result(0, "\n".join(words) + f"\n{claim}", "")

            def call(self, command: str, limit: float) -> Done:
                if rebootfacts.CLAIM in command and "boot_id" not in command:
                    return Done(pair.claim(self.played.name, command))
                if command.startswith("drbdocfs status"):
                    name = self.played.name
                    changes = {**shared("b" if name == "a" else "a"), **pair.changes.get(name, {})}
                    own = test_rebootfacts.stack(**{"state": pair.state, **changes})
                    return Done(Result(0, pair.status or json.dumps({"stacks": [own]}), ""))
                if command.startswith("drbdocfs check"):
                    return Done(Result(0, pair.check or json.dumps({"findings": pair.errors}), ""))
                return self.played.call(command, limit)

        class Records(reboot_test.NoData):
            def __init__(self, hosts: dict[str, object], *_: object) -> None:
                pair.hosts = list(hosts)

            def look(self) -> tuple[list[reboottest.Finding], int]:
                return pair.lost, 7

            def close(self) -> list[str]:
                coming, pair.closing = pair.closing, []
                for number in coming:
                    signal.raise_signal(number)
                pair.cleaned += 1
                return pair.left

        monkeypatch.setattr(nodes, "Node", Node)
        monkeypatch.setattr(reboot_test, "Records", Records)
        monkeypatch.setattr(reboot_test, "time", Clock(self.world))
        monkeypatch.setattr(system, "read", lambda name: self.own_boot)

    def sleep(self, seconds: float) -> None:
        self.each()
        self.world.now += max(seconds, 1.0)
        if self.world.now >= self.interrupt_at:
            self.interrupt_at = float("inf")
            for number in self.signals:
                signal.raise_signal(number)

    def claim(self, name: str, command: str) -> Result:
        """Take a node, or give it back."""
        if self.unreachable == {"a": "first", "b": "second"}[name]:
            return Result(255, "", "no route")
        if self.late_claim and name == "b":
            self.claims["b"] = f"{'f' * 16}\nroot on third, since noon\n"
        token = re.findall("[0-9a-f]{16}", command)[0]
        if "mkdir" in command:
            words = shlex.split(command.split(token, 1)[1])[0]
            self.claims.setdefault(name, f"{token}\n{words}\n")
            theirs = not self.claims[name].startswith(token)
            return Result(0, f"theirs {self.claims[name].splitlines()[1]}\n" if theirs else "ours\n", "")
        if self.claims.get(name, "").startswith(token):
            del self.claims[name]
        return Result(0, "", "")

    def boot(self, name: str) -> str:
        return f"{name}-1"


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pair:
    monkeypatch.chdir(tmp_path)
    return Pair(monkeypatch)


def call(*words: str) -> int:
    return main(["reboot-test", "--nodes", "first,second", "--shutdown-limit", "20", "--boot-limit", "60", *words])


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    assert "<testsuite" in (folder / "junit.xml").read_text()
    assert "</html>" in (folder / "report.html").read_text()
    return found


def once(pair: Pair) -> None:
    """Each node is to go down once only: the played ones know no second time."""
    pair.world.nodes["a"].ordered = pair.world.nodes["b"].ordered = None


def test_a_good_run_has_its_three_files_and_the_nodes_own_names(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--cycles", "2", "--yes", "--to", "out") == 0
    found = results(Path("out"))
    assert (found["ended"], found["good"], found["nodes"]) == ("done", True, ["a", "b"])
    assert [[boot["node"] for boot in cycle["boots"]] for cycle in found["cycles"]] == [["a"], ["b"]]
    assert found["versions"]["a"] == {"drbdocfs-boot": "0.1.0", "kernel": "6.1", "drbd": "8.4.11"}
    said = capsys.readouterr().out
    assert "cycle 2 of 2, about 1 min left" in said
    assert pair.cleaned == 1


@pytest.mark.parametrize(
    ("words", "cycles", "ended"), [((), 1, reboottest.STOPPED), (("--continue",), 2, reboottest.DONE)]
)
def test_it_stops_at_the_first_finding_unless_it_is_to_go_on(
    pair: Pair, words: tuple[str, ...], cycles: int, ended: str
) -> None:
    pair.world.nodes["a"].facts = test_rebooting.facts("ill.service")
    assert call("--cycles", "2", "--yes", "--to", "out", *words) == 1
    found = results(Path("out"))
    assert (len(found["cycles"]), found["ended"]) == (cycles, ended)
    assert found["cycles"][0]["findings"][0]["kind"] == reboottest.FAILED_UNIT


def test_an_interrupted_run_is_resumed_at_the_next_cycle(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.interrupt_at = 70.0  # in the second cycle
    assert call("--cycles", "2", "--yes", "--to", "out") == 130
    found = results(Path("out"))
    assert (len(found["cycles"]), found["ended"]) == (1, reboottest.INTERRUPTED)
    assert "--resume" in capsys.readouterr().err
    assert pair.cleaned == 1
    pair.world.now += 100.0
    pair.world.nodes["b"] = pair.world.nodes["b"]
    once(pair)
    assert main(["reboot-test", "--resume", "out", "--yes"]) == 0
    found = results(Path("out"))
    assert [cycle["number"] for cycle in found["cycles"]] == [1, 2]
    assert [[boot["node"] for boot in cycle["boots"]] for cycle in found["cycles"]] == [["a"], ["b"]]
    assert found["good"]


def test_a_run_whose_stack_does_not_come_up_is_not_resumed(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.interrupt_at = 10.0
    assert call("--cycles", "1", "--yes", "--to", "out") == 130
    pair.world.now += 100.0
    pair.state = "failed"
    began = pair.world.now
    assert main(["reboot-test", "--resume", "out", "--yes"]) == 75
    assert "a: the stack web is failed" in capsys.readouterr().err
    assert 60 <= pair.world.now - began < 100
    assert results(Path("out"))["cycles"] == []


def test_what_is_left_on_the_nodes_is_said_with_the_command_that_removes_it(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.left = ["records in /mnt/storage/x: a is down"]
    assert call("--cycles", "1", "--yes", "--to", "out") == 0
    said = capsys.readouterr().err
    assert "left on the nodes: records in /mnt/storage/x" in said
    assert "--clean-up" in said
    assert main(["reboot-test", "--clean-up", "out"]) == 1
    pair.left = []
    assert main(["reboot-test", "--clean-up", "out"]) == 0


def test_an_unhealthy_cluster_is_refused_by_name_and_passed_over_when_told(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.errors = [{"severity": "error", "code": "no-fencing", "where": "r0", "message": "nobody decides"}]
    pair.errors += [{"severity": "warning", "code": "small", "where": "r0", "message": "not of interest"}]
    assert call("--yes") == 1
    said = capsys.readouterr().err
    assert "a: check: no-fencing r0: nobody decides" in said
    assert "not of interest" not in said
    assert "--unhealthy" in said
    assert call("--yes", "--unhealthy", "--cycles", "1", "--to", "out") == 0
    assert [finding["kind"] for finding in results(Path("out"))["before"]] == [reboottest.CHECK] * 2


def test_a_stack_that_is_not_up_is_refused(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.state = "failed"
    assert call("--yes") == 1
    assert "a: check: the stack web is failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (shared("c"), {}, "a does not know b: DRBD's peer there is c"),
        ({}, shared("c"), "b does not know a: DRBD's peer there is c"),
        ({**DOWN, "o2cb": {"nodes": [{"name": "a"}, {"name": "c"}]}}, {}, "a does not know b: O2CB's other nodes"),
        ({"resource": "r1"}, {}, "its resource is r1 on a and r0 on b"),
        ({}, {"mountpoint": "/srv"}, "its mount point is /mnt/storage on a and /srv on b"),
        ({}, {"cluster": "db"}, "its cluster is web on a and db on b"),
        (DOWN, DOWN, "neither of them says who its peer is"),
    ],
)
@pytest.mark.parametrize("words", [("--yes",), ("--dry-run",)])
def test_two_nodes_that_are_no_pair_are_refused(
    pair: Pair, capsys: pytest.CaptureFixture[str], a: dict[str, Any], b: dict[str, Any], said: str, words: tuple[str]
) -> None:
    pair.changes = {"a": a, "b": b}
    assert call("--unhealthy", *words) == 2
    assert said in capsys.readouterr().err
    assert pair.world.nodes["a"].ordered is None
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    "a",
    [
        DOWN,  # b names it
        {**DOWN, "o2cb": {"nodes": [{"name": "a"}, {"name": "b"}]}},
        {"drbd": {"disks": ["UpToDate"], "peers": [{"name": "to-the-other"}]}},  # a connection's name
        {"drbd": {"disks": ["UpToDate"], "peers": [{"name": "peer"}]}, "o2cb": None},
    ],
)
def test_one_node_that_names_the_other_is_enough_where_nothing_contradicts(pair: Pair, a: dict[str, Any]) -> None:
    pair.changes = {"a": a}
    assert call("--unhealthy", "--dry-run") == 0


def test_without_a_mount_point_nothing_is_written(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.changes = {"a": {"mountpoint": ""}, "b": {"mountpoint": ""}}
    assert call("--unhealthy", "--yes", "--cycles", "1", "--to", "out") == 2
    assert "no node says where web is mounted" in capsys.readouterr().err
    assert not list(Path().iterdir())
    assert call("--unhealthy", "--yes", "--cycles", "1", "--to", "out", "--no-data") == 0


def test_nodes_that_say_nothing_of_the_stack_are_refused(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.status = json.dumps({"stacks": []})
    assert call("web", "--unhealthy", "--yes") == 2
    assert "neither of them says" in capsys.readouterr().err


def test_it_never_runs_on_one_of_the_nodes(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.own_boot = "b-1"
    assert call("--yes") == 2
    assert "is this machine" in capsys.readouterr().err


def test_one_machine_by_two_names_is_refused(
    pair: Pair, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair, "boot", lambda name: "the-same")
    assert call("--yes") == 2
    assert "the same machine" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "$(touch planted)", "a b", "../b", "-b", "b\x1b[2J"])
def test_a_node_that_calls_itself_something_else_than_a_name_is_refused(
    pair: Pair, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    pair.calls_itself["b"] = name
    assert call("--yes", "--to", "out") == 2
    said = capsys.readouterr().err
    assert "second calls itself" in said
    assert "\x1b" not in said
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unreachable": "second"}, "second is not reachable"),
        ({"user": "1000"}, "not root"),
        ({"version": {"a": "0.1.0", "b": "0.2.0"}}, "not the same on both: a 0.1.0, b 0.2.0"),
    ],
)
def test_what_cannot_be_begun_is_refused(
    pair: Pair, capsys: pytest.CaptureFixture[str], change: dict[str, Any], words: str
) -> None:
    for key, value in change.items():
        setattr(pair, key, value)
    assert call("--yes") == 69
    assert words in capsys.readouterr().err


def test_nobody_is_rebooted_without_a_yes(
    pair: Pair, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call() == 2
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr(ask, "possible", lambda: True)
    monkeypatch.setattr(ask, "yes", lambda question: False)
    assert call() == 130
    assert pair.world.nodes["a"].ordered is None
    assert not list(Path().iterdir())


def test_a_dry_run_does_nothing(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        call("--dry-run", "--cycles", "2", "--pattern", "power", "--power-off", "off {node}", "--power-on", "on") == 0
    )
    said = capsys.readouterr().out
    assert "cycle 2: b after 0 s: power" in said
    assert "a: power off: off a" in said
    assert not list(Path().iterdir())
    assert pair.world.switched == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nodes", "first"], "two nodes"),
        (["--nodes", "first,first"], "two nodes"),
        (["--nodes", "first,-oProxyCommand=x"], "two nodes"),
        (["--nodes", "first,second", "--cycles", "0"], "1 to"),
        (["--nodes", "first,second", "--pattern", "power"], "--power-off"),
        (["--resume", "nowhere"], "no run of this test"),
    ],
)
def test_wrong_usage_is_refused(pair: Pair, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["reboot-test", *words]) == 2
    assert said in capsys.readouterr().err


def test_results_of_another_run_are_not_written_over(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--cycles", "1", "--yes", "--to", "out") == 0
    assert call("--cycles", "1", "--yes", "--to", "out") == 2
    assert "--resume" in capsys.readouterr().err


@pytest.fixture
def done(pair: Pair) -> Path:
    """The results of a run."""
    assert call("--cycles", "1", "--yes", "--to", "out") == 0
    once(pair)
    return Path("out")


def test_results_are_for_their_owner_only(done: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [done, *done.iterdir()]}
    files = dict.fromkeys(("lock", "run.json", "options.json", "junit.xml", "report.html"), 0o600)
    assert modes == {"out": 0o700, **files}


@pytest.mark.parametrize("name", ["options.json", "options.json.new", "run.json.new", "report.html.new", "junit.xml"])
def test_a_link_in_the_place_of_a_result_is_not_followed(pair: Pair, name: str) -> None:
    Path("target").write_text("untouched")
    Path("out").mkdir()
    Path("out", name).symlink_to(Path("target").absolute())
    assert call("--cycles", "1", "--yes", "--to", "out") == 0
    assert Path("target").read_text() == "untouched"
    assert not any(path.is_symlink() for path in Path("out").iterdir())


OTHERS = ["--to", "--resume", "--clean-up"]


def with_directory(option: str) -> int:
    if option == "--to":
        return call("--cycles", "1", "--yes", "--to", "out")
    return main(["reboot-test", option, "out"])


@pytest.mark.parametrize("option", OTHERS)
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
def test_a_directory_in_which_others_may_write_is_refused(
    pair: Pair, done: Path, option: str, mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if option == "--to":
        (done / "run.json").unlink()
    done.chmod(mode)
    assert with_directory(option) == 2
    assert "others may write in" in capsys.readouterr().err
    assert pair.cleaned == 1
    assert option != "--to" or not (done / "run.json").exists()


@pytest.mark.parametrize("option", OTHERS)
def test_a_directory_of_another_users_is_refused(
    pair: Pair, done: Path, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if option == "--to":
        (done / "run.json").unlink()
    monkeypatch.setattr(os, "geteuid", lambda: done.stat().st_uid + 1)
    assert with_directory(option) == 2
    assert "belongs to another user" in capsys.readouterr().err
    assert pair.cleaned == 1
    assert option != "--to" or not (done / "run.json").exists()


@pytest.mark.parametrize("option", OTHERS)
def test_one_run_at_a_time_has_a_directory(
    pair: Pair, done: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if option == "--to":
        (done / "run.json").unlink()
    with folders.Folder() as other:
        other.take(folders.real("out"))
        assert with_directory(option) == 75
        assert "another run uses" in capsys.readouterr().err
        assert pair.cleaned == 1
    assert with_directory("--clean-up" if option == "--resume" else option) == 0


OWN_OPTIONS = (
    "web", "--nodes first,second", "--cycles 10", "--pattern alternate", "--stagger 30", "--power-off x",
    "--power-on x", "--power-limit 60", "--boot-limit 600", "--shutdown-limit 180", "--no-data", "--continue",
    "--unhealthy", "--ssh-config x", "--to out", "--dry-run", "--cycles 5 --continue",
)  # fmt: skip


@pytest.mark.parametrize("option", ["--resume", "--clean-up"])
def test_an_option_that_the_run_before_has_is_refused_beside_it_even_where_it_is_the_default(
    pair: Pair, done: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (done / "run.json").read_bytes()
    capsys.readouterr()
    for words in OWN_OPTIONS:
        assert main(["reboot-test", *words.split(), option, "out", "--yes"]) == 2
        said = capsys.readouterr().err
        assert all(word in said for word in words.replace("web", "STACK").split() if word[0] in "-S"), words
        assert option in said
    assert pair.cleaned == 1
    assert (done / "run.json").read_bytes() == before


def test_to_resume_and_to_clean_up_are_not_done_together(pair: Pair, done: Path) -> None:
    assert main(["reboot-test", "--resume", "out", "--clean-up", "out"]) == 2
    assert pair.cleaned == 1


DAMAGED: tuple[Any, ...] = (
    {"cycles": "10"}, {"cycles": True}, {"cycles": 7}, {"nodes": 5}, {"pattern": 7}, {"pattern": "all"},
    {"pattern": "both"}, {"boot_limit": "x"}, {"boot_limit": -1}, {"stagger": float("nan")}, {"data": 1},
    {"token": "x"}, {"token": 5}, {"power_off": None}, {"ssh_config": ["x"]}, {"stack": "other"}, [], 5, None, "words",
)  # fmt: skip


def test_damaged_options_are_refused_in_words(pair: Pair, done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = done / "options.json"
    whole = json.loads(file.read_text())
    lacking: list[Any] = [{own: whole[own] for own in whole if own != key} for key in (*reboot_test.KEPT, "token")]
    changed = [{**whole, **change} if isinstance(change, dict) else change for change in DAMAGED]
    capsys.readouterr()
    for options in [*lacking, *changed]:
        file.write_text(json.dumps(options))
        assert main(["reboot-test", "--resume", "out", "--yes"]) == 2, options
        assert "no run of this test" in capsys.readouterr().err
    file.write_text("{")
    assert main(["reboot-test", "--resume", "out", "--yes"]) == 2
    assert pair.cleaned == 1


def test_results_without_two_nodes_are_refused(pair: Pair, done: Path) -> None:
    file = done / "run.json"
    whole = json.loads(file.read_text())
    for names in (5, [], ["a"], ["a", "$(x)"], [1, 2], "abc"):
        file.write_text(json.dumps({**whole, "nodes": names}))
        assert main(["reboot-test", "--resume", "out", "--yes"]) == 2, names


@pytest.mark.parametrize("now", [{"b": "c"}, {"a": "b", "b": "a"}], ids=["another", "exchanged"])
def test_a_run_goes_on_with_the_machines_that_it_had_only(
    pair: Pair, done: Path, now: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    pair.calls_itself = now
    assert main(["reboot-test", "--resume", "out", "--yes"]) == 2
    assert "and was" in capsys.readouterr().err
    assert pair.cleaned == 1


@pytest.mark.parametrize("said", ["[]", "5", "{}", '{"stacks": 5}', '{"stacks": [5]}', '{"findings": {}}'])
@pytest.mark.parametrize("verb", ["status", "check"])
def test_what_a_node_says_in_a_form_that_is_not_ours_is_a_finding(
    pair: Pair, verb: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    setattr(pair, verb, said)
    assert call("web", "--yes") == 1
    assert f"a: check: 'drbdocfs {verb} web --json'" in capsys.readouterr().err


@pytest.mark.parametrize("stacks", [[{}], [{"name": 5}], [{"name": "web"}]])
def test_a_stack_of_which_a_node_says_little_is_not_healthy(pair: Pair, stacks: list[dict[str, Any]]) -> None:
    pair.status = json.dumps({"stacks": stacks})
    assert call("web", "--yes") == 1
    pair.check = json.dumps({"findings": [{"severity": "error"}]})
    assert call("--yes") in (1, 2)


def test_a_directory_without_a_run_is_left_as_it_is(pair: Pair) -> None:
    Path("out").mkdir()
    assert main(["reboot-test", "--resume", "out"]) == 2
    assert not list(Path("out").iterdir())


def test_nodes_that_write_have_no_finding(tmp_path: Path) -> None:
    assert verified(Writers(), tmp_path) == ([], 1)


def test_a_writer_that_stands_still_is_found(tmp_path: Path) -> None:
    found = [("b", "writing stands still: nothing was acknowledged in 120 s")]
    assert verified(Writers(stands="b"), tmp_path) == (found, 1)


def test_a_writer_that_ends_is_found_once(tmp_path: Path) -> None:
    writers = Writers(ends="a")
    text = "its writer has ended by itself: Connection reset (exit status 255)"
    assert verified(writers, tmp_path) == ([("a", text)], 1)
    writers.ends, writers.can_start = "", True
    assert verified(writers, tmp_path) == ([], 1)
    writers = Writers()
    writers.up = {"b"}  # and a cannot begin again
    assert verified(writers, tmp_path) == ([("a", "nothing can be written: a: the writer has ended: no")], 1)


@pytest.mark.parametrize("code", [1, 65, 69, 74])
def test_a_survivor_whose_file_system_went_away_and_came_back_is_found_once(tmp_path: Path, code: int) -> None:
    writers = Writers()
    writers.can_start = True
    writers.end("b", code, "nothing is mounted at /mnt")
    records = records_of(writers, tmp_path)
    text = f"its writer has ended by itself: nothing is mounted at /mnt (exit status {code})"
    assert looked(records) == ([("b", text)], 1)
    assert looked(records) == ([], 1)


@pytest.mark.parametrize("code", [0, 255, -9])
def test_a_login_that_was_lost_is_no_matter_of_the_data(tmp_path: Path, code: int) -> None:
    writers = Writers()
    writers.can_start = True
    writers.end("b", code)
    assert verified(writers, tmp_path) == ([], 1)


def test_a_writer_of_a_node_that_went_down_ends_as_it_may(tmp_path: Path) -> None:
    writers = Writers()
    writers.can_start = True
    records = records_of(writers, tmp_path)
    writers.end("b", 69)
    records.stop("b")
    assert records.start("b") == []
    assert looked(records) == ([], 1)


def acks(node: str, *times: float) -> list[datacheck.Ack]:
    return [datacheck.Ack(node, "s", int(at), at, at, at) for at in times]


def test_a_survivor_that_stood_still_for_too_long_is_found_in_that_cycle(tmp_path: Path) -> None:
    writers = Writers()
    records = records_of(writers, tmp_path)
    writers.acks = acks("a", 1.0, 62.0)  # until O2CB has given the peer up
    assert looked(records)[0] == []
    writers.acks += acks("a", 200.0)
    text = "writing stood still: nothing was acknowledged for 138 s, although it was up"
    assert looked(records)[0] == [("a", text)]
    assert looked(records)[0] == []
    writers.acks += acks("a", 400.0)
    records.stop("a")
    writers.up.add("a")
    assert looked(records)[0] == []
    writers.acks += acks("a", 401.0)
    assert looked(records)[0] == []


def test_a_stand_still_that_goes_on_is_not_found_again_for_what_it_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = Writers(stands="a")
    records = records_of(writers, tmp_path)
    world = World()
    monkeypatch.setattr(reboot_test, "time", Clock(world))
    writers.acks = acks("a", 1000.0)
    world.now = 150.0
    assert looked(records)[0] == [("a", "writing stands still: nothing was acknowledged in 120 s")]
    writers.stands = ""
    writers.acks += acks("a", 1200.0)
    assert looked(records)[0] == []
    writers.stands = "a"
    world.now = 500.0
    assert len(looked(records)[0]) == 1
    writers.stands = ""
    writers.acks += acks("a", 1700.0)
    assert "for 200 s" in looked(records)[0][0][1]


def test_acknowledgements_that_were_lost_here_are_found(tmp_path: Path) -> None:
    ((node, text),), count = verified(Writers(full=True), tmp_path)
    assert (node, count) == ("", 0)
    assert "No space left" in text


def test_json_stands_alone_on_standard_output(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--cycles", "1", "--yes", "--json", "--to", "out") == 0
    assert json.loads(capsys.readouterr().out)["good"] is True


# How it ends


class Lost(io.StringIO):
    """A terminal that is lost, or a reader that has gone, after some words."""

    def __init__(self, words: str, error: type[OSError]) -> None:
        super().__init__()
        self.words = words
        self.error = error
        self.gone = False

    def write(self, text: str) -> int:
        self.gone = self.gone or self.words in text
        if self.gone:
            raise self.error(5, "it is gone")
        return super().write(text)


POWER = ("--pattern", "power", "--power-off", "off {node}", "--power-on", "on {node}", "--yes", "--to", "out")


@pytest.fixture
def switch(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """The nodes' power can be switched."""

    def power(command: str, node: str, limit: float) -> Done:
        return pair.world.power(command.split()[0], node)

    monkeypatch.setattr(nodes, "power", power)
    return pair


@pytest.mark.parametrize("error", [OSError, BrokenPipeError])
@pytest.mark.parametrize("both", [False, True])
def test_a_lost_terminal_leaves_no_node_without_power_and_whole_results(
    switch: Pair, monkeypatch: pytest.MonkeyPatch, error: type[OSError], both: bool
) -> None:
    out, err = Lost("power is switched off", error), Lost("" if both else "never", error)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    switch.interrupt_at = 2.0
    assert call("--cycles", "2", *POWER) == 130
    assert switch.world.switched[:2] == ["off a", "on a"]
    assert out.gone
    assert switch.cleaned == 1
    assert results(Path("out"))["ended"] == reboottest.INTERRUPTED


def test_a_run_goes_on_without_its_terminal(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Lost("cycle 1", BrokenPipeError))
    assert call("--cycles", "2", "--yes", "--to", "out") == 0
    assert results(Path("out"))["ended"] == reboottest.DONE


def test_an_interrupted_run_whose_reader_has_gone_is_not_a_success(
    switch: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out, os.fdopen(os.dup(writer), "w", buffering=1) as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        switch.interrupt_at = 2.0
        assert call("--cycles", "2", *POWER) == 130
    assert switch.world.switched[:2] == ["off a", "on a"]
    assert results(Path("out"))["ended"] == reboottest.INTERRUPTED


def test_a_moving_line_on_a_lost_terminal_ends_no_run(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Lost("waits for", OSError)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert call("--cycles", "1", "--yes", "--to", "out") == 0
    assert terminal.gone
    assert results(Path("out"))["ended"] == reboottest.DONE


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The statuses with which it would have ended at once."""
    found: list[int] = []
    monkeypatch.setattr(os, "_exit", found.append)
    return found


def test_a_terminal_that_closes_after_sigterm_ends_nothing_at_once(switch: Pair, ended: list[int]) -> None:
    switch.interrupt_at = 2.0
    switch.signals = [signal.SIGTERM]
    switch.closing = [signal.SIGHUP, signal.SIGTERM]
    assert call("--cycles", "2", *POWER) == 130
    assert ended == []
    assert switch.world.switched[:2] == ["off a", "on a"]
    assert results(Path("out"))["ended"] == reboottest.INTERRUPTED


def test_a_second_ctrl_c_ends_at_once_and_says_how_to_give_each_node_its_power(
    switch: Pair, ended: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    switch.interrupt_at = 2.0
    switch.closing = [signal.SIGINT]
    call("--cycles", "2", *POWER)
    assert ended == [130]
    said = capfd.readouterr().err
    assert "power on for a: on a\n" in said
    assert "power on for b: on b\n" in said
    assert "--clean-up" in said


def test_a_second_ctrl_c_ends_at_once_on_a_dead_terminal_too(
    pair: Pair, ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(number: int, text: bytes) -> int:
        raise OSError(5, "Input/output error")

    pair.interrupt_at = 2.0
    pair.closing = [signal.SIGINT]
    monkeypatch.setattr(os, "write", gone)
    call("--cycles", "2", "--yes", "--to", "out")
    assert ended == [130]


def test_a_first_ctrl_c_in_the_last_cleaning_takes_nothing_from_the_run(
    pair: Pair, ended: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    pair.closing = [signal.SIGINT]
    assert call("--cycles", "1", "--yes", "--to", "out") == 0
    assert ended == []
    assert results(Path("out"))["ended"] == reboottest.DONE
    said = capfd.readouterr()
    assert "once more ends at once" in said.err
    assert "nothing was rebooted" not in said.err
    assert "passed: 1 of 1" in said.out
    pair.closing = [signal.SIGINT, signal.SIGINT]
    assert call("--cycles", "1", "--yes", "--to", "another") == 0
    assert ended == [130]


def test_a_ctrl_c_before_a_resumed_run_goes_on_leaves_it_to_be_resumed(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.interrupt_at = 70.0
    assert call("--cycles", "2", "--yes", "--to", "out") == 130
    capsys.readouterr()
    pair.world.now += 100.0
    pair.closing = [signal.SIGINT]  # while the records of the run before are removed
    assert main(["reboot-test", "--resume", "out", "--yes"]) == 130
    said = capsys.readouterr().err
    assert "--resume" in said
    assert "nothing was rebooted" not in said


def test_a_cleaning_that_fails_does_not_hinder_the_results(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def close(_self: object) -> list[str]:
        raise RuntimeError("no thread")

    monkeypatch.setattr(reboot_test.Records, "close", close)
    assert call("--cycles", "1", "--yes", "--to", "out") == 0
    assert results(Path("out"))["ended"] == reboottest.DONE
    assert "no thread" in capsys.readouterr().err


def test_a_node_that_does_not_answer_at_the_end_is_named_with_its_command(
    switch: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    switch.world.nodes["a"].answers = 1e9
    assert call("--cycles", "2", *POWER) == 1
    assert switch.world.switched == ["off a", "on a", "on a", "on a"]
    said = capsys.readouterr().err
    assert "a: it does not answer yet, and may be without power" in said
    assert "on a\n" in said


def test_what_nodes_say_reaches_the_terminal_clean(
    pair: Pair, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.errors = [{"severity": "error", "code": "x", "where": "r0", "message": "bad \x1b]0;title\x07 \u202e"}]
    assert call("--yes") == 1
    pair.errors = []
    pair.world.nodes["a"].facts = test_rebooting.facts("ill\x1b]0;title\x07.service")
    assert call("--cycles", "1", "--yes", "--to", "out") == 1
    pair.state = "failed\x1b]0;title\x07"
    assert main(["reboot-test", "--resume", "out", "--yes"]) == 75
    said = capsys.readouterr()
    text = said.out + said.err
    assert "bad ?]0;title? ?" in text
    assert "ill?]0;title?.service" in text
    assert "failed?]0;title?" in text
    assert not any(bad in text for bad in "\x1b\x07\u202e")


def test_each_finding_is_told_once_while_it_runs(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.world.nodes["a"].rises = 1e9
    assert call("--cycles", "1", "--yes", "--to", "out") == 1
    said = capsys.readouterr().out
    assert said.count(f" s  a: {reboottest.TIME_LIMIT}: ") == 1


def test_a_reset_between_two_cycles_is_found(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(_self: object, names: object) -> tuple[list[reboottest.Finding], int]:
        pair.world.nodes["a"].boot += 1  # after the last look at it
        return [], 7

    monkeypatch.setattr(reboot_test.Records, "verify", verify)
    assert call("--cycles", "2", "--yes", "--to", "out") == 1
    first, second = results(Path("out"))["cycles"]
    assert first["good"]
    assert "after the cycle before" in second["findings"][0]["text"]


def test_a_run_ends_where_ssh_leads_to_one_machine_for_both_also_with_continue(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    node = pair.world.nodes["a"]
    node.leads = lambda: "b" if node.ordered is not None else "a"
    assert call("--cycles", "3", "--continue", "--yes", "--to", "out") == 1
    found = results(Path("out"))
    assert (found["ended"], len(found["cycles"])) == (reboottest.STOPPED, 1)
    assert "the same machine" in capsys.readouterr().out


# One run at a time on a pair

CLAIMED_BY_ANOTHER = f"{'f' * 16}\nroot on third, since noon\n"


@pytest.mark.parametrize("words", [("--yes",), ("--yes", "--no-data"), ("--dry-run",)])
def test_a_node_that_another_run_has_is_refused_with_its_words(
    pair: Pair, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    pair.claims["b"] = CLAIMED_BY_ANOTHER
    assert call(*words, "--to", "out") == 75
    said = capsys.readouterr().err
    assert "second: another run of this test has it: root on third, since noon" in said
    assert "rm -r /run/drbdocfs-reboot-test" in said
    assert pair.claims == {"b": CLAIMED_BY_ANOTHER}
    assert not list(Path().iterdir())


@pytest.mark.parametrize("data", [(), ("--no-data",)])
def test_both_nodes_are_claimed_while_it_runs_and_free_at_its_end(pair: Pair, data: tuple[str, ...]) -> None:
    seen: list[dict[str, str]] = []
    pair.each = lambda: seen.append(dict(pair.claims))
    assert call("--cycles", "1", "--yes", "--to", "out", *data) == 0
    token = json.loads(Path("out/options.json").read_text())["token"]
    assert seen
    assert {name for claims in seen for name, text in claims.items() if text.startswith(token)} == {"a", "b"}
    assert f"with {Path('out').absolute()}, since 2026" in seen[0]["a"]
    assert pair.claims == {}


def test_one_that_comes_between_gets_the_pair_whole_or_not_at_all(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.late_claim = True
    assert call("--cycles", "1", "--yes", "--to", "out") == 75
    assert "root on third" in capsys.readouterr().err
    assert pair.claims == {"b": CLAIMED_BY_ANOTHER}
    assert pair.world.nodes["a"].ordered is None
    pair.late_claim, pair.claims = False, {}
    assert call("--cycles", "1", "--yes", "--to", "out") == 0


def test_an_interruption_frees_both_and_a_killed_run_knows_its_own_claims(pair: Pair) -> None:
    pair.interrupt_at = 10.0
    assert call("--cycles", "1", "--yes", "--to", "out") == 130
    assert pair.claims == {}
    token = json.loads(Path("out/options.json").read_text())["token"]
    pair.world.now += 100.0
    once(pair)
    pair.claims = dict.fromkeys("ab", f"{token}\nwords\n")
    assert main(["reboot-test", "--resume", "out", "--yes"]) == 0
    assert pair.claims == {}
    pair.claims = dict.fromkeys("ab", f"{token}\nwords\n")
    assert main(["reboot-test", "--clean-up", "out"]) == 0
    assert pair.claims == {}


def test_what_another_run_writes_is_not_cleaned(
    pair: Pair, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.claims["b"] = CLAIMED_BY_ANOTHER
    for option in ("--clean-up", "--resume"):
        assert main(["reboot-test", option, "out", *(["--yes"] if option == "--resume" else [])]) == 75
        assert "root on third" in capsys.readouterr().err
    assert pair.cleaned == 1
    assert pair.claims == {"b": CLAIMED_BY_ANOTHER}


def test_a_claim_that_cannot_be_given_back_is_said(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.interrupt_at = 10.0
    pair.each = lambda: setattr(pair, "unreachable", "first")
    assert call("--cycles", "1", "--yes", "--to", "out") == 130
    said = capsys.readouterr().err
    assert "left on the nodes: /run/drbdocfs-reboot-test, until they boot (a)" in said


# What a run that was cut short has left behind


LOSS = reboottest.Finding("", reboottest.DATA, "a lacks what b has acknowledged")


def test_a_loss_in_the_part_before_is_the_result_of_its_cycle_and_the_records_are_kept(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.interrupt_at = 70.0  # in the second cycle
    assert call("--cycles", "3", "--yes", "--to", "out") == 130
    assert "not looked for" in capsys.readouterr().out
    pair.world.now += 100.0
    once(pair)
    pair.lost = [LOSS]
    for _ in range(2):  # once more is no second loss
        assert main(["reboot-test", "--resume", "out", "--yes"]) == 1
        found = results(Path("out"))
        assert (found["ended"], found["good"]) == (reboottest.STOPPED, False)
        assert [[finding["text"] for finding in cycle["findings"]] for cycle in found["cycles"]] == [[], [LOSS.text]]
        said = capsys.readouterr()
        assert LOSS.text in said.out
        assert "are kept in /mnt/storage/.drbdocfs-reboot-test" in said.err
        assert "--clean-up" in said.err
    assert LOSS.text in Path("out", "junit.xml").read_text()
    assert LOSS.text in Path("out", "report.html").read_text()
    assert set(pair.claims) == {"a", "b"}  # another run would remove the records
    assert pair.cleaned == 1
    assert pair.world.nodes["a"].ordered is pair.world.nodes["b"].ordered is None
    pair.lost = []
    assert main(["reboot-test", "--resume", "out", "--yes"]) == 1
    assert [cycle["number"] for cycle in results(Path("out"))["cycles"]] == [1, 2, 3]


def test_a_loss_after_the_last_cycle_is_added_to_it(pair: Pair, done: Path) -> None:
    pair.lost = [LOSS]
    assert main(["reboot-test", "--resume", "out", "--yes"]) == 1
    (cycle,) = results(done)["cycles"]
    assert cycle["findings"][0]["text"] == LOSS.text
    assert cycle["boots"]


def test_what_the_part_before_has_left_whole_is_counted_and_the_run_goes_on(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.interrupt_at = 10.0
    assert call("--cycles", "1", "--yes", "--to", "out") == 130
    pair.world.now += 100.0
    once(pair)
    assert main(["reboot-test", "--resume", "out", "--yes"]) == 0
    assert "is there: 7 records" in capsys.readouterr().out


def test_records_of_a_killed_run_are_looked_for_and_those_that_were_removed_are_not(tmp_path: Path) -> None:
    here = test_datacheck.HOSTS[0]
    records = reboot_test.Records({"n1": here}, "/mnt", tmp_path / "notes")  # type: ignore[dict-item]
    check = tmp_path / "check"
    records._writers = writers = RealWriters(str(check), tmp_path / "notes", period=0.01)
    assert records.look() == ([], 0)
    with writers.ended():
        writers.start(here)
    found, count = records.look()
    assert (found, count > 0) == ([], True)
    own = next((check / "own").iterdir())
    whole = own.read_bytes()
    own.write_bytes(b"")
    found, count = records.look()
    assert [finding.kind for finding in found] == [reboottest.DATA]
    assert count
    (check / "cleaning").mkdir()
    assert records.look() == ([], 0)
    (check / "cleaning").rmdir()
    own.write_bytes(whole)
    check.rename(tmp_path / "away")
    assert len(records.look()[0]) == 1
    (tmp_path / "away").rename(check)
    assert records.close() == []
    assert not check.exists()
    assert records.look() == ([], 0)


# What is left on the nodes


@pytest.mark.parametrize(("unreachable", "able"), [("first", ["b"]), ("second", ["a"]), ("", ["a", "b"])])
def test_one_node_is_enough_to_clean_up_and_nobody_is_waited_for(
    pair: Pair, capsys: pytest.CaptureFixture[str], unreachable: str, able: list[str]
) -> None:
    assert call("--cycles", "1", "--yes", "--to", "out") == 0
    began = pair.world.now
    pair.unreachable = unreachable
    assert main(["reboot-test", "--clean-up", "out"]) == 0
    assert (pair.hosts, pair.cleaned, pair.world.now) == (able, 2, began)
    assert "nothing is left" in capsys.readouterr().out


def test_without_a_node_that_is_up_nothing_is_cleaned_and_the_reason_and_the_power_commands_are_said(
    switch: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--cycles", "1", *POWER) == 0
    began = switch.world.now
    switch.unreachable = "first"
    switch.state = "failed"
    assert main(["reboot-test", "--clean-up", "out"]) == 69
    assert (switch.cleaned, switch.world.now) == (1, began)
    said = capsys.readouterr().err
    assert "first is not reachable" in said
    assert "b: the stack web is failed" in said
    assert "power on for a: on a" in said


def test_a_machine_that_is_another_one_now_is_not_cleaned(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--cycles", "1", "--yes", "--to", "out") == 0
    pair.world.nodes["a"].name = "other"
    assert main(["reboot-test", "--clean-up", "out"]) == 0
    assert pair.hosts == ["b"]
    pair.world.nodes["b"].name = "one-more"
    assert main(["reboot-test", "--clean-up", "out"]) == 69
    assert "calls itself one-more" in capsys.readouterr().err
