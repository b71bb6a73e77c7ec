"""The generator as a program: what it imports, where it writes, and what it does on the worst day."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drbdocfs_boot import fstab, generator, lean, units

from .test_golden import TOP, generate, tree

ONE = (Path(__file__).parent / "cases/one-stack/input/etc/drbdocfs/drbdocfs.conf").read_text()


def root_with(tmp_path: Path, text: str, name: str = "drbdocfs.conf") -> Path:
    place = tmp_path / "root/etc/drbdocfs"
    (place / "conf.d").mkdir(parents=True, exist_ok=True)
    (place / name).write_text(text)
    return tmp_path / "root"


# --- imports --------------------------------------------------------------------------------------------------


def imported(root: Path, out: Path) -> set[str]:
    """The modules that a run of the generator imports."""
    script = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
        "from drbdocfs_boot import generator\n"
        "assert generator.main(['', *sys.argv[2:]]) == 0\n"
        "print('\\n'.join(sorted(set(sys.modules) - before)))"
    )
    out.mkdir()
    result = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", script, TOP, out],
        env={"DRBDOCFS_ROOT": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(result.stdout.split())


def test_imports_are_builtins_posix_and_our_own(tmp_path: Path) -> None:
    ours = ("", ".escape", ".fstab", ".generator", ".lean", ".stack", ".units", ".values")
    found = imported(root_with(tmp_path, ONE), tmp_path / "out")
    assert found - {"posix"} == {"drbdocfs_boot" + name for name in ours}


def test_where_nothing_is_configured_it_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc/drbdocfs/conf.d").mkdir(parents=True)  # as the package leaves it
    assert imported(tmp_path, tmp_path / "out") - {"posix"} == {"drbdocfs_boot", "drbdocfs_boot.generator"}


@pytest.mark.parametrize("name", ["drbdocfs.conf", "conf.d/more.conf", "conf.d"])
def test_a_configuration_is_seen_wherever_it_stands(name: str, tmp_path: Path) -> None:
    """As a file, as a link to nowhere, and as something else than it should be."""
    place = tmp_path / "etc/drbdocfs"
    (place / name).parent.mkdir(parents=True)
    (place / name).symlink_to("nowhere/else")
    assert generator._configured(str(tmp_path)) is (name != "conf.d")
    (place / name).unlink()
    (place / name).write_text(ONE)
    assert generator._configured(str(tmp_path))


@pytest.mark.parametrize("helper", ["loop", "attach", "wait", "promote", "o2cb", "broken", "holders", "follow"])
def test_helpers_import_the_standard_library_alone_and_little_of_it(helper: str) -> None:
    script = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
        f"import drbdocfs_boot.helpers.{helper}\n"
        "print('\\n'.join(sorted(set(sys.modules) - before)))"
    )
    result = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", script, TOP], capture_output=True, text=True, timeout=60, check=True
    )
    found = {name for name in result.stdout.split() if not name.startswith("drbdocfs_boot")}
    # What "import os" brings, and the C modules. No subprocess, socket, re, logging, dataclasses, argparse.
    assert found <= {
        "_collections_abc", "_socket", "_stat", "errno", "genericpath", "os", "os.path", "posixpath", "select", "stat",
        "time", "abc", "_abc", "io", "posix",
    }  # fmt: skip


# --- the program ----------------------------------------------------------------------------------------------


def test_in_the_initrd_it_writes_nothing(tmp_path: Path) -> None:
    root = root_with(tmp_path, ONE)
    out = tmp_path / "out"
    out.mkdir()
    environment = {"DRBDOCFS_ROOT": str(root), "SYSTEMD_IN_INITRD": "1"}
    subprocess.run([TOP / "generators/drbdocfs-generator", out, out, out], env=environment, check=True, timeout=60)
    assert tree(out) == {}


def test_wrong_usage(tmp_path: Path) -> None:
    result = subprocess.run(
        [TOP / "generators/drbdocfs-generator"], capture_output=True, text=True, timeout=60, check=False, env={}
    )
    assert result.returncode == 1
    assert result.stderr == "drbdocfs-generator: usage: drbdocfs-generator NORMAL EARLY LATE\n"


def test_what_another_generator_wrote_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mnt-storage.mount").write_text("[Mount]\nWhat=/dev/other\n")
    problems, failed = generator.generate(str(root_with(tmp_path, ONE)), str(out))
    assert problems == ()
    assert failed == [f"{out}/mnt-storage.mount: File exists"]
    assert (out / "mnt-storage.mount").read_text() == "[Mount]\nWhat=/dev/other\n"
    assert (out / "drbdocfs-promote@web.service.d/50-drbdocfs.conf").exists()


def test_a_mistake_of_our_own_is_a_failing_unit_and_no_traceback(tmp_path: Path) -> None:
    library = tmp_path / "copy"
    shutil.copytree(TOP / "drbdocfs_boot", library / "drbdocfs_boot", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TOP / "generators", library / "generators")
    with (library / "drbdocfs_boot/lean.py").open("a") as file:
        file.write("\n\ndef read(root: str = '') -> object:\n    raise KeyError('planted')\n")
    out = tmp_path / "out"
    out.mkdir()
    result = subprocess.run(
        [library / "generators/drbdocfs-generator", out, out, out],
        env={"DRBDOCFS_ROOT": str(root_with(tmp_path, ONE))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stderr.startswith("drbdocfs-generator: drbdocfs-generator: internal error in ")
    assert "KeyError: 'planted'; please report it" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tree(out)) == [
        "drbdocfs-broken@drbdocfs-generator.service.d/50-drbdocfs.conf",
        "drbdocfs.target.wants/drbdocfs-broken@drbdocfs-generator.service",
    ]


def test_generator_in_a_read_only_world(tmp_path: Path) -> None:
    """Everything read-only but the three directories, no network, no /var: as systemd 253 and newer run it."""
    root = root_with(tmp_path, ONE)
    places = [tmp_path / name for name in ("normal", "early", "late")]
    for place in places:
        place.mkdir()
    script = """
    set -e
    mount --make-rprivate /
    mount -t tmpfs tmpfs /var
    for place; do mount --bind "$place" "$place"; done
    awk '{print $5}' /proc/self/mountinfo | while read -r target; do
        case " $* " in *" $target "*) ;; *) mount -o remount,bind,ro "$target" 2>/dev/null || : ;; esac
    done
    ! touch / 2>/dev/null && ! touch "$HOME_OF_TEST/x" 2>/dev/null
    exec "$GENERATOR" "$@"
    """
    result = subprocess.run(
        ["unshare", "--mount", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", script, "sh"]
        + [str(place) for place in places],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DRBDOCFS_ROOT": str(root),
            "GENERATOR": str(TOP / "generators/drbdocfs-generator"),
            "HOME_OF_TEST": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "mnt-storage.mount" in tree(places[0])
    assert tree(places[1]) == tree(places[2]) == {}


@pytest.mark.exhaustive
def test_ten_thousand_stacks(tmp_path: Path) -> None:
    sections = [
        f"[s{n}]\nresource = r{n}\ndevice = /dev/drbd{n}\nbacking_file = /img/{n}\nloop_device = /dev/loop{n}\n"
        f"cluster = web\nmountpoint = /mnt/{n}\n"
        for n in range(10_000)
    ]
    began = time.monotonic()
    result = generate(root_with(tmp_path, "".join(sections)), tmp_path / "out")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(list((tmp_path / "out/normal/drbdocfs.target.wants").glob("drbdocfs@*.target"))) == 10_000
    assert len(list((tmp_path / "out/normal").glob("*.mount"))) == 10_000
    assert time.monotonic() - began < 45


# --- bad input: an answer that names it, a failing unit, and never a directive that was smuggled in ---------------

BAD = {
    "empty": "",
    "only-comment": "# nothing here\n",
    "no-section": "device = /dev/drbd0\n",
    "unclosed": "[web\nresource = r0\n",
    "slash": ONE.replace("[web]", "[we/b]"),
    "newline": ONE.replace("[web]", '["we\nb"]'),
    "up": ONE.replace("[web]", "[../../x]"),
    "relative": ONE.replace("/mnt/storage", "mnt/storage"),
    "root": ONE.replace("/mnt/storage", "/"),
    "span": ONE.replace("2min", "2 fortnights"),
    "nul": ONE.replace("noatime", "no\x00atime"),
    "escape": ONE.replace("noatime", "no\x1batime"),
    "next-line": ONE.replace("noatime", "noatime\x85ExecStart=/bin/sh"),
    "separator": ONE.replace("noatime", "noatime\u2028[Service]\u2028ExecStart=/bin/sh"),
    "form-feed": ONE.replace("noatime", "noatime\x0c[x]"),
    "triple": ONE.replace("noatime", "'''noatime\nExecStart=/bin/sh'''"),
    "backslash": ONE.replace("/mnt/storage", "/mnt/storage\\"),
    "twice": ONE + ONE,
    "nested": ONE + "[[inner]]\nx = 1\n",
    "unknown": ONE + "colour = blue\n",
    "missing": ONE.replace("device        = /dev/drbd0\n", ""),
    "long": ONE.replace("noatime", "x" * 100_000),
    "long-name": ONE.replace("[web]", "[" + "w" * 5000 + "]"),
    "percent": ONE.replace("noatime", "%n%i%%"),
}
SILENT = {"empty", "only-comment", "percent", "long"}


def directives(out: Path) -> set[str]:
    """All directives of a tree, by name."""
    lines = [line for text in tree(out).values() if not text.startswith("-> ") for line in text.split("\n")]
    return {line.partition("=")[0] for line in lines if "=" in line and not line.startswith("#")}


ALLOWED = {
    "SourcePath", "Documentation", "Description", "Requires", "After", "Before", "Wants", "BindsTo", "PartOf",
    "JobRunningTimeoutSec", "RequiresMountsFor", "Environment", "TimeoutStartSec", "TimeoutSec", "What", "Where",
    "Type", "Options",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_input(name: str, tmp_path: Path) -> None:
    result = generate(root_with(tmp_path, BAD[name]), tmp_path / "out")
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    found = tree(tmp_path / "out/normal")
    if name in SILENT:
        assert result.stderr == ""
    else:
        assert result.stderr.startswith("drbdocfs-generator: /etc/drbdocfs/drbdocfs.conf:")
        assert any(path.startswith("drbdocfs.target.wants/drbdocfs-broken@") for path in found)
    assert result.stderr.isascii() or result.stderr.replace("\n", "").isprintable()
    assert directives(tmp_path / "out/normal") <= ALLOWED
    for path, text in found.items():
        assert "\\..\\" not in path
        assert text.startswith("-> ") or all(c == "\n" or c.isprintable() for c in text)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    root = root_with(tmp_path, ONE)
    (root / "etc/drbdocfs/conf.d/loop.conf").symlink_to("loop.conf")
    (root / "etc/drbdocfs/conf.d/directory.conf").mkdir()
    result = generate(root, tmp_path / "out")
    assert [line.partition(": ")[2][:43] for line in result.stderr.splitlines()] == [
        "/etc/drbdocfs/conf.d/directory.conf: is a d",
        "/etc/drbdocfs/conf.d/loop.conf: cannot be r",
    ]
    assert "mnt-storage.mount" in tree(tmp_path / "out/normal")


def test_a_file_name_with_a_newline_adds_no_directive(tmp_path: Path) -> None:
    root = root_with(tmp_path, ONE.replace("[web]", "[other]"), "conf.d/x\nExecStart=y.conf")
    result = generate(root, tmp_path / "out")
    assert result.returncode == 0
    assert directives(tmp_path / "out/normal") <= ALLOWED


VALUES = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
KEYS = ["resource", "device", "backing_file", "loop_device", "cluster", "mountpoint", "mount_options", "boot_timeout"]


@settings(
    derandomize=True,
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=VALUES, key=st.sampled_from(KEYS), value=VALUES, quote=st.sampled_from(["", '"', "'"]))
def test_nothing_in_the_configuration_adds_a_directive(
    tmp_path: Path, name: str, key: str, value: str, quote: str
) -> None:
    text = f"[{quote}{name}{quote}]\n" + "".join(
        f"{k} = {quote}{value}{quote}\n" if k == key else line + "\n"
        for line in ONE.splitlines()
        for k in [line.partition("=")[0].strip()]
        if "=" in line
    )
    root = root_with(tmp_path, text)
    files, _ = units.tree(lean.read(str(root)), fstab.parse(""))
    for path, content in files.items():
        assert not path.startswith("/")
        assert "/../" not in f"/{path}/"
        assert len(path.split("/")[-1]) <= 255
        if content.startswith(units.LINK):
            continue
        for line in content.split("\n"):
            assert line == "" or line.startswith(("#", "[")) or line.partition("=")[0] in ALLOWED
            assert not line.endswith("\\")
            assert line.isprintable()
