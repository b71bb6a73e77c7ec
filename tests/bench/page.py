"""docs/benchmarks.md: each program replaces its own part of it, between two comments."""

from __future__ import annotations

import os
import platform
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/benchmarks.md"


def show(who: str, about: str, table: str, write: bool) -> None:
    """Print a table below a line on what it is about; with `write`, put both where the page has the comments of `who`.

    Raises ValueError where it has none.
    """
    text = f"{about}\n\n{table}"
    print(text, end="")
    if not write:
        return
    begin, end = f"<!-- begin of what {who} writes -->", f"<!-- end of what {who} writes -->"
    page = PAGE.read_text(encoding="utf-8")
    head, found, rest = page.partition(begin)
    _, also, tail = rest.partition(end)
    if not found or not also:
        raise ValueError(f"{PAGE} has no {begin} … {end}")
    PAGE.write_text(f"{head}{begin}\n\n{text}\n{end}{tail}", encoding="utf-8")


def machine() -> str:
    """The host that it ran on."""
    return f"Linux {platform.release()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}"
