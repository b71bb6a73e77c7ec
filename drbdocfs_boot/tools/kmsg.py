"""The kernel log of this boot, from /dev/kmsg (Documentation/ABI/testing/dev-kmsg)."""

import os

from drbdocfs_boot.tools import system


def readable() -> bool:
    """True where this user may read the kernel log; the file's mode does not tell (kernel.dmesg_restrict)."""
    try:
        os.close(os.open(system.path("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def write(text: str, priority: int) -> None:
    """Put a line into the kernel log, of facility "daemon"; what cannot be written is lost."""
    try:
        fd = os.open(system.path("/dev/kmsg"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(fd, f"<{3 << 3 | priority}>{' '.join(text.splitlines())}".encode("utf-8", "replace")[:900])
        finally:
            os.close(fd)
    except OSError:
        pass


def messages() -> "list[str]":
    """All messages that the ring buffer still holds, without their prefix; empty where it may not be read."""
    try:
        fd = os.open(system.path("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    found = []
    try:
        while True:
            try:
                record = os.read(fd, 8192)  # one record a read
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # overwritten while we read: the next one is there
            except OSError:
                break
            if not record:
                break
            found += [line.partition(";")[2] for line in record.decode("utf-8", "replace").split("\n") if ";" in line]
    finally:
        os.close(fd)
    return found
