"""Questions to systemd, and its answers, from a stand-in that speaks the other side of D-Bus."""

from __future__ import annotations

from pathlib import Path

import pytest

from drbdocfs_boot import systemd
from drbdocfs_boot.systemd import NoSystemd, UnitState
from drbdocfs_boot.tools import dbus
from tests.standin_systemd import Systemd


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(tmp_path / "socket")
    monkeypatch.setattr(dbus, "PRIVATE", name)
    monkeypatch.setattr(dbus, "LIMIT", 20.0)
    monkeypatch.setattr(systemd, "_require_systemd", lambda: None)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return name


NAMES = ["drbdocfs-wait@web.service", "mnt-a\\x2db.mount", "drbdocfs@web.target"]


def test_states_in_one_question(place: str) -> None:
    other = Systemd(place)
    found = systemd.states(iter([*NAMES, NAMES[0]]))
    assert list(found) == NAMES
    since = 1_700_000_000_000_001
    assert found[NAMES[0]] == UnitState(NAMES[0], "loaded", "active", "exited", "", "the StatusText", since)
    assert found[NAMES[1]] == UnitState(NAMES[1], "loaded", "active", "exited", "", "", since)
    assert sorted(other.asked) == ["ListUnitsByNames", *["StateChangeTimestamp"] * 3, "StatusText"]


def test_why_it_failed_is_asked_of_what_has_failed(place: str) -> None:
    Systemd(place, "failed")
    found = systemd.states(NAMES)
    assert [one.result for one in found.values()] == ["the Result", "the Result", ""]


def test_hundreds_of_units(place: str) -> None:
    names = [f"drbdocfs-wait@s{n}.service" for n in range(300)]
    Systemd(place)
    assert [one.name for one in systemd.states(names).values()] == names


def test_an_ordinary_user_asks_the_bus(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(dbus, "SYSTEM", place)
    monkeypatch.setattr(dbus, "PRIVATE", place + "-of-root")
    other = Systemd(place)
    assert systemd.states(NAMES[:1])[NAMES[0]].active == "active"
    assert other.asked[0] == "Hello"


@pytest.mark.parametrize(
    ("refuse", "words"),
    [("us", "does not let us in: REJECTED"), ("StatusText", "about drbdocfs-wait@web.service: No such property")],
)
def test_a_refusal_is_a_sentence(place: str, refuse: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbus, "SYSTEM", place + "-of-nobody")
    Systemd(place, refuse=refuse)
    with pytest.raises(NoSystemd, match=words):
        systemd.states(NAMES)


def test_an_answer_that_lacks_a_unit_is_none(place: str) -> None:
    Systemd(place, rows_of=NAMES[:1])
    with pytest.raises(NoSystemd, match="does not answer about"):
        systemd.states(NAMES)


def test_nobody_listens(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbus, "SYSTEM", place + "-of-nobody")
    with pytest.raises(NoSystemd, match="No such file or directory"):
        systemd.states(NAMES)
