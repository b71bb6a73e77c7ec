"""DRBD's tools: the metadata's proof, the description of a resource, the progress of a resync."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drbdocfs_boot.events import State, read
from drbdocfs_boot.tools import drbd, mounts
from drbdocfs_boot.tools.failure import Failure

from .conftest import Box

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
RAN_84 = "D5E2B0B3002A6608:1C6A8C27D81A6CC7:3970017E70B72451:396F017E70B72451:1:1:0:0:0:0:0"
LEFT_84 = "1C6A8C27D81A6CC6:0000000000000000:3970017E70B72450:396F017E70B72451:1:1:0:0:0:0:1"
RAN_9 = "F763AE32AB815C53:EAE53C957543F47B:2FE7B467982450E8:BBE7C4A252033B86:1:1:1:1:0:0:0:0:0:0:0:1"
LEFT_9 = "EAE53C957543F47A:0000000000000000:BBE7C4A252033B86:B500C6786B1D3600:1:1:0:1:0:0:0:0:0:0:0:1"


def alone(driver: str) -> State:
    return read((TRANSCRIPTS / driver / "06-crashed-alone.server2.events2").read_text())


def two_volumes(driver: str) -> State:
    state = alone(driver)
    state.feed("create device name:r0 volume:1 minor:1 disk:UpToDate")
    return state


# --- proof ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "driver", "text", "proved", "asked"),
    [
        ("8.4.11", "drbd-8.4", RAN_84, True, "drbdsetup get-gi 0"),
        ("8.4.11", "drbd-8.4", LEFT_84, False, "drbdsetup get-gi 0"),
        ("9.3.3", "drbd-9.3", RAN_9, True, "drbdsetup get-gi r0 0 0"),
        ("9.3.3", "drbd-9.3", LEFT_9, False, "drbdsetup get-gi r0 0 0"),
    ],
)
def test_proof_asks_the_slot_of_the_peer(
    box: Box, version: str, driver: str, text: str, proved: bool, asked: str
) -> None:
    box.write("/sys/module/drbd/version", version + "\n")
    box.tool("drbdsetup", f"echo {text}")
    assert drbd.proof(alone(driver), "/dev/drbd0").proved is proved
    assert box.calls == [asked]


def test_every_volume_and_every_peer_has_to_agree_where_the_device_is_not_known(box: Box) -> None:
    box.write("/sys/module/drbd/version", "8.4.11\n")
    box.tool("drbdsetup", f"case $2 in 0) echo {RAN_84};; 1) echo {LEFT_84};; esac")
    assert not drbd.proof(two_volumes("drbd-8.4"), "/dev/drbd/by-res/r0/0").proved
    assert box.calls == ["drbdsetup get-gi 0", "drbdsetup get-gi 1"]
    box.write("/sys/module/drbd/version", "9.3.3\n")
    box.log.unlink()
    box.tool("drbdsetup", f"case $3 in 0) echo {RAN_9};; *) echo {LEFT_9};; esac")
    state = alone("drbd-9.3")
    state.feed("create connection name:r0 peer-node-id:2 conn-name:server3 connection:Connecting")
    assert not drbd.proof(state, "/dev/drbd0").proved
    assert box.calls == ["drbdsetup get-gi r0 0 0", "drbdsetup get-gi r0 2 0"]


def test_only_the_volume_of_the_stack_counts(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "device_number", lambda node: "147:0")
    box.write("/sys/module/drbd/version", "8.4.11\n")
    box.tool("drbdsetup", f"case $2 in 0) echo {RAN_84};; 1) echo {LEFT_84};; esac")
    assert drbd.proof(two_volumes("drbd-8.4"), "/dev/drbd0").proved
    assert box.calls == ["drbdsetup get-gi 0"]


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("echo '0: Failure: (127) Device minor not allocated'; echo 'additional info from kernel:'; exit 10",
         "('drbdsetup get-gi 0': 0: Failure: (127) Device minor not allocated; additional info from kernel:"),
        ("echo nonsense", "('drbdsetup get-gi 0': nonsense)"),
        (f"echo {RAN_84}; exit 10", "could not be read"),
        (None, "drbdsetup is not installed"),
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_had_proves_nothing_and_raises_nothing(box: Box, tool: str | None, words: str) -> None:
    box.write("/sys/module/drbd/version", "8.4.11\n")
    if tool is not None:
        box.tool("drbdsetup", tool)
    found = drbd.proof(alone("drbd-8.4"), "/dev/drbd0")
    assert not found.proved
    assert words in found.reason


def test_a_resource_without_any_peer_proves_nothing(box: Box) -> None:
    box.write("/sys/module/drbd/version", "9.3.3\n")
    assert not drbd.proof(read("exists resource name:r0\nexists -"), "/dev/drbd0").proved
    assert box.calls == []


# --- describe -------------------------------------------------------------------------------------------------


def test_describe_takes_this_host(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.tool("drbdadm", f"cat {TRANSCRIPTS}/drbd-8.4/dump.txt")
    monkeypatch.setenv("__DRBD_NODE__", "server2")
    found = drbd.describe("r0")
    assert (found.address, found.peers) == ("10.181.76.11", [("server1", "10.181.76.10:7789")])
    assert box.calls == ["drbdadm dump r0"]


def test_describe_by_the_name_of_the_host(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("__DRBD_NODE__", raising=False)
    name = os.uname().nodename
    box.tool("drbdadm", f"sed s/server1/{name}/ {TRANSCRIPTS}/drbd-8.4/dump.txt")
    assert drbd.describe("r0").address == "10.181.76.10"


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (f"cat {TRANSCRIPTS}/drbd-9.3/dump-plain.txt", "it has no section 'on server9'"),
        ("echo \"'r0' not defined in your config (for this host).\" >&2; exit 1", "'r0' not defined in your config"),
        ("echo \"drbd.d/r2.res:1: Parse error: 'protocol' expected,\" >&2; exit 10", "Parse error"),
        (f"cat {TRANSCRIPTS}/drbd-9.3/dump-plain.txt; echo 'broken' >&2; exit 10", "broken"),
    ],
)
def test_describe_refuses(box: Box, tool: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("__DRBD_NODE__", "server9")
    box.tool("drbdadm", tool)
    with pytest.raises(Failure) as caught:
        drbd.describe("r0")
    assert caught.value.status == 78
    assert caught.value.message.startswith("DRBD resource r0 is not configured for this host: ")
    assert words in caught.value.message
    assert "a b" not in caught.value.message  # the shared secret stands in the dump


# --- progress -------------------------------------------------------------------------------------------------

PROC_DRBD = """version: 8.4.11 (api:1/proto:86-101)
srcversion: B438804C5AE8C84C95D0411
 0: cs:Connected ro:Secondary/Secondary ds:UpToDate/UpToDate C r-----
    ns:0 nr:0 dw:0 dr:0 al:0 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0
 1: cs:SyncTarget ro:Secondary/Primary ds:Inconsistent/UpToDate C r-----
    ns:0 nr:210272 dw:210272 dr:0 al:0 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:813660
\t[===>................] sync'ed: 20.5% (813660/1023932)K
\tfinish: 0:01:30 speed: 8,976 (6,368) want: 8,976 K/sec
10: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----
\t[>....................] sync'ed:  0.1% (1023932/1023932)K
\tfinish: 11:22:33 speed: 0 (0) K/sec
"""


@pytest.mark.parametrize(
    ("minor", "expected"),
    [("0", None), ("1", (20.5, 90.0)), ("10", (0.0, 40953.0)), ("11", None), ("", None)],
)
def test_progress_on_8_4(box: Box, minor: str, expected: tuple[float, float] | None) -> None:
    box.write("/sys/module/drbd/version", "8.4.11\n")
    box.write("/proc/drbd", PROC_DRBD)
    state = read(f"exists resource name:r0\nexists device name:r0 volume:3 minor:{minor} disk:UpToDate\nexists -")
    assert drbd.progress(state) == ({} if expected is None else {"3": expected})
    assert box.calls == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("\tsync'ed: 20.5% (1/2)K\n", (50.0, None)),
        ("\tsync'ed: 20.5% (1/2)K\n\tfinish: soon\n", (50.0, None)),
        ("\tsync'ed: 20.5% (1/2)K\n\tfinish:\n", (50.0, None)),
        ("\tsync'ed: 20.5% (1/many)K\n\tfinish: 0:00:01\n", None),
        ("\tsync'ed: 0.0% (0/0)K\n\tfinish: 0:00:01\n", None),
        ("\tfinish: 0:00:01\n", None),
    ],
)
def test_a_progress_that_is_not_there_yet(box: Box, lines: str, expected: tuple[float, None] | None) -> None:
    box.write("/proc/drbd", " 0: cs:SyncTarget\n" + lines)
    assert drbd.resync_84("0") == expected


def test_drbd_9_says_it_itself(box: Box) -> None:
    box.write("/sys/module/drbd/version", "9.3.3\n")
    box.write("/proc/drbd", PROC_DRBD)
    assert drbd.progress(two_volumes("drbd-9.3")) == {}
