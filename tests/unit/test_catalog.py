"""The journal catalog against the table of messages."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from drbdocfs_boot.messages import KINDS, MESSAGE_ID

TOP = Path(__file__).parents[2]
CATALOG = TOP / "packaging/catalog/drbdocfs-boot.catalog"
# What a message of a kind carries beside the fields of its text (observe.py, helpers/follow.py).
ALWAYS = {"stack", "resource", "peer"}
MORE = {"advice"}


def entries() -> dict[str, str]:
    _, *rest = re.split(r"^-- ", CATALOG.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {text.split("\n", 1)[0]: text.split("\n", 1)[1] for text in rest}


def test_one_entry_for_each_message_and_none_beside() -> None:
    assert list(entries()) == [kind.id for kind in MESSAGE_ID]
    assert len({kind.id for kind in MESSAGE_ID}) == len({kind.name for kind in MESSAGE_ID}) == len(KINDS)
    assert all(re.fullmatch(r"[0-9a-f]{32}", kind.id) for kind in MESSAGE_ID)


@pytest.mark.parametrize("kind", MESSAGE_ID, ids=lambda kind: kind.name)
def test_entry(kind: object) -> None:
    from drbdocfs_boot.messages import Kind

    assert isinstance(kind, Kind)
    head, _, body = entries()[kind.id].partition("\n\n")
    assert [line.partition(":")[0] for line in head.split("\n")] == ["Subject", "Defined-By", "Documentation"]
    assert "Defined-By: drbdocfs-boot" in head
    assert body.strip()
    # Advice is told wherever something is to be done.
    if kind.priority <= 4 and kind.name not in ("peer-lost", "alone"):
        assert "'" in body or "@DRBDOCFS_ADVICE@" in body, "no command"
    fields = {name.lower() for name in re.findall(r"@DRBDOCFS_(\w+)@", head + body)}
    assert set(re.findall(r"@(\w+)@", head + body)) == {"DRBDOCFS_" + name.upper() for name in fields}
    assert fields <= ALWAYS | set(re.findall(r"{(\w+)}", kind.text)) | MORE


def test_journalctl_takes_it(tmp_path: Path) -> None:
    if shutil.which("journalctl") is None:
        pytest.skip("no journalctl here")
    place = tmp_path / "usr/lib/systemd/catalog"
    place.mkdir(parents=True)
    shutil.copy(CATALOG, place)
    for option in ("--update-catalog", "--list-catalog"):
        done = subprocess.run(
            ["journalctl", f"--root={tmp_path}", option], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    listed = {line.split(" ")[0]: line for line in done.stdout.splitlines()}
    assert set(listed) == {kind.id for kind in MESSAGE_ID}
    assert all(" drbdocfs-boot: " in line for line in listed.values())
