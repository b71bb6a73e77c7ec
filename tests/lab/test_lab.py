"""The lab itself: what it says about the nodes is true, and nothing of it survives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import powerswitch, snapshot, witnesshost
from .image import REPLICATION_ADDRESS, Image
from .lab import Lab, LabError, know_each_other

pytestmark = pytest.mark.lab

PING = "ping -c 1 -W 2"


@pytest.fixture(scope="class")
def lab(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(image, results=tmp_path_factory.mktemp("results")) as lab:
        lab.boot()
        yield lab


def processes_naming(text: str) -> list[str]:
    """Command lines of all running processes that contain a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if text in line:
            found.append(line)
    return found


class TestNodes:
    def test_both_boot_cleanly_and_reach_each_other(self, lab: Lab) -> None:
        for node in lab.nodes:
            node.check_clean_boot()
            assert node.run("uname -n") == f"{node.name}\n"
            peer = REPLICATION_ADDRESS[3 - node.number]
            assert "1 received" in node.run(f"{PING} {peer}")
        first, second = lab.both(lambda node: node.run("cat /etc/machine-id"))
        assert first != second

    def test_drbd_and_ocfs2_stand_as_the_packages_leave_them(self, lab: Lab) -> None:
        for node in lab.nodes:
            assert node.fail("systemctl is-enabled drbd.service").strip() == "disabled"
            assert node.run("lsmod").count("\ndrbd ") == 1
            assert node.run("modprobe ocfs2 && cat /proc/filesystems").count("ocfs2") >= 1

    def test_a_failing_command_tells_the_state_of_both(self, lab: Lab) -> None:
        node = lab.nodes[0]
        with pytest.raises(LabError) as caught:
            node.run("echo to-stdout; echo to-stderr >&2; false; echo unreached")
        text = str(caught.value)
        for part in ("server1: status 1 from", "to-stdout", "to-stderr", "server1: console", "server2: journal"):
            assert part in text
        assert "unreached\n" not in text.partition("==")[0].partition("from:")[2].partition("\n")[2]
        kept = Path(text.rpartition("== kept in ")[2].splitlines()[0])
        assert "login:" in (kept / "server2-console.log").read_text(errors="replace")
        assert (kept / "failure.txt").read_text().startswith("server1: status 1 from")
        assert node.run("exit 3", check=False) == ""
        assert "oops" in node.fail("echo oops >&2; exit 255")
        with pytest.raises(LabError, match="should not"):
            node.fail("true")

    @pytest.mark.long
    def test_every_wait_has_a_limit(self, lab: Lab) -> None:
        node = lab.nodes[1]
        began = time.monotonic()
        with pytest.raises(LabError, match="no end after 3 s"):
            node.run("sleep 60", timeout=3)
        with pytest.raises(LabError, match="not in 3 s"):
            node.wait_until("test -e /nowhere", timeout=3)
        assert time.monotonic() - began < 60
        assert node.wait_until("cat /proc/uptime", timeout=20)

    @pytest.mark.long
    def test_waiting_for_a_unit_that_failed_ends_at_once(self, lab: Lab) -> None:
        node = lab.nodes[0]
        node.wait_for_unit("ssh.service", 20)
        node.fail(
            "systemd-run --unit=broken --property=RemainAfterExit=yes --wait sh -c 'echo because-of-this; exit 1'"
        )
        began = time.monotonic()
        with pytest.raises(LabError, match="because-of-this"):
            node.wait_for_unit("broken.service", 200)
        with pytest.raises(LabError, match=r"nothing\.service is inactive"):
            node.wait_for_unit("nothing.service", 200)
        assert time.monotonic() - began < 60
        with pytest.raises(LabError, match=r"degraded\nbroken\.service"):
            node.check_clean_boot()
        node.run("systemctl reset-failed broken.service")

    def test_files_arrive_as_they_are(self, lab: Lab, tmp_path: Path) -> None:
        node = lab.nodes[0]
        source = tmp_path / "bytes"
        source.write_bytes(bytes(range(256)) * 1000)
        node.put(source, "/root/a folder/it's there", 0o700)
        assert node.run("stat -c '%a %s' '/root/a folder'/*") == "700 256000\n"
        node.put_text("/root/text", "tab\tand $HOME\nnon-ASCII: ü\n")
        assert node.run("cat /root/text") == "tab\tand $HOME\nnon-ASCII: ü\n"

    def test_cable_out_and_in(self, lab: Lab) -> None:
        first, second = lab.nodes
        first.set_link(False)
        first.fail(f"{PING} {second.address}")
        second.fail(f"{PING} {first.address}")
        first.set_link(True)
        first.wait_until(f"{PING} {second.address}", timeout=30)
        second.wait_until(f"{PING} {first.address}", timeout=30)

    @pytest.mark.long
    def test_a_node_switches_the_other_one_off_and_on(self, lab: Lab) -> None:
        first, second = lab.nodes
        powerswitch.install_agent(first)

        def ask(action: str) -> int:
            options = f"ip={powerswitch.ADDRESS}\nipport={powerswitch.PORT}\nplug={second.name}\naction={action}\n"
            return first.execute(f"printf '{options}' | {powerswitch.AGENT}").status

        assert ask("status") == 0
        lab.switch.modes[second.name] = powerswitch.LIE
        assert ask("off") == 0
        assert second.running
        lab.switch.modes[second.name] = powerswitch.FAIL
        assert ask("off") == 1
        assert second.running
        lab.switch.modes.clear()
        assert ask("off") == 0
        assert ask("status") == 2
        assert ask("on") == 0
        second.wait_booted()
        assert [(asked.by, asked.plug) for asked in lab.switch.offs()] == [(first.name, second.name)]

    def test_the_third_host_runs_the_witness_and_nothing_else(self, lab: Lab) -> None:
        know_each_other(lab)
        first, second = lab.nodes
        for node in lab.nodes:
            lab.witness.admit(node.run("cat /root/.ssh/id_ed25519.pub"))
        ssh = f"ssh -o ConnectTimeout=10 -o BatchMode=yes root@{witnesshost.ADDRESS}"
        assert first.run(f"{ssh} probe").startswith("ok 1")
        assert first.run(f"{ssh} take 00000000000000A0 server1 1234567890abcdef r0") == "taken\n"
        assert "held server1" in second.fail(f"{ssh} take 00000000000000A0 server2 1234567890abcdee r0")
        assert len(lab.witness.held()) == 1
        assert "root:" not in second.fail(f"{ssh} cat /etc/passwd")
        lab.witness.modes[second.name] = witnesshost.REFUSE
        second.fail(f"{ssh} probe")
        lab.witness.modes[second.name] = witnesshost.DIE_ONCE
        second.fail(f"{ssh} take 00000000000000B0 server2 1234567890abcdee r0")
        assert len(lab.witness.held()) == 2, "it dies after it has given the lock"
        assert second.run(f"{ssh} take 00000000000000B0 server2 1234567890abcded r0") == "taken\n"

    def test_reboot_is_a_new_boot_with_the_old_one_readable(self, lab: Lab) -> None:
        node = lab.nodes[0]
        before = node.boot_id()
        seconds = node.reboot()
        assert node.boot_id() != before
        assert 0 < seconds < 60
        assert "Stopped ssh.service" in node.journal(-1)
        assert "Reached target reboot.target" in node.console(-1)
        assert "Reached target reboot.target" not in node.console()
        node.check_clean_boot()
        times = node.boot_times()
        ssh = times.units["ssh.service"]
        assert times.userspace < ssh.began < ssh.active < times.finish < 240
        assert ssh.state == "active"
        assert ssh.took > 0

    @pytest.mark.long
    def test_power_cut_loses_nothing_that_was_synced(self, lab: Lab) -> None:
        node = lab.nodes[1]
        node.run("echo kept > /root/synced && sync && journalctl --sync")
        node.power_cut()
        assert not node.running
        with pytest.raises(LabError, match="server2 is off"):
            node.run("true")
        node.start()
        assert node.run("cat /root/synced", timeout=200) == "kept\n"
        node.check_clean_boot()
        assert "Started ssh.service" in node.journal(-1)
        assert "Reached target shutdown.target" not in node.journal(-1)

    @pytest.mark.long
    def test_a_reset_that_nobody_asked_for(self, lab: Lab) -> None:
        node = lab.nodes[1]
        before = node.boot_id()
        assert node.execute("(sleep 1; echo b > /proc/sysrq-trigger) >/dev/null 2>&1 &").status == 0
        time.sleep(5)
        assert node.wait_booted() == "running"
        assert node.boot_id() != before
        assert "sysrq: Resetting" in node.console(-1)

    @pytest.mark.long
    def test_kept_disks_are_a_base_for_another_lab(self, lab: Lab, image: Image, tmp_path: Path) -> None:
        lab.both(lambda node: node.run(f"echo {node.name} > /root/kept; echo {node.name} > /dev/vdb"))
        lab.shutdown()
        assert "Powering off" in lab.nodes[0].console()
        lab.keep(tmp_path)
        with Lab(image, base=tmp_path) as other:
            other.boot()
            for node in other.nodes:
                assert node.run("cat /root/kept; head -n 1 /dev/vdb") == f"{node.name}\n" * 2


class TestGoingOnFromAKeptState:
    @pytest.fixture(scope="class")
    def resumed(self, image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
        with Lab(image, results=tmp_path_factory.mktemp("results")) as lab:
            snapshot.resume(lab)
            yield lab

    def test_it_is_as_after_a_boot(self, resumed: Lab) -> None:
        for node in resumed.nodes:
            node.check_clean_boot()
            assert node.console() == "", "it has booted"
            assert abs(float(node.run("date +%s.%N")) - time.time()) < 10
            assert 0 < node.boot_times().units["ssh.service"].active < node.boot_times().finish
            assert "1 received" in node.run(f"{PING} {REPLICATION_ADDRESS[3 - node.number]}")
            assert "from-here" in node.run("logger from-here; journalctl --sync; journalctl --boot --lines=20")

    def test_later_boots_are_boots(self, resumed: Lab) -> None:
        first, second = resumed.nodes
        second.run("echo kept > /root/synced && sync")
        second.power_cut()
        second.start()
        before = first.boot_id()
        first.reboot()
        assert first.boot_id() != before
        assert "Reached target reboot.target" in first.console(-1)
        assert "login:" in first.console()
        assert second.run("cat /root/synced", timeout=200) == "kept\n"
        for node in resumed.nodes:
            node.check_clean_boot()
            assert abs(float(node.run("date +%s.%N")) - time.time()) < 10

    @pytest.mark.long
    def test_a_state_that_is_of_no_use_is_a_boot(
        self, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def damaged(image: Image, base: Path | None) -> Path:
            whole = booted(image, base)
            for path in whole.iterdir():
                data = path.read_bytes()
                (tmp_path / path.name).write_bytes(data[: len(data) // 2] if path.name.endswith("-state") else data)
            return tmp_path

        booted = snapshot.booted
        monkeypatch.setattr(snapshot, "booted", damaged)
        with Lab(image) as lab:
            snapshot.resume(lab)
            assert "so a boot: " in capsys.readouterr().out
            for node in lab.nodes:
                node.check_clean_boot()
                assert "login:" in node.console()


RUN = """
import sys, signal, tests.lab.image, tests.lab.lab
# A shell's background job ignores it, and so would this.
signal.signal(signal.SIGINT, signal.default_int_handler)
image = tests.lab.image.Image(tests.lab.image.Path(sys.argv[1]), "12")
with tests.lab.lab.Lab(image) as lab:
    for node in lab.nodes:
        node.start()
    print(lab.nodes[0].folder.parent, flush=True)
    if sys.argv[2] == "fail":
        raise SystemError("on purpose")
    lab.both(lambda node: node.wait_booted())
    signal.pause()
"""


class TestNothingIsLeft:
    @pytest.fixture
    def run(self, image: Image) -> list[str]:
        return [sys.executable, "-c", RUN, str(image.folder)]

    def start(self, command: list[str], how: str) -> tuple[subprocess.Popen[str], Path]:
        """A run of its own with both nodes switched on, and its folder."""
        root = Path(__file__).resolve().parents[2]
        process = subprocess.Popen(
            [*command, how], cwd=root, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_after_a_signal(self, run: list[str], number: signal.Signals) -> None:
        process, folder = self.start(run, "wait")
        assert len([line for line in processes_naming(str(folder)) if "qemu-system" in line]) == 2
        try:
            process.send_signal(number)
            assert process.wait(30) != 0
        finally:
            process.kill()  # nothing of it stays where it has not ended by itself
        assert not folder.exists()
        assert processes_naming(str(folder)) == []

    def test_after_an_exception(self, run: list[str]) -> None:
        process, folder = self.start(run, "fail")
        assert process.wait(30) == 1
        assert not folder.exists()
        assert processes_naming(str(folder)) == []

    def test_after_a_kill_the_next_run_tidies_up(self, run: list[str], image: Image) -> None:
        process, folder = self.start(run, "wait")
        process.kill()
        process.wait(30)
        limit = time.monotonic() + 10
        while processes_naming(str(folder)) and time.monotonic() < limit:
            time.sleep(0.1)
        assert processes_naming(str(folder)) == []
        assert folder.exists()
        os.utime(folder, (0, 0))
        with Lab(image) as other:
            assert not folder.exists()
            own = other.nodes[0].folder.parent
            assert own.parent == Path(tempfile.gettempdir())
        assert not own.exists()
