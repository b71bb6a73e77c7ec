"""Wake-ups between our own processes: a unix datagram socket, so that nobody has to look again and again.

A wake-up carries nothing: who gets one looks at the records again.
"""

import _socket
import posix

from drbdocfs_boot.tools import system

FOLLOW = "/run/drbdocfs-follow/socket"


def of_wait(instance: str) -> str:
    """Where the wait of a stack listens."""
    return f"/run/drbdocfs/{instance}.socket"


class Socket:
    """A bound socket; poll its ``fileno()`` for reading, then ``drain()`` it."""

    def __init__(self, name: str) -> None:
        """Raises OSError."""
        self.path = system.path(name)
        system.make_directory(self.path.rpartition("/")[0])
        try:
            posix.unlink(self.path)  # left behind by a process that was killed
        except FileNotFoundError:
            pass
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self.path)
        posix.chmod(self.path, 0o600)

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Take all wake-ups that have arrived."""
        try:
            while True:
                self._socket.recv(16)
        except OSError:
            pass

    def close(self) -> None:
        """Close and remove it."""
        self._socket.close()
        try:
            posix.unlink(self.path)
        except OSError:
            pass


def listen(name: str) -> Socket:
    """Listen at ``name``.  Raises OSError."""
    return Socket(name)


def send(name: str) -> bool:
    """Wake who listens at ``name``; False when nobody does."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.sendto(b"!", system.path(name))
    except BlockingIOError:
        return True  # its queue is full: it will wake up
    except OSError:
        return False
    finally:
        sock.close()
    return True
