"""``drbdocfs check``: what it prints, and with which status it ends."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from drbdocfs_boot import checks, cli, lean
from drbdocfs_boot.checks import configuration, model, runner, text
from drbdocfs_boot.checks.facts import Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, SEVERITIES, WARNING, Book, Finding, Rule
from drbdocfs_boot.tools import system
from drbdocfs_boot.verbs import check

from .conftest import Box
from .test_check_areas import DRBD, GOOD, OURS, plant

PAGE = Path(__file__).parents[2] / "docs" / "check.md"
BOOK = Book(
    bad_thing=Rule(ERROR, "bad", "It hurts.", "stop it"),
    risky_thing=Rule(WARNING, "risky", "It may hurt.", "look at it"),
    small_thing=Rule(NOTE, "small", "It is there.", "know it"),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def areas(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """One area with these findings in place of all."""
    monkeypatch.setattr(runner, "areas", lambda: [("planted", lambda facts: iter(findings))])


def test_a_configuration_that_may_not_be_read(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody can tell then whether there is such a stack."""
    plant(box, GOOD)

    def refuse(path: str) -> str:
        raise lean.Unreadable("cannot be read: Permission denied; allowed: a regular file that root can read")

    really = system.read
    monkeypatch.setattr(lean, "_text", refuse)
    monkeypatch.setattr(system, "read", lambda name: None if name == OURS else really(name))
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    monkeypatch.setattr("os.access", lambda name, mode: not str(name).endswith(OURS))
    monkeypatch.setattr(runner, "areas", lambda: [("configuration", configuration.find)])
    assert cli.main(["check", "web"]) == 77
    out = capsys.readouterr().out
    assert out.startswith("note: not-permitted\n")
    assert OURS in out


@pytest.fixture
def good(box: Box) -> Box:
    plant(box, GOOD)
    return box


def test_nothing_is_wrong(good: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    areas(monkeypatch)
    assert cli.main(["check"]) == 0
    assert capsys.readouterr().out == "server1: nothing is wrong\n"


def test_all_areas_run_on_a_tree(good: Box, capsys: pytest.CaptureFixture[str]) -> None:
    good.write(DRBD, GOOD[DRBD].replace("protocol C", "protocol A"))
    assert cli.main(["check", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == 1
    assert found["host"] == "server1"
    assert found["live"] is False
    assert found["counts"]["error"] >= 1
    assert "check-failed" not in {one["code"] for one in found["findings"]}
    one = next(one for one in found["findings"] if one["code"] == "drbd-protocol")
    assert set(one) == {"code", "severity", "stack", "where", "message", "why", "advice"}
    assert (one["severity"], one["stack"], one["where"]) == ("error", "web", f"{DRBD}:3")


def test_no_such_stack(good: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "mail"]) == 2
    assert "no stack 'mail'; configured: web" in capsys.readouterr().err


def test_a_broken_stack_can_be_asked_for(good: Box, capsys: pytest.CaptureFixture[str]) -> None:
    good.write(OURS, GOOD[OURS] + "colour = red\n")
    assert cli.main(["check", "web"]) == 1
    assert f"error: config-mistake at {OURS}:9 (stack web)" in capsys.readouterr().out


def test_one_stack_and_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [BOOK.finding("bad-thing", "a", "x", "web"), BOOK.finding("bad-thing", "b", "y", "mail")]
    host = BOOK.finding("small-thing", "c", "z")
    areas(monkeypatch, *found, host)
    assert check.examine(Facts(False, "server1"), "web", None) == [found[0], host]
    assert check.examine(Facts(False, "server1"), "", None) == [*found, host]


@pytest.mark.parametrize(
    ("codes", "refused", "status"),
    [
        ([], False, 0),
        (["risky-thing", "small-thing"], False, 0),
        (["bad-thing"], False, 1),
        (["small-thing"], True, 77),
        (["bad-thing"], True, 1),
    ],
)
def test_status(codes: list[str], refused: bool, status: int) -> None:
    assert check.status([BOOK.finding(code, "", "x") for code in codes], refused) == status


def test_the_peer_is_asked_when_wanted_only(good: Box, capsys: pytest.CaptureFixture[str]) -> None:
    good.tool("ssh", "echo 'No route to host' >&2; exit 255")
    cli.main(["check", "web"])
    assert not any(line.startswith("ssh") for line in good.calls)
    capsys.readouterr()
    status = cli.main(["check", "web", "--peer"])
    out = capsys.readouterr().out
    assert "warning: peer-unreachable at root@server2" in out
    # Other areas may find errors on this bare tree, which count first.
    assert status == (1 if "error: " in out else 69)


def test_unreachable_alone_is_69(good: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    good.tool("ssh", "exit 255")
    areas(monkeypatch)
    assert cli.main(["check", "--peer", "somewhere"]) == 69


def test_an_area_that_fails_hides_no_other() -> None:
    first, last = BOOK.finding("small-thing", "", "first"), BOOK.finding("bad-thing", "", "last")

    def breaks(facts: Facts) -> Iterator[Finding]:
        yield first
        raise KeyError("lost")

    found = runner.look(Facts(False, "h"), [("one", breaks), ("two", lambda facts: iter([last]))])
    assert [f.code for f in found] == ["check-failed", "bad-thing", "small-thing"]
    failed = found[0]
    assert failed.severity == ERROR
    assert failed.where == "one"
    assert "KeyError: 'lost'" in failed.message
    assert Path(__file__).name in failed.message


def test_an_area_that_cannot_be_imported_hides_no_other(box: Box) -> None:
    found = runner.look(Facts(False, "h"), runner.areas(("nonesuch", "configuration")))
    assert {f.code for f in found} == {"check-failed", "no-stack"}


def test_order_and_each_once() -> None:
    found = [BOOK.finding(code, "", "x") for code in ("small-thing", "bad-thing", "risky-thing", "bad-thing")]
    assert [f.severity for f in model.ordered(found)] == [ERROR, WARNING, NOTE]


def printed(findings: list[Finding], stream: io.StringIO) -> list[str]:
    return list(text.lines(findings, "server1", stream))


def test_text_to_a_pipe() -> None:
    found = [
        BOOK.finding("bad-thing", "/etc/x:1", "x is y", "web"),
        BOOK.finding("bad-thing", "/etc/x:2", "x is z"),
        BOOK.finding("small-thing", "", "there"),
    ]
    assert printed(found, io.StringIO()) == [
        "error: bad-thing at /etc/x:1 (stack web)",
        "    x is y",
        # Why and what to do once for those of a kind.
        "error: bad-thing at /etc/x:2",
        "    x is z",
        "    why: It hurts.",
        "    what to do: stop it",
        "",
        "note: small-thing",
        "    there",
        "    why: It is there.",
        "    what to do: know it",
        "",
        "server1: 2 errors, 1 note",
    ]


def test_the_last_line() -> None:
    assert text.summary([], "h") == "h: nothing is wrong"
    assert text.summary([BOOK.finding("small-thing", "", "x")], "h") == "h: nothing is wrong (1 note)"
    assert text.summary([BOOK.finding("risky-thing", "", "x")] * 2, "h") == "h: 2 warnings"
    hidden = runner.BOOK.finding("not-permitted", "", "x")
    assert text.summary([hidden], "h") == "h: nothing is wrong in what could be looked at (1 note)"


def test_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    found = [BOOK.finding("bad-thing", "/etc/drbdocfs/conf.d/long.conf:17", "several words " * 8, "web")]
    lines = printed(found, Terminal())
    assert lines[0].startswith("\x1b[31merror\x1b[0m: ")
    plain = [re.sub(r"\x1b\[\d+m", "", line) for line in lines]
    assert all(len(line) <= 40 for line in plain), plain
    assert "    at /etc/drbdocfs/conf.d/long.conf:17" in plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(found, Terminal()) == plain
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("NO_COLOR")
    assert printed(found, Terminal()) == plain


# --- the page ---------------------------------------------------------------------------------------------------


def rules() -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for name in (*checks.AREAS, *checks.OTHERS):
        book = import_module(f"drbdocfs_boot.checks.{name}").BOOK
        assert not found.keys() & book.rules.keys(), f"a code of {name} exists twice"
        found.update(book.rules)
    return found


def test_each_code_is_on_the_page_with_its_severity_and_title() -> None:
    page = dict(re.findall(r"^### ([a-z0-9-]+)\n\n(.*)$", PAGE.read_text(), re.MULTILINE))
    assert set(page) == set(rules())
    for code, rule in rules().items():
        assert page[code].startswith(f"*{rule.severity}*: {rule.title}"), code


def test_rules_are_whole() -> None:
    for code, rule in rules().items():
        assert rule.severity in SEVERITIES, code
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code), code
        assert rule.why.endswith("."), code
        assert not rule.title.endswith("."), code
        assert rule.advice, code
