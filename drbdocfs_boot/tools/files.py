"""Write files so that a power cut leaves the old text or the new one, never half of one.

For the command only.  Every path is below DRBDOCFS_ROOT where that is set.
"""

from __future__ import annotations

import errno
import os
import stat

from drbdocfs_boot.tools import system


def write(name: str, text: str, mode: int | None = None, follow: bool = True) -> None:
    """Put ``text`` in place of ``name``, durably.  Raises OSError.

    The mode and owner of a file that is there stay, unless ``mode`` says otherwise; a new one gets ``mode`` or 0644.  A
    link is followed, so that the file it names is changed and the link stays; but not one of another user's than root
    or ours (ELOOP), and with ``follow`` off, for a name in a directory of any kind, none: it is replaced.
    What is there and no regular file stays (EINVAL).
    """
    path = system.path(name)
    if follow:
        target = os.path.realpath(path)
    else:
        target = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    directory = os.path.dirname(target)
    make_directory(directory)
    try:
        if follow and os.path.islink(path) and os.lstat(path).st_uid not in (0, os.geteuid()):
            raise OSError(errno.ELOOP, "is a link of another user's", name)
        old: os.stat_result | None = os.lstat(target)
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode) and (follow or not stat.S_ISLNK(old.st_mode)):
        raise OSError(errno.EINVAL, "is no regular file", name)
    if not follow:
        old = None  # mode and owner are ours, whoever has put something there before
    if mode is None:
        mode = 0o644 if old is None else old.st_mode & 0o7777
    new = f"{target}.{os.getpid()}.drbdocfs-new"
    # Others may write in some directories, such as that of the crontabs: a link of theirs is not followed.
    if os.path.lexists(new):
        os.unlink(new)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if old is not None and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            if old is not None:
                _copy_attributes(target, file.fileno())
            os.fsync(file.fileno())
        os.rename(new, target)
    except BaseException:
        try:
            os.unlink(new)
        except FileNotFoundError:
            pass
        raise
    sync_directory(directory)


def _copy_attributes(source: str, fd: int) -> None:
    """Security label and access list, as far as the file system has them and we may set them."""
    try:
        names = os.listxattr(source)
    except OSError:
        return
    for name in names:
        try:
            os.setxattr(fd, name, os.getxattr(source, name))
        except OSError:
            pass


def make_directory(directory: str) -> None:
    """A directory (a real path, not below the root again) with its parents, durably.  Raises OSError."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    for one in reversed(missing):
        os.mkdir(one, 0o755)
        sync_directory(os.path.dirname(one))


def sync_directory(directory: str) -> None:
    """Make the names in a directory (a real path) durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
