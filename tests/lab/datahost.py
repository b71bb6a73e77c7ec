"""A node of the lab as a host of the data check."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from typing import IO

from drbdocfs_boot.tools.failure import Failure

from .node import COMMAND_LIMIT, LabError, Node
from .shell import Unreachable
from .stack import MOUNTPOINT

DIRECTORY = f"{MOUNTPOINT}/data-check"


class DataHost:
    """Commands with pipes, over the node's ssh."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.name = node.name

    def popen(self, argv: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command on the node."""
        try:
            line = [*self.node.connected_ssh(COMMAND_LIMIT), shlex.join(argv)]
        except (LabError, Unreachable) as error:
            raise Failure(69, str(error)) from None
        return subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
