"""How far a start or a stop is, from states of units and jobs."""

from __future__ import annotations

import pytest

from drbdocfs_boot import jobs, report
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.systemd import Job, UnitState

WEB = Stack(
    "web", resource="r0", device="/dev/drbd0", backing_file="/f", loop_device="/dev/loop7", cluster="c", mountpoint="/w"
)
DB = Stack("db", resource="r1", device="/dev/drbd1", cluster="c", mountpoint="/d")


def units(default: str = "inactive", **changes: tuple[str, str]) -> dict[str, UnitState]:
    """All units of both stacks, but for ``layer=(active, status)`` of the first; "failed" with a time of its own."""
    names = {**jobs.stop_units(DB), "target": jobs.target(DB)}
    found = {name: UnitState(name, "loaded", "inactive", "", "", "", 1) for name in names.values()}
    for layer, name in {**jobs.stop_units(WEB), "target": jobs.target(WEB)}.items():
        active, status = changes.get(layer, (default, ""))
        found[name] = UnitState(name, "loaded", active, "", "exit-code" if active == "failed" else "", status, 1)
    return found


def words(steps: list[jobs.Step]) -> str:
    return " ".join(f"{step.layer}={step.state}" for step in steps)


def test_order_of_start_and_stop() -> None:
    assert list(report.layer_units(WEB)) == ["loop", "attach", "wait", "promote", "o2cb", "mount"]
    assert list(jobs.stop_units(WEB)) == ["holders", "mount", "o2cb", "promote", "wait", "attach", "loop"]
    assert list(jobs.stop_units(DB)) == ["holders", "mount", "o2cb", "promote", "wait", "attach"]
    assert jobs.all_units(DB)[-1] == "drbdocfs@db.target"


def test_a_start_on_its_way() -> None:
    now = units(loop=("active", ""), attach=("active", "r0 attached"), wait=("activating", "waiting for server2"))
    steps = jobs.starting(WEB, units(), now)
    assert words(steps) == "loop=done attach=done wait=running promote=waiting o2cb=waiting mount=waiting"
    assert [step.detail for step in steps[1:4]] == ["r0 attached", "waiting for server2", ""]
    step = jobs.current(steps)
    assert step is not None
    assert step.layer == "wait"
    assert jobs.failed(steps) is None


def test_an_old_failure_is_none_until_it_fails_again() -> None:
    old = units(wait=("failed", "not ready after 3:00"))
    assert jobs.failed(jobs.starting(WEB, old, old)) is None
    name = report.layer_units(WEB)["wait"]
    anew = {**old, name: UnitState(name, "loaded", "failed", "", "exit-code", "split brain", 2)}
    step = jobs.failed(jobs.starting(WEB, old, anew))
    assert step is not None
    assert (step.layer, step.detail) == ("wait", "split brain")
    assert jobs.new_failure(None, anew[name])


def test_a_unit_that_is_not_there_is_a_failure() -> None:
    now = units()
    name = report.layer_units(WEB)["mount"]
    now[name] = UnitState(name, "masked", "inactive", "", "", "", 0)
    step = jobs.failed(jobs.starting(WEB, units(), now))
    assert step is not None
    assert step.detail == "unit is masked"


def test_up_needs_the_target_as_well() -> None:
    assert jobs.is_up(WEB, units("active"))
    assert not jobs.is_up(WEB, units("active", target=("inactive", "")))
    assert not jobs.is_up(WEB, units("active", mount=("deactivating", "")))


def test_a_stop_on_its_way() -> None:
    before = units("active", promote=("active", "r0 is Primary"))
    now = units("active", target=("inactive", ""), holders=("inactive", ""), mount=("deactivating", ""))
    queue = {name: Job(name, "stop") for name in jobs.stop_units(WEB).values() if "holders" not in name}
    steps = jobs.stopping(WEB, before, now, queue)
    assert words(steps) == (
        "holders=done mount=running o2cb=waiting promote=waiting wait=waiting attach=waiting loop=waiting"
    )


def test_the_words_of_the_start_are_not_those_of_the_stop() -> None:
    before = units("active", promote=("active", "r0 is Primary"))
    for status, shown in (("r0 is Primary", ""), ("/w is still mounted", "/w is still mounted")):
        now = units("inactive", promote=("deactivating", status))
        step = jobs.current(jobs.stopping(WEB, before, now, {}))
        assert step is not None
        assert step.detail == shown


def test_a_layer_that_stays_up_when_no_job_is_left_has_failed() -> None:
    step = jobs.failed(jobs.stopping(WEB, units("active"), units("inactive", mount=("active", "")), {}))
    assert step is not None
    assert (step.layer, step.detail) == ("mount", "it is still up")


def test_a_layer_whose_stop_fails_has_failed_and_one_that_had_failed_before_has_not() -> None:
    before = units("active", attach=("failed", "not attached"))
    now = units("inactive", attach=("failed", "not attached"))
    name = report.layer_units(WEB)["promote"]
    now[name] = UnitState(name, "loaded", "failed", "", "exit-code", "/dev/drbd0 is in use by tar (7)", 2)
    steps = jobs.stopping(WEB, before, now, {})
    assert words(steps) == "holders=done mount=done o2cb=done promote=failed wait=done attach=done loop=done"
    step = jobs.failed(steps)
    assert step is not None
    assert step.detail == "/dev/drbd0 is in use by tar (7)"


def test_down_means_every_layer() -> None:
    assert jobs.is_down(WEB, units())
    assert jobs.is_down(WEB, units(wait=("failed", "")))
    for layer in (*jobs.stop_units(WEB), "target"):
        now = units("inactive", **{layer: ("deactivating", "")})
        assert not jobs.is_down(WEB, now), layer
    assert not jobs.is_down(WEB, units(o2cb=("active", "")))
    assert jobs.is_down(WEB, units(o2cb=("active", "")), keeps_o2cb=True)


@pytest.mark.parametrize(("mount", "users"), [("active", ["db"]), ("activating", ["db"]), ("inactive", [])])
def test_who_else_uses_the_cluster(mount: str, users: list[str]) -> None:
    now = units()
    name = report.layer_units(DB)["mount"]
    now[name] = UnitState(name, "loaded", mount, "", "", "", 1)
    assert jobs.shared(WEB, [WEB, DB], now) == users
    assert jobs.shared(WEB, [WEB], now) == []
    other = Stack("x", resource="r2", device="/dev/drbd2", cluster="another", mountpoint="/d")
    assert jobs.shared(WEB, [WEB, other], now) == []
