"""The generator's reader: a subset of ConfigObj's grammar with builtins and `posix` alone, keeping line numbers.

ConfigObj with the configspec (config.py) is the authority, but importing it takes four times as long as all of the
generator does. What this reader takes, ConfigObj reads alike; a property test holds the two together. What ConfigObj
takes and this reader does not (sections in sections, triple quotes, keys in quotes, control characters, a `#` inside
a bare value, …) is refused by both, with the words that stand here: config.py asks `scan` for them.
"""

import posix

from . import DIRECTORY, MAIN_FILE, MORE_FILES, values
from .stack import Conclusion, Problem, Reading, Section, stack_problem

__all__ = ["DIRECTORY", "MAIN_FILE", "MORE_FILES"]

# More than 10,000 stacks with every key and comments. A larger file is not a configuration.
LARGEST = 8 << 20
# A file that was never meant for us (a log, a program) is to be named, not quoted line by line into the kernel's log:
# so many bad lines are told of one section, and of all that belongs to none.
MOST_IN_SECTION = 20
MOST_IN_NONE = 50

# What the messages name as allowed.
_HEADER = "[STACK] with nothing but a comment after it"
_LINE = "[STACK], KEY = VALUE or # COMMENT"
_QUOTES = "a value in one line, bare or in a pair of quotes"


class Unreadable(Exception):
    """A file gives no text. `line` is where, or 0; the exception's text ends a sentence that begins with the file."""

    def __init__(self, why: str, line: int = 0) -> None:
        super().__init__(why)
        self.line = line


class _Unusable(Exception):
    """A line is refused, in the exception's words. With `goes_on`, so is what follows it up to the next header."""

    def __init__(self, message: str, goes_on: bool = False) -> None:
        super().__init__(message)
        self.goes_on = goes_on


class _BadValue(Exception):
    """What follows a key's = is outside the grammar: why, and what is allowed."""


class Scan:
    """One file by lines. `lines` has "" for each line that was refused or skipped, so it holds only what was used."""

    __slots__ = ("file", "lines", "problems", "sections")

    def __init__(self, file: str, lines: "list[str]") -> None:
        self.file = file
        self.lines = lines
        self.sections: "list[Section]" = []
        self.problems: "list[Problem]" = []


def read(root: str = "") -> Reading:
    """Read the configuration below `root`. Never raises for anything that stands in the files."""
    texts, problems = load(root)
    scans = [scan(file, text) for file, text in texts]
    for one in scans:
        problems += one.problems
    # The defaults are the same for every stack, so they are checked once.
    defaults = {name: key.check(key.default) for name, key in values.KEYS.items() if key.default is not None}
    conclusion = Conclusion(problems)
    for one in scans:
        for section in one.sections:
            checked: "dict[str, str | int | values.Refused]" = {**defaults}
            for name, (_, found) in section.entries.items():
                if name in values.KEYS:
                    try:
                        checked[name] = values.KEYS[name].check(found)
                    except values.Refused as refused:
                        checked[name] = refused
            conclusion.add(section, checked)
    return conclusion.conclude([file for file, _ in texts])


def load(root: str) -> "tuple[list[tuple[str, str]], list[Problem]]":
    """The texts of the configuration's files in the order in which they count, and what is wrong with the others.

    Files are named without `root`. A main file or directory that is not there is no mistake.
    """
    texts: "list[tuple[str, str]]" = []
    problems: "list[Problem]" = []
    files = [MAIN_FILE]
    try:
        found = posix.listdir(root + MORE_FILES)
    except FileNotFoundError:
        found = []
    except OSError as error:
        found = []
        message = f"cannot be listed: {error.strerror}; allowed: a directory that root can read"
        problems.append(Problem(MORE_FILES, 0, "", message))
    for name in sorted(found):
        if not name.endswith(".conf") or name[0] == ".":
            continue
        if name.isprintable():
            files.append(f"{MORE_FILES}/{name}")
        else:
            # The name goes into SourcePath= and into every message.
            message = f"{values.show(name)} is not read; allowed: names of files that can be printed"
            problems.append(Problem(MORE_FILES, 0, "", message))
    for file in files:
        try:
            text = _text(root + file)
        except Unreadable as why:
            problems.append(Problem(file, why.line, "", str(why)))
            texts.append((file, ""))
        else:
            texts.append((file, text))
    return texts, problems


def raw(path: str) -> bytes:
    """What one file holds, nothing when it is not there. Raises Unreadable."""
    try:
        posix.lstat(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise Unreadable(_cannot(error)) from None
    try:
        kind = posix.stat(path).st_mode & 0o170000
        # Looked at before it is opened: opening a pipe waits, and opening some devices does something.
        if kind != 0o100000:
            what = "a directory" if kind == 0o040000 else "no regular file"
            raise Unreadable(f"is {what}; allowed: a regular file")
        return _bytes(path)
    except OSError as error:
        raise Unreadable(_cannot(error)) from None


def _text(path: str) -> str:
    """The text of one file, "" when it is not there. Raises Unreadable."""
    data = raw(path)
    if data[:3] == b"\xef\xbb\xbf":
        data = data[3:]
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = (
            f"the byte 0x{data[error.start]:02x} is not UTF-8, so none of the file is read; allowed: text in UTF-8"
        )
        raise Unreadable(message, line) from None


def _cannot(error: OSError) -> str:
    return f"cannot be read: {error.strerror}; allowed: a regular file that root can read"


def _bytes(path: str) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOCTTY | posix.O_NONBLOCK)
    try:
        pieces: "list[bytes]" = []
        size = 0
        while size <= LARGEST:
            piece = posix.read(fd, LARGEST + 1 - size)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
    finally:
        posix.close(fd)
    raise Unreadable(f"is larger than {LARGEST >> 20} MiB, so none of it is read; allowed: smaller files")


def scan(file: str, text: str) -> Scan:
    """Take one file's text apart into sections, by lines.

    A line that cannot be used costs the section in which it stands. After a header that cannot be used, and after the
    beginning of a value of several lines, everything up to the next header is left out: whose it is cannot be known.
    """
    lines = text.split("\n")
    if "\r" in text:
        lines = [line[:-1] if line[-1:] == "\r" else line for line in lines]
    result = Scan(file, lines)
    names: "set[str]" = set()
    section: "Section | None" = None
    skipping = False
    told: "list[Problem]" = []
    bad_lines = untold = last = 0
    for at, line in enumerate(lines):
        bare = line.strip()
        odd = "" if line.isprintable() else values.control(line)
        if not odd and (not bare or bare[0] == "#"):
            continue
        try:
            if bare[:1] == "[":
                skipping = True
                if bare[1:].lstrip()[:1] != "[":
                    # Whatever follows is not the section's before, even if this header cannot be used.
                    section = None
                name = _header(bare, odd)
                section = Section(name, file, at + 1)
                bad_lines = 0
                result.sections.append(section)
                skipping = section.damaged = name in names
                names.add(name)
                if skipping:
                    # Refused later for its name, in the same words as if it stood in another file.
                    lines[at] = ""
            elif skipping:
                lines[at] = ""
            else:
                _entry(section, bare, odd, at + 1)
        except _Unusable as unusable:
            lines[at] = ""
            skipping = skipping or unusable.goes_on
            message = str(unusable)
            if section is not None:
                section.damaged = True
                bad_lines += 1
                if bad_lines == MOST_IN_SECTION:
                    skipping = True
                    message += "; and as there are so many, the rest of the section is not read"
                if bad_lines <= MOST_IN_SECTION:
                    result.problems.append(stack_problem(file, at + 1, section.name, message))
            elif len(told) < MOST_IN_NONE:
                told.append(Problem(file, at + 1, "", message))
            else:
                untold += 1
                last = at + 1
    result.problems += told
    if untold:
        result.problems.append(Problem(file, last, "", f"{untold} more lines down to here cannot be used"))
    return result


def _no_control(bare: str, odd: str) -> None:
    if odd:
        raise _Unusable(
            f"{values.show(bare)}: holds the control character {values.show(odd)}; "
            "allowed: text in lines that end in LF or CR LF"
        )


def _header(bare: str, odd: str) -> str:
    """The name in a section header, without its quotes. Raises _Unusable."""
    _no_control(bare, odd)
    rest = bare[1:].lstrip()
    if rest[:1] == "[":
        raise _Unusable(f"{values.show(bare)}: is a section within a section; allowed: {_HEADER}")
    quote = rest[:1]
    if quote in ("'", '"'):
        name, _, rest = rest[1:].partition(quote)
        closed = rest.lstrip()[:1] == "]"
        after = rest.partition("]")[2]
    else:
        name, bracket, after = rest.partition("]")
        name = name.rstrip()
        closed = bool(bracket)
    if not closed or not name.strip() or after.lstrip()[:1] not in ("", "#"):
        raise _Unusable(f"{values.show(bare)}: is no section header; allowed: {_HEADER}")
    return name


def _entry(section: "Section | None", bare: str, odd: str, line: int) -> None:
    """Put the line's key and value into its section. Raises _Unusable."""
    _no_control(bare, odd)
    key, equals, raw = bare.partition("=")
    key = key.rstrip()
    if not equals or not key:
        raise _Unusable(f"{values.show(bare)}: is no line of a configuration; allowed: {_LINE}")
    if section is None:
        raise _Unusable(f"{values.show(bare)}: stands before the first section; allowed: keys below a [STACK]")
    if key[0] in "'\"":
        raise _Unusable(f"{values.show(bare)}: has its key in quotes; allowed: {_LINE}")
    raw = raw.strip()
    if raw[:3] in ("'''", '"""'):
        why = "is a value of several lines, so the rest of the section is not read"
        raise _Unusable(f"{values.brief(key)} = {values.show(raw)}: {why}; allowed: {_QUOTES}", goes_on=True)
    try:
        value = _value(raw)
    except _BadValue as bad:
        raise _Unusable(f"{values.brief(key)} = {values.show(raw)}: {bad}") from None
    if key in section.entries:
        why = f"the key stands in line {section.entries[key][0]} already"
        raise _Unusable(f"{values.brief(key)} = {values.show(value)}: {why}; allowed: each key once")
    section.entries[key] = (line, value)


def _value(raw: str) -> "str | list[str]":
    """A value without quotes and comment; a list where commas stand outside quotes. Raises _BadValue."""
    items: "list[str]" = []
    listed = False
    while True:
        quote = raw[:1]
        if quote in ("", "#") and (listed or not items):
            # A comma at the end makes a list, too.
            return items if listed else ""
        if quote in ("'", '"'):
            item, closing, rest = raw[1:].partition(quote)
            if not closing:
                raise _BadValue(f"the quote is not closed; allowed: {_QUOTES}")
            rest = rest.lstrip()
            if rest[:1] not in ("", "#", ","):
                raise _BadValue(f"has text after the closing quote; allowed: {_QUOTES}")
            # ConfigObj looks for a later quote with a comma after it first, and finds it in a comment, too.
            if rest[:1] == "#" and any(part.lstrip()[:1] == "," for part in rest.split(quote)[1:]):
                raise _BadValue("has a comment with a quote and a comma; allowed: such a comment in a line of its own")
        else:
            comma, sign = raw.find(","), raw.find("#")
            if sign >= 0 and (comma < 0 or sign < comma):
                if not raw[sign - 1].isspace():
                    raise _BadValue(
                        f"has a # without a blank before it; allowed: {_QUOTES}, or a blank before a comment"
                    )
                comma = -1
                end = sign
            else:
                end = comma if comma >= 0 else len(raw)
            item, rest = raw[:end].rstrip(), raw[end:]
            if not item:
                raise _BadValue(f"has a comma without a value before it; allowed: {_QUOTES}")
        items.append(item)
        if rest[:1] != ",":
            return items if listed else item
        listed = True
        raw = rest[1:].lstrip()
