"""tests/memory.sh: what it runs gets its signals, its standard input and its arguments, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "memory.sh"
# What stands in for pytest: says who it is and where its files are to be, and waits.
WAITS = 'echo "$$ $1"; exec sleep 60'


@pytest.fixture
def running() -> Iterator[subprocess.Popen[str]]:
    # What is ignored at its start, as HUP below nohup(1), a shell cannot catch.
    command = ["env", "--default-signal=HUP,INT,TERM", str(SCRIPT), "sh", "-c", WAITS, "sh"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()


def ends(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, int, str]:
    """Send it the signal, alone: the status in which it ends, its child's number and directory."""
    assert process.stdout is not None
    child, _, option = process.stdout.readline().strip().partition(" ")
    process.send_signal(number)
    # The child has the pipe as well: its end is the end of both.
    process.communicate(timeout=20)
    return process.returncode, int(child), option.partition("=")[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_both_and_leaves_nothing(running: subprocess.Popen[str], number: signal.Signals) -> None:
    status, child, place = ends(running, number)
    assert status == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert not place or not Path(place).exists()


def test_a_signal_waits_for_tests_that_clear_up() -> None:
    program = 'trap "sleep 0.5; echo cleared; exit 7" TERM; echo ready; while :; do sleep 0.1; done'
    process = subprocess.Popen(
        [str(SCRIPT), "sh", "-c", program, "sh"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    time.sleep(0.1)
    process.terminate()
    assert process.communicate(timeout=10)[0].startswith("cleared\n")
    assert process.returncode == 7


@pytest.mark.parametrize("status", [0, 5])
def test_status_and_standard_input_are_those_of_the_tests(status: int) -> None:
    command = [str(SCRIPT), "sh", "-c", f"cat; exit {status}", "sh"]
    done = subprocess.run(command, input="typed", capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (status, "typed", "")
