"""May the stack go on?  State, metadata, policy and time in, verdict out; nothing here touches the system.

"UpToDate" of the local disk alone proves nothing: with DRBD's default ``fencing dont-care`` a disk whose metadata
says Consistent and WasUpToDate is UpToDate at attach, before any peer was seen (8.4 drbd_nl.c, 9 drbd_state.c), so
a node that crashed long ago looks fine until it connects.  Ready is therefore: the peer is connected, replication
is Established, and both disks are UpToDate, for every volume and every peer.  Going on without the peer is a
decision of its own, by the stack's policy, and only while no peer is there.

8.4 says ``connection:Connected`` before the handshake has compared the data generations; that is why the
replication state of the peer-device decides and never the connection alone.
"""

from drbdocfs_boot import kernellog
from drbdocfs_boot.events import RESYNC_STATES, State
from drbdocfs_boot.exits import (
    EX_CONFIG,
    EX_DATAERR,
    EX_IOERR,
    EX_OK,
    EX_PROTOCOL,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
)

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from drbdocfs_boot.metadata import Proof

READY = "ready"
ALONE = "alone"
WAITING = "waiting"
NO_ADDRESS = "no-address"
RESYNCING = "resyncing"
ALONE_REFUSED = "alone-refused"
NOT_UPTODATE = "not-uptodate"
SPLIT_BRAIN = "split-brain"
STAND_ALONE = "standalone"
DISK_GONE = "disk-gone"
NOT_CONFIGURED = "not-configured"
NO_MODULE = "no-module"
STOPPED = "stopped"
STARTING = "starting"

# Each verdict has an exit status of its own, so that a script can tell them apart.  Where sysexits has a fitting
# name it is used, else a number that means nothing else to systemd (79 to 199).
STATUS = {
    READY: EX_OK,
    ALONE: 10,
    WAITING: EX_TEMPFAIL,
    NO_ADDRESS: 79,
    RESYNCING: 80,
    ALONE_REFUSED: 81,
    NOT_UPTODATE: 82,
    STOPPED: 83,
    STARTING: 84,
    SPLIT_BRAIN: EX_DATAERR,
    STAND_ALONE: EX_PROTOCOL,
    DISK_GONE: EX_IOERR,
    NOT_CONFIGURED: EX_CONFIG,
    NO_MODULE: EX_UNAVAILABLE,
}
# In the words of a promotion that failed, and of who advises then.
HANDLER_REFUSED = "the fence-peer handler has refused it"
# What waiting cannot mend.
FINAL = frozenset((SPLIT_BRAIN, STAND_ALONE, DISK_GONE, NOT_CONFIGURED, NO_MODULE, STOPPED))


class Policy:
    """What the administrator wants when the peer does not come.

    ``when_alone`` wait, newest or always, once ``peer_timeout`` seconds have passed without it; ``proceed``: he has
    said himself that this node is to go on; ``unresolved``: when a split brain was found that nobody has resolved
    yet ("" for none); ``stopped``: he has stopped the stack.
    """

    __slots__ = ("peer_timeout", "proceed", "stopped", "unresolved", "when_alone")

    def __init__(
        self,
        when_alone: str = "wait",
        peer_timeout: float = 0.0,
        proceed: bool = False,
        unresolved: str = "",
        stopped: bool = False,
    ) -> None:
        self.when_alone = when_alone
        self.peer_timeout = peer_timeout
        self.proceed = proceed
        self.unresolved = unresolved
        self.stopped = stopped


class Verdict:
    """``kind`` one of the words above; ``reason`` one line; ``advice`` the next step ("" while all goes well);
    ``percent`` 0 to 100 and ``left`` seconds while a resync runs and they are known, else None."""

    __slots__ = ("advice", "kind", "left", "percent", "reason")

    def __init__(
        self,
        kind: str,
        reason: str,
        advice: str = "",
        percent: "float | None" = None,
        left: "float | None" = None,
    ) -> None:
        self.kind = kind
        self.reason = reason
        self.advice = advice
        self.percent = percent
        self.left = left

    @property
    def final(self) -> bool:
        """True when no waiting can change it."""
        return self.kind in FINAL

    @property
    def go(self) -> bool:
        """True when the stack may be promoted and mounted."""
        return self.kind in (READY, ALONE)

    @property
    def status(self) -> int:
        """Exit status of a helper that ends with this verdict."""
        return STATUS[self.kind]


def judge(
    state: State,
    resource: str,
    why: str = "",
    *,
    policy: "Policy | None" = None,
    metadata: "Proof | None" = None,
    elapsed: float = 0.0,
    peer: str = "",
    own: str = "",
    progress: "dict[str, tuple[float, float | None]] | None" = None,
) -> Verdict:
    """The verdict on ``resource`` in ``state``.

    ``why`` is what the kernel log says of a connection that is StandAlone, see kernellog.  ``policy``, ``metadata``
    and ``elapsed`` (seconds since when the peer has been missing) decide on going alone; without a policy nobody
    goes alone.  ``peer`` names the other side ("server2 at 10.0.0.2:7789") where the driver cannot, ``own`` is this
    host's address, ``progress`` maps a volume to (percent, seconds left) of its resync where events2 does not say it.
    """
    if not state.complete:
        return Verdict(STARTING, "asking DRBD for the state of " + resource, "see 'systemctl status' in a moment")
    if not state.configured:
        if policy is not None and policy.stopped:
            return Verdict(STOPPED, f"{resource} is down: the stack was stopped", "'drbdocfs status' shows its target")
        return Verdict(
            NOT_CONFIGURED,
            f"DRBD resource {resource} is not configured in the kernel",
            f"see 'drbdadm adjust {resource}' and /etc/drbd.d/; 'on HOST' must be the output of 'uname -n'",
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
            "nothing was promoted or discarded; 'drbdocfs split-brain STACK' shows both sides and resolves it",
        )
    if alone:
        if why == kernellog.ADDRESS:
            missing = Verdict(
                NO_ADDRESS,
                f"{resource} is StandAlone: its own address was not on this host when it connected"
                + (f" ({own})" if own else ""),
                "is the cable in? 'ip address' shows what is there; DRBD is connected again as soon as it is back",
            )
            # O2CB needs an address of this host as well, so without it going alone would end at the mount; and the
            # cable may be back in a moment.  Only the administrator can know better.
            if policy is None or not policy.proceed:
                return missing
            return _alone(missing, state, policy, metadata, elapsed)
        return _stand_alone(resource, why)
    return _peers(state, resource, policy, metadata, elapsed, peer, progress or {})


def no_module() -> Verdict:
    """The verdict when the kernel module is not there, so that there is no state."""
    return Verdict(
        NO_MODULE,
        "the kernel module drbd is not loaded and could not be",
        "try 'modprobe drbd'; Debian's linux-image-cloud-* kernels do not have it, linux-image-* do",
    )


def may_promote(verdict: Verdict, state: State, alone: bool) -> bool:
    """Whether to promote now.  ``alone``: the wait has ended with ALONE.

    Once alone was allowed, a peer that comes in between does not take it back as long as this node's data is the
    good one: the peer resyncs from us.  A split brain found meanwhile does, and so does a resync to us.
    """
    if verdict.go:
        return True
    return alone and not verdict.final and verdict.kind != STARTING and _all_good(state)


def peers_present(state: State) -> bool:
    """True while any peer is connected with replication, whatever its disk."""
    return any(d.get("replication", "Off") != "Off" for d in state.peer_devices.values())


def _stand_alone(resource: str, why: str) -> Verdict:
    text = f"{resource} is StandAlone: DRBD has dropped the connection to the peer and does not try again"
    if why == kernellog.DECLINED:
        return Verdict(
            STAND_ALONE,
            f"{resource} is StandAlone: the peer has declined the connection",
            "drbdocfs-follow.service tries it again; 'journalctl -k -g drbd' on the peer says why. A peer that is still"
            " Primary with older data connects when O2CB has reset it, or after 'drbdocfs stop' and 'start' there",
        )
    again = f"'drbdadm adjust {resource}' on both"
    known = {
        kernellog.AUTHENTICATION: (
            "; the authentication failed",
            "make 'shared-secret' and 'cram-hmac-alg' in /etc/drbd.d/ the same on both nodes, then " + again,
        ),
        kernellog.CONFIGURATION: (
            "; the settings of the nodes do not fit together",
            "'journalctl -k -g drbd' names the setting; make /etc/drbd.d/ the same on both nodes, then " + again,
        ),
        kernellog.UNRELATED: (
            "; the two disks have no data in common",
            "was the metadata made anew on one node? nothing was discarded; 'journalctl -k -g drbd'",
        ),
        kernellog.TOO_SMALL: (
            "; a disk is smaller than the other node's data",
            "'journalctl -k -g drbd' has the sizes; give that node a disk of the old size, then " + again,
        ),
        kernellog.BY_HAND: ("; it was disconnected by hand", f"'drbdadm connect {resource}' when it is to go on"),
    }
    words, advice = known.get(
        why, ("", "the kernel log says why, if anything does: 'journalctl -k -g drbd'; then " + again)
    )
    return Verdict(STAND_ALONE, text + words, advice)


def _peers(
    state: State,
    resource: str,
    policy: "Policy | None",
    metadata: "Proof | None",
    elapsed: float,
    name: str,
    progress: "dict[str, tuple[float, float | None]]",
) -> Verdict:
    wait = "it goes on by itself as soon as that is done; 'drbdocfs status --watch' shows it"
    for index, connection in sorted(state.connections.items()):
        peer = _peer_name(connection, name)
        devices = [d for d in state.peer_devices.values() if d.get("peer-node-id", "") == index]
        # All three: events come one by one, so a connection may be gone, or a volume new, before the rest says so.
        connected = connection.get("connection") == "Connected"
        if (
            not connected
            or {d.get("volume", "") for d in devices} != set(state.devices)
            or any(d.get("replication", "Off") == "Off" for d in devices)
        ):
            missing = Verdict(
                WAITING,
                f"waiting for {peer} ({connection.get('connection', 'Unknown')})" + _local(state),
                "is the other node up, and the link between them? 'drbdocfs proceed STACK' goes on without it",
            )
            if connected:
                return missing  # 8.4 in the middle of the handshake, which may say that the peer has newer data
            return _alone(missing, state, policy, metadata, elapsed)
        peer = peer.partition(" at ")[0]
        for device in devices:
            if device["replication"] in RESYNC_STATES:
                return _resync(device, peer, progress, wait)
            if device["replication"] != "Established":
                return Verdict(WAITING, f"waiting for replication with {peer}: {device['replication']}", wait)
            if device.get("peer-disk") != "UpToDate":
                return Verdict(WAITING, f"waiting for the disk of {peer}: {device.get('peer-disk', 'Unknown')}", wait)
    for volume, local in sorted(state.devices.items()):
        if local.get("disk") != "UpToDate":
            return Verdict(
                WAITING, f"waiting for the local disk of {_volume(resource, volume, state)}: {local.get('disk')}", wait
            )
    if not state.devices:
        return Verdict(WAITING, f"waiting for a volume of {resource}", f"see 'drbdadm adjust {resource}'")
    return Verdict(READY, "connected, UpToDate on both nodes")


def _alone(
    missing: Verdict, state: State, policy: "Policy | None", metadata: "Proof | None", elapsed: float
) -> Verdict:
    """No peer is there.  ``missing`` says so; the policy may make more of it."""
    needed = (
        "bring the other node up, which has the good data; if it is up, 'journalctl -k -g drbd' on both says why they"
        " do not find together"
    )
    if policy is None:
        return missing if _all_good(state) else Verdict(missing.kind, missing.reason, needed)
    if not _all_good(state):
        disks = ", ".join(sorted({d.get("disk", "Unknown") for d in state.devices.values()})) or "none"
        return Verdict(
            NOT_UPTODATE,
            f"{missing.reason.partition('; local disk')[0]}; local disk {disks}: this node cannot go on without it",
            needed,
        )
    if policy.proceed:
        return Verdict(ALONE, "goes on alone: told so by 'drbdocfs proceed'")
    if elapsed < policy.peer_timeout:
        return missing
    if policy.unresolved and policy.when_alone != "wait":
        # Either half may be the wrong one: that is for a human to decide, whatever the policy.
        return Verdict(
            ALONE_REFUSED,
            f"{missing.reason}; not alone: the split brain of {policy.unresolved} has not been resolved",
            "bring the other node up and see 'drbdocfs split-brain STACK'",
        )
    if policy.when_alone == "always":
        return Verdict(
            ALONE, f"goes on alone: the peer has not come in {clock(policy.peer_timeout)}, when_alone = always"
        )
    advice = "bring the other node up; or, sure that it has nothing newer, 'drbdocfs proceed STACK'"
    if policy.when_alone != "newest":
        return Verdict(ALONE_REFUSED, f"{missing.reason}; when_alone = wait: not without its peer", advice)
    if metadata is not None and metadata.proved:
        return Verdict(
            ALONE,
            f"goes on alone: the peer has not come in {clock(policy.peer_timeout)}, and {metadata.reason}",
        )
    proved_not = "DRBD's metadata was not asked" if metadata is None else metadata.reason
    return Verdict(ALONE_REFUSED, f"{missing.reason}; not alone: {proved_not}", advice)


def _resync(
    device: "dict[str, str]", peer: str, progress: "dict[str, tuple[float, float | None]]", wait: str
) -> Verdict:
    state = device["replication"]
    way = "from" if state[-1] == "T" or state.endswith("Target") or state in ("WFSyncUUID", "Behind") else "to"
    text = f"resync {way} {peer}"
    percent, left = _number(device.get("done", "")), _number(device.get("eta", ""))
    if device.get("volume", "") in progress:  # newer than the event, which came when the resync began
        percent, left = progress[device["volume"]]
    if percent is not None and percent <= 100:
        text += f" {percent:.0f} %"
        if left is not None:
            text += f", {clock(left)} left"
    else:
        percent = None
    if state.startswith("PausedSync"):
        text += " (paused)"
    return Verdict(RESYNCING, text, wait, percent, left)


def _number(text: str) -> "float | None":
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None  # 9 says eta:nan at the beginning


def _all_good(state: State) -> bool:
    """Whether every local disk may be gone on with.  With fencing DRBD attaches as Consistent what it would call
    UpToDate without: it only wants to know first that the peer is out, and asks the fence-peer handler at promotion."""
    return bool(state.devices) and all(d.get("disk") in ("UpToDate", "Consistent") for d in state.devices.values())


def _local(state: State) -> str:
    """The local disk, where it says more than UpToDate: an Outdated node cannot go on without its peer anyhow."""
    disks = sorted({d.get("disk", "Unknown") for d in state.devices.values()})
    return "" if disks == ["UpToDate"] or not disks else "; local disk " + ", ".join(disks)


def _peer_name(connection: "dict[str, str]", known: str) -> str:
    if known:
        return known
    name = connection.get("conn-name", "peer")
    return "the peer" if name == "peer" else name  # 8.4 has no other name for it


def _volume(resource: str, volume: str, state: State) -> str:
    return resource if len(state.devices) == 1 else resource + "/" + volume


def clock(seconds: float) -> str:
    """M:SS, or H:MM:SS from an hour on."""
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}"
