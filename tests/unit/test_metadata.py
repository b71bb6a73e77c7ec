"""What DRBD's metadata proves, on what both drivers really said: one row for each transcript of get-gi.

The numbers 01 to 13 are situations on two nodes with DRBD 8.4.11 and with 9.3.3, 20 and later with 8.4.11 alone;
docs/waiting.md says how each was made.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drbdocfs_boot.metadata import FLAGS_9, FLAGS_84, Slot, parse, proof

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
BOTH = ("drbd-8.4", "drbd-9.3")
OLD = ("drbd-8.4",)

YES = "was Primary without its peer last"
NO = "does not show that this node ran on without its peer (bitmap UUID 0)"
INCONSISTENT = "marks the local data as inconsistent"
OUTDATED = "marks the local data as outdated"

# (transcript, drivers, what the reason says); proved where it is YES.
TABLE = [
    # Both have everything: nothing to prove.
    ("01-before-attach-after-clean-leave.server1", BOTH, NO),
    ("01-before-attach-after-clean-leave.server2", BOTH, NO),
    ("02-alone.server1", BOTH, NO),
    ("02-connected-secondary.server1", BOTH, NO),
    ("02-connected-secondary.server2", BOTH, NO),
    ("03-both-primary.server1", BOTH, NO),
    ("03-both-primary.server2", BOTH, NO),
    ("08-both-clean-stop.server1", BOTH, NO),
    ("08-both-clean-stop.server2", BOTH, NO),
    ("20-both-attached-connected-secondary.server1", OLD, NO),
    ("20-both-attached-connected-secondary.server2", OLD, NO),
    ("21-both-mounted.server1", OLD, NO),
    ("21-both-mounted.server2", OLD, NO),
    ("23-resync-ended.server1", OLD, NO),
    ("23-resync-ended.server2", OLD, NO),
    ("24-both-mounted-again.server1", OLD, NO),
    ("24-both-mounted-again.server2", OLD, NO),
    ("29-resync-ended-both-secondary.server1", OLD, NO),
    ("29-resync-ended-both-secondary.server2", OLD, NO),
    ("30-both-stopped-clean.server1", OLD, NO),
    ("30-both-stopped-clean.server2", OLD, NO),
    ("30-both-stopped-attached-alone.server1", OLD, NO),
    ("32-primary-alone-no-write-reconnected.server1", OLD, NO),
    ("32-primary-alone-no-write-reconnected.server2", OLD, NO),
    ("37-after-interrupted-resync-ended.server1", OLD, NO),
    ("37-after-interrupted-resync-ended.server2", OLD, NO),
    ("41-split-brain-resolved.server1", OLD, NO),
    ("41-split-brain-resolved.server2", OLD, NO),
    # Left first, in good order or by a crash: the other one may have gone on.
    ("04-cable-out.server2", BOTH, NO),
    ("05-after-clean-leave-of-secondary.server2", OLD, NO),
    ("05-after-clean-leave-of-secondary.server2", ("drbd-9.3",), OUTDATED),
    ("06-crashed-before-attach.server2", BOTH, NO),
    ("06-crashed-alone.server2", BOTH, NO),
    ("07-left-first-clean.server2", BOTH, NO),
    ("22-secondary-left-first-before.server2", OLD, NO),
    ("22-secondary-left-first-attached-alone.server2", OLD, NO),
    ("25-crashed-before-attach.server2", OLD, NO),
    ("25-crashed-attached-alone.server2", OLD, NO),
    ("26-crashed-attached-again-alone.server2", OLD, NO),
    # Went on without the other one.
    ("04-cable-out.server1", BOTH, YES),
    ("05-peer-left.server1", BOTH, YES),
    ("06-survivor.server1", BOTH, YES),
    ("07-ran-alone-clean-stop.server1", BOTH, YES),
    ("22-secondary-left-first-other-wrote-on.server1", OLD, YES),
    ("25-survivor-at-peer-crash.server1", OLD, YES),
    ("25-survivor-wrote-on.server1", OLD, YES),
    ("27-ran-alone-secondary-again.server1", OLD, YES),
    ("27-ran-alone-clean-stop.server1", OLD, YES),
    ("27-ran-alone-attached-again.server1", OLD, YES),
    ("28-alone-mounted.server1", OLD, YES),
    ("28-power-cut-while-alone.server1", OLD, YES),
    ("28-power-cut-while-alone-attached.server1", OLD, YES),
    # Promoted alone and nothing written: DRBD begins a new generation at the promotion.
    ("31-primary-alone-no-write.server1", OLD, YES),
    ("31-primary-alone-no-write-secondary.server1", OLD, YES),
    ("31-primary-alone-no-write-stopped.server1", OLD, YES),
    # A resync that broke off: the source has what the target has not, and the target is Inconsistent.
    ("33-mid-resync.server1", OLD, YES),
    ("33-mid-resync.server2", OLD, INCONSISTENT),
    ("34-target-cut-mid-resync-source.server1", OLD, YES),
    ("34-target-cut-mid-resync-target.server2", OLD, INCONSISTENT),
    ("34-target-cut-mid-resync-target-attached.server2", OLD, INCONSISTENT),
    ("35-mid-resync-again.server1", OLD, YES),
    ("35-mid-resync-again.server2", OLD, INCONSISTENT),
    ("36-source-cut-mid-resync-source.server1", OLD, YES),
    ("36-source-cut-mid-resync-source-attached.server1", OLD, YES),
    ("36-source-cut-mid-resync-target.server2", OLD, INCONSISTENT),
    ("36-source-cut-mid-resync-target-stopped.server2", OLD, INCONSISTENT),
    ("36-source-cut-mid-resync-target-attached-again.server2", OLD, INCONSISTENT),
    # Both went on: each proves its own half and neither can know of the other's.
    ("09-diverged.server1", BOTH, YES),
    ("09-diverged.server2", BOTH, YES),
    ("09-split-brain.server1", BOTH, YES),
    ("09-split-brain.server2", BOTH, YES),
    ("38-link-out-both-mounted.server1", OLD, YES),
    ("38-link-out-both-mounted.server2", OLD, YES),
    ("39-split-brain-found.server1", OLD, YES),
    ("39-split-brain-found.server2", OLD, YES),
    ("40-split-brain-victim-secondary.server2", OLD, YES),
]
ROWS = [(driver, name, reason) for name, drivers, reason in TABLE for driver in drivers]


def slots(driver: str, name: str) -> list[Slot]:
    """The slot of the peer, as get-gi gives it.

    The texts of situations before the attach are drbdmeta's, on 9 for both node ids; the node's own slot, which it
    never uses, has not "device-seen".
    """
    found = parse((TRANSCRIPTS / driver / f"{name}.gi").read_text())
    assert found, name
    if driver == "drbd-9.3":
        found = [slot for slot in found if "device-seen" in slot.flags]
    return found


@pytest.mark.parametrize(("driver", "name", "reason"), ROWS)
def test_what_each_situation_proves(driver: str, name: str, reason: str) -> None:
    result = proof(slots(driver, name))
    assert reason in result.reason
    assert result.proved is (reason == YES)


def test_the_table_has_every_transcript() -> None:
    files = {(file.parent.name, file.name[: -len(".gi")]) for file in TRANSCRIPTS.glob("drbd-*/*.gi")}
    assert files == {(driver, name) for driver, name, _ in ROWS}
    assert len(files) == len(ROWS)


def test_of_two_nodes_that_agree_on_their_past_at_most_one_has_a_proof() -> None:
    # The other way round is a split brain, which no metadata of one node can show.
    proved = {(driver, name): reason == YES for driver, name, reason in ROWS}
    diverged = ("09-", "38-", "39-", "40-")
    for (driver, name), here in proved.items():
        there = proved.get((driver, name.replace("server1", "server2")))
        if name.endswith("server1") and there is not None and not name.startswith(diverged):
            assert not (here and there), name


def test_flags_of_both_drivers() -> None:
    crashed = slots("drbd-8.4", "25-crashed-attached-alone.server2")[0]
    assert crashed.flags == {"consistent", "uptodate", "crashed"}
    assert crashed.current == "1C6A8C27D81A6CC6"
    assert crashed.history == ("3970017E70B72450", "396F017E70B72451")
    left = slots("drbd-9.3", "06-survivor.server1")[0]
    assert left.flags == {"consistent", "uptodate", "primary", "crashed", "device-seen"}
    assert left.bitmap == "EAE53C957543F47B"
    outdated = slots("drbd-9.3", "05-after-clean-leave-of-secondary.server2")[0]
    assert outdated.flags == {"consistent", "device-seen"}


def test_the_flags_alone_cannot_tell_who_ran_on() -> None:
    # Why the bitmap UUID decides: the same flags, one was left behind and one went on.
    assert (
        slots("drbd-8.4", "22-secondary-left-first-before.server2")[0].flags
        == slots("drbd-8.4", "27-ran-alone-clean-stop.server1")[0].flags
    )


LEFT = "1C6A8C27D81A6CC6:0000000000000000:3970017E70B72450:396F017E70B72451:1:1:0:0:0:0:0"
RAN = "D5E2B0B3002A6609:1C6A8C27D81A6CC7:3970017E70B72451:396F017E70B72451:1:1:0:0:0:0:0"


def test_every_slot_has_to_agree() -> None:
    assert proof(parse(RAN)).proved
    assert not proof(parse(RAN + "\n" + LEFT)).proved
    assert not proof(parse(LEFT + "\n" + RAN)).proved


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0: Failure: (127) Device minor not allocated\nadditional info from kernel:\nunknown minor\n",
        "Found meta data is \"unclean\", please apply-al first\n",
        RAN[:-2],  # a flag short
        RAN + ":0",  # a flag of a driver that we do not know
        RAN.replace(":1:1:", ":1:2:"),
        RAN.replace("1C6A8C27D81A6CC7", "1C6A8C27D81A6CC"),
        RAN.replace("1C6A8C27D81A6CC7", "1C6A8C27D81A6CCG"),
        RAN.replace("1C6A8C27D81A6CC7", "+C6A8C27D81A6CC7"),
        RAN.replace(":", ";"),
    ],
)  # fmt: skip
def test_what_is_not_understood_proves_nothing(text: str) -> None:
    result = proof(parse(text))
    assert not result.proved
    assert "could not be read" in result.reason


@given(
    st.lists(
        st.one_of(
            st.text(max_size=80),
            st.builds(
                lambda uuids, flags: ":".join([*uuids, *flags]),
                st.lists(st.text("0123456789ABCDEFabcdef", min_size=15, max_size=17), min_size=3, max_size=5),
                st.lists(st.sampled_from(["0", "1", "2", ""]), min_size=6, max_size=13),
            ),
        ),
        max_size=4,
    )
)
def test_no_text_makes_it_raise_or_prove_without_flags_and_uuid(lines: list[str]) -> None:
    found = parse("\n".join(lines))
    result = proof(found)
    assert "\n" not in result.reason
    if result.proved:
        assert all({"consistent", "uptodate"} <= slot.flags and set(slot.bitmap) != {"0"} for slot in found)


@pytest.mark.parametrize("names", [FLAGS_84, FLAGS_9])
@given(data=st.data())
def test_a_slot_of_either_driver_is_read_as_it_is(names: tuple[str, ...], data: st.DataObject) -> None:
    uuids = data.draw(st.lists(st.text("0123456789ABCDEF", min_size=16, max_size=16), min_size=4, max_size=4))
    flags = data.draw(st.sets(st.sampled_from(names)))
    [slot] = parse(":".join([*uuids, *("1" if name in flags else "0" for name in names)]))
    assert [slot.current, slot.bitmap, *slot.history] == uuids
    assert slot.flags == frozenset(flags)
    proved = {"consistent", "uptodate"} <= flags and uuids[1] != "0" * 16
    assert proof([slot]).proved is proved
