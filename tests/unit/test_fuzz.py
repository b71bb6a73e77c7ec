"""A short run of the fuzzer (python3 -m tests.fuzz is the long one), and what it and its like have found."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from drbdocfs_boot import shelltext
from drbdocfs_boot.helpers import follow
from tests.fuzz import unitreader
from tests.fuzz.targets import TARGETS, inputs, run

# Directories and files for each example, or two readers.
DEAR = ("config", "generator", "records")


@pytest.mark.parametrize("name", TARGETS)
def test_the_properties_hold_for_every_reader(name: str) -> None:
    count = 8 if name in DEAR else 25
    checked = settings(
        max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )(given(inputs(TARGETS[name]))(lambda data: run(TARGETS[name], data)))  # fmt: skip
    checked()


@pytest.mark.parametrize("name", TARGETS)
def test_the_properties_hold_for_the_files_as_they_are(name: str) -> None:
    for data in TARGETS[name].seeds()[:20]:
        run(TARGETS[name], data)


@pytest.mark.parametrize("piece", ["$(", "$(a ", "`"])
def test_a_script_nested_without_end_is_read(piece: str) -> None:
    assert shelltext.read("drbdadm up r0\n" + piece * 2000).commands[0].words == ["drbdadm", "up", "r0"]


def test_a_dump_nested_without_end_takes_no_longer_than_a_flat_one() -> None:
    run(TARGETS["drbddump"], b"a{device x;" * 4000, 1.0)


def test_the_unit_reader_sees_what_is_injected() -> None:
    assert unitreader.assignments("[Unit]\nA=b\n[Service]\nExecStart=/x \\\n y\n#c\n") == [
        ("Unit", "A", "b"), ("Service", "ExecStart", "/x  y"),
    ]  # fmt: skip
    assert unitreader.words('"a b\\"" c\\x20d') == ['a b"', "c d"]
    with pytest.raises(ValueError):
        unitreader.plain("50%n")
    with pytest.raises(ValueError):
        unitreader.assignments("[Unit]\nrubbish\n")


# --- files in a directory of another user


def test_metrics_do_not_follow_a_link_that_the_collector_planted(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    name = tmp_path / "drbdocfs.prom"
    (tmp_path / "drbdocfs.prom.new").symlink_to(victim)
    follow._write(str(name), "metrics")
    assert (victim.read_text(), name.read_text(), name.is_symlink()) == ("precious", "metrics", False)
    # In the place of the file itself the link is replaced.
    name.unlink()
    name.symlink_to(victim)
    follow._write(str(name), "more")
    assert (victim.read_text(), name.read_text(), name.is_symlink()) == ("precious", "more", False)


def test_metrics_do_not_write_through_a_hard_link_or_wait_for_a_pipe(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    name, new = tmp_path / "drbdocfs.prom", tmp_path / "drbdocfs.prom.new"
    os.link(victim, new)
    follow._write(str(name), "metrics")
    assert (victim.read_text(), name.read_text()) == ("precious", "metrics")
    os.mkfifo(new)
    follow._write(str(name), "more")
    assert name.read_text() == "more"
    assert stat.S_ISREG(name.stat().st_mode)
