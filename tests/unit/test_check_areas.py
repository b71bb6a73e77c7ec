"""One planted fault for each code of the areas on configuration: exactly that finding is added to a good set-up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from drbdocfs_boot import drbddump
from drbdocfs_boot.checks import cluster, configuration, drbd, fencing, network, runner
from drbdocfs_boot.checks.facts import Facts, collect
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Finding
from drbdocfs_boot.helpers import attach
from drbdocfs_boot.tools.failure import Failure
from tests.lab import provision

from .conftest import Box

AREAS = {"configuration": configuration, "drbd": drbd, "network": network, "cluster": cluster, "fencing": fencing}
OURS, DRBD, GLOBAL = "/etc/drbdocfs/drbdocfs.conf", "/etc/drbd.d/r0.res", "/etc/drbd.d/global_common.conf"
CLUSTER, O2CB, HOSTS = "/etc/ocfs2/cluster.conf", "/etc/default/o2cb", "/etc/hosts"
CONFIGFS = "/sys/kernel/config/cluster"

# What `drbdocfs create` makes, with a survivor.
GOOD = {
    OURS: """\
[web]
resource = r0
device = /dev/drbd0
backing_file = /drbd-loop.img
loop_device = /dev/loop7
cluster = web
mountpoint = /mnt/storage
survivor = server1
""",
    fencing.HANDLER: "#!/bin/sh\n",
    "/etc/hostname": "server1\n",
    "/etc/drbd.conf": 'include "drbd.d/global_common.conf";\ninclude "drbd.d/*.res";\n',
    GLOBAL: "global {\n\tusage-count no;\n}\ncommon {\n}\n",
    DRBD: """\
resource r0 {
	net {
		protocol C;
		allow-two-primaries yes;
		cram-hmac-alg sha256;
		shared-secret "s3cret;}";
		after-sb-0pri discard-zero-changes;
		after-sb-1pri consensus;
		after-sb-2pri disconnect;
	}
	disk {
		fencing resource-and-stonith;
	}
	handlers {
		fence-peer "/usr/libexec/drbdocfs-boot/fence-peer";
	}
	on server1 {
		address ipv4 10.181.76.10:7789;
		device /dev/drbd0 minor 0;
		disk /dev/loop7;
		meta-disk internal;
	}
	on server2 {
		address ipv4 10.181.76.11:7789;
		device /dev/drbd0 minor 0;
		disk /dev/loop7;
		meta-disk internal;
	}
}
""",
    CLUSTER: """\
cluster:
	node_count = 2
	name = web

node:
	ip_port = 7777
	ip_address = 10.181.76.10
	number = 0
	name = server1
	cluster = web

node:
	ip_port = 7777
	ip_address = 10.181.76.11
	number = 1
	name = server2
	cluster = web
""",
    O2CB: "# Debian's\nO2CB_ENABLED=false\nO2CB_BOOTCLUSTER=ocfs2\n",
    HOSTS: "127.0.0.1 localhost\n10.181.76.10 server1\n10.181.76.11 server2\n",
    "/sys/module/drbd/version": "8.4.11\n",
}
NINE = {
    **GOOD,
    "/sys/module/drbd/version": "9.2.4\n",
    DRBD: GOOD[DRBD]
    .replace("\tdisk {\n\t\tfencing resource-and-stonith;\n\t}\n", "\toptions {\n\t\tauto-promote no;\n\t}\n")
    .replace("\tnet {\n", "\tnet {\n\t\tfencing resource-and-stonith;\n"),
}
ADDRESSES = [{"addr_info": [{"local": "10.181.76.10", "prefixlen": 24}, {"local": "127.0.0.1", "prefixlen": 8}]}]


def plant(box: Box, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = box.write(name, text)
        if "shared-secret" in text:
            path.chmod(0o600)
        elif text.startswith("#!"):
            path.chmod(0o755)


def look(live: bool = False) -> list[Finding]:
    facts = Facts(True, "server1") if live else collect()
    # The areas of this file; the others ask for more than a tree of configuration.
    return runner.look(facts, [(name, module.find) for name, module in AREAS.items()])


def heavy(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(f.code, f.where) for f in findings if f.severity in (ERROR, WARNING)]


@dataclass(frozen=True)
class Fault:
    """In ``file``, ``old`` becomes ``new`` ("" for old: ``new`` is the whole text, None: the file goes)."""

    code: str
    where: str
    file: str
    old: str
    new: str | None
    severity: str = ""
    also: tuple[str, ...] = ()
    nine: bool = False
    live: bool = False
    says: str = ""
    mode: int = 0


def F(code: str, where: str, file: str, old: str, new: str | None, **more: object) -> Fault:  # noqa: N802
    return Fault(code, where, file, old, new, **more)  # type: ignore[arg-type]


SECOND = GOOD[DRBD].replace("resource r0", "resource r1").replace("minor 0", "minor 1").replace("drbd0", "drbd1")
TCP = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LISTENING = (
    TCP + "   0: {} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {} 1 0 100 0 0 10 0\n"
)

FAULTS = [
    # Our configuration.
    F("config-mistake", f"{OURS}:7", OURS, "/mnt/storage", "mnt"),
    F("config-mistake", f"{OURS}:4", OURS, "backing_file", "baking_file", also=("config-mistake",)),
    F("config-mistake", f"{OURS}:1", "/etc/fstab", "", "UUID=1 /mnt/storage ocfs2 noauto 0 0\n", says="/etc/fstab:1"),
    F("no-stack", OURS, OURS, "", None),
    F("when-alone-always", f"{OURS}:8", OURS, "/storage\n", "/storage\nwhen_alone = always\n"),
    F(
        "peer-timeout-short", f"{OURS}:9", OURS, "/storage\n", "/storage\nwhen_alone = always\npeer_timeout = 20s\n",
        also=("when-alone-always",),
    ),
    F("peer-timeout-late", f"{OURS}:8", OURS, "/storage\n", "/storage\npeer_timeout = 4min\n"),
    F("boot-timeout-long", f"{OURS}:8", OURS, "/storage\n", "/storage\nboot_timeout = 1h\n"),
    # DRBD.
    F("drbd-syntax", f"{DRBD}:1", DRBD, "\t}\n}\n", "\t}\n"),
    F("drbd-syntax", f"{DRBD}:9", DRBD, "2pri disconnect;", "2pri disconnect", says="no ';'"),
    F("drbd-resource-missing", f"{OURS}:2", DRBD, "", None),
    F("drbd-resource-missing", f"{OURS}:2", OURS, "= r0", "= r9", says="no resource 'r9'"),
    F("drbd-resource-missing", f"{OURS}:2", "/etc/drbd.conf", "", None, says="there is no /etc/drbd.conf"),
    F("drbd-resource-twice", f"{DRBD}:1", "/etc/drbd.d/copy.res", "", GOOD[DRBD], says="r0"),
    F("drbd-not-this-host", f"{DRBD}:1", DRBD, "on server1", "on node1"),
    F("drbd-not-this-host", f"{DRBD}:17", DRBD, "on server1", "on Server1", says="capital letters"),
    F("drbd-not-this-host", f"{DRBD}:17", DRBD, "on server1", "on server1.example.com", says="domain"),
    F("drbd-floating", f"{DRBD}:17", DRBD, "on server1 {\n\t\taddress ipv4 10.181.76.10:7789;",
      "floating 10.181.76.10:7789 {"),
    F("drbd-hosts", f"{DRBD}:1", DRBD, "on server2 {", "on server3 { address 10.181.76.12:7789; }\n\ton server2 {",
      also=("cluster-node-missing",), says="3 hosts"),
    F("drbd-protocol", f"{DRBD}:3", DRBD, "protocol C", "protocol A"),
    F("drbd-protocol", f"{DRBD}:2", DRBD, "\tnet {\n\t\tprotocol C;", "\tprotocol B; net {", says="protocol B"),
    F("drbd-one-primary", f"{DRBD}:4", DRBD, "allow-two-primaries yes", "allow-two-primaries no"),
    F("drbd-one-primary", f"{DRBD}:1", DRBD, "\t\tallow-two-primaries yes;\n", ""),
    F("drbd-after-sb-2pri", f"{DRBD}:9", DRBD, "after-sb-2pri disconnect", "after-sb-2pri violently-as0p"),
    F("drbd-after-sb-1pri", f"{DRBD}:8", DRBD, "1pri consensus", "1pri call-pri-lost-after-sb", severity=WARNING),
    F("drbd-after-sb-1pri", f"{DRBD}:8", DRBD, "1pri consensus", "1pri discard-secondary", severity=WARNING),
    F("drbd-after-sb-1pri", f"{DRBD}:8", DRBD, "1pri consensus", "1pri violently-as0p", severity=ERROR),
    F("drbd-after-sb-0pri", f"{DRBD}:7", DRBD, "discard-zero-changes", "discard-younger-primary"),
    F("drbd-rr-conflict", f"{DRBD}:3", DRBD, "protocol C;", "protocol C; rr-conflict violently;"),
    F("drbd-ping", f"{DRBD}:3", DRBD, "protocol C;", "protocol C; timeout 100;", says="timeout is 10 s",
      also=("o2cb-drbd-timing",)),
    F("drbd-no-secret", f"{DRBD}:1", DRBD, '\t\tcram-hmac-alg sha256;\n\t\tshared-secret "s3cret;}";\n', ""),
    F("drbd-half-secret", f"{DRBD}:5", DRBD, '\t\tshared-secret "s3cret;}";\n', "", says="no shared-secret"),
    F("drbd-half-secret", f"{DRBD}:5", DRBD, "\t\tcram-hmac-alg sha256;\n", "", says="no cram-hmac-alg"),
    F("drbd-syncer", f"{DRBD}:2", DRBD, "\tnet {", "\tsyncer { rate 10M; } net {", severity=NOTE),
    F("drbd-secret-open", f"{DRBD}:6", DRBD, "s3cret", "s3cret", mode=0o644),
    F("drbd-syncer", f"{DRBD}:2", DRBD, "\tnet {", "\tsyncer { rate 10M; } net {", severity=ERROR, nine=True),
    F("drbd-become-primary-on", f"{DRBD}:2", DRBD, "\tnet {", "\tstartup { become-primary-on both; } net {"),
    F("drbd-wrong-driver", f"{DRBD}:3", DRBD, "protocol C;", "fencing resource-and-stonith;",
      says="'fencing' in net"),
    F("drbd-wrong-driver", f"{DRBD}:2", DRBD, "\tnet {", "\tdisk { fencing resource-only; } net {", nine=True),
    F("drbd-wrong-driver", f"{DRBD}:2", DRBD, "\tnet {", "\toptions { auto-promote no; } net {"),
    F("drbd-auto-promote", f"{DRBD}:13", DRBD, "auto-promote no", "auto-promote yes", nine=True),
    F("drbd-device-differs", f"{OURS}:3", OURS, "/dev/drbd0", "/dev/drbd1"),
    F("drbd-device-differs", f"{OURS}:3", OURS, "/dev/drbd0", "/dev/drbd/by-res/r0/1"),
    F("drbd-disk-differs", f"{DRBD}:20", OURS, "/dev/loop7", "/dev/loop8"),
    F("drbd-loop-unmanaged", f"{DRBD}:20", OURS, "backing_file = /drbd-loop.img\nloop_device = /dev/loop7\n", ""),
    F("drbd-no-flushes", f"{DRBD}:12", DRBD, "fencing resource-and-stonith;",
      "fencing resource-and-stonith; disk-flushes no;", says="disk-flushes no"),
    F("drbd-no-flushes", f"{DRBD}:12", DRBD, "fencing resource-and-stonith;",
      "fencing resource-and-stonith; no-md-flushes;", says="md-flushes no"),
    F("drbd-no-flushes", f"{GLOBAL}:4", GLOBAL, "common {", "common { disk { md-flushes no; }"),
    F("drbd-no-flushes", f"{DRBD}:17", DRBD, "on server1 {", "on server1 { volume 0 { disk { disk-flushes No; } }"),
    F("drbd-no-drain", f"{DRBD}:12", DRBD, "fencing resource-and-stonith;",
      "fencing resource-and-stonith; disk-drain no; disk-flushes yes;", severity=WARNING),
    F("drbd-no-drain", f"{DRBD}:12", DRBD, "fencing resource-and-stonith;",
      "fencing resource-and-stonith; disk-drain no; disk-flushes no;", severity=ERROR, also=("drbd-no-flushes",)),
    F("drbd-diskless", f"{DRBD}:20", DRBD, "disk /dev/loop7;\n\t\tmeta-disk internal;\n\t}\n\ton server2",
      "disk none;\n\t}\n\ton server2"),
    F("drbd-volumes", f"{DRBD}:1", DRBD, "on server1 {",
      "on server1 { volume 1 { device minor 5; disk /dev/sda5; meta-disk internal; }"),
    F("drbd-minor-twice", "/etc/drbd.d/r1.res:19", "/etc/drbd.d/r1.res", "",
      SECOND.replace("minor 1", "minor 0").replace("7789", "7790")),
    F("drbd-usage-count", f"{GLOBAL}:2", GLOBAL, "usage-count no", "usage-count yes"),
    F("drbd-usage-count", "/etc/drbd.conf", GLOBAL, "\tusage-count no;\n", "", says="by default"),
    # Addresses and ports.
    F("drbd-address-bad", f"{DRBD}:18", DRBD, "10.181.76.10:7789", "10.181.76.10"),
    F("drbd-address-bad", f"{DRBD}:18", DRBD, "ipv4 10.181.76.10:7789", "server1:7789"),
    F("drbd-address-bad", f"{DRBD}:17", DRBD, "\t\taddress ipv4 10.181.76.10:7789;\n", "", says="has no address"),
    F("drbd-address-loopback", f"{DRBD}:24", DRBD, "10.181.76.11", "127.0.0.1"),
    F("drbd-address-not-here", f"{DRBD}:18", DRBD, "10.181.76.10", "10.181.76.20", live=True),
    F("drbd-address-peer", f"{DRBD}:24", DRBD, "10.181.76.11", "10.181.76.10"),
    F("drbd-address-family", f"{DRBD}:23", DRBD, "ipv4 10.181.76.11:7789", "ipv6 [fd00::2]:7789"),
    F("drbd-port-twice", f"{DRBD}:18", "/etc/drbd.d/r1.res", "", SECOND),
    F("drbd-port-o2cb", f"{DRBD}:18", DRBD, "7789", "7777"),
    F("drbd-port-taken", f"{DRBD}:18", "/proc/net/tcp", "", LISTENING.format("00000000:1E6D", 4711)),
    F("drbd-port-taken", f"{DRBD}:18", "/proc/net/tcp6", "", LISTENING.format("0" * 32 + ":1E6D", 4711)),
    F("drbd-subnets", f"{DRBD}:24", DRBD, "10.181.76.11", "10.181.77.11", live=True),
    F("o2cb-other-network", f"{CLUSTER}:5", CLUSTER, "10.181.76.10", "192.168.1.10"),
    # The cluster.
    F("cluster-conf-missing", CLUSTER, CLUSTER, "", None),
    F("cluster-conf-syntax", f"{CLUSTER}:8", CLUSTER, "\tnumber = 0", "number = 0",
      also=("cluster-conf-syntax",), says="tab"),
    F("cluster-conf-syntax", f"{CLUSTER}:2", CLUSTER, "node_count = 2", "node_count = two", says="no number"),
    F("cluster-conf-syntax", f"{CLUSTER}:2", CLUSTER, "node_count = 2", "node_count = 2 # two", also=()),
    F("cluster-conf-syntax", f"{CLUSTER}:7", CLUSTER, "10.181.76.10", "server1", says="IPv4"),
    F("cluster-conf-syntax", f"{CLUSTER}:6", CLUSTER, "ip_port = 7777\n\tip_address = 10.181.76.10",
      "ip_prot = 7777\n\tip_address = 10.181.76.10", also=("cluster-conf-syntax",)),
    F("cluster-conf-syntax", f"{CLUSTER}:3", CLUSTER, "name = web\n\nnode", "# ours\n\tname = web\n\nnode"),
    F("cluster-conf-syntax", f"{CLUSTER}:1", CLUSTER, "\n", "\r\n", says="CR LF",
      also=("cluster-undeclared",)),
    F("cluster-conf-ignored", f"{CLUSTER}:12", CLUSTER, "node:\n\tip_port = 7777\n\tip_address = 10.181.76.11",
      "nodes:\n\tip_port = 7777\n\tip_address = 10.181.76.11", also=("cluster-count", "cluster-node-missing")),
    F("cluster-refused", CLUSTER, "/refuse", "", "x", live=True),
    F("cluster-undeclared", f"{OURS}:6", OURS, "cluster = web", "cluster = wbe"),
    F("cluster-name", f"{OURS}:6", OURS, "cluster = web", "cluster = web-1",
      also=("cluster-undeclared",)),
    F("cluster-twice", f"{CLUSTER}:18", CLUSTER, "name = server2\n\tcluster = web\n",
      "name = server2\n\tcluster = web\ncluster:\n\tnode_count = 2\n\tname = web\n"),
    F("cluster-node-missing", f"{CLUSTER}:9", CLUSTER, "name = server1", "name = Server1", says="capital letters"),
    F("cluster-node-missing", f"{CLUSTER}:3", CLUSTER, "name = server2", "name = node2", says="the other host"),
    F("cluster-node-twice", f"{CLUSTER}:15", CLUSTER, "number = 1", "number = 0"),
    F("cluster-node-twice", f"{CLUSTER}:14", CLUSTER, "10.181.76.11", "10.181.76.10"),
    F("cluster-node-value", f"{CLUSTER}:15", CLUSTER, "number = 1", "number = 255"),
    F("cluster-node-value", f"{CLUSTER}:6", CLUSTER, "7777\n\tip_address = 10.181.76.10",
      "0\n\tip_address = 10.181.76.10", also=("cluster-ports",)),
    F("cluster-node-orphan", f"{CLUSTER}:17", CLUSTER, "server2\n\tcluster = web", "server2\n\tcluster = wbe",
      also=("cluster-count", "cluster-node-missing")),
    F("cluster-count", f"{CLUSTER}:2", CLUSTER, "node_count = 2", "node_count = 3"),
    F("cluster-many", f"{CLUSTER}:1", CLUSTER, "node_count = 2\n\tname = web\n\n",
      "node_count = 3\n\tname = web\n\nnode:\n\tip_port = 7777\n\tip_address = 10.181.76.12\n\tnumber = 7\n"
      "\tname = server3\n\tcluster = web\n\n"),
    F("cluster-ports", f"{CLUSTER}:13", CLUSTER, "7777\n\tip_address = 10.181.76.11",
      "7778\n\tip_address = 10.181.76.11"),
    F("cluster-address-not-here", f"{CLUSTER}:7", CLUSTER, "10.181.76.10", "10.181.76.20", live=True),
    F("cluster-global", f"{CLUSTER}:2", CLUSTER, "\tnode_count", "\theartbeat_mode = global\n\tnode_count"),
    F("hosts-loopback", f"{HOSTS}:2", HOSTS, "10.181.76.10", "127.0.1.1", severity=NOTE),
    F("hosts-loopback", f"{HOSTS}:3", HOSTS, "10.181.76.11", "127.0.1.1", severity=WARNING),
    F("o2cb-timing", f"{O2CB}:1", O2CB, "", "O2CB_HEARTBEAT_THRESHOLD=x31\n"),
    F("o2cb-timing", f"{O2CB}:1", O2CB, "", "O2CB_IDLE_TIMEOUT_MS=4000\n"),
    F("o2cb-timing", f"{O2CB}:1", O2CB, "", "O2CB_KEEPALIVE_DELAY_MS=30000\n", says="not below"),
    F("o2cb-dead-time", f"{O2CB}:3", O2CB, "BOOTCLUSTER=ocfs2", "HEARTBEAT_THRESHOLD=16", says="30 s",
      also=("o2cb-drbd-timing", "link-grace-cut")),
    F("o2cb-drbd-timing", f"{DRBD}:3", DRBD, "protocol C;", "protocol C; ping-int 100;", says="200.5 s",
      also=("fencing-late",)),
    F("o2cb-drbd-timing", f"{DRBD}:3", DRBD, "protocol C;", "protocol C; ko-count 10;", says="60 s"),
    F("o2cb-drbd-timing", f"{DRBD}:3", DRBD, "protocol C;", "protocol C; ko-count 0;", says="for ever"),
    F("o2cb-bootcluster", f"{O2CB}:3", O2CB, "=false", "=true"),
    F("o2cb-stack", f"{O2CB}:1", O2CB, "", "O2CB_STACK=pcmk\n"),
    F("o2cb-stack", "/sys/fs/ocfs2/cluster_stack", "/sys/fs/ocfs2/cluster_stack", "", "pcmk\n"),
    F("o2cb-other-online", f"{CONFIGFS}/old", f"{CONFIGFS}/old/idle_timeout_ms", "", "30000\n"),
    F("o2cb-live-differs", f"{CONFIGFS}/web/idle_timeout_ms", f"{CONFIGFS}/web/idle_timeout_ms", "", "10000\n"),
    F("o2cb-live-differs", f"{CONFIGFS}/web/node/server2/ipv4_address", f"{CONFIGFS}/web/node/server2/ipv4_address",
      "", "10.181.76.99\n"),
    F("drbd-not-this-host", f"{DRBD}:18", DRBD, "on server1 {", "on SERVER1.example.com {", nine=True,
      severity=WARNING, says="differs from it in the domain"),
    F("drbd-not-this-host", f"{DRBD}:17", DRBD, "on server1 {", "on SERVER1 {", severity=ERROR, says="capital"),
    F("drbd-not-this-host", f"{DRBD}:1", DRBD, "on server1 {", "on node1 {", nine=True, severity=ERROR),
    F("drbd-refused", f"{DRBD}:3", "/refuse-drbd", "", "x", live=True, says="'foo' unknown"),
]  # fmt: skip


def stand_ins(box: Box) -> None:
    box.tool("ip", f"echo '{json.dumps(ADDRESSES)}'")
    box.tool("o2cb", "[ ! -e $ROOT/refuse ] || { echo 'o2cb: Unknown code 251' >&2; exit 1; }")
    box.tool(
        "drbdadm",
        "[ ! -e $ROOT/refuse-drbd ] || { echo \"drbd.d/r0.res:3: Parse error: 'foo' unknown\" >&2; exit 10; }",
    )


_BEFORE: dict[tuple[bool, bool], list[Finding]] = {}


def good_findings(nine: bool, live: bool) -> list[Finding]:
    """What is found on a good set-up, which is in place already; the same in every test, so looked for once."""
    if (nine, live) not in _BEFORE:
        _BEFORE[nine, live] = look(live)
    return _BEFORE[nine, live]


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{fault.code}-{n}" for n, fault in enumerate(FAULTS)])
def test_exactly_the_planted_fault_is_found(box: Box, fault: Fault) -> None:
    good = NINE if fault.nine else GOOD
    plant(box, good)
    stand_ins(box)
    before = good_findings(fault.nine, fault.live)
    assert heavy(before) == []
    if fault.new is None:
        (box.root / fault.file.lstrip("/")).unlink()
    elif fault.old:
        assert fault.old in good[fault.file]
        plant(box, {fault.file: good[fault.file].replace(fault.old, fault.new)})
    else:
        plant(box, {fault.file: fault.new})
    if fault.mode:
        (box.root / fault.file.lstrip("/")).chmod(fault.mode)
    known = {(f.code, f.message) for f in before}
    added = [f for f in look(fault.live) if (f.code, f.message) not in known]
    found = [f for f in added if f.code == fault.code and f.where == fault.where]
    assert len(found) == 1, added
    assert fault.says in found[0].message
    assert found[0].severity == (fault.severity or found[0].severity)
    assert {f.code for f in added if f is not found[0]} == set(fault.also), added


def test_every_code_is_planted() -> None:
    """Those of the area fencing have a file of their own."""
    codes = {code for module in AREAS.values() if module is not fencing for code in module.BOOK.rules}
    assert codes - {"cluster-several"} == {fault.code for fault in FAULTS}  # it needs a second stack, see below


def test_the_two_good_set_ups(box: Box) -> None:
    """What create makes: nothing at all. The guide's: that nobody fences, and a warning."""
    plant(box, GOOD)
    assert look() == []
    plant(box, NINE)
    assert look() == []
    plant(box, {**GOOD, **provision.FILES})
    found = look()
    assert heavy(found) == [("drbd-unfenced", f"{DRBD}:1"), ("drbd-after-sb-1pri", f"{DRBD}:10")]
    assert [f.severity for f in found[:2]] == [ERROR, WARNING]
    assert {f.code for f in found if f.severity == NOTE} == {"drbd-no-secret", "drbd-syncer", "drbd-become-primary-on"}


def test_a_public_address_without_a_secret_is_a_warning(box: Box) -> None:
    plant(box, {**GOOD, **provision.FILES})
    box.write(DRBD, provision.FILES[DRBD].replace("10.181.76.11", "198.41.0.4"))
    assert ("drbd-no-secret", f"{DRBD}:1") in heavy(look())


def test_the_kernel_s_own_sockets_take_no_port(box: Box) -> None:
    plant(box, GOOD)
    box.write("/proc/net/tcp", LISTENING.format("0A4CB50A:1E6D", 0))
    assert look() == []
    # Another address of this host is no matter.
    box.write("/proc/net/tcp", LISTENING.format("0100007F:1E6D", 4711))
    assert look() == []


def test_the_owner_of_a_port_is_named(box: Box) -> None:
    plant(box, GOOD)
    box.write("/proc/net/tcp", LISTENING.format("0A4CB50A:1E6D", 4711))
    box.write("/proc/77/comm", "netcat\n")
    (box.root / "proc/77/fd").mkdir()
    (box.root / "proc/77/fd/3").symlink_to("socket:[4711]")
    assert [f.message for f in look()] == ["port 7789 of 10.181.76.10 is taken by netcat (77)"]


@pytest.mark.parametrize("secret", ["s3cret;}", "a;s3cret}b", "s3cret x"])
@pytest.mark.parametrize("sign", ';"{}')
def test_one_sign_too_few_shows_no_shared_secret(box: Box, sign: str, secret: str) -> None:
    text = NINE[DRBD].replace("s3cret;}", secret)
    plant(box, NINE)
    for at in (n for n, character in enumerate(text) if character == sign):
        box.write(DRBD, text[:at] + text[at + 1 :])
        found = look()
        assert "s3cret" not in str(found), at
        if sign != ";" and not 0 <= at - text.index(secret) < len(secret):
            assert "drbd-syntax" in {f.code for f in found}, at


@pytest.mark.parametrize(
    "said",
    [
        "Parse error: ';' expected,\n\tbut got 's3cret' (TK 282)",
        "Parse error: while parsing value ('s3crets3cret...')",
        'Unterminated double quoted string\n  >>>"s3cret;\n...<<<',
    ],
)
def test_drbdadm_s_own_word_shows_no_shared_secret(box: Box, said: str) -> None:
    plant(box, GOOD)
    stand_ins(box)
    box.write("/said", f"drbd.d/r0.res:6: {said}\n")
    box.tool("drbdadm", "cat $ROOT/said >&2; exit 10")
    (found,) = look(live=True)
    assert (found.code, found.where) == ("drbd-refused", f"{DRBD}:6")
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cram-hmac-alg sha256;", "cram-hmac-alg sha256"),
        ("cram-hmac-alg sha256;", "protocol A"),
        ("cram-hmac-alg sha256;", "after-sb-1pri discard-secondary"),
        ("cram-hmac-alg sha256;", "become-primary-on both"),
    ],
)
def test_a_secret_that_has_become_part_of_another_setting(box: Box, old: str, new: str) -> None:
    plant(box, GOOD)
    box.write(DRBD, GOOD[DRBD].replace(old, new).replace("protocol C;", ""))
    assert "s3cret" not in str(look())


@pytest.mark.exhaustive
def test_a_shared_secret_is_never_shown(box: Box) -> None:
    for fault in FAULTS:
        if fault.file == DRBD and fault.new is not None:
            plant(box, GOOD)
            box.write(DRBD, GOOD[DRBD].replace(fault.old, fault.new))
            assert "s3cret" not in str(look()), fault


@pytest.mark.parametrize(
    "device", ["/dev/drbd0", "/dev/drbd/by-res/r0", "/dev/drbd/by-res/r0/0", "/dev/drbd/by-disk/loop7"]
)
def test_each_name_of_the_device(box: Box, device: str) -> None:
    plant(box, GOOD)
    box.write(OURS, GOOD[OURS].replace("/dev/drbd0", device))
    assert look() == []


def test_hidden_files_are_not_taken_for_missing_ones(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """As nobody, with the files of the secret and of the cluster closed to others."""
    from drbdocfs_boot.tools import system

    plant(box, GOOD)
    closed = (DRBD, CLUSTER)
    really: Callable[[str], str | None] = system.read
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    monkeypatch.setattr("os.access", lambda name, mode: not str(name).endswith(closed))
    monkeypatch.setattr(system, "read", lambda name: None if name in closed else really(name))
    found = look()
    assert [f.code for f in found] == ["not-permitted"]
    assert DRBD in found[0].message
    assert CLUSTER in found[0].message


BY_NAME = "device /dev/drbd_web minor 0; disk /dev/loop7; meta-disk internal;"
VOLUME_1 = "volume 1 { device minor 0; disk /dev/loop7; meta-disk internal; }"
TWO = VOLUME_1 + " volume 0 { device minor 5; disk /dev/vdb; meta-disk internal; }"


@pytest.mark.parametrize(
    ("volumes", "device", "ours"),
    [
        (BY_NAME, "/dev/drbd_web", True),
        (BY_NAME, "/dev/drbd0", True),
        (BY_NAME, "/dev/drbd1", False),
        (BY_NAME, "/dev/drbd/by-res/r0", True),
        (BY_NAME, "/dev/drbd/by-disk/loop7", True),
        (BY_NAME, "/dev/drbd/by-disk/loop8", False),
        (BY_NAME.replace("/dev/loop7", "/dev/disk/by-id/x"), "/dev/drbd/by-disk/disk/by-id/x", True),
        (VOLUME_1, "/dev/drbd/by-res/r0/1", True),
        (VOLUME_1, "/dev/drbd/by-res/r0/0", False),
        (VOLUME_1, "/dev/drbd/by-res/r1/1", False),
        (TWO, "/dev/drbd/by-res/r0/1", True),
        (TWO, "/dev/drbd5", True),
        (TWO, "/dev/drbd/by-res/r0", False),
    ],
)
def test_check_and_attach_take_the_same_names_of_the_device(
    box: Box, volumes: str, device: str, ours: bool
) -> None:
    """With no link in /dev: udev makes them after the attach."""
    hosts = "".join(f"on server{n} {{ address ipv4 10.181.76.{9 + n}:7789; {volumes} }}\n" for n in (1, 2))
    text = f"resource r0 {{\n{hosts}}}\n"
    plant(box, {**GOOD, OURS: GOOD[OURS].replace("/dev/drbd0", device), DRBD: text})
    assert ("drbd-device-differs" not in {f.code for f in look()}) is ours
    described = drbddump.parse(text, "server1")
    assert described is not None
    if ours:
        attach._device_is_ours("r0", device, described)
    else:
        with pytest.raises(Failure) as refused:
            attach._device_is_ours("r0", device, described)
        assert refused.value.status == 78


@pytest.mark.parametrize("protocol", ["C", "A"])
@pytest.mark.parametrize("form", ["host", "path", "mesh"])
def test_the_connection_of_the_two_with_a_disk_counts(box: Box, protocol: str, form: str) -> None:
    """A third one without a disk has a connection of its own with each of them."""
    net = NINE[DRBD][NINE[DRBD].index("\tnet {") : NINE[DRBD].index("\toptions {")]
    net = net.replace("protocol C", f"protocol {protocol}")

    def connection(host: str, other: str, net: str) -> str:
        ends = f"host {host} address 10.181.76.{9 + int(host[-1])}:77{host[-1]}{other[-1]};"
        ends += f" host {other} address 10.181.76.{9 + int(other[-1])}:77{host[-1]}{other[-1]};"
        return f"\tconnection {{ {f'path {{ {ends} }}' if form == 'path' else ends} {net} }}\n"

    ours = connection("server1", "server2", "" if form == "mesh" else net)
    if form == "mesh":
        ours = f"connection-mesh {{ hosts server1 server2; {net} }}"
    others = connection("server1", "server3", "net { protocol B; }") + connection(
        "server2", "server3", "net { protocol A; after-sb-2pri violently-as0p; }"
    )
    hosts = NINE[DRBD][NINE[DRBD].index("\ton server1") :].rstrip()[:-1]
    if form != "mesh":
        hosts = "".join(line for line in hosts.splitlines(True) if "address" not in line)
    third = "\ton server3 { disk none; device minor 0; address 10.181.76.12:7789; }\n}\n"
    options = "\toptions { auto-promote no; }\n\thandlers { fence-peer /usr/libexec/drbdocfs-boot/fence-peer; }\n"
    plant(box, {**NINE, DRBD: f"resource r0 {{\n{options}{ours}{others}{hosts}{third}"})
    found = [f for f in look() if f.severity == ERROR]
    assert [f.code for f in found] == (["drbd-protocol"] if protocol == "A" else [])


@pytest.mark.parametrize(
    ("own", "common", "wrong"),
    [
        ("protocol A; ", "net { protocol C; }", True),
        ("protocol C; ", "net { protocol A; }", False),
        ("protocol C; ", "protocol A;", False),
        ("net { protocol C; } ", "protocol A;", False),
        ("", "protocol A;", True),
        ("", "net { protocol B; }", True),
    ],
)
def test_the_resource_s_protocol_goes_before_common_s(box: Box, own: str, common: str, wrong: bool) -> None:
    text = GOOD[DRBD].replace("\t\tprotocol C;\n", "").replace("\tnet {", f"\t{own}net {{", 1)
    plant(box, {**GOOD, DRBD: text, GLOBAL: GOOD[GLOBAL].replace("common {", f"common {{ {common}")})
    assert ("drbd-protocol" in {f.code for f in look()}) is wrong


@pytest.mark.parametrize("nine", [True, False])
def test_the_nearest_word_on_flushes_counts(box: Box, nine: bool) -> None:
    """That of the host before the resource's, before common's; barriers are off by default."""
    good = NINE if nine else GOOD
    near = "disk { disk-flushes yes; md-flushes; disk-barrier no; disk-drain yes; }"
    text = good[DRBD].replace("on server1 {", f"on server1 {{ volume 0 {{ {near} }}").replace(
        "on server2 {", "disk { disk-drain no; } on server2 { disk { disk-flushes no; }"
    )
    common = good[GLOBAL].replace("common {", "common { disk { disk-flushes no; md-flushes no; }")
    plant(box, {**good, DRBD: text, GLOBAL: common})
    assert heavy(look()) == []


@pytest.mark.parametrize("nine", [True, False])
def test_what_is_skipped_is_not_there(box: Box, nine: bool) -> None:
    good = NINE if nine else GOOD
    old = "syncer { rate 10M; } startup { become-primary-on both; } disk { fencing x; } net { fencing x; }"
    skipped = f'\tskip {{ {old} }} skip syncer {{ rate 10M; }} skip "old" {{ become-primary-on both; }}\n'
    plant(box, {**good, DRBD: good[DRBD].replace("\tnet {", skipped + "\tnet {", 1)})
    assert look() == []


def test_metadata_on_a_loop_device_that_nobody_sets_up(box: Box) -> None:
    plant(box, GOOD)
    for device, found in (("/dev/loop8[0]", [("drbd-loop-unmanaged", f"{DRBD}:21")]), ("/dev/vdc [0]", [])):
        box.write(DRBD, GOOD[DRBD].replace("meta-disk internal", f"meta-disk {device}"))
        assert heavy(look()) == found


@pytest.mark.parametrize("online", ["", "web", "mail"])
def test_stacks_in_two_clusters(box: Box, online: str) -> None:
    """The kernel has room for one. Two stacks in one cluster are as they should be."""
    text = GOOD[OURS].replace("[web]", "[mail]").replace("r0", "r1").replace("drbd0", "drbd1").replace("loop7", "loop8")
    second = text.replace("/drbd-loop.img", "/mail.img").replace("/mnt/storage", "/mnt/mail")
    resource = SECOND.replace("7789", "7790").replace("loop7", "loop8")
    plant(box, {**GOOD, OURS: GOOD[OURS] + second, "/etc/drbd.d/r1.res": resource})
    assert heavy(look()) == []
    other = GOOD[CLUSTER].replace("7777", "7778").replace("web", "mail")
    plant(box, {OURS: GOOD[OURS] + second.replace("= web", "= mail"), CLUSTER: GOOD[CLUSTER] + "\n" + other})
    if online:
        (box.root / f"{CONFIGFS.lstrip('/')}/{online}").mkdir(parents=True)
    found = look()
    there = {
        "web": [("o2cb-other-online", f"{CONFIGFS}/web", "mail")],
        "mail": [("o2cb-other-online", f"{CONFIGFS}/mail", "web")],
    }
    assert [(f.code, f.where, f.stack) for f in found] == [
        ("cluster-several", f"{OURS}:14", ""),
        *there.get(online, []),
    ]
    assert found[0].message == "the stacks have the clusters web (stack web) and mail (stack mail)"


@pytest.mark.parametrize("driver", ["8.4.11", ""])
def test_drbdadm_is_asked_of_a_tree_whose_driver_is_known(box: Box, driver: str) -> None:
    plant(box, GOOD)
    box.tool("env", f"echo '{box.root}/etc/drbd.d/r0.res:4: Parse error: no, thanks' >&2; exit 10")
    if not driver:
        (box.root / "sys/module/drbd/version").unlink()
    found = [(f.code, f.where, f.message) for f in look()]
    assert found == ([("drbd-refused", f"{DRBD}:4", "drbdadm: Parse error: no, thanks")] if driver else [])
    asked = f"env __DRBD_NODE__=server1 DRBD_DRIVER_VERSION_OVERRIDE=8.4.11 drbdadm -c {box.root}/etc/drbd.conf dump r0"
    assert box.calls == ([asked] if driver else [])


def test_no_live_question_is_asked_of_a_tree(box: Box) -> None:
    plant(box, GOOD)
    stand_ins(box)
    look()
    assert box.calls == []


def test_the_net_of_a_mesh_counts(box: Box) -> None:
    plant(box, NINE)
    text = NINE[DRBD]
    net = text[text.index("\tnet {") : text.index("\toptions {")]
    mesh = "\tconnection-mesh {\n\t\thosts server1 server2;\n" + net + "\t}\n"
    plant(box, {DRBD: text.replace(net, mesh)})
    assert look() == []
    plant(box, {DRBD: text.replace(net, mesh.replace("protocol C", "protocol A"))})
    assert heavy(look()) == [("drbd-protocol", f"{DRBD}:6")]


PATHS = """\
\tconnection {
\t\tpath {
\t\t\thost server1 address 10.181.76.10:7789;
\t\t\thost server2 address 10.181.76.11:7789;
\t\t}
\t\tpath {
\t\t\thost server1 address [fd00::10]:7789;
\t\t\thost server2 address [fd00::11]:7789;
\t\t}
\t}
"""


def test_two_paths_of_two_kinds(box: Box) -> None:
    text = "".join(line + "\n" for line in NINE[DRBD].splitlines() if "address" not in line)
    plant(box, {**NINE, DRBD: text.replace("\ton server1", PATHS + "\ton server1")})
    assert look() == []
    plant(box, {DRBD: text.replace("\ton server1", PATHS.replace("[fd00::11]", "10.181.77.11") + "\ton server1")})
    found = [f for f in look() if f.severity == ERROR]
    assert [f.code for f in found] == ["drbd-address-family"]
    assert found[0].message == "IPv4 and IPv6 for server1 and IPv4 for server2"


def test_drbd_9_knows_the_other_host_too(box: Box) -> None:
    """By a name without its domain, which O2CB has in full."""
    stanzas = GOOD[CLUSTER].replace("name = server2", "name = server2.example.com")
    plant(box, {**NINE, CLUSTER: stanzas})
    assert heavy(look()) == []
    plant(box, {**GOOD, CLUSTER: stanzas})
    assert heavy(look()) == [("cluster-node-missing", f"{CLUSTER}:16")]


@pytest.mark.parametrize("text", ["²", "9" * 5000], ids=["superscript", "long"])
def test_digits_that_are_no_number(box: Box, text: str) -> None:
    plant(box, GOOD)
    for name in ("node_count = 2", "number = 1", "ip_port = 7777"):
        box.write(CLUSTER, GOOD[CLUSTER].replace(name, f"{name.partition('=')[0]}= {text}"))
        codes = {f.code for f in look()}
        assert "check-failed" not in codes
        assert "cluster-conf-syntax" in codes
    box.write(CLUSTER, GOOD[CLUSTER])
    box.write(O2CB, f"O2CB_HEARTBEAT_THRESHOLD={text}\n")
    assert [f.code for f in look()] == ["o2cb-timing"]
    box.write(O2CB, GOOD[O2CB])
    odd = GOOD[DRBD].replace("minor 0", f"minor {text}").replace("protocol C;", f"protocol C; timeout {text};")
    box.write(DRBD, odd)
    assert "check-failed" not in {f.code for f in look()}


def test_an_odd_driver(box: Box) -> None:
    """drbdadm is asked of a tree, but nothing can be told a word with a NUL in it."""
    plant(box, {**GOOD, "/sys/module/drbd/version": "8.4\0.11\n"})
    box.tool("env", "exit 1")
    assert look() == []


@pytest.mark.parametrize("text", ["# a comment\n\nserver1\n", "  server1  \n# server2\n"])
def test_comments_in_the_file_of_the_host_s_name(box: Box, text: str) -> None:
    plant(box, GOOD)
    box.write("/etc/hostname", text)
    assert collect().host == "server1"
    assert look() == []


@pytest.mark.parametrize("file", [OURS, DRBD, CLUSTER, O2CB, HOSTS])
def test_half_a_file_ends_no_area_early(box: Box, file: str) -> None:
    """Cut off anywhere, as a power cut or a full disk leaves it; and with bytes that no text has."""
    plant(box, GOOD)
    text = GOOD[file].encode()
    for at in range(0, len(text), max(1, len(text) // 8)):
        for tail in (b"", b"\x00\xff\n"):
            (box.root / file.lstrip("/")).write_bytes(text[:at] + tail)
            assert "check-failed" not in {f.code for f in look()}, at


def test_a_node_s_name_is_no_path(box: Box) -> None:
    plant(box, GOOD)
    box.write(CLUSTER, GOOD[CLUSTER].replace("name = server2", "name = ../../../../../etc\0"))
    box.write(f"{CONFIGFS}/web/node/server1/num", "0\n")
    assert "check-failed" not in {f.code for f in look()}
