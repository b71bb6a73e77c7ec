"""The fence-peer handler: called by DRBD while it has frozen input and output, because the peer is gone.

Its exit status decides (fencing.py): 4 or 7 thaw this node, which then goes on without its peer; after any other the
node stays frozen until the peer is connected again, or until O2CB resets it.  So whatever goes wrong here ends with
frozen, and at most one node may ever end with another status.

Phases: take the place of an older handler; grace, in which the link may come back; decision by the stack's
``survivor``.  A promotion without the peer calls it, too: that is answered by what the wait has decided.

DRBD's callers: 8.4 drbd_nl.c conn_try_outdate_peer(), from a thread of its own when a connection is lost (twice when
it goes StandAlone), from drbd_set_role() at a promotion.  Neither the file system nor D-Bus are touched.
"""

import _signal  # type: ignore[import-not-found]
import fcntl
import os
import sys
import time

from drbdocfs_boot import clusterconf, fencing, lean, metadata, mistake
from drbdocfs_boot.events import State
from drbdocfs_boot.exits import EX_CONFIG, EX_DATAERR, EX_TEMPFAIL, EX_UNAVAILABLE
from drbdocfs_boot.fencing import FROZEN, PEER_FENCED, PEER_OUTDATED, Plan, Times
from drbdocfs_boot.helpers import address
from drbdocfs_boot.messages import Message
from drbdocfs_boot.stack import Stack
from drbdocfs_boot.tools import drbd, journal, kmsg, mounts, o2cb, records, system, wake
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import KILL, PATH, TERM, Process

ASK_LIMIT = 3.0  # seconds for a question to DRBD; after that /proc/drbd has to do
LOOK_EVERY = 1.0
CONNECT_EVERY = 5.0  # seconds between two tries to connect after a lost address
TAKE_LIMIT = 8.0  # seconds for one question to the witness
RELEASE_LIMIT = 45.0  # nobody waits for it, and a handler that is called meanwhile ends it
PROMOTION_LIMIT = 4.0  # the same at a promotion, for which 8.4 asks up to four times within 30 s
AGENT_LIMIT = 30.0  # seconds to switch the peer on again
NO_FREEZE = 1e12  # stands for the beginning of a freeze where there is none
OVERTAKE_LIMIT = 3.0  # seconds that an older handler may take to end

BACK, PROMOTION, BAD_DISK, RUNNING, LOST, UNKNOWN = "back", "promotion", "bad-disk", "running", "lost", "unknown"


class Ended(BaseException):
    """SIGTERM: a newer handler takes over, or the machine goes down."""


class Handler:
    """One call for one resource."""

    def __init__(self, resource: str) -> None:
        self.resource = resource
        self.began = time.monotonic()
        self.host = os.uname().nodename
        self.stack, self.trouble, self.several = _configured(resource)
        # A resource without a stack may have another stack's name: its records are none of ours.
        self.name = self.stack.name if self.stack is not None else "@" + resource
        attached = records.read(self.name, "attach") or {}
        self.address = attached.get("ADDRESS", "")
        self.node = os.environ.get("DRBD_PEER_NODE_ID", "")  # DRBD 9, which may have a third node
        named = os.environ.get("DRBD_NODE_ID_" + self.node, "") if self.node else os.environ.get("DRBD_PEER", "")
        self.peer = (named if self.node else "") or attached.get("PEER") or named or "the peer"
        self.state = State()
        self.events: "Process | None" = None
        self.rest = b""
        self.connected_at = 0.0
        self.plan: "Plan | None" = None
        self.lock = -1
        self.write_limit = 0.0  # seconds without a heartbeat after which O2CB resets this node

    # --- what is there ---

    def situation(self) -> str:
        """One of the words above, by DRBD's own word."""
        state = self.state
        if not state.complete or not state.configured:
            return self._by_proc()
        for index, device in state.peer_devices.items():
            ours = not self.node or index.partition("/")[0] == self.node
            if ours and device.get("replication", "Off") != "Off":
                return BACK
        if state.resource.get("role") != "Primary":
            return PROMOTION
        if not state.devices or any(d.get("disk") != "UpToDate" for d in state.devices.values()):
            return BAD_DISK
        return LOST if "fencing" in state.resource.get("suspended", "no").split(",") else RUNNING

    def _by_proc(self) -> str:
        """From /proc/drbd, which 8.4 has and no lock can hold back."""
        found = fencing.proc_drbd(system.read("/proc/drbd") or "", os.environ.get("DRBD_MINOR", "").split())
        if not found:
            return UNKNOWN
        if any(one["cs"] not in fencing.DISCONNECTED for one in found):
            return BACK
        if any(one["role"] != "Primary" for one in found):
            return PROMOTION
        if any(one["disk"] != "UpToDate" for one in found):
            return BAD_DISK
        return LOST if all(one["frozen"] for one in found) else RUNNING

    def look(self, pause: float) -> None:
        """Take in what DRBD says, for at most ``pause`` seconds; returns early at news."""
        if self.events is None:
            try:
                self.events, self.rest = drbd.events_process(self.resource), b""
            except (Failure, OSError):
                time.sleep(min(pause, LOOK_EVERY))
                return
            self.state = State()
        process = self.events
        until = time.monotonic() + pause
        arrived = process.read(max(0.0, pause))
        for fd, data in arrived:
            if fd == process.out_fd:
                self.rest += data
        *lines, self.rest = self.rest.split(b"\n")
        for line in lines:
            self.state.feed(line.decode("utf-8", "replace"))
        if self.state.lost or not process.fds:
            self.close()
            time.sleep(max(0.0, min(0.5, until - time.monotonic())))

    def settle(self, limit: float) -> None:
        """Until DRBD's first dump is complete, or the limit."""
        until = time.monotonic() + limit
        while not self.state.complete and time.monotonic() < until:
            self.look(min(0.5, until - time.monotonic()))

    def close(self) -> None:
        """End the tool that is followed."""
        if self.events is not None:
            self.events.end()
            self.events = None

    def times(self) -> Times:
        """The limits in force: O2CB's from the kernel, DRBD's from its configuration; defaults where neither tells."""
        times = Times()
        place = f"{o2cb.CONFIGFS}/{self.stack.cluster}" if self.stack is not None else ""
        times.threshold = int(records.number(system.read(place + "/heartbeat/dead_threshold"), times.threshold))
        times.idle = records.number(system.read(place + "/idle_timeout_ms"), times.idle * 1000) / 1000
        try:
            net = drbd.net_options(self.resource, ASK_LIMIT)
        except (Failure, OSError) as error:
            self.step(f"DRBD's limits are taken for its defaults: {error}")
            return times
        times.ping_int = records.number(net.get("ping-int"), times.ping_int)
        times.ping_timeout = records.number(net.get("ping-timeout"), times.ping_timeout * 10) / 10
        times.timeout = records.number(net.get("timeout"), times.timeout * 10) / 10
        return times

    def lowest(self) -> bool:
        """Whether this node is the one that O2CB prefers."""
        cluster = self.stack.cluster if self.stack is not None else ""
        stanzas = clusterconf.parse(system.read(o2cb.CLUSTER_CONF) or "")
        return fencing.preferred(clusterconf.nodes(stanzas, cluster), self.host)

    def idle(self) -> bool:
        """Whether nothing of the stack is mounted here, nor just being mounted: without a heartbeat on the device O2CB
        resets nobody for it, and who goes on without its peer serves nothing.  False where it cannot be told."""
        if self.stack is None:
            return False
        node, cluster = self.stack.device, self.stack.cluster
        block = os.path.basename(os.path.realpath(system.path(node)))
        return (
            mounts.device_number(node) is not None
            and not mounts.of_device(node)
            # With a stack beside it that serves it is reset with that one, and goes on with that one.
            and not (o2cb.regions(cluster) if self.several else o2cb.region_of(cluster, block))
            and not o2cb.global_heartbeat(cluster)
        )

    def generation(self) -> str:
        """The data generation of the stack's volume, without the bit that says Primary: the same on both nodes when
        they lost each other.  Raises Failure."""
        # Of the first volume, whichever is the stack's: both nodes have to take the same.
        for slot in drbd.slots(self.state, "", ASK_LIMIT)[:1]:
            value = int(slot.current, 16) & ~1
            if value > 4:  # 0 and 4: no data yet (UUID_JUST_CREATED)
                return f"{value:016X}"
        raise Failure(EX_DATAERR, "DRBD's metadata has no data generation")

    # --- what is said ---

    def tell(self, kind: str, **fields: str) -> None:
        """A message to the journal; to the kernel log where no journal listens."""
        message = Message(kind, stack=self.name, resource=self.resource, peer=self.peer, **fields)
        if not journal.send({**message.journal(), "SYSLOG_IDENTIFIER": "drbdocfs-fence-peer"}):
            kmsg.write(f"drbdocfs-fence-peer: {message.text}", message.kind.priority)

    def step(self, text: str) -> None:
        """One step, for who reads the journal later."""
        self.tell("fence-step", reason=text)

    def record(self, phase: str, until: float, reason: str) -> None:
        """For ``drbdocfs status``."""
        try:
            records.write(
                self.name,
                "fencing",
                PID=str(os.getpid()),
                RESOURCE=self.resource,
                BEGAN=f"{self.began:.3f}",
                PHASE=phase,
                UNTIL=f"{until:.3f}",
                REASON=reason,
            )
        except OSError:
            pass  # nothing depends on it

    # --- the phases ---

    def run(self) -> int:
        """The exit status."""
        self.settle(ASK_LIMIT)
        found = self.situation()
        if found == BACK:
            return self.back()
        if self.node and self.node in self.state.tiebreakers:
            self.step(f"{self.peer}, which has no disk, is gone: it has no data to go on with")
            return PEER_OUTDATED
        if found == PROMOTION:
            return self.promotion()
        if found in (BAD_DISK, RUNNING):
            return self.frozen(self.refusal(found))
        if found == LOST and self.elected():
            why = f"it was chosen before, or {self.peer} had older data or none, and has not been in step since"
            return self.goes_on(PEER_OUTDATED, why)
        survivor = self.stack.survivor if self.stack is not None else fencing.NONE
        grace = self.stack.link_grace / 1_000_000 if self.stack is not None else 20.0
        times = self.times()
        self.write_limit = times.write_limit
        self.plan = plan = fencing.plan(survivor, grace, times, self.lowest(), self.several)
        policy = f"survivor = {survivor}" if self.stack is not None else f"nobody goes on ({self.trouble})"
        if found == UNKNOWN:
            self.step(self.refusal(found))
        self.tell("fence-begun", reason=f"{plan.sum}; then: {policy}")
        if self.wait("grace", self.began + plan.grace, policy):
            return self.back()
        found = self.situation()
        if found != LOST:
            return self.frozen(self.refusal(found))
        return self.decide(survivor)

    def refusal(self, found: str) -> str:
        """Why this node may not go on, whatever the policy."""
        if found == BAD_DISK:
            disks = ", ".join(sorted({d.get("disk", "Unknown") for d in self.state.devices.values()})) or "not UpToDate"
            return f"the local disk is {disks}, so {self.peer} has the good data"
        if found == RUNNING:
            return (
                "DRBD has not frozen input and output ('fencing resource-and-stonith' is not in force), so the peer may"
                " be writing"
            )
        if found == PROMOTION:
            return "this node is not Primary any more"
        return "DRBD does not say what state the resource is in"

    def wait(self, phase: str, until: float, reason: str) -> bool:
        """Wait for the link; True when the peer is connected again."""
        self.record(phase, until, reason)
        while True:
            if self.situation() == BACK:
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            self.connect()
            self.look(min(LOOK_EVERY, left))

    def connect(self) -> None:
        """8.4 goes StandAlone when its address is lost, and never tries again: do it once the address is there."""
        state = self.state
        if not state.complete or not self.address or not (state.stand_alone or not state.connections):
            return
        now = time.monotonic()
        if now - self.connected_at < CONNECT_EVERY or not address.present(self.address):
            return
        if self.connected_at == 0.0 and now - self.began < 1.0:
            return  # the first look may be at a connection that is just closing
        self.connected_at = now
        try:
            result = drbd.adjust(self.resource, 10.0)
            said = "" if result.code == 0 else f" (exit {result.code}: {result.said})"
        except Failure as failure:
            said = f" ({failure.message})"
        self.step(f"the address {self.address} is there: connecting again{said}")

    def elected(self) -> bool:
        """True when this node went on without the peer before, or the follow service saw that the peer had no disk or
        an Inconsistent one, and the peer has not been in step since.

        Both are needed: the record says who has the data; the bitmap UUID says that the peer still has not got what was
        written since, so its data are older, it may not be promoted, and no other generation can be fought for.
        """
        if self.stack is None:
            return False
        if records.read(self.name, "survivor") is None and records.read(self.name, "alone") is None:
            return False
        try:
            return metadata.proof(drbd.slots(self.state, self._device(), ASK_LIMIT)).proved
        except (Failure, OSError):
            return False

    def _device(self) -> str:
        return self.stack.device if self.stack is not None else ""

    def decide(self, survivor: str) -> int:
        """The decision, after the grace."""
        assert self.plan is not None
        if self.stack is None:
            return self.frozen(self.trouble)
        if survivor == fencing.NONE:
            return self.frozen("survivor = none: nobody goes on alone")
        # One that serves goes first, by as much as its own plan can take from the loss on.
        if survivor in (fencing.POWER, fencing.WITNESS) and self.idle():
            reason = f"nothing is mounted here: {self.peer} goes first"
            # Where it is so on both, they do not act at the same moment either.
            status = self.let_first(self.began + self.write_limit + self.plan.head_start, reason)
            if status is not None:
                return status
        if survivor == fencing.POWER:
            return self.by_power(self.stack, self.plan)
        if survivor == fencing.WITNESS:
            return self.by_witness(self.stack, self.plan)
        if survivor == self.host:
            if survivor == self.peer:
                return self.frozen(f"survivor = {survivor}, but both nodes have that name")
            return self.goes_on(PEER_OUTDATED, f"survivor = {survivor}, which is this node")
        if survivor == self.peer:
            return self.frozen(f"survivor = {survivor}: the other node goes on")
        return self.frozen(f"survivor = {survivor} is neither this node ({self.host}) nor {self.peer}")

    def let_first(self, until: float, reason: str) -> "int | None":
        """Let the other one go first; then the exit status where there is nothing left to decide."""
        if time.monotonic() < until and self.wait("head start", until, reason):
            return self.back()
        return self.decided()

    def decided(self) -> "int | None":
        """The exit status where nothing is left to decide: the link is back, or this node may not go on any more."""
        found = self.situation()
        if found == BACK:
            return self.back()
        return None if found == LOST else self.frozen(self.refusal(found))

    def by_power(self, stack: Stack, plan: Plan) -> int:
        """The peer is switched off first."""
        from drbdocfs_boot.tools import agent

        where = stack.fence_options or fencing.OPTIONS
        try:
            options = agent.load(where, self.peer)
        except (Failure, OSError) as error:
            return self.frozen(f"the fence agent's options cannot be used: {_words(error)}")
        status = self.let_first(self.began + plan.grace + plan.head_start, f"{self.peer} goes first")
        if status is not None:
            return status
        left = max(self.began + plan.end - time.monotonic(), plan.decide)
        self.busy()
        self.record("switching off", time.monotonic() + left, f"{stack.fence_agent} is to switch {self.peer} off")
        tried = []

        def tell(text: str) -> None:
            tried.append(text)  # after each try
            self.step(text)

        try:
            off = agent.switch_off(stack.fence_agent, options, left, tell, self.still_lost)
        except (Failure, OSError) as error:
            return self.frozen(f"{stack.fence_agent} could not be used: {_words(error)}")
        if not off and self.situation() == BACK:
            return self.back()
        if not off and tried:
            # It may be off all the same, and would stay so; one that is on already stays on.
            self._switch_on_later(stack.fence_agent, options)
            return self.frozen(f"{stack.fence_agent} did not confirm that {self.peer} is off: it is switched on again")
        if not off:
            return self.frozen(f"{self.peer} was not switched off: DRBD does not say any more that it is lost")
        self._switch_on_later(stack.fence_agent, options)
        return self.goes_on(PEER_FENCED, f"{self.peer} is switched off, and {stack.fence_agent} confirms it")

    def still_lost(self) -> bool:
        """Asked before the peer is switched off."""
        self.look(0.0)
        return self.situation() == LOST

    def busy(self) -> None:
        """From here on the link is not watched all the time, so a newer handler's freeze may be a new one."""
        if self.lock >= 0:
            _sign(self.lock, NO_FREEZE)

    def _switch_on_later(self, program: str, options: "dict[str, str]") -> None:
        """Give the peer its power back, so that it boots and resyncs; nobody waits for that."""
        if os.fork():
            return
        try:
            os.setsid()
            if self.lock >= 0:
                os.close(self.lock)  # the next handler need not wait for us
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            from drbdocfs_boot.tools import agent

            text = f"{program} has switched {self.peer} on again"
            try:
                if not agent.switch_on(program, options, AGENT_LIMIT):
                    text = f"{program} has not switched {self.peer} on again: do it by hand"
            except (Failure, OSError) as error:
                text = f"{self.peer} stays off, {program}: {_words(error)}"
            self.step(text)
        finally:
            os._exit(0)

    def by_witness(self, stack: Stack, plan: Plan) -> int:
        """Who gets the lock on this data generation first."""
        from drbdocfs_boot.tools import witness

        try:
            generation = self.generation()
        except (Failure, OSError) as error:
            return self.frozen(f"the lock cannot be asked for: {_words(error)}")
        if plan.head_start:
            # Of several stacks: all of them to the node that O2CB prefers, as long as it reaches the witness.
            reason = f"{self.peer} asks for the locks of all stacks first"
            status = self.let_first(self.began + plan.grace + plan.head_start, reason)
            if status is not None:
                return status
        nonce = os.urandom(8).hex()
        records.mark_witness(self.name, stack.witness, generation, nonce)
        self.busy()
        until = max(self.began + plan.end, time.monotonic() + plan.decide)
        told = ""
        while True:
            self.record("lock", until, f"the lock at {stack.witness}")
            self.look(0.0)
            # Each time: a witness that does not answer at first leaves time for a disk to fail.
            status = self.decided()
            if status is not None:
                return status
            left = until - time.monotonic()
            if left <= 0:
                return self.frozen(f"the witness {stack.witness} has not answered: {told}")
            limit = min(TAKE_LIMIT, max(2.0, left))
            answer = witness.take(stack.witness, generation, self.host, nonce, self.resource, limit)
            if answer.kind == "taken":
                return self.goes_on(PEER_OUTDATED, f"this node has the lock at {stack.witness}")
            if answer.kind == "held":
                return self.frozen(f"{answer.holder} has the lock at {stack.witness}")
            if answer.said != told:
                told = answer.said
                self.step(f"the witness {stack.witness} does not answer: {told}")
            if self.wait("lock", min(until, time.monotonic() + 1.0), told):
                return self.back()

    def promotion(self) -> int:
        """Asked by a promotion without the peer: what the wait has decided holds."""
        alone = records.read(self.name, "alone") if self.stack is not None else None
        if alone is None:
            return self.refused(
                f"nobody has decided that this node goes on without its peer; 'drbdocfs proceed {self.name}' does"
            )
        why = alone.get("WHY", "allowed")
        # The policy "always" knows nothing of the peer, which may have been chosen: a node that was reset would write
        # beside it.  Metadata that prove it and an administrator know better.
        allowed = "when_alone = always" not in why or (self.stack is not None and self.stack.survivor == self.host)
        if self.stack is not None and self.stack.survivor == fencing.WITNESS:
            from drbdocfs_boot.tools import witness

            try:
                generation = self.generation()
                nonce = os.urandom(8).hex()
                records.mark_witness(self.name, self.stack.witness, generation, nonce)
                answer = witness.take(self.stack.witness, generation, self.host, nonce, self.resource, PROMOTION_LIMIT)
                if answer.kind == "held":
                    return self.refused(
                        f"{answer.holder} has the lock at {self.stack.witness}, so it went on with these data; where it"
                        " is lost for good see drbdocfs-witness(8) on how to release the lock"
                    )
                if answer.kind == "taken":
                    allowed = True
                else:
                    self.step(f"the witness {self.stack.witness} does not answer: {answer.said}")
            except (Failure, OSError) as error:
                self.step(f"the witness was not asked: {_words(error)}")
        if not allowed:
            return self.refused(
                f"{self.peer} may be the one that went on, and 'when_alone = always' does not know;"
                f" 'drbdocfs proceed {self.name}' goes on"
            )
        self.tell("fence-promotion", reason=why)
        return PEER_OUTDATED

    def refused(self, reason: str) -> int:
        """A promotion that is not to be; DRBD says no more of it than that it has no good data, so it is recorded."""
        self.tell("fence-promotion", reason=f"refused: {reason}")
        self.record(records.REFUSED, time.monotonic(), reason)
        return FROZEN

    # --- how it ends ---

    def back(self) -> int:
        """Connected again: DRBD thaws both by itself, and ignores what a handler says now."""
        records.remove(self.name, "fencing")
        self.tell("fence-back", duration=f"{time.monotonic() - self.began:.0f} s")
        return FROZEN

    def goes_on(self, status: int, reason: str) -> int:
        """This node is the one."""
        try:
            # Before the status: once DRBD has it, the peer may be back at any time.
            records.write(self.name, "survivor", TIME=str(int(time.time())), WHY=reason)
            records.remove(self.name, "fencing")
        except OSError as error:
            self.step(f"the record of the decision could not be written: {error}")
        self.tell("fence-goes-on", reason=reason, duration=f"{time.monotonic() - self.began:.0f} s")
        wake.send(wake.FOLLOW)
        return status

    def frozen(self, reason: str) -> int:
        """Whoever goes on, it is not this node."""
        limit = ""
        if self.plan is not None and self.idle():
            limit = (
                "; nothing is mounted here, so O2CB does not reset this node: once the other one has gone on,"
                f" 'drbdocfs stop {self.name}', then 'drbdocfs start {self.name}'"
            )
            self.record("frozen", time.monotonic(), reason)
        elif self.plan is not None:
            reset = self.began + self.write_limit
            left = max(0.0, reset - time.monotonic())
            limit = (
                f"; O2CB resets this node within {left:.0f} s unless {self.peer} is back before, or is frozen, too, and"
                " O2CB's own connection holds"
            )
            self.record("frozen", reset, reason)
        self.tell("fence-frozen", reason=reason + limit)
        return FROZEN


def _configured(resource: str) -> "tuple[Stack | None, str, bool]":
    """The stack of a resource, or why there is none; whether it is one of several that ask a witness."""
    try:
        reading = lean.read(os.environ.get("DRBDOCFS_ROOT", "").rstrip("/"))
    except Exception as error:
        return None, f"the configuration cannot be read: {mistake.words(error)}", False
    for stack in reading.stacks:
        if stack.resource == resource:
            return stack, "", fencing.several(reading.stacks, stack)
    trouble = f"no stack has the resource {resource}"
    if reading.problems:
        trouble += f", and the configuration has mistakes: {reading.problems[0]}"
    return None, trouble, False


def _words(error: "Failure | OSError") -> str:
    return f"{error.message} ({error.advice})" if isinstance(error, Failure) and error.advice else str(error)


# --- one handler at a time ------------------------------------------------------------------------------------


def _take_place(handler: Handler) -> int:
    """Become the only handler (or release) of this stack: the newest counts, since only its answer is about the
    connection that was lost last.  Returns the lock's descriptor, which closes with the process.

    An older handler that still runs has not seen the peer again, so the freeze is as old as it.  Raises Failure when
    it cannot be ended.
    """
    lock = _open_lock(handler.name)
    until = time.monotonic() + OVERTAKE_LIMIT
    number = TERM
    sent = (0, 0)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            pass
        if time.monotonic() >= until:
            if number == KILL:
                raise Failure(EX_TEMPFAIL, "an older handler hangs and cannot be ended")
            number, until = KILL, time.monotonic() + OVERTAKE_LIMIT
        # What is written may be left from a handler long ago: it counts only if it is the holder's own.
        older = _holder(lock)
        before = os.pread(lock, 200, 0).decode("ascii", "replace").split()
        if older and before[:1] == [str(older)] and (older, number) != sent:
            sent = (older, number)
            handler.began = min(handler.began, records.number(before[-1], handler.began))
            try:
                os.kill(older, number)
            except OSError:
                pass
        time.sleep(0.02)
    _sign(lock, handler.began)
    return lock


def _sign(lock: int, began: float) -> None:
    """Who holds the lock, and since when its freeze lasts."""
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()} {began:.3f}".encode("ascii"), 0)
    except OSError:
        pass  # a full /run: a newer handler waits for us then, and ends without a decision


def _open_lock(name: str) -> int:
    """Raises OSError."""
    path = system.path(f"{records.PLACE}/{name}.fence-lock")
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        # /run has no room even for that: our own file can be locked as well, for all stacks alike.
        return os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)


def _holder(lock: int) -> int:
    """The process that holds the lock of this file, by the kernel's word (/proc/locks, proc(5)); 0 when none does."""
    found = os.fstat(lock)
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as lines:
            for line in lines:
                words = line.split()
                if "->" not in words and len(words) >= 8 and words[-3] == file and words[-4].isdigit():
                    return int(words[-4])
    except OSError:
        pass
    return 0


def _protect() -> None:
    """The system may be short of memory just because this file system is frozen: be spared by the OOM killer, and
    never wait for its dirty pages (PR_SET_IO_FLUSHER, Linux 5.6, inherited by the tools)."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("-1000")
    except OSError:
        pass
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        libc.prctl(57, 1, 0, 0, 0)
        libc.mlockall(3)
    except (ImportError, OSError, AttributeError):
        pass


def _end(number: int, frame: object) -> None:
    raise Ended


def release(name: str) -> int:
    """Give the locks at the witness back; called by the follow service when both nodes are in step again.

    Only while connected, as the only one, and each lock by the nonce that it had then: a handler that is called
    meanwhile ends us, and takes a lock with a nonce of its own.
    """
    if records.witness(name) is None:
        return 0
    lock = _open_lock(name)
    try:
        return _release(name, lock)
    finally:
        os.close(lock)


def _release(name: str, lock: int) -> int:
    from drbdocfs_boot.tools import witness

    resource = (records.read(name, "attach") or {}).get("RESOURCE", "")
    if not resource:
        return EX_TEMPFAIL  # it is being stopped
    handler = Handler(resource)
    handler.name = name
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return EX_TEMPFAIL  # a handler is at work
    _sign(lock, NO_FREEZE)
    marker = records.witness(name)  # not before: the handler that had the place may have added a lock
    if marker is None:
        return 0
    where, locks = marker
    handler.settle(ASK_LIMIT)
    handler.close()
    if drbd.verdict(handler.state, handler.resource).status != 0:
        return EX_TEMPFAIL
    try:
        for generation, nonce in locks:
            answer = witness.release(where, generation, nonce, RELEASE_LIMIT)
            if answer.kind == witness.ERROR:
                raise Failure(EX_UNAVAILABLE, answer.said)
    except (Failure, OSError) as error:
        handler.step(f"the lock at {where} was not given back, which is tried again: {_words(error)}")
        return EX_UNAVAILABLE
    records.clear_witness(name)
    return 0


def dry_run(resource: str) -> int:
    """What a call would do now, for ``drbdocfs fence-test``; nothing is changed, nobody is asked for a lock."""
    handler = Handler(resource)
    if handler.stack is None:
        print(f"nobody would go on: {handler.trouble}")
        return EX_CONFIG
    handler.settle(ASK_LIMIT)
    handler.close()
    grace = handler.stack.link_grace / 1_000_000
    plan = fencing.plan(handler.stack.survivor, grace, handler.times(), handler.lowest(), handler.several)
    print(f"stack {handler.name}, resource {resource}, peer {handler.peer}, now: {handler.situation()}")
    print(plan.sum)
    survivor = handler.stack.survivor
    if survivor == fencing.NONE:
        print("survivor = none: both nodes would stay frozen until the link is back or O2CB resets them")
    elif survivor in (fencing.POWER, fencing.WITNESS):
        what = handler.stack.fence_agent if survivor == fencing.POWER else handler.stack.witness
        print(f"survivor = {survivor}: {what} would decide")
    elif survivor == handler.host:
        print(f"survivor = {survivor}: this node would go on")
    elif survivor == handler.peer:
        print(f"survivor = {survivor}: this node would stay frozen and be reset")
    else:
        print(f"survivor = {survivor} is neither this node ({handler.host}) nor {handler.peer}")
        return EX_CONFIG
    return 0 if plan.fits else 1


def main() -> int:
    """Entry point of libexec/fence-peer."""
    # The kernel's own PATH for its helpers is short, and an agent may be in /usr/local.
    os.environ["PATH"] = os.environ.get("PATH", "") + ":" + PATH
    words = sys.argv[1:]
    resource = os.environ.get("DRBD_RESOURCE", "")
    if words == ["--dry-run"] and resource:
        return dry_run(resource)
    if len(words) == 2 and words[0] == "--release":
        _signal.signal(_signal.SIGTERM, _end)
        try:
            return release(words[1])
        except Ended:
            return EX_TEMPFAIL
    if words or not resource:
        print("usage: fence-peer [--dry-run | --release STACK], by DRBD with DRBD_RESOURCE in its environment",
              file=sys.stderr)  # fmt: skip
        return 2
    _signal.signal(_signal.SIGTERM, _end)
    handler = None
    try:
        _protect()
        handler = Handler(resource)
        handler.lock = _take_place(handler)
        return handler.run()
    except Ended:
        return FROZEN
    except Exception as error:
        text = str(error) if isinstance(error, (OSError, Failure)) else mistake.words(error)
        if handler is not None:
            handler.frozen(text)
        else:
            kmsg.write(f"drbdocfs-fence-peer: {resource}: {text}", 2)
        return FROZEN
    finally:
        if handler is not None:
            handler.close()
