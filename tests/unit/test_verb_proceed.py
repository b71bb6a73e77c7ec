"""``drbdocfs proceed``: when it refuses, what it writes and whom it wakes, and how it follows the start."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drbdocfs_boot import systemd, watch
from drbdocfs_boot.cli import main
from drbdocfs_boot.systemd import UnitState
from drbdocfs_boot.tools import ask, records, wake

from .conftest import Box

CONFIG = "[web]\nresource = r0\ndevice = /dev/drbd0\ncluster = web\nmountpoint = /mnt/storage\n"
ALONE = """exists resource name:r0 role:Secondary suspended:no
exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting role:Unknown
exists device name:r0 volume:0 minor:0 disk:UpToDate
exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown
exists -
"""
GI = "32B1D23D5C7F7303:85AC920C593F8B47:B992C93360FFD9B7:B991C93360FFD9B7:1:1:1:0:0:0:0"
WAIT = "drbdocfs-wait@web.service"
TARGET = "drbdocfs@web.target"


class Systemd:
    """Units and what becomes of them: each question takes the next of ``script``, the last one for ever."""

    def __init__(self) -> None:
        self.script: list[dict[str, tuple[str, str]]] = [{}]
        self.asked = 0

    def states(self, names: list[str]) -> dict[str, UnitState]:
        now = self.script[min(self.asked, len(self.script) - 1)]
        self.asked += 1
        found = {}
        for name in names:
            active, status = now.get(name, now.get("*", ("inactive", "")))
            # The time of the change: an older failure has the time of its own.
            since = 1 if status == "old" else self.asked
            found[name] = UnitState(name, "loaded", active, "", "exit-code", status, since)
        return found


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> Systemd:
    fake = Systemd()
    monkeypatch.setattr(systemd, "states", fake.states)
    monkeypatch.setattr(watch, "EVERY", 0.004)
    return fake


@pytest.fixture
def stack(box: Box, units: Systemd, monkeypatch: pytest.MonkeyPatch) -> Box:
    """A stack that waits in the background, its peer away."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    box.write("/etc/drbdocfs/drbdocfs.conf", CONFIG)
    box.write("/sys/module/drbd/version", "8.4.11\n")
    box.tool("drbdsetup", 'case "$*" in *events2*) cat $ROOT/events;; *get-gi*) cat $ROOT/gi;; esac')
    box.tool("systemctl", "")
    box.write("/events", ALONE)
    box.write("/gi", GI)
    records.write("web", "attach", RESOURCE="r0", DEVICE="/dev/drbd0", PEER="server2", PEER_ADDRESS="10.0.0.2:7789")
    waits(box)
    units.script = [{WAIT: ("failed", "old")}]
    return box


def waits(box: Box, state: str = "late") -> None:
    records.write(
        "web", "waiting", RESOURCE="r0", DEVICE="/dev/drbd0", BEGAN=f"{time.monotonic() - 83:.3f}",
        WHEN_ALONE="newest", PEER_TIMEOUT="90000000", STATE=state, KIND="alone-refused", REASON="not alone",
    )  # fmt: skip


UP = {"*": ("active", "")}


def test_it_writes_the_order_wakes_both_and_follows(
    stack: Box, units: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    wait, follow = wake.listen(wake.of_wait("web")), wake.listen(wake.FOLLOW)
    try:
        units.script += [
            {WAIT: ("failed", "old")},
            {WAIT: ("activating", "waiting for server2, 0:01 of 1:30")},
            {WAIT: ("activating", "waiting for server2, 0:02 of 1:30")},
            {WAIT: ("active", ""), "mnt-storage.mount": ("activating", "")},
            UP,
        ]
        assert main(["proceed", "web", "--yes"]) == 0
        for socket in (wait, follow):
            assert socket._socket.recv(16) == b"!"
    finally:
        wait.close()
        follow.close()
    order = records.read("web", "proceed")
    assert order is not None
    assert abs(int(order["TIME"]) - time.time()) < 60
    assert order["WHO"]
    assert not [call for call in stack.calls if call.startswith("systemctl")]
    out = capsys.readouterr().out
    assert "  local disk   UpToDate\n" in out
    assert "  peer         server2 at 10.0.0.2:7789 is not connected (Connecting)\n" in out
    assert "(1:23)\n" in out
    assert "  metadata     DRBD's metadata shows that this node" in out
    assert "split brain" in out
    assert out.splitlines()[-3:] == [
        "web: wait starting: waiting for server2, 0:01 of 1:30",
        "web: mount starting",
        "web: up",
    ]


def test_nobody_listens_so_it_starts_the_target(stack: Box, units: Systemd) -> None:
    units.script.append(UP)
    assert main(["proceed", "web", "--yes"]) == 0
    assert f"systemctl start --no-block {TARGET}" in stack.calls
    # Where only the promotion had failed no wait runs again that could allow it.
    assert (records.read("web", "alone") or {})["WHY"] == "told to go on without the peer"


def test_an_order_that_was_not_carried_out_before_a_stop_is_none_for_the_next_start(
    stack: Box, units: Systemd, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody stops the stack while it is asked, or just after."""
    follow = wake.listen(wake.FOLLOW)

    def stop(*_: object) -> str:
        for kind in ("waiting", "attach"):
            records.remove("web", kind)
        return "it is stopped"

    try:
        with monkeypatch.context() as patched:
            patched.setattr(watch, "until_up", stop)
            assert main(["proceed", "web", "--yes"]) == 1
        assert records.read("web", "proceed") is None
        records.write("web", "attach", RESOURCE="r0", DEVICE="/dev/drbd0", PEER="server2")
        waits(stack)
        monkeypatch.setattr(ask, "possible", lambda: True)
        monkeypatch.setattr(ask, "yes", lambda question: bool(stop()))
        assert main(["proceed", "web"]) == 1
    finally:
        follow.close()
    assert "does not wait for its peer" in capsys.readouterr().err
    assert records.read("web", "proceed") is None


def test_an_address_that_o2cb_lacks_is_said_before_it_asks(stack: Box, capsys: pytest.CaptureFixture[str]) -> None:
    """With the cable out networkd takes it away, and the stack would be Primary without being mounted."""
    node = "node:\n\tname = {}\n\tcluster = web\n\tnumber = 1\n\tip_address = {}\n\tip_port = 7777\n"
    for own, said in (("192.0.2.99", True), ("127.0.0.1", False)):
        stack.write("/etc/ocfs2/cluster.conf", node.format(os.uname().nodename, own) + node.format("b", "192.0.2.98"))
        main(["proceed", "web"])
        shown = capsys.readouterr().out
        assert ("\n  address      192.0.2.99 is not on this host, and O2CB needs it" in shown) is said
        assert "192.0.2.98" not in shown


def test_systemctl_fails(stack: Box, capsys: pytest.CaptureFixture[str]) -> None:
    stack.tool("systemctl", "echo no such unit >&2; exit 5")
    assert main(["proceed", "web", "--yes"]) == 1
    assert f"'systemctl start {TARGET}' failed: no such unit" in capsys.readouterr().err


def test_a_unit_that_fails_anew_ends_it(stack: Box, units: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    units.script += [
        {WAIT: ("failed", "old")},  # not yet started again
        {WAIT: ("active", ""), "mnt-storage.mount": ("activating", "")},
        {WAIT: ("active", ""), "mnt-storage.mount": ("failed", "")},
    ]
    assert main(["proceed", "web", "--yes"]) == 1
    assert "drbdocfs: web is not up: mnt-storage.mount failed: exit-code\n" in capsys.readouterr().err


def test_it_does_not_follow_for_ever(
    stack: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("drbdocfs_boot.verbs.proceed.LIMIT", 0.05)
    assert main(["proceed", "web", "--yes"]) == 1
    assert "web is not up: not up after 0 s: attach down" in capsys.readouterr().err


def test_what_o2cb_waits_for_is_said(
    stack: Box, units: Systemd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("drbdocfs_boot.verbs.proceed.LIMIT", 0.05)
    text = "waiting for the address 192.0.2.99 on this host"
    units.script.append({"drbdocfs-o2cb@web.service": ("activating", text)})
    assert main(["proceed", "web", "--yes"]) == 1
    assert f"web is not up: not up after 0 s: o2cb starting: {text}" in capsys.readouterr().err


def test_twice_is_harmless(stack: Box, units: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    units.script.append(UP)
    assert main(["proceed", "web", "--yes"]) == 0
    records.remove("web", "waiting")  # as the wait does
    before = len(stack.calls)
    assert main(["proceed", "web", "--yes"]) == 1
    assert "drbdocfs: web is up: it does not wait\n" in capsys.readouterr().err
    assert not [call for call in stack.calls[before:] if call.startswith("systemctl")]


def edit(*changes: tuple[str, str]) -> Callable[[Box], object]:
    text = ALONE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return lambda box: box.write("/events", text)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (edit(("disk:UpToDate", "disk:Outdated")), 65, "local disk Outdated"),
        (edit(("disk:UpToDate", "disk:Inconsistent")), 65, "local disk Inconsistent"),
        (edit(("disk:UpToDate", "disk:Diskless")), 65, "local disk of r0 is Diskless"),
        (edit(("connection:Connecting", "connection:StandAlone")), 1, "is StandAlone"),
        (
            edit(
                ("connection:Connecting role:Unknown", "connection:Connected role:Secondary"),
                ("replication:Off", "replication:SyncSource"),
            ),
            1,
            "need not go on alone: its peer is connected (resync",
        ),
    ],
)
def test_refusals_by_the_state_of_drbd(
    stack: Box, change: Callable[[Box], object], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(stack)
    assert main(["proceed", "web", "--yes"]) == status
    assert words in capsys.readouterr().err
    assert records.read("web", "proceed") is None


def test_split_brain_is_refused(stack: Box, capsys: pytest.CaptureFixture[str]) -> None:
    edit(("connection:Connecting", "connection:StandAlone"))(stack)
    stack.write("/dev/kmsg", "4,1,1,-;block drbd0: Split-Brain detected but unresolved, dropping connection!\n")
    assert main(["proceed", "web", "--yes"]) == 65
    err = capsys.readouterr().err
    assert "drbdocfs: not alone: split brain" in err
    assert "'drbdocfs split-brain web'" in err
    assert records.read("web", "proceed") is None


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({}, "web is stopped: it does not wait\nwhat to do: 'drbdocfs start web' starts it"),
        ({WAIT: ("activating", "")}, f"web does not wait for its peer: {WAIT} is starting"),
        ({WAIT: ("failed", "no module")}, f"web does not wait for its peer: {WAIT} failed: no module"),
    ],
)
def test_a_stack_that_does_not_wait(
    stack: Box, units: Systemd, now: dict[str, tuple[str, str]], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    records.remove("web", "waiting")
    units.script = [now]
    assert main(["proceed", "web", "--yes"]) == 1
    assert words in capsys.readouterr().err
    assert records.read("web", "proceed") is None


def test_without_a_terminal_it_wants_to_be_told_twice(stack: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["proceed", "web"]) == 2
    captured = capsys.readouterr()
    assert "  risk " in captured.out
    assert captured.err == ("drbdocfs: there is nobody to ask here\nwhat to do: 'drbdocfs proceed web --yes'\n")
    assert records.read("web", "proceed") is None


@pytest.mark.parametrize(("answer", "status"), [("yes\n", 0), (" yes \n", 0), ("y\n", 1), ("", 1), ("no\n", 1)])
def test_on_a_terminal_it_asks(
    stack: Box, units: Systemd, answer: str, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    units.script += [{WAIT: ("failed", "old")}, UP]  # it is looked at once more after the answer
    monkeypatch.setattr(ask, "possible", lambda: True)
    (tmp_path / "answer").write_text(answer)
    with open(tmp_path / "answer", encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["proceed", "web"]) == status
    assert (records.read("web", "proceed") is not None) == (status == 0)


def test_an_unresolved_split_brain_is_said(stack: Box, units: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    units.script.append(UP)
    records.mark_split_brain("web")
    assert main(["proceed", "web", "--yes"]) == 0
    assert "  split brain  the one found 20" in capsys.readouterr().out
