"""A kernel of the lab that has failed is told of, whatever became of the test (tests/lab/lab.py)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.node import hung_tasks, kernel_failures

# Words of a real console: a BUG at an unmount, and what followed from it.
BUG = "[  107.717405] kernel BUG at fs/ocfs2/dlm/dlmmaster.c:2939!"
STUCK = "[  132.651778] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [dlm-228ABE1A44B:500]"
CONSOLE = f"""\
         Unmounting mnt-storage.mount...\r
[  107.715694] ------------[ cut here ]------------\r
{BUG}\r
[  107.718239] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI\r
\x1b[M{STUCK}\r
"""
GOOD = "[   60.1] DEBUG: o2dlm\r\n[   71.0] Kernel panic - not syncing: sysrq triggered crash\r\n"


def lab(tmp_path: Path, console: str) -> Any:
    """A lab whose server1 has had this console."""
    folder = tmp_path / "server1"
    folder.mkdir()
    (folder / "console.log").write_text(console)
    made = Lab.__new__(Lab)
    node: Any = SimpleNamespace(name="server1", folder=folder, kernel_failures=lambda: kernel_failures(console))
    made.nodes, made._results = (node,), tmp_path / "results"
    return made


def test_the_lines_in_which_it_says_so() -> None:
    assert kernel_failures(CONSOLE) == [BUG, STUCK]
    assert kernel_failures(GOOD) == []


def test_the_lines_in_which_it_waits() -> None:
    hung = "[  242.898327] INFO: task mount:139 blocked for more than 120 seconds."
    assert hung_tasks(f"{CONSOLE}{hung}\r\n[  242.9]       Not tainted 6.1.0-56-amd64\r\n") == [hung]
    assert hung_tasks(CONSOLE + GOOD) == []


def test_it_is_a_warning_and_the_consoles_are_kept(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="a kernel failed\nserver1: .*dlmmaster.c:2939!"):
        lab(tmp_path, CONSOLE)._tell_of_kernels()
    (kept,) = (tmp_path / "results").glob("*/server1-console.log")
    assert BUG in kept.read_text()


def test_a_good_kernel_is_not_spoken_of(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    lab(tmp_path, GOOD)._tell_of_kernels()
    assert not recwarn.list
    assert not (tmp_path / "results").exists()
