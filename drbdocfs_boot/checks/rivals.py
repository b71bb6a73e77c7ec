"""Area rivals of ``drbdocfs check``: what else brings up, takes down or holds what the stacks have."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator
from itertools import zip_longest

from drbdocfs_boot.checks import lower, unitfiles
from drbdocfs_boot.checks.facts import Facts
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Book, Finding, Rule
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import o2cb

BOOK = Book(
    rc_local=Rule(
        ERROR,
        "rc.local acts on a stack",
        "It runs beside the stack's units, in no order to them: it fails because the layer below is not there yet, or"
        " does a layer's work before its turn.",
        "remove the line; 'drbdocfs import' does so and keeps a copy",
    ),
    cron_reboot=Rule(
        ERROR,
        "a @reboot line of cron acts on a stack",
        "It runs beside the stack's units, in no order to them.",
        "remove the line",
    ),
    init_script=Rule(
        ERROR,
        "an init script acts on a stack",
        "It brings layers up by itself and takes them down in its own order at the shutdown, below a file system that"
        " is still mounted.",
        "disable it: 'update-rc.d NAME disable' (Debian) or 'chkconfig NAME off'",
    ),
    rival_unit=Rule(
        ERROR,
        "a unit is enabled that does the stack's work",
        "Two that attach, promote or stop the same resource take it from each other: at the shutdown DRBD may go"
        " before the file system is unmounted.",
        "disable it: 'systemctl disable UNIT'",
    ),
    cluster_manager=Rule(
        WARNING,
        "a cluster manager is enabled",
        "If it knows the stack's resource, or learns of it later, it promotes, demotes and moves it by its own rules.",
        "leave the stack's resource out of its configuration, or do not start it at boot",
    ),
    own_unit=Rule(
        WARNING,
        "a unit of the administrator acts on a stack",
        "What it starts or mounts is not ordered with the stack's layers, and nobody ends it when they stop.",
        "leave it to the stack's units. A service that only uses the mount needs 'RequiresMountsFor=DIRECTORY'.",
    ),
    multipath=Rule(
        WARNING,
        "multipathd may take DRBD's device",
        "It puts a map over devices that it finds, and the device is busy then.",
        'in /etc/multipath/conf.d/drbd.conf: blacklist { devnode "^(drbd|loop)[0-9]" }',
    ),
    lvm_scans=Rule(
        NOTE,
        "LVM looks at DRBD's device",
        "LVM opens every block device to look for volumes. A demotion in that moment is refused (and tried again), and"
        " a Secondary device gives messages of a wrong medium type.",
        "in /etc/lvm/lvm.conf, devices { }: global_filter = [ \"r|^/dev/drbd|\" ], with 'a' entries for LVM's own"
        " disks where there is a filter already",
    ),
    snapd=Rule(
        WARNING,
        "snapd may take the stack's loop device",
        "snapd binds its packages at boot to the lowest loop devices that are free: who comes first has the number.",
        "choose a loop_device with a higher number, such as /dev/loop100, here and in DRBD's 'disk' line",
    ),
    o2cb_at_boot=Rule(
        NOTE,
        "o2cb's own start at boot is switched on",
        "Its script brings a cluster online too, with its own time limits. The stack's unit waits for it and takes what"
        " it finds.",
        "'dpkg-reconfigure ocfs2-tools' and no (Debian), or O2CB_ENABLED=false in the file",
    ),
    systemd_too_old=Rule(
        ERROR,
        "systemd is older than 245",
        "modprobe@.service, by which configfs comes for O2CB, came with 245; older ones were never tried.",
        "use a newer release of the distribution",
    ),
    switched_off=Rule(
        ERROR,
        "the stacks are switched off on the kernel command line",
        "With drbdocfs=off the generator writes no units at that boot.",
        "remove drbdocfs=off from the boot loader's configuration when the repair is done (and run update-grub)",
    ),
)

# Commands that do a layer's work, as words of a shell line.  `service drbd start` and the scripts themselves as well.
_COMMAND = re.compile(
    r"(?<![\w./-])(?:/\S*/)?(mount|umount|mount\.ocfs2|drbdadm|drbdsetup|drbddisk|losetup|o2cb|o2cb_ctl)(?![\w.-])"
)
_SERVICE = re.compile(
    r"(?:(?<![\w./-])(?:/\S*/)?(?:service|rc-service|invoke-rc\.d)\s+|/etc/(?:rc\.d/)?init\.d/"
    r"|systemctl\s+(?:-\S+\s+)*(?:re)?start\s+(?:-\S+\s+)*)"
    r"(drbd|o2cb|ocfs2|loop-for-drbd)(?![\w-])(?!\s+status\b)"
)
_MODPROBE = re.compile(r"(?<![\w./-])(?:/\S*/)?modprobe\s+(?:-\S+\s+)*(drbd|ocfs2\w*|loop)\b")
# Verbs that only look.
_LOOKS = re.compile(
    r"\bdrbd(?:adm|setup)\s+(?:status|dump|cstate|dstate|role|sh-\S+|show\S*|get-gi|events2?|wait-\S+)\b"
)

# Units that do a layer's work on resources.  {} is the resource.
_RIVALS = ("drbd.service", "drbd@{}.service", "drbd@{}.target", "drbd-promote@{}.service", "drbd-services@{}.target")
_LOOP_FREE_OF_SNAPS = 8
_KNOWN_SCRIPTS = ("o2cb", "ocfs2")


def find(facts: Facts) -> Iterator[Finding]:
    """All findings of the area.  Nothing is a rival where there is no stack."""
    if not facts.reading.stacks:
        return
    enabled = unitfiles.enabled(facts)
    yield from _rc_local(facts)
    yield from _cron(facts)
    yield from _init_scripts(facts, enabled)
    yield from _units(facts, enabled)
    yield from _own_units(facts)
    yield from _multipath(facts, enabled)
    yield from _lvm(facts)
    yield from _snapd(facts, enabled)
    yield from _o2cb(facts)
    yield from _systemd(facts)
    yield from _switched_off(facts)


# --- shell lines


def _ours(facts: Facts, stack: Stack) -> list[str]:
    """Words by which a line means a stack's things."""
    disk = lower.setting(facts, stack)
    by_name = f"/dev/drbd/by-res/{stack.resource}"
    found = [stack.device, stack.mountpoint, stack.backing_file, stack.loop_device, disk.name if disk else ""]
    found += [by_name, f"{by_name}/0"]
    return [word for word in dict.fromkeys(found) if word]


def _has(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w./-]){re.escape(word)}(?![\w./-])", text) is not None


def acts_on(facts: Facts, text: str) -> tuple[Stack | None, str] | None:
    """Whether a shell line does a layer's work on a stack: the stack (None: on all of them) and the command."""
    # What stands behind a # is a comment, unless it is within a word.
    text = re.split(r"(?:^|\s)#", text, maxsplit=1)[0]
    service = _SERVICE.search(text)
    if service:
        return None, f"start of {service.group(1)}"
    text = _LOOKS.sub("", text)
    commands = list(_COMMAND.finditer(text))
    for command, following in zip_longest(commands, commands[1:]):
        name = command.group(1)
        rest = text[command.end() : following.start() if following else None]
        for stack in facts.reading.stacks:
            if (
                any(_has(rest, word) for word in _ours(facts, stack))
                or (name.startswith("drbd") and _has(rest, stack.resource))
                or (name == "drbdsetup" and _by_minor(facts, stack, rest))
            ):
                return stack, name
            if name in ("o2cb", "o2cb_ctl") and _has(rest, stack.cluster):
                return None, name
        if (name.startswith("drbd") and _has(rest, "all")) or (
            name in ("mount", "umount")
            and re.search(r"\s-\w*a\b", rest)
            and (name == "umount" or _mounted_by_all(facts))
        ):
            return None, name
    return None


def _by_minor(facts: Facts, stack: Stack, words: str) -> bool:
    """Whether a call of drbdsetup names the stack's volume by its number: 'primary 0', 'primary minor-0'."""
    number = re.fullmatch(r"/dev/drbd([0-9]{1,7})", facts.resolve(stack.device))
    # The verb and what it is for; further numbers are volumes and values.
    named = re.match(r"\s+(?:-\S+\s+)*[a-z]\S*\s+(?:-\S+\s+)*(?:minor-)?([0-9]{1,7})(?![\w.:/-])", words)
    return number is not None and named is not None and int(named[1]) == int(number[1])


def _mounted_by_all(facts: Facts) -> bool:
    """Whether 'mount -a' means a stack: fstab has a line for it, without noauto."""
    return any(
        "noauto" not in line.options.split(",")
        and (line.target == stack.mountpoint or lower.same(facts, line.spec, stack.device))
        for stack in facts.reading.stacks
        for line in facts.fstab
    )


def _shell(facts: Facts, code: str, file: str, number: int, text: str) -> Iterator[Finding]:
    where, shown = f"{file}:{number}", ascii(" ".join(text.split()))[1:-1]
    acts = acts_on(facts, text)
    if acts is not None:
        stack, _ = acts
        yield BOOK.finding(code, where, f"it has the line: {shown[:160]}", stack.name if stack else "")
    elif _MODPROBE.search(text):
        yield BOOK.finding(
            code,
            where,
            f"it loads a module that the units load by themselves: {shown[:160]}",
            severity=NOTE,
            advice="nothing needs it any more; it does no harm",
        )


def _rc_local(facts: Facts) -> Iterator[Finding]:
    seen = set()
    for file in ("/etc/rc.local", "/etc/rc.d/rc.local", "/etc/init.d/boot.local", "/etc/init.d/after.local"):
        real = facts.resolve(file)
        found = facts.stat(real)
        # Without the x bit it is not run.
        if real in seen or found is None or not found.st_mode & stat.S_IXUSR:
            continue
        seen.add(real)
        for number, text in unitfiles.lines(facts, real):
            if re.match(r"exit\b", text):
                break
            yield from _shell(facts, "rc-local", file, number, text)


def _cron(facts: Facts) -> Iterator[Finding]:
    files = ["/etc/crontab", *facts.glob("/etc/cron.d/*")]
    for directory in ("/var/spool/cron/crontabs", "/var/spool/cron", "/var/spool/cron/tabs"):
        files += facts.glob(f"{directory}/*")
    for file in files:
        for number, text in unitfiles.lines(facts, file):
            if text.lstrip().startswith("@reboot"):
                yield from _shell(facts, "cron-reboot", file, number, text)


def _init_scripts(facts: Facts, enabled: dict[str, str]) -> Iterator[Finding]:
    for name, link in unitfiles.scripts(facts).items():
        # Where a package brings a unit of that name, systemd does not look at the script.
        native = unitfiles.provided(facts, f"{name}.service")
        if name == "drbd" and native and "drbd.service" in enabled:
            continue  # one is enough: Debian keeps both in step
        if name == "drbd":
            yield BOOK.finding(
                "init-script",
                link,
                "DRBD's init script is started at boot: it attaches and promotes by itself",
                severity=NOTE if native else "",
                advice=f"systemd goes by {native} instead, so it does nothing; 'update-rc.d drbd disable' for order."
                if native
                else "",
            )
        elif name not in _KNOWN_SCRIPTS and not native and not unitfiles.masked(facts, f"{name}.service"):
            script = next((f for f in (f"/etc/init.d/{name}", f"/etc/rc.d/init.d/{name}") if facts.exists(f)), link)
            yield from _script(facts, name, script, link)


def _script(facts: Facts, name: str, script: str, link: str) -> Iterator[Finding]:
    """An init script of somebody's own, such as the guide's loop-for-drbd: the first line that means a stack."""
    text_lines = list(unitfiles.lines(facts, script))
    works = any(_COMMAND.search(text) for _, text in text_lines)
    for number, text in text_lines if works else ():
        for stack in facts.reading.stacks:
            if any(_has(text, word) for word in _ours(facts, stack)) or acts_on(facts, text) is not None:
                yield BOOK.finding(
                    "init-script",
                    f"{script}:{number}",
                    f"the script is started at boot ({link}) and has the line:"
                    f" {ascii(' '.join(text.split()))[1:-1][:160]}",
                    stack.name,
                    advice=f"disable it: 'update-rc.d {name} disable' (Debian) or 'chkconfig {name} off'",
                )
                return


# --- units


def _units(facts: Facts, enabled: dict[str, str]) -> Iterator[Finding]:
    for stack in facts.reading.stacks:
        for pattern in _RIVALS:
            unit = pattern.format(stack.resource)
            if unit in enabled:
                yield BOOK.finding(
                    "rival-unit",
                    enabled[unit],
                    f"{unit} is enabled: it brings {stack.resource} up and down beside the stack",
                    "" if unit == "drbd.service" else stack.name,
                    advice=f"disable it: 'systemctl disable {unit}'",
                )
        yield from _reactor(facts, stack, enabled)
        yield from _managers(facts, stack, enabled)


def _reactor(facts: Facts, stack: Stack, enabled: dict[str, str]) -> Iterator[Finding]:
    if "drbd-reactor.service" not in enabled:
        return
    for file in ("/etc/drbd-reactor.toml", *facts.glob("/etc/drbd-reactor.d/*.toml")):
        for number, text in unitfiles.lines(facts, file):
            if re.search(rf"promoter\.resources\.\"?{re.escape(stack.resource)}\"?\s*\]", text):
                yield BOOK.finding(
                    "rival-unit",
                    f"{file}:{number}",
                    f"drbd-reactor promotes {stack.resource} on one node, and demotes it on the other",
                    stack.name,
                    advice=f"'drbd-reactorctl disable {file.rpartition('/')[2]}', or remove the section.",
                )


# Unit, and files in which it names what it manages.
_MANAGERS = (
    ("pacemaker.service", ("/var/lib/pacemaker/cib/cib.xml",)),
    ("heartbeat.service", ("/etc/ha.d/haresources",)),
    ("linstor-satellite.service", ("/var/lib/linstor.d/*.res", "/etc/drbd.d/linstor-resources.res")),
)


def _managers(facts: Facts, stack: Stack, enabled: dict[str, str]) -> Iterator[Finding]:
    scripts = unitfiles.scripts(facts)
    for unit, patterns in _MANAGERS:
        link = enabled.get(unit) or scripts.get(unit.partition(".")[0])
        if not link:
            continue
        named = ""
        for file in (name for pattern in patterns for name in facts.glob(pattern)):
            for number, text in unitfiles.lines(facts, file):
                if _has(text, stack.device) or re.search(
                    rf"(?:drbd_resource\W.*value=\"|drbddisk::|\bresource\s+\"?){re.escape(stack.resource)}\b", text
                ):
                    named = named or f"{file}:{number}"
        name = unit.partition(".")[0]
        if named:
            yield BOOK.finding(
                "cluster-manager", named, f"{name} manages {stack.resource} as well", stack.name, severity=ERROR
            )
        else:
            yield BOOK.finding("cluster-manager", link, f"{name} is started at boot")


def _own_units(facts: Facts) -> Iterator[Finding]:
    """Unit files and drop-ins that the administrator wrote, not links to those of packages."""
    for pattern in ("*.service", "*.mount", "*.service.d/*.conf", "*.mount.d/*.conf"):
        for file in facts.glob(f"{unitfiles.ADMINISTRATOR}/{pattern}"):
            unit = file[len(unitfiles.ADMINISTRATOR) + 1 :]
            if facts.link(file) is None and not unit.startswith("drbdocfs"):
                yield from _own_unit(facts, file, unit)


def _own_unit(facts: Facts, file: str, unit: str) -> Iterator[Finding]:
    lines = list(unitfiles.lines(facts, file))
    where = next((text.partition("=")[2].strip() for _, text in lines if re.match(r"\s*Where\s*=", text)), "")
    for number, text in lines:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            continue
        if key.startswith("Exec"):
            acts = acts_on(facts, value.lstrip("-@:+!"))
            if acts is not None:
                stack, name = acts
                yield BOOK.finding(
                    "own-unit", f"{file}:{number}", f"{unit} runs {name}: {value[:160]}", stack.name if stack else ""
                )
        elif key == "What":
            for stack in facts.reading.stacks:
                if where == stack.mountpoint:
                    continue  # a mount unit of his own for the mount point: area mounts judges it
                if value in (*_ours(facts, stack), f"/dev/drbd/by-res/{stack.resource}/0"):
                    yield BOOK.finding(
                        "own-unit",
                        f"{file}:{number}",
                        f"{unit} mounts {value}" + (f" on {where}" if where else ""),
                        stack.name,
                        severity=ERROR if value != stack.device else "",
                    )


# --- who takes devices


# What multipath leaves alone without a line: from 0.9 on all that is no SCSI, DASD or NVMe disk, before that these.
_NO_MULTIPATH = "!^(sd[a-z]|dasd[a-z]|nvme[0-9])"
_NO_MULTIPATH_OF_OLD = "^(ram|zram|raw|loop|fd|md|dm-|sr|scd|st|dcssblk)[0-9]"


def _multipath(facts: Facts, enabled: dict[str, str]) -> Iterator[Finding]:
    link = enabled.get("multipathd.service") or enabled.get("multipathd.socket")
    if not link:
        return
    said = facts.tool("multipath", "-t")  # its whole configuration, defaults included
    if said is not None and said.code == 0 and "blacklist" in said.out:
        rules = _devnodes(said.out.split("\n"))
    else:
        rules = {"blacklist": [_NO_MULTIPATH if _new_multipath(facts) else _NO_MULTIPATH_OF_OLD]}
        for file in ("/etc/multipath.conf", *facts.glob("/etc/multipath/conf.d/*.conf")):
            for section, found in _devnodes(text for _, text in unitfiles.lines(facts, file)).items():
                rules.setdefault(section, []).extend(found)
    for stack in facts.reading.stacks:
        number = re.fullmatch(r"/dev/drbd([0-9]{1,7})", facts.resolve(stack.device))
        names = [f"drbd{number[1] if number else 0}", *([stack.loop_device[5:]] if stack.loop_device else [])]
        for name in names:
            let_in = any(_means(rule, name) for rule in rules.get("blacklist_exceptions", ()))
            if let_in or not any(_means(rule, name) for rule in rules.get("blacklist", ())):
                how = "a line of blacklist_exceptions lets in" if let_in else "no blacklist names"
                yield BOOK.finding("multipath", link, f"multipathd is enabled, and {how} {name}", stack.name)
                return


def _devnodes(text: Iterable[str]) -> dict[str, list[str]]:
    """The lines ``devnode`` of multipath.conf by their section."""
    found: dict[str, list[str]] = {}
    section, before, depth = "", "", 0
    for word in re.findall(r'"[^"]*"|[{}]|[^\s{}"]+', "\n".join(line.partition("#")[0] for line in text)):
        if word == "{":
            section = before if depth == 0 else section
            depth += 1
        elif word == "}":
            depth -= 1
        elif before == "devnode":
            found.setdefault(section, []).append(word.strip('"'))
        before = word
    return found


def _means(rule: str, name: str) -> bool:
    """Whether a rule matches; one that begins with ! does where the rest does not."""
    try:
        matches = re.search(".*" if rule == "*" else rule.removeprefix("!"), name)
    except re.error:
        return False
    return (matches is None) is rule.startswith("!")


def _new_multipath(facts: Facts) -> bool:
    """Whether dpkg has multipath-tools of 0.9 or newer.  Of others' packages a tree of files does not tell."""
    found = re.search(
        r"^Package: multipath-tools\n(?:.+\n)*?Version: (?:\d+:)?(\d+)\.(\d+)",
        facts.read("/var/lib/dpkg/status") or "",
        re.MULTILINE,
    )
    return found is not None and (int(found[1]), int(found[2])) >= (0, 9)


def _lvm(facts: Facts) -> Iterator[Finding]:
    file = "/etc/lvm/lvm.conf"
    if not facts.exists(file) or not any(facts.exists(f"{d}/lvm") for d in ("/usr/sbin", "/sbin", "/usr/bin")):
        return
    settings = {}
    for number, text in unitfiles.lines(facts, file):
        key, equals, value = (part.strip() for part in text.partition("="))
        if equals:
            settings[key.rpartition("/")[2]] = (number, value)
    # With a list of devices LVM looks at nothing else.
    listed = facts.exists("/etc/lvm/devices/system.devices")
    if listed and settings.get("use_devicesfile", (0, "1"))[1] != "0":
        return
    for key in ("global_filter", "filter"):
        if key in settings:
            if re.search(r"[\"']r(.).*(?:drbd|\.\*)", settings[key][1]):
                return
            yield BOOK.finding("lvm-scans", f"{file}:{settings[key][0]}", f"{key} does not keep LVM from DRBD's device")
            return
    yield BOOK.finding("lvm-scans", file, "no filter keeps LVM from DRBD's device")


def _snapd(facts: Facts, enabled: dict[str, str]) -> Iterator[Finding]:
    link = enabled.get("snapd.service") or enabled.get("snapd.socket")
    if not link:
        return
    snaps = len(facts.glob("/var/lib/snapd/snaps/*.snap"))
    for stack in facts.reading.stacks:
        number = stack.loop_device.removeprefix("/dev/loop")
        if number.isdigit() and number.isascii() and int(number) < max(_LOOP_FREE_OF_SNAPS, snaps):
            yield BOOK.finding(
                "snapd",
                f"{stack.file}:{stack.line}",
                f"snapd is enabled, and takes the low numbers at boot: {stack.loop_device} may be gone before us",
                stack.name,
            )


# --- what is switched on or off


def _o2cb(facts: Facts) -> Iterator[Finding]:
    for number, text in unitfiles.lines(facts, o2cb.SETTINGS):
        if re.match(r"\s*O2CB_ENABLED\s*=\s*[\"']?true", text):
            yield BOOK.finding("o2cb-at-boot", f"{o2cb.SETTINGS}:{number}", "O2CB_ENABLED is true")


def _systemd(facts: Facts) -> Iterator[Finding]:
    said = facts.tool("systemctl", "--version")
    found = re.match(r"systemd (\d+)", said.out) if said is not None and said.code == 0 else None
    version = int(found.group(1)) if found else 0
    if not version:
        for directory in ("/usr/lib", "/lib", "/usr/lib64"):
            for name in facts.glob(f"{directory}/systemd/libsystemd-shared-*.so") + facts.glob(
                f"{directory}/*-linux-*/systemd/libsystemd-shared-*.so"
            ):
                number = re.search(r"shared-(\d+)", name)
                version = max(version, int(number.group(1)) if number else 0)
    if version and version < 245:
        yield BOOK.finding("systemd-too-old", "", f"this is systemd {version}")


def _switched_off(facts: Facts) -> Iterator[Finding]:
    if "drbdocfs=off" in (facts.read("/proc/cmdline") or "").split():
        yield BOOK.finding("switched-off", "/proc/cmdline", "this boot was made with drbdocfs=off")
    loaders = ["/etc/default/grub", *facts.glob("/etc/default/grub.d/*.cfg"), "/etc/kernel/cmdline"]
    loaders += facts.glob("/boot/loader/entries/*.conf")
    for file in loaders:
        for number, text in unitfiles.lines(facts, file):
            if re.search(r"(?<![\w.=-])drbdocfs=off(?![\w.=-])", text.replace('"', " ").replace("'", " ")):
                yield BOOK.finding("switched-off", f"{file}:{number}", "the next boot is to be made with drbdocfs=off")
