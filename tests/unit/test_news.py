"""News from systemd: signals wake at once; without a library, a bus or an answer time does."""

from __future__ import annotations

import asyncio
import sys
import time
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from drbdocfs_boot import news


class Bus:
    """A stand-in for MessageBus of dbus-next."""

    made: ClassVar[list[Bus]] = []
    trouble = ""

    def __init__(self, bus_type: object) -> None:
        self.connected = False
        self.asked: list[str] = []
        Bus.made.append(self)

    async def connect(self) -> Bus:
        if Bus.trouble == "hangs":
            await asyncio.sleep(60)
        if Bus.trouble == "none":
            raise FileNotFoundError("/run/dbus/system_bus_socket")
        self.connected = True
        return self

    def disconnect(self) -> None:
        self.connected = False

    def add_message_handler(self, handler: Any) -> None:
        self.handler = handler

    async def call(self, message: dict[str, Any]) -> SimpleNamespace:
        self.asked.append(message["member"])
        return SimpleNamespace(message_type="error" if Bus.trouble == "refused" else "reply", error_name="no")


@pytest.fixture(params=["dbus_next", "dbus_fast"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bus, "made", [])
    monkeypatch.setattr(Bus, "trouble", "")
    monkeypatch.setattr(news, "POLL", 0.01)
    monkeypatch.setattr(news, "CONNECT_LIMIT", 0.1)
    for name in ("dbus_next", "dbus_fast"):
        if name != request.param:
            monkeypatch.setitem(sys.modules, name, None)
            continue
        module, aio = ModuleType(name), ModuleType(f"{name}.aio")
        types = SimpleNamespace(ERROR="error")
        vars(module).update(BusType=SimpleNamespace(SYSTEM=1), Message=dict, MessageType=types, __path__=[])
        vars(aio).update(MessageBus=Bus)
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setitem(sys.modules, f"{name}.aio", aio)


@pytest.mark.usefixtures("library")
def test_a_signal_wakes_at_once_and_others_do_not() -> None:
    with news.News() as found:
        (bus,) = Bus.made
        assert found.live
        assert bus.asked == ["AddMatch"] * len(news.RULES) + ["Subscribe"]
        bus.handler(SimpleNamespace(member="JobRemoved"))
        began = time.monotonic()
        found.wait(30)
        assert time.monotonic() - began < 5
        bus.handler(SimpleNamespace(member="NameOwnerChanged"))
        began = time.monotonic()
        found.wait(0.2)
        assert time.monotonic() - began >= 0.2
        bus.connected = False  # the daemon was restarted
        began = time.monotonic()
        found.wait(30)
        assert time.monotonic() - began < 5
    assert not found.live


@pytest.mark.usefixtures("library")
def test_what_comes_within_the_pause_is_looked_at_once() -> None:
    with news.News() as found:
        (bus,) = Bus.made
        bus.handler(SimpleNamespace(member="JobNew"))
        began = time.monotonic()
        found.wait(30, 0.3)
        assert 0.3 <= time.monotonic() - began < 5
        bus.handler(SimpleNamespace(member="JobNew"))
        began = time.monotonic()
        found.wait(0.1, 30)  # the limit counts
        assert time.monotonic() - began < 5


@pytest.mark.usefixtures("library")
def test_a_unit_that_changes_without_a_job_is_left_to_the_clock() -> None:
    """Each change brings all properties of the unit: with many stacks taking them apart costs more than the stop."""
    assert not any("Properties" in rule for rule in news.RULES)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("trouble", ["hangs", "none", "refused"])
def test_without_an_answer_time_does(trouble: str) -> None:
    Bus.trouble = trouble
    with news.News() as found:
        assert not found.live
        began = time.monotonic()
        found.wait(30)
        assert 0.01 <= time.monotonic() - began < 5


def test_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "POLL", 0.01)
    for name in ("dbus_next", "dbus_fast"):
        monkeypatch.setitem(sys.modules, name, None)
    with news.News() as found:
        assert not found.live
        found.wait(30)
