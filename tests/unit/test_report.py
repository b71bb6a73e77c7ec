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
