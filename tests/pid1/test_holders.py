"""Processes that use the file system when it is to be unmounted, with real processes and a real systemd."""

from __future__ import annotations

import re

import pytest

from tests.pid1 import world
from tests.pid1.container import Machine

pytestmark = pytest.mark.pid1

HOLDERS = "drbdocfs-holders@web.service"
SITTER = "sitter.service"
# Nothing that systemd would bring to an end before the unmount: a process of a unit that outlives a stop of the stack
# and, at power-off, the network.
UNIT = """\
[Unit]
Description=Sits in the mount
DefaultDependencies=no
{0}
[Service]
{1}
"""
SIT = "ExecStart=/bin/sh -c 'cd /mnt/web && exec sleep 1000'\n"
DEAF = "ExecStart=/bin/sh -c 'trap \"\" TERM; cd /mnt/web; while :; do sleep 1000; done'\nTimeoutStopSec=2s\n"


def sit(node: Machine, policy: str, service: str = SIT, unit: str = "") -> None:
    """Boot with a stack and a process that has its working directory in the mount."""
    world.configure(node, world.stack("web", stop_holders=policy))
    node.write(f"/etc/systemd/system/{SITTER}", UNIT.format(unit, service))
    node.boot()
    assert world.states(node, [HOLDERS, "mnt-web.mount"]) == {HOLDERS: "active", "mnt-web.mount": "active"}
    node.systemctl("start", SITTER)
    pid = node.show(SITTER, "MainPID")[0]
    node.until(lambda: node.call("readlink", f"/proc/{pid}/cwd").stdout.strip() == "/mnt/web", 5, "its directory")


def words(node: Machine, *which: str) -> list[str]:
    """Lines of the journal, without their beginnings."""
    return [line.partition("]: ")[2] for line in node.journal("-b", *which).splitlines()]


def where(lines: list[str], pattern: str) -> int:
    """The one line that matches."""
    (found,) = [number for number, line in enumerate(lines) if re.search(pattern, line)]
    return found


def test_no_process_and_no_words_where_nobody_is(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    node.boot()
    assert node.show(HOLDERS, "ActiveState", "ExecMainPID") == ["active", "0"]
    node.systemctl("stop", "drbdocfs@web.target")
    node.settle()
    # Services with a mount namespace of their own have a copy of the mount; it goes with ours and is nobody's use.
    said = words(node, "-u", HOLDERS)
    assert [line for line in said if line.startswith("web:")] == ["web: nobody uses /mnt/web: it can be unmounted now"]


@pytest.mark.parametrize("policy", ["report", "terminate", "kill"])
def test_stop_with_a_working_directory_in_the_mount(node: Machine, policy: str) -> None:
    sit(node, policy)
    world.forget(node)
    pid = node.show(SITTER, "MainPID")[0]
    node.call("systemctl", "stop", "drbdocfs@web.target", limit=60)
    node.settle(60)
    said = words(node, "-b")
    line = rf"sleep \(pid {pid}, user root, sitter.service\): working directory /mnt/web"
    if policy == "report":
        assert world.states(node, [SITTER, "mnt-web.mount"]) == {SITTER: "active", "mnt-web.mount": "active"}
        assert where(said, "web:   " + line) < where(said, "web: /mnt/web cannot be unmounted now. If it stays so")
        # The layers below name it as well.
        assert any(re.search(f"so r0 stays Primary; in use by {line}", text) for text in said)
        assert world.states(node, [HOLDERS]) == {HOLDERS: "inactive"}
        node.systemctl("stop", SITTER)
        return
    assert where(said, "web: SIGTERM to " + line) < where(said, "web: nobody uses /mnt/web: it can be unmounted now")
    assert [line for line in said if "SIGKILL" in line] == []
    assert set(world.states(node, [*world.units("web"), HOLDERS]).values()) == {"inactive"}
    assert world.ordered(world.calls(node), *world.chains([0])) == []
    assert world.down(0)[3] in world.changes(world.calls(node))


@pytest.mark.parametrize("policy", ["report", "terminate", "kill"])
def test_power_off_with_a_working_directory_in_the_mount(node: Machine, policy: str) -> None:
    """Without the default dependencies nobody stops it: the worst case of a process that systemd leaves."""
    sit(node, policy)
    world.forget(node)
    assert node.poweroff(90) < 60
    said = words(node, "-b")
    over = where(said, "Stopped drbdocfs-holders@web.service")
    if policy == "report":
        # Said before the cluster and the network are taken away.
        last = where(said, "web: /mnt/web cannot be unmounted now. If it stays so")
        assert last < over < where(said, "Stopped target network.target")
        assert where(said, r"web:   sleep \(pid \d+, user root, sitter.service\): working directory") < last
        assert last < where(said, "Stopping drbdocfs-o2cb@web.service")
        assert "/mnt/web cannot be unmounted now" in node.console
        return
    assert where(said, r"web: SIGTERM to sleep") < where(said, "web: nobody uses /mnt/web") < over
    assert world.ordered(world.calls(node), *world.chains([0])) == []
    gone = world.changes(world.calls(node))
    assert [words for words in (*world.down(0), world.UNREGISTER) if words not in gone] == []


def test_who_does_not_hear_is_killed(node: Machine) -> None:
    sit(node, "kill", DEAF)
    node.systemctl("stop", "drbdocfs@web.target", limit=40)
    node.settle(40)
    said = words(node, "-u", HOLDERS)
    assert where(said, r"web: SIGTERM to sh \(") < where(said, r"web: SIGKILL to sh \(") < where(said, "nobody uses")
    assert world.states(node, ["mnt-web.mount"]) == {"mnt-web.mount": "inactive"}


def test_who_does_not_hear_stays_where_nothing_may_be_killed(node: Machine) -> None:
    sit(node, "terminate", DEAF)
    node.call("systemctl", "stop", "drbdocfs@web.target", limit=60)
    node.settle(60)
    said = words(node, "-u", HOLDERS)
    assert where(said, "SIGTERM to sh") < where(said, "cannot be unmounted now. If it stays so")
    assert [line for line in said if "SIGKILL" in line] == []
    assert world.states(node, [SITTER]) == {SITTER: "active"}


@pytest.mark.parametrize("way", ["stop", "poweroff"])
def test_service_that_requires_the_mount_is_systemd_s_to_stop(node: Machine, way: str) -> None:
    """It takes its time over the end, and gets it, under every policy."""
    slow = (
        "ExecStart=/bin/sh -c 'trap \"sleep 2; echo done in order; exit 0\" TERM; cd /mnt/web; sleep 1000 & wait'\n"
        "KillMode=mixed\n"
    )
    sit(node, "kill", slow, "RequiresMountsFor=/mnt/web\n")
    if way == "stop":
        node.systemctl("stop", "drbdocfs@web.target", limit=40)
        node.settle(40)
    else:
        node.poweroff()
    said = words(node, "-b")
    assert where(said, "done in order") < where(said, "web: nobody uses /mnt/web") < where(said, "Unmounted mnt-web")
    assert [line for line in said if line.startswith(("web: SIGTERM", "web: SIGKILL"))] == []
    assert world.ordered(world.calls(node), *world.chains([0])) == []


def test_other_users_and_namespaces_are_seen(node: Machine) -> None:
    """What the capabilities are for: an ordinary user's open file, and a mount that only a private namespace keeps."""
    world.configure(node, world.stack("web"))
    node.boot()
    private = "mount --make-rprivate / && exec sleep 1000"
    node.run("systemd-run", "--unit=private", "--property=PrivateMounts=yes", "sh", "-c", private)
    node.run("chmod", "755", "/mnt/web")
    node.run("systemd-run", "--unit=user", "--uid=65534", "sh", "-c", "exec sleep 1000 </mnt/web")
    node.until(lambda: len(node.call("pgrep", "-x", "sleep").stdout.split()) == 2, 5, "both processes")
    node.call("systemctl", "stop", "drbdocfs@web.target", limit=60)
    node.settle(60)
    said = words(node, "-u", HOLDERS)
    where(said, r"  sleep \(pid \d+, user nobody, user.service\): open file /mnt/web$")
    where(said, r"  sleep \(pid \d+, user root, private.service\): mounted on /mnt/web in its mount namespace mnt:")
