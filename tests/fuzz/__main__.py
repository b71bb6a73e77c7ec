"""Fuzz the readers: ``python3 -m tests.fuzz [READER ...] [--seconds N] [--seed N]``, ``--replay FILE READER``.

Each reader has its share of the time.  An input for which a property does not hold is made small and kept below
dist/fuzz.  Exit status 1 when there was one.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import traceback
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings

from .targets import TARGETS, TOP, Target, inputs, run

FOUND = TOP / "dist/fuzz"
ROUND = 200  # examples with one seed
SLOW = 2.0  # seconds of processor time for 100 kB of anything (or a target's own size)


class Session:
    """One reader: how many examples ran, and what was found, by the text of the error."""

    def __init__(self, name: str, target: Target) -> None:
        self.name = name
        self.target = target
        self.count = 0
        self.found: dict[str, Path] = {}
        self._last = b""

    def one(self, data: bytes) -> None:
        """One example."""
        self.count += 1
        try:
            run(self.target, data)
        except BaseException:
            self._last = data
            raise

    def round(self, number: int) -> None:
        """ROUND examples with one seed; the first that fails is made small and kept."""
        checked = settings(
            max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )(seed(number)(given(inputs(self.target))(self.one)))  # fmt: skip
        try:
            checked()
        except Exception as error:
            self.keep(self._last, error)

    def keep(self, data: bytes, error: BaseException) -> None:
        """Save an input with its error, once for each place where it happened."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        key = f"{type(error).__name__} {place.filename}:{place.lineno}"
        if key in self.found:
            return
        FOUND.mkdir(parents=True, exist_ok=True)
        file = FOUND / f"{self.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        file.write_bytes(data)
        self.found[key] = file
        print(f"{self.name}: {key}: {str(error)[:300]}")
        print(f"  python3 -m tests.fuzz --replay {file} {self.name}", flush=True)

    def grow(self) -> None:
        """Long inputs and deep ones: every piece repeated, and a seed with it."""
        for piece in (*self.target.grows, b"\0", b"\n", b"a", b" ", b"\xff"):
            data = piece * (self.target.size // len(piece))
            for one in (data, self.target.seeds()[0] + data):
                self.count += 1
                try:
                    run(self.target, one, SLOW)
                except Exception as error:
                    self.keep(one, error)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.fuzz", description="Fuzz the readers.")
    parser.add_argument("reader", nargs="*", help=f"of {', '.join(TARGETS)} [all]")
    parser.add_argument("--seconds", type=float, default=60, help="for all readers together [60]")
    parser.add_argument("--seed", type=int, default=0, help="of the first round [0]")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input that was found")
    args = parser.parse_args()
    if unknown := set(args.reader) - set(TARGETS):
        parser.error(f"no such reader: {', '.join(sorted(unknown))}")
    names = args.reader or list(TARGETS)
    if args.replay:
        for name in names:
            run(TARGETS[name], args.replay.read_bytes())
        print("no property is violated")
        return 0
    failed = False
    total = 0
    begun = time.monotonic()
    for name in names:
        session = Session(name, TARGETS[name])
        start = time.monotonic()
        session.grow()
        number = args.seed
        while time.monotonic() - start < args.seconds / len(names):
            session.round(number)
            number += 1
        total += session.count
        failed = failed or bool(session.found)
        took = time.monotonic() - start
        print(
            f"{name:13} {session.count:8} examples {took:6.0f} s  seeds {args.seed} to {number - 1}  "
            f"{len(session.found)} found",
            flush=True,
        )
    print(f"{total} examples in {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
