"""Day one of a stack on both hosts: from one description to the texts of all files and the list of all steps.

The same list is shown by a dry run and worked through by tools/day_one.py.  Nothing in it wipes anything: no step has
``--force`` but the one that makes one of two disks, both of them new, the good one.

Pure: descriptions, texts and reports in; texts, steps and refusals out.  Sources: drbd.conf(5) of 8.4 and 9,
ocfs2.cluster.conf(5), mkfs.ocfs2(8), drbdmeta(8), wipefs(8), blkid(8).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from drbdocfs_boot import clusterconf, fencing, values
from drbdocfs_boot.terminal import bar

RECORDS = "/var/lib/drbdocfs/create"
CLUSTER_CONF = "/etc/ocfs2/cluster.conf"
CLUSTER_PORT = 7777
# Below it DRBD's metadata and the journals of two slots leave no room for a file system.
SMALLEST = 64 << 20
# The current UUID of metadata that create-md has just made (drbdmeta.c, UUID_JUST_CREATED): no data was ever there.
JUST_CREATED = 4
# Seconds by which the clocks of the two may differ: a file's time is set by the host that writes it.
CLOCK_LIMIT = 30.0
# What a description holds beside what the administrator says.
MADE = ("secret", "uuid", "hmac")
HANDLER = "/usr/libexec/drbdocfs-boot/fence-peer"
WITNESS = "/usr/libexec/drbdocfs-boot/witness"
FENCE_OPTIONS = "/etc/drbdocfs/fence.conf"
# DRBD's own times with fencing, so that a lost link is noticed in 7.5 s: ping-int and connect-int in seconds, timeout
# and ping-timeout in tenths of one.  timeout has to be less than the first two.  A peer that answers and does not write
# is given up after ko-count * timeout: 35 s, about as long as with the defaults, so a slow disk costs no node.
NET = {"ping-int": 3, "connect-int": 3, "timeout": 25, "ping-timeout": 15, "ko-count": 14}
SURVIVORS = ("none", "power", "witness")
# What a description of an earlier version does not have: its resource was written without fencing, and stays so.
LATER = ("survivor", "link_grace", "fence_agent", "fence_options", "witness", "tiebreaker")
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Wrong(ValueError):
    """A description that cannot be: all that is wrong with it, a sentence each."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True)
class Host:
    """``name`` as ``uname -n`` has it; ``address`` of the link, for DRBD; ``cluster_address`` the same for O2CB, which
    knows IPv4 only; ``disk`` what lies below DRBD: a loop device or a disk."""

    name: str
    address: str
    cluster_address: str
    disk: str


@dataclass(frozen=True)
class Description:
    """One stack.  ``size`` in bytes, ``backing_file`` and ``loop_device`` are 0 and "" for disks; ``hosts`` are two, in
    the order of their names, so that both hosts make the same of it; ``first``: the host whose disk is copied.

    ``survivor`` to ``witness``: our own keys, "" for a default; ``survivor`` "" is a resource without fencing.
    ``tiebreaker``: "NAME=ADDRESS:PORT" of a third host without a disk, for DRBD 9's quorum; "" for none.

    ``secret``, ``uuid`` (of the file system) and ``hmac`` are made once, at the first run.
    """

    stack: str
    resource: str
    device: str
    cluster: str
    mountpoint: str
    mount_options: str
    port: int
    size: int
    backing_file: str
    loop_device: str
    slots: int
    first: str
    hosts: tuple[Host, ...]
    survivor: str = ""
    link_grace: str = ""
    fence_agent: str = ""
    fence_options: str = ""
    witness: str = ""
    tiebreaker: str = ""
    secret: str = ""
    uuid: str = ""
    hmac: str = ""

    @property
    def minor(self) -> str:
        return self.device[len("/dev/drbd") :]

    @property
    def resource_file(self) -> str:
        return f"/etc/drbd.d/{self.resource}.res"

    @property
    def stack_file(self) -> str:
        return f"/etc/drbdocfs/conf.d/{self.stack}.conf"

    @property
    def wrapper(self) -> str:
        """A configuration for create-md alone, with the usage count answered: nobody is asked or called."""
        return f"/run/drbdocfs/create-{self.stack}.conf"

    @property
    def record(self) -> str:
        return f"{RECORDS}/{self.stack}.json"

    @property
    def target(self) -> str:
        return f"drbdocfs@{self.stack}.target"

    def host(self, name: str) -> Host:
        """Raises KeyError."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    @property
    def third(self) -> tuple[str, str, int] | None:
        """(name, address, port) of the tiebreaker."""
        name, _, place = self.tiebreaker.partition("=")
        address, _, port = place.rpartition(":")
        return (name, address.strip("[]"), int(port)) if self.tiebreaker else None

    def other(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name != name)

    def public(self) -> dict[str, Any]:
        """What the administrator said, without what was made."""
        return {key: value for key, value in asdict(self).items() if key not in MADE}


def to_json(description: Description) -> dict[str, Any]:
    return asdict(description)


def from_json(data: Any) -> Description:
    """Raises Wrong for what is no description."""
    try:
        hosts = tuple(Host(**{f.name: str(host[f.name]) for f in fields(Host)}) for host in data["hosts"])
        found: dict[str, Any] = {"hosts": hosts}
        for field in fields(Description):
            if field.name == "hosts" or (field.name in LATER and field.name not in data):
                continue
            kind = int if field.name in ("port", "size", "slots") else str
            if not isinstance(data[field.name], kind):
                raise TypeError(field.name)
            found[field.name] = data[field.name]
    except (KeyError, TypeError) as error:
        raise Wrong([f"it is no description of drbdocfs create ({error})"]) from None
    return checked(Description(**found))


def size(text: str) -> int:
    """Bytes of "10G", "512M" or a number; raises ValueError."""
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"'{text}' is no size; 500M, 20G and 1T are")
    found = int(match.group(1)) * UNITS.get(match.group(2).upper(), 1)
    # Whole sectors of 4 KiB, so that nothing below the loop device is half a block.
    return found // 4096 * 4096


def tiebreaker(text: str, port: int) -> str:
    """ "NAME=ADDRESS:PORT" of "NAME=ADDRESS[:PORT]"; an IPv6 address with a port has brackets.  Raises ValueError."""
    name, _, place = text.partition("=")
    match = re.fullmatch(r"\[([^]]*)\](?::(\d+))?|([^:]*)(?::(\d+))?|([^]]*)", place)
    groups = match.groups() if match is not None else ()
    address = next((group for group in groups[::2] if group), "")
    if not name or not _family(address):
        raise ValueError(f"--tiebreaker {text} is not NAME=ADDRESS or NAME=ADDRESS:PORT")
    given = next((group for group in groups[1:4:2] if group), str(port))
    return f"{name}={_drbd_address(address)}:{int(given)}"


def human(number: float) -> str:
    """Bytes as people read them."""
    unit = "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if number >= 100 or number == int(number) else f"{number:.1f} {unit}"


def checked(d: Description) -> Description:
    """The description, its values in their normal form; raises Wrong with all that cannot be."""
    wrong: list[str] = []
    normal: dict[str, Any] = {}
    rules = {
        "stack": values.stack_name, "resource": values.resource, "device": values.device, "cluster": values.cluster,
        "mountpoint": values.mountpoint, "mount_options": values.mount_options, "backing_file": values.backing_file,
        "loop_device": values.loop_device,
    }  # fmt: skip
    for key, rule in rules.items():
        try:
            normal[key] = rule(getattr(d, key))
        except values.Refused as refused:
            wrong.append(f"{key.replace('_', ' ')} '{getattr(d, key)}' {refused}")
    for key in ("mountpoint", "backing_file"):
        if '"' in getattr(d, key) and "'" in getattr(d, key):
            wrong.append(f"{key.replace('_', ' ')} '{getattr(d, key)}' holds both kinds of quotes")
    if not d.minor.isdigit() or not d.minor.isascii():
        wrong.append(f"device '{d.device}' is not /dev/drbdN")
    if not 0 < d.port < 65536:
        wrong.append(f"port {d.port} is not between 1 and 65535")
    elif d.port == CLUSTER_PORT:
        wrong.append(f"port {d.port} is O2CB's")
    if not 2 <= d.slots <= 255:
        wrong.append(f"{d.slots} slots: 2 to 255 can be")
    if d.backing_file and d.size < SMALLEST:
        wrong.append(f"a size of {human(d.size)} is too small; {human(SMALLEST)} is the least")
    if bool(d.backing_file) != bool(d.loop_device) or bool(d.backing_file) != bool(d.size):
        wrong.append("a backing file, its size and its loop device go together")
    if d.backing_file and values.below(d.backing_file, d.mountpoint):
        wrong.append(f"the backing file {d.backing_file} lies on the mount point {d.mountpoint}")
    names = [host.name for host in d.hosts]
    if len(names) != 2:
        wrong.append("two hosts make a stack")
    elif names[0] == names[1]:
        wrong.append(f"both hosts are called {names[0]}; they need names of their own ('hostnamectl hostname NAME')")
    elif d.first not in names:
        wrong.append(f"--first {d.first} is neither {names[0]} nor {names[1]}, as 'uname -n' says there")
    for host in d.hosts:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}", host.name):
            wrong.append(f"'{host.name}' is no host name")
        if _family(host.address) == "" or "%" in host.address:
            wrong.append(f"'{host.address}' is no IP address")
        elif _family(host.cluster_address) != "ipv4":
            wrong.append(f"O2CB knows IPv4 only, and '{host.cluster_address}' of {host.name} is none")
        if not re.fullmatch(r"/dev/[A-Za-z0-9_./:-]+", host.disk) or ".." in host.disk:
            wrong.append(f"'{host.disk}' is no disk")
        elif host.disk.startswith("/dev/drbd"):
            wrong.append(f"{host.disk} is DRBD's own")
    if len(d.hosts) == 2:
        for key in ("address", "cluster_address"):
            if getattr(d.hosts[0], key) == getattr(d.hosts[1], key):
                wrong.append(f"both hosts have the address {getattr(d.hosts[0], key)}")
                break
    wrong += _policy(d, names)
    if wrong:
        raise Wrong(list(dict.fromkeys(wrong)))
    return replace(d, hosts=tuple(sorted(d.hosts, key=lambda host: host.name)), **normal)


def _policy(d: Description, names: list[str]) -> list[str]:
    """What is wrong with who goes on when the link is lost."""
    wrong = []
    for key in ("survivor", "link_grace", "fence_agent", "fence_options", "witness"):
        value = getattr(d, key)
        try:
            if value:
                values.KEYS[key].check(value)
        except values.Refused as refused:
            wrong.append(f"--{key.replace('_', '-')} '{value}' {refused}; allowed: {values.KEYS[key].allowed}")
        if '"' in value and "'" in value:
            wrong.append(f"--{key.replace('_', '-')} '{value}' holds both kinds of quotes")
    if d.survivor and d.survivor not in SURVIVORS and d.survivor not in names:
        wrong.append(f"--survivor {d.survivor} is neither {' nor '.join(names)}, nor {', '.join(SURVIVORS)}")
    if d.survivor == "power" and not d.fence_agent:
        wrong.append("--survivor power needs --fence-agent, the program that switches the other host off")
    if d.survivor != "power" and (d.fence_agent or d.fence_options):
        wrong.append("--fence-agent and --fence-options are for --survivor power")
    if d.survivor == "witness" and not d.witness:
        wrong.append("--survivor witness needs --witness, the third host or a shared directory")
    if d.survivor != "witness" and d.witness:
        wrong.append("--witness is for --survivor witness")
    if d.witness.startswith("/") and values.below(d.witness, d.mountpoint):
        wrong.append(f"the witness {d.witness} lies on the mount point {d.mountpoint}, which freezes with the link")
    if d.tiebreaker:
        try:
            right = tiebreaker(d.tiebreaker, d.port) == d.tiebreaker
        except ValueError:
            right = False
        if not right or d.third is None:
            return [*wrong, f"tiebreaker '{d.tiebreaker}' is not NAME=ADDRESS:PORT"]
        name, address, port = d.third
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}", name):
            wrong.append(f"'{name}' is no host name")
        if name in names:
            wrong.append(f"the tiebreaker {name} is one of the two; it is a third host")
        if address in [host.address for host in d.hosts]:
            wrong.append(f"the tiebreaker has the address {address} of one of the two")
        if not 0 < port < 65536:
            wrong.append(f"the tiebreaker's port {port} is not between 1 and 65535")
        if {_family(host.address) for host in d.hosts} != {_family(address)}:
            wrong.append(f"the tiebreaker's address {address} is not of the same family as those of the two")
    return wrong


def _family(address: str) -> str:
    import ipaddress

    try:
        return f"ipv{ipaddress.ip_address(address).version}"
    except ValueError:
        return ""


def differences(old: Description, new: Description) -> list[str]:
    """What the administrator says otherwise than before, a line each."""
    before, now = old.public(), new.public()
    found = [
        f"{key}: {before[key] or 'none'} before, {now[key] or 'none'} now"
        for key in before
        if key != "hosts" and before[key] != now[key]
    ]
    hosts = [{h.name: h for h in d.hosts} for d in (old, new)]
    for name in sorted(set(hosts[0]) | set(hosts[1])):
        one, other = hosts[0].get(name), hosts[1].get(name)
        if one is None or other is None:
            found.append(f"host {name}: {'new' if one is None else 'not any more'}")
            continue
        found += [
            f"{f.name} of {name}: {getattr(one, f.name)} before, {getattr(other, f.name)} now"
            for f in fields(Host)
            if getattr(one, f.name) != getattr(other, f.name)
        ]
    return found


# --- texts ----------------------------------------------------------------------------------------------------


def resource_text(d: Description, driver: int) -> str:
    """The DRBD resource, for the driver (8 or 9).

    Where data could be in doubt after a split brain nobody decides by himself.  ``discard-secondary`` would: one of two
    that both wrote reboots, is Secondary when it connects, and loses what it wrote without a word (drbd_receiver.c,
    drbd_asb_recover_1p); ``consensus`` gives up only what is unchanged.

    With a tiebreaker there is fencing all the same: where only the link between the two is cut and both still see the
    third host, each of two Primaries keeps its quorum by the tiebreaker (drbd_state.c, calc_quorum), and both would go
    on.  Not on the connections to the tiebreaker: its loss would freeze both, and it has no data to be fenced from.
    """
    fences = bool(d.survivor)
    options = []
    if driver == 9:
        # What 8.4 takes for a mistake: a Primary by itself is of no use with two of them.
        options.append("auto-promote no;")
        if d.tiebreaker:
            options += ["quorum majority;", "on-no-quorum suspend-io;"]
    net = [
        "protocol C;", "allow-two-primaries yes;", f"cram-hmac-alg {d.hmac};", f'shared-secret "{d.secret}";',
        "after-sb-0pri discard-zero-changes;", "after-sb-1pri consensus;", "after-sb-2pri disconnect;",
    ]  # fmt: skip
    disk: list[str] = []
    if fences:
        net += [f"{name} {value};" for name, value in NET.items()]
        (net if driver == 9 else disk).append("fencing resource-and-stonith;")
    handlers = [f'fence-peer "{HANDLER}";'] if fences else []
    lines = [
        *_section("options", options), *_section("disk", disk), *_section("net", net), *_section("handlers", handlers),
    ]  # fmt: skip
    for number, host in enumerate(d.hosts):
        lines += _section(f"on {host.name}", [
            *([f"node-id {number};"] if driver == 9 else []),
            f"device {d.device} minor {d.minor};", f"disk {host.disk};", "meta-disk internal;",
            f"address {_family(host.address)} {_drbd_address(host.address)}:{d.port};",
        ])  # fmt: skip
    if d.third is not None and driver == 9:
        name, address, port = d.third
        lines += _section(f"on {name}", [
            f"node-id {len(d.hosts)};", f"device {d.device} minor {d.minor};", "disk none;",
            f"address {_family(address)} {_drbd_address(address)}:{port};",
        ])  # fmt: skip
        both = [host.name for host in d.hosts]
        lines += _section("connection", [f"host {one};" for one in both])
        for one in both:
            inside = [f"host {one};", f"host {name};", *(_section("net", ["fencing dont-care;"]) if fences else [])]
            lines += _section("connection", inside)
    return (
        f"# Written by drbdocfs create for the stack {d.stack}. It holds a shared secret: mode 600.\n"
        + "\n".join(_section(f"resource {d.resource}", lines))
        + "\n"
    )


def _section(head: str, lines: list[str]) -> list[str]:
    """A section of drbd.conf; nothing for one that would be empty."""
    return [f"{head} {{", *("\t" + line for line in lines), "}"] if lines else []


def _drbd_address(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def wrapper_text(d: Description, root: str = "") -> str:
    """See Description.wrapper."""
    return f'global {{ usage-count no; }}\ninclude "{root}{d.resource_file}";\n'


def cluster_text(d: Description, before: str | None) -> str | None:
    """The new cluster.conf; None when the one that is there has the cluster already as it should be.

    Raises Wrong when it has the cluster with other nodes.
    """
    if before is not None:
        stanzas = clusterconf.parse(before)
        if d.cluster in clusterconf.cluster_names(stanzas):
            nodes = clusterconf.nodes(stanzas, d.cluster)
            found = {name: keys.get("ip_address", "") for name, keys in nodes.items()}
            wanted = {host.name: host.cluster_address for host in d.hosts}
            if found == wanted:
                return None
            shown = ", ".join(f"{name} {address}" for name, address in sorted(found.items())) or "no nodes"
            raise Wrong([f"{CLUSTER_CONF} has the cluster '{d.cluster}' with {shown}"])
    text = f"cluster:\n\tnode_count = {len(d.hosts)}\n\tname = {d.cluster}\n"
    for number, host in enumerate(d.hosts, 1):
        text += (
            f"\nnode:\n\tip_port = {CLUSTER_PORT}\n\tip_address = {host.cluster_address}\n\tnumber = {number}\n"
            f"\tname = {host.name}\n\tcluster = {d.cluster}\n"
        )
    return text if not (before or "").strip() else (before or "").rstrip("\n") + "\n\n" + text


def stack_text(d: Description) -> str:
    """Our own configuration."""
    keys = {
        "resource": d.resource, "device": d.device, "backing_file": d.backing_file, "loop_device": d.loop_device,
        "cluster": d.cluster, "mountpoint": d.mountpoint, "mount_options": d.mount_options, "survivor": d.survivor,
        "link_grace": d.link_grace, "fence_agent": d.fence_agent, "fence_options": d.fence_options,
        "witness": d.witness,
    }  # fmt: skip
    lines = []
    for key, value in keys.items():
        if not value:
            continue
        # Commas make lists in any other value, # begins a comment.
        mark = "'" if '"' in value else '"'
        quoted = f"{mark}{value}{mark}" if re.search(r"[#,'\"\s]", value) and key != "mount_options" else value
        lines.append(f"{key:<13} = {quoted}\n")
    return f"# Written by drbdocfs create; all keys: drbdocfs.conf(5).\n[{d.stack}]\n" + "".join(lines)


# --- who goes on when the link is lost ------------------------------------------------------------------------


def survivors(names: list[str]) -> list[tuple[str, str]]:
    """What ``--survivor`` may be, with a line that explains it; ``names`` of the two, the lowest node number first."""
    first, second = names
    return [
        ("none", "nobody: both stay frozen, and are reset after a minute; nothing is lost, and neither serves"),
        (first, f"{first} goes on, {second} is reset; needs nothing else, but if {first} dies, {second} stops, too"),
        (second, f"the same the other way round; O2CB prefers {first}, and leaves {second} less time"),
        ("power", "who has switched the other one off, by a fence agent (IPMI, a power strip, a hypervisor)"),
        ("witness", "who gets a lock on a third host first, by ssh or in a shared directory"),
    ]


def policy_lines(d: Description, lowest: str) -> list[str]:
    """What a lost link will mean; ``lowest``: the host with the lowest node number in the cluster.

    The sums are of O2CB's default limits: ``drbdocfs check`` has those that are in force.
    """
    if not d.survivor:
        return []
    names = [host.name for host in d.hosts]
    if d.survivor in names:
        other = d.other(d.survivor).name
        found = [f"a lost link: {d.survivor} goes on, {other} stays frozen until the link is back, or is reset"]
    else:
        found = [{
            "none": "a lost link: both stay frozen until it is back, or are reset; --survivor would let one go on",
            "power": f"a lost link: who has switched the other one off goes on, by {d.fence_agent}",
            "witness": f"a lost link: who gets the lock at {d.witness} goes on, the other one is reset",
        }[d.survivor]]  # fmt: skip
    times = fencing.Times(
        ping_int=NET["ping-int"], ping_timeout=NET["ping-timeout"] / 10, timeout=NET["timeout"] / 10
    )
    grace = values.span(d.link_grace or values.KEYS["link_grace"].default or "0", "0", "5min") / 1e6
    for host in names if d.survivor in ("power", "witness") else [d.survivor] if d.survivor in names else []:
        plan = fencing.plan(d.survivor, grace, times, host == lowest)
        short = "" if plan.fits else ": that is too long"
        cut = f"; a grace of {grace:g} s does not fit" if plan.cut and plan.fits else ""
        found.append(f"  {host}: {plan.sum}{short}{cut}")
    return found


def left_to_do(d: Description) -> list[str]:
    """What is not create's to do, once all is up."""
    found = []
    if d.survivor == "power":
        found.append(
            f"before a lost link: {d.fence_options or FENCE_OPTIONS} on both hosts, mode 600, how {d.fence_agent}"
            " switches each of them off: drbdocfs-fence.conf(5)"
        )
    if d.survivor == "witness" and d.witness.startswith("/"):
        found.append(
            f"before a lost link: '{WITNESS} {shlex.quote(d.witness)} init' on one of the two, then the same with"
            " 'probe' on both, which has to say the same name: drbdocfs-witness(8)"
        )
    elif d.survivor == "witness":
        found.append(
            f"before a lost link: the witness has to be set up on {d.witness.rpartition('@')[2]}, with a key for root"
            " of both hosts and the host's own key known to both: drbdocfs-witness(8)"
        )
    if d.third is not None:
        name, address, _ = d.third
        found.append(
            f"on {name} ({address}), with DRBD 9: copy {d.resource_file} there (mode 600, it holds the secret), then"
            f" 'drbdadm up {d.resource}', and 'systemctl enable drbd@{d.resource}.target' for every boot; until then"
            " one of the two cannot go on without the other"
        )
    if d.survivor in ("power", "witness"):
        found.append(f"'drbdocfs fence-test {d.stack}' proves it before it is needed")
    return found


# --- steps ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """``title`` says what is there afterwards; ``files``: (name, mode, text) that it writes; ``commands``: what it
    runs after that; ``done_when``: how a second run knows that it is done."""

    name: str
    host: str
    title: str
    done_when: str
    files: tuple[tuple[str, int, str], ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()


def prepare_steps(d: Description, host: str, driver: int, cluster_conf: str | None) -> list[Step]:
    """What both hosts do for themselves."""
    disk = d.host(host).disk
    modules = ["drbd", "ocfs2", "ocfs2_stack_o2cb", *(["loop"] if d.backing_file else [])]
    found = [
        Step("modules", host, "kernel modules loaded", "they are loaded", commands=(("modprobe", "--all", *modules),)),
        Step(
            "resource-file", host, f"{d.resource_file} written", "it has just this text",
            files=((d.resource_file, 0o600, resource_text(d, driver)),),
        ),
    ]  # fmt: skip
    text = cluster_text(d, cluster_conf)
    files = () if text is None else ((CLUSTER_CONF, 0o644, text),)
    found.append(Step("cluster-file", host, f"cluster {d.cluster} in {CLUSTER_CONF}", "it has these nodes", files))
    if d.backing_file:
        found += [
            Step(
                "backing-file", host, f"backing file {d.backing_file}, {human(d.size)}", "it has its size, and is ours",
                commands=(("fallocate", "--length", str(d.size), d.backing_file),),
            ),
            Step(
                "loop", host, f"{d.loop_device} bound to it", "the kernel says so",
                commands=(("losetup", d.loop_device, d.backing_file),),
            ),
        ]  # fmt: skip
    return [
        *found,
        Step(
            "metadata", host, f"DRBD metadata on {disk}", "it can be read, and is ours",
            files=((d.wrapper, 0o600, wrapper_text(d)),),
            commands=(("drbdadm", "-c", d.wrapper, "create-md", d.resource),),
        ),
        Step(
            "attach", host, f"{d.resource} attached and connecting", "DRBD says so",
            commands=(("drbdadm", "adjust", d.resource),),
        ),
    ]  # fmt: skip


def first_steps(d: Description) -> list[Step]:
    """What only the first host does.

    ``-F -x`` of mkfs.ocfs2: the cluster is not online yet, so it cannot be asked whether others have mounted what is
    there, and nobody is there for "Proceed (y/N)".  What stands on the device is looked at before.  ``--nodiscard``: a
    discard would give the blocks of the backing file back.
    """
    return [
        Step(
            "first-sync", d.first, f"the disk of {d.first} is the good one", "it is UpToDate, and we made it so",
            commands=(("drbdadm", "primary", "--force", d.resource),),
        ),
        Step(
            "file-system", d.first, f"OCFS2 on {d.device}", "mkfs.ocfs2 has ended well",
            commands=((
                "mkfs.ocfs2", "-F", "-x", "-L", d.stack, "-U", d.uuid or "UUID", "-N", str(d.slots),
                "--cluster-stack=o2cb", f"--cluster-name={d.cluster}",
                *(["--nodiscard"] if d.backing_file else []), d.device,
            ),),
        ),
        Step("in-step", d.first, "both disks UpToDate", "DRBD says so"),
    ]  # fmt: skip


def finish_steps(d: Description, host: str) -> list[Step]:
    """What both hosts do in the end.  Our configuration is written last of all files: a half-made stack that is in no
    configuration can hold back no boot."""
    return [
        Step(
            "configuration", host, f"{d.stack_file} written", "it has just this text",
            files=((d.stack_file, 0o644, stack_text(d)),),
            commands=(("mkdir", "-p", d.mountpoint), ("systemctl", "daemon-reload")),
        ),
        Step("start", host, f"{d.mountpoint} mounted", "systemd says so", commands=(("systemctl", "start", d.target),)),
    ]  # fmt: skip


def plan(d: Description, driver: int, cluster_conf: str | None) -> list[Step]:
    """All steps in order, the first host's first."""
    hosts = sorted((host.name for host in d.hosts), key=lambda name: name != d.first)
    return [
        *(step for host in hosts for step in prepare_steps(d, host, driver, cluster_conf)),
        *first_steps(d),
        *(step for host in hosts for step in finish_steps(d, host)),
    ]


def dry_run(steps: list[Step], secret: str = "") -> Iterator[str]:
    """Every file and command, as lines for people; the secret does not show."""
    import shlex

    for step in steps:
        yield f"{step.host}: {step.title}"
        for name, mode, text in step.files:
            yield f"    write {name} (mode {mode:o}):"
            if secret:
                text = text.replace(secret, "***")
            for line in text.rstrip("\n").split("\n"):
                yield f"    | {line.expandtabs(4)}".rstrip()
        for command in step.commands:
            yield f"    {shlex.join(command)}"
        if not step.files and not step.commands:
            yield "    (wait for it)" if step.name == "in-step" else "    (nothing to do: it is there)"


# --- what stands on a disk ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """A signature: ``kind`` as blkid and wipefs name it ("ext4", "drbd", "LVM2_member", "dos"), its label and UUID."""

    kind: str
    label: str = ""
    uuid: str = ""

    def __str__(self) -> str:
        named = f" '{self.label}'" if self.label else ""
        return f"{self.kind}{named}" + (f" (UUID {self.uuid})" if self.uuid else "")

    def is_uuid(self, uuid: str) -> bool:
        return self.uuid.replace("-", "").lower() == uuid.replace("-", "").lower()


def of_wipefs(text: str) -> list[Finding]:
    """From ``wipefs --no-act --json``; raises ValueError for anything else."""
    if not text.strip():
        return []
    data = json.loads(text)
    return [Finding(str(one.get("type")), one.get("label") or "", one.get("uuid") or "") for one in data["signatures"]]


def of_blkid(text: str) -> list[Finding]:
    """From ``blkid -p -o export``."""
    keys = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    found = []
    if keys.get("TYPE"):
        found.append(Finding(keys["TYPE"], keys.get("LABEL", ""), keys.get("UUID", "")))
    if keys.get("PTTYPE"):
        found.append(Finding(f"a partition table ({keys['PTTYPE']})", "", keys.get("PTUUID", "")))
    return found


def listening(text: str) -> set[int]:
    """Ports that somebody listens on, from /proc/net/tcp or tcp6 (proc(5))."""
    ports = set()
    for line in text.splitlines():
        words = line.split()
        if len(words) > 3 and words[3] == "0A":
            ports.add(int(words[1].rpartition(":")[2], 16))
    return ports


# --- progress -------------------------------------------------------------------------------------------------


class Pace:
    """How fast something goes, from amounts and times: over the last ``span`` seconds, so that it neither jumps nor
    remembers an hour ago."""

    def __init__(self, span: float = 30.0) -> None:
        self._span = span
        self._seen: list[tuple[float, float]] = []

    def line(self, what: str, done: float, whole: float, now: float) -> str:
        """ "WHAT [####....] 41 %, 8.0 MiB/s, 12 s left"; amounts in bytes, ``now`` in seconds."""
        if self._seen and done < self._seen[-1][1]:
            self._seen = []
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > self._span:
            del self._seen[0]
        fraction = done / whole if whole else 1.0
        text = f"{what} {bar(fraction)} {int(fraction * 100):3d} %"
        elapsed, moved = now - self._seen[0][0], done - self._seen[0][1]
        if elapsed > 0 and moved > 0:
            speed = moved / elapsed
            text += f", {human(speed)}/s, {clock((whole - done) / speed)} left"
        return text


def clock(seconds: float) -> str:
    """ "12 s", "3 min 05 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
