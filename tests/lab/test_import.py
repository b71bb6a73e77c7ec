"""The guide's boot set-up on two real machines: imported, rebooted, undone, imported again with a power cut in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.oldsetup import CUT, LOOP_SCRIPT, RC_LOCAL

from . import situations, snapshot, stack
from .image import Image
from .lab import Lab, say
from .node import Node
from .provision import STACK, provisioned

pytestmark = pytest.mark.lab

CONFIGURATION = "/etc/drbdocfs/drbdocfs.conf"
# All that an import may touch, with contents, modes, owners, and the targets of links.
LOOK = (
    "cd /etc; for d in fstab rc.local default/o2cb drbd.conf drbd.d ocfs2 drbdocfs init.d rc?.d systemd/system; do"
    " find $d -printf '%p %m %U:%G %l\\n' -type f -execdir sha256sum '{}' ';'; done | sort"
)


@pytest.fixture(scope="module")
def pair(image: Image, deb: Path) -> Iterator[Lab]:
    """Both nodes with the guide's boot set-up, its stack up as after a boot that went well, and our package."""
    with Lab(image, provisioned(image)) as lab:
        snapshot.resume(lab)
        lab.both(old_setup)
        lab.both(lambda node: node.run("systemctl daemon-reload; systemctl start loop-for-drbd drbd", timeout=120))
        lab.both(lambda node: node.wait_until("grep -q 'ro:Primary/Primary ds:UpToDate/UpToDate' /proc/drbd"))
        lab.both(lambda node: node.run("systemctl restart o2cb; mount /dev/drbd0", timeout=120))
        lab.both(lambda node: node.install(deb))
        for node in lab.nodes:
            settings = node.run("cat /proc/sys/kernel/panic_on_oops /proc/sys/kernel/panic")
            assert settings.split() == ["1", "10"], "they have to be in force from the installation on"
        yield lab


def old_setup(node: Node) -> None:
    """What the guide does for the boot, as its words are on Debian."""
    node.put_text("/etc/init.d/loop-for-drbd", LOOP_SCRIPT, 0o755)
    node.put_text("/etc/rc.local", RC_LOCAL.replace("touch /var/lock/subsys/local\n", ""), 0o755)
    node.run(
        f"rm {CONFIGURATION}; update-rc.d loop-for-drbd defaults; systemctl enable drbd 2>&1;"
        " echo '/dev/drbd0  /mnt/storage  ocfs2  noauto,noatime  0 0' >> /etc/fstab;"
        " sed -i 's/^O2CB_ENABLED=.*/O2CB_ENABLED=true/; s/^O2CB_BOOTCLUSTER=.*/O2CB_BOOTCLUSTER=web/'"
        " /etc/default/o2cb; grep -q BOOTCLUSTER=web /etc/default/o2cb"
    )


def keys(text: str) -> dict[str, str]:
    """The keys of the one stack in a configuration."""
    lines = (line.partition("#")[0].partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, equals, value in lines if equals}


def test_import_reboot_undo_power_cut(pair: Lab) -> None:
    before = pair.both(lambda node: node.run(LOOK))

    shown = pair.both(lambda node: node.run("drbdocfs import"))
    say("drbdocfs import\n" + shown[0])
    assert pair.both(lambda node: node.run(LOOK)) == before, "it only shows"

    say(pair.both(lambda node: node.run("drbdocfs import --write"))[0])
    for node in pair.nodes:
        assert stack.is_mounted(node), "the import unmounted what was mounted"
        wanted = keys(STACK)
        del wanted["mount_options"]  # fstab's line has them
        assert keys(node.run(f"cat {CONFIGURATION}")) == wanted
        assert "Nothing to do." in node.run("drbdocfs import")
        assert "noatime" in node.run("systemctl show --property=Options --value mnt-storage.mount")

    pair.both(lambda node: node.reboot())
    stack.check_up(pair)
    for node in pair.nodes:
        assert "noatime" in node.run("findmnt --noheadings --output OPTIONS /mnt/storage")

    node = pair.nodes[1]
    after = node.run(LOOK)
    say(node.run("drbdocfs import --undo"))
    assert node.run(LOOK) == before[1], "the undo has to give back every byte, mode and link"
    assert stack.is_mounted(node)
    # The power goes after the second step, before anything that was not synced reaches the disk: this boot has our
    # configuration beside the old start of DRBD and of the loop device.
    node.put_text("/root/cut.py", CUT)
    node.run("python3 /root/cut.py 2")
    node.power_cut()
    node.start()
    node.wait_booted()
    situations.await_up([node], 240)
    assert node.run("cat /etc/rc?.d/S01loop-for-drbd | wc -l") != "0\n", "more was done than was meant to"
    assert "an import was interrupted" in node.fail("drbdocfs import")
    say(node.run("drbdocfs import --write"))
    assert node.run(LOOK) == after, "it comes to the same"
    assert "Nothing to do." in node.run("drbdocfs import")
    stack.exchange(pair)
