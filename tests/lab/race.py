"""Both handlers ask the witness for the same generation at the same instant, again and again.

The handlers, ssh and the witness are real; that the link is gone is what stand-ins for DRBD's tools say, so a round
costs seconds and no boot. The witness host lets both calls go on together, milliseconds apart.
"""

from __future__ import annotations

from . import witnesshost
from .fencing import HANDLER
from .lab import Lab
from .node import Node

PLACE = "/var/lib/lab-race"  # from /run nothing is executed
_STATE = (
    "exists resource name:r0 role:Primary suspended:fencing\n"
    "exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting role:Unknown\n"
    "exists device name:r0 volume:0 minor:0 disk:UpToDate\n"
    "exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown\n"
    "exists -\n"
)
_DRBDSETUP = f"""#!/bin/sh
case $1 in
    get-gi) cat {PLACE}/gi ;;
    events2) cat {PLACE}/state; case "$*" in *--now*) ;; *) exec sleep 60 ;; esac ;;
esac
"""
_STACK = f"""[web]
resource = r0
device = /dev/drbd0
cluster = web
mountpoint = /mnt/storage
survivor = witness
witness = root@{witnesshost.ADDRESS}
link_grace = 0
"""


def _prepare(node: Node, peer: Node) -> None:
    files = {
        "bin/drbdsetup": _DRBDSETUP,
        "bin/drbdadm": "#!/bin/sh\n",
        "state": _STATE,
        "etc/drbdocfs/drbdocfs.conf": _STACK,
        "sys/module/drbd/version": "8.4.11\n",
        "run/drbdocfs/web.attach": f"RESOURCE=r0\nDEVICE=/dev/drbd0\nADDRESS={node.address}\nPEER={peer.name}\n",
    }
    for name, text in files.items():
        node.put_text(f"{PLACE}/{name}", text, 0o755 if name.startswith("bin/") else 0o644)
    node.run(f"mkdir -p {PLACE}/etc/ocfs2; cp /etc/ocfs2/cluster.conf {PLACE}/etc/ocfs2/")


def _call(node: Node, peer: Node, number: int) -> int:
    """One call of the handler; its exit status."""
    generations = ":".join(f"{value:016X}" for value in ((number + 0x1000) * 16 + 1, 0, 0, 0))
    command = (
        f"rm -f {PLACE}/run/drbdocfs/web.survivor; echo {generations}:1:1:1:0:0:0:0 > {PLACE}/gi;"
        f" env DRBDOCFS_ROOT={PLACE} PATH={PLACE}/bin:$PATH HOME=/ DRBD_RESOURCE=r0 DRBD_PEER={peer.name}"
        f" DRBD_MINOR=0 {HANDLER}"
    )
    return node.execute(command, 120).status


def race(lab: Lab, rounds: int) -> tuple[str, list[str]]:
    """What was seen, and what of it was wrong: in each round one goes on (exit 4), the other stays frozen (1)."""
    first, second = lab.nodes
    _prepare(first, second)
    _prepare(second, first)
    lab.witness.modes.update({node.name: witnesshost.RACE for node in lab.nodes})
    lab.witness.next_race()
    wins = {node.name: 0 for node in lab.nodes}
    together, wrong = 0, []
    for number in range(rounds):
        statuses = lab.both(lambda node: _call(node, second if node is first else first, number))  # noqa: B023
        together += lab.witness.next_race() >= 2
        if sorted(statuses) != [1, 4]:
            wrong.append(f"round {number}: {first.name} ended with {statuses[0]}, {second.name} with {statuses[1]}")
        for node, status in zip(lab.nodes, statuses):
            wins[node.name] += status == 4
    held = [line for line in lab.witness.held() if line.split()[0] >= f"{0x1000:015X}0"]
    if together < rounds * 0.9:
        wrong.append(f"only {together} of {rounds} came together")
    seen = ", ".join(f"{name} won {count}" for name, count in wins.items())
    return f"{rounds} rounds, {together} at the same instant: {seen}; {len(held)} locks", wrong
