"""May the stack go on?  State of the resource in, verdict out; nothing here touches the system.

"UpToDate" of the local disk alone proves nothing: with DRBD's default ``fencing dont-care`` a disk whose metadata
says Consistent and WasUpToDate is UpToDate at attach, before any peer was seen (8.4 drbd_nl.c, 9 drbd_state.c), so
a node that crashed long ago looks fine until it connects.  Ready is therefore: the peer is connected, replication
is Established, and both disks are UpToDate, for every volume and every peer.

8.4 says ``connection:Connected`` before the handshake has compared the data generations; that is why the
replication state of the peer-device decides and never the connection alone.
"""

from drbdocfs_boot import kernellog
from drbdocfs_boot.events import RESYNC_STATES, State

# Exit statuses of the helpers, by sysexits(3) so that systemd prints them by name.
EX_OK = 0
EX_DATAERR = 65  # data in danger
EX_UNAVAILABLE = 69  # something needed is missing
EX_TEMPFAIL = 75  # time limit
EX_NOPERM = 77
EX_CONFIG = 78

READY = "ready"
WAITING = "waiting"
RESYNCING = "resyncing"
SPLIT_BRAIN = "split-brain"
STAND_ALONE = "standalone"
DISK_GONE = "disk-gone"
NOT_CONFIGURED = "not-configured"
STARTING = "starting"

# What waiting cannot mend, and what it exits with.
FINAL = {
    SPLIT_BRAIN: EX_DATAERR,
    STAND_ALONE: EX_UNAVAILABLE,
    DISK_GONE: EX_UNAVAILABLE,
    NOT_CONFIGURED: EX_CONFIG,
}


class Verdict:
    """``kind`` one of the words above; ``reason`` one line; ``advice`` the next step ("" while all goes well);
    ``percent`` 0 to 100 while a resync runs and its progress is known, else None."""

    __slots__ = ("advice", "kind", "percent", "reason")

    def __init__(self, kind: str, reason: str, advice: str = "", percent: "float | None" = None) -> None:
        self.kind = kind
        self.reason = reason
        self.advice = advice
        self.percent = percent

    @property
    def final(self) -> bool:
        """True when no waiting can change it."""
        return self.kind in FINAL

    @property
    def status(self) -> int:
        """Exit status of a helper that ends with this verdict (a wait cut off by its limit exits with 75)."""
        return EX_OK if self.kind == READY else FINAL.get(self.kind, EX_TEMPFAIL)


def judge(state: State, resource: str, why: str = "") -> Verdict:
    """The verdict on ``resource`` in ``state``.

    ``why`` is what the kernel log says of a connection that is StandAlone, see kernellog.
    """
    if not state.complete:
        return Verdict(STARTING, "asking DRBD for the state of " + resource)
    if not state.configured:
        return Verdict(
            NOT_CONFIGURED,
            f"DRBD resource {resource} is not configured in the kernel",
            f"see 'drbdadm adjust {resource}' and /etc/drbd.d/",
        )
    for volume, device in sorted(state.devices.items()):
        disk = device.get("disk", "Unknown")
        if disk in ("Diskless", "Failed", "Detaching"):
            return Verdict(
                DISK_GONE,
                f"local disk of {_volume(resource, volume, state)} is {disk}",
                f"see the kernel log ('journalctl -k -g drbd') and 'drbdadm attach {resource}'",
            )
    alone = state.stand_alone or not state.connections
    if state.split_brain or (alone and why == kernellog.SPLIT_BRAIN):
        return Verdict(
            SPLIT_BRAIN,
            f"split brain: both nodes changed {resource} without each other, DRBD has dropped the connection",
            "nothing was promoted or discarded; decide whose changes to give up before connecting again"
            " (drbd.conf(5), split brain recovery)",
        )
    if alone:
        return _stand_alone(resource, why)
    return _peers(state, resource)


def _stand_alone(resource: str, why: str) -> Verdict:
    text = f"{resource} is StandAlone: DRBD has dropped the connection to the peer and does not try again"
    if why == kernellog.AUTHENTICATION:
        return Verdict(
            STAND_ALONE,
            text + "; the authentication failed",
            "make 'shared-secret' and 'cram-hmac-alg' in /etc/drbd.d/ the same on both nodes, then"
            f" 'drbdadm adjust {resource}' on both",
        )
    if why == kernellog.ADDRESS:
        return Verdict(
            STAND_ALONE,
            text + "; its own address was not on this host",
            f"'ip address' shows which are; once the one of 'on HOST' is there: 'drbdadm adjust {resource}'",
        )
    return Verdict(
        STAND_ALONE,
        text,
        "the kernel log says why (configuration, or disconnected by hand): 'journalctl -k -g drbd'; then"
        f" 'drbdadm adjust {resource}'",
    )


def _peers(state: State, resource: str) -> Verdict:
    for index, connection in sorted(state.connections.items()):
        peer = _peer_name(connection)
        devices = [d for d in state.peer_devices.values() if d.get("peer-node-id", "") == index]
        if not devices or any(d.get("replication", "Off") == "Off" for d in devices):
            return Verdict(WAITING, f"waiting for {peer} ({connection.get('connection', 'Unknown')})" + _local(state))
        for device in devices:
            if device["replication"] in RESYNC_STATES:
                return _resync(device, peer)
            if device["replication"] != "Established":
                return Verdict(WAITING, f"waiting for replication with {peer}: {device['replication']}")
            if device.get("peer-disk") != "UpToDate":
                return Verdict(WAITING, f"waiting for the disk of {peer}: {device.get('peer-disk', 'Unknown')}")
    for volume, local in sorted(state.devices.items()):
        if local.get("disk") != "UpToDate":
            return Verdict(
                WAITING, f"waiting for the local disk of {_volume(resource, volume, state)}: {local.get('disk')}"
            )
    if not state.devices:
        return Verdict(WAITING, f"waiting for a volume of {resource}")
    return Verdict(READY, "connected, UpToDate on both nodes")


def _resync(device: "dict[str, str]", peer: str) -> Verdict:
    state = device["replication"]
    way = "from" if state[-1] == "T" or state.endswith("Target") or state in ("WFSyncUUID", "Behind") else "to"
    text = f"resync {way} {peer}"
    percent = None
    try:
        percent = float(device["done"])
    except (KeyError, ValueError):
        pass
    if percent is not None and percent == percent and 0 <= percent <= 100:
        text += f" {percent:.0f} %"
    else:
        percent = None
    if state.startswith("PausedSync"):
        text += " (paused)"
    return Verdict(RESYNCING, text, "", percent)


def _local(state: State) -> str:
    """The local disk, where it says more than UpToDate: an Outdated node cannot go on without its peer anyhow."""
    disks = sorted({d.get("disk", "Unknown") for d in state.devices.values()})
    return "" if disks == ["UpToDate"] or not disks else "; local disk " + ", ".join(disks)


def _peer_name(connection: "dict[str, str]") -> str:
    name = connection.get("conn-name", "peer")
    return "the peer" if name == "peer" else name  # 8.4 has no other name for it


def _volume(resource: str, volume: str, state: State) -> str:
    return resource if len(state.devices) == 1 else resource + "/" + volume
