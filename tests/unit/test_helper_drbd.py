"""The layers attach, wait and promote: what they accept, what they refuse, and how long they try."""

from __future__ import annotations

import os
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest

from drbdocfs_boot import drbdmd
from drbdocfs_boot.helpers import address, attach, promote, wait
from drbdocfs_boot.helpers.base import Layer
from drbdocfs_boot.tools import drbd as tools_drbd
from drbdocfs_boot.tools import journal, netlink, records, wake
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Process

from .checktree import metadata
from .conftest import Box

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
READY = (
    "exists resource name:r0 role:{role} suspended:no\n"
    "exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connected role:Secondary\n"
    "exists device name:r0 volume:0 minor:0 disk:UpToDate\n"
    "exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:UpToDate\n"
    "exists -\n"
)
ALONE = READY.replace("connection:Connected role:Secondary", "connection:Connecting role:Unknown").replace(
    "replication:Established peer-disk:UpToDate", "replication:Off peer-disk:DUnknown"
)
STAND_ALONE = ALONE.replace("connection:Connecting", "connection:StandAlone")
DUMP = """resource r0 {{
    on server1 {{ device {device}; disk {disk}; meta-disk internal; address {address}:7789; }}
    on server2 {{ device /dev/drbd0 minor 0; disk /dev/loop7; meta-disk internal; address ipv4 10.0.0.2:7789; }}
    net {{ shared-secret "}} on server1 {{ address ipv4 9.9.9.9:9; }}"; }}
}}
"""
PROVED = "D5E2B0B3002A6608:1C6A8C27D81A6CC7:3970017E70B72451:396F017E70B72451:1:1:0:0:0:0:0\n"
UNPROVED = "1C6A8C27D81A6CC6:0000000000000000:3970017E70B72450:396F017E70B72451:1:1:0:0:0:0:1\n"
# $ROOT/state is what events2 prints; down empties it, primary and secondary change the role.
DRBDSETUP = r"""
case "$1" in
get-gi) cat $ROOT/gi ;;
events2) cat $ROOT/state; case "$*" in *--now*) ;; *) [ -e $ROOT/more ] && . $ROOT/more; exec sleep 30 ;; esac ;;
secondary) [ "$2" = "$(cat $ROOT/expected)" ] || { echo "Cannot determine minor device number" >&2; exit 20; }
  [ -e $ROOT/held ] && { echo '0: State change failed: (-12) Device is held open by someone' >&2; exit 11; }
  sed -i 's/role:Primary suspended/role:Secondary suspended/' $ROOT/state ;;
down) [ -e $ROOT/held ] && { echo held >&2; exit 11; }; echo 'exists -' > $ROOT/state ;;
esac
"""
DRBDADM = r"""
case "$1" in
dump) cat $ROOT/dump ;;
adjust|attach) [ -e $ROOT/adjusted ] && cp $ROOT/adjusted $ROOT/state; true ;;
primary) sed -i 's/role:Secondary suspended/role:Primary suspended/' $ROOT/state ;;
esac
"""


@pytest.fixture
def drbd(box: Box) -> Box:
    box.tool("drbdsetup", DRBDSETUP)
    box.tool("drbdadm", DRBDADM)
    box.write("/sys/module/drbd/version", "8.4.11\n")
    box.write("/expected", "0")
    box.write("/dev/loop7", "")
    box.write("/gi", UNPROVED)
    box.write("/state", "exists -\n")
    box.write("/adjusted", ALONE.format(role="Secondary"))
    box.set(
        RESOURCE="r0",
        DEVICE="/dev/drbd0",
        LOOP_DEVICE="/dev/loop7",
        MOUNTPOINT="/mnt/storage",
        BOOT_TIMEOUT="30000000",
        PEER_TIMEOUT="90000000",
        WHEN_ALONE="newest",
    )
    box.monkeypatch.setenv("__DRBD_NODE__", "server1")
    dump(box)
    return box


def dump(box: Box, device: str = "/dev/drbd0", disk: str = "/dev/loop7", address: str = "ipv4 127.0.0.1") -> None:
    box.write("/dump", DUMP.format(device=device, disk=disk, address=address))


def mounted(box: Box, *targets: str, source: str = "/dev/drbd0", kind: str = "ocfs2") -> None:
    lines = [f"30 1 147:0 / {target} rw,relatime shared:1 - {kind} {source} rw\n" for target in targets]
    box.write("/proc/self/mountinfo", "".join(lines))


def woken(sock: wake.Socket) -> bool:
    """Whether a wake-up has come; closes the socket."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    found = bool(poll.poll(0))
    sock.close()
    return found


def refusal(module: object, action: str = "start") -> Failure:
    with pytest.raises(Failure) as caught:
        getattr(module, action)(Layer(module.__name__.rpartition(".")[2], "web"))  # type: ignore[attr-defined]
    return caught.value


# --- attach ---------------------------------------------------------------------------------------------------


def test_attach_adjusts_and_stop_takes_down_without_drbdadm(drbd: Box) -> None:
    attach.start(Layer("attach", "web"))
    attach.start(Layer("attach", "web"))
    assert [c for c in drbd.calls if "adjust" in c] == ["drbdadm adjust r0"] * 2
    (drbd.bin / "drbdadm").unlink()
    attach.stop(Layer("attach", "web"))
    assert [c for c in drbd.calls if "down" in c] == ["drbdsetup down r0"]
    attach.stop(Layer("attach", "web"))
    assert (drbd.root / "state").read_text() == "exists -\n"


def test_what_was_stopped_is_not_awaited_whoever_wrote_that_meanwhile(drbd: Box) -> None:
    """The follow service reads a record and writes it anew; the stop may come in between."""
    attach.start(Layer("attach", "web"))
    records.write("web", "waiting", STATE="late")
    again = "cp $ROOT/run/drbdocfs/web.attach $ROOT/run/drbdocfs/web.waiting; "
    drbd.tool("drbdsetup", DRBDSETUP.replace("down) ", "down) " + again))
    attach.stop(Layer("attach", "web"))
    assert "drbdsetup down r0" in drbd.calls
    assert records.instances("waiting") == records.instances("attach") == []


def test_boot_and_shutdown_ask_drbd_for_its_state_only_where_that_decides(drbd: Box) -> None:
    attach.start(Layer("attach", "web"))
    assert drbd.calls == ["drbdadm dump r0", "drbdadm adjust r0"]
    drbd.write("/state", READY.format(role="Secondary"))
    promote.start(Layer("promote", "web"))
    assert drbd.calls[2:] == ["drbdsetup events2 --now --statistics r0", "drbdadm primary r0"]
    promote.stop(Layer("promote", "web"))
    attach.stop(Layer("attach", "web"))
    assert drbd.calls[4:] == [
        "drbdsetup events2 --now --statistics r0", "drbdsetup secondary 0", "drbdsetup down r0",
    ]  # fmt: skip


BUSY = """echo "Command 'drbdsetup-84 new-minor r0 0 0' did not terminate within 5 seconds" >&2; exit 20"""


@pytest.mark.parametrize("own", ["ipv4 127.0.0.1", "ipv4 192.0.2.99"])
def test_attach_calls_drbdadm_again_where_it_gave_up_on_a_busy_kernel(
    drbd: Box, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    monkeypatch.setattr(attach, "ADDRESS_LIMIT", 0.1)
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    half = "printf 'exists resource name:r0 role:Secondary suspended:no\\nexists -\\n' > $ROOT/state"
    once = f"adjust|new-minor) if ! [ -e $ROOT/busy ]; then :> $ROOT/busy; {half}; {BUSY}; fi; "
    drbd.tool("drbdadm", DRBDADM.replace("adjust|attach)", f"{once} :;; esac; case $1 in adjust|attach)"))
    dump(drbd, address=own)
    attach.start(Layer("attach", "web"))
    done = [call.split()[1] for call in drbd.calls if call.startswith("drbdadm")]
    # Without its address it attaches only, and goes on where it was.
    assert done[1:] == (
        ["adjust", "adjust"]
        if "127" in own
        else ["new-resource", "new-minor", "new-minor", "attach"]
    )
    assert 1.0 in pauses


def test_attach_gives_up_on_a_kernel_that_stays_busy_in_drbdadms_words(
    drbd: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach, "BUSY_LIMIT", 1.2)
    drbd.tool("drbdadm", DRBDADM.replace("adjust|attach)", f"adjust) {BUSY} ;; attach)"))
    failure = refusal(attach)
    assert failure.message == (
        "DRBD resource r0 is not configured in the kernel after 'drbdadm adjust r0' (exit 20):"
        " Command 'drbdsetup-84 new-minor r0 0 0' did not terminate within 5 seconds"
    )
    assert drbd.calls.count("drbdadm adjust r0") == 2


HOLD = (
    "import posix, sys; fd = posix.open(sys.argv[1], 66, 0o600); posix.lockf(fd, posix.F_TLOCK, int(sys.argv[2]));"
    " print(flush=True)"
)


@pytest.mark.parametrize(
    ("taken", "freed", "limit", "least"),
    [(attach.TURNS, 60.0, 0.3, 0.3), (attach.TURNS, 1.0, 60.0, 1.0), (attach.TURNS - 1, 60.0, 60.0, 0.0)],
)
@pytest.mark.slow
def test_attaches_take_turns_but_nobody_waits_for_ever(
    drbd: Box, monkeypatch: pytest.MonkeyPatch, taken: int, freed: float, limit: float, least: float
) -> None:
    monkeypatch.setattr(attach, "TURN_LIMIT", limit)
    (drbd.root / "run").mkdir(exist_ok=True)
    file = drbd.root / "run/drbdocfs-attach.lock"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD + "; input()", str(file), str(taken)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdout.readline()
    began = time.monotonic()
    timer = threading.Timer(freed, other.stdin.close)
    timer.start()
    attach.start(Layer("attach", "web"))
    took = time.monotonic() - began
    assert drbd.calls[-1] == "drbdadm adjust r0"
    assert least <= took < 20.0
    timer.cancel()
    other.stdin.close()
    other.wait()
    # And it is let go of, also where the process lives on.
    subprocess.run([sys.executable, "-c", HOLD, str(file), "0"], check=True, timeout=10, capture_output=True)


def target_of_a_resync(box: Box, flags: int = 0x04) -> None:
    """The disk below DRBD as one that was target of a resync when the power went; ``flags``: of its metadata."""
    data = bytearray(2 * drbdmd.BLOCK)
    data[drbdmd.BLOCK :] = metadata(1000, 80, flags, magic=0x8374026C)
    (box.root / "dev/loop7").write_bytes(data)


def test_a_file_that_was_target_of_a_resync_when_the_power_went_is_resynchronized_as_a_whole(
    drbd: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    target_of_a_resync(drbd)
    attach.start(Layer("attach", "web"))
    assert drbd.calls == [
        "drbdadm dump r0", "drbdsetup events2 --now --statistics r0", "drbdadm invalidate r0/0", "drbdadm adjust r0",
    ]  # fmt: skip
    assert "r0/0 was the target of a resync when its end came: all of it is resynchronized" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [0x00, 0x11, 0x17, 0x80])
def test_after_any_other_end_the_rest_alone_is_resynchronized(drbd: Box, flags: int) -> None:
    target_of_a_resync(drbd, flags)
    attach.start(Layer("attach", "web"))
    assert drbd.calls == ["drbdadm dump r0", "drbdadm adjust r0"]


def test_a_resync_that_runs_is_left_alone(drbd: Box) -> None:
    target_of_a_resync(drbd)
    drbd.write("/state", READY.format(role="Secondary").replace("disk:UpToDate", "disk:Inconsistent", 1))
    attach.start(Layer("attach", "web"))
    assert not [call for call in drbd.calls if "invalidate" in call]


def test_stale_metadata_on_a_disk_whose_metadata_lie_elsewhere_say_nothing(drbd: Box) -> None:
    target_of_a_resync(drbd)
    drbd.write("/dump", (drbd.root / "dump").read_text().replace("meta-disk internal", "meta-disk /dev/vdc [0]"))
    drbd.write("/dev/vdc", "")
    attach.start(Layer("attach", "web"))
    assert drbd.calls == ["drbdadm dump r0", "drbdadm adjust r0"]


def test_of_a_real_disk_it_is_said_only(drbd: Box, capsys: pytest.CaptureFixture[str]) -> None:
    target_of_a_resync(drbd)
    drbd.monkeypatch.delenv("DRBDOCFS_LOOP_DEVICE")
    attach.start(Layer("attach", "web"))
    assert not [call for call in drbd.calls if "invalidate" in call]
    assert "if /dev/loop7 has a cache that does not survive that" in capsys.readouterr().out


def test_attach_refuses_where_the_whole_resync_cannot_be_had(drbd: Box) -> None:
    target_of_a_resync(drbd)
    drbd.tool("drbdadm", DRBDADM.replace("dump) ", "invalidate) echo 'Device is configured!' >&2; exit 20 ;; dump) "))
    failure = refusal(attach)
    assert failure.message == (
        "r0/0 was the target of a resync when its end came, which its file may not have outlived, and"
        " 'drbdadm invalidate r0/0' failed (exit 20): Device is configured!"
    )
    assert failure.advice == (
        "'drbdadm down r0', 'drbdadm invalidate r0/0', then 'systemctl start drbdocfs@web.target'"
    )
    assert not [call for call in drbd.calls if "adjust" in call]


def test_attach_stop_tries_down_again_while_something_holds_the_device(
    drbd: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach.start(Layer("attach", "web"))
    drbd.write("/held", "")
    monkeypatch.setattr(attach, "DOWN_LIMIT", 0.3)
    assert refusal(attach, "stop").message == "'drbdsetup down r0' failed for 0 s (exit 11): held"
    monkeypatch.setattr(attach, "DOWN_LIMIT", 10)
    threading.Timer(0.3, (drbd.root / "held").unlink).start()
    attach.stop(Layer("attach", "web"))
    # It went by another hand meanwhile: 'down' fails, and what was wanted is there.
    drbd.tool("drbdsetup", DRBDSETUP.replace("down) ", "down) exit 10 ;; down) "))
    attach.stop(Layer("attach", "web"))


@pytest.mark.parametrize(
    ("tool", "more", "status", "message"),
    [
        ("echo \"'r0' not defined in your config (for this host).\" >&2; exit 10", {}, 78,
         "DRBD resource r0 is not configured for this host: 'r0' not defined in your config (for this host)."),
        ("sed s/server1/server9/ $ROOT/dump", {}, 78,
         "DRBD resource r0 is not configured for this host: it has no section 'on server1'"),
        (DRBDADM, {"device": "/dev/drbd5"}, 78,
         "DRBD resource r0 has the device /dev/drbd5, but the stack has device = /dev/drbd0"),
        (DRBDADM, {"disk": "/dev/sdb"}, 78,
         "DRBD resource r0 lies on /dev/sdb, but the stack has loop_device = /dev/loop7"),
        (DRBDADM.replace("adjust|attach) ", "adjust|attach) echo 'No valid meta data found' >&2; exit 1;"), {}, 78,
         ("DRBD resource r0 is not configured in the kernel after 'drbdadm adjust r0' (exit 1):"
          " No valid meta data found")),
    ],
)  # fmt: skip
def test_attach_refuses(drbd: Box, tool: str, more: dict[str, str], status: int, message: str) -> None:
    drbd.tool("drbdadm", tool)
    dump(drbd, **more)
    failure = refusal(attach)
    assert (failure.status, failure.message) == (status, message)


def test_attach_with_a_disk_that_did_not_attach(drbd: Box) -> None:
    drbd.write("/adjusted", ALONE.format(role="Secondary").replace("disk:UpToDate", "disk:Diskless"))
    drbd.tool("drbdadm", DRBDADM.replace("; true ;;", "; exit 1 ;;"))
    failure = refusal(attach)
    assert failure.status == 74
    assert failure.message.startswith("local disk of r0 is Diskless after 'drbdadm adjust r0'")


def test_attach_records_what_the_others_need_to_know(drbd: Box) -> None:
    follow = wake.listen(wake.FOLLOW)
    attach.start(Layer("attach", "web"))
    found = records.read("web", "attach")
    assert found is not None
    assert 0 <= float(found.pop("WAITED")) < 5
    assert found == {
        "RESOURCE": "r0", "DEVICE": "/dev/drbd0", "ADDRESS": "127.0.0.1", "PEER": "server2",
        "PEER_ADDRESS": "10.0.0.2:7789",
    }  # fmt: skip
    assert woken(follow)


def test_attach_stop_lets_nobody_bring_the_stack_up_again(drbd: Box) -> None:
    attach.start(Layer("attach", "web"))
    kinds = ("waiting", "cluster-address", "unconnected", "proceed", "alone", "survivor", "fencing", "fence-lock")
    for kind in kinds:
        records.write("web", kind, RESOURCE="r0")
        records.write("db", kind, RESOURCE="r1")
    others = sorted(f"db.{kind}" for kind in kinds)
    records.mark_split_brain("web")
    follow = wake.listen(wake.FOLLOW)
    # First of all, before anything can fail.
    mounted(drbd, "/mnt/storage")
    refusal(attach, "stop")
    assert woken(follow)
    assert sorted(os.listdir(drbd.root / "run/drbdocfs")) == [*others, "web.attach", "web.fence-lock"]
    mounted(drbd)
    attach.stop(Layer("attach", "web"))
    assert sorted(os.listdir(drbd.root / "run/drbdocfs")) == others
    assert records.split_brain("web")  # which no stop resolves


def test_attach_waits_for_a_late_disk_and_then_says_so(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (drbd.root / "dev/loop7").unlink()
    monkeypatch.setattr(attach, "DISK_LIMIT", 0.5)
    assert refusal(attach).message == "the disk /dev/loop7 has not appeared in 0 s: No such file or directory"


def test_attach_waits_for_the_device_of_external_metadata(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    drbd.write("/dump", (drbd.root / "dump").read_text().replace("meta-disk internal", "meta-disk /dev/vdc [0]"))
    monkeypatch.setattr(attach, "DISK_LIMIT", 0.5)
    assert refusal(attach).message == "the disk /dev/vdc has not appeared in 0 s: No such file or directory"
    assert drbd.calls == ["drbdadm dump r0"]
    monkeypatch.setattr(attach, "DISK_LIMIT", 30)
    threading.Timer(0.3, lambda: drbd.write("/dev/vdc", "")).start()
    attach.start(Layer("attach", "web"))
    assert drbd.calls[-1] == "drbdadm adjust r0"
    monkeypatch.setattr(attach, "DISK_LIMIT", 10)
    threading.Timer(0.5, drbd.write, ("/dev/loop7", "")).start()
    attach.start(Layer("attach", "web"))


def test_attach_waits_for_a_late_address_before_it_connects(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.monotonic()
    monkeypatch.setattr(address, "present", lambda which: time.monotonic() - begun > 0.7)
    attach.start(Layer("attach", "web"))
    assert time.monotonic() - begun > 0.7
    assert drbd.calls[-1] == "drbdadm adjust r0"


@pytest.mark.parametrize(
    ("said", "plain", "there"),
    [
        ("ipv4 192.0.2.1", "192.0.2.1", False),
        ("ipv6 [2001:db8::1]", "2001:db8::1", False),
        ("ipv4 127.0.0.1", "127.0.0.1", True),
    ],
)
def test_without_its_address_the_disk_is_attached_all_the_same(
    drbd: Box, said: str, plain: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert address.present(plain) is there
    dump(drbd, address=said)
    monkeypatch.setattr(attach, "ADDRESS_LIMIT", 0.3)
    attach.start(Layer("attach", "web"))
    # drbdadm adjust refuses as a whole where the address is not on this host.
    steps = [c for c in drbd.calls if c.startswith("drbdadm") and "dump" not in c]
    if there:
        assert steps == ["drbdadm adjust r0"]
    else:
        assert steps == ["drbdadm new-resource r0", "drbdadm new-minor r0", "drbdadm attach r0"]
    record = records.read("web", "attach")
    assert record is not None
    assert record["ADDRESS"] == plain
    assert (float(record["WAITED"]) >= 0.3) is not there
    assert (records.read("web", "unconnected") is None) is there


@pytest.mark.parametrize(("said", "noted"), [("did not terminate within 5 seconds", True), ("(127) Unknown", False)])
def test_an_attach_that_may_have_stopped_short_of_connecting_says_so(
    drbd: Box, monkeypatch: pytest.MonkeyPatch, said: str, noted: bool
) -> None:
    """What it refuses for another reason no more tries mend."""
    monkeypatch.setattr(attach, "BUSY_LIMIT", 0.5)
    drbd.tool("drbdadm", DRBDADM.replace("; true ;;", f"; echo '{said}' >&2; exit 20 ;;"))
    attach.start(Layer("attach", "web"))
    assert (records.read("web", "unconnected") is not None) is noted


@pytest.mark.parametrize("module", [attach, wait, promote])
def test_module_missing(drbd: Box, module: object) -> None:
    shutil.rmtree(drbd.root / "sys/module/drbd")
    failure = refusal(module)
    assert (failure.status, failure.message) == (69, "the kernel module drbd is not loaded and could not be")


def test_stop_without_the_module_is_done(drbd: Box) -> None:
    shutil.rmtree(drbd.root / "sys/module/drbd")
    promote.stop(Layer("promote", "web"))
    attach.stop(Layer("attach", "web"))
    assert drbd.calls == []


def test_attach_stop_refuses_below_a_mount(drbd: Box) -> None:
    drbd.write("/state", READY.format(role="Primary"))
    mounted(drbd, "/mnt/storage")
    assert refusal(attach, "stop").message == "/dev/drbd0 is mounted on /mnt/storage, so r0 stays up"
    assert not [c for c in drbd.calls if "down" in c]


# --- wait -----------------------------------------------------------------------------------------------------


def test_wait_ends_when_both_are_up_to_date(drbd: Box) -> None:
    drbd.write("/state", ALONE.format(role="Secondary"))
    drbd.write(
        "/more",
        "sleep 0.5; echo 'change connection name:r0 peer-node-id:0 connection:Connected role:Secondary'\n"
        "sleep 0.5; echo 'change peer-device name:r0 peer-node-id:0 volume:0 replication:Established"
        " peer-disk:UpToDate'\n",
    )
    began = time.monotonic()
    wait.start(Layer("wait", "web"))
    assert 0.9 < time.monotonic() - began < 5


def test_a_note_that_cannot_be_removed_is_no_reason_not_to_mount(
    drbd: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(instance: str) -> None:
        raise OSError(30, "Read-only file system", f"/var/lib/drbdocfs/{instance}.split-brain")

    monkeypatch.setattr(records, "clear_split_brain", read_only)
    drbd.write("/state", READY.format(role="Secondary"))
    assert wait.start(Layer("wait", "web")) == 0
    assert records.read("web", "waiting") is None
    assert "the note of a split brain stays: [Errno 30] Read-only file system" in capsys.readouterr().out


def test_wait_at_its_limit_says_what_it_waited_for(drbd: Box) -> None:
    drbd.set(BOOT_TIMEOUT="700000")
    drbd.write("/state", ALONE.format(role="Secondary"))
    began = time.monotonic()
    failure = refusal(wait)
    assert 0.6 < time.monotonic() - began < 5
    assert failure.status == 75
    assert failure.message == "r0 was not ready after 0:00 (boot_timeout): waiting for the peer (Connecting)"


@pytest.mark.parametrize(
    ("transcript", "status", "beginning"),
    [
        ("drbd-8.4/09-split-brain.server1", 65, "split brain: both nodes changed r0"),
        ("drbd-9.3/09-split-brain.server2", 65, "split brain: both nodes changed r0"),
        ("drbd-8.4/13-address-lost.server1", 76, "r0 is StandAlone"),
        ("drbd-8.4/12-detach.server2", 74, "local disk of r0 is Diskless"),
        ("drbd-9.3/12-detach.server2", 74, "local disk of r0 is Diskless"),
        ("drbd-8.4/00-not-configured", 78, "DRBD resource r0 is not configured in the kernel"),
        ("drbd-9.3/00-not-configured", 78, "DRBD resource r0 is not configured in the kernel"),
    ],
)
def test_wait_ends_at_once_where_waiting_helps_nobody(
    drbd: Box, transcript: str, status: int, beginning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (TRANSCRIPTS / f"{transcript}.events2").read_text().splitlines(keepends=True)
    # Both were ready in the dump of these runs: begin with what came after.
    text = "".join(line.replace("replication:Established", "replication:Off") for line in lines)
    drbd.write("/state", text)
    monkeypatch.setattr(wait, "SETTLE", 0.2)
    failure = refusal(wait)
    assert failure.status == status
    assert failure.message.startswith(beginning)


def test_wait_names_a_split_brain_that_was_found_before_it_began(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "SETTLE", 0.2)
    drbd.write("/state", ALONE.format(role="Secondary").replace("connection:Connecting", "connection:StandAlone"))
    drbd.write("/dev/kmsg", "3,1,2,-;block drbd0: Split-Brain detected but unresolved, dropping connection!\n")
    failure = refusal(wait)
    assert failure.status == 65
    assert failure.message.startswith("split brain: both nodes changed r0")


def test_wait_does_not_fall_for_the_standalone_of_a_connection_being_made(drbd: Box) -> None:
    # 8.4 creates a connection as StandAlone a moment before it connects.
    drbd.write("/state", ALONE.format(role="Secondary").replace("connection:Connecting", "connection:StandAlone"))
    drbd.write(
        "/more",
        "sleep 0.4; echo 'change connection name:r0 peer-node-id:0 connection:Connected role:Secondary'\n"
        "echo 'change peer-device name:r0 peer-node-id:0 volume:0 replication:Established peer-disk:UpToDate'\n",
    )
    wait.start(Layer("wait", "web"))


def test_wait_takes_a_new_dump_when_events_were_lost(drbd: Box) -> None:
    drbd.write("/state", ALONE.format(role="Secondary"))
    drbd.write(
        "/more",
        f"cat > $ROOT/state <<X\n{READY.format(role='Secondary')}X\nrm $ROOT/more; echo '- skipped 5'\n",
    )
    wait.start(Layer("wait", "web"))
    assert len([c for c in drbd.calls if "events2" in c]) == 2


def test_wait_survives_an_event_that_got_lost(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "LOOK_AFTER", 0.5)
    drbd.write("/state", ALONE.format(role="Secondary"))
    # The peer comes, and the stream says nothing of it.
    drbd.write("/more", f"cat > $ROOT/state <<X\n{READY.format(role='Secondary')}X\n")
    began = time.monotonic()
    wait.start(Layer("wait", "web"))
    assert time.monotonic() - began < 10
    assert len([c for c in drbd.calls if "--timestamps" in c]) == 2


def test_wait_with_a_drbdsetup_that_hangs(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    drbd.tool("drbdsetup", "exec sleep 30")
    monkeypatch.setattr(wait, "DUMP_LIMIT", 0.5)
    failure = refusal(wait)
    assert (failure.status, failure.message) == (75, "'drbdsetup events2 r0' has said nothing for 0 s")


def test_wait_with_a_drbdsetup_that_fails(drbd: Box) -> None:
    drbd.tool("drbdsetup", "echo 'Could not connect' >&2; exit 20")
    assert refusal(wait).message == "drbdsetup events2 r0 ended with 20: Could not connect"


@pytest.mark.slow
def test_wait_shows_what_it_waits_for(drbd: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        drbd.set(BOOT_TIMEOUT="3000000")
        syncing = READY.format(role="Secondary").replace("replication:Established", "replication:SyncTarget")
        drbd.write("/state", syncing)
        drbd.write(
            "/proc/drbd",
            " 0: cs:SyncTarget ro:Secondary/Secondary ds:Inconsistent/UpToDate C r-----\n"
            "\t[===>................] sync'ed: 20.5% (813660/1023932)K\n\tfinish: 0:01:30 speed: 8,976 (6,368) K/sec\n",
        )
        refusal(wait)
        sock.setblocking(False)
        said = []
        try:
            while True:
                said.append(sock.recv(4096).decode())
        except BlockingIOError:
            pass
    # Twice and more: it looks how far the resync is.
    assert said.count("STATUS=resync from the peer 20 %, 1:30 left, for 0:03 at most") >= 2


def test_no_clock_wakes_a_wait_in_which_nothing_happens(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    slept: list[float] = []
    read = Process.read

    def wake_early(process: Process, timeout: float, others: tuple[int, ...] = ()) -> list[tuple[int, bytes]]:
        slept.append(timeout)
        if timeout > wait.DUMP_LIMIT:
            raise Enough
        return read(process, timeout, others)

    monkeypatch.setattr(Process, "read", wake_early)
    drbd.set(BOOT_TIMEOUT="3600000000", WHEN_ALONE="wait")
    drbd.write("/state", ALONE.format(role="Secondary"))
    with pytest.raises(Enough):
        wait.start(Layer("wait", "web"))
    assert wait.LOOK_AFTER - 1 < slept[-1] <= wait.LOOK_AFTER
    assert len(slept) < 10  # the pieces of the dump


def test_the_wait_leaves_no_process_behind(drbd: Box) -> None:
    drbd.tool("drbdsetup", f"echo $$ > $ROOT/pid\n{DRBDSETUP}")
    drbd.write("/state", READY.format(role="Secondary"))
    wait.start(Layer("wait", "web"))
    with pytest.raises(ProcessLookupError):
        os.kill(int((drbd.root / "pid").read_text()), 0)


# --- the wait: policy, order, and what it leaves behind --------------------------------------------------------


def alone(box: Box, when_alone: str, peer_timeout: float = 0.0, boot_timeout: float = 30.0) -> None:
    """The peer is not there.  With a limit below its least, a second, the wait is one that is started again."""
    if boot_timeout < 1:
        records.write("web", "waiting", BEGAN=f"{time.monotonic():.3f}", STATE="late")
    box.write("/state", ALONE.format(role="Secondary"))
    box.set(WHEN_ALONE=when_alone, PEER_TIMEOUT=str(int(peer_timeout * 1e6)), BOOT_TIMEOUT=str(int(boot_timeout * 1e6)))


def gi_asked(box: Box) -> int:
    return len([call for call in box.calls if "get-gi" in call])


@pytest.mark.parametrize(
    ("when_alone", "metadata", "why"),
    [
        ("always", UNPROVED, "goes on alone: the peer has not come in 0:00, when_alone = always"),
        ("newest", PROVED, "goes on alone: the peer has not come in 0:00, and DRBD's metadata shows that this node"),
    ],
)
def test_wait_goes_on_alone_by_its_policy(
    drbd: Box, when_alone: str, metadata: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, str]] = []
    monkeypatch.setattr(journal, "send", told.append)
    alone(drbd, when_alone, peer_timeout=0.6)
    drbd.write("/gi", metadata)
    records.mark_split_brain("db")
    follow = wake.listen(wake.FOLLOW)
    began = time.monotonic()
    assert wait.start(Layer("wait", "web")) == 10
    assert 0.5 < time.monotonic() - began < 5
    record = records.read("web", "alone")
    assert record is not None
    assert record["WHY"].startswith(why)
    assert abs(int(record["TIME"]) - time.time()) < 5
    assert records.read("web", "waiting") is None
    # The process may be gone when journald looks for its unit.
    (message,) = told
    assert why in message["MESSAGE"]
    assert message["OBJECT_SYSTEMD_UNIT"] == "drbdocfs-wait@web.service"
    assert gi_asked(drbd) == (when_alone == "newest")
    assert woken(follow)
    assert not (drbd.root / "run/drbdocfs/web.socket").exists()


@pytest.mark.parametrize(
    ("when_alone", "metadata", "end"),
    [
        ("wait", PROVED, "; when_alone = wait: not without its peer"),
        ("newest", UNPROVED, "(bitmap UUID 0): the peer may hold newer data"),
        ("newest", "0: Failure: (127) Device minor not allocated", "not allocated)"),
    ],
)
def test_wait_that_may_not_go_alone_goes_on_waiting_until_its_limit(
    drbd: Box, when_alone: str, metadata: str, end: str
) -> None:
    alone(drbd, when_alone, boot_timeout=0.4)
    drbd.write("/gi", metadata)
    began = time.monotonic()
    failure = refusal(wait)
    assert 0.3 < time.monotonic() - began < 5
    assert failure.status == 81
    assert failure.message.startswith("r0 was not ready after 0:00 (boot_timeout): waiting for the peer (Connecting); ")
    assert failure.message.endswith(end)
    assert "drbdocfs-follow.service" in failure.advice
    assert "'drbdocfs proceed web'" in failure.advice
    # The metadata does not change while nobody is there: it is asked once.
    assert gi_asked(drbd) == (when_alone == "newest")
    assert records.read("web", "alone") is None


def test_wait_after_a_split_brain_that_nobody_has_resolved(drbd: Box) -> None:
    alone(drbd, "newest", boot_timeout=0.4)
    drbd.write("/gi", PROVED)
    drbd.write("/var/lib/drbdocfs/web.split-brain", "2026-11-20 03:14:15 UTC\n")
    failure = refusal(wait)
    assert failure.status == 81
    assert failure.message.endswith("the split brain of 2026-11-20 03:14:15 UTC has not been resolved")
    assert gi_asked(drbd) == 0
    assert records.split_brain("web")
    # Both in step again is what resolves it.
    drbd.write("/state", READY.format(role="Secondary"))
    assert wait.start(Layer("wait", "web")) == 0
    assert records.split_brain("web") == ""


@pytest.mark.parametrize("when_alone", ["wait", "newest", "always"])
@pytest.mark.slow
def test_wait_with_a_disk_that_is_not_good_goes_nowhere_alone(drbd: Box, when_alone: str) -> None:
    alone(drbd, when_alone, boot_timeout=1.5)
    drbd.write("/gi", PROVED)
    drbd.write("/state", ALONE.format(role="Secondary").replace("disk:UpToDate", "disk:Inconsistent"))
    records.write("web", "proceed", TIME="1", WHO="root")
    failure = refusal(wait)
    assert failure.status == 82
    assert failure.message.endswith("local disk Inconsistent: this node cannot go on without it")


@pytest.mark.parametrize("when_alone", ["newest", "always"])
def test_wait_for_a_peer_that_comes_in_time(drbd: Box, when_alone: str) -> None:
    alone(drbd, when_alone, peer_timeout=1.2)
    drbd.write("/gi", PROVED)
    drbd.write(
        "/more",
        "sleep 0.6; echo 'change connection name:r0 peer-node-id:0 connection:Connected role:Secondary'\n"
        "echo 'change peer-device name:r0 peer-node-id:0 volume:0 replication:Established peer-disk:UpToDate'\n",
    )
    assert wait.start(Layer("wait", "web")) == 0
    assert records.read("web", "alone") is None
    assert records.read("web", "waiting") is None
    assert gi_asked(drbd) == 0


def test_wait_in_a_resync_is_not_alone_however_long_it_takes(drbd: Box) -> None:
    alone(drbd, "always", peer_timeout=0.2, boot_timeout=0.5)
    drbd.write("/state", READY.format(role="Secondary").replace(":Established", ":SyncTarget"))
    failure = refusal(wait)
    assert failure.status == 80
    assert "resync from the peer" in failure.message


@pytest.mark.slow
def test_the_time_without_the_peer_begins_when_it_goes(drbd: Box) -> None:
    alone(drbd, "always", peer_timeout=0.8)
    drbd.write("/state", READY.format(role="Secondary").replace(":Established", ":SyncSource"))
    drbd.write(
        "/more",
        "sleep 0.5; echo 'change connection name:r0 peer-node-id:0 connection:NetworkFailure role:Unknown'\n"
        "echo 'change peer-device name:r0 peer-node-id:0 volume:0 replication:Off peer-disk:DUnknown'\n",
    )
    began = time.monotonic()
    assert wait.start(Layer("wait", "web")) == 10
    assert 1.2 < time.monotonic() - began < 5  # nobody looked between 0 and 0.5


def test_wait_leaves_what_it_knows_to_the_follow_service(drbd: Box) -> None:
    alone(drbd, "newest", peer_timeout=90, boot_timeout=0.4)
    records.write("web", "attach", RESOURCE="r0", PEER="server2", PEER_ADDRESS="10.0.0.2:7789", ADDRESS="127.0.0.1")
    records.write("web", "alone", WHY="of the last time")
    follow = wake.listen(wake.FOLLOW)
    began = time.monotonic()
    assert refusal(wait).status == 75
    record = records.read("web", "waiting")
    assert record is not None
    assert abs(float(record.pop("BEGAN")) - began) < 0.5
    assert record == {
        "RESOURCE": "r0", "DEVICE": "/dev/drbd0", "WHEN_ALONE": "newest", "PEER_TIMEOUT": "90000000", "STATE": "late",
        "KIND": "waiting", "REASON": "waiting for server2 at 10.0.0.2:7789 (Connecting)", "PID": str(os.getpid()),
    }  # fmt: skip
    assert records.read("web", "alone") is None
    assert woken(follow)


def refuse_late_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """/run is full when the layer has failed."""
    write = records.write

    def full(instance: str, kind: str, **values: str) -> None:
        if values.get("STATE") == "late":
            raise OSError(28, "No space left on device", f"/run/drbdocfs/{instance}.{kind}")
        write(instance, kind, **values)

    monkeypatch.setattr(records, "write", full)


def test_wait_says_why_it_fails_also_where_nothing_can_be_recorded(
    drbd: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drbd.set(BOOT_TIMEOUT="400000")
    drbd.write("/state", ALONE.format(role="Secondary"))
    refuse_late_records(monkeypatch)
    failure = refusal(wait)
    assert (failure.status, failure.message[:16]) == (75, "r0 was not ready")
    assert "why it is late cannot be recorded: [Errno 28]" in capsys.readouterr().out
    # With the record of its beginning the follow service goes on all the same, once the process has ended.
    assert "background" in failure.advice
    record = records.read("web", "waiting") or {}
    assert (record["STATE"], record["RESOURCE"], record["PID"]) == ("boot", "r0", str(os.getpid()))
    drbd.write("/run/drbdocfs/web.waiting", "".join(f"{k}={v}\n" for k, v in {**record, "PID": "0"}.items()))
    assert (records.waiting("web") or {})["STATE"] == "late"


def test_a_split_brain_is_said_also_where_it_cannot_be_marked(
    drbd: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: str) -> None:
        raise OSError(28, "No space left on device", "/var/lib/drbdocfs/web.split-brain")

    monkeypatch.setattr(wait, "SETTLE", 0.2)
    monkeypatch.setattr(records, "mark_split_brain", full)
    drbd.write("/state", STAND_ALONE.format(role="Secondary"))
    drbd.write("/dev/kmsg", "3,1,2,-;block drbd0: Split-Brain detected but unresolved, dropping connection!\n")
    assert refusal(wait).status == 65
    assert "the split brain cannot be remembered over a reboot: [Errno 28]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("state", "kernel", "kind", "status"),
    [
        (STAND_ALONE, "Split-Brain detected but unresolved, dropping connection!", "split-brain", 65),
        (STAND_ALONE, "Unrelated data, aborting!", "standalone", 76),
        (ALONE.replace("disk:UpToDate", "disk:Failed"), "", "disk-gone", 74),
        ("exists -\n", "", "not-configured", 78),
    ],
)
def test_wait_leaves_a_final_verdict_to_the_follow_service_too(
    drbd: Box, state: str, kernel: str, kind: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "SETTLE", 0.2)
    drbd.write("/state", state.replace("{role}", "Secondary"))
    drbd.write("/dev/kmsg", f"3,1,2,-;block drbd0: {kernel}\n")
    failure = refusal(wait)
    assert failure.status == status
    assert "STACK" not in failure.advice
    record = records.read("web", "waiting")
    assert record is not None
    assert (record["STATE"], record["KIND"], record["REASON"]) == ("late", kind, failure.message)
    assert bool(records.split_brain("web")) is (kind == "split-brain")
    assert not [call for call in drbd.calls if "adjust" in call]


def test_an_order_to_go_alone_does_not_outlive_a_split_brain(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "SETTLE", 0.2)
    records.write("web", "proceed", TIME="1", WHO="root")
    drbd.write("/state", STAND_ALONE.format(role="Secondary"))
    drbd.write("/dev/kmsg", "3,1,2,-;block drbd0: Split-Brain detected but unresolved, dropping connection!\n")
    assert refusal(wait).status == 65
    assert records.read("web", "proceed") is None


def test_an_order_to_go_alone_does_not_outlive_the_peers_coming(drbd: Box) -> None:
    """It was to go on without a peer that was not there; one that comes with newer data and goes is another matter."""
    drbd.set(BOOT_TIMEOUT="500000")
    records.write("web", "proceed", TIME="1", WHO="root")
    syncing = READY.replace(":Established", ":SyncTarget").replace(" disk:UpToDate", " disk:Inconsistent")
    drbd.write("/state", syncing.format(role="Secondary"))
    assert refusal(wait).status == 80
    assert records.read("web", "proceed") is None


def test_wait_that_cannot_ask_drbd_leaves_its_record_too(drbd: Box) -> None:
    drbd.tool("drbdsetup", "echo 'Could not connect' >&2; exit 20")
    assert refusal(wait).status == 69
    record = records.read("web", "waiting")
    assert record is not None
    assert (record["STATE"], record["KIND"]) == ("late", "starting")
    assert "Could not connect" in record["REASON"]


def test_a_wait_that_is_started_again_goes_on_counting(drbd: Box) -> None:
    alone(drbd, "always", peer_timeout=90)
    began = time.monotonic() - 100
    records.write("web", "waiting", RESOURCE="r0", BEGAN=f"{began:.3f}", STATE="late")
    now = time.monotonic()
    assert wait.start(Layer("wait", "web")) == 10
    assert time.monotonic() - now < 5
    # And what it leaves keeps the beginning.
    alone(drbd, "wait", peer_timeout=200, boot_timeout=0.4)
    records.write("web", "waiting", RESOURCE="r0", BEGAN=f"{began:.3f}", STATE="late")
    assert refusal(wait).status == 75
    record = records.read("web", "waiting")
    assert record is not None
    assert record["BEGAN"] == f"{began:.3f}"


@pytest.mark.parametrize("junk", ["", "soon", "1e999"])
def test_a_record_that_makes_no_sense_begins_anew(drbd: Box, junk: str) -> None:
    alone(drbd, "always", peer_timeout=90, boot_timeout=0.4)
    records.write("web", "waiting", BEGAN=junk, STATE="late")
    assert refusal(wait).status == 75


@pytest.mark.parametrize(("waited", "limit"), [("28.5", 1.5), ("40", 1.0)])
@pytest.mark.slow
def test_what_the_attach_waited_for_counts(drbd: Box, waited: str, limit: float) -> None:
    alone(drbd, "wait", peer_timeout=90)
    records.write("web", "attach", RESOURCE="r0", WAITED=waited)
    began = time.monotonic()
    assert refusal(wait).status == 75
    assert limit - 0.1 < time.monotonic() - began < limit + 0.6


@pytest.mark.slow
def test_what_the_attach_waited_for_counts_once(drbd: Box) -> None:
    # Started again by hand or by the follow service, it holds no boot back.
    alone(drbd, "wait", peer_timeout=90, boot_timeout=2)
    records.write("web", "attach", RESOURCE="r0", WAITED="30")
    records.write("web", "waiting", RESOURCE="r0", BEGAN="1.0", STATE="late")
    began = time.monotonic()
    refusal(wait)
    assert 1.9 < time.monotonic() - began < 4


WAIT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
    "from drbdocfs_boot.helpers import base, wait\n"
    "sys.exit(base.main(wait, 'wait'))"
)


def eventually(what: str, test: object, limit: float = 20.0) -> None:
    deadline = time.monotonic() + limit
    while not test():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_proceed_is_noticed_at_once(drbd: Box) -> None:
    alone(drbd, "wait", peer_timeout=90)
    took = []
    for _ in range(3):  # the best of three: the machine may be busy
        drbd.log.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WAIT, str(Path(wait.__file__).parents[2]), "start", "web"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        # It says what it waits for once it has the state; from then on only a wake-up can end it so soon.
        assert process.stdout.readline() == "web: waiting for the peer (Connecting)\n"
        record = records.read("web", "waiting")
        assert record is not None
        assert (record["STATE"], record["PID"]) == ("boot", str(process.pid))
        time.sleep(0.3)
        assert process.poll() is None
        records.write("web", "proceed", TIME="1", WHO="root")
        began = time.monotonic()
        assert wake.send(wake.of_wait("web"))
        said = process.stdout.readline()
        took.append(time.monotonic() - began)
        assert process.wait(10) == 10
        assert said == "web: r0: goes on alone: told so by 'drbdocfs proceed'\n"
        assert records.instances("proceed") == records.instances("waiting") == []
        assert records.read("web", "alone") == {
            "WHY": "goes on alone: told so by 'drbdocfs proceed'", "TIME": records.read("web", "alone")["TIME"]  # type: ignore[index]
        }  # fmt: skip
    assert min(took) < 0.3, took


def test_an_order_given_before_the_wait_began_counts(drbd: Box) -> None:
    alone(drbd, "wait", peer_timeout=90)
    records.write("web", "proceed", TIME="1", WHO="root")
    assert wait.start(Layer("wait", "web")) == 10


def test_a_wake_up_without_an_order_changes_nothing(drbd: Box) -> None:
    alone(drbd, "wait", peer_timeout=90, boot_timeout=1)
    threading.Timer(0.4, wake.send, (wake.of_wait("web"),)).start()
    began = time.monotonic()
    assert refusal(wait).status == 75
    assert time.monotonic() - began > 0.9  # not at the wake-up


# --- the wait: an address that went ---------------------------------------------------------------------------

NO_ADDRESS = "3,1,2,-;drbd r0: bind before listen failed, err = -99\n"


class News:
    """In place of netlink.Addresses: the test says when there is news."""

    made: ClassVar[list[News]] = []

    def __init__(self) -> None:
        self.ends = os.pipe()
        self.drained = 0
        News.made.append(self)

    def fileno(self) -> int:
        return self.ends[0]

    def drain(self) -> None:
        self.drained += 1
        os.read(self.ends[0], 100)

    def close(self) -> None:
        for end in self.ends:
            os.close(end)
        self.ends = (-1, -1)


@pytest.fixture
def lost(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    """StandAlone for want of the address 192.0.2.1."""
    monkeypatch.setattr(wait, "SETTLE", 0.2)
    monkeypatch.setattr(netlink, "Addresses", News)
    monkeypatch.setattr(News, "made", [])
    drbd.set(PEER_TIMEOUT="0", WHEN_ALONE="always")
    drbd.write("/state", STAND_ALONE.format(role="Secondary"))
    drbd.write("/dev/kmsg", NO_ADDRESS)
    drbd.write("/adjusted", READY.format(role="Secondary"))
    records.write("web", "attach", RESOURCE="r0", ADDRESS="192.0.2.1", PEER="server2", PEER_ADDRESS="10.0.0.2:7789")
    return drbd


def test_an_address_that_comes_back_connects_again(lost: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    there = threading.Event()
    monkeypatch.setattr(address, "present", lambda which: which != "192.0.2.1" or there.is_set())

    def come() -> None:
        eventually("no listener", lambda: News.made)
        os.write(News.made[0].ends[1], b"!")  # news of another address
        time.sleep(0.5)
        assert not [call for call in lost.calls if "adjust" in call]
        there.set()
        os.write(News.made[0].ends[1], b"!")

    thread = threading.Thread(target=come)
    thread.start()
    began = time.monotonic()
    assert wait.start(Layer("wait", "web")) == 0
    thread.join()
    assert time.monotonic() - began < 10
    assert [call for call in lost.calls if "adjust" in call] == ["drbdadm adjust r0"]
    assert len(News.made) == 1
    assert News.made[0].drained == 2
    assert News.made[0].ends == (-1, -1)


def test_an_address_that_stays_away_is_no_reason_to_go_alone(lost: Box) -> None:
    lost.set(BOOT_TIMEOUT="1000000")
    failure = refusal(wait)
    assert failure.status == 79
    assert "its own address was not on this host" in failure.message
    assert not [call for call in lost.calls if "adjust" in call]
    record = records.read("web", "waiting")
    assert record is not None
    assert (record["STATE"], record["KIND"]) == ("late", "no-address")


def test_a_limit_shorter_than_the_settling_knows_the_reason_too(lost: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "SETTLE", 5.0)
    lost.set(BOOT_TIMEOUT="1000000")
    assert refusal(wait).status == 79


def test_but_the_administrator_may_say_so(lost: Box) -> None:
    records.write("web", "proceed", TIME="1", WHO="root")
    assert wait.start(Layer("wait", "web")) == 10


def test_an_attach_without_its_address_is_waited_for_although_the_log_says_nothing(
    lost: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost.write("/dev/kmsg", "")
    lost.set(BOOT_TIMEOUT="1000000")
    assert refusal(wait).status == 79
    monkeypatch.setattr(address, "present", lambda which: True)
    records.remove("web", "waiting")
    lost.set(BOOT_TIMEOUT="30000000")
    assert refusal(wait).status == 76  # the address is there, so it is not that


def test_an_address_that_came_between_attach_and_wait_connects(lost: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came later than the attach waits for it, and before network-online.target: nobody has heard of it."""
    lost.write("/dev/kmsg", "6,1,2,-;drbd r0: Starting worker thread (from drbdsetup-84 [511])\n")
    records.write("web", "unconnected", ADDRESS="192.0.2.1")
    monkeypatch.setattr(address, "present", lambda which: True)
    assert wait.start(Layer("wait", "web")) == 0
    assert [call for call in lost.calls if "adjust" in call] == ["drbdadm adjust r0"]
    assert records.read("web", "unconnected") is None


@pytest.mark.slow
def test_an_address_that_is_there_and_a_connection_that_is_refused_is_no_matter_of_waiting(
    lost: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost.write("/dev/kmsg", "6,1,2,-;drbd r0: Starting worker thread (from drbdsetup-84 [511])\n")
    records.write("web", "unconnected", ADDRESS="192.0.2.1")
    lost.tool("drbdadm", DRBDADM.replace("adjust|attach) ", "adjust) echo 'unknown digest' >&2; exit 10 ;;\nattach) "))
    monkeypatch.setattr(address, "present", lambda which: True)
    assert refusal(wait).status == 76
    assert [call for call in lost.calls if "adjust" in call] == ["drbdadm adjust r0"]


@pytest.mark.parametrize(
    "message",
    [
        "block drbd0: Split-Brain detected but unresolved, dropping connection!",
        "drbd r0: Authentication of peer failed",
        "drbd r0: incompatible after-sb-2pri settings",
        "drbd r0: conn( Connected -> Disconnecting ) ",
    ],
)
def test_nothing_else_is_connected_again(lost: Box, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lost.write("/dev/kmsg", f"3,1,2,-;{message}\n")
    monkeypatch.setattr(address, "present", lambda which: True)
    assert refusal(wait).status in (65, 76)
    assert not [call for call in lost.calls if "adjust" in call]


# --- promote --------------------------------------------------------------------------------------------------


def test_promote_and_demote(drbd: Box) -> None:
    drbd.write("/state", READY.format(role="Secondary"))
    promote.start(Layer("promote", "web"))
    promote.start(Layer("promote", "web"))
    assert [c for c in drbd.calls if "primary" in c] == ["drbdadm primary r0"]
    promote.stop(Layer("promote", "web"))
    promote.stop(Layer("promote", "web"))
    assert [c for c in drbd.calls if "secondary" in c] == ["drbdsetup secondary 0"]


def test_drbd_84_demotes_each_volume(drbd: Box) -> None:
    """Each has a role of its own there."""
    second = "exists device name:r0 volume:1 minor:1 disk:UpToDate\nexists -\n"
    drbd.write("/state", READY.format(role="Primary").replace("exists -\n", second))
    drbd.tool("drbdsetup", DRBDSETUP.replace('"$2" = "$(cat $ROOT/expected)"', '"$2" = 0 ] || [ "$2" = 1'))
    promote.stop(Layer("promote", "web"))
    assert [c for c in drbd.calls if "secondary" in c] == ["drbdsetup secondary 0", "drbdsetup secondary 1"]


def test_drbd_9_demotes_by_name(drbd: Box) -> None:
    drbd.write("/sys/module/drbd/version", "9.3.3\n")
    drbd.write("/expected", "r0")
    drbd.write("/state", READY.format(role="Primary"))
    promote.stop(Layer("promote", "web"))
    assert [c for c in drbd.calls if "secondary" in c] == ["drbdsetup secondary r0"]


def test_no_promotion_when_the_peer_has_gone_since_the_wait(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "PROMOTE_LIMIT", 0.5)
    drbd.write("/state", ALONE.format(role="Secondary"))
    failure = refusal(promote)
    assert failure.status == 75
    assert failure.message == "r0 could not be promoted in 0 s: waiting for the peer (Connecting)"
    assert not [c for c in drbd.calls if "primary" in c]


def test_the_follow_service_waits_on_when_the_peer_has_gone(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "PROMOTE_LIMIT", 0.5)
    drbd.write("/state", ALONE.format(role="Secondary"))
    follow = wake.listen(wake.FOLLOW)
    began = time.monotonic()
    refusal(promote)
    record = records.read("web", "waiting")
    assert record is not None
    assert -0.001 <= float(record.pop("BEGAN")) - began < 5
    assert record == {
        "RESOURCE": "r0", "DEVICE": "/dev/drbd0", "WHEN_ALONE": "newest", "PEER_TIMEOUT": "90000000", "STATE": "late",
        "KIND": "waiting", "REASON": "waiting for the peer (Connecting)", "PID": "0",
    }  # fmt: skip
    assert woken(follow)


TRANSIENT = "'drbdadm primary r0' failed (exit 11): 0: State change failed: (-18) In transient state"


@pytest.mark.slow
def test_what_drbd_refuses_with_the_peer_there_is_tried_again_later(
    drbd: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promote, "PROMOTE_LIMIT", 0.5)
    drbd.write("/state", READY.format(role="Secondary"))
    drbd.tool("drbdadm", "echo '0: State change failed: (-18) In transient state' >&2; exit 11")
    follow = wake.listen(wake.FOLLOW)
    began = time.monotonic()
    failure = refusal(promote)
    assert (failure.status, failure.message) == (75, f"r0 could not be promoted in 0 s: {TRANSIENT}")
    assert failure.advice.endswith("tries again; drbdocfs-follow.service does so by itself")
    record = records.read("web", "waiting")
    assert record is not None
    assert (record["STATE"], record["KIND"], record["REASON"]) == ("late", "refused", TRANSIENT)
    assert 59 < float(record["NOT_BEFORE"]) - began < 65
    assert woken(follow)
    # A tool that hangs in the kernel stays: each pause is twice as long as the one before.
    pauses = []
    for _ in range(7):
        refusal(promote)
        pauses.append((records.read("web", "waiting") or {})["PAUSE"])
    assert pauses == ["120", "240", "480", "960", "1920", "3600", "3600"]


def test_what_is_refused_to_a_node_alone_waits_for_the_policy_again(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "PROMOTE_LIMIT", 0.5)
    records.write("web", "alone", WHY="when_alone = always", TIME="1")
    drbd.write("/state", ALONE.format(role="Secondary"))
    drbd.tool("drbdadm", "echo '0: State change failed: (-7) Refusing to be Primary' >&2; exit 11")
    assert refusal(promote).status == 75
    record = records.read("web", "waiting")
    assert record is not None
    assert (record["STATE"], record["KIND"], "NOT_BEFORE" in record) == ("late", "waiting", False)


def test_nobody_waits_any_more_after_the_promotion(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait runs again where only the promotion had failed."""
    monkeypatch.setattr(promote, "PROMOTE_LIMIT", 0.5)
    drbd.write("/state", ALONE.format(role="Secondary"))
    refusal(promote)
    follow = wake.listen(wake.FOLLOW)
    drbd.write("/state", READY.format(role="Secondary"))
    promote.start(Layer("promote", "web"))
    assert records.read("web", "waiting") is None
    assert woken(follow)


def test_promotion_alone_needs_the_word_of_the_wait(drbd: Box) -> None:
    drbd.write("/state", ALONE.format(role="Secondary"))
    records.write("web", "alone", WHY="when_alone = always", TIME="1")
    promote.start(Layer("promote", "web"))
    assert [c for c in drbd.calls if "primary" in c] == ["drbdadm primary r0"]
    assert records.read("web", "waiting") is None


def test_alone_is_over_once_the_peer_has_come(drbd: Box) -> None:
    drbd.write("/state", READY.format(role="Secondary"))
    records.write("web", "alone", WHY="when_alone = always", TIME="1")
    promote.start(Layer("promote", "web"))
    assert records.read("web", "alone") is None


def test_no_promotion_alone_after_a_peer_that_has_come_and_gone_again(
    drbd: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been promoted before us, and have written since: the word of the wait is of a time before it."""
    monkeypatch.setattr(promote, "PROMOTE_LIMIT", 1.0)
    records.write("web", "alone", WHY="when_alone = always", TIME="1")
    drbd.write("/state", READY.format(role="Secondary"))
    drbd.write("/gone", ALONE.format(role="Secondary"))
    drbd.tool(
        "drbdadm",
        "[ -e $ROOT/gone ] || exit 0\nmv $ROOT/gone $ROOT/state\necho '(-18) In transient state' >&2; exit 11",
    )
    assert refusal(promote).status == 75
    assert [c for c in drbd.calls if "primary" in c] == ["drbdadm primary r0"]
    assert records.read("web", "alone") is None
    assert (records.read("web", "waiting") or {})["KIND"] == "waiting"


def test_no_promotion_alone_with_a_disk_that_is_not_good_any_more(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "PROMOTE_LIMIT", 0.5)
    records.write("web", "alone", WHY="when_alone = always", TIME="1")
    # The peer came after the wait, and has newer data.
    syncing = READY.replace(":Established", ":SyncTarget").replace(" disk:UpToDate", " disk:Inconsistent")
    drbd.write("/state", syncing.format(role="Secondary"))
    assert refusal(promote).status == 75
    assert not [c for c in drbd.calls if "primary" in c]
    record = records.read("web", "waiting")
    assert record is not None
    assert (record["STATE"], record["KIND"]) == ("late", "resyncing")


def test_a_split_brain_between_wait_and_promotion(drbd: Box) -> None:
    records.write("web", "alone", WHY="when_alone = always", TIME="1")
    drbd.write("/state", STAND_ALONE.format(role="Secondary"))
    drbd.write("/dev/kmsg", "3,1,2,-;block drbd0: Split-Brain detected but unresolved, dropping connection!\n")
    failure = refusal(promote)
    assert failure.status == 65
    assert failure.message.startswith("not promoted: split brain: both nodes changed r0")
    assert not [c for c in drbd.calls if "primary" in c]
    assert records.split_brain("web")
    record = records.read("web", "waiting")
    assert record is not None
    assert (record["STATE"], record["KIND"]) == ("late", "split-brain")


def test_promotion_by_order_without_the_address(drbd: Box) -> None:
    # Attached without connecting, so the kernel log does not say why there is no connection.
    records.write("web", "attach", RESOURCE="r0", ADDRESS="192.0.2.1")
    records.write("web", "alone", WHY="told so by 'drbdocfs proceed'", TIME="1")
    drbd.write("/state", STAND_ALONE.format(role="Secondary"))
    promote.start(Layer("promote", "web"))
    assert [c for c in drbd.calls if "primary" in c] == ["drbdadm primary r0"]


def test_what_drbd_itself_refuses_is_no_matter_of_waiting(drbd: Box) -> None:
    drbd.write("/state", READY.format(role="Secondary"))
    drbd.tool("drbdadm", "echo '0: State change failed: (-1) Multiple primaries not allowed by config' >&2; exit 11")
    assert refusal(promote).status == 78
    assert records.read("web", "waiting") is None


@pytest.mark.parametrize("alone", [True, False])
def test_exit_17_is_not_tried_again_but_followed(drbd: Box, alone: bool) -> None:
    """Of a node alone it is the fence-peer handler that says no; the peer's coming mends it, or another order."""
    if alone:
        records.write("web", "alone", WHY="told so by 'drbdocfs proceed'", TIME="1")
        records.write("web", "proceed", WHO="root", TIME="1")
    drbd.write("/state", READY.format(role="Secondary"))
    drbd.tool("drbdadm", "echo '0: State change failed: (-2) Need access to UpToDate data' >&2; exit 17")
    failure = refusal(promote)
    assert failure.status == 69
    assert "exit 17" in failure.message
    assert [c for c in drbd.calls if "primary" in c] == ["drbdadm primary r0"]
    record = records.read("web", "waiting")
    assert record is not None
    assert (record["STATE"], record["KIND"]) == ("late", "refused")
    assert records.read("web", "proceed") is None  # this was what it ordered


def test_a_promotion_that_the_fence_peer_handler_refuses_says_why(drbd: Box) -> None:
    """DRBD says only that it has no good data."""
    records.write("web", "alone", WHY="told so by 'drbdocfs proceed'", TIME="1")
    drbd.write("/state", ALONE.format(role="Secondary"))
    no = "echo '0: State change failed: (-2) Need access to UpToDate data' >&2; exit 17"
    drbd.tool("drbdadm", no)
    records.write("web", "fencing", PHASE="refused", BEGAN="1.0", REASON="of another promotion")
    assert refusal(promote).message.startswith("'drbdadm primary r0' failed (exit 17)")
    assert records.read("web", "alone") is None, "it has not gone on"
    records.write("web", "alone", WHY="told so by 'drbdocfs proceed'", TIME="1")
    says = r"printf 'PHASE=refused\nBEGAN=1e9\nREASON=x has the lock\n' > $ROOT/run/drbdocfs/web.fencing"
    drbd.tool("drbdadm", f"{says}; {no}")
    assert refusal(promote).message == "not promoted, the fence-peer handler has refused it: x has the lock"
    assert (records.read("web", "waiting") or {})["REASON"].endswith("x has the lock")


def test_a_state_that_is_changing_is_tried_again(drbd: Box) -> None:
    drbd.write("/state", READY.format(role="Secondary"))
    drbd.tool(
        "drbdadm",
        "[ -e $ROOT/once ] || { touch $ROOT/once; echo '(-18) In transient state' >&2; exit 11; }\n" + DRBDADM,
    )
    promote.start(Layer("promote", "web"))
    assert [c for c in drbd.calls if "primary" in c] == ["drbdadm primary r0"] * 2


@pytest.mark.parametrize("hangs", ["state", "primary"])
def test_a_tool_that_hangs_once_does_not_fail_the_promotion(
    drbd: Box, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    drbd.write("/state", READY.format(role="Secondary"))
    real = getattr(tools_drbd, hangs)
    calls: list[str] = []

    def once(resource: str) -> object:
        calls.append(resource)
        if len(calls) == 1:
            raise Failure(75, f"'drbdsetup {hangs}' was not done after 20 s")
        return real(resource)

    monkeypatch.setattr(tools_drbd, hangs, once)
    promote.start(Layer("promote", "web"))
    assert calls == ["r0", "r0"]


def test_a_tool_that_goes_on_hanging_fails_the_promotion_in_its_words(
    drbd: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hung(resource: str) -> object:
        raise Failure(75, "'drbdsetup events2' was not done after 20 s")

    monkeypatch.setattr(tools_drbd, "state", hung)
    monkeypatch.setattr(promote, "PROMOTE_LIMIT", 0.2)
    failure = refusal(promote)
    assert (failure.status, failure.message) == (75, "'drbdsetup events2' was not done after 20 s")
    record = records.read("web", "waiting")
    assert record is not None
    assert (record["STATE"], record["KIND"], record["REASON"]) == ("late", "refused", failure.message)
    records.remove("web", "waiting")
    # Of a node alone it may be the fence-peer handler, which only an order asks again: REFUSED says that.
    records.write("web", "alone", WHY="when_alone = always", TIME="1")
    assert refusal(promote).status == 75
    assert (records.read("web", "waiting") or {})["KIND"] == "refused"


def test_never_forced() -> None:
    package = Path(promote.__file__).parent.parent
    forced = re.compile(r'"primary", "--force"|overwrite-data')
    found = [str(f.relative_to(package)) for f in package.rglob("*.py") if forced.search(f.read_text())]
    # Once in a stack's life, on a disk that create itself has just made.
    assert found == ["creating.py"]
    boot_path = [*(package / "helpers").glob("*.py"), package / "tools/drbd.py", package / "tools/run.py"]
    assert not [f for f in boot_path if "--force" in f.read_text()]
    assert not [f for f in boot_path if re.search(r"import.*\b(creating|day_one)\b", f.read_text())]


def test_device_mounted_elsewhere(drbd: Box) -> None:
    drbd.write("/state", READY.format(role="Secondary"))
    mounted(drbd, "/mnt/other\\040place")
    failure = refusal(promote)
    assert failure.message == "/dev/drbd0 is mounted on /mnt/other place already, not on /mnt/storage"
    assert drbd.calls == []


def test_something_else_on_the_mount_point(drbd: Box) -> None:
    mounted(drbd, "/mnt/storage", source="tmpfs", kind="tmpfs")
    assert refusal(promote).message == "tmpfs (tmpfs) is mounted on /mnt/storage, where /dev/drbd0 belongs"


def test_mounted_by_hand_and_bound_elsewhere_is_fine(drbd: Box) -> None:
    drbd.write("/state", READY.format(role="Primary"))
    mounted(drbd, "/mnt/storage", "/srv/www")
    promote.start(Layer("promote", "web"))


def test_an_automount_point_waits_for_us(drbd: Box) -> None:
    drbd.write("/state", READY.format(role="Secondary"))
    mounted(drbd, "/mnt/storage", source="systemd-1", kind="autofs")
    promote.start(Layer("promote", "web"))


@pytest.mark.slow
def test_demotion_tries_again_while_udev_holds_the_device(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    drbd.write("/state", READY.format(role="Primary"))
    held = drbd.write("/held", "")
    threading.Timer(0.7, held.unlink).start()
    promote.stop(Layer("promote", "web"))
    assert len([c for c in drbd.calls if "secondary" in c]) >= 2
    drbd.write("/state", READY.format(role="Primary"))
    drbd.write("/held", "")
    monkeypatch.setattr(promote, "DEMOTE_LIMIT", 0.5)
    assert refusal(promote, "stop").message == (
        "r0 could not be demoted in 0 s (exit 11): 0: State change failed: (-12) Device is held open by someone"
    )


def test_a_mount_that_lost_its_order_is_unmounted_first(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "UNMOUNT_GRACE", 0.2)
    drbd.write("/state", READY.format(role="Primary"))
    drbd.tool("umount", ": > $ROOT/proc/self/mountinfo")
    mounted(drbd, "/mnt/storage")
    promote.stop(Layer("promote", "web"))
    assert [c for c in drbd.calls if not c.startswith("drbdsetup events2")] == [
        "umount /mnt/storage",
        "drbdsetup secondary 0",
    ]


def test_no_demotion_below_a_mount(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "UNMOUNT_LIMIT", 0.5)
    monkeypatch.setattr(promote, "UNMOUNT_GRACE", 0.1)
    drbd.tool("umount", "echo 'umount: /mnt/storage: target is busy.' >&2; exit 32")
    drbd.write("/state", READY.format(role="Primary"))
    mounted(drbd, "/mnt/storage", "/srv/www")
    failure = refusal(promote, "stop")
    assert failure.message == "/dev/drbd0 is still mounted on /mnt/storage, /srv/www, so r0 stays Primary"
    assert not [c for c in drbd.calls if "secondary" in c]
