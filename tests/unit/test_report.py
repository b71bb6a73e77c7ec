"""What ``drbdocfs status`` says, from states of units and of DRBD."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from drbdocfs_boot import report
from drbdocfs_boot.events import read
from drbdocfs_boot.frozen import replace
from drbdocfs_boot.stack import Problem, Stack
from drbdocfs_boot.systemd import UnitState
from drbdocfs_boot.verdict import HANDLER_REFUSED, judge

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
STACK = Stack(
    "web",
    resource="r0",
    device="/dev/drbd0",
    backing_file="/drbd-loop.img",
    loop_device="/dev/loop7",
    cluster="web",
    mountpoint="/mnt/storage",
)


SINCE = 1_700_000_000.5  # 2023-11-14 22:13:20 UTC


pytestmark = pytest.mark.usefixtures("utc")


def units(**changes: tuple[str, str, str]) -> dict[str, UnitState]:
    """All layers up, but for ``layer=(active, result, status)``."""
    found = {}
    for layer, name in report.layer_units(STACK).items():
        active, result, status = changes.get(layer, ("active", "success", ""))
        found[name] = UnitState(name, "loaded", active, "", result, status, 1_700_000_000_500_000)
    return found


def drbd(transcript: str) -> report.DrbdReport:
    state = read((TRANSCRIPTS / f"{transcript}.events2").read_text())
    return report.drbd_report(state, judge(state, "r0"))


def test_layers_are_those_of_the_design() -> None:
    assert report.layer_units(STACK) == {
        "loop": "drbdocfs-loop@web.service",
        "attach": "drbdocfs-attach@web.service",
        "wait": "drbdocfs-wait@web.service",
        "promote": "drbdocfs-promote@web.service",
        "o2cb": "drbdocfs-o2cb@web.service",
        "mount": "mnt-storage.mount",
    }


def test_all_up() -> None:
    one = report.stack_report(STACK, units(), drbd("drbd-9.3/03-promote-both.server1"), mount=SPACE)
    assert one.state == "up"
    assert report.as_text([one], (), now=SINCE + 6300) == (
        "web: up since 22:13:20 (1 h 45 min)  /mnt/storage on /dev/drbd0 (r0)\n"
        "  loop     up        22:13:20\n"
        "  attach   up        22:13:20\n"
        "  wait     up        22:13:20\n"
        "  promote  up        22:13:20\n"
        "  o2cb     up        22:13:20\n"
        "  mount    up        22:13:20\n"
        "  drbd     this node Primary, UpToDate; server2 Connected, Primary, UpToDate, Established\n"
        "  space    15 MiB of 160 MiB used (9 %), 145 MiB free\n"
        "  options  rw, noatime, _netdev, heartbeat=local"
    )


def test_a_wait_that_failed_says_why_and_what_to_do() -> None:
    one = report.stack_report(
        STACK,
        units(
            wait=("failed", "exit-code", "split brain: both nodes changed r0"),
            promote=("inactive", "success", ""),
            mount=("inactive", "success", ""),
        ),
        drbd("drbd-8.4/09-split-brain.server1"),
    )
    assert one.state == "failed"
    text = report.as_text([one], ())
    assert "  wait     failed    2023-11-14 22:13  split brain: both nodes changed r0\n" in text
    assert "  promote  down      2023-11-14 22:13\n" in text
    assert "what to do: nothing was promoted or discarded" in text


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"wait": ("activating", "success", "waiting")}, "starting"),
        ({"mount": ("inactive", "success", "")}, "down"),
        ({"mount": ("deactivating", "success", "")}, "stopping"),
        ({"wait": ("activating", "", ""), "loop": ("failed", "exit-code", "")}, "failed"),
    ],
)
def test_state_of_the_whole(changes: dict[str, tuple[str, str, str]], state: str) -> None:
    assert report.stack_report(STACK, units(**changes), None).state == state


def test_unit_that_is_not_there() -> None:
    states = units()
    states["mnt-storage.mount"] = UnitState("mnt-storage.mount", "not-found", "inactive", "dead", "", "", 0)
    one = report.stack_report(STACK, states, None)
    assert one.state == "unknown"
    assert one.layers[-1].detail == "unit is not-found"


def test_json_is_versioned_and_complete() -> None:
    one = report.stack_report(STACK, units(), drbd("drbd-8.4/03-promote-both.server1"))
    problem = Problem("/etc/drbdocfs/drbdocfs.conf", 9, "mail", "[mail] device is missing")
    data = json.loads(json.dumps(report.as_json([one], (problem,))))
    assert data["version"] == 1
    assert data["problems"] == [
        {"file": "/etc/drbdocfs/drbdocfs.conf", "line": 9, "stack": "mail", "message": "[mail] device is missing"}
    ]
    stack = data["stacks"][0]
    assert stack["layers"][0] == {
        "layer": "loop",
        "unit": "drbdocfs-loop@web.service",
        "state": "up",
        "detail": "",
        "since": 1_700_000_000.5,
    }
    assert stack["drbd"]["peers"] == [
        {
            "name": "peer",
            "connection": "Connected",
            "role": "Primary",
            "disk": "UpToDate",
            "replication": "Established",
        }
    ]


def test_nothing_configured() -> None:
    assert report.as_text([], ()) == "no stack is configured (/etc/drbdocfs/drbdocfs.conf)"


# --- waiting, late, alone, stopped ----------------------------------------------------------------------------

RECORD = {
    "RESOURCE": "r0", "BEGAN": "1000.000", "WHEN_ALONE": "newest", "PEER_TIMEOUT": "120000000", "STATE": "boot",
    "KIND": "waiting", "REASON": "waiting for server2 at 10.0.0.2:7789 (Connecting)",
}  # fmt: skip
CONNECTING = """exists resource name:r0 role:Secondary
exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting role:Unknown
exists device name:r0 volume:0 minor:0 disk:UpToDate
exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown
exists -
"""
STARTING = {"wait": ("activating", "", ""), "promote": ("inactive", "", ""), "mount": ("inactive", "", "")}
FAILED = {**STARTING, "wait": ("failed", "exit-code", "not ready after 3:00")}
DOWN = dict.fromkeys(("loop", "attach", "wait", "promote", "o2cb", "mount"), ("inactive", "success", ""))


def about(text: str = CONNECTING) -> report.DrbdReport:
    state = read(text)
    return report.drbd_report(state, judge(state, "r0", peer="server2 at 10.0.0.2:7789"))


def waiting(after: float = 23.0, **changes: str) -> report.WaitingReport | None:
    return report.waiting_report({**RECORD, **changes}, 1000.0 + after, 1_763_800_000.0)


def test_a_wait_at_boot_shows_its_clock() -> None:
    one = report.stack_report(STACK, units(**STARTING), about(), waiting())
    assert report.word(one) == "starting"
    assert report.summary(one) == ("starting: waits: waiting for server2 at 10.0.0.2:7789 (Connecting), 0:23 of 2:00")
    assert "\n  waits    waiting for server2 at 10.0.0.2:7789 (Connecting), 0:23 of 2:00\n" in report.as_text([one], ())


def test_a_wait_without_a_limit_of_its_own_shows_how_long_it_has_been() -> None:
    one = report.stack_report(STACK, units(**STARTING), about(), waiting(WHEN_ALONE="wait"))
    assert report.summary(one).endswith("(Connecting), 0:23")
    one = report.stack_report(STACK, units(**STARTING), about(), waiting(after=3723.0))
    assert report.summary(one).endswith("(Connecting), 1:02:03")


def test_late_is_said_instead_of_failed() -> None:
    one = report.stack_report(STACK, units(**FAILED), about(), waiting(after=600, STATE="late"))
    assert one.state == "failed"  # the stable form keeps systemd's view
    assert report.word(one) == "late"
    text = report.as_text([one], ())
    assert text.startswith("web: late since 2025-11-22 08:16 (")
    assert (
        "\n  late     waits in the background (drbdocfs-follow.service):"
        " waiting for server2 at 10.0.0.2:7789 (Connecting), 10:00\n"
    ) in text
    assert report.summary(one).startswith("late: waits in the background (drbdocfs-follow.service): waiting for")


def test_why_it_may_not_go_on_alone_comes_from_the_record() -> None:
    refused = "waiting for server2; not alone: DRBD's metadata does not show that"
    one = report.stack_report(
        STACK, units(**FAILED), about(), waiting(after=600, STATE="late", KIND="alone-refused", REASON=refused)
    )
    assert report.summary(one).endswith(refused)


def test_a_resync_while_late_is_newer_than_the_record() -> None:
    text = CONNECTING.replace("Connecting role:Unknown", "Connected role:Secondary").replace(
        "replication:Off peer-disk:DUnknown", "replication:SyncTarget peer-disk:UpToDate done:37.20 eta:41"
    )
    one = report.stack_report(STACK, units(**FAILED), about(text), waiting(after=600, STATE="late"))
    assert report.summary(one).endswith("(drbdocfs-follow.service): resync from server2 37 %, 0:41 left")


def test_up_and_alone() -> None:
    alone = report.alone_report({"WHY": "goes on alone: told so by 'drbdocfs proceed'", "TIME": "1763800000"})
    one = report.stack_report(STACK, units(), about(), None, alone, mount=SPACE)
    assert report.word(one) == "up"
    assert "\n  alone    since 20" in report.as_text([one], ())
    assert ", because goes on alone: told so by 'drbdocfs proceed'" in report.summary(one)
    assert report.summary(one).endswith("; waiting for server2 at 10.0.0.2:7789 (Connecting)")


def test_no_more_alone_once_its_peer_is_back() -> None:
    one = report.stack_report(
        STACK, units(), drbd("drbd-9.3/03-promote-both.server1"), None, report.AloneReport(7.0, "why")
    )
    assert one.alone is None
    assert "alone" not in report.as_text([one], ())


def test_stopped_by_the_administrator() -> None:
    one = report.stack_report(STACK, units(**DOWN), None)
    assert (one.state, report.word(one), report.summary(one)) == ("down", "stopped", "stopped")
    # A cluster that other stacks share stays up.
    assert report.word(report.stack_report(STACK, units(**{**DOWN, "o2cb": ("active", "", "")}), None)) == "stopped"
    assert report.word(report.stack_report(STACK, units(**{**DOWN, "attach": ("active", "", "")}), None)) == "down"


def followed(active: str, job: str = "") -> dict[str, UnitState]:
    return {report.FOLLOW: UnitState(report.FOLLOW, "loaded", active, "", "", "", 0, job)}


@pytest.mark.parametrize(
    ("active", "job", "known"),
    [
        ("active", "", True),
        ("activating", "", True),  # and while systemd waits to start it again
        ("inactive", "start", True),  # at a boot, after all stacks
        ("deactivating", "restart", True),
        ("deactivating", "stop", False),
        ("inactive", "", False),
        ("failed", "", False),
        ("unknown", "", None),
    ],
)
def test_a_stack_that_is_up_and_that_nobody_follows(active: str, job: str, known: bool | None) -> None:
    one = report.stack_report(STACK, {**units(), **followed(active, job)}, None, mount=SPACE)
    assert (one.state, one.followed) == ("up", known)
    assert report.unfollowed(one) == (known is False)
    text = report.as_text([one], ())
    assert ("\n  follow   drbdocfs-follow.service does not run\n" in text) == (known is False)
    assert ("what to do: 'systemctl start drbdocfs-follow.service'" in text) == (known is False)
    said = "up: follow: drbdocfs-follow.service does not run" if known is False else "up"
    assert report.summary(one) == said


def test_a_late_stack_that_nobody_waits_for() -> None:
    wait = waiting(after=600, STATE="late")
    one = report.stack_report(STACK, {**units(**FAILED), **followed("inactive")}, about(), wait)
    text = report.as_text([one], ())
    assert "\n  late     does not wait any more: drbdocfs-follow.service does not run; waiting for server2" in text
    assert "what to do: 'systemctl start drbdocfs-follow.service'" in text
    assert "in the background" not in text
    assert report.summary(one).startswith("late: does not wait any more: drbdocfs-follow.service does not run;")


def test_nobody_has_to_follow_what_was_stopped() -> None:
    down = dict.fromkeys(("loop", "attach", "wait", "promote", "o2cb", "mount"), ("inactive", "success", ""))
    one = report.stack_report(STACK, {**units(**down), **followed("inactive")}, None)
    assert one.followed is False
    assert "follow" not in report.as_text([one], ())


def test_summary_of_a_failed_layer() -> None:
    one = report.stack_report(STACK, units(loop=("failed", "exit-code", "/drbd-loop.img is not there")), None)
    assert report.summary(one) == "failed: loop: /drbd-loop.img is not there"


def test_json_of_waiting_and_alone() -> None:
    one = report.stack_report(STACK, units(**STARTING), about(), waiting(STATE="late"), report.AloneReport(7.0, "why"))
    stack = json.loads(json.dumps(report.as_json([one], ())))["stacks"][0]
    assert stack["waiting"] == {
        "state": "late",
        "kind": "waiting",
        "reason": RECORD["REASON"],
        "seconds": 23.0,
        "since": 1_763_799_977.0,
        "when_alone": "newest",
        "peer_timeout": 120.0,
    }
    assert stack["alone"] == {"since": 7.0, "reason": "why"}
    plain = json.loads(json.dumps(report.as_json([report.stack_report(STACK, units(), None)], ())))["stacks"][0]
    assert (plain["waiting"], plain["alone"]) == (None, None)


def test_records_that_say_nothing() -> None:
    assert report.waiting_report(None, 1.0, 2.0) is None
    assert report.alone_report(None) is None
    found = report.waiting_report({}, 5.0, 100.0)
    assert found is not None
    assert (found.state, found.seconds, found.since, found.peer_timeout) == ("boot", 0.0, 100.0, 0.0)


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("waiting for s2 at 10.0.0.2:7789, 0:23 of 2:00", "waiting for s2 at 10.0.0.2:7789, 1:24 of 2:00", True),
        ("resync from server2 37 %, 0:41 left", "resync from server2 38 %, 0:39 left", True),
        ("resync from server2 37 %, 0:41 left", "resync from server2 41 %, 0:39 left", False),
        ("resync from server2 7 %", "resync from server2 9 %", True),
        ("resync from server2 9 %", "resync from server2 10 %", False),
        ("resync from server2 97 %", "resync from server2 100 %", False),
        ("waiting for server2 at 10.0.0.2:7789, 0:23", "waiting for server2 at 10.0.0.2:7790, 0:23", False),
        ("waiting for server2 at 10.0.0.2:77, 0:23", "waiting for server2 at 10.0.0.2:78, 0:24", False),
        ("waiting for [fd00::12:34]:7789, 0:23", "waiting for [fd00::12:35]:7789, 0:23", False),
        ("late: 59:59", "late: 1:00:00", True),
        ("up", "starting", False),
    ],
)  # fmt: skip
def test_what_is_worth_a_new_line(one: str, two: str, same: bool) -> None:
    assert (report.gist(one) == report.gist(two)) is same


# --- how it looks ----------------------------------------------------------------------------------------------

TARGET = CONNECTING.replace("Connecting role:Unknown", "Connected role:Secondary").replace(
    "replication:Off peer-disk:DUnknown", "replication:SyncTarget peer-disk:UpToDate done:37.20 eta:41"
)
NODES = report.ClusterReport(
    True,
    [
        report.NodeReport("server1", 1, "10.0.0.1", True, None, True),
        report.NodeReport("server2", 2, "10.0.0.2", False, True, True),
    ],
)
SPACE = report.MountReport("rw,noatime,_netdev,heartbeat=local", True, 167727104, 15257600, 152469504, 40949, 37224)


def full(**changes: object) -> report.StackReport:
    state = read((TRANSCRIPTS / "drbd-8.4/03-promote-both.server1.events2").read_text())
    found = report.drbd_report(state, judge(state, "r0"), 0, "server2")
    one = report.stack_report(STACK, units(wait=("active", "", "r0: connected, UpToDate on both nodes")), found, None,
                              None, NODES, SPACE)  # fmt: skip
    return replace(one, **changes)


WIDE = """\
web: up since 22:13:20 (1 h 45 min)  /mnt/storage on /dev/drbd0 (r0)
  loop     up        22:13:20
  attach   up        22:13:20
  wait     up        22:13:20  r0: connected, UpToDate on both nodes
  promote  up        22:13:20
  o2cb     up        22:13:20
  mount    up        22:13:20
  drbd     this node Primary, UpToDate; server2 Connected, Primary, UpToDate, Established
  nodes    server1 (this node), mounted; server2 connected, mounted there
  space    15 MiB of 160 MiB used (9 %), 145 MiB free
  options  rw, noatime, _netdev, heartbeat=local"""
NARROW = WIDE.replace("UpToDate, Established", "UpToDate,\n           Established")


@pytest.mark.parametrize(("columns", "text"), [(0, WIDE), (200, WIDE), (80, NARROW)])
def test_how_it_looks(columns: int, text: str) -> None:
    assert report.as_text([full()], (), columns, now=SINCE + 6300) == text
    assert columns == 0 or max(map(len, text.splitlines())) <= columns


def test_colours_change_nothing_but_colours() -> None:
    painted = report.as_text([full()], (), 80, lambda text, name: f"<{name}>{text}</>", SINCE + 6300)
    assert painted.startswith("web: <bold><up>up</></> since")
    assert "\n  loop     <up>up</>        22:13:20\n" in painted
    assert re.sub("<[^>]*>", "", painted) == NARROW


def test_a_long_reason_wraps_under_its_column() -> None:
    failed = units(wait=("failed", "exit-code", "r0 was not ready after 0:02 (boot_timeout): waiting for server2"))
    lines = report.as_text([report.stack_report(STACK, failed, None)], (), 60, now=SINCE).splitlines()
    assert lines[:2] == ["web: failed since 22:13:20 (0 s)", "  /mnt/storage on /dev/drbd0 (r0)"]
    assert lines[4:8] == [
        "  wait     failed    22:13:20  r0 was not ready after 0:02",
        "                               (boot_timeout): waiting for",
        "                               server2",
        "  promote  up        22:13:20",
    ]


def test_a_resync_has_a_bar_and_a_speed() -> None:
    state = read(TARGET)
    found = report.drbd_report(state, judge(state, "r0", peer="server2"), 102400, "server2")
    assert found.out_of_sync == 100 * 2**20
    assert found.resync == report.ResyncReport(37.2, 41.0, round(100 * 2**20 / 41), "from")
    text = report.as_text([report.stack_report(STACK, units(**STARTING), found)], ())
    assert "\n  resync   [#######.............] 37 %, 2.4 MiB/s, 0:41 left, 100 MiB to go\n" in text
    assert "server2 Connected, Secondary, UpToDate, SyncTarget" in text


@pytest.mark.parametrize(
    ("suspended", "words"),
    [
        ("no", ""),
        ("user", "what to do: 'drbdadm resume-io r0'"),
        ("fencing", "what to do: DRBD holds back all I/O until its peer is fenced or back (fencing)"),
    ],
)
def test_frozen_io_is_said(suspended: str, words: str) -> None:
    state = read((TRANSCRIPTS / "drbd-8.4/03-promote-both.server1.events2").read_text())
    state.resource["suspended"] = suspended
    text = report.as_text([full(drbd=report.drbd_report(state, judge(state, "r0"), 0))], ())
    assert ("I/O frozen" in text) is bool(words)
    assert words in text
    assert f"UpToDate, I/O frozen ({suspended}); " in text or not words


@pytest.mark.parametrize(
    ("suspended", "answers", "line"),
    [
        ("user", True, "up: I/O is frozen (user)"),
        ("no", False, "up: the file system does not answer: its I/O stands still"),
        ("no", None, "up"),
        ("no", True, "up"),
    ],
)
def test_one_line_of_a_stack_that_is_up_and_ails(suspended: str, answers: bool | None, line: str) -> None:
    state = read((TRANSCRIPTS / "drbd-8.4/03-promote-both.server1.events2").read_text())
    state.resource["suspended"] = suspended
    stack = full(drbd=report.drbd_report(state, judge(state, "r0"), 0), mount=report.MountReport("rw", answers))
    assert report.summary(stack) == line


def test_one_line_of_a_stack_in_whose_place_something_else_is_mounted() -> None:
    assert report.summary(full(mount=None)) == "up: /dev/drbd0 is not what is mounted on /mnt/storage"


# --- fencing --------------------------------------------------------------------------------------------------


FENCING = {
    "PID": "812", "RESOURCE": "r0", "BEGAN": "1000.000", "PHASE": "grace", "UNTIL": "1020.000",
    "REASON": "survivor = server1",
}  # fmt: skip
NOW = SINCE + 6300  # 23:58:20


def fenced(suspended: str = "fencing", after: float = 5.0, **record: str) -> report.StackReport:
    """A stack that is up and has lost its peer, so many seconds ago."""
    state = read(CONNECTING)
    state.resource.update(role="Primary", suspended=suspended)
    found = report.drbd_report(state, judge(state, "r0", peer="server2"), 0)
    said = report.fencing_report({**FENCING, **record}, 1000.0 + after, NOW)
    return report.stack_report(STACK, units(), found, fencing=said)


def test_a_handler_that_decides_is_shown_with_its_time() -> None:
    text = report.as_text([fenced()], (), now=NOW)
    assert "\n  fencing  grace until 23:58:35: survivor = server1\n" in text
    assert "what to do: nothing is to be typed: the fence-peer handler decides" in text
    assert "journalctl -k -g drbd" not in text
    assert "fencing: grace until 23:58:35: survivor = server1; " in report.summary(fenced())


@pytest.mark.parametrize("phase", ["head start", "switching off", "lock"])
def test_each_phase_is_shown_in_its_own_word(phase: str) -> None:
    text = report.as_text([fenced(PHASE=phase, REASON="why")], (), now=NOW)
    assert f"\n  fencing  {phase} until 23:58:35: why\n" in text


def test_a_frozen_node_says_when_it_is_reset_and_what_not_to_do() -> None:
    one = fenced(PHASE="frozen", UNTIL="1060.000", REASON="survivor = server2: the other node goes on")
    text = report.as_text([one], (), now=NOW)
    assert "\n  fencing  frozen until 23:59:15: survivor = server2: the other node goes on\n" in text
    assert "'drbdadm resume-io' would be a split brain" in text
    assert "Connected again, this node goes on, unless the other one was chosen." in text
    assert "Else O2CB resets this node, at 23:59:15" in text
    assert "nothing is to be typed: the" not in text


def test_a_frozen_node_that_has_nothing_mounted_says_how_it_gets_out() -> None:
    one = fenced(PHASE="frozen", UNTIL="1000.000", REASON="server2 has the lock at tie")
    text = report.as_text([one], (), now=NOW)
    assert "O2CB does not reset it: once the other one has gone on, 'drbdocfs stop web', then 'drbdocfs start" in text


@pytest.mark.parametrize("refused", [True, False])
def test_what_the_handler_has_refused_is_not_advised_again(refused: bool) -> None:
    why = f"not promoted, {HANDLER_REFUSED}: server2 has the lock at tie" if refused else "it could not be promoted"
    state = read(CONNECTING)
    down = dict.fromkeys(("o2cb", "mount"), ("inactive", "success", ""))
    failed = units(promote=("failed", "exit-code", why), **down)
    one = report.stack_report(STACK, failed, report.drbd_report(state, judge(state, "r0", peer="server2"), 0))
    text = report.as_text([one], (), now=NOW)
    assert why in text
    assert "what to do: is the other node up, and the link between them?" in text
    assert ("'drbdocfs proceed web'" in text) is not refused


def test_a_time_that_has_passed_is_not_shown() -> None:
    assert "\n  fencing  frozen: why\n" in report.as_text([fenced(after=99, PHASE="frozen", REASON="why")], (), now=NOW)


@pytest.mark.parametrize(
    ("suspended", "shown"), [("fencing", True), ("quorum,fencing", True), ("no", False), ("quorum", False)]
)
def test_a_record_counts_only_while_drbd_waits_for_the_handler(suspended: str, shown: bool) -> None:
    one = fenced(suspended)
    assert (one.fencing is not None) is shown
    assert ("\n  fencing  " in report.as_text([one], ())) is shown


def test_a_record_does_not_count_where_drbd_is_not_seen() -> None:
    one = report.stack_report(STACK, units(), None, fencing=report.fencing_report(FENCING, 1001.0, NOW))
    assert one.fencing is None


def test_a_survivor_says_since_when_and_why() -> None:
    said = report.survivor_report({"TIME": str(int(SINCE)), "WHY": "server2 is switched off"})
    one = report.stack_report(STACK, units(), about(), survivor=said)
    line = "this node went on without its peer since 2023-11-14 22:13:20: server2 is switched off"
    assert f"\n  fencing  {line}\n" in report.as_text([one], ())
    assert line in report.summary(one)


def test_a_survivor_whose_peer_is_back_without_its_data_did_not_go_on_alone() -> None:
    said = report.survivor_report({"TIME": str(int(SINCE)), "WHY": "the peer's disk was Diskless"})
    here = CONNECTING.replace("connection:Connecting", "connection:Connected")
    diskless = about(here.replace("replication:Off peer-disk:DUnknown", "replication:Established peer-disk:Diskless"))
    one = report.stack_report(STACK, units(), diskless, survivor=said)
    line = "only this node has all data since 2023-11-14 22:13:20: the peer's disk was Diskless"
    assert f"  fencing  {line}" in report.as_text([one], ()).splitlines()


def test_json_of_fencing_and_survivor() -> None:
    one = replace(fenced(), survivor=report.survivor_report({"TIME": "7", "WHY": "why"}))
    stack = json.loads(json.dumps(report.as_json([one], ())))["stacks"][0]
    assert stack["fencing"] == {
        "phase": "grace", "reason": "survivor = server1", "since": NOW - 5, "until": NOW + 15,
    }  # fmt: skip
    assert stack["survivor"] == {"since": 7.0, "reason": "why"}
    plain = json.loads(json.dumps(report.as_json([full()], ())))["stacks"][0]
    assert (plain["fencing"], plain["survivor"]) == (None, None)


def test_fencing_records_that_say_nothing() -> None:
    assert report.fencing_report({}, 5.0, 100.0) == report.FencingReport("unknown", "", 100.0, None)
    assert report.fencing_report(None, 5.0, 100.0) is None
    assert report.survivor_report(None) is None


def test_the_end_of_a_phase_is_no_news() -> None:
    one, two = report.summary(fenced()), report.summary(fenced(UNTIL="1021.0"))
    assert one != two
    assert report.gist(one) == report.gist(two)


def test_what_differs_without_a_resync() -> None:
    state = read(CONNECTING)
    found = report.drbd_report(state, judge(state, "r0"), 2048)
    text = report.as_text([report.stack_report(STACK, units(), found)], ())
    assert "; 2.0 MiB out of sync\n" in text
    assert "what to do: is the other node up, and the link between them?\n" in text + "\n"
    assert "drbdocfs proceed" not in text  # it is up: there is nothing to go on with


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        (replace(SPACE, answers=False, size=None), "space    the file system does not answer: its I/O stands still\n"),
        (replace(SPACE, answers=None), "  space    not known: stat(1) cannot be run\n"),
        (replace(SPACE, files_free=12), "; only 12 files can still be made\n"),
    ],
)
def test_space(mount: report.MountReport, words: str) -> None:
    text = report.as_text([full(mount=mount)], ())
    assert words in text
    assert ("do not reset this node" in text) is (mount.answers is False)


@pytest.mark.parametrize(
    ("connected", "heartbeat", "words", "apart"),
    [
        (True, True, "server2 connected, mounted there", False),
        (False, True, "server2 not connected, mounted there", True),
        (False, False, "server2 not connected, not mounted there", False),
        (None, None, "server2 not known whether it is connected", False),
    ],
)
def test_nodes_seen(connected: bool | None, heartbeat: bool | None, words: str, apart: bool) -> None:
    nodes = [NODES.nodes[0], replace(NODES.nodes[1], connected=connected, heartbeat=heartbeat)]
    text = report.as_text([full(o2cb=report.ClusterReport(True, nodes))], ())
    assert f"; {words}\n" in text
    assert ("O2CB is not connected with server2" in text) is apart


def test_json_has_every_key() -> None:
    stack = json.loads(json.dumps(report.as_json([full()], ())))["stacks"][0]
    assert set(stack) == {
        "name", "state", "mountpoint", "device", "resource", "cluster", "layers", "drbd", "waiting", "alone", "o2cb",
        "mount", "unreadable", "fencing", "survivor", "followed",
    }  # fmt: skip
    assert stack["drbd"]["out_of_sync"] == 0
    assert stack["drbd"]["resync"] is None
    assert stack["o2cb"]["nodes"][1] == {
        "name": "server2", "number": 2, "address": "10.0.0.2", "local": False, "connected": True, "heartbeat": True,
    }  # fmt: skip
    assert stack["mount"]["used"] == 15257600
    page = (Path(__file__).parents[2] / "packaging/man/drbdocfs-status.8").read_text().replace("\\-", "-")
    keys = {*stack, *stack["drbd"], *stack["o2cb"], *stack["o2cb"]["nodes"][0], *stack["mount"], *stack["layers"][0]}
    keys |= {*vars(report.ResyncReport(0.0, 0.0, 0.0, "")), *vars(report.WaitingReport("", "", "", 0, 0, "", 0))}
    keys |= {*vars(report.FencingReport("", "", 0, None)), *vars(report.SurvivorReport(0, ""))}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", page)] == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (83, "1 min 23 s"), (3600, "1 h"), (7500, "2 h 5 min"),
     (86400, "1 d"), (273600, "3 d 4 h"), (-5, "0 s")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert report.duration(seconds) == text


def test_unreadable_is_said_once() -> None:
    assert report.unreadable([full(unreadable=["a", "b"]), full(unreadable=["b"])]) == ["a", "b"]
