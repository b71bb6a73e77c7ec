"""Changes of this host's addresses, from the kernel (rtnetlink(7)): a wake-up, so that nobody has to look again.

What has changed is not parsed: who is woken asks for the address that it wants, see helpers/address.py.
"""

import _socket

ROUTE = 0  # NETLINK_ROUTE
# RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, and the same of the routes: the kernel sends the news of an address before it
# adds the address's local route, which is what bind() looks at (inet_insert_ifa() in net/ipv4/devinet.c).  Who looks
# in between sees no address, and nobody would wake him again.
GROUPS = 0x10 | 0x100 | 0x40 | 0x400


class Addresses:
    """A socket that is readable when an address came or went."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, GROUPS))

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Take all messages; ENOBUFS, when more came than were kept, is news as well."""
        for _ in range(1000):
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                continue

    def close(self) -> None:
        """Close it."""
        self._socket.close()
