"""/etc/fstab, as far as it concerns our mount points (fstab(5)).  Builtins only: the generator imports this."""


class Line:
    """One entry: ``number`` of its line, then the fields with their octal escapes undone."""

    __slots__ = ("number", "options", "spec", "target", "type")

    def __init__(self, number: int, spec: str, target: str, type: str, options: str) -> None:
        self.number = number
        self.spec = spec
        self.target = target
        self.type = type
        self.options = options


def _unescape(field: str) -> str:
    if "\\" not in field:
        return field
    out = bytearray()
    raw = field.encode("utf-8", "surrogateescape")
    position = 0
    while position < len(raw):
        digits = raw[position + 1 : position + 4]
        if raw[position] == 0x5C and len(digits) == 3 and all(0x30 <= d <= 0x37 for d in digits):
            out.append(int(digits, 8) & 0xFF)
            position += 4
        else:
            out.append(raw[position])
            position += 1
    return out.decode("utf-8", "surrogateescape")


def lines(text: str) -> "list[Line]":
    """All entries in order, mount points with normalised slashes; comments and lines that are too short left out."""
    found: "list[Line]" = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        spec, target = _unescape(fields[0]), _unescape(fields[1])
        target = "/" + "/".join(part for part in target.split("/") if part)
        options = fields[3] if len(fields) > 3 else "defaults"
        found.append(Line(number, spec.strip("\"'"), target, fields[2], options))
    return found


def parse(text: str) -> "dict[str, Line]":
    """Entries by mount point; of two for the same one the first, as mount(8) takes it."""
    found: "dict[str, Line]" = {}
    for line in lines(text):
        found.setdefault(line.target, line)
    return found
