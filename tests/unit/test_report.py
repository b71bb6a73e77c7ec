"""What ``drbdocfs status`` says, from states of units and of DRBD."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drbdocfs_boot import report
from drbdocfs_boot.events import read
from drbdocfs_boot.stack import Problem, Stack
from drbdocfs_boot.systemd import UnitState
from drbdocfs_boot.verdict import judge

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
    one = report.stack_report(STACK, units(), drbd("drbd-9.3/03-promote-both.server1"))
    assert one.state == "up"
    assert report.as_text([one], ()) == (
        "web: up  /mnt/storage on /dev/drbd0 (r0)\n"
        "  loop     up\n"
        "  attach   up\n"
        "  wait     up\n"
        "  promote  up\n"
        "  o2cb     up\n"
        "  mount    up\n"
        "  drbd     this node Primary, UpToDate; server2 Connected, Primary, UpToDate, Established"
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
    assert "  wait     failed    split brain: both nodes changed r0\n" in text
    assert "  promote  down\n" in text
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
    assert text.startswith("web: late  /mnt/storage on /dev/drbd0 (r0)\n")
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
    one = report.stack_report(STACK, units(), about(), None, alone)
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
