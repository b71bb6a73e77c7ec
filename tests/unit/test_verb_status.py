"""``drbdocfs status --watch``: lines to a pipe, a live view on a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from drbdocfs_boot import report, watch
from drbdocfs_boot.cli import main
from drbdocfs_boot.tools import records
from drbdocfs_boot.verbs import status

from .test_report import SPACE, STACK, STARTING, about, units, waiting

TOP = Path(__file__).parent.parent.parent


class Looks:
    """What is seen, one after the other; then the administrator has had enough."""

    def __init__(self, *seen: report.StackReport) -> None:
        self.seen = list(seen)

    def __call__(self, stacks: object) -> list[report.StackReport]:
        if not self.seen:
            raise KeyboardInterrupt
        return [self.seen.pop(0)]


def starting(seconds: float) -> report.StackReport:
    return report.stack_report(STACK, units(**STARTING), about(), waiting(seconds))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(watch, "EVERY", 0.0)
    monkeypatch.setenv("DRBDOCFS_ROOT", str(tmp_path))


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path) -> None:
    (tmp_path / "etc/drbdocfs").mkdir(parents=True)
    (tmp_path / "etc/drbdocfs/drbdocfs.conf").write_text(
        "[web]\nresource = r0\ndevice = /dev/drbd0\ncluster = web\nmountpoint = /mnt/storage\n"
    )


def test_nothing_to_watch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "etc/drbdocfs/drbdocfs.conf").write_text("")
    assert main(["status", "--watch"]) == 0
    assert capsys.readouterr().out == "no stack is configured (/etc/drbdocfs/drbdocfs.conf)\n"


def test_a_line_per_change_with_its_time(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    up = report.stack_report(STACK, units(), None, mount=SPACE)
    monkeypatch.setattr(watch, "look", Looks(starting(1), starting(2), starting(3), up, up))
    assert main(["status", "--watch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert time.strptime(lines[0][:19], "%Y-%m-%d %H:%M:%S")
    assert lines[0][19:] == " web: starting: waits: waiting for server2 at 10.0.0.2:7789 (Connecting), 0:01 of 2:00"
    assert lines[1][19:] == " web: up"


def test_the_last_state_is_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "look", Looks(report.stack_report(STACK, units(), None), starting(1)))
    assert main(["status", "--watch"]) == 1


def test_rich_draws_where_it_is_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    drawn: list[Any] = []

    class Live:
        def __init__(self, **_: object) -> None:
            drawn.append("begin")

        def __enter__(self) -> Live:
            return self

        def __exit__(self, *_: object) -> None:
            drawn.append("end")

        def update(self, text: str, refresh: bool) -> None:
            drawn.append(text)

    class Text(str):
        @classmethod
        def from_ansi(cls, text: str) -> str:
            return text

    for name, values in (("rich", {}), ("rich.live", {"Live": Live}), ("rich.text", {"Text": Text})):
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(watch, "look", Looks(starting(1), starting(2)))
    reports = status._live(lambda: watch.look([]), ())
    assert [one.state for one in reports] == ["starting"]
    assert (drawn[0], drawn[-1], len(drawn)) == ("begin", "end", 4)
    assert "0:02 of 2:00" in drawn[2]


SCRIPT = """
import sys
sys.path.insert(0, {top!r})
sys.modules["rich.live"] = None  # not installed
from drbdocfs_boot import systemd
from drbdocfs_boot.cli import main
from drbdocfs_boot.systemd import UnitState
systemd.states = lambda names: {{name: UnitState(name, "loaded", "active", "", "", "", 1) for name in names}}
sys.exit(main(["--root", {root!r}, "status", "--watch"]))
"""


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_on_a_terminal_until_q_or_ctrl_c(tmp_path: Path, key: bytes) -> None:
    (tmp_path / "mnt/storage").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("1 2 147:0 / /mnt/storage rw - ocfs2 /dev/drbd0 rw\n")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        ["/usr/bin/python3", "-c", SCRIPT.format(top=str(TOP), root=str(tmp_path))],
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"},
        preexec_fn=lambda: os.close(os.open(os.ttyname(1), os.O_RDWR)),
    )  # fmt: skip
    os.close(follower)
    out = b""
    deadline = time.monotonic() + 30
    sent = False
    while time.monotonic() < deadline and process.poll() is None:
        if select.select([leader], [], [], 0.1)[0]:
            try:
                out += os.read(leader, 65536)
            except OSError:
                break
        if b"q ends this" in out and not sent:
            sent = True
            os.write(leader, key)
    try:
        assert process.wait(10) == 0
        while select.select([leader], [], [], 0.1)[0]:
            out += os.read(leader, 65536)
    except OSError:
        pass
    finally:
        process.kill()
        os.close(leader)
    assert sent
    text = out.decode()
    assert "\x1b[?1049h" in text
    live, _, after = text.partition("\x1b[?1049l")
    assert "web: up since 1970-01-01" in live
    assert "web: up since 1970-01-01" in after  # what was seen last stays on the screen


def test_what_the_handler_does_is_missed_by_who_may_not_read_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An unreadable record is said to be there; one that is not there, and one that is old, are not missed."""
    frozen = report.DrbdReport("waiting", "", "", suspended="fencing")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(records, "read", lambda name, kind: None)
    missed: list[str] = []
    assert watch._fencing(STACK, frozen, missed) is None
    assert missed == []
    record = tmp_path / "run/drbdocfs/web.fencing"
    record.parent.mkdir(parents=True)
    record.touch()
    assert watch._fencing(STACK, report.DrbdReport("ready", "", ""), missed) is None
    assert missed == []
    assert watch._fencing(STACK, frozen, missed) is None
    assert missed == ["what the fence-peer handler does (/run/drbdocfs/web.fencing)"]


def test_the_handler_s_record_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = tmp_path / "run/drbdocfs/web.fencing"
    record.parent.mkdir(parents=True)
    record.write_text(f"BEGAN=1\nPHASE=lock\nUNTIL={time.monotonic() + 60}\nREASON=why\n")
    found = watch._fencing(STACK, report.DrbdReport("waiting", "", "", suspended="fencing"), [])
    assert found is not None
    assert (found.phase, found.reason) == ("lock", "why")
    assert found.until is not None
    assert abs(found.until - time.time() - 60) < 5
