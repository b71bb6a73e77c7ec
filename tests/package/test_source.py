"""setup.py, versions, the example: what can be told from the source tree alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import drbdocfs_boot
from tests.package.scratch import TOP, output

PYTHON = "/usr/bin/python3"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, to change and to build in."""
    target = tmp_path / "tree"
    subprocess.run(["sh", str(TOP / "packaging/source-tree"), str(target)], check=True, timeout=60)
    return target


def _install(tree: Path, root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [PYTHON, "setup.py", "--quiet", "install_system", f"--root={root}", *options]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60)


def _state(tree: Path) -> dict[str, tuple[int, int]]:
    found = {path: path.lstat() for path in tree.rglob("*")}
    return {str(path): (state.st_mtime_ns, state.st_size) for path, state in found.items()}


def test_the_source_tree_is_complete(tree: Path) -> None:
    """Whatever odd names the tests' files have."""
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={TOP}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if listing.returncode != 0:
        pytest.skip("the sources are no git checkout")
    names = {name for name in listing.stdout.split("\0") if name and os.path.lexists(TOP / name)}
    copied = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_symlink() or path.is_file()}
    assert copied == names
    assert all((tree / name).lstat().st_mode & 0o111 == (TOP / name).lstat().st_mode & 0o111 for name in names)


def test_install_system_leaves_the_sources_alone(tree: Path, tmp_path: Path) -> None:
    before = _state(tree)
    done = _install(tree, tmp_path / "root")
    assert done.returncode == 0, done.stderr
    assert _state(tree) == before


def test_install_system_with_other_places(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    places = ("--libexecdir=/usr/lib/drbdocfs-boot", "--docdir=/usr/share/doc/packages/drbdocfs-boot")
    done = _install(
        tree, root, "--libdir=/opt/lib", "--unitdir=/lib/units", "--o2cbfile=/etc/sysconfig/o2cb", *places
    )
    assert done.returncode == 0, done.stderr
    assert (root / "opt/lib/drbdocfs_boot/__init__.py").is_file()
    unit = (root / "lib/units/drbdocfs-wait@.service").read_text(encoding="utf-8")
    assert "ExecStart=/usr/lib/drbdocfs-boot/wait start %i" in unit
    assert 'LIBRARY = "/opt/lib"\n' in (root / "usr/lib/drbdocfs-boot/wait").read_text(encoding="utf-8")
    tool = (root / "opt/lib/drbdocfs_boot/tools/o2cb.py").read_text(encoding="utf-8")
    assert '\nSETTINGS = "/etc/sysconfig/o2cb"\n' in tool
    page = (root / "usr/share/man/man8/drbdocfs-fence-peer.8").read_text(encoding="utf-8")
    assert '"/usr/lib/drbdocfs\\-boot/fence\\-peer"' in page
    assert "\n.I /usr/share/doc/packages/drbdocfs\\-boot/fencing.md\n" in page
    for path in root.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8").replace("\\-", "-")
            for place in ("/usr/libexec/drbdocfs-boot", "/usr/share/doc/drbdocfs-boot", "/etc/default/o2cb"):
                assert place not in text, path


def test_install_system_by_an_old_setuptools(tree: Path, tmp_path: Path) -> None:
    """Oracle Linux 9 has version 53, without setuptools.errors; what the command refuses it refuses there, too."""
    # setuptools itself is imported before: the one of today needs the module.
    (tree / "old.py").write_text(
        "import runpy, sys, setuptools\n"
        "sys.modules['setuptools.errors'] = None\n"
        "sys.argv[0] = 'setup.py'\n"
        "runpy.run_path('setup.py', run_name='__main__')\n",
        encoding="utf-8",
    )
    command = [PYTHON, "old.py", "--quiet", "install_system"]
    root = tmp_path / "root"
    done = subprocess.run([*command, f"--root={root}"], cwd=tree, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (root / "usr/share/drbdocfs-boot/drbdocfs_boot/__init__.py").is_file()
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "install_system needs --root=DIR" in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("lines", ["", 'LIBRARY = "a"\nLIBRARY = "b"\n'])
def test_a_script_without_one_library_line_fails_the_build(tree: Path, tmp_path: Path, lines: str) -> None:
    (tree / "libexec/odd").write_text("#!/usr/bin/python3 -IS\n" + lines, encoding="utf-8")
    done = _install(tree, tmp_path / "root")
    assert done.returncode != 0
    assert "libexec/odd" in done.stderr
    assert "LIBRARY = …" in done.stderr


@pytest.mark.parametrize("name", ["data-check", "witness"])
def test_what_stands_alone_is_installed_as_it_stands_and_may_not_need_the_library(
    tree: Path, tmp_path: Path, name: str
) -> None:
    assert _install(tree, tmp_path / "root").returncode == 0
    installed = tmp_path / "root/usr/libexec/drbdocfs-boot" / name
    assert installed.read_bytes() == (tree / "libexec" / name).read_bytes()
    assert installed.stat().st_mode & 0o7777 == 0o755
    with (tree / "libexec" / name).open("a", encoding="utf-8") as script:
        script.write('LIBRARY = "a"\n')
    done = _install(tree, tmp_path / "root")
    assert done.returncode != 0
    assert f"libexec/{name}: 1 lines 'LIBRARY = …' where there must be none" in done.stderr


def test_a_file_that_belongs_nowhere_fails_the_build(tree: Path, tmp_path: Path) -> None:
    (tree / "units/notes.txt").write_text("x", encoding="utf-8")
    done = _install(tree, tmp_path / "root")
    assert done.returncode != 0
    assert "units/notes.txt" in done.stderr


@pytest.mark.parametrize("option", ["--libdir=relative", "--libdir=/a b", '--libdir=/a"', "--unitdir="])
def test_odd_directories_are_refused(tree: Path, tmp_path: Path, option: str) -> None:
    done = _install(tree, tmp_path / "root", option)
    assert done.returncode != 0
    assert option.partition("=")[0] in done.stderr


def _dist(tree: Path, target: Path) -> Path:
    command = ["sh", str(tree / "packaging/build-dist"), str(target)]
    subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL)
    (tarball,) = target.iterdir()
    assert tarball.name == f"drbdocfs-boot-{drbdocfs_boot.__version__}.tar.gz"
    return tarball


def test_make_dist_has_all_sources_and_gives_the_same_bytes_everywhere(tree: Path, tmp_path: Path) -> None:
    """From a checkout, and from what was unpacked of a tarball, elsewhere and by another umask."""
    tarball = _dist(TOP, tmp_path / "first")
    top = tarball.name[: -len(".tar.gz")]
    subprocess.run(["tar", "--extract", f"--file={tarball}"], cwd=tmp_path, check=True, umask=0o077)
    unpacked = {path.relative_to(tmp_path / top) for path in (tmp_path / top).rglob("*")}
    assert unpacked == {path.relative_to(tree) for path in tree.rglob("*")}
    assert _dist(tmp_path / top, tmp_path / "second").read_bytes() == tarball.read_bytes()


def test_sources_below_another_repository_are_none_of_its(tree: Path, tmp_path: Path) -> None:
    """What it ignores, and what it has besides them, does not count: tmp_path is the other one's top."""
    (tmp_path / ".gitignore").write_text("tree/\n", encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True, timeout=60)
    target = tmp_path / "copy"
    subprocess.run(["sh", str(tree / "packaging/source-tree"), str(target)], check=True, timeout=60)
    assert {p.relative_to(target) for p in target.rglob("*")} == {p.relative_to(tree) for p in tree.rglob("*")}


def test_a_copy_without_setup_py_fails(tree: Path, tmp_path: Path) -> None:
    (tree / "setup.py").unlink()
    command = ["sh", str(tree / "packaging/source-tree"), str(tmp_path / "copy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"source-tree: {tree} has no setup.py among its files\n")


@pytest.mark.parametrize("git", [True, False])
@pytest.mark.parametrize("place", ["out", "*[o] ut", "."])
def test_what_is_made_in_the_sources_is_none_of_them(tree: Path, tmp_path: Path, place: str, git: bool) -> None:
    if git:
        subprocess.run(["git", "init", "--quiet", str(tree)], check=True, timeout=60)
    expected = _dist(tree, tmp_path / "elsewhere").read_bytes()
    for _ in range(1 if place == "." else 2):  # what is beside the sources is taken for one of them
        subprocess.run(["sh", "packaging/build-dist", place], cwd=tree, check=True, timeout=300)
        assert next((tree / place).glob("*.tar.gz")).read_bytes() == expected


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_a_package_is_the_same_from_a_path_with_a_space_and_by_another_time(
    request: pytest.FixtureRequest, tree: Path, tmp_path: Path, kind: str
) -> None:
    """By the caller's SOURCE_DATE_EPOCH."""
    package: Path = request.getfixturevalue(kind)
    there = tmp_path / "with a space"
    tree.rename(there)
    environment = {"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "1000000000", "TMPDIR": str(tmp_path)}
    output(["sh", str(there / f"packaging/build-{kind}")], timeout=600, env=environment)
    assert (there / "dist" / package.name).read_bytes() == package.read_bytes()


@pytest.mark.parametrize("source", ["checkout", "tarball"])
def test_pip_installs_the_library_alone(tree: Path, tmp_path: Path, source: str) -> None:
    what = tree if source == "checkout" else _dist(tree, tmp_path / "dist")
    environment = tmp_path / "environment"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=300)
    python = str(environment / "bin/python")
    before = set((environment / "bin").iterdir())
    pip = [sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, "install", str(what)], check=True, timeout=600)
    script = """
import drbdocfs_boot, importlib.resources as r, configobj
from drbdocfs_boot import config, events, lean, stack
assert lean.read("/nonexistent").stacks == () and config.read("/nonexistent").stacks == ()
assert (r.files(drbdocfs_boot) / "drbdocfs.configspec").is_file()
assert (r.files(drbdocfs_boot) / "py.typed").is_file()
print(drbdocfs_boot.__version__)
"""
    done = subprocess.run([python, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == drbdocfs_boot.__version__, done.stderr
    assert set((environment / "bin").iterdir()) == before
    assert not shutil.which("drbdocfs", path=str(environment / "bin"))
    ours = [path.relative_to(environment).as_posix() for path in environment.rglob("*drbdocfs*")]
    assert [name for name in ours if not re.match(r"lib/python[^/]+/site-packages/drbdocfs_boot", name)] == []


def test_one_version_everywhere() -> None:
    version = drbdocfs_boot.__version__
    done = subprocess.run(["sh", str(TOP / "packaging/version")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"{version}\n"), done.stderr
    for page in (TOP / "packaging/man").iterdir():
        assert f'"drbdocfs-boot {version}"' in page.read_text(encoding="utf-8"), page.name


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("packaging/debian/changelog", "drbdocfs-boot (", "drbdocfs-boot (9"),
        ("packaging/rpm/drbdocfs-boot.spec", "Version:        ", "Version:        9"),
        ("drbdocfs_boot/__init__.py", '__version__ = "', '__version__ = "9'),
    ],
)
def test_another_version_anywhere_fails_the_build(tree: Path, file: str, old: str, new: str) -> None:
    text = (tree / file).read_text(encoding="utf-8")
    assert old in text
    (tree / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    done = subprocess.run(["sh", str(tree / "packaging/build-dist")], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stderr.startswith("version: ")
    assert not (tree / "dist").exists()


def test_the_example_is_inactive_and_right_once_activated(tmp_path: Path) -> None:
    from drbdocfs_boot import config

    text = (TOP / "packaging/examples/drbdocfs.conf").read_text(encoding="utf-8")
    place = tmp_path / "etc/drbdocfs/drbdocfs.conf"
    place.parent.mkdir(parents=True)
    place.write_text(text, encoding="utf-8")
    assert config.read(str(tmp_path)).stacks == ()
    assert config.read(str(tmp_path)).problems == ()
    place.write_text(re.sub(r"^#(?=[\[a-z])", "", text, flags=re.MULTILINE), encoding="utf-8")
    reading = config.read(str(tmp_path))
    assert reading.problems == ()
    assert [stack.name for stack in reading.stacks] == ["web"]
