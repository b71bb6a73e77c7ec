"""The state of all stacks as text for node_exporter's textfile collector; pure.

That collector reads the Prometheus text format 0.0.4 (expfmt.TextParser), not OpenMetrics, and rejects a file with
time stamps.  What both formats have in common is enough for us, so the text is valid in both: gauges only ("info",
"stateset" and "unknown" would be refused), names that end in their unit, no empty lines, no quotes in HELP (the two
escape them differently), and "# UNIT" and "# EOF", which the Prometheus parser takes for comments.
"""

from drbdocfs_boot.verdict import STATUS

# Layers of a stack in the order in which they start.
LAYERS = ("loop", "attach", "wait", "promote", "o2cb", "mount")

# (name, unit, help)
_FAMILIES = (
    ("drbdocfs_stack_state", "", "1 for the state that the stack is in, 0 for all others"),
    ("drbdocfs_role", "", "1 for the role of this node in DRBD"),
    ("drbdocfs_peer_role", "", "1 for the role of the other node as DRBD knows it"),
    ("drbdocfs_disk_state", "", "1 for the state of the local disk in DRBD"),
    ("drbdocfs_peer_disk_state", "", "1 for the state of the disk of the other node in DRBD"),
    ("drbdocfs_connection_state", "", "1 for the state of the connection in DRBD"),
    ("drbdocfs_replication_state", "", "1 for the state of the replication in DRBD"),
    ("drbdocfs_out_of_sync_bytes", "bytes", "Data that differ between the nodes"),
    ("drbdocfs_io_suspended", "", "1 while DRBD holds all I/O back"),
    ("drbdocfs_resync_done_percent", "percent", "How far a running resync is"),
    ("drbdocfs_resync_stalled", "", "1 while a resync makes no progress"),
    ("drbdocfs_not_uptodate_seconds", "seconds", "Time since both nodes were connected and UpToDate, 0 while they are"),
    ("drbdocfs_layer_start_seconds", "seconds", "Time that a layer of the stack took at its last start"),
)


class Sample:
    """What is known of one stack.  Lists hold the distinct words of its volumes and connections."""

    __slots__ = (
        "connection", "disk", "kind", "layers", "out_of_sync", "peer_disk", "peer_role", "percent", "replication",
        "resource", "role", "stack", "stalled", "suspended", "unready",
    )  # fmt: skip

    def __init__(self, stack: str, resource: str, kind: str) -> None:
        self.stack = stack
        self.resource = resource
        self.kind = kind
        self.role: "list[str]" = []
        self.peer_role: "list[str]" = []
        self.disk: "list[str]" = []
        self.peer_disk: "list[str]" = []
        self.connection: "list[str]" = []
        self.replication: "list[str]" = []
        self.out_of_sync: "int | None" = None  # bytes
        self.suspended = False
        self.percent: "float | None" = None
        self.stalled = False
        self.unready: "float | None" = None  # seconds
        self.layers: "dict[str, float]" = {}


def render(samples: "list[Sample]") -> str:
    """The whole text."""
    lines: "list[str]" = []
    for name, unit, words in _FAMILIES:
        lines += [f"# TYPE {name} gauge", f"# HELP {name} {words}"]
        if unit:
            lines.append(f"# UNIT {name} {unit}")
        for sample in samples:
            own = f'stack="{escape(sample.stack)}",resource="{escape(sample.resource)}"'
            for labels, value in _values(name, sample):
                lines.append(f"{name}{{{own}{labels}}} {_number(value)}")
    return "\n".join(lines) + "\n# EOF\n"


def _values(name: str, sample: Sample) -> "list[tuple[str, float]]":
    """(labels, value) of one family for one stack; nothing where nothing is known."""
    if name == "drbdocfs_stack_state":
        return [(f',state="{kind}"', float(kind == sample.kind)) for kind in STATUS]
    if name == "drbdocfs_layer_start_seconds":
        return [(f',layer="{layer}"', sample.layers[layer]) for layer in LAYERS if layer in sample.layers]
    words = {
        "drbdocfs_role": ("role", sample.role),
        "drbdocfs_peer_role": ("role", sample.peer_role),
        "drbdocfs_disk_state": ("state", sample.disk),
        "drbdocfs_peer_disk_state": ("state", sample.peer_disk),
        "drbdocfs_connection_state": ("state", sample.connection),
        "drbdocfs_replication_state": ("state", sample.replication),
    }.get(name)
    if words is not None:
        return [(f',{words[0]}="{escape(word)}"', 1.0) for word in words[1]]
    value = {
        "drbdocfs_out_of_sync_bytes": sample.out_of_sync,
        "drbdocfs_io_suspended": float(sample.suspended),
        "drbdocfs_resync_done_percent": sample.percent,
        "drbdocfs_resync_stalled": float(sample.stalled),
        "drbdocfs_not_uptodate_seconds": sample.unready,
    }[name]
    return [] if value is None else [("", value)]


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3f}"


def escape(text: str) -> str:
    """A label's value: backslash, quote and line end; what is no text in UTF-8 would have the file refused."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def units(text: str) -> "dict[str, dict[str, str]]":
    """Unit -> its properties, from the output of ``systemctl show`` for several units."""
    found = {}
    for block in text.split("\n\n"):
        keys = dict(line.partition("=")[::2] for line in block.split("\n") if "=" in line)
        if keys.get("Id"):
            found[keys["Id"]] = keys
    return found


def start_seconds(unit: "dict[str, str]") -> "float | None":
    """How long the last start of a unit took; None while it starts, or where it has never been started."""
    begun, up = unit.get("InactiveExitTimestampMonotonic", ""), unit.get("ActiveEnterTimestampMonotonic", "")
    if not begun.isdigit() or not up.isdigit() or int(begun) == 0 or int(up) < int(begun):
        return None
    return (int(up) - int(begun)) / 1_000_000
