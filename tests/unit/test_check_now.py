"""Area now of check: real output of both drivers' drbdsetup, and what is no fault of anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from drbdocfs_boot.checks import now, runner
from drbdocfs_boot.checks.facts import Facts, collect
from drbdocfs_boot.checks.model import ERROR, WARNING, Finding
from drbdocfs_boot.verbs import check

from .conftest import Box
from .test_check_areas import GOOD, OURS, plant

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
DRIVERS = ("drbd-8.4", "drbd-9.3")


def look() -> list[Finding]:
    return list(now.find(Facts(True, "server1")))


def state(box: Box, driver: str, name: str, upto: str = "", old: str = "", new: str = "") -> None:
    """What drbdsetup says: the transcript up to the first line that has the words."""
    lines = (TRANSCRIPTS / driver / f"{name}.events2").read_text().splitlines()
    end = next((n for n, line in enumerate(lines, 1) if upto in line), 0) if upto else len(lines)
    assert end, f"{driver}/{name} has no '{upto}'"
    text = "\n".join(lines[:end])
    assert old in text
    box.write("/events", text.replace(old, new) + "\n")
    box.write("/sys/module/drbd/version", "8.4.11\n" if driver == "drbd-8.4" else "9.3.3\n")
    box.tool("drbdsetup", "cat $ROOT/events")


@pytest.fixture
def good(box: Box) -> Box:
    plant(box, GOOD)
    return box


STAY = "do not stop or reboot it"
# transcript, up to, a change of it; code, words of the message, words of the advice
FAULTS = [
    (("09-split-brain.server1", ""), "drbd-split-brain", "both nodes changed r0", "split-brain web"),
    (("11-wrong-secret.server1", ""), "drbd-stand-alone", "r0 is StandAlone", "drbdadm adjust r0"),
    (("12-detach.server2", "disk:Diskless"), "drbd-not-uptodate", "is Diskless: local disk of r0", "the other node"),
    (("06-crashed-alone.server2", ""), "drbd-one-copy", "waiting for the peer (Connecting)", STAY),
    (
        ("06-crashed-alone.server2", "", "disk:UpToDate", "disk:Outdated"),
        "drbd-not-uptodate",
        "is Outdated: waiting for the peer",
        "bring the other node up",
    ),
    (("04-cable-out-one-writes-resync.server1", "SyncSource"), "drbd-one-copy", "resync to", STAY),
    (
        ("04-cable-out-one-writes-resync.server2", "SyncTarget"),
        "drbd-not-uptodate",
        "is Inconsistent: resync from",
        "reboot the other node before",
    ),
    (("12-detach.server1", "peer-disk:Diskless"), "drbd-one-copy", "waiting for the disk of", STAY),
]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("fault", FAULTS, ids=[f"{code}-{n}" for n, (_, code, _, _) in enumerate(FAULTS)])
def test_what_drbd_does_now(good: Box, driver: str, fault: tuple[tuple[str, ...], str, str, str]) -> None:
    said, code, message, advice = fault
    state(good, driver, *said)
    (found,) = look()
    assert (found.code, found.where, found.stack) == (code, "r0", "web")
    assert message in found.message.replace("server2 (", "the peer (").replace("server1 (", "the peer (")
    assert advice in found.advice
    # That the peer has nothing better is known of one that is there only.
    sure = code == "drbd-one-copy" and "Connecting" not in found.message
    assert ("the only good copy" in found.message) is sure
    assert good.calls == ["drbdsetup events2 --now --statistics r0"]
    # Only what is no good here is a no; a peer that is stopped, or a resync to it, is none.
    assert check.status([found], False) == (0 if code == "drbd-one-copy" else 1)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_split_brain_with_a_disk_that_is_not_whole_says_both(good: Box, driver: str) -> None:
    state(good, driver, "09-split-brain.server1", "", " disk:UpToDate", " disk:Inconsistent")
    assert [f.code for f in look()] == ["drbd-split-brain", "drbd-not-uptodate"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_is_well(good: Box, driver: str) -> None:
    state(good, driver, "03-promote-both.server1")
    assert look() == []
    state(good, driver, "03-promote-both.server1", "", "replication:Established", "replication:VerifyS")
    assert look() == []
    state(good, driver, "00-not-configured")
    assert look() == []  # the stack is stopped


@pytest.mark.parametrize("driver", DRIVERS)
def test_with_fencing_a_disk_is_consistent_until_the_peer_was_seen(good: Box, driver: str) -> None:
    state(good, driver, "06-crashed-alone.server2", "", " disk:UpToDate", " disk:Consistent")
    assert [(f.code, f.severity) for f in look()] == [("drbd-one-copy", WARNING)]


def test_nothing_is_asked_without_the_module_or_of_a_tree(good: Box) -> None:
    good.tool("drbdsetup", "cat $ROOT/events")
    assert list(now.find(collect())) == []
    (good.root / "sys/module/drbd/version").unlink()
    (good.root / "sys/module/drbd").rmdir()
    assert look() == []
    assert good.calls == []


def test_one_call_for_many_stacks(good: Box) -> None:
    lines = (TRANSCRIPTS / "drbd-8.4" / "06-crashed-alone.server2.events2").read_text()
    whole = (TRANSCRIPTS / "drbd-8.4" / "03-promote-both.server1.events2").read_text().replace("name:r0", "name:r1")
    second = "[mail]\nresource = r1\ndevice = /dev/drbd1\ncluster = web\nmountpoint = /mnt/mail\n"
    third = "[logs]\nresource = r2\ndevice = /dev/drbd2\ncluster = web\nmountpoint = /mnt/logs\n"
    plant(good, {OURS: GOOD[OURS] + second + third})
    good.write("/events", lines + whole)
    good.tool("drbdsetup", "cat $ROOT/events")
    assert [(f.code, f.stack) for f in look()] == [("drbd-one-copy", "web")]
    assert good.calls == ["drbdsetup events2 --now --statistics"]


def test_a_hang_is_a_finding(good: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from drbdocfs_boot.tools import drbd

    really = drbd.states
    monkeypatch.setattr(drbd, "states", lambda names, limit: really(names, 0.3))
    good.tool("drbdsetup", "exec sleep 30")
    (found,) = runner.look(Facts(True, "server1"), [("now", now.find)])
    assert (found.code, found.severity) == ("drbd-hangs", ERROR)
    assert found.message.startswith("'drbdsetup events2 --now --statistics r0' was not done after")


@pytest.mark.parametrize("words", ["Operation not permitted", "could not connect to 'drbd' generic netlink family"])
def test_without_rights(good: Box, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    good.tool("drbdsetup", f'echo "{words}" >&2; exit 1')
    facts = Facts(True, "server1")
    assert list(now.find(facts)) == []
    assert list(facts.refused) == (["'drbdsetup events2'"] if "permitted" in words else [])


def test_without_the_tool(good: Box) -> None:
    assert look() == []


def test_every_rule_has_a_fault() -> None:
    assert {code for _, code, _, _ in FAULTS} | {"drbd-hangs"} == set(now.BOOK.rules)
