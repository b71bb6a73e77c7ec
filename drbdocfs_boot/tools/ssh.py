"""Commands on the other host, over ssh and within limits.  For the command only: not part of the boot path."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence

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
    # subprocess and not tools.run: an agent's socket in the environment has to reach ssh.
    command = [
        find("ssh"), "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_LIMIT}", "-o", "ServerAliveInterval=5",
        "-o", "ServerAliveCountMax=3", "--", where, shlex.join(argv),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise Failure(EX_UNAVAILABLE, f"{where} did not answer '{argv[0]}' in {limit:.0f} s") from None
    result = Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
    if result.code == SSH_FAILED:
        raise Failure(EX_UNAVAILABLE, f"{where} is not reachable by ssh: {result.said}")
    return result
