"""Links, pipes and hard links in the places of files that we write, and an end between writing and naming."""

from __future__ import annotations

import os
import posix
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drbdocfs_boot import escape, generator, units
from drbdocfs_boot.helpers import follow
from drbdocfs_boot.stack import Problem
from drbdocfs_boot.tools import files, records
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.verbs import create

from .conftest import Box

TOP = Path(__file__).parents[2]
DATA_CHECK = TOP / "libexec/data-check"
ONE = "[web]\nresource = r0\ndevice = /dev/drbd0\ncluster = web\nmountpoint = /mnt/storage\n"
OTHER = 65534  # another user

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another user owns")


def read(path: Path) -> str:
    assert stat.S_ISREG(path.lstat().st_mode)
    return path.read_text()


# --- the command's files ------------------------------------------------------------------------------------------


@as_root
def test_a_link_of_another_user_s_is_not_followed(box: Box) -> None:
    victim = box.write("/etc/victim", "precious")
    planted = box.root / "etc/file"
    planted.symlink_to(victim)
    os.lchown(planted, OTHER, OTHER)
    with pytest.raises(OSError, match="link of another user"):
        files.write("/etc/file", "new")
    assert victim.read_text() == "precious"


def test_a_file_that_somebody_names_in_a_directory_of_all_is_put_in_a_links_place(box: Box) -> None:
    """timeline --svg /tmp/boot.svg, run by root: whose link it is, and where it leads, is not known."""
    victim = box.write("/etc/victim", "precious")
    victim.chmod(0o600)
    path = box.root / "etc/boot.svg"
    path.symlink_to(victim)
    files.write("/etc/boot.svg", "new", follow=False)
    assert (read(path), read(victim)) == ("new", "precious")
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_hard_link_is_parted_from_the_other_name(box: Box) -> None:
    victim = box.write("/etc/victim", "precious")
    os.link(victim, box.root / "etc/file")
    files.write("/etc/file", "new")
    assert (read(box.root / "etc/file"), read(victim)) == ("new", "precious")


@pytest.mark.parametrize("follow", [True, False])
def test_what_is_no_file_is_neither_replaced_nor_waited_for(box: Box, follow: bool) -> None:
    """timeline --svg /dev/null, run by root."""
    path = box.root / "null"
    os.mkfifo(path)
    with pytest.raises(OSError, match="no regular file"):
        files.write("/null", "new", follow=follow)
    assert stat.S_ISFIFO(path.lstat().st_mode)
    assert sorted(os.listdir(box.root)) == ["null", "proc"]


def test_the_lock_of_create_follows_no_link(box: Box) -> None:
    (box.root / "run").mkdir()
    (box.root / "run/drbdocfs-create-web.lock").symlink_to(box.root / "victim")
    with pytest.raises((OSError, Failure)), create._only_one("web"):
        pass
    assert not (box.root / "victim").exists()


# --- records and notes ---------------------------------------------------------------------------------------------

WRITERS: dict[str, tuple[str, Callable[[], None]]] = {
    "record": ("run/drbdocfs/web.waiting", lambda: records.write("web", "waiting", A="1")),
    "split brain": ("var/lib/drbdocfs/web.split-brain", lambda: records.mark_split_brain("web")),
    "witness": ("var/lib/drbdocfs/web.witness", lambda: records.mark_witness("web", "host", "0" * 16, "a1")),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("plant", ["symlink", "hard link", "fifo"])
def test_a_record_is_not_written_through_what_stands_in_its_place(box: Box, kind: str, plant: str) -> None:
    name, write = WRITERS[kind]
    path = box.root / name
    victim = box.write("/victim", "precious")
    path.parent.mkdir(parents=True)
    for place in (path, Path(f"{path}.new"), Path(f"{path}.{os.getpid()}.new")):
        if place == path and kind == "split brain":
            continue  # what is there is a finding already, and stays
        if plant == "symlink":
            place.symlink_to(victim)
        elif plant == "hard link":
            os.link(victim, place)
        elif place != path:
            os.mkfifo(place)  # (in the record's own place it would be read first, by all of its readers)
    write()
    assert read(victim) == "precious"
    assert read(path) not in ("", "precious")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("mask", [0, 0o077])
def test_a_record_is_read_by_all_and_written_by_root_whatever_the_umask(box: Box, kind: str, mask: int) -> None:
    """'drbdocfs proceed' has the umask of whoever runs it, and 'drbdocfs status' needs no root."""
    name, write = WRITERS[kind]
    before = os.umask(mask)
    try:
        write()
    finally:
        os.umask(before)
    assert (box.root / name).stat().st_mode & 0o7777 == 0o644
    assert (box.root / name).parent.stat().st_mode & 0o7777 == 0o755


class Killed(BaseException):
    """As SIGKILL: nothing of ours runs afterwards but what catches everything."""


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("old", [False, True])
def test_an_end_between_writing_and_naming_leaves_the_old_record_whole(
    box: Box, monkeypatch: pytest.MonkeyPatch, kind: str, old: bool
) -> None:
    name, write = WRITERS[kind]
    if old and kind != "split brain":  # which is written once only
        box.write("/" + name, "OLD=1\n")

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(posix, "rename", killed)
        with pytest.raises(Killed):
            write()
    path = box.root / name
    assert path.read_text() == "OLD=1\n" if old and kind != "split brain" else not path.exists()
    write()  # what the killed one has left is in nobody's way
    assert path.exists()


@pytest.mark.parametrize("kind", ["split brain", "witness"])
def test_a_note_that_outlives_a_reset_is_on_disk_with_its_name(
    box: Box, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(fd: int) -> None:
        order.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    def renamed(one: str, other: str) -> None:
        order.append("rename")
        rename(one, other)

    monkeypatch.setattr(posix, "fsync", synced)
    monkeypatch.setattr(posix, "rename", renamed)
    WRITERS[kind][1]()
    assert order == ["file", "rename", "directory"]


def test_a_killed_process_leaves_no_half_of_a_file_under_its_name(box: Box) -> None:
    """A real SIGKILL, just before the rename, of the command's writer, the records' and the metrics'."""
    script = (
        "import os, posix, signal, sys\n"
        f"sys.path.insert(0, {str(TOP)!r})\n"
        "from drbdocfs_boot.helpers import follow\n"
        "from drbdocfs_boot.tools import files, records\n"
        "os.rename = posix.rename = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "for write in (lambda: files.write('/etc/f', 'x' * 99999), lambda: records.write('web', 'waiting', A='1'),\n"
        "              lambda: follow._write(os.environ['DRBDOCFS_ROOT'] + '/run/m.prom', 'x')):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        write()\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == signal.SIGKILL\n"
    )
    (box.root / "run").mkdir()
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", script], env=dict(os.environ),
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    left = {path.name for path in box.root.rglob("*") if path.is_file()}
    assert left & {"f", "web.waiting", "m.prom"} == set()
    assert len(left) == 4  # the three new ones, and /proc/self/mountinfo


# --- metrics: a directory of another user -------------------------------------------------------------------------


@as_root
def test_the_collectors_directory_may_not_be_a_link_of_its_users(tmp_path: Path) -> None:
    """He may rename it and put a link to /etc/cron.d in its place, as its parent is his, too."""
    place = tmp_path / "node-exporter"
    (tmp_path / "cron.d").mkdir()
    place.symlink_to(tmp_path / "cron.d")
    os.lchown(place, OTHER, OTHER)
    follow._write(f"{place}/drbdocfs.prom", "metrics")
    assert os.listdir(tmp_path / "cron.d") == []
    # One of root's is meant.
    os.lchown(place, 0, 0)
    follow._write(f"{place}/drbdocfs.prom", "metrics")
    assert read(tmp_path / "cron.d/drbdocfs.prom") == "metrics"


# --- the data check's directory -----------------------------------------------------------------------------------


def data_check(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-IS", str(DATA_CHECK), *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("what", ["mode", pytest.param("owner", marks=as_root)])
def test_the_data_check_takes_no_directory_in_which_others_may_plant_something(tmp_path: Path, what: str) -> None:
    place = tmp_path / "check"
    place.mkdir()
    if what == "mode":
        place.chmod(0o777)
    else:
        os.chown(place, OTHER, OTHER)
    done = data_check("write", str(place), "n1", "s", "1", "--input")
    assert done.returncode == 65
    assert "others may write" in done.stderr
    assert os.listdir(place) == []


# --- the generator ------------------------------------------------------------------------------------------------


def tree_with(tmp_path: Path) -> tuple[Path, Path]:
    root, out = tmp_path / "root", tmp_path / "out"
    (root / "etc/drbdocfs").mkdir(parents=True)
    (root / "etc/drbdocfs/drbdocfs.conf").write_text(ONE)
    out.mkdir()
    return root, out


@pytest.mark.parametrize(
    ("kind", "words"), [("fifo", "is no regular file"), ("large", "is larger than 8 MiB"), ("directory", "a directory")]
)
def test_an_fstab_that_cannot_be_read_holds_no_boot_and_is_told(tmp_path: Path, kind: str, words: str) -> None:
    root, out = tree_with(tmp_path)
    table = root / "etc/fstab"
    if kind == "fifo":
        os.mkfifo(table)
    elif kind == "directory":
        table.mkdir()
    else:
        with table.open("wb") as file:
            file.truncate((8 << 20) + 1)
    problems, failed = generator.generate(str(root), str(out))
    assert failed == []
    assert [(one.file, one.stack) for one in problems] == [("/etc/fstab", "")]
    assert words in problems[0].message
    # The stack comes up all the same, and a unit says what is wrong.
    assert (out / "mnt-storage.mount").exists()
    assert (out / "drbdocfs-broken@\\x2fetc\\x2ffstab.service.d/50-drbdocfs.conf").exists()


def test_a_kernel_command_line_that_is_no_file_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = tree_with(tmp_path)
    (root / "proc").mkdir()
    os.mkfifo(root / "proc/cmdline")
    monkeypatch.setitem(posix.environ, b"DRBDOCFS_ROOT", os.fsencode(root))
    assert generator.main(["drbdocfs-generator", str(out)]) == 0
    assert (out / "mnt-storage.mount").exists()


def test_a_unit_that_could_not_be_written_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a mount unit would be worse than none: What= may be another device."""
    really = posix.write

    def full(fd: int, data: bytes) -> int:
        if data.startswith(b"good"):
            return really(fd, data)
        if data.startswith(b"half"):
            return really(fd, data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(posix, "write", full)
    assert generator.write({"a.mount": "half", "b.mount": "good"}, str(tmp_path)) == [
        f"{tmp_path}/a.mount: No space left on device"
    ]
    assert os.listdir(tmp_path) == ["b.mount"]


def test_broken_stacks_with_names_that_are_long_and_alike_have_a_unit_each() -> None:
    names = ["a" * 160, "a" * 161, "b" * 160, "\x01" * 60, "\x01" * 61, "c"]
    found = units.broken([Problem("/f", 1, name, f"message {number}") for number, name in enumerate(names)])
    messages = [text for name, text in found.items() if "drbdocfs-broken@" in name and not name.startswith("drbdocfs.")]
    assert len(messages) == len(names)
    assert all(f"message {number}" in "".join(messages) for number in range(len(names)))
    wanted = [name for name in found if name.startswith("drbdocfs.target.wants/")]
    assert len(wanted) == len(names)
    assert all(len(name.rpartition("/")[2]) <= escape.UNIT_NAME_MAX for name in wanted)
    targets = [name for name in found if name.startswith("drbdocfs@")]
    assert len(targets) == len(names)


@pytest.mark.parametrize("length", [150, 151, 152, 400])
def test_a_long_name_keeps_its_beginning(length: int) -> None:
    assert escape.instance("a" * length).startswith("a" * 150)
    cut = escape.instance("a" * (length - 100) + "\x01" * 100)
    assert cut.startswith("a" * 50)
    escape_of_it = cut.encode("latin-1").decode("unicode_escape")  # no escape is cut in two
    assert escape_of_it.startswith("a" * 50)
