"""What the machines of these tests have on their disks, and the order that the stand-ins' log must show."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.pid1.container import Machine

STANDIN = Path(__file__).with_name("standin.py")
TOOLS = ("drbdadm", "drbdsetup", "losetup", "modprobe", "mount.ocfs2", "network", "o2cb")

# The network: up takes a moment, and online another, so that whoever does not wait for it shows.
_NETWORK = """\
[Unit]
Description=Network (stand-in)
Wants=network.target
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/network up link
ExecStop=/usr/sbin/network down link

[Install]
WantedBy=multi-user.target
"""
_ONLINE = """\
[Unit]
Description=Network online (stand-in)
Requires=standin-network.service
After=standin-network.service
Before=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/network online link

[Install]
WantedBy=network-online.target
"""

_NODE = "node:\n\tip_port = 7777\n\tip_address = 127.0.0.{0}\n\tnumber = {0}\n\tname = server{0}\n\tcluster = {1}\n\n"
_CLUSTER = "cluster:\n\tnode_count = 2\n\tname = {0}\n\n"

# A service that uses /mnt/web without a word of it in its unit, and takes a while to stop.
_DATABASE = """\
[Unit]
Description=A database
After=remote-fs.target

[Service]
WorkingDirectory=/mnt/web
ExecStart=/bin/sh -c 'trap "sleep 6; exit 0" TERM; while :; do sleep 0.2; done'
KillMode=mixed
TimeoutStopSec=30
"""

PLATFORM = {
    "/etc/hostname": "server1\n",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/fstab": "",
    # No kernel log of the host, nothing dropped, and all of it kept for the test to read when the machine is off.
    "/etc/systemd/journald.conf.d/pid1.conf": "[Journal]\nStorage=persistent\nReadKMsg=no\nRateLimitBurst=0\n"
    "Audit=no\nSystemMaxUse=16M\n",
    # A machine that waits 90 s for a job is a failed test: better soon.
    "/etc/systemd/system.conf.d/pid1.conf": "[Manager]\nDefaultTimeoutStartSec=20s\nDefaultTimeoutStopSec=15s\n",
    "/etc/systemd/system/standin-network.service": _NETWORK,
    "/etc/systemd/system/standin-online.service": _ONLINE,
    "/etc/systemd/system/database.service": _DATABASE,
    "/etc/ocfs2/cluster.conf": _CLUSTER.format("web") + _NODE.format(1, "web") + _NODE.format(2, "web"),
    "/etc/drbd.d/r0.res": "resource r0 { device /dev/drbd0; disk /dev/loop7; }\n",
    "/etc/drbd.d/r1.res": "resource r1 { device /dev/drbd1; disk /dev/loop8; }\n",
    "/drbd-loop.img": "not empty\n",
    "/drbd-loop1.img": "not empty\n",
}
# Of no use in namespaces, and slow.
MASKED = ("ssh.service", "systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service")
ENABLED = ("standin-network.service", "standin-online.service")


def stack(name: str, number: int = 0, **changes: str) -> str:
    """A section of drbdocfs.conf for the stack on /dev/drbd0 or /dev/drbd1; `changes` add or replace keys."""
    keys = {
        "resource": f"r{number}",
        "device": f"/dev/drbd{number}",
        "backing_file": "/drbd-loop.img" if number == 0 else f"/drbd-loop{number}.img",
        "loop_device": f"/dev/loop{7 + number}",
        "cluster": "web",
        "mountpoint": f"/mnt/{name}",
        "mount_options": "noatime",
        "boot_timeout": "10s",
        **changes,
    }
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def units(name: str) -> list[str]:
    """The stack's own units, from the bottom up."""
    layers = [f"drbdocfs-{layer}@{name}.service" for layer in ("loop", "attach", "wait", "promote")]
    return [*layers, f"mnt-{name}.mount", f"drbdocfs@{name}.target"]


def furnish(machine: Machine) -> None:
    """Everything but the product."""
    for name, text in PLATFORM.items():
        machine.write(name, text)
    programs = machine.root / "usr/sbin"
    for tool in TOOLS:
        (programs / tool).unlink(missing_ok=True)  # a link would lead to another tool
        machine.write(f"/usr/sbin/{tool}", STANDIN.read_text(encoding="utf-8"), 0o755)
    os.rename(machine.root / "usr/bin/umount", machine.root / "usr/bin/umount.real")
    machine.write("/usr/bin/umount", STANDIN.read_text(encoding="utf-8"), 0o755)
    machine.write("/etc/standin.plan", "seed 0\n")
    root = f"{machine.place}/root"
    for verb, names in (("mask", MASKED), ("enable", ENABLED)):
        machine.session.inside("chroot", root, "systemctl", verb, *names)


def configure(machine: Machine, *sections: str) -> None:
    """Write drbdocfs.conf."""
    machine.write("/etc/drbdocfs/drbdocfs.conf", "\n".join(sections))


def plan(machine: Machine, *lines: str) -> None:
    """Write the stand-ins' plan; whole at any time, because the stand-ins read it again and again."""
    machine.write("/etc/standin.plan.new", "".join(line + "\n" for line in lines))
    os.rename(machine.root / "etc/standin.plan.new", machine.root / "etc/standin.plan")


@dataclass
class Call:
    """One call of a stand-in: times in monotonic seconds, `end` and `code` None for what was killed or still runs."""

    pid: int
    words: str
    begin: float
    end: float | None = None
    code: int | None = None

    def __str__(self) -> str:
        end = "…" if self.end is None else f"{self.end:.3f} = {self.code}"
        return f"{self.begin:.3f} {self.words} {end}"


def calls(machine: Machine) -> list[Call]:
    """The stand-ins' log, in the order of the beginnings."""
    found: list[Call] = []
    for line in machine.read("/var/lib/standin/log").splitlines():
        moment, pid, mark, words = line.split(" ", 3)
        if mark == "+":
            found.append(Call(int(pid), words, float(moment)))
        else:
            words, _, code = words.rpartition(" = ")
            (open_one,) = [c for c in found if (c.pid, c.words, c.end) == (int(pid), words, None)][-1:]
            open_one.end, open_one.code = float(moment), int(code)
    return found


def until_called(machine: Machine, words: str) -> None:
    """Until a stand-in has been called so.  Raises TimedOut after 20 s."""
    machine.until(lambda: f" + {words}\n" in machine.read("/var/lib/standin/log"), 20, words)


def forget(machine: Machine) -> None:
    """Begin a new log."""
    (machine.root / "var/lib/standin/log").unlink(missing_ok=True)


def up(number: int) -> list[str]:
    """Calls that bring a stack up, in order; questions left out."""
    return [
        f"losetup attach /dev/loop{7 + number}",
        f"drbdadm adjust r{number}",
        f"drbdsetup follow r{number}",
        f"drbdadm primary r{number}",
        f"mount.ocfs2 mount /dev/drbd{number}",
    ]


def down(number: int) -> list[str]:
    """Calls that take a stack down, in order."""
    return [
        f"umount umount /dev/drbd{number}",
        f"drbdsetup secondary r{number}",
        f"drbdsetup down r{number}",
        f"losetup detach /dev/loop{7 + number}",
    ]


REGISTER = "o2cb register-cluster web"
UNREGISTER = "o2cb unregister-cluster web"
NETWORK_UP = "network up link"
NETWORK_ONLINE = "network online link"
NETWORK_DOWN = "network down link"
CHANGES = ("attach", "detach", "adjust", "primary", "secondary", "down", "mount", "umount", "register", "unregister")


def changes(found: Iterable[Call]) -> list[str]:
    """The calls that change something, in the order of the beginnings; questions and the network left out."""
    words = [call.words for call in found if not call.words.startswith("network")]
    return [call for call in words if call.split()[1].partition("-")[0] in CHANGES]


def ordered(found: Sequence[Call], *chains: Sequence[str]) -> list[str]:
    """Violations: in each chain, what ran must have ended before the next that ran began.

    A call that was repeated counts from its first beginning to its last end; one that was killed ends when it began.
    """
    wrong = []
    for chain in chains:
        ran = [(words, [c for c in found if c.words == words]) for words in chain]
        ran = [(words, those) for words, those in ran if those]
        for (first, early), (second, late) in zip(ran, ran[1:]):
            end = max(c.begin if c.end is None else c.end for c in early)
            begin = min(c.begin for c in late)
            if end > begin:
                wrong.append(f"'{second}' began {end - begin:.3f} s before '{first}' had ended")
    return wrong


def chains(numbers: Sequence[int], at_once: bool = True) -> list[list[str]]:
    """The order of boot and shutdown for these stacks, which share one cluster.

    ``at_once``: they stop in one transaction, as at shutdown.  Else each goes for itself, and the cluster after the
    last unmount: it is stopped because nobody needs it any more.
    """
    found = []
    for number in numbers:
        rise, fall = up(number), down(number)
        found += [
            rise,
            fall,
            [NETWORK_UP, rise[1]],
            [NETWORK_ONLINE, rise[2]],
            [REGISTER, rise[4]],
            [fall[0], UNREGISTER, NETWORK_DOWN],
            [fall[2], NETWORK_DOWN],
        ]
        if at_once:
            # The cluster must not wait for a promotion at boot; so at shutdown it goes before the first `down`, but
            # not before every `secondary`.
            found.append([fall[0], UNREGISTER, fall[2]])
    return found


def use(machine: Machine) -> None:
    """Start a service that keeps /mnt/web busy, and for 6 s after it was told to stop."""
    machine.systemctl("start", "database.service")


def check_stopped_first(machine: Machine) -> None:
    """In the shutdown that service had stopped before anything was done to the stack below it."""
    lines = [line for line in machine.journal("-b", "_PID=1").splitlines() if "topp" in line or "nmount" in line]
    began = max(number for number, line in enumerate(lines) if "Stopped target multi-user.target" in line)
    ended = next(number for number, line in enumerate(lines) if "Stopped database.service" in line)
    words = ("drbdocfs-holders@", "drbdocfs-promote@", "drbdocfs-o2cb@", "drbdocfs-attach@", "nmounting mnt-web")
    assert began < ended
    assert [line for line in lines[began:ended] if any(word in line for word in words)] == []
    assert complaints(machine) == []


def states(machine: Machine, names: Sequence[str]) -> dict[str, str]:
    """ActiveState of units, in one call."""
    return {name: found["ActiveState"] for name, found in properties(machine, names, "ActiveState").items()}


def properties(machine: Machine, names: Sequence[str], *wanted: str) -> dict[str, dict[str, str]]:
    """Properties of units, in one call."""
    text = machine.systemctl("show", f"--property={','.join(wanted)}", *names)
    found = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
    return {name: {key: block.get(key, "") for key in wanted} for name, block in zip(names, found)}


COMPLAINTS = ("ordering cycle", "Unknown key", "Unknown section", "Failed to parse", "Invalid ", "unit file is marked")


def complaints(machine: Machine) -> list[str]:
    """What systemd says in the last boot about units that are not as they should be."""
    lines = machine.journal("-b").splitlines() + machine.kernel_log.splitlines()
    return [line for line in lines if any(words in line for words in COMPLAINTS)]
