"""The O2CB cluster stack: the o2cb tool registers, configfs and sysfs tell what is there.

o2cb.init is not used: it rewrites its configuration at each boot and stop, and exits 0 on failure.
"""

import posix

from drbdocfs_boot.tools import system
from drbdocfs_boot.tools.run import Result, run

CONFIGFS = "/sys/kernel/config/cluster"
STACK = "/sys/fs/ocfs2/cluster_stack"
DEBUGFS = "/sys/kernel/debug"
CLUSTER_CONF = "/etc/ocfs2/cluster.conf"
# O2CB's own file of shell assignments, where Debian has it; setup.py writes the place of the distribution built for.
SETTINGS = "/etc/default/o2cb"
# Setting of that file -> attribute below cluster/NAME/.  Both nodes must have the same values, or o2net refuses the
# connection, so an administrator's values have to be kept.
TIMINGS = {
    "O2CB_IDLE_TIMEOUT_MS": "idle_timeout_ms",
    "O2CB_KEEPALIVE_DELAY_MS": "keepalive_delay_ms",
    "O2CB_RECONNECT_DELAY_MS": "reconnect_delay_ms",
    "O2CB_HEARTBEAT_THRESHOLD": "heartbeat/dead_threshold",
}


def online() -> "list[str]":
    """Names of the clusters in configfs (the kernel allows one)."""
    return system.names(CONFIGFS)


def nodes(cluster: str) -> "list[str]":
    """Names of the nodes that the kernel knows in a cluster."""
    return system.names(f"{CONFIGFS}/{cluster}/node")


def node_attribute(cluster: str, node: str, attribute: str) -> str:
    """``num``, ``ipv4_address``, ``ipv4_port`` or ``local`` of a node; "" when it is not there."""
    return system.read(f"{CONFIGFS}/{cluster}/node/{node}/{attribute}") or ""


def regions(cluster: str) -> "list[str]":
    """Heartbeat regions: one per mounted file system in local mode."""
    place = f"{CONFIGFS}/{cluster}/heartbeat"
    return [name for name in system.names(place) if system.exists(f"{place}/{name}/blocks")]


def global_heartbeat(cluster: str) -> bool:
    """True in global heartbeat mode."""
    return system.read(f"{CONFIGFS}/{cluster}/heartbeat/mode") == "global"


def region_of(cluster: str, block: str) -> str:
    """The heartbeat region on a block device ("drbd0"); "" when it has none."""
    place = f"{CONFIGFS}/{cluster}/heartbeat"
    return next((name for name in regions(cluster) if system.read(f"{place}/{name}/dev") == block), "")


def connected() -> "set[int] | None":
    """Numbers of the nodes that o2net has a connection with; None where it cannot be read (root, debugfs)."""
    return _numbers(f"{DEBUGFS}/o2net/connected_nodes")


def heartbeats(region: str) -> "set[int] | None":
    """Numbers of the nodes that write their heartbeat to a region, this one included; None as above."""
    return _numbers(f"{DEBUGFS}/o2hb/{region}/livenodes")


def _numbers(name: str) -> "set[int] | None":
    text = system.read(name)
    return None if text is None else {int(word) for word in text.split() if word.isdigit()}


def register(cluster: str) -> Result:
    """Bring the cluster's nodes into the kernel."""
    return run(["o2cb", "register-cluster", cluster], 30)


def unregister(cluster: str) -> Result:
    """Take the cluster out of the kernel."""
    return run(["o2cb", "unregister-cluster", cluster], 30)


def remove(cluster: str) -> None:
    """Take the cluster out of configfs without the tool, which wants a cluster.conf that it can parse even for this.

    Raises OSError where something still uses it.
    """
    place = system.path(f"{CONFIGFS}/{cluster}")
    for node in nodes(cluster):
        posix.rmdir(f"{place}/node/{node}")
    posix.rmdir(place)


def start_heartbeat(cluster: str) -> Result:
    """Global mode only."""
    return run(["o2cb", "start-heartbeat", cluster], 60)


def stop_heartbeat(cluster: str) -> Result:
    """Global mode only."""
    return run(["o2cb", "stop-heartbeat", cluster], 60)


def timings() -> "tuple[str, dict[str, str]]":
    """(file, {attribute: value}) of the administrator's timings; numbers only, anything else is left to the kernel."""
    text = system.read(SETTINGS)
    if text is None:
        return "", {}
    found = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        value = value.partition("#")[0].strip().strip("\"'")
        if equals and key in TIMINGS and value.isdigit():
            found[TIMINGS[key]] = value
    return SETTINGS, found


def set_timing(cluster: str, attribute: str, value: str) -> None:
    """Write one timing.  Raises OSError; the kernel refuses a change once a heartbeat runs."""
    with open(system.path(f"{CONFIGFS}/{cluster}/{attribute}"), "w", encoding="ascii") as file:
        file.write(value)
