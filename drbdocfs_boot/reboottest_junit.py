"""The results of a test of many reboots as JUnit's XML, as Jenkins and GitLab read it.  Pure.

A suite is a run.  A cycle has a test case for each node, one for the cluster and one for the data, always under the
same names, so that a case can be followed from run to run.  Source of the form: Jenkins' junit-10.xsd, GitLab's unit
test reports; both read one failure for each case, so that one has all findings.
"""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from drbdocfs_boot import reboottest
from drbdocfs_boot.reboottest import DATA, Boot, Cycle, Finding, Run
from drbdocfs_boot.reboottest_text import clean, clean_lines, count, missing, nodes_of, outcome

CLUSTER = "cluster"
MESSAGE_MOST = 400  # characters of a failure's message; the text has all


def junit(run: Run) -> str:
    """The whole file."""
    root = ET.Element("testsuites", name="drbdocfs reboot-test")
    suite = ET.SubElement(root, "testsuite")
    _properties(suite, run)
    for cycle in run.cycles:
        _cycle(suite, run, cycle)
    for number in missing(run):
        for place in (*nodes_of(run), CLUSTER, DATA):
            case = _case(suite, run, place, number)
            ET.SubElement(case, "skipped", message=_not_done(run))
    said = [outcome(run)]
    said += [f"passed over, before the first cycle: {line}" for one in run.before for line in _told(one)]
    ET.SubElement(suite, "system-out").text = "\n".join(said)
    counts = {
        "tests": str(len(suite.findall("testcase"))),
        "failures": str(len(suite.findall("testcase/failure"))),
        "errors": "0",
        "skipped": str(len(suite.findall("testcase/skipped"))),
        "time": f"{sum(cycle.seconds for cycle in run.cycles):.3f}",
    }
    root.attrib.update(counts)
    suite.attrib.update(
        {
            "name": clean(f"reboot-test {run.stack}"),
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(run.began)),
            **counts,
        }
    )
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _not_done(run: Run) -> str:
    return {
        reboottest.STOPPED: "not done: the test stopped at the first failure",
        reboottest.INTERRUPTED: "not done: the test was interrupted",
    }.get(run.ended, "not done")


def _properties(suite: ET.Element, run: Run) -> None:
    values = {
        "stack": run.stack,
        "nodes": ", ".join(run.nodes),
        "pattern": run.pattern,
        "planned": str(run.planned),
        "ended": run.ended,
        "drbdocfs-boot": run.product,
    }
    values.update({f"{node}.{what}": known for node, all_ in run.versions.items() for what, known in all_.items()})
    place = ET.SubElement(suite, "properties")
    for name, value in values.items():
        ET.SubElement(place, "property", name=clean(name), value=clean(value))


def _case(suite: ET.Element, run: Run, place: str, number: int) -> ET.Element:
    """`place` is a node, CLUSTER or DATA."""
    digits = len(str(max(run.planned, number)))  # so that they sort by number
    return ET.SubElement(
        suite, "testcase", classname=clean(f"reboot-test.{run.stack}.{place}"), name=f"cycle {number:0{digits}}"
    )


def _cycle(suite: ET.Element, run: Run, cycle: Cycle) -> None:
    boots = {boot.node: boot for boot in cycle.boots}
    nodes = nodes_of(run)
    for node in nodes:
        case = _case(suite, run, node, cycle.number)
        boot = boots.get(node)
        # The time of a boot that never came up is not known; one that stayed up took none.
        if boot is None or boot.up is not None:
            case.set("time", "0" if boot is None or boot.up is None else f"{boot.up:.3f}")
        _failure(case, [one for one in cycle.findings if one.node == node and one.kind != DATA])
        ET.SubElement(case, "system-out").text = _stations(boot)
    case = _case(suite, run, CLUSTER, cycle.number)
    case.set("time", f"{cycle.seconds:.3f}")
    _failure(case, [one for one in cycle.findings if one.node not in nodes and one.kind != DATA])
    case = _case(suite, run, DATA, cycle.number)
    case.set("time", "0")
    _failure(case, [one for one in cycle.findings if one.kind == DATA])
    ET.SubElement(case, "system-out").text = f"{count(cycle.acknowledged, 'acknowledged record')} looked for"


def _stations(boot: Boot | None) -> str:
    if boot is None:
        return "stayed up in this cycle"
    names = (("gone", boot.down), ("answering", boot.answered), ("up", boot.up), ("mounted", boot.mounted))
    words = [f"{name} {'never' if value is None else f'{value:.1f} s'}" for name, value in names]
    return clean(f"{boot.how}: {', '.join(words)}; boot {boot.boot_id or 'unknown'}")


def _told(finding: Finding) -> list[str]:
    return clean_lines(f"{finding.node}: {finding.text}" if finding.node else finding.text) or [clean(finding.kind)]


def _failure(case: ET.Element, findings: Sequence[Finding]) -> None:
    if not findings:
        return
    message = "; ".join(" ".join(_told(finding)) for finding in findings)
    if len(message) > MESSAGE_MOST:
        message = message[: MESSAGE_MOST - 1] + "…"
    failure = ET.SubElement(case, "failure", type=clean(findings[0].kind), message=message)
    lines: list[str] = []
    for finding in findings:
        lines += [f"{clean(finding.kind)}: {line}" for line in _told(finding)]
        lines += clean_lines(finding.journal)
    failure.text = "\n".join(lines)
