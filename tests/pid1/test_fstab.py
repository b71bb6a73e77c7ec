"""A line in fstab for the mount point: its mount is ordered, not doubled."""

from __future__ import annotations

import pytest

from tests.pid1 import world
from tests.pid1.container import Machine

pytestmark = pytest.mark.pid1


@pytest.mark.parametrize("options", ["_netdev,noatime", "noauto,noatime", "_netdev,nofail"])
def test_line_for_the_mount_point(node: Machine, options: str) -> None:
    node.write("/etc/fstab", f"/dev/drbd0 /mnt/web ocfs2 {options} 0 0\n")
    world.configure(node, world.stack("web"))
    world.plan(node, "seed 3", "delay 0.05", "peer r0: connect=0.2")
    node.boot(devices=True)
    assert node.systemctl("is-system-running") == "running", node.systemctl("list-units", "--failed")
    units = [*world.units("web"), "drbdocfs-o2cb@web.service", "dev-drbd0.device"]
    assert world.states(node, units) == dict.fromkeys(units, "active")
    (fragment, source) = node.show("mnt-web.mount", "FragmentPath", "DropInPaths")
    assert "fstab-generator" in node.run("cat", fragment)
    assert source == "/run/systemd/generator/mnt-web.mount.d/50-drbdocfs.conf"
    assert node.run("findmnt", "--noheadings", "--output", "SOURCE,TARGET", "--source", "/dev/drbd0").split() == [
        "/dev/drbd0",
        "/mnt/web",
    ]
    node.poweroff()
    found = world.calls(node)
    done = [call for call in found if call.code == 0]
    assert [call.words for call in done].count("mount.ocfs2 mount /dev/drbd0") == 1
    assert [call.words for call in done].count("umount umount /dev/drbd0") == 1
    # Only what succeeded: Debian's init script ocfs2 tries `mount -a` for OCFS2 long before DRBD is there.
    assert world.ordered(done, *world.chains([0])) == []
    assert world.complaints(node) == []


def test_boot_goes_on_when_the_stack_of_the_line_fails(node: Machine) -> None:
    """Without `nofail` fstab makes remote-fs.target require the mount: it fails with it, a login comes all the same."""
    node.write("/etc/fstab", "/dev/drbd0 /mnt/web ocfs2 _netdev 0 0\n")
    world.configure(node, world.stack("web"))
    world.plan(node, "rule drbdadm primary r0: code=17 say=no_good_data")
    assert node.boot(devices=True) < 15
    names = ["drbdocfs-promote@web.service", "mnt-web.mount", "multi-user.target", "systemd-user-sessions.service"]
    assert list(world.states(node, names).values()) == ["failed", "inactive", "active", "active"]


def test_mount_waits_for_no_device_that_is_there(node: Machine) -> None:
    """With device units and without a line in fstab: our own mount unit, the same as on a real machine."""
    world.configure(node, world.stack("web"))
    node.boot(devices=True)
    assert set(world.states(node, ["mnt-web.mount", "dev-drbd0.device"]).values()) == {"active"}
    node.poweroff()
    assert world.ordered(world.calls(node), *world.chains([0])) == []
    assert world.complaints(node) == []
