"""The link between two nodes that are up goes: how a test makes that happen, what it watches, and what it concludes.

A story is one loss of the link, from both nodes up to both nodes up again without anyone's hand. All times are the
host's (time.monotonic()).
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import powerswitch, process, witnesshost
from .lab import Lab, know_each_other
from .node import Node
from .records import LEEWAY, Finding, Records
from .situations import RESOURCE_FILE, configure, online_without_link
from .stack import MOUNTPOINT

OPTIONS_FILE = "/etc/drbdocfs/fence.conf"
HANDLER = "/usr/libexec/drbdocfs-boot/fence-peer"
# What `create` writes.
NET = "ping-int 3; connect-int 3; timeout 25; ping-timeout 15; ko-count 14;"
FOR_EVER = float("inf")

# Seconds in which a node that was reset has booted, under emulation, beside another one.
BACK_LIMIT = 240.0
# A story without an end of its own ends here: O2CB resets a node after 60 s, then it boots and waits.
SETTLED_LIMIT = 210.0

# Ways to lose the link.
CABLE = "cable"  # out at both ends: no carrier, and networkd takes the address away
ONE_END = "one end"  # out at server1's end only: carrier and address stay on server2
SILENT = "silent"  # as a switch that loses everything: carrier and addresses stay
DRBD = "drbd"  # DRBD's port only
O2CB = "o2cb"  # O2CB's port only
_RULES = {
    SILENT: "ip saddr 10.181.76.0/24 drop; ip daddr 10.181.76.0/24 drop",
    DRBD: "tcp dport 7789 drop; tcp sport 7789 drop",
    O2CB: "tcp dport 7777 drop; tcp sport 7777 drop",
}

# States of a node as the watch sees it.
OFF, DEAF, DOWN, WAITING = "off", "no answer", "down", "waiting"
FROZEN, ALONE, TOGETHER = "frozen", "alone", "together"
# The protocol's letter is missing without a connection.
_LINE = re.compile(r"cs:(\w+) ro:(\w+)/\w+ ds:\w+/\w+ +(?:[ABC] +)?([rs])")
_CONNECTED = ("Connected", "WFBitMap", "Sync", "Paused", "Starting", "WFSync", "Verify", "Ahead", "Behind")


def prepare(lab: Lab) -> None:
    """What all policies need, on both nodes: agent, its options, keys for the witness, rules for the faults."""
    know_each_other(lab)
    plugs = "".join(f"[{node.name}]\nplug = {node.name}\n" for node in lab.nodes)
    for node in lab.nodes:
        online_without_link(node)
        powerswitch.install_agent(node)
        node.put_text(OPTIONS_FILE, f"ip = {powerswitch.ADDRESS}\nipport = {powerswitch.PORT}\n{plugs}", 0o600)
        lab.witness.admit(node.run("cat /root/.ssh/id_ed25519.pub"))
        node.run(f"echo '{lab.witness.known_host().strip()}' >> /root/.ssh/known_hosts; modprobe nf_tables")
        # The power of this node may go at any time from here on.
        node.run("sync")


def set_policy(lab: Lab, survivor: str, *, grace: str = "", witness: str = "") -> None:
    """Fencing with this policy, in DRBD and in our configuration, on nodes that run or do not."""
    keys = {"survivor": survivor, "link_grace": grace, "fence_agent": "", "fence_options": "", "witness": ""}
    if survivor == "power":
        keys.update(fence_agent="fence_lab", fence_options=OPTIONS_FILE)
    if survivor == "witness":
        keys.update(witness=witness or f"root@{witnesshost.ADDRESS}")
    configure(lab.nodes, **keys)
    handler = f'handlers {{ fence-peer "{HANDLER}"; }} # fencing'
    for node in lab.nodes:
        node.run(
            f"sed -i -e '/# fencing/d' {RESOURCE_FILE};"
            f" sed -i -e '/meta-disk/a disk {{ fencing resource-and-stonith; }} # fencing'"
            f" -e '/meta-disk/a {handler}' -e '/allow-two-primaries/a {NET} # fencing' {RESOURCE_FILE};"
            f" grep -c '# fencing' {RESOURCE_FILE} | grep -qx 3; drbdadm dump r0 >/dev/null"
        )
    for node in lab.nodes:
        node.run("sync --file-system /etc/drbdocfs; ! grep -q ' ro:' /proc/drbd 2>/dev/null || drbdadm adjust r0")
    lab.switch.modes.clear()
    lab.witness.modes.clear()


def start_both(lab: Lab) -> None:
    """Both up."""
    lab.both(lambda node: node.run("systemctl start drbdocfs.target", timeout=300))
    await_together(lab, 120.0)


def cut(lab: Lab, kind: str) -> float:
    """Take the link away; returns when it was gone at both ends."""
    if kind == CABLE:
        for node in lab.nodes:
            node.set_link(False)
    elif kind == ONE_END:
        lab.nodes[0].set_link(False)
    else:
        rules = _RULES[kind]
        table = (
            "table inet lab {\n"
            f"chain in {{ type filter hook input priority -300; {rules}; }}\n"
            f"chain out {{ type filter hook output priority -300; {rules}; }}\n}}\n"
        )

        def block(node: Node) -> None:
            node.put_text("/run/lab.nft", table)
            node.run("nft -f /run/lab.nft")

        lab.both(block)
    return time.monotonic()


def mend(lab: Lab, kind: str) -> float:
    """Give the link back; returns when that began."""
    now = time.monotonic()
    if kind in (CABLE, ONE_END):
        for node in lab.nodes:
            node.set_link(True)
    else:
        # A node that was reset has no rules any more.
        lab.both(lambda node: node.ask("nft delete table inet lab", 10))
    return now


# Watching


# A process of its own in the guest: a session of ssh for each look takes a third of an emulated processor.
_LOOK = f"""exec python3 -I -S -u -c '
import time
while True:
    try:
        text = open("/proc/drbd").read()
    except OSError:
        text = ""
    mounted = " {MOUNTPOINT} " in open("/proc/mounts").read()
    print(*text.split(), "{MOUNTPOINT}" if mounted else "", flush=True)
    time.sleep(1)
'"""
DEAF_AFTER = 6.0  # seconds without a word


def state(node: Node) -> str:
    """What a node does with the file system at this moment."""
    if not node.running:
        return OFF
    text = node.ask(f"cat /proc/drbd 2>/dev/null; grep ' {MOUNTPOINT} ' /proc/mounts; :", 6)
    return DEAF if text is None else _understood(text)


def _understood(text: str) -> str:
    found = _LINE.search(text)
    if found is None:
        return DOWN
    connection, role, io = found.groups()
    if io == "s":
        return FROZEN
    if role != "Primary" or MOUNTPOINT not in text:
        return WAITING
    return TOGETHER if connection.startswith(_CONNECTED) else ALONE


@dataclass
class Watch:
    """The states of both nodes, every second or so, each with its time when it changed."""

    lab: Lab
    changes: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    both_alone: list[float] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Watch:
        for node in self.lab.nodes:
            self.changes[node.name] = []
            self._threads.append(threading.Thread(target=self._follow, args=(node,), daemon=True))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _follow(self, node: Node) -> None:
        while not self._end.is_set():
            stream = node.stream(_LOOK, DEAF_AFTER) if node.running else None
            if stream is None:
                self._note(node, DEAF if node.running else OFF)
                self._end.wait(1.0)
                continue
            try:
                self._read(node, stream)
            finally:
                process.end(stream)

    def _read(self, node: Node, stream: subprocess.Popen[bytes]) -> None:
        """Until the end, or until nothing can come any more."""
        assert stream.stdout is not None
        resets, heard, rest = node.resets, time.monotonic(), b""
        while not self._end.is_set() and node.running and node.resets == resets:
            if select.select([stream.stdout], [], [], 1.0)[0]:
                data = os.read(stream.stdout.fileno(), 1 << 16)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                heard = time.monotonic()
                for line in lines:
                    self._note(node, _understood(line.decode("ascii", "replace")))
            elif time.monotonic() - heard > DEAF_AFTER:
                self._note(node, DEAF)

    def _note(self, node: Node, now: str) -> None:
        changes = self.changes[node.name]
        if not changes or changes[-1][1] != now:
            changes.append((time.monotonic(), now))
        if all(seen and seen[-1][1] == ALONE for seen in self.changes.values()):
            self.both_alone.append(time.monotonic())

    def now(self, node: Node) -> str:
        """The newest state of a node."""
        seen = self.changes[node.name]
        return seen[-1][1] if seen else ""

    def first(self, node: Node, what: str, since: float) -> float | None:
        """When a node was first seen in a state after `since`."""
        return next((at for at, seen in self.changes[node.name] if seen == what and at >= since), None)

    def text(self, node: Node, since: float) -> str:
        """A node's states with the seconds after `since` at which they began."""
        return ", ".join(f"{seen} {max(0.0, at - since):.0f}" for at, seen in self.changes[node.name])


def await_together(lab: Lab, timeout: float = BACK_LIMIT, watch: Watch | None = None) -> float:
    """Wait until both are up, connected and whole, each as it says itself, and a write goes through on both.

    A node that is about to be reset, or just booting, answers no question: that is no error here. `watch` saves
    questions to which it knows the answer.
    """
    limit = time.monotonic() + timeout
    whole = "grep -Eq 'cs:Connected ro:Primary/Primary ds:UpToDate/UpToDate . r' /proc/drbd"
    up = f"{whole} && findmnt -t ocfs2 {MOUNTPOINT} && systemctl is-active --quiet drbdocfs@web.target"
    # A write may hang for ever on a node that freezes, so it is not waited for by the shell that asks.
    write = (
        f"{up} && (exec 2>/dev/null; timeout 20 sh -c 'echo 1 > {MOUNTPOINT}/probe.$(uname -n);"
        f" sync {MOUNTPOINT}/probe.$(uname -n)' & wait $!)"
    )

    def both_say(command: str, limit: float) -> bool:
        return all(answer is not None for answer in lab.both(lambda node: node.ask(command, limit)))

    while True:
        seen = watch is None or all(watch.now(node) == TOGETHER for node in lab.nodes)
        if seen and both_say(up, 10) and both_say(write, 30):
            return time.monotonic()
        if time.monotonic() > limit:
            raise AssertionError(lab.report(f"not both up again in {timeout:.0f} s"))
        time.sleep(1.0)


# Stories


@dataclass
class Seen:
    """What came of a story; seconds count from the loss."""

    losers: list[str]  # reset, or their power cut
    alone: list[str]  # went on alone while the link was gone
    offs: int  # how often the switch cut power
    states: dict[str, str]
    thaw: dict[str, float]
    back: float  # when both were up again
    finding: Finding
    both_alone: int

    def text(self) -> str:
        """In one line."""
        found = self.finding
        still = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in found.standstill.items())
        thaw = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.thaw.items())
        parts = [
            f"alone: {', '.join(self.alone) or 'nobody'} {f'({thaw})' if thaw else ''}".strip(),
            f"stopped: {', '.join(self.losers) or 'nobody'}",
            f"offs: {self.offs}",
            f"standstill: {still}",
            f"both back: {self.back:.0f} s",
            f"records: {sum(found.acknowledged.values())}, lost {len(found.lost)}, both apart {len(found.both)}",
        ]
        return "; ".join(parts)


@dataclass(frozen=True)
class Expect:
    """What has to come of a story: one of `losers`, one of `alone` (None: whoever), that many offs."""

    words: str
    losers: tuple[tuple[str, ...], ...] = ((),)
    alone: tuple[tuple[str, ...], ...] | None = ((),)
    offs: tuple[int, ...] = (0,)
    standstill: float = 0.0  # the longest that a writer may stand still; 0.0: not looked at

    def wrong(self, seen: Seen) -> list[str]:
        """What was otherwise; nothing is lost in any story, and two never go on."""
        wrong = []
        if tuple(seen.losers) not in self.losers:
            wrong.append(f"stopped: {seen.losers}, expected {self.losers}")
        if self.alone is not None and tuple(seen.alone) not in self.alone:
            wrong.append(f"went on alone: {seen.alone}, expected {self.alone}")
        if seen.offs not in self.offs:
            wrong.append(f"power was cut {seen.offs} times, expected {self.offs}")
        if seen.both_alone:
            wrong.append("both went on alone at the same time")
        if self.standstill and max(seen.finding.standstill.values()) > self.standstill:
            wrong.append(f"standstill {seen.finding.standstill}, at most {self.standstill:.0f} s expected")
        return [*wrong, *seen.finding.lost[:5], *seen.finding.both]


# Makes the trouble, and ends it; returns the windows in which the nodes were apart.
Fault = Callable[[Lab, Watch], list[tuple[float, float]]]


def settled(lab: Lab, watch: Watch, since: float) -> bool:
    """With the link gone, nothing more will happen by itself: each node is up alone, or waits after a boot."""
    states = [watch.now(node) for node in lab.nodes]
    if not all(now in (ALONE, WAITING) for now in states):
        return False
    # In that state for a while: O2CB may still reset a node.
    return all(time.monotonic() - watch.changes[node.name][-1][0] > 15.0 for node in lab.nodes)


def lost_link(kind: str, seconds: float) -> Fault:
    """The link gone for a time, or until nothing more happens."""

    def fault(lab: Lab, watch: Watch) -> list[tuple[float, float]]:
        began = cut(lab, kind)
        try:
            if seconds == FOR_EVER:
                while not settled(lab, watch, began) and time.monotonic() < began + SETTLED_LIMIT:
                    time.sleep(1.0)
            else:
                time.sleep(max(0.0, began + seconds - time.monotonic()))
        finally:
            ended = mend(lab, kind)
        return [(began, ended)] if kind != O2CB else []

    return fault


def flapping(kind: str, period: float, seconds: float) -> Fault:
    """The link gone and back, by turns."""

    def fault(lab: Lab, watch: Watch) -> list[tuple[float, float]]:
        windows = []
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            windows += lost_link(kind, period)(lab, watch)
            time.sleep(period)
        return windows

    return fault


def power_cut(number: int, off: float) -> Fault:
    """A node without power for a time."""

    def fault(lab: Lab, watch: Watch) -> list[tuple[float, float]]:
        node = lab.nodes[number - 1]
        node.power_cut()
        began = time.monotonic()
        time.sleep(off)
        if not node.running:
            node.start()
        return [(began, time.monotonic())]

    return fault


def story(lab: Lab, fault: Fault, *, writing: bool, cuts: tuple[str, ...] = (), back: float = BACK_LIMIT) -> Seen:
    """From both up to both up again; `cuts` names the nodes that the fault itself takes down."""
    await_together(lab)
    records = Records(lab.nodes)
    lab.both(records.start)
    if not writing:
        lab.both(records.stop)
    resets = {node.name: node.resets for node in lab.nodes}
    offs = len(lab.switch.offs())
    with Watch(lab) as watch:
        began = time.monotonic()
        windows = fault(lab, watch)
        ended = time.monotonic()
        try:
            again = await_together(lab, back, watch)
        except AssertionError as error:
            states = "; ".join(f"{node.name}: {watch.text(node, began)}" for node in lab.nodes)
            raise AssertionError(f"{error}\n{states}") from error
        # Whoever writes after it shows that both can, and that what they write is on both.
        for node in lab.nodes:
            if not records.running(node):
                records.start(node)
            records.await_writes(node, again, 150.0)
    lab.both(records.stop)
    finding = records.check(lab.nodes, windows)
    cut_off = lab.switch.offs()[offs:]
    losers = [n.name for n in lab.nodes if n.resets > resets[n.name] or n.name in {asked.plug for asked in cut_off}]
    alone, thaw = [], {}
    for node in lab.nodes:
        at = watch.first(node, ALONE, began)
        wrote = any(records.wrote(node.name, begin + LEEWAY, end) for begin, end in windows)
        if at is not None or wrote:
            alone.append(node.name)
            thaw[node.name] = (at if at is not None else ended) - began
    return Seen(
        losers=[name for name in losers if name not in cuts],
        alone=alone,
        offs=len(cut_off),
        states={node.name: watch.text(node, began) for node in lab.nodes},
        thaw=thaw,
        back=again - began,
        finding=finding,
        both_alone=len(watch.both_alone),
    )
