"""docs/security.md against the units, and that looking needs no root."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drbdocfs_boot import cli, systemd
from drbdocfs_boot.systemd import UnitState
from tests.fuzz import unitreader

from .conftest import Box
from .test_check_areas import GOOD, plant

TOP = Path(__file__).parents[2]
UNITS = sorted((TOP / "units").glob("*.service"))
PAGE = (TOP / "docs/security.md").read_text(encoding="utf-8")
COMMON = set(re.findall(r"\w+", PAGE.partition('"common" is `')[2].partition("`")[0]))
# All that systemd.exec(5) has below "sandboxing", "capabilities", "security", and what systemd-analyze counts.
HARDENING = re.compile(
    r"(Protect|Private|Restrict|SystemCall|Capability|Ambient|NoNew|Lock|MemoryDeny|UMask|IPAddress|Device|Keyring|"
    r"Remove|RootDirectory|RootImage|Delegate|User$|Group$|DynamicUser|Read(Only|Write)Paths|Inaccessible|NoExec|"
    r"Exec(Paths)|Bind|TemporaryFileSystem|ProcSubset|SecureBits|SupplementaryGroups)"
)


def rows(heading: str) -> dict[str, list[str]]:
    """The further cells of a table's rows by service; the table is the one with this heading."""
    lines = PAGE.partition(heading + "\n")[2].splitlines()[1:]
    found = {}
    for line in lines:
        if not line.startswith("|"):
            break
        first, *rest = [cell.strip() for cell in line.strip("|").split("|")]
        found[first.strip("`")] = rest
    return found


SERVICES = rows("| service | score | ceiling | directives |")
RIGHTS = rows("| service | capabilities | address families |")


def service(path: Path) -> dict[str, str]:
    found = unitreader.assignments(path.read_text(encoding="utf-8"))
    return {key: value for section, key, value in found if section == "Service"}


def test_the_page_has_every_service_and_no_other() -> None:
    names = {path.name for path in UNITS}
    assert len(names) > 7
    assert set(SERVICES) == set(RIGHTS) == names


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_the_page_lists_the_directives_capabilities_and_sockets_that_the_unit_has(path: Path) -> None:
    has = service(path)
    words = SERVICES[path.name][2]
    assert words.startswith("common")
    without, _, more = words.removeprefix("common").partition(", and ")
    listed = (COMMON - set(re.findall(r"`(\w+)`", without))) | set(re.findall(r"\w+", more))
    assert listed == {key for key in has if HARDENING.match(key)}
    capabilities, families = RIGHTS[path.name]
    assert set(re.findall(r"CAP_\w+", capabilities)) == set(has["CapabilityBoundingSet"].split())
    assert set(re.findall(r"AF_\w+", families)) == set(has["RestrictAddressFamilies"].split())


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_no_service_is_more_open_than_its_ceiling() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", *map(str, UNITS)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze is older than 250, which has no --offline")
    found = re.findall(r"Overall exposure level for (\S+?)(?:@\S+)?\.service: ([\d.]+)", done.stdout)
    scores = {name: float(score) for name, score in found}
    assert set(scores) == {path.name.removesuffix(".service").removesuffix("@") for path in UNITS}, done.stderr
    for name, (score, ceiling, _) in SERVICES.items():
        assert scores[name.removesuffix(".service").removesuffix("@")] <= float(ceiling)
        assert float(score) <= float(ceiling)


def test_every_reader_of_the_fuzzer_has_its_counts() -> None:
    from tests.fuzz.targets import TARGETS

    counted = re.findall(r"^\| (\w+) \| [\d,]+ \| 0 to \d+ \| 0 \|$", PAGE, re.MULTILINE)
    assert counted == list(TARGETS)


# --- without root -------------------------------------------------------------------------------------------------


@pytest.fixture
def open_box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """A good host's tree that another user may enter, as pytest's own directories are not."""
    place = Path(tempfile.mkdtemp(prefix="drbdocfs-test-"))
    place.chmod(0o755)
    box = Box(place, monkeypatch)
    plant(box, GOOD)
    monkeypatch.setattr(
        systemd, "states", lambda names: {name: UnitState(name, "loaded", "active", "", "", "", 1) for name in names}
    )
    yield box
    shutil.rmtree(place)


def as_nobody(place: Path, call: Callable[[], int]) -> tuple[int, str]:
    """(exit status, standard output and error) of a call in a child that is nobody."""
    out = place / "out"
    with out.open("w+b") as file:
        child = os.fork()
        if not child:
            code = 99
            try:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                import sys

                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                code = call()
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        _, ended = os.waitpid(child, 0)
        file.seek(0)
        return os.waitstatus_to_exitcode(ended), file.read().decode()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("verb", ["check", "status"])
def test_who_is_not_root_sees_the_same_and_changes_nothing(
    open_box: Box, capfd: pytest.CaptureFixture[str], verb: str
) -> None:
    if verb == "status":
        open_box.tool("stat", "echo 1024 163796 148896 148000 40949 37224")
        open_box.write("/proc/self/mountinfo", "1 2 147:0 / /mnt/storage rw - ocfs2 /dev/drbd0 rw\n")
    status = cli.main([verb, "--json"])
    seen = json.loads(capfd.readouterr().out)
    before = {path: path.lstat().st_mtime_ns for path in open_box.root.rglob("*")}
    code, text = as_nobody(open_box.root.parent, lambda: cli.main([verb, "--json"]))
    found = json.loads(text)
    if verb == "status":
        assert code == 0
        (ours,), (theirs,) = found["stacks"], seen["stacks"]
        asked = {"drbd", "unreadable"}  # of DRBD, with root's tool
        assert len(ours["layers"]) > 3
        assert {key: ours[key] for key in ours.keys() - asked} == {key: theirs[key] for key in theirs.keys() - asked}
    else:
        # DRBD's file is closed for its secret, and that is said; all else is found.
        more = [one for one in found["findings"] if one not in seen["findings"]]
        assert [one["code"] for one in more] == ["not-permitted"]
        assert more[0]["message"].endswith(": /etc/drbd.d/r0.res")
        assert [one for one in found["findings"] if one not in more] == seen["findings"]
        assert code == (status or 77)
    assert {path: path.lstat().st_mtime_ns for path in open_box.root.rglob("*")} == before
