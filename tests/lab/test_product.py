"""The main job on two real machines: install, start, stop, reboot, power cut; real DRBD, O2CB and OCFS2.

The tests of a class share a pair and build on each other, because a boot costs a minute in software emulation.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import situations, snapshot, stack
from .image import Image
from .lab import Lab, say
from .provision import provisioned
from .stack import LAYERS, MOUNT_UNIT, MOUNTPOINT

pytestmark = pytest.mark.lab


@pytest.fixture(scope="class")
def pair(image: Image) -> Iterator[Lab]:
    """Both nodes booted, provisioned as the guide does it, without the product."""
    with Lab(image, provisioned(image)) as lab:
        snapshot.resume(lab)
        yield lab


def start_both(lab: Lab) -> None:
    lab.both(lambda node: node.run("drbdocfs start", timeout=300))


class TestFromInstallationToPowerCut:
    def test_installation_enables_and_starts_nothing(self, pair: Lab, deb: Path) -> None:
        pair.both(lambda node: node.install(deb))
        for node in pair.nodes:
            assert node.run("systemctl is-enabled drbdocfs.target").strip() == "enabled"
            stack.check_down(node)
            assert node.run("systemctl --failed --no-legend --plain").strip() == ""
            assert "drbdocfs@web.target" in node.run("ls /run/systemd/generator/drbdocfs.target.wants")

    def test_start(self, pair: Lab) -> None:
        start_both(pair)
        stack.check_up(pair)
        for node in pair.nodes:
            text = node.run("drbdocfs status")
            assert "web: up" in text, text
            assert "this node Primary, UpToDate" in text, text
            # O2CB's connection and the other one's heartbeat, by the kernel's own word.
            other = next(one for one in pair.nodes if one is not node)
            assert f"nodes    {node.name} (this node), mounted; {other.name} connected, mounted there" in text, text
            assert re.search(r"space    \d+ MiB of \d+ MiB used \(\d+ %\), \d+ MiB free", text), text
            assert "options  rw, noatime, _netdev, heartbeat=local" in text, text
            shown = json.loads(node.run("drbdocfs status --json"))["stacks"][0]
            assert shown["drbd"]["out_of_sync"] == 0
            assert [one["connected"] for one in shown["o2cb"]["nodes"]] == [None, True]
        # Not as root: what can be read is shown, and what not is named.
        text = pair.nodes[0].run("runuser -u nobody -- drbdocfs status 2>&1; echo ended with $?", check=False)
        assert "not root, so this could not be read: which nodes O2CB sees (/sys/kernel/debug)" in text, text
        assert "ended with 77" in text, text
        assert "connected, mounted there" not in text, text
        assert "web: up" in text, text
        assert "mount    up" in text, text
        assert "Traceback" not in text, text

    def test_started_again_nothing_happens(self, pair: Lab) -> None:
        node = pair.nodes[0]
        before = node.run("systemctl show --property=InvocationID " + " ".join(LAYERS.values()))
        start_both(pair)
        node.run("systemctl daemon-reload")
        assert node.run("systemctl show --property=InvocationID " + " ".join(LAYERS.values())) == before
        # The helpers themselves, as if a power cut had eaten systemd's memory of them.
        for layer in ("loop", "attach", "wait", "promote", "o2cb"):
            unit = LAYERS[layer]
            environment = node.run(f"systemctl show --property=Environment --value {unit}").strip()
            instance = unit.partition("@")[2].partition(".")[0]
            node.run(f"env {environment} /usr/libexec/drbdocfs-boot/{layer} start {instance}", timeout=120)
        assert stack.is_mounted(node)

    def test_stop_unwinds_all_layers_in_reverse(self, pair: Lab) -> None:
        for node in pair.nodes:
            mark = node.run("cat /proc/uptime").split()[0]
            said = node.run("drbdocfs stop web", timeout=180)
            # At once: it has waited for the layers, which systemctl does not.
            stack.check_down(node)
            assert re.findall(r"^(\w+) +done", said, re.MULTILINE) == [
                "holders", "mount", "o2cb", "promote", "wait", "attach", "loop",
            ], said  # fmt: skip
            assert node.run("drbdocfs stop web") == "web is stopped already\n"
            lines = [
                line
                for line in node.journal(options="_PID=1").splitlines()
                if float(line.partition("]")[0].strip("[ ")) >= float(mark)
            ]
            stack.check_order("\n".join(lines))
            assert node.run("systemctl --failed --no-legend --plain").strip() == ""

    def test_stop_again_is_no_error(self, pair: Lab) -> None:
        node = pair.nodes[0]
        node.run("systemctl stop drbdocfs.target drbdocfs@web.target")
        for layer in ("promote", "attach", "loop", "o2cb"):
            instance = LAYERS[layer].partition("@")[2].partition(".")[0]
            environment = node.run(f"systemctl show --property=Environment --value {LAYERS[layer]}").strip()
            node.run(f"env {environment} /usr/libexec/drbdocfs-boot/{layer} stop {instance}")

    @pytest.mark.long
    def test_the_wait_never_misses_the_handshake(self, pair: Lab) -> None:
        """The dump of events2 is sent in pieces, and the handshake may end between two of them."""
        pair.both(lambda node: node.run("systemctl start drbdocfs-attach@web.service", timeout=120))
        # A limit below the wait's own second look, which would hide an event that it misread.
        output = pair.nodes[1].run(
            """export DRBDOCFS_RESOURCE=r0 DRBDOCFS_DEVICE=/dev/drbd0 DRBDOCFS_BOOT_TIMEOUT=12000000
            export DRBDOCFS_PEER_TIMEOUT=90000000 DRBDOCFS_WHEN_ALONE=wait
            for n in $(seq 0 24); do
                drbdadm disconnect r0
                drbdadm connect r0
                sleep 0.$((n % 10))
                /usr/libexec/drbdocfs-boot/wait start web
            done""",
            timeout=400,
        )
        assert output.count("connected, UpToDate on both nodes") == 25
        pair.both(stack.stop)
        for node in pair.nodes:
            stack.check_down(node)

    def test_start_again(self, pair: Lab) -> None:
        start_both(pair)
        stack.check_up(pair)

    @pytest.mark.long
    def test_restart(self, pair: Lab) -> None:
        node = pair.nodes[0]
        said = node.run("drbdocfs restart web", timeout=300)
        assert said.index("web is stopped") < said.index("web is up: /mnt/storage on /dev/drbd0"), said
        stack.check_up(pair)

    @pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.long)])
    def test_reboot_of_one(self, pair: Lab, number: int) -> None:
        node = pair.nodes[number - 1]
        node.reboot()
        stack.check_up(pair)
        stack.check_shutdown(node)

    @pytest.mark.parametrize(
        "cycle", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)]
    )
    def test_reboot_of_both_at_once(self, pair: Lab, cycle: int) -> None:
        pair.both(lambda node: node.reboot())
        stack.check_up(pair)
        for node in pair.nodes:
            stack.check_shutdown(node)
        times = [node.boot_times() for node in pair.nodes]
        for node, boot in zip(pair.nodes, times):
            say(f"{node.name}: " + ", ".join(f"{name} {boot.units[unit].took:.1f} s" for name, unit in LAYERS.items()))

    @pytest.mark.long
    def test_timeline_of_these_boots(self, pair: Lab) -> None:
        """What `drbdocfs timeline` has from systemd and from the journal is what systemd itself measured."""
        node = pair.nodes[0]
        measured = node.boot_times().units
        boots = json.loads(node.run("drbdocfs timeline web --boots 3 --json", timeout=120))["boots"]
        assert [boot["boot"] for boot in boots] == [0, -1, -2]
        assert len({boot["boot_id"] for boot in boots}) == 3
        for boot in boots:
            web = boot["stacks"][0]
            assert (web["stack"], web["result"]) == ("web", "mounted"), web
            layers = web["starts"][0]["layers"]
            assert [layer["layer"] for layer in layers] == ["loop", "attach", "wait", "promote", "o2cb", "mount"]
            for before, layer in zip(layers, layers[1:]):
                assert before["ended"] <= layer["began"] + 0.1, f"{layer['layer']} began before {before['layer']} ended"
            assert all(layer["critical"] for layer in layers[1:])
            assert layers[-1]["ended"] <= boot["milestones"]["remote-fs.target"] + 0.1
            assert boot["journal_ends"] is None, "a boot that was shut down in good order"
        for layer in boots[0]["stacks"][0]["starts"][0]["layers"]:
            unit = measured[layer["unit"]]
            assert abs(layer["began"] - unit.began) < 0.5, layer
            assert abs(layer["ended"] - unit.active) < 0.5, layer
        # The same boot from the journal alone, as from another machine's disk, and the boot before it.
        node.run("mkdir -p /root/copy/etc /root/copy/var/log && cp -r /etc/drbdocfs /root/copy/etc/")
        node.run("journalctl --sync; cp -r /var/log/journal /root/copy/var/log/", timeout=120)
        copied = json.loads(node.run("drbdocfs --root /root/copy timeline --json", timeout=120))["boots"][0]
        assert copied["boot_id"] == boots[0]["boot_id"]
        for layer in copied["stacks"][0]["starts"][0]["layers"]:
            assert abs(layer["ended"] - measured[layer["unit"]].active) < 0.5, layer
        text = node.run("drbdocfs timeline --boot -1 && rm -r /root/copy", timeout=120)
        assert text.startswith("web, boot -1, began "), text
        assert "mounted" in text.splitlines()[0], text
        assert "* mount " in text, text
        assert "wait     after attach; " in text, text
        node.run("drbdocfs timeline --svg /root/boot.svg > /root/boot.txt", timeout=120)
        assert "* mount " in node.run("cat /root/boot.txt")
        assert len(re.findall('<rect class="(?:critical|beside)"[^>]*><title>', node.run("cat /root/boot.svg"))) == 6
        assert "77" in node.run("runuser -u nobody -- drbdocfs timeline >/dev/null 2>&1; echo $?", check=False)
        assert "the journal has no boot -99" in node.fail("drbdocfs timeline --boot -99", timeout=120)

    def test_power_cut_of_one_while_the_other_writes(self, pair: Lab) -> None:
        victim, writer = pair.nodes
        writer.run(
            f"""cat > /root/write.sh <<'END'
            n=0
            while :; do
                n=$((n + 1))
                echo "record $n" >> {MOUNTPOINT}/records && sync {MOUNTPOINT}/records && echo $n > /root/acknowledged
            done
END
            rm -f {MOUNTPOINT}/records; systemd-run --unit=writer --collect bash /root/write.sh"""
        )
        writer.wait_until("test $(cat /root/acknowledged) -ge 5", timeout=60)
        victim.power_cut()
        at_the_cut = int(writer.run("cat /root/acknowledged"))
        # The survivor's writes stand still until O2CB's limits have passed, about 59 s with the default ones.
        writer.wait_until(f"test $(cat /root/acknowledged) -ge {at_the_cut + 5}", timeout=240, interval=3)
        victim.start()
        victim.wait_booted()
        writer.run("systemctl stop writer")
        acknowledged = int(writer.run("cat /root/acknowledged"))
        assert acknowledged > at_the_cut
        stack.check_up(pair)
        for node in pair.nodes:
            count = int(node.run(f"grep -c '^record [0-9]*$' {MOUNTPOINT}/records"))
            assert count >= acknowledged, f"{node.name}: {count} of {acknowledged} records"
        sums = pair.both(lambda node: node.run(f"sha256sum < {MOUNTPOINT}/records"))
        assert sums[0] == sums[1]

    @pytest.mark.long
    def test_backing_file_on_a_file_system_of_its_own(self, pair: Lab) -> None:
        pair.both(stack.stop)
        pair.both(
            lambda node: node.run(
                """fallocate -l 220M /var/images.ext4
                mkfs.ext4 -q /var/images.ext4
                mkdir -p '/srv/my images'
                echo '/var/images.ext4 /srv/my\\040images ext4 loop 0 2' >> /etc/fstab
                systemctl daemon-reload
                mount '/srv/my images'
                mv /drbd-loop.img '/srv/my images/drbd.img'
                sed -i 's|^backing_file.*|backing_file = "/srv/my images/drbd.img"|' /etc/drbdocfs/drbdocfs.conf
                systemctl daemon-reload""",
                timeout=180,
            )
        )
        pair.both(lambda node: node.reboot())
        stack.check_up(pair)
        for node in pair.nodes:
            assert "/srv/my images/drbd.img" in node.run("losetup --list --output=BACK-FILE /dev/loop7")
        pair.both(lambda node: node.reboot())
        stack.check_up(pair)
        for node in pair.nodes:
            stack.check_shutdown(node)
            stack.check_order(
                stack.shutdown_text(node.journal(boot=-1)),
                ("Stopped drbdocfs-loop@web.service", "Unmounted srv-my\\x20images.mount"),
            )

    @pytest.mark.long
    def test_a_line_in_fstab_is_ordered_and_not_doubled(self, pair: Lab) -> None:
        node = pair.nodes[0]
        node.run(f"echo '/dev/drbd0 {MOUNTPOINT} ocfs2 noauto,noatime 0 0' >> /etc/fstab")
        node.reboot()
        stack.check_up(pair)
        stack.check_shutdown(node)
        assert (
            node.run(f"systemctl show --property=FragmentPath --value {MOUNT_UNIT}")
            .strip()
            .startswith("/run/systemd/generator/")
        )
        assert "/etc/fstab" in node.run(f"cat /run/systemd/generator/{MOUNT_UNIT}")
        assert node.run(f"findmnt --noheadings --list {MOUNTPOINT} | wc -l").strip() == "1"

    @pytest.mark.long
    def test_beside_the_o2cb_script_of_the_guide(self, pair: Lab) -> None:
        """`o2cb configure` as the guide has it: Debian's script brings the same cluster online before us."""
        node = pair.nodes[1]
        node.run("cp /etc/default/o2cb /root/; sed -i 's/^O2CB_ENABLED=.*/O2CB_ENABLED=true/;"
                 " s/^O2CB_BOOTCLUSTER=.*/O2CB_BOOTCLUSTER=web/' /etc/default/o2cb")  # fmt: skip
        node.reboot()
        assert "cluster web is online already" in node.journal(options=f"--unit={LAYERS['o2cb']}")
        stack.check_up(pair)
        node.reboot()
        stack.check_up(pair)
        stack.check_shutdown(node)
        node.run("mv /root/o2cb /etc/default/o2cb")

    @pytest.mark.long
    def test_an_address_that_comes_after_network_online(self, pair: Lab) -> None:
        """DRBD 8.4 connects once: without its address at that moment it stays StandAlone for ever."""
        node = pair.nodes[0]
        put_back = situations.late_address(node, 15)
        node.reboot()
        assert f"waiting for the address {node.address}" in node.journal(options=f"--unit={LAYERS['attach']}")
        stack.check_up(pair)
        put_back()

    def test_without_its_peer_a_node_reaches_a_login_and_says_why_it_has_no_mount(self, pair: Lab) -> None:
        node, peer = pair.nodes
        pair.both(lambda each: each.run("sed -i '$a boot_timeout = 20s' /etc/drbdocfs/drbdocfs.conf"))
        peer.shutdown()
        node.reboot()
        assert not stack.is_mounted(node)
        assert node.run("systemctl is-active multi-user.target remote-fs.target").split() == ["active", "active"]
        assert node.run("systemctl is-active systemd-user-sessions.service").strip() == "active"
        assert node.run("systemctl --failed --no-legend --plain | awk '{print $1}'").split() == [LAYERS["wait"]]
        status = node.fail("drbdocfs status")
        where = f"{peer.name} at {peer.address}:7789"
        reason = f"r0 was not ready after 0:20 (boot_timeout): waiting for {where} (Connecting)"
        assert reason in status
        assert reason in node.journal(options=f"--unit={LAYERS['wait']}")
        assert node.run("cat /sys/class/block/drbd0/ro").strip() in ("0", "1")
        assert "Secondary" in node.run("drbdsetup role r0 2>/dev/null || cat /proc/drbd")
        began = time.monotonic()
        peer.start()
        peer.wait_connected()
        # Nobody starts anything by hand: by the boot there, by drbdocfs-follow.service here.
        peer.wait_booted()
        node.wait_until("systemctl is-active drbdocfs@web.target", timeout=240)
        say(f"the peer came back and both mounted in {time.monotonic() - began:.0f} s")
        stack.check_up(pair)

    def test_a_split_brain_is_named_and_nothing_is_promoted_at_the_next_boot(self, pair: Lab) -> None:
        """The cable out while both are mounted: OCFS2's heartbeat writes on both sides, and nobody fences yet."""
        for node in pair.nodes:
            node.set_link(False)
        pair.both(lambda node: node.wait_until("! grep -q 'cs:Connected' /proc/drbd", timeout=60))
        time.sleep(6)  # three rounds of heartbeat
        for node in pair.nodes:
            node.set_link(True)
        # networkd takes the address away with the carrier, and DRBD 8.4 then never tries again by itself.
        pair.both(lambda node: node.wait_until("ip -4 address | grep -q 10.181.76", timeout=60))
        pair.both(lambda node: node.run("drbdadm adjust r0 || true"))
        pair.both(lambda node: node.wait_until("grep -q 'cs:StandAlone' /proc/drbd", timeout=60))
        for node in pair.nodes:
            assert "split brain: both nodes changed r0" in node.run("drbdocfs status", check=False)
        pair.both(lambda node: node.reboot())
        for node in pair.nodes:
            assert not stack.is_mounted(node)
            assert "ro:Secondary" in node.run("cat /proc/drbd")
            assert "split brain: both nodes changed r0" in node.fail("drbdocfs status")
            assert node.run(f"systemctl show --property=ExecMainStatus --value {LAYERS['wait']}").strip() == "65"
        # By hand, as DRBD's manual has it: the second node gives up its changes.
        keeper, victim = pair.nodes
        victim.run("drbdadm disconnect r0 || true; drbdadm connect --discard-my-data r0")
        keeper.run("drbdadm disconnect r0 || true; drbdadm connect r0")
        pair.both(lambda node: node.wait_until("grep -q 'ds:UpToDate/UpToDate' /proc/drbd", timeout=120))
        pair.both(lambda node: node.run("systemctl start drbdocfs@web.target", timeout=240))
        stack.check_up(pair)

    def test_removed_and_purged_it_leaves_nothing(self, pair: Lab) -> None:
        node = pair.nodes[1]
        node.run("apt-get remove -y drbdocfs-boot 2>&1", timeout=180)
        assert stack.is_mounted(node), "removing the package unmounted the file system"
        node.run(f"umount {MOUNTPOINT} && o2cb unregister-cluster web && drbdadm secondary r0 && drbdadm down r0")
        node.run("losetup --detach /dev/loop7; apt-get purge -y drbdocfs-boot 2>&1", timeout=180)
        assert node.run("find / -xdev -name '*drbdocfs*' -not -path '/root/*' -not -path '/proc/*'").strip() == ""
