"""Two nodes to try things on by hand: `python3 -m tests.lab`, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from . import arguments
from .image import image
from .lab import Lab, say
from .provision import provisioned


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab", description=__doc__)
    arguments.add(parser.add_argument)
    parser.add_argument("--bare", action="store_true", help="without the guide's set-up of DRBD and OCFS2")
    parser.add_argument("--deb", type=Path, help="a package to install on both")
    options = parser.parse_args()
    made = image(options.release, options.extra_modules, say)
    try:
        with Lab(made, None if options.bare else provisioned(made)) as lab:
            say("boot of both nodes")
            lab.boot()
            if options.deb is not None:
                lab.both(lambda node: node.install(options.deb))
            for node in lab.nodes:
                say(f"{node.name}: {node.ssh_command}")
            say("Ctrl-C ends both")
            signal.pause()
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
