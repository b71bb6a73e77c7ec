"""What all helpers share: how they end."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from drbdocfs_boot.helpers import base

END = (
    "import sys; sys.path.insert(0, sys.argv[1]); import atexit; from drbdocfs_boot.helpers import base;"
    "atexit.register(print, 'put away'); print('said', end=' '); print('warned', end=' ', file=sys.stderr);"
    "base.end(78)"
)


def ended(redirections: str = "") -> subprocess.CompletedProcess[str]:
    top = str(Path(base.__file__).parents[2])
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-I", "-S", "-c", END, top],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_helper_ends_at_once_and_what_it_has_said_arrives() -> None:
    done = ended()
    assert (done.returncode, done.stdout, done.stderr) == (78, "said ", "warned ")


def test_its_status_counts_whether_anybody_reads_it_or_not() -> None:
    assert ended(">/dev/full").returncode == 78
    assert ended(">&- 2>&-").returncode == 78


@pytest.mark.parametrize(("code", "advice"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_a_full_disk_comes_with_what_to_do(
    code: int, advice: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(_: base.Layer) -> None:
        raise OSError(code, os.strerror(code), "/run/drbdocfs/web.loop")

    monkeypatch.setattr(sys, "argv", ["loop", "start", "web"])
    assert base.main(SimpleNamespace(start=start), "loop") == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"<3>web: loop start: [Errno {code}] {os.strerror(code)}: '/run/drbdocfs/web.loop'"
    more = "<3>web: what to do: make room there ('df -h', 'df -i'), then 'systemctl start drbdocfs.target'"
    assert lines[1:] == ([more] if advice else [])


def test_a_record_that_cannot_be_written_hides_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    woken: list[str] = []
    monkeypatch.setattr("drbdocfs_boot.tools.wake.send", woken.append)

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/run/drbdocfs/web.waiting")

    layer = base.Layer("wait", "web")
    assert layer.leave(lambda: None, "nobody knows") is True
    assert layer.leave(full, "nobody knows") is False
    assert len(woken) == 2
    assert capsys.readouterr().out == (
        "web: nobody knows: [Errno 28] No space left on device: '/run/drbdocfs/web.waiting'\n"
    )
