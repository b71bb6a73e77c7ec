"""The generator where it belongs: started by PID 1, at boot and at daemon-reload.

systemd puts generators into a sandbox since 253: with Debian 13 (DRBDOCFS_PID1_RELEASE=13) these run in it, with
Debian 12 (252) they do not, and that nothing is written elsewhere is seen from the files alone.
"""

from __future__ import annotations

import re

import pytest

from tests.pid1 import world
from tests.pid1.container import Machine

pytestmark = pytest.mark.pid1

NORMAL = "/run/systemd/generator"
BROKEN = world.stack("bad", 1, peer_timeout="soon")


def generated(node: Machine) -> list[str]:
    """What of ours is in the normal directory."""
    return [name for name in node.run("find", NORMAL).split() if "drbdocfs" in name or "mnt-" in name]


def generator_complaints(node: Machine) -> list[str]:
    """What PID 1 says about a generator that failed; its words go to the kernel log that early."""
    lines = (node.kernel_log + node.journal("-b")).splitlines()
    bad = re.compile("drbdocfs-generator.*(fail|exit|timed out|killed)")
    return [line for line in lines if bad.search(line)]


def test_units_are_where_they_belong_and_nowhere_else(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    node.boot()
    assert f"{NORMAL}/mnt-web.mount" in generated(node)
    assert f"{NORMAL}/drbdocfs.target.wants/drbdocfs@web.target" in generated(node)
    assert generator_complaints(node) == []
    expression = ["(", "-name", "*drbdocfs*", "-o", "-name", "mnt-*", ")"]
    places = ["/run", "/tmp", "/etc", "/var", "/dev", "/root", "/home"]
    found = node.run("find", *places, "-path", NORMAL, "-prune", "-o", *expression, "-print").split()
    # Records of the helpers, systemd's own notes, the configuration, and what the package and its preset have left.
    known = (
        "/run/drbdocfs", "/run/systemd/units/", "/run/systemd/propagate", "/etc/drbdocfs", "/var/lib/drbdocfs",
        "/var/lib/dpkg/",
        "/var/lib/systemd/deb-systemd-helper-enabled/", "/etc/systemd/system/multi-user.target.wants/drbdocfs.target",
    )  # fmt: skip
    assert [name for name in found if not name.startswith(known)] == []
    for directory in (f"{NORMAL}.early", f"{NORMAL}.late"):
        assert "drbdocfs" not in node.call("find", directory).stdout


def test_generated_units_name_their_source(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    node.boot()
    assert node.show("mnt-web.mount", "SourcePath") == ["/etc/drbdocfs/drbdocfs.conf"]
    assert "drbdocfs" in node.show("mnt-web.mount", "Documentation")[0]


def test_broken_stack_beside_a_good_one(node: Machine) -> None:
    world.configure(node, world.stack("web"), BROKEN)
    node.boot()
    assert node.call("systemctl", "is-system-running").stdout.strip() == "degraded"
    units = ["mnt-web.mount", "drbdocfs-broken@bad.service", "multi-user.target"]
    assert world.states(node, units) == dict(zip(units, ("active", "failed", "active")))

    (line,) = [text for text in node.kernel_log.splitlines() if "drbdocfs-generator: " in text]
    words = line.split("drbdocfs-generator: ", 1)[1]
    number = 1 + node.read("/etc/drbdocfs/drbdocfs.conf").splitlines().index("peer_timeout = soon")
    assert words.startswith(f"/etc/drbdocfs/drbdocfs.conf:{number}: [bad] peer_timeout = ")
    assert words in node.journal("-b", "-u", "drbdocfs-broken@bad.service")
    node.until(lambda: words in node.console.replace("\r\n", "\n"), 5, "the same words on the console")
    assert "78/CONFIG" in node.journal("-b", "-u", "drbdocfs-broken@bad.service")

    started = node.call("systemctl", "start", "drbdocfs@bad.target")
    assert started.returncode != 0, "starting a broken stack has to fail, not to do nothing"
    assert not any("r1" in call.words for call in world.calls(node))


def test_mended_stack_comes_up_by_reload_and_start(node: Machine) -> None:
    world.configure(node, world.stack("web"), BROKEN)
    node.boot()
    world.configure(node, world.stack("web"), world.stack("bad", 1))
    node.systemctl("daemon-reload")
    assert node.call("systemctl", "--failed", "--no-legend").stdout == "", "nothing is wrong any more"
    node.systemctl("start", "drbdocfs.target")
    node.settle()
    assert set(world.states(node, ["mnt-bad.mount", "mnt-web.mount"]).values()) == {"active"}


def test_stack_that_nobody_configured_cannot_be_started(node: Machine) -> None:
    node.boot()
    done = node.call("systemctl", "start", "drbdocfs@nobody.target")
    assert done.returncode != 0
    assert world.changes(world.calls(node)) == []


def test_switched_off_on_the_kernel_command_line(node: Machine) -> None:
    world.configure(node, world.stack("web"), BROKEN)
    node.boot(cmdline="quiet drbdocfs=off")
    assert node.systemctl("is-system-running") == "running"
    assert generated(node) == []
    assert "drbdocfs-generator" not in node.kernel_log
    assert world.changes(world.calls(node)) == []


def test_odd_names_survive_systemd(node: Machine) -> None:
    mountpoint = "/mnt/ä b%i$x-y"
    world.configure(node, world.stack("web", mountpoint=mountpoint))
    node.boot()
    unit = node.run("systemd-escape", "--path", "--suffix=mount", mountpoint).strip()
    assert world.states(node, [unit]) == {unit: "active"}
    assert node.run("findmnt", "--noheadings", "--raw", "--output", "SOURCE", mountpoint).strip() == "/dev/drbd0"
    assert world.complaints(node) == []
    node.poweroff()
    assert world.ordered(world.calls(node), *world.chains([0])) == []
    assert world.down(0)[3] in world.changes(world.calls(node))
