"""Rules and findings of ``drbdocfs check``.

A code is stable: scripts and the documentation (docs/check.md) name it.  An area says where a rule is broken and how;
why it matters and what to do stand once, in the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drbdocfs_boot.checks.facts import Facts

# In the order of weight.  error: the stack does not come up, or data is in danger; warning: it works until a bad day;
# note: worth knowing.  Only errors make the answer of ``check`` a no.
ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Rule:
    """``why`` it matters and what to do (``advice``), each a sentence or two; ``title`` a few words for the page."""

    severity: str
    title: str
    why: str
    advice: str


@dataclass(frozen=True)
class Finding:
    """``where``: "FILE", "FILE:LINE", a unit, a device; "" for the host as a whole.  ``stack``: "" for all of them."""

    code: str
    severity: str
    stack: str
    where: str
    message: str
    why: str
    advice: str


Rules = dict[str, Rule]
Find = Callable[["Facts"], Iterable[Finding]]


class Book:
    """The rules of an area, and what makes its findings."""

    def __init__(self, **rules: Rule) -> None:
        """Keywords are the codes with ``_`` for ``-``."""
        self.rules: Rules = {name.replace("_", "-"): rule for name, rule in rules.items()}

    def finding(
        self, code: str, where: str, message: str, stack: str = "", *, severity: str = "", advice: str = ""
    ) -> Finding:
        """A finding by its rule; ``severity`` and ``advice`` where this case differs from the rule's."""
        rule = self.rules[code]
        return Finding(code, severity or rule.severity, stack, where, message, rule.why, advice or rule.advice)


def ordered(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Each finding once, the heaviest first, else in the order in which they were found."""
    unique = list(dict.fromkeys(findings))
    for severity in SEVERITIES:
        yield from (f for f in unique if f.severity == severity)
