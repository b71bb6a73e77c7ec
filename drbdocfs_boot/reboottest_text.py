"""The results of a test of many reboots in words, for a terminal; what the page and JUnit's XML count and say alike.

Pure.  Whatever comes from the nodes goes through `clean` on its way out.
"""

from __future__ import annotations

import re
import shlex
import statistics
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from drbdocfs_boot import reboottest, terminal
from drbdocfs_boot.reboottest import Boot, Cycle, Finding, Run
from drbdocfs_boot.timeline_text import wall

# A row of what is measured in each boot: its name, what it is, and where it is found.
STATIONS: tuple[tuple[str, str, Callable[[Boot], float | None]], ...] = (
    ("gone", "from the order to reboot, or to cut the power, until the node was gone", lambda boot: boot.down),
    ("answering", "from the order until it could be logged in at again", lambda boot: boot.answered),
    ("up", "from the order until its stack was up", lambda boot: boot.up),
    ("mounted", "from the kernel's start until the file system was mounted", lambda boot: boot.mounted),
)
LAYERS = ("loop", "attach", "wait", "promote", "o2cb", "mount")
JOURNAL_MOST = 40  # lines of an excerpt on a terminal; the page and the JSON have more
_NAME_MOST = 24  # columns of a node's name
# A journal may hold a program's colours: they say nothing without a terminal. What else begins with ESC is not hidden.
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


@dataclass(frozen=True)
class Figures:
    """Seconds of one station: of so many boots, and how many more never came to it."""

    least: float | None
    median: float | None
    most: float | None
    boots: int
    never: int


def clean(text: str) -> str:
    """A line that is safe on a terminal and in XML: no control character, nothing that turns the writing's direction,
    no half of a pair."""
    text = _COLOUR.sub("", str(text)).replace("\t", "    ")
    return "".join(c if c.isprintable() else " " if unicodedata.category(c) == "Zs" else "?" for c in text)


def clean_lines(text: str) -> list[str]:
    """The lines of an excerpt, each one clean; line ends of all kinds count, blank ends do not."""
    return [clean(line).rstrip() for line in str(text).strip("\n").splitlines()] if text.strip() else []


def figures(values: Sequence[float | None]) -> Figures:
    """Minimum, median and maximum of those that are known."""
    known = [value for value in values if value is not None]
    never = len(values) - len(known)
    if not known:
        return Figures(None, None, None, 0, never)
    return Figures(min(known), float(statistics.median(known)), max(known), len(known), never)


def nodes_of(run: Run) -> tuple[str, ...]:
    """The run's nodes, and after them whatever else its boots name."""
    return tuple(dict.fromkeys([*run.nodes, *(boot.node for cycle in run.cycles for boot in cycle.boots)]))


def boots_of(run: Run, node: str) -> list[tuple[int, Boot]]:
    """The boots of a node, each with its cycle's number."""
    return [(cycle.number, boot) for cycle in run.cycles for boot in cycle.boots if boot.node == node]


def layers_of(run: Run) -> list[str]:
    """The names of the layers that were seen, in the stack's order; unknown ones come last."""
    seen = {layer.name for cycle in run.cycles for boot in cycle.boots for layer in boot.layers}
    return [name for name in LAYERS if name in seen] + sorted(seen.difference(LAYERS))


def layer_seconds(boot: Boot, name: str) -> float | None:
    """How long a layer took, all its tries together; None where it was not tried."""
    took = [max(0.0, layer.ended - layer.began) for layer in boot.layers if layer.name == name]
    return sum(took) if took else None


def slowest(cycle: Cycle) -> Boot | None:
    """The boot that took the longest until its stack was up; one that never came up before all others."""
    return max(cycle.boots, key=lambda boot: float("inf") if boot.up is None else boot.up, default=None)


def missing(run: Run) -> list[int]:
    """The numbers of the planned cycles that were not done."""
    done = {cycle.number for cycle in run.cycles}
    return [number for number in range(1, run.planned + 1) if number not in done]


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in words: "3, 5 to 9"."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(a) if a == b else f"{a} to {b}" if b > a + 1 else f"{a}, {b}" for a, b in found)


def count(number: int, word: str) -> str:
    """ "1 cycle", "2 cycles"."""
    return f"{number} {word}" + ("" if number == 1 else "s")


def seconds(value: float | None) -> str:
    """A duration for a cell."""
    return "-" if value is None else f"{value:.1f}"


def long(value: float) -> str:
    """A duration in words, for one that may be hours."""
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def found(run: Run) -> list[tuple[Cycle, Finding]]:
    """All that was found, in the order of the cycles."""
    return [(cycle, finding) for cycle in run.cycles for finding in cycle.findings]


def went_down(cycle: Cycle) -> str:
    """Which nodes went down how: "server1, server2 reboot"."""
    by: dict[str, list[str]] = {}
    for boot in cycle.boots:
        by.setdefault(boot.how, []).append(boot.node)
    return clean("; ".join(f"{', '.join(nodes)} {how}" for how, nodes in by.items())) or "-"


def kinds(cycle: Cycle) -> str:
    """What kinds of findings a cycle has, and how many of each."""
    by: dict[str, int] = {}
    for finding in cycle.findings:
        name = f"{finding.kind} {finding.node}".strip()
        by[name] = by.get(name, 0) + 1
    return clean(", ".join(name + (f" ({number})" if number > 1 else "") for name, number in by.items())) or "-"


def verdict(run: Run) -> str:
    """ "passed", "failed" or "not finished": one of the three."""
    if found(run):
        return "failed"
    return "passed" if run.good else "not finished"


def headline(run: Run) -> str:
    """What it is."""
    pattern = reboottest.PATTERNS.get(run.pattern, run.pattern)
    return clean(
        f"reboot test of {run.stack} on {' and '.join(run.nodes) or 'no node'}, {pattern}, began {wall(run.began, 0.0)}"
    )


def outcome(run: Run) -> str:
    """How the run ended, and what was not done."""
    number = len(found(run))
    bad = sum(not cycle.good for cycle in run.cycles)
    left = missing(run)
    words = f"{verdict(run)}: {len(run.cycles)} of {count(run.planned, 'cycle')} done, "
    if number:
        words += f"{count(number, 'finding')} in {count(bad, 'cycle')}"
    else:
        words += "nothing found" if run.cycles else "so nothing is known yet"
    how = {
        reboottest.RUNNING: "; the test is still running, or was killed",
        reboottest.STOPPED: "; it stopped at the first failure",
        reboottest.INTERRUPTED: "; it was interrupted",
        reboottest.DONE: "",
    }
    words += how.get(run.ended, f"; it ended as {clean(run.ended)}")
    if left:
        words += f"; not done: {'cycle' if len(left) == 1 else 'cycles'} {ranges(left)}"
    return words


def again(run: Run) -> str:
    """The command that runs the same test again; limits and a power switch's commands are not in the results."""
    words = ["drbdocfs", "reboot-test", "--nodes", ",".join(run.nodes), "--cycles", str(run.planned)]
    return clean(shlex.join([*words, "--pattern", run.pattern, run.stack]))


# The table


def _cells(text: str) -> int:
    """How many columns a clean text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, columns: int) -> tuple[str, str]:
    """As much of a text as ``columns`` hold, and the rest; at least one character, so that there is an end."""
    if text.isascii():
        return text[: max(1, columns)], text[max(1, columns) :]
    used = 0
    for place, letter in enumerate(text):
        used += _cells(letter)
        if used > columns and place:
            return text[:place], text[place:]
    return text, ""


def _clip(text: str, columns: int) -> str:
    """A text in at most ``columns``, with dots where something is left out."""
    if not columns or _cells(text) <= columns:
        return text
    return _cut(text, columns - 3)[0] + "..." if columns > 6 else _cut(text, columns)[0]


def _pad(text: str, columns: int, right: bool) -> str:
    space = " " * max(0, columns - _cells(text))
    return space + text if right else text + space


def _fold(text: str, columns: int, first: str = "", rest: str = "  ") -> Iterator[str]:
    """Lines of at most ``columns`` (0: no limit): broken between words, and within one that has no room at all."""
    if not columns:
        yield first + text
        return
    line, empty = first, True
    for word in text.split(" "):
        if not empty and _cells(line) + 1 + _cells(word) > columns:
            yield line
            line, empty = rest, True
        line += word if empty else " " + word
        empty = False
        while _cells(line) > columns:
            part, over = _cut(line, columns)
            yield part
            line = rest + over
    yield line


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: str, columns: int) -> list[str]:
    """Aligned columns; ``numbers`` has an r for each column that stands to the right.  The last one is cut to fit."""
    widths = [max(_cells(row[place]) for row in [head, *rows]) for place in range(len(head))]
    if columns and (over := sum(widths) + 2 * (len(widths) - 1) - columns) > 0:
        widths[-1] = max(5, widths[-1] - over)
    lines = []
    for row in [head, *rows]:
        cells = [_pad(_clip(text, wide), wide, side == "r") for text, wide, side in zip(row, widths, numbers)]
        lines.append(_clip("  ".join(cells).rstrip(), columns))
    return lines


def _cycle_rows(run: Run, columns: int) -> list[str]:
    """Head and a line for each cycle; columns that a narrow terminal has no room for are left out, the least first."""
    rows: list[list[str]] = []
    for cycle in run.cycles:
        worst = slowest(cycle)
        stations = [
            "never" if cycle.boots and any(pick(boot) is None for boot in cycle.boots)
            else seconds(max((pick(boot) or 0.0 for boot in cycle.boots), default=None))
            for _, _, pick in STATIONS[:3]
        ]  # fmt: skip
        name = "-" if worst is None else _clip(clean(worst.node), _NAME_MOST)
        rows.append([str(cycle.number), _clip(went_down(cycle), 40), *stations, name, str(cycle.acknowledged),
                     kinds(cycle)])  # fmt: skip
    head = ["cycle", "went down", "gone", "answering", "up", "slowest", "records", "found"]
    sides = "rlrrrlrl"
    # What a cycle's line can do without, the first one first: what has no room stands in the page.
    for name in ("records", "slowest", "gone", "answering", "went down"):
        wide = sum(max(_cells(row[place]) for row in [head, *rows]) for place in range(len(head) - 1))
        if not columns or wide + 2 * (len(head) - 1) + 10 <= columns:
            break
        place = head.index(name)
        head, rows = head[:place] + head[place + 1 :], [row[:place] + row[place + 1 :] for row in rows]
        sides = sides[:place] + sides[place + 1 :]
    return _grid(head, rows, sides, columns)


def _figure_rows(run: Run, columns: int) -> list[str]:
    rows: list[list[str]] = []
    for node in nodes_of(run):
        boots = [boot for _, boot in boots_of(run, node)]
        for place, (name, _, pick) in enumerate(STATIONS):
            one = figures([pick(boot) for boot in boots])
            many = str(one.boots) + (f", {one.never} never" if one.never else "")
            label = _clip(clean(node), _NAME_MOST) if place == 0 else ""
            rows.append([label, name, seconds(one.least), seconds(one.median), seconds(one.most), many])
    return _grid(["node", "seconds until", "min", "median", "max", "boots"], rows, "llrrrl", columns)


def _finding(title: str, finding: Finding, columns: int, paint: Callable[[str, str], str]) -> Iterator[str]:
    where = clean(finding.node) or "both nodes"
    text = " ".join(clean_lines(finding.text)) or "(no words)"
    for line in _fold(f"{title}{where}: {clean(finding.kind)}: {text}", columns):
        yield paint(line, "failed")
    lines = clean_lines(finding.journal)
    if len(lines) > JOURNAL_MOST:
        yield from _fold(f"({len(lines) - JOURNAL_MOST} earlier lines are left out here)", columns, "    ", "    ")
        lines = lines[-JOURNAL_MOST:]
    for line in lines:
        yield from _fold(line, columns, "    ", "      ")


def table(run: Run, colour: bool = False, width: int = 100) -> str:
    """The whole report: a line for each cycle, figures for each node, each finding, and how it ended.  ``width`` is
    the terminal's in columns, 0 for no limit; no line is wider."""

    def paint(text: str, style: str) -> str:
        return terminal.painted(text, style) if colour else text

    out = [paint(line, "bold") for line in _fold(headline(run), width)]
    for finding in run.before:
        out += ["", *_finding("passed over, before the first cycle: ", finding, width, lambda text, _style: text)]
    if run.cycles:
        head, *rows = _cycle_rows(run, width)
        out += ["", head]
        out += [line if cycle.good else paint(line, "failed") for cycle, line in zip(run.cycles, rows)]
        out += ["", *_figure_rows(run, width), ""]
        for name, what, _ in STATIONS:
            out += [paint(line, "dim") for line in _fold(f"{name}: {what}", width)]
    for cycle, finding in found(run):
        out += ["", *_finding(f"cycle {cycle.number}, ", finding, width, paint)]
    style = {"passed": "up", "failed": "failed"}.get(verdict(run), "waiting")
    out += ["", *(paint(line, style) for line in _fold(outcome(run), width))]
    if verdict(run) != "passed":
        out += _fold(f"to run it again: {again(run)}", width)
    return "\n".join(out)
