"""DRBD's configuration of our resources, in the light of two primaries under OCFS2.

Sources: drbd.conf(5) of 8.4 and 9.0; what drbdadm 9.22 refuses for which driver (DRBD_DRIVER_VERSION_OVERRIDE).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from drbdocfs_boot import drbddump
from drbdocfs_boot.checks import lower, resource
from drbdocfs_boot.checks.configuration import key_place
from drbdocfs_boot.checks.facts import DRBD_CONF, Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Book, Finding, Rule
from drbdocfs_boot.checks.resource import Host, Resource, Volume
from drbdocfs_boot.drbdconf import SECRET, Statement
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Result, run

_REFUSED = "drbdadm refuses the file, so the resource does not come up."
_LOST = "Changes that one node made by itself, and that OCFS2 has told its users are safe, are thrown away unasked."

BOOK = Book(
    drbd_syntax=Rule(ERROR, "the text is no drbd.conf", _REFUSED, "correct the line; drbd.conf(5) has the grammar"),
    drbd_refused=Rule(
        ERROR,
        "drbdadm refuses the configuration",
        _REFUSED,
        "correct what it names; 'drbdadm dump' says when it is content",
    ),
    drbd_resource_missing=Rule(
        ERROR,
        "the stack's resource is not configured",
        "There is nothing to attach, so the stack does not come up.",
        "write /etc/drbd.d/RESOURCE.res, the same on both hosts, or correct 'resource' in the stack",
    ),
    drbd_resource_twice=Rule(
        ERROR,
        "a resource is defined twice",
        "drbdadm refuses both of them.",
        "remove one; copies of a file belong outside of /etc/drbd.d or under a name that does not end in .res",
    ),
    drbd_not_this_host=Rule(
        ERROR,
        "the resource has no section for this host",
        "drbdadm looks for 'on HOST' with what 'uname -n' prints, and ignores a resource without it. DRBD 8.4 compares "
        "to the letter; DRBD 9 passes over domain and case.",
        "give the section the name that 'uname -n' prints, on both hosts",
    ),
    drbd_floating=Rule(
        ERROR,
        "hosts told by address",
        "The stack is brought up by the 'on HOST' sections; this form has none.",
        "write 'on HOST { address ...; }' with the names that 'uname -n' prints",
    ),
    drbd_hosts=Rule(
        ERROR,
        "not two hosts",
        "Two primaries under OCFS2 are for exactly two hosts.",
        "one section 'on HOST' for each of the two",
    ),
    drbd_protocol=Rule(
        ERROR,
        "protocol is not C",
        "With A and B a write is done before it is on both disks, so the other primary reads old data: "
        "OCFS2 is damaged. DRBD refuses two primaries with them.",
        "protocol C",
    ),
    drbd_one_primary=Rule(
        ERROR,
        "two primaries are not allowed",
        "The node that comes second cannot be promoted, so the file system is mounted on one of them only.",
        "net { allow-two-primaries yes; }",
    ),
    drbd_after_sb_2pri=Rule(
        ERROR,
        "after-sb-2pri is not disconnect",
        "With OCFS2 mounted on both, any other policy changes the data below a mounted file system, or lets a "
        "handler kill a node and throw its changes away.",
        "after-sb-2pri disconnect; 'drbdocfs split-brain' resolves it by your decision",
    ),
    drbd_after_sb_1pri=Rule(
        WARNING,
        "a bold after-sb-1pri",
        "It decides against a node that was Primary. discard-secondary: when a host reboots in the middle of a split "
        "brain it comes back as Secondary, and what it had written is gone without a question.",
        "after-sb-1pri consensus",
    ),
    drbd_after_sb_0pri=Rule(
        WARNING,
        "a bold after-sb-0pri",
        _LOST,
        "after-sb-0pri discard-zero-changes or disconnect",
    ),
    drbd_rr_conflict=Rule(
        ERROR,
        "rr-conflict violently",
        "A resync may overwrite the data below a mounted file system: drbd.conf(5) calls it dangerous.",
        "rr-conflict disconnect, which is the default",
    ),
    drbd_ping=Rule(
        WARNING,
        "DRBD's own limits contradict each other",
        "drbd.conf(5): timeout must be lower than ping-int and connect-int. Else a healthy connection may be dropped.",
        "leave the three at their defaults (timeout 60, that is 6 s; ping-int 10 s; connect-int 10 s)",
    ),
    drbd_no_secret=Rule(
        NOTE,
        "the peer need not prove who it is",
        "Any host that reaches the port can take the peer's place and overwrite the disk; so can a copied "
        "configuration by accident.",
        'net { cram-hmac-alg sha256; shared-secret "..."; } on both hosts',
    ),
    drbd_half_secret=Rule(
        WARNING,
        "half of an authentication",
        "cram-hmac-alg and shared-secret work together only: one without the other proves nothing.",
        "set both, the same on both hosts",
    ),
    drbd_secret_open=Rule(
        WARNING,
        "everybody may read the secret",
        "Every user and every program of this host can take the other host's place.",
        "chmod 600 for the file, on both hosts",
    ),
    drbd_syncer=Rule(
        NOTE,
        "the old section syncer",
        "drbdadm still takes it with DRBD 8.4 (as disk { resync-rate ...; }); with DRBD 9 it refuses the file.",
        "disk { resync-rate ...; } says the same to both",
    ),
    drbd_become_primary_on=Rule(
        NOTE,
        "become-primary-on has no effect here",
        "Only the old init script of DRBD 8 looks at it, and would promote by itself, before anybody knows whether "
        "the data is good. DRBD 9 ignores it.",
        "remove it: the stack promotes when both sides are in step",
    ),
    drbd_wrong_driver=Rule(
        ERROR,
        "a setting that this driver does not know there",
        _REFUSED,
        "'fencing' belongs in disk { } with DRBD 8.4 and in net { } with DRBD 9; quorum and auto-promote are DRBD 9's",
    ),
    drbd_auto_promote=Rule(
        WARNING,
        "DRBD promotes by itself",
        "Whatever opens the device for writing then makes this node Primary, past the wait for the peer.",
        "options { auto-promote no; }",
    ),
    drbd_device_differs=Rule(
        ERROR,
        "device is not the resource's",
        "The stack mounts another device than the one it brings up, so it refuses to.",
        "make 'device' of the stack and of the resource the same",
    ),
    drbd_disk_differs=Rule(
        ERROR,
        "loop_device is not the resource's disk",
        "The stack sets up one loop device and DRBD attaches another disk.",
        "make 'disk' of the resource and loop_device of the stack the same",
    ),
    drbd_loop_unmanaged=Rule(
        ERROR,
        "a loop device that nobody sets up",
        "After a reboot the loop device has no file, so DRBD finds no disk.",
        "backing_file and loop_device in the stack; 'losetup -l' shows which file it is now",
    ),
    drbd_no_flushes=Rule(
        WARNING,
        "DRBD does not flush the disk",
        "What fsync acknowledged, and DRBD's own metadata, may then be in the disk's cache only. When the power of "
        "both nodes goes that is lost, and DRBD and OCFS2 go on as if it were there.",
        "right only where the cache below survives a power cut (a RAID controller with a battery or flash); else "
        "remove the line",
    ),
    drbd_no_drain=Rule(
        WARNING,
        "DRBD does not keep writes in order",
        "drbd.conf(5): do not disable it in production. Writes that OCFS2's journal needs one after the other may "
        "reach the disk the other way round, on one node or on both.",
        "remove the line",
    ),
    drbd_diskless=Rule(
        ERROR,
        "this host has no disk",
        "The stack waits for a disk that is UpToDate on both nodes.",
        "disk /dev/...; in 'on HOST' of this host",
    ),
    drbd_volumes=Rule(
        WARNING,
        "more than one volume",
        "The stack mounts one of them. The others are brought up and promoted with it, and are watched by nobody.",
        "one resource for each file system",
    ),
    drbd_minor_twice=Rule(
        ERROR,
        "two resources with the same minor number",
        "A device node can belong to one of them only; drbdadm refuses.",
        "give each its own 'device /dev/drbdN minor N;'",
    ),
    drbd_usage_count=Rule(
        NOTE,
        "drbdadm may report to LINBIT",
        "usage-count is 'ask' by default: drbdadm may stop with a question, or try to reach a server on the internet.",
        "global { usage-count no; } in /etc/drbd.d/global_common.conf",
    ),
)

_LOOP = re.compile(r"/dev/loop/?\d+")
SAFE_0PRI = ("disconnect", "discard-zero-changes")
SAFE_1PRI = ("disconnect", "consensus")


def find(facts: Facts) -> Iterator[Finding]:
    stacks = facts.reading.stacks
    for one in facts.drbd.mistakes:
        yield BOOK.finding("drbd-syntax", f"{one.file}:{one.line}", one.message)
    # Reading it notes what this user may not see; a pattern finds nothing there, without a word.
    facts.names("/etc/drbd.d")
    hidden = facts.hidden("/etc/drbd.d", *facts.drbd.files) or facts.hidden(DRBD_CONF)
    yield from _twice(facts, {s.resource for s in stacks})
    for stack in stacks:
        found = resource.find(facts.drbd, stack.resource)
        if found is not None:
            yield from _resource(facts, stack, found)
        elif not hidden:
            where = key_place(facts, stack, "resource")
            message = f"{DRBD_CONF} and its includes have no resource '{stack.resource}'"
            if not facts.drbd.files:
                message = f"there is no {DRBD_CONF}"
            yield BOOK.finding("drbd-resource-missing", where, message, stack.name)
    if stacks and facts.drbd.files:
        yield from _usage_count(facts)


def _twice(facts: Facts, ours: set[str]) -> Iterator[Finding]:
    """Resources, and minor numbers on this host, that exist twice; only where one of ours is concerned."""
    first: dict[str, Statement] = {}
    minors: dict[int, tuple[str, str]] = {}
    for statement in facts.drbd.resources():
        name = statement.words[1]
        before = first.setdefault(name, statement)
        if before is not statement:
            if name in ours:
                yield BOOK.finding(
                    "drbd-resource-twice", statement.place, f"resource {name} stands in {before.place} already"
                )
            continue
        own = facts.own(Resource(facts.drbd, statement))
        for volume in own.volumes.values() if own else ():
            if volume.minor is None or volume.device is None:
                continue
            other, place = minors.setdefault(volume.minor, (name, volume.device.place))
            if place != volume.device.place and ours & {name, other}:
                message = f"minor {volume.minor} of {name} is that of {other} in {place}"
                yield BOOK.finding("drbd-minor-twice", volume.device.place, message)


def _resource(facts: Facts, stack: Stack, found: Resource) -> Iterator[Finding]:
    place = found.statement.place
    own = facts.own(found)
    if found.floating:
        words = found.floating[0].shown
        yield BOOK.finding("drbd-floating", found.floating[0].place, f"'{words}' in resource {found.name}", stack.name)
    elif own is None or own.name != facts.host:
        yield _not_here(facts, stack, found)
    # DRBD 9 may have a third one, without a disk, whose voice makes a majority (drbd.conf(5): quorum).
    voters = [host for host in found.hosts.values() if host.diskless and host is not own]
    extra = 1 if facts.driver != 8 and len(voters) == 1 and len(found.hosts) == 3 else 0
    if not found.floating and len(found.hosts) - extra != 2:
        names = ", ".join(found.hosts) or "none"
        message = f"resource {found.name} has {len(found.hosts)} hosts ({names})"
        yield BOOK.finding("drbd-hosts", place, message, stack.name)
    yield from _primaries(facts, stack, found)
    yield from _after_split_brain(stack, found)
    yield from _times(stack, found)
    yield from _secret(facts, stack, found)
    said = list(_old(facts, stack, found))
    yield from said
    if own is not None:
        yield from _disk(facts, stack, found, own)
        yield from _flushes(stack, found, own)
        if not any(f.severity == ERROR for f in said) and not facts.drbd.mistakes:
            yield from _drbdadm(facts, stack, found)


def nearly(host: str, names: list[str]) -> str:
    """The name that was probably meant for ``host``, with the difference in words; "" when none is close."""
    for name in names:
        if name.lower() == host.lower():
            return f"'{name}' differs from it in capital letters only"
        if name.lower().partition(".")[0] == host.lower().partition(".")[0]:
            return f"'{name}' differs from it in the domain"
    return ""


def _not_here(facts: Facts, stack: Stack, found: Resource) -> Finding:
    names = list(found.hosts)
    hint = nearly(facts.host, names)
    close = next((h for h in found.hosts.values() if hint.startswith(f"'{h.name}' ")), None)
    where = close.statement.place if close else found.statement.place
    message = f"resource {found.name} is for {' and '.join(names) or 'no host'}, this host is '{facts.host}'"
    severity = WARNING if facts.named(names) in names else ""
    return BOOK.finding(
        "drbd-not-this-host", where, message + (f": {hint}" if hint else ""), stack.name, severity=severity
    )


def _primaries(facts: Facts, stack: Stack, found: Resource) -> Iterator[Finding]:
    statement = found.protocol
    if statement is not None and statement.words[1:2] not in (("C",), ("c",)):
        message = f"resource {found.name} has {statement.shown}"
        yield BOOK.finding("drbd-protocol", statement.place, message, stack.name)
    if found.value("net", "allow-two-primaries", "no") != "yes":
        where = found.place("net", "allow-two-primaries")
        yield BOOK.finding("drbd-one-primary", where, f"resource {found.name} allows one primary only", stack.name)
    automatic = found.value("options", "auto-promote", "yes")
    if facts.driver == 9 and automatic != "no":
        where = found.place("options", "auto-promote")
        yield BOOK.finding(
            "drbd-auto-promote", where, f"resource {found.name} has auto-promote {automatic}", stack.name
        )


def _after_split_brain(stack: Stack, found: Resource) -> Iterator[Finding]:
    def policy(name: str) -> tuple[str, str]:
        return found.value("net", name, "disconnect"), found.place("net", name)

    value, where = policy("after-sb-2pri")
    if value != "disconnect":
        yield BOOK.finding("drbd-after-sb-2pri", where, f"after-sb-2pri is {value}", stack.name)
    value, where = policy("after-sb-1pri")
    if value == "violently-as0p":
        message = (
            "after-sb-1pri violently-as0p may change the data below the mounted file system (drbd.conf(5): DANGEROUS)"
        )
        yield BOOK.finding("drbd-after-sb-1pri", where, message, stack.name, severity=ERROR)
    elif value not in SAFE_1PRI:
        yield BOOK.finding("drbd-after-sb-1pri", where, f"after-sb-1pri is {value}", stack.name)
    value, where = policy("after-sb-0pri")
    if value not in SAFE_0PRI:
        yield BOOK.finding("drbd-after-sb-0pri", where, f"after-sb-0pri is {value}", stack.name)
    value, where = policy("rr-conflict")
    if value == "violently":
        yield BOOK.finding("drbd-rr-conflict", where, "rr-conflict is violently", stack.name)


def _times(stack: Stack, found: Resource) -> Iterator[Finding]:
    timeout = found.number("net", "timeout", 60) / 10
    limits = {name: found.number("net", name, 10) for name in ("ping-int", "connect-int")}
    low = [name for name, limit in limits.items() if timeout >= limit]
    if low:
        where = found.place("net", "timeout" if found.setting("net", "timeout") else low[0])
        message = f"timeout is {timeout:g} s, " + " and ".join(f"{name} {limits[name]} s" for name in low)
        yield BOOK.finding("drbd-ping", where, message, stack.name)


def _secret(facts: Facts, stack: Stack, found: Resource) -> Iterator[Finding]:
    secret, algorithm = found.setting("net", "shared-secret"), found.setting("net", "cram-hmac-alg")
    if secret is None and algorithm is None:
        addresses = [e.ip for host in found.hosts.values() for e in host.endpoints]
        public = [str(a) for a in addresses if a is not None and not _private(a)]
        message = f"resource {found.name} has no shared-secret"
        if public:
            message += f", and {public[0]} is no private address"
        severity = WARNING if public else NOTE
        yield BOOK.finding("drbd-no-secret", found.statement.place, message, stack.name, severity=severity)
    elif secret is None or algorithm is None:
        there, missing = ("cram-hmac-alg", "shared-secret") if secret is None else ("shared-secret", "cram-hmac-alg")
        message = f"there is {there}, but no {missing}"
        yield BOOK.finding("drbd-half-secret", found.place("net", there), message, stack.name)
    status = facts.stat(secret.file) if secret is not None else None
    if secret is not None and status is not None and status.st_mode & 0o004:
        message = f"shared-secret in a file of mode {status.st_mode & 0o7777:04o}"
        yield BOOK.finding("drbd-secret-open", secret.place, message, stack.name)


def _private(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_private or address.is_link_local or address.is_loopback


def _old(facts: Facts, stack: Stack, found: Resource) -> Iterator[Finding]:
    """What another driver would read otherwise."""
    for _, statement in found.everywhere("syncer"):
        nine = facts.driver == 9
        message = "section 'syncer', which DRBD 9 refuses" if nine else "section 'syncer'"
        severity = ERROR if nine else NOTE
        yield BOOK.finding("drbd-syncer", statement.place, message, stack.name, severity=severity)
    for _, statement in found.everywhere("become-primary-on"):
        yield BOOK.finding("drbd-become-primary-on", statement.place, statement.shown, stack.name)
    unknown = {
        8: (("fencing", "net"), ("quorum", ""), ("on-no-quorum", ""), ("auto-promote", "")),
        9: (("fencing", "disk"),),
    }
    for name, wrong in unknown.get(facts.driver, ()):
        for section, statement in found.everywhere(name):
            if section == wrong or not wrong:
                message = f"DRBD {facts.driver} does not know '{name}' in {section} {{ }}"
                yield BOOK.finding("drbd-wrong-driver", statement.place, message, stack.name)


def _disk(facts: Facts, stack: Stack, found: Resource, own: Host) -> Iterator[Finding]:
    volumes = list(own.volumes.values())
    if len(volumes) > 1:
        numbers = ", ".join(own.volumes)
        message = f"resource {found.name} has the volumes {numbers}; the stack mounts {stack.device}"
        yield BOOK.finding("drbd-volumes", found.statement.place, message, stack.name)
    mounted = _mounted(stack, found, own)
    if mounted is None:
        nodes = ", ".join(v.node for v in volumes if v.node) or "no device"
        where = key_place(facts, stack, "device")
        message = f"device = {stack.device}, but resource {found.name} has {nodes}"
        yield BOOK.finding("drbd-device-differs", where, message, stack.name)
    for volume in volumes:
        if volume.disk is None:
            continue
        disk, place = volume.disk.words[1], volume.disk.place
        if disk == "none":
            yield BOOK.finding("drbd-diskless", place, f"{found.name} has 'disk none' on {own.name}", stack.name)
        elif stack.loop_device and disk != stack.loop_device and (volume is mounted or len(volumes) == 1):
            message = f"disk {disk}, but the stack has loop_device = {stack.loop_device}"
            yield BOOK.finding("drbd-disk-differs", place, message, stack.name)
        elif not stack.loop_device and _LOOP.fullmatch(disk):
            message = f"disk {disk}, but the stack has no loop_device"
            yield BOOK.finding("drbd-loop-unmanaged", place, message, stack.name)
    setting = lower.setting(facts, stack)
    if setting is not None and _LOOP.fullmatch(setting.metadata):
        message = f"meta-disk {setting.metadata}, which no unit sets up"
        advice = "a partition or a logical volume for the metadata, or 'meta-disk internal' with metadata made anew"
        yield BOOK.finding("drbd-loop-unmanaged", setting.meta_place, message, stack.name, advice=advice)


def _flushes(stack: Stack, found: Resource, own: Host) -> Iterator[Finding]:
    """What a power cut may cost, a layer below OCFS2's barrier=1."""
    said = {name: _off(found, own, name) for name in ("disk-flushes", "md-flushes", "disk-drain")}
    for name in ("disk-flushes", "md-flushes"):
        statement = said[name]
        if statement is not None:
            yield BOOK.finding("drbd-no-flushes", statement.place, f"resource {found.name} has {name} no", stack.name)
    drain = said["disk-drain"]
    if drain is not None:
        # As long as it flushes it waits for what it flushes.
        both = said["disk-flushes"] is not None
        message = f"resource {found.name} has disk-drain no" + (" and disk-flushes no: no order at all" if both else "")
        severity = ERROR if both else ""
        yield BOOK.finding("drbd-no-drain", drain.place, message, stack.name, severity=severity)


def _off(found: Resource, own: Host, name: str) -> Statement | None:
    """The statement that switches off an option of a disk: of this host's, of the resource's, else of common's.

    Before 8.4 it was ``no-NAME``, which drbdadm takes to this day.
    """
    tops = (own.statement, found.statement)
    places = [one for top in tops for one in (*top.sections("volume"), top)]
    for place in (*places, *reversed(found.configuration.sections("common"))):
        told = [s for disk in place.sections("disk") for s in disk.settings(name, f"no-{name}")]
        if told:
            last = told[-1]
            off = last.words[0] != name or [word.lower() for word in last.words[1:2]] == ["no"]
            return last if off else None
    return None


def _mounted(stack: Stack, found: Resource, own: Host) -> Volume | None:
    """The volume that the stack's device names, by the attach's own table."""
    for number, volume in own.volumes.items():
        minor = "" if volume.minor is None else str(volume.minor)
        disk = "" if volume.disk is None else volume.disk.words[1]
        if stack.device in drbddump.names(found.name, number, minor, volume.node, disk, len(own.volumes) == 1):
            return volume
    return None


def _drbdadm(facts: Facts, stack: Stack, found: Resource) -> Iterator[Finding]:
    """drbdadm's own word, where it can be asked: on this host, or on a tree whose driver is known."""
    result = _dump(facts, found.name)
    if result is None or result.code == 0:
        return
    lines = [line.strip() for line in (result.err or result.out).splitlines() if line.strip()]
    lines = [line for line in lines if "__DRBD_NODE__" not in line and "PRETENDING" not in line]
    if any("permission denied" in line.lower() for line in lines):
        return
    where, message = found.statement.place, "; ".join(lines) or f"exit {result.code}"
    for line in lines:
        told = re.match(r"(\S+):(\d+): ", line)
        if told:
            file = told[1].removeprefix(system.path("")) if told[1].startswith("/") else "/etc/" + told[1]
            where = f"{file}:{told[2]}"
            message = message.replace(told[0], "", 1)
            near = (facts.read(file) or "").split("\n")[max(0, int(told[2]) - 2) : int(told[2])]
            if any(SECRET in line for line in near):
                # It repeats what it does not understand: "but got 'WORD'", "while parsing value ('WORD')".
                message = re.sub("'.*'|>>>.*<<<", "'…'", message)
            break
    yield BOOK.finding("drbd-refused", where, f"drbdadm: {message}"[:500], stack.name)


def _dump(facts: Facts, name: str) -> Result | None:
    if facts.live:
        return facts.tool("drbdadm", "dump", name)
    version = facts.read("/sys/module/drbd/version")
    if version is None:
        return None
    override = [f"__DRBD_NODE__={facts.host}", f"DRBD_DRIVER_VERSION_OVERRIDE={version}"]
    try:
        return run(["env", *override, "drbdadm", "-c", system.path(DRBD_CONF), "dump", name], 10)
    except (Failure, ValueError):
        return None


def _usage_count(facts: Facts) -> Iterator[Finding]:
    found = [s for one in facts.drbd.sections("global") for s in one.settings("usage-count")]
    value = found[-1].words[1] if found and len(found[-1].words) > 1 else "ask"
    if value != "no" and not facts.hidden("/etc/drbd.d"):
        where = found[-1].place if found else DRBD_CONF
        yield BOOK.finding("drbd-usage-count", where, f"usage-count is {value}" + ("" if found else " by default"))
