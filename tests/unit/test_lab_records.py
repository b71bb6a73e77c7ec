"""The lab's account of acknowledged records (tests/lab/records.py) finds what is lost, or written by two at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from tests.lab import records
from tests.lab.node import Node
from tests.lab.records import Records, standstill, whole_records
from tests.lab.stack import MOUNTPOINT


class Fake:
    """A node whose mount and notes are folders here; its clock is the host's."""

    def __init__(self, name: str, place: Path, mount: Path) -> None:
        self.name = name
        self.notes = place / f"notes.{name}"
        self.mount = mount

    def put_text(self, path: str, text: str, mode: int = 0o644) -> None:
        pass

    def ask(self, command: str, timeout: float = 60.0) -> str | None:
        return self.notes.read_text(encoding="utf-8")

    def run(self, command: str, timeout: float = 60.0, check: bool = True) -> str:
        name = command.partition(f"{MOUNTPOINT}/records.")[2].partition(" ")[0]
        return (self.mount / f"records.{name}").read_text(encoding="utf-8") if command.startswith("cat ") else ""

    def write(self, session: str, first: int) -> None:
        """Some records by the program that the guests run."""
        text = records._PROGRAM.replace(MOUNTPOINT, str(self.mount)).replace(records.NOTES, str(self.notes))
        # What is told apart by its time is here milliseconds apart.
        text = text.replace(f"began + {records.PERIOD}", "began + 0.01")
        command = [sys.executable, "-I", "-u", "-c", text, self.name, session, str(first)]
        with subprocess.Popen(command) as writer:
            while not self.notes.exists() or self.notes.read_text(encoding="utf-8").count("\n") < 4:
                assert writer.poll() is None
                time.sleep(0.005)
            writer.send_signal(signal.SIGKILL)


Pair = tuple[Records, Fake, Fake]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Both have written; each has a mount of its own, but what is in it is the same."""
    nodes = [Fake(f"server{number}", tmp_path, tmp_path / f"mount{number}") for number in (1, 2)]
    for node in nodes:
        node.mount.mkdir()
    account = Records([cast("Node", node) for node in nodes])
    for node in nodes:
        node.write("s0", 0)
        account.accounts[node.name].sessions["s0"] = 0.0
    for node, other in (nodes, nodes[::-1]):
        name = f"records.{node.name}"
        (other.mount / name).write_bytes((node.mount / name).read_bytes())
    return account, nodes[0], nodes[1]


def _nodes(*nodes: Fake) -> list[Node]:
    return [cast("Node", node) for node in nodes]


def test_all_is_there(pair: Pair) -> None:
    account, first, second = pair
    found = account.check(_nodes(first, second))
    assert found.good
    assert min(found.acknowledged.values()) >= 4


def test_a_record_that_one_node_lacks_is_lost(pair: Pair) -> None:
    account, first, second = pair
    path = second.mount / "records.server1"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[2:]), encoding="utf-8")
    assert account.check(_nodes(first, second)).lost == ["server2 lacks record s0/2 of server1"]
    assert account.check(_nodes(first)).good


def test_a_record_that_is_not_whole_is_lost(pair: Pair) -> None:
    account, first, second = pair
    path = first.mount / "records.server2"
    path.write_text(path.read_text(encoding="utf-8").replace(" s0 3 ", " s0 8 "), encoding="utf-8")
    assert account.check(_nodes(first, second)).lost == ["server1 lacks record s0/3 of server2"]


def test_what_was_never_acknowledged_need_not_be_there(pair: Pair) -> None:
    account, first, second = pair
    with first.notes.open("a", encoding="utf-8") as notes:
        notes.write("s0 99 1.0")  # torn by the reset
    assert account.check(_nodes(first, second)).good


def test_two_that_write_while_they_are_apart_are_found(pair: Pair) -> None:
    account, first, second = pair
    account.collect(cast("Node", first))
    account.collect(cast("Node", second))
    begin = account.accounts["server1"].acks[0].began - records.LEEWAY - 1
    end = account.accounts["server2"].acks[-1].done + 1
    assert account.check(_nodes(first, second), [(begin, end)]).both
    only_second = account.accounts["server1"].acks[-1].done - records.LEEWAY
    assert not account.check(_nodes(first, second), [(only_second, end)]).both


def test_the_longest_standstill_is_within_one_session() -> None:
    times = [("a", 1.0), ("a", 2.0), ("a", 70.0), ("b", 500.0), ("b", 501.0)]
    assert standstill([records.Ack(session, 1, at, at) for session, at in times]) == 68.0
    assert standstill([]) == 0.0


def test_whole_records_reads_nothing_from_rubbish() -> None:
    assert whole_records("\0\0\0\nserver1 s0 1 1.0 1.0 .. 00000000\n\n") == set()
