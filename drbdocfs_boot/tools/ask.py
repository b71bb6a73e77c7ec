"""The questions that the command asks: whether it is really to be done, and what it was not told."""

from __future__ import annotations

import sys


def possible() -> bool:
    """True when there is somebody to ask: both ends are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def yes(question: str) -> bool:
    """Ask; True only for the whole word ``yes``.  The end of the input is a no."""
    sys.stdout.write(question + " Type 'yes': ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print()
    return answer.strip() == "yes"


def text(question: str) -> str:
    """Ask for a word; "" at the end of the input or for an empty line."""
    sys.stdout.write(question + ": ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print()
    return answer.strip()
