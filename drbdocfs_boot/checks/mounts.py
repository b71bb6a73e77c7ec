"""Area mounts of ``drbdocfs check``: the mount point, fstab, and who else mounts what is ours."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from drbdocfs_boot import escape, ocfs2sb, units
from drbdocfs_boot.checks import lower, unitfiles
from drbdocfs_boot.checks.facts import FSTAB, Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Book, Finding, Rule
from drbdocfs_boot.fstab import Line
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import mounts as mount_table

BOOK = Book(
    mountpoint_missing=Rule(
        NOTE,
        "the mount point does not exist yet",
        "systemd makes it at the first mount.",
        "nothing to do; 'mkdir DIRECTORY' if its owner and mode are to be others than root's",
    ),
    mountpoint_not_a_directory=Rule(
        ERROR,
        "the mount point is not a directory",
        "The mount fails.",
        "move it away, or set another mountpoint",
    ),
    mountpoint_not_empty=Rule(
        WARNING,
        "the mount point is not empty while nothing is mounted",
        "What lies there is hidden as soon as the stack is up. Often it was written while the mount was missing, and"
        " the other node never gets it.",
        "with the stack down, move it away; with the stack up, copy into the mount what belongs there",
    ),
    mountpoint_taken=Rule(
        ERROR,
        "something else is mounted on the mount point",
        "The stack's file system would be mounted over it, or systemd takes it for the stack's and mounts nothing.",
        "unmount it, or set another mountpoint",
    ),
    mountpoint_symlink=Rule(
        ERROR,
        "the mount point is, or lies below, a symbolic link",
        "systemd refuses to mount on a path that is not the real one.",
        "set mountpoint to the real path",
    ),
    mountpoint_on_stack=Rule(
        WARNING,
        "the mount point lies on the mount of another stack",
        "systemd mounts the outer one first and unmounts it last. So this stack waits for the outer one's peer, and"
        " stops and starts whenever the outer one does.",
        "set a mountpoint that is on no stack, unless this is wanted",
    ),
    mounted_elsewhere=Rule(
        WARNING,
        "the stack's device is mounted somewhere else",
        "Nobody unmounts that one when the stack stops, so DRBD cannot be demoted and a shutdown waits in vain. And"
        " each mount of the device takes a reference on OCFS2's heartbeat, of which only the last unmount gives one"
        " back.",
        "unmount it. For another view of the files let fstab bind the mount point: 'MOUNTPOINT DIRECTORY none bind'.",
    ),
    mounted_twice=Rule(
        WARNING,
        "the stack's device is mounted twice on its mount point",
        "Unmounting it once leaves the other one, and DRBD cannot be demoted.",
        "umount DIRECTORY, once",
    ),
    heartbeat_left=Rule(
        WARNING,
        "OCFS2's heartbeat has a reference too many",
        "A second mount of the same device leaves a reference on the heartbeat behind, also when it is unmounted again."
        " With it the cluster cannot go offline when the stack stops, and DRBD cannot be demoted.",
        "with nothing but the stack's mount left: 'ocfs2_hb_ctl -K -u UUID' gives one reference back.",
    ),
    fstab_double=Rule(
        WARNING,
        "fstab has two lines for the mount point",
        "The first one counts, the others are ignored, with a message in the journal only.",
        "leave one line, or none: the stack brings its own mount unit",
    ),
    fstab_second_mount=Rule(
        WARNING,
        "fstab mounts the stack's device in another place",
        "That mount is no part of the stack: it keeps DRBD Primary when the stack stops, and leaves a reference on"
        " OCFS2's heartbeat behind when it goes.",
        "remove the line, or make it a bind mount: 'MOUNTPOINT DIRECTORY none bind'",
    ),
    fstab_nofail=Rule(
        WARNING,
        "fstab's line for the mount point has nofail",
        "systemd then leaves out the order before remote-fs.target: services start without the mount, and at the"
        " shutdown it may go too early (systemd issue 5991).",
        "remove nofail: the stack never keeps the machine from booting anyway",
    ),
    fstab_by_uuid=Rule(
        ERROR,
        "fstab names OCFS2 by UUID or label",
        "The disk below DRBD carries the same UUID and label as DRBD's device. Mounted from there, what is written"
        " never reaches the peer.",
        "write DRBD's device instead",
    ),
    fstab_lower_disk=Rule(
        ERROR,
        "fstab mounts the disk below DRBD",
        "What is written past DRBD never reaches the peer, and DRBD cannot attach the disk.",
        "remove the line",
    ),
    fstab_device=Rule(
        ERROR,
        "fstab mounts another device on the mount point",
        "The line and the stack contradict each other, so the stack is not started.",
        "make them the same, or remove the line",
    ),
    fstab_type=Rule(
        ERROR,
        "fstab's line for the mount point is not of type ocfs2",
        "The line and the stack contradict each other, so the stack is not started.",
        "write ocfs2 in the third column",
    ),
    fstab_options=Rule(
        WARNING,
        "fstab's options differ from mount_options",
        "Where fstab has a line for the mount point, its options are taken and mount_options is not.",
        "make them the same, or remove the line in fstab",
    ),
    mount_unit=Rule(
        ERROR,
        "the administrator's own mount unit does not fit the stack",
        "A unit in /etc/systemd/system, or a drop-in there, goes before the stack's own mount unit and before fstab."
        " What it mounts past DRBD never reaches the peer.",
        "remove it: the stack brings its own mount unit. Or write What=DEVICE and Type=ocfs2, as the stack has them",
    ),
    mount_no_barrier=Rule(
        WARNING,
        "OCFS2 is mounted without barrier=1",
        "Then OCFS2 never tells the disk to flush its cache, and what fsync acknowledged is lost when the power of both"
        " nodes goes while it is in the memory of both.",
        "write barrier=1 into fstab's options, those of the mount unit, or mount_options, on both nodes; then"
        " 'drbdocfs restart'",
    ),
    automount=Rule(
        WARNING,
        "an automounter is set on the mount point",
        "It mounts on first access and may unmount when idle, past the stack: whoever looks at the directory while the"
        " stack waits for its peer hangs.",
        "remove it: the stack mounts by itself",
    ),
)

# Words of fstab that are for systemd and mount(8), not for the file system.
_NOT_OPTIONS = frozenset(("defaults", "noauto", "auto", "_netdev", "nofail", "rw", ""))
_TAGS = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=")
# The same in udev's links.
_BY_CONTENT = ("/dev/disk/by-uuid/", "/dev/disk/by-label/")


def find(facts: Facts) -> Iterator[Finding]:
    """All findings of the area."""
    for stack in facts.reading.stacks:
        yield from _mountpoint(facts, stack)
        yield from _mounted(facts, stack)
        yield from _own_lines(facts, stack)
        yield from _other_lines(facts, stack)
        yield from _unit(facts, stack)
        yield from _barrier(facts, stack)
        yield from _automount(facts, stack)


# --- the mount point and what is mounted


def _mountpoint(facts: Facts, stack: Stack) -> Iterator[Finding]:
    place = stack.mountpoint
    real = facts.resolve(place)
    if real != place:
        yield BOOK.finding("mountpoint-symlink", place, f"{place} leads to {real} by a symbolic link", stack.name)
    for other in facts.reading.stacks:
        if other is not stack and place.startswith(other.mountpoint + "/"):
            yield BOOK.finding(
                "mountpoint-on-stack",
                place,
                f"{place} lies on {other.mountpoint}, the mount of stack {other.name}",
                stack.name,
            )
    if any(m.target in (place, real) for m in facts.mounts):
        return  # what is mounted there is not what lies there, and may not answer
    if facts.on_stack(real):
        return  # what it lies on may not answer either
    below = lower.mount_of(facts, real)
    if below is not None and below.type in lower.NETWORK_TYPES:
        return
    found = facts.stat(real)
    if found is None:
        yield BOOK.finding("mountpoint-missing", place, f"the mount point {place} does not exist yet", stack.name)
    elif not stat.S_ISDIR(found.st_mode):
        yield BOOK.finding("mountpoint-not-a-directory", place, f"{place} is not a directory", stack.name)
    else:
        names = facts.names(real)
        if names:
            shown = ", ".join(ascii(name)[1:-1] for name in names[:3])
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            yield BOOK.finding(
                "mountpoint-not-empty", place, f"{place} is not mounted and holds {shown}{more}", stack.name
            )


def _is_device(facts: Facts, stack: Stack, source: str) -> bool:
    names = (stack.device, f"/dev/drbd/by-res/{stack.resource}", f"/dev/drbd/by-res/{stack.resource}/0")
    return source in names or (source.startswith("/dev/") and lower.same(facts, source, stack.device))


def _is_lower(facts: Facts, stack: Stack, source: str) -> str:
    """How ``source`` leads to the stack's disk past DRBD; "" when it does not."""
    disk = lower.setting(facts, stack)
    if stack.backing_file and source.startswith("/") and lower.same(facts, source, stack.backing_file):
        return f"the backing file of stack {stack.name}"
    if stack.loop_device and lower.same(facts, source, stack.loop_device):
        return f"the loop device of stack {stack.name}"
    if disk is not None and source.startswith("/") and lower.same(facts, source, disk.name):
        return f"the disk below {stack.device}"
    return ""


def _mounted(facts: Facts, stack: Stack) -> Iterator[Finding]:
    ours = {m.number for m in mount_table.on_device(facts.mounts, stack.device)}
    ours |= {m.number for m in facts.mounts if _is_device(facts, stack, m.source)}
    here = 0
    for mount in facts.mounts:
        if mount.type == "autofs":
            continue  # an automounter's own mount; told below
        if mount.target == stack.mountpoint:
            here += mount.number in ours
            if mount.number not in ours:
                yield BOOK.finding(
                    "mountpoint-taken",
                    mount.target,
                    f"{mount.source} ({mount.type}) is mounted on {mount.target}, not {stack.device}",
                    stack.name,
                )
        elif mount.number in ours and mount.root == "/" and not _bound(facts, stack, mount.target):
            # A bind mount of a directory in it is somebody's good right.
            yield BOOK.finding(
                "mounted-elsewhere",
                mount.target,
                f"{stack.device} is mounted on {mount.target}, and the stack's mount point is {stack.mountpoint}",
                stack.name,
            )
    if here > 1:
        yield BOOK.finding(
            "mounted-twice",
            stack.mountpoint,
            f"{stack.device} is mounted {here} times on {stack.mountpoint}",
            stack.name,
        )
    yield from _heartbeat(facts, stack)


def _heartbeat(facts: Facts, stack: Stack) -> Iterator[Finding]:
    """References on the heartbeat's region, as ocfs2_hb_ctl counts them; in global mode they mean something else."""
    if (facts.read(f"/sys/kernel/config/cluster/{stack.cluster}/heartbeat/mode") or "local").strip() != "local":
        return
    found = lower.content(facts, stack)
    if found is None or found.ocfs2 is None:
        return
    uuid = found.ocfs2.uuid.upper()
    if not facts.exists(f"/sys/kernel/config/cluster/{stack.cluster}/heartbeat/{uuid}"):
        return
    said = facts.tool("ocfs2_hb_ctl", "-I", "-u", uuid)
    references = re.search(r":\s*(\d+)\s+refs", said.out) if said is not None and said.code == 0 else None
    # One there may be without a mount, too: mount.ocfs2 takes it seconds before the mount, and gives it back after it.
    if references and int(references.group(1)) > 1:
        yield BOOK.finding(
            "heartbeat-left",
            uuid,
            f"the heartbeat of {stack.device} has {references.group(1)} references, and one mount needs one",
            stack.name,
            advice=f"with nothing but the stack's mount left: 'ocfs2_hb_ctl -K -u {uuid}' gives one reference back",
        )


def _bound(facts: Facts, stack: Stack, target: str) -> bool:
    """Whether fstab binds the mount point there.  In the mount table that looks like a second mount of the device, but
    systemd orders it with the mount point's unit."""
    return any(
        line.target == target and line.spec == stack.mountpoint and {"bind", "rbind"} & set(line.options.split(","))
        for line in facts.fstab
    )


# --- fstab


def _at(line: Line) -> str:
    return f"{FSTAB}:{line.number}"


def _own_lines(facts: Facts, stack: Stack) -> Iterator[Finding]:
    """The lines for the mount point; the first one counts."""
    lines = [line for line in facts.fstab if line.target == stack.mountpoint]
    for line in lines[1:]:
        yield BOOK.finding(
            "fstab-double",
            _at(line),
            f"a second line for {stack.mountpoint}; the first is {_at(lines[0])}",
            stack.name,
        )
    if not lines:
        return
    line, options = lines[0], set(lines[0].options.split(","))
    if line.spec.upper().startswith(_TAGS) or line.spec.startswith(_BY_CONTENT):
        yield BOOK.finding(
            "fstab-by-uuid",
            _at(line),
            f"{stack.mountpoint} is to be mounted by {line.spec}, which may name the disk below DRBD",
            stack.name,
            advice=f"write {stack.device} instead",
        )
    elif not _is_device(facts, stack, line.spec) and not _is_lower(facts, stack, line.spec):
        yield BOOK.finding(
            "fstab-device",
            _at(line),
            f"{stack.mountpoint} is to be mounted from {line.spec}, and the stack has device = {stack.device}",
            stack.name,
        )
    if line.type not in ("ocfs2", "auto"):
        yield BOOK.finding("fstab-type", _at(line), f"{stack.mountpoint} is to be mounted as {line.type}", stack.name)
    if "nofail" in options:
        yield BOOK.finding("fstab-nofail", _at(line), f"the line for {stack.mountpoint} has nofail", stack.name)
    if any(option.partition("=")[0] == "x-systemd.automount" for option in options):
        yield BOOK.finding(
            "automount", _at(line), f"the line for {stack.mountpoint} has x-systemd.automount", stack.name
        )
    theirs, ours = _options(line.options), _options(stack.mount_options)
    if stack.mount_options and theirs != ours:
        yield BOOK.finding(
            "fstab-options",
            _at(line),
            f"the line for {stack.mountpoint} has the options {line.options!r}, and the stack has mount_options ="
            f" {stack.mount_options}",
            stack.name,
        )


def _options(text: str) -> set[str]:
    # Of barriers _barrier() has the word: our own mount unit adds one.
    others = ("x-", "comment=", "barrier")
    return {option for option in text.split(",") if option not in _NOT_OPTIONS and not option.startswith(others)}


def _other_lines(facts: Facts, stack: Stack) -> Iterator[Finding]:
    """Lines for whatever mount point that reach our device, or the disk below it."""
    found = lower.content(facts, stack) if any(line.spec.upper().startswith(_TAGS) for line in facts.fstab) else None
    superblock = found.ocfs2 if found is not None else None
    for line in facts.fstab:
        below = _is_lower(facts, stack, line.spec)
        if below:
            yield BOOK.finding(
                "fstab-lower-disk", _at(line), f"{line.spec}, {below}, is to be mounted on {line.target}", stack.name
            )
        elif line.target == stack.mountpoint:
            continue
        elif _is_device(facts, stack, line.spec):
            yield BOOK.finding(
                "fstab-second-mount",
                _at(line),
                f"{stack.device} is to be mounted on {line.target} as well as on {stack.mountpoint}",
                stack.name,
            )
        elif superblock is not None and _names(line.spec, superblock):
            yield BOOK.finding(
                "fstab-by-uuid",
                _at(line),
                f"{line.target} is to be mounted by {line.spec}, which the disk below {stack.device} carries",
                stack.name,
                advice=f"remove the line, or write {stack.device} instead",
            )


# --- a unit of the administrator's own


@dataclass(frozen=True)
class _Setting:
    file: str
    number: int
    value: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"


def _own_unit(facts: Facts, stack: Stack) -> tuple[bool, dict[str, _Setting]]:
    """Whether the mount unit is a file of the administrator's, and what that and its drop-ins say in [Mount]."""
    try:
        unit = escape.mount_unit(stack.mountpoint)
    except escape.Unwritable:
        return False, {}
    if unitfiles.masked(facts, unit):
        return False, {}
    directories = (unitfiles.ADMINISTRATOR, "/run/systemd/system")
    main = next((file for d in directories if facts.exists(file := f"{d}/{unit}")), "")
    dropins: dict[str, str] = {}
    for directory in directories:
        for file in facts.glob(f"{directory}/{unit}.d/*.conf"):
            dropins.setdefault(file.rpartition("/")[2], file)
    found: dict[str, _Setting] = {}
    for file in (*([main] if main else []), *(dropins[name] for name in sorted(dropins))):
        section = ""
        for number, text in unitfiles.lines(facts, file):
            key, equals, value = (part.strip() for part in text.partition("="))
            if key.startswith("["):
                section = key
            elif equals and section == "[Mount]":
                found[key] = _Setting(file, number, value.replace("%%", "%"))
    return bool(main), found


def _unit(facts: Facts, stack: Stack) -> Iterator[Finding]:
    """The same rules as those for fstab's line."""
    found = _own_unit(facts, stack)[1]
    what, kind, options = (found.get(key) for key in ("What", "Type", "Options"))
    if what is not None and what.value:
        below = _is_lower(facts, stack, what.value)
        message = ""
        if what.value.upper().startswith(_TAGS) or what.value.startswith(_BY_CONTENT):
            message = f"by {what.value}, which may name the disk below DRBD"
        elif below:
            message = f"from {what.value}, {below}"
        elif not _is_device(facts, stack, what.value):
            message = f"from {what.value}, and the stack has device = {stack.device}"
        if message:
            yield BOOK.finding(
                "mount-unit", what.place, f"{stack.mountpoint} is to be mounted {message}", stack.name
            )
    if kind is not None and kind.value not in ("", "ocfs2", "auto"):
        yield BOOK.finding(
            "mount-unit", kind.place, f"{stack.mountpoint} is to be mounted as {kind.value}", stack.name
        )
    if options is not None and stack.mount_options and _options(options.value) != _options(stack.mount_options):
        yield BOOK.finding(
            "mount-unit",
            options.place,
            f"the unit for {stack.mountpoint} has the options {options.value!r}, and the stack has mount_options ="
            f" {stack.mount_options}",
            stack.name,
            severity=WARNING,
            advice="make them the same: those of the unit are taken",
        )


def _barrier(facts: Facts, stack: Stack) -> Iterator[Finding]:
    """Where barrier=1 is missing: in what the next mount is made from, else in the mount that is there."""
    lines = [line for line in facts.fstab if line.target == stack.mountpoint]
    whole, settings = _own_unit(facts, stack)
    own = settings.get("Options")
    if own is not None or whole:
        place = next(iter(settings.values())).file if settings else stack.mountpoint
        where, named, options = place, f"the unit for {stack.mountpoint}", ""
        if own is not None:
            where, options = own.place, own.value
    elif lines:
        where, named, options = _at(lines[0]), f"the line for {stack.mountpoint}", lines[0].options
    else:
        where, named = stack.mountpoint, f"mount_options of stack {stack.name}"
        options = units.mount_options(stack.mount_options)
    if not _flushes(options):
        yield BOOK.finding("mount-no-barrier", where, f"{named} leads to a mount without barrier=1", stack.name)
        return
    for mount in facts.mounts:
        if mount.target != stack.mountpoint or not _is_device(facts, stack, mount.source):
            continue
        if not _flushes(mount.options):
            yield BOOK.finding(
                "mount-no-barrier",
                stack.mountpoint,
                f"{stack.mountpoint} was mounted without barrier=1",
                stack.name,
                advice=f"it has it after 'drbdocfs restart {stack.name}', on both nodes",
            )


def _flushes(options: str) -> bool:
    """Whether OCFS2's last word on barriers is yes: it is told by a number, anything but 0 (fs/ocfs2/super.c)."""
    words = [word.strip() for word in options.split(",") if word.strip().startswith("barrier=")]
    return bool(words) and words[-1].partition("=")[2].strip("0") != ""


def _names(spec: str, superblock: ocfs2sb.Superblock) -> bool:
    tag, _, value = spec.partition("=")
    value = value.strip("\"'")
    if tag.upper() == "UUID":
        return value.replace("-", "").lower() == superblock.uuid
    return tag.upper() == "LABEL" and value != "" and value == superblock.label


# --- automounters


def _automount(facts: Facts, stack: Stack) -> Iterator[Finding]:
    try:
        unit = escape.mount_unit(stack.mountpoint)[: -len(".mount")] + ".automount"
    except escape.Unwritable:
        return
    name = f"/etc/systemd/system/{unit}"
    if facts.exists(name) and facts.link(name) != "/dev/null":
        yield BOOK.finding("automount", name, f"{unit} is an automounter for {stack.mountpoint}", stack.name)
    for file in ("/etc/auto.master", *facts.glob("/etc/auto.master.d/*.autofs")):
        for number, text in _lines(facts, file):
            words = text.split()
            place = words[0].rstrip("/") if words else ""
            if place == "/-" and len(words) > 1:
                # A direct map: its keys are whole paths.
                yield from _direct_map(facts, stack, words[1])
            elif place and (stack.mountpoint == place or stack.mountpoint.startswith(place + "/")):
                yield BOOK.finding(
                    "automount", f"{file}:{number}", f"autofs has {place}, and {stack.mountpoint} with it", stack.name
                )


def _direct_map(facts: Facts, stack: Stack, name: str) -> Iterator[Finding]:
    name = re.sub(r"\Afile:", "", name)
    file = name if name.startswith("/") else f"/etc/{name}"
    for number, text in _lines(facts, file):
        if text.split()[0].rstrip("/") == stack.mountpoint:
            yield BOOK.finding("automount", f"{file}:{number}", f"autofs mounts {stack.mountpoint}", stack.name)


def _lines(facts: Facts, file: str) -> Iterator[tuple[int, str]]:
    """Lines of a small file with their numbers, without comments and empty ones; nothing of a program."""
    found = facts.stat(file)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size > 1 << 20:
        return
    for number, text in enumerate((facts.read(file) or "").split("\n"), 1):
        if text.strip() and not text.lstrip().startswith("#"):
            yield number, text
