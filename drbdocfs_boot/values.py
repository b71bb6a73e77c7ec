"""What each key of the configuration may hold: the one place of these rules, for both readers and for the command.

A rule takes the text that was found and gives the value back, normalised; what it cannot take it refuses with
`Refused`, whose text says why. Nothing is imported, because the generator uses this at every boot.
"""

TYPE_CHECKING = False  # as typing has it, which must not be imported here
if TYPE_CHECKING:
    from collections.abc import Callable

# The kernel's limits in bytes, and how many characters of a value that was found a message shows.
PATH_MAX = 4095
NAME_MAX = 255
SHOWN = 60

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_ALNUM = frozenset(_LETTERS + _DIGITS)
_NAME = _ALNUM | frozenset("_.-")
_RESOURCE = _ALNUM | frozenset("_.+-")
# What systemd-escape leaves as it is; every other byte of a path becomes \xNN, four characters.
_UNESCAPED = _ALNUM | frozenset("_.:")

# The kernel's own trees: nothing may be mounted on them or below.
_KERNEL_TREES = ("/dev", "/proc", "/sys", "/run")
# Directories that the system or its users need as they are: a mount would hide them. Below them is fine. Those in /var
# are needed early in the boot, and what mounts there has to be before all that needs the network: systemd found a cycle
# with /var/tmp and did not boot, with /var/log it left out jobs.
_SYSTEM_TREES = frozenset(
    (
        "/usr", "/etc", "/boot", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/var", "/root", "/tmp",
        "/var/tmp", "/var/log", "/var/log/journal", "/var/lib", "/var/lib/systemd", "/var/lib/drbd",
        "/var/lib/drbdocfs",
    )
)  # fmt: skip
# Of a unit's name: the directory of its drop-ins has ".d" at its end.
_UNIT_MAX = NAME_MAX - 2

# systemd.time(7), in microseconds. A month is 30.4375 days and a year 365.25, as systemd has them.
_UNITS = {
    "": 1_000_000,
    **dict.fromkeys(("us", "usec", "\u00b5s", "\u03bcs"), 1),
    **dict.fromkeys(("ms", "msec"), 1_000),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1_000_000),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60_000_000),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3_600_000_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000_000),
    **dict.fromkeys(("w", "week", "weeks"), 604_800_000_000),
    **dict.fromkeys(("M", "month", "months"), 2_629_800_000_000),
    **dict.fromkeys(("y", "year", "years"), 31_557_600_000_000),
}


class Refused(ValueError):
    """A value breaks its rule; the text says why, as the end of a sentence that begins with the value."""


def control(text: str) -> str:
    """The first character that may stand in no line of ours, or "".

    These are the controls of ASCII and Latin-1 but the tab, and the separators and surrogates of Unicode. Several
    of them end a line for ConfigObj (str.splitlines), so what follows them would be read as a line of its own.
    """
    if text.isprintable():
        return ""
    for char in text:
        code = ord(char)
        if (code < 0x20 and code != 9) or 0x7F <= code < 0xA0 or code in (0x2028, 0x2029) or 0xD800 <= code < 0xE000:
            return char
    return ""


def escape(text: str) -> str:
    """The text as one printable line: what cannot be printed, and the backslash, stands as in a Python string."""
    if text.isprintable() and "\\" not in text:
        return text
    named = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    shown = []
    for char in text:
        code = ord(char)
        if char in named:
            shown.append(named[char])
        elif char.isprintable():
            shown.append(char)
        elif code < 0x100:
            shown.append(f"\\x{code:02x}")
        elif code < 0x10000:
            shown.append(f"\\u{code:04x}")
        else:
            shown.append(f"\\U{code:08x}")
    return "".join(shown)


def brief(text: str) -> str:
    """The text escaped, and cut to SHOWN characters with an ellipsis where it is longer."""
    if len(text) > SHOWN:
        return escape(text[:SHOWN]) + "\u2026"
    return escape(text)


def show(value: "str | list[str]") -> str:
    """A value that was found, in quotes, fit for a message; the items of a list are joined by commas."""
    if isinstance(value, list):
        # Joined only as far as it is shown: a list may be as long as the file.
        value = ", ".join(item[: SHOWN + 1] for item in value[: SHOWN + 1]) + ("," if len(value) == 1 else "")
    return '"' + brief(value).replace('"', '\\"') + '"'


def _require_name(text: str, allowed: "frozenset[str]", longest: int) -> str:
    if not text:
        raise Refused("is empty")
    if text[0] not in _ALNUM:
        raise Refused(f"begins with {show(text[0])}")
    for char in text:
        if char not in allowed:
            raise Refused(f"holds {show(char)}")
    if len(text) > longest:
        raise Refused(f"has {len(text)} characters")
    return text


def stack_name(text: str) -> str:
    """A section's name. It is the instance name of units and is never escaped, so few characters are allowed."""
    return _require_name(text, _NAME, 64)


def resource(text: str) -> str:
    """A DRBD resource. Its name has up to 127 bytes in the kernel's interface; `all` means every one to drbdadm."""
    _require_name(text, _RESOURCE, 127)
    if text == "all":
        raise Refused("means every resource to drbdadm")
    return text


def cluster(text: str) -> str:
    """An O2CB cluster. The name's 16 bytes are the superblock's (OCFS2_CLUSTER_NAME_LEN)."""
    return _require_name(text, _NAME, 16)


def path(text: str) -> str:
    """An absolute path, with repeated and trailing slashes taken away."""
    if not text:
        raise Refused("is empty")
    found = control(text)
    if found or "\t" in text:
        raise Refused(f"holds the control character {show(found or chr(9))}")
    if text[0] != "/":
        raise Refused("does not begin with /")
    parts = [part for part in text.split("/") if part]
    for part in parts:
        if part in (".", ".."):
            raise Refused(f'has a component "{part}"')
        if len(part.encode()) > NAME_MAX:
            raise Refused(f"has a component of more than {NAME_MAX} bytes")
    normal = "/" + "/".join(parts)
    # Neither survives in a unit file: blanks are stripped there, and a backslash joins the next line.
    if normal[-1].isspace():
        raise Refused("ends in a blank")
    if normal[-1] == "\\":
        raise Refused("ends in a backslash")
    if len(normal.encode()) > PATH_MAX:
        raise Refused(f"has more than {PATH_MAX} bytes")
    return normal


def below(inner: str, outer: str) -> bool:
    """Whether a normalised path is another one or lies below it."""
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def device(text: str) -> str:
    """A DRBD device node: /dev/drbdMINOR, or udev's names /dev/drbd_NAME and /dev/drbd/by-…"""
    normal = path(text)
    rest = normal[len("/dev/drbd") :]
    if not normal.startswith("/dev/drbd") or not (
        (rest.isdigit() and rest.isascii()) or (rest[:1] in ("_", "/") and len(rest) > 1)
    ):
        raise Refused("is no DRBD device")
    _unit_fits(normal, ".device", "its unit")
    return normal


def _unit_fits(normal: str, suffix: str, whose: str) -> None:
    length = sum(1 if chr(byte) in _UNESCAPED or byte == 0x2F else 4 for byte in normal[1:].encode()) + len(suffix)
    if length > _UNIT_MAX:
        raise Refused(f"gives {whose} a name of {length} characters, and {_UNIT_MAX} is the most")


def loop_device(text: str) -> str:
    """A loop device by number; the kernel's minor numbers have 20 bits. "" is left out."""
    if not text:
        return ""
    normal = path(text)
    number = normal[len("/dev/loop") :]
    if (
        not normal.startswith("/dev/loop")
        or not (number.isdigit() and number.isascii())
        or (number[0] == "0" and number != "0")
        or len(number) > 7
        or int(number) >= 1 << 20
    ):
        raise Refused("is no loop device")
    return normal


def backing_file(text: str) -> str:
    """The file behind the loop device. "" is left out."""
    if not text:
        return ""
    normal = path(text)
    if normal == "/":
        raise Refused("is a directory")
    return normal


def mountpoint(text: str) -> str:
    """Where OCFS2 is mounted: a directory that hides nothing the system needs, and whose unit's name fits a file's."""
    normal = path(text)
    if normal == "/":
        raise Refused("is the root directory")
    for tree in _KERNEL_TREES:
        if below(normal, tree):
            raise Refused(f"is in {tree}, which is the kernel's or lost at reboot")
    if normal in _SYSTEM_TREES:
        raise Refused("is a directory of the system")
    _unit_fits(normal, ".mount", "its mount unit")
    return normal


def mount_options(text: str) -> str:
    """Mount options as in fstab: no blanks, no empty ones. "" is left out."""
    if not text:
        return ""
    for char in text:
        if char.isspace() or not char.isprintable():
            raise Refused(f"holds {show(char)}")
        if char in "\"'\\":
            raise Refused(f"holds {show(char)}")
    if "" in text.split(","):
        raise Refused("has an empty option")
    return text


def time_span(text: str) -> int:
    """Microseconds of a time span as systemd reads it (systemd.time(7), parse_time() in its time-util.c).

    A sum of numbers with units, blanks between them or not; a number without unit is in seconds.
    """
    blanks = " \t\n\r"
    if not text.strip(blanks):
        raise Refused("is empty")
    if text.strip(blanks) == "infinity":
        raise Refused("has no end")
    total = at = 0
    end = len(text)
    while True:
        while at < end and text[at] in blanks:
            at += 1
        if at == end:
            return total
        if text[at] == "-":
            raise Refused("is negative")
        start = at
        while at < end and text[at] in _DIGITS:
            at += 1
        whole = text[start:at]
        fraction = ""
        if at < end and text[at] == ".":
            start = at = at + 1
            while at < end and text[at] in _DIGITS:
                at += 1
            fraction = text[start:at]
            if not fraction:
                raise Refused("has a point without digits after it")
        elif not whole:
            raise Refused(f"has {show(text[at:])} where a number is due")
        # The longest span of systemd has 20 digits; int() of thousands of them raises or takes long.
        if len(whole) > 20:
            raise Refused("has a number that is too large")
        number_end = at
        while at < end and text[at] in blanks:
            at += 1
        start = at
        while at < end and text[at].isalpha():
            at += 1
        unit = text[start:at]
        if unit not in _UNITS:
            raise Refused(f"has {show(unit)}, which is no unit of time")
        if not unit and at == number_end and at < end:
            raise Refused(f"has {show(text[at:])} where a unit is due")
        scale = _UNITS[unit]
        total += int(whole or "0") * scale
        for digit in fraction:
            scale //= 10
            total += int(digit) * scale


def span(text: str, shortest: str, longest: str) -> int:
    """Microseconds of a time span within limits that are time spans themselves."""
    usec = time_span(text)
    if usec < time_span(shortest):
        raise Refused(f"is shorter than {shortest}")
    if usec > time_span(longest):
        raise Refused(f"is longer than {longest}")
    return usec


def word(text: str, *words: str) -> str:
    """One of a few words, as they are written."""
    if not text:
        raise Refused("is empty")
    if text not in words:
        raise Refused("is none of the words")
    return text


def survivor(text: str, *words: str) -> str:
    """One of a few words, or the name of a host (`uname -n`, at most 64 bytes)."""
    if text in words:
        return text
    if text.lower() in words:
        raise Refused("is not written in small letters")
    return _require_name(text, _NAME, 64)


def agent(text: str) -> str:
    """A fence agent: the name of a program that is looked for in PATH, or its absolute path. "" is left out."""
    if not text:
        return ""
    if text[0] == "/":
        normal = path(text)
        if normal == "/":
            raise Refused("is a directory")
        return normal
    return _require_name(text, _NAME, NAME_MAX)


def options_file(text: str) -> str:
    """The file with the options of a fence agent. "" is left out."""
    return path(text) if text else ""


def witness(text: str) -> str:
    """Where the witness is: an absolute directory, or [USER@]HOST[:PORT] for ssh; IPv6 in brackets. "" is left out."""
    if not text:
        return ""
    if text[0] == "/":
        normal = path(text)
        if normal == "/":
            raise Refused("is the root directory")
        return normal
    user, at, place = text.rpartition("@")
    if at:
        _require_name(user, _NAME, 64)
    if place[:1] == "[":
        host, bracket, port = place[1:].partition("]")
        if not bracket:
            raise Refused('has "[" without "]"')
        if not host or any(char not in "0123456789abcdefABCDEF:." for char in host):
            raise Refused(f"has {show(host)}, which is no IPv6 address")
        if port and port[0] != ":":
            raise Refused(f"has {show(port)} after the address")
        colon, port = port[:1], port[1:]
    else:
        host, colon, port = place.partition(":")
        _require_name(host, _NAME, 253)
        if ":" in port:
            raise Refused("has more than one colon: an IPv6 address stands in brackets")
    if colon and not (port.isdigit() and port.isascii() and len(port) <= 5 and 0 < int(port) < 65536):
        raise Refused(f"has {show(port)}, which is no port")
    return text


# The names that the configspec uses for the rules. What they take after the text stands there in brackets.
RULES: "dict[str, Callable[..., str | int]]" = {
    "resource": resource,
    "device": device,
    "backing_file": backing_file,
    "loop_device": loop_device,
    "cluster": cluster,
    "mountpoint": mountpoint,
    "mount_options": mount_options,
    "span": span,
    "word": word,
    "survivor": survivor,
    "agent": agent,
    "options_file": options_file,
    "witness": witness,
}


def check(rule: str, value: "str | list[str]", *args: str) -> "str | int":
    """Hold a value as the grammar gave it (a list where it had commas outside quotes) against a rule by name.

    Mount options are a list to people, too, and are joined again; any other list is a slip of the pen.
    """
    if isinstance(value, list):
        if rule != "mount_options":
            raise Refused("is a list, because of the comma: put the value in quotes")
        value = ",".join(value)
    return RULES[rule](value, *args)


class Key:
    """One key of a stack. `default` is None for a key that is required; `allowed` ends the message of an error."""

    __slots__ = ("allowed", "args", "default", "name", "rule")

    def __init__(self, name: str, rule: str, args: "tuple[str, ...]", default: "str | None", allowed: str) -> None:
        self.name = name
        self.rule = rule
        self.args = args
        self.default = default
        self.allowed = allowed

    def check(self, value: "str | list[str]") -> "str | int":
        """The value by this key's rule. Raises Refused."""
        return check(self.rule, value, *self.args)


def _span(shortest: str, longest: str) -> str:
    return f"a time span from {shortest} to {longest}, such as 90s or 1min 30s"


NAME_ALLOWED = "letters, digits, _ . and -, beginning with a letter or digit, at most 64 characters"

# The same keys, rules and defaults stand in drbdocfs.configspec, which explains them; a test holds both equal.
KEYS = {
    key.name: key
    for key in (
        Key(
            "resource", "resource", (), None,
            "a DRBD resource: letters, digits, _ . + and -, beginning with a letter or digit, at most 127 characters",
        ),
        Key("device", "device", (), None, "a DRBD device such as /dev/drbd0"),
        Key("backing_file", "backing_file", (), "", "an absolute path of a file, such as /drbd-loop.img"),
        Key("loop_device", "loop_device", (), "", "a loop device such as /dev/loop7"),
        Key(
            "cluster", "cluster", (), None,
            "an O2CB cluster: letters, digits, _ . and -, beginning with a letter or digit, at most 16 characters",
        ),
        Key(
            "mountpoint", "mountpoint", (), None,
            "an absolute path of a directory, such as /mnt/storage, that is not the system's own",
        ),
        Key("mount_options", "mount_options", (), "", "mount options as in fstab, such as noatime,ro"),
        Key("peer_timeout", "span", ("0", "1d"), "90s", _span("0", "1d")),
        Key("when_alone", "word", ("wait", "newest", "always"), "newest", "wait, newest or always"),
        Key("boot_timeout", "span", ("1s", "1d"), "3min", _span("1s", "1d")),
        Key("stop_holders", "word", ("report", "terminate", "kill"), "report", "report, terminate or kill"),
        Key(
            "survivor", "survivor", ("none", "power", "witness"), "none",
            "none, power, witness or the name of a host (uname -n)",
        ),
        Key("link_grace", "span", ("0", "5min"), "20s", _span("0", "5min")),
        Key(
            "fence_agent", "agent", (), "",
            "a fence agent such as fence_ipmilan, or the absolute path of a program with the same interface",
        ),
        Key("fence_options", "options_file", (), "", "an absolute path of a file, such as /etc/drbdocfs/fence.conf"),
        Key("witness", "witness", (), "", "[USER@]HOST[:PORT], or the absolute path of a shared directory"),
    )
}  # fmt: skip


def nearest_key(text: str) -> str:
    """The known key that was probably meant: at most two letters put in, left out, changed or swapped; else ""."""
    plain = text.lower().replace("-", "_").replace(" ", "_")
    best, least = "", 3
    for name in KEYS:
        if abs(len(name) - len(plain)) < least:
            distance = _distance(plain, name)
            if distance < least:
                best, least = name, distance
    return best


def _distance(one: str, other: str) -> int:
    """Optimal string alignment distance."""
    before: "list[int]" = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one):
        last, row, older = row, [i + 1], before
        for j, b in enumerate(other):
            cost = min(row[j] + 1, last[j + 1] + 1, last[j] + (a != b))
            if i and j and a == other[j - 1] and b == one[i - 1]:
                cost = min(cost, older[j - 1] + 1)
            row.append(cost)
        before = last
    return row[-1]
