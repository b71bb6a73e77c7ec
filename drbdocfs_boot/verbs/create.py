"""Day one of a stack, on both hosts: DRBD resource, cluster, backing file, metadata, first sync, OCFS2, and its start.

Run it on one of the two; the other one's part is done over ssh.  It refuses wherever data stands.  After any
interruption the same command goes on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from drbdocfs_boot import clusterconf, creating, fencing
from drbdocfs_boot.checks import facts
from drbdocfs_boot.creating import Description, Host, Wrong, human
from drbdocfs_boot.exits import (
    EX_CONFIG,
    EX_DATAERR,
    EX_INTERRUPTED,
    EX_NO,
    EX_NOPERM,
    EX_OK,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
    refuse,
)
from drbdocfs_boot.terminal import Progress
from drbdocfs_boot.tools import ask, day_one, files, ssh, system
from drbdocfs_boot.tools.day_one import Record, Worker
from drbdocfs_boot.tools.failure import Failure

LOCK_LIMIT = 20.0  # seconds that another run may need to end
QUIET_LIMIT = 700.0  # seconds without a word of the other side; its longest command may take 600


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stack", metavar="STACK", help="the stack's name")
    what = parser.add_argument_group("what it is to be (after the first run: as it was said then)")
    what.add_argument("--peer", metavar="NAME=ADDRESS", help="the other host: its 'uname -n' and its address")
    what.add_argument("--address", metavar="ADDRESS", help="this host's address on the link between the two")
    what.add_argument("--mountpoint", metavar="DIR", help="where the file system is mounted")
    what.add_argument("--first", metavar="HOST", help="the host whose disk is the source of the first sync")
    what.add_argument("--size", metavar="SIZE", help="size of a backing file, such as 20G")
    what.add_argument("--disk", metavar="DISK", help="an empty disk of both hosts, in place of a backing file")
    what.add_argument("--peer-disk", metavar="DISK", help="where the other host has another one")
    what.add_argument("--backing-file", metavar="FILE", help="the backing file [/srv/drbdocfs/STACK.img]")
    what.add_argument("--loop", metavar="DEVICE", help="its loop device [/dev/loop7]")
    what.add_argument("--resource", metavar="NAME", help="the DRBD resource [STACK]")
    what.add_argument("--device", metavar="DEVICE", help="its device [/dev/drbd0]")
    what.add_argument("--port", metavar="PORT", type=int, help="its TCP port [7789]")
    what.add_argument("--cluster", metavar="NAME", help="the O2CB cluster [STACK]")
    what.add_argument("--cluster-address", metavar="ADDRESS", help="this host's IPv4 address for O2CB [--address]")
    what.add_argument("--peer-cluster-address", metavar="ADDRESS", help="the other host's [as in --peer]")
    what.add_argument("--mount-options", metavar="OPTIONS", help="as in fstab")
    what.add_argument("--slots", metavar="N", type=int, help="nodes that OCFS2 has room for [2]")
    lost = parser.add_argument_group("who goes on when the link is lost")
    lost.add_argument("--survivor", metavar="none|HOST|power|witness", help="who goes on; asked on a terminal [none]")
    lost.add_argument("--link-grace", metavar="TIME", help="how long the link may take to come back before that [20s]")
    lost.add_argument("--fence-agent", metavar="PROGRAM", help="for power: what switches the other host off")
    lost.add_argument("--fence-options", metavar="FILE", help=f"its options, of mode 600 [{creating.FENCE_OPTIONS}]")
    lost.add_argument("--witness", metavar="WHERE", help="for witness: [USER@]HOST[:PORT], or a shared directory")
    lost.add_argument(
        "--tiebreaker", metavar="NAME=ADDRESS[:PORT]", help="a third host without a disk, for the quorum of DRBD 9"
    )
    how = parser.add_argument_group("how it is done")
    how.add_argument("--dry-run", action="store_true", help="show every file and command, and change nothing")
    how.add_argument("--yes", action="store_true", help="do not ask (needed where there is no terminal)")
    how.add_argument("--ssh", metavar="DESTINATION", help="where to reach the other host, as ssh wants it")
    how.add_argument("--this-side", action="store_true", help="do this host's part only; for hosts without ssh")
    how.add_argument("--save-description", metavar="FILE", help="write the description, with the secret, for the other")
    how.add_argument("--description", metavar="FILE", help="take all of it from there; - is the standard input")


def run(args: argparse.Namespace) -> int:
    """0 it is there; 1 a step failed, or the answer was no; 2 usage; 65 data stands where it would go; 69 something is
    missing; 75 time; 77 not root; 78 something else is configured already; 130 interrupted."""
    try:
        return _run(args)
    except Wrong as wrong:
        for reason in wrong.reasons:
            print(f"drbdocfs: {reason}", file=sys.stderr)
        return EX_USAGE
    except Failure as failure:
        return refuse(failure.status, failure.message, failure.advice)
    except BrokenPipeError:
        raise
    except OSError as error:
        return refuse(EX_NO, str(error))
    except KeyboardInterrupt:
        print("\ninterrupted; what is done stays, and nothing is in danger", file=sys.stderr)
        print(f"what to do: 'drbdocfs create {args.stack}' goes on from here", file=sys.stderr)
        return EX_INTERRUPTED


def _run(args: argparse.Namespace) -> int:
    given: Any = None
    if args.description is not None:
        given = _read(args.description)
        if isinstance(given, dict) and "phase" in given:
            return _serve(args.stack, given)
    root = os.geteuid() == 0
    # Another user cannot read it; a dry run of his shows what a first run would do.
    record = Record.load(args.stack) if root else None
    host = facts.collect().host
    description = creating.from_json(given) if given is not None else _describe(args, host, record)
    if description.stack != args.stack:
        raise Failure(EX_USAGE, f"the description is of the stack {description.stack}")
    if args.dry_run:
        _show_plan(description)
        return EX_OK
    if not root:
        return refuse(EX_NOPERM, "only root may do this", f"sudo drbdocfs create {args.stack} ...")
    with _only_one(args.stack):
        return _Creation(args, description, host).run()


def _read(name: str) -> Any:
    try:
        if name == "-":
            return json.load(sys.stdin)
        with open(name, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise Failure(EX_USAGE, f"{name} holds no description: {error}") from None


def _describe(args: argparse.Namespace, host: str, record: Record | None) -> Description:
    """From the options, what they leave out from the record, else the defaults; asks where there is somebody."""
    before = record.description if record is not None else None
    old = before.public() if before is not None else {}
    said: dict[str, Any] = {key: value for key, value in vars(args).items() if value is not None}
    if before is not None:
        try:
            own, other = before.host(host), before.other(host)
        except KeyError:
            raise Failure(EX_CONFIG, f"the record {before.record} is not of this host ({host})") from None
        said.setdefault("peer", f"{other.name}={other.address}")
        said.setdefault("address", own.address)
        said.setdefault("cluster_address", own.cluster_address)
        said.setdefault("peer_cluster_address", other.cluster_address)
        if not before.backing_file and "size" not in said:
            said.setdefault("disk", own.disk)
            said.setdefault("peer_disk", other.disk)
        elif before.backing_file and "disk" not in said:
            said.setdefault("size", str(before.size))
            said.setdefault("backing_file", before.backing_file)
            said.setdefault("loop", before.loop_device)
        for key in ("mountpoint", "first", "resource", "device", "port", "cluster", "mount_options", "slots"):
            said.setdefault(key, old[key])
        for key in creating.LATER:
            # Of one policy, nothing that belongs to another.
            if key in ("tiebreaker", "link_grace", "survivor") or said["survivor"] == old["survivor"]:
                said.setdefault(key, old[key])
    _complete(said, host)
    name, _, address = said["peer"].partition("=")
    stack = args.stack
    backed = "size" in said
    if backed and ("disk" in said or "peer_disk" in said):
        raise Failure(EX_USAGE, "--size makes a backing file, --disk takes a disk: one of them")
    if not backed and ("backing_file" in said or "loop" in said):
        raise Failure(EX_USAGE, "--backing-file and --loop are of no use with --disk")
    loop = said.get("loop", "/dev/loop7") if backed else ""
    port = said.get("port", 7789)
    try:
        size = creating.size(said["size"]) if backed else 0
        tiebreaker = creating.tiebreaker(said["tiebreaker"], port) if said.get("tiebreaker") else ""
    except ValueError as error:
        raise Failure(EX_USAGE, str(error)) from None
    disk = loop if backed else said["disk"]
    return creating.checked(
        Description(
            stack=stack,
            resource=said.get("resource", stack),
            device=said.get("device", "/dev/drbd0"),
            cluster=said.get("cluster", stack),
            mountpoint=said["mountpoint"],
            mount_options=said.get("mount_options", ""),
            port=port,
            size=size,
            backing_file=said.get("backing_file", f"/srv/drbdocfs/{stack}.img") if backed else "",
            loop_device=loop,
            slots=said.get("slots", 2),
            first=said["first"],
            hosts=(
                Host(host, said["address"], said.get("cluster_address", said["address"]), disk),
                Host(name, address, said.get("peer_cluster_address", address), said.get("peer_disk", disk)),
            ),
            survivor=said["survivor"],
            link_grace=said.get("link_grace", ""),
            fence_agent=said.get("fence_agent", ""),
            fence_options=said.get("fence_options", ""),
            witness=said.get("witness", ""),
            tiebreaker=tiebreaker,
        )
    )


def _complete(said: dict[str, Any], host: str) -> None:
    """Ask for what is needed and was not said; raises Failure (2) with all of it where there is nobody to ask."""
    needed = {
        "peer": ("--peer NAME=ADDRESS", "The other host, NAME=ADDRESS (NAME: 'uname -n' there)"),
        "address": ("--address ADDRESS", f"The address of {host}, this host, on the link"),
        "mountpoint": ("--mountpoint DIR", "Where to mount the file system"),
        "size": ("--size SIZE or --disk DISK", "Size of a backing file (20G), or an empty disk (/dev/...)"),
        "first": ("--first HOST", "The host whose disk is the source of the first sync"),
    }
    if "disk" in said:
        del needed["size"]
    missing = [key for key in needed if not said.get(key)]
    if missing and not (ask.possible() and not said.get("dry_run")):
        raise Failure(EX_USAGE, "missing: " + ", ".join(needed[key][0] for key in missing), "see drbdocfs-create(8)")
    for key in missing:
        answer = ask.text(needed[key][1])
        if not answer:
            raise Failure(EX_USAGE, f"{needed[key][0]} is missing")
        said["disk" if key == "size" and answer.startswith("/") else key] = answer
    if not said["peer"].partition("=")[2]:
        raise Failure(EX_USAGE, f"--peer {said['peer']} is not NAME=ADDRESS")
    _survivor(said, host)


def _survivor(said: dict[str, Any], host: str) -> None:
    """Ask who goes on when the link is lost.  Where nobody can be asked nobody does: frozen is better than split."""
    asks = ask.possible() and not said.get("dry_run")
    if "survivor" not in said:
        said["survivor"] = "none"
        if asks:
            print("When the link is lost, input and output freeze on both hosts.  Who goes on then?")
            for name, text in creating.survivors(sorted((host, said["peer"].partition("=")[0]))):
                print(f"  {name:<12} {text}")
            said["survivor"] = ask.text("Who goes on [none]") or "none"
    for survivor, key, question in (
        ("power", "fence_agent", "The program that switches a host off (fence_ipmilan, or an absolute path)"),
        ("witness", "witness", "The witness, [USER@]HOST[:PORT] or a directory that both hosts share"),
    ):
        if asks and said["survivor"] == survivor and not said.get(key):
            said[key] = ask.text(question)


def _show_plan(description: Description) -> None:
    seen = facts.collect()
    if not description.secret:
        description = replace(description, secret="***", hmac=description.hmac or "sha256")
    if description.tiebreaker and seen.driver == 8:
        raise Failure(EX_UNAVAILABLE, *day_one.NO_QUORUM)
    driver = seen.driver or (9 if description.tiebreaker else 8)
    steps = creating.plan(description, driver, seen.read(creating.CLUSTER_CONF))
    for line in creating.dry_run(steps, description.secret):
        print(line)


@contextlib.contextmanager
def _only_one(stack: str) -> Iterator[None]:
    """One run of a stack's creation on a host at a time.  A command that outlives a run that was killed holds it, too:
    the lock goes to the children."""
    name = system.path(f"/run/drbdocfs-create-{stack}.lock")
    os.makedirs(os.path.dirname(name), exist_ok=True)
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_LIMIT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Failure(
                        EX_TEMPFAIL, f"another 'drbdocfs create {stack}' runs on this host", "wait until it has ended"
                    ) from None
                time.sleep(0.2)
        os.set_inheritable(fd, True)
        yield
    finally:
        os.close(fd)


# --- the phases, on this host or for the other one --------------------------------------------------------------


def phase(request: dict[str, Any], say: Callable[[str], None], progress: Callable[[str], None]) -> dict[str, Any]:
    """One phase on this host.  Raises Failure."""
    description = creating.from_json(request["description"])
    record = Record.load(description.stack)
    name = request["phase"]
    if name == "preflight":
        return day_one.preflight(description, record)
    if record is None:
        record = Record(description)
        record.save()
    elif record.description != description:
        raise Failure(EX_CONFIG, f"{description.record} is of another description", "see drbdocfs-create(8), FILES")
    worker = Worker(record, facts.collect().host, say, progress, bool(request.get("patient")))
    work = {
        "prepare": worker.prepare,
        "first": lambda: worker.first(str(request.get("peer_generation", ""))),
        "second": worker.second,
        "finish": worker.finish,
    }
    if name not in work:
        raise Failure(EX_USAGE, f"there is no phase '{name}'")
    return work[name]()


def _serve(stack: str, request: dict[str, Any]) -> int:
    """A phase for the other host's command: JSON in, a line of JSON for each word out."""

    def out(**what: Any) -> None:
        print(json.dumps(what), flush=True)

    if os.geteuid() != 0:
        out(failure=[EX_NOPERM, "only root may do this", "--ssh root@HOST, or as root there"])
        return EX_NOPERM
    try:
        with _only_one(stack):
            out(result=phase(request, lambda text: out(say=text), lambda text: out(progress=text)))
    except Failure as failure:
        out(failure=[failure.status, failure.message, failure.advice])
        return failure.status
    except BrokenPipeError:
        raise
    except (KeyError, Wrong) as error:
        out(failure=[EX_USAGE, f"the request is none of drbdocfs create: {error}", "is the package the same on both?"])
        return EX_USAGE
    except OSError as error:
        out(failure=[EX_NO, str(error), "mend that; the same command goes on"])
        return EX_NO
    return EX_OK


class _Other:
    """The other host, over ssh."""

    def __init__(self, stack: str, host: Host, where: str | None) -> None:
        self.stack = stack
        self.name = host.name
        self.ways = [where] if where else [ssh.destination(host.name), ssh.destination(host.address)]

    def phase(
        self, request: dict[str, Any], say: Callable[[str], None], progress: Callable[[str], None]
    ) -> dict[str, Any]:
        failures = []
        for way in self.ways:
            try:
                result = self._at(way, request, say, progress)
            except Failure as failure:
                if failure.status != EX_UNAVAILABLE or len(self.ways) == 1:
                    raise
                failures.append(failure)
                continue
            self.ways = [way]
            return result
        said = "; ".join(dict.fromkeys(failure.message for failure in failures))
        raise Failure(EX_UNAVAILABLE, said, failures[0].advice)

    def _at(
        self, way: str, request: dict[str, Any], say: Callable[[str], None], progress: Callable[[str], None]
    ) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        noise: list[str] = []

        def line(text: str) -> None:
            try:
                word = json.loads(text)
                if "say" in word:
                    say(str(word["say"]))
                elif "progress" in word:
                    progress(str(word["progress"]))
                else:
                    answer.update(word)
            except (ValueError, TypeError, AttributeError):
                # What is no JSON as a whole may still have some of ours in it, and that may hold the secret.
                noise.append(text.partition("{")[0])

        command = ["drbdocfs", "create", self.stack, "--this-side", "--description", "-"]
        done = ssh.stream(way, command, json.dumps(request), line, QUIET_LIMIT)
        if "failure" in answer:
            status, message, advice = answer["failure"]
            raise Failure(status, f"{self.name}: {message}", advice)
        if "result" in answer:
            result: dict[str, Any] = answer["result"]
            return result
        if done.code == ssh.NOT_FOUND:
            raise Failure(EX_UNAVAILABLE, f"{way} has no drbdocfs", "install drbdocfs-boot there")
        said = done.said or "; ".join(noise[-3:]) or f"exit {done.code}"
        raise Failure(EX_UNAVAILABLE, f"'{shlex.join(command)}' at {way} gave no answer: {said}")


# --- the whole -------------------------------------------------------------------------------------------------


class _Creation:
    def __init__(self, args: argparse.Namespace, description: Description, host: str) -> None:
        self.args = args
        self.d = description
        self.host = host
        self.progress = Progress()
        if host not in [one.name for one in description.hosts]:
            names = " and ".join(one.name for one in description.hosts)
            raise Failure(EX_CONFIG, f"'uname -n' says {host} here; the hosts are {names}", "use the names it says")
        self.peer = description.other(host)
        self.other = None if args.this_side else _Other(description.stack, self.peer, args.ssh)

    def say(self, text: str) -> None:
        self.progress.clear()
        print(text, flush=True)

    def on(self, host: str, name: str, **more: str) -> dict[str, Any]:
        request = {"phase": name, "description": creating.to_json(self.d), **more}
        if name == "preflight":
            self.progress.show(f"looking at {host}")
        try:
            if host == self.host:
                return phase(request, self.say, self.progress.show)
            assert self.other is not None
            return self.other.phase(request, self.say, self.progress.show)
        finally:
            self.progress.clear()

    def run(self) -> int:
        reports = [self.on(self.host, "preflight")]
        if self.other is not None:
            asked = time.time()
            try:
                reports.append(self.on(self.peer.name, "preflight"))
                self._compare(reports, asked)
            except Failure as failure:
                # What is wrong here is said all the same.
                reports[0]["problems"].append([failure.status, failure.message, failure.advice])
        status = self._problems(reports)
        if status:
            return status
        if all(report["state"] == "complete" for report in reports):
            return self._is_there(reports)
        self._same_as_before(reports)
        self._tell(reports)
        if not self.args.yes:
            if not ask.possible():
                return refuse(EX_USAGE, "there is nobody to ask here", "--yes says that you have thought about it")
            if not ask.yes("Begin?"):
                return refuse(EX_NO, "nothing was changed")
        self._make(reports)
        if self.args.save_description:
            self._save()
        if self.other is None:
            return self._this_side()
        return self._both()

    def _compare(self, reports: list[dict[str, Any]], asked: float) -> None:
        """What only both reports together tell."""
        own, theirs = reports
        if theirs["host"] == self.host:
            theirs["problems"].append([EX_CONFIG, f"ssh led to {self.host} itself", "--ssh DESTINATION"])
        if theirs.get("knows") != own["knows"]:
            # An older one would leave out of the files what it does not know.
            theirs["problems"].append(
                [EX_UNAVAILABLE, "drbdocfs-boot there is of another version", "install the same one on both"]
            )
        # The other one looked at its clock at some time between the question and now.
        apart = max(asked - theirs["time"], theirs["time"] - time.time(), 0.0)
        if apart > creating.CLOCK_LIMIT:
            theirs["problems"].append(
                [EX_CONFIG, f"the clocks are {creating.clock(apart)} apart", "'timedatectl set-ntp true' on both"]
            )
        if {own["state"], theirs["state"]} == {"new", "complete"}:
            done = next(report["host"] for report in reports if report["state"] == "complete")
            theirs["problems"].append(
                [EX_DATAERR, f"{self.d.stack} was created on {done} before, and not on the other host",
                 "was that one replaced? docs/recovery.md; or is the record stale? drbdocfs-create(8), FILES"]
            )
        if own["bytes"] and theirs["bytes"] and own["bytes"] != theirs["bytes"] and not self.d.backing_file:
            own["notes"].append(
                f"the disks have {human(own['bytes'])} and {human(theirs['bytes'])}; the smaller one counts"
            )

    def _problems(self, reports: list[dict[str, Any]]) -> int:
        found = [(report["host"], *problem) for report in reports for problem in report["problems"]]
        for host, _, message, advice in found:
            refuse(0, f"{host}: {message}", advice)
        for report in reports:
            for note in report["notes"]:
                self.say(f"note: {note}")
        if not found:
            return 0
        print("drbdocfs: nothing was changed", file=sys.stderr)
        statuses = [int(problem[1]) for problem in found]
        return EX_DATAERR if EX_DATAERR in statuses else statuses[0]

    def _is_there(self, reports: list[dict[str, Any]]) -> int:
        self._same_as_before(reports)
        gone = [report["host"] for report in reports if not report["configured"]]
        if gone:
            return refuse(
                EX_CONFIG,
                f"{self.d.stack} was created, but the configuration of {', '.join(gone)} has no such stack any more",
                f"put {self.d.stack_file} back, or see drbdocfs-create(8), FILES",
            )
        self.say(f"{self.d.stack}: all is there, created {reports[0]['complete']}; nothing was changed")
        self.say(f"'drbdocfs status {self.d.stack}' shows how it is")
        return EX_OK

    def _same_as_before(self, reports: list[dict[str, Any]]) -> None:
        """Raises Failure (78) when an earlier run was told something else."""
        for report in reports:
            if report["description"] is None:
                continue
            before = creating.from_json(report["description"])
            found = creating.differences(before, self.d)
            if found:
                raise Failure(
                    EX_CONFIG,
                    f"{self.d.stack} was begun on {report['host']} with another description: {'; '.join(found)}",
                    f"'drbdocfs create {self.d.stack}' goes on with the old one; to begin anew see"
                    " drbdocfs-create(8), FILES",
                )
            if self.d.secret and before.secret != self.d.secret:
                raise Failure(
                    EX_CONFIG,
                    f"the two hosts began {self.d.stack} apart from each other, with two secrets",
                    "give one of the two up: drbdocfs-create(8), FILES",
                )
            self.d = before

    def _tell(self, reports: list[dict[str, Any]]) -> None:
        d = self.d
        begun = any(report["state"] != "new" for report in reports)
        what = f"a file of {human(d.size)}" if d.backing_file else "disks"
        self.say(
            f"{d.stack}: OCFS2 on {d.mountpoint} of {' and '.join(h.name for h in d.hosts)}; {d.resource}, {d.device}"
        )
        for host in d.hosts:
            on = f"{d.backing_file} on {host.disk}" if d.backing_file else host.disk
            self.say(f"  {host.name}: {on}, {host.address}:{d.port}")
        for line in creating.policy_lines(d, self._lowest()):
            self.say(f"  {line}")
        self.say(f"  {what}; first sync from {d.first}" + ("; goes on from where it was" if begun else ""))

    def _lowest(self) -> str:
        """The host with the lowest node number, which O2CB prefers: of the cluster that is there, or will be."""
        nodes = clusterconf.nodes(clusterconf.parse(system.read(creating.CLUSTER_CONF) or ""), self.d.cluster)
        return next((h.name for h in self.d.hosts if fencing.preferred(nodes, h.name)), self.d.hosts[0].name)

    def _end(self, text: str) -> None:
        self.say(f"{self.d.stack}: {text}")
        for line in creating.left_to_do(self.d):
            self.say(f"  {line}")

    def _make(self, reports: list[dict[str, Any]]) -> None:
        """What is made once, and recorded before anything of it is used."""
        if not self.d.secret:
            names = set(reports[0]["hmac"]).intersection(*(report["hmac"] for report in reports))
            if not names:
                raise Failure(EX_UNAVAILABLE, "the two kernels have neither sha256 nor sha1 in common")
            self.d = replace(
                self.d,
                # 64 characters are DRBD's limit (SHARED_SECRET_MAX).
                secret=secrets.token_hex(24),
                uuid=uuid.uuid4().hex.upper(),
                hmac="sha256" if "sha256" in names else "sha1",
            )
        if Record.load(self.d.stack) is None:
            Record(self.d).save()

    def _save(self) -> None:
        name = os.path.abspath(self.args.save_description)
        # Below no other root: it is the administrator's own file.
        try:
            with open(name, encoding="utf-8") as old:
                if json.load(old) == json.loads(json.dumps(creating.to_json(self.d))):
                    return
        except FileNotFoundError:
            pass
        except ValueError:
            raise Failure(EX_NO, f"{name} is there, and holds something else", "--save-description ANOTHER") from None
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(creating.to_json(self.d), file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        files.sync_directory(os.path.dirname(name))
        self.say(f"{name} written, with the shared secret: carry it to {self.peer.name} by a safe way, then remove it")

    def _this_side(self) -> int:
        self.on(self.host, "prepare")
        if self.args.description is None:
            file = self.args.save_description or "FILE"
            self.say(f"now on {self.peer.name}: drbdocfs create {self.d.stack} --this-side --description {file}")
            if not self.args.save_description:
                self.say("  FILE is what --save-description FILE writes here (run this again with it)")
        self.on(self.host, "first" if self.host == self.d.first else "second", patient="yes")
        self.on(self.host, "finish")
        self._end(f"{self.host} is done")
        return EX_OK

    def _both(self) -> int:
        hosts = sorted((self.host, self.peer.name), key=lambda name: name != self.d.first)
        prepared = {host: self.on(host, "prepare") for host in hosts}
        other = hosts[1]
        self.on(self.d.first, "first", peer_generation=str(prepared[other]["generation"]))
        for host in hosts:
            self.on(host, "finish")
        self._end(f"up on both hosts, {self.d.mountpoint} is mounted and will be after every reboot")
        return EX_OK
