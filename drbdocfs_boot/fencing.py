"""Who goes on when the link is lost in operation: times and decisions; nothing here touches the system.

With ``fencing resource-and-stonith`` DRBD freezes input and output of a Primary that loses its peer, on both nodes,
and calls the fence-peer handler.  Of the answers that we give only 4 and 7, which say that the peer is out, thaw it
(so would 3, and 5 on a good disk); after 1 it stays frozen until the peer is connected again.  Frozen, a node
completes no write, so as long as at most one node gets such an answer nothing is lost.  docs/fencing.md has the table
of what happens when.

The time for an answer is bounded by O2CB, whose heartbeat is frozen with the rest:

* A heartbeat write that is not done after (threshold - 1) * 2 s resets the node (o2hb_write_timeout), unless both
  nodes' writes hang and o2net still connects them: then both are given another term, again and again
  (o2hb_nego_timeout).
* o2net finds the link idle after idle_timeout_ms; (threshold + 2) * 2 s later (O2NET_QUORUM_DELAY_MS) each node that
  still sees the other's heartbeat, and has not the lowest number, resets itself (o2quo_make_decision).  The other's
  heartbeat counts as gone threshold * 2 s after the thaw, so the thaw has to come before idle + 2 * 2 s.

Both count from the last beat before the loss, up to 2 s earlier.  DRBD notices the loss later: data that came in after
the last ping put off the next one by another ping-int (drbd_ack_receiver), so after up to 2 * ping-int + ping-timeout;
20 s were seen with its defaults.  Sources: fs/ocfs2/cluster/heartbeat.c, quorum.c, tcp.c; drbd.conf(5); the lab.
"""

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each call
if TYPE_CHECKING:
    from collections.abc import Iterable

    from drbdocfs_boot.stack import Stack

# fence-peer's exit statuses, the same in 8.4 and 9 (drbd_nl.c: conn_try_outdate_peer; enum drbd_peer_state).
PEER_OUTDATED = 4  # it is known that the peer does not go on with its data
PEER_FENCED = 7  # it was switched off, and that was verified
# Any status that the kernel does not know leaves input and output frozen.  Its log calls the handler broken then.
FROZEN = 1

NONE, POWER, WITNESS = "none", "power", "witness"

BEAT = 2.0  # seconds between two heartbeats (O2HB_REGION_TIMEOUT_MS)
MARGIN = 3.0  # seconds kept free before a limit of O2CB: a heartbeat under way, and a machine that is slow
# Seconds that a decision is planned with: the handler itself, a lock at the witness, an agent's off and status.
DECIDE = {NONE: 1.0, POWER: 10.0, WITNESS: 5.0}
DECIDE_HOST = 1.0
LEAST_LEAD = 2.0
LEAST_GRACE = 2.0  # seconds: less than that is no grace, so a link that flaps would always cost a node

# Where the fence agent's options are looked for, unless the stack says so.
OPTIONS = "/etc/drbdocfs/fence.conf"

# Connection states of /proc/drbd (8.4) in which the peer's state is not known (drbd.h, enum drbd_conns).
DISCONNECTED = frozenset(
    (
        "StandAlone", "Disconnecting", "Unconnected", "Timeout", "BrokenPipe", "NetworkFailure", "ProtocolError",
        "TearDown", "WFConnection", "WFReportParams", "Unconfigured",
    )
)  # fmt: skip


def proc_drbd(text: str, minors: "list[str]") -> "list[dict[str, str]]":
    """``cs``, ``role``, ``disk`` and ``frozen`` ("yes" or "") of these minors, from /proc/drbd of 8.4.

    Empty unless all of them are there.  The first letter of the flags is s while input and output are held back.
    """
    found = []
    for line in text.splitlines():
        head, colon, rest = line.strip().partition(": cs:")
        if not colon or head not in minors:
            continue
        words = ("cs:" + rest).split()
        keys = {key: value for key, colon, value in (word.partition(":") for word in words) if colon}
        found.append(
            {
                "cs": keys["cs"],
                "role": keys.get("ro", "").partition("/")[0],
                "disk": keys.get("ds", "").partition("/")[0],
                "frozen": "yes" if words[-1].startswith("s") and len(words[-1]) == 6 else "",
            }
        )
    return found if len(found) == len(minors) else []


class Times:
    """What the limits are made of, in seconds, with the kernel's defaults.

    ``threshold`` is a number of heartbeats; ``ping_int``, ``ping_timeout`` and ``timeout`` are DRBD's.
    """

    __slots__ = ("idle", "ping_int", "ping_timeout", "threshold", "timeout")

    def __init__(
        self,
        threshold: int = 31,
        idle: float = 30.0,
        ping_int: float = 10.0,
        ping_timeout: float = 0.5,
        timeout: float = 6.0,
    ) -> None:
        self.threshold = threshold
        self.idle = idle
        self.ping_int = ping_int
        self.ping_timeout = ping_timeout
        self.timeout = timeout

    @property
    def detection(self) -> float:
        """The longest that DRBD takes to notice a lost link, and by how much the nodes may differ in it."""
        return max(2 * self.ping_int + self.ping_timeout, self.timeout)

    @property
    def write_limit(self) -> float:
        """Seconds after the loss at which a frozen node is reset for its heartbeat's sake."""
        return (self.threshold - 2) * BEAT

    @property
    def quorum_limit(self) -> float:
        """Seconds after the loss up to which a node without the lowest number has to thaw to survive."""
        return self.idle + BEAT


class Plan:
    """The plan of one node for one lost link; seconds, all but ``limit`` counted from the handler's start.

    ``limit``: after the loss, when O2CB resets this node; ``grace``: how long the link may take to come back;
    ``head_start``: how long after that this node lets the preferred one go first; ``decide``: what a decision is
    planned to take; ``end``: when it is too late for one; ``cut``: link_grace was longer than what is left;
    ``fits``: the plan ends in time.  ``sum`` shows how it was reckoned.
    """

    __slots__ = ("cut", "decide", "end", "fits", "grace", "head_start", "limit", "sum")

    def __init__(
        self,
        *,
        limit: float,
        end: float,
        grace: float,
        head_start: float,
        decide: float,
        cut: bool,
        fits: bool,
        sum: str,
    ) -> None:
        self.limit = limit
        self.end = end
        self.grace = grace
        self.head_start = head_start
        self.decide = decide
        self.cut = cut
        self.fits = fits
        self.sum = sum


def several(stacks: "Iterable[Stack]", stack: "Stack") -> bool:
    """Whether ``stack`` is one of several of its cluster, each with a lock of its own at a witness.

    O2CB resets a host as soon as one of its stacks does not go on, so one node has to get the locks of all.
    """
    same = (one for one in stacks if one.cluster == stack.cluster and one.survivor == WITNESS)
    return stack.survivor == WITNESS and len({one.name for one in same}) > 1


def plan(survivor: str, link_grace: float, times: Times, lowest: bool, several: bool = False) -> Plan:
    """The plan of a node; ``lowest``: it has the lowest number in cluster.conf, so O2CB prefers it, and so do we.

    With ``power``, and ``witness`` with ``several`` locks, both nodes reckon with the limits of the one without the
    lowest number, so that their head start is worth what it says; the others decide each for itself.
    """
    decide = DECIDE.get(survivor, DECIDE_HOST)
    limit = times.write_limit if lowest else min(times.write_limit, times.quorum_limit)
    end = limit - times.detection - MARGIN
    head = 0.0
    room = end - decide
    in_turn = survivor == POWER or (survivor == WITNESS and several)
    if in_turn:
        # The nodes may notice the loss up to `detection` apart; a moment after that the preferred one's agent is at
        # work.  Where there is room it has the time to end, too.
        head = times.detection + LEAST_LEAD
        strictest = min(times.write_limit, times.quorum_limit) - times.detection - MARGIN
        room = strictest - head - decide
    grace = max(min(link_grace, room), min(link_grace, LEAST_GRACE))
    if in_turn:
        head += min(max(0.0, room - grace), decide - LEAST_LEAD)
    wait = 0.0 if lowest else head
    fits = grace + wait + decide <= end
    which = "heartbeat" if limit == times.write_limit else "quorum"
    words = [f"notice {times.detection:g} s", f"grace {grace:g} s"]
    if wait:
        words.append(f"head start {wait:g} s")
    words += [f"decision {decide:g} s", f"margin {MARGIN:g} s"]
    total = times.detection + grace + wait + decide + MARGIN
    text = f"{' + '.join(words)} = {total:g} s, of {limit:g} s that O2CB leaves ({which})"
    return Plan(
        limit=limit, end=end, grace=grace, head_start=wait, decide=decide, cut=grace < link_grace, fits=fits, sum=text
    )


def preferred(nodes: "dict[str, dict[str, str]]", host: str) -> bool:
    """Whether ``host`` has the lowest number of ``nodes`` (clusterconf.nodes): O2CB prefers that one, too.

    A host that the file does not name, or a file that cannot be read, is not preferred.
    """
    given = {name: keys.get("number", "") for name, keys in nodes.items()}
    # Digits of other scripts, and more than any number of a node has, are none.
    numbers = {name: int(text) for name, text in given.items() if text.isdigit() and text.isascii() and len(text) < 10}
    return host in numbers and numbers[host] == min(numbers.values())
