"""Commands on the other host, over ssh and within limits.  For the command only: not part of the boot path."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import IO

from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Result, find

EX_UNAVAILABLE = 69
CONNECT_LIMIT = 10
# ssh's own exit status where it could not connect, as opposed to that of the command.
SSH_FAILED = 255
NOT_FOUND = 127


def destination(name: str) -> str:
    """Where to go for a host name or address: root there, as the tools need it."""
    return "root@" + name


def run(where: str, argv: Sequence[str], limit: float = 30.0) -> Result:
    """Run ``argv`` at ``where``; nobody is asked anything.

    Raises Failure (69) when the host is not reached, does not let us in, or is not done in time.
    """
    try:
        done = subprocess.run(
            _command(where, argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failure(EX_UNAVAILABLE, f"{where} did not answer '{argv[0]}' in {limit:.0f} s") from None
    result = Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
    _reached(where, result)
    return result


def stream(where: str, argv: Sequence[str], text: str, line: Callable[[str], None], quiet_limit: float) -> Result:
    """Run ``argv`` at ``where`` with ``text`` on its standard input, which shows in no process list, and call ``line``
    with each line that it prints, as it prints it.

    Raises Failure (69) as ``run``, or when nothing has come for ``quiet_limit`` seconds.
    """
    # Files have room for all of the input and the errors: nobody waits for the other to read.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as errors:
        given.write(text.encode("utf-8", "surrogateescape"))
        given.seek(0)
        process = subprocess.Popen(_command(where, argv), stdin=given, stdout=subprocess.PIPE, stderr=errors)
        try:
            assert process.stdout is not None
            rest = b""
            while True:
                if not select.select([process.stdout], [], [], quiet_limit)[0]:
                    raise Failure(EX_UNAVAILABLE, f"{where} has said nothing for {quiet_limit:.0f} s ('{argv[0]}')")
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for one in lines:
                    line(one.decode("utf-8", "replace"))
            if rest:
                line(rest.decode("utf-8", "replace"))
            # What is said is over; ssh may still wait for what the command has left behind.
            code = process.wait(quiet_limit)
        except subprocess.TimeoutExpired:
            raise Failure(EX_UNAVAILABLE, f"{where} has not ended '{argv[0]}' in {quiet_limit:.0f} s") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        errors.seek(0)
        result = Result(code, "", errors.read().decode("utf-8", "replace"))
    _reached(where, result)
    return result


def _command(where: str, argv: Sequence[str]) -> list[str]:
    # subprocess and not tools.run: an agent's socket in the environment has to reach ssh.
    return [
        find("ssh"), "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_LIMIT}", "-o", "ServerAliveInterval=5",
        "-o", "ServerAliveCountMax=3", "--", where, shlex.join(argv),
    ]  # fmt: skip


def _reached(where: str, result: Result) -> None:
    if result.code == SSH_FAILED:
        raise Failure(EX_UNAVAILABLE, f"{where} is not reachable by ssh: {result.said}")


class Host:
    """A host for tools.datacheck: commands over ssh, with pipes that stay open."""

    def __init__(self, name: str, where: str = "") -> None:
        """`where`: its address for ssh, where that is not root at its name."""
        self.name = name
        self._where = where or destination(name)

    def popen(self, argv: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command; a host that is not reached is known by how it ends (255)."""
        return subprocess.Popen(
            _command(self._where, argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            # Ctrl-C is for the controller, which ends its writers in order.
            start_new_session=True,
        )  # fmt: skip
