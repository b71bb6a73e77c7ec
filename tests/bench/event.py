"""From DRBD's event that the peer is UpToDate to the start of the promotion: `python3 -m tests.bench.event`.

Ours against two shell units, in turn, on one pair in the lab: the peer connects while the one or the other waits.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from pathlib import Path

from tests.lab import snapshot
from tests.lab.image import Image
from tests.lab.lab import Lab, say
from tests.lab.node import Node
from tests.lab.provision import provisioned

from . import program

CONNECT_LIMIT = 60.0
_EVENT = re.compile(r"^\[ *([0-9.]+)\] block drbd0: .*pdsk\( \w+ -> UpToDate \)", re.MULTILINE)

# A substitution, not a pipe: nobody waits for events2 to notice that grep has ended.
_WAIT = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/bash -c "grep -qm1 'peer-disk:UpToDate' < <(drbdsetup events2 r0)"
TimeoutStartSec=300
"""
_PROMOTE = """\
[Unit]
Requires=floor-wait.service
After=floor-wait.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/drbdadm primary r0
ExecStop=/usr/sbin/drbdadm secondary r0
"""
# Way -> what the table calls it, its wait and its promotion.
WAYS = {
    "floor": ("`drbdsetup events2`, `grep -m1` in a shell unit", "floor-wait.service", "floor-promote.service"),
    "ours": ("ours", "drbdocfs-wait@web.service", "drbdocfs-promote@web.service"),
}


def _clock(node: Node) -> float:
    """What the kernel's log is ahead of the monotonic clock, in seconds."""
    node.run("python3 -c \"import time; open('/dev/kmsg', 'w').write(f'bench {time.monotonic():.6f}\\n')\"")
    found = re.findall(r"^\[ *([0-9.]+)\] bench ([0-9.]+)$", node.run("dmesg"), re.MULTILINE)[-1]
    return float(found[0]) - float(found[1])


def _waits(node: Node, wait: str) -> None:
    """Wait until it has come to its waiting: nothing more is started."""
    node.wait_until(f"test $(systemctl show --property=ActiveState --value {wait}) = activating", CONNECT_LIMIT)
    node.wait_until("pgrep drbdsetup >/dev/null", CONNECT_LIMIT)
    time.sleep(3.0)


def measure(lab: Lab, way: str) -> float:
    """Seconds from the kernel's word that the peer is UpToDate to the moment at which systemd starts the promotion."""
    one, two = lab.nodes
    _, wait, promote = WAYS[way]
    two.run("drbdadm disconnect r0")
    one.wait_until("! grep -q cs:Connected /proc/drbd", CONNECT_LIMIT)
    one.run(f"systemctl start --no-block {promote}")
    _waits(one, wait)
    two.run("drbdadm connect r0")
    one.wait_until(f"systemctl is-active --quiet {promote}", CONNECT_LIMIT)
    event = float(_EVENT.findall(one.run("dmesg"))[-1]) - _clock(one)
    began = int(one.run(f"systemctl show --property=InactiveExitTimestampMonotonic --value {promote}")) / 1e6
    one.run(f"systemctl stop {promote} {wait}")
    return began - event


def run(made: Image, deb: Path, times: int, results: Path) -> None:
    """So often by each way; each is a line of the file as soon as it is over."""
    with Lab(made, provisioned(made)) as lab:
        snapshot.resume(lab)
        one, two = lab.nodes
        lab.both(lambda node: node.install(deb))
        lab.both(lambda node: node.run("systemctl start drbdocfs-attach@web.service", 120))
        one.put_text("/etc/systemd/system/floor-wait.service", _WAIT)
        one.put_text("/etc/systemd/system/floor-promote.service", _PROMOTE)
        one.run("systemctl daemon-reload")
        for number in range(1, times + 1):
            for way in WAYS:
                took = measure(lab, way)
                program.keep(results, {"way": way, "seconds": round(took, 6)})
                say(f"{number} of {times}: {way}: {took * 1000:.0f} ms")
        two.run("drbdadm connect r0", check=False)


def table(found: dict[str, list[float]]) -> str:
    """Medians and what lies around them, and ratios to the shell unit's."""
    lines = ["| way | times | event to promote, ms | of the shell's | budget |", "| --- | --: | --: | --: | --: |"]
    base = statistics.median(found["floor"])
    for way, (text, _, _) in WAYS.items():
        values = sorted(1000 * value for value in found[way])
        middle = statistics.median(values)
        around = f"{middle:.0f} ({values[0]:.0f}–{values[-1]:.0f})"
        cells = [text, str(len(values)), around, f"{middle / base / 1000:.2f}"]
        lines.append(f"| {' | '.join([*cells, '1.2' if way == 'ours' else ''])} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, and with --write put the table into the page."""
    options = program.parser(__doc__, "event.jsonl", 10).parse_args()
    kept = program.measured(options, lambda made, deb: run(made, deb, options.times, options.results))
    found = {way: [one["seconds"] for one in kept if one["way"] == way] for way in WAYS}
    program.show("event", options.release, table(found), options.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
