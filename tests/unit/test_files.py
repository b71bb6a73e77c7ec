"""Files that are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from drbdocfs_boot.tools import files

from .conftest import Box


def test_a_new_file_with_its_directories(box: Box) -> None:
    files.write("/etc/a/b/c.conf", "text\n")
    path = box.root / "etc/a/b/c.conf"
    assert path.read_text() == "text\n"
    assert path.stat().st_mode & 0o7777 == 0o644
    assert (box.root / "etc/a").stat().st_mode & 0o7777 == 0o755
    assert os.listdir(path.parent) == ["c.conf"]


def test_mode_and_owner_stay(box: Box) -> None:
    path = box.write("/etc/secret", "old")
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    before = path.stat()
    files.write("/etc/secret", "new")
    now = path.stat()
    assert path.read_text() == "new"
    assert (now.st_mode, now.st_uid, now.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    files.write("/etc/secret", "new", 0o640)
    assert path.stat().st_mode & 0o7777 == 0o640


def test_a_new_file_gets_the_mode_whatever_the_umask(box: Box) -> None:
    old = os.umask(0o077)
    try:
        files.write("/etc/open", "x")
        files.write("/etc/closed", "x", 0o600)
    finally:
        os.umask(old)
    assert (box.root / "etc/open").stat().st_mode & 0o7777 == 0o644
    assert (box.root / "etc/closed").stat().st_mode & 0o7777 == 0o600


def test_a_link_is_followed_and_stays(box: Box) -> None:
    real = box.write("/etc/real", "old")
    (box.root / "etc/link").symlink_to("real")
    files.write("/etc/link", "new")
    assert (box.root / "etc/link").is_symlink()
    assert real.read_text() == "new"


def test_a_link_that_somebody_put_in_the_place_of_the_new_file_is_not_followed(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may write in the directory of the crontabs."""
    victim = box.write("/etc/victim", "precious")
    path = box.write("/etc/file", "old")
    planted = box.root / f"etc/file.{os.getpid()}.drbdocfs-new"
    planted.symlink_to(victim)
    files.write("/etc/file", "new")
    assert (path.read_text(), victim.read_text(), planted.is_symlink()) == ("new", "precious", False)
    # Put there between our look and our open: nothing is written.
    planted.symlink_to(victim)
    monkeypatch.setattr(os.path, "lexists", lambda name: False)
    with pytest.raises(FileExistsError):
        files.write("/etc/file", "newer")
    assert (path.read_text(), victim.read_text()) == ("new", "precious")


def test_bytes_that_are_no_utf8_and_line_ends_come_through(box: Box) -> None:
    raw = b"caf\xe9\r\nend"
    files.write("/etc/raw", raw.decode("utf-8", "surrogateescape"))
    assert (box.root / "etc/raw").read_bytes() == raw


@pytest.mark.parametrize("call", ["fsync", "rename", "fchmod"])
def test_when_it_fails_the_old_file_is_whole_and_nothing_else_is_left(
    box: Box, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = box.write("/etc/file", "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        files.write("/etc/file", "new")
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["file"]


def test_text_is_on_disk_before_the_name_and_the_name_before_it_returns(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(fd: int) -> None:
        order.append("sync " + Path(os.readlink(f"/proc/self/fd/{fd}")).name.partition(".")[0])
        fsync(fd)

    def renamed(one: str, other: str) -> None:
        order.append("rename")
        rename(one, other)

    box.write("/etc/file", "old")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    files.write("/etc/file", "new")
    assert order == ["sync file", "rename", "sync etc"]


def test_extended_attributes_stay(box: Box) -> None:
    """A security label, or an access list: without its label a script may not be run at boot."""
    path = box.write("/etc/labelled", "old")
    try:
        os.setxattr(path, "user.label", b"kept")
    except OSError:
        pytest.skip("this file system keeps no extended attributes")
    files.write("/etc/labelled", "new")
    assert os.getxattr(path, "user.label") == b"kept"


def test_directories_are_made_durable(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(files, "sync_directory", synced.append)
    files.make_directory(str(box.root / "x/y/z"))
    assert (box.root / "x/y/z").is_dir()
    assert synced == [str(box.root), str(box.root / "x"), str(box.root / "x/y")]
    files.make_directory(str(box.root / "x/y/z"))
    assert len(synced) == 3
