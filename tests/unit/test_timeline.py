"""The timeline of real boots (tests/transcripts/journal, from the lab), as text, picture and JSON; the verb's edges."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from drbdocfs_boot import timeline as core
from drbdocfs_boot import timeline_svg, timeline_text, units
from drbdocfs_boot.cli import main
from drbdocfs_boot.stack import Reading, Stack
from drbdocfs_boot.timeline import Live, Timeline, parse
from drbdocfs_boot.tools import journalctl

from .conftest import Box
from .test_report import STACK as WEB

JOURNALS = Path(__file__).parent.parent / "transcripts/journal"
UNITS = Path(__file__).parents[2] / "units"
LAYERS = ["loop", "attach", "wait", "promote", "o2cb", "mount"]
SVG = "{http://www.w3.org/2000/svg}"
CONFIGURATION = """[web]
resource = r0
device = /dev/drbd0
backing_file = /drbd-loop.img
loop_device = /dev/loop7
cluster = web
mountpoint = /mnt/storage
"""


pytestmark = pytest.mark.usefixtures("utc", "recorded")
ORDER = core.order


def recorded_order(stack: Stack, stacks: Sequence[Stack]) -> dict[str, tuple[str, ...]]:
    """That of the units when the journals good, late and waited were recorded: O2CB came after the promotion, and the
    loop device after network.target."""
    found = ORDER(stack, stacks)
    o2cb, loop = f"drbdocfs-o2cb@{stack.cluster}.service", f"drbdocfs-loop@{stack.name}.service"
    earlier = {o2cb: f"drbdocfs-promote@{stack.name}.service", loop: "network.target"}
    return {unit: (*after, earlier[unit]) if unit in earlier else after for unit, after in found.items()}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that those journals show."""
    monkeypatch.setattr(core, "order", recorded_order)


def stack(name: str, **changes: str) -> Stack:
    """One like web."""
    keys = ("resource", "device", "backing_file", "loop_device", "cluster", "mountpoint")
    return Stack(name, **{**{key: getattr(WEB, key) for key in keys}, **changes})


def lines(name: str, until: float = 1e9) -> list[str]:
    """The journal of a boot, up to a moment."""
    found = (JOURNALS / f"{name}.json").read_text().splitlines()
    return [line for line in found if int(json.loads(line)["__MONOTONIC_TIMESTAMP"]) <= until * 1e6]


def boot(name: str, until: float = 1e9, number: int = -1, live: dict[str, Live] | None = None) -> Timeline:
    with patch.object(core, "order", recorded_order):
        return core.timeline(WEB, [WEB], parse(lines(name, until)), number, live)


GOOD = """\
web, boot -1, began 2026-11-24 13:45:12 UTC: mounted 23.1 s after
  network-online.target

  layer                   began   ended    took share  0.0 s             40.7 s
  kernel                    0.0     5.2     5.2        ===
* loop                     16.5    17.9     1.4    4%           #
  network-online.target            17.1                          |
* attach                   18.0    19.4     1.4    6%            #
* wait                     19.5    27.4     7.9   34%             #####
* promote                  27.5    29.3     1.8    8%                  #
* o2cb                     29.7    31.1     1.4    6%                   #
* mount                    31.4    40.2     8.8   38%                    ######
  remote-fs.target                 40.2                                       |
  multi-user.target                40.7                                       |

  loop     after network.target; /dev/loop7 bound to /drbd-loop.img
  attach   after loop; r0 attached
  wait     after attach; 19.8 s waiting for server2 at 10.181.76.11:7789
           (Connecting); 26.5 s waiting for server2 at 10.181.76.11:7789
           (Connected); 26.5 s resync from server2; 27.2 s resync from server2 0
           %, 0:00 left; 27.2 s resync from server2; r0: connected, UpToDate on
           both nodes
  promote  after wait; r0 is Primary
  o2cb     after promote; cluster web is online, nodes server1, server2
  mount    after o2cb; OCFS2 joins its group, with heartbeat rounds of 2 s

* and #: critical path   =: beside it   x: failed   >: not over   |: reached"""

LATE = """\
web, boot -1, began 2026-11-24 13:46:34 UTC: mounted late 61.3 s after
  network-online.target

  layer                   began   ended    took share  0.0 s             44.6 s
  kernel                    0.0     7.1     7.1        ===
* loop                     19.7    21.6     1.9                  #
  network-online.target            20.3                          |
* attach                   21.7    23.4     1.7                   #
* wait                     23.5    44.1    20.6                    xxxxxxxxxxxx
  promote                  44.1    44.1     0.0                               x
  o2cb                     44.1    44.1     0.0                               x
  mount                    44.1    44.1     0.0                               x
  remote-fs.target                 44.2                                       |
  multi-user.target                44.6                                       |

  loop     after network.target; /dev/loop7 bound to /drbd-loop.img
  attach   after loop; r0 attached
  wait     after attach; 24.3 s waiting for server2 at 10.181.76.11:7789
           (Connecting); r0 was not ready after 0:20 (boot_timeout): waiting for
           server2 at 10.181.76.11:7789 (Connecting)
  promote  after wait; not tried: a layer before it failed
  o2cb     after promote; not tried: a layer before it failed
  mount    after o2cb; not tried: a layer before it failed

it stopped at wait: r0 was not ready after 0:20 (boot_timeout): waiting for
  server2 at 10.181.76.11:7789 (Connecting)
what to do: it goes on waiting in the background (drbdocfs-follow.service) and
  comes up by itself; is the other node up, and the link between them? 'drbdocfs
  proceed web' goes on without it

started again at 2026-11-24 13:47:45 UTC, late, by drbdocfs-follow.service:
  comes up now, late: connected, UpToDate on both nodes

  layer     began   ended    took share  71.1 s                          81.6 s
* wait       71.1    72.0     0.9    9%  ###
* promote    72.0    72.6     0.6    6%     ##
* o2cb       72.7    73.2     0.5    5%       ##
* mount      73.2    81.6     8.4   80%         ###############################

  wait     after drbdocfs-follow.service; r0: connected, UpToDate on both nodes
  promote  after wait; r0 is Primary
  o2cb     after promote; cluster web is online, nodes server1, server2
  mount    after o2cb; OCFS2 joins its group, with heartbeat rounds of 2 s

* and #: critical path   =: beside it   x: failed   >: not over   |: reached"""


BESIDE = """\
web, boot -1, began 2026-11-29 06:15:13 UTC: mounted 23.0 s after
  network-online.target

  layer                   began   ended    took share  0.0 s             60.2 s
  kernel                    0.0    10.4    10.4        ====
* loop                     26.7    34.3     7.5    0%            ###
  network-online.target            35.5                              |
* attach                   34.7    43.5     8.8   35%               ####
* wait                     43.9    47.9     4.0   18%                   ##
* promote                  48.1    49.1     1.0    5%                     #
  o2cb                     43.8    47.9     4.1                         ==
* mount                    49.4    58.5     9.1   40%                     #####
  remote-fs.target                 58.7                                       |
  multi-user.target                60.2                                       |

  loop     after basic.target; /dev/loop7 bound to /drbd-loop.img
  attach   after loop; r0 attached
  wait     after attach; r0: connected, UpToDate on both nodes
  promote  after wait; r0 is Primary
  o2cb     after attach; cluster web is online, nodes server1, server2
  mount    after promote; OCFS2 joins its group, with heartbeat rounds of 2 s

* and #: critical path   =: beside it   x: failed   >: not over   |: reached"""


@pytest.mark.parametrize(("name", "expected"), [("good", GOOD), ("late", LATE)], ids=["good", "late"])
def test_a_boot_as_a_table(name: str, expected: str) -> None:
    text = timeline_text.table(boot(name), 80)
    assert text == expected
    assert all(len(line) <= 80 for line in text.splitlines())


def test_what_comes_beside_the_wait_is_not_on_the_critical_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "order", ORDER)
    assert timeline_text.table(core.timeline(WEB, [WEB], parse(lines("beside")), -1), 80) == BESIDE


def test_to_a_pipe_nothing_is_cut_or_wrapped() -> None:
    text = timeline_text.table(boot("late"))
    assert "proceed web' goes on without it\n" in text
    assert max(map(len, text.splitlines())) > 150
    assert "\x1b" not in text


def test_a_narrow_terminal_has_the_figures_without_bars() -> None:
    text = timeline_text.table(boot("good"), 60)
    assert "* mount                    31.4    40.2     8.8   38%\n" in text


def test_a_boot_that_waited_for_its_peer() -> None:
    line = boot("waited", number=0, live={})
    wait = line.starts[0].layers[2]
    assert (line.result, wait.layer, wait.critical) == ("mounted", "wait", True)
    assert wait.share == pytest.approx(0.624, abs=0.001)
    assert timeline_text.why(wait, line.starts[0]) == (
        "after attach; 23.3 s waiting for server2 at 10.181.76.11:7789 (Connecting);"
        " 46.9 s waiting for server2 at 10.181.76.11:7789 (Connected); 47.0 s resync to server2;"
        " 47.2 s resync to server2 0 %, 0:00 left; r0: connected, UpToDate on both nodes"
    )


def test_a_boot_that_failed_says_where_and_why() -> None:
    line = boot("late", until=60)
    start = line.starts[0]
    assert (line.result, line.total, start.kind, start.stopped_at) == ("failed", None, "boot", "wait")
    assert start.reason.startswith("r0 was not ready after 0:20 (boot_timeout)")
    assert [layer.layer for layer in start.layers if layer.critical] == ["loop", "attach", "wait"]


@pytest.mark.parametrize(
    ("until", "at", "shown"),
    [
        (25, "wait", "* wait                     19.5       -       -"),
        (31.2, "o2cb", "* o2cb                     29.7"),
    ],
)
def test_a_journal_that_ends_in_the_middle(until: float, at: str, shown: str) -> None:
    line = boot("good", until)
    text = timeline_text.table(line, 80)
    assert line.result == "cut"
    assert "unknown, the journal ends before it was mounted" in " ".join(text.split())
    assert f"it had come to {at}" in text
    assert shown in text
    assert re.search(
        r"the journal ends here: \d\d\.\d s after the kernel's start, at 2026-11-24 13:45:\d\d\s+UTC,", text
    )


def test_this_boot_still_going_on() -> None:
    line = boot("good", 25, 0, live={})
    assert (line.result, line.ends) == ("running", None)
    assert "it is at wait: " in timeline_text.table(line)
    assert "the journal ends" not in timeline_text.table(line)


def test_systemds_own_times_and_order_count_for_this_boot() -> None:
    mount, wait = "mnt-storage.mount", "drbdocfs-wait@web.service"
    live = {
        mount: Live(mount, "active", 31.39, 40.1, ("ntpdate.service", "drbdocfs-o2cb@web.service")),
        "ntpdate.service": Live("ntpdate.service", "active", 20.0, 31.3),
        wait: Live(wait, "active", 500.0, 501.0),  # restarted since; the journal's last run was another one
    }
    start = boot("good", number=0, live=live).starts[0]
    layers = {layer.layer: layer for layer in start.layers}
    assert (layers["mount"].began, layers["mount"].ended) == (31.39, 40.1)
    assert layers["mount"].after == "ntpdate.service"
    assert not layers["wait"].critical, "the path goes through the one that ended last"
    assert layers["wait"].began == pytest.approx(19.47, abs=0.01)


def test_without_any_journal_systemd_alone_serves() -> None:
    units = core.order(WEB, [WEB])
    live = {unit: Live(unit, "active", 10.0 + n, 10.9 + n) for n, unit in enumerate(units)}
    live[core.ONLINE] = Live(core.ONLINE, "active", 9.0, 9.0)
    line = core.timeline(WEB, [WEB], core.Journal(), 0, live)
    assert (line.result, line.zero, [layer.layer for layer in line.starts[0].layers]) == ("mounted", None, LAYERS)
    assert line.total == pytest.approx(6.9)
    assert "began at an unknown time" in timeline_text.table(line)


def test_the_boots_own_start_is_the_first_and_later_ones_are_listed() -> None:
    again = []
    for text in lines("good"):
        entry = json.loads(text)
        if "web" in str(entry.get("UNIT")) or entry.get("UNIT") == "mnt-storage.mount":
            entry["__MONOTONIC_TIMESTAMP"] = str(int(entry["__MONOTONIC_TIMESTAMP"]) + 400_000_000)
            entry["__REALTIME_TIMESTAMP"] = str(int(entry["__REALTIME_TIMESTAMP"]) + 400_000_000)
            entry["INVOCATION_ID"] = entry["INVOCATION_ID"][::-1]
            again.append(json.dumps(entry))
    line = core.timeline(WEB, [WEB], parse([*lines("good", 45), *again]), -1)
    assert [start.kind for start in line.starts] == ["boot", "hand"]
    assert line.result == "mounted"
    assert line.total == pytest.approx(23.1, abs=0.05)
    assert "started again at 2026-11-24 13:52:08 UTC, by hand" in timeline_text.table(line)
    only = core.timeline(
        WEB,
        [WEB],
        parse(
            [line for line in [*lines("good", 45), *again] if line in again or not re.search("web|mnt-storage", line)]
        ),
        -1,
    )
    assert (only.starts[0].kind, only.result) == ("hand", "hand")


def test_clock_jumps_and_other_boots_change_nothing() -> None:
    other = [line.replace("41d8c19d1e7f48718d9caef9b24f3f05", "0" * 32) for line in lines("good")]
    jumped = []
    for text in lines("good"):
        entry = json.loads(text)
        if int(entry["__MONOTONIC_TIMESTAMP"]) < 20_000_000:  # before the clock was set
            entry["__REALTIME_TIMESTAMP"] = "1000000"
        jumped.append(json.dumps(entry))
    assert core.timeline(WEB, [WEB], parse([*other, *jumped]), -1) == boot("good")
    assert parse([*jumped, *other], "41d8c19d1e7f48718d9caef9b24f3f05").events == parse(lines("good")).events


def said(at: float, **fields: str) -> str:
    """One more line in the journal of the good boot."""
    entry = json.loads(lines("good")[0])
    moment = int(at * 1e6)
    clock = int(entry["__REALTIME_TIMESTAMP"]) - int(entry["__MONOTONIC_TIMESTAMP"]) + moment
    kept = {"_BOOT_ID": entry["_BOOT_ID"], "__MONOTONIC_TIMESTAMP": str(moment), "__REALTIME_TIMESTAMP": str(clock)}
    return json.dumps({**kept, **fields})


REACHED = next(key for key, kind in core.MESSAGE_ID.items() if kind == core.STARTED)


def test_an_initrds_journal_that_stopped_is_not_the_end_of_the_boot() -> None:
    stopped = said(4.0, MESSAGE_ID=journalctl.JOURNAL_STOPPED, MESSAGE="Journal stopped")
    line = core.timeline(WEB, [WEB], parse([stopped, *lines("good", 25)]), -1)
    assert line.ends is not None, "cut off in the middle of the boot"
    assert line.ends == pytest.approx(25, abs=6)
    last = said(line.ends + 0.1, MESSAGE_ID=journalctl.JOURNAL_STOPPED, MESSAGE="Journal stopped")
    assert core.timeline(WEB, [WEB], parse([stopped, *lines("good", 25), last]), -1).ends is None


@pytest.mark.parametrize("until", [1e9, 40.75])
def test_a_target_of_the_initrd_and_one_started_later_are_no_milestones(until: float) -> None:
    good = core.timeline(WEB, [WEB], parse(lines("good")), -1)
    more = [
        said(at, MESSAGE_ID=REACHED, UNIT=unit, JOB_RESULT="done", MESSAGE="Reached target")
        for unit in (core.ONLINE, core.REMOTE_FS)
        for at in (3.0, 900.0)
    ]
    line = core.timeline(WEB, [WEB], parse([*lines("good", until), *more]), -1)
    assert line.milestones == good.milestones
    assert line.total == good.total


def test_damaged_lines_are_counted_and_left_out() -> None:
    broken = ["{", "[]", "null", '{"MESSAGE": "no times"}', lines("good")[3].replace('"__MONOTONIC_TIMESTAMP":"', "&x")]
    line = core.timeline(WEB, [WEB], parse(["-- No entries --", "", *broken, *lines("good")]), -1)
    assert line.damaged == 5
    assert replace(line, damaged=0) == boot("good")
    assert "5 lines of the journal could not be read" in timeline_text.table(line)


def test_what_the_journal_puts_in_place_of_text() -> None:
    head = {"__MONOTONIC_TIMESTAMP": "1", "__REALTIME_TIMESTAMP": "2", "_BOOT_ID": "b", "_SYSTEMD_UNIT": "u"}
    texts: list[dict[str, object]] = [
        {"MESSAGE": [104, 105, 255]},
        {"MESSAGE": None},
        {"MESSAGE": ["one", "two"]},
        {"PRIORITY": "x", "MESSAGE": "y"},
    ]
    events = parse(json.dumps({**head, **text}) for text in texts).events
    assert [(event.text, event.priority) for event in events] == [("hi\ufffd", 6), ("two", 6), ("y", 6)]


@pytest.mark.parametrize("others", [[], [stack("mail", mountpoint="/mnt/mail")]], ids=["one", "two"])
def test_the_order_is_that_of_the_units(others: list[Stack]) -> None:
    """What the order names stands in units/ or in what the generator adds."""
    made, _problems = units.tree(Reading((WEB, *others)), {})
    for unit, after in ORDER(WEB, [WEB, *others]).items():
        template = re.sub("@.*\\.service", "@.service", unit)
        texts = [text for name, text in made.items() if name in (unit, f"{unit}.d/{units.DROP_IN}")]
        if template.startswith("drbdocfs-"):
            texts.append((UNITS / template).read_text())
        written = re.findall("^After=(.*)", "\n".join(texts), re.MULTILINE)
        known = {word.replace("%i", "web") for line in written for word in line.split()}
        # systemd's own: default dependencies, and what RequiresMountsFor= comes to.
        assert {name for name in after if name != "basic.target" and not name.endswith(".mount")} <= known, unit


def test_two_stacks_of_a_cluster_share_it() -> None:
    mail = stack("mail", mountpoint="/mnt/mail")
    after = ORDER(WEB, [WEB, mail])["drbdocfs-o2cb@web.service"]
    assert after[:2] == ("drbdocfs-attach@web.service", "drbdocfs-attach@mail.service")
    units = core.units_of([WEB, mail], [WEB, mail])
    assert len(units) == len(set(units))
    assert "srv-my\\x20images.mount" in core.units_of([stack("web", backing_file="/srv/my images/a.img")], [])


COMPARED = """\
web: the last 4 boots, seconds of each layer and from network-online to mounted

  boot  began            loop attach wait promote o2cb mount  total  result
     0  2026-11-24 13:48  1.6    3.1 24.8     1.3  0.5   8.5   39.7  mounted
    -1  2026-11-24 13:46  1.9    1.7  0.9     0.6  0.5   8.4   61.3  late
    -2  2026-11-24 13:45  1.4    1.4  7.9     1.8  1.4   8.8   23.1  mounted
    -3  2026-11-24 13:45  1.4    1.4    -       -    -     -      -  cut

   min                    1.4    1.4  7.9     1.3  0.5   8.5   23.1
median                    1.5    2.2 16.4     1.5  1.0   8.6   31.4
   max                    1.6    3.1 24.8     1.8  1.4   8.8   39.7

boot -1: stopped at wait: r0 was not ready after 0:20 (boot_timeout): waiting
  for server2 at 10.181.76.11:7789 (Connecting); mounted at 2026-11-24 13:47:55
  UTC
boot -3: had come to wait: waiting for server2 at 10.181.76.11:7789
  (Connecting); the journal ends at 22.0 s without a shutdown"""


def several() -> list[Timeline]:
    cut = core.timeline(WEB, [WEB], replace(parse(lines("good", 21)), last=22.0), -3)
    return [boot("waited", number=0, live={}), boot("late"), boot("good", number=-2), cut]


def test_several_boots_compared() -> None:
    text = timeline_text.compared(several(), 80)
    assert text == COMPARED
    assert "3f0167bd" in timeline_text.compared(several(), 200)
    assert "mounted late\n" in timeline_text.compared(several())
    assert "\x1b" not in text


def test_json_has_a_version_and_every_figure() -> None:
    found = json.loads(json.dumps(timeline_text.as_json([[boot("late")]])))
    assert found["version"] == 1
    one = found["boots"][0]
    assert (one["boot"], one["boot_id"], one["journal_ends"]) == (-1, "05b5910f75284e538927dbee680975aa", None)
    assert one["milestones"] == {
        "network-online.target": 20.316,
        "remote-fs.target": 44.17,
        "multi-user.target": 44.612,
    }
    web = one["stacks"][0]
    assert (web["stack"], web["result"], web["total"]) == ("web", "late", 61.253)
    assert [start["kind"] for start in web["starts"]] == ["boot", "late"]
    mount = web["starts"][1]["layers"][-1]
    assert mount == {
        "layer": "mount", "unit": "mnt-storage.mount", "began": 73.209, "ended": 81.569, "took": 8.36, "result": "done",
        "after": "drbdocfs-o2cb@web.service", "critical": True, "share": 0.797, "reason": "", "advice": "", "log": [],
    }  # fmt: skip


# The picture


def box_of(rect: ET.Element) -> tuple[float, float, float, float]:
    return tuple(float(rect.attrib[key]) for key in ("x", "y", "width", "height"))  # type: ignore[return-value]


def bars(root: ET.Element) -> dict[str, ET.Element]:
    return {
        title.text.partition(":")[0]: rect
        for rect in root.iter(f"{SVG}rect")
        if (title := rect.find(f"{SVG}title")) is not None and title.text
    }


def test_every_layer_has_a_bar_as_wide_as_it_took() -> None:
    line = boot("good")
    root = ET.fromstring(timeline_svg.picture([line]))
    found = bars(root)
    assert set(found) == {"kernel", *LAYERS}
    scale = timeline_svg.PLOT / line.end
    for layer in line.starts[0].layers:
        x, _, width, _ = box_of(found[layer.layer])
        assert width == pytest.approx((layer.took or 0) * scale, abs=0.02)
        assert x == pytest.approx(timeline_svg.MARGIN + timeline_svg.LABEL + layer.began * scale, abs=0.02)
        assert found[layer.layer].attrib["class"] == "critical"


@pytest.mark.parametrize("shown", [[boot("good")], [boot("late", until=60)], [boot("good", 25)], several()])
def test_nothing_is_outside_the_picture(shown: list[Timeline]) -> None:
    root = ET.fromstring(timeline_svg.picture(shown))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    for rect in root.iter(f"{SVG}rect"):
        x, y, wide, high = box_of(rect)
        assert x >= 0
        assert x + wide <= width
        assert y >= 0
        assert y + high <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 < float(text.attrib["y"]) < height - 4
        size = {"head": 8.5, "small": 6.05, "scale": 6.05}.get(text.attrib.get("class", ""), 6.6)
        length, x = len(text.text or "") * size, float(text.attrib["x"])
        first = {"end": x - length, "middle": x - length / 2}.get(text.attrib.get("text-anchor", ""), x)
        assert first >= 0
        assert first + length <= width, text.text
    assert not list(root.iter(f"{SVG}script"))
    assert "href" not in ET.tostring(root).decode()


def test_text_is_escaped_in_the_picture() -> None:
    evil = '<script>&"\x1b\ud800'
    line = replace(boot("late", until=60), stack=evil)
    start = replace(line.starts[0], reason=evil)
    root = ET.fromstring(timeline_svg.picture([replace(line, starts=(start,))]).encode())
    assert f"stopped at wait: {evil[:-2]}??" in [text.text for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(("seconds", "expected"), [(40.7, 5), (0.1, 0.01), (3.9, 0.5), (1000, 100), (10, 1)])
def test_grid(seconds: float, expected: float) -> None:
    assert timeline_svg.step(seconds) == pytest.approx(expected)


# The verb


@pytest.fixture
def machine(box: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    """Another root with a configuration and a journal of three boots; journalctl shows the transcripts."""
    box.write("/etc/drbdocfs/drbdocfs.conf", CONFIGURATION)
    box.write("/var/log/journal/0123/system.journal", "")
    box.tool(
        "journalctl",
        f"""case "$*" in
        *--list-boots*) echo 'IDX BOOT ID                          FIRST ENTRY LAST ENTRY'
            echo ' -2 41d8c19d1e7f48718d9caef9b24f3f05 Tue 2026-11-24 13:45:22 UTC Tue 2026-11-24 13:46:30 UTC'
            echo ' -1 05b5910f75284e538927dbee680975aa Tue 2026-11-24 13:46:46 UTC—Tue 2026-11-24 13:48:20 UTC'
            echo '  0 3f0167bd4d5d4a048dffe2ddf7a81dd1 Tue 2026-11-24 13:48:34 UTC Tue 2026-11-24 13:51:04 UTC';;
        *--boot=-2*|*--boot=41d8*) cat {JOURNALS}/good.json;;
        *--boot=-1*|*--boot=05b5*) cat {JOURNALS}/late.json;;
        *--boot=0*|*--boot=3f01*) cat {JOURNALS}/waited.json;;
        *) echo 'Data from the specified boot (-9) is not available: No such boot ID in journal' >&2; exit 1;;
        esac""",
    )
    return box


def run(box: Box, *argv: str) -> int:
    return main(["timeline", *argv])


def test_verb_shows_a_boot(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(machine, "web", "--boot", "-2") == 0
    assert capsys.readouterr().out == timeline_text.table(boot("good", number=-2)) + "\n"
    call = machine.calls[0]
    assert f"--directory={machine.root}/var/log/journal" in call
    assert "_PID=1 UNIT=network-online.target" in call
    assert "+ _SYSTEMD_UNIT=drbdocfs-loop@web.service" in call
    assert "+ DRBDOCFS_STACK=web MESSAGE_ID=4bb8b7da2b4945f587f6c45bbbb0009b" in call


def test_verb_compares_boots(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(machine, "--boots", "2") == 0
    text = capsys.readouterr().out
    assert text.startswith("web: the last 2 boots, ")
    assert [line.split()[0] for line in text.splitlines()[3:5]] == ["0", "-1"]
    assert run(machine, "--boots", "50") == 0
    assert "the last 3 boots" in capsys.readouterr().out


def test_live_times_are_those_of_the_boot_that_runs(
    machine: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a clock that was wrong the boot that runs is not the last one in the list."""
    machine.write("/proc/sys/kernel/random/boot_id", "05b5910f-7528-4e53-8927-dbee680975aa\n")
    monkeypatch.setattr(journalctl, "offline", lambda: False)
    asked: list[str] = []
    really = journalctl.entries

    def entries(boot: str, words: list[str]) -> str | None:
        asked.append(boot[:4])
        return really(boot, words)

    def live(units: list[str], layers: list[str]) -> tuple[dict[str, Live], float | None, float | None]:
        asked.append("live")
        return {}, None, None

    monkeypatch.setattr(journalctl, "entries", entries)
    monkeypatch.setattr(journalctl, "live", live)
    assert run(machine, "--boots", "3") == 0
    assert asked == ["3f01", "05b5", "live", "41d8"]
    asked.clear()
    assert run(machine) == 0
    assert asked == ["0", "live"]
    capsys.readouterr()


def test_boots_that_are_gone_since_they_were_listed(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    listed = f"' 0 {'3f' * 16} Tue 1 Tue 2'"
    machine.tool("journalctl", f"case $* in *list-boots*) echo {listed};; *) echo 'No such boot' >&2; exit 1;; esac")
    assert run(machine, "--boots", "2") == 2
    assert "the journal has no boot 0" in capsys.readouterr().err


def test_verb_writes_a_picture(machine: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "boot.svg"
    assert run(machine, "--boots", "3", "--svg", str(place)) == 0
    assert len([r for r in ET.parse(place).getroot().iter(f"{SVG}rect") if r.find(f"{SVG}title") is not None]) == 25
    assert "the last 3 boots" in capsys.readouterr().out
    assert run(machine, "--boot", "-2", "--svg", "-") == 0
    assert capsys.readouterr().out == timeline_svg.picture([boot("good", number=-2)])
    assert [name.name for name in tmp_path.glob("boot*")] == ["boot.svg"]


def test_verb_json(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(machine, "--boots", "3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["stacks"][0]["result"] for one in found["boots"]] == ["mounted", "late", "mounted"]


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["nope"], 2, "there is no stack 'nope'; configured: web"),
        (["--boot", "-9"], 2, "the journal has no boot -9; the journal has:\n    -2  41d8c19d"),
        (["--svg", "/proc/no/such.svg"], 73, "/proc/no/such.svg cannot be written: "),
        (["--svg", "-", "--json"], 2, "both want standard output"),
    ],
)
def test_verb_refuses(
    argv: list[str], status: int, words: str, machine: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(machine, *argv) == status
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [["--boot", "1"], ["--boots", "0"], ["--boots", "1001"], ["--boot", "-1", "--boots", "2"]]
)
def test_verb_wrong_usage(argv: list[str], machine: Box) -> None:
    with pytest.raises(SystemExit) as caught:
        run(machine, *argv)
    assert caught.value.code == 2


def test_a_stack_that_was_not_started(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    text = CONFIGURATION
    for old, new in (("web]", "mail]"), ("storage", "mail"), ("drbd0", "drbd1"), ("r0", "r1"), ("loop7", "loop8")):
        text = text.replace(old, new)
    machine.write("/etc/drbdocfs/conf.d/mail.conf", text.replace("loop.img", "mail.img"))
    assert run(machine, "mail", "--boot", "-2") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "drbdocfs: mail was not started in boot -2\nwhat to do: 'drbdocfs status mail'" in captured.err
    assert run(machine, "--boot", "-2") == 1
    captured = capsys.readouterr()
    assert "web, boot -2" in captured.out
    assert "mail was not started" in captured.err


def test_no_stack_at_all(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    machine.write("/etc/drbdocfs/drbdocfs.conf", "")
    assert run(machine) == 1
    assert "no stack is configured" in capsys.readouterr().err
    machine.write("/etc/drbdocfs/drbdocfs.conf", "[web]\nresource = r0\n")
    assert run(machine) == 78
    assert "drbdocfs.conf" in capsys.readouterr().err


def test_no_journal_below_the_other_root(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.root / "var/log/journal").rename(machine.root / "elsewhere")
    assert run(machine) == 69
    error = capsys.readouterr().err
    assert f"there is no journal in {machine.root}/var/log/journal" in error
    assert "mkdir /var/log/journal" in error


def test_no_journalctl(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.bin / "journalctl").unlink()
    assert run(machine) == 69
    assert "journalctl is not installed" in capsys.readouterr().err


def test_a_journal_that_may_not_be_read(
    machine: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "system.journal" not in str(path) and allowed(path, mode))
    assert run(machine) == 77
    assert "join the group systemd-journal" in capsys.readouterr().err
    monkeypatch.undo()


def test_a_journal_that_journalctl_may_not_read(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    machine.tool("journalctl", "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1")
    assert run(machine) == 77
    assert "run this as root" in capsys.readouterr().err


def test_a_journalctl_that_hangs(
    machine: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.tool("journalctl", "exec sleep 60")
    monkeypatch.setattr(journalctl, "LIMIT", 0.2)
    assert run(machine) == 75
    assert "was not done after" in capsys.readouterr().err


def test_a_journalctl_that_fails(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    machine.tool("journalctl", "echo 'Bad message' >&2; exit 1")
    assert run(machine) == 1
    assert "journalctl failed: Bad message" in capsys.readouterr().err


def test_only_this_boot_where_the_journal_is_not_kept(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.root / "var/log/journal/0123/system.journal").unlink()
    (machine.root / "var/log/journal/0123").rmdir()
    machine.tool(
        "journalctl", f"case $* in *list-boots*) echo ' 0 {'3f' * 16} Tue 1 Tue 2';; *) echo boot >&2; exit 1;; esac"
    )
    assert run(machine, "--boot", "-1") == 2
    error = capsys.readouterr().err
    assert "the journal has no boot -1; the journal has:\n     0  3f3f" in error
    assert "what to do: to keep the journal of earlier boots: mkdir /var/log/journal" in error


def test_no_journal_files_are_no_failure_of_journalctl(machine: Box, capsys: pytest.CaptureFixture[str]) -> None:
    machine.tool("journalctl", "echo 'No journal files were found.' >&2; exit 1")
    assert journalctl.entries("0", []) == ""
    assert run(machine, "web") == 1
    assert "web was not started in boot 0" in capsys.readouterr().err


def test_systemd_is_asked_for_this_boot(box: Box) -> None:
    box.tool(
        "systemctl",
        r"""case "$*" in
        *UNKNOWN*) exit 1;;
        *attach*) printf 'Id=drbdocfs-attach@web.service\nActiveState=active\nInactiveExitTimestampMonotonic=1500000\n'
            printf 'ActiveEnterTimestampMonotonic=2500000\nAfter=basic.target dev-drbd0.device blockdev@x.target\n';;
        *basic*) printf 'Id=basic.target\nActiveState=active\nActiveEnterTimestampMonotonic=1000000\n';;
        *) printf 'UserspaceTimestampMonotonic=500000\nGeneratorsStartTimestampMonotonic=600000\n'
            printf 'GeneratorsFinishTimestampMonotonic=850000\n';;
        esac""",
    )
    name = "drbdocfs-attach@web.service"
    found, userspace, generators = journalctl.live([name], [name])
    assert found[name] == Live(name, "active", 1.5, 2.5, ("basic.target",))
    assert (found["basic.target"].ended, userspace) == (1.0, 0.5)
    assert generators == pytest.approx(0.25)
    assert journalctl.live(["UNKNOWN.service"], []) == ({}, None, None)


@pytest.mark.parametrize(("settings", "colours"), [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False),
                                                   ({"TERM": "xterm", "NO_COLOR": "1"}, False)])  # fmt: skip
def test_on_a_terminal(machine: Box, settings: dict[str, str], colours: bool) -> None:
    machine.tool("journalctl", f"cat {JOURNALS}/beside.json")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "drbdocfs_boot", "--root", str(machine.root), "timeline", "--boot", "-1"],
        stdout=follower, stderr=follower, cwd=Path(__file__).parent.parent.parent,
        env={"PATH": str(machine.bin), "COLUMNS": "80", "TZ": "UTC", **settings},
    )  # fmt: skip
    os.close(follower)
    out = b""
    try:
        while data := os.read(leader, 65536):
            out += data
    except OSError:
        pass  # EIO: the other end has closed
    os.close(leader)
    assert process.wait(10) == 0
    text = out.decode().replace("\r\n", "\n")
    assert ("\x1b[" in text) is colours
    assert re.sub(r"\x1b\[\d*m", "", text) == BESIDE + "\n"
