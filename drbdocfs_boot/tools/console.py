"""Words for whoever stands before the machine: the system console.

A unit with ``StandardError=journal+console`` silences systemd's own line of progress ("A start job is running for
... 0:23 of 2:00") as long as it runs, so the wait, which has a status worth reading there, writes its last words
itself.
"""

import os

from drbdocfs_boot.tools import system


def say(text: str) -> None:
    """One line on the console; silently nothing where there is none, or outside systemd."""
    if "INVOCATION_ID" not in os.environ:
        return
    try:
        fd = os.open(system.path("/dev/console"), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, (text + "\n").encode("utf-8", "replace"))
    except OSError:
        pass
    finally:
        os.close(fd)
