"""Show every layer of every stack: its unit's state, and DRBD's state in words."""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module

from drbdocfs_boot import choose, lean, report, systemd, terminal, watch
from drbdocfs_boot.exits import EX_CONFIG, EX_DATAERR, EX_NO, EX_NOPERM, EX_OK, EX_UNAVAILABLE, refuse
from drbdocfs_boot.stack import Problem
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import PATH, find
from drbdocfs_boot.verdict import NO_MODULE, SPLIT_BRAIN

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any, TextIO

    Look = Callable[[], list[report.StackReport]]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stack", metavar="STACK", nargs="?", help="this stack only")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="machine-readable, with a version field")
    how.add_argument("--watch", action="store_true", help="go on showing it; to a pipe, a line per change")


def run(args: argparse.Namespace) -> int:
    """0 all up; 1 a stack is not up, or is up and does not serve as it should (see ``report.ailing``), or nobody
    follows it; 2 no such stack; 65 split brain; 69 systemd, DRBD's tools or its module are not there; 77 all that this
    user may read is well; 78 the configuration has problems.  Of several: 78, then 69, 65, 1, 77."""
    if os.geteuid() != 0:
        # An ordinary user's PATH has no place for drbdsetup, which may be asked by everybody.
        os.environ["PATH"] = os.environ.get("PATH", "") + ":" + PATH
    reading = lean.read(os.environ.get("DRBDOCFS_ROOT", ""))
    stacks = [s for s in reading.stacks if args.stack in (None, s.name)]
    problems = tuple(p for p in reading.problems if args.stack in (None, p.stack) or not p.stack)
    if args.stack is not None and not stacks and not problems:
        chosen = choose.one(args.stack)
        assert isinstance(chosen, int)  # it is not among them
        return chosen
    live = args.watch and bool(stacks)  # without a stack there is nothing that could change
    screen = live and terminal.movable(sys.stdout)
    try:
        if screen:
            reports = _live(lambda: watch.look(stacks), problems)
        elif live:
            reports = _lines(lambda: watch.look(stacks), problems)
        else:
            reports = watch.look(stacks)
    except systemd.NoSystemd as error:
        refuse(EX_UNAVAILABLE, error.message, error.advice)
        if args.json:
            _print_json(watch.without_systemd(stacks), problems)
        elif problems and (screen or not live):  # _lines has said them at its beginning
            print(_text([], problems, sys.stdout))
        return EX_CONFIG if problems else EX_UNAVAILABLE
    if args.json:
        _print_json(reports, problems)
    elif not live or screen:
        print(_text(reports, problems, sys.stdout))
    return _status(reports, problems, args.json)


def _print_json(reports: list[report.StackReport], problems: tuple[Problem, ...]) -> None:
    import json

    print(json.dumps(report.as_json(reports, problems), indent=2))


def _text(reports: list[report.StackReport], problems: tuple[Problem, ...], out: TextIO) -> str:
    return report.as_text(reports, problems, terminal.width(out), lambda text, name: terminal.style(text, name, out))


def _status(reports: list[report.StackReport], problems: tuple[Problem, ...], quiet: bool) -> int:
    """The exit status, and on standard error what is missing or could not be read."""
    hidden = report.unreadable(reports)
    if hidden:
        refuse(0, "not root, so this could not be read: " + "; ".join(hidden), "" if quiet else "sudo drbdocfs status")
    missing = _missing(reports)
    if missing is not None:
        refuse(missing.status, missing.message, missing.advice)
    if problems:
        return EX_CONFIG
    if missing is not None:
        return EX_UNAVAILABLE
    if any(one.drbd is not None and one.drbd.verdict == SPLIT_BRAIN for one in reports):
        return EX_DATAERR
    if any(one.state != "up" or report.ailing(one) or report.unfollowed(one) for one in reports):
        return EX_NO
    return EX_NOPERM if hidden else EX_OK


def _missing(reports: list[report.StackReport]) -> Failure | None:
    """DRBD's tools or its module, where nothing can be said or done without them."""
    if not reports:
        return None
    try:
        find("drbdsetup")
    except Failure as failure:
        return failure
    for one in reports:
        # A stopped stack needs no module; one whose attach has failed tried to load it.
        attach = next(layer for layer in one.layers if layer.layer == "attach")
        if one.drbd is not None and one.drbd.verdict == NO_MODULE and attach.state == "failed":
            return Failure(EX_UNAVAILABLE, one.drbd.reason, one.drbd.advice)
    return None


def _lines(look: Look, problems: tuple[Problem, ...]) -> list[report.StackReport]:
    """A line per change, with its time, until the reader or Ctrl-C ends it; the last state."""
    for problem in problems:
        print(f"configuration: {problem}", flush=True)
    told: dict[str, str] = {}
    reports: list[report.StackReport] = []
    try:
        while True:
            reports = look()
            for one in reports:
                line = report.summary(one)
                if report.gist(line) != told.get(one.name):
                    told[one.name] = report.gist(line)
                    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {one.name}: {line}", flush=True)
            time.sleep(watch.EVERY)
    except KeyboardInterrupt:
        return reports


def _live(look: Look, problems: tuple[Problem, ...]) -> list[report.StackReport]:
    """Draw it anew every second until q or Ctrl-C; the last state."""
    reports: list[report.StackReport] = []
    out = sys.stdout  # rich puts something that is no terminal in its place
    with _Keys() as keys, _Screen() as draw:
        try:
            while True:
                reports = look()
                draw(_text(reports, problems, out) + "\n\nq ends this")
                if keys.pressed("q", watch.EVERY):
                    return reports
        except KeyboardInterrupt:
            return reports


class _Keys:
    """Single keys from the terminal, without Enter; nothing where standard input is none."""

    def __enter__(self) -> _Keys:
        import termios
        import tty

        self._saved = None
        if sys.stdin.isatty():
            self._saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        import termios

        if self._saved is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)

    def pressed(self, key: str, seconds: float) -> bool:
        """Wait up to ``seconds``; True when the key came."""
        import select

        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if self._saved is None or left <= 0:
                time.sleep(max(0.0, left))
                return False
            if select.select([sys.stdin], [], [], left)[0]:
                got = os.read(sys.stdin.fileno(), 64).decode("utf-8", "replace")
                if key in got.lower() or not got:
                    return True


class _Screen:
    """Where to draw, on the terminal's other screen: rich's live view, or without rich the terminal itself."""

    def __enter__(self) -> Callable[[str], None]:
        self._live: Any = None
        try:
            live, text = import_module("rich.live"), import_module("rich.text")
        except ImportError:
            sys.stdout.write("\x1b[?1049h")
            return self._plain
        self._live = live.Live(auto_refresh=False, screen=True)
        self._live.__enter__()
        return lambda words: self._live.update(text.Text.from_ansi(words), refresh=True)

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
        else:
            sys.stdout.write("\x1b[?1049l")
            sys.stdout.flush()

    @staticmethod
    def _plain(text: str) -> None:
        # Home, each line cleared to its end, then the rest of the screen: no flicker.  What does not fit would scroll.
        rows = os.get_terminal_size(sys.stdout.fileno()).lines
        if rows > 1:
            text = "\n".join(text.split("\n")[: rows - 1])
        sys.stdout.write("\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[K\x1b[J")
        sys.stdout.flush()
