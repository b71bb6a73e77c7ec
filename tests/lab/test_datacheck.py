"""The data check on a pair that is up: records outlive a power cut, names have one winner, nothing is read stale.

Everything that DRBD, OCFS2 and O2CB do here is real; the check comes over ssh, as on hosts in production.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drbdocfs_boot.tools.datacheck import Writers

from . import fencing, matrix
from .datahost import DIRECTORY, DataHost
from .image import Image
from .lab import Lab, say
from .provision import provisioned
from .stack import MOUNTPOINT

pytestmark = pytest.mark.lab

# Seconds; the survivor's write goes on some 60 s after the other's power is gone: O2CB's default limits.
STANDSTILL = 150.0


@pytest.fixture(scope="class")
def pair(image: Image, deb: Path) -> Iterator[Lab]:
    """Both up, fencing on."""
    with Lab(image, provisioned(image)) as lab:
        matrix.bring_up(lab, deb)
        yield lab


@pytest.fixture
def writers(pair: Lab, tmp_path: Path) -> Iterator[Writers]:
    """No record of another test there, and none left."""
    made = Writers(DIRECTORY, tmp_path, MOUNTPOINT, clock=time.monotonic)
    with made.ended():
        yield made
    made.clean(DataHost(pair.nodes[0]))
    for node in pair.nodes:
        assert "data-check" not in node.run(f"ls -A {MOUNTPOINT}")
        node.run("! pgrep -f '[d]ata-check'")


class TestDataCheck:
    def test_names_have_one_winner_and_nothing_is_read_stale(self, pair: Lab, writers: Writers) -> None:
        """fcntl() locks are not honoured across nodes by O2CB, flock() is: what the documents say."""
        found = writers.races([DataHost(node) for node in pair.nodes])
        say(json.dumps(found.to_json()))
        assert found.good, found.wrong
        facts = "\n".join(found.facts)
        assert "fcntl() locks across the nodes: not supported by this cluster stack (o2cb)" in facts
        assert "flock() locks are honoured across the nodes" in facts
        assert found.wins is not None
        # Who wins how often is the machine's affair, but there has to be a winner each time.
        assert all(sum(won.values()) == 30 for won in found.wins.values()), found.wins

    @pytest.mark.long
    def test_what_was_acknowledged_is_there_after_a_power_cut(self, pair: Lab, writers: Writers) -> None:
        one, other = hosts = [DataHost(node) for node in pair.nodes]
        # With nobody to go on the survivor's writes stand still until O2CB resets it.
        fencing.set_policy(pair, one.name)
        for host in hosts:
            writers.start(host)
        for host in hosts:
            assert writers.await_record(host, 30)
        other.node.power_cut()
        cut = time.monotonic()
        # What was under way at that instant may be acknowledged yet: that is no going on.
        while not any(ack.node == one.name and ack.arrived > cut + 5 for ack in writers.notes().acks):
            assert writers.await_record(one, STANDSTILL), "the survivor has not gone on"
        # The survivor alone, while it writes.
        alone = writers.findings([one])
        assert alone.good, alone.words
        other.node.start()
        other.node.wait_booted()
        other.node.wait_until(f"mountpoint -q {MOUNTPOINT}", 300)
        writers.start(other, 120)
        for host in hosts:
            assert writers.stop(host)
        found = writers.findings(hosts, quiet=True)
        say(json.dumps(found.to_json()))
        assert found.good, found.words
        assert min(found.acknowledged.values()) > 5
        # A check that finds nothing would look the same: one acknowledged record is taken away.
        one.node.run(f"cd {DIRECTORY}/own && sed -i 3d $(ls | head -1)")
        planted = writers.findings(hosts, quiet=True)
        assert len(planted.lost) == 2, planted.words  # by both nodes

    @pytest.mark.long
    def test_nothing_is_written_where_the_mount_is_not_there(self, pair: Lab, writers: Writers) -> None:
        node = pair.nodes[1]
        node.run("systemctl stop drbdocfs.target", 120)
        node.wait_until(f"! mountpoint -q {MOUNTPOINT}", 120)
        with pytest.raises(Exception, match=f"nothing is mounted at {MOUNTPOINT}"):
            writers.start(DataHost(node))
        assert node.run(f"ls -A {MOUNTPOINT}") == ""
        node.run("systemctl start drbdocfs.target", 300)
