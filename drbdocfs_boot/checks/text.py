"""Findings as a person reads them, and as JSON.  Pure but for asking the stream what it can show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from drbdocfs_boot import terminal
from drbdocfs_boot.checks.model import ERROR, SEVERITIES, WARNING, Finding

VERSION = 1  # of the JSON form: raised when a field changes its meaning or goes
INDENT = "    "
PARTIAL = ("not-permitted", "peer-hidden")


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """How many there are of each severity."""
    return {severity: sum(f.severity == severity for f in findings) for severity in SEVERITIES}


def summary(findings: Sequence[Finding], host: str) -> str:
    """The last line."""
    number = counts(findings)
    said = ", ".join(f"{n} {severity}{'' if n == 1 else 's'}" for severity, n in number.items() if n)
    if not number[ERROR] and not number[WARNING]:
        limits = " in what could be looked at" if any(f.code in PARTIAL for f in findings) else ""
        return f"{host}: nothing is wrong{limits}" + (f" ({said})" if said else "")
    return f"{host}: {said}"


def lines(findings: Sequence[Finding], host: str, stream: TextIO) -> Iterator[str]:
    """One finding after the other, the heaviest first; why and what to do once for those of a kind."""
    columns = terminal.width(stream)
    for number, one in enumerate(findings):
        where = [f"at {one.where}"] if one.where else []
        where += [f"(stack {one.stack})"] if one.stack else []
        place = " ".join(where)
        head = terminal.style(one.severity, one.severity, stream) + ": " + terminal.style(one.code, "bold", stream)
        if place and (not columns or len(f"{one.severity}: {one.code} {place}") <= columns):
            yield f"{head} {place}"
        else:
            yield head
            if place:
                yield from terminal.wrap(place, columns, INDENT, INDENT)
        yield from terminal.wrap(one.message, columns, INDENT, INDENT)
        after = findings[number + 1] if number + 1 < len(findings) else None
        if after is None or (after.code, after.why, after.advice) != (one.code, one.why, one.advice):
            yield from terminal.wrap(one.why, columns, INDENT + "why: ", INDENT * 2)
            yield from terminal.wrap(one.advice, columns, INDENT + "what to do: ", INDENT * 2)
            yield ""
    yield terminal.style(summary(findings, host), _colour(findings), stream)


def _colour(findings: Sequence[Finding]) -> str:
    number = counts(findings)
    return ERROR if number[ERROR] else WARNING if number[WARNING] else "ok"


def as_json(findings: Sequence[Finding], host: str, live: bool, refused: Sequence[str]) -> dict[str, Any]:
    """The stable form, see drbdocfs-check(8)."""
    return {
        "version": VERSION,
        "host": host,
        "live": live,
        "counts": counts(findings),
        "refused": list(refused),
        "findings": [
            {
                "code": one.code,
                "severity": one.severity,
                "stack": one.stack,
                "where": one.where,
                "message": one.message,
                "why": one.why,
                "advice": one.advice,
            }
            for one in findings
        ],
    }
