"""The fence-peer handler: when it thaws its node, and that it does in no other case."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drbdocfs_boot import fencing
from drbdocfs_boot.helpers import address, fence
from drbdocfs_boot.messages import KINDS
from drbdocfs_boot.tools import agent as tools_agent
from drbdocfs_boot.tools import drbd, journal, records, witness
from drbdocfs_boot.tools.failure import Failure

from .conftest import Box

LOST = (
    "exists resource name:r0 role:Primary suspended:fencing\n"
    "exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting role:Unknown\n"
    "exists device name:r0 volume:0 minor:0 disk:UpToDate\n"
    "exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown\n"
    "exists -\n"
)
BACK = LOST.replace("suspended:fencing", "suspended:no").replace("Connecting role:Unknown", "Connected role:Primary")
BACK = BACK.replace("replication:Off peer-disk:DUnknown", "replication:Established peer-disk:UpToDate")
STAND_ALONE = LOST.replace("conn-name:peer connection:Connecting", "connection:StandAlone")
# $ROOT/state is what events2 prints; the follower goes on with the lines that come into $ROOT/news.
DRBDSETUP = r"""
case "$1" in
get-gi) cat $ROOT/gi ;;
events2) cat $ROOT/state; case "$*" in *--now*) ;; *) [ -e $ROOT/more ] && . $ROOT/more; exec sleep 30 ;; esac ;;
esac
"""
DRBDADM = r"""
case "$1" in
dump) cat $ROOT/dump ;;
adjust) touch $ROOT/adjusted ;;
esac
"""
DUMP = """resource r0 {
    on server1 { device /dev/drbd0 minor 0; disk /dev/loop7; meta-disk internal; address ipv4 127.0.0.1:7789; }
    on server2 { device /dev/drbd0 minor 0; disk /dev/loop7; meta-disk internal; address ipv4 10.0.0.2:7789; }
    net { ping-int 5; ping-timeout 15; timeout 45; }
}
"""
IN_STEP = "D799598BB6737F4F:0000000000000000:B4D6D3206F82D29D:B4D5D3206F82D29D:1:1:1:0:0:0:0\n"
RAN_ALONE = "A9EE9309E58A707B:87F67794EFBADF67:D79A598BB6737F4F:D799598BB6737F4F:1:1:1:0:0:1:0\n"
CONF = """[web]
resource = r0
device = /dev/drbd0
cluster = web
mountpoint = /mnt/storage
"""
CLUSTER = "cluster:\n\tname = web\n" + "".join(
    f"node:\n\tname = server{number}\n\tnumber = {number}\n\tcluster = web\n" for number in (1, 2)
)
PLACE = "/sys/kernel/config/cluster/web"


class Node:
    """server1 that has lost server2; `said` are the messages, by kind."""

    def __init__(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        self.box = box
        self.said: list[tuple[str, str]] = []
        names = {kind.id: kind.name for kind in KINDS.values()}

        def send(fields: dict[str, str]) -> bool:
            self.said.append((names[fields["MESSAGE_ID"]], fields["MESSAGE"]))
            return True

        monkeypatch.setattr(journal, "send", send)
        monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "server1", "6.1", "#1", "x86_64")))
        box.tool("drbdsetup", DRBDSETUP)
        box.tool("drbdadm", DRBDADM)
        box.write("/sys/module/drbd/version", "8.4.11\n")
        box.write("/state", LOST)
        box.write("/gi", IN_STEP)
        box.write("/dump", DUMP)
        box.write("/etc/ocfs2/cluster.conf", CLUSTER)
        box.write(f"{PLACE}/heartbeat/dead_threshold", "31\n")
        box.write(f"{PLACE}/idle_timeout_ms", "30000\n")
        records.write("web", "attach", RESOURCE="r0", DEVICE="/dev/drbd0", ADDRESS="127.0.0.1", PEER="server2")
        self.configure(survivor="server1")

    def configure(self, grace: str = "0", **keys: str) -> None:
        text = "".join(f"{key} = {value}\n" for key, value in {"link_grace": grace, **keys}.items())
        self.box.write("/etc/drbdocfs/drbdocfs.conf", CONF + text)

    def call(self, resource: str = "r0") -> int:
        handler = fence.Handler(resource)
        try:
            return handler.run()
        finally:
            handler.close()

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.said]

    def words(self, kind: str) -> str:
        return next(text for found, text in self.said if found == kind)


@pytest.fixture
def node(box: Box, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(box, monkeypatch)


def test_the_named_host_goes_on_and_says_so(node: Node) -> None:
    assert node.call() == 4
    assert node.kinds() == ["fence-begun", "fence-goes-on"]
    assert "survivor = server1, which is this node" in node.words("fence-goes-on")
    assert "notice 11.5 s" in node.words("fence-begun"), "the limits are those of the configuration"
    found = records.read("web", "survivor")
    assert found is not None
    assert "survivor = server1" in found["WHY"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"survivor": "none"}, "survivor = none: nobody goes on alone"),
        ({"survivor": "server2"}, "survivor = server2: the other node goes on"),
        ({"survivor": "server3"}, "survivor = server3 is neither this node (server1) nor server2"),
        ({"survivor": "Server1"}, "survivor = Server1 is neither this node (server1) nor server2"),
    ],
)
def test_frozen_unless_chosen(node: Node, keys: dict[str, str], words: str) -> None:
    node.configure(**keys)
    assert node.call() == 1
    assert node.kinds() == ["fence-begun", "fence-frozen"]
    assert words in node.words("fence-frozen")
    assert "O2CB resets this node within 58 s" in node.words("fence-frozen")
    assert records.read("web", "survivor") is None


@pytest.mark.parametrize(
    ("resource", "keys", "words"),
    [
        ("r9", {}, "no stack has the resource r9"),
        ("r0", {"mounpoint": "/x"}, "no stack has the resource r0, and the configuration has mistakes: /etc/drbdocfs"),
    ],
)
def test_frozen_without_a_stack_to_go_by(node: Node, resource: str, keys: dict[str, str], words: str) -> None:
    node.configure(survivor="server1", **keys)
    node.box.write("/state", LOST.replace("r0", resource))
    handler = fence.Handler(resource)
    handler.began -= 30  # as if the grace were over
    try:
        assert handler.run() == 1
    finally:
        handler.close()
    assert words in node.words("fence-frozen")


def test_frozen_when_both_nodes_have_the_name_that_is_to_survive(node: Node) -> None:
    records.write("web", "attach", RESOURCE="r0", DEVICE="/dev/drbd0", ADDRESS="127.0.0.1", PEER="server1")
    assert node.call() == 1
    assert "both nodes have that name" in node.words("fence-frozen")


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        (LOST.replace("disk:UpToDate", "disk:Inconsistent"), "fence-frozen", "the local disk is Inconsistent"),
        (LOST.replace("disk:UpToDate", "disk:Outdated"), "fence-frozen", "the local disk is Outdated"),
        (LOST.replace("suspended:fencing", "suspended:no"), "fence-frozen", "DRBD has not frozen input and output"),
        (LOST.replace("suspended:fencing", "suspended:user"), "fence-frozen", "DRBD has not frozen input and output"),
        (BACK, "fence-back", "connected again"),
    ],
)
def test_not_even_the_named_host_goes_on_when(node: Node, state: str, kind: str, words: str) -> None:
    node.box.write("/state", state)
    assert node.call() == 1
    assert node.kinds() == [kind]
    assert words in node.words(kind)


def test_a_link_that_comes_back_in_the_grace_decides_nothing(node: Node) -> None:
    node.configure(grace="20s", survivor="server1")
    news = BACK.replace("exists", "change").replace("change -\n", "")
    node.box.write("/more", f"sleep 0.3; cat <<'X'\n{news}X\n")
    began = time.monotonic()
    assert node.call() == 1
    assert time.monotonic() - began < 10
    assert node.kinds() == ["fence-begun", "fence-back"]
    assert records.read("web", "survivor") is None
    assert records.read("web", "fencing") is None


@pytest.mark.slow
def test_the_grace_is_kept(node: Node) -> None:
    node.configure(grace="1500ms", survivor="server1")
    began = time.monotonic()
    assert node.call() == 4
    assert 1.4 < time.monotonic() - began < 6


@pytest.mark.slow
def test_a_lost_address_is_connected_again_once_it_is_back(node: Node) -> None:
    node.configure(grace="1500ms", survivor="server1")
    node.box.write("/state", STAND_ALONE)
    node.box.monkeypatch.setattr(address, "present", lambda _: (node.box.root / "here").exists())
    assert node.call() == 4
    assert not (node.box.root / "adjusted").exists(), "without the address it would only go StandAlone again"
    node.box.write("/here", "")
    records.remove("web", "survivor")
    assert node.call() == 4
    assert (node.box.root / "adjusted").exists()
    assert [c for c in node.box.calls if "adjust" in c] == ["drbdadm adjust r0"]


@pytest.mark.parametrize("record", ["survivor", "alone"])
def test_a_node_that_was_chosen_before_goes_on_at_once(node: Node, record: str) -> None:
    """By a handler, or by its wait: either way the peer has not been in step since."""
    node.configure(grace="20s", survivor="server2")
    records.write("web", record, WHY="once")
    node.box.write("/gi", RAN_ALONE)
    assert node.call() == 4
    assert "it was chosen before" in node.words("fence-goes-on")


@pytest.mark.parametrize(("record", "gi"), [("survivor", IN_STEP), ("other", RAN_ALONE), ("survivor", "nothing\n")])
def test_neither_the_record_nor_the_metadata_alone_makes_it_chosen(node: Node, record: str, gi: str) -> None:
    node.configure(survivor="server2")
    records.write("web", record, WHY="once")
    node.box.write("/gi", gi)
    assert node.call() == 1


def test_a_promotion_is_answered_by_what_the_wait_has_decided(node: Node) -> None:
    node.box.write("/state", LOST.replace("role:Primary suspended:fencing", "role:Secondary suspended:no"))
    assert node.call() == 1
    assert "drbdocfs proceed web" in node.words("fence-promotion")
    records.write("web", "alone", WHY="goes on alone: told so")
    assert node.call() == 4
    assert node.said[-1] == ("fence-promotion", "web: promotion of r0 without server2: goes on alone: told so")


@pytest.mark.parametrize(("survivor", "status"), [("server1", 4), ("server2", 1), ("none", 1), ("power", 1)])
def test_a_policy_that_does_not_know_of_the_peer_counts_only_where_the_peer_cannot_go_on(
    node: Node, survivor: str, status: int
) -> None:
    node.configure(survivor=survivor)
    node.box.write("/state", LOST.replace("role:Primary suspended:fencing", "role:Secondary suspended:no"))
    records.write("web", "alone", WHY="goes on alone: the peer has not come in 1:30, when_alone = always")
    assert node.call() == status
    records.write("web", "alone", WHY="goes on alone: told so by 'drbdocfs proceed'")
    assert node.call() == 4


PROC = " 0: cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown C s-----\n    ns:0\n"


@pytest.mark.parametrize(
    ("proc", "status", "kind"),
    [
        (PROC, 4, "fence-goes-on"),
        (PROC.replace("WFConnection", "Connected"), 1, "fence-back"),
        (PROC.replace("Primary/", "Secondary/"), 1, "fence-promotion"),
        (PROC.replace("UpToDate/", "Inconsistent/"), 1, "fence-frozen"),
        (PROC.replace("s-----", "r-----"), 1, "fence-frozen"),
        ("", 1, "fence-frozen"),
    ],
)
@pytest.mark.slow
def test_a_drbdsetup_that_hangs(node: Node, proc: str, status: int, kind: str) -> None:
    """/proc/drbd tells then; where nothing tells what state the resource is in nobody goes on."""
    node.box.tool("drbdsetup", "exec sleep 30")
    node.box.write("/proc/drbd", proc)
    node.box.monkeypatch.setenv("DRBD_MINOR", "0")
    node.box.monkeypatch.setattr(fence, "ASK_LIMIT", 0.3)
    assert node.call() == status
    assert node.kinds()[-1] == kind


def test_without_any_tool_nobody_goes_on_and_it_ends(node: Node) -> None:
    for tool in ("drbdsetup", "drbdadm"):
        (node.box.bin / tool).unlink()
    node.box.monkeypatch.setattr(fence, "ASK_LIMIT", 0.3)
    assert node.call() == 1
    assert node.kinds()[-1] == "fence-frozen"


def test_the_third_node_of_drbd_9_is_not_the_peer(node: Node) -> None:
    node.box.write("/sys/module/drbd/version", "9.3.3\n")
    third = "exists peer-device name:r0 peer-node-id:2 volume:0 replication:Established peer-disk:Diskless\n"
    node.box.write("/state", LOST.replace("exists -\n", third + "exists -\n"))
    node.box.monkeypatch.setenv("DRBD_PEER_NODE_ID", "0")
    assert node.call() == 4
    records.remove("web", "survivor")
    node.box.monkeypatch.setenv("DRBD_PEER_NODE_ID", "2")
    assert node.call() == 1, "the lost one is connected"
    # A third node without a disk, and without a connection: it has no data to go on with.
    node.configure(survivor="server2")
    tie = "exists connection name:r0 peer-node-id:2 conn-name:tie connection:Connecting role:Unknown\n" + third.replace(
        "replication:Established peer-disk:Diskless", "replication:Off peer-disk:Diskless peer-client:yes"
    )
    node.box.write("/state", LOST.replace("exists -\n", tie + "exists -\n"))
    assert node.call() == 4


# --- as a process -------------------------------------------------------------------------------------------------

SCRIPT = Path(__file__).parents[2] / "libexec" / "fence-peer"


def start(node: Node, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    """The real entry point, as DRBD runs it, in the name of server1."""
    code = (
        "import os, sys, runpy\n"
        "real = os.uname()\n"
        "os.uname = lambda: os.uname_result((real[0], 'server1', *real[2:]))\n"
        f"sys.argv = {[str(SCRIPT), *words]!r}\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    known = {key: os.environ[key] for key in ("PATH", "DRBDOCFS_ROOT")}
    return subprocess.Popen(
        [sys.executable, "-IS", "-c", code], env={**known, "DRBD_RESOURCE": "r0", "LC_ALL": "C.UTF-8", **environment}
    )


def await_phase(node: Node, pid: int) -> None:
    deadline = time.monotonic() + 20
    while (records.read("web", "fencing") or {}).get("PID") != str(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_the_newest_handler_takes_over_and_the_freeze_stays_as_old_as_it_is(node: Node) -> None:
    node.configure(grace="3s", survivor="server1")
    first = start(node)
    await_phase(node, first.pid)
    began = (records.read("web", "fencing") or {})["BEGAN"]
    second = start(node)
    assert first.wait(20) == 1
    await_phase(node, second.pid)
    assert (records.read("web", "fencing") or {})["BEGAN"] == began
    assert second.wait(20) == 4


def test_what_a_handler_long_ago_has_left_does_not_make_the_freeze_older(node: Node) -> None:
    """Seen in the lab: of two called at once the second read what the first had not yet written over."""
    node.box.write("/run/drbdocfs/web.fence-lock", f"{os.getpid()} 1.000")
    name = node.box.root / "run/drbdocfs/web.fence-lock"
    code = f"import fcntl, time; f = open({str(name)!r}, 'r+'); fcntl.flock(f, 2); print(flush=True); time.sleep(0.5)"
    handler = fence.Handler("r0")
    began = handler.began
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        os.close(fence._take_place(handler))
    handler.close()
    assert handler.began == began


@pytest.mark.slow
def test_of_two_that_are_called_at_the_same_instant_one_decides(node: Node) -> None:
    node.configure(grace="500ms", survivor="server1")
    for _ in range(5):
        both = [start(node), start(node)]
        ends = sorted(process.wait(30) for process in both)
        assert ends in ([1, 4], [4, 4])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_handler_that_is_killed_decides_nothing(node: Node, number: signal.Signals) -> None:
    node.configure(grace="20s", survivor="server1")
    process = start(node)
    await_phase(node, process.pid)
    process.send_signal(number)
    assert process.wait(20) in (1, -9)
    assert records.read("web", "survivor") is None
    # The next one finds the place free.
    node.configure(grace="0", survivor="server1")
    assert start(node).wait(20) == 4


def test_a_place_that_cannot_be_had_leaves_the_node_frozen(node: Node) -> None:
    """Somebody who is not to be ended holds the lock."""
    name = node.box.write("/run/drbdocfs/web.fence-lock", "")
    with name.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        handler = fence.Handler("r0")
        node.box.monkeypatch.setattr(fence, "OVERTAKE_LIMIT", 0.2)
        with pytest.raises(Failure, match="cannot be ended"):
            fence._take_place(handler)
        handler.close()


def test_wrong_use(node: Node) -> None:
    assert start(node, "--what").wait(20) == 2
    assert start(node, DRBD_RESOURCE="").wait(20) == 2


def test_dry_run_tells_and_changes_nothing(node: Node, capfd: pytest.CaptureFixture[str]) -> None:
    node.configure(grace="20s", survivor="server1")
    before = sorted(str(p) for p in (node.box.root / "run").rglob("*"))
    assert start(node, "--dry-run").wait(20) == 0
    said = capfd.readouterr().out
    assert "survivor = server1: this node would go on" in said
    assert "that O2CB leaves (heartbeat)" in said
    assert sorted(str(p) for p in (node.box.root / "run").rglob("*")) == before
    node.configure(grace="20s", survivor="server9")
    assert start(node, "--dry-run").wait(20) == 78


def test_with_a_full_disk_it_decides_all_the_same(node: Node) -> None:
    """Nothing can be written to /run: the decision stands, only the record is missing."""
    place = node.box.root / "run" / "drbdocfs"
    node.box.monkeypatch.setattr(records, "write", _no_space)
    assert place.exists()
    assert node.call() == 4


def _no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_nothing_of_ours_is_left_running(node: Node) -> None:
    assert node.call() == 4
    assert not select.select([], [], [], 0)[0]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# --- the witness ----------------------------------------------------------------------------------------------------

READY = BACK.replace("suspended:fencing", "suspended:no")


class Locks:
    """A witness in this process: `answers` are given to take(), one after the other; the last stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[witness.Answer] = [witness.Answer(witness.TAKEN)]
        self.asked: list[tuple[str, ...]] = []
        self.released: list[tuple[str, str]] = []
        self.release_kind = witness.RELEASED

        def take(where: str, generation: str, holder: str, nonce: str, label: str, limit: float) -> witness.Answer:
            self.asked.append((where, generation, holder, nonce, label))
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

        def release(where: str, generation: str, nonce: str, limit: float) -> witness.Answer:
            self.released.append((generation, nonce))
            return witness.Answer(self.release_kind, said="no answer")

        monkeypatch.setattr(witness, "take", take)
        monkeypatch.setattr(witness, "release", release)


@pytest.fixture
def locks(node: Node, monkeypatch: pytest.MonkeyPatch) -> Locks:
    node.configure(survivor="witness", witness="tie")
    return Locks(monkeypatch)


def test_who_has_the_lock_goes_on(node: Node, locks: Locks) -> None:
    assert node.call() == 4
    [(where, generation, holder, nonce, label)] = locks.asked
    # The generation is that of both nodes: without the bit that says that this one was Primary.
    assert (where, generation, holder, label) == ("tie", "D799598BB6737F4E", "server1", "r0")
    assert len(nonce) == 16
    assert records.witness("web") == ("tie", [(generation, nonce)]), "to be given back once both are in step again"


def test_who_has_not_the_lock_stays_frozen(node: Node, locks: Locks) -> None:
    locks.answers = [witness.Answer(witness.HELD, "server2")]
    assert node.call() == 1
    assert "server2 has the lock at tie" in node.words("fence-frozen")


@pytest.fixture
def idle(node: Node) -> Node:
    """Nothing is mounted; O2CB's times are short."""
    node.box.write("/dev/drbd0", "")
    node.box.write("/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    node.box.write(f"{PLACE}/idle_timeout_ms", "5000\n")
    node.box.write(f"{PLACE}/heartbeat/dead_threshold", "4\n")
    node.box.write(f"{PLACE}/heartbeat/6A8F/blocks", "256\n")
    node.box.write(f"{PLACE}/heartbeat/6A8F/dev", "drbd9\n")
    return node


@pytest.mark.slow
def test_who_serves_nothing_asks_for_the_lock_last(idle: Node, locks: Locks) -> None:
    began = time.monotonic()
    assert idle.call() == 4
    assert time.monotonic() - began >= 4
    assert len(locks.asked) == 1


def test_of_two_that_serve_nothing_the_preferred_one_acts_first(
    idle: Node, locks: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would switch the other one off, and nobody would be left to switch them on."""
    waited = []
    monkeypatch.setattr(fence.Handler, "wait", lambda handler, phase, until, why: waited.append((phase, until)))
    for number in ("1", "3"):
        idle.box.write("/etc/ocfs2/cluster.conf", CLUSTER.replace("number = 1", f"number = {number}"))
        idle.configure(survivor="power", fence_agent="fence_x")
        idle.call()
    first, second = (until for phase, until in waited if phase == "head start" and until > 0)
    assert second - first > 11.5


def test_who_serves_nothing_beside_a_stack_that_serves_goes_with_that_one(idle: Node) -> None:
    handler = fence.Handler("r0")
    assert handler.idle()
    handler.several = True
    assert not handler.idle()


def test_and_not_at_all_when_the_link_is_back(idle: Node, locks: Locks) -> None:
    idle.box.write("/more", f"sleep 1; cat <<'X'\n{BACK.replace('exists', 'change').replace('change -', '')}X\n")
    assert idle.call() == 1
    assert locks.asked == []
    assert idle.kinds()[-1] == "fence-back"


@pytest.mark.slow
def test_nor_when_its_own_disk_has_failed_meanwhile(idle: Node, locks: Locks) -> None:
    idle.box.write(f"{PLACE}/heartbeat/dead_threshold", "3\n")
    idle.box.write("/more", "sleep 0.5; echo 'change device name:r0 volume:0 minor:0 disk:Failed'\n")
    assert idle.call() == 1
    assert locks.asked == []
    assert records.witness("web") is None
    assert idle.kinds() == ["fence-begun", "fence-frozen"]
    assert "the local disk is Failed" in idle.words("fence-frozen")


def test_who_serves_nothing_is_not_told_that_o2cb_resets_it(idle: Node) -> None:
    idle.configure(survivor="server2")
    assert idle.call() == 1
    assert "nothing is mounted here, so O2CB does not reset this node" in idle.words("fence-frozen")
    found = records.read("web", "fencing")
    assert found is not None
    assert found["PHASE"] == "frozen"
    assert float(found["UNTIL"]) <= time.monotonic() + 0.001  # it is rounded


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("/proc/self/mountinfo", "22 1 147:0 / /mnt/storage rw - ocfs2 /dev/drbd0 rw\n"),
        (f"{PLACE}/heartbeat/6A8F/dev", "drbd0\n"),  # being mounted
        (f"{PLACE}/heartbeat/mode", "global\n"),
    ],
)
def test_who_serves_or_is_about_to_does_not_wait(idle: Node, locks: Locks, file: str, text: str) -> None:
    idle.box.write(file, text)
    began = time.monotonic()
    assert idle.call() == 4
    assert time.monotonic() - began < 4


@pytest.fixture
def second(node: Node, locks: Locks) -> Node:
    """Of several stacks, with the other node preferred."""
    mail = CONF.replace("[web]", "[mail]").replace("r0", "r1").replace("drbd0", "drbd1").replace("storage", "mail")
    own = f"{CONF}survivor = witness\nwitness = tie\nlink_grace = 0\n"
    node.box.write("/etc/drbdocfs/drbdocfs.conf", f"{own}{mail}survivor = witness\nwitness = tie\n")
    node.box.write("/etc/ocfs2/cluster.conf", CLUSTER.replace("number = 1", "number = 3"))
    return node


def test_of_several_stacks_the_preferred_node_asks_for_all_locks_first(second: Node, locks: Locks) -> None:
    """Here the other one is preferred: a link that comes back in its head start costs nobody anything."""
    node = second
    node.box.write("/more", f"sleep 1; cat <<'X'\n{BACK.replace('exists', 'change').replace('change -', '')}X\n")
    assert node.call() == 1
    assert locks.asked == []
    assert "head start 13.5 s" in node.words("fence-begun")
    assert node.kinds()[-1] == "fence-back"


def test_and_the_other_one_asks_for_none_when_nothing_is_left_to_decide(
    second: Node, locks: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence.Handler, "let_first", lambda handler, until, why: handler.frozen("its disk has failed"))
    assert second.call() == 1
    assert locks.asked == []
    assert second.kinds() == ["fence-begun", "fence-frozen"]


def test_a_witness_that_does_not_answer_is_asked_again_with_the_same_word(node: Node, locks: Locks) -> None:
    locks.answers = [witness.Answer(witness.ERROR, said="no route"), witness.Answer(witness.TAKEN)]
    assert node.call() == 4
    assert len({asked[3] for asked in locks.asked}) == 1
    assert len(locks.asked) == 2


def test_a_disk_that_fails_while_the_witness_does_not_answer_gets_no_lock(node: Node, locks: Locks) -> None:
    """The peer, which has the good disk, would get none any more, and both would stay frozen."""
    locks.answers = [witness.Answer(witness.ERROR, said="no route"), witness.Answer(witness.TAKEN)]
    node.box.write("/more", "sleep 0.5; echo 'change device name:r0 volume:0 minor:0 disk:Failed'\n")
    assert node.call() == 1
    assert len(locks.asked) == 1
    assert "the local disk is Failed" in node.words("fence-frozen")


@pytest.mark.slow
def test_without_an_answer_nobody_goes_on_and_it_ends(node: Node, locks: Locks) -> None:
    locks.answers = [witness.Answer(witness.ERROR, said="no route to host")]
    node.box.write(f"{PLACE}/idle_timeout_ms", "5000\n")
    node.box.write(f"{PLACE}/heartbeat/dead_threshold", "7\n")
    node.box.monkeypatch.setitem(fencing.DECIDE, "witness", 2.0)
    began = time.monotonic()
    assert node.call() == 1
    assert time.monotonic() - began < 10
    assert "no route to host" in node.words("fence-frozen")


@pytest.mark.parametrize("gi", ["", "0000000000000004:0:0:0:1:1:1:1:0:0:0\n"])
def test_without_a_generation_no_lock_is_asked_for(node: Node, locks: Locks, gi: str) -> None:
    node.box.write("/gi", gi)
    assert node.call() == 1
    assert locks.asked == []


def test_a_promotion_asks_the_witness_too(node: Node, locks: Locks) -> None:
    node.box.write("/state", LOST.replace("role:Primary suspended:fencing", "role:Secondary suspended:no"))
    records.write("web", "alone", WHY="goes on alone: told so by 'drbdocfs proceed'")
    locks.answers = [witness.Answer(witness.HELD, "server2")]
    assert node.call() == 1
    assert "refused: server2 has the lock at tie" in node.words("fence-promotion")
    # For the promotion, which gets no more than a number from DRBD.
    found = records.read("web", "fencing")
    assert found is not None
    assert (found["PHASE"], found["REASON"].partition(",")[0]) == ("refused", "server2 has the lock at tie")
    locks.answers = [witness.Answer(witness.ERROR, said="no route")]
    assert node.call() == 4, "the administrator knows better than a witness that is gone"
    records.write("web", "alone", WHY="goes on alone: the peer has not come in 1:30, when_alone = always")
    assert node.call() == 1, "a policy does not"
    locks.answers = [witness.Answer(witness.TAKEN)]
    assert node.call() == 4


def test_the_lock_that_a_promotion_has_taken_is_to_be_given_back(node: Node, locks: Locks) -> None:
    """Once both are in step again: nobody else knows with which nonce it was taken."""
    node.box.write("/state", LOST.replace("role:Primary suspended:fencing", "role:Secondary suspended:no"))
    records.write("web", "alone", WHY="goes on alone: told so by 'drbdocfs proceed'")
    assert node.call() == 4
    [(_, generation, _, nonce, _)] = locks.asked
    assert records.witness("web") == ("tie", [(generation, nonce)])


def test_the_locks_are_given_back_when_both_are_in_step(node: Node, locks: Locks) -> None:
    records.mark_witness("web", "tie", "D799598BB6737F4E", "abc")
    records.mark_witness("web", "tie", "D799598BB6737F4E", "def")
    assert fence.release("web") == 75, "not while the link is lost"
    assert locks.released == []
    node.box.write("/state", READY)
    locks.release_kind = witness.ERROR
    assert fence.release("web") == 69
    assert records.witness("web") is not None, "to be tried again"
    locks.release_kind = witness.RELEASED
    assert fence.release("web") == 0
    assert locks.released[-2:] == [("D799598BB6737F4E", "abc"), ("D799598BB6737F4E", "def")]
    assert records.witness("web") is None
    assert fence.release("web") == 0


def test_a_lock_that_a_handler_has_just_asked_for_is_given_back_as_well(
    node: Node, locks: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had the place until the release got it."""
    records.mark_witness("web", "tie", "D799598BB6737F4E", "abc")
    node.box.write("/state", READY)
    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        records.mark_witness("web", "tie", "D799598BB6737F4E", "def")
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert fence.release("web") == 0
    assert locks.released == [("D799598BB6737F4E", "abc"), ("D799598BB6737F4E", "def")]


def test_a_release_makes_way_for_a_handler_and_no_freeze_older(node: Node, locks: Locks) -> None:
    records.mark_witness("web", "tie", "D799598BB6737F4E", "abc")
    node.box.write("/state", "")  # a drbdsetup that says nothing: the release waits for it
    node.box.tool("drbdsetup", "exec sleep 30")
    release = start(node, "--release", "web")
    name = node.box.root / "run/drbdocfs/web.fence-lock"
    deadline = time.monotonic() + 20
    while not name.exists() or not name.read_text().startswith(f"{release.pid} "):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    handler = fence.Handler("r0")
    began = handler.began
    os.close(fence._take_place(handler))
    handler.close()
    assert release.wait(20) == 75
    assert handler.began == began


# --- the fence agent ------------------------------------------------------------------------------------------------

# Like a fence agent: what it is told stands in $ROOT/asked, whether the plug has power in $ROOT/power.
AGENT = r"""
action=$(sed -n 's/^action=//p')
echo $action >> $ROOT/asked
[ -e $ROOT/lies ] && [ $action = off ] && exit 0
case $action in
off) echo off > $ROOT/power ;;
on) echo on > $ROOT/power ;;
status) [ "$(cat $ROOT/power)" = on ] || exit 2 ;;
esac
"""


@pytest.fixture
def agent(node: Node) -> Box:
    box = node.box
    box.tool("fence_x", AGENT)
    box.write("/power", "on")
    options = box.write("/etc/drbdocfs/fence.conf", "ip = 10.0.0.1\n[server1]\nplug = 1\n[server2]\nplug = 2\n")
    options.chmod(0o600)
    node.configure(survivor="power", fence_agent="fence_x")
    return box


def test_a_peer_that_is_off_is_fenced_and_gets_its_power_back(node: Node, agent: Box) -> None:
    assert node.call() == 7
    deadline = time.monotonic() + 20
    while (agent.root / "power").read_text().strip() != "on":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    asked = (agent.root / "asked").read_text().split()
    assert asked[:2] == ["off", "status"]
    assert asked[-1] in ("on", "status")
    assert "is switched off, and fence_x confirms it" in node.words("fence-goes-on")
    os.wait()


def test_a_peer_that_is_back_is_not_switched_off(node: Node, agent: Box) -> None:
    """The link comes back while an agent fails, and before it is tried again."""
    agent.tool("fence_x", f"echo x >> $ROOT/asked; cat > $ROOT/state <<'X'\n{BACK}X\nexit 1")
    agent.monkeypatch.setattr(fence.Handler, "look", lambda handler, pause: _read_again(handler))
    assert node.call() == 1
    assert (agent.root / "asked").read_text() == "x\n"
    assert node.kinds()[-1] == "fence-back"


def _read_again(handler: fence.Handler) -> None:
    handler.state = drbd.state(handler.resource)


def test_a_peer_that_is_not_said_to_be_lost_any_more_is_not_switched_off(
    node: Node, agent: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it gone on without it."""
    monkeypatch.setattr(fence.Handler, "still_lost", lambda handler: False)
    assert node.call() == 1
    assert "server2 was not switched off: DRBD does not say any more" in node.words("fence-frozen")
    assert not (agent.root / "asked").exists()
    assert records.read("web", "survivor") is None


@pytest.mark.slow
def test_an_agent_that_lies_leaves_the_node_frozen(node: Node, agent: Box) -> None:
    agent.write("/lies", "")
    agent.write(f"{PLACE}/idle_timeout_ms", "5000\n")
    agent.write(f"{PLACE}/heartbeat/dead_threshold", "7\n")
    agent.monkeypatch.setitem(fencing.DECIDE, "power", 3.0)
    assert node.call() == 1
    assert "fence_x did not confirm that server2 is off" in node.words("fence-frozen")
    # It may be off all the same, and nobody else would switch it on.
    os.wait()
    assert "on" in (agent.root / "asked").read_text().split()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda box: (box.root / "etc/drbdocfs/fence.conf").chmod(0o644), "options cannot be used"),
        (lambda box: (box.root / "etc/drbdocfs/fence.conf").unlink(), "options cannot be used"),
        (lambda box: (box.bin / "fence_x").unlink(), "fence_x"),
    ],
)
def test_an_agent_that_cannot_be_used_leaves_the_node_frozen(
    node: Node, agent: Box, spoil: Callable[[Box], None], words: str
) -> None:
    spoil(agent)
    assert node.call() == 1
    assert words in node.words("fence-frozen")
    assert not (agent.root / "asked").exists()


@pytest.mark.parametrize("survivor", ["witness", "power"])
def test_while_it_asks_whoever_takes_over_does_not_count_from_its_beginning(
    node: Node, agent: Box, monkeypatch: pytest.MonkeyPatch, survivor: str
) -> None:
    """The link may have been back unseen meanwhile, so the newer handler's freeze may be a new one."""
    node.configure(survivor=survivor, **({"witness": "tie"} if survivor == "witness" else {"fence_agent": "fence_x"}))
    handler = fence.Handler("r0")
    handler.lock = fence._take_place(handler)
    signed: list[str] = []

    def signature() -> None:
        signed.extend(os.pread(handler.lock, 200, 0).decode().split())

    def take(*_: object) -> witness.Answer:
        signature()
        return witness.Answer(witness.HELD, "server2")

    def switch_off(*_: object) -> bool:
        signature()
        return False

    monkeypatch.setattr(witness, "take", take)
    monkeypatch.setattr(tools_agent, "switch_off", switch_off)
    try:
        assert handler.run() == 1
    finally:
        handler.close()
        os.close(handler.lock)
    number, began = signed
    assert (int(number), float(began)) == (os.getpid(), fence.NO_FREEZE)


def test_the_preferred_node_goes_first(node: Node, agent: Box) -> None:
    """Here the other one is preferred: a link that comes back in its head start spares it."""
    agent.write("/etc/ocfs2/cluster.conf", CLUSTER.replace("number = 1", "number = 3"))
    news = BACK.replace("exists", "change").replace("change -\n", "")
    agent.write("/more", f"sleep 0.5; cat <<'X'\n{news}X\n")
    assert node.call() == 1
    assert node.kinds() == ["fence-begun", "fence-back"]
    assert not (agent.root / "asked").exists()
