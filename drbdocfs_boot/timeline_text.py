"""A timeline in words: the table of a boot with its bars, the comparison of several, and JSON.  Pure."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from drbdocfs_boot import terminal
from drbdocfs_boot.timeline import CUT, DONE, MULTI_USER, ONLINE, REMOTE_FS, RUNNING, Layer, Start, Timeline

JSON_VERSION = 1
LAYERS = ("loop", "attach", "wait", "promote", "o2cb", "mount")
# How the words look: (text, style) -> text.  The style names are terminal.STYLES'.
Paint = Callable[[str, str], str]
BAR_MOST = 80
SAID_MOST = 6  # of the lines of a wait; a long resync has many
LEGEND = "* and #: critical path   =: beside it   x: failed   >: not over   |: reached"
RESULTS = {
    "mounted": "mounted",
    "late": "mounted late",
    "hand": "mounted, started by hand",
    "failed": "not mounted",
    RUNNING: "not mounted yet",
    CUT: "unknown, the journal ends before it was mounted",
    "none": "not started",
}


def plain(text: str, _style: str) -> str:
    """No colours."""
    return text


def wall(zero: float | None, at: float, zone: bool = True) -> str:
    """Wall clock time of a moment of the boot, in this process's time zone."""
    if zero is None:
        return "at an unknown time"
    return time.strftime("%Y-%m-%d %H:%M:%S" + (" %Z" if zone else ""), time.localtime(zero + at))


def name_of(boot: int) -> str:
    """0 is this boot, or the last one of another machine's journal."""
    return f"boot {boot}"


def short(unit: str) -> str:
    """A unit as it is named in the table: a layer of ours by the layer's name."""
    if unit.startswith("drbdocfs-") and "@" in unit:
        return unit[len("drbdocfs-") :].partition("@")[0]
    return unit


def rows(line: Timeline, start: Start) -> list[tuple[str, float | None, float | None, Layer | None]]:
    """What a table or a picture of a start shows: (name, began, ended, layer); a milestone has an end only."""
    found: list[tuple[str, float | None, float | None, Layer | None]] = []
    layers = [(layer.layer, layer.began, layer.ended, layer) for layer in start.layers]
    if start.kind != "boot":
        return [*layers]
    if line.userspace is not None:
        found.append(("kernel", 0.0, line.userspace, None))
        if line.generators is not None:
            found.append(("generators", line.userspace, line.userspace + line.generators, None))
    # Where the loop device began before it, it stands before it.
    early = [row for row in layers if ONLINE not in line.milestones or row[1] < line.milestones[ONLINE]]
    found += [row for row in early if row[0] == "loop"]
    if ONLINE in line.milestones:
        found.append((ONLINE, None, line.milestones[ONLINE], None))
    found += [row for row in layers if row not in found]
    return found + [
        (unit, None, line.milestones[unit], None) for unit in (REMOTE_FS, MULTI_USER) if unit in line.milestones
    ]


def span(line: Timeline, start: Start) -> tuple[float, float]:
    """From when to when a picture of a start reaches."""
    if start.kind == "boot":
        return 0.0, max(line.end, 0.1)
    ends = [layer.ended or layer.began for layer in start.layers]
    if start.result == RUNNING:
        ends.append(start.began + 1.0)
    return start.began, max(*ends, start.began + 0.1)


def _bar(low: float, high: float, began: float | None, ended: float | None, layer: Layer | None, columns: int) -> str:
    def place(at: float) -> int:
        return min(columns - 1, max(0, int((at - low) / (high - low) * columns)))

    if began is None:
        return " " * place(ended or 0.0) + "|"
    mark = "=" if layer is None or not layer.critical else "#"
    if layer is not None and layer.result not in (DONE, RUNNING, CUT):
        mark = "x"
    first = place(began)
    if ended is None:
        return " " * first + mark * max(1, columns - 1 - first) + ">"
    return " " * first + mark * max(1, place(ended) - first + (1 if place(ended) == columns - 1 else 0))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def headline(line: Timeline) -> str:
    """What it is and how it ended."""
    words = f"{line.stack}, {name_of(line.boot)}, began {wall(line.zero, 0.0)}: {RESULTS[line.result]}"
    started = line.starts[0] if line.starts else None
    if line.total is not None and started is not None:
        since = ONLINE if started.kind == "boot" and started.online is not None else "its first layer"
        words += f" {line.total:.1f} s after {since}"
    return words


def table(line: Timeline, columns: int = 0, paint: Paint = plain) -> str:
    """One boot of a stack; ``columns`` of the terminal, 0 where there is no limit."""
    state = {"mounted": "up", "hand": "up", "late": "late", RUNNING: "waiting", "failed": "failed", CUT: "failed"}.get(
        line.result, "down"
    )
    out = [paint(text, state) for text in terminal.wrap(headline(line), columns, "", "  ")]
    for number, start in enumerate(line.starts):
        if start.kind != "boot":
            how = "late, by drbdocfs-follow.service" if start.kind == "late" else "by hand"
            why = f": {start.why}" if start.why else ""
            words = f"started {'again ' if number else ''}at {wall(line.zero, start.began)}, {how}{why}"
            out += ["", *terminal.wrap(words, columns, "", "  ")]
        out += ["", *_start(line, start, columns, paint)]
    if line.starts:
        out += ["", *(paint(text, "dim") for text in terminal.wrap(LEGEND, columns))]
    out += [text for note in notes(line) for text in terminal.wrap(note, columns, "", "  ")]
    return "\n".join(out)


def notes(line: Timeline) -> list[str]:
    """What else has to be said of a boot."""
    found = []
    if line.ends is not None:
        found.append(
            f"the journal ends here: {line.ends:.1f} s after the kernel's start, at {wall(line.zero, line.ends)},"
            " without a shutdown (power cut, reset or crash"
            + ("; or a copy of it was made while it ran)" if line.boot == 0 else ")")
        )
    if line.damaged:
        found.append(f"{line.damaged} lines of the journal could not be read; see 'journalctl --verify'")
    return found


def _start(line: Timeline, start: Start, columns: int, paint: Paint) -> list[str]:
    low, high = span(line, start)
    shown = rows(line, start)
    label = max(len(name) for name, *_ in shown) + 2
    fixed = label + 8 + 8 + 8 + 6 + 2
    space = min(BAR_MOST, (columns or 120) - fixed - 1)
    out = [f"{'  layer':{label}}{'began':>8}{'ended':>8}{'took':>8}{'share':>6}".rstrip()]
    if space >= 10:
        scale = f"{low:.1f} s"
        out[0] += "  " + scale + f"{high:.1f} s".rjust(space - len(scale))
    for name, began, ended, layer in shown:
        critical = layer is not None and layer.critical
        took = None if began is None or ended is None else ended - began
        share = f"{layer.share * 100:.0f}%" if layer is not None and layer.share is not None else ""
        text = f"{('* ' if critical else '  ') + name:{label}}{'' if began is None else _figure(began):>8}"
        text += f"{_figure(ended):>8}{'' if began is None else _figure(took):>8}{share:>6}"
        bar = _bar(low, high, began, ended, layer, space) if space >= 10 else ""
        bad = layer is not None and layer.result not in (DONE, RUNNING, CUT)
        style = "failed" if bad else "yellow" if critical else "dim" if layer is None else ""
        out.append((paint(text, style) + (("  " + paint(bar, style)) if bar else "")).rstrip())
    reasons = [(layer, reason) for layer in start.layers if (reason := why(layer, start))]
    if reasons:
        out.append("")
    for layer, reason in reasons:
        out += terminal.wrap(reason, columns, f"  {layer.layer:9}", " " * 11)
    if start.stopped_at:
        words = {RUNNING: "is at", CUT: "had come to"}.get(start.result, "stopped at")
        text = f"it {words} {start.stopped_at}" + (f": {start.reason}" if start.reason else "")
        out += [
            "",
            *(
                paint(one, "failed" if start.result == "failed" else "waiting")
                for one in terminal.wrap(text, columns, "", "  ")
            ),
        ]
        if start.advice:
            out += terminal.wrap(f"what to do: {start.advice}", columns, "", "  ")
    return out


def why(layer: Layer, start: Start) -> str:
    """What a layer waited for, in words: its predecessor, then what its helper said."""
    parts = []
    if layer.after:
        parts.append(f"after {short(layer.after)}")
    elif start.kind == "late" and layer is start.layers[0]:
        parts.append("after drbdocfs-follow.service")
    said: list[str] = []
    # Of the wait every reason counts, with its time; of the others the last word says enough.
    for at, text in layer.log if layer.layer == "wait" else ():
        if not text.startswith("what to do: ") and text != layer.reason:
            said.append(f"{at:.1f} s {text}")
    if len(said) > SAID_MOST:
        said = [*said[: SAID_MOST - 2], "...", *said[-2:]]
    if layer.reason:
        said.append(layer.reason)
    elif layer.layer == "mount" and layer.result == DONE:
        said.append("OCFS2 joins its group, with heartbeat rounds of 2 s")
    return "; ".join([*parts, *said])


# Several boots


def compared(lines: Sequence[Timeline], columns: int = 0, paint: Paint = plain) -> str:
    """A row per boot of one stack, the newest first, with minimum, median and maximum of the boots that mounted."""
    if not lines:
        return ""
    used = [name for name in LAYERS if any(_seconds(line, name) is not None for line in lines)]
    roomy = columns == 0 or columns >= 110
    clock = 24 if roomy else 16
    number = f"the last {len(lines)} boots" if len(lines) > 1 else "one boot"
    out = [f"{lines[0].stack}: {number}, seconds of each layer and from network-online to mounted", ""]
    head = f"{'boot':>6}  {'began':{clock}}" + (f"{'boot id':10}" if roomy else "")
    out.append(
        head + "".join(f"{name:>{len(name) + 1 if not roomy else 9}}" for name in used) + f"{'total':>7}  result"
    )

    def figures(values: Sequence[float | None], total: float | None) -> str:
        cells = "".join(f"{_figure(v):>{len(n) + 1 if not roomy else 9}}" for n, v in zip(used, values))
        return cells + f"{_figure(total):>7}"

    for line in lines:
        date = wall(line.zero, 0.0)[:23] if roomy else wall(line.zero, 0.0, zone=False)[:16]
        text = f"{line.boot:>6}  {date:{clock}}" + (f"{line.boot_id[:8]:10}" if roomy else "")
        text += figures([_seconds(line, name) for name in used], line.total)
        word = RESULTS[line.result] if roomy else line.result
        style = {"mounted": "up", "hand": "up", "late": "late", "failed": "failed", CUT: "failed"}.get(
            line.result, "waiting"
        )
        out.append(text + "  " + paint(word, style))
    good = [line for line in lines if line.result == "mounted"]
    if good:
        out.append("")
        pad = 6 + 2 + clock + (10 if roomy else 0)
        for title, pick in (("min", min), ("median", statistics.median), ("max", max)):
            values = [_over(pick, [_seconds(line, name) for line in good]) for name in used]
            text = f"{title:>6}".ljust(pad) + figures(values, _over(pick, [line.total for line in good]))
            out.append(paint(text, "bold" if title == "median" else ""))
    remarks = [(line, text) for line in lines if (text := _remark(line))]
    if remarks:
        out.append("")
    for line, text in remarks:
        out += terminal.wrap(f"{name_of(line.boot)}: {text}", columns, "", "  ")
    return "\n".join(out)


def _over(pick: Callable[[list[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(pick(known)) if known else None


def _seconds(line: Timeline, name: str) -> float | None:
    """What a layer took in the start that mounted, else in the last one that had it."""
    chosen = [start for start in line.starts if start.mounted is not None][:1] + list(reversed(line.starts))
    for start in chosen:
        for layer in start.layers:
            if layer.layer == name and layer.result != "dependency":
                return layer.took
    return None


def _remark(line: Timeline) -> str:
    """Why a boot is not simply mounted."""
    if line.result == "none":
        return "the stack was not started"
    parts = []
    first = line.starts[0]
    if first.mounted is None:
        words = {RUNNING: "is at", CUT: "had come to"}.get(first.result, "stopped at")
        parts.append(f"{words} {first.stopped_at}" + (f": {first.reason}" if first.reason else ""))
    for start in line.starts[1:]:
        if start.mounted is not None and first.mounted is None:
            parts.append(f"mounted at {wall(line.zero, start.mounted)}")
            break
    if line.ends is not None:
        parts.append(f"the journal ends at {line.ends:.1f} s without a shutdown")
    return "; ".join(parts)


# JSON


def as_json(boots: Sequence[Sequence[Timeline]]) -> dict[str, object]:
    """The stable form, see drbdocfs-timeline(8): a list of boots, each with its stacks."""
    return {"version": JSON_VERSION, "boots": [_boot(lines) for lines in boots if lines]}


def _boot(lines: Sequence[Timeline]) -> dict[str, object]:
    one = lines[0]
    return {
        "boot": one.boot,
        "boot_id": one.boot_id,
        "began": _round(one.zero),
        "userspace": _round(one.userspace),
        "generators": _round(one.generators),
        "milestones": {unit: _round(at) for unit, at in one.milestones.items()},
        "journal_ends": _round(one.ends),
        "damaged": one.damaged,
        "stacks": [
            {
                "stack": line.stack,
                "result": line.result,
                "total": _round(line.total),
                "starts": [_start_json(line, start) for start in line.starts],
            }
            for line in lines
        ],
    }


def _start_json(line: Timeline, start: Start) -> dict[str, object]:
    layers = []
    for layer in start.layers:
        values = asdict(layer)
        values["log"] = [{"at": _round(at), "text": text} for at, text in layer.log]
        values["took"] = layer.took
        layers.append({key: _round(value) if isinstance(value, float) else value for key, value in values.items()})
    return {
        "kind": start.kind,
        "began": _round(start.began),
        "clock": None if line.zero is None else _round(line.zero + start.began),
        "result": start.result,
        "mounted": _round(start.mounted),
        "why": start.why,
        "stopped_at": start.stopped_at,
        "reason": start.reason,
        "advice": start.advice,
        "layers": layers,
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
