"""Pure: what was acknowledged, what stands on the nodes, and who won -> what is wrong with the data.

Acknowledgements are notes of the controller, a line each: its own time (seconds, whatever clock it has for everything),
then the line of libexec/data-check as it came. Times of a node are those of its own monotonic clock; what has to be
added for the controller's is taken from the acknowledgement of each session that came soonest.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

# As in libexec/data-check: a record in the tree gives way to that of so many numbers later.
SLOTS = 32
KINDS = ("own", "tree")
# Seconds after the link went in which a write that was under way may still be acknowledged.
LEEWAY = 1.0
# The ways of libexec/data-check to see a value.
VIEWS = ("size", "listing", "open", "old descriptor", "new map", "old map")


@dataclass(frozen=True)
class Ack:
    """An acknowledged record: when its write began and when all of it was durable (the node's seconds), and when the
    controller heard of it (the controller's)."""

    node: str
    session: str
    number: int
    began: float
    done: float
    arrived: float


@dataclass(frozen=True)
class Session:
    """A writer's run that the controller has started, and the number of its first record."""

    node: str
    name: str
    first: int


@dataclass(frozen=True)
class Notes:
    """What the controller has noted of one or more nodes, each acknowledgement once, in the order of their coming."""

    sessions: tuple[Session, ...]
    acks: tuple[Ack, ...]


@dataclass(frozen=True)
class Whole:
    """Numbers of the records that are whole, as ranges (first, last)."""

    kind: str
    node: str
    session: str
    ranges: tuple[tuple[int, int], ...]

    def has(self, number: int) -> bool:
        """Whether that record is there."""
        return any(first <= number <= last for first, last in self.ranges)


@dataclass(frozen=True)
class Report:
    """What `verify` has found on one node; `complete`: it came to its end; `why`: what it said where it did not;
    `cleaning`: a removal has begun there, so that what is missing is not lost."""

    reader: str
    whole: tuple[Whole, ...] = ()
    torn: tuple[str, ...] = ()
    tails: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    complete: bool = False
    why: str = ""
    cleaning: bool = False


@dataclass(frozen=True)
class Lost:
    """Acknowledged records that one node lacks: `count` of them from `first` to `last`."""

    reader: str
    kind: str
    node: str
    session: str
    first: int
    last: int
    count: int

    @property
    def words(self) -> str:
        """For people."""
        numbers = f"{self.first}" if self.count == 1 else f"{self.first} to {self.last} ({self.count})"
        where = "file" if self.kind == "own" else "shared tree"
        return (
            f"{self.reader} lacks what {self.node} has acknowledged: record {numbers} of {self.session}, in the {where}"
        )


@dataclass(frozen=True)
class Findings:
    """What is wrong; `standstill`: the longest time between two acknowledgements in a row in a session, in seconds.

    `tails`, `foreign`, `standstill` and `cleaning` are for information: a write that was cut off was acknowledged to
    nobody, a file of somebody else's is no loss, and of records whose removal has begun only the caller knows.
    """

    acknowledged: Mapping[str, int]
    lost: tuple[Lost, ...]
    torn: tuple[str, ...]
    both: tuple[str, ...]
    differ: tuple[str, ...]
    unread: tuple[str, ...]
    tails: tuple[str, ...]
    foreign: tuple[str, ...]
    standstill: Mapping[str, float]
    cleaning: bool = False

    @property
    def good(self) -> bool:
        """Everything that was acknowledged is there, on every node that was to be looked at."""
        return not (self.lost or self.torn or self.both or self.differ or self.unread)

    @property
    def words(self) -> tuple[str, ...]:
        """What is wrong, for people."""
        return (*(lost.words for lost in self.lost), *self.torn, *self.both, *self.differ, *self.unread)

    def to_json(self) -> dict[str, object]:
        """For json.dump."""
        return {"good": self.good, **asdict(self)}


@dataclass(frozen=True)
class RaceFindings:
    """`wrong`: what must never be; `facts`: what this file system does and does not; `wins`: by race and node."""

    wrong: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    wins: Mapping[str, Mapping[str, int]] | None = None

    @property
    def good(self) -> bool:
        """Nothing is wrong."""
        return not self.wrong

    def to_json(self) -> dict[str, object]:
        """For json.dump."""
        return {"good": self.good, **asdict(self)}


@dataclass(frozen=True)
class LockTrial:
    """One node holds bytes of a file, the other asks for them.

    `holder`, `local`, `overlap`, `beside`, `after`: what was answered to the holder; to another process on its node; to
    the other node for the same bytes, for others (posix only), and once the holder has given them back.
    """

    how: str
    node: str
    other: str
    holder: str
    local: str
    overlap: str
    beside: str
    after: str


@dataclass(frozen=True)
class Seen:
    """What one node saw, in each way, after the other has said that this value is durable."""

    writer: str
    reader: str
    value: int
    views: Mapping[str, int]


def opened(line: str) -> list[str] | None:
    """The words of a line of the writer's that came whole; None for any other."""
    if not line.endswith("\n"):
        return None
    body, _, checksum = line[:-1].rpartition(" ")
    return body.split() if checksum == f"{zlib.crc32(body.encode('utf-8', 'replace')):08x}" else None


def parse_ack(line: str, arrived: float = 0.0) -> Ack | None:
    """An acknowledgement as the writer prints it; None for anything else, half of one above all."""
    words = opened(line)
    if words is None or len(words) != 6 or words[0] != "ack":
        return None
    try:
        return Ack(words[1], words[2], int(words[3]), float(words[4]), float(words[5]), arrived)
    except ValueError:
        return None


def read_notes(text: str) -> Notes:
    """The controller's notes of one node or several; what is not whole, and what came twice, does not count."""
    sessions: dict[tuple[str, str], Session] = {}
    acks: dict[tuple[str, str, int], Ack] = {}
    for line in text.splitlines(keepends=True):
        time, _, rest = line.partition(" ")
        words = rest.split()
        if len(words) == 4 and words[0] == "start" and words[3].isdigit() and line.endswith("\n"):
            sessions.setdefault((words[1], words[2]), Session(words[1], words[2], int(words[3])))
            continue
        try:
            ack = parse_ack(rest, float(time))
        except ValueError:
            continue
        if ack is not None:
            acks.setdefault((ack.node, ack.session, ack.number), ack)
    return Notes(tuple(sessions.values()), tuple(acks.values()))


def joined(notes: Iterable[Notes]) -> Notes:
    """The notes of several nodes as one."""
    every = list(notes)
    return Notes(
        tuple(session for each in every for session in each.sessions),
        tuple(ack for each in every for ack in each.acks),
    )


def parse_report(reader: str, text: str) -> Report:
    """The lines of `verify`; those that are not understood make it incomplete."""
    whole: list[Whole] = []
    troubles: dict[str, list[str]] = {"torn": [], "tail": [], "foreign": []}
    complete = odd = cleaning = False
    for line in text.splitlines():
        try:
            said = json.loads(line)
            if "whole" in said:
                ranges = tuple((int(first), int(last)) for first, last in said["ranges"])
                whole.append(Whole(said["whole"], said["node"], said["session"], ranges))
            elif "cleaning" in said:
                cleaning = True
            elif "end" in said:
                complete = True
                for kind, found in troubles.items():
                    if (more := int(said["end"][kind]) - len(found)) > 0:
                        found.append(f"{reader}: and {more} more")
            else:
                (kind,) = set(said) & set(troubles)
                at = f", at {said['at']}: {said['what']}" if "at" in said else ""
                troubles[kind].append(f"{reader}: {said[kind]}{at}")
        except (ValueError, KeyError, TypeError):
            odd = True
    return Report(
        reader,
        tuple(whole),
        tuple(troubles["torn"]),
        tuple(troubles["tail"]),
        tuple(troubles["foreign"]),
        complete and not odd,
        cleaning=cleaning,
    )


def offsets(acks: Iterable[Ack]) -> dict[tuple[str, str], float]:
    """What to add to a node's clock for the controller's, by node and session; too much by ssh's shortest way."""
    found: dict[tuple[str, str], float] = {}
    for ack in acks:
        key = (ack.node, ack.session)
        found[key] = min(found.get(key, float("inf")), ack.arrived - ack.done)
    return found


def standstill(acks: Iterable[Ack]) -> dict[str, float]:
    """By node: the longest time between two acknowledgements in a row, within a session."""
    longest: dict[str, float] = {}
    last: dict[tuple[str, str], float] = {}
    for ack in acks:
        key = (ack.node, ack.session)
        longest[ack.node] = max(longest.get(ack.node, 0.0), ack.done - last.get(key, ack.done))
        last[key] = ack.done
    return longest


def longest_gap(acks: Sequence[Ack], node: str, known: int = 0, since: float = float("-inf")) -> float:
    """The longest time between two acknowledgements of a node in a row, within a session, of those that do not both
    belong to its first `known`; of each only what is later than `since`, a time of the controller's."""
    own = [ack for ack in acks if ack.node == node][max(0, known - 1) :]
    pairs = [(one, other) for one, other in zip(own, own[1:]) if one.session == other.session]
    return max((min(other.done - one.done, other.arrived - since) for one, other in pairs), default=0.0)


def both_wrote(acks: Sequence[Ack], apart: Iterable[tuple[float, float]], leeway: float = LEEWAY) -> list[str]:
    """Windows of the controller's clock in which the nodes were apart and more than one has acknowledged."""
    add = offsets(acks)
    found = []
    for begin, end in apart:
        counts: dict[str, int] = {}
        for ack in acks:
            if begin + leeway < ack.done + add[ack.node, ack.session] < end:
                counts[ack.node] = counts.get(ack.node, 0) + 1
        if len(counts) > 1:
            told = ", ".join(f"{node} {count}" for node, count in sorted(counts.items()))
            found.append(f"apart for {end - begin:.1f} s, and more than one has acknowledged records: {told}")
    return found


def judge(
    notes: Notes,
    reports: Iterable[Report],
    apart: Iterable[tuple[float, float]] = (),
    quiet: bool = False,
) -> Findings:
    """Compare what was acknowledged with what is there on each node that is up.

    `apart`: windows without a connection, in the controller's clock. `quiet`: nobody has written while the reports were
    made, so they have to be the same. An incomplete report is no proof of a loss, but is none of the contrary either.
    """
    every = list(reports)
    lost: list[Lost] = []
    unread = tuple(
        f"{report.reader}: its records were not read to the end" + (report.why and f": {report.why}")
        for report in every
        if not report.complete
    )
    for report in every:
        if report.complete:
            lost += _lost(report, notes.acks)
    known = {(session.node, session.name) for session in notes.sessions} | {(a.node, a.session) for a in notes.acks}
    foreign = [words for report in every for words in report.foreign]
    foreign += sorted(
        f"{report.reader}: records of {whole.node}, {whole.session}, which is no session of this run"
        for report in every
        for whole in report.whole
        if whole.kind == "own" and (whole.node, whole.session) not in known
    )
    acknowledged: dict[str, int] = {session.node: 0 for session in notes.sessions}
    for ack in notes.acks:
        acknowledged[ack.node] = acknowledged.get(ack.node, 0) + 1
    return Findings(
        acknowledged=acknowledged,
        lost=tuple(lost),
        torn=tuple(words for report in every for words in report.torn),
        both=tuple(both_wrote(notes.acks, apart)),
        differ=tuple(_differ([report for report in every if report.complete])) if quiet else (),
        unread=unread,
        tails=tuple(words for report in every for words in report.tails),
        foreign=tuple(foreign),
        standstill=standstill(notes.acks),
        cleaning=any(report.cleaning for report in every),
    )


def _lost(report: Report, acks: Iterable[Ack]) -> list[Lost]:
    """What one node lacks, neighbours in one piece."""
    there = {(whole.kind, whole.node, whole.session): whole for whole in report.whole}
    # Of each slot of the tree the newest number: everything older in it has given way.
    newest: dict[tuple[str, str, int], int] = {}
    for (kind, node, session), whole in there.items():
        if kind == "tree":
            for first, last in whole.ranges:
                for number in range(max(first, last - SLOTS + 1), last + 1):
                    slot = (node, session, number % SLOTS)
                    newest[slot] = max(newest.get(slot, -1), number)
    missing: dict[tuple[str, str, str], list[int]] = {}
    for ack in acks:
        whole_own = there.get(("own", ack.node, ack.session))
        if whole_own is None or not whole_own.has(ack.number):
            missing.setdefault(("own", ack.node, ack.session), []).append(ack.number)
        if newest.get((ack.node, ack.session, ack.number % SLOTS), -1) < ack.number:
            missing.setdefault(("tree", ack.node, ack.session), []).append(ack.number)
    found = []
    for (kind, node, session), numbers in sorted(missing.items()):
        pieces: list[list[int]] = []
        for number in sorted(numbers):
            if pieces and pieces[-1][-1] + 1 == number:
                pieces[-1].append(number)
            else:
                pieces.append([number])
        found += [Lost(report.reader, kind, node, session, piece[0], piece[-1], len(piece)) for piece in pieces]
    return found


def _differ(reports: Sequence[Report]) -> list[str]:
    """Where two nodes see different records while nobody writes."""
    found = []
    for one, other in zip(reports, reports[1:]):
        first = {(whole.kind, whole.node, whole.session): whole.ranges for whole in one.whole}
        second = {(whole.kind, whole.node, whole.session): whole.ranges for whole in other.whole}
        found += [
            f"{one.reader} and {other.reader} see different records of {node} {session} ({kind}): "
            f"{first.get((kind, node, session), ())} and {second.get((kind, node, session), ())}"
            for kind, node, session in sorted(first.keys() | second.keys())
            if first.get((kind, node, session)) != second.get((kind, node, session))
        ]
    return found


def judge_race(
    race: str,
    names: Sequence[str],
    outcomes: Mapping[str, Sequence[str]],
    stands: Mapping[str, Sequence[Sequence[str]]],
) -> RaceFindings:
    """One race for several names.

    `outcomes`: by node, "won" or "lost" or an error for each name. `stands`: by node, for each name what stands there
    afterwards; for rename for the name itself and for NAME.NODE of each node in the order of `outcomes`.
    """
    wrong = []
    nodes = list(outcomes)
    wins = dict.fromkeys(nodes, 0)
    for index, name in enumerate(names):
        said = {node: outcomes[node][index] if index < len(outcomes[node]) else "no answer" for node in nodes}
        winners = [node for node in nodes if said[node] == "won"]
        errors = [f"{node}: {answer}" for node, answer in said.items() if answer not in ("won", "lost")]
        if errors:
            wrong.append(f"{race} of {name}: {'; '.join(errors)}")
        if len(winners) != 1:
            wrong.append(f"{race} of {name}: {len(winners)} winners ({' and '.join(winners) or 'nobody'})")
            continue
        wins[winners[0]] += 1
        expected = _stands(race, nodes, winners[0])
        for reader in stands:
            seen = list(stands[reader][index]) if index < len(stands[reader]) else []
            if seen != expected:
                wrong.append(f"{race} of {name}: {winners[0]} has won, and {reader} sees {seen}, not {expected}")
    return RaceFindings(tuple(wrong), (), {race: wins})


def _stands(race: str, nodes: Sequence[str], winner: str) -> list[str]:
    """What has to stand at the names of a race."""
    if race in ("create", "link"):
        return [f"file {winner}"]
    if race == "mkdir":
        return ["directory"]
    if race == "unlink":
        return ["missing"]
    return ["missing", *("file shared" if node == winner else "missing" for node in nodes)]


def judge_locks(trials: Sequence[LockTrial], about: Mapping[str, str]) -> RaceFindings:
    """Are locks of one node seen on the other? `about`: the answer to hello.

    OCFS2 has fcntl() locks across nodes only with a cluster stack in user space (fs/ocfs2/inode.c,
    ocfs2_populate_inode(): use_plocks; fs/ocfs2/stack_o2cb.c has no .plock), and flock() unless it is mounted with
    localflocks (fs/ocfs2/locks.c). Never seen by the other node is a fact then; seen at times only is always wrong.
    """
    wrong, facts = [], []
    options = about.get("options", "").split(",")
    for how in sorted({trial.how for trial in trials}):
        mine = [trial for trial in trials if trial.how == how]
        name = {"posix": "fcntl() locks", "flock": "flock() locks"}.get(how, how)
        wrong += [
            f"{name}: {trial.node} was not given a free one ({trial.holder})"
            for trial in mine
            if trial.holder != "granted"
        ]
        wrong += [
            f"{name}: two processes on {trial.node} were given the same one"
            for trial in mine
            if trial.local == "granted"
        ]
        wrong += [
            f"{name}: {trial.other} was not given what {trial.node} does not hold ({trial.beside})"
            for trial in mine
            if trial.beside not in ("", "granted")
        ]
        wrong += [
            f"{name}: {trial.other} was not given what {trial.node} has given back ({trial.after})"
            for trial in mine
            if trial.after != "granted"
        ]
        refused = sum(trial.overlap == "refused" for trial in mine)
        if refused == len(mine):
            facts.append(f"{name} are honoured across the nodes ({refused} of {len(mine)} trials)")
        elif refused or any(trial.overlap != "granted" for trial in mine):
            wrong.append(f"{name}: both nodes were given the same one in {len(mine) - refused} of {len(mine)} trials")
        elif how == "posix":
            stack = about.get("stack") or "unknown"
            facts.append(
                f"{name} across the nodes: not supported by this cluster stack ({stack}); each node has its own"
            )
        elif "localflocks" in options:
            facts.append(f"{name} across the nodes: switched off by the mount option localflocks")
        else:
            wrong.append(f"{name}: both nodes were given the same one in all {len(mine)} trials")
    return RaceFindings(tuple(wrong), tuple(facts))


def judge_reads(seen: Sequence[Seen]) -> RaceFindings:
    """Was each value seen, in each way, after the other node had said that it is durable?"""
    wrong = []
    for one in seen:
        stale = [f"{view} {one.views.get(view, 'nothing')}" for view in VIEWS if one.views.get(view) != one.value]
        if stale:
            wrong.append(f"stale read: {one.writer} had made {one.value} durable, {one.reader} sees {', '.join(stale)}")
    good = len(seen) - len(wrong)
    return RaceFindings(tuple(wrong), (f"{good} of {len(seen)} values were seen at once on the other node",))


def together(findings: Iterable[RaceFindings]) -> RaceFindings:
    """All races as one."""
    every = list(findings)
    wins: dict[str, Mapping[str, int]] = {}
    for each in every:
        wins.update(each.wins or {})
    return RaceFindings(
        tuple(words for each in every for words in each.wrong),
        tuple(words for each in every for words in each.facts),
        wins,
    )
