"""A root directory of its own, and stand-ins for tools, for the helpers' logic (behaviour at boot is the lab's)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure of a test.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


class Box:
    """``root``: DRBDOCFS_ROOT; ``tool`` puts a shell script on PATH; ``calls`` is what was run, a line each."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = place / "root"
        self.bin = place / "bin"
        self.log = place / "calls"
        self.root.mkdir()
        self.bin.mkdir()
        self.monkeypatch = monkeypatch
        monkeypatch.setenv("DRBDOCFS_ROOT", str(self.root))
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        self.write("/proc/self/mountinfo", "")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def tool(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\nROOT={self.root}\necho "{name} $*" >> {self.log}\n{body}\n')
        path.chmod(0o755)

    def set(self, **settings: str) -> None:
        for key, value in settings.items():
            self.monkeypatch.setenv(f"DRBDOCFS_{key}", value)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of day are shown in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
