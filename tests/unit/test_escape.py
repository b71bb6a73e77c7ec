"""Names and values in unit files."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drbdocfs_boot import escape
from drbdocfs_boot.escape import Unwritable

PATHS = ["/mnt/storage", "/", "/mnt/my dir/50%-größe;$HOME", "/.hidden/x", "/a-b/c_d", "/x\\y", "/a:b.c", '/quo"te']


@pytest.mark.parametrize("path", PATHS)
def test_as_systemd_escape_does(path: str) -> None:
    tool = shutil.which("systemd-escape")
    assert tool is not None
    expected = subprocess.run([tool, "--path", path], capture_output=True, text=True, check=True).stdout.strip()
    assert escape.path(path) == expected


def test_mount_unit_that_is_too_long() -> None:
    assert escape.mount_unit("/mnt/storage") == "mnt-storage.mount"
    with pytest.raises(Unwritable, match="too long for a unit name"):
        escape.mount_unit("/" + "ü" * 100)


@pytest.mark.parametrize(
    "text", ["a\nExecStart=/bin/sh", "a\r", "a\x00", "a\x85b", "tab\tx", "end\\", " a", "a ", "\udcff", "\x1b[31m"]
)
def test_what_could_add_a_directive_is_refused(text: str) -> None:
    with pytest.raises(Unwritable):
        escape.value(text)
    with pytest.raises(Unwritable):
        escape.quoted(text)


def test_specifiers_and_quotes() -> None:
    assert escape.value("50%n") == "50%%n"
    assert escape.quoted('a "b" \\c %i') == '"a \\"b\\" \\\\c %%i"'


@settings(derandomize=True, max_examples=150)
@given(st.text(max_size=60))
def test_an_instance_name_is_always_a_valid_one_and_never_shared(name: str) -> None:
    made = escape.instance(name)
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.-\\")
    if len(made) < 140:
        raw = made.encode("latin-1").decode("unicode_escape").encode("latin-1")
        assert raw == name.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("name", ["web", "web-2", "a.b_c", "-x"])
def test_good_names_stay_as_they_are(name: str) -> None:
    assert escape.instance(name) == name
