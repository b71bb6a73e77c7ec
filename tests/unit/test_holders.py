"""Who keeps a mount or a device busy, from the text of /proc and /sys alone."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from drbdocfs_boot.tools import holders

from .conftest import Box

ROOT_MOUNT = "20 1 253:0 / / rw shared:1 - ext4 /dev/vda1 rw\n"
MOUNT = ROOT_MOUNT + "30 20 147:0 / /mnt/web rw,noatime shared:9 - ocfs2 /dev/drbd0 rw\n"


def process(
    box: Box,
    pid: int,
    *,
    comm: str = "worker",
    cwd: str = "/",
    root: str = "/",
    fds: tuple[str, ...] = (),
    maps: str = "",
    unit: str = "cron.service",
    space: str = "mnt:[1]",
    mountinfo: str | None = None,
    start: int = 500,
    flags: int = 0,
    state: str = "S",
) -> None:
    """A process in the box's /proc."""
    place = f"/proc/{pid}"
    box.write(f"{place}/stat", f"{pid} ({comm}) {state} 1 1 1 0 -1 {flags} {'0 ' * 12}{start} 0 0\n")
    box.write(f"{place}/status", f"Name:\t{comm}\nUid:\t33\t33\t33\t33\n")
    box.write(f"{place}/cgroup", f"0::/system.slice/{unit}\n")
    box.write(f"{place}/maps", maps)
    links = {"cwd": cwd, "root": root, "exe": "/usr/bin/worker", "ns/mnt": space}
    links |= {f"fd/{number}": target for number, target in enumerate(fds)}
    for name, target in links.items():
        link = box.root / f"proc/{pid}" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(target)
    if mountinfo is not None:
        box.write(f"{place}/mountinfo", mountinfo)


@pytest.fixture
def host(box: Box) -> Box:
    box.write("/proc/self/mountinfo", MOUNT)
    (box.root / "proc/self/ns").mkdir()
    (box.root / "proc/self/ns/mnt").symlink_to("mnt:[1]")
    box.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\n")
    process(box, 1, comm="systemd", unit="init.scope")
    return box


def of_mount() -> list[str]:
    return [str(holder) for holder in holders.of_mount("/dev/drbd0")]


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ({"cwd": "/mnt/web"}, "working directory /mnt/web"),
        ({"cwd": "/mnt/web/a b"}, "working directory /mnt/web/a b"),
        ({"root": "/mnt/web/jail"}, "root directory /mnt/web/jail"),
        ({"fds": ("/dev/null", "socket:[12]", "/mnt/web/log (deleted)")}, "open file /mnt/web/log (deleted)"),
        ({"maps": "7f00-7f10 r-xp 00000000 93:00 77    /mnt/web/lib.so\n"}, "mapped file /mnt/web/lib.so"),
        ({"cwd": "/mnt/web", "fds": ("/mnt/web/1", "/mnt/web/2")}, "working directory /mnt/web and 2 more"),
        ({"cwd": "/mnt/web/\x1b[2J\udcff"}, "working directory /mnt/web/?[2J?"),
    ],
)
def test_a_process_and_how_it_holds(host: Box, what: dict[str, str], how: str) -> None:
    process(host, 12, **what)  # type: ignore[arg-type]
    assert of_mount() == [f"worker (pid 12, user www-data, cron.service): {how}"]


def test_a_process_that_hangs_on_its_way_out_holds_by_its_files(host: Box) -> None:
    """It has no memory any more, and with it no program, while its files are still being closed."""
    process(host, 12, cwd="/mnt/web", fds=("/mnt/web/log",), state="D")
    (host.root / "proc/12/exe").unlink()
    assert of_mount() == ["worker (pid 12, user www-data, cron.service): open file /mnt/web/log"]


def test_of_a_kernel_thread_nothing_is_asked_but_its_files(host: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    process(host, 12, flags=holders.KERNEL_THREAD)
    (host.root / "proc/12/exe").unlink()
    asked: list[str] = []
    real = holders._link

    def watched(name: str) -> str:
        asked.append(name)
        return real(name)

    monkeypatch.setattr(holders, "_link", watched)
    assert of_mount() == []
    assert not [name for name in asked if name.startswith("/proc/12/")]
    assert [name for name in asked if name.startswith("/proc/1/")]


@pytest.mark.parametrize("path", ["/mnt/website", "/mnt", "/", "/mnt/web2/file", "pipe:[/mnt/web]"])
def test_what_only_looks_alike(host: Box, path: str) -> None:
    process(host, 12, cwd=path if path.startswith("/") else "/", fds=(path,), maps=f"1-2 r--p 0 0:0 3 {path}\n")
    assert of_mount() == []


def test_nothing_mounted_is_held_by_nobody(host: Box) -> None:
    host.write("/proc/self/mountinfo", ROOT_MOUNT)
    process(host, 12, cwd="/mnt/web")
    assert of_mount() == []


def test_the_process_itself_does_not_count(host: Box) -> None:
    process(host, os.getpid(), cwd="/mnt/web")
    assert of_mount() == []


def test_nothing_below_the_mount_is_touched(host: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen file system hangs whoever looks at it."""
    seen: list[str] = []
    real = os.stat

    def watched(path: object, *args: object, **kwargs: object) -> os.stat_result:
        seen.append(str(path))
        return real(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", watched)
    process(host, 12, cwd="/mnt/web/x", fds=("/mnt/web/y", "/dev/null"))
    assert len(holders.of_mount("/dev/drbd0")) == 1
    assert [path for path in seen if "mnt/web" in path] == []


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/user.slice/user-0.slice/session-3.scope\n", "session-3.scope"),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/shell.service\n", "user@7.service"),
        ("0::/machine.slice/docker-ab.scope/system.slice/web.service\n", "docker-ab.scope"),
        ("12:cpu:/x.service\n1:name=systemd:/system.slice/nginx.service\n", "nginx.service"),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_its_unit(host: Box, cgroup: str, unit: str) -> None:
    process(host, 12, cwd="/mnt/web")
    host.write("/proc/12/cgroup", cgroup)
    (found,) = holders.of_mount("/dev/drbd0")
    assert found.unit == unit


# --- mount namespaces -------------------------------------------------------------------------------------------

OWN_COPY = "120 1 253:0 / / rw {0} - ext4 /dev/vda1 rw\n130 120 147:0 / {1} rw {2} - ocfs2 /dev/drbd0 rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "stays"),
    [
        # A service with PrivateTmp=: its copy goes with the original.
        (OWN_COPY.format("master:1", "/mnt/web", "master:9"), ""),
        (OWN_COPY.format("shared:40 master:1", "/mnt/web", "shared:41 master:9"), ""),
        # Private copies, and a container's mount, which follows what is mounted on it but lies on the container's own.
        (OWN_COPY.format("", "/mnt/web", ""), "/mnt/web"),
        (OWN_COPY.format("", "/data", "master:9"), "/data"),
        # It lies in another place than ours, so the unmount does not go on to it.
        (OWN_COPY.format("master:1", "/srv/copy", "master:9"), "/srv/copy"),
        (ROOT_MOUNT, ""),
    ],
)
def test_another_mount_namespace(host: Box, mountinfo: str, stays: str) -> None:
    process(host, 12, space="mnt:[7]", mountinfo=mountinfo)
    process(host, 13, space="mnt:[7]", mountinfo=mountinfo)
    how = f"mounted on {stays} in its mount namespace mnt:[7]"
    assert [(holder.pid, holder.how) for holder in holders.of_mount("/dev/drbd0")] == (
        [(12, how), (13, how)] if stays else []
    )


def test_a_path_means_what_its_own_namespace_says(host: Box) -> None:
    copy = OWN_COPY.format("master:1", "/mnt/web", "master:9")
    process(host, 12, space="mnt:[7]", mountinfo=copy, cwd="/mnt/web/x")
    process(host, 13, space="mnt:[8]", mountinfo=ROOT_MOUNT, cwd="/mnt/web/x")
    assert [(h.pid, h.how) for h in holders.of_mount("/dev/drbd0")] == [(12, "working directory /mnt/web/x")]


def test_mounted_in_another_namespace_alone(host: Box) -> None:
    """Ours is unmounted, and the device is busy all the same."""
    host.write("/proc/self/mountinfo", ROOT_MOUNT)
    process(host, 12, space="mnt:[7]", mountinfo=OWN_COPY.format("master:1", "/mnt/web", ""))
    (found,) = holders.of_device("/dev/drbd0")
    assert found.how == "mounted on /mnt/web in its mount namespace mnt:[7]"


# --- what is no process -----------------------------------------------------------------------------------------


def test_loop_swap_export_and_mounts(host: Box) -> None:
    host.write(
        "/proc/self/mountinfo",
        MOUNT
        + "31 20 147:0 /sub /srv/www rw shared:9 - ocfs2 /dev/drbd0 rw\n"
        + "32 30 0:44 / /mnt/web/tmp rw - tmpfs tmpfs rw\n",
    )
    host.write("/sys/block/loop3/loop/backing_file", "/mnt/web/disk.img\n")
    host.write("/sys/block/loop7/loop/backing_file", "/drbd-loop.img\n")
    host.write("/proc/swaps", "Filename\tType\n/mnt/web/swap\\040file file 1 0 -2\n/swapfile file 1 0 -3\n")
    host.write(
        "/proc/fs/nfsd/exports", "# Version 1.1\n/srv/www\t*(ro)\n/mnt/web\t10.0.0.0/8(rw)\n/mnt/web\t*(ro)\n/home\t*\n"
    )
    assert of_mount() == [
        "another mount of it, on /srv/www",
        "a mount below it, tmpfs (tmpfs) on /mnt/web/tmp",
        "loop device /dev/loop3 on /mnt/web/disk.img",
        "swap on /mnt/web/swap file",
        "NFS export /srv/www",
        "NFS export /mnt/web",
    ]
    units = [holder.unit for holder in holders.of_mount("/dev/drbd0")]
    assert units == ["srv-www.mount", "mnt-web-tmp.mount", "", "mnt-web-swap\\x20file.swap", "", ""]


@pytest.mark.parametrize("loaded", [True, False])
def test_the_list_of_exports_only_counts_with_a_server(host: Box, loaded: bool) -> None:
    host.write("/var/lib/nfs/etab", "/mnt/web\t*(rw)\n")
    if loaded:
        (host.root / "sys/module/nfsd").mkdir(parents=True)
    assert of_mount() == (["NFS export /mnt/web"] if loaded else [])


# --- the device ---------------------------------------------------------------------------------------------------


def test_who_has_the_device_open(host: Box) -> None:
    host.write("/proc/self/mountinfo", ROOT_MOUNT)
    host.write("/dev/drbd0", "")
    link = host.root / "dev/drbd/by-res/r0/0"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../../drbd0")
    (host.root / "sys/block/drbd0/holders/dm-3").mkdir(parents=True)
    host.write("/sys/block/loop3/loop/backing_file", "/dev/drbd0\n")
    process(host, 12, comm="blkid", fds=("/dev/drbd0",))
    process(host, 13, fds=("/dev/drbd1", "/dev/drbd00"), cwd="/mnt/web")
    for name in ("/dev/drbd0", "/dev/drbd/by-res/r0/0"):
        assert [str(holder) for holder in holders.of_device(name)] == [
            "blkid (pid 12, user www-data, cron.service): open device /dev/drbd0",
            "block device /dev/dm-3 on top of it",
            "loop device /dev/loop3 on /dev/drbd0",
        ]


# --- and the rest -------------------------------------------------------------------------------------------------


def test_a_process_that_ended_and_one_with_its_number(host: Box) -> None:
    process(host, 12, cwd="/mnt/web", start=500)
    (found,) = holders.of_mount("/dev/drbd0")
    assert holders.alive(found)
    process_stat = host.root / "proc/12/stat"
    text = process_stat.read_text()
    process_stat.write_text(text.replace(" 500 ", " 501 "))
    assert not holders.alive(found)
    process_stat.write_text(text.replace(") S ", ") Z "))
    assert not holders.alive(found)
    process_stat.unlink()
    assert not holders.alive(found)
    assert of_mount() == []  # it went between two looks


@pytest.mark.parametrize("comm", ["a) S 1 (b", "two words", "x\x1b"])
def test_a_name_with_brackets(host: Box, comm: str) -> None:
    process(host, 12, comm=comm, cwd="/mnt/web", flags=holders.KERNEL_THREAD)
    (found,) = holders.of_mount("/dev/drbd0")
    assert (found.comm, found.start, found.kernel) == (comm.replace("\x1b", "?"), "500", True)


def test_maps_that_hang_cost_their_limit_and_no_more(host: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "MAPS_LIMIT", 0.3)
    process(host, 12, maps="1-2 r--p 0 0:0 3 /mnt/web/early\n")
    process(host, 13)
    maps: Path = host.root / "proc/13/maps"
    maps.unlink()
    os.mkfifo(maps)  # nobody writes: an open hangs, as that of a process in a page fault does
    process(host, 14, cwd="/mnt/web")
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = children.read_text()  # who runs the tests may have some
    began = time.monotonic()
    assert [holder.pid for holder in holders.of_mount("/dev/drbd0")] == [14, 12]
    assert time.monotonic() - began < 2
    assert children.read_text() == before, "a child is left"


def test_in_brief(host: Box) -> None:
    assert holders.brief([]) == ""
    for pid in range(12, 17):
        process(host, pid, cwd="/mnt/web")
    text = holders.brief(holders.of_mount("/dev/drbd0"))
    assert text.count("working directory") == 3
    assert text.endswith("; and 2 more")
