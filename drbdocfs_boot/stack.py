"""The model of the configuration: stacks, problems, and how a reading of the files is made of sections.

Both readers (lean.py at boot, config.py for the command) end here, in `conclude`, so that what is refused, and in
which words, is the same for both. Nothing but values.py is imported, because the generator runs at every boot before
anything else and each import shows there.
"""

from . import values


class Immutable:
    """Base of the values below: set once by the constructor, compared, hashed and shown by their fields."""

    __slots__: "tuple[str, ...]" = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set: it is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted: it is immutable")

    def _fields(self) -> "tuple[object, ...]":
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({shown})"


class Stack(Immutable):
    """One stack: a section of the configuration whose every value was found good.

    Strings are "" when left out. The three times are in microseconds. `file` is the path as an administrator
    types it (without the root under which it was read), `line` the line of the section's header, from 1.
    """

    __slots__ = (
        "backing_file",
        "boot_timeout",
        "cluster",
        "device",
        "fence_agent",
        "fence_options",
        "file",
        "line",
        "link_grace",
        "loop_device",
        "mount_options",
        "mountpoint",
        "name",
        "peer_timeout",
        "resource",
        "stop_holders",
        "survivor",
        "when_alone",
        "witness",
    )  # fmt: skip

    name: str
    resource: str
    device: str
    backing_file: str
    loop_device: str
    cluster: str
    mountpoint: str
    mount_options: str
    peer_timeout: int
    when_alone: str
    boot_timeout: int
    stop_holders: str
    survivor: str
    link_grace: int
    fence_agent: str
    fence_options: str
    witness: str
    file: str
    line: int

    def __init__(
        self,
        name: str,
        *,
        resource: str,
        device: str,
        cluster: str,
        mountpoint: str,
        backing_file: str = "",
        loop_device: str = "",
        mount_options: str = "",
        peer_timeout: int = 90_000_000,
        when_alone: str = "newest",
        boot_timeout: int = 180_000_000,
        stop_holders: str = "report",
        survivor: str = "none",
        link_grace: int = 20_000_000,
        fence_agent: str = "",
        fence_options: str = "",
        witness: str = "",
        file: str = "/etc/drbdocfs/drbdocfs.conf",
        line: int = 1,
    ) -> None:
        put = object.__setattr__
        put(self, "name", name)
        put(self, "resource", resource)
        put(self, "device", device)
        put(self, "backing_file", backing_file)
        put(self, "loop_device", loop_device)
        put(self, "cluster", cluster)
        put(self, "mountpoint", mountpoint)
        put(self, "mount_options", mount_options)
        put(self, "peer_timeout", peer_timeout)
        put(self, "when_alone", when_alone)
        put(self, "boot_timeout", boot_timeout)
        put(self, "stop_holders", stop_holders)
        put(self, "survivor", survivor)
        put(self, "link_grace", link_grace)
        put(self, "fence_agent", fence_agent)
        put(self, "fence_options", fence_options)
        put(self, "witness", witness)
        put(self, "file", file)
        put(self, "line", line)


class Problem(Immutable):
    """One mistake. `line` is 0 when the whole file is meant, `stack` is "" when it belongs to no stack.

    `stack` is the section's name as read, which may be anything; `file` and `message` are one printable line each.
    """

    __slots__ = ("file", "line", "message", "stack")

    file: str
    line: int
    stack: str
    message: str

    def __init__(self, file: str, line: int, stack: str, message: str) -> None:
        put = object.__setattr__
        put(self, "file", file)
        put(self, "line", line)
        put(self, "stack", stack)
        put(self, "message", message)

    def __str__(self) -> str:
        if self.line:
            return f"{self.file}:{self.line}: {self.message}"
        return f"{self.file}: {self.message}"


class Reading(Immutable):
    """What the configuration says: good stacks, all problems, and the names of the stacks that were refused.

    All three in order of appearance. `broken` holds names as they stand in the section headers, each once.
    """

    __slots__ = ("broken", "problems", "stacks")

    stacks: "tuple[Stack, ...]"
    problems: "tuple[Problem, ...]"
    broken: "tuple[str, ...]"

    def __init__(
        self,
        stacks: "tuple[Stack, ...]" = (),
        problems: "tuple[Problem, ...]" = (),
        broken: "tuple[str, ...]" = (),
    ) -> None:
        put = object.__setattr__
        put(self, "stacks", stacks)
        put(self, "problems", problems)
        put(self, "broken", broken)


class Section:
    """A section as a reader found it. `entries` maps a key to its line and its value as the grammar gives it.

    `damaged` says that a line of it could not be used: the stack is refused, and what seems to be missing may stand
    in that line.
    """

    __slots__ = ("damaged", "entries", "file", "line", "name")

    def __init__(self, name: str, file: str, line: int) -> None:
        self.name = name
        self.file = file
        self.line = line
        self.entries: "dict[str, tuple[int, str | list[str]]]" = {}
        self.damaged = False


# `checked` below is what became of a section's keys: the value, or why it was refused. A required key that is missing
# is not in it.

# What two stacks may not share. The words end the sentence "allowed: …".
_EXCLUSIVE = {
    "resource": "a resource of its own",
    "device": "a device of its own",
    "backing_file": "a file of its own",
    "loop_device": "a loop device of its own",
    "mountpoint": "a directory of its own",
}


def stack_problem(file: str, line: int, name: str, message: str) -> Problem:
    """A Problem of one stack; the message begins with its name in brackets."""
    return Problem(file, line, name, f"[{values.brief(name)}] {message}")


def key_problem(section: Section, line: int, key: str, found: "str | list[str]", why: str, allowed: str) -> Problem:
    """A Problem of one key: what was found, why it is refused, what is allowed."""
    message = f"{values.brief(key)} = {values.show(found)}: {why}; allowed: {allowed}"
    return stack_problem(section.file, line, section.name, message)


class Conclusion:
    """Collects sections in order of appearance and concludes which stacks are good and what is wrong."""

    def __init__(self, problems: "list[Problem]") -> None:
        """`problems` are those of the grammar and of whole files; they come first where lines are equal."""
        self.problems = list(problems)
        self.sections: "list[tuple[Section, dict[str, str | int | values.Refused]]]" = []
        self._hints: "dict[str, str]" = {}

    def add(self, section: Section, checked: "dict[str, str | int | values.Refused]") -> None:
        """Take the next section, with its known keys as they were checked."""
        self.sections.append((section, checked))

    def conclude(self, files: "list[str]") -> Reading:
        """The reading; `files` gives the order of the files, in which problems are sorted by line."""
        for section, checked in self.sections:
            self._judge_alone(section, checked)
        self._judge_names()
        self._judge_shared()
        self._judge_backing_files()
        place = {file: number for number, file in enumerate(files)}
        self.problems.sort(key=lambda problem: (place.get(problem.file, -1), problem.line))
        refused = {problem.stack for problem in self.problems}
        stacks = tuple(
            # What was checked has the type of its key, which mypy cannot know.
            Stack(section.name, file=section.file, line=section.line, **checked)  # type: ignore[arg-type]
            for section, checked in self.sections
            if section.name not in refused
        )
        broken = tuple(dict.fromkeys(section.name for section, _ in self.sections if section.name in refused))
        return Reading(stacks, tuple(self.problems), broken)

    def _judge_alone(self, section: Section, checked: "dict[str, str | int | values.Refused]") -> None:
        """What is wrong with one section, whatever the others hold."""
        entries = section.entries
        try:
            values.stack_name(section.name)
        except values.Refused as refused:
            message = f"the section's name {refused}; allowed: {values.NAME_ALLOWED}"
            self.problems.append(stack_problem(section.file, section.line, section.name, message))
        for key, (line, found) in entries.items():
            if key not in values.KEYS:
                self._unknown(section, line, key, found)
        for name, rule in values.KEYS.items():
            outcome = checked.get(name)
            if isinstance(outcome, values.Refused):
                line, found = entries[name]
                self.problems.append(key_problem(section, line, name, found, str(outcome), rule.allowed))
            elif outcome is None and not section.damaged:
                message = f"{name} is missing; allowed: {rule.allowed}"
                self.problems.append(stack_problem(section.file, section.line, section.name, message))

        file, loop = checked.get("backing_file"), checked.get("loop_device")
        for given, value, missing, other in (
            ("backing_file", file, "loop_device", loop),
            ("loop_device", loop, "backing_file", file),
        ):
            if value and other == "" and not section.damaged:
                line, found = entries[given]
                self.problems.append(
                    key_problem(section, line, given, found, f"stands without {missing}", "both of them or neither")
                )

    def _unknown(self, section: Section, line: int, key: str, found: "str | list[str]") -> None:
        # Few mistakes get a hint, so that a large file of rubbish takes no time at boot.
        if key not in self._hints:
            self._hints[key] = values.nearest_key(key) if len(self._hints) < 100 else ""
        hint = self._hints[key]
        why = f"is no key of a stack, perhaps {hint} is meant" if hint else "is no key of a stack"
        self.problems.append(key_problem(section, line, key, found, why, ", ".join(values.KEYS)))

    def _judge_names(self) -> None:
        """A name given twice refuses all that have it: which one was meant cannot be known."""
        first: "dict[str, Section]" = {}
        twice: "set[str]" = set()
        for section, _ in self.sections:
            before = first.setdefault(section.name, section)
            if before is section:
                continue
            pairs = [(section, before)]
            if section.name not in twice:
                twice.add(section.name)
                pairs.append((before, section))
            for one, other in pairs:
                message = f"also stands in {other.file}:{other.line}; allowed: one section for each stack"
                self.problems.append(stack_problem(one.file, one.line, one.name, message))

    def _judge_shared(self) -> None:
        """Two stacks with the same device, file or directory: the later one is refused.

        A stack that is refused for another reason keeps its claim: mending it must not take another stack down.
        """
        claims: "dict[tuple[str, object], Section]" = {}
        for section, checked in self.sections:
            for key, allowed in _EXCLUSIVE.items():
                value = checked.get(key)
                if not value or isinstance(value, values.Refused):
                    continue
                owner = claims.setdefault((key, value), section)
                if owner.name == section.name:
                    continue
                line, found = section.entries[key]
                why = f"belongs to [{values.brief(owner.name)}] in {owner.file}:{owner.entries[key][0]}"
                self.problems.append(key_problem(section, line, key, found, why, allowed))

    def _judge_backing_files(self) -> None:
        """No backing file may lie on a stack's own mount or on another's, which comes up after or beside it.

        Units cannot wait for each other in a circle: systemd would delete some of the jobs, whichever it meets first.
        """
        mounts: "dict[object, Section]" = {}
        for section, checked in self.sections:
            mounts.setdefault(checked.get("mountpoint"), section)
        for section, checked in self.sections:
            place = checked.get("backing_file")
            while isinstance(place, str) and place:
                place = place.rpartition("/")[0]
                owner = mounts.get(place)
                if owner is not None:
                    line, found = section.entries["backing_file"]
                    why = (
                        f"lies on {values.show(place)}, where [{values.brief(owner.name)}] in "
                        f"{owner.file}:{owner.entries['mountpoint'][0]} is mounted"
                    )
                    allowed = "a file on a file system that is there before every stack"
                    self.problems.append(key_problem(section, line, "backing_file", found, why, allowed))
                    break
