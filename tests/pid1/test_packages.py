"""The package changed under stacks that are up, late or just being started."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pid1 import world
from tests.pid1.container import Machine
from tests.pid1.test_waiting import READY, comes_up, late

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


def removed_and_installed(node: Machine, deb: Path) -> None:
    node.run("dpkg", "-r", "drbdocfs-boot")
    assert world.states(node, [FOLLOW]) == {FOLLOW: "inactive"}
    install(node, deb)


def removal_that_fails(node: Machine, deb: Path) -> None:
    script = node.root / "var/lib/dpkg/info/drbdocfs-boot.prerm"
    text = script.read_text(encoding="utf-8")
    script.write_text(text.replace("\nexit 0\n", "\nexit 1\n"), encoding="utf-8")
    assert node.call("dpkg", "-r", "drbdocfs-boot").returncode != 0
    script.write_text(text, encoding="utf-8")


Change = Callable[[Machine, Path], None]
CHANGES = [removed_and_installed, removal_that_fails]


@pytest.mark.parametrize("change", CHANGES)
def test_a_stack_that_is_up_is_followed_again(node: Machine, deb: Path, change: Change) -> None:
    world.configure(node, world.stack("web"))
    node.boot()
    calls = world.changes(world.calls(node))
    before = node.show(FOLLOW, "MainPID")
    change(node, deb)
    assert node.show(FOLLOW, "ActiveState") == ["active"]
    assert node.show(FOLLOW, "MainPID") != before
    assert world.changes(world.calls(node)) == calls
    assert set(world.states(node, world.units("web")).values()) == {"active"}
    assert node.call("drbdocfs", "status").returncode == 0
    node.systemctl("stop", FOLLOW)
    done = node.call("drbdocfs", "status")
    assert (done.returncode, "drbdocfs-follow.service does not run" in done.stdout) == (1, True), done.stdout


@pytest.mark.parametrize("change", CHANGES)
def test_a_late_stack_comes_up_all_the_same(node: Machine, deb: Path, change: Change) -> None:
    late(node)
    change(node, deb)
    assert node.show(FOLLOW, "ActiveState") == ["active"]
    world.plan(node, READY)
    comes_up(node)


def test_nothing_is_followed_where_nothing_is_up(node: Machine, deb: Path) -> None:
    world.configure(node, world.stack("web"))
    node.boot()
    node.systemctl("stop", "drbdocfs.target")
    node.settle()
    removed_and_installed(node, deb)
    assert node.show(FOLLOW, "ActiveState") == ["inactive"]
