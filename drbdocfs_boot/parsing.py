"""The parser of ``drbdocfs VERB ...``: apart from cli.py, because argparse costs most of an interpreter's start."""

from __future__ import annotations

import argparse
import os
from gettext import gettext
from importlib import import_module

from drbdocfs_boot import __version__, verbs

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from typing import Any


class _Verb(argparse.ArgumentParser):
    """A verb's parser: its module is imported when the verb is used, and only then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "add_help": False})
        self.module: Any = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # Here, not by argparse for each verb at each call.
        words = gettext("show this help message and exit")
        self.add_argument("-h", "--help", action="help", default=argparse.SUPPRESS, help=words)
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
    subparsers = made.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Verb, prog="drbdocfs")
    for name, text in verbs.HELP.items():
        subparsers.add_parser(name, help=text, prog=f"drbdocfs {name}")
    return made


def parse(argv: list[str]) -> argparse.Namespace:
    """What was asked for: ``run`` is the verb's.  Imports its module, and with it what that needs; sets the root.

    Raises SystemExit for a wrong usage, and where help was asked for.
    """
    asked = parser()
    args = asked.parse_args(argv)
    if args.root is not None:
        if not os.path.isdir(args.root):
            asked.error(f"--root {args.root}: no such directory")
        os.environ["DRBDOCFS_ROOT"] = os.path.abspath(args.root)
    return args
