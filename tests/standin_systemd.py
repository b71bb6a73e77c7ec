"""The other side of D-Bus for tests and measurements: answers as systemd does, big-endian, out of order, torn apart."""

from __future__ import annotations

import socket
import struct
import threading

ROW = "ssssssouso"


def padded(data: bytes, to: int) -> bytes:
    return data + bytes(-len(data) % to)


def string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw + b"\0"


def message(kind: int, serial: int, signature: str, body: bytes) -> bytes:
    """Big-endian, which our own are not."""
    fields = b"\x05\x01u\0" + struct.pack(">I", serial)
    fields += b"\x08\x01g\0" + bytes((len(signature),)) + signature.encode() + b"\0"
    head = b"B" + bytes((kind, 0, 1)) + struct.pack(">III", len(body), 1, len(fields))
    return padded(head + fields, 8) + body


def rows(names: list[str], active: str) -> bytes:
    body = b""
    for name in names:
        body = padded(body, 8)
        for text in (name, "about it", "loaded", active, "exited", "", "/unit"):
            body = padded(body, 4) + string(text)
        body = padded(body, 4) + struct.pack(">I", 0)
        for text in ("", "/"):
            body = padded(body, 4) + string(text)
    return struct.pack(">II", len(body), 0) + body


class Systemd(threading.Thread):
    """Answers at the socket ``place``, one connection after the other.

    ``asked`` are the properties and methods that it was asked for.
    """

    def __init__(
        self,
        place: str,
        active: str = "active",
        refuse: str = "",
        rows_of: list[str] | None = None,
        text: str = "the {}",
    ) -> None:
        super().__init__(daemon=True)
        self.active, self.refuse, self.rows_of, self.text = active, refuse, rows_of, text
        self.asked: list[str] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(place)
        self.listener.listen()
        self.start()

    def run(self) -> None:
        while True:
            self.serve(self.listener.accept()[0])

    def serve(self, there: socket.socket) -> None:
        with there:
            got = b""
            while b"BEGIN\r\n" not in got:
                got += there.recv(1000)
            got = got.partition(b"BEGIN\r\n")[2]
            there.sendall(b"REJECTED\r\n" if self.refuse == "us" else b"OK 0123\r\n")
            answers: list[bytes] = []
            while True:
                while (size := self.whole(got)) and len(got) >= size:
                    answers.append(self.answer(got[:size]))
                    got = got[size:]
                # A signal of systemd's own first; the last answer first; torn apart.
                text = b"".join((message(4, 0, "s", string("x")), *reversed(answers)))
                for at in range(0, len(text), 999):
                    there.sendall(text[at : at + 999])
                answers = []
                more = there.recv(65536)
                if not more:
                    return
                got += more

    @staticmethod
    def whole(data: bytes) -> int:
        if len(data) < 16:
            return 0
        body, _, fields = struct.unpack("<III", data[4:16])
        return int(16 + (fields + 7) // 8 * 8 + body)

    def answer(self, call: bytes) -> bytes:
        body, serial, _ = struct.unpack("<III", call[4:16])
        text = call[len(call) - body :]
        if b"ListUnitsByNames\0" in call:
            self.asked.append("ListUnitsByNames")
            names, at = [], 4
            while at < len(text):
                at += -at % 4
                size = int.from_bytes(text[at : at + 4], "little")
                names.append(text[at + 4 : at + 4 + size].decode())
                at += size + 5
            if self.rows_of is not None:
                names = self.rows_of
            return message(2, serial, f"a({ROW})", rows(names, self.active))
        if b"Hello\0" in call:
            self.asked.append("Hello")
            return message(2, serial, "s", string(":1.7"))
        size = int.from_bytes(text[:4], "little")
        at = 4 + size + 1
        at += -at % 4
        key = text[at + 4 : at + 4 + int.from_bytes(text[at : at + 4], "little")].decode()
        self.asked.append(key)
        if key == self.refuse:
            return message(3, serial, "s", string("No such property"))
        if key == "StateChangeTimestamp":
            return message(2, serial, "v", padded(b"\x01t\0", 8) + struct.pack(">Q", 1_700_000_000_000_001))
        return message(2, serial, "v", padded(b"\x01s\0", 4) + string(self.text.format(key)))
