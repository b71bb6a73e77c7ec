"""One virtual machine of the lab: its QEMU process, its shell, and what a test does to it."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from . import process
from .doors import Door
from .image import CONTROL_ADDRESS, CONTROL_MAC, REPLICATION_ADDRESS, REPLICATION_MAC, Image
from .qmp import Message, Qmp, QmpError
from .shell import Result, Shell, Unreachable

# Seconds, each several times what was measured on two cores without KVM.
BOOT_LIMIT = 240.0
SHUTDOWN_LIMIT = 150.0
COMMAND_LIMIT = 60.0

DATA_DISK_SIZE = "512M"
# What a failure's report shows of each node. Every command has a limit of its own, for a guest that is stuck.
REPORT = (
    ("jobs and failed units", "systemctl list-jobs --no-pager; systemctl --failed --no-pager --no-legend"),
    ("drbdsetup status", "timeout 10 drbdsetup status --verbose --statistics; timeout 5 cat /proc/drbd"),
    ("mounts and loop devices", "grep -E 'ocfs2|configfs' /proc/mounts; losetup --list"),
    ("journal, its end", "timeout 30 journalctl --boot --no-pager --no-hostname --lines=80 --output=short-monotonic"),
)
REPORT_COMMAND_LIMIT = 45.0
# Carriage returns, and what systemd moves the cursor with to show a job that takes long.
_ESCAPES = re.compile(r"\r|\x1b(M|\[[0-9;?]*[A-Za-z])")


class LabError(AssertionError):
    """A limit was reached or a command failed; the text says what, and shows the state of both nodes."""


@dataclass(frozen=True)
class UnitTimes:
    """Seconds after the kernel's start: when a unit began to start, when it was up, 0.0 for never in this boot."""

    began: float
    active: float
    state: str

    @property
    def took(self) -> float:
        """How long its start took; 0.0 if it never came up."""
        return max(0.0, self.active - self.began)


@dataclass(frozen=True)
class BootTimes:
    """The stations of a boot, in seconds after the kernel's start; `finish` is 0.0 while it goes on."""

    userspace: float
    generators: float
    finish: float
    units: dict[str, UnitTimes]


def free_port(kind: socket.SocketKind) -> int:
    """A port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Node:
    """Number 1 is server1, number 2 is server2.

    Its disks are layers over `base` (the image's disk, or a disk kept by keep_disks()); nothing is ever written there.
    """

    def __init__(
        self,
        image: Image,
        number: int,
        folder: Path,
        link_ports: tuple[int, int],
        base: Path | None = None,
        report: Callable[[str], str] | None = None,
        doors: Sequence[Door] = (),
    ) -> None:
        """`link_ports`: this node's and the other's UDP port of the replication link; `doors`: what else it reaches.

        `base` is a folder that keep_disks() filled. `report` turns a message into the text of an exception; without
        it the message stands alone.
        """
        self.image = image
        self.number = number
        self.name = f"server{number}"
        self.address = REPLICATION_ADDRESS[number]
        self.folder = folder
        self.last_shutdown = 0.0
        self._link_ports = link_ports
        self._report = report or (lambda message: message)
        self._doors = doors
        # Whoever switches the machine on or off: a test, or the other node by the power switch.
        self._power = threading.RLock()
        self._connecting = threading.Lock()
        self._link_up = True
        self._console = folder / "console.log"
        self._boots: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Qmp | None = None
        self._resets = 0
        self._shell_resets = 0
        self._changed = threading.Condition()
        self._shell: Shell | None = None
        folder.mkdir(parents=True)
        self._make_disks(base)

    # The machine

    def _make_disks(self, base: Path | None) -> None:
        create = ["qemu-img", "create", "-q", "-f", "qcow2"]
        if base is None:
            layers = {"root": ["-F", "raw", "-b", str(self.image.disk)], "data": []}
        else:
            layers = {disk: ["-F", "qcow2", "-b", str(base / f"{self.name}-{disk}.qcow2")] for disk in ("root", "data")}
        for disk, options in layers.items():
            size = [DATA_DISK_SIZE] if not options else []
            subprocess.run([*create, *options, str(self.folder / f"{disk}.qcow2"), *size], check=True, timeout=60)

    def keep_disks(self, folder: Path) -> None:
        """Copy this node's disks (not running, cleanly shut down) to `folder`, as a base for later nodes.

        The copies are layers over the image's disk alone.
        """
        self._must(not self.running, "keep_disks() of a node that runs")
        for disk in ("root", "data"):
            keep = ["qemu-img", "convert", "-q", "-O", "qcow2"]
            if disk == "root":
                keep += ["-B", str(self.image.disk), "-F", "raw"]
            target = folder / f"{self.name}-{disk}.qcow2"
            subprocess.run([*keep, str(self.folder / f"{disk}.qcow2"), str(target)], check=True, timeout=300)

    def _qemu(self, ssh_port: int) -> list[str]:
        here, peer = self._link_ports
        command_line = (
            f"root=/dev/vda rw console=ttyS0 systemd.hostname={self.name} systemd.machine_id={self.number:032x}"
            # Colours and cursor movements have no place in a log.
            " systemd.log_color=0 TERM=dumb"
        )

        def disk(name: str) -> list[str]:
            # Flushes reach QEMU's own caches, not the host's disk: enough for a power cut that kills QEMU alone.
            drive = f"if=none,id={name},file={self.folder}/{name}.qcow2,format=qcow2,cache=unsafe,discard=unmap"
            return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]

        control = ["user", "id=control", "restrict=on", f"hostfwd=tcp:127.0.0.1:{ssh_port}-{CONTROL_ADDRESS}:22"]
        control += [door.option for door in self._doors]
        return [
            "qemu-system-x86_64", "-name", self.name, "-nodefaults", "-no-user-config", "-display", "none",
            # tcg by name: where /dev/kvm exists but does not work, QEMU would not fall back.
            "-machine", "pc", "-accel", "tcg,thread=multi,tb-size=512",
            # Without svm udev does not load kvm_amd at each boot.
            "-cpu", "qemu64,-svm", "-smp", "1", "-m", "1024",
            "-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd), "-append", command_line,
            *disk("root"), *disk("data"),
            "-netdev", ",".join(control),
            "-device", f"virtio-net-pci,netdev=control,mac={CONTROL_MAC}0{self.number},romfile=",
            # UDP, so that either node may come and go.
            "-netdev", f"socket,id=link,udp=127.0.0.1:{peer},localaddr=127.0.0.1:{here}",
            "-device", f"virtio-net-pci,id=link-card,netdev=link,mac={REPLICATION_MAC}0{self.number},romfile=",
            "-device", "virtio-rng-pci",
            "-chardev", f"file,id=console,path={self._console},append=on", "-serial", "chardev:console",
            "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off",
        ]  # fmt: skip

    @property
    def running(self) -> bool:
        running = self._process
        return running is not None and running.poll() is None

    @property
    def resets(self) -> int:
        """How often the guest has reset the machine itself: reboots, and what O2CB or a panic does."""
        return self._resets

    @property
    def ssh_command(self) -> str:
        """What to type on the host for a shell on this node."""
        self._must(self._shell is not None, "the node was never started")
        assert self._shell is not None
        return shlex.join(["ssh", *self._shell.options, "root@127.0.0.1"])

    def start(self) -> None:
        """Switch the machine on; returns as soon as QEMU runs. A cable that was pulled out at this end stays out."""
        with self._power:
            self._must(not self.running, "started twice")
            self._forget_process()
            for _ in range(3):  # somebody else may take a port between its choice and QEMU's start
                ssh_port = free_port(socket.SOCK_STREAM)
                self._mark_boot()
                self._process = process.start(self._qemu(ssh_port), self.folder / "qemu.log")
                try:
                    self._qmp = Qmp(self.folder / "qmp", self._event)
                    break
                except QmpError:
                    process.end(self._process)
            else:
                self._fail("QEMU does not start: " + (self.folder / "qemu.log").read_text(errors="replace")[-2000:])
            if not self._link_up:
                self._qmp.command("set_link", name="link-card", up=False)
            self._shell = Shell(self.image, ssh_port, self.folder)

    def power_cut(self) -> None:
        """Kill the machine between two instructions. May be called from any thread, as may start()."""
        with self._power:
            if self._process is not None:
                process.end(self._process)
            self._forget_process()

    def _forget_process(self) -> None:
        with self._power:
            if self._shell is not None:
                self._shell.end()
            if self._qmp is not None:
                self._qmp.close()
                self._qmp = None
            (self.folder / "qmp").unlink(missing_ok=True)
            self._process = None

    def _event(self, message: Message) -> None:
        data: dict[str, Any] = message.get("data", {})
        if message["event"] == "RESET" and data.get("guest"):
            self._mark_boot()
            with self._changed:
                self._resets += 1
                self._changed.notify_all()

    def set_link(self, up: bool) -> None:
        """Put the cable of the replication link in, or pull it out, at this end."""
        with self._power:
            self._link_up = up
            if self._qmp is not None:
                self._qmp.command("set_link", name="link-card", up=up)

    # Boots and shutdowns

    def wait_connected(self, timeout: float = BOOT_LIMIT) -> None:
        """Wait for ssh alone, which is there before the boot is complete."""
        try:
            self._connect(timeout)
        except Unreachable as error:
            self._fail(str(error))

    def _connect(self, timeout: float) -> Shell:
        """The shell, connected: at the first command after a boot, and after a reset that nobody asked for."""
        limit = time.monotonic() + timeout
        if not self._connecting.acquire(timeout=timeout):
            raise Unreachable("another thread has been connecting all the time")
        try:
            with self._power:
                shell, resets = self._shell, self._resets
                if shell is None or not self.running:
                    raise LabError(f"{self.name} is off")
            if self._shell_resets != resets:
                shell.close()
                self._shell_resets = resets
            if not shell.connected:
                shell.connect(max(0.0, limit - time.monotonic()))
            return shell
        finally:
            self._connecting.release()

    def wait_booted(self, timeout: float = BOOT_LIMIT) -> str:
        """Wait until the boot is over; returns what `systemctl is-system-running` says then."""
        limit = time.monotonic() + timeout
        self.wait_connected(timeout)
        return self.execute("systemctl is-system-running --wait", timeout=limit - time.monotonic()).out.strip()

    def check_clean_boot(self) -> None:
        """Fail unless the system is `running`, with no failed unit and no ordering cycle found by systemd."""
        state = self.execute("systemctl is-system-running --wait", timeout=BOOT_LIMIT).out.strip()
        failed = self.run("systemctl --failed --no-legend --plain").strip()
        cycles = self.execute("journalctl --boot --no-pager --grep='ordering cycle'").out.strip()
        self._must(
            state == "running" and not failed and (not cycles or cycles == "-- No entries --"),
            f"not a clean boot: {state}\n{failed}\n{cycles}",
        )

    def shutdown(self, timeout: float = SHUTDOWN_LIMIT) -> float:
        """Power off in good order; returns the seconds that it took."""
        began = time.monotonic()
        running = self._process
        self._order("poweroff")
        try:
            assert running is not None
            running.wait(timeout)
        except subprocess.TimeoutExpired:
            self._fail(f"not off after {timeout:.0f} s")
        with self._power:
            if self._process is running:
                self._forget_process()
        self.last_shutdown = time.monotonic() - began
        return self.last_shutdown

    def reboot(self, timeout: float = SHUTDOWN_LIMIT + BOOT_LIMIT) -> float:
        """Reboot in good order and wait until the new boot is over; returns the seconds that the shutdown took."""
        began = time.monotonic()
        before = self.boot_id()
        resets = self._resets
        self._order("reboot")
        with self._changed:
            if not self._changed.wait_for(lambda: self._resets > resets, min(timeout, SHUTDOWN_LIMIT)):
                self._fail("no reset after `systemctl reboot`")
        self.last_shutdown = time.monotonic() - began
        self.wait_booted(timeout - self.last_shutdown)
        self._must(self.boot_id() != before, "the reboot did not happen")
        return self.last_shutdown

    def _order(self, verb: str) -> None:
        self.wait_connected(COMMAND_LIMIT)
        try:
            self._connect(COMMAND_LIMIT).run(f"systemctl --no-block {verb}", COMMAND_LIMIT)
        except Unreachable:
            pass  # the guest was faster
        except subprocess.TimeoutExpired:
            self._fail(f"`systemctl {verb}` hangs")

    # Commands

    def connected_ssh(self, timeout: float = COMMAND_LIMIT) -> list[str]:
        """The words that a command on the host begins with to run one here, for whoever wants its pipes.

        Raises Unreachable, and LabError when the node is off.
        """
        return self._connect(timeout).command

    def execute(self, command: str, timeout: float = COMMAND_LIMIT, stdin: bytes = b"") -> Result:
        """Run a bash command as root and return how it ended, whatever that is.

        `timeout` counts from here on, also while the node still boots and does not answer yet.
        """
        limit = time.monotonic() + timeout
        try:
            shell = self._connect(timeout)
            return shell.run(command, max(1.0, limit - time.monotonic()), stdin)
        except subprocess.TimeoutExpired:
            self._fail(f"no end after {timeout:.0f} s: {command}")
        except Unreachable as error:
            self._fail(f"{error}, for: {command}")

    def ask(self, command: str, timeout: float = COMMAND_LIMIT) -> str | None:
        """The output of a command, or None when the node is off, does not answer or the command fails: no error."""
        limit = time.monotonic() + timeout
        try:
            result = self._connect(timeout).run(command, max(1.0, limit - time.monotonic()))
        except (Unreachable, LabError, subprocess.TimeoutExpired):
            return None
        return result.out if result.status == 0 else None

    def run(self, command: str, timeout: float = COMMAND_LIMIT, check: bool = True) -> str:
        """Run a bash script, which ends at its first failing command, and return its standard output."""
        result = self.execute(f"set -eu -o pipefail; {command}" if check else command, timeout)
        if check and result.status:
            self._fail(f"status {result.status} from: {command}\n{result.out[-4000:]}{result.err[-4000:]}")
        return result.out

    succeed = run

    def fail(self, command: str, timeout: float = COMMAND_LIMIT) -> str:
        """Run a command that must not succeed; returns its output and error output."""
        result = self.execute(command, timeout)
        self._must(result.status != 0, f"succeeded, but should not: {command}\n{result.out}")
        return result.out + result.err

    def wait_until(self, command: str, timeout: float = COMMAND_LIMIT, interval: float = 1.0) -> str:
        """Run a command again and again until it succeeds; returns its output."""
        limit = time.monotonic() + timeout
        while True:
            result = self.execute(command, max(1.0, limit - time.monotonic()))
            if result.status == 0:
                return result.out
            if time.monotonic() + interval > limit:
                self._fail(f"not in {timeout:.0f} s: {command}\n{result.out}{result.err}")
            time.sleep(interval)

    def wait_for_unit(self, unit: str, timeout: float = BOOT_LIMIT) -> None:
        """Wait until a unit is active; fails at once when it has failed, or is off with no job to start it."""
        limit = time.monotonic() + timeout
        show = f"systemctl show --property=ActiveState,SubState,Job,Result {shlex.quote(unit)}"
        while True:
            state = dict(line.partition("=")[::2] for line in self.run(show).splitlines())
            if state["ActiveState"] == "active":
                return
            idle = state["ActiveState"] == "inactive" and state.get("Job", "0") in ("", "0")
            if state["ActiveState"] == "failed" or idle or time.monotonic() > limit:
                status = self.execute(f"systemctl status --no-pager --full --lines=30 {shlex.quote(unit)}").out
                self._fail(f"{unit} is {state['ActiveState']}/{state['SubState']} ({state['Result']})\n{status}")
            time.sleep(1.0)

    def put_text(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the guest, with its folder."""
        where = shlex.quote(path)
        command = f"mkdir -p {shlex.quote(os.path.dirname(path))} && cat > {where} && chmod {mode:o} {where}"
        result = self.execute(command, stdin=text.encode())
        self._must(result.status == 0, f"cannot write {path}: {result.err}")

    def put(self, source: Path, target: str, mode: int = 0o644) -> None:
        """Copy a file into the guest."""
        where = shlex.quote(target)
        command = f"mkdir -p {shlex.quote(os.path.dirname(target))} && cat > {where} && chmod {mode:o} {where}"
        result = self.execute(command, timeout=120, stdin=source.read_bytes())
        self._must(result.status == 0, f"cannot write {target}: {result.err}")

    def install(self, deb: Path) -> str:
        """Install a package as a user would, with apt; all it depends on is in the image already."""
        target = f"/root/{deb.name}"
        self.put(deb, target)
        command = f"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {shlex.quote(target)}"
        return self.run(f"{command} 2>&1", timeout=180)

    # What it says

    def boot_id(self) -> str:
        return self.run("cat /proc/sys/kernel/random/boot_id").strip()

    def journal(self, boot: int = 0, options: str = "") -> str:
        """The journal of this boot (0), the one before (-1), … with seconds since the kernel's start."""
        command = f"journalctl --boot={boot} --no-pager --no-hostname --output=short-monotonic {options}"
        return self.run(command, timeout=120)

    def console(self, boot: int = 0) -> str:
        """What came out of the serial port since the last power-on or reset (0), in the boot before (-1), …"""
        starts = [*self._boots, None]
        first = len(self._boots) - 1 + boot
        data = self._console.read_bytes() if self._console.exists() else b""
        return _ESCAPES.sub("", data[starts[first] : starts[first + 1]].decode("utf-8", "replace"))

    def _mark_boot(self) -> None:
        here = self._console.stat().st_size if self._console.exists() else 0
        if here not in self._boots:  # one reboot may reset the machine more than once
            self._boots.append(here)

    def boot_times(self) -> BootTimes:
        """When this boot's units began to start and were up."""
        manager = self._show("")[0]
        began, active = "InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic"
        units = self._show(f"--all '*' --property=Id,ActiveState,{began},{active}")
        return BootTimes(
            userspace=_seconds(manager, "UserspaceTimestampMonotonic"),
            generators=_seconds(manager, "GeneratorsFinishTimestampMonotonic")
            - _seconds(manager, "GeneratorsStartTimestampMonotonic"),
            finish=_seconds(manager, "FinishTimestampMonotonic"),
            units={
                unit["Id"]: UnitTimes(_seconds(unit, began), _seconds(unit, active), unit["ActiveState"])
                for unit in units
            },
        )

    def _show(self, options: str) -> list[dict[str, str]]:
        """The property blocks of `systemctl show`."""
        blocks = self.run(f"systemctl show {options}").strip().split("\n\n")
        return [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]

    def state_report(self) -> str:
        """Console and, if the guest answers, jobs, DRBD, mounts and journal: for the text of a failure."""
        parts = [f"== {self.name}: console, its end", *self.console().splitlines()[-40:]] if self._boots else []
        for title, command in REPORT:
            parts.append(f"== {self.name}: {title}")
            try:
                result = self._connect(REPORT_COMMAND_LIMIT).run(command, REPORT_COMMAND_LIMIT)
            except (Unreachable, LabError, subprocess.TimeoutExpired) as error:
                parts.append(f"(no answer: {error})")
                break
            parts.append((result.out + result.err).rstrip())
        return "\n".join(parts)

    # Failing

    def _must(self, condition: bool, message: str) -> None:
        if not condition:
            self._fail(message)

    def _fail(self, message: str) -> NoReturn:
        raise LabError(self._report(f"{self.name}: {message}"))


def _seconds(block: dict[str, str], name: str) -> float:
    return int(block.get(name) or 0) / 1e6
