"""Fence agents as they are: they work, fail, hang, lie, and say what they should not."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from drbdocfs_boot import fenceoptions
from drbdocfs_boot.tools import agent
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Process
from tests import manpage

from .conftest import Box

OPTIONS = {"ip": "10.0.0.1", "username": "admin", "password": "hunter2 #'x'", "plug": "1", "nodename": "server1"}
FILE = "/etc/drbdocfs/fence.conf"
GOOD = "ip = 10.0.0.1\npassword = a#b\n[server1]\nplug = 1\n"
# Reads its options as the agents do. What the machine is, stands in the file "machine".
READ = """
while IFS= read -r line; do
    case $line in action=*) action=${line#action=};; password=*) password=${line#password=};; esac
done
echo "$action" >> $ROOT/actions
state() { case $(cat $ROOT/machine) in on) exit 0;; off) exit 2;; esac; exit 1; }
"""
WORKS = """case $action in
off|on) echo $action > $ROOT/machine; echo "Success: Powered $action";;
status) state;;
*) exit 1;;
esac
"""


class Agents:
    """``write`` makes the agent ``fence_x``; ``told`` is what was said meanwhile."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.told: list[str] = []
        self.machine("on")

    def machine(self, state: str) -> None:
        self.box.write("/machine", state + "\n")

    def write(self, body: str) -> None:
        self.box.tool("fence_x", READ + body)

    def off(self, limit: float = 20) -> bool:
        return agent.switch_off("fence_x", OPTIONS, limit, self.told.append)

    @property
    def actions(self) -> list[str]:
        name = self.box.root / "actions"
        return name.read_text().split() if name.exists() else []


@pytest.fixture
def agents(box: Box) -> Agents:
    return Agents(box)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, within: float = 5) -> bool:
    deadline = time.monotonic() + within
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


# --- one call


def test_options_come_on_standard_input_and_nothing_as_an_argument(agents: Agents) -> None:
    agents.box.tool("fence_x", "cat > $ROOT/given; tr '\\0' '\\n' < /proc/$$/environ > $ROOT/environ")
    assert agent.call("fence_x", OPTIONS, "off", 10).code == 0
    assert (agents.box.root / "given").read_text() == (
        "ip=10.0.0.1\nusername=admin\npassword=hunter2 #'x'\nplug=1\nnodename=server1\naction=off\n"
    )
    assert agents.box.calls == ["fence_x "]
    assert "hunter2" not in (agents.box.root / "environ").read_text()


def test_an_agent_that_does_not_read_its_options_holds_nobody_up(agents: Agents) -> None:
    agents.box.tool("fence_x", "exit 0")
    many = {f"key{n}": "x" * 1000 for n in range(300)}  # more than a pipe takes
    assert agent.call("fence_x", many, "off", 10).code == 0


@pytest.mark.parametrize(("code", "answer"), [(0, "on"), (2, "off"), (1, "unknown"), (3, "unknown"), (127, "unknown")])
def test_the_status_is_an_exit_status(agents: Agents, code: int, answer: str) -> None:
    agents.write(f"echo 'Status: OFF'; exit {code}")
    assert agent.status("fence_x", OPTIONS, 10) == answer


def test_a_status_of_an_agent_that_was_killed_is_unknown(agents: Agents) -> None:
    agents.write("kill -2 $$")
    outcome = agent.call("fence_x", OPTIONS, "status", 10)
    assert outcome.code == -2
    assert outcome.words.startswith("ended by signal 2 after 0.")
    assert agent.status("fence_x", OPTIONS, 10) == "unknown"


def test_an_agent_that_hangs_is_ended_at_its_limit_with_its_children(agents: Agents) -> None:
    agents.write("trap '' TERM INT HUP; echo connecting; sleep 60 & echo $! > $ROOT/child; wait; sleep 60")
    began = time.monotonic()
    outcome = agent.call("fence_x", OPTIONS, "off", 0.5)
    assert time.monotonic() - began < 3
    assert (outcome.code, outcome.said) == (None, "connecting")
    assert outcome.words.startswith("not done after 0.5 s: connecting")
    assert gone(int((agents.box.root / "child").read_text()))


def test_an_agent_that_closes_its_output_and_hangs_is_ended_at_its_limit(agents: Agents) -> None:
    agents.write("echo $$ > $ROOT/child; exec >&- 2>&-; sleep 60; :")
    began = time.monotonic()
    assert agent.call("fence_x", OPTIONS, "off", 0.5).code is None
    assert time.monotonic() - began < 3
    assert gone(int((agents.box.root / "child").read_text()))


def test_a_child_left_behind_with_the_pipe_open_holds_nobody_up_and_goes_on(agents: Agents) -> None:
    agents.write("sleep 30 & echo $! > $ROOT/child; echo done")
    began = time.monotonic()
    outcome = agent.call("fence_x", OPTIONS, "off", 20)
    assert time.monotonic() - began < 5
    child = int((agents.box.root / "child").read_text())
    try:
        assert (outcome.code, outcome.said) == (0, "done")
        assert alive(child)  # it may be the one that sends the command
    finally:
        os.kill(child, 9)


def test_of_a_huge_output_the_beginning_is_kept(agents: Agents) -> None:
    agents.write("echo begin; head -c 30000000 /dev/zero | tr '\\0' x; exit 3")
    outcome = agent.call("fence_x", OPTIONS, "off", 60)
    assert outcome.code == 3
    assert outcome.said.startswith("begin; xxx")
    assert len(outcome.said) < 400


def test_an_output_without_end_is_ended_at_the_limit(agents: Agents) -> None:
    agents.write("exec yes hunter2")
    outcome = agent.call("fence_x", OPTIONS, "off", 0.5)
    assert outcome.code is None
    assert outcome.took < 3


def test_output_that_is_no_text_is_one_line_that_can_be_printed(agents: Agents) -> None:
    agents.write("printf 'a\\033[2J\\000b\\377\\n\\n  second\\tline\\n' >&2; exit 1")
    said = agent.call("fence_x", OPTIONS, "off", 10).said
    assert said == "a?[2J?b\ufffd; second line"


# --- secrets


@pytest.mark.parametrize(
    "body",
    [
        'echo "login with $password refused" >&2; exit 1',
        'echo "login with $password refused"; sleep 60',
        'printf %s "$password" >&2; exit 1',
        'printf "tried hunter2 #"; sleep 60',
        'printf %s "$password" | base64; exit 1',
    ],
)
@pytest.mark.slow
def test_the_password_is_nowhere_in_what_is_told(agents: Agents, body: str) -> None:
    agents.write(body)
    assert not agents.off(1)
    assert agents.told
    assert "hunter2" not in "".join(agents.told)
    assert "aHVudGVyMiAjJ3gn" not in "".join(agents.told)
    assert any("***" in line for line in agents.told)


def test_the_beginning_of_a_password_is_not_told_where_the_output_is_cut(
    agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "KEPT", 12)
    agents.write('printf "said %s" "$password"')
    assert agent.call("fence_x", OPTIONS, "off", 10).said == "said ***"


def test_of_a_long_output_the_error_at_its_end_is_shown(agents: Agents) -> None:
    agents.write("echo 'a warning'; head -c 3000 /dev/zero | tr '\\0' x; echo; echo 'the error'; exit 1")
    said = agent.call("fence_x", OPTIONS, "off", 10).said
    assert said.startswith("a warning; xxx")
    assert said.endswith("xxx; the error")
    assert len(said) < 400


# --- switching off


def test_an_agent_that_works_switches_off_and_is_asked_for_the_proof(agents: Agents) -> None:
    agents.write(WORKS)
    assert agents.off()
    assert agents.actions == ["off", "status"]
    assert agents.told[0].startswith("fence_x off: exit status 0 after 0.")
    assert agents.told[1].startswith("fence_x status: off, after 0.")


def test_the_proof_is_waited_for_when_the_agent_is_done_before_the_machine_is(agents: Agents) -> None:
    agents.write(
        "case $action in off) ;; status)\n"
        "test $(grep -c status $ROOT/actions) -lt 3 || echo off > $ROOT/machine; state;; esac"
    )
    assert agents.off()
    assert agents.actions == ["off", "status", "status", "status"]


@pytest.mark.slow
def test_an_agent_that_lies_is_not_believed_and_asked_until_the_limit(
    agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "PATIENCE", 0.5)
    monkeypatch.setattr(agent, "PAUSE", 0.1)
    agents.write("case $action in off) echo 'Success: Powered OFF';; status) state;; esac")
    began = time.monotonic()
    assert not agents.off(2.0)
    assert 1.8 < time.monotonic() - began < 4
    assert agents.actions.count("off") >= 2
    assert agents.actions.count("status") >= 4
    assert any("status: on and not off" in line for line in agents.told)


def test_a_device_that_does_not_say_is_no_proof(agents: Agents) -> None:
    agents.write("case $action in off) ;; *) echo 'Unable to connect' >&2; exit 1;; esac")
    assert not agents.off(1)
    assert any("status: unknown and not off: exit status 1" in line for line in agents.told)


@pytest.mark.slow
def test_a_status_of_off_without_an_off_that_was_done_is_no_proof(agents: Agents) -> None:
    """2 is what a shell with a syntax error says, too."""
    agents.box.tool("fence_x", "if then fi")
    assert agent.status("fence_x", OPTIONS, 10) == "off"
    assert not agents.off(1)
    agents.told.clear()
    agents.write("case $action in off) exit 1;; status) exit 2;; esac")
    assert not agents.off(1)
    assert agents.told


def test_an_agent_that_fails_twice_is_tried_again(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "PAUSE", 0.1)
    agents.write('test "$(grep -c off $ROOT/actions)" -gt 2 || { echo "Connection timed out" >&2; exit 1; }\n' + WORKS)
    assert agents.off()
    assert agents.actions == ["off", "off", "off", "status"]
    assert agents.told[0].endswith("Connection timed out")


@pytest.mark.slow
def test_an_off_that_hangs_leaves_time_for_another(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "LEAST", 0.2)
    monkeypatch.setattr(agent, "PAUSE", 0.1)
    agents.write('test "$(grep -c off $ROOT/actions)" -gt 1 || sleep 60\n' + WORKS)
    began = time.monotonic()
    assert agents.off(6)
    assert time.monotonic() - began < 6
    assert agents.actions == ["off", "off", "status"]


def test_an_agent_that_always_hangs_takes_no_longer_than_the_limit(agents: Agents) -> None:
    agents.write("sleep 60 & echo $! > $ROOT/child; wait")
    began = time.monotonic()
    assert not agents.off(1)
    assert time.monotonic() - began < 3
    assert gone(int((agents.box.root / "child").read_text()))


def test_no_time_at_all_is_no_success_and_starts_nothing(agents: Agents) -> None:
    agents.write(WORKS)
    assert not agents.off(0)
    assert agents.actions == []


def test_switching_on_is_proved_in_the_same_way(agents: Agents) -> None:
    agents.machine("off")
    agents.write(WORKS)
    assert agent.switch_on("fence_x", OPTIONS, 10)
    assert agents.actions == ["on", "status"]
    agents.write("case $action in on) ;; status) exit 2;; esac")
    assert not agent.switch_on("fence_x", OPTIONS, 1)


# --- an agent that cannot be run


def test_an_agent_that_is_missing_is_named_with_its_package(box: Box) -> None:
    with pytest.raises(Failure) as caught:
        agent.switch_off("fence_ipmilan", OPTIONS, 5, lambda _: None)
    assert caught.value.status == 69
    assert str(caught.value) == "the fence agent fence_ipmilan is not installed: install the package fence-agents"


def test_an_agent_by_its_path_that_is_missing(box: Box) -> None:
    with pytest.raises(Failure) as caught:
        agent.call("/nowhere/fence", OPTIONS, "off", 5)
    assert (caught.value.status, caught.value.message) == (69, "the fence agent /nowhere/fence is not there")


def test_an_agent_that_is_not_executable_or_a_directory(box: Box) -> None:
    box.tool("fence_x", "exit 0")
    (box.bin / "fence_x").chmod(0o644)
    for place in (box.bin / "fence_x", box.bin):
        with pytest.raises(Failure) as caught:
            agent.call(str(place), OPTIONS, "off", 5)
        assert (caught.value.status, caught.value.message) == (69, f"the fence agent {place} cannot be run")
        assert caught.value.advice == f"chmod 755 {place}"


@pytest.mark.parametrize("text", ["echo no first line\n", "#!/nowhere/python9\n"])
def test_an_agent_without_an_interpreter(box: Box, text: str) -> None:
    (box.bin / "fence_x").write_text(text)
    (box.bin / "fence_x").chmod(0o755)
    with pytest.raises(Failure) as caught:
        agent.call("fence_x", OPTIONS, "off", 5)
    assert caught.value.status == 69
    assert "cannot be run" in caught.value.message


# --- the options file


def write(box: Box, text: str | bytes = GOOD, mode: int = 0o600) -> Path:
    path = box.write(FILE, "")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def refusal(path: str = "", host: str = "server1") -> Failure:
    with pytest.raises(Failure) as caught:
        agent.load(path, host)
    return caught.value


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_roots_own_is_read(box: Box, mode: int) -> None:
    write(box, mode=mode)
    expected = {"ip": "10.0.0.1", "password": "a#b", "plug": "1", "nodename": "server1"}
    assert agent.load("", "server1") == expected
    assert agent.load(FILE, "server1") == expected


def test_a_name_of_its_own_is_kept(box: Box) -> None:
    write(box, "[server1]\nnodename = other\n")
    assert agent.load("", "server1") == {"nodename": "other"}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604, 0o602, 0o660, 0o610])
def test_a_file_that_others_may_read_or_change_is_refused(box: Box, mode: int) -> None:
    write(box, mode=mode)
    failure = refusal()
    assert failure.status == 77
    assert failure.message.startswith(f"{FILE} has the mode {mode:03o}, ")
    assert failure.advice == f"chmod 600 {FILE}"


def test_the_directorys_mode_is_not_the_files(box: Box) -> None:
    write(box).parent.chmod(0o770)
    assert agent.load("", "server1")["plug"] == "1"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_file_of_another_user_is_refused(box: Box) -> None:
    os.chown(write(box), 65534, 0)
    failure = refusal()
    assert failure.status == 77
    assert failure.message.startswith(f"{FILE} belongs to the user 65534 and not to root")


@pytest.mark.parametrize(("mode", "status"), [(0o600, 0), (0o644, 77)])
def test_a_link_is_followed_and_what_it_names_is_judged(box: Box, mode: int, status: int) -> None:
    path = write(box, mode=mode)
    path.rename(box.root / "elsewhere")
    path.symlink_to(box.root / "elsewhere")
    if status:
        assert refusal().status == status
    else:
        assert agent.load("", "server1")["plug"] == "1"


def test_a_link_to_nowhere_or_no_file_is_told_with_the_way_to_make_one(box: Box) -> None:
    path = write(box)
    path.unlink()
    for _ in range(2):
        failure = refusal()
        assert failure.status == 78
        assert failure.message == f"{FILE}: the file with the fence agent's options is not there"
        assert failure.advice.startswith(f"touch {FILE} && chmod 600 {FILE}, then write it as drbdocfs-fence.conf(5)")
        path.unlink(missing_ok=True)
        path.symlink_to("nowhere")


def test_a_pipe_is_not_waited_for_and_a_directory_is_none(box: Box) -> None:
    path = write(box)
    path.unlink()
    os.mkfifo(path, 0o600)
    assert (refusal().status, refusal().message) == (78, f"{FILE} is no regular file")
    path.unlink()
    path.mkdir(0o700)
    assert (refusal().status, refusal().message) == (78, f"{FILE} is no regular file")


def test_a_host_without_a_section_is_named_with_what_to_write(box: Box) -> None:
    write(box)
    failure = refusal(host="server2")
    assert failure.status == 78
    assert failure.message == f"{FILE} has no section [server2], so there is no way to switch server2 off"
    assert "drbdocfs-fence.conf(5)" in failure.advice


def test_a_mistake_costs_the_host_in_whose_section_it_stands(box: Box) -> None:
    write(box, "ip = 1\n[server1]\nplug\naction = off\n[server2]\nplug = 2\n")
    failure = refusal()
    assert failure.status == 78
    assert failure.message.startswith(f"{FILE}, line 3: neither an option nor a section")
    assert failure.message.endswith("(and 1 more)")
    assert agent.load("", "server2")["plug"] == "2"
    write(box, "ip\n[server2]\nplug = 2\n")
    assert refusal(host="server2").message.startswith(f"{FILE}, line 1: ")


def test_a_file_in_another_encoding_is_refused_with_the_line(box: Box) -> None:
    write(box, "[server1]\npassword = caf\xe9\n".encode("latin-1"))
    failure = refusal()
    assert (failure.status, failure.message) == (78, f"{FILE}, line 2: not UTF-8, so none of the file is read")
    assert "caf" not in str(failure)


def test_a_huge_file_is_refused(box: Box) -> None:
    with open(write(box), "ab") as file:
        file.truncate(1 << 40)
    assert (refusal().status, "larger than 65536 bytes" in refusal().message) == (78, True)


def test_no_refusal_has_a_secret_in_it(box: Box) -> None:
    for text in ("password: hunter2\n", "[server1]\nhunter2\n", "[hunter2 x]\n", "[server1]\npassword=hunter2\x01\n"):
        write(box, text)
        assert "hunter2" not in str(refusal())


# --- what it is made of


def test_it_needs_nothing_that_is_slow_to_import() -> None:
    """It is run in the middle of a fencing, with -I -S."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import drbdocfs_boot.tools.agent; print(*sorted(sys.modules))"
    process = Process([sys.executable, "-I", "-S", "-c", code, str(Path(agent.__file__).parents[2])])
    out = b""
    while process.fds:
        for fd, data in process.read(10):
            out += data if fd == process.out_fd else b""
    assert process.wait(10) == 0
    loaded = set(out.decode().split())
    assert "drbdocfs_boot.fenceoptions" in loaded
    assert not loaded & {"subprocess", "re", "typing", "json", "asyncio", "logging", "urllib", "base64", "signal"}


# --- what the manual page shows


def blocks() -> list[str]:
    text = manpage.page("drbdocfs-fence.conf").read_text(encoding="utf-8").partition("\n.SH EXAMPLES")[2]
    return ["\n".join(map(manpage.plain, found.splitlines())) for found in re.findall(r"\.EX\n(.*?)\.EE", text, re.S)]


def test_the_files_in_the_manual_page_are_right() -> None:
    files = [fenceoptions.parse(block) for block in blocks() if "[server1]" in block]
    assert len(files) == 3
    for options in files:
        assert options.problems == []
        assert set(options.hosts) == {"server1", "server2"}
        assert options.of("server1") != options.of("server2")


def test_the_program_in_the_manual_page_is_an_agent(agents: Agents) -> None:
    (script,) = (block for block in blocks() if block.startswith("#!"))
    (agents.box.bin / "fence_x").write_text(script)
    (agents.box.bin / "fence_x").chmod(0o755)
    curl = """grep -q 'X-Password: s3#cret"$' && last=$(for one; do echo $one; done | tail -n 1)
    echo "$last" >> $ROOT/urls
    case $last in */on|*/off) echo ${last##*/} > $ROOT/machine;; */state) cat $ROOT/machine;; *) exit 22;; esac"""
    agents.box.tool("curl", curl)
    agents.box.write(FILE, "url = http://device\npassword = s3#cret\n[server1]\noutlet = 4\n").chmod(0o600)
    options = agent.load("", "server1")
    assert agent.status("fence_x", options, 10) == "on"
    assert agent.switch_off("fence_x", options, 10, agents.told.append), agents.told
    assert agent.status("fence_x", options, 10) == "off"
    urls = (agents.box.root / "urls").read_text().split()
    assert urls == [f"http://device/4/{word}" for word in ("state", "off", "state", "state")]
    assert not any("s3#cret" in call for call in agents.box.calls)
    agents.machine("of course")
    assert agent.status("fence_x", options, 10) == "unknown"


# --- a real one


@pytest.mark.skipif(not shutil.which("fence_dummy", path="/usr/sbin"), reason="the package fence-agents is not here")
def test_the_distributions_agents_have_this_interface(tmp_path: Path) -> None:
    options = {"status_file": str(tmp_path / "status"), "nodename": "server1"}
    told: list[str] = []
    assert agent.switch_on("/usr/sbin/fence_dummy", options, 20, told.append), told
    assert agent.status("/usr/sbin/fence_dummy", options, 20) == "on"
    assert agent.switch_off("/usr/sbin/fence_dummy", options, 20, told.append), told
    assert agent.call("/usr/sbin/fence_dummy", options, "monitor", 20).code == 0
