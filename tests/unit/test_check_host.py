"""Area host of check: each fault planted in a good host is found, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drbdocfs_boot.checks import host
from drbdocfs_boot.checks.facts import Facts
from drbdocfs_boot.tools.run import Result
from tests.unit.checktree import KERNEL, MODULES, Tree, added, good, steps

SYSTEM = "/etc/systemd/system"
SYSCTL = "/proc/sys/kernel"
DEP = f"/usr/lib/modules/{KERNEL}/modules.dep"
CYCLE = """\
multi-user.target: Found ordering cycle on mnt-storage.mount/start
multi-user.target: Found dependency on local-fs.target/start
multi-user.target: Found dependency on sysinit.target/start
multi-user.target: Found dependency on mnt-storage.mount/start
multi-user.target: Job local-fs.target/start deleted to break ordering cycle starting with mnt-storage.mount/start
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    return good(tmp_path / "root", monkeypatch)


def without(*modules: str) -> str:
    return "".join(line + "\n" for line in MODULES.splitlines() if not any(f"/{m}.ko" in line for m in modules))


def kernel(name: str, modules: str) -> Callable[[Tree], None]:
    return lambda tree: tree.write(f"/usr/lib/modules/{name}/modules.dep", modules)


def tool_gone(*names: str) -> Callable[[Tree], None]:
    return steps(*(lambda tree, name=name: tree.remove(f"/usr/sbin/{name}") for name in names))


def disabled(tree: Tree) -> None:
    tree.remove(f"{SYSTEM}/multi-user.target.wants/drbdocfs.target")


def mask(unit: str) -> Callable[[Tree], None]:
    return lambda tree: tree.link(f"{SYSTEM}/{unit}", "/dev/null")


def tomorrow(tree: Tree) -> None:
    tree.write("/usr/lib/os-release", "ID=debian\n")
    later = time.time() + 86400
    os.utime(tree.path("/usr/lib/os-release"), (later, later))


def wait_online_masked(tree: Tree) -> None:
    mask("systemd-networkd-wait-online.service")(tree)


CASES: dict[str, tuple[Callable[[Tree], object], str, str]] = {
    "no-drbd": (lambda t: t.write(DEP, without("drbd")), "module-missing", f"/lib/modules/{KERNEL}"),
    "no-stack-module": (
        lambda t: t.write(DEP, without("ocfs2_stack_o2cb")),
        "module-missing",
        f"/lib/modules/{KERNEL}",
    ),
    "no-loop": (lambda t: t.write(DEP, without("loop")), "module-missing", f"/lib/modules/{KERNEL}"),
    "modules-gone": (
        lambda t: t.path(f"/usr/lib/modules/{KERNEL}").rename(t.path("/usr/lib/modules/6.1.0-99-amd64")),
        "module-missing",
        f"/lib/modules/{KERNEL}",
    ),
    "next-kernel": (
        kernel("6.1.0-100-amd64", without("drbd", "ocfs2")),
        "next-kernel-module",
        "/lib/modules/6.1.0-100-amd64",
    ),
    "blacklist": (
        lambda t: t.write("/etc/modprobe.d/no.conf", "# none\nblacklist ocfs2-stack-o2cb\n"),
        "module-blocked",
        "/etc/modprobe.d/no.conf:2",
    ),
    "install": (
        lambda t: t.write("/usr/lib/modprobe.d/no.conf", "install drbd /bin/false\n"),
        "module-blocked",
        "/usr/lib/modprobe.d/no.conf:1",
    ),
    "command-line": (
        lambda t: t.write("/proc/cmdline", "quiet modprobe.blacklist=nouveau,drbd\n"),
        "module-blocked",
        "/proc/cmdline",
    ),
    "drbd-utils": (tool_gone("drbdadm", "drbdsetup", "drbdmeta"), "tools-missing", "drbd-utils"),
    "ocfs2-tools": (tool_gone("mount.ocfs2"), "tools-missing", "ocfs2-tools"),
    "losetup": (tool_gone("losetup"), "tools-missing", "util-linux"),
    "name": (lambda t: t.write("/etc/hostname", "# ours\nserver9\n"), "host-name", "/etc/hostname:2"),
    "no-wait-online": (
        lambda t: t.remove(f"{SYSTEM}/network-online.target.wants/systemd-networkd-wait-online.service"),
        "network-online",
        "network-online.target",
    ),
    "wait-online-masked": (wait_online_masked, "network-online", "network-online.target"),
    "clock-sync": (
        lambda t: t.remove(f"{SYSTEM}/sysinit.target.wants/systemd-timesyncd.service"),
        "clock-sync",
        "",
    ),
    "an-oops-goes-on": (
        lambda t: t.write(f"{SYSCTL}/panic_on_oops", "0\n"),
        "kernel-goes-on",
        f"{SYSCTL}/panic_on_oops",
    ),
    "a-panic-halts": (lambda t: t.write(f"{SYSCTL}/panic", "0\n"), "kernel-goes-on", f"{SYSCTL}/panic"),
    "clock-behind": (tomorrow, "clock-behind", "/usr/lib/os-release"),
    "disabled": (disabled, "target-disabled", "drbdocfs.target"),
    "not-installed": (
        lambda t: t.remove("/usr/lib/systemd/system/drbdocfs.target"),
        "target-disabled",
        "drbdocfs.target",
    ),
    "target-masked": (mask("drbdocfs.target"), "unit-masked", f"{SYSTEM}/drbdocfs.target"),
    "instance-masked": (mask("drbdocfs-wait@web.service"), "unit-masked", f"{SYSTEM}/drbdocfs-wait@web.service"),
    "template-masked": (mask("drbdocfs-o2cb@.service"), "unit-masked", f"{SYSTEM}/drbdocfs-o2cb@.service"),
    "device-masked": (mask("dev-drbd0.device"), "unit-masked", f"{SYSTEM}/dev-drbd0.device"),
    "mount-masked": (mask("mnt-storage.mount"), "unit-masked", f"{SYSTEM}/mnt-storage.mount"),
    "masked-by-an-empty-file": (
        lambda t: t.write(f"{SYSTEM}/modprobe@.service", ""),
        "unit-masked",
        f"{SYSTEM}/modprobe@.service",
    ),
    "masked-until-reboot": (
        lambda t: t.link("/run/systemd/system/drbdocfs@web.target", "/dev/null"),
        "unit-masked",
        "/run/systemd/system/drbdocfs@web.target",
    ),
    "drop-in": (
        lambda t: t.write(f"{SYSTEM}/drbdocfs-wait@.service.d/short.conf", "[Service]\nTimeoutStartSec=5\n"),
        "unit-changed",
        f"{SYSTEM}/drbdocfs-wait@.service.d/short.conf",
    ),
    "replaced": (
        lambda t: t.write(f"{SYSTEM}/drbdocfs-loop@.service", "[Service]\nExecStart=/bin/true\n"),
        "unit-changed",
        f"{SYSTEM}/drbdocfs-loop@.service",
    ),
    "cycle": (lambda t: t.answers.update({"env ": CYCLE}), "ordering-cycle", "mnt-storage.mount"),
    "cycle-of-others": (
        lambda t: t.answers.update({"env ": CYCLE.replace("mnt-storage", "srv")}),
        "ordering-cycle",
        "srv.mount",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_fault(case: str, tree: Tree) -> None:
    mutate, code, where = CASES[case]
    assert added(tree, host.find, mutate) == [(code, where)]


HARMLESS: dict[str, Callable[[Tree], object]] = {
    "compressed": lambda t: t.write(DEP, MODULES.replace(".ko:", ".ko.xz:")),
    "built-in": steps(
        lambda t: t.write(DEP, without("loop")),
        lambda t: t.write(f"/usr/lib/modules/{KERNEL}/modules.builtin", "kernel/drivers/block/loop.ko\n"),
    ),
    "loaded": steps(lambda t: t.write(DEP, without("drbd")), lambda t: t.path("/sys/module/drbd").mkdir()),
    "older-kernel": kernel("6.1.0-9-amd64", ""),
    "left-over-directory": lambda t: t.path("/usr/lib/modules/6.9.0/updates").mkdir(),
    "overridden-blacklist": steps(
        lambda t: t.write("/usr/lib/modprobe.d/no.conf", "blacklist drbd\n"),
        lambda t: t.write("/etc/modprobe.d/no.conf", ""),
    ),
    "localhost": lambda t: t.write("/etc/hostname", "localhost\n"),
    "no-hostname": lambda t: t.remove("/etc/hostname"),
    "ifupdown": steps(
        lambda t: t.remove(f"{SYSTEM}/network-online.target.wants/systemd-networkd-wait-online.service"),
        lambda t: t.enable("networking.service", "network-online.target.wants"),
    ),
    "netplan": steps(
        lambda t: t.remove(f"{SYSTEM}/network-online.target.wants/systemd-networkd-wait-online.service"),
        lambda t: t.link(
            "/run/systemd/generator.late/network-online.target.wants/systemd-networkd-wait-online.service",
            "/lib/systemd/system/systemd-networkd-wait-online.service",
        ),
    ),
    "chrony": steps(
        lambda t: t.remove(f"{SYSTEM}/sysinit.target.wants/systemd-timesyncd.service"),
        lambda t: t.enable("chrony.service"),
    ),
    "required": steps(lambda t: disabled(t), lambda t: t.enable("drbdocfs.target", "graphical.target.requires")),
    "masked-o2cb-script": mask("o2cb.service"),
    "verify-talks": lambda t: t.answers.update({"env ": "ssh.service: Command foo is not executable\n"}),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless(case: str, tree: Tree) -> None:
    assert added(tree, host.find, HARMLESS[case]) == []


def test_the_cloud_flavour_is_named(tree: Tree) -> None:
    name = "6.1.0-57-cloud-amd64"
    kernel(name, without("drbd", "ocfs2", "ocfs2_stack_o2cb"))(tree)
    tree.write("/proc/sys/kernel/osrelease", name)
    found = list(host.find(tree.facts()))
    assert [f.code for f in found] == ["module-missing"] * 3
    assert all("cloud" in f.message for f in found)


def test_without_a_backing_file_no_loop_is_needed(tree: Tree) -> None:
    tree.real_disk()
    tree.write(DEP, without("loop"))
    tree.remove("/usr/sbin/losetup")
    assert list(host.find(tree.facts())) == []


class Full:
    f_flag, f_bfree, f_frsize, f_files, f_ffree = 0, 100, 4096, 1000, 10


@pytest.mark.parametrize(
    ("change", "word"),
    [({}, "full"), ({"f_flag": os.ST_RDONLY}, "read-only"), ({"f_bfree": 9999, "f_ffree": 0}, "inodes")],
)
def test_no_room(change: dict[str, int], word: str, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    space = type("Space", (Full,), change)()
    monkeypatch.setattr(Facts, "space", lambda facts, name: space if name == "/var/lib" else None)
    found = list(host.find(tree.facts()))
    assert [(f.code, f.where) for f in found] == [("no-room", "/var/lib")]
    assert word in found[0].message


def test_a_cycle_of_ours_is_an_error_and_told_once(tree: Tree) -> None:
    tree.answers["env "] = CYCLE + CYCLE.replace("multi-user", "graphical")
    assert [(f.severity, f.message) for f in host.find(tree.facts())] == [
        ("error", "they wait for each other: mnt-storage.mount, local-fs.target, sysinit.target")
    ]


def test_detours_of_a_cycle_are_not_told() -> None:
    # systemd 252 breaks one circle after the other until none is left.
    text = "".join(
        f"basic.target: Found ordering cycle on sysinit.target/start\n{detour}"
        "basic.target: Found dependency on local-fs.target/start\n"
        "basic.target: Found dependency on mnt-storage.mount/start\n"
        "basic.target: Found dependency on x.service/start\n"
        "basic.target: Found dependency on sysinit.target/start\n"
        for detour in (
            "basic.target: Found dependency on systemd-update-utmp.service/verify-active\n",
            "",
            "basic.target: Found dependency on systemd-binfmt.service/start\n",
        )
    )
    assert host.cycles(text) == [("sysinit.target", "local-fs.target", "mnt-storage.mount", "x.service")]


def test_cycle_in_one_line() -> None:
    text = (
        "a.target: Found ordering cycle: b.service/start after c@x.mount/start after d.target/start - after b.service"
    )
    assert host.cycles(text) == [("b.service", "c@x.mount", "d.target")]


def test_the_next_boots_units_are_what_is_verified(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def tool(facts: Facts, *argv: str, limit: float = 10.0) -> Result | None:
        if argv[0] == "env":
            paths = argv[1].partition("=")[2].split(":")
            ours = Path(paths[0])
            asked.append(sorted(p.name for p in ours.iterdir()))
            asked.append(list(argv[2:4]))
            asked.append([str(ours)])
        return None

    monkeypatch.setattr(Facts, "tool", tool)
    assert list(host.find(tree.facts())) == []
    files, command, place = asked
    assert "drbdocfs-attach@web.service.d" in files
    assert command == ["systemd-analyze", "verify"]
    assert not Path(place[0]).exists()


def test_offline_systemd_is_not_asked(tree: Tree) -> None:
    tree.answers["env "] = CYCLE
    assert list(host.find(tree.facts(live=False))) == []


def test_a_crash_kernel_ends_a_panic_too(tree: Tree) -> None:
    tree.write(f"{SYSCTL}/panic", "0\n")
    tree.write("/sys/kernel/kexec_crash_loaded", "1\n")
    assert list(host.find(tree.facts())) == []


def test_without_a_stack_our_units_may_be_off(tree: Tree) -> None:
    tree.write("/etc/drbdocfs/drbdocfs.conf", "")
    disabled(tree)
    assert list(host.find(tree.facts())) == []


def test_every_rule_has_a_fault() -> None:
    assert {code for _, code, _ in CASES.values()} | {"no-room"} == set(host.BOOK.rules)
