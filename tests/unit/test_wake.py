"""Wake-ups between processes."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time

from drbdocfs_boot.tools import wake

from .conftest import Box


def ready(sock: wake.Socket, timeout: float = 0.0) -> bool:
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def test_a_wake_up_is_there_once_and_drained_whole(box: Box) -> None:
    name = wake.of_wait("web")
    assert name == "/run/drbdocfs/web.socket"
    sock = wake.listen(name)
    assert (box.root / "run/drbdocfs/web.socket").is_socket()
    assert (box.root / "run/drbdocfs/web.socket").stat().st_mode & 0o777 == 0o600
    sock.drain()  # nothing there: does not wait
    assert not ready(sock)
    assert wake.send(name)
    assert wake.send(name)
    assert ready(sock)
    sock.drain()
    assert not ready(sock)
    sock.close()
    assert not (box.root / "run/drbdocfs/web.socket").exists()
    sock.close()  # once more does no harm


def test_nobody_listens(box: Box) -> None:
    assert wake.send(wake.FOLLOW) is False
    box.write(wake.FOLLOW, "no socket")
    assert wake.send(wake.FOLLOW) is False


def test_a_socket_that_a_killed_process_left_behind(box: Box) -> None:
    path = box.root / "run/drbdocfs-follow/socket"
    path.parent.mkdir(parents=True)
    left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.bind(str(path))
    left.close()
    assert wake.send(wake.FOLLOW) is False
    sock = wake.listen(wake.FOLLOW)
    assert wake.send(wake.FOLLOW)
    assert ready(sock)
    sock.close()


def test_a_full_queue_is_no_failure_and_does_not_hold_the_sender(box: Box) -> None:
    sock = wake.listen(wake.FOLLOW)
    began = time.monotonic()
    assert all(wake.send(wake.FOLLOW) for _ in range(3000))
    assert time.monotonic() - began < 5
    sock.drain()
    assert not ready(sock)
    assert wake.send(wake.FOLLOW)
    assert ready(sock)
    sock.close()


def test_the_longest_name_of_a_stack_fits_into_a_socket() -> None:
    # sun_path has 108 bytes, with the zero at its end.
    assert len(os.fsencode(wake.of_wait("x" * 64))) < 108


def test_another_process_is_woken_at_once(box: Box) -> None:
    sock = wake.listen(wake.of_wait("web"))
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from drbdocfs_boot.tools import wake\n"
        "print(repr(time.monotonic()), flush=True)\n"
        "sys.exit(0 if wake.send(wake.of_wait('web')) else 1)"
    )
    library = os.path.dirname(os.path.dirname(os.path.dirname(wake.__file__)))
    sender = subprocess.Popen([sys.executable, "-c", code, library], stdout=subprocess.PIPE, text=True)
    assert ready(sock, 20)
    woken = time.monotonic()
    out, _ = sender.communicate()
    sock.close()
    assert sender.returncode == 0
    assert woken - float(out) < 0.3
