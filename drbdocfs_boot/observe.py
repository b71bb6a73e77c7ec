"""What happens to a resource in operation, as messages: states in, messages out; nothing here touches the system.

An Observer is fed with the state after each line of ``drbdsetup events2`` (``see``) and with the verdict when the
lines that came together are through (``settle``).  Two kinds of news:

* Edges (peer, resync, frozen I/O) are said at once.  The first look says nothing: it is how things are, not news.
* Conditions (StandAlone, disk gone) are said once they have stood for SETTLE seconds, the first look included: DRBD
  passes through both when a stack is stopped, and through StandAlone when it is connected again.
"""

from drbdocfs_boot import kernellog
from drbdocfs_boot.events import State
from drbdocfs_boot.messages import Message
from drbdocfs_boot.verdict import (
    ALONE_REFUSED,
    DISK_GONE,
    NO_ADDRESS,
    NOT_UPTODATE,
    READY,
    SPLIT_BRAIN,
    STAND_ALONE,
    STARTING,
    Verdict,
    clock,
    peers_present,
)

SETTLE = 2.0
STALL = 60.0  # seconds without progress, after which a resync is said to stall
_RUNNING = ("SyncSource", "SyncTarget", "PausedSyncS", "PausedSyncT")
_BAD_DISKS = ("Diskless", "Failed", "Detaching")
# Connection states in which this node itself has hung up: the condition that follows says why.
_OURS = ("StandAlone", "Disconnecting")
_BY_KIND = {
    SPLIT_BRAIN: "split-brain",
    DISK_GONE: "disk-gone",
    NO_ADDRESS: "address-lost",
    ALONE_REFUSED: "alone-refused",
    NOT_UPTODATE: "alone-refused",
}
_BY_WHY = {
    kernellog.AUTHENTICATION: "authentication",
    kernellog.CONFIGURATION: "nodes-differ",
    kernellog.UNRELATED: "nodes-differ",
    kernellog.TOO_SMALL: "nodes-differ",
    kernellog.ADDRESS: "address-lost",
}


class Stall:
    """Notices that something that counts up or down stands still.

    Feed it with (time, where it stands): any number that changes with progress; None when it is not known.
    """

    __slots__ = ("_limit", "_moved", "_where", "stalled")

    def __init__(self, limit: float = STALL) -> None:
        self._limit = limit
        self._moved: "float | None" = None
        self._where: "float | None" = None
        self.stalled = False

    def feed(self, now: float, where: "float | None") -> str:
        """ "stalled" and "moving" at the two turns, else ""."""
        if where is None:
            return ""
        if self._moved is None or where != self._where:
            self._moved, self._where = now, where
            if self.stalled:
                self.stalled = False
                return "moving"
            return ""
        if not self.stalled and now - self._moved >= self._limit:
            self.stalled = True
            return "stalled"
        return ""

    def still(self, now: float) -> float:
        """Seconds since it last moved."""
        return 0.0 if self._moved is None else now - self._moved


class Observer:
    """What is known of one stack; ``due`` is when ``settle`` has to be called again without news, None for never."""

    __slots__ = (
        "_condition", "_connected", "_first", "_frozen", "_left", "_missed", "_peer_disk", "_resync", "_stall", "_told",
        "_way", "due", "peer", "ready", "resource", "stack", "unready_since",
    )  # fmt: skip

    def __init__(self, stack: str, resource: str, peer: str = "") -> None:
        self.stack = stack
        self.resource = resource
        self.peer = peer or "the peer"
        self.ready = False
        self._missed = False  # it was seen not to be ready
        # Since when not both were UpToDate, None while they are (and before anything was seen).
        self.unready_since: "float | None" = None
        self._forget()

    def _forget(self) -> None:
        self._first = True
        self._connected = False
        self._left = 0.0  # since when the peer is gone
        self._frozen: "float | None" = None
        self._peer_disk = False
        self._resync: "float | None" = None
        self._way = ""
        self._stall = Stall()
        self._condition: "tuple[str, float]" = ("", 0.0)
        self._told = False
        self.due: "float | None" = None

    @property
    def resyncing(self) -> bool:
        """True while data flows: ``progress`` wants to know how far it is."""
        return self._resync is not None

    @property
    def stalled(self) -> bool:
        """True while a resync makes no progress."""
        return self._resync is not None and self._stall.stalled

    def still(self, now: float) -> float:
        """Seconds since a running resync last made progress."""
        return self._stall.still(now) if self._resync is not None else 0.0

    def _message(self, name: str, **fields: str) -> Message:
        return Message(name, stack=self.stack, resource=self.resource, peer=self.peer, **fields)

    def see(self, state: State, now: float) -> "list[Message]":
        """What the last line of events2 has brought."""
        if not state.complete:
            return []
        if not state.configured:
            self._forget()
            return []
        found = []
        first, self._first = self._first, False
        connected = peers_present(state) and all(
            d.get("replication", "Off") != "Off" for d in state.peer_devices.values()
        )
        if first:
            self._connected, self._left = connected, now
        elif connected != self._connected:
            self._connected = connected
            if connected:
                found.append(self._message("peer-back", duration=clock(now - self._left)))
            else:
                self._left = now
                found += self._gone(state)
        found += self._see_resync(state, now, first)
        gone = sorted({d.get("peer-disk", "") for d in state.peer_devices.values()} & set(_BAD_DISKS))
        if gone and connected and not self._peer_disk and not first:
            found.append(self._message("peer-disk-gone", reason=gone[0]))
        if connected:
            self._peer_disk = bool(gone)
        suspended = state.resource.get("suspended", "no")
        if suspended != "no" and self._frozen is None:
            self._frozen = now
            found.append(self._message("io-suspended", reason=suspended))
        elif suspended == "no" and self._frozen is not None:
            found.append(self._message("io-resumed", duration=clock(now - self._frozen)))
            self._frozen = None
        return found

    def _gone(self, state: State) -> "list[Message]":
        causes = sorted({c.get("connection", "") for c in state.connections.values()})
        cause = next((c for c in causes if c != "Connected"), "StandAlone")
        if cause in _OURS or state.stand_alone:
            return []
        if cause == "TearDown":  # it has said goodbye
            return [self._message("peer-left")]
        if self._resync is not None:
            cause += ", in the middle of a resync"
        return [self._message("peer-lost", reason=cause)]

    def _see_resync(self, state: State, now: float, first: bool) -> "list[Message]":
        running = [d["replication"] for d in state.peer_devices.values() if d.get("replication") in _RUNNING]
        if running and self._resync is None:
            self._resync = now
            self._way = "from" if running[0].endswith(("Target", "T")) else "to"
            self._stall = Stall()
            if not first:
                kib = out_of_sync(state)
                amount = "" if not kib else ", " + size(kib * 1024)
                return [self._message("resync-started", direction=self._way, amount=amount)]
        elif not running and self._resync is not None:
            began, self._resync = self._resync, None
            if self._connected:
                return [self._message("resync-ended", direction=self._way, duration=clock(now - began))]
        return []

    def progress(self, now: float, where: "float | None", percent: "float | None", paused: bool) -> "list[Message]":
        """How far a resync is: ``where`` is any number that changes with progress, best what is out of sync."""
        if self._resync is None:
            return []
        turn = self._stall.feed(now, where)
        shown = "" if percent is None else f" at {percent:.1f} %"
        if turn == "stalled":
            return [
                self._message(
                    "resync-stalled",
                    direction=self._way,
                    progress=shown,
                    duration=clock(self._stall.still(now)),
                    reason="; it is paused" if paused else "",
                )
            ]
        if turn == "moving":
            return [self._message("resync-goes-on", direction=self._way, progress=shown)]
        return []

    def settle(self, state: State, verdict: Verdict, why: str, now: float) -> "list[Message]":
        """What stands after all lines that came together; ``verdict`` is the one on ``state``."""
        self.due = None
        if self.unready_since is None and verdict.kind != READY:
            self.unready_since = now
        if not state.complete or verdict.kind == STARTING:
            return []
        found = []
        condition = ""
        if state.configured:
            condition = _BY_KIND.get(verdict.kind, "")
            if verdict.kind == STAND_ALONE:
                condition = _BY_WHY.get(why, "disconnected")
        if condition != self._condition[0]:
            # Why it is StandAlone may come to light later than that it is; the clock runs on.
            since = self._condition[1] if condition and self._condition[0] and not self._told else now
            self._condition = (condition, since)
            self._told = False
        if condition and not self._told:
            # A split brain is none of the states that one passes through.
            due = self._condition[1] + (0.0 if condition == "split-brain" else SETTLE)
            if now >= due:
                self._told = True
                found.append(
                    self._message(condition, reason=verdict.reason, advice=verdict.advice.replace("STACK", self.stack))
                )
            else:
                self.due = due
        ready = verdict.kind == READY
        if ready and self._missed and self.unready_since is not None:
            found.append(self._message("both-uptodate", duration=clock(now - self.unready_since)))
        if ready:
            self.unready_since = None
        self.ready, self._missed = ready, not ready
        return found


def out_of_sync(state: State) -> int:
    """KiB that are out of sync, as events2 said last."""
    total = 0
    for device in state.peer_devices.values():
        number = device.get("out-of-sync", "")
        total += int(number) if number.isdigit() else 0
    return total


def out_of_sync_84(text: str) -> "dict[str, int]":
    """Minor -> KiB out of sync, from /proc/drbd of DRBD 8.4, which is up to date where events2 is not."""
    found = {}
    minor = ""
    for line in text.splitlines():
        head, colon, _ = line.strip().partition(":")
        if colon and head.isdigit():
            minor = head
        for word in line.split():
            if minor and word.startswith("oos:") and word[4:].isdigit():
                found[minor] = int(word[4:])
    return found


def size(number: float) -> str:
    """A number of bytes in words."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" or number >= 10 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def o2net_connected(lines: "list[str]", node: str) -> "bool | None":
    """Whether O2CB is connected with ``node``, by the last line that the kernel log has on it; None: it has none.

    ``lines`` are messages without the time before them.  The texts are those of fs/ocfs2/cluster/tcp.c; a node is
    "node NAME (num N) at ADDRESS:PORT", but the last word on a connection that never came names only the number.
    """
    state: "bool | None" = None
    number = ""
    for line in lines:
        if not line.startswith("o2net: "):
            continue
        said = line[7:]
        words, mark, rest = said.partition(f"node {node} (num ")
        if mark:
            number = rest.partition(")")[0]
            if words in ("Connected to ", "Accepted connection from "):
                state = True
            elif words == "No longer connected to " or "shutdown, state" in rest or "shutting it down" in rest:
                state = False
        elif number and said.startswith(f"No connection established with node {number} "):
            state = False
    return state
