"""What reboot-test asks of a node, answered by a real systemd: a boot, a shutdown, and each with something wrong."""

from __future__ import annotations

import dataclasses

import pytest

from drbdocfs_boot import rebootfacts, reboottest
from drbdocfs_boot.rebootfacts import Facts
from tests.pid1 import world
from tests.pid1.container import Machine

pytestmark = pytest.mark.pid1

FIELDS = "MESSAGE,MESSAGE_ID,UNIT,JOB_TYPE,JOB_RESULT"


def ask(node: Machine) -> Facts:
    """The script's answers, of a node that is up."""
    return rebootfacts.parse(node.call("/bin/sh", "-c", rebootfacts.script("web"), limit=60).stdout)


def with_shutdown(node: Machine, facts: Facts) -> Facts:
    """What the next boot would find of this one; the node is off."""
    assert FIELDS in rebootfacts.script("web", "0")
    which = ("_PID=1", "+", "_TRANSPORT=kernel")
    said = node.journal("-b", "-n", "1500", "-o", "json", f"--output-fields={FIELDS}", *which)
    found = rebootfacts.parse(f"{rebootfacts.MARK}shutdown\n{said}\n")
    return dataclasses.replace(facts, shutdown=found.shutdown)


def test_a_boot_and_a_shutdown_in_good_order_have_no_finding(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    node.boot()
    facts = ask(node)
    assert facts.complete
    assert rebootfacts.judge("server1", facts, "web") == []
    mounted, layers = rebootfacts.layers(facts, "web")
    assert mounted is not None
    assert {"loop", "attach", "wait", "promote", "o2cb", "mount"} <= {layer.name for layer in layers}
    node.poweroff()
    assert rebootfacts.shutdown("server1", with_shutdown(node, facts), "web") == []


def test_a_unit_that_fails_at_boot_is_named_with_its_words_and_is_no_matter_of_the_shutdown(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    node.write(
        "/etc/systemd/system/planted.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo planted words; exit 3'\n",
    )
    node.write("/etc/systemd/system/multi-user.target.d/planted.conf", "[Unit]\nWants=planted.service\n")
    node.boot()
    facts = ask(node)
    (finding,) = rebootfacts.judge("server1", facts, "web")
    assert finding.kind == reboottest.FAILED_UNIT
    assert "planted.service" in finding.text
    assert "planted words" in finding.journal
    node.poweroff()
    assert rebootfacts.shutdown("server1", with_shutdown(node, facts), "web") == []


def test_a_process_that_has_to_be_killed_makes_a_shutdown_unclean(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    node.write(
        "/etc/systemd/system/stubborn.service",
        "[Unit]\nAfter=remote-fs.target\n[Service]\nTimeoutStopSec=1\n"
        "ExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'\n",
    )
    node.write("/etc/systemd/system/multi-user.target.d/stubborn.conf", "[Unit]\nWants=stubborn.service\n")
    node.boot()
    facts = ask(node)
    node.poweroff()
    found = rebootfacts.shutdown("server1", with_shutdown(node, facts), "web")
    assert [finding.kind for finding in found] == [reboottest.UNCLEAN_SHUTDOWN]
    assert "stubborn.service" in found[0].text + found[0].journal
