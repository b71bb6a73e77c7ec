"""Promotion after the wait, demotion before DRBD goes down."""

import time

from drbdocfs_boot.exits import EX_CONFIG, EX_TEMPFAIL, EX_UNAVAILABLE
from drbdocfs_boot.helpers import address
from drbdocfs_boot.helpers.base import NOT_FOLLOWED, NOT_MARKED, Layer, users_of
from drbdocfs_boot.tools import drbd, mounts, records
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.verdict import (
    HANDLER_REFUSED,
    READY,
    SPLIT_BRAIN,
    STAND_ALONE,
    judge,
    may_promote,
)

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Answer = TypeVar("Answer")

# Seconds for "the state is changing just now", e.g. both nodes promote at once, and for a kernel that is busy: of many
# stacks at once on a slow machine.
PROMOTE_LIMIT = 40.0
# Seconds until the follow service has a promotion tried again that DRBD has refused for so long; each time twice as
# many: a tool that hangs in the kernel cannot be killed, and each try leaves another one.
REFUSED_PAUSE, REFUSED_PAUSE_LAST = 60.0, 3600.0
DEMOTE_LIMIT = 20.0  # seconds that udev or blkid may hold the device open
# Seconds for an unmount that is still going on, before we unmount ourselves, and in all.
UNMOUNT_GRACE = 3.0
UNMOUNT_LIMIT = 10.0


def start(layer: Layer) -> None:
    """Promote, never forced.  Succeeds when it is Primary already and nothing else uses device or mount point."""
    resource, device = layer.setting("RESOURCE"), layer.setting("DEVICE")
    mountpoint = layer.setting("MOUNTPOINT")
    drbd.require_module()
    _place_is_free(device, mountpoint)
    layer.remember(RESOURCE=resource, DEVICE=device, MOUNTPOINT=mountpoint)
    alone = records.read(layer.instance, "alone") is not None
    if alone:
        records.remove(layer.instance, "proceed")  # this is what was ordered; a refusal needs a new order
    own = (records.read(layer.instance, "attach") or {}).get("ADDRESS", "")
    began = time.monotonic()
    deadline = began + PROMOTE_LIMIT
    while True:
        state = _answer(layer, deadline, lambda: drbd.state(resource))
        if state is None:
            continue
        if state.resource.get("role") == "Primary":
            break
        # Between the wait's end and now the peer may have gone: look again, the wait's answer may be old.
        verdict = drbd.verdict(state, resource)
        if verdict.kind == STAND_ALONE and alone:
            # As the wait has it: the kernel log need not say that it is for want of an address.
            why = address.why_stand_alone(state, resource, own, layer.instance)
            verdict = judge(state, resource, why, own=own)
        if verdict.kind == READY and alone:
            # The peer has come after all, and may have been promoted before us: alone is over.
            records.remove(layer.instance, "alone")
            alone = False
        if verdict.final:
            _again(layer, verdict.kind, verdict.reason)
            raise Failure(verdict.status, f"not promoted: {verdict.reason}", verdict.advice)
        if may_promote(verdict, state, alone):
            result = _answer(layer, deadline, lambda: drbd.primary(resource))
            if result is None:
                continue
            if result.code == 0:
                break
            reason = f"'drbdadm primary {resource}' failed (exit {result.code}): {result.said}"
            if result.code == drbd.NO_GOOD_DATA:
                # The peer's coming mends it.
                handler = _refused_by_handler(layer, began)
                _again(layer, records.REFUSED, handler or reason)
                if handler:
                    raise Failure(EX_UNAVAILABLE, handler, "see 'journalctl -t drbdocfs-fence-peer'")
                raise Failure(EX_UNAVAILABLE, reason, "no access to good data: wait for the peer or the resync")
            if "allow-two-primaries" in result.said or "Multiple primaries not allowed" in result.said:
                raise Failure(EX_CONFIG, reason, "set 'allow-two-primaries yes;' in the resource's net section")
        else:
            reason = verdict.reason
        if time.monotonic() >= deadline:
            if verdict.go:
                _again(layer, records.REFUSED, reason)
            else:
                _again(layer, verdict.kind, verdict.reason)
            raise Failure(
                EX_TEMPFAIL,
                f"{resource} could not be promoted in {PROMOTE_LIMIT:.0f} s: {reason}",
                f"'systemctl start drbdocfs@{layer.instance}.target' tries again; drbdocfs-follow.service does so by"
                " itself",
            )
        time.sleep(0.3)
    _awaited_no_more(layer)
    layer.say(f"{resource} is Primary")


def _refused_by_handler(layer: Layer, since: float) -> str:
    """Why the fence-peer handler has refused this promotion of a node alone; "" if it was not that."""
    found = records.read(layer.instance, "fencing") or {}
    if found.get("PHASE") != records.REFUSED or records.number(found.get("BEGAN"), 0.0) < since:
        return ""
    return f"not promoted, {HANDLER_REFUSED}: {found.get('REASON', '')}"


def _awaited_no_more(layer: Layer) -> None:
    """What an earlier promotion left for the follow service (see _again) is done with; a wait removes it as well, but
    none runs where only the promotion had failed."""
    if records.read(layer.instance, "waiting") is None:
        return
    from drbdocfs_boot.tools import wake  # only who was late needs it

    records.remove(layer.instance, "waiting")
    wake.send(wake.FOLLOW)


def _answer(layer: Layer, deadline: float, ask: "Callable[[], Answer]") -> "Answer | None":
    """What a tool answers; None where it has hung and there is time for another try.  Raises Failure."""
    try:
        return ask()
    except Failure as failure:
        if failure.status != EX_TEMPFAIL:
            raise
        if time.monotonic() >= deadline:
            _again(layer, records.REFUSED, failure.message)
            raise
        layer.say(failure.message)
        return None


def _again(layer: Layer, kind: str, reason: str) -> None:
    """The wait's answer does not hold any more (the peer went in between): the follow service waits on.  Or DRBD does
    not do what it should be able to (REFUSED): it has it tried again after a while, with the peer there only, for alone
    what refuses or hangs may be the fence-peer handler, which is not asked again without an order."""
    if kind == SPLIT_BRAIN:
        layer.leave(lambda: records.mark_split_brain(layer.instance), NOT_MARKED)
    now = time.monotonic()
    values = {
        "RESOURCE": layer.setting("RESOURCE"),
        "DEVICE": layer.setting("DEVICE"),
        "BEGAN": f"{now:.3f}",
        "WHEN_ALONE": layer.setting("WHEN_ALONE"),
        "PEER_TIMEOUT": layer.setting("PEER_TIMEOUT"),
        "STATE": "late",
        "KIND": kind,
        "REASON": reason,
        "PID": "0",
    }
    if kind == records.REFUSED:
        before = records.read(layer.instance, "waiting") or {}
        pause = min(REFUSED_PAUSE_LAST, 2.0 * records.number(before.get("PAUSE"), REFUSED_PAUSE / 2.0))
        values["PAUSE"], values["NOT_BEFORE"] = f"{pause:.0f}", f"{now + pause:.3f}"
    records.remove(layer.instance, "alone")  # it has not gone on; who decides so again says so again
    layer.leave(lambda: records.write(layer.instance, "waiting", **values), NOT_FOLLOWED)


def stop(layer: Layer) -> None:
    """Demote.  Succeeds when it is Secondary or gone already."""
    resource, device, mountpoint = layer.recorded("RESOURCE", "DEVICE", "MOUNTPOINT")
    began = time.monotonic()
    unmounted = False
    while drbd.loaded():
        state = drbd.state(resource)
        if state.resource.get("role") != "Primary":
            break
        held = mounts.of_device(device)
        if held and time.monotonic() - began >= UNMOUNT_LIMIT:
            users = users_of(device, mounted=True)
            raise Failure(
                EX_UNAVAILABLE,
                f"{device} is still mounted on {', '.join(m.target for m in held)}, so {resource} stays Primary"
                + (f"; in use by {users}" if users else ""),
                f"end what uses it, then 'umount {held[0].target}' and 'drbdadm secondary {resource}'",
            )
        if held:
            # Units order the unmount before us.  A stack whose configuration broke or went while it was mounted has
            # lost that order, and nobody else would unmount it in time.
            if not unmounted and time.monotonic() - began >= UNMOUNT_GRACE and held[0].target == mountpoint:
                unmounted = True
                layer.say(f"{mountpoint} is still mounted: unmounting it")
                said = mounts.unmount(mountpoint).said
                began = time.monotonic()
                if said:
                    layer.say(f"umount {mountpoint}: {said}")
            time.sleep(0.3)
            continue
        result = drbd.secondary(state)
        if result.code == 0:
            break
        if time.monotonic() - began >= DEMOTE_LIMIT:
            users = users_of(device)
            raise Failure(
                EX_UNAVAILABLE,
                f"{resource} could not be demoted in {DEMOTE_LIMIT:.0f} s (exit {result.code}): {result.said}"
                + (f"; {device} is in use by {users}" if users else ""),
                f"end what uses it, then 'drbdadm secondary {resource}'"
                if users
                else f"no process has {device} open: the kernel itself holds it, see 'journalctl -k'",
            )
        time.sleep(0.3)
    layer.forget()
    layer.say(f"{resource} is not Primary any more")


def _place_is_free(device: str, mountpoint: str) -> None:
    """Raises Failure (78) when the device is mounted elsewhere, or something else on the mount point."""
    targets = [mount.target for mount in mounts.of_device(device)]
    if mountpoint in targets:
        return  # done by hand; bind mounts of it elsewhere are the administrator's
    if targets:
        raise Failure(
            EX_CONFIG,
            f"{device} is mounted on {', '.join(targets)} already, not on {mountpoint}",
            f"'umount {targets[0]}', or set mountpoint = {targets[0]}",
        )
    for mount in mounts.table():
        # autofs: systemd's own automount point waits there for the real mount.
        if mount.target == mountpoint and mount.type != "autofs":
            raise Failure(
                EX_CONFIG,
                f"{mount.source} ({mount.type}) is mounted on {mountpoint}, where {device} belongs",
                f"'umount {mountpoint}' and take it out of what mounts it (/etc/fstab?)",
            )
