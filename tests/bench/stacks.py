"""Boots and stops of a pair with 1, 8 and 32 stacks of one cluster, by us and by the shortest right script in one unit:
`python3 -m tests.bench.stacks`.

All pairs are of the same disks with the same 32 resources, and differ in how many of them are stacks, and whose.
"""

from __future__ import annotations

import inspect
import re
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab import cache
from tests.lab.image import REPLICATION_ADDRESS, Image
from tests.lab.lab import Lab, LabError, say
from tests.lab.node import Node
from tests.lab.provision import CLUSTER, FILES

from . import program

MOST = 32
COUNTS = (1, 8, MOST)
SIZE = "40M"
SYNC_LIMIT = 300.0
BOOT_LIMIT = 300.0
STOP_LIMIT = 600.0
_MOUNTING = re.compile(r"^\[ *([0-9.]+)\] ocfs2: Mounting device", re.MULTILINE)
_NUMBERS = f"$(seq 0 {MOST - 1})"

_RESOURCE = """\
resource r{n} {{
	meta-disk internal;
	device /dev/drbd{n};
	disk /dev/loop{loop};
	net {{ allow-two-primaries; }}
	on server1 {{ address {one}:{port}; }}
	on server2 {{ address {two}:{port}; }}
}}
"""
_STACK = """\
[s{n}]
resource      = r{n}
device        = /dev/drbd{n}
backing_file  = /stacks/{n}.img
loop_device   = /dev/loop{loop}
cluster       = web
mountpoint    = /mnt/s{n}
mount_options = noatime
# What is measured is how long it takes, not when it is given up.
boot_timeout  = 10min
"""

# As tests/bench/boots.py has it for one.
_FLOOR = """\
#!/bin/bash
set -eu
resources=$(seq -f r%g 0 {last})
case $1 in
start)
    modprobe -a loop drbd ocfs2 ocfs2_stack_o2cb
    for n in $(seq 0 {last}); do losetup /dev/loop$((10 + n)) /stacks/$n.img; done
    drbdadm up $resources
    o2cb register-cluster web
    drbdadm wait-connect $resources
    for r in $resources; do grep -qm1 'peer-disk:UpToDate' < <(drbdsetup events2 $r); done
    # Where both nodes promote at the same moment, one of them is refused.
    for try in 1 2 3 4; do drbdadm primary $resources && break; sleep 0.3; done
    for n in $(seq 0 {last}); do mount -t ocfs2 -o noatime,barrier=1 /dev/drbd$n /mnt/s$n & done
    wait
    ;;
stop)
    for n in $(seq 0 {last}); do umount /mnt/s$n & done
    wait
    o2cb unregister-cluster web
    drbdadm down $resources
    for n in $(seq 0 {last}); do losetup --detach /dev/loop$((10 + n)); done
    ;;
esac
"""
_FLOOR_UNIT = """\
[Unit]
Wants=network-online.target
After=network-online.target network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/floor start
ExecStop=/usr/local/sbin/floor stop
TimeoutStartSec=600
TimeoutStopSec=600
[Install]
WantedBy=multi-user.target
"""
WAYS = {"floor": "the shortest right script in one unit", "ours": "drbdocfs-boot"}
_UNITS = {"ours": "'drbdocfs-*' 'mnt-s*.mount'", "floor": "floor.service"}
_STOPS = {"ours": "drbdocfs stop", "floor": "systemctl stop floor.service"}


@dataclass(frozen=True)
class Boot:
    """One boot of a pair and the stop of all stacks. Of the node that came last, or of the one that took more.

    Times in seconds; `memory` in MB is what all processes of ours have (PSS) with the stacks up; `processor` is what
    all units of the stacks have used for the boot; `started` is how many processes the boot has started in all.
    """

    stacks: int
    good: bool
    from_online: float | None = None
    processor: float | None = None
    started: int | None = None
    resident: int | None = None
    memory: float | None = None
    stop: float | None = None
    way: str = "ours"


def resources() -> str:
    """DRBD's part of all of them."""
    one, two = REPLICATION_ADDRESS[1], REPLICATION_ADDRESS[2]
    return "".join(_RESOURCE.format(n=n, loop=10 + n, port=7800 + n, one=one, two=two) for n in range(MOST))


def configuration(stacks: int) -> str:
    """Ours, of so many."""
    return "".join(_STACK.format(n=n, loop=10 + n) for n in range(stacks))


def _files(node: Node) -> None:
    node.put_text("/etc/hosts", FILES["/etc/hosts"])
    node.put_text("/etc/hostname", f"{node.name}\n")
    node.put_text("/etc/drbd.d/global_common.conf", FILES["/etc/drbd.d/global_common.conf"])
    node.put_text("/etc/drbd.d/stacks.res", resources())
    node.put_text("/etc/ocfs2/cluster.conf", CLUSTER)
    node.run(
        f"mkdir -p /stacks /etc/drbdocfs; modprobe loop; for n in {_NUMBERS}; do mkdir -p /mnt/s$n;"
        f" fallocate -l {SIZE} /stacks/$n.img; losetup /dev/loop$((10 + n)) /stacks/$n.img;"
        " drbdadm create-md r$n </dev/null; done 2>&1 && drbdadm up all",
        timeout=600,
    )


def _file_systems(node: Node) -> None:
    """All disks are empty on both nodes, so they are alike already."""
    node.run(
        f"o2cb register-cluster web; for n in {_NUMBERS}; do drbdadm -- --clear-bitmap new-current-uuid r$n"
        " && drbdadm primary r$n && mkfs.ocfs2 --nodiscard -L s$n -N 2 -J size=4M --cluster-stack=o2cb"
        " --cluster-name=web /dev/drbd$n </dev/null >/tmp/mkfs 2>&1 || { cat /tmp/mkfs; exit 1; }; done;"
        " o2cb unregister-cluster web",
        timeout=1200,
    )


def _down(node: Node) -> None:
    node.run(f"drbdadm down all; for n in {_NUMBERS}; do losetup --detach /dev/loop$((10 + n)); done; sync", 300)


def provisioned(made: Image) -> Path:
    """The disks of a pair with all resources and their file systems, none of them up; made once, kept in the cache."""

    def make(folder: Path) -> None:
        with Lab(made) as lab:
            say(f"{MOST} resources, once: boot of both nodes")
            lab.boot()
            say("files and metadata")
            lab.both(_files)
            states = f"test $(grep -c 'cs:Connected' /proc/drbd) -eq {MOST}"
            lab.both(lambda node: node.wait_until(states, SYNC_LIMIT))
            say("file systems")
            _file_systems(lab.nodes[0])
            alike = f"test $(grep -c 'ds:UpToDate/UpToDate' /proc/drbd) -eq {MOST}"
            lab.both(lambda node: node.wait_until(alike, SYNC_LIMIT))
            lab.both(_down)
            lab.shutdown()
            lab.keep(folder)

    source = "".join(inspect.getsource(one) for one in (_files, _file_systems, resources))
    key = cache.digest([made.folder.name.encode(), (source + resources() + CLUSTER).encode()])
    return cache.build_once(f"stacks-{made.release}-{key}", make)


def _mounts(node: Node) -> int:
    return len(node.run("findmnt --noheadings --types ocfs2 --output TARGET", check=False).splitlines())


def _mounted(node: Node) -> float:
    return float(_MOUNTING.findall(node.run("dmesg"))[-1])


def _processor(node: Node, way: str) -> float:
    shown = node.run(f"systemctl show --property=CPUUsageNSec {_UNITS[way]}")
    return sum(int(n) for n in re.findall(r"=(\d+)$", shown, re.MULTILINE) if int(n) < 1 << 62) / 1e9


def _resident(node: Node) -> tuple[int, float]:
    shown = node.run(
        "for pid in $(pgrep -f '[l]ibexec/drbdocfs-boot/'); do sed -n 's/^Pss: *//p' /proc/$pid/smaps_rollup; done",
        check=False,
    )
    sizes = [int(line.split()[0]) for line in shown.splitlines()]
    return len(sizes), sum(sizes) / 1024


def measure(lab: Lab, way: str, stacks: int) -> Boot:
    """Switch both on, wait for all mounts, stop them all on both at once, and switch off."""
    limit = time.monotonic() + BOOT_LIMIT
    for node in lab.nodes:
        node.start()
    lab.both(lambda node: node.wait_booted(BOOT_LIMIT))
    while not all(found == stacks for found in lab.both(_mounts)) and time.monotonic() < limit:
        time.sleep(2.0)
    found = lab.both(_mounts)
    if found != (stacks, stacks):
        say(f"{way}, {stacks} stacks: {found[0]} and {found[1]} are mounted")
        for node in lab.nodes:
            print(node.run("systemctl list-units --failed; drbdocfs status | tail -40", check=False))
        lab.both(lambda node: node.shutdown(STOP_LIMIT))
        return Boot(stacks, False, way=way)
    online = [node.boot_times().units["network-online.target"].active for node in lab.nodes]
    since = max(at - began for at, began in zip(lab.both(_mounted), online))
    processor = max(lab.both(lambda node: _processor(node, way)))
    resident = lab.both(_resident)
    started = max(int(node.run("sed -n 's/^processes //p' /proc/stat")) for node in lab.nodes)
    stop = max(lab.both(lambda node: _stop(node, way)))
    lab.both(lambda node: node.shutdown(STOP_LIMIT))
    return Boot(
        stacks, True, since, processor, started, max(n for n, _ in resident), max(m for _, m in resident), stop, way
    )


def _stop(node: Node, way: str) -> float:
    read = "read {} _ </proc/uptime"
    stop = f"{read.format('began')}; {_STOPS[way]} >/dev/null; {read.format('ended')}"
    began, ended = map(float, node.run(f"{stop}; echo $began $ended", STOP_LIMIT).split())
    return ended - began


def table(boots: Sequence[Boot]) -> str:
    """A row for each number of stacks and each way; ratios to one stack's by the same way, and to the floor's."""
    titles = [
        "stacks", "way", "all mounted on both", "network-online to all mounted, s", "of one's", "of the floor's",
        "processor, s", "of one's", "of the floor's", "processes started in the boot", "resident",
        "their memory (PSS), MB", "stop, s", "of one's", "of the floor's",
    ]  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", "| --: | --- |" + " --: |" * (len(titles) - 2)]
    columns = ("from_online", "processor", "started", "resident", "memory", "stop")
    for stacks, way in sorted({(boot.stacks, boot.way) for boot in boots}):
        mine = [boot for boot in boots if (boot.stacks, boot.way) == (stacks, way)]
        cells = [str(stacks), WAYS[way], f"{sum(boot.good for boot in mine)} of {len(mine)}"]
        for column in columns:
            value = _median(boots, way, stacks, column)
            # The floor has nothing that stays.
            cells.append("" if value is None or (way, column) == ("floor", "memory") else f"{value:.4g}")
            if column in ("from_online", "processor", "stop"):
                for base in (_median(boots, way, 1, column), _median(boots, "floor", stacks, column)):
                    cells.append(f"{value / base:.2f}" if value and base else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _median(boots: Sequence[Boot], way: str, stacks: int, column: str) -> float | None:
    mine = [boot for boot in boots if (boot.way, boot.stacks) == (way, stacks) and boot.good]
    values = [getattr(boot, column) for boot in mine]
    return statistics.median(values) if values else None


def _floor(node: Node, stacks: int) -> None:
    node.put_text("/usr/local/sbin/floor", _FLOOR.replace("{last}", str(stacks - 1)), 0o755)
    node.put_text("/etc/systemd/system/floor.service", _FLOOR_UNIT)
    node.run("systemctl enable floor.service 2>&1")


def _ours(node: Node, stacks: int, deb: Path) -> None:
    node.put_text("/etc/drbdocfs/drbdocfs.conf", configuration(stacks))
    node.install(deb)


def run(made: Image, deb: Path, counts: Sequence[int], times: int, results: Path) -> None:
    """Boot the pairs so often, in turn; each boot is a line of the file as soon as it is over."""
    with ExitStack() as labs:
        pairs = {}
        for way, stacks in ((way, stacks) for stacks in counts for way in WAYS):
            pairs[way, stacks] = lab = labs.enter_context(Lab(made, provisioned(made)))
            lab.boot()
            for node in lab.nodes:
                if way == "ours":
                    _ours(node, stacks, deb)
                else:
                    _floor(node, stacks)
            lab.shutdown()
            say(f"{way}, {stacks} stacks: set up")
        for number in range(1, times + 1):
            for (way, stacks), lab in pairs.items():
                try:
                    boot = measure(lab, way, stacks)
                except LabError as error:
                    say(f"{way}, {stacks} stacks: {str(error)[:2000]}")
                    boot = Boot(stacks, False, way=way)
                    for node in lab.nodes:
                        node.power_cut()
                program.keep(results, asdict(boot))
                say(f"boot {number} of {times}: {boot}")


def main() -> int:
    """Measure, print, and with --write put the table into the page."""
    parser = program.parser(__doc__, "stacks.jsonl", 3)
    parser.add_argument("--counts", help="numbers of stacks, with a comma between [1,8,32]")
    options = parser.parse_args()
    counts = [int(word) for word in options.counts.split(",")] if options.counts else list(COUNTS)
    if not all(1 <= count <= MOST for count in counts):
        parser.error(f"--counts: 1 to {MOST}")
    kept = program.measured(options, lambda made, deb: run(made, deb, counts, options.times, options.results))
    program.show("stacks", options.release, table([Boot(**one) for one in kept]), options.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
