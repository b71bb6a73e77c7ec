"""Commands beside what we do: limits, ends, and what a power command is given."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from drbdocfs_boot.tools import datacheck, nodes


def test_a_command_that_hangs_is_killed_at_its_limit_with_what_it_has_started() -> None:
    began = time.monotonic()
    result = nodes.power("sleep 100 & sleep 100", "a", 0.2).wait()
    assert time.monotonic() - began < 10
    assert result.code == nodes.TOO_LATE
    assert "not done after" in result.said


def test_a_power_command_gets_the_node_and_has_it_in_its_environment() -> None:
    result = nodes.power('echo {node} "{node}-bmc" "$DRBDOCFS_NODE"', "a-1.b", 10.0).wait()
    assert (result.code, result.out) == (0, "a-1.b a-1.b-bmc a-1.b\n")


@pytest.mark.parametrize("name", ["$(touch planted)", "a b", "", "-x", "../x", "a\n", "`x`", "a" * 65])
def test_a_power_command_is_not_run_for_a_name_that_the_shell_or_a_path_would_understand(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="not the name"):
        nodes.power('echo "{node}"', name, 10.0).wait()
    assert not list(tmp_path.iterdir())


def test_a_node_may_be_called_what_the_data_check_takes() -> None:
    assert f'NODE = re.compile(r"{nodes.NAME.pattern}")\n' in datacheck.program().decode()


def test_ssh_is_given_root_the_configuration_and_no_option_as_a_host() -> None:
    argv = nodes.Node("server1", "/root/config").argv("true")
    assert argv[1:3] == ["-F", "/root/config"]
    assert argv[-3:] == ["--", "root@server1", "true"]
    assert nodes.Node("me@server1").argv("true")[-2] == "me@server1"
