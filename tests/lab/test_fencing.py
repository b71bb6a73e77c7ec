"""The link goes between two nodes that are up: a selection of the matrix (matrix.py), with O2CB's default limits.

Every story ends with both up again without a hand, and with every acknowledged record on both. A class is a pair.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import matrix
from .image import Image
from .lab import Lab, say
from .provision import provisioned

pytestmark = pytest.mark.lab


@pytest.fixture(scope="class")
def pair(image: Image, deb: Path) -> Iterator[Lab]:
    """Both up, fencing on."""
    with Lab(image, provisioned(image)) as lab:
        matrix.bring_up(lab, deb)
        yield lab


def run(pair: Lab, name: str) -> None:
    """A row of the matrix; it fails when anything is otherwise than expected there."""
    row = matrix.ROWS[name]
    say(f"{name}: {row.words}")
    result = row.run(pair)
    say(result.text)
    states = [f"{node}: {text}" for node, text in result.states.items()]
    assert not result.wrong, pair.report(
        "\n".join([f"{name}, {row.words}", *result.wrong, result.text, *states])
    )


class TestByHostAndByWitness:
    @pytest.mark.long
    def test_a_short_loss_costs_nobody_anything(self, pair: Lab) -> None:
        """Without fencing the same 12 s end in a split brain, and both write on."""
        run(pair, "none-12-idle")
        assert not any("Split-Brain" in node.run("dmesg") for node in pair.nodes)

    def test_the_named_host_goes_on_and_the_other_comes_back(self, pair: Lab) -> None:
        run(pair, "server1-45-writing")
        assert not any("Split-Brain" in node.run("dmesg") for node in pair.nodes)

    @pytest.mark.long
    def test_one_gets_the_lock_and_the_other_comes_back(self, pair: Lab) -> None:
        run(pair, "witness-45-writing")
        # Given back, once both are in step again.
        limit = time.monotonic() + 180
        while pair.witness.held() and time.monotonic() < limit:
            time.sleep(1)
        assert not pair.witness.held()


@pytest.mark.long
class TestByThePowerSwitch:
    def test_one_is_switched_off_and_on_and_the_other_goes_on(self, pair: Lab) -> None:
        run(pair, "power-ever-writing")
        offs = pair.switch.offs()
        assert len(offs) == 1, pair.switch.log
        # Verified: the one who had it switched off has asked for the status, and was told that it is off.
        asked = [each for each in pair.switch.log if each.at > offs[0].at and each.by == offs[0].by]
        assert any(each.action == "status" and each.answer == "off" for each in asked), pair.switch.log
        assert any(each.action == "on" and each.plug == offs[0].plug for each in asked), pair.switch.log

    def test_a_node_without_power_does_not_hold_up_the_other(self, pair: Lab) -> None:
        run(pair, "power-power-cut-1")

    def test_an_agent_that_lies_is_not_believed(self, pair: Lab) -> None:
        run(pair, "power-agent-lies")
