"""The loop layer: idempotent, and honest about what stands in its place."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from drbdocfs_boot.helpers import loop
from drbdocfs_boot.helpers.base import Layer
from drbdocfs_boot.tools.failure import Failure

from .conftest import Box

# A losetup with a memory: $ROOT/loops holds "NODE|FILE|RO" lines; "busy" makes -d exit 0 and release nothing.
LOSETUP = r"""
case "$1" in
--list) while IFS='|' read -r node file ro; do
    # As util-linux 2.38 prints it: blanks escaped, MAJ:MIN padded.
    stat --printf="$node $ro 0 %i \\\\x20\\\\x20%Hd:%Ld $(echo "$file" | sed 's/ /\\\\x20/g')\n" "$ROOT$file"
  done < $ROOT/loops ;;
--detach) [ -e $ROOT/busy ] || { grep -v "^$2|" $ROOT/loops > $ROOT/new; mv $ROOT/new $ROOT/loops
    rm -r $ROOT/sys/block/${2#/dev/}; } ;;
*) echo "$1|$2|0" >> $ROOT/loops; mkdir -p $ROOT/sys/block/${1#/dev/}/loop
  echo "$2" > $ROOT/sys/block/${1#/dev/}/loop/backing_file
  echo 0 | tee $ROOT/sys/block/${1#/dev/}/loop/offset > $ROOT/sys/block/${1#/dev/}/ro ;;
esac
"""


@pytest.fixture
def system(box: Box) -> Box:
    box.tool("losetup", LOSETUP)
    box.write("/sys/module/loop/x", "")
    box.write("/drbd-loop.img", "data")
    box.write("/loops", "")
    box.set(LOOP_DEVICE="/dev/loop7", BACKING_FILE="/drbd-loop.img")
    return box


def bind(box: Box, node: str, file: str, read_only: str = "0") -> None:
    box.write("/loops", (box.root / "loops").read_text() + f"{node}|{file}|{read_only}\n")
    box.write(f"/sys/block/{node[5:]}/loop/backing_file", file + "\n")


def start() -> None:
    loop.start(Layer("loop", "web"))


def stop() -> None:
    loop.stop(Layer("loop", "web"))


def changes(box: Box) -> list[str]:
    return [call for call in box.calls if "--list" not in call]


def refusal() -> Failure:
    with pytest.raises(Failure) as caught:
        start()
    return caught.value


def test_binds_and_releases(system: Box) -> None:
    start()
    assert (
        system.root / "run/drbdocfs/web.loop"
    ).read_text() == "LOOP_DEVICE=/dev/loop7\nBACKING_FILE=/drbd-loop.img\n"
    stop()
    assert changes(system) == ["losetup /dev/loop7 /drbd-loop.img", "losetup --detach /dev/loop7"]
    assert not (system.root / "run/drbdocfs/web.loop").exists()


def test_a_boot_on_which_nothing_is_bound_lists_nothing(system: Box) -> None:
    start()
    assert system.calls == ["losetup /dev/loop7 /drbd-loop.img"]


def test_a_file_that_the_kernel_calls_otherwise_is_known_by_its_number(system: Box) -> None:
    (system.root / "link.img").symlink_to("drbd-loop.img")
    system.set(BACKING_FILE="/link.img")
    kernel = LOSETUP.replace('echo "$2" > $ROOT', "echo /drbd-loop.img > $ROOT").replace("stat ", "stat -L ")
    system.tool("losetup", kernel)
    start()
    assert [call.split()[1] for call in system.calls] == ["/dev/loop7", "--list"]


# The other one is quicker: what losetup is asked to bind is bound, by him, and it fails.
RIVAL = LOSETUP.replace(";;\nesac", "\n  echo 'Device or resource busy' >&2; exit 1 ;;\nesac")


def test_an_init_script_that_binds_the_same_at_the_same_moment_is_no_error(system: Box) -> None:
    system.tool("losetup", RIVAL)
    start()
    assert (system.root / "run/drbdocfs/web.loop").exists()


def test_another_file_that_was_bound_at_the_same_moment_is_named(system: Box) -> None:
    system.write("/other.img", "data")
    system.tool("losetup", RIVAL.replace("$1|$2|0", "$1|/other.img|0"))
    assert refusal().message == "/dev/loop7 is taken by /other.img, so /drbd-loop.img cannot be bound to it"


def test_a_failure_with_nobody_else_there_is_losetups(system: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RACE_LIMIT", 0.3)
    system.tool("losetup", "[ $1 = --list ] || { echo 'Permission denied' >&2; exit 1; }")
    assert refusal().message == "losetup /dev/loop7 /drbd-loop.img failed: Permission denied"


@pytest.mark.parametrize("what", ["offset", "ro"])
def test_a_bind_that_came_out_otherwise_is_looked_at(system: Box, what: str) -> None:
    changed = f"echo 1 > $ROOT/sys/block/loop7/{'loop/' if what == 'offset' else ''}{what}"
    system.tool("losetup", LOSETUP.replace(";;\nesac", f"\n{changed} ;;\nesac").replace("|0\"", "|1\""))
    assert "but read-only" in refusal().message


def test_twice_or_by_hand_is_no_error_and_changes_nothing(system: Box) -> None:
    bind(system, "/dev/loop7", "/drbd-loop.img")
    start()
    start()
    assert changes(system) == []
    stop()
    stop()
    assert changes(system) == ["losetup --detach /dev/loop7"]


def test_a_name_that_leads_to_the_same_file_is_the_same_file(system: Box) -> None:
    os.link(system.root / "drbd-loop.img", system.root / "other-name.img")
    bind(system, "/dev/loop7", "/other-name.img")
    start()
    assert changes(system) == []


def test_number_taken_by_another_file(system: Box) -> None:
    system.write("/snap/core.snap", "x")
    bind(system, "/dev/loop7", "/snap/core.snap")
    failure = refusal()
    assert failure.status == 78
    assert failure.message == "/dev/loop7 is taken by /snap/core.snap, so /drbd-loop.img cannot be bound to it"
    assert changes(system) == []


def test_a_file_name_with_blanks(system: Box) -> None:
    system.write("/my images/ü.img", "x")
    system.set(BACKING_FILE="/my images/ü.img")
    start()
    start()
    assert changes(system) == ["losetup /dev/loop7 /my images/ü.img"]
    system.set(BACKING_FILE="/drbd-loop.img")
    assert "/dev/loop7 is taken by /my images/ü.img" in refusal().message


def test_file_bound_to_another_number(system: Box) -> None:
    bind(system, "/dev/loop3", "/drbd-loop.img")
    assert refusal().message == "/drbd-loop.img is bound to /dev/loop3 already, not to /dev/loop7"
    assert changes(system) == []


def test_bound_read_only(system: Box) -> None:
    bind(system, "/dev/loop7", "/drbd-loop.img", "1")
    assert refusal().message == "/dev/loop7 is bound to /drbd-loop.img, but read-only"


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: f.unlink(), "backing file /drbd-loop.img: No such file or directory"),
        (lambda f: (f.unlink(), f.mkdir()), "backing file /drbd-loop.img is not a regular file"),
        (lambda f: f.write_text(""), "backing file /drbd-loop.img is empty"),
    ],
)
def test_backing_file_missing_or_wrong(system: Box, prepare, message: str) -> None:  # type: ignore[no-untyped-def]
    prepare(system.root / "drbd-loop.img")
    assert refusal().message == message
    assert changes(system) == []


def test_losetup_that_lies_is_found_out(system: Box) -> None:
    system.tool("losetup", "exit 0")
    assert refusal().message == "/dev/loop7 is not bound to /drbd-loop.img although losetup said so"


@pytest.mark.slow
def test_losetup_that_fails_is_quoted(system: Box) -> None:
    system.tool("losetup", "[ $1 = --list ] && exit 0; echo 'losetup: /drbd-loop.img: failed' >&2; exit 1")
    assert refusal().message == "losetup /dev/loop7 /drbd-loop.img failed: losetup: /drbd-loop.img: failed"


def test_module_missing(system: Box) -> None:
    (system.root / "sys/module/loop/x").unlink()
    (system.root / "sys/module/loop").rmdir()
    assert refusal().message == "the kernel module loop is not loaded and could not be"


def test_stop_names_what_is_above(system: Box) -> None:
    start()
    system.write("/sys/block/loop7/holders/drbd0", "")
    with pytest.raises(Failure, match="/dev/loop7 is in use by /dev/drbd0 and stays bound to /drbd-loop.img"):
        stop()
    assert "losetup --detach /dev/loop7" not in changes(system)


def test_stop_does_not_believe_exit_0_of_a_busy_device(system: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    start()
    system.write("/busy", "")
    monkeypatch.setattr(loop, "RELEASE_LIMIT", 0.3)
    with pytest.raises(Failure, match="/dev/loop7 is still bound to /drbd-loop.img: something holds it open"):
        stop()


def test_stop_leaves_a_stranger_alone(system: Box) -> None:
    system.write("/other.img", "x")
    bind(system, "/dev/loop7", "/other.img")
    stop()
    assert changes(system) == []


def test_stop_works_after_the_stack_was_taken_out_of_the_configuration(
    system: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    monkeypatch.delenv("DRBDOCFS_LOOP_DEVICE")
    monkeypatch.delenv("DRBDOCFS_BACKING_FILE")
    (system.root / "drbd-loop.img").unlink()
    stop()
    assert changes(system)[-1] == "losetup --detach /dev/loop7"


def test_nothing_configured(system: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRBDOCFS_LOOP_DEVICE")
    assert refusal().message == "nothing is configured for loop of 'web' (LOOP_DEVICE is not set)"


def test_the_script_ends_with_the_status_and_the_words(system: Box, tmp_path: Path) -> None:
    script = Path(__file__).parent.parent.parent / "libexec" / "loop"
    (system.root / "drbd-loop.img").unlink()
    result = subprocess.run([script, "start", "web"], capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 69
    assert result.stderr.splitlines() == [
        "<3>web: backing file /drbd-loop.img: No such file or directory",
        "<3>web: what to do: is its file system mounted, and was the file not moved?",
    ]
    assert subprocess.run([script, "jump", "web"], capture_output=True, timeout=20, check=False).returncode == 2
    assert subprocess.run([script, "start", "../x"], capture_output=True, timeout=20, check=False).returncode == 2


def test_a_mistake_of_our_own_is_one_line_and_no_traceback(system: Box) -> None:
    system.tool("losetup", "echo '/dev/loop7 0 zero 5 7:0 /drbd-loop.img'")
    script = Path(__file__).parent.parent.parent / "libexec" / "loop"
    result = subprocess.run([script, "start", "web"], capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 70
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("<3>web: loop start: internal error in ")
    assert "losetup.py:" in result.stderr
    assert "ValueError" in result.stderr
