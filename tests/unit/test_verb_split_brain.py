"""``drbdocfs split-brain`` on two hosts that are played: their DRBD is a file that both stand-ins of the tools share,
and ssh runs the command of the other host.  What real DRBD does is the lab's to show."""

from __future__ import annotations

import json
import marshal
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from drbdocfs_boot import watch
from drbdocfs_boot.cli import main
from drbdocfs_boot.tools import ask, newest, records
from drbdocfs_boot.verbs import split_brain

TOP = Path(__file__).parent.parent.parent
CONFIG = "[web]\nresource = r0\ndevice = /dev/drbd0\ncluster = web\nmountpoint = /mnt/storage\n"
GI = {"server1": "32B1D23D5C7F7303", "server2": "F9CF5D5C8539E329"}
# The tools of one host.  Two that connect: in step when one of them discards, else both StandAlone again.
TOOL = """#!/usr/bin/python3 -IS
import marshal, os, sys  # json would cost each of hundreds of starts more than all the rest
host, tool, args = os.environ["__DRBD_NODE__"], os.path.basename(sys.argv[0]), sys.argv[1:]
file = os.environ["DRBD_WORLD"]
world = marshal.load(open(file, "rb"))
own = world[host]
other = world[next(h for h in world if h != host and isinstance(world[h], dict))]
line = " ".join([tool, *args])
if args[:1] not in (["events2"], ["get-gi"]) and tool != "journalctl":
    world["calls"].append(host + ": " + line)

def fail(text, code):
    marshal.dump(world, open(file, "wb"))
    sys.exit(sys.stderr.write(text + "\\n") and code)

if line in world["broken"]:
    fail("it does not work", 11)
if tool == "systemctl":
    if args[0] == "stop":
        own.update(conn="", role="", disk="")
    if args[0] == "start" and "attach" in args[1]:
        own.update(conn="Connecting", role="Secondary", disk=own["lower"])
    if args[0] == "start" and args[1].endswith(".target"):
        own["up"] = True
elif line == "drbdadm get-gi r0":
    print(own["gi"] + ":85AC920C593F8B47:B992C93360FFD9B7:B991C93360FFD9B7:1:1:1:0:0:0:0")
elif line == "drbdadm disconnect r0":
    own["conn"] = "StandAlone"
elif line == "drbdadm secondary r0":
    if own["mounted"]:
        fail("0: State change failed: (-12) Device is held open by someone", 11)
    own["role"] = "Secondary"
elif line == "drbdadm connect r0":
    own.update(conn="Connecting", discard=False)
elif line == "drbdadm connect --discard-my-data r0":
    if own["role"] == "Primary":
        fail("--discard-my-data not allowed when primary", 10)
    own.update(conn="Connecting", discard=True)
elif "events2" in args and own["conn"]:
    if own["conn"] == "Connected" and own["left"] and world["looks"] != "frozen":
        own["left"] -= 1
        if not own["left"]:
            own.update(repl="Established", disk="UpToDate")
            other.update(repl="Established", disk="UpToDate", left=0)
    print("exists resource name:r0 role:" + own["role"])
    print("exists connection name:r0 peer-node-id:0 conn-name:peer connection:" + own["conn"], "role:Unknown")
    print("exists device name:r0 volume:0 minor:0 disk:" + own["disk"])
    peer = other["disk"] if own["conn"] == "Connected" else "DUnknown"
    done = " done:37.00 eta:41" if own["repl"].startswith("Sync") else ""
    print("exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:" + own["repl"],
          "peer-disk:" + peer, "out-of-sync:2048" + done)
    print("exists -")
elif "events2" in args:
    print("exists -")
elif tool == "journalctl":
    print("1763800000.5 host kernel: drbd r0: peer( Primary -> Unknown ) conn( Connected -> NetworkFailure )")
    print("1763800014.5 host kernel: block drbd0: Split-Brain detected but unresolved, dropping connection!")
if own["conn"] == other["conn"] == "Connecting":
    if own.get("discard") != other.get("discard"):
        loser, winner = (own, other) if own.get("discard") else (other, own)
        loser.update(conn="Connected", repl="SyncTarget", disk="Inconsistent", left=3)
        winner.update(conn="Connected", repl="SyncSource", left=3)
    else:
        own["conn"] = other["conn"] = "StandAlone"
marshal.dump(world, open(file, "wb"))
"""
COMMAND = f"""#!/bin/sh
exec /usr/bin/python3 -c "
import os, sys
os.geteuid = lambda: 0
sys.path.insert(0, '{TOP}')
from drbdocfs_boot.cli import main
sys.exit(main())" "$@"
"""
SSH = """#!/bin/sh
PATH=$PATH:/usr/bin:/bin
# Everything before -- is options; after it the destination and one line for the shell there.
while [ "$1" != -- ]; do shift; done
echo "$2" >> {place}/destinations
[ -e {place}/cut ] && {{ echo "ssh: connect to host: No route to host" >&2; exit 255; }}
grep -qx "$2" {place}/reachable || {{ echo "ssh: Could not resolve hostname $2" >&2; exit 255; }}
__DRBD_NODE__=server2 DRBDOCFS_ROOT={place}/server2 exec /bin/sh -c "$3"
"""


class Pair:
    """Two hosts; the test runs on server1."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.file = place / "world"
        for host in GI:
            self.write(host, "/etc/drbdocfs/drbdocfs.conf", CONFIG)
            self.write(host, "/sys/module/drbd/version", "9.2.0\n")
            self.write(host, "/proc/self/mountinfo", "")
            self.write(host, "/dev/kmsg", "4,1,1,-;block drbd0: Split-Brain detected but unresolved, dropping\n")
            self.write(host, "/var/lib/drbdocfs/web.split-brain", "2026-11-22 11:53:03 UTC\n")
        side: dict[str, Any] = {
            "conn": "StandAlone", "role": "Primary", "disk": "UpToDate", "lower": "UpToDate", "repl": "Off",
            "left": 0, "mounted": False, "up": False,
        }  # fmt: skip
        self.world = {host: {**side, "gi": gi} for host, gi in GI.items()} | {"calls": [], "broken": [], "looks": ""}

    def write(self, host: str, name: str, text: str) -> None:
        path = self.place / host / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @property
    def world(self) -> dict[str, Any]:
        found: dict[str, Any] = marshal.loads(self.file.read_bytes())
        return found

    @world.setter
    def world(self, value: dict[str, Any]) -> None:
        self.file.write_bytes(marshal.dumps(value, 2))

    def change(self, host: str, **values: Any) -> None:
        world = self.world
        world[host].update(values)
        self.world = world

    def down(self, host: str) -> None:
        """As after 'systemctl stop' of the stack, or a reboot."""
        self.change(host, conn="", role="", disk="", repl="Off")

    def mount(self, host: str) -> None:
        self.change(host, mounted=True)
        place = self.place / "mnt"
        place.mkdir(exist_ok=True)
        self.write(host, "/proc/self/mountinfo", f"40 1 147:0 / {place} rw shared:84 - ocfs2 /dev/drbd0 rw\n")

    @property
    def calls(self) -> list[str]:
        """What was done, without looks, and without the words that only the order of the start needs."""
        calls: list[str] = self.world["calls"]
        return [call for call in calls if "reset-failed" not in call]

    def marked(self, host: str) -> bool:
        return (self.place / host / "var/lib/drbdocfs/web.split-brain").exists()


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("drbdadm", "drbdsetup", "systemctl", "journalctl"):
        (tools / name).write_text(TOOL)
    (tools / "drbdocfs").write_text(COMMAND)
    (tools / "ssh").write_text(SSH.format(place=tmp_path))
    (tools / "rm").write_text(f'#!/bin/sh\n/bin/rm "$1" "{tmp_path}/server2$2"\n')
    for file in tools.iterdir():
        file.chmod(0o755)
    (tmp_path / "reachable").write_text("root@server2\n")
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("DRBDOCFS_ROOT", str(tmp_path / "server1"))
    monkeypatch.setenv("__DRBD_NODE__", "server1")
    monkeypatch.setenv("DRBD_WORLD", str(tmp_path / "world"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(watch, "EVERY", 0.01)
    monkeypatch.setattr(split_brain, "MET_LIMIT", 0.0)
    monkeypatch.setattr(split_brain, "SETTLE", 0.0)
    found = Pair(tmp_path)
    records.write("web", "attach", RESOURCE="r0", DEVICE="/dev/drbd0", PEER="server2", PEER_ADDRESS="10.0.0.2:7789")
    return found


def resolve(*more: str) -> int:
    return main(["split-brain", "web", "--victim", "server2", "--yes", *more])


STARTS = ["server2: systemctl start drbdocfs@web.target", "server1: systemctl start drbdocfs@web.target"]
STEPS = [
    "server2: drbdadm secondary r0",
    "server2: drbdadm connect --discard-my-data r0",
    "server1: drbdadm connect r0",
]


def test_show_both_sides(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.mount("server1")
    (pair.place / "mnt/newest").write_text("x")
    assert main(["split-brain", "web"]) == 65
    out = capsys.readouterr().out
    assert out.startswith("web (r0): split brain, apart since ")
    assert "(kernel log of server1)\n" in out
    rows = {line[2:20].strip(): line[20:].split("   ") for line in out.splitlines() if line.startswith("  ")}
    assert [cell.strip() for cell in rows["DRBD"] if cell] == ["Primary, UpToDate, StandAlone"] * 2
    assert out.count("2.0 MiB") == 2
    assert GI["server2"] in out
    assert f"  newest on server1:\n    {time.strftime('%Y-')}" in out
    assert f"  {pair.place}/mnt/newest\n" in out
    assert "drbdocfs split-brain web --victim server1 or server2\n" in out
    assert pair.calls == []


def test_show_without_the_other_side(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    (pair.place / "cut").touch()
    assert main(["split-brain", "web"]) == 65
    out = capsys.readouterr().out
    assert "the other side could not be asked: root@server2 is not reachable by ssh: ssh: connect to host" in out
    assert "run 'drbdocfs split-brain web' on server2, too" in out
    assert "--victim HOST --this-side" in out


def test_no_split_brain_is_0(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    for host in GI:
        pair.change(host, conn="Connected", repl="Established")
    assert main(["split-brain", "web"]) == 0
    assert capsys.readouterr().out.startswith("web (r0): no split brain\n")


@pytest.mark.slow
def test_the_right_steps_in_the_right_order(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.mount("server1")
    assert resolve() == 0
    # server1's target is not known to be up here, so it is started, which does no harm.
    assert pair.calls == STEPS + STARTS
    world = pair.world
    assert (world["server1"]["disk"], world["server2"]["disk"]) == ("UpToDate", "UpToDate")
    out = capsys.readouterr().out
    assert "what server2 has changed by itself (2.0 MiB) is given up: its disk becomes that of server1." in out
    assert "resync to server2 37 %, 0:41 left\n" in out
    assert out.endswith("web: the split brain is resolved\n")
    assert not pair.marked("server1")
    assert not pair.marked("server2")
    assert records.read("web", "resolving") is None


@pytest.mark.slow
def test_this_host_is_the_victim(pair: Pair) -> None:
    pair.mount("server2")
    assert main(["split-brain", "web", "--victim", "server1", "--yes"]) == 0
    assert pair.calls[:3] == [
        "server1: drbdadm secondary r0",
        "server1: drbdadm connect --discard-my-data r0",
        "server2: drbdadm connect r0",
    ]
    assert pair.calls[3] == "server1: systemctl start drbdocfs@web.target"


@pytest.mark.slow
def test_victim_stopped_and_survivor_listening(pair: Pair) -> None:
    pair.down("server2")
    pair.change("server1", conn="Connecting")
    assert resolve() == 0
    assert pair.calls == [
        "server1: drbdadm disconnect r0",
        "server2: systemctl start drbdocfs-attach@web.service",
        "server2: drbdadm disconnect r0",
        *STEPS[1:],
        *STARTS,
    ]


@pytest.mark.slow
def test_a_victim_that_waits_is_stopped_first(pair: Pair) -> None:
    pair.change("server2", role="Secondary")
    pair.write("server2", "/run/drbdocfs/web.waiting", "STATE=late\nWHEN_ALONE=always\n")
    assert resolve() == 0
    assert pair.calls == [
        "server2: systemctl stop drbdocfs@web.target drbdocfs-attach@web.service",
        "server2: systemctl start drbdocfs-attach@web.service",
        "server2: drbdadm disconnect r0",
        *STEPS[1:],
        *STARTS,
    ]


def test_a_survivor_without_good_data_stops_it_before_anything_is_given_up(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.down("server1")
    pair.change("server1", lower="Inconsistent")
    assert resolve() == 1
    assert pair.calls == ["server1: systemctl start drbdocfs-attach@web.service"]
    assert "did not lead to 'UpToDate'" in capsys.readouterr().err


@pytest.mark.parametrize("victim", ["server1", "server2"])
def test_a_mounted_victim_is_refused(pair: Pair, victim: str, capsys: pytest.CaptureFixture[str]) -> None:
    pair.mount(victim)
    assert main(["split-brain", "web", "--victim", victim, "--yes"]) == 65
    assert f"/dev/drbd0 is still mounted on {victim}" in capsys.readouterr().err
    assert pair.calls == []


@pytest.mark.slow
def test_a_heartbeat_on_the_victim_is_refused(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.write("server2", "/sys/kernel/config/cluster/web/heartbeat/A1B2/dev", "drbd0\n")
    pair.write("server2", "/sys/kernel/config/cluster/web/heartbeat/A1B2/blocks", "255\n")
    assert resolve() == 65
    assert "O2CB on server2 still has its heartbeat on /dev/drbd0 (web/A1B2)" in capsys.readouterr().err
    # One of another device is none of ours.
    pair.write("server2", "/sys/kernel/config/cluster/web/heartbeat/A1B2/dev", "drbd1\n")
    assert resolve() == 0


def test_not_reachable_is_69(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    (pair.place / "cut").touch()
    assert resolve() == 69
    assert "is not reachable by ssh" in capsys.readouterr().err
    assert pair.calls == []


def test_the_name_then_the_address_or_where_it_is_told(pair: Pair) -> None:
    (pair.place / "reachable").write_text("root@10.0.0.2\n")
    assert main(["split-brain", "web"]) == 65
    assert (pair.place / "destinations").read_text() == "root@server2\nroot@10.0.0.2\n"
    (pair.place / "reachable").write_text("admin@other\n")
    (pair.place / "destinations").unlink()
    assert main(["split-brain", "web", "--ssh", "admin@other"]) == 65
    assert (pair.place / "destinations").read_text() == "admin@other\n"


@pytest.mark.parametrize("victim", ["server", "nobody", "SERVER2"])
@pytest.mark.slow
def test_the_victim_is_named_in_full(pair: Pair, victim: str) -> None:
    assert main(["split-brain", "web", "--victim", victim, "--yes"]) == 2
    assert pair.calls == []


@pytest.mark.parametrize(("answer", "status"), [("yes\n", 0), ("y\n", 1), ("", 1)])
@pytest.mark.slow
def test_it_asks(pair: Pair, answer: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "possible", lambda: True)
    (pair.place / "answer").write_text(answer)
    with open(pair.place / "answer", encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["split-brain", "web", "--victim", "server2"]) == status
    assert pair.calls == (STEPS + STARTS if status == 0 else [])


def test_nobody_to_ask_is_2(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split-brain", "web", "--victim", "server2"]) == 2
    assert "split-brain web --victim server2 --yes" in capsys.readouterr().err
    assert pair.calls == []


def test_mounted_while_somebody_thought_about_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(question: str) -> bool:
        pair.mount("server2")
        return True

    monkeypatch.setattr(ask, "possible", lambda: True)
    monkeypatch.setattr(ask, "yes", answer)
    assert main(["split-brain", "web", "--victim", "server2"]) == 65
    assert pair.calls == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("step", range(3))
def test_again_after_a_step_that_failed(pair: Pair, step: int, capsys: pytest.CaptureFixture[str]) -> None:
    world = pair.world
    world["broken"] = [STEPS[step].partition(": ")[2]]
    pair.world = world
    assert resolve() == 1
    assert "it goes on from here" in capsys.readouterr().err
    assert pair.calls == STEPS[: step + 1]
    world = pair.world
    world["broken"], world["calls"] = [], []
    pair.world = world
    assert resolve() == 0
    # Done is done; but a victim that listens is made to say again that its data may go.
    first = ["server2: drbdadm disconnect r0"] if step == 2 else []
    assert pair.calls == first + STEPS[min(step, 1) :] + STARTS


@pytest.mark.exhaustive
def test_interrupted_in_the_resync_and_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = watch.drbd_verdict
    looks = []

    def verdict(*args: Any) -> Any:
        looks.append(1)
        if len(looks) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(watch, "drbd_verdict", verdict)
    assert resolve() == 130
    assert "the resync goes on by itself" in capsys.readouterr().out
    assert pair.calls == STEPS
    assert resolve() == 0
    assert pair.calls == STEPS + STARTS


def test_the_two_do_not_meet(pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(split_brain, "CONNECT_LIMIT", 0.0)
    pair.down("server2")
    pair.change("server2", role="Secondary", conn="Connecting", disk="UpToDate")
    pair.change("server1", conn="Connecting")
    monkeypatch.setattr("drbdocfs_boot.splitbrain.plan", lambda *args: [])
    world = pair.world
    world["server1"]["discard"] = world["server2"]["discard"] = None
    pair.world = world
    real = watch.drbd_verdict

    def verdict(*args: Any) -> Any:
        pair.change("server2", conn="StandAlone")
        pair.change("server1", conn="Connecting")
        return real(*args)

    monkeypatch.setattr(watch, "drbd_verdict", verdict)
    assert resolve() == 75
    assert "the two have not connected in 0 s" in capsys.readouterr().err


def test_this_side_of_the_survivor_and_of_the_victim(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    (pair.place / "cut").touch()
    # The other host does its part as the first; here that is played with the tool itself.
    tool = str(pair.place / "bin/drbdadm")
    there = {**os.environ, "__DRBD_NODE__": "server2"}
    for words in (["secondary", "r0"], ["connect", "--discard-my-data", "r0"]):
        subprocess.run([tool, *words], env=there, check=True)
    assert resolve("--this-side") == 0
    assert pair.calls == [*STEPS, "server1: systemctl start drbdocfs@web.target"]
    assert not (pair.place / "destinations").exists()


def test_this_side_says_what_comes_next(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = watch.drbd_verdict
    looks = []

    def verdict(*args: Any) -> Any:
        looks.append(1)
        if len(looks) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(watch, "drbd_verdict", verdict)
    assert main(["split-brain", "web", "--victim", "server1", "--yes", "--this-side"]) == 130
    assert "; now the same command on server2\n" in capsys.readouterr().out
    assert pair.calls == ["server1: drbdadm secondary r0", "server1: drbdadm connect --discard-my-data r0"]


def test_this_side_alone_is_wrong_usage(pair: Pair) -> None:
    assert main(["split-brain", "web", "--this-side"]) == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("echo hello", "gave no report"),
        ("echo '{\"version\": 9}'", "install the same version on both"),
        ("echo broken >&2; exit 3", "gave no report: broken"),
        ("exit 127", "has no drbdocfs"),
    ],
)
def test_an_answer_that_is_none(pair: Pair, body: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    (pair.place / "bin/drbdocfs").write_text(f"#!/bin/sh\n{body}\n")
    assert resolve() == 69
    assert words in capsys.readouterr().err


def test_report_is_one_line_of_json(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split-brain", "web", "--report"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["version"], data["host"], data["lost"], data["found"]) == (1, "server1", 1763800000.5, 1763800014.5)
    assert main(["split-brain", "web", "--report", "--quick"]) == 0
    quick = json.loads(capsys.readouterr().out)
    assert (quick["connection"], quick["current"], quick["lost"]) == ("StandAlone", "", 0.0)


# --- the newest files -----------------------------------------------------------------------------------------


def fill(place: Path, count: int) -> None:
    for number in range(count):
        file = place / f"d{number % 7}" / f"f{number}"
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
        os.utime(file, (1000 + number, 1000 + number))


def test_newest_files(tmp_path: Path) -> None:
    fill(tmp_path, 100)
    (tmp_path / "link").symlink_to("/etc/passwd")
    found, whole = newest.files(str(tmp_path), most=3)
    assert whole
    assert found == [(str(tmp_path / f"d{n % 7}/f{n}"), 1000.0 + n) for n in (99, 98, 97)]


def test_newest_files_within_a_number(tmp_path: Path) -> None:
    fill(tmp_path, 100)
    found, whole = newest.files(str(tmp_path), entries=50)
    assert not whole
    assert len(found) == 5


def test_a_file_system_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> object:
        while True:
            time.sleep(60)

    monkeypatch.setattr(newest, "_walk", hang)
    began = time.monotonic()
    assert newest.files(str(tmp_path), seconds=0.1) == ([], False)
    assert time.monotonic() - began < 3


def test_a_place_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert newest.files(str(tmp_path / "no")) == ([], False)
    assert capfd.readouterr().err == ""
