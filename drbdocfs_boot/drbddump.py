"""What ``drbdadm dump RESOURCE`` says: volumes, this host's address, and the peer's name and address.

One call tells what sh-dev, sh-ll-dev and sh-ip tell in three, and the peer, whom DRBD 8.4's own events never name.
Written by drbdadm in a regular form from whatever the administrator wrote, for both drivers.

Pure: text in, description out.  Source: drbd.conf(5), tests/transcripts/*/dump*.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


# Sections within sections: drbdadm writes four.  Each statement looks at all of them.
_DEEPEST = 20


class Description:
    """A resource as this host's configuration has it.

    ``volumes``: (device node, disk) in order; ``numbers``: (volume, minor) of each, the minor "" where only the driver
    would know; ``address``: this host's first address without the port ("" when not
    given); ``peers``: (host name, "ADDRESS:PORT") of the other hosts, the address "" where there is none.  Those with
    a disk come first: of three hosts one may be there for DRBD 9's quorum only.  ``internal``: (volume, disk) of the
    disks that have DRBD's metadata on themselves; ``metadata``: the devices that have it for the others, each once.
    """

    __slots__ = ("address", "internal", "metadata", "numbers", "peers", "volumes")

    def __init__(
        self,
        volumes: "list[tuple[str, str]]",
        address: str,
        peers: "list[tuple[str, str]]",
        internal: "list[tuple[str, str]]",
        metadata: "list[str]",
        numbers: "list[tuple[str, str]]",
    ) -> None:
        self.volumes = volumes
        self.address = address
        self.peers = peers
        self.internal = internal
        self.metadata = metadata
        self.numbers = numbers


def tokens(text: str) -> "Iterator[tuple[str, int, bool]]":
    """(word, line, quoted): words, strings without their quotes, ``{``, ``}``, ``;`` by themselves; no comments."""
    word, begun, line = "", 0, 1
    at, end = 0, len(text)
    while at < end:
        c = text[at]
        if c == '"':
            start, quoted = line, ""
            at += 1
            while at < end and text[at] != '"':
                at += text[at] == "\\"
                quoted += text[at : at + 1]
                line += text[at : at + 1] == "\n"
                at += 1
            if word:
                yield word, begun, False
                word = ""
            yield quoted, start, True
        elif c in "{};" or c.isspace() or (c == "#" and not word):
            if word:
                yield word, begun, False
                word = ""
            if c in "{};":
                yield c, line, False
            elif c == "#":
                while at < end and text[at] != "\n":
                    at += 1
                continue
            line += c == "\n"
        else:
            if not word:
                begun = line
            word += c
        at += 1
    if word:
        yield word, begun, False


def minor_of(node: str) -> str:
    """The number in /dev/drbd0, "" in another name."""
    text = node[len("/dev/drbd") :] if node.startswith("/dev/drbd") else ""
    return text if text.isdigit() and text.isascii() else ""


def names(resource: str, volume: str, minor: str, node: str, disk: str, only: bool) -> "list[str]":
    """All names of a volume's device, as the kernel and drbd-utils' udev rules make them; ``only``: it has no others.

    Made of what is configured: the links in /dev are there only when the minor is, which is after the attach.
    """
    found = [node]
    if minor:
        found.append("/dev/drbd" + minor)
    found.append(f"/dev/drbd/by-res/{resource}/{volume}")
    if only:
        found.append("/dev/drbd/by-res/" + resource)
    if disk not in ("", "none"):
        found.append("/dev/drbd/by-disk/" + disk.removeprefix("/dev/").lstrip("/"))
    return found


def own_name(names: "Collection[str]", host: str) -> str:
    """The one of ``names`` that means ``host``, else ``host``.

    drbdadm with DRBD 9 takes a name for its own without regard to domain and case; DRBD 8.4's refuses that itself.
    The exact name goes first; where several are alike none is taken.
    """
    short = host.lower().partition(".")[0]
    alike = [] if host in names or not short else [n for n in names if n.lower().partition(".")[0] == short]
    return alike[0] if len(alike) == 1 else host


def parse(text: str, host: str) -> "Description | None":
    """The description for ``host``; None when the text has no resource, or none for this host."""
    addresses: "dict[str, str]" = {}  # host -> first address
    common: "dict[str, dict[str, str]]" = {}  # volume -> device, disk, of all hosts
    own: "dict[str, dict[str, dict[str, str]]]" = {}  # host -> the same, of its section
    path: "list[list[str]]" = []  # sections that are open
    statement: "list[str]" = []
    for word, _, quoted in tokens(text):
        if quoted:
            statement.append(word)
        elif word == "{":
            path.append(statement)
            statement = []
        elif word == "}":
            if path:
                path.pop()
            statement = []
        elif word == ";":
            _statement(statement, path, addresses, common, own)
            statement = []
        else:
            statement.append(word)
        if word == "{" and not quoted and path[-1][:1] == ["on"]:
            for name in path[-1][1:]:
                addresses.setdefault(name, "")
    host = own_name(addresses, host)
    if host not in addresses:
        return None
    volumes: "list[tuple[str, str]]" = []
    internal: "list[tuple[str, str]]" = []
    metadata: "list[str]" = []
    numbers: "list[tuple[str, str]]" = []
    ours = own.get(host, {})
    for volume in sorted(set(common) | set(ours), key=lambda text: (len(text), text)):
        keys = {**common.get(volume, {}), **ours.get(volume, {})}
        if "device" in keys:
            volumes.append((keys["device"], keys.get("disk", "none")))
            numbers.append((volume, keys.get("minor", "")))
            if keys.get("meta-disk") == "internal" and "disk" in keys:
                internal.append((volume, keys["disk"]))
            elif keys.get("meta-disk", "internal") not in ("internal", *metadata) and keys.get("disk") != "none":
                metadata.append(keys["meta-disk"])
    others = sorted((name for name in addresses if name != host), key=lambda name: _diskless(own.get(name, {}), common))
    peers = [(name, addresses[name]) for name in others]
    return Description(volumes, _without_port(addresses[host]), peers, internal, metadata, numbers)


def net_options(text: str) -> "dict[str, str]":
    """Options of all ``net`` sections, the last of each name."""
    found: "dict[str, str]" = {}
    path: "list[str]" = []
    statement: "list[str]" = []
    for word, _, quoted in tokens(text):
        if quoted or word not in ("{", "}", ";"):
            statement.append(word)
            continue
        if word == "{":
            path.append(statement[0] if statement else "")
        elif word == "}" and path:
            path.pop()
        elif word == ";" and path and path[-1] == "net" and len(statement) == 2:
            found[statement[0]] = statement[1]
        statement = []
    return found


def _diskless(volumes: "dict[str, dict[str, str]]", common: "dict[str, dict[str, str]]") -> bool:
    """Whether a host has no disk for any volume, and is said to have none."""
    disks = [{**common.get(one, {}), **volumes.get(one, {})}.get("disk", "") for one in {**common, **volumes}]
    return bool(disks) and all(disk == "none" for disk in disks)


def _statement(
    words: "list[str]",
    path: "list[list[str]]",
    addresses: "dict[str, str]",
    common: "dict[str, dict[str, str]]",
    own: "dict[str, dict[str, dict[str, str]]]",
) -> None:
    if words[:1] not in (["address"], ["host"], ["device"], ["disk"], ["meta-disk"]) or len(path) > _DEEPEST:
        return
    heads = [section[:1] for section in path]
    hosts = next((section[1:] for section in path if section[:1] == ["on"]), None)
    if words[:1] == ["address"] and hosts is not None:
        for name in hosts:
            addresses[name] = addresses.get(name) or words[-1]
    elif words[:1] == ["host"] and "address" in words and len(words) > 3:
        addresses[words[1]] = addresses.get(words[1]) or words[-1]  # in connection { } or path { }
    elif words[:1] in (["device"], ["disk"], ["meta-disk"]) and len(words) > 1:
        if any(head in (["disk"], ["net"], ["connection"]) for head in heads):
            return
        volume = next((section[1] for section in path if section[:1] == ["volume"] and len(section) > 1), "0")
        value = words[1] if words[1] != "minor" else "/dev/drbd" + words[-1]
        if words[0] == "meta-disk":
            value = value.partition("[")[0]  # "/dev/vdc [0]": one of several on that device
        for place in [common] if hosts is None else [own.setdefault(name, {}) for name in hosts]:
            keys = place.setdefault(volume, {})
            keys[words[0]] = value
            if words[0] == "device":
                keys["minor"] = words[-1] if words[-2] == "minor" else minor_of(value)


def _without_port(address: str) -> str:
    """ "10.0.0.1:7789" or "[fd00::1]:7789" without port and brackets."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.rpartition(":")[0] or address
