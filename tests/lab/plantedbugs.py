"""Does the matrix notice when the layers are in the wrong order? A bug is planted in each, in the installed package of
a pair of its own, and a row has to find it.

`python3 -m tests.lab.plantedbugs [LAYER…]`: those named, or all, after the row without any bug; each result is
appended to dist/plantedbugs.jsonl. Status 1 when a bug was not found, or when the row does without a bug what it should
not. About five minutes each.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import arguments, fault
from .fault import NoGood
from .image import image
from .lab import say
from .matrix import ROWS, Pair
from .node import Node
from .stack import LAYERS

RESULTS = Path("dist/plantedbugs.jsonl")
ROW = "reboot-one"
# Seconds until a pair with a bug is given up.
BACK = 60.0
UNITS = "/usr/lib/systemd/system"
LIBRARY = "/usr/share/drbdocfs-boot/drbdocfs_boot"


@dataclass(frozen=True)
class Bug:
    """What is taken out: of each file a text, which has to be there; afterwards `unit` is not `After=` `before`."""

    words: str
    unit: str
    before: str
    edits: tuple[tuple[str, str, str], ...]  # file, text, what stands there instead
    kind: str = "After"


_GENERATOR = f"{LIBRARY}/units.py"
# Where a layer's place follows from more than one line, all of them go: one alone would change nothing.
BUGS = {
    "loop": Bug(
        "DRBD is attached without waiting for the loop device, which goes without waiting for DRBD",
        LAYERS["attach"],
        LAYERS["loop"],
        (
            (f"{UNITS}/drbdocfs-attach@.service", "After=drbdocfs-loop@%i.service\n", ""),
            (_GENERATOR, r'attach += f"BindsTo={loop}\nAfter={loop}\n"', r'attach += f"BindsTo={loop}\n"'),
        ),
    ),
    "attach": Bug(
        "the wait does not wait for the attach",
        LAYERS["wait"],
        LAYERS["attach"],
        ((f"{UNITS}/drbdocfs-wait@.service", "After=drbdocfs-attach@%i.service\n", ""),),
    ),
    "wait": Bug(
        "the promotion does not wait for the wait",
        LAYERS["promote"],
        LAYERS["wait"],
        ((f"{UNITS}/drbdocfs-promote@.service", "After=drbdocfs-wait@%i.service\n", ""),),
    ),
    "promote": Bug(
        "the mount does not wait for the promotion",
        LAYERS["mount"],
        LAYERS["promote"],
        (
            (_GENERATOR, r".service\nAfter=drbdocfs-promote@{name}.service\n", r".service\n"),
            # The mount comes after this target, too.
            (_GENERATOR, r"Wants={unit}\nBefore={unit}\n", r"Wants={unit}\n"),
        ),
    ),
    "o2cb": Bug(
        "O2CB does not wait for the attach, nor the mount for O2CB",
        LAYERS["o2cb"],
        LAYERS["attach"],
        (
            (_GENERATOR, r'"".join(f"After={anchor}\n" for anchor in anchors)', '""'),
            (_GENERATOR, r".service\nAfter=drbdocfs-o2cb@{stack.cluster}.service\n", r".service\n"),
        ),
    ),
    "mount": Bug(
        "remote-fs.target, and with it what uses the mount, does not wait for it",
        LAYERS["mount"],
        "remote-fs.target",
        (
            (_GENERATOR, r"After={mount}\nBefore=remote-fs.target\n", r"After={mount}\n"),
            # systemd itself orders a mount of this type there.
            (_GENERATOR, r'+ "Before=remote-fs.target\n"', r'+ "DefaultDependencies=no\n"'),
        ),
        kind="Before",
    ),
}


def plant(node: Node, bug: Bug) -> None:
    """Put a bug into a node's package, and see that it is there for systemd."""
    listed = f"systemctl show --property={bug.kind} --value '{bug.unit}' | tr ' ' '\\n' | grep -Fx '{bug.before}'"
    node.run(listed)
    for path, text, instead in bug.edits:
        program = (
            "import sys; path, text, instead = sys.argv[1:]; old = open(path).read(); assert text in old, text;"
            " open(path, 'w').write(old.replace(text, instead))"
        )
        node.put_text("/root/plant.py", program)
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in (path, text, instead))
        node.run(f"python3 -I /root/plant.py {quoted}")
    node.run(f"rm -f {LIBRARY}/__pycache__/units.*; systemctl daemon-reload; if {listed}; then exit 1; fi; sync")


def find(pair: Pair, bug: Bug | None) -> list[str]:
    """What a row says of a pair with a bug; empty when it has found nothing."""
    lab = pair.get()
    if bug is not None:
        lab.both(lambda node: plant(node, bug))
    try:
        return ROWS[ROW].run(lab).wrong
    except NoGood as error:
        pair.throw_away()
        return error.wrong
    finally:
        if bug is not None:
            pair.throw_away()


def main() -> int:
    """Returns 0 when each bug was found, 1 when not, 2 for a name that is none, or 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab.plantedbugs", description=__doc__)
    arguments.add(parser.add_argument)
    parser.add_argument("--deb", type=Path, help="the package to install (default: the newest in dist/)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are appended (%(default)s)")
    parser.add_argument("layers", nargs="*", metavar="LAYER", help=", ".join(BUGS))
    options = parser.parse_args()
    if any(name not in BUGS for name in options.layers):
        print(f"plantedbugs: the layers are {', '.join(BUGS)}", file=sys.stderr)
        return 2
    pair = None
    missed = 0
    try:
        pair = Pair(image(options.release, options.extra_modules, say), arguments.find_deb(options.deb))
        for name in ("", *(options.layers or BUGS)):
            bug = BUGS.get(name)
            say(f"{name or 'no bug'}: {bug.words if bug else 'the row has nothing to say'}")
            fault.BACK = BACK if bug else 300.0
            found = find(pair, bug)
            good = bool(found) == (bug is not None)
            missed += not good
            for line in found:
                say(f"  {line}")
            say(f"  {'found' if found else 'nothing found'} by {ROW}{'' if good else ': WRONG'}")
            entry = {"layer": name, "bug": bug.words if bug else "none", "row": ROW, "found": found, "good": good,
                     "at": time.strftime("%Y-%m-%d %H:%M")}  # fmt: skip
            options.results.parent.mkdir(exist_ok=True)
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
    except (AssertionError, OSError, RuntimeError, ValueError) as error:
        print(f"plantedbugs: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("plantedbugs: interrupted", file=sys.stderr)
        return 130
    finally:
        if pair is not None:
            pair.throw_away()
    say(f"{missed} not as expected; nothing is left running")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
