"""What has to be the same on both hosts, fetched from the other one with a single command over ssh.

The other host needs a shell and nothing of ours.  Its files are compared by what they say, not by their text.
"""

from __future__ import annotations

import fnmatch
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from drbdocfs_boot import drbdconf, lean, values
from drbdocfs_boot.checks import cluster, resource
from drbdocfs_boot.checks.configuration import SECOND, key_place
from drbdocfs_boot.checks.facts import CLUSTER_CONF, DRBD_CONF, Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Book, Finding, Rule
from drbdocfs_boot.drbdconf import SECRET, Configuration, Statement
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import o2cb, ssh
from drbdocfs_boot.tools.failure import Failure

BOOK = Book(
    peer_unreachable=Rule(
        WARNING,
        "the other host could not be asked",
        "Whether both sides' files agree was not looked at.",
        "let root log in there by key, or name the way: --peer DESTINATION",
    ),
    peer_unknown=Rule(
        WARNING,
        "it is not known who the other host is",
        "Whether both sides' files agree was not looked at.",
        "--peer DESTINATION, or correct the resource first",
    ),
    peer_hidden=Rule(
        NOTE,
        "a file of the other host could not be read",
        "What it says was not compared.",
        "a DESTINATION that logs in as root",
    ),
    peer_name=Rule(
        ERROR,
        "the other host has another name",
        "DRBD and O2CB know hosts by the output of 'uname -n'; there the resource is for somebody else.",
        "the name that 'uname -n' prints there in 'on HOST' and in cluster.conf, on both hosts",
    ),
    peer_resource=Rule(
        ERROR,
        "the resource differs between the hosts",
        "What both sides must agree on is compared at every connect; DRBD goes StandAlone where it differs.",
        "make the file the same on both hosts, then 'drbdadm adjust' on both",
    ),
    peer_resource_missing=Rule(
        ERROR,
        "the other host does not have the resource",
        "There is nobody to connect to.",
        "copy the resource's file to the other host",
    ),
    peer_cluster_conf=Rule(
        ERROR,
        "cluster.conf differs between the hosts",
        "Nodes that know each other by other numbers or addresses do not connect, and the second mount fails.",
        "make the file the same on both hosts",
    ),
    peer_o2cb_timing=Rule(
        ERROR,
        "O2CB's time limits differ between the hosts",
        "o2net compares them at every connect and refuses: the second mount fails.",
        "the same values on both hosts, in /etc/default/o2cb",
    ),
    peer_configuration=Rule(
        WARNING,
        "our configuration differs between the hosts",
        "The file system may be mounted elsewhere, or otherwise, on the other host.",
        "make the section the same on both hosts",
    ),
    peer_fencing=Rule(
        ERROR,
        "the two hosts decide otherwise when the link is lost",
        "Each decides by its own file and cannot ask the other. With two survivors both go on: a split brain.",
        "the same section of the stack and the same handlers { } of the resource on both hosts",
    ),
    peer_no_stack=Rule(
        WARNING,
        "the other host has no such stack",
        "Nothing brings the file system up there after a reboot.",
        "copy the configuration, and install drbdocfs-boot there",
    ),
    peer_driver=Rule(
        WARNING,
        "another generation of DRBD",
        "DRBD 8.4 and 9 understand each other for an upgrade; they differ in syntax, and in how they connect again.",
        "the same generation on both hosts",
    ),
    peer_kernel=Rule(
        NOTE,
        "another kernel",
        "OCFS2's network protocol has to be the same; kernels of one distribution release have the same.",
        "the same kernel on both hosts after an upgrade",
    ),
    peer_clock=Rule(
        WARNING,
        "the clocks differ",
        "Files get times from the future on one of them, and which host wrote last cannot be told from logs.",
        "NTP (systemd-timesyncd, chrony) on both hosts",
    ),
)

LIMIT = 40.0  # seconds for the whole command
CLOCK = 2.0  # seconds of difference that do no harm
# The other host may be of another distribution than the one that this library was built for. Put together, so that
# setup.py, which writes this host's place into the library, leaves both.
O2CB_SETTINGS = tuple(f"/etc/{directory}/o2cb" for directory in ("default", "sysconfig"))
# What both sides of a connection must have alike (DRBD compares them in its handshake), by section and name.
MUST = {
    ("net", name)
    for name in (
        "protocol", "allow-two-primaries", "after-sb-0pri", "after-sb-1pri", "after-sb-2pri", "rr-conflict",
        "cram-hmac-alg", "shared-secret", "data-integrity-alg", "always-asbp",
    )
}  # fmt: skip
# Keys of a stack that both sides should have alike; the first ones they must.
MUST_KEYS = ("resource", "cluster")
SHOULD_KEYS = ("mountpoint", "mount_options", "when_alone", "fence_options")
# Who goes on when the link is lost: what peer-fencing is about.
FENCING_KEYS = ("survivor", "link_grace", "fence_agent", "witness")

# Files by name, each after a line with the mark; what is not there is left out.
_SCRIPT = """\
mark=$1
show() { [ -e "$1" ] || return 0; if [ -r "$1" ]; then echo; echo "$mark file $1"; cat -- "$1"
else echo; echo "$mark hidden $1"; fi; }
echo "$mark clock $(date +%s.%N)"
echo "$mark name $(uname -n)"
echo "$mark kernel $(uname -r)"
echo "$mark driver $(cat /sys/module/drbd/version 2>/dev/null || modinfo -F version drbd 2>/dev/null)"
shift
for name in "$@" /etc/drbd.d/* /etc/drbdocfs/conf.d/*.conf; do [ -d "$name" ] || show "$name"; done
exit 0
"""


@dataclass
class Answer:
    """What the other host says.  ``clock``: its time, seconds since 1970; 0.0 where it gave none."""

    name: str = ""
    kernel: str = ""
    driver: str = ""
    clock: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)

    def drbd(self) -> Configuration:
        """Its DRBD configuration."""
        return drbdconf.load(self.files.get, lambda pattern: fnmatch.filter(self.files, pattern))


def parse(text: str, mark: str) -> Answer:
    """The answer of the script."""
    answer = Answer()
    said: dict[str, str] = {}
    # A file's text is followed by an empty line of the script's own.
    for part in ("\n" + text).split(f"\n{mark} ")[1:]:
        head, _, body = part.partition("\n")
        kind, _, value = head.partition(" ")
        if kind == "file":
            answer.files.setdefault(value, body)
        elif kind == "hidden":
            answer.hidden.append(value)
        else:
            said[kind] = value
    answer.name, answer.kernel, answer.driver = (said.get(kind, "") for kind in ("name", "kernel", "driver"))
    try:
        answer.clock = float(said.get("clock", "0"))
    except ValueError:
        pass  # a date(1) without %N
    return answer


def find(facts: Facts, stacks: list[Stack], destination: str = "") -> Iterator[Finding]:
    """Ask the other host of each stack; ``destination`` where it is not to be guessed from the resource."""
    hosts: dict[tuple[str, ...], list[Stack]] = {}
    for stack in stacks:
        ways = (destination,) if destination else _ways(facts, stack)
        if not ways:
            message = f"resource {stack.resource} does not tell who the other host is"
            yield BOOK.finding("peer-unknown", "", message, stack.name)
            continue
        hosts.setdefault(ways, []).append(stack)
    for ways, theirs in hosts.items():
        try:
            answer, where, began, ended = _ask(facts, ways)
        except Failure as failure:
            yield BOOK.finding("peer-unreachable", ways[0], failure.message)
            continue
        yield from _host(facts, answer, where, theirs)
        yield from _clock(facts, answer, where, began, ended)
        yield from _timings(facts, answer, where)
        yield from _cluster_conf(facts, answer, where, theirs)
        for stack in theirs:
            yield from _resource(facts, answer, where, stack)
            yield from _stack(facts, answer, where, stack)


def _ways(facts: Facts, stack: Stack) -> tuple[str, ...]:
    """How to get to the stack's other host: its name first, as the address is that of the link between the two."""
    found = resource.find(facts.drbd, stack.resource)
    if found is None or facts.own(found) is None or len(facts.peers(found)) != 1:
        return ()
    peer = facts.peers(found)[0]
    names = (peer.name, *(e.address for e in peer.endpoints[:1]))
    return tuple(ssh.destination(name) for name in names if "\0" not in name)


def _ask(facts: Facts, ways: tuple[str, ...]) -> tuple[Answer, str, float, float]:
    """(its answer, which way, clock before, clock after); raises Failure of the first way where none leads there."""
    mark = f"=={secrets.token_hex(16)}"
    names = [DRBD_CONF, CLUSTER_CONF, *O2CB_SETTINGS, lean.MAIN_FILE]
    names += [file for file in facts.drbd.files if file not in names and not file.startswith("/etc/drbd.d/")]
    failures = []
    for way in ways:
        began = time.time()
        try:
            result = ssh.run(way, ["sh", "-c", _SCRIPT, "sh", mark, *names], LIMIT)
        except Failure as failure:
            failures.append(failure)
            continue
        answer = parse(result.out, mark)
        if not answer.name:
            raise Failure(69, f"{way} gave no answer: {result.said or f'exit {result.code}'}")
        return answer, way, began, time.time()
    raise failures[0]


def _host(facts: Facts, answer: Answer, where: str, stacks: list[Stack]) -> Iterator[Finding]:
    if answer.name == facts.host:
        message = f"{where} is '{answer.name}', as this host is: it leads here, or both have the same name"
        yield BOOK.finding("peer-name", where, message)
        return
    for stack in stacks:
        found = resource.find(facts.drbd, stack.resource)
        if found is None or facts.own(found) is None:
            continue
        if facts.named(found.hosts, answer.name) not in found.hosts:
            names = " and ".join(host.name for host in facts.peers(found))
            message = f"it is '{answer.name}' there (uname -n), resource {found.name} has {names}"
            yield BOOK.finding("peer-name", where, message, stack.name)
    for name in answer.hidden:
        yield BOOK.finding("peer-hidden", where, f"{name} could not be read there")
    driver = _driver(facts)
    if driver and answer.driver and driver != answer.driver:
        severity = WARNING if driver.partition(".")[0] != answer.driver.partition(".")[0] else NOTE
        message = f"DRBD {driver} here, {answer.driver} there"
        yield BOOK.finding("peer-driver", where, message, severity=severity)
    kernel = facts.read("/proc/sys/kernel/osrelease")
    if kernel and answer.kernel and kernel != answer.kernel:
        yield BOOK.finding("peer-kernel", where, f"kernel {kernel} here, {answer.kernel} there")


def _driver(facts: Facts) -> str:
    version = facts.read("/sys/module/drbd/version")
    if version is None:
        said = facts.tool("modinfo", "-F", "version", "drbd")
        version = said.out.strip() if said is not None and said.code == 0 else ""
    return version


def _clock(facts: Facts, answer: Answer, where: str, began: float, ended: float) -> Iterator[Finding]:
    """The other clock was read between the two moments, so only what lies outside of them is a difference."""
    if not answer.clock or not facts.live:
        return
    ahead, behind = answer.clock - ended, began - answer.clock
    if max(ahead, behind) > CLOCK:
        direction = "ahead of" if ahead > behind else "behind"
        message = f"its clock is at least {max(ahead, behind):.1f} s {direction} this one"
        yield BOOK.finding("peer-clock", where, message)


def _timings(facts: Facts, answer: Answer, where: str) -> Iterator[Finding]:
    if facts.hidden(o2cb.SETTINGS):
        return
    file, ours = cluster.settings(facts)
    theirs: dict[str, tuple[int, str]] = {}
    for name in O2CB_SETTINGS:
        if name in answer.hidden:
            return
        if name in answer.files:
            theirs = cluster.assignments(answer.files[name])
            break
    here, there = cluster.timings(ours), cluster.timings(theirs)
    for key, attribute in o2cb.TIMINGS.items():
        if here[attribute] != there[attribute]:
            place = f"{file}:{ours[key][0]}" if key in ours else o2cb.SETTINGS
            message = f"{key} is {here[attribute]} here, {there[attribute]} at {where}"
            yield BOOK.finding("peer-o2cb-timing", place, message)


def _cluster_conf(facts: Facts, answer: Answer, where: str, stacks: list[Stack]) -> Iterator[Finding]:
    text = facts.read(CLUSTER_CONF)
    if text is None or CLUSTER_CONF in answer.hidden:
        return
    if CLUSTER_CONF not in answer.files:
        yield BOOK.finding("peer-cluster-conf", where, f"there is no {CLUSTER_CONF} there")
        return
    for name in sorted({stack.cluster for stack in stacks}):
        here, there = (_facts_of(name, one) for one in (text, answer.files[CLUSTER_CONF]))
        for key in sorted({*here, *there}):
            line, value = here.get(key, (0, "nothing"))
            other = there.get(key, (0, "nothing"))[1]
            if value != other:
                place = f"{CLUSTER_CONF}:{line}" if line else CLUSTER_CONF
                message = f"cluster {name}, {' '.join(key)}: {value} here, {other} at {where}"
                yield BOOK.finding("peer-cluster-conf", place, message)


def _facts_of(name: str, text: str) -> dict[tuple[str, ...], tuple[int, str]]:
    """What a cluster.conf says of a cluster: (node, its name, key) -> (line, value)."""
    found: dict[tuple[str, ...], tuple[int, str]] = {}
    for one in cluster.read(text)[0]:
        if one.kind == "cluster" and one.get("name") == name:
            found["heartbeat_mode",] = one.keys.get("heartbeat_mode", (one.line, "local"))
        elif one.kind == "node" and one.get("cluster") == name:
            for key in ("number", "ip_address", "ip_port"):
                found["node", one.get("name"), key] = one.keys.get(key, (one.line, ""))
    return found


# --- the resource -----------------------------------------------------------------------------------------------


def _resource(facts: Facts, answer: Answer, where: str, stack: Stack) -> Iterator[Finding]:
    ours = resource.find(facts.drbd, stack.resource)
    if ours is None:
        return
    configuration = answer.drbd()
    theirs = resource.find(configuration, stack.resource)
    if theirs is None:
        if not any(name.startswith("/etc/drbd") for name in answer.hidden):
            message = f"resource {stack.resource} is not configured at {where}"
            yield BOOK.finding("peer-resource-missing", where, message, stack.name)
        return
    here, there = settled(facts.drbd, ours.statement), settled(configuration, theirs.statement)
    for key in sorted({*here, *there}):
        one, other = here.get(key), there.get(key)
        if _words(one) == _words(other):
            continue
        shown = [_shown(key, statement) for statement in (one, other)]
        places = [s.place for s in (one, other) if s is not None]
        message = f"{' '.join(key)}: {shown[0]} here, {shown[1]} at {where}"
        # Which disk is below, and what only this host does, may differ; what is agreed on at the connect may not.
        must = key[-2:] in MUST or key[-1] in ("address", "fencing")
        severity = ERROR if must else NOTE if key[-1] in ("disk", "meta-disk") else WARNING
        yield BOOK.finding("peer-resource", places[0], message, stack.name, severity=severity)
    one, other = (each.setting("handlers", "fence-peer") for each in (ours, theirs))
    if _words(one) != _words(other):
        shown = ["nothing" if s is None else s.shown.partition(" ")[2] for s in (one, other)]
        place = one.place if one is not None else ours.statement.place
        message = f"handlers fence-peer: {shown[0]} here, {shown[1]} at {where}"
        yield BOOK.finding("peer-fencing", place, message, stack.name)


def settled(configuration: Configuration, statement: Statement) -> dict[tuple[str, ...], Statement]:
    """Path of sections and name -> the statement in force, for a resource over ``common``."""
    found: dict[tuple[str, ...], Statement] = {}
    for top in (*configuration.sections("common"), statement):
        _settle(found, top, ())
    return found


# Sections that say what one host does, and nothing about the connection.
_OWN = ("handlers", "startup", "skip")


def _settle(found: dict[tuple[str, ...], Statement], place: Statement, path: tuple[str, ...]) -> None:
    for child in place.children or ():
        if not child.words or child.words[0] in _OWN:
            continue
        if child.children is not None:
            _settle(found, child, (*path, child.shown))
        elif child.words[0] == "host" and len(child.words) > 1:
            found[(*path, *child.words[:2])] = child
        else:
            # Protocol stood in the resource itself before 8.4 and means the same there.
            section = ("net",) if not path and child.words[0] == "protocol" else path
            found[(*section, child.words[0])] = child


def _words(statement: Statement | None) -> tuple[str, ...]:
    """What a setting says, whichever of its forms it has: ``x;`` is ``x yes;``, ``device minor 0`` /dev/drbd0."""
    if statement is None:
        return ()
    words = tuple(word for word in statement.words[1:] if word != "ipv4")
    if statement.words[0] == "device" and "minor" in words[:-1]:
        return ("/dev/drbd" + words[words.index("minor") + 1],)
    return words or ("yes",)


def _shown(key: tuple[str, ...], statement: Statement | None) -> str:
    if statement is None:
        return "nothing"
    return "one value" if key[-1] == SECRET else statement.shown.partition(" ")[2] or "yes"


# --- our own configuration ---------------------------------------------------------------------------------------


def _stack(facts: Facts, answer: Answer, where: str, stack: Stack) -> Iterator[Finding]:
    if any(name.startswith(lean.DIRECTORY) for name in answer.hidden):
        return
    files = [name for name in (lean.MAIN_FILE, *sorted(answer.files)) if name.startswith(lean.DIRECTORY + "/")]
    sections = [s for name in dict.fromkeys(files) for s in lean.scan(name, answer.files.get(name, "")).sections]
    theirs = next((s for s in sections if s.name == stack.name), None)
    place = f"{stack.file}:{stack.line}"
    if theirs is None:
        yield BOOK.finding("peer-no-stack", place, f"there is no stack '{stack.name}' at {where}", stack.name)
        return
    for key in (*MUST_KEYS, *SHOULD_KEYS, *FENCING_KEYS):
        ours = getattr(stack, key)
        rule = values.KEYS[key]
        found = theirs.entries[key][1] if key in theirs.entries else rule.default or ""
        try:
            other: str | int = rule.check(found)
        except values.Refused:
            other = values.show(found)
        if ours != other:
            here, there = (f"{v / SECOND:g} s" if isinstance(v, int) else v or "empty" for v in (ours, other))
            message = f"{key} is {here} here, {there} at {where}"
            if key in FENCING_KEYS:
                yield BOOK.finding("peer-fencing", key_place(facts, stack, key), message, stack.name)
            else:
                severity = ERROR if key in MUST_KEYS else WARNING
                yield BOOK.finding("peer-configuration", place, message, stack.name, severity=severity)
