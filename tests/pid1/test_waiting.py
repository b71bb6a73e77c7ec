"""A peer that does not come: the boot goes on, the waiting as well, and the stack comes up by itself or not at all."""

from __future__ import annotations

import re
import time

import pytest

from tests.pid1 import world
from tests.pid1.container import Machine

pytestmark = pytest.mark.pid1

WAIT = "drbdocfs-wait@web.service"
FOLLOW = "drbdocfs-follow.service"
SYSTEM = ("multi-user.target", "remote-fs.target", "systemd-user-sessions.service", "console-getty.service")
NEVER = "peer r0: outcome=never"
READY = "peer r0: outcome=ready"
PROVED = "metadata r0: bitmap=1C6A8C27D81A6CC7"
PRIMARY = "drbdadm primary r0"
TRACES = ("ActiveState", "InvocationID", "ExecMainStartTimestampMonotonic")
# Generous: what is tested is that it comes at all, on a machine that has other things to do.
LIMIT = 30.0
# Long enough for a start that must not come: the follow service acts at once.
WHILE = 3.0


def record(node: Machine, kind: str, name: str = "web") -> dict[str, str] | None:
    """A record in /run/drbdocfs, None when there is none."""
    done = node.call("cat", f"/run/drbdocfs/{name}.{kind}")
    return dict(line.split("=", 1) for line in done.stdout.splitlines()) if done.returncode == 0 else None


def late(node: Machine, *lines: str, **changes: str) -> None:
    """Boot a machine whose stack web is not ready in its boot_timeout, and see what it has come to."""
    world.configure(node, world.stack("web", 0, boot_timeout="2s", **changes))
    world.plan(node, *(lines or [NEVER]))
    node.boot()
    is_late(node)


def is_late(node: Machine) -> None:
    """The system is up without the stack web, which waits on in the background."""
    state = world.states(node, [*SYSTEM, WAIT, FOLLOW, "drbdocfs.target", "drbdocfs@web.target", "mnt-web.mount"])
    assert state == {
        **dict.fromkeys(SYSTEM, "active"),
        WAIT: "failed",
        FOLLOW: "active",
        "drbdocfs.target": "active",
        "drbdocfs@web.target": "inactive",
        "mnt-web.mount": "inactive",
    }
    found = record(node, "waiting")
    assert found is not None
    assert found["STATE"] == "late", found


def comes_up(node: Machine, name: str = "web") -> None:
    """By itself, with everything."""
    target = f"drbdocfs@{name}.target"
    node.until(lambda: world.states(node, [target])[target] == "active", LIMIT, f"{target} by itself")
    node.settle()
    names = [*world.units(name), f"drbdocfs-holders@{name}.service", "drbdocfs-o2cb@web.service", FOLLOW]
    assert world.states(node, names) == dict.fromkeys(names, "active")
    assert node.run("findmnt", "--noheadings", "--output", "SOURCE", f"/mnt/{name}").strip().startswith("/dev/drbd")
    assert node.systemctl("list-units", "--failed", "--plain", "--no-legend") == ""
    assert record(node, "waiting", name) is None


def stays_down(node: Machine) -> None:
    """For a while nobody promotes or mounts it."""
    time.sleep(WHILE)
    node.settle()
    assert world.states(node, ["mnt-web.mount", "drbdocfs@web.target"]) == {
        "mnt-web.mount": "inactive",
        "drbdocfs@web.target": "inactive",
    }
    assert [words for words in world.changes(world.calls(node)) if words == PRIMARY] == []


def starts(node: Machine) -> int:
    """How often the stack's wait was started in this boot."""
    return len(re.findall(rf"Starting {re.escape(WAIT)}", node.journal("-b", "_PID=1")))


def follower(node: Machine) -> str:
    """The follow service's process."""
    return node.show(FOLLOW, "MainPID")[0]


def wake(node: Machine, where: str) -> None:
    """The datagram that the command sends."""
    program = "import socket, sys; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'!', sys.argv[1])"
    node.run("python3", "-c", program, where)


# Late, but by itself.


def test_peer_that_comes_late_brings_the_stack_up(node: Machine) -> None:
    late(node)
    text = node.journal("-b", "-u", WAIT)
    assert "r0 was not ready after 0:02 (boot_timeout): waiting for server2 at 127.0.0.2:7789 (Connecting)" in text
    assert "75/TEMPFAIL" in text
    node.until(lambda: "server1 login:" in node.console, LIMIT, "the login prompt")
    assert node.call("systemctl", "is-system-running").stdout.strip() == "degraded"
    world.plan(node, READY)
    comes_up(node)
    assert node.systemctl("is-system-running") == "running"
    assert starts(node) == 2
    node.poweroff()
    assert world.ordered(world.calls(node), *world.chains([0])) == []
    assert world.complaints(node) == []


def test_resync_that_takes_longer_than_the_boot_may_wait(node: Machine) -> None:
    late(node, "peer r0: resync=37.20")
    assert "(boot_timeout): resync from" in node.journal("-b", "-u", WAIT)
    world.plan(node, "peer r0: resync=81.00")
    stays_down(node)
    world.plan(node, READY)
    comes_up(node)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("way", ["kill", "restart"])
def test_follow_service_goes_on_where_it_was(node: Machine, way: str, when: str) -> None:
    """The peer comes when the new process is there, or while there is none."""
    late(node)
    old = follower(node)
    if way == "kill":
        node.systemctl("kill", "--signal=KILL", "--kill-who=main", FOLLOW)
    if when == "meanwhile":
        world.plan(node, READY)
    if way == "restart":
        node.systemctl("restart", FOLLOW)
    node.until(lambda: follower(node) not in (old, "0"), LIMIT, "a new process")
    node.until(lambda: world.states(node, [FOLLOW])[FOLLOW] == "active", LIMIT, "the service")
    if when == "before":
        stays_down(node)
        world.plan(node, READY)
    comes_up(node)
    assert starts(node) == 2


def test_wait_that_was_killed_is_late_as_well(node: Machine) -> None:
    """It could not say so itself."""
    world.configure(node, world.stack("web", boot_timeout="10min"))
    world.plan(node, NEVER)
    node.boot(wait=False)
    world.until_called(node, "drbdsetup follow r0")
    node.until(lambda: "waiting for server2" in node.show(WAIT, "StatusText")[0], LIMIT, "the status")
    node.systemctl("kill", "--signal=KILL", WAIT)
    node.wait_booted(LIMIT)
    world.plan(node, READY)
    comes_up(node)


def test_stack_that_is_up_is_not_touched_by_one_that_is_late(node: Machine) -> None:
    world.configure(node, world.stack("web", boot_timeout="2s"), world.stack("db", 1))
    world.plan(node, NEVER)
    node.boot()
    is_late(node)
    units = [*world.units("db"), "drbdocfs-holders@db.service", "drbdocfs-o2cb@web.service", FOLLOW]
    before = world.properties(node, units, *TRACES)
    assert {found["ActiveState"] for found in before.values()} == {"active"}
    world.plan(node, READY)
    comes_up(node)
    assert world.properties(node, units, *TRACES) == before
    node.poweroff()
    assert world.ordered(world.calls(node), *world.chains([0, 1])) == []


def test_two_stacks_are_late_each_for_itself(node: Machine) -> None:
    world.configure(node, world.stack("web", boot_timeout="2s"), world.stack("db", 1, boot_timeout="2s"))
    world.plan(node, NEVER, "peer r1: outcome=never")
    node.boot()
    is_late(node)
    world.plan(node, NEVER, "peer r1: outcome=ready")
    target = "drbdocfs@db.target"
    node.until(lambda: world.states(node, [target])[target] == "active", LIMIT, target)
    is_late(node)
    world.plan(node, READY)
    comes_up(node)
    assert set(world.states(node, world.units("db")).values()) == {"active"}
    assert starts(node) == 2


def test_stack_below_the_mount_point_of_another_one_comes_up_with_it(node: Machine) -> None:
    """systemd stops its mount with the one above; without a word nobody would start it again."""
    inner = [*world.units("db")[:4], "mnt-web-db.mount", "drbdocfs@db.target"]
    world.configure(
        node, world.stack("web", boot_timeout="3s"), world.stack("db", 1, boot_timeout="20s", mountpoint="/mnt/web/db")
    )
    world.plan(node, "peer r0: outcome=never")
    node.boot()
    is_late(node)
    world.plan(node, "peer r0: outcome=ready")
    comes_up(node)
    node.until(lambda: set(world.states(node, inner).values()) == {"active"}, 20, "the inner stack")
    node.run("drbdocfs", "restart", "web", limit=60)
    node.until(lambda: set(world.states(node, inner).values()) == {"active"}, 20, "the inner stack, again")
    node.settle()
    node.poweroff()
    assert world.complaints(node) == []


def test_broken_stack_beside_one_that_is_late(node: Machine) -> None:
    world.configure(node, world.stack("web", boot_timeout="2s"), world.stack("bad", 1, peer_timeout="soon"))
    world.plan(node, NEVER)
    node.boot()
    is_late(node)
    world.plan(node, READY)
    target = "drbdocfs@web.target"
    node.until(lambda: world.states(node, [target])[target] == "active", LIMIT, target)
    assert set(world.states(node, world.units("web")).values()) == {"active"}
    assert world.states(node, ["drbdocfs-broken@bad.service"]) == {"drbdocfs-broken@bad.service": "failed"}


def test_no_configuration_no_follow_service(node: Machine) -> None:
    node.boot()
    assert world.states(node, [FOLLOW]) == {FOLLOW: "inactive"}
    assert not [call for call in world.calls(node) if call.words.startswith("drbdsetup")]


def test_stack_that_came_up_at_boot_is_left_alone_when_its_peer_goes_and_comes(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    node.boot()
    units = [*world.units("web"), "drbdocfs-o2cb@web.service", FOLLOW]
    before = world.properties(node, units, *TRACES)
    calls = world.changes(world.calls(node))
    node.until(lambda: "drbdsetup follow all" in node.read("/var/lib/standin/log"), LIMIT, "the follow service")
    time.sleep(1)
    world.plan(node, NEVER)
    node.until(lambda: "lost" in node.journal("-b", "-t", "drbdocfs-follow").lower(), LIMIT, "the peer's loss")
    world.plan(node, "peer r0: resync=20 way=source")
    time.sleep(1)
    world.plan(node, READY)
    time.sleep(WHILE)
    assert world.properties(node, units, *TRACES) == before
    assert world.changes(world.calls(node)) == calls


def test_promotion_that_fails_is_not_tried_again_and_again(node: Machine) -> None:
    late(node)
    world.plan(node, READY, f"rule {PRIMARY}: code=17 say=no_good_data")
    promote = "drbdocfs-promote@web.service"
    node.until(lambda: world.states(node, [promote])[promote] == "failed", LIMIT, "the promotion's failure")
    time.sleep(WHILE * 3)
    assert [call.words for call in world.calls(node)].count(PRIMARY) == 1
    assert starts(node) == 2
    # And what its message advises works, once the cause has gone.
    world.plan(node, READY)
    node.systemctl("start", "drbdocfs@web.target")
    comes_up(node)


def test_peer_that_comes_and_goes_makes_no_tight_loop(node: Machine) -> None:
    """Gone again before the wait has looked: late as before, and the next coming is not missed."""
    late(node)
    for _ in range(6):
        world.plan(node, READY, "rule drbdadm primary r0: code=11 say=State_change_failed")
        time.sleep(0.3)
        world.plan(node, NEVER, "rule drbdadm primary r0: code=11 say=State_change_failed")
        time.sleep(0.7)
    assert starts(node) <= 3
    node.until(lambda: not node.systemctl("list-jobs", "--plain", "--no-legend"), 60, "the end of the promotion")
    world.plan(node, READY)
    node.until(lambda: world.states(node, ["mnt-web.mount"])["mnt-web.mount"] == "active", 60, "the mount")
    assert starts(node) <= 4


@pytest.mark.slow
def test_peer_that_goes_before_the_promotion_and_comes_later(node: Machine) -> None:
    """The wait was done, the promotion was not: it is waited on, and nothing waits any more once it is up."""
    late(node)
    world.plan(node, READY, f"rule {PRIMARY}: code=11 say=State_change_failed")
    promote = "drbdocfs-promote@web.service"
    node.until(lambda: world.states(node, [promote])[promote] == "activating", LIMIT, "the promotion")
    world.plan(node, NEVER)
    node.until(lambda: world.states(node, [promote])[promote] == "failed", 60, "the promotion's failure")
    found = record(node, "waiting")
    assert found is not None
    assert (found["STATE"], found["KIND"]) == ("late", "waiting")
    world.plan(node, READY)
    comes_up(node)


@pytest.mark.slow
def test_promotion_that_drbd_refuses_for_long_comes_up_by_itself(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    # 40 s of one refusal after the other at the boot; then the follow service has it tried again.
    world.plan(node, f"rule {PRIMARY}: code=11 say=In_transient_state")
    assert 40 <= node.boot(limit=60) < 55
    promote = "drbdocfs-promote@web.service"
    assert world.states(node, [promote, WAIT]) == {promote: "failed", WAIT: "active"}
    status = node.call("drbdocfs", "status").stdout
    assert "waits in the background (drbdocfs-follow.service): 'drbdadm primary r0' failed (exit 11)" in status
    world.plan(node, READY)
    time.sleep(WHILE)
    assert world.states(node, [promote]) == {promote: "failed"}
    node.until(lambda: world.states(node, [promote])[promote] == "active", 75, "the promotion")
    comes_up(node)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["policy", "order"])
def test_peer_that_goes_for_good_between_wait_and_promotion(node: Machine, way: str) -> None:
    """The wait has said "ready" and is active, so no wait runs again that could allow to go alone."""
    when_alone, timeout = ("always", "6s") if way == "policy" else ("wait", "90s")
    world.configure(node, world.stack("web", when_alone=when_alone, peer_timeout=timeout))
    world.plan(node, READY, f"rule {PRIMARY}: code=11 say=State_change_failed")
    node.boot(wait=False)
    world.until_called(node, PRIMARY)
    world.plan(node, NEVER, f"rule {PRIMARY}: code=11 say=State_change_failed")
    promote = "drbdocfs-promote@web.service"
    node.until(lambda: world.states(node, [promote])[promote] == "failed", 60, "the promotion's failure")
    world.plan(node, NEVER)
    assert world.states(node, [WAIT]) == {WAIT: "active"}
    if way == "order":
        order(node, "command")
    comes_up(node)
    assert starts(node) == 1
    back_again(node)


@pytest.mark.slow
def test_refused_promotion_then_a_peer_that_is_gone_and_an_order(node: Machine) -> None:
    """What an administrator orders waits for no pause, and counts once."""
    world.configure(node, world.stack("web", when_alone="wait"))
    world.plan(node, f"rule {PRIMARY}: code=11 say=In_transient_state")
    node.boot(limit=60)
    found = record(node, "waiting")
    assert found is not None
    assert found["KIND"] == "refused"
    # The handler has a no for it.
    world.plan(node, NEVER, f"rule {PRIMARY}: code=17 say=cannot_outdate")
    asked = [call.words for call in world.calls(node)].count(PRIMARY)
    node.call("drbdocfs", "proceed", "--yes", "web")
    node.until(lambda: [call.words for call in world.calls(node)].count(PRIMARY) == asked + 1, LIMIT, "the promotion")
    assert record(node, "proceed") is None
    time.sleep(WHILE * 3)
    assert [call.words for call in world.calls(node)].count(PRIMARY) == asked + 1
    world.plan(node, NEVER)
    order(node, "command")
    comes_up(node)


# What the administrator stopped stays stopped.


@pytest.mark.parametrize("target", ["drbdocfs@web.target", "drbdocfs.target"])
def test_what_was_stopped_while_it_was_late_stays_stopped(node: Machine, target: str) -> None:
    """The stack's own target is inactive; stopping it reaches the layers that are up all the same."""
    late(node)
    node.systemctl("stop", target)
    node.settle()
    for kind in ("waiting", "attach", "proceed", "alone"):
        assert record(node, kind) is None
    layers = ["drbdocfs-attach@web.service", "drbdocfs-loop@web.service"]
    assert world.states(node, layers) == dict.fromkeys(layers, "inactive")
    assert "drbdsetup down r0" in world.changes(world.calls(node))
    assert world.states(node, [FOLLOW]) == {FOLLOW: "inactive" if target == "drbdocfs.target" else "active"}
    world.plan(node, READY)
    stays_down(node)
    assert starts(node) == 1
    node.systemctl("start", target)
    comes_up(node)


def test_stop_while_the_follow_service_is_not_there(node: Machine) -> None:
    """Nobody is woken; the one that comes later finds no record."""
    late(node)
    node.systemctl("stop", FOLLOW)
    node.systemctl("stop", "drbdocfs@web.target")
    node.settle()
    world.plan(node, READY)
    node.systemctl("start", FOLLOW)
    stays_down(node)
    assert starts(node) == 1


def test_stop_of_a_wait_in_the_boot_is_kept(node: Machine) -> None:
    world.configure(node, world.stack("web", boot_timeout="10min"))
    world.plan(node, NEVER)
    node.boot(wait=False)
    world.until_called(node, "drbdsetup follow r0")
    node.until(lambda: "waiting for server2" in node.show(WAIT, "StatusText")[0], LIMIT, "the status")
    node.systemctl("stop", "drbdocfs@web.target")
    node.wait_booted(LIMIT)
    node.settle()
    assert record(node, "waiting") is None
    assert "drbdsetup down r0" in world.changes(world.calls(node))
    world.plan(node, READY)
    stays_down(node)
    assert starts(node) == 1


def test_stop_and_at_once_a_start_waits_anew(node: Machine) -> None:
    late(node)
    node.systemctl("stop", "--no-block", "drbdocfs@web.target")
    node.systemctl("start", "--no-block", "drbdocfs@web.target")
    node.until(lambda: starts(node) == 2, LIMIT, "the second wait")
    node.settle()
    is_late(node)
    world.plan(node, READY)
    comes_up(node)


def test_stop_that_meets_the_start_wins(node: Machine) -> None:
    """The peer comes in the moment of the stop: up or not, in the end it is down, and stays so."""
    late(node)
    world.plan(node, READY)
    node.systemctl("stop", "drbdocfs@web.target")
    node.settle()
    time.sleep(WHILE)
    node.settle()
    names = ["mnt-web.mount", "drbdocfs@web.target", "drbdocfs-attach@web.service"]
    assert world.states(node, names) == dict.fromkeys(names, "inactive")
    assert record(node, "attach") is None
    assert world.ordered(world.calls(node), *world.chains([0], at_once=False)) == []


@pytest.mark.parametrize("peer", [NEVER, READY])
def test_power_off_while_late(node: Machine, peer: str) -> None:
    """Also when the peer comes just then: nothing begins in a shutdown."""
    late(node)
    world.plan(node, peer)
    assert node.poweroff(20) < 15
    found = world.calls(node)
    assert "drbdsetup down r0" in world.changes(found)
    assert world.ordered(found, *world.chains([0])) == []
    lines = node.journal("-b", "_PID=1").splitlines()
    stopped = next(n for n, line in enumerate(lines) if "Stopped target multi-user.target" in line)
    assert [line for line in lines[stopped:] if "Starting drbdocfs" in line or "Mounting mnt-web" in line] == []
    assert "timed out" not in "\n".join(lines)
    if peer == NEVER:
        assert starts(node) == 1
    # The next boot begins from nothing.
    world.plan(node, READY)
    world.forget(node)
    node.boot()
    comes_up(node)


# Alone, by the policy.

GOES = [("always", "when_alone = always", ()), ("newest", "without its peer last", (PROVED,))]
STAYS = [("wait", "not without its peer", (PROVED,)), ("newest", "peer may hold newer data", ())]


@pytest.mark.parametrize(("policy", "reason", "lines"), GOES)
def test_goes_on_alone_within_the_boot(node: Machine, policy: str, reason: str, lines: tuple[str, ...]) -> None:
    world.configure(node, world.stack("web", boot_timeout="60s", peer_timeout="1s", when_alone=policy))
    world.plan(node, NEVER, *lines)
    node.boot()
    comes_up(node)
    assert node.show(WAIT, "ExecMainStatus", "Result") == ["10", "success"]
    assert reason in node.journal("-b", "-u", WAIT)
    assert record(node, "alone") is not None
    back_again(node)


@pytest.mark.parametrize(("policy", "reason", "lines"), GOES)
def test_goes_on_alone_when_late(node: Machine, policy: str, reason: str, lines: tuple[str, ...]) -> None:
    late(node, NEVER, *lines, peer_timeout="6s", when_alone=policy)
    comes_up(node)
    assert node.show(WAIT, "ExecMainStatus", "Result") == ["10", "success"]
    assert reason in node.journal("-b", "-u", WAIT)
    assert starts(node) == 2
    back_again(node)


def back_again(node: Machine) -> None:
    """The peer returns to a node that went on alone: nothing restarts there."""
    units = [*world.units("web"), "drbdocfs-o2cb@web.service", FOLLOW]
    before, calls = world.properties(node, units, *TRACES), world.changes(world.calls(node))
    world.plan(node, "peer r0: resync=20 way=source")
    time.sleep(1)
    world.plan(node, READY)
    time.sleep(WHILE)
    assert world.properties(node, units, *TRACES) == before
    assert world.changes(world.calls(node)) == calls
    node.poweroff()
    assert world.ordered(world.calls(node), *world.chains([0])) == []


@pytest.mark.parametrize(("policy", "reason", "lines"), STAYS)
@pytest.mark.parametrize("peer_timeout", ["1s", "4s"])
def test_does_not_go_on_alone(
    node: Machine, policy: str, reason: str, lines: tuple[str, ...], peer_timeout: str
) -> None:
    """Before boot_timeout the wait says it, after it the follow service; then the peer comes."""
    late(node, NEVER, *lines, peer_timeout=peer_timeout, when_alone=policy)
    if peer_timeout == "1s":
        assert reason in node.journal("-b", "-u", WAIT)
        assert node.show(WAIT, "ExecMainStatus") == ["81"]
    elif policy != "wait":
        node.until(lambda: reason in node.show(FOLLOW, "StatusText")[0], LIMIT, "the refusal")
    stays_down(node)
    world.plan(node, READY)
    comes_up(node)


def test_disk_that_is_not_uptodate_never_goes_alone(node: Machine) -> None:
    late(node, NEVER + " disk=Outdated", PROVED, peer_timeout="1s", when_alone="always")
    assert node.show(WAIT, "ExecMainStatus") == ["82"]
    stays_down(node)
    world.plan(node, READY)
    comes_up(node)


@pytest.mark.parametrize("outcome", ["split-brain", "secret"])
def test_connection_that_was_dropped_is_left_to_the_administrator(node: Machine, outcome: str) -> None:
    late(node, NEVER, "kernel-log yes", PROVED)
    world.plan(node, f"peer r0: outcome={outcome}", "kernel-log yes", PROVED)
    words = {"split-brain": "plit brain", "secret": "authentication failed"}[outcome]
    node.until(lambda: words in node.journal("-b", "-t", "drbdocfs-follow"), LIMIT, "the reason")
    stays_down(node)
    assert [call.words for call in world.calls(node)].count("drbdadm adjust r0") == 1
    if outcome == "secret":
        return
    assert node.read("/var/lib/drbdocfs/web.split-brain")
    node.poweroff()
    # It is not forgotten by a boot, whatever the metadata proves.
    world.forget(node)
    late(node, NEVER, PROVED, peer_timeout="1s", when_alone="newest")
    assert "has not been resolved" in node.journal("-b", "-u", WAIT)
    stays_down(node)
    world.plan(node, READY)
    comes_up(node)
    assert not node.read("/var/lib/drbdocfs/web.split-brain")


# Alone, by order of the administrator.


def order(node: Machine, way: str) -> None:
    """`drbdocfs proceed`, or what it does."""
    if way == "command":
        node.run("drbdocfs", "proceed", "--yes", "web", limit=LIMIT)
        return
    node.run("sh", "-c", "printf 'TIME=1\\nWHO=test\\n' >/run/drbdocfs/new && mv /run/drbdocfs/new $0", PROCEED)
    wake(node, "/run/drbdocfs/web.socket" if way == "wait" else "/run/drbdocfs-follow/socket")


PROCEED = "/run/drbdocfs/web.proceed"


@pytest.mark.parametrize("way", ["wait", "command"])
def test_proceed_ends_the_wait_in_the_boot(node: Machine, way: str) -> None:
    world.configure(node, world.stack("web", boot_timeout="10min", when_alone="wait"))
    world.plan(node, NEVER)
    node.boot(wait=False)
    world.until_called(node, "drbdsetup follow r0")
    node.until(lambda: "waiting for server2" in node.show(WAIT, "StatusText")[0], LIMIT, "the status")
    order(node, way)
    node.wait_booted(LIMIT)
    comes_up(node)
    assert "told so by 'drbdocfs proceed'" in node.journal("-b", "-u", WAIT)
    assert record(node, "proceed") is None


@pytest.mark.parametrize("way", ["follow", "command"])
def test_proceed_when_late(node: Machine, way: str) -> None:
    late(node, when_alone="wait")
    order(node, way)
    comes_up(node)
    assert node.show(WAIT, "ExecMainStatus") == ["10"]
    assert record(node, "proceed") is None
    back_again(node)


def test_proceed_is_for_this_time_only(node: Machine) -> None:
    late(node, when_alone="wait")
    order(node, "follow")
    comes_up(node)
    node.systemctl("stop", "drbdocfs@web.target")
    node.settle()
    node.call("systemctl", "start", "drbdocfs@web.target")
    is_late(node)
    stays_late = starts(node)
    time.sleep(WHILE)
    assert starts(node) == stays_late


def test_proceed_without_the_follow_service(node: Machine) -> None:
    late(node, when_alone="wait")
    node.systemctl("stop", FOLLOW)
    node.run("drbdocfs", "proceed", "--yes", "web", limit=LIMIT)
    node.settle()
    assert set(world.states(node, world.units("web")).values()) == {"active"}


# The address that comes and goes.

ADDRESS = "192.0.2.1"
WITH_ADDRESS = (f"address {ADDRESS}", "kernel-log yes")


def address(node: Machine, action: str) -> None:
    node.run("ip", "address", action, f"{ADDRESS}/32", "dev", "lo")


def dropped(node: Machine) -> None:
    """Until DRBD has noticed that the address is gone, and with it the follow service's tool."""
    node.until(
        lambda: "bind before listen failed" in node.run("cat", "/run/standin/kmsg"),
        LIMIT,
        "StandAlone in the kernel log",
    )


@pytest.fixture
def addressed(node: Machine) -> Machine:
    """DRBD's address is one that can go and come."""
    node.write("/etc/drbd.d/r0.res", f"resource r0 {{ device /dev/drbd0; disk /dev/loop7; address {ADDRESS}; }}\n")
    return node


def test_address_comes_back_while_late(addressed: Machine) -> None:
    node = addressed
    late(node, NEVER, *WITH_ADDRESS)
    address(node, "del")
    dropped(node)
    world.plan(node, READY, *WITH_ADDRESS)
    stays_down(node)
    assert [call.words for call in world.calls(node)].count("drbdadm adjust r0") == 1
    address(node, "add")
    comes_up(node)
    assert [call.words for call in world.calls(node)].count("drbdadm adjust r0") == 2


def test_address_comes_back_within_the_boot(addressed: Machine) -> None:
    node = addressed
    world.configure(node, world.stack("web", boot_timeout="10min"))
    world.plan(node, NEVER, *WITH_ADDRESS)
    node.boot(wait=False)
    world.until_called(node, "drbdsetup follow r0")
    node.until(lambda: "waiting for server2" in node.show(WAIT, "StatusText")[0], LIMIT, "the status")
    address(node, "del")
    dropped(node)
    node.until(lambda: "address was not on this host" in node.show(WAIT, "StatusText")[0], LIMIT, "the reason")
    world.plan(node, READY, *WITH_ADDRESS)
    address(node, "add")
    node.wait_booted(LIMIT)
    comes_up(node)


def test_address_comes_back_in_operation(addressed: Machine) -> None:
    """Connected again by the follow service, with nothing restarted."""
    node = addressed
    world.configure(node, world.stack("web"))
    world.plan(node, READY, *WITH_ADDRESS)
    node.boot()
    comes_up(node)
    units = [*world.units("web"), "drbdocfs-o2cb@web.service", FOLLOW]
    before = world.properties(node, units, *TRACES)
    address(node, "del")
    dropped(node)
    time.sleep(WHILE)
    assert [call.words for call in world.calls(node)].count("drbdadm adjust r0") == 1
    address(node, "add")
    node.until(lambda: [c.words for c in world.calls(node)].count("drbdadm adjust r0") == 2, LIMIT, "the adjust")
    time.sleep(WHILE)
    assert [call.words for call in world.calls(node)].count("drbdadm adjust r0") == 2
    assert world.properties(node, units, *TRACES) == before
