"""The times of a decision about a lost link, who is preferred, and what /proc/drbd says."""

from __future__ import annotations

import pytest

from drbdocfs_boot import fencing
from drbdocfs_boot.fencing import Times, plan
from drbdocfs_boot.stack import Stack


def created(threshold: int = 31, idle: float = 30.0) -> Times:
    """With what `drbdocfs create` writes."""
    return Times(threshold, idle, 3.0, 1.5, 2.5)


@pytest.mark.parametrize(
    ("survivor", "lowest", "times", "grace", "head", "fits", "cut", "total"),
    [
        # DRBD's own defaults: a loss is noticed after up to 20.5 s.
        ("none", True, Times(), 20.0, 0.0, True, False, 44.5),
        ("server1", True, Times(), 20.0, 0.0, True, False, 44.5),
        ("server2", False, Times(), 7.5, 0.0, True, True, 32.0),
        ("witness", False, Times(), 3.5, 0.0, True, True, 32.0),
        ("witness", True, Times(), 20.0, 0.0, True, False, 48.5),
        # The head start alone eats what the quorum leaves.
        ("power", True, Times(), 2.0, 0.0, True, True, 35.5),
        ("power", False, Times(), 2.0, 22.5, False, True, 58.0),
        # What create writes.
        ("server2", False, created(), 20.0, 0.0, True, False, 31.5),
        ("witness", False, created(), 16.5, 0.0, True, True, 32.0),
        ("power", True, created(), 2.0, 0.0, True, True, 22.5),
        ("power", False, created(), 2.0, 9.5, True, True, 32.0),
        # A longer idle timeout of O2CB leaves room for the whole grace, and then for the preferred one's agent to end.
        ("power", False, created(idle=48.0), 20.0, 9.5, True, False, 50.0),
        ("power", False, created(idle=52.0), 20.0, 13.5, True, False, 54.0),
        ("power", False, created(idle=60.0), 20.0, 17.5, True, False, 58.0),
        ("power", False, created(threshold=61, idle=90.0), 20.0, 17.5, True, False, 58.0),
        # O2CB's limits so low that nothing fits.
        ("server1", True, Times(threshold=7), 2.0, 0.0, False, True, 26.5),
    ],
)
def test_plan(
    survivor: str, lowest: bool, times: Times, grace: float, head: float, fits: bool, cut: bool, total: float
) -> None:
    found = plan(survivor, 20.0, times, lowest)
    assert (found.grace, found.head_start, found.fits, found.cut) == (grace, head, fits, cut)
    assert f" = {total:g} s, of {found.limit:g} s that O2CB leaves" in found.sum
    # A plan that fits ends before O2CB's limit, the margin and the longest detection included.
    if fits:
        assert times.detection + grace + head + found.decide + fencing.MARGIN <= found.limit


@pytest.mark.parametrize(("policy", "several"), [("power", False), ("witness", True)])
def test_both_nodes_reckon_with_the_same_grace_where_one_is_to_act_before_the_other(policy: str, several: bool) -> None:
    for idle in (5.0, 30.0, 45.0, 60.0, 120.0):
        for detection in (1.5, 7.5, 20.5):
            times = Times(idle=idle, ping_int=(detection - 0.5) / 2, timeout=1.0)
            assert times.detection == detection
            first, second = (plan(policy, 20.0, times, lowest, several) for lowest in (True, False))
            assert first.grace == second.grace
            # Noticed by the other as early, and by the preferred one as late as it can be: it has begun all the same.
            assert second.grace + second.head_start >= times.detection + first.grace + fencing.LEAST_LEAD


@pytest.mark.parametrize("wanted", [0.0, 0.5, 1.0])
def test_a_grace_that_is_wanted_short_is_not_made_longer(wanted: float) -> None:
    assert plan("server1", wanted, Times(threshold=7), True).grace == wanted


def test_one_of_several_locks_is_asked_for_in_turn_with_what_grace_is_left() -> None:
    assert plan("witness", 20.0, created(), True, several=True).sum == (
        "notice 7.5 s + grace 7 s + decision 5 s + margin 3 s = 22.5 s, of 58 s that O2CB leaves (heartbeat)"
    )
    assert plan("witness", 20.0, created(), False, several=True).sum == (
        "notice 7.5 s + grace 7 s + head start 9.5 s + decision 5 s + margin 3 s = 32 s,"
        " of 32 s that O2CB leaves (quorum)"
    )


def test_only_stacks_of_the_same_cluster_that_ask_a_witness_make_several() -> None:
    def stack(name: str, cluster: str = "web", survivor: str = "witness") -> Stack:
        return Stack(name, resource=name, device="/dev/drbd0", cluster=cluster, mountpoint="/mnt", survivor=survivor)

    one = stack("web")
    assert not fencing.several([one], one)
    assert not fencing.several([one, stack("db", survivor="server1"), stack("mail", cluster="mail")], one)
    assert fencing.several([one, stack("db")], one)
    assert not fencing.several([one, stack("db"), stack("x", survivor="power")], stack("x", survivor="power"))


def test_the_limit_is_named() -> None:
    assert plan("server1", 20.0, Times(), True).sum == (
        "notice 20.5 s + grace 20 s + decision 1 s + margin 3 s = 44.5 s, of 58 s that O2CB leaves (heartbeat)"
    )
    assert plan("power", 20.0, created(), False).sum == (
        "notice 7.5 s + grace 2 s + head start 9.5 s + decision 10 s + margin 3 s = 32 s,"
        " of 32 s that O2CB leaves (quorum)"
    )


def test_the_lowest_number_is_preferred() -> None:
    nodes = {"b": {"number": "3"}, "a": {"number": "10"}, "c": {"number": "x"}}
    assert fencing.preferred(nodes, "b")
    assert not fencing.preferred(nodes, "a")
    assert not fencing.preferred(nodes, "c")
    assert not fencing.preferred(nodes, "d")
    assert not fencing.preferred({}, "a")


PROC = """version: 8.4.11 (api:1/proto:86-101)
srcversion: F73C670A7EC572DB9CF3E5B
 0: cs:StandAlone ro:Primary/Unknown ds:UpToDate/DUnknown   s-----
    ns:9 nr:9 dw:18 dr:311 al:3 bm:0 lo:0 pe:1 ua:0 ap:1 ep:1 wo:f oos:0

 2: cs:Connected ro:Secondary/Primary ds:UpToDate/UpToDate C r-----
    ns:9 nr:9 dw:18 dr:311 al:3 bm:0 lo:0 pe:1 ua:0 ap:1 ep:1 wo:f oos:0
 3: cs:Unconfigured
"""


def test_proc_drbd() -> None:
    frozen = {"cs": "StandAlone", "role": "Primary", "disk": "UpToDate", "frozen": "yes"}
    there = {"cs": "Connected", "role": "Secondary", "disk": "UpToDate", "frozen": ""}
    assert fencing.proc_drbd(PROC, ["0"]) == [frozen]
    assert fencing.proc_drbd(PROC, ["2"]) == [there]
    assert fencing.proc_drbd(PROC, ["0", "2"]) == [frozen, there]
    assert fencing.proc_drbd(PROC, ["0", "1"]) == [], "one of two is not the resource"
    assert fencing.proc_drbd(PROC, []) == []
    assert fencing.proc_drbd("", ["0"]) == []
    assert fencing.proc_drbd(PROC, ["3"])[0]["cs"] in fencing.DISCONNECTED
