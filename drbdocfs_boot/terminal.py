"""How the command's words look: colour where a terminal can show it, one line that moves where it can be drawn anew.

Rules: colour and movement only on a terminal that is not ``dumb``; no colour with NO_COLOR set (not empty); a pipe and
a dumb terminal get plain whole lines, in the same order.  Meaning never hangs on a colour alone.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
# What a state means, for every verb alike.
STYLES = {
    "up": "green", "done": "green", "ok": "green",
    "starting": "yellow", "stopping": "yellow", "waiting": "yellow", "late": "yellow", "warning": "yellow",
    "failed": "red", "error": "red", "unknown": "red", "critical": "red",
    "down": "dim", "stopped": "dim", "info": "cyan", "note": "cyan",
}  # fmt: skip


def movable(stream: TextIO) -> bool:
    """True where a line can be drawn anew: a terminal that knows how to move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


def coloured(stream: TextIO) -> bool:
    """True where colours may be used."""
    return movable(stream) and not os.environ.get("NO_COLOR")


def width(stream: TextIO, otherwise: int = 80) -> int:
    """Columns of the terminal; 0 (no limit) where the stream is none: a pipe gets whole lines."""
    if not stream.isatty():
        return 0
    import shutil

    # COLUMNS counts first, as everywhere.
    return max(20, shutil.get_terminal_size((otherwise, 24)).columns)


def painted(text: str, name: str) -> str:
    """``text`` in a colour of _CODES or in the style of a state (STYLES)."""
    code = _CODES.get(STYLES.get(name, name))
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


def style(text: str, name: str, stream: TextIO) -> str:
    """``text`` painted, where the stream takes colours."""
    return painted(text, name) if coloured(stream) else text


def wrap(text: str, columns: int, first: str = "", rest: str = "") -> Iterator[str]:
    """Lines of at most ``columns`` (0: no limit) that begin with ``first``, then with ``rest``; words stay whole."""
    if not columns:
        yield first + text
        return
    import textwrap

    yield from textwrap.wrap(
        text,
        max(columns, len(rest) + 20),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def bar(fraction: float, columns: int = 20) -> str:
    """A bar of a fraction between 0 and 1, in ASCII, which every terminal and every log can show."""
    full = round(max(0.0, min(1.0, fraction)) * columns)
    return "[" + "#" * full + "." * (columns - full) + "]"


class Progress:
    """One line that says how far a long step is: drawn anew on a terminal, a line every ``every`` seconds elsewhere."""

    def __init__(self, stream: TextIO | None = None, every: float = 15.0) -> None:
        self._stream = stream or sys.stdout
        self._movable = movable(self._stream)
        self._every = every
        self._told = 0.0
        self._shown = ""

    def show(self, text: str) -> None:
        """How far it is now."""
        if self._movable:
            import re

            limit = width(self._stream)
            plain = re.sub(r"\x1b\[\d*m", "", text)  # what has no width does not count
            text = text if len(plain) < limit else plain[: limit - 4] + "..."
            self._stream.write("\r" + text + "\x1b[K")
            self._shown = text
        elif time.monotonic() - self._told >= self._every:
            self._told = time.monotonic()
            self._stream.write(text + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Take the moving line away, so that a whole line can be written in its place."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = ""
