"""Area rivals of check: each fault planted in a good host is found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drbdocfs_boot.checks import rivals
from tests.unit.checktree import Tree, added, good, steps

SYSTEM = "/etc/systemd/system"
WANTS = f"{SYSTEM}/multi-user.target.wants"
LOOP_FOR_DRBD = """\
#!/bin/bash
# chkconfig: 2345 20 80
case "$1" in
start)
        losetup /dev/loop7 /drbd-loop.img
        ;;
esac
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    return good(tmp_path / "root", monkeypatch)


def rc_local(line: str, file: str = "/etc/rc.local") -> Callable[[Tree], None]:
    return lambda tree: tree.write(file, f"#!/bin/sh -e\n# mount /dev/drbd0\n{line}\nexit 0\nmount /dev/drbd0\n", 0o755)


def script(tree: Tree) -> None:
    tree.write("/etc/init.d/loop-for-drbd", LOOP_FOR_DRBD, 0o755)
    tree.link("/etc/rc3.d/S20loop-for-drbd", "../init.d/loop-for-drbd")


def drbd_script(tree: Tree) -> None:
    tree.remove("/usr/lib/systemd/system/drbd.service")
    tree.link("/etc/rc2.d/S70drbd", "../init.d/drbd")


def multipath_tools(version: str) -> Callable[[Tree], None]:
    status = f"Package: multipath-tools\nStatus: install ok installed\nPriority: optional\nVersion: {version}\n"
    other = "Package: mdadm\nStatus: install ok installed\nVersion: 4.2-5\n\n"
    return lambda tree: tree.write("/var/lib/dpkg/status", other + status + "\n" + other)


def own_unit(name: str, text: str) -> Callable[[Tree], None]:
    return lambda tree: tree.write(f"{SYSTEM}/{name}", text)


def reactor(tree: Tree) -> None:
    tree.enable("drbd-reactor.service")
    tree.write("/etc/drbd-reactor.d/r0.toml", "[[promoter]]\n[promoter.resources.r0]\nstart = []\n")


def pacemaker(tree: Tree) -> None:
    tree.enable("pacemaker.service")
    tree.write("/var/lib/pacemaker/cib/cib.xml", '<cib>\n<nvpair name="drbd_resource" value="r0"/>\n</cib>\n')


def heartbeat(tree: Tree) -> None:
    tree.link("/etc/rc2.d/S75heartbeat", "../init.d/heartbeat")
    tree.write("/etc/init.d/heartbeat", "#!/bin/sh\n", 0o755)
    tree.write("/etc/ha.d/haresources", "server1 drbddisk::r0 Filesystem::/dev/drbd0::/mnt::ocfs2\n")


def lvm(tree: Tree) -> None:
    tree.write("/usr/sbin/lvm", "", 0o755)
    tree.write("/etc/lvm/lvm.conf", 'devices {\n\t# filter = [ "r|.*|" ]\n\tfilter = [ "r|/dev/cdrom|" ]\n}\n')


def old_systemd(tree: Tree) -> None:
    place = tree.path("/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so")
    place.rename(place.with_name("libsystemd-shared-241.so"))


CASES: dict[str, tuple[Callable[[Tree], object], str, str]] = {
    "guide": (rc_local("mount /dev/drbd0"), "rc-local", "/etc/rc.local:3"),
    "red-hat": (rc_local("/bin/mount /mnt/storage", "/etc/rc.d/rc.local"), "rc-local", "/etc/rc.d/rc.local:3"),
    "up": (rc_local("sleep 5 && drbdadm up all"), "rc-local", "/etc/rc.local:3"),
    "primary": (rc_local("/sbin/drbdadm primary r0 || true"), "rc-local", "/etc/rc.local:3"),
    "losetup": (rc_local("losetup /dev/loop7 /drbd-loop.img"), "rc-local", "/etc/rc.local:3"),
    "o2cb": (rc_local("o2cb register-cluster web"), "rc-local", "/etc/rc.local:3"),
    "mount-all": (
        steps(rc_local("mount -a -t ocfs2"), lambda t: t.replace("/etc/fstab", "noauto,", "")),
        "rc-local",
        "/etc/rc.local:3",
    ),
    "umount-all": (rc_local("umount -a -t ocfs2"), "rc-local", "/etc/rc.local:3"),
    "after-a-look": (rc_local("drbdadm status r0; drbdadm up r0"), "rc-local", "/etc/rc.local:3"),
    "after-a-look-at-all": (rc_local("drbdadm dump all && mount /mnt/storage"), "rc-local", "/etc/rc.local:3"),
    "after-others-mount": (rc_local("mount /srv && drbdadm up all"), "rc-local", "/etc/rc.local:3"),
    "by-res": (rc_local("mount /dev/drbd/by-res/r0/0 /srv"), "rc-local", "/etc/rc.local:3"),
    "by-res-alone": (rc_local("mount /dev/drbd/by-res/r0 /srv"), "rc-local", "/etc/rc.local:3"),
    "minor": (rc_local("drbdsetup primary 0"), "rc-local", "/etc/rc.local:3"),
    "minor-9": (rc_local("/usr/sbin/drbdsetup primary --force minor-0;"), "rc-local", "/etc/rc.local:3"),
    "no-block": (rc_local("systemctl start --no-block drbd"), "rc-local", "/etc/rc.local:3"),
    "no-block-before": (rc_local("systemctl --no-block -q restart drbd.service"), "rc-local", "/etc/rc.local:3"),
    "service-after-status": (rc_local("service drbd status || service drbd start"), "rc-local", "/etc/rc.local:3"),
    "service": (rc_local("service drbd start"), "rc-local", "/etc/rc.local:3"),
    "init.d": (rc_local("/etc/init.d/loop-for-drbd start"), "rc-local", "/etc/rc.local:3"),
    "modprobe": (rc_local("modprobe drbd"), "rc-local", "/etc/rc.local:3"),
    "cron": (
        lambda t: t.write("/etc/cron.d/storage", "MAILTO=root\n@reboot root sleep 60; mount /mnt/storage\n"),
        "cron-reboot",
        "/etc/cron.d/storage:2",
    ),
    "crontab": (
        lambda t: t.write("/var/spool/cron/crontabs/root", "@reboot drbdadm primary r0\n"),
        "cron-reboot",
        "/var/spool/cron/crontabs/root:1",
    ),
    "loop-for-drbd": (script, "init-script", "/etc/init.d/loop-for-drbd:5"),
    "drbd-script": (drbd_script, "init-script", "/etc/rc2.d/S70drbd"),
    "drbd-script-ignored": (
        lambda t: t.link("/etc/rc2.d/S70drbd", "../init.d/drbd"),
        "init-script",
        "/etc/rc2.d/S70drbd",
    ),
    "drbd.service": (lambda t: t.enable("drbd.service"), "rival-unit", f"{WANTS}/drbd.service"),
    "drbd.service-and-script": (
        steps(lambda t: t.enable("drbd.service"), lambda t: t.link("/etc/rc2.d/S01drbd", "../init.d/drbd")),
        "rival-unit",
        f"{WANTS}/drbd.service",
    ),
    "drbd@r0": (lambda t: t.enable("drbd@r0.target"), "rival-unit", f"{WANTS}/drbd@r0.target"),
    "promote": (
        lambda t: t.enable("drbd-promote@r0.service", "foo.service.requires"),
        "rival-unit",
        f"{SYSTEM}/foo.service.requires/drbd-promote@r0.service",
    ),
    "reactor": (reactor, "rival-unit", "/etc/drbd-reactor.d/r0.toml:2"),
    "pacemaker": (
        lambda t: t.enable("pacemaker.service"),
        "cluster-manager",
        f"{WANTS}/pacemaker.service",
    ),
    "pacemaker-with-r0": (pacemaker, "cluster-manager", "/var/lib/pacemaker/cib/cib.xml:2"),
    "heartbeat": (heartbeat, "cluster-manager", "/etc/ha.d/haresources:1"),
    "linstor": (
        lambda t: t.enable("linstor-satellite.service"),
        "cluster-manager",
        f"{WANTS}/linstor-satellite.service",
    ),
    "own-service": (
        own_unit("storage.service", "[Service]\nType=oneshot\nExecStart=/sbin/drbdadm up r0\n"),
        "own-unit",
        f"{SYSTEM}/storage.service:3",
    ),
    "own-drop-in": (
        own_unit("nginx.service.d/mount.conf", "[Service]\nExecStartPre=-/bin/mount /mnt/storage\n"),
        "own-unit",
        f"{SYSTEM}/nginx.service.d/mount.conf:2",
    ),
    "own-mount-elsewhere": (
        own_unit("srv.mount", "[Mount]\nWhat=/dev/drbd0\nWhere=/srv\nType=ocfs2\n"),
        "own-unit",
        f"{SYSTEM}/srv.mount:2",
    ),
    "multipath": (lambda t: t.enable("multipathd.service"), "multipath", f"{WANTS}/multipathd.service"),
    "multipath-of-old": (
        steps(lambda t: t.enable("multipathd.socket"), multipath_tools("0.8.5-2+deb11u1")),
        "multipath",
        f"{WANTS}/multipathd.socket",
    ),
    "multipath-lets-drbd-in": (
        steps(
            lambda t: t.enable("multipathd.service"),
            multipath_tools("0.9.4-3+deb12u2"),
            lambda t: t.write("/etc/multipath.conf", 'blacklist_exceptions {\n devnode "^(sd|drbd)"\n}\n'),
        ),
        "multipath",
        f"{WANTS}/multipathd.service",
    ),
    "multipath-says-so": (
        steps(
            lambda t: t.enable("multipathd.service"),
            multipath_tools("0.9.4"),
            lambda t: t.answers.update({"multipath -t": 'blacklist {\n devnode "^loop[0-9]"\n}\n'}),
        ),
        "multipath",
        f"{WANTS}/multipathd.service",
    ),
    "multipath-without-drbd": (
        steps(
            lambda t: t.enable("multipathd.service"),
            lambda t: t.write("/etc/multipath.conf", 'blacklist {\n # devnode "^drbd"\n devnode "^sdb"\n}\n'),
        ),
        "multipath",
        f"{WANTS}/multipathd.service",
    ),
    "lvm-filter": (lvm, "lvm-scans", "/etc/lvm/lvm.conf:3"),
    "lvm-no-filter": (
        steps(lambda t: lvm(t), lambda t: t.write("/etc/lvm/lvm.conf", "devices {\n}\n")),
        "lvm-scans",
        "/etc/lvm/lvm.conf",
    ),
    "snapd": (lambda t: t.enable("snapd.socket"), "snapd", "/etc/drbdocfs/drbdocfs.conf:1"),
    "o2cb-at-boot": (
        lambda t: t.replace("/etc/default/o2cb", "O2CB_ENABLED=false", "O2CB_ENABLED=true"),
        "o2cb-at-boot",
        "/etc/default/o2cb:1",
    ),
    "old-systemd": (old_systemd, "systemd-too-old", ""),
    "old-systemd-says": (
        lambda t: t.answers.update({"systemctl --version": "systemd 241 (241)\n+PAM\n"}),
        "systemd-too-old",
        "",
    ),
    "off-now": (lambda t: t.append("/proc/cmdline", " drbdocfs=off\n"), "switched-off", "/proc/cmdline"),
    "off-next": (
        lambda t: t.write("/etc/default/grub", '# grub\nGRUB_CMDLINE_LINUX="quiet drbdocfs=off"\n'),
        "switched-off",
        "/etc/default/grub:2",
    ),
}
SEVERITIES = {
    "modprobe": "note",
    "drbd-script-ignored": "note",
    "pacemaker-with-r0": "error",
    "heartbeat": "error",
    "own-mount-of-the-loop": "error",
}


@pytest.mark.parametrize("case", CASES)
def test_fault(case: str, tree: Tree) -> None:
    mutate, code, where = CASES[case]
    # Live, because tools may have something to say; without an answer of theirs it is the same as offline.
    tree.write("/proc/cmdline", "quiet")
    assert added(tree, rivals.find, mutate) == [(code, where)]
    severity = SEVERITIES.get(case, rivals.BOOK.rules[code].severity)
    assert [finding.severity for finding in rivals.find(tree.facts())] == [severity]


def multipath_with_blacklist(tree: Tree) -> None:
    tree.enable("multipathd.service")
    tree.write("/etc/multipath/conf.d/drbd.conf", 'blacklist {\n        devnode "^drbd[0-9]+"\n}\n')


def lvm_with(*lines: str) -> Callable[[Tree], None]:
    def mutate(tree: Tree) -> None:
        lvm(tree)
        tree.write("/etc/lvm/lvm.conf", "devices {\n" + "\n".join(lines) + "\n}\n")

    return mutate


def lvm_with_list(tree: Tree) -> None:
    lvm(tree)
    tree.write("/etc/lvm/devices/system.devices", "VERSION=1.1.1\n")


def masked(tree: Tree) -> None:
    tree.enable("drbd.service")
    tree.link(f"{SYSTEM}/drbd.service", "/dev/null")


HARMLESS: dict[str, Callable[[Tree], object]] = {
    "rc.local-without-x": lambda t: t.write("/etc/rc.local", "#!/bin/sh\nmount /dev/drbd0\n"),
    "rc.local-of-others": rc_local("mount /dev/sdb1 /srv; iptables-restore < /etc/rules"),
    "rc.local-other-drbd": rc_local("mount /dev/drbd01 /mnt/storage2; drbdadm up r00"),
    "rc.local-mounts-all-but-noauto": rc_local("mount -a"),
    "rc.local-looks": rc_local("drbdadm status r0 > /var/log/r0 # drbdadm up r0"),
    "rc.local-looks-twice": rc_local("drbdadm status r0 && drbdadm dstate r0; drbdsetup show r0"),
    "rc.local-service-status": rc_local("service drbd status; /etc/init.d/drbd status; systemctl status drbd"),
    "rc.local-other-minor": rc_local("drbdsetup primary 1; drbdsetup primary minor-10; drbdsetup disk-options 1 0"),
    "rc.local-by-res-of-others": rc_local("mount /dev/drbd/by-res/r00/0 /srv"),
    "rc.local-lists": rc_local("ls /mnt/storage && echo mounted"),
    "cron-by-time": lambda t: t.write("/etc/cron.d/storage", "5 4 * * * root mount /mnt/storage\n"),
    "other-script": steps(
        lambda t: t.write("/etc/init.d/nginx", "#!/bin/sh\nroot=/mnt/storage\n", 0o755),
        lambda t: t.link("/etc/rc2.d/S20nginx", "../init.d/nginx"),
    ),
    "masked": masked,
    "other-resource": lambda t: t.enable("drbd@r1.target"),
    "reactor-of-others": steps(
        lambda t: reactor(t),
        lambda t: t.write(
            "/etc/drbd-reactor.d/r0.toml", "[[promoter]]\n# [promoter.resources.r0]\n[promoter.resources.r01]\n"
        ),
    ),
    "user-of-the-mount": own_unit(
        "app.service",
        "[Unit]\nRequiresMountsFor=/mnt/storage\n"
        "[Service]\nWorkingDirectory=/mnt/storage\nExecStart=/bin/app /mnt/storage\n",
    ),
    "own-mount-unit": own_unit("mnt-storage.mount", "[Mount]\nWhat=/dev/drbd0\nWhere=/mnt/storage\nType=ocfs2\n"),
    "multipath": multipath_with_blacklist,
    "multipath-0.9": steps(lambda t: t.enable("multipathd.service"), multipath_tools("0.9.4-3+deb12u2")),
    "multipath-1.0": steps(lambda t: t.enable("multipathd.service"), multipath_tools("1:1.0.2-1")),
    "multipath-says-so": steps(
        lambda t: t.enable("multipathd.service"),
        lambda t: t.answers.update(
            {"multipath -t": 'defaults {\n verbosity 2\n}\nblacklist {\n devnode "!^(sd[a-z]|nvme[0-9])"\n}\n'}
        ),
    ),
    "multipath-star": steps(
        lambda t: t.enable("multipathd.service"),
        lambda t: t.write("/etc/multipath.conf", 'blacklist { devnode "*" }\nblacklist_exceptions { devnode "^sd" }\n'),
    ),
    "lvm-global-filter": lvm_with('global_filter = [ "a|/dev/sda|", "r|.*|" ]', 'filter = [ "r|/dev/cdrom|" ]'),
    "lvm-drbd": lvm_with('filter = [ "r|^/dev/drbd|" ]'),
    "lvm-with-list": lvm_with_list,
    "snapd-high-number": steps(
        lambda t: t.enable("snapd.service"),
        lambda t: t.replace("/etc/drbdocfs/drbdocfs.conf", "/dev/loop7", "/dev/loop100"),
    ),
    "new-systemd": lambda t: t.answers.update({"systemctl --version": "systemd 257 (257.9-1)\n"}),
    "off-commented": lambda t: t.write("/etc/default/grub", '#GRUB_CMDLINE_LINUX="drbdocfs=off"\n'),
    "no-stack": steps(lambda t: t.write("/etc/drbdocfs/drbdocfs.conf", ""), lambda t: t.enable("drbd.service")),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless(case: str, tree: Tree) -> None:
    assert added(tree, rivals.find, HARMLESS[case]) == []


def test_every_rule_has_a_fault() -> None:
    assert {code for _, code, _ in CASES.values()} == set(rivals.BOOK.rules)
