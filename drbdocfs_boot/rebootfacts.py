"""What a node says of itself after a boot, and what of it should not be.  Pure.

A node is asked with one script (SCRIPT), which prints sections, because each login costs time; see `parse`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drbdocfs_boot.reboottest import (
    FAILED_UNIT,
    NOT_UP_TO_DATE,
    ORDERING_CYCLE,
    SPLIT_BRAIN,
    STACK_DOWN,
    UNCLEAN_SHUTDOWN,
    UNREACHABLE,
    Finding,
    Layer,
)

FOLLOW = "drbdocfs-follow.service"
MARK = "==drbdocfs-reboot-test "
# SD_MESSAGE_UNIT_STOPPED, in every version; older ones say no JOB_TYPE.
_UNIT_STOPPED = "9d1aaa27d60140bd96365438aad20286"
# What stops first at a shutdown: all that is ordered after anything else.
_FIRST = "multi-user.target"
MOST_LINES = 60  # of the journal, in one finding
# Layer -> those that have to stop before it does, as far as a stack has them. Where several stacks share a cluster, one
# may be demoted while O2CB waits for the unmount of another.
STOPS_AFTER = {
    "mount": (), "o2cb": ("mount",), "promote": ("mount",), "attach": ("o2cb", "promote"), "loop": ("attach",),
}  # fmt: skip
# A line of journalctl --list-boots: a number and the id; then times, with and without a dash between them.
_LISTED = re.compile(r"\s*-?\d+\s+([0-9a-f]{32})\s")
_CYCLE = re.compile("ordering cycle")
# What a shutdown in good order never says; systemd's words (src/core/unit.c, service.c, mount.c; src/shutdown).
_BAD = re.compile(
    r"timed out|with signal SIGKILL|Failed with result|Failed (?:to )?(?:unmount|stop)|Could not (?:detach|unmount)|"
    r"Forcibly|self-fencing|Split-Brain|BUG:|Call Trace",
    re.IGNORECASE,
)
# systemd-shutdown says so at every shutdown, whether a process is left or not.
_HARMLESS = re.compile(r"Sending SIG(?:TERM|KILL) to remaining processes")

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_PROBE = (
    f"cat {_BOOT_ID}; uname -n;"
    " systemctl show --property=ActiveState --value {target}; systemctl is-system-running"
)
# The host that takes the order is the one, and in the boot, that was asked before: ssh may lead elsewhere by now.
_ORDER = f'if [ "$(cat {_BOOT_ID})" = {{boot}} ]; then systemctl --no-block reboot; else uname -n; exit {{other}}; fi'
# A run has a node for itself by a directory, as mkdir(2) has one winner.  The next boot clears /run, and the first
# short question after it makes the directory again.
CLAIM = "/run/drbdocfs-reboot-test"
OURS, THEIRS = "ours", "theirs"
_OWN = f'[ "$(head -n 1 {CLAIM}/claim 2>/dev/null)" = {{token}} ]'
_TAKE = (
    f"if mkdir -m 0700 {CLAIM} 2>/dev/null; then"
    f" printf '%s\\n' {{token}} {{words}} >{CLAIM}/claim || rm -rf {CLAIM}; fi;"
    f" if {_OWN}; then echo {OURS}; elif [ -d {CLAIM} ]; then"
    f' echo "{THEIRS} $(tail -n +2 {CLAIM}/claim 2>/dev/null | head -n 1)"; fi'
)
OTHER = 93  # exit status of the order on another host, or in another boot: nothing is done there
# "cycles": what PID 1 says before there is a journald, such as of its first transaction, is in the kernel's log only.
_SCRIPT = """\
export LC_ALL=C SYSTEMD_COLORS=0 SYSTEMD_PAGER=
say() {{ echo "{mark}$1"; }}
say boot; cat /proc/sys/kernel/random/boot_id
say name; uname -n
say system; systemctl is-system-running
say failed; failed=$(systemctl --failed --plain --no-legend | cut -d' ' -f1); echo "$failed"
say follow; systemctl is-active {follow}
say journal; for unit in $failed; do journalctl -b -u "$unit" -n 60 --no-pager --no-hostname -o short-monotonic; done
said() {{ journalctl -q -b --no-pager --no-hostname -o short-monotonic "$@" _PID=1 + _TRANSPORT=kernel; }}
say heard; said -n 1
say cycles; said | grep -m 20 'ordering cycle'
say status; timeout 60 drbdocfs status {stack} --json
"""
_MORE = """\
say timeline; timeout 60 drbdocfs timeline {stack} --json
"""
# A boot whose journal was never written to the disk is not in the list.
_BOOTS = """\
say boots; timeout 60 journalctl -q --list-boots --no-pager
"""
_SHUTDOWN = """\
say shutdown; journalctl -b {boot} -n 1500 --no-pager -o json \
--output-fields=MESSAGE,MESSAGE_ID,UNIT,JOB_TYPE,JOB_RESULT _PID=1 + _TRANSPORT=kernel
"""


@dataclass(frozen=True)
class Claim:
    """That a run has the nodes for itself: its own word, and whose it is and since when, for people."""

    token: str
    words: str


def take(claim: Claim) -> str:
    """Take a node; prints OURS, THEIRS and the words of the other run's claim, or nothing where none can be made."""
    return _TAKE.format(token=shlex.quote(claim.token), words=shlex.quote(claim.words))


def release(token: str) -> str:
    """Give a node back; another run's claim stays."""
    return f"if {_OWN.format(token=shlex.quote(token))}; then rm -rf {CLAIM}; fi"


def look_at_claim() -> str:
    """Asks whose a node is; the last one of several questions.  See `claimed`."""
    return f"if [ -d {CLAIM} ]; then echo {shlex.quote(MARK + 'claim')}; cat {CLAIM}/claim; fi"


def claimed(text: str, token: str) -> tuple[str, str | None]:
    """What was answered to the other questions; and whose the node is, in words: None where it is ours, or nobody's."""
    text, mark, said = text.partition(f"{MARK}claim\n")
    lines = [*said.split("\n"), "", ""]
    return text, None if not mark or lines[0] == token else lines[1]


def probe(stack: str, node: str = "", claim: Claim | None = None) -> str:
    """The short question; see `answer`.  With a claim the node is taken, if it calls itself `node`."""
    text = _PROBE.format(target=shlex.quote(f"drbdocfs@{stack}.target"))
    if claim is None:
        return text
    return f'{text}; if [ "$(uname -n)" = {shlex.quote(node)} ]; then {take(claim)}; fi'


@dataclass(frozen=True)
class Answer:
    """What the short question came to: the id of the boot, the name that the host gives itself, the states of the
    stack's target and of the system, and whose the node is.  "" for what was not answered."""

    boot_id: str = ""
    name: str = ""
    target: str = ""
    system: str = ""
    claim: str = ""

    @property
    def theirs(self) -> str | None:
        """The words of another run that has the node."""
        return self.claim[len(THEIRS) :].strip() if self.claim.startswith(THEIRS) else None


def answer(text: str) -> Answer:
    """What `probe` has printed, also where it was cut off."""
    return Answer(*(line.strip() for line in [*text.split("\n"), *[""] * 5][:5]))


def order(boot_id: str) -> str:
    """The order to reboot, for this boot only; status OTHER and the host's name where it is another one."""
    return _ORDER.format(boot=shlex.quote(boot_id), other=OTHER)


def script(stack: str, before: str = "", whole: bool = True, boots: bool = False) -> str:
    """The long question.  `before`: id of the boot whose shutdown is of interest; not `whole`: without the timeline;
    `boots`: which ones the journal has is asked as well."""
    words = {"stack": shlex.quote(stack), "mark": MARK, "follow": FOLLOW, "boot": shlex.quote(before.replace("-", ""))}
    text = _SCRIPT + (_MORE if whole else "") + (_BOOTS if boots else "") + (_SHUTDOWN if before else "")
    return text.format(**words) + "say end\n"


@dataclass(frozen=True)
class Stop:
    """The stop of a unit or a line of a shutdown: `at` seconds after the kernel's start."""

    at: float
    message: str
    unit: str = ""
    stopped: bool = False


@dataclass(frozen=True)
class Facts:
    """A node after a boot.  `name` is what it calls itself.  `status` and `timeline` are the JSON of our verbs;
    `shutdown` is what PID 1 and the kernel said in the boot before, None where nobody asked; `boots` are
    the ids of all boots in the journal, the oldest first; `complete`: the node has answered to the end."""

    boot_id: str = ""
    name: str = ""
    system: str = ""
    failed: tuple[str, ...] = ()
    follow: str = ""
    journal: tuple[str, ...] = ()
    heard: bool = False  # the journal of this boot has anything of PID 1 or the kernel
    cycles: tuple[str, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)
    timeline: Mapping[str, Any] = field(default_factory=dict)
    shutdown: tuple[Stop, ...] | None = None
    boots: tuple[str, ...] = ()
    complete: bool = False


def parse(text: str) -> Facts:
    """What SCRIPT has printed, also where it was cut off."""
    parts: dict[str, list[str]] = {}
    name = ""
    for line in text.split("\n"):  # nothing else: a journal's line may have a U+2028 or a form feed
        if line.startswith(MARK):
            name = line[len(MARK) :]
            parts[name] = []
        elif name:
            parts[name].append(line)

    def lines(part: str) -> tuple[str, ...]:
        return tuple(line for line in parts.get(part, ()) if line.strip())

    return Facts(
        boot_id="".join(lines("boot")[:1]),
        name="".join(lines("name")[:1]),
        system="".join(lines("system")[:1]),
        failed=lines("failed"),
        follow="".join(lines("follow")[:1]),
        journal=lines("journal"),
        heard=bool(lines("heard")),
        cycles=lines("cycles"),
        status=_json("\n".join(lines("status"))),
        timeline=_json("\n".join(lines("timeline"))),
        shutdown=tuple(_stops(lines("shutdown"))) if "shutdown" in parts else None,
        boots=tuple(match.group(1) for match in map(_LISTED.match, lines("boots")) if match),
        complete="end" in parts,
    )


def _json(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _stops(lines: Iterable[str]) -> Iterable[Stop]:
    for line in lines:
        entry = _json(line)
        message = entry.get("MESSAGE")
        if isinstance(message, str):
            try:
                at = int(entry.get("__MONOTONIC_TIMESTAMP", 0)) / 1e6
            except (TypeError, ValueError):
                at = 0.0
            job = (entry.get("JOB_TYPE"), entry.get("JOB_RESULT"))
            stopped = entry.get("MESSAGE_ID") == _UNIT_STOPPED or job == ("stop", "done")
            yield Stop(at, message, str(entry.get("UNIT", "")), stopped)


def _stack(facts: Facts, stack: str) -> Mapping[str, Any]:
    stacks = facts.status.get("stacks")
    for one in stacks if isinstance(stacks, list) else ():
        if isinstance(one, dict) and one.get("name") == stack:
            return one
    return {}


def _names(about: object, key: str) -> set[str]:
    """Of hosts, in a list of a node's JSON."""
    entries = about.get(key) if isinstance(about, dict) else None
    listed = entries if isinstance(entries, list) else []
    found = {str(one.get("name", "")) for one in listed if isinstance(one, dict)}
    return found - {"", "peer"}  # DRBD 8.4's own word, where the configuration has not said more


def _peers(own: Mapping[str, Any], node: str) -> tuple[set[str], bool]:
    """Whom a node has as peers in its stack, and whether that is DRBD's word.  Names that DRBD has for connections may
    be none of hosts; then O2CB's nodes say it, as they do where DRBD is down."""
    peers, others = _names(own.get("drbd"), "peers"), _names(own.get("o2cb"), "nodes") - {node}
    return (others, False) if others and not peers & others else (peers, True)


def pair(stacks: Mapping[str, Mapping[str, Any]]) -> tuple[str, bool]:
    """Whether two nodes share a stack, by what `status` says of it on each (name -> entry): what contradicts that, in
    words, and whether one of them names the other.  A node that is down in DRBD and O2CB knows of nobody."""
    for key, word in (("resource", "resource"), ("mountpoint", "mount point"), ("cluster", "cluster")):
        found = {name: str(own.get(key) or "") for name, own in stacks.items()}
        if len(set(filter(None, found.values()))) > 1:
            return f"its {word} is {' and '.join(f'{value} on {name}' for name, value in found.items())}", True
    named = False
    for name, own in stacks.items():
        peers, by_drbd = _peers(own, name)
        for other in stacks:
            if other == name or not peers:
                continue
            if other not in peers:
                whom = "DRBD's peer there is" if by_drbd else "O2CB's other nodes there are"
                return f"{name} does not know {other}: {whom} {', '.join(sorted(peers))}", True
            named = True
    return "", named


def excerpt(lines: Sequence[str]) -> str:
    """The last lines of a journal, as a finding has them."""
    return "\n".join(lines[-MOST_LINES:])


def unit_of(facts: Facts, stack: str, layer: str) -> str:
    """The unit of a stack's layer; "" where it has none."""
    for one in _stack(facts, stack).get("layers", ()):
        if one.get("layer") == layer:
            return str(one.get("unit", ""))
    return ""


def settled(facts: Facts, stack: str) -> bool:
    """Nothing is to be waited for any more: up and in step, or in a state that no time mends."""
    kinds = {finding.kind for finding in judge("", facts, stack)}
    return SPLIT_BRAIN in kinds or not kinds & {STACK_DOWN, NOT_UP_TO_DATE, UNREACHABLE}


def judge(node: str, facts: Facts, stack: str) -> list[Finding]:
    """All that should not be on a node that is up, but for its last shutdown."""
    if not facts.complete:
        text = "it has not answered all questions about its state"
        if facts.name not in ("", node):
            text = f"it does not answer: ssh leads to a host that calls itself {facts.name}"
        return [Finding(node, UNREACHABLE, text)]
    found = []
    own = _stack(facts, stack)
    if own.get("state") != "up":
        layers = [f"{one.get('layer')} {one.get('state')}" for one in own.get("layers", ()) if one.get("state") != "up"]
        why = f": {', '.join(layers)}" if layers else ""
        reason = (own.get("drbd") or {}).get("reason", "")
        text = f"the stack {stack} is {own.get('state', 'not known there')}{why}" + (f"; {reason}" if reason else "")
        found.append(Finding(node, STACK_DOWN, text, excerpt(facts.journal)))
    elif own.get("mount") is None or own["mount"].get("answers") is False:
        text = "its file system does not answer" if own.get("mount") else "another file system is mounted in its place"
        found.append(Finding(node, STACK_DOWN, f"the stack {stack} is up, but {text}"))
    found += _drbd(node, own)
    found += _units(node, facts)
    if facts.cycles:
        found.append(Finding(node, ORDERING_CYCLE, "systemd has found an ordering cycle", excerpt(facts.cycles)))
    elif not facts.heard:
        text = "whether systemd has found an ordering cycle is not known: the journal has nothing of this boot"
        found.append(Finding(node, ORDERING_CYCLE, text))
    return found


def _drbd(node: str, own: Mapping[str, Any]) -> list[Finding]:
    drbd = own.get("drbd") or {}
    if drbd.get("verdict") == "split-brain":
        return [Finding(node, SPLIT_BRAIN, str(drbd.get("reason") or "split brain"))]
    wrong = [f"its disk is {disk}" for disk in drbd.get("disks", ()) if disk != "UpToDate"]
    if not drbd.get("disks"):
        wrong.append("DRBD has no disk")
    peers = drbd.get("peers", ())
    if not peers:
        wrong.append("DRBD has no peer")
    for peer in peers:
        for key, good in (("connection", "Connected"), ("disk", "UpToDate"), ("replication", "Established")):
            state = peer.get(key, "")
            if state != good and (key in peer or key != "replication"):
                wrong.append(f"{key} of the peer is {state or 'unknown'}" if key != "connection" else f"it is {state}")
    if drbd.get("suspended"):
        wrong.append(f"its I/O is frozen ({drbd['suspended']})")
    return [Finding(node, NOT_UP_TO_DATE, "; ".join(wrong))] if wrong else []


def _units(node: str, facts: Facts) -> list[Finding]:
    found = []
    for unit in facts.failed:
        # systemd names a unit without its ending in few places, so all lines are taken where none has the name.
        lines = [line for line in facts.journal if unit.rpartition(".")[0] in line] or list(facts.journal)
        found.append(Finding(node, FAILED_UNIT, f"{unit} has failed", excerpt(lines)))
    if facts.follow != "active":
        found.append(Finding(node, FAILED_UNIT, f"{FOLLOW} is {facts.follow or 'not known there'}"))
    return found


def shutdown(node: str, facts: Facts, stack: str) -> list[Finding]:
    """What the shutdown before this boot should not have done: `facts` was asked for it.  The order is that of the
    jobs that systemd ended, whatever its version calls them."""
    said = facts.shutdown or ()
    if not said:
        text = "the journal of the boot before is not there; 'mkdir /var/log/journal && journalctl --flush' keeps it"
        return [Finding(node, UNCLEAN_SHUTDOWN, text)]
    begins = [place for place, one in enumerate(said) if one.stopped and one.unit == _FIRST]
    if not begins:
        text = f"{_FIRST} was not stopped before it went down"
        return [Finding(node, UNCLEAN_SHUTDOWN, text, _lines(said[-20:]))]
    begin = begins[-1]
    going = said[begin:]
    found = []
    bad = [one for one in going if _BAD.search(one.message) and not _HARMLESS.search(one.message)]
    if bad:
        found.append(Finding(node, UNCLEAN_SHUTDOWN, bad[0].message, _lines(bad)))
    places = {one.unit: place for place, one in enumerate(going) if one.stopped}
    for layer, earlier in STOPS_AFTER.items():
        unit = unit_of(facts, stack, layer)
        if not unit:
            continue
        place = places.get(unit)
        if place is None:
            found.append(Finding(node, UNCLEAN_SHUTDOWN, f"{unit} was not stopped", _lines(going[-20:])))
            continue
        for other in (unit_of(facts, stack, one) for one in earlier):
            if place < places.get(other, -1):
                found.append(Finding(node, UNCLEAN_SHUTDOWN, f"{unit} was stopped before {other}", _lines(going)))
    return found


def between(facts: Facts, before: str) -> tuple[str, ...]:
    """The boots that the journal has between one, by its id, and that in which the node has answered."""
    first, last = (boot.replace("-", "") for boot in (before, facts.boot_id))
    if first not in facts.boots or last not in facts.boots:
        return ()
    return facts.boots[facts.boots.index(first) + 1 : facts.boots.index(last)]


def _lines(said: Sequence[Stop]) -> str:
    return excerpt([f"[{one.at:12.6f}] {one.message}" for one in said])


def layers(facts: Facts, stack: str) -> tuple[float | None, tuple[Layer, ...]]:
    """When the stack was mounted in this boot (seconds after the kernel's start), and its layers."""
    for boot in facts.timeline.get("boots", ()):
        for one in boot.get("stacks", ()):
            if one.get("stack") != stack:
                continue
            for start in one.get("starts", ())[:1]:
                found = tuple(
                    Layer(str(each["layer"]), each["began"], each["ended"], str(each.get("result", "")))
                    for each in start.get("layers", ())
                    if each.get("began") is not None and each.get("ended") is not None
                )
                return start.get("mounted"), found
    return None, ()
