"""A small reader of unit files, from systemd.syntax(7) and systemd.unit(5); nothing of the product is in it."""

from __future__ import annotations

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}


def assignments(text: str) -> list[tuple[str, str, str]]:
    """(section, key, value) in order.  Raises ValueError for a line that is none of the syntax's."""
    found: list[tuple[str, str, str]] = []
    section, held = "", ""
    for raw in text.split("\n"):
        line = raw.strip(" \t\r")
        if held and line[:1] in ("#", ";"):
            continue
        if not held and (not line or line[0] in "#;"):
            continue
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        line, held = held + line, ""
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        if not equals or not section:
            raise ValueError(f"no assignment: {line!r}")
        found.append((section, key.strip(), value.strip()))
    if held:
        raise ValueError("the last line is continued")
    return found


def words(value: str) -> list[str]:
    """The words of a value, quotes and C escapes undone.  Raises ValueError."""
    found: list[str] = []
    at = 0
    while at < len(value):
        if value[at] in " \t":
            at += 1
            continue
        word, quote = "", ""
        while at < len(value) and (quote or value[at] not in " \t"):
            char = value[at]
            if char == "\\":
                code = value[at + 1 : at + 2]
                if code == "x":
                    word += chr(int(value[at + 2 : at + 4], 16))
                    at += 4
                    continue
                if code not in _ESCAPES and code not in ('"', "'", "\\"):
                    raise ValueError(f"unknown escape {code!r}")
                word += _ESCAPES.get(code, code)
                at += 2
                continue
            if char == quote:
                quote = ""
                if value[at + 1 : at + 2] not in ("", " ", "\t"):
                    raise ValueError("text after a closing quote")
            elif not quote and not word and char in "\"'":
                quote = char
            else:
                word += char
            at += 1
        if quote:
            raise ValueError("a quote is not closed")
        found.append(word)
    return found


def plain(text: str) -> str:
    """A value with its specifiers undone, of which only %% may be there.  Raises ValueError."""
    if "%" in text.replace("%%", ""):
        raise ValueError(f"a specifier: {text!r}")
    return text.replace("%%", "%")
