"""Waiting for the peer on two real machines: going on without it or not, a resync, a link that goes, a split brain.

The limits are short, so that the tests end: peer_timeout 10 s and boot_timeout 25 s in place of 90 s and 3 min, and
"long after" is a peer that comes well after boot_timeout, when the follow service has taken over and no limit runs
any more. O2CB's own limits are at most half of the default ones. Tests of a class share a pair and build on each
other.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from . import situations, snapshot, stack
from .image import Image
from .lab import Lab, say
from .node import Node
from .provision import provisioned
from .situations import (
    FOLLOW,
    TARGET,
    await_status,
    await_up,
    await_wait_over,
    check_alone_and_down,
    check_login,
    configure,
    history,
    journal_has,
    properties,
    record,
    sit_in_the_mount,
    status,
    write,
)
from .stack import LAYERS, MOUNTPOINT

# What the short selection has of it is in test_product.py.
pytestmark = [pytest.mark.lab, pytest.mark.long]

PEER_TIMEOUT = 10.0
BOOT_TIMEOUT = 25.0


@pytest.fixture(scope="class")
def pair(image: Image, deb: Path) -> Iterator[Lab]:
    """Both nodes booted, with the product and the short limits; the stack is down."""
    with Lab(image, provisioned(image)) as lab:
        snapshot.resume(lab)
        lab.both(prepare(deb))
        yield lab


def prepare(deb: Path) -> Callable[[Node], None]:
    def work(node: Node) -> None:
        node.install(deb)
        situations.quick_fencing(node)
        situations.online_without_link(node)
        configure([node], peer_timeout=f"{PEER_TIMEOUT:.0f}s", boot_timeout=f"{BOOT_TIMEOUT:.0f}s")

    return work


def start(*nodes: Node) -> None:
    """Begin to start the stack, as a boot does, and come back at once."""
    for node in nodes:
        # A wait that failed before would be taken for the new one's end.
        node.run(f"systemctl reset-failed; systemctl start --no-block {TARGET}")


def start_both(lab: Lab) -> None:
    lab.both(lambda node: node.run("systemctl start drbdocfs.target", timeout=300))
    stack.check_up(lab)


def stop_both(lab: Lab) -> None:
    lab.both(stack.stop)


def leave_together(lab: Lab) -> None:
    """The stack stops on both, and both unmount and demote before either leaves: neither has written alone then.

    By hand, because the stop of one unit takes the whole stack of its node with it.
    """
    lab.both(lambda node: node.run(f"umount {MOUNTPOINT}"))
    lab.both(lambda node: node.run("drbdadm secondary r0"))
    lab.both(lambda node: node.run("grep -q 'cs:Connected ro:Secondary/Secondary' /proc/drbd"))
    stop_both(lab)


class TestWithoutThePeer:
    seen: ClassVar[dict[str, str]] = {}

    def test_both_up(self, pair: Lab) -> None:
        start_both(pair)
        for node in pair.nodes:
            pid = properties(node, FOLLOW)["MainPID"]
            size = situations.resident(node, pid)
            say(f"{node.name}: drbdocfs-follow takes {size} KiB (VmRSS)")
            assert size < 16 * 1024

    def test_the_wait_ends_as_soon_as_drbd_is_ready(self, pair: Lab) -> None:
        """Compared with the plainest program that could do it, in the same run on the same event."""
        stop_both(pair)
        pair.both(lambda node: node.run("systemctl start drbdocfs-attach@web.service", timeout=120))
        node, peer = pair.nodes
        environment = node.run(f"systemctl show --property=Environment --value {LAYERS['wait']}").strip()
        node.put_text(
            "/root/latency",
            f"""export {environment}
            cd /run; rm -f event grepped waited
            (drbdsetup events2 --timestamps --statistics r0 |
                {{ grep -m1 'peer-device .*replication:Established' > event; echo $EPOCHREALTIME > grepped; }}) &
            (/usr/libexec/drbdocfs-boot/wait start web; echo $EPOCHREALTIME > waited) &
            """,
        )
        grep, wait = [], []
        for _ in range(4):
            # At the other end: a node that was disconnected by hand would not wait.
            peer.run("drbdadm disconnect r0")
            node.wait_until("grep -q cs:WFConnection /proc/drbd")
            node.run("bash /root/latency > /run/said 2>&1")
            node.wait_until("grep -q 'waiting for' /run/said")
            node.run("sleep 1")  # grep's drbdsetup, begun before the wait, must have had its dump as well
            peer.run("drbdadm connect r0")
            node.wait_until("test -s /run/waited -a -s /run/grepped", 30)
            event, grepped, waited = map(
                float, node.run("cd /run; date -d $(cut -d' ' -f1 event) +%s.%N; cat grepped waited").split()
            )
            grep.append(grepped - event)
            wait.append(waited - event)
        ratio = statistics.median(wait) / statistics.median(grep)
        say(
            "from DRBD's event to the end: grep -m1 " + ", ".join(f"{s:.3f}" for s in grep) + " s; the wait "
            + ", ".join(f"{s:.3f}" for s in wait) + f" s; ratio of the medians {ratio:.1f}"
        )  # fmt: skip
        assert statistics.median(wait) < 3.0
        assert ratio < 40
        pair.both(lambda each: each.run("systemctl stop drbdocfs-attach@web.service", timeout=120))

    @pytest.mark.parametrize("after", [3, 17, 40])
    def test_the_peer_comes_before_and_after_each_limit(self, pair: Lab, after: int) -> None:
        """Under when_alone = wait: before peer_timeout, between the two limits, after boot_timeout."""
        configure(pair.nodes, when_alone="wait")
        stop_both(pair)
        node, peer = pair.nodes
        began = time.monotonic()
        start(node)
        if after > BOOT_TIMEOUT:
            await_wait_over(node)
            took = time.monotonic() - began
            assert took < BOOT_TIMEOUT + 15, f"the wait held the start for {took:.0f} s"
            node.wait_until(
                f"systemctl show -P StatusText {FOLLOW} | grep -q 'waiting for server2 at 10.181.76.11:7789'"
            )
            assert record(node, "waiting")["STATE"] == "late"
        time.sleep(max(0.0, began + after - time.monotonic()))
        check_alone_and_down(node)
        start(peer)
        await_up(pair.nodes)
        stack.exchange(pair)
        assert record(node, "waiting") == {}

    def test_stopped_by_hand_it_stays_stopped(self, pair: Lab) -> None:
        """Also where DRBD hears from the peer and the stack could come up."""
        stop_both(pair)
        node, peer = pair.nodes
        configure([node], boot_timeout="5s")
        start(node)
        await_wait_over(node)
        assert record(node, "waiting")["STATE"] == "late"
        stack.stop(node)
        stack.check_down(node)
        node.run(f"systemctl start {LAYERS['attach']} {FOLLOW}", timeout=60)
        start(peer)
        await_up([peer])
        node.wait_until("systemctl show -P StatusText drbdocfs-follow.service | grep -q 'web: ready'", 30)
        assert node.run(f"systemctl is-active {TARGET}", check=False).strip() == "inactive"
        check_alone_and_down(node)
        configure([node], boot_timeout=f"{BOOT_TIMEOUT:.0f}s")
        start(node)
        await_up([node])
        stack.check_up(pair)

    def test_after_a_joint_clean_shutdown_nobody_mounts_alone(self, pair: Lab) -> None:
        configure(pair.nodes, when_alone="newest")
        leave_together(pair)
        pair.shutdown()
        node = pair.nodes[0]
        node.start()
        assert node.wait_booted() == "degraded"
        check_alone_and_down(node)
        check_login(node)
        boot = node.boot_times()
        took = boot.finish - boot.units[LAYERS["attach"]].active
        assert took < BOOT_TIMEOUT + 15, f"the boot was held back for {took:.0f} s"
        said = node.fail("drbdocfs status")
        assert "server2 at 10.181.76.11:7789" in said, said
        assert properties(node, LAYERS["wait"])["ExecMainStatus"] == "81"
        console = node.console()
        assert "server2 at 10.181.76.11:7789" in console, console[-3000:]

    def test_the_follow_service_killed_goes_on_where_it_was(self, pair: Lab) -> None:
        node = pair.nodes[0]
        before = properties(node, FOLLOW)["MainPID"]
        node.run(f"systemctl kill --signal=KILL {FOLLOW}")
        node.wait_until(
            f"systemctl is-active --quiet {FOLLOW} && test $(systemctl show -P MainPID {FOLLOW}) != {before}"
        )
        node.wait_until(f"systemctl show -P StatusText {FOLLOW} | grep -q 'server2 at 10.181.76.11:7789'")
        assert record(node, "waiting")["STATE"] == "late"
        check_alone_and_down(node)

    def test_proceed_in_the_late_wait(self, pair: Lab) -> None:
        node = pair.nodes[0]
        began = time.monotonic()
        said = node.run("drbdocfs proceed web --yes", timeout=150)
        say(f"proceed: mounted alone after {time.monotonic() - began:.1f} s")
        await_up([node], 5)
        assert "risk" in said, said
        assert node.run("systemctl is-system-running").strip() == "running"
        self.seen["sum"] = write(node, "alone", "20M")

    def test_the_returning_peer_resyncs_and_comes_up_by_itself(self, pair: Lab) -> None:
        node, peer = pair.nodes
        before = history(node)
        peer.start()
        peer.wait_booted()
        await_up([peer])
        stack.check_up(pair)
        assert history(node) == before, "something restarted on the node that was up"
        assert situations.checksum(peer, "alone") == self.seen["sum"]
        for name in ("peer-back", "resync-started", "resync-ended"):
            assert journal_has(node, name), f"no {name} in the journal of {node.name}"

    def test_the_one_that_crashed_first_does_not_mount_alone_and_the_other_does(self, pair: Lab) -> None:
        """server2 crashes, server1 goes on and writes, both are off; then server2 comes alone."""
        survivor, crashed = pair.nodes
        crashed.power_cut()
        self.seen["sum"] = write(survivor, "after-the-crash", "10M")
        configure([survivor], stop_holders="terminate")
        self.seen["sitter"] = sit_in_the_mount(survivor)
        survivor.shutdown()
        crashed.start()
        crashed.wait_connected()
        # Its disk says UpToDate, its flags say nothing.
        await_status(crashed, "metadata does not show that this node ran on without its peer", 120)
        check_alone_and_down(crashed)
        assert "ds:UpToDate/DUnknown" in crashed.run("cat /proc/drbd")
        crashed.power_cut()
        survivor.start()
        assert survivor.wait_booted() == "running"
        stack.check_shutdown_order(text := stack.shutdown_text(survivor.journal(boot=-1)))
        assert re.search(rf"SIGTERM to sleep \(pid {self.seen['sitter']}\b", text), text
        await_up([survivor], 5)
        assert properties(survivor, LAYERS["wait"])["ExecMainStatus"] == "10"
        took = survivor.boot_times().units[LAYERS["wait"]].took
        assert PEER_TIMEOUT - 5 < took < PEER_TIMEOUT + 10, f"it went alone after {took:.1f} s"
        before = history(survivor)
        crashed.start()
        crashed.wait_booted()
        await_up([crashed])
        stack.check_up(pair)
        assert history(survivor) == before, "something restarted on the node that was up"
        assert situations.checksum(crashed, "after-the-crash") == self.seen["sum"]

    def test_power_cut_of_the_resync_target(self, pair: Lab) -> None:
        source, target = pair.nodes
        stack.stop(target)
        pair.both(situations.slow_resync)
        source.run("drbdadm adjust r0")
        self.seen["sum"] = write(source, "while-away", "40M")
        start(target)
        target.wait_until(
            "systemctl show -P StatusText drbdocfs-wait@web.service | grep 'resync from server1 [0-9]* %, .* left'", 60
        )
        assert "SyncTarget" in status(target)
        before = history(source)
        target.power_cut()
        target.start()
        target.wait_connected()
        target.wait_until("grep -q 'cs:SyncTarget' /proc/drbd", 120)
        check_alone_and_down(target)
        # Refused, whoever asks: it is connected, so there is nothing to go alone for.
        assert "its peer is connected" in target.fail("drbdocfs proceed web --yes")
        assert target.wait_booted() == "degraded"
        assert properties(target, LAYERS["wait"])["ExecMainStatus"] == "80"
        check_login(target)
        assert history(source) == before

    def test_power_cut_of_the_resync_source(self, pair: Lab) -> None:
        source, target = pair.nodes
        source.power_cut()
        target.wait_until("grep -q 'cs:WFConnection' /proc/drbd", 60)
        check_alone_and_down(target)
        result = target.execute("drbdocfs proceed web --yes")
        assert result.status == 65, result
        assert "Inconsistent" in result.err, result
        assert record(target, "proceed") == {}
        source.start()
        source.wait_booted()
        target.wait_until("grep -q 'cs:SyncTarget' /proc/drbd", 60)
        pair.both(situations.full_speed)
        await_up(pair.nodes)
        stack.check_up(pair)
        for node in pair.nodes:
            assert situations.checksum(node, "while-away") == self.seen["sum"]

    def test_the_one_that_left_first_does_not_mount_alone(self, pair: Lab) -> None:
        """Its flags and its peer's are the same; and what sits in the peer's mount does not hang its shutdown."""
        node, peer = pair.nodes
        stack.stop(node)
        configure([peer], stop_holders="report")
        pid = sit_in_the_mount(peer)
        peer.shutdown(200)
        say(f"{peer.name}: shutdown with a process left in the mount took {peer.last_shutdown:.0f} s")
        start(node)
        await_wait_over(node)
        assert properties(node, LAYERS["wait"])["ExecMainStatus"] == "81"
        check_alone_and_down(node)
        peer.start()
        peer.wait_booted()
        text = stack.shutdown_text(peer.journal(boot=-1))
        assert f"{MOUNTPOINT} is in use" in text, text
        said = [line for line in text.splitlines() if pid in line and "holders" in line]
        assert said, text
        assert text.index(said[0]) < text.rindex("network.target"), "said when the network was gone"
        await_up(pair.nodes)
        stack.check_up(pair)

    def test_always_goes_alone_without_proof(self, pair: Lab) -> None:
        node, peer = pair.nodes
        leave_together(pair)
        configure([node], when_alone="always")
        start(node)
        await_up([node])
        assert properties(node, LAYERS["wait"])["ExecMainStatus"] == "10"
        assert "when_alone = always" in status(node)
        before = history(node)
        start(peer)
        await_up([peer])
        stack.check_up(pair)
        assert history(node) == before


class TestTheLink:
    seen: ClassVar[dict[str, str]] = {}

    def test_both_up(self, pair: Lab) -> None:
        # DRBD looks for its peer every three seconds instead of ten.
        pair.both(lambda node: node.run("sed -i 's/allow-two-primaries;/& ping-int 3;/' /etc/drbd.d/r0.res"))
        # Longer than the attach waits for an address, so that the wait has its share of it.
        configure(pair.nodes, boot_timeout="36s")
        situations.know_each_other(pair)
        start_both(pair)

    def test_an_address_lost_for_some_seconds_heals(self, pair: Lab) -> None:
        """server1 alone has it mounted and writes; the link goes at its end, at the other end, at both."""
        writer, other = pair.nodes
        stack.stop(other)
        other.run("systemctl start drbdocfs-attach@web.service", timeout=60)
        other.run(f"systemctl start {FOLLOW}")
        pair.both(lambda node: node.wait_until("grep -q 'ds:UpToDate/UpToDate' /proc/drbd"))
        before = properties(writer, LAYERS["mount"])["InvocationID"]
        for ends in ((writer,), (other,), (writer, other)):
            for node in ends:
                node.set_link(False)
            pair.both(lambda node: node.wait_until("! grep -q 'cs:Connected' /proc/drbd", 60))
            for node in ends:
                node.wait_until(f"! ip -4 address | grep -q {node.address}", 60)
            write(writer, "meanwhile", "300k")
            for node in ends:
                node.set_link(True)
            pair.both(lambda node: node.wait_until("grep -q 'cs:Connected.*ds:UpToDate/UpToDate' /proc/drbd", 90))
        assert properties(writer, LAYERS["mount"])["InvocationID"] == before
        assert journal_has(writer, "address-lost")
        assert journal_has(writer, "connecting-again")
        assert not any("Split-Brain" in node.run("dmesg") for node in pair.nodes)
        start(other)
        await_up([other])
        stack.check_up(pair)

    def test_a_split_brain_in_operation_is_found_named_and_resolved(self, pair: Lab) -> None:
        survivor, victim = pair.nodes
        for node in pair.nodes:
            node.set_link(False)
        pair.both(lambda node: node.wait_until("! grep -q 'cs:Connected' /proc/drbd", 60))
        # Files on both sides, as far as OCFS2 lets them; the heartbeat writes in any case.
        for node in pair.nodes:
            node.run(f"systemd-run --quiet --collect bash -c 'echo {node.name} > {MOUNTPOINT}/only-{node.name}; sync'")
            node.wait_until("test $(awk '/oos:/ { sub(/.*oos:/, \"\"); print $1 }' /proc/drbd) -gt 0", 60)
        for node in pair.nodes:
            node.set_link(True)
        for node in pair.nodes:
            await_status(node, "split brain: both nodes changed r0", 90)
            node.wait_until("journalctl --boot --quiet MESSAGE_ID=569fddfa81c545218dafb50a1c96d1ec | grep -q .", 30)
        assert "split brain" in journal_has(survivor, "split-brain")
        # Both sides, from one: refused as long as the victim is mounted, and where the name is not given in full.
        shown = survivor.execute("drbdocfs split-brain web", timeout=120)
        assert shown.status == 65, shown
        assert victim.name in shown.out, shown.out
        assert survivor.name in shown.out, shown.out
        refused = survivor.execute(f"drbdocfs split-brain web --victim {victim.name} --yes", timeout=120)
        assert refused.status == 65, refused
        assert "still mounted" in refused.err, refused.err
        assert survivor.execute("drbdocfs split-brain web --victim server --yes", timeout=120).status == 2
        pair.both(lambda node: node.run("grep -q 'cs:StandAlone ro:Primary' /proc/drbd"))

    def test_the_split_brain_is_resolved_by_the_command(self, pair: Lab) -> None:
        survivor, victim = pair.nodes
        self.seen["sum"] = write(survivor, "after-the-split", "5M")
        stack.stop(victim)
        before = history(survivor)
        said = survivor.run(f"drbdocfs split-brain web --victim {victim.name} --yes", timeout=300)
        assert "the split brain is resolved" in said, said
        await_up([victim], 5)
        stack.check_up(pair)
        assert history(survivor) == before
        assert situations.checksum(victim, "after-the-split") == self.seen["sum"]
        assert "server2" not in victim.run(f"cat {MOUNTPOINT}/only-server2 2>/dev/null", check=False)
        assert victim.run("ls /var/lib/drbdocfs").strip() == ""
        assert survivor.run("ls /var/lib/drbdocfs").strip() == ""

    def test_both_booted_without_link_heal_when_it_is_back(self, pair: Lab) -> None:
        configure([pair.nodes[1]], stop_holders="kill")
        pid = sit_in_the_mount(pair.nodes[1], stubborn=True)
        pair.shutdown()
        for node in pair.nodes:
            node.start()
            node.set_link(False)
        pair.both(lambda node: node.wait_booted())
        for node in pair.nodes:
            check_alone_and_down(node)
            check_login(node)
            assert "address" in node.fail("drbdocfs status")
        stack.check_shutdown_order(text := stack.shutdown_text(pair.nodes[1].journal(boot=-1)))
        assert re.search(rf"SIGKILL to bash \(pid {pid}\b", text), text
        for node in pair.nodes:
            node.set_link(True)
        await_up(pair.nodes)
        stack.check_up(pair)

    def test_a_wrong_secret(self, pair: Lab) -> None:
        stop_both(pair)
        node, peer = pair.nodes
        for each in pair.nodes:
            each.run(
                "cp /etc/drbd.d/r0.res /root/; sed -i 's/allow-two-primaries;/&"
                f' cram-hmac-alg sha1; shared-secret "of {each.name}";/\' /etc/drbd.d/r0.res'
            )
        start(node, peer)
        for each in pair.nodes:
            await_wait_over(each)
            check_alone_and_down(each)
            assert "the authentication failed" in each.fail("drbdocfs status")
        # One end finds it and the other is left waiting, or both.
        ends = {properties(each, LAYERS["wait"])["ExecMainStatus"] for each in pair.nodes}
        assert "76" in ends, ends
        pair.both(lambda each: each.run("cp /root/r0.res /etc/drbd.d/; drbdadm adjust r0"))
        await_up(pair.nodes)
        stack.check_up(pair)

    def test_no_section_for_this_host(self, pair: Lab) -> None:
        node = pair.nodes[1]
        stack.stop(node)
        node.run("cp /etc/drbd.d/r0.res /root/; sed -i 's/on server2/on server3/' /etc/drbd.d/r0.res")
        node.fail(f"systemctl start {TARGET}", timeout=120)
        shown = status(node)
        assert "not defined in your config (for this host)" in shown or "'on HOST'" in shown, shown
        assert properties(node, LAYERS["attach"])["ExecMainStatus"] == "78"
        node.run("cp /root/r0.res /etc/drbd.d/")
        stack.stop(node)
        stack.check_down(node)

    def test_a_smaller_disk(self, pair: Lab) -> None:
        survivor, node = pair.nodes
        before = history(survivor)
        stack.stop(node)
        situations.smaller_disk(node, "100M")
        start(node)
        await_wait_over(node)
        # DRBD tells only the node with the larger disk why it refuses; the other one goes on trying.
        assert "a disk is smaller than the other node's data" in status(survivor)
        assert properties(node, LAYERS["wait"])["ExecMainStatus"] == "82"
        assert "local disk Inconsistent" in status(node)
        check_alone_and_down(node)
        stack.stop(node)
        situations.whole_disk(node)
        # The survivor's end was dropped as well and waits for nobody.
        survivor.run("drbdadm adjust r0")
        start(node)
        await_up([node])
        stack.check_up(pair)
        assert history(survivor) == before

    def test_proceed_in_the_boot_wait_and_not_with_an_outdated_disk(self, pair: Lab) -> None:
        stop_both(pair)
        configure(pair.nodes, when_alone="wait")
        node, peer = pair.nodes
        start(node)
        node.wait_until(f"systemctl show -P StatusText {LAYERS['wait']} | grep -q 'server2 at 10.181.76.11:7789'")
        node.run("drbdocfs proceed web --yes", timeout=150)
        await_up([node], 5)
        took = node.boot_times().units[LAYERS["wait"]].took
        assert took < PEER_TIMEOUT, f"the wait took {took:.1f} s"
        node.run("drbdadm disconnect r0")
        start(peer)
        peer.wait_until(f"systemctl show -P StatusText {LAYERS['wait']} | grep -q 'server1 at 10.181.76.10:7789'")
        peer.run("drbdadm outdate r0")
        refused = peer.execute("drbdocfs proceed web --yes")
        assert refused.status == 65, refused
        assert "Outdated" in refused.err, refused
        check_alone_and_down(peer)
        node.run("drbdadm connect r0")
        await_up([peer])
        stack.check_up(pair)
