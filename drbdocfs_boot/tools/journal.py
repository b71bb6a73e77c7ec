"""The journal's native protocol (systemd's docs/JOURNAL_NATIVE_PROTOCOL.md): one datagram a message, no library.

``_socket`` is the C part of the socket module; the Python part costs 10 ms of imports and nothing of it is needed.
"""

import _socket
import os
import sys

from drbdocfs_boot.tools import system

SOCKET = "/run/systemd/journal/socket"


def encode(fields: "dict[str, str]") -> bytes:
    """The datagram: NAME=VALUE lines, or NAME, eight bytes of length and the value where it has a line end."""
    data = b""
    for name, value in fields.items():
        raw = value.encode("utf-8", "surrogateescape")
        if b"\n" in raw:
            data += name.encode("ascii") + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n"
        else:
            data += name.encode("ascii") + b"=" + raw + b"\n"
    return data


def send(fields: "dict[str, str]") -> bool:
    """Put a message into the journal.  False where none listens: MESSAGE and PRIORITY go to standard error then."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        # Never block: a journal that hangs must not keep a stack from coming up.
        sock.setblocking(False)
        sock.sendto(encode(fields), os.fsencode(system.path(SOCKET)))
        return True
    except OSError:
        text = " ".join(fields.get("MESSAGE", "").splitlines())
        print(f"<{fields.get('PRIORITY', '5')}>{text}", file=sys.stderr, flush=True)
        return False
    finally:
        sock.close()
