"""The O2CB layer: idempotent, and exact about a cluster that is not the one of cluster.conf."""

from __future__ import annotations

import os
import posix
import shutil
import subprocess
import threading
import time

import pytest

from drbdocfs_boot.helpers import address, broken, o2cb
from drbdocfs_boot.helpers.base import Layer
from drbdocfs_boot.tools import records
from drbdocfs_boot.tools.failure import Failure

from .conftest import Box

HOST = os.uname().nodename
CONFIGURATION = f"""cluster:
\tnode_count = 2
\tname = web

node:
\tip_port = 7777
\tip_address = 127.0.0.1
\tnumber = 1
\tname = {HOST}
\tcluster = web

node:
\tip_port = 7777
\tip_address = 10.181.76.1
\tnumber = 2
\tname = other-host
\tcluster = web
"""
CLUSTER = "/sys/kernel/config/cluster"
# What the kernel makes of it.
O2CB = rf"""
C=$ROOT{CLUSTER}
node() {{ mkdir -p $C/web/node/$1; echo $2 > $C/web/node/$1/num; echo $3 > $C/web/node/$1/ipv4_address
  echo 7777 > $C/web/node/$1/ipv4_port; echo $4 > $C/web/node/$1/local; }}
case "$1" in
register-cluster) node {HOST} 1 127.0.0.1 1; node other-host 2 10.181.76.1 0
  mkdir -p $C/web/heartbeat; echo local > $C/web/heartbeat/mode; echo 31 > $C/web/heartbeat/dead_threshold
  echo 30000 > $C/web/idle_timeout_ms ;;
unregister-cluster) rm -r $C/web ;;
esac
"""


@pytest.fixture
def cluster(box: Box) -> Box:
    box.tool("o2cb", O2CB)
    box.write("/etc/ocfs2/cluster.conf", CONFIGURATION)
    box.write("/sys/fs/ocfs2/cluster_stack", "o2cb\n")
    (box.root / CLUSTER[1:]).mkdir(parents=True)
    return box


def start() -> None:
    o2cb.start(Layer("o2cb", "web"))


def stop() -> None:
    o2cb.stop(Layer("o2cb", "web"))


def refusal(action: str = "start") -> Failure:
    with pytest.raises(Failure) as caught:
        getattr(o2cb, action)(Layer("o2cb", "web"))
    return caught.value


def test_registers_once_and_unregisters_once(cluster: Box) -> None:
    start()
    start()
    stop()
    stop()
    assert cluster.calls == ["o2cb register-cluster web", "o2cb unregister-cluster web"]


def test_half_registered_after_a_power_cut_is_completed(cluster: Box) -> None:
    cluster.write(f"{CLUSTER}/web/node/{HOST}/num", "1")
    start()
    assert cluster.calls == ["o2cb register-cluster web"]


def test_an_address_that_is_not_on_this_host(cluster: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(o2cb, "ADDRESS_LIMIT", 0.1)
    cluster.write("/etc/ocfs2/cluster.conf", CONFIGURATION.replace("127.0.0.1", "192.0.2.1"))
    failure = refusal()
    assert failure.status == 69
    assert failure.message == (
        f"the address 192.0.2.1 of node '{HOST}' in /etc/ocfs2/cluster.conf has not come to this host in 0 s"
    )
    assert cluster.calls == []


@pytest.fixture
def absent(cluster: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    """This host's address is not there, and comes when the test says so; two stacks wait for at most a second."""
    monkeypatch.setenv("DRBDOCFS_STACKS", "web/mail")
    monkeypatch.setenv("DRBDOCFS_BOOT_TIMEOUT", "1000000")
    monkeypatch.setattr(address, "present", lambda _: (cluster.root / "here").exists())
    return cluster


def comes(box: Box, seconds: float) -> None:
    threading.Timer(seconds, (box.root / "here").touch).start()


def test_it_says_what_is_missing_also_where_nothing_can_be_left_to_the_follow_service(
    absent: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records.write("web", "attach", WAITED="0.9")

    def full(*_: str, **__: str) -> None:
        raise OSError(28, "No space left on device", "/run/drbdocfs/web.cluster-address")

    monkeypatch.setattr(records, "write", full)
    failure = refusal()
    assert "has not come to this host" in failure.message
    assert failure.advice == "'ip address' shows which are there"
    assert "drbdocfs-follow.service cannot go on with it" in capsys.readouterr().out


@pytest.mark.slow
def test_it_waits_for_its_address_as_long_as_the_stacks_wait_in_all(absent: Box) -> None:
    # One of them has waited for the address already; what the other one may wait yet is more.
    records.write("web", "attach", WAITED="0.4")
    records.write("mail", "attach", WAITED="0.1")
    began = time.monotonic()
    assert refusal().message.endswith("has not come to this host in 1 s")
    assert 0.9 <= time.monotonic() - began < 1.6

    comes(absent, 0.7)
    start()
    assert absent.calls == ["o2cb register-cluster web"]


def test_what_it_has_given_up_is_left_to_the_follow_service_which_starts_each_stack(absent: Box) -> None:
    records.write("web", "attach", WAITED="0.9")  # "mail" was stopped, and stays so
    failure = refusal()
    assert failure.advice == (
        "'ip address' shows which are there; when it comes, drbdocfs-follow.service starts what waits for it"
    )
    assert records.instances("cluster-address") == ["web"]
    assert records.read("web", "cluster-address") == {"ADDRESS": "127.0.0.1"}
    # Another stack's start registers the cluster; "web" is mounted by its own.
    comes(absent, 0.0)
    start()
    assert records.instances("cluster-address") == ["web"]


def test_without_a_stack_nobody_is_told_to_start_one(absent: Box) -> None:
    assert refusal().advice == "'ip address' shows which are there"
    assert records.instances("cluster-address") == []


@pytest.mark.slow
def test_it_goes_on_while_a_stack_waits_that_has_begun_later(absent: Box) -> None:
    records.write("mail", "waiting", STATE="boot", PID=str(os.getpid()))
    comes(absent, 2.0)
    start()
    assert absent.calls == ["o2cb register-cluster web"]


@pytest.mark.parametrize("state", ["late", "boot"], ids=["late", "killed"])
@pytest.mark.slow
def test_a_stack_that_does_not_wait_any_more_is_not_waited_for(absent: Box, state: str) -> None:
    records.write("mail", "waiting", STATE=state, PID="0" if state == "late" else "999999999")
    comes(absent, 4.0)
    began = time.monotonic()
    assert "has not come to this host" in refusal().message
    assert time.monotonic() - began < 3.0


def test_another_cluster_is_online(cluster: Box) -> None:
    cluster.write(f"{CLUSTER}/mail/heartbeat/mode", "local")
    failure = refusal()
    assert (failure.status, failure.message) == (
        78,
        "the O2CB cluster 'mail' is online, and the kernel has room for one only",
    )
    assert cluster.calls == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name = web", "name = mail", "/etc/ocfs2/cluster.conf has no cluster 'web', only mail"),
        (f"name = {HOST}", "name = somebody",
         f"/etc/ocfs2/cluster.conf has no node '{HOST}' in cluster 'web', only somebody, other-host"),
        ("10.181.76.1\n", "10.181.76.9\n",
         ("cluster 'web' is not online as /etc/ocfs2/cluster.conf describes it:"
          " node other-host has ip_address 10.181.76.1 instead of 10.181.76.9")),
    ],
)  # fmt: skip
def test_cluster_conf_and_kernel_disagree(cluster: Box, old: str, new: str, message: str) -> None:
    cluster.write("/etc/ocfs2/cluster.conf", CONFIGURATION.replace(old, new))
    assert refusal().message == message


def test_a_cluster_that_is_online_with_other_addresses_is_named(cluster: Box) -> None:
    start()
    cluster.write("/etc/ocfs2/cluster.conf", CONFIGURATION.replace("10.181.76.1\n", "10.181.76.9\n"))
    assert refusal().status == 78


def test_cluster_conf_missing(cluster: Box) -> None:
    (cluster.root / "etc/ocfs2/cluster.conf").unlink()
    assert refusal().message == "/etc/ocfs2/cluster.conf cannot be read"


def test_file_system_that_the_kernel_does_not_know_is_named_before_the_mount(cluster: Box) -> None:
    """mount.ocfs2 would only end with a status; the cluster's own modules come without it."""
    cluster.write("/sys/module/ocfs2_stackglue/refcnt", "1\n")
    cluster.write("/proc/filesystems", "nodev\tsysfs\n\text4\nnodev\tocfs2_dlmfs\n")
    failure = refusal()
    assert failure.status == 69
    assert "the kernel module ocfs2 is not loaded and could not be" in failure.message
    assert "modprobe ocfs2'" in failure.advice
    cluster.write("/proc/filesystems", "nodev\tsysfs\n\text4\n\tocfs2\n")
    start()


def test_modules_missing(cluster: Box) -> None:
    shutil.rmtree(cluster.root / "sys/fs/ocfs2")
    failure = refusal()
    assert (failure.status, failure.message) == (69, "the kernel module ocfs2 is not loaded and could not be")
    shutil.rmtree(cluster.root / "sys/kernel")
    assert refusal().message == "the kernel module configfs is not loaded and could not be"


def test_another_cluster_stack(cluster: Box) -> None:
    cluster.write("/sys/fs/ocfs2/cluster_stack", "pcmk\n")
    assert refusal().message == "the OCFS2 cluster stack is 'pcmk', not 'o2cb'"


def test_tool_that_fails_is_quoted(cluster: Box) -> None:
    cluster.tool("o2cb", "echo 'o2cb: Unable to access cluster service' >&2; exit 1")
    assert refusal().message == (
        "cluster 'web' is not online as /etc/ocfs2/cluster.conf describes it: it is not registered"
        " (o2cb: o2cb: Unable to access cluster service)"
    )


def test_the_administrators_timings_are_kept(cluster: Box) -> None:
    cluster.write(
        "/etc/default/o2cb",
        'O2CB_ENABLED=true\nO2CB_HEARTBEAT_THRESHOLD="61"\nO2CB_IDLE_TIMEOUT_MS=60000 # ms\n'
        "O2CB_RECONNECT_DELAY_MS=$(reboot)\n",
    )
    start()
    assert (cluster.root / f"{CLUSTER[1:]}/web/heartbeat/dead_threshold").read_text() == "61"
    assert (cluster.root / f"{CLUSTER[1:]}/web/idle_timeout_ms").read_text() == "60000"
    assert not (cluster.root / f"{CLUSTER[1:]}/web/reconnect_delay_ms").exists()


def test_global_heartbeat_is_started_and_stopped(cluster: Box) -> None:
    cluster.tool("o2cb", O2CB.replace("echo local", "echo global"))
    start()
    stop()
    assert cluster.calls == [
        "o2cb register-cluster web",
        "o2cb start-heartbeat web",
        "o2cb stop-heartbeat web",
        "o2cb unregister-cluster web",
    ]


def test_stop_refuses_while_something_is_mounted(cluster: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    start()
    cluster.write(f"{CLUSTER}/web/heartbeat/1234ABCD/blocks", "254")
    monkeypatch.setattr(o2cb, "RELEASE_LIMIT", 0.4)
    assert refusal("stop").message == (
        "cluster web stays online: heartbeat still runs on 1234ABCD: a file system is mounted"
    )
    assert "o2cb unregister-cluster web" not in cluster.calls


def test_stop_works_with_a_cluster_conf_that_nobody_can_parse(cluster: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    start()
    cluster.tool("o2cb", "echo 'o2cb: Unknown code ____ 251 while loading cluster configuration' >&2; exit 1")
    removed = []

    def rmdir(name: str) -> None:  # configfs: attributes and the directories heartbeat and node go with their parent
        removed.append(name.partition(CLUSTER)[2])
        subprocess.run(["/bin/rm", "-r", name], check=True)

    monkeypatch.setattr(posix, "rmdir", rmdir)
    stop()
    assert sorted(removed[:2]) == sorted([f"/web/node/{HOST}", "/web/node/other-host"])
    assert removed[2:] == ["/web"]


def test_broken_says_the_words_of_the_generator(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRBDOCFS_MESSAGE", "/etc/drbdocfs/drbdocfs.conf:3: [web] device is missing")
    with pytest.raises(Failure) as caught:
        broken.start(Layer("broken", "web"))
    assert (caught.value.status, caught.value.message) == (
        78,
        "/etc/drbdocfs/drbdocfs.conf:3: [web] device is missing",
    )
