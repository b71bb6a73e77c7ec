"""``drbdocfs VERB ...``: finds the verb's file and runs it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import SimpleNamespace

from drbdocfs_boot import __version__, verbs

EX_UNAVAILABLE = 69


def _run(argv: list[str]) -> int:
    if len(argv) == 1 and argv[0] in verbs.BARE:
        module = import_module(f"{verbs.__name__}.{argv[0]}")
        return int(module.run(SimpleNamespace(**verbs.BARE[argv[0]])))
    from drbdocfs_boot import parsing  # argparse costs an interpreter's start

    args = parsing.parse(argv)
    return int(args.run(args))


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit status (see drbdocfs(8))."""
    # What files hold need not be UTF-8, and what is shown of it must not end the command.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    if argv is None:
        argv = sys.argv[1:]
    try:
        if argv == ["--version"]:
            print(f"drbdocfs {__version__}")
            status = 0
        else:
            status = _run(argv)
        # Here and not at the interpreter's end, which would complain about a reader that has gone.
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader (head, less) has gone; keep the interpreter from complaining about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("drbdocfs_boot"):
            raise
        print(f"drbdocfs: the Python module {error.name} is missing", file=sys.stderr)
        print(f"what to do: install the package python3-{error.name}", file=sys.stderr)
        return EX_UNAVAILABLE
    except KeyboardInterrupt:
        return 130
