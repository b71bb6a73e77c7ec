"""Show what the generator would write at the next boot, without touching the system."""

from __future__ import annotations

import argparse
import os
import sys

from drbdocfs_boot import generator, units

EX_USAGE = 2
EX_CONFIG = 78
EX_CANTCREAT = 73


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="DIR", help="write the files below DIR (new or empty) instead of printing them")


def run(args: argparse.Namespace) -> int:
    """0, 78 when the configuration has problems (what is good is shown all the same), 73 when it cannot write."""
    files, problems = generator.plan(os.environ.get("DRBDOCFS_ROOT", ""))
    for problem in problems:
        print(f"drbdocfs: {problem}", file=sys.stderr)
    if args.to:
        try:
            os.makedirs(args.to, exist_ok=True)
            busy = os.listdir(args.to)
        except OSError as error:
            print(f"drbdocfs: {args.to}: {error.strerror}", file=sys.stderr)
            return EX_CANTCREAT
        if busy:
            print(f"drbdocfs: {args.to} is not empty: name a new or an empty directory", file=sys.stderr)
            return EX_USAGE
        failed = generator.write(files, args.to)
        for text in failed:
            print(f"drbdocfs: {text}", file=sys.stderr)
        if failed:
            return EX_CANTCREAT
    else:
        for name, text in sorted(files.items()):
            print(f"==> {name} {text}\n" if text.startswith(units.LINK) else f"==> {name}\n{text}")
    return EX_CONFIG if problems else 0
