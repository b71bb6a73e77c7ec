"""A kept state of the lab's pair is used again only for the machine that it was made on (tests/lab/snapshot.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import cache, snapshot
from tests.lab.image import Image
from tests.lab.node import command_line

IMAGE = Image(Path("/cache/image-12-abc"), "12")
QEMU = "QEMU emulator version 7.2.22"


def test_the_same_machine_has_the_same_key() -> None:
    assert snapshot.key(IMAGE, None, QEMU) == snapshot.key(IMAGE, None, QEMU)


def test_another_qemu_image_or_base_has_another_key() -> None:
    base, other = cache.folder() / "pair-12-a", cache.folder() / "pair-12-b"
    keys = {
        snapshot.key(IMAGE, None, QEMU),
        snapshot.key(IMAGE, None, QEMU.replace("7.2.22", "7.2.23")),
        snapshot.key(Image(Path("/cache/image-12-abd"), "12"), None, QEMU),
        snapshot.key(IMAGE, base, QEMU),
        snapshot.key(IMAGE, other, QEMU),
    }
    assert len(keys) == 5


def test_another_machine_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot.key(IMAGE, None, QEMU)
    monkeypatch.setattr(snapshot, "command_line", lambda *given: [*command_line(*given), "-device", "pvpanic"])
    assert snapshot.key(IMAGE, None, QEMU) != before


def test_disks_that_are_not_in_the_cache_have_no_key(tmp_path: Path) -> None:
    """The name alone says what is in a folder of the cache; elsewhere it says nothing."""
    with pytest.raises(ValueError, match="no entry of the cache"):
        snapshot.key(IMAGE, tmp_path, QEMU)


def test_folder_and_ports_change_nothing_that_the_guest_sees() -> None:
    one = command_line(IMAGE, 1, Path("/tmp/one"), (1001, 1002), 1003)
    two = command_line(IMAGE, 1, Path("/tmp/two"), (2001, 2002), 2003)
    assert len(one) == len(two)
    differ = {one[place - 1] for place, word in enumerate(one) if word != two[place]}
    assert differ == {"-drive", "-netdev", "-chardev", "-qmp"}
