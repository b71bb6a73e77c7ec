"""Is every acknowledged record still there? A writer on each node, and what the host concludes from its two files.

The writer appends numbered records with a checksum to a file of its own on the mount, each with fsync; then it notes
the acknowledgement in a file on the root file system, with fsync too. So after a reset or a power cut it is known what
was acknowledged, whatever became of the mount. Times are those of the host (time.monotonic()).
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .node import Node
from .stack import MOUNTPOINT

UNIT = "lab-writer"
PROGRAM = "/usr/local/lib/lab-writer"
NOTES = "/var/lib/lab-acknowledged"
PERIOD = 0.4
# Seconds after a cut in which a write that was under way at that instant may still be acknowledged, and by which the
# clocks of two nodes may seem to differ.
LEEWAY = 1.0

_PROGRAM = rf"""
import os, sys, time, zlib
name, session, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
records = os.open("{MOUNTPOINT}/records." + name, flags, 0o644)
notes = os.open("{NOTES}", flags, 0o644)
while True:
    number += 1
    began = time.monotonic()
    text = "%s %s %d %.3f %.3f" % (name, session, number, time.time(), began)
    text += " " + "." * (110 - len(text))
    os.write(records, b"%s %08x\n" % (text.encode(), zlib.crc32(text.encode())))
    os.fsync(records)
    done = time.monotonic()
    os.write(notes, b"%s %d %.3f %.3f\n" % (session.encode(), number, began, done))
    os.fsync(notes)
    time.sleep(max(0.0, began + {PERIOD} - time.monotonic()))
"""


@dataclass(frozen=True)
class Ack:
    """An acknowledged record: its number, when its write began and when fsync said that it is safe."""

    session: str
    number: int
    began: float
    done: float


@dataclass
class Account:
    """What one node has acknowledged, and where its clock stands in each session of its writer."""

    name: str
    sessions: dict[str, float] = field(default_factory=dict)
    acks: list[Ack] = field(default_factory=list)


@dataclass(frozen=True)
class Finding:
    """What the check of all records says; in good order `lost`, `torn` and `both` are empty."""

    acknowledged: dict[str, int]
    lost: list[str]
    both: list[str]
    standstill: dict[str, float]

    @property
    def good(self) -> bool:
        """Nothing is lost, and no two nodes have acknowledged while they were apart."""
        return not self.lost and not self.both


def clock(node: Node) -> float:
    """What to add to a node's monotonic clock for the host's; wrong by a tenth of a second or so."""
    best, offset = float("inf"), 0.0
    for _ in range(4):
        before = time.monotonic()
        up = float(node.run("cat /proc/uptime").split()[0])
        after = time.monotonic()
        if after - before < best:
            best, offset = after - before, (before + after) / 2 - up
    return offset


class Records:
    """The writers of both nodes over a whole story: they may end and begin again."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.accounts = {node.name: Account(node.name) for node in nodes}
        for node in nodes:
            node.put_text(PROGRAM, _PROGRAM)
            node.run(f"systemctl stop {UNIT} 2>/dev/null || true; rm -f {NOTES} {MOUNTPOINT}/records.{node.name}")
            # The writer has to be there after a power cut as well.
            node.run(f"sync --file-system {PROGRAM}")

    def start(self, node: Node) -> None:
        """Begin to write on a node that has the file system mounted; comes back when records are acknowledged."""
        account = self.accounts[node.name]
        session = f"s{len(account.sessions)}"
        account.sessions[session] = clock(node)
        number = 1000000 * len(account.sessions)
        node.run(
            f"systemctl reset-failed {UNIT} 2>/dev/null || true; systemd-run --quiet --collect --unit={UNIT}"
            f" python3 -I {PROGRAM} {node.name} {session} {number}"
        )
        node.wait_until(f"grep -q '^{session} {number + 2} ' {NOTES}", 60, 0.5)

    def stop(self, node: Node) -> None:
        """End a node's writer."""
        node.run(f"systemctl stop {UNIT} 2>/dev/null || true")

    def running(self, node: Node) -> bool:
        """Whether a node's writer is there, in whatever state."""
        return node.ask(f"systemctl is-active --quiet {UNIT}", 20) is not None

    def collect(self, node: Node) -> bool:
        """Read what a node has noted; False when it does not answer, and then the account stays as it was."""
        text = node.ask(f"cat {NOTES} 2>/dev/null || true", 60)
        if text is None:
            return False
        account = self.accounts[node.name]
        acks = []
        for line in text.splitlines(keepends=True):
            words = line.split()
            # The last line may be torn by a reset: its fsync was not done, so it was no note yet.
            if line.endswith("\n") and len(words) == 4 and words[0] in account.sessions:
                offset = account.sessions[words[0]]
                acks.append(Ack(words[0], int(words[1]), float(words[2]) + offset, float(words[3]) + offset))
        account.acks = acks
        return True

    def last(self, node: Node) -> float:
        """When a node's newest acknowledged record was safe; 0.0 for never."""
        return max((ack.done for ack in self.accounts[node.name].acks), default=0.0)

    def wrote(self, name: str, begin: float, end: float) -> list[Ack]:
        """What a node acknowledged in a window."""
        return [ack for ack in self.accounts[name].acks if begin < ack.done < end]

    def await_writes(self, node: Node, since: float, timeout: float) -> None:
        """Wait until a node's writer has acknowledged something that it began after `since`."""
        limit = time.monotonic() + timeout
        while True:
            self.collect(node)
            if any(ack.began > since for ack in self.accounts[node.name].acks):
                return
            assert time.monotonic() < limit, f"{node.name}: nothing was written in {timeout:.0f} s"
            time.sleep(1.0)

    def check(self, up: Iterable[Node], apart: Iterable[tuple[float, float]] = ()) -> Finding:
        """Look for every acknowledged record on every node that is up; `apart` are windows without a connection."""
        for node in self.nodes:
            self.collect(node)
        lost = []
        for reader in up:
            for account in self.accounts.values():
                text = reader.run(f"cat {MOUNTPOINT}/records.{account.name} 2>/dev/null || true", 120)
                there = whole_records(text)
                for ack in account.acks:
                    if (account.name, ack.session, ack.number) not in there:
                        lost.append(f"{reader.name} lacks record {ack.session}/{ack.number} of {account.name}")
        both = []
        for begin, end in apart:
            counts = {name: len(self.wrote(name, begin + LEEWAY, end)) for name in self.accounts}
            if all(counts.values()):
                both.append(f"apart for {end - begin:.1f} s, both acknowledged: {counts}")
        return Finding(
            acknowledged={name: len(account.acks) for name, account in self.accounts.items()},
            lost=lost,
            both=both,
            standstill={name: standstill(account.acks) for name, account in self.accounts.items()},
        )


def whole_records(text: str) -> set[tuple[str, str, int]]:
    """Node, session and number of each record in a file whose checksum is right."""
    found = set()
    for line in text.splitlines():
        body, _, checksum = line.rpartition(" ")
        words = body.split()
        if len(words) >= 5 and checksum == f"{zlib.crc32(body.encode()):08x}" and words[2].isdigit():
            found.add((words[0], words[1], int(words[2])))
    return found


def standstill(acks: Sequence[Ack]) -> float:
    """The longest time between two acknowledgements in a row, within one session of the writer."""
    longest = 0.0
    for before, after in zip(acks, acks[1:]):
        if before.session == after.session:
            longest = max(longest, after.done - before.done)
    return longest
