"""Two nodes with a cable between them, as a context manager that leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

from . import cache
from .image import Image
from .node import LabError, Node, free_port
from .powerswitch import PowerSwitch
from .witnesshost import WitnessHost

T = TypeVar("T")

_PREFIX = "drbdocfs-lab-"
_began = time.monotonic()


def say(text: str) -> None:
    """Progress, with the seconds since the run began."""
    print(f"[{time.monotonic() - _began:6.1f} s] {text}", flush=True)


class Terminated(KeyboardInterrupt):
    """SIGTERM came. pytest ends the run for it as for Ctrl-C, where it would count a SystemExit as a failed test."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


class _Folder:
    """A temporary folder, locked while in use; those of runs that were killed are removed by the next one."""

    def __init__(self) -> None:
        for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            _remove_if_unused(old)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_if_unused(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A folder made this instant by another run is not locked yet.
        if time.time() - folder.stat().st_mtime > 60:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass
    finally:
        os.close(lock)


class Lab:
    """server1 and server2; use it with `with`.

    `base` is a folder of disks that keep() filled: both nodes then begin there instead of at the bare image.
    """

    def __init__(self, image: Image, base: Path | None = None, results: Path | None = None) -> None:
        """`results` is where the reports of failures go; by default below the lab's cache."""
        self.image = image
        self.base = base
        self._results = results or cache.folder() / "results"
        self._folder: _Folder | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._reporting = threading.Lock()
        self._reported = 0.0
        self.nodes: tuple[Node, ...] = ()
        self.switch = PowerSwitch()
        self.witness = WitnessHost(image)

    def __enter__(self) -> Lab:
        if self._in_main_thread():
            self._handlers = {signal.SIGTERM: signal.signal(signal.SIGTERM, _terminate)}
        try:
            self._folder = _Folder()
            self.witness.place(self._folder.path)
            ports = (free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM))
            self.nodes = (self._node(1, ports), self._node(2, (ports[1], ports[0])))
            self.switch.plug_in(self.nodes)
        except BaseException:
            self._clean()
            raise
        return self

    def _node(self, number: int, ports: tuple[int, int]) -> Node:
        assert self._folder is not None
        folder = self._folder.path
        doors = (self.switch.door(number, folder), self.witness.door(number, folder))
        return Node(self.image, number, folder / f"server{number}", ports, self.base, self.report, doors)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean()

    @staticmethod
    def _in_main_thread() -> bool:
        return threading.current_thread() is threading.main_thread()

    def _clean(self) -> None:
        # A second signal must not interrupt this.
        if self._in_main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._handlers[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            # First the switch: a guest could have a node switched on again.
            self.switch.close()
            for node in self.nodes:
                node.power_cut()
            self.witness.close()
            try:
                self._tell_of_kernels()
            finally:  # a full disk, or a warning that somebody has made an error, leaves no folder behind
                if self._folder is not None:
                    self._folder.remove()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def both(self, work: Callable[[Node], T]) -> tuple[T, T]:
        """Call work(node) for both nodes at once and return both results; raises the first error, after both ended."""
        results: dict[int, T] = {}
        errors: list[BaseException] = []

        def call(node: Node) -> None:
            try:
                results[node.number] = work(node)
            except BaseException as error:
                errors.append(error)

        # Daemons, so that Ctrl-C in the main thread need not wait for them: the nodes go, and they fail.
        threads = [threading.Thread(target=call, args=(node,), daemon=True) for node in self.nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return results[1], results[2]

    def boot(self) -> None:
        """Switch both nodes on and wait until both boots are over."""
        for node in self.nodes:
            node.start()
        self.both(lambda node: node.wait_booted())

    def shutdown(self) -> None:
        """Power off both nodes in good order."""
        self.both(lambda node: node.shutdown())

    def keep(self, folder: Path) -> None:
        """Keep the disks of both nodes, which must be off, as a base for later labs."""
        for node in self.nodes:
            node.keep_disks(folder)

    def report(self, message: str) -> str:
        """A failure's message with the state of both nodes; also kept as a file with the full consoles."""
        asked = time.monotonic()
        with self._reporting:
            if self._reported > asked:  # while this thread waited, the other node's made one
                return f"{message}\n(the state of both nodes is in the report on the other node)"
            text = "\n".join([message, *(node.state_report() for node in self.nodes)])
            folder = self._new_results()
            (folder / "failure.txt").write_text(text, encoding="utf-8")
            self._keep_logs(folder)
            self._reported = time.monotonic()
            return f"{text}\n== kept in {folder}\n== {message}"

    def _new_results(self) -> Path:
        self._results.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=self._results))

    def _keep_logs(self, folder: Path) -> None:
        for node in self.nodes:
            for log in node.folder.glob("*.log"):
                shutil.copy(log, folder / f"{node.name}-{log.name}")

    def _tell_of_kernels(self) -> None:
        """A kernel that failed and was reset may have cost nothing that a test looks at; it is told all the same."""
        failures = [f"{node.name}: {line}" for node in self.nodes for line in node.kernel_failures()]
        if failures:
            folder = self._new_results()
            self._keep_logs(folder)
            # pytest shows a warning at the end of a run that went well, too.
            warnings.warn("\n".join(("a kernel failed", *failures[:6], f"consoles kept in {folder}")), stacklevel=3)


def know_each_other(lab: Lab) -> None:
    """root of each node may log in at the other one by key, at its replication address or by its name."""
    for node in lab.nodes:
        node.run("test -e /root/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519")
        # The image has one host key for both.
        node.put_text("/root/.ssh/config", "Host *\n StrictHostKeyChecking accept-new\n", 0o600)
    for node, other in (lab.nodes, lab.nodes[::-1]):
        key = other.run("cat /root/.ssh/id_ed25519.pub").strip()
        node.run(f"echo '{key}' >> /root/.ssh/authorized_keys")
    for node, other in (lab.nodes, lab.nodes[::-1]):
        assert node.run(f"ssh -o BatchMode=yes root@{other.address} uname -n").strip() == other.name


__all__ = ["Lab", "LabError", "know_each_other", "say"]
