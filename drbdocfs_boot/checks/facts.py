"""What the areas of ``drbdocfs check`` judge: this host's files, and what its tools say where they may be asked.

Files are read below DRBDOCFS_ROOT, /proc and /sys included, so a tree of files stands for a host.  What only a tool
can tell is asked through ``tool``, which says nothing at all (None) when another root is looked at.
"""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Collection
from dataclasses import dataclass, field

from drbdocfs_boot import clusterconf, config, drbdconf, drbddump, fstab
from drbdocfs_boot.checks.resource import Host, Resource
from drbdocfs_boot.events import State
from drbdocfs_boot.exits import EX_TEMPFAIL
from drbdocfs_boot.stack import Reading
from drbdocfs_boot.tools import drbd, mounts, system
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Result, run
from drbdocfs_boot.verdict import Verdict

DRBD_CONF = "/etc/drbd.conf"
CLUSTER_CONF = "/etc/ocfs2/cluster.conf"
FSTAB = "/etc/fstab"
# What tools say to those who are not root.
_NO_RIGHTS = ("permission denied", "not permitted", "must be root", "are you root", "superuser")


@dataclass(frozen=True)
class Facts:
    """``live``: this is the running host, not a tree of files; ``host``: its name as ``uname -n`` has it.

    ``refused``: what could not be looked at for want of rights, in order: names of files, and commands in quotes.
    """

    live: bool
    host: str
    refused: dict[str, None] = field(default_factory=dict, compare=False)

    # Files.  Names are absolute and without the root.

    def read(self, name: str) -> str | None:
        try:
            text = system.read(name)
        except ValueError:  # a NUL in a name that some file gives: there is no such file
            return None
        if text is None:
            self._note(name, os.R_OK)
        return text

    def exact(self, name: str) -> str | None:
        """As ``read``, but with the line ends as they are."""
        try:
            with open(system.path(name), encoding="utf-8", errors="surrogateescape", newline="") as file:
                return file.read()
        except (OSError, ValueError):
            return None

    def names(self, directory: str) -> list[str]:
        try:
            found = system.names(directory)
        except ValueError:
            return []
        if not found:
            self._note(directory, os.R_OK | os.X_OK)
        return found

    def exists(self, name: str) -> bool:
        there = system.exists(name)
        if not there:
            self._note(name, os.F_OK)
        return there

    def stat(self, name: str) -> os.stat_result | None:
        """Of what the name leads to; None when there is nothing, or it may not be seen."""
        try:
            return os.stat(system.path(name))
        except (OSError, ValueError):
            self._note(name, os.F_OK)
            return None

    def _note(self, name: str, mode: int) -> None:
        """Remember a name that is there, or may be, but is kept from us.  Never so for root."""
        if os.geteuid() == 0:
            return
        try:
            os.stat(system.path(name))
        except PermissionError:
            self.refused[name] = None
        except (OSError, ValueError):
            pass
        else:
            if not os.access(system.path(name), mode):
                self.refused[name] = None

    def hidden(self, *names: str) -> bool:
        """True when one of the names, or something below it, was kept from us: what is missing may be in it."""
        return any(one == name or one.startswith(name.rstrip("/") + "/") for name in names for one in self.refused)

    def glob(self, pattern: str) -> list[str]:
        root = system.path("")
        try:
            return sorted(name[len(root) :] for name in glob.glob(glob.escape(root) + pattern))
        except ValueError:
            return []

    def piece(self, name: str, offset: int, length: int) -> bytes | None:
        """So many bytes of a regular file, fewer at its end; None when it cannot be read."""
        try:
            # A FIFO in the file's place must not hold us.
            fd = os.open(system.path(name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            self._note(name, os.R_OK)
            return None
        try:
            return os.pread(fd, length, offset)
        except OSError:
            return None
        finally:
            os.close(fd)

    def resolve(self, name: str) -> str:
        """``name`` with all links followed, within the root; as it is when they lead in a circle.

        Below a stack's mount nothing is looked up: while its I/O is frozen that would hang, and nothing could end it.
        """
        rest, done, hops = name.split("/"), "", 0
        while rest:
            part = rest.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            done = f"{done}/{part}"
            target = None if self.on_stack(done) else self.link(done)
            if target is None:
                continue
            done = done.rpartition("/")[0]
            hops += 1
            if hops > 40:
                return name
            if target.startswith("/"):
                done = ""
            rest = target.split("/") + rest
        return done or "/"

    def on_stack(self, name: str) -> str:
        """The mount of a stack that ``name`` lies below, by its text; "" when it lies on none."""
        return next((top for top in self._stack_mounts if name.startswith(top + "/")), "")

    @functools.cached_property
    def _stack_mounts(self) -> tuple[str, ...]:
        """Where stacks are mounted or would be, and where an OCFS2 is mounted under whatever name."""
        tops = [stack.mountpoint for stack in self.reading.stacks]
        tops += [mount.target for mount in self.mounts if mount.type == "ocfs2"]
        return tuple(dict.fromkeys(tops))

    def link(self, name: str) -> str | None:
        """Where a symbolic link points, as it is written; None when it is none."""
        try:
            return os.readlink(system.path(name))
        except (OSError, ValueError):
            return None

    def readable(self, directory: str) -> bool:
        """Whether what is in a directory may be seen."""
        try:
            return os.access(system.path(directory), os.R_OK | os.X_OK)
        except ValueError:
            return False

    def same_file(self, one: str, other: str) -> bool:
        """Whether two names are the same file: names lie after a bind mount.  Never so on a stack's own mount."""
        if self.on_stack(self.resolve(one)) or self.on_stack(self.resolve(other)):
            return False
        first, second = self.stat(one), self.stat(other)
        return (
            first is not None and second is not None and (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
        )

    def space(self, name: str) -> os.statvfs_result | None:
        """Of the file system that ``name`` is on; None when there is nothing."""
        try:
            return os.statvfs(system.path(name))
        except (OSError, ValueError):
            return None

    # Tools

    def tool(self, *argv: str, limit: float = 10.0) -> Result | None:
        """What a tool says; None offline, or where it is missing or hangs."""
        if not self.live:
            return None
        try:
            result = run(list(argv), limit)
        except (Failure, ValueError):  # no program can be told a word with a NUL in it
            return None
        if result.code != 0 and os.geteuid() != 0 and any(words in result.said.lower() for words in _NO_RIGHTS):
            self.refused[f"'{' '.join(argv)}'"] = None
        return result

    def replication(self) -> dict[str, tuple[State, Verdict]]:
        """DRBD's state and what ``status`` makes of it, by stack; of those whose resource is up.

        One process for all.  Raises Failure when it hangs.
        """
        from drbdocfs_boot import watch  # for this host only, and not for a tree

        stacks = self.reading.stacks
        if not self.live or not stacks or not drbd.loaded():
            return {}
        try:
            found = drbd.states(list(dict.fromkeys(stack.resource for stack in stacks)), limit=10.0)
        except Failure as failure:
            if failure.status == EX_TEMPFAIL:
                raise
            if os.geteuid() != 0 and any(words in failure.message.lower() for words in _NO_RIGHTS):
                self.refused["'drbdsetup events2'"] = None
            return {}
        up = [stack for stack in stacks if found[stack.resource].configured]
        return {stack.name: watch.drbd_verdict(stack, seen=found[stack.resource]) for stack in up}

    # What is read once

    @functools.cached_property
    def reading(self) -> Reading:
        """Our own configuration."""
        return config.read(system.path(""))

    @functools.cached_property
    def drbd(self) -> drbdconf.Configuration:
        """DRBD's configuration."""
        return drbdconf.load(self.read, self.glob, DRBD_CONF)

    @functools.cached_property
    def fstab(self) -> list[fstab.Line]:
        return fstab.lines(self.read(FSTAB) or "")

    @functools.cached_property
    def cluster_conf(self) -> list[clusterconf.Stanza] | None:
        """Stanzas of cluster.conf; None when there is no such file."""
        text = self.read(CLUSTER_CONF)
        return None if text is None else clusterconf.parse(text)

    @functools.cached_property
    def mounts(self) -> list[mounts.Mount]:
        return mounts.table()

    @functools.cached_property
    def driver(self) -> int:
        """8 or 9, the generation of the DRBD driver; 0 when the module is neither loaded nor found."""
        version = self.read("/sys/module/drbd/version")
        if version is None:
            said = self.tool("modinfo", "--field", "version", "drbd")
            version = said.out if said is not None and said.code == 0 else ""
        head = version.strip().partition(".")[0]
        return int(head) if head in ("8", "9") else 0

    def named(self, names: Collection[str], host: str = "") -> str:
        """The one of ``names`` that drbdadm takes for this host (or ``host``): DRBD 9's is not strict."""
        host = host or self.host
        return drbddump.own_name(names, host) if self.driver == 9 else host

    def own(self, resource: Resource) -> Host | None:
        """This host's section of a resource."""
        return resource.own(self.named(resource.hosts))

    def peers(self, resource: Resource) -> list[Host]:
        """The other hosts of a resource, without those that have no disk of it."""
        return [host for host in resource.peers(self.named(resource.hosts)) if not host.diskless]


def collect() -> Facts:
    """The facts of the root that is in force."""
    live = not system.path("")
    lines = [line.strip() for line in (system.read("/etc/hostname") or "").split("\n")]
    host = os.uname().nodename if live else next((line for line in lines if line and line[0] != "#"), "")
    return Facts(live, os.environ.get("__DRBD_NODE__") or host or os.uname().nodename)
