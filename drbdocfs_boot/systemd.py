"""systemd as the command sees it: states of units; jobs and orders, through pystemd.  Not used in the boot path."""

from __future__ import annotations

import os
import time

from drbdocfs_boot.frozen import Frozen
from drbdocfs_boot.tools import dbus

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

DESTINATION = b"org.freedesktop.systemd1"
PATH = b"/org/freedesktop/systemd1"
MANAGER = b"org.freedesktop.systemd1.Manager"
UNIT = b"org.freedesktop.systemd1.Unit"
SERVICE = b"org.freedesktop.systemd1.Service"
MOUNT = b"org.freedesktop.systemd1.Mount"
PRIVATE = b"unix:path=" + dbus.PRIVATE.encode()
# Seconds before each try to reach systemd again: 'systemctl daemon-reexec' ends all connections, and the new process
# listens only after it has read all units.
AGAIN = (0.0, 0.5, 1.5, 3.0)


class NoSystemd(Exception):
    """systemd cannot be asked; the text says why, the advice what to do."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class UnitState(Frozen):
    """``load``, ``active``, ``sub``, ``result`` in systemd's words; ``status`` the unit's own status line;
    ``since`` microseconds since 1970 of the last change of its state (0: never); ``job`` start, stop, restart, ... that
    systemd has yet to do ("" for none; ``Manager.look`` tells of jobs by themselves)."""

    name: str
    load: str
    active: str
    sub: str
    result: str
    status: str
    since: int
    job: str = ""


class Job(Frozen):
    """A job of systemd's: ``kind`` start, stop, restart, ..."""

    unit: str
    kind: str


class Refused(Exception):
    """systemd did not take the order; the text is systemd's own."""


class Manager:
    """One connection to systemd, for a ``with`` statement.  Opening raises NoSystemd."""

    def __enter__(self) -> Manager:
        self._bus = _open()
        self._known: dict[str, UnitState] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.close()

    def look(self, names: Iterable[str]) -> tuple[dict[str, UnitState], dict[str, Job]]:
        """The state of each unit and the job that it has, both of one moment.  Raises NoSystemd.

        For looking again and again: one call for all, and details only of units that have changed or are on their way.
        A connection that systemd has ended is opened anew.
        """
        names = list(dict.fromkeys(names))
        try:
            return self._look(names)
        except NoSystemd as first:
            error = first
        for pause in AGAIN:
            time.sleep(pause)
            try:
                bus = _open()
            except NoSystemd:
                continue
            self._bus.close()
            self._bus = bus
            try:
                return self._look(names)
            except NoSystemd as later:
                error = later
        raise error

    def _look(self, names: list[str]) -> tuple[dict[str, UnitState], dict[str, Job]]:
        raw = [name.encode("utf-8", "surrogateescape") for name in names]
        found, jobs = {}, {}
        for row in self._call(b"ListUnitsByNames", b"as", raw):
            name, load, active, sub = (row[index].decode("utf-8", "surrogateescape") for index in (0, 2, 3, 4))
            if row[7]:
                jobs[name] = Job(name, row[8].decode())
            before = self._known.get(name)
            if before is not None and (before.load, before.active, before.sub) == (load, active, sub):
                if active in ("active", "inactive"):
                    found[name] = before
                    continue
                if active != "failed":  # on its way: only its status line moves; what has failed may have failed again
                    status = _status(self._bus, name)
                    found[name] = self._known[name] = UnitState(
                        name, load, active, sub, before.result, status, before.since
                    )
                    continue
            # Of the same moment or newer: what is newer here is older nowhere.
            found[name] = self._known[name] = UnitState(name, load, active, sub, *_details(self._bus, name))
        for name in names:
            if name not in found:
                found[name] = _state(self._bus, name)
        return found, jobs

    def came_up(self, name: str) -> bool:
        """True when the unit was active since its last start: what has failed is its stop.  Raises NoSystemd."""
        active, began = (
            int(_property(self._bus, name, key, b"t"))
            for key in (b"ActiveEnterTimestampMonotonic", b"InactiveExitTimestampMonotonic")
        )
        return active > 0 and active >= began

    def outdated(self, name: str) -> bool:
        """True when what the unit was made of is newer than what systemd has read.  Raises NoSystemd."""
        return bool(_property(self._bus, name, b"NeedDaemonReload", b"b"))

    def order(self, verb: str, name: str) -> None:
        """Queue a job: ``verb`` start, stop or restart.  Raises Refused, NoSystemd."""
        method = {"start": b"StartUnit", "stop": b"StopUnit", "restart": b"RestartUnit"}[verb]
        # replace: as systemctl does it.  A start takes back a stop that is under way, and the other way round.
        try:
            self._call(method, b"ss", name.encode("utf-8", "surrogateescape"), b"replace")
        except NoSystemd as error:
            raise Refused(error.message) from None

    def forgive(self, name: str) -> None:
        """Forget that the unit failed, as ``systemctl reset-failed`` does; nothing happens when it has not."""
        try:
            self._call(b"ResetFailedUnit", b"s", name.encode("utf-8", "surrogateescape"))
        except NoSystemd:
            pass  # it is not loaded any more

    def _call(self, method: bytes, signature: bytes, *arguments: bytes | list[bytes]) -> Any:
        from pystemd.dbuslib import apply_signature

        try:
            message = apply_signature(signature, list(arguments))
            return self._bus.call_method(DESTINATION, PATH, MANAGER, method, message).body
        except Exception as error:  # pystemd has no common base of its own for what sd-bus returns
            raise NoSystemd(_words(error), "see 'systemctl status'") from None


def _words(error: Exception) -> str:
    """What sd-bus said; pystemd shows it as "[err NUMBER]: b'WORDS'"."""
    text = str(error.args[-1]) if error.args else ""
    text = text.rpartition("]: ")[2]
    if text[:2] in ("b'", 'b"'):
        text = text[2:-1]
    return text.strip() or type(error).__name__


def states(names: Iterable[str]) -> dict[str, UnitState]:
    """The state of each unit, loaded where necessary; ``result`` of those that have failed.

    Raises NoSystemd when systemd does not run, or nobody lets us ask.
    """
    names = list(dict.fromkeys(names))
    with _connect() as bus:
        try:
            return _states(bus, names)
        except OSError as error:
            raise NoSystemd(f"systemd does not answer: {error}", "see 'systemctl status'") from None


def _states(bus: dbus.Connection, names: list[str]) -> dict[str, UnitState]:
    """In two questions, so that 32 stacks take hardly longer than one."""
    destination, path, manager = (text.decode() for text in (DESTINATION, PATH, MANAGER))
    services = [name for name in names if name.endswith(".service")]
    rows, *rest = bus.ask(
        [
            dbus.Call(destination, path, manager, "ListUnitsByNames", names),
            *(_get(name, UNIT, "StateChangeTimestamp") for name in names),
            *(_get(name, SERVICE, "StatusText") for name in services),
        ]
    )
    if not isinstance(rows, list) or len(rows) != len(names):
        raise NoSystemd(f"systemd does not answer about {', '.join(names)}: {rows}", "see 'systemctl status'")
    since = dict(zip(names, rest))
    status = dict(zip(services, rest[len(names) :]))
    failed = [name for name, row in zip(names, rows) if row[3] == "failed" and _interface(name)]
    result = dict(zip(failed, bus.ask([_get(name, _interface(name), "Result") for name in failed])))
    for name, answer in (*since.items(), *status.items(), *result.items()):
        if isinstance(answer, dbus.Refused):
            raise NoSystemd(f"systemd does not answer about {name}: {answer}", f"see 'systemctl status {name}'")
    return {
        name: UnitState(
            name,
            load=row[2],
            active=row[3],
            sub=row[4],
            result=str(result.get(name, "")),
            status=str(status.get(name, "")),
            since=int(str(since[name])),
            job=row[8] if row[7] else "",
        )
        for name, row in zip(names, rows)
    }


def _get(name: str, interface: bytes, key: str) -> dbus.Call:
    """A question for a property of a unit."""
    path = _object_path(name).decode()
    return dbus.Call(DESTINATION.decode(), path, "org.freedesktop.DBus.Properties", "Get", interface.decode(), key)


def _require_systemd() -> None:
    if not os.path.isdir("/run/systemd/system"):
        raise NoSystemd("systemd does not run on this machine", "the units need it; see 'drbdocfs generate'")


def _connect() -> dbus.Connection:
    _require_systemd()
    reasons = []
    for name in (dbus.SYSTEM,) if os.geteuid() else (dbus.PRIVATE, dbus.SYSTEM):
        try:
            return dbus.Connection(name)
        except OSError as error:
            reasons.append(f"{name}: {error.strerror or error}")
    raise NoSystemd("systemd cannot be asked: " + "; ".join(reasons), "is dbus running? or try as root")


def _open() -> Any:
    _require_systemd()
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


def _property(bus: Any, name: str, key: bytes, kind: bytes = b"s", interface: bytes = UNIT) -> Any:
    try:
        value = bus.get_property(DESTINATION, _object_path(name), interface, key, kind)
    except Exception as error:
        raise NoSystemd(
            f"systemd does not answer about {name}: {error}", "see 'systemctl status " + name + "'"
        ) from None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _interface(name: str) -> bytes:
    """Where the unit's result stands; empty for a kind that has none."""
    return {"service": SERVICE, "mount": MOUNT}.get(name.rpartition(".")[2], b"")


def _state(bus: Any, name: str) -> UnitState:
    load, active, sub = (str(_property(bus, name, key)) for key in (b"LoadState", b"ActiveState", b"SubState"))
    return UnitState(name, load, active, sub, *_details(bus, name))


def _details(bus: Any, name: str) -> tuple[str, str, int]:
    """Result, status line and time of the last change."""
    interface = _interface(name)
    result = str(_property(bus, name, b"Result", interface=interface)) if interface else ""
    since = int(_property(bus, name, b"StateChangeTimestamp", b"t"))
    return result, _status(bus, name), since


def _status(bus: Any, name: str) -> str:
    """The status line of a service."""
    return str(_property(bus, name, b"StatusText", interface=SERVICE)) if _interface(name) == SERVICE else ""
