"""How full a file system is, and one that does not answer."""

from __future__ import annotations

import pytest

from drbdocfs_boot.tools import usage
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Process

from .conftest import Box


def test_what_stat_says(box: Box) -> None:
    box.tool("stat", "echo 1024 163796 148896 148000 40949 37224")
    assert usage.ask("/mnt/storage") == {
        "size": 163796 * 1024, "used": 14900 * 1024, "available": 148000 * 1024, "files": 40949, "files_free": 37224,
    }  # fmt: skip
    assert box.calls == ["stat --file-system --format=%S %b %f %a %c %d -- /mnt/storage"]


@pytest.mark.parametrize("body", ["exit 1", "echo nonsense", "echo 1024 163796 148896 148000 40949 37224; exit 1"])
def test_no_answer(box: Box, body: str) -> None:
    box.tool("stat", body)
    assert usage.ask("/mnt/storage") is None


def test_one_that_hangs_is_given_up(box: Box) -> None:
    box.tool("stat", "sleep 60")
    assert usage.ask("/mnt/storage", 0.1) is None


def test_no_second_child_while_the_first_hangs_in_the_kernel(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in uninterruptible sleep cannot be killed; one a second would pile up under --watch."""
    box.tool("stat", "sleep 60")
    kept = []

    def end(process: Process) -> bool:
        kept.append(process)
        return False

    with monkeypatch.context() as changed:
        changed.setattr(Process, "end", end)
        assert usage.ask("/mnt/storage", 0.1) is None
        assert usage.ask("/mnt/storage", 0.1) is None
        assert len(box.calls) == 1
    # The kernel lets it go: the next question is asked anew.
    assert kept[0].end()
    box.tool("stat", "echo 1 2 1 1 5 4")
    assert usage.ask("/mnt/storage") is not None
    assert usage._hanging == {}


def test_without_stat(box: Box) -> None:
    with pytest.raises(Failure):
        usage.ask("/mnt/storage")
