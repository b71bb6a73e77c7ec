"""``drbdocfs fence-test`` on two hosts that are played: ssh runs the other host's part in this process, the agent and
the witness are stand-ins with a memory.  What a lost link does to real nodes is the lab's to show."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drbdocfs_boot import fencetest, terminal
from drbdocfs_boot.cli import main
from drbdocfs_boot.events import State
from drbdocfs_boot.fencetest import FAILED, NOT_TESTED, OK, Expected, Side, Watched
from drbdocfs_boot.tools import agent, ask, ssh, witness
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Result
from drbdocfs_boot.verbs import fence_test

CONFIG = "[web]\nresource = r0\ndevice = /dev/drbd0\ncluster = web\nmountpoint = /mnt/storage\n"
# As drbd-utils 9.22 with the driver 8.4.11 print them, shortened.
DUMP = """\
# resource r0 on server1: not ignored, not stacked
# defined at /etc/drbd.d/r0.res:1
resource r0 {
    on server1 {
        device           /dev/drbd0 minor 0;
        disk             /dev/loop7;
        meta-disk        internal;
        address          ipv4 10.0.0.1:7789;
    }
    on server2 {
        device           /dev/drbd0 minor 0;
        disk             /dev/loop7;
        meta-disk        internal;
        address          ipv4 10.0.0.2:7789;
    }
    net {
        ping-int           3;
        shared-secret    geheim;
    }
    disk {
        fencing          resource-and-stonith;
    }
    handlers {
        fence-peer       /usr/libexec/drbdocfs-boot/fence-peer;
    }
}
"""
SHOW = """\
resource r0 {
    net {
        timeout         	25; # 1/10 seconds
        connect-int     	3; # seconds
        ping-int        	3; # seconds
        ping-timeout    	15; # 1/10 seconds
        shared-secret   	"geheim";
        socket-check-timeout	0; # default
    }
    _remote_host {
        address			ipv4 10.0.0.2:7789;
    }
    _this_host {
        address			ipv4 10.0.0.1:7789;
        volume 0 {
            device			minor 0;
            disk			"/dev/loop7";
            disk {
                fencing         	resource-and-stonith;
                disk-timeout    	0; # 1/10 seconds, default
            }
        }
    }
}
"""
SHOW_9 = """\
resource "r0" {
    options {
        quorum          	off; # default
    }
    _this_host {
        node-id			0;
        volume 0 {
            device			minor 0;
        }
    }
    connection {
        _peer_node_id 1;
        path {
            _this_host ipv4 10.0.0.1:7789;
            _remote_host ipv4 10.0.0.2:7789;
        }
        net {
            fencing         	resource-and-stonith;
            ping-int        	7; # seconds
        }
    }
}
"""
# With a third host without a disk, as create writes it and drbdadm 9.2.8 dumps it, shortened.
THIRD = """\
resource r0 {
    on server1 {
        node-id 0;
        device           /dev/drbd0 minor 0;
        disk             /dev/loop7;
        meta-disk        internal;
        address          ipv4 10.0.0.1:7789;
    }
    on server2 {
        node-id 1;
        device           /dev/drbd0 minor 0;
        disk             /dev/loop7;
        meta-disk        internal;
        address          ipv4 10.0.0.2:7789;
    }
    on third {
        node-id 2;
        device           /dev/drbd0 minor 0;
        disk             none;
        address          ipv4 10.0.0.3:7789;
    }
    connection {
        host server1;
        host third;
        net {
            _name        third;
            fencing      dont-care;
        }
    }
    net {
        fencing          resource-and-stonith;
    }
    handlers {
        fence-peer       /usr/libexec/drbdocfs-boot/fence-peer;
    }
}
"""
SHOW_THIRD = """\
resource "r0" {
    options {
        quorum          	majority;
    }
    _this_host {
        node-id			0;
    }
    connection {
        _peer_node_id 1;
        path {
            _this_host ipv4 10.0.0.1:7789;
            _remote_host ipv4 10.0.0.2:7789;
        }
        net {
            fencing         	resource-and-stonith;
            connect-int     	3; # seconds
            ping-int        	5; # seconds
            _name           	"server2";
        }
    }
    connection {
        _peer_node_id 2;
        path {
            _this_host ipv4 10.0.0.1:7789;
            _remote_host ipv4 10.0.0.3:7789;
        }
        net {
            fencing         	dont-care; # default
            ping-int        	10; # seconds, default
            _name           	"third";
        }
    }
}
"""
EVENTS = """\
exists resource name:r0 role:Primary suspended:no write-ordering:flush
exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connected role:Primary congested:no
exists device name:r0 volume:0 minor:0 disk:UpToDate size:163796
exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:UpToDate
exists -
"""
FROZEN = EVENTS.replace("suspended:no", "suspended:fencing").replace("connection:Connected", "connection:Connecting")
ALONE = FROZEN.replace("suspended:fencing", "suspended:no").replace("peer-disk:UpToDate", "peer-disk:DUnknown")
GI = "D799598BB6737F4F:0000000000000000:B4D6D3206F82D29D:B4D5D3206F82D29D:1:1:1:1:0:0:0\n"
HANDLER = """#!/bin/sh
[ "$*" = --dry-run ] || exit 9
cat "$ROOT/$__DRBD_NODE__/handler-says"
echo "resource $DRBD_RESOURCE"
exit "$(cat "$ROOT/$__DRBD_NODE__/handler-exit")"
"""


class Told:
    """An answer of the witness's client."""

    def __init__(self, kind: str, holder: str = "", said: str = "") -> None:
        self.kind = kind
        self.holder = holder
        self.said = said


class Pair:
    """Two hosts; the test runs on server1.  ``asked`` is what the agent and the witness were asked, by whom."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.asked: list[str] = []
        self.power = {"server1": "on", "server2": "on"}
        self.locks: dict[str, dict[str, tuple[str, str, str]]] = {}  # witness -> generation -> holder, nonce, label
        self.lost_words: set[str] = set()  # what the witness does and does not answer
        self.broken: set[str] = set()
        self.cut = False
        for host in ("server1", "server2"):
            self.write(host, "/etc/drbdocfs/drbdocfs.conf", CONFIG + "survivor = server1\n")
            self.write(host, "/etc/drbdocfs/fence.conf", "[server1]\nplug = 1\n[server2]\nplug = 2\n")
            self.write(host, "/sys/module/drbd/version", "8.4.11\n")
            self.write(host, "/sys/module/drbd/parameters/usermode_helper", "/sbin/drbdadm\n")
            self.write(host, "/sbin/drbdadm", "#!/bin/sh\n", 0o755)
            self.write(host, fencetest.HANDLER, "#!/bin/sh\n", 0o755)
            cluster = "/sys/kernel/config/cluster/web"
            self.write(host, f"{cluster}/heartbeat/dead_threshold", "31\n")
            self.write(host, f"{cluster}/idle_timeout_ms", "30000\n")
            for number, node in enumerate(("server1", "server2"), 1):
                self.write(host, f"{cluster}/node/{node}/num", f"{number}\n")
            self.write(host, "/dump", DUMP)
            self.write(host, "/show", SHOW)
            self.write(host, "/events", EVENTS)
            self.write(host, "/gi", GI)
            self.write(host, "/handler-says", f"{host} goes on: survivor = server1\n")
            self.write(host, "/handler-exit", "0")

    def write(self, host: str, name: str, text: str, mode: int = 0o600) -> None:
        path = self.place / host / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def policy(self, *lines: str, host: str = "") -> None:
        for one in [host] if host else ["server1", "server2"]:
            self.write(one, "/etc/drbdocfs/drbdocfs.conf", CONFIG + "".join(line + "\n" for line in lines))

    def change(self, host: str, name: str, old: str, new: str) -> None:
        path = self.place / host / name.lstrip("/")
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    @property
    def here(self) -> str:
        return os.environ["__DRBD_NODE__"]

    def note(self, *words: str) -> None:
        self.asked.append(" ".join([self.here, *words]))

    # --- the agent ---

    def load(self, path: str, host: str) -> dict[str, str]:
        if f"load {self.here}" in self.broken:
            raise Failure(77, f"{path} has the mode 644", f"chmod 600 {path}")
        return {"plug": host}

    def status(self, program: str, options: dict[str, str], limit: float) -> str:
        self.note(program, "status", options["plug"])
        return self.power[options["plug"]]

    def call(self, program: str, options: dict[str, str], action: str, limit: float) -> agent.Outcome:
        return agent.Outcome(1, "no route to the board", 0.1)

    def switch_off(self, program: str, options: dict[str, str], limit: float, tell: Callable[[str], object]) -> bool:
        self.note(program, "off", options["plug"])
        return "off" not in self.broken

    def switch_on(self, program: str, options: dict[str, str], limit: float, tell: Callable[[str], object]) -> bool:
        self.note(program, "on", options["plug"])
        return True

    # --- the witness ---

    def probe(self, where: str, limit: float) -> Told:
        if f"probe {self.here}" in self.broken:
            return Told("error", said="Connection refused")
        return Told("ok")

    def take(self, where: str, generation: str, holder: str, nonce: str, label: str, limit: float) -> Told:
        assert len(generation) == 16
        assert int(generation, 16) % 2 == 0
        self.note("take", holder)
        locks = self.locks.setdefault(self.witness_of(where), {})
        found = locks.get(generation)
        if found is not None and found[0] != holder:
            return Told("held", found[0])
        locks[generation] = (holder, nonce, label)
        return Told("error", said="timed out") if f"take {self.here}" in self.lost_words else Told("taken")

    def release(self, where: str, generation: str, nonce: str, limit: float) -> Told:
        locks = self.locks.setdefault(self.witness_of(where), {})
        if f"release {self.here}" not in self.broken and locks.get(generation, ("", "", ""))[1] == nonce:
            del locks[generation]
        self.note("release")
        return Told("released")

    def held(self, where: str, holder: str, label: str, limit: float) -> list[str]:
        locks = self.locks.get(self.witness_of(where), {})
        return [generation for generation, lock in locks.items() if (lock[0], lock[2]) == (holder, label)]

    def witness_of(self, where: str) -> str:
        """A directory that is not shared is another one on each host."""
        return where + self.here if where == "/not/shared" else where

    @property
    def left(self) -> list[str]:
        return [generation for locks in self.locks.values() for generation in locks]

    # --- the other host ---

    def ssh(self, where: str, argv: list[str], limit: float = 30.0) -> Result:
        if self.cut or where != "root@server2":
            raise Failure(69, f"{where} is not reachable by ssh: No route to host")
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), self.on("server2"):
            code = main(list(argv[1:]))
        return Result(code, out.getvalue(), err.getvalue())

    @contextlib.contextmanager
    def on(self, host: str) -> Iterator[None]:
        before = {name: os.environ[name] for name in ("__DRBD_NODE__", "DRBDOCFS_ROOT")}
        os.environ.update({"__DRBD_NODE__": host, "DRBDOCFS_ROOT": str(self.place / host)})
        try:
            yield
        finally:
            os.environ.update(before)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    found = Pair(tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()

    def tool(name: str, body: str) -> None:
        path = tools / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\nROOT={tmp_path}\nexport ROOT\n{body}\n")
        path.chmod(0o755)

    here = '"$ROOT/$__DRBD_NODE__'
    tool("drbdadm", f'case $1 in dump) cat {here}/dump";; get-gi) cat {here}/gi";; *) exit 1;; esac')
    tool("drbdsetup", f'case $1 in show) cat {here}/show";; events2) cat {here}/events";; *) exit 1;; esac')
    # The handler is called by its full name, which is not below the tests' root.
    tool("handler", HANDLER.partition("\n")[2])
    tool("env", f'export "$1"; shift 2; exec {tools}/handler "$@"')
    log = f'echo "$(basename $0) $*" >> {tmp_path}/calls'
    for name in ("nft", "systemctl", "systemd-run"):
        tool(name, f"{log}\n[ ! -e {tmp_path}/no-$(basename $0) ]")
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("DRBDOCFS_ROOT", str(tmp_path / "server1"))
    monkeypatch.setenv("__DRBD_NODE__", "server1")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(ssh, "run", found.ssh)
    for name in ("load", "status", "call", "switch_off", "switch_on"):
        monkeypatch.setattr(agent, name, getattr(found, name))
    for name in ("probe", "take", "release", "held"):
        monkeypatch.setattr(witness, name, getattr(found, name))
    monkeypatch.setattr(fence_test, "EVERY", 0.0)
    monkeypatch.setattr(fence_test, "COUNTDOWN", 0)
    return found


def rows(text: str) -> list[tuple[str, str, str]]:
    """(result, step, text) of the table."""
    found = []
    for line in text.splitlines():
        for result in (OK, FAILED, NOT_TESTED):
            if line.startswith(f"{result:<10}  "):
                found.append((result, line[12:25].strip(), line[27:]))
    return found


def result_of(text: str, step: str) -> list[str]:
    return [result for result, name, _ in rows(text) if name == step]


def lines_of(text: str, step: str) -> str:
    return "\n".join(words for _, name, words in rows(text) if name == step)


Capture = pytest.CaptureFixture[str]
POWER = ("survivor = power", "fence_agent = fence_test", "link_grace = 8s")
WITNESS = ("survivor = witness", "witness = w@third")


# --- the table ------------------------------------------------------------------------------------------------


def test_a_pair_in_order_is_0_and_every_step_is_ok_on_both(pair: Pair, capsys: Capture) -> None:
    assert main(["fence-test", "web"]) == 0
    out = capsys.readouterr().out
    assert result_of(out, "configuration") == [OK]
    for step in ("fencing", "handler", "plan", "dry run"):
        assert result_of(out, step) == [OK, OK], step
        assert "server1: " in lines_of(out, step)
        assert "server2: " in lines_of(out, step)
    assert result_of(out, "power") == result_of(out, "witness") == [NOT_TESTED]
    assert "server1 goes on: survivor = server1; resource r0" in lines_of(out, "dry run")
    assert pair.asked == []


def test_the_plan_is_reckoned_with_the_running_values(pair: Pair, capsys: Capture) -> None:
    main(["fence-test", "web"])
    assert "server2: notice 7.5 s + grace 20 s" in capsys.readouterr().out
    for host in ("server1", "server2"):
        pair.write(host, "/sys/kernel/config/cluster/web/idle_timeout_ms", "15000\n")
    assert main(["fence-test", "web"]) == 0
    plans = lines_of(capsys.readouterr().out, "plan").splitlines()
    assert "grace 20 s" in plans[0]
    assert "of 17 s that O2CB leaves (quorum); link_grace is 20 s, more than fits" in plans[1]


def test_a_plan_that_does_not_fit_has_failed(pair: Pair, capsys: Capture) -> None:
    for host in ("server1", "server2"):
        pair.write(host, "/sys/kernel/config/cluster/web/idle_timeout_ms", "5000\n")
    assert main(["fence-test", "web"]) == 1
    out = capsys.readouterr().out
    assert result_of(out, "plan") == [OK, FAILED]
    assert "server2: " in lines_of(out, "plan").splitlines()[1]


def test_o2cbs_limits_are_changed_with_the_stack_stopped(pair: Pair, capsys: Capture) -> None:
    """Nodes with other idle timeouts refuse each other."""
    wanted = "with the stack stopped on both"
    for idle in ("5000", "10000"):  # does not fit; is cut
        for host in ("server1", "server2"):
            pair.write(host, "/sys/kernel/config/cluster/web/idle_timeout_ms", f"{idle}\n")
        main(["fence-test", "web"])
        assert wanted in " ".join(capsys.readouterr().out.split())
    pair.write("server1", "/sys/kernel/config/cluster/web/idle_timeout_ms", "30000\n")
    pair.write("server2", "/sys/kernel/config/cluster/web/idle_timeout_ms", "31000\n")
    main(["fence-test", "web"])
    assert wanted in " ".join(capsys.readouterr().out.split())


def test_without_the_cluster_in_the_kernel_there_is_no_plan(pair: Pair, capsys: Capture) -> None:
    (pair.place / "server2/sys/kernel/config/cluster/web/idle_timeout_ms").unlink()
    assert main(["fence-test", "web"]) == 1
    assert result_of(capsys.readouterr().out, "plan") == [OK, FAILED]


def test_limits_of_o2cb_that_differ_have_failed(pair: Pair, capsys: Capture) -> None:
    pair.write("server2", "/sys/kernel/config/cluster/web/heartbeat/dead_threshold", "61\n")
    assert main(["fence-test", "web"]) == 1
    assert "O2CB's dead_threshold: 31 on server1, 61 on server2" in capsys.readouterr().out


def test_policies_by_which_both_go_on_are_65(pair: Pair, capsys: Capture) -> None:
    pair.policy("survivor = server2", host="server2")
    assert main(["fence-test", "web"]) == 65
    out = capsys.readouterr().out
    assert "survivor: server1 on server1, server2 on server2. A lost link would let both nodes go on" in out


def test_the_file_that_has_the_section_is_named(pair: Pair, capsys: Capture) -> None:
    for host in ("server1", "server2"):
        (pair.place / host / "etc/drbdocfs/drbdocfs.conf").unlink()
        survivor = "survivor = none\n" if host == "server2" else "survivor = server1\n"
        pair.write(host, "/etc/drbdocfs/conf.d/web.conf", CONFIG + survivor)
    assert main(["fence-test", "web"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "in section [web] of /etc/drbdocfs/conf.d/web.conf on both nodes" in out
    pair.write("server2", "/etc/drbdocfs/drbdocfs.conf", CONFIG + "survivor = none\n")
    (pair.place / "server2/etc/drbdocfs/conf.d/web.conf").unlink()
    assert main(["fence-test", "web"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "/etc/drbdocfs/conf.d/web.conf on server1 and /etc/drbdocfs/drbdocfs.conf on server2" in out


def test_policies_that_differ_and_stop_both_are_1(pair: Pair, capsys: Capture) -> None:
    pair.policy("survivor = none", host="server2")
    assert main(["fence-test", "web"]) == 1
    assert result_of(capsys.readouterr().out, "configuration") == [FAILED]


def test_a_grace_that_differs_is_1(pair: Pair, capsys: Capture) -> None:
    pair.policy("survivor = server1", "link_grace = 5s", host="server2")
    assert main(["fence-test", "web"]) == 1
    assert "link_grace: 20 s on server1, 5 s on server2" in capsys.readouterr().out


def test_a_survivor_that_is_no_node_has_failed(pair: Pair, capsys: Capture) -> None:
    pair.policy("survivor = server3")
    assert main(["fence-test", "web"]) == 1
    assert "survivor = server3, but the nodes are server1 and server2" in capsys.readouterr().out


def test_a_policy_without_its_means_has_failed(pair: Pair, capsys: Capture) -> None:
    pair.policy("survivor = power")
    assert main(["fence-test", "web"]) == 1
    out = capsys.readouterr().out
    assert "the policy power needs fence_agent" in out
    assert result_of(out, "power") == [NOT_TESTED]
    pair.policy("survivor = witness")
    assert main(["fence-test", "web"]) == 1
    assert "the policy witness needs witness" in capsys.readouterr().out


def test_nodes_that_nothing_freezes_are_65(pair: Pair, capsys: Capture) -> None:
    for host in ("server1", "server2"):
        pair.change(host, "/show", "resource-and-stonith", "dont-care")
    assert main(["fence-test", "web"]) == 65
    out = capsys.readouterr().out
    assert result_of(out, "fencing") == [FAILED, FAILED]
    assert "disk { fencing resource-and-stonith; }" in out


def test_fencing_in_the_file_alone_is_not_in_force(pair: Pair, capsys: Capture) -> None:
    pair.change("server2", "/show", "resource-and-stonith", "dont-care")
    # server1 waits for nobody, server2 does not wait at all.
    assert main(["fence-test", "web"]) == 65
    assert result_of(capsys.readouterr().out, "fencing") == [OK, FAILED]


def quorum_alone(pair: Pair, dump: str) -> None:
    for host in ("server1", "server2"):
        pair.write(host, "/sys/module/drbd/version", "9.2.8\n")
        pair.write(host, "/dump", dump)
        pair.write(
            host, "/show", SHOW_THIRD.replace("resource-and-stonith", "dont-care") if "third" in dump
            else SHOW_9.replace("off; # default", "majority;").replace("resource-and-stonith", "dont-care")
        )  # fmt: skip


def test_quorum_of_two_hosts_stops_both_without_fencing(pair: Pair, capsys: Capture) -> None:
    quorum_alone(pair, DUMP)
    assert main(["fence-test", "web"]) == 0
    out = capsys.readouterr().out
    assert result_of(out, "fencing") == [NOT_TESTED, NOT_TESTED]
    assert "quorum majority is in force instead of fencing: both nodes stop" in out


def test_quorum_with_a_third_host_and_without_fencing_is_65(pair: Pair, capsys: Capture) -> None:
    quorum_alone(pair, THIRD)
    assert main(["fence-test", "web"]) == 65
    out = capsys.readouterr().out
    assert result_of(out, "fencing") == [FAILED, FAILED]
    assert "both keep the quorum majority by third" in out
    assert "net { fencing resource-and-stonith; }" in out


def test_a_third_host_without_a_disk_need_not_be_fenced(pair: Pair, capsys: Capture) -> None:
    for host in ("server1", "server2"):
        pair.write(host, "/sys/module/drbd/version", "9.2.8\n")
        pair.write(host, "/dump", THIRD)
        pair.write(host, "/show", SHOW_THIRD)
    assert main(["fence-test", "web"]) == 0
    out = capsys.readouterr().out
    for step in ("fencing", "handler", "plan", "dry run"):
        assert result_of(out, step) == [OK, OK], step


def test_a_third_host_is_no_survivor(pair: Pair, capsys: Capture) -> None:
    for host in ("server1", "server2"):
        pair.write(host, "/dump", THIRD)
    pair.policy("survivor = third")
    assert main(["fence-test", "web"]) == 1
    assert "survivor = third, but the nodes are server1 and server2" in capsys.readouterr().out


def test_the_link_to_a_third_host_is_not_cut(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("server1", "server2"):
        pair.write(host, "/dump", THIRD)
        pair.write(host, "/show", SHOW_THIRD)
    states(monkeypatch, FROZEN, EVENTS)
    assert main(["fence-test", "web", "--really", "link", "--seconds", "9", "--yes"]) == 0
    cut = "\n".join(calls(pair))
    assert "10.0.0.2" in cut
    assert "10.0.0.3" not in cut


@pytest.mark.parametrize(
    ("name", "what"),
    [("/sbin/drbdadm", "the kernel calls /sbin/drbdadm: there is no such file"), (fencetest.HANDLER, "no such file")],
)
def test_a_program_that_is_not_there_has_failed(pair: Pair, capsys: Capture, name: str, what: str) -> None:
    (pair.place / "server2" / name.lstrip("/")).unlink()
    assert main(["fence-test", "web"]) == 1
    out = capsys.readouterr().out
    assert result_of(out, "handler") == [OK, FAILED]
    assert what in lines_of(out, "handler")


def test_a_handler_that_cannot_be_executed_has_failed_and_is_not_called(pair: Pair, capsys: Capture) -> None:
    (pair.place / "server2" / fencetest.HANDLER.lstrip("/")).chmod(0o644)
    assert main(["fence-test", "web"]) == 1
    out = capsys.readouterr().out
    assert "it cannot be executed" in lines_of(out, "handler")
    assert result_of(out, "dry run") == [OK, NOT_TESTED]


@pytest.mark.parametrize("other", ["", "handlers { fence-peer /usr/lib/drbd/crm-fence-peer.sh; }"])
def test_no_handler_or_another_one_has_failed(pair: Pair, capsys: Capture, other: str) -> None:
    begin = DUMP.index("    handlers")
    pair.write("server1", "/dump", DUMP[:begin] + other + "}\n")
    assert main(["fence-test", "web"]) == 1
    assert result_of(capsys.readouterr().out, "handler") == [FAILED, OK]


def test_a_handler_that_cannot_decide_has_failed(pair: Pair, capsys: Capture) -> None:
    pair.write("server2", "/handler-exit", "1")
    pair.write("server2", "/handler-says", "the witness does not answer\n")
    assert main(["fence-test", "web"]) == 1
    out = capsys.readouterr().out
    assert result_of(out, "dry run") == [OK, FAILED]
    assert "(exit 1): the witness does not answer" in out


def test_a_resource_that_is_down_has_failed(pair: Pair, capsys: Capture) -> None:
    pair.write("server2", "/events", "exists -\n")
    assert main(["fence-test", "web"]) == 1
    assert "server2: r0 is down" in lines_of(capsys.readouterr().out, "fencing")


def test_no_secret_is_reported(pair: Pair, capsys: Capture) -> None:
    assert main(["fence-test", "web", "--report", "facts"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["net"]["ping-int"] == 3
    assert "geheim" not in out


# --- the other side -------------------------------------------------------------------------------------------


def test_the_other_side_that_is_not_reachable_is_69_and_this_one_is_shown(pair: Pair, capsys: Capture) -> None:
    pair.cut = True
    assert main(["fence-test", "web"]) == 69
    out = capsys.readouterr().out
    assert "root@server2 is not reachable by ssh" in lines_of(out, "other side")
    assert result_of(out, "plan") == [OK]


def test_what_failed_here_counts_more_than_the_other_side(pair: Pair) -> None:
    pair.cut = True
    pair.write("server1", "/handler-exit", "1")
    assert main(["fence-test", "web"]) == 1


def test_mistakes_in_the_other_sides_configuration_are_told(pair: Pair, capsys: Capture) -> None:
    pair.policy("survivor = Not A Host!", host="server2")
    assert main(["fence-test", "web"]) == 69
    assert "survivor" in lines_of(capsys.readouterr().out, "other side")


def test_this_side_alone_asks_nobody_else(pair: Pair, capsys: Capture) -> None:
    pair.cut = True
    assert main(["fence-test", "web", "--this-side"]) == 0
    assert result_of(capsys.readouterr().out, "other side") == [NOT_TESTED]


def test_the_peer_may_be_named(pair: Pair, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def run(where: str, argv: list[str], limit: float) -> Result:
        called.append(where)
        raise Failure(69, "no")

    monkeypatch.setattr(ssh, "run", run)
    assert main(["fence-test", "web", "--peer", "backup@10.0.0.9"]) == 69
    assert main(["fence-test", "web", "--peer", "10.0.0.9"]) == 69
    assert called == ["backup@10.0.0.9", "root@10.0.0.9"]


def test_this_host_is_not_its_own_peer(pair: Pair, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    own = json.dumps(fencetest.to_json(dataclasses.replace(side("server1"), stack="web")))
    monkeypatch.setattr(ssh, "run", lambda where, argv, limit: Result(0, own, ""))
    assert main(["fence-test", "web", "--peer", "server1"]) == 2


def test_only_root_may_do_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["fence-test", "web"]) == 77


def test_a_broken_configuration_is_78_and_no_stack_is_2(pair: Pair) -> None:
    assert main(["fence-test", "other"]) == 2
    pair.policy("survivor = Not A Host!", host="server1")
    assert main(["fence-test", "web"]) == 78


@pytest.mark.parametrize(
    "words",
    [
        ["--really", "link", "--this-side"],
        ["--victim", "server2"],
        ["--seconds", "5"],
        ["--yes"],
        ["--really", "power", "--seconds", "5"],
        ["--really", "link", "--seconds", "0"],
        ["--report", "everything"],
        ["--report", "take", "0"],
    ],
)
def test_options_that_do_not_fit_together_are_2(pair: Pair, words: list[str]) -> None:
    assert main(["fence-test", "web", *words]) == 2


# --- power and witness ----------------------------------------------------------------------------------------


def test_each_node_asks_the_agent_for_the_other_one(pair: Pair, capsys: Capture) -> None:
    pair.policy(*POWER)
    assert main(["fence-test", "web"]) == 0
    out = capsys.readouterr().out
    assert result_of(out, "power") == [OK, OK]
    assert "/etc/drbdocfs/fence.conf has mode 600" in out
    assert pair.asked == ["server1 fence_test status server2", "server2 fence_test status server1"]


@pytest.mark.parametrize(
    ("said", "words"), [("off", "the options of another machine"), ("unknown", "no route to the board")]
)
def test_a_peer_that_is_not_on_for_the_agent_has_failed(pair: Pair, capsys: Capture, said: str, words: str) -> None:
    pair.policy(*POWER)
    pair.power["server1"] = said
    assert main(["fence-test", "web"]) == 1
    out = capsys.readouterr().out
    assert result_of(out, "power") == [OK, FAILED]
    assert words in out


def test_an_options_file_that_is_refused_has_failed(pair: Pair, capsys: Capture) -> None:
    pair.policy(*POWER)
    pair.broken.add("load server2")
    assert main(["fence-test", "web"]) == 1
    out = capsys.readouterr().out
    assert result_of(out, "power") == [OK, FAILED]
    assert "chmod 600 /etc/drbdocfs/fence.conf" in out


def test_a_lock_is_tried_in_both_directions_and_nothing_is_left(pair: Pair, capsys: Capture) -> None:
    pair.policy(*WITNESS)
    assert main(["fence-test", "web"]) == 0
    out = capsys.readouterr().out
    assert result_of(out, "witness") == [OK] * 4
    takes = [line for line in pair.asked if "take" in line]
    first = ["server1 take server1", "server2 take server2"]
    assert takes == first + first[::-1]
    assert pair.left == []


def test_two_witnesses_where_one_was_meant_are_65(pair: Pair, capsys: Capture) -> None:
    pair.policy("survivor = witness", "witness = /not/shared")
    assert main(["fence-test", "web"]) == 65
    assert "they do not ask the same witness" in capsys.readouterr().out
    assert pair.left == []


def test_a_witness_that_one_side_does_not_reach_has_failed_and_no_lock_is_tried(pair: Pair, capsys: Capture) -> None:
    pair.policy(*WITNESS)
    pair.broken.add("probe server2")
    assert main(["fence-test", "web"]) == 1
    assert result_of(capsys.readouterr().out, "witness") == [OK, FAILED, NOT_TESTED]
    assert pair.asked == []


def test_a_lock_whose_answer_was_lost_is_released_all_the_same(pair: Pair, capsys: Capture) -> None:
    pair.policy(*WITNESS)
    pair.lost_words.add("take server1")
    assert main(["fence-test", "web"]) == 1
    assert "server1 does not get a test lock of w@third: timed out" in capsys.readouterr().out
    assert pair.left == []


def test_an_agent_or_a_witness_slower_than_the_plan_is_told() -> None:
    quick, slow = (fencetest.Power("on", took, "", "600", "/f") for took in (4.9, 5.1))
    assert fencetest.power("server1", "server2", "fence_x", quick).advice == ""
    assert "the plan has 10 s" in fencetest.power("server1", "server2", "fence_x", slow).advice

    def locked(took: float) -> fencetest.Row:
        refused = fencetest.Answer("held", "server1", took=took)
        return fencetest.locked(
            "server1", "server2", "w", fencetest.Answer("taken"), refused, fencetest.Answer("released")
        )

    assert (locked(4.9).result, locked(4.9).advice) == (OK, "")
    assert "the plan has 5 s" in locked(5.1).advice


def test_a_lock_that_is_left_is_told(pair: Pair, capsys: Capture) -> None:
    pair.policy(*WITNESS)
    pair.broken.add("release server2")
    assert main(["fence-test", "web"]) == 1
    assert "server2: of the test there is left at w@third: " in capsys.readouterr().out


def test_ctrl_c_between_lock_and_release_leaves_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.policy(*WITNESS)

    def take(*words: Any) -> Told:
        if pair.here == "server1" and pair.left:
            raise KeyboardInterrupt
        return pair.take(*words)

    monkeypatch.setattr(witness, "take", take)
    assert main(["fence-test", "web"]) == 130
    assert [line for line in pair.asked if "take" in line][-1] == "server2 take server2"
    assert pair.left == []


def test_this_side_alone_asks_the_witness_in_both_names(pair: Pair, capsys: Capture) -> None:
    pair.policy(*WITNESS)
    pair.cut = True
    assert main(["fence-test", "web", "--this-side"]) == 0
    assert result_of(capsys.readouterr().out, "witness") == [OK, OK, OK, NOT_TESTED]
    assert "server1 take server2" in pair.asked
    assert pair.left == []


# --- the real thing -------------------------------------------------------------------------------------------


def calls(pair: Pair) -> list[str]:
    file = pair.place / "calls"
    return file.read_text().splitlines() if file.exists() else []


def states(monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
    """DRBD as it looks from one look to the next while it is watched; the last one stays."""
    todo = list(texts)

    def state(resource: str) -> State:
        found = State()
        for line in (todo.pop(0) if len(todo) > 1 else todo[0]).splitlines():
            found.feed(line)
        return found

    watch = fence_test._Test._watch

    def begin(self: Any, *words: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("drbdocfs_boot.tools.drbd.state", state)
            watch(self, *words)

    monkeypatch.setattr(fence_test._Test, "_watch", begin)


def test_a_short_cut_freezes_and_nothing_else(pair: Pair, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    states(monkeypatch, EVENTS, FROZEN, EVENTS)
    assert main(["fence-test", "web", "--really", "link", "--yes"]) == 0
    out = capsys.readouterr().out
    assert "shorter than the grace: both nodes freeze, and go on when the link is back" in out
    assert [line[10:] for line in out.splitlines() if " s  " in line[:11] and ", peer " not in line] == [
        "DRBD's connection is cut",
        "the connection is lost",
        "server1 is frozen",
        "connected again",
        "both disks are UpToDate",
    ]
    assert result_of(out, "link") == [OK]


def test_what_ends_the_cut_is_there_before_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    states(monkeypatch, FROZEN, EVENTS)
    assert main(["fence-test", "web", "--really", "link", "--seconds", "9", "--yes"]) == 0
    done = [line for line in calls(pair) if not line.startswith("systemctl")]
    assert done[0].startswith("systemd-run --quiet --collect --unit=drbdocfs-fence-test.service ")
    assert f"sleep 14; exec {pair.place}/bin/nft delete table inet drbdocfs-fence-test" in done[0]
    assert done[1].startswith("nft add table inet drbdocfs-fence-test")
    assert done[-1] == "nft delete table inet drbdocfs-fence-test"


@pytest.mark.parametrize("missing", ["nft", "systemd-run"])
def test_without_a_tool_that_is_needed_nothing_is_cut(pair: Pair, capsys: Capture, missing: str) -> None:
    (pair.place / "bin" / missing).unlink()
    assert main(["fence-test", "web", "--really", "link", "--yes"]) == 69
    assert calls(pair) == []


def test_without_the_unit_that_ends_it_nothing_is_cut(pair: Pair, capsys: Capture) -> None:
    (pair.place / "no-systemd-run").touch()
    assert main(["fence-test", "web", "--really", "link", "--yes"]) == 69
    assert [line for line in calls(pair) if line.startswith("nft")] == []
    assert "nothing was done: systemd-run failed" in capsys.readouterr().err


def test_ctrl_c_while_the_link_is_cut_ends_the_cut(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fence_test._Test, "_watch", interrupted)
    assert main(["fence-test", "web", "--really", "link", "--yes"]) == 130
    assert calls(pair)[-2:] == [
        "nft delete table inet drbdocfs-fence-test",
        "systemctl stop drbdocfs-fence-test.service",
    ]


def test_ctrl_c_in_the_countdown_does_nothing(pair: Pair, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fence_test, "_count_down", interrupted)
    assert main(["fence-test", "web", "--really", "link", "--yes"]) == 130
    assert calls(pair) == []
    assert "nothing was done" in capsys.readouterr().err


def test_without_a_terminal_nothing_is_done_without_yes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "possible", lambda: False)
    assert main(["fence-test", "web", "--really", "link"]) == 2
    assert calls(pair) == []
    monkeypatch.setattr(ask, "possible", lambda: True)
    states(monkeypatch, FROZEN, EVENTS)
    assert main(["fence-test", "web", "--really", "link"]) == 0


@pytest.mark.parametrize(
    "bad",
    ["disk:Inconsistent", "peer-disk:Outdated", "connection:Connecting", "replication:SyncTarget", "suspended:user"],
)
def test_nothing_is_cut_where_the_two_are_not_in_step(pair: Pair, capsys: Capture, bad: str) -> None:
    key = bad.partition(":")[0]
    lines = []
    for line in EVENTS.splitlines():
        lines.append(" ".join(bad if word.partition(":")[0] == key else word for word in line.split()))
    pair.write("server1", "/events", "\n".join(lines) + "\n")
    assert main(["fence-test", "web", "--really", "link", "--yes"]) == 1
    assert "server1 is not connected with both disks UpToDate" in capsys.readouterr().err
    assert calls(pair) == []


def test_nothing_is_cut_where_a_step_has_failed(pair: Pair, capsys: Capture) -> None:
    pair.write("server2", "/handler-exit", "1")
    assert main(["fence-test", "web", "--really", "link", "--yes"]) == 1
    assert "something failed above" in capsys.readouterr().err
    pair.policy("survivor = server2", host="server2")
    assert main(["fence-test", "web", "--really", "link", "--yes"]) == 65
    assert calls(pair) == []


def test_a_long_cut_wants_its_victim_named(pair: Pair, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["fence-test", "web", "--really", "link", "--seconds", "60", "--yes"]
    assert main(command) == 2
    assert "the same command with --victim server2" in capsys.readouterr().err
    assert main([*command, "--victim", "server1"]) == 2
    assert main([*command, "--victim", "server2", "--victim", "server1"]) == 2
    assert calls(pair) == []
    states(monkeypatch, FROZEN, ALONE, EVENTS)
    assert main([*command, "--victim", "server2"]) == 0
    assert "server1 goes on alone" in capsys.readouterr().out


def test_a_short_cut_has_no_victim(pair: Pair) -> None:
    assert main(["fence-test", "web", "--really", "link", "--yes", "--victim", "server2"]) == 2
    assert calls(pair) == []


def test_the_command_is_not_run_where_it_would_fall(pair: Pair, capsys: Capture) -> None:
    pair.policy("survivor = server2")
    words = ["--really", "link", "--seconds", "60", "--yes", "--victim", "server1"]
    assert main(["fence-test", "web", *words]) == 2
    assert "run it on server2" in capsys.readouterr().err
    assert calls(pair) == []


def test_a_node_that_goes_on_within_the_grace_has_failed(
    pair: Pair, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    states(monkeypatch, FROZEN, ALONE, EVENTS)
    assert main(["fence-test", "web", "--really", "link", "--yes"]) == 1
    assert "server1 went on alone after 0 s, before the link was back" in capsys.readouterr().out


def test_generations_that_differ_afterwards_are_65(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    states(monkeypatch, FROZEN, EVENTS)
    pair.write("server2", "/gi", GI.replace("D799", "D79A"))
    assert main(["fence-test", "web", "--really", "link", "--yes"]) == 65


def test_the_victim_is_switched_off_and_on(pair: Pair, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.policy(*POWER)
    states(monkeypatch, EVENTS, FROZEN, ALONE, ALONE, EVENTS)
    assert main(["fence-test", "web", "--really", "power", "--yes"]) == 2
    assert main(["fence-test", "web", "--really", "power", "--yes", "--victim", "server1"]) == 2
    assert [line for line in pair.asked if "status" not in line] == []
    assert main(["fence-test", "web", "--really", "power", "--yes", "--victim", "server2"]) == 0
    assert [line for line in pair.asked if "status" not in line] == [
        "server1 fence_test off server2",
        "server1 fence_test on server2",
    ]
    out = capsys.readouterr().out
    assert out.index("server1 goes on alone") < out.index("switches server2 on")


def test_a_victim_that_is_not_off_is_switched_on_all_the_same(pair: Pair, capsys: Capture) -> None:
    pair.policy(*POWER)
    pair.broken.add("off")
    assert main(["fence-test", "web", "--really", "power", "--yes", "--victim", "server2"]) == 1
    assert pair.asked[-1] == "server1 fence_test on server2"
    assert "fence_test did not switch server2 off" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_the_victim_is_switched_on_after_a_signal_too(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, number: signal.Signals
) -> None:
    pair.policy(*POWER)

    def off(*_: Any) -> bool:
        os.kill(os.getpid(), number)
        pytest.fail("it went on")

    def on(*words: Any) -> bool:
        for one in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):  # an impatient one does not leave it off
            os.kill(os.getpid(), one)
        return pair.switch_on(*words)

    monkeypatch.setattr(agent, "switch_off", off)
    monkeypatch.setattr(agent, "switch_on", on)
    if number == signal.SIGHUP:  # which "nohup make test" has us ignore, and then it stays ignored, as it should
        hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        request.addfinalizer(lambda: signal.signal(signal.SIGHUP, hangup))
    before = [signal.getsignal(one) for one in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)]
    assert main(["fence-test", "web", "--really", "power", "--yes", "--victim", "server2"]) == 130
    assert pair.asked[-1] == "server1 fence_test on server2"
    assert [signal.getsignal(one) for one in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)] == before


def test_the_victim_is_switched_on_where_the_terminal_is_gone(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.policy(*POWER)

    def gone(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    def off(program: str, options: dict[str, str], limit: float, tell: Callable[[str], object]) -> bool:
        monkeypatch.setattr(fence_test, "_tell", gone)
        tell("off")
        raise KeyboardInterrupt

    monkeypatch.setattr(agent, "switch_off", off)
    assert main(["fence-test", "web", "--really", "power", "--yes", "--victim", "server2"]) == 130
    assert pair.asked[-1] == "server1 fence_test on server2"


def test_a_plug_of_another_machine_is_told(pair: Pair, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.policy(*POWER)
    monkeypatch.setattr(fence_test._Test, "_watch", lambda *_: None)  # nothing is seen
    assert main(["fence-test", "web", "--really", "power", "--yes", "--victim", "server2"]) == 1
    assert pair.asked[-1] == "server1 fence_test on server2"
    assert "while server2 is off for the agent: this is the plug of another machine" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_state_alone_is_no_proof_of_the_plug(pair: Pair, capsys: Capture) -> None:
    pair.policy(*POWER)
    assert main(["fence-test", "web"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "whether the plug is that of server2 only --really power shows, with an eye on the machine" in out


def test_nobody_is_switched_off_by_another_policy(pair: Pair) -> None:
    assert main(["fence-test", "web", "--really", "power", "--yes", "--victim", "server2"]) == 2
    assert pair.asked == []


# --- the pure part --------------------------------------------------------------------------------------------


def side(host: str, survivor: str = "server1", **more: Any) -> Side:
    """A side in order."""
    values: dict[str, Any] = {
        "stack": "web", "resource": "r0", "keys": {"survivor": survivor, "link_grace": "20000000"},
        "in_force": ("resource-and-stonith",), "role": "Primary", "disk": "UpToDate", "peer_disk": "UpToDate",
        "connection": "Connected", "replication": "Established", "suspended": "no", "threshold": 31, "idle": 30.0,
        "numbers": {"server1": "1", "server2": "2"},
        "net": {"ping-int": 3.0, "ping-timeout": 15.0, "timeout": 25.0, "connect-int": 3.0},
    }  # fmt: skip
    return Side(host, **{**values, **more})


def test_a_report_is_the_same_behind_json() -> None:
    one = side("server1")
    assert fencetest.from_json(json.loads(json.dumps(fencetest.to_json(one)))).plan.sum == one.plan.sum
    newer = {**fencetest.to_json(one), "what a newer version says": 1}
    assert fencetest.from_json(newer).host == "server1"
    wrong: list[Any] = [[], {}, None, "x"]
    for bad in wrong:
        with pytest.raises(ValueError, match="."):
            fencetest.from_json(bad)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("none", "none", False),
        ("server1", "server1", False),
        ("server1", "server2", True),
        ("server2", "server1", False),  # each gives way to the other
        ("server1", "none", False),
        ("power", "power", False),
        ("witness", "witness", False),
        ("power", "witness", True),
        ("power", "server1", False),  # server2 gives way
        ("power", "server2", True),
        ("witness", "server2", True),
        ("none", "witness", False),
    ],
)
def test_which_policies_let_both_go_on(one: str, other: str, both: bool) -> None:
    assert fencetest.both_go_on(side("server1", one), side("server2", other)) is both


@pytest.mark.parametrize("survivor", ["power", "witness"])
def test_a_node_that_does_not_freeze_goes_on_beside_one_that_may(survivor: str) -> None:
    loose = side("server1", survivor, in_force=("dont-care",))
    assert fencetest.both_go_on(loose, side("server2", survivor))
    assert not fencetest.both_go_on(loose, side("server2", "server1"))


@pytest.mark.parametrize(
    ("quorum", "thirds", "both"),
    [("majority", ("third",), True), ("majority", (), False), ("off", (), True), ("1", (), True), ("2", (), False)],
)
def test_quorum_stops_a_node_only_where_no_third_host_keeps_it(
    quorum: str, thirds: tuple[str, ...], both: bool
) -> None:
    one, other = (side(host, in_force=("dont-care",), quorum=quorum, thirds=thirds) for host in ("server1", "server2"))
    assert fencetest.both_go_on(one, other) is both
    # Frozen ones go by their policy.
    one, other = (side(host, host, quorum=quorum, thirds=thirds) for host in ("server1", "server2"))
    assert fencetest.both_go_on(one, other) is both


def test_drbd_9_has_its_settings_elsewhere() -> None:
    assert fencetest.settings(SHOW_9, "fencing") == ["resource-and-stonith"]
    assert fencetest.settings(SHOW_9, "quorum") == ["off"]
    assert fencetest.times(SHOW_9) == {"ping-int": 7.0}


def test_addresses_of_a_connection_section_are_found() -> None:
    text = "resource r { connection { host a address ipv4 10.0.0.1:7001; host b address ipv6 [fd00::2]:7001; } }"
    assert fencetest.addresses(text) == {"a": "10.0.0.1:7001", "b": "[fd00::2]:7001"}
    assert fencetest.addresses(DUMP) == {"server1": "10.0.0.1:7789", "server2": "10.0.0.2:7789"}


@pytest.mark.parametrize(
    ("survivor", "seconds", "risk"),
    [
        ("server1", 10, ()),
        ("server1", 15, ()),  # 15 + 3 until DRBD tries again + 2
        ("server1", 16, ("server2",)),
        ("server2", 16, ("server1",)),
        ("power", 16, ("server1", "server2")),  # either may be first
        ("witness", 16, ("server1", "server2")),
        ("none", 16, ()),
        ("none", 40, ("server1", "server2")),
    ],
)
def test_who_may_fall_by_a_cut(survivor: str, seconds: int, risk: tuple[str, ...]) -> None:
    grace = {"link_grace": "20000000", "survivor": survivor}
    sides = [side(host, keys=grace, idle=60.0) for host in ("server1", "server2")]
    if survivor == "none":
        sides = [side(host, keys=grace) for host in ("server1", "server2")]
    expected = fencetest.cut(sides[0], sides[1], seconds)
    assert expected.risk == risk
    assert expected.chosen is bool(risk)


def test_a_long_cut_without_a_survivor_leaves_both_frozen() -> None:
    """Only DRBD is cut: O2CB's nodes see each other, and wait for each other's heartbeat."""
    own, other = side("server1", "none"), side("server2", "none")
    text = fencetest.cut(own, other, 40).text
    assert "both nodes stay frozen until the link is back, or are reset" in text


def test_the_usual_cut_is_noticed_and_harms_nobody() -> None:
    own, other = side("server1"), side("server2")
    seconds = fencetest.usual(own, other)
    assert seconds > own.times.detection
    assert fencetest.cut(own, other, seconds).risk == ()


@pytest.mark.parametrize("survivor", ["server1", "power", "witness"])
def test_a_usual_cut_that_is_longer_than_the_grace_names_who_may_fall(survivor: str) -> None:
    keys = {"survivor": survivor, "link_grace": "9000000"}
    own, other = side("server1", keys=keys), side("server2", keys=keys)
    seconds = fencetest.usual(own, other)
    assert seconds > own.times.detection
    assert "server2" in fencetest.cut(own, other, seconds).risk


def test_a_cut_so_short_that_drbd_does_not_notice_it_is_no_proof() -> None:
    own, other = side("server1"), side("server2")
    [row] = fencetest.judged(Watched(), fencetest.cut(own, other, 3), own, other)
    assert row.result == FAILED
    assert fencetest.status([row]) == 1


def test_a_cut_that_drbd_does_not_notice_has_failed() -> None:
    own = side("server1")
    [row] = fencetest.judged(Watched(), Expected("shorter than the grace"), own, side("server2"))
    assert row.result == FAILED


def test_a_pair_that_is_not_in_step_again_has_failed() -> None:
    watched = Watched(lost=1.0, frozen=1.0)
    rows = fencetest.judged(watched, Expected("x"), side("server1", connection="StandAlone"), None)
    assert [row.result for row in rows] == [FAILED]


def test_nobody_who_is_not_mounted_is_tested() -> None:
    for problem in (
        fencetest.ready([], side("server1"), side("server2", role="Secondary")),
        fencetest.ready([], side("server1"), None),
        fencetest.ready([], side("server1", in_force=()), side("server2")),
    ):
        assert problem
    assert fencetest.ready([], side("server1"), side("server2")) == ""


@pytest.mark.parametrize(
    ("peer", "rule"),
    [
        ("10.0.0.2:7790", "add rule inet drbdocfs-fence-test in ip saddr 10.0.0.2 tcp dport @ports drop"),
        ("[fd00::2]:7790", "add rule inet drbdocfs-fence-test out ip6 daddr fd00::2 tcp sport @ports drop"),
    ],
)
def test_the_block_is_drbds_ports_and_its_time_is_in_it(peer: str, rule: str) -> None:
    text = fencetest.block("10.0.0.1:7789", [peer], 12)
    assert rule in text.splitlines()
    assert text.endswith("ports { 7789 timeout 12s, 7790 timeout 12s }")
    # A table that a killed test has left is no hindrance.
    assert text.splitlines()[:3] == [
        f"{verb} table inet drbdocfs-fence-test" for verb in ("add", "delete", "add")
    ]  # fmt: skip


def test_wrapped_rows_keep_their_columns(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "width", lambda stream: 60)
    fence_test._show(fencetest.Row(FAILED, "fencing", "server1", "word " * 20, "advice " * 10))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("failed      fencing        server1: word")
    assert all(line.startswith(" " * 27) and len(line) <= 60 for line in lines[1:])
    assert any(line.startswith(" " * 27 + "what to do: advice") for line in lines)
