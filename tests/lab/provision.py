"""The set-up of the guide, by hand, on both nodes: everything but the boot, which is the product's part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import cache
from .image import REPLICATION_ADDRESS, Image
from .lab import Lab, say
from .node import Node

BACKING_FILE = "/drbd-loop.img"
BACKING_SIZE = "160M"
LOOP = "/dev/loop7"
SYNC_LIMIT = 300.0

RESOURCE = f"""\
resource r0 {{
	meta-disk internal;
	device /dev/drbd0;
	disk /dev/loop7;

	syncer {{ rate 1000M; }}
        net {{
                allow-two-primaries;
                after-sb-0pri discard-zero-changes;
                after-sb-1pri discard-secondary;
                after-sb-2pri disconnect;
        }}
	startup {{ become-primary-on both; }}

	on server1 {{ address {REPLICATION_ADDRESS[1]}:7789; }}
	on server2 {{ address {REPLICATION_ADDRESS[2]}:7789; }}
}}
"""

CLUSTER = f"""\
cluster:
	node_count = 2
	name = web

node:
	ip_port = 7777
	ip_address = {REPLICATION_ADDRESS[1]}
	number = 1
	name = server1
	cluster = web

node:
	ip_port = 7777
	ip_address = {REPLICATION_ADDRESS[2]}
	number = 2
	name = server2
	cluster = web
"""

STACK = f"""\
[web]
resource      = r0
device        = /dev/drbd0
backing_file  = {BACKING_FILE}
loop_device   = {LOOP}
cluster       = web
mountpoint    = /mnt/storage
mount_options = noatime
"""

FILES = {
    "/etc/hosts": "127.0.0.1 localhost\n"
    + "".join(f"{address} server{number}\n" for number, address in REPLICATION_ADDRESS.items()),
    "/etc/drbd.d/global_common.conf": "global {\n\tusage-count no;\n}\n",
    "/etc/drbd.d/r0.res": RESOURCE,
    "/etc/ocfs2/cluster.conf": CLUSTER,
    "/etc/drbdocfs/drbdocfs.conf": STACK,
}


def write_files(node: Node) -> None:
    """The configuration of all layers, and a backing file with its blocks allocated."""
    for path, text in FILES.items():
        node.put_text(path, text)
    node.put_text("/etc/hostname", f"{node.name}\n")
    node.run(f"mkdir -p /mnt/storage && fallocate -l {BACKING_SIZE} {BACKING_FILE}; chmod 600 {BACKING_FILE}")


def bring_up_drbd(node: Node) -> None:
    """Loop device, metadata, attach and connect."""
    node.run(f"modprobe loop && losetup {LOOP} {BACKING_FILE}")
    node.run("drbdadm create-md r0 </dev/null && drbdadm up r0", timeout=120)


def first_sync(lab: Lab) -> None:
    """server1's disk becomes the good one and is copied to server2 in full."""
    first = lab.nodes[0]
    first.run("drbdsetup wait-connect-resource r0 2>/dev/null || drbdadm wait-connect r0", timeout=60)
    first.run("drbdadm primary --force r0")
    lab.both(lambda node: node.wait_until("grep -q 'ds:UpToDate/UpToDate' /proc/drbd", SYNC_LIMIT))


def make_file_system(node: Node) -> None:
    """O2CB online, mkfs.ocfs2, and offline again. It would ask questions, were its input not empty.

    Without --nodiscard it punches holes into both backing files, through DRBD and the loop devices.
    """
    node.run(
        "o2cb register-cluster web;"
        " mkfs.ocfs2 --nodiscard -L web -N 2 --cluster-stack=o2cb --cluster-name=web /dev/drbd0 </dev/null 2>&1;"
        " o2cb unregister-cluster web",
        timeout=180,
    )


def tear_down(node: Node) -> None:
    """Leave no layer up: what comes up later is the product's doing."""
    node.run(f"drbdadm down r0; losetup --detach {LOOP}; sync", timeout=120)


def provision(lab: Lab, progress: Callable[[str], None] = say) -> None:
    """Do all of it on a lab whose nodes are booted; nothing is mounted or attached afterwards.

    drbd.service stays disabled, as Debian's package leaves it (the guide's `chkconfig drbd on` is the product's work).
    """
    progress("provision: files")
    lab.both(write_files)
    lab.both(bring_up_drbd)
    progress("provision: first synchronisation")
    first_sync(lab)
    progress("provision: mkfs.ocfs2")
    make_file_system(lab.nodes[0])
    lab.both(tear_down)


def provisioned(image: Image, progress: Callable[[str], None] = say) -> Path:
    """The disks of a provisioned pair, cleanly shut down: a base for Lab(), made once and kept in the cache."""

    def make(folder: Path) -> None:
        with Lab(image) as lab:
            progress("provision: boot of both nodes")
            lab.boot()
            provision(lab, progress)
            lab.shutdown()
            lab.keep(folder)

    here = Path(__file__)
    parts = [image.folder.name.encode(), here.read_bytes()]
    return cache.build_once(f"pair-{image.release}-{cache.digest(parts)}", make)
