"""Is an address on this host?  Asked of the kernel by binding a socket, which costs no process.

Without it DRBD 8.4 goes StandAlone at the connect and never tries again ("bind before listen failed, err = -99"),
and O2CB leaves a cluster half registered.  network-online.target does not promise it: a bond, a bridge or DHCP may
bring the address later.
"""

import _socket
import time

from drbdocfs_boot.helpers.base import Layer

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from collections.abc import Callable

    from drbdocfs_boot.events import State


def present(address: str) -> bool:
    """False only when the kernel says that the address is not there; what cannot be judged counts as there."""
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    try:
        sock = _socket.socket(family, _socket.SOCK_DGRAM)
    except OSError:
        return True
    try:
        sock.bind((address, 0))
    except OSError as error:
        from errno import EADDRNOTAVAIL  # not before: nearly always it is there

        return error.errno != EADDRNOTAVAIL
    finally:
        sock.close()
    return True


def wait(layer: Layer, address: str, limit: float, longer: "Callable[[], bool]" = lambda: False) -> bool:
    """Wait at most ``limit`` seconds for the address, and after them as long as ``longer`` says; True when it is
    there."""
    deadline = time.monotonic() + limit
    told = False
    while not present(address):
        if time.monotonic() >= deadline and not longer():
            return False
        if not told:
            layer.say(f"waiting for the address {address} on this host")
            told = True
        time.sleep(0.3)
    return True


def why_stand_alone(state: "State", resource: str, own: str, instance: str) -> str:
    """Why a connection is StandAlone, by the kernel log, see kernellog.

    Where that has no word of it, ADDRESS if the address ``own`` of this host is not there, or was not when the stack
    ``instance`` was attached: nobody has told DRBD to connect since.
    """
    from drbdocfs_boot.kernellog import ADDRESS  # not for O2CB, which asks for addresses only
    from drbdocfs_boot.tools import drbd, records

    why = drbd.why_stand_alone(state, resource)
    if why or not own:
        return why
    return ADDRESS if not present(own) or records.read(instance, records.UNCONNECTED) is not None else ""
