"""Whole trees: what the generator writes for an input directory, byte for byte, and what systemd thinks of it.

``cases/NAME/input`` is the root of a system, ``cases/NAME/expected`` the tree (``early/``: what goes before the
administrator's own files), ``cases/NAME/messages`` what it says.
``UPDATE_GOLDEN=1 pytest tests/generator`` writes the last two anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent
CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())
UNIT_PATHS = ("/usr/lib/systemd/system", "/lib/systemd/system")
GENERATORS = ("/usr/lib/systemd/system-generators", "/lib/systemd/system-generators")


def generate(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """The generator as systemd calls it, for another root."""
    places = [out / name for name in ("normal", "early", "late")]
    for place in places:
        place.mkdir(parents=True)
    return subprocess.run(
        [TOP / "generators" / "drbdocfs-generator", *places],
        env={"DRBDOCFS_ROOT": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def tree(place: Path) -> dict[str, str]:
    """Path -> text, or ``-> target`` for a link."""
    return {
        str(path.relative_to(place)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in sorted(place.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def written(out: Path) -> dict[str, str]:
    """Both trees of a run, the second one's paths as `generate` shows them."""
    assert tree(out / "late") == {}
    return {**tree(out / "normal"), **{f"early/{name}": text for name, text in tree(out / "early").items()}}


def write_tree(place: Path, files: dict[str, str]) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            (place / name).symlink_to(text[3:])
        else:
            (place / name).write_text(text)
    if not files:
        (place / ".nothing").write_text("")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tree(case: Path, tmp_path: Path) -> None:
    result = generate(case / "input", tmp_path)
    found = written(tmp_path)
    assert result.stdout == ""
    if os.environ.get("UPDATE_GOLDEN"):
        write_tree(case / "expected", found)
        (case / "messages").write_text(result.stderr)
    assert result.returncode == 0
    assert result.stderr == (case / "messages").read_text()
    expected = tree(case / "expected")
    expected.pop(".nothing", None)
    assert found == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_command_writes_the_same(case: Path, tmp_path: Path) -> None:
    generate(case / "input", tmp_path)
    off = (case / "input/proc/cmdline").exists()
    result = subprocess.run(
        ["/usr/bin/python3", "-m", "drbdocfs_boot", "--root", case / "input", "generate", "--to", tmp_path / "to"],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if off:  # the command shows what would be written without the switch
        assert tree(tmp_path / "to") != {}
        return
    assert tree(tmp_path / "to") == written(tmp_path)
    messages = (case / "messages").read_text()
    assert result.returncode == (78 if messages else 0)
    assert result.stderr == messages.replace("drbdocfs-generator: ", "drbdocfs: ")


# --- what systemd thinks of the trees -------------------------------------------------------------------------


def verify(case: Path, tmp_path: Path, extra: dict[str, str] | None = None) -> list[str]:
    """``systemd-analyze verify`` with the distribution's units: the lines that concern us, or a cycle."""
    generate(case / "input", tmp_path)
    ours = tmp_path / "ours"
    shutil.copytree(TOP / "units", ours)
    for unit in ours.iterdir():
        unit.write_text(unit.read_text().replace("/usr/libexec/drbdocfs-boot", str(TOP / "libexec")))
    for name, text in (extra or {}).items():
        (ours / name).parent.mkdir(parents=True, exist_ok=True)
        (ours / name).write_text(text)
    (ours / "multi-user.target.wants").mkdir()
    (ours / "multi-user.target.wants" / "drbdocfs.target").symlink_to("../drbdocfs.target")
    fstab = case / "input/etc/fstab"
    from_fstab = tmp_path / "fstab"
    from_fstab.mkdir()
    if fstab.is_file():
        tool = next(Path(d) / "systemd-fstab-generator" for d in GENERATORS if Path(d).is_dir())
        subprocess.run(
            [tool, from_fstab, from_fstab, from_fstab],
            env={"SYSTEMD_FSTAB": str(fstab), "PATH": "/usr/bin:/bin"},
            check=True,
            timeout=60,
            capture_output=True,
        )
    units = sorted(p.name for d in (tmp_path / "normal", from_fstab) for p in d.glob("*.mount"))
    path = ":".join([*(str(tmp_path / name) for name in ("early", "normal", "ours", "fstab")), *UNIT_PATHS])
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "multi-user.target", "drbdocfs.target", *units],
        env={"SYSTEMD_UNIT_PATH": path, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = (result.stdout + result.stderr).splitlines()
    return [line for line in lines if "drbd" in line or "cycle" in line or any(unit in line for unit in units)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_systemd_finds_nothing_wrong(case: Path, tmp_path: Path) -> None:
    assert verify(case, tmp_path) == []


def test_an_ordering_cycle_would_be_found(tmp_path: Path) -> None:
    # The guard of the test above: a mount that local-fs.target waits for, while it needs the network itself.
    extra = {"local-fs.target.d/planted.conf": "[Unit]\nAfter=mnt-storage.mount\nRequires=mnt-storage.mount\n"}
    case = Path(__file__).parent / "cases" / "one-stack"
    assert any("cycle" in line for line in verify(case, tmp_path, extra))


def test_a_wrong_directive_would_be_found(tmp_path: Path) -> None:
    extra = {"drbdocfs-wait@.service.d/planted.conf": "[Service]\nTimeoutStartSecs=3\n"}
    case = Path(__file__).parent / "cases" / "one-stack"
    assert any("TimeoutStartSecs" in line for line in verify(case, tmp_path, extra))
