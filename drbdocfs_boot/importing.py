"""From a boot set-up made by hand (init scripts, rc.local, fstab) to our configuration: what is there, what is to be
written, which old lines are to go, and what cannot be known without asking.

Pure: the files come through the callables of ``Sources``; nothing is changed here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from drbdocfs_boot import clusterconf, creating, drbdconf, fstab, lean, shelltext, values
from drbdocfs_boot.shelltext import UNKNOWN, Command
from drbdocfs_boot.stack import Reading, Stack

DRBD_CONF = "/etc/drbd.conf"
CLUSTER_CONF = "/etc/ocfs2/cluster.conf"
FSTAB = "/etc/fstab"
RC_LOCAL = ("/etc/rc.local", "/etc/rc.d/rc.local")
O2CB_SETTINGS = "/etc/default/o2cb"  # as in tools/o2cb.py: setup.py writes the place of the distribution
INIT_DIRECTORIES = ("/etc/init.d", "/etc/rc.d/init.d")
RC_DIRECTORIES = tuple(f"{top}/rc{level}.d" for top in ("/etc", "/etc/rc.d") for level in "S12345")
KILL_DIRECTORIES = tuple(f"{top}/rc{level}.d" for top in ("/etc", "/etc/rc.d") for level in "016")
CRONTABS = ("/etc/crontab", "/var/spool/cron/crontabs/root", "/var/spool/cron/root", "/var/spool/cron/tabs/root")
CRON_DIRECTORY = "/etc/cron.d"
UNITS = "/etc/systemd/system"
MARK = "# drbdocfs-import {}: "
NO_DEVICE = ("UUID", "LABEL", "PARTUUID", "PARTLABEL")
POLICY = ("survivor", "fence_agent", "witness")
# Options of fstab that say when to mount, not how.
NOT_HOW = ("defaults", "noauto", "auto", "_netdev", "nofail", "user", "nouser")
LIBRARIES = ("/lib/", "/usr/lib/")  # where a distribution has what its scripts source
SHELLS = ("sh", "bash", "dash", "ksh")
HARMLESS = frozenset(
    (
        "sleep", "echo", "printf", "logger", "true", "false", ":", "test", "[", "[[", "sync", "wait", "udevadm",
        "mountpoint", "grep", "egrep", "cat", "awk", "head", "tail", "cut", "tr", "date", "basename", "dirname",
        "exit", "return", ".", "source", "set", "shift", "break", "continue", "local", "cd", "ls", "stat", "umask",
        "id", "type", "which", "pidof", "lsmod", "seq", "losetup", "umount", "success",
        "failure", "action", "log_daemon_msg", "log_end_msg", "log_progress_msg", "log_success_msg",
        "log_failure_msg", "log_warning_msg", "log_action_msg", "log_begin_msg",
    )
)  # fmt: skip
# What only runs the command that follows, with the letters of its options that take the next word.
BEFORE_COMMAND = {
    "sudo": "ugpCchrtTRD", "nohup": "", "exec": "a", "command": "", "nice": "n", "ionice": "cnpPu", "setsid": "",
    "env": "uC", "timeout": "ks",
}  # fmt: skip
BEFORE_COMMAND_LONG = frozenset(
    ("--user", "--group", "--adjustment", "--class", "--classdata", "--unset", "--signal", "--kill-after")
)
# What changes files: harmless in a script of ours on its lock and its pid only, and never in a line that is to go.
CHANGES = frozenset(
    ("rm", "rmdir", "touch", "mkdir", "ln", "cp", "mv", "chmod", "chown", "install", "tee", "truncate", "unlink")
)
PASSING = ("/var/lock/", "/var/run/", "/run/", "/dev/null")  # where nothing outlives a boot
STACK_MODULES = frozenset(
    ("drbd", "ocfs2", "loop", "configfs", "ocfs2_stack_o2cb", "ocfs2_dlmfs", "ocfs2_dlm", "ocfs2_nodemanager")
)
# Arguments of drbdadm that bring a resource up or make it Primary.
BRINGS = ("up", "primary", "attach", "connect", "adjust", "wait-connect", "wait-sync", "wait-con-int")
# What is more than the work of a script that only binds: names that act, whatever they are called with.
ACTS = frozenset(
    (
        "mount", "swapon", "vgchange", "lvchange", "pvscan", "mdadm", "cryptsetup", "dmsetup", "multipath", "iscsiadm",
        "iscsid", "exportfs", "service", "invoke-rc.d", "systemctl", "start-stop-daemon", "zpool",
    )
)  # fmt: skip
# What a command does to a stack, in the order in which the old lines go (verbs/import.py says why).
MOUNTS, RAISES, BINDS = 0, 1, 2
# After all of them: with the old set-up, too, fencing is better than none.
FENCES = 3
O2CB_STAYS = "drbdocfs-o2cb@{}.service starts after it, and takes the cluster that it finds online"
WHY = {
    MOUNTS: "mounts the file system whenever it happens to run; the mount unit does it in its turn",
    RAISES: "brings DRBD up and makes it Primary without waiting for the peer",
    BINDS: "binds the loop device, as drbdocfs-loop@{}.service does",
    FENCES: "a lost link freezes both nodes, in place of a split brain; in force after 'drbdadm adjust {}', or the next"
    " boot, on both",
}


@dataclass(frozen=True)
class Sources:
    """The host's files.  ``read``: a text, or None; ``names``: sorted names in a directory; ``link``: where a link
    points, or None; ``resolve``: a name with all links followed; ``glob`` as in drbdconf.load.  ``sourced``: as
    ``read``, also where no line says that it is a script.  ``bound``: loop device -> file that the kernel has bound to
    it now; ``parts``: loop devices that have a part of their file only."""

    host: str
    today: str
    read: Callable[[str], str | None]
    names: Callable[[str], list[str]]
    link: Callable[[str], str | None]
    resolve: Callable[[str], str]
    glob: Callable[[str], Iterable[str]]
    sourced: Callable[[str], str | None]
    reading: Reading = field(default_factory=Reading)
    bound: dict[str, str] = field(default_factory=dict)
    parts: frozenset[str] = frozenset()
    driver: int = 0  # DRBD's, 8 or 9; 0 where it cannot be told


@dataclass(frozen=True)
class Edit:
    """One old line that goes.  ``line`` 0: ``file`` is a link to ``old``, which becomes ``new`` or (``""``) goes.

    With the rank FENCES the line stays, and ``new`` has more lines after it.
    """

    file: str
    line: int
    old: str
    new: str
    why: str
    rank: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Note:
    """Something that is told and not done."""

    place: str
    text: str


@dataclass(frozen=True)
class Question:
    """What cannot be known.  ``option`` decides it, ``choices`` are what was found (there may be none)."""

    resource: str
    option: str
    text: str
    choices: tuple[str, ...]


@dataclass
class Found:
    """A stack to be: its keys, and for each where it was found."""

    keys: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def put(self, key: str, value: str, place: str) -> None:
        self.keys[key] = value
        self.places[key] = place


@dataclass
class Proposal:
    """``file`` and ``text`` are "" when no stack is new.

    ``skipped``: what is no stack of ours; ``refused``: what would be one, were it not for a mistake in the old set-up;
    ``blockers``: lines that only a person can take apart; ``fencing``: what DRBD's files should have, and do not get
    without ``--survivor``, because it changes what DRBD does.
    """

    stacks: list[Found] = field(default_factory=list)
    file: str = ""
    text: str = ""
    edits: list[Edit] = field(default_factory=list)
    kept: list[Note] = field(default_factory=list)
    advice: list[Note] = field(default_factory=list)
    skipped: list[Note] = field(default_factory=list)
    refused: list[Note] = field(default_factory=list)
    blockers: list[Note] = field(default_factory=list)
    fencing: list[Edit] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    existing: list[Stack] = field(default_factory=list)


@dataclass
class _Volume:
    device: str
    names: list[str]
    disk: str
    place: str
    disk_place: str


@dataclass
class _Resource:
    name: str
    place: str
    volumes: list[_Volume]
    refused: str  # why it cannot be a stack
    used: bool  # this host brings it up


@dataclass
class _Boot:
    """A command that runs at boot: where it stands, and what starts it (rc.local or a crontab, a script, a unit).

    ``called``: it stands in another file, which the line there runs; ``sourced``: that file, where the line sources it.
    """

    command: Command
    file: str
    starter: str
    called: bool = False
    sourced: str = ""

    @property
    def said(self) -> str:
        return " ".join(self.command.words).replace(UNKNOWN, "?")

    @property
    def name(self) -> str:
        return self.command.words[0].rpartition("/")[2]

    @property
    def place(self) -> str:
        return f"{self.file}:{self.command.row.first}"


def propose(sources: Sources, choices: dict[tuple[str, str], str], only: str = "") -> Proposal:
    """What an import would do.  ``choices``: (resource, option) -> answer; resource "" where it is for all."""
    return _Import(sources, choices, only).run()


# DRBD's files


def resources(configuration: drbdconf.Configuration, host: str) -> list[_Resource]:
    """All resources as this host sees them."""
    found = []
    seen = set()
    for statement in configuration.resources():
        if statement.words[1] not in seen:
            seen.add(statement.words[1])
            found.append(_resource(configuration, statement, host))
    return found


def _resource(configuration: drbdconf.Configuration, statement: drbdconf.Statement, host: str) -> _Resource:
    name = statement.words[1]
    hosts = [one for one in statement.sections("on") if host in one.words[1:]]
    floating = list(statement.sections("floating"))
    levels = [*hosts, *floating, statement]
    numbers: dict[str, None] = {}
    for level in levels:
        numbers.update(dict.fromkeys(one.words[1] for one in level.sections("volume") if len(one.words) > 1))
    volumes = []
    for number in numbers or {"0": None}:
        inside = [
            one for level in levels for one in level.sections("volume") if one.words[1:2] == (number,)
        ] + levels
        device = next((s for level in inside for s in level.settings("device")), None)
        disk = next((s for level in inside for s in level.settings("disk")), None)
        if device is not None:
            volumes.append(_volume(name, number, device, disk))
    refused = ""
    setting = configuration.setting(statement, "net", "allow-two-primaries")
    if not hosts and not floating:
        named = " and ".join(word for one in statement.sections("on") for word in one.words[1:])
        refused = f"is not for this host: it is for {named}, and this is {host}" if named else "has no 'on HOST'"
    elif not volumes:
        refused = "has no device"
    elif setting is None or setting.words[1:2] == ("no",):
        refused = "has no allow-two-primaries, so it is not for two mounts"
    return _Resource(name, statement.place, volumes, refused, bool(hosts or floating))


def _volume(
    resource: str, number: str, device: drbdconf.Statement, disk: drbdconf.Statement | None
) -> _Volume:
    words = list(device.words[1:])
    node = words[0] if words and words[0].startswith("/") else ""
    minor = words[words.index("minor") + 1] if "minor" in words[:-1] else ""
    names = [node] if node else []
    if minor and f"/dev/drbd{minor}" not in names:
        names.append(f"/dev/drbd{minor}")
    by_resource = [f"/dev/drbd/by-res/{resource}/{number}"]
    if number == "0":
        by_resource.append(f"/dev/drbd/by-res/{resource}")
    lower = disk.words[1] if disk is not None and len(disk.words) > 1 else ""
    return _Volume(names[0] if names else "", [*names, *by_resource], lower, device.place, disk.place if disk else "")


# Commands


def _plain(words: list[str]) -> list[str]:
    """Words without what only runs the command that follows."""
    words = list(words)
    while words:
        name = words[0].rpartition("/")[2]
        if name not in BEFORE_COMMAND:
            break
        words.pop(0)
        while words and words[0].startswith("-"):
            option = words.pop(0)
            if name == "command" and option in ("-v", "-V"):
                return ["type", *words]  # it only asks whether there is one
            short = not option.startswith("--") and option[-1] in BEFORE_COMMAND[name] and len(option) == 2
            if words and (short or option in BEFORE_COMMAND_LONG):
                words.pop(0)
        if name == "timeout" and words:
            words.pop(0)
        while name in ("env", "sudo") and words and "=" in words[0]:
            words.pop(0)
    return words


def _shell(words: list[str]) -> tuple[str, str]:
    """(script file, command text) that a shell is called with; "" for what there is not."""
    rest = words[1:]
    text = False
    while rest and rest[0][:1] in ("-", "+"):
        option = rest.pop(0)
        if option in ("-", "--"):
            break
        if not option.startswith("--"):
            text = text or "c" in option
        if rest and (option in ("--rcfile", "--init-file") or (option[1:2] != "-" and option[-1] in "oO")):
            rest.pop(0)
    return ("", rest[0] if rest else "") if text else (rest[0] if rest else "", "")


def _positional(words: list[str], with_value: str, long_with_value: tuple[str, ...] = ()) -> list[str]:
    """Arguments that are no options; ``with_value``: letters of options that take the next word."""
    found = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("--"):
            skip = word in long_with_value
        elif word.startswith("-") and len(word) > 1:
            skip = word[-1] in with_value
        else:
            found.append(word)
    return found


def losetup_bind(words: list[str]) -> tuple[str, str] | None:
    """(device, file) that a losetup command binds; device "" where losetup chooses one itself."""
    if words[0].rpartition("/")[2] != "losetup":
        return None
    arguments = words[1:]
    letters = "".join(word[1:] for word in arguments if word.startswith("-") and not word.startswith("--"))
    if any(letter in letters for letter in "dDaljc"):
        return None
    if {"--detach", "--detach-all", "--all", "--list", "--associated"} & set(arguments):
        return None
    rest = _positional(arguments, "oebpEs", ("--offset", "--sizelimit", "--sector-size", "--encryption"))
    if "f" in letters or "--find" in arguments:
        return ("", rest[0]) if rest else None
    return (rest[0], rest[1]) if len(rest) == 2 else None


def binds_a_part(words: list[str]) -> bool:
    """Whether a losetup command binds something else than the whole file."""
    return losetup_bind(words) is not None and any(
        word.startswith(("--offset", "--sizelimit")) or (word.startswith("-") and word[1:2] != "-" and "o" in word)
        for word in words[1:]
    )


def mount_arguments(words: list[str]) -> tuple[list[str], str, bool] | None:
    """(device and mount point as given, options, whether it mounts all of fstab) of a mount command."""
    if words[0].rpartition("/")[2] not in ("mount", "mount.ocfs2"):
        return None
    arguments = words[1:]
    rest = _positional(arguments, "toOLUT", ("--types", "--options", "--test-opts", "--label", "--uuid"))
    options = []
    for position, word in enumerate(arguments[:-1]):
        if word == "--options" or (word.startswith("-") and not word.startswith("--") and word.endswith("o")):
            options.append(arguments[position + 1])
    every = any(
        word == "--all" or (word.startswith("-") and not word.startswith("--") and "a" in word) for word in arguments
    )
    return rest, ",".join(options), every


def how(options: str) -> str:
    """Mount options without those that say when, and for whom, to mount."""
    kept = [o for o in options.split(",") if o and o not in NOT_HOW and not o.startswith(("x-", "comment="))]
    return ",".join(kept)


def _service(words: list[str], name: str) -> str:
    """The service that a command starts, or ""."""
    rest = [word for word in words[1:] if not word.startswith("-")]
    if name in ("service", "invoke-rc.d") and rest[1:2] in (["start"], ["restart"]):
        return rest[0]
    if name == "systemctl" and rest[:1] in (["start"], ["restart"]) and len(rest) == 2:
        return rest[1].partition(".service")[0]
    if words[0].startswith(("/etc/init.d/", "/etc/rc.d/init.d/")) and rest[:1] in (["start"], ["restart"]):
        return name
    return ""


class _Import:
    def __init__(self, sources: Sources, choices: dict[tuple[str, str], str], only: str) -> None:
        self.sources = sources
        self.choices = choices
        self.only = only
        self.out = Proposal()
        self.drbd = drbdconf.load(sources.read, sources.glob, DRBD_CONF)
        self.fstab = fstab.lines(sources.read(FSTAB) or "")
        self.clusters = clusterconf.parse(sources.read(CLUSTER_CONF) or "")
        self.boots: list[_Boot] = []
        self.scripts: dict[str, list[str]] = {}  # init script -> its start links
        self.loaded: set[str] = set()
        self.units: dict[str, tuple[str, list[str]]] = {}  # enabled unit -> its file, its links
        # What belongs to the stacks, once they are known.
        self.devices: set[str] = set()
        self.points: set[str] = set()
        self.loops: dict[str, str] = {}
        self.names: set[str] = set()
        self.judging: set[str] = set()
        # Of sourced files, which many scripts have in common.
        self.settings: dict[str, shelltext.Script] = {}
        self.touches: dict[tuple[str, str], bool] = {}  # (file, starter): whether it has something of ours
        self.owner = "STACK"
        self.o2cb_stays = O2CB_STAYS.format("CLUSTER")

    def run(self) -> Proposal:
        self._collect()
        found = resources(self.drbd, self.sources.host)
        for one in found:
            stack = next((s for s in self.sources.reading.stacks if s.resource == one.name), None)
            if self.only and one.name != self.only:
                continue
            if stack is not None:
                self.out.existing.append(stack)
                continue
            self._stack(one)
        for line in self.fstab:
            if line.type == "ocfs2" and line.spec.partition("=")[0].upper() in NO_DEVICE:
                text = f"mounts {line.spec}, which may name the disk below DRBD: write the device, such as /dev/drbd0"
                self.out.refused.append(Note(f"{FSTAB}:{line.number}", text))
        if self.out.questions:
            return self.out
        self._name()
        if self.out.questions:
            return self.out
        self._text()
        self._ours(found)
        self._edits(found)
        for name in sorted(self.names):
            self._fencing(name)
        self._advice()
        return self.out

    def _ask(self, resource: str, option: str, text: str, choices: Iterable[str] = ()) -> str:
        """The answer, or "" after the question was put."""
        answer = self.choices.get((resource, option)) or self.choices.get(("", option), "")
        question = Question(resource, option, text, tuple(dict.fromkeys(choices)))
        if not answer and question not in self.out.questions:
            self.out.questions.append(question)
        return answer

    # What runs at boot

    def _collect(self) -> None:
        read, resolve = self.sources.read, self.sources.resolve
        seen: set[str] = set()
        for name in RC_LOCAL:
            real = resolve(name)
            if real not in seen:
                seen.add(real)
                self._script(real, read(real), real)
        for name in self._crontabs():
            for number, line in enumerate((read(name) or "").split("\n"), 1):
                command = _reboot_command(line, name)
                if command:
                    self._line(command, name, number, name)
        for directory in RC_DIRECTORIES:
            for link in self.sources.names(directory):
                if link[:1] == "S" and link[1:3].isdigit() and len(link) > 3:
                    full = f"{directory}/{link}"
                    place = resolve(directory) + "/" + link
                    links = self.scripts.setdefault(link[3:], [])
                    if place not in links and self.sources.link(full) is not None:
                        links.append(place)
        for name in self.scripts:
            self._init_script(name)
        self._enabled_units()

    def _crontabs(self) -> list[str]:
        return [*CRONTABS, *(f"{CRON_DIRECTORY}/{name}" for name in self.sources.names(CRON_DIRECTORY))]

    def _script(self, file: str, text: str | None, starter: str, deep: int = 0) -> None:
        if not text:
            return
        known: dict[str, str] = {}
        first = shelltext.read(text)
        for command in first.commands:
            # Settings that a script sources, as those of the guide's kind do.
            file_of_settings = _sourced(command.words)
            if file_of_settings:
                known.update(self._settings(self.sources.resolve(file_of_settings)).variables)
        script = shelltext.read(text, known) if known else first
        for command in script.commands:
            self._command(command, file, starter, deep)

    def _settings(self, real: str) -> shelltext.Script:
        """A sourced file by itself."""
        if real not in self.settings:
            self.settings[real] = shelltext.read(self.sources.sourced(real) or "")
        return self.settings[real]

    def _line(self, text: str, file: str, number: int, starter: str) -> None:
        for command in shelltext.read(text).commands:
            command.row = shelltext.Row(number, number, 0)
            self._command(command, file, starter, 0)

    def _command(self, command: Command, file: str, starter: str, deep: int) -> None:
        words = _plain(command.words)
        if not words:
            return
        name = words[0].rpartition("/")[2]
        called = words[0]
        if name in SHELLS:
            called, text_of_it = _shell(words)
            if text_of_it:
                for one in shelltext.read(text_of_it).commands:
                    self._command(Command(one.words, command.row), file, starter, deep)
                return
        service = _service(words, name)
        sourced = _sourced(words)
        if service:
            self._init_script(service)
        elif deep < 2 and (sourced or (called.startswith("/") and UNKNOWN not in called)):
            real = self.sources.resolve(sourced or called)
            given = bool(sourced) or name in SHELLS  # as a script, whatever its first line is
            text = (self.sources.sourced(real) if given else self.sources.read(real)) or ""
            if (given and text) or (text.startswith("#!") and "sh" in text.partition("\n")[0]):
                before = len(self.boots)
                self._script(real, text, starter, deep + 1)
                for boot in self.boots[before:]:
                    # It is the call that can be taken out, not the line of the script that is called.
                    boot.command = Command(boot.command.words, command.row)
                    boot.file = file
                    boot.called = True
                    boot.sourced = sourced and real
                if not sourced:
                    return
        self.boots.append(_Boot(Command(words, command.row), file, starter))

    def _init_script(self, name: str) -> None:
        """Read an init script, once; those of the distribution are known by their names."""
        if name in self.loaded or name in ("drbd", "o2cb", "ocfs2") or "/" in name or UNKNOWN in name:
            return
        self.loaded.add(name)
        file = self._init_file(name)
        self._script(file, self.sources.read(file), f"script {name}")

    def _enabled_units(self) -> None:
        for directory in self.sources.names(UNITS):
            if not directory.endswith((".wants", ".requires", ".upholds")):
                continue
            for name in self.sources.names(f"{UNITS}/{directory}"):
                link = f"{UNITS}/{directory}/{name}"
                if self.sources.link(link) is None:
                    continue
                file, links = self.units.setdefault(name, (self.sources.resolve(link), []))
                links.append(link)
        for name, (file, links) in list(self.units.items()):
            if name.endswith(".timer"):
                started = _keys(self.sources.read(file) or "").get("Unit") or name[: -len("timer")] + "service"
                head, at, tail = started.partition("@")
                template = f"{UNITS}/{head}@.{tail.rpartition('.')[2]}"
                own = f"{UNITS}/{started}"
                if at and self.sources.read(own) is None:
                    own = template
                # It is the timer's link that starts it.
                _, all_links = self.units.setdefault(started, (self.sources.resolve(own), []))
                all_links += links
        for name, (file, _) in self.units.items():
            text = self.sources.read(file) if name.endswith(".service") else None
            instance = name.partition("@")[2].rpartition(".")[0]
            for number, line in enumerate((text or "").replace("\\\n", "  ").split("\n"), 1):
                key, equals, value = line.strip().partition("=")
                value = value.replace("%i", instance).replace("%I", _unescaped(instance))
                if equals and key.strip() in ("ExecStart", "ExecStartPre", "ExecStartPost"):
                    self._line(value.strip().lstrip("-@:+!|"), file, number, f"unit {name}")

    # One stack

    def _stack(self, resource: _Resource) -> None:
        if resource.refused:
            self.out.skipped.append(Note(resource.place, f"resource {resource.name} {resource.refused}"))
            return
        places = self._mount_points(resource)
        point = self.choices.get((resource.name, "--mountpoint")) or self.choices.get(("", "--mountpoint"), "")
        if point and point not in [place[0] for place in places] and len(resource.volumes) == 1:
            places.append((point, resource.volumes[0], "", "--mountpoint"))
        if not places:
            self.out.skipped.append(
                Note(resource.place, f"nothing mounts resource {resource.name} as OCFS2 (fstab, rc.local, units)")
            )
            return
        found = Found()
        found.put("resource", resource.name, resource.place)
        name = resource.name
        points = list(dict.fromkeys(target for target, _, _, _ in places))
        if len(points) == 1:
            point = points[0]
        elif point not in points:
            said = ", ".join(f"{target} ({where})" for target, _, _, where in places)
            text = f"resource {name} is mounted on more than one directory: {said}"
            self.out.questions.append(Question(name, "--mountpoint", text, tuple(points)))
            return
        target, volume, options, where = next(place for place in places if place[0] == point)
        self._device(found, volume, point)
        if self._part(volume.disk, "", volume.disk_place):
            return
        self._survivor(found, name)
        self._backing(found, resource, volume)
        if self._part(volume.disk, found.keys.get("backing_file", ""), volume.disk_place):
            return
        if not self._cluster(found, name):
            return
        found.put("mountpoint", target, where)
        line = next((one for one in self.fstab if one.target == target), None)
        if line is not None and not self._fits(line, found, volume):
            return
        # The generator orders the line, or the unit, that is there, and the options are in it.
        if line is None and not where.endswith(".mount") and how(options):
            found.put("mount_options", how(options), where)
        self.out.stacks.append(found)

    def _survivor(self, found: Found, resource: str) -> None:
        """Who goes on when the link is lost, where somebody has said so."""
        given = {key: self._chosen(resource, f"--{key.replace('_', '-')}") for key in POLICY}
        survivor = given["survivor"]
        statement = self.drbd.resource(resource)
        hosts = [word for one in statement.sections("on") for word in one.words[1:]] if statement is not None else []
        needed = {"power": "fence_agent", "witness": "witness"}
        for key, value in given.items():
            owner = next((one for one, its in needed.items() if its == key), "")
            option = f"--{key.replace('_', '-')}"
            if value and owner and survivor != owner:
                text = f"{option} is for --survivor {owner}"
                self.out.questions.append(Question(resource, "--survivor", text, (owner,)))
            elif value:
                found.put(key, value, option)
        if needed.get(survivor) and not given[needed[survivor]]:
            option = f"--{needed[survivor].replace('_', '-')}"
            self.out.questions.append(Question(resource, option, f"--survivor {survivor} needs {option}", ()))
        if survivor and survivor not in creating.SURVIVORS and survivor not in hosts:
            text = f"--survivor {survivor} is no host of resource {resource}"
            self.out.questions.append(Question(resource, "--survivor", text, (*hosts, *creating.SURVIVORS)))

    def _part(self, loop: str, file: str, place: str) -> bool:
        """Whether a loop device has a part of its file only, at boot or now; said where it is so."""
        what = "a part of the file (an offset or a limit), and no stack of ours can do that"
        for boot in self.boots:
            words = boot.command.words
            if binds_a_part(words) and (loop in words[1:] or (file and file in words[1:])):
                self.out.refused.append(Note(boot.place, f"'{boot.said}' binds {what}"))
                return True
        if loop in self.sources.parts:
            self.out.refused.append(Note(place, f"{loop} is bound to {what}"))
            return True
        return False

    def _fits(self, line: fstab.Line, found: Found, volume: _Volume) -> bool:
        """Whether the generator would take fstab's line for the mount point; said where not."""
        resource = found.keys["resource"]
        allowed = (found.keys["device"], f"/dev/drbd/by-res/{resource}", f"/dev/drbd/by-res/{resource}/0")
        if line.spec in allowed and line.type in ("ocfs2", "auto"):
            return True
        text = f"mounts {line.spec} ({line.type}) on {line.target}: write {found.keys['device']} and ocfs2 there"
        self.out.refused.append(Note(f"{FSTAB}:{line.number}", text))
        return False

    def _mount_points(self, resource: _Resource) -> list[tuple[str, _Volume, str, str]]:
        """(mount point, volume, options, place) of all that mounts the resource at boot."""
        found = []
        for volume in resource.volumes:
            for line in self.fstab:
                if line.spec in volume.names and line.type in ("ocfs2", "auto"):
                    found.append((line.target, volume, line.options, f"{FSTAB}:{line.number}"))
            for name, (file, _) in self.units.items():
                keys = _keys(self.sources.read(file) or "") if name.endswith(".mount") else {}
                if keys.get("What") in volume.names and keys.get("Where"):
                    found.append((_slashes(keys["Where"]), volume, keys.get("Options", ""), file))
            for boot in self.boots:
                mount = mount_arguments(boot.command.words)
                if mount is None or len(mount[0]) != 2 or mount[0][0] not in volume.names:
                    continue
                found.append((_slashes(mount[0][1]), volume, mount[1], boot.place))
        return [one for one in found if UNKNOWN not in one[0]]

    def _device(self, found: Found, volume: _Volume, point: str) -> None:
        line = next((one for one in self.fstab if one.target == point), None)
        # The mount's source and ours have to be the same name, where a device has several.
        if line is not None and line.spec in volume.names and "/by-res/" not in line.spec:
            found.put("device", line.spec, volume.place)
        else:
            found.put("device", volume.device or volume.names[0], volume.place)

    def _backing(self, found: Found, resource: _Resource, volume: _Volume) -> None:
        loop = volume.disk
        if not loop.startswith("/dev/loop"):
            return  # a real disk
        binds = [(bind, boot) for boot in self.boots if (bind := losetup_bind(boot.command.words)) is not None]
        right = [(file, boot.place) for (device, file), boot in binds if device == loop]
        now = self.sources.bound.get(loop)
        if now:
            right.append((now, f"bound to {loop} now"))
        files = dict(right[::-1])
        if len(files) == 1 and UNKNOWN not in next(iter(files)) and not self._chosen(resource.name, "--backing-file"):
            file, place = right[0]
            found.put("backing_file", file, place)
            found.put("loop_device", loop, volume.disk_place)
            return
        known = [file for file in files if UNKNOWN not in file]
        others = [file for (device, file), _ in binds if device != loop and UNKNOWN not in file]
        said = [f"{file} ({place})" for file, place in files.items() if UNKNOWN not in file]
        said += [
            f"{file} on {device.replace(UNKNOWN, '?') or 'the first free device'} ({boot.place})"
            for (device, file), boot in binds
            if device != loop and UNKNOWN not in file
        ]
        said += [
            f"a file whose name only the script knows ({boot.place})"
            for (device, file), boot in binds
            if UNKNOWN in file and (device == loop or UNKNOWN in device or not device)
        ]
        text = (
            f"the file behind {loop}, the disk of resource {resource.name}, is not certain: "
            + (", ".join(said) or "nothing binds it at boot, and it is not bound now")
        )
        file = self._ask(resource.name, "--backing-file", text, [*known, *others])
        if file:
            found.put("backing_file", file, files.get(file, "--backing-file"))
            found.put("loop_device", loop, volume.disk_place)

    def _chosen(self, resource: str, option: str) -> str:
        return self.choices.get((resource, option)) or self.choices.get(("", option), "")

    def _cluster(self, found: Found, resource: str) -> bool:
        """Put the cluster; False when there is none for this host."""
        every = [(s.keys.get("name", ""), s.line) for s in self.clusters if s.kind == "cluster"]
        names = [one for one in every if self.sources.host in clusterconf.nodes(self.clusters, one[0])]
        known = [name for name, _ in names]
        chosen = self.choices.get((resource, "--cluster")) or self.choices.get(("", "--cluster"))
        host = self.sources.host
        if not names:
            text = f"{CLUSTER_CONF} has no cluster with the node {host}, which 'uname -n' says is this host"
            self.out.refused.append(Note(found.places["resource"], f"resource {resource}: {text}"))
            return False
        if chosen and chosen not in known:
            text = f"{CLUSTER_CONF} has no cluster '{chosen}' with the node {host}"
            self.out.questions.append(Question(resource, "--cluster", text, tuple(known)))
        elif chosen or len(names) == 1:
            cluster, line = names[known.index(chosen) if chosen else 0]
            found.put("cluster", cluster, f"{CLUSTER_CONF}:{line}")
        else:
            boot = shelltext.read(self.sources.read(O2CB_SETTINGS) or "").variables.get("O2CB_BOOTCLUSTER", "")
            if boot in known:
                # The kernel has room for one cluster, so the one of the boot is the one that this mount used.
                found.put("cluster", boot, f"O2CB_BOOTCLUSTER in {O2CB_SETTINGS}")
                return True
            text = f"{CLUSTER_CONF} has more than one cluster with the node {host}: "
            text += ", ".join(f"{name} (line {line})" for name, line in names)
            self._ask(resource, "--cluster", text, known)
        return True

    def _name(self) -> None:
        """A name for each new stack: the cluster's, where it has one stack; else the mount point's last part."""
        taken = {stack.name for stack in self.sources.reading.stacks} | set(self.sources.reading.broken)
        clusters = [found.keys["cluster"] for found in self.out.stacks]
        for found in self.out.stacks:
            resource = found.keys["resource"]
            chosen = self.choices.get((resource, "--name")) or self.choices.get(("", "--name"))
            candidates = [chosen] if chosen else []
            if not candidates and clusters.count(found.keys["cluster"]) == 1:
                candidates.append(found.keys["cluster"])
            if not chosen:
                candidates.append(found.keys["mountpoint"].rpartition("/")[2])
            name = next((c for c in candidates if c and c not in taken and _is_name(c)), "")
            if not name:
                why = f"no name for the stack of resource {resource}: "
                why += ", ".join(
                    f"'{c}' is " + ("taken" if c in taken else "no name for a stack") for c in candidates
                )
                self.out.questions.append(Question(resource, "--name", why, ()))
                continue
            taken.add(name)
            found.keys["name"] = name

    # The configuration

    def _text(self) -> None:
        if not self.out.stacks:
            return
        self.out.file = lean.MAIN_FILE
        if self.sources.read(lean.MAIN_FILE) is not None:
            self.out.file = f"{lean.MORE_FILES}/{self.out.stacks[0].keys['name']}.conf"
        lines = [
            f"# Written by 'drbdocfs import' on {self.sources.today} from the old boot set-up.",
            "# Reference of all keys: drbdocfs.conf(5).",
        ]
        for found in self.out.stacks:
            lines += ["", f"[{found.keys['name']}]"]
            for key in values.KEYS:
                if key in found.keys:
                    left = f"{key:<13} = {_quoted(found.keys[key])}"
                    lines.append(f"{left:<39} # {values.escape(found.places[key])}")
        self.out.text = "\n".join(lines) + "\n"

    # What goes

    def _ours(self, found: list[_Resource]) -> None:
        stacks = [dict(one.keys) for one in self.out.stacks] + [
            {"name": s.name, **{key: str(getattr(s, key)) for key in values.KEYS}} for s in self.out.existing
        ]
        for keys in stacks:
            self.names.add(keys["resource"])
            self.points.add(keys["mountpoint"])
            self.devices.add(keys["device"])
            for resource in found:
                for volume in resource.volumes:
                    if resource.name == keys["resource"] and keys["device"] in volume.names:
                        self.devices.update(volume.names)
            if keys.get("loop_device"):
                self.loops[keys["loop_device"]] = keys["backing_file"]
        if len(stacks) == 1:
            self.owner = stacks[0]["name"]
        if len({keys["cluster"] for keys in stacks}) == 1:
            self.o2cb_stays = O2CB_STAYS.format(stacks[0]["cluster"])
        self.foreign = [r.name for r in found if r.used and r.name not in self.names]

    def _judge(self, words: list[str]) -> int | str | None:
        """What a command does to our stacks: a rank; why it stays; "" where it is harmless; None for anything else."""
        name = words[0].rpartition("/")[2]
        rest = words[1:]
        mount = mount_arguments(words)
        if mount is not None:
            if any(word in self.devices or _slashes(word) in self.points for word in mount[0]):
                return MOUNTS
            if mount[2]:
                return self._mounts_all("ocfs2" in rest or "ocfs2" in ",".join(rest).split(","))
            return None
        bind = losetup_bind(words)
        if bind is not None:
            return BINDS if bind[0] in self.loops or bind[1] in self.loops.values() else None
        if name == "drbdadm":
            targets = set(_positional(rest, "cdsm"))
            if targets & self.names or ("all" in targets and not self.foreign):
                return RAISES if targets & set(BRINGS) else ""
            return None
        if name == "drbdsetup":
            return RAISES if set(rest) & (self.devices | self.names) else None
        if name in ("modprobe", "insmod") and set(_positional(rest, "")[:1]) <= STACK_MODULES:
            return "loads a module, which does no harm"
        service = _service(words, name)
        if service == "drbd":
            return RAISES if not self.foreign else f"starts {', '.join(self.foreign)} as well"
        if service == "o2cb" or name in ("o2cb", "o2cb_ctl"):
            return self.o2cb_stays
        if service == "ocfs2":
            return self._mounts_all(True)
        if service and self._script_rank(service) is not None:
            return self._script_rank(service)
        if name in CHANGES:
            return "" if self._passes(rest) else None
        return "" if name in HARMLESS else None

    def _passes(self, arguments: list[str]) -> bool:
        """Whether all that a command changes is a lock, a pid, or the directory of a mount of ours."""
        named = _positional(arguments, "m", ("--mode",))
        return bool(named) and all(
            (name.startswith(PASSING) and ".." not in name.split("/")) or _slashes(name) in self.points
            for name in named
        )

    def _other(self, boot: _Boot) -> bool:
        """Whether a command is no work of ours, so that it must not go with what is."""
        if self._judge(boot.command.words) is not None:
            return False
        # A file that is sourced and has nothing of ours is settings and functions.
        if not boot.sourced:
            return True
        key = (boot.sourced, boot.starter)
        if key not in self.touches:
            same = [one for one in self.boots if (one.sourced, one.starter) == key]
            self.touches[key] = any(isinstance(self._judge(one.command.words), int) for one in same)
        return self.touches[key]

    def _gives(self, boot: _Boot) -> bool:
        """Whether a command stands in a sourced file that has something for the lines after it."""
        script = self._settings(boot.sourced) if boot.sourced else shelltext.Script()
        return bool(script.variables or script.functions)

    def _mounts_all(self, ocfs2_only: bool) -> int | str:
        """A mount of all that fstab has without noauto: does that concern us, and nobody else?"""
        lines = [line for line in self.fstab if "noauto" not in line.options.split(",")]
        ours = [line for line in lines if line.target in self.points]
        if not ours:
            there = any(line.target in self.points for line in self.fstab)
            return "stays: it does not mount ours, which " + ("has noauto in fstab" if there else "is not in fstab")
        others = [line for line in lines if line not in ours and line.type == "ocfs2"]
        if ocfs2_only and not others:
            return MOUNTS
        return "stays: it mounts other lines of fstab as well"

    def _script_rank(self, name: str) -> int | None:
        """The rank of an init script of the guide's kind."""
        if name in self.judging:
            return None  # it calls itself
        self.judging.add(name)
        judged = [self._judge(b.command.words) for b in self.boots if b.starter == f"script {name}"]
        self.judging.discard(name)
        ranks = [rank for rank in judged if isinstance(rank, int)]
        return min(ranks) if ranks else None

    def _edits(self, found: list[_Resource]) -> None:
        if not self.out.stacks and not self.out.existing:
            return
        for boot in self.boots:
            self._unknown(boot)
        edits: list[Edit] = []
        edits += self._line_edits()
        for name, links in self.scripts.items():
            edits += self._script_edits(name, links)
        for name, (file, links) in self.units.items():
            edits += self._unit_edits(name, file, links)
        # The order in which they go; verbs/import.py says why.
        self.out.edits = sorted(edits, key=lambda edit: (edit.rank, edit.file, edit.line))
        for line in self.fstab:
            if line.target in self.points:
                text = "stays: the generator orders it, and the mount's options are its own"
                self.out.kept.append(Note(f"{FSTAB}:{line.number}", text))
        enabled = shelltext.read(self.sources.read(O2CB_SETTINGS) or "").variables.get("O2CB_ENABLED")
        if enabled == "true":
            self.out.kept.append(Note(O2CB_SETTINGS, f"O2CB_ENABLED=true stays: {self.o2cb_stays}"))

    def _unknown(self, boot: _Boot) -> None:
        """Say what only the script knows, where it may touch our stacks."""
        words = boot.command.words
        if boot.name == "drbdadm" and set(words) & set(BRINGS) and any(UNKNOWN in word for word in words[1:]):
            text = f"'{boot.said}': only the script knows which resource: write its name"
            self.out.blockers.append(Note(boot.place, text))
        if boot.name in (".", "source") and words[1:] and not _sourced(words):
            ours = self.devices | self.names | self.points | set(self.loops)
            text = f"'{boot.said}': only the script knows which file that is, so it was not read"
            if any(word in ours or _slashes(word) in self.points for word in words[2:]):
                self.out.blockers.append(Note(boot.place, f"{text}, and it is about ours: write its name"))
            elif boot.sourced.startswith(LIBRARIES):
                pass  # the distribution's hooks, in every script of that kind
            elif not boot.starter.startswith(("script ", "unit ")) or self._ranks(boot.starter):
                self.out.kept.append(Note(boot.place, text))

    def _ranks(self, starter: str) -> list[int]:
        judged = [self._judge(boot.command.words) for boot in self.boots if boot.starter == starter]
        return [rank for rank in judged if isinstance(rank, int)]

    def _line_edits(self) -> Iterator[Edit]:
        """Lines of rc.local and of crontabs."""
        rows: dict[tuple[str, int], list[_Boot]] = {}
        for boot in self.boots:
            if not boot.starter.startswith(("script ", "unit ")):
                rows.setdefault((boot.file, boot.command.row.first), []).append(boot)
        for (file, number), boots in rows.items():
            judged = [(self._judge(boot.command.words), boot) for boot in boots]
            ranks = [rank for rank, _ in judged if isinstance(rank, int)]
            text = (self.sources.read(file) or "").split("\n")
            if not ranks:
                for rank, _ in judged:
                    if isinstance(rank, str) and rank:
                        self.out.kept.append(Note(f"{file}:{number}", f"{text[number - 1].strip()}: {rank}"))
                continue
            others = [boot for boot in boots if self._other(boot) or (boot.name in CHANGES and not boot.called)]
            gives = [boot.sourced for rank, boot in judged if isinstance(rank, int) and self._gives(boot)]
            row = boots[0].command.row
            if others or gives or not row.whole:
                why = "is tied to the lines around it: take it out by hand"
                if others:
                    why = f"also runs '{others[0].said}': put that on a line of its own"
                elif gives:
                    why = f"{gives[0]} also has settings or functions for the lines after it: take our part out by hand"
                self.out.blockers.append(Note(f"{file}:{number}", f"{text[number - 1].strip()}: {why}"))
                continue
            rank = min(ranks)
            mark = MARK.format(self.sources.today)
            for at in range(row.first, row.last + 1):
                old = text[at - 1]
                # A command that does nothing stands in its place where the shell wants one.
                new = (": " if row.depth and at == row.first else "") + mark + old
                yield Edit(file, at, old.rstrip("\r"), new.rstrip("\r"), WHY[rank].format(self.owner), rank)

    def _script_edits(self, name: str, links: list[str]) -> Iterator[Edit]:
        place = self._init_file(name)
        if name == "drbd":
            rank: int | str | None = self._drbd(place)
        elif name == "o2cb":
            rank = f"stays: {self.o2cb_stays}"
        elif name == "ocfs2":
            rank = self._mounts_all(True)
        else:
            rank = self._script_rank(name)
            if rank is not None and not self._alone(f"script {name}", place):
                return
        if isinstance(rank, str) and rank:
            self.out.kept.append(Note(place, rank))
        if not isinstance(rank, int):
            return
        for link in links:
            directory, _, old = link.rpartition("/")
            new = self._kill_link(name, old)
            exists = new in self.sources.names(directory)
            target = self.sources.link(link) or ""
            yield Edit(link, 0, target, "" if exists else f"{directory}/{new}", WHY[rank].format(self.owner), rank)

    def _init_file(self, name: str) -> str:
        for directory in INIT_DIRECTORIES:
            if self.sources.read(f"{directory}/{name}") is not None:
                return self.sources.resolve(f"{directory}/{name}")
        return f"{INIT_DIRECTORIES[0]}/{name}"

    def _kill_link(self, name: str, start: str) -> str:
        """What 'update-rc.d disable' and 'chkconfig off' make of a start link: no link at all would be enabled again by
        the next upgrade of its package."""
        for directory in KILL_DIRECTORIES:
            for link in self.sources.names(directory):
                if link[:1] == "K" and link[3:] == name:
                    return link
        return f"K{(100 - int(start[1:3])) % 100:02d}{name}"

    def _drbd(self, place: str) -> int | str | None:
        """DRBD's own start of all resources: goes, unless somebody else needs it."""
        if not self.foreign:
            return RAISES
        text = f"the boot's start of DRBD also brings up {', '.join(self.foreign)}, which no stack has"
        answer = self._ask("", "--drbd", text, ("disable", "keep"))
        if answer == "disable":
            return RAISES
        return "stays, as you said: it makes DRBD Primary without waiting for the peer" if answer else None

    def _alone(self, starter: str, place: str) -> bool:
        """Whether a script or unit does nothing but our stacks' work; said where it is not so."""
        for boot in self.boots:
            if boot.starter != starter:
                continue
            words = boot.command.words
            rank = self._judge(words)
            bind = losetup_bind(words)
            if bind is not None and rank is None:
                text = f"also binds {bind[1].replace(UNKNOWN, '?')}: take our part out by hand"
                self.out.blockers.append(Note(boot.place, f"{starter} {text}"))
                return False
            # A script that only binds may call what it likes besides: functions of its distribution's kind.
            name = boot.name
            acts = name in ACTS or name in CHANGES or (words[0].startswith("/") and name not in HARMLESS)
            if self._other(boot) and (acts or self._does_more(starter)):
                text = f"also runs '{boot.said}': take our part out by hand"
                self.out.blockers.append(Note(boot.place, f"{starter} {text}"))
                return False
        return True

    def _does_more(self, starter: str) -> bool:
        ranks = self._ranks(starter)
        return starter.startswith("unit ") or MOUNTS in ranks or RAISES in ranks

    def _unit_edits(self, name: str, file: str, links: list[str]) -> Iterator[Edit]:
        rank: int | str | None = None
        templates = {f"drbd@{resource}{kind}" for resource in self.names for kind in (".service", ".target")}
        templates |= {f"drbd-{what}@{r}.service" for r in self.names for what in ("wait-promotable", "promote")}
        if name == "drbd.service":
            rank = self._drbd(name)
        elif name in templates:
            rank = RAISES
        elif name == "ocfs2.service":
            rank = self._mounts_all(True)
        elif name == "o2cb.service":
            rank = f"stays: {self.o2cb_stays}"
        elif name.endswith(".mount"):
            keys = _keys(self.sources.read(file) or "")
            if keys.get("Where") and _slashes(keys["Where"]) in self.points:
                rank = "stays: the generator orders it, and the mount's options are its own"
        elif name.endswith(".service") and not name.startswith("drbdocfs"):
            judged = [self._judge(b.command.words) for b in self.boots if b.starter == f"unit {name}"]
            ranks = [one for one in judged if isinstance(one, int)]
            if ranks and not self._alone(f"unit {name}", file):
                return
            rank = min(ranks) if ranks else None
        if isinstance(rank, str) and rank:
            self.out.kept.append(Note(file if name.endswith(".mount") else name, rank))
        if isinstance(rank, int):
            for link in links:
                yield Edit(link, 0, self.sources.link(link) or "", "", WHY[rank].format(self.owner), rank)

    # Fencing

    def _fencing(self, name: str) -> None:
        """What a resource should have for a lost link; named, or written where somebody has said who goes on then."""
        statement = self.drbd.resource(name)
        if statement is None:
            return
        # 8.4 has it in disk, which 9 refuses; 9 has it in net, which 8.4 refuses.
        places = {8: ("disk",), 9: ("net",)}.get(self.sources.driver, ("disk", "net"))
        policy = next((s for place in places if (s := self.drbd.setting(statement, place, "fencing"))), None)
        handler = self.drbd.setting(statement, "handlers", "fence-peer")
        program = handler.words[1] if handler is not None and len(handler.words) > 1 else ""
        asked = self._chosen(name, "--survivor")
        in_the_way = ""
        if "crm-fence-peer" in program:
            text = f"the fence-peer handler {program} is Pacemaker's: it asks Pacemaker who may go on"
            in_the_way = f"{text}, and where none runs nobody may; put {creating.HANDLER} in its place there"
        elif handler is not None and program != creating.HANDLER:
            in_the_way = f"has the fence-peer handler {program} of its own: 'survivor' has no effect with it"
        elif policy is not None and policy.words[1:2] != ("resource-and-stonith",):
            in_the_way = f"'{' '.join(policy.words)}': write resource-and-stonith, or nobody asks who may go on"
        if in_the_way:
            place = (policy if handler is None and policy is not None else handler or statement).place
            (self.out.blockers if asked else self.out.advice).append(Note(place, in_the_way))
            return
        wanted: dict[str, list[str]] = {}
        if policy is None:
            wanted.setdefault(places[0], []).append("fencing resource-and-stonith;")
        if handler is None:
            wanted.setdefault("handlers", []).append(f'fence-peer "{creating.HANDLER}";')
        if wanted and not any(self.drbd.setting(statement, "net", time) for time in creating.NET):
            # They belong together: with one of another value the kernel may refuse all, and a timeout without its
            # ko-count gives up a peer with a slow disk.
            wanted.setdefault("net", []).extend(f"{key} {value};" for key, value in creating.NET.items())
        if not wanted:
            return
        # Where the driver is not known, what is right for one makes drbdadm refuse everything with the other.
        edits = self._inserts(statement, wanted) if self.sources.driver else None
        if edits is None:
            said = " ".join(f"{section} {{ {' '.join(lines)} }}" for section, lines in wanted.items())
            text = f"resource {name} has no fencing, so a pulled cable can cost data: write into it {said}"
            if not self.sources.driver and policy is None:
                text += " (DRBD 8.4; with DRBD 9 'fencing' is in net)"
            (self.out.blockers if asked else self.out.advice).append(Note(statement.place, text))
        elif asked:
            self.out.edits += edits
        else:
            self.out.fencing += edits

    def _inserts(self, resource: drbdconf.Statement, wanted: dict[str, list[str]]) -> list[Edit] | None:
        """Lines to be added after those that open the resource and its sections; None where only a person can do it.

        drbdadm takes each section of a resource once.
        """
        added: dict[tuple[str, int], list[str]] = {}
        for section, lines in wanted.items():
            there = next(resource.sections(section), None)
            opened = there if there is not None else resource
            row = (self.sources.read(opened.file) or "").split("\n")[opened.line - 1]
            head = r"\s+".join(f'"?{re.escape(word)}"?' for word in opened.words)
            match = re.fullmatch(rf"(\s*){head}\s*\{{\s*(#.*)?", row.rstrip("\r"))
            if match is None:
                return None
            # As deep as the line that is there, and by one tab more.
            deep = match[1] + "\t"
            new = [deep + line for line in lines]
            if there is None:
                new = [f"{deep}{section} {{", *("\t" + line for line in new), f"{deep}}}"]
            added.setdefault((self.sources.resolve(opened.file), opened.line), [row.rstrip("\r")]).extend(new)
        return [
            Edit(file, line, rows[0], "\n".join(rows), WHY[FENCES].format(resource.words[1]), FENCES)
            for (file, line), rows in added.items()
        ]

    def _advice(self) -> None:
        """What DRBD 9 does not take any more; nothing of it is in the way on 8.4."""
        for mistake in self.drbd.mistakes:
            self.out.advice.append(Note(f"{mistake.file}:{mistake.line}", mistake.message))
        scopes = [r for r in self.drbd.resources() if r.words[1] in self.names] + self.drbd.sections("common")
        for scope in scopes:
            for section in scope.sections("syncer"):
                self.out.advice.append(
                    Note(section.place, "DRBD 9 refuses 'syncer { rate R; }': write 'disk { resync-rate R; }'")
                )
            for startup in scope.sections("startup"):
                for setting in startup.settings("become-primary-on"):
                    text = "'become-primary-on' has no use any more, and DRBD 9 ignores it: take it out"
                    self.out.advice.append(Note(setting.place, text))


def _reboot_command(line: str, file: str) -> str:
    """The command of an @reboot line of a crontab; the system's own have the user before it."""
    head, _, rest = line.strip().partition("@reboot")
    if head or not rest[:1].isspace():
        return ""
    if file == "/etc/crontab" or file.startswith(CRON_DIRECTORY):
        rest = rest.split(None, 1)[1] if len(rest.split(None, 1)) > 1 else ""
    return rest.strip()


def _keys(text: str) -> dict[str, str]:
    keys = {}
    for line in text.split("\n"):
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", ";")):
            keys[key.strip()] = value.strip()
    return keys


def _sourced(words: list[str]) -> str:
    """The file that a command reads into its own shell, or "" where it does not, or only the script knows."""
    if words[0] not in (".", "source") or len(words) < 2 or not words[1].startswith("/") or UNKNOWN in words[1]:
        return ""
    return words[1]


def _unescaped(instance: str) -> str:
    """An instance as systemd has it in %I: see systemd-escape(1)."""
    out = instance.replace("-", "/").split("\\x")
    for position, piece in enumerate(out[1:], 1):
        try:
            out[position] = bytes([int(piece[:2], 16)]).decode("latin-1") + piece[2:]
        except ValueError:
            out[position] = "\\x" + piece
    return "".join(out)


def _slashes(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part) if path.startswith("/") else path


def _is_name(text: str) -> bool:
    try:
        values.stack_name(text)
    except values.Refused:
        return False
    return True


def _quoted(text: str) -> str:
    """A value in quotes where the grammar needs them."""
    if text and all(char.isalnum() or char in "/_.:+-=" for char in text):
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'


def verify(proposal: Proposal) -> str:
    """Why the proposed text would not be read as it is meant; "" when it would."""
    if not proposal.text:
        return ""
    for found in proposal.stacks:
        for key, value in found.keys.items():
            if key == "name":
                continue
            try:
                values.KEYS[key].check(value)
            except values.Refused as refused:
                rule = values.KEYS[key]
                return f"{found.places[key]}: {key} = {values.show(value)}: {refused}; allowed: {rule.allowed}"
    scan = lean.scan(proposal.file, proposal.text)
    if scan.problems:
        return str(scan.problems[0])
    for found, section in zip(proposal.stacks, scan.sections):
        entries = {key: values.KEYS[key].check(value) for key, (_, value) in section.entries.items()}
        wanted = {key: values.KEYS[key].check(value) for key, value in found.keys.items() if key != "name"}
        if section.name != found.keys["name"] or entries != wanted:
            return f"{proposal.file}:{section.line}: the configuration's grammar cannot hold this section"
    return ""
