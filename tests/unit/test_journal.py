"""The journal's native protocol, as systemd's own reader takes it apart."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from drbdocfs_boot.tools import journal


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short path: that of a socket has 108 bytes at most."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("DRBDOCFS_ROOT", str(place))
    yield place
    shutil.rmtree(place)


def test_encoding() -> None:
    data = journal.encode({"MESSAGE": "a b=c", "TWO": "x\ny", "EMPTY": "", "ODD": "\udcff"})
    assert data == b"MESSAGE=a b=c\n" + b"TWO\n\x03\0\0\0\0\0\0\0x\ny\n" + b"EMPTY=\n" + b"ODD=\xff\n"


def test_it_arrives(root: Path) -> None:
    place = root / "run/systemd/journal/socket"
    place.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(os.fspath(place))
        journal.send({"MESSAGE": "hello", "PRIORITY": "5"})
        listener.settimeout(5)
        assert listener.recv(4096) == b"MESSAGE=hello\nPRIORITY=5\n"


def test_without_a_journal_it_goes_to_standard_error(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal.send({"MESSAGE": "two\nlines", "PRIORITY": "4"})
    assert capsys.readouterr().err == "<4>two lines\n"


def test_a_journal_that_hangs_holds_nothing_up(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = root / "run/systemd/journal/socket"
    place.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(os.fspath(place))
        for _ in range(5000):
            journal.send({"MESSAGE": "x" * 1000, "PRIORITY": "4"})
    assert f"<4>{'x' * 1000}\n" in capsys.readouterr().err
