"""Pairs that have booted already: memory, devices and disks of both nodes kept in the cache, and gone on from.

A boot takes a minute in software emulation, going on seconds. For tests in which the first boot is not what is tested;
every later one is a real boot from the same disks.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from . import cache
from .image import Image
from .lab import Lab, LabError, say
from .node import Node, command_line
from .qmp import QmpError

_HERE = Path(__file__)
# What else makes the state what it is.
_SOURCES = (_HERE, _HERE.with_name("node.py"))


def key(image: Image, base: Path | None, qemu: str) -> str:
    """A short hash of all that a state depends on: QEMU's version, the machine, the disks that it has booted from."""
    if base is not None and base.parent != cache.folder():
        raise ValueError(f"{base} is no entry of the cache, so its name does not say what is in it")
    parts = [qemu.encode(), str(image.folder).encode(), (base.name if base is not None else "").encode()]
    for number in (1, 2):
        # Folder, ports and doors are the host's side, and may be others later.
        parts += [word.encode() for word in command_line(image, number, Path("/"), (0, 0), 0)]
    return cache.digest([*parts, *(source.read_bytes() for source in _SOURCES)])


def _qemu_version() -> str:
    command = ["qemu-system-x86_64", "--version"]
    return subprocess.run(command, check=True, timeout=30, stdout=subprocess.PIPE, text=True).stdout


def booted(image: Image, base: Path | None) -> Path:
    """The folder of a pair just booted from `base`, made on first use; raises as Lab does, or QmpError."""

    def make(folder: Path) -> None:
        say("a booted pair to go on from: boot of both nodes, once")
        with Lab(image, base) as lab:
            lab.boot()
            for node in lab.nodes:
                node.check_clean_boot()
            # What comes some seconds after the end of a boot is over, and on the disk.
            lab.both(lambda node: node.run("udevadm settle; journalctl --sync; sync", timeout=120))
            lab.both(lambda node: node.freeze(folder))

    return cache.build_once(f"booted-{image.release}-{key(image, base, _qemu_version())}", make)


def _awake(node: Node) -> None:
    """The clock is right, and the guest knows the rest of its state."""
    node.wait_connected(60)
    node.run(f"date --set=@{time.time():.3f} >/dev/null", timeout=30)


def resume(lab: Lab) -> None:
    """In place of lab.boot(), on a lab that was never switched on: both have booted a moment ago.

    Where that does not work it says why, and boots.
    """
    try:
        kept = booted(lab.image, lab.base)
        lab.both(lambda node: node.resume(kept))
        lab.both(_awake)
    except (LabError, QmpError, OSError, subprocess.SubprocessError) as error:
        say(f"no going on from a kept state, so a boot: {str(error)[-1000:]}")
        for node in lab.nodes:
            node.power_cut()
            node.renew_disks(lab.base)
        lab.boot()
