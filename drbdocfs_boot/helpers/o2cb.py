"""The O2CB cluster online before the mount; offline again after the last of its mounts has gone."""

import posix
import time

from drbdocfs_boot import clusterconf
from drbdocfs_boot.exits import EX_CONFIG, EX_UNAVAILABLE
from drbdocfs_boot.helpers import address
from drbdocfs_boot.helpers.base import NOT_FOLLOWED, Layer
from drbdocfs_boot.tools import o2cb, records, system
from drbdocfs_boot.tools.failure import Failure

ADDRESS_LIMIT = 30.0  # seconds that this host's address may take to appear, where no stack says how long it waits
RELEASE_LIMIT = 10.0  # seconds that a heartbeat region may outlive its unmount


def start(layer: Layer) -> None:
    """Register the cluster.  Succeeds when it is online already, with the nodes that cluster.conf names."""
    cluster = layer.instance
    host = posix.uname().nodename
    wanted = _configured(cluster, host)
    if not system.exists("/sys/fs/ocfs2") or not system.exists("/sys/kernel/config"):
        what = "ocfs2" if system.exists("/sys/kernel/config") else "configfs"
        raise Failure(
            EX_UNAVAILABLE,
            f"the kernel module {what} is not loaded and could not be",
            "try 'modprobe ocfs2_stack_o2cb'; Debian's linux-image-cloud-* kernels do not have it",
        )
    # The cluster's modules come without it, and mount.ocfs2 does not say that it is this module that is missing.
    known = system.read("/proc/filesystems") or ""
    if system.exists("/sys/module/ocfs2_stackglue") and "ocfs2" not in known.split():
        raise Failure(
            EX_UNAVAILABLE,
            "the kernel module ocfs2 is not loaded and could not be",
            "try 'modprobe ocfs2'; Debian's linux-image-cloud-* kernels do not have it",
        )
    stack = system.read(o2cb.STACK)
    if stack not in (None, "", "o2cb"):
        raise Failure(
            EX_UNAVAILABLE,
            f"the OCFS2 cluster stack is '{stack}', not 'o2cb'",
            "another cluster manager (pacemaker?) uses OCFS2 on this host",
        )
    others = [name for name in o2cb.online() if name != cluster]
    if others:
        raise Failure(
            EX_CONFIG,
            f"the O2CB cluster '{others[0]}' is online, and the kernel has room for one only",
            f"'o2cb unregister-cluster {others[0]}' once nothing of it is mounted",
        )
    already = cluster in o2cb.online()
    said = ""
    if not already or _differences(cluster, wanted, host):
        own = wanted[host].get("ip_address", "")
        began = time.monotonic()
        if own and not address.wait(layer, own, _patience(), _stacks_wait):
            later = _leave_to_follow(layer, own)
            raise Failure(
                EX_UNAVAILABLE,
                f"the address {own} of node '{host}' in {o2cb.CLUSTER_CONF} has not come to this host"
                f" in {time.monotonic() - began:.0f} s",
                "'ip address' shows which are there"
                + ("; when it comes, drbdocfs-follow.service starts what waits for it" if later else ""),
            )
        said = o2cb.register(cluster).said
    wrong = _differences(cluster, wanted, host)
    if wrong:
        raise Failure(
            EX_UNAVAILABLE if not already else EX_CONFIG,
            f"cluster '{cluster}' is not online as {o2cb.CLUSTER_CONF} describes it: {wrong}"
            + (f" (o2cb: {said})" if said else ""),
            f"is {wanted[host].get('ip_address', 'its address')} on this host, and the port free? then"
            f" 'o2cb unregister-cluster {cluster}' once nothing of it is mounted, and start again",
        )
    _timing(layer, cluster)
    if o2cb.global_heartbeat(cluster):
        result = o2cb.start_heartbeat(cluster)
        if result.code != 0:
            raise Failure(EX_UNAVAILABLE, f"the global heartbeat of '{cluster}' did not start: {result.said}")
    layer.say(f"cluster {cluster} is online" + (" already" if already else "") + f", nodes {', '.join(sorted(wanted))}")


def _stacks() -> "list[str]":
    return [name for name in system.environment("DRBDOCFS_STACKS").split("/") if name]


def _leave_to_follow(layer: Layer, own: str) -> bool:
    """DRBD may be ready, and nobody else would mount when the address comes.  True when a stack is there to be started;
    one that was stopped has no attach any more, and stays stopped."""
    there = [name for name in _stacks() if records.read(name, "attach") is not None]

    def write() -> None:
        for name in there:
            records.write(name, records.CLUSTER_ADDRESS, ADDRESS=own)

    return layer.leave(write, NOT_FOLLOWED) and bool(there)


def _patience() -> float:
    """Seconds to wait for the address: as long as the stacks wait for their peers, which comes beside it.  Who gave up
    before they do would let a mount fail for good that has all it needs a moment later."""
    boot_timeout = int(system.environment("DRBDOCFS_BOOT_TIMEOUT") or 0) / 1_000_000
    if not boot_timeout:
        return ADDRESS_LIMIT
    waited = [records.number((records.read(name, "attach") or {}).get("WAITED"), 0.0) for name in _stacks()]
    return max(1.0, boot_timeout - min(waited, default=0.0))


def _stacks_wait() -> bool:
    """Does one of them wait yet?  It may have begun later: its wait comes after network-online.target."""
    return any((records.waiting(name) or {}).get("STATE") == "boot" for name in _stacks())


def stop(layer: Layer) -> None:
    """Take the cluster out of the kernel.  Succeeds when it is out already."""
    cluster = layer.instance
    if cluster not in o2cb.online():
        layer.say(f"cluster {cluster} is offline already")
        return
    if o2cb.global_heartbeat(cluster):
        result = o2cb.stop_heartbeat(cluster)
        if result.code != 0:
            layer.say(f"global heartbeat of {cluster}: {result.said}")
    deadline = time.monotonic() + RELEASE_LIMIT
    said = ""
    while cluster in o2cb.online():
        regions = o2cb.regions(cluster)
        if not regions:
            said = o2cb.unregister(cluster).said
            if cluster not in o2cb.online():
                break
            try:
                o2cb.remove(cluster)
            except OSError as error:
                said += f"; configfs: {error.strerror}"
            else:
                layer.say(f"cluster {cluster} removed from configfs, as o2cb could not: {said}")
                break
        if time.monotonic() >= deadline:
            why = f"heartbeat still runs on {', '.join(regions)}: a file system is mounted" if regions else said
            raise Failure(
                EX_UNAVAILABLE, f"cluster {cluster} stays online: {why}", "unmount what 'findmnt -t ocfs2' shows"
            )
        time.sleep(0.2)
    layer.say(f"cluster {cluster} is offline")


def _configured(cluster: str, host: str) -> "dict[str, dict[str, str]]":
    """Nodes of the cluster in cluster.conf; raises Failure (78) when it or this host is not in it."""
    text = system.read(o2cb.CLUSTER_CONF)
    if text is None:
        raise Failure(EX_CONFIG, f"{o2cb.CLUSTER_CONF} cannot be read", "write it as ocfs2.cluster.conf(5) says")
    stanzas = clusterconf.parse(text)
    known = clusterconf.cluster_names(stanzas)
    if cluster not in known:
        raise Failure(
            EX_CONFIG,
            f"{o2cb.CLUSTER_CONF} has no cluster '{cluster}', only {', '.join(known) or 'none'}",
            "make its name and the stack's cluster the same",
        )
    nodes = clusterconf.nodes(stanzas, cluster)
    if host not in nodes:
        raise Failure(
            EX_CONFIG,
            f"{o2cb.CLUSTER_CONF} has no node '{host}' in cluster '{cluster}', only {', '.join(nodes) or 'none'}",
            "a node's name there must be the output of 'uname -n'",
        )
    return nodes


def _differences(cluster: str, wanted: "dict[str, dict[str, str]]", host: str) -> str:
    """What the kernel has otherwise than cluster.conf; "" when all is as it should be."""
    if cluster not in o2cb.online():
        return "it is not registered"
    for name, keys in wanted.items():
        for key, attribute in (("ip_address", "ipv4_address"), ("ip_port", "ipv4_port"), ("number", "num")):
            found = o2cb.node_attribute(cluster, name, attribute)
            if not found:
                return f"node {name} is missing"
            if keys.get(key, found) != found:
                return f"node {name} has {key} {found} instead of {keys[key]}"
    if o2cb.node_attribute(cluster, host, "local") != "1":
        return f"node {host} is not marked as this host"
    return ""


def _timing(layer: Layer, cluster: str) -> None:
    file, wanted = o2cb.timings()
    for attribute, value in wanted.items():
        if system.read(f"{o2cb.CONFIGFS}/{cluster}/{attribute}") == value:
            continue
        try:
            o2cb.set_timing(cluster, attribute, value)
        except OSError as error:
            # A running heartbeat forbids it; the peer compares the values when it connects and says what differs.
            layer.say(f"{attribute} = {value} from {file} was refused by the kernel: {error.strerror}")
