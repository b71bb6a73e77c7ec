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
    """And remote-fs.target as well, which the line alone would make require the mount."""
    node.write("/etc/fstab", "/dev/drbd0 /mnt/web ocfs2 _netdev 0 0\n")
    world.configure(node, world.stack("web"))
    world.plan(node, "rule drbdadm primary r0: code=17 say=no_good_data")
    assert node.boot(devices=True) < 15
    names = ["drbdocfs-promote@web.service", "mnt-web.mount", "remote-fs.target", "multi-user.target",
             "systemd-user-sessions.service"]  # fmt: skip
    assert list(world.states(node, names).values()) == ["failed", "inactive", "active", "active", "active"]


@pytest.mark.parametrize("way", ["late", "restarted"])
def test_services_stop_before_a_mount_that_came_up_later(node: Machine, way: str) -> None:
    """All stops are ordered against services by remote-fs.target, which has to be up for that."""
    node.write("/etc/fstab", "/dev/drbd0 /mnt/web ocfs2 _netdev 0 0\n")
    world.configure(node, world.stack("web", boot_timeout="2s"))
    world.plan(node, f"peer r0: outcome={'never' if way == 'late' else 'ready'}")
    node.boot(devices=True)
    if way == "late":
        assert world.states(node, ["mnt-web.mount"]) == {"mnt-web.mount": "inactive"}
        world.plan(node, "peer r0: outcome=ready")
        node.until(lambda: set(world.states(node, ["drbdocfs@web.target"]).values()) == {"active"}, 30, "the stack")
    else:
        node.run("drbdocfs", "restart", "web", limit=40)
    node.settle()
    assert world.states(node, ["remote-fs.target"]) == {"remote-fs.target": "active"}
    world.use(node)
    world.forget(node)
    node.poweroff()
    world.check_stopped_first(node)
    assert world.ordered(world.calls(node), *world.chains([0])) == []


SLOW = """\
[Unit]
DefaultDependencies=no
Before=data.mount

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sleep 6
"""


def test_device_has_its_time_from_the_attach_on(node: Machine) -> None:
    """Not from the begin of the boot: a check of a disk or a passphrase may hold up that of all layers."""
    units = node.root / "usr/share/drbdocfs-boot/drbdocfs_boot/units.py"
    text = units.read_text()
    assert "DEVICE_MARGIN = 600_000_000" in text
    units.write_text(text.replace("DEVICE_MARGIN = 600_000_000", "DEVICE_MARGIN = 2_000_000"))
    node.write("/etc/systemd/system/slow.service", SLOW)
    node.write("/etc/fstab", "/backing /data none bind,x-systemd.requires=slow.service 0 0\n")
    node.write("/backing/loop.img", "not empty\n")
    (node.root / "data").mkdir()
    world.configure(node, world.stack("web", backing_file="/data/loop.img", boot_timeout="2s"))
    node.boot(devices=True)
    assert set(world.states(node, world.units("web")).values()) == {"active"}


def test_mount_waits_for_no_device_that_is_there(node: Machine) -> None:
    """With device units and without a line in fstab: our own mount unit, the same as on a real machine."""
    world.configure(node, world.stack("web"))
    node.boot(devices=True)
    assert set(world.states(node, ["mnt-web.mount", "dev-drbd0.device"]).values()) == {"active"}
    node.poweroff()
    assert world.ordered(world.calls(node), *world.chains([0])) == []
    assert world.complaints(node) == []
