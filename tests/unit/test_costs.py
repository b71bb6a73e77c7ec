"""What the command and the helpers cost, in counts that are the same on every machine: modules, processes, files.

`make bench` has the times.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent

# Runs the command with a stand-in for systemd's answer, and tells what that has cost.
SCRIPT = """
import sys
before = set(sys.modules)
sys.path.insert(0, {top!r})
opened, started = [], []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and not arguments[0].endswith((".py", ".pyc")):
        opened.append(arguments[0])
    elif event in ("os.posix_spawn", "os.fork", "os.exec"):
        started.append(str(arguments[0]).rpartition("/")[2])
asked = sys.argv[1:]
if asked and asked[0] == "status":
    from drbdocfs_boot import systemd
    from drbdocfs_boot.systemd import UnitState
    systemd.states = lambda names: {{name: UnitState(name, "loaded", "active", "", "", "", 1) for name in names}}
from drbdocfs_boot.cli import main
sys.addaudithook(hook)
status = main(asked)
cost = dict(status=status, modules=sorted(set(sys.modules) - before), opened=opened, started=started)
print(__import__("json").dumps(cost))
"""


TOOLS = {
    "drbdsetup": 'cat "$DRBDOCFS_ROOT/events"',
    "stat": 'shift 3; for one; do echo "1 5 4 4 9 8"; done',
}


def cost(root: Path, *asked: str) -> dict[str, list[str]]:
    bin_ = root / "bin"
    bin_.mkdir(exist_ok=True)
    for name, body in TOOLS.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{body}\n")
        (bin_ / name).chmod(0o755)
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", SCRIPT.format(top=str(TOP)), *asked],
        env={"PATH": f"{bin_}:/usr/bin:/bin", "DRBDOCFS_ROOT": str(root), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"] == 0, done.stdout + done.stderr
    assert isinstance(found, dict)
    return found


def up(place: Path, stacks: int) -> Path:
    """A host on which so many stacks are up."""
    names = [str(number) for number in range(1, stacks + 1)]
    for file, text in {
        "etc/drbdocfs/drbdocfs.conf": "".join(
            f"[s{n}]\nresource = r{n}\ndevice = /dev/drbd{n}\ncluster = web\nmountpoint = /mnt/s{n}\n" for n in names
        ),
        "sys/module/drbd/version": "9.2.0\n",
        "proc/self/mountinfo": "".join(f"{n} 2 147:{n} / /mnt/s{n} rw - ocfs2 /dev/drbd{n} rw\n" for n in names),
        "events": "".join(
            f"exists resource name:r{n} role:Primary suspended:no\n"
            f"exists connection name:r{n} peer-node-id:1 conn-name:server2 connection:Connected role:Primary\n"
            f"exists device name:r{n} volume:0 minor:{n} disk:UpToDate\n"
            f"exists peer-device name:r{n} peer-node-id:1 conn-name:server2 volume:0"
            " replication:Established peer-disk:UpToDate\n"
            for n in names
        )
        + "exists -\n",
    }.items():
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_text(text)
    return place


# What costs as much as an interpreter's start, alone or with what it brings along.
DEAR = {
    "argparse", "asyncio", "configobj", "contextlib", "dataclasses", "dbus_fast", "dbus_next", "enum", "functools",
    "inspect", "json", "locale", "pathlib", "pystemd", "re", "rich", "shutil", "socket", "subprocess", "tempfile",
    "textwrap", "typing",
}  # fmt: skip


def test_the_version_needs_no_module_but_the_commands_own(tmp_path: Path) -> None:
    found = cost(tmp_path, "--version")
    assert [name for name in found["modules"] if name.startswith("drbdocfs_boot")] == [
        "drbdocfs_boot", "drbdocfs_boot.cli", "drbdocfs_boot.verbs",
    ]  # fmt: skip
    assert DEAR.isdisjoint(found["modules"])
    assert (found["opened"], found["started"]) == ([], [])


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What 'status' of one stack costs."""
    return cost(up(tmp_path_factory.mktemp("one"), 1), "status")


def test_status_imports_nothing_dear(one: dict[str, list[str]]) -> None:
    assert DEAR.isdisjoint(one["modules"])
    assert len([name for name in one["modules"] if name.startswith("drbdocfs_boot")]) <= 36


def test_status_of_many_stacks_starts_what_it_starts_for_one(one: dict[str, list[str]], tmp_path: Path) -> None:
    eight = cost(up(tmp_path, 8), "status")
    assert one["started"] == eight["started"] == ["drbdsetup", "stat"]
    assert one["modules"] == eight["modules"]
    # Its records, and what DRBD 8.4 has in files.
    assert len(eight["opened"]) - len(one["opened"]) <= 7 * 7


def test_what_needs_a_parser_needs_no_more_than_that_and_json(tmp_path: Path) -> None:
    modules = cost(up(tmp_path, 1), "status", "s1", "--json")["modules"]
    # What the parser brings itself is Python's affair: 3.14's has colours, and dataclasses for them.
    script = "import argparse, sys; argparse.ArgumentParser().parse_args(); print(*sys.modules)"
    parser = ["/usr/bin/python3", "-ISc", script]
    its_own = subprocess.run(parser, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout.split()
    heavy = {"configobj", "dataclasses", "pathlib", "pystemd", "rich", "subprocess", "typing"}
    assert (heavy - set(its_own)).isdisjoint(modules)


# What a helper needs only when something is wrong, or for one policy. 32 waits may stand side by side.
SELDOM = {
    "errno", "os", "drbdocfs_boot.drbddump", "drbdocfs_boot.messages", "drbdocfs_boot.metadata",
    "drbdocfs_boot.mistake",
    "drbdocfs_boot.tools.console", "drbdocfs_boot.tools.holders", "drbdocfs_boot.tools.journal",
    "drbdocfs_boot.tools.kmsg", "drbdocfs_boot.tools.netlink",
}  # fmt: skip


MOST = {"loop": 12, "attach": 18, "wait": 17, "promote": 18, "o2cb": 14, "holders": 14}  # modules of ours


@pytest.mark.parametrize("helper", MOST)
def test_a_helper_of_the_boot_or_the_stop_imports_nothing_dear_and_nothing_that_is_seldom_needed(helper: str) -> None:
    script = f"import sys; sys.path.insert(0, {str(TOP)!r}); from drbdocfs_boot.helpers import base, {helper}"
    python = ["/usr/bin/python3", "-I", "-S", "-c", script + "; print(*sys.modules)"]
    modules = set(subprocess.run(python, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout.split())
    assert (DEAR | SELDOM - {f"drbdocfs_boot.tools.{helper}"}).isdisjoint(modules)
    assert len([name for name in modules if name.startswith("drbdocfs_boot")]) <= MOST[helper]
