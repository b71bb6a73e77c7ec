"""What DRBD's metadata proves about the past of this node, from the output of ``drbdsetup get-gi``.

The bitmap UUID of the peer's slot is what counts: DRBD puts the old data generation there when a node is Primary
without its peer (8.4 at the promotion already, else at the first write), and clears it when the peer has got
everything again.  Not 0 therefore means: this node has been Primary without its peer since they were in step.  A
node that left in good order, one that crashed while it was connected, and the target of a resync have 0.  The flags
cannot tell those apart.  docs/waiting.md has the table and how each row was made.

Pure: text in, proof out.  Sources: drbdmeta(8), drbd_int.h (enum drbd_uuid_index), tests/transcripts.
"""

# Flags after the four UUIDs, as drbdmeta prints them.
FLAGS_84 = ("consistent", "uptodate", "primary", "connected", "full-sync", "peer-outdated", "crashed")
FLAGS_9 = (
    "consistent", "uptodate", "primary", "crashed", "al-clean", "al-disabled", "lost-quorum", "connected",
    "peer-outdated", "fencing", "full-sync", "device-seen",
)  # fmt: skip


class Slot:
    """One line of get-gi: the metadata of one volume towards one peer.

    ``current``, ``bitmap``: UUIDs of 16 hex digits (the lowest bit says that the node was Primary);
    ``history``: older ones; ``flags``: names that are set.
    """

    __slots__ = ("bitmap", "current", "flags", "history")

    def __init__(self, current: str, bitmap: str, history: "tuple[str, ...]", flags: "frozenset[str]") -> None:
        self.current = current
        self.bitmap = bitmap
        self.history = history
        self.flags = flags


class Proof:
    """``proved``: this node ran on without its peer last and has what the peer has not; ``reason``: one line."""

    __slots__ = ("proved", "reason")

    def __init__(self, proved: bool, reason: str) -> None:
        self.proved = proved
        self.reason = reason


def parse(text: str) -> "list[Slot]":
    """All slots in the output of get-gi or show-gi, of either driver; lines of other forms are passed over."""
    slots = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        names = {4 + len(FLAGS_84): FLAGS_84, 4 + len(FLAGS_9): FLAGS_9}.get(len(fields))
        if names is None or not all(_is_uuid(field) for field in fields[:4]):
            continue
        bits = fields[4:]
        if any(bit not in ("0", "1") for bit in bits):
            continue
        flags = frozenset(name for name, bit in zip(names, bits) if bit == "1")
        slots.append(Slot(fields[0], fields[1], tuple(fields[2:4]), flags))
    return slots


def proof(slots: "list[Slot]") -> Proof:
    """Whether the metadata proves it.  ``slots``: those of the stack's volume (one for each peer).

    A volume beside it that was written alone says nothing about this one, so all slots have to agree.
    """
    if not slots:
        return Proof(False, "DRBD's metadata could not be read, so nothing is known of the last run")
    for slot in slots:
        for flag, word in (("consistent", "inconsistent"), ("uptodate", "outdated")):
            if flag not in slot.flags:
                return Proof(False, f"DRBD's metadata marks the local data as {word}")
    if all(int(slot.bitmap, 16) != 0 for slot in slots):
        return Proof(
            True,
            f"DRBD's metadata shows that this node was Primary without its peer last (bitmap UUID {slots[0].bitmap})",
        )
    return Proof(
        False,
        "DRBD's metadata does not show that this node ran on without its peer (bitmap UUID 0): the peer may hold newer"
        " data",
    )


def _is_uuid(text: str) -> bool:
    return len(text) == 16 and all(c in "0123456789abcdefABCDEF" for c in text)
