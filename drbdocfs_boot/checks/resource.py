"""A DRBD resource as its statements describe it: hosts, addresses, volumes, and which setting is in force.

Pure: statements in, description out.  Source: drbd.conf(5) of 8.4 and 9.0.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Union

from drbdocfs_boot.drbdconf import Configuration, Statement

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
FAMILIES = ("ipv4", "ipv6", "ssocks", "sdp")


def whole(text: str) -> int | None:
    """The number that a text is in plain digits; None where it is none, or none that anything here could have."""
    return int(text) if text.isdigit() and text.isascii() and len(text) < 19 else None


@dataclass(frozen=True)
class Endpoint:
    """``address`` as it is written, without the port; ``port`` 0 where there is none that could be used."""

    family: str
    address: str
    port: int
    statement: Statement

    @property
    def ip(self) -> Address | None:
        """The address as a number; None where it is none."""
        try:
            return ipaddress.ip_address(self.address.partition("%")[0])
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass
class Volume:
    """The statements of a volume; None where there is none."""

    device: Statement | None = None
    disk: Statement | None = None

    @property
    def minor(self) -> int | None:
        """The number of its device; None where only the driver would know."""
        words = self.device.words if self.device is not None else ()
        if "minor" in words[:-1]:
            text = words[words.index("minor") + 1]
        else:
            text = words[1][len("/dev/drbd") :] if len(words) > 1 and words[1].startswith("/dev/drbd") else ""
        return whole(text)

    @property
    def node(self) -> str:
        """Its device node, "" where no device is given."""
        words = self.device.words if self.device is not None else ()
        if len(words) > 1 and words[1].startswith("/"):
            return words[1]
        return "" if self.minor is None else f"/dev/drbd{self.minor}"


@dataclass
class Host:
    """What ``on NAME`` says, and what connections say of the same host."""

    name: str
    statement: Statement
    endpoints: list[Endpoint] = field(default_factory=list)
    volumes: dict[str, Volume] = field(default_factory=dict)

    @property
    def diskless(self) -> bool:
        """It is said to have no disk: it has no data, and at most a voice in the quorum."""
        disks = [volume.disk for volume in self.volumes.values()]
        return bool(disks) and all(disk is not None and disk.words[1] == "none" for disk in disks)


class Resource:
    """``hosts`` by name in order; ``floating`` the sections of hosts that are told by their address."""

    def __init__(self, configuration: Configuration, statement: Statement) -> None:
        self.configuration = configuration
        self.statement = statement
        self.name = statement.words[1]
        self.hosts: dict[str, Host] = {}
        self.floating = [s for s in statement.children or () if s.words[:1] in (("floating",), ("stacked-on-top-of",))]
        shared = _volumes(statement, {})
        for section in statement.sections("on"):
            for name in section.words[1:]:
                host = self.hosts.setdefault(name, Host(name, section))
                host.volumes = _volumes(section, shared)
                host.endpoints += [e for s in section.settings("address") for e in _endpoint(s.words[1:], s)]
        for connection in statement.sections("connection"):
            for place in (connection, *connection.sections("path")):
                for line in place.settings("host"):
                    if "address" in line.words and len(line.words) > 1 and line.words[1] in self.hosts:
                        words = line.words[line.words.index("address") + 1 :]
                        self.hosts[line.words[1]].endpoints += _endpoint(words, line)

    def own(self, host: str) -> Host | None:
        """The host's own section."""
        return self.hosts.get(host)

    def peers(self, host: str) -> list[Host]:
        """The other hosts."""
        return [one for name, one in self.hosts.items() if name != host]

    def setting(self, section: str, *names: str) -> Statement | None:
        """The setting in force: of the connection of those that have a disk, of the resource, else of ``common``."""
        found = [s for one in self._connections() for part in one.sections(section) for s in part.settings(*names)]
        return found[-1] if found else self.configuration.setting(self.statement, section, *names)

    def _connections(self) -> list[Statement]:
        """The connection sections that concern the hosts with a disk: one to a host without may have other settings."""
        sections = [*self.statement.sections("connection-mesh"), *self.statement.sections("connection")]
        apart = {name for name, host in self.hosts.items() if host.diskless}
        return [one for one in sections if not (named := _named(one)) or len(named - apart) > 1]

    @property
    def protocol(self) -> Statement | None:
        """Before 8.4 it stood in the resource or in ``common`` itself; drbdadm takes it there to this day, and puts the
        resource's before all that ``common`` has."""
        found = [s for one in self._connections() for net in one.sections("net") for s in net.settings("protocol")]
        for place in (self.statement, *reversed(self.configuration.sections("common"))):
            if not found:
                found = list(place.settings("protocol"))
                found += [s for net in place.sections("net") for s in net.settings("protocol")]
        return found[-1] if found else None

    def value(self, section: str, name: str, default: str) -> str:
        """Its value in small letters; a setting without one is ``yes``."""
        found = self.setting(section, name)
        if found is None:
            return default
        return found.words[1].lower() if len(found.words) > 1 else "yes"

    def number(self, section: str, name: str, default: int) -> int:
        """Its value as a number; the default where it is none."""
        found = whole(self.value(section, name, ""))
        return default if found is None else found

    def place(self, section: str, name: str) -> str:
        """Where the setting stands, or the resource where it stands nowhere."""
        found = self.setting(section, name)
        return (found or self.statement).place

    def everywhere(self, name: str) -> Iterator[tuple[str, Statement]]:
        """(section, statement) of each setting or section ``name``, at any depth, here and in ``common``."""
        for top in (*self.configuration.sections("common"), self.statement):
            yield from _search(top, name)


def _named(connection: Statement) -> set[str]:
    """The hosts that a connection, or a mesh of them, is of."""
    places = (connection, *connection.sections("path"))
    hosts = {name for one in connection.settings("hosts") for name in one.words[1:]}
    return hosts | {one.words[1] for place in places for one in place.settings("host") if len(one.words) > 1}


def _search(place: Statement, name: str) -> Iterator[tuple[str, Statement]]:
    for child in place.children or ():
        if child.words[:1] == ("skip",):
            continue  # commented out (drbd.conf(5))
        if child.words[:1] == (name,):
            yield place.words[0], child
        elif child.children is not None:
            yield from _search(child, name)


def find(configuration: Configuration, name: str) -> Resource | None:
    """The first resource of that name."""
    statement = configuration.resource(name)
    return None if statement is None else Resource(configuration, statement)


def everywhere(statements: Iterable[Statement], name: str, apart: Iterable[Host] = ()) -> list[Statement]:
    """Every setting of a name in what ``drbdsetup show`` says, in order, but of connections to the hosts ``apart``.

    Those are hosts without a disk: fencing does not concern them.
    """
    apart = tuple(apart)
    found = []
    for one in statements:
        if one.children is None:
            found += [one] if one.words[:1] == (name,) else []
        elif one.words[:1] != ("connection",) or not any(_leads_to(one, host) for host in apart):
            found += everywhere(one.children, name, apart)
    return found


def _leads_to(connection: Statement, host: Host) -> bool:
    """Whether a connection, as ``drbdsetup show`` of DRBD 9 shows it, is the one to a host."""

    def words(name: str) -> set[str]:
        return {s.words[-1] for s in everywhere([*(connection.children or ())], name)}

    numbers = {s.words[-1] for s in host.statement.settings("node-id")}
    ends = {f"{e.address}:{e.port}" for e in host.endpoints}
    remote = {text.replace("[", "").replace("]", "") for text in words("_remote_host")}
    return bool(numbers & words("_peer_node_id") or host.name in words("_name") or ends & remote)


def _volumes(place: Statement, shared: dict[str, Volume]) -> dict[str, Volume]:
    """Volumes of a section by number, over those that it shares with others."""
    found = {number: Volume(one.device, one.disk) for number, one in shared.items()}
    sections = [("0", place), *((s.words[1], s) for s in place.sections("volume") if len(s.words) > 1)]
    for number, section in sections:
        device, disk = _last(section, "device"), _last(section, "disk")
        if device is not None or disk is not None:
            one = found.setdefault(number, Volume())
            one.device, one.disk = device or one.device, disk or one.disk
    return found


def _last(section: Statement, name: str) -> Statement | None:
    found = [s for s in section.settings(name) if len(s.words) > 1]
    return found[-1] if found else None


def _endpoint(words: tuple[str, ...], statement: Statement) -> list[Endpoint]:
    """The endpoint of ``[FAMILY] ADDRESS:PORT``; none where there are no words."""
    if not words:
        return []
    family = words[0] if words[0] in FAMILIES and len(words) > 1 else ""
    text = words[-1] if not family else words[1]
    address, colon, port = text.rpartition(":")
    if not colon:
        address, port = text, ""
    bare = address.strip("[]")
    usable = (whole(port) or 0) if len(port) < 6 else 0
    return [Endpoint(family or ("ipv6" if ":" in bare else "ipv4"), bare, usable, statement)]
