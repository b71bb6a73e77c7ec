"""The journal's edge for ``drbdocfs timeline``: journalctl with matches, so that a huge journal is not read through,
and the times of units that systemd still knows.  For the command only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence

from drbdocfs_boot.exits import EX_NO, EX_NOPERM, EX_UNAVAILABLE
from drbdocfs_boot.messages import KINDS
from drbdocfs_boot.timeline import Live
from drbdocfs_boot.tools import system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Result, find, run

# Seconds.  Matches are found by the journal's indexes, but each file of it has to be opened.
LIMIT = 60.0
LIST_LIMIT = 120.0  # on systemd before 250 the list of boots costs a search for each
PERSISTENT, VOLATILE = "/var/log/journal", "/run/log/journal"
FIELDS = (
    "MESSAGE", "MESSAGE_ID", "PRIORITY", "UNIT", "JOB_TYPE", "JOB_RESULT", "UNIT_RESULT", "INVOCATION_ID",
    "_SYSTEMD_UNIT", "_SYSTEMD_INVOCATION_ID", "_BOOT_ID", "KERNEL_USEC", "INITRD_USEC", "DRBDOCFS_STACK",
)  # fmt: skip
STARTUP_FINISHED = "b07a249cd024414a82dd00cd181378ff"
JOURNAL_STOPPED = "d93fb3c9c24d451a97cea615ce59c00b"
KEEP = f"to keep the journal of earlier boots: mkdir {PERSISTENT} && journalctl --flush"
_BOOT = re.compile(r"^\s*(-?\d+)\s+([0-9a-f]{32})\s+(.*)$")


def matches(units: Iterable[str], layers: Iterable[str], stacks: Iterable[str]) -> list[str]:
    """systemd's words about ``units``, the helpers' lines of ``layers``, the follow service's about ``stacks``."""
    words = ["_PID=1", *(f"UNIT={unit}" for unit in units)]
    words += ["+", *(f"_SYSTEMD_UNIT={unit}" for unit in layers)]
    words += ["+", *(f"DRBDOCFS_STACK={name}" for name in stacks)]
    words += [f"MESSAGE_ID={KINDS[name].id}" for name in ("late-start", "alone")]
    return [*words, "+", "_PID=1", f"MESSAGE_ID={STARTUP_FINISHED}", "+", f"MESSAGE_ID={JOURNAL_STOPPED}"]


def offline() -> bool:
    """True when another root is in force, whose journal is looked at and not this machine's."""
    return bool(os.environ.get("DRBDOCFS_ROOT", "").strip("/"))


def _where() -> list[str]:
    return ["--directory=" + system.path(PERSISTENT)] if offline() else ["--system"]


def require() -> None:
    """Raises Failure: 69 no journalctl, or no journal below the other root; 77 no right to read the system's."""
    try:
        find("journalctl")
    except Failure as failure:
        raise Failure(EX_UNAVAILABLE, failure.message, "it is a part of systemd: run this where systemd runs") from None
    directory = system.path(PERSISTENT)
    if offline() and not os.path.isdir(directory):
        raise Failure(EX_UNAVAILABLE, f"there is no journal in {directory}", KEEP)
    files = [
        f"{top}/{machine}/system.journal"
        for top in ([PERSISTENT] if offline() else [PERSISTENT, VOLATILE])
        for machine in system.names(top)
        if system.exists(f"{top}/{machine}/system.journal")
    ]
    if files and not any(os.access(system.path(name), os.R_OK) for name in files):
        raise _denied(system.path(files[0]))


def _denied(what: str) -> Failure:
    return Failure(
        EX_NOPERM,
        f"the system's journal cannot be read ({what})",
        "run this as root, or join the group systemd-journal",
    )


def _journalctl(*options: str, limit: float | None = None) -> Result:
    result = run(["journalctl", *_where(), "--no-pager", "--quiet", *options], limit or LIMIT)
    if "ermission" in result.err and ("insufficient" in result.err or "denied" in result.err) and not result.out:
        raise _denied(result.said)
    return result


def entries(boot: str, words: Sequence[str]) -> str | None:
    """JSON lines of a boot (a number as in --boot, or an id) that match; None: there is no such boot."""
    result = _journalctl(
        f"--boot={boot}", "--output=json", f"--output-fields={','.join(FIELDS)}", "--all", *words
    )  # fmt: skip
    if result.code:
        if "boot" in result.err.lower():
            return None
        if "No journal files were found" in result.err:
            return ""
        raise Failure(EX_NO, f"journalctl failed: {result.said or result.code}", "see 'journalctl --verify'")
    return result.out


def last(boot: str) -> float:
    """When the last entry of a boot was written, in seconds since the kernel's start; 0: it is not known."""
    result = _journalctl(f"--boot={boot}", "--output=json", "--output-fields=_BOOT_ID", "--lines=1")
    try:
        return int(json.loads(result.out.strip().splitlines()[-1])["__MONOTONIC_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, IndexError, TypeError):
        return 0.0


def boots() -> list[tuple[int, str, str]]:
    """(Number, boot id, what journalctl says of its times) of each boot in the journal, the oldest first."""
    found = []
    for line in _journalctl("--list-boots", limit=LIST_LIMIT).out.splitlines():
        match = _BOOT.match(line)
        if match:
            found.append((int(match.group(1)), match.group(2), " ".join(match.group(3).split())))
    return found


def kept() -> bool:
    """True when the journal of earlier boots is kept."""
    return bool(system.names(PERSISTENT))


# systemd's own times


def live(units: Sequence[str], predecessors: Sequence[str]) -> tuple[dict[str, Live], float | None, float | None]:
    """Units of this boot as systemd has them, with those that ``predecessors`` are ordered after; the start of the
    userspace and what the generators took.  Empty where systemd does not answer: the journal is there all the same."""
    properties = "Id,ActiveState,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic,After,Result,StatusText"
    try:
        manager = _show([])
        first = _show([f"--property={properties}", "--", *units])
        after = sorted({name for one in first if one.get("Id") in predecessors for name in _predecessors(one)})
        more = _show([f"--property={properties}", "--", *after]) if after else []
    except Failure:
        return {}, None, None
    found = {}
    for block in [*more, *first]:
        unit = block.get("Id", "")
        if unit:
            found[unit] = Live(
                unit,
                block.get("ActiveState", ""),
                _seconds(block, "InactiveExitTimestampMonotonic"),
                _seconds(block, "ActiveEnterTimestampMonotonic"),
                _predecessors(block) if unit in predecessors else (),
            )
    top = manager[0] if manager else {}
    generators = _seconds(top, "GeneratorsFinishTimestampMonotonic") - _seconds(
        top, "GeneratorsStartTimestampMonotonic"
    )
    return found, _seconds(top, "UserspaceTimestampMonotonic") or None, generators if generators > 0 else None


def _predecessors(block: dict[str, str]) -> tuple[str, ...]:
    """What a unit is ordered after, without those that only pass on what our own layers did to the device."""
    names = block.get("After", "").split()
    return tuple(name for name in names if not name.startswith("blockdev@") and not name.endswith(".device"))


def _show(options: list[str]) -> list[dict[str, str]]:
    """The property blocks of systemctl show."""
    result = run(["systemctl", "--no-pager", "show", *options], LIMIT)
    if result.code:
        raise Failure(EX_UNAVAILABLE, result.said)
    blocks = result.out.strip().split("\n\n")
    return [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]


def _seconds(block: dict[str, str], name: str) -> float:
    text = block.get(name, "")
    return int(text) / 1e6 if text.isdigit() else 0.0
