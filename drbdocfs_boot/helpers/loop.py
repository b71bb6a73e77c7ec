"""The loop device below DRBD: bound to its backing file at start, released at stop."""

import posix
import stat
import time

from drbdocfs_boot.exits import EX_CONFIG, EX_UNAVAILABLE
from drbdocfs_boot.helpers.base import Layer
from drbdocfs_boot.tools import losetup, system
from drbdocfs_boot.tools.failure import Failure

RACE_LIMIT = 2.0  # seconds in which who was quicker with the same loop device has bound it
RELEASE_LIMIT = 10.0  # seconds; a holder below us is gone at once, udev's probes take a moment


def start(layer: Layer) -> None:
    """Bind the backing file.  Succeeds when just this file is bound already."""
    node, file = layer.setting("LOOP_DEVICE"), layer.setting("BACKING_FILE")
    identity = _identity(file)
    if not system.exists("/sys/module/loop") and not system.exists("/dev/loop-control"):
        raise Failure(EX_UNAVAILABLE, "the kernel module loop is not loaded and could not be", "try 'modprobe loop'")
    for mapping in [] if losetup.none_bound() else losetup.mappings():
        if mapping.node == node:
            _must_be_ours(mapping, identity, file)
            layer.remember(LOOP_DEVICE=node, BACKING_FILE=file)
            layer.say(f"{node} is bound to {file} already")
            return
        if mapping.identity == identity:
            raise Failure(
                EX_CONFIG,
                f"{file} is bound to {mapping.node} already, not to {node}",
                f"release it with 'losetup -d {mapping.node}', or set loop_device = {mapping.node}",
            )
    layer.remember(LOOP_DEVICE=node, BACKING_FILE=file)
    try:
        losetup.attach(node, file)
    except Failure:
        # An init script of old, which starts at the same moment, may just have done the same.
        other = _of_another(node)
        if other is None:
            raise
        _must_be_ours(other, identity, file)
        layer.say(f"{node} is bound to {file} already")
        return
    # Somebody may have been quicker with the same number: the kernel's answer counts, not losetup's.
    if not losetup.bound_as_given(node, file):
        found = _mapping(node)
        if found is None:
            raise Failure(EX_UNAVAILABLE, f"{node} is not bound to {file} although losetup said so")
        _must_be_ours(found, identity, file)
    layer.say(f"{node} bound to {file}")


def _mapping(node: str) -> "losetup.Mapping | None":
    for mapping in losetup.mappings():
        if mapping.node == node:
            return mapping
    return None


def _of_another(node: str) -> "losetup.Mapping | None":
    """What somebody else has just bound to ``node``; the kernel may refuse ours before it shows his.

    Without a process, as long as nobody is seen: a losetup that hangs would only take the place of the failure.
    """
    deadline = time.monotonic() + RACE_LIMIT
    while losetup.backing_file(node) is None:
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.2)
    return _mapping(node)


def stop(layer: Layer) -> None:
    """Release the loop device.  Succeeds when it is free, or bound to a file that is not ours."""
    node, file = layer.recorded("LOOP_DEVICE", "BACKING_FILE")
    now = losetup.backing_file(node)
    if now is None:
        layer.forget()
        layer.say(f"{node} is free already")
        return
    if not _is_ours(node, file):
        layer.forget()
        layer.say(f"{node} is bound to {now}, not to {file}: left alone")
        return
    above = losetup.holders(node)
    if above:
        raise Failure(
            EX_UNAVAILABLE,
            f"{node} is in use by {', '.join(above)} and stays bound to {file}",
            "stop what uses it first ('drbdadm down RESOURCE')",
        )
    said = losetup.detach(node)
    deadline = time.monotonic() + RELEASE_LIMIT
    while losetup.backing_file(node) is not None:
        if time.monotonic() >= deadline:
            raise Failure(
                EX_UNAVAILABLE,
                f"{node} is still bound to {file}: something holds it open" + (f" ({said})" if said else ""),
                f"'fuser -v {node}' names who; it is released when the last one closes it",
            )
        time.sleep(0.1)
    layer.forget()
    layer.say(f"{node} released")


def _identity(file: str) -> "tuple[int, int]":
    try:
        found = posix.stat(system.path(file))
    except OSError as error:
        raise Failure(
            EX_UNAVAILABLE,
            f"backing file {file}: {error.strerror}",
            "is its file system mounted, and was the file not moved?",
        ) from None
    if not stat.S_ISREG(found.st_mode):
        raise Failure(EX_CONFIG, f"backing file {file} is not a regular file", "for a disk leave backing_file out")
    if found.st_size == 0:
        raise Failure(EX_UNAVAILABLE, f"backing file {file} is empty", "it was truncated, or never filled")
    return found.st_dev, found.st_ino


def _must_be_ours(mapping: losetup.Mapping, identity: "tuple[int, int]", file: str) -> None:
    if mapping.identity != identity:
        raise Failure(
            EX_CONFIG,
            f"{mapping.node} is taken by {mapping.file}, so {file} cannot be bound to it",
            "choose a loop_device with a higher number here and in DRBD's 'disk' line"
            " (snapd and others take the low ones), or release it",
        )
    if mapping.read_only or mapping.offset:
        how = "read-only" if mapping.read_only else f"with an offset of {mapping.offset} bytes"
        raise Failure(
            EX_CONFIG, f"{mapping.node} is bound to {file}, but {how}", f"release it with 'losetup -d {mapping.node}'"
        )


def _is_ours(node: str, file: str) -> bool:
    # The file may have been renamed or removed since: then the name that the kernel remembers decides.
    if losetup.backing_file(node) in (file, file + " (deleted)"):
        return True
    try:
        identity = _identity(file)
    except Failure:
        return False
    return any(m.node == node and m.identity == identity for m in losetup.mappings())
