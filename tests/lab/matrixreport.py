"""The fault matrix' results as a page of the documentation: what was run, how often, and what came of it.

`python3 -m tests.lab.matrixreport RESULTS… [--to docs/fault-matrix.md]`: RESULTS are the JSON-lines files that
`python3 -m tests.lab.matrix` appends to, an object for each run of a row: row, good, expected, seen, states, wrong,
seconds, at, and perhaps group and version. A row that exists and was never run is named as such.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OTHERS = "other"


@dataclass(frozen=True)
class Entry:
    """A run of a row; `at` is a date that sorts as text, and `number` its place among all that were read."""

    row: str
    good: bool
    expected: str
    seen: str
    wrong: tuple[str, ...]
    at: str
    group: str
    version: str
    number: int


@dataclass(frozen=True)
class Known:
    """A row that exists."""

    name: str
    expected: str
    group: str


def read(lines: Iterable[str]) -> list[Entry]:
    """The runs, the oldest first.  Raises ValueError for a line that is none; blank ones are passed over."""
    entries: list[Entry] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            entry = Entry(
                row=str(data["row"]),
                good=bool(data["good"]),
                expected=str(data.get("expected") or ""),
                seen=str(data.get("seen") or ""),
                wrong=tuple(map(str, data.get("wrong") or ())),
                at=str(data.get("at") or ""),
                group=str(data.get("group") or ""),
                version=str(data.get("version") or ""),
                number=number,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"line {number}: not the result of a row: {error!r}") from error
        entries.append(entry)
    return sorted(entries, key=lambda entry: (entry.at, entry.number))


def known(rows: Mapping[str, Any]) -> list[Known]:
    """The rows of the matrix (row.py), as this page needs them."""
    return [Known(name, row.words, row.group) for name, row in rows.items()]


def _cell(text: str) -> str:
    """Text within a table of Markdown: on one line, with nothing that Markdown or HTML would take for its own."""
    text = "".join(c if c.isprintable() else " " for c in text)
    for sign in "\\`*_[]|":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split()) or "-"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _totals(rows: Sequence[Known], runs: Mapping[str, Sequence[Entry]]) -> str:
    tried = [row for row in rows if runs.get(row.name)]
    every = [entry for row in tried for entry in runs[row.name]]
    good = sum(entry.good for entry in every)
    last = sum(runs[row.name][-1].good for row in tried)
    return (
        f"Of {_count(len(rows), 'row')}, {len(tried)} were run and {len(rows) - len(tried)} were not; of"
        f" {_count(len(every), 'run')}, {good} went as expected and {len(every) - good} did not; in its last run, "
        f"{last} of {_count(len(tried), 'row')} went as expected."
    )


def markdown(entries: Sequence[Entry], rows: Sequence[Known], command: str, date: str) -> str:
    """The page.  ``entries`` are the oldest first; those of rows that exist no more are shown too."""
    runs: dict[str, list[Entry]] = {}
    for entry in entries:
        runs.setdefault(entry.row, []).append(entry)
    names = {row.name for row in rows}
    every = list(rows)
    for name, those in runs.items():
        if name not in names:
            every.append(Known(name, those[-1].expected, OTHERS))
    groups: dict[str, list[Known]] = {}
    for row in every:
        # The rows of today know their groups better than a result of long ago.
        said = next((entry.group for entry in reversed(runs.get(row.name, [])) if entry.group), OTHERS)
        groups.setdefault(row.group if row.group != OTHERS else said, []).append(row)
    versions = ", ".join(sorted({entry.version for entry in entries if entry.version})) or "not recorded"
    lines = [
        "# Fault matrix: results",
        "",
        f"Made by `{command}` on {date}; versions that were run: {_cell(versions)}.",
        "",
        _totals(every, runs),
    ]
    for group, those_rows in groups.items():
        lines += ["", f"## {_cell(group)}", ""]
        lines += ["| row | what is expected | runs | as expected | last seen | last run |", "|---|---|--:|--:|---|---|"]
        lines += [_line(row, runs.get(row.name, [])) for row in those_rows]
    return "\n".join(lines) + "\n"


def _line(row: Known, runs: Sequence[Entry]) -> str:
    if not runs:
        return f"| {_cell(row.name)} | {_cell(row.expected)} | 0 | 0 | not run | - |"
    last = runs[-1]
    seen = _cell(last.seen)
    if not last.good:
        seen = f"**otherwise**: {_cell('; '.join(last.wrong))}" + (f" ({seen})" if last.seen else "")
    good = sum(entry.good for entry in runs)
    expected = _cell(row.expected or last.expected)
    return f"| {_cell(row.name)} | {expected} | {len(runs)} | {good} | {seen} | {_cell(last.at)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for a file that cannot be read, is none of results, or cannot be written."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab.matrixreport", description=__doc__)
    parser.add_argument("--to", type=Path, metavar="FILE", help="write it there (default: standard output)")
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS")
    options = parser.parse_args(arguments)
    from .matrix import ROWS  # here: what is tested is this module, without the lab

    try:
        lines = [line for path in options.results for line in path.read_text(encoding="utf-8").splitlines()]
        words = ["python3", "-m", "tests.lab.matrixreport", *map(str, options.results)]
        command = shlex.join([*words, *(["--to", str(options.to)] if options.to else [])])
        text = markdown(read(lines), known(ROWS), command, time.strftime("%Y-%m-%d"))
        if options.to:
            options.to.write_text(text, encoding="utf-8")
        else:
            sys.stdout.write(text)
    except (OSError, ValueError) as error:
        print(f"matrixreport: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
