"""What the files themselves may do to the readers, and what the boot may not pay for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

import pytest

from drbdocfs_boot import config, lean
from drbdocfs_boot.stack import Problem, Reading

Reader = Callable[[str], Reading]
MAIN = "/etc/drbdocfs/drbdocfs.conf"
MORE = "/etc/drbdocfs/conf.d"
GOOD = "[ok]\nresource=r9\ndevice=/dev/drbd9\ncluster=c\nmountpoint=/srv/ok\n"


@pytest.fixture(params=[lean.read, config.read], ids=["lean", "config"])
def reader(request: pytest.FixtureRequest) -> Reader:
    chosen: Reader = request.param
    return chosen


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """/etc/drbdocfs below tmp_path, with one good stack in conf.d that has to survive whatever the main file is."""
    place = tmp_path / "etc/drbdocfs"
    (place / "conf.d").mkdir(parents=True)
    (place / "conf.d/ok.conf").write_text(GOOD)
    return place


def problem_of(reading: Reading) -> Problem:
    """The only problem, after it was seen that the good stack is there."""
    assert [stack.name for stack in reading.stacks] == ["ok"]
    assert reading.broken == ()
    (problem,) = reading.problems
    return problem


def test_directory(etc: Path, tmp_path: Path, reader: Reader) -> None:
    (etc / "drbdocfs.conf").mkdir()
    assert problem_of(reader(str(tmp_path))) == Problem(MAIN, 0, "", "is a directory; allowed: a regular file")


def test_pipe_is_not_waited_for(etc: Path, tmp_path: Path, reader: Reader) -> None:
    os.mkfifo(etc / "drbdocfs.conf")
    assert problem_of(reader(str(tmp_path))) == Problem(MAIN, 0, "", "is no regular file; allowed: a regular file")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nowhere", "No such file or directory"),
        ("drbdocfs.conf", "Too many levels of symbolic links"),
        ("conf.d/ok.conf/x", "Not a directory"),
    ],
)
def test_symbolic_link(etc: Path, tmp_path: Path, reader: Reader, target: str, why: str) -> None:
    (etc / "drbdocfs.conf").symlink_to(target)
    message = f"cannot be read: {why}; allowed: a regular file that root can read"
    assert problem_of(reader(str(tmp_path))) == Problem(MAIN, 0, "", message)


def test_followed_symbolic_link(etc: Path, tmp_path: Path, reader: Reader) -> None:
    (etc / "elsewhere").write_text("[x]\n")
    (etc / "drbdocfs.conf").symlink_to("elsewhere")
    assert reader(str(tmp_path)).broken == ("x",)


def test_conf_d_is_a_file(tmp_path: Path, reader: Reader) -> None:
    place = tmp_path / "etc/drbdocfs"
    place.mkdir(parents=True)
    (place / "conf.d").write_text("")
    (place / "drbdocfs.conf").write_text(GOOD)
    message = "cannot be listed: Not a directory; allowed: a directory that root can read"
    assert problem_of(reader(str(tmp_path))) == Problem(MORE, 0, "", message)


@pytest.mark.parametrize("directory", [False, True])
def test_permission(directory: bool) -> None:
    """As an ordinary user, since root may read everything."""
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        etc = base / "etc/drbdocfs"
        (etc / "conf.d").mkdir(parents=True)
        os.chmod(base, 0o755)
        (etc / "conf.d/ok.conf").write_text(GOOD)
        (etc / "drbdocfs.conf").write_text(GOOD)
        closed = etc / "conf.d" if directory else etc / "drbdocfs.conf"
        os.chmod(closed, 0)
        try:
            problems = [_as_nobody(read, place) for read in (lean.read, config.read)]
        finally:
            os.chmod(closed, 0o755)
    if directory:
        words = f"{MORE}: cannot be listed: Permission denied; allowed: a directory that root can read"
    else:
        words = f"{MAIN}: cannot be read: Permission denied; allowed: a regular file that root can read"
    assert problems == [[["ok"], words]] * 2


def _as_nobody(read: Reader, root: str) -> object:
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(out)
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            reading = read(root)
            found = [[stack.name for stack in reading.stacks], *map(str, reading.problems)]
            os.write(into, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


@pytest.mark.parametrize(
    ("data", "line", "byte"),
    [
        (b"[x]\n# caf\xe9\n", 2, "e9"),
        (b"\x7fELF\x02\x01\x01\0\0\n\0\xff", 2, "ff"),
        ("[x]\n".encode("utf-16"), 1, "ff"),
        (b"[x]\n\xed\xa0\x80", 2, "ed"),
        (b"[x]\xc0\x8a[y]", 1, "c0"),
        (b"[x]\nresource = r\xf0\x9f", 2, "f0"),
    ],
)
def test_not_utf8(etc: Path, tmp_path: Path, reader: Reader, data: bytes, line: int, byte: str) -> None:
    (etc / "drbdocfs.conf").write_bytes(data)
    message = f"the byte 0x{byte} is not UTF-8, so none of the file is read; allowed: text in UTF-8"
    assert problem_of(reader(str(tmp_path))) == Problem(MAIN, line, "", message)


def test_file_name_with_a_directive(etc: Path, tmp_path: Path, reader: Reader) -> None:
    """A file's name reaches SourcePath= in the units."""
    (etc / "conf.d/x\nExecStart=evil.conf").write_text("[x]\n")
    message = '"x\\nExecStart=evil.conf" is not read; allowed: names of files that can be printed'
    assert problem_of(reader(str(tmp_path))) == Problem(MORE, 0, "", message)


def test_file_name_that_is_no_text(etc: Path, tmp_path: Path, reader: Reader) -> None:
    (Path(os.fsdecode(os.fsencode(etc) + b"/conf.d/\xff.conf"))).write_text("[x]\n")
    message = '"\\udcff.conf" is not read; allowed: names of files that can be printed'
    assert problem_of(reader(str(tmp_path))) == Problem(MORE, 0, "", message)


def test_huge_file(etc: Path, tmp_path: Path, reader: Reader) -> None:
    with open(etc / "drbdocfs.conf", "wb") as file:
        file.truncate(1 << 40)
    message = "is larger than 8 MiB, so none of it is read; allowed: smaller files"
    assert problem_of(reader(str(tmp_path))) == Problem(MAIN, 0, "", message)


def test_file_of_zeros(etc: Path, tmp_path: Path, reader: Reader) -> None:
    """What some file systems leave after a power cut."""
    (etc / "drbdocfs.conf").write_bytes(bytes(4096))
    shown = "\\x00" * 60
    message = f'"{shown}…": holds the control character "\\x00"; allowed: text in lines that end in LF or CR LF'
    assert problem_of(reader(str(tmp_path))) == Problem(MAIN, 1, "", message)


def test_rubbish_is_told_briefly(etc: Path, tmp_path: Path, reader: Reader) -> None:
    rubbish = "a line of a log\n" * 1000
    (etc / "drbdocfs.conf").write_text(rubbish + "[x]\n" + rubbish + "[[y]]\n" * 1000)
    reading = reader(str(tmp_path))
    assert [stack.name for stack in reading.stacks] == ["ok"]
    assert reading.broken == ("x",)
    loose = [problem for problem in reading.problems if not problem.stack]
    assert len(loose) == 51
    assert loose[-1] == Problem(MAIN, 1000, "", "950 more lines down to here cannot be used")
    ours = [problem for problem in reading.problems if problem.stack == "x"]
    assert len(ours) == 20
    assert ours[-1].message.endswith("; and as there are so many, the rest of the section is not read")


def many(number: int, line: str) -> str:
    return "".join(
        f"[s{n}]\nresource = r{n}\ndevice = /dev/drbd{n}\nbacking_file = /srv/{n}.img\nloop_device = /dev/loop{n}\n"
        f"cluster = web # shared\nmountpoint = /srv/m/{n}\nmount_options = noatime,ro\nboot_timeout = 3min\n{line}\n"
        for n in range(number)
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("line", "good", "problems"),
    [("", 10_000, 0), ("devcie = x", 0, 10_000), ("rubbish", 0, 10_000), ("[s0]", 9_999, 10_001)],
)
def test_ten_thousand_stacks(tmp_path: Path, line: str, good: int, problems: int) -> None:
    """Linear, so that ten times as many take not much more than ten times as long; the limit leaves room for load."""
    place = tmp_path / "etc/drbdocfs"
    place.mkdir(parents=True)
    (place / "drbdocfs.conf").write_text(many(10_000, line))
    began = time.process_time()
    reading = lean.read(str(tmp_path))
    took = time.process_time() - began
    assert len(reading.stacks) == good
    assert len(reading.problems) == problems
    assert took < 5
    if not line:
        assert reading == config.read(str(tmp_path))


IMPORTS = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import drbdocfs_boot.lean
print(*sorted(set(sys.modules) - before))
drbdocfs_boot.lean.read(sys.argv[2])
print(*sorted(set(sys.modules) - before))
"""


def test_imports_at_boot(etc: Path, tmp_path: Path) -> None:
    """Only builtins, posix and our own lean modules, compared with the bare interpreter; reading adds none."""
    (etc / "drbdocfs.conf").write_text("[x]\nboot_timeout = 3 parsecs\nwh\xe4t\n")
    checkout = str(Path(lean.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORTS, checkout, str(tmp_path)], capture_output=True, text=True, check=True
    )
    allowed = {"posix", "drbdocfs_boot", "drbdocfs_boot.lean", "drbdocfs_boot.stack", "drbdocfs_boot.values"}
    for line in run.stdout.splitlines():
        assert set(line.split()) <= allowed
    assert len(run.stdout.splitlines()) == 2
