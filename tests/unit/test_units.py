"""What the mount unit asks of OCFS2."""

from __future__ import annotations

import pytest

from drbdocfs_boot import units
from drbdocfs_boot.stack import Reading, Stack


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ("", "barrier=1"),
        ("noatime,ro", "noatime,ro,barrier=1"),
        ("barrier=0,noatime", "barrier=0,noatime"),
        ("noatime,barrier=1", "noatime,barrier=1"),
    ],
)
def test_what_fsync_has_acknowledged_reaches_the_disk(given: str, options: str) -> None:
    """Without barrier=1 OCFS2 flushes nothing: a power cut of both nodes took acknowledged records away."""
    stack = Stack("web", resource="r0", device="/dev/drbd0", cluster="web", mountpoint="/mnt/x", mount_options=given)
    files, _problems = units.tree(Reading((stack,)), {})
    assert f"Options={options}\n" in files["mnt-x.mount"]
