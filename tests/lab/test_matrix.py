"""Rows of the matrix (matrix.py) that tell the most and that no other test has.

All are long: `make test` has rows of the same matrix in test_fencing.py.

Every row ends with both up again without a hand, and with every acknowledged record on both.
"""

from __future__ import annotations

import pytest

from .lab import Lab
from .test_fencing import pair as pair
from .test_fencing import run

pytestmark = [pytest.mark.lab, pytest.mark.long]


class TestFaults:
    # Seen to lose a record before OCFS2 had barrier=1.
    def test_power_cut_of_both_while_both_write(self, pair: Lab) -> None:
        run(pair, "power-cut-both-writing")

    def test_power_cut_in_the_middle_of_the_promotion(self, pair: Lab) -> None:
        run(pair, "power-cut-at-boot-promote")

    def test_power_cut_in_the_middle_of_the_unmount(self, pair: Lab) -> None:
        run(pair, "power-cut-at-shutdown-unmount")
