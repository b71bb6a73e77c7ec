"""A real systemd as PID 1 in namespaces of its own, booted in about a second.

All mounts live in mount namespaces: one of the *session*, held by a shell that waits for the end of its standard
input, and one of each boot.  So whatever ends the tests, be it SIGKILL, the kernel takes the mounts away; the shell
kills what is left in the control groups and removes them, and the one empty directory that there is on the disk.

A *machine* is an overlay over the session's read-only root.  Its changes outlive a power-off, as a disk's do.

What a machine has not: udev and /sys of a kernel.  /sys is a read-only tmpfs with writable islands that the stand-ins
fill, which is systemd's sign of a container (its container interface): it then has no device units at all, a mount of
/dev/drbd0 waits for none, and devices in fstab are ignored.  For fstab there is ``boot(devices=True)``: /sys is
writable, and the stand-in of drbdadm says, as udev would, that the device is there.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.lab import cache, image

CLEAN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
# Nothing that reaches past the namespaces: the clock, the kernel's log and raw memory are the host's.  CAP_SYS_MODULE
# stays, because modprobe@.service asks for it; what it calls is the stand-in, and the tree has no modules.
DROPPED = "-sys_time,-sys_rawio,-syslog,-mac_admin,-mac_override"
# Parts of the tree that no boot in namespaces reads.
LEFT_OUT = (
    "./boot", "./usr/lib/modules", "./usr/share/doc", "./usr/share/locale", "./var/cache", "./var/lib/apt/lists",
)  # fmt: skip

# $1: an empty directory.
_SESSION = """
set -eu
trap '' INT TERM
mount -t tmpfs -o mode=755 drbdocfs-pid1 "$1"
mkdir "$1/cgroup"
mount -t cgroup2 none "$1/cgroup"
group=$1/cgroup/drbdocfs-pid1-$$
mkdir "$group"
echo "$group"
cat >/dev/null
echo 1 >"$group/cgroup.kill" || true
n=0
while [ -d "$group" ] && [ $n -lt 50 ]; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
    n=$((n + 1))
done
umount -l "$1"
rmdir "$1"
"""

# $1: the machine's directory, with root, kmsg, cmdline and notify in it; $2: its control group; $3: the terminal that
# becomes its console; the rest: init's arguments.
_BOOT = r"""
set -eu
mkdir -p "$2"
echo $$ >"$2/cgroup.procs"
exec unshare --mount --propagation private --pid --uts --ipc --net --cgroup --fork --kill-child=KILL \
    sh -c "$INNER" sh "$@"
"""

_INNER = r"""
set -eu
machine=$1
console=$3
shift 3
cd "$machine/root"
mount -t proc proc proc
for name in sys sysrq-trigger irq bus; do
    if [ -e proc/$name ]; then
        mount --bind proc/$name proc/$name
        mount -o remount,bind,ro proc/$name
    fi
done
mount --bind "$machine/cmdline" proc/cmdline

mount -t tmpfs -o mode=755,nosuid,noexec,nodev sysfs sys
(cd sys && mkdir -p block bus class/net dev/block dev/char devices firmware fs kernel module)
for name in block fs kernel module; do
    mount -t tmpfs -o mode=755,nosuid,noexec,nodev "$name" sys/$name
done
mkdir sys/fs/cgroup
mount -t cgroup2 -o nosuid,noexec,nodev cgroup sys/fs/cgroup
[ "$DEVICES" = yes ] || mount -o remount,bind,ro sys

mount -t tmpfs -o mode=755,nosuid dev dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5,nosuid,noexec pts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
node() { mknod -m "$1" "dev/$2" "$3" "$4" "$5"; }
node 666 null c 1 3
node 666 zero c 1 5
node 666 full c 1 7
node 666 random c 1 8
node 666 urandom c 1 9
node 666 tty c 5 0
# DRBD's major number, with minors that no driver will ever serve: these are looked at, nothing opens them.
node 660 drbd0 b 147 0
node 660 drbd1 b 147 1
node 660 loop7 b 147 1007
node 660 loop8 b 147 1008
touch dev/console dev/kmsg
mount --bind "$console" dev/console
mount --bind "$machine/kmsg" dev/kmsg

mount -t tmpfs -o mode=755,nosuid,nodev run run
mount -t tmpfs -o mode=1777,nosuid,nodev tmp tmp
if [ "$DEVICES" = yes ]; then
    # Without it systemd takes udev for missing, and listens to nobody.
    mkdir run/udev
    touch run/udev/control
fi
mkdir run/host
touch run/host/notify
mount --bind "$machine/notify" run/host/notify
mkdir run/old
pivot_root . run/old
umount -l /run/old
rmdir /run/old
exec setpriv --bounding-set="$DROPPED" \
    env -i container=namespaces NOTIFY_SOCKET=/run/host/notify TERM=dumb /sbin/init "$@"
"""


class TimedOut(AssertionError):
    """A limit was reached; the message holds what the machine was doing."""


def base_root(release: str) -> Path:
    """The read-only root tree of a Debian release, unpacked from the lab's image on first use."""
    archive = image.image(release).root_tar

    def unpack(work: Path) -> None:
        left_out = [f"--exclude={name}" for name in LEFT_OUT]
        command = ["tar", "--extract", "--numeric-owner", "--xattrs", f"--file={archive}", f"--directory={work}"]
        subprocess.run([*command, *left_out], check=True, timeout=300)

    parts = ["\n".join(LEFT_OUT).encode(), archive.parent.name.encode()]
    return cache.build_once(f"pid1-root-{release}-{cache.digest(parts)}", unpack)


class Session:
    """Holds the namespace in which all machines live.  Raises RuntimeError where the kernel does not let it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.place = Path(tempfile.mkdtemp(prefix="drbdocfs-pid1-"))
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SESSION, "sh", str(self.place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=CLEAN,
            start_new_session=True,  # an interrupt from the terminal is ours to handle, not the shell's
        )
        assert self.holder.stdout is not None
        self.group = self.holder.stdout.readline().decode().strip()
        if not self.group:
            words = self._end()
            raise RuntimeError(f"no mount namespace with tmpfs and cgroup2 on this machine: {words}")
        self.layers: list[str] = []
        self.number = 0

    @property
    def view(self) -> Path:
        """The session's directory as it looks from inside its namespace."""
        return self.inside_path(str(self.place))

    def inside(self, *command: str, timeout: float = 120) -> str:
        """Run a command in the session's namespace; its output.  Raises AssertionError with it when it fails."""
        done = subprocess.run(
            ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=CLEAN,
            timeout=timeout,
            text=True,
            errors="replace",
        )
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def overlay(self) -> str:
        """A new machine's directory in the namespace, its root mounted over all layers so far."""
        self.number += 1
        place = f"{self.place}/{self.number}"
        lower = ":".join([*self.layers, str(self.base)])
        script = (
            'mkdir "$1" "$1/upper" "$1/work" "$1/root" && chmod 755 "$1/upper" && '
            'mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"'
        )
        self.inside("sh", "-c", script, "sh", place, lower)
        return place

    def keep_as_layer(self, place: str) -> None:
        """Make what was changed in an overlay part of every later machine."""
        self.inside("umount", f"{place}/root")
        self.layers.insert(0, f"{place}/upper")

    def drop(self, place: str) -> None:
        """Remove a machine's directory."""
        self.inside("sh", "-c", 'umount -l "$1/root"; rm -rf "$1"', "sh", place)

    def inside_path(self, name: str) -> Path:
        """A path of the session's namespace as we reach it from outside."""
        return Path(f"/proc/{self.holder.pid}/root{name}")

    def close(self) -> None:
        """Nothing is left afterwards."""
        self._end()

    def _end(self) -> str:
        _, words = self.holder.communicate(timeout=30)
        with contextlib.suppress(FileNotFoundError):
            self.place.rmdir()  # where the shell did not come so far
        return words.decode(errors="replace").strip()


class Output(threading.Thread):
    """Drains a machine's console, kernel log and readiness socket, so that nobody inside ever blocks on them."""

    def __init__(self, console: int, kmsg: int, notify: int) -> None:
        super().__init__(daemon=True)
        self.names = {console: "console", kmsg: "kmsg", notify: "notify"}
        self.said = {name: bytearray() for name in self.names.values()}
        self.master = console
        self.ready = threading.Event()
        self.over = False

    def run(self) -> None:
        """Until ``stop``."""
        last = False
        while not last:
            last = self.over  # once more after the end, for the last words
            found, _, _ = select.select(list(self.names), [], [], 0.05)
            for fd in found:
                try:
                    data = os.read(fd, 65536)
                except OSError:  # a getty hangs the terminal up, and opens it again
                    time.sleep(0.01)
                    continue
                self.said[self.names[fd]] += data
                if self.names[fd] == "notify" and b"READY=1" in data:
                    self.ready.set()

    def stop(self) -> None:
        """The machine is off."""
        self.over = True
        self.join(timeout=5)
        os.close(self.master)

    def text(self, name: str) -> str:
        """What came so far."""
        return self.said[name].decode("utf-8", "replace")


class Machine:
    """One machine with its own changes over the session's root."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.place = session.overlay()
        self.folder = session.view / str(session.number)
        self.root = self.folder / "root"
        self.group = f"{session.group}/{session.number}"
        self.process: subprocess.Popen[bytes] | None = None
        self.init = 0
        self.output: Output | None = None
        self.kept = False
        os.mkfifo(self.folder / "kmsg")
        self.kmsg = os.open(self.folder / "kmsg", os.O_RDWR | os.O_CLOEXEC)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.folder / "notify"))

    # Files, on or off.

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the machine's root file system."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def read(self, name: str) -> str:
        """A file of the root file system; empty when there is none.  What is mounted inside is not seen."""
        path = self.root / name.lstrip("/")
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    # Power.

    def boot(
        self, *arguments: str, cmdline: str = "quiet", limit: float = 30, wait: bool = True, devices: bool = False
    ) -> float:
        """Power on; seconds until systemd has no job left.  Raises TimedOut.

        ``arguments`` go to init, ``cmdline`` is what /proc/cmdline shows; ``devices``: systemd has device units.
        """
        assert self.process is None, "it is on already"
        (self.folder / "cmdline").write_text(cmdline + "\n", encoding="ascii")
        master, slave = pty.openpty()
        terminal = os.ttyname(slave)
        self.output = Output(master, self.kmsg, self.notify.fileno())
        self.output.start()
        began = time.monotonic()
        # The chain of commands becomes unshare by exec, and unshare takes init with it: when we die, all die.
        chain = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--mount=/proc/{self.session.holder.pid}/ns/mnt"]
        self.process = subprocess.Popen(
            [*chain, "sh", "-c", _BOOT, "sh", self.place, self.group, terminal, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            env={**CLEAN, "INNER": _INNER, "DROPPED": DROPPED, "DEVICES": "yes" if devices else "no"},
            start_new_session=True,
        )
        os.close(slave)
        if wait:
            self.wait_booted(limit - (time.monotonic() - began))
        return time.monotonic() - began

    def wait_booted(self, limit: float) -> None:
        """Until systemd says that the boot is done.  Raises TimedOut."""
        assert self.output is not None
        self._until(self.output.ready.is_set, limit, "the boot to end")

    def poweroff(self, limit: float = 30) -> float:
        """Power off in good order; seconds that it took.  Raises TimedOut."""
        assert self.process is not None
        began = time.monotonic()
        # Straight to PID 1. By way of logind and the message bus, systemd 252 once left the whole transaction waiting
        # for 25 s, long after our units had stopped; what is tested here is the order that PID 1 keeps.
        self.systemctl("start", "poweroff.target", "--job-mode=replace-irreversibly", "--no-block")
        process = self.process
        self._until(lambda: process.poll() is not None, limit, "the end of power-off")
        self._gone()
        return time.monotonic() - began

    def kill(self) -> None:
        """Power cut."""
        if self.process is None:
            return
        with contextlib.suppress(OSError):
            (self.session.inside_path(self.group) / "cgroup.kill").write_text("1")
        self.process.kill()
        self.process.wait(timeout=20)
        self._gone()

    def close(self) -> None:
        """Power cut, and the machine's disk is gone, too."""
        self.kill()
        os.close(self.kmsg)
        self.notify.close()
        if not self.kept:
            self.session.drop(self.place)

    def leave_as_layer(self) -> None:
        """The machine, which is off, is used no more, but its disk is what all later machines begin with."""
        shutil.rmtree(self.root / "var/log/journal", ignore_errors=True)
        (self.root / "var/log/journal").mkdir()
        self.session.keep_as_layer(self.place)
        self.kept = True

    def _gone(self) -> None:
        assert self.output is not None
        self.process, self.init = None, 0
        self.output.stop()
        # Its control groups are empty now, and the next boot wants fresh ones.
        for directory, _, _ in os.walk(self.session.inside_path(self.group), topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    # Commands inside.

    def pid(self) -> int:
        """PID 1's number outside, once systemd is there; 0 before."""
        if not self.init and self.process is not None:
            with contextlib.suppress(OSError, IndexError):
                chain = self.process.pid
                child = Path(f"/proc/{chain}/task/{chain}/children").read_text(encoding="ascii").split()[0]
                # Before that, the same place is taken by what prepares the boot.
                if Path(f"/proc/{child}/comm").read_text(encoding="ascii").strip() in ("init", "systemd"):
                    self.init = int(child)
        return self.init

    def call(self, *command: str, limit: float = 20) -> subprocess.CompletedProcess[str]:
        """Run a command inside, whatever it ends with.  Raises TimedOut."""
        self._until(lambda: bool(self.pid()), 10, "PID 1")
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        try:
            return subprocess.run(
                ["nsenter", f"--target={self.pid()}", *spaces, "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**CLEAN, "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"},
                timeout=limit,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired as late:
            raise TimedOut(f"{' '.join(command)} was not done after {limit} s, it said: {late.output!r}") from None

    def run(self, *command: str, limit: float = 20) -> str:
        """Run a command inside; its output.  Raises AssertionError with it when it fails, TimedOut."""
        done = self.call(*command, limit=limit)
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def systemctl(self, *arguments: str, limit: float = 20) -> str:
        """`systemctl` inside, as ``run``."""
        return self.run("systemctl", *arguments, limit=limit).strip()

    def show(self, unit: str, *names: str) -> list[str]:
        """Properties of a unit, in the order of the names."""
        found = dict(line.split("=", 1) for line in self.systemctl("show", unit).splitlines() if "=" in line)
        return [found.get(name, "") for name in names]

    def settle(self, limit: float = 30) -> None:
        """Until systemd has no job left: `systemctl stop` of a target does not wait for what it takes along."""
        self._until(lambda: not self.systemctl("list-jobs", "--plain", "--no-legend"), limit, "the jobs to end")

    def until(self, truth: Callable[[], bool], limit: float, what: str) -> None:
        """Look again and again; raises TimedOut after ``limit`` seconds."""
        self._until(truth, limit, what)

    def _until(self, truth: Callable[[], bool], limit: float, what: str) -> None:
        end = time.monotonic() + limit
        while not truth():
            if time.monotonic() >= end:
                raise TimedOut(f"waited {limit:.0f} s for {what}")
            if self.process is not None and self.process.poll() is not None and what != "the end of power-off":
                raise TimedOut(f"waited for {what}, and the machine ended with {self.process.returncode}")
            time.sleep(0.01)

    # What it said.

    def journal(self, *arguments: str) -> str:
        """The journal, of a machine that is on or off."""
        return self.session.inside(
            "chroot", f"{self.place}/root", "journalctl", "--directory=/var/log/journal", "--no-pager", "--quiet",
            "--output=short-monotonic", *arguments,
        )  # fmt: skip

    @property
    def console(self) -> str:
        """What was on the console in this or the last boot."""
        return self.output.text("console") if self.output else ""

    @property
    def kernel_log(self) -> str:
        """What was written to /dev/kmsg in this or the last boot, one record a line.

        A kernel makes a record of every write; a FIFO joins them, but each begins with its priority.
        """
        return re.sub(r"(?<=[^\n])(?=<\d{1,3}>)", "\n", self.output.text("kmsg")) if self.output else ""

    def diagnosis(self) -> str:
        """All that helps to understand a failed test."""
        parts = {"stand-ins": self.read("/var/lib/standin/log"), "plan": self.read("/etc/standin.plan")}
        parts["console"] = self.console[-4000:]
        with contextlib.suppress(Exception):
            if self.pid():
                parts["jobs"] = self.run("systemctl", "list-jobs", "--no-pager", limit=5)
                parts["failed"] = self.run("systemctl", "list-units", "--failed", "--no-pager", limit=5)
        with contextlib.suppress(Exception):
            parts["journal"] = self.journal("-b", "-n", "250")
        return "\n".join(f"--- {title}\n{text}" for title, text in parts.items())


@contextlib.contextmanager
def machine(session: Session) -> Iterator[Machine]:
    """A machine that is gone at the end, whatever happens."""
    made = Machine(session)
    try:
        yield made
    finally:
        made.close()
