"""A split brain as both sides see it: two reports in, the steps that resolve it (or why not) out.  Pure.

Whose changes go is the administrator's choice alone.  The victim's disk is overwritten by a resync from the
survivor, which may stay mounted throughout.  The victim's file system has to be gone before: its heartbeat would be
overwritten below it, and OCFS2 resets a node whose heartbeat stands still for 60 s.

Sources: drbdadm(8), drbdsetup(8) of 8.4 and 9 (``connect --discard-my-data``), tests/transcripts (10-resolve).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from drbdocfs_boot import kernellog
from drbdocfs_boot.events import RESYNC_STATES

REPORT_VERSION = 1
EX_USAGE = 2
EX_DATAERR = 65
EX_UNAVAILABLE = 69
EX_CONFIG = 78
# Replication states in which this side gets the other's data.
TARGETS = frozenset(("StartingSyncT", "WFBitMapT", "WFSyncUUID", "SyncTarget", "PausedSyncT", "Behind"))
SOURCES = RESYNC_STATES - TARGETS
GONE = ("Diskless", "Failed", "Detaching", "Unknown")


@dataclass(frozen=True)
class Side:
    """One host's part.  Times are seconds since 1970, 0.0 where nothing is known.

    ``connection``: DRBD's word, "" while the resource is not configured in the kernel; ``disk``: the worst of its
    volumes; ``why``: see kernellog; ``lost``: when the connection broke off; ``found``: when DRBD found the split
    brain; ``marked``: when this product noted it down; ``out_of_sync``: KiB that changed here, None when unknown;
    ``held``: block devices on top; ``heartbeat``: O2CB regions on the device; ``current``, ``bitmap``: UUIDs;
    ``newest``: (path, time of change), complete only where ``newest_all``; ``waiting``: the stack waits for its peer,
    at boot or in the background; ``target``: state of the stack's target;
    ``units``: the stack's units, for reset-failed.
    """

    host: str
    stack: str
    resource: str
    device: str
    driver: str = ""
    role: str = ""
    disk: str = ""
    connection: str = ""
    replication: str = "Off"
    why: str = ""
    lost: float = 0.0
    found: float = 0.0
    marked: float = 0.0
    out_of_sync: int | None = None
    mounted: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    heartbeat: tuple[str, ...] = ()
    current: str = ""
    bitmap: str = ""
    newest: tuple[tuple[str, float], ...] = ()
    newest_all: bool = False
    waiting: bool = False
    target: str = ""
    units: tuple[str, ...] = ()

    @property
    def configured(self) -> bool:
        """True when the kernel knows the resource."""
        return bool(self.connection)

    @property
    def connected(self) -> bool:
        """True while data flows, or would."""
        return self.replication != "Off"

    @property
    def well(self) -> bool:
        """True when this side is connected and has all data."""
        return self.replication == "Established" and self.disk == "UpToDate"


class BadReport(ValueError):
    """What came is not a report."""


def to_json(side: Side) -> dict[str, Any]:
    """The report for the other host."""
    return {"version": REPORT_VERSION, **asdict(side)}


def from_json(data: Any) -> Side:
    """The other host's report.  Unknown fields are passed over; raises BadReport."""
    if not isinstance(data, dict) or not isinstance(data.get("version"), int):
        raise BadReport("no report of a stack")
    if data["version"] != REPORT_VERSION:
        raise BadReport(
            f"a report of version {data['version']}, not {REPORT_VERSION}: install the same version on both"
        )
    known: dict[str, Any] = {}
    for field in fields(Side):
        if field.name not in data:
            continue
        value = data[field.name]
        kind = str(field.type)
        try:
            if kind == "str" and isinstance(value, str):
                known[field.name] = value
            elif kind == "float":
                known[field.name] = float(value)
            elif (kind == "bool" and isinstance(value, bool)) or (
                kind == "int | None" and (value is None or isinstance(value, int))
            ):
                known[field.name] = value
            elif kind == "tuple[str, ...]" and all(isinstance(one, str) for one in value):
                known[field.name] = tuple(value)
            elif kind == "tuple[tuple[str, float], ...]":
                known[field.name] = tuple((str(path), float(when)) for path, when in value)
            else:
                raise BadReport(f"a report whose '{field.name}' is no {kind}")
        except (TypeError, ValueError):
            raise BadReport(f"a report whose '{field.name}' is no {kind}") from None
    try:
        return Side(**known)
    except TypeError as error:
        raise BadReport(f"a report that lacks a field: {error}") from None


@dataclass(frozen=True)
class Refusal:
    """``status``: the command's exit status; one line each."""

    status: int
    message: str
    advice: str = ""


@dataclass(frozen=True)
class Step:
    """``command`` on ``host``, and what must be true there before the next one; see ``met``."""

    host: str
    command: tuple[str, ...]
    expect: str


STOPPED, ATTACHED, GOOD, APART, SECONDARY, CONNECTING = (
    "down",
    "attached",
    "UpToDate",
    "StandAlone",
    "Secondary",
    "connecting",
)


# With fencing DRBD attaches as Consistent what it would call UpToDate without; at the handshake it becomes the source.
GOOD_DISKS = ("UpToDate", "Consistent")


def met(step: Step, side: Side) -> bool:
    """Whether the step has done what it is for."""
    if step.expect == STOPPED:
        return not side.configured
    if step.expect == ATTACHED:
        return side.configured and side.disk not in GONE
    if step.expect == GOOD:
        return side.configured and side.disk in GOOD_DISKS
    if step.expect == APART:
        return side.connection == "StandAlone"
    if step.expect == SECONDARY:
        return side.role == "Secondary"
    return side.configured and side.connection not in ("StandAlone", "Disconnecting")


def diverged(one: Side, two: Side) -> bool:
    """True when the data generations prove that both sides wrote without each other.

    The lowest bit of a UUID only says that the node was Primary.
    """
    try:
        numbers = [int(text, 16) >> 1 for text in (one.current, two.current, one.bitmap, two.bitmap)]
    except ValueError:
        return False
    return numbers[0] != numbers[1] and numbers[2] != 0 and numbers[3] != 0


def suspected(side: Side) -> bool:
    """True when this side alone shows a split brain that is not over."""
    return not side.connected and (side.why == kernellog.SPLIT_BRAIN or side.marked > 0)


def split(one: Side, two: Side) -> bool:
    """True when there is a split brain."""
    if one.connected or two.connected:
        return False
    return suspected(one) or suspected(two) or diverged(one, two)


def _pair(one: Side, two: Side, victim: str) -> tuple[Side, Side]:
    return (one, two) if one.host == victim else (two, one)


def plan(one: Side, two: Side, victim: str, resumed: bool = False) -> Refusal | list[Step]:
    """The steps that give up the victim's changes; empty when only the resync has to be followed.

    ``resumed``: this command began on it before and did not come to its end.
    """
    if one.host == two.host:
        return Refusal(EX_UNAVAILABLE, f"both sides call themselves {one.host}: the other host was not asked", "--ssh")
    if victim not in (one.host, two.host):
        return _unknown(victim, one.host, two.host)
    if one.resource != two.resource:
        return Refusal(
            EX_CONFIG,
            f"{one.stack} is the resource {one.resource} on {one.host}, but {two.resource} on {two.host}",
            "make /etc/drbdocfs/ the same on both nodes",
        )
    loser, winner = _pair(one, two, victim)
    if loser.connected or winner.connected:
        return _flowing(loser, winner, resumed)
    if not resumed and not split(one, two):
        return Refusal(
            EX_DATAERR,
            f"{one.resource} has no split brain: {_short(one)}; {_short(two)}",
            f"'drbdocfs status {one.stack}' says what it waits for",
        )
    refusal = _bad_victim(loser) or _bad_survivor(winner)
    if refusal is not None:
        return refusal
    return _steps(loser, winner)


def plan_side(own: Side, peer: str, victim: str, resumed: bool = False) -> Refusal | list[Step]:
    """The steps of this host alone, where the other cannot be asked; ``peer`` is the other's name."""
    if victim not in (own.host, peer):
        return _unknown(victim, own.host, peer)
    if own.connected:
        wrong = own.replication in (SOURCES if victim == own.host else TARGETS)
        if wrong or not (resumed or own.marked or not own.well):
            return Refusal(EX_DATAERR, f"{own.resource} has no split brain that could be resolved so: {_short(own)}")
        return []
    if not (resumed or suspected(own) or _ran_alone(own)):
        return Refusal(EX_DATAERR, f"{own.resource} shows no split brain on {own.host}: {_short(own)}")
    if victim == own.host:
        refusal = _bad_victim(own)
        if refusal is not None:
            return refusal
        steps, own = _stopped(own)
        return steps + _victim_steps(own)
    refusal = _bad_survivor(own)
    if refusal is not None:
        return refusal
    steps = [] if own.configured else [_attach(own, GOOD)]
    if own.connection == "StandAlone":
        steps.append(_drbdadm(own, CONNECTING, "connect"))
    return steps


def _unknown(victim: str, one: str, two: str) -> Refusal:
    return Refusal(
        EX_USAGE,
        f"'{victim}' is neither {one} nor {two or 'the other host (whose name is not known here)'}",
        "write the host name in full, as 'uname -n' prints it there: its changes will be given up",
    )


def _flowing(loser: Side, winner: Side, resumed: bool) -> Refusal | list[Step]:
    if loser.replication in SOURCES or winner.replication in TARGETS:
        return Refusal(
            EX_DATAERR,
            f"a resync runs already, from {loser.host} to {winner.host}: the other way round",
            "the changes of " + winner.host + " are being given up; nothing was done now",
        )
    if resumed or loser.marked or winner.marked:
        return []
    return Refusal(
        EX_DATAERR,
        f"{loser.resource} has no split brain: the nodes are connected ({loser.replication})",
        f"'drbdocfs status {loser.stack}'",
    )


def _bad_victim(loser: Side) -> Refusal | None:
    stop = f"on {loser.host}: 'systemctl stop drbdocfs@{loser.stack}.target', then again"
    if loser.mounted:
        return Refusal(
            EX_DATAERR, f"{loser.device} is still mounted on {loser.host} ({', '.join(loser.mounted)})", stop
        )
    if loser.heartbeat:
        return Refusal(
            EX_DATAERR,
            f"O2CB on {loser.host} still has its heartbeat on {loser.device} ({', '.join(loser.heartbeat)}):"
            " its disk must not be overwritten below that",
            stop + "; 'mounted.ocfs2 -f' and other mount namespaces show who still has it mounted",
        )
    if loser.held:
        return Refusal(EX_DATAERR, f"{loser.device} is held on {loser.host} by {', '.join(loser.held)}", stop)
    if loser.configured and loser.disk in GONE:
        return Refusal(
            EX_UNAVAILABLE,
            f"the disk of {loser.host} is {loser.disk}: there is nothing to resync onto",
            f"on {loser.host}: 'drbdadm attach {loser.resource}' once the disk is there",
        )
    return None


def _bad_survivor(winner: Side) -> Refusal | None:
    if winner.configured and winner.disk not in GOOD_DISKS:
        return Refusal(
            EX_DATAERR,
            f"{winner.host}, whose data is to stay, has the disk {winner.disk}: it cannot give it to the other",
            "nothing was done; choose the other victim, or bring that disk back first",
        )
    return None


def _steps(loser: Side, winner: Side) -> list[Step]:
    steps, loser = _stopped(loser)
    if loser.configured and loser.connection != "StandAlone":
        steps.append(_drbdadm(loser, APART, "disconnect"))
    listening = winner.connection != "StandAlone"
    if not winner.configured:
        steps.append(_attach(winner, GOOD))
    if not loser.configured and listening:
        # Its attach connects, and without the word --discard-my-data the automatic policies (after-sb-*), where
        # somebody has set them, would decide whose changes go.  So nobody listens for the moment.
        steps.append(_drbdadm(winner, APART, "disconnect"))
        listening = False
    steps += _victim_steps(loser, apart=loser.configured)
    if not listening:
        steps.append(_drbdadm(winner, CONNECTING, "connect"))
    return steps


def _stopped(loser: Side) -> tuple[list[Step], Side]:
    """A victim that waits is stopped: connecting without a peer for a moment, a wait with ``when_alone = always``
    would bring it up alone.  What is stopped stays stopped.  Also the side as it is then."""
    if not loser.waiting:
        return [], loser
    units = (f"drbdocfs@{loser.stack}.target", f"drbdocfs-attach@{loser.stack}.service")
    return [Step(loser.host, ("systemctl", "stop", *units), STOPPED)], replace(loser, connection="", role="", disk="")


def _victim_steps(loser: Side, apart: bool = False) -> list[Step]:
    """``apart``: that it is StandAlone has been seen to."""
    steps = []
    if not loser.configured:
        steps.append(_attach(loser, ATTACHED))
    if not apart and loser.connection != "StandAlone":
        steps.append(_drbdadm(loser, APART, "disconnect"))
    if loser.role == "Primary":
        steps.append(_drbdadm(loser, SECONDARY, "secondary"))
    steps.append(_drbdadm(loser, CONNECTING, "connect", "--discard-my-data"))
    return steps


def _drbdadm(side: Side, expect: str, *words: str) -> Step:
    return Step(side.host, ("drbdadm", *words, side.resource), expect)


def _attach(side: Side, expect: str) -> Step:
    return Step(side.host, ("systemctl", "start", f"drbdocfs-attach@{side.stack}.service"), expect)


def _ran_alone(side: Side) -> bool:
    return side.bitmap.strip("0") != ""


def _short(side: Side) -> str:
    if not side.configured:
        return f"{side.host} has the resource down"
    text = side.replication if side.connected else side.connection
    return f"{side.host} {side.role}, {side.disk}, {text}"


def times(lines: Iterable[tuple[float, str]], resource: str, minors: list[str]) -> tuple[float, float]:
    """(when the peer was lost, when DRBD found the split brain) from the kernel log; 0.0 for what it does not say.

    ``lines`` are (seconds since 1970, message).  Once the nodes have been in step again, nothing counts any more.
    """
    beginnings = (f"drbd {resource}:", f"drbd {resource} ", f"drbd {resource}/", *(f"block drbd{m}:" for m in minors))
    lost = found = 0.0
    for when, text in lines:
        if not text.startswith(beginnings):
            continue
        if "peer( Unknown -> " in text:
            lost = found = 0.0
        elif re.search(r"peer\( \w+ -> Unknown \)", text):
            lost = when
        elif "Split-Brain detected but unresolved" in text:
            found = found or when
    return lost, found


# --- words ----------------------------------------------------------------------------------------------------


def moment(seconds: float) -> str:
    """Local time, "" for none."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def size(kib: int) -> str:
    """A number of KiB for people."""
    value, unit = float(kib), "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "KiB" else f"{value:.1f} {unit}"


def since(sides: list[Side]) -> str:
    """Since when the sides run apart, and from where that is known; "" when it is not."""
    lost = [(side.lost, side.host) for side in sides if side.lost]
    if lost:
        when, host = min(lost)
        return f"apart since {moment(when)} (kernel log of {host})"
    found = [(side.found, side.host) for side in sides if side.found]
    if found:
        when, host = min(found)
        return f"found {moment(when)} (kernel log of {host}); apart since some time before"
    marked = [(side.marked, side.host) for side in sides if side.marked]
    if marked:
        when, host = min(marked)
        return f"noted {moment(when)} (on {host}); apart since some time before"
    return ""


def rows(side: Side) -> list[tuple[str, str]]:
    """What there is to say of one side, for the table."""
    if side.configured:
        state = f"{side.role}, {side.disk}, {side.replication if side.connected else side.connection}"
    else:
        state = "down"
    ran = "yes" if _ran_alone(side) else "no" if side.bitmap else "not known"
    changed = "not known" if side.out_of_sync is None else size(side.out_of_sync)
    found = [
        ("DRBD", state),
        ("ran alone", ran),
        ("changed", changed),
        ("mounted", ", ".join(side.mounted) or "no"),
        ("lost the peer", moment(side.lost) or "not known"),
        ("split brain found", moment(side.found or side.marked) or "not known"),
        ("generation", f"{side.current}:{side.bitmap}" if side.current else "not known"),
    ]
    if side.heartbeat and not side.mounted:
        found.append(("O2CB heartbeat", ", ".join(side.heartbeat)))
    if side.held:
        found.append(("held by", ", ".join(side.held)))
    return found


def as_text(sides: list[Side], this_host: str) -> str:
    """Both sides beside each other, then what is newest on each."""
    tables = [dict(rows(side)) for side in sides]
    names = list(dict.fromkeys(name for table in tables for name in table))
    heads = [side.host + (" (this host)" if side.host == this_host else "") for side in sides]
    columns = [[head, *(table.get(name, "") for name in names)] for head, table in zip(heads, tables)]
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = []
    for number, name in enumerate(["", *names]):
        cells = [column[number].ljust(width) for column, width in zip(columns, widths)]
        lines.append(f"  {name:<18}{'   '.join(cells)}".rstrip())
    for side in sides:
        if not side.mounted:
            continue
        lines.append("")
        if not side.newest:
            lines.append(f"  newest on {side.host}: could not be read in time")
            continue
        lines.append(
            f"  newest on {side.host}" + ("" if side.newest_all else " (of the part that was looked at)") + ":"
        )
        lines += [f"    {moment(when)}  {path}" for path, when in side.newest]
    return "\n".join(lines)
