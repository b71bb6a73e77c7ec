"""What command, generator and wait cost, against the interpreter and systemd-fstab-generator: `make bench`.

All that is compared runs in turn, so that whatever else the machine does hits it alike. Compare the ratios: they hold
from one machine to the next, milliseconds do not. Budgets are held to the processor time of a process and of what it
starts, which a busy machine changes least; the time by the clock stands beside it. The product is measured as it is
installed: laid out by setup.py, byte-compiled, in memory as /run is. Standard library only.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from tests.standin_systemd import Systemd

from . import page

TOP = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
FSTAB_GENERATOR = "system-generators/systemd-fstab-generator"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
WAITS = 32
QUIET = 20.0  # seconds for which a wait is looked at

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
EVENTS = """\
exists resource name:r{0} role:{1} suspended:no
exists connection name:r{0} peer-node-id:1 conn-name:server2 connection:{2} role:{3}
exists device name:r{0} volume:0 minor:{0} disk:UpToDate
exists peer-device name:r{0} peer-node-id:1 conn-name:server2 volume:0 replication:{4} peer-disk:{5}
"""
DRBDSETUP = """\
#!/bin/sh
/bin/cat "$DRBDOCFS_ROOT/events"
case $* in *--now*) ;; *) exec sleep 3600 ;; esac
"""
# The command, with a stand-in where systemd listens.
COMMAND = """\
import sys
sys.path.insert(0, {library!r})
from drbdocfs_boot.cli import main
if len(sys.argv) > 1 and sys.argv[1] == "status":
    from drbdocfs_boot import systemd
    systemd._require_systemd = lambda: None
    systemd.dbus.PRIVATE = systemd.dbus.SYSTEM = {socket!r}
sys.exit(main())
"""


@dataclass
class Variant:
    """A command to measure, and what was measured: milliseconds of the processor and by the clock."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    processor: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)

    def once(self) -> None:
        """One run. Raises SystemExit when it fails."""
        actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
        begin = time.perf_counter()
        child = os.posix_spawn(self.command[0], self.command, {**ENVIRONMENT, **self.environment}, file_actions=actions)
        _, status, usage = os.wait4(child, 0)
        self.clock.append((time.perf_counter() - begin) * 1000)
        self.processor.append((usage.ru_utime + usage.ru_stime) * 1000)
        if status != 0:
            raise SystemExit(f"{' '.join(self.command)} ended with status {os.waitstatus_to_exitcode(status)}")


@dataclass
class Result:
    """A line of the table: ``ratio`` of processor times, at most ``budget`` (None: there is none)."""

    what: str
    against: str
    ratio: float
    budget: float | None
    smallest: float = 0.0
    spread: str = ""
    clock: float = 0.0
    why: str = ""

    def cells(self) -> list[str]:
        verdict = ""
        if self.budget is not None:
            missed = f"**missed**{': ' + self.why if self.why else ''}"
            verdict = missed if self.ratio > self.budget else "kept"
        return [
            self.what,
            self.against,
            f"{self.ratio:.2f}",
            f"{self.smallest:.2f}" if self.smallest else "",
            self.spread,
            f"{self.clock:.2f}" if self.clock else "",
            "" if self.budget is None else f"{self.budget:g}",
            verdict,
        ]


def interleaved(variants: dict[str, Variant], runs: int, output: Path) -> None:
    """Run each in turn, so often, after once for the caches."""
    for number in range(runs + 1):
        for variant in variants.values():
            shutil.rmtree(output, ignore_errors=True)
            for name in ("normal", "early", "late"):
                (output / name).mkdir(parents=True)
            variant.once()
            if number == 0:
                variant.clock.clear()
                variant.processor.clear()


def spread(values: list[float]) -> str:
    """Lowest and highest quarter, in milliseconds."""
    if len(values) < 4:
        return f"{min(values):.1f}–{max(values):.1f}"
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low:.1f}–{high:.1f}"


def compare(
    what: str,
    variant: Variant,
    against: str,
    base: Variant,
    budget: float | None,
    tools: tuple[Variant | None, Variant | None] = (None, None),
) -> Result:
    """``variant`` against ``base``, without the time of the tools that each of them runs."""

    def figures(times: str) -> tuple[float, float]:
        middle, smallest = [], []
        for measured, tool in zip((variant, base), tools):
            without = statistics.median(getattr(tool, times)) if tool is not None else 0.0
            middle.append(statistics.median(getattr(measured, times)) - without)
            smallest.append(min(getattr(measured, times)) - without)
        return middle[0] / middle[1], smallest[0] / smallest[1]

    middle, smallest = figures("processor")
    return Result(what, against, middle, budget, smallest, spread(variant.processor), figures("clock")[0])


class Place:
    """The product as it is installed, and roots of hosts."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.stage = place / "stage"
        self.output = place / "output"
        subprocess.run(
            [
                PYTHON,
                "setup.py",
                "--quiet",
                "egg_info",
                f"--egg-base={place}",
                "install_system",
                f"--root={self.stage}",
            ],
            cwd=TOP,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.library = str(self.stage / "usr/share/drbdocfs-boot")
        if not compileall.compile_dir(self.library, quiet=1):
            raise SystemExit("the library cannot be compiled, so there is nothing to measure")
        self.generator = self.script("usr/lib/systemd/system-generators/drbdocfs-generator")
        self.wait = self.script("usr/libexec/drbdocfs-boot/wait")
        self.command = place / "drbdocfs"
        self.command.write_text(COMMAND.format(library=self.library, socket=str(place / "systemd")))
        tools = place / "bin"
        tools.mkdir()
        (tools / "drbdsetup").write_text(DRBDSETUP)
        (tools / "drbdsetup").chmod(0o755)
        self.tools = f"{tools}:{ENVIRONMENT['PATH']}"

    def script(self, name: str) -> str:
        """An installed script, which finds the library where it is now."""
        path = self.stage / name
        path.write_text(path.read_text().replace('"/usr/share/drbdocfs-boot"', repr(self.library)))
        return str(path)

    def root(self, stacks: int, alone: bool = False) -> str:
        """The root of a host with so many stacks, up, or waiting for their peer."""
        root = self.place / f"root{stacks}{'-alone' if alone else ''}"
        state = ("Secondary", "Connecting", "Unknown", "Off", "DUnknown") if alone else (
            "Primary", "Connected", "Primary", "Established", "UpToDate",
        )  # fmt: skip
        files = {
            "proc/cmdline": "quiet\n",
            "etc/drbdocfs/drbdocfs.conf": "".join(STACK.format(n) for n in range(stacks)),
            "sys/module/drbd/version": "9.2.0\n",
            "proc/self/mountinfo": "".join(
                f"{n} 2 147:{n} / /mnt/storage{n} rw - ocfs2 /dev/drbd{n} rw\n" for n in range(stacks)
            ),
            "events": "".join(EVENTS.format(n, *state) for n in range(stacks)) + "exists -\n",
            "fstab": "".join(f"/dev/drbd{n} /mnt/storage{n} ocfs2 noatime,nodev 0 0\n" for n in range(stacks)),
        }
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        if not stacks:
            (root / "etc/drbdocfs/drbdocfs.conf").unlink()
        for number in range(stacks):
            (root / f"mnt/storage{number}").mkdir(parents=True, exist_ok=True)
        return str(root)


def command(place: Place, runs: int) -> Iterator[Result]:
    """`drbdocfs --version` and `drbdocfs status`."""
    Systemd(str(place.place / "systemd"), text="")
    start = [PYTHON, "-I", str(place.command)]
    hosts = {n: {"PATH": place.tools, "DRBDOCFS_ROOT": place.root(n)} for n in (1, 32)}
    drbdsetup = place.tools.partition(":")[0] + "/drbdsetup"
    variants = {
        "python": Variant([PYTHON, "-c", "pass"]),
        "version": Variant([*start, "--version"]),
        "one": Variant([*start, "status"], hosts[1]),
        "parsed": Variant([*start, "status", "stack0"], hosts[1]),
        "many": Variant([*start, "status"], hosts[32]),
        "drbd-one": Variant([drbdsetup, "--now"], hosts[1]),
        "drbd-many": Variant([drbdsetup, "--now"], hosts[32]),
    }
    interleaved(variants, runs, place.output)
    python, one, drbd = variants["python"], variants["one"], variants["drbd-one"]
    yield compare("`drbdocfs --version`", variants["version"], "`python3 -c pass`", python, 1.5)
    yield compare("`drbdocfs status`, one stack", one, "`python3 -c pass`", python, 3, (drbd, None))
    yield compare("`drbdocfs status STACK`", variants["parsed"], "`python3 -c pass`", python, None, (drbd, None))
    yield compare(
        "`drbdocfs status`, 32 stacks", variants["many"], "the same with one", one, 2, (variants["drbd-many"], drbd)
    )


def generator(place: Place, runs: int) -> Iterator[Result]:
    """The generator, without a stack, with one and with many."""
    theirs = next(
        (
            p
            for p in (f"/usr/lib/systemd/{FSTAB_GENERATOR}", f"/lib/systemd/{FSTAB_GENERATOR}")
            if os.access(p, os.X_OK)
        ),
        "",
    )
    directories = [str(place.output / part) for part in ("normal", "early", "late")]
    measured: dict[int, dict[str, Variant]] = {}
    for stacks, times in ((0, runs), (1, runs), (100, max(3, runs // 5)), (1000, max(3, runs // 15))):
        root = place.root(stacks)
        measured[stacks] = {
            "python": Variant([PYTHON, "-I", "-S", "-c", "pass"]),
            "ours": Variant([PYTHON, "-IS", place.generator, *directories], {"DRBDOCFS_ROOT": root}),
        }
        if theirs:
            measured[stacks]["theirs"] = Variant([theirs, *directories], {"SYSTEMD_FSTAB": f"{root}/fstab"})
        interleaved(measured[stacks], times, place.output)
    bare = "`python3 -I -S -c pass`"
    yield compare("generator, nothing configured", measured[0]["ours"], bare, measured[0]["python"], 1.1)
    yield compare("generator, one stack", measured[1]["ours"], bare, measured[1]["python"], 1.3)
    if not theirs:
        return
    yield compare(
        "generator, one stack", measured[1]["ours"], "systemd-fstab-generator, one line", measured[1]["theirs"], 2.2
    )
    for stacks in (100, 1000):
        each = {
            name: (statistics.median(measured[stacks][name].processor) - statistics.median(measured[1][name].processor))
            / (stacks - 1)
            for name in ("ours", "theirs")
        }
        yield Result(
            f"generator, each further of {stacks} stacks ({each['ours']:.3f} ms)",
            f"each further line of fstab ({each['theirs']:.3f} ms)",
            each["ours"] / each["theirs"],
            2,
            why="a stack is nine files, eight directories and a link, a line of fstab is a file and a link",
        )


def waits(place: Place) -> Iterator[Result]:
    """Helpers that wait for their peers: memory, and what wakes them."""
    environment = {
        **ENVIRONMENT, "PATH": place.tools, "DRBDOCFS_ROOT": place.root(1, alone=True), "DRBDOCFS_RESOURCE": "r0",
        "DRBDOCFS_DEVICE": "/dev/drbd0", "DRBDOCFS_BOOT_TIMEOUT": "600000000", "DRBDOCFS_PEER_TIMEOUT": "600000000",
        "DRBDOCFS_WHEN_ALONE": "wait",
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        helpers = []
        for number in range(WAITS):
            helper = subprocess.Popen(
                [PYTHON, "-IS", place.wait, "start", f"stack{number}"], env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(helper.wait)
            stack.callback(helper.terminate)
            helpers.append(helper.pid)
        deadline = time.monotonic() + 60
        sockets = Path(environment["DRBDOCFS_ROOT"], "run/drbdocfs")
        while len(list(sockets.glob("*.socket"))) < WAITS and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(3)
        resident = max(number_of(f"/proc/{pid}/status", "VmRSS") for pid in helpers) / 1024
        shares = sum(number_of(f"/proc/{pid}/smaps_rollup", "Pss") for pid in helpers) / 1024
        before = [number_of(f"/proc/{pid}/status", "voluntary_ctxt_switches") for pid in helpers]
        time.sleep(QUIET)
        after = [number_of(f"/proc/{pid}/status", "voluntary_ctxt_switches") for pid in helpers]
    woken = statistics.median(b - a for a, b in zip(before, after))
    yield Result("wait helper, resident", "MB", resident, 12)
    yield Result(
        f"{WAITS} wait helpers in all (PSS)", "MB", shares, 100,
        why="nearly three quarters are the bare interpreters'",
    )  # fmt: skip
    yield Result(
        f"wait helper, switches in {QUIET:.0f} s in which nothing happens", "none", woken, 0,
        why="nobody should be woken; the first look of its own at DRBD is after 30 s",
    )  # fmt: skip


def number_of(file: str, key: str) -> int:
    """The number after ``KEY:`` in a file of the kernel's."""
    for line in Path(file).read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise SystemExit(f"{file} has no {key}")


HEAD = ["what", "against", "ratio", "smallest", "quarters, ms", "by the clock", "budget", ""]


def table(results: list[Result]) -> str:
    """As Markdown, which can be read as it is."""
    rows = [HEAD, ["---"] * len(HEAD), *(result.cells() for result in results)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def versions() -> str:
    """Of what the figures depend on."""
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False).stdout
    system = (
        platform.freedesktop_os_release().get("PRETTY_NAME", "?")
        if hasattr(platform, "freedesktop_os_release")
        else "?"
    )
    python = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    manager = said.partition(" (")[0] or "no systemd"
    return f"{system}, {python}, {manager}"


def main() -> int:
    """Measure, print, and with --write put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=40, help="runs of each [%(default)s]")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    if options.runs < 3:
        parser.error("--runs must be 3 or more")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="drbdocfs-bench-", dir=memory) as name:
        place = Place(Path(name))
        results = [*command(place, options.runs), *generator(place, options.runs), *waits(place)]
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    about = f"{today}, `make bench` ({options.runs} runs of each), {versions()}, {page.machine()}."
    page.show("make bench", about, table(results), options.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
