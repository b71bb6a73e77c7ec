"""``drbdocfs import``: what it shows, writes and takes back, and that no interruption leaves neither old nor new."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from drbdocfs_boot import lean
from drbdocfs_boot.checks import facts
from drbdocfs_boot.cli import main
from drbdocfs_boot.tools import ask, changes
from drbdocfs_boot.tools.run import Result

from .oldsetup import CLUSTER, FSTAB, LOOP_SCRIPT, NEW, RC_LOCAL, Host, guide

verb = import_module("drbdocfs_boot.verbs.import")
CONFIGURATION = "/etc/drbdocfs/drbdocfs.conf"
# The calls that change something, or make it durable.
MUTATING = ("rename", "unlink", "symlink", "mkdir", "rmdir", "fsync", "fchmod", "chown", "fchown")


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which calls come in which order is what counts here; thousands of real ones would take the time of the rest."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("DRBDOCFS_ROOT", str(tmp_path))
    monkeypatch.delenv("__DRBD_NODE__", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return guide(tmp_path)


def today() -> str:
    return str(verb.time.strftime("%Y-%m-%d"))


def sets(host: Host) -> list[str]:
    place = host.root / "var/lib/drbdocfs/import"
    return sorted(name for name in os.listdir(place)) if place.exists() else []


def test_showing_changes_nothing(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    before = host.tree(without="")
    assert main(["import"]) == 0
    assert host.tree(without="") == before
    out = capsys.readouterr().out
    for line in NEW.replace("DATE", today()).splitlines():
        assert f"  + {line}\n" in out or (not line and "  +\n" in out)
    assert f"    - /etc/rc.local:4: mount /dev/drbd0\n    + /etc/rc.local:4: # drbdocfs-import {today()}: mount" in out
    links = "    - /etc/rc[2345].d/S02drbd -> ../init.d/drbd\n    + /etc/rc[2345].d/K01drbd -> ../init.d/drbd\n"
    assert out.count("S02drbd") == 1
    assert links in out
    assert "Left alone:\n  /etc/init.d/o2cb: stays: drbdocfs-o2cb@web.service starts after it" in out
    assert "  /etc/init.d/ocfs2: stays: it does not mount ours, which has noauto in fstab\n" in out
    assert "/etc/drbd.d/r0.res:6: DRBD 9 refuses 'syncer" in out
    assert out.endswith(
        "\nNothing was changed.  This does it, with backups below /var/lib/drbdocfs/import:\n"
        "  drbdocfs import --write\n"
    )
    assert "\x1b" not in out


def test_the_command_that_does_what_was_shown_has_what_was_given(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.put("/sys/module/drbd/version", "8.4.11")
    given = ["--resource", "r0", "--name", "shop", "--survivor", "witness", "--witness", "/mnt/the nas"]
    assert main(["import", *given]) == 0
    shown = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(shown)[:3] == ["drbdocfs", "import", "--write"]
    assert main(shlex.split(shown)[1:]) == 0
    (stack,) = lean.read(str(host.root)).stacks
    assert (stack.name, stack.survivor, stack.witness) == ("shop", "witness", "/mnt/the nas")


def test_the_command_that_does_what_was_shown_is_for_the_same_root(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.put("/sys/module/drbd/version", "8.4.11")
    assert main(["--root", str(host.root), "import", "--survivor", "none"]) == 0
    shown = capsys.readouterr().out.splitlines()[-1]
    assert shown == f"  drbdocfs --root {host.root} import --write --survivor none"


def test_fencing_is_shown_and_only_a_survivor_writes_it(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    resource = host.text("/etc/drbd.d/r0.res")
    host.put("/etc/drbd.d/r0.res", resource, 0o600)
    host.put("/sys/module/drbd/version", "8.4.11")
    before = host.tree()
    assert main(["import"]) == 0
    out = capsys.readouterr().out
    assert "This would be added with --survivor" in out
    assert "    + /etc/drbd.d/r0.res: \t\tfencing resource-and-stonith;\n" in out
    assert main(["import", "--survivor", "server1", "--write"]) == 0
    out = capsys.readouterr().out
    assert "This would be added to DRBD's configuration" in out
    assert out.index("S01loop-for-drbd: is now") < out.index("/etc/drbd.d/r0.res: fencing added")
    after = host.text("/etc/drbd.d/r0.res")
    assert "fencing resource-and-stonith;" in after
    # Nothing of it went, and nobody else may read it.
    assert set(resource.splitlines()) <= set(after.splitlines())
    assert (host.root / "etc/drbd.d/r0.res").stat().st_mode & 0o777 == 0o600
    assert lean.read(str(host.root)).stacks[0].survivor == "server1"
    assert main(["import", "--survivor", "server1", "--write"]) == 0
    assert capsys.readouterr().out.endswith("Nothing to do.\n")
    assert main(["import", "--survivor", "none", "--write"]) == 2
    assert "survivor = server1, and stays as it is" in capsys.readouterr().err
    assert main(["import", "--undo"]) == 0
    assert host.tree() == before


def written(host: Host) -> dict[str, str]:
    """The tree as --write has to leave it, made by hand."""
    root = host.root
    host.put(CONFIGURATION, NEW.replace("DATE", today()))
    mark = f"# drbdocfs-import {today()}: "
    host.put("/etc/rc.local", RC_LOCAL.replace("mount", mark + "mount"), 0o755)
    for level in "2345":
        for old, new in (("S02drbd", "K01drbd"), ("S01loop-for-drbd", "K01loop-for-drbd")):
            (root / f"etc/rc{level}.d/{old}").rename(root / f"etc/rc{level}.d/{new}")
    host.remove("/etc/systemd/system/multi-user.target.wants/drbd.service")
    return host.tree()


def test_write_undo_and_again(host: Host, tmp_path_factory: pytest.TempPathFactory, capsys: Any) -> None:
    before = host.tree()
    after = written(guide(tmp_path_factory.mktemp("by-hand")))
    assert main(["import", "--write"]) == 0
    assert host.tree() == after
    out = capsys.readouterr().out
    assert out.index(f"{CONFIGURATION}: written") < out.index("/etc/rc.local: old lines disabled")
    assert out.index("rc.local: old") < out.index("S02drbd: is now") < out.index("S01loop-for-drbd: is now")
    assert re.search(r"\n  systemctl start drbdocfs.target +takes over what is up", out)
    assert lean.read(str(host.root)).stacks[0].backing_file == "/drbd-loop.img"

    assert main(["import", "--write"]) == 0
    assert capsys.readouterr().out.endswith("Nothing to do.\n")
    assert host.tree() == after
    (name,) = sets(host)
    assert oct((host.root / "var/lib/drbdocfs/import" / name / "manifest.json").stat().st_mode)[-3:] == "644"

    assert main(["import", "--list"]) == 0
    assert f"{name}  written, 11 changes" in capsys.readouterr().out
    assert main(["import", "--undo", name]) == 0
    assert host.tree() == before
    assert main(["import", "--undo"]) == 0
    assert "is undone already" in capsys.readouterr().out
    assert main(["import", "--list"]) == 0
    assert f"{name}  undone" in capsys.readouterr().out

    assert main(["import", "--write"]) == 0
    assert host.tree() == after
    assert len(sets(host)) == 2
    assert main(["import", "--undo"]) == 0
    assert host.tree() == before


# Interruptions


class PowerCut(BaseException):
    """The machine is off from here on: whatever the code still tries does not happen."""


class Cutter:
    """Lets ``left`` of the mutating calls happen, then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        self.calls = 0
        for name in MUTATING:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))
        self._open = os.open
        monkeypatch.setattr(os, "open", self._opened)

    def _step(self) -> None:
        self.calls += 1
        if self.left == 0:
            raise PowerCut
        self.left -= 1

    def _wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._step()
            return call(*args, **kwargs)

        return wrapped

    def _opened(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_CREAT:
            self._step()
        return self._open(path, flags, *args, **kwargs)

    def cut(self, after: int, argv: list[str]) -> bool:
        """Run the command; whether the power went in it."""
        self.left, self.calls = after, 0
        try:
            assert main(argv) == 0
            return False
        except PowerCut:
            return True
        finally:
            self.left = -1


def without_leftovers(tree: dict[str, str]) -> dict[str, str]:
    return {name: what for name, what in tree.items() if not name.endswith(".drbdocfs-new")}


def old_or_new(tree: dict[str, str], before: dict[str, str], after: dict[str, str]) -> None:
    """What the next boot finds: the old set-up whole, or the new configuration whole and never less than it needs."""
    tree = without_leftovers(tree)
    if CONFIGURATION not in tree:
        assert {n: w for n, w in tree.items() if not n.startswith("/etc/drbdocfs")} == before
        return
    assert tree[CONFIGURATION] == after[CONFIGURATION]
    assert tree["/etc/rc.local"] in (before["/etc/rc.local"], after["/etc/rc.local"])
    mounts = tree["/etc/rc.local"] == before["/etc/rc.local"]
    raises = [n for n in tree if "/S02drbd" in n or n.endswith("wants/drbd.service")]
    binds = [n for n in tree if "/S01loop-for-drbd" in n]
    # Nothing of the old set-up has lost what it stands on.
    if mounts:
        assert len(raises) == 5
    if raises:
        assert len(binds) == 4
    # Fresh and old links of one script never both, nor neither.
    for level in "2345":
        for old, new in (("S02drbd", "K01drbd"), ("S01loop-for-drbd", "K01loop-for-drbd")):
            assert (f"/etc/rc{level}.d/{old}" in tree) != (f"/etc/rc{level}.d/{new}" in tree)


def fresh(host: Host, number: int) -> Host:
    root = host.root.parent / f"{host.root.name}-{number}"
    root.mkdir()
    os.environ["DRBDOCFS_ROOT"] = str(root)  # host's fixture restores it
    return guide(root)


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(4))
def test_power_cut_at_every_step_of_write(host: Host, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    before = host.tree()
    cutter = Cutter(monkeypatch)
    assert not cutter.cut(-1, ["import", "--write"])
    total = cutter.calls
    after = host.tree()
    assert total > 50
    for number in range(part, total, 4):
        one = fresh(host, number)
        assert cutter.cut(number, ["import", "--write"])
        old_or_new(one.tree(), before, after)
        if number % 8 < 4:
            assert main(["import", "--write"]) == 0
            assert one.tree() == after, number
            assert main(["import", "--undo"]) == 0
        else:
            # It may have been cut before its first change: then there is nothing to undo.
            assert main(["import", "--undo"]) in (0, 2)
        assert one.tree() == before, number


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(2))
def test_power_cut_at_every_step_of_undo(host: Host, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    before = host.tree()
    cutter = Cutter(monkeypatch)
    assert main(["import", "--write"]) == 0
    after = host.tree()
    assert not cutter.cut(-1, ["import", "--undo"])
    total = cutter.calls
    assert total > 20
    for number in range(part, total, 2):
        one = fresh(host, number)
        assert main(["import", "--write"]) == 0
        assert cutter.cut(number, ["import", "--undo"])
        old_or_new(one.tree(), before, after)
        assert main(["import", "--undo"]) == 0
        assert one.tree() == before, number


def test_an_interrupted_one_is_named_and_finished_before_anything_else(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cutter = Cutter(monkeypatch)
    assert not cutter.cut(-1, ["import", "--write"])
    total = cutter.calls
    one = fresh(host, 1)
    assert cutter.cut(total - 12, ["import", "--write"])
    assert main(["import"]) == 1
    error = capsys.readouterr().err
    assert "an import was interrupted" in error
    assert "'drbdocfs import --write' finishes it" in error
    (name,) = sets(one)
    assert cutter.cut(8, ["import", "--undo"])
    assert main(["import", "--write"]) == 1
    error = capsys.readouterr().err
    assert "the undo of an import was interrupted" in error
    assert f"'drbdocfs import --undo {name}'" in error
    assert "finishes" not in error


def test_finishing_sweeps_up_and_does_not_overwrite_what_was_changed_since(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cutter = Cutter(monkeypatch)
    assert not cutter.cut(-1, ["import", "--write"])
    total, after = cutter.calls, host.tree()
    one = fresh(host, 1)
    assert cutter.cut(total - 20, ["import", "--write"])
    one.put("/etc/rc.local.4711.drbdocfs-new", "#!/bin/sh\nhalf")
    half = one.tree()
    text = one.text("/etc/rc.local")
    one.put("/etc/rc.local", text + "# mine\n", 0o755)
    assert main(["import", "--write"]) == 65
    assert "drbdocfs: /etc/rc.local: was changed since\n" in capsys.readouterr().err
    one.put("/etc/rc.local", text, 0o755)
    assert one.tree() == half
    assert main(["import", "--write"]) == 0
    assert one.tree() == after


def test_full_disk(host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """ENOSPC at each write in turn: nothing half-written, it says what is done, and the next run goes on."""
    before = host.tree()
    real = os.fsync
    full = {"after": 0}

    def fsync(fd: int) -> None:
        if full["after"] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        full["after"] -= 1
        real(fd)

    for number in (0, 3, 9, 14, 18):
        one = fresh(host, number)
        full["after"] = number
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            assert main(["import", "--write"]) == 73
        error = capsys.readouterr().err
        assert "No space left on device; what was said above is done, and nothing is half-written" in error
        assert "run the same again" in error
        assert not [name for name in one.tree() if name.endswith(".drbdocfs-new")]
        assert main(["import", "--write"]) == 0
        assert main(["import", "--undo"]) == 0
        assert one.tree() == before


# What was changed since


def test_undo_refuses_what_was_changed_since(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    before = host.tree()
    assert main(["import", "--write"]) == 0
    host.put("/etc/rc.local", "#!/bin/sh\nnew\n", 0o755)
    changed = host.tree()
    assert main(["import", "--undo"]) == 65
    error = capsys.readouterr().err
    assert "drbdocfs: /etc/rc.local: was changed since\n" in error
    assert "--undo --force" in error
    assert host.tree() == changed
    assert main(["import", "--undo", "--force"]) == 0
    assert host.tree() == before
    (name,) = sets(host)
    place = host.root / "var/lib/drbdocfs/import" / name
    assert (place / "02-rc.local.forced").read_text() == "#!/bin/sh\nnew\n"


def test_a_link_that_was_put_there_since_is_kept_and_what_it_leads_to_is_not_touched(host: Host) -> None:
    before = host.text("/etc/rc.local")
    assert main(["import", "--write"]) == 0
    host.put("/srv/rc.local", "#!/bin/sh\nnew\n", 0o755)
    path = host.root / "etc/rc.local"
    path.unlink()
    path.symlink_to("/srv/rc.local")
    assert main(["import", "--undo"]) == 65
    assert main(["import", "--undo", "--force"]) == 0
    assert host.text("/srv/rc.local") == "#!/bin/sh\nnew\n"
    assert not path.is_symlink()
    assert host.text("/etc/rc.local") == before
    (name,) = sets(host)
    assert os.readlink(host.root / "var/lib/drbdocfs/import" / name / "02-rc.local.forced") == "/srv/rc.local"


@pytest.mark.parametrize("gone", ["/etc/rc.local", "/etc/rc3.d/K01drbd", CONFIGURATION])
def test_force_brings_back_what_is_gone(host: Host, gone: str) -> None:
    before = host.tree()
    assert main(["import", "--write"]) == 0
    host.remove(gone)
    assert main(["import", "--undo"]) == (65 if gone != CONFIGURATION else 0)
    if gone != CONFIGURATION:
        assert main(["import", "--undo", "--force"]) == 0
    assert host.tree() == before


def test_a_configuration_that_was_changed_since_stays(host: Host) -> None:
    assert main(["import", "--write"]) == 0
    host.put(CONFIGURATION, NEW + "when_alone = wait\n")
    assert main(["import", "--undo"]) == 65
    assert "when_alone" in host.text(CONFIGURATION)


def test_directories_that_were_made_go_unless_something_else_is_in_them(host: Host) -> None:
    assert main(["import", "--write"]) == 0
    host.put("/etc/drbdocfs/conf.d/mine.conf", "# mine\n")
    assert main(["import", "--undo"]) == 0
    assert host.text("/etc/drbdocfs/conf.d/mine.conf") == "# mine\n"


# The files as they come


def test_bytes_stay_what_they_are(host: Host) -> None:
    """Latin-1, carriage returns, no newline at the end."""
    text = b"#!/bin/sh\r\n# f\xfcr uns\r\nmount /dev/drbd0\r\nexit 0"
    host.put("/etc/rc.local", text.decode("utf-8", "surrogateescape"), 0o750)
    before = host.tree()
    assert main(["import", "--write"]) == 0
    new = (host.root / "etc/rc.local").read_bytes()
    assert new == text.replace(b"mount", f"# drbdocfs-import {today()}: mount".encode())
    assert oct((host.root / "etc/rc.local").stat().st_mode)[-3:] == "750"
    assert main(["import", "--undo"]) == 0
    assert host.tree() == before


def test_a_link_stays_a_link_and_does_not_lead_out_of_the_root(
    host: Host, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "rc.local"
    outside.write_text("mount /dev/drbd0\n")
    host.remove("/etc/rc.local")
    host.put(f"/{outside.relative_to('/')}", RC_LOCAL, 0o755)
    host.link("/etc/rc.local", str(outside))
    assert main(["import", "--write"]) == 0
    assert outside.read_text() == "mount /dev/drbd0\n"
    assert (host.root / "etc/rc.local").is_symlink()
    assert "# drbdocfs-import" in host.text(f"/{outside.relative_to('/')}")


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (lambda host: host.put("/etc/rc.local", "\0\1binary mount /dev/drbd0\n"), "is not read: it is no text"),
        (lambda host: host.put("/etc/rc.local", "x" * 2_000_000), "is not read: it has 2000000 bytes"),
    ],
)
def test_what_is_no_script_is_left_alone(
    host: Host, spoil: Callable[[Host], None], note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(host)
    text = host.text("/etc/rc.local")
    assert main(["import", "--write"]) == 0
    assert f"  /etc/rc.local: {note}" in capsys.readouterr().out
    assert host.text("/etc/rc.local") == text


def test_what_may_not_be_read_is_said(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host.put("/var/spool/cron/crontabs/root", "@reboot mount /dev/drbd0\n")
    real = os.stat

    def stat(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("crontabs/root"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    assert main(["import"]) == 0
    out = capsys.readouterr().out
    assert "  /var/spool/cron/crontabs/root: is not read: Permission denied; run it as root\n" in out


def test_names_that_are_no_utf8(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    raw = FSTAB.encode().replace(b"/mnt/storage", b"/mnt/caf\xe9").decode("utf-8", "surrogateescape")
    host.put("/etc/fstab", raw)
    assert main(["import"]) == 78
    out, err = capsys.readouterr()
    assert "/mnt/caf?" in out
    assert "/etc/fstab:2: mountpoint = " in err


def test_programs_that_are_called_are_no_scripts(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.put("/usr/sbin/agetty", "\x7fELF\0" + "x" * 2_000_000)
    host.put("/etc/systemd/system/console.service", "[Service]\nExecStart=/usr/sbin/agetty ttyS0\n")
    host.link("/etc/systemd/system/multi-user.target.wants/console.service", "../console.service")
    assert main(["import"]) == 0
    assert "agetty" not in capsys.readouterr().out


def test_links_in_a_circle_and_directories_in_place_of_files(host: Host) -> None:
    host.remove("/etc/rc.local")
    host.link("/etc/rc.local", "/etc/rc.d/rc.local")
    host.link("/etc/rc.d/rc.local", "/etc/rc.local")
    (host.root / "var/spool/cron/root").mkdir(parents=True)
    assert main(["import"]) == 0


def test_nothing_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "import"]) == 1
    assert "Nothing to import" in capsys.readouterr().out


def test_a_label_in_fstab(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.put("/etc/fstab", "LABEL=web /mnt/storage ocfs2 noauto 0 0\n")
    assert main(["import"]) == 78
    assert "/etc/fstab:1: mounts LABEL=web, which may name the disk below DRBD" in capsys.readouterr().err


def test_a_file_that_is_there_already_is_not_overwritten(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.put(CONFIGURATION, "# mine\n")
    host.put("/etc/drbdocfs/conf.d/web.conf", "# mine, too\n")
    assert main(["import", "--write"]) == 78
    assert "/etc/drbdocfs/conf.d/web.conf: is there already" in capsys.readouterr().err
    host.remove("/etc/drbdocfs/conf.d/web.conf")
    assert main(["import", "--write"]) == 0
    assert host.text(CONFIGURATION) == "# mine\n"
    assert "[web]" in host.text("/etc/drbdocfs/conf.d/web.conf")


def test_another_stack_has_the_mount_point(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    other = "[other]\nresource = r9\ndevice = /dev/drbd9\ncluster = web\nmountpoint = /mnt/storage\n"
    host.put(CONFIGURATION, other)
    assert main(["import"]) == 78
    assert "stack other has mountpoint = /mnt/storage already" in capsys.readouterr().err


def test_our_own_configuration_has_mistakes(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.put(CONFIGURATION, "[web\n")
    before = host.tree()
    assert main(["import", "--write"]) == 78
    assert f"{CONFIGURATION}:1: " in capsys.readouterr().err
    assert host.tree() == before


def test_a_line_that_only_a_person_can_take_apart(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.put("/etc/rc.local", "mount /dev/drbd0 && service apache2 start\n")
    before = host.tree()
    assert main(["import", "--write"]) == 78
    assert "/etc/rc.local:1: mount /dev/drbd0 && service apache2 start: also runs" in capsys.readouterr().err
    assert host.tree() == before


# Questions and refusals


def test_what_is_not_certain_is_refused_where_nobody_can_be_asked(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.put("/etc/init.d/loop-for-drbd", LOOP_SCRIPT.replace("/dev/loop7", "/dev/loop6"), 0o755)
    before = host.tree()
    assert main(["import", "--write"]) == 2
    error = capsys.readouterr().err
    assert "the file behind /dev/loop7, the disk of resource r0, is not certain: /drbd-loop.img on /dev/loop6" in error
    assert "decide with --resource r0 --backing-file /drbd-loop.img" in error
    assert host.tree() == before
    assert main(["import", "--write", "--backing-file", "/drbd-loop.img"]) == 0
    assert lean.read(str(host.root)).stacks[0].loop_device == "/dev/loop7"
    assert not [name for name in host.tree() if "/S01loop-for-drbd" in name]


@pytest.mark.parametrize(
    ("answers", "status", "cluster"), [("7\nx\n2\n", 0, "old"), ("\n", 2, ""), ("", 2, "")]
)
def test_on_a_terminal_it_asks(
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: str,
    status: int,
    cluster: str,
) -> None:
    host.put("/etc/ocfs2/cluster.conf", CLUSTER + CLUSTER.replace("web", "old"))
    host.put("/etc/default/o2cb", "")
    lines = iter(answers.splitlines(keepends=True))
    monkeypatch.setattr(ask, "possible", lambda: True)
    monkeypatch.setattr("sys.stdin.readline", lambda: next(lines, ""))
    assert main(["import"]) == status
    out = capsys.readouterr().out
    assert "  1  web\n  2  old\nWhich one is right (--cluster)? 1 to 2, or nothing to end: " in out
    assert f"cluster       = {cluster}" in out or status == 2


def test_options_for_one_stack_need_the_resource_where_there_are_two(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.put("/etc/drbd.d/r1.res", (host.text("/etc/drbd.d/r0.res")).replace("r0", "r1").replace("drbd0", "drbd1"))
    host.put("/etc/fstab", FSTAB + "/dev/drbd1 /srv/1 ocfs2 noauto 0 0\n")
    host.put("/etc/drbd.d/r1.res", host.text("/etc/drbd.d/r1.res").replace("/dev/loop7", "/dev/sdb"))
    assert main(["import", "--name", "a"]) == 2
    assert "--name is for one stack, and there are r0, r1" in capsys.readouterr().err
    assert main(["import", "--name", "a", "--resource", "r1", "--drbd", "keep"]) == 0
    assert "[a]" in capsys.readouterr().out
    assert main(["import", "--resource", "r7"]) == 2


def test_not_root(host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    before = host.tree()
    assert main(["import"]) == 0
    assert main(["import", "--list"]) == 0
    for argv in (["--write"], ["--undo"], ["--undo", "20260101-000000"]):
        assert main(["import", *argv]) == 77
        assert "only root may do this" in capsys.readouterr().err
    assert host.tree() == before


def test_wrong_usage(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "--force"]) == 2
    assert main(["import", "--undo"]) == 2
    assert "there is no import to undo" in capsys.readouterr().err
    assert main(["import", "--list"]) == 0
    assert capsys.readouterr().out == "no imports\n"
    assert main(["import", "--write"]) == 0
    assert main(["import", "--undo", "20010101-000000"]) == 2
    assert "there is no import of 20010101-000000; there are: 2" in capsys.readouterr().err
    for argv in (["--write", "--undo"], ["--write", "--list"], ["--drbd", "perhaps"]):
        with pytest.raises(SystemExit) as caught:
            main(["import", *argv])
        assert caught.value.code == 2


def test_two_at_once(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    place = host.root / "var/lib/drbdocfs/import"
    place.mkdir(parents=True)
    fd = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert main(["import", "--write"]) == 75
    finally:
        os.close(fd)
    assert "another import runs on this host" in capsys.readouterr().err
    assert CONFIGURATION not in host.tree()


@pytest.mark.parametrize(
    "text", ["", "{}", '{"version": 9}', '{"version": 1, "state": "begun", "made": [], "steps": [{}]}']
)
def test_a_manifest_that_is_none(host: Host, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    host.put("/var/lib/drbdocfs/import/20260101-000000/manifest.json", text)
    assert main(["import", "--write"]) == 78
    assert "20260101-000000/manifest.json" in capsys.readouterr().err


def test_the_manifest_s_form(host: Host) -> None:
    assert main(["import", "--write"]) == 0
    (name,) = sets(host)
    content = json.loads(host.text(f"/var/lib/drbdocfs/import/{name}/manifest.json"))
    assert content["version"] == 1
    assert content["state"] == "written"
    assert content["made"] == ["/etc/drbdocfs"]
    kinds = [step["kind"] for step in content["steps"]]
    assert kinds == ["create", "replace", *["rename"] * 4, "unlink", *["rename"] * 4]
    step = content["steps"][1]
    assert step["path"] == "/etc/rc.local"
    assert step["mode"] == 0o755
    assert step["before"] != step["after"]
    assert host.text(f"/var/lib/drbdocfs/import/{name}/{step['text_before']}") == RC_LOCAL


@pytest.mark.parametrize(("code", "status"), [(0, 0), (1, 69)])
def test_systemd_is_told(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, status: int
) -> None:
    calls = []

    def run(argv: list[str], limit: float) -> Result:
        calls.append(argv)
        return Result(code, "", "no answer")

    monkeypatch.setattr(verb, "run_tool", run)
    assert main(["import", "--write"]) == 0
    assert calls == [], "another root is not this machine's"
    with monkeypatch.context() as patch:
        patch.setattr(verb.system, "path", lambda name: name)
        patch.setattr("os.path.isdir", lambda name: True)
        assert verb._after(changes.Set("x", "written", [], [])) == status
    assert calls == [["systemctl", "daemon-reload"]]
    error = capsys.readouterr().err
    assert ("systemd was not told: no answer" in error) == bool(code)


# The target that starts our stacks


def installed(host: Host, *links: str) -> None:
    host.put("/usr/lib/systemd/system/drbdocfs.target", "[Unit]\n")
    for link in links:
        host.link(link, "/usr/lib/systemd/system/drbdocfs.target" if ".wants/" in link else "/dev/null")


WANTED = "/etc/systemd/system/multi-user.target.wants/drbdocfs.target"
MASKED = "/etc/systemd/system/drbdocfs.target"


@pytest.mark.parametrize(
    ("links", "why", "how"),
    [
        ((), "is not enabled", "systemctl enable drbdocfs.target, then the same again"),
        ((WANTED, MASKED), f"is masked ({MASKED})", "systemctl unmask drbdocfs.target; systemctl enable"),
    ],
)
def test_nothing_is_written_where_the_next_boot_would_not_start_it(
    host: Host, capsys: pytest.CaptureFixture[str], links: tuple[str, ...], why: str, how: str
) -> None:
    installed(host, *links)
    before = host.tree(without="")
    assert main(["import"]) == 0
    assert f"drbdocfs.target: {why}: the next boot would have" in capsys.readouterr().out
    assert main(["import", "--write"]) == 78
    error = capsys.readouterr().err
    assert f"drbdocfs: drbdocfs.target {why}: the next boot would have neither set-up\n" in error
    assert f"what to do: {how}" in error
    assert error.endswith("nothing was changed\n")
    after = host.tree(without="")
    assert {name: after[name] for name in before if name != "/var"} == {n: w for n, w in before.items() if n != "/var"}
    assert sets(host) == []


def test_where_it_is_enabled_it_is_written(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    installed(host, WANTED)
    assert main(["import", "--write"]) == 0
    assert "drbdocfs.target: is" not in capsys.readouterr().out
    # What is done stays done, and an undo needs no target.
    host.remove(WANTED)
    assert main(["import", "--write"]) == 0
    assert main(["import", "--undo"]) == 0


def test_an_interrupted_one_is_not_finished_without_the_target(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(host, WANTED)
    stop_before(monkeypatch, 1, PowerCut)
    with pytest.raises(PowerCut):
        main(["import", "--write"])
    monkeypatch.undo()
    monkeypatch.setenv("DRBDOCFS_ROOT", str(host.root))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    host.remove(WANTED)
    half = host.tree()
    assert main(["import", "--write"]) == 78
    assert host.tree() == half
    assert main(["import", "--undo"]) == 0


def test_on_the_running_host_the_units_have_to_be_there(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verb._not_enabled() == ""
    monkeypatch.setattr(verb.facts, "collect", lambda: facts.Facts(True, "server1"))
    assert verb._not_enabled() == "drbdocfs.target is not installed"


# Names of sets, and what a set never touched


def test_the_last_import_is_the_last_one_whatever_the_clock_says(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    times = ["20260101-000005", "20260101-000005", "20260101-000004", *["20250101-000000"] * 8, "20260101-000006"]
    for now in times:
        monkeypatch.setattr(verb.time, "strftime", lambda form, now=now: now if "%H" in form else "2026-01-01")
        assert main(["import", "--write"]) == 0
        (new,) = set(sets(host)) - set(made)
        made.append(new)
        assert main(["import", "--undo"]) == 0
        assert changes.all_sets()[-1].name == new
    assert made == sorted(made)
    assert made[:3] == ["20260101-000005", "20260101-000005-2", "20260101-000005-3"]
    assert made[-1] == "20260101-000006"
    assert {one.state for one in changes.all_sets()} == {"undone"}


def stop_before(monkeypatch: pytest.MonkeyPatch, step: int, error: type[BaseException]) -> None:
    """The step of that number, and those after it, are not done."""
    done: list[changes.Step] = []
    real = changes._do

    def do(one: changes.Set, what: changes.Step) -> None:
        if len(done) == step:
            raise error
        done.append(what)
        real(one, what)

    monkeypatch.setattr(changes, "_do", do)


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_undo_of_a_set_that_has_done_nothing_touches_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], force: tuple[str, ...]
) -> None:
    with monkeypatch.context() as patch:
        stop_before(patch, 0, PowerCut)
        with pytest.raises(PowerCut):
            main(["import", "--write"])
    host.put("/etc/rc.local", "#!/bin/sh\nmount /dev/drbd0\n# mine\n", 0o755)
    mine = host.tree()
    assert main(["import", "--write"]) == 65
    capsys.readouterr()
    assert main(["import", "--undo", *force]) == 0
    assert host.tree() == mine
    out = capsys.readouterr().out
    assert "  /etc/rc.local: left as it is: the import had not come to it\n" in out
    assert changes.all_sets()[-1].state == "undone"
    assert main(["import", "--write"]) == 0
    assert "# mine" in host.text("/etc/rc.local")


# The reader goes, Ctrl-C


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.slow
def test_a_reader_that_has_gone_stops_nothing(host: Host, long: bool) -> None:
    """As with 'drbdocfs import --write | head': the page itself may be more than a pipe's reader takes."""
    before = host.tree()
    lines = "echo x; mount /dev/drbd0\n" * (400 if long else 1)
    host.put("/etc/rc.local", "#!/bin/sh\n" + lines, 0o755)
    code = "import os, sys; os.geteuid = lambda: 0\nfrom drbdocfs_boot.cli import main\nsys.exit(main(sys.argv[1:]))"
    for argv, state in ((["--write"], "written"), (["--undo"], "undone")):
        read, write = os.pipe()
        os.close(read)
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, "import", *argv],
                stdout=write,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
            )
        finally:
            os.close(write)
        assert (done.returncode, done.stderr) == (0, "")
        assert changes.all_sets()[-1].state == state
    assert {n: w for n, w in host.tree().items() if n != "/etc/rc.local"} == {
        n: w for n, w in before.items() if n != "/etc/rc.local"
    }


def test_ctrl_c_says_what_is_so(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = host.tree()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(verb, "_show", interrupt)
        for argv in ([], ["--write"]):
            assert main(["import", *argv]) == 130
            assert capsys.readouterr().err == "\ndrbdocfs: interrupted: nothing was changed\n"
    with monkeypatch.context() as patch:
        stop_before(patch, 3, KeyboardInterrupt)
        assert main(["import", "--write"]) == 130
    (name,) = sets(host)
    begun = f"'drbdocfs import --write' finishes it, 'drbdocfs import --undo {name}' takes it back\n"
    error = capsys.readouterr().err
    assert f"interrupted: the import of {name} is begun\nwhat to do: {begun}" in error
    with monkeypatch.context() as patch:
        patch.setattr(changes, "_undo", interrupt)
        assert main(["import", "--undo"]) == 130
    error = capsys.readouterr().err
    assert f"the undo of the import of {name} is begun\nwhat to do: 'drbdocfs import --undo {name}' finishes" in error
    assert main(["import", "--undo"]) == 0
    assert host.tree() == before
    with monkeypatch.context() as patch:
        patch.setattr(verb, "_reload", interrupt)
        assert main(["import", "--write"]) == 130
    assert "all files are done, but systemd may not know\nwhat to do: 'systemctl daemon" in capsys.readouterr().err
