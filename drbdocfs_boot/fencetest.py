"""What a test of the fencing says of what it found on both nodes.

Pure: reports of the sides in, rows of a table out, and whether a real test may begin and what it will do.  The verb
fence-test connects it to the system.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drbdocfs_boot import drbdconf, fencing
from drbdocfs_boot.checks import resource
from drbdocfs_boot.checks.resource import Host
from drbdocfs_boot.drbdconf import Statement
from drbdocfs_boot.exits import EX_DATAERR, EX_NO, EX_OK, EX_UNAVAILABLE

OK, FAILED, NOT_TESTED = "ok", "failed", "not tested"
HANDLER = "/usr/libexec/drbdocfs-boot/fence-peer"
FREEZING = "resource-and-stonith"
# What has to be the same on both nodes, as the configuration has it.
KEYS = ("survivor", "link_grace", "fence_agent", "fence_options", "witness")
TABLE = "drbdocfs-fence-test"
UNDO = "drbdocfs-fence-test.service"


@dataclass(frozen=True)
class Row:
    """One line of the table.  ``host`` "" where it is about both; ``danger``: both nodes would go on;
    ``unreachable``: it could not be tested for want of the other side."""

    result: str
    step: str
    host: str
    text: str
    advice: str = ""
    danger: bool = False
    unreachable: bool = False


@dataclass(frozen=True)
class Side:
    """What one node reports of itself: its configuration, and what is in force in the kernel.

    ``keys``: KEYS as text, link_grace in microseconds; ``in_force``: every value of fencing in the kernel; ``net``:
    DRBD's times as they are in force, in DRBD's units; ``threshold``, ``idle``: O2CB's, None where its cluster is not
    there; ``numbers``: O2CB's numbers of the nodes; ``addresses``: host -> ADDRESS:PORT of DRBD; ``thirds``: hosts
    without a disk, which are in nothing else here; ``several``: it is one of several stacks that ask a witness;
    ``file``: where the stack's section stands; ``unread``: what could not be read, in words.
    """

    host: str
    stack: str
    resource: str
    keys: Mapping[str, str]
    driver: str = ""
    in_force: Sequence[str] = ()
    quorum: str = ""
    handler: str = ""
    handler_problem: str = ""
    helper: str = ""
    helper_problem: str = ""
    role: str = ""
    disk: str = ""
    peer_disk: str = ""
    connection: str = ""
    replication: str = ""
    suspended: str = ""
    current: str = ""
    net: Mapping[str, float] = field(default_factory=dict)
    threshold: int | None = None
    idle: float | None = None
    numbers: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    thirds: Sequence[str] = ()
    several: bool = False
    file: str = "/etc/drbdocfs/drbdocfs.conf"
    unread: Sequence[str] = ()

    @property
    def survivor(self) -> str:
        return self.keys.get("survivor", fencing.NONE)

    @property
    def grace(self) -> float:
        """link_grace in seconds."""
        return int(self.keys.get("link_grace", "0")) / 1_000_000

    @property
    def in_step(self) -> bool:
        """Connected, both disks UpToDate, nothing frozen and nothing resyncing."""
        return (
            self.connection == "Connected"
            and self.disk == self.peer_disk == "UpToDate"
            and self.replication == "Established"
            and self.suspended in ("", "no")
        )

    @property
    def times(self) -> fencing.Times:
        """The running values; the kernel's defaults where one is not known."""
        known: dict[str, Any] = {}
        if self.threshold is not None:
            known["threshold"] = self.threshold
        if self.idle is not None:
            known["idle"] = self.idle
        # drbd.conf(5): ping-timeout and timeout in tenths of a second.
        for key, name, unit in (
            ("ping-int", "ping_int", 1),
            ("ping-timeout", "ping_timeout", 10),
            ("timeout", "timeout", 10),
        ):
            if key in self.net:
                known[name] = self.net[key] / unit
        return fencing.Times(**known)

    @property
    def plan(self) -> fencing.Plan:
        return fencing.plan(self.survivor, self.grace, self.times, self.preferred, self.several)

    @property
    def preferred(self) -> bool:
        return fencing.preferred({name: {"number": number} for name, number in self.numbers.items()}, self.host)


def to_json(side: Side) -> dict[str, Any]:
    return dataclasses.asdict(side)


def from_json(found: Any) -> Side:
    """Raises ValueError where it is no such report."""
    if not isinstance(found, dict):
        raise ValueError("it is no report")
    names = {one.name for one in dataclasses.fields(Side)}
    try:
        # A newer version may say more.
        return Side(**{name: value for name, value in found.items() if name in names})
    except TypeError as error:
        raise ValueError(str(error)) from None


# --- what the tools say ---------------------------------------------------------------------------------------


def _all(statements: Iterable[Statement]) -> Iterable[Statement]:
    for one in statements:
        yield one
        yield from _all(one.children or ())


def thirds(dump: str) -> list[Host]:
    """The hosts without a disk in what ``drbdadm dump`` says."""
    found = drbdconf.Configuration(drbdconf.parse(dump, "-")[0])
    return [host for one in found.resources() for host in resource.Resource(found, one).hosts.values() if host.diskless]


def settings(text: str, name: str, apart: Iterable[Host] = ()) -> list[str]:
    """Every value of a setting in what ``drbdsetup show`` says, but of the connections to the hosts ``apart``."""
    found = resource.everywhere(drbdconf.parse(text, "-")[0], name, apart)
    return list(dict.fromkeys(s.words[1] for s in found if len(s.words) > 1))


def handler(dump: str) -> str:
    """The fence-peer handler in what ``drbdadm dump`` says."""
    found = drbdconf.Configuration(drbdconf.parse(dump, "-")[0])
    resource = next(iter(found.resources()), None)
    setting = found.setting(resource, "handlers", "fence-peer") if resource else None
    return setting.words[1] if setting is not None and len(setting.words) > 1 else ""


def addresses(dump: str) -> dict[str, str]:
    """host -> ADDRESS:PORT in what ``drbdadm dump`` says, the first of each; without the hosts that have no disk."""
    found: dict[str, str] = {}
    for one in _all(drbdconf.parse(dump, "-")[0]):
        if one.words[:1] == ("on",):
            for address in one.settings("address"):
                for name in one.words[1:]:
                    found.setdefault(name, address.words[-1])
        elif one.words[:1] == ("host",) and "address" in one.words and len(one.words) > 3:
            found.setdefault(one.words[1], one.words[-1])
    apart = {host.name for host in thirds(dump)}
    return {name: address for name, address in found.items() if name not in apart}


def times(show: str, apart: Iterable[Host] = ()) -> dict[str, float]:
    """DRBD's times in what ``drbdsetup show --show-defaults`` says; the longest where connections differ."""
    apart = tuple(apart)
    found = {}
    for key in ("ping-int", "ping-timeout", "timeout", "connect-int"):
        numbers = [float(value) for value in settings(show, key, apart) if value.isdigit()]
        if numbers:
            found[key] = max(numbers)
    return found


def span(microseconds: str) -> str:
    """link_grace as a person writes it."""
    return f"{int(microseconds) / 1_000_000:g} s" if microseconds.isdigit() else microseconds


# --- the rows -------------------------------------------------------------------------------------------------


def unreachable(host: str, message: str, advice: str) -> Row:
    return Row(NOT_TESTED, "other side", host, message, advice, unreachable=True)


def configuration(own: Side, other: Side | None) -> list[Row]:
    """The policy and its keys, on both nodes."""
    step = "configuration"
    shown = ", ".join(
        f"{key} = {span(own.keys[key]) if key == 'link_grace' else own.keys[key]}" for key in KEYS if own.keys.get(key)
    )
    rows = []
    hosts = {*own.addresses, *own.numbers, own.host, *([other.host] if other else [])}
    lacking = _lacking(own)
    if lacking:
        rows.append(
            Row(FAILED, step, own.host, f"{shown}: {lacking}", f"section [{own.stack}] of {own.file}; drbdocfs.conf(5)")
        )
    elif own.survivor not in (fencing.NONE, fencing.POWER, fencing.WITNESS, *hosts):
        text = f"survivor = {own.survivor}, but the nodes are {' and '.join(sorted(hosts))}"
        rows.append(Row(FAILED, step, own.host, text, "the survivor's name as 'uname -n' prints it there"))
    if other is None:
        return rows or [Row(OK, step, own.host, shown)]
    differ = [key for key in KEYS if own.keys.get(key, "") != other.keys.get(key, "")]
    if differ:
        parts = [
            f"{key}: {_value(own, key)} on {own.host}, {_value(other, key)} on {other.host}" for key in differ
        ]  # fmt: skip
        danger = both_go_on(own, other)
        text = "; ".join(parts) + (". A lost link would let both nodes go on, each for itself" if danger else "")
        places = f"{own.file} on both nodes"
        if own.file != other.file:
            places = f"{own.file} on {own.host} and {other.file} on {other.host}"
        advice = f"the same keys in section [{own.stack}] of {places}"
        rows.append(Row(FAILED, step, "", text, advice, danger=danger))
    return rows or [Row(OK, step, "", f"the same on both: {shown}")]


def _value(side: Side, key: str) -> str:
    value = side.keys.get(key, "")
    return (span(value) if key == "link_grace" else value) or "not given"


def _lacking(side: Side) -> str:
    if side.survivor == fencing.POWER and not side.keys.get("fence_agent"):
        return "the policy power needs fence_agent"
    if side.survivor == fencing.WITNESS and not side.keys.get("witness"):
        return "the policy witness needs witness"
    return ""


def freezes(side: Side) -> bool:
    """Whether a node that loses its peer stops writing until it is decided who goes on."""
    return bool(side.in_force) and all(value == FREEZING for value in side.in_force)


def both_go_on(one: Side, other: Side) -> bool:
    """Whether a lost link would let both nodes complete writes, each without the other.

    Two decide together only by the same means: a named host, the power of the other, the same witness.
    """

    def may(side: Side) -> bool:
        if stops(side):
            return False
        return not freezes(side) or side.survivor in (fencing.POWER, fencing.WITNESS, side.host)

    if not (may(one) and may(other)):
        return False
    if not freezes(one) or not freezes(other):
        return True
    # The witness is tried with a lock, whatever its name is here and there.
    return one.survivor != other.survivor or one.survivor not in (fencing.POWER, fencing.WITNESS)


def stops(side: Side) -> bool:
    """Whether quorum stops a node that loses its peer.

    Not where there is a third host: each of two Primaries that still see it keeps its quorum by it (drbd_state.c,
    calc_quorum).
    """
    return side.quorum not in ("", "off", "1") and not side.thirds


def kernel(own: Side, other: Side | None) -> list[Row]:
    """Fencing in force, on each node."""
    rows = []
    for side in (own, other):
        if side is None:
            continue
        place = "net" if side.driver.startswith("9") else "disk"
        step, host = "fencing", side.host
        if side.unread:
            rows.append(Row(FAILED, step, host, "; ".join(side.unread), f"'drbdocfs status {side.stack}' there"))
            continue
        if stops(side) and not freezes(side):
            text = f"quorum {side.quorum} is in force instead of fencing: both nodes stop when the link is lost"
            rows.append(Row(NOT_TESTED, step, host, text))
            continue
        danger = other is not None and both_go_on(own, other)
        if not freezes(side):
            value = ", ".join(side.in_force) or "nothing, which is dont-care"
            text = f"the kernel has fencing {value}: a lost link leaves this node writing by itself"
            if side.thirds and side.quorum not in ("", "off"):
                text += f"; where only that link is lost both keep the quorum {side.quorum} by {', '.join(side.thirds)}"
            advice = f"'{place} {{ fencing {FREEZING}; }}' on both nodes, then 'drbdadm adjust {side.resource}'"
            rows.append(Row(FAILED, step, host, text, advice, danger=danger))
        else:
            rows.append(Row(OK, step, host, f"{FREEZING} is in force in the kernel"))
        rows.append(_handler(side))
    return rows


def _handler(side: Side) -> Row:
    step, host = "handler", side.host
    wanted = f"'handlers {{ fence-peer \"{HANDLER}\"; }}'"
    if side.helper_problem:
        text = f"the kernel calls {side.helper or 'no program'}: {side.helper_problem}"
        return Row(FAILED, step, host, text, "option usermode_helper=/sbin/drbdadm of the module drbd (modprobe.d(5))")
    if not side.handler:
        text = "DRBD's configuration has no fence-peer handler: frozen nodes would wait for each other"
        return Row(FAILED, step, host, text, f"{wanted} on both nodes, then 'drbdadm adjust {side.resource}'")
    if not ours(side):
        text = f"DRBD's configuration has another fence-peer handler, {side.handler}"
        return Row(FAILED, step, host, text, f"{wanted} on both nodes, then 'drbdadm adjust {side.resource}'")
    if side.handler_problem:
        text = f"{side.handler}: {side.handler_problem}"
        return Row(FAILED, step, host, text, "install drbdocfs-boot again there")
    return Row(OK, step, host, f"{side.helper} calls {side.handler}")


def ours(side: Side) -> bool:
    return side.handler.split()[:1] == [HANDLER]


def callable_there(side: Side) -> bool:
    """Whether the handler in force is ours, and can be called."""
    return ours(side) and not side.handler_problem


def not_called(side: Side) -> Row:
    return Row(NOT_TESTED, "dry run", side.host, "the handler of drbdocfs-boot is not in force there")


def plans(own: Side, other: Side | None) -> list[Row]:
    """The plan of each node with its sum."""
    rows = []
    for side in (own, other):
        if side is None:
            continue
        step, host = "plan", side.host
        if stops(side) and not freezes(side):
            rows.append(Row(NOT_TESTED, step, host, "without fencing there is no plan"))
            continue
        if side.threshold is None or side.idle is None:
            text = "O2CB's cluster is not there, so its limits are not known"
            rows.append(Row(FAILED, step, host, text, f"'drbdocfs start {side.stack}' there"))
            continue
        plan = side.plan
        if not plan.fits:
            advice = (
                "shorter times of DRBD (net: ping-int, ping-timeout, timeout), a shorter link_grace,"
                " or longer ones (O2CB_HEARTBEAT_THRESHOLD, O2CB_IDLE_TIMEOUT_MS, with the stack stopped on both),"
                " the same on both nodes"
            )
            text = f"{plan.sum}: too long, so OCFS2 resets this node before the decision"
            rows.append(Row(FAILED, step, host, text, advice))
        elif plan.cut:
            text = f"{plan.sum}; link_grace is {side.grace:g} s, more than fits"
            rows.append(
                Row(
                    OK,
                    step,
                    host,
                    text,
                    "a shorter link_grace, or longer limits of O2CB, with the stack stopped on both",
                )
            )
        else:
            rows.append(Row(OK, step, host, plan.sum))
    if other is not None:
        for name in ("threshold", "idle"):
            one, two = getattr(own, name), getattr(other, name)
            if None not in (one, two) and one != two:
                what = {"threshold": "O2CB's dead_threshold", "idle": "O2CB's idle timeout (s)"}[name]
                text = f"{what}: {one:g} on {own.host}, {two:g} on {other.host}"
                rows.append(
                    Row(
                        FAILED,
                        "plan",
                        "",
                        text,
                        "the same in /etc/default/o2cb on both nodes, with the stack stopped on both",
                    )
                )
    return rows


@dataclass(frozen=True)
class Power:
    """What a node got from the agent about its peer.  ``status`` "" where it did not get that far; ``mode`` of the
    options file in octal digits."""

    status: str = ""
    took: float = 0.0
    said: str = ""
    mode: str = ""
    file: str = ""
    problem: str = ""
    advice: str = ""


def power(host: str, peer: str, agent: str, found: Power) -> Row:
    """One node's agent, asked about the other node."""
    step = "power"
    if found.problem:
        return Row(FAILED, step, host, found.problem, found.advice or f"mend {found.file} or {agent}")
    if found.status == "on":
        # An off and a status after it have to be done in the time of a decision.
        advice = _slow(2 * found.took, fencing.POWER)
        text = (
            f"{agent} says in {found.took:.1f} s that {peer} is on; {found.file} has mode {found.mode};"
            f" whether the plug is that of {peer} only --really power shows, with an eye on the machine"
        )
        return Row(OK, step, host, text, advice)
    if found.status == "off":
        text = f"{agent} says that {peer} is off, while it runs: these are the options of another machine"
        return Row(FAILED, step, host, text, f"the plug (port) in section [{peer}] of {found.file}")
    text = f"{agent} does not say whether {peer} is on: {found.said or 'it said nothing'} ({found.took:.1f} s)"
    return Row(FAILED, step, host, text, f"call it by hand with action=status and the options of {found.file}")


def _slow(took: float, policy: str) -> str:
    planned = fencing.DECIDE[policy]
    return f"something faster: the plan has {planned:g} s for the decision" if took > planned else ""


def not_power(survivor: str) -> Row:
    return Row(NOT_TESTED, "power", "", f"the policy is {survivor}, nobody is switched off")


def not_witness(survivor: str) -> Row:
    return Row(NOT_TESTED, "witness", "", f"the policy is {survivor}, no witness is asked")


@dataclass(frozen=True)
class Answer:
    """A witness's answer: ``kind`` taken, held, released, ok, left (locks are left, ``said`` which) or error."""

    kind: str
    holder: str = ""
    said: str = ""
    took: float = 0.0


def probed(host: str, where: str, answer: Answer) -> Row:
    if answer.kind != "error":
        return Row(OK, "witness", host, f"{where} answers in {answer.took:.1f} s")
    text = f"{where} does not answer as a witness: {answer.said or 'no message'}"
    advice = (
        f"on {host}, as root: is the directory there, and may it be written to?"
        if where.startswith("/")
        else f"on {host}, as root: 'ssh -o BatchMode=yes' to it has to answer 'ok 1' to the word probe"
    )
    return Row(FAILED, "witness", host, text, advice)


def locked(first: str, second: str, where: str, taken: Answer, refused: Answer, released: Answer) -> Row:
    """One lock: taken by the first, asked for by the second, released by the first."""
    step = "witness"
    if taken.kind != "taken":
        text = f"{first} does not get a test lock of {where}: {_said(taken)}"
        return Row(FAILED, step, first, text, "free space and rights in the witness's directory")
    if refused.kind == "taken":
        text = (
            f"{where} gave the same test lock to {first} and to {second}: they do not ask the same witness,"
            " and both would go on"
        )
        return Row(FAILED, step, "", text, "one witness with one directory for both nodes", danger=True)
    if refused.kind != "held":
        text = f"{where} gave {second} no answer about a lock that {first} has: {_said(refused)}"
        return Row(FAILED, step, second, text, f"on {second}, as root: see its way to the witness")
    if refused.holder != first:
        text = f"{where} says to {second} that {refused.holder or 'nobody'} has the lock that {first} took"
        return Row(FAILED, step, second, text, "one witness with one directory for both nodes", danger=True)
    if released.kind != "released":
        text = f"{first} cannot release its test lock at {where}: {_said(released)}"
        return Row(FAILED, step, first, text, "rights in the witness's directory; the lock of a test hinders nobody")
    text = (
        f"{first} got a lock ({taken.took:.1f} s), {second} did not ({refused.took:.1f} s),"
        f" {first} released it ({released.took:.1f} s)"
    )
    return Row(OK, step, "", text, _slow(max(taken.took, refused.took), fencing.WITNESS))


def _said(answer: Answer) -> str:
    return answer.said or (f"{answer.holder} has it" if answer.kind == "held" else answer.kind)


def left(where: str, answers: Mapping[str, Answer]) -> list[Row]:
    """Nothing may be left of the test locks."""
    return [
        Row(
            FAILED, "witness", host, f"of the test there is left at {where}: {_said(answer)}", "remove it there by hand"
        )
        for host, answer in answers.items()
        if answer.kind != "ok"
    ]


@dataclass(frozen=True)
class Called:
    """A handler's dry run: ``problem`` where it could not be called."""

    code: int = 0
    lines: Sequence[str] = ()
    took: float = 0.0
    problem: str = ""


def dry_run(side: Side, found: Called) -> Row:
    step, host = "dry run", side.host
    if found.problem:
        return Row(FAILED, step, host, found.problem, f"'{HANDLER} --dry-run' there, with DRBD_RESOURCE set")
    said = "; ".join(line.strip() for line in found.lines if line.strip()) or "it said nothing"
    if found.code != 0:
        return Row(FAILED, step, host, f"the handler could not decide (exit {found.code}): {said}", "what it names")
    return Row(OK, step, host, f"the handler decides in {found.took:.1f} s: {said}")


def status(rows: Iterable[Row]) -> int:
    """The exit status: danger first, then what failed, then the other side that could not be asked."""
    rows = list(rows)
    if any(row.danger for row in rows):
        return EX_DATAERR
    if any(row.result == FAILED for row in rows):
        return EX_NO
    return EX_UNAVAILABLE if any(row.unreachable for row in rows) else EX_OK


# --- the real thing -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What a real test will do: ``chosen``: a survivor is chosen; ``risk``: who may be reset or switched off."""

    text: str
    chosen: bool = False
    risk: tuple[str, ...] = ()


SETTLE = 2.0  # seconds for the handshake of a connection that is there again


def back_after(side: Side, seconds: float) -> float:
    """When the connection is there again after a cut: DRBD tries every connect-int."""
    return seconds + side.net.get("connect-int", 10.0) + SETTLE


def usual(own: Side, other: Side) -> int:
    """Seconds of a cut that DRBD notices for certain, and, where there is room, that is over before all is decided.

    A test that has seen nothing is no proof; so where there is no room the cut has a victim, who has to be named.
    """
    noticed = int(max(own.times.detection, other.times.detection)) + 1
    room = min(_patience(own), _patience(other)) - back_after(own, 0)
    return max(noticed, int(min(noticed + 3, room)))


def _patience(side: Side) -> float:
    """Seconds after the loss in which nothing is decided whatever happens; it may be noticed at once."""
    return side.plan.limit - fencing.MARGIN if side.survivor == fencing.NONE else side.plan.grace


def cut(own: Side, other: Side, seconds: float) -> Expected:
    """What a link that is cut for so long leads to."""
    if back_after(own, seconds) <= min(_patience(own), _patience(other)):
        if seconds <= own.times.detection:
            return Expected(f"so short that DRBD may not notice it (that takes up to {own.times.detection:g} s)")
        return Expected("shorter than the grace: both nodes freeze, and go on when the link is back")
    both = (own.host, other.host)
    if own.survivor == fencing.NONE:
        # O2CB's nodes still see each other, and put the reset off while both wait for the same disk (o2hb_nego).
        text = "longer than OCFS2 waits: both nodes stay frozen until the link is back, or are reset"
        return Expected(text, True, both)
    if own.survivor == fencing.WITNESS:
        text = "longer than the grace: who gets the lock goes on, the other one stays frozen and resets itself"
        return Expected(text, True, both)
    if own.survivor == fencing.POWER:
        loser = other if own.preferred else own
        # The preferred one is first as a rule; an agent that fails there leaves it to the other one.
        text = f"longer than the grace: one of the two is switched off, most likely {loser.host}; the other one goes on"
        return Expected(text, True, both)
    goes_on, loser = (own, other) if own.survivor == own.host else (other, own)
    text = f"longer than the grace: {goes_on.host} goes on, {loser.host} stays frozen and resets itself"
    return Expected(text, True, (loser.host,))


def ready(rows: Iterable[Row], own: Side, other: Side | None) -> str:
    """Why a real test may not begin; "" when it may."""
    if other is None:
        return "the other side was not tested"
    if any(row.result == FAILED or row.unreachable for row in rows):
        return "something failed above"
    if not freezes(own):
        return "fencing is not in force"
    for side in (own, other):
        if not side.in_step:
            state = ", ".join(
                part for part in (side.connection, side.disk, side.peer_disk, side.replication) if part
            )  # fmt: skip
            frozen = f", frozen ({side.suspended})" if side.suspended not in ("", "no") else ""
            return f"{side.host} is not connected with both disks UpToDate: {state or 'down'}{frozen}"
        if side.role != "Primary":
            return f"{side.host} is {side.role or 'down'}, so nothing would freeze there"
    return ""


def victims(expected: Expected, named: Sequence[str]) -> str:
    """Why the named victims are not those of this test; "" when they are."""
    lacking = [host for host in expected.risk if host not in named]
    wrong = [host for host in named if host not in expected.risk]
    if lacking:
        return f"{' and '.join(lacking)} may be reset or switched off and has to be named in full, each by --victim"
    return f"{' and '.join(wrong)} would not be a victim of this test" if wrong else ""


def block(own: str, peers: Iterable[str], seconds: int) -> str:
    """nft's words that cut DRBD's connection, ADDRESS:PORT of both ends given, and let it go by themselves.

    The ports are elements of a set, and the kernel forgets them when their time is over: nobody has to be alive then.
    """
    port = own.rpartition(":")[2]
    lines = []
    ports = {port}
    for peer in peers:
        address, _, their_port = peer.rpartition(":")
        address = address.strip("[]")
        ports.add(their_port)
        family = "ip6" if ":" in address else "ip"
        for chain, end in (("in", "saddr"), ("out", "daddr")):
            for direction in ("dport", "sport"):
                lines.append(f"add rule inet {TABLE} {chain} {family} {end} {address} tcp {direction} @ports drop")
    elements = ", ".join(f"{one} timeout {seconds}s" for one in sorted(ports))
    return "\n".join(
        [
            f"add table inet {TABLE}",
            f"delete table inet {TABLE}",
            f"add table inet {TABLE}",
            f"add set inet {TABLE} ports {{ type inet_service; flags timeout; }}",
            f"add chain inet {TABLE} in {{ type filter hook input priority -300; policy accept; }}",
            f"add chain inet {TABLE} out {{ type filter hook output priority -300; policy accept; }}",
            *lines,
            f"add element inet {TABLE} ports {{ {elements} }}",
        ]
    )


@dataclass
class Watched:
    """What is seen while a link is cut; each change is told once, as a line."""

    lost: float = -1.0
    frozen: float = -1.0
    thawed: float = -1.0  # while the connection was still lost
    back: float = -1.0
    done: float = -1.0

    def see(self, now: float, side: Side) -> list[str]:
        """Take a look at ``now`` seconds after the cut."""
        lines = []
        connected = side.connection == "Connected"
        suspended = side.suspended not in ("", "no")
        if not connected and self.lost < 0:
            self.lost = now
            lines.append("the connection is lost")
        if suspended and self.frozen < 0:
            self.frozen = now
            lines.append(f"{side.host} is frozen")
        if self.frozen >= 0 and not suspended and not connected and self.thawed < 0:
            self.thawed = now
            lines.append(f"{side.host} goes on alone, {now - self.frozen:.0f} s after it froze")
        if self.lost >= 0 and connected and self.back < 0:
            self.back = now
            lines.append("connected again")
        if self.back >= 0 and side.in_step and self.done < 0:
            self.done = now
            lines.append("both disks are UpToDate")
        return lines


def judged(watched: Watched, expected: Expected, own: Side, other: Side | None) -> list[Row]:
    """What a real cut has shown; ``own`` and ``other`` as they are after it."""
    step, host = "link", own.host
    if watched.lost < 0:
        text = "DRBD has not noticed the cut, so nothing was tested"
        return [Row(FAILED, step, host, text, "longer --seconds, or see 'nft list ruleset'")]
    rows = []
    if watched.frozen < 0:
        text = "the connection was lost, but this node was not seen frozen"
        rows.append(Row(FAILED, step, host, text, "'journalctl -k': did the kernel call the fence-peer handler?"))
    elif watched.thawed >= 0 and not expected.chosen:
        text = f"{host} went on alone after {watched.thawed - watched.frozen:.0f} s, before the link was back"
        rows.append(Row(FAILED, step, host, text, "a longer link_grace; 'journalctl -t drbdocfs-fence-peer' says why"))
    if watched.done < 0:
        text = f"the two are not in step again: {own.connection or 'down'}, {own.disk or '-'}, {own.peer_disk or '-'}"
        rows.append(Row(FAILED, step, host, text, f"'drbdocfs status {own.stack}' on both nodes"))
    elif other is not None and generation(own.current) != generation(other.current):
        text = f"the data generations differ: {own.current} on {own.host}, {other.current} on {other.host}"
        rows.append(Row(FAILED, step, "", text, f"'drbdocfs split-brain {own.stack}'", danger=True))
    if rows:
        return rows
    kept = ", the data generation is the same on both" if other is not None else ""
    stood = (watched.thawed if watched.thawed >= 0 else watched.back) - watched.frozen
    text = f"lost, frozen for {stood:.0f} s, connected again, UpToDate on both{kept}"
    return [Row(OK, step, host, text)]


def generation(current: str) -> str:
    """DRBD's current UUID without its lowest bit, which says Primary."""
    try:
        return f"{int(current, 16) & ~1:016X}"
    except ValueError:
        return current
