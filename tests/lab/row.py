"""A row of the fault matrix: what goes wrong on a pair that is up, what has to come of it, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from .lab import Lab


@dataclass(frozen=True)
class Result:
    """What was seen in a row, and what of it was otherwise than expected."""

    text: str
    wrong: list[str]
    states: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """`run` begins and ends with both nodes up; it raises AssertionError where the pair is no good any more."""

    name: str
    group: str
    words: str  # what has to come of it
    run: Callable[[Lab], Result]
    seconds: float  # about how long it takes
    named_only: bool = False  # so long that it is run only where it is named
