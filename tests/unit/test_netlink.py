"""The kernel's word on addresses, in a network namespace of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2]
PROGRAM = r"""
import select, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from drbdocfs_boot.helpers import address
from drbdocfs_boot.tools.netlink import Addresses

def ip(*words):
    subprocess.run(["ip", *words], check=True)

def news(limit):
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    return bool(poll.poll(limit * 1000))

ip("link", "set", "lo", "up")
time.sleep(0.2)
listener = Addresses()
listener.drain()  # nothing there: does not wait
assert not news(0)
for words in (["192.0.2.1/32"], ["2001:db8::1/128", "nodad"]):
    plain = words[0].partition("/")[0]
    assert not address.present(plain), plain
    ip("addr", "add", *words, "dev", "lo")
    assert news(2), "came " + plain
    # The word on the address comes before its local route is there, without which nobody can bind to it; so the word
    # on the route has to come as well, for who was too quick.
    kinds = set()
    while news(0.2):
        kinds.add(int.from_bytes(listener._socket.recv(65536)[4:6], sys.byteorder))
    assert kinds >= {20, 24}, f"RTM_NEWADDR, RTM_NEWROUTE: {kinds}"
    assert not news(0)
    assert address.present(plain), plain
    ip("addr", "del", words[0], "dev", "lo")
    assert news(2), "went " + plain
    listener.drain()
    assert not address.present(plain), plain
# More than the socket keeps: the kernel drops some and says so, which is news as well and not the end.
batch = "".join(f"addr add 10.{n // 250}.{n % 250}.1/32 dev lo\naddr del 10.{n // 250}.{n % 250}.1/32 dev lo\n"
                for n in range(2500))
subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
assert news(2)
listener.drain()
time.sleep(0.2)
listener.drain()
assert not news(0)
ip("addr", "add", "192.0.2.9/32", "dev", "lo")
assert news(2)
listener.close()
print("done")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace of its own needs root")
@pytest.mark.skipif(not shutil.which("unshare") or not shutil.which("ip"), reason="unshare or ip is not installed")
def test_addresses_that_come_and_go_are_news() -> None:
    probe = subprocess.run(
        ["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip(f"no network namespace here: {probe.stderr.strip()}")
    environment = {key: value for key, value in os.environ.items() if key != "DRBDOCFS_ROOT"}
    result = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", PROGRAM, str(LIBRARY)],
        capture_output=True, text=True, check=False, timeout=60, env=environment,
    )  # fmt: skip
    assert (result.stdout, result.stderr) == ("done\n", "")


def test_nothing_is_news_while_nothing_happens() -> None:
    from drbdocfs_boot.tools.netlink import Addresses

    listener = Addresses()
    listener.drain()
    listener.close()
