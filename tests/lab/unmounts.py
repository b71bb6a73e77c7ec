"""Both nodes unmount at the same instant, again and again, by hand and without the product.

OCFS2's lock manager races with itself then: each node hands the locks that it masters to the other one, which is
leaving as well, and once in a great many times a kernel stops at a BUG (docs/recovery.md, 16). A node that hangs ends
the run with a report; without one it has not come in so many rounds.
"""

from __future__ import annotations

import argparse
import sys
import time

from . import arguments, snapshot
from .image import image
from .lab import Lab, say
from .node import Node
from .provision import BACKING_FILE, LOOP, provisioned
from .stack import MOUNTPOINT

_LEAD = 3.0  # seconds until the instant, for both to be told of it


def _attach(node: Node) -> None:
    node.run(f"modprobe loop; losetup {LOOP} {BACKING_FILE}; drbdadm up r0", timeout=120)
    node.wait_until("grep -q 'ds:UpToDate/UpToDate' /proc/drbd")


def main() -> int:
    """Mount and unmount on both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add(parser.add_argument)
    parser.add_argument("--rounds", type=int, default=100, help="some 18 s each [%(default)s]")
    options = parser.parse_args()
    made = image(options.release, options.extra_modules, say)
    with Lab(made, provisioned(made)) as lab:
        snapshot.resume(lab)
        lab.both(_attach)
        for node in lab.nodes:  # one after the other: DRBD refuses two at once
            node.run("drbdadm primary r0; o2cb register-cluster web")
        for number in range(1, options.rounds + 1):
            lab.both(lambda node: node.run(f"mount /dev/drbd0 {MOUNTPOINT}", timeout=120))
            wait = f"import time; time.sleep(max(0, {time.time() + _LEAD!r} - time.time()))"
            lab.both(lambda node, wait=wait: node.run(f'python3 -c "{wait}"; umount {MOUNTPOINT}'))  # type: ignore[misc]
            say(f"{number} of {options.rounds}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
