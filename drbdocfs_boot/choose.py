"""The stacks that a verb was asked about, or the refusal."""

from __future__ import annotations

import os
import sys

from drbdocfs_boot import lean
from drbdocfs_boot.exits import EX_CONFIG, EX_USAGE, refuse
from drbdocfs_boot.stack import Stack


def one(name: str) -> Stack | int:
    """The stack of that name; or the exit status, after the reason was said: 2 no such stack, 78 it has mistakes."""
    reading = lean.read(os.environ.get("DRBDOCFS_ROOT", ""))
    stack = next((s for s in reading.stacks if s.name == name), None)
    if stack is not None:
        return stack
    mistakes = [p for p in reading.problems if p.stack == name]
    for problem in mistakes:
        print(f"drbdocfs: {problem}", file=sys.stderr)
    if mistakes:
        return EX_CONFIG
    names = ", ".join(s.name for s in reading.stacks) or "none"
    return refuse(EX_USAGE, f"there is no stack '{name}'; configured: {names}")
