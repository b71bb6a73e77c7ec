"""Area host of ``drbdocfs check``: kernel modules, tools, name, clock, network-online, our units and their order."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from drbdocfs_boot import escape, fstab, generator, lean, units
from drbdocfs_boot.checks import unitfiles
from drbdocfs_boot.checks.facts import FSTAB, Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Book, Finding, Rule
from drbdocfs_boot.tools import system

BOOK = Book(
    module_missing=Rule(
        ERROR,
        "the running kernel lacks a module",
        "DRBD, OCFS2 with o2cb and, under a backing file, loop are modules of the kernel; without one of them its layer"
        " does not start.",
        "install a kernel that has it. Debian: linux-image-amd64 (the cloud flavour lacks them). Or build DRBD's module"
        " for this kernel.",
    ),
    next_kernel_module=Rule(
        WARNING,
        "the newest kernel that is installed lacks a module",
        "The next boot takes the newest kernel as a rule, and the stack stays down then.",
        "install what brings the module for that kernel, or choose another kernel in the boot loader",
    ),
    module_blocked=Rule(
        ERROR,
        "modprobe is told not to load a module",
        "drbdocfs-modules.service loads them by 'modprobe -b', which obeys 'blacklist' and 'install' lines.",
        "remove the line",
    ),
    tools_missing=Rule(
        ERROR,
        "a tool that the units run is not installed",
        "Its layer fails.",
        "install drbd-utils (drbdadm, drbdsetup, drbdmeta), ocfs2-tools (o2cb, mount.ocfs2), util-linux (losetup)",
    ),
    host_name=Rule(
        WARNING,
        "the host will have another name at the next boot",
        "DRBD finds its 'on HOST' section, and O2CB its node, by the name of the host (uname -n).",
        "make them the same: 'hostnamectl set-hostname NAME', or correct /etc/hostname",
    ),
    network_online=Rule(
        WARNING,
        "nothing makes network-online.target wait for the network",
        "boot_timeout and peer_timeout begin when this target is reached. With nothing that waits before it, they run"
        " while the network is still coming up; DRBD waits 30 s for its address, and connects later and by another way"
        " if that is too short.",
        "enable what belongs to the network's service: systemd-networkd-wait-online.service,"
        " NetworkManager-wait-online.service, or with ifupdown networking.service",
    ),
    clock_sync=Rule(
        NOTE,
        "no service keeps the clock right",
        "Neither DRBD nor O2CB needs it. But both nodes write the times of files in one file system, and the logs of"
        " both are compared when something is wrong.",
        "enable systemd-timesyncd.service or chrony",
    ),
    clock_behind=Rule(
        WARNING,
        "the clock is behind",
        "Files of this system are newer than its clock says. Times of files and in the logs are wrong, and make or"
        " backup tools go astray on both nodes.",
        "set the clock, and enable what keeps it right; where it is lost at each power-off, see to the battery",
    ),
    kernel_goes_on=Rule(
        WARNING,
        "a kernel that fails in OCFS2 hangs instead of resetting the host",
        "An oops or a BUG leaves locks taken for ever: the host hangs, its heartbeat may go on beating, and then the"
        " other host waits for it without end. OCFS2's makers demand both settings.",
        "the package sets both in /usr/lib/sysctl.d/20-drbdocfs.conf, from the next boot or 'sysctl --system' on; where"
        " that does not last, look for another value in /etc/sysctl.conf and /etc/sysctl.d",
    ),
    target_disabled=Rule(
        ERROR,
        "drbdocfs.target is not enabled",
        "Without it no stack is started at boot.",
        "systemctl enable drbdocfs.target",
    ),
    unit_masked=Rule(
        ERROR,
        "a unit that the stacks need is masked",
        "systemd refuses to start it, and all that requires it.",
        "systemctl unmask UNIT",
    ),
    unit_changed=Rule(
        NOTE,
        "a unit of ours is changed by the administrator",
        "That is his right. A limit that is shorter, or an order that is left out, shows on a bad day only.",
        "look at it with 'systemctl cat UNIT', and see in drbdocfs.target(7) why the unit is as it is",
    ),
    ordering_cycle=Rule(
        WARNING,
        "units wait for each other in a circle",
        "systemd breaks the circle at boot by leaving out one of them, whichever it meets first, local-fs.target"
        " included.",
        "take out one of the After= or Before= between them: 'systemctl cat UNIT' shows where it stands",
    ),
    no_room=Rule(
        WARNING,
        "a directory that the stacks write to is full or read-only",
        "The units keep there what they have started; without it a stop does not know what to stop.",
        "make room: 'df -h DIRECTORY' and 'df -i DIRECTORY' show what is full",
    ),
)

_BIN = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_TOOLS = (
    ("drbdadm", "drbd-utils"),
    ("drbdsetup", "drbd-utils"),
    ("drbdmeta", "drbd-utils"),
    ("o2cb", "ocfs2-tools"),
    ("mount.ocfs2", "ocfs2-tools"),
)
_OUR_UNITS = (
    "drbdocfs.target",
    "drbdocfs-modules.service",
    "drbdocfs-follow.service",
    "drbdocfs@.target",
    "drbdocfs-loop@.service",
    "drbdocfs-attach@.service",
    "drbdocfs-wait@.service",
    "drbdocfs-promote@.service",
    "drbdocfs-holders@.service",
    "drbdocfs-o2cb@.service",
)
_NEEDED_UNITS = (
    "multi-user.target",
    "network-online.target",
    "network.target",
    "remote-fs.target",
    "remote-fs-pre.target",
    "modprobe@.service",
    "sys-kernel-config.mount",
)
_CLOCKS = (
    "systemd-timesyncd.service", "chrony.service", "chronyd.service", "ntp.service", "ntpd.service", "ntpsec.service",
    "openntpd.service", "ptp4l.service", "phc2sys.service",
)  # fmt: skip
# Whose time of change is the system's: an installation or an update wrote them.
_DATED = ("/usr/lib/clock-epoch", "/usr/lib/os-release", "/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite")
_CLOCK_LEEWAY = 3600.0  # seconds: a time zone or summer time taken for the other is no lost clock
_LEAST_ROOM = 1 << 20  # bytes
# systemd-analyze loads all units of the system: a second or two, and more on a slow machine.
_VERIFY_LIMIT = 90.0
_FSTAB_GENERATORS = ("/usr/lib/systemd/system-generators", "/lib/systemd/system-generators")


def find(facts: Facts) -> Iterator[Finding]:
    """All findings of the area."""
    yield from _modules(facts)
    yield from _tools(facts)
    yield from _name(facts)
    yield from _network(facts)
    yield from _clock(facts)
    yield from _panic(facts)
    yield from _units(facts)
    yield from _room(facts)
    yield from _order(facts)


# --- kernel


def _needed_modules(facts: Facts) -> list[str]:
    loop = any(stack.loop_device for stack in facts.reading.stacks)
    return ["drbd", "ocfs2", "ocfs2_stack_o2cb", *(["loop"] if loop else [])]


def _kernels(facts: Facts) -> list[str]:
    """Kernels with a list of modules, the oldest first."""
    found = []
    for directory in ("/lib/modules", "/usr/lib/modules"):
        found += [n for n in facts.names(directory) if facts.exists(f"{directory}/{n}/modules.dep") and n not in found]
    return sorted(found, key=_version)


def _version(name: str) -> list[tuple[int, int, str]]:
    # A number counts for more than a word, as in "6.1.0-10" and "6.1.0-rc2".
    return [(1, int(p), "") if p.isdigit() else (0, 0, p) for p in re.split(r"[.\-_+~]", name)]


def _present(facts: Facts, kernel: str) -> set[str]:
    """Names of the modules that a kernel has, built in or not."""
    found = set()
    for directory in ("/lib/modules", "/usr/lib/modules"):
        for file in ("modules.dep", "modules.builtin"):
            for line in (facts.read(f"{directory}/{kernel}/{file}") or "").split("\n"):
                name = line.partition(":")[0].rpartition("/")[2]
                found.add(name.partition(".ko")[0].replace("-", "_"))
    return found


def _lacking(facts: Facts, kernel: str) -> str:
    present = _present(facts, kernel)
    return ", ".join(name for name in _needed_modules(facts) if name not in present)


def _flavour(kernel: str) -> str:
    return " (the cloud flavour)" if "cloud" in kernel else ""


def _modules(facts: Facts) -> Iterator[Finding]:
    running = (facts.read("/proc/sys/kernel/osrelease") or "").strip()
    kernels = _kernels(facts)
    if running:
        if running not in kernels:
            gone = [m for m in _needed_modules(facts) if not facts.exists(f"/sys/module/{m}")]
            if gone:
                yield BOOK.finding(
                    "module-missing",
                    f"/lib/modules/{running}",
                    f"the modules of the running kernel {running} are not installed (any more), and {', '.join(gone)}"
                    " not loaded",
                    advice="after an update of the kernel: reboot. Else install the modules of this kernel.",
                )
        else:
            present = _present(facts, running)
            for name in _needed_modules(facts):
                if name not in present and not facts.exists(f"/sys/module/{name}"):
                    yield BOOK.finding(
                        "module-missing",
                        f"/lib/modules/{running}",
                        f"the running kernel {running}{_flavour(running)} has no module {name}",
                    )
    if kernels and kernels[-1] != running:
        lacking = _lacking(facts, kernels[-1])
        if lacking:
            yield BOOK.finding(
                "next-kernel-module",
                f"/lib/modules/{kernels[-1]}",
                f"the next boot's kernel {kernels[-1]}{_flavour(kernels[-1])} has no {lacking}",
            )
    yield from _blocked(facts)


def _blocked(facts: Facts) -> Iterator[Finding]:
    needed = _needed_modules(facts)
    seen = set()
    # Of files with one name the first directory's counts (modprobe.d(5)).
    for directory in ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d"):
        for file in facts.glob(f"{directory}/*.conf"):
            name = file.rpartition("/")[2]
            if name in seen:
                continue
            seen.add(name)
            for number, text in unitfiles.lines(facts, file):
                words = text.split()
                module = words[1].replace("-", "_") if len(words) > 1 else ""
                if module in needed and (
                    words[0] == "blacklist" or (words[0] == "install" and re.search(r"/(?:true|false)\b", text))
                ):
                    yield BOOK.finding("module-blocked", f"{file}:{number}", f"it has the line: {' '.join(words)}")
    for word in (facts.read("/proc/cmdline") or "").split():
        key, _, value = word.partition("=")
        if key in ("modprobe.blacklist", "module_blacklist"):
            for name in value.split(","):
                if name.replace("-", "_") in needed:
                    yield BOOK.finding("module-blocked", "/proc/cmdline", f"the kernel command line has {word}")


def _tools(facts: Facts) -> Iterator[Finding]:
    loop = any(stack.loop_device for stack in facts.reading.stacks)
    lost: dict[str, list[str]] = {}
    for tool, package in (*_TOOLS, *((("losetup", "util-linux"),) if loop else ())):
        if not any(facts.exists(f"{directory}/{tool}") for directory in _BIN):
            lost.setdefault(package, []).append(tool)
    for package, tools in lost.items():
        yield BOOK.finding(
            "tools-missing",
            package,
            f"{', '.join(tools)} of {package} {'is' if len(tools) == 1 else 'are'} not installed",
            advice=f"install the package {package}",
        )


# --- name, network, clock


def _name(facts: Facts) -> Iterator[Finding]:
    now = (facts.read("/proc/sys/kernel/hostname") or "").strip()
    file = "/etc/hostname"
    for number, text in unitfiles.lines(facts, file):
        name = text.strip()
        # "localhost" there means: take the name from elsewhere (hostname(5)).
        if now and name != now and name != "localhost":
            yield BOOK.finding("host-name", f"{file}:{number}", f"the host is called {now} now, and {name} there")
        return


def _network(facts: Facts) -> Iterator[Finding]:
    places = (unitfiles.ADMINISTRATOR, *unitfiles.DISTRIBUTION, "/run/systemd/system", "/run/systemd/generator")
    for directory in (*places, "/run/systemd/generator.late", "/run/systemd/generator.early"):
        for kind in ("wants", "requires"):
            for unit in facts.names(f"{directory}/network-online.target.{kind}"):
                if not unitfiles.masked(facts, unit):
                    return
    # The generator for init scripts orders what provides $network before the target.
    if {"networking", "network"} & set(unitfiles.scripts(facts)):
        return
    yield BOOK.finding("network-online", "network-online.target", "nothing is enabled that waits for the network")


def _clock(facts: Facts) -> Iterator[Finding]:
    enabled = unitfiles.enabled(facts)
    if not any(unit in enabled for unit in _CLOCKS) and not {"ntp", "chrony", "ntpsec"} & set(unitfiles.scripts(facts)):
        yield BOOK.finding("clock-sync", "", "no service is enabled that keeps the clock right")
    dated = {name: found.st_mtime for name in _DATED for found in (facts.stat(name),) if found is not None}
    newest = max(dated, key=lambda name: dated[name], default="")
    if newest and facts.live and time.time() + _CLOCK_LEEWAY < dated[newest]:
        stamp = time.strftime("%Y-%m-%d %H:%M", time.localtime(dated[newest]))
        now = time.strftime("%Y-%m-%d %H:%M")
        yield BOOK.finding("clock-behind", newest, f"the clock says {now}, and {newest} is of {stamp}")


def _panic(facts: Facts) -> Iterator[Finding]:
    """The kernel's documentation, admin-guide/sysctl/kernel.rst, has both; a crash kernel makes the second needless."""
    place = "/proc/sys/kernel/"
    if (facts.read(f"{place}panic_on_oops") or "").strip() == "0":
        message = "kernel.panic_on_oops is 0: the kernel goes on after an oops or a BUG"
        yield BOOK.finding("kernel-goes-on", f"{place}panic_on_oops", message)
    crash_kernel = (facts.read("/sys/kernel/kexec_crash_loaded") or "").strip() == "1"
    if (facts.read(f"{place}panic") or "").strip() == "0" and not crash_kernel:
        yield BOOK.finding("kernel-goes-on", f"{place}panic", "kernel.panic is 0: after a panic the host stands still")


# --- our own units


def _units(facts: Facts) -> Iterator[Finding]:
    if not facts.reading.stacks:
        return
    target = "drbdocfs.target"
    masked = unitfiles.masked(facts, target)
    if not unitfiles.provided(facts, target) and not masked:
        yield BOOK.finding(
            "target-disabled",
            target,
            "the units of drbdocfs-boot are not installed",
            advice="install the package drbdocfs-boot",
        )
        return
    if not masked and target not in unitfiles.enabled(facts):
        yield BOOK.finding("target-disabled", target, "drbdocfs.target is not enabled")
    yield from _masked(facts)
    for pattern in (f"{unitfiles.ADMINISTRATOR}/drbdocfs*", f"{unitfiles.ADMINISTRATOR}/drbdocfs*.d/*.conf"):
        for file in facts.glob(pattern):
            name = file[len(unitfiles.ADMINISTRATOR) + 1 :]
            if name.endswith((".conf", ".service", ".target")) and not unitfiles.masked(facts, name):
                kind = "adds to" if "/" in name else "replaces"
                unit = name.partition(".d/")[0]
                yield BOOK.finding("unit-changed", file, f"it {kind} {unit}")


def _masked(facts: Facts) -> Iterator[Finding]:
    names: dict[str, str] = dict.fromkeys((*_OUR_UNITS, *_NEEDED_UNITS), "")
    for stack in facts.reading.stacks:
        own = [f"{unit.partition('@')[0]}@{stack.name}.{unit.rpartition('.')[2]}" for unit in _OUR_UNITS if "@" in unit]
        own = [unit for unit in own if not unit.startswith("drbdocfs-o2cb@")] + [
            f"drbdocfs-o2cb@{stack.cluster}.service"
        ]
        try:
            own += [escape.mount_unit(stack.mountpoint), f"{escape.path(stack.device)}.device"]
        except escape.Unwritable:
            pass
        names.update(dict.fromkeys(own, stack.name))
    seen = set()
    for unit, stack_name in names.items():
        file = unitfiles.masked(facts, unit)
        if file and file not in seen:
            seen.add(file)
            yield BOOK.finding(
                "unit-masked",
                file,
                f"{unit} is masked",
                stack_name,
                advice=f"systemctl unmask {file.rpartition('/')[2]}",
            )


def _room(facts: Facts) -> Iterator[Finding]:
    for directory, least in (("/var/lib", _LEAST_ROOM), ("/run", _LEAST_ROOM)):
        found = facts.space(directory) if facts.live else None
        if found is None:
            continue
        if found.f_flag & os.ST_RDONLY:
            yield BOOK.finding("no-room", directory, f"{directory} is on a read-only file system")
        elif found.f_bfree * found.f_frsize < least:
            yield BOOK.finding("no-room", directory, f"the file system of {directory} is full")
        elif found.f_files and not found.f_ffree:
            yield BOOK.finding("no-room", directory, f"the file system of {directory} has no inodes left")


# --- order: what systemd makes of it all


def _order(facts: Facts) -> Iterator[Finding]:
    if not facts.live or not facts.reading.stacks:
        return
    try:
        with tempfile.TemporaryDirectory(prefix="drbdocfs-check-") as place:
            said = _verify(facts, place)
    except OSError:
        return  # no room for the files: told by another rule
    ours = {escape.mount_unit(stack.mountpoint) for stack in facts.reading.stacks}
    for cycle in cycles(said):
        own = [unit for unit in cycle if unit.startswith("drbdocfs") or unit in ours]
        yield BOOK.finding(
            "ordering-cycle",
            (own or cycle)[0],
            f"they wait for each other: {', '.join(cycle)}",
            severity=ERROR if own else "",
        )


def _verify(facts: Facts, place: str) -> str:
    """What systemd-analyze says of the units that the next boot would have: ours are written anew below ``place``."""
    files, _ = units.tree(lean.read(system.path("")), fstab.parse(facts.read(FSTAB) or ""))
    for name in ("ours", "fstab"):
        Path(place, name).mkdir()
    if generator.write(files, f"{place}/ours"):
        raise OSError
    for directory in _FSTAB_GENERATORS:
        tool = f"{directory}/systemd-fstab-generator"
        if facts.exists(tool):
            facts.tool(tool, f"{place}/fstab", f"{place}/fstab", f"{place}/fstab")
            break
    paths = [
        f"{place}/ours", unitfiles.ADMINISTRATOR, "/run/systemd/system", f"{place}/fstab", "/run/systemd/generator",
        *unitfiles.DISTRIBUTION, "/run/systemd/generator.late",
    ]  # fmt: skip
    said = facts.tool(
        "env", f"SYSTEMD_UNIT_PATH={':'.join(paths)}", "systemd-analyze", "verify", "--man=no", "default.target",
        "drbdocfs.target", limit=_VERIFY_LIMIT,
    )  # fmt: skip
    return said.out + said.err if said is not None else ""


_UNIT = re.compile(r"([\w@:.\\-]+\.(?:service|target|mount|automount|device|socket|path|timer|slice|swap|scope))/\w+")


def cycles(text: str) -> list[tuple[str, ...]]:
    """The circles in what systemd-analyze verify prints, the shortest first, with the names of the units in each.

    Up to systemd 257 a line "Found ordering cycle on A/start" is followed by one "Found dependency on B/start" for
    each of the others; later versions say it in one line.
    """
    found: list[list[str]] = []
    for line in text.splitlines():
        message = line.partition(": ")[2]
        if message.startswith("Found ordering cycle"):
            found.append([])
        elif not message.startswith("Found dependency on") or not found:
            continue
        found[-1] += _UNIT.findall(message)
    kept: list[tuple[str, ...]] = []
    for names in sorted({frozenset(cycle): cycle for cycle in found if cycle}.values(), key=len):
        # systemd breaks one circle after the other: detours of a circle that was told already are left out.
        if not any(set(one) <= set(names) for one in kept):
            kept.append(tuple(dict.fromkeys(names)))
    return kept
