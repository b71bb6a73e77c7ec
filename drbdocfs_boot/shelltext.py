"""The text of boot scripts, as far as it can be read without running it: which commands stand on which lines.

Variables are followed where they have one value in the whole text; whatever else only a shell could know stands in a
word as UNKNOWN.  Pure: text in, commands out.  Source: the grammar of sh(1), POSIX.1-2017, XCU chapter 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

UNKNOWN = "\0"
_OPENING = ("if", "for", "while", "until", "case", "{", "select")
_CLOSING = ("fi", "done", "esac", "}")
# After these a command may begin; at the level of the line's beginning they tie the line to its neighbours.
_JOINTS = ("then", "else", "elif", "do")
_ALONE = ("!", "time", "function")
# Substitutions within substitutions; nobody has so many, and each is read by a reader within a reader.
_DEEPEST = 50
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


@dataclass
class Row:
    """A logical line: physical lines ``first`` to ``last``, nested ``depth`` deep.

    ``whole``: it may be taken out without breaking what stands around it.
    """

    first: int
    last: int
    depth: int
    whole: bool = True


@dataclass
class Command:
    """A simple command: its words without quotes, and the row that it stands in."""

    words: list[str]
    row: Row


@dataclass
class Script:
    """What a text holds; ``variables`` as they are in the end, UNKNOWN where they have more than one value.

    ``functions``: names of those that it defines.
    """

    commands: list[Command] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    functions: frozenset[str] = frozenset()


def read(text: str, variables: dict[str, str] | None = None) -> Script:
    """The commands of a text.  ``variables``: what is known from elsewhere, such as a file that it sources."""
    first = _Reader(text, dict(variables or {}), fixed=False)
    first.run()
    second = _Reader(text, first.variables, fixed=True)
    second.run()
    # A call of a function of the text itself is no command: what the function does stands there, too.
    commands = [c for c in second.commands if c.words[0] not in second.functions]
    return Script(commands, second.variables, frozenset(second.functions))


class _Reader:
    def __init__(
        self, text: str, variables: dict[str, str], fixed: bool, row: Row | None = None, nested: int = 0
    ) -> None:
        # A carriage return before the line's end is a blank to us, so that such files can be read at all.
        self.text = text.replace("\r\n", " \n")
        self.variables = variables
        self.fixed = fixed
        self.given = set(variables) if not fixed else set()
        self.assigned: set[str] = set()
        self.commands: list[Command] = []
        self.functions: set[str] = set()
        self.at = 0
        self.line = 1
        self.depth = 0
        self.cases = 0  # how many are open
        self.pattern = False  # what comes now is a pattern of a case
        self.nested = nested
        self.inner = row  # commands of a substitution belong to the row that it stands in
        self.row = row or Row(1, 1, 0)

    def run(self) -> None:
        words: list[str] = []
        bare: list[bool] = []
        heredocs: list[tuple[str, bool]] = []
        parens = 0
        goes_on = False  # the line ended in an operator: its command is on the next
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "\n":
                self._end(words, bare)
                self.at += 1
                self.line += 1
                for word, strip in heredocs:
                    self._skip_heredoc(word, strip)
                heredocs = []
                if not goes_on:
                    self._new_row()
            elif char in " \t":
                self.at += 1
            elif char == "\\" and self.text[self.at + 1 : self.at + 2] == "\n":
                self.at += 2
                self.line += 1
            elif char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif char in ";&|()":
                pattern = self.pattern
                if char == "(" and len(words) == 1:
                    self.functions.add(words[0])
                    words.clear()
                    bare.clear()
                self._end(words, bare)
                operator = self._operator()
                goes_on = operator in ("&&", "||", "|")
                if pattern:
                    self.pattern = operator != ")"
                elif operator == "(":
                    parens += 1
                    self.depth += 1
                elif operator == ")" and parens:
                    parens -= 1
                    self._close()
                elif operator == ";;":
                    self.pattern = self.cases > 0
                if (pattern or operator == ";;") and self.depth <= self.row.depth:
                    self.row.whole = False
                continue
            elif char in "<>":
                heredoc = self._redirection()
                if heredoc is not None:
                    heredocs.append(heredoc)
            else:
                start = self.at
                word = self._word()
                raw = self.text[start : self.at]
                if raw.isdigit() and self.text[self.at : self.at + 1] in ("<", ">"):
                    continue  # the number of a redirection
                words.append(word)
                bare.append(raw == word)
                self._keywords(words, bare)
            if char not in " \t\n":
                goes_on = False
        self._end(words, bare)
        self._new_row()

    # Rows

    def _new_row(self) -> None:
        if self.inner is not None:
            return
        self.row.last = max(self.row.first, self.line - 1)
        if self.depth != self.row.depth:
            self.row.whole = False
        self.row = Row(self.line, self.line, self.depth)

    def _close(self) -> None:
        self.depth = max(0, self.depth - 1)
        if self.depth < self.row.depth:
            self.row.whole = False

    # Words

    def _operator(self) -> str:
        two = self.text[self.at : self.at + 2]
        found = two if two in ("&&", "||", ";;", "|&") else two[0]
        self.at += len(found)
        return found

    def _redirection(self) -> tuple[str, bool] | None:
        """Past an operator and its word; of a here-document the word that ends it, and whether tabs are stripped."""
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in "<>&-|":
            self.at += 1
        operator = self.text[start : self.at]
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1
        word = self._word() if self.text[self.at : self.at + 1] not in ("", "\n", ";", "&", "|", "(", ")") else ""
        return (word, operator.endswith("-")) if operator in ("<<", "<<-") else None

    def _skip_heredoc(self, word: str, strip: bool) -> None:
        while self.at < len(self.text):
            end = self.text.find("\n", self.at)
            end = len(self.text) if end < 0 else end
            line = self.text[self.at : end].rstrip(" ")
            self.at = min(end + 1, len(self.text))
            self.line += 1
            if (line.lstrip("\t") if strip else line) == word:
                return

    def _word(self) -> str:
        out = ""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t\n;&|()<>":
                break
            if char == "\\":
                if self.text[self.at + 1 : self.at + 2] == "\n":
                    self.line += 1
                else:
                    out += self.text[self.at + 1 : self.at + 2]
                self.at += 2
            elif char == "'":
                end = self.text.find("'", self.at + 1)
                end = len(self.text) if end < 0 else end
                piece = self.text[self.at + 1 : end]
                self.line += piece.count("\n")
                out += piece
                self.at = end + 1
            elif char == '"':
                self.at += 1
                out += self._double()
            elif char == "$":
                out += self._dollar()
            elif char == "`":
                out += self._backticks()
            elif char in "*?":
                out += UNKNOWN
                self.at += 1
            else:
                out += char
                self.at += 1
        return out

    def _double(self) -> str:
        out = ""
        while self.at < len(self.text) and self.text[self.at] != '"':
            char = self.text[self.at]
            if char == "\\" and self.text[self.at + 1 : self.at + 2] in ('"', "\\", "$", "`"):
                out += self.text[self.at + 1]
                self.at += 2
            elif char == "$":
                out += self._dollar()
            elif char == "`":
                out += self._backticks()
            else:
                out += char
                self.line += char == "\n"
                self.at += 1
        self.at += 1
        return out

    def _dollar(self) -> str:
        self.at += 1
        rest = self.text[self.at : self.at + 1]
        if rest == "(":
            return self._substitution()
        if rest == "{":
            end = self.text.find("}", self.at)
            end = len(self.text) if end < 0 else end
            inner = self.text[self.at + 1 : end]
            self.line += inner.count("\n")
            self.at = end + 1
            name = inner
            for operator in (":-", ":=", "-", "="):
                head, found, default = inner.partition(operator)
                if found and head and set(head) <= _NAME:
                    value = self.variables.get(head, "")
                    return value or (UNKNOWN if "$" in default or "`" in default else default.strip("\"'"))
            return self.variables.get(name, UNKNOWN)
        end = self.at
        while end < len(self.text) and self.text[end] in _NAME:
            end += 1
        name = self.text[self.at : end]
        if not name or name[0].isdigit():
            self.at += 1  # $1, $@, $?, ...
            return UNKNOWN
        self.at = end
        return self.variables.get(name, UNKNOWN)

    def _substitution(self) -> str:
        """``$( )``: what it prints is unknown, but its commands run."""
        self.at += 1
        start, deep, quote = self.at, 1, ""
        while self.at < len(self.text) and deep:
            char = self.text[self.at]
            if quote:
                quote = "" if char == quote else quote
            elif char in "'\"":
                quote = char
            else:
                deep += (char == "(") - (char == ")")
            self.line += char == "\n"
            self.at += 1
        self._inside(self.text[start : self.at - 1])
        return UNKNOWN

    def _backticks(self) -> str:
        end = self.text.find("`", self.at + 1)
        end = len(self.text) if end < 0 else end
        inner = self.text[self.at + 1 : end]
        self.line += inner.count("\n")
        self.at = end + 1
        self._inside(inner)
        return UNKNOWN

    def _inside(self, text: str) -> None:
        if self.nested >= _DEEPEST:
            return
        reader = _Reader(text, dict(self.variables), fixed=True, row=self.row, nested=self.nested + 1)
        reader.run()
        self.commands += reader.commands

    # Commands

    def _keywords(self, words: list[str], bare: list[bool]) -> None:
        """Take a reserved word at the beginning of a command away, and count what it opens or closes."""
        if words[0] == UNKNOWN + "function" and len(words) == 2:
            self.functions.add(words[1])
            words.clear()
            bare.clear()
            return
        if len(words) != 1 or not bare[0] or (self.pattern and words[0] != "esac"):
            return
        word = words[0]
        if word in _OPENING:
            self.depth += 1
            if word == "case":
                self.cases += 1
                self.pattern = True
        elif word in _CLOSING:
            if word == "esac":
                self.cases = max(0, self.cases - 1)
                self.pattern = False
            self._close()
        elif word in _JOINTS:
            if self.depth <= self.row.depth:
                self.row.whole = False
        elif word not in _ALONE:
            return
        if word in ("for", "select", "function"):
            words[0] = UNKNOWN + word  # what follows are no commands
        else:
            words.clear()
            bare.clear()

    def _end(self, words: list[str], bare: list[bool]) -> None:
        """The command is complete."""
        taken = list(words)
        words.clear()
        bare.clear()
        if self.pattern:
            return
        while taken and (taken[0] in ("export", "readonly", "local", "declare") or self._assigns(taken[0])):
            if "=" in taken[0]:
                name, _, value = taken[0].partition("=")
                self._assign(name, value)
            taken.pop(0)
        if taken and not taken[0].startswith((UNKNOWN + "for", UNKNOWN + "select", UNKNOWN + "function")):
            self.commands.append(Command(taken, self.row))

    @staticmethod
    def _assigns(word: str) -> bool:
        name, equals, _ = word.partition("=")
        return bool(equals and name and set(name) <= _NAME and not name[0].isdigit())

    def _assign(self, name: str, value: str) -> None:
        if self.fixed:
            return
        # A value from a sourced file stands for what the text says before it sources it.
        if name in self.given:
            return
        if name in self.assigned and self.variables.get(name) != value:
            self.variables[name] = UNKNOWN
        else:
            self.variables[name] = value
        self.assigned.add(name)
