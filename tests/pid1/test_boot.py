"""From the installation of the package to the power-off."""

from __future__ import annotations

import pytest

from tests.pid1 import world
from tests.pid1.conftest import Installation
from tests.pid1.container import Machine

pytestmark = pytest.mark.pid1

EVERYTHING = {*world.up(0), *world.down(0), world.REGISTER, world.UNREGISTER} - {"drbdsetup follow r0"}


def test_installation_enables_and_starts_nothing(installation: Installation) -> None:
    assert installation.enabled == "enabled", installation.output
    assert installation.active == ""
    assert world.changes(installation.calls) == []


def test_layers_come_in_order_and_go_in_reverse(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    world.plan(node, "seed 1", "delay 0.1", "peer r0: connect=0.2 sync=0.2")
    node.boot()
    assert node.systemctl("is-system-running") == "running"
    units = [*world.units("web"), "drbdocfs-o2cb@web.service", "drbdocfs.target", "multi-user.target"]
    assert world.states(node, units) == dict.fromkeys(units, "active")
    assert node.systemctl("list-units", "--failed", "--plain", "--no-legend") == ""
    node.poweroff()
    found = world.calls(node)
    assert sorted(world.changes(found)) == sorted(EVERYTHING)
    assert world.ordered(found, *world.chains([0])) == []
    assert world.complaints(node) == []


def test_all_layers_that_use_the_network_stop_before_its_target(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    node.boot()
    node.poweroff()
    words = [line.partition("]: ")[2] for line in node.journal("-b", "_PID=1").splitlines()]
    (network,) = [number for number, line in enumerate(words) if line.startswith("Stopped target network.target")]
    ours = [n for n, line in enumerate(words) if line.startswith(("Stopped drbdocfs-", "Unmounted mnt-web"))]
    layers = ["loop@web", "attach@web", "wait@web", "promote@web", "o2cb@web", "holders@web", "follow"]
    names = {f"drbdocfs-{layer}.service" for layer in layers} | {"mnt-web.mount"}
    assert {name for number in ours for name in names if name in words[number]} == names
    assert {words[number] for number in ours if number > network} <= {words[ours[-1]]}
    assert "drbdocfs-loop@web.service" in words[ours[-1]], "the last, and the one that needs no network"


def test_real_disk_needs_no_loop_device(node: Machine) -> None:
    section = "\n".join(line for line in world.stack("web").splitlines() if not line.startswith(("loop_", "backing_")))
    world.configure(node, section)
    node.boot(wait=False)
    # DRBD's disk comes late, as a disk behind a slow controller does: it is waited for.
    world.until_called(node, "drbdadm dump r0")
    node.run("sh", "-c", "mkdir -p /sys/block/loop7/loop && echo /disk >/sys/block/loop7/loop/backing_file")
    node.wait_booted(20)
    assert world.states(node, world.units("web")[1:]) == dict.fromkeys(world.units("web")[1:], "active")
    assert not [words for words in world.changes(world.calls(node)) if words.startswith("losetup")]


def test_nothing_configured_is_nothing_done(node: Machine) -> None:
    node.boot()
    assert node.systemctl("is-system-running") == "running"
    assert node.show("drbdocfs.target", "ActiveState") == ["active"]
    assert world.changes(world.calls(node)) == []


def test_console_has_a_login(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    node.boot()
    node.until(lambda: "server1 login:" in node.console, 10, "the login prompt")
