"""The options of a fence agent: /etc/drbdocfs/fence.conf, what an agent is given, and what may be shown of its words.

Pure: text in, options out.  Format: drbdocfs-fence.conf(5).  No message of this module shows a value, nor a line that
is no option: each may be a password.

What an agent reads, and what it makes of it, is taken from the fence agents 4.12 (fencing.py, _parse_input_stdin):
one ``name=value`` a line, blanks at both ends dropped, lines that begin with "#" skipped, one pair of double quotes
around the value taken off, "-" and "_" in names the same, of several lines with one name the last counts, and an
unknown option is logged as a whole, with its value.  The C ones (fence_virt, fence_xvm) know ``option`` as another
name of ``action``.
"""

from binascii import b2a_base64

# What may be in no file: what is to be done is said by who calls the agent.
_ACTION = ("action", "option", "operation")
# fencing.py: a plug that the device does not know counts as off.  A misspelt one would be taken for a dead peer.
_MISSING = "missing_as_off"
_KEY = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_HOST = _KEY
LARGEST = 65536  # bytes of a file; nobody has that many options
LONGEST = 1024  # characters of a value

# Options whose values may be shown.  Not those that are secret by their name, but all others are masked: an own script
# has names of its own, and a misspelt "passwrod" is repeated by an agent that does not know it.
_OPEN = frozenset(
    (
        "action", "auth", "cipher", "command_prompt", "debug", "debug_file", "delay", "exec", "hexadecimal_mode",
        "host", "identity_file", "inet4_only", "inet6_only", "ip", "ip_family", "ipaddr", "ipport", "key_file",
        "lanplus", "login", "login_timeout", "method", "nodename", "plug", "plug_separator", "port",
        "port_as_ip", "power_timeout", "power_wait", "privlvl", "quiet", "retry_on", "secure", "separator",
        "serial_device", "serial_params", "shell_timeout", "snmp_auth_prot", "snmp_sec_level", "snmp_version",
        "ssh", "ssh_options", "ssh_path", "ssl", "ssl_insecure", "ssl_secure", "status_file", "stonith_status_sleep",
        "switch", "telnet_path", "timeout", "tls1.0", "use_sudo", "user", "username", "verbose", "verbose_level",
        "zone",
    )
)  # fmt: skip
_SECRET = ("pass", "secret", "token", "credential", "community")
_USERS = ("username", "login", "user")
_PLAIN = frozenset(("yes", "true", "off", "false"))
MASK = "***"


class Mistake:
    """``line`` of the file; ``host`` whose section it stands in, "" where it concerns all; ``message`` what and what
    is allowed, as the end of a sentence that begins with the place."""

    __slots__ = ("host", "line", "message")

    def __init__(self, line: int, host: str, message: str) -> None:
        self.line = line
        self.host = host
        self.message = message

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


class Options:
    """``common``: options before the first section; ``hosts``: those of each section; ``problems`` in the order of
    their lines."""

    __slots__ = ("common", "hosts", "problems")

    def __init__(self) -> None:
        self.common: "dict[str, str]" = {}
        self.hosts: "dict[str, dict[str, str]]" = {}
        self.problems: "list[Mistake]" = []

    def of(self, host: str) -> "dict[str, str] | None":
        """What switches ``host`` off: its own options before the common ones; None when it has no section."""
        if host not in self.hosts:
            return None
        own = self.hosts[host]
        # An option of its own replaces the common one, however the two are written.
        names = {_plain(key) for key in own}
        return {**{key: value for key, value in self.common.items() if _plain(key) not in names}, **own}

    def problems_of(self, host: str) -> "list[Mistake]":
        """The mistakes that keep ``host`` from being switched off: those of its section and those that concern all."""
        return [problem for problem in self.problems if problem.host in ("", host)]


def parse(text: str) -> Options:
    """The options in the text of a file.

    Lines end in LF or CR LF.  A value goes to the end of its line, ``#`` and quotes with it; blanks around it are
    dropped.  A comment has a line of its own.  A byte order mark is skipped.
    """
    found = Options()
    host = ""
    into: "dict[str, str]" = found.common
    seen: "set[str]" = set()
    for number, raw in enumerate(text[text[:1] == "\ufeff" :].split("\n"), 1):
        line = raw.strip(" \t\r")
        if not line or line[0] == "#":
            continue
        wrong = _control(line)
        if not wrong and line[0] == "[":
            name = line[1:-1].strip(" \t") if line[-1] == "]" else ""
            host, into, seen = name, {}, set()
            if not name or len(name) > 64 or any(char not in _HOST for char in name):
                # What follows would else be taken for the options of the host before.
                host = ""
                wrong = "a section without the name of a host; allowed: [HOST], with the name as in uname -n"
            elif name in found.hosts:
                wrong = f"a second section [{name}]; allowed: one section a host"
            else:
                found.hosts[name] = into
        elif not wrong:
            key, equals, value = line.partition("=")
            key, value = key.rstrip(" \t"), value.lstrip(" \t")
            wrong = _wrong(key, value, seen) if equals else _NEITHER
            if not wrong:
                into[key] = value
            seen.add(_plain(key))
        if wrong:
            found.problems.append(Mistake(number, host, wrong))
    return found


_NEITHER = "neither an option nor a section; allowed: key = value, [HOST], and comments on lines of their own"


def _control(line: str) -> str:
    if any((char < " " and char != "\t") or char == "\x7f" for char in line):
        return "a control character; allowed: text in lines that end in LF or CR LF"
    return ""


def _wrong(key: str, value: str, seen: "set[str]") -> str:
    """What is wrong with an option, or ""; ``seen``: the names in the section before it."""
    if not key or len(key) > 64 or not key[0].isalnum() or any(char not in _KEY for char in key):
        return _NEITHER
    if _plain(key) in _ACTION:
        return f"the option {key}; allowed: all others, as what is to be done is said by the caller"
    if _plain(key) == _MISSING:
        return f"the option {key}, with which a misspelt plug would be taken for a host that is off"
    if _plain(key) in seen:
        return f"{_shown(key)} is given twice; allowed: once a section"
    if not value:
        return f'{_shown(key)} has no value; leave the line out, or write "" where the agent wants an empty one'
    if len(value) > LONGEST:
        return f"{_shown(key)} has a value of {len(value)} characters; allowed: {LONGEST}"
    return ""


def _shown(key: str) -> str:
    """A key that we know by its name: the rest of a long secret that was broken into two lines may look like one."""
    known = _plain(key) in _OPEN or any(part in _plain(key) for part in _SECRET)
    return key if known else "an option"


def _plain(key: str) -> str:
    """A name as the agents compare it."""
    return key.lower().replace("-", "_")


def given(options: "dict[str, str]", action: str) -> bytes:
    """What the agent reads from its standard input; the action comes last, so that nothing can take its place."""
    lines = [f"{key}={value}" for key, value in options.items()]
    return "".join(line.replace("\n", " ") + "\n" for line in (*lines, f"action={action}")).encode()


def secrets(options: "dict[str, str]") -> "list[str]":
    """Everything that must not be shown, in the forms in which programs repeat it, the longest first."""
    forms: "set[str]" = set()
    users = [value for key, value in options.items() if _plain(key) in _USERS]
    for key, value in options.items():
        name = _plain(key)
        secret = any(part in name for part in _SECRET)
        if not secret and (name in _OPEN or value.lower() in _PLAIN or len(value) < 3):
            continue
        for one in {value, value[1:-1] if len(value) > 2 and value[0] == value[-1] == '"' else value}:
            data = one.encode("utf-8", "surrogateescape")
            forms.add(one)
            forms.add(one.replace("\\", "\\\\"))
            forms.add(one.replace("\\", "\\\\").replace('"', '\\"'))
            forms.add(one.replace("\\", "\\\\").replace("'", "\\'"))
            forms.add(one.replace("'", "'\"'\"'"))
            forms.add(one.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;"))
            for safe in (b"", b"/"):
                forms.add(_percent(data, safe, "%%%02X"))
                forms.add(_percent(data, safe, "%%%02x"))
            forms.add(_base64(data))
            # The header of an HTTP login, as agents show it with verbose.
            forms.update(_base64(user.encode("utf-8", "surrogateescape") + b":" + data) for user in users)
    return sorted((form for form in forms if form), key=lambda form: (-len(form), form))


def _percent(data: bytes, safe: bytes, form: str) -> str:
    keep = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~" + safe
    return "".join(chr(byte) if byte in keep else form % byte for byte in data)


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def mask(text: str, options: "dict[str, str]", cut: bool = False) -> str:
    """What an agent said, without what must not be shown.

    ``cut``: the text was cut off somewhere, so a secret's beginning at its end is masked as well.
    """
    forms = secrets(options)
    for form in forms:
        text = text.replace(form, MASK)
    if cut:
        longest = max((n for form in forms for n in range(1, len(form)) if text.endswith(form[:n])), default=0)
        if longest:
            text = text[:-longest] + MASK
    return text
