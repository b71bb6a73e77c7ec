"""What ``status`` gathers: O2CB's nodes, the mount, what is out of sync, what an ordinary user may not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from drbdocfs_boot import systemd
from drbdocfs_boot.cli import main
from drbdocfs_boot.systemd import UnitState
from drbdocfs_boot.tools import mounts, records

from .conftest import Box

CONFIG = "[web]\nresource = r0\ndevice = /dev/drbd0\ncluster = web\nmountpoint = /mnt/storage\n"
EVENTS = Path(__file__).parent.parent / "transcripts/drbd-8.4/03-promote-both.server1.events2"
REGION = "87FD547F1E714E90AC76BB34D7E76D9B"


@pytest.fixture
def up(box: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    """A stack that is up, its peer as well; asked by root."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    states(monkeypatch, "active")
    box.write("/etc/drbdocfs/drbdocfs.conf", CONFIG)
    box.write("/sys/module/drbd/version", "8.4.11\n")
    box.write("/proc/drbd", " 0: cs:Connected ro:Primary/Primary\n    ns:8 nr:8 oos:4\n")
    box.write("/events", EVENTS.read_text())
    box.tool("drbdsetup", "cat $ROOT/events")
    box.tool("stat", "echo 1024 163796 148896 148000 40949 37224")
    box.write("/proc/self/mountinfo", "1 2 147:0 / /mnt/storage rw,noatime shared:1 - ocfs2 /dev/drbd0 rw,_netdev\n")
    place = "/sys/kernel/config/cluster/web"
    for number in (1, 2):
        node = f"{place}/node/server{number}"
        box.write(f"{node}/num", f"{number}\n")
        box.write(f"{node}/ipv4_address", f"10.0.0.{number}\n")
        box.write(f"{node}/local", f"{int(number == 1)}\n")
    box.write(f"{place}/heartbeat/{REGION}/blocks", "1\n")
    box.write(f"{place}/heartbeat/{REGION}/dev", "drbd0\n")
    box.write("/sys/kernel/debug/o2net/connected_nodes", "2 \n")
    box.write(f"/sys/kernel/debug/o2hb/{REGION}/livenodes", "1 2 \n")
    records.write("web", "attach", RESOURCE="r0", PEER="server2", PEER_ADDRESS="10.0.0.2:7789")
    return box


def states(monkeypatch: pytest.MonkeyPatch, active: str) -> None:
    monkeypatch.setattr(
        systemd, "states", lambda names: {name: UnitState(name, "loaded", active, "", "", "", 1) for name in names}
    )


def shown(capsys: pytest.CaptureFixture[str], status: int = 0) -> dict[str, object]:
    assert main(["status", "--json"]) == status
    found = json.loads(capsys.readouterr().out)["stacks"][0]
    assert isinstance(found, dict)
    return found


def test_all_that_is_seen(up: Box, capsys: pytest.CaptureFixture[str]) -> None:
    stack = shown(capsys)
    assert stack["o2cb"] == {
        "online": True,
        "nodes": [
            {"name": "server1", "number": 1, "address": "10.0.0.1", "local": True, "connected": None,
             "heartbeat": True},
            {"name": "server2", "number": 2, "address": "10.0.0.2", "local": False, "connected": True,
             "heartbeat": True},
        ],
    }  # fmt: skip
    mount = stack["mount"]
    assert isinstance(mount, dict)
    assert (mount["options"], mount["answers"], mount["size"]) == ("rw,noatime,_netdev", True, 163796 * 1024)
    drbd = stack["drbd"]
    assert isinstance(drbd, dict)
    assert (drbd["out_of_sync"], drbd["peers"][0]["name"]) == (4096, "server2")
    assert stack["unreadable"] == []


def test_a_peer_that_is_gone(up: Box, capsys: pytest.CaptureFixture[str]) -> None:
    up.write("/sys/kernel/debug/o2net/connected_nodes", "\n")
    up.write(f"/sys/kernel/debug/o2hb/{REGION}/livenodes", "1 \n")
    assert main(["status"]) == 0
    assert "nodes    server1 (this node), mounted; server2 not connected, not mounted there\n" in (
        capsys.readouterr().out
    )


def test_without_debugfs_the_kernel_log_tells(up: Box, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("o2net/connected_nodes", f"o2hb/{REGION}/livenodes"):
        (up.root / "sys/kernel/debug" / name).unlink()
    up.write("/dev/kmsg", "6,1,1,-;o2net: Connected to node server2 (num 2) at 10.0.0.2:7777\n")
    assert main(["status"]) == 0
    assert "nodes    server1 (this node); server2 connected\n" in capsys.readouterr().out


def test_an_ordinary_user_is_told_what_he_may_not_see(
    up: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("drbdocfs_boot.verbs.status.PATH", "/no/such/place")  # else drbdsetup is found there
    (up.root / "sys/kernel/debug/o2net/connected_nodes").unlink()
    assert main(["status"]) == 77
    captured = capsys.readouterr()
    assert "web: up" in captured.out
    assert captured.err == (
        "drbdocfs: not root, so this could not be read: which nodes O2CB sees (/sys/kernel/debug)\n"
        "what to do: sudo drbdocfs status\n"
    )
    # What is worse comes first: 78, 69, 1, 77.
    states(monkeypatch, "inactive")
    assert main(["status"]) == 1
    (up.bin / "drbdsetup").unlink()
    assert main(["status"]) == 69
    assert "drbdocfs: drbdsetup is not installed\n" in capsys.readouterr().err
    up.write("/etc/drbdocfs/drbdocfs.conf", CONFIG + "[bad]\n")
    assert main(["status"]) == 78


def test_no_module_is_a_sentence(up: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (up.root / "sys/module/drbd/version").unlink()
    (up.root / "sys/module/drbd").rmdir()
    (up.root / "proc/drbd").unlink()
    states(monkeypatch, "inactive")
    assert main(["status"]) == 1  # stopped: nobody needs it now
    states(monkeypatch, "failed")
    assert main(["status"]) == 69
    assert "drbdocfs: the kernel module drbd is not loaded and could not be\n" in capsys.readouterr().err


def test_up_and_not_followed(up: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked with the layers, in the same question."""
    assert shown(capsys)["followed"] is True
    asked = []

    def without(names: list[str]) -> dict[str, UnitState]:
        asked.append(names)
        follow = "drbdocfs-follow.service"
        return {n: UnitState(n, "loaded", "inactive" if n == follow else "active", "", "", "", 1) for n in names}

    monkeypatch.setattr(systemd, "states", without)
    found = shown(capsys, 1)
    assert (found["state"], found["followed"]) == ("up", False)
    assert len(asked) == 1


def test_a_file_system_that_does_not_answer(
    up: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    up.tool("stat", "exit 1")
    assert main(["status"]) == 1
    assert "space    the file system does not answer: its I/O stands still\n" in capsys.readouterr().out
    (up.bin / "stat").unlink()
    assert main(["status"]) == 0
    assert "space    not known: stat(1) cannot be run\n" in capsys.readouterr().out


def stand_alone(up: Box) -> None:
    up.write("/events", EVENTS.read_text().replace("connection:Connected", "connection:StandAlone"))


def split_brain(up: Box) -> None:
    stand_alone(up)
    up.write("/dev/kmsg", "1,1,1,-;block drbd0: Split-Brain detected but unresolved, dropping connection!\n")


def diskless(up: Box) -> None:
    up.write("/events", EVENTS.read_text().replace("disk:UpToDate", "disk:Diskless", 1))


def frozen(up: Box) -> None:
    up.write("/events", EVENTS.read_text().replace("suspended:no", "suspended:user"))


def peer_missing(up: Box) -> None:
    text = EVENTS.read_text().replace("connection:Connected", "connection:Connecting")
    up.write(
        "/events", text.replace("replication:Established peer-disk:UpToDate", "replication:Off peer-disk:DUnknown")
    )


def test_a_missing_address_of_its_own_is_named(up: Box, capsys: pytest.CaptureFixture[str]) -> None:
    """Attached without connecting: the kernel log says nothing of it."""
    stand_alone(up)
    up.write("/dev/kmsg", "")
    for own, said, status in (("10.255.255.254", True, 0), ("127.0.0.1", False, 1)):  # the first heals by itself
        records.write("web", "attach", RESOURCE="r0", PEER="server2", ADDRESS=own)
        found = shown(capsys, status)
        assert isinstance(found["drbd"], dict)
        words = f"its own address was not on this host when it connected ({own})"
        assert (words in found["drbd"]["reason"]) is said, found["drbd"]


@pytest.mark.parametrize(
    ("change", "status"), [(stand_alone, 1), (split_brain, 65), (diskless, 1), (frozen, 1), (peer_missing, 0)]
)
def test_up_is_not_well_in_any_case(
    up: Box, change: Callable[[Box], None], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    change(up)
    assert main(["status"]) == status
    shown = capsys.readouterr().out
    assert "web: up" in shown
    assert ("server2 Connecting" in shown) is (change is peer_missing)
    if status:
        # What leads away from it comes first.
        up.write("/etc/drbdocfs/drbdocfs.conf", CONFIG + "[bad]\n")
        assert main(["status"]) == 78
        up.write("/etc/drbdocfs/drbdocfs.conf", CONFIG)
        (up.bin / "drbdsetup").unlink()
        assert main(["status"]) == 69


def test_a_split_brain_is_one_also_where_nothing_is_up(up: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    split_brain(up)
    states(monkeypatch, "inactive")
    assert main(["status"]) == 65


def test_without_systemd_the_rest_is_shown_and_a_mistake_comes_first(
    up: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(names: object) -> dict[str, UnitState]:
        raise systemd.NoSystemd("systemd cannot be asked", "try as root")

    monkeypatch.setattr(systemd, "states", none)
    stack = shown(capsys, 69)
    assert stack["state"] == "unknown"
    drbd = stack["drbd"]
    assert isinstance(drbd, dict)
    assert drbd["role"] == "Primary"
    up.write("/etc/drbdocfs/drbdocfs.conf", CONFIG + "[bad]\n")
    assert main(["status", "--json"]) == 78
    captured = capsys.readouterr()
    assert json.loads(captured.out)["problems"][0]["stack"] == "bad"
    assert captured.err.startswith("drbdocfs: systemd cannot be asked\n")
    for words in (["status"], ["status", "--watch"]):
        assert main(words) == 78
        lines = capsys.readouterr().out.splitlines()
        assert {line[:51] for line in lines} == {"configuration: /etc/drbdocfs/drbdocfs.conf:6: [bad]"}
        assert len(lines) == len(set(lines)), "said twice"


@pytest.mark.parametrize(
    ("field", "text"),
    [(r"/a\040b", "/a b"), (r"/a\134040", r"/a\040"), (r"/a\999", r"/a\999"), (r"/a\04", r"/a\04"),
     ("/a\\\u0664\u0660\u0660", "/a\\\u0664\u0660\u0660")],
)  # fmt: skip
def test_escapes_of_the_mount_table(field: str, text: str) -> None:
    assert mounts.unescape(field) == text


def test_nothing_is_mounted_and_no_cluster_online(up: Box, capsys: pytest.CaptureFixture[str]) -> None:
    up.write("/proc/self/mountinfo", "1 2 147:0 / /elsewhere rw - ocfs2 /dev/drbd0 rw\n")
    (up.root / "sys/kernel/config/cluster").rename(up.root / "gone")
    stack = shown(capsys, 1)
    assert (stack["mount"], stack["o2cb"]) == (None, {"online": False, "nodes": []})


@pytest.mark.parametrize("below", ["", "1 2 147:0 / /mnt/storage rw - ocfs2 /dev/drbd0 rw\n"], ids=("instead", "over"))
def test_another_file_system_on_the_mount_point_is_no_stack_that_is_up(
    up: Box, capsys: pytest.CaptureFixture[str], below: str
) -> None:
    # systemd's mount unit is active for whatever is mounted there.
    up.write("/proc/self/mountinfo", f"{below}3 2 254:16 / /mnt/storage rw - ext4 /dev/vdb1 rw\n")
    assert shown(capsys, 1)["mount"] is None
    assert main(["status"]) == 1
    text = capsys.readouterr().out
    assert "what to do: 'findmnt /mnt/storage' shows what is; 'umount' that, then 'drbdocfs restart web'" in text
