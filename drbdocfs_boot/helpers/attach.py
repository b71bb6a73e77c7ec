"""DRBD below the wait: the resource attached to its disk and connecting to the peer; down again at stop."""

import posix
import stat
import time

from drbdocfs_boot.exits import EX_CONFIG, EX_UNAVAILABLE
from drbdocfs_boot.helpers import address
from drbdocfs_boot.helpers.base import Layer, users_of
from drbdocfs_boot.tools import drbd, mounts, records, system, wake
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.verdict import DISK_GONE, NOT_CONFIGURED

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from collections.abc import Callable

    from drbdocfs_boot.drbddump import Description
    from drbdocfs_boot.tools.run import Result

TURN = "/run/drbdocfs-attach.lock"
TURNS = 4  # attaches side by side: a disk that is slow holds up nobody else where there are fewer stacks
DISK_LIMIT = 30.0  # seconds that a disk may take to appear
ADDRESS_LIMIT = 30.0  # seconds that this host's address may take to appear
DOWN_LIMIT = 20.0  # seconds that udev's or blkid's hold on the device may last
TURN_LIMIT = 75.0  # seconds for the attaches of other stacks that came first
BUSY_LIMIT = 45.0  # seconds in which drbdadm is called again after it has given up on the kernel
NOT_CONNECTED = "that it is not connected cannot be recorded, and nobody will connect it when the address comes"


def start(layer: Layer) -> None:
    """Attach and connect.  Succeeds when that was done by hand before."""
    resource, device = layer.setting("RESOURCE"), layer.setting("DEVICE")
    loop = system.environment("DRBDOCFS_LOOP_DEVICE")
    drbd.require_module()
    described = drbd.describe(resource)
    _device_is_ours(resource, device, described)
    disks = [disk for _, disk in described.volumes]
    if loop and loop not in disks:
        raise Failure(
            EX_CONFIG,
            f"DRBD resource {resource} lies on {', '.join(disks)}, but the stack has loop_device = {loop}",
            "make 'disk' in /etc/drbd.d/ and loop_device in /etc/drbdocfs/ the same",
        )
    began = time.monotonic()
    for disk in (*disks, *described.metadata):
        _await_disk(layer, disk)
    for volume, disk in described.internal:
        again = f"'systemctl start drbdocfs@{layer.instance}.target'"
        distrust(layer.say, f"{resource}/{volume}", disk, disk == loop, again)
    own = described.address
    there = not own or address.wait(layer, own, ADDRESS_LIMIT)
    peer, peer_address = described.peers[0] if described.peers else ("", "")
    layer.remember(
        RESOURCE=resource,
        DEVICE=device,
        ADDRESS=own,
        PEER=peer,
        PEER_ADDRESS=peer_address,
        WAITED=f"{time.monotonic() - began:.3f}",
    )
    wake.send(wake.FOLLOW)
    what = "adjust" if there else "attach"
    if not there:
        # The disk is attached all the same; the wait, and later the follow service, connect when the address comes.
        layer.say(f"the address {own} has not come in {ADDRESS_LIMIT:.0f} s: attaching without connecting")
        _not_connected(layer, own)
    result = _bring_up(layer, resource, connect=there)
    if result.code != 0:
        # It may be an error for a part that does not matter here; the kernel's state decides.
        verdict = drbd.verdict(drbd.state(resource), resource)
        said = f"'drbdadm {what} {resource}' (exit {result.code}): {result.said or 'no message'}"
        if verdict.kind in (NOT_CONFIGURED, DISK_GONE):
            raise Failure(verdict.status, f"{verdict.reason} after {said}", verdict.advice)
        layer.say(f"{said}; {resource} is up all the same")
        if drbd.gave_up(result):
            _not_connected(layer, own)  # it may have stopped short of that
    layer.say(f"{resource} attached")


def _not_connected(layer: Layer, own: str) -> None:
    """Whoever finds the resource StandAlone and no reason for it may connect it, see address.why_stand_alone."""
    layer.leave(lambda: records.write(layer.instance, records.UNCONNECTED, ADDRESS=own), NOT_CONNECTED)


def distrust(say: "Callable[[str], object]", volume: str, disk: str, file: bool, again: str) -> None:
    """Have everything resynchronized after the power has gone while this node was the target of a resync.  ``file``:
    the disk is a loop device; ``again``: what tries again.  Raises Failure (69) where that cannot be had.

    Where a block of a resync has arrived, DRBD clears its bit and now and then writes the bitmap, without a flush of
    the disk (update_on_disk_bitmap in drbd_worker.c; 9 is alike).  What a disk had in its cache, and above all what a
    loop device had in the page cache and in its file system's journal, is gone then, and DRBD takes it for done: the
    nodes end UpToDate with different data.  At the end of a resync, and at a change of the connection, it does flush.
    """
    found = drbd.on_disk(disk)
    if found is None or not found.cut_short:
        return
    resource = volume.partition("/")[0]
    if any(device.get("disk") != "Diskless" for device in drbd.state(resource).devices.values()):
        return  # it is up, and in a resync just now
    if not file:
        say(
            f"{volume} was the target of a resync when its end came: if {disk} has a cache that does not survive"
            f" that, have all of it resynchronized, by 'drbdadm invalidate {volume}' when it is connected"
        )
        return
    say(f"{volume} was the target of a resync when its end came: all of it is resynchronized, not the rest")
    result = drbd.invalidate(volume)
    if result.code != 0:
        raise Failure(
            EX_UNAVAILABLE,
            f"{volume} was the target of a resync when its end came, which its file may not have outlived, and"
            f" 'drbdadm invalidate {volume}' failed (exit {result.code}): {result.said}",
            f"'drbdadm down {resource}', 'drbdadm invalidate {volume}', then {again}",
        )


def _bring_up(layer: Layer, resource: str, connect: bool) -> "Result":
    """Attach, and connect; again, where drbdadm has given up on a kernel that was busy.

    It gives drbdsetup 5 seconds for all but the attach, and leaves it alone then.  What has been done by that time is
    there, and the rest is done the next time.
    """
    turn = _turn()
    try:
        deadline = time.monotonic() + BUSY_LIMIT
        pause = 1.0
        while True:
            result = drbd.adjust(resource) if connect else drbd.attach_only(resource, drbd.state(resource))
            if not drbd.gave_up(result) or time.monotonic() + pause >= deadline:
                return result
            layer.say(f"DRBD is busy, trying again: {result.said}")
            time.sleep(pause)
            pause *= 2
    finally:
        if turn is not None:
            posix.close(turn)  # and with it the lock


def _turn() -> "int | None":
    """Wait until few other stacks of this host attach; the descriptor that has the lock, or None without one.

    DRBD's kernel part does one command at a time.  Those of many stacks at once wait there for each other, longer than
    drbdadm does.  It is a courtesy: who has waited long enough, or cannot have the file, goes on.
    """
    try:
        fd = posix.open(system.path(TURN), posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC, 0o600)
    except OSError:
        return None
    deadline = time.monotonic() + TURN_LIMIT
    pause = 0.02
    while True:
        for turn in range(TURNS):
            try:
                posix.lseek(fd, turn, 0)
                posix.lockf(fd, posix.F_TLOCK, 1)
                return fd
            except OSError:
                pass
        if time.monotonic() >= deadline:
            posix.close(fd)
            return None
        time.sleep(pause)
        pause = min(pause * 2, 0.25)


def stop(layer: Layer) -> None:
    """Take the resource down.  Succeeds when it is down already, or DRBD is not there at all."""
    resource, device = layer.recorded("RESOURCE", "DEVICE")
    # First of all nobody may bring up again what is being stopped.
    _forget_what_is_awaited(layer)
    wake.send(wake.FOLLOW)
    if drbd.loaded():
        _down(resource, device)
    records.remove(layer.instance, "fence-lock")  # nobody calls the handler of a resource that is down
    # The follow service may just have been writing one of them.
    _forget_what_is_awaited(layer)
    layer.forget()
    layer.say(f"{resource} down")


def _forget_what_is_awaited(layer: Layer) -> None:
    for kind in ("waiting", records.CLUSTER_ADDRESS, records.UNCONNECTED, "proceed", "alone", "survivor", "fencing"):
        records.remove(layer.instance, kind)


def _down(resource: str, device: str) -> None:
    """Take it down; raises Failure when it stays up.

    A shutdown waits for this, and each tool is a process: the state is only asked where 'down' has not succeeded.
    It does so, too, for a resource that is not there.
    """
    deadline = time.monotonic() + DOWN_LIMIT
    while True:
        held = mounts.of_device(device)
        if not held:
            result = drbd.down(resource)
            if result.code == 0:
                return
        if not drbd.state(resource).configured:
            return
        if held:
            users = users_of(device, mounted=True)
            raise Failure(
                EX_UNAVAILABLE,
                f"{device} is mounted on {held[0].target}, so {resource} stays up"
                + (f"; in use by {users}" if users else ""),
                f"'umount {held[0].target}' first",
            )
        if time.monotonic() >= deadline:
            users = users_of(device)
            raise Failure(
                EX_UNAVAILABLE,
                f"'drbdsetup down {resource}' failed for {DOWN_LIMIT:.0f} s (exit {result.code}): {result.said}"
                + (f"; {device} is in use by {users}" if users else ""),
                f"end what uses it, then 'drbdsetup down {resource}'"
                if users
                else f"no process has {device} open: the kernel itself holds it, see 'journalctl -k'",
            )
        time.sleep(0.5)


def _device_is_ours(resource: str, device: str, described: "Description") -> None:
    """Raises Failure (78) unless ``device`` is a device of the resource: mounting another one's would be a disaster."""
    from drbdocfs_boot import drbddump  # which the description has brought already

    nodes = [node for node, _ in described.volumes]
    for (node, disk), (volume, minor) in zip(described.volumes, described.numbers):
        if device in drbddump.names(resource, volume, minor, node, disk, len(nodes) == 1):
            return
    from posixpath import realpath  # brings os, which nothing else here needs

    for node in nodes:
        if realpath(system.path(device)) == realpath(system.path(node)):
            return
    raise Failure(
        EX_CONFIG,
        f"DRBD resource {resource} has the device {', '.join(nodes) or 'none'}, but the stack has device = {device}",
        "make 'device' in /etc/drbd.d/ and device in /etc/drbdocfs/ the same",
    )


def _await_disk(layer: Layer, disk: str) -> None:
    if disk == "none":
        return
    deadline = time.monotonic() + DISK_LIMIT
    told = False
    while True:
        try:
            mode = posix.stat(system.path(disk)).st_mode
            if not stat.S_ISBLK(mode) and not system.environment("DRBDOCFS_ROOT"):
                raise Failure(EX_CONFIG, f"{disk} is not a block device", "see 'disk' and 'meta-disk' in /etc/drbd.d/")
            return
        except OSError as error:
            if time.monotonic() >= deadline:
                raise Failure(
                    EX_UNAVAILABLE,
                    f"the disk {disk} has not appeared in {DISK_LIMIT:.0f} s: {error.strerror}",
                    "is it plugged in, and right in /etc/drbd.d/?",
                ) from None
        if not told:
            layer.say(f"waiting for the disk {disk}")
            told = True
        time.sleep(0.2)
