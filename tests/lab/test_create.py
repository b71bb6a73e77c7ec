"""Day one on two bare machines: a refusal, a power cut in the first sync, the same command again, and a reboot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import snapshot, stack
from .image import REPLICATION_ADDRESS, Image
from .lab import Lab, know_each_other, say

pytestmark = pytest.mark.lab

FILE = "/srv/drbdocfs/web.img"
RECORD = "/var/lib/drbdocfs/create/web.json"
CREATE = (
    f"drbdocfs create web --peer server2={REPLICATION_ADDRESS[2]} --address {REPLICATION_ADDRESS[1]}"
    " --mountpoint /mnt/storage --size 100M --resource r0 --first server1"
)
# What a run leaves behind, of which nothing may be there before the first one.
TRACES = (
    "/etc/drbd.d/r0.res /etc/ocfs2/cluster.conf /etc/drbdocfs/conf.d/web.conf /srv/drbdocfs /var/lib/drbdocfs/create"
)


@pytest.fixture(scope="class")
def pair(image: Image, deb: Path) -> Iterator[Lab]:
    """Both nodes booted, bare, with the package."""
    with Lab(image) as lab:
        snapshot.resume(lab)
        know_each_other(lab)
        lab.both(lambda node: node.install(deb))
        yield lab


class TestFromNothing:
    def test_dry_run_changes_nothing(self, pair: Lab) -> None:
        text = pair.nodes[0].run(f"runuser -u nobody -- {CREATE} --dry-run")
        assert "server2: DRBD metadata on /dev/loop7" in text, text
        assert "    drbdadm primary --force r0" in text, text
        for node in pair.nodes:
            node.fail(f"ls -d {TRACES} 2>/dev/null | grep .")

    def test_a_disk_with_data_is_refused(self, pair: Lab) -> None:
        pair.nodes[1].run("mkfs.ext4 -q -L precious /dev/vdb")
        other = CREATE.replace("web", "mail").replace("--size 100M", "--disk /dev/vdb").replace("r0", "r1")
        result = pair.nodes[0].execute(f"{other} --yes", timeout=120)
        assert result.status == 65, result
        assert "server2: on /dev/vdb there is ext4 'precious'" in result.err, result
        for node in pair.nodes:
            node.fail(f"ls -d {TRACES} 2>/dev/null | grep .")
        pair.nodes[1].run("e2fsck -fn /dev/vdb")

    def test_power_cut_in_the_middle(self, pair: Lab) -> None:
        """The first node goes while it copies its disk: everything that it knew must be on its disk by then."""
        first, second = pair.nodes
        first.run(f"systemd-run --unit=creation --property=StandardOutput=journal {CREATE} --yes")
        first.wait_until(
            "grep -q 'cs:SyncSource' /proc/drbd && grep -q '\"file-system\"' " + RECORD, timeout=180, interval=0.3
        )
        first.power_cut()
        second.wait_until("grep -q 'ds:Inconsistent' /proc/drbd", timeout=60)
        first.start()
        first.wait_booted()
        # A half-made stack is no matter of the boot.
        first.check_clean_boot()
        assert not first.run("cat /proc/drbd 2>/dev/null || true").count("\n 0:")
        first.fail("ls /etc/drbdocfs/conf.d/web.conf")

    def test_the_same_command_goes_on(self, pair: Lab) -> None:
        first = pair.nodes[0]
        text = first.run(f"{CREATE} --yes 2>&1", timeout=300)
        say(text)
        assert "goes on from where it was" in text, text
        assert "web: up on both hosts" in text, text
        stack.check_up(pair)
        secret = json.loads(first.run(f"cat {RECORD}"))["description"]["secret"]
        assert secret not in text
        for node in pair.nodes:
            assert node.run(f"stat -c %a /etc/drbd.d/r0.res {RECORD} {FILE}").split() == ["600"] * 3
            assert secret not in node.journal()
            # The resource's file is for root alone; what others can see of the stack does not hang on it.
            text = node.run("runuser -u nobody -- drbdocfs status 2>&1", check=False)
            assert "mount    up" in text, text

    def test_a_lost_link_freezes_both(self, pair: Lab) -> None:
        """Where nobody was asked who goes on: DRBD has it, not only the file."""
        for node in pair.nodes:
            assert "resource-and-stonith" in node.run("drbdsetup show r0")
            assert "fence-peer" in node.run("drbdadm dump r0")
            assert "survivor      = none" in node.run("cat /etc/drbdocfs/conf.d/web.conf")

    def test_check_finds_nothing(self, pair: Lab) -> None:
        for node in pair.nodes:
            found = json.loads(node.run("drbdocfs check --peer --json", timeout=120))["findings"]
            # The image has no time synchronisation, and nobody was asked who goes on: notes.
            assert {f["code"] for f in found if f["severity"] != "note"} == set(), found
            assert {f["code"] for f in found if f["severity"] == "note"} <= {"clock-sync", "survivor-none"}, found

    def test_again_it_is_there(self, pair: Lab) -> None:
        for node in pair.nodes:
            before = node.run("systemctl show --property=InvocationID " + " ".join(stack.LAYERS.values()))
            assert "web: all is there, created 20" in node.run("drbdocfs create web")
            assert node.run("systemctl show --property=InvocationID " + " ".join(stack.LAYERS.values())) == before
        result = pair.nodes[0].execute(CREATE.replace("100M", "120M") + " --yes")
        assert result.status == 78, result
        assert "size: 104857600 before, 125829120 now" in result.err, result

    @pytest.mark.long
    def test_reboot_of_both(self, pair: Lab) -> None:
        pair.both(lambda node: node.reboot())
        stack.check_up(pair)
        for node in pair.nodes:
            stack.check_shutdown(node)
