"""The metrics' text, read by the rules of both formats that it has to obey."""

from __future__ import annotations

import re

import pytest

from drbdocfs_boot import metrics
from drbdocfs_boot.verdict import STATUS

LABEL = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*"'
SAMPLE = re.compile(rf"([a-zA-Z_]\w*)\{{({LABEL}(?:,{LABEL})*)\}} (-?\d+(?:\.\d+)?)")


def parse(text: str) -> dict[str, float]:
    """Strict reader of what the Prometheus text format 0.0.4 and OpenMetrics 1.0 have in common."""
    assert text.endswith("\n# EOF\n")
    found: dict[str, float] = {}
    family, seen = "", set()
    for line in text.split("\n")[:-2]:
        assert line
        if line.startswith("# TYPE "):
            family, kind = line[7:].split(" ")
            assert kind == "gauge"
            assert family not in seen, "the lines of a family stand together"
            seen.add(family)
        elif line.startswith("# HELP "):
            assert line.startswith(f"# HELP {family} ")
            assert '"' not in line
            assert "\\" not in line
        elif line.startswith("# UNIT "):
            name, unit = line[7:].split(" ")
            assert (name, name.rpartition("_")[2]) == (family, unit)
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == family
            assert match[1] + match[2] not in found
            found[match[1] + "{" + match[2] + "}"] = float(match[3])
    return found


def sample(name: str = "web", kind: str = "ready") -> metrics.Sample:
    one = metrics.Sample(name, "r0", kind)
    one.role, one.peer_role = ["Primary"], ["Secondary"]
    one.disk, one.peer_disk = ["UpToDate"], ["Inconsistent", "UpToDate"]
    one.connection, one.replication = ["Connected"], ["SyncSource"]
    one.out_of_sync, one.percent, one.unready = 4096, 37.25, 12.5
    one.layers = {"mount": 8.4, "loop": 0.25}
    return one


def test_values() -> None:
    found = parse(metrics.render([sample(), sample("data", "split-brain")]))
    own = 'stack="web",resource="r0"'
    assert found[f'drbdocfs_role{{{own},role="Primary"}}'] == 1
    assert found[f'drbdocfs_peer_disk_state{{{own},state="Inconsistent"}}'] == 1
    assert found[f"drbdocfs_out_of_sync_bytes{{{own}}}"] == 4096
    assert found[f"drbdocfs_resync_done_percent{{{own}}}"] == 37.25
    assert found[f"drbdocfs_not_uptodate_seconds{{{own}}}"] == 12.5
    assert found[f'drbdocfs_layer_start_seconds{{{own},layer="loop"}}'] == 0.25
    assert found[f"drbdocfs_io_suspended{{{own}}}"] == 0
    states = {key: value for key, value in found.items() if key.startswith('drbdocfs_stack_state{stack="data"')}
    assert len(states) == len(STATUS)
    assert [key for key, value in states.items() if value] == [
        'drbdocfs_stack_state{stack="data",resource="r0",state="split-brain"}'
    ]


def test_what_is_not_known_is_not_there() -> None:
    text = metrics.render([metrics.Sample("web", "r0", "starting")])
    found = parse(text)
    assert not [
        key
        for key in found
        if key.startswith(("drbdocfs_out", "drbdocfs_resync_done", "drbdocfs_not", "drbdocfs_layer"))
    ]
    assert parse(metrics.render([])) == {}


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "a}b", "ä,=", "\udcff"])
def test_labels_cannot_break_out(name: str) -> None:
    text = metrics.render([sample(name)])
    assert len(parse(text)) == len(parse(metrics.render([sample()])))
    text.encode("utf-8")


def test_layers_of_systemd() -> None:
    shown = (
        "Id=drbdocfs-wait@web.service\nRequires=\nInactiveExitTimestampMonotonic=1000000\n"
        "ActiveEnterTimestampMonotonic=3500000\n\n"
        "Id=mnt-storage.mount\nRequires=drbdocfs-o2cb@web.service -.mount\nInactiveExitTimestampMonotonic=9000000\n"
        "ActiveEnterTimestampMonotonic=4000000\n\n"
        "Id=drbdocfs-loop@web.service\nInactiveExitTimestampMonotonic=0\nActiveEnterTimestampMonotonic=0\n"
    )
    units = metrics.units(shown)
    assert units["mnt-storage.mount"]["Requires"].split() == ["drbdocfs-o2cb@web.service", "-.mount"]
    assert metrics.start_seconds(units["drbdocfs-wait@web.service"]) == 2.5
    assert metrics.start_seconds(units["mnt-storage.mount"]) is None  # being started just now
    assert metrics.start_seconds(units["drbdocfs-loop@web.service"]) is None
    assert metrics.start_seconds({}) is None
