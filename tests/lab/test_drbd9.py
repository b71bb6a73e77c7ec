"""DRBD 9's driver: day one, reboots, lost links, a lost peer and a split brain. Needs its modules: --extra-modules DIR.

Debian's kernel has 8.4 and nothing of 9, so this is no part of `make test`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import stack
from .image import REPLICATION_ADDRESS, Image
from .lab import Lab, know_each_other
from .node import Node
from .situations import online_without_link

pytestmark = [pytest.mark.lab, pytest.mark.long]

CONFIGURATION = "/etc/drbdocfs/conf.d/web.conf"
CREATE = (
    f"drbdocfs create web --peer server2={REPLICATION_ADDRESS[2]} --address {REPLICATION_ADDRESS[1]}"
    " --mountpoint /mnt/storage --size 100M --resource r0 --first server1 --survivor server1 --yes 2>&1"
)
UP_LIMIT = 300.0
# O2CB resets a node that cannot write its heartbeat for 60 s.
RESET_LIMIT = 120.0


@pytest.fixture(scope="class")
def pair(request: pytest.FixtureRequest, image: Image, deb: Path) -> Iterator[Lab]:
    """Both nodes booted with the package, and DRBD 9 loaded."""
    modules = request.config.getoption("--extra-modules")
    if modules is None or not any(modules.rglob("drbd.ko*")):
        pytest.skip("--extra-modules has no DRBD 9")
    with Lab(image) as lab:
        lab.boot()
        know_each_other(lab)
        lab.both(online_without_link)
        lab.both(lambda node: node.install(deb))
        for node in lab.nodes:
            node.run("modprobe drbd && grep -q '^9' /sys/module/drbd/version; sync")
        yield lab


def serves(node: Node) -> bool:
    """The stack is up and well by our own word, and a write to it goes through."""
    file = f"{stack.MOUNTPOINT}/probe.{node.name}"
    return node.ask(f"drbdocfs status && timeout 20 sh -c 'echo 1 > {file}; sync {file}'", 30) is not None


def await_both(lab: Lab, timeout: float = UP_LIMIT) -> None:
    """Both serve, without a hand."""
    limit = time.monotonic() + timeout
    while not all(lab.both(serves)):
        assert time.monotonic() < limit, lab.report(f"not both up again in {timeout:.0f} s")
        time.sleep(2)


def set_keys(lab: Lab, **keys: str) -> None:
    for node in lab.nodes:
        node.run("".join(f"sed -i '/^{key} *=/d' {CONFIGURATION};" for key in keys))
        lines = "".join(f"{key} = {value}\\n" for key, value in keys.items())
        node.run(f"printf '{lines}' >> {CONFIGURATION}; systemctl daemon-reload; sync")


def no_split_brain(lab: Lab) -> None:
    for node in lab.nodes:
        node.fail("dmesg | grep Split-Brain")


class TestOnDrbd9:
    def test_create_and_check(self, pair: Lab) -> None:
        text = pair.nodes[0].run(CREATE, timeout=600)
        assert "web: up on both hosts" in text, text
        stack.check_up(pair)
        for node in pair.nodes:
            found = json.loads(node.run("drbdocfs check --peer --json", timeout=120))["findings"]
            assert {f["code"] for f in found} <= {"clock-sync"}, found
            assert "resource-and-stonith" in node.run("drbdsetup show r0")

    def test_reboot_of_both(self, pair: Lab) -> None:
        pair.both(lambda node: node.reboot())
        stack.check_up(pair)
        for node in pair.nodes:
            stack.check_shutdown(node)

    def test_fence_test_says_who_goes_on(self, pair: Lab) -> None:
        text = pair.nodes[0].run("drbdocfs fence-test web 2>&1", timeout=200)
        assert text.count("survivor = server1") >= 2, text

    def test_a_short_loss_costs_nobody_anything(self, pair: Lab) -> None:
        """Without fencing the same 12 s end in a split brain, and both write on."""
        boots = [node.boot_id() for node in pair.nodes]
        for node in pair.nodes:
            node.set_link(False)
        time.sleep(12)
        for node in pair.nodes:
            node.set_link(True)
        await_both(pair)
        assert [node.boot_id() for node in pair.nodes] == boots
        no_split_brain(pair)

    def test_the_named_host_goes_on_and_the_other_comes_back(self, pair: Lab) -> None:
        one, two = pair.nodes
        boot, resets = one.boot_id(), two.resets
        for node in pair.nodes:
            node.set_link(False)
        one.wait_until(f"timeout 5 sh -c 'echo alone > {stack.MOUNTPOINT}/alone; sync {stack.MOUNTPOINT}/alone'", 60)
        assert two.await_reset(resets, RESET_LIMIT), "server2 was to be reset by O2CB"
        for node in pair.nodes:
            node.set_link(True)
        await_both(pair)
        assert one.boot_id() == boot
        assert two.run(f"cat {stack.MOUNTPOINT}/alone").strip() == "alone"
        no_split_brain(pair)

    def test_who_ran_on_last_comes_up_without_its_peer(self, pair: Lab) -> None:
        """By the bitmap's UUID of the peer's slot: when_alone = newest."""
        one, two = pair.nodes
        set_keys(pair, peer_timeout="20s")
        two.power_cut()
        one.wait_until(f"timeout 5 sh -c 'echo last > {stack.MOUNTPOINT}/last; sync {stack.MOUNTPOINT}/last'", 150)
        one.reboot()
        one.wait_until("drbdocfs status | grep 'alone .*since'", UP_LIMIT)
        assert stack.is_mounted(one)
        two.start()
        await_both(pair)
        assert two.run(f"cat {stack.MOUNTPOINT}/last").strip() == "last"

    def test_stop_leaves_nothing_and_start_brings_it_back(self, pair: Lab) -> None:
        pair.both(lambda node: node.run("drbdocfs stop web", timeout=120))
        for node in pair.nodes:
            stack.check_down(node)
        pair.both(lambda node: node.run("drbdocfs start web", timeout=200))
        await_both(pair)
