"""O2CB: cluster.conf line by line, its nodes against DRBD's hosts, and its time limits against DRBD's.

What the o2cb tool refuses was tried with ocfs2-tools 1.8.7, whose own words are an error number and no line.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field

from drbdocfs_boot.checks import resource
from drbdocfs_boot.checks.configuration import key_place
from drbdocfs_boot.checks.drbd import nearly
from drbdocfs_boot.checks.facts import CLUSTER_CONF, Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Book, Finding, Rule
from drbdocfs_boot.checks.network import own_networks
from drbdocfs_boot.checks.resource import Resource, whole
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import o2cb

_REFUSED = "The o2cb tool refuses the whole file, with an error number and no line: the cluster does not come up."

BOOK = Book(
    cluster_conf_missing=Rule(
        ERROR,
        "there is no cluster.conf",
        "O2CB knows no cluster, so OCFS2 cannot be mounted.",
        "write /etc/ocfs2/cluster.conf, the same on both hosts; 'drbdocfs create' does it",
    ),
    cluster_conf_syntax=Rule(
        ERROR,
        "the text is no cluster.conf",
        _REFUSED,
        "'cluster:' and 'node:' at the beginning of a line, their keys below each after a tab, an empty line between",
    ),
    cluster_conf_ignored=Rule(
        WARNING,
        "a stanza that o2cb does not know",
        "o2cb ignores it in silence, with all that stands below it.",
        "cluster:, node: or heartbeat:, in small letters",
    ),
    cluster_refused=Rule(
        ERROR,
        "o2cb refuses cluster.conf",
        _REFUSED,
        "compare with the example in ocfs2.cluster.conf(5)",
    ),
    cluster_undeclared=Rule(
        ERROR,
        "the stack's cluster is not in cluster.conf",
        "The cluster cannot be brought online, so the file system is not mounted.",
        "make 'cluster' of the stack and 'name' below 'cluster:' the same",
    ),
    cluster_name=Rule(
        ERROR,
        "a cluster name that o2cb does not take",
        "o2cb registers a cluster only if its name is of letters and digits, 16 at most.",
        "another name, in cluster.conf, in the stack and on the device ('tunefs.ocfs2 --update-cluster-stack')",
    ),
    cluster_several=Rule(
        ERROR,
        "the stacks of this host are in several clusters",
        "The kernel has room for one cluster: the second one cannot come online, and its stacks fail at each boot.",
        "the same 'cluster' in all stacks of this host; what is on the disk is changed by 'tunefs.ocfs2"
        " --update-cluster-stack DEVICE', mounted nowhere, with the remaining cluster online",
    ),
    cluster_twice=Rule(ERROR, "a cluster is declared twice", _REFUSED, "remove one of the two"),
    cluster_node_missing=Rule(
        ERROR,
        "a host is no node of the cluster",
        "A node is known by the name that 'uname -n' prints. Without its own node this host cannot bring the cluster "
        "online; without the peer's, the peer cannot mount beside it.",
        "a stanza 'node:' for each host, with 'name' as 'uname -n' prints it there",
    ),
    cluster_node_twice=Rule(
        ERROR,
        "two nodes share what must be their own",
        "Nodes are told apart by name, number and address; the kernel takes only one of the two.",
        "another value for one of them, the same on both hosts",
    ),
    cluster_node_value=Rule(
        ERROR,
        "a value that the kernel does not take",
        "The node cannot be registered, so the cluster does not come online.",
        "number 0 to 254, ip_port 1 to 65535",
    ),
    cluster_node_orphan=Rule(
        WARNING,
        "a node of a cluster that is not declared",
        "o2cb ignores it in silence.",
        "correct 'cluster' of the node",
    ),
    cluster_count=Rule(
        WARNING,
        "node_count is not the number of nodes",
        "The tools that write the file count on it.",
        "node_count = the number of the stanzas 'node:' of this cluster",
    ),
    cluster_many=Rule(
        NOTE,
        "more than two nodes",
        "A stack has two hosts; the others can never mount the file system.",
        "keep the two only, unless another file system of the cluster needs them",
    ),
    cluster_ports=Rule(
        NOTE,
        "the nodes use different ports",
        "It works, but a firewall has to know both.",
        "the same ip_port for all nodes",
    ),
    cluster_address_not_here=Rule(
        ERROR,
        "the node's address is not on this host",
        "O2CB listens on that address; without it the nodes do not connect and the mount fails.",
        "correct ip_address, the same on both hosts; 'ip address' shows what this host has",
    ),
    cluster_global=Rule(
        NOTE,
        "global heartbeat",
        "A node that loses a global region resets itself, whatever else it serves. The region has to be there as soon "
        "as the cluster is online.",
        "heartbeat_mode = local, unless the region is on a device of its own",
    ),
    hosts_loopback=Rule(
        NOTE,
        "a host's name leads to the loopback address",
        "Debian's installer writes 127.0.1.1 for the host's own name. DRBD and O2CB use the numbers in their own "
        "files, but whoever uses the name, ssh to the peer among them, ends on this host.",
        "the real address beside the name in /etc/hosts",
    ),
    o2cb_timing=Rule(
        WARNING,
        "a time limit that O2CB does not take",
        "It is ignored, or the kernel refuses it, so that the two nodes may have different limits; then o2net does not "
        "connect.",
        "O2CB_HEARTBEAT_THRESHOLD 7 or more, O2CB_IDLE_TIMEOUT_MS 5000 or more, keepalive 1000 or more and below idle, "
        "reconnect 2000 or more; the same on both hosts",
    ),
    o2cb_dead_time=Rule(
        WARNING,
        "the disk's limit is not longer than the network's",
        "The nodes have to notice a lost network before one takes the other for dead by its disk, or the wrong one "
        "resets.",
        "dead time, (O2CB_HEARTBEAT_THRESHOLD - 1) * 2 s, longer than O2CB_IDLE_TIMEOUT_MS",
    ),
    o2cb_drbd_timing=Rule(
        WARNING,
        "DRBD notices a dead peer later than OCFS2 allows",
        "Until DRBD gives the peer up, every write waits, OCFS2's heartbeat with them. When that takes longer than "
        "O2CB's dead time, the healthy node resets itself, too.",
        "lower timeout, ko-count or ping-int in net { }, or raise O2CB_HEARTBEAT_THRESHOLD, on both hosts",
    ),
    o2cb_bootcluster=Rule(
        WARNING,
        "the init script is told of another cluster",
        "The kernel has room for one cluster: if o2cb's init script brings that one online at boot, ours cannot be.",
        "O2CB_ENABLED=false, or the same cluster as in the stack",
    ),
    o2cb_stack=Rule(
        ERROR,
        "another cluster stack than o2cb",
        "The mount needs the stack o2cb; the kernel has room for one.",
        "O2CB_STACK=o2cb",
    ),
    o2cb_other_online=Rule(
        ERROR,
        "another cluster is online",
        "The kernel has room for one cluster, so the stack's cannot come online.",
        "'o2cb unregister-cluster NAME' once nothing of it is mounted",
    ),
    o2cb_live_differs=Rule(
        WARNING,
        "the running cluster is not as its file says",
        "After the next reboot it is another one; until then the peer may refuse to connect.",
        "stop the stack and start it again, one host after the other",
    ),
)

KEYS = {
    "cluster": ("node_count", "heartbeat_mode", "name"),
    "node": ("ip_port", "ip_address", "number", "name", "cluster"),
    "heartbeat": ("region", "cluster"),
}
REQUIRED = {
    "cluster": ("node_count", "name"),
    "node": ("ip_port", "ip_address", "number", "name"),
    "heartbeat": ("region",),
}
NUMBERS = ("node_count", "ip_port", "number")
# The kernel's defaults and what o2cb.sysconfig(5) allows at least.
DEFAULTS = {
    "idle_timeout_ms": 30000,
    "keepalive_delay_ms": 2000,
    "reconnect_delay_ms": 2000,
    "heartbeat/dead_threshold": 31,
}
LEAST = {"idle_timeout_ms": 5000, "keepalive_delay_ms": 1000, "reconnect_delay_ms": 2000, "heartbeat/dead_threshold": 7}
BEAT = 2  # seconds between two heartbeats


@dataclass
class Stanza:
    """A stanza with the line of each key."""

    kind: str
    line: int
    keys: dict[str, tuple[int, str]] = field(default_factory=dict)

    def get(self, key: str) -> str:
        return self.keys.get(key, (0, ""))[1]

    def place(self, key: str = "") -> str:
        """FILE:LINE of a key, or of the stanza."""
        return f"{CLUSTER_CONF}:{self.keys[key][0] if key in self.keys else self.line}"


def read(text: str) -> tuple[list[Stanza], list[tuple[int, str]]]:
    """Stanzas that o2cb would take, and what it refuses: (line, why)."""
    stanzas: list[Stanza] = []
    refused: list[tuple[int, str]] = []
    inside = False
    for number, line in enumerate(text.split("\n"), 1):
        if number == 1 and line.startswith("\ufeff"):
            refused.append((1, "the file begins with a byte order mark"))
            line = line[1:]
        if line.endswith("\r"):
            refused.append((number, "the lines end in CR LF"))
            break
        stripped = line.strip()
        if line.startswith("#"):
            continue
        if not stripped:
            if line and inside:
                refused.append((number, "a line of blanks within a stanza"))
            elif not line:
                inside = False
            continue
        if line[0] not in " \t":
            if not stripped.endswith(":") or " " in stripped or "\t" in stripped:
                why = "a key without a tab before it" if "=" in stripped else "no stanza: 'cluster:' or 'node:'"
                refused.append((number, f"'{stripped}': {why}"))
                continue
            stanzas.append(Stanza(stripped[:-1], number))
            inside = True
            continue
        why = _setting(stanzas[-1] if stanzas and inside else None, number, stripped)
        if why:
            refused.append((number, f"'{stripped}': {why}"))
    for one in stanzas:
        for key in REQUIRED.get(one.kind, ()):
            if key not in one.keys:
                refused.append((one.line, f"'{one.kind}:' without {key}"))
    return stanzas, sorted(refused)


def _setting(stanza: Stanza | None, number: int, text: str) -> str:
    """Put a line's key into its stanza; why o2cb refuses it, else ""."""
    if text.startswith("#"):
        return "a comment has to begin in the first column"
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        return "a stanza has to begin in the first column" if text.endswith(":") else "no 'key = value'"
    if stanza is None:
        return "an empty line stands between it and its stanza"
    stanza.keys[key] = (number, value)
    if stanza.kind not in KEYS:
        return ""
    if key not in KEYS[stanza.kind]:
        return f"no key of '{stanza.kind}:'"
    if not value:
        return "no value"
    if key in NUMBERS and whole(value) is None:
        return "no number" + ("; a comment has to be a line of its own" if "#" in value else "")
    if key == "heartbeat_mode" and value not in ("local", "global"):
        return "local or global"
    if key == "ip_address":
        try:
            ipaddress.IPv4Address(value)
        except ValueError:
            return "no IPv4 address in numbers"
    return ""


def find(facts: Facts) -> Iterator[Finding]:
    stacks = facts.reading.stacks
    text = facts.read(CLUSTER_CONF)
    if not stacks:
        return
    if text is None:
        if not facts.hidden(CLUSTER_CONF):
            yield BOOK.finding("cluster-conf-missing", CLUSTER_CONF, f"there is no {CLUSTER_CONF}")
    else:
        stanzas, refused = read(facts.exact(CLUSTER_CONF) or text)
        for line, why in refused:
            yield BOOK.finding("cluster-conf-syntax", f"{CLUSTER_CONF}:{line}", why)
        for one in stanzas:
            if one.kind not in KEYS:
                yield BOOK.finding("cluster-conf-ignored", one.place(), f"'{one.kind}:' is no stanza of cluster.conf")
        yield from _clusters(stanzas)
        for stack in stacks:
            yield from _stack(facts, stack, stanzas)
        if not refused:
            yield from _tool(facts, sorted({s.cluster for s in stacks}), stanzas)
    yield from _several(facts)
    yield from _timing(facts)
    yield from _live(facts)
    yield from _names(facts)


def _clusters(stanzas: list[Stanza]) -> Iterator[Finding]:
    declared: dict[str, Stanza] = {}
    for one in stanzas:
        if one.kind != "cluster":
            continue
        name = one.get("name")
        if declared.setdefault(name, one) is not one:
            message = f"cluster {name} stands in line {declared[name].line} already"
            yield BOOK.finding("cluster-twice", one.place(), message)
    for one in stanzas:
        if one.kind == "node" and one.get("cluster") not in declared:
            told = f"cluster '{one.get('cluster')}'" if one.get("cluster") else "no cluster"
            message = f"node {one.get('name')} belongs to {told}, which is not declared"
            yield BOOK.finding("cluster-node-orphan", one.place("cluster"), message)


def _several(facts: Facts) -> Iterator[Finding]:
    by_cluster: dict[str, list[Stack]] = {}
    for stack in facts.reading.stacks:
        by_cluster.setdefault(stack.cluster, []).append(stack)
    if len(by_cluster) > 1:
        told = " and ".join(f"{name} (stack {', '.join(s.name for s in of)})" for name, of in by_cluster.items())
        second = [*by_cluster.values()][1][0]
        where = key_place(facts, second, "cluster")
        yield BOOK.finding("cluster-several", where, f"the stacks have the clusters {told}")


def _stack(facts: Facts, stack: Stack, stanzas: list[Stanza]) -> Iterator[Finding]:
    if not (stack.cluster.isalnum() and stack.cluster.isascii()):
        message = f"cluster = {stack.cluster} holds more than letters and digits"
        yield BOOK.finding("cluster-name", key_place(facts, stack, "cluster"), message, stack.name)
    declared = next((s for s in stanzas if s.kind == "cluster" and s.get("name") == stack.cluster), None)
    if declared is None:
        names = ", ".join(s.get("name") for s in stanzas if s.kind == "cluster") or "none"
        message = f"cluster = {stack.cluster}, but {CLUSTER_CONF} declares {names}"
        yield BOOK.finding("cluster-undeclared", key_place(facts, stack, "cluster"), message, stack.name)
        return
    nodes = [s for s in stanzas if s.kind == "node" and s.get("cluster") == stack.cluster]
    yield from _nodes(stack, nodes)
    count = declared.get("node_count")
    if whole(count) not in (None, len(nodes)):
        message = f"node_count = {count}, but cluster {stack.cluster} has {len(nodes)} nodes"
        yield BOOK.finding("cluster-count", declared.place("node_count"), message, stack.name)
    if declared.get("heartbeat_mode") == "global":
        message = f"cluster {stack.cluster} has heartbeat_mode = global"
        yield BOOK.finding("cluster-global", declared.place("heartbeat_mode"), message, stack.name)
    yield from _members(facts, stack, declared, nodes)


def _nodes(stack: Stack, nodes: list[Stanza]) -> Iterator[Finding]:
    seen: dict[tuple[str, str], Stanza] = {}
    for one in nodes:
        for key in ("name", "number", "ip_address"):
            value = one.get(key)
            before = seen.setdefault((key, value), one)
            if value and before is not one:
                message = f"{key} = {value} is also that of the node in line {before.line}"
                yield BOOK.finding("cluster-node-twice", one.place(key), message, stack.name)
        for key, least, most in (("number", 0, 254), ("ip_port", 1, 65535)):
            value = one.get(key)
            found = whole(value)
            if found is not None and not least <= found <= most:
                message = f"{key} = {value}; allowed: {least} to {most}"
                yield BOOK.finding("cluster-node-value", one.place(key), message, stack.name)
    ports = sorted({one.get("ip_port") for one in nodes if one.get("ip_port")})
    if len(ports) > 1:
        message = f"the nodes of cluster {stack.cluster} have the ports {', '.join(ports)}"
        yield BOOK.finding("cluster-ports", nodes[-1].place("ip_port"), message, stack.name)


def _members(facts: Facts, stack: Stack, declared: Stanza, nodes: list[Stanza]) -> Iterator[Finding]:
    """This host and its peer among the nodes."""
    names = [one.get("name") for one in nodes]
    if len(nodes) > 2:
        message = f"cluster {stack.cluster} has the nodes {', '.join(names)}"
        yield BOOK.finding("cluster-many", declared.place(), message, stack.name)
    found = resource.find(facts.drbd, stack.resource)
    peers = [host.name for host in facts.peers(found)] if found is not None and facts.own(found) else []
    for host, what in ((facts.host, "this host"), *((peer, "the other host of the resource") for peer in peers)):
        # DRBD 9 may know the other host by a name that is not quite its own.
        if (host if host == facts.host else facts.named(names, host)) in names:
            continue
        hint = nearly(host, names)
        near = next((one for one in nodes if hint.startswith(f"'{one.get('name')}' ")), declared)
        message = f"'{host}', {what}, is no node of cluster {stack.cluster}" + (f": {hint}" if hint else "")
        yield BOOK.finding("cluster-node-missing", near.place("name"), message, stack.name)
    networks = own_networks(facts)
    for one in nodes:
        if one.get("name") == facts.host and networks is not None:
            try:
                missing = ipaddress.ip_address(one.get("ip_address")) not in networks
            except ValueError:
                continue
            if missing:
                message = f"{one.get('ip_address')} is not on this host ({facts.host})"
                yield BOOK.finding("cluster-address-not-here", one.place("ip_address"), message, stack.name)


def _tool(facts: Facts, clusters: list[str], stanzas: list[Stanza]) -> Iterator[Finding]:
    """o2cb's own word, for what the reading above does not know."""
    declared = {s.get("name") for s in stanzas if s.kind == "cluster"}
    for cluster in clusters:
        said = facts.tool("o2cb", "list-cluster", cluster) if cluster in declared else None
        if said is not None and said.code != 0 and "denied" not in said.said:
            yield BOOK.finding("cluster-refused", CLUSTER_CONF, f"o2cb list-cluster {cluster}: {said.said}")


# --- time limits ------------------------------------------------------------------------------------------------


def settings(facts: Facts) -> tuple[str, dict[str, tuple[int, str]]]:
    """(file, {setting: (line, value)}) of the file of shell assignments; ("", {}) where there is none."""
    text = facts.read(o2cb.SETTINGS)
    return ("", {}) if text is None else (o2cb.SETTINGS, assignments(text))


def assignments(text: str) -> dict[str, tuple[int, str]]:
    """{setting: (line, value)} of such a file."""
    found = {}
    for number, line in enumerate(text.split("\n"), 1):
        key, equals, value = line.strip().partition("=")
        if equals and key.replace("_", "").isalnum():
            found[key] = (number, value.partition("#")[0].strip().strip("\"'"))
    return found


def timings(found: dict[str, tuple[int, str]]) -> dict[str, int]:
    """The limits in force by the names of configfs; what is no number is left to the kernel."""
    values = dict(DEFAULTS)
    for key, attribute in o2cb.TIMINGS.items():
        text = found.get(key, (0, ""))[1]
        limit = whole(text)
        if limit is not None:
            values[attribute] = limit
    return values


def _timing(facts: Facts) -> Iterator[Finding]:
    file, found = settings(facts)
    values = timings(found)
    for key, attribute in o2cb.TIMINGS.items():
        line, text = found.get(key, (0, ""))
        where = f"{file}:{line}"
        limit = whole(text)
        if text and limit is None:
            yield BOOK.finding("o2cb-timing", where, f"{key}={text} is no number")
        elif limit is not None and limit < LEAST[attribute]:
            yield BOOK.finding("o2cb-timing", where, f"{key}={text} is below {LEAST[attribute]}")
    idle, dead = values["idle_timeout_ms"] / 1000, (values["heartbeat/dead_threshold"] - 1) * BEAT
    threshold = values["heartbeat/dead_threshold"]
    where = file
    for key in ("O2CB_KEEPALIVE_DELAY_MS", "O2CB_IDLE_TIMEOUT_MS", "O2CB_HEARTBEAT_THRESHOLD"):
        where = f"{file}:{found[key][0]}" if key in found else where
    if values["keepalive_delay_ms"] >= values["idle_timeout_ms"]:
        message = f"keepalive {values['keepalive_delay_ms']} ms is not below idle {values['idle_timeout_ms']} ms"
        yield BOOK.finding("o2cb-timing", where, message)
    elif dead <= idle:
        message = f"dead time ({threshold} - 1) * {BEAT} s = {dead} s, network idle {idle:g} s"
        yield BOOK.finding("o2cb-dead-time", where, message)
    for stack in facts.reading.stacks:
        one = resource.find(facts.drbd, stack.resource)
        if one is not None:
            yield from _against_drbd(stack, one, threshold, dead)
    boot = found.get("O2CB_BOOTCLUSTER", (0, ""))
    clusters = {s.cluster for s in facts.reading.stacks}
    # Debian's package comes with O2CB_ENABLED=false, and "ocfs2" for a name.
    if found.get("O2CB_ENABLED", (0, ""))[1] == "true" and boot[1] and boot[1] not in clusters:
        message = f"O2CB_BOOTCLUSTER={boot[1]}, the stacks have {', '.join(sorted(clusters))}"
        yield BOOK.finding("o2cb-bootcluster", f"{file}:{boot[0]}", message)
    kind = found.get("O2CB_STACK", (0, ""))
    if kind[1] not in ("", "o2cb"):
        yield BOOK.finding("o2cb-stack", f"{file}:{kind[0]}", f"O2CB_STACK={kind[1]}")


def _against_drbd(stack: Stack, one: Resource, threshold: int, dead: int) -> Iterator[Finding]:
    """How long a write may wait for a peer that is gone, or that answers and does not write."""
    timeout = one.number("net", "timeout", 60) / 10
    ping, answer = one.number("net", "ping-int", 10), one.number("net", "ping-timeout", 5) / 10
    count = one.number("net", "ko-count", 7)
    limit = f"O2CB's dead time is ({threshold} - 1) * {BEAT} s = {dead} s"
    # Data that came in after the last ping puts off the next one by another ping-int (drbd_ack_receiver).
    total = max(2 * ping + answer, timeout)
    if total >= dead:
        terms = f"2 * ping-int {ping} + ping-timeout {answer:g}" if total > timeout else "timeout"
        message = f"a silent peer: {terms} = {total:g} s; {limit}"
        name = max(("ping-int", 2 * ping), ("timeout", timeout), ("ping-timeout", answer), key=lambda pair: pair[1])[0]
        yield BOOK.finding("o2cb-drbd-timing", one.place("net", name), message, stack.name)
    if count == 0:
        message = f"a peer that answers and does not write: ko-count 0 waits for ever; {limit}"
        yield BOOK.finding("o2cb-drbd-timing", one.place("net", "ko-count"), message, stack.name)
    elif count * timeout >= dead:
        total = count * timeout
        message = (
            f"a peer that answers and does not write: ko-count {count} * timeout {timeout:g} = {total:g} s; {limit}"
        )
        name = "ko-count" if one.setting("net", "ko-count") else "timeout"
        yield BOOK.finding("o2cb-drbd-timing", one.place("net", name), message, stack.name)


# --- what runs now ------------------------------------------------------------------------------------------------


def _live(facts: Facts) -> Iterator[Finding]:
    kind = facts.read(o2cb.STACK)
    if kind not in (None, "", "o2cb"):
        yield BOOK.finding("o2cb-stack", o2cb.STACK, f"the kernel's cluster stack is '{kind}'")
    clusters = {s.cluster: s for s in facts.reading.stacks}
    wanted = timings(settings(facts)[1])
    stanzas = read(facts.read(CLUSTER_CONF) or "")[0]
    for name in facts.names(o2cb.CONFIGFS):
        stack = clusters.get(name)
        place = f"{o2cb.CONFIGFS}/{name}"
        if stack is None:
            yield BOOK.finding("o2cb-other-online", place, f"cluster '{name}' is online")
            continue
        for other in facts.reading.stacks:
            if other.cluster != name:
                message = f"cluster '{name}' of stack {stack.name} is online, stack {other.name} has {other.cluster}"
                yield BOOK.finding(
                    "o2cb-other-online",
                    place,
                    message,
                    other.name,
                    advice="the same 'cluster' in all stacks of this host, see cluster-several",
                )
        for attribute, value in wanted.items():
            now = facts.read(f"{place}/{attribute}")
            if now is not None and now != str(value):
                message = f"{attribute} is {now} now, {value} after a restart"
                yield BOOK.finding("o2cb-live-differs", f"{place}/{attribute}", message)
        nodes = facts.names(f"{place}/node")
        for one in stanzas:
            if one.kind != "node" or one.get("cluster") != name or one.get("name") not in nodes:
                continue
            node = f"{place}/node/{one.get('name')}"
            for attribute, key in (("num", "number"), ("ipv4_address", "ip_address"), ("ipv4_port", "ip_port")):
                now = facts.read(f"{node}/{attribute}")
                if now is not None and now != one.get(key):
                    message = f"{key} of node {one.get('name')} is {now} now, {one.get(key)} in {one.place(key)}"
                    yield BOOK.finding("o2cb-live-differs", f"{node}/{attribute}", message)


def _names(facts: Facts) -> Iterator[Finding]:
    """Names of the two hosts that lead to the loopback address."""
    peers = set()
    for stack in facts.reading.stacks:
        found = resource.find(facts.drbd, stack.resource)
        if found is not None and facts.own(found):
            peers |= {host.name for host in facts.peers(found)}
    for number, line in enumerate((facts.read("/etc/hosts") or "").split("\n"), 1):
        address, *names = line.partition("#")[0].split() or [""]
        if not address.startswith("127.") and address != "::1":
            continue
        for name in names:
            if name in peers or name == facts.host:
                severity = WARNING if name in peers else NOTE
                message = f"{name} is {address}" + (", but it is the other host" if name in peers else "")
                yield BOOK.finding("hosts-loopback", f"/etc/hosts:{number}", message, severity=severity)
