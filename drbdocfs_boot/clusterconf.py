"""/etc/ocfs2/cluster.conf: stanzas ``cluster:`` and ``node:``, each with indented ``key = value`` lines.

Pure: text in, stanzas out.  Source: ocfs2.cluster.conf(5).
"""


class Stanza:
    """``kind`` "cluster", "node" or "heartbeat"; ``keys`` its settings; ``line`` where it begins."""

    __slots__ = ("keys", "kind", "line")

    def __init__(self, kind: str, line: int) -> None:
        self.kind = kind
        self.line = line
        self.keys: "dict[str, str]" = {}


def parse(text: str) -> "list[Stanza]":
    """All stanzas in order; lines that are neither stanza nor setting are ignored, as the o2cb tool's own words on
    them are better than ours."""
    stanzas: "list[Stanza]" = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if line[0] not in " \t" and stripped.endswith(":"):
            stanzas.append(Stanza(stripped[:-1].strip(), number))
            continue
        key, equals, value = stripped.partition("=")
        if equals and stanzas:
            stanzas[-1].keys[key.strip()] = value.strip()
    return stanzas


def cluster_names(stanzas: "list[Stanza]") -> "list[str]":
    """Names of the clusters that the file describes."""
    return [s.keys.get("name", "") for s in stanzas if s.kind == "cluster"]


def nodes(stanzas: "list[Stanza]", cluster: str) -> "dict[str, dict[str, str]]":
    """Nodes of a cluster by name."""
    return {
        s.keys.get("name", ""): s.keys
        for s in stanzas
        if s.kind == "node" and s.keys.get("cluster", cluster) == cluster
    }
