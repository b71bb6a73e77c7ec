"""A fault of the matrix: a function makes it and says what has to follow; what has to hold after every fault is here.

    @fault("reboot-one", "the other writes on, it comes back by itself")
    def reboot_one(case: Case) -> None:
        case.reboot(case.two)

Before it: both up, and (but for `writing=False`) a writer on each. After it, whatever it was: what was put out of
order is put back (`case.afterwards`), both come up again without a hand, every acknowledged record is whole on both, no
node has found a split brain, and each boot since came to a login within its limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import fencing, stack
from .lab import Lab
from .node import BOOT_LIMIT, Node
from .records import Records
from .row import Result, Row
from .situations import LOGIN, configure, status

# Seconds from the last thing that a fault did until both are up: two boots, a resync.
BACK = 300.0
# A survivor's writes stand still until O2CB has found its peer dead.
WRITES = 150.0
SPLIT = "Split-Brain detected"


@dataclass
class Case:
    """A fault under way: the pair, what is written on it, and what has to be said and undone."""

    lab: Lab
    records: Records
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    apart: list[tuple[float, float]] = field(default_factory=list)
    _undo: list[Callable[[], object]] = field(default_factory=list)
    _stuck: list[str] = field(default_factory=list)

    @property
    def one(self) -> Node:
        """server1."""
        return self.lab.nodes[0]

    @property
    def two(self) -> Node:
        """server2."""
        return self.lab.nodes[1]

    def other(self, node: Node) -> Node:
        """The peer of a node."""
        return self.lab.nodes[2 - node.number]

    def note(self, text: str) -> None:
        """Something for the line of what was seen."""
        self.notes.append(text)

    def must(self, holds: bool, text: str) -> None:
        """What was expected; where it does not hold, the row goes on and is wrong."""
        if not holds:
            self.wrong.append(text)

    def afterwards(self, undo: Callable[[], object]) -> None:
        """Done at the end, whatever has happened; what is said last is undone first."""
        self._undo.append(undo)

    def put_back(self) -> None:
        """What was put out of order is in order again; where that fails the pair is no good any more."""
        while self._undo:
            try:
                self._undo.pop()()
            except AssertionError as error:
                self._stuck.append(f"not put back: {error}")

    # What faults are made of

    def boots(self, node: Node, limit: float = BOOT_LIMIT) -> float:
        """Wait for a node that is switched on to boot; returns the seconds. It has to come to a login."""
        began = time.monotonic()
        node.wait_booted(limit)
        self.login(node)
        return time.monotonic() - began

    def reboot(self, node: Node) -> None:
        """Reboot a node in good order: the shutdown clean, the boot in the order of the layers."""
        self.note(f"{node.name} down in {node.reboot():.0f} s")
        self.clean_shutdown(node)
        self.login(node)
        self.in_order(node)

    def clean_shutdown(self, node: Node) -> None:
        """The shutdown before this boot has to have been in order, nothing forced, in time."""
        try:
            stack.check_shutdown(node)
        except AssertionError as error:
            self.wrong.append(f"{node.name}: no clean shutdown: {' | '.join(str(error).splitlines()[:6])}")

    def in_order(self, node: Node) -> None:
        """At this boot each layer has to have begun when those before it were up, and remote-fs.target after all; O2CB
        comes beside the wait and the promotion."""
        times = node.boot_times()
        up: dict[str, float] = {}
        for layer, unit in (*stack.LAYERS.items(), ("remote-fs.target", "remote-fs.target")):
            unit_times = times.units[unit]
            began = unit_times.began or unit_times.active
            ended = up["attach"] if layer == "o2cb" else max(up.values(), default=0.0)
            self.must(
                unit_times.active > 0.0 and began >= ended - 0.001,
                f"{node.name}: {layer} began at {began:.1f} s, was up at {unit_times.active:.1f} s (0.0: never);"
                f" the one before it was up at {ended:.1f} s",
            )
            up[layer] = unit_times.active

    def login(self, node: Node) -> None:
        """The boot has to have come to a login."""
        states = node.run(f"systemctl is-active {' '.join(LOGIN)}", check=False).split()
        self.must(states == ["active"] * len(LOGIN), f"{node.name}: no login after the boot: {states}")

    def short_limits(self) -> None:
        """Until the end of the row a boot waits 25 s, and for the peer 10 s of them, as in test_waiting."""
        self._set(peer_timeout="10s", boot_timeout="25s")
        self.afterwards(lambda: self._set(peer_timeout="", boot_timeout=""))

    def _set(self, **keys: str) -> None:
        configure(self.lab.nodes, **keys)
        self.lab.both(lambda node: node.run("sync --file-system /etc/drbdocfs"))

    def down_and_waiting(self, node: Node) -> None:
        """The stack must not be up on a node: not Primary, nothing mounted."""
        now = fencing.state(node)
        self.must(now in (fencing.WAITING, fencing.DOWN), f"{node.name}: {now}, where it has to wait")

    def await_console(self, node: Node, words: str, begin: int = 0, limit: float = BOOT_LIMIT) -> None:
        """Wait until a node's console says so, as seen from outside within a tenth of a second; `begin`: where in the
        text of this boot to look."""
        until = time.monotonic() + limit
        while words not in node.console()[begin:]:
            gone = not node.running or time.monotonic() > until
            assert not gone, self.lab.report(f"{node.name}: {words!r} was not on the console in {limit:.0f} s")
            time.sleep(0.05)

    def power_cut(self, *nodes: Node) -> None:
        """Cut the power of some nodes, one right after the other."""
        for node in nodes:
            node.power_cut()

    def power_on(self, *nodes: Node) -> None:
        """Switch them on and wait for their boots."""
        for node in nodes:
            if not node.running:
                node.start()
        for node in nodes:
            self.boots(node)

    def says(self, node: Node, *words: str, limit: float = 60.0) -> None:
        """`drbdocfs status` has to say one of these within a limit, in seconds."""
        until = time.monotonic() + limit
        while not any(each in (said := status(node)) for each in words):
            if time.monotonic() > until:
                self.wrong.append(f"{node.name}: status does not say {' or '.join(words)!r} but:\n{said}")
                return
            time.sleep(1.0)

    def finish(self, writing: bool, back: float) -> None:
        """What has to hold after every fault."""
        assert not self._stuck, "\n".join(self._stuck)
        began = time.monotonic()
        again = fencing.await_together(self.lab, back)
        self.note(f"both up again {again - began:.0f} s after it")
        if writing:
            for node in self.lab.nodes:
                if not self.records.running(node):
                    self.records.start(node)
                self.records.await_writes(node, again, WRITES)
            self.lab.both(self.records.stop)
            finding = self.records.check(self.lab.nodes, self.apart)
            self.note(f"{sum(finding.acknowledged.values())} records, {len(finding.lost)} lost")
            self.wrong += [*finding.lost[:5], *finding.both]
        for node in self.lab.nodes:
            failed = node.run("systemctl --failed --no-legend --plain").strip()
            self.must(not failed, f"{node.name}: failed units: {failed}")


class NoGood(AssertionError):
    """The pair did not come up again, or a step of the fault failed."""

    def __init__(self, error: AssertionError, case: Case) -> None:
        """`error` with its report on both nodes; `wrong` has its first line and where the report is kept."""
        super().__init__("\n".join([str(error), *case.wrong, *case.notes]))
        lines = str(error).splitlines() or [repr(error)]
        self.wrong = [*case.wrong, *dict.fromkeys([lines[0], *lines[1:][-2:-1]])]
        self.notes = case.notes


FAULTS: dict[str, Row] = {}


def _splits(node: Node) -> int:
    """How often a node has found a split brain, in this boot and in those before it."""
    look = f"journalctl --no-pager -k --boot=all --grep='{SPLIT}' --output=cat 2>/dev/null | grep -c . || :"
    return int(node.run(look, check=False, timeout=60).strip() or 0)


def fault(
    name: str, words: str, *, group: str, seconds: float = 200.0, writing: bool = True, policy: str = "witness",
    splits: bool = False, back: float | None = None, named_only: bool = False,
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:  # fmt: skip
    """Add a function to the matrix; `splits`: the fault itself forces a split brain, which the function resolves."""

    def add(make: Callable[[Case], None]) -> Callable[[Case], None]:
        assert name not in FAULTS, name

        def run(lab: Lab) -> Result:
            fencing.set_policy(lab, policy)
            fencing.await_together(lab)
            before = lab.both(_splits)
            case = Case(lab, Records(lab.nodes))
            if writing:
                lab.both(case.records.start)
            try:
                try:
                    make(case)
                finally:
                    case.put_back()
                case.finish(writing, BACK if back is None else back)
            except AssertionError as error:
                raise NoGood(error, case) from error
            if not splits:
                for node, old, new in zip(lab.nodes, before, lab.both(_splits)):
                    case.must(new == old, f"{node.name} has found a split brain")
            return Result("; ".join(case.notes), case.wrong)

        FAULTS[name] = Row(name, group, words, run, seconds, named_only)
        return make

    return add
