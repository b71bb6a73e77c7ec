"""DRBD's tools.  drbdadm reads the configuration, drbdsetup talks to the kernel and needs none.

What must work at stop uses drbdsetup alone: a configuration broken meanwhile may not keep a machine from stopping.
"""

import posix

from drbdocfs_boot.events import State, read, read_all
from drbdocfs_boot.exits import EX_CONFIG, EX_UNAVAILABLE
from drbdocfs_boot.tools import system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Process, Result, run
from drbdocfs_boot.verdict import STAND_ALONE, Verdict, judge, no_module

# What few calls need is imported by them: the waits, of which there may be many at once, seldom need it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from drbdocfs_boot.drbddump import Description
    from drbdocfs_boot.drbdmd import Metadata
    from drbdocfs_boot.metadata import Proof, Slot

# drbdadm and drbdsetup exit codes (drbd-utils, drbdsetup.h / shared_main): 10 also for an unknown resource,
# 11 a state change failed, 17 no access to good data, 20 no module.
NO_MODULE = 20
STATE_CHANGE_FAILED = 11
NO_GOOD_DATA = 17


def loaded() -> bool:
    """True when the kernel module is there (8.4 and 9 both have /sys/module/drbd; built in: /proc/drbd)."""
    return system.exists("/sys/module/drbd") or system.exists("/proc/drbd")


def require_module() -> None:
    """Raises Failure (69) when the module is not loaded."""
    if not loaded():
        verdict = no_module()
        raise Failure(verdict.status, verdict.reason, verdict.advice)


def events_process(resource: str = "") -> Process:
    """``drbdsetup events2`` that follows the resource, or all of them, until it is ended."""
    return Process(["drbdsetup", "events2", "--timestamps", "--statistics", *([resource] if resource else [])])


def state(resource: str) -> State:
    """The state now (one dump).  Raises Failure: 69 no module or no tool, 75 the tool hangs."""
    return read(_dump(resource))


def states(resources: "list[str]", limit: float = 20.0) -> "dict[str, State]":
    """The state of each of them, by one process.  Raises Failure as above."""
    if len(resources) == 1:
        return {resources[0]: read(_dump(resources[0], limit=limit))}
    text = _dump(limit=limit)
    found = read_all(text)
    none = read("\n".join(line for line in text.splitlines() if " name:" not in line))
    return {resource: found.get(resource, none) for resource in resources}


def _dump(*resource: str, limit: float = 20.0) -> str:
    result = run(["drbdsetup", "events2", "--now", "--statistics", *resource], limit)
    if result.code == NO_MODULE:
        require_module()
    if result.code != 0 and not read(result.out).complete:
        raise Failure(EX_UNAVAILABLE, f"{' '.join(('drbdsetup events2', *resource))} failed: {result.said}")
    return result.out


def why_stand_alone(current: State, resource: str) -> str:
    """What the kernel log says of the connection of ``resource``, see kernellog."""
    from drbdocfs_boot import kernellog
    from drbdocfs_boot.tools import kmsg

    minors = [device["minor"] for device in current.devices.values() if "minor" in device]
    return kernellog.why_stand_alone(kmsg.messages(), resource, minors)


def verdict(current: State, resource: str) -> Verdict:
    """The verdict now, without a policy; a StandAlone connection is looked up in the kernel log."""
    found = judge(current, resource)
    if found.kind == STAND_ALONE:
        found = judge(current, resource, why_stand_alone(current, resource))
    return found


def proof(current: State, device: str) -> "Proof":
    """What the metadata of the volume at ``device`` proves.  No configuration is needed; never raises Failure."""
    from drbdocfs_boot import metadata

    try:
        return metadata.proof(slots(current, device))
    except Failure as failure:
        return metadata.Proof(False, failure.message)


def slots(current: State, device: str, limit: float = 20.0) -> "list[Slot]":
    """The metadata of the volume at ``device``, a slot for each peer.  No configuration is needed.

    Raises Failure when one of them cannot be read.
    """
    from drbdocfs_boot import metadata
    from drbdocfs_boot.tools import mounts

    minor = (mounts.device_number(device) or "").rpartition(":")[2]
    volumes = sorted(v for v, d in current.devices.items() if d.get("minor") == minor) or sorted(current.devices)
    # 8.4 has one peer and names a device by its minor; 9 has a slot for each peer.
    if _is_84():
        questions = [["drbdsetup", "get-gi", current.devices[v].get("minor", "?")] for v in volumes]
    else:
        questions = [
            ["drbdsetup", "get-gi", current.name, peer, volume]
            for peer in sorted(current.connections)
            for volume in volumes
        ]
    all_found = []
    for argv in questions:
        try:
            result = run(argv, limit)
        except Failure as failure:
            raise Failure(failure.status, f"DRBD's metadata could not be read: {failure.message}") from None
        found = metadata.parse(result.out)
        if result.code != 0 or not found:
            raise Failure(
                EX_UNAVAILABLE, f"DRBD's metadata could not be read ('{' '.join(argv)}': {result.said})"
            )
        all_found += found
    return all_found


def describe(resource: str) -> "Description":
    """The resource as the configuration has it for this host.

    Raises Failure (78) with drbdadm's words when the configuration has no such resource for this host.
    """
    from drbdocfs_boot import drbddump

    result = run(["drbdadm", "dump", resource])
    host = system.environment("__DRBD_NODE__") or posix.uname().nodename
    found = drbddump.parse(result.out, host) if result.code == 0 else None
    if found is None:
        said = result.said if result.code != 0 else f"it has no section 'on {host}'"
        raise Failure(
            EX_CONFIG,
            f"DRBD resource {resource} is not configured for this host: {said}",
            "see /etc/drbd.d/ and the 'on HOST' sections: HOST must be the output of 'uname -n'",
        )
    return found


def on_disk(disk: str) -> "Metadata | None":
    """The superblock of internal metadata as the disk itself has it, without a process; None when there is none.

    Of a resource that is down: DRBD writes past the page cache of ``disk`` while it has it.
    """
    from drbdocfs_boot import drbdmd

    try:
        fd = posix.open(system.path(disk), posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return None
    try:
        return drbdmd.parse(posix.pread(fd, drbdmd.BLOCK, max(0, drbdmd.offset(posix.lseek(fd, 0, 2)))))
    except OSError:
        return None
    finally:
        posix.close(fd)


def net_options(resource: str, limit: float = 20.0) -> "dict[str, str]":
    """The options of the ``net`` sections of a resource, as they are configured.  Raises Failure."""
    from drbdocfs_boot import drbddump

    result = run(["drbdadm", "dump", resource], limit)
    if result.code != 0:
        raise Failure(EX_CONFIG, f"'drbdadm dump {resource}' failed: {result.said}")
    return drbddump.net_options(result.out)


def adjust(resource: str, limit: float = 60.0) -> Result:
    """Make the kernel's state that of the configuration: attach, connect.  Can be run again, unlike ``up``."""
    return run(["drbdadm", "adjust", resource], limit)


def gave_up(result: Result) -> bool:
    """True when drbdadm did not wait for the end of its drbdsetup (drbd-utils, drbdadm_main.c: 5 s for most commands).

    "Command 'drbdsetup-84 new-minor r3 3 0' did not terminate within 5 seconds", exit 20.
    """
    return result.code != 0 and "did not terminate within" in result.said


def attach_only(resource: str, current: State) -> Result:
    """Attach the disk without connecting, for a host whose address has not come.

    ``adjust`` and ``up`` refuse then as a whole ("IP not found on this host"); these three do not look at addresses.
    """
    steps = [] if current.configured else ["new-resource"]
    steps += [] if current.devices else ["new-minor"]
    if not current.devices or any(d.get("disk") == "Diskless" for d in current.devices.values()):
        steps.append("attach")
    result = Result(0, "", "")
    for step in steps:
        result = run(["drbdadm", step, resource], 60)
        if result.code != 0:
            break
    return result


def invalidate(volume: str) -> Result:
    """Mark all local data of a volume (``RESOURCE/NUMBER``) as out of sync; of a resource that is down drbdadm has
    drbdmeta write that to the disk."""
    return run(["drbdadm", "invalidate", volume], 60)


def primary(resource: str) -> Result:
    """Promote.  Never forced."""
    return run(["drbdadm", "primary", resource], 30)


def secondary(current: State) -> Result:
    """Demote the resource of ``current``, without a configuration; the result is that of the first failure, if any.

    8.4 wants a minor, for each volume has a role of its own there, where 9 wants the resource's name; either driver
    rejects the other's form (exit 20).
    """
    which = [current.name]
    if _is_84():
        which = [d["minor"] for d in current.devices.values() if "minor" in d] or which
    for one in which:
        result = run(["drbdsetup", "secondary", one], 30)
        if result.code != 0:
            break
    return result


def down(resource: str) -> Result:
    """Disconnect, detach and remove the resource, without a configuration."""
    return run(["drbdsetup", "down", resource], 60)


def _is_84() -> bool:
    return (system.read("/sys/module/drbd/version") or "").startswith("8.")


def progress(current: State) -> "dict[str, tuple[float, float | None]]":
    """Volume -> (percent, seconds left or None) of the resyncs that run, where events2 does not keep them current."""
    if not _is_84():
        return {}
    found = {}
    for volume, device in current.devices.items():
        one = resync_84(device.get("minor", ""))
        if one is not None:
            found[volume] = one
    return found


def resync_84(minor: str) -> "tuple[float, float | None] | None":
    """(percent, seconds left or None) of a running resync from /proc/drbd; None when none runs.

    8.4 sends no events while a resync goes on, and /proc/drbd costs no process.  DRBD 9 has no such lines there.
    """
    ours = False
    percent = None
    left: "float | None" = None
    for line in (system.read("/proc/drbd") or "").splitlines():
        head = line.strip().partition(":")
        if head[0].isdigit():
            ours = head[0] == minor
        elif ours and "sync'ed:" in line:
            try:
                # "sync'ed: 27.3% (36392/41004)K": 8.4 makes the percent of numbers that it has rounded to 4 MiB, but
                # what is left and the whole beside it are exact.
                rest, whole = line.partition("(")[2].partition(")")[0].split("/")
                percent = round(100.0 * (1.0 - int(rest) / int(whole)), 1)
            except (ValueError, ZeroDivisionError):
                return None
        elif ours and "finish:" in line:
            try:
                hours, minutes, seconds = line.partition("finish:")[2].split()[0].split(":")
                left = float(int(hours) * 3600 + int(minutes) * 60 + int(seconds))
            except (ValueError, IndexError):
                left = None  # 8.4 has no estimate before the first seconds
    return None if percent is None else (percent, left)
