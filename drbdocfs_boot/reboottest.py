"""What a test of many reboots does and what it has found: its plan and its results.  Pure.

The results are the stable form (FORMAT) that the JSON file has; the table, JUnit's XML and the page are made of them.
All durations are seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FORMAT = 1

REBOOT = "reboot"
POWER = "power"
# Pattern -> what it does, for the help and the page.
PATTERNS = {
    "one": "the first node, again and again",
    "alternate": "the nodes in turn",
    "both": "both at the same instant",
    "staggered": "both, the second one some time after the first",
    "power": "the nodes in turn, by switching the power off and on",
    "power-both": "both at the same instant, by switching the power off and on",
}

# Kinds of a finding; stable, for programs that read the results.
STACK_DOWN = "stack-down"
NOT_UP_TO_DATE = "not-up-to-date"
SPLIT_BRAIN = "split-brain"
FAILED_UNIT = "failed-unit"
ORDERING_CYCLE = "ordering-cycle"
UNCLEAN_SHUTDOWN = "unclean-shutdown"
TIME_LIMIT = "time-limit"
UNREACHABLE = "unreachable"
NO_REBOOT = "no-reboot"
POWER_COMMAND = "power-command"
DATA = "data"
CLAIMED = "claimed"  # by another run
RESET = "reset"  # down without an order of ours
CHECK = "check"  # found by a look at the cluster before the first cycle

# How a run ended.
RUNNING = "running"
DONE = "done"
STOPPED = "stopped"  # at the first failure
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Down:
    """One node goes down in a cycle: when, in seconds after the cycle's begin, and how (REBOOT or POWER)."""

    node: str
    after: float
    how: str


@dataclass(frozen=True)
class Finding:
    """Something that should not be: where ("" for both), what kind, in words, and what the journal says of it."""

    node: str
    kind: str
    text: str
    journal: str = ""


@dataclass(frozen=True)
class Layer:
    """A layer of the stack in one boot, in seconds after the kernel's start."""

    name: str
    began: float
    ended: float
    state: str


@dataclass(frozen=True)
class Boot:
    """A boot of one node.  `down`, `answered` and `up` count from the order to reboot or to cut the power: until the
    node was gone, until it could be logged in at again, and until its stack was up; None for never.  `mounted` counts
    from the kernel's start."""

    node: str
    how: str
    boot_id: str
    down: float | None
    answered: float | None
    up: float | None
    mounted: float | None
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Cycle:
    """One round: its number from 1, when it began (seconds since 1970), how long it took, and what came of it."""

    number: int
    began: float
    seconds: float
    boots: tuple[Boot, ...]
    findings: tuple[Finding, ...] = ()
    acknowledged: int = 0  # records that the nodes had acknowledged by its end, all of which were looked for

    @property
    def good(self) -> bool:
        """Nothing was found."""
        return not self.findings


@dataclass(frozen=True)
class Run:
    """A whole test.  `before` is what a look at the cluster found before the first cycle and was told to pass over."""

    stack: str
    nodes: tuple[str, ...]
    pattern: str
    planned: int
    began: float
    product: str  # our version here
    versions: dict[str, dict[str, str]]  # node -> what -> version
    cycles: tuple[Cycle, ...] = ()
    ended: str = RUNNING
    before: tuple[Finding, ...] = ()
    format: int = FORMAT

    @property
    def good(self) -> bool:
        """All that was planned was done, and nothing was found."""
        return self.ended == DONE and len(self.cycles) == self.planned and all(cycle.good for cycle in self.cycles)


def plan(pattern: str, nodes: Sequence[str], cycles: int, stagger: float = 30.0) -> list[tuple[Down, ...]]:
    """What goes down in each cycle.  `stagger` is the time between the two of "staggered"."""
    how = POWER if pattern.startswith("power") else REBOOT
    rounds: list[tuple[Down, ...]] = []
    for number in range(cycles):
        if pattern == "one":
            rounds.append((Down(nodes[0], 0.0, how),))
        elif pattern in ("alternate", "power"):
            rounds.append((Down(nodes[number % len(nodes)], 0.0, how),))
        else:
            apart = stagger if pattern == "staggered" else 0.0
            rounds.append(tuple(Down(node, apart * place, how) for place, node in enumerate(nodes)))
    return rounds


def to_json(run: Run) -> dict[str, Any]:
    """The run as JSON can have it, with a field `good` in the run and in each cycle."""
    data = dataclasses.asdict(run)
    data["good"] = run.good
    for cycle, entry in zip(run.cycles, data["cycles"]):
        entry["good"] = cycle.good
    return data


def from_json(data: dict[str, Any]) -> Run:
    """The run again.  Raises ValueError for a form that is not ours."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"not the results of a reboot test in format {FORMAT}")
    try:
        cycles = tuple(
            Cycle(
                number=entry["number"],
                began=entry["began"],
                seconds=entry["seconds"],
                boots=tuple(
                    Boot(**{**boot, "layers": tuple(Layer(**layer) for layer in boot["layers"])})
                    for boot in entry["boots"]
                ),
                findings=tuple(Finding(**finding) for finding in entry["findings"]),
                acknowledged=entry["acknowledged"],
            )
            for entry in data["cycles"]
        )
        run = Run(
            stack=data["stack"],
            nodes=tuple(data["nodes"]),
            pattern=data["pattern"],
            planned=data["planned"],
            began=data["began"],
            product=data["product"],
            versions=data["versions"],
            cycles=cycles,
            ended=data["ended"],
            before=tuple(Finding(**finding) for finding in data["before"]),
        )
        _check(run)
        return run
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"damaged results of a reboot test: {error!r}") from error


# Annotations -> what JSON may have there; all others are tuples or dictionaries, and looked into.
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "float | None": (int, float, type(None)),
}  # fmt: skip


def _check(one: Any) -> None:
    """Raises TypeError where a field, of this dataclass or of those in it, has a value of another kind."""
    for field in dataclasses.fields(one):
        value = getattr(one, field.name)
        types = _TYPES.get(str(field.type), (tuple, dict))
        if type(value) not in types:
            raise TypeError(f"{field.name} is {value!r}")
        for part in value if isinstance(value, tuple) else ():
            if dataclasses.is_dataclass(part):
                _check(part)
            elif not isinstance(part, str):
                raise TypeError(f"{field.name} has {part!r}")
        if isinstance(value, dict) and not all(
            isinstance(word, str) for each in value.values() for word in each.values()
        ):
            raise TypeError(f"{field.name} is {value!r}")
