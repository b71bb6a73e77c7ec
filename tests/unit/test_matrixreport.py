"""The page that the lab's fault matrix makes of its results."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tests.lab.matrixreport import Known, known, markdown, read

ROWS = [Known("a", "nobody stops", "none"), Known("b", "one goes on", "power"), Known("c", "both wait", "power")]


def result(row: str, good: bool, at: str, **more: object) -> str:
    """A line as the matrix writes it."""
    return json.dumps({"row": row, "good": good, "expected": "x", "seen": "up | up", "states": {}, "seconds": 9,
                       "wrong": [] if good else ["lost <7>"], "at": at, **more})  # fmt: skip


LINES = [
    result("b", False, "2026-01-03 10:00", version="0.2"),
    result("a", True, "2026-01-02 10:00"),
    "",
    result("b", True, "2026-01-01 10:00", version="0.1"),
    result("gone", True, "2026-01-01 10:00", group="old"),
]


def test_each_row_has_its_runs_and_its_last_result_by_date() -> None:
    lines = markdown(read(LINES), ROWS, "command", "2026-02-01").splitlines()
    assert "| a | nobody stops | 1 | 1 | up \\| up | 2026-01-02 10:00 |" in lines
    assert "| b | one goes on | 2 | 1 | **otherwise**: lost &lt;7> (up \\| up) | 2026-01-03 10:00 |" in lines
    assert "| c | both wait | 0 | 0 | not run | - |" in lines
    assert "| gone | x | 1 | 1 | up \\| up | 2026-01-01 10:00 |" in lines
    assert [line for line in lines if line.startswith("## ")] == ["## none", "## power", "## old"]


def test_the_head_counts_and_names_the_command_and_the_versions() -> None:
    text = markdown(read(LINES), ROWS, "command", "2026-02-01")
    assert "Made by `command` on 2026-02-01; versions that were run: 0.1, 0.2." in text
    assert "Of 4 rows, 3 were run and 1 were not; of 4 runs, 3 went as expected and 1 did not" in text
    assert "in its last run, 2 of 3 rows went as expected." in text


def test_every_row_of_the_matrix_says_what_is_expected() -> None:
    rows = {
        "a": SimpleNamespace(words="nobody stops", group="none"),
        "b": SimpleNamespace(words="it says so", group="disk"),
    }
    assert known(rows) == [Known("a", "nobody stops", "none"), Known("b", "it says so", "disk")]


@pytest.mark.parametrize("line", ["{", "[]", "7", "{}", '{"row": "a"}'])
def test_a_line_that_is_no_result_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        read([LINES[0], line])
