"""Reads the manual pages' sources: sections, options, examples. For the tests that hold pages and product together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PAGES = Path(__file__).parent.parent / "packaging" / "man"
_FONT = re.compile(r"\\f(?:\[[^]]*\]|.)")
_FONT_MACRO = re.compile(r"^\.(?:B|I|BI|BR|IB|IR|RB|RI|SM|SB) +")
# What stands where the lines of an example are no commands for a pair that is up, with the reason.
NOT_IN_THE_LAB = re.compile(r'^\.\\" not in the lab: (.+)$')
EXITS = re.compile(r'^\.\\" exits: (\d+)$')


class Example(NamedTuple):
    """One line of an example: the command, the exit status that it has in the lab, or why it is not run there."""

    page: str
    line: int
    command: str
    exits: int
    skipped: str


def page(name: str) -> Path:
    """The page of that name, whatever its section; raises FileNotFoundError."""
    found = sorted(PAGES.glob(f"{name}.[1-8]"))
    if len(found) != 1:
        raise FileNotFoundError(f"packaging/man has {len(found)} pages {name}.N")
    return found[0]


def plain(line: str) -> str:
    """A line of source as words: escapes and fonts gone, and the macros that only choose a font."""
    macro = _FONT_MACRO.match(line)
    if macro:
        # Arguments in turns of two fonts are set without a blank between them.
        words = re.findall(r'"((?:[^"]|"")*)"|(\S+)', line[macro.end() :])
        joint = " " if line.startswith((".B ", ".I ")) else ""
        line = joint.join(quoted or bare for quoted, bare in words)
    line = line.replace(r"\(aq", "'").replace(r"\(dq", '"').replace(r"\(bu", "*").replace(r"\-", "-")
    return _FONT.sub("", line).replace(r"\&", "").replace(r"\e", "\\")


def sections(path: Path) -> dict[str, list[str]]:
    """The lines of source below each .SH, by its title."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(".SH "):
            title = plain(line[4:].strip('"'))
            found[title] = []
        elif title:
            found[title].append(line)
    return found


def tags(lines: list[str]) -> list[str]:
    """The tag of each .TP."""
    return [plain(after) for before, after in zip(lines, lines[1:]) if before.startswith(".TP")]


def described_options(path: Path) -> set[str]:
    """The options that the section OPTIONS describes: those in its tags."""
    found: set[str] = set()
    for tag in tags(sections(path).get("OPTIONS", [])):
        found.update(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", tag))
    return found


def examples(path: Path) -> list[Example]:
    """The lines of the .EX blocks in EXAMPLES. A comment before .EX speaks of all its lines, one inside of the next."""
    found: list[Example] = []
    inside = within = False
    block: tuple[int, str] = (0, "")
    own: tuple[int, str] | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        skip, exits = NOT_IN_THE_LAB.match(line), EXITS.match(line)
        if line.startswith(".SH "):
            inside = line.strip() in (".SH EXAMPLES", ".SH EXAMPLE")
        elif skip or exits:
            note = (int(exits[1]) if exits else 0, skip[1] if skip else "")
            if within:
                own = note
            else:
                block = note
        elif line == ".EX":
            within = True
        elif line == ".EE":
            within, block, own = False, (0, ""), None
        elif inside and within and line and not line.startswith('.\\"'):
            status, why = own or block
            found.append(Example(path.name, number, plain(line), status, why))
            own = None
    return found
