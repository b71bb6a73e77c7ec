"""What the tests make happen to a stack on real nodes, and how they wait for what follows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .lab import know_each_other as know_each_other
from .node import Node
from .provision import BACKING_FILE, LOOP
from .stack import LAYERS, MOUNTPOINT, is_mounted

CONFIGURATION = "/etc/drbdocfs/drbdocfs.conf"
RESOURCE_FILE = "/etc/drbd.d/r0.res"
TARGET = "drbdocfs@web.target"
FOLLOW = "drbdocfs-follow.service"
# Sets $card to the network card of the link.
CARD = "card=$(ip -o link | awk -F': ' '/52:54:00:00:02:0/ { print $2 }')"
# What has to be there for a person to log in, whatever a stack waits for.
LOGIN = ("multi-user.target", "remote-fs.target", "systemd-user-sessions.service", "serial-getty@ttyS0.service")
# Seconds from "both nodes may" to "mounted": promotion, O2CB and an OCFS2 mount beside a mounted peer.
UP_LIMIT = 120.0


def configure(nodes: Iterable[Node], **keys: str) -> None:
    """Set keys of the stack, in place of what they were; "" removes one."""
    for node in nodes:
        edits = "".join(f"sed -i '/^{key} *=/d' {CONFIGURATION};" for key in keys)
        lines = "".join(f"{key} = {value}\\n" for key, value in keys.items() if value)
        node.run(f"{edits} printf '{lines}' >> {CONFIGURATION}; systemctl daemon-reload")


def quick_fencing(node: Node) -> None:
    """O2CB's limits halved, so that a survivor's writes do not stand still for a minute after a power cut."""
    there = "/sys/kernel/config/cluster/web"
    node.put_text(
        "/etc/systemd/system/drbdocfs-o2cb@web.service.d/limits.conf",
        "[Service]\nExecStartPost=/bin/sh -c '"
        f"echo 16 > {there}/heartbeat/dead_threshold; echo 10000 > {there}/idle_timeout_ms'\n",
    )


def online_without_link(node: Node) -> None:
    """The replication card does not hold back network-online.target, for which networkd would wait two minutes."""
    place = f"/etc/systemd/network/20-replication-{node.number}.network"
    node.run(f"printf '[Link]\\nRequiredForOnline=no\\n' >> {place}")


def late_address(node: Node, seconds: int, online: bool = True) -> Callable[[], object]:
    """At its next boots the address of the link comes so many seconds after network-online.target, or, not ``online``,
    after network.target, and network-online.target waits for it; returns what puts it back in order."""
    place = f"/etc/systemd/network/20-replication-{node.number}.network"
    unit = "late-address.service"
    node.run(f"cp {place} /root/lab.network && sed -i '/^Address=/d' {place}")
    online_without_link(node)
    node.put_text(
        "/root/late-address",
        f"#!/bin/sh\nsleep {seconds}\n{CARD}\nip address add {node.address}/24 dev $card\n",
        0o755,
    )
    order = "After=network-online.target\nWants=network-online.target\n"
    target = "multi-user.target"
    if not online:
        order, target = "After=network.target\nBefore=network-online.target\n", "network-online.target"
    node.put_text(
        f"/etc/systemd/system/{unit}",
        f"[Unit]\n{order}[Service]\nType=oneshot\nExecStart=/root/late-address\n[Install]\nWantedBy={target}\n",
    )
    node.run(f"systemctl enable {unit} 2>&1")
    return lambda: node.run(f"systemctl disable {unit} 2>&1; mv /root/lab.network {place}; sync")


def properties(node: Node, unit: str) -> dict[str, str]:
    """Some properties of a unit."""
    names = "ActiveState,Result,ExecMainStatus,StatusText,InvocationID,ActiveEnterTimestampMonotonic,MainPID,NRestarts"
    text = node.run(f"systemctl show --property={names} {unit}")
    return dict(line.partition("=")[::2] for line in text.splitlines())


def history(node: Node) -> dict[str, tuple[str, str]]:
    """Of each layer, which run of it this is and since when; the same again when nothing has restarted."""
    found = {}
    for unit in (*LAYERS.values(), TARGET):
        shown = properties(node, unit)
        assert shown["ActiveState"] == "active", f"{node.name}: {unit} is {shown['ActiveState']}"
        found[unit] = (shown["InvocationID"], shown["ActiveEnterTimestampMonotonic"])
    return found


def status(node: Node) -> str:
    """What `drbdocfs status` says, whether all is well or not."""
    return node.run("drbdocfs status 2>&1", check=False)


def await_status(node: Node, words: str, timeout: float = 60.0) -> str:
    """Wait until `drbdocfs status` says these words."""
    return node.wait_until(
        f"drbdocfs status 2>&1 | tee /run/status | grep -qF -- '{words}' && cat /run/status", timeout
    )


def await_up(nodes: Iterable[Node], timeout: float = UP_LIMIT) -> None:
    """Wait until the stack is up, without a hand."""
    for node in nodes:
        node.wait_until(f"systemctl is-active --quiet {TARGET}", timeout)
        assert is_mounted(node), f"{node.name}: the target is up, but {MOUNTPOINT} is not mounted"


def await_wait_over(node: Node, timeout: float = 90.0) -> None:
    """Wait until the wait unit has failed."""
    node.wait_until(f"systemctl is-failed --quiet {LAYERS['wait']}", timeout)


def record(node: Node, kind: str) -> dict[str, str]:
    """A record of the stack; empty when there is none."""
    text = node.run(f"cat /run/drbdocfs/web.{kind} 2>/dev/null", check=False)
    return dict(line.partition("=")[::2] for line in text.splitlines())


def check_alone_and_down(node: Node) -> None:
    """The stack is not up on this node: Secondary, nothing mounted."""
    assert not is_mounted(node), f"{node.name}: {MOUNTPOINT} is mounted"
    # "ro:" is followed by this node's role.
    assert "ro:Primary" not in node.run("cat /proc/drbd"), f"{node.name} is Primary"


def check_login(node: Node) -> None:
    """Console login and all targets were reached, whatever the stack waits for."""
    states = node.run(f"systemctl is-active {' '.join(LOGIN)}", check=False).split()
    assert states == ["active"] * len(LOGIN), dict(zip(LOGIN, states))


def write(node: Node, name: str, size: str = "2M") -> str:
    """Write a file of random bytes to the file system, and onto the disk; returns its checksum."""
    path = f"{MOUNTPOINT}/{name}"
    node.run(f"head --bytes={size} /dev/urandom > {path}; sync {path}", timeout=120)
    return checksum(node, name)


def checksum(node: Node, name: str) -> str:
    """Checksum of a file in the file system."""
    return node.run(f"sha256sum < {MOUNTPOINT}/{name}", timeout=120).split()[0]


def slow_resync(node: Node, rate: str = "700k") -> None:
    """A resync takes its time, at a fixed rate instead of DRBD's own control: at the next attach or adjust."""
    line = f"disk {{ resync-rate {rate}; c-plan-ahead 0; }} # slow"
    node.run(f"sed -i 's/syncer .*/{line}/' {RESOURCE_FILE}; grep -q '# slow' {RESOURCE_FILE}")


def full_speed(node: Node) -> None:
    """The end of slow_resync(), at once."""
    node.run(f"sed -i 's/disk .*# slow/syncer {{ rate 1000M; }}/' {RESOURCE_FILE}; drbdadm adjust r0")


def sit_in_the_mount(node: Node, stubborn: bool = False) -> str:
    """A process with its working directory in the mount that no unit's stop ends; returns its number."""
    deaf = "trap : TERM; " if stubborn else ""
    loop = "while :; do read -t 1000 < /run/sitter; done" if stubborn else "exec sleep 3000"
    node.run(
        "mkfifo /run/sitter; systemd-run --quiet --unit=sitter --property=DefaultDependencies=no"
        f" bash -c 'exec 9<>/run/sitter; {deaf}cd {MOUNTPOINT}; {loop}'"
    )
    pid = properties(node, "sitter.service")["MainPID"]
    node.wait_until(f"test $(readlink /proc/{pid}/cwd) = {MOUNTPOINT}")
    return pid


def journal_has(node: Node, name: str, boot: int = 0) -> str:
    """The messages of a kind (drbdocfs_boot.messages) in the journal."""
    from drbdocfs_boot.messages import KINDS

    return node.journal(boot, f"MESSAGE_ID={KINDS[name].id}")


def resident(node: Node, pid: str) -> int:
    """A process's resident memory in KiB."""
    found = re.search(r"VmRSS:\s*(\d+) kB", node.run(f"cat /proc/{pid}/status"))
    assert found is not None
    return int(found.group(1))


def smaller_disk(node: Node, size: str) -> None:
    """A new, smaller disk in place of the backing file, its metadata new."""
    node.run(
        f"mv {BACKING_FILE} /root/whole.img; fallocate -l {size} {BACKING_FILE}; losetup {LOOP} {BACKING_FILE};"
        f" drbdadm create-md --force r0 </dev/null; losetup --detach {LOOP}",
        timeout=120,
    )


def whole_disk(node: Node) -> None:
    """The end of smaller_disk()."""
    node.run(f"mv /root/whole.img {BACKING_FILE}")
