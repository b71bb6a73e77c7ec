"""What guests reach over the control network although it leads nowhere: an address that is a unix socket of the lab.

No port of the host is opened, and the guest that calls is known by the socket it comes through.
"""

from __future__ import annotations

import shlex
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HANDOVER = Path(__file__).with_name("handover.py")

# Takes a connection of a guest, in a thread of its own; the connection is closed when it returns.
Answer = Callable[[socket.socket], None]


@dataclass(frozen=True)
class Door:
    """An address of the control network (10.0.2.0/24), and the unix socket that it leads to."""

    address: str
    port: int
    path: Path

    @property
    def option(self) -> str:
        """For QEMU's user network."""
        command = shlex.join([sys.executable, "-I", "-S", str(HANDOVER), str(self.path)])
        return f"guestfwd=tcp:{self.address}:{self.port}-cmd:{command}".replace(",", ",,")


class Keeper:
    """Listens at a door until it is closed; a thread for each guest that comes in."""

    def __init__(self, door: Door, answer: Answer) -> None:
        self._answer = answer
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(door.path))
        self._listener.listen(16)
        threading.Thread(target=self._listen, name="lab-door", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                messenger, _ = self._listener.accept()
            except OSError:
                return
            with messenger:
                _, descriptors, _, _ = socket.recv_fds(messenger, 1, 1)
                messenger.sendall(b".")
            for descriptor in descriptors:
                threading.Thread(target=self._serve, args=(socket.socket(fileno=descriptor),), daemon=True).start()

    def _serve(self, guest: socket.socket) -> None:
        with self._lock:
            if self._closed:
                guest.close()
                return
            self._open.add(guest)
        try:
            self._answer(guest)
        except OSError:
            pass  # the guest is gone
        finally:
            with self._lock:
                self._open.discard(guest)
            guest.close()

    def close(self) -> None:
        """Listen no more, and break off what is going on."""
        with self._lock:
            self._closed = True
            guests = list(self._open)
        for each in (self._listener, *guests):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._listener.close()
