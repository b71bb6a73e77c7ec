"""The model: immutable values."""

from __future__ import annotations

import pytest

from drbdocfs_boot import values
from drbdocfs_boot.stack import Problem, Reading, Stack

WEB = Stack("web", resource="r0", device="/dev/drbd0", cluster="web", mountpoint="/mnt/storage")


@pytest.mark.parametrize("thing", [WEB, Problem("/f", 1, "web", "m"), Reading((WEB,), (), ("db",))])
def test_immutable(thing: object) -> None:
    slots: tuple[str, ...] = thing.__slots__  # type: ignore[attr-defined]
    for name in slots:
        with pytest.raises(AttributeError):
            setattr(thing, name, getattr(thing, name))
        with pytest.raises(AttributeError):
            delattr(thing, name)
    with pytest.raises(AttributeError):
        thing.new = 1  # type: ignore[attr-defined]


def test_equality() -> None:
    same = Stack("web", resource="r0", device="/dev/drbd0", cluster="web", mountpoint="/mnt/storage")
    assert same == WEB
    assert hash(same) == hash(WEB)
    assert Stack("web", resource="r1", device="/dev/drbd0", cluster="web", mountpoint="/mnt/storage") != WEB
    assert Problem("/f", 1, "", "m") != Reading()
    assert "mountpoint='/mnt/storage'" in repr(WEB)


def test_defaults_are_those_of_the_keys() -> None:
    for name, key in values.KEYS.items():
        if key.default is not None:
            assert getattr(WEB, name) == key.check(key.default)


def test_problem_as_text() -> None:
    assert str(Problem("/f", 3, "web", "[web] m")) == "/f:3: [web] m"
    assert str(Problem("/f", 0, "", "m")) == "/f: m"
