"""What the areas of `drbdocfs check` are given, and what is kept from whoever is not root."""

from __future__ import annotations

import os

import pytest

from drbdocfs_boot.checks.facts import Facts

from .conftest import Box


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files keep nothing from the root that may run this, so their modes decide here instead."""
    monkeypatch.setattr(os, "geteuid", lambda: 65534)

    def access(name: str, mode: int) -> bool:
        return os.stat(name).st_mode & mode == mode

    monkeypatch.setattr(os, "access", access)


def test_a_file_that_is_closed(box: Box, nobody: None) -> None:
    facts = Facts(False, "server1")
    box.write("/etc/open", "text\n").chmod(0o644)
    assert facts.read("/etc/open") == "text"
    assert facts.read("/etc/missing") is None
    assert facts.names("/etc/nowhere") == []
    assert not facts.exists("/etc/missing")
    assert facts.stat("/etc/missing") is None
    assert not facts.refused
    # It cannot be read, as root would: a directory in its place.
    (box.root / "etc/closed").mkdir()
    (box.root / "etc/closed").chmod(0o600)
    assert facts.read("/etc/closed") is None
    assert list(facts.refused) == ["/etc/closed"]
    assert facts.hidden("/etc")
    assert facts.hidden("/etc/closed")
    assert not facts.hidden("/etc/clo", "/etc/closed/below", "/usr")


def test_a_link_that_leads_nowhere_is_not_kept_from_anybody(box: Box, nobody: None) -> None:
    (box.root / "link").symlink_to("nowhere")
    facts = Facts(False, "server1")
    assert facts.read("/link") is None
    assert facts.stat("/link") is None
    assert not facts.refused


def test_to_root_nothing_is_refused(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    facts = Facts(True, "server1")
    assert facts.read("/") is None
    box.tool("drbdsetup", "echo 'Permission denied' >&2; exit 1")
    assert facts.tool("drbdsetup", "status") is not None
    assert not facts.refused


def test_a_tool_that_wants_root(box: Box, nobody: None) -> None:
    box.tool("drbdsetup", "echo 'Operation not permitted' >&2; exit 20")
    box.tool("o2cb", "echo 'no such cluster' >&2; exit 1")
    facts = Facts(True, "server1")
    facts.tool("o2cb", "list-cluster", "x")
    assert not facts.refused
    facts.tool("drbdsetup", "status")
    assert list(facts.refused) == ["'drbdsetup status'"]


def test_no_tool_is_run_for_a_tree_and_a_missing_one_is_no_error(box: Box) -> None:
    box.tool("ip", "echo '[]'")
    assert Facts(False, "server1").tool("ip", "address") is None
    assert Facts(True, "server1").tool("nonesuch") is None
    assert box.calls == []


def test_line_ends_as_they_are(box: Box) -> None:
    (box.root / "file").write_bytes(b"a\r\nb\n")
    facts = Facts(False, "server1")
    assert facts.exact("/file") == "a\r\nb\n"
    assert facts.exact("/missing") is None


def test_a_name_with_a_nul_is_nothing(box: Box, nobody: None) -> None:
    facts = Facts(True, "server1")
    box.tool("drbdadm", "exit 0")
    assert facts.read("/etc/a\0b") is None
    assert facts.exact("/etc/a\0b") is None
    assert facts.stat("/etc/a\0b") is None
    assert facts.piece("/etc/a\0b", 0, 1) is None
    assert facts.link("/etc/a\0b") is None
    assert facts.space("/etc/a\0b") is None
    assert facts.names("/etc/a\0b") == []
    assert facts.glob("/etc/a\0b/*") == []
    assert not facts.exists("/etc/a\0b")
    assert not facts.readable("/etc/a\0b")
    assert not facts.same_file("/etc/a\0b", "/etc")
    assert facts.resolve("/etc/a\0b") == "/etc/a\0b"
    assert facts.tool("drbdadm", "dump", "r\0") is None
    assert not facts.refused


STACK = "[web]\nresource = r0\ndevice = /dev/drbd0\ncluster = web\nmountpoint = /mnt/storage\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/mnt/storage/link/x", "/mnt/storage/link/x"),
        ("/link/x", "/mnt/storage/link/x"),
        ("/mnt/storage/link/../x/./y", "/mnt/storage/x/y"),
        ("/mnt/storage/../elsewhere", "/mnt/real"),
        ("/elsewhere/x", "/elsewhere/x"),
        ("/srv/ocfs2/link", "/srv/ocfs2/link"),
        ("/mnt/storage2/link", "/etc"),
    ],
)
def test_below_a_stack_s_mount_no_link_is_followed(box: Box, name: str, expected: str) -> None:
    box.write("/etc/drbdocfs/drbdocfs.conf", STACK)
    box.write("/proc/self/mountinfo", "50 22 147:9 / /srv/ocfs2 rw - ocfs2 /dev/drbd9 rw\n")
    for place in ("/mnt/storage", "/mnt/storage2", "/srv/ocfs2"):
        (box.root / place[1:]).mkdir(parents=True)
        (box.root / place[1:] / "link").symlink_to("/etc")
    (box.root / "link").symlink_to("mnt/storage/link")
    (box.root / "mnt/elsewhere").symlink_to("real")
    assert Facts(False, "server1").resolve(name) == expected


@pytest.mark.parametrize(("version", "driver"), [("8.4.11", 8), ("9.2.4\n", 9), ("10.0", 0), ("", 0)])
def test_the_driver(box: Box, version: str, driver: int) -> None:
    box.write("/sys/module/drbd/version", version)
    assert Facts(False, "server1").driver == driver
