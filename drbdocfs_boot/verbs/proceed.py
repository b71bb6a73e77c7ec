"""Tell a stack that waits for its peer to go on alone, now."""

from __future__ import annotations

import argparse
import os
import sys
import time

from drbdocfs_boot import choose, clusterconf, report, systemd, watch
from drbdocfs_boot.events import State
from drbdocfs_boot.exits import EX_DATAERR, EX_NO, EX_NOPERM, EX_UNAVAILABLE, EX_USAGE, refuse
from drbdocfs_boot.helpers import address
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import ask, drbd, o2cb, records, system, wake
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import run as run_tool
from drbdocfs_boot.verdict import (
    ALONE,
    DISK_GONE,
    NOT_UPTODATE,
    READY,
    RESYNCING,
    SPLIT_BRAIN,
    Policy,
    Verdict,
    clock,
    peers_present,
)

LIMIT = 120.0  # seconds that the start is followed; promotion and mount take far less
IN_DANGER = (SPLIT_BRAIN, NOT_UPTODATE, DISK_GONE)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stack", metavar="STACK", help="the stack that is to go on alone")
    parser.add_argument("--yes", action="store_true", help="do not ask (needed where there is no terminal)")


def run(args: argparse.Namespace) -> int:
    """0 up; 1 it does not wait, or did not come up; 2 no such stack, or nobody to ask; 65 split brain, or the local
    disk is not UpToDate; 69 systemd or DRBD cannot be asked; 75 a tool hangs; 77 not root; 78 a mistake in its
    configuration."""
    stack = choose.one(args.stack)
    if isinstance(stack, int):
        return stack
    if os.geteuid() != 0:
        return refuse(EX_NOPERM, "only root may do this", f"sudo drbdocfs proceed {stack.name}")
    try:
        return _proceed(stack, args.yes)
    except systemd.NoSystemd as error:
        return refuse(EX_UNAVAILABLE, error.message, error.advice)
    except Failure as failure:
        return refuse(failure.status, failure.message, failure.advice)
    except OSError as error:
        return refuse(EX_UNAVAILABLE, str(error), "is /run full, or read-only?")


def _proceed(stack: Stack, sure: bool) -> int:
    seen = _look(stack)
    if isinstance(seen, int):
        return seen
    _show(stack, *seen)
    if not sure:
        if not ask.possible():
            return refuse(EX_USAGE, "there is nobody to ask here", f"'drbdocfs proceed {stack.name} --yes'")
        if not ask.yes(f"Let {stack.name} go on without its peer?"):
            return refuse(EX_NO, "nothing was changed")
        # The answer may have taken long: the peer may have come, or somebody may have stopped the stack.
        seen = _look(stack)
        if isinstance(seen, int):
            return seen
    return _go(stack)


def _look(stack: Stack) -> tuple[State, report.WaitingReport] | int:
    """What it waits for; or the exit status, after the reason was said why it may not be told to go on."""
    units = systemd.states([*report.layer_units(stack).values(), watch.target(stack)])
    waiting = report.waiting_report(records.waiting(stack.name), time.monotonic(), time.time())
    if all(unit.active == "active" for unit in units.values()):
        return refuse(EX_NO, f"{stack.name} is up: it does not wait", f"'drbdocfs status {stack.name}'")
    state, verdict = watch.drbd_verdict(stack, Policy(proceed=True))
    if verdict.kind in IN_DANGER:
        return refuse(EX_DATAERR, f"not alone: {verdict.reason}", verdict.advice.replace("STACK", stack.name))
    if waiting is None:
        return _does_not_wait(stack, units)
    if verdict.kind != ALONE:
        return _not_now(stack, state, verdict)
    return state, waiting


def _does_not_wait(stack: Stack, units: dict[str, systemd.UnitState]) -> int:
    busy = next((n for n, unit in units.items() if unit.active in ("activating", "deactivating")), None)
    if busy is not None:
        words = report.WORDS[units[busy].active]
        return refuse(
            EX_NO, f"{stack.name} does not wait for its peer: {busy} is {words}", f"'drbdocfs status {stack.name}'"
        )
    failed = next((n for n, unit in units.items() if unit.active == "failed"), None)
    if failed is not None:
        return refuse(
            EX_NO,
            f"{stack.name} does not wait for its peer: {failed} failed: {units[failed].status or units[failed].result}",
            f"'systemctl status {failed}'; then 'drbdocfs start {stack.name}'",
        )
    return refuse(EX_NO, f"{stack.name} is stopped: it does not wait", f"'drbdocfs start {stack.name}' starts it")


def _not_now(stack: Stack, state: State, verdict: Verdict) -> int:
    """It waits, but not for a peer that is missing."""
    if verdict.kind in (READY, RESYNCING) or peers_present(state):
        return refuse(
            EX_NO,
            f"{stack.name} need not go on alone: its peer is connected ({verdict.reason})",
            f"it comes up by itself; 'drbdocfs status --watch {stack.name}' shows it",
        )
    return refuse(EX_NO, f"not alone: {verdict.reason}", verdict.advice.replace("STACK", stack.name))


def _show(stack: Stack, state: State, waiting: report.WaitingReport) -> None:
    """What is known, and what may go wrong."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(waiting.since))
    connection = "/".join(sorted({c.get("connection", "StandAlone") for c in state.connections.values()}))
    facts = [
        ("local disk", "/".join(d.get("disk", "Unknown") for _, d in sorted(state.devices.items()))),
        ("peer", f"{watch.peer_name(stack.name) or 'the peer'} is not connected ({connection or 'StandAlone'})"),
        ("since", f"{since} ({clock(waiting.seconds)})"),
        ("metadata", drbd.proof(state, stack.device).reason),
    ]
    missing = _missing_address(stack)
    if missing:
        text = (
            f"{missing} is not on this host, and O2CB needs it: the file system is mounted once it is there"
            f" ('ip address add {missing}/PREFIX dev CARD' also without a cable)"
        )
        facts.append(("address", text))
    unresolved = records.split_brain(stack.name)
    if unresolved:
        facts.append(("split brain", f"the one found {unresolved} has not been resolved"))
    risk = (
        "if the peer runs on without this node, or did so after it, both change the data on their own: that is a"
        " split brain, and the changes of one of them will be lost"
    )
    facts.append(("risk", risk))
    print(f"{stack.name} ({stack.resource}) waits for its peer")
    for name, text in facts:
        print(f"  {name:<12} {text}")
    sys.stdout.flush()


def _missing_address(stack: Stack) -> str:
    """This host's address in cluster.conf, where it is not on this host; "" when it is, or cannot be told."""
    nodes = clusterconf.nodes(clusterconf.parse(system.read(o2cb.CLUSTER_CONF) or ""), stack.cluster)
    own = nodes.get(os.uname().nodename, {}).get("ip_address", "")
    return own if own and not address.present(own) else ""


def _go(stack: Stack) -> int:
    records.write(stack.name, "proceed", TIME=str(int(time.time())), WHO=os.environ.get("SUDO_USER") or "root")
    woken = [wake.send(wake.of_wait(stack.name)), wake.send(wake.FOLLOW)]
    if not any(woken):
        # Nobody follows the records: neither the wait of a boot nor the follow service runs.  A wait that is started
        # decides by itself; where only the promotion had failed none is, and this is what that goes by.
        records.write(stack.name, "alone", WHY="told to go on without the peer", TIME=str(int(time.time())))
        result = run_tool(["systemctl", "start", "--no-block", watch.target(stack)])
        if result.code != 0:
            for kind in ("proceed", "alone"):
                records.remove(stack.name, kind)
            return refuse(
                EX_NO, f"'systemctl start {watch.target(stack)}' failed: {result.said}", "see 'systemctl --failed'"
            )
    try:
        reason = watch.until_up(stack, LIMIT, lambda line: print(line, flush=True))
    finally:
        if records.read(stack.name, "attach") is None:
            # Stopped meanwhile: the order was for that wait, and the next start may not find it.
            for kind in ("proceed", "alone"):
                records.remove(stack.name, kind)
    if reason:
        return refuse(EX_NO, f"{stack.name} is not up: {reason}", f"'drbdocfs status {stack.name}'")
    return 0
