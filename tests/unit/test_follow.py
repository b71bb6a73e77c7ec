"""The follow service as a program, with stand-ins for DRBD and systemctl and a journal of our own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drbdocfs_boot.tools import records

from .conftest import Box
from .test_events import DECLINED_9

TOP = Path(__file__).parents[2]
READY = (
    "exists resource name:r0 role:Secondary suspended:no\n"
    "exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connected role:Secondary\n"
    "exists device name:r0 volume:0 minor:0 disk:UpToDate\n"
    "exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:UpToDate\n"
    "exists -\n"
)
ALONE = READY.replace("connection:Connected role:Secondary", "connection:Connecting role:Unknown").replace(
    "replication:Established peer-disk:UpToDate", "replication:Off peer-disk:DUnknown"
)
COMES = (
    "change connection name:r0 peer-node-id:0 connection:Connected role:Secondary\n"
    "change peer-device name:r0 peer-node-id:0 volume:0 replication:Established peer-disk:UpToDate\n"
)
GOES = (
    "change connection name:r0 peer-node-id:0 connection:NetworkFailure role:Unknown\n"
    "change peer-device name:r0 peer-node-id:0 volume:0 replication:Off peer-disk:DUnknown\n"
)
STAND_ALONE = (
    "exists resource name:r0 role:Primary suspended:no\n"
    "exists device name:r0 volume:0 minor:0 disk:UpToDate\n"
    "exists -\n"
)
# What is appended to $ROOT/stream comes out of events2; END ends it.
DRBDSETUP = r"""
case "$1" in
events2) case "$*" in *--now*) cat $ROOT/stream ;; *)
  tail -s 0.1 -n +1 -f $ROOT/stream & tail=$!
  trap "kill $tail" EXIT TERM
  while [ -e $ROOT/stream ] && ! grep -q END $ROOT/stream; do sleep 0.1; done ;; esac ;;
get-gi) cat $ROOT/gi ;;
esac
"""
# CURRENT:BITMAP:HISTORY:HISTORY:flags of 8.4
GI_RAN_ALONE = "0000000000000005:0000000000000007:0000000000000001:0000000000000000:1:1:0:0:0:0:0\n"
GI_CLEAN = GI_RAN_ALONE.replace("0000000000000007", "0000000000000000")


# The service with shorter pauses, so that the tests are quick.
QUICK = f"""
import sys
sys.path.insert(0, {os.fspath(TOP)!r})
from drbdocfs_boot import observe
from drbdocfs_boot.helpers import follow
observe.SETTLE = 0.7
follow.START_EVERY, follow.LAYERS_AFTER, follow.METRICS_LEAST = 2.0, 1.0, 0.3
del sys.argv[1:]
sys.exit(follow.main())
"""


PYTHON = ["/usr/bin/python3", "-IS", "-c"]


class Service:
    """The running service; ``messages`` collects what the journal got."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.process: subprocess.Popen[str] | None = None
        place = box.root / "run/systemd/journal/socket"
        place.parent.mkdir(parents=True)
        self.journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.journal.bind(os.fspath(place))
        self.journal.setblocking(False)
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(os.fspath(box.root / "notify"))
        self.notified.setblocking(False)
        self._messages: list[dict[str, str]] = []
        self._notices: list[str] = []

    def start(self, *wrapper: str, program: list[str] | None = None) -> None:
        environment = {key: value for key, value in os.environ.items() if key.startswith(("DRBD", "PATH"))}
        environment["NOTIFY_SOCKET"] = str(self.box.root / "notify")
        self.process = subprocess.Popen(
            [*wrapper, *(program or [*PYTHON, QUICK])],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.until(lambda: "READY=1" in self.notices)

    def stop(self, signal: str = "TERM") -> int:
        assert self.process is not None
        subprocess.run(["/bin/kill", "-" + signal, str(self.process.pid)], check=True, timeout=10)
        code = self.process.wait(10)
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read() if signal == "TERM" else ""
        self.process.stderr.close()
        self.process = None
        return code

    @property
    def messages(self) -> list[dict[str, str]]:
        while True:
            try:
                data = self.journal.recv(65536).decode()
            except BlockingIOError:
                return self._messages
            self._messages.append(dict(line.split("=", 1) for line in data.splitlines()))

    @property
    def texts(self) -> list[str]:
        return [message["MESSAGE"] for message in self.messages]

    @property
    def notices(self) -> list[str]:
        while True:
            try:
                self._notices.append(self.notified.recv(65536).decode())
            except BlockingIOError:
                return self._notices

    @property
    def status(self) -> str:
        return next((text[7:] for text in reversed(self.notices) if text.startswith("STATUS=")), "")

    def until(self, true: Callable[[], object], limit: float = 10.0) -> None:
        deadline = time.monotonic() + limit
        while not true():
            assert time.monotonic() < deadline, (self._messages, self._notices)
            assert self.process is not None
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            time.sleep(0.02)

    def stream(self, text: str) -> None:
        with (self.box.root / "stream").open("a") as file:
            file.write(text)

    def wake(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"!", str(self.box.root / "run/drbdocfs-follow/socket"))

    def starts(self) -> list[str]:
        return [call for call in self.box.calls if call.startswith("systemctl start")]

    @property
    def metrics(self) -> str:
        try:
            return (self.box.root / "run/drbdocfs-follow/drbdocfs.prom").read_text()
        except FileNotFoundError:
            return ""  # not written yet


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """In a short path: that of a socket has 108 bytes at most."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    box = Box(place, monkeypatch)
    box.tool("drbdsetup", DRBDSETUP)
    box.tool("drbdadm", "")
    box.tool("systemctl", "")
    box.write("/sys/module/drbd/version", "8.4.11\n")
    box.write("/stream", "")
    box.write("/gi", GI_CLEAN)
    one = Service(box)
    yield one
    if one.process is not None:
        one.stop()
    one.journal.close()
    one.notified.close()
    shutil.rmtree(place)


def attached(**more: str) -> None:
    values = {"PEER": "server2", "PEER_ADDRESS": "10.0.0.2:7789", "ADDRESS": "127.0.0.1", **more}
    records.write("web", "attach", RESOURCE="r0", DEVICE="/dev/drbd0", **values)


def waiting(
    state: str = "late",
    when_alone: str = "wait",
    timeout: float = 60.0,
    began: float | None = None,
    pid: int = os.getpid(),
    kind: str = "waiting",
    **more: str,
) -> None:
    records.write(
        "web", "waiting", RESOURCE="r0", DEVICE="/dev/drbd0", STATE=state, WHEN_ALONE=when_alone,
        PEER_TIMEOUT=str(int(timeout * 1_000_000)), BEGAN=f"{time.monotonic() if began is None else began:.3f}",
        KIND=kind, REASON="", PID=str(pid), **more,
    )  # fmt: skip


def cpu(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def switches(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("nonvoluntary")[0].rpartition("voluntary_ctxt_switches:")[2])


# --- a peer with older data, or none ----------------------------------------------------------------------------

PRIMARY = READY.replace("role:Secondary suspended", "role:Primary suspended")
PEER = "change peer-device name:r0 peer-node-id:0 volume:0 "
SECOND = "exists device name:r0 volume:1 minor:1 disk:Inconsistent\nexists -\n"


@pytest.mark.parametrize(
    ("news", "why"),
    [
        (PEER + "replication:Off peer-disk:Outdated\n", "the peer's disk is Outdated"),
        (PEER + "replication:Established peer-disk:Diskless\n", "the peer's disk was Diskless"),
        (PEER + "replication:SyncSource peer-disk:Inconsistent\n", "the peer's disk was Inconsistent"),
    ],
)
def test_it_is_remembered_who_has_the_data_until_the_peer_has_them_too(service: Service, news: str, why: str) -> None:
    """For the fence-peer handler, should the link go then: it cannot see any more what the peer's disk was."""
    attached()
    service.stream(PRIMARY)
    service.start()
    service.stream(news)
    service.until(lambda: (records.read("web", "survivor") or {}).get("WHY") == why)
    service.stream(COMES)
    service.until(lambda: records.read("web", "survivor") is None)


@pytest.mark.parametrize(
    ("begin", "news"),
    [
        (READY, PEER + "replication:Established peer-disk:Diskless\n"),
        (PRIMARY.replace("disk:UpToDate\nexists peer", "disk:Diskless\nexists peer"), ""),
        (PRIMARY, GOES),
        (PRIMARY, PEER + "replication:Off peer-disk:Diskless\n"),
        (PRIMARY, PEER + "replication:WFBitMapS peer-disk:Consistent\n"),
        (PRIMARY.replace("exists -\n", SECOND), PEER + "replication:Established peer-disk:Diskless\n"),
        (PRIMARY, PEER + "replication:WFBitMapS peer-disk:Outdated\n"),
    ],
    ids=[
        "secondary", "own-disk-gone", "link-gone", "diskless-and-gone", "not-known-yet", "one-own-disk-not-whole",
        "outdated-but-there",
    ],
)  # fmt: skip
@pytest.mark.slow
def test_of_any_other_peer_nothing_is_remembered(service: Service, begin: str, news: str) -> None:
    attached()
    service.stream(begin + news)
    service.start()
    service.until(lambda: service.status)
    time.sleep(0.5)
    assert records.read("web", "survivor") is None


# --- starting late ----------------------------------------------------------------------------------------------


def test_a_late_stack_is_started_when_the_peer_comes(service: Service) -> None:
    attached()
    waiting()
    service.stream(ALONE)
    service.start()
    service.until(lambda: "waiting for server2 at 10.0.0.2:7789" in service.status)
    assert service.starts() == []
    service.stream(COMES)
    service.until(service.starts)
    assert service.starts() == ["systemctl start --no-block --job-mode=fail drbdocfs@web.target"]
    service.until(lambda: "web: comes up now, late: connected, UpToDate on both nodes" in service.texts)
    # The wait takes over and ends well: nothing is started again.
    records.remove("web", "waiting")
    service.wake()
    service.stream("change resource name:r0 role:Primary\n")
    time.sleep(0.5)
    assert len(service.starts()) == 1


@pytest.mark.slow
def test_a_refused_promotion_is_tried_again_after_a_pause(service: Service) -> None:
    attached()
    waiting(kind="refused", NOT_BEFORE=f"{time.monotonic() + 2.0:.3f}")
    service.stream(READY)
    service.start()
    service.until(lambda: service.status == "web: ready")
    time.sleep(0.5)
    assert service.starts() == []
    # Nothing but the clock wakes it.
    service.until(lambda: len(service.starts()) == 1)


def test_a_refused_promotion_is_not_tried_alone_without_order(service: Service) -> None:
    """A policy asks the fence-peer handler, which may have been asked already."""
    attached()
    waiting(when_alone="always", timeout=0.1, kind="refused", NOT_BEFORE=f"{time.monotonic():.3f}")
    service.stream(ALONE)
    service.start()
    service.until(lambda: "when_alone = always" in service.status)
    time.sleep(0.5)
    assert service.starts() == []
    assert records.read("web", "alone") is None
    records.write("web", "proceed")
    service.wake()
    service.until(lambda: len(service.starts()) == 1)


def test_an_order_to_go_alone_waits_for_no_pause(service: Service) -> None:
    attached()
    waiting(kind="refused", NOT_BEFORE=f"{time.monotonic() + 3600:.3f}")
    service.stream(ALONE)
    service.start()
    service.until(lambda: "waiting for server2" in service.status)
    records.write("web", "proceed")
    service.wake()
    service.until(lambda: len(service.starts()) == 1, 3)


def test_what_starts_alone_says_so_to_a_promotion_that_no_wait_goes_before(service: Service) -> None:
    """Where only the promotion had failed the wait is active, and is not started again."""
    attached()
    waiting(when_alone="always", timeout=0.1)
    service.stream(ALONE)
    service.start()
    service.until(lambda: len(service.starts()) == 1)
    assert "when_alone = always" in (records.read("web", "alone") or {})["WHY"]


def test_but_not_where_systemd_refuses_to_start_it(service: Service) -> None:
    attached()
    waiting(when_alone="always", timeout=0.1)
    service.box.tool("systemctl", "echo 'Transaction is destructive' >&2; exit 1")
    service.stream(ALONE)
    service.start()
    service.until(lambda: any("Transaction is destructive" in text for text in service.texts))
    assert records.read("web", "alone") is None


@pytest.mark.parametrize("state", [None, "boot"])
def test_without_its_record_nothing_is_started(service: Service, state: str | None) -> None:
    attached()
    if state:
        waiting(state)
    service.stream(READY)
    service.start()
    service.until(lambda: service.status == "web: ready")
    time.sleep(0.3)
    assert service.starts() == []


def test_a_wait_that_was_killed_is_late(service: Service) -> None:
    """It could not say so, and nobody wakes the service but its end."""
    attached()
    with subprocess.Popen(["/bin/sleep", "1000"]) as process:
        waiting("boot", pid=process.pid)
        service.stream(READY)
        service.start()
        service.until(lambda: service.status == "web: ready")
        time.sleep(0.3)
        assert service.starts() == []
        process.kill()
    service.until(lambda: len(service.starts()) == 1)
    # Another process may get its number.
    record = records.read("web", "waiting")
    assert record is not None
    assert (record["STATE"], record["PID"]) == ("late", "0")


def test_a_stack_that_was_stopped_stays_stopped(service: Service) -> None:
    attached()
    waiting()
    service.stream(ALONE)
    service.start()
    service.until(lambda: "waiting for server2" in service.status)
    records.remove("web", "waiting")  # what a stop does first; its wake-up may come late
    service.stream(COMES)
    service.until(lambda: service.status == "web: ready")
    assert service.starts() == []


@pytest.mark.slow
def test_a_refused_start_is_tried_again_but_not_at_full_speed(service: Service) -> None:
    service.box.tool("systemctl", "echo 'Failed to start: transaction is destructive' >&2; exit 1")
    attached()
    waiting()
    service.stream(READY)
    service.start()
    service.until(service.starts)
    for _ in range(8):
        service.stream(GOES + COMES)
        time.sleep(0.1)
    assert len(service.starts()) == 1
    refused = [text for text in service.texts if "could not be started" in text]
    assert refused == ["web: could not be started yet: Failed to start: transaction is destructive"]
    service.box.tool("systemctl", "")
    service.until(lambda: len(service.starts()) == 2, 4)
    service.until(lambda: "web: comes up now, late: connected, UpToDate on both nodes" in service.texts)


def test_alone_is_over_when_both_are_in_step_again(service: Service) -> None:
    attached()
    records.write("web", "alone", WHY="told so", TIME="1")
    service.stream(ALONE)
    service.start()
    service.until(lambda: "waiting for server2" in service.status)
    assert records.read("web", "alone") is not None
    service.stream(READY)
    service.until(lambda: records.read("web", "alone") is None)


@pytest.mark.slow
def test_alone_by_its_policy_at_its_time(service: Service) -> None:
    attached()
    service.box.write("/gi", GI_RAN_ALONE)
    waiting(when_alone="newest", timeout=1.5)
    began = time.monotonic()
    service.stream(ALONE)
    service.start()
    service.until(lambda: "may go alone at" in service.status)
    service.until(service.starts)
    assert time.monotonic() - began > 1.4
    service.until(lambda: [text for text in service.texts if text.startswith("web: comes up now, without its peer: ")])


@pytest.mark.parametrize("reason", ["clean metadata", "wait", "split brain before"])
@pytest.mark.slow
def test_not_alone_without_proof(service: Service, reason: str) -> None:
    attached()
    service.box.write("/gi", GI_CLEAN if reason == "clean metadata" else GI_RAN_ALONE)
    if reason == "split brain before":
        records.mark_split_brain("web")
    waiting(when_alone="wait" if reason == "wait" else "newest", timeout=0.2)
    service.stream(ALONE)
    service.start()
    service.until(lambda: "not alone" in service.status or "when_alone = wait" in service.status)
    time.sleep(0.5)
    assert service.starts() == []


def test_proceed(service: Service) -> None:
    attached()
    waiting()
    service.stream(ALONE)
    service.start()
    service.until(lambda: "waiting for server2" in service.status)
    records.write("web", "proceed", TIME="1", WHO="root")
    service.wake()
    service.until(service.starts, 3)


def test_a_service_that_is_started_again_goes_on_counting(service: Service) -> None:
    """And so does one that takes over from a wait: the peer is missing since the boot."""
    attached()
    waiting(when_alone="always", timeout=60.0, began=time.monotonic() - 59)
    began = (records.read("web", "waiting") or {})["BEGAN"]
    service.stream(ALONE)
    service.start()
    service.until(service.starts, 5)
    assert (records.read("web", "waiting") or {})["BEGAN"] == began


def test_the_clock_begins_anew_when_the_peer_was_there(service: Service) -> None:
    attached()
    waiting(when_alone="always", timeout=100.0, began=time.monotonic() - 50)
    service.stream(READY.replace("disk:UpToDate\nexists peer", "disk:Inconsistent\nexists peer"))
    service.start()
    service.until(lambda: "waiting for the local disk" in service.status)
    # So it is for a wait that is started now, should the peer go before its first look.
    service.until(lambda: (records.read("web", "waiting") or {})["BEGAN"] == "")
    service.stream(GOES)
    service.until(lambda: (records.read("web", "waiting") or {})["BEGAN"])
    assert time.monotonic() - float((records.read("web", "waiting") or {})["BEGAN"]) < 10
    assert service.starts() == []


def test_a_full_run_does_not_end_it_when_the_peer_comes_and_goes(service: Service) -> None:
    attached()
    waiting(when_alone="wait", began=time.monotonic() - 50)
    program = QUICK.replace(
        "del sys.argv[1:]",
        "def full(*_, **__): raise OSError(28, 'No space left on device', 'web.waiting')\n"
        "follow.records.write = full\ndel sys.argv[1:]",
    )
    service.stream(READY.replace("disk:UpToDate\nexists peer", "disk:Inconsistent\nexists peer"))
    service.start(program=[*PYTHON, program])
    service.until(lambda: "waiting for the local disk" in service.status)
    service.stream(GOES)
    service.until(lambda: "waiting for server2" in service.status)
    service.stop()
    assert "web: [Errno 28] No space left on device: 'web.waiting'" in service.errors


def test_killed_it_goes_on_from_the_records(service: Service) -> None:
    attached()
    waiting()
    service.stream(ALONE)
    service.start()
    service.until(lambda: "waiting for server2" in service.status)
    service.stop("KILL")
    service.start()
    service.stream(COMES)
    service.until(service.starts)


# --- events2 --------------------------------------------------------------------------------------------------------


def dumps(service: Service) -> int:
    return len([call for call in service.box.calls if call.startswith("drbdsetup events2") and "--now" not in call])


@pytest.mark.slow
def test_lost_events_and_an_end_bring_a_new_dump(service: Service) -> None:
    attached()
    waiting()
    service.stream(ALONE)
    service.start()
    service.until(lambda: "waiting for server2" in service.status)
    stream = service.box.root / "stream"
    with stream.open("a") as old:
        stream.unlink()
        service.box.write("/stream", READY)  # what the events that were lost had said
        old.write("- skipped 3\n")
    service.until(service.starts)
    count = dumps(service)
    assert count == 2
    service.stream("END\n")
    service.until(lambda: dumps(service) > count)
    # Dump after dump ends at once: the pauses grow.
    time.sleep(3)
    assert dumps(service) - count <= 4


def test_an_answer_of_the_kernel_that_drbdsetup_takes_for_no_module_is_no_end(service: Service) -> None:
    attached()
    waiting()
    service.box.tool("drbdsetup", "[ -e $ROOT/once ] || { touch $ROOT/once; exit 20; }\n" + DRBDSETUP)
    service.stream(READY)
    service.start()
    # Nobody wakes it.
    service.until(service.starts)


def test_the_module_is_not_loaded_by_looking(service: Service) -> None:
    shutil.rmtree(service.box.root / "sys/module/drbd")
    attached()
    service.start()
    service.until(lambda: "kernel module drbd" in service.status)
    assert service.box.calls == []
    service.box.write("/sys/module/drbd/version", "8.4.11\n")
    service.stream(READY)
    service.wake()
    service.until(lambda: service.status == "web: ready")


def test_several_stacks_in_one_stream(service: Service) -> None:
    attached()
    records.write("data", "attach", RESOURCE="r1", DEVICE="/dev/drbd1", PEER="server2", ADDRESS="", PEER_ADDRESS="")
    service.stream(READY.replace("exists -\n", "") + ALONE.replace("name:r0", "name:r1").replace("minor:0", "minor:1"))
    service.start()
    service.until(lambda: "web: ready" in service.status and "data: waiting for server2" in service.status)
    service.stream(COMES.replace("name:r0", "name:r1"))
    service.until(lambda: service.status == "data: ready; web: ready")
    assert [message["DRBDOCFS_STACK"] for message in service.messages] == ["data"] * len(service.messages)
    assert dumps(service) == 1


def test_what_happens_goes_to_the_journal(service: Service) -> None:
    attached()
    service.stream(READY)
    service.start()
    service.until(lambda: service.status == "web: ready")
    service.stream(GOES)
    service.until(lambda: service.texts == ["web: lost server2 (NetworkFailure)"])
    (message,) = service.messages
    assert message["SYSLOG_IDENTIFIER"] == "drbdocfs-follow"
    assert message["DRBDOCFS_RESOURCE"] == "r0"
    assert len(message["MESSAGE_ID"]) == 32


def test_a_split_brain_is_remembered_until_it_is_resolved(service: Service) -> None:
    attached()
    service.stream(READY)
    service.start()
    service.until(lambda: service.status == "web: ready")
    service.stream(GOES + "call helper name:r0 peer-node-id:0 volume:0 minor:0 helper:split-brain\n")
    service.until(lambda: records.split_brain("web"))
    service.until(lambda: "split brain: both nodes changed r0" in service.texts[-1])
    service.stop()
    found = records.split_brain("web")
    # Booted anew: only the kernel log of the connection attempt says it again, and until then the mark does.
    (service.box.root / "stream").write_text(ALONE)
    service.start()
    service.until(lambda: "waiting for server2" in service.status)
    assert records.split_brain("web") == found
    service.stream(COMES)
    service.until(lambda: not records.split_brain("web"))


# --- the address ----------------------------------------------------------------------------------------------------

SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
BIND_FAILED = "3,1,2,-;drbd r0: bind before listen failed, err = -99\n"


def adjusts(service: Service) -> list[str]:
    return [call for call in service.box.calls if call.startswith("drbdadm")]


@pytest.mark.slow
def test_connects_again_when_the_address_is_there(service: Service) -> None:
    attached()
    service.box.write("/dev/kmsg", BIND_FAILED)
    service.stream(STAND_ALONE)
    service.start()
    service.until(lambda: adjusts(service))
    assert adjusts(service) == ["drbdadm adjust r0"]
    service.until(lambda: "web: the address 127.0.0.1 is back: connecting r0 again" in service.texts)
    time.sleep(1)
    assert len(adjusts(service)) == 1


@pytest.mark.slow
def test_connects_again_what_the_peer_has_declined_until_it_does_not(service: Service) -> None:
    """DRBD 9: a peer that is frozen with older data declines until it is reset, and the node that went on hangs up."""
    attached()
    lines = (f"3,{number},2,-;{line}\n" for number, line in enumerate(DECLINED_9, 1))
    service.box.write("/dev/kmsg", "".join(lines))
    service.stream(STAND_ALONE)
    service.start(program=[*PYTHON, QUICK.replace("del sys", "follow.CONNECT_AGAIN = 0.5; del sys")])
    service.until(lambda: len(adjusts(service)) >= 2)
    assert "web: the peer had declined it: connecting r0 again" in service.texts


ATTACHED = "6,1,2,-;drbd r0: Starting worker thread (from drbdsetup-84 [511])\n"


def test_connects_what_was_attached_without_its_address_also_when_that_came_unseen(service: Service) -> None:
    """It is there before the first look, so nothing but the record tells why there is no connection."""
    attached()
    records.write("web", "unconnected", ADDRESS="127.0.0.1")
    service.box.write("/dev/kmsg", ATTACHED)
    service.stream(STAND_ALONE)
    service.start()
    service.until(lambda: adjusts(service) == ["drbdadm adjust r0"])
    service.until(lambda: records.read("web", "unconnected") is None)


@pytest.mark.slow
def test_connects_it_again_when_drbdadm_has_failed(service: Service) -> None:
    attached()
    records.write("web", "unconnected", ADDRESS="127.0.0.1")
    service.box.write("/dev/kmsg", ATTACHED)
    service.box.tool("drbdadm", "echo 'did not terminate within 5 seconds' >&2; exit 20")
    service.stream(STAND_ALONE)
    service.start(program=[*PYTHON, QUICK.replace("del sys", "follow.CONNECT_AGAIN = 0.5; del sys")])
    service.until(lambda: len(adjusts(service)) >= 2)
    assert records.read("web", "unconnected") is not None
    # What it refuses for another reason no more tries mend.
    service.box.tool("drbdadm", "echo 'unknown digest' >&2; exit 10")
    service.until(lambda: records.read("web", "unconnected") is None)


@pytest.mark.parametrize(
    "log",
    [
        "3,1,2,-;block drbd0: Split-Brain detected but unresolved, dropping connection!\n",
        "3,1,2,-;drbd r0: Authentication of peer failed, trying again.\n",
        "3,1,2,-;drbd r0: conn( Connected -> Disconnecting )\n",
        "3,1,2,-;drbd r0: incompatible after-sb-0pri settings\n",
        "",
    ],
)
@pytest.mark.slow
def test_never_connects_again_for_another_reason(service: Service, log: str) -> None:
    attached()
    service.box.write("/dev/kmsg", log)
    service.stream(STAND_ALONE)
    service.start()
    service.until(lambda: service.texts, 5)
    time.sleep(1)
    assert adjusts(service) == []


@pytest.mark.slow
def test_not_while_a_wait_of_the_boot_does_it(service: Service) -> None:
    attached()
    waiting("boot")
    service.box.write("/dev/kmsg", BIND_FAILED)
    service.stream(STAND_ALONE)
    service.start()
    service.until(lambda: service.texts, 5)
    time.sleep(1)
    assert adjusts(service) == []


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip", path=SYSTEM), reason="a network of its own needs root and ip"
)
@pytest.mark.slow
def test_wakes_when_the_address_comes(service: Service) -> None:
    ip = shutil.which("ip", path=SYSTEM) or ""
    attached(ADDRESS="192.0.2.7")
    service.box.write("/dev/kmsg", BIND_FAILED)
    service.stream(STAND_ALONE)
    # Without lo there is no table of local addresses at all, and every address counts as there.
    service.start("/usr/bin/unshare", "--net", "/bin/sh", "-c", f'{ip} link set lo up; exec "$@"', "sh")
    service.until(lambda: service.texts, 5)
    time.sleep(1)
    assert adjusts(service) == []
    assert service.process is not None
    inside = ["/usr/bin/nsenter", "-t", str(service.process.pid), "-n"]
    subprocess.run([*inside, ip, "address", "add", "192.0.2.9/32", "dev", "lo"], check=True, timeout=10)
    time.sleep(0.5)
    assert adjusts(service) == []
    subprocess.run([*inside, ip, "address", "add", "192.0.2.7/32", "dev", "lo"], check=True, timeout=10)
    service.until(lambda: adjusts(service) == ["drbdadm adjust r0"], 3)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip", path=SYSTEM), reason="a network of its own needs root and ip"
)
@pytest.mark.slow
def test_starts_what_o2cb_has_given_up_when_its_address_comes(service: Service) -> None:
    ip = shutil.which("ip", path=SYSTEM) or ""
    attached()
    records.write("web", "cluster-address", ADDRESS="192.0.2.7")
    service.stream(READY)
    service.start("/usr/bin/unshare", "--net", "/bin/sh", "-c", f'{ip} link set lo up; exec "$@"', "sh")
    service.until(lambda: service.status == "web: O2CB's address 192.0.2.7 is missing")
    assert service.process is not None
    inside = ["/usr/bin/nsenter", "-t", str(service.process.pid), "-n", ip, "address", "add"]
    subprocess.run([*inside, "192.0.2.9/32", "dev", "lo"], check=True, timeout=10)
    time.sleep(0.5)
    assert service.starts() == []
    subprocess.run([*inside, "192.0.2.7/32", "dev", "lo"], check=True, timeout=10)
    service.until(lambda: service.texts[-1:] == ["web: comes up now, late: O2CB's address 192.0.2.7 has come"], 3)
    assert service.starts() == ["systemctl start --no-block --job-mode=fail drbdocfs@web.target"]
    assert records.read("web", "cluster-address") is None
    service.until(lambda: service.status == "web: ready")
    time.sleep(2.5)
    assert len(service.starts()) == 1


def test_each_stack_that_o2cb_has_given_up_is_started(service: Service) -> None:
    """The start of the first one registers the cluster for both."""
    for name in ("db", "web"):
        records.write(name, "attach", RESOURCE="r0", DEVICE="/dev/drbd0", ADDRESS="127.0.0.1", PEER="server2")
        records.write(name, "cluster-address", ADDRESS="127.0.0.1")
    service.stream(READY)
    service.start()
    service.until(lambda: len(service.starts()) == 2)
    assert [start.rpartition(" ")[2] for start in service.starts()] == ["drbdocfs@db.target", "drbdocfs@web.target"]
    service.until(lambda: records.instances("cluster-address") == [])


@pytest.mark.parametrize("stopped", [True, False])
@pytest.mark.slow
def test_what_was_stopped_or_waits_for_its_peer_is_not_started_for_o2cbs_address(
    service: Service, stopped: bool
) -> None:
    attached()
    records.write("web", "cluster-address", ADDRESS="127.0.0.1")
    if stopped:
        records.remove("web", "cluster-address")  # with the attach's other records
        service.stream(READY)
    else:
        waiting()
        service.stream(ALONE)
    service.start()
    service.until(lambda: service.status)
    service.wake()
    time.sleep(1)
    assert service.starts() == []


# --- metrics, rest, end ---------------------------------------------------------------------------------------------


def test_metrics_and_copies(service: Service) -> None:
    textfiles = service.box.root / "textfiles"
    textfiles.mkdir()
    service.box.monkeypatch.setenv("DRBDOCFS_TEXTFILE_DIRECTORIES", "/none:/textfiles")
    attached()
    service.stream(READY)
    service.start()
    own = 'stack="web",resource="r0"'
    service.until(lambda: f'drbdocfs_stack_state{{{own},state="ready"}} 1\n' in service.metrics)
    service.until(
        lambda: (textfiles / "drbdocfs.prom").exists() and (textfiles / "drbdocfs.prom").read_text() == service.metrics
    )
    service.stream(GOES)
    service.until(lambda: f'drbdocfs_connection_state{{{own},state="NetworkFailure"}} 1\n' in service.metrics)
    assert (textfiles / "drbdocfs.prom").stat().st_mode & 0o777 == 0o644
    service.until(lambda: [path.name for path in textfiles.iterdir()] == ["drbdocfs.prom"])  # but while it writes
    assert service.stop() == 0
    assert service.errors == ""
    assert list(textfiles.iterdir()) == []
    assert not (service.box.root / "run/drbdocfs-follow/socket").exists()


def test_how_long_the_layers_took(service: Service) -> None:
    unit = "InactiveExitTimestampMonotonic=1000000\nActiveEnterTimestampMonotonic="
    shown = (
        f"Id=drbdocfs-wait@web.service\nRequires=\n{unit}3500000\n\n"
        f"Id=mnt-storage.mount\nRequires=drbdocfs-o2cb@c.service -.mount\n{unit}9400000\n\n"
        f"Id=drbdocfs-o2cb@c.service\nRequires=\n{unit}1250000\n\n"
        f"Id=drbdocfs-o2cb@other.service\nRequires=\n{unit}2000000\n"
    )
    service.box.write("/shown", shown)
    service.box.tool("systemctl", "[ $1 != show ] || cat $ROOT/shown")
    attached()
    records.write("web", "promote", RESOURCE="r0", DEVICE="/dev/drbd0", MOUNTPOINT="/mnt/storage")
    service.stream(READY)
    service.start()
    own = 'drbdocfs_layer_start_seconds{stack="web",resource="r0",layer='
    service.until(lambda: own in service.metrics)
    took = [line.removeprefix(own) for line in service.metrics.splitlines() if line.startswith(own)]
    assert took == ['"wait"} 2.500', '"o2cb"} 0.250', '"mount"} 8.400']
    (call,) = [call for call in service.box.calls if call.startswith("systemctl")]
    assert " mnt-storage.mount drbdocfs-o2cb@*.service" in call


def test_drbd_9_is_asked_what_is_out_of_sync_while_the_peer_is_away(service: Service) -> None:
    (service.box.root / "textfiles").mkdir()
    service.box.monkeypatch.setenv("DRBDOCFS_TEXTFILE_DIRECTORIES", "/textfiles")
    service.box.write("/sys/module/drbd/version", "9.3.3\n")
    service.box.tool(
        "drbdsetup", DRBDSETUP.replace("cat $ROOT/stream", "sed 's/DUnknown/& out-of-sync:8/' $ROOT/stream")
    )
    attached()
    service.stream(ALONE)
    service.start(program=[*PYTHON, QUICK.replace("del sys.argv", "follow.METRICS_EVERY = 0.5\ndel sys.argv")])
    service.until(lambda: 'drbdocfs_out_of_sync_bytes{stack="web",resource="r0"} 8192\n' in service.metrics)


@pytest.mark.slow
def test_it_sleeps_while_nothing_happens(service: Service) -> None:
    service.box.monkeypatch.setenv("DRBDOCFS_TEXTFILE_DIRECTORIES", "")
    attached()
    service.stream(READY)
    service.start()
    service.until(lambda: service.status == "web: ready")
    service.until(lambda: [call for call in service.box.calls if call.startswith("systemctl show")], 15)
    time.sleep(0.5)  # the last write of metrics
    assert service.process is not None
    before = switches(service.process.pid), cpu(service.process.pid)
    time.sleep(3)
    assert (switches(service.process.pid), cpu(service.process.pid)) == before


def test_a_stop_ends_it_and_its_tool(service: Service) -> None:
    attached()
    service.stream(READY)
    service.start()
    service.until(lambda: service.status == "web: ready")
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 3


def test_wrong_usage() -> None:
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", str(TOP / "libexec/follow"), "x"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "usage: follow\n")


def test_the_program_that_the_unit_runs(service: Service) -> None:
    """It and no stand-in, idle, with a stack: what it costs."""
    attached()
    service.stream(READY)
    service.start(program=[str(TOP / "libexec/follow")])
    service.until(lambda: service.status == "web: ready")
    assert service.process is not None
    text = Path(f"/proc/{service.process.pid}/status").read_text()
    resident = int(text.partition("VmRSS:")[2].split()[0])
    assert resident < 16 * 1024, f"{resident} KiB"
    assert service.stop() == 0
    assert service.errors == ""


# --- OCFS2 after a link that was gone ---------------------------------------------------------------------------------

O2NET_DOWN = "5,1,2,-;o2net: No longer connected to node server2 (num 2) at 10.0.0.2:7777\n"
O2NET_UP = "5,2,3,-;o2net: Connected to node server2 (num 2) at 10.0.0.2:7777\n"


@pytest.mark.parametrize(("log", "apart"), [(O2NET_DOWN, True), (O2NET_DOWN + O2NET_UP, False), ("", False)])
@pytest.mark.slow
def test_an_ocfs2_that_does_not_find_its_peer_again(service: Service, log: str, apart: bool) -> None:
    attached()
    service.box.write("/dev/kmsg", log)
    service.stream(READY.replace("role:Secondary", "role:Primary"))
    service.start(program=[*PYTHON, QUICK.replace("del sys.argv", "follow.OCFS2_LIMIT = 0.5\ndel sys.argv")])
    service.until(lambda: service.status == "web: ready")
    service.stream(GOES)
    service.until(lambda: "waiting for server2" in service.status)
    service.stream(COMES.replace("role:Secondary", "role:Primary"))
    service.until(lambda: service.status == "web: ready")
    time.sleep(1.0)
    found = [message for message in service.messages if "one of the two nodes has to be reset" in message["MESSAGE"]]
    assert len(found) == apart


@pytest.mark.slow
def test_a_resync_that_stalls_is_told(service: Service) -> None:
    attached()
    service.stream(READY)
    quick = QUICK.replace("del sys.argv", "observe.Stall.__init__.__defaults__ = (1.5,)\ndel sys.argv")
    service.start(program=[*PYTHON, quick])
    service.until(lambda: service.status == "web: ready")
    proc = (
        " 0: cs:SyncSource ro:Primary/Primary ds:UpToDate/Inconsistent C r-----\n"
        "    ns:0 nr:0 dw:0 dr:0 al:0 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:{}\n"
        "\t[=>..................] sync'ed: 12.1% (123/140)M\n\tfinish: 0:00:41 speed: 3,012 (3,012) K/sec\n"
    )
    service.box.write("/proc/drbd", proc.format(40960))
    service.stream("change peer-device name:r0 peer-node-id:0 volume:0 replication:SyncSource out-of-sync:40960\n")
    service.until(lambda: service.texts == ["web: resync to server2 has begun, 40 MiB"])
    service.until(lambda: "12 %" in service.status)
    service.until(lambda: "drbdocfs_out_of_sync_bytes" in service.metrics and " 41943040\n" in service.metrics)
    time.sleep(1.6)
    service.wake()
    service.until(lambda: "web: resync to server2 makes no progress at 12.1 %, for 0:01" in service.texts)
    service.until(lambda: service.status.endswith(", no progress"))
    service.box.write("/proc/drbd", proc.format(20480))
    service.wake()
    service.until(lambda: "web: resync to server2 goes on again at 12.1 %" in service.texts)
