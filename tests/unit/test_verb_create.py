"""``drbdocfs create`` on two hosts that are played: their files are real ones below two roots, their kernel is the
class below, and ssh runs the command's other side with the other root.  What real DRBD does is the lab's to show."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drbdocfs_boot import creating, exits
from drbdocfs_boot.checks import facts
from drbdocfs_boot.cli import main
from drbdocfs_boot.helpers import address
from drbdocfs_boot.tools import ask, day_one, drbd, files, losetup, signatures, ssh
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Result
from drbdocfs_boot.verbs import create
from drbdocfs_boot.verdict import SPLIT_BRAIN, STAND_ALONE, Verdict

FILE = "/drbd-loop.img"
OPTIONS = [
    "--peer", "server2=10.0.0.2", "--address", "10.0.0.1", "--mountpoint", "/mnt/storage", "--first", "server1",
    "--size", "1M", "--backing-file", FILE, "--resource", "r0",
]  # fmt: skip
COMMAND = ["create", "web", *OPTIONS, "--yes"]
DRBD_CONF = 'include "drbd.d/global_common.conf";\ninclude "drbd.d/*.res";\n'
UUID = "00000000000000{}:0000000000000000:0000000000000000:0000000000000000:0:0:0:0:0:0:0"


class Killed(BaseException):
    """SIGKILL, or a power cut: nothing of the command runs after it."""


class Kernel:
    """One host's kernel and disk.  ``generation``: "" no metadata, "4" just made, else data."""

    def __init__(self) -> None:
        self.generation = ""
        self.fs = ""
        self.power_on()

    def power_on(self) -> None:
        self.loop = ""
        self.up = False
        self.role = "Secondary"
        self.mounted = False


class World:
    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        self.monkeypatch = monkeypatch
        self.kernels = {"server1": Kernel(), "server2": Kernel()}
        self.calls: list[str] = []
        self.reachable = True
        self.files: dict[str, str] = {}  # what other tools find on a disk or file: name -> kind
        self.synced = False
        # Of what changes something, the number at which the power goes: before it is done, or after.
        self.count = 0
        self.fatal: tuple[int, str] = (0, "")
        for host in self.kernels:
            self.write(host, "/sys/module/drbd/version", "8.4.11\n")
            self.write(host, "/sys/module/ocfs2/version", "")
            self.write(host, "/sys/module/ocfs2_stack_o2cb/version", "")
            self.write(host, "/proc/crypto", "name         : sha256\n")
            self.write(host, "/proc/self/mountinfo", "")
            self.write(host, "/etc/drbd.conf", DRBD_CONF)
            self.write(host, "/etc/drbd.d/global_common.conf", "global { usage-count yes; }\n")
            self.write(host, "/sys/module/loop/x", "")
        self.go_to("server1")

    def write(self, host: str, name: str, text: str) -> None:
        path = self.place / host / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self, host: str, name: str) -> str:
        return (self.place / host / name.lstrip("/")).read_text()

    def exists(self, host: str, name: str) -> bool:
        return (self.place / host / name.lstrip("/")).exists()

    def go_to(self, host: str) -> None:
        self.monkeypatch.setenv("DRBDOCFS_ROOT", str(self.place / host))
        self.monkeypatch.setenv("__DRBD_NODE__", host)

    @property
    def host(self) -> str:
        return os.environ["__DRBD_NODE__"]

    def change(self, what: str, effect: Callable[[], None]) -> None:
        """Something that lasts: the power may go before or after it."""
        self.count += 1
        if self.fatal == (self.count, "before"):
            raise Killed(what)
        effect()
        if self.fatal == (self.count, "after"):
            raise Killed(what)

    def power_cut(self) -> None:
        """Off and on again: what is configured comes up by the units, anything else does not."""
        for host, kernel in self.kernels.items():
            kernel.power_on()
            if self.exists(host, "/etc/drbdocfs/conf.d/web.conf"):
                kernel.loop, kernel.up = str(self.place / host / FILE[1:]), True
                kernel.role, kernel.mounted = "Primary", True

    # What the tools do.

    def run(self, argv: list[str], limit: float = 0) -> Result:
        line = " ".join(argv).replace(str(self.place / self.host), "")
        here = self.kernels[self.host]
        there = next(kernel for name, kernel in self.kernels.items() if name != self.host)
        result = self._look(argv, line, here, there)
        if result is not None:
            return result
        self.calls.append(f"{self.host}: {line}")
        answer = Result(0, "", "")

        def effect() -> None:
            nonlocal answer
            answer = self._do(argv, line, here)

        self.change(line, effect)
        return answer

    def _look(self, argv: list[str], line: str, here: Kernel, there: Kernel) -> Result | None:
        if argv[0] in ("wipefs", "blkid"):
            name = argv[-1][len(str(self.place / self.host)) :]
            kind = self.files.get(f"{self.host}:{name}", "")
            extra = ""
            if name == "/dev/drbd0":
                assert here.role == "Primary", "a Secondary cannot be read"
                kind, extra = ("ocfs2", here.fs) if here.fs else ("", "")
            elif name in ("/dev/loop7", FILE) and here.generation:
                kind = "drbd"
            if argv[0] == "blkid":
                return Result(0, f"TYPE={kind}\nUUID={extra}\n", "") if kind else Result(2, "", "")
            found = [{"type": kind, "uuid": extra, "label": None}] if kind else []
            return Result(0, json.dumps({"signatures": found}), "")
        if argv[0] == "debugfs.ocfs2":
            assert here.role == "Primary", "a Secondary cannot be read"
            return Result(0, "\t9 16 1 2 .\n\t9 16 2 2 lost+found\n" if here.fs else "", "")
        if argv[:2] == ["losetup", "--list"]:
            if not here.loop:
                return Result(0, "", "")
            about = os.stat(here.loop)
            place = f"{os.major(about.st_dev)}:{os.minor(about.st_dev)}"
            return Result(0, f"/dev/loop7 0 0 {about.st_ino} {place} {here.loop}\n", "")
        if argv[:2] == ["modprobe", "--dry-run"]:
            return Result(0, "", "")
        if line == "drbdadm get-gi r0":
            return Result(0, UUID.format(here.generation.zfill(2)), "") if here.generation else Result(20, "", "none")
        if line == "drbdadm dump r0":
            text = self.read(self.host, "/etc/drbd.d/r0.res")
            return Result(0, text.replace(" minor 0", ""), "")
        if argv[:2] == ["drbdsetup", "events2"]:
            return Result(0, self._events(here, there), "")
        return None

    def _events(self, here: Kernel, there: Kernel) -> str:
        if not here.up:
            return "exists -\n"
        disk = {"4": "Inconsistent", "": "Diskless"}.get(here.generation, "UpToDate")
        peer = {"4": "Inconsistent"}.get(there.generation, "UpToDate") if there.up else "DUnknown"
        replication, connection = ("Established", "Connected") if there.up else ("Off", "Connecting")
        if there.up and {disk, peer} == {"UpToDate", "Inconsistent"}:
            if self.synced:
                # The sync has ended meanwhile.
                (here if disk == "Inconsistent" else there).generation = "81"
                return self._events(here, there)
            self.synced = True
            replication = "SyncSource" if disk == "UpToDate" else "SyncTarget"
        return (
            f"exists resource name:r0 role:{here.role}\n"
            f"exists connection name:r0 peer-node-id:0 conn-name:peer connection:{connection}"
            f" role:{there.role if there.up else 'Unknown'}\n"
            f"exists device name:r0 volume:0 minor:0 disk:{disk}\n"
            f"exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:{replication}"
            f" peer-disk:{peer} out-of-sync:512\nexists -\n"
        )

    def _do(self, argv: list[str], line: str, here: Kernel) -> Result:
        file = self.place / self.host / FILE[1:]
        if argv[0] == "fallocate":
            with open(argv[-1], "r+b") as opened:
                os.posix_fallocate(opened.fileno(), 0, int(argv[2]))
        elif argv[0] == "losetup":
            assert not here.loop
            here.loop = str(file)
        elif "create-md" in argv:
            assert here.loop
            assert file.stat().st_size == 1 << 20
            wrapper = Path(argv[2]).read_text()
            assert "usage-count no" in wrapper
            assert stat.S_IMODE(Path(argv[2]).stat().st_mode) == 0o600
            if here.generation:
                return Result(1, "", "Operation cancelled.")  # it asks, and nobody is there
            here.generation = "4"
        elif line == "drbdadm adjust r0":
            if not here.generation:
                return Result(119, "", "No valid meta-data signature found.")
            assert here.loop
            here.up = True
        elif line == "drbdadm primary --force r0":
            assert all(kernel.up and kernel.generation == "4" for kernel in self.kernels.values()), "data was there"
            here.generation, here.role = "81", "Primary"
        elif line == "drbdadm primary r0":
            assert here.generation == "81"
            here.role = "Primary"
        elif line == "drbdadm secondary r0":
            here.role = "Secondary"
        elif argv[0] == "mkfs.ocfs2":
            assert here.role == "Primary"
            assert not here.mounted
            assert not here.fs or here.fs == argv[argv.index("-U") + 1], "somebody else's file system"
            here.fs = argv[argv.index("-U") + 1]
        elif argv[:2] == ["systemctl", "start"] and argv[2] == "drbdocfs@web.target":
            assert self.exists(self.host, "/etc/drbdocfs/conf.d/web.conf")
            other = next(kernel for name, kernel in self.kernels.items() if name != self.host)
            assert here.fs or other.fs, "nothing to mount"
            here.role, here.mounted = "Primary", True
        else:
            assert argv[0] in ("systemctl", "modprobe"), line
        return Result(0, "", "")

    def stream(self, where: str, argv: Any, text: str, line: Callable[[str], None], quiet: float) -> Result:
        """ssh: the other host's command."""
        assert argv[:2] == ["drbdocfs", "create"]
        assert (
            json.loads(text)["description"]["secret"] not in " ".join(argv)
            or not json.loads(text)["description"]["secret"]
        )
        if not self.reachable:
            raise Failure(69, f"{where} is not reachable by ssh: No route to host")
        own = self.host
        self.go_to("server2" if own == "server1" else "server1")
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out), self.monkeypatch.context() as patched:
                patched.setattr("sys.stdin", io.StringIO(text))
                code = main(list(argv[1:]))
        finally:
            self.go_to(own)
        for one in out.getvalue().splitlines():
            line(one)
        return Result(code, "", "")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, monkeypatch)
    for module in (day_one, drbd, losetup, signatures, facts):
        monkeypatch.setattr(module, "run", made.run)
    monkeypatch.setattr(ssh, "stream", made.stream)
    monkeypatch.setattr(day_one, "find", lambda tool: tool)
    monkeypatch.setattr(address, "present", lambda one: True)
    monkeypatch.setattr(day_one, "unreachable", lambda own, peer, port: "")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(creating, "SMALLEST", 1 << 20)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    real = files.write

    def write(name: str, text: str, mode: int | None = None) -> None:
        made.change(f"write {name}", lambda: real(name, text, mode))

    monkeypatch.setattr(files, "write", write)
    return made


def run(world: World, *argv: str) -> int:
    return main([*argv] or COMMAND)


MKFS = "mkfs.ocfs2 -F -x -L web -U {} -N 2 --cluster-stack=o2cb --cluster-name=web --nodiscard /dev/drbd0"
PREPARE = [
    f"fallocate --length 1048576 {FILE}",
    f"losetup /dev/loop7 {FILE}",
    "drbdadm -c /run/drbdocfs/create-web.conf create-md r0",
    "drbdadm adjust r0",
]
FINISH = [
    "systemctl daemon-reload",
    "systemctl start drbdocfs@web.target",
    "systemctl start drbdocfs.target",
]


def test_from_nothing_to_mounted(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world) == 0
    uuid = world.kernels["server1"].fs
    assert world.calls == [
        *(f"{host}: {line}" for host in ("server1", "server2") for line in PREPARE),
        "server1: drbdadm primary --force r0",
        f"server1: {MKFS.format(uuid)}",
        *(f"{host}: {line}" for host in ("server1", "server2") for line in FINISH),
    ]
    for host, kernel in world.kernels.items():
        assert kernel.mounted
        assert (world.place / host / "etc/drbd.d/r0.res").stat().st_mode & 0o777 == 0o600
        assert (world.place / host / "drbd-loop.img").stat().st_mode & 0o777 == 0o600
        assert (world.place / host / "var/lib/drbdocfs/create/web.json").stat().st_mode & 0o777 == 0o600
        assert not world.exists(host, "/run/drbdocfs/create-web.conf")
    for name in ("/etc/drbd.d/r0.res", "/etc/ocfs2/cluster.conf", "/etc/drbdocfs/conf.d/web.conf"):
        assert world.read("server1", name) == world.read("server2", name)
    secret = json.loads(world.read("server1", "/var/lib/drbdocfs/create/web.json"))["description"]["secret"]
    assert f'shared-secret "{secret}";' in world.read("server2", "/etc/drbd.d/r0.res")
    said = capsys.readouterr()
    assert secret not in said.out + said.err + " ".join(world.calls)
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[-1].startswith("web: up on both hosts, /mnt/storage is mounted")
    assert sum(line.startswith("server2: ") for line in lines) == 9


@pytest.mark.parametrize("argv", [COMMAND, ["create", "web"]])
@pytest.mark.parametrize("host", ["server1", "server2"])
def test_again_all_is_there_and_nothing_changes(
    world: World, argv: list[str], host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world) == 0
    before, count = len(world.calls), world.count
    world.go_to(host)
    if host == "server2":
        argv = ["create", "web"]
    assert run(world, *argv) == 0
    assert "web: all is there, created 20" in capsys.readouterr().out
    assert (len(world.calls), world.count) == (before, count)


def test_again_with_another_description_is_refused_and_shows_the_difference(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world) == 0
    count = world.count
    assert run(world, *COMMAND, "--size", "2M", "--device", "/dev/drbd1") == 78
    assert world.count == count
    err = capsys.readouterr().err
    assert "size: 1048576 before, 2097152 now" in err
    assert "device: /dev/drbd0 before, /dev/drbd1 now" in err


def all_changes(place: Path) -> int:
    """How many changes a whole run makes."""
    with pytest.MonkeyPatch.context() as patch:
        made = world.__wrapped__(place, patch)  # type: ignore[attr-defined]
        assert run(made) == 0
        return int(made.count)


@pytest.mark.exhaustive
def test_killed_at_every_step_and_run_again_ends_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of every three runs one loses its power after a change, one is killed after it, and one is killed before it."""
    whole = all_changes(tmp_path / "whole")
    assert whole > 40
    for number in range(1, whole + 1):
        when, power = (("after", True), ("after", False), ("before", False))[number % 3]
        with pytest.MonkeyPatch.context() as patch:
            made = world.__wrapped__(tmp_path / str(number), patch)  # type: ignore[attr-defined]
            made.fatal = (number, when)
            with pytest.raises(Killed) as killed:
                run(made)
            place = f"{when} '{killed.value}' ({number})"
            made.go_to("server1")
            if power:
                made.power_cut()
            capsys.readouterr()
            made.fatal = (0, "")
            assert run(made) == 0, place + capsys.readouterr().err
            assert all(kernel.mounted for kernel in made.kernels.values()), place
            for words in ("create-md", "primary --force", "mkfs.ocfs2"):
                for host in ("server1", "server2"):
                    calls = [call for call in made.calls if call.startswith(host) and words in call]
                    once = 1 if words == "create-md" or host == "server1" else 0
                    # Once more only where the command itself, or the note that it has ended, was cut short.
                    cut = words in str(killed.value) or "create/web.json" in str(killed.value)
                    assert len(calls) == once or (cut and len(calls) == once + 1), (place, calls)
                    if words != "mkfs.ocfs2" and when == "after":
                        assert len(calls) == once, (place, calls)
            made.count = 0
            assert run(made, "create", "web", "--yes") == 0, place
            assert made.count == 0, place


# --- what has happened meanwhile


def cut_at(place: Path, patch: pytest.MonkeyPatch, words: str, when: str = "after") -> World:
    """A run that was killed at the first change that has these words in it."""
    for number in range(1, 100):
        made: World = world.__wrapped__(place / str(number), patch)  # type: ignore[attr-defined]
        made.fatal = (number, when)
        with pytest.raises(Killed) as killed:
            run(made)
        made.fatal = (0, "")
        made.go_to("server1")
        if words in str(killed.value):
            made.calls.clear()
            return made
    raise AssertionError(words)


@pytest.mark.slow
def test_a_file_system_that_was_ended_after_its_run_is_never_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mkfs outlives a run that is killed, and the other side, which has its part without ssh, has mounted it since."""
    made = cut_at(tmp_path, monkeypatch, "mkfs.ocfs2")
    made.kernels["server2"].role = "Primary"
    made.kernels["server2"].mounted = True
    assert run(made) == 0
    assert not [call for call in made.calls if "mkfs.ocfs2" in call]


@pytest.mark.exhaustive
@pytest.mark.parametrize("role", ["Primary", "Unknown"])
def test_no_file_system_is_made_while_the_other_side_may_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    monkeypatch.setattr(day_one, "ROLE_LIMIT", 0.1)
    made = cut_at(tmp_path, monkeypatch, "mkfs.ocfs2", "before")
    real = made._events
    monkeypatch.setattr(made, "_events", lambda here, there: real(here, there).replace(
        " role:Secondary\nexists device", f" role:{role}\nexists device"))  # fmt: skip
    assert run(made) == 65
    assert f"server2 is {role} and not Secondary: it may use /dev/drbd0" in capsys.readouterr().err
    assert not [call for call in made.calls if "mkfs.ocfs2" in call]


@pytest.mark.slow
def test_a_generation_that_cannot_be_read_is_not_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = cut_at(tmp_path, monkeypatch, "primary --force", "before")
    real = made._look

    def look(argv: list[str], line: str, here: Kernel, there: Kernel) -> Result | None:
        return Result(20, "", "no answer") if line == "drbdadm get-gi r0" else real(argv, line, here, there)

    monkeypatch.setattr(made, "_look", look)
    assert run(made) == 65
    assert "the data generation of the disk of server1 cannot be read" in capsys.readouterr().err
    assert not [call for call in made.calls if "--force" in call]


def test_the_inode_of_a_file_that_is_gone_makes_nobody_elses_file_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = cut_at(tmp_path, monkeypatch, "losetup", "before")
    # The same number: written in place, as ext4 gives it away again.
    file = made.place / "server1" / FILE[1:]
    with file.open("r+b") as opened:
        opened.seek(1 << 19)
        opened.write(b"precious")
    before = file.read_bytes()
    assert run(made) == 65
    assert f"{FILE} is there already" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert made.calls == []


def test_a_resource_file_that_drbdadm_refuses_does_not_stay(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would keep drbdadm from every other resource."""

    def describe(resource: str) -> None:
        raise Failure(78, f"DRBD resource {resource} is not configured for this host: parse error")

    monkeypatch.setattr(drbd, "describe", describe)
    assert run(world) == 78
    assert "parse error" in capsys.readouterr().err
    assert not world.exists("server1", "/etc/drbd.d/r0.res")


@pytest.mark.slow
def test_the_other_side_that_goes_in_the_first_sync_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(day_one, "CONNECT_LIMIT", 0.2)
    made = cut_at(tmp_path, monkeypatch, "mkfs.ocfs2", "before")
    real = made._do

    def do(argv: list[str], line: str, here: Kernel) -> Result:
        if argv[0] == "mkfs.ocfs2":
            made.kernels["server2"].up = False
        return real(argv, line, here)

    monkeypatch.setattr(made, "_do", do)
    assert run(made) == 75
    assert "the other side has gone" in capsys.readouterr().err


def test_a_verdict_that_only_the_wait_has_a_status_for_is_a_plain_no() -> None:
    assert day_one._final(Verdict(STAND_ALONE, "r0 is StandAlone")).status == 1
    assert day_one._final(Verdict(SPLIT_BRAIN, "split brain")).status == 65


# --- refusals: nothing was changed


def refused(world: World, capsys: pytest.CaptureFixture[str], status: int, *words: str, argv: Any = None) -> str:
    code = run(world, *(argv or COMMAND))
    err = capsys.readouterr().err
    assert code == status, err
    for word in words:
        assert word in err, err
    assert world.count == 0, "something was changed"
    assert world.calls == []
    return err


def test_a_backing_file_with_data_on_either_host(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.write("server2", FILE, "data")
    world.files[f"server2:{FILE}"] = "ext4"
    refused(world, capsys, 65, f"server2: {FILE} is there already, 4 B, with ext4", "nothing was changed")
    assert world.read("server2", FILE) == "data"


def test_an_empty_file_is_taken(world: World) -> None:
    world.write("server1", FILE, "")
    assert run(world) == 0


def test_the_power_went_after_somebody_elses_file_came(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A record alone does not make a file ours: it is the inode that we made."""
    world.fatal = (4, "before")
    with pytest.raises(Killed):
        run(world)
    world.fatal = (0, "")
    (world.place / "server1/drbd-loop.img").unlink(missing_ok=True)
    world.write("server1", FILE, "data")
    world.count, world.calls = 0, []
    refused(world, capsys, 65, f"{FILE} is there already")


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "LVM2_member", "linux_raid_member", "swap", "crypto_LUKS", "drbd", "dos", "gpt"]
)
def test_a_signature_of_any_kind_on_a_disk(world: World, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    for host in world.kernels:
        world.write(host, "/dev/vdb", "\0" * (1 << 20))
    world.files["server2:/dev/vdb"] = kind
    argv = [*COMMAND[:10], "--disk", "/dev/vdb", "--yes"]
    assert "--first" in argv
    refused(world, capsys, 65, f"server2: on /dev/vdb there is {kind}", "wipefs", argv=argv)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("mkfs.ext4 -q {}", "ext4"),
        ("mkswap -q {} || mkswap {} >/dev/null", "swap"),
        ("mkfs.ocfs2 -F -x -q -N 2 {}", "ocfs2"),
    ],
)
def test_real_tools_on_real_small_files(tmp_path: Path, command: str, kind: str, box: Any) -> None:
    disk = box.write("/dev/vdb", "")
    with disk.open("r+b") as file:
        file.truncate(64 << 20)
    box.monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    assert signatures.findings("/dev/vdb") == []
    tool = command.split()[0]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    made = subprocess.run(
        ["/bin/sh", "-c", command.format(disk, disk)], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert [one.kind for one in signatures.findings("/dev/vdb")] == [kind]


def test_who_has_a_disk(box: Any) -> None:
    box.write("/dev/vdb", "")
    box.write("/proc/self/mountinfo", "30 1 253:16 / /data rw - ext4 /dev/vdb rw\n")
    box.write("/sys/class/block/vdb/vdb1/partition", "1")
    box.write("/sys/block/vdb/holders/dm-0", "")
    box.write("/proc/swaps", "Filename Type Size Used Priority\n/dev/vdb partition 1 0 -2\n")
    assert signatures.users("/dev/vdb") == [
        "is mounted on /data", "is swap space", "is below /dev/dm-0", "has the partitions vdb1",
    ]  # fmt: skip


def test_a_busy_disk(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for host in world.kernels:
        world.write(host, "/dev/vdb", "\0" * (1 << 20))
    world.write("server1", "/proc/self/mountinfo", "30 1 253:16 / /data rw - ext4 /dev/vdb rw\n")
    refused(world, capsys, 65, "/dev/vdb is mounted on /data", argv=[*COMMAND[:10], "--disk", "/dev/vdb", "--yes"])


def test_all_problems_of_both_sides_are_said_at_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.write("server1", "/proc/net/tcp", "  sl\n   0: 00000000:1E6D 00000000:0000 0A 0 0 0\n")
    world.write("server2", "/etc/ocfs2/cluster.conf", "cluster:\n\tname = web\n\tnode_count = 0\n")
    world.write("server2", "/mnt/storage/precious", "")
    world.write("server2", "/etc/drbd.conf", "")
    refused(
        world, capsys, 65, "server1: TCP port 7789 is in use", "server2: /etc/ocfs2/cluster.conf has the cluster 'web'",
        "server2: /mnt/storage is not empty: the mount would hide precious", "server2: /etc/drbd.conf does not include",
    )  # fmt: skip


OTHER = "resource r1 { device /dev/drbd%s minor %s; disk /dev/loop%s; on server1 { address 10.0.0.1:%s; } }\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("/etc/drbd.d/r0.res", "resource r0 { }\n", "/etc/drbd.d/r0.res is there already"),
        ("/etc/drbd.d/x.res", "resource r0 { }\n", "resource r0 is defined already (/etc/drbd.d/x.res:1)"),
        ("/etc/drbd.d/x.res", OTHER % (0, 0, 1, 7000), "/dev/drbd0 belongs to DRBD resource r1"),
        ("/etc/drbd.d/x.res", OTHER % (1, 1, 7, 7000), "/dev/loop7 belongs to DRBD resource r1"),
        ("/etc/drbd.d/x.res", OTHER % (1, 1, 1, 7789), "port 7789 belongs to DRBD resource r1"),
        ("/etc/drbd.d/x.res", "resource r1 { bogus }\n", "/etc/drbd.d/x.res:1: "),
        ("/sys/block/drbd0/size", "0", "/dev/drbd0 is taken by another DRBD resource"),
        ("/etc/fstab", "/dev/sda1 /mnt/storage ext4\n", "/etc/fstab:1 mounts /dev/sda1 on /mnt/storage"),
        ("/sys/kernel/config/cluster/mail/x", "", "the O2CB cluster 'mail' is online"),
        ("/etc/drbdocfs/conf.d/web.conf", "[web]\n", "/etc/drbdocfs/conf.d/web.conf or another file has a stack web"),
        (
            "/etc/drbdocfs/drbdocfs.conf",
            "[mail]\nresource=r0\ndevice=/dev/drbd9\ncluster=web\nmountpoint=/m\n",
            "r0 belongs to the stack mail (/etc/drbdocfs/drbdocfs.conf:1)",
        ),
        (
            "/etc/drbdocfs/drbdocfs.conf",
            "[web]\nresource=r9\ndevice=/dev/drbd9\ncluster=web\nmountpoint=/m\n",
            "the stack web is configured already",
        ),
        (
            "/proc/self/mountinfo",
            "30 1 8:1 / /mnt/storage rw - ext4 /dev/sda1 rw\n",
            "/dev/sda1 (ext4) is mounted on /mnt/storage",
        ),
        ("/proc/self/mountinfo", "30 1 0:1 / / rw - tmpfs tmpfs rw\n", "would lie on tmpfs"),
    ],
)
@pytest.mark.parametrize("host", ["server1", "server2"])
def test_what_is_there_already(
    world: World, capsys: pytest.CaptureFixture[str], host: str, name: str, text: str, words: str
) -> None:
    # The same line of a resource, with the address of the host that has it.
    world.write(host, name, text.replace("server1", host).replace("10.0.0.1", f"10.0.0.{host[-1]}"))
    refused(world, capsys, 78, f"{host}: ", words)


def test_a_loop_device_that_somebody_else_took(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.write("server1", "/snap.img", "")
    world.kernels["server1"].loop = str(world.place / "server1/snap.img")
    refused(world, capsys, 78, "/dev/loop7 is taken by", "snap.img", "--loop")


def test_no_room(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    refused(world, capsys, 69, "free, and 4 TiB and a little are needed", argv=[*COMMAND, "--size", "4T"])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("unreachable", lambda own, peer, port: "no answer", "server2 is not reachable from 10.0.0.1"),
        (
            "find",
            lambda tool: (_ for _ in ()).throw(Failure(69, f"{tool} is not installed")),
            "wipefs is not installed",
        ),
    ],
)
def test_something_is_missing(
    world: World, capsys: pytest.CaptureFixture[str], name: str, value: Any, words: str
) -> None:
    world.monkeypatch.setattr(day_one, name, value)
    refused(world, capsys, 69, words)


def test_an_address_of_somebody_else(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.monkeypatch.setattr(address, "present", lambda one: one == "10.0.0.2")
    refused(world, capsys, 78, "server1: the address 10.0.0.1 is not on this host")


def test_the_other_host_is_not_reached(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.reachable = False
    world.write("server1", "/mnt/storage/precious", "")
    refused(
        world, capsys, 65, "root@server2 is not reachable by ssh", "root@10.0.0.2 is not reachable by ssh",
        "the mount would hide precious",
    )  # fmt: skip


def test_the_other_host_is_not_reached_by_any_way_but_the_address(world: World) -> None:
    real = world.stream

    def stream(where: str, *given: Any) -> Result:
        if where == "root@server2":
            raise Failure(69, "no such name")
        return real(where, *given)

    world.monkeypatch.setattr(ssh, "stream", stream)
    assert run(world) == 0


def test_clocks_apart(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    real = day_one.preflight

    def late(*given: Any) -> dict[str, Any]:
        report = real(*given)
        report["time"] -= 120 if report["host"] == "server2" else 0
        return report

    world.monkeypatch.setattr(day_one, "preflight", late)
    refused(world, capsys, 78, "server2: the clocks are 2 min", "set-ntp")


def test_not_root(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refused(world, capsys, 77, "only root may do this")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            ["create", "web"],
            "missing: --peer NAME=ADDRESS, --address ADDRESS, --mountpoint DIR, --size SIZE or --disk DISK, --first",
        ),
        ([*COMMAND, "--peer", "server2"], "--peer server2 is not NAME=ADDRESS"),
        ([*COMMAND, "--disk", "/dev/vdb"], "one of them"),
        ([*COMMAND, "--size", "much"], "'much' is no size"),
        ([*COMMAND, "--first", "server3"], "--first server3 is neither server1 nor server2"),
        ([*COMMAND, "--peer", "server1=10.0.0.2"], "both hosts are called server1"),
        (COMMAND[:-1], "there is nobody to ask here"),
    ],
)
def test_wrong_usage(world: World, capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    refused(world, capsys, 2, words, argv=argv)


def test_on_a_terminal_it_asks_for_what_is_missing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(["server2=10.0.0.2", "10.0.0.1", "/mnt/storage", "1M", "server1", ""])
    world.monkeypatch.setattr(ask, "possible", lambda: True)
    world.monkeypatch.setattr(ask, "text", lambda question: next(answers))
    world.monkeypatch.setattr(ask, "yes", lambda question: False)
    assert run(world, "create", "web", "--resource", "r0") == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert world.count == 0
    assert next(answers, None) is None


@pytest.mark.parametrize(
    ("answers", "keys"),
    [
        ([""], "survivor      = none\n"),
        (["server2"], "survivor      = server2\n"),
        (["power", "fence_ipmilan"], "survivor      = power\nfence_agent   = fence_ipmilan\n"),
        (["witness", "lock@c"], "survivor      = witness\nwitness       = lock@c\n"),
    ],
)
def test_on_a_terminal_it_asks_who_goes_on_when_the_link_is_lost(
    world: World, capsys: pytest.CaptureFixture[str], answers: list[str], keys: str
) -> None:
    given = iter(answers)
    world.monkeypatch.setattr(ask, "possible", lambda: True)
    world.monkeypatch.setattr(ask, "text", lambda question: next(given))
    assert run(world) == 0
    assert next(given, None) is None
    out = capsys.readouterr().out
    for survivor in ("none", "server1", "server2", "power", "witness"):
        assert f"\n  {survivor:<12} " in out
    for host in world.kernels:
        assert world.read(host, "/etc/drbdocfs/conf.d/web.conf").endswith(keys)
        assert "fencing resource-and-stonith;" in world.read(host, "/etc/drbd.d/r0.res")
    # A later run knows.
    assert run(world, "create", "web") == 0


def test_where_nobody_can_be_asked_both_freeze_and_it_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world) == 0
    assert "  a lost link: both stay frozen until it is back, or are reset; --survivor would" in capsys.readouterr().out
    for host in world.kernels:
        text = world.read(host, "/etc/drbd.d/r0.res")
        assert "\tdisk {\n\t\tfencing resource-and-stonith;\n\t}\n" in text
        assert 'fence-peer "/usr/libexec/drbdocfs-boot/fence-peer";' in text
        assert "survivor      = none\n" in world.read(host, "/etc/drbdocfs/conf.d/web.conf")


def test_another_survivor_later_is_another_description(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world) == 0
    count = world.count
    assert run(world, *COMMAND, "--survivor", "server1") == 78
    assert world.count == count
    assert "survivor: none before, server1 now" in capsys.readouterr().err


def test_a_fence_agent_that_one_host_does_not_have(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def find(tool: str) -> str:
        if tool == "fence_ipmilan" and world.host == "server2":
            raise Failure(69, "fence_ipmilan is not installed", "install the package fence_ipmilan")
        return tool

    world.monkeypatch.setattr(day_one, "find", find)
    argv = [*COMMAND, "--survivor", "power", "--fence-agent", "fence_ipmilan"]
    err = refused(world, capsys, 69, "server2: the fence agent fence_ipmilan is not on this host", argv=argv)
    assert "server1: the fence agent" not in err


def test_the_options_of_the_agent_are_asked_for_and_never_written(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write("server2", "/etc/drbdocfs/fence.conf", "password = x\n")
    (world.place / "server2/etc/drbdocfs/fence.conf").chmod(0o644)
    assert run(world, *COMMAND, "--survivor", "power", "--fence-agent", "fence_ipmilan") == 0
    out = capsys.readouterr().out
    assert "note: server1: /etc/drbdocfs/fence.conf, the options of fence_ipmilan, is not there: write it" in out
    assert "note: server2: /etc/drbdocfs/fence.conf is not root's alone" in out
    assert "before a lost link: /etc/drbdocfs/fence.conf on both hosts, mode 600" in out.splitlines()[-2]
    assert not world.exists("server1", "/etc/drbdocfs/fence.conf")


TIEBREAKER = [*COMMAND, "--tiebreaker", "server3=10.0.0.3"]


def test_a_tiebreaker_needs_drbd_9(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    refused(world, capsys, 69, "server1: --tiebreaker is for DRBD 9", "server2: --tiebreaker is", argv=TIEBREAKER)
    refused(world, capsys, 69, "--tiebreaker is for DRBD 9", argv=[*TIEBREAKER, "--dry-run"])


def test_a_tiebreaker_with_drbd_9(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for host in world.kernels:
        world.write(host, "/sys/module/drbd/version", "9.2.4\n")
    real = world._events

    def events(here: Kernel, there: Kernel) -> str:
        """With a third node that has not come yet."""
        third = "name:r0 peer-node-id:2 conn-name:server3"
        return real(here, there).replace(
            "exists device ", f"exists connection {third} connection:Connecting role:Unknown\nexists device "
        ).replace(
            "exists -\n", f"exists peer-device {third} volume:0 replication:Off peer-disk:DUnknown peer-client:yes\n"
            "exists -\n") if here.up else real(here, there)  # fmt: skip

    world.monkeypatch.setattr(world, "_events", events)
    assert run(world, *TIEBREAKER) == 0
    text = world.read("server2", "/etc/drbd.d/r0.res")
    assert "quorum majority;" in text
    assert "address ipv4 10.0.0.3:7789;" in text
    assert all(kernel.mounted for kernel in world.kernels.values())
    assert "on server3 (10.0.0.3), with DRBD 9: copy /etc/drbd.d/r0.res there" in capsys.readouterr().out


def test_another_version_on_the_other_host(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    real = day_one.preflight

    def old(*given: Any) -> dict[str, Any]:
        report = real(*given)
        if report["host"] == "server2":
            del report["knows"]
        return report

    world.monkeypatch.setattr(day_one, "preflight", old)
    refused(world, capsys, 69, "server2: drbdocfs-boot there is of another version")


def test_what_an_earlier_version_created_is_there(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Its record knows no survivor, and its resource has no fencing."""
    assert run(world) == 0
    for host in world.kernels:
        name = "/var/lib/drbdocfs/create/web.json"
        record = json.loads(world.read(host, name))
        for key in creating.LATER:
            del record["description"][key]
        world.write(host, name, json.dumps(record))
    count = world.count
    assert run(world, "create", "web") == 0
    assert "all is there" in capsys.readouterr().out
    assert world.count == count


def test_the_dry_run_changes_nothing_and_needs_nobody(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.monkeypatch.setattr(os, "geteuid", lambda: 1000)
    world.reachable = False
    assert run(world, "create", "web", *OPTIONS, "--dry-run") == 0
    out = capsys.readouterr().out
    assert world.count == 0
    commands = [line.strip() for line in out.splitlines() if line.startswith("    ") and line[4] not in "|w("]
    prepare = ["modprobe --all drbd ocfs2 ocfs2_stack_o2cb loop", *PREPARE]
    assert commands == [
        *prepare, *prepare,
        "drbdadm primary --force r0",
        MKFS.format("UUID"),
        *["mkdir -p /mnt/storage", *FINISH[:2]] * 2,
    ]  # fmt: skip
    assert out.count("write /etc/drbd.d/r0.res (mode 600):") == 2
    assert not world.exists("server1", "/var/lib/drbdocfs")


# --- data that came in between


def test_a_disk_that_had_data_is_never_made_the_target(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def primary(number: int) -> bool:
        return "primary --force" in world.calls[-1:]

    world.fatal = (0, "")
    real = world._do

    def do(argv: list[str], line: str, here: Kernel) -> Result:
        result = real(argv, line, here)
        if line == "drbdadm adjust r0" and world.host == "server2":
            here.generation = "77"
        return result

    world.monkeypatch.setattr(world, "_do", do)
    assert run(world) == 65
    assert not any("--force" in call for call in world.calls)
    assert "not two new ones" in capsys.readouterr().err


def test_somebody_used_the_file_system_s_device_meanwhile(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.kernels["server1"].fs = "OTHER"
    assert run(world) == 65
    assert not any("mkfs" in call for call in world.calls)
    assert "on /dev/drbd0 there is ocfs2" in capsys.readouterr().err


def test_what_drbdadm_says_of_the_secret_does_not_show(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    real = world._do

    def do(argv: list[str], line: str, here: Kernel) -> Result:
        if line == "drbdadm adjust r0":
            secret = json.loads(world.read("server1", "/var/lib/drbdocfs/create/web.json"))["description"]["secret"]
            return Result(
                10, "", f"Command 'drbdsetup-84 connect --shared-secret={secret}' terminated with exit code 10"
            )
        return real(argv, line, here)

    world.monkeypatch.setattr(world, "_do", do)
    assert run(world) == 69
    assert "--shared-secret=***'" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    real = world._do

    def do(argv: list[str], line: str, here: Kernel) -> Result:
        if argv[0] == "mkfs.ocfs2":
            raise KeyboardInterrupt
        return real(argv, line, here)

    with world.monkeypatch.context() as patched:
        patched.setattr(world, "_do", do)
        assert run(world) == exits.EX_INTERRUPTED
    assert "'drbdocfs create web' goes on from here" in capsys.readouterr().err
    assert run(world, "create", "web", "--yes") == 0


# --- two hosts that cannot reach each other


def test_each_side_by_itself(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """server1 until it waits; server2, which waits for the sync; server1 again, to its end; then server2 to its end."""
    world.reachable = False
    file = tmp_path / "description"
    world.monkeypatch.setattr(day_one, "CONNECT_LIMIT", 0.0)
    waited = iter(range(3))

    def sleep(seconds: float) -> None:
        if next(waited, None) is None:
            raise KeyboardInterrupt

    world.monkeypatch.setattr(time, "sleep", sleep)
    assert run(world, *COMMAND, "--this-side", "--save-description", str(file)) == 130
    out = capsys.readouterr().out
    assert f"now on server2: drbdocfs create web --this-side --description {file}" in out
    assert file.stat().st_mode & 0o777 == 0o600
    world.go_to("server2")
    # The sync has no end before the first host has begun it.
    waited = iter(range(3))
    assert run(world, "create", "web", "--this-side", "--description", str(file), "--yes") == 130
    world.go_to("server1")
    world.monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert run(world, "create", "web", "--this-side", "--yes") == 0
    assert world.kernels["server1"].mounted
    world.go_to("server2")
    world.kernels["server2"].fs = world.kernels["server1"].fs
    assert run(world, "create", "web", "--this-side", "--yes") == 0
    assert world.kernels["server2"].mounted
    assert world.calls.count("server1: drbdadm primary --force r0") == 1


def test_a_description_is_not_overwritten(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "description"
    file.write_text("something")
    assert run(world, *COMMAND, "--save-description", str(file)) == 1
    assert file.read_text() == "something"


def test_one_run_at_a_time(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.monkeypatch.setattr(create, "LOCK_LIMIT", 0.0)
    with create._only_one("web"):
        refused(world, capsys, 75, "another 'drbdocfs create web' runs on this host")


# --- the backing file


def test_a_file_system_that_cannot_allocate_gets_zeroes(world: World) -> None:
    real = world._do

    def do(argv: list[str], line: str, here: Kernel) -> Result:
        if argv[0] == "fallocate":
            return Result(1, "", "fallocate: fallocate failed: Operation not supported")
        return real(argv, line, here)

    world.monkeypatch.setattr(world, "_do", do)
    assert run(world) == 0
    assert (world.place / "server2/drbd-loop.img").read_bytes() == bytes(1 << 20)


def test_a_full_disk_is_said_and_goes_on_later(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    real = world._do

    def do(argv: list[str], line: str, here: Kernel) -> Result:
        if argv[0] == "fallocate" and world.host == "server2":
            return Result(1, "", "fallocate: fallocate failed: No space left on device")
        return real(argv, line, here)

    with world.monkeypatch.context() as patched:
        patched.setattr(world, "_do", do)
        assert run(world) == 69
    assert f"server2: fallocate of {FILE} failed: fallocate: fallocate failed: No space" in capsys.readouterr().err
    assert run(world) == 0
    assert world.calls.count(f"server1: {PREPARE[2]}") == 1


def test_a_file_whose_file_system_is_not_mounted_is_not_made_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty one would take the place of the replica in the record, and that one would be called somebody else's."""
    with world.monkeypatch.context() as patched:
        patched.setattr(day_one.Worker, "first", lambda worker, peer: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(world) == 130
    place = world.place / "server1/drbd-loop.img"
    place.rename(world.place / "elsewhere")
    capsys.readouterr()
    assert run(world) == 65
    assert f"{FILE}, which an earlier run made, is not there" in capsys.readouterr().err
    assert not place.exists()
    (world.place / "elsewhere").rename(place)
    assert run(world) == 0


def test_after_a_power_cut_in_the_first_sync_all_of_it_is_resynchronized(world: World) -> None:
    """What had arrived was in the page cache of the loop device only, and DRBD takes it for done."""
    with world.monkeypatch.context() as patched:
        patched.setattr(day_one.Worker, "first", lambda worker, peer: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(world) == 130
    world.power_cut()
    asked: list[str] = []
    world.monkeypatch.setattr(drbd, "on_disk", lambda disk: SimpleNamespace(cut_short=True))

    def invalidate(which: str) -> Result:
        asked.append(which)
        return Result(0, "", "")

    world.monkeypatch.setattr(drbd, "invalidate", invalidate)
    assert run(world) == 0
    assert asked == ["r0/0"], "the target, and not the source"


def test_a_file_that_became_shorter_is_not_made_longer_again(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with world.monkeypatch.context() as patched:
        patched.setattr(day_one.Worker, "first", lambda worker, peer: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(world) == 130
    os.truncate(world.place / "server1/drbd-loop.img", 4096)
    capsys.readouterr()
    before = list(world.calls)
    assert run(world) == 65
    assert f"{FILE} has become shorter: 4 KiB" in capsys.readouterr().err
    assert world.calls == before


def test_reachability_is_any_answer_of_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        # Nobody listens yet: a refusal is an answer.
        assert day_one.unreachable("127.0.0.1", "127.0.0.1", port) == ""
        listener.listen()
        assert day_one.unreachable("127.0.0.1", "127.0.0.1", port) == ""
    assert day_one.unreachable("127.0.0.1", "192.0.2.1", port) != ""
