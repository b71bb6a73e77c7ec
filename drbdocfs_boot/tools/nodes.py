"""Commands on nodes that go down and come up, and the commands of a power switch: each runs beside what we do, has a
limit, and can be asked whether it is done.  For the command only: not part of the boot path.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO

from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Result, find

EX_UNAVAILABLE = 69
SSH_FAILED = 255
TOO_LATE = -1  # exit code of what was killed at its limit
CONNECT_LIMIT = 20  # a machine that boots is slow to answer
MOST_OUTPUT = 8 << 20  # bytes; a journal is shorter
# What a node may call itself: its name goes into power commands, whatever quotes stand around it there, and into names
# of files.  As libexec/data-check has it.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class Call:
    """A command that runs; its output goes to files, so that nobody waits for a reader."""

    def __init__(self, argv: Sequence[str], limit: float, environment: dict[str, str] | None = None) -> None:
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the call)
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        self._until = time.monotonic() + limit
        self._limit = limit
        self._result: Result | None = None
        # A group of its own: Ctrl-C at the terminal is for us, and a power command has to end its work.
        self._process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )

    def done(self) -> Result | None:
        """What came of it; None while it runs.  Code TOO_LATE: it was not done at its limit, and was killed."""
        if self._result is not None:
            return self._result
        code = self._process.poll()
        if code is None and time.monotonic() < self._until:
            return None
        if code is None:
            self._kill()
            self._err.write(f"not done after {self._limit:.0f} s".encode())
            code = TOO_LATE
        self._result = Result(code, _text(self._out), _text(self._err))
        self._out.close()
        self._err.close()
        return self._result

    def wait(self) -> Result:
        """What came of it, at its limit at the latest."""
        while True:
            result = self.done()
            if result is not None:
                return result
            try:
                self._process.wait(max(0.0, self._until - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass

    def end(self) -> None:
        """Kill it if it still runs."""
        if self._result is None and self._process.poll() is None:
            self._kill()

    def _kill(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(MOST_OUTPUT).decode("utf-8", "replace")


class Node:
    """A node, reached by ssh as root.  `where`: the ssh destination as it was given; `name`: its own (uname -n)."""

    def __init__(self, where: str, config: str = "") -> None:
        """`config`: a file for ssh -F."""
        self.where = where if "@" in where else "root@" + where
        self.name = where.rpartition("@")[2]
        self._config = config

    def argv(self, command: str) -> list[str]:
        """The ssh command for a command line of the node's shell."""
        config = ["-F", self._config] if self._config else []
        return [
            find("ssh"), *config, "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_LIMIT}",
            "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "--", self.where, command,
        ]  # fmt: skip

    def call(self, command: str, limit: float) -> Call:
        """Begin a command line of the shell there."""
        return Call(self.argv(command), limit)

    def run(self, command: str, limit: float = 60.0) -> Result:
        """Run it to its end.  Raises Failure (69) where the node is not reached, or not done in time."""
        result = self.call(command, limit).wait()
        if result.code in (SSH_FAILED, TOO_LATE):
            said = result.said or "no answer"
            raise Failure(
                EX_UNAVAILABLE,
                f"{self.where} is not reachable by ssh: {said}",
                f"root has to get in there by key, without a question: try 'ssh -o BatchMode=yes {self.where} true'",
            )
        return result

    def popen(self, argv: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command with pipes; see tools.datacheck.Host."""
        return subprocess.Popen(
            self.argv(shlex.join(argv)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )


def power(command: str, node: str, limit: float) -> Call:
    """Begin a command of the administrator's: his shell, `{node}` replaced, DRBDOCFS_NODE in its environment.

    Raises ValueError for a node that is not called as NAME says: no quotes of ours help inside of the administrator's.
    """
    if not NAME.match(node):
        raise ValueError(f"not the name of a node: {node!r}")
    text = command.replace("{node}", node)
    return Call(["/bin/sh", "-c", text], limit, {"DRBDOCFS_NODE": node})
