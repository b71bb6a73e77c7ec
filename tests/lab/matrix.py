"""What becomes of a pair whose link goes, for each policy: a table of stories with what has to come of each.

`python3 -m tests.lab.matrix [ROW…]`: the rows named (`*` and `?` are allowed), or all; each result is appended to
dist/fencing.jsonl, and a row that is good there is not run again unless it is named. Status 1 when something was
otherwise than expected.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import arguments, fencing, powerswitch, snapshot, witnesshost
from .fencing import CABLE, DRBD, FOR_EVER, O2CB, ONE_END, SILENT, Expect, Fault, lost_link, story
from .image import Image, image
from .lab import Lab, LabError, say
from .provision import provisioned
from .race import race

RESULTS = Path("dist/fencing.jsonl")

NOBODY: tuple[tuple[str, ...], ...] = ((),)
EITHER = (("server1",), ("server2",))
BOTH = (("server1", "server2"),)
# A survivor's write that O2CB holds back until it has found the other node dead: 62 s after the thaw, and a moment.
STANDSTILL = 110.0


def _nothing(_lab: Lab) -> None:
    pass


@dataclass(frozen=True)
class Row:
    """A story: policy, what goes wrong, and what has to come of it."""

    name: str
    policy: str
    fault: Fault
    expect: Expect
    writing: bool
    before: Callable[[Lab], None] = _nothing
    cuts: tuple[str, ...] = ()
    seconds: float = 200.0  # about how long it takes
    race: int = 0  # instead of a story: so many rounds of both handlers at the same instant


@dataclass(frozen=True)
class Result:
    """What was seen in a row, and what of it was wrong."""

    text: str
    wrong: list[str]
    states: dict[str, str] = dataclasses.field(default_factory=dict)


def _modes(plugs: str = "", witness: str = "", who: tuple[str, ...] = ("server1", "server2")) -> Callable[[Lab], None]:
    """Power switch and witness out of order."""

    def before(lab: Lab) -> None:
        if plugs:
            lab.switch.modes.update({node.name: plugs for node in lab.nodes if node.name in who})
        if witness:
            lab.witness.modes.update({node.name: witness for node in lab.nodes if node.name in who})

    return before


# Cable out for so long -> what comes of it. Grace is at most 20 s, and a few for `power` (drbdocfs_boot/fencing.py).
BACK = Expect("in time: nobody stops, nothing is lost")
_NONE = {
    3: BACK,
    12: BACK,
    30: BACK,
    45: BACK,
    90: Expect("both frozen, both reset after 60 s, both up again with the link", losers=BOTH),
    FOR_EVER: Expect("both frozen, both reset, both wait for the link", losers=BOTH),
}


def _host(host: str) -> dict[float, Expect]:
    other = "server2" if host == "server1" else "server1"
    gone = Expect(
        f"{host} goes on after the grace, {other} is reset and comes back",
        losers=((other,),),
        alone=((host,),),
        standstill=STANDSTILL,
    )
    return {3: BACK, 12: BACK, 30: gone, 45: gone, 90: gone, FOR_EVER: gone}


_SHOT = Expect(
    "exactly one is switched off and on again, the other goes on",
    losers=EITHER,
    alone=EITHER,
    offs=(1,),
    standstill=STANDSTILL,
)
_POWER = {
    3: BACK,
    12: dataclasses.replace(_SHOT, words="back in time, or one switched off", losers=((), *EITHER), alone=((), *EITHER),
                            offs=(0, 1)),
    30: _SHOT,
    45: _SHOT,
    90: _SHOT,
    FOR_EVER: _SHOT,
}  # fmt: skip
_WON = Expect("one has the lock and goes on, the other is reset and comes back", losers=EITHER, alone=EITHER,
              standstill=STANDSTILL)  # fmt: skip
_WITNESS = {3: BACK, 12: BACK, 30: _WON, 45: _WON, 90: _WON, FOR_EVER: _WON}
POLICIES = {"none": _NONE, "server1": _host("server1"), "power": _POWER, "witness": _WITNESS}

FROZEN = Expect("nobody is believed to be off: both frozen, both reset, both up again with the link", losers=BOTH)
DEAD = {
    "none": Expect("the survivor waits frozen for the peer or is reset, and both come up", losers=NOBODY + EITHER),
    "server1": Expect("server1 goes on, server2 does not", losers=NOBODY + EITHER, alone=((), ("server1",))),
    "power": Expect("the survivor goes on", losers=NOBODY, alone=EITHER, offs=(0, 1), standstill=STANDSTILL),
    "witness": Expect("the survivor goes on", losers=NOBODY, alone=EITHER, standstill=STANDSTILL),
}


def _rows() -> dict[str, Row]:
    rows: list[Row] = []

    def add(name: str, policy: str, fault: Fault, expect: Expect, writing: bool = True, seconds: float = 200.0,
            before: Callable[[Lab], None] = _nothing, cuts: tuple[str, ...] = ()) -> None:  # fmt: skip
        rows.append(Row(name, policy, fault, expect, writing, before, cuts, seconds))

    for policy, table in POLICIES.items():
        for seconds, expect in table.items():
            length = "ever" if seconds == FOR_EVER else f"{seconds:.0f}"
            about = 80.0 + (170.0 if seconds == FOR_EVER else seconds) + (60.0 if expect is not BACK else 0.0)
            for writing in (False, True):
                kind = "writing" if writing else "idle"
                add(f"{policy}-{length}-{kind}", policy, lost_link(CABLE, seconds), expect, writing, about)
    for policy, table in POLICIES.items():
        gone = table[90]
        add(f"{policy}-address-12", policy, lost_link(ONE_END, 12), table[12])
        add(f"{policy}-address-90", policy, lost_link(ONE_END, 90), gone)
        add(f"{policy}-silent-12", policy, lost_link(SILENT, 12), table[12])
        add(f"{policy}-silent-90", policy, lost_link(SILENT, 90), gone)
        add(f"{policy}-drbd-port-90", policy, lost_link(DRBD, 90), gone)
        for number in (1, 2):
            dead = f"server{number}"
            add(f"{policy}-power-cut-{number}", policy, fencing.power_cut(number, 100), DEAD[policy], cuts=(dead,))
        add(f"{policy}-flapping", policy, fencing.flapping(CABLE, 5, 180), dataclasses.replace(
            gone, words="whatever comes of it, nothing is lost", losers=NOBODY + EITHER + BOTH, alone=None,
            offs=(0, 1, 2, 3), standstill=0.0), seconds=360)  # fmt: skip
    # O2CB decides by itself: the node without the lowest number resets itself; DRBD then loses it like a dead peer.
    for policy in POLICIES:
        add(f"{policy}-o2cb-port-120", policy, lost_link(O2CB, 120), Expect(
            "OCFS2's own quorum: server2 resets itself", losers=(("server2",), *BOTH), alone=None, offs=(0, 1)),
            seconds=300)  # fmt: skip
    add("server2-45-writing", "server2", lost_link(CABLE, 45), _host("server2")[45])
    for mode in (powerswitch.FAIL, powerswitch.HANG, powerswitch.LIE):
        add(f"power-agent-{mode}s", "power", lost_link(CABLE, 90), FROZEN, before=_modes(plugs=mode))
    add("power-agent-slow", "power", lost_link(CABLE, 90), dataclasses.replace(_SHOT, losers=EITHER + BOTH,
        alone=NOBODY + EITHER, offs=(0, 1)), before=_modes(plugs=powerswitch.SLOW))  # fmt: skip
    add("power-agent-fails-for-1", "power", lost_link(CABLE, 90), dataclasses.replace(
        _SHOT, words="server1 goes on: server2 cannot be told to", losers=(("server2",),), alone=(("server1",),)),
        before=_modes(plugs=powerswitch.FAIL, who=("server1",)))  # fmt: skip
    add("power-agent-fails-for-2", "power", lost_link(CABLE, 90), dataclasses.replace(
        _SHOT, words="server2 goes on: server1 cannot switch it off", losers=(("server1",),), alone=(("server2",),)),
        before=_modes(plugs=powerswitch.FAIL, who=("server2",)))  # fmt: skip
    for mode, words in ((witnesshost.REFUSE, "refused"), (witnesshost.HANG, "hanging")):
        add(f"witness-{words}", "witness", lost_link(CABLE, 90), FROZEN, before=_modes(witness=mode))
        for name, other in (("server1", "server2"), ("server2", "server1")):
            add(f"witness-{words}-for-{name[-1]}", "witness", lost_link(CABLE, 90), dataclasses.replace(
                _WON, words=f"{other} goes on", losers=((name,),), alone=((other,),)),
                before=_modes(witness=mode, who=(name,)))  # fmt: skip
    add("witness-dies-once", "witness", lost_link(CABLE, 90), _WON, before=_modes(witness=witnesshost.DIE_ONCE))
    add("witness-dies-for-1", "witness", lost_link(CABLE, 90), dataclasses.replace(
        _WON, words="server1 never hears that it has the lock: nobody goes on, or server2 was first",
        losers=(("server1",), *BOTH), alone=(*NOBODY, ("server2",))),
        before=_modes(witness=witnesshost.DIE, who=("server1",)))  # fmt: skip
    add("witness-dies", "witness", lost_link(CABLE, 90), FROZEN, before=_modes(witness=witnesshost.DIE))
    rows.append(Row("witness-race-50", "witness", lost_link(CABLE, 0), Expect("one winner in each round"), False,
                    seconds=300.0, race=50))  # fmt: skip
    return {row.name: row for row in rows}


ROWS = _rows()
# What is known after the first rows is worth the most.
FIRST = ("server1-45-writing", "none-12-idle", "power-ever-writing", "witness-45-writing", "power-power-cut-1",
         "power-power-cut-2", "witness-power-cut-1", "witness-power-cut-2")  # fmt: skip


def run_row(lab: Lab, row: Row) -> Result:
    """A row on a pair that is up."""
    fencing.set_policy(lab, row.policy)
    fencing.await_together(lab)
    row.before(lab)
    try:
        if row.race:
            return Result(*race(lab, row.race))
        seen = story(lab, row.fault, writing=row.writing, cuts=row.cuts)
    finally:
        lab.switch.modes.clear()
        lab.witness.modes.clear()
    return Result(seen.text(), row.expect.wrong(seen), seen.states)


def bring_up(lab: Lab, deb: Path) -> None:
    """From nodes that are off to both up, with fencing on."""
    snapshot.resume(lab)
    lab.both(lambda node: node.install(deb))
    fencing.prepare(lab)
    fencing.set_policy(lab, "none")
    fencing.start_both(lab)


class Pair:
    """A pair that is up, made anew after a row that went wrong."""

    def __init__(self, made: Image, deb: Path) -> None:
        self._image = made
        self._deb = deb
        self._lab: Lab | None = None

    def get(self) -> Lab:
        """The pair."""
        if self._lab is None:
            self._lab = lab = Lab(self._image, provisioned(self._image)).__enter__()
            bring_up(lab, self._deb)
        return self._lab

    def throw_away(self) -> None:
        """Nothing is left of it."""
        if self._lab is not None:
            self._lab.__exit__(None, None, None)
            self._lab = None


def _known(path: Path) -> set[str]:
    """The rows that were good already."""
    good: set[str] = set()
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            result = json.loads(line)
            (good.add if result["good"] else good.discard)(result["row"])
    return good


def _append(path: Path, row: Row, took: float, result: Result) -> None:
    path.parent.mkdir(exist_ok=True)
    entry = {
        "row": row.name,
        "good": not result.wrong,
        "expected": row.expect.words,
        "seen": result.text,
        "states": result.states,
        "wrong": result.wrong,
        "seconds": round(took),
        "at": time.strftime("%Y-%m-%d %H:%M"),
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def run(rows: list[Row], made: Image, deb: Path, path: Path) -> int:
    """How many rows went otherwise than expected."""
    pair = Pair(made, deb)
    bad = 0
    try:
        for number, row in enumerate(rows, 1):
            left = sum(each.seconds for each in rows[number - 1 :])
            say(f"{number} of {len(rows)}, about {left / 60:.0f} min left: {row.name}: {row.expect.words}")
            began = time.monotonic()
            try:
                result = run_row(pair.get(), row)
            except (AssertionError, OSError) as error:
                lines = str(error).splitlines() or [repr(error)]
                result = Result("", [lines[0], *lines[-2:]])
                pair.throw_away()
            _append(path, row, time.monotonic() - began, result)
            say(f"  {result.text}")
            for name, states in result.states.items():
                say(f"  {name}: {states}")
            for line in result.wrong:
                say(f"  WRONG: {line}")
            bad += bool(result.wrong)
    finally:
        pair.throw_away()
    return bad


def main() -> int:
    """Returns 0, 1 when a row went otherwise than expected, 2 for a name that is none, or 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab.matrix", description=__doc__)
    arguments.add(parser.add_argument)
    parser.add_argument("--deb", type=Path, help="the package to install (default: the newest in dist/)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are appended (%(default)s)")
    parser.add_argument("--list", action="store_true", help="show the rows only")
    parser.add_argument("rows", nargs="*", metavar="ROW")
    options = parser.parse_args()
    names = [name for pattern in options.rows for name in ROWS if fnmatch.fnmatch(name, pattern)]
    if options.rows and not names:
        print("matrix: no such row; --list shows them", file=sys.stderr)
        return 2
    if not names:
        good = _known(options.results)
        names = [name for name in (*FIRST, *(name for name in ROWS if name not in FIRST)) if name not in good]
    rows = [ROWS[name] for name in dict.fromkeys(names)]
    if options.list:
        for row in rows:
            print(f"{row.name:28} {row.expect.words}")
        return 0
    try:
        bad = run(rows, image(options.release, options.extra_modules, say), arguments.find_deb(options.deb),
                  options.results)  # fmt: skip
    except (LabError, OSError, RuntimeError, ValueError) as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("matrix: interrupted", file=sys.stderr)
        return 130
    say(f"{len(rows) - bad} of {len(rows)} rows as expected; nothing is left running")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
