"""Timelines as a picture: SVG, self-contained, without script, for light and dark screens.  Pure.

Meaning never hangs on a colour alone: the critical path has a star and a thicker bar, a failed layer is hatched and
says so.  A reader that hears gets title and desc, and a title for each bar.
"""

from __future__ import annotations

from collections.abc import Sequence

from drbdocfs_boot.timeline import CUT, DONE, RUNNING, Layer, Start, Timeline
from drbdocfs_boot.timeline_text import headline, notes, rows, span, wall, why

WIDTH = 1000
MARGIN = 24
LABEL = 190  # of the rows' names
PLOT = WIDTH - 2 * MARGIN - LABEL  # of the time axis
ROW = 26
LETTER = 6.6  # mean width of a letter at 12 px, generously: no font is asked
LINE = 18
_STYLE = """
text { font: 12px system-ui, "DejaVu Sans", Verdana, sans-serif; fill: #1f2328; }
.head { font-size: 15px; font-weight: bold; }
.small, .scale { fill: #57606a; font-size: 11px; }
.star { font-weight: bold; }
.paper { fill: #ffffff; }
.grid { stroke: #d8dee4; stroke-width: 1; }
.reached { stroke: #57606a; stroke-width: 2; }
.system { fill: #c4ccd4; }
.beside { fill: #6cb6ff; stroke: #0969da; }
.critical { fill: #e8912d; stroke: #953800; }
.failed { fill: url(#hatch); stroke: #cf222e; }
.hatch { stroke: #cf222e; stroke-width: 3; }
.running { fill: none; stroke: #953800; stroke-dasharray: 5 3; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small, .scale { fill: #9da7b3; }
  .paper { fill: #0d1117; }
  .grid { stroke: #30363d; }
  .reached { stroke: #9da7b3; }
  .system { fill: #484f58; }
  .beside { fill: #1f6feb; stroke: #79c0ff; }
  .critical { fill: #bb6a14; stroke: #ffb86b; }
  .failed { stroke: #ff7b72; }
  .hatch { stroke: #ff7b72; }
  .running { stroke: #ffb86b; }
}
"""


def escaped(text: str) -> str:
    """Text for XML: markup escaped, characters that XML does not have replaced."""
    text = "".join(c if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff" else "?" for c in text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _fitting(text: str, width: float, size: float = 12.0) -> str:
    """As much of a text as has room; the whole one stands in the bar's title."""
    letters = max(4, int(width / (LETTER * size / 12)))
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


def _wrapped(text: str, width: float, size: float) -> list[str]:
    letters = int(width / (LETTER * size / 12))
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > letters:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return [_fitting(line, width, size) for line in lines]


def step(seconds: float) -> float:
    """Between two lines of the grid: 1, 2 or 5 times a power of ten, so that there are five to ten."""
    power = 0.001
    while True:
        for factor in (1, 2, 5):
            if seconds / (factor * power) <= 10:
                return factor * power
        power *= 10


class _Drawing:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = float(MARGIN)

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "") -> None:
        more = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escaped(words)}</text>')

    def paragraph(self, words: str, kind: str, size: float, height: float) -> None:
        for line in _wrapped(words, WIDTH - 2 * MARGIN, size):
            self.y += height
            self.text(MARGIN, self.y - 4, line, kind)


def picture(lines: Sequence[Timeline]) -> str:
    """The whole file: timelines one below the other, each boot of a late stack with both of its starts."""
    drawing = _Drawing()
    for number, line in enumerate(lines):
        if number:
            drawing.y += 22
        _timeline(drawing, line)
    _legend(drawing)
    height = drawing.y + MARGIN
    title = "drbdocfs timeline: " + ", ".join(dict.fromkeys(line.stack for line in lines))
    told = ". ".join(headline(line) for line in lines)
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}"'
                f' height="{height:.0f}" role="img" aria-labelledby="title desc">'
            ),
            f'<title id="title">{escaped(title)}</title>',
            f'<desc id="desc">{escaped(told)}.</desc>',
            f"<style>{_STYLE}</style>",
            (
                '<defs><pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse"'
                ' patternTransform="rotate(45)"><line class="hatch" x1="0" y1="0" x2="0" y2="8"/></pattern></defs>'
            ),
            f'<rect class="paper" x="0" y="0" width="{WIDTH}" height="{height:.0f}"/>',
            *drawing.parts,
            "</svg>",
            "",
        ]
    )


def _timeline(drawing: _Drawing, line: Timeline) -> None:
    drawing.paragraph(headline(line), "head", 15.5, 22)
    for note in notes(line):
        drawing.paragraph(note, "small", 11, LINE)
    for start in line.starts:
        if start.kind != "boot":
            how = "late, by drbdocfs-follow.service" if start.kind == "late" else "by hand"
            words = f"started at {wall(line.zero, start.began)}, {how}" + (f": {start.why}" if start.why else "")
            drawing.y += 8
            drawing.paragraph(words, "", 12, LINE)
        _start(drawing, line, start)


def _start(drawing: _Drawing, line: Timeline, start: Start) -> None:
    low, high = span(line, start)
    shown = rows(line, start)
    left = MARGIN + LABEL

    def x(at: float) -> float:
        return left + max(0.0, min(1.0, (at - low) / (high - low))) * PLOT

    drawing.y += 24
    top, bottom = drawing.y, drawing.y + ROW * len(shown)
    gap = step(high - low)
    digits = 0 if gap >= 1 else 1 if gap >= 0.1 else 3
    mark = int(low / gap)
    while mark * gap <= high + gap / 1000:
        at = mark * gap
        if at >= low - gap / 1000:
            drawing.parts.append(
                f'<line class="grid" x1="{x(at):.1f}" y1="{top:.1f}" x2="{x(at):.1f}" y2="{bottom:.1f}"/>'
            )
            anchor = "end" if x(at) > left + PLOT - 20 else "middle"
            drawing.text(x(at), top - 6, f"{at:.{digits}f} s", "scale", anchor)
        mark += 1
    for number, (name, began, ended, layer) in enumerate(shown):
        _row(drawing, top + number * ROW, name, began, ended, layer, x, start)
    drawing.y = bottom + 4
    if start.stopped_at:
        words = {RUNNING: "is at", CUT: "had come to"}.get(start.result, "stopped at")
        drawing.paragraph(f"{words} {start.stopped_at}" + (f": {start.reason}" if start.reason else ""), "", 12, LINE)
    for layer in start.layers:
        if layer.layer == "wait" and layer.result == DONE and layer.log:
            drawing.paragraph(f"wait: {why(layer, start)}", "small", 11, LINE)


def _row(
    drawing: _Drawing,
    y: float,
    name: str,
    began: float | None,
    ended: float | None,
    layer: Layer | None,
    x: object,
    start: Start,
) -> None:
    assert callable(x)
    middle = y + ROW / 2 + 4
    critical = layer is not None and layer.critical
    if critical:
        drawing.text(MARGIN, middle, "*", "star")
    drawing.text(MARGIN + 14, middle, _fitting(name, LABEL - 24), "star" if critical else "")
    if began is None:
        at = float(x(ended or 0.0))
        drawing.parts.append(
            f'<line class="reached" x1="{at:.1f}" y1="{y + 4:.1f}" x2="{at:.1f}" y2="{y + ROW - 4:.1f}">'
            f"<title>{escaped(f'{name} reached at {ended:.1f} s')}</title></line>"
        )
        _beside(drawing, at, at, middle, f"{ended:.1f} s")
        return
    first, last = float(x(began)), float(x(ended)) if ended is not None else float(MARGIN + LABEL + PLOT)
    kind = "system" if layer is None else "critical" if critical else "beside"
    words = "" if ended is None else f"{ended - began:.1f} s"
    if layer is not None and layer.result not in (DONE, RUNNING, CUT):
        kind = "failed"
        words = "not tried" if layer.result == "dependency" else f"failed after {words}"
    elif ended is None:
        kind, words = "running", "not over"
    if layer is not None and layer.share is not None and kind != "failed":
        words += f", {layer.share * 100:.0f}%"
    inset = 5 if critical or kind == "failed" else 8
    width = max(last - first, 1.0)
    first = min(first, MARGIN + LABEL + PLOT - width)
    about = f"{name}: {began:.1f} s to " + (f"{ended:.1f} s" if ended is not None else "no end")
    if layer is not None:
        about += f", {layer.result}" + (", on the critical path" if critical else "")
        reason = why(layer, start)
        about += f"; {reason}" if reason else ""
    drawing.parts.append(
        f'<rect class="{kind}" x="{first:.2f}" y="{y + inset:.1f}" width="{width:.2f}" height="{ROW - 2 * inset:.1f}"'
        f' rx="2"><title>{escaped(about)}</title></rect>'
    )
    _beside(drawing, first, first + width, middle, words)


def _beside(drawing: _Drawing, first: float, last: float, y: float, words: str) -> None:
    """Words to the right of a bar where there is room, else to its left, else on it."""
    need = len(words) * LETTER + 8
    if last + need <= WIDTH - MARGIN:
        drawing.text(last + 6, y, words)
    elif first - need >= MARGIN + LABEL:
        drawing.text(first - 6, y, words, anchor="end")
    else:
        drawing.text(last - 8, y, words, anchor="end")


def _legend(drawing: _Drawing) -> None:
    drawing.y += 30
    place = float(MARGIN)
    for kind, words in (
        ("critical", "* critical path"), ("beside", "beside it"), ("failed", "failed"),
        ("running", "not over"), ("system", "the system's own"),
    ):  # fmt: skip
        drawing.parts.append(
            f'<rect class="{kind}" x="{place:.1f}" y="{drawing.y - 11:.1f}" width="22" height="12" rx="2"/>'
        )
        drawing.text(place + 28, drawing.y, words, "small")
        place += 28 + len(words) * LETTER + 20
    drawing.y += 6
    drawing.paragraph("seconds since the kernel's start; % of network-online to mounted", "small", 11, LINE)
