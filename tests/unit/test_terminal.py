"""Colour, width, wrapping and progress: what a terminal, a dumb one, and a pipe get."""

from __future__ import annotations

import io

import pytest

from drbdocfs_boot import terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_colours_only_where_they_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert terminal.style("up", "up", Terminal()) == "\x1b[32mup\x1b[0m"
    assert terminal.style("up", "bold", Terminal()) == "\x1b[1mup\x1b[0m"
    assert terminal.style("up", "no-such-style", Terminal()) == "up"
    assert terminal.style("", "up", Terminal()) == ""
    assert terminal.style("up", "up", io.StringIO()) == "up"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.style("up", "up", Terminal()) == "up"
    assert terminal.movable(Terminal())  # no colour, but the line may move
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert terminal.style("up", "up", Terminal()) == "up"
    assert not terminal.movable(Terminal())
    monkeypatch.delenv("TERM")
    assert not terminal.movable(Terminal())


def test_width_is_the_terminals_and_none_for_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    assert terminal.width(Terminal()) == 40
    assert terminal.width(io.StringIO()) == 0
    monkeypatch.setenv("COLUMNS", "3")
    assert terminal.width(Terminal()) == 20


def test_wrapping_keeps_words_and_columns() -> None:
    text = "waiting for server2 at 10.181.76.2:7789 (Connecting)"
    assert list(terminal.wrap(text, 30, "wait  ", "      ")) == [
        "wait  waiting for server2 at", "      10.181.76.2:7789", "      (Connecting)",
    ]  # fmt: skip
    assert list(terminal.wrap(text, 0, "wait  ")) == ["wait  " + text]
    assert list(terminal.wrap("", 30, "wait  ")) == ["wait"]
    path = "/a/very/long/path/that/nobody/may/break.conf"
    assert list(terminal.wrap(path, 20)) == [path]


@pytest.mark.parametrize(
    ("fraction", "shown"), [(0.0, "[....]"), (0.5, "[##..]"), (1.0, "[####]"), (7.0, "[####]"), (-1.0, "[....]")]
)
def test_bar(fraction: float, shown: str) -> None:
    assert terminal.bar(fraction, 4) == shown


def test_progress_on_a_terminal_moves_and_goes() -> None:
    out = Terminal()
    progress = terminal.Progress(out)
    progress.show("a" * 50)
    progress.show("half")
    # Colours have no width.
    green = terminal.style("b" * 39, "green", out)
    progress.show(green)
    progress.show(green + "b")
    progress.clear()
    progress.clear()
    moves = ["a" * 36 + "...", "half", green, "b" * 36 + "...", ""]
    assert out.getvalue() == "".join(f"\r{text}\x1b[K" for text in moves)


def test_progress_to_a_pipe_is_a_line_now_and_then() -> None:
    out = io.StringIO()
    progress = terminal.Progress(out, every=1000.0)
    progress._told = -1000.0  # long ago
    progress.show("10 %")
    progress.show("11 %")
    progress.clear()
    assert out.getvalue() == "10 %\n"
