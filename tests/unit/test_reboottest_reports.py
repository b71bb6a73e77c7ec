"""The reports of a test of many reboots: the table, JUnit's XML and the page.

``UPDATE_GOLDEN=1 pytest tests/unit/test_reboottest_reports.py`` writes the expected files anew; read the difference.
"""

from __future__ import annotations

import dataclasses
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from drbdocfs_boot import reboottest_html, reboottest_junit, reboottest_text
from drbdocfs_boot.reboottest import DATA, TIME_LIMIT, Boot, Cycle, Finding, Layer, Run

EXPECTED = Path(__file__).parent / "reboottest"
EVIL = "</script>\"'&<b>\u2028\u202e\x07\x1b]0;owned\x07\x1b[2J\x9b31m\ud800"
LAYERS = (Layer("loop", 3.0, 3.5, "done"), Layer("wait", 4.0, 12.0, "done"), Layer("mount", 12.5, 18.0, "done"))
VOID = {"meta", "br"}


pytestmark = pytest.mark.usefixtures("utc")


def boot(node: str, up: float | None = 60.0) -> Boot:
    """One that takes a minute."""
    return Boot(node, "reboot", "b00t", 12.0, 40.0, up, None if up is None else 18.0, LAYERS)


def run(cycles: int, planned: int = 0, ended: str = "done") -> Run:
    """Of two nodes, good."""
    done = tuple(
        Cycle(number, 1.79e9 + 100 * number, 95.0, (boot("s1"), boot("s2", 61.0 + number)), acknowledged=10 * number)
        for number in range(1, cycles + 1)
    )
    versions = {"s1": {"drbd": "8.4.11"}, "s2": {"drbd": "8.4.11", "kernel": "6.1"}}
    return Run("web", ("s1", "s2"), "both", planned or cycles, 1.79e9, "0.2", versions, done, ended)


def bad() -> Run:
    """Interrupted after two of four cycles, the second of which went wrong."""
    whole = run(2, 4, "interrupted")
    late = Finding("s1", TIME_LIMIT, "not up after 300 s", "s1 drbd: \x1b[31mno peer\x1b[0m\ns1 drbd: gave up\n")
    second = dataclasses.replace(
        whole.cycles[1], boots=(boot("s1", None), boot("s2")), findings=(late, Finding("", DATA, "record 7 is lost"))
    )
    return dataclasses.replace(whole, cycles=(whole.cycles[0], second))


def hostile() -> Run:
    """Every text holds what could break a terminal, XML or a page."""
    node = dataclasses.replace(boot(EVIL, None), how=EVIL, boot_id=EVIL, layers=(Layer(EVIL, 1.0, 2.0, EVIL),))
    finding = Finding(EVIL, EVIL, EVIL, EVIL * 2 + "\n" + EVIL)
    cycle = Cycle(1, 1.79e9, 9.0, (node,), (finding,))
    return Run(EVIL, (EVIL,), EVIL, 2, 1.79e9, EVIL, {EVIL: {EVIL: EVIL}}, (cycle,), EVIL, (finding,))


class Balance(HTMLParser):
    """Fails at an end without a beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Both at once."""
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """It has to be the last one that was opened."""
        assert self.open.pop() == tag


def parsed(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """The page's tags; they are balanced."""
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser.seen


REPORTS: dict[str, Callable[[Run], str]] = {
    "txt": reboottest_text.table,
    "xml": reboottest_junit.junit,
    "html": lambda one: re.sub(r"<style>.*?</style>|'sha256-[^']*'", "...", reboottest_html.page(one), flags=re.S),
}


@pytest.mark.parametrize("kind", REPORTS)
def test_a_run_with_a_failure_is_told_as_expected(kind: str) -> None:
    found = REPORTS[kind](bad()).rstrip("\n") + "\n"
    path = EXPECTED / f"bad.{kind}"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(found)
    assert found == path.read_text()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100])
@pytest.mark.parametrize("made", [bad, hostile, lambda: run(3), lambda: run(0, 2, "interrupted")])
def test_no_line_is_wider_than_the_terminal(width: int, made: Callable[[], Run]) -> None:
    assert max(map(len, reboottest_text.table(made(), width=width).splitlines())) <= width


def test_wide_letters_count_twice() -> None:
    one = dataclasses.replace(bad(), stack="磁盘" * 30)
    assert all(len(line) + line.count("磁") + line.count("盘") <= 60
               for line in reboottest_text.table(one, width=60).splitlines())  # fmt: skip


def test_colours_are_all_that_reaches_a_terminal_of_the_controls() -> None:
    plain, coloured = (reboottest_text.table(hostile(), colour, 100) for colour in (False, True))
    assert all(line.isprintable() for line in plain.splitlines())
    assert "\x1b[31m" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == plain


def test_nothing_of_a_long_cell_is_lost_without_a_limit() -> None:
    assert "no limit " * 30 + "end" in reboottest_text.table(
        dataclasses.replace(bad(), before=(Finding("", DATA, "no limit " * 30 + "end"),)), width=0
    )


def test_junit_has_a_case_for_each_node_and_the_data_of_each_planned_cycle() -> None:
    suite = ET.fromstring(reboottest_junit.junit(bad()))[0]
    cases = suite.findall("testcase")
    assert len(cases) == 4 * 4 == int(suite.attrib["tests"])
    assert len({(case.attrib["classname"], case.attrib["name"]) for case in cases}) == len(cases)
    assert [failure.attrib["type"] for failure in suite.findall("testcase/failure")] == [TIME_LIMIT, DATA]
    assert len(suite.findall("testcase/skipped")) == 8 == int(suite.attrib["skipped"])


def test_junit_of_hostile_texts_can_be_read() -> None:
    root = ET.fromstring(reboottest_junit.junit(hostile()))
    text = root.findtext("testsuite/testcase/failure") or ""
    assert "</script>" in text
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("made", [bad, hostile, lambda: run(1), lambda: run(0, 2, "interrupted"), lambda: run(0)])
def test_the_page_is_whole_and_calls_nobody(made: Callable[[], Run]) -> None:
    page = reboottest_html.page(made())
    tags = parsed(page)
    assert {tag for tag, _ in tags}.isdisjoint({"script", "img", "link", "iframe", "object", "b", "base"})
    names = [name for _, attributes in tags for name in attributes]
    assert not [name for name in names if name in ("src", "style") or name.startswith("on")]
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in tags:
        assert tag != "th" or attributes.get("scope") in ("row", "col", "rowgroup")
        assert tag != "a" or str(attributes["href"])[1:] in ids
    assert all(c.isprintable() or c == "\n" for c in page)


def test_each_picture_is_well_formed_and_has_words_for_who_hears() -> None:
    pictures = re.findall(r"<svg .*?</svg>", reboottest_html.page(bad()), flags=re.S)
    assert len(pictures) == 2
    for picture in pictures:
        root = ET.fromstring(picture)
        assert [child.tag.rpartition("}")[2] for child in root[:2]] == ["title", "desc"]
        assert root[0].text
        assert root[1].text
        assert "nan" not in picture


@pytest.mark.exhaustive
def test_a_thousand_cycles_with_long_journals_still_make_a_page_that_can_be_sent() -> None:
    cycle = bad().cycles[1]
    journal = "s1 kernel: <something> is & remains wrong\n" * 200
    findings = tuple(dataclasses.replace(one, journal=journal) for one in cycle.findings)
    many = tuple(dataclasses.replace(cycle, number=number, findings=findings) for number in range(1, 1001))
    page = reboottest_html.page(dataclasses.replace(run(1, 1000), cycles=many))
    assert len(page.encode()) < 2_000_000
    assert "1500 findings more stand in the JSON only" in page
    assert len(re.findall("<svg", page)) == 2
    parsed(page)


def test_a_failed_layer_is_shown_among_a_thousand_that_are_longer() -> None:
    whole = run(1000)
    short = dataclasses.replace(boot("s1", None), layers=(Layer("loop", 3.0, 3.1, "failed"),))
    cycles = (*whole.cycles[:499], dataclasses.replace(whole.cycles[499], boots=(short,)), *whole.cycles[500:])
    assert "cycle 500, s1: loop took 0.1 s, failed" in reboottest_html.page(dataclasses.replace(whole, cycles=cycles))


@pytest.mark.parametrize(
    ("numbers", "words"), [([], ""), ([3], "3"), ([1, 2], "1, 2"), ([1, 2, 3, 7], "1 to 3, 7")]
)
def test_ranges_in_words(numbers: list[int], words: str) -> None:
    assert reboottest_text.ranges(numbers) == words
