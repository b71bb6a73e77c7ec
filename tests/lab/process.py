"""Child processes that cannot outlive the test run, whatever ends it."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The kernel's parent-death signal follows the thread that forked, not the process: so one thread, which lives as long
# as the interpreter does, starts them all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lab-start")


def start(command: list[str], log: Path, piped: bool = False) -> subprocess.Popen[bytes]:
    """Start a long-lived command, its output appended to a file, or but for errors to a pipe.

    It gets SIGKILL when this process dies, and a session of its own, so that Ctrl-C reaches the test run alone,
    which then ends it in good order.
    """

    def go() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                start_new_session=True,
            )

    return _starter.submit(go).result()


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it, if it still runs, and wait until it is gone."""
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
