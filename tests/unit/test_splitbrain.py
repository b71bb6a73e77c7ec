"""What resolves a split brain: two reports in, steps or a refusal out; and the words for people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from drbdocfs_boot import metadata, splitbrain
from drbdocfs_boot.events import RESYNC_STATES
from drbdocfs_boot.splitbrain import BadReport, Refusal, Side, Step, met, plan, plan_side

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
UUIDS = ("32B1D23D5C7F7303", "F9CF5D5C8539E329", "85AC920C593F8B47")
# As on real nodes after a cable was out: both StandAlone, both still Primary and mounted.
ONE = Side(
    "server1", "web", "r0", "/dev/drbd0", role="Primary", disk="UpToDate", connection="StandAlone", why="split-brain",
    out_of_sync=16, mounted=("/mnt/storage",), current=UUIDS[0], bitmap=UUIDS[2],
)  # fmt: skip
TWO = replace(ONE, host="server2", current=UUIDS[1], mounted=())
DOWN = {"role": "", "disk": "", "connection": "", "why": "", "out_of_sync": None, "mounted": ()}

DISCONNECT = "drbdadm disconnect r0"
SECONDARY = "drbdadm secondary r0"
DISCARD = "drbdadm connect --discard-my-data r0"
CONNECT = "drbdadm connect r0"
STOP = "systemctl stop drbdocfs@web.target drbdocfs-attach@web.service"
ATTACH = "systemctl start drbdocfs-attach@web.service"


def lines(steps: Refusal | list[Step]) -> list[str]:
    assert isinstance(steps, list), steps
    return [f"{step.host}: {' '.join(step.command)}" for step in steps]


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        # Both StandAlone, the victim still Primary.
        ({}, {}, [f"server2: {SECONDARY}", f"server2: {DISCARD}", f"server1: {CONNECT}"]),
        # The victim demoted already.
        ({}, {"role": "Secondary"}, [f"server2: {DISCARD}", f"server1: {CONNECT}"]),
        # The survivor listens: it needs nothing.
        ({"connection": "Connecting"}, {"role": "Secondary"}, [f"server2: {DISCARD}"]),
        # The victim listens: it has to come with the word that its data may go.
        (
            {},
            {"role": "Secondary", "connection": "Connecting", "why": ""},
            [f"server2: {DISCONNECT}", f"server2: {DISCARD}", f"server1: {CONNECT}"],
        ),
        # The victim was stopped, as it was told to be; nobody may hear its attach connect.
        ({}, DOWN, [f"server2: {ATTACH}", f"server2: {DISCONNECT}", f"server2: {DISCARD}", f"server1: {CONNECT}"]),
        (
            {"connection": "Connecting", "why": ""},
            DOWN,
            [
                f"server1: {DISCONNECT}",
                f"server2: {ATTACH}",
                f"server2: {DISCONNECT}",
                f"server2: {DISCARD}",
                f"server1: {CONNECT}",
            ],
        ),
        # The victim waits in the background, by a policy that may let it go on alone as soon as it connects.
        (
            {},
            {"role": "Secondary", "waiting": True},
            [
                f"server2: {STOP}",
                f"server2: {ATTACH}",
                f"server2: {DISCONNECT}",
                f"server2: {DISCARD}",
                f"server1: {CONNECT}",
            ],
        ),
        # The survivor may wait: once they are in step it comes up.
        ({"waiting": True}, {"role": "Secondary"}, [f"server2: {DISCARD}", f"server1: {CONNECT}"]),
        # The survivor is down: its disk is looked at before the victim gives up anything.
        (
            DOWN,
            {"role": "Secondary"},
            [f"server1: {ATTACH}", f"server2: {DISCARD}"],
        ),
        (
            DOWN,
            {"role": "Secondary", "connection": "Connecting", "why": ""},
            [f"server2: {DISCONNECT}", f"server1: {ATTACH}", f"server2: {DISCARD}"],
        ),
        # Both down: only the metadata tells of the split brain.
        (
            DOWN,
            DOWN,
            [
                f"server1: {ATTACH}",
                f"server1: {DISCONNECT}",
                f"server2: {ATTACH}",
                f"server2: {DISCONNECT}",
                f"server2: {DISCARD}",
                f"server1: {CONNECT}",
            ],
        ),
    ],
)
def test_steps(one: dict[str, object], two: dict[str, object], expected: list[str]) -> None:
    this, other = replace(ONE, **one), replace(TWO, **two)  # type: ignore[arg-type]
    assert lines(plan(this, other, "server2")) == expected
    assert lines(plan(other, this, "server2")) == expected  # from whichever side it is called
    words = " ".join(expected)
    assert "--force" not in words
    assert "invalidate" not in words


def test_the_survivor_is_looked_at_before_the_victim_gives_up_anything() -> None:
    steps = plan(replace(ONE, **DOWN), TWO, "server2")  # type: ignore[arg-type]
    assert isinstance(steps, list)
    assert steps[0].expect == splitbrain.GOOD
    assert not met(steps[0], replace(ONE, disk="Inconsistent"))
    assert met(steps[0], ONE)


@pytest.mark.parametrize(
    ("one", "two", "victim", "status", "words"),
    [
        ({}, {}, "server", 2, "'server' is neither server1 nor server2"),
        ({}, {}, "SERVER2", 2, "neither"),
        ({}, {}, "server1", 65, "/dev/drbd0 is still mounted on server1 (/mnt/storage)"),
        ({}, {"heartbeat": ("web/A1",)}, "server2", 65, "still has its heartbeat on /dev/drbd0 (web/A1)"),
        ({}, {"held": ("bash (pid 7): open device",)}, "server2", 65, "is held on server2 by bash (pid 7)"),
        ({"disk": "Inconsistent"}, {}, "server2", 65, "server1, whose data is to stay, has the disk Inconsistent"),
        ({}, {"disk": "Diskless"}, "server2", 69, "the disk of server2 is Diskless"),
        ({"host": "server2"}, {}, "server2", 69, "both sides call themselves server2"),
        ({"resource": "r1"}, {}, "server2", 78, "is the resource r1 on server1, but r0 on server2"),
        # No split brain: somebody is only missing.
        (
            {"connection": "Connecting", "why": "", "bitmap": "0000000000000000"},
            {**DOWN, "bitmap": "0000000000000000"},
            "server2",
            65,
            "r0 has no split brain: server1 Primary, UpToDate, Connecting; server2 has the resource down",
        ),
        # One ran on alone, the other did not: the resync will do.
        (
            {"connection": "Connecting", "why": ""},
            {**DOWN, "bitmap": "0000000000000000"},
            "server2",
            65,
            "no split brain",
        ),
        (
            {"connection": "Connected", "replication": "Established", "why": ""},
            {"connection": "Connected", "replication": "Established", "why": "", "mounted": ("/mnt/storage",)},
            "server2",
            65,
            "the nodes are connected (Established)",
        ),
        (
            {"connection": "Connected", "replication": "SyncTarget", "why": "", "marked": 1.0},
            {"connection": "Connected", "replication": "SyncSource", "why": ""},
            "server2",
            65,
            "a resync runs already, from server2 to server1",
        ),
    ],
)
def test_refusals(one: dict[str, object], two: dict[str, object], victim: str, status: int, words: str) -> None:
    refused = plan(replace(ONE, **one), replace(TWO, **two), victim)  # type: ignore[arg-type]
    assert isinstance(refused, Refusal)
    assert refused.status == status
    assert words in refused.message


def test_a_mounted_survivor_is_fine_and_a_mounted_victim_is_told_how_to_stop() -> None:
    assert ONE.mounted
    assert lines(plan(ONE, TWO, "server2"))
    refused = plan(ONE, TWO, "server1")
    assert isinstance(refused, Refusal)
    assert "on server1: 'systemctl stop drbdocfs@web.target'" in refused.advice


@pytest.mark.parametrize("evidence", [{"why": "split-brain"}, {"marked": 1.0}, {"bitmap": UUIDS[2]}])
def test_one_trace_of_a_split_brain_is_enough(evidence: dict[str, object]) -> None:
    bare = {"why": "", "marked": 0.0, "connection": "Connecting"}
    two = replace(TWO, **{**bare, "role": "Secondary", **({"bitmap": "0" * 16} if "bitmap" not in evidence else {})})  # type: ignore[arg-type]
    one = replace(ONE, **{**bare, **evidence})  # type: ignore[arg-type]
    assert splitbrain.split(one, two)
    assert isinstance(plan(one, two, "server2"), list)


def test_data_generations() -> None:
    assert splitbrain.diverged(ONE, TWO)
    assert not splitbrain.diverged(ONE, replace(TWO, bitmap="0" * 16))
    assert not splitbrain.diverged(ONE, replace(TWO, current="32B1D23D5C7F7302"))  # the last bit is no difference
    assert not splitbrain.diverged(ONE, replace(TWO, current="", bitmap=""))


@pytest.mark.parametrize(
    ("situation", "apart"),
    [
        ("drbd-8.4/09-diverged", True),
        ("drbd-8.4/09-split-brain", True),
        ("drbd-9.3/09-diverged", True),
        ("drbd-9.3/09-split-brain", True),
        ("drbd-8.4/39-split-brain-found", True),
        ("drbd-8.4/41-split-brain-resolved", False),
        ("drbd-8.4/24-both-mounted-again", False),
        ("drbd-8.4/30-both-stopped-clean", False),
        ("drbd-8.4/33-mid-resync", False),
        ("drbd-9.3/03-both-primary", False),
        ("drbd-9.3/08-both-clean-stop", False),
    ],
)
def test_data_generations_of_real_nodes(situation: str, apart: bool) -> None:
    sides = []
    for side in (ONE, TWO):
        slot = metadata.parse((TRANSCRIPTS / f"{situation}.{side.host}.gi").read_text())[0]
        sides.append(replace(side, why="", current=slot.current, bitmap=slot.bitmap))
    assert splitbrain.diverged(*sides) is apart
    assert splitbrain.split(*sides) is apart


@pytest.mark.parametrize("state", sorted(RESYNC_STATES - {"Ahead", "Behind"}))
def test_a_resync_to_the_victim_is_only_followed(state: str) -> None:
    target = state in splitbrain.TARGETS
    two = replace(TWO, connection="Connected", replication=state, role="Secondary", why="")
    for resumed in (True, False):
        found = plan(replace(ONE, connection="Connected", replication="Established"), two, "server2", resumed)
        if target and resumed:
            assert found == []
        else:
            assert isinstance(found, Refusal)
            assert found.status == 65


def test_after_the_end_only_the_one_who_began_goes_on() -> None:
    well = {"connection": "Connected", "replication": "Established", "why": ""}
    one, two = replace(ONE, **well), replace(TWO, **well)  # type: ignore[arg-type]
    assert plan(one, two, "server2", resumed=True) == []
    assert isinstance(plan(one, two, "server2"), Refusal)


@pytest.mark.parametrize(
    ("own", "victim", "expected"),
    [
        ({"mounted": ()}, "server1", [SECONDARY, DISCARD]),
        ({"mounted": (), "role": "Secondary", "connection": "Connecting", "why": "", "marked": 1.0}, "server1",
         [DISCONNECT, DISCARD]),
        (DOWN, "server1", [ATTACH, DISCONNECT, DISCARD]),
        ({"mounted": (), "waiting": True}, "server1", [STOP, ATTACH, DISCONNECT, DISCARD]),
        ({}, "server2", [CONNECT]),
        ({"connection": "Connecting", "marked": 1.0}, "server2", []),
        (DOWN, "server2", [ATTACH]),
        ({"connection": "Connected", "replication": "SyncSource"}, "server2", []),
        ({"connection": "Connected", "replication": "SyncTarget", "mounted": ()}, "server1", []),
    ],
)  # fmt: skip
def test_this_side(own: dict[str, object], victim: str, expected: list[str]) -> None:
    found = plan_side(replace(ONE, **own), "server2", victim)  # type: ignore[arg-type]
    assert lines(found) == [f"server1: {line}" for line in expected]


@pytest.mark.parametrize(
    ("own", "victim", "status", "words"),
    [
        ({}, "server3", 2, "neither server1 nor server2"),
        ({}, "server1", 65, "still mounted"),
        ({"disk": "Outdated"}, "server2", 65, "has the disk Outdated"),
        ({"connection": "Connecting", "why": "", "bitmap": "0" * 16}, "server2", 65, "shows no split brain"),
        ({"connection": "Connected", "replication": "SyncTarget"}, "server2", 65, "no split brain that could be"),
        ({"connection": "Connected", "replication": "Established"}, "server2", 65, "no split brain that could be"),
    ],
)
def test_this_side_refuses(own: dict[str, object], victim: str, status: int, words: str) -> None:
    found = plan_side(replace(ONE, **own), "server2", victim)  # type: ignore[arg-type]
    assert isinstance(found, Refusal)
    assert (found.status, words in found.message) == (status, True)


@pytest.mark.parametrize(
    ("expect", "side", "done"),
    [
        (splitbrain.STOPPED, ONE, False),
        (splitbrain.STOPPED, replace(ONE, connection=""), True),
        (splitbrain.APART, ONE, True),
        (splitbrain.APART, replace(ONE, connection="Connecting"), False),
        (splitbrain.APART, replace(ONE, connection=""), False),
        (splitbrain.SECONDARY, ONE, False),
        (splitbrain.SECONDARY, replace(ONE, role="Secondary"), True),
        (splitbrain.CONNECTING, ONE, False),
        (splitbrain.CONNECTING, replace(ONE, connection=""), False),
        (splitbrain.CONNECTING, replace(ONE, connection="Connecting"), True),
        (splitbrain.CONNECTING, replace(ONE, connection="Connected", replication="SyncTarget"), True),
        (splitbrain.ATTACHED, replace(ONE, disk="Diskless"), False),
        (splitbrain.ATTACHED, replace(ONE, disk="Outdated"), True),
        (splitbrain.ATTACHED, replace(ONE, connection=""), False),
    ],
)
def test_what_a_step_has_to_reach(expect: str, side: Side, done: bool) -> None:
    assert met(Step("server1", ("true",), expect), side) is done


# --- the report -----------------------------------------------------------------------------------------------


def test_report_there_and_back() -> None:
    side = replace(ONE, newest=(("/mnt/storage/a", 1.5),), newest_all=True, units=("a", "b"), out_of_sync=None)
    assert splitbrain.from_json(json.loads(json.dumps(splitbrain.to_json(side)))) == side


def test_report_of_a_newer_version_with_another_field_is_read() -> None:
    assert splitbrain.from_json({**splitbrain.to_json(ONE), "colour": "red"}) == ONE


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"version": 2},
        {"version": 1, "host": "server2"},
        {**splitbrain.to_json(ONE), "host": 7},
        {**splitbrain.to_json(ONE), "lost": "yesterday"},
        {**splitbrain.to_json(ONE), "mounted": [1]},
        {**splitbrain.to_json(ONE), "mounted": 1},
        {**splitbrain.to_json(ONE), "newest": [["a"]]},
        {**splitbrain.to_json(ONE), "newest_all": "no"},
        {**splitbrain.to_json(ONE), "out_of_sync": "16"},
    ],
)
def test_what_is_no_report(data: object) -> None:
    with pytest.raises(BadReport):
        splitbrain.from_json(data)


@pytest.mark.parametrize("driver", ["drbd-8.4", "drbd-9.3"])
@pytest.mark.parametrize("host", ["server1", "server2"])
def test_when_it_was_found_stands_in_the_kernel_log(driver: str, host: str) -> None:
    text = (TRANSCRIPTS / driver / f"09-split-brain.{host}.kernel").read_text()
    log = []
    for line in text.splitlines():
        stamp, _, message = line.partition("] ")
        log.append((float(stamp.lstrip("[ ")), message))
    when = next(at for at, message in log if "Split-Brain detected but unresolved" in message)
    assert splitbrain.times(log, "r0", ["0"])[1] == when
    assert splitbrain.times(log, "r1", ["1"]) == (0.0, 0.0)
    # Back in step: over.
    later = (TRANSCRIPTS / driver / f"10-resolve.{host}.kernel").read_text()
    log += [(when + 1, line.partition("] ")[2]) for line in later.splitlines()]
    assert splitbrain.times(log, "r0", ["0"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "line",
    [
        "drbd r0: peer( Primary -> Unknown ) conn( Connected -> NetworkFailure ) pdsk( UpToDate -> DUnknown )",
        "drbd r0 server2: conn( Connected -> NetworkFailure ) peer( Primary -> Unknown ) [ping-timeout]",
    ],
)
def test_when_the_peer_was_lost(line: str) -> None:
    assert splitbrain.times([(5.0, line), (9.0, "drbd r0: other")], "r0", ["0"]) == (5.0, 0.0)


def test_since() -> None:
    base = 1_763_800_000.0
    text = splitbrain.since([replace(ONE, lost=base + 5, found=base), replace(TWO, lost=base, found=base)])
    assert text == f"apart since {splitbrain.moment(base)} (kernel log of server2)"
    assert splitbrain.since([replace(ONE, found=base), TWO]).startswith("found ")
    assert splitbrain.since([replace(ONE, marked=base), TWO]).startswith("noted ")
    assert splitbrain.since([ONE, TWO]) == ""


@pytest.mark.parametrize(
    ("kib", "text"), [(0, "0 KiB"), (16, "16 KiB"), (1024, "1.0 MiB"), (5 << 20, "5.0 GiB"), (3 << 30, "3.0 TiB")]
)
def test_size(kib: int, text: str) -> None:
    assert splitbrain.size(kib) == text


def test_both_sides_beside_each_other() -> None:
    one = replace(ONE, newest=(("/mnt/storage/a b", 1.0),))
    two = replace(TWO, held=("loop7",), heartbeat=("web/A1",), bitmap="0" * 16)
    text = splitbrain.as_text([one, two], "server1").splitlines()
    assert text[0].split() == ["server1", "(this", "host)", "server2"]
    column = text[0].index("server2")
    rows = {line[2:20].strip(): (line[20:column].strip(), line[column:].strip()) for line in text[1 : text.index("")]}
    assert rows["DRBD"] == ("Primary, UpToDate, StandAlone",) * 2
    assert rows["changed"] == ("16 KiB", "16 KiB")
    assert rows["ran alone"] == ("yes", "no")
    assert rows["mounted"] == ("/mnt/storage", "no")
    assert rows["held by"] == ("", "loop7")
    assert rows["O2CB heartbeat"] == ("", "web/A1")
    assert text[text.index("") + 1] == "  newest on server1 (of the part that was looked at):"
    assert text[-1].endswith("  /mnt/storage/a b")


def test_a_file_system_that_did_not_answer_is_said() -> None:
    assert "newest on server1: could not be read in time" in splitbrain.as_text([ONE], "server1")
