"""The witness, which gives each lock to one node only: asked over ssh, or in a directory that both nodes share.

An answer counts only as a whole: the words, the end of the line, and the exit status that belongs to them.  Anything
else is an error, never "taken".  See libexec/witness and drbdocfs-witness(8).
"""

import time

from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Process, Result

PROGRAM = "/usr/libexec/drbdocfs-boot/witness"
EX_UNAVAILABLE = 69
EX_TEMPFAIL = 75
SSH_FAILED = 255
MOST = 1 << 20  # bytes of an answer
KILLING = 2.0  # seconds that Process.end() may take over one that hangs in the kernel

OK, TAKEN, HELD, RELEASED, NOT_HELD, ERROR = "ok", "taken", "held", "released", "not held", "error"

# Nothing of root's own ssh_config may ask, wait for others, write a file, or be kept from an earlier connection.
SSH = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "ConnectionAttempts=1", "ControlMaster=no",
    "ControlPath=none", "ClearAllForwardings=yes", "ForwardAgent=no", "ForwardX11=no", "GSSAPIAuthentication=no",
    "PermitLocalCommand=no", "RequestTTY=no", "ServerAliveInterval=2", "ServerAliveCountMax=2",
)  # fmt: skip

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-+@:")
_HEX = frozenset("0123456789ABCDEF")
# Programs that hang in the kernel, by directory: no second one is sent after the first.
_hanging: "dict[str, Process]" = {}


class Answer:
    """``kind``: ok, taken, held, released, "not held", or error; ``holder``: who has the lock, where it is held;
    ``identity``: with ok, the name of the directory, so that two nodes can see whether theirs is the same ("" when the
    witness does not tell); ``said``: on one line what the witness or ssh said, for people."""

    __slots__ = ("holder", "identity", "kind", "said")

    def __init__(self, kind: str, holder: str = "", said: str = "", identity: str = "") -> None:
        self.kind = kind
        self.holder = holder
        self.said = said
        self.identity = identity


class Lock:
    """A lock that is held; ``time``: since when by the clock of the witness, for people."""

    __slots__ = ("generation", "holder", "label", "nonce", "time")

    def __init__(self, generation: str, holder: str, nonce: str, time: str, label: str) -> None:
        self.generation = generation
        self.holder = holder
        self.nonce = nonce
        self.time = time
        self.label = label

    def __str__(self) -> str:
        return f"{self.generation} {self.holder} {self.nonce} {self.time} {self.label or '-'}"


def probe(where: str, limit: float) -> Answer:
    """Whether the witness could give a lock now: ok or error."""
    done = _ask(where, ["probe"], limit)
    if isinstance(done, Answer):
        return done
    words = done.out[:-1].split(" ")
    if done.code == 0 and done.out.endswith("\n") and words[:2] == ["ok", "1"] and len(words) <= 3:
        identity = "".join(words[2:])
        if not identity or _PLAIN.issuperset(identity):
            return Answer(OK, said=done.out.strip(), identity=identity)
    return _odd(where, done)


def take(where: str, generation: str, holder: str, nonce: str, label: str, limit: float) -> Answer:
    """Take the lock of a generation: taken, held (by ``holder`` of the answer), or error, after which it may be taken
    or not: to be asked again, with the same nonce or a new one, or released.  A nonce that was released is used up."""
    done = _ask(where, ["take", generation, holder, nonce, *([label] if label else [])], limit)
    if isinstance(done, Answer):
        return done
    if done.code == 0 and done.out == "taken\n":
        return Answer(TAKEN, holder, "taken")
    name = done.out[len("held ") : -1]
    if done.code == 1 and done.out == f"held {name}\n" and name not in ("", holder) and _PLAIN.issuperset(name):
        return Answer(HELD, name, done.out.strip())
    return _odd(where, done)


def release(where: str, generation: str, nonce: str, limit: float) -> Answer:
    """Free the lock if it is this nonce's: released, not held (by this nonce), or error: to be asked again."""
    done = _ask(where, ["release", generation, nonce], limit)
    if isinstance(done, Answer):
        return done
    if done.code == 0 and done.out in ("released\n", "not held\n"):
        return Answer(done.out[:-1], said=done.out.strip())
    return _odd(where, done)


def held(where: str, holder: str, label: str, limit: float) -> "list[Lock]":
    """The locks that are held by ``holder`` ("": anybody) with ``label`` ("": any).

    Raises Failure (69, 75) where that is not known, in part or as a whole.
    """
    done = _ask(where, ["list", *([label] if label else [])], limit)
    if isinstance(done, Answer):
        raise Failure(EX_UNAVAILABLE, done.said)
    if done.code != 0 or (done.out and not done.out.endswith("\n")):
        raise Failure(EX_UNAVAILABLE, _odd(where, done).said)
    found = []
    for line in done.out.splitlines():
        words = line.split(" ")
        if len(words) != 5 or len(words[0]) != 16 or not _HEX.issuperset(words[0]) or "" in words:
            raise Failure(EX_UNAVAILABLE, _odd(where, done).said)
        lock = Lock(words[0], words[1], words[2], words[3], "" if words[4] == "-" else words[4])
        if holder in ("", lock.holder) and label in ("", lock.label):
            found.append(lock)
    return found


def command(where: str, words: "list[str]", limit: float) -> "list[str]":
    """The program to run for these words, with its arguments."""
    if where.startswith("/"):
        return [PROGRAM, where, *words]
    user, at, place = where.rpartition("@")
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        port = rest[1:]
    else:
        host, _, port = place.partition(":")
    argv = ["ssh", "-T", "-x", "-a"]
    for option in (*SSH, f"ConnectTimeout={max(1, int(limit))}"):
        argv += ["-o", option]
    if port:
        argv += ["-p", port]
    return [*argv, "--", user + at + host, " ".join(words)]


def _ask(where: str, words: "list[str]", limit: float) -> "Result | Answer":
    """What the witness printed, and its exit status; an Answer where there is none.

    Not longer than ``limit``; where the file server of a directory hangs, not longer than that and two seconds more.
    """
    for word in words:
        # These letters mean nothing to any shell on the way, and no word is an option.
        if not word or word[0] == "-" or not _PLAIN.issuperset(word):
            return Answer(ERROR, said=f"{word[:64]!a} cannot be asked for at the witness")
    local = where.startswith("/")
    old = _hanging.get(where)
    if old is not None:
        if old.wait(0) is None:
            return Answer(ERROR, said=f"witness {where}: an earlier question still hangs in the kernel")
        del _hanging[where]
    # The two seconds are taken from a limit that has room for them.
    deadline = time.monotonic() + (max(limit - KILLING, limit / 2) if local else limit)
    try:
        process = Process(command(where, words, limit))
    except Failure as failure:
        return Answer(ERROR, said=f"witness {where}: {failure.message}")
    except OSError as error:
        return Answer(ERROR, said=f"witness {where}: {error.strerror}")
    texts = {process.out_fd: b"", process.err_fd: b""}
    try:
        ended = False
        while process.fds and time.monotonic() < deadline and len(texts[process.out_fd]) <= MOST:
            # Its end counts, and then what is there: something that it left behind may keep our pipe open.
            arrived = process.read(0.0 if ended else min(0.2, max(0.0, deadline - time.monotonic())))
            if ended and not arrived:
                break
            for fd, data in arrived:
                if len(texts[fd]) <= MOST:
                    texts[fd] += data
            ended = process.wait(0) is not None
        code = process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        if not process.end():
            _hanging[where] = process
    out = texts[process.out_fd].decode("ascii", "replace")
    result = Result(code if code is not None else -1, out, texts[process.err_fd].decode("utf-8", "replace"))
    if code is None:
        said = f"witness {where}: no answer in {limit:g} s"
        return Answer(ERROR, said=said + (f" ({_line(result.err)})" if result.err.strip() else ""))
    if code == SSH_FAILED and not local:
        return Answer(ERROR, said=f"witness {where} is not reached by ssh: {_line(result.err) or 'no reason given'}")
    return result


def _odd(where: str, done: Result) -> Answer:
    said = _line(done.err) or _line(done.out)
    return Answer(ERROR, said=f"witness {where}: {said or 'no answer'} (exit {done.code})")


def _line(text: str) -> str:
    """One printable line of what somebody else said."""
    line = "; ".join(part.strip() for part in text.splitlines() if part.strip())
    return "".join(char if char.isprintable() else "?" for char in line)[:300]
