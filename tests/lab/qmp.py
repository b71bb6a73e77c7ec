"""A client of QEMU's machine protocol (QMP) on a unix socket: commands, and events as they come."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]

# Seconds. QEMU answers at once, unless the host is stuck.
ANSWER_LIMIT = 30.0


class QmpError(Exception):
    """The connection is gone, or QEMU refused a command."""


class Qmp:
    """One connection; a thread of its own reads what QEMU sends."""

    def __init__(self, path: Path, on_event: Callable[[Message], None]) -> None:
        """Connect, waiting up to ANSWER_LIMIT for QEMU to make the socket."""
        self._on_event = on_event
        self._replies: list[Message] = []
        self._closed = False
        self._changed = threading.Condition()
        self._one_at_a_time = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        limit = time.monotonic() + ANSWER_LIMIT
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > limit:
                    self._socket.close()
                    raise QmpError(f"{path}: QEMU does not answer") from None
                time.sleep(0.05)
        self._reader = threading.Thread(target=self._read, name="lab-qmp", daemon=True)
        self._reader.start()
        self.command("qmp_capabilities")

    def _read(self) -> None:
        try:
            with self._socket.makefile("r", encoding="utf-8") as lines:
                for line in lines:
                    message: Message = json.loads(line)
                    if "event" in message:
                        self._on_event(message)
                    elif "QMP" not in message:
                        with self._changed:
                            self._replies.append(message)
                            self._changed.notify_all()
        except (OSError, ValueError):
            pass  # QEMU was killed, perhaps in the middle of a line
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def command(self, execute: str, /, **arguments: object) -> Any:
        """Send a command and return its answer; raises QmpError, also when there is none in ANSWER_LIMIT."""
        with self._one_at_a_time, self._changed:
            try:
                self._socket.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
            except OSError as error:
                raise QmpError(f"{execute}: {error}") from error
            if not self._changed.wait_for(lambda: self._replies or self._closed, ANSWER_LIMIT) or not self._replies:
                raise QmpError(f"{execute}: no answer from QEMU")
            reply = self._replies.pop(0)
        if "error" in reply:
            raise QmpError(f"{execute}: {reply['error']}")
        return reply["return"]

    def close(self) -> None:
        """Close the connection and wait for the reading thread."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._reader.join(5)
        self._socket.close()
