"""A power cut between any two steps of an import: the next boot ends with the file system mounted, once."""

from __future__ import annotations

import pytest

from tests.pid1 import world
from tests.pid1.container import Machine
from tests.unit.oldsetup import CUT

pytestmark = pytest.mark.pid1

RESOURCE = """\
resource r0 {
	device /dev/drbd0;
	disk /dev/loop7;
	net { allow-two-primaries; }
	startup { become-primary-on both; }
	on server1 { }
	on server2 { }
}
"""
LOOP = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides: loop-for-drbd
# Required-Start: $local_fs
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop:
### END INIT INFO
DEVICE=/dev/loop7
FILE=/drbd-loop.img
[ "$1" = start ] || exit 0
modprobe loop
[ -e /sys/block/loop7/loop/backing_file ] || losetup $DEVICE $FILE
"""
# DRBD's own start at boot, as far as the stand-ins go: it makes everything Primary.
DRBD = """\
[Unit]
After=loop-for-drbd.service network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/bin/sh -c 'modprobe drbd; drbdadm adjust r0; drbdadm primary r0'

[Install]
WantedBy=multi-user.target
"""
# The configuration, rc.local, DRBD's four start links and its unit's, the loop script's four.
STEPS = 11


@pytest.mark.parametrize("done", [1, 2, 4, 7, 9, STEPS])
def test_boot_after_a_cut(node: Machine, done: int) -> None:
    """``done`` steps of the import were made before the power went."""
    node.write("/etc/drbd.d/r0.res", RESOURCE)
    node.write("/etc/fstab", "/dev/drbd0 /mnt/web ocfs2 noauto,noatime 0 0\n")
    node.write("/etc/rc.local", "#!/bin/sh\nmount /dev/drbd0\nexit 0\n", 0o755)
    node.write("/etc/init.d/loop-for-drbd", LOOP, 0o755)
    node.write("/etc/systemd/system/drbd.service", DRBD)
    root = f"{node.place}/root"
    node.session.inside("chroot", root, "update-rc.d", "loop-for-drbd", "defaults")
    node.session.inside("chroot", root, "systemctl", "enable", "drbd.service")
    node.write("/root/cut.py", CUT)
    text = node.session.inside("chroot", root, "env", "__DRBD_NODE__=server1", "python3", "/root/cut.py", str(done))
    assert ("Nothing was started" in text) == (done == STEPS), text

    world.plan(node, "seed 3", "delay 0.05", "peer r0: connect=0.2")
    node.boot(devices=True)
    node.until(lambda: world.states(node, world.units("web")) == dict.fromkeys(world.units("web"), "active"), 20, "up")
    if done > 1:
        assert node.systemctl("is-system-running") == "running", node.systemctl("list-units", "--failed")
    assert node.run("findmnt", "--noheadings", "--output", "TARGET", "--source", "/dev/drbd0").split() == ["/mnt/web"]
    node.poweroff()
    found = world.calls(node)
    assert [call.words for call in found if call.code == 0].count("mount.ocfs2 mount /dev/drbd0") == 1
    assert world.complaints(node) == []
