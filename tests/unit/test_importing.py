"""What an import proposes: the configuration, the lines that go, what stays, and what it has to ask."""

from __future__ import annotations

import os
import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from drbdocfs_boot import importing
from drbdocfs_boot.importing import BINDS, FENCES, MOUNTS, RAISES, Edit, Proposal
from drbdocfs_boot.shelltext import UNKNOWN

from .oldsetup import CLUSTER, FSTAB, LOOP_SCRIPT, NEW, RESOURCE, Host, guide

verb = import_module("drbdocfs_boot.verbs.import")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("DRBDOCFS_ROOT", str(tmp_path))
    monkeypatch.delenv("__DRBD_NODE__", raising=False)
    return guide(tmp_path)


def propose(only: str = "", **choices: str) -> Proposal:
    sources, _ = verb._sources()
    given = {("", "--" + key.replace("_", "-")): value for key, value in choices.items()}
    proposal = importing.propose(sources, given, only)
    if not proposal.questions:
        assert importing.verify(proposal) == ""
    return proposal


def edits(proposal: Proposal) -> list[str]:
    return [f"{edit.place}: {edit.old}" for edit in proposal.edits]


def asked(proposal: Proposal) -> tuple[str, tuple[str, ...]]:
    assert len(proposal.questions) == 1, proposal.questions
    return proposal.questions[0].option, proposal.questions[0].choices


def keys(proposal: Proposal) -> dict[str, str]:
    assert len(proposal.stacks) == 1, proposal
    return proposal.stacks[0].keys


def only_rc_local(host: Host, *lines: str) -> None:
    """The guide's set-up with another rc.local, and without its init scripts of loop and DRBD."""
    for level in "2345":
        host.remove(f"/etc/rc{level}.d/S01loop-for-drbd")
        host.remove(f"/etc/rc{level}.d/S02drbd")
    host.remove("/etc/systemd/system/multi-user.target.wants/drbd.service")
    host.put("/etc/rc.local", "\n".join(("#!/bin/sh", *lines, "exit 0", "")), 0o755)


def test_the_guides_set_up(host: Host) -> None:
    proposal = propose()
    assert proposal.file == "/etc/drbdocfs/drbdocfs.conf"
    assert proposal.text == NEW.replace("DATE", verb.time.strftime("%Y-%m-%d"))
    assert edits(proposal) == [
        "/etc/rc.local:4: mount /dev/drbd0",
        *(f"/etc/rc{level}.d/S02drbd: ../init.d/drbd" for level in "2345"),
        "/etc/systemd/system/multi-user.target.wants/drbd.service: /lib/systemd/system/drbd.service",
        *(f"/etc/rc{level}.d/S01loop-for-drbd: ../init.d/loop-for-drbd" for level in "2345"),
    ]
    assert [edit.rank for edit in proposal.edits] == [MOUNTS] + [RAISES] * 5 + [BINDS] * 4
    assert [edit.new for edit in proposal.edits[1:3]] == ["/etc/rc2.d/K01drbd", "/etc/rc3.d/K01drbd"]
    assert [note.place for note in proposal.kept] == [
        "/etc/init.d/o2cb", "/etc/init.d/ocfs2", "/etc/fstab:2", "/etc/default/o2cb",
    ]  # fmt: skip
    # No driver is there to say where fencing stands, so it is only named.
    assert [note.place for note in proposal.advice] == [f"/etc/drbd.d/r0.res:{line}" for line in (1, 6, 11)]
    assert not proposal.blockers


VERSIONS = {8: "8.4.11", 9: "9.2.4"}
MODERN = """\
resource r0 {
	device /dev/drbd0 minor 0;
	disk /dev/loop7;
	meta-disk internal;
	net { # two of them
		allow-two-primaries;
	}
	on server1 { address 10.181.76.0:7789; node-id 0; }
	on server2 { address 10.181.76.1:7789; node-id 1; }
}
"""


def fencing(edits: list[Edit]) -> dict[int, list[str]]:
    """Line -> what is to come after it, without its depth."""
    assert {edit.file for edit in edits} <= {"/etc/drbd.d/r0.res"}
    return {edit.line: [line.strip() for line in edit.new.split("\n")[1:]] for edit in edits}


TIMES = ["ping-int 3;", "connect-int 3;", "timeout 25;", "ping-timeout 15;", "ko-count 14;"]
HANDLERS = ["handlers {", 'fence-peer "/usr/libexec/drbdocfs-boot/fence-peer";', "}"]


@pytest.mark.parametrize("driver", VERSIONS)
@pytest.mark.parametrize("text", [RESOURCE, MODERN])
def test_a_resource_without_fencing_is_shown_what_it_lacks_and_left_alone(
    host: Host, driver: int, text: str
) -> None:
    host.put("/sys/module/drbd/version", VERSIONS[driver])
    host.put("/etc/drbd.d/r0.res", text)
    proposal = propose()
    assert not [edit for edit in proposal.edits if edit.rank == FENCES]
    found = fencing(proposal.fencing)
    line = 7 if text == RESOURCE else 5
    if driver == 8:
        assert found == {1: ["disk {", "fencing resource-and-stonith;", "}", *HANDLERS], line: TIMES}
    else:
        assert found == {1: HANDLERS, line: ["fencing resource-and-stonith;", *TIMES]}


@pytest.mark.parametrize("driver", VERSIONS)
def test_drbdadm_takes_what_the_import_adds(host: Host, driver: int) -> None:
    host.put("/sys/module/drbd/version", VERSIONS[driver])
    # What 8.4 does not know.
    host.put("/etc/drbd.d/r0.res", MODERN if driver == 9 else re.sub(r"node-id \d; ", "", MODERN))
    proposal = propose(survivor="server2")
    assert keys(proposal)["survivor"] == "server2"
    assert proposal.fencing == []
    assert [edit.rank for edit in proposal.edits][-2:] == [FENCES, FENCES]
    sources, _ = verb._sources()
    ((_, _, new),) = (s for s in verb.order(sources, proposal) if s[0].path == "/etc/drbd.d/r0.res")
    wrapper = host.root / "wrapper.conf"
    host.put("/etc/drbd.d/r0.res", new)
    wrapper.write_text(f'global {{ usage-count no; }}\ninclude "{host.root}/etc/drbd.d/r0.res";\n')
    done = subprocess.run(
        ["drbdadm", "-c", str(wrapper), "-d", "adjust", "r0"],
        env={**os.environ, "__DRBD_NODE__": "server1", "DRBD_DRIVER_VERSION_OVERRIDE": VERSIONS[driver]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words.count("--fencing=resource-and-stonith") == 1
    assert {"--ping-int=3", "--timeout=25", "--ko-count=14"} <= set(words)
    # Once more, there is nothing left to add.
    again = propose(survivor="server2")
    assert not [edit for edit in again.edits if edit.rank == FENCES]
    assert again.fencing == []


def test_times_of_somebody_s_own_stay(host: Host) -> None:
    """With a timeout of 6 s a ping-int of 3 s is refused by the kernel."""
    host.put("/sys/module/drbd/version", "8.4.11")
    host.put("/etc/drbd.d/r0.res", MODERN.replace("allow-two-primaries;", "allow-two-primaries;\n\t\ttimeout 60;"))
    assert fencing(propose().fencing) == {1: ["disk {", "fencing resource-and-stonith;", "}", *HANDLERS]}


@pytest.mark.parametrize(
    ("change", "version", "words"),
    [
        (("resource r0 {", "resource r0\n{"), "8.4.11", "write into it disk { fencing resource-and-stonith; }"),
        (("resource r0 {", "resource r0 { protocol C;"), "9.2.4", "write into it net { fencing"),
        (("", ""), "", "(DRBD 8.4; with DRBD 9 'fencing' is in net)"),
        (
            ("\tnet {", '\thandlers {\n\t\tfence-peer "/usr/lib/drbd/crm-fence-peer.9.sh";\n\t}\n\tnet {'), "9.2.4",
            "crm-fence-peer.9.sh is Pacemaker's",
        ),
        (
            ("\tnet {", '\thandlers {\n\t\tfence-peer "/root/mine";\n\t}\n\tnet {'), "9.2.4",
            "has the fence-peer handler /root/mine of its own",
        ),
        (("\tnet {", "\tdisk {\n\t\tfencing resource-only;\n\t}\n\tnet {"), "8.4.11", "'fencing resource-only'"),
    ],
)  # fmt: skip
def test_what_only_a_person_can_do_is_said_and_with_a_survivor_it_is_in_the_way(
    host: Host, change: tuple[str, str], version: str, words: str
) -> None:
    host.put("/sys/module/drbd/version", version)
    host.put("/etc/drbd.d/r0.res", MODERN.replace(*change, 1))
    proposal = propose()
    assert [note.text for note in proposal.advice if words in note.text]
    assert proposal.fencing == []
    assert not proposal.blockers
    proposal = propose(survivor="none")
    assert [note.text for note in proposal.blockers if words in note.text]
    assert not [edit for edit in proposal.edits if edit.rank == FENCES]


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"survivor": "server3"}, "--survivor"),
        ({"survivor": "power"}, "--fence-agent"),
        ({"survivor": "witness"}, "--witness"),
        ({"survivor": "server1", "witness": "c"}, "--survivor"),
        ({"fence_agent": "fence_x"}, "--survivor"),
    ],
)
def test_a_policy_that_cannot_be(host: Host, given: dict[str, str], option: str) -> None:
    choices = {key.replace("_", "-"): value for key, value in given.items()}
    assert asked(propose(**choices))[0] == option


@pytest.mark.parametrize(
    "script",
    [
        "losetup /dev/loop7 /drbd-loop.img\n",
        "/sbin/losetup /dev/loop7 /drbd-loop.img || exit 1\n",
        "LOOPDEV=/dev/loop7\nIMG='/drbd-loop.img'\n[ -e $IMG ] && /sbin/losetup ${LOOPDEV} ${IMG}\n",
        "N=7\nDIR=/\nlosetup /dev/loop$N ${DIR}drbd-loop.img\n",
        "start() {\n  action 'x' losetup $D $F\n  losetup $D $F\n}\nD=/dev/loop7\nF=/drbd-loop.img\n",
        "D=${DEVICE:-/dev/loop7}\nlosetup -v $D \"/drbd-loop.img\"\n",
        "if ! losetup /dev/loop7 2>/dev/null; then losetup \\\n  /dev/loop7 /drbd-loop.img; fi\n",
        ". /etc/default/loop-for-drbd\nlosetup $LOOP $FILE\n",
        "/usr/local/sbin/bind-loop\n",
        "sh -c 'losetup /dev/loop7 /drbd-loop.img'\n",
    ],
)
def test_usual_ways_of_writing_the_loop_script(host: Host, script: str) -> None:
    host.put("/etc/init.d/loop-for-drbd", "#!/bin/sh\n" + script, 0o755)
    host.put("/etc/default/loop-for-drbd", "LOOP=/dev/loop7\nFILE=/drbd-loop.img\n")
    host.put("/usr/local/sbin/bind-loop", "#!/bin/bash\nlosetup /dev/loop7 /drbd-loop.img\n", 0o755)
    proposal = propose()
    assert keys(proposal)["backing_file"] == "/drbd-loop.img"
    assert keys(proposal)["loop_device"] == "/dev/loop7"
    assert [edit.file for edit in proposal.edits if edit.rank == BINDS] == [
        f"/etc/rc{level}.d/S01loop-for-drbd" for level in "2345"
    ]
    assert not proposal.blockers


def test_on_fedora_s_tree(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """/etc/init.d, /etc/rc.local and /etc/rc3.d are links into /etc/rc.d there, absolute ones too."""
    root = host.root
    (root / "etc/rc.d").mkdir()
    for name in ("init.d", "rc.local", *(f"rc{level}.d" for level in "0123456")):
        if (root / "etc" / name).exists():
            (root / "etc" / name).rename(root / "etc/rc.d" / name)
            (root / "etc" / name).symlink_to(f"/etc/rc.d/{name}" if name == "rc.local" else f"rc.d/{name}")
    (root / "etc/default/o2cb").rename(root / "etc/default/elsewhere")
    monkeypatch.setattr(importing, "O2CB_SETTINGS", "/etc/sysconfig/o2cb")
    host.put("/etc/sysconfig/o2cb", "O2CB_ENABLED=true\n")
    proposal = propose()
    assert keys(proposal)["backing_file"] == "/drbd-loop.img"
    places = edits(proposal)
    assert places[0] == "/etc/rc.d/rc.local:4: mount /dev/drbd0"
    assert f"/etc/rc.d/rc3.d/S02drbd: {'../init.d/drbd'}" in places
    assert len(places) == len(set(places)) == 10
    assert "/etc/sysconfig/o2cb" in [note.place for note in proposal.kept]


def test_kill_links_get_the_number_that_chkconfig_gives(host: Host) -> None:
    for level in "016":
        host.remove(f"/etc/rc{level}.d/K01drbd")
    assert propose().edits[1].new == "/etc/rc2.d/K98drbd"
    host.link("/etc/rc2.d/K98drbd", "../init.d/drbd")
    assert propose().edits[1].new == "", "it is there already"


# Ambiguities


TWO = CLUSTER + CLUSTER.replace("web", "old")


def test_two_clusters(host: Host) -> None:
    host.put("/etc/ocfs2/cluster.conf", TWO)
    host.put("/etc/default/o2cb", "O2CB_ENABLED=true\n")
    assert asked(propose()) == ("--cluster", ("web", "old"))
    assert keys(propose(cluster="old"))["cluster"] == "old"
    assert asked(propose(cluster="other")) == ("--cluster", ("web", "old"))


def test_of_two_clusters_the_boot_s(host: Host) -> None:
    host.put("/etc/ocfs2/cluster.conf", TWO)
    host.put("/etc/default/o2cb", "O2CB_BOOTCLUSTER=old\n")
    assert keys(propose())["cluster"] == "old"
    assert "O2CB_BOOTCLUSTER in /etc/default/o2cb" in propose().text


def test_a_cluster_without_this_host(host: Host) -> None:
    host.put("/etc/ocfs2/cluster.conf", CLUSTER.replace("server1", "server9"))
    proposal = propose()
    assert not proposal.stacks
    assert "no cluster with the node server1" in proposal.refused[0].text


def test_two_mount_points(host: Host) -> None:
    host.put("/etc/rc.local", "mount -t ocfs2 /dev/drbd0 /srv/other\n", 0o755)
    proposal = propose()
    assert asked(proposal) == ("--mountpoint", ("/mnt/storage", "/srv/other"))
    assert "(/etc/rc.local:1)" in proposal.questions[0].text
    assert keys(propose(mountpoint="/srv/other"))["mountpoint"] == "/srv/other"


@pytest.mark.parametrize(
    ("script", "choices"),
    [
        ("losetup /dev/loop6 /drbd-loop.img\n", ("/drbd-loop.img",)),  # DRBD's disk is another one
        ("losetup /dev/loop7 $(cat /etc/which)\n", ()),
        ("losetup /dev/loop7 $1\n", ()),
        ("losetup -f /drbd-loop.img\n", ("/drbd-loop.img",)),
        ("F=/a\nif x; then F=/b; fi\nlosetup /dev/loop7 $F\n", ()),
        ("losetup /dev/loop7 /a.img\nlosetup /dev/loop7 /b.img\n", ("/b.img", "/a.img")),
        ("true\n", ()),
    ],
)
def test_the_backing_file_is_never_guessed(host: Host, script: str, choices: tuple[str, ...]) -> None:
    host.put("/etc/init.d/loop-for-drbd", "#!/bin/sh\n" + script, 0o755)
    option, offered = asked(propose())
    assert option == "--backing-file"
    assert sorted(offered) == sorted(choices)
    assert keys(propose(backing_file="/x.img"))["backing_file"] == "/x.img"
    assert keys(propose(backing_file="/x.img"))["loop_device"] == "/dev/loop7"


def test_what_is_bound_now_counts_too(host: Host) -> None:
    host.put("/sys/block/loop7/loop/backing_file", "/drbd-loop.img\n")
    assert keys(propose())["backing_file"] == "/drbd-loop.img"
    host.put("/sys/block/loop7/loop/backing_file", "/other.img\n")
    assert asked(propose()) == ("--backing-file", ("/other.img", "/drbd-loop.img"))
    host.put("/etc/init.d/loop-for-drbd", "#!/bin/sh\n")
    assert keys(propose())["backing_file"] == "/other.img"


def test_names(host: Host) -> None:
    assert keys(propose(name="files"))["name"] == "files"
    assert asked(propose(name="a b"))[0] == "--name"
    host.put(
        "/etc/drbdocfs/drbdocfs.conf",
        "[web]\nresource = r8\ndevice = /dev/drbd8\ncluster = web\nmountpoint = /srv/8\n"
        "[storage]\nresource = r9\ndevice = /dev/drbd9\ncluster = web\nmountpoint = /srv/9\n",
    )
    proposal = propose()
    assert asked(proposal)[0] == "--name"
    assert proposal.questions[0].text == "no name for the stack of resource r0: 'web' is taken, 'storage' is taken"
    assert propose(name="files").file == "/etc/drbdocfs/conf.d/files.conf"


def test_two_resources_are_two_stacks_named_after_their_directories(host: Host) -> None:
    other = RESOURCE.replace("r0", "r1").replace("drbd0", "drbd1").replace("/dev/loop7", "/dev/sdb1")
    host.put("/etc/drbd.d/r1.res", other)
    host.put("/etc/fstab", FSTAB + "/dev/drbd1 /srv/mail ocfs2 noauto 0 0\n")
    proposal = propose()
    assert [found.keys["name"] for found in proposal.stacks] == ["storage", "mail"]
    assert "backing_file" not in proposal.stacks[1].keys
    # One of them alone: DRBD's own start at boot serves the other.
    assert asked(propose("r1"))[0] == "--drbd"
    proposal = propose("r1", drbd="keep")
    assert edits(proposal) == []
    assert any("stays, as you said" in note.text for note in proposal.kept)
    assert len([edit for edit in propose("r1", drbd="disable").edits if edit.rank == RAISES]) == 5


def test_another_resource_that_only_drbd_s_own_start_brings_up(host: Host) -> None:
    host.put("/etc/drbd.d/r1.res", RESOURCE.replace("r0", "r1").replace("drbd0", "drbd1").replace("allow-two", "#"))
    proposal = propose()
    assert asked(proposal) == ("--drbd", ("disable", "keep"))
    assert "also brings up r1" in proposal.questions[0].text
    assert "has no allow-two-primaries" in proposal.skipped[0].text


# DRBD's files


@pytest.mark.parametrize(
    ("resource", "device", "fstab"),
    [
        ("device minor 0;", "/dev/drbd0", "/dev/drbd0"),
        ("device /dev/drbd_data minor 0;", "/dev/drbd_data", "/dev/drbd_data"),
        ("device /dev/drbd_data minor 0;", "/dev/drbd0", "/dev/drbd0"),
        ("device /dev/drbd0;", "/dev/drbd0", "/dev/drbd/by-res/r0/0"),
        ("device /dev/drbd0;", "/dev/drbd0", "/dev/drbd/by-res/r0"),
    ],
)
def test_names_of_a_device(host: Host, resource: str, device: str, fstab: str) -> None:
    host.put("/etc/drbd.d/r0.res", RESOURCE.replace("device /dev/drbd0;", resource))
    host.put("/etc/fstab", f"{fstab} /mnt/storage ocfs2 noauto 0 0\n")
    assert keys(propose())["device"] == device


def test_settings_below_the_host_and_in_a_volume(host: Host) -> None:
    host.put(
        "/etc/drbd.d/r0.res",
        "common { net { allow-two-primaries yes; } }\nresource r0 {\n volume 0 { device minor 3; disk /dev/sdz; }\n"
        " on server1 { volume 0 { disk /dev/sdb; } address 10.0.0.1:7789; }\n"
        " on server2 { address 10.0.0.2:7789; } }\n",
    )
    host.put("/etc/fstab", "/dev/drbd3 /mnt/storage ocfs2 noauto 0 0\n")
    assert keys(propose()) == {
        "resource": "r0", "device": "/dev/drbd3", "cluster": "web", "mountpoint": "/mnt/storage", "name": "web",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("allow-two-primaries;", ""), "has no allow-two-primaries"),
        (("allow-two-primaries;", "allow-two-primaries no;"), "has no allow-two-primaries"),
        (("on server1", "on server7"), "is for server7 and server2, and this is server1"),
        (("device /dev/drbd0;", ""), "has no device"),
    ],
)
def test_no_stack(host: Host, change: tuple[str, str], reason: str) -> None:
    host.put("/etc/drbd.d/r0.res", RESOURCE.replace(*change))
    proposal = propose()
    assert not proposal.stacks
    assert not proposal.edits
    assert reason in proposal.skipped[0].text


def test_no_ocfs2_no_stack(host: Host) -> None:
    host.put("/etc/fstab", FSTAB.replace("ocfs2", "gfs2"))
    assert "nothing mounts resource r0 as OCFS2" in propose().skipped[0].text


# fstab


@pytest.mark.parametrize("spec", ["LABEL=web", "UUID=0f3b6f0e-9a57-4c2b-9b39-1d2f4e1d7a11"])
def test_fstab_by_label_is_refused(host: Host, spec: str) -> None:
    host.put("/etc/fstab", f"{spec} /mnt/storage ocfs2 noauto 0 0\n")
    proposal = propose()
    assert not proposal.stacks
    assert "may name the disk below DRBD" in proposal.refused[0].text
    assert proposal.refused[0].place == "/etc/fstab:1"


def test_fstab_s_line_is_of_another_device(host: Host) -> None:
    """The generator would refuse the stack, so the import does."""
    host.put("/etc/fstab", "/dev/sdb1 /mnt/storage ext4 noauto 0 0\n")
    host.put("/etc/rc.local", "mount -t ocfs2 /dev/drbd0 /mnt/storage\n", 0o755)
    proposal = propose()
    assert not proposal.stacks
    assert proposal.refused[0].place == "/etc/fstab:1"


def test_without_a_line_in_fstab_the_options_are_the_command_s(host: Host) -> None:
    host.put("/etc/fstab", "")
    host.put("/etc/rc.local", "mount -t ocfs2 -o noatime,_netdev,x-systemd.automount,ro /dev/drbd0 /mnt/storage/\n")
    assert keys(propose())["mountpoint"] == "/mnt/storage"
    assert keys(propose())["mount_options"] == "noatime,ro"


def test_ocfs2_s_script_goes_where_it_would_mount_ours(host: Host) -> None:
    host.put("/etc/fstab", FSTAB.replace("noauto,", ""))
    gone = [edit.file for edit in propose().edits if edit.rank == MOUNTS]
    assert gone == ["/etc/rc.local", *(f"/etc/rc{level}.d/S03ocfs2" for level in "2345")]
    host.put("/etc/fstab", FSTAB.replace("noauto,", "") + "/dev/sdc /srv/c ocfs2 defaults 0 0\n")
    assert [edit.file for edit in propose().edits if edit.rank == MOUNTS] == ["/etc/rc.local"]
    assert any(note.text.endswith("it mounts other lines of fstab as well") for note in propose().kept)


# rc.local and crontabs


@pytest.mark.parametrize(
    ("lines", "old"),
    [
        (("mount /mnt/storage",), ["mount /mnt/storage"]),
        (("sleep 20; mount /dev/drbd0 || logger failed",), ["sleep 20; mount /dev/drbd0 || logger failed"]),
        (("(sleep 60; /bin/mount /dev/drbd0) &",), ["(sleep 60; /bin/mount /dev/drbd0) &"]),
        (("drbdadm up all", "drbdadm primary r0"), ["drbdadm up all", "drbdadm primary r0"]),
        (("modprobe drbd && drbdadm up r0",), ["modprobe drbd && drbdadm up r0"]),
        (("drbdsetup /dev/drbd0 primary -o",), ["drbdsetup /dev/drbd0 primary -o"]),
        (("/etc/init.d/drbd start",), ["/etc/init.d/drbd start"]),
        (("service loop-for-drbd start",), ["service loop-for-drbd start"]),
        (("systemctl start drbd.service",), ["systemctl start drbd.service"]),
        (("sudo timeout 60 mount /dev/drbd0",), ["sudo timeout 60 mount /dev/drbd0"]),
        (("mount /dev/drbd0 && \\", "  echo mounted"), ["mount /dev/drbd0 && \\", "  echo mounted"]),
        (("/root/mount.sh",), ["/root/mount.sh"]),
        (("sh /root/mount.sh &",), ["sh /root/mount.sh &"]),
        (("if [ -b /dev/drbd0 ]; then mount /dev/drbd0; fi",), ["if [ -b /dev/drbd0 ]; then mount /dev/drbd0; fi"]),
        (("umount /mnt/storage", "modprobe ocfs2", "/etc/init.d/o2cb start"), []),
        (("mount /dev/sda1", "losetup /dev/loop3 /x.img", "drbdadm up other", "service apache2 start"), []),
    ],
)  # fmt: skip
def test_lines_of_rc_local(host: Host, lines: tuple[str, ...], old: list[str]) -> None:
    host.put("/root/mount.sh", "#!/bin/sh\nmount /dev/drbd0\n", 0o755)
    only_rc_local(host, "losetup /dev/loop7 /drbd-loop.img", *lines)
    proposal = propose()
    mark = "# drbdocfs-import " + verb.time.strftime("%Y-%m-%d") + ": "
    found = [edit for edit in proposal.edits if not edit.old.startswith("losetup")]
    assert [edit.old for edit in found] == old
    assert [edit.new for edit in found] == [mark + text for text in old]
    assert not proposal.blockers


def test_a_command_that_does_nothing_stands_where_the_shell_wants_one(host: Host) -> None:
    host.put("/etc/rc.local", "if [ -b /dev/drbd0 ]; then\n  mount /dev/drbd0\nfi\n")
    edit = propose().edits[0]
    assert edit.line == 2
    assert edit.new.startswith(": # drbdocfs-import ")
    assert edit.new.endswith(":   mount /dev/drbd0")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (("mount /dev/drbd0 && service apache2 start",), "also runs 'service apache2 start'"),
        (("mount /dev/drbd0; rsync -a /a /b",), "also runs 'rsync -a /a /b'"),
        (("if mount /dev/drbd0; then", "  echo yes", "fi"), "is tied to the lines around it"),
        (("/root/all.sh",), "also runs '/usr/sbin/apachectl start'"),
    ],
)
def test_what_only_a_person_can_take_apart(host: Host, lines: tuple[str, ...], why: str) -> None:
    host.put("/root/all.sh", "#!/bin/sh\nmount /dev/drbd0\n/usr/sbin/apachectl start\n", 0o755)
    host.put("/etc/rc.local", "\n".join(("#!/bin/sh", *lines, "")))
    (blocker,) = propose().blockers
    assert blocker.place == "/etc/rc.local:2"
    assert why in blocker.text


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("/var/spool/cron/crontabs/root", "@reboot sleep 60 && mount /dev/drbd0"),
        ("/var/spool/cron/root", "@reboot mount /mnt/storage"),
        ("/etc/crontab", "@reboot root mount /mnt/storage"),
        ("/etc/cron.d/storage", "@reboot root /bin/mount /dev/drbd0"),
    ],
)
def test_crontabs(host: Host, name: str, line: str) -> None:
    only_rc_local(host, "losetup /dev/loop7 /drbd-loop.img")
    host.put(name, f"MAILTO=root\n5 4 * * * root mount /dev/drbd0\n@rebooted root x\n{line}\n")
    assert edits(propose())[0] == f"{name}:4: {line}"


# Units


UNIT = "[Unit]\nDescription=x\n[Service]\nType=oneshot\nExecStart=-/sbin/losetup /dev/loop7 \\\n  /drbd-loop.img\n"


def test_units_that_were_written_for_it(host: Host) -> None:
    only_rc_local(host)
    host.put("/etc/systemd/system/loop7.service", UNIT)
    host.link("/etc/systemd/system/multi-user.target.wants/loop7.service", "/etc/systemd/system/loop7.service")
    host.put("/etc/systemd/system/storage.service", "[Service]\nExecStart=/bin/sh -c 'sleep 5; mount /dev/drbd0'\n")
    host.link("/etc/systemd/system/default.target.wants/storage.service", "../storage.service")
    host.link("/etc/systemd/system/multi-user.target.wants/drbd@r0.target", "/lib/systemd/system/drbd@.target")
    host.link("/etc/systemd/system/multi-user.target.wants/rc-local.service", "/lib/systemd/system/rc-local.service")
    proposal = propose()
    assert keys(proposal)["backing_file"] == "/drbd-loop.img"
    assert edits(proposal) == [
        "/etc/systemd/system/default.target.wants/storage.service: ../storage.service",
        "/etc/systemd/system/multi-user.target.wants/drbd@r0.target: /lib/systemd/system/drbd@.target",
        "/etc/systemd/system/multi-user.target.wants/loop7.service: /etc/systemd/system/loop7.service",
    ]


def test_a_unit_that_does_more(host: Host) -> None:
    only_rc_local(host, "losetup /dev/loop7 /drbd-loop.img")
    host.put("/etc/systemd/system/all.service", "[Service]\nExecStartPre=mount /dev/drbd0\nExecStart=/usr/bin/serve\n")
    host.link("/etc/systemd/system/multi-user.target.wants/all.service", "../all.service")
    (blocker,) = propose().blockers
    assert "unit all also runs '/usr/bin/serve'" in blocker.text.replace(".service", "")


def test_a_mount_unit_gives_the_mount_point_and_stays(host: Host) -> None:
    host.put("/etc/fstab", "")
    host.put("/etc/rc.local", "exit 0\n")
    unit = "[Mount]\nWhat=/dev/drbd0\nWhere=/mnt/storage\nType=ocfs2\nOptions=noatime\n"
    host.put("/etc/systemd/system/mnt-storage.mount", unit)
    host.link("/etc/systemd/system/multi-user.target.wants/mnt-storage.mount", "../mnt-storage.mount")
    proposal = propose()
    assert keys(proposal)["mountpoint"] == "/mnt/storage"
    assert "mount_options" not in keys(proposal)
    assert any(note.place.endswith("mnt-storage.mount") and "stays" in note.text for note in proposal.kept)
    assert not [edit for edit in proposal.edits if ".mount" in edit.file]


def test_scripts_that_do_more(host: Host) -> None:
    host.put("/etc/init.d/loop-for-drbd", LOOP_SCRIPT + "losetup /dev/loop3 /x.img\n", 0o755)
    (blocker,) = propose().blockers
    assert "also binds /x.img" in blocker.text
    host.put("/etc/init.d/loop-for-drbd", LOOP_SCRIPT + "mount /dev/drbd0\nservice apache2 start\n", 0o755)
    (blocker,) = propose().blockers
    assert "also runs 'service apache2 start'" in blocker.text
    host.put("/etc/init.d/loop-for-drbd", LOOP_SCRIPT + "drbdadm up r0\nmount /dev/drbd0\n", 0o755)
    assert not propose().blockers
    assert [edit.rank for edit in propose().edits if "loop-for" in edit.file] == [MOUNTS] * 4


def test_a_script_that_calls_itself(host: Host) -> None:
    host.put("/etc/init.d/loop-for-drbd", LOOP_SCRIPT + "service loop-for-drbd start\n", 0o755)
    assert len([edit for edit in propose().edits if edit.rank == BINDS]) == 4


# What is configured already


def test_an_existing_stack_keeps_its_configuration_and_loses_its_old_lines(host: Host) -> None:
    host.put("/etc/drbdocfs/drbdocfs.conf", NEW)
    proposal = propose()
    assert proposal.text == ""
    assert len(proposal.edits) == 10
    assert [stack.name for stack in proposal.existing] == ["web"]


@pytest.mark.parametrize("point", ["/mnt/my storage", "/mnt/a,b", "/mnt/a#b", "/mnt/it's", "/mnt/größe"])
def test_values_are_quoted_where_the_grammar_needs_it(host: Host, point: str) -> None:
    host.put("/etc/fstab", FSTAB.replace("/mnt/storage", point.replace(" ", "\\040")))
    assert keys(propose())["mountpoint"] == point


def test_a_value_that_no_configuration_can_hold(host: Host) -> None:
    host.put("/etc/fstab", FSTAB.replace("/mnt/storage", "/usr"))
    sources, _ = verb._sources()
    assert "/etc/fstab:2: mountpoint" in importing.verify(importing.propose(sources, {}))


# What a script does in other words


PART = (("-o 512", True), ("-o512", True), ("--offset=512", True), ("--sizelimit 4096", True), ("-ro 512", True))


@pytest.mark.parametrize(("options", "part"), [*PART, ("-r", False), ("-v", False)])
def test_a_loop_device_of_a_part_of_the_file(host: Host, options: str, part: bool) -> None:
    host.put("/etc/init.d/loop-for-drbd", f"#!/bin/sh\nlosetup {options} /dev/loop7 /drbd-loop.img\n", 0o755)
    proposal = propose()
    assert bool(proposal.stacks) != part
    if part:
        (note,) = proposal.refused
        assert note.place == "/etc/init.d/loop-for-drbd:2"
        assert f"losetup {options} /dev/loop7" in note.text
        assert not proposal.edits


def test_a_part_of_the_file_on_a_device_that_losetup_chooses(host: Host) -> None:
    host.put("/etc/init.d/loop-for-drbd", "#!/bin/sh\nlosetup -o 512 -f /drbd-loop.img\n", 0o755)
    assert not propose(backing_file="/drbd-loop.img").stacks


@pytest.mark.parametrize("what", ["offset", "sizelimit"])
def test_a_part_of_the_file_is_bound_now(host: Host, what: str) -> None:
    host.put("/sys/block/loop7/loop/backing_file", "/drbd-loop.img\n")
    for name in ("offset", "sizelimit"):
        host.put(f"/sys/block/loop7/loop/{name}", "0\n")
    assert propose().stacks
    host.put(f"/sys/block/loop7/loop/{what}", "1048576\n")
    proposal = propose()
    assert not proposal.stacks
    assert "/dev/loop7 is bound to a part of the file" in proposal.refused[0].text


@pytest.mark.parametrize(
    "lines",
    [
        ("for r in r0; do drbdadm up $r; done",),
        ("RES=$(cat /etc/which)", "drbdadm primary $RES"),
        ("drbdadm --force primary `cat /etc/which`",),
    ],
)
def test_a_resource_that_only_the_script_knows(host: Host, lines: tuple[str, ...]) -> None:
    host.put("/etc/rc.local", "\n".join(("#!/bin/sh", *lines, "")))
    (blocker,) = propose().blockers
    assert blocker.place == f"/etc/rc.local:{1 + len(lines)}"
    assert "only the script knows which resource" in blocker.text
    host.put("/etc/rc.local", "#!/bin/sh\ndrbdadm status $RES\n")
    assert not propose().blockers


@pytest.mark.parametrize(
    "line",
    [
        "bash -x /root/mount.sh",
        "sh -eu /root/mount.sh",
        "bash -o pipefail /root/mount.sh",
        "bash --rcfile /etc/rc /root/mount.sh",
        "sh /root/unmarked",
        "sh -xc 'mount /dev/drbd0'",
        "sh -e -c 'mount /dev/drbd0'",
        "nice -n 10 mount /dev/drbd0",
        "nice -10 ionice -c 3 mount /dev/drbd0",
        "timeout -k 5 60 mount /dev/drbd0",
        "timeout --signal KILL 60s mount /dev/drbd0",
        "env -i LANG=C mount /dev/drbd0",
        "env -u LANG mount /dev/drbd0",
        "sudo -n mount /dev/drbd0",
        "sudo -u root A=b mount /dev/drbd0",
        "setsid -w mount /dev/drbd0",
        "command -v drbdadm >/dev/null && mount /dev/drbd0",
    ],
)
def test_what_runs_the_command_that_follows(host: Host, line: str) -> None:
    host.put("/root/mount.sh", "#!/bin/sh\nmount /dev/drbd0\n", 0o755)
    host.put("/root/unmarked", "mount /dev/drbd0\n")
    host.put("/etc/rc.local", f"#!/bin/sh\n{line}\n")
    proposal = propose()
    assert not proposal.blockers
    assert edits(proposal)[0] == f"/etc/rc.local:2: {line}"


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("mount /dev/drbd0 && rm -rf /srv/x && touch /srv/y", "rm -rf /srv/x"),
        ("mount /dev/drbd0; touch /var/lock/subsys/local", "touch /var/lock/subsys/local"),
        ("mkdir -p /mnt/storage; mount /dev/drbd0", "mkdir -p /mnt/storage"),
        ("mount /dev/drbd0 && ln -s /mnt/storage /srv/z", "ln -s /mnt/storage /srv/z"),
    ],
)
def test_a_line_that_also_changes_files_does_not_go(host: Host, line: str, other: str) -> None:
    host.put("/etc/rc.local", f"#!/bin/sh\n{line}\n")
    (blocker,) = propose().blockers
    assert f"also runs '{other}': put that on a line of its own" in blocker.text


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("touch /var/lock/subsys/loop\nrm -f /var/run/loop.pid /run/loop\nmkdir -m 755 -p /run/lock\n", ""),
        ("mkdir -p /mnt/storage\n", ""),
        ("rm -rf /srv/x\n", "rm -rf /srv/x"),
        ("touch /run/../etc/x\n", "touch /run/../etc/x"),
        ("cp /a /b\n", "cp /a /b"),
        ("rm -f $PIDFILE\n", "rm -f ?"),
        ("mount /dev/sdb1 /srv\n", "mount /dev/sdb1 /srv"),
        ("vgchange -ay\n", "vgchange -ay"),
        ("service apache2 start\n", "service apache2 start"),
        ("/usr/local/sbin/else\n", "/usr/local/sbin/else"),
        ("log_it\n", ""),
    ],
)
def test_an_init_script_that_binds_and_acts(host: Host, more: str, why: str) -> None:
    host.put("/etc/init.d/loop-for-drbd", LOOP_SCRIPT + more, 0o755)
    proposal = propose()
    assert [f"'{why}'" in note.text for note in proposal.blockers] == ([True] if why else [])
    assert len([edit for edit in proposal.edits if edit.rank == BINDS]) == (0 if why else 4)


# Timers, templates, sourced files


def test_a_service_that_a_timer_starts(host: Host) -> None:
    only_rc_local(host)
    host.put("/etc/systemd/system/loop7.service", UNIT)
    host.put("/etc/systemd/system/loop7.timer", "[Timer]\nOnBootSec=1\n")
    host.put("/etc/systemd/system/storage@.service", "[Service]\nExecStart=mount /dev/%i\n")
    host.put("/etc/systemd/system/later.timer", "[Timer]\nOnBootSec=9\nUnit=storage@drbd0.service\n")
    for name in ("loop7", "later"):
        host.link(f"/etc/systemd/system/timers.target.wants/{name}.timer", f"/etc/systemd/system/{name}.timer")
    proposal = propose()
    assert keys(proposal)["backing_file"] == "/drbd-loop.img"
    assert edits(proposal) == [
        "/etc/systemd/system/timers.target.wants/later.timer: /etc/systemd/system/later.timer",
        "/etc/systemd/system/timers.target.wants/loop7.timer: /etc/systemd/system/loop7.timer",
    ]


@pytest.mark.parametrize(
    ("instance", "start"), [("drbd0", "/dev/%i"), ("dev-drbd0", "/%I"), (r"mnt\x2fstorage", "/%I"), ("drbd1", "")]
)
def test_an_instance_of_a_template(host: Host, instance: str, start: str) -> None:
    only_rc_local(host, "losetup /dev/loop7 /drbd-loop.img")
    host.put("/etc/systemd/system/storage@.service", f"[Service]\nExecStart=mount {start or '/dev/%i'}\n")
    link = f"/etc/systemd/system/multi-user.target.wants/storage@{instance}.service"
    host.link(link, "../storage@.service")
    assert (f"{link}: ../storage@.service" in edits(propose())) == bool(start)


def test_a_file_that_is_sourced_is_read(host: Host) -> None:
    host.put("/opt/storage/boot", "mount /dev/drbd0\n")
    host.put("/etc/rc.local", "#!/bin/sh\n. /opt/storage/boot\n")
    assert edits(propose())[0] == "/etc/rc.local:2: . /opt/storage/boot"
    host.put("/opt/storage/boot", "mount /dev/drbd0\n/usr/sbin/serve\n")
    assert "also runs '/usr/sbin/serve'" in propose().blockers[0].text
    # What it gives to the lines that follow would go with it.
    for more in ("X=1\n", "f() {\n :\n}\n"):
        host.put("/opt/storage/boot", "mount /dev/drbd0\n" + more)
        assert "has settings or functions for the lines after it" in propose().blockers[0].text


def test_a_sourced_library_is_no_work_of_a_script(host: Host) -> None:
    """Such as lsb's init-functions, which has many commands of its own; its settings count."""
    library = "I=/drbd-loop.img\nstart_it() {\n /sbin/start-stop-daemon $1\n}\nmv /a /b\n. $F\n"
    host.put("/lib/lsb/init-functions", library)
    script = "#!/bin/sh\n. /lib/lsb/init-functions\nlosetup /dev/loop7 $I\nmount /dev/drbd0\n"
    host.put("/etc/init.d/loop-for-drbd", script, 0o755)
    proposal = propose()
    assert keys(proposal)["backing_file"] == "/drbd-loop.img"
    assert not proposal.blockers
    assert [edit.rank for edit in proposal.edits if "loop-for" in edit.file] == [MOUNTS] * 4
    assert not [note for note in proposal.kept if "loop-for" in note.place]


@pytest.mark.parametrize(
    ("line", "blocks"), [(". /etc/profile.d/*.sh", False), (". $X", False), ("source $X /dev/drbd0", True)]
)
def test_a_sourced_file_that_only_the_script_knows(host: Host, line: str, blocks: bool) -> None:
    host.put("/etc/rc.local", f"#!/bin/sh\n{line}\nmount /dev/drbd0\n")
    proposal = propose()
    notes = proposal.blockers if blocks else proposal.kept
    assert "only the script knows which file that is" in next(n for n in notes if n.place == "/etc/rc.local:2").text
    assert bool(proposal.blockers) == blocks


def test_names_that_no_file_can_have_do_not_reach_the_system(host: Host) -> None:
    lines = ("$X start", "sh $X", "/opt/*/run", "bash /opt/$X.sh", "service $X start", "mount -o $X $Y $Z", ". /a/$X")
    host.put("/etc/rc.local", "\n".join(("#!/bin/sh", *lines, "mount /dev/drbd0", "")))
    assert edits(propose())[0] == f"/etc/rc.local:{len(lines) + 2}: mount /dev/drbd0"
    sources, _ = verb._sources()
    name = "/a" + UNKNOWN
    assert (sources.read(name), sources.sourced(name), sources.link(name)) == (None, None, None)


def test_options_of_a_mount_that_only_the_script_knows(host: Host) -> None:
    host.put("/etc/fstab", "")
    host.put("/etc/rc.local", "mount -t ocfs2 -o $X /dev/drbd0 /mnt/storage\n")
    sources, _ = verb._sources()
    assert importing.verify(importing.propose(sources, {})).startswith("/etc/rc.local:1: mount_options")
