"""The fault matrix: what becomes of a pair when something goes wrong, row by row.

`python3 -m tests.lab.matrix [ROW…]`: the rows named (`*` and `?` are allowed), or all but the few that take an hour
(`many-reboots`, which makes as many of them as LAB_REBOOTS says); each result is appended to dist/matrix.jsonl, and a
row that is good there as often as wanted is not run again unless it is named. Status 1 when something was otherwise
than expected.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import time
from collections import Counter
from pathlib import Path

from drbdocfs_boot import __version__

from . import (
    arguments,
    fencing,
    rows_boot,
    rows_fencetest,
    rows_fencing,
    rows_network,
    rows_resync,
    rows_software,
    rows_storage,
    snapshot,
)
from .fault import FAULTS, NoGood
from .image import Image, image
from .lab import Lab, LabError, say
from .provision import provisioned
from .row import Result, Row

RESULTS = Path("dist/matrix.jsonl")
# Each adds its rows by being imported.
_FAULTS = (rows_boot, rows_resync, rows_network, rows_fencetest, rows_storage, rows_software)

ROWS: dict[str, Row] = {**rows_fencing.ROWS, **FAULTS}
# What is known after the first rows is worth the most.
FIRST = (*rows_fencing.FIRST, "reboot-one")


def bring_up(lab: Lab, deb: Path) -> None:
    """From nodes that are off to both up, with fencing on."""
    snapshot.resume(lab)
    lab.both(lambda node: node.install(deb))
    fencing.prepare(lab)
    fencing.set_policy(lab, "none")
    fencing.start_both(lab)


class Pair:
    """A pair that is up, made anew after a row that went wrong."""

    def __init__(self, made: Image, deb: Path) -> None:
        self._image = made
        self._deb = deb
        self._lab: Lab | None = None

    def get(self) -> Lab:
        """The pair."""
        if self._lab is None:
            self._lab = lab = Lab(self._image, provisioned(self._image)).__enter__()
            bring_up(lab, self._deb)
        return self._lab

    def throw_away(self) -> None:
        """Nothing is left of it."""
        if self._lab is not None:
            self._lab.__exit__(None, None, None)
            self._lab = None


def _known(path: Path) -> Counter[str]:
    """How often each row has been good since it last was not."""
    good: Counter[str] = Counter()
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            result = json.loads(line)
            good[result["row"]] = good[result["row"]] + 1 if result["good"] else 0
    return good


def _append(path: Path, row: Row, took: float, result: Result) -> None:
    path.parent.mkdir(exist_ok=True)
    entry = {
        "row": row.name,
        "group": row.group,
        "good": not result.wrong,
        "expected": row.words,
        "seen": result.text,
        "states": result.states,
        "wrong": result.wrong,
        "seconds": round(took),
        "version": __version__,
        "at": time.strftime("%Y-%m-%d %H:%M"),
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def run(rows: list[Row], made: Image, deb: Path, path: Path) -> int:
    """How many rows went otherwise than expected."""
    pair = Pair(made, deb)
    bad = 0
    try:
        for number, row in enumerate(rows, 1):
            left = sum(each.seconds for each in rows[number - 1 :])
            say(f"{number} of {len(rows)}, about {left / 60:.0f} min left: {row.name}: {row.words}")
            began = time.monotonic()
            try:
                result = row.run(pair.get())
            except NoGood as error:
                result = Result("; ".join(error.notes), error.wrong)
                pair.throw_away()
            except (AssertionError, OSError) as error:
                lines = str(error).splitlines() or [repr(error)]
                result = Result("", [lines[0], *lines[-2:]])
                pair.throw_away()
            _append(path, row, time.monotonic() - began, result)
            say(f"  {result.text}")
            for name, states in result.states.items():
                say(f"  {name}: {states}")
            for line in result.wrong:
                say(f"  WRONG: {line}")
            bad += bool(result.wrong)
    finally:
        pair.throw_away()
    return bad


def chosen(patterns: list[str], times: int, known: Counter[str]) -> list[Row]:
    """The rows to run, in their order: those named, else those that were not good often enough yet; none for names
    that fit no row."""
    if patterns:
        names = [name for pattern in patterns for name in ROWS if fnmatch.fnmatch(name, pattern)]
        return [ROWS[name] for _ in range(times) for name in dict.fromkeys(names)]
    names = [name for name in dict.fromkeys((*FIRST, *ROWS)) if not ROWS[name].named_only]
    return [ROWS[name] for turn in range(times) for name in names if known[name] <= turn]


def main() -> int:
    """Returns 0, 1 when a row went otherwise than expected, 2 for a name that is none, or 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab.matrix", description=__doc__)
    arguments.add(parser.add_argument)
    parser.add_argument("--deb", type=Path, help="the package to install (default: the newest in dist/)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are appended (%(default)s)")
    parser.add_argument("--times", type=int, default=1, help="how often each row has to be good (%(default)s)")
    parser.add_argument("--list", action="store_true", help="show the rows only")
    parser.add_argument("rows", nargs="*", metavar="ROW")
    options = parser.parse_args()
    rows = chosen(options.rows, options.times, _known(options.results))
    if options.rows and not rows:
        print("matrix: no such row; --list shows them", file=sys.stderr)
        return 2
    if options.list:
        for row in rows:
            print(f"{row.name:28} {row.words}")
        return 0
    try:
        bad = run(rows, image(options.release, options.extra_modules, say), arguments.find_deb(options.deb),
                  options.results)  # fmt: skip
    except (LabError, OSError, RuntimeError, ValueError) as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("matrix: interrupted", file=sys.stderr)
        return 130
    say(f"{len(rows) - bad} of {len(rows)} rows as expected; nothing is left running")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
