"""``drbdocfs start``, ``stop``, ``restart``: a stand-in for systemd answers each look with the next of a script."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from drbdocfs_boot import follow_jobs, systemd
from drbdocfs_boot.cli import main
from drbdocfs_boot.news import News
from drbdocfs_boot.systemd import Job, NoSystemd, Refused, UnitState
from drbdocfs_boot.tools import records
from drbdocfs_boot.tools.failure import Failure

from .conftest import Box

CONFIG = "[web]\nresource = r0\ndevice = /dev/drbd0\ncluster = web\nmountpoint = /mnt/storage\n"
DB = "[db]\nresource = r1\ndevice = /dev/drbd1\ncluster = web\nmountpoint = /srv/db\n"
TARGET = "drbdocfs@web.target"
WAIT = "drbdocfs-wait@web.service"
MOUNT = "mnt-storage.mount"
O2CB = "drbdocfs-o2cb@web.service"
HOLDERS = "drbdocfs-holders@web.service"
UP = {"*": "active"}
DOWN = {"*": "inactive"}
Look = dict[str, str]  # unit (or *) -> "ACTIVE" or "ACTIVE STATUS"; "job UNIT" -> kind of its job


class Systemd:
    """Stands for follow_jobs.Manager."""

    def __init__(self) -> None:
        self.script: list[Look] = [DOWN]
        self.orders: list[str] = []
        self.refuses: str = ""
        self.stale = False
        self.looks = 0
        self.never_up: list[str] = []
        self.on_look: Callable[[int], object] = lambda _: None

    def __enter__(self) -> Systemd:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def outdated(self, name: str) -> bool:
        assert name == TARGET
        return self.stale

    def order(self, verb: str, name: str) -> None:
        if self.refuses:
            raise Refused(self.refuses)
        self.orders.append(f"{verb} {name}")

    def came_up(self, name: str) -> bool:
        return name not in self.never_up

    def forgive(self, name: str) -> None:
        self.orders.append(f"forgive {name}")

    def look(self, names: Iterable[str]) -> tuple[dict[str, UnitState], dict[str, Job]]:
        now = self.script[min(self.looks, len(self.script) - 1)]
        self.looks += 1
        self.on_look(self.looks)
        found = {}
        for name in names:
            active, _, status = now.get(name, now.get("*", "inactive")).partition(" ")
            since = 1 if status == "old" else 1 + self.looks
            result = "exit-code" if active == "failed" else "success"
            found[name] = UnitState(name, "loaded", active, "", result, status, since)
        return found, {key[4:]: Job(key[4:], kind) for key, kind in now.items() if key.startswith("job ")}


@pytest.fixture
def system(box: Box, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    fake = Systemd()
    monkeypatch.setattr(follow_jobs, "Manager", lambda: fake)
    monkeypatch.setattr(follow_jobs, "News", lambda: News())
    monkeypatch.setattr("drbdocfs_boot.news._library", lambda: None)
    monkeypatch.setattr("drbdocfs_boot.news.POLL", 0.001)
    monkeypatch.setattr(follow_jobs, "QUIET", 0.0)
    monkeypatch.setattr(follow_jobs, "UNNEEDED", 0.05)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    box.write("/etc/drbdocfs/drbdocfs.conf", CONFIG)
    for name in ("web", "db"):
        (box.root / f"run/systemd/generator/drbdocfs@{name}.target.d").mkdir(parents=True)
    box.tool("drbdadm", "")
    return fake


STARTING = {"drbdocfs-attach@web.service": "active r0 attached", f"job {WAIT}": "start", f"job {TARGET}": "start"}


def test_a_start_says_each_layer(system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    system.script = [
        DOWN,
        DOWN,
        {**STARTING, WAIT: "activating waiting for server2 (Connecting), 0:01 of 3:00"},
        {**STARTING, WAIT: "activating waiting for server2 (Connecting), 0:02 of 3:00"},
        {**STARTING, WAIT: "activating resync from server2 37 %"},
        UP,
    ]
    assert main(["start", "web"]) == 0
    assert system.orders == [f"start {TARGET}"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "attach   done     r0 attached",
        "wait     starting waiting for server2 (Connecting), 0:01 of 3:00",
        "wait     starting resync from server2 37 %",
        "wait     done",
    ]
    assert lines[-1] == "web is up: /mnt/storage on /dev/drbd0"


def test_all_of_them_begin_with_the_target_of_all(
    box: Box, system: Systemd, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    box.write("/etc/drbdocfs/drbdocfs.conf", CONFIG + DB)
    monkeypatch.setattr(system, "outdated", lambda name: False)
    system.script = [DOWN, DOWN, UP]
    assert main(["start"]) == 0
    assert system.orders == ["start drbdocfs.target", f"start {TARGET}", "start drbdocfs@db.target"]
    out = capsys.readouterr().out
    assert "web: attach   done\n" in out
    assert "db: attach   done\n" in out
    assert "web is up: /mnt/storage on /dev/drbd0\ndb is up: /srv/db on /dev/drbd1\n" in out


@pytest.mark.parametrize(
    ("verb", "now", "words"), [("start", UP, "web is up already\n"), ("stop", DOWN, "web is stopped already\n")]
)
def test_nothing_to_do(system: Systemd, verb: str, now: Look, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    system.script = [now]
    assert main([verb, "web"]) == 0
    assert capsys.readouterr().out == words
    assert system.orders == []


def test_a_stack_that_waits_in_the_background_is_not_stopped_already(system: Systemd) -> None:
    records.write("web", "waiting", STATE="late")
    assert main(["stop", "web"]) == 0
    assert system.orders == [f"stop {TARGET}"]


def test_a_stack_whose_start_is_only_queued_is_not_stopped_already(system: Systemd) -> None:
    system.script = [{**DOWN, f"job {TARGET}": "start"}, DOWN]
    assert main(["stop", "web"]) == 0
    assert system.orders == [f"stop {TARGET}"]


def test_a_failure_names_layer_reason_and_next_step(
    box: Box, system: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    system.script = [{WAIT: "failed old"}, {WAIT: "failed old"}, {WAIT: "failed the local disk of r0 is Diskless"}]
    box.tool("journalctl", "echo 'web: local disk of r0 is Diskless'; echo 'web: what to do: see STACK in the log'")
    assert main(["start", "web"]) == 1
    captured = capsys.readouterr()
    assert captured.err == (
        "drbdocfs: web is not up: wait failed: the local disk of r0 is Diskless\nwhat to do: see web in the log\n"
    )
    assert "wait     failed   the local disk of r0 is Diskless\n" in captured.out
    assert any(call.endswith(f"_SYSTEMD_UNIT={WAIT}") for call in box.calls)


def test_what_a_mount_said_comes_from_the_journal(
    box: Box, system: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    system.script = [DOWN, DOWN, {**UP, MOUNT: "failed", TARGET: "inactive"}]
    box.tool("journalctl", "echo 'mount.ocfs2: Wrong medium type'")
    assert main(["start", "web"]) == 1
    err = capsys.readouterr().err
    assert "web is not up: mount failed: mount.ocfs2: Wrong medium type\n" in err
    assert f"what to do: 'journalctl -b -u {MOUNT}'" in err


def test_late_is_no_failure_of_the_stack(system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    system.script = [DOWN, DOWN, {WAIT: "failed not ready after 3:00"}]
    system.on_look = lambda _: records.write("web", "waiting", STATE="late", KIND="waiting", REASON="waiting for b")
    assert main(["start", "web"]) == 75
    captured = capsys.readouterr()
    assert "web is late: waiting for b" in captured.out
    assert "waits on in the background (drbdocfs-follow.service) and comes up by itself" in captured.err
    assert "'drbdocfs proceed web'" in captured.err


def test_a_refused_promotion_is_late_and_going_alone_no_advice(
    system: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    system.script = [DOWN, DOWN, {"drbdocfs-promote@web.service": "failed could not be promoted in 40 s"}]
    system.on_look = lambda _: records.write("web", "waiting", STATE="late", KIND="refused", REASON="transient state")
    assert main(["start", "web"]) == 75
    captured = capsys.readouterr()
    assert "web is late: transient state" in captured.out
    assert "'journalctl -k' on both hosts may say why DRBD refuses it" in captured.err
    assert "proceed" not in captured.err


@pytest.mark.parametrize(("kind", "status"), [("split-brain", 65), ("standalone", 1)])
def test_what_waiting_cannot_mend_is_a_failure(
    system: Systemd, kind: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    system.script = [DOWN, DOWN, {WAIT: "failed DRBD has dropped the connection"}]
    system.on_look = lambda _: records.write("web", "waiting", STATE="late", KIND=kind, REASON="")
    assert main(["start", "web"]) == status
    assert "wait failed: DRBD has dropped the connection" in capsys.readouterr().err


def test_a_start_that_somebody_took_back(system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["start", "web"]) == 1
    assert "the start ended before attach (was it stopped meanwhile?)" in capsys.readouterr().err


def test_a_stop_waits_for_every_layer(system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    attach = "drbdocfs-attach@web.service"
    queue = {f"job {unit}": "stop" for unit in (MOUNT, O2CB, attach)}
    system.script = [
        UP,
        UP,
        {"*": "active", TARGET: "inactive", HOLDERS: "inactive", MOUNT: "deactivating", **queue},
        {attach: "deactivating", f"job {attach}": "stop"},
        DOWN,
    ]
    assert main(["stop", "web"]) == 0
    assert system.looks == 5  # systemctl would have been content with the third
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["holders  done", "mount    stopping"]
    assert lines[-3:] == ["attach   stopping", "attach   done", "web is stopped"]


def test_a_mount_that_stays_busy(box: Box, system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    system.script = [UP, UP, {MOUNT: "active", O2CB: "failed"}]
    box.tool("journalctl", "echo 'umount: /mnt/storage: target is busy.'")
    assert main(["stop", "web"]) == 1
    err = capsys.readouterr().err
    assert "web is not stopped: mount failed: umount: /mnt/storage: target is busy." in err
    assert "end what uses /mnt/storage, then 'drbdocfs stop web' again" in err


def test_what_systemd_has_given_up_is_taken_down_all_the_same(
    box: Box, system: Systemd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a stop that has failed all units are failed, which systemd does not stop again."""
    monkeypatch.setattr(follow_jobs, "HELPERS", str(box.bin))
    system.script = [{O2CB: "failed", MOUNT: "failed", "drbdocfs-promote@web.service": "failed"}]
    for layer in ("promote", "attach"):
        records.write("web", layer, RESOURCE="r0")
        box.tool(layer, f"rm $ROOT/run/drbdocfs/web.{layer}")
    box.tool("o2cb", "")
    box.write("/proc/self/mountinfo", "1 2 147:0 / /mnt/storage rw - ocfs2 /dev/drbd0 rw\n")
    box.tool("umount", "echo 'target is busy' >&2; exit 32")
    assert main(["stop", "web"]) == 1
    assert "web is not stopped: mount failed: target is busy" in capsys.readouterr().err
    box.tool("umount", ": > $ROOT/proc/self/mountinfo")
    assert main(["stop", "web"]) == 0
    assert box.calls[1:] == ["umount /mnt/storage", "o2cb stop web", "promote stop web", "attach stop web"]
    assert f"forgive {MOUNT}" in system.orders
    assert not [order for order in system.orders if order.startswith("stop")]
    assert capsys.readouterr().out.endswith("web is stopped\n")
    assert main(["stop", "web"]) == 0
    assert capsys.readouterr().out == "web is stopped already\n"


@pytest.fixture
def given_up(box: Box, system: Systemd, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """Units that have failed, and two layers that are left."""
    monkeypatch.setattr(follow_jobs, "HELPERS", str(box.bin))
    system.script = [{O2CB: "failed", MOUNT: "failed", "drbdocfs-promote@web.service": "failed"}]
    records.write("web", "promote", MOUNTPOINT="/mnt/storage")
    records.write("web", "attach", RESOURCE="r0")
    for layer in ("promote", "attach"):
        box.tool(layer, f"rm $ROOT/run/drbdocfs/web.{layer}")
    box.tool("o2cb", "")
    box.tool("umount", ": > $ROOT/proc/self/mountinfo")
    return system


OWN = "1 2 147:0 / /mnt/storage rw - ocfs2 /dev/drbd0 rw\n"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (OWN + "3 2 8:1 / /mnt/storage rw - ext4 /dev/sda1 rw\n",
         "/dev/sda1 (ext4) is mounted over it on /mnt/storage"),
        (OWN + "3 2 147:0 / /srv/copy rw - ocfs2 /dev/drbd0 rw\n", "/dev/drbd0 is mounted on /srv/copy as well"),
        ("3 2 147:0 / /srv/copy rw - ocfs2 /dev/drbd0 rw\n4 2 8:1 / /mnt/storage rw - ext4 /dev/sda1 rw\n",
         "/dev/drbd0 is mounted on /srv/copy, not on /mnt/storage"),
    ],
)  # fmt: skip
def test_a_foreign_file_system_is_not_unmounted(
    box: Box, given_up: Systemd, table: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    box.write("/proc/self/mountinfo", table)
    assert main(["stop", "web"]) == 1
    captured = capsys.readouterr()
    assert f"drbdocfs: web is not stopped: {words}\n" in captured.err
    assert "then 'drbdocfs stop web' again" in captured.err
    assert box.calls == []


def test_its_own_place_is_that_of_the_promotion(box: Box, given_up: Systemd) -> None:
    """Whatever the configuration says since then."""
    records.write("web", "promote", MOUNTPOINT="/mnt/before")
    box.write("/proc/self/mountinfo", OWN.replace("/mnt/storage", "/mnt/before"))
    assert main(["stop", "web"]) == 0
    assert box.calls[0] == "umount /mnt/before"


@pytest.mark.parametrize("meanwhile", [{**UP}, {f"job {TARGET}": "start"}])
def test_what_is_started_again_meanwhile_is_not_taken_down(
    box: Box, given_up: Systemd, meanwhile: Look, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between the steps: o2cb and promote are done when it comes."""
    given_up.script += given_up.script * 2 + [meanwhile]
    assert main(["stop", "web"]) == 1
    assert "drbdocfs: web is not stopped: it was started again meanwhile\n" in capsys.readouterr().err
    assert box.calls == ["o2cb stop web", "promote stop web"]


def test_a_cluster_that_never_came_up_is_not_taken_down(box: Box, given_up: Systemd) -> None:
    given_up.never_up = [O2CB]
    assert main(["stop", "web"]) == 0
    assert box.calls == ["promote stop web", "attach stop web"]


def test_a_cluster_that_others_use_is_not_taken_down_with_what_is_left(box: Box, given_up: Systemd) -> None:
    """It would wait for the unmount of the other stack, and the stop of this one fail."""
    box.write("/etc/drbdocfs/drbdocfs.conf", CONFIG + DB)
    given_up.script[0]["srv-db.mount"] = "active"
    assert main(["stop", "web"]) == 0
    assert box.calls == ["promote stop web", "attach stop web"]


def test_a_step_that_takes_too_long_is_a_failure_and_the_unmount_has_its_time(
    box: Box, given_up: Systemd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = []

    def unmount(place: str, limit: float) -> object:
        limits.append((place, limit))
        raise Failure(75, f"'umount {place}' was not done after 180 s", "see the kernel log")

    monkeypatch.setattr("drbdocfs_boot.tools.mounts.unmount", unmount)
    box.write("/proc/self/mountinfo", OWN)
    assert main(["stop", "web", "--timeout", "1"]) == 1
    assert limits == [("/mnt/storage", 180.0)]
    assert capsys.readouterr().err == (
        "drbdocfs: web is not stopped: 'umount /mnt/storage' was not done after 180 s\nwhat to do: see the kernel log\n"
    )


@pytest.mark.parametrize("after", [False, True])
def test_ctrl_c_in_the_unwinding_is_said(
    box: Box, given_up: Systemd, after: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once, and behind a stop of systemd's that left something."""

    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(follow_jobs, "run_tool", interrupted)
    if after:
        given_up.script = [UP, UP, *given_up.script]
    assert main(["stop", "web"]) == 130
    assert "interrupted; a step that had begun may go on; 'drbdocfs status web' shows it\n" in capsys.readouterr().err


def test_a_stop_that_somebody_took_back(system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    system.script = [UP, UP, {MOUNT: "deactivating", f"job {MOUNT}": "stop"}, UP]
    assert main(["stop", "web"]) == 1
    assert capsys.readouterr().err == (
        "drbdocfs: web is up: it was started again meanwhile\nwhat to do: 'drbdocfs stop web' again\n"
    )


def test_the_cluster_of_one_stack_has_to_go(box: Box, system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    system.script = [UP, UP, {O2CB: "active"}]
    assert main(["stop", "web"]) == 1
    captured = capsys.readouterr()
    assert f"web is not stopped: o2cb failed: it is still up\nwhat to do: 'systemctl stop {O2CB}'" in captured.err
    assert "web is stopped" not in captured.out
    # A stack that the configuration has no more may still use it.
    box.write("/proc/self/mountinfo", "1 2 147:1 / /srv/db rw - ocfs2 /dev/drbd1 rw\n")
    system.looks = 0
    assert main(["stop", "web"]) == 0
    assert "o2cb     done     stays online: /srv/db is mounted\n" in capsys.readouterr().out


@pytest.mark.parametrize("script", [[DOWN], [UP, UP, DOWN]])
def test_drbd_that_was_brought_up_by_hand_is_left_alone_and_named(
    box: Box, system: Systemd, script: list[Look], capsys: pytest.CaptureFixture[str]
) -> None:
    box.write("/sys/module/drbd/version", "8.4.11\n")
    box.write("/events", Path(__file__).parent.joinpath("../transcripts/drbd-8.4/03-promote-both.server1.events2")
              .read_text())  # fmt: skip
    box.tool("drbdsetup", "cat $ROOT/events")
    system.script = script
    assert main(["stop", "web"]) == 0
    assert (
        ": r0 is up in DRBD all the same; it was brought up by hand, so it is left alone ('drbdadm down r0')"
        in capsys.readouterr().out
    )
    assert {call.split()[1] for call in box.calls if call.startswith("drbd")} == {"events2"}


def test_systemd_that_does_not_answer_any_more(system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    def look(number: int) -> None:
        if number == 4:
            raise NoSystemd("Connection reset by peer", "")

    system.script = [DOWN, DOWN, {WAIT: "activating", f"job {WAIT}": "start"}]
    system.on_look = look
    assert main(["start", "web"]) == 69
    assert capsys.readouterr().err == (
        "drbdocfs: systemd does not answer any more (Connection reset by peer); the start goes on\n"
        "what to do: 'drbdocfs status --watch web' shows it\n"
    )


class Bus:
    """Stands for a connection; ``lost``: it was ended by systemd."""

    def __init__(self, lost: bool) -> None:
        self.lost = lost
        self.open = True

    def close(self) -> None:
        self.open = False


def test_a_connection_that_systemd_has_ended_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = Bus(True), Bus(False)
    opened: list[Bus | None] = [first, None, Bus(True), last]  # None: nobody listens yet

    def connect() -> Bus:
        bus = opened.pop(0)
        if bus is None:
            raise NoSystemd("Connection refused", "")
        return bus

    def state(bus: Bus, name: str) -> UnitState:
        if bus.lost:
            raise NoSystemd("Connection reset by peer", "")
        return UnitState(name, "loaded", "active", "", "", "", 1)

    monkeypatch.setattr(systemd, "AGAIN", (0.0, 0.0, 0.0))
    monkeypatch.setattr(systemd, "_open", connect)
    monkeypatch.setattr(systemd, "_state", state)
    monkeypatch.setattr(systemd.Manager, "_call", lambda *_: [])
    with systemd.Manager() as manager:
        assert manager.look([TARGET])[0][TARGET].active == "active"
        assert (first.open, last.open) == (False, True)
        last.lost = True
        opened += [Bus(True), Bus(True), Bus(True)]
        with pytest.raises(NoSystemd, match="reset by peer"):
            manager.look([TARGET])
        assert opened == []


def test_a_look_that_took_long_is_followed_by_a_pause_but_not_by_a_long_one(
    system: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[tuple[float, float]] = []

    def wait(self: News, limit: float, pause: float) -> None:
        waits.append((limit, pause))

    system.script = [DOWN, DOWN, STARTING, STARTING, STARTING, UP]
    system.on_look = lambda number: time.sleep(0.3 if number == 4 else 0)
    monkeypatch.setattr(News, "wait", wait)
    assert main(["start", "web"]) == 0
    limits, pauses = zip(*waits)
    assert max(limits) <= follow_jobs.EVERY
    assert sum(pause >= 0.3 * follow_jobs.SHARE for pause in pauses) == 1


def test_a_further_look_asks_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many units one or two change between two looks; what is on its way only moves its status line."""
    asked: list[tuple[str, str]] = []
    active = {WAIT: "activating", MOUNT: "inactive", O2CB: "active"}

    def rows(*_: object) -> list[list[object]]:
        found = [[n, "", "loaded", a, "", "", "", 0, "", ""] for n, a in active.items()]
        return [[one.encode() if isinstance(one, str) else one for one in row] for row in found]

    def get(bus: object, name: str, key: bytes, kind: bytes = b"s", interface: bytes = b"") -> object:
        asked.append((name, key.decode()))
        return {b"StateChangeTimestamp": 7, b"StatusText": f"line {len(asked)}"}.get(key, "success")

    def look(manager: systemd.Manager) -> tuple[dict[str, UnitState], list[tuple[str, str]]]:
        asked.clear()
        return manager.look(active)[0], list(asked)

    monkeypatch.setattr(systemd, "_open", lambda: Bus(False))
    monkeypatch.setattr(systemd, "_property", get)
    monkeypatch.setattr(systemd.Manager, "_call", rows)
    with systemd.Manager() as manager:
        first, questions = look(manager)
        assert len(questions) == 8
        assert first[WAIT] == UnitState(WAIT, "loaded", "activating", "", "success", "line 3", 7)
        second, questions = look(manager)
        assert questions == [(WAIT, "StatusText")]
        assert second[WAIT].status == "line 1"
        assert (second[MOUNT], second[O2CB]) == (first[MOUNT], first[O2CB])
        active[WAIT] = "active"
        assert {name for name, _ in look(manager)[1]} == {WAIT}
        assert look(manager)[1] == []
        active[WAIT] = "failed"
        for _ in range(2):  # it may have failed anew in between
            assert {key for _, key in look(manager)[1]} == {"Result", "StateChangeTimestamp", "StatusText"}


@pytest.mark.parametrize(("active", "began", "came"), [(0, 5, False), (3, 5, False), (5, 5, True), (7, 5, True)])
def test_whether_a_unit_came_up(active: int, began: int, came: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {b"ActiveEnterTimestampMonotonic": active, b"InactiveExitTimestampMonotonic": began}
    monkeypatch.setattr(systemd, "_open", lambda: Bus(False))
    monkeypatch.setattr(systemd, "_property", lambda bus, name, key, kind: times[key])
    with systemd.Manager() as manager:
        assert manager.came_up(O2CB) is came


def test_a_cluster_that_others_use_stays(box: Box, system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    box.write("/etc/drbdocfs/drbdocfs.conf", CONFIG + DB)
    system.script = [UP, UP, {O2CB: "active", "srv-db.mount": "active"}]
    assert main(["stop", "web"]) == 0
    assert "o2cb     done     stays online: db uses it\n" in capsys.readouterr().out


def test_a_stack_is_stopped_already_though_its_cluster_stays_for_another(
    box: Box, system: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    box.write("/etc/drbdocfs/drbdocfs.conf", CONFIG + DB)
    system.script = [{O2CB: "active", "srv-db.mount": "active"}]
    assert main(["stop", "web"]) == 0
    assert capsys.readouterr().out == "web is stopped already\n"
    assert system.orders == []
    # Of a cluster that nobody uses there is something to stop.
    system.looks = 0
    system.script = [{O2CB: "active"}, {O2CB: "active"}, DOWN]
    assert main(["stop", "web"]) == 0
    assert system.orders == [f"stop {TARGET}"]


def test_a_cluster_that_nobody_uses_may_take_a_moment(
    box: Box, system: Systemd, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    box.write("/etc/drbdocfs/drbdocfs.conf", CONFIG + DB)
    system.script = [UP, UP, {O2CB: "active"}, {O2CB: "active"}, DOWN]
    monkeypatch.setattr(follow_jobs, "UNNEEDED", 60.0)
    assert main(["stop", "web"]) == 0
    assert system.looks == 5
    monkeypatch.setattr(follow_jobs, "UNNEEDED", 0.05)
    system.looks = 0
    system.script = [UP, UP, {O2CB: "active"}]
    assert main(["stop", "web"]) == 0
    assert "o2cb     done     stays online\n" in capsys.readouterr().out


def test_restart_stops_fully_first(system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    system.script = [UP, UP, {**DOWN, f"job {MOUNT}": "stop"}, DOWN, DOWN, DOWN, UP]
    assert main(["restart", "web"]) == 0
    assert system.orders == [f"stop {TARGET}", f"start {TARGET}"]
    out = capsys.readouterr().out
    assert out.index("web is stopped") < out.index("web is up")


def test_restart_does_not_start_what_could_not_be_stopped(system: Systemd) -> None:
    system.script = [UP, UP, {MOUNT: "active"}]
    assert main(["restart", "web"]) == 1
    assert system.orders == [f"stop {TARGET}"]


@pytest.mark.parametrize(("verb", "now"), [("start", DOWN), ("stop", UP), ("restart", UP)])
def test_no_wait_only_orders(system: Systemd, verb: str, now: Look, capsys: pytest.CaptureFixture[str]) -> None:
    system.script = [now]
    assert main([verb, "web", "--no-wait"]) == 0
    assert system.orders == [f"{verb} {TARGET}"]
    assert system.looks <= 2
    assert capsys.readouterr().out == ""


def test_a_limit_of_its_own(system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    system.script = [DOWN, DOWN, {WAIT: "activating", f"job {WAIT}": "start"}]
    assert main(["start", "web", "--timeout", "10ms"]) == 75
    err = capsys.readouterr().err
    assert "the start was not done after 0 s; it goes on\nwhat to do: 'drbdocfs status --watch web' shows it\n" in err


def test_ctrl_c_ends_the_watching_only(system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    def look(number: int) -> None:
        if number == 4:
            raise KeyboardInterrupt

    system.script = [DOWN, DOWN, {WAIT: "activating", f"job {WAIT}": "start"}]
    system.on_look = look
    assert main(["start", "web"]) == 130
    assert system.orders == [f"start {TARGET}"]
    assert "the watching ends here, the start goes on; 'drbdocfs status --watch web' shows it\n" in (
        capsys.readouterr().err
    )


def test_systemd_refuses(system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    system.refuses = f"Unit {TARGET} is masked."
    assert main(["start", "web"]) == 1
    assert f"systemd does not start {TARGET}: Unit {TARGET} is masked.\n" in capsys.readouterr().err


def stale(system: Systemd, box: Box) -> None:
    system.stale = True


def not_generated(system: Systemd, box: Box) -> None:
    (box.root / "run/systemd/generator/drbdocfs@web.target.d").rmdir()


def switched_off(system: Systemd, box: Box) -> None:
    box.write("/proc/cmdline", "quiet drbdocfs=off\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (stale, "/etc/drbdocfs/drbdocfs.conf was changed since then\nwhat to do: 'systemctl daemon-reload', then"),
        (not_generated, "has not read the configuration of web yet: the stack was not there then\n"),
        (switched_off, "web has no units: this boot was made with drbdocfs=off"),
    ],
)  # fmt: skip
def test_units_that_are_not_those_of_the_configuration(
    box: Box,
    system: Systemd,
    change: Callable[[Systemd, Box], None],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(system, box)
    assert main(["start", "web"]) == 78
    assert words in capsys.readouterr().err
    assert system.orders == []
    # What is up can be stopped all the same.
    system.script = [UP, UP, DOWN]
    assert main(["stop", "web"]) == 0


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_refusals(
    box: Box, system: Systemd, verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([verb, "nope"]) == 2
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main([verb, "web"]) == 77
    assert f"drbdocfs: only root may do this\nwhat to do: sudo drbdocfs {verb} web\n" in capsys.readouterr().err
    monkeypatch.setattr("os.geteuid", lambda: 0)

    def none() -> Systemd:
        raise NoSystemd("systemd does not run on this machine", "the units need it")

    monkeypatch.setattr(follow_jobs, "Manager", none)
    assert main([verb, "web"]) == 69
    assert "drbdocfs: systemd does not run on this machine\n" in capsys.readouterr().err
    box.write("/etc/drbdocfs/drbdocfs.conf", "")
    assert main([verb]) == 78
    assert "no stack is configured" in capsys.readouterr().err
    box.write("/etc/drbdocfs/drbdocfs.conf", "[web]\n")
    assert main([verb]) == 78
    assert main([verb, "web"]) == 78
    assert system.orders == []


def test_without_drbds_tools(box: Box, system: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    (box.bin / "drbdadm").unlink()
    assert main(["start", "web"]) == 69
    assert capsys.readouterr().err == (
        "drbdocfs: drbdadm is not installed\nwhat to do: install the package drbd-utils\n"
    )


def test_a_mistake_elsewhere_is_told_and_the_good_ones_are_started(
    box: Box, system: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    box.write("/etc/drbdocfs/drbdocfs.conf", CONFIG + "[bad]\n")
    system.script = [DOWN, DOWN, UP]
    assert main(["start"]) == 78
    captured = capsys.readouterr()
    assert "[bad] resource is missing" in captured.err
    assert "web is up" in captured.out


@pytest.mark.parametrize("text", ["soon", "-1", ""])
def test_a_limit_that_is_none(system: Systemd, text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["start", "web", f"--timeout={text}"])
    assert caught.value.code == 2


def test_on_a_terminal_a_line_moves_and_a_resync_has_a_bar(
    box: Box, system: Systemd, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    box.write("/sys/module/drbd/version", "8.4.11\n")
    box.write("/proc/drbd", " 0: cs:SyncTarget\n    ns:0 oos:102400\n\t[===>] sync'ed: 37.5% (102400/163840)K\n"
              "\tfinish: 0:00:20 speed: 5,120 (5,120) K/sec\n")  # fmt: skip
    box.write("/events", Path(__file__).parent.joinpath("../transcripts/drbd-8.4/03-promote-both.server1.events2")
              .read_text().replace("replication:Established", "replication:SyncTarget"))  # fmt: skip
    box.tool("drbdsetup", "cat $ROOT/events")
    system.script = [DOWN, DOWN, {**STARTING, WAIT: "activating resync from the peer"}, UP]
    assert main(["start", "web"]) == 0
    out = capsys.readouterr().out
    assert "\rwait     \x1b[33mstarting\x1b[0m  0:00  [########............]  38 % 5.0 MiB/s 0:20 left resync" in out
    assert "\r\x1b[Kwait     \x1b[32mdone    \x1b[0m" in out
    assert out.endswith("web is \x1b[32mup\x1b[0m: /mnt/storage on /dev/drbd0\n")


@pytest.mark.parametrize(("statuses", "status"), [([0, 0], 0), ([0, 75], 75), ([75, 1], 1), ([1, 65, 75], 65), ([], 0)])
def test_the_worst_of_several(statuses: list[int], status: int) -> None:
    assert follow_jobs.worst(statuses) == status
