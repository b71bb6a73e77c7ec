"""Look for all that is wrong or risky in a stack's layers, before a reboot shows it."""

from __future__ import annotations

import argparse
import json
import sys

from drbdocfs_boot.checks import facts as facts_
from drbdocfs_boot.checks import peer, runner, text
from drbdocfs_boot.checks.facts import Facts
from drbdocfs_boot.checks.model import ERROR, Finding
from drbdocfs_boot.exits import EX_NO, EX_NOPERM, EX_OK, EX_UNAVAILABLE, EX_USAGE, refuse
from drbdocfs_boot.lean import MAIN_FILE

# What says that the other host could not be asked.
UNASKED = ("peer-unreachable", "peer-unknown")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stack", metavar="STACK", nargs="?", default="", help="this stack, and the host as a whole")
    parser.add_argument("--json", action="store_true", help="machine-readable, with a version field")
    parser.add_argument(
        "--peer",
        metavar="DEST",
        nargs="?",
        const="",
        help="also ask the other host over ssh whether both sides agree (default: the resource's other host)",
    )


def run(args: argparse.Namespace) -> int:
    """0 no errors; 1 errors; 2 no such stack; 69 the other host cannot be asked; 77 something may not be looked at."""
    facts = facts_.collect()
    names = [s.name for s in facts.reading.stacks] + [name for name in facts.reading.broken if name]
    facts.read(MAIN_FILE)
    if args.stack and args.stack not in names and not facts.refused:
        return refuse(EX_USAGE, f"there is no stack '{args.stack}'; configured: {', '.join(names) or 'none'}")
    findings = examine(facts, args.stack, args.peer)
    if args.json:
        print(json.dumps(text.as_json(findings, facts.host, facts.live, list(facts.refused)), indent=2))
    else:
        for line in text.lines(findings, facts.host, sys.stdout):
            print(line)
    return status(findings, bool(facts.refused))


def examine(facts: Facts, stack: str, destination: str | None) -> list[Finding]:
    """All findings that concern a stack ("" for all); ``destination`` None: the other host is not asked."""
    areas = runner.areas()
    if destination is not None:
        stacks = [s for s in facts.reading.stacks if stack in ("", s.name)]
        areas.append(("peer", lambda facts: peer.find(facts, stacks, destination)))
    return runner.concerning(runner.look(facts, areas), stack)


def status(findings: list[Finding], refused: bool) -> int:
    """The exit status: errors count first, then what could not be looked at."""
    if any(f.severity == ERROR for f in findings):
        return EX_NO
    if any(f.code in UNASKED for f in findings):
        return EX_UNAVAILABLE
    return EX_NOPERM if refused else EX_OK
