"""How long the generator takes, against the bare interpreter and systemd-fstab-generator: `make bench`.

The three run in turn, so that whatever else the machine does hits them alike. Compare the ratios: they hold from one
machine to the next, milliseconds do not. Standard library only; the generator runs from a byte-compiled copy, as it
does once installed.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
FSTAB_GENERATORS = (
    "/usr/lib/systemd/system-generators/systemd-fstab-generator",
    "/lib/systemd/system-generators/systemd-fstab-generator",
)

STACK = """\
[stack{0}]
resource      = r{0}
device        = /dev/drbd{0}
backing_file  = /var/lib/drbd/{0}.img
loop_device   = /dev/loop{0}
cluster       = web
mountpoint    = /mnt/storage{0}
mount_options = noatime,nodev
boot_timeout  = 3min

"""


def _once(command: list[str], environment: dict[str, str], output: Path) -> float:
    """Seconds from the start of a process to its end. Raises SystemExit when it fails."""
    shutil.rmtree(output, ignore_errors=True)
    for name in ("normal", "early", "late"):
        (output / name).mkdir(parents=True)
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    begin = time.perf_counter()
    child = os.posix_spawn(command[0], command, environment, file_actions=actions)
    _, status = os.waitpid(child, 0)
    end = time.perf_counter()
    if status != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    return end - begin


def measure(runs: int, stacks: int) -> dict[str, list[float]]:
    """Times in seconds by name, `runs` each, for a configuration of that many stacks."""
    fstab_generator = next((path for path in FSTAB_GENERATORS if os.access(path, os.X_OK)), None)
    with tempfile.TemporaryDirectory(prefix="drbdocfs-bench-") as name:
        place = Path(name)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(TOP / "drbdocfs_boot", place / "drbdocfs_boot", ignore=ignore)
        shutil.copytree(TOP / "generators", place / "generators", ignore=ignore)
        if not compileall.compile_dir(str(place / "drbdocfs_boot"), quiet=1):
            raise SystemExit("the library cannot be compiled, so there is nothing to measure")
        root = place / "root"
        (root / "etc/drbdocfs").mkdir(parents=True)
        (root / "proc").mkdir()
        (root / "proc/cmdline").write_text("quiet\n", encoding="utf-8")
        text = "".join(STACK.format(number) for number in range(stacks))
        (root / "etc/drbdocfs/drbdocfs.conf").write_text(text, encoding="utf-8")
        lines = "".join(f"/dev/drbd{n} /mnt/storage{n} ocfs2 noatime,nodev 0 0\n" for n in range(stacks))
        # Not root/etc/fstab: our generator shall write the mount units itself.
        (place / "fstab").write_text(lines, encoding="utf-8")

        output = place / "output"
        directories = [str(output / part) for part in ("normal", "early", "late")]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        ours = {**environment, "DRBDOCFS_ROOT": str(root)}
        theirs = {**environment, "SYSTEMD_FSTAB": str(place / "fstab")}
        variants = {
            "python3 -I -S -c pass": ([PYTHON, "-I", "-S", "-c", "pass"], environment),
            "drbdocfs-generator": ([PYTHON, "-IS", str(place / "generators/drbdocfs-generator"), *directories], ours),
        }
        if fstab_generator:
            variants["systemd-fstab-generator"] = ([fstab_generator, *directories], theirs)

        times: dict[str, list[float]] = {variant: [] for variant in variants}
        for number in range(runs + 2):
            for variant, (command, variables) in variants.items():
                spent = _once(command, variables, output)
                if number >= 2:  # the first two fill the caches
                    times[variant].append(spent)
        return times


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100, help="runs of each [%(default)s]")
    parser.add_argument("--stacks", type=int, default=1, help="stacks in the configuration [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print seconds as JSON")
    options = parser.parse_args()
    if options.runs < 1 or options.stacks < 0:
        parser.error("--runs must be 1 or more, --stacks 0 or more")
    times = measure(options.runs, options.stacks)
    if options.json:
        json.dump({"version": 1, "stacks": options.stacks, "seconds": times}, sys.stdout)
        print()
        return 0
    base = times["python3 -I -S -c pass"]
    print(f"{options.runs} runs each in turn, {options.stacks} stack(s); ratios against the bare interpreter")
    print(f"{'':26}{'min ms':>9}{'ratio':>7}{'median ms':>11}{'ratio':>7}")
    for variant, spent in times.items():
        low, middle = min(spent), statistics.median(spent)
        print(
            f"{variant:26}{low * 1000:9.2f}{low / min(base):7.2f}"
            f"{middle * 1000:11.2f}{middle / statistics.median(base):7.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
