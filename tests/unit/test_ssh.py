"""Commands on the other host: input, output while it comes, limits.  ssh is a stand-in that runs them here."""

from __future__ import annotations

import time
from typing import Any

import pytest

from drbdocfs_boot.tools import ssh
from drbdocfs_boot.tools.failure import Failure

HERE = 'while [ "$1" != -- ]; do shift; done; exec /bin/sh -c "$3"'


def test_lines_come_one_by_one_and_the_input_is_in_no_argument(box: Any) -> None:
    box.tool("ssh", HERE)
    lines: list[str] = []
    text = "secret\n" * 100_000
    done = ssh.stream(
        "root@server2", ["sh", "-c", "wc -c; echo out; echo err >&2; printf end; exit 3"], text, lines.append, 5
    )
    assert lines == ["700000", "out", "end"]
    assert (done.code, done.err) == (3, "err\n")
    assert "secret" not in "".join(box.calls)
    assert "BatchMode=yes" in box.calls[0]


def test_nothing_is_said_for_too_long(box: Any) -> None:
    box.tool("ssh", HERE)
    began = time.monotonic()
    with pytest.raises(Failure, match=r"root@server2 has said nothing for 0 s") as caught:
        ssh.stream("root@server2", ["sh", "-c", "exec sleep 30"], "", lambda line: None, 0.2)
    assert caught.value.status == 69
    assert time.monotonic() - began < 10


def test_not_reached(box: Any) -> None:
    box.tool("ssh", "echo 'ssh: connect to host: No route to host' >&2; exit 255")
    words = "not reachable by ssh: ssh: connect to host: No route to host"
    with pytest.raises(Failure, match=words):
        ssh.stream("root@server2", ["true"], "", lambda line: None, 5)
    with pytest.raises(Failure, match=words):
        ssh.run("root@server2", ["true"])
