"""CHANGELOG.md has the form of Keep a Changelog."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
HEADINGS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def mistakes(text: str) -> list[str]:
    """What a changelog of that form would not have."""
    found = []
    if not text.startswith("# Changelog\n"):
        found.append("no title")
    head, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    if re.search(r"^[-#]+ (?!Changelog)", head, re.MULTILINE):
        found.append("entries before the first version")
    if not sections or not sections[0].startswith("[Unreleased]\n"):
        found.append("the first version is not [Unreleased]")
    versions, days = [], []
    for section in sections[1:]:
        title = section.partition("\n")[0]
        match = re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)", title)
        try:
            assert match is not None
            versions.append(tuple(map(int, match.groups()[:3])))
            days.append(date.fromisoformat(match[4]))
        except (AssertionError, ValueError):
            found.append(f"not a version and a day: {title}")
    if versions != sorted(set(versions), reverse=True) or days != sorted(days, reverse=True):
        found.append("the newest version is not the first")
    for section in sections:
        title, *groups = re.split(r"^### ", section, flags=re.MULTILINE)
        names = [group.partition("\n")[0] for group in groups]
        found += [f"unknown heading: {name}" for name in names if name not in HEADINGS]
        if len(names) != len(set(names)):
            found.append(f"a heading twice in {title.strip()}")
        if re.search(r"^- ", title, re.MULTILINE):
            found.append(f"an entry without a heading in {title.strip()}")
        found += [f"nothing below {name}" for name, group in zip(names, groups) if "\n- " not in group]
    return found


def test_ours_has_the_form() -> None:
    assert mistakes((TOP / "CHANGELOG.md").read_text(encoding="utf-8")) == []


GOOD = """\
# Changelog

Words.

## [Unreleased]

## [0.2.0] - 2026-12-24

### Added

- One.

### Fixed

- Two,
  which is long.

## [0.1.0] - 2026-11-30

### Added

- All.
"""


def test_a_good_one_has_no_mistakes() -> None:
    assert mistakes(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("# Changelog\n", "# Changes\n", "no title"),
        ("## [Unreleased]\n\n", "", "the first version is not [Unreleased]"),
        ("Words.\n", "- One.\n", "entries before the first version"),
        ("2026-12-24", "2026-13-24", "not a version and a day: [0.2.0] - 2026-13-24"),
        ("[0.2.0]", "0.2", "not a version and a day: 0.2 - 2026-12-24"),
        ("0.2.0", "0.0.9", "the newest version is not the first"),
        ("2026-12-24", "2026-11-24", "the newest version is not the first"),
        ("Fixed", "Repaired", "unknown heading: Repaired"),
        ("Fixed", "Added", "a heading twice in [0.2.0] - 2026-12-24"),
        ("## [Unreleased]\n", "## [Unreleased]\n\n- One.\n", "an entry without a heading in [Unreleased]\n\n- One."),
        ("- All.\n", "", "nothing below Added"),
    ],
)
def test_a_mistake_is_found(old: str, new: str, mistake: str) -> None:
    assert mistake in mistakes(GOOD.replace(old, new, 1))
