"""What becomes of a pair whose link goes, for each policy: stories, with what has to come of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import fencing, powerswitch, witnesshost
from .fencing import CABLE, DRBD, FOR_EVER, O2CB, ONE_END, SILENT, Expect, Fault, lost_link, story
from .lab import Lab
from .race import race
from .row import Result, Row

GROUP = "the link lost, by policy"

NOBODY: tuple[tuple[str, ...], ...] = ((),)
EITHER = (("server1",), ("server2",))
BOTH = (("server1", "server2"),)
# A survivor's write that O2CB holds back until it has found the other node dead: 62 s after the thaw, and a moment.
STANDSTILL = 110.0


def _nothing(_lab: Lab) -> None:
    pass


@dataclass(frozen=True)
class Story:
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


def _modes(plugs: str = "", witness: str = "", who: tuple[str, ...] = ("server1", "server2")) -> Callable[[Lab], None]:
    """Power switch and witness out of order."""

    def before(lab: Lab) -> None:
        if plugs:
            lab.switch.modes.update({node.name: plugs for node in lab.nodes if node.name in who})
        if witness:
            lab.witness.modes.update({node.name: witness for node in lab.nodes if node.name in who})

    return before


def _switched_on(fault: Fault) -> Fault:
    """The fault, and then somebody who comes and switches on what is off."""

    def then(lab: Lab, watch: fencing.Watch) -> list[tuple[float, float]]:
        windows = fault(lab, watch)
        for node in lab.nodes:
            if not node.running:
                node.start()
        return windows

    return then


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
    # The decision falls between 25 and 33 s after the loss.
    either = dataclasses.replace(
        gone, words=f"back in time, or {host} goes on", losers=((), *gone.losers), alone=((), (host,))
    )
    return {3: BACK, 12: BACK, 30: either, 45: gone, 90: gone, FOR_EVER: gone}


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
_LATE = dataclasses.replace(_WON, words="back in time, or one has the lock", losers=((), *EITHER), alone=((), *EITHER))
_WITNESS = {3: BACK, 12: BACK, 30: _LATE, 45: _WON, 90: _WON, FOR_EVER: _WON}
POLICIES = {"none": _NONE, "server1": _host("server1"), "power": _POWER, "witness": _WITNESS}

FROZEN = Expect("nobody is believed to be off: both frozen, both reset, both up again with the link", losers=BOTH)
DEAD = {
    "none": Expect("the survivor waits frozen for the peer or is reset, and both come up", losers=NOBODY + EITHER),
    "server1": Expect("server1 goes on, server2 does not", losers=NOBODY + EITHER, alone=((), ("server1",))),
    "power": Expect("the survivor goes on", losers=NOBODY, alone=EITHER, offs=(0, 1), standstill=STANDSTILL),
    "witness": Expect("the survivor goes on", losers=NOBODY, alone=EITHER, standstill=STANDSTILL),
}


def _stories() -> list[Story]:
    stories: list[Story] = []

    def add(name: str, policy: str, fault: Fault, expect: Expect, writing: bool = True, seconds: float = 200.0,
            before: Callable[[Lab], None] = _nothing, cuts: tuple[str, ...] = ()) -> None:  # fmt: skip
        stories.append(Story(name, policy, fault, expect, writing, before, cuts, seconds))

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
        # Both heartbeats stand still, and the nodes can tell each other so: then neither is reset.
        add(f"{policy}-drbd-port-90", policy, lost_link(DRBD, 90), gone if policy != "none" else dataclasses.replace(
            BACK, words="both frozen and not reset, for O2CB's connection holds; both go on with the link"))
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
    add("power-agent-slow", "power", _switched_on(lost_link(CABLE, 90)), dataclasses.replace(
        _SHOT, words="one is switched off, or each switches the other off, and somebody switches both on",
        losers=EITHER + BOTH, alone=NOBODY + EITHER, offs=(0, 1, 2)), before=_modes(plugs=powerswitch.SLOW),
        seconds=260)  # fmt: skip
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
    # Who has the lock asks once more, for which server2 has no time under emulation.
    add("witness-dies-once", "witness", lost_link(CABLE, 90), dataclasses.replace(
        _WON, words="who has the lock asks again and goes on, or has no time left for it and nobody does",
        losers=EITHER + BOTH, alone=EITHER + NOBODY), before=_modes(witness=witnesshost.DIE_ONCE))
    add("witness-dies-for-1", "witness", lost_link(CABLE, 90), dataclasses.replace(
        _WON, words="server1 never hears that it has the lock: nobody goes on, or server2 was first",
        losers=(("server1",), *BOTH), alone=(*NOBODY, ("server2",))),
        before=_modes(witness=witnesshost.DIE, who=("server1",)))  # fmt: skip
    add("witness-dies", "witness", lost_link(CABLE, 90), FROZEN, before=_modes(witness=witnesshost.DIE))
    stories.append(Story("witness-race-50", "witness", lost_link(CABLE, 0), Expect("one winner in each round"), False,
                    seconds=300.0, race=50))  # fmt: skip
    return stories


def run_story(told: Story, lab: Lab) -> Result:
    """A story on a pair that is up."""
    fencing.set_policy(lab, told.policy)
    fencing.await_together(lab)
    told.before(lab)
    try:
        if told.race:
            return Result(*race(lab, told.race))
        seen = story(lab, told.fault, writing=told.writing, cuts=told.cuts)
    finally:
        lab.switch.modes.clear()
        lab.witness.modes.clear()
    return Result(seen.text(), told.expect.wrong(seen), seen.states)


ROWS = {
    told.name: Row(told.name, GROUP, told.expect.words, partial(run_story, told), told.seconds) for told in _stories()
}
# What is known after the first rows is worth the most.
FIRST = ("server1-45-writing", "none-12-idle", "power-ever-writing", "witness-45-writing", "power-power-cut-1",
         "power-power-cut-2", "witness-power-cut-1", "witness-power-cut-2")  # fmt: skip
