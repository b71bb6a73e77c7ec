"""What was started and what waits, in /run/drbdocfs: one small file INSTANCE.KIND of lines KEY=VALUE each.

The configuration may change or break while a stack is up; what was started is what has to be stopped.  The records
also carry what a wait knows to the follow service and to the command, and are gone after a reboot, as they must be.
"""

import posix
import time

from drbdocfs_boot.tools import system

PLACE = "/run/drbdocfs"
# Kind of the record of a stack whose cluster is not online because O2CB's address was not on this host.
CLUSTER_ADDRESS = "cluster-address"
# Kind of the record of a stack that was attached without connecting, or whose attach could not connect.
UNCONNECTED = "unconnected"
# KIND in the record of a stack that waits although its peer is there: DRBD has refused the promotion all the same.
REFUSED = "refused"


def _path(instance: str, kind: str) -> str:
    return system.path(f"{PLACE}/{instance}.{kind}")


def read(instance: str, kind: str) -> "dict[str, str] | None":
    """The record, or None when there is none."""
    text = system.read(f"{PLACE}/{instance}.{kind}")
    if text is None:
        return None
    found = {}
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if equals:
            found[key] = value
    return found


def number(text: "str | None", otherwise: float) -> float:
    """A value of a record, or one of the kernel's, as a number; ``otherwise`` where it is none."""
    try:
        return float(text or "")
    except ValueError:
        return otherwise


def waiting(instance: str) -> "dict[str, str] | None":
    """The record of a stack that waits; its STATE is "late" as well when the wait was killed before it could say so."""
    found = read(instance, "waiting")
    if found is not None and not _runs(found.get("PID") or "0"):
        found["STATE"] = "late"
    return found


def _runs(pid: str) -> bool:
    try:
        posix.stat("/proc/" + pid)
    except (OSError, ValueError):  # ValueError: a NUL where a number should be
        return False
    return True


def write(instance: str, kind: str, **values: str) -> None:
    """Write the record, whole or not at all.  Raises OSError."""
    name = _path(instance, kind)
    # A newline in a value (a tool's words) would begin another key.
    text = "".join(f"{key}={' '.join(value.splitlines())}\n" for key, value in values.items())
    _replace(name, text)


def _replace(name: str, text: str, durable: bool = False) -> None:
    """The text under that name (a real path), whole or not at all; ``durable``: after a power cut, too.

    Raises OSError; that of a full disk names the file.
    The command writes records as well, with the umask of whoever runs it: all may read them, root alone may write.
    """
    place = name.rpartition("/")[0]
    try:
        posix.stat(place)
    except FileNotFoundError:
        system.make_directory(place)
        posix.chmod(place, 0o755)
    new = f"{name}.{posix.getpid()}.new"
    try:
        posix.unlink(new)
    except FileNotFoundError:
        pass
    fd = posix.open(new, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC, 0o644)
    try:
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            posix.fchmod(fd, 0o644)
            file.write(text)
            file.flush()
            if durable:
                posix.fsync(fd)
        posix.rename(new, name)
    except OSError as error:  # a full disk, which the kernel tells of without a name
        posix.unlink(new)
        raise OSError(error.errno, error.strerror, name) from None
    if durable:
        fd = posix.open(place, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        try:
            posix.fsync(fd)
        finally:
            posix.close(fd)


def remove(instance: str, kind: str) -> None:
    """Remove the record; nothing happens when there is none."""
    try:
        posix.unlink(_path(instance, kind))
    except FileNotFoundError:
        pass


def instances(kind: str) -> "list[str]":
    """Instances that have such a record, sorted."""
    end = "." + kind
    return [name[: -len(end)] for name in system.names(PLACE) if name.endswith(end) and name != end]


# A split brain that was found outlives a reboot: until both nodes are in step again no policy may go on alone with
# what is perhaps the wrong half.
MARKERS = "/var/lib/drbdocfs"


def split_brain(instance: str) -> str:
    """When the split brain that nobody has resolved yet was found (UTC); "" when there is none."""
    text = system.read(f"{MARKERS}/{instance}.split-brain")
    return "" if text is None else text.partition("\n")[0].strip() or "an unknown time"


def mark_split_brain(instance: str) -> None:
    """Remember a split brain; the time of the first finding stays.  Raises OSError."""
    if split_brain(instance):
        return
    name = system.path(f"{MARKERS}/{instance}.split-brain")
    _replace(name, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()) + "\n", durable=True)


def witness(instance: str) -> "tuple[str, list[tuple[str, str]]] | None":
    """(witness, [(generation, nonce), ...]) of the locks that were asked for and not given back yet; None: none.

    It outlives a reset: the lock would stay at the witness, and keep the other node from winning once it has to.
    """
    text = system.read(f"{MARKERS}/{instance}.witness")
    lines = [] if text is None else text.split("\n")
    locks = [(words[0], words[1]) for words in (line.split() for line in lines[1:]) if len(words) == 2]
    return (lines[0], locks) if lines and lines[0] and locks else None


def mark_witness(instance: str, where: str, generation: str, nonce: str) -> None:
    """Remember that a lock is asked for.  Best effort: with a full disk the decision is more important."""
    name = system.path(f"{MARKERS}/{instance}.witness")
    before = witness(instance)
    locks = before[1] if before is not None and before[0] == where else []
    try:
        lines = (where, *(f"{a} {b}" for a, b in locks), f"{generation} {nonce}")
        _replace(name, "".join(line + "\n" for line in lines), durable=True)
    except OSError:
        pass


def clear_witness(instance: str) -> None:
    """Forget it, once the lock was given back."""
    try:
        posix.unlink(system.path(f"{MARKERS}/{instance}.witness"))
    except FileNotFoundError:
        pass


def clear_split_brain(instance: str) -> None:
    """Forget it, once both nodes are UpToDate and connected."""
    try:
        posix.unlink(system.path(f"{MARKERS}/{instance}.split-brain"))
    except FileNotFoundError:
        pass
