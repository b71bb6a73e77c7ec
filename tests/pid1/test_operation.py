"""What an administrator does with a machine that is up."""

from __future__ import annotations

import re
import time

import pytest

from tests.pid1 import world
from tests.pid1.container import Machine

pytestmark = pytest.mark.pid1

O2CB = "drbdocfs-o2cb@web.service"
TOOL = "drbdsetup events2 .*r0$"  # a helper's; the follow service's own is for all resources
# What would change if a unit was stopped, started or run again.
TRACES = ("ActiveState", "InvocationID", "ActiveEnterTimestampMonotonic", "ExecMainStartTimestampMonotonic")


def up(node: Machine, *names: str) -> None:
    """Boot with these stacks on /dev/drbd0 and /dev/drbd1, and see them mounted."""
    world.configure(node, *(world.stack(name, number) for number, name in enumerate(names)))
    node.boot()
    for name in names:
        assert set(world.states(node, world.units(name)).values()) == {"active"}


def test_daemon_reload_touches_nothing(node: Machine) -> None:
    up(node, "web", "db")
    units = [*world.units("web"), *world.units("db"), O2CB, "drbdocfs.target"]
    before, calls = world.properties(node, units, *TRACES), world.changes(world.calls(node))
    for _ in range(3):
        node.systemctl("daemon-reload")
    node.systemctl("daemon-reexec")
    node.settle()
    assert world.properties(node, units, *TRACES) == before
    assert world.changes(world.calls(node)) == calls
    node.poweroff()
    assert world.ordered(world.calls(node), *world.chains([0, 1])) == []
    assert len(world.changes(world.calls(node))) == len(calls) + 4 + 4 + 1


def test_start_of_what_is_up_does_nothing(node: Machine) -> None:
    up(node, "web")
    calls = world.changes(world.calls(node))
    node.systemctl("start", "drbdocfs.target", "drbdocfs@web.target", *world.units("web"), O2CB)
    assert world.changes(world.calls(node)) == calls


@pytest.mark.parametrize("way", ["stop", "poweroff"])
def test_configuration_that_broke_while_mounted_still_unwinds(node: Machine, way: str) -> None:
    up(node, "web")
    node.write("/etc/drbdocfs/drbdocfs.conf", "[web]\nresource =\n")
    node.write("/etc/drbd.d/r0.res", "broken\n")
    node.systemctl("daemon-reload")
    node.settle()
    # The reload itself must not take anything away from below a mounted file system.
    units = world.units("web")[:5]
    assert world.states(node, [*units, O2CB]) == dict.fromkeys([*units, O2CB], "active")
    if way == "stop":
        # The cluster is the other stacks' as well, and which those are cannot be known any more: it may stay.
        node.systemctl("stop", "drbdocfs@web.target")
        node.settle()
        assert world.states(node, units) == dict.fromkeys(units, "inactive")
    node.poweroff()
    found = world.calls(node)
    # What the generator knew of the cluster is gone, and with it the order between O2CB and DRBD; what is left is that
    # both wait for the unmount.
    assert world.ordered(found, *world.chains([0], at_once=False)) == []
    gone = [call.words for call in found if call.code == 0]
    assert [words for words in (*world.down(0), world.UNREGISTER) if words not in gone] == []
    lines = [line for line in node.journal("-b", "_PID=1").splitlines() if "drbdocfs-" in line or "mnt-web" in line]
    assert [line for line in lines if "ailed" in line and "drbdocfs-broken@" not in line] == []


@pytest.mark.parametrize("way", ["mistake", "renamed", "removed"])
def test_configuration_that_changed_while_mounted_and_a_service_that_is_slow_to_stop(node: Machine, way: str) -> None:
    """The order against services stands in the static units: what the generator wrote is gone."""
    up(node, "web")
    world.use(node)
    renamed = world.stack("www", mountpoint="/mnt/web")
    sections = {"mistake": world.stack("web", peer_timeout="soon"), "renamed": renamed, "removed": ""}
    world.configure(node, sections[way])
    node.systemctl("daemon-reload")
    node.settle()
    world.forget(node)
    node.poweroff()
    world.check_stopped_first(node)
    gone = [call.words for call in world.calls(node) if call.code == 0]
    assert [words for words in (*world.down(0), world.UNREGISTER) if words not in gone] == []


def test_stop_unwinds_all_and_start_begins_again(node: Machine) -> None:
    up(node, "web")
    world.forget(node)
    node.systemctl("stop", "drbdocfs@web.target")
    node.settle()
    found = world.calls(node)
    fall = world.down(0)
    assert sorted(world.changes(found)) == sorted([*fall, world.UNREGISTER])
    assert world.ordered(found, *world.chains([0])) == []
    assert set(world.states(node, [*world.units("web"), O2CB]).values()) == {"inactive"}
    assert node.call("ls", "/run/drbdocfs").stdout == ""

    world.forget(node)
    node.systemctl("start", "drbdocfs@web.target")
    assert set(world.states(node, [*world.units("web"), O2CB]).values()) == {"active"}
    assert world.ordered(world.calls(node), *world.chains([0])) == []
    assert node.systemctl("is-system-running") == "running"


def test_restart_of_the_target_goes_down_and_up(node: Machine) -> None:
    """The cluster may stay: the mount that comes again needs it."""
    up(node, "web")
    world.forget(node)
    node.systemctl("restart", "drbdocfs@web.target")
    node.settle()
    found = [words for words in world.changes(world.calls(node)) if not words.startswith("o2cb")]
    assert found == [*world.down(0), *(words for words in world.up(0) if "follow" not in words)]
    assert set(world.states(node, [*world.units("web"), O2CB]).values()) == {"active"}


def test_two_stacks_share_the_cluster_until_the_last_stops(node: Machine) -> None:
    up(node, "web", "db")
    assert world.changes(world.calls(node)).count(world.REGISTER) == 1
    world.forget(node)
    node.systemctl("stop", "drbdocfs@web.target")
    node.settle()
    assert world.changes(world.calls(node)) == world.down(0)
    assert set(world.states(node, [*world.units("db"), O2CB]).values()) == {"active"}
    node.systemctl("stop", "drbdocfs@db.target")
    node.settle()
    assert sorted(world.changes(world.calls(node))[4:]) == sorted([*world.down(1), world.UNREGISTER])
    assert world.states(node, [O2CB]) == {O2CB: "inactive"}
    assert world.ordered(world.calls(node), *world.chains([0, 1], at_once=False)) == []


def test_unmounted_by_hand_comes_back_by_a_start(node: Machine) -> None:
    """Nobody asked for DRBD to go: the lower layers stay."""
    up(node, "web")
    node.run("umount", "/mnt/web")
    node.until(lambda: world.states(node, ["mnt-web.mount"]) == {"mnt-web.mount": "inactive"}, 10, "the unmount")
    node.settle()
    assert set(world.states(node, world.units("web")[:4]).values()) == {"active"}
    node.systemctl("start", "drbdocfs@web.target")
    node.settle()
    assert set(world.states(node, [*world.units("web"), O2CB]).values()) == {"active"}


def test_lost_layer_takes_those_above_with_it(node: Machine) -> None:
    up(node, "web")
    world.forget(node)
    node.systemctl("stop", "drbdocfs-attach@web.service")
    node.settle()
    assert world.changes(world.calls(node))[0] == world.down(0)[0]
    assert world.UNREGISTER in world.changes(world.calls(node))
    assert world.ordered(world.calls(node), *world.chains([0])) == []
    assert world.states(node, ["mnt-web.mount", "drbdocfs-attach@web.service"]) == {
        "mnt-web.mount": "inactive",
        "drbdocfs-attach@web.service": "inactive",
    }


def test_stop_ends_a_wait_at_once(node: Machine) -> None:
    world.configure(node, world.stack("web", boot_timeout="10min"))
    world.plan(node, "peer r0: outcome=never")
    node.boot(wait=False)
    wait = "drbdocfs-wait@web.service"
    world.until_called(node, "drbdsetup follow r0")
    node.until(lambda: "waiting for server2" in node.show(wait, "StatusText")[0], 5, "the status")
    began = time.monotonic()
    node.systemctl("stop", "drbdocfs@web.target")
    node.until(lambda: world.states(node, [wait])[wait] in ("inactive", "failed"), 5, "the end of the wait")
    assert time.monotonic() - began < 3
    node.wait_booted(20)
    assert world.states(node, ["multi-user.target"]) == {"multi-user.target": "active"}
    assert node.call("pgrep", "-f", TOOL).stdout == ""
    node.systemctl("start", "--no-block", "drbdocfs@web.target")
    world.plan(node, "peer r0: outcome=ready")
    node.until(lambda: world.states(node, ["mnt-web.mount"])["mnt-web.mount"] == "active", 20, "the mount")


def test_status_text_says_what_it_waits_for(node: Machine) -> None:
    world.configure(node, world.stack("web", boot_timeout="10min"))
    world.plan(node, "peer r0: outcome=never")
    node.boot(wait=False)
    wait = "drbdocfs-wait@web.service"
    world.until_called(node, "drbdsetup follow r0")
    node.until(
        lambda: "waiting for server2 at 127.0.0.2:7789 (Connecting)" in node.show(wait, "StatusText")[0],
        5,
        "Connecting",
    )
    # Less what the attach has waited already, on a machine that has other things to do.
    assert re.search(r"for (10:00|9:5\d) at most", node.show(wait, "StatusText")[0])
    world.plan(node, "peer r0: resync=37.20")
    node.until(lambda: "resync from server2 37 %" in node.show(wait, "StatusText")[0], 5, "the resync's progress")
    assert "resync from server2 37 %" in node.call("systemctl", "status", "--no-pager", wait).stdout
    world.plan(node, "peer r0: outcome=ready")
    node.wait_booted(20)
    assert world.states(node, ["mnt-web.mount"]) == {"mnt-web.mount": "active"}
    assert node.show(wait, "StatusText") == ["r0: connected, UpToDate on both nodes"]


def test_wait_that_never_gets_ready_lets_the_boot_go_on(node: Machine) -> None:
    world.configure(node, world.stack("web", boot_timeout="3s"))
    world.plan(node, "peer r0: outcome=never")
    seconds = node.boot(limit=15)
    assert 3 <= seconds < 10
    assert node.call("systemctl", "is-system-running").stdout.strip() == "degraded"
    names = ["drbdocfs-wait@web.service", "drbdocfs-promote@web.service", "mnt-web.mount", "multi-user.target"]
    assert list(world.states(node, names).values()) == ["failed", "inactive", "inactive", "active"]
    text = node.journal("-b", "-u", names[0])
    assert "r0 was not ready after 0:03 (boot_timeout): waiting for server2 at 127.0.0.2:7789 (Connecting)" in text
    assert "75/TEMPFAIL" in text
    assert "comes up by itself" in text
    assert "drbdocfs proceed web" in text


def test_tool_that_hangs_is_cut_off(node: Machine) -> None:
    """events2 hangs in the follower: the wait's own limit ends it, and nothing of it stays behind."""
    world.configure(node, world.stack("web", boot_timeout="3s"))
    # Without its peer, too: else the follow service, whose tool does not hang, would start the stack again at once.
    world.plan(node, "rule drbdsetup follow r0: hang=1", "peer r0: outcome=never")
    assert node.boot(limit=15) < 12
    assert world.states(node, ["drbdocfs-wait@web.service"]) == {"drbdocfs-wait@web.service": "failed"}
    assert "r0 was not ready after 0:03" in node.journal("-b", "-u", "drbdocfs-wait@web.service")
    assert node.call("pgrep", "-f", TOOL).stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "rule", "layer", "least", "most"),
    [
        ("drbdadm dump r0", "drbdadm dump r0: hang=1 times=1", "attach", 20, 35),
        # A promotion tries again for 40 s, see below.
        ("drbdsetup events2 --now --statistics r0", "drbdsetup events2 r0: hang=1 times=2", "promote", 40, 55),
    ],
    ids=["below-the-wait", "above-it"],
)
def test_tool_that_hangs_is_cut_off_by_its_own_limit(
    node: Machine, tool: str, rule: str, layer: str, least: int, most: int
) -> None:
    unit = f"drbdocfs-{layer}@web.service"
    world.configure(node, world.stack("web"))
    world.plan(node, f"rule {rule}")
    assert least <= node.boot(limit=60) < most
    assert f"'{tool}' was not done after 20 s" in node.journal("-b", "-u", unit)
    assert world.states(node, [unit, "multi-user.target"]) == {unit: "failed", "multi-user.target": "active"}
    assert node.call("pgrep", "-f", TOOL).stdout == ""
    # A second start finds what is there already, and goes on.
    node.systemctl("start", "drbdocfs@web.target")
    assert set(world.states(node, world.units("web")).values()) == {"active"}


@pytest.mark.slow
def test_promotion_outlasts_a_tool_that_hangs_once(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    world.plan(node, "rule drbdsetup events2 r0: hang=1 times=1")
    assert 20 <= node.boot(limit=60) < 38
    assert "events2 --now --statistics r0' was not done after 20 s" in node.journal(
        "-b", "-u", "drbdocfs-promote@web.service"
    )
    assert set(world.states(node, world.units("web")).values()) == {"active"}
    assert node.call("pgrep", "-f", TOOL).stdout == ""


def test_work_done_by_hand_is_accepted(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    node.boot(cmdline="quiet drbdocfs=off")
    for command in (
        "modprobe -abq loop drbd configfs ocfs2_stack_o2cb ocfs2",
        "losetup /dev/loop7 /drbd-loop.img",
        "drbdadm adjust r0",
        "drbdadm primary r0",
        "o2cb register-cluster web",
        "mkdir -p /mnt/web",
        "mount -t ocfs2 /dev/drbd0 /mnt/web",
    ):
        node.run(*command.split())
    world.forget(node)
    (node.folder / "cmdline").write_text("quiet\n", encoding="ascii")
    node.systemctl("daemon-reload")
    node.systemctl("start", "drbdocfs.target")
    node.settle()
    units = [*world.units("web"), O2CB]
    assert world.states(node, units) == dict.fromkeys(units, "active")
    assert world.changes(world.calls(node)) in ([], ["drbdadm adjust r0"])
    node.poweroff()
    assert world.ordered(world.calls(node), *world.chains([0])) == []
    assert world.down(0)[3] in world.changes(world.calls(node))


def test_missing_module_is_named(node: Machine) -> None:
    world.configure(node, world.stack("web"))
    world.plan(node, "rule modprobe load drbd: code=1 say=module_drbd_not_found")
    node.boot()
    attach = "drbdocfs-attach@web.service"
    assert world.states(node, [attach]) == {attach: "failed"}
    assert "the kernel module drbd is not loaded and could not be" in node.journal("-b", "-u", attach)


def test_status_command_agrees_with_systemd(node: Machine) -> None:
    up(node, "web")
    done = node.call("drbdocfs", "status", "--json")
    assert done.returncode == 0, done.stdout
    assert '"web"' in done.stdout


def test_security_of_the_services(node: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """For reading: systemd's own estimate for each service.  None is what systemd calls unsafe."""
    up(node, "web")
    lines = []
    for name in [*world.units("web")[:4], O2CB, "drbdocfs-broken@web.service"]:
        text = node.run("systemd-analyze", "security", "--no-pager", name)
        lines += [line for line in text.splitlines() if "Overall exposure level" in line]
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert len(lines) == 6
    assert [line for line in lines if "UNSAFE" in line] == []
