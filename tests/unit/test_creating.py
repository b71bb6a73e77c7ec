"""Day one: the texts, as the real drbdadm takes them for both drivers, and what a description may be."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drbdocfs_boot import clusterconf, config, creating, drbdconf, drbddump
from drbdocfs_boot.creating import Description, Finding, Host, Wrong

HANDLERS = '\thandlers {\n\t\tfence-peer "/usr/libexec/drbdocfs-boot/fence-peer";\n\t}\n'
DRIVERS = {8: "8.4.11", 9: "9.2.0"}
HOSTS = (
    Host("server2", "10.181.76.2", "10.181.76.2", "/dev/loop7"),
    Host("server1", "10.181.76.1", "10.181.76.1", "/dev/loop7"),
)


def description(**changes: Any) -> Description:
    given: dict[str, Any] = {
        "stack": "web", "resource": "r0", "device": "/dev/drbd0", "cluster": "web", "mountpoint": "/mnt/storage/",
        "mount_options": "noatime", "port": 7789, "size": creating.size("100M"), "backing_file": "/drbd-loop.img",
        "loop_device": "/dev/loop7", "slots": 2, "first": "server1", "hosts": HOSTS,
        "secret": "5ec4e7", "hmac": "sha256",
        "uuid": "178BDC83D50241EF94EB474A677D498B",
    }  # fmt: skip
    return creating.checked(Description(**{**given, **changes}))


def on_disks(**changes: Any) -> Description:
    hosts = tuple(replace(host, disk="/dev/vdb") for host in HOSTS)
    return description(**{"size": 0, "backing_file": "", "loop_device": "", "hosts": hosts, **changes})


RESOURCE_84 = """\
# Written by drbdocfs create for the stack web. It holds a shared secret: mode 600.
resource r0 {
\tnet {
\t\tprotocol C;
\t\tallow-two-primaries yes;
\t\tcram-hmac-alg sha256;
\t\tshared-secret "5ec4e7";
\t\tafter-sb-0pri discard-zero-changes;
\t\tafter-sb-1pri consensus;
\t\tafter-sb-2pri disconnect;
\t}
\ton server1 {
\t\tdevice /dev/drbd0 minor 0;
\t\tdisk /dev/loop7;
\t\tmeta-disk internal;
\t\taddress ipv4 10.181.76.1:7789;
\t}
\ton server2 {
\t\tdevice /dev/drbd0 minor 0;
\t\tdisk /dev/loop7;
\t\tmeta-disk internal;
\t\taddress ipv4 10.181.76.2:7789;
\t}
}
"""
# What drbdadm makes of it, with the resource up and with the metadata to be made.
ADJUST = {
    8: """\
drbdsetup-84 new-resource r0
drbdsetup-84 new-minor r0 0 0
drbdmeta 0 v08 /dev/loop7 internal apply-al
drbdsetup-84 attach 0 /dev/loop7 /dev/loop7 internal
drbdsetup-84 connect r0 ipv4:10.181.76.2:7789 ipv4:10.181.76.1:7789 --protocol=C --allow-two-primaries=yes \
--cram-hmac-alg=sha256 --shared-secret=5ec4e7 --after-sb-0pri=discard-zero-changes --after-sb-1pri=consensus \
--after-sb-2pri=disconnect
""",
    9: """\
drbdsetup new-resource r0 1 --auto-promote=no
drbdsetup new-minor r0 0 0
drbdsetup new-peer r0 0 --_name=server1 --after-sb-2pri=disconnect --after-sb-1pri=consensus \
--after-sb-0pri=discard-zero-changes --shared-secret=5ec4e7 --cram-hmac-alg=sha256 --allow-two-primaries=yes \
--protocol=C
drbdsetup new-path r0 0 ipv4:10.181.76.2:7789 ipv4:10.181.76.1:7789
drbdmeta 0 v09 /dev/loop7 internal apply-al
drbdsetup attach 0 /dev/loop7 /dev/loop7 internal
drbdsetup connect r0 0
""",
}
CREATE_MD = {8: "drbdmeta 0 v08 /dev/loop7 internal create-md\n", 9: "drbdmeta 0 v09 /dev/loop7 internal create-md 1\n"}


def test_the_resource_of_8_4_to_the_letter() -> None:
    assert creating.resource_text(description(), 8) == RESOURCE_84


FENCED_84 = RESOURCE_84.replace("\tnet {\n", "\tdisk {\n\t\tfencing resource-and-stonith;\n\t}\n\tnet {\n").replace(
    "disconnect;\n\t}\n",
    "disconnect;\n\t\tping-int 3;\n\t\tconnect-int 3;\n\t\ttimeout 25;\n\t\tping-timeout 15;\n\t\tko-count 14;\n\t}\n"
    + HANDLERS,
)
# What drbdadm hands on of it: with 8.4 to the disk, with 9 to the connection.
FENCED = {
    8: ("attach 0 /dev/loop7 /dev/loop7 internal --fencing=resource-and-stonith\n", "connect r0"),
    9: ("drbdsetup attach 0 /dev/loop7 /dev/loop7 internal\n", "new-peer r0 0 --_name=server1 --fencing=resource-and-"),
}


@pytest.mark.parametrize("survivor", ["none", "server2"])
def test_the_fenced_resource_of_8_4_to_the_letter(survivor: str) -> None:
    assert creating.resource_text(description(survivor=survivor), 8) == FENCED_84


@pytest.mark.parametrize("driver", DRIVERS)
def test_drbdadm_takes_fencing_where_the_driver_wants_it(driver: int, tmp_path: Path) -> None:
    d = description(survivor="none")
    text = drbdadm(tmp_path, d, driver, "adjust", "r0")
    disk, connection = FENCED[driver]
    assert disk in text
    (line,) = (line for line in text.splitlines() if connection in line and "new-path" not in line)
    for option in ("--ping-timeout=15", "--timeout=25", "--connect-int=3", "--ping-int=3", "--ko-count=14"):
        assert option in line.split()
    assert text.count("fencing") == 1
    dump = drbdadm(tmp_path, d, driver, "dump", "r0")
    assert re.search(r'fence-peer\s+"?/usr/libexec/drbdocfs-boot/fence-peer"?;', dump)


def tiebroken(**changes: Any) -> Description:
    return description(**{"survivor": "none", "tiebreaker": "server3=10.181.76.3:7790", **changes})


def test_the_documentation_s_tiebreaker_is_what_drbdadm_takes(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/fencing.md").read_text().partition("## DRBD 9: quorum")[2]
    block = text.partition("    resource r0 {\n")[2].partition("\n    }\n")[0]
    file = tmp_path / "documented.conf"
    file.write_text("resource r0 {\n" + block + "\n}\n")
    hosts = {"server1": "10.181.76.10", "server2": "10.181.76.11", "HOST3": "10.181.76.12"}
    for host, address in hosts.items():
        done = subprocess.run(
            ["drbdadm", "-c", str(file), "-d", "adjust", "r0"],
            env={**os.environ, "__DRBD_NODE__": host, "DRBD_DRIVER_VERSION_OVERRIDE": DRIVERS[9]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0
        # It ends with 0 when it asks for 'connection' sections, too.
        assert done.stderr.split() == f"found __DRBD_NODE__ in environment PRETENDING that I am >>{host}<<".split()
        assert "--quorum=majority --on-no-quorum=suspend-io" in done.stdout
        lines = done.stdout.splitlines()
        for number, (peer, there) in enumerate(hosts.items()):
            found = [line for line in lines if f"new-peer r0 {number} --_name={peer} " in line]
            assert len(found) == (peer != host)
            for line in found:
                fencing = "dont-care" if "HOST3" in (host, peer) else "resource-and-stonith"
                assert f"--fencing={fencing}" in line.split()
                assert f"drbdsetup new-path r0 {number} ipv4:{address}:7789 ipv4:{there}:7789" in lines


def test_drbdadm_takes_a_tiebreaker_without_a_disk(tmp_path: Path) -> None:
    text = drbdadm(tmp_path, tiebroken(), 9, "adjust", "r0")
    lines = text.splitlines()
    assert "drbdsetup new-resource r0 1 --auto-promote=no --quorum=majority --on-no-quorum=suspend-io" in lines
    (peer,) = (line for line in lines if "new-peer r0 0 --_name=server1 " in line)
    (third,) = (line for line in lines if "new-peer r0 2 --_name=server3 " in line)
    # A tiebreaker that goes must freeze nobody.
    assert "--fencing=resource-and-stonith" in peer.split()
    assert "--fencing=dont-care" in third.split()
    assert "drbdsetup new-path r0 2 ipv4:10.181.76.2:7789 ipv4:10.181.76.3:7790" in lines
    assert "drbdsetup peer-device-options r0 2 0 --set-defaults --bitmap=no" in lines
    # Room for the bitmap of one peer: the third host has no data.
    assert drbdadm(tmp_path, tiebroken(), 9, "create-md", "r0") == CREATE_MD[9]


def test_the_tiebreaker_s_own_part(tmp_path: Path) -> None:
    text = drbdadm(tmp_path, tiebroken(), 9, "adjust", "r0", host="server3")
    assert "drbdsetup new-minor r0 0 0 --diskless" in text
    assert "attach" not in text
    for number, name in enumerate(("server1", "server2")):
        assert f"new-peer r0 {number} --_name={name} " in text
        assert f"new-path r0 {number} ipv4:10.181.76.3:7790 ipv4:10.181.76.{number + 1}:7789" in text


def test_what_drbdadm_says_of_a_tiebreaker_names_the_peer_with_the_disk_first(tmp_path: Path) -> None:
    dump = drbdadm(tmp_path, tiebroken(), 9, "dump", "r0")
    found = drbddump.parse(dump, "server2")
    assert found is not None
    assert found.volumes == [("/dev/drbd0", "/dev/loop7")]
    assert found.peers == [("server1", "10.181.76.1:7789"), ("server3", "10.181.76.3:7790")]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("c=10.0.0.3", "c=10.0.0.3:7789"),
        ("c=10.0.0.3:7000", "c=10.0.0.3:7000"),
        ("c=fd00::3", "c=[fd00::3]:7789"),
        ("c=[fd00::3]", "c=[fd00::3]:7789"),
        ("c=[fd00::3]:7000", "c=[fd00::3]:7000"),
    ],
)
def test_a_tiebreaker_s_address(text: str, normal: str) -> None:
    assert creating.tiebreaker(text, 7789) == normal
    assert creating.tiebreaker(normal, 1) == normal


@pytest.mark.parametrize("text", ["", "c", "=10.0.0.3", "c=", "c=host", "c=10.0.0.3:x", "c=[10", "c=fd00::3]:1"])
def test_what_is_no_tiebreaker(text: str) -> None:
    with pytest.raises(ValueError, match="is not NAME=ADDRESS"):
        creating.tiebreaker(text, 7789)


def drbdadm(place: Path, d: Description, driver: int, *command: str, host: str = "server2") -> str:
    """What the real drbdadm would do, on that host."""
    file = place / "root" / d.resource_file[1:]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(creating.resource_text(d, driver))
    wrapper = place / "wrapper.conf"
    wrapper.write_text(creating.wrapper_text(d, str(place / "root")))
    done = subprocess.run(
        ["drbdadm", "-c", str(wrapper), "-d", *command],
        env={**os.environ, "__DRBD_NODE__": host, "DRBD_DRIVER_VERSION_OVERRIDE": DRIVERS[driver]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("driver", DRIVERS)
def test_drbdadm_takes_the_resource_as_it_is_meant(driver: int, tmp_path: Path) -> None:
    assert drbdadm(tmp_path, description(), driver, "adjust", "r0") == ADJUST[driver]
    assert drbdadm(tmp_path, description(), driver, "create-md", "r0") == CREATE_MD[driver]


@pytest.mark.parametrize("driver", DRIVERS)
def test_ipv6_with_ipv4_for_o2cb(driver: int, tmp_path: Path) -> None:
    hosts = tuple(replace(host, address=f"fd00::{host.name[-1]}", disk="/dev/vdb") for host in HOSTS)
    d = on_disks(hosts=hosts, device="/dev/drbd12", port=7800, secret="x")
    text = drbdadm(tmp_path, d, driver, "adjust", "r0")
    assert "ipv6:\\[fd00::2\\]:7800 ipv6:\\[fd00::1\\]:7800" in text
    assert "new-minor r0 12 0" in text
    assert "attach 12 /dev/vdb /dev/vdb internal" in text
    assert "ip_address = 10.181.76.1\n" in (creating.cluster_text(d, None) or "")


def test_our_own_reading_of_the_resource_finds_what_check_asks_for() -> None:
    statements, mistakes = drbdconf.parse(creating.resource_text(description(), 9), "r0.res")
    assert mistakes == []
    conf = drbdconf.Configuration(statements)
    resource = conf.resource("r0")
    assert resource is not None
    found = conf.setting(resource, "net", "allow-two-primaries")
    assert found is not None
    assert found.words == ("allow-two-primaries", "yes")


CLUSTER = """\
cluster:
\tnode_count = 2
\tname = web

node:
\tip_port = 7777
\tip_address = 10.181.76.1
\tnumber = 1
\tname = server1
\tcluster = web

node:
\tip_port = 7777
\tip_address = 10.181.76.2
\tnumber = 2
\tname = server2
\tcluster = web
"""


def test_cluster_conf_new_added_and_there() -> None:
    d = description()
    assert creating.cluster_text(d, None) == CLUSTER
    assert creating.cluster_text(d, CLUSTER) is None
    other = CLUSTER.replace("= web", "= mail").rstrip("\n")
    both = creating.cluster_text(d, other)
    assert both == other + "\n\n" + CLUSTER
    assert clusterconf.cluster_names(clusterconf.parse(both)) == ["mail", "web"]
    assert creating.cluster_text(d, both) is None


@pytest.mark.parametrize("change", [("server2", "server3"), ("10.181.76.2", "10.181.76.3")])
def test_cluster_conf_with_other_nodes_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(Wrong, match=r"has the cluster 'web' with server1 10\.181\.76\.1, "):
        creating.cluster_text(description(), CLUSTER.replace(*change))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mountpoint": "/mnt/a, b#c", "backing_file": "/srv/x, 'y' z.img"},
        {"mount_options": "noatime,data=ordered"},
        {"mountpoint": '/mnt/"a" b'},
        {"survivor": "none"},
        {"survivor": "server1", "link_grace": "10s"},
        {"survivor": "power", "fence_agent": "fence_ipmilan", "fence_options": "/etc/my options, too.conf"},
        {"survivor": "witness", "witness": "lock@[fd00::3]:2222"},
        {"survivor": "witness", "witness": "/srv/a, b"},
    ],
)
def test_our_configuration_reads_back_as_it_was_said(changes: dict[str, str], tmp_path: Path) -> None:
    d = description(**changes)
    file = tmp_path / d.stack_file[1:]
    file.parent.mkdir(parents=True)
    file.write_text(creating.stack_text(d))
    reading = config.read(str(tmp_path))
    assert reading.problems == ()
    (stack,) = reading.stacks
    for key in ("resource", "device", "backing_file", "loop_device", "cluster", "mountpoint", "mount_options"):
        assert getattr(stack, key) == getattr(d, key)
    assert stack.survivor == (d.survivor or "none")
    assert stack.link_grace == (10_000_000 if d.link_grace else 20_000_000)
    for key in ("fence_agent", "fence_options", "witness"):
        assert getattr(stack, key) == getattr(d, key)
    assert "backing_file" not in creating.stack_text(on_disks())


def test_a_description_survives_json_and_hosts_have_an_order_of_their_own() -> None:
    d = description()
    assert [host.name for host in d.hosts] == ["server1", "server2"]
    assert d.mountpoint == "/mnt/storage"
    assert creating.from_json(json.loads(json.dumps(creating.to_json(d)))) == d
    assert "5ec4e7" not in json.dumps(d.public())


@pytest.mark.parametrize("data", [None, [], {}, {"hosts": []}, {**creating.to_json(description()), "port": "x"}])
def test_what_is_no_description(data: Any) -> None:
    with pytest.raises(Wrong, match=r"no description|two hosts"):
        creating.from_json(data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stack": "a b"}, "stack 'a b' holds"),
        ({"resource": "all"}, "resource 'all' means every"),
        ({"device": "/dev/drbd/by-res/r0"}, "is not /dev/drbdN"),
        ({"cluster": "x" * 17}, "cluster 'xxxxxxxxxxxxxxxxx' has 17"),
        ({"mountpoint": "/usr"}, "mountpoint '/usr' is a directory of the system"),
        ({"port": 7777}, "O2CB's"),
        ({"port": 0}, "port 0"),
        ({"slots": 1}, "1 slots"),
        ({"size": 1 << 20}, "too small"),
        ({"backing_file": ""}, "go together"),
        ({"backing_file": "/mnt/storage/x"}, "lies on the mount point"),
        ({"first": "server3"}, "neither server"),
        ({"mountpoint": "/mnt/\"'"}, "both kinds of quotes"),
        ({"hosts": (HOSTS[0], HOSTS[0])}, "both hosts are called server2"),
        ({"hosts": HOSTS[:1]}, "two hosts"),
        ({"hosts": (HOSTS[0], replace(HOSTS[1], address="10.181.76.2"))}, "both hosts have the address"),
        ({"hosts": (HOSTS[0], replace(HOSTS[1], address="10.0.0"))}, "no IP address"),
        ({"hosts": (HOSTS[0], replace(HOSTS[1], address="fd00::1", cluster_address="fd00::1"))}, "IPv4 only"),
        ({"hosts": (HOSTS[0], replace(HOSTS[1], name="a;b"))}, "no host name"),
        ({"hosts": (HOSTS[0], replace(HOSTS[1], disk="/dev/../etc"))}, "is no disk"),
        ({"hosts": (HOSTS[0], replace(HOSTS[1], disk="/dev/drbd1"))}, "DRBD's own"),
        ({"survivor": "server3"}, "--survivor server3 is neither server2 nor server1, nor none, power, witness"),
        ({"survivor": "Power"}, "is not written in small letters"),
        ({"survivor": "power"}, "needs --fence-agent"),
        ({"survivor": "power", "fence_agent": "a b"}, "--fence-agent 'a b' holds"),
        ({"survivor": "none", "fence_agent": "fence_x"}, "are for --survivor power"),
        ({"survivor": "server1", "fence_options": "/x"}, "are for --survivor power"),
        ({"survivor": "witness"}, "needs --witness"),
        ({"survivor": "none", "witness": "c"}, "--witness is for"),
        ({"survivor": "witness", "witness": "/mnt/storage/lock"}, "lies on the mount point"),
        ({"survivor": "none", "link_grace": "6min"}, "--link-grace '6min' is longer than 5min"),
        ({"tiebreaker": "server1=10.0.0.3:1"}, "the tiebreaker server1 is one of the two"),
        ({"tiebreaker": "c=10.181.76.2:1"}, "has the address 10.181.76.2 of one of the two"),
        ({"tiebreaker": "c=10.0.0.3"}, "is not NAME=ADDRESS:PORT"),
        ({"tiebreaker": "c=10.0.0.3:0"}, "the tiebreaker's port 0"),
        ({"tiebreaker": "c=[fd00::3]:1"}, "not of the same family"),
    ],
)
def test_descriptions_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Wrong) as caught:
        description(**changes)
    assert any(words in reason for reason in caught.value.reasons), caught.value.reasons


def test_a_description_of_an_earlier_version_keeps_its_resource_as_it_was() -> None:
    data = creating.to_json(description())
    for key in creating.LATER:
        del data[key]
    d = creating.from_json(data)
    assert creating.resource_text(d, 8) == RESOURCE_84
    assert "survivor" not in creating.stack_text(d)
    with pytest.raises(Wrong):
        creating.from_json({**data, "survivor": 1})


LEAVES = " that O2CB leaves"


@pytest.mark.parametrize(
    ("changes", "lowest", "lines"),
    [
        ({}, "server1", []),
        (
            {"survivor": "none"}, "server1",
            ["a lost link: both stay frozen until it is back, or are reset; --survivor would let one go on"],
        ),
        (
            {"survivor": "server1"}, "server1",
            ["a lost link: server1 goes on, server2 stays frozen until the link is back, or is reset",
             "  server1: notice 7.5 s + grace 20 s + decision 1 s + margin 3 s = 31.5 s, of 58 s" + LEAVES
             + " (heartbeat)"],
        ),
        (
            {"survivor": "server1", "link_grace": "40s"}, "server2",
            ["a lost link: server1 goes on, server2 stays frozen until the link is back, or is reset",
             "  server1: notice 7.5 s + grace 20.5 s + decision 1 s + margin 3 s = 32 s, of 32 s" + LEAVES
             + " (quorum); a grace of 40 s does not fit"],
        ),
    ],
)  # fmt: skip
def test_what_a_lost_link_will_mean(changes: dict[str, str], lowest: str, lines: list[str]) -> None:
    assert creating.policy_lines(description(**changes), lowest) == lines


def test_what_is_left_to_do_names_the_files_and_never_a_secret() -> None:
    assert creating.left_to_do(description(survivor="server1")) == []
    power, proof = creating.left_to_do(description(survivor="power", fence_agent="fence_ipmilan"))
    assert "/etc/drbdocfs/fence.conf on both hosts, mode 600" in power
    assert proof.startswith("'drbdocfs fence-test web'")
    assert "drbdocfs-fence.conf(5)" in power
    witness, proof = creating.left_to_do(description(survivor="witness", witness="tie@10.181.76.9:2222"))
    assert "set up on 10.181.76.9:2222, with a key for root of both hosts" in witness
    assert witness.endswith("drbdocfs-witness(8)")
    assert proof.startswith("'drbdocfs fence-test web'")
    directory, _ = creating.left_to_do(description(survivor="witness", witness="/mnt/nas/locks"))
    assert "'/usr/libexec/drbdocfs-boot/witness /mnt/nas/locks init' on one of the two" in directory
    assert directory.endswith("drbdocfs-witness(8)")
    (third,) = creating.left_to_do(tiebroken())
    assert "on server3 (10.181.76.3), with DRBD 9: copy /etc/drbd.d/r0.res there (mode 600" in third
    assert "'drbdadm up r0'" in third
    assert "5ec4e7" not in power + proof + third


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Wrong) as caught:
        description(port=0, slots=0, first="x")
    assert len(caught.value.reasons) == 3


def test_differences_name_what_and_where() -> None:
    hosts = (HOSTS[0], replace(HOSTS[1], disk="/dev/loop8"))
    assert creating.differences(description(), description(size=creating.size("200M"), hosts=hosts, secret="new")) == [
        "size: 104857600 before, 209715200 now",
        "disk of server1: /dev/loop7 before, /dev/loop8 now",
    ]
    assert creating.differences(description(), description(secret="new", uuid="x", hmac="sha1")) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [("100M", 100 << 20), ("20G", 20 << 30), ("1tib", 1 << 40), ("5000", 4096), ("8192 ", 8192), ("64MB", 64 << 20)],
)
def test_sizes(text: str, number: int) -> None:
    assert creating.size(text) == number


@pytest.mark.parametrize("text", ["", "G", "1.5G", "-1G", "10X", "1 0G"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        creating.size(text)


def test_the_order_of_the_steps() -> None:
    steps = creating.plan(description(first="server2"), 8, None)
    assert [(step.host[-1], step.name) for step in steps] == [
        (host, name)
        for host in "21"
        for name in ("modules", "resource-file", "cluster-file", "backing-file", "loop", "metadata", "attach")
    ] + [
        ("2", "first-sync"), ("2", "file-system"), ("2", "in-step"),
        *((host, name) for host in "21" for name in ("configuration", "start")),
    ]  # fmt: skip
    forced = [command for step in steps for command in step.commands if "--force" in command]
    assert forced == [("drbdadm", "primary", "--force", "r0")]
    names = [step.name for step in creating.plan(on_disks(), 9, CLUSTER)]
    assert "loop" not in names
    assert "backing-file" not in names


def test_the_dry_run_hides_the_secret() -> None:
    text = "\n".join(creating.dry_run(creating.plan(description(), 8, None), "5ec4e7"))
    assert "5ec4e7" not in text
    assert 'shared-secret "***"' in text
    assert "server2:     " not in text
    assert text.count("    losetup /dev/loop7 /drbd-loop.img\n") == 2


def test_wipefs_and_blkid() -> None:
    one = '{"signatures": [{"device": "vdb", "offset": "0x438", "type": "ext4", "uuid": "531e", "label": null}]}'
    assert creating.of_wipefs(one) == [Finding("ext4", "", "531e")]
    assert creating.of_wipefs('{\n   "signatures": [\n\n   ]\n}\n') == []
    assert creating.of_wipefs("") == []
    with pytest.raises(ValueError):
        creating.of_wipefs("wipefs: oops")
    found = creating.of_blkid("DEVNAME=/dev/vdb\nPTUUID=ab\nPTTYPE=dos\nTYPE=swap\nLABEL=s\n")
    assert [str(one) for one in found] == ["swap 's'", "a partition table (dos) (UUID ab)"]
    assert Finding("ocfs2", "", "178bdc83-d502-41ef-94eb-474a677d498b").is_uuid(description().uuid)


def test_listening_ports() -> None:
    table = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1E6D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:0016 0100007F:8AD2 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
"""
    assert creating.listening(table) == {7789}


def test_the_pace() -> None:
    pace = creating.Pace(span=10)
    assert pace.line("sync", 0, 100 << 20, 0.0) == "sync [....................]   0 %"
    assert pace.line("sync", 20 << 20, 100 << 20, 4.0) == "sync [####................]  20 %, 5 MiB/s, 16 s left"
    # The first moments are forgotten.
    for second in range(5, 30):
        line = pace.line("sync", (20 + (second - 4) * 2) << 20, 100 << 20, float(second))
    assert line == "sync [##############......]  70 %, 2 MiB/s, 15 s left"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_clock(seconds: float, text: str) -> None:
    assert creating.clock(seconds) == text
