"""The layers attach, wait and promote: what they accept, what they refuse, and how long they try."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from drbdocfs_boot.helpers import address, attach, promote, wait
from drbdocfs_boot.helpers.base import Layer
from drbdocfs_boot.tools.failure import Failure

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
# $ROOT/state is what events2 prints; down empties it, primary and secondary change the role.
DRBDSETUP = r"""
case "$1" in
events2) cat $ROOT/state; case "$*" in *--now*) ;; *) [ -e $ROOT/more ] && . $ROOT/more; exec sleep 30 ;; esac ;;
secondary) [ "$2" = "$(cat $ROOT/expected)" ] || { echo "Cannot determine minor device number" >&2; exit 20; }
  [ -e $ROOT/held ] && { echo '0: State change failed: (-12) Device is held open by someone' >&2; exit 11; }
  sed -i 's/role:Primary suspended/role:Secondary suspended/' $ROOT/state ;;
down) [ -e $ROOT/held ] && { echo held >&2; exit 11; }; echo 'exists -' > $ROOT/state ;;
esac
"""
DRBDADM = r"""
case "$1" in
sh-dev) echo /dev/drbd0 ;;
sh-ll-dev) echo /dev/loop7 ;;
sh-ip) cat $ROOT/address ;;
adjust) [ -e $ROOT/adjusted ] && cp $ROOT/adjusted $ROOT/state; true ;;
primary) sed -i 's/role:Secondary suspended/role:Primary suspended/' $ROOT/state ;;
esac
"""


@pytest.fixture
def drbd(box: Box) -> Box:
    box.tool("drbdsetup", DRBDSETUP)
    box.tool("drbdadm", DRBDADM)
    box.write("/sys/module/drbd/version", "8.4.11\n")
    box.write("/expected", "0")
    box.write("/address", "127.0.0.1\n")
    box.write("/dev/loop7", "")
    box.write("/state", "exists -\n")
    box.write("/adjusted", ALONE.format(role="Secondary"))
    box.set(
        RESOURCE="r0",
        DEVICE="/dev/drbd0",
        LOOP_DEVICE="/dev/loop7",
        MOUNTPOINT="/mnt/storage",
        BOOT_TIMEOUT="30000000",
    )
    return box


def mounted(box: Box, *targets: str, source: str = "/dev/drbd0", kind: str = "ocfs2") -> None:
    lines = [f"30 1 147:0 / {target} rw,relatime shared:1 - {kind} {source} rw\n" for target in targets]
    box.write("/proc/self/mountinfo", "".join(lines))


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
    attach.stop(Layer("attach", "web"))
    assert [c for c in drbd.calls if "down" in c] == ["drbdsetup down r0"]


@pytest.mark.parametrize(
    ("tool", "status", "message"),
    [
        ("case $1 in sh-dev) echo 'r0 not defined in your config (for this host)' >&2; exit 10;; esac", 78,
         "DRBD resource r0 is not configured for this host: r0 not defined in your config (for this host)"),
        ("case $1 in sh-dev) echo /dev/drbd5;; esac", 78,
         "DRBD resource r0 has the device /dev/drbd5, but the stack has device = /dev/drbd0"),
        ("case $1 in sh-dev) echo /dev/drbd0;; sh-ll-dev) echo /dev/sdb;; esac", 78,
         "DRBD resource r0 lies on /dev/sdb, but the stack has loop_device = /dev/loop7"),
        (DRBDADM.replace("adjust) ", "adjust) echo 'No valid meta data found' >&2; exit 1;"), 69,
         ("DRBD resource r0 is not configured in the kernel after 'drbdadm adjust r0' (exit 1):"
          " No valid meta data found")),
    ],
)  # fmt: skip
def test_attach_refuses(drbd: Box, tool: str, status: int, message: str) -> None:
    drbd.tool("drbdadm", tool)
    failure = refusal(attach)
    assert (failure.status, failure.message) == (status, message)


def test_attach_with_a_disk_that_did_not_attach(drbd: Box) -> None:
    drbd.write("/adjusted", ALONE.format(role="Secondary").replace("disk:UpToDate", "disk:Diskless"))
    assert refusal(attach).message.startswith("local disk of r0 is Diskless after 'drbdadm adjust r0'")


def test_attach_waits_for_a_late_disk_and_then_says_so(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (drbd.root / "dev/loop7").unlink()
    monkeypatch.setattr(attach, "DISK_LIMIT", 0.5)
    assert refusal(attach).message == "the disk /dev/loop7 has not appeared in 0 s: No such file or directory"
    monkeypatch.setattr(attach, "DISK_LIMIT", 10)
    threading.Timer(0.5, drbd.write, ("/dev/loop7", "")).start()
    attach.start(Layer("attach", "web"))


def test_attach_waits_for_a_late_address_before_it_connects(drbd: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.monotonic()
    monkeypatch.setattr(address, "present", lambda which: time.monotonic() - begun > 0.7)
    attach.start(Layer("attach", "web"))
    assert time.monotonic() - begun > 0.7
    assert drbd.calls[-2] == "drbdadm adjust r0"


@pytest.mark.parametrize(("said", "there"), [("192.0.2.1", False), ("2001:db8::1", False), ("127.0.0.1", True)])
def test_address_of_this_host(drbd: Box, said: str, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert address.present(said) is there
    drbd.write("/address", said)
    monkeypatch.setattr(attach, "ADDRESS_LIMIT", 0.3)
    attach.start(Layer("attach", "web"))  # with or without it: the disk is to be attached
    assert "drbdadm adjust r0" in drbd.calls


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
        ("drbd-8.4/13-address-lost.server1", 69, "r0 is StandAlone"),
        ("drbd-8.4/12-detach.server2", 69, "local disk of r0 is Diskless"),
        ("drbd-8.4/00-not-configured", 78, "DRBD resource r0 is not configured in the kernel"),
        ("drbd-9.3/00-not-configured", 78, "DRBD resource r0 is not configured in the kernel"),
    ],
)
def test_wait_ends_at_once_where_waiting_helps_nobody(drbd: Box, transcript: str, status: int, beginning: str) -> None:
    lines = (TRANSCRIPTS / f"{transcript}.events2").read_text().splitlines(keepends=True)
    # Both were ready in the dump of these runs: begin with what came after.
    text = "".join(line.replace("replication:Established", "replication:Off") for line in lines)
    drbd.write("/state", text)
    failure = refusal(wait)
    assert failure.status == status
    assert failure.message.startswith(beginning)


def test_wait_names_a_split_brain_that_was_found_before_it_began(drbd: Box) -> None:
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
    monkeypatch.setattr(wait, "LOOK_EVERY", 0.5)
    monkeypatch.setattr(wait, "SHOW_EVERY", 0.2)
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


def test_wait_shows_what_it_waits_for(drbd: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        drbd.set(BOOT_TIMEOUT="3000000")
        syncing = ALONE.format(role="Secondary").replace("replication:Off", "replication:SyncTarget")
        drbd.write("/state", syncing)
        drbd.write(
            "/proc/drbd",
            " 0: cs:SyncTarget ro:Secondary/Secondary ds:Inconsistent/UpToDate C r-----\n"
            "\t[===>................] sync'ed: 37.8% (813660/1023932)K\n\tfinish: 0:01:30 speed: 8,976 (6,368) K/sec\n",
        )
        refusal(wait)
        sock.setblocking(False)
        said = []
        try:
            while True:
                said.append(sock.recv(4096).decode())
        except BlockingIOError:
            pass
    assert "STATUS=resync from the peer 38 %, 0:01:30 left, 0:00 of 0:03" in said
    assert said[-1] == "STATUS=resync from the peer 38 %, 0:01:30 left, 0:02 of 0:03"


def test_the_wait_leaves_no_process_behind(drbd: Box) -> None:
    drbd.tool("drbdsetup", f"echo $$ > $ROOT/pid\n{DRBDSETUP}")
    drbd.write("/state", READY.format(role="Secondary"))
    wait.start(Layer("wait", "web"))
    with pytest.raises(ProcessLookupError):
        os.kill(int((drbd.root / "pid").read_text()), 0)


# --- promote --------------------------------------------------------------------------------------------------


def test_promote_and_demote(drbd: Box) -> None:
    drbd.write("/state", READY.format(role="Secondary"))
    promote.start(Layer("promote", "web"))
    promote.start(Layer("promote", "web"))
    assert [c for c in drbd.calls if "primary" in c] == ["drbdadm primary r0"]
    promote.stop(Layer("promote", "web"))
    promote.stop(Layer("promote", "web"))
    assert [c for c in drbd.calls if "secondary" in c] == ["drbdsetup secondary 0"]


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


def test_exit_17_is_not_tried_again(drbd: Box) -> None:
    drbd.write("/state", READY.format(role="Secondary"))
    drbd.tool("drbdadm", "echo '0: State change failed: (-2) Need access to UpToDate data' >&2; exit 17")
    failure = refusal(promote)
    assert failure.status == 69
    assert "exit 17" in failure.message
    assert [c for c in drbd.calls if "primary" in c] == ["drbdadm primary r0"]


def test_a_state_that_is_changing_is_tried_again(drbd: Box) -> None:
    drbd.write("/state", READY.format(role="Secondary"))
    drbd.tool(
        "drbdadm",
        "[ -e $ROOT/once ] || { touch $ROOT/once; echo '(-18) In transient state' >&2; exit 11; }\n" + DRBDADM,
    )
    promote.start(Layer("promote", "web"))
    assert [c for c in drbd.calls if "primary" in c] == ["drbdadm primary r0"] * 2


def test_never_forced() -> None:
    package = Path(promote.__file__).parent.parent
    assert not [f for f in package.rglob("*.py") if '"--force"' in f.read_text() or "overwrite-data" in f.read_text()]


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
