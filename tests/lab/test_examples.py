"""The examples of the manual pages, run as they stand there, on a pair whose stack is up.

How each has to end stands in the page's source: a comment `exits: N` before it, else 0; `not in the lab: REASON` skips
it, for what is no command, what has a test of its own, or what asks at a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import manpage

from . import fencing, snapshot, stack
from .image import Image
from .lab import Lab, say
from .node import Node
from .provision import provisioned
from .situations import TARGET, UP_LIMIT, know_each_other

pytestmark = pytest.mark.lab

EXAMPLES = {path.name: manpage.examples(path) for path in sorted(manpage.PAGES.glob("*.[1-8]"))}
# What takes the stack down, so that it has to be seen to be up again afterwards; these run last.
DISRUPTS = re.compile(r"\bdrbdocfs (?:stop|restart)\b|\bsystemctl (?:stop|restart)\b")
# Commands that show something until they are told to end. An end by SIGINT after this many seconds is theirs.
ENDLESS = re.compile(r" --(?:watch|follow)\b")
ENDLESS_SECONDS = 5
LIMIT = 180.0


@pytest.fixture(scope="module")
def pair(image: Image, deb: Path) -> Iterator[Lab]:
    """The guide's set-up with the package and fencing, the stack up on both, each node's root known to the other."""
    with Lab(image, provisioned(image)) as lab:
        snapshot.resume(lab)
        lab.both(lambda node: node.install(deb))
        know_each_other(lab)
        fencing.set_policy(lab, "server1")
        lab.both(lambda node: node.run("systemctl start drbdocfs.target", timeout=300))
        stack.check_up(lab)
        yield lab


def ensure_up(node: Node) -> None:
    """The stack is up, started again where the example before has stopped it."""
    node.run(f"systemctl start {TARGET}", timeout=UP_LIMIT + 60)
    assert stack.is_mounted(node)


def run(node: Node, example: manpage.Example) -> None:
    """Run one example; fails with its output where it does not end as its page says."""
    command = example.command
    if ENDLESS.search(command):
        command = f"timeout --signal=INT --preserve-status {ENDLESS_SECONDS} {command}"
    result = node.execute(f"export PAGER=cat; {command} </dev/null", timeout=LIMIT)
    where = f"{example.page}:{example.line}: {example.command}"
    if result.status != example.exits or "Traceback" in result.out + result.err:
        # Not an assert: pytest would show the command and its output three times.
        raise AssertionError(
            f"{where}\nended with {result.status}, expected {example.exits}\n{result.out[-1000:]}{result.err[-1000:]}"
        )


def test_no_page_is_without_examples_and_few_are_not_run() -> None:
    for page, found in EXAMPLES.items():
        assert found, f"{page}: no .EX block in EXAMPLES"
    # Those that need a third machine are in test_reboot_test.py.
    commands = [
        one
        for found in EXAMPLES.values()
        for one in found
        if not one.skipped.endswith(("no commands", "test_reboot_test.py has one"))
    ]
    skipped = [one for one in commands if one.skipped]
    assert len(skipped) <= 0.25 * len(commands), "\n".join(f"{one.page}:{one.line}: {one.skipped}" for one in skipped)


@pytest.mark.parametrize("disrupts", [False, True], ids=["looking", "disrupting"])
def test_every_example_ends_as_its_page_says(pair: Lab, disrupts: bool) -> None:
    node = pair.nodes[0]
    chosen = [
        one
        for found in EXAMPLES.values()
        for one in found
        if not one.skipped and bool(DISRUPTS.search(one.command)) is disrupts
    ]
    assert chosen or disrupts
    wrong = []
    # What stands in several pages is run once.
    for one in {(one.command, one.exits): one for one in chosen}.values():
        say(f"{one.page}: {one.command}")
        try:
            run(node, one)
        except AssertionError as error:
            wrong.append(str(error))
        if disrupts:
            ensure_up(node)
    assert not wrong, "\n\n".join(wrong)
    stack.check_up(pair)
