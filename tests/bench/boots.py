"""Boots and shutdowns of a pair in the lab by five ways to bring the same stack up: `python3 -m tests.bench.boots`.

They boot in turn. Each way has a pair of its own, on disks provisioned alike, and only one pair runs at a time. A way's
boot is that of both nodes at once. When a node has mounted is what its kernel says, from its own start on.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab import snapshot
from tests.lab.image import Image
from tests.lab.lab import Lab, LabError, say
from tests.lab.node import Node
from tests.lab.provision import BACKING_FILE, LOOP, provisioned
from tests.lab.stack import MOUNTPOINT, is_mounted
from tests.unit.oldsetup import LOOP_SCRIPT, RC_LOCAL

from . import program

SHUTDOWN_LIMIT = 240.0
MOUNT_LIMIT = 30.0  # for a mount after the end of the boot
_MOUNTING = re.compile(r"^\[ *([0-9.]+)\] ocfs2: Mounting device", re.MULTILINE)
# Name -> what the table calls it, and what makes a provisioned node one of it; it gets our package as well.
Ways = dict[str, tuple[str, Callable[[Node, Path], object]]]
OPTIONS = "noatime,barrier=1"  # ours has the barrier whatever is written, so all have it

# The shortest right sequence of commands, at the boot and at the shutdown.
FLOOR = f"""\
#!/bin/bash
set -eu
case $1 in
start)
    modprobe -a loop drbd ocfs2 ocfs2_stack_o2cb
    losetup {LOOP} {BACKING_FILE}
    drbdadm up r0
    o2cb register-cluster web
    drbdadm wait-connect r0
    # A substitution, not a pipe: nobody waits for events2 to notice that grep has ended.
    grep -qm1 'peer-disk:UpToDate' < <(drbdsetup events2 r0)
    drbdadm primary r0
    mount -t ocfs2 -o {OPTIONS} /dev/drbd0 {MOUNTPOINT}
    ;;
stop)
    umount {MOUNTPOINT}
    o2cb unregister-cluster web
    drbdadm down r0
    losetup --detach {LOOP}
    ;;
esac
"""
FLOOR_UNIT = """\
[Unit]
Wants=network-online.target
After=network-online.target network.target
Before=remote-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/floor start
TimeoutStartSec=300
[Install]
WantedBy=multi-user.target
"""
# Its stop has to come before systemd's own unmount and before ocfs2-tools' scripts, which unmount as well: else its
# umount fails, and DRBD stays up while the network goes. A unit of its own, so that the start need not wait for them.
# And after the services and sessions of the host, which are ordered after remote-fs.target: one that uses the file
# system would keep it busy.
FLOOR_STOP_UNIT = """\
[Unit]
After=floor.service mnt-storage.mount ocfs2.service o2cb.service network.target
Before=remote-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/usr/local/sbin/floor stop
[Install]
WantedBy=multi-user.target
"""
LOOP_UNIT = f"""\
[Unit]
Before=drbd@r0.service
RequiresMountsFor={BACKING_FILE}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/modprobe loop
ExecStart=/usr/sbin/losetup {LOOP} {BACKING_FILE}
ExecStop=/usr/sbin/losetup --detach {LOOP}
[Install]
RequiredBy=drbd@r0.service
"""
_O2CB = (
    "sed -i 's/^O2CB_ENABLED=.*/O2CB_ENABLED=true/; s/^O2CB_BOOTCLUSTER=.*/O2CB_BOOTCLUSTER=web/' /etc/default/o2cb;"
    " systemctl enable o2cb.service ocfs2.service 2>&1"
)


def floor(node: Node, _: Path) -> None:
    node.put_text("/usr/local/sbin/floor", FLOOR, 0o755)
    node.put_text("/etc/systemd/system/floor.service", FLOOR_UNIT)
    node.put_text("/etc/systemd/system/floor-stop.service", FLOOR_STOP_UNIT)
    node.run("systemctl enable floor.service floor-stop.service 2>&1")


def init_scripts(node: Node, _: Path) -> None:
    node.put_text("/etc/init.d/loop-for-drbd", LOOP_SCRIPT, 0o755)
    _fstab(node, f"_netdev,{OPTIONS}")
    node.run(f"update-rc.d loop-for-drbd defaults; systemctl enable drbd.service 2>&1; {_O2CB}")


def rc_local(node: Node, _: Path) -> None:
    node.put_text("/etc/init.d/loop-for-drbd", LOOP_SCRIPT, 0o755)
    node.put_text("/etc/rc.local", RC_LOCAL.replace("touch /var/lock/subsys/local\n", ""), 0o755)
    _fstab(node, f"noauto,{OPTIONS}")
    node.run(f"update-rc.d loop-for-drbd defaults; systemctl enable drbd.service 2>&1; {_O2CB}")


def drbd_units(node: Node, _: Path) -> None:
    node.put_text("/etc/systemd/system/loop-for-drbd.service", LOOP_UNIT)
    layers = ",".join(f"x-systemd.requires={unit}" for unit in ("drbd-promote@r0.service", "o2cb.service"))
    _fstab(node, f"_netdev,{OPTIONS},{layers}")
    # Not drbd-wait-promotable@: it waits for a word that DRBD 8.4's events do not have, without end.
    node.run(f"systemctl enable loop-for-drbd.service drbd@r0.target 2>&1; {_O2CB}")


def _fstab(node: Node, options: str) -> None:
    node.run(f"echo '/dev/drbd0 {MOUNTPOINT} ocfs2 {options} 0 0' >> /etc/fstab")


WAYS: Ways = {
    "floor": ("the shortest right script in one unit", floor),
    "init": ("the guide's init scripts, fstab", init_scripts),
    "rc.local": ("the guide's rc.local", rc_local),
    "drbd": ("drbd-utils' units, fstab with x-systemd.requires=", drbd_units),
    "ours": ("drbdocfs-boot", lambda node, deb: node.install(deb)),
}


@dataclass(frozen=True)
class Boot:
    """One boot of a pair. Times in seconds, of the node that came last; None where a node has not mounted."""

    way: str
    good: bool
    from_kernel: float | None
    from_online: float | None
    shutdown: float | None
    generators: float | None = None  # all of them together, which systemd waits for
    orderly: bool | None = None  # both have unmounted and taken DRBD down at the shutdown


def measure(lab: Lab, way: str) -> Boot:
    """Switch both on, look, and switch both off in good order."""
    try:
        lab.boot()
        limit = time.monotonic() + MOUNT_LIMIT
        while not all(lab.both(is_mounted)) and time.monotonic() < limit:
            time.sleep(2.0)
        mounted = lab.both(_mounted)
        stations = lab.both(Node.boot_times)
        online = [one.units["network-online.target"].active for one in stations]
        generators = max(one.generators for one in stations)
    except LabError as error:
        say(f"{way}: {str(error).splitlines()[0]}")
        mounted, online, generators = (None, None), [0.0, 0.0], None
    try:
        took = max(lab.both(lambda node: node.shutdown(SHUTDOWN_LIMIT)))
        orderly = all(_put_away(node) for node in lab.nodes)
    except LabError as error:
        say(f"{way}: {str(error).splitlines()[0]}")
        took, orderly = None, False
        for node in lab.nodes:
            node.power_cut()
    if None in mounted:
        return Boot(way, False, None, None, took, generators, orderly)
    times = [at for at in mounted if at is not None]
    since = max(at - began for at, began in zip(times, online)) if all(online) else None
    return Boot(way, True, max(times), since, took, generators, orderly)


def _mounted(node: Node) -> float | None:
    """When, in seconds since the kernel's start; None where it is not mounted now."""
    if not is_mounted(node):
        return None
    found = _MOUNTING.findall(node.run("dmesg"))
    return float(found[-1]) if found else None


def _put_away(node: Node) -> bool:
    """The kernel's words of the last boot: the file system unmounted, and the resource gone, which ends its worker."""
    text = node.console()
    return "ocfs2: Unmounting device" in text and "Terminating drbd_w_" in text


def table(boots: list[Boot], words: dict[str, str]) -> str:
    """A row for each way: how often both had mounted, and put it away in order; how fast, and the ratio of the medians
    to the floor's."""
    titles = ["way", "mounted on both", "put away in order"]
    for what in ("network-online to mounted", "kernel to mounted", "shutdown", "generators"):
        titles += [f"{what}, s", "of the floor's"]
    lines = [f"| {' | '.join(titles)} |", "| --- |" + " --: |" * (len(titles) - 1)]
    columns = ("from_online", "from_kernel", "shutdown", "generators")
    base = {column: _values(boots, "floor", column) for column in columns}
    for way, text in words.items():
        mine = [boot for boot in boots if boot.way == way]
        cells = [text, f"{sum(boot.good for boot in mine)} of {len(mine)}"]
        looked = [boot.orderly for boot in mine if boot.orderly is not None]
        cells.append(f"{sum(looked)} of {len(looked)}")
        for column in columns:
            values = _values(boots, way, column)
            cells += [_spread(values), _ratio(values, base[column])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _values(boots: list[Boot], way: str, column: str) -> list[float]:
    found = [getattr(boot, column) for boot in boots if boot.way == way and boot.good]
    return sorted(value for value in found if value is not None)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({values[0]:.3g}–{values[-1]:.3g})" if values else ""


def _ratio(values: list[float], base: list[float]) -> str:
    return f"{statistics.median(values) / statistics.median(base):.2f}" if values and base else ""


def run(made: Image, deb: Path, ways: Ways, times: int, results: Path) -> None:
    """Boot each way so often, in turn; each boot is a line of the file as soon as it is over."""
    with ExitStack() as labs:
        pairs = {}
        for way, (_, prepare) in ways.items():
            pairs[way] = lab = labs.enter_context(Lab(made, provisioned(made)))
            say(f"{way}: set up")
            snapshot.resume(lab)
            for node in lab.nodes:
                prepare(node, deb)
            lab.shutdown()
        for number in range(1, times + 1):
            for way, lab in pairs.items():
                boot = measure(lab, way)
                program.keep(results, asdict(boot))
                say(f"boot {number} of {times}: {boot}")


def main() -> int:
    """Measure, print, and with --write put the table into the page."""
    parser = program.parser(__doc__, "boots.jsonl", 10)
    parser.add_argument("--ways", help="some of them, with a comma between [all]")
    options = parser.parse_args()
    if options.ways and not set(options.ways.split(",")) <= set(WAYS):
        parser.error(f"--ways: there are {','.join(WAYS)}")
    some = {way: WAYS[way] for way in (options.ways.split(",") if options.ways else WAYS)}
    kept = program.measured(options, lambda made, deb: run(made, deb, some, options.times, options.results))
    words = {way: text for way, (text, _) in WAYS.items()}
    program.show("boots", options.release, table([Boot(**one) for one in kept], words), options.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
