"""Area now of ``drbdocfs check``: what DRBD does at this moment, where the resource of a stack is up.

Of a stack that is stopped, or waits with nothing in the kernel yet, it says nothing: that is no fault of the set-up.
"""

from __future__ import annotations

from collections.abc import Iterator

from drbdocfs_boot.checks.facts import Facts
from drbdocfs_boot.checks.model import ERROR, WARNING, Book, Finding, Rule
from drbdocfs_boot.events import State
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.verdict import NO_ADDRESS, NOT_CONFIGURED, SPLIT_BRAIN, STAND_ALONE, STARTING, Verdict, peers_present

BOOK = Book(
    drbd_split_brain=Rule(
        ERROR,
        "split brain",
        "Each node has changes that the other one has not, and they do not connect any more: with each hour more is"
        " lost of one of the two.",
        "'drbdocfs split-brain STACK' shows both sides and resolves it",
    ),
    drbd_stand_alone=Rule(
        ERROR,
        "DRBD has dropped the connection",
        "Nothing is replicated, and DRBD does not try again: what one node writes the other one never gets.",
        "'journalctl -k -g drbd' says why, if anything does; then 'drbdadm adjust RESOURCE' on both",
    ),
    drbd_not_uptodate=Rule(
        ERROR,
        "the data of this node are not whole",
        "This is not the node to rely on: the other one has the good data, if any has. Alone this one cannot go on.",
        "do not stop or reboot the other node before this one is UpToDate: 'drbdocfs status --watch' shows it",
    ),
    drbd_one_copy=Rule(
        WARNING,
        "no second copy is in step",
        "What is written now is on this node only, and lost with its disk. If it is rebooted now, nobody serves"
        " meanwhile, and the other one, should it come first, may have older data.",
        "do not stop or reboot it before the other one is connected and UpToDate: 'drbdocfs status --watch' shows it",
    ),
    drbd_hangs=Rule(
        ERROR,
        "DRBD does not answer",
        "Whatever asks it hangs, a stop and a shutdown, too. Often a disk or a link below it hangs.",
        "'journalctl -k' says what hangs; docs/recovery.md, 11",
    ),
)

# Disks that are no fault: with fencing DRBD calls Consistent what it attaches before the peer was seen, and the others
# last for a moment.
_SOUND = ("UpToDate", "Consistent", "Attaching", "Negotiating")
_VERIFYING = ("VerifyS", "VerifyT")


def find(facts: Facts) -> Iterator[Finding]:
    try:
        found = facts.replication()
    except Failure as failure:
        yield BOOK.finding("drbd-hangs", "", failure.message)
        return
    for stack in facts.reading.stacks:
        if stack.name in found:
            yield from _stack(stack, *found[stack.name])


def _stack(stack: Stack, state: State, verdict: Verdict) -> Iterator[Finding]:
    if verdict.kind in (STARTING, NOT_CONFIGURED):
        return
    code = {SPLIT_BRAIN: "drbd-split-brain", STAND_ALONE: "drbd-stand-alone", NO_ADDRESS: "drbd-stand-alone"}.get(
        verdict.kind, ""
    )
    where = stack.resource
    if code:
        advice = verdict.advice.replace("STACK", stack.name)
        yield BOOK.finding(code, where, verdict.reason, stack.name, advice=advice)
    bad = sorted({device.get("disk", "Unknown") for device in state.devices.values()} - {*_SOUND})
    if bad:
        message = f"the local disk is {', '.join(bad)}" + ("" if code else f": {verdict.reason}")
        peer = any(device.get("peer-disk") == "UpToDate" for device in state.peer_devices.values())
        advice = "" if peer else "bring the other node up, and the link between them: it is the one with the good data"
        yield BOOK.finding("drbd-not-uptodate", where, message, stack.name, advice=advice)
    elif not code and not _in_step(state):
        # Of a peer that was not seen nobody knows what it has: a node that was down for long is UpToDate as well.
        sure = "; this node has the only good copy" if peers_present(state) else ""
        yield BOOK.finding("drbd-one-copy", where, verdict.reason + sure, stack.name)


def _in_step(state: State) -> bool:
    """Whether every peer has all data.  While DRBD verifies it has, too."""
    whole = [
        device
        for device in state.peer_devices.values()
        if device.get("replication") in ("Established", *_VERIFYING) and device.get("peer-disk") == "UpToDate"
    ]
    return bool(whole) and len(whole) >= len(state.connections) * len(state.devices)
