"""News from systemd for those who follow it: signals over D-Bus where that can be had, else the time.

A signal only wakes who waits; what is so is asked anew each time, so a signal that is lost costs a moment and nothing
else.  dbus-next or its fork dbus-fast brings the signals; without either, without a bus, and once the bus has gone,
``wait`` sleeps for a short while instead.
"""

from __future__ import annotations

import asyncio
import time
from importlib import import_module
from types import ModuleType
from typing import Any

TOGETHER = 0.02  # seconds in which signals that belong together come
POLL = 0.25  # seconds between two looks without signals
CONNECT_LIMIT = 2.0  # seconds for the bus to answer
SYSTEMD = "org.freedesktop.systemd1"
BUS = "org.freedesktop.DBus"
RULES = (
    f"type='signal',sender='{SYSTEMD}',interface='{SYSTEMD}.Manager',member='JobRemoved'",
    f"type='signal',sender='{SYSTEMD}',interface='{SYSTEMD}.Manager',member='JobNew'",
    # Not the units' own PropertiesChanged: each has all properties of the unit in it, several of them for each change,
    # and taking them apart would cost more than all that is waited for.
)


class News:
    """For a ``with`` statement; ``wait`` returns when there may be something new."""

    def __init__(self) -> None:
        self._bus: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    @property
    def live(self) -> bool:
        """True while signals come."""
        return self._bus is not None and bool(self._bus.connected)

    def __enter__(self) -> News:
        library = _library()
        if library is None:
            return self
        self._loop = asyncio.new_event_loop()
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._connect(library), CONNECT_LIMIT))
        except Exception:  # whatever the reason: no bus, no right, a bus that does not answer
            self.__exit__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bus is not None:
            self._bus.disconnect()
        if self._loop is not None:
            # The library reads in a task of its own, which has to see the end.
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()
        self._bus = self._loop = self._event = None

    async def _connect(self, library: ModuleType) -> None:
        aio = import_module(f"{library.__name__}.aio")
        self._event = asyncio.Event()
        self._bus = await aio.MessageBus(bus_type=library.BusType.SYSTEM).connect()
        self._bus.add_message_handler(self._heard)
        calls: list[tuple[str, str, str, str, str, list[Any]]] = [
            (BUS, "/org/freedesktop/DBus", BUS, "AddMatch", "s", [rule]) for rule in RULES
        ]
        # systemd sends signals only while somebody has asked for them.
        calls.append((SYSTEMD, "/org/freedesktop/systemd1", f"{SYSTEMD}.Manager", "Subscribe", "", []))
        for destination, path, interface, member, signature, body in calls:
            reply = await self._bus.call(
                library.Message(
                    destination=destination,
                    path=path,
                    interface=interface,
                    member=member,
                    signature=signature,
                    body=body,
                )
            )
            if reply.message_type == library.MessageType.ERROR:
                raise ConnectionError(reply.error_name)

    def _heard(self, message: Any) -> None:
        if self._event is not None and message.member in ("JobNew", "JobRemoved"):
            self._event.set()

    def wait(self, limit: float, pause: float = TOGETHER) -> None:
        """Until there is news, ``limit`` seconds at the most; without signals a short while.

        At least ``pause`` seconds, if ``limit`` is more: what comes within them is looked at once.
        """
        if not self.live or self._loop is None or self._event is None:
            time.sleep(min(limit, max(pause, POLL)))
            return
        self._loop.run_until_complete(self._news(self._event, limit, min(pause, limit)))

    async def _news(self, event: asyncio.Event, limit: float, pause: float) -> None:
        try:
            await asyncio.wait_for(event.wait(), limit)
        except asyncio.TimeoutError:
            return
        await asyncio.sleep(pause)
        event.clear()


def _library() -> ModuleType | None:
    for name in ("dbus_next", "dbus_fast"):
        try:
            return import_module(name)
        except ImportError:
            continue
    return None
