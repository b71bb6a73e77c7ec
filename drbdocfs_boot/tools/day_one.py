"""One host's part of ``drbdocfs create``: what it looks at before anything is changed, and the steps that change it.

Every step looks first whether it is done, by what the kernel, the disk and the file say.  That what stands there is
ours comes from the record in /var/lib/drbdocfs/create: a step that makes something is recorded, durably, before it
begins, and after a look that nothing stood there.  For the command only: not part of the boot path.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

from drbdocfs_boot import creating, drbdconf, metadata
from drbdocfs_boot.checks import facts
from drbdocfs_boot.creating import Description, Step, Wrong, human
from drbdocfs_boot.events import State
from drbdocfs_boot.exits import EX_CONFIG, EX_DATAERR, EX_NO, EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE
from drbdocfs_boot.helpers import address, attach
from drbdocfs_boot.tools import drbd, files, losetup, mounts, o2cb, signatures, system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Result, find, run
from drbdocfs_boot.verdict import READY, Verdict, peers_present

TOOLS = (
    "blkid", "debugfs.ocfs2", "drbdadm", "drbdmeta", "drbdsetup", "losetup", "mkfs.ocfs2", "modprobe", "mount.ocfs2",
    "o2cb", "systemctl", "wipefs",
)  # fmt: skip
ROLE_LIMIT = 20.0  # seconds that the other side may be Primary while it looks at the disk
CONNECT_LIMIT = 60.0  # seconds until both have found each other
ALLOCATE_LIMIT = 600.0
MKFS_LIMIT = 600.0
START_LIMIT = 600.0
REACH_LIMIT = 4.0
EVERY = 2.0  # seconds between two looks at a resync
BLOCK = 4 << 20  # bytes
NOT_THERE = "{}, which an earlier run made, is not there"
IS_IT_MOUNTED = "is its file system mounted? Nothing was changed; with it in its place the same command goes on"
NO_QUORUM = (
    "--tiebreaker is for DRBD 9, and the driver here is 8.4, which knows two hosts and no quorum",
    "--survivor witness, with a third host or a shared directory, does it with 8.4",
)
# Where a file is gone after a reboot, or cannot be the floor of a block device.
NO_FLOOR = ("tmpfs", "ramfs", "overlay", "nfs", "nfs4", "cifs", "fuse", "ocfs2", "squashfs")

Say = Callable[[str], None]


class Record:
    """What a run has begun and done on this host: /var/lib/drbdocfs/create/STACK.json, for root only."""

    def __init__(self, description: Description) -> None:
        self.description = description
        self.begun: set[str] = set()
        self.done: set[str] = set()
        self.inode = 0  # of the backing file that we made
        self.complete = ""  # when all was done

    @classmethod
    def load(cls, stack: str) -> Record | None:
        """None when there is none.  Raises Failure (78) when it cannot be read: without it nothing can be told."""
        name = f"{creating.RECORDS}/{stack}.json"
        if not system.exists(name):
            return None
        try:
            data = json.loads(system.read(name) or "")
            record = cls(creating.from_json(data["description"]))
            record.begun, record.done = set(data["begun"]), set(data["done"])
            record.inode, record.complete = int(data["inode"]), str(data["complete"])
        except (ValueError, KeyError, TypeError) as error:
            raise Failure(
                EX_CONFIG, f"the record {name} cannot be read: {error}", "see drbdocfs-create(8), FILES"
            ) from None
        return record

    def save(self) -> None:
        """Durably.  Raises OSError."""
        data = {
            "version": 1, "description": creating.to_json(self.description), "begun": sorted(self.begun),
            "done": sorted(self.done), "inode": self.inode, "complete": self.complete,
        }  # fmt: skip
        files.write(self.description.record, json.dumps(data, indent=1) + "\n", 0o600)


class Problems:
    """What keeps a host from beginning, all of it: (exit status, what, what to do)."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str, str]] = []
        self.notes: list[str] = []

    def add(self, status: int, message: str, advice: str = "") -> None:
        self.found.append((status, message, advice))


def preflight(d: Description, record: Record | None) -> dict[str, Any]:
    """Look at everything and change nothing; the report is JSON, so that it can come from the other host.

    It holds the record, whose secret goes to the other host's command over ssh, and nowhere else.
    """
    seen = facts.collect()
    problems = Problems()
    report: dict[str, Any] = {"host": seen.host, "driver": seen.driver, "hmac": [], "bytes": 0, "time": time.time()}
    report["knows"] = [field.name for field in fields(Description)]
    if os.geteuid() != 0:
        problems.add(EX_NOPERM, "only root may do this", f"sudo drbdocfs create {d.stack}")
    elif seen.host not in [host.name for host in d.hosts]:
        names = " and ".join(host.name for host in d.hosts)
        problems.add(EX_CONFIG, f"'uname -n' says {seen.host} here; the hosts are {names}", "use the names it says")
    elif (record is None or not record.complete) and _tools(d, problems):
        _Look(d, record, seen, problems, report).all()
    report["problems"] = problems.found
    report["notes"] = problems.notes
    report["state"] = "new" if record is None else "complete" if record.complete else "begun"
    report["complete"] = "" if record is None else record.complete
    report["description"] = None if record is None else creating.to_json(record.description)
    # Where all was done before, is it still there?
    report["configured"] = any(stack.name == d.stack for stack in seen.reading.stacks)
    return report


def _tools(d: Description, problems: Problems) -> bool:
    missing = False
    for tool in (*TOOLS, *(["fallocate"] if d.backing_file else [])):
        try:
            find(tool)
        except Failure as failure:
            missing = True
            problems.add(failure.status, failure.message, failure.advice)
    return not missing


class _Look:
    """The looks of one preflight."""

    def __init__(
        self, d: Description, record: Record | None, seen: facts.Facts, problems: Problems, report: dict[str, Any]
    ) -> None:
        self.d = d
        self.record = record
        self.seen = seen
        self.problems = problems
        self.report = report
        self.own = d.host(seen.host)
        self.peer = d.other(seen.host)
        self.up = drbd.loaded() and drbd.state(d.resource).configured

    def begun(self, step: str) -> bool:
        return self.record is not None and step in self.record.begun

    def all(self) -> None:
        for look in (
            self.modules, self.addresses, self.ports, self.stacks, self.resource, self.cluster, self.disk, self.device,
            self.mountpoint, self.crypto, self.fencing,
        ):  # fmt: skip
            try:
                look()
            except Failure as failure:
                self.problems.add(failure.status, failure.message, failure.advice)
            except OSError as error:
                self.problems.add(EX_UNAVAILABLE, str(error))

    def modules(self) -> None:
        for name in ("drbd", "ocfs2", "ocfs2_stack_o2cb", *(["loop"] if self.d.backing_file else [])):
            if self.seen.exists(f"/sys/module/{name}"):
                continue
            if run(["modprobe", "--dry-run", "--quiet", name]).code != 0:
                self.problems.add(
                    EX_UNAVAILABLE, f"the kernel module {name} is not there",
                    "Debian's linux-image-cloud-* kernels do not have it, linux-image-* do",
                )  # fmt: skip
        if self.seen.driver == 0:
            self.problems.add(EX_UNAVAILABLE, "the version of the kernel module drbd cannot be told")

    def addresses(self) -> None:
        for one in dict.fromkeys((self.own.address, self.own.cluster_address)):
            if not address.present(one):
                self.problems.add(EX_CONFIG, f"the address {one} is not on this host", "'ip address' shows which are")
                return
        if not self.up:
            why = unreachable(self.own.address, self.peer.address, self.d.port)
            if why:
                self.problems.add(
                    EX_UNAVAILABLE,
                    f"{self.peer.name} is not reachable from {self.own.address} at {self.peer.address}, port"
                    f" {self.d.port}: {why}",
                    f"is the cable in? Firewalls of both have to let TCP ports {self.d.port} and"
                    f" {creating.CLUSTER_PORT} through",
                )

    def ports(self) -> None:
        taken: set[int] = set()
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            taken |= creating.listening(self.seen.read(table) or "")
        if self.d.port in taken and not self.up:
            self.problems.add(EX_CONFIG, f"TCP port {self.d.port} is in use on this host", "choose another: --port")
        if creating.CLUSTER_PORT in taken and not o2cb.online():
            self.problems.add(EX_CONFIG, f"TCP port {creating.CLUSTER_PORT}, which O2CB needs, is in use on this host")

    def stacks(self) -> None:
        """Our own configuration: no stack of that name, and none that has what this one is to have."""
        d = self.d
        ours = d.stack_file if self.seen.read(d.stack_file) == creating.stack_text(d).rstrip("\n") else ""
        exclusive = ("resource", "device", "backing_file", "loop_device", "mountpoint")
        for stack in self.seen.reading.stacks:
            if ours and stack.file == ours and self.record is not None:
                continue
            place = f"{stack.file}:{stack.line}"
            if stack.name == d.stack:
                self.problems.add(EX_CONFIG, f"the stack {d.stack} is configured already ({place})")
                continue
            for key in exclusive:
                value = getattr(d, key)
                if value and value == getattr(stack, key):
                    option = f"--{key.replace('_', '-').replace('loop-device', 'loop')}"
                    self.problems.add(
                        EX_CONFIG, f"{value} belongs to the stack {stack.name} ({place})", f"choose another: {option}"
                    )
        if d.stack in self.seen.reading.broken or (self.seen.exists(d.stack_file) and not ours):
            self.problems.add(EX_CONFIG, f"{d.stack_file} or another file has a stack {d.stack} that differs")

    def resource(self) -> None:
        d, conf = self.d, self.seen.drbd
        for mistake in conf.mistakes:
            self.problems.add(EX_CONFIG, f"{mistake.file}:{mistake.line}: {mistake.message}")
        if not re.search(r'^\s*include\s+"?(/etc/)?drbd\.d/\*\.res"?', self.seen.read(facts.DRBD_CONF) or "", re.M):
            self.problems.add(
                EX_CONFIG, f"{facts.DRBD_CONF} does not include drbd.d/*.res, so a resource there is not seen",
                f"""add the line 'include "drbd.d/*.res";' to {facts.DRBD_CONF}""",
            )  # fmt: skip
        text = self.seen.read(d.resource_file)
        ours = (
            self.record is not None
            and text is not None
            and text == creating.resource_text(self.record.description, self.seen.driver).rstrip("\n")
        )
        if text is not None and not ours:
            self.problems.add(
                EX_CONFIG, f"{d.resource_file} is there already, and not as it would be written", "--resource NAME"
            )
        for other in conf.resources():
            name = other.words[1]
            if name == d.resource:
                if other.file != d.resource_file:
                    self.problems.add(
                        EX_CONFIG, f"DRBD resource {name} is defined already ({other.place})", "--resource NAME"
                    )
                continue
            said = [" ".join(one.words) for one in _statements(other)]
            for word, what, option in (
                (d.device, "device", "--device"),
                (f"minor {d.minor}", "device", "--device"),
                (self.own.disk, "disk", "--loop" if d.backing_file else "--disk"),
            ):
                if any(re.search(rf"(^|\s){re.escape(word)}$|^{what} {re.escape(word)}(\s|$)", line) for line in said):
                    self.problems.add(
                        EX_CONFIG,
                        f"{word} belongs to DRBD resource {name} ({other.place})",
                        f"choose another: {option}",
                    )
                    break
            ends = (f"{self.own.address}:{d.port}", f"[{self.own.address}]:{d.port}")
            if any(line.endswith(ends) for line in said):
                self.problems.add(
                    EX_CONFIG,
                    f"port {d.port} belongs to DRBD resource {name} ({other.place})",
                    "choose another: --port",
                )
        if self.up and not self.begun("attach"):
            self.problems.add(EX_CONFIG, f"DRBD resource {d.resource} is up already", f"'drbdsetup down {d.resource}'")

    def cluster(self) -> None:
        try:
            creating.cluster_text(self.d, self.seen.read(creating.CLUSTER_CONF))
        except Wrong as wrong:
            self.problems.add(EX_CONFIG, str(wrong), "choose another name: --cluster")
        others = [name for name in o2cb.online() if name != self.d.cluster]
        if others:
            self.problems.add(
                EX_CONFIG, f"the O2CB cluster '{others[0]}' is online, and the kernel has room for one only",
                f"--cluster {others[0]}, where its nodes are the same two",
            )  # fmt: skip
        kind = system.read(o2cb.STACK)
        if kind not in (None, "", "o2cb"):
            self.problems.add(EX_UNAVAILABLE, f"the OCFS2 cluster stack is '{kind}', not 'o2cb'")

    def disk(self) -> None:
        if self.d.backing_file:
            self.file()
            self.loop()
            return
        disk = self.own.disk
        if not signatures.is_disk(disk):
            self.problems.add(EX_CONFIG, f"{disk} is no disk of this host", "'lsblk' shows which there are: --disk")
            return
        self.report["bytes"] = signatures.size(disk)
        if self.report["bytes"] < creating.SMALLEST:
            self.problems.add(
                EX_CONFIG, f"{disk} has {human(self.report['bytes'])}; {human(creating.SMALLEST)} is least"
            )
        if self.up:
            return
        used = signatures.users(disk)
        if used:
            self.problems.add(EX_DATAERR, f"{disk} {', '.join(used)}", "choose another disk, or free it first")
        self.signatures(disk, disk)

    def signatures(self, node: str, name: str) -> None:
        found = signatures.findings(node)
        if not found or (self.begun("metadata") and all(self.made(one) for one in found)):
            return
        self.problems.add(
            EX_DATAERR, f"on {name} there is {', '.join(str(one) for one in found)}",
            "choose another, or, where nothing of it is wanted any more, take it away by your own hand (wipefs(8)):"
            " create never does",
        )  # fmt: skip

    def made(self, one: creating.Finding) -> bool:
        """Whether a signature is of what an earlier run made; its file system shows on the disk below DRBD, too."""
        record = self.record
        return record is not None and (
            one.kind == "drbd"
            or (one.kind == "ocfs2" and "metadata" in record.done and one.is_uuid(record.description.uuid))
        )

    def file(self) -> None:
        d = self.d
        self.report["bytes"] = d.size
        there = 0
        try:
            found = os.lstat(system.path(d.backing_file))
        except OSError:
            found = None
        if self.begun("metadata") and (self.record is None or _inode(d.backing_file) != self.record.inode):
            self.problems.add(EX_DATAERR, NOT_THERE.format(d.backing_file), IS_IT_MOUNTED)
            return
        if found is not None:
            if not stat.S_ISREG(found.st_mode):
                self.problems.add(EX_CONFIG, f"{d.backing_file} is there, and no regular file", "--backing-file FILE")
                return
            ours = self.record is not None and self.record.inode == found.st_ino
            # A number of an inode is given away again: before there is metadata, ours holds nothing.
            ours = ours and (self.begun("metadata") or signatures.blank(d.backing_file))
            there = found.st_blocks * 512 if ours else 0
            if not ours and found.st_size:
                what = ", ".join(str(one) for one in signatures.findings(d.backing_file))
                self.problems.add(
                    EX_DATAERR, f"{d.backing_file} is there already, {human(found.st_size)}"
                    + (f", with {what}" if what else ""),
                    "--backing-file with another name, or remove it by your own hand where nothing of it is wanted",
                )  # fmt: skip
                return
        place = os.path.dirname(d.backing_file)
        while not os.path.isdir(system.path(place)) and place != "/":
            place = os.path.dirname(place)
        below = [m for m in self.seen.mounts if m.target == "/" or (place + "/").startswith(m.target + "/")]
        # Of mounts on one place the last one is seen.
        kind = max(enumerate(below), key=lambda pair: (len(pair[1].target), pair[0]))[1].type if below else ""
        if kind in NO_FLOOR or kind.startswith("fuse."):
            self.problems.add(
                EX_CONFIG, f"{d.backing_file} would lie on {kind}, which cannot carry it", "--backing-file FILE"
            )
            return
        about = os.statvfs(system.path(place))
        free = about.f_bavail * about.f_frsize
        # Some is left to the host itself.
        if d.size - there + (16 << 20) > free:
            self.problems.add(
                EX_UNAVAILABLE, f"{place} has {human(free)} free, and {human(d.size - there)} and a little are needed",
                "a smaller --size, or --backing-file on another file system",
            )  # fmt: skip

    def loop(self) -> None:
        d = self.d
        for mapping in losetup.mappings():
            ours = self.record is not None and mapping.identity[1] == self.record.inode
            if mapping.node == d.loop_device and not ours:
                self.problems.add(
                    EX_CONFIG,
                    f"{d.loop_device} is taken by {mapping.file}",
                    "choose a higher number: --loop /dev/loopN",
                )
            elif mapping.node == d.loop_device and not self.up:
                self.signatures(d.loop_device, d.backing_file)

    def device(self) -> None:
        if self.seen.exists(f"/sys/block/drbd{self.d.minor}") and not self.up:
            self.problems.add(
                EX_CONFIG, f"{self.d.device} is taken by another DRBD resource", "choose another: --device /dev/drbdN"
            )

    def mountpoint(self) -> None:
        place = self.d.mountpoint
        for line in self.seen.fstab:
            if line.target == place:
                self.problems.add(
                    EX_CONFIG, f"{facts.FSTAB}:{line.number} mounts {line.spec} on {place}",
                    "take that line out, or choose another --mountpoint",
                )  # fmt: skip
        for mount in self.seen.mounts:
            if mount.target == place and not mounts.on_device([mount], self.d.device):
                self.problems.add(EX_CONFIG, f"{mount.source} ({mount.type}) is mounted on {place}", "umount it first")
                return
            if mount.target == place:
                return
        if not self.seen.exists(place):
            return
        if not os.path.isdir(system.path(place)):
            self.problems.add(EX_CONFIG, f"{place} is no directory", "choose another --mountpoint")
        elif self.seen.names(place):
            self.problems.add(
                EX_DATAERR, f"{place} is not empty: the mount would hide {', '.join(self.seen.names(place)[:3])}",
                "move that away, or choose another --mountpoint",
            )  # fmt: skip

    def crypto(self) -> None:
        known = set(re.findall(r"^name\s*: (\S+)$", self.seen.read("/proc/crypto") or "", re.M))
        for name in ("sha256", "sha1"):
            if name in known or run(["modprobe", "--dry-run", "--quiet", f"crypto-{name}"]).code == 0:
                self.report["hmac"].append(name)
        if not self.report["hmac"]:
            self.problems.add(EX_UNAVAILABLE, "the kernel has neither sha256 nor sha1, to know the peer by")


    def fencing(self) -> None:
        d = self.d
        if d.tiebreaker and self.seen.driver == 8:
            self.problems.add(EX_UNAVAILABLE, *NO_QUORUM)
        if d.survivor == "power":
            try:
                find(d.fence_agent)
            except Failure:
                self.problems.add(
                    EX_UNAVAILABLE, f"the fence agent {d.fence_agent} is not on this host",
                    "install the package that has it (Debian: fence-agents), or give its absolute path: --fence-agent",
                )  # fmt: skip
            self.options_file(d.fence_options or creating.FENCE_OPTIONS)
        elif d.witness.startswith("/"):
            if not os.path.isdir(system.path(d.witness)):
                self.problems.notes.append(f"{self.seen.host}: {d.witness}, the witness, is no directory yet")
        elif d.witness:
            find("ssh")

    def options_file(self, name: str) -> None:
        """It has secrets, so it is not written here; that it is not there yet keeps nobody from beginning."""
        try:
            found = os.stat(system.path(name))
        except OSError:
            self.problems.notes.append(
                f"{self.seen.host}: {name}, the options of {self.d.fence_agent}, is not there: write it on both hosts,"
                " mode 600; until then nobody goes on alone"
            )
            return
        if found.st_mode & 0o077 or found.st_uid != 0:
            self.problems.notes.append(
                f"{self.seen.host}: {name} is not root's alone, so it will not be read: chown root {name}; chmod 600"
                f" {name}"
            )


def unreachable(own: str, peer: str, port: int) -> str:
    """Why nothing comes back from the peer; "" when something does: a refusal is an answer, too."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(REACH_LIMIT)
            sock.bind((own, 0))
            sock.connect((peer, port))
    except ConnectionRefusedError:
        return ""
    except socket.timeout:
        return "no answer"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _inode(name: str) -> int:
    """Of a file; 0 when it is not there."""
    try:
        return os.lstat(system.path(name)).st_ino
    except OSError:
        return 0


def _statements(section: drbdconf.Statement) -> Iterable[drbdconf.Statement]:
    for child in section.children or ():
        yield child
        yield from _statements(child)


def _final(verdict: Verdict) -> Failure:
    """What cannot get better by waiting; the wait's own statuses beyond those of the command are a plain no."""
    known = (EX_DATAERR, EX_UNAVAILABLE, EX_TEMPFAIL, EX_CONFIG)
    return Failure(verdict.status if verdict.status in known else EX_NO, verdict.reason, verdict.advice)


class Worker:
    """The steps of one host.  Each can be run again."""

    def __init__(self, record: Record, host: str, say: Say, progress: Say, patient: bool = False) -> None:
        """``patient``: the other side is somebody's own work, who may take his time."""
        self.record = record
        self.patient = patient
        self.d = record.description
        self.host = host
        self.driver = facts.collect().driver
        self._say = say
        self._progress = progress

    # --- how

    def begin(self, step: str) -> None:
        if step not in self.record.begun:
            self.record.begun.add(step)
            self.record.save()

    def end(self, step: Step, already: bool = False) -> None:
        self.record.begun.add(step.name)
        if step.name not in self.record.done:
            self.record.done.add(step.name)
            self.record.save()
        self._say(f"{self.host}: {step.title}" + (" (was there)" if already else ""))

    def tool(self, argv: Iterable[str], limit: float = 60.0, what: str = "", status: int = EX_UNAVAILABLE) -> Result:
        """Run it; raises Failure with what it said.  The secret, which drbdadm repeats in its errors, never shows."""
        command = list(argv)
        # Ctrl-C waits for its end: what it leaves behind must not go on beside the next run.
        # A job of systemd's is none of that.
        waits = command[0] != "systemctl" and signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        if waits:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            result = run(command, limit)
        finally:
            if waits:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        if result.code != 0:
            said = self.masked(result.said) or f"exit {result.code}"
            raise Failure(status, f"'{' '.join(command)}' failed{what}: {said}", "mend that; the same command goes on")
        return result

    def masked(self, text: str) -> str:
        return text.replace(self.d.secret, "***") if self.d.secret else text

    def write(self, step: Step) -> bool:
        """Write the step's files; True when each was there with just that text.  Never over another text."""
        already = True
        for name, mode, text in step.files:
            before = system.read(name)
            if before == text.rstrip("\n"):
                continue
            if before is not None and name != creating.CLUSTER_CONF:
                raise Failure(
                    EX_CONFIG, f"{name} is there, and not as it would be written", "nothing was changed in it"
                )
            files.write(name, text, None if name == creating.CLUSTER_CONF else mode)
            already = False
        return already

    def state(self) -> State:
        return drbd.state(self.d.resource) if drbd.loaded() else State()

    def generation(self) -> str:
        """The current data generation's UUID of this host's disk; "" when it cannot be read."""
        slots = metadata.parse(run(["drbdadm", "get-gi", self.d.resource]).out)
        return slots[0].current if slots else ""

    # --- both hosts

    def prepare(self) -> dict[str, Any]:
        """Everything up to a resource that is attached and connecting; says the data generation."""
        for step in creating.prepare_steps(self.d, self.host, self.driver, system.read(creating.CLUSTER_CONF)):
            getattr(self, "do_" + step.name.replace("-", "_"))(step)
        return {"generation": self.generation()}

    def do_modules(self, step: Step) -> None:
        # Named apart: whether all are there already needs no tool.
        there = all(system.exists(f"/sys/module/{name}") for name in step.commands[0][2:])
        if not there:
            self.tool(step.commands[0])
        self.end(step, there)

    def do_resource_file(self, step: Step) -> None:
        already = self.write(step)
        # drbdadm has the last word, before anything else is done.
        try:
            described = drbd.describe(self.d.resource)
        except Failure:
            if not already:
                # One file that drbdadm refuses keeps it from all other resources, too.
                os.unlink(system.path(self.d.resource_file))
            raise
        if (self.d.device, self.d.host(self.host).disk) not in described.volumes:
            raise Failure(
                EX_CONFIG, f"drbdadm reads {described.volumes} from {self.d.resource_file}",
                f"is there another resource {self.d.resource} in /etc/drbd.d?",
            )  # fmt: skip
        self.end(step, already)

    def do_cluster_file(self, step: Step) -> None:
        self.end(step, self.write(step))

    def do_backing_file(self, step: Step) -> None:
        name = self.d.backing_file
        place = system.path(name)
        if "metadata" in self.record.begun and _inode(name) != self.record.inode:
            raise Failure(EX_DATAERR, NOT_THERE.format(name), IS_IT_MOUNTED)
        if not os.path.lexists(place):
            files.make_directory(os.path.dirname(place))
            os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            files.sync_directory(os.path.dirname(place))
        found = os.lstat(place)
        if not stat.S_ISREG(found.st_mode) or (found.st_size and found.st_ino != self.record.inode):
            raise Failure(EX_DATAERR, f"{name} is there, and not ours", "--backing-file with another name")
        if found.st_size and "metadata" not in self.record.begun and not signatures.blank(name):
            raise Failure(EX_DATAERR, f"{name} has data in it that is not ours", "--backing-file with another name")
        if found.st_ino != self.record.inode:
            os.chmod(place, 0o600)
            self.record.inode = found.st_ino
            self.record.save()
        if found.st_size >= self.d.size and found.st_blocks * 512 >= self.d.size:
            self.end(step, True)
            return
        used = "metadata" in self.record.begun
        if used and found.st_size < self.d.size:
            raise Failure(EX_DATAERR, f"{name} has become shorter: {human(found.st_size)}", "nothing was changed in it")
        # Blocks that are missing are allocated; what is in the others stays.
        result = run([*step.commands[0][:-1], place], ALLOCATE_LIMIT)
        if result.code != 0:
            if used or "not supported" not in result.said:
                raise Failure(EX_UNAVAILABLE, f"fallocate of {name} failed: {result.said}", "the same command goes on")
            self._fill(place)
        fd = os.open(place, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        self.end(step)

    def _fill(self, place: str) -> None:
        """Zeroes, where the file system cannot allocate blocks by itself."""
        pace = creating.Pace()
        block = bytes(BLOCK)
        done = 0
        fd = os.open(place, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while done < self.d.size:
                done += os.write(fd, block[: self.d.size - done])
                self._progress(pace.line(f"{self.host}: backing file", done, self.d.size, time.monotonic()))
        finally:
            os.close(fd)

    def do_loop(self, step: Step) -> None:
        node, name = self.d.loop_device, self.d.backing_file
        if self._bound():
            self.end(step, True)
            return
        losetup.attach(node, system.path(name))
        if not self._bound():
            raise Failure(EX_UNAVAILABLE, f"{node} is not bound to {name} although losetup said so")
        self.end(step)

    def _bound(self) -> bool:
        """Whether the loop device is bound to our file; raises Failure (78) when something else is the case."""
        node, name = self.d.loop_device, self.d.backing_file
        about = os.stat(system.path(name))
        for mapping in losetup.mappings():
            ours = mapping.identity == (about.st_dev, about.st_ino)
            if ours and mapping.node == node and not mapping.offset and not mapping.read_only:
                return True
            if ours or mapping.node == node:
                raise Failure(EX_CONFIG, f"{mapping.node} is bound to {mapping.file}, not {node} to {name}")
        return False

    def do_metadata(self, step: Step) -> None:
        if self.state().configured or "metadata" in self.record.done:
            self.end(step, True)
            return
        disk = self.d.host(self.host).disk
        # Once more, just before: between the first look and now somebody may have used the disk.
        found = signatures.findings(disk)
        if found and not ("metadata" in self.record.begun and all(one.kind == "drbd" for one in found)):
            raise Failure(EX_DATAERR, f"on {disk} there is {', '.join(map(str, found))}", "nothing was changed on it")
        if found and self.generation():
            self.end(step, True)
            return
        self.begin(step.name)
        wrapper = system.path(self.d.wrapper)
        files.write(self.d.wrapper, creating.wrapper_text(self.d, system.path("")), 0o600)
        try:
            # With nobody at its standard input, create-md overwrites nothing that it finds.
            self.tool(["drbdadm", "-c", wrapper, *step.commands[0][3:]], 600, status=EX_DATAERR)
        finally:
            os.unlink(wrapper)
        self.end(step)

    def do_attach(self, step: Step) -> None:
        before = self.state()
        if self.host != self.d.first:
            # The target of the first sync.  (The other one is its source, and before it both are marked like a target.)
            attach.distrust(
                lambda text: self._say(f"{self.host}: {text}"), f"{self.d.resource}/0", self.d.host(self.host).disk,
                bool(self.d.backing_file), "the same command",
            )  # fmt: skip
        self.begin(step.name)
        self.tool(step.commands[0])
        state = self.state()
        disks = [device.get("disk", "Unknown") for device in state.devices.values()]
        if not disks or any(disk in ("Diskless", "Failed") for disk in disks):
            raise Failure(
                EX_UNAVAILABLE, f"{self.d.resource} has no disk after 'drbdadm adjust': {', '.join(disks) or 'down'}",
                "see 'journalctl -k -g drbd'",
            )  # fmt: skip
        self.end(step, bool(before.devices))

    # --- the first host

    def first(self, peer_generation: str) -> dict[str, Any]:
        """Make this disk the good one, and the file system on it; then wait until the other disk is the same.

        ``peer_generation`` as the other host says it; "" where it cannot be asked.
        """
        sync, system_, follow = creating.first_steps(self.d)
        self._sync(sync, peer_generation)
        self._file_system(system_)
        self.follow(follow)
        return {}

    def _sync(self, step: Step, peer_generation: str) -> None:
        state = self._meet()
        disk, peer, replication = _disks(state)
        if disk == "UpToDate" and "first-sync" in self.record.begun:
            self.end(step, True)
        elif (disk, peer) == ("Inconsistent", "Inconsistent") and not replication.startswith("Sync"):
            for host, uuid in ((self.host, self.generation()), (self.d.other(self.host).name, peer_generation)):
                if not uuid and (host == self.host or not self.patient):
                    raise Failure(
                        EX_DATAERR, f"the data generation of the disk of {host} cannot be read",
                        f"see 'drbdadm get-gi {self.d.resource}' there; nothing was changed",
                    )  # fmt: skip
                if uuid and int(uuid, 16) != creating.JUST_CREATED:
                    raise Failure(
                        EX_DATAERR, f"the disk of {host} has had data before (generation {uuid})",
                        "it is not for create to decide which data is the good one",
                    )  # fmt: skip
            self.begin(step.name)
            self.tool(step.commands[0], status=EX_DATAERR)
            self.end(step)
        else:
            raise Failure(
                EX_DATAERR, f"the disks are {disk} here and {peer} on the other side: not two new ones",
                "it is not for create to decide which data is the good one; see 'drbdadm status'",
            )  # fmt: skip
        if self.state().resource.get("role") != "Primary":
            self.tool(["drbdadm", "primary", self.d.resource])

    def _meet(self) -> State:
        """Wait until both hosts see each other's disks."""
        deadline = time.monotonic() + CONNECT_LIMIT
        pause = 0.2
        while True:
            state = self.state()
            if not state.configured:
                raise Failure(EX_UNAVAILABLE, f"DRBD resource {self.d.resource} is down", "the same command goes on")
            verdict = drbd.verdict(state, self.d.resource)
            if verdict.final:
                raise _final(verdict)
            if peers_present(state) and _disks(state)[1] not in ("", "DUnknown"):
                return state
            if time.monotonic() >= deadline and not self.patient:
                raise Failure(
                    EX_TEMPFAIL, f"the two have not connected in {CONNECT_LIMIT:.0f} s: {verdict.reason}",
                    "is the link up, and the other side's part done? The same command goes on from here",
                )  # fmt: skip
            self._progress(f"{self.host}: waiting for {self.d.other(self.host).name}")
            time.sleep(pause)
            pause = min(2.0, pause * 2)

    def _file_system(self, step: Step) -> None:
        if "file-system" in self.record.done:
            self.end(step, True)
            return
        found = signatures.findings(self.d.device)
        ours = "file-system" in self.record.begun and all(
            one.kind == "ocfs2" and one.is_uuid(self.d.uuid) for one in found
        )
        if found and ours and signatures.made(self.d.device):
            # mkfs outlived the run that began it.  The other side may have mounted it since.
            self.end(step, True)
            return
        if found and not ours:
            raise Failure(
                EX_DATAERR, f"on {self.d.device} there is {', '.join(map(str, found))}", "nothing was changed on it"
            )
        used = signatures.users(self.d.device)
        if used:
            raise Failure(EX_DATAERR, f"{self.d.device} {', '.join(used)}", "nothing was changed on it")
        self._peer_secondary()
        # One of ours that mkfs has not ended is made once more: nobody mounts that.
        self.begin(step.name)
        self._progress(f"{self.host}: mkfs.ocfs2")
        self.tool(step.commands[0], MKFS_LIMIT, status=EX_NO)
        self.end(step)

    def _peer_secondary(self) -> None:
        """Raises Failure (65) while the other side is Primary, or not there: it may have mounted what is here.

        Without ssh the other side looks after the file system, and is Primary for a moment at each look (``second``).
        """
        deadline = time.monotonic() + ROLE_LIMIT
        while True:
            roles = [one.get("role", "Unknown") for one in self.state().connections.values()]
            if roles == ["Secondary"]:
                return
            if time.monotonic() >= deadline:
                other, role = self.d.other(self.host).name, ", ".join(roles) or "not connected"
                raise Failure(
                    EX_DATAERR, f"{other} is {role} and not Secondary: it may use {self.d.device}",
                    "nothing was changed on it; where nothing is mounted there, the same command goes on",
                )  # fmt: skip
            time.sleep(0.2)

    def follow(self, step: Step) -> None:
        """Until both disks are UpToDate, however long that takes, but not without the other side."""
        pace = creating.Pace()
        whole = 0.0
        seen = time.monotonic()
        while True:
            state = self.state()
            verdict = drbd.verdict(state, self.d.resource)
            if peers_present(state) or self.patient:
                seen = time.monotonic()
            elif time.monotonic() - seen >= CONNECT_LIMIT:
                raise Failure(
                    EX_TEMPFAIL, f"the other side has gone for {CONNECT_LIMIT:.0f} s: {verdict.reason}",
                    "the same command goes on from here once it is back",
                )  # fmt: skip
            if verdict.kind == READY:
                self.end(step)
                return
            if verdict.final:
                raise _final(verdict)
            left = sum(int(p["out-of-sync"]) for p in state.peer_devices.values() if p.get("out-of-sync", "").isdigit())
            left *= 1024
            if left and any(p.get("replication", "").startswith("Sync") for p in state.peer_devices.values()):
                # What is changed meanwhile goes to both at once, and does not count.
                whole = max(whole, float(left), float(self._whole()))
                self._progress(pace.line("first sync", whole - left, whole, time.monotonic()))
            else:
                self._progress(f"{self.host}: {verdict.reason}")
            time.sleep(EVERY)

    def _whole(self) -> int:
        try:
            return int(system.read(f"/sys/block/drbd{self.d.minor}/size") or "0") * 512
        except ValueError:
            return 0

    # --- the second host, where nobody tells it that the first one is ready

    def second(self) -> dict[str, Any]:
        """Wait until both disks are UpToDate and the first host has made the file system."""
        self.follow(creating.first_steps(self.d)[2])
        while True:
            if self.state().resource.get("role") != "Primary":
                self.tool(["drbdadm", "primary", self.d.resource])
            found = signatures.findings(self.d.device)
            there = any(one.kind == "ocfs2" and one.is_uuid(self.d.uuid) for one in found)
            if there and signatures.made(self.d.device):
                return {}
            # udev may hold it open for a moment: then it is Primary a little longer.
            run(["drbdadm", "secondary", self.d.resource], 30)
            self._progress(f"{self.host}: waiting for the file system that {self.d.first} makes")
            time.sleep(EVERY)

    # --- both, in the end

    def finish(self) -> dict[str, Any]:
        """Our configuration, and the stack's start, by the same units as at every boot."""
        configuration, start = creating.finish_steps(self.d, self.host)
        place = system.path(self.d.mountpoint)
        files.make_directory(place)
        already = self.write(configuration)
        self.tool(["systemctl", "daemon-reload"])
        self.end(configuration, already)
        self._progress(f"{self.host}: systemctl start {self.d.target}")
        self.tool(start.commands[0], START_LIMIT, f" on {self.host}; 'drbdocfs status {self.d.stack}' says why", EX_NO)
        others = [stack for stack in facts.collect().reading.stacks if stack.name != self.d.stack]
        # What follows all stacks.  Other stacks may be down because somebody wants them so.
        self.tool(["systemctl", "start", "drbdocfs-follow.service" if others else "drbdocfs.target"], START_LIMIT)
        self.record.complete = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        self.end(start)
        self.record.save()
        return {}


def _disks(state: State) -> tuple[str, str, str]:
    """(own disk, peer's disk, replication) of a resource with one volume."""
    device = next(iter(state.devices.values()), {})
    peer = next(iter(state.peer_devices.values()), {})
    return device.get("disk", ""), peer.get("peer-disk", ""), peer.get("replication", "Off")
