"""Addresses and ports of DRBD's connection: are they here, free, and different where they have to be."""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from collections.abc import Iterator

from drbdocfs_boot import clusterconf
from drbdocfs_boot.checks import resource
from drbdocfs_boot.checks.facts import CLUSTER_CONF, Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, Book, Finding, Rule
from drbdocfs_boot.checks.resource import Address, Endpoint, Resource
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import system

BOOK = Book(
    drbd_address_bad=Rule(
        ERROR,
        "no usable address and port",
        "drbdadm wants 'address ADDRESS:PORT' with a number for each; it looks up no names.",
        "address 192.0.2.1:7789 or address ipv6 [2001:db8::1]:7789 in 'on HOST'",
    ),
    drbd_address_loopback=Rule(
        ERROR,
        "a loopback address",
        "No other host can reach it.",
        "the address of the link between the two hosts",
    ),
    drbd_address_not_here=Rule(
        ERROR,
        "the address is not on this host",
        "DRBD cannot connect from an address that it has not got: DRBD 8.4 gives up for good (StandAlone).",
        "correct 'address' in 'on HOST' of this host, or give the host that address: 'ip address' shows what it has",
    ),
    drbd_address_peer=Rule(
        ERROR,
        "both hosts have the same address",
        "Each would connect to itself.",
        "the address of each host in its own 'on HOST'",
    ),
    drbd_address_family=Rule(
        ERROR,
        "the two addresses are of different kinds",
        "IPv4 and IPv6 do not connect to each other.",
        "two addresses of the same kind",
    ),
    drbd_port_twice=Rule(
        ERROR,
        "two resources with the same address and port",
        "Each resource listens on a port of its own; drbdadm refuses two on the same one.",
        "another port for one of them, on both hosts",
    ),
    drbd_port_o2cb=Rule(
        ERROR,
        "DRBD and O2CB on the same port",
        "The one that comes second cannot listen.",
        "another port in one of the two files, on both hosts (O2CB's usual one is 7777, DRBD's from 7788 on)",
    ),
    drbd_port_taken=Rule(
        ERROR,
        "another program listens on the port",
        "DRBD cannot listen there, so the peer does not get through.",
        "stop that program, or take another port on both hosts",
    ),
    drbd_subnets=Rule(
        NOTE,
        "the two hosts are in different networks",
        "Every router between them is one more thing whose failure is a split brain.",
        "a direct link, or addresses in the same network",
    ),
    o2cb_other_network=Rule(
        NOTE,
        "O2CB and DRBD use different networks",
        "One can fail without the other: then DRBD replicates between nodes that O2CB resets, or the other way round.",
        "the same addresses in cluster.conf and in the resource",
    ),
)

LISTEN = "0A"  # /proc/net/tcp, column st


def find(facts: Facts) -> Iterator[Finding]:
    networks = own_networks(facts)
    for stack in facts.reading.stacks:
        found = resource.find(facts.drbd, stack.resource)
        if found is None:
            continue
        yield from _hosts(stack, found)
        own = facts.own(found)
        for endpoint in own.endpoints if own else ():
            yield from _own(facts, stack, endpoint, networks)
            yield from _peer(facts, stack, found, endpoint, networks)
            yield from _others(facts, stack, found, endpoint)


def own_networks(facts: Facts) -> dict[Address, int] | None:
    """This host's addresses with the length of their network's prefix; None where they are not known."""
    said = facts.tool("ip", "-j", "address", "show")
    if said is None or said.code != 0:
        return None
    try:
        links = json.loads(said.out)
        return {
            ipaddress.ip_address(one["local"]): int(one["prefixlen"])
            for link in links
            for one in link.get("addr_info", ())
            if "local" in one
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _hosts(stack: Stack, found: Resource) -> Iterator[Finding]:
    """What is wrong with an address whatever host it belongs to."""
    seen: dict[Address, str] = {}
    families: dict[str, set[int]] = {}
    for host in found.hosts.values():
        if not host.endpoints:
            message = f"'on {host.name}' has no address"
            yield BOOK.finding("drbd-address-bad", host.statement.place, message, stack.name)
        for one in host.endpoints:
            place = one.statement.place
            if one.ip is None or not 0 < one.port < 65536:
                message = f"'{one.statement.shown}' of {host.name} is no address with a port"
                yield BOOK.finding("drbd-address-bad", place, message, stack.name)
                continue
            if one.ip.is_loopback:
                message = f"{one.ip} of {host.name} is this host for every host"
                yield BOOK.finding("drbd-address-loopback", place, message, stack.name)
            if seen.setdefault(one.ip, host.name) != host.name:
                message = f"{one.ip} is the address of {seen[one.ip]} and of {host.name}"
                yield BOOK.finding("drbd-address-peer", place, message, stack.name)
            families.setdefault(host.name, set()).add(one.ip.version)
    # Several paths may be of several kinds, as long as each kind is on both sides.
    if len({frozenset(kinds) for kinds in families.values()}) > 1:
        words = (f"IPv{' and IPv'.join(map(str, sorted(kinds)))} for {name}" for name, kinds in families.items())
        place = list(found.hosts.values())[-1].statement.place
        yield BOOK.finding("drbd-address-family", place, " and ".join(words), stack.name)


def _own(facts: Facts, stack: Stack, one: Endpoint, networks: dict[Address, int] | None) -> Iterator[Finding]:
    if one.ip is None:
        return
    if networks is not None and one.ip not in networks:
        message = f"{one.ip} is not on this host ({facts.host})"
        yield BOOK.finding("drbd-address-not-here", one.statement.place, message, stack.name)
    who = listener(facts, one.ip, one.port)
    if who:
        message = f"port {one.port} of {one.ip} is taken by {who}"
        yield BOOK.finding("drbd-port-taken", one.statement.place, message, stack.name)


def _peer(
    facts: Facts, stack: Stack, found: Resource, own: Endpoint, networks: dict[Address, int] | None
) -> Iterator[Finding]:
    prefix = (networks or {}).get(own.ip) if own.ip is not None else None
    if prefix is None or len(own.statement.words) == 0:
        return
    network = ipaddress.ip_network(f"{own.ip}/{prefix}", strict=False)
    for host in facts.peers(found):
        for one in host.endpoints:
            if one.ip is not None and one.ip.version == network.version and one.ip not in network:
                message = f"{one.ip} of {host.name} is not in the network {network} of this host"
                yield BOOK.finding("drbd-subnets", one.statement.place, message, stack.name)


def _others(facts: Facts, stack: Stack, found: Resource, own: Endpoint) -> Iterator[Finding]:
    """Other resources and O2CB, which listen on this host, too."""
    for statement in facts.drbd.resources():
        if statement.words[1] == found.name:
            continue
        other = facts.own(Resource(facts.drbd, statement))
        for one in other.endpoints if other else ():
            if (one.ip, one.port) == (own.ip, own.port) and one.ip is not None:
                message = f"{own} of {found.name} is that of {statement.words[1]} in {one.statement.place}"
                yield BOOK.finding("drbd-port-twice", own.statement.place, message, stack.name)
    node = clusterconf.nodes(facts.cluster_conf or [], stack.cluster).get(facts.host, {})
    try:
        address = ipaddress.ip_address(node.get("ip_address", ""))
    except ValueError:
        return
    line = next((s.line for s in facts.cluster_conf or () if s.keys is node), 0)
    if address == own.ip:
        if node.get("ip_port") == str(own.port):
            message = f"{own} of {found.name} is O2CB's in {CLUSTER_CONF}:{line}"
            yield BOOK.finding("drbd-port-o2cb", own.statement.place, message, stack.name)
        return
    prefix = 24 if address.version == 4 else 64
    network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    host = facts.own(found)
    ours = [one.ip for one in host.endpoints if one.ip is not None] if host else []
    # Of several paths one may well be O2CB's.
    if own.ip is not None and not any(ip in network for ip in ours):
        message = f"O2CB uses {address}, DRBD {own.ip}"
        yield BOOK.finding("o2cb-other-network", f"{CLUSTER_CONF}:{line}", message, stack.name)


def listener(facts: Facts, address: Address, port: int) -> str:
    """Who listens on a port of ours, the kernel (DRBD, O2CB) apart; "" when nobody does."""
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (facts.read(name) or "").splitlines()[1:]:
            fields = line.split()
            # The kernel's own sockets have no inode.
            if len(fields) < 10 or fields[3] != LISTEN or fields[9] == "0":
                continue
            local, _, number = fields[1].rpartition(":")
            try:
                ours = int(number, 16) == port and _covers(_unpack(local), address)
            except ValueError:
                continue
            if ours:
                return _owner(facts, fields[9])
    return ""


def _unpack(text: str) -> Address:
    """An address of /proc/net/tcp: words of 32 bits, each in the byte order of the machine."""
    turn = -1 if sys.byteorder == "little" else 1
    raw = b"".join(bytes.fromhex(text[at : at + 8])[::turn] for at in range(0, len(text), 8))
    return ipaddress.ip_address(raw)


def _covers(listening: Address, address: Address) -> bool:
    if listening.is_unspecified:
        # An IPv6 socket on :: takes IPv4, too, unless it was told not to.
        return listening.version == 6 or address.version == 4
    mapped = listening.ipv4_mapped if isinstance(listening, ipaddress.IPv6Address) else None
    return address in (listening, mapped)


def _owner(facts: Facts, inode: str) -> str:
    """The process that has the socket; root alone may look at those of others."""
    link = f"socket:[{inode}]"
    for name in facts.glob("/proc/[0-9]*/fd/*"):
        try:
            found = os.readlink(system.path(name))
        except OSError:
            continue
        if found == link:
            process = name.split("/")[2]
            return f"{facts.read(f'/proc/{process}/comm') or 'a process'} ({process})"
    return "another program"
