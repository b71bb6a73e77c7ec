"""Commands in a guest over one ssh connection that stays open: a new one costs seconds under emulation."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import process
from .image import Image


class Unreachable(Exception):
    """The guest does not answer by ssh."""


@dataclass(frozen=True)
class Result:
    """How a command in the guest ended."""

    command: str
    status: int
    out: str
    err: str
    seconds: float


class Shell:
    """root's shell on one node."""

    def __init__(self, image: Image, port: int, folder: Path) -> None:
        """`port` is the forwarded one on 127.0.0.1; the connection's socket and log go to `folder`."""
        self._socket = folder / "ssh"
        self._log = folder / "ssh.log"
        self._port = port
        self._master: subprocess.Popen[bytes] | None = None
        self._ended = False
        self.options = [
            "-F", "/dev/null", "-i", str(image.key), "-p", str(port),
            "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20",
            "-o", f"UserKnownHostsFile={image.known_hosts}", "-o", "HostKeyAlias=lab",
            "-o", "StrictHostKeyChecking=yes",
            # The cheapest for a processor without AES instructions.
            "-o", "Ciphers=chacha20-poly1305@openssh.com", "-o", "KexAlgorithms=curve25519-sha256",
        ]  # fmt: skip

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as this end knows."""
        master = self._master
        return master is not None and master.poll() is None and self._socket.exists()

    @property
    def command(self) -> list[str]:
        """What runs a command in the guest over this connection; the command itself comes last, as one word."""
        return ["ssh", *self.options, "-S", str(self._socket), "root@127.0.0.1"]

    def connect(self, timeout: float) -> None:
        """Open the connection, again and again until it stands; raises Unreachable after `timeout` seconds."""
        limit = time.monotonic() + timeout
        while True:
            self.close()
            if self._ended:
                raise Unreachable("the node was switched off")
            self._master = master = process.start(
                ["ssh", *self.options, "-M", "-N", "-S", str(self._socket), "root@127.0.0.1"], self._log
            )
            while master.poll() is None and time.monotonic() < limit:
                if self._socket.exists():
                    return
                time.sleep(0.05)
            if time.monotonic() >= limit:
                self.close()
                said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
                raise Unreachable(f"no ssh on 127.0.0.1:{self._port} in {timeout:.0f} s: {' '.join(said)}")
            time.sleep(0.5)

    def close(self) -> None:
        """End the connection; does nothing if there is none."""
        master, self._master = self._master, None
        if master is not None:
            process.end(master)
        self._socket.unlink(missing_ok=True)

    def end(self) -> None:
        """Close it for good: the machine is off, and another thread may be trying to connect."""
        self._ended = True
        self.close()

    def run(self, command: str, timeout: float, stdin: bytes = b"") -> Result:
        """Run a command with bash in the guest; raises Unreachable, or subprocess.TimeoutExpired."""
        if not self.connected:
            raise Unreachable(f"no ssh connection to 127.0.0.1:{self._port}")
        began = time.monotonic()
        done = subprocess.run(
            [*self.command, command],
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        # 255 is ssh's own; a command's own 255 leaves the connection standing.
        if done.returncode == 255 and not self.connected:
            raise Unreachable(f"the ssh connection broke: {err.strip()}")
        return Result(command, done.returncode, out, err, time.monotonic() - began)
