"""Names, directories and the environment without the module os."""

from __future__ import annotations

import os
import posix
import stat
from pathlib import Path

import pytest

from drbdocfs_boot.tools import system


def test_the_environment_is_the_one_that_os_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert system.environment("DRBDOCFS_X") == ""
    assert system.environment("DRBDOCFS_X", "none") == "none"
    monkeypatch.setenv("DRBDOCFS_X", "/mnt/größe")
    assert system.environment("DRBDOCFS_X", "none") == "/mnt/größe"
    monkeypatch.setenv("DRBDOCFS_X", "")
    assert system.environment("DRBDOCFS_X", "none") == ""


def test_a_name_that_is_no_text_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(name)
    monkeypatch.setitem(posix.environ, b"DRBDOCFS_X", name)
    assert stat.S_ISDIR(posix.stat(system.environment("DRBDOCFS_X")).st_mode)


def test_directories_are_made_with_what_is_missing_above_them(tmp_path: Path) -> None:
    for _ in range(2):
        system.make_directory(f"{tmp_path}/a/b/c")
    assert (tmp_path / "a/b/c").is_dir()
    (tmp_path / "f").write_text("")
    with pytest.raises(OSError):
        system.make_directory(f"{tmp_path}/f/g")


def test_a_name_that_cannot_be_does_not_exist(tmp_path: Path) -> None:
    os.symlink("nowhere", tmp_path / "link")
    assert system.exists(str(tmp_path / "link"))
    assert not system.exists(str(tmp_path / "missing"))
    assert not system.exists("/a\0b")
