"""Commands beside what we do: limits, ends, and what a power command is given."""

from __future__ import annotations

import time

from drbdocfs_boot.tools import nodes


def test_a_command_that_hangs_is_killed_at_its_limit_with_what_it_has_started() -> None:
    began = time.monotonic()
    result = nodes.power("sleep 100 & sleep 100", "a", 0.2).wait()
    assert time.monotonic() - began < 10
    assert result.code == nodes.TOO_LATE
    assert "not done after" in result.said


def test_a_power_command_gets_the_node_quoted_and_in_its_environment() -> None:
    result = nodes.power('echo {node} "$DRBDOCFS_NODE"', "a b;c", 10.0).wait()
    assert (result.code, result.out) == (0, "a b;c a b;c\n")


def test_ssh_is_given_root_the_configuration_and_no_option_as_a_host() -> None:
    argv = nodes.Node("server1", "/root/config").argv("true")
    assert argv[1:3] == ["-F", "/root/config"]
    assert argv[-3:] == ["--", "root@server1", "true"]
    assert nodes.Node("me@server1").argv("true")[-2] == "me@server1"
