"""Run a tool with a time limit of its own.

Every call of drbdsetup needs one: LINBIT/drbd#100 shows such a call in uninterruptible sleep for 491 s.  posix_spawn
instead of the subprocess module, because that module's import alone costs more than an interpreter's start.
"""

import posix
import select
import time

from drbdocfs_boot.exits import EX_TEMPFAIL, EX_UNAVAILABLE
from drbdocfs_boot.tools import system
from drbdocfs_boot.tools.failure import Failure

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KILL = 9
TERM = 15
# Where each tool comes from, for the message when it is missing.
PACKAGES = {
    "blkid": "util-linux",
    "drbdadm": "drbd-utils",
    "drbdmeta": "drbd-utils",
    "drbdsetup": "drbd-utils",
    "fallocate": "util-linux",
    "losetup": "util-linux",
    "mkfs.ocfs2": "ocfs2-tools",
    "modprobe": "kmod",
    "mount.ocfs2": "ocfs2-tools",
    "o2cb": "ocfs2-tools",
    "ssh": "openssh-client",
    "systemctl": "systemd",
    "wipefs": "util-linux",
}


class Result:
    """``code``: exit code, or minus the signal that ended it; ``out`` and ``err``: what it printed."""

    __slots__ = ("code", "err", "out")

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def said(self) -> str:
        """What it printed, on one line, errors first; never a secret."""
        text = self.err.strip() or self.out.strip()
        return _masked("; ".join(line.strip() for line in text.splitlines() if line.strip()))[:500]


# drbdadm repeats the command of drbdsetup that failed, and that has the resource's secret in it.
_SECRET = "--shared-secret="


def _masked(text: str) -> str:
    head, *rest = text.split(_SECRET)
    for part in rest:
        if part.startswith(("'", '"')):  # it has blanks in it
            end = part.find(part[0], 1) + 1 or len(part)
        else:
            end = next((at for at, sign in enumerate(part) if sign in " ;'\""), len(part))
        head += _SECRET + "***" + part[end:]
    return head


def find(tool: str) -> str:
    """Full path of a tool, which may be a path itself; raises Failure (69) when it is not installed."""
    if tool[:1] == "/" and posix.access(tool, posix.X_OK):
        return tool
    for directory in system.environment("PATH", PATH).split(":"):
        name = directory + "/" + tool
        if directory and posix.access(name, posix.X_OK):
            return name
    raise Failure(EX_UNAVAILABLE, f"{tool} is not installed", f"install the package {PACKAGES.get(tool, tool)}")


def _source(given: bytes) -> int:
    """A descriptor from which ``given`` can be read.  A file in memory: it takes everything at once, whether the tool
    reads or not, needs no disk, and has no name under which another could open it."""
    if not given:
        return posix.open("/dev/null", posix.O_RDONLY)
    fd = posix.memfd_create("given", posix.MFD_CLOEXEC)
    try:
        left = memoryview(given)
        while left:
            left = left[posix.write(fd, left) :]
        posix.lseek(fd, 0, 0)
    except BaseException:
        posix.close(fd)
        raise
    return fd


class Process:
    """A running tool.  Its output is read with ``read``; ``end`` stops it whatever it does."""

    def __init__(self, argv: "list[str]", merge: bool = False, given: bytes = b"") -> None:
        """``merge``: standard error goes where standard output goes.  ``given``: what it reads on standard input."""
        program = find(argv[0])
        source = _source(given)
        out_read, out_write = posix.pipe()
        err_read, err_write = posix.pipe()
        environment = {"PATH": system.environment("PATH", PATH), "LC_ALL": "C"}
        for name, value in posix.environ.items():
            # Seen by drbd-utils: the host's name and the driver may be overridden for tests and dry runs.
            if name.startswith(b"DRBD") or name == b"__DRBD_NODE__":
                environment[system.decoded(name)] = system.decoded(value)
        actions: "list[tuple[int, int, int]]" = [
            (posix.POSIX_SPAWN_DUP2, out_write, 1),
            (posix.POSIX_SPAWN_DUP2, out_write if merge else err_write, 2),
        ]
        self.fds = {out_read: b"", err_read: b""}
        self.out_fd, self.err_fd = out_read, err_read
        self.argv = argv
        self.code: "int | None" = None
        try:
            self.pid = posix.posix_spawn(
                program,
                argv,
                environment,
                file_actions=[(posix.POSIX_SPAWN_DUP2, source, 0), *actions],
                setpgroup=0,
                setsigdef=[13],  # SIGPIPE: Python ignores it, the tool must not inherit that
            )
        except OSError as error:
            self._close()
            if isinstance(error, (FileNotFoundError, PermissionError)):
                raise Failure(EX_UNAVAILABLE, f"{program} cannot be run: {error.strerror}") from None
            raise
        finally:
            for fd in (source, out_write, err_write):
                posix.close(fd)

    def read(self, timeout: "float | None", others: "tuple[int, ...]" = ()) -> "list[tuple[int, bytes]]":
        """What arrived within ``timeout`` seconds (None: whenever it does), as (fd, data); an fd at its end is
        closed and forgotten.  Of ``others``, descriptors of the caller's, those that can be read come with b""."""
        if not self.fds and not others:
            return []
        poll = select.poll()
        for fd in (*self.fds, *others):
            poll.register(fd, select.POLLIN)
        arrived = []
        # Rounded up: waking a moment too early would only mean to go to sleep again.
        for fd, _ in poll.poll(None if timeout is None else max(0, int(timeout * 1000 + 0.999))):
            if fd in others:
                arrived.append((fd, b""))
                continue
            data = posix.read(fd, 65536)
            if data:
                arrived.append((fd, data))
            else:
                posix.close(fd)
                del self.fds[fd]
        return arrived

    def wait(self, timeout: float) -> "int | None":
        """Exit code, or None when it still runs after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        pause = 0.001
        while self.code is None:
            pid, status = posix.waitpid(self.pid, posix.WNOHANG)
            if pid:
                self.code = posix.waitstatus_to_exitcode(status)
            elif time.monotonic() >= deadline:
                break
            else:
                time.sleep(pause)
                pause = min(pause * 2, 0.05)
        return self.code

    def end(self) -> bool:
        """Kill its process group and reap it; False when it hangs in the kernel and cannot be killed now."""
        self._close()
        if self.code is None and self.wait(0) is None:
            try:
                posix.killpg(self.pid, KILL)
            except ProcessLookupError:
                pass
            return self.wait(2) is not None
        return True

    def _close(self) -> None:
        for fd in list(self.fds):
            posix.close(fd)
        self.fds = {}


def run(argv: "list[str]", limit: float = 20.0) -> Result:
    """Run to the end and return what it said.

    Raises Failure: 69 when the tool is missing, 75 when it is not done after ``limit`` seconds.
    """
    process = Process(argv)
    deadline = time.monotonic() + limit
    texts = {process.out_fd: b"", process.err_fd: b""}
    code = None
    while process.fds and time.monotonic() < deadline:
        for fd, data in process.read(min(deadline - time.monotonic(), 1.0)):
            texts[fd] += data
        # A tool that leaves a child behind with our pipe open must not hold us: its own end counts.
        if process.wait(0) is not None:
            for fd, data in process.read(0):
                texts[fd] += data
            break
    code = process.wait(max(0.0, deadline - time.monotonic()))
    killed = process.end()
    if code is None:
        raise Failure(
            EX_TEMPFAIL,
            f"'{' '.join(argv)}' was not done after {limit:.0f} s"
            + ("" if killed else " and hangs in the kernel (cannot be killed)"),
            "see the kernel log: journalctl -k",
        )
    return Result(
        code,
        texts[process.out_fd].decode("utf-8", "replace"),
        texts[process.err_fd].decode("utf-8", "replace"),
    )
