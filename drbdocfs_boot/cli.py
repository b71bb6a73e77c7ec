"""``drbdocfs VERB ...``: finds the verb's file and runs it."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import Any

from drbdocfs_boot import __version__, verbs

EX_UNAVAILABLE = 69


class _Verb(argparse.ArgumentParser):
    """A verb's parser: its module is imported when the verb is used, and only then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.module: Any = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        name = self.prog.rpartition(" ")[2]
        self.module = import_module(f"{verbs.__name__}.{name.replace('-', '_')}")
        self.description = self.module.__doc__
        self.module.arguments(self)
        self.set_defaults(run=self.module.run)
        return super().parse_known_args(args, namespace)


def parser() -> argparse.ArgumentParser:
    """The command's own options, and a parser of each verb that finds the verb's options when it is used."""
    made = argparse.ArgumentParser(
        prog="drbdocfs",
        description="OCFS2 on dual-primary DRBD, mounted after every reboot.",
        epilog="See drbdocfs(8).",
    )
    made.add_argument("--version", action="version", version=f"drbdocfs {__version__}")
    made.add_argument("--root", metavar="DIR", help="read configuration, fstab and the tools' files below DIR")
    subparsers = made.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Verb)
    for name, text in verbs.HELP.items():
        subparsers.add_parser(name, help=text, prog=f"drbdocfs {name}")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit status (see drbdocfs(8))."""
    # What files hold need not be UTF-8, and what is shown of it must not end the command.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    asked = parser()
    try:
        # This imports the verb's module, and with it what that needs.
        args = asked.parse_args(argv)
        if args.root is not None:
            if not os.path.isdir(args.root):
                asked.error(f"--root {args.root}: no such directory")
            os.environ["DRBDOCFS_ROOT"] = os.path.abspath(args.root)
        status = int(args.run(args))
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
