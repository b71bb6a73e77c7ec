"""For all tests alike."""

from __future__ import annotations

import gc
import os
import signal

import pytest

# argparse asks for a translation of each of its words, and Python looks for catalogs on the disk each time that there
# is none: a tenth of the time of a test that calls the command.
os.environ.setdefault("LANGUAGE", "C")

# A shell without job control lets what it starts in the background ignore Ctrl-C ("make test &" in a script), and
# every process below inherits that: what the tests interrupt would not notice.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was collected stays until the end: looking through thousands of tests for rubbish again and again took an
    eighth of the processor time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
