"""The layer before the unmount: whom it waits for, whom it ends, and what it says."""

from __future__ import annotations

import os
import posix
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drbdocfs_boot.helpers import attach, holders, promote
from drbdocfs_boot.helpers.base import Layer
from drbdocfs_boot.tools import holders as tool
from drbdocfs_boot.tools.failure import Failure

from .conftest import Box
from .test_holders import MOUNT, ROOT_MOUNT, process

REAL_KILL = os.kill
SYSTEMCTL = "case $1 in list-jobs) cat $ROOT/jobs ;; show) cat $ROOT/shown ;; esac"


@pytest.fixture
def host(box: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    box.write("/proc/self/mountinfo", MOUNT)
    box.write("/run/drbdocfs/web.promote", "RESOURCE=r0\nDEVICE=/dev/drbd0\nMOUNTPOINT=/mnt/web\n")
    box.tool("systemctl", SYSTEMCTL)
    box.write("/jobs", "")
    box.write("/shown", "Id=cron.service\nActiveState=active\nAfter=basic.target\n")
    for name in ("PATIENCE", "TERMINATE", "TERMINATE_FIRST", "KILL"):
        monkeypatch.setattr(holders, name, 0.6)

    def kill(pid: int, number: int) -> None:
        if not (box.root / f"proc/{pid}").exists():
            REAL_KILL(pid, number)  # a child of our own
            return
        with box.log.open("a") as log:
            log.write(f"kill {pid} {number}\n")

    monkeypatch.setattr(posix, "kill", kill)
    return box


def stop(box: Box, policy: str = "report") -> None:
    box.set(STOP_HOLDERS=policy)
    holders.stop(Layer("holders", "web"))


def kills(box: Box) -> list[str]:
    return [call for call in box.calls if call.startswith("kill")]


def test_nobody_there_ends_at_once_and_asks_nobody(host: Box, capfd: pytest.CaptureFixture[str]) -> None:
    stop(host)
    assert capfd.readouterr() == ("web: nobody uses /mnt/web: it can be unmounted now\n", "")
    host.write("/proc/self/mountinfo", ROOT_MOUNT)
    stop(host, "kill")
    assert capfd.readouterr() == ("web: /dev/drbd0 is not mounted\n", "")
    assert host.calls == []


def test_report_names_everyone_and_what_it_means(host: Box, capfd: pytest.CaptureFixture[str]) -> None:
    process(host, 12, cwd="/mnt/web")
    host.write("/sys/block/loop3/loop/backing_file", "/mnt/web/disk.img\n")
    began = time.monotonic()
    stop(host)
    assert time.monotonic() - began < 0.5
    err = capfd.readouterr().err
    assert err.splitlines()[:3] == [
        "<4>web: /mnt/web is in use; what keeps it busy:",
        "<4>web:   worker (pid 12, user 33, cron.service): working directory /mnt/web",
        "<4>web:   loop device /dev/loop3 on /mnt/web/disk.img",
    ]
    assert "what to do: stop cron.service, and give what uses /mnt/web 'RequiresMountsFor=/mnt/web'" in err
    assert err.splitlines()[-1].startswith(
        "<3>web: /mnt/web cannot be unmounted now. If it stays so, OCFS2 on /dev/drbd0"
    )
    assert kills(host) == []


def test_a_crowd_is_counted(host: Box, capfd: pytest.CaptureFixture[str]) -> None:
    for pid in range(100, 125):
        process(host, pid, cwd="/mnt/web")
    stop(host)
    err = capfd.readouterr().err
    assert err.count("working directory") == 20
    assert "<4>web:   and 5 more\n" in err


def test_settings_come_from_the_record_first(host: Box, capfd: pytest.CaptureFixture[str]) -> None:
    host.set(DEVICE="/dev/drbd7", MOUNTPOINT="/other")
    stop(host)
    assert "nobody uses /mnt/web" in capfd.readouterr().out
    (host.root / "run/drbdocfs/web.promote").unlink()
    stop(host)
    assert "/dev/drbd7 is not mounted" in capfd.readouterr().out


# --- what systemd is stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobs", "shown"),
    [
        ("77 cron.service stop running\n", "Id=cron.service\nActiveState=active\nAfter=\n"),
        ("77 cron.service restart waiting\n", "Id=cron.service\nActiveState=active\nAfter=\n"),
        ("77 crond.service stop waiting\n", "Id=crond.service\nActiveState=active\nAfter=\n"),  # an alias
        ("", "Id=cron.service\nActiveState=deactivating\nAfter=\n"),
    ],
)
def test_what_stops_anyway_gets_its_time(host: Box, jobs: str, shown: str, capfd: pytest.CaptureFixture[str]) -> None:
    host.write("/jobs", jobs)
    host.write("/shown", shown)
    process(host, 12, cwd="/mnt/web")
    threading.Timer(0.3, (host.root / "proc/12/cwd").unlink).start()
    stop(host, "kill")
    out = capfd.readouterr().out
    assert out.startswith("web: giving cron.service up to 1 s to stop: worker (pid 12,")
    assert out.endswith("web: nobody uses /mnt/web: it can be unmounted now\n")
    assert kills(host) == []


def test_what_systemd_awaits_before_the_unmount_is_never_ended(host: Box, capfd: pytest.CaptureFixture[str]) -> None:
    host.write("/jobs", "77 cron.service stop running\n")
    host.write("/shown", "Id=cron.service\nActiveState=deactivating\nAfter=basic.target mnt-web.mount\n")
    process(host, 12, cwd="/mnt/web")
    stop(host, "kill")
    out, err = capfd.readouterr()
    assert "/mnt/web is unmounted when cron.service has stopped" in out
    assert err == ""
    assert kills(host) == []


@pytest.mark.parametrize(("policy", "signals"), [("report", []), ("kill", ["kill 12 15", "kill 12 9"])])
@pytest.mark.slow
def test_what_does_not_stop_in_time_is_one_of_the_rest(host: Box, policy: str, signals: list[str]) -> None:
    host.write("/jobs", "77 cron.service stop running\n")
    process(host, 12, cwd="/mnt/web")
    stop(host, policy)
    assert kills(host) == signals


def test_a_systemd_that_does_not_answer(host: Box) -> None:
    (host.bin / "systemctl").unlink()
    process(host, 12, cwd="/mnt/web")
    began = time.monotonic()
    stop(host, "terminate")
    assert time.monotonic() - began >= 1.2  # in doubt they had their time
    assert kills(host) == ["kill 12 15"]


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(host: Box, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """Starts a real process which the box's /proc shows in the mount, until it has gone."""
    monkeypatch.setattr(posix, "kill", REAL_KILL)
    for name in ("PATIENCE", "TERMINATE", "TERMINATE_FIRST", "KILL"):
        monkeypatch.setattr(holders, name, 1.0)
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str) -> int:
        running = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE)
        assert running.stdout is not None
        running.stdout.readline()
        started.append(running)
        process(host, running.pid, cwd="/mnt/web")

        def leave() -> None:
            running.wait()
            (host.root / f"proc/{running.pid}/stat").unlink()

        threading.Thread(target=leave, daemon=True).start()
        return running.pid

    yield start
    for running in started:
        running.kill()
        running.wait()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize(
    ("policy", "script", "code"),
    [
        ("terminate", "echo; exec /bin/sleep 60", "gone"),
        ("terminate", "trap '' TERM; echo; while :; do /bin/sleep 1; done", "there"),
        ("kill", "echo; exec /bin/sleep 60", "gone"),
        ("kill", "trap '' TERM; echo; while :; do /bin/sleep 1; done", "gone"),
    ],
)
@pytest.mark.slow
def test_a_real_process(
    host: Box, real: Callable[[str], int], policy: str, script: str, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pid = real(script)
    stop(host, policy)
    out, err = capfd.readouterr()
    assert f"<4>web: SIGTERM to worker (pid {pid}, user 33, cron.service): working directory /mnt/web" in err
    assert ("SIGKILL" in err) is (policy == "kill" and "trap" in script)
    assert ((host.root / f"proc/{pid}/stat").exists()) is (code == "there")
    assert (f"after stop_holders = {policy}:" in err) is (code == "there")
    assert ("nobody uses /mnt/web: it can be unmounted now" in out) is (code == "gone")


@pytest.mark.parametrize("policy", ["terminate", "kill"])
def test_who_is_never_sent_a_signal(host: Box, policy: str, capfd: pytest.CaptureFixture[str]) -> None:
    process(host, 1, comm="systemd", cwd="/mnt/web")
    process(host, 12, comm="kworker/1", cwd="/mnt/web", flags=tool.KERNEL_THREAD)
    process(host, 13, cwd="/home")  # in the same unit, but nowhere near
    host.write("/sys/block/loop3/loop/backing_file", "/mnt/web/disk.img\n")
    began = time.monotonic()
    stop(host, policy)
    assert time.monotonic() - began < 0.5  # and nothing to wait for
    assert kills(host) == []
    assert "cannot be unmounted now" in capfd.readouterr().err


@pytest.mark.slow
def test_another_process_with_the_same_number_is_left_alone(host: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    process(host, 12, cwd="/mnt/web")
    found = tool.of_mount("/dev/drbd0")
    stat = host.root / "proc/12/stat"
    stat.write_text(stat.read_text().replace(" 500 ", " 999 "))
    monkeypatch.setattr(tool, "of_mount", lambda device: found)
    stop(host, "kill")
    assert kills(host) == []


def test_one_that_came_later_gets_its_signal_too(host: Box) -> None:
    process(host, 12, cwd="/mnt/web")

    def swap() -> None:
        process(host, 13, cwd="/mnt/web")
        (host.root / "proc/12/stat").unlink()

    threading.Timer(0.2, swap).start()
    stop(host, "terminate")
    assert kills(host) == ["kill 12 15", "kill 13 15"]


def test_limits_stay_below_the_unit_s() -> None:
    unit = (Path(holders.__file__).parents[2] / "units/drbdocfs-holders@.service").read_text()
    (limit,) = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("TimeoutStopSec=")]
    # As imported, before any test made them shorter.
    text = Path(holders.__file__).read_text().splitlines()
    given = {
        line.split(" = ")[0]: float(line.split()[2]) for line in text if line.split(" = ")[0].isupper() and ".0" in line
    }
    scans = 4 * (tool.MAPS_LIMIT + 1)
    longest = given["PATIENCE"] + max(given["TERMINATE"], given["TERMINATE_FIRST"] + given["KILL"]) + scans
    assert longest + 2 * given["ANSWER"] <= 60 < int(limit.rstrip("s"))


# --- the layers below name the holders, too -------------------------------------------------------------------------

STATE = (
    "exists resource name:r0 role:Primary suspended:no\n"
    "exists device name:r0 volume:0 minor:0 disk:UpToDate\n"
    "exists -\n"
)


@pytest.fixture
def drbd(host: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    host.write("/sys/module/drbd/version", "8.4.11\n")
    host.write("/state", STATE)
    host.tool("drbdsetup", "case $1 in events2) cat $ROOT/state ;; *) echo held >&2; exit 11 ;; esac")
    host.write("/run/drbdocfs/web.attach", "RESOURCE=r0\nDEVICE=/dev/drbd0\n")
    for module, name in ((promote, "DEMOTE_LIMIT"), (promote, "UNMOUNT_LIMIT"), (attach, "DOWN_LIMIT")):
        monkeypatch.setattr(module, name, 0.4)
    monkeypatch.setattr(promote, "UNMOUNT_GRACE", 9)
    return host


@pytest.mark.parametrize(("module", "kind"), [(promote, "promote"), (attach, "attach")])
@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.slow
def test_a_stop_that_cannot_names_who_is_in_the_way(drbd: Box, module: object, kind: str, mounted: bool) -> None:
    if mounted:
        process(drbd, 12, cwd="/mnt/web/x")
        how = "working directory /mnt/web/x"
    else:
        drbd.write("/proc/self/mountinfo", ROOT_MOUNT)
        process(drbd, 12, fds=("/dev/drbd0",))
        how = "open device /dev/drbd0"
    with pytest.raises(Failure) as caught:
        module.stop(Layer(kind, "web"))  # type: ignore[attr-defined]
    assert caught.value.message.endswith(f"in use by worker (pid 12, user 33, cron.service): {how}")
    if not mounted:
        assert len([call for call in drbd.calls if "events2" not in call]) >= (2 if kind == "promote" else 1)
