"""Why a connection is StandAlone: events2 does not tell it after the fact, only the kernel log does.

Pure: lines in, a word out.  Messages of DRBD 8.4 and 9 (drbd_receiver.c, drbd_transport_tcp.c), see tests/transcripts.
"""

SPLIT_BRAIN = "split-brain"
AUTHENTICATION = "authentication"
ADDRESS = "address"

# Part of a message -> what it says.  A new attempt to connect forgets what went before.
_WORDS = (
    ("StandAlone -> Unconnected", ""),
    ("Split-Brain detected but unresolved", SPLIT_BRAIN),
    ("Authentication of peer failed", AUTHENTICATION),
    ("bind before listen failed", ADDRESS),
)


def why_stand_alone(lines: "list[str]", resource: str, minors: "list[str]") -> str:
    """The last reason that the log gives for ``resource`` with these minors; "" when it gives none.

    ``lines`` are messages without the time before them.  8.4 names the resource ("drbd r0: ") or the device
    ("block drbd0: "), 9 the resource with volume and peer ("drbd r0 peer: ", "drbd r0/0 drbd0 peer: ").
    """
    beginnings = [f"drbd {resource}:", f"drbd {resource} ", f"drbd {resource}/"]
    beginnings += [f"block drbd{minor}:" for minor in minors]
    reason = ""
    for line in lines:
        if line.startswith(tuple(beginnings)):
            for words, meaning in _WORDS:
                if words in line:
                    reason = meaning
    return reason
