"""May the stack go on?  Real output of both drivers, times policy, metadata and time.

tests/unit/test_events.py has the verdicts along whole transcripts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drbdocfs_boot import kernellog, verdict
from drbdocfs_boot.events import RESYNC_STATES, State, read
from drbdocfs_boot.metadata import Proof
from drbdocfs_boot.verdict import (
    ALONE,
    ALONE_REFUSED,
    DISK_GONE,
    NO_ADDRESS,
    NO_MODULE,
    NOT_CONFIGURED,
    NOT_UPTODATE,
    READY,
    RESYNCING,
    SPLIT_BRAIN,
    STAND_ALONE,
    STARTING,
    STATUS,
    STOPPED,
    WAITING,
    Policy,
    Verdict,
    clock,
    judge,
    may_promote,
    no_module,
    peers_present,
)

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
DRIVERS = ("drbd-8.4", "drbd-9.3")
# A kind is one word; what has blanks is said of one.
KINDS = [one for name, one in vars(verdict).items() if name.isupper() and isinstance(one, str) and " " not in one]
PROVED = Proof(True, "the metadata says so")
UNPROVED = Proof(False, "the metadata says nothing")


def text(driver: str, name: str) -> str:
    return (TRANSCRIPTS / driver / f"{name}.events2").read_text()


def alone(driver: str) -> str:
    """A node that is up without its peer, UpToDate as it seems: the one that crashed long ago."""
    return text(driver, "06-crashed-alone.server2")


def upto(driver: str, name: str, words: str) -> State:
    """The state after the first line that has the words."""
    state = State()
    for line in text(driver, name).splitlines():
        state.feed(line)
        if words in line and state.complete:
            return state
    raise AssertionError(f"{driver}/{name} has no '{words}'")


# --- every kind -----------------------------------------------------------------------------------------------

# kind, exit status, what makes it (a transcript up to some words, or a change of one), arguments, reason, next step
REACHED: list[tuple[str, int, Any, dict[str, Any], str, str]] = [
    (READY, 0, lambda d: read(text(d, "03-promote-both.server1")), {}, "connected, UpToDate on both nodes", ""),
    (ALONE, 10, lambda d: read(alone(d)), {"policy": Policy("always", 90), "elapsed": 90.0},
     "goes on alone: the peer has not come in 1:30, when_alone = always", ""),
    (WAITING, 75, lambda d: read(alone(d)), {"peer": "server1 at 10.0.0.1:7789"},
     "waiting for server1 at 10.0.0.1:7789 (Connecting)", "'drbdocfs proceed STACK' goes on without it"),
    (NO_ADDRESS, 79, lambda d: read(text("drbd-8.4", "13-address-lost.server1")), {"why": kernellog.ADDRESS},
     "r0 is StandAlone: its own address was not on this host when it connected", "is the cable in?"),
    (RESYNCING, 80, lambda d: upto(d, "06-crashed-returns.server2", "replication:SyncTarget"), {"peer": "server1 at x"},
     "resync from server1", "it goes on by itself as soon as that is done"),
    (ALONE_REFUSED, 81, lambda d: read(alone(d)), {"policy": Policy("wait", 90), "elapsed": 90.0},
     "when_alone = wait: not without its peer", "bring the other node up; or, sure that it has nothing newer,"),
    (NOT_UPTODATE, 82, lambda d: read(alone(d).replace("disk:UpToDate", "disk:Inconsistent")),
     {"policy": Policy("always", 90)}, "local disk Inconsistent: this node cannot go on without it",
     "bring the other node up, which has the good data"),
    (STOPPED, 83, lambda d: read(text(d, "00-not-configured")), {"policy": Policy(stopped=True)},
     "r0 is down: the stack was stopped", "'drbdocfs status' shows its target"),
    (STARTING, 84, lambda d: read(alone(d).partition("exists -")[0]), {}, "asking DRBD for the state of r0",
     "'systemctl status'"),
    (SPLIT_BRAIN, 65, lambda d: read(text(d, "09-split-brain.server1")), {},
     "split brain: both nodes changed r0 without each other", "'drbdocfs split-brain STACK' shows both sides"),
    (STAND_ALONE, 76, lambda d: read(text("drbd-8.4", "11-wrong-secret.server1")), {"why": kernellog.AUTHENTICATION},
     "r0 is StandAlone: DRBD has dropped the connection to the peer and does not try again; the authentication failed",
     "make 'shared-secret' and 'cram-hmac-alg'"),
    (DISK_GONE, 74, lambda d: read(text(d, "12-detach.server2")), {}, "local disk of r0 is Diskless",
     "'drbdadm attach r0'"),
    (NOT_CONFIGURED, 78, lambda d: read(text(d, "00-not-configured")), {},
     "DRBD resource r0 is not configured in the kernel", "'on HOST' must be the output of 'uname -n'"),
]  # fmt: skip


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(("kind", "status", "make", "arguments", "reason", "advice"), REACHED)
def test_every_kind(
    driver: str, kind: str, status: int, make: Any, arguments: dict[str, Any], reason: str, advice: str
) -> None:
    found = judge(make(driver), "r0", **arguments)
    assert (found.kind, found.status) == (kind, status)
    assert reason in found.reason
    assert advice in found.advice
    assert "\n" not in found.reason + found.advice


def test_no_module() -> None:
    found = no_module()
    assert (found.kind, found.status, found.final) == (NO_MODULE, 69, True)
    assert "modprobe drbd" in found.advice


def test_every_kind_is_reached_and_has_an_exit_status_of_its_own() -> None:
    assert sorted(STATUS) == sorted(KINDS)
    assert {row[0] for row in REACHED} | {NO_MODULE} == set(KINDS)
    assert {kind: status for kind, status, *_ in REACHED}.items() <= STATUS.items()
    assert len(set(STATUS.values())) == len(STATUS)
    # 64 to 78 are the sysexits, which systemd prints by name; what it gives other meanings (200 and up) is not used.
    assert all(0 <= status < 200 for status in STATUS.values())
    assert [kind for kind, status in STATUS.items() if status == 0] == [READY]


# Whoever is not named here says what to do next.
NOTHING_TO_DO = {READY: "all is well", ALONE: "it was decided, and the reason says by what"}


def test_every_kind_has_a_next_step_or_needs_none() -> None:
    for kind, _, make, arguments, _, advice in REACHED:
        assert bool(advice) is (kind not in NOTHING_TO_DO), kind
        assert bool(judge(make("drbd-8.4"), "r0", **arguments).advice) is (kind not in NOTHING_TO_DO), kind


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_final_and_what_goes_on(kind: str) -> None:
    found = Verdict(kind, "")
    assert found.go is (kind in ("ready", "alone"))
    # What ends a wait at once: neither a peer, nor a resync, nor a cable that comes back can mend it.
    assert found.final is (kind in ("split-brain", "standalone", "disk-gone", "not-configured", "no-module", "stopped"))
    assert not (found.go and found.final)


def test_the_unit_takes_alone_for_a_success_and_no_other() -> None:
    unit = (Path(__file__).parents[2] / "units/drbdocfs-wait@.service").read_text()
    assert re.findall(r"^SuccessExitStatus=(.*)$", unit, re.M) == [str(STATUS[ALONE])]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("disk", ["Diskless", "Failed", "Detaching"])
def test_a_disk_that_is_gone_goes_before_all_else(driver: str, disk: str) -> None:
    for policy in (None, Policy("always", 0), Policy(proceed=True)):
        found = judge(read(alone(driver).replace("disk:UpToDate", "disk:" + disk)), "r0", policy=policy, elapsed=999)
        assert (found.kind, found.reason) == (DISK_GONE, f"local disk of r0 is {disk}")


@pytest.mark.parametrize(
    ("why", "reason", "advice"),
    [
        (kernellog.AUTHENTICATION, "; the authentication failed", "'shared-secret'"),
        (kernellog.CONFIGURATION, "; the settings of the nodes do not fit together", "journalctl -k -g drbd"),
        (kernellog.UNRELATED, "; the two disks have no data in common", "nothing was discarded"),
        (kernellog.TOO_SMALL, "; a disk is smaller than the other node's data", "has the sizes"),
        (kernellog.BY_HAND, "; it was disconnected by hand", "'drbdadm connect r0'"),
        (kernellog.DECLINED, "the peer has declined the connection", "tries it again"),
        ("", "does not try again", "the kernel log says why, if anything does"),
    ],
)
def test_each_reason_of_a_standalone(why: str, reason: str, advice: str) -> None:
    state = read(text("drbd-8.4", "11-wrong-secret.server1"))
    for policy in (None, Policy("always", 0), Policy(proceed=True)):
        found = judge(state, "r0", why, policy=policy, elapsed=1e6)
        assert (found.kind, found.status) == (STAND_ALONE, 76)
        assert found.reason.endswith(reason)
        assert advice in found.advice


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_policy_and_no_order_goes_on_after_a_split_brain(driver: str) -> None:
    for policy in (Policy("always", 0), Policy("newest", 0), Policy(proceed=True)):
        state = read(text(driver, "09-split-brain.server1"))
        assert judge(state, "r0", policy=policy, metadata=PROVED, elapsed=1e6).kind == SPLIT_BRAIN


def test_a_split_brain_that_only_the_log_knows() -> None:
    state = read(text("drbd-8.4", "13-address-lost.server1"))
    assert judge(state, "r0", kernellog.SPLIT_BRAIN).kind == SPLIT_BRAIN


# --- without the peer -----------------------------------------------------------------------------------------

SINCE = "2026-11-20 03:14:15 UTC"
# when_alone, elapsed (of 90), metadata, more of the policy -> kind, end of the reason
POLICIES: list[tuple[str, float, Proof | None, dict[str, Any], str, str]] = [
    ("wait", 0, None, {}, WAITING, "waiting for server1 (Connecting)"),
    ("wait", 89.9, PROVED, {}, WAITING, "waiting for server1 (Connecting)"),
    ("wait", 90, PROVED, {}, ALONE_REFUSED, "; when_alone = wait: not without its peer"),
    ("wait", 1e6, PROVED, {}, ALONE_REFUSED, "; when_alone = wait: not without its peer"),
    ("wait", 0, UNPROVED, {"proceed": True}, ALONE, "goes on alone: told so by 'drbdocfs proceed'"),
    ("newest", 0, PROVED, {}, WAITING, "waiting for server1 (Connecting)"),
    ("newest", 89.9, PROVED, {}, WAITING, "waiting for server1 (Connecting)"),
    ("newest", 90, PROVED, {}, ALONE, "goes on alone: the peer has not come in 1:30, and the metadata says so"),
    ("newest", 90, UNPROVED, {}, ALONE_REFUSED, "; not alone: the metadata says nothing"),
    ("newest", 90, None, {}, ALONE_REFUSED, "; not alone: DRBD's metadata was not asked"),
    ("newest", 90, PROVED, {"unresolved": SINCE}, ALONE_REFUSED,
     f"; not alone: the split brain of {SINCE} has not been resolved"),
    ("newest", 0, UNPROVED, {"proceed": True}, ALONE, "goes on alone: told so by 'drbdocfs proceed'"),
    ("newest", 0, None, {"proceed": True, "unresolved": SINCE}, ALONE, "told so by 'drbdocfs proceed'"),
    ("always", 0, PROVED, {}, WAITING, "waiting for server1 (Connecting)"),
    ("always", 90, None, {}, ALONE, "goes on alone: the peer has not come in 1:30, when_alone = always"),
    ("always", 90, UNPROVED, {}, ALONE, "goes on alone: the peer has not come in 1:30, when_alone = always"),
    ("always", 90, PROVED, {"unresolved": SINCE}, ALONE_REFUSED,
     f"; not alone: the split brain of {SINCE} has not been resolved"),
    ("wait", 90, PROVED, {"unresolved": SINCE}, ALONE_REFUSED, "; when_alone = wait: not without its peer"),
]  # fmt: skip


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(("when_alone", "elapsed", "metadata", "more", "kind", "reason"), POLICIES)
def test_policy_metadata_and_time(
    driver: str,
    when_alone: str,
    elapsed: float,
    metadata: Proof | None,
    more: dict[str, Any],
    kind: str,
    reason: str,
) -> None:
    policy = Policy(when_alone, 90, **more)
    state = read(alone(driver))
    found = judge(state, "r0", policy=policy, metadata=metadata, elapsed=elapsed, peer="server1")
    assert (found.kind, found.reason.endswith(reason)) == (kind, True), found.reason
    # The same disk that is not good goes nowhere, whoever says so.
    for disk in ("Inconsistent", "Outdated", "DUnknown"):
        state = read(alone(driver).replace("disk:UpToDate", "disk:" + disk))
        found = judge(state, "r0", policy=policy, metadata=metadata, elapsed=elapsed, peer="server1")
        assert found.kind == NOT_UPTODATE
        assert found.reason == (
            f"waiting for server1 (Connecting); local disk {disk}: this node cannot go on without it"
        )
    # With fencing DRBD attaches as Consistent what is UpToDate without: the handler is asked at the promotion.
    state = read(alone(driver).replace("disk:UpToDate", "disk:Consistent"))
    assert judge(state, "r0", policy=policy, metadata=metadata, elapsed=elapsed, peer="server1").kind == kind


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_peer_timeout_of_0_decides_at_once(driver: str) -> None:
    assert judge(read(alone(driver)), "r0", policy=Policy("always", 0)).kind == ALONE
    assert judge(read(alone(driver)), "r0", policy=Policy("newest", 0), metadata=UNPROVED).kind == ALONE_REFUSED


@pytest.mark.parametrize("driver", DRIVERS)
def test_without_a_policy_nobody_goes_alone(driver: str) -> None:
    assert judge(read(alone(driver)), "r0", metadata=PROVED, elapsed=1e9).kind == WAITING


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_peer_that_is_there_is_waited_for_whatever_the_policy(driver: str) -> None:
    state = State()
    kinds = set()
    for line in text(driver, "06-crashed-returns.server2").splitlines():
        state.feed(line)
        if state.complete and any(c["connection"] == "Connected" for c in state.connections.values()):
            policy = Policy("always", 0, proceed=True)
            kinds.add(judge(state, "r0", policy=policy, metadata=PROVED, elapsed=1e9).kind)
    # The last is the end of the resync: from there on it needs no policy.
    assert kinds == {WAITING, RESYNCING, READY}


def test_not_alone_in_the_middle_of_the_handshake() -> None:
    # 8.4 says Connected before it has compared the data; a moment later this peer turned out to be the newer one.
    state = upto("drbd-8.4", "06-crashed-returns.server2", "role:Primary")
    assert judge(state, "r0", policy=Policy("always", 0), elapsed=1e9).kind == WAITING
    state = upto("drbd-8.4", "06-crashed-returns.server2", "replication:WFBitMapT")
    assert state.devices["0"]["disk"] == "Outdated"


def test_no_address_goes_alone_by_order_only() -> None:
    state = read(text("drbd-8.4", "13-address-lost.server1"))
    for when_alone in ("wait", "newest", "always"):
        found = judge(state, "r0", kernellog.ADDRESS, policy=Policy(when_alone, 0), metadata=PROVED, elapsed=1e9)
        assert (found.kind, found.final) == (NO_ADDRESS, False)
    found = judge(state, "r0", kernellog.ADDRESS, policy=Policy("wait", 90, proceed=True))
    assert found.kind == ALONE
    bad = read(text("drbd-8.4", "13-address-lost.server1").replace("disk:UpToDate", "disk:Outdated"))
    found = judge(bad, "r0", kernellog.ADDRESS, policy=Policy("wait", 90, proceed=True))
    assert found.kind == NOT_UPTODATE


# --- with the peer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replication", sorted(RESYNC_STATES))
def test_every_state_of_a_resync_has_a_direction(replication: str) -> None:
    state = read(text("drbd-9.3", "03-promote-both.server1").replace(":Established", ":" + replication))
    found = judge(state, "r0")
    assert found.kind == RESYNCING
    to_us = {"StartingSyncT", "WFBitMapT", "WFSyncUUID", "SyncTarget", "PausedSyncT", "Behind"}
    assert found.reason.startswith(f"resync {'from' if replication in to_us else 'to'} server2")
    assert found.reason.endswith(" (paused)") is replication.startswith("PausedSync")


@pytest.mark.parametrize(
    ("progress", "reason", "percent", "left"),
    [
        ({}, "resync from server1", None, None),
        ({"0": (37.4, 41.0)}, "resync from server1 37 %, 0:41 left", 37.4, 41.0),
        ({"0": (0.0, None)}, "resync from server1 0 %", 0.0, None),
        ({"0": (99.9, 3723.0)}, "resync from server1 100 %, 1:02:03 left", 99.9, 3723.0),
        ({"1": (37.4, 41.0)}, "resync from server1", None, None),
    ],
)
def test_progress_that_8_4_does_not_send(progress: Any, reason: str, percent: Any, left: Any) -> None:
    state = upto("drbd-8.4", "06-crashed-returns.server2", "replication:SyncTarget")
    found = judge(state, "r0", peer="server1 at 10.0.0.1:7789", progress=progress)
    assert (found.reason, found.percent, found.left) == (reason, percent, left)


def test_a_connection_that_goes_takes_ready_with_it_before_the_rest_is_said() -> None:
    for driver in DRIVERS:
        state = upto(driver, "13-address-lost.server1", "connection:NetworkFailure")
        assert judge(state, "r0").kind == WAITING


def test_a_volume_whose_peer_is_not_known_yet_is_not_ready() -> None:
    state = read(text("drbd-9.3", "03-promote-both.server1"))
    state.feed("create device name:r0 volume:1 minor:1 disk:UpToDate")
    assert judge(state, "r0").kind == WAITING
    state.feed("create peer-device name:r0 peer-node-id:1 volume:1 replication:Established peer-disk:UpToDate")
    assert judge(state, "r0").kind == READY


def test_without_any_volume_nobody_is_ready() -> None:
    state = State()
    state.feed("exists resource name:r0 role:Secondary suspended:no")
    state.feed("exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connected role:Secondary")
    state.feed("exists -")
    found = judge(state, "r0")
    assert (found.kind, found.go, found.reason) == (WAITING, False, "waiting for a volume of r0")


def test_every_peer_counts() -> None:
    state = read(text("drbd-9.3", "03-promote-both.server1"))
    state.feed("create connection name:r0 peer-node-id:2 conn-name:server3 connection:Connecting")
    state.feed("create peer-device name:r0 peer-node-id:2 conn-name:server3 volume:0 replication:Off")
    assert judge(state, "r0").reason == "waiting for server3 (Connecting)"


# --- promotion ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_promotion_after_the_wait(driver: str) -> None:
    def may(state: State, allowed: bool) -> bool:
        return may_promote(judge(state, "r0"), state, allowed)

    ready = read(text(driver, "03-promote-both.server1"))
    gone = read(alone(driver))
    assert may(ready, False)
    assert may(ready, True)
    assert not may(gone, False)
    assert may(gone, True)
    # The peer came in between: from us is fine, to us is not.
    assert may(upto(driver, "04-cable-out-one-writes-resync.server1", "replication:SyncSource"), True)
    assert not may(upto(driver, "06-crashed-returns.server2", "replication:SyncTarget"), True)
    for name in ("09-split-brain.server1", "12-detach.server2", "00-not-configured"):
        assert not may(read(text(driver, name)), True), name
    assert not may(read(alone(driver).partition("exists -")[0]), True)


@pytest.mark.parametrize("driver", DRIVERS)
def test_peers_present(driver: str) -> None:
    assert not peers_present(read(alone(driver)))
    assert peers_present(read(text(driver, "03-promote-both.server1")))
    assert peers_present(upto(driver, "06-crashed-returns.server2", "replication:SyncTarget"))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (59.9, "0:59"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (90061, "25:01:01")],
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


# --- whatever may come ----------------------------------------------------------------------------------------

DISKS = ["UpToDate", "UpToDate", "UpToDate", "Inconsistent", "Outdated", "Diskless", "Consistent", "DUnknown", "x"]
VALUES = {
    "name": ["r0"],
    "role": ["Primary", "Secondary", "Unknown"],
    "peer-node-id": ["0", "0", "1"],
    "conn-name": ["peer", "server2"],
    "volume": ["0", "0", "0", "1"],
    "minor": ["0", "1"],
    "connection": ["Connected", "Connected", "Connecting", "StandAlone", "NetworkFailure", "Disconnecting", ""],
    "replication": ["Established", "Established", "Off", *sorted(RESYNC_STATES), "VerifyS"],
    "disk": DISKS,
    "peer-disk": DISKS,
    "done": ["37.5", "nan", "-1", "1e9", "", "inf"],
    "eta": ["41", "nan", "-"],
    "helper": ["split-brain", "initial-split-brain", "before-resync-target"],
}
WHY = [
    "", kernellog.SPLIT_BRAIN, kernellog.AUTHENTICATION, kernellog.ADDRESS, kernellog.ADDRESS, kernellog.CONFIGURATION,
    kernellog.UNRELATED, kernellog.TOO_SMALL, kernellog.BY_HAND,
]  # fmt: skip
KEYS = {
    "resource": ["name", "role"],
    "connection": ["name", "peer-node-id", "conn-name", "connection", "role"],
    "device": ["name", "volume", "minor", "disk"],
    "peer-device": ["name", "peer-node-id", "conn-name", "volume", "replication", "peer-disk", "done", "eta"],
    "helper": ["name", "helper"],
    "path": ["name", "peer-node-id"],
}


@st.composite
def event_lines(draw: st.DrawFn) -> str:
    verb = draw(st.sampled_from(["exists", "exists", "create", "change", "change", "destroy", "call", "rename"]))
    kind = draw(st.sampled_from(["resource", "connection", "device", "peer-device", "helper", "path", "-"]))
    keys = [key for key in KEYS.get(kind, []) if draw(st.integers(0, 9))]
    return " ".join([verb, kind, *(f"{key}:{draw(st.sampled_from(VALUES[key]))}" for key in keys)])


POLICY = st.builds(
    Policy,
    st.sampled_from(["wait", "newest", "always"]),
    st.sampled_from([0.0, 90.0]),
    st.booleans(),
    st.sampled_from(["", SINCE]),
    st.booleans(),
)


def seed(driver: str, name: str, limit: int) -> list[str]:
    return text(driver, name).splitlines()[:limit]


@pytest.mark.exhaustive
@settings(max_examples=300, deadline=None)
@given(
    start=st.one_of(
        st.just([]),
        st.builds(
            seed,
            st.sampled_from(DRIVERS),
            st.sampled_from(["03-promote-both.server1", "06-crashed-alone.server2", "06-crashed-returns.server2"]),
            st.integers(0, 20),
        ),
    ),
    lines=st.lists(st.one_of(event_lines(), event_lines(), st.text(max_size=20)), max_size=12),
    why=st.sampled_from(
        ["", *(v for k, v in vars(kernellog).items() if k.isupper() and isinstance(v, str) and k[0] != "_")]
    ),
    policy=st.one_of(st.none(), POLICY),
    metadata=st.sampled_from([None, PROVED, UNPROVED]),
    elapsed=st.sampled_from([0.0, 89.0, 90.0, 1e6]),
)
def test_no_line_makes_it_raise_or_go_on_without_a_reason(
    start: list[str],
    lines: list[str],
    why: str,
    policy: Policy | None,
    metadata: Proof | None,
    elapsed: float,
) -> None:
    state = State()
    for line in [*start, *lines, "exists -"]:
        state.feed(line)
        found = judge(state, "r0", why, policy=policy, metadata=metadata, elapsed=elapsed)
        assert found.status == STATUS[found.kind]
        assert bool(found.advice) is (found.kind not in NOTHING_TO_DO)
        assert found.percent is None or 0 <= found.percent <= 100
        assert found.left is None or 0 <= found.left < float("inf")
        local = [device.get("disk") for device in state.devices.values()]
        good = bool(local) and set(local) <= {"UpToDate", "Consistent"}
        if found.go:
            assert state.complete
            assert state.configured
            assert good
            assert not state.split_brain
        if found.kind == READY:
            assert set(local) == {"UpToDate"}
            assert not state.stand_alone
            assert state.connections
            for node, connection in state.connections.items():
                assert connection["connection"] == "Connected"
                for volume in state.devices:
                    device = state.peer_devices[f"{node}/{volume}"]
                    assert (device["replication"], device["peer-disk"]) == ("Established", "UpToDate")
        if found.kind == ALONE:
            assert policy is not None
            if not policy.proceed:
                assert elapsed >= policy.peer_timeout
                assert policy.when_alone in ("newest", "always")
                assert not policy.unresolved
                if policy.when_alone == "newest":
                    assert metadata is PROVED
                assert not state.stand_alone
            assert any(c.get("connection") != "Connected" for c in state.connections.values()) or not state.connections
        if found.kind == ALONE or may_promote(found, state, True):
            assert good
