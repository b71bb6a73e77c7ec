"""``drbdocfs start``, ``stop``, ``restart`` with a real systemd, with and without a D-Bus daemon."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.pid1 import world
from tests.pid1.container import Machine

pytestmark = pytest.mark.pid1

LIMIT = 40.0
WAIT = "drbdocfs-wait@web.service"
LAYERS = ("loop", "attach", "wait", "promote", "o2cb", "mount")
DOWN = ("holders", "mount", "o2cb", "promote", "wait", "attach", "loop")
NEVER = "peer r0: outcome=never"
READY = "peer r0: outcome=ready"


def booted(node: Machine, *plan: str, **changes: str) -> None:
    """A machine on which the stack web is stopped, and nothing is in the stand-ins' log."""
    world.configure(node, world.stack("web", 0, **changes))
    node.boot()
    node.systemctl("stop", "drbdocfs.target")
    node.settle()
    world.plan(node, *plan)
    world.forget(node)


def command(node: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    return node.call("drbdocfs", *words, limit=LIMIT)


def done(text: str) -> list[str]:
    """The layers that are said to be done, in order."""
    return re.findall(r"^(\w+) +done", text, re.MULTILINE)


def states(node: Machine) -> set[str]:
    names = [*world.units("web"), "drbdocfs-holders@web.service", "drbdocfs-o2cb@web.service"]
    return set(world.states(node, names).values())


def no_bus(node: Machine) -> None:
    """Nobody answers on the system bus."""
    node.systemctl("stop", "dbus.socket", "dbus.service")
    node.run("rm", "-f", "/run/dbus/system_bus_socket")


@pytest.mark.parametrize("bus", [True, False])
def test_start_follows_to_the_end_and_stop_to_the_bottom(node: Machine, bus: bool) -> None:
    booted(node, READY, "seed 3", "delay 0.3")
    if not bus:
        no_bus(node)
    start = command(node, "start", "web")
    assert start.returncode == 0, start.stdout
    assert sorted(done(start.stdout)) == sorted(LAYERS)
    assert re.search(r"^web is up: /mnt/web on /dev/drbd0", start.stdout, re.MULTILINE), start.stdout
    assert states(node) == {"active"}
    again = command(node, "start", "web")
    assert (again.returncode, again.stdout) == (0, "web is up already\n")

    stop = command(node, "stop", "web")
    assert stop.returncode == 0, stop.stdout
    # At once, without waiting for jobs: that is what the verb is for.
    assert states(node) == {"inactive"}
    assert done(stop.stdout) == list(DOWN)
    assert "web is stopped" in stop.stdout
    assert world.ordered(world.calls(node), world.up(0), world.down(0)) == []
    again = command(node, "stop", "web")
    assert (again.returncode, again.stdout) == (0, "web is stopped already\n")


def test_a_layer_that_fails_is_named_with_its_reason(node: Machine) -> None:
    booted(node, READY, "rule drbdadm primary r0: code=11 say=Multiple_primaries_not_allowed_by_config")
    start = command(node, "start", "web")
    assert start.returncode == 1, start.stdout
    assert "drbdocfs: web is not up: promote failed: 'drbdadm primary r0' failed (exit 11)" in start.stdout
    # The advice is the helper's, from the journal.
    assert "what to do: set 'allow-two-primaries yes;' in the resource's net section" in start.stdout
    assert done(start.stdout)[:3] == ["loop", "attach", "wait"]


def test_what_drbd_refuses_for_now_is_said_and_tried_again_by_itself(node: Machine) -> None:
    booted(node, READY, "rule drbdadm primary r0: code=17 say=no_access_to_good_data")
    start = command(node, "start", "web")
    assert start.returncode == 75, start.stdout
    assert "promote  failed   'drbdadm primary r0' failed (exit 17): no access to good data" in start.stdout
    assert "it waits on in the background (drbdocfs-follow.service) and comes up by itself" in start.stdout


def test_a_mount_says_why_in_its_own_words(node: Machine) -> None:
    booted(node, READY, "rule mount.ocfs2 mount /dev/drbd0: code=1 say=Cluster_name_is_invalid")
    start = command(node, "start")
    assert start.returncode == 1, start.stdout
    assert re.search(r"web is not up: mount failed: .*Cluster name is invalid", start.stdout), start.stdout


def test_late_is_said_and_goes_on_by_itself(node: Machine) -> None:
    booted(node, NEVER, boot_timeout="2s")
    start = command(node, "start", "web")
    assert start.returncode == 75, start.stdout
    assert re.search(r"^wait +starting waiting for server2 at 127.0.0.2:7789", start.stdout, re.MULTILINE)
    assert "waits on in the background" in start.stdout
    # A stop ends that as well, and is not content with a target that is off already.
    stop = command(node, "stop", "web")
    assert stop.returncode == 0, stop.stdout
    assert "drbdsetup down r0" in world.changes(world.calls(node))
    assert node.call("cat", "/run/drbdocfs/web.waiting").returncode != 0


def test_ctrl_c_ends_the_watching_and_not_the_start(node: Machine) -> None:
    booted(node, NEVER)
    program = """
import signal, subprocess
words = ["drbdocfs", "start", "web"]
process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
for line in process.stdout:
    print(line, end="")
    if line.startswith("wait"):
        process.send_signal(signal.SIGINT)
print("ended with", process.wait())
"""
    found = node.run("python3", "-c", program, limit=LIMIT)
    assert found.endswith("ended with 130\n"), found
    assert "the watching ends here, the start goes on; 'drbdocfs status --watch web' shows it" in found
    assert world.states(node, [WAIT]) == {WAIT: "activating"}
    world.plan(node, READY)
    node.until(lambda: states(node) == {"active"}, LIMIT, "the stack")


def test_a_systemd_that_begins_anew_is_asked_again(node: Machine) -> None:
    booted(node, NEVER)
    program = f"""
import os, subprocess
words = ["drbdocfs", "start", "web"]
process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
for line in process.stdout:
    print(line, end="", flush=True)
    if line.startswith("wait     starting"):
        subprocess.run(["systemctl", "daemon-reexec"], check=True)
        with open("/etc/standin.plan.new", "w") as plan:
            plan.write("{READY}\\n")
        os.rename("/etc/standin.plan.new", "/etc/standin.plan")
print("ended with", process.wait())
"""
    found = node.run("python3", "-c", program, limit=LIMIT)
    assert found.endswith("ended with 0\n"), found
    assert "web is up" in found
    assert states(node) == {"active"}


def test_no_wait_and_a_limit_of_its_own(node: Machine) -> None:
    booted(node, NEVER)
    assert command(node, "start", "web", "--no-wait").stdout == ""
    assert world.states(node, [WAIT])[WAIT] in ("inactive", "activating")
    limited = command(node, "start", "web", "--timeout", "1s")
    assert limited.returncode == 75, limited.stdout
    assert "the start was not done after 1 s; it goes on" in limited.stdout
    world.plan(node, READY)
    node.until(lambda: states(node) == {"active"}, LIMIT, "the stack")


def test_a_busy_file_system_is_named_with_its_users(node: Machine) -> None:
    booted(node, READY)
    assert command(node, "start", "web").returncode == 0
    # Not as its working directory: systemd would stop the unit before the mount.
    node.run("systemd-run", "--unit=guest", "sh", "-c", "cd /mnt/web && exec sleep 999")
    stop = command(node, "stop", "web")
    assert stop.returncode == 1, stop.stdout
    assert re.search(r"web is not stopped: mount failed: .*busy.*sleep", stop.stdout), stop.stdout
    assert "end what uses /mnt/web, then 'drbdocfs stop web' again" in stop.stdout
    node.systemctl("stop", "guest")
    again = command(node, "stop", "web")
    assert again.returncode == 0, again.stdout
    assert states(node) == {"inactive"}
    assert node.call("sh", "-c", "ls /run/drbdocfs; findmnt /mnt/web").stdout == ""


def test_a_cluster_that_others_use_stays(node: Machine) -> None:
    world.configure(node, world.stack("web"), world.stack("db", 1))
    node.boot()
    stop = command(node, "stop", "web")
    assert stop.returncode == 0, stop.stdout
    assert "o2cb     done     stays online: db uses it" in stop.stdout
    assert set(world.states(node, world.units("db")).values()) == {"active"}
    everything = command(node, "stop")
    assert everything.returncode == 0, everything.stdout
    assert world.states(node, ["drbdocfs-o2cb@web.service"]) == {"drbdocfs-o2cb@web.service": "inactive"}


@pytest.mark.parametrize("wait", [True, False])
def test_restart_is_a_whole_stop_and_a_whole_start(node: Machine, wait: bool) -> None:
    booted(node, READY)
    assert command(node, "start", "web").returncode == 0
    world.forget(node)
    found = command(node, "restart", "web", *([] if wait else ["--no-wait"]))
    assert found.returncode == 0, found.stdout
    node.settle()
    assert states(node) == {"active"}
    assert world.ordered(world.calls(node), [*world.down(0), *world.up(0)]) == []
    assert len(world.changes(world.calls(node))) == len(world.down(0) + world.up(0)) + 1  # o2cb twice, no 'follow'


def test_a_stack_of_which_systemd_has_not_heard(node: Machine) -> None:
    booted(node, READY)
    world.configure(node, world.stack("web"), world.stack("db", 1))
    start = command(node, "start", "db")
    assert start.returncode == 78, start.stdout
    assert "systemd has not read the configuration of db yet: the stack was not there then" in start.stdout
    assert "what to do: 'systemctl daemon-reload', then 'drbdocfs start db'" in start.stdout
    changed = command(node, "start", "web")
    assert changed.returncode == 78, changed.stdout
    node.systemctl("daemon-reload")
    assert command(node, "start").returncode == 0
    assert states(node) == {"active"}
