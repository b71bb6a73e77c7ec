"""What the benches in the lab have in common: options, measurements kept line by line, a table for the page."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab import arguments
from tests.lab.image import Image, image
from tests.lab.lab import say

from . import page


def parser(about: str | None, kept: str, times: int) -> argparse.ArgumentParser:
    """The options, for a program whose first line is that of `about`, and whose measurements are kept in `kept`."""
    made = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    arguments.add(made.add_argument)
    made.add_argument("--deb", type=Path, help="our package [the newest in dist/]")
    made.add_argument("--times", type=int, default=times, help="how often, besides what --results has [%(default)s]")
    made.add_argument("--results", type=Path, default=Path("dist") / kept, help="the measurements [%(default)s]")
    made.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    return made


def measured(options: argparse.Namespace, run: Callable[[Image, Path], object]) -> list[dict[str, Any]]:
    """All measurements, after those that `run` makes with an image and our package, if any are asked for."""
    if options.times:
        run(image(options.release, options.extra_modules, say), arguments.find_deb(options.deb))
    return [json.loads(line) for line in options.results.read_text(encoding="utf-8").splitlines()]


def keep(results: Path, measured: dict[str, object]) -> None:
    """Append one measurement, as soon as it is there."""
    results.parent.mkdir(exist_ok=True)
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(measured) + "\n")


def show(name: str, release: str, table: str, write: bool) -> None:
    """Print the table of the program tests.bench.`name`, or put it into the page as well."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    about = (
        f"{today}, `python3 -m tests.bench.{name}`, two virtual machines with Debian {release}, without KVM,"
        f" on {page.machine()}."
    )
    page.show(f"tests.bench.{name}", about, table, write)
