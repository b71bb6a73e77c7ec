"""DRBD below the wait: the resource attached to its disk and connecting to the peer; down again at stop."""

import os
import stat
import time

from drbdocfs_boot.helpers import address
from drbdocfs_boot.helpers.base import Layer
from drbdocfs_boot.tools import drbd, mounts, system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.verdict import DISK_GONE, EX_CONFIG, EX_UNAVAILABLE, NOT_CONFIGURED

DISK_LIMIT = 30.0  # seconds that a disk may take to appear
ADDRESS_LIMIT = 30.0  # seconds that this host's address may take to appear
DOWN_LIMIT = 20.0  # seconds that udev's or blkid's hold on the device may last


def start(layer: Layer) -> None:
    """Attach and connect.  Succeeds when that was done by hand before."""
    resource, device = layer.setting("RESOURCE"), layer.setting("DEVICE")
    loop = os.environ.get("DRBDOCFS_LOOP_DEVICE", "")
    drbd.require_module()
    _device_is_ours(resource, device)
    disks = drbd.configured(resource, "sh-ll-dev")
    if loop and loop not in disks:
        raise Failure(
            EX_CONFIG,
            f"DRBD resource {resource} lies on {', '.join(disks)}, but the stack has loop_device = {loop}",
            "make 'disk' in /etc/drbd.d/ and loop_device in /etc/drbdocfs/ the same",
        )
    for disk in disks:
        _await_disk(layer, disk)
    own = drbd.local_address(resource)
    if own and not address.wait(layer, own, ADDRESS_LIMIT):
        # Go on: the disk is attached, and the wait says why there is no connection.
        layer.say(f"the address {own} has not come in {ADDRESS_LIMIT:.0f} s")
    layer.remember(RESOURCE=resource, DEVICE=device)
    result = drbd.adjust(resource)
    verdict = drbd.verdict(drbd.state(resource), resource)
    # adjust may report an error for a part that does not matter here; the kernel's state decides.
    if verdict.kind in (NOT_CONFIGURED, DISK_GONE):
        raise Failure(
            EX_UNAVAILABLE,
            f"{verdict.reason} after 'drbdadm adjust {resource}' (exit {result.code}): {result.said or 'no message'}",
            verdict.advice,
        )
    if result.code != 0:
        layer.say(f"'drbdadm adjust {resource}' exited with {result.code}: {result.said}")
    layer.say(f"{resource} attached")


def stop(layer: Layer) -> None:
    """Take the resource down.  Succeeds when it is down already, or DRBD is not there at all."""
    resource, device = layer.recorded("RESOURCE", "DEVICE")
    if not drbd.loaded() or not drbd.state(resource).configured:
        layer.forget()
        layer.say(f"{resource} is down already")
        return
    deadline = time.monotonic() + DOWN_LIMIT
    while True:
        held = mounts.of_device(device)
        if held:
            raise Failure(
                EX_UNAVAILABLE, f"{device} is mounted on {held[0].target}, so {resource} stays up", "unmount it first"
            )
        result = drbd.down(resource)
        if not drbd.state(resource).configured:
            break
        if time.monotonic() >= deadline:
            raise Failure(
                EX_UNAVAILABLE,
                f"'drbdsetup down {resource}' failed for {DOWN_LIMIT:.0f} s (exit {result.code}): {result.said}",
                f"'fuser -v {device}' names who holds the device",
            )
        time.sleep(0.5)
    layer.forget()
    layer.say(f"{resource} down")


def _device_is_ours(resource: str, device: str) -> None:
    """Raises Failure (78) unless ``device`` is a device of the resource: mounting another one's would be a disaster."""
    nodes = drbd.configured(resource, "sh-dev")
    if device in nodes:
        return
    for node in nodes:
        # A link such as /dev/drbd/by-res/r0/0 only exists once udev has seen the device; its name says enough.
        volume = nodes.index(node)
        if device in (f"/dev/drbd/by-res/{resource}/{volume}", f"/dev/drbd/by-res/{resource}"):
            return
        if os.path.realpath(system.path(device)) == os.path.realpath(system.path(node)):
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
            mode = os.stat(system.path(disk)).st_mode
            if not stat.S_ISBLK(mode) and not os.environ.get("DRBDOCFS_ROOT"):
                raise Failure(EX_CONFIG, f"{disk} is not a block device", "see 'disk' in /etc/drbd.d/")
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
