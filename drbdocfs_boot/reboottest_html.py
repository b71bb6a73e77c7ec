"""The results of a test of many reboots as one page: self-contained, without script, for light and dark screens, to
be printed and to be sent.  Pure.

Meaning never hangs on a colour alone: lines have their marks, layers their patterns, what is bad says so in words; the
pictures' figures stand in tables beside them.  The Content-Security-Policy allows nothing but the page's own style.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

from drbdocfs_boot import reboottest, timeline
from drbdocfs_boot.reboottest import Boot, Cycle, Finding, Run
from drbdocfs_boot.reboottest_text import (
    STATIONS,
    again,
    boots_of,
    clean,
    clean_lines,
    count,
    figures,
    found,
    layer_seconds,
    layers_of,
    long,
    nodes_of,
    outcome,
    seconds,
    verdict,
)
from drbdocfs_boot.timeline_svg import LETTER, escaped, step
from drbdocfs_boot.timeline_text import wall

WIDTH = 960  # of a picture
LEFT = 64  # of the plot: the axis' figures stand there
PLOT = WIDTH - LEFT - 20
HIGH = 170  # of a node's plot
POINTS_MOST = 200  # of a line; more cycles than that are drawn together
MARKS_MOST = 60  # beyond that the marks would be a smear
COLUMNS_MOST = 60  # boots beside each other in the picture of the layers
OPEN_MOST = 10  # so many excerpts are open from the beginning
# What the page holds at most, so that it can be sent: findings in full, and characters of excerpts, escaped.
FINDINGS_MOST = 500
JOURNAL_MOST = 700_000
EXCERPT_MOST = 20_000
NUMBER = ' class="n"'
PATTERNS = 7  # of the layers; one more than there are layers, for those that are unknown

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1f2328; --soft: #57606a; --line: #d0d7de; --shade: #f6f8fa;
  --bad: #b3261e; --good: #116329; --open: #7d4e00; --gone: #57606a; --answering: #0550ae; --up: #953800;
  --l0: #9aa4af; --l1: #56b4e9; --l2: #e69f00; --l3: #2fa37c; --l4: #cc79a7; --l5: #3b7fc4; --l6: #d0704a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0d1117; --ink: #e6edf3; --soft: #9da7b3; --line: #3d444d; --shade: #161b22; --bad: #ff8a80;
    --good: #6fdd8b; --open: #f0b35a; --gone: #9da7b3; --answering: #79c0ff; --up: #ffb86b;
    --l0: #6e7781; --l1: #2d87ba; --l2: #b37c00; --l3: #1d7d5d; --l4: #a2557f; --l5: #2f69a5; --l6: #a5512f; }
}
body { margin: 0 auto; padding: 1rem 1.25rem 3rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "DejaVu Sans", Verdana, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
p { margin: .4rem 0; overflow-wrap: anywhere; }
.soft, caption { color: var(--soft); font-size: .9rem; }
.verdict { font-size: 1.1rem; border-left: .4rem solid; padding: .3rem .8rem; background: var(--shade); }
.verdict.failed { border-color: var(--bad); }
.verdict.passed { border-color: var(--good); }
.verdict.open { border-color: var(--open); }
.bad { color: var(--bad); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: .4rem 0; }
caption { text-align: left; padding: .2rem 0; }
th, td { text-align: left; vertical-align: top; padding: .22rem .7rem; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
a { color: inherit; }
pre { background: var(--shade); border: 1px solid var(--line); padding: .6rem .8rem; margin: .4rem 0; font-size: .8rem;
  line-height: 1.4; white-space: pre-wrap; overflow-wrap: anywhere; }
.finding { border-left: .2rem solid var(--bad); padding-left: .8rem; margin: 1rem 0; }
summary { cursor: pointer; }
svg { display: block; width: 100%; min-width: 40rem; height: auto; }
svg text { font: 12px system-ui, "DejaVu Sans", Verdana, sans-serif; fill: var(--ink); }
svg .name { font-weight: bold; }
svg .scale { fill: var(--soft); font-size: 11px; }
svg .grid { stroke: var(--line); }
svg .axis { stroke: var(--soft); }
svg .gone, svg .answering, svg .up { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .gone { stroke: var(--gone); stroke-dasharray: 2 3; }
svg .answering { stroke: var(--answering); stroke-dasharray: 7 4; }
svg .up { stroke: var(--up); }
svg .mark { stroke-width: 1.5; stroke-dasharray: none; fill: var(--paper); }
svg .cross { stroke: var(--bad); stroke-width: 2; fill: none; }
svg .layer { stroke: var(--paper); stroke-width: .6; }
svg .broken { stroke: var(--bad); stroke-width: 2.5; }
svg .ink { stroke: var(--paper); stroke-width: 1.6; fill: none; }
svg .l0 { fill: var(--l0); } svg .l1 { fill: var(--l1); } svg .l2 { fill: var(--l2); } svg .l3 { fill: var(--l3); }
svg .l4 { fill: var(--l4); } svg .l5 { fill: var(--l5); } svg .l6 { fill: var(--l6); }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  svg { min-width: 0; break-inside: avoid; }
  tr, .verdict { break-inside: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; opacity: 1; }
}
"""
# What is drawn on a layer's colour, by its number.
_INKS = (
    "",
    '<path class="ink" d="M-2 2L2 -2M0 8L8 0M6 10L10 6"/>',
    '<path class="ink" d="M1 2h3M5 6h3"/>',
    '<path class="ink" d="M0 4H8"/>',
    '<path class="ink" d="M4 0V8"/>',
    '<path class="ink" d="M-2 6L2 10M0 0L8 8M6 -2L10 2"/>',
    '<path class="ink" d="M4 0V8M0 4H8"/>',
)

_T = TypeVar("_T")


def _e(text: str) -> str:
    """Anything as text or as an attribute's value."""
    return escaped(clean(text))


def page(run: Run) -> str:
    """The whole page."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    title = _e(f"Reboot test of {run.stack}: {verdict(run)}")
    body = [
        *_head(run),
        *_summary(run),
        *_times(run),
        *_layers(run),
        *_findings(run),
        *_cycles(run),
        *_versions(run),
        *_again(run),
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            # Whatever might get into the page in spite of all can neither run nor call anyone.
            (
                '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
                f" style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\">"
            ),
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            *body,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


# Words and tables


def _head(run: Run) -> list[str]:
    kind = {"passed": "passed", "failed": "failed"}.get(verdict(run), "open")
    pattern = reboottest.PATTERNS.get(run.pattern)
    took = sum(cycle.seconds for cycle in run.cycles)
    facts = [
        ("Nodes", ", ".join(run.nodes)),
        ("What went down", f"{run.pattern}: {pattern}" if pattern else run.pattern),
        ("Began", wall(run.began, 0.0)),
        ("All cycles together", long(took)),
        ("Acknowledged records", str(max((cycle.acknowledged for cycle in run.cycles), default=0))),
    ]
    return [
        f"<h1>Reboot test of {_e(run.stack)}</h1>",
        f'<p class="verdict {kind}">{_e(outcome(run)).capitalize()}.</p>',
        "<table>",
        *(f'<tr><th scope="row">{_e(name)}</th><td>{_e(value)}</td></tr>' for name, value in facts),
        "</table>",
    ]


def _columns(names: Sequence[str], words: int) -> str:
    """The heads of a table's columns, of which the first ``words`` have no numbers."""
    cells = [f'<th scope="col"{"" if at < words else NUMBER}>{_e(name)}</th>' for at, name in enumerate(names)]
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _group(node: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a node under one head.  The first cell of each row is its head."""
    lines = ["<tbody>"]
    for place, (name, *cells) in enumerate(rows):
        head = f'<th scope="rowgroup" rowspan="{len(rows)}">{_e(node)}</th>' if place == 0 else ""
        numbers = "".join(f'<td class="n">{_e(cell)}</td>' for cell in cells)
        lines.append(f'<tr>{head}<th scope="row">{_e(name)}</th>{numbers}</tr>')
    return [*lines, "</tbody>"]


def _figures(values: Sequence[float | None]) -> list[str]:
    one = figures(values)
    return [
        seconds(one.least), seconds(one.median), seconds(one.most),
        str(one.boots) + (f", {one.never} never" if one.never else ""),
    ]  # fmt: skip


def _summary(run: Run) -> list[str]:
    if not run.cycles:
        return []
    lines = ["<h2>Seconds of each boot</h2>", '<div class="wide"><table>']
    lines.append(_columns(["Node", "Until", "Minimum", "Median", "Maximum", "Boots"], 2))
    for node in nodes_of(run):
        boots = [boot for _, boot in boots_of(run, node)]
        lines += _group(node, [[name, *_figures([pick(boot) for boot in boots])] for name, _, pick in STATIONS])
    lines.append("</table></div>")
    lines += [f'<p class="soft">{_e(name)}: {_e(what)}.</p>' for name, what, _ in STATIONS]
    return lines


def _excerpt(finding: Finding, opened: bool, room: int) -> tuple[str, int]:
    """The journal's words on a finding, and how many characters they take."""
    lines = clean_lines(finding.journal)
    if not lines:
        return "", 0
    kept: list[str] = []
    used = 0
    most = min(EXCERPT_MOST, room)
    for line in reversed(lines):  # the end says the most
        text = escaped(line)
        if used + len(text) + 1 > most:
            break
        kept.append(text)
        used += len(text) + 1
    kept.reverse()
    left = len(lines) - len(kept)
    note = f'<p class="soft">{count(left, "line")} before that stand in the JSON only.</p>' if left else ""
    if not kept:
        return '<p class="soft">What the journal says of it stands in the JSON only: the page has no room.</p>', 0
    mark = " open" if opened else ""
    head = f"<details{mark}><summary>What the journal says ({count(len(kept), 'line')})</summary>{note}"
    return head + "<pre>" + "\n".join(kept) + "</pre></details>", used


def _finding(where: str, finding: Finding, excerpt: str) -> str:
    text = "<br>".join(_e(line) for line in clean_lines(finding.text)) or "(no words)"
    node = f"on {finding.node}" if finding.node else "on both nodes"
    return (
        f'<div class="finding"><p><span class="bad">✘ {_e(finding.kind)}</span> {_e(where)}, {_e(node)}</p>'
        f"<p>{text}</p>{excerpt}</div>"
    )


def _findings(run: Run) -> list[str]:
    lines: list[str] = []
    room = JOURNAL_MOST
    if run.before:
        lines.append("<h2>Passed over before the first cycle</h2>")
        for finding in run.before:
            excerpt, used = _excerpt(finding, False, room)
            room -= used
            lines.append(_finding("before the first cycle", finding, excerpt))
    every = found(run)
    if not every:
        return lines
    lines.append("<h2>What was found</h2>")
    opened = len(every) <= OPEN_MOST
    anchored: set[int] = set()
    for cycle, finding in every[:FINDINGS_MOST]:
        excerpt, used = _excerpt(finding, opened, room)
        room -= used
        if cycle.number not in anchored:
            anchored.add(cycle.number)
            lines.append(f'<h3 id="found-{cycle.number:d}">Cycle {cycle.number:d}</h3>')
        lines.append(_finding(f"in cycle {cycle.number}", finding, excerpt))
    if len(every) > FINDINGS_MOST:
        lines.append(f"<p>{count(len(every) - FINDINGS_MOST, 'finding')} more stand in the JSON only.</p>")
    return lines


def _cycles(run: Run) -> list[str]:
    if not run.cycles:
        return []
    # Where a finding has no room the table must not lead to it.
    told = {cycle.number for cycle, _ in found(run)[:FINDINGS_MOST]}
    lines = ["<h2>All cycles</h2>", '<div class="wide"><table>']
    heads = ["Cycle", "Node", "Went down by", *(name.capitalize() for name, *_ in STATIONS), "Records", "Found"]
    lines.append(_columns(heads, 3).replace(NUMBER + ">Found", ">Found"))
    for cycle in run.cycles:
        boots: Sequence[Boot | None] = cycle.boots or (None,)
        many = len(boots)
        lines.append("<tbody>")
        for place, boot in enumerate(boots):
            row = "<tr>"
            if place == 0:
                row += f'<th scope="rowgroup" rowspan="{many}">{cycle.number:d}</th>'
            if boot is None:
                row += '<td colspan="6">no boot</td>'
            else:
                row += f'<th scope="row">{_e(boot.node)}</th><td>{_e(boot.how)}</td>'
                for _, _, pick in STATIONS:
                    value = pick(boot)
                    row += '<td class="n">' + ("never" if value is None else seconds(value)) + "</td>"
            if place == 0:
                row += f'<td class="n" rowspan="{many}">{cycle.acknowledged:d}</td>'
                row += f'<td rowspan="{many}">{_kinds(cycle, cycle.number in told)}</td>'
            lines.append(row + "</tr>")
        lines.append("</tbody>")
    return [*lines, "</table></div>"]


def _kinds(cycle: Cycle, told: bool) -> str:
    if cycle.good:
        return "nothing"
    words = f"✘ {_e(', '.join(dict.fromkeys(finding.kind for finding in cycle.findings)))}"
    return f'<a class="bad" href="#found-{cycle.number:d}">{words}</a>' if told else f'<span class="bad">{words}</span>'


def _versions(run: Run) -> list[str]:
    lines = ["<h2>Versions</h2>", '<div class="wide"><table>']
    whats = list(dict.fromkeys(what for known in run.versions.values() for what in known))
    nodes = list(run.versions)
    lines.append(_columns(["", *nodes], len(nodes) + 1).replace('<th scope="col"></th>', "<td></td>"))
    lines.append("<tbody>")
    for what in whats:
        cells = "".join(f"<td>{_e(run.versions[node].get(what, '-'))}</td>" for node in nodes)
        lines.append(f'<tr><th scope="row">{_e(what)}</th>{cells}</tr>')
    lines += ["</tbody>", "</table></div>"]
    told = f'<p class="soft">The test was run by drbdocfs-boot {_e(run.product)}.</p>'
    return [*lines, told] if whats else ["<h2>Versions</h2>", told]


def _again(run: Run) -> list[str]:
    return [
        "<h2>To run it again</h2>",
        f"<pre><code>{_e(again(run))}</code></pre>",
        (
            '<p class="soft">With the same time limits and, for the patterns that switch the power, the same commands'
            " for it: these are not kept in the results.</p>"
        ),
    ]


# Pictures


def buckets(items: Sequence[_T], most: int) -> list[Sequence[_T]]:
    """The items in at most ``most`` groups of neighbours, all of one size but the last."""
    size = max(1, math.ceil(len(items) / most))
    return [items[place : place + size] for place in range(0, len(items), size)]


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "") -> str:
    more = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{_e(words)}</text>'


def _cross(x: float, y: float, about: str) -> str:
    return f'<path class="cross" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"><title>{_e(about)}</title></path>'


def _mark(name: str, x: float, y: float, about: str = "") -> str:
    """A circle for gone, a square for answering, a triangle for up."""
    title = f"<title>{_e(about)}</title>" if about else ""
    if name == "gone":
        return f'<circle class="{name} mark" cx="{x:.1f}" cy="{y:.1f}" r="3.2">{title}</circle>'
    if name == "answering":
        return f'<rect class="{name} mark" x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6">{title}</rect>'
    return f'<path class="{name} mark" d="M{x:.1f} {y - 4.4:.1f}l4.4 7.6h-8.8z">{title}</path>'


def _svg(name: str, title: str, told: str, height: float, parts: Sequence[str]) -> list[str]:
    return [
        '<div class="wide">',
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img"'
            f' aria-labelledby="{name}-title {name}-desc">'
        ),
        f'<title id="{name}-title">{_e(title)}</title>',
        f'<desc id="{name}-desc">{_e(told)}</desc>',
        *parts,
        "</svg>",
        "</div>",
    ]


def _short(text: str, width: float) -> str:
    letters = max(4, int(width / LETTER))
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _axes(top: float, high: float, numbers: Sequence[int]) -> list[str]:
    """Grid of the seconds from 0 to ``high`` over a plot, and the numbers of cycles below its columns' middles."""
    parts: list[str] = []
    gap = step(high) * (1 if high / step(high) <= 6 else 2)
    digits = 0 if gap >= 1 else 1 if gap >= 0.1 else 3
    mark = 0
    while mark * gap <= high * 1.0001:
        y = top + HIGH - mark * gap / high * HIGH
        kind = "grid" if mark else "axis"
        parts.append(f'<line class="{kind}" x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + PLOT}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{mark * gap:.{digits}f} s", "scale", "end"))
        mark += 1
    slot = PLOT / len(numbers)
    every = math.ceil(len(numbers) / max(1, int(PLOT / (LETTER * len(str(max(numbers))) + 14))))
    for place, number in enumerate(numbers):
        if place % every == 0:
            parts.append(_text(LEFT + (place + 0.5) * slot, top + HIGH + 16, str(number), "scale", "middle"))
    return parts


def _times(run: Run) -> list[str]:
    """Boot times over the cycles: a plot for each node, all in one scale."""
    if not any(cycle.boots for cycle in run.cycles):
        return []
    stations = STATIONS[:3]
    known = [value for cycle in run.cycles for boot in cycle.boots for _, _, pick in stations
             if (value := pick(boot)) is not None]  # fmt: skip
    high = max([*known, 1.0]) * 1.05
    groups = buckets(run.cycles, POINTS_MOST)
    size = len(groups[0])
    slot = PLOT / len(groups)
    parts: list[str] = []
    x = float(LEFT)
    for name, _, _ in stations:
        parts.append(f'<line class="{name}" x1="{x:.1f}" y1="16" x2="{x + 34:.1f}" y2="16"/>')
        parts.append(_mark(name, x + 17, 16))
        parts.append(_text(x + 42, 20, name))
        x += 42 + len(name) * LETTER + 30
    parts += [_cross(x + 4, 16, "something was found"), _text(x + 14, 20, "something was found, or it never came up")]
    y = 34.0
    for node in nodes_of(run):
        parts.append(_text(LEFT, y + 14, _short(clean(node), PLOT), "name"))
        strip = y + 26
        top = y + 36
        parts += _axes(top, high, [group[0].number for group in groups])
        found_here = [
            [boot for cycle in group for boot in cycle.boots if boot.node == node] for group in groups
        ]  # fmt: skip
        for name, _, pick in stations:
            line: list[str] = []
            marks: list[str] = []
            joined = False
            for place, boots in enumerate(found_here):
                values = [value for boot in boots if (value := pick(boot)) is not None]
                if not values:
                    # Where this node stayed up the line goes on; where it never came to the station it has a gap.
                    joined = joined and not boots
                    continue
                at, worst = LEFT + (place + 0.5) * slot, max(values)
                below = top + HIGH - worst / high * HIGH
                line.append(f"{'L' if joined else 'M'}{at:.1f} {below:.1f}")
                joined = True
                if len(groups) <= MARKS_MOST:
                    about = f"{_cycle_words(groups[place])}: {node} {name} after {worst:.1f} s"
                    marks.append(_mark(name, at, below, about))
            parts.append(f'<path class="{name}" d="{"".join(line) or "M0 0"}"/>')
            parts += marks
        for place, group in enumerate(groups):
            words = [finding.kind for cycle in group for finding in cycle.findings if finding.node in (node, "")]
            words += ["never up"] if any(boot.up is None for boot in found_here[place]) else []
            if words:
                about = f"{_cycle_words(group)}: {', '.join(dict.fromkeys(words))}"
                parts.append(_cross(LEFT + (place + 0.5) * slot, strip, about))
        y = top + HIGH + 26
    parts.append(_text(LEFT + PLOT / 2, y + 8, "cycle", "scale", "middle"))
    told = " ".join(
        f"{node}: median {seconds(one.median)} s until up, at most {seconds(one.most)} s in {count(one.boots, 'boot')},"
        f" {one.never} never up."
        for node in nodes_of(run)
        for one in [figures([boot.up for _, boot in boots_of(run, node)])]
    )
    note = "Seconds after the order to reboot or to cut the power."
    if size > 1:
        note += f" A point is the slowest of {size} cycles."
    return [
        "<h2>Boot times over the cycles</h2>",
        f'<p class="soft">{note}</p>',
        *_svg("times", "Boot times over the cycles, for each node", told, y + 18, parts),
    ]


def _cycle_words(group: Sequence[Cycle]) -> str:
    if len(group) == 1:
        return f"cycle {group[0].number}"
    return f"cycles {group[0].number} to {group[-1].number}"


def _layers(run: Run) -> list[str]:
    """The layers of each boot as a column, one upon the other."""
    names = layers_of(run)
    if not names:
        return []
    kinds = {name: min(place, PATTERNS - 1) for place, name in enumerate(names)}
    totals = {
        id(boot): sum(layer_seconds(boot, name) or 0.0 for name in names)
        for cycle in run.cycles
        for boot in cycle.boots
    }
    high = max([*totals.values(), 0.1]) * 1.05
    parts = ["<defs>"]
    for number in sorted(set(kinds.values())):
        parts.append(
            f'<pattern id="layer-{number}" width="8" height="8" patternUnits="userSpaceOnUse">'
            f'<rect class="l{number}" width="8" height="8"/>{_INKS[number]}</pattern>'
        )
    parts.append("</defs>")
    x, y = float(LEFT), 8.0
    legend = [*((name, f'class="layer" fill="url(#layer-{kinds[name]})"') for name in names),
              ("failed", 'class="broken" fill="none"')]  # fmt: skip
    for name, look in legend:
        shown = _short(clean(name), 160)
        wide = 30 + len(shown) * LETTER + 22
        if x > LEFT and x + wide > LEFT + PLOT:
            x, y = float(LEFT), y + 22
        parts.append(f'<rect {look} x="{x:.1f}" y="{y:.1f}" width="24" height="16"/>')
        parts.append(_text(x + 30, y + 12, shown))
        x += wide
    y += 26
    size = 1
    for node in nodes_of(run):
        all_boots = [(number, boot) for number, boot in boots_of(run, node) if boot.layers]
        if not all_boots:
            continue
        groups = buckets(all_boots, COLUMNS_MOST)
        size = max(size, len(groups[0]))
        # One that failed is shorter than the others, and worth more.
        chosen = [
            max(group, key=lambda pair: (any(_failed(one.state) for one in pair[1].layers), totals[id(pair[1])]))
            for group in groups
        ]
        parts.append(_text(LEFT, y + 14, _short(clean(node), PLOT), "name"))
        top = y + 26
        parts += _axes(top, high, [number for number, _ in chosen])
        slot = PLOT / len(chosen)
        wide = min(48.0, slot * 0.8)
        for place, (number, boot) in enumerate(chosen):
            parts += _column(LEFT + (place + 0.5) * slot - wide / 2, top + HIGH, wide, high, number, boot, names, kinds)
        y = top + HIGH + 26
    parts.append(_text(LEFT + PLOT / 2, y + 8, "cycle", "scale", "middle"))
    note = (
        "How long each layer of the stack took to start. Some start side by side, so a column can be higher than the"
        " start was long."
    )
    if size > 1:
        note += f" A column is one boot out of {size}: one with a failed layer, else the one with the longest layers."
    told = "The figures stand in the table that follows. From below: " + ", ".join(names) + "."
    lines = [
        "<h2>Layers of each boot</h2>",
        f'<p class="soft">{_e(note)}</p>',
        *_svg("layers", "Layers of each boot, for each node", told, y + 18, parts),
    ]
    lines += ['<div class="wide"><table>', "<caption>Seconds that each layer took</caption>"]
    lines.append(_columns(["Node", "Layer", "Minimum", "Median", "Maximum", "Boots", "Not well"], 2))
    for node in nodes_of(run):
        rows: list[list[str]] = []
        for name in names:
            boots = [boot for _, boot in boots_of(run, node)]
            took = [value for boot in boots if (value := layer_seconds(boot, name)) is not None]
            bad = sum(any(_failed(layer.state) for layer in boot.layers if layer.name == name) for boot in boots)
            rows.append([name, *_figures(took), str(bad)])
        lines += _group(node, rows)
    return [*lines, "</table></div>"]


def _failed(state: str) -> bool:
    """A layer that did not come to its end; "active" is systemd's word for one that did."""
    return state not in (timeline.DONE, timeline.RUNNING, timeline.CUT, "active", "")


def _column(
    x: float, bottom: float, wide: float, high: float, number: int, boot: Boot, names: Sequence[str],
    kinds: dict[str, int],
) -> list[str]:  # fmt: skip
    parts: list[str] = []
    broken: list[str] = []
    y = bottom
    for name in names:
        took = layer_seconds(boot, name)
        if took is None:
            continue
        tall = took / high * HIGH
        y -= tall
        bad = [layer.state for layer in boot.layers if layer.name == name and _failed(layer.state)]
        about = f"cycle {number}, {boot.node}: {name} took {took:.1f} s" + (f", {bad[0]}" if bad else "")
        rect = (
            f' x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{max(tall, 0.3):.1f}"'
            f' fill="url(#layer-{kinds[name]})"><title>{_e(about)}</title></rect>'
        )
        # What failed is drawn last, or its neighbours would cover its border.
        (broken if bad else parts).append(f'<rect class="{"broken" if bad else "layer"}"{rect}')
        if bad:
            broken.append(_cross(x + wide / 2, y - 6, about))
    return parts + broken
