"""Who keeps a mount or a block device busy.

Everything comes from the text of links and files in /proc and /sys.  Nothing below the mount is ever opened or looked
at: its file system may be frozen, and whoever touches it then hangs.
"""

import posix
import select
import time

from drbdocfs_boot import escape
from drbdocfs_boot.tools import mounts, system

KERNEL_THREAD = 0x00200000  # PF_KTHREAD in the flags of /proc/PID/stat
KILL = 9
# Seconds for the mapped files of all processes: /proc/PID/maps is the one file here that can make its reader wait, for
# a process that hangs in a page fault.
MAPS_LIMIT = 3.0
UNITS = (".service", ".scope", ".mount", ".socket", ".swap")


class Holder:
    """One process, or with ``pid`` 0 something without one (a loop device, an export, another mount).

    ``how``: in words, the way in which it holds; ``more``: how many other files it holds; ``unit``: the system unit it
    belongs to, or ""; ``start``: when the process began, which tells it from a later one with the same number.
    """

    __slots__ = ("comm", "how", "kernel", "more", "pid", "start", "unit", "user")

    def __init__(self, how: str, pid: int = 0, unit: str = "") -> None:
        self.how = how
        self.pid = pid
        self.unit = unit
        self.more = 0
        self.comm = self.user = self.start = ""
        self.kernel = False

    @property
    def name(self) -> str:
        """Without the details: ``bash (pid 12)``."""
        return f"{self.comm} (pid {self.pid})" if self.pid else self.how

    def __str__(self) -> str:
        if not self.pid:
            return self.how
        more = f" and {self.more} more" if self.more else ""
        about = ", ".join(word for word in (f"pid {self.pid}", f"user {self.user}", self.unit) if word)
        return f"{self.comm} ({about}): {self.how}{more}"


def of_mount(device: str, besides: bool = True) -> "list[Holder]":
    """Whoever keeps the file system on ``device`` mounted; empty when it can be unmounted, or is not mounted.

    ``besides``: with its mounts in other places of our own table.
    """
    table = mounts.table()
    ours = mounts.on_device(table, device)
    targets = [mount.target for mount in ours]
    return _processes(device, table, targets, set()) + _elsewhere(table, ours, besides) + _kernel(targets)


def of_device(device: str) -> "list[Holder]":
    """Whoever has the block device itself open: processes, what lies on top of it, mounts in other namespaces."""
    from posixpath import realpath  # brings os, which only this needs

    node = realpath(system.path(device))[len(system.path("")) :]  # /dev/drbd/by-res/... is a link
    found = _processes(device, mounts.table(), [], {device, node})
    found += [
        Holder(f"block device /dev/{name} on top of it")
        for name in system.names("/sys/block/" + node.rpartition("/")[2] + "/holders")
    ]
    return found + _kernel([node])


def brief(found: "list[Holder]", most: int = 3) -> str:
    """The first of them, on one line; "" when there are none."""
    text = "; ".join(str(holder) for holder in found[:most])
    return text + (f"; and {len(found) - most} more" if len(found) > most else "")


def alive(holder: Holder) -> bool:
    """True while it is the same process, and not dead: asked before each signal."""
    fields = _stat(str(holder.pid)) if holder.pid else None
    return fields is not None and fields[3] == holder.start and fields[1] not in ("Z", "X")


def _stat(pid: str) -> "tuple[str, str, int, str] | None":
    """Name, state, flags and start time of a process; None when it is gone."""
    head, _, tail = (system.read(f"/proc/{pid}/stat") or "").rpartition(")")
    fields = tail.split()
    if len(fields) < 20:
        return None
    return head.partition("(")[2], fields[0], int(fields[6]), fields[19]


def _link(name: str) -> str:
    try:
        return posix.readlink(system.path(name))
    except OSError:
        return ""  # gone meanwhile, or a kernel thread


def _program(place: str) -> "str | None":
    """The program of a process, "" where it cannot be told; None for what has no memory of its own."""
    try:
        return posix.readlink(system.path(place + "exe"))
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _below(path: str, targets: "list[str]") -> bool:
    return any(path == target or path.startswith(target.rstrip("/") + "/") for target in targets)


def _plain(text: str) -> str:
    """Fit for a journal and a terminal, whatever characters a file's name is made of."""
    return "".join(c if c.isprintable() else "?" for c in text)


class _Space:
    """Another mount namespace: where the device is in it, and where it stays when it is unmounted in ours."""

    __slots__ = ("stays", "targets")

    def __init__(self, pid: str, device: str, table: "list[mounts.Mount]") -> None:
        seen = mounts.table(pid)
        ours = {mount.device for mount in mounts.on_device(table, device)}
        found = mounts.on_device(seen, device)
        found += [mount for mount in seen if mount.device in ours and mount not in found]
        self.targets = [mount.target for mount in found]
        gone = _places(table, mounts.on_device(table, device), "shared:")
        self.stays = [m.target for m in found if not gone & (_places(seen, [m], "shared:", "master:"))]


def _places(table: "list[mounts.Mount]", which: "list[mounts.Mount]", *kinds: str) -> "set[tuple[str, str]]":
    """Where mounts lie: (propagation group of the mount below, directory of its file system).

    An unmount goes on to every mount that lies on the same directory of a mount in the same group, or that follows it.
    """
    by_number = {mount.number: mount for mount in table}
    found = set()
    for mount in which:
        below = by_number.get(mount.parent)
        if below is None:
            continue
        place = below.root.rstrip("/") + "/" + mount.target[len(below.target) :].lstrip("/")
        found |= {(g.partition(":")[2], place) for g in below.groups if g.startswith(kinds)}
    return found


def _processes(device: str, table: "list[mounts.Mount]", targets: "list[str]", nodes: "set[str]") -> "list[Holder]":
    """Processes that use a path below ``targets``, have one of ``nodes`` open, or see the device in a namespace."""
    own_space = _link("/proc/self/ns/mnt")
    spaces: "dict[str, _Space]" = {}
    numbers: "dict[str, bool]" = {}  # of /dev nodes: is it the device?
    found: "list[Holder]" = []
    silent: "list[tuple[str, list[str]]]" = []  # processes that may have mapped files
    stays: "list[tuple[str, str, _Space]]" = []
    for pid in system.names("/proc"):
        if not pid.isdigit() or int(pid) == posix.getpid():
            continue
        place = f"/proc/{pid}/"
        below = targets
        space = None
        # A kernel thread has no program, and there are hundreds of them.  Nor has a process on its way out, which may
        # hang in the close of a file of ours.
        program = _program(place)
        name = "" if program is None else _link(place + "ns/mnt")
        if name and own_space and name != own_space:
            if name not in spaces:
                spaces[name] = _Space(pid, device, table)
            space = spaces[name]
            # What a path means depends on who says it.
            below = space.targets
        ways = []
        if below and program is not None:
            for path, words in (
                (_link(place + "cwd"), "working directory"),
                (_link(place + "root"), "root directory"),
                (program, "program"),
            ):
                if path and _below(path, below):
                    ways.append(f"{words} {path}")
        if below or nodes:
            for fd in system.names(place + "fd"):
                path = _link(place + "fd/" + fd)
                if not path.startswith("/"):
                    continue  # a socket, a pipe
                if _below(path, below):
                    ways.append(f"open file {path}")
                elif nodes and path.startswith("/dev/"):
                    if path not in numbers:
                        numbers[path] = path in nodes or _same_device(path, device)
                    if numbers[path]:
                        ways.append(f"open device {path}")
        if ways:
            found.append(_holder(pid, ways))
            continue
        if below and program is not None:
            silent.append((pid, below))
        if space is not None and space.stays:
            stays.append((pid, name, space))
    mapped = _mapped(silent) if silent else {}
    for pid, paths in mapped.items():
        found.append(_holder(pid, [f"mapped file {path}" for path in paths]))
    found += [
        _holder(pid, [f"mounted on {space.stays[0]} in its mount namespace {name}"])
        for pid, name, space in stays
        if pid not in mapped
    ]
    return [holder for holder in found if holder.start]


def _same_device(path: str, device: str) -> bool:
    number = mounts.device_number(path)
    return number not in (None, "0:0") and number == mounts.device_number(device)


def _holder(pid: str, ways: "list[str]") -> Holder:
    holder = Holder(_plain(ways[0]), int(pid), _unit(pid))
    holder.more = len(ways) - 1
    fields = _stat(pid)
    if fields is not None:  # else it has ended meanwhile
        holder.comm = _plain(fields[0])
        holder.kernel = bool(fields[2] & KERNEL_THREAD)
        holder.start = fields[3]
    for line in (system.read(f"/proc/{pid}/status") or "").split("\n"):
        if line.startswith("Uid:"):
            holder.user = _user(line.split()[1])
    return holder


def _user(uid: str) -> str:
    """Its name, from the file alone: a directory service may be as far away as the network."""
    for line in (system.read("/etc/passwd") or "").split("\n"):
        fields = line.split(":")
        if fields[2:3] == [uid]:
            return _plain(fields[0])
    return uid


def _unit(pid: str) -> str:
    """The system manager's unit: the first in the path, for those further down are another manager's."""
    for line in (system.read(f"/proc/{pid}/cgroup") or "").split("\n"):
        _, kind, path = [*line.split(":", 2), "", ""][:3]
        if kind in ("", "name=systemd"):
            for part in path.split("/"):
                if part.endswith(UNITS):
                    return _plain(part)
    return ""


def _mapped(processes: "list[tuple[str, list[str]]]") -> "dict[str, list[str]]":
    """Mapped files below the directories given with each process.

    A child reads, so that one process that hangs in the kernel does not take us along; those after it are not known.
    """
    reader, writer = posix.pipe()
    child = posix.fork()
    if child == 0:
        try:
            for pid, below in processes:
                for path in _maps(pid, below):
                    posix.write(writer, f"{pid} {path}\n".encode("utf-8", "surrogateescape"))
        finally:
            posix._exit(0)
    posix.close(writer)
    deadline = time.monotonic() + MAPS_LIMIT
    data = b""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while poll.poll(max(0, int((deadline - time.monotonic()) * 1000))):
        piece = posix.read(reader, 65536)
        if not piece:
            break
        data += piece
    posix.close(reader)
    posix.kill(child, KILL)
    deadline = time.monotonic() + 1
    while not posix.waitpid(child, posix.WNOHANG)[0] and time.monotonic() < deadline:
        time.sleep(0.001)
    found: "dict[str, list[str]]" = {}
    for line in data.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        pid, _, path = line.partition(" ")
        found.setdefault(pid, []).append(path)
    return found


def _maps(pid: str, below: "list[str]") -> "list[str]":
    found: "list[str]" = []
    for line in (system.read(f"/proc/{pid}/maps") or "").split("\n"):
        slash = line.find("/")
        if slash > 0 and line[slash:] not in found and _below(line[slash:], below):
            found.append(line[slash:])
    return found


def _elsewhere(table: "list[mounts.Mount]", ours: "list[mounts.Mount]", besides: bool) -> "list[Holder]":
    """Other mounts of the same file system, and what is mounted below it."""
    found = [
        Holder(f"another mount of it, on {_plain(mount.target)}", unit=escape.path(mount.target) + ".mount")
        for mount in (ours[1:] if besides else [])
    ]
    numbers = {mount.number for mount in ours}
    return found + [
        Holder(
            f"a mount below it, {_plain(mount.source)} ({mount.type}) on {_plain(mount.target)}",
            unit=escape.path(mount.target) + ".mount",
        )
        for mount in table
        if mount.parent in numbers and mount.number not in numbers
    ]


def _kernel(targets: "list[str]") -> "list[Holder]":
    """What the kernel itself keeps open below ``targets``: loop devices, swap files, exports."""
    found = []
    for name in system.names("/sys/block"):
        file = system.read(f"/sys/block/{name}/loop/backing_file") if name.startswith("loop") else None
        if file and _below(file, targets):
            found.append(Holder(f"loop device /dev/{name} on {_plain(file)}"))
    for line in (system.read("/proc/swaps") or "").split("\n")[1:]:
        file = mounts.unescape(line.partition(" ")[0])
        if file and _below(file, targets):
            found.append(Holder(f"swap on {_plain(file)}", unit=escape.path(file) + ".swap"))
    exports = system.read("/proc/fs/nfsd/exports")
    if exports is None and system.exists("/sys/module/nfsd"):
        exports = system.read("/var/lib/nfs/etab")
    exported: "list[str]" = []
    for line in (exports or "").split("\n"):
        path = mounts.unescape(line.partition("\t")[0])
        if not line.startswith("#") and path and path not in exported and _below(path, targets):
            exported.append(path)
    return found + [Holder(f"NFS export {_plain(path)}") for path in exported]
