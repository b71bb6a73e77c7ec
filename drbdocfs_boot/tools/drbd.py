"""DRBD's tools.  drbdadm reads the configuration, drbdsetup talks to the kernel and needs none.

What must work at stop uses drbdsetup alone: a configuration broken meanwhile may not keep a machine from stopping.
"""

from drbdocfs_boot import kernellog
from drbdocfs_boot.events import State, read
from drbdocfs_boot.tools import kmsg, system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Process, Result, run
from drbdocfs_boot.verdict import EX_CONFIG, EX_UNAVAILABLE, STAND_ALONE, Verdict, judge

# drbdadm and drbdsetup exit codes (drbd-utils, drbdsetup.h / shared_main): 10 also for an unknown resource,
# 11 a state change failed, 17 no access to good data, 20 no module.
NO_MODULE = 20
STATE_CHANGE_FAILED = 11
NO_GOOD_DATA = 17


def loaded() -> bool:
    """True when the kernel module is there (8.4 and 9 both have /sys/module/drbd; built in: /proc/drbd)."""
    return system.exists("/sys/module/drbd") or system.exists("/proc/drbd")


def require_module() -> None:
    """Raises Failure (69) when the module is not loaded."""
    if not loaded():
        raise Failure(
            EX_UNAVAILABLE,
            "the kernel module drbd is not loaded and could not be",
            "try 'modprobe drbd'; Debian's linux-image-cloud-* kernels do not have it, linux-image-* do",
        )


def events_process(resource: str) -> Process:
    """``drbdsetup events2`` that follows the resource until it is ended."""
    return Process(["drbdsetup", "events2", "--timestamps", "--statistics", resource])


def state(resource: str) -> State:
    """The state now (one dump).  Raises Failure: 69 no module or no tool, 75 the tool hangs."""
    result = run(["drbdsetup", "events2", "--now", "--statistics", resource])
    if result.code == NO_MODULE:
        require_module()
    current = read(result.out)
    if result.code != 0 and not current.complete:
        raise Failure(EX_UNAVAILABLE, f"drbdsetup events2 {resource} failed: {result.said}")
    return current


def verdict(current: State, resource: str) -> Verdict:
    """The verdict now; a StandAlone connection is looked up in the kernel log."""
    found = judge(current, resource)
    if found.kind == STAND_ALONE:
        minors = [device["minor"] for device in current.devices.values() if "minor" in device]
        found = judge(current, resource, kernellog.why_stand_alone(kmsg.messages(), resource, minors))
    return found


def configured(resource: str, question: str) -> "list[str]":
    """Answers of ``drbdadm sh-dev`` or ``sh-ll-dev``: one line per volume, as the configuration has it for this host.

    Raises Failure (78) with drbdadm's words when the configuration has no such resource for this host.
    """
    result = run(["drbdadm", question, resource])
    if result.code != 0:
        raise Failure(
            EX_CONFIG,
            f"DRBD resource {resource} is not configured for this host: {result.said}",
            "see /etc/drbd.d/ and the 'on HOST' sections: HOST must be the output of 'uname -n'",
        )
    return [line.strip() for line in result.out.splitlines() if line.strip()]


def local_address(resource: str) -> str:
    """The address of this host in the resource; "" where drbdadm does not tell one (several paths on 9)."""
    result = run(["drbdadm", "sh-ip", resource])
    words = result.out.split()
    return words[0] if result.code == 0 and len(words) == 1 else ""


def adjust(resource: str) -> Result:
    """Make the kernel's state that of the configuration: attach, connect.  Can be run again, unlike ``up``."""
    return run(["drbdadm", "adjust", resource], 60)


def primary(resource: str) -> Result:
    """Promote.  Never forced."""
    return run(["drbdadm", "primary", resource], 30)


def secondary(current: State) -> Result:
    """Demote the resource of ``current``, without a configuration.

    8.4 wants a minor where 9 wants the resource's name; either driver rejects the other's form (exit 20).
    """
    which = current.name
    if (system.read("/sys/module/drbd/version") or "").startswith("8."):
        which = next((d["minor"] for d in current.devices.values() if "minor" in d), which)
    return run(["drbdsetup", "secondary", which], 30)


def down(resource: str) -> Result:
    """Disconnect, detach and remove the resource, without a configuration."""
    return run(["drbdsetup", "down", resource], 60)


def resync_84(minor: str) -> "tuple[float, str] | None":
    """(percent, time left "H:MM:SS" or "") of a running resync from /proc/drbd; None when none runs.

    8.4 sends no events while a resync goes on, and /proc/drbd costs no process.  DRBD 9 has no such lines there.
    """
    ours = False
    percent = None
    left = ""
    for line in (system.read("/proc/drbd") or "").splitlines():
        head = line.strip().partition(":")
        if head[0].isdigit():
            ours = head[0] == minor
        elif ours and "sync'ed:" in line:
            try:
                percent = float(line.partition("sync'ed:")[2].split("%")[0])
            except ValueError:
                return None
        elif ours and "finish:" in line:
            left = line.partition("finish:")[2].split()[0]
    return None if percent is None else (percent, left)
