"""Show how long each layer took at a boot, what it waited for, and which of them made the boot long."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from drbdocfs_boot import choose, config, terminal, timeline, timeline_svg, timeline_text
from drbdocfs_boot.exits import EX_CANTCREAT, EX_CONFIG, EX_NO, EX_OK, EX_USAGE, refuse
from drbdocfs_boot.report import layer_units
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.timeline import Timeline
from drbdocfs_boot.tools import files, journalctl, system
from drbdocfs_boot.tools.failure import Failure

MOST = 1000


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stack", metavar="STACK", nargs="?", help="this stack only")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--boot", metavar="N", type=_not_later, default=0, help="0 this boot (the default), -1 the one before, ..."
    )
    which.add_argument("--boots", metavar="N", type=_how_many, help="compare the last N boots")
    parser.add_argument("--svg", metavar="FILE", help="write a picture to FILE; - for standard output, alone")
    parser.add_argument("--json", action="store_true", help="machine-readable, with a version field")


def _not_later(text: str) -> int:
    value = int(text)
    if value > 0:
        raise argparse.ArgumentTypeError("0 is this boot, -1 the one before")
    return value


def _how_many(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"1 to {MOST}")
    return value


def run(args: argparse.Namespace) -> int:
    """0 shown; 1 a stack was not started in that boot; 2 no such stack or boot; 69 no journal; 73 the picture cannot
    be written; 75 journalctl hangs; 77 no right to read the journal; 78 the configuration has problems."""
    if args.svg == "-" and args.json:
        return refuse(EX_USAGE, "--svg - and --json both want standard output", "write the picture to a file")
    reading = config.read(os.environ.get("DRBDOCFS_ROOT", ""))
    chosen: Sequence[Stack] = reading.stacks
    if args.stack is not None:
        one = choose.one(args.stack)
        if isinstance(one, int):
            return one
        chosen = [one]
    elif reading.problems:
        for problem in reading.problems:
            print(f"drbdocfs: {problem}", file=sys.stderr)
    if not chosen:
        return EX_CONFIG if reading.problems else refuse(
            EX_NO, "no stack is configured", "write one to /etc/drbdocfs/drbdocfs.conf, see drbdocfs.conf(5)"
        )  # fmt: skip
    try:
        journalctl.require()
        shown = _collect(args, chosen, reading.stacks)
    except Failure as failure:
        return refuse(failure.status, failure.message, failure.advice)
    if isinstance(shown, int):
        return shown
    if args.svg is not None:
        picture = timeline_svg.picture([line for boot in shown for line in boot])
        if args.svg == "-":
            sys.stdout.write(picture)
        else:
            try:
                # A path of the person who typed it, not of the other root.
                files.write(_outside_root(args.svg), picture, follow=False)
            except OSError as error:
                return refuse(EX_CANTCREAT, f"{args.svg} cannot be written: {error.strerror or error}")
    if args.json:
        print(json.dumps(timeline_text.as_json(shown), indent=2))
    elif args.svg != "-":
        _print(args, shown)
    sys.stdout.flush()  # here, where a reader that has gone is no error
    missing = [line for boot in shown for line in boot if line.result == "none"]
    if args.boots is None:
        for line in missing:
            refuse(
                EX_NO,
                f"{line.stack} was not started in {timeline_text.name_of(line.boot)}",
                f"'drbdocfs status {line.stack}' shows what it is now; --boots 10 what other boots did",
            )
    none = all(line.result == "none" for boot in shown for line in boot)
    if none or (args.boots is None and missing):
        return EX_NO
    return EX_CONFIG if reading.problems and args.stack is None else EX_OK


def _outside_root(name: str) -> str:
    """A path for files.write, which puts the other root before it."""
    root = os.environ.get("DRBDOCFS_ROOT", "").rstrip("/")
    name = os.path.abspath(name)
    return "/" + os.path.relpath(name, os.path.realpath(root)) if root else name


def _collect(
    args: argparse.Namespace, stacks: Sequence[Stack], everything: Sequence[Stack]
) -> list[list[Timeline]] | int:
    """The timelines of each boot asked for, the newest first; or the status, after the refusal."""
    if args.boots is None:
        lines = _boot(str(args.boot), args.boot, stacks, everything)
        return [lines] if lines is not None else _no_boot(args.boot)
    known = journalctl.boots()
    if not known:
        return _no_boot(0)
    found = []
    for place, (_, boot_id, _) in enumerate(reversed(known[-args.boots :])):
        lines = _boot(boot_id, -place, stacks, everything)
        if lines is not None:  # the journal was rotated just now
            found.append(lines)
    return found or _no_boot(0)


def _boot(boot: str, number: int, stacks: Sequence[Stack], everything: Sequence[Stack]) -> list[Timeline] | None:
    layers = list(dict.fromkeys(unit for stack in stacks for unit in layer_units(stack).values()))
    units = timeline.units_of(stacks, everything)
    # With a clock that was wrong the last boot of the list need not be this one.
    running = (system.read("/proc/sys/kernel/random/boot_id") or "").strip().replace("-", "")
    here = boot in ("0", running) and not journalctl.offline()
    text = journalctl.entries(boot, journalctl.matches(units, layers, [stack.name for stack in stacks]))
    live: dict[str, timeline.Live] | None = None
    userspace = generators = None
    if here:
        live, userspace, generators = journalctl.live(units, layers)
    if text is None and not live:
        return None
    journal = timeline.parse((text or "").split("\n"))
    # Messages said before the first one of ours do not come with our matches; the last one of the boot tells its end.
    last = 0.0 if here else journalctl.last(boot)
    journal = replace(
        journal,
        last=max(last, journal.last),
        userspace=userspace or journal.userspace,
        generators=generators,
    )
    return [timeline.timeline(stack, everything, journal, number, live) for stack in stacks]


def _no_boot(number: int) -> int:
    known = journalctl.boots()
    lines = [f"  {index:>4}  {boot_id}  {times}" for index, boot_id, times in known]
    words = "\n".join(["the journal has:", *lines]) if known else "the journal is empty"
    advice = "" if len(known) > 1 or journalctl.kept() else journalctl.KEEP
    return refuse(EX_USAGE, f"the journal has no boot {number}; {words}", advice)


def _print(args: argparse.Namespace, shown: Sequence[Sequence[Timeline]]) -> None:
    columns = terminal.width(sys.stdout)

    def paint(text: str, style: str) -> str:
        return terminal.style(text, style, sys.stdout)

    parts = []
    if args.boots is not None:
        for place in range(len(shown[0])):
            parts.append(timeline_text.compared([boot[place] for boot in shown], columns, paint))
    else:
        parts = [timeline_text.table(line, columns, paint) for line in shown[0] if line.result != "none"]
    if parts:
        print("\n\n".join(parts))
