"""One virtual machine of the lab: its QEMU process, its shell, and what a test does to it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
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

# To write a node's memory to a file, and to read it.
STATE_LIMIT = 120.0
# In which sshd in the guest sees that a connection is closed.
_GONE_SECONDS = 3.0

DATA_DISK_SIZE = "512M"
_DISKS = ("root", "data")
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
# How a kernel begins to say that it has found itself wrong (lib/bug.c, arch/x86/kernel/dumpstack.c, kernel/panic.c,
# kernel/watchdog.c). A sysrq is an order, not a failure.
_KERNEL_FAILURE = re.compile(
    r"^.*\b(?:kernel BUG at |BUG: |Oops: |general protection fault|Kernel panic - not syncing: (?!sysrq)).*$",
    re.MULTILINE,
)
# A task that has waited for its disk for two minutes (kernel/hung_task.c). Some rows mean it to; where the disk is the
# root's, and the machine has hardly begun, it is the emulator that has lost a request.
_HUNG_TASK = re.compile(r"^.*\bINFO: task .* blocked for more than .*$", re.MULTILINE)


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


def command_line(
    image: Image, number: int, folder: Path, link_ports: tuple[int, int], ssh_port: int, doors: Sequence[Door] = ()
) -> list[str]:
    """How QEMU is started for a node. All that the guest can tell depends on `image` and `number` alone."""
    here, peer = link_ports
    kernel_line = (
        f"root=/dev/vda rw console=ttyS0 systemd.hostname=server{number} systemd.machine_id={number:032x}"
        # Colours and cursor movements have no place in a log.
        " systemd.log_color=0 TERM=dumb"
        # Drivers of what no test uses: each costs a good part of a second of every boot under emulation.
        " modprobe.blacklist=ata_generic,ata_piix,floppy,i2c_piix4,pcspkr,psmouse,serio_raw,qemu_fw_cfg,drm"
        # No defence against real processors' flaws is needed on an emulated one.
        " mitigations=off"
    )

    def disk(name: str) -> list[str]:
        # Flushes reach QEMU's own caches, not the host's disk: enough for a power cut that kills QEMU alone.
        drive = f"if=none,id={name},file={folder}/{name}.qcow2,format=qcow2,cache=unsafe,discard=unmap"
        return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]

    control = ["user", "id=control", "restrict=on", f"hostfwd=tcp:127.0.0.1:{ssh_port}-{CONTROL_ADDRESS}:22"]
    control += [door.option for door in doors]
    return [
        "qemu-system-x86_64", "-name", f"server{number}", "-nodefaults", "-no-user-config", "-display", "none",
        # tcg by name: where /dev/kvm exists but does not work, QEMU would not fall back.
        "-machine", "pc", "-accel", "tcg,thread=multi,tb-size=512",
        # Without svm udev does not load kvm_amd at each boot.
        "-cpu", "qemu64,-svm", "-smp", "1", "-m", "1024",
        "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", kernel_line,
        *disk("root"), *disk("data"),
        "-netdev", ",".join(control),
        "-device", f"virtio-net-pci,netdev=control,mac={CONTROL_MAC}0{number},romfile=",
        # UDP, so that either node may come and go.
        "-netdev", f"socket,id=link,udp=127.0.0.1:{peer},localaddr=127.0.0.1:{here}",
        "-device", f"virtio-net-pci,id=link-card,netdev=link,mac={REPLICATION_MAC}0{number},romfile=",
        "-device", "virtio-rng-pci",
        "-chardev", f"file,id=console,path={folder}/console.log,append=on", "-serial", "chardev:console",
        "-qmp", f"unix:{folder}/qmp,server=on,wait=off",
    ]  # fmt: skip


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
        self._base: Path | None = None
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
        self.renew_disks(base)

    # The machine

    def renew_disks(self, base: Path | None) -> None:
        """New layers over `base`, as this node began; it must be off."""
        self._base = base
        create = ["qemu-img", "create", "-q", "-f", "qcow2"]
        if base is None:
            layers = {"root": ["-F", "raw", "-b", str(self.image.disk)], "data": []}
        else:
            layers = {disk: ["-F", "qcow2", "-b", str(base / f"{self.name}-{disk}.qcow2")] for disk in _DISKS}
        for disk, options in layers.items():
            size = [DATA_DISK_SIZE] if not options else []
            subprocess.run([*create, *options, str(self.folder / f"{disk}.qcow2"), *size], check=True, timeout=60)

    def keep_disks(self, folder: Path) -> None:
        """Copy this node's disks (not running) to `folder`, as a base for later nodes.

        The copies are layers over the image's disk alone. Only for a node that has begun there: with -B, qemu-img
        copies the uppermost layer, and would leave out what is in a base between.
        """
        self._must(not self.running, "keep_disks() of a node that runs")
        self._must(self._base is None, "keep_disks() of a node that has a base")
        for disk in _DISKS:
            keep = ["qemu-img", "convert", "-q", "-O", "qcow2"]
            if disk == "root":
                keep += ["-B", str(self.image.disk), "-F", "raw"]
            target = folder / f"{self.name}-{disk}.qcow2"
            subprocess.run([*keep, str(self.folder / f"{disk}.qcow2"), str(target)], check=True, timeout=300)

    def _qemu(self, ssh_port: int, state: Path | None) -> list[str]:
        command = command_line(self.image, self.number, self.folder, self._link_ports, ssh_port, self._doors)
        # Through cat: QEMU 7.2 reads no file by itself.
        return command if state is None else [*command, "-incoming", f"exec:cat {shlex.quote(str(state))}"]

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
        self._start(None)

    def resume(self, kept: Path) -> None:
        """Go on, on its disks of then, from where freeze() has left this node in the folder `kept`; it must be off.

        Returns as soon as it runs. The console begins empty, and the clock is that of then. Raises QmpError with what
        QEMU said when it does not take the state; the machine is off then.
        """
        self._must(not self.running, "resumed while it runs")
        for disk in _DISKS:
            shutil.copyfile(kept / f"{self.name}-{disk}.qcow2", self.folder / f"{disk}.qcow2")
        self._start(kept / f"{self.name}-state")
        try:
            with self._power:
                self._await_status("query-status", "paused", bad=())
                self._command("set_link", name="link-card", up=self._link_up)
                self._command("cont")
        except QmpError as error:
            self.power_cut()
            raise QmpError(f"{error}; {self._qemu_said()}") from error

    def _command(self, execute: str, **arguments: object) -> Any:
        if self._qmp is None:
            raise QmpError(f"{execute}: {self.name} is off")
        return self._qmp.command(execute, **arguments)

    def _await_status(self, query: str, wanted: str, bad: tuple[str, ...]) -> None:
        limit = time.monotonic() + STATE_LIMIT
        while (status := self._command(query).get("status")) != wanted:
            if status in bad or time.monotonic() > limit:
                raise QmpError(f"{self.name}: {query} says {status}, not {wanted}")
            time.sleep(0.05)

    def freeze(self, kept: Path) -> None:
        """Stop between two instructions and keep memory, devices and disks in the folder `kept`; it is off then."""
        self._must(self._shell is not None and self.running, "frozen while it is off")
        assert self._shell is not None
        # A connection that is open would be so for the guest after it is resumed, with nobody at the other end.
        self._shell.close()
        time.sleep(_GONE_SECONDS)
        state = kept / f"{self.name}-state"
        part = f"{state}.part"
        self._command("stop")
        self._command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        written, named = shlex.quote(part), shlex.quote(str(state))
        self._command("migrate", uri=f"exec:cat > {written} && mv {written} {named}")
        self._await_status("query-migrate", "completed", bad=("failed", "cancelled"))
        # QEMU has given everything away then; the file is whole when it has its name.
        limit = time.monotonic() + STATE_LIMIT
        while not state.exists():
            if time.monotonic() > limit:
                raise QmpError(f"{state} was not written: {self._qemu_said()}")
            time.sleep(0.05)
        self.power_cut()
        # As they are, layers over their base: keep_disks() could not look through it.
        for disk in _DISKS:
            shutil.copyfile(self.folder / f"{disk}.qcow2", kept / f"{self.name}-{disk}.qcow2")

    def _qemu_said(self) -> str:
        return (self.folder / "qemu.log").read_text(errors="replace")[-2000:].strip()

    def _start(self, state: Path | None) -> None:
        with self._power:
            self._must(not self.running, "started twice")
            self._forget_process()
            for _ in range(3):  # somebody else may take a port between its choice and QEMU's start
                ssh_port = free_port(socket.SOCK_STREAM)
                self._mark_boot()
                self._process = process.start(self._qemu(ssh_port, state), self.folder / "qemu.log")
                try:
                    self._qmp = Qmp(self.folder / "qmp", self._event)
                    break
                except QmpError:
                    process.end(self._process)
            else:
                if state is not None:
                    raise QmpError(f"QEMU does not start: {self._qemu_said()}")
                self._fail(f"QEMU does not start: {self._qemu_said()}")
            if not self._link_up and state is None:
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

    def throttle(self, disk: str, operations: int) -> None:
        """Let a disk ("root" or "data") do so many reads and writes a second from now on; 0: as many as it can."""
        assert self._qmp is not None
        limits = {"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops_rd": 0, "iops_wr": 0}
        self._qmp.command("block_set_io_throttle", device=disk, iops=operations, **limits)

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
        if not self.await_reset(resets, min(timeout, SHUTDOWN_LIMIT)):
            self._fail("no reset after `systemctl reboot`")
        self.last_shutdown = time.monotonic() - began
        self.wait_booted(timeout - self.last_shutdown)
        self._must(self.boot_id() != before, "the reboot did not happen")
        return self.last_shutdown

    def await_reset(self, before: int, timeout: float) -> bool:
        """Wait until the guest has reset the machine once more than `before` times."""
        with self._changed:
            return self._changed.wait_for(lambda: self._resets > before, timeout)

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

    def stream(self, command: str, timeout: float) -> subprocess.Popen[bytes] | None:
        """A command that goes on, its output in a pipe; None when the node does not answer.  The caller ends it."""
        try:
            shell = self._connect(timeout)
        except (Unreachable, LabError):
            return None
        return process.start([*shell.command, command], self.folder / "stream.log", piped=True)

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

    def kernel_failures(self) -> list[str]:
        """Where a kernel has found itself wrong, since the node was made: the line of the console that says so."""
        return kernel_failures(self._console.read_text("utf-8", "replace")) if self._console.exists() else []

    def _mark_boot(self) -> None:
        here = self._console.stat().st_size if self._console.exists() else 0
        if here not in self._boots:  # one reboot may reset the machine more than once
            self._boots.append(here)

    def kernel_seconds(self) -> float:
        """From this boot's first instruction of the kernel to PID 1: what the machine does alone, whatever it runs."""
        return _seconds(self._show("--property=UserspaceTimestampMonotonic")[0], "UserspaceTimestampMonotonic")

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
        failures = self.kernel_failures()
        parts = [f"== {self.name}: its kernel failed", *failures[:3]] if failures else []
        hung = hung_tasks(self.console()) if self._boots else []
        parts += [f"== {self.name}: its kernel waits", *hung[:3]] if hung else []
        parts += [f"== {self.name}: console, its end", *self.console().splitlines()[-40:]] if self._boots else []
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


def kernel_failures(console: str) -> list[str]:
    """The lines of a console in which a kernel says that it has found itself wrong."""
    return _KERNEL_FAILURE.findall(_ESCAPES.sub("", console))


def hung_tasks(console: str) -> list[str]:
    """The lines of a console in which a kernel names a task that waits for something that does not come."""
    return _HUNG_TASK.findall(_ESCAPES.sub("", console))


def _seconds(block: dict[str, str], name: str) -> float:
    return int(block.get(name) or 0) / 1e6
