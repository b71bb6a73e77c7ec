"""One round of a test of many reboots: who goes down when, what is waited for and how long, what is looked at then.

It sees nodes, the power switch, the clock and the data check through what it is given, and so can be played.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from drbdocfs_boot import rebootfacts
from drbdocfs_boot.rebootfacts import Answer, Claim, Facts
from drbdocfs_boot.reboottest import (
    CLAIMED,
    NO_REBOOT,
    POWER,
    POWER_COMMAND,
    REBOOT,
    RESET,
    TIME_LIMIT,
    UNREACHABLE,
    Boot,
    Cycle,
    Down,
    Finding,
)
from drbdocfs_boot.tools.run import Result

EVERY = 2.0  # seconds between two looks at a node
PROBE_LIMIT = 30.0
ORDER_LIMIT = 60.0
FACTS_LIMIT = 240.0
# A switch may be busy for a while, as a management board that restarts is.
ON_EVERY = 5.0
ON_LIMIT = 120.0  # seconds from the first order on
GONE_LIMIT = 60.0  # seconds after the power was cut, until a node that still answers was not cut
# ssh's own exit status, and that of a call that was killed at its limit (tools.nodes).
UNREACHED = (255, -1)
TRIES = 3  # of a question to a node that has answered before
BOOTING = ("", "initializing", "starting", "stopping", "offline", "unknown")


class Running(Protocol):
    """A command under way."""

    def done(self) -> Result | None:
        """What came of it; None while it runs."""

    def wait(self) -> Result:
        """What came of it, at its limit at the latest."""

    def end(self) -> None:
        """Kill it if it still runs."""


class Node(Protocol):
    """A node; see tools.nodes.Node."""

    name: str

    def call(self, command: str, limit: float) -> Running:
        """Begin a command there."""


class Data(Protocol):
    """The data check, or nothing in its place."""

    def start(self, node: str) -> list[Finding]:
        """A node is up: write there."""

    def stop(self, node: str) -> None:
        """A node goes down."""

    def verify(self, nodes: Sequence[str]) -> tuple[list[Finding], int]:
        """What is missing or torn on these nodes, and how many records were acknowledged."""


@dataclass
class Limits:
    """Seconds: for a shutdown until the node is gone, for a boot until the stack is up, for a power command."""

    shutdown: float = 180.0
    boot: float = 600.0
    power: float = 60.0


@dataclass
class Setting:
    """What a round needs: `claim` is what it takes the nodes with; `power` begins a command of the power switch ("off",
    "on") for a node; `tell` writes a line that stays, `show` what is being waited for."""

    stack: str
    nodes: Mapping[str, Node]
    limits: Limits
    power: Callable[[str, str], Running]
    data: Data
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    tell: Callable[[str], None]
    show: Callable[[str], None]
    claim: Claim | None = None

    def ask(self, name: str) -> Running:
        """Begin the short question."""
        return self.nodes[name].call(rebootfacts.probe(self.stack, name, self.claim), PROBE_LIMIT)


def heard(result: Result, node: str) -> tuple[Answer, str]:
    """What a node has answered to the short question, empty where it was not reached; and what another host calls
    itself that has answered in its place: ssh may lead elsewhere when an address or a name has changed."""
    found = Answer() if result.code in UNREACHED else rebootfacts.answer(result.out)
    if not found.boot_id or found.name == node:
        return found, ""
    return Answer(), found.name or "nothing"


def in_use(words: str) -> str:
    """Of a node that another run has."""
    return f"another run of this test has it: {words or 'it does not say whose it is'}"


def _own(facts: Facts, node: str) -> Facts:
    """Of another host than the node no fact counts."""
    return facts if facts.name == node else Facts(boot_id=facts.boot_id, name=facts.name)


def _elsewhere(other: str) -> str:
    return f"ssh leads to a host that calls itself {other}"


class Fall:
    """One node on its way down and up again.  `step` never waits."""

    def __init__(self, given: Setting, down: Down, boot_id: str) -> None:
        self.down = down
        self.node = down.node
        self.before = boot_id
        self.boot_id = ""
        self.findings: list[Finding] = []
        self.told: list[Finding] = []
        self.gone: float | None = None
        self.answered: float | None = None
        self.up: float | None = None
        self.doing = "its turn"
        self._given = given
        self._state = "wait"
        self._ordered = 0.0
        self._since = 0.0  # of the state
        self._next = 0.0
        self._call: Running | None = None
        self._same = False  # the power was not cut: the boot may be the same
        self._on_began: float | None = None
        self._doubtful = False  # power off was ordered, and is not known to have ended well: it may still come
        self._heard = True  # the last question was answered
        self.taken = False  # by another run, after its boot
        self._other = ""  # what another host calls itself that answers in its place

    @property
    def over(self) -> bool:
        """Nothing more is waited for."""
        return self._state == "over"

    @property
    def dark(self) -> bool:
        """Its power was ordered off, and not on again."""
        return self._state in ("off", "cut", "on", "last")

    @property
    def doubtful(self) -> bool:
        """Its power was ordered off, and that may still come about."""
        return self._doubtful

    def step(self, now: float) -> None:
        """Look at it; `now` in seconds since the round began."""
        if self._state == "wait":
            if now >= self.down.after:
                self._order(now)
        elif self._state in ("order", "off", "on", "last"):
            if self._state == "on" and self._call is None and now >= self._next:
                self._call = self._given.power("on", self.node)
            result = self._call.done() if self._call else None
            if result is not None:
                self._call = None
                self._ordered_done(result, now)
        elif self._state != "over":
            if self._call is None:
                if now >= self._next:
                    self._call = self._given.ask(self.node)
                return
            result = self._call.done()
            if result is not None:
                self._call = None
                self._next = now + EVERY
                self._seen(result, now)

    def _to(self, state: str, doing: str, now: float) -> None:
        self._state, self.doing, self._since = state, doing, now

    def _find(self, kind: str, text: str, journal: str = "") -> None:
        finding = Finding(self.node, kind, text, journal)
        self.findings.append(finding)
        self.told.append(finding)
        self._given.tell(f"{self.node}: {kind}: {text}")

    def _order(self, now: float) -> None:
        self._ordered = now
        if self.down.how == POWER:
            self._given.tell(f"{self.node}: its power is switched off")
            # Before the command begins: an interruption in between has to find the node dark.
            self._to("off", "the power to be off", now)
            self._doubtful = True
            self._call = self._given.power("off", self.node)
        else:
            self._given.tell(f"{self.node}: it is told to reboot")
            self._call = self._given.nodes[self.node].call(rebootfacts.order(self.before), ORDER_LIMIT)
            self._to("order", "the order to be taken", now)

    def _ordered_done(self, result: Result, now: float) -> None:
        if self._state == "order":
            if result.code == rebootfacts.OTHER:
                other = result.out.strip()
                text = "it is in another boot than a moment before" if other == self.node else _elsewhere(other)
                self._find(NO_REBOOT, f"it was not told to reboot: {text}")
                self._to("over", "", now)
            elif result.code not in (0, *UNREACHED):  # it may be gone before ssh has ended
                self._find(NO_REBOOT, f"'systemctl reboot' failed: {result.said or result.code}")
                self._to("over", "", now)
            else:
                self._given.data.stop(self.node)
                self._to("going", "it to go down", now)
        elif self._state == "off":
            self._doubtful = result.code != 0
            if result.code != 0:
                self._find(POWER_COMMAND, f"the command for power off: {result.said or f'exit {result.code}'}")
                self._same = True
                self._switch_on(now)
            else:
                self._to("cut", "it to be gone", now)
        elif self._state == "last":
            self._to("over", "", now)
        elif result.code != 0:
            self._on_failed(result, now)
        else:
            self._to("answering", "it to answer", now)

    def _switch_on(self, now: float) -> None:
        self._on_began = None
        self._to("on", "the power to be on", now)
        self._call = self._given.power("on", self.node)

    def _on_failed(self, result: Result, now: float) -> None:
        if self._on_began is None:
            self._on_began = now
            text = "the command for power on has failed; it is tried again"
            self._given.tell(f"{self.node}: {text} every {ON_EVERY:.0f} s: {result.said or f'exit {result.code}'}")
        passed = now - self._on_began
        if passed < ON_LIMIT:
            self._next = now + ON_EVERY
            return
        said = result.said or f"exit {result.code}"
        self._find(POWER_COMMAND, f"the command for power on: {said} (for {passed:.0f} s); it may be without power")
        self._to("over", "", now)

    def _give_up(self, now: float) -> None:
        """Nothing more is waited for.  The power may have gone after it was ordered on: where nothing answers, it is
        ordered once more."""
        if self.down.how != POWER or self._heard:
            self._to("over", "", now)
            return
        self._given.tell(f"{self.node}: it may be without power, which is ordered on once more")
        self._to("last", "the power to be on", now)
        self._call = self._given.power("on", self.node)

    def _seen(self, result: Result, now: float) -> None:
        said, other = heard(result, self.node)
        here, target = said.boot_id, said.target
        reached = self._heard = bool(here)
        if other not in ("", self._other):
            self._given.tell(f"{self.node}: it does not answer: {_elsewhere(other)}")
        self._other = other
        if self._state == "cut":
            self._seen_cut(reached and here == self.before, now)
        elif self._state in ("going", "answering"):
            self._seen_going(reached, here, now)
        if self._state == "rising" and reached:
            if here != self.boot_id:
                self._find(RESET, "it went down again while it booted")
                self._to("over", "", now)
            elif said.theirs is not None:
                self.taken = True
                self._find(CLAIMED, in_use(said.theirs))
                self._to("over", "", now)
            elif target == "active" and said.system not in BOOTING:
                self.up = now - self._ordered
                self._given.tell(f"{self.node}: the stack is up after {self.up:.0f} s")
                self._to("over", "", now)
                self.findings += self._given.data.start(self.node)
        if self._state == "rising" and now - self._since > self._given.limits.boot:
            last = target or (_elsewhere(other) if other else "no answer")
            text = f"the stack is not up {self._given.limits.boot:.0f} s after it answered ({last})"
            self._find(TIME_LIMIT, text)
            self._give_up(now)

    def _seen_cut(self, there: bool, now: float) -> None:
        if there and now - self._since <= GONE_LIMIT:
            return
        if there:
            self._find(POWER_COMMAND, "the command for power off has ended well, but it still answers")
            self._same = True
        else:
            self.gone = now - self._ordered
        self._given.data.stop(self.node)
        self._given.tell(f"{self.node}: its power is switched on")
        self._switch_on(now)

    def _seen_going(self, reached: bool, here: str, now: float) -> None:
        passed = now - self._ordered
        limits = self._given.limits
        if reached and (here != self.before or self._same):
            self.gone = passed if self.gone is None else self.gone
            self.answered, self.boot_id = passed, here
            self._given.tell(f"{self.node}: it answers after {passed:.0f} s")
            self._to("rising", "its stack", now)
        elif reached:
            if self.down.how == REBOOT:
                self.gone = None
            if passed > (limits.shutdown if self.down.how == REBOOT else limits.boot):
                self._find(NO_REBOOT, f"{passed:.0f} s after the order it still runs as before")
                self._to("over", "", now)
        else:
            if self.gone is None:
                self.gone = passed
                self._given.tell(f"{self.node}: it is gone after {passed:.0f} s")
            self.doing = "it to answer"
            if passed > limits.shutdown + limits.boot:
                where = f": {_elsewhere(self._other)}" if self._other else ""
                self._find(UNREACHABLE, f"it does not answer {passed:.0f} s after the order{where}")
                self._give_up(now)

    def drop(self) -> None:
        """An interruption: the short question is not asked to its end, as it would take the node once more."""
        if self._state in ("going", "answering", "rising") and self._call is not None:
            self._call.end()
            self._call = None

    def rescue(self) -> bool:
        """An interruption, and it is dark: order its power on, once; whether that is done now."""
        call, self._call = self._call, None
        if call is not None:
            code = call.wait().code
            if self._state == "off":  # on before off has ended might come too early
                self._doubtful = code != 0
            elif code == 0:
                self._to("over", "", 0.0)
                return True
        if self._given.power("on", self.node).wait().code != 0:
            return False
        self._to("over", "", 0.0)
        return True


def unanswered(given: Setting, names: Sequence[str]) -> list[str]:
    """At the end of a run: which of these nodes, whose power was cut in it, do not answer.  Their power is ordered on
    once more; a switch may say "done" before it is."""
    calls = {name: given.ask(name) for name in names}
    silent = [name for name, call in calls.items() if not heard(call.wait(), name)[0].boot_id]
    for call in [given.power("on", name) for name in silent]:
        call.wait()
    return silent


class Round:
    """One round; `rescue` after an interruption."""

    def __init__(
        self, given: Setting, number: int, downs: Sequence[Down], wall: float, known: Mapping[str, str] | None = None
    ) -> None:
        """`wall`: the time of its begin, in seconds since 1970.  `known`: `boots` of the round before."""
        self._given = given
        self._number = number
        self._downs = downs
        self._wall = wall
        self._said: dict[str, str] = {}  # the boot ids that came as answers, whoever has answered
        self._theirs: dict[str, str | None] = {}  # words of another run that has a node
        self._others: dict[str, str] = {}  # what other hosts call themselves that answered in a node's place
        self.falls: list[Fall] = []
        self.told: list[Finding] = []  # of the findings those that `tell` has had already
        self.last = False  # no further round makes sense: ssh leads to one machine for both, or another run has a node
        self.boots = dict(known or {})  # the nodes' boot ids at its end; none of a node that may still go down

    def rescue(self) -> list[str]:
        """An interruption: no power stays off.  The nodes that may be without power all the same."""
        given = self._given
        for fall in self.falls:
            fall.drop()
        dark = waiting = [fall for fall in self.falls if fall.dark]
        until = given.clock() + ON_LIMIT
        while True:
            waiting = [fall for fall in waiting if not self._rescued(fall)]
            if not waiting or given.clock() >= until:
                break
            names = ", ".join(fall.node for fall in waiting)
            given.tell(f"{names}: the command for power on has failed; it is tried again")
            given.sleep(ON_EVERY)
        return [fall.node for fall in dark if fall in waiting or fall.doubtful]

    def _rescued(self, fall: Fall) -> bool:
        # Whatever happens to one, the other is not left without power.
        try:
            return fall.rescue()
        except Exception as error:
            self._given.tell(f"{fall.node}: power on: {error}")
            return False

    def run(self) -> Cycle:
        """To its end."""
        given = self._given
        began = given.clock()
        before = self._ids()
        findings = [Finding(name, UNREACHABLE, self._silence(name)) for name, boot in before.items() if not boot]
        findings += self._one_machine(self._said)
        taken = [Finding(name, CLAIMED, in_use(words)) for name, words in self._theirs.items() if words is not None]
        self.last = self.last or bool(taken)
        findings += taken
        if findings:
            return Cycle(self._number, self._wall, given.clock() - began, (), tuple(findings))
        findings += self._between(before)
        self.falls = [Fall(given, down, before[down.node]) for down in self._downs]
        while not all(fall.over for fall in self.falls):
            now = given.clock() - began
            for fall in self.falls:
                fall.step(now)
            waits = [f"{fall.node} waits for {fall.doing}" for fall in self.falls if not fall.over]
            given.show(f"cycle {self._number}, {now:.0f} s: {', '.join(waits)}" if waits else "")
            given.sleep(0.2)
        for fall in self.falls:
            findings += fall.findings
            self.told += fall.told
            self.last = self.last or fall.taken
        facts = self._settle()
        findings += self._judge(facts, before)
        settled = {fall.node: fall.answered is not None for fall in self.falls}
        self.boots = {name: one.boot_id for name, one in facts.items() if one.complete and settled.get(name, True)}
        up = [name for name, one in facts.items() if one.complete]
        given.show(f"cycle {self._number}: the records are looked for on {', '.join(up)}")
        wrong, acknowledged = given.data.verify(up)
        findings += wrong
        boots = tuple(self._boot(fall, facts[fall.node]) for fall in self.falls)
        return Cycle(self._number, self._wall, given.clock() - began, boots, tuple(findings), acknowledged)

    def _between(self, before: Mapping[str, str]) -> list[Finding]:
        """What happened after the last look of the round before."""
        text = "it has rebooted without an order of this test, after the cycle before"
        return [Finding(name, RESET, text) for name, boot in before.items() if self.boots.get(name, boot) != boot]

    def _silence(self, name: str) -> str:
        other = self._others.get(name, "")
        return f"it does not answer: {_elsewhere(other)}" if other else "it does not answer"

    def _one_machine(self, boots: Mapping[str, str]) -> list[Finding]:
        names = [name for name, boot in boots.items() if boot and list(boots.values()).count(boot) > 1]
        if not names:
            return []
        self.last = True
        return [Finding("", UNREACHABLE, f"{' and '.join(names)} answer in one boot: ssh leads to the same machine")]

    def _ids(self) -> dict[str, str]:
        found = dict.fromkeys(self._given.nodes, "")
        for _ in range(TRIES):
            calls = {name: self._given.ask(name) for name, boot in found.items() if not boot}
            for name, call in calls.items():
                result = call.wait()
                said, self._others[name] = heard(result, name)
                found[name] = said.boot_id
                self._theirs[name] = said.theirs
                self._said[name] = "" if result.code in UNREACHED else rebootfacts.answer(result.out).boot_id
        return found

    def _ask(self, scripts: Mapping[str, str]) -> dict[str, Facts]:
        facts: dict[str, Facts] = {}
        for _ in range(TRIES):
            left = [name for name in scripts if name not in facts or not facts[name].complete]
            calls = {name: self._given.nodes[name].call(scripts[name], FACTS_LIMIT) for name in left}
            facts.update({name: _own(rebootfacts.parse(call.wait().out), name) for name, call in calls.items()})
        return {name: facts[name] for name in scripts}

    def _settle(self) -> dict[str, Facts]:
        """Wait until both are in step again, within the limit of a boot, and ask them all."""
        given = self._given
        until = given.clock() + given.limits.boot
        hopeless = {fall.node for fall in self.falls if fall.up is None}
        while True:
            facts = self._ask({name: rebootfacts.script(given.stack, whole=False) for name in given.nodes})
            waiting = [name for name, one in facts.items() if not rebootfacts.settled(one, given.stack)]
            if not waiting or hopeless or given.clock() >= until:
                break
            given.show(f"cycle {self._number}: {', '.join(waiting)} to be up and in step")
            given.sleep(EVERY)
        rebooted = [fall for fall in self.falls if fall.down.how == REBOOT and fall.answered is not None]
        before = {fall.node: fall.before for fall in rebooted}
        down = {fall.node for fall in self.falls}
        return self._ask(
            {name: rebootfacts.script(given.stack, before.get(name, ""), boots=name in down) for name in given.nodes}
        )

    def _judge(self, facts: Mapping[str, Facts], before: Mapping[str, str]) -> list[Finding]:
        stack = self._given.stack
        found = self._one_machine({name: one.boot_id for name, one in facts.items()})
        went = {fall.node: fall for fall in self.falls}
        for name, one in facts.items():
            found += rebootfacts.judge(name, one, stack)
            expected = went[name].boot_id if name in went else before[name]
            if expected and one.boot_id and one.boot_id != expected and one.name == name:
                found.append(Finding(name, RESET, "it has rebooted without an order of this test"))
            if one.complete and name in went:
                found += self._more_boots(went[name], one)
            if one.complete and one.shutdown is not None:
                found += rebootfacts.shutdown(name, one, stack)
        return found

    def _more_boots(self, fall: Fall, facts: Facts) -> list[Finding]:
        """A boot that ended before the node had answered in it, as at a panic or an emergency reboot."""
        seen = (fall.boot_id.replace("-", ""), "")
        unseen = [boot for boot in rebootfacts.between(facts, fall.before) if boot not in seen]
        if not unseen:
            return []
        text = f"it has booted {len(unseen) + 1} times since the order: 'journalctl -b {unseen[0]}' there has the first"
        return [Finding(fall.node, RESET, text)]

    def _boot(self, fall: Fall, facts: Facts) -> Boot:
        mounted, layers = rebootfacts.layers(facts, self._given.stack) if fall.answered is not None else (None, ())
        return Boot(fall.node, fall.down.how, fall.boot_id, fall.gone, fall.answered, fall.up, mounted, layers)
