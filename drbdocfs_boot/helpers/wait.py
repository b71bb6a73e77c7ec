"""The wait before promotion: until the peer is connected, replication is Established and both disks are UpToDate.

Event-driven on ``drbdsetup events2``.  It ends well with that, or when the stack's policy (or the administrator, by
``drbdocfs proceed``) allows to go on alone; it ends badly at once where no waiting helps, and with the reason when
the stack's boot_timeout is over.  What it knows then stands in the record STACK.waiting, with which the follow
service goes on waiting outside the boot.
"""

import posix
import time

from drbdocfs_boot.events import State
from drbdocfs_boot.exits import EX_TEMPFAIL, EX_UNAVAILABLE
from drbdocfs_boot.helpers import address
from drbdocfs_boot.helpers.base import NOT_MARKED, Layer
from drbdocfs_boot.kernellog import ADDRESS
from drbdocfs_boot.tools import drbd, records, wake
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.notify import status
from drbdocfs_boot.tools.run import Process
from drbdocfs_boot.verdict import (
    ALONE,
    ALONE_REFUSED,
    NO_ADDRESS,
    RESYNCING,
    SPLIT_BRAIN,
    STAND_ALONE,
    STARTING,
    WAITING,
    Policy,
    Verdict,
    clock,
    judge,
    peers_present,
)

# Of what only some waits need, each import stands where it is needed: 32 of them may wait at once.
TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from drbdocfs_boot.metadata import Proof
    from drbdocfs_boot.tools import netlink

# A connection is StandAlone for a moment while 'drbdadm adjust' or an administrator connects it again.
SETTLE = 1.5
DUMP_LIMIT = 20.0  # seconds for the first dump; a drbdsetup that hangs must not eat the whole boot_timeout
# Seconds until the first look at the state by a dump of its own, and from then on as long again as it has followed the
# events: 30, 60, 120, ...  The events decide; but one that got lost on its way would otherwise cost the whole
# boot_timeout, and nobody would know why.  So it costs no more than was waited already, and who waits sleeps.
LOOK_AFTER = 30.0
SHOW_EVERY = 2.0  # seconds between looks at a resync's progress, for the status line only
STALLED = 60.0  # seconds without progress, after which a resync is said to stall


def start(layer: Layer) -> int:
    """Wait; returns the verdict's status when the stack may go on, raises Failure with it when not."""
    wait = Wait(layer)
    try:
        verdict = wait.run()
    except (Failure, OSError) as error:
        wait.late(STARTING, str(error))
        raise
    finally:
        wait.close()
    if verdict.go:
        wait.done(verdict)
        layer.say(f"{wait.resource}: {verdict.reason}")
        return verdict.status
    wait.late(verdict.kind, verdict.reason)
    if verdict.kind == SPLIT_BRAIN:
        layer.leave(lambda: records.mark_split_brain(layer.instance), NOT_MARKED)
    if verdict.final:
        records.remove(layer.instance, "proceed")  # given on another footing; what comes after it needs a new one
    failure = _failure(wait, verdict)
    from drbdocfs_boot.tools import console

    console.say(f"drbdocfs: {layer.instance}: {failure.message}")
    console.say(f"drbdocfs: {layer.instance}: what to do: {failure.advice}")
    raise failure


def _failure(wait: "Wait", verdict: Verdict) -> Failure:
    advice = verdict.advice.replace("STACK", wait.layer.instance)
    if verdict.final:
        return Failure(verdict.status, verdict.reason, advice)
    return Failure(
        verdict.status,
        f"{wait.resource} was not ready after {clock(wait.boot_timeout)} (boot_timeout): {verdict.reason}",
        "it goes on waiting in the background (drbdocfs-follow.service) and comes up by itself; " + advice,
    )


def stop(layer: Layer) -> None:
    """Nothing is held by a wait that has ended."""


class Wait:
    """One wait of one stack."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.resource = layer.setting("RESOURCE")
        self.device = layer.setting("DEVICE")
        self.boot_timeout = layer.seconds("BOOT_TIMEOUT")
        self.peer_timeout = layer.seconds("PEER_TIMEOUT")
        self.when_alone = layer.setting("WHEN_ALONE")
        drbd.require_module()
        self.started = time.monotonic()
        attached = records.read(layer.instance, "attach") or {}
        self.address = attached.get("ADDRESS", "")
        self.peer = attached.get("PEER", "")
        if self.peer and attached.get("PEER_ADDRESS"):
            self.peer += " at " + attached["PEER_ADDRESS"]
        earlier = records.read(layer.instance, "waiting")
        self.limit = self.boot_timeout
        # Since when the peer is missing: a wait that is started again goes on counting.
        self.missing_since = self.started
        if earlier is not None:
            self.missing_since = min(self.started, records.number(earlier.get("BEGAN"), self.started))
        else:
            # What the attach waited for counts: nothing of ours holds back a boot longer than boot_timeout.
            self.limit = max(1.0, self.limit - records.number(attached.get("WAITED"), 0.0))
        records.remove(layer.instance, "alone")
        self._record("boot", WAITING, "")
        self.proof: "Proof | None" = None
        self.here = False  # the peer, at the last look
        self.why = ""
        self.told = ""
        self.moved = (self.started, -1.0)  # when a resync last got on, and where it stood
        self.addresses: "netlink.Addresses | None" = None
        self.socket = wake.listen(wake.of_wait(layer.instance))

    def close(self) -> None:
        """Stop listening."""
        self.socket.close()
        if self.addresses is not None:
            self.addresses.close()

    def _record(self, state: str, kind: str, reason: str) -> None:
        records.write(
            self.layer.instance,
            "waiting",
            RESOURCE=self.resource,
            DEVICE=self.device,
            BEGAN=f"{self.missing_since:.3f}",
            WHEN_ALONE=self.when_alone,
            PEER_TIMEOUT=self.layer.setting("PEER_TIMEOUT"),
            STATE=state,
            KIND=kind,
            REASON=reason,
            PID=str(posix.getpid()),
        )

    def late(self, kind: str, reason: str) -> None:
        """Hand over to the follow service, to which the record of the beginning says enough once we have ended."""
        self.layer.leave(lambda: self._record("late", kind, reason), "why it is late cannot be recorded")

    def done(self, verdict: Verdict) -> None:
        """The waiting is over, and well."""
        instance = self.layer.instance
        if verdict.kind == ALONE:
            records.write(instance, "alone", WHY=verdict.reason, TIME=str(int(time.time())))
            self._tell_alone(verdict)
        else:
            try:
                records.clear_split_brain(instance)
            except OSError as error:  # /var is read-only, for one: no reason not to mount what is in step
                self.layer.say(f"the note of a split brain stays: {error}")
        records.remove(instance, "proceed")
        records.remove(instance, "waiting")
        wake.send(wake.FOLLOW)

    def _tell_alone(self, verdict: Verdict) -> None:
        from drbdocfs_boot.messages import Message
        from drbdocfs_boot.tools import journal

        message = Message(
            "alone",
            stack=self.layer.instance,
            resource=self.resource,
            peer=self.peer.partition(" at ")[0] or "the peer",
            reason=verdict.reason,
        )
        # journald may come to it when this process is gone, and cannot tell the unit then (journalctl(1), -u).
        unit = f"drbdocfs-wait@{self.layer.instance}.service"
        journal.send({**message.journal(), "SYSLOG_IDENTIFIER": "drbdocfs", "OBJECT_SYSTEMD_UNIT": unit})

    def run(self) -> Verdict:
        """The verdict with which the wait ends: one to go on with, a final one, or the last one at the limit."""
        while True:
            process = drbd.events_process(self.resource)
            try:
                verdict = self._follow(process)
            finally:
                process.end()
            if verdict is not None:
                return verdict
            # Events were lost, or the tool ended: a new dump by a new process.
            if time.monotonic() - self.started >= self.limit:
                return Verdict(STARTING, f"drbdsetup events2 {self.resource} keeps ending")
            time.sleep(0.2)

    def judge(self, state: State, now: float) -> Verdict:
        """The verdict now; DRBD's metadata is only asked when it decides."""
        here = peers_present(state)
        if here or self.here:  # the first look after it has gone counts, too: the last one may be seconds old
            self.missing_since = now
            self.proof = None
        self.here = here
        instance = self.layer.instance
        if here:
            records.remove(instance, "proceed")  # told to go on without a peer that was not there
        policy = Policy(
            self.when_alone,
            self.peer_timeout,
            records.read(instance, "proceed") is not None,
            records.split_brain(instance),
        )
        if state.stand_alone or not state.connections:
            why = self.why
        else:
            why = self.why = ""

        def ask() -> Verdict:
            return judge(
                state, self.resource, why, policy=policy, metadata=self.proof, elapsed=now - self.missing_since,
                peer=self.peer, own=self.address, progress=drbd.progress(state),
            )  # fmt: skip

        verdict = ask()
        if verdict.kind == ALONE_REFUSED and policy.when_alone == "newest" and not policy.unresolved:
            if self.proof is None:
                self.proof = drbd.proof(state, self.device)
            verdict = ask()
        return verdict

    def _follow(self, process: Process) -> "Verdict | None":
        """Follow one events2 process; None when a new dump is needed."""
        state = State()
        rest = errors = b""
        opened = time.monotonic()
        look = opened + LOOK_AFTER
        settled = 0.0
        while True:
            now = time.monotonic()
            verdict = self.judge(state, now)
            if verdict.go or (verdict.final and verdict.kind != STAND_ALONE):
                return verdict
            if verdict.kind == STAND_ALONE:
                settled = settled or now
                if now - settled >= SETTLE:
                    self.why = address.why_stand_alone(state, self.resource, self.address, self.layer.instance)
                    if self.why != ADDRESS:
                        return self.judge(state, now)
                    continue
            else:
                settled = 0.0
            if verdict.kind == NO_ADDRESS and self._connected_again():
                self.why = ""
                return None
            left = self.started + self.limit - now
            if left <= 0:
                if verdict.kind == STAND_ALONE:  # not settled yet, but the reason is known all the same
                    self.why = address.why_stand_alone(state, self.resource, self.address, self.layer.instance)
                    verdict = self.judge(state, now)
                return verdict
            if not state.complete and now - opened >= DUMP_LIMIT:
                raise Failure(
                    EX_TEMPFAIL,
                    f"'drbdsetup events2 {self.resource}' has said nothing for {DUMP_LIMIT:.0f} s",
                    "see the kernel log: journalctl -k",
                )
            if state.complete and now >= look:
                look = now + (now - opened)
                if self._differs(verdict):
                    return None
            self._show(verdict, now)
            # Whatever else it has to know wakes it: the tool, the sockets.
            pauses = [left, (look if state.complete else opened + DUMP_LIMIT) - now]
            if verdict.kind == STAND_ALONE:
                pauses.append(SETTLE)
            elif verdict.kind == RESYNCING:
                pauses.append(SHOW_EVERY)
            decides = self.missing_since + self.peer_timeout - now
            if decides > 0:
                pauses.append(decides)
            others = [self.socket.fileno()]
            if self.addresses is not None:
                others.append(self.addresses.fileno())
            for fd, data in process.read(min(pauses), tuple(others)):
                if fd == process.out_fd:
                    rest += data
                elif fd == process.err_fd:
                    errors = (errors + data)[-2000:]
                elif fd == self.socket.fileno():
                    self.socket.drain()
                elif self.addresses is not None:
                    self.addresses.drain()
            *lines, rest = rest.split(b"\n")
            for line in lines:
                state.feed(line.decode("utf-8", "replace"))
            if state.lost:
                return None
            if not process.fds:
                verdict = self.judge(state, time.monotonic())
                if verdict.go or verdict.final:
                    continue
                code = process.wait(1.0)
                if code == drbd.NO_MODULE:
                    drbd.require_module()
                if not state.complete:
                    said = errors.decode("utf-8", "replace").strip()
                    raise Failure(EX_UNAVAILABLE, f"drbdsetup events2 {self.resource} ended with {code}: {said}")
                return None

    def _connected_again(self) -> bool:
        """StandAlone for want of an address: connect once it is there.  True when that was done."""
        if self.addresses is None:
            from drbdocfs_boot.tools import netlink

            self.addresses = netlink.Addresses()  # before the look, so that none slips through between
        if not self.address or not address.present(self.address):
            return False
        self.layer.say(f"the address {self.address} is there: connecting {self.resource} again")
        result = drbd.adjust(self.resource)
        if result.code != 0:
            self.layer.say(f"'drbdadm adjust {self.resource}' exited with {result.code}: {result.said}")
            time.sleep(1.0)
        if not drbd.gave_up(result):
            # Done, or refused for another reason, which no more tries mend.
            records.remove(self.layer.instance, records.UNCONNECTED)
        return True

    def _differs(self, verdict: Verdict) -> bool:
        """True when a dump of its own leads to another verdict, or to news of a resync; a dump that cannot be had
        proves nothing."""
        try:
            found = self.judge(drbd.state(self.resource), time.monotonic())
        except Failure:
            return False
        return found.kind != verdict.kind or (found.kind == RESYNCING and found.reason != verdict.reason)

    def _show(self, verdict: Verdict, now: float) -> None:
        """Status line every time, a journal line when the reason changed.

        No clock stands in the status line, which would have to be set; since when the unit starts is systemd's to show.
        """
        text = verdict.reason
        if verdict.kind == RESYNCING:
            where = -1.0 if verdict.percent is None else verdict.percent
            if where != self.moved[1]:
                self.moved = (now, where)
            elif now - self.moved[0] >= STALLED:
                text += f", no progress for {clock(now - self.moved[0])}"
        else:
            self.moved = (now, -1.0)
        status(f"{text}, for {clock(self.limit)} at most")
        what = text.partition(" %")[0].rstrip("0123456789") if verdict.kind == RESYNCING else verdict.reason
        if " no progress " in text:
            what += " stalls"
        if verdict.kind != STARTING and what != self.told:
            self.told = what
            print(f"{self.layer.instance}: {text}", flush=True)
