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
    peers_present,
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


TIEBREAKER = """\
exists resource name:r0 role:Primary suspended:no
exists connection name:r0 peer-node-id:1 conn-name:server2 connection:Connected role:Primary
exists connection name:r0 peer-node-id:2 conn-name:server3 connection:Connected role:Secondary
exists device name:r0 volume:0 minor:0 backing_dev:/dev/loop7 disk:UpToDate client:no quorum:yes
exists peer-device name:r0 peer-node-id:1 conn-name:server2 volume:0 replication:Established peer-disk:UpToDate \
peer-client:no resync-suspended:no
exists peer-device name:r0 peer-node-id:2 conn-name:server3 volume:0 replication:Established peer-disk:Diskless \
peer-client:yes resync-suspended:no
exists -
"""


def test_a_tiebreaker_without_a_disk_is_no_peer_that_is_waited_for() -> None:
    state = read(TIEBREAKER)
    assert judge(state, "r0").kind == READY
    assert state.tiebreakers["2"]["conn-name"] == "server3"
    assert (list(state.connections), list(state.peer_devices)) == (["1"], ["1/0"])
    state.feed("change connection name:r0 peer-node-id:2 conn-name:server3 connection:StandAlone role:Unknown")
    state.feed("change peer-device name:r0 peer-node-id:2 volume:0 replication:Off peer-disk:DUnknown")
    assert judge(state, "r0").kind == READY
    assert state.tiebreakers["2"]["connection"] == "StandAlone"
    # The peer itself is missed all the same, however well the tiebreaker is.
    state.feed("change connection name:r0 peer-node-id:1 conn-name:server2 connection:Connecting role:Unknown")
    state.feed("change peer-device name:r0 peer-node-id:1 volume:0 replication:Off peer-disk:DUnknown")
    assert judge(state, "r0").kind == WAITING
    assert not peers_present(state)


@pytest.mark.parametrize("connection", ["StandAlone", "Connecting"])
def test_a_tiebreaker_that_is_gone_at_the_first_look_is_told_from_the_peer(connection: str) -> None:
    text = TIEBREAKER.replace("server3 connection:Connected", f"server3 connection:{connection}")
    assert judge(read(text), "r0").kind == READY


def test_a_node_is_a_tiebreaker_only_once_drbd_says_so() -> None:
    """drbdadm says that it has no bitmap after the peer is there; and it may get a disk one day."""
    state = read(TIEBREAKER.replace("peer-client:yes", "peer-client:no"))
    assert judge(state, "r0").kind == WAITING
    state.feed("change peer-device name:r0 peer-node-id:2 conn-name:server3 volume:0 peer-client:yes")
    assert judge(state, "r0").kind == READY
    state.feed("change peer-device name:r0 peer-node-id:2 conn-name:server3 volume:0 peer-client:no peer-disk:Diskless")
    assert judge(state, "r0").kind == WAITING


def test_a_tiebreaker_that_was_taken_out_is_forgotten() -> None:
    state = read(TIEBREAKER)
    state.feed("destroy peer-device name:r0 peer-node-id:2 conn-name:server3 volume:0")
    state.feed("destroy connection name:r0 peer-node-id:2 conn-name:server3")
    assert state.tiebreakers == {}
    assert judge(state, "r0").kind == READY


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


# What drbd_receiver.c of each driver says, and the transition that follows it.  8.4 says it of the resource or of the
# device, 9 of the connection or of the device and the connection.
LEAVES_84 = ("drbd r0: conn( WFReportParams -> Disconnecting ) ", "drbd r0: conn( Disconnecting -> StandAlone ) ")
GIVES_UP_84 = (
    "drbd r0: Discarding network configuration.",
    "drbd r0: conn( WFConnection -> Disconnecting ) ",
    "drbd r0: conn( Disconnecting -> StandAlone ) ",
)
# Seen with a cable that was out and in every 5 s: 8.4 gives up before it discards what it knows of the peer.
ADDRESS_WENT_84 = (GIVES_UP_84[1], GIVES_UP_84[0], "drbd r0: Connection closed", GIVES_UP_84[2])
LEAVES_9 = (
    "drbd r0 server2: conn( Connecting -> Disconnecting )",
    "drbd r0 server2: conn( Disconnecting -> StandAlone ) [disconnected]",
)
MESSAGES = [
    *(
        (f"{head}incompatible {setting} settings", leaves, kernellog.CONFIGURATION)
        for setting in ("protocol", "after-sb-0pri", "after-sb-1pri", "after-sb-2pri", "discard-my-data",
                        "allow-two-primaries", "data-integrity-alg")
        for head, leaves in (("drbd r0: ", LEAVES_84), ("drbd r0 server2: ", LEAVES_9))
    ),
    ("drbd r0: incompatible DRBD dialects: I support 86-101, peer supports 110-124", GIVES_UP_84,
     kernellog.CONFIGURATION),
    ("drbd r0 server2: incompatible DRBD 9 dialects: I support 118-124, peer supports 110-117", LEAVES_9,
     kernellog.CONFIGURATION),
    ("block drbd0: Unrelated data, aborting!", LEAVES_84, kernellog.UNRELATED),
    ("drbd r0/0 drbd0 server2: Unrelated data, aborting!", LEAVES_9, kernellog.UNRELATED),
    ("block drbd0: The peer's disk size is too small!", LEAVES_84, kernellog.TOO_SMALL),
    ("block drbd0: The peer's disk size is too small! (163796 < 327592 sectors)", LEAVES_84, kernellog.TOO_SMALL),
    ("drbd r0/0 drbd0 server2: The peer's disk size is too small! (163796 < 327592 sectors)", LEAVES_9,
     kernellog.TOO_SMALL),
    ("drbd r0/0 drbd0 server2: The peer's device size is too small! (163796 < 327592 sectors); demote me first!",
     LEAVES_9, kernellog.TOO_SMALL),
    ("block drbd0: Split-Brain detected but unresolved, dropping connection!", LEAVES_84, kernellog.SPLIT_BRAIN),
    ("drbd r0/0 drbd0 server2: Split-Brain detected but unresolved, dropping connection!", LEAVES_9,
     kernellog.SPLIT_BRAIN),
    ("drbd r0: Authentication of peer failed", GIVES_UP_84, kernellog.AUTHENTICATION),
    ("drbd r0: bind before listen failed, err = -99", GIVES_UP_84, kernellog.ADDRESS),
    ("drbd r0: bind before connect failed, err = -99", ADDRESS_WENT_84, kernellog.ADDRESS),
    ("drbd r0: connect failed, err = -22", ADDRESS_WENT_84, ""),
    # More causes than have a name: nobody did these by hand.
    ("block drbd0: I shall become SyncTarget, but I am primary!", LEAVES_84, ""),
    ("block drbd0: To resolve this both sides have to support at least protocol 91", LEAVES_84, ""),
    ("drbd r0: crypto_hash_setkey() failed with -22", GIVES_UP_84, ""),
    ("drbd r0/0 drbd0 server2: I shall become SyncTarget, but I am primary!", LEAVES_9, ""),
    ("drbd r0 server2: meta connection shut down by peer.",
     ("drbd r0 server2: conn( Connecting -> Disconnecting ) [receive-disconnect]",), kernellog.DECLINED),
]  # fmt: skip


@pytest.mark.parametrize(("message", "leaves", "reason"), MESSAGES)
def test_messages_of_the_handshake(message: str, leaves: tuple[str, ...], reason: str) -> None:
    assert kernellog.why_stand_alone([message, *leaves], "r0", ["0"]) == reason
    other = [line.replace("r0", "r1").replace("drbd0", "drbd1") for line in (message, *leaves)]
    assert kernellog.why_stand_alone(other, "r0", ["0"]) == ""
    assert kernellog.why_stand_alone([message, *leaves, *other], "r0", ["0"]) == reason


@pytest.mark.parametrize(
    "handshake",
    [
        "drbd r0: Handshake successful: Agreed network protocol version 101",
        "drbd r0 server2: Handshake to peer 1 successful: Agreed network protocol version 122",
    ],
)
def test_an_address_that_was_missing_before_the_handshake_does_not_count_after_it(handshake: str) -> None:
    """Else what somebody disconnects by hand would be connected again."""
    failed, leaves = "drbd r0: bind before connect failed, err = -99", "drbd r0: conn( Connected -> Disconnecting ) "
    lines = [failed, handshake, leaves]
    assert kernellog.why_stand_alone(lines, "r0", ["0"]) == kernellog.BY_HAND


@pytest.mark.parametrize(
    "line",
    [
        "drbd r0: peer( Secondary -> Unknown ) conn( Connected -> Disconnecting ) pdsk( UpToDate -> DUnknown ) ",
        "drbd r0: peer( Primary -> Unknown ) conn( SyncTarget -> Disconnecting ) pdsk( UpToDate -> DUnknown ) ",
        "drbd r0: conn( WFConnection -> Disconnecting ) ",
        "drbd r0 server2: conn( Connected -> Disconnecting ) peer( Primary -> Unknown )",
        "drbd r0 server2: conn( Connected -> Disconnecting ) peer( Secondary -> Unknown ) [disconnect]",
        "drbd r0 server2: conn( Connecting -> Disconnecting ) [down]",
    ],
)
def test_disconnected_by_hand(line: str) -> None:
    assert kernellog.why_stand_alone([line], "r0", ["0"]) == kernellog.BY_HAND
    # And connected again, for which there was no need of a reason.
    again = "drbd r0: conn( StandAlone -> Unconnected ) "
    assert kernellog.why_stand_alone([line, again], "r0", ["0"]) == ""
    failed = "block drbd0: Unrelated data, aborting!"
    assert kernellog.why_stand_alone([line, again, failed, *LEAVES_84], "r0", ["0"]) == kernellog.UNRELATED


# A node that went on by its fence-peer handler, when its peer, frozen and not reset yet, can reach it again (seen).
DECLINED_9 = [
    "drbd r0 server2: Handshake to peer 1 successful: Agreed network protocol version 124",
    "drbd r0: Preparing cluster-wide state change 134552280: 0->1 role( Primary ) conn( Connected )",
    "drbd r0/0 drbd0 server2: uuid_compare()=source-use-bitmap by rule=bitmap-self",
    "drbd r0: Declined by peer server2 (id: 1), see the kernel log there",
    "drbd r0: Aborting cluster-wide state change 134552280 (56ms) rv = -10",
    "drbd r0 server2: conn( Connecting -> Disconnecting ) [connect-failed]",
    "drbd r0 server2: conn( Disconnecting -> StandAlone ) [disconnected]",
]


# The same where the peer has begun.
HUNG_UP_9 = [
    *DECLINED_9[:1],
    DECLINED_9[2],
    "drbd r0 server2: Aborting remote state change 3390550902",
    "drbd r0 server2: conn( Connecting -> Disconnecting ) [receive-disconnect]",
    "drbd r0 server2: conn( Disconnecting -> StandAlone ) [disconnected]",
]


def test_declined_by_the_peer() -> None:
    assert kernellog.why_stand_alone(DECLINED_9, "r0", ["0"]) == kernellog.DECLINED
    assert kernellog.why_stand_alone(HUNG_UP_9, "r0", ["0"]) == kernellog.DECLINED
    # The one that declines hears the same from the other one.
    behind = "drbd r0/0 drbd0 server2: I shall become SyncTarget, but I am primary!"
    for lines in (DECLINED_9, HUNG_UP_9):
        assert kernellog.why_stand_alone([*lines[:2], behind, *lines[2:]], "r0", ["0"]) == ""
    # What this node has found itself is the better word.
    found = ["drbd r0/0 drbd0: Split-Brain detected but unresolved, dropping connection!"]
    assert kernellog.why_stand_alone(
        [*DECLINED_9[:3], *found, *DECLINED_9[3:]], "r0", ["0"]
    ) == kernellog.SPLIT_BRAIN
    # A promotion that was declined, and a disconnect by hand after it.
    by_hand = "drbd r0 server2: conn( Connected -> Disconnecting ) peer( Primary -> Unknown ) [disconnect]"
    assert kernellog.why_stand_alone([DECLINED_9[3], by_hand], "r0", ["0"]) == kernellog.BY_HAND
    again = "drbd r0 server2: conn( StandAlone -> Unconnected ) [connect]"
    assert kernellog.why_stand_alone([*DECLINED_9, again, *DECLINED_9[-2:]], "r0", ["0"]) == ""


def test_a_disconnect_by_hand_after_an_attempt_that_failed_is_by_hand() -> None:
    lines = ["drbd r0: Authentication of peer failed", *GIVES_UP_84, "drbd r0: conn( StandAlone -> Unconnected ) "]
    by_hand = "drbd r0: conn( WFConnection -> Disconnecting ) "
    assert kernellog.why_stand_alone([*lines, by_hand], "r0", ["0"]) == kernellog.BY_HAND


def test_what_the_peer_does_by_hand_is_no_standalone_here() -> None:
    lines = ["drbd r0: peer( Secondary -> Unknown ) conn( Connected -> TearDown ) pdsk( UpToDate -> DUnknown ) ",
             "drbd r0: conn( TearDown -> Unconnected ) "]  # fmt: skip
    assert kernellog.why_stand_alone(lines, "r0", ["0"]) == ""


def test_a_split_brain_from_before_the_dump_is_named_all_the_same() -> None:
    # The dump that a wait gets which began after DRBD had found it: StandAlone and nothing more.
    state = read("\n".join(lines("drbd-8.4", "10-resolve.server1")[:5]))
    assert (judge(state, "r0").kind, judge(state, "r0").status) == (STAND_ALONE, 76)
    verdict = judge(state, "r0", kernellog.SPLIT_BRAIN)
    assert (verdict.kind, verdict.status) == (SPLIT_BRAIN, 65)
    assert "the authentication failed" in judge(state, "r0", kernellog.AUTHENTICATION).reason
    assert "its own address was not on this host" in judge(state, "r0", kernellog.ADDRESS).reason


def test_an_old_message_does_not_make_a_split_brain_of_a_connection_that_works() -> None:
    state = read("\n".join(lines("drbd-8.4", "03-promote-both.server1")))
    assert judge(state, "r0", kernellog.SPLIT_BRAIN).kind == READY
