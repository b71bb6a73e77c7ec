"""All areas one after the other: each finds what it can, whatever became of the others."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from drbdocfs_boot import mistake
from drbdocfs_boot.checks import AREAS
from drbdocfs_boot.checks import __name__ as package
from drbdocfs_boot.checks.facts import Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, Book, Find, Finding, Rule, ordered

BOOK = Book(
    check_failed=Rule(
        ERROR,
        "part of the check itself failed",
        "What that part looks for was not looked for to its end. The other parts are not touched by it.",
        "report it, with the words above",
    ),
    not_permitted=Rule(
        NOTE,
        "something could not be looked at",
        "What is wrong there stays unseen, so the answer of this check is not the whole one.",
        "run it as root: 'sudo drbdocfs check'",
    ),
)


def areas(names: Iterable[str] = AREAS) -> list[tuple[str, Find]]:
    """Name and function of each area; it is imported when it is run, so that one that cannot be costs no other."""
    return [(name, _area(name)) for name in names]


def _area(name: str) -> Find:
    def find(facts: Facts) -> Iterable[Finding]:
        found: Iterable[Finding] = import_module(f"{package}.{name}").find(facts)
        return found

    return find


def look(facts: Facts, finds: Iterable[tuple[str, Find]]) -> list[Finding]:
    """What the areas find, the heaviest first; a last note names what this user may not see."""
    found: list[Finding] = []
    for name, find in finds:
        try:
            # One by one: what was found before a mistake of ours stays.
            for finding in find(facts):
                found.append(finding)
        except Exception as error:
            found.append(BOOK.finding("check-failed", name, f"the area '{name}' ended early: {mistake.words(error)}"))
    if facts.refused:
        names = ", ".join(facts.refused)
        found.append(BOOK.finding("not-permitted", "", f"not as root, these could not be looked at: {names}"))
    return list(ordered(found))


def concerning(findings: Iterable[Finding], stack: str) -> list[Finding]:
    """Those of one stack, and those of the host as a whole; all where ``stack`` is ""."""
    return [f for f in findings if not stack or f.stack in ("", stack)]
