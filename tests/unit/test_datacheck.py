"""The data check with lies planted: each is found, and the truth is not called one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import pytest

from drbdocfs_boot import datacheck
from drbdocfs_boot.datacheck import Ack, LockTrial, Notes, Report, Seen, Session
from drbdocfs_boot.tools.datacheck import CHECKOUT, Players, Writers
from drbdocfs_boot.tools.failure import Failure


class Local:
    """This machine, as one of two nodes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def popen(self, argv: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )


HOSTS = (Local("n1"), Local("n2"))


def ack(node: str, number: int, done: float = 0.0, arrived: float = 0.0, session: str = "s") -> Ack:
    return Ack(node, session, number, done, done, arrived)


def report(reader: str, *lines: dict[str, object]) -> Report:
    end = {"end": {"records": 0, "files": 0, "torn": 0, "tail": 0, "foreign": 0}}
    return datacheck.parse_report(reader, "".join(json.dumps(line) + "\n" for line in (*lines, end)))


def whole(kind: str, *ranges: tuple[int, int], node: str = "n1") -> dict[str, object]:
    return {"whole": kind, "node": node, "session": "s", "ranges": ranges}


NOTES = Notes((Session("n1", "s", 1),), tuple(ack("n1", number) for number in range(1, 101)))


@pytest.mark.exhaustive
def test_a_story_with_two_writers_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    writers = Writers(str(tmp_path / "check"), tmp_path / "notes", period=0.01)
    with writers.ended():
        for host in HOSTS:
            writers.start(host)
        assert all(writers.await_record(host, 10) for host in HOSTS)
        assert all(writers.stop(host) for host in HOSTS)
        found = writers.findings(HOSTS, quiet=True)
        assert found.good, found.words
        assert min(found.acknowledged.values()) >= 2
        # Torn in the middle, and one dropped: both are lost, on both nodes, and one is torn.
        file = next((tmp_path / "check/own").glob("n1.*"))
        lines = file.read_bytes().splitlines(keepends=True)
        lines[0] = lines[0][:10] + bytes([lines[0][10] ^ 1]) + lines[0][11:]  # swapped bytes may be alike
        file.write_bytes(b"".join(lines))
        found = writers.findings(HOSTS[:1], quiet=True)
        assert [(lost.kind, lost.count) for lost in found.lost] == [("own", 1)]
        assert len(found.torn) == 1
        (tmp_path / "check/own/theirs").symlink_to("/etc/passwd")
        with pytest.raises(Failure, match="stay"):
            writers.clean(HOSTS[0])
        (tmp_path / "check/own/theirs").unlink()
        writers.clean(HOSTS[0])
        writers.clean(HOSTS[1])
        assert not (tmp_path / "check").exists()
        found = writers.findings(HOSTS[:1])
        assert "there is no" in found.unread[0]
        assert not found.lost
        assert not found.good


def test_an_acknowledgement_that_cannot_be_noted_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writers = Writers(str(tmp_path / "check"), tmp_path / "notes", period=0.01)
    with writers.ended():
        writers.start(HOSTS[0])

        def full(name: str, line: str) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(writers, "_note", full)
            assert writers.await_record(HOSTS[0], 10)
        # There is room again: what was lost is lost.
        with pytest.raises(Failure, match="No space left") as caught:
            writers.notes()
        assert caught.value.status == 73
        with pytest.raises(Failure, match="No space left"):
            writers.start(HOSTS[1])
        assert not writers.running(HOSTS[1])


def test_a_writer_that_has_ended_by_itself_says_why(tmp_path: Path) -> None:
    writers = Writers(str(tmp_path / "check"), tmp_path / "notes", period=0.01)
    with writers.ended():
        writers.start(HOSTS[0])
        assert writers.last_words(HOSTS[0]) is None
        (tmp_path / "check").rename(tmp_path / "gone")
        assert not writers.await_record(HOSTS[0], 10) or not writers.await_record(HOSTS[0], 10)
        code, said = writers.last_words(HOSTS[0]) or (0, "")
        assert code == 69
        assert "still mounted?" in said
        writers.stop(HOSTS[0])
        assert writers.last_words(HOSTS[0]) is None


def test_all_races_on_one_machine_are_good(tmp_path: Path) -> None:
    found = Writers(str(tmp_path / "check"), tmp_path / "notes").races(HOSTS, 10, 6)
    assert found.good, found.wrong
    assert any("fcntl() locks are honoured" in fact for fact in found.facts)
    assert not os.listdir(tmp_path / "check/race")


def test_races_that_were_cut_short_leave_nothing_that_hinders_the_next_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = Writers(str(tmp_path / "check"), tmp_path / "notes")
    ask = Players.ask

    def cut(self: Players, index: int, **request: object) -> object:
        if request.get("value") == 3:
            raise Failure(69, "n2: the data check has ended")
        return ask(self, index, **request)

    with monkeypatch.context() as patch:
        patch.setattr(Players, "ask", cut)
        with pytest.raises(Failure, match="has ended"):
            writers.races(HOSTS, 2, 4)
    assert "value.2" in os.listdir(tmp_path / "check/race")
    found = writers.races(HOSTS, 2, 4)
    assert found.good, found.wrong


def test_a_removal_that_was_cut_short_is_seen_and_can_be_ended(tmp_path: Path) -> None:
    writers = Writers(str(tmp_path / "check"), tmp_path / "notes", period=0.01)
    with writers.ended():
        writers.start(HOSTS[0])
    assert not writers.findings(HOSTS[:1]).cleaning
    (tmp_path / "check/own/theirs").mkdir()
    with pytest.raises(Failure, match=r"check: 1 names in it .* stay"):
        writers.clean(HOSTS[0])
    found = writers.findings(HOSTS[:1])
    assert found.cleaning
    assert found.lost
    with writers.ended():  # somebody writes again
        writers.start(HOSTS[0])
    assert not writers.findings(HOSTS[:1]).cleaning
    (tmp_path / "check/own/theirs").rmdir()
    writers.clean(HOSTS[0])
    assert not (tmp_path / "check").exists()


def test_what_the_check_has_not_made_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in (["clean"], ["verify"], ["serve", "n1"], ["write", "n1", "s", "1"]):
        argv = [sys.executable, "-I", str(CHECKOUT), words[0], str(tmp_path), *words[1:]]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 65
        assert "not made by the data check" in done.stderr
    assert os.listdir(tmp_path) == ["file"]


def test_without_the_mount_nothing_is_written(tmp_path: Path) -> None:
    writers = Writers(str(tmp_path / "check"), tmp_path / "notes", str(tmp_path))
    with pytest.raises(Failure, match="nothing is mounted at"):
        writers.start(HOSTS[0])
    assert not (tmp_path / "check").exists()


def test_an_acknowledgement_that_was_cut_does_not_count() -> None:
    line = "ack n1 s 7 1.000000 2.000000"
    line += f" {zlib.crc32(line.encode()):08x}\n"
    assert datacheck.parse_ack(line) == Ack("n1", "s", 7, 1.0, 2.0, 0.0)
    assert all(datacheck.parse_ack(line[:end]) is None for end in range(len(line)))
    assert datacheck.read_notes(f"9.5 {line}9.6 {line}9.7 {line[:20]}").acks == (Ack("n1", "s", 7, 1.0, 2.0, 9.5),)


def test_everything_there_is_good_whether_or_not_more_was_written() -> None:
    good = report("n2", whole("own", (1, 101)), whole("tree", (70, 101)))
    assert datacheck.judge(NOTES, [good], quiet=True).good


@pytest.mark.parametrize(
    ("own", "tree", "lost"),
    [
        ([(1, 49), (51, 100)], [(69, 100)], [("own", 50, 50)]),
        ([(1, 98)], [(69, 100)], [("own", 99, 100)]),
        ([(1, 100)], [(69, 99)], [("tree", 68, 68), ("tree", 100, 100)][-1:]),
        ([(1, 100)], [(68, 99)], [("tree", 100, 100)]),
    ],
)
def test_a_lost_record_is_found(
    own: list[tuple[int, int]], tree: list[tuple[int, int]], lost: list[tuple[str, int, int]]
) -> None:
    found = datacheck.judge(NOTES, [report("n2", whole("own", *own), whole("tree", *tree))])
    told = [(each.kind, each.first, each.last) for each in found.lost]
    assert set(lost) <= set(told)
    assert not found.good


def test_a_report_that_has_no_end_is_not_good_and_not_a_loss() -> None:
    cut = datacheck.parse_report("n2", json.dumps(whole("own", (1, 2))))
    found = datacheck.judge(NOTES, [cut])
    assert not found.good
    assert found.unread
    assert not found.lost


def test_two_nodes_that_see_different_records_are_found() -> None:
    reports = [
        report(name, whole("own", (1, last)), whole("tree", (69, 100))) for name, last in (("a", 100), ("b", 101))
    ]
    assert datacheck.judge(NOTES, reports).good
    assert not datacheck.judge(NOTES, reports, quiet=True).good


def test_both_that_wrote_while_apart_are_found_though_their_clocks_differ() -> None:
    acks = [ack("n1", n, done=1000.0 + n, arrived=50.0 + n) for n in range(20)]
    late = [ack("n2", n, done=5.0 + n, arrived=50.1 + n) for n in range(20)]
    assert datacheck.both_wrote([*acks, *late], [(55.0, 60.0)])
    assert not datacheck.both_wrote([*acks, *late[:6]], [(55.0, 60.0)])
    assert datacheck.standstill([ack("n1", 1, 1.0), ack("n1", 2, 9.0), ack("n1", 3, 99.0, session="t")]) == {"n1": 8.0}


def test_a_gap_is_one_of_a_session_and_is_found_once() -> None:
    acks = [ack("n1", n, done, 100.0 + done, session) for n, done, session in (
        (1, 0.0, "s"), (2, 200.0, "s"), (3, 201.0, "s"), (4, 700.0, "t"), (5, 850.0, "t"),
    )]  # fmt: skip
    other = [ack("n2", 1, 0.0), ack("n2", 2, 999.0)]
    assert datacheck.longest_gap([*acks, *other], "n1") == 200.0
    assert datacheck.longest_gap(acks, "n1", known=1) == 200.0
    assert datacheck.longest_gap(acks, "n1", known=2) == 150.0
    assert datacheck.longest_gap(acks, "n1", known=4, since=900.0) == 50.0
    assert datacheck.longest_gap(acks, "n1", known=5) == datacheck.longest_gap([], "n1") == 0.0


@pytest.mark.parametrize(
    ("outcomes", "stands", "words"),
    [
        (("won", "won"), "file n1", "2 winners"),
        (("lost", "lost"), "file n1", "0 winners"),
        (("won", "lost"), "file n2", "sees"),
        (("won", "Input/output error"), "file n1", "Input/output error"),
    ],
)
def test_a_race_without_one_winner_is_found(outcomes: tuple[str, str], stands: str, words: str) -> None:
    said = {"n1": [outcomes[0]], "n2": [outcomes[1]]}
    found = datacheck.judge_race("create", ["x"], said, {"n1": [["file n1"]], "n2": [[stands]]})
    assert words in "\n".join(found.wrong)


def trial(how: str, overlap: str, **more: str) -> LockTrial:
    said = {"holder": "granted", "local": "refused", "beside": "", "after": "granted", **more}
    return LockTrial(how, "n1", "n2", overlap=overlap, **said)


@pytest.mark.parametrize(
    ("trials", "options", "good"),
    [
        ([trial("posix", "granted")] * 2, "rw", True),
        ([trial("posix", "granted"), trial("posix", "refused")], "rw", False),
        ([trial("posix", "refused", local="granted")], "rw", False),
        ([trial("flock", "granted")] * 2, "rw", False),
        ([trial("flock", "granted")] * 2, "rw,localflocks", True),
        ([trial("flock", "refused", after="refused")], "rw", False),
    ],
)
def test_locks_that_are_never_honoured_are_a_fact_and_at_times_a_fault(
    trials: list[LockTrial], options: str, good: bool
) -> None:
    found = datacheck.judge_locks(trials, {"options": options, "stack": "o2cb"})
    assert found.good is good
    if good:
        assert found.facts


@pytest.mark.parametrize("view", datacheck.VIEWS)
def test_a_stale_read_is_found_in_each_way(view: str) -> None:
    views = dict.fromkeys(datacheck.VIEWS, 7)
    judge: Callable[[], bool] = lambda: datacheck.judge_reads([Seen("n1", "n2", 7, views)]).good  # noqa: E731
    assert judge()
    views[view] = 6
    assert not judge()
