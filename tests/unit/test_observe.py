"""What is said of the events of real runs (tests/transcripts), and of those that no transcript has."""

from __future__ import annotations

from pathlib import Path

import pytest

from drbdocfs_boot import kernellog, observe
from drbdocfs_boot.events import State
from drbdocfs_boot.messages import KINDS, Message
from drbdocfs_boot.verdict import judge

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
DRIVERS = ("drbd-8.4", "drbd-9.3")


def kernel(name: str) -> list[str]:
    """A kernel log as /dev/kmsg has it, without the time before each message."""
    path = TRANSCRIPTS / f"{name}.kernel"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition("] ")[2] for line in lines]


def seconds(line: str) -> float:
    hours, minutes, rest = line.split("T")[1].split("+")[0].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def replay(name: str, peer: str = "server") -> list[Message]:
    """The messages of a run, with the verdict after each line and after everything has settled."""
    state, observer, found, now = State(), observe.Observer("web", "r0", peer), [], 0.0
    why = kernellog.why_stand_alone(kernel(name), "r0", ["0"])
    for line in (TRANSCRIPTS / f"{name}.events2").read_text().splitlines():
        if not line[:1].isdigit():
            continue
        now = seconds(line)
        state.feed(line)
        found += observer.see(state, now)
        alone = why if state.stand_alone or not state.connections else ""
        found += observer.settle(state, judge(state, "r0", alone), alone, now)
    if observer.due is not None:
        now = observer.due
        alone = why if state.stand_alone or not state.connections else ""
        found += observer.settle(state, judge(state, "r0", alone), alone, now)
    return found


def names(messages: list[Message]) -> list[str]:
    return [message.kind.name for message in messages]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("02-alone-then-peer.server1", ["peer-back", "both-uptodate"]),
        ("03-promote-both.server1", []),
        ("03-promote-both.server2", []),
        (
            "04-cable-out-one-writes-resync.server1",
            ["peer-lost", "peer-back", "resync-started", "resync-ended", "both-uptodate"],
        ),
        (
            "04-cable-out-one-writes-resync.server2",
            ["peer-lost", "peer-back", "resync-started", "resync-ended", "both-uptodate"],
        ),
        ("05-clean-leave.server1", ["peer-left", "peer-back", "resync-started", "resync-ended", "both-uptodate"]),
        ("09-split-brain.server1", ["peer-lost", "split-brain"]),
        ("09-split-brain.server2", ["peer-lost", "split-brain"]),
        ("12-detach.server1", ["peer-disk-gone"]),
        ("12-detach.server2", ["disk-gone"]),
    ],
)
def test_runs(driver: str, run: str, expected: list[str]) -> None:
    assert names(replay(f"{driver}/{run}")) == expected


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("node", ["server1", "server2"])
def test_what_is_said_of_a_wrong_secret(driver: str, node: str) -> None:
    # On 8.4 it was StandAlone at the beginning already.
    assert set(names(replay(f"{driver}/11-wrong-secret.{node}"))) == {"authentication"}


def test_a_lost_address_is_no_split_brain() -> None:
    (lost, address) = replay("drbd-8.4/13-address-lost.server1")
    assert (lost.kind.name, address.kind.name) == ("peer-lost", "address-lost")
    assert address.text.startswith("web: r0 is StandAlone: its own address was not on this host")
    # DRBD 9 goes on trying by itself.
    assert names(replay("drbd-9.3/13-address-lost.server1"))[0] == "peer-lost"
    assert "address-lost" not in names(replay("drbd-9.3/13-address-lost.server1"))


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_words(driver: str) -> None:
    told = {
        message.kind.name: message for message in replay(f"{driver}/04-cable-out-one-writes-resync.server1", "server2")
    }
    assert told["peer-lost"].text == "web: lost server2 (NetworkFailure)"
    assert told["resync-started"].text == "web: resync to server2 has begun, 40 MiB"
    took = {"drbd-8.4": "0:10", "drbd-9.3": "0:01"}[driver]
    assert told["resync-ended"].text == "web: resync to server2 has ended after " + took
    other = {message.kind.name: message for message in replay(f"{driver}/04-cable-out-one-writes-resync.server2")}
    assert other["resync-started"].fields["direction"] == "from"
    journal = told["peer-lost"].journal()
    assert journal["MESSAGE_ID"] == KINDS["peer-lost"].id
    assert journal["PRIORITY"] == "4"
    assert journal["DRBDOCFS_STACK"] == "web"
    assert journal["DRBDOCFS_PEER"] == "server2"


# --- what no transcript has -----------------------------------------------------------------------------------

READY = [
    "exists resource name:r0 role:Primary suspended:no",
    "exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connected role:Primary",
    "exists device name:r0 volume:0 minor:0 disk:UpToDate",
    "exists peer-device name:r0 peer-node-id:0 volume:0 replication:Established peer-disk:UpToDate out-of-sync:0",
    "exists -",
]


class Run:
    """An observer and its state; ``feed`` gives the messages of some lines at a time."""

    def __init__(self, lines: list[str] | None = None) -> None:
        self.state = State()
        self.observer = observe.Observer("web", "r0", "server2")
        assert self.feed(0.0, *(READY if lines is None else lines)) == []

    def feed(self, now: float, *lines: str, why: str = "") -> list[str]:
        found = []
        for line in lines:
            self.state.feed(line)
            found += self.observer.see(self.state, now)
        found += self.observer.settle(self.state, judge(self.state, "r0", why), why, now)
        return [message.text for message in found]


def test_frozen_io() -> None:
    run = Run()
    assert run.feed(10, "change resource name:r0 suspended:fencing") == ["web: I/O of r0 is suspended (fencing)"]
    assert run.feed(15, "change resource name:r0 suspended:fencing,user") == []
    assert run.feed(75, "change resource name:r0 suspended:no") == ["web: I/O of r0 goes on again, after 1:05"]


def test_a_stop_says_nothing() -> None:
    run = Run()
    assert run.feed(
        10,
        "change resource name:r0 role:Secondary",
        "change connection name:r0 peer-node-id:0 connection:Disconnecting role:Unknown",
        "change peer-device name:r0 peer-node-id:0 volume:0 replication:Off peer-disk:DUnknown",
        "change connection name:r0 peer-node-id:0 connection:StandAlone",
        "destroy peer-device name:r0 peer-node-id:0 volume:0",
        "destroy connection name:r0 peer-node-id:0",
    ) == []  # fmt: skip
    due = run.observer.due
    assert due == 12
    assert (
        run.feed(10.5, "change device name:r0 volume:0 disk:Failed", "change device name:r0 volume:0 disk:Diskless")
        == []
    )
    assert run.feed(11, "destroy device name:r0 volume:0", "destroy resource name:r0") == []
    due = run.observer.due
    assert due is None
    assert run.feed(60) == []


def test_a_disconnect_by_hand_is_said_once_it_stands() -> None:
    run = Run()
    lines = (
        "change connection name:r0 peer-node-id:0 connection:Disconnecting role:Unknown",
        "change peer-device name:r0 peer-node-id:0 volume:0 replication:Off peer-disk:DUnknown",
        "destroy peer-device name:r0 peer-node-id:0 volume:0",
        "destroy connection name:r0 peer-node-id:0",
    )
    assert run.feed(10, *lines, why=kernellog.BY_HAND) == []
    (text,) = run.feed(12, why=kernellog.BY_HAND)
    assert text.startswith("web: r0 is StandAlone")
    assert "by hand" in text
    assert run.feed(99, why=kernellog.BY_HAND) == []


@pytest.mark.parametrize(
    ("why", "name"),
    [
        (kernellog.AUTHENTICATION, "authentication"),
        (kernellog.CONFIGURATION, "nodes-differ"),
        (kernellog.UNRELATED, "nodes-differ"),
        (kernellog.TOO_SMALL, "nodes-differ"),
        (kernellog.ADDRESS, "address-lost"),
        (kernellog.SPLIT_BRAIN, "split-brain"),
        ("", "disconnected"),
    ],
)
def test_what_stands_at_the_first_look_is_said(why: str, name: str) -> None:
    state, observer = State(), observe.Observer("web", "r0")
    for line in READY[:1] + READY[2:3] + READY[4:]:
        state.feed(line)
        assert observer.see(state, 0.0) == []
    verdict = judge(state, "r0", why)
    told = observer.settle(state, verdict, why, 0.0) + observer.settle(state, verdict, why, 5.0)
    assert names(told) == [name]
    assert told[0].fields["advice"]


def test_a_resync_that_loses_its_peer() -> None:
    run = Run()
    run.feed(5, "change peer-device name:r0 peer-node-id:0 volume:0 replication:SyncTarget out-of-sync:2048")
    lost = (
        "change connection name:r0 peer-node-id:0 connection:Timeout role:Unknown",
        "change peer-device name:r0 peer-node-id:0 volume:0 replication:Off peer-disk:DUnknown",
    )
    assert run.feed(9, *lost) == ["web: lost server2 (Timeout, in the middle of a resync)"]
    assert not run.observer.resyncing


def test_a_resync_that_stalls_and_goes_on() -> None:
    run = Run()
    run.feed(100, "change peer-device name:r0 peer-node-id:0 volume:0 replication:SyncSource out-of-sync:2048")
    told = [
        (now, message.text)
        for now, oos in [
            (110, 2048),
            (120, 1024),
            (130, 1024),
            (170, 1024),
            (180, 1024),
            (190, 1024),
            (200, 512),
            (260, 512),
        ]
        for message in run.observer.progress(float(now), float(oos), 37.0, paused=False)
    ]
    assert told == [
        (180, "web: resync to server2 makes no progress at 37.0 %, for 1:00"),
        (200, "web: resync to server2 goes on again at 37.0 %"),
        (260, "web: resync to server2 makes no progress at 37.0 %, for 1:00"),
    ]


def test_stall_without_knowledge_says_nothing() -> None:
    stall = observe.Stall(10)
    assert [stall.feed(float(now), None) for now in range(0, 100, 5)] == [""] * 20
    assert [stall.feed(float(now), 1.0) for now in (0, 5, 10, 15)] == ["", "", "stalled", ""]
    assert stall.feed(16.0, 0.9) == "moving"
    assert stall.still(20.0) == 4.0


def test_out_of_sync_of_8_4() -> None:
    text = (
        "version: 8.4.11 (api:1/proto:86-101)\n"
        " 0: cs:SyncSource ro:Primary/Primary ds:UpToDate/Inconsistent C r-----\n"
        "    ns:40960 nr:0 dw:40960 dr:0 al:10 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:123456\n"
        "\t[=>..................] sync'ed: 12.3% (123/140)M\n"
        "\tfinish: 0:00:41 speed: 3,012 (3,012) K/sec\n"
        " 1: cs:Unconfigured\n"
        " 2: cs:Connected ro:Primary/Primary ds:UpToDate/UpToDate C r-----\n"
        "    ns:0 nr:0 dw:0 dr:0 al:0 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0\n"
    )
    assert observe.out_of_sync_84(text) == {"0": 123456, "2": 0}
    assert observe.out_of_sync_84("version: 9.3.3 (api:2/proto:118-124)\nTransports (api:22): tcp (9.3.3)\n") == {}


def test_sizes() -> None:
    assert [observe.size(n) for n in (0, 1023, 40960, 3 << 20, 5 << 40)] == [
        "0 bytes", "1023 bytes", "40 KiB", "3.0 MiB", "5.0 TiB",
    ]  # fmt: skip


# --- O2CB -----------------------------------------------------------------------------------------------------

UP = "o2net: Connected to node server2 (num 2) at 10.0.0.2:7777"
ACCEPTED = "o2net: Accepted connection from node server1 (num 1) at 10.0.0.1:7777"
IDLE = "o2net: Connection to node server2 (num 2) at 10.0.0.2:7777 has been idle for 30.5 secs."
DOWN = "o2net: No longer connected to node server2 (num 2) at 10.0.0.2:7777"
CLOSED = "o2net: Connection to node server2 (num 2) at 10.0.0.2:7777 shutdown, state 7"
NEVER = "o2net: No connection established with node 2 after 30.0 seconds, giving up."
FAILED = "o2net: Connect attempt to node server2 (num 2) at 10.0.0.2:7777 failed with errno -113"


@pytest.mark.parametrize(
    ("lines", "node", "answer"),
    [
        ([], "server2", None),
        ([UP], "server2", True),
        ([ACCEPTED], "server1", True),
        ([ACCEPTED], "server2", None),
        ([UP, IDLE], "server2", True),  # newer kernels only complain
        ([UP, CLOSED, DOWN], "server2", False),
        ([UP, DOWN, FAILED, NEVER], "server2", False),
        ([UP, DOWN, UP], "server2", True),
        ([UP, NEVER], "server2", False),
        ([UP, NEVER.replace("node 2", "node 22")], "server2", True),
        ([UP, DOWN.replace("server2 ", "server22 ")], "server2", True),
        (["drbd r0: " + DOWN], "server2", None),
    ],
)
def test_o2net(lines: list[str], node: str, answer: bool | None) -> None:
    assert observe.o2net_connected(lines, node) is answer
