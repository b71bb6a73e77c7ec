"""A third host that both nodes reach over the control network: a real sshd in the image's own root tree.

A guest's connection is given to `sshd -i` in a mount namespace of its own: the tree below an overlay in memory, and in
it a folder of the lab with the keys, the witness and its locks. Nothing is installed on the host, no port is opened.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import cache
from .doors import Door, Keeper
from .image import Image

ADDRESS = "10.0.2.101"
PORT = 22
WITNESS = Path(__file__).resolve().parents[2] / "libexec/witness"

# What can be wrong with it for a node; "" is nothing.
REFUSE = "refuse"  # the connection ends at once
HANG = "hang"  # the connection stands and nothing comes
DIE = "die"  # it dies between a lock and its answer, every time
DIE_ONCE = "die once"  # … the next time only
RACE = "race"  # who takes a lock is held until another does, too: both come at the same instant

# In the folder that the tree sees as /witness: keys, the program, locks/.
_COMMAND = r"""#!/bin/sh
# What the key may call. With "die", a lock is taken and then the connection breaks off.
case $MODE/$SSH_ORIGINAL_COMMAND in
    die*/*take*)
        /usr/bin/python3 -I /witness/program /witness/locks >/witness/unsaid 2>&1
        : >/witness/died
        kill -KILL "$PPID"
        exit 1
        ;;
    race/*take*)
        : >/witness/race/$$
        for _ in $(seq 500); do
            [ "$(ls /witness/race | wc -l)" -lt 2 ] || break
            sleep 0.01
        done
        ;;
esac
exec /usr/bin/python3 -I /witness/program /witness/locks
"""

# $1: the tree; $2: the lab's folder; $3: the mode. The connection is on standard input and output.
_SERVE = r"""
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
mkdir -p /mnt/root/witness /mnt/root/run/sshd
mount --bind "$2" /mnt/root/witness
mount --bind /dev /mnt/root/dev
mount -t proc proc /mnt/root/proc
exec chroot /mnt/root /usr/sbin/sshd -i -E /witness/sshd.log -o UsePAM=no -o UseDNS=no -o StrictModes=no \
    -o AuthorizedKeysFile=/witness/authorized_keys -o SetEnv="MODE=$3"
"""


@dataclass(frozen=True)
class Call:
    """A connection: when (time.monotonic()), from whom, and the mode that it met."""

    at: float
    by: str
    mode: str


class WitnessHost:
    """`modes` says for each node by name what is wrong with it."""

    def __init__(self, image: Image) -> None:
        self.modes: dict[str, str] = {}
        self.log: list[Call] = []
        self._image = image
        self._folder = Path()
        self._keepers: list[Keeper] = []
        self._closed = threading.Event()

    def place(self, folder: Path) -> None:
        """Its folder, in that of the lab."""
        self._folder = folder / "witness"
        (self._folder / "race").mkdir(parents=True)
        (self._folder / "command").write_text(_COMMAND, encoding="ascii")
        (self._folder / "command").chmod(0o755)
        (self._folder / "authorized_keys").touch()

    @property
    def locks(self) -> Path:
        """The directory of the locks."""
        return self._folder / "locks"

    def admit(self, key: str) -> None:
        """A public key may call the witness, and nothing else."""
        program = self._folder / "program"
        if not program.exists():
            shutil.copy(WITNESS, program)
            set_up = [sys.executable, "-I", str(program), str(self.locks), "init"]
            subprocess.run(set_up, check=True, timeout=30, stdout=subprocess.DEVNULL)
        with (self._folder / "authorized_keys").open("a", encoding="ascii") as keys:
            keys.write(f'command="/witness/command",restrict {key.strip()}\n')

    def next_race(self) -> int:
        """Ready for the next pair; returns how many came to the last one."""
        racers = list((self._folder / "race").iterdir())
        for racer in racers:
            racer.unlink()
        return len(racers)

    def held(self) -> list[str]:
        """The locks that are held, each a line."""
        command = [sys.executable, "-I", str(self._folder / "program"), str(self.locks), "list"]
        done = subprocess.run(command, check=True, timeout=30, stdout=subprocess.PIPE, text=True)
        return done.stdout.splitlines()

    def known_host(self) -> str:
        """Its line for a known_hosts file. The image has one host key for all."""
        return f"{ADDRESS} " + " ".join(self._image.known_hosts.read_text(encoding="ascii").split()[1:]) + "\n"

    def door(self, number: int, folder: Path) -> Door:
        """A node's way to it."""
        door = Door(ADDRESS, PORT, folder / f"witness{number}")
        self._keepers.append(Keeper(door, lambda guest: self._serve(f"server{number}", guest)))
        return door

    def close(self) -> None:
        """It answers nobody any more."""
        self._closed.set()
        for keeper in self._keepers:
            keeper.close()

    def _serve(self, by: str, guest: socket.socket) -> None:
        mode = self.modes.get(by, "")
        self.log.append(Call(time.monotonic(), by, mode))
        if mode == REFUSE:
            return
        if mode == HANG:
            self._closed.wait()
            return
        tree = str(_tree(self._image))
        command = ["unshare", "--mount", "--propagation", "private", "setpriv", "--pdeathsig", "KILL", "--"]
        command += ["sh", "-euc", _SERVE, "sh", tree, str(self._folder), mode.partition(" ")[0] or "right"]
        with (self._folder / "serve.log").open("ab") as log:
            server = subprocess.Popen(
                command,
                stdin=guest.fileno(),
                stdout=guest.fileno(),
                stderr=log,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                start_new_session=True,
            )
        server.wait()
        if mode == DIE_ONCE and (self._folder / "died").exists():
            os.unlink(self._folder / "died")
            self.modes[by] = ""


def _tree(image: Image) -> Path:
    """The image's root tree, unpacked on first use; nothing is ever written there."""

    def unpack(work: Path) -> None:
        left_out = [f"--exclude=./{name}" for name in ("boot/*", "dev/*", "usr/lib/modules", "usr/share/doc")]
        command = ["tar", "--extract", "--numeric-owner", f"--file={image.root_tar}", f"--directory={work}", *left_out]
        subprocess.run(command, check=True, timeout=300)

    return cache.build_once(f"tree-{image.release}-{cache.digest([image.folder.name.encode()])}", unpack)
