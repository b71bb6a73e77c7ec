"""Area mounts of check: each fault planted in a good host is found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drbdocfs_boot.checks import mounts
from tests.unit.checktree import MOUNTINFO, Tree, added, freeze, good, steps

POINT = "/mnt/storage"
MOUNTED = "50 22 147:0 / /mnt/storage rw,noatime - ocfs2 /dev/drbd0 rw,barrier=1\n"


UNIT = "/etc/systemd/system/mnt-storage.mount"
UUID = "D6D5F7EE542F4E44A8EB11F8D4CC571E"


def heartbeat(references: int, *lines: str, mode: str = "local") -> Callable[[Tree], None]:
    """A cluster that is online with the heartbeat of our file system, and what ocfs2_hb_ctl says of it."""

    def mutate(tree: Tree) -> None:
        place = "/sys/kernel/config/cluster/web/heartbeat"
        tree.write(f"{place}/mode", f"{mode}\n")
        tree.write(f"{place}/{UUID}/dev", "drbd0\n")
        tree.answers[f"ocfs2_hb_ctl -I -u {UUID}"] = f"{UUID}: {references} refs\n"
        mounted(*lines)(tree)

    return mutate


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    return good(tmp_path / "root", monkeypatch)


def fstab(*lines: str) -> Callable[[Tree], None]:
    """These lines after the good one."""
    return lambda tree: tree.append("/etc/fstab", "".join(line + "\n" for line in lines))


def own(line: str) -> Callable[[Tree], None]:
    """This line instead of the good one."""
    return lambda tree: tree.write("/etc/fstab", "# fstab\n" + line + "\n")


def unit(*lines: str) -> Callable[[Tree], None]:
    """A mount unit of the administrator's, with these lines in place of the good ones."""
    settings = {"What": "/dev/drbd0", "Where": POINT, "Type": "ocfs2", "Options": "noatime,barrier=1"}
    settings.update((line.partition("=")[0], line.partition("=")[2]) for line in lines)
    text = "".join(f"{key}={value}\n" for key, value in settings.items())
    return lambda tree: tree.write(UNIT, "[Mount]\n" + text)


def mounted(*lines: str) -> Callable[[Tree], None]:
    return lambda tree: tree.write("/proc/self/mountinfo", MOUNTINFO + "".join(line + "\n" for line in lines))


def symlink(tree: Tree) -> None:
    tree.path(POINT).rename(tree.path("/srv/storage"))
    tree.link(POINT, "/srv/storage")


def below_symlink(tree: Tree) -> None:
    tree.path("/mnt").rename(tree.path("/media"))
    tree.link("/mnt", "media")


def not_a_directory(tree: Tree) -> None:
    tree.path(POINT).rmdir()
    tree.write(POINT, "")


def on_stack(tree: Tree) -> None:
    tree.path("/mnt/storage").rmdir()
    tree.stanza("outer", resource="r1", device="/dev/drbd1", cluster="web", mountpoint="/mnt")
    tree.write("/proc/self/mountinfo", MOUNTINFO + MOUNTED + "49 22 147:1 / /mnt rw - ocfs2 /dev/drbd1 rw,barrier=1\n")


def direct_map(tree: Tree) -> None:
    tree.write("/etc/auto.master", "# autofs\n/- auto.direct\n")
    tree.write("/etc/auto.direct", "/mnt/storage -fstype=ocfs2 :/dev/drbd0\n")


CASES: dict[str, tuple[Callable[[Tree], object], str, str]] = {
    "missing": (lambda t: t.path(POINT).rmdir(), "mountpoint-missing", POINT),
    "file": (not_a_directory, "mountpoint-not-a-directory", POINT),
    "not-empty": (lambda t: t.write(f"{POINT}/stray", ""), "mountpoint-not-empty", POINT),
    "taken": (mounted("60 22 8:1 / /mnt/storage rw - ext4 /dev/sda1 rw"), "mountpoint-taken", POINT),
    "by-hand-from-another-device": (
        mounted("60 22 7:7 / /mnt/storage rw - ocfs2 /dev/loop7 rw"),
        "mountpoint-taken",
        POINT,
    ),
    "symlink": (symlink, "mountpoint-symlink", POINT),
    "below-symlink": (below_symlink, "mountpoint-symlink", POINT),
    "on-another-stack": (on_stack, "mountpoint-on-stack", POINT),
    "elsewhere": (
        mounted(MOUNTED.strip(), "61 22 147:0 / /srv rw - ocfs2 /dev/drbd0 rw,barrier=1"),
        "mounted-elsewhere",
        "/srv",
    ),
    "twice": (mounted(MOUNTED.strip(), MOUNTED.strip().replace("50 22", "51 50")), "mounted-twice", POINT),
    "heartbeat-of-a-second-mount": (heartbeat(2, MOUNTED.strip()), "heartbeat-left", UUID),
    "heartbeat-of-a-second-mount-that-is-gone": (heartbeat(2), "heartbeat-left", UUID),
    "double": (fstab("/dev/drbd0 /mnt/storage/ ocfs2 noauto 0 0"), "fstab-double", "/etc/fstab:2"),
    "second-mount": (fstab("", "/dev/drbd/by-res/r0 /srv ocfs2 noauto 0 0"), "fstab-second-mount", "/etc/fstab:3"),
    "nofail": (own("/dev/drbd0 /mnt/storage ocfs2 noatime,barrier=1,nofail 0 0"), "fstab-nofail", "/etc/fstab:2"),
    "own-label": (own("LABEL=web /mnt/storage ocfs2 noatime,barrier=1 0 0"), "fstab-by-uuid", "/etc/fstab:2"),
    "uuid-for-another-place": (
        fstab('UUID="D6D5F7EE-542F-4E44-A8EB-11F8D4CC571E" /srv ocfs2 defaults 0 0'),
        "fstab-by-uuid",
        "/etc/fstab:2",
    ),
    "label-for-another-place": (fstab("LABEL=web /srv ocfs2 defaults 0 0"), "fstab-by-uuid", "/etc/fstab:2"),
    "loop-device": (fstab("/dev/loop7 /srv ocfs2 noauto 0 0"), "fstab-lower-disk", "/etc/fstab:2"),
    "backing-file": (fstab("/drbd-loop.img /srv ocfs2 loop 0 0"), "fstab-lower-disk", "/etc/fstab:2"),
    "own-from-loop": (own("/dev/loop7 /mnt/storage ocfs2 noatime,barrier=1 0 0"), "fstab-lower-disk", "/etc/fstab:2"),
    "own-device": (own("/dev/sdb1 /mnt/storage ocfs2 noatime,barrier=1 0 0"), "fstab-device", "/etc/fstab:2"),
    "type": (own("/dev/drbd0 /mnt/storage ext4 noatime,barrier=1 0 0"), "fstab-type", "/etc/fstab:2"),
    "options": (own("/dev/drbd0 /mnt/storage ocfs2 noauto,_netdev,barrier=1 0 0"), "fstab-options", "/etc/fstab:2"),
    "no-barrier-in-fstab": (own("/dev/drbd0 /mnt/storage ocfs2 noatime 0 0"), "mount-no-barrier", "/etc/fstab:2"),
    "barrier-0-in-fstab": (
        own("/dev/drbd0 /mnt/storage ocfs2 barrier=1,noatime,barrier=0 0 0"),
        "mount-no-barrier",
        "/etc/fstab:2",
    ),
    "mounted-without-barrier": (mounted(MOUNTED.replace(",barrier=1", "").strip()), "mount-no-barrier", POINT),
    "automount-option": (
        own("/dev/drbd0 /mnt/storage ocfs2 noatime,barrier=1,x-systemd.automount 0 0"),
        "automount",
        "/etc/fstab:2",
    ),
    "automount-unit": (
        lambda t: t.write("/etc/systemd/system/mnt-storage.automount", "[Automount]\nWhere=/mnt/storage\n"),
        "automount",
        "/etc/systemd/system/mnt-storage.automount",
    ),
    "unit-by-uuid": (unit("What=UUID=d6d5f7ee-542f-4e44-a8eb-11f8d4cc571e"), "mount-unit", f"{UNIT}:2"),
    "unit-by-label": (unit("What=/dev/disk/by-label/web"), "mount-unit", f"{UNIT}:2"),
    "unit-of-the-loop": (unit("What=/dev/loop7"), "mount-unit", f"{UNIT}:2"),
    "unit-of-another-device": (unit("What=/dev/drbd1"), "mount-unit", f"{UNIT}:2"),
    "unit-of-another-type": (unit("Type=ext4"), "mount-unit", f"{UNIT}:4"),
    "unit-without-barrier": (unit("Options=noatime"), "mount-no-barrier", f"{UNIT}:5"),
    "unit-without-options": (unit("Options=rw,noatime"), "mount-no-barrier", f"{UNIT}:5"),
    "drop-in-of-another-device": (
        steps(unit(), lambda t: t.write(f"{UNIT}.d/x.conf", "[Mount]\nWhat=/dev/sdb1\n")),
        "mount-unit",
        f"{UNIT}.d/x.conf:2",
    ),
    "drop-in-without-barrier": (
        lambda t: t.write(f"{UNIT}.d/x.conf", "[Unit]\nOptions=x\n[Mount]\nOptions=noatime\n"),
        "mount-no-barrier",
        f"{UNIT}.d/x.conf:4",
    ),
    "unit-with-other-options": (unit("Options=nodev,barrier=1"), "mount-unit", f"{UNIT}:5"),
    "autofs": (lambda t: t.write("/etc/auto.master", "/mnt /etc/auto.mnt\n"), "automount", "/etc/auto.master:1"),
    "autofs-direct": (direct_map, "automount", "/etc/auto.direct:1"),
}


@pytest.mark.parametrize("case", CASES)
def test_fault(case: str, tree: Tree) -> None:
    mutate, code, where = CASES[case]
    # Offline, but for what a tool counts.
    assert added(tree, mounts.find, mutate, live="heartbeat" in case) == [(code, where)]


HARMLESS: dict[str, Callable[[Tree], object]] = {
    "mounted": mounted(MOUNTED.strip()),
    "mounted-with-files-below-it": steps(lambda t: mounted(MOUNTED.strip())(t), lambda t: t.write(f"{POINT}/file", "")),
    "bind-of-a-directory": mounted(MOUNTED.strip(), "61 22 147:0 /www /srv rw - ocfs2 /dev/drbd0 rw,barrier=1"),
    "heartbeat": heartbeat(1, MOUNTED.strip()),
    "heartbeat-while-it-is-being-mounted": heartbeat(1),
    "global-heartbeat": heartbeat(3, MOUNTED.strip(), mode="global"),
    "bind-of-the-whole": steps(
        mounted(MOUNTED.strip(), "61 22 147:0 / /srv rw - ocfs2 /dev/drbd0 rw,barrier=1"),
        fstab("/mnt/storage /srv none bind 0 0"),
    ),
    "no-line": own("# none"),
    "netdev": own("/dev/drbd0 /mnt/storage ocfs2 _netdev,noatime,barrier=1,x-systemd.mount-timeout=3min 0 0"),
    "by-res": own("/dev/drbd/by-res/r0/0 /mnt/storage ocfs2 noauto,noatime,barrier=1 0 0"),
    "own-unit": unit("Options=_netdev,noatime,barrier=1"),
    "own-unit-by-res": unit("What=/dev/drbd/by-res/r0/0", "Type=auto"),
    "masked-unit": lambda t: t.link(UNIT, "/dev/null"),
    "other-label": fstab("LABEL=root / ext4 defaults 0 1", "UUID=0e1a-77 /boot/efi vfat defaults 0 0"),
    "bind-line": fstab("/mnt/storage/www /srv none bind 0 0"),
    "masked-automount": lambda t: t.link("/etc/systemd/system/mnt-storage.automount", "/dev/null"),
    "autofs-elsewhere": lambda t: t.write("/etc/auto.master", "/net -hosts\n/mnt2 auto.mnt\n+auto.master\n"),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless(case: str, tree: Tree) -> None:
    assert added(tree, mounts.find, HARMLESS[case]) == []


def test_a_mount_point_on_another_stack_is_not_looked_at(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.stanza("outer", resource="r1", device="/dev/drbd1", cluster="web", mountpoint="/mnt")
    tree.write("/proc/self/mountinfo", MOUNTINFO + "49 22 147:1 / /mnt rw - ocfs2 /dev/drbd1 rw,barrier=1\n")
    freeze(tree, monkeypatch, "/mnt")
    assert [(f.code, f.stack) for f in mounts.find(tree.facts())] == [("mountpoint-on-stack", "web")]


def test_the_backing_file_on_the_stack_s_mount_is_still_known_in_fstab(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.remove("/drbd-loop.img")
    tree.link("/drbd-loop.img", "/mnt/storage/loop.img")
    fstab("/mnt/storage/loop.img /srv ocfs2 loop 0 0", "/mnt/storage/www /srv/www none bind 0 0")(tree)
    freeze(tree, monkeypatch)
    assert [(f.code, f.where) for f in mounts.find(tree.facts())] == [("fstab-lower-disk", "/etc/fstab:2")]


def test_a_nul_in_auto_master(tree: Tree) -> None:
    tree.write("/etc/auto.master", "/- auto\0direct\n/- file:/etc/\0\n")
    assert list(mounts.find(tree.facts())) == []


def test_every_rule_has_a_fault() -> None:
    assert {code for _, code, _ in CASES.values()} == set(mounts.BOOK.rules)
