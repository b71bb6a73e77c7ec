"""handover.py SOCKET: hand standard input, a connection of a guest's, to the lab behind a unix socket.

QEMU runs it for each connection to an address that it forwards to a command (guestfwd). It ends at once; whoever has
the connection then talks to the guest.
"""

from __future__ import annotations

import socket
import sys

with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lab:
    lab.connect(sys.argv[1])
    socket.send_fds(lab, [b"."], [0])
    lab.recv(1)
