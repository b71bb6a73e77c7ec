"""Names and values as systemd wants them, so that nothing in a configuration can add a directive.

Sources: systemd-escape(1), systemd.unit(5) "string escaping" and "specifiers", systemd.syntax(7) "quoting".
Builtins only: the generator imports this.
"""

_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")
UNIT_NAME_MAX = 253  # systemd takes 255 characters, but a unit's directory of drop-ins has ".d" at its end


class Unwritable(Exception):
    """A value that no unit file can carry."""


def _escape(raw: bytes, safe: "frozenset[int]", slash: str) -> str:
    text = ""
    for position, byte in enumerate(raw):
        if byte in safe and not (position == 0 and byte == 0x2E):
            text += chr(byte)
        elif byte == 0x2F and slash:
            text += slash
        else:
            text += f"\\x{byte:02x}"
    return text


def path(name: str) -> str:
    """A path as the first part of a unit name, as ``systemd-escape --path`` has it."""
    parts = [part for part in name.split("/") if part]
    return _escape("/".join(parts).encode("utf-8", "surrogateescape"), _SAFE, "-") or "-"


def mount_unit(mountpoint: str) -> str:
    """Name of the mount unit of a mount point; raises Unwritable when it is too long for a unit name."""
    name = path(mountpoint) + ".mount"
    if len(name) > UNIT_NAME_MAX:
        raise Unwritable(f"the mount point is too long for a unit name ({len(name)} of {UNIT_NAME_MAX} characters)")
    return name


def device_unit(node: str) -> str:
    """Name of the unit of a device node; raises Unwritable as for a mount point."""
    name = path(node) + ".device"
    if len(name) > UNIT_NAME_MAX:
        raise Unwritable(f"the device is too long for a unit name ({len(name)} of {UNIT_NAME_MAX} characters)")
    return name


def instance(name: str) -> str:
    """A name as an instance name.  Names of good stacks come out as they are; a broken one may be anything."""
    text = _escape(name.encode("utf-8", "surrogateescape"), _SAFE | {0x2D}, "")
    if len(text) <= 150:
        return text
    escape = text.rfind("\\", 147, 150)  # one that would be cut in two
    return text[: escape if escape > 0 else 150] + "\\x2e\\x2e"


def value(text: str) -> str:
    """A single value: ``%`` doubled; raises Unwritable for what would end the line or be stripped from it."""
    # A text that can be printed has none of them; to look at each character took a fifth of the generator's time.
    for character in "" if text.isprintable() else text:
        if character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff":
            raise Unwritable(f"a unit file cannot carry the character {character!r}")
    # A backslash at the end would join the next line; blanks at the ends are stripped.
    if text.endswith("\\") or text != text.strip():
        raise Unwritable(f"a unit file cannot carry {text!r}: it begins or ends with a blank or ends with a backslash")
    return text.replace("%", "%%")


def quoted(text: str) -> str:
    """One word of a list, in double quotes."""
    return '"' + value(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
