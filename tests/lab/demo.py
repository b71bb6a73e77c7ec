"""`make demo`: from two bare machines to a file system on both, rebooted, with the progress shown all along."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import arguments, stack
from .image import REPLICATION_ADDRESS, image
from .lab import Lab, LabError, know_each_other, say

# All that an administrator types on day one.
CREATE = (
    f"drbdocfs create web --peer server2={REPLICATION_ADDRESS[2]} --address {REPLICATION_ADDRESS[1]}"
    " --mountpoint /mnt/storage --size 160M --first server1 --yes"
)


def _print(title: str, text: str) -> None:
    print(f"\n-- {title}\n{text.rstrip()}\n", flush=True)


def _show(lab: Lab) -> None:
    for node in lab.nodes:
        _print(f"{node.name}: drbdocfs status", node.run("drbdocfs status"))
    for writer, reader in (lab.nodes, lab.nodes[::-1]):
        path = f"{stack.MOUNTPOINT}/from-{writer.name}"
        writer.run(f"echo 'written by {writer.name}' > {path}")
        said = reader.run(f"cat {path}").strip()
        say(f"{path}: {writer.name} wrote it, {reader.name} reads: {said}")
    for node in lab.nodes:
        _print(f"{node.name}: drbdocfs timeline, of this boot, under emulation", node.run("drbdocfs timeline"))
    _print("server1: drbdocfs check --peer", lab.nodes[0].run("drbdocfs check --peer", timeout=120))


def run(lab: Lab, deb: Path) -> None:
    """The whole story on a lab that is not switched on yet; raises LabError at the first thing that is not right."""
    say("two nodes: boot")
    lab.boot()
    know_each_other(lab)
    say(f"install {deb.name} with apt")
    lab.both(lambda node: node.install(deb))
    _print(f"server1: {CREATE}", lab.nodes[0].run(CREATE, timeout=600))
    stack.check_up(lab)
    say("mounted on both; reboot of both")
    seconds = lab.both(lambda node: node.reboot())
    say(f"both are back (their shutdowns took {seconds[0]:.1f} and {seconds[1]:.1f} s)")
    stack.check_up(lab)
    for node in lab.nodes:
        stack.check_shutdown(node)
    _show(lab)
    say("power off")
    lab.shutdown()


def main() -> int:
    """Returns 0, 1 when something was not right, or 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab.demo", description=__doc__)
    arguments.add(parser.add_argument)
    parser.add_argument("--deb", type=Path, help="the package to install (default: the newest in dist/)")
    options = parser.parse_args()
    try:
        deb = arguments.find_deb(options.deb)
        with Lab(image(options.release, options.extra_modules, say)) as lab:
            try:
                run(lab, deb)
            except AssertionError as error:
                # Not of the lab itself, whose errors show the nodes already.
                if isinstance(error, LabError):
                    raise
                raise LabError(lab.report(str(error))) from error
    except (LabError, OSError, RuntimeError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    say("done: nothing is left running")
    return 0


if __name__ == "__main__":
    sys.exit(main())
