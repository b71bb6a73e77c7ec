"""Our own configuration: mistakes, and values that are allowed but bold."""

from __future__ import annotations

from collections.abc import Iterator

from drbdocfs_boot import fstab, units
from drbdocfs_boot.checks.facts import FSTAB, Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Book, Finding, Rule
from drbdocfs_boot.fencing import WITNESS
from drbdocfs_boot.lean import MAIN_FILE, MORE_FILES
from drbdocfs_boot.stack import Stack

SECOND = 1_000_000
# A server's own boot takes longer: a peer that was rebooted at the same moment cannot be there before.
SHORT_WAIT = 60 * SECOND
# Consoles and logins come after it.
LONG_HOLD = 900 * SECOND

BOOK = Book(
    config_mistake=Rule(
        ERROR,
        "a mistake in our configuration",
        "The stack is refused as a whole and does not come up at boot; a unit fails with these words in its place.",
        "correct the line; drbdocfs.conf(5) has every key",
    ),
    no_stack=Rule(
        ERROR,
        "no stack is configured",
        "Without one nothing is brought up at boot.",
        "'drbdocfs import' makes one of an old set-up, 'drbdocfs create' a new one",
    ),
    when_alone_always=Rule(
        WARNING,
        "when_alone = always",
        "A node that was down while the other one wrote mounts its old data as soon as the peer is late: that is a "
        "split brain, and the changes of one of the two will be lost.",
        "when_alone = newest goes on alone only where DRBD's metadata proves that the data here is the newest",
    ),
    peer_timeout_short=Rule(
        WARNING,
        "the peer has no time to boot",
        "After a power cut both boot at once. With when_alone = always each gives up waiting before the other can have "
        "come up, and both mount alone.",
        "peer_timeout of more than the time that the slower of the two takes to boot",
    ),
    peer_timeout_late=Rule(
        NOTE,
        "peer_timeout is longer than boot_timeout",
        "The boot goes on without the stack first; when_alone decides later, in the background. What needs the mount "
        "at boot finds it missing.",
        "make boot_timeout longer than peer_timeout where services need the mount at boot",
    ),
    boot_timeout_long=Rule(
        WARNING,
        "the boot may be held back for long",
        "Console logins and user sessions come after the mount, so nobody can log in there while the stack waits.",
        "boot_timeout of a few minutes: after it the stack comes up in the background all the same",
    ),
)


def find(facts: Facts) -> Iterator[Finding]:
    # Asked for through Facts first, which keeps count of what this user may not read.
    facts.names(MORE_FILES)
    for file in (MAIN_FILE, *facts.glob(MORE_FILES + "/*.conf")):
        facts.read(file)
    reading = facts.reading
    table = fstab.parse(facts.read(FSTAB) or "")
    problems = units.tree(reading, table)[1]
    for one in problems:
        if not facts.hidden(one.file):
            where = f"{one.file}:{one.line}" if one.line else one.file
            yield BOOK.finding("config-mistake", where, one.message, one.stack)
    if not reading.stacks and not problems and not facts.hidden(MAIN_FILE, MORE_FILES):
        yield BOOK.finding("no-stack", MAIN_FILE, "no stack is configured")
    for stack in reading.stacks:
        yield from _values(facts, stack)


def _values(facts: Facts, stack: Stack) -> Iterator[Finding]:
    peer, boot = stack.peer_timeout // SECOND, stack.boot_timeout // SECOND
    if stack.when_alone == "always":
        where = key_place(facts, stack, "when_alone")
        yield BOOK.finding("when-alone-always", where, _always(facts, stack), stack.name)
        if stack.peer_timeout < SHORT_WAIT:
            where = key_place(facts, stack, "peer_timeout")
            message = f"the peer is waited for {peer} s only, then when_alone = always decides"
            yield BOOK.finding("peer-timeout-short", where, message, stack.name)
    if stack.peer_timeout > stack.boot_timeout:
        where = key_place(facts, stack, "peer_timeout")
        message = f"the peer is waited for {peer} s, the boot for {boot} s"
        yield BOOK.finding("peer-timeout-late", where, message, stack.name)
    if stack.boot_timeout > LONG_HOLD:
        where = key_place(facts, stack, "boot_timeout")
        yield BOOK.finding("boot-timeout-long", where, f"the stack may hold back the boot for {boot} s", stack.name)


def _always(facts: Facts, stack: Stack) -> str:
    """What "always" does here.  With fencing DRBD asks our handler at each promotion without the peer, too."""
    alone = "this node mounts alone whatever the peer has"
    if stack.survivor == facts.host:
        return f"{alone}; with fencing the other node does not, as it is not the survivor"
    if stack.survivor == WITNESS:
        return f"without fencing {alone}; with fencing it does with the witness's lock only"
    refused = f"with fencing and survivor = {stack.survivor} our handler refuses it"
    return f"without fencing {alone}; {refused}"


def key_place(facts: Facts, stack: Stack, key: str) -> str:
    """FILE:LINE of a stack's key; of its section where the key stands by its default."""
    lines = (facts.read(stack.file) or "").split("\n")
    for number, line in enumerate(lines[stack.line :], stack.line + 1):
        if line.lstrip().startswith("["):
            break
        if line.partition("=")[0].strip() == key:
            return f"{stack.file}:{number}"
    return f"{stack.file}:{stack.line}"
