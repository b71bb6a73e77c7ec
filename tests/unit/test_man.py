"""The manual pages against the product: verbs, options, choices, exit statuses, keys, units, and each other."""

from __future__ import annotations

import argparse
import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from drbdocfs_boot import exits, parsing, verbs, verdict
from tests import manpage

TOP = Path(__file__).parent.parent.parent
PAGES = sorted(manpage.PAGES.glob("*.[1-8]"))
NAMES = {path.stem: path.suffix[1:] for path in PAGES}
STATUSES = {value for name, value in vars(exits).items() if name.startswith("EX_")}
# The command's own, which a verb's page may describe as well.
EVERYWHERE = {"-h", "--help", "--root"}
# Pages of programs that are no verbs of the command.
PROGRAMS = {"drbdocfs-generator", "drbdocfs-fence-peer", "drbdocfs-witness"}
SECTIONS = ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "FILES", "SEE ALSO")


def parser(verb: str) -> argparse.ArgumentParser:
    """The verb's own parser; the command's for ""."""
    if not verb:
        return parsing.parser()
    made = argparse.ArgumentParser(prog=f"drbdocfs {verb}")
    import_module(f"{verbs.__name__}.{verb.replace('-', '_')}").arguments(made)
    return made


def shown(verb: str) -> list[argparse.Action]:
    """What the verb's help shows."""
    return [action for action in parser(verb)._actions if action.help != argparse.SUPPRESS]


def options(verb: str) -> set[str]:
    """The verb's options in every spelling; --help is the command's."""
    found = {name for action in shown(verb) for name in action.option_strings}
    return found if not verb else found - EVERYWHERE


def verb_page(verb: str) -> Path:
    return manpage.page(f"drbdocfs-{verb}" if verb else "drbdocfs")


def text_of(path: Path, *titles: str) -> str:
    found = manpage.sections(path)
    return "\n".join(manpage.plain(line) for title in titles or found for line in found.get(title, []))


@pytest.mark.parametrize("verb", sorted(verbs.HELP))
def test_every_verb_has_a_page_with_all_its_parts(verb: str) -> None:
    path = verb_page(verb)
    assert path.suffix == ".8"
    missing = [title for title in SECTIONS if title not in manpage.sections(path)]
    assert missing == []
    synopsis = re.sub(r"\s+", " ", text_of(path, "SYNOPSIS").replace(".SY ", ""))
    assert re.search(rf"drbdocfs (\[ *--root DIR *\] )?{verb}\b", synopsis)


def test_there_is_no_page_of_a_verb_that_does_not_exist() -> None:
    ours = {
        name
        for name, section in NAMES.items()
        if section == "8" and name.startswith("drbdocfs-") and name not in PROGRAMS
    }
    assert {name[len("drbdocfs-") :] for name in ours} <= set(verbs.HELP)


@pytest.mark.parametrize("verb", ["", *sorted(verbs.HELP)])
def test_every_option_is_described_and_every_described_option_exists(verb: str) -> None:
    path = verb_page(verb)
    assert manpage.described_options(path) - (EVERYWHERE if verb else set()) == options(verb)
    synopsis = text_of(path, "SYNOPSIS")
    if "options]" in synopsis:
        return  # too many to name them all there
    for option in options(verb) - {"-h"}:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", synopsis), f"{option} is not in the synopsis"


@pytest.mark.parametrize("verb", ["", *sorted(verbs.HELP)])
def test_no_option_is_named_that_does_not_exist(verb: str) -> None:
    """In a line about drbdocfs, anywhere in the page: drbdadm's and systemctl's options are not ours to check."""
    called_so = re.compile(r"drbdocfs (?:--root \S+ )?([a-z][a-z-]*)((?: +[\w@./-]+)*)")
    for number, line in enumerate(verb_page(verb).read_text(encoding="utf-8").splitlines(), 1):
        for called, rest in called_so.findall(manpage.plain(line)):
            if called in verbs.HELP:
                named = set(re.findall(r"(?<!\S)--[a-z-]+", rest))
                assert named <= options(called) | EVERYWHERE, f"line {number}: {line}"


@pytest.mark.parametrize("verb", sorted(verbs.HELP))
def test_every_choice_and_every_operand_is_named(verb: str) -> None:
    text = text_of(verb_page(verb))
    for action in shown(verb):
        for choice in action.choices or ():
            assert re.search(rf"(?<![\w-]){re.escape(str(choice))}(?![\w-])", text), f"{action.dest}: {choice}"
        if not action.option_strings:
            assert str(action.metavar or action.dest.upper()) in text_of(verb_page(verb), "SYNOPSIS")


@pytest.mark.parametrize("verb", ["", *sorted(verbs.HELP)])
def test_exit_statuses_are_ours(verb: str) -> None:
    named = [
        int(status)
        for tag in manpage.tags(manpage.sections(verb_page(verb))["EXIT STATUS"])
        for status in re.findall(r"\d+", tag)
    ]
    assert 0 in named
    assert len(set(named)) == len(named)
    assert set(named) <= STATUSES


@pytest.mark.parametrize("verb", sorted(verbs.HELP))
def test_exit_statuses_are_all_in_the_overview(verb: str) -> None:
    overview = manpage.tags(manpage.sections(verb_page(""))["EXIT STATUS"])
    for tag in manpage.tags(manpage.sections(verb_page(verb))["EXIT STATUS"]):
        assert tag in overview


def test_the_overview_lists_every_verb_and_every_page() -> None:
    path = verb_page("")
    listed = [tag.partition(", see ") for tag in manpage.tags(manpage.sections(path)["VERBS"])]
    assert {name: where for name, _, where in listed} == {name: f"drbdocfs-{name}(8)" for name in verbs.HELP}
    also = set(re.findall(r"([\w.@-]+)\((\d)\)", text_of(path, "SEE ALSO")))
    assert {(name, section) for name, section in NAMES.items() if name != "drbdocfs"} <= also


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_of_ours_that_are_named_exist(path: Path) -> None:
    named = set(re.findall(r"\b(drbdocfs[\w.-]*)\((\d)\)", text_of(path)))
    assert {(name, section) for name, section in named if NAMES.get(name) != section} == set()
    assert path.stem == "drbdocfs" or ("drbdocfs", "8") in named


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_see_also_is_sorted_as_one_looks_for_it_and_names_nothing_twice(path: Path) -> None:
    also = re.findall(r"([\w.@-]+)\((\d)\)", text_of(path, "SEE ALSO"))
    assert also
    assert len(set(also)) == len(also)
    assert path.stem not in {name for name, _ in also}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_are_set_without_warnings(path: Path) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"},
        check=True,
    )
    assert done.stderr == ""
    assert len(done.stdout) > 1000


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_heading_and_the_name_fit_the_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    form = r'^\.TH (\S+) (\d) "\d{4}-\d\d-\d\d" "drbdocfs-boot [\d.]+" "drbdocfs-boot"$'
    heading = re.search(form, text, re.MULTILINE)
    assert heading is not None
    assert heading[1] == path.stem.upper()
    assert heading[2] == path.suffix[1:]
    assert manpage.plain(manpage.sections(path)["NAME"][0]).startswith(path.stem)


def test_the_reference_has_every_key_of_the_configspec_and_its_default() -> None:
    path = manpage.page("drbdocfs.conf")
    spec = (TOP / "drbdocfs_boot/drbdocfs.configspec").read_text(encoding="utf-8")
    keys = dict(re.findall(r"^(\w+) = (.*)$", spec, re.MULTILINE))
    assert len(keys) > 5
    lines = manpage.sections(path)["KEYS"]
    described = [tag.removesuffix(" =") for tag in manpage.tags(lines) if tag.endswith(" =")]
    assert sorted(described) == sorted(keys)
    body = "\n".join(manpage.plain(line) for line in lines)
    for key, rule in keys.items():
        part = re.split(r"^\w+ =$", body[body.index(f"\n{key} =") + 1 :], maxsplit=2, flags=re.MULTILINE)[1]
        default = re.search(r'default="?([^")]*)', rule)
        if default and default[1]:
            assert re.search(rf"default:\s+{re.escape(default[1])}\.", part), f"{key}: default {default[1]}"
        for word in re.findall(r'"([a-z]\w*)"', re.sub(r"default=.*", "", rule)) if rule.startswith("word(") else ():
            assert re.search(rf"\b{word}\b", part), f"{key}: {word}"


def test_every_unit_is_described() -> None:
    path = manpage.page("drbdocfs.target")
    units = {unit.name for unit in (TOP / "units").iterdir() if unit.suffix in (".service", ".target")}
    assert len(units) > 8
    source = path.read_text(encoding="utf-8")
    headings = {manpage.plain(line[4:]) for line in source.splitlines() if line.startswith(".SS ")}
    named = {re.sub(r"@(STACK|CLUSTER)\.", "@.", heading) for heading in headings} - {"The mount unit"}
    assert named == units
    # `man UNIT` finds it: man-db goes by the names before the dash, and setup.py installs a page of each name.
    name = " ".join(manpage.plain(line) for line in manpage.sections(path)["NAME"])
    assert set(re.split(r",\s*", name.partition(" - ")[0])) == units


def test_the_waits_exit_statuses_are_those_of_its_verdicts() -> None:
    text = manpage.page("drbdocfs.target").read_text(encoding="utf-8")
    part = text.partition("\n.SS drbdocfs-wait@")[2].partition("\n.SS ")[0]
    named = {int(number) for number in re.findall(r"^\.B (\d+)$", part, re.MULTILINE)}
    # The wait itself never says that the administrator has stopped it.
    assert named == {status for kind, status in verdict.STATUS.items() if kind != verdict.STOPPED}


def test_the_status_page_has_every_word_of_the_verdict() -> None:
    text = manpage.page("drbdocfs-status").read_text(encoding="utf-8")
    part = text.partition("\n.B drbd\n")[2].partition("where DRBD could not be asked")[0]
    assert set(verdict.STATUS) | {"unknown"} <= set(re.findall(r"[a-z-]+", part.replace("\\-", "-")))


def test_every_unit_points_to_a_page_of_ours() -> None:
    for unit in (TOP / "units").iterdir():
        if unit.suffix in (".service", ".target"):
            pages = re.findall(r"man:(drbdocfs[\w.-]*)\((\d)\)", unit.read_text(encoding="utf-8"))
            assert pages, unit.name
            assert all(NAMES.get(name) == section for name, section in pages), unit.name


@pytest.mark.parametrize("verb", sorted(verbs.HELP))
def test_examples_are_commands_with_options_that_exist(verb: str) -> None:
    found = manpage.examples(verb_page(verb))
    assert found, "no .EX block in EXAMPLES"
    ours = [one for one in found if one.command.startswith("drbdocfs ")]
    assert any(f"drbdocfs {verb}" in one.command for one in ours)
    for one in found:
        assert one.exits in STATUSES


def test_every_installed_document_is_named_in_a_page_and_no_other() -> None:
    named = {name for path in PAGES for name in re.findall(r"\b([a-z-]+\.md)\b", text_of(path))}
    developers = {"benchmarks.md", "development.md", "packaging.md"}
    assert named == {path.name for path in (TOP / "docs").glob("*.md")} - developers


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_each_form_of_a_synopsis_is_ended_before_the_next_one_begins(path: Path) -> None:
    """groff 1.24 sets it into a column of some letters otherwise, beside the end of the one before."""
    macros = re.findall(r"^\.(SY|YS)\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert macros == ["SY", "YS"] * (len(macros) // 2)
