"""docs/benchmarks.md: each program replaces its own part of it, between two comments."""

from __future__ import annotations

import os
import platform
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/benchmarks.md"


def write(who: str, text: str) -> None:
    """Put `text` where the page has the comments of `who`; raises ValueError where it has none."""
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
