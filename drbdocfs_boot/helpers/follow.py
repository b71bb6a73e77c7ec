"""The follow service: one process for all stacks, after boot and outside its transaction.

It follows ``drbdsetup events2`` for all resources and

* puts what happens into the journal (observe.py, messages.py),
* starts a stack that was not ready in its boot_timeout as soon as it may come up (verdict.py),
* starts one again whose promotion DRBD has refused although both nodes are ready, after a pause,
* connects a resource again that is StandAlone because its address was not on this host, once it is back,
* starts a stack again whose O2CB has given its own address up, once it is there,
* remembers a split brain until both nodes are in step again,
* writes metrics for node_exporter (metrics.py).

It reads no configuration: the records in /run/drbdocfs say which stacks there are and what their policy is, so one
that was killed goes on where it was.  It never starts a stack without the record that its wait has left, so what the
administrator stopped stays stopped.  While nothing happens nothing wakes it.
"""

import _signal  # type: ignore[import-not-found]
import os
import select
import sys
import time

from drbdocfs_boot import kernellog, metrics, mistake, observe
from drbdocfs_boot.escape import Unwritable, mount_unit
from drbdocfs_boot.events import State, parse
from drbdocfs_boot.exits import EX_SOFTWARE
from drbdocfs_boot.helpers import address
from drbdocfs_boot.messages import Message
from drbdocfs_boot.metadata import Proof
from drbdocfs_boot.tools import drbd, journal, kmsg, netlink, records, system, wake
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.notify import notify
from drbdocfs_boot.tools.run import Process, run
from drbdocfs_boot.verdict import (
    ALONE,
    ALONE_REFUSED,
    NO_ADDRESS,
    READY,
    RESYNCING,
    SPLIT_BRAIN,
    STAND_ALONE,
    STARTING,
    Policy,
    Verdict,
    judge,
    no_module,
    peers_present,
)

GONE = -1
RUN = "/run/drbdocfs-follow"
METRICS = "drbdocfs.prom"
# Where node_exporter's packages look, Debian's first.
TEXTFILES = "/var/lib/prometheus/node-exporter:/var/lib/node_exporter/textfile_collector"

DUMP_LIMIT = 20.0  # seconds for the first dump of events2, which can hang in the kernel
PAUSE_FIRST, PAUSE_LAST = 0.5, 10.0  # seconds before a new events2, growing while it keeps ending
LASTED = 30.0  # seconds after which an events2 that ends is no sign of one that keeps ending
RESYNC_EVERY = 10.0  # seconds between looks at a running resync
METRICS_LEAST = 2.0  # seconds between two writes, whatever happens
METRICS_EVERY = 60.0  # seconds between metrics that nothing but time has changed; only where somebody reads them
LAYERS_AFTER = 10.0  # seconds from the last change of a record to the question how long the layers took
START_EVERY = 10.0  # at most one start per stack in so many seconds
START_AGAIN = 30.0  # seconds after which a start is tried again without any news
UNDER_WAY = 120.0  # seconds in which a start that was ordered may still change the records
CONNECT_AGAIN, CONNECT_LAST = 5.0, 80.0  # seconds between two 'drbdadm adjust' of a stack, growing
RELEASE_EVERY = 60.0  # seconds until it is tried again to give a lock at the witness back
HANDLER = "/usr/libexec/drbdocfs-boot/fence-peer"
OCFS2_LIMIT = 90.0  # seconds that OCFS2 may take to find its peer once DRBD is connected again: 60 s and a little


class Ended(BaseException):
    """SIGTERM: the service is to end."""


class Stack:
    """One stack: what the records say, and what was done about it."""

    __slots__ = (
        "adjusted",
        "apart_due",
        "attach",
        "began",
        "booting",
        "changed",
        "device",
        "hung_up_since",
        "lacks",
        "layers",
        "name",
        "news",
        "observer",
        "peer",
        "proof",
        "refused",
        "release_due",
        "remembered",
        "resource",
        "since",
        "started",
        "started_news",
        "tries",
        "verdict",
        "waiter",
        "waiting",
        "why",
        "why_news",
    )  # fmt: skip

    def __init__(self, name: str, resource: str, peer: str) -> None:
        self.name = name
        self.resource = resource
        self.peer = peer
        self.device = ""
        self.attach: "dict[str, str]" = {}
        self.waiting: "dict[str, str] | None" = None  # the record, while the waiting is ours
        self.lacks = ""  # the address that O2CB has waited for in vain
        self.observer = observe.Observer(name, resource, peer)
        self.verdict = Verdict("", "")
        self.since = time.time()  # wall clock, since when the verdict is of this kind
        self.news = 0  # counts what may change a verdict, so that what was asked is not asked again
        self.why = ""
        self.why_news = -1
        self.proof: "Proof | None" = None
        self.began: "float | None" = None  # since when the peer is missing
        self.started: "float | None" = None
        self.started_news = -1
        self.refused = ""
        self.adjusted: "float | None" = None  # when it was told to connect again, and how often without success
        self.tries = 0
        self.hung_up_since: "float | None" = None
        self.booting = False  # a wait is there, which connects again by itself
        self.waiter = ""  # its process
        self.apart_due: "float | None" = None
        self.release_due: "float | None" = 0.0  # when to look for a lock at the witness; None: once in step again
        self.remembered: "bool | None" = None  # the mark of a split brain, None: not looked yet
        self.layers: "dict[str, float]" = {}
        self.changed = True


class Follow:
    """The loop and what it holds."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.stacks: "dict[str, Stack]" = {}
        self.states: "dict[str, State]" = {}
        self.coming: "dict[str, State] | None" = None  # states of a dump that is not complete yet
        self.dumped = False  # a dump was complete: what it did not name is not configured
        self.process: "Process | None" = None
        self.opened = 0.0
        self.rest = b""
        self.errors = b""
        self.retry: "float | None" = 0.0  # when events2 may be begun; None: at the next wake-up
        self.pause = PAUSE_FIRST
        self.addresses: "netlink.Addresses | None" = None
        self.shown = ""
        self.shape: object = None
        self.written: "float | None" = None
        self.copies: "list[str]" = []
        self.layers_due: "float | None" = None
        self.known: object = None
        self.children: "list[int]" = []
        self.socket = wake.listen(wake.FOLLOW)

    def run(self) -> None:
        """Until SIGTERM."""
        notify("READY=1")
        while True:
            now = time.monotonic()
            self._records(now)
            self._tool(now)
            for stack in list(self.stacks.values()):
                self._judge(stack, now)
                self._act(stack, now)
            self._show(now)
            self._metrics(now)
            self.children = [child for child in self.children if not os.waitpid(child, os.WNOHANG)[0]]
            self._sleep()

    def close(self) -> None:
        """Leave nothing behind that would be read as the present."""
        _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)
        if self.process is not None:
            self.process.end()
        for name in self.copies:
            try:
                os.unlink(name)
            except OSError:
                pass
        self.socket.close()

    # --- what is there ---

    def _records(self, now: float) -> None:
        """Read the records: a wake-up may have been missed, and they are few and small."""
        known = []
        for name in sorted({*records.instances("attach"), *records.instances("waiting")}):
            attach = records.read(name, "attach") or {}
            waiting = records.waiting(name)
            resource = attach.get("RESOURCE") or (waiting or {}).get("RESOURCE", "")
            if not resource:
                continue
            stack = self.stacks.get(name)
            if stack is None or stack.resource != resource or stack.peer != attach.get("PEER", stack.peer):
                stack = self.stacks[name] = Stack(name, resource, attach.get("PEER", ""))
            if attach != stack.attach:
                stack.attach = attach
                stack.news += 1
            stack.device = attach.get("DEVICE") or (waiting or {}).get("DEVICE", "")
            late = waiting if waiting is not None and _is_late(waiting) else None
            if late is not None and late != stack.waiting:
                late = self._abandoned(name, late)
            if late != stack.waiting:
                stack.waiting = late
                stack.began = None if late is None else records.number(late.get("BEGAN", ""), now)
                stack.news += 1
            lacks = (records.read(name, records.CLUSTER_ADDRESS) or {}).get("ADDRESS", "")
            if lacks != stack.lacks:
                stack.lacks, stack.started = lacks, None
            stack.booting = waiting is not None and late is None
            stack.waiter = waiting.get("PID", "") if waiting is not None and late is None else ""
            known.append((name, attach, waiting, records.read(name, "promote")))
        for name in set(self.stacks) - {one[0] for one in known}:
            del self.stacks[name]
        if known != self.known:
            self.known = known
            self.layers_due = now + LAYERS_AFTER

    def _abandoned(self, name: str, late: "dict[str, str]") -> "dict[str, str]":
        """The record of a wait that was killed, and could not write that it is late: written now, for another process
        may get its number and would be taken for it."""
        stored = records.read(name, "waiting")
        if stored is None or _is_late(stored) or stored.get("PID") != late.get("PID"):
            return late  # it said so itself, or another one has begun
        late = {**late, "PID": "0"}
        try:
            records.write(name, "waiting", **late)
        except OSError as error:
            _say(f"<4>{name}: {error}")
        return late

    def _tool(self, now: float) -> None:
        """events2 runs while there is a stack and a module; without either it would only load the module."""
        wanted = bool(self.stacks) and drbd.loaded()
        if self.process is not None and (not wanted or self._hangs(now)):
            self._end_tool(now)
        if not wanted:
            self.states, self.dumped = {}, False
        if not wanted or self.process is not None or self.retry is None or now < self.retry:
            return
        try:
            self.process = drbd.events_process()
        except Failure as failure:  # there is no drbdsetup
            _say(f"<3>{failure}")
            self.retry = None
            return
        except OSError as error:  # no process or descriptor to be had just now
            _say(f"<3>{error}")
            self._later(now)
            return
        self.opened = now
        self.rest = self.errors = b""
        self.coming = {}

    def _hangs(self, now: float) -> bool:
        return self.coming is not None and now - self.opened >= DUMP_LIMIT

    def _end_tool(self, now: float) -> None:
        assert self.process is not None
        code = self.process.wait(1.0) if not self.process.fds else None
        self.process.end()
        self.process = None
        if code == drbd.NO_MODULE and not drbd.loaded():  # drbdsetup says so of whatever the kernel refuses as well
            self.retry = None
            return
        said = self.errors.decode("utf-8", "replace").strip()
        if said and self.coming is not None:
            _say(f"<4>drbdsetup events2 ended with {code}: {' '.join(said.split())}")
        if now - self.opened >= LASTED:
            self.pause = PAUSE_FIRST
        self._later(now)
        self.coming = None

    def _later(self, now: float) -> None:
        self.retry = now + self.pause
        self.pause = min(PAUSE_LAST, self.pause * 2)

    def state(self, resource: str) -> State:
        """The state of a resource; one that DRBD did not name is not configured, once a dump was complete."""
        found = self.states.get(resource)
        if found is None:
            found = State()
            if self.dumped:
                found.feed("exists -")
        return found

    def _line(self, line: str, now: float) -> None:
        event = parse(line)
        if event is None:
            return
        states = self.states if self.coming is None else self.coming
        if event.object == "-":
            for state in states.values():
                state.feed(line)
            if "skipped" in event.keys:
                self._end_tool(now)
            elif self.coming is not None:
                self.states, self.coming, self.dumped = self.coming, None, True
                for stack in self.stacks.values():
                    stack.news += 1
                    self._tell(stack.observer.see(self.state(stack.resource), now))
            return
        name = event.keys.get("name", "")
        if name not in states:
            states[name] = State()
            if self.coming is None:
                states[name].feed("exists -")
        states[name].feed(line)
        if self.coming is not None:
            return
        for stack in self.stacks.values():
            if stack.resource == name:
                # Statistics come by themselves; only these can change why a connection is down, and what is proved.
                if event.object in ("connection", "peer-device", "helper", "resource"):
                    stack.news += 1
                    stack.proof = None
                stack.changed = True
                self._tell(stack.observer.see(states[name], now))

    # --- judgement ---

    def _judge(self, stack: Stack, now: float) -> None:
        state = self.state(stack.resource)
        policy = None
        if stack.waiting is not None:
            if peers_present(state):
                if stack.began is not None:
                    # Not only for us: a wait that is started now has to begin anew when the peer goes before its look.
                    self._began(stack, None)
                stack.proof = None
                records.remove(stack.name, "proceed")  # told to go on without a peer that was not there
            elif stack.began is None:
                self._began(stack, now)  # it was here and has gone again: the clock begins anew
            policy = Policy(
                stack.waiting.get("WHEN_ALONE", "wait"),
                records.number(stack.waiting.get("PEER_TIMEOUT", ""), 0.0) / 1_000_000,
                records.read(stack.name, "proceed") is not None,
                records.split_brain(stack.name),
            )
        why = self._why(stack, state, now)
        peer = stack.peer
        if peer and stack.attach.get("PEER_ADDRESS"):
            peer += " at " + stack.attach["PEER_ADDRESS"]
        progress = drbd.progress(state) if stack.observer.resyncing else {}

        def ask() -> Verdict:
            return judge(
                state, stack.resource, why, policy=policy, metadata=stack.proof, peer=peer, progress=progress,
                elapsed=0.0 if stack.began is None else now - stack.began, own=stack.attach.get("ADDRESS", ""),
            )  # fmt: skip

        if not drbd.loaded():
            verdict = no_module()
        else:
            verdict = ask()
            if verdict.kind == ALONE_REFUSED and policy is not None and policy.when_alone == "newest":
                # Nobody writes to a Secondary: what was read once stays right until the peer comes.
                if stack.proof is None and not policy.unresolved:
                    stack.proof = drbd.proof(state, stack.device)
                verdict = ask()
        if verdict.kind != stack.verdict.kind:
            stack.since = time.time()
            stack.changed = True
            # Both still Primary after a link that was gone: nobody has rebooted, so OCFS2 has to connect again.
            again = verdict.kind == READY and stack.verdict.kind not in ("", STARTING) and _both_primary(state)
            stack.apart_due = now + OCFS2_LIMIT if again else None
        stack.verdict = verdict
        if verdict.kind == READY:
            stack.adjusted, stack.tries = None, 0
        self._tell(stack.observer.settle(state, verdict, why, now))
        self._remember(stack)
        if stack.observer.resyncing:
            self._progress(stack, state, now)

    def _remember(self, stack: Stack) -> None:
        """A split brain is remembered over reboots, until both nodes are in step again."""
        try:
            if stack.verdict.kind == SPLIT_BRAIN and stack.remembered is not True:
                stack.remembered = True
                records.mark_split_brain(stack.name)
            elif stack.verdict.kind == READY and stack.remembered is not False:
                stack.remembered = False
                records.clear_split_brain(stack.name)
            why = _peer_behind(self.state(stack.resource))
            if why and records.read(stack.name, "survivor") is None:
                # Should the link go now, or in the middle of its resync, this node is the one with the data.
                records.write(stack.name, "survivor", TIME=str(int(time.time())), WHY=why)
            if stack.verdict.kind == READY:
                for kind in ("alone", "survivor", "fencing", records.UNCONNECTED):
                    records.remove(stack.name, kind)
        except OSError as error:
            _say(f"<3>{stack.name}: {error}")

    def _why(self, stack: Stack, state: State, now: float) -> str:
        """Why the connection is StandAlone; the kernel log is read once for each change."""
        if not state.complete or not state.configured or not (state.stand_alone or not state.connections):
            stack.why = ""
        elif stack.why_news != stack.news:
            stack.why_news = stack.news
            stack.why = address.why_stand_alone(
                state, stack.resource, stack.attach.get("ADDRESS", ""), stack.name
            )
        return stack.why

    def _began(self, stack: Stack, began: "float | None") -> None:
        """Since when the peer is missing, None: it is here; recorded for who comes after us."""
        stack.began = began
        if stack.started is not None and time.monotonic() - stack.started < UNDER_WAY:
            return  # the wait or the promotion may be about to remove the record, and nobody would remove it again
        found = records.waiting(stack.name)
        if found is None or not _is_late(found):
            return
        found["BEGAN"] = "" if began is None else f"{began:.3f}"
        try:
            records.write(stack.name, "waiting", **found)
        except OSError as error:
            _say(f"<4>{stack.name}: {error}")
        else:
            stack.waiting = found

    def _progress(self, stack: Stack, state: State, now: float) -> None:
        """Notice a resync that stalls, by what is out of sync: a percent may stand still for minutes on a big disk."""
        if stack.observer.still(now) >= observe.STALL / 2:
            self._refresh(stack)  # before it is said of a resync, it has to be true
        oos = self._out_of_sync(state)
        paused = any(d.get("replication", "").startswith("PausedSync") for d in state.peer_devices.values())
        self._tell(stack.observer.progress(now, oos, stack.verdict.percent, paused))

    def _out_of_sync(self, state: State) -> int:
        """KiB; from /proc/drbd on 8.4, whose events tell it only at changes of state."""
        kernel = observe.out_of_sync_84(system.read("/proc/drbd") or "")
        minors = [d.get("minor", "") for d in state.devices.values()]
        if kernel and all(minor in kernel for minor in minors):
            return sum(kernel[minor] for minor in minors)
        return observe.out_of_sync(state)

    # --- action ---

    def _act(self, stack: Stack, now: float) -> None:
        declined = stack.verdict.kind == STAND_ALONE and stack.why == kernellog.DECLINED
        if (stack.verdict.kind != NO_ADDRESS and not declined) or stack.booting:
            stack.hung_up_since = None
        else:
            self._connect_again(stack, now, declined)
        if stack.waiting is not None:
            if _may_start(stack):
                self._start(stack, now, stack.verdict.reason)
        elif stack.lacks and self._listening() and address.present(stack.lacks):
            self._start(stack, now, f"O2CB's address {stack.lacks} has come")
        self._look_for_ocfs2(stack, now)
        self._release(stack, now)

    def _listening(self) -> bool:
        """News of addresses wake us from now on.  Before the look at one, so that none slips through between."""
        if self.addresses is None:
            self.addresses = netlink.Addresses()
        return True

    def _release(self, stack: Stack, now: float) -> None:
        """Both are in step: a lock at the witness that decided between them is not needed any more."""
        if stack.verdict.kind != READY:
            stack.release_due = now
            return
        if records.witness(stack.name) is None:
            stack.release_due = None
            return
        if stack.release_due is not None and now < stack.release_due:
            return
        stack.release_due = now + RELEASE_EVERY
        try:
            # By a process of its own, which nobody waits for: the witness may hang.
            argv = [HANDLER, "--release", stack.name]
            self.children.append(os.posix_spawn(HANDLER, argv, dict(os.environ), setpgroup=0))
        except OSError as error:
            _say(f"<4>{stack.name}: {HANDLER}: {error.strerror}")

    def _connect_again(self, stack: Stack, now: float, declined: bool) -> None:
        """StandAlone for want of an address: connect as soon as it is there.  Or because the peer has declined: what it
        says may be another word a moment later, for one that is frozen with older data is reset, and comes back."""
        own = stack.attach.get("ADDRESS", "")
        if not own:
            return
        if stack.hung_up_since is None:
            stack.hung_up_since = now
        if not self._listening() or now < self._connect_due(stack) or not address.present(own):
            return
        if records.read(stack.name, "attach") is None:
            return  # it is being stopped
        stack.adjusted = now
        stack.tries += 1
        fields = {"stack": stack.name, "resource": stack.resource, "peer": stack.peer or "the peer"}
        why = "the peer had declined it" if declined else f"the address {own} is back"
        self._tell([Message("connecting-again", reason=why, **fields)])
        try:
            result = drbd.adjust(stack.resource)
            said = "" if result.code == 0 else f"'drbdadm adjust' exited with {result.code}: {result.said}"
            if not drbd.gave_up(result):
                # Done, or refused for another reason, which no more tries mend.
                records.remove(stack.name, records.UNCONNECTED)
        except Failure as failure:
            said = failure.message
        if said:
            _say(f"<4>{stack.name}: {said}")
        stack.news += 1  # what the kernel log says now is about this attempt

    def _connect_due(self, stack: Stack) -> float:
        """Not while somebody else connects (an attach, the administrator), and not at full speed."""
        since = stack.hung_up_since or 0.0
        if stack.adjusted is None:
            return since + observe.SETTLE
        pause = min(CONNECT_LAST, CONNECT_AGAIN * 2.0 ** min(stack.tries - 1, 8))
        return max(since + observe.SETTLE, stack.adjusted + pause)

    def _start(self, stack: Stack, now: float, why: str) -> None:
        due = self._start_due(stack)
        if due is not None and now < due:
            return
        # The record is the permission: whoever stops the stack removes it first.
        found = records.waiting(stack.name)
        if (found is None or not _is_late(found)) and records.read(stack.name, records.CLUSTER_ADDRESS) is None:
            return
        stack.started, stack.started_news = now, stack.news
        alone = stack.waiting is not None and stack.verdict.kind == ALONE
        target = f"drbdocfs@{stack.name}.target"
        try:
            if alone:
                # For the promotion, where only that had failed and no wait is left to decide; a wait decides again.
                records.write(stack.name, "alone", WHY=why, TIME=str(int(time.time())))
            result = run(["systemctl", "start", "--no-block", "--job-mode=fail", target], 20)
            said = "" if result.code == 0 else result.said or f"systemctl exited with {result.code}"
        except Failure as failure:
            said = failure.message
        except OSError as error:
            said = str(error)
        fields = {"stack": stack.name, "resource": stack.resource, "peer": stack.peer or "the peer"}
        if said:
            if alone:
                records.remove(stack.name, "alone")
            if said != stack.refused:
                self._tell([Message("start-refused", reason=said, **fields)])
            stack.refused = said
            return
        stack.refused = ""
        if stack.lacks:
            records.remove(stack.name, records.CLUSTER_ADDRESS)  # its O2CB writes it anew if it is in vain again
            stack.lacks = ""
        self._tell([Message("alone" if alone else "late-start", reason=why, **fields)])

    def _start_due(self, stack: Stack) -> "float | None":
        # Nobody waits for an administrator's order: alone after a refusal is nothing else, see _may_start.
        waiting = stack.waiting if stack.waiting is not None and stack.verdict.kind != ALONE else {}
        refused = records.number(waiting.get("NOT_BEFORE", ""), 0.0)
        if stack.started is None:
            return refused or None
        return max(refused, stack.started + (START_EVERY if stack.started_news != stack.news else START_AGAIN))

    def _look_for_ocfs2(self, stack: Stack, now: float) -> None:
        """DRBD is connected again; an OCFS2 that both still mount must have found its peer again as well."""
        if stack.apart_due is None or now < stack.apart_due:
            return
        stack.apart_due = None
        if stack.peer and observe.o2net_connected(kmsg.messages(), stack.peer) is False:
            fields = {"stack": stack.name, "resource": stack.resource, "peer": stack.peer}
            reason = f"o2net is not connected {OCFS2_LIMIT:.0f} s later"
            self._tell([Message("ocfs2-apart", reason=reason, **fields)])

    # --- what others see ---

    def _tell(self, messages: "list[Message]") -> None:
        for message in messages:
            journal.send({**message.journal(), "SYSLOG_IDENTIFIER": "drbdocfs-follow"})

    def _show(self, now: float) -> None:
        text = "; ".join(self._words(stack, now) for stack in self.stacks.values()) or "no stack is up or waiting"
        if text != self.shown:
            self.shown = text
            notify("STATUS=" + text)

    def _words(self, stack: Stack, now: float) -> str:
        verdict = stack.verdict
        if verdict.kind == READY:
            return f"{stack.name}: " + (f"O2CB's address {stack.lacks} is missing" if stack.lacks else "ready")
        text = f"{stack.name}: {verdict.reason}"
        if stack.observer.stalled:
            text += ", no progress"
        if verdict.kind != RESYNCING:
            text += " since " + _time_of_day(stack.since)
        left = self._alone_due(stack)
        if left is not None and left > now and stack.waiting is not None and stack.waiting.get("WHEN_ALONE") != "wait":
            text += ", may go alone at " + _time_of_day(time.time() + left - now)
        return text

    def _alone_due(self, stack: Stack) -> "float | None":
        """When the policy will decide on going alone, or say that it does not allow it."""
        if stack.waiting is None or stack.began is None:
            return None
        return stack.began + records.number(stack.waiting.get("PEER_TIMEOUT", ""), 0.0) / 1_000_000

    def _metrics(self, now: float) -> None:
        """Write them when something has changed, when a resync runs, and each minute where somebody reads them."""
        readers = _readers()
        changed = any(stack.changed for stack in self.stacks.values())
        if self.layers_due is not None and now >= self.layers_due:
            self.layers_due = None
            self._ask_layers()
            changed = True
        shape = sorted(self.stacks)
        due = self._metrics_due(readers)
        if not changed and shape == self.shape and (due is None or now < due):
            return
        if self.written is not None and now - self.written < METRICS_LEAST:
            return
        if not changed:
            for stack in self.stacks.values():
                self._refresh(stack)
        self.shape, self.written = shape, now
        text = metrics.render([self._sample(stack, now) for stack in self.stacks.values()])
        self.copies = [f"{directory}/{METRICS}" for directory in readers]
        for name in (f"{system.path(RUN)}/{METRICS}", *self.copies):
            _write(name, text)
        for stack in self.stacks.values():
            stack.changed = False

    def _metrics_due(self, readers: "list[str]") -> "float | None":
        if self.written is None:
            return 0.0
        if any(stack.changed for stack in self.stacks.values()):
            return self.written + METRICS_LEAST
        if any(stack.observer.resyncing for stack in self.stacks.values()):
            return self.written + RESYNC_EVERY
        return self.written + METRICS_EVERY if readers and self.stacks else None

    def _is_84(self) -> bool:
        return (system.read("/sys/module/drbd/version") or "").startswith("8.")

    def _refresh(self, stack: Stack) -> None:
        """Ask DRBD 9 what is out of sync: its events tell it only while both nodes are connected."""
        state = self.states.get(stack.resource)
        if state is None or (peers_present(state) and not stack.observer.resyncing) or self._is_84():
            return
        try:
            fresh = drbd.state(stack.resource)
        except Failure:
            return
        for index, device in fresh.peer_devices.items():
            if index in state.peer_devices:
                new = {key: device[key] for key in ("out-of-sync", "done", "eta") if key in device}
                state.peer_devices[index].update(new)

    def _sample(self, stack: Stack, now: float) -> metrics.Sample:
        state = self.state(stack.resource)
        sample = metrics.Sample(stack.name, stack.resource, stack.verdict.kind)
        sample.role = _distinct([state.resource], "role")
        sample.peer_role = _distinct(list(state.connections.values()), "role")
        sample.disk = _distinct(list(state.devices.values()), "disk")
        sample.peer_disk = _distinct(list(state.peer_devices.values()), "peer-disk")
        sample.connection = _distinct(list(state.connections.values()), "connection")
        sample.replication = _distinct(list(state.peer_devices.values()), "replication")
        if state.configured:
            sample.out_of_sync = self._out_of_sync(state) * 1024
        sample.suspended = state.resource.get("suspended", "no") != "no"
        sample.percent = stack.verdict.percent
        sample.stalled = stack.observer.stalled
        since = stack.observer.unready_since
        if stack.observer.ready:
            sample.unready = 0.0
        elif since is not None:
            sample.unready = now - min(since, since if stack.began is None else stack.began)
        sample.layers = stack.layers
        return sample

    def _ask_layers(self) -> None:
        """How long each layer of each stack took when it was started last; one question for all."""
        mounts = {}
        names = []
        for stack in self.stacks.values():
            names += [f"drbdocfs-{layer}@{stack.name}.service" for layer in metrics.LAYERS[:4]]
            mountpoint = (records.read(stack.name, "promote") or {}).get("MOUNTPOINT", "")
            try:
                mounts[stack.name] = mount_unit(mountpoint) if mountpoint else ""
            except Unwritable:
                mounts[stack.name] = ""
        if not names:
            return
        names += [unit for unit in mounts.values() if unit] + ["drbdocfs-o2cb@*.service"]
        argv = ["systemctl", "show", "--property=Id,Requires,InactiveExitTimestampMonotonic"]
        argv[-1] += ",ActiveEnterTimestampMonotonic"
        try:
            found = metrics.units(run([*argv, *names], 20).out)
        except Failure:
            return
        for stack in self.stacks.values():
            mount = found.get(mounts[stack.name], {})
            clusters = [unit for unit in mount.get("Requires", "").split() if unit.startswith("drbdocfs-o2cb@")]
            units = {layer: f"drbdocfs-{layer}@{stack.name}.service" for layer in metrics.LAYERS[:4]}
            units["o2cb"] = clusters[0] if clusters else ""
            units["mount"] = mounts[stack.name]
            stack.layers = {}
            for layer, unit in units.items():
                seconds = metrics.start_seconds(found.get(unit, {}))
                if seconds is not None:
                    stack.layers[layer] = seconds

    # --- sleep ---

    def _deadlines(self) -> "list[float | None]":
        found: "list[float | None]" = [self.layers_due, self._metrics_due(_readers())]
        if self.process is None and self.stacks and drbd.loaded():
            found.append(self.retry)
        if self.coming is not None:
            found.append(self.opened + DUMP_LIMIT)
        now = time.monotonic()
        for stack in self.stacks.values():
            found.append(stack.observer.due)
            left = self._alone_due(stack)
            if left is not None and left > now:
                found.append(left)
            if _may_start(stack) if stack.waiting is not None else stack.lacks and address.present(stack.lacks):
                found.append(self._start_due(stack))
            if stack.hung_up_since is not None and self._connect_due(stack) > now:
                found.append(self._connect_due(stack))  # after that an address is waited for, or news of the last try
            found.append(stack.apart_due)
            if stack.verdict.kind == READY and stack.release_due is not None:
                found.append(stack.release_due)
        return found

    def _sleep(self) -> None:
        """Until something comes, or the next deadline."""
        if self.addresses is not None and not any(
            stack.lacks or stack.verdict.kind == NO_ADDRESS for stack in self.stacks.values()
        ):
            self.addresses.close()
            self.addresses = None
        due = [deadline for deadline in self._deadlines() if deadline is not None]
        # Rounded up: waking a moment too early would only mean to go to sleep again.
        timeout = max(0, int((min(due) - time.monotonic()) * 1000 + 0.999)) if due else None
        process = self.process
        poll = select.poll()
        poll.register(self.socket.fileno(), select.POLLIN)
        if self.addresses is not None:
            poll.register(self.addresses.fileno(), select.POLLIN)
        if process is not None:
            for fd in process.fds:
                poll.register(fd, select.POLLIN)
        # One that is killed cannot say that its waiting is ours now.
        waits = []
        for stack in self.stacks.values():
            pidfd = _process(stack.waiter) if stack.booting else None
            if pidfd == GONE:
                timeout = 0
            elif pidfd is not None:
                waits.append(pidfd)
                poll.register(pidfd, select.POLLIN)
        try:
            ready = [fd for fd, _ in poll.poll(timeout)]
        finally:
            for fd in waits:
                os.close(fd)
        if self.socket.fileno() in ready:
            self.socket.drain()
            if self.retry is None:
                self.retry = 0.0
        if self.addresses is not None and self.addresses.fileno() in ready:
            self.addresses.drain()
        if process is not None and any(fd in ready for fd in process.fds):
            self._read(process)

    def _read(self, process: Process) -> None:
        for fd, data in process.read(0):
            if fd == process.out_fd:
                self.rest += data
            else:
                self.errors = (self.errors + data)[-2000:]
        now = time.monotonic()
        *lines, self.rest = self.rest.split(b"\n")
        for line in lines:
            self._line(line.decode("utf-8", "replace"), now)
            if self.process is None:
                return  # events were lost: what follows is no use
        if not process.fds:
            self._end_tool(now)


def _peer_behind(state: State) -> str:
    """Why the peer has older data, or none, where this node is Primary and DRBD knows that of the peer; else ""."""
    if (
        not state.complete
        or state.resource.get("role") != "Primary"
        or not state.peer_devices
        or any(d.get("disk") != "UpToDate" for d in state.devices.values())
    ):
        return ""
    peers = state.peer_devices.values()
    disks = {d.get("peer-disk", "DUnknown") for d in peers}
    gone = {d.get("replication", "Off") == "Off" for d in peers}
    if gone == {True} and disks == {"Outdated"}:
        return "the peer's disk is Outdated"
    # Without this, 8.4 would freeze, and its handler ask the policy, when a peer without a disk goes; and what is on
    # its way to the own disk alone at that moment hangs for ever if the peer is back before an answer (drbd_req.c,
    # RESEND of a request that was not for the peer).
    if gone == {False} and disks <= {"Diskless", "Failed", "Inconsistent"}:
        return f"the peer's disk was {' and '.join(sorted(disks))}"
    return ""


def _may_start(stack: Stack) -> bool:
    """What DRBD has refused while the peer was there is not done without the peer by a policy: that asks the fence-peer
    handler, which may have been asked already.  The administrator's word is another matter."""
    refused = stack.waiting is not None and stack.waiting.get("KIND") == records.REFUSED
    if refused and stack.verdict.kind == ALONE:
        return records.read(stack.name, "proceed") is not None
    return stack.verdict.go


def _is_late(waiting: "dict[str, str]") -> bool:
    return waiting.get("STATE") == "late"


def _process(pid: str) -> "int | None":
    """A descriptor that can be read once the process has ended; GONE when it has, None where the kernel has none."""
    try:
        return os.pidfd_open(int(pid))
    except ProcessLookupError:
        return GONE
    except (AttributeError, ValueError, OSError):
        return None  # before Linux 5.3


def _both_primary(state: State) -> bool:
    roles = [state.resource.get("role"), *(connection.get("role") for connection in state.connections.values())]
    return len(roles) > 1 and all(role == "Primary" for role in roles)


def _time_of_day(when: float) -> str:
    """Local time, with the day where it is another one."""
    there = time.localtime(when)
    same = there[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if same else "%Y-%m-%d %H:%M", there)


def _distinct(tables: "list[dict[str, str]]", key: str) -> "list[str]":
    return sorted({table[key] for table in tables if table.get(key)})


def _readers() -> "list[str]":
    """Directories of node_exporter's textfile collector that are there."""
    names = os.environ.get("DRBDOCFS_TEXTFILE_DIRECTORIES", TEXTFILES).split(":")
    return [system.path(name) for name in names if name and os.path.isdir(system.path(name))]


def _write(name: str, text: str) -> None:
    """Whole or not at all; the collector reads no other name than *.prom.

    The directory is the collector's user's, not root's: what stands in the place of the new file goes, and is neither
    followed (a link) nor waited for (a pipe).
    """
    place, _, last = name.rpartition("/")
    try:
        directory = _directory(place)
        try:
            try:
                os.unlink(last + ".new", dir_fd=directory)
            except FileNotFoundError:
                pass
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(last + ".new", flags, 0o644, dir_fd=directory)
            with open(fd, "w", encoding="utf-8") as file:
                file.write(text)
            os.rename(last + ".new", last, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        _say(f"<4>{name}: {error.strerror}")


def _directory(place: str) -> int:
    """The directory, opened; a link to one counts only if it is root's: the collector's user may put one there that
    leads to any place.  Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(place, flags | os.O_NOFOLLOW)
    except OSError:
        if not os.path.islink(place) or os.lstat(place).st_uid != 0:
            raise
    return os.open(place, flags)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _end(number: int, frame: object) -> None:
    raise Ended


def main() -> int:
    """Entry point of libexec/follow."""
    if len(sys.argv) != 1:
        _say("usage: follow")
        return 2
    _signal.signal(_signal.SIGTERM, _end)
    _signal.signal(_signal.SIGINT, _end)
    follow = None
    try:
        follow = Follow()
        follow.run()
    except Ended:
        pass
    except Exception as error:
        text = str(error) if isinstance(error, (OSError, Failure)) else mistake.words(error)
        notify("STATUS=" + text)
        _say(f"<3>{text}")
        time.sleep(3)  # whatever it was, not at full speed again
        return EX_SOFTWARE
    finally:
        if follow is not None:
            follow.close()
    return 0
