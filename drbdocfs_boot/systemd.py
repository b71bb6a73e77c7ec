"""systemd as the command sees it, through pystemd: states of units.  Not used in the boot path."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

DESTINATION = b"org.freedesktop.systemd1"
UNIT = b"org.freedesktop.systemd1.Unit"
SERVICE = b"org.freedesktop.systemd1.Service"
PRIVATE = b"unix:path=/run/systemd/private"


class NoSystemd(Exception):
    """systemd cannot be asked; the text says why, the advice what to do."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


@dataclass(frozen=True)
class UnitState:
    """``load``, ``active``, ``sub``, ``result`` in systemd's words; ``status`` the unit's own status line;
    ``since`` microseconds since 1970 of the last change of its state (0: never)."""

    name: str
    load: str
    active: str
    sub: str
    result: str
    status: str
    since: int


def states(names: Iterable[str]) -> dict[str, UnitState]:
    """The state of each unit, loaded where necessary.

    Raises NoSystemd when pystemd is missing, systemd does not run, or nobody lets us ask.
    """
    bus = _open()
    try:
        return {name: _state(bus, name) for name in names}
    finally:
        bus.close()


def _open() -> Any:
    if not os.path.isdir("/run/systemd/system"):
        raise NoSystemd("systemd does not run on this machine", "the units need it; see 'drbdocfs generate'")
    try:
        from pystemd.dbuslib import DBus, DBusAddress
    except ImportError as error:
        raise NoSystemd(
            f"the Python module pystemd is missing ({error})", "install the package python3-pystemd"
        ) from None
    reasons = []
    # PID 1's own socket needs no D-Bus daemon, but root.
    ways = [DBus] if os.geteuid() else [lambda: DBusAddress(PRIVATE, True), DBus]
    for way in ways:
        bus = way()
        try:
            bus.open()
            return bus
        except Exception as error:  # pystemd has no common base of its own for what sd-bus returns
            reasons.append(str(error))
    raise NoSystemd("systemd cannot be asked: " + "; ".join(reasons), "is dbus running? or try as root")


def _object_path(name: str) -> bytes:
    """sd_bus_path_encode(3): every byte that is no letter or digit (a digit at the start neither) as _XX."""
    raw = name.encode("utf-8", "surrogateescape")
    text = "".join(
        chr(b) if chr(b).isascii() and (chr(b).isalpha() or (i and chr(b).isdigit())) else f"_{b:02x}"
        for i, b in enumerate(raw)
    )
    return b"/org/freedesktop/systemd1/unit/" + text.encode()


def _state(bus: Any, name: str) -> UnitState:
    path = _object_path(name)

    def get(key: bytes, kind: bytes = b"s", interface: bytes = UNIT) -> Any:
        value = bus.get_property(DESTINATION, path, interface, key, kind)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    try:
        kind = name.rpartition(".")[2]
        interface = {"service": SERVICE, "mount": b"org.freedesktop.systemd1.Mount"}.get(kind)
        return UnitState(
            name=name,
            load=get(b"LoadState"),
            active=get(b"ActiveState"),
            sub=get(b"SubState"),
            result=get(b"Result", interface=interface) if interface else "",
            status=get(b"StatusText", interface=SERVICE) if kind == "service" else "",
            since=int(get(b"StateChangeTimestamp", b"t")),
        )
    except Exception as error:
        raise NoSystemd(
            f"systemd does not answer about {name}: {error}", "see 'systemctl status " + name + "'"
        ) from None
