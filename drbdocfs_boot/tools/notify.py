"""sd_notify(3) without a library: one datagram to the socket that systemd names.

``_socket`` is the C part of the socket module; the Python part costs 10 ms of imports and nothing of it is needed.
"""

import _socket

from drbdocfs_boot.tools.system import environment


def notify(state: str) -> None:
    """Send e.g. ``STATUS=waiting for server2``; silently nothing outside systemd or when it cannot be sent."""
    name = environment("NOTIFY_SOCKET")
    if not name.startswith(("/", "@")):
        return
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            address = "\0" + name[1:] if name[0] == "@" else name
            # Never block: a full queue must not hold up a boot for the sake of a status line.
            sock.setblocking(False)
            sock.sendto(state.encode("utf-8", "replace"), address)
        finally:
            sock.close()
    except OSError:
        pass


def status(text: str) -> None:
    """Show ``text`` as the unit's status."""
    notify("STATUS=" + text)
