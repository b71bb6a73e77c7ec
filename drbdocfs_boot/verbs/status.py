"""Show every layer of every stack: its unit's state, and DRBD's state in words."""

from __future__ import annotations

import argparse
import json
import os
import sys

from drbdocfs_boot import config, report, systemd
from drbdocfs_boot.tools import drbd
from drbdocfs_boot.tools.failure import Failure

HELP = "every layer of every stack, with what it waits for"
EX_UNAVAILABLE = 69
EX_CONFIG = 78
EX_USAGE = 2


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stack", metavar="STACK", nargs="?", help="this stack only")
    parser.add_argument("--json", action="store_true", help="machine-readable, with a version field")


def run(args: argparse.Namespace) -> int:
    """0 all up; 1 a stack is not up; 2 no such stack; 69 systemd cannot be asked; 78 the configuration has problems."""
    reading = config.read(os.environ.get("DRBDOCFS_ROOT", ""))
    stacks = [s for s in reading.stacks if args.stack in (None, s.name)]
    problems = tuple(p for p in reading.problems if args.stack in (None, p.stack) or not p.stack)
    if args.stack is not None and not stacks and not problems:
        names = ", ".join(s.name for s in reading.stacks) or "none"
        print(f"drbdocfs: there is no stack '{args.stack}'; configured: {names}", file=sys.stderr)
        return EX_USAGE
    try:
        units = systemd.states(u for s in stacks for u in report.layer_units(s).values()) if stacks else {}
    except systemd.NoSystemd as error:
        print(f"drbdocfs: {error.message}\nwhat to do: {error.advice}", file=sys.stderr)
        return EX_UNAVAILABLE
    reports = [report.stack_report(s, units, _drbd(s.resource)) for s in stacks]
    if args.json:
        print(json.dumps(report.as_json(reports, problems), indent=2))
    else:
        print(report.as_text(reports, problems))
    if problems:
        return EX_CONFIG
    return 0 if all(r.state == "up" for r in reports) else 1


def _drbd(resource: str) -> report.DrbdReport:
    try:
        drbd.require_module()
        state = drbd.state(resource)
        return report.drbd_report(state, drbd.verdict(state, resource))
    except Failure as failure:
        return report.DrbdReport("unknown", failure.message, failure.advice)
