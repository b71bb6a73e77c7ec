"""The generator's edge: reads the configuration and fstab, writes the tree, reports in the kernel log.

It runs before anything else at every boot and at every daemon-reload (systemd.generator(7)): no subprocess, no
IPC, no network, no writing outside the directory it was given, and no import but ``posix`` and our own lean modules;
of these none before it has seen that there is a configuration, for where there is none they would be half of its time.
"""

import posix

from drbdocfs_boot import MAIN_FILE, MORE_FILES

TYPE_CHECKING = False  # as typing has it, which must not be imported here
if TYPE_CHECKING:
    from drbdocfs_boot.stack import Problem

NAME = "drbdocfs-generator"
FSTAB = "/etc/fstab"


def main(argv: "list[str]") -> int:
    """``drbdocfs-generator NORMAL EARLY LATE``; the last one is not used.  0, or 1 when it could not write."""
    if len(argv) not in (2, 4):
        _tell(f"{NAME}: usage: {NAME} NORMAL EARLY LATE")
        return 1
    if posix.environ.get(b"SYSTEMD_IN_INITRD") == b"1":
        return 0  # the configuration is on the real root
    root = _root()
    if not _configured(root):
        return 0
    command_line = _read(root + "/proc/cmdline").split()
    if "drbdocfs=off" in command_line:
        return 0
    try:
        problems, failed = generate(root, argv[1], *argv[2:3])
    except Exception as error:
        from drbdocfs_boot import mistake, units
        from drbdocfs_boot.stack import Problem

        # A silent absence would be worse: a unit that fails tells it to those who never see the kernel log.
        problems, failed = (Problem(NAME, 0, "", mistake.words(error)),), []
        write(units.broken(problems), argv[1])
    for problem in problems:
        _log(f"{NAME}: {problem}")
    for text in failed:
        _log(f"{NAME}: {text}")
    if "debug" in command_line:
        times = posix.times()
        _log(f"{NAME}: took {times[0] + times[1]:.3f} s of processor time")
    return 1 if failed else 0


def _configured(root: str) -> bool:
    """False where there is no file of ours, so that nothing can be said of it either."""
    try:
        posix.lstat(root + MAIN_FILE)
    except FileNotFoundError:
        pass
    except OSError:
        return True
    else:
        return True
    try:
        return bool(posix.listdir(root + MORE_FILES))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def generate(root: str, directory: str, early: str = "") -> "tuple[tuple[Problem, ...], list[str]]":
    """Write the units for the configuration below ``root`` into ``directory`` and ``early``.

    Returns the problems of the configuration, and what could not be written.
    """
    files, problems = plan(root)
    return problems, write(files, directory, early)


def plan(root: str) -> "tuple[dict[str, str], tuple[Problem, ...]]":
    """The tree for the configuration below ``root``, and the problems of the configuration."""
    from drbdocfs_boot import fstab, lean, units
    from drbdocfs_boot.stack import Problem, Reading

    reading = lean.read(root)
    if not reading.stacks and not reading.problems:
        return {}, ()
    try:
        table = lean.raw(root + FSTAB).decode("utf-8", "surrogateescape")
    except lean.Unreadable as why:
        # The stacks come up all the same, and a unit that fails tells of it.
        table = ""
        reading = Reading(reading.stacks, (*reading.problems, Problem(FSTAB, 0, "", str(why))), reading.broken)
    return units.tree(reading, fstab.parse(table))


def write(files: "dict[str, str]", directory: str, early: str = "") -> "list[str]":
    """Write a tree, without ``early`` all of it below ``directory``; returns a message for each file that could not be
    written, and goes on with the others."""
    from drbdocfs_boot.units import EARLY, LINK

    failed = []
    made: "set[str]" = set()
    for name, text in files.items():
        full = early + name[len(EARLY) - 1 :] if early and name.startswith(EARLY) else directory + "/" + name
        place = full.rpartition("/")[0]
        try:
            if place not in made:
                _make_directory(place)
                made.add(place)
            if text.startswith(LINK):
                posix.symlink(text[len(LINK) :], full)
            else:
                # O_EXCL: whatever is there was written by another generator, and is not ours to replace.
                fd = posix.open(full, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o644)
                try:
                    data = text.encode("utf-8")
                    while data:
                        data = data[posix.write(fd, data) :]
                except OSError:
                    posix.unlink(full)  # half a unit may mean something else than none
                    raise
                finally:
                    posix.close(fd)
        except OSError as error:
            failed.append(f"{full}: {error.strerror}")
    return failed


def _make_directory(name: str) -> None:
    try:
        posix.mkdir(name, 0o755)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make_directory(name.rpartition("/")[0])
        posix.mkdir(name, 0o755)


def _root() -> str:
    return posix.environ.get(b"DRBDOCFS_ROOT", b"").decode("utf-8", "surrogateescape").rstrip("/")


def _read(name: str) -> str:
    """A file of the system's, as far as it can be read."""
    from drbdocfs_boot import lean

    try:
        return lean.raw(name).decode("utf-8", "surrogateescape")
    except lean.Unreadable:
        return ""


def _tell(text: str) -> None:
    try:
        posix.write(2, (text + "\n").encode("utf-8", "replace"))
    except OSError:
        pass


def _log(text: str) -> None:
    """To standard error, and to the kernel log: nothing else is there that early."""
    _tell(text)
    if _root():
        return  # another root is a test or offline work: not this machine's log
    try:
        fd = posix.open("/dev/kmsg", posix.O_WRONLY | posix.O_CLOEXEC)
    except OSError:
        return
    try:
        posix.write(fd, ("<4>" + text).encode("utf-8", "replace")[:900])
    except OSError:
        pass
    finally:
        posix.close(fd)
