"""Who goes on when the link is lost: DRBD's fencing, its handlers and quorum, and our ``survivor`` with what it needs.

Nobody is asked over the network here, and no agent or witness is called: ``drbdocfs fence-test`` does that.

Sources: drbd.conf(5) of 8.4 and 9.0; drbd_nl.c (conn_try_outdate_peer), super.c of OCFS2 (__ocfs2_abort); the times
are those of drbdocfs_boot/fencing.py.
"""

from __future__ import annotations

import ipaddress
import math
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from drbdocfs_boot import clusterconf, drbdconf, fenceoptions, fencing
from drbdocfs_boot.checks import cluster, resource
from drbdocfs_boot.checks.configuration import SECOND, key_place
from drbdocfs_boot.checks.drbd import nearly
from drbdocfs_boot.checks.facts import CLUSTER_CONF, Facts
from drbdocfs_boot.checks.lower import NETWORK_TYPES
from drbdocfs_boot.checks.model import ERROR, NOTE, WARNING, Book, Finding, Rule
from drbdocfs_boot.checks.network import own_networks
from drbdocfs_boot.checks.resource import Address, Resource
from drbdocfs_boot.drbdconf import Statement
from drbdocfs_boot.fencing import NONE, POWER, WITNESS, Times
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import run

HANDLER = "/usr/libexec/drbdocfs-boot/fence-peer"
STONITH, ONLY = "resource-and-stonith", "resource-only"
_LINE = f'handlers {{ fence-peer "{HANDLER}"; }}'
_FROZEN = "When the link is lost nobody goes on: both nodes stay frozen until OCFS2 resets them."

BOOK = Book(
    drbd_unfenced=Rule(
        ERROR,
        "nothing is done when the link is lost",
        "OCFS2's heartbeat writes every 2 s on both nodes, so a cable that is out for some seconds is a split brain, "
        "also when nobody works on them: 12 s were enough in a test. Both write on, each on its own copy, and the "
        "changes of one will be lost.",
        "fencing resource-and-stonith with our handler, which freezes writes until it is known who goes on",
    ),
    drbd_fencing_resource_only=Rule(
        ERROR,
        "fencing does not freeze writes",
        "With resource-only the handler is called while both nodes go on writing: it prevents no split brain of two.",
        "fencing resource-and-stonith",
    ),
    drbd_no_fence_peer=Rule(
        WARNING,
        "fencing without a handler",
        "When the link is lost, writes freeze, and nobody decides who may go on: after O2CB's dead time both nodes "
        "reset themselves.",
        f"{_LINE}, and 'survivor' in the stack's section",
    ),
    fence_peer_missing=Rule(
        ERROR,
        "the fence-peer handler cannot be run",
        _FROZEN,
        "install what brings the program, or correct the line in handlers { }",
    ),
    fence_peer_foreign=Rule(
        NOTE,
        "the fence-peer handler is another's",
        "It decides by its own rules who goes on; ours does not act, and 'survivor' and 'link_grace' say nothing.",
        f"leave it where its program decides for this resource; else {_LINE}",
    ),
    drbd_unfence_peer=Rule(
        NOTE,
        "an unfence-peer handler beside ours",
        "Ours needs none. DRBD 8.4 waits for it in its own thread: a slow one blocks all changes of the resource's "
        "state, a lost link among them.",
        "remove unfence-peer from handlers { }",
    ),
    drbd_fencing_not_adjusted=Rule(
        ERROR,
        "the fencing that runs is not the one in the file",
        "The kernel goes by what it was told when the resource came up: a lost link is a split brain as before.",
        "'drbdadm adjust RESOURCE', on both hosts; nothing is interrupted by it",
    ),
    drbd_quorum=Rule(
        WARNING,
        "a quorum that nobody has when the link is lost",
        "Neither of the two has the majority when the link is lost: with suspend-io OCFS2 resets both after O2CB's "
        "dead time, 60 s by default; with io-error sooner. Nothing is lost, but nobody is left.",
        "quorum off; or 'quorum majority' with a third host that has 'disk none'; with both, fencing "
        "resource-and-stonith and our handler",
    ),
    drbd_on_no_quorum=Rule(
        WARNING,
        "without quorum writes fail",
        "With io-error programs get errors, and so does OCFS2's journal; it aborts, which in a cluster is a kernel "
        "panic. With suspend-io writes wait, and go on unharmed when the link is back within O2CB's dead time.",
        "on-no-quorum suspend-io",
    ),
    drbd_quorum_and_fencing=Rule(
        NOTE,
        "the survivor may be the one without quorum",
        "A node goes on only when both let it: with fencing the named host, with quorum one that reaches the third "
        "host. Where the named one alone has lost both, nobody goes on.",
        "survivor = witness, with the witness on the third host: who reaches it has the quorum, and gets the lock",
    ),
    survivor_unheeded=Rule(
        ERROR,
        "survivor has no effect",
        "It is our fence-peer handler that goes by it, and DRBD calls that with fencing resource-and-stonith only.",
        "fencing and the handler in the resource, as said above, or remove the key",
    ),
    survivor_none=Rule(
        NOTE,
        "nobody goes on when the link is lost for good",
        "Consistency before availability: both nodes stay frozen, and O2CB resets them. After the boot each waits for "
        "the other.",
        "survivor = HOST, power or witness, if one of the two shall go on",
    ),
    survivor_unknown=Rule(
        ERROR,
        "survivor is none of the two hosts",
        _FROZEN,
        "what 'uname -n' prints on one of the two hosts; or power, witness or none",
    ),
    survivor_not_lowest=Rule(
        WARNING,
        "survivor has not the lowest number in cluster.conf",
        "Where O2CB's link alone is lost, it resets the node without the lowest number: that is the survivor. And "
        "with both links lost the survivor has less time.",
        "survivor = the node with the lowest number; or change the numbers in cluster.conf, on both hosts, with the "
        "stack stopped on both",
    ),
    survivors_apart=Rule(
        WARNING,
        "the stacks of a cluster may choose different survivors",
        "O2CB resets the whole host when one of its stacks does not go on. Where one stack goes on here and another "
        "one there, both hosts are reset, and nobody is left.",
        "the same survivor for all stacks of the cluster; with power and witness the node with the lowest number then "
        "goes first, for all of them",
    ),
    fence_agent_missing=Rule(
        ERROR,
        "there is no fence agent that could be run",
        "Nobody can be switched off, so nobody goes on: both nodes stay frozen until OCFS2 resets them.",
        "fence_agent = a program of the packages fence-agents, or another with their interface; 'drbdocfs fence-test' "
        "proves it",
    ),
    fence_agent_board=Rule(
        NOTE,
        "the fence agent asks a board inside the server",
        "A management board that has lost its power together with its server answers nobody, so it does not confirm "
        "that the server is off: the other node stays frozen.",
        "a switched power strip, or survivor = witness; or see to it that the board's power is not the server's",
    ),
    fence_delay=Rule(
        WARNING,
        "the fence agent is told to wait",
        "The delay is taken from the time that the plan has for switching off: O2CB may reset this node before the "
        "other is off. Who shoots first is settled by our head start.",
        "remove the option delay",
    ),
    fence_options=Rule(
        ERROR,
        "the fence agent's options cannot be used",
        "Without them the agent does not know whom to switch off, and how: nobody goes on.",
        "lines 'key = value' for all hosts, then '[HOST]' with those that switch off HOST; mode 600",
    ),
    fence_options_open=Rule(
        ERROR,
        "others may read or write the fence agent's options",
        "They hold the password to a power switch; a file that is open to others is refused, so nobody goes on.",
        "'chown root: FILE' and 'chmod 600 FILE', and change the password if others could read it",
    ),
    witness_missing=Rule(
        ERROR,
        "there is no witness that could be asked",
        "Nobody gets the lock, so nobody goes on: both nodes stay frozen until OCFS2 resets them.",
        "witness = USER@HOST of a third host, or a directory of a service that both nodes share; 'drbdocfs fence-test' "
        "proves it",
    ),
    witness_not_apart=Rule(
        ERROR,
        "the witness is no third party",
        "It has to be one and the same for both nodes, and apart from both of them. Where each has its own, both go "
        "on; what is on the stack's mount is frozen with it.",
        "a third host, or a directory of a service on a third host, mounted on both",
    ),
    fencing_unused_key=Rule(
        NOTE,
        "a key that this survivor does not use",
        "Whoever reads it believes that it has an effect.",
        "remove it, or choose the survivor that it belongs to",
    ),
    fencing_late=Rule(
        WARNING,
        "a decision comes too late for O2CB",
        "The node is reset before it can go on, so nobody is left.",
        "a lower ping-int in net { }, which counts twice, or higher limits of O2CB with the stack stopped on both; "
        "the same on both hosts",
    ),
    link_grace_cut=Rule(
        NOTE,
        "link_grace is longer than O2CB allows",
        "The link has less time to come back before it is decided who goes on.",
        "a lower link_grace says what is; more time comes from DRBD's and O2CB's limits",
    ),
)


@dataclass(frozen=True)
class Protection:
    """What a resource says of a lost link.

    ``statement``: its fencing, wherever it stands; ``handler``: the fence-peer line; ``ours``: that is our program;
    ``tiebreaker``: a quorum with a third host without a disk.  A node that had quorum keeps it by that one
    (drbd_state.c, calc_quorum: "Would lose quorum, but using tiebreaker logic to keep"), so both of the two may.
    """

    statement: Statement | None
    policy: str
    handler: Statement | None
    ours: bool
    quorum: str
    tiebreaker: bool


def protection(facts: Facts, found: Resource) -> Protection:
    # 8.4 has it in disk, 9 in net; in the wrong place it is refused (drbd-wrong-driver), and meant all the same.
    sections = {8: ("disk", "net"), 9: ("net", "disk")}.get(facts.driver, ("disk", "net"))
    statement = next((s for section in sections if (s := found.setting(section, "fencing")) is not None), None)
    policy = statement.words[1].lower() if statement is not None and len(statement.words) > 1 else "dont-care"
    handler = found.setting("handlers", "fence-peer")
    quorum = "off" if facts.driver == 8 else found.value("options", "quorum", "off")
    # Each of two that are not connected has a quorum of one.
    quorum = "off" if quorum == "1" else quorum
    extra = sum(host.diskless for host in found.hosts.values())
    # All of these ask for two of the two that have disks: one of them alone has failed by one voice.
    tiebreaker = quorum in ("majority", "all", "2") and extra == 1 and len(found.hosts) == 3
    return Protection(statement, policy, handler, program(handler) == HANDLER, quorum, tiebreaker)


def program(handler: Statement | None) -> str:
    """The program that a handler's line runs, which is a command for the shell; "" where there is none."""
    text = handler.words[1] if handler is not None and len(handler.words) > 1 else ""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    return words[0] if words else ""


def find(facts: Facts) -> Iterator[Finding]:
    decided: dict[str, list[Stack]] = {}
    for stack in facts.reading.stacks:
        found = resource.find(facts.drbd, stack.resource)
        if found is None:
            continue
        said = protection(facts, found)
        yield from _resource(facts, stack, found, said)
        yield from _running(facts, stack, found, said)
        yield from _survivor(facts, stack, found, said)
        if stack.survivor == POWER:
            yield from _agent(facts, stack, found)
        if stack.survivor == WITNESS:
            yield from _witness(facts, stack, found)
        yield from _unused(facts, stack)
        if said.policy == STONITH and said.ours:
            yield from _times(facts, stack, found)
            decided.setdefault(stack.cluster, []).append(stack)
    for stacks in decided.values():
        yield from _together(facts, stacks)


def _together(facts: Facts, stacks: list[Stack]) -> Iterator[Finding]:
    """Whether the stacks of one cluster all choose the same node."""
    first = stacks[0]
    for stack in stacks[1:]:
        if stack.survivor != first.survivor:
            message = f"survivor = {stack.survivor}, and of stack {first.name} {first.survivor}"
            yield BOOK.finding("survivors-apart", key_place(facts, stack, "survivor"), message, stack.name)


# --- what DRBD is told ------------------------------------------------------------------------------------------


def _resource(facts: Facts, stack: Stack, found: Resource, said: Protection) -> Iterator[Finding]:
    if said.quorum != "off":
        lost = found.value("options", "on-no-quorum", "suspend-io")
        if not said.tiebreaker:
            message = f"quorum {said.quorum} of {len(found.hosts)} hosts, on-no-quorum {lost}"
            yield BOOK.finding("drbd-quorum", found.place("options", "quorum"), message, stack.name)
        if lost != "suspend-io":
            where = found.place("options", "on-no-quorum")
            yield BOOK.finding("drbd-on-no-quorum", where, f"on-no-quorum {lost}", stack.name)
        named = stack.survivor not in (NONE, POWER, WITNESS)
        if said.tiebreaker and said.policy == STONITH and said.ours and named:
            message = f"survivor = {stack.survivor}, and quorum {said.quorum}"
            yield BOOK.finding("drbd-quorum-and-fencing", found.place("options", "quorum"), message, stack.name)
    statement = said.statement
    if statement is None or said.policy == "dont-care":
        # Of two without a third both stop: nobody is left (drbd-quorum), but nothing is lost.
        if said.quorum == "off" or said.tiebreaker:
            where = (statement or found.statement).place
            message = f"resource {found.name} has neither fencing nor quorum"
            if said.tiebreaker:
                message = (
                    f"resource {found.name} has quorum {said.quorum}, but no fencing: where only the link between the "
                    "two is cut, both keep the quorum by the third host, and both write on"
                )
            yield BOOK.finding("drbd-unfenced", where, message, stack.name, advice=_cure(facts, found, said))
        return
    if said.policy == ONLY:
        message = "fencing is resource-only" + (", and our handler waits while both write" if said.ours else "")
        yield BOOK.finding("drbd-fencing-resource-only", statement.place, message, stack.name)
    if said.handler is None:
        if said.policy == STONITH:
            message = f"fencing {said.policy}, but there is no handler fence-peer"
            yield BOOK.finding("drbd-no-fence-peer", statement.place, message, stack.name)
        return
    yield from _handler(facts, stack, said.handler)
    unfence = found.setting("handlers", "unfence-peer")
    if said.ours and unfence is not None:
        yield BOOK.finding("drbd-unfence-peer", unfence.place, unfence.shown, stack.name)


def _cure(facts: Facts, found: Resource, said: Protection) -> str:
    """The lines that an administrator adds."""
    line = {8: f"disk {{ fencing {STONITH}; }}", 9: f"net {{ fencing {STONITH}; }}"}.get(
        facts.driver, f"disk {{ fencing {STONITH}; }} (DRBD 8.4) or net {{ fencing {STONITH}; }} (DRBD 9)"
    )
    handler = "" if said.ours else f" {_LINE}"
    text = f"in resource {found.name}, on both hosts: {line}{handler}; then 'drbdadm adjust {found.name}' on both"
    return text + ". 'survivor' in the stack's section says who goes on"


def _handler(facts: Facts, stack: Stack, handler: Statement) -> Iterator[Finding]:
    name = program(handler)
    if name.startswith("/") and _programs_are_here(facts):
        trouble = _cannot_run(facts, name)
        if trouble:
            yield BOOK.finding("fence-peer-missing", handler.place, f"fence-peer {name}: {trouble}", stack.name)
            return
    if name == HANDLER:
        return
    base = name.rpartition("/")[2]
    message, severity = f"fence-peer is {name or 'empty'}", ""
    if base.startswith(("crm-fence-peer", "stonith_admin-fence-peer")):
        message += ", which is Pacemaker's"
        if _programs_are_here(facts) and not _search(facts, "pacemakerd"):
            message += ", and Pacemaker is not installed: it answers nothing that thaws a node"
            severity = WARNING
    yield BOOK.finding("fence-peer-foreign", handler.place, message, stack.name, severity=severity)


def _programs_are_here(facts: Facts) -> bool:
    """Whether programs can be looked for: not in a tree with the configuration only."""
    return facts.live or facts.exists("/usr")


def _cannot_run(facts: Facts, name: str) -> str:
    """Why a program cannot be run; "" when it can."""
    if facts.on_stack(name):
        return "lies on the stack's own mount, which is frozen when it is needed"
    status = facts.stat(name)
    if status is None:
        return "" if facts.hidden(name) else "there is no such file"
    if not stat.S_ISREG(status.st_mode):
        return "is no file"
    return "" if status.st_mode & 0o111 else "is not executable"


def _search(facts: Facts, name: str) -> str:
    """Where a program is that is looked for as units do; "" where it is not."""
    places = (f"{directory}/{name}" for directory in run.PATH.split(":"))
    return next((place for place in places if not _cannot_run(facts, place)), "")


def _running(facts: Facts, stack: Stack, found: Resource, said: Protection) -> Iterator[Finding]:
    """What the kernel was told; nothing is concluded from what it does not show."""
    if said.policy not in (STONITH, ONLY) or said.statement is None:
        return
    shown = facts.tool("drbdsetup", "show", "--show-defaults", found.name)
    if shown is None or shown.code != 0:
        return
    # A host without a disk has nothing to be fenced from.
    apart = [host for host in found.hosts.values() if host.diskless]
    statements = resource.everywhere(drbdconf.parse(shown.out, "")[0], "fencing", apart)
    now = {s.words[1] for s in statements if len(s.words) > 1}
    other = sorted(now - {said.policy})
    if other:
        message = f"fencing {other[0]} runs, {said.policy} is in the file"
        advice = f"'drbdadm adjust {found.name}', on both hosts; nothing is interrupted by it"
        yield BOOK.finding("drbd-fencing-not-adjusted", said.statement.place, message, stack.name, advice=advice)


# --- what we are told -------------------------------------------------------------------------------------------


def _survivor(facts: Facts, stack: Stack, found: Resource, said: Protection) -> Iterator[Finding]:
    where = key_place(facts, stack, "survivor")
    works = said.policy == STONITH and said.ours
    if stack.survivor == NONE:
        if works:
            seconds = times(facts, found).write_limit
            message = f"survivor = none: both nodes stay frozen, and are reset {seconds:g} s after the link was lost"
            yield BOOK.finding("survivor-none", where, message, stack.name)
        return
    if not works:
        if said.policy != STONITH:
            why, severity = f"resource {found.name} has no fencing {STONITH}", ERROR
        elif said.handler is None:
            why, severity = f"resource {found.name} has no handler fence-peer", ERROR
        else:
            why, severity = f"fence-peer of resource {found.name} is {program(said.handler)}", WARNING
        yield BOOK.finding("survivor-unheeded", where, f"{stack.survivor}: {why}", stack.name, severity=severity)
    if stack.survivor in (POWER, WITNESS):
        return
    # The handler compares to the letter: with its own name (uname -n), and with the peer's as the resource has it.
    names = [facts.host, *(host.name for host in facts.peers(found))] if facts.own(found) else list(found.hosts)
    if stack.survivor not in (facts.host, *names):
        hint = nearly(stack.survivor, names)
        message = f"survivor = {stack.survivor}, the hosts are {' and '.join(names)}" + (f": {hint}" if hint else "")
        yield BOOK.finding("survivor-unknown", where, message, stack.name)
        return
    nodes = clusterconf.nodes(facts.cluster_conf or [], stack.cluster)
    if stack.survivor in nodes and not fencing.preferred(nodes, stack.survivor):
        best = next((name for name in nodes if fencing.preferred(nodes, name)), "")
        if best:
            message = (
                f"survivor = {stack.survivor} has the number {nodes[stack.survivor].get('number')}, "
                f"{best} has {nodes[best].get('number')} ({CLUSTER_CONF})"
            )
            yield BOOK.finding("survivor-not-lowest", where, message, stack.name)


def _unused(facts: Facts, stack: Stack) -> Iterator[Finding]:
    for key, survivor in (("fence_agent", POWER), ("fence_options", POWER), ("witness", WITNESS)):
        if getattr(stack, key) and stack.survivor != survivor:
            message = f"{key} is for survivor = {survivor}, which is {stack.survivor}"
            yield BOOK.finding("fencing-unused-key", key_place(facts, stack, key), message, stack.name)


def _agent(facts: Facts, stack: Stack, found: Resource) -> Iterator[Finding]:
    where = key_place(facts, stack, "fence_agent" if stack.fence_agent else "survivor")
    if not stack.fence_agent:
        yield BOOK.finding("fence-agent-missing", where, "survivor = power without fence_agent", stack.name)
    elif _programs_are_here(facts):
        trouble = ""
        if stack.fence_agent.startswith("/"):
            trouble = _cannot_run(facts, stack.fence_agent)
        elif not _search(facts, stack.fence_agent):
            trouble = f"is not in {run.PATH}"
        if trouble:
            message = f"fence_agent {stack.fence_agent}: {trouble}"
            yield BOOK.finding("fence-agent-missing", where, message, stack.name)
    if stack.fence_agent.rpartition("/")[2].startswith(_BOARDS):
        message = f"{stack.fence_agent} asks the management board of the server that it switches off"
        yield BOOK.finding("fence-agent-board", where, message, stack.name)
    yield from _options(facts, stack, found)


# Of the packages fence-agents: those that talk to a board inside the server.
_BOARDS = (
    "fence_amt", "fence_drac", "fence_idrac", "fence_ilo", "fence_imm", "fence_ipmi", "fence_redfish", "fence_rsa",
    "fence_rsb",
)  # fmt: skip


def _options(facts: Facts, stack: Stack, found: Resource) -> Iterator[Finding]:
    file = stack.fence_options or fencing.OPTIONS
    where = key_place(facts, stack, "fence_options")
    if facts.on_stack(file):
        message = f"{file} lies on the stack's own mount, which is frozen when it is needed"
        yield BOOK.finding("fence-options", where, message, stack.name)
        return
    status = facts.stat(file)
    if status is None:
        if not facts.hidden(file):
            yield BOOK.finding("fence-options", where, f"there is no file {file}", stack.name)
        return
    if not stat.S_ISREG(status.st_mode):
        yield BOOK.finding("fence-options", file, "is no file", stack.name)
        return
    trouble = []
    if status.st_mode & 0o077:
        trouble.append(f"has the mode {status.st_mode & 0o7777:04o}")
    # In a tree the owners may be whoever has unpacked it.
    if facts.live and status.st_uid != 0:
        trouble.append(f"belongs to user {status.st_uid}")
    if trouble:
        advice = f"'chown root: {file}' and 'chmod 600 {file}', and change the password if others could read it"
        yield BOOK.finding("fence-options-open", file, " and ".join(trouble), stack.name, advice=advice)
    text = facts.read(file)
    if text is None:
        return
    options = fenceoptions.parse(text)
    for problem in options.problems:
        # Its message shows no value: that may be the password.
        yield BOOK.finding("fence-options", f"{file}:{problem.line}", problem.message, stack.name)
    for number, line in enumerate(text.split("\n"), 1):
        key, _, value = line.partition("=")
        # A value of anything else may be a password that was put on the wrong line.
        if key.strip().lower() == "delay" and value.strip().strip('"') not in ("", "0"):
            seconds = value.strip().strip('"')
            message = f"delay = {seconds}" if seconds.isdigit() else "there is the option delay"
            yield BOOK.finding("fence-delay", f"{file}:{number}", message, stack.name)
    for host in facts.peers(found) if facts.own(found) else ():
        if options.of(host.name) is None:
            names = ", ".join(options.hosts) or "none"
            message = f"there is no section [{host.name}], which says how it is switched off; there are {names}"
            yield BOOK.finding("fence-options", file, message, stack.name)


def _witness(facts: Facts, stack: Stack, found: Resource) -> Iterator[Finding]:
    where = key_place(facts, stack, "witness" if stack.witness else "survivor")
    place = stack.witness
    if not place:
        yield BOOK.finding("witness-missing", where, "survivor = witness without witness", stack.name)
    elif place.startswith("/"):
        yield from _directory(facts, stack, where)
    else:
        if _programs_are_here(facts) and not _search(facts, "ssh"):
            message = f"witness = {place}, but ssh is not installed"
            yield BOOK.finding("witness-missing", where, message, stack.name)
        name = place.rpartition("@")[2]
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        whose = _one_of_the_two(facts, found, name)
        if whose:
            message = f"witness = {place} is {whose}, one of the two nodes"
            yield BOOK.finding("witness-not-apart", where, message, stack.name)


def _one_of_the_two(facts: Facts, found: Resource, name: str) -> str:
    """Which of the two nodes a witness's name or address means, as far as files tell; "" where none."""
    meant = {one for text in (name, *_in_hosts(facts, name)) if (one := _address(text)) is not None}
    loopback = name.lower().partition(".")[0] in ("localhost", "ip6-localhost", "ip6-loopback")
    if loopback or any(one.is_loopback or one.is_unspecified for one in meant):
        return "this host for whoever asks"
    nodes = [host for host in found.hosts.values() if not host.diskless]
    for host in nodes:
        by_name = name.lower() == host.name.lower() or (not meant and _alike(name, host.name))
        if by_name or meant & {e.ip for e in host.endpoints}:
            return host.name
    here = own_networks(facts) or {}
    return facts.host if any(one in here for one in meant) else ""


def _in_hosts(facts: Facts, name: str) -> list[str]:
    """The addresses that /etc/hosts has for a name.  DNS is not asked: it may hang, and say other things tomorrow."""
    lines = (line.partition("#")[0].split() for line in (facts.read("/etc/hosts") or "").split("\n"))
    return [words[0] for words in lines if name.lower() in (word.lower() for word in words[1:])]


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _alike(one: str, other: str) -> bool:
    """Whether two names may be one host's: with and without its domain, in whatever letters."""
    one, other = one.lower().rstrip("."), other.lower().rstrip(".")
    short = "." not in one or "." not in other
    return one == other or (short and one.partition(".")[0] == other.partition(".")[0])


def _directory(facts: Facts, stack: Stack, where: str) -> Iterator[Finding]:
    """A directory that both share.  On a network mount only a tool with a limit looks: a dead server would hold us."""
    place = stack.witness
    top = facts.on_stack(place + "/")
    mount = None
    if not top:
        under = [m for m in facts.mounts if m.target == "/" or f"{place}/".startswith(m.target + "/")]
        mount = max(reversed(under), key=lambda m: len(m.target), default=None)
        if mount is None or not _shared(mount.type):
            real = facts.resolve(place)
            top = facts.on_stack(real + "/")
            under = [m for m in facts.mounts if m.target == "/" or f"{real}/".startswith(m.target + "/")]
            mount = max(reversed(under), key=lambda m: len(m.target), default=None)
    if top:
        message = f"witness = {place} lies on {top}, which is frozen when it is needed"
        yield BOOK.finding("witness-not-apart", where, message, stack.name)
        return
    if mount is not None and _shared(mount.type):
        said = facts.tool("test", "-d", place, limit=5.0)
        missing = said is not None and said.code != 0
    else:
        status = facts.stat(place)
        missing = not facts.hidden(place) and (status is None or not stat.S_ISDIR(status.st_mode))
    if missing:
        yield BOOK.finding("witness-missing", where, f"witness = {place} is no directory", stack.name)
    elif facts.live and mount is not None and not _shared(mount.type):
        message = f"witness = {place} is on {mount.target} ({mount.type}) of this host, which the other does not share"
        yield BOOK.finding("witness-not-apart", where, message, stack.name)


# File systems that are one host's own beyond doubt.
_LOCAL = (
    "bcachefs", "btrfs", "devtmpfs", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "overlay", "ramfs", "reiserfs",
    "rootfs", "squashfs", "tmpfs", "vfat", "xfs", "zfs",
)  # fmt: skip


def _shared(kind: str) -> bool:
    """Whether a file system may be another host's as well."""
    return kind in NETWORK_TYPES or kind not in _LOCAL


# --- times ------------------------------------------------------------------------------------------------------


def times(facts: Facts, found: Resource) -> Times:
    """The limits as both files give them."""
    limits = cluster.timings(cluster.settings(facts)[1])
    return Times(
        threshold=limits["heartbeat/dead_threshold"],
        idle=limits["idle_timeout_ms"] / 1000,
        ping_int=float(found.number("net", "ping-int", 10)),
        ping_timeout=found.number("net", "ping-timeout", 5) / 10,
        timeout=found.number("net", "timeout", 60) / 10,
    )


def _times(facts: Facts, stack: Stack, found: Resource) -> Iterator[Finding]:
    """The plan of each node that may go on: cluster.conf tells which of the two has the lowest number."""
    if stack.survivor == NONE:
        return
    one = times(facts, found)
    grace = stack.link_grace / SECOND
    several = fencing.several(facts.reading.stacks, stack)
    nodes = clusterconf.nodes(facts.cluster_conf or [], stack.cluster)
    names = {fencing.preferred(nodes, name): name for name in nodes}
    asked: tuple[bool, ...] = (True, False)
    if stack.survivor not in (POWER, WITNESS):
        if stack.survivor not in nodes:
            return
        asked = (fencing.preferred(nodes, stack.survivor),)
        names[asked[0]] = stack.survivor
    where = key_place(facts, stack, "link_grace")
    shown: set[str] = set()
    for lowest in asked:
        plan = fencing.plan(stack.survivor, grace, one, lowest, several)
        name = names.get(lowest) or f"the node {'with' if lowest else 'without'} the lowest number"
        strict = stack.survivor == POWER or several or not lowest
        if not plan.fits:
            late = plan.grace + plan.head_start + plan.decide - plan.end
            advice = _more(one, strict, late)
            yield BOOK.finding("fencing-late", where, f"{name}: {plan.sum}", stack.name, advice=advice)
        elif plan.cut and f"{plan.grace:g}" not in shown:
            shown.add(f"{plan.grace:g}")
            message = f"link_grace of {grace:g} s is cut to {plan.grace:g} s on {name}: {plan.sum}"
            advice = _more(one, strict, grace - plan.grace)
            yield BOOK.finding("link-grace-cut", where, message, stack.name, advice=advice)


def _more(one: Times, strict: bool, seconds: float) -> str:
    """Which values to change for so many seconds more; ``strict``: the limits of the node without the lowest number.

    O2CB's dead time has to stay longer than its idle time (o2cb-dead-time).
    """
    wanted = (min(one.write_limit, one.quorum_limit) if strict else one.write_limit) + seconds
    idle = max(one.idle, one.idle + wanted - one.quorum_limit) if strict else one.idle
    changes = []
    if idle > one.idle:
        changes.append(f"O2CB_IDLE_TIMEOUT_MS={math.ceil(idle * 1000)} (now {round(one.idle * 1000)})")
    beats = max(math.ceil(wanted / fencing.BEAT) + 2, math.ceil((idle + 1) / fencing.BEAT) + 1)
    if beats > one.threshold:
        changes.append(f"O2CB_HEARTBEAT_THRESHOLD={beats} (now {one.threshold})")
    # What makes up most of the time in which DRBD notices a loss.
    name, value = ("timeout", f"{one.timeout * 10:g}")
    if 2 * one.ping_int + one.ping_timeout >= one.timeout:
        name, value = ("ping-int", f"{one.ping_int:g}")
        if one.ping_timeout > 2 * one.ping_int:
            name, value = ("ping-timeout", f"{one.ping_timeout * 10:g}")
    # O2CB takes its limits when its cluster comes up, and nodes whose limits differ refuse each other's connection.
    o2cb = f"{' and '.join(changes)}, with the stack stopped on both, or " if changes else ""
    return f"{o2cb}a lower {name} in net {{ }} (now {value}); the same on both hosts"
