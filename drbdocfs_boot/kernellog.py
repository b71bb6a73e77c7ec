"""Why a connection is StandAlone: events2 does not tell it after the fact, only the kernel log does.

Pure: lines in, a word out.  Messages of DRBD 8.4 and 9 (drbd_receiver.c, drbd_transport_tcp.c), see tests/transcripts.
"""

SPLIT_BRAIN = "split-brain"
AUTHENTICATION = "authentication"
ADDRESS = "address"  # its own address was not on this host when it connected
CONFIGURATION = "configuration"  # the nodes' settings do not fit together
UNRELATED = "unrelated"  # the disks have no data generation in common
TOO_SMALL = "too-small"  # one disk is too small for the other's data
BY_HAND = "by-hand"
DECLINED = "declined"  # by the peer, whose own log says why

# Part of a message -> what it says.  A new attempt to connect forgets what went before, and so do a new resource and a
# handshake: what went wrong on the way to it is over.
_WORDS = (
    ("Starting worker thread", ""),
    ("StandAlone -> Unconnected", ""),
    ("successful: Agreed network protocol", ""),
    ("Split-Brain detected but unresolved", SPLIT_BRAIN),
    ("Authentication of peer failed", AUTHENTICATION),
    ("bind before listen failed", ADDRESS),
    ("bind before connect failed", ADDRESS),  # it has gone since
    ("Unrelated data, aborting", UNRELATED),
    ("size is too small", TOO_SMALL),
    ("incompatible ", CONFIGURATION),
)
# Both drivers go through Disconnecting in all cases.  DRBD 9 says in brackets who wanted it, newer than 9.1; else it
# was told to when it left without one of these causes and not out of a handshake or an error, which have more causes
# than are named here (such as "I shall become SyncTarget, but I am primary!").
_LEAVES = "-> Disconnecting"
_BY_HAND = ("[disconnect]", "[down]", "[del-peer]")
_NOT_BY_HAND = frozenset(
    (
        "Unconnected", "WFReportParams", "Connecting", "Timeout", "BrokenPipe", "NetworkFailure", "ProtocolError",
        "TearDown",
    )
)  # fmt: skip
# DRBD 9, where the two decide together: a peer that is Primary and would have to be resynchronized (_BEHIND is what it
# says itself) makes this node hang up for good as well, which with 8.4 only that peer does.  Which words this node has
# for it depends on who has begun; a promotion may be declined in the first ones, too.
_DECLINED, _FAILED, _HUNG_UP = "Declined by peer", "[connect-failed]", "[receive-disconnect]"
_BEHIND = "I shall become SyncTarget"
# An attempt to connect that 8.4 will not make again; the second is said of every call for a socket that fails.
_GAVE_UP = ("Discarding network configuration", " failed, err = ")


def why_stand_alone(lines: "list[str]", resource: str, minors: "list[str]") -> str:
    """The last reason that the log gives for ``resource`` with these minors; "" when it gives none.

    ``lines`` are messages without the time before them.  8.4 names the resource ("drbd r0: ") or the device
    ("block drbd0: "), 9 the resource with volume and peer ("drbd r0 peer: ", "drbd r0/0 drbd0 peer: ").
    """
    beginnings = [f"drbd {resource}:", f"drbd {resource} ", f"drbd {resource}/"]
    beginnings += [f"block drbd{minor}:" for minor in minors]
    reason = ""
    gave_up = declined = behind = False
    for line in lines:
        if not line.startswith(tuple(beginnings)):
            continue
        for words, meaning in _WORDS:
            if words in line:
                reason = meaning
                gave_up = gave_up and bool(meaning)
                declined, behind = declined and bool(meaning), behind and bool(meaning)
        declined, behind = declined or _DECLINED in line, behind or _BEHIND in line
        gave_up = gave_up or any(words in line for words in _GAVE_UP)
        if _LEAVES in line and not reason and not behind and (_HUNG_UP in line or (declined and _FAILED in line)):
            reason = DECLINED
        if _LEAVES in line and not reason and not gave_up and _told_to(line):
            reason = BY_HAND
    return reason


def _told_to(line: str) -> bool:
    before, _, after = line.partition(_LEAVES)
    if "[" in after:
        return any(tag in after for tag in _BY_HAND)
    return before.rpartition("(")[2].strip() not in _NOT_BY_HAND
