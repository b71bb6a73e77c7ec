"""`drbdocfs reboot-test` from the lab's host, as the third machine, on two nodes that are up.

The nodes' names for ssh are not their own names, as it happens.  The power switch is a command that leaves a word in a
folder, where the lab finds it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from . import snapshot, stack
from .image import Image
from .lab import Lab, say
from .node import Node
from .provision import provisioned

pytestmark = pytest.mark.lab

TOP = Path(__file__).parent.parent.parent
NAMES = ("first", "second")  # for ssh; the nodes call themselves server1 and server2
LIMIT = 1500.0  # a cycle takes five minutes where a boot takes two
PLANTED = "planted.service"
# --unhealthy: the lab's pair has no fencing, which check calls an error.
COMMON = ("--yes", "--unhealthy", "--nodes", ",".join(NAMES), "--boot-limit", "240")


class PowerCommand:
    """Takes the words that the commands leave, and cuts or gives power."""

    def __init__(self, folder: Path, nodes: tuple[Node, ...]) -> None:
        self.folder = folder
        self.log: list[str] = []
        self._nodes = {node.name: node for node in nodes}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        folder.mkdir()
        self._thread.start()

    def command(self, what: str) -> str:
        """For --power-off and --power-on; ends once it is done."""
        word = f"{shlex.quote(str(self.folder))}/{what}."
        return f"touch {word}{{node}}; while [ -e {word}\"$DRBDOCFS_NODE\" ]; do sleep 0.1; done"

    def _serve(self) -> None:
        while not self._ended.wait(0.1):
            for word in self.folder.iterdir():
                what, _, name = word.name.partition(".")
                if what == "off":
                    self._nodes[name].power_cut()
                else:
                    self._nodes[name].start()
                    write_config(self.folder.parent / "ssh_config", tuple(self._nodes.values()))
                self.log.append(word.name)
                word.unlink()

    def close(self) -> None:
        """No node is switched any more."""
        self._ended.set()
        self._thread.join()


def write_config(path: Path, nodes: tuple[Node, ...]) -> None:
    """How ssh reaches the nodes; the port is another one after each power-on."""
    text = ""
    for name, node in zip(NAMES, nodes):
        words = shlex.split(node.ssh_command)
        options = dict(zip(words, words[1:]))
        text += f"Host {name}\n HostName 127.0.0.1\n Port {options['-p']}\n IdentityFile {options['-i']}\n"
        for word, option in zip(words, words[1:]):
            if word == "-o" and not option.startswith("ConnectTimeout"):
                key, _, value = option.partition("=")
                text += f" {key} {value}\n"
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.fixture(scope="class")
def pair(image: Image, deb: Path) -> Iterator[Lab]:
    with Lab(image, provisioned(image)) as lab:
        snapshot.resume(lab)
        lab.both(lambda node: node.install(deb))
        lab.both(lambda node: node.run("mkdir -p /var/log/journal; systemctl start drbdocfs.target", timeout=300))
        stack.check_up(lab)
        yield lab


@pytest.fixture
def config(pair: Lab, tmp_path: Path) -> Path:
    path = tmp_path / "ssh_config"
    write_config(path, pair.nodes)
    return path


def begin(config: Path, *words: str) -> subprocess.Popen[str]:
    """Start the command; its lines come on standard output."""
    argv = [sys.executable, "-m", "drbdocfs_boot", "reboot-test", *words]
    if "--resume" not in words:
        argv += [*COMMON, "--ssh-config", str(config)]
    say(shlex.join(argv[2:]))
    environment = {**os.environ, "PYTHONPATH": str(TOP), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def follow(process: subprocess.Popen[str], until: str = "") -> str:
    """Its output, until a line has these words, or to its end."""
    timer = threading.Timer(LIMIT, process.kill)
    timer.start()
    text = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            say(line.rstrip())
            text += line
            if until and re.search(until, line):
                return text
        process.wait()
        return text
    finally:
        timer.cancel()


def results(folder: Path) -> dict[str, Any]:
    """The three files are there, and agree."""
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    ET.parse(folder / "junit.xml")
    assert "</html>" in (folder / "report.html").read_text()
    return found


def check_nothing_left(pair: Lab) -> None:
    for node in pair.nodes:
        assert "drbdocfs-reboot-test" not in node.run(f"ls -A {stack.MOUNTPOINT}"), node.name
        assert node.run("pgrep -f [d]ata-check || true").strip() == "", node.name


class TestOnAPair:
    def test_the_nodes_in_turn_come_back_in_order(self, pair: Lab, config: Path, tmp_path: Path) -> None:
        boots = {node.name: node.boot_id() for node in pair.nodes}
        process = begin(config, "--cycles", "2", "--pattern", "alternate", "--to", str(tmp_path / "results"))
        text = follow(process)
        found = results(tmp_path / "results")
        assert process.returncode == 0, text
        assert found["good"]
        assert [[boot["node"] for boot in cycle["boots"]] for cycle in found["cycles"]] == [["server1"], ["server2"]]
        for cycle in found["cycles"]:
            (boot,) = cycle["boots"]
            assert 0 < boot["down"] < boot["answered"] <= boot["up"], boot
            assert boot["mounted"] > 0
            assert {"attach", "promote", "mount"} <= {layer["name"] for layer in boot["layers"]}
            assert cycle["acknowledged"] > 0
        assert all(node.boot_id() != boots[node.name] for node in pair.nodes)
        check_nothing_left(pair)

    def test_power_is_cut_by_the_commands(self, pair: Lab, config: Path, tmp_path: Path) -> None:
        switch = PowerCommand(tmp_path / "switch", pair.nodes)
        try:
            process = begin(
                config, "--cycles", "1", "--pattern", "power", "--to", str(tmp_path / "results"),
                "--power-off", switch.command("off"), "--power-on", switch.command("on"),
            )  # fmt: skip
            text = follow(process)
        finally:
            switch.close()
        found = results(tmp_path / "results")
        assert process.returncode == 0, text
        assert switch.log == ["off.server1", "on.server1"]
        assert found["good"]
        check_nothing_left(pair)

    @pytest.mark.long
    def test_a_unit_that_fails_is_named_and_an_interrupted_run_goes_on(
        self, pair: Lab, config: Path, tmp_path: Path
    ) -> None:
        pair.nodes[1].put_text(
            f"/etc/systemd/system/{PLANTED}",
            "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo planted words; exit 3'\n"
            "[Install]\nWantedBy=multi-user.target\n",
        )
        pair.nodes[1].run(f"systemctl enable {PLANTED}")
        process = begin(config, "--cycles", "1", "--pattern", "both", "--to", str(tmp_path / "results"))
        text = follow(process, "is gone after")
        process.send_signal(signal.SIGINT)
        text += follow(process)
        assert process.returncode == 130, text
        interrupted = results(tmp_path / "results")
        assert (interrupted["ended"], interrupted["cycles"]) == ("interrupted", [])
        began = time.monotonic()
        process = begin(config, "--resume", str(tmp_path / "results"), "--yes")
        text = follow(process)
        say(f"resumed: {time.monotonic() - began:.0f} s")
        found = results(tmp_path / "results")
        assert process.returncode == 1, text
        (cycle,) = found["cycles"]
        (finding,) = cycle["findings"]
        assert (finding["node"], finding["kind"]) == ("server2", "failed-unit")
        assert PLANTED in finding["text"]
        assert "planted words" in finding["journal"]
        check_nothing_left(pair)
