"""What is compared with the other host, which a stand-in for ssh plays with a tree of its own."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from drbdocfs_boot.checks import peer
from drbdocfs_boot.checks.facts import Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Finding

from .conftest import Box
from .test_check_areas import CLUSTER, DRBD, GLOBAL, GOOD, O2CB, OURS, plant

# Prints what the script of peer.py would, from the tree peer/ beside the root.
SSH = r"""
[ ! -e $ROOT/down ] || { echo 'ssh: connect to host: No route to host' >&2; exit 255; }
mark=$(printf '%s' "$*" | grep -o '==[0-9a-f]\{32\}' | head -n 1)
cd $ROOT/../peer || exit 1
echo "$mark clock $(cat CLOCK 2>/dev/null || date +%s.%N)"
echo "$mark name $(cat NAME)"
echo "$mark kernel $(cat KERNEL)"
echo "$mark driver $(cat sys/module/drbd/version)"
for name in $(find etc -type f | sort); do echo; echo "$mark file /$name"; cat $name; done
if [ -e HIDDEN ]; then echo; echo "$mark hidden $(cat HIDDEN)"; fi
"""


@pytest.fixture
def other(box: Box) -> Box:
    """This host is server1; ``write`` with a path below /../peer writes on server2."""
    plant(box, GOOD)
    box.write("/proc/sys/kernel/osrelease", "6.1.0\n")
    plant(box, {f"/../peer{name}": text for name, text in GOOD.items()})
    box.write("/../peer/NAME", "server2\n")
    box.write("/../peer/KERNEL", "6.1.0\n")
    box.tool("ssh", SSH)
    return box


def ask(destination: str = "", live: bool = False) -> list[Finding]:
    facts = Facts(live, "server1")
    return list(peer.find(facts, list(facts.reading.stacks), destination))


def test_two_that_agree(other: Box) -> None:
    assert ask(live=True) == []
    assert len([line for line in other.calls if line.startswith("ssh ")]) == 1
    assert "-- root@server2 sh -c" in other.log.read_text()


def test_what_says_the_same_is_the_same(other: Box) -> None:
    """Other words, another order, another file, comments: no difference."""
    text = GOOD[DRBD].replace("allow-two-primaries yes", "allow-two-primaries").replace("ipv4 ", "")
    text = text.replace("\t\tprotocol C;\n", "").replace("device /dev/drbd0 minor 0;", "device minor 0; # first")
    other.write("/../peer" + DRBD, text)
    other.write("/../peer" + GLOBAL, "common { net { protocol C; } }\nglobal { usage-count no; }\n")
    stanzas = GOOD[CLUSTER].split("\n\n")
    other.write("/../peer" + CLUSTER, "# ours\n" + "\n\n".join(reversed(stanzas)))
    other.write("/../peer" + O2CB, "O2CB_HEARTBEAT_THRESHOLD=31\n")
    other.write("/../peer" + OURS, GOOD[OURS].replace(" = ", "=").replace("/mnt/storage", "'/mnt/storage/'"))
    assert ask() == []


DISK = "disk /dev/loop7;\n\t\tmeta-disk internal;\n\t}\n\ton"  # of server1
DIFFERENCES = [
    ("peer-name", ERROR, "/NAME", "server2", "node2", "root@server2"),
    ("peer-name", ERROR, "/NAME", "server2", "server1", "root@server2"),
    ("peer-kernel", NOTE, "/KERNEL", "6.1.0", "6.12.0", "root@server2"),
    ("peer-driver", WARNING, "/sys/module/drbd/version", "8.4.11", "9.2.4", "root@server2"),
    ("peer-driver", NOTE, "/sys/module/drbd/version", "8.4.11", "8.4.10", "root@server2"),
    ("peer-resource", ERROR, DRBD, "protocol C", "protocol A", f"{DRBD}:3"),
    ("peer-resource", ERROR, DRBD, "s3cret", "0ther", f"{DRBD}:6"),
    ("peer-resource", ERROR, DRBD, "\t\tafter-sb-1pri consensus;\n", "", f"{DRBD}:8"),
    ("peer-resource", ERROR, DRBD, "10.181.76.11:7789", "10.181.76.11:7790", f"{DRBD}:24"),
    ("peer-resource", ERROR, DRBD, "resource-and-stonith", "resource-only", f"{DRBD}:12"),
    ("peer-resource", WARNING, DRBD, "protocol C;", "protocol C; ping-int 5;", "/etc/drbd.d/r0.res:3"),
    ("peer-fencing", ERROR, DRBD, "drbdocfs-boot/fence-peer", "other/fence-peer", f"{DRBD}:15"),
    ("peer-fencing", ERROR, DRBD, '\t\tfence-peer "/usr/libexec/drbdocfs-boot/fence-peer";\n', "", f"{DRBD}:15"),
    ("peer-fencing", ERROR, OURS, "survivor = server1", "survivor = server2", f"{OURS}:8"),
    ("peer-fencing", ERROR, OURS, "survivor = server1\n", "", f"{OURS}:8"),
    ("peer-fencing", ERROR, OURS, "server1\n", "server1\nlink_grace = 5s\n", f"{OURS}:1"),
    ("peer-fencing", ERROR, OURS, "server1\n", "server1\nwitness = user@third\n", f"{OURS}:1"),
    ("peer-fencing", ERROR, OURS, "server1\n", "server1\nfence_agent = fence_ipmilan\n", f"{OURS}:1"),
    ("peer-configuration", WARNING, OURS, "server1\n", "server1\nfence_options = /etc/f.conf\n", f"{OURS}:1"),
    ("peer-resource", NOTE, DRBD, DISK, DISK.replace("loop7", "sdb"), f"{DRBD}:20"),
    ("peer-resource-missing", ERROR, DRBD, "resource r0", "resource r1", "root@server2"),
    ("peer-cluster-conf", ERROR, CLUSTER, "number = 1", "number = 2", f"{CLUSTER}:15"),
    ("peer-cluster-conf", ERROR, CLUSTER, "10.181.76.10", "10.181.76.12", f"{CLUSTER}:7"),
    ("peer-cluster-conf", ERROR, CLUSTER, "", None, "root@server2"),
    ("peer-o2cb-timing", ERROR, O2CB, "BOOTCLUSTER=ocfs2", "IDLE_TIMEOUT_MS=10000", O2CB),
    ("peer-configuration", ERROR, OURS, "cluster = web", "cluster = wbe", f"{OURS}:1"),
    ("peer-configuration", WARNING, OURS, "/mnt/storage", "/srv/storage", f"{OURS}:1"),
    ("peer-configuration", WARNING, OURS, "/storage", "/storage\nmount_options = noatime", f"{OURS}:1"),
    ("peer-no-stack", WARNING, OURS, "[web]", "[mail]", f"{OURS}:1"),
    ("peer-no-stack", WARNING, OURS, "", None, f"{OURS}:1"),
    ("peer-clock", WARNING, "/CLOCK", "", "4102444800.5\n", "root@server2"),
    ("peer-clock", WARNING, "/CLOCK", "", "1000000000.5\n", "root@server2"),
    ("peer-hidden", NOTE, "/HIDDEN", "", "/etc/drbd.d/secret.res\n", "root@server2"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "severity", "file", "old", "new", "where"), DIFFERENCES)
def test_a_difference(other: Box, code: str, severity: str, file: str, old: str, new: str | None, where: str) -> None:
    path = other.root.parent / "peer" / file.lstrip("/")
    if new is None:
        path.unlink()
    elif old:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    else:
        path.write_text(new)
    found = ask(live=True)
    assert [(f.code, f.severity, f.where) for f in found] == [(code, severity, where)]
    assert "s3cret" not in str(found)
    assert "0ther" not in str(found)


def test_every_code_is_seen(other: Box) -> None:
    seen = {case[0] for case in DIFFERENCES} | {"peer-unreachable", "peer-unknown"}
    assert seen == set(peer.BOOK.rules)


def test_not_reachable(other: Box) -> None:
    """By its name first, then by its address, once each; the words are those of the name."""
    other.write("/down", "")
    found = ask()
    assert [(f.code, f.where) for f in found] == [("peer-unreachable", "root@server2")]
    assert "No route to host" in found[0].message
    assert "-- root@server2 " in other.log.read_text()
    assert "-- root@10.181.76.11 " in other.log.read_text()


def test_a_destination_of_one_s_own(other: Box) -> None:
    other.write("/down", "")
    assert [f.where for f in ask("admin@elsewhere")] == ["admin@elsewhere"]
    assert "root@" not in other.log.read_text()


def test_an_answer_of_something_else(other: Box) -> None:
    other.tool("ssh", "echo 'This account is closed.'")
    found = ask()
    assert [f.code for f in found] == ["peer-unreachable"]
    assert "This account is closed." in found[0].message


def test_nobody_to_ask(other: Box) -> None:
    other.write(DRBD, GOOD[DRBD].replace("on server1", "on node1"))
    assert [f.code for f in ask()] == ["peer-unknown"]
    assert {f.code for f in ask("somewhere")} == {"peer-resource"}


def test_the_script_itself() -> None:
    """In a real shell: names, clock, a file without a line end, a file that is not there, a file full of marks."""
    before = time.time()
    done = subprocess.run(
        ["sh", "-c", peer._SCRIPT, "sh", "==mark", __file__, "/nonexistent", "/etc"],
        capture_output=True,
        text=True,
        check=True,
    )
    answer = peer.parse(done.stdout, "==mark")
    assert answer.name == os.uname().nodename
    assert answer.kernel == os.uname().release
    assert before - 1 <= answer.clock <= time.time() + 1
    with open(__file__) as file:
        assert answer.files[__file__].rstrip("\n") == file.read().rstrip("\n")
    assert "/nonexistent" not in answer.files
    assert "/etc" not in answer.files
