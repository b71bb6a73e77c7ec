"""DRBD's configuration as it is written, with the place of every statement.

drbdadm is the authority on what it means; this reading is for what drbdadm does not tell: on which line a setting
stands, what an old configuration says that today's drbdadm refuses, and what a tree of files says without drbdadm.

Pure: texts in, statements out.  Source: drbd.conf(5) of 8.4 and 9.0.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from drbdocfs_boot.drbddump import tokens

SECRET = "shared-secret"


@dataclass(frozen=True)
class Statement:
    """``words`` without quotes; ``children`` None for ``words;``, else what stands between the braces."""

    words: tuple[str, ...]
    children: tuple[Statement, ...] | None
    file: str
    line: int

    @property
    def place(self) -> str:
        """ "FILE:LINE"."""
        return f"{self.file}:{self.line}"

    @property
    def shown(self) -> str:
        """The words for a message: what stands behind a secret's name, where a ';' is missing, is left out."""
        if SECRET not in self.words:
            return " ".join(self.words)
        return " ".join((*self.words[: self.words.index(SECRET) + 1], "…"))

    def sections(self, *names: str) -> Iterator[Statement]:
        """Direct children with braces whose first word is one of ``names``."""
        return (s for s in self.children or () if s.children is not None and s.words[:1] and s.words[0] in names)

    def settings(self, *names: str) -> Iterator[Statement]:
        """Direct children without braces whose first word is one of ``names``."""
        return (s for s in self.children or () if s.children is None and s.words[:1] and s.words[0] in names)


@dataclass(frozen=True)
class Mistake:
    """A place where the text is no drbd.conf."""

    file: str
    line: int
    message: str


@dataclass
class Configuration:
    """All of it: top-level ``statements`` in order, ``mistakes``, and the ``files`` that were read."""

    statements: list[Statement] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def resources(self) -> list[Statement]:
        """``resource NAME { }`` in order."""
        return [s for s in self.sections("resource") if len(s.words) > 1]

    def resource(self, name: str) -> Statement | None:
        """The first resource of that name."""
        return next((s for s in self.resources() if s.words[1] == name), None)

    def sections(self, *names: str) -> list[Statement]:
        """Top-level sections such as ``global`` and ``common``."""
        return [s for s in self.statements if s.children is not None and s.words[:1] and s.words[0] in names]

    def setting(self, resource: Statement, section: str, *names: str) -> Statement | None:
        """The setting of ``section`` (net, disk, startup, ...) that is in force for a resource: its own, else common's.

        Of several the last one, as drbdadm takes it.
        """
        for place in (resource, *reversed(self.sections("common"))):
            found = [s for one in place.sections(section) for s in one.settings(*names)]
            if found:
                return found[-1]
        return None


def parse(text: str, file: str) -> tuple[list[Statement], list[Mistake]]:
    """The statements of one file, ``include`` among them, and what is no drbd.conf in it.

    No message of a mistake has more than the keyword of a statement: the secret may stand behind it.
    """
    mistakes: list[Mistake] = []
    # A string ends on its line (drbdadm: "we don't allow embedded newlines"); the last one may be open to the end.
    found = list(tokens(text + "\n"))
    across = (line for word, line, quoted in found if quoted and "\n" in word)
    mistakes += [Mistake(file, line, "a quote that is not closed") for line in across]
    # Behind it what is in quotes is out of them and the other way round: then no word is shown at all.
    odd = bool(mistakes)
    # The sections that are open: words, line, children so far, and how a message names them.
    open_: list[tuple[tuple[str, ...], int, list[Statement], str]] = [((), 0, [], "")]
    words: list[str] = []
    begun, keyword = 0, ""

    def without_end() -> Mistake:
        return Mistake(file, begun, f"'{_first(keyword, words)}' has no ';' at its end")

    for word, line, quoted in found:
        if quoted or word not in "{};":
            if not words:
                begun, keyword = line, "" if quoted or odd else word
            words.append(word.partition("\n")[0] if quoted else word)
            # The one statement without a semicolon (drbd.conf(5)).
            if len(words) == 2 and words[0] == "include":
                open_[-1][2].append(Statement(tuple(words), None, file, begun))
                words = []
        elif word == "{":
            if not words:
                mistakes.append(Mistake(file, line, "'{' without a section's name before it"))
            open_.append((tuple(words), begun or line, [], _first(keyword, words)))
            words = []
        elif word == ";":
            if words:
                open_[-1][2].append(Statement(tuple(words), None, file, begun))
            words = []
        else:
            if words:
                mistakes.append(without_end())
                words = []
            if len(open_) == 1:
                mistakes.append(Mistake(file, line, "'}' with no section open"))
                continue
            head, start, children, _ = open_.pop()
            open_[-1][2].append(Statement(head, tuple(children), file, start))
    if words:
        mistakes.append(without_end())
    while len(open_) > 1:
        head, start, children, name = open_.pop()
        mistakes.append(Mistake(file, start, f"the section '{name}' is not closed"))
        open_[-1][2].append(Statement(head, tuple(children), file, start))
    return open_[0][2], mistakes


def _first(keyword: str, words: list[str]) -> str:
    return " ".join(([keyword] if keyword else []) + (["…"] if len(words) > 1 or not keyword else []))


def load(
    read: Callable[[str], str | None], glob: Callable[[str], Iterable[str]], file: str = "/etc/drbd.conf"
) -> Configuration:
    """Everything from ``file`` on, with its includes; patterns are relative to the file that names them.

    ``read`` gives a file's text or None; ``glob`` the absolute names that an absolute pattern stands for.  A file is
    read once, however often it is included.
    """
    found = Configuration()
    _load(found, read, glob, file)
    return found


def _load(
    found: Configuration, read: Callable[[str], str | None], glob: Callable[[str], Iterable[str]], file: str
) -> None:
    text = read(file)
    if text is None or file in found.files:
        return
    found.files.append(file)
    statements, mistakes = parse(text, file)
    found.mistakes += mistakes
    for statement in statements:
        if statement.words[:1] == ("include",) and len(statement.words) == 2:
            pattern = statement.words[1]
            if not pattern.startswith("/"):
                pattern = file.rpartition("/")[0] + "/" + pattern
            # So that a file has one name, or a circle of includes would never end.
            for name in sorted(glob(posixpath.normpath(pattern))):
                _load(found, read, glob, name)
        else:
            found.statements.append(statement)
