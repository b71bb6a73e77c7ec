"""The packages on a release of Debian: installed, booted, upgraded, stopped, removed; and the RPM as rpm installs it.

`make matrix` runs this on each release; which one a run is about says --release.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import arguments, snapshot, stack
from .image import Image
from .lab import Lab, say
from .node import Node
from .provision import provisioned
from .stack import LAYERS, MOUNTPOINT

# dpkg, not rpm, knows what is there, and Debian 12's rpm wants to be told that this is meant.
RPM = "rpm $(rpm --force-debian --version >/dev/null 2>&1 && echo --force-debian) --nodeps"
pytestmark = [pytest.mark.lab, pytest.mark.long]

# The same package by a higher version: what its scripts do is what counts.
NEWER = """cd /root; rm -rf tree newer.deb; dpkg-deb --raw-extract drbdocfs-boot_*_all.deb tree
sed -i 's/^Version: .*/&+lab1/' tree/DEBIAN/control; dpkg-deb -Znone --build tree newer.deb; rm -r tree"""


@pytest.fixture(scope="class")
def pair(image: Image) -> Iterator[Lab]:
    """Both nodes provisioned as the guide does it, without the product."""
    with Lab(image, provisioned(image)) as lab:
        snapshot.resume(lab)
        for node in lab.nodes:
            say(node.run("uname -sr; systemctl --version | head -n 1; python3 --version").replace("\n", ", "))
        yield lab


@pytest.fixture(scope="session")
def rpm(request: pytest.FixtureRequest) -> Path:
    return arguments.find_rpm(None)


def runs(node: Node) -> str:
    """What is another text after anything of the stack was started again."""
    return node.run("systemctl show --property=InvocationID " + " ".join(LAYERS.values()))


def enabled_and_down(node: Node) -> None:
    assert node.run("systemctl is-enabled drbdocfs.target").strip() == "enabled"
    stack.check_down(node)
    assert node.run("systemctl --failed --no-legend --plain").strip() == ""


def remove(node: Node, command: str) -> None:
    """It says what stays up, which is then taken down by hand."""
    said = node.run(command, timeout=240)
    assert "these stacks stay Primary, and mounted where they are mounted: web" in said, said
    assert stack.is_mounted(node), "removing the package unmounted the file system"
    node.run(
        f"umount {MOUNTPOINT} && o2cb unregister-cluster web && drbdadm secondary r0 && drbdadm down r0"
        " && losetup --detach /dev/loop7",
        timeout=120,
    )


def start(lab: Lab) -> None:
    lab.both(lambda node: node.run("drbdocfs start", timeout=300))
    stack.check_up(lab)


def reboot_both(lab: Lab) -> None:
    lab.both(lambda node: node.reboot())
    stack.check_up(lab)
    for node in lab.nodes:
        stack.check_shutdown(node)


def nothing_stops(lab: Lab, node: Node, command: str) -> None:
    """A command on a node that is up, and all goes on."""
    before = runs(node)
    node.run(command, timeout=240)
    assert runs(node) == before, f"something started again by: {command}"
    assert node.run("systemctl is-active drbdocfs-follow.service").strip() == "active"
    stack.check_up(lab)


def nothing_is_left(node: Node) -> None:
    found = node.run("find / -xdev -name '*drbdocfs*' -not -path '/root/*' -not -path '/proc/*'").split()
    assert found == [], found


class TestDeb:
    def test_installed_it_is_enabled_and_nothing_starts(self, pair: Lab, deb: Path) -> None:
        pair.both(lambda node: node.install(deb))
        pair.both(enabled_and_down)

    def test_started(self, pair: Lab) -> None:
        start(pair)

    def test_reboot_of_both(self, pair: Lab) -> None:
        reboot_both(pair)

    def test_upgraded_and_downgraded_while_mounted(self, pair: Lab) -> None:
        node = pair.nodes[1]
        node.run(NEWER, timeout=240)
        nothing_stops(pair, node, "dpkg --install /root/newer.deb 2>&1; dpkg-query --show drbdocfs-boot | grep -q lab1")
        nothing_stops(pair, node, "dpkg --install /root/drbdocfs-boot_*_all.deb 2>&1")

    def test_stopped(self, pair: Lab) -> None:
        node = pair.nodes[0]
        node.run("drbdocfs stop", timeout=180)
        stack.check_down(node)
        start(pair)

    def test_removed_and_purged_it_leaves_the_mount_and_nothing_else(self, pair: Lab) -> None:
        node = pair.nodes[1]
        remove(node, "apt-get remove -y drbdocfs-boot 2>&1")
        node.run("apt-get purge -y drbdocfs-boot 2>&1", timeout=240)
        nothing_is_left(node)


class TestRpm:
    """On Debian, whose dpkg knows nothing of it: what the RPM lacks here is its dependencies alone."""

    def test_installed_it_is_enabled_and_nothing_starts(self, pair: Lab, rpm: Path) -> None:
        def install(node: Node) -> None:
            node.put(rpm, f"/root/{rpm.name}")
            node.run(f"{RPM} --install /root/{rpm.name} 2>&1", timeout=240)

        pair.both(install)
        pair.both(enabled_and_down)
        for node in pair.nodes:
            assert node.run("rpm --verify --nodeps drbdocfs-boot").strip() == ""

    def test_started(self, pair: Lab) -> None:
        start(pair)

    def test_reboot_of_both(self, pair: Lab) -> None:
        reboot_both(pair)

    def test_installed_again_while_mounted(self, pair: Lab) -> None:
        began = time.monotonic()
        nothing_stops(pair, pair.nodes[1], f"{RPM} --upgrade --force /root/drbdocfs-boot-*.noarch.rpm 2>&1")
        say(f"upgraded in {time.monotonic() - began:.0f} s")

    def test_removed_it_leaves_the_mount_and_nothing_else(self, pair: Lab) -> None:
        node = pair.nodes[1]
        remove(node, f"{RPM} --erase drbdocfs-boot 2>&1")
        assert node.run("systemctl is-enabled drbdocfs.target 2>&1 || :").strip() != "enabled"
        # The configuration is the administrator's, and RPM knows no purge.
        node.run("rm -rf /etc/drbdocfs /var/lib/drbdocfs")
        nothing_is_left(node)
