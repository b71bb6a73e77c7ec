"""The runner of the lab's matrix: which rows it runs, what it keeps of them, and how it ends.  No lab is started."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.lab import fault, fencing, matrix
from tests.lab.image import Image
from tests.lab.lab import Lab
from tests.lab.row import Result, Row

NONE: Counter[str] = Counter()


class Fake:
    """What comes of each row, by name; which rows ran; how often a pair was thrown away after one."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[str] | Exception] = {}
        self.ran: list[str] = []
        self.thrown_away = 0

    def row(self, name: str) -> Row:
        def run(_: Lab) -> Result:
            self.ran.append(name)
            outcome = self.outcomes.get(name, [])
            if isinstance(outcome, Exception):
                raise outcome
            return Result("seen", outcome)

        return Row(name, "group", f"words of {name}", run, 60.0)

    def get(self) -> Lab:
        return cast("Lab", None)

    def throw_away(self) -> None:
        self.thrown_away += 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Three rows, of which the last one goes first."""
    made = Fake()
    monkeypatch.setattr(matrix, "ROWS", {name: made.row(name) for name in ("cable-out", "cable-back", "reboot")})
    monkeypatch.setattr(matrix, "FIRST", ("reboot",))
    monkeypatch.setattr(matrix, "Pair", lambda *_: made)
    monkeypatch.setattr(matrix, "image", lambda *_: None)
    return made


def names(rows: list[Row]) -> list[str]:
    return [row.name for row in rows]


def command(monkeypatch: pytest.MonkeyPatch, place: Path, *arguments: str) -> int:
    """`python3 -m tests.lab.matrix` with results and package in a folder."""
    deb = place / "drbdocfs-boot_0_all.deb"
    deb.touch()
    given = ["matrix", "--results", str(place / "results"), "--deb", str(deb), *arguments]
    monkeypatch.setattr(sys, "argv", given)
    return matrix.main()


def results(place: Path) -> list[tuple[str, bool]]:
    lines = (place / "results").read_text(encoding="utf-8").splitlines()
    return [(entry["row"], entry["good"]) for entry in map(json.loads, lines)]


@pytest.mark.usefixtures("fake")
class TestChosen:
    def test_all_in_their_order_round_by_round(self) -> None:
        once = ["reboot", "cable-out", "cable-back"]
        assert names(matrix.chosen([], 1, NONE)) == once
        assert names(matrix.chosen([], 3, NONE)) == once * 3

    def test_what_was_good_often_enough_is_left_out(self) -> None:
        known = Counter({"reboot": 2, "cable-out": 1})
        assert names(matrix.chosen([], 1, known)) == ["cable-back"]
        assert names(matrix.chosen([], 2, known)) == ["cable-back", "cable-out", "cable-back"]

    def test_those_named_run_whatever_is_known(self) -> None:
        known = Counter({"reboot": 9, "cable-out": 9})
        assert names(matrix.chosen(["reboot"], 1, known)) == ["reboot"]
        assert names(matrix.chosen(["cable-*", "cable-out"], 2, known)) == ["cable-out", "cable-back"] * 2

    def test_names_that_fit_none_choose_none(self) -> None:
        assert matrix.chosen(["cables"], 1, NONE) == []


class TestKnown:
    def test_nothing_without_results(self, tmp_path: Path) -> None:
        assert matrix._known(tmp_path / "missing") == NONE

    def test_good_ones_count_from_the_last_bad_one_on(self, tmp_path: Path) -> None:
        seen = [("a", True), ("b", True), ("a", False), ("b", True), ("a", True), ("c", False)]
        path = tmp_path / "results"
        path.write_text("".join(json.dumps({"row": row, "good": good}) + "\n" for row, good in seen), encoding="utf-8")
        known = matrix._known(path)
        assert [known[row] for row in "abcd"] == [1, 2, 0, 0]


class TestRuns:
    def test_what_is_written_is_known_the_next_time(self, fake: Fake, tmp_path: Path) -> None:
        path = tmp_path / "new" / "results"
        fake.outcomes["cable-out"] = ["no light"]
        rows = matrix.chosen([], 1, NONE)
        assert matrix.run(rows, cast("Image", None), tmp_path, path) == 1
        assert names(matrix.chosen([], 1, matrix._known(path))) == ["cable-out"]
        entry = json.loads(path.read_text(encoding="utf-8").splitlines()[1])
        assert entry["expected"] == "words of cable-out"
        assert entry["wrong"] == ["no light"]

    def test_a_pair_that_is_no_good_any_more_is_thrown_away(self, fake: Fake, tmp_path: Path) -> None:
        fake.outcomes["reboot"] = AssertionError("first\nsecond\nlast but one\nlast")
        assert matrix.run(matrix.chosen([], 1, NONE), cast("Image", None), tmp_path, tmp_path / "results") == 1
        # After that row, and at the end.
        assert fake.thrown_away == 2
        assert fake.ran == ["reboot", "cable-out", "cable-back"]
        entry = json.loads((tmp_path / "results").read_text(encoding="utf-8").splitlines()[0])
        assert entry["wrong"] == ["first", "last but one", "last"]

    def test_remaining_time_is_said(self, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        matrix.run(matrix.chosen([], 1, NONE), cast("Image", None), tmp_path, tmp_path / "results")
        said = capsys.readouterr().out
        assert "1 of 3, about 3 min left: reboot" in said
        assert "3 of 3, about 1 min left: cable-back" in said


class TestStatus:
    def test_0_when_all_went_as_expected(self, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert command(monkeypatch, tmp_path) == 0
        assert results(tmp_path) == [("reboot", True), ("cable-out", True), ("cable-back", True)]
        # Resumed: nothing is left to do.
        assert command(monkeypatch, tmp_path) == 0
        assert len(fake.ran) == 3
        assert command(monkeypatch, tmp_path, "--times", "2") == 0
        assert len(fake.ran) == 6

    def test_1_when_one_did_not(self, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake.outcomes["cable-back"] = ["dark"]
        assert command(monkeypatch, tmp_path) == 1
        assert results(tmp_path)[-1] == ("cable-back", False)
        assert fake.thrown_away == 1

    def test_2_for_a_name_that_is_none(self, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert command(monkeypatch, tmp_path, "cables") == 2
        assert fake.ran == []

    def test_130_when_interrupted_and_what_was_done_is_kept(
        self, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted() -> Lab:
            if fake.ran:
                raise KeyboardInterrupt
            return cast("Lab", None)

        monkeypatch.setattr(fake, "get", interrupted)
        assert command(monkeypatch, tmp_path) == 130
        assert results(tmp_path) == [("reboot", True)]
        assert fake.thrown_away == 1

    def test_a_list_runs_nothing(
        self, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command(monkeypatch, tmp_path, "--list") == 0
        assert fake.ran == []
        assert "cable-back                   words of cable-back" in capsys.readouterr().out


def test_every_row_says_what_has_to_come_of_it() -> None:
    for name, row in matrix.ROWS.items():
        assert row.name == name
        assert row.words
        assert row.group
        assert row.seconds > 0


class FakeLab:
    """A pair of which only is asked how often it has found a split brain."""

    nodes = (SimpleNamespace(name="server1"), SimpleNamespace(name="server2"))

    def __init__(self) -> None:
        self.splits = [(0, 0), (0, 0)]

    def both(self, _: object) -> tuple[int, int]:
        return self.splits.pop(0)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    """With it faults can be made that have no lab below them; those made here are forgotten again."""
    monkeypatch.setattr(fault, "FAULTS", {})
    monkeypatch.setattr(fault, "Records", lambda _: None)
    monkeypatch.setattr(fault.Case, "finish", lambda *_: None)
    for name in ("set_policy", "await_together"):
        monkeypatch.setattr(fencing, name, lambda *_: 0.0)
    return FakeLab()


class TestFault:
    def made(self, lab: FakeLab, make: Callable[[fault.Case], None], splits: bool = False) -> Result:
        fault.fault("one", "words", group="group", writing=False, splits=splits)(make)
        return fault.FAULTS["one"].run(cast("Lab", lab))

    def test_what_it_put_out_of_order_is_put_back_last_first_also_when_it_fails(self, lab: FakeLab) -> None:
        undone: list[int] = []

        def make(case: fault.Case) -> None:
            case.afterwards(lambda: undone.append(1))
            case.afterwards(lambda: undone.append(2))
            case.must(False, "an expectation")
            raise AssertionError("no boot")

        with pytest.raises(AssertionError, match="no boot\nan expectation"):
            self.made(lab, make)
        assert undone == [2, 1]

    def test_what_did_not_hold_does_not_end_it(self, lab: FakeLab) -> None:
        def make(case: fault.Case) -> None:
            case.must(False, "an expectation")
            case.must(True, "another one")
            case.note("seen")

        result = self.made(lab, make)
        assert (result.text, result.wrong) == ("seen", ["an expectation"])

    def test_a_split_brain_that_it_does_not_force_is_wrong(self, lab: FakeLab) -> None:
        lab.splits = [(3, 0), (3, 1)]
        assert self.made(lab, lambda _: None).wrong == ["server2 has found a split brain"]

    def test_a_split_brain_that_it_forces_is_not(self, lab: FakeLab) -> None:
        lab.splits = [(3, 0), (4, 1)]
        assert self.made(lab, lambda _: None, splits=True).wrong == []
