"""Stacks in, unit files out: what the generator writes beside the static units.

Pure: nothing is read or written here.  A tree maps a path below the generator's directory to the text of a file, or
to the target of a link (values that begin with ``-> ``).  Builtins only: the generator imports this.

Why the layers are ordered as they are stands in drbdocfs.target(7).
"""

from drbdocfs_boot import escape
from drbdocfs_boot.escape import Unwritable
from drbdocfs_boot.fstab import Line
from drbdocfs_boot.stack import Problem, Reading, Stack

LINK = "-> "
# What begins with it belongs into the generator's second directory, which goes before those of the administrator
# (systemd.generator(7)).
EARLY = "early/"
UNIT_DIRECTORY = "/usr/lib/systemd/system/"
DROP_IN = "50-drbdocfs.conf"
# A join of the group is not interruptible (mount.ocfs2 blocks SIGTERM) and may take the dead time, 60 s by default,
# of a node that just died: that and another minute, generously.
MOUNT_LIMIT = "3min"
# What the wait's unit allows beyond boot_timeout, at which the helper ends by itself: a moment for its last words.
WAIT_MARGIN = 30_000_000
# What may pass before the wait begins: the network (2 min of networkd's wait-online), loop and attach.
DEVICE_MARGIN = 600_000_000
# One process for all stacks, wanted where there is one.
FOLLOW = "drbdocfs-follow.service"


def tree(
    reading: Reading, fstab: "dict[str, Line]", unit_directory: str = UNIT_DIRECTORY
) -> "tuple[dict[str, str], tuple[Problem, ...]]":
    """All files for a reading of the configuration, and all problems: the reading's and those found here."""
    files: "dict[str, str]" = {}
    problems = list(reading.problems)
    clusters: "dict[str, list[Stack]]" = {}
    inside = _inside(reading.stacks)
    for stack in reading.stacks:
        found, own = _stack(stack, fstab, inside.get(stack.name, ""))
        if found:
            problems.extend(found)
            continue
        files.update(own)
        files["drbdocfs.target.wants/drbdocfs@" + stack.name + ".target"] = LINK + unit_directory + "drbdocfs@.target"
        clusters.setdefault(stack.cluster, []).append(stack)
    if clusters:
        files["drbdocfs.target.wants/" + FOLLOW] = LINK + unit_directory + FOLLOW
    for cluster, stacks in clusters.items():
        files[f"drbdocfs-o2cb@{cluster}.service.d/{DROP_IN}"] = _o2cb(stacks)
    files.update(broken(problems, unit_directory))
    return files, tuple(problems)


def _head(stack: Stack) -> str:
    return (
        f"# Written by drbdocfs-generator(8) for stack {stack.name}; changes here are lost.\n\n[Unit]\n"
        f"SourcePath={escape.value(stack.file)}\n"
    )


def _environment(**settings: str) -> str:
    words = [escape.quoted(f"DRBDOCFS_{key}={text}") for key, text in settings.items()]
    return "\n[Service]\n" + "".join(f"Environment={word}\n" for word in words)


def _inside(stacks: "tuple[Stack, ...]") -> "dict[str, str]":
    """Stack -> what its target has of the stacks that are mounted below its mount point.

    They stop with it, for systemd requires a mount for those below it, and so they have to start with it: else they
    would stay down after its restart, or when it came up late, and nobody would be told.
    """
    places = {stack.mountpoint: stack.name for stack in stacks}
    found: "dict[str, str]" = {}
    for stack in stacks:
        place = stack.mountpoint.rpartition("/")[0]
        while place and place not in places:
            place = place.rpartition("/")[0]
        if place:
            target = f"drbdocfs@{stack.name}.target"
            # (Before=: it need not wait for them.)
            found[places[place]] = found.get(places[place], "") + f"Wants={target}\nBefore={target}\n"
    return found


def _stack(stack: Stack, fstab: "dict[str, Line]", inside: str) -> "tuple[list[Problem], dict[str, str]]":
    """Problems that only show when units are made, or the stack's files."""
    try:
        line = fstab.get(stack.mountpoint)
        if line is not None:
            _fits(stack, line)
        return [], _layers(stack, line, inside)
    except Unwritable as error:
        return [Problem(stack.file, stack.line, stack.name, f"[{stack.name}] {error}")], {}


def _layers(stack: Stack, line: "Line | None", inside: str) -> "dict[str, str]":
    name = stack.name
    mount = escape.mount_unit(stack.mountpoint)
    head = _head(stack)
    layers = [f"drbdocfs-loop@{name}.service"] if stack.loop_device else []
    layers += [f"drbdocfs-{layer}@{name}.service" for layer in ("attach", "wait", "promote")]
    layers += [f"drbdocfs-o2cb@{stack.cluster}.service", mount]
    holders = f"drbdocfs-holders@{name}.service"
    policy = {"PEER_TIMEOUT": str(stack.peer_timeout), "WHEN_ALONE": stack.when_alone}
    files = {
        # The mount requires what is below it; but systemd does not follow that from a mount which is there already,
        # made by hand, and its layers would be left alone at the stop.
        f"drbdocfs@{name}.target.d/{DROP_IN}": head
        + "".join(f"Requires={layer}\n" for layer in layers)
        # Started by itself, without drbdocfs.target, a stack is followed all the same.
        # (Before=: else systemd orders the target after what it wants, which is after drbdocfs.target.)
        + f"Wants={holders} {FOLLOW}\nAfter={mount}\nBefore={FOLLOW}\n"
        + inside,
        f"drbdocfs-wait@{name}.service.d/{DROP_IN}": head
        + _environment(RESOURCE=stack.resource, DEVICE=stack.device, BOOT_TIMEOUT=str(stack.boot_timeout), **policy)
        + f"TimeoutStartSec={stack.boot_timeout + WAIT_MARGIN}us\n",
        f"drbdocfs-promote@{name}.service.d/{DROP_IN}": head
        # Whoever mounts the device by another unit, or by hand, is ordered after the promotion, too.
        + "".join(f"Wants={unit}\nBefore={unit}\n" for unit in _blockdev(stack))
        + _environment(RESOURCE=stack.resource, DEVICE=stack.device, MOUNTPOINT=stack.mountpoint, **policy),
        # It stops after the services and sessions that use the mount (they stop before remote-fs.target) and before
        # the unmount.
        f"{holders}.d/{DROP_IN}": head
        + f"Requires={mount}\nAfter={mount}\n"
        + _environment(DEVICE=stack.device, MOUNTPOINT=stack.mountpoint, STOP_HOLDERS=stack.stop_holders),
        f"{mount}.d/{DROP_IN}": head
        + "Documentation=man:drbdocfs.target(7)\n"
        + f"PartOf=drbdocfs@{name}.target drbdocfs.target\n"
        # Not BindsTo=: a file system that was mounted by hand before the stack was configured would be unmounted at
        # the daemon-reload, because the promotion is not active. A oneshot only ends by a stop job, and that
        # Requires= carries as well.
        + f"Requires=drbdocfs-promote@{name}.service\nAfter=drbdocfs-promote@{name}.service\n"
        + f"Requires=drbdocfs-o2cb@{stack.cluster}.service\nAfter=drbdocfs-o2cb@{stack.cluster}.service\n"
        + "Wants=network-online.target\nAfter=network.target network-online.target remote-fs-pre.target\n"
        # Debian's init scripts: ocfs2 unmounts every OCFS2 at its stop, so it has to stop after us.
        + "After=ocfs2.service o2cb.service\n"
        # Services and sessions start after remote-fs.target and stop before it: they find the mount, and leave it.
        + "Before=remote-fs.target\n"
        + f"\n[Mount]\nTimeoutSec={MOUNT_LIMIT}\n",
    }
    # The mount has a start job of its device with it, which systemd would give up after 90 s, and the mount with it,
    # while attach or wait are still within their limits.  And its time begins with the boot, which may be held up by a
    # check of a disk or a question for a passphrase: it is not to be waited for before it can come.
    device = (
        f"After=drbdocfs-attach@{name}.service\nJobRunningTimeoutSec={stack.boot_timeout + DEVICE_MARGIN}us\n"
    )
    for node in (stack.device, line.spec if line is not None else ""):
        if node:
            files[f"{escape.device_unit(node)}.d/{DROP_IN}"] = head + device
    attach = head
    environment = {"RESOURCE": stack.resource, "DEVICE": stack.device}
    if stack.loop_device:
        loop = f"drbdocfs-loop@{name}.service"
        files[f"{loop}.d/{DROP_IN}"] = (
            head
            + f"RequiresMountsFor={escape.quoted(stack.backing_file)}\n"
            + _environment(LOOP_DEVICE=stack.loop_device, BACKING_FILE=stack.backing_file)
        )
        attach += f"BindsTo={loop}\nAfter={loop}\n"
        environment["LOOP_DEVICE"] = stack.loop_device
    files[f"drbdocfs-attach@{name}.service.d/{DROP_IN}"] = attach + _environment(**environment)
    if line is None:
        options = f"Options={escape.value(mount_options(stack.mount_options))}\n"
        files[mount] = (
            head
            + f"Description={escape.value(stack.mountpoint)} of drbdocfs stack {name}\n"
            + f"\n[Mount]\nWhat={escape.value(stack.device)}\nWhere={escape.value(stack.mountpoint)}\nType=ocfs2\n"
            + options
        )
    elif _required(line):
        # fstab makes remote-fs.target require the mount.  It would stop with it, or fail with it at a boot without the
        # peer, and nobody would start it again; but the order of all our stops against services goes by that target,
        # and a target that is off orders nothing.  So it only wants the mount, as it does with nofail.
        files[f"{EARLY}remote-fs.target.requires/{mount}"] = LINK + "/dev/null"
        files[f"remote-fs.target.wants/{mount}"] = LINK + f"../{mount}"
    return files


def _required(line: Line) -> bool:
    """Whether systemd-fstab-generator(8) makes remote-fs.target require the mount of this line."""
    required = True
    for option in line.options.split(","):
        if option in ("noauto", "nofail", "x-systemd.automount", "comment=systemd.automount"):
            required = False
        elif option.startswith(("x-systemd.wanted-by=", "x-systemd.required-by=")):
            return False
    return required


def mount_options(given: str) -> str:
    """With ``barrier=1``, unless the administrator has said something of barriers.

    Without it OCFS2 sends no flush to the disk (fs/ocfs2/super.c sets OCFS2_MOUNT_BARRIER for that option alone), and
    what fsync(2) has acknowledged is lost when the power of both nodes goes: it was in the memory of both.
    """
    for option in given.split(","):
        if option.strip().startswith("barrier"):
            return given
    return f"{given},barrier=1" if given else "barrier=1"


def _blockdev(stack: Stack) -> "list[str]":
    # mountinfo always shows /dev/drbdN; the instance follows the path as it is written, too.
    return [f"blockdev@{escape.path(stack.device)}.target"]


def _o2cb(stacks: "list[Stack]") -> str:
    """One cluster serves all its stacks.  Order of the stop: unmount, then O2CB and the demotion, then down.

    It needs nothing of DRBD, so it comes while the stacks wait for their peers; the attaches wait for nobody.
    """
    anchors = [f"drbdocfs-attach@{stack.name}.service" for stack in stacks]
    text = _head(stacks[0]) + "".join(f"After={anchor}\n" for anchor in anchors)
    if len(stacks) == 1:
        text += f"Requires={anchors[0]}\nPartOf=drbdocfs@{stacks[0].name}.target\n"
    else:
        # It goes when the last mount that requires it has gone.
        text += "StopWhenUnneeded=yes\n"
    # It waits for its address as long as they do, and their waits may begin as late as its own ends.
    limit = max(stack.boot_timeout for stack in stacks)
    return (
        text
        + _environment(STACKS="/".join(stack.name for stack in stacks), BOOT_TIMEOUT=str(limit))
        + f"TimeoutStartSec={2 * limit + WAIT_MARGIN}us\n"
    )


def _fits(stack: Stack, line: Line) -> None:
    """Raises Unwritable when fstab's line for the mount point is not for our device."""
    where = f"mountpoint = {stack.mountpoint}: /etc/fstab:{line.number} mounts"
    if line.spec.partition("=")[0].upper() in ("UUID", "LABEL", "PARTUUID", "PARTLABEL"):
        raise Unwritable(
            f"{where} {line.spec!r} there, which may name the disk below DRBD; write {stack.device} instead"
        )
    volume = f"/dev/drbd/by-res/{stack.resource}"
    if line.spec not in (stack.device, volume, volume + "/0"):
        raise Unwritable(f"{where} {line.spec!r} there, the stack has device = {stack.device}; make them the same")
    if line.type not in ("ocfs2", "auto"):
        raise Unwritable(f"{where} it as {line.type!r}; write ocfs2 instead")


def broken(problems: "list[Problem] | tuple[Problem, ...]", unit_directory: str = UNIT_DIRECTORY) -> "dict[str, str]":
    """A unit that fails at once with the words of the problem, for each stack (or file) that has one."""
    files: "dict[str, str]" = {}
    by_name: "dict[str, list[Problem]]" = {}
    for problem in problems:
        by_name.setdefault(problem.stack or problem.file, []).append(problem)
    alike: "dict[str, int]" = {}
    for name, found in by_name.items():
        instance = escape.instance(name)
        number = alike[instance] = alike.get(instance, 0) + 1
        if number > 1:
            # Long names are cut, and may be alike in what is left.
            instance += f"-{number}"
        unit = f"drbdocfs-broken@{instance}.service"
        message = " | ".join(str(problem) for problem in found)
        if len(message) > 2000:
            message = message[:2000] + " ..."
        files[f"drbdocfs.target.wants/{unit}"] = LINK + unit_directory + "drbdocfs-broken@.service"
        head = "# Written by drbdocfs-generator(8); changes here are lost.\n\n[Unit]\n"
        try:
            head += f"SourcePath={escape.value(found[0].file)}\n"
        except Unwritable:
            pass  # a file name with a newline is itself the problem
        files[f"{unit}.d/{DROP_IN}"] = head + _environment(MESSAGE=_printable(message))
        if found[0].stack:
            # 'systemctl start drbdocfs@STACK.target' has to fail as well, not to succeed with nothing.
            target = f"drbdocfs@{instance}.target"
            files[f"{target}.d/{DROP_IN}"] = head + f"Requires={unit}\nAfter={unit}\n"
    return files


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text).strip().rstrip("\\")
