"""What a node said after a boot, and what of it is found; the words are those of Debian 12 (systemd 252), shortened."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from drbdocfs_boot import rebootfacts, reboottest
from drbdocfs_boot.rebootfacts import MARK

UNITS = {
    "loop": "drbdocfs-loop@web.service",
    "attach": "drbdocfs-attach@web.service",
    "wait": "drbdocfs-wait@web.service",
    "promote": "drbdocfs-promote@web.service",
    "o2cb": "drbdocfs-o2cb@web.service",
    "mount": "mnt-storage.mount",
}
PEER = {"name": "server2", "connection": "Connected", "disk": "UpToDate", "replication": "Established"}


def stack(**changes: Any) -> dict[str, Any]:
    drbd = {"verdict": "ready", "reason": "", "disks": ["UpToDate"], "peers": [PEER], "suspended": ""}
    layers = [{"layer": layer, "unit": unit, "state": "up"} for layer, unit in UNITS.items()]
    return {"name": "web", "state": "up", "mountpoint": "/mnt/storage", "layers": layers, "drbd": drbd,
            "mount": {"options": "rw", "answers": True}, **changes}  # fmt: skip


def entry(at: float, message: str, unit: str = "", stopped: bool = False) -> str:
    words = {"__MONOTONIC_TIMESTAMP": str(int(at * 1e6)), "MESSAGE": message, "UNIT": unit}
    return json.dumps({**words, **({"JOB_TYPE": "stop", "JOB_RESULT": "done"} if stopped else {})})


def shutdown_lines(order: tuple[str, ...] = ("mount", "o2cb", "promote", "attach", "loop")) -> list[str]:
    # What failed at the boot, or was stopped in operation, is no matter of the shutdown.
    lines = [
        entry(20.0, "ill.service: Failed with result 'exit-code'.", "ill.service"),
        entry(40.0, f"Stopped {UNITS['loop']}.", UNITS["loop"], True),
        entry(50.0, "Stopped target multi-user.target.", "multi-user.target", True),
    ]
    lines += [entry(60.0 + at, f"Stopped {UNITS[layer]}.", UNITS[layer], True) for at, layer in enumerate(order)]
    return [*lines, entry(70.0, "Sending SIGTERM to remaining processes...")]


def said(own: dict[str, Any] | None = None, shutdown: list[str] | None = None, **parts: str) -> rebootfacts.Facts:
    text = {
        "boot": "11111111-2222-3333-4444-555555555555", "system": "running", "failed": "", "follow": "active",
        "journal": "", "heard": "[ 1.0] systemd[1]: a", "cycles": "",
        "status": json.dumps({"stacks": [own or stack()]}, indent=2), "timeline": "{}",
        **parts,
    }  # fmt: skip
    if shutdown is not None:
        text["shutdown"] = "\n".join(shutdown)
    return rebootfacts.parse("".join(f"{MARK}{name}\n{words}\n" for name, words in text.items()) + f"{MARK}end\n")


def kinds(facts: rebootfacts.Facts) -> list[str]:
    return [finding.kind for finding in rebootfacts.judge("server1", facts, "web")]


def test_a_node_in_good_order_has_no_finding() -> None:
    facts = said(shutdown=shutdown_lines())
    assert kinds(facts) == []
    assert rebootfacts.shutdown("server1", facts, "web") == []
    assert rebootfacts.settled(facts, "web")


@pytest.mark.parametrize(
    ("facts", "kind", "words"),
    [
        (said(stack(state="failed")), reboottest.STACK_DOWN, "web is failed"),
        (said(status="no JSON"), reboottest.STACK_DOWN, "not known there"),
        (said(stack(mount=None)), reboottest.STACK_DOWN, "another file system is mounted in its place"),
        (said(stack(mount={"answers": False})), reboottest.STACK_DOWN, "its file system does not answer"),
        (said(stack(drbd={**stack()["drbd"], "disks": ["Inconsistent"]})), reboottest.NOT_UP_TO_DATE, "Inconsistent"),
        (
            said(stack(drbd={**stack()["drbd"], "peers": [{**PEER, "connection": "Connecting"}]})),
            reboottest.NOT_UP_TO_DATE,
            "it is Connecting",
        ),
        (
            said(stack(drbd={**stack()["drbd"], "peers": [{**PEER, "replication": "SyncSource"}]})),
            reboottest.NOT_UP_TO_DATE,
            "SyncSource",
        ),
        (said(stack(drbd={**stack()["drbd"], "suspended": "fencing"})), reboottest.NOT_UP_TO_DATE, "frozen"),
        (said(stack(drbd={"verdict": "split-brain", "reason": "apart"})), reboottest.SPLIT_BRAIN, "apart"),
        (said(failed="ill.service"), reboottest.FAILED_UNIT, "ill.service has failed"),
        (said(follow="inactive"), reboottest.FAILED_UNIT, "drbdocfs-follow.service is inactive"),
        (said(cycles="[ 1.0] systemd[1]: a.service: Found ordering cycle on b"), reboottest.ORDERING_CYCLE, "cycle"),
        (said(heard=""), reboottest.ORDERING_CYCLE, "journal has nothing of this boot"),
        (rebootfacts.parse(f"{MARK}boot\nx\n"), reboottest.UNREACHABLE, "not answered"),
    ],
)
def test_what_should_not_be_is_found_and_named(facts: rebootfacts.Facts, kind: str, words: str) -> None:
    found = [finding for finding in rebootfacts.judge("server1", facts, "web") if finding.kind == kind]
    assert len(found) == 1
    assert words in found[0].text
    assert found[0].node == "server1"


def test_the_lines_of_a_failed_unit_come_along_and_not_more_than_a_screen() -> None:
    lines = [f"[ {number}.0] ill[7]: word {number}" for number in range(100)]
    facts = said(failed="ill.service", journal="\n".join([*lines, "[ 9.0] systemd[1]: other.service: Failed."]))
    (finding,) = rebootfacts.judge("server1", facts, "web")
    assert finding.journal.splitlines() == lines[-rebootfacts.MOST_LINES :]


def test_a_demotion_while_the_cluster_still_serves_another_stack_is_in_order() -> None:
    lines = shutdown_lines(("mount", "promote", "o2cb", "attach", "loop"))
    assert rebootfacts.shutdown("server1", said(shutdown=lines), "web") == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "journal of the boot before is not there"),
        ([entry(1.0, "Started a.")], "multi-user.target was not stopped"),
        (shutdown_lines(("o2cb", "mount", "promote", "attach", "loop")), "o2cb@web.service was stopped before mnt-sto"),
        (shutdown_lines(("mount", "promote", "attach", "o2cb", "loop")), "web.service was stopped before drbdocfs-o2"),
        (shutdown_lines(("mount", "o2cb", "promote", "attach")), "drbdocfs-loop@web.service was not stopped"),
        (
            [*shutdown_lines(), entry(70.0, "x.service: State 'stop-sigterm' timed out. Killing.")],
            "timed out",
        ),
        ([*shutdown_lines(), entry(70.0, "Could not detach loopback /dev/loop7: Device or resource busy")], "detach"),
        ([*shutdown_lines(), entry(70.0, "x.service: Killing process 7 (x) with signal SIGKILL.")], "SIGKILL"),
    ],
)
def test_a_shutdown_that_was_not_in_order_is_found(lines: list[str], words: str) -> None:
    found = rebootfacts.shutdown("server1", said(shutdown=lines), "web")
    assert [finding.kind for finding in found] == [reboottest.UNCLEAN_SHUTDOWN]
    assert words in found[0].text


def test_what_only_time_mends_is_waited_for_and_a_split_brain_is_not() -> None:
    assert not rebootfacts.settled(said(stack(state="starting")), "web")
    assert rebootfacts.settled(said(stack(state="failed", drbd={"verdict": "split-brain"})), "web")


def test_layers_are_those_of_the_boot() -> None:
    layers = [
        {"layer": "attach", "began": 10.0, "ended": 11.5, "result": "done"},
        {"layer": "mount", "began": 12.0, "ended": None, "result": "running"},
    ]
    starts = [{"mounted": 20.0, "layers": layers}]
    facts = said(timeline=json.dumps({"boots": [{"stacks": [{"stack": "web", "starts": starts}]}]}))
    assert rebootfacts.layers(facts, "web") == (20.0, (reboottest.Layer("attach", 10.0, 11.5, "done"),))
    assert rebootfacts.layers(facts, "other") == (None, ())


def answered(journal: dict[str, str]) -> rebootfacts.Facts:
    """What the script prints where the journal has these lines, by the field that finds them; without our tools."""
    plays = "".join(
        f"case \"$*\" in *{field}*) printf '%s\\n' {shlex.quote(line)};; esac;" for field, line in journal.items()
    )
    tools = f"journalctl() {{ {plays} :; }}; systemctl() {{ :; }}; timeout() {{ :; }}\n"
    done = subprocess.run(
        ["/bin/sh", "-c", tools + rebootfacts.script("web")], capture_output=True, text=True, check=True, timeout=30
    )
    return rebootfacts.parse(done.stdout)


@pytest.mark.parametrize("field", ["_PID=1", "_TRANSPORT=kernel"])
def test_an_ordering_cycle_is_found_in_what_systemd_said_before_and_after_there_was_a_journald(field: str) -> None:
    line = "[ 1.0] systemd[1]: a.service: Found ordering cycle on b.service/start"
    facts = answered({field: line})
    assert (facts.heard, facts.cycles) == (True, (line,))


@pytest.mark.parametrize("field", ["_PID=1", "_TRANSPORT=kernel"])
def test_a_journal_has_heard_of_a_boot_from_the_kernel_or_from_systemd(field: str) -> None:
    facts = answered({field: "[ 1.0] a line"})
    assert (facts.heard, facts.cycles, facts.complete) == (True, (), True)
    assert not answered({}).heard


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0c", "\x0b", "\x1c", "\r"])
def test_only_a_line_feed_ends_a_line(end: str) -> None:
    line = json.dumps({"MESSAGE": f"a{end}b", "__MONOTONIC_TIMESTAMP": "1000000"}, ensure_ascii=False)
    facts = said(journal=f"[ 1.0] x[7]: a{end}{MARK}follow{end}inactive", shutdown=[line])
    assert facts.follow == "active"
    assert len(facts.journal) == 1
    if end not in "\x0c\x0b\x1c\r":  # which JSON writes otherwise
        assert facts.shutdown == (rebootfacts.Stop(1.0, f"a{end}b"),)


def test_the_order_is_taken_in_the_boot_that_was_asked_and_in_no_other() -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    cases = (boot, 0, "--no-block reboot\n"), ("another; x", rebootfacts.OTHER, f"{os.uname().nodename}\n")
    for given, code, out in cases:
        text = 'systemctl() { echo "$@"; }\n' + rebootfacts.order(given)
        done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, check=False, timeout=30)
        assert (done.returncode, done.stdout) == (code, out)


def test_another_host_than_the_node_is_named() -> None:
    facts = rebootfacts.parse(f"{MARK}boot\nx\n{MARK}name\nserver3\n")
    (finding,) = rebootfacts.judge("server1", facts, "web")
    assert finding.text == "it does not answer: ssh leads to a host that calls itself server3"


def shell(text: str, place: Path) -> str:
    """What a script says, with the claim in another place."""
    done = subprocess.run(
        ["/bin/sh", "-c", text.replace(rebootfacts.CLAIM, shlex.quote(str(place)))],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.stderr == "" or "No such file" in done.stderr
    return done.stdout


def test_a_node_is_of_one_run_until_that_gives_it_back(tmp_path: Path) -> None:
    place = tmp_path / "a claim"
    one, other = rebootfacts.Claim("1" * 16, "root's; $(x) * since noon"), rebootfacts.Claim("2" * 16, "b")
    look = f"echo a; {rebootfacts.look_at_claim()}"
    assert rebootfacts.claimed(shell(look, place), one.token) == ("a\n", None)
    for _ in range(2):  # it may be taken again by the same run
        assert shell(rebootfacts.take(one), place) == "ours\n"
    assert shell(rebootfacts.take(other), place) == f"theirs {one.words}\n"
    assert rebootfacts.claimed(shell(look, place), one.token) == ("a\n", None)
    assert rebootfacts.claimed(shell(look, place), other.token) == ("a\n", one.words)
    shell(rebootfacts.release(other.token), place)
    assert place.stat().st_mode & 0o777 == 0o700
    shell(rebootfacts.release(one.token), place)
    assert not place.exists()
    place.mkdir()  # the other one was killed before it could write
    assert shell(rebootfacts.take(one), place) == "theirs \n"
    assert rebootfacts.claimed(shell(look, place), one.token) == ("a\n", "")
    assert shell(rebootfacts.take(one), tmp_path / "none" / "x") == ""


def test_the_short_question_takes_the_node_itself_and_no_other_host(tmp_path: Path) -> None:
    claim = rebootfacts.Claim("1" * 16, "a")
    tools = "systemctl() { echo state; }; "
    name = os.uname().nodename
    said = rebootfacts.answer(shell(tools + rebootfacts.probe("web", name, claim), tmp_path / "claim"))
    assert (said.name, said.target, said.system, said.claim, said.theirs) == (name, "state", "state", "ours", None)
    said = rebootfacts.answer(shell(tools + rebootfacts.probe("web", "other", claim), tmp_path / "another"))
    assert (said.claim, said.theirs) == ("", None)
    assert not (tmp_path / "another").exists()
    (tmp_path / "claim/claim").write_text("2\nroot on third\n")
    said = rebootfacts.answer(shell(tools + rebootfacts.probe("web", name, claim), tmp_path / "claim"))
    assert said.theirs == "root on third"


BOOTS = ("a" * 32, "b" * 32, "c" * 32)
# systemd 241, 252 and later
LISTS = (
    """\
-2 {} Tue 2026-11-24 13:45:22 UTC—Tue 2026-11-24 13:46:30 UTC
-1 {} Tue 2026-11-24 13:46:46 UTC—Tue 2026-11-24 13:48:20 UTC
 0 {} Tue 2026-11-24 13:48:34 UTC—Tue 2026-11-24 13:51:04 UTC""",
    """\
-2 {} Tue 2026-11-24 13:45:22 UTC Tue 2026-11-24 13:46:30 UTC
-1 {} Tue 2026-11-24 13:46:46 UTC Tue 2026-11-24 13:48:20 UTC
 0 {} Tue 2026-11-24 13:48:34 UTC Tue 2026-11-24 13:51:04 UTC""",
    """\
IDX BOOT ID                          FIRST ENTRY                 LAST ENTRY
 -2 {} Tue 2026-11-24 13:45:22 UTC Tue 2026-11-24 13:46:30 UTC
 -1 {} Tue 2026-11-24 13:46:46 UTC Tue 2026-11-24 13:48:20 UTC
  0 {} Tue 2026-11-24 13:48:34 UTC Tue 2026-11-24 13:51:04 UTC""",
)


@pytest.mark.parametrize("text", LISTS)
def test_boots_between_two_are_those_that_the_journal_lists(text: str) -> None:
    facts = said(boot="c" * 8 + "-cccc-cccc-cccc-" + "c" * 12, boots=text.format(*BOOTS))
    assert facts.boots == BOOTS
    assert rebootfacts.between(facts, "a" * 8 + "-aaaa-aaaa-aaaa-" + "a" * 12) == BOOTS[1:2]
    assert rebootfacts.between(facts, BOOTS[1]) == ()
    assert rebootfacts.between(facts, "d" * 32) == rebootfacts.between(said(), BOOTS[0]) == ()
    assert "--list-boots" in rebootfacts.script("web", boots=True)
    assert "--list-boots" not in rebootfacts.script("web", "x")


def test_names_cannot_add_a_command() -> None:
    assert "'drbdocfs@a;b.target'" in rebootfacts.probe("a;b")
    assert "status 'a;b'" in rebootfacts.script("a;b")
