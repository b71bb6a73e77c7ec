"""Questions to systemd: a stand-in that speaks the other side of D-Bus answers them, byte by byte and out of order."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

import pytest

from drbdocfs_boot import systemd
from drbdocfs_boot.systemd import NoSystemd, UnitState
from drbdocfs_boot.tools import dbus

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
    """Answers one connection; ``asked`` are the properties and methods that it was asked for."""

    def __init__(self, place: str, active: str = "active", refuse: str = "", rows_of: list[str] | None = None) -> None:
        super().__init__(daemon=True)
        self.active, self.refuse, self.rows_of = active, refuse, rows_of
        self.asked: list[str] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(place)
        self.listener.listen()
        self.start()

    def run(self) -> None:
        there, _ = self.listener.accept()
        with there, self.listener:
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
        return message(2, serial, "v", padded(b"\x01s\0", 4) + string(f"the {key}"))


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
