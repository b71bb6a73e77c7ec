"""The witness as a program, with takers that race, die and come late; and its client, with an ssh that does as well."""

from __future__ import annotations

import ast
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drbdocfs_boot.tools import witness
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Process

from .conftest import Box

PROGRAM = Path(__file__).parent.parent.parent / "libexec/witness"
G = "1F7E03AC52D4B6A8"
OTHER = "00000000DEADBEE0"
NAMESPACE = ["unshare", "--mount", "--map-root-user"] if os.geteuid() else ["unshare", "--mount"]

# Runs the program with a hand on its system calls: sys.argv is MODE NUMBER PROGRAM DIRECTORY WORDS…
# before, after: killed there at call NUMBER; link: at the first link(2) it says so and goes on after a line;
# trace: says each call on standard error.
HARNESS = r"""
import os, signal, sys
mode, number = sys.argv[1], int(sys.argv[2])
calls = 0
def wrap(name):
    real = getattr(os, name)
    def call(*args, **options):
        global calls, mode
        calls += 1
        what = name + ("" if name not in ("open", "write", "fsync") else " " + str(args[0]))
        if mode == "trace" and args[0] != 2:
            real_write(2, (what + "\n").encode())
        if mode == "before" and calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "link" and name == "link":
            mode = ""
            real_write(2, b"ready\n")
            os.read(0, 1)
        mine = calls
        try:
            return real(*args, **options)
        finally:
            if mode == "after" and mine == number:
                os.kill(os.getpid(), signal.SIGKILL)
    setattr(os, name, call)
real_write = os.write
for name in ("open", "write", "fsync", "link", "unlink", "close", "mkdir"):
    wrap(name)
program = sys.argv[3]
del sys.argv[:3]
with open(program) as text:  # not runpy, whose import costs more than Python's start
    code = compile(text.read(), program, "exec")
exec(code, {"__name__": "__main__"})
"""


class Said(tuple[int, str]):
    """Exit status and output; ``err`` beside."""

    err: str

    def __new__(cls, done: subprocess.CompletedProcess[str]) -> Said:
        said = super().__new__(cls, (done.returncode, done.stdout))
        said.err = done.stderr
        return said


class Witness:
    """The program on a directory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __call__(self, *words: str, **options: object) -> Said:
        return self.run([str(PROGRAM), str(self.place), *words], **options)

    def run(self, argv: list[str], **options: object) -> Said:
        given = {"capture_output": True, "text": True, "timeout": 30, "check": False, "stdin": subprocess.DEVNULL}
        done: subprocess.CompletedProcess[str] = subprocess.run(argv, **{**given, **options})  # type: ignore[call-overload]
        return Said(done)

    def ssh(self, command: str) -> Said:
        """As sshd runs it: the words only in the environment."""
        return self(env={**os.environ, "SSH_ORIGINAL_COMMAND": command})

    def harness(self, mode: str, number: int, *words: str) -> list[str]:
        return [sys.executable, "-IS", "-c", HARNESS, mode, str(number), str(PROGRAM), str(self.place), *words]

    def paused(self, *words: str) -> subprocess.Popen[str]:
        """A program that has looked at the state and is about to make its link."""
        process = subprocess.Popen(
            self.harness("link", 0, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        return process

    def holder(self, generation: str = G) -> str:
        """Who holds it, by the list; "" for nobody."""
        code, out = self("list")
        assert code == 0
        held = {line.split()[0]: line.split()[1] for line in out.splitlines()}
        assert len(held) == len(out.splitlines())
        return held.get(generation, "")

    def names(self) -> set[str]:
        return set(os.listdir(self.place)) - {".drbdocfs-witness"}


@pytest.fixture
def lock(tmp_path: Path) -> Witness:
    made = Witness(tmp_path / "locks")
    assert made("init")[0] == 0
    return made


def goes_on(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate("\n", timeout=30)
    return process.returncode, out


# --- one after the other --------------------------------------------------------------------------------------


def test_the_first_one_gets_it_and_the_other_is_told_who(lock: Witness) -> None:
    assert lock("take", G, "server1", "a1", "web") == (0, "taken\n")
    assert lock("take", G, "server2", "b1", "web") == (1, "held server1\n")
    assert lock("take", OTHER, "server2", "b2") == (0, "taken\n")
    code, out = lock("list")
    assert code == 0
    first, second = out.splitlines()
    assert re.fullmatch(rf"{OTHER} server2 b2 \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ -", first)
    assert re.fullmatch(rf"{G} server1 a1 \S+Z web", second)
    assert lock("list", "web") == (0, second + "\n")
    assert lock("list", "mail") == (0, "")


def test_after_its_release_the_other_one_gets_it(lock: Witness) -> None:
    assert lock("take", G, "server1", "a1")[0] == 0
    assert lock("release", G, "a1") == (0, "released\n")
    assert lock("list") == (0, "")
    assert lock("release", G, "a1") == (0, "not held\n")
    assert lock("take", G, "server2", "b1") == (0, "taken\n")
    assert lock("take", G, "server1", "a2") == (1, "held server2\n")


def test_both_nodes_ask_for_the_same_lock_whichever_is_primary_and_however_it_is_written(lock: Witness) -> None:
    assert lock("take", "1f7e03ac52d4b6a9", "server1", "a1")[0] == 0
    assert lock("take", G, "server2", "b1") == (1, "held server1\n")
    assert lock("release", "1F7E03AC52D4B6A9", "a1") == (0, "released\n")


@pytest.mark.parametrize("nonce", ["a1", "a2"])
def test_who_has_it_is_told_so_again_when_the_answer_was_lost(lock: Witness, nonce: str) -> None:
    assert lock("take", G, "server1", "a1")[0] == 0
    assert lock("take", G, "server1", nonce) == (0, "taken\n")
    assert lock.holder() == "server1"
    # By the new nonce now.
    assert lock("release", G, nonce) == (0, "released\n")
    assert lock.holder() == ""


def test_a_late_release_does_not_take_away_the_newer_lock(lock: Witness) -> None:
    lock("take", G, "server1", "a1")
    lock("take", G, "server1", "a2")
    assert lock("release", G, "a1") == (0, "not held\n")
    assert lock.holder() == "server1"
    # … and not the other node's.
    lock("release", G, "a2")
    lock("take", G, "server2", "b1")
    assert lock("release", G, "a2") == (0, "not held\n")
    assert lock("release", G, "a1") == (0, "not held\n")
    assert lock.holder() == "server2"


def test_a_take_that_arrives_after_its_release_takes_nothing(lock: Witness) -> None:
    """It was given up and released; a lock for nobody would keep the other node out."""
    assert lock("release", G, "a1") == (0, "not held\n")
    code, out = lock("take", G, "server1", "a1")
    assert (code, out) == (65, "")
    assert lock.holder() == ""
    # A second one of the same tenure, asked before it, neither.
    lock("take", G, "server1", "a2")
    lock("take", G, "server1", "a3")
    lock("release", G, "a3")
    assert lock("take", G, "server1", "a2")[0] == 65
    assert lock("take", G, "server1", "a4") == (0, "taken\n")


def test_a_release_of_what_was_never_taken_frees_nothing_of_others(lock: Witness) -> None:
    lock("take", G, "server1", "a1")
    assert lock("release", G, "zz") == (0, "not held\n")
    assert lock("take", G, "server2", "b1") == (1, "held server1\n")
    assert lock("release", G, "a1") == (0, "released\n")


def test_nothing_is_decided_by_the_time(lock: Witness) -> None:
    lock("take", G, "server1", "a1")
    for when in (0, 4_000_000_000):
        for path in lock.place.iterdir():
            os.utime(path, (when, when))
        assert lock("take", G, "server2", "b1") == (1, "held server1\n")
    lock("release", G, "a1")
    for path in lock.place.iterdir():
        os.utime(path, (0, 0))
    assert lock("take", G, "server1", "a1")[0] == 65


def test_files_and_directory_are_nobody_elses(lock: Witness) -> None:
    old = os.umask(0)
    try:
        lock("take", G, "server1", "a1")
    finally:
        os.umask(old)
    assert lock.place.stat().st_mode & 0o7777 == 0o700
    assert {path.stat().st_mode & 0o7777 for path in lock.place.iterdir()} == {0o600}


# --- at the same time -----------------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_of_two_at_the_same_instant_exactly_one_wins_every_time(lock: Witness) -> None:
    answers = {}
    for number in range(60):
        generation = f"{0x1000 + number * 2:016X}"
        takers = [lock.paused("take", generation, name, name + "x") for name in ("server1", "server2")]
        for taker in takers if number % 2 else reversed(takers):
            assert taker.stdin is not None
            taker.stdin.write("\n")
            taker.stdin.flush()
        answers[generation] = [goes_on(taker) for taker in takers]
    holders = {line.split()[0]: line.split()[1] for line in lock("list")[1].splitlines()}
    won = {"server1": [(0, "taken\n"), (1, "held server1\n")], "server2": [(1, "held server2\n"), (0, "taken\n")]}
    assert answers == {generation: won[holder] for generation, holder in holders.items()}
    winners = set(holders.values())
    assert winners == {"server1", "server2"}
    assert not [name for name in lock.names() if name.startswith(".")]


@pytest.mark.exhaustive
def test_of_many_real_ones_exactly_one_wins_every_time(lock: Witness) -> None:
    for number in range(10):
        generation = f"{0x9000 + number * 2:016X}"
        takers = [
            subprocess.Popen(
                [str(PROGRAM), str(lock.place), "take", generation, f"server{one}", f"n{one}"],
                stdout=subprocess.PIPE, text=True,
            )
            for one in range(6)
        ]  # fmt: skip
        answers = sorted(taker.communicate(timeout=30)[0] for taker in takers)
        assert answers == ["held " + lock.holder(generation) + "\n"] * 5 + ["taken\n"]


def test_a_taker_that_saw_it_free_is_refused_when_the_other_was_faster(lock: Witness) -> None:
    late = lock.paused("take", G, "server2", "b1")
    assert lock("take", G, "server1", "a1") == (0, "taken\n")
    assert goes_on(late) == (1, "held server1\n")


def test_a_release_by_an_old_nonce_that_meets_a_new_take_frees_nothing(lock: Witness) -> None:
    lock("take", G, "server1", "a1")
    late = lock.paused("release", G, "a1")
    assert lock("take", G, "server1", "a2") == (0, "taken\n")
    assert goes_on(late) == (0, "not held\n")
    assert lock("take", G, "server2", "b1") == (1, "held server1\n")


def test_a_holder_that_asks_again_while_it_is_released_and_taken_by_the_other_is_refused(lock: Witness) -> None:
    lock("take", G, "server1", "a1")
    late = lock.paused("take", G, "server1", "a2")
    assert lock("release", G, "a1") == (0, "released\n")
    assert lock("take", G, "server2", "b1") == (0, "taken\n")
    assert goes_on(late) == (1, "held server2\n")


def test_the_same_question_twice_at_once_is_one_lock(lock: Witness) -> None:
    late = lock.paused("take", G, "server1", "a1")
    assert lock("take", G, "server1", "a1") == (0, "taken\n")
    assert goes_on(late) == (0, "taken\n")
    assert lock.names() == {f"{G}.0001"}


def test_a_file_taken_for_left_over_while_it_was_needed_is_made_again(lock: Witness) -> None:
    late = lock.paused("take", G, "server1", "a1")
    (new,) = lock.names()
    (lock.place / new).unlink()
    assert goes_on(late) == (0, "taken\n")
    assert lock.holder() == "server1"


# --- killed, full, forbidden ----------------------------------------------------------------------------------


def calls_of(lock: Witness, *words: str) -> list[str]:
    said = lock.run(lock.harness("trace", 0, *words))
    assert said[0] == 0
    return said.err.splitlines()


def test_the_answer_comes_after_all_is_durable(lock: Witness) -> None:
    """The file before its name, the name before the answer."""
    calls = [call.split()[0] for call in calls_of(lock, "take", G, "server1", "a1")]
    written = calls.index("write")
    assert calls[written:] == ["write", "fsync", "close", "link", "unlink", "fsync", "write"]
    # Who finds it taken by itself does not know whether its first one came to the fsync.
    again = [call.split()[0] for call in calls_of(lock, "take", G, "server1", "a1")]
    assert again[-2:] == ["fsync", "write"]
    freed = [call.split()[0] for call in calls_of(lock, "release", G, "a1")]
    assert freed[-7:] == ["write", "fsync", "close", "link", "unlink", "fsync", "write"]


@pytest.mark.exhaustive
def test_killed_anywhere_a_take_leaves_all_or_nothing(lock: Witness) -> None:
    """… and what was answered stays."""
    many = len(calls_of(lock, "take", OTHER, "server1", "x"))
    assert many > 8
    seen = set()
    for number in range(1, many + 1):
        generation = f"{0x1000 + number * 2:016X}"
        code, out = lock.run(lock.harness("after", number, "take", generation, "server1", "a1"))
        assert code == -signal.SIGKILL
        holder = lock.holder(generation)
        assert out == "" or holder == "server1"
        seen.add((holder, out))
        assert lock("take", generation, "server2", "b1") == ((1, "held server1\n") if holder else (0, "taken\n"))
        again = lock("take", generation, "server1", "a1")
        assert again == ((0, "taken\n") if holder else (1, "held server2\n"))
    # Nothing done; done and not said; all done: the last call is the answer.
    assert seen == {("", ""), ("server1", ""), ("server1", "taken\n")}


@pytest.mark.exhaustive
def test_killed_anywhere_a_release_has_freed_it_or_not(lock: Witness) -> None:
    lock("take", OTHER, "server1", "x")
    many = len(calls_of(lock, "release", OTHER, "x"))
    seen = set()
    for number in range(1, many + 1):
        generation = f"{0x1000 + number * 2:016X}"
        lock("take", generation, "server1", "a1")
        lock.run(lock.harness("before", number, "release", generation, "a1"))
        seen.add(lock.holder(generation))
        assert lock("release", generation, "a1")[0] == 0
        assert lock.holder(generation) == ""
    assert seen == {"", "server1"}


@pytest.mark.exhaustive
def test_killed_anywhere_init_can_be_done_again(tmp_path: Path) -> None:
    many = len(calls_of(Witness(tmp_path / "whole"), "init"))
    for number in range(1, many + 1):
        one = Witness(tmp_path / f"locks{number}")
        one.run(one.harness("before", number, "init"))
        code, out = one("init")
        assert code == 0
        assert one("probe") == (0, out)


def test_what_killed_ones_left_behind_goes_away_when_it_is_old(lock: Witness) -> None:
    for name, age in ((".new.1.a", 3 * 86400), (".new.2.b", 60)):
        (lock.place / name).write_text("half")
        os.utime(lock.place / name, (time.time() - age,) * 2)
    lock("release", G, "a1")
    assert ".new.1.a" not in lock.names()
    assert ".new.2.b" in lock.names()


def full_by_limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5))


def test_on_a_disk_that_takes_half_the_file_nothing_is_taken(lock: Witness) -> None:
    code, out = lock("take", G, "server1", "a1", preexec_fn=full_by_limit)
    assert (code, out) == (74, "")
    assert lock.names() == set()
    assert lock("probe", preexec_fn=full_by_limit)[0] == 74
    assert lock("take", G, "server2", "b1") == (0, "taken\n")
    # Who has it already needs no room.
    assert lock("take", G, "server2", "b1", preexec_fn=full_by_limit) == (0, "taken\n")
    assert lock("take", G, "server2", "b2", preexec_fn=full_by_limit)[0] == 74
    assert lock("release", G, "b1", preexec_fn=full_by_limit)[0] == 74
    assert lock.holder() == "server2"


def test_an_answer_that_cannot_be_written_is_no_answer(lock: Witness) -> None:
    with open("/dev/full", "w") as full:
        argv = [str(PROGRAM), str(lock.place), "take", G, "server1", "a1"]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 74
    assert lock("take", G, "server1", "a1") == (0, "taken\n")


@pytest.fixture
def namespace() -> None:
    done = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False) if shutil.which("unshare") else None
    if done is None or done.returncode:
        pytest.skip("mount namespaces are not to be had here")


@pytest.mark.usefixtures("namespace")
def test_on_a_full_disk_nothing_is_taken(lock: Witness) -> None:
    script = f"""
        mount -t tmpfs -o size=8k,mode=700 none {lock.place}
        {PROGRAM} {lock.place} init >/dev/null
        dd if=/dev/zero of={lock.place}/filler bs=4096 2>/dev/null
        {PROGRAM} {lock.place} take {G} server1 a1; echo $?
        {PROGRAM} {lock.place} probe; echo $?
        rm {lock.place}/filler
        {PROGRAM} {lock.place} list
        {PROGRAM} {lock.place} take {G} server2 b1; echo $?
    """
    said = lock.run([*NAMESPACE, "sh", "-c", script])
    assert said[1] == "74\n74\ntaken\n0\n", said.err
    assert "No space left on device" in said.err


@pytest.mark.usefixtures("namespace")
def test_in_a_directory_that_is_read_only_nothing_is_taken(lock: Witness) -> None:
    lock("take", OTHER, "server1", "a1")
    script = f"""
        mount --bind {lock.place} {lock.place} && mount -o remount,bind,ro {lock.place} || exit 99
        {PROGRAM} {lock.place} probe; echo $?
        {PROGRAM} {lock.place} take {G} server1 a1; echo $?
        {PROGRAM} {lock.place} take {OTHER} server2 b1; echo $?
        {PROGRAM} {lock.place} release {OTHER} a1; echo $?
    """
    assert lock.run([*NAMESPACE, "sh", "-c", script])[1] == "74\n74\nheld server1\n1\n74\n"
    assert lock.holder() == ""
    assert lock.holder(OTHER) == "server1"


# --- the directory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["probe"], ["take", G, "server1", "a1"], ["release", G, "a1"], ["list"]])
def test_a_directory_that_is_missing_or_was_never_set_up_gives_no_lock_and_is_not_made(
    tmp_path: Path, words: list[str]
) -> None:
    """It is an unmounted file system, on each node its own: both would win."""
    missing = Witness(tmp_path / "locks")
    code, out = missing(*words)
    assert (code, out) == (69, "")
    assert not missing.place.exists()
    missing.place.mkdir(mode=0o700)
    said = missing(*words)
    assert said == (78, "")
    assert f"witness {missing.place} init" in said.err
    assert list(missing.place.iterdir()) == []


def test_init_makes_the_last_part_only_and_changes_nothing_when_done_again(tmp_path: Path) -> None:
    assert Witness(tmp_path / "a/b")("init")[0] == 74
    assert not (tmp_path / "a").exists()
    one = Witness(tmp_path / "a")
    said = one("init")
    assert re.fullmatch(r"ok 1 [0-9a-f]{16}\n", said[1])
    assert one.place.stat().st_mode & 0o7777 == 0o700
    one("take", G, "server1", "a1")
    assert one("init") == said
    assert one("probe") == said
    assert one.holder() == "server1"
    # Another directory has another name: two nodes can see that they do not ask at the same place.
    assert Witness(tmp_path / "b")("init") != said


def test_a_probe_leaves_nothing(lock: Witness) -> None:
    assert lock("probe")[0] == 0
    assert lock.names() == set()


def test_a_directory_in_which_others_may_write_is_refused(lock: Witness) -> None:
    lock.place.chmod(0o770)
    said = lock("take", G, "server1", "a1")
    assert said == (77, "")
    assert f"chmod 0700 {lock.place}" in said.err


@pytest.mark.parametrize("target", ["nowhere", "victim"])
def test_a_planted_link_is_not_followed_and_gives_no_lock(lock: Witness, tmp_path: Path, target: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("drbdocfs-witness 1: lock server2 b1 2026-11-24T00:00:00Z -\n")
    before = victim.read_text()
    (lock.place / f"{G}.0001").symlink_to(tmp_path / target)
    for words in (["take", G, "server2", "b1"], ["release", G, "b1"]):
        code, out = lock(*words)
        assert (code, out) == (65, "")
    assert victim.read_text() == before
    assert not (tmp_path / "nowhere").exists()


def test_a_link_to_a_directory_is_refused(lock: Witness, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(lock.place)
    for place in (tmp_path / "link", f"{tmp_path}/link/"):
        assert Witness(Path(place)).run([str(PROGRAM), str(place), "take", G, "server1", "a1"])[0] == 78
    assert lock.names() == set()


GOOD = "drbdocfs-witness 1: lock server1 a1 2026-11-24T00:00:00Z -\n"


@pytest.mark.parametrize(
    "text",
    ["", "\n", GOOD[:-1], GOOD + GOOD, GOOD[:30], GOOD.replace(" 1:", " 2:"), GOOD.replace("a1", "a/1"),
     GOOD.replace("server1", "\xff"), GOOD.replace("server1 ", ""), GOOD.replace("lock", "luck"), "x" * 5000,
     GOOD.replace("server1", "")],
)  # fmt: skip
@pytest.mark.slow
def test_a_damaged_lock_is_nobodys_and_cannot_be_taken(lock: Witness, text: str) -> None:
    (lock.place / f"{G}.0001").write_text(text, encoding="latin-1")
    lock("take", OTHER, "server2", "b1")
    for words in (["take", G, "server1", "a1"], ["take", G, "server2", "b1"], ["release", G, "a1"]):
        said = lock(*words)
        assert said == (65, "")
        assert f"{lock.place}/{G}.0001 is damaged" in said.err
    said = lock("list")
    assert said[0] == 65
    assert said[1].startswith(f"{OTHER} server2 b1 ")
    assert said[1].count("\n") == 1


def test_the_good_text_of_the_damaged_ones_is_good(lock: Witness) -> None:
    (lock.place / f"{G}.0001").write_text(GOOD)
    assert lock("take", G, "server2", "b1") == (1, "held server1\n")


def test_a_list_passes_over_rubbish_and_says_so(lock: Witness, tmp_path: Path) -> None:
    lock("take", G, "server1", "a1")
    for name in ("README", "notes.txt", G, f"{G}.x", "0000000000000000.0001", ".hidden", "a\nb", "\udcff\udcfe"):
        (lock.place / name).write_text("x")
    (lock.place / "dir.0001").mkdir()
    (lock.place / "link").symlink_to(tmp_path)
    said = lock("list")
    assert said[0] == 0
    assert said[1].count("\n") == 1
    assert "10 names that are not of the witness" in said.err
    assert lock("take", G, "server2", "b1")[0] == 1


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_something_else_than_a_file_in_a_locks_place_is_damage_and_nothing_hangs(lock: Witness, kind: str) -> None:
    place = lock.place / f"{G}.0001"
    place.mkdir() if kind == "directory" else os.mkfifo(place)
    assert lock("take", G, "server1", "a1") == (65, "")
    assert lock("list") == (65, "")


# --- what comes by ssh ----------------------------------------------------------------------------------------


def test_the_words_come_from_ssh_where_there_are_no_others(lock: Witness) -> None:
    assert lock.ssh(f"take {G} server1 'a1' \"web\"") == (0, "taken\n")
    assert lock.ssh(f"take {G} server2 b1") == (1, "held server1\n")
    # A command that is written into authorized_keys is that one.
    assert lock("probe", env={**os.environ, "SSH_ORIGINAL_COMMAND": f"release {G} a1"})[1].startswith("ok 1 ")
    assert lock.holder() == "server1"


@pytest.mark.parametrize(
    "command",
    ["", " ", "take x; rm -rf /", f"take {G} server1 a1; touch HERE/x", f"take {G} server1 a1 && id", "$(touch HERE/x)",
     f"take {G} server1 `touch HERE/x`", f"take {G} $HOME a1", f"take {G} -- a1", f"take --help {G} a b", "--help",
     "-c",
     "take ../../etc/passwd server1 a1", f"take {G} ../.. a1", f"take {G} .. a1", f"take {G} server1 ../a",
     f"take {G} server1 a1 ../..", f"take {G}\nserver1 a1", f"take {G} server1 'a\nb'", f"take {G} server1 a1 w extra",
     f"take {G} server1", "take", "list a b", "probe x", f"release {G}", "init", "'init'", "x" * 10_000,
     f"take {G} server1 {'a' * 9_000}", f"take {G} server1 {'a' * 65}", f"take {G} server1 'a", f"take {G} s\u00e9 a1",
     f"take {G} server1 a1 'a b'", "take 0000000000000000 server1 a1", "take 0000000000000004 server1 a1",
     "take 0000000000000001 server1 a1", f"take 0x{G[2:]} server1 a1", f"take {G}0 server1 a1", "sh -i", "TAKE",
     f"/bin/take {G} server1 a1", f"take {G} server1 a1 #"],
)  # fmt: skip
@pytest.mark.slow
def test_a_hostile_command_is_refused_and_does_nothing(lock: Witness, tmp_path: Path, command: str) -> None:
    said = lock.ssh(command.replace("HERE", str(tmp_path)))
    assert said == (2, "")
    assert lock.names() == set()
    assert sorted(os.listdir(tmp_path)) == ["locks"]
    assert len(said.err) < 2000
    assert all(line.isprintable() for line in said.err.splitlines())


def test_without_any_words_it_says_how_it_is_used(lock: Witness) -> None:
    assert lock()[0] == 2
    assert "usage: witness DIRECTORY probe" in lock().err
    for place in ("locks", "/", "//", ""):
        assert lock.run([str(PROGRAM), place, "probe"])[0] == 2
    assert lock.run([str(PROGRAM)])[0] == 2


def test_it_stands_alone_wherever_it_is_copied(tmp_path: Path) -> None:
    tree = ast.parse(PROGRAM.read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {"errno", "os", "shlex", "stat", "sys", "time"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    copy = tmp_path / "anything"
    shutil.copy(PROGRAM, copy)
    assert os.access(copy, os.X_OK)
    assert Witness(tmp_path).run([str(copy), str(tmp_path / "l"), "init"], cwd="/")[0] == 0


# --- the client -----------------------------------------------------------------------------------------------


@pytest.fixture
def here(lock: Witness, box: Box, monkeypatch: pytest.MonkeyPatch) -> Witness:
    """The client asks in a directory."""
    monkeypatch.setattr(witness, "PROGRAM", str(PROGRAM))
    monkeypatch.setattr(witness, "_hanging", {})
    return lock


@pytest.fixture
def over(here: Witness, box: Box) -> Callable[[str], None]:
    """The client asks over ssh: what ssh does; `witness` runs the witness as sshd does."""

    def does(body: str) -> None:
        box.tool(
            "ssh",
            'while [ "$1" != -- ]; do shift; done; command=$3\n'
            f'witness() {{ SSH_ORIGINAL_COMMAND="$command" {PROGRAM} {here.place}; }}\n{body}',
        )

    does("witness")
    return does


def take(limit: float = 10.0, holder: str = "server1", nonce: str = "a1", where: str = "tie") -> witness.Answer:
    return witness.take(where, G, holder, nonce, "web", limit)


def test_in_a_directory(here: Witness) -> None:
    where = str(here.place)
    found = witness.probe(where, 10)
    assert found.kind == "ok"
    assert len(found.identity) == 16
    assert take(where=where).kind == "taken"
    other = take(where=where, holder="server2")
    assert (other.kind, other.holder) == ("held", "server1")
    (one,) = witness.held(where, "server1", "web", 10)
    assert (one.generation, one.holder, one.nonce, one.label) == (G, "server1", "a1", "web")
    assert str(one) == f"{G} server1 a1 {one.time} web"
    assert witness.held(where, "server2", "web", 10) == []
    assert len(witness.held(where, "", "", 10)) == 1
    assert witness.release(where, G, "a1", 10).kind == "released"
    assert witness.release(where, G, "a1", 10).kind == "not held"


def test_over_ssh(over: Callable[[str], None], box: Box) -> None:
    assert witness.probe("lock@tie:2222", 7.5).kind == "ok"
    assert take().kind == "taken"
    assert (take(holder="server2").kind, take(holder="server2").holder) == ("held", "server1")
    assert [one.nonce for one in witness.held("tie", "server1", "web", 10)] == ["a1"]
    assert witness.release("tie", G, "a1", 10).kind == "released"
    assert witness.held("tie", "server1", "", 10) == []
    first = box.calls[0]
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=7", "ControlPath=none"):
        assert f"-o {option}" in first
    assert first.endswith(" -p 2222 -- lock@tie probe")
    assert box.calls[1].endswith(f" -- tie take {G} server1 a1 web")
    assert " -p " not in box.calls[1]


@pytest.mark.parametrize(
    ("where", "end"),
    [("tie", ["--", "tie"]), ("u@tie", ["--", "u@tie"]), ("tie:22", ["-p", "22", "--", "tie"]),
     ("[fd00::1]", ["--", "fd00::1"]), ("u@[fd00::1]:2222", ["-p", "2222", "--", "u@fd00::1"]),
     ("192.0.2.1:2222", ["-p", "2222", "--", "192.0.2.1"])],
)  # fmt: skip
def test_every_form_of_the_place(where: str, end: list[str]) -> None:
    argv = witness.command(where, ["probe"], 5)
    assert argv[-len(end) - 1 :] == [*end, "probe"]
    assert ("-p" in argv) == ("-p" in end)


def test_it_is_not_reached(over: Callable[[str], None], box: Box) -> None:
    over("echo 'ssh: connect to host tie port 22: Connection refused' >&2; exit 255")
    said = "witness tie is not reached by ssh: ssh: connect to host tie port 22: Connection refused"
    for found in (take(), witness.probe("tie", 5), witness.release("tie", G, "a1", 5)):
        assert (found.kind, found.said) == ("error", said)
    with pytest.raises(Failure, match="Connection refused"):
        witness.held("tie", "server1", "", 5)


def test_the_answer_is_lost_and_asked_for_again(over: Callable[[str], None]) -> None:
    over("witness >/dev/null; exit 255")
    assert take().kind == "error"
    over("witness")
    assert take(nonce="a2").kind == "taken"
    assert take(holder="server2").kind == "held"


def await_end(pid: int) -> None:
    """Killed is not gone: on a busy machine that takes a moment."""
    deadline = time.monotonic() + 10
    while True:
        try:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        assert time.monotonic() < deadline, f"{pid} still runs"
        time.sleep(0.02)


def test_one_that_hangs_is_ended_in_time_with_all_that_it_started(over: Callable[[str], None], box: Box) -> None:
    pids = box.root / "pids"
    over(f"echo $$ >{pids}; sleep 300 & echo $! >>{pids}; echo taken; wait")
    began = time.monotonic()
    found = take(limit=0.7)
    assert 0.6 < time.monotonic() - began < 3
    assert (found.kind, found.said) == ("error", "witness tie: no answer in 0.7 s")
    for pid in pids.read_text().split():
        await_end(int(pid))


def test_its_end_counts_though_something_keeps_the_pipe_open(over: Callable[[str], None]) -> None:
    over("witness; code=$?; sleep 300 & exit $code")
    began = time.monotonic()
    assert take(limit=20).kind == "taken"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "body",
    ["", "echo", "printf taken", "printf take", "printf 'taken\\r\\n'", "echo Taken", "echo ' taken'", "echo 'taken '",
     "echo taken; exit 1", "echo taken; exit 255", "echo taken; kill -KILL $$", "echo Welcome; echo taken",
     "echo taken; echo bye", "echo taken >&2", "printf 'taken\\n\\n'", "echo taken; echo held server2",
     "echo held server2", "echo 'held '; exit 1", "printf 'held server2'; exit 1", "printf 'held serv'; exit 1",
     "echo held; exit 1", "echo held server1; exit 1", "echo held a b; exit 1", "printf 'held \\377\\n'; exit 1",
     "echo released", "echo not held", "echo ok 1", "echo 'sh: take: not found' >&2; exit 127",
     "head -c 3000000 /dev/zero", "yes taken"],
)  # fmt: skip
@pytest.mark.slow
def test_an_answer_that_is_not_understood_is_an_error(over: Callable[[str], None], body: str) -> None:
    over(body)
    found = take(limit=1.5)
    assert (found.kind, found.holder) == ("error", "")
    assert found.said
    assert found.said.isprintable()
    assert len(found.said) < 400


@pytest.mark.parametrize("body", ["printf release", "printf 'not '", "echo taken", "echo released; exit 1", "exit 0"])
def test_a_release_that_is_not_understood_is_an_error(over: Callable[[str], None], body: str) -> None:
    over(body)
    assert witness.release("tie", G, "a1", 5).kind == "error"


@pytest.mark.parametrize("body", ["", "echo ok", "echo ok 2", "echo ok 1; exit 1", "printf 'ok 1'", "echo ok 1 a b"])
def test_a_probe_that_is_not_understood_is_an_error(over: Callable[[str], None], body: str) -> None:
    over(body)
    assert witness.probe("tie", 5).kind == "error"


LINE = f"{G} server1 a1 2026-11-24T00:00:00Z web"


@pytest.mark.parametrize(
    "body", [f"printf '{LINE}'", f"echo '{LINE}'; exit 65", f"echo '{LINE[:40]}'", "echo hello", f"echo '{LINE} x'"]
)
def test_a_list_that_is_not_whole_is_not_believed(over: Callable[[str], None], body: str) -> None:
    over(body)
    with pytest.raises(Failure):
        witness.held("tie", "", "", 5)
    over(f"echo '{LINE}'")
    assert len(witness.held("tie", "", "", 5)) == 1


@pytest.mark.parametrize("word", ["", "-o", "a b", "a;b", "$(id)", "a\nb", "\u00e9", "../x", "'"])
def test_a_word_that_a_shell_would_understand_is_not_sent(over: Callable[[str], None], box: Box, word: str) -> None:
    assert take(holder=word).kind == "error"
    assert take(nonce=word).kind == "error"
    assert box.calls == []


def test_without_ssh_or_the_program_it_is_an_error(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    found = take()
    assert found.kind == "error"
    assert "ssh is not installed" in found.said
    monkeypatch.setattr(witness, "PROGRAM", "/nowhere/witness")
    assert take(where="/locks").kind == "error"


def test_a_directory_whose_server_hangs_keeps_nobody_and_gets_no_second_child(
    here: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be killed while it hangs in the kernel; a child for each question would pile up."""
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho >>{tmp_path}/started\nexec /usr/bin/sleep 300\n")
    slow.chmod(0o755)
    monkeypatch.setattr(witness, "PROGRAM", str(slow))
    kept = []

    def end(process: Process) -> bool:
        kept.append(process)
        return False

    with monkeypatch.context() as changed:
        changed.setattr(Process, "end", end)
        began = time.monotonic()
        assert take(1.0, where="/locks").kind == "error"
        found = take(1.0, where="/locks")
        assert time.monotonic() - began < 5
        assert "still hangs in the kernel" in found.said
        assert (tmp_path / "started").read_text() == "\n"
    assert kept[0].end()
    monkeypatch.setattr(witness, "PROGRAM", str(PROGRAM))
    assert take(where=str(here.place)).kind == "taken"
    assert witness._hanging == {"/locks": kept[0]}
    take(where="/locks")
    assert witness._hanging == {}


def test_the_kill_of_one_that_hangs_is_part_of_the_limit(here: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    def read(process: Process, timeout: float, others: tuple[int, ...] = ()) -> list[tuple[int, bytes]]:
        waited.append(timeout)
        return [(process.out_fd, b"x" * (witness.MOST + 1))]

    monkeypatch.setattr(Process, "read", read)
    monkeypatch.setattr(Process, "wait", lambda process, timeout: waited.append(timeout))
    monkeypatch.setattr(Process, "end", lambda process: True)
    take(5.0, where=str(here.place))
    assert 2.0 < max(waited) <= 3.0


def test_the_client_imports_little(tmp_path: Path) -> None:
    """It runs in the handler, while input and output stand still."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); import drbdocfs_boot.tools.witness; print(*sys.modules)"
    done = subprocess.run(
        ["/usr/bin/python3", "-ISc", program, str(PROGRAM.parent.parent)],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert not {"subprocess", "re", "json", "shlex", "typing", "tempfile"} & set(done.stdout.split())
