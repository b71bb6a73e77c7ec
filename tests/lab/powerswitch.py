"""A power switch that the guests can call, as a rack's power distribution unit: it really cuts the power of a node."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .doors import Door, Keeper
from .node import Node

ADDRESS = "10.0.2.100"
PORT = 623
AGENT = "/usr/sbin/fence_lab"  # where the fence agents of the distributions are

# How a plug (a node's name) can be out of order; "" is in order.
FAIL = "fail"  # an error, always
HANG = "hang"  # takes the question and never answers
LIE = "lie"  # says done and does nothing; its status is true
SLOW = "slow"  # answers, SLOW_SECONDS later
SLOW_SECONDS = 8.0

# The interface of the fence-agents: options on standard input, exit status 0, 1 for an error, 2 for "off".
AGENT_TEXT = r"""#!/bin/bash
# fence_lab: a fence agent for the power switch of the lab.
action=reboot plug='' ip='' port=623
while IFS='=' read -r key value; do
    case $key in
        action) action=$value ;;
        plug) plug=$value ;;
        ip) ip=$value ;;
        ipport) port=$value ;;
    esac
done
case $action in
    metadata)
        printf '<?xml version="1.0" ?>\n<resource-agent name="fence_lab" shortdesc="The lab'\''s power switch">\n'
        printf '<parameters><parameter name="plug"/><parameter name="ip"/><parameter name="ipport"/></parameters>\n'
        printf '<actions><action name="on"/><action name="off"/><action name="reboot"/><action name="status"/>'
        printf '<action name="monitor"/><action name="metadata"/></actions>\n</resource-agent>\n'
        exit 0
        ;;
    on | off | reboot | status | monitor) ;;
    *)
        echo "fence_lab: no such action: $action" >&2
        exit 1
        ;;
esac
exec 3<>"/dev/tcp/$ip/$port" || exit 1
printf '%s %s\n' "$action" "$plug" >&3
read -r answer <&3 || answer='error: the switch hung up'
case $answer in
    on | done) exit 0 ;;
    off) exit 2 ;;
esac
echo "fence_lab: $answer" >&2
exit 1
"""


@dataclass(frozen=True)
class Asked:
    """One question to the switch: when (time.monotonic()), by whom, what, about which node, and what it said."""

    at: float
    by: str
    action: str
    plug: str
    answer: str


class PowerSwitch:
    """One for all nodes; a plug is named after the node that hangs on it."""

    def __init__(self) -> None:
        self.modes: dict[str, str] = {}
        self.log: list[Asked] = []
        self._nodes: dict[str, Node] = {}
        self._keepers: list[Keeper] = []
        self._acting = threading.Lock()
        self._closed = threading.Event()

    def door(self, number: int, folder: Path) -> Door:
        """A node's way to the switch."""
        door = Door(ADDRESS, PORT, folder / f"power{number}")
        self._keepers.append(Keeper(door, lambda guest: self._serve(f"server{number}", guest)))
        return door

    def plug_in(self, nodes: Sequence[Node]) -> None:
        """The nodes that it switches."""
        self._nodes = {node.name: node for node in nodes}

    def offs(self) -> list[Asked]:
        """What has really cut a node's power."""
        return [asked for asked in self.log if asked.action in ("off", "reboot") and asked.answer == "done, was on"]

    def close(self) -> None:
        """No node is switched on or off by a guest any more."""
        self._closed.set()
        with self._acting:
            pass
        for keeper in self._keepers:
            keeper.close()

    def _serve(self, by: str, guest: socket.socket) -> None:
        with guest.makefile("r", encoding="utf-8", errors="replace") as lines:
            action, _, plug = lines.readline().strip().partition(" ")
        at = time.monotonic()
        answer = self._answer(action, plug)
        self.log.append(Asked(at, by, action, plug, answer))
        if answer == HANG:
            self._closed.wait()
        guest.sendall(answer.partition(",")[0].encode() + b"\n")

    def _answer(self, action: str, plug: str) -> str:
        mode = self.modes.get(plug, "")
        node = self._nodes.get(plug)
        if mode == HANG:
            return HANG
        if mode == SLOW:
            self._closed.wait(SLOW_SECONDS)
        if node is None and action != "monitor":
            return f"error: no plug {plug!r}"
        if mode == FAIL:
            return "error: out of order"
        if action == "monitor":
            return "done"
        assert node is not None
        with self._acting:
            if self._closed.is_set():
                return "error: switched off itself"
            was = node.running
            if action == "status":
                return "on" if was else "off"
            if mode == LIE:
                return "done"
            if action in ("off", "reboot"):
                node.power_cut()
            if action in ("on", "reboot") and not node.running:
                node.start()
        return f"done, was {'on' if was else 'off'}"


def install_agent(node: Node) -> None:
    """Put the switch's fence agent into a node."""
    node.put_text(AGENT, AGENT_TEXT, 0o755)
