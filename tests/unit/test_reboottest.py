"""The plan and the results of a test of many reboots."""

from __future__ import annotations

import dataclasses
import json

import pytest

from drbdocfs_boot import reboottest
from drbdocfs_boot.reboottest import Boot, Cycle, Down, Finding, Layer, Run

BOOT = Boot("a", "reboot", "id", 10.0, 50.0, None, None, (Layer("loop", 1.0, 2.0, "active"),))
RUN = Run("web", ("a", "b"), "both", 1, 1.0, "0.1", {"a": {"drbd": "8.4.11"}}, (Cycle(1, 2.0, 3.0, (BOOT,)),), "done")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("one", [[("a", 0.0, "reboot")], [("a", 0.0, "reboot")]]),
        ("alternate", [[("a", 0.0, "reboot")], [("b", 0.0, "reboot")]]),
        ("both", [[("a", 0.0, "reboot"), ("b", 0.0, "reboot")]] * 2),
        ("staggered", [[("a", 0.0, "reboot"), ("b", 30.0, "reboot")]] * 2),
        ("power", [[("a", 0.0, "power")], [("b", 0.0, "power")]]),
        ("power-both", [[("a", 0.0, "power"), ("b", 0.0, "power")]] * 2),
    ],
)
def test_each_pattern_takes_down_what_it_says(pattern: str, expected: list[list[tuple[str, float, str]]]) -> None:
    assert reboottest.plan(pattern, ("a", "b"), 2) == [tuple(Down(*down) for down in cycle) for cycle in expected]
    assert set(reboottest.PATTERNS) >= {pattern}


def test_results_survive_the_way_through_json() -> None:
    assert reboottest.from_json(json.loads(json.dumps(reboottest.to_json(RUN)))) == RUN


def test_a_run_is_good_only_when_all_was_done_and_nothing_found() -> None:
    assert RUN.good
    assert not dataclasses.replace(RUN, planned=2).good
    assert not dataclasses.replace(RUN, ended="interrupted").good
    bad = dataclasses.replace(RUN.cycles[0], findings=(Finding("a", reboottest.DATA, "lost"),))
    assert not dataclasses.replace(RUN, cycles=(bad,)).good


def test_each_value_of_a_kind_that_is_not_ours_is_refused() -> None:
    finding = Finding("a", reboottest.DATA, "lost")
    cycle = dataclasses.replace(RUN.cycles[0], findings=(finding,))
    text = json.dumps(reboottest.to_json(dataclasses.replace(RUN, cycles=(cycle,), before=(finding,))))
    places = 0

    def plant(value: object) -> None:
        """An odd value in each place in turn, wherever it is."""
        nonlocal places
        for key, own in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            if key != "good":
                places += 1
                value[key] = 5 if isinstance(own, (str, list)) else "odd"  # type: ignore[index]
                with pytest.raises(ValueError, match="reboot test"):
                    reboottest.from_json(data)
                value[key] = own  # type: ignore[index]
            plant(own)

    data = json.loads(text)
    plant(data)
    assert places > 30
    assert json.dumps(reboottest.to_json(reboottest.from_json(data))) == text


@pytest.mark.parametrize("data", [{}, {"format": 2}, {"format": 1}, {"format": 1, "cycles": [{}]}])
def test_what_is_not_ours_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="reboot test"):
        reboottest.from_json(data)
