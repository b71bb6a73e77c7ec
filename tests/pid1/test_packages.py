"""The package changed under stacks that are up, late or just being started."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.pid1 import world
from tests.pid1.container import Machine

pytestmark = pytest.mark.pid1

FOLLOW = "drbdocfs-follow.service"


def install(node: Machine, deb: Path) -> str:
    """Install or upgrade in no more than 10 s; what was said."""
    (node.root / "root/drbdocfs-boot.deb").write_bytes(deb.read_bytes())
    began = time.monotonic()
    said = node.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "-i", "/root/drbdocfs-boot.deb", limit=60)
    # dpkg itself unpacks and compiles, on a machine that has other things to do.
    assert time.monotonic() - began < 10, said
    return said


def test_an_upgrade_does_not_wait_for_a_stack_that_is_being_started(node: Machine, deb: Path) -> None:
    world.configure(node, world.stack("web"))
    world.plan(node, "peer r1: outcome=never")
    node.boot()
    world.configure(node, world.stack("web"), world.stack("db", 1, boot_timeout="10min"))
    node.systemctl("daemon-reload")
    node.systemctl("start", "--no-block", "drbdocfs@db.target")
    world.until_called(node, "drbdsetup follow r1")
    before = node.show(FOLLOW, "ActiveState", "MainPID")
    assert before[0] == "active"
    install(node, deb)
    after = node.show(FOLLOW, "ActiveState", "MainPID")
    assert after[0] == "active"
    assert after[1] != before[1]
    wait = "drbdocfs-wait@db.service"
    assert world.states(node, [wait, "mnt-web.mount"]) == {wait: "activating", "mnt-web.mount": "active"}
