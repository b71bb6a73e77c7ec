"""Tools are run with a limit, whatever they do."""

from __future__ import annotations

import time

import pytest

from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Process, Result, run

from .conftest import Box


def test_output_and_exit_code_arrive_whole(box: Box) -> None:
    box.tool("drbdadm", "head -c 300000 /dev/zero | tr '\\0' x; echo problem >&2; echo twice >&2; exit 17")
    result = run(["drbdadm", "primary", "r0"])
    assert (result.code, len(result.out), result.err) == (17, 300000, "problem\ntwice\n")
    assert result.said == "problem; twice"
    assert box.calls == ["drbdadm primary r0"]


def test_missing_tool_names_its_package(box: Box) -> None:
    with pytest.raises(Failure) as caught:
        run(["drbdadm", "adjust", "r0"])
    assert caught.value.status == 69
    assert str(caught.value) == "drbdadm is not installed: install the package drbd-utils"


def test_a_hanging_tool_is_ended_with_its_children(box: Box) -> None:
    box.tool("drbdsetup", "trap '' TERM; sleep 60 & echo $! > $ROOT/child; wait; sleep 60")
    began = time.monotonic()
    with pytest.raises(Failure) as caught:
        run(["drbdsetup", "down", "r0"], 0.5)
    assert time.monotonic() - began < 5
    assert caught.value.status == 75
    assert caught.value.message == "'drbdsetup down r0' was not done after 0 s"
    child = int((box.root / "child").read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.05)
    assert not _alive(child)


def test_a_child_left_behind_with_the_pipe_open_holds_nobody_up(box: Box) -> None:
    box.tool("o2cb", "sleep 30 & echo done")
    began = time.monotonic()
    assert run(["o2cb", "x"], 20).out == "done\n"
    assert time.monotonic() - began < 5


def test_what_a_tool_is_given_arrives_whole_and_ends(box: Box) -> None:
    box.tool("drbdadm", "wc -c")
    process = Process(["drbdadm"], given=b"x" * 3_000_000)
    said = b""
    while process.fds:
        for _, data in process.read(10):
            said += data
    assert process.wait(10) == 0
    assert said.split() == [b"3000000"]


def test_what_a_tool_is_given_is_waited_for_by_nobody(box: Box) -> None:
    box.tool("drbdadm", "exit 3")
    process = Process(["drbdadm"], given=b"x" * 3_000_000)  # more than any pipe takes
    try:
        assert process.wait(10) == 3
    finally:
        process.end()


def test_a_tool_that_is_given_nothing_reads_an_end(box: Box) -> None:
    box.tool("drbdadm", "wc -c")
    assert run(["drbdadm"]).out.split() == ["0"]


def test_a_file_that_cannot_be_run(box: Box) -> None:
    (box.bin / "losetup").write_bytes(b"\x00\x01\x02not a program")
    (box.bin / "losetup").chmod(0o755)
    with pytest.raises((Failure, OSError)):
        run(["losetup", "-l"])


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Command 'new-connection r0 --shared-secret=abc --x' terminated", "--shared-secret=*** --x' terminated"),
        ("--shared-secret='a b' --x", "--shared-secret=*** --x"),
        ("--shared-secret=abc", "--shared-secret=***"),
        ("--shared-secret=one; --shared-secret=two", "--shared-secret=***; --shared-secret=***"),
        ("nothing secret", "nothing secret"),
    ],
)
def test_a_secret_is_never_repeated(said: str, shown: str) -> None:
    assert Result(10, "", said).said.endswith(shown)
    assert "abc" not in Result(10, said, "").said
