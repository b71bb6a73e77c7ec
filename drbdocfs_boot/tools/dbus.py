"""Questions to systemd over D-Bus, many in one go: one write, then all answers.

For what only looks.  Importing pystemd takes longer than four starts of the interpreter, and it waits for each answer
before it asks the next; orders, which are few, go through it.  The protocol is that of the D-Bus specification; no
more of it is here than systemd's answers need.  Standard library only, ``_socket`` as in notify.py.
"""

import _socket
import os

PRIVATE = "/run/systemd/private"  # PID 1's own: needs no D-Bus daemon, but root
SYSTEM = "/run/dbus/system_bus_socket"
LIMIT = 25.0  # seconds for an answer, as sd-bus has it
BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")

_CALL, _RETURN, _ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_ALIGNED = {"y": 1, "g": 1, "v": 1, "u": 4, "i": 4, "b": 4, "s": 4, "o": 4, "a": 4, "t": 8, "x": 8, "(": 8}


class Refused(Exception):
    """systemd's (or the bus's) answer is an error; the text is its own."""


class Call:
    """A method call.  Arguments are strings, and lists of strings."""

    __slots__ = ("arguments", "destination", "interface", "member", "path")

    def __init__(self, destination: str, path: str, interface: str, member: str, *arguments: "str | list[str]") -> None:
        self.destination = destination
        self.path = path
        self.interface = interface
        self.member = member
        self.arguments = arguments


class Connection:
    """A connection to one of the sockets above, for a ``with`` statement.  Opening raises OSError."""

    def __init__(self, name: str) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._got = b""
        self._serial = 0
        try:
            self._socket.settimeout(LIMIT)
            self._socket.connect(name)
            self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\nBEGIN\r\n")
            while b"\r\n" not in self._got:
                self._receive()
            words, _, self._got = self._got.partition(b"\r\n")
            if not words.startswith(b"OK "):
                raise OSError(f"{name} does not let us in: {words.decode('ascii', 'replace')}")
            if name != PRIVATE:
                self.ask([Call(*BUS, "Hello")])
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, calls: "list[Call]") -> "list[object]":
        """The answers in the order of the calls: what the method returned, or a Refused.  Raises OSError."""
        waiting: "dict[int, int]" = {}
        answers: "list[object]" = [None] * len(calls)
        begin = 0
        while begin < len(calls) or waiting:
            if not waiting:
                # Neither side's queue may fill up while both write.
                part = calls[begin : begin + 200]
                waiting = {self._serial + 1 + at: begin + at for at in range(len(part))}
                self._socket.sendall(b"".join(_marshal(call, self._serial + 1 + at) for at, call in enumerate(part)))
                self._serial += len(part)
                begin += len(part)
            serial, answer = self._next()
            if serial in waiting:
                answers[waiting.pop(serial)] = answer
        return answers

    def _receive(self) -> None:
        piece = self._socket.recv(65536)
        if not piece:
            raise OSError("the connection was closed")
        self._got += piece

    def _next(self) -> "tuple[int, object]":
        """The next message: the serial of the call that it answers (0: none) and the answer."""
        while len(self._got) < 16:
            self._receive()
        order = "little" if self._got[:1] == b"l" else "big"
        body, fields = (int.from_bytes(self._got[at : at + 4], order) for at in (4, 12))  # type: ignore[arg-type]
        head = 16 + (fields + 7) // 8 * 8
        while len(self._got) < head + body:
            self._receive()
        kind, about, text = self._got[1], self._got[12 : 16 + fields], self._got[head : head + body]
        self._got = self._got[head + body :]
        if kind not in (_RETURN, _ERROR):
            return 0, None  # a signal: systemd tells of each unit that it loads
        found = dict(_Reader(about, order, 12).take("a(yv)"))  # type: ignore[call-overload]
        serial = found.get(_REPLY_SERIAL, 0)
        values = _Reader(text, order, 0).all(found.get(_SIGNATURE, ""))
        if kind == _ERROR:
            return serial, Refused(str(values[0] if values else found.get(_ERROR_NAME, "unknown error")))
        return serial, values[0] if values else None


def _marshal(call: Call, serial: int) -> bytes:
    """The message, little-endian."""
    body, signature = bytearray(), ""
    for argument in call.arguments:
        if isinstance(argument, str):
            signature += "s"
            _string(body, argument)
        else:
            signature += "as"
            _pad(body, 4)
            at = len(body)
            body += bytes(4)
            for one in argument:
                _string(body, one)
            body[at : at + 4] = (len(body) - at - 4).to_bytes(4, "little")
    fields = bytearray()
    for code, kind, text in (
        (_PATH, "o", call.path),
        (_INTERFACE, "s", call.interface),
        (_MEMBER, "s", call.member),
        (_DESTINATION, "s", call.destination),
    ):
        _pad(fields, 8)
        fields += bytes((code, 1)) + kind.encode() + b"\0"
        _string(fields, text)
    if signature:
        _pad(fields, 8)
        fields += bytes((_SIGNATURE, 1)) + b"g\0" + bytes((len(signature),)) + signature.encode() + b"\0"
    head = bytearray(b"l" + bytes((_CALL, 0, 1)))
    for number in (len(body), serial, len(fields)):
        head += number.to_bytes(4, "little")
    head += fields
    _pad(head, 8)
    return bytes(head + body)


def _pad(data: bytearray, to: int) -> None:
    data += bytes(-len(data) % to)


def _string(data: bytearray, text: str) -> None:
    raw = text.encode("utf-8", "surrogateescape")
    _pad(data, 4)
    data += len(raw).to_bytes(4, "little") + raw + b"\0"


class _Reader:
    """Takes values out of a part of a message that begins at ``offset``, by which they are aligned."""

    def __init__(self, data: bytes, order: str, offset: int) -> None:
        self._data = bytes(offset) + data
        self._order = order
        self._at = offset

    def all(self, signature: str) -> "list[object]":
        """A value for each complete type of the signature."""
        found = []
        while signature:
            first = _first(signature)
            found.append(self.take(first))
            signature = signature[len(first) :]
        return found

    def take(self, kind: str) -> object:
        """The next value, of one complete type.  Structures are tuples, variants what they hold."""
        self._at += -self._at % _ALIGNED[kind[0]]
        if kind == "y":
            return self._number(1)
        if kind in "uib":
            return self._number(4)
        if kind in "tx":
            return self._number(8)
        if kind in "sog":
            size = self._number(1 if kind == "g" else 4)
            self._at += size + 1
            return self._data[self._at - size - 1 : self._at - 1].decode("utf-8", "surrogateescape")
        if kind == "v":
            return self.take(str(self.take("g")))
        if kind[0] == "(":
            return tuple(self.all(kind[1:-1]))
        size = self._number(4)
        self._at += -self._at % _ALIGNED[kind[1]]
        end = self._at + size
        found = []
        while self._at < end:
            found.append(self.take(kind[1:]))
        return found

    def _number(self, size: int) -> int:
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], self._order)  # type: ignore[arg-type]


def _first(signature: str) -> str:
    """The first complete type."""
    if signature[0] == "a":
        return "a" + _first(signature[1:])
    if signature[0] != "(":
        return signature[0]
    depth = 0
    for at, sign in enumerate(signature):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth == 0:
            return signature[: at + 1]
    raise ValueError(signature)
