"""Exit statuses of the command, see drbdocfs(8), and of the helpers; and the form in which every verb refuses.

The boot path imports this.
"""

import sys

EX_OK = 0
EX_NO = 1  # the answer is no
EX_USAGE = 2
# sysexits(3), which systemd prints by name.
EX_DATAERR = 65  # data in danger
EX_UNAVAILABLE = 69  # something needed is missing
EX_SOFTWARE = 70  # a mistake of our own
EX_CANTCREAT = 73
EX_IOERR = 74
EX_TEMPFAIL = 75  # a time limit
EX_PROTOCOL = 76  # the other side does not understand us; DRBD dropped the connection
EX_NOPERM = 77
EX_CONFIG = 78
EX_INTERRUPTED = 130


def refuse(status: int, message: str, advice: str = "") -> int:
    """Say on standard error what is wrong and what to do next; returns ``status``."""
    print(f"drbdocfs: {message}", file=sys.stderr)
    if advice:
        print(f"what to do: {advice}", file=sys.stderr)
    return status
