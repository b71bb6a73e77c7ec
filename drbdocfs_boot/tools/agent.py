"""Fence agents: the programs that switch the other node off, and the file with their options.

The interface is that of the fence agents, of which Debian's package fence-agents has some eighty.  What is relied on
was read in its version 4.12.1 (fencing.py: _parse_input_stdin, fence_action, fail) and tried with fence_dummy:

* Options come on standard input, a line each, as long as there is no argument (process_input).
* ``off`` and ``on``: exit 0 once the device says so; 0 at once, without doing anything, if it said so before.
* ``status``: 0 is on, 2 is off, all else is a failure; failures of every action are 1.
* ``monitor``: 0 if the device answers.  ``metadata``: XML on standard output, without any option.
* ``reboot`` is 0 once the power was off, whether it came back or not; it is never used here.  Nor is the default used,
  which is ``reboot``.

2 is also what a shell exits with at a syntax error, and Python at an argument or a file that it does not like.  So a
status of 2 alone is no proof: an ``off`` has to have said that it is done before.  And as agents may say so too early
(fence_ipmilan's own page warns), or believe a device that ignores them, that alone is no proof either.

Nothing that an option file holds is put into an argument, an exception or a line of the log; what an agent says is
masked (fenceoptions.mask).
"""

import os
import stat
import time
from errno import EACCES, ENOENT, ENOEXEC, ENOTDIR, EPERM

from drbdocfs_boot import fenceoptions
from drbdocfs_boot.tools import run, system
from drbdocfs_boot.tools.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS_FILE = "/etc/drbdocfs/fence.conf"
EX_UNAVAILABLE = 69
EX_NOPERM = 77
EX_CONFIG = 78

ON, OFF, UNKNOWN = "on", "off", "unknown"
_STATUS = {0: ON, 2: OFF}

KEPT = 65536  # bytes of what an agent says; a few lines are shown, and all of it may be anything
SHOWN = 300  # characters
# An attempt gets half of the time that is left, so that a lost packet does not cost the other attempts; but not less
# than a login to a management processor takes.
LEAST = 3.0
PAUSE = 0.5  # seconds between two attempts
PATIENCE = 5.0  # seconds that a device may still say "on" after an off that was done, before it is told again


def load(path: str, host: str) -> "dict[str, str]":
    """The options that switch ``host`` off, from the options file (``""``: the usual one).

    ``nodename`` is added, as Pacemaker does: the agents skip it where they do not know it, and an own script learns
    whom it is for.  Raises Failure: 77 when the file may not be used as its owner or mode is, 78 when it is missing,
    has a mistake that concerns the host, or does not have the host.
    """
    name = path or OPTIONS_FILE
    data = _read(name)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Failure(
            EX_CONFIG, f"{name}, line {line}: not UTF-8, so none of the file is read", "save it as UTF-8"
        ) from None
    options = fenceoptions.parse(text)
    problems = options.problems_of(host)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise Failure(EX_CONFIG, f"{name}, {problems[0]}{more}", f"mend that line of {name}")
    found = options.of(host)
    if found is None:
        raise Failure(
            EX_CONFIG,
            f"{name} has no section [{host}], so there is no way to switch {host} off",
            f"write [{host}] and below it the agent's options for {host} to {name}, see drbdocfs-fence.conf(5)",
        )
    found.setdefault("nodename", host)
    return found


def _read(name: str) -> bytes:
    """The bytes of an options file.  A link is followed: what counts are owner and mode of the file that is read, and
    they are asked of the open file, so that it cannot be another one."""
    try:
        # A pipe would else be waited for.
        fd = os.open(system.path(name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR):
            raise Failure(
                EX_CONFIG,
                f"{name}: the file with the fence agent's options is not there",
                f"touch {name} && chmod 600 {name}, then write it as drbdocfs-fence.conf(5) says",
            ) from None
        status = EX_NOPERM if error.errno in (EACCES, EPERM) else EX_CONFIG
        raise Failure(status, f"{name} cannot be read: {error.strerror}", f"ls -l {name}") from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise Failure(EX_CONFIG, f"{name} is no regular file", f"ls -ld {name}")
        if found.st_uid not in (0, os.geteuid()):
            raise Failure(
                EX_NOPERM,
                f"{name} belongs to the user {found.st_uid} and not to root, so another could say what is switched off",
                f"look at what is in it, then chown root:root {name} && chmod 600 {name}",
            )
        if found.st_mode & 0o077:
            raise Failure(
                EX_NOPERM,
                f"{name} has the mode {stat.S_IMODE(found.st_mode):03o}, so others than root may read or change the"
                " agent's password",
                f"chmod 600 {name}",
            )
        data = b""
        while len(data) <= fenceoptions.LARGEST:
            more = os.read(fd, fenceoptions.LARGEST + 1 - len(data))
            if not more:
                return data
            data += more
    except OSError as error:
        raise Failure(EX_CONFIG, f"{name} cannot be read: {error.strerror}", f"ls -l {name}") from None
    finally:
        os.close(fd)
    raise Failure(EX_CONFIG, f"{name} is larger than {fenceoptions.LARGEST} bytes", "leave only the options in it")


class Outcome:
    """``code``: exit status, minus the signal that ended it, or None when it was not done in time (or could not be
    started for now); ``said``: what it printed, on one line and masked; ``took``: seconds."""

    __slots__ = ("code", "said", "took")

    def __init__(self, code: "int | None", said: str, took: float) -> None:
        self.code = code
        self.said = said
        self.took = took

    @property
    def words(self) -> str:
        """How it ended, in words."""
        if self.code is None:
            end = f"not done after {self.took:.1f} s"
        elif self.code < 0:
            end = f"ended by signal {-self.code} after {self.took:.1f} s"
        else:
            end = f"exit status {self.code} after {self.took:.1f} s"
        return end + (f": {self.said}" if self.said else "")


def find(program: str) -> str:
    """Full path of the agent; raises Failure (69) when it is not installed or cannot be run."""
    if program[:1] == "/":
        if not os.path.exists(program):
            raise Failure(EX_UNAVAILABLE, f"the fence agent {program} is not there", f"ls -l {program}")
        if not os.path.isfile(program) or not os.access(program, os.X_OK):
            raise Failure(EX_UNAVAILABLE, f"the fence agent {program} cannot be run", f"chmod 755 {program}")
        return program
    try:
        return run.find(program)
    except Failure:
        package = "the package fence-agents" if program.startswith("fence_") else program
        raise Failure(EX_UNAVAILABLE, f"the fence agent {program} is not installed", f"install {package}") from None


def call(program: str, options: "dict[str, str]", action: str, limit: float) -> Outcome:
    """Run the agent once, with a limit; a process that it leaves behind is not waited for.

    Raises Failure (69) when it is missing or cannot be run at all.
    """
    began = time.monotonic()
    deadline = began + limit
    place = find(program)
    try:
        process = run.Process([place], merge=True, given=fenceoptions.given(options, action))
    except OSError as error:
        if error.errno == ENOEXEC:
            raise Failure(
                EX_UNAVAILABLE, f"the fence agent {program} cannot be run: {error.strerror}", "see its first line"
            ) from None
        return Outcome(None, f"cannot be started: {error.strerror}", time.monotonic() - began)
    said = b""
    cut = False
    try:
        while process.fds and process.wait(0) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            # An agent's end does not end this read while a child of it holds the pipe: so it is looked for often.
            for _, data in process.read(min(left, 0.1)):
                cut = cut or len(said) + len(data) > KEPT
                said += data[: KEPT - len(said)]
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except BaseException:
        process.end()  # whoever ends us does not want somebody switched off later
        raise
    for _ in range(KEPT // 65536 + 2):
        for _, data in process.read(0):
            cut = cut or len(said) + len(data) > KEPT
            said += data[: KEPT - len(said)]
    hangs = not process.end()
    text = fenceoptions.mask(said.decode("utf-8", "replace"), options, cut or code is None)
    text = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    text = "".join(char if char.isprintable() else " " if char == "\t" else "?" for char in text)
    if len(text) > SHOWN:
        # Warnings come first and the error last.
        text = text[: SHOWN // 3] + " … " + text[-SHOWN * 2 // 3 :]
    if hangs:
        text = "hangs in the kernel and cannot be killed" + (f"; {text}" if text else "")
    return Outcome(code, text, time.monotonic() - began)


def status(program: str, options: "dict[str, str]", limit: float) -> str:
    """Whether the device says that the host is ``"on"`` or ``"off"``; ``"unknown"`` when it does not say."""
    return _status(call(program, options, "status", limit))


def _status(outcome: Outcome) -> str:
    return UNKNOWN if outcome.code is None else _STATUS.get(outcome.code, UNKNOWN)


def switch_off(
    program: str,
    options: "dict[str, str]",
    limit: float,
    tell: "Callable[[str], object]",
    go: "Callable[[], bool]" = lambda: True,
) -> bool:
    """Switch the host off; True only when an ``off`` said that it is done and a status after it says off.

    Tried again until ``limit`` is over.  ``tell`` gets a line for each step; ``go`` is asked before each ``off``, and
    there is none once it says no.  Raises Failure (69) when the agent is missing or cannot be run.
    """
    return _switch(program, options, OFF, limit, tell, go)


def switch_on(
    program: str, options: "dict[str, str]", limit: float, tell: "Callable[[str], object]" = lambda _: None
) -> bool:
    """Switch the host on, in the same way."""
    return _switch(program, options, ON, limit, tell)


def _switch(
    program: str,
    options: "dict[str, str]",
    wanted: str,
    limit: float,
    tell: "Callable[[str], object]",
    go: "Callable[[], bool]" = lambda: True,
) -> bool:
    deadline = time.monotonic() + limit

    def share() -> float:
        """The limit of one attempt; 0 when there is no time left for one."""
        left = deadline - time.monotonic()
        return min(left, max(LEAST, left / 2)) if left > 0.05 else 0.0

    def rest() -> None:
        time.sleep(max(0.0, min(PAUSE, deadline - time.monotonic())))

    name = program.rpartition("/")[2]
    done = False
    while share() and go():
        outcome = call(program, options, wanted, share())
        tell(f"{name} {wanted}: {outcome.words}")
        done = done or outcome.code == 0
        patience = min(deadline, time.monotonic() + PATIENCE)
        while done and share():
            outcome = call(program, options, "status", share())
            answer = _status(outcome)
            if answer == wanted:
                tell(f"{name} status: {answer}, after {outcome.took:.1f} s")
                return True
            tell(f"{name} status: {answer} and not {wanted}: {outcome.words}")
            rest()
            if time.monotonic() >= patience:
                break
        else:
            rest()
    return False
