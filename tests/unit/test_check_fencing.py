"""Who goes on when the link is lost: one planted fault for each code, and what looks like one and is none."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import pytest

from drbdocfs_boot.checks import fencing
from drbdocfs_boot.checks.facts import Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Finding

from .conftest import Box
from .test_check_areas import CLUSTER, DRBD, GOOD, NINE, O2CB, OURS, heavy, look, plant

OPTIONS = "/etc/drbdocfs/fence.conf"
AGENT = "/usr/sbin/fence_rack"
SSH = "/usr/bin/ssh"
FENCE = "\t\tfencing resource-and-stonith;\n"
HANDLER = f'\t\tfence-peer "{fencing.HANDLER}";\n'
# Times with which every policy has all of its grace.
ROOMY = {O2CB: GOOD[O2CB] + "O2CB_HEARTBEAT_THRESHOLD=41\nO2CB_IDLE_TIMEOUT_MS=74000\n"}
POWER = {
    **GOOD,
    **ROOMY,
    OURS: GOOD[OURS].replace("survivor = server1", "survivor = power\nfence_agent = fence_rack"),
    OPTIONS: "# the rack's switch\nip = 10.0.0.1\npassword = s3cret]\n[server1]\nplug = 1\n[server2]\nplug = 2\n",
    AGENT: "#!/bin/sh\n",
}
WITNESS = {
    **GOOD,
    **ROOMY,
    OURS: GOOD[OURS].replace("survivor = server1", "survivor = witness\nwitness = lock@third:22"),
    SSH: "#!/bin/sh\n",
}
MOUNTS = "22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:40 / /srv/lock rw - nfs4 nas:/lock rw\n"
SHARED = {
    **WITNESS,
    OURS: WITNESS[OURS].replace("lock@third:22", "/srv/lock/drbdocfs"),
    "/proc/self/mountinfo": MOUNTS,
    "/srv/lock/drbdocfs/keep": "",
}
# Three hosts with DRBD 9, one of them for its voice only.
THIRD = "\ton server3 {\n\t\taddress ipv4 10.181.76.12:7789;\n\t\tdevice minor 0;\n\t\tdisk none;\n\t}\n"
QUORUM = {
    **NINE,
    **ROOMY,
    OURS: WITNESS[OURS].replace("lock@third:22", "lock@server3"),
    SSH: "#!/bin/sh\n",
    DRBD: NINE[DRBD]
    .replace("auto-promote no;", "auto-promote no; quorum majority;")
    .replace("\ton server1", THIRD + "\ton server1"),
}
# A second stack of the same cluster.
TWO = {
    **GOOD,
    OURS: GOOD[OURS] + GOOD[OURS].replace("[web]", "[mail]").replace("r0", "r1").replace("drbd0", "drbd1")
    .replace("/drbd-loop.img", "/mail.img").replace("loop7", "loop8").replace("storage", "mail"),
    DRBD: GOOD[DRBD] + GOOD[DRBD].replace("r0", "r1").replace("7789", "7790").replace("drbd0 minor 0", "drbd1 minor 1")
    .replace("loop7", "loop8"),
}  # fmt: skip
BOTH_WITNESS = {
    **TWO,
    **ROOMY,
    OURS: TWO[OURS].replace("survivor = server1", "survivor = witness\nwitness = lock@third:22"),
    SSH: "#!/bin/sh\n",
}
SETUPS = {
    "host": GOOD, "two": TWO, "nine": NINE, "power": POWER, "witness": WITNESS, "shared": SHARED, "quorum": QUORUM,
}  # fmt: skip


def there(box: Box, files: dict[str, str]) -> None:
    plant(box, files)
    if OPTIONS in files:
        (box.root / OPTIONS[1:]).chmod(0o600)


def change(box: Box, setup: dict[str, str], file: str, old: str, new: str | None) -> None:
    if new is None:
        (box.root / file[1:]).unlink()
    elif old:
        assert old in setup[file]
        there(box, {file: setup[file].replace(old, new)})
    else:
        there(box, {file: new})


@pytest.mark.parametrize("name", SETUPS)
def test_set_ups_that_are_right(box: Box, name: str) -> None:
    there(box, SETUPS[name])
    assert look() == []


SURVIVOR, POLICY = f"{OURS}:8", f"{DRBD}:12"
# set-up, code, severity, place, file, what stands there, what instead; words of the message; other codes.
Fault = tuple[str, str, str, str, str, str, "str | None", str, "tuple[str, ...]"]
NEVER = ("survivor-unheeded",)
FAULTS: list[Fault] = [
    ("host", "drbd-unfenced", ERROR, POLICY, DRBD, "resource-and-stonith", "dont-care", "neither", NEVER),
    ("host", "drbd-unfenced", ERROR, f"{DRBD}:1", DRBD, FENCE, "", "neither", NEVER),
    ("nine", "drbd-unfenced", ERROR, f"{DRBD}:1", DRBD, FENCE, "", "neither", NEVER),
    ("quorum", "drbd-unfenced", ERROR, f"{DRBD}:1", DRBD, FENCE, "",
     "quorum majority, but no fencing: where only the link between the two is cut, both keep the quorum", NEVER),
    ("quorum", "drbd-unfenced", ERROR, f"{DRBD}:3", DRBD, "resource-and-stonith", "dont-care", "both write on", NEVER),
    ("host", "drbd-fencing-resource-only", ERROR, POLICY, DRBD, "resource-and-stonith", "resource-only",
     "our handler waits while both write", NEVER),
    ("host", "drbd-no-fence-peer", WARNING, POLICY, DRBD, HANDLER, "", "no handler", NEVER),
    ("host", "fence-peer-missing", ERROR, f"{DRBD}:15", fencing.HANDLER, "", None, "no such file", ()),
    ("host", "fence-peer-missing", ERROR, f"{DRBD}:15", DRBD, fencing.HANDLER, "/mnt/storage/fence",
     "stack's own mount", NEVER),
    ("host", "fence-peer-foreign", NOTE, f"{DRBD}:15", DRBD, fencing.HANDLER, "exec /opt/fence now", "exec", NEVER),
    ("host", "fence-peer-foreign", WARNING, f"{DRBD}:15", DRBD, fencing.HANDLER, "crm-fence-peer.9.sh",
     "Pacemaker is not installed", NEVER),
    ("host", "drbd-unfence-peer", NOTE, f"{DRBD}:15", DRBD, HANDLER, f"\t\tunfence-peer /bin/true;\n{HANDLER}",
     "/bin/true", ()),
    ("quorum", "drbd-quorum", WARNING, f"{DRBD}:13", DRBD, THIRD, "", "quorum majority of 2 hosts", ()),
    ("quorum", "drbd-quorum", WARNING, f"{DRBD}:13", DRBD, "majority", "3", "quorum 3 of 3 hosts", ()),
    ("nine", "drbd-quorum", WARNING, f"{DRBD}:13", DRBD, "auto-promote no;", "auto-promote no; quorum all;",
     "quorum all of 2 hosts", ()),
    ("quorum", "drbd-on-no-quorum", WARNING, f"{DRBD}:13", DRBD, "quorum majority;",
     "quorum majority; on-no-quorum io-error;", "io-error", ()),
    ("quorum", "drbd-quorum-and-fencing", NOTE, f"{DRBD}:13", OURS, "witness\nwitness = lock@server3", "server1",
     "survivor = server1, and quorum majority", ()),
    ("host", "survivor-unheeded", ERROR, SURVIVOR, DRBD, FENCE, "", "has no fencing", ("drbd-unfenced",)),
    ("quorum", "survivor-unheeded", ERROR, SURVIVOR, DRBD, FENCE, "", "has no fencing", ("drbd-unfenced",)),
    ("quorum", "drbd-no-fence-peer", WARNING, f"{DRBD}:3", DRBD, HANDLER, "", "no handler", NEVER),
    ("host", "survivor-none", NOTE, SURVIVOR, OURS, "= server1", "= none", "reset 58 s after", ()),
    ("host", "survivor-none", NOTE, f"{OURS}:1", OURS, "survivor = server1\n", "", "stay frozen", ()),
    ("host", "survivor-unknown", ERROR, SURVIVOR, OURS, "= server1", "= Server1", "capital letters", ()),
    ("host", "survivor-unknown", ERROR, SURVIVOR, OURS, "= server1", "= server3", "server1 and server2", ()),
    ("host", "survivor-not-lowest", WARNING, SURVIVOR, OURS, "= server1", "= server2\nlink_grace = 7s",
     "server2 has the number 1, server1 has 0", ()),
    ("two", "survivors-apart", WARNING, f"{OURS}:16", OURS, "server1\n[mail]", "none\n[mail]",
     "survivor = server1, and of stack web none", ("survivor-none",)),
    ("power", "fence-agent-missing", ERROR, SURVIVOR, OURS, "\nfence_agent = fence_rack", "", "without", ()),
    ("power", "fence-agent-missing", ERROR, f"{OURS}:9", AGENT, "", None, "is not in /usr/local/sbin", ()),
    ("power", "fence-agent-missing", ERROR, f"{OURS}:9", OURS, "= fence_rack", "= /opt/rack", "no such file", ()),
    ("power", "fence-agent-missing", ERROR, f"{OURS}:9", OURS, "= fence_rack", "= /mnt/storage/f", "own mount", ()),
    ("power", "fence-delay", WARNING, f"{OPTIONS}:4", OPTIONS, "[server1]", 'Delay = "5"\n[server1]', "delay = 5", ()),
    ("power", "fence-delay", WARNING, f"{OPTIONS}:7", OPTIONS, "plug = 2", "delay = s3cret]\nplug = 2", "option delay",
     ()),
    ("power", "fence-options", ERROR, f"{OURS}:1", OPTIONS, "", None, f"no file {OPTIONS}", ()),
    ("power", "fence-options", ERROR, f"{OURS}:10", OURS, "fence_rack", "fence_rack\nfence_options = /root/o",
     "no file /root/o", ()),
    ("power", "fence-options", ERROR, OPTIONS, OPTIONS, "[server2]", "[Server2]", "no section [server2]", ()),
    ("power", "fence-options", ERROR, f"{OPTIONS}:3", OPTIONS, "password = s3cret]", "s3cret]", "", ()),
    ("power", "fence-options", ERROR, f"{OPTIONS}:7", OPTIONS, "plug = 2", "action = off", "action", ()),
    ("witness", "witness-missing", ERROR, SURVIVOR, OURS, "witness = lock@third:22\n", "", "without", ()),
    ("witness", "witness-missing", ERROR, f"{OURS}:9", SSH, "", None, "ssh is not installed", ()),
    ("witness", "witness-not-apart", ERROR, f"{OURS}:9", OURS, "third:22", "server2", "is server2", ()),
    ("witness", "witness-not-apart", ERROR, f"{OURS}:9", OURS, "third:22", "10.181.76.10:22", "is server1", ()),
    ("shared", "witness-not-apart", ERROR, f"{OURS}:9", OURS, "= /srv/lock/drbdocfs", "= /mnt/storage/lock",
     "lies on /mnt/storage", ()),
    ("shared", "witness-missing", ERROR, f"{OURS}:9", OURS, "= /srv/lock/drbdocfs", "= /var/lock", "no directory", ()),
    ("host", "fencing-unused-key", NOTE, f"{OURS}:9", OURS, "server1\n", "server1\nfence_agent = fence_rack\n",
     "survivor = power", ()),
    ("host", "fencing-unused-key", NOTE, f"{OURS}:9", OURS, "server1\n", "server1\nfence_options = /etc/f\n",
     "fence_options", ()),
    ("power", "fencing-unused-key", NOTE, f"{OURS}:10", OURS, "fence_rack\n", "fence_rack\nwitness = third\n",
     "survivor = witness, which is power", ()),
    ("power", "fencing-late", WARNING, f"{OURS}:1", O2CB, "74000", "30000", "server2: notice 20.5 s",
     ("link-grace-cut",)),
    ("witness", "fencing-late", WARNING, f"{OURS}:1", DRBD, "protocol C;", "protocol C; ping-int 33;",
     "of 76 s that O2CB leaves (quorum)", ("link-grace-cut",)),
    ("host", "link-grace-cut", NOTE, f"{OURS}:9", OURS, "server1\n", "server1\nlink_grace = 1min\n",
     "60 s is cut to 33.5 s on server1", ()),
    ("witness", "link-grace-cut", NOTE, f"{OURS}:1", O2CB, "74000", "30000", "cut to 3.5 s on server2", ()),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{fault[1]}-{n}" for n, fault in enumerate(FAULTS)])
def test_exactly_the_planted_fault_is_found(box: Box, fault: Fault) -> None:
    name, code, severity, where, file, old, new, says, also = fault
    setup = SETUPS[name]
    there(box, setup)
    change(box, setup, file, old, new)
    findings = look()
    found = [f for f in findings if f.code == code]
    assert [(f.severity, f.where) for f in found] == [(severity, where)], findings
    assert says in found[0].message
    assert {f.code for f in findings if f is not found[0]} == set(also), findings
    assert "s3cret" not in str(findings)


def test_stacks_with_a_lock_each_let_one_node_go_first(box: Box) -> None:
    there(box, BOTH_WITNESS)
    assert look() == [], "with roomy limits nothing is cut"
    there(box, {O2CB: GOOD[O2CB]})
    cut = [f for f in look() if f.code == "fencing-late"]
    assert {f.stack for f in cut} == {"web", "mail"}
    assert "head start 22.5 s" in cut[1].message


def test_every_code_is_planted() -> None:
    elsewhere = {"drbd-fencing-not-adjusted", "fence-agent-board", "fence-options-open"}
    assert {fault[1] for fault in FAULTS} | elsewhere == set(fencing.BOOK.rules)


def test_what_to_add_is_said_for_the_driver(box: Box) -> None:
    there(box, {**GOOD, DRBD: GOOD[DRBD].replace(FENCE, "").replace(HANDLER, "")})
    found = next(f for f in look() if f.code == "drbd-unfenced")
    assert "disk { fencing resource-and-stonith; } " in found.advice
    assert f'handlers {{ fence-peer "{fencing.HANDLER}"; }}' in found.advice
    assert "'drbdadm adjust r0'" in found.advice
    assert "quorum" not in found.advice
    there(box, {**NINE, DRBD: NINE[DRBD].replace(FENCE, "")})
    found = next(f for f in look() if f.code == "drbd-unfenced")
    assert "net { fencing resource-and-stonith; }; " in found.advice
    assert "quorum" not in found.advice  # it does not replace fencing
    (box.root / "sys/module/drbd/version").unlink()
    found = next(f for f in look() if f.code == "drbd-unfenced")
    assert "(DRBD 8.4) or net {" in found.advice


def test_what_stands_in_the_wrong_section_is_said_once(box: Box) -> None:
    """drbdadm refuses it there, and that is all there is to mend."""
    there(box, {**GOOD, DRBD: GOOD[DRBD].replace(FENCE, "").replace("\tnet {\n", f"\tnet {{\n{FENCE}")})
    assert [f.code for f in look()] == ["drbd-wrong-driver"]


@pytest.mark.parametrize("quorum", ["all", "2"])
def test_each_quorum_of_two_is_kept_by_the_third_host(box: Box, quorum: str) -> None:
    text = QUORUM[DRBD].replace("majority", quorum)
    there(box, {**QUORUM, DRBD: text})
    assert look() == []
    there(box, {DRBD: text.replace(FENCE, "")})
    assert {f.code for f in look()} == {"drbd-unfenced", "survivor-unheeded"}


def test_a_quorum_of_two_hosts_stops_both_and_loses_nothing(box: Box) -> None:
    there(box, {**QUORUM, DRBD: QUORUM[DRBD].replace(FENCE, "").replace(THIRD, "")})
    assert [(f.code, f.severity) for f in look()] == [("survivor-unheeded", ERROR), ("drbd-quorum", WARNING)]


def test_a_quorum_of_one_is_none(box: Box) -> None:
    there(box, {**QUORUM, DRBD: QUORUM[DRBD].replace("majority", "1").replace(FENCE, "")})
    found = next(f for f in look() if f.code == "drbd-unfenced")
    assert "neither fencing nor quorum" in found.message


@pytest.mark.parametrize(
    ("survivor", "words"),
    [
        ("survivor = server1\n", "mounts alone whatever the peer has; with fencing the other node does not"),
        ("survivor = server2\n", "with fencing and survivor = server2 our handler refuses it"),
        ("survivor = none\n", "with fencing and survivor = none our handler refuses it"),
        ("survivor = power\nfence_agent = fence_rack\n", "survivor = power our handler refuses it"),
        ("survivor = witness\nwitness = lock@third\n", "with fencing it does with the witness's lock only"),
    ],
)
def test_where_always_counts(box: Box, survivor: str, words: str) -> None:
    """On the named survivor, and with the lock: the handler refuses it elsewhere."""
    there(box, {**GOOD, OURS: GOOD[OURS].replace("survivor = server1\n", f"{survivor}when_alone = always\n")})
    found = [f for f in look() if f.code == "when-alone-always"]
    assert [f.severity for f in found] == [WARNING]
    assert words in found[0].message


def test_a_third_host_with_a_disk_is_one_too_many(box: Box) -> None:
    there(box, {**QUORUM, DRBD: QUORUM[DRBD].replace("disk none;", "disk /dev/sdb;")})
    assert ("drbd-hosts", f"{DRBD}:1") in heavy(look())


def test_a_third_host_with_8_4(box: Box) -> None:
    there(box, {**GOOD, DRBD: GOOD[DRBD].replace("\ton server1", THIRD + "\ton server1")})
    assert [f.code for f in look()] == ["drbd-hosts"]


def test_a_handler_that_is_not_executable(box: Box) -> None:
    there(box, GOOD)
    (box.root / fencing.HANDLER[1:]).chmod(0o644)
    assert [(f.code, f.message.rpartition(": ")[2]) for f in look()] == [("fence-peer-missing", "is not executable")]


@pytest.mark.parametrize("name", ["crm-fence-peer.sh", "crm-fence-peer.9.sh", "stonith_admin-fence-peer.sh"])
def test_pacemaker_s_handler_with_pacemaker(box: Box, name: str) -> None:
    place = f"/usr/lib/drbd/{name}"
    there(box, {**GOOD, DRBD: GOOD[DRBD].replace(fencing.HANDLER, place), place: "#!/bin/sh\n"})
    there(box, {OURS: GOOD[OURS].replace("survivor = server1\n", ""), "/usr/sbin/pacemakerd": "#!/bin/sh\n"})
    found = look()
    assert [(f.code, f.severity) for f in found] == [("fence-peer-foreign", NOTE)]
    assert found[0].message.endswith("which is Pacemaker's")


@pytest.mark.parametrize("quoted", [f'"{fencing.HANDLER} "', fencing.HANDLER, f"\"'{fencing.HANDLER}' --x\""])
def test_our_handler_however_it_is_written(box: Box, quoted: str) -> None:
    there(box, {**GOOD, DRBD: GOOD[DRBD].replace(f'"{fencing.HANDLER}"', quoted)})
    assert look() == []


@pytest.mark.parametrize("name", ["host", "power", "witness"])
def test_in_a_tree_of_configuration_only_no_program_is_missed(box: Box, name: str) -> None:
    programs = (fencing.HANDLER, AGENT, SSH)
    there(box, {file: text for file, text in SETUPS[name].items() if file not in programs})
    assert look() == []


@pytest.mark.parametrize(
    ("name", "board"),
    [("fence_ipmilan", True), ("fence_ilo5_ssh", True), ("fence_idrac", True), ("fence_apc", False), ("wol", False)],
)
def test_an_agent_that_asks_a_board_inside_the_server(box: Box, name: str, board: bool) -> None:
    """By its name or its path."""
    for text in (name, f"/usr/sbin/{name}"):
        there(box, {**POWER, f"/usr/sbin/{name}": "#!/bin/sh\n", OURS: POWER[OURS].replace("fence_rack", text)})
        (box.root / f"usr/sbin/{name}").chmod(0o755)
        found = [(f.code, f.severity, f.where) for f in look()]
        assert found == ([("fence-agent-board", NOTE, f"{OURS}:9")] if board else [])


@pytest.mark.parametrize("line", ["delay = 0", 'delay = "0"', "# delay = 5", "power_wait = 5"])
def test_what_is_no_delay(box: Box, line: str) -> None:
    there(box, {**POWER, OPTIONS: POWER[OPTIONS].replace("[server1]", f"{line}\n[server1]")})
    assert look() == []


# --- the agent's options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610])
def test_options_that_others_may_read(box: Box, mode: int) -> None:
    there(box, POWER)
    (box.root / OPTIONS[1:]).chmod(mode)
    found = look()
    assert [(f.code, f.severity, f.where) for f in found] == [("fence-options-open", ERROR, OPTIONS)]
    assert f"{mode:04o}" in found[0].message
    assert f"'chmod 600 {OPTIONS}'" in found[0].advice


@pytest.mark.parametrize(
    ("live", "owner", "codes"), [(True, 1000, ["fence-options-open"]), (True, 0, []), (False, 7, [])]
)
def test_options_of_another_s(
    box: Box, monkeypatch: pytest.MonkeyPatch, live: bool, owner: int, codes: list[str]
) -> None:
    """On a live host only: a tree's files may belong to whoever has unpacked it."""
    there(box, POWER)
    really: Callable[[Facts, str], os.stat_result | None] = Facts.stat

    def stat(facts: Facts, name: str) -> os.stat_result | None:
        found = really(facts, name)
        return os.stat_result((*found[:4], owner, *found[5:])) if name == OPTIONS and found is not None else found

    monkeypatch.setattr(Facts, "stat", stat)
    assert [f.code for f in fencing.find(Facts(live, "server1"))] == codes


def test_options_without_rights(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of root's own is not taken for an empty one."""
    from drbdocfs_boot.tools import system

    there(box, POWER)
    really: Callable[[str], str | None] = system.read
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setattr(os, "access", lambda name, mode: not str(name).endswith(OPTIONS))
    monkeypatch.setattr(system, "read", lambda name: None if name == OPTIONS else really(name))
    found = look()
    assert [f.code for f in found] == ["not-permitted"]
    assert OPTIONS in found[0].message


def test_a_directory_in_place_of_the_options(box: Box) -> None:
    there(box, {name: text for name, text in POWER.items() if name != OPTIONS})
    (box.root / OPTIONS[1:]).mkdir()
    assert [(f.code, f.where) for f in look()] == [("fence-options", OPTIONS)]


# --- the witness --------------------------------------------------------------------------------------------------


def live(box: Box) -> list[Finding]:
    return list(fencing.find(Facts(True, "server1")))


def test_a_directory_on_a_network_mount_is_looked_at_by_a_tool_only(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is gone would hold whoever asks the kernel; the tool has a limit."""
    there(box, SHARED)
    for name in ("stat", "readlink"):
        really = getattr(os, name)

        def ask(path: object, *rest: object, really: Callable[..., object] = really, **more: object) -> object:
            assert "srv/lock" not in str(path)
            return really(path, *rest, **more)

        monkeypatch.setattr(os, name, ask)
    box.tool("test", "exit 0")
    assert live(box) == []
    assert "test -d /srv/lock/drbdocfs" in box.calls
    box.tool("test", "exit 1")
    assert [(f.code, f.where) for f in live(box)] == [("witness-missing", f"{OURS}:9")]


def test_a_local_directory_is_no_witness(box: Box) -> None:
    """Each node would have its own lock, and both would go on: as it is when the share is not mounted."""
    there(box, {**SHARED, "/proc/self/mountinfo": MOUNTS.splitlines()[0] + "\n"})
    found = live(box)
    assert [(f.code, f.severity) for f in found] == [("witness-not-apart", ERROR)]
    assert "is on / (ext4) of this host" in found[0].message
    # What kind the file system of another host's tree is on is not known.
    assert look() == []


@pytest.mark.parametrize("kind", ["nfs", "cifs", "gfs2", "fuse.whatever", "ceph"])
def test_kinds_that_may_be_shared(box: Box, kind: str) -> None:
    there(box, {**SHARED, "/proc/self/mountinfo": MOUNTS.replace("nfs4", kind)})
    box.tool("test", "exit 0")
    assert live(box) == []


@pytest.mark.parametrize(
    ("witness", "whose"),
    [
        ("root@localhost", "this host"),
        ("localhost.localdomain", "this host"),
        ("root@127.0.0.1", "this host"),
        ("root@[::1]:22", "this host"),
        ("lock@server1.example.com", "server1"),
        ("lock@Server2", "server2"),
        ("lock@other", "server2"),  # in /etc/hosts
        ("lock@self", "this host"),
        ("lock@10.0.0.7", "server1"),  # an address of this host that is not DRBD's
        ("lock@third", ""),
        ("lock@third.example.com", ""),
        ("lock@server2.elsewhere", ""),  # in /etc/hosts: it is not the node of that name
        ("lock@10.0.0.9", ""),
    ],
)
def test_the_names_of_the_two_nodes(box: Box, witness: str, whose: str) -> None:
    there(box, {**WITNESS, OURS: WITNESS[OURS].replace("lock@third:22", witness)})
    known = "127.0.0.1 localhost self\n10.181.76.11 other # third\n10.0.0.9 server2.elsewhere third Server2\n"
    box.write("/etc/hosts", known)
    addresses = '[{"addr_info": [{"local": "10.0.0.7", "prefixlen": 24}, {"local": "127.0.0.1", "prefixlen": 8}]}]'
    box.tool("ip", f"echo '{addresses}'")
    found = [f for f in fencing.find(Facts(True, "server1")) if f.code == "witness-not-apart"]
    assert [f.where for f in found] == ([f"{OURS}:9"] if whose else [])
    assert not whose or f" is {whose}" in found[0].message


def test_a_link_to_the_stack_s_mount(box: Box) -> None:
    there(box, {**SHARED, OURS: SHARED[OURS].replace("/srv/lock/drbdocfs", "/var/lock")})
    (box.root / "var").mkdir()
    (box.root / "var/lock").symlink_to("/mnt/storage/lock")
    assert [(f.code, f.where) for f in look()] == [("witness-not-apart", f"{OURS}:9")]


def test_the_third_host_of_the_quorum_may_be_the_witness(box: Box) -> None:
    there(box, {**QUORUM, OURS: WITNESS[OURS].replace("lock@third:22", "lock@10.181.76.12")})
    assert look() == []


# --- times --------------------------------------------------------------------------------------------------------


def test_the_times_that_create_writes_suit_a_host(box: Box) -> None:
    net = "protocol C; ping-int 3; connect-int 3; timeout 25; ping-timeout 15; ko-count 14;"
    there(box, {**GOOD, DRBD: GOOD[DRBD].replace("protocol C;", net)})
    assert look() == []
    # On the node without the lowest number, too: that has its own warning.
    there(box, {OURS: GOOD[OURS].replace("= server1", "= server2")})
    assert [f.code for f in look()] == ["survivor-not-lowest"]


CASES = [
    (setup, grace, idle, threshold, ping)
    for setup in ("host", "power", "witness")
    for grace in (5, 20, 45)
    for idle, threshold, ping in ((30000, 31, 10), (10000, 31, 5), (50000, 31, 10), (30000, 17, 5), (20000, 61, 25))
]


@pytest.mark.parametrize(("setup", "grace", "idle", "threshold", "ping"), CASES)
def test_what_is_advised_for_more_time_is_enough(
    box: Box, setup: str, grace: int, idle: int, threshold: int, ping: int
) -> None:
    """Done as it is said, at most once for each finding, the finding is gone and no other is there."""
    files = dict(SETUPS[setup])
    files[OURS] += f"link_grace = {grace}s\n"
    files[DRBD] = files[DRBD].replace("protocol C;", f"protocol C; ping-int {ping}; timeout 45;")
    values = {"O2CB_IDLE_TIMEOUT_MS": str(idle), "O2CB_HEARTBEAT_THRESHOLD": str(threshold)}
    for _ in range(4):
        there(box, {**files, O2CB: "".join(f"{key}={value}\n" for key, value in values.items())})
        found = [f for f in look() if f.code in ("fencing-late", "link-grace-cut")]
        if not found:
            break
        assert ", with the stack stopped on both, or " in found[0].advice
        for change_ in found[0].advice.partition(", with")[0].split(" and "):
            key, _, value = change_.partition(" (now")[0].partition("=")
            assert values[key] in change_
            assert int(value) > int(values[key])
            values[key] = value
    else:
        pytest.fail(str(found))
    assert look() == []


def test_a_survivor_without_a_number_has_no_times(box: Box) -> None:
    """Which is the area cluster's to say."""
    there(box, {**GOOD, CLUSTER: GOOD[CLUSTER].replace("name = server1", "name = Server1")})
    assert {f.code for f in look()} == {"cluster-node-missing"}


# --- what runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "codes"),
    [
        ("resource r0 { _this_host { volume 0 { disk { fencing dont-care; # default\n } } } }", ["not-adjusted"]),
        ("resource r0 { _this_host { volume 0 { disk { fencing resource-and-stonith; } } } }", []),
        ("resource r0 { connection { net { fencing resource-only; } } }", ["not-adjusted"]),
        ("resource r0 { _this_host { volume 0 { disk { size 0s; } } } }", []),
        ("", []),
        ("exit 10", []),
    ],
)
def test_what_runs_against_what_is_written(box: Box, shown: str, codes: list[str]) -> None:
    there(box, GOOD)
    box.tool("drbdsetup", shown if shown.startswith("exit") else f"cat <<'END'\n{shown}\nEND")
    found = live(box)
    assert [f.code for f in found] == [f"drbd-fencing-{code}" for code in codes]
    assert box.calls == ["drbdsetup show --show-defaults r0"]
    for one in found:
        assert (one.severity, one.where) == (ERROR, POLICY)
        assert "'drbdadm adjust r0'" in one.advice


@pytest.mark.parametrize(
    "named",
    [
        "_peer_node_id 2;",
        '_peer_node_id 7; net { _name "server3"; }',
        "_peer_node_id 7; path { _this_host ipv4 10.181.76.10:7789; _remote_host ipv4 10.181.76.12:7789; }",
    ],
)
@pytest.mark.parametrize(("policy", "codes"), [("resource-and-stonith", set()), ("dont-care", {"not-adjusted"})])
def test_the_connection_to_a_third_host_without_a_disk_is_not_compared(
    box: Box, named: str, policy: str, codes: set[str]
) -> None:
    third = THIRD.replace("{\n", "{\n\t\tnode-id 2;\n", 1)
    there(box, {**NINE, DRBD: NINE[DRBD].replace("\ton server1", third + "\ton server1")})
    shown = (
        f'resource "r0" {{ connection {{ _peer_node_id 1; net {{ fencing {policy}; _name "server2"; }} }}'
        f" connection {{ {named} net {{ fencing dont-care; }} }} }}"
    )
    box.tool("drbdsetup", f"cat <<'END'\n{shown}\nEND")
    found = {f.code for f in live(box) if f.code.endswith("not-adjusted")}
    assert found == {f"drbd-fencing-{code}" for code in codes}


def test_a_file_without_fencing_is_not_compared(box: Box) -> None:
    there(box, {**GOOD, DRBD: GOOD[DRBD].replace(FENCE, "")})
    assert {f.code for f in live(box)} == {"drbd-unfenced", "survivor-unheeded"}
    assert box.calls == []


def test_findings_belong_to_their_stack(box: Box) -> None:
    there(box, {**GOOD, OURS: GOOD[OURS].replace("= server1", "= server9")})
    assert [dataclasses.astuple(f)[:3] for f in look()] == [("survivor-unknown", ERROR, "web")]
