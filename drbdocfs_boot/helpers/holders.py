"""Before the unmount: who keeps the file system busy, and what ``stop_holders`` says is to be done about it.

Only a stop, and it never fails: whatever is found, systemd tries the unmount next.  But O2CB and the network go after
that, and a node that keeps OCFS2 mounted then may be reset, so it is said here, in time, and by name.

The limits together: PATIENCE for what systemd is stopping, then TERMINATE or TERMINATE_FIRST and KILL, four looks at
all processes of some 4 s at the worst, and an answer of systemctl: under 60 s, and the unit has TimeoutStopSec=75s.
"""

import posix
import sys
import time

from drbdocfs_boot import escape
from drbdocfs_boot.helpers.base import Layer
from drbdocfs_boot.tools import holders, mounts, system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.holders import Holder
from drbdocfs_boot.tools.run import KILL as SIGKILL
from drbdocfs_boot.tools.run import TERM as SIGTERM
from drbdocfs_boot.tools.run import run

PATIENCE = 20.0  # seconds for units that systemd is stopping just now
TERMINATE = 10.0  # seconds after SIGTERM, where nothing comes after it
TERMINATE_FIRST = 5.0  # seconds after SIGTERM, where SIGKILL comes next
KILL = 5.0  # seconds after SIGKILL; the kernel may be busy with what the process did
ANSWER = 5.0  # seconds for systemctl
MOST = 20  # lines; a web server has hundreds of processes
ERROR, WARNING = "<3>", "<4>"  # priorities for the journal, see sd-daemon(3)


def stop(layer: Layer) -> None:
    """Wait for what stops anyway, deal with the rest, and say whether the file system can be unmounted now."""
    device, mountpoint = Layer("promote", layer.instance).recorded("DEVICE", "MOUNTPOINT")
    policy = system.environment("DRBDOCFS_STOP_HOLDERS", "report")
    mount_unit = escape.path(mountpoint) + ".mount"
    found, before_us = _without_those_that_stop(layer, device, mount_unit)
    rest = [holder for holder in found if holder.unit not in before_us]
    if rest and policy in ("terminate", "kill"):
        limit = TERMINATE if policy == "terminate" else TERMINATE_FIRST
        found = _end(layer, device, "SIGTERM", limit, before_us)
        if policy == "kill" and _ours_to_end(found, before_us):
            found = _end(layer, device, "SIGKILL", KILL, before_us)
        rest = [holder for holder in found if holder.unit not in before_us]
    if rest:
        _report(layer, device, mountpoint, policy, rest)
    elif found:
        layer.say(
            f"{mountpoint} is unmounted when {_units(found)} has stopped: systemd waits for that, by the unit's own"
            f" limit ({holders.brief(found)})"
        )
    elif mounts.of_device(device):
        layer.say(f"nobody uses {mountpoint}: it can be unmounted now")
    else:
        layer.say(f"{device} is not mounted")


def _without_those_that_stop(layer: Layer, device: str, mount_unit: str) -> "tuple[list[Holder], set[str]]":
    """Holders, after a time for those whose unit systemd is stopping just now.

    Also the units that it is still stopping and whose end it awaits before the unmount: they are its business.
    """
    deadline = time.monotonic() + PATIENCE
    told = False
    while True:
        found = holders.of_mount(device)
        stopping = _stopping(sorted({holder.unit for holder in found} - {""})) if found else {}
        waited = [holder for holder in found if holder.unit in stopping]
        if not waited or time.monotonic() >= deadline:
            return found, {unit for unit, after in stopping.items() if mount_unit in after}
        if not told:
            told = True
            layer.say(f"giving {_units(waited)} up to {PATIENCE:.0f} s to stop: {holders.brief(waited)}")
        time.sleep(0.3)


def _stopping(units: "list[str]") -> "dict[str, list[str]]":
    """Those of the units that systemd is stopping, each with what it is ordered after."""
    if not units:
        return {}
    jobs: "set[str]" = set()
    try:
        for line in run(["systemctl", "list-jobs", "--plain", "--no-legend", "--no-pager"], ANSWER).out.splitlines():
            fields = line.split()
            if len(fields) >= 3 and fields[2] in ("stop", "restart", "try-restart"):
                jobs.add(fields[1])
        shown = run(["systemctl", "show", "--property=Id,ActiveState,After", "--", *units], ANSWER).out
    except Failure:
        return {unit: [] for unit in units}  # in doubt everybody gets the time
    found = {}
    for unit, block in zip(units, shown.split("\n\n")):
        properties = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if properties.get("ActiveState") == "deactivating" or not jobs.isdisjoint((unit, properties.get("Id"))):
            found[unit] = properties.get("After", "").split()
    return found


def _ours_to_end(found: "list[Holder]", not_these: "set[str]") -> "list[Holder]":
    """Processes that may be ended: never PID 1, a kernel thread, us, or what systemd is stopping before the unmount."""
    return [h for h in found if h.pid > 1 and h.pid != posix.getpid() and not h.kernel and h.unit not in not_these]


def _end(layer: Layer, device: str, signal: str, limit: float, not_these: "set[str]") -> "list[Holder]":
    """Send the signal to each process that keeps the file system busy, new ones as well; who is there in the end."""
    deadline = time.monotonic() + limit
    sent = set()
    while True:
        found = holders.of_mount(device)
        those = _ours_to_end(found, not_these)
        if not those or time.monotonic() >= deadline:
            return found
        for holder in those:
            if (holder.pid, holder.start) in sent or not holders.alive(holder):
                continue
            sent.add((holder.pid, holder.start))
            try:
                posix.kill(holder.pid, SIGTERM if signal == "SIGTERM" else SIGKILL)
                _line(layer, WARNING, f"{signal} to {holder}")
            except ProcessLookupError:
                pass
            except OSError as error:
                _line(layer, WARNING, f"no {signal} to {holder}: {error.strerror}")
        while time.monotonic() < deadline and any(holders.alive(holder) for holder in those):
            time.sleep(0.05)


def _report(layer: Layer, device: str, mountpoint: str, policy: str, rest: "list[Holder]") -> None:
    what = "what keeps it busy:" if policy == "report" else f"what keeps it busy, after stop_holders = {policy}:"
    _line(layer, WARNING, f"{mountpoint} is in use; {what}")
    for holder in rest[:MOST]:
        _line(layer, WARNING, f"  {holder}")
    if len(rest) > MOST:
        _line(layer, WARNING, f"  and {len(rest) - MOST} more")
    _line(layer, WARNING, f"what to do: {_advice(mountpoint, policy, rest)}")
    layer.say(f"{mountpoint} cannot be unmounted now: {holders.brief(rest, 1)}")
    _line(
        layer,
        ERROR,
        f"{mountpoint} cannot be unmounted now. If it stays so, OCFS2 on {device} is still mounted when O2CB and the"
        " network go: at a shutdown one of the nodes may then be reset by OCFS2's fencing, this one or its peer;"
        " when only the stack is stopped, DRBD stays Primary and the cluster stays online",
    )


def _advice(mountpoint: str, policy: str, rest: "list[Holder]") -> str:
    words = []
    services = sorted({h.unit for h in rest if h.pid and h.unit.endswith(".service")})
    if services:
        words.append(
            f"stop {', '.join(services[:3])}, and give what uses {mountpoint} 'RequiresMountsFor={mountpoint}', so that"
            " systemd stops it first"
        )
    if any(h.pid and not h.unit.endswith(".service") for h in rest):
        words.append("leave the directory or end the processes")
    if any(not h.pid for h in rest):
        words.append("release what is no process (umount, losetup -d, swapoff, exportfs -u)")
    if policy == "report" and any(h.pid for h in rest):
        words.append("or set stop_holders = terminate or kill")
    return "; ".join(words) + f"; then 'umount {mountpoint}', or stop the stack again"


def _units(found: "list[Holder]") -> str:
    return ", ".join(sorted({holder.unit for holder in found}))


def _line(layer: Layer, priority: str, text: str) -> None:
    # Standard error is on the console as well, where the last words before a reset are looked for.
    print(f"{priority}{layer.instance}: {text}", file=sys.stderr, flush=True)
