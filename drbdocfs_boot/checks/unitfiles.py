"""Unit files, links and scripts as they lie on the disk: what is enabled, what is masked; for rivals and host."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from drbdocfs_boot.checks.facts import Facts

ADMINISTRATOR = "/etc/systemd/system"
DISTRIBUTION = ("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
RC_DIRECTORIES = ("/etc/rc[S2345].d", "/etc/rc.d/rc[2345].d")
TOO_LARGE = 1 << 20


def enabled(facts: Facts, directory: str = ADMINISTRATOR) -> dict[str, str]:
    """Units that others want or require by links in a directory, with the first such link; masked ones left out."""
    found: dict[str, str] = {}
    for kind in ("wants", "requires"):
        for name in facts.glob(f"{directory}/*.{kind}/*"):
            unit = name.rpartition("/")[2]
            if not masked(facts, unit):
                found.setdefault(unit, name)
    return found


def masked(facts: Facts, unit: str) -> str:
    """The file that masks a unit, itself or its template; "" when none does."""
    names = [unit]
    head, at, tail = unit.partition("@")
    if at:
        names.append(f"{head}@.{tail.rpartition('.')[2]}")
    for name in names:
        for directory in (ADMINISTRATOR, "/run/systemd/system"):
            file = f"{directory}/{name}"
            link = facts.link(file)
            found = facts.stat(file) if link is None else None
            if link == "/dev/null" or (found is not None and stat.S_ISREG(found.st_mode) and found.st_size == 0):
                return file
            if link is not None or found is not None:
                break  # what stands in /etc goes before what stands in /run
    return ""


def provided(facts: Facts, unit: str) -> str:
    """The unit file that a package brings; "" when none does."""
    return next((f"{d}/{unit}" for d in DISTRIBUTION if facts.exists(f"{d}/{unit}")), "")


def scripts(facts: Facts) -> dict[str, str]:
    """Init scripts that are started at boot, by name, with the first link that starts them."""
    found: dict[str, str] = {}
    for pattern in RC_DIRECTORIES:
        for link in facts.glob(f"{pattern}/S[0-9][0-9]*"):
            found.setdefault(link.rpartition("/")[2][3:], link)
    return found


def lines(facts: Facts, file: str) -> Iterator[tuple[int, str]]:
    """Lines of a text file with their numbers: joined where they end in a backslash, without comments and empty ones.

    Nothing of what is no regular file, or too large to be somebody's writing.
    """
    real = facts.resolve(file)
    found = facts.stat(real)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size > TOO_LARGE:
        return
    text, begun = "", 0
    for number, line in enumerate((facts.read(real) or "").split("\n"), 1):
        if not text:
            begun = number
            if line.lstrip().startswith(("#", ";")):
                continue
        text += line
        if text.endswith("\\"):
            text = text[:-1] + " "
            continue
        if text.strip():
            yield begun, text
        text = ""
    if text.strip():
        yield begun, text
