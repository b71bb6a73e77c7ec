"""`drbdocfs check` on two real machines: the guide's set-up, the other host, no rights, faults that show live only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import situations, snapshot
from .image import Image
from .lab import Lab
from .node import Node
from .provision import provisioned

pytestmark = pytest.mark.lab
CLUSTER = "/etc/ocfs2/cluster.conf"
UNFENCED = "drbd-unfenced"  # the guide has no fencing, and check calls that an error


@pytest.fixture(scope="class")
def pair(image: Image, deb: Path) -> Iterator[Lab]:
    """Both nodes with the guide's set-up and the package, nothing started."""
    with Lab(image, provisioned(image)) as lab:
        snapshot.resume(lab)
        lab.both(lambda node: node.install(deb))
        situations.know_each_other(lab)
        yield lab


def check(node: Node, *words: str, user: str = "root") -> tuple[int, list[dict[str, Any]]]:
    """Exit status and findings."""
    done = node.execute(f"runuser -u {user} -- drbdocfs check --json {' '.join(words)}")
    assert done.out.startswith("{"), done.out
    return done.status, json.loads(done.out)["findings"]


def codes(findings: list[dict[str, Any]], severity: str = "") -> set[str]:
    return {one["code"] for one in findings if severity in ("", one["severity"])}


def planted(node: Node, code: str, *words: str) -> dict[str, Any]:
    """The one finding of this code; it is an error beside the one that the guide's set-up has."""
    status, findings = check(node, *words)
    found = [one for one in findings if one["code"] == code]
    assert status == 1, findings
    assert len(found) == 1, findings
    assert codes(findings, "error") == {code, UNFENCED}, findings
    return found[0]


@pytest.mark.long
class TestCheck:
    def test_the_guide_s_set_up_has_no_error_but_that_nobody_fences(self, pair: Lab) -> None:
        for node in pair.nodes:
            status, findings = check(node)
            assert status == 1, findings
            assert codes(findings, "error") == {UNFENCED}, findings
            (found,) = [one for one in findings if one["code"] == UNFENCED]
            assert "disk { fencing resource-and-stonith; }" in found["advice"]
            assert "drbd-after-sb-1pri" in codes(findings, "warning")
            done = node.execute("drbdocfs check web")
            assert done.status == 1, done.out
            assert done.out.splitlines()[-1].startswith(f"{node.name}: 1 error, "), done.out

    def test_both_sides_agree(self, pair: Lab) -> None:
        for node in pair.nodes:
            _, findings = check(node, "--peer")
            assert codes(findings, "error") == {UNFENCED}, findings
            assert not [one for one in findings if one["code"].startswith("peer-")], findings

    def test_without_rights(self, pair: Lab) -> None:
        """The resource may hold a secret: closed to others, it is not taken for missing."""
        node = pair.nodes[0]
        node.run(f"chmod 600 {situations.RESOURCE_FILE}")
        status, findings = check(node, user="nobody")
        assert status == 77, findings
        (note,) = [one for one in findings if one["code"] == "not-permitted"]
        assert situations.RESOURCE_FILE in note["message"]
        assert codes(findings, "error") == set()

    def test_an_address_that_is_not_here(self, pair: Lab) -> None:
        node = pair.nodes[0]
        node.run(f"cp -a {situations.RESOURCE_FILE} /root/kept; sed -i 's/76.10:/76.20:/' {situations.RESOURCE_FILE}")
        found = planted(node, "drbd-address-not-here")
        assert found["where"] == f"{situations.RESOURCE_FILE}:15"
        node.run(f"cp -a /root/kept {situations.RESOURCE_FILE}")

    def test_a_port_that_is_taken(self, pair: Lab) -> None:
        node = pair.nodes[1]
        listen = "import socket, time; s = socket.create_server(('', 7789)); time.sleep(600)"
        node.run(f'systemd-run --unit=thief /usr/bin/python3 -c "{listen}"')
        node.wait_until("grep -q ':1E6D ' /proc/net/tcp")
        assert "python3" in planted(node, "drbd-port-taken")["message"]
        node.run("systemctl stop thief")

    def test_what_drbdadm_refuses(self, pair: Lab) -> None:
        node = pair.nodes[0]
        node.run(f"sed -i 's/allow-two-primaries;/& nonsense 5;/' {situations.RESOURCE_FILE}")
        found = planted(node, "drbd-refused")
        assert found["where"] == f"{situations.RESOURCE_FILE}:8"
        assert "nonsense" in found["message"]
        node.run(f"cp -a /root/kept {situations.RESOURCE_FILE}")

    def test_a_cluster_that_differs_over_there(self, pair: Lab) -> None:
        node, other = pair.nodes
        other.run(f"sed -i 's/number = 1/number = 7/' {CLUSTER}")
        assert planted(node, "peer-cluster-conf", "--peer")["where"] == f"{CLUSTER}:8"
        other.run(f"sed -i 's/number = 7/number = 1/' {CLUSTER}")

    def test_while_it_runs_nothing_else_is_found(self, pair: Lab) -> None:
        """DRBD's and O2CB's own ports and clusters are no strangers."""
        before = [check(node)[1] for node in pair.nodes]
        pair.both(lambda node: node.run("systemctl start drbdocfs.target", timeout=300))
        for node, known in zip(pair.nodes, before):
            _, findings = check(node)
            assert codes(findings) <= codes(known), findings

    def test_fencing_that_is_written_and_not_told_to_the_kernel(self, pair: Lab) -> None:
        """The file is right and the kernel goes by what it was told before, until it is adjusted."""
        for node in pair.nodes:
            node.run(
                f"sed -i 's|^resource r0 {{|& disk {{ fencing resource-and-stonith; }}"
                f' handlers {{ fence-peer "/usr/libexec/drbdocfs-boot/fence-peer"; }}|\' {situations.RESOURCE_FILE}'
            )
        node = pair.nodes[0]
        _, findings = check(node)
        assert codes(findings, "error") == {"drbd-fencing-not-adjusted"}, findings
        pair.both(lambda one: one.run("drbdadm adjust r0"))
        status, findings = check(node, "--peer")
        assert status == 0, findings
        assert "survivor-none" in codes(findings, "note"), findings
