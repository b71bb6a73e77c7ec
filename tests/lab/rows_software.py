"""Faults: modules, configurations, helpers and the services of the system that go wrong."""

from __future__ import annotations

import time

from . import fencing, stack
from .fault import Case, fault
from .mending import named, rebooted, refused_at_boot, script, start, stays_down, stopped
from .node import Node
from .situations import (
    CONFIGURATION,
    FOLLOW,
    TARGET,
    await_status,
    await_up,
    await_wait_over,
    configure,
    history,
    properties,
    record,
)
from .stack import LAYERS, MOUNTPOINT, is_mounted

GROUP = "software"
MODULES = "/lib/modules/$(uname -r)/kernel"
CLUSTER_CONF = "/etc/ocfs2/cluster.conf"
WRAPPERS = "/usr/local/sbin"
NO_PEER = """table inet lab {
chain in { type filter hook input priority -300; tcp sport 7789 drop; tcp dport 7789 drop; }
}
"""


def away(path: str) -> tuple[str, str]:
    """Shell scripts that move a file out of the way and back."""
    return f"mv {path} {path}.away", f"mv {path}.away {path}"


@fault("drbd-module-missing", "login, the module named; there again and started it is up", group=GROUP)
def drbd_module_missing(case: Case) -> None:
    make, undo = away(f"{MODULES}/drivers/block/drbd/drbd.ko")
    refused_at_boot(case, make, undo, "the kernel module drbd is not loaded and could not be")


@fault(
    "ocfs2-module-missing",
    "login, nothing mounted, the module named; there again and started it is up",
    group=GROUP,
)
def ocfs2_module_missing(case: Case) -> None:
    node = case.two
    stopped(case, node)
    script(case, node, *away(f"{MODULES}/fs/ocfs2/ocfs2.ko"))
    rebooted(case, node)
    case.must(not is_mounted(node), f"{node.name}: {MOUNTPOINT} is mounted")
    named(case, node, "the kernel module ocfs2 is not loaded and could not be")
    case.put_back()
    start(node)


# What is wrong in cluster.conf, and what is said of it.
CLUSTERS = (
    (f"rm {CLUSTER_CONF}", f"{CLUSTER_CONF} cannot be read"),
    (f"sed -i 's/= web/= wob/' {CLUSTER_CONF}", "has no cluster 'web', only wob"),
    (f"sed -i 's/10.181.76.11/10.181.76.99/' {CLUSTER_CONF}", "the address 10.181.76.99 of node 'server2'"),
    (f"head -n 10 /root/cluster.conf > {CLUSTER_CONF}", "has no node 'server2' in cluster 'web', only server1"),
)


@fault(
    "cluster-conf-wrong",
    "missing, another name, another address, half of it: login, each named; whole again it is up",
    group=GROUP,
    seconds=300.0,
)
def cluster_conf_wrong(case: Case) -> None:
    node = case.two
    case.short_limits()  # another address is waited for as long as the stack waits for its peer
    stopped(case, node)
    put_back = f"cp /root/cluster.conf {CLUSTER_CONF}"
    script(case, node, f"cp {CLUSTER_CONF} /root/; {CLUSTERS[0][0]}", put_back)
    rebooted(case, node)
    case.must(not is_mounted(node), f"{node.name}: {MOUNTPOINT} is mounted")
    named(case, node, CLUSTERS[0][1])
    for make, words in CLUSTERS[1:]:
        node.run(f"{put_back}; {make}")
        node.fail(f"systemctl start {TARGET}", timeout=180)
        named(case, node, words)
    case.put_back()
    start(node)


# Ten ways to break the configuration: a shell script, and what is said of it.
BROKEN = (
    ("echo 'peer_timout = 1min' >> {}", "perhaps peer_timeout is meant"),
    ("sed -i '/^resource/d' {}", "resource is missing"),
    ("sed -i 's|= /mnt|= mnt|' {}", "does not begin with /"),
    (r"printf '# caf\351\n' >> {}", "is not UTF-8"),
    ("sed -i 's/.web./[web/' {}", "is no section header"),
    ("echo 'peer_timeout = soon' >> {}", "where a number is due"),
    ("echo 'resource = r1' >> {}", "the key stands in line"),
    ("sed -i 's/^device.*/device/' {}", "is no line of a configuration"),
    ("sed -i 's|= /mnt|= \"/mnt|' {}", "the quote is not closed"),
    ("head -n 3 /root/drbdocfs.conf > {}", "cluster is missing"),
)


@fault(
    "configuration-broken",
    "broken in ten ways while mounted: each named, nothing stops; a boot with it: login, named; whole again it"
    " is up",
    group=GROUP,
    seconds=300.0,
)
def configuration_broken(case: Case) -> None:
    node = case.two
    before = history(node)
    put_back = f"cp /root/drbdocfs.conf {CONFIGURATION}"
    case.afterwards(lambda: node.run(f"{put_back}; systemctl daemon-reload"))
    node.run(f"cp {CONFIGURATION} /root/")
    for make, words in BROKEN:
        node.run(f"{put_back}; {make.format(CONFIGURATION)}; systemctl daemon-reload")
        said = node.run("drbdocfs status 2>&1", check=False)
        case.must(words in said, f"status does not say {words!r} but:\n{said}")
        case.must(is_mounted(node), f"unmounted by: {words}")
    case.must(history(node) == before, "something restarted")
    case.records.await_writes(node, time.monotonic(), 60)
    # Half of it, as an editor or a full disk leaves it; its stop knows what was started.
    node.run("sync")
    rebooted(case, node)
    # What the generator knew of the cluster was gone, and with it the order of O2CB to DRBD.
    stack.check_order(stack.shutdown_text(node.journal(boot=-1)), stack.DOWN_ORDER, stack.CLUSTER_ORDER[:2])
    stays_down(case, node)
    named(case, node, BROKEN[-1][1])
    case.put_back()
    start(node)


def await_alone(case: Case, node: Node, **keys: str) -> None:
    """The stack starts on a node that cannot reach its peer's DRBD: the wait unit waits."""
    stopped(case, node)
    configure([node], **keys)
    case.afterwards(lambda: configure([node], **dict.fromkeys(keys, "")))
    node.put_text("/run/lab.nft", NO_PEER)
    node.run(f"nft -f /run/lab.nft; systemctl reset-failed; systemctl start --no-block {TARGET}")
    case.afterwards(lambda: heard(node))
    node.wait_until(f"systemctl show -P StatusText {LAYERS['wait']} | grep -q 'waiting for'", 90)


def heard(node: Node) -> None:
    """The peer can be reached again."""
    node.run("nft delete table inet lab 2>/dev/null || :")


@fault("wait-killed", "SIGKILL to the waiting helper: named; with the peer there it comes up by itself", group=GROUP)
def wait_killed(case: Case) -> None:
    node = case.two
    await_alone(case, node, when_alone="wait")
    node.run(f"systemctl kill --signal=KILL --kill-who=main {LAYERS['wait']}")
    await_wait_over(node)
    stays_down(case, node)
    named(case, node, "web: late", "wait     failed", "waits in the background")
    heard(node)
    await_up([node])


@fault(
    "wait-frozen",
    "SIGSTOP to the waiting helper: systemd ends it at its limit; with the peer there it comes up by itself",
    group=GROUP,
    seconds=260.0,
)
def wait_frozen(case: Case) -> None:
    node = case.two
    await_alone(case, node, when_alone="wait", boot_timeout="20s")
    began = time.monotonic()
    node.run(f"kill -STOP {properties(node, LAYERS['wait'])['MainPID']}")
    # boot_timeout, the unit's 30 s more, and up to 30 s until systemd kills what does not end.
    await_wait_over(node, 150)
    case.note(f"ended after {time.monotonic() - began:.0f} s")
    stays_down(case, node)
    heard(node)
    await_up([node])


@fault("clock-jumped", "years forward and back while it waits: it waits on, and comes up with its peer", group=GROUP)
def clock_jumped(case: Case) -> None:
    node = case.two
    await_alone(case, node, when_alone="wait", boot_timeout="10min")
    case.afterwards(lambda: node.run(f"date --set=@{time.time():.0f}"))
    for jump in ("+3 years", "-9 years"):
        node.run(f"date --set='{jump}'")
        await_status(node, "waiting for server1")
        state = properties(node, LAYERS["wait"])["ActiveState"]
        case.must(state == "activating", f"with the clock {jump} the wait is {state}")
    heard(node)
    await_up([node])


@fault(
    "shutdown-while-late",
    "shutdown while the follow service waits for the peer: clean; then up by itself",
    group=GROUP,
    seconds=230.0,
)
def shutdown_while_late(case: Case) -> None:
    node = case.two
    await_alone(case, node, when_alone="wait", boot_timeout="5s")
    await_wait_over(node)
    node.wait_until(f"systemctl show -P StatusText {FOLLOW} | grep -q 'waiting for'")
    case.must(record(node, "waiting").get("STATE") == "late", "not recorded as late")
    node.run("sync")
    rebooted(case, node)
    case.must(node.last_shutdown < stack.shutdown_limit(node), f"shutdown took {node.last_shutdown:.0f} s")
    await_up([node])


@fault(
    "follow-killed",
    "SIGKILL and the kernel's OOM killer: there again by itself, nothing else notices",
    group=GROUP,
    seconds=90.0,
)
def follow_killed(case: Case) -> None:
    node = case.two
    before = history(node)
    kill = "kill -KILL {0}"
    oom = "echo 1000 > /proc/{0}/oom_score_adj; echo f > /proc/sysrq-trigger"
    for how in (kill, oom):
        old = properties(node, FOLLOW)["MainPID"]
        node.run(how.format(old))
        node.wait_until(f"systemctl is-active --quiet {FOLLOW} && test $(systemctl show -P MainPID {FOLLOW}) != {old}")
    killed = node.run("journalctl --boot --dmesg --no-pager --grep 'Killed process' || :")
    case.must("Killed process" in killed, "the OOM killer killed nothing")
    case.must(history(node) == before, "something restarted")
    case.says(node, "web: up")


@fault(
    "follow-frozen",
    "SIGSTOP to the follow service: nothing stops, a shutdown is not held up, up by itself",
    group=GROUP,
)
def follow_frozen(case: Case) -> None:
    node = case.two
    node.run(f"kill -STOP {properties(node, FOLLOW)['MainPID']}")
    case.says(node, "web: up")
    rebooted(case, node)
    # The service's own limit of 10 s comes on top.
    case.must(node.last_shutdown < stack.shutdown_limit(node) + 15, f"shutdown took {node.last_shutdown:.0f} s")
    stack.check_shutdown_order(stack.shutdown_text(node.journal(boot=-1)))
    await_up([node])


@fault(
    "handler-killed",
    "SIGKILL to both fence-peer handlers: both frozen, with the link back both go on",
    group=GROUP,
    seconds=120.0,
)
def handler_killed(case: Case) -> None:
    before = [history(node) for node in case.lab.nodes]
    began = fencing.cut(case.lab, fencing.SILENT)
    try:
        case.lab.both(lambda node: node.wait_until(
            "pgrep -f '^[^ ]*python3.* /usr/libexec/drbdocfs-boot/fence-peer' > /run/handlers", 40, 0.5))  # fmt: skip
        case.lab.both(lambda node: node.run("kill -KILL $(cat /run/handlers)"))
        time.sleep(3.0)
        for node in case.lab.nodes:
            case.must(fencing.state(node) == fencing.FROZEN, f"{node.name} is {fencing.state(node)}, not frozen")
    finally:
        case.apart.append((began, fencing.mend(case.lab, fencing.SILENT)))
    fencing.await_together(case.lab, 60.0)
    for node, old in zip(case.lab.nodes, before):
        case.must(history(node) == old, f"{node.name}: something restarted")


@fault(
    "helper-out-of-memory",
    "a helper without memory at boot: login, named; with memory and started it is up",
    group=GROUP,
)
def helper_out_of_memory(case: Case) -> None:
    place = "/etc/systemd/system/drbdocfs-attach@.service.d"
    refused_at_boot(
        case,
        f"mkdir -p {place}; printf '[Service]\\nMemoryMax=2M\\nMemorySwapMax=0\\n' > {place}/poor.conf;"
        " systemctl daemon-reload",
        f"rm -r {place}; systemctl daemon-reload",
        "attach   failed", "oom-kill",
    )  # fmt: skip


def hanging(case: Case, node: Node, when: str, tool: str = "drbdsetup") -> None:
    """A tool before the real one that hangs whenever a shell condition holds."""
    wrapper = f"{WRAPPERS}/{tool}"
    case.afterwards(lambda: node.run(f"rm -f {wrapper}"))
    node.put_text(wrapper, f"#!/bin/sh\nif {when}; then exec sleep 1000; fi\nexec /usr/sbin/{tool} \"$@\"\n", 0o755)
    node.run("sync")


@fault(
    "drbdsetup-hangs",
    "at boot: login within the limit, named; gone and started it is up",
    group=GROUP,
    seconds=260.0,
)
def drbdsetup_hangs(case: Case) -> None:
    node = case.two
    stopped(case, node)
    hanging(case, node, "test ! -e /run/drbdsetup-answers")
    rebooted(case, node)
    stays_down(case, node)
    node.run("touch /run/drbdsetup-answers")
    named(case, node, "was not done after")
    case.put_back()
    start(node)


@fault(
    "promotion-hangs",
    "at boot: login within the limit, named; it answers again and the stack is up by itself",
    group=GROUP,
    seconds=260.0,
)
def promotion_hangs(case: Case) -> None:
    node = case.two
    stopped(case, node)
    hanging(case, node, 'test "$1" = primary -a ! -e /run/drbdadm-answers', "drbdadm")
    rebooted(case, node)
    stays_down(case, node)
    named(case, node, "waits in the background (drbdocfs-follow.service): 'drbdadm primary r0' was not done after")
    node.run("touch /run/drbdadm-answers")
    await_up([node])


@fault(
    "drbdsetup-hangs-at-shutdown",
    "the shutdown ends within its limit all the same; up by itself after it",
    group=GROUP,
    seconds=330.0,
)
def drbdsetup_hangs_at_shutdown(case: Case) -> None:
    node = case.two
    hanging(case, node, "test -e /run/drbdsetup-hangs")
    case.records.stop(node)
    node.run("touch /run/drbdsetup-hangs")
    rebooted(case, node)
    await_up([node])


def without(case: Case, node: Node, units: str) -> None:
    """A boot, a stop and a start with units that are not there from the boot on."""
    put_back = f"systemctl unmask {units}; systemctl start {units}; systemctl reset-failed"
    case.afterwards(lambda: node.run(put_back, timeout=120))
    node.run(f"systemctl mask {units}; sync")
    rebooted(case, node)
    await_up([node])
    node.run("drbdocfs stop web", timeout=180)
    stack.check_down(node)
    node.run("drbdocfs start web", timeout=300)
    await_up([node])


@fault("journald-down", "boot, stop and start without a journal", group=GROUP, seconds=260.0)
def journald_down(case: Case) -> None:
    without(case, case.two, "systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service")


@fault("dbus-down", "boot, stop and start without D-Bus", group=GROUP, seconds=260.0)
def dbus_down(case: Case) -> None:
    without(case, case.two, "dbus.socket dbus.service")


@fault(
    "package-changes",
    "daemon-reload, upgrade and downgrade while mounted: nothing stops, writers go on",
    group=GROUP,
)
def package_changes(case: Case) -> None:
    node = case.two
    before = history(node)
    # The same package by another version: what its scripts do is what counts.
    node.run(
        "cd /root; rm -rf tree newer.deb; deb=$(ls drbdocfs-boot_*_all.deb); dpkg-deb --raw-extract $deb tree;"
        " sed -i 's/^Version: .*/&+lab1/' tree/DEBIAN/control; dpkg-deb -Znone --build tree newer.deb; rm -r tree",
        timeout=180,
    )
    for command in (
        "systemctl daemon-reload",
        "dpkg --install /root/newer.deb 2>&1; dpkg-query --show drbdocfs-boot | grep -q lab1",
        "dpkg --install /root/drbdocfs-boot_*_all.deb 2>&1; ! dpkg-query --show drbdocfs-boot | grep -q lab1",
    ):
        began = time.monotonic()
        node.run(command, timeout=180)
        case.records.await_writes(node, began, 60)
        case.must(history(node) == before, f"something restarted by: {command}")
        case.says(node, "web: up")
        case.must(properties(node, FOLLOW)["ActiveState"] == "active", f"{FOLLOW} is off after: {command}")
    node.run("rm /root/newer.deb")


@fault(
    "run-full",
    "no room in /run: nothing stops, a start fails and says so; room again and started it is up",
    group=GROUP,
)
def run_full(case: Case) -> None:
    node = case.two
    before = history(node)
    fill = "head --bytes=1G /dev/zero > /run/full 2>/dev/null || :; test $(df --output=avail /run | tail -n 1) = 0"
    script(case, node, fill, "rm -f /run/full")
    case.says(node, "web: up")
    case.records.await_writes(node, time.monotonic(), 60)
    case.must(history(node) == before, "something restarted")
    stopped(case, node)
    node.run(fill)  # what the stop has removed
    node.fail(f"systemctl start {TARGET}", timeout=180)
    stays_down(case, node)
    named(case, node, "No space left on device")
    case.put_back()
    start(node)
