"""The events2 parser on what both drivers really said (tests/transcripts)."""

from __future__ import annotations

from pathlib import Path

import pytest

from drbdocfs_boot import kernellog
from drbdocfs_boot.events import State, parse, read
from drbdocfs_boot.verdict import (
    DISK_GONE,
    NOT_CONFIGURED,
    READY,
    RESYNCING,
    SPLIT_BRAIN,
    STAND_ALONE,
    STARTING,
    WAITING,
    judge,
)

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
DRIVERS = ("drbd-8.4", "drbd-9.3")


def lines(driver: str, name: str) -> list[str]:
    return (TRANSCRIPTS / driver / f"{name}.events2").read_text().splitlines()


def story(driver: str, name: str) -> list[str]:
    """The verdicts in order, each once in a row."""
    state = State()
    kinds: list[str] = []
    for line in lines(driver, name):
        if state.feed(line):
            kind = judge(state, "r0").kind
            if not kinds or kinds[-1] != kind:
                kinds.append(kind)
    return kinds


# What a wait would have seen.  A moment of StandAlone before a connect is 8.4's way to create a connection; the wait
# lets it settle.
STORIES = [
    ("00-not-configured", DRIVERS, [NOT_CONFIGURED]),
    ("02-alone-then-peer.server1", DRIVERS, [STARTING, WAITING, READY]),
    ("02-alone-then-peer.server2", DRIVERS, [STARTING, READY]),
    ("03-promote-both.server1", DRIVERS, [STARTING, READY]),
    ("04-cable-out-one-writes-resync.server1", DRIVERS, [STARTING, READY, WAITING, RESYNCING, READY]),
    ("04-cable-out-one-writes-resync.server2", DRIVERS, [STARTING, READY, WAITING, RESYNCING, READY]),
    ("06-peer-crash.server1", DRIVERS, [STARTING, READY, WAITING]),
    ("06-crashed-alone.server2", DRIVERS, [STARTING, WAITING]),
    ("06-crashed-returns.server2", DRIVERS, [STARTING, WAITING, RESYNCING, READY]),
    ("09-split-brain.server1", DRIVERS, [STARTING, READY, WAITING, SPLIT_BRAIN]),
    ("09-split-brain.server2", DRIVERS, [STARTING, READY, WAITING, SPLIT_BRAIN]),
    ("12-detach.server2", DRIVERS, [STARTING, READY, DISK_GONE]),
    # The older half of the dump comes last; seen in 2 of 120 dumps taken around a connect.
    ("14-handshake-during-dump.server2", ("drbd-8.4",), [STARTING, READY]),
    ("13-address-lost.server1", ("drbd-8.4",), [STARTING, READY, WAITING, STAND_ALONE]),
    ("11-wrong-secret.server1", ("drbd-8.4",), [STARTING, STAND_ALONE, WAITING, STAND_ALONE]),
]


@pytest.mark.parametrize(
    ("driver", "name", "expected"),
    [(driver, name, kinds) for name, drivers, kinds in STORIES for driver in drivers],
)
def test_verdicts_along_a_transcript(driver: str, name: str, expected: list[str]) -> None:
    assert story(driver, name) == expected


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_transcript_ends_its_dump_and_never_raises(driver: str) -> None:
    files = sorted((TRANSCRIPTS / driver).glob("*.events2"))
    assert len(files) >= 20
    for file in files:
        state = read(file.read_text())
        assert state.complete, file.name
        assert not state.lost, file.name


def test_a_node_that_crashed_long_ago_is_not_ready_although_its_disk_is_up_to_date() -> None:
    state = read("\n".join(lines("drbd-8.4", "06-crashed-alone.server2")))
    assert state.devices["0"]["disk"] == "UpToDate"
    verdict = judge(state, "r0")
    assert (verdict.kind, verdict.status) == (WAITING, 75)


def test_connected_alone_is_not_ready_on_84_before_the_handshake() -> None:
    text = lines("drbd-8.4", "02-alone-then-peer.server1")
    state = read("\n".join(text[:6]))
    assert state.connections["0"]["connection"] == "Connected"
    assert judge(state, "r0").kind == WAITING


def test_a_split_brain_that_drbd_resolves_by_itself_is_none() -> None:
    # initial-split-brain is called, a resync follows.
    assert SPLIT_BRAIN not in story("drbd-8.4", "10-resolve.server1")
    assert story("drbd-8.4", "10-resolve.server1")[-1] == READY


def test_values_are_split_at_the_first_colon_only() -> None:
    event = parse("exists path name:r0 local:ipv6:[fe80::1]:7789 peer:ipv4:10.0.0.2:7789 established:no")
    assert event is not None
    assert event.keys["local"] == "ipv6:[fe80::1]:7789"


@pytest.mark.parametrize("line", ["", "rc=124", "  ", "0: State change failed", "drbdsetup: not found", "\x00\xff"])
def test_what_is_no_event_changes_nothing(line: str) -> None:
    state = State()
    assert state.feed(line) is False
    assert not state.complete


def test_lost_events_ask_for_a_new_dump() -> None:
    assert not read("exists -\n").lost
    assert read("exists -\n- skipped 3\n").lost
    assert read("2026-11-22T11:48:06.836707+00:00 - skipped 3").lost


DUMP = (
    "exists resource name:r0 role:Secondary",
    "exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connected role:Unknown",
    "exists device name:r0 volume:0 minor:0 disk:UpToDate",
    "exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown",
    "exists -",
)
MEANWHILE = (
    "change connection name:r0 peer-node-id:0 conn-name:peer role:Secondary",
    "change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:UpToDate",
)


@pytest.mark.parametrize("place", range(len(DUMP) + 1))
def test_events_between_the_pieces_of_a_dump_are_newer_than_the_dump(place: int) -> None:
    # Seen on 8.4: the handshake ended while the dump was being sent, and a wait never ended although both were ready.
    state = read("\n".join([*DUMP[:place], *MEANWHILE, *DUMP[place:]]))
    assert judge(state, "r0").kind == READY
    assert state.connections["0"]["role"] == "Secondary"
    state.feed("change peer-device name:r0 peer-node-id:0 volume:0 replication:Off peer-disk:DUnknown")
    assert judge(state, "r0").kind == WAITING


@pytest.mark.parametrize("place", range(len(DUMP) + 1))
def test_a_connection_that_went_while_the_dump_was_sent_stays_gone(place: int) -> None:
    gone = (
        "change connection name:r0 peer-node-id:0 conn-name:peer connection:StandAlone",
        "destroy peer-device name:r0 peer-node-id:0 conn-name:peer volume:0",
        "destroy connection name:r0 peer-node-id:0 conn-name:peer",
    )
    state = read("\n".join([*DUMP[:place], *gone, *DUMP[place:]]))
    assert not state.connections
    assert judge(state, "r0").kind == STAND_ALONE


def test_a_promotion_while_the_dump_was_sent() -> None:
    state = read("\n".join(["change resource name:r0 role:Primary", *DUMP]))
    assert state.resource["role"] == "Primary"


def test_a_new_dump_replaces_the_old_state() -> None:
    text = "\n".join(lines("drbd-8.4", "02-alone-then-peer.server1"))
    state = read(text + "\nexists resource name:r0 role:Secondary\nexists -")
    assert state.resource["role"] == "Secondary"
    assert not state.connections
    assert judge(state, "r0").kind == STAND_ALONE


def test_resource_taken_down_while_waiting() -> None:
    state = read("\n".join(lines("drbd-9.3", "02-alone-then-peer.server1")) + "\ndestroy resource name:r0")
    assert judge(state, "r0").kind == NOT_CONFIGURED


@pytest.mark.parametrize(("done", "percent"), [("37.25", 37.25), ("nan", None), ("-", None), ("140", None)])
def test_progress_of_a_resync(done: str, percent: float | None) -> None:
    state = read("\n".join(lines("drbd-9.3", "03-promote-both.server1")))
    state.feed(f"change peer-device name:r0 peer-node-id:1 volume:0 replication:SyncTarget done:{done}")
    verdict = judge(state, "r0")
    assert verdict.kind == RESYNCING
    assert verdict.percent == percent
    assert verdict.reason == ("resync from server2 37 %" if percent else "resync from server2")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("change peer-device name:r0 peer-node-id:1 volume:0 peer-disk:Outdated",
         "waiting for the disk of server2: Outdated"),
        ("change device name:r0 volume:0 disk:Outdated", "waiting for the local disk of r0: Outdated"),
        ("change peer-device name:r0 peer-node-id:1 volume:0 replication:VerifyS",
         "waiting for replication with server2: VerifyS"),
    ],
)  # fmt: skip
def test_one_side_is_not_enough(change: str, reason: str) -> None:
    state = read("\n".join(lines("drbd-9.3", "03-promote-both.server1")))
    assert judge(state, "r0").kind == READY
    state.feed(change)
    verdict = judge(state, "r0")
    assert (verdict.kind, verdict.reason) == (WAITING, reason)


def test_every_volume_counts() -> None:
    state = read("\n".join(lines("drbd-9.3", "03-promote-both.server1")))
    state.feed("create device name:r0 volume:1 minor:1 disk:Inconsistent")
    state.feed("create peer-device name:r0 peer-node-id:1 volume:1 replication:Established peer-disk:UpToDate")
    assert judge(state, "r0").reason == "waiting for the local disk of r0/1: Inconsistent"


# --- what the kernel log adds ---------------------------------------------------------------------------------


def kernel(driver: str, name: str) -> list[str]:
    text = (TRANSCRIPTS / driver / f"{name}.kernel").read_text()
    return [line.partition("] ")[2] for line in text.splitlines()]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("node", ["server1", "server2"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("09-split-brain", kernellog.SPLIT_BRAIN),
        ("11-wrong-secret", kernellog.AUTHENTICATION),
        ("02-alone-then-peer", ""),
    ],
)
def test_reason_of_a_standalone_in_the_kernel_log(driver: str, node: str, name: str, reason: str) -> None:
    assert kernellog.why_stand_alone(kernel(driver, f"{name}.{node}"), "r0", ["0"]) == reason


def test_address_lost_on_84() -> None:
    for node in ("server1", "server2"):
        assert kernellog.why_stand_alone(kernel("drbd-8.4", f"13-address-lost.{node}"), "r0", ["0"]) == "address"


def test_a_new_attempt_forgets_and_others_do_not_count() -> None:
    lines = kernel("drbd-8.4", "09-split-brain.server1")
    assert kernellog.why_stand_alone(lines, "r1", ["1"]) == ""
    assert kernellog.why_stand_alone(lines, "r", ["00"]) == ""
    assert kernellog.why_stand_alone([*lines, "drbd r0: conn( StandAlone -> Unconnected ) "], "r0", ["0"]) == ""


def test_a_split_brain_from_before_the_dump_is_named_all_the_same() -> None:
    # The dump that a wait gets which began after DRBD had found it: StandAlone and nothing more.
    state = read("\n".join(lines("drbd-8.4", "10-resolve.server1")[:5]))
    assert (judge(state, "r0").kind, judge(state, "r0").status) == (STAND_ALONE, 69)
    verdict = judge(state, "r0", kernellog.SPLIT_BRAIN)
    assert (verdict.kind, verdict.status) == (SPLIT_BRAIN, 65)
    assert "the authentication failed" in judge(state, "r0", kernellog.AUTHENTICATION).reason
    assert "its own address was not on this host" in judge(state, "r0", kernellog.ADDRESS).reason


def test_an_old_message_does_not_make_a_split_brain_of_a_connection_that_works() -> None:
    state = read("\n".join(lines("drbd-8.4", "03-promote-both.server1")))
    assert judge(state, "r0", kernellog.SPLIT_BRAIN).kind == READY
