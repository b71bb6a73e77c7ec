"""What all helpers share: how they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from drbdocfs_boot.helpers import base

END = (
    "import sys; sys.path.insert(0, sys.argv[1]); import atexit; from drbdocfs_boot.helpers import base;"
    "atexit.register(print, 'put away'); print('said', end=' '); print('warned', end=' ', file=sys.stderr);"
    "base.end(78)"
)


def ended(redirections: str = "") -> subprocess.CompletedProcess[str]:
    top = str(Path(base.__file__).parents[2])
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-I", "-S", "-c", END, top],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_helper_ends_at_once_and_what_it_has_said_arrives() -> None:
    done = ended()
    assert (done.returncode, done.stdout, done.stderr) == (78, "said ", "warned ")


def test_its_status_counts_whether_anybody_reads_it_or_not() -> None:
    assert ended(">/dev/full").returncode == 78
    assert ended(">&- 2>&-").returncode == 78
