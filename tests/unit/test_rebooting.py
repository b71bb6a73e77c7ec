"""A round on nodes that are played: they answer by a clock of their own, which only the waiting moves on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from drbdocfs_boot import rebootfacts, rebooting, reboottest
from drbdocfs_boot.reboottest import Cycle, Down, Finding
from drbdocfs_boot.tools.run import Result
from tests.unit import test_rebootfacts

GONE = Result(255, "", "ssh: connect to host: No route to host")


class Done:
    """A command that has ended."""

    def __init__(self, result: Result) -> None:
        self.result = result

    def done(self) -> Result | None:
        return self.result

    def wait(self) -> Result:
        return self.result

    def end(self) -> None:
        pass


class Node:
    """Goes down `falls` seconds after the order, answers `answers`, and has its stack up `rises` seconds after it."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.boot = 1
        self.ordered: float | None = None
        self.falls, self.answers, self.rises = 5.0, 30.0, 50.0
        self.power = True
        self.facts = ""
        self.claim = rebootfacts.OURS
        self.names_boots = False  # its boots have ids as the kernel's
        self.leads: Callable[[], str] = lambda: name  # whom ssh reaches by its name: another host that answers at once

    def call(self, command: str, limit: float) -> Done:
        now = self.world.now
        since = None if self.ordered is None else now - self.ordered
        host = self.leads()
        boot = f"{host}-{self.boot + (since is not None and since >= self.answers) if host == self.name else 1}"
        boot = self.boot_id(boot) if self.names_boots else boot
        if host == self.name and (not self.power or (since is not None and self.falls <= since < self.answers)):
            return Done(GONE)
        if "--no-block reboot" in command:
            if command != rebootfacts.order(boot):
                return Done(Result(rebootfacts.OTHER, f"{host}\n", ""))
            self.ordered = now
            return Done(Result(0, "", ""))
        if "say boot" in command:
            return Done(Result(0, self.facts.replace("BOOT", boot).replace("NAME", host), ""))
        up = since is None or since < self.falls or since >= self.rises
        return Done(Result(0, f"{boot}\n{host}\n{'active' if up else 'inactive'}\nrunning\n{self.claim}\n", ""))


    @staticmethod
    def boot_id(name: str) -> str:
        return name.encode().hex().ljust(32, "0")


class World:
    """Two nodes, a switch, a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[str] = []
        self.switched: list[str] = []
        self.power_result: Callable[[str], Result] = lambda what: Result(0, "", "")
        self.nodes = {name: Node(self, name) for name in ("a", "b")}
        for node in self.nodes.values():
            node.facts = facts()
        self.data: list[str] = []

    def power(self, what: str, name: str) -> Done:
        self.switched.append(f"{what} {name}")
        result = self.power_result(what)
        node = self.nodes[name]
        if result.code == 0:
            node.power = what == "on"
            node.ordered = self.now - node.falls
        return Done(result)

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1.0)

    def start(self, node: str) -> list[Finding]:
        self.data.append(f"start {node}")
        return []

    def stop(self, node: str) -> None:
        self.data.append(f"stop {node}")

    def verify(self, nodes: Sequence[str]) -> tuple[list[Finding], int]:
        self.data.append(f"verify {','.join(nodes)}")
        return [], 7

    def round(self, *downs: Down, known: dict[str, str] | None = None) -> rebooting.Round:
        setting = rebooting.Setting(
            stack="web",
            nodes=self.nodes,
            limits=rebooting.Limits(shutdown=20.0, boot=60.0, power=5.0),
            power=self.power,
            data=self,
            clock=lambda: self.now,
            sleep=self.sleep,
            tell=self.told.append,
            show=lambda text: None,
        )
        return rebooting.Round(setting, 1, downs, 1000.0, known)

    def run(self, *downs: Down) -> Cycle:
        return self.round(*downs).run()


def facts(failed: str = "") -> str:
    """What a node in good order says, whoever asks."""
    parts = {
        "boot": "BOOT", "name": "NAME", "system": "running", "failed": failed, "follow": "active", "journal": "",
        "heard": "[ 1.0] systemd[1]: a", "cycles": "",
        "status": json.dumps({"stacks": [test_rebootfacts.stack()]}), "timeline": "{}",
        "shutdown": "\n".join(test_rebootfacts.shutdown_lines()),
    }  # fmt: skip
    mark = rebootfacts.MARK
    return "".join(f"{mark}{name}\n{text}\n" for name, text in parts.items()) + f"{mark}end\n"


def kinds(cycle: Cycle) -> list[tuple[str, str]]:
    return [(finding.node, finding.kind) for finding in cycle.findings]


def test_a_reboot_in_good_order_has_all_its_times() -> None:
    world = World()
    cycle = world.run(Down("a", 0.0, "reboot"))
    assert cycle.findings == ()
    (boot,) = cycle.boots
    assert (boot.node, boot.how, boot.boot_id) == ("a", "reboot", "a-2")
    assert boot.down is not None
    assert boot.answered is not None
    assert boot.up is not None
    assert 5 <= boot.down < 10 < 30 <= boot.answered < 35 < 50 <= boot.up < 55
    assert (cycle.began, cycle.acknowledged) == (1000.0, 7)
    assert world.data == ["stop a", "start a", "verify a,b"]


def test_one_question_that_was_not_answered_is_asked_again() -> None:
    world = World()
    node = world.nodes["b"]
    answers = iter([GONE, GONE])
    real = node.call
    node.call = lambda command, limit: Done(next(answers, real(command, limit).result))  # type: ignore[method-assign]
    assert world.run(Down("a", 0.0, "reboot")).findings == ()


def test_both_are_ordered_in_their_time() -> None:
    world = World()
    cycle = world.run(Down("a", 0.0, "reboot"), Down("b", 12.0, "reboot"))
    assert cycle.findings == ()
    assert world.nodes["a"].ordered is not None
    assert world.nodes["b"].ordered is not None
    assert 12 <= world.nodes["b"].ordered - world.nodes["a"].ordered < 15


def test_a_node_that_does_not_go_down_is_found_at_its_limit() -> None:
    world = World()
    world.nodes["a"].falls = world.nodes["a"].answers = 1e9
    assert kinds(world.run(Down("a", 0.0, "reboot"))) == [("a", reboottest.NO_REBOOT)]
    assert world.now < 60


def test_a_node_that_never_answers_again_is_found_at_its_limit() -> None:
    world = World()
    world.nodes["a"].answers = 1e9
    cycle = world.run(Down("a", 0.0, "reboot"))
    assert ("a", reboottest.UNREACHABLE) in kinds(cycle)
    assert world.now < 120
    assert cycle.boots[0].answered is None


def test_a_stack_that_does_not_come_up_is_found_at_its_limit() -> None:
    world = World()
    world.nodes["a"].rises = 1e9
    assert kinds(world.run(Down("a", 0.0, "reboot"))) == [("a", reboottest.TIME_LIMIT)]
    assert world.now < 120


def test_a_failed_unit_after_the_boot_is_found() -> None:
    world = World()
    world.nodes["a"].facts = facts("ill.service")
    assert kinds(world.run(Down("a", 0.0, "reboot"))) == [("a", reboottest.FAILED_UNIT)]


def test_a_node_that_went_down_by_itself_is_found() -> None:
    world = World()
    world.nodes["b"].facts = facts().replace("BOOT", "another")
    assert kinds(world.run(Down("a", 0.0, "reboot"))) == [("b", reboottest.RESET)]


@pytest.mark.parametrize("how", ["reboot", "power"])
def test_a_boot_that_was_repeated_before_it_answered_is_found(how: str) -> None:
    world = World()
    node = world.nodes["a"]
    node.names_boots = True
    before, failed, now = node.boot_id("a-1"), "f" * 32, node.boot_id("a-2")
    listed = (before, failed, now), (before, now), (failed, now), ()
    found = []
    for boots in listed:
        node.ordered, node.boot, node.power = None, 1, True
        lines = "".join(f" {number - 2} {boot} Tue 2026\n" for number, boot in enumerate(boots))
        node.facts = facts().replace(f"{rebootfacts.MARK}end", f"{rebootfacts.MARK}boots\n{lines}{rebootfacts.MARK}end")
        cycle = world.run(Down("a", 0.0, how))
        found.append(kinds(cycle))
    assert found == [[("a", reboottest.RESET)], [], [], []]


def test_a_node_that_went_down_between_two_cycles_is_found_in_the_second() -> None:
    world = World()
    first = world.round(Down("a", 0.0, "reboot"))
    assert first.run().good
    assert first.boots == {"a": "a-2", "b": "b-1"}
    world.nodes["a"].ordered = None
    world.nodes["a"].boot = 2
    assert world.round(Down("a", 0.0, "reboot"), known=first.boots).run().good
    world.nodes["b"].boot = 2
    world.nodes["a"].ordered = None
    cycle = world.round(Down("a", 0.0, "reboot"), known=first.boots).run()
    assert kinds(cycle) == [("b", reboottest.RESET)]
    assert "after the cycle before" in cycle.findings[0].text
    assert cycle.boots[0].up is not None


def test_a_node_that_goes_down_late_after_an_order_has_not_rebooted_without_one() -> None:
    world = World()
    world.nodes["a"].falls = world.nodes["a"].answers = 1e9
    first = world.round(Down("a", 0.0, "reboot"))
    assert kinds(first.run()) == [("a", reboottest.NO_REBOOT)]
    assert first.boots == {"b": "b-1"}


def test_nobody_is_rebooted_while_one_does_not_answer() -> None:
    world = World()
    world.nodes["b"].power = False
    assert kinds(world.run(Down("a", 0.0, "reboot"))) == [("b", reboottest.UNREACHABLE)]
    assert world.nodes["a"].ordered is None


def test_another_host_that_ssh_leads_to_by_now_is_not_rebooted() -> None:
    world = World()
    world.nodes["a"].leads = lambda: "c" if world.now >= 12 else "a"
    cycle = world.run(Down("a", 15.0, "reboot"))
    assert world.nodes["a"].ordered is None
    assert kinds(cycle) == [("a", reboottest.NO_REBOOT), ("a", reboottest.UNREACHABLE)]
    assert all("calls itself c" in finding.text for finding in cycle.findings)
    assert world.data == ["verify b"]


def test_a_node_that_is_in_another_boot_by_now_is_not_rebooted_once_more() -> None:
    world = World()
    real = world.sleep

    def sleep(seconds: float) -> None:
        real(seconds)
        world.nodes["a"].boot = 2

    world.sleep = sleep  # type: ignore[method-assign]
    cycle = world.run(Down("a", 15.0, "reboot"))
    assert kinds(cycle) == [("a", reboottest.NO_REBOOT)]
    assert "in another boot" in cycle.findings[0].text


def test_nobody_is_rebooted_where_another_host_answers_for_one() -> None:
    world = World()
    world.nodes["b"].leads = lambda: "c"
    cycle = world.run(Down("a", 0.0, "reboot"))
    assert kinds(cycle) == [("b", reboottest.UNREACHABLE)]
    assert "calls itself c" in cycle.findings[0].text
    assert world.nodes["a"].ordered is None


@pytest.mark.parametrize("how", ["reboot", "power"])
def test_another_host_that_answers_for_a_node_that_is_down_is_not_the_node(how: str) -> None:
    world = World()
    world.nodes["a"].leads = lambda: "c" if world.now >= 10 else "a"
    cycle = world.run(Down("a", 0.0, how))
    assert kinds(cycle)[0] == ("a", reboottest.UNREACHABLE)
    assert "calls itself c" in cycle.findings[0].text
    assert cycle.boots[0].answered is None
    assert sum("calls itself c" in line for line in world.told) == 2
    assert "start a" not in world.data


def test_two_nodes_that_answer_in_one_boot_end_the_run() -> None:
    world = World()
    one = world.round(Down("a", 0.0, "reboot"))
    world.nodes["a"].leads = lambda: "b"
    cycle = one.run()
    assert one.last
    assert world.nodes["a"].ordered is None
    assert ("", reboottest.UNREACHABLE) in kinds(cycle)
    world = World()
    one = world.round(Down("a", 0.0, "reboot"))
    world.nodes["a"].leads = lambda: "b" if world.nodes["a"].ordered is not None and world.now > 10 else "a"
    world.nodes["a"].answers = 1e9
    assert ("", reboottest.UNREACHABLE) in kinds(one.run())
    assert one.last


THEIRS = f"{rebootfacts.THEIRS} root on third, since noon"


def test_nobody_is_rebooted_where_another_run_has_a_node() -> None:
    world = World()
    world.nodes["b"].claim = THEIRS
    one = world.round(Down("a", 0.0, "reboot"))
    cycle = one.run()
    assert [(finding.node, finding.kind, finding.text) for finding in cycle.findings] == [
        ("b", reboottest.CLAIMED, "another run of this test has it: root on third, since noon")
    ]
    assert one.last
    assert world.nodes["a"].ordered is None


def test_a_node_that_another_run_has_taken_after_its_boot_ends_the_run() -> None:
    world = World()
    real = world.sleep

    def sleep(seconds: float) -> None:
        real(seconds)
        world.nodes["a"].claim = THEIRS if world.now > 20 else rebootfacts.OURS

    world.sleep = sleep  # type: ignore[method-assign]
    one = world.round(Down("a", 0.0, "reboot"))
    assert kinds(one.run()) == [("a", reboottest.CLAIMED)]
    assert one.last
    assert "start a" not in world.data


def test_the_power_is_cut_and_given_again() -> None:
    world = World()
    cycle = world.run(Down("a", 0.0, "power"))
    assert cycle.findings == ()
    assert world.switched == ["off a", "on a"]
    assert cycle.boots[0].down is not None


def test_after_a_power_cut_nobody_asks_for_a_clean_shutdown() -> None:
    world = World()
    for node in world.nodes.values():
        node.facts = facts().replace("==drbdocfs-reboot-test shutdown", "==drbdocfs-reboot-test nothing")
    assert kinds(world.run(Down("a", 0.0, "power"))) == []


def test_a_power_command_that_fails_is_found_and_the_power_ordered_on_all_the_same() -> None:
    world = World()
    world.power_result = lambda what: Result(1 if what == "off" else 0, "", "no such plug")
    cycle = world.run(Down("a", 0.0, "power"))
    assert kinds(cycle)[0] == ("a", reboottest.POWER_COMMAND)
    assert "no such plug" in cycle.findings[0].text
    assert world.switched == ["off a", "on a"]


def test_power_on_is_tried_until_the_switch_is_back() -> None:
    world = World()
    world.power_result = lambda what: Result(1 if what == "on" and world.now < 18 else 0, "", "busy")
    assert world.run(Down("a", 0.0, "power")).findings == ()
    assert world.nodes["a"].power
    assert 3 <= world.switched.count("on a") <= 5
    assert sum("has failed" in line for line in world.told) == 1


def test_a_power_on_that_never_succeeds_is_found_at_its_limit_and_says_what_it_means() -> None:
    world = World()
    world.power_result = lambda what: Result(1 if what == "on" else 0, "", "busy")
    cycle = world.run(Down("a", 0.0, "power"))
    assert kinds(cycle)[0] == ("a", reboottest.POWER_COMMAND)
    assert "busy" in cycle.findings[0].text
    assert "may be without power" in cycle.findings[0].text
    assert 15 <= world.switched.count("on a") <= 30
    assert rebooting.ON_LIMIT < world.now < rebooting.ON_LIMIT + 30


def test_power_is_ordered_on_once_more_for_a_node_that_never_answers() -> None:
    world = World()
    world.nodes["a"].answers = 1e9
    cycle = world.run(Down("a", 0.0, "power"))
    assert ("a", reboottest.UNREACHABLE) in kinds(cycle)
    assert world.switched == ["off a", "on a", "on a"]
    assert any("may be without power" in line for line in world.told)


def test_power_is_ordered_on_once_more_for_a_node_that_goes_dark_after_it_has_answered() -> None:
    world = World()
    node = world.nodes["a"]
    node.rises = 1e9
    switched = world.power

    def late(what: str, name: str) -> Done:
        """Power off is killed at its limit, and comes about half a minute later."""
        if what == "off":
            world.switched.append("off a")
            return Done(Result(-1, "", "not done after 5 s"))
        if world.now < 30:
            world.switched.append("on a")
            node.ordered = world.now - 30
            return Done(Result(0, "", ""))
        return switched(what, name)

    before = world.sleep

    def sleep(seconds: float) -> None:
        before(seconds)
        if 30 <= world.now < 40:
            node.power = False

    world.power = late  # type: ignore[method-assign]
    world.sleep = sleep  # type: ignore[method-assign]
    cycle = world.run(Down("a", 0.0, "power"))
    assert kinds(cycle)[:2] == [("a", reboottest.POWER_COMMAND), ("a", reboottest.TIME_LIMIT)]
    assert world.switched == ["off a", "on a", "on a"]
    assert node.power


def test_a_node_after_a_reboot_is_not_switched() -> None:
    world = World()
    world.nodes["a"].answers = 1e9
    world.run(Down("a", 0.0, "reboot"))
    assert world.switched == []


def test_a_switch_that_does_nothing_is_found() -> None:
    world = World()

    def nothing(what: str, name: str) -> Done:
        world.switched.append(what)
        return Done(Result(0, "", ""))

    world.power = nothing  # type: ignore[method-assign]
    cycle = world.run(Down("a", 0.0, "power"))
    assert kinds(cycle) == [("a", reboottest.POWER_COMMAND)]
    assert "still answers" in cycle.findings[0].text
    assert world.switched == ["off", "on"]


def test_an_interruption_leaves_no_node_without_power() -> None:
    world = World()
    one = world.round(Down("a", 0.0, "power"))
    node = world.nodes["a"]
    before = world.sleep

    def interrupted(seconds: float) -> None:
        before(seconds)
        if not node.power:
            raise KeyboardInterrupt

    one._given.sleep = interrupted
    try:
        one.run()
    except KeyboardInterrupt:
        pass
    assert not node.power
    assert one.rescue() == []
    assert node.power


def test_an_interruption_ends_a_question_under_way_as_it_would_claim_the_node_again() -> None:
    world = World()
    one = world.round(Down("a", 0.0, "reboot"))
    ended = []

    class Hangs(Done):
        def done(self) -> None:
            if world.now > 10:
                raise KeyboardInterrupt

        def end(self) -> None:
            ended.append("a")

    node = world.nodes["a"]
    real = node.call
    hangs = Hangs(GONE)
    node.call = lambda command, limit: hangs if world.now > 8 else real(command, limit)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        one.run()
    assert one.rescue() == []
    assert ended == ["a"]


def interrupted_in(one: rebooting.Round, what: str) -> None:
    """Ctrl-C while a command of the switch begins."""
    switch = one._given.power

    def power(order: str, name: str) -> rebooting.Running:
        running = switch(order, name)
        if order == what:
            one._given.power = switch
            raise KeyboardInterrupt
        return running

    one._given.power = power
    with pytest.raises(KeyboardInterrupt):
        one.run()


@pytest.mark.parametrize("what", ["off", "on"])
def test_an_interruption_while_a_power_command_begins_leaves_no_node_without_power(what: str) -> None:
    world = World()
    one = world.round(Down("a", 0.0, "power"))
    interrupted_in(one, what)
    doubtful = ["a"] if what == "off" else []  # how that ended nobody knows
    assert one.rescue() == doubtful
    assert world.switched[-1] == "on a"
    assert world.nodes["a"].power


def test_the_rescue_tries_again_until_the_switch_is_back() -> None:
    world = World()
    one = world.round(Down("a", 0.0, "power"))
    interrupted_in(one, "on")
    world.nodes["a"].power = False
    until = world.now + 8
    world.power_result = lambda what: Result(0 if world.now >= until else 1, "", "busy")
    assert one.rescue() == []
    assert world.nodes["a"].power


def test_the_rescue_names_the_node_that_may_be_without_power_and_has_an_end() -> None:
    world = World()
    one = world.round(Down("a", 0.0, "power"))
    interrupted_in(one, "on")
    began = world.now
    world.power_result = lambda what: Result(1, "", "busy")
    assert one.rescue() == ["a"]
    assert rebooting.ON_LIMIT <= world.now - began < rebooting.ON_LIMIT + 20


def test_the_rescue_of_one_node_fails_and_the_other_one_has_its_power() -> None:
    world = World()
    one = world.round(Down("a", 0.0, "power"), Down("b", 0.0, "power"))
    interrupted_in(one, "on")
    world.nodes["a"].power = world.nodes["b"].power = False
    switch = one._given.power

    def power(what: str, name: str) -> rebooting.Running:
        if name == "a":
            raise OSError("no more processes")
        return switch(what, name)

    one._given.power = power
    assert one.rescue() == ["a"]
    assert world.nodes["b"].power


def test_at_the_end_of_a_run_power_is_ordered_on_for_those_that_do_not_answer() -> None:
    world = World()
    world.nodes["b"].power = False
    world.nodes["a"].leads = lambda: "c"
    assert rebooting.unanswered(world.round()._given, ["a", "b"]) == ["a", "b"]
    assert world.switched == ["on a", "on b"]
