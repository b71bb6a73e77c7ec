"""What is fuzzed: for each reader its seeds, and the properties that hold for every input whatever.

A property that does not hold raises; an exception of the reader itself that is not its documented one does, too.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from hypothesis import strategies as st

from drbdocfs_boot import (
    clusterconf,
    config,
    drbdconf,
    drbddump,
    drbdmd,
    escape,
    events,
    fenceoptions,
    fstab,
    generator,
    kernellog,
    lean,
    metadata,
    ocfs2sb,
    shelltext,
    units,
    values,
)
from drbdocfs_boot.stack import Problem, Reading, Stack
from drbdocfs_boot.tools import records, witness
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.run import Result

from . import unitreader

TOP = Path(__file__).parents[2]
CASES = TOP / "tests/generator/cases"
TRANSCRIPTS = TOP / "tests/transcripts"
SEPARATOR = b"\n\x1c\n"  # between the parts of an input that stands for several files
LIMIT = 5.0  # seconds of processor time for one example


class Hangs(Exception):
    """A reader took longer than LIMIT."""


@dataclass(frozen=True)
class Target:
    """``check`` raises where a property does not hold; ``tokens`` are put in by the mutations; ``grows``: pieces that,
    repeated up to ``size`` bytes, may not take more than linear time."""

    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    tokens: tuple[bytes, ...]
    grows: tuple[bytes, ...] = ()
    size: int = 100_000


# --- strategies -------------------------------------------------------------------------------------------------

NASTY = (
    b"\0", b"\r", b"\r\n", b"\n", b"\n\n", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b",
    b"\x0c",
    b"\x1c", b"\x1b[2J", b" ", b"\t", b"\\", b"\\\n", b"%n", b"%%", b"$x", b"${x}", b"$(x)", b"`x`", b"'", b'"',
    b";", b"#",
    b"[Service]\nExecStart=/bin/x\n", b"\nExecStart=/bin/x", b"../", b"/", b"\xed\xa0\x80", b"=", b":", b"A" * 300,
    b"\xd9\xa3", b"\xc2\xb2",
)  # fmt: skip


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Real files with a few changes, the reader's own signs in any order, and bytes."""
    seeds = target.seeds()
    token = st.sampled_from(target.tokens + NASTY)

    @st.composite
    def mutated(draw: st.DrawFn) -> bytes:
        data = draw(st.sampled_from(seeds))
        for _ in range(draw(st.integers(0, 6))):
            at = draw(st.integers(0, len(data)))
            end = min(len(data), at + draw(st.sampled_from([0, 0, 0, 1, 2, 8, 64, 4096])))
            kind = draw(st.integers(0, 4))
            if kind == 0:
                new = b""
            elif kind == 1:
                new = data[at:end] * draw(st.integers(2, 5))
            elif kind == 2:
                other = draw(st.sampled_from(seeds))
                start = draw(st.integers(0, len(other)))
                new = other[start : start + draw(st.sampled_from([1, 8, 64, 512]))]
            else:
                new = draw(token)
            data = data[:at] + new + data[end:]
        return data

    return st.one_of(mutated(), mutated(), st.lists(token, max_size=30).map(b"".join), st.binary(max_size=300))


def run(target: Target, data: bytes, limit: float = LIMIT) -> None:
    """One example, within its time."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise Hangs(f"more than {limit:g} s of processor time for {len(data)} bytes")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        target.check(data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


# --- seeds ------------------------------------------------------------------------------------------------------


def _files(place: Path, pattern: str) -> list[bytes]:
    found = [path.read_bytes() for path in sorted(place.rglob(pattern)) if path.is_file()]
    if not found:
        raise AssertionError(f"no seeds {place}/{pattern}")
    return found


CLUSTER_CONF = b"""cluster:
\tnode_count = 2
\theartbeat_mode = local
\tname = web
node:
\tip_port = 7777
\tip_address = 10.0.0.1
\tnumber = 0
\tname = alpha
\tcluster = web
"""
FENCE_CONF = b"""# both
username = admin
password = "top secret"
lanplus = 1
[alpha]
ip = 10.0.0.11
[beta]
ip = 10.0.0.12
passwd = other's
"""
SCRIPT = b"""#!/bin/sh
R=r0
case "$1" in
start)
  losetup /dev/loop7 /drbd.img && drbdadm up $R || exit 1
  for i in 1 2; do mount -t ocfs2 "${DEV:-/dev/drbd0}" /srv; done
  cat <<-EOF
\thello `date` $(echo $(hostname))
\tEOF
  ;;
esac
"""
RECORDS = b"RESOURCE=r0\nDEVICE=/dev/drbd0\nREASON=a = b\nSINCE=123.5\n"
GENERATION = "0123456789ABCDEF"
ANSWERS = [
    b"ok 1 0123456789abcdef\n", b"taken\n", b"held beta\n", b"released\n", b"not held\n", b"",
    GENERATION.encode() + b" beta 0011 2026-01-01T00:00:00Z r0\n",
]  # fmt: skip


def _ocfs2() -> list[bytes]:
    block = bytearray(512)
    block[:6] = b"OCFSV2"
    block[0x14:0x18] = (1000).to_bytes(4, "little")
    block[0xE0:0xE4] = (0x4080).to_bytes(4, "little")
    block[0xF8:0x102] = (12).to_bytes(4, "little") + (12).to_bytes(4, "little") + (2).to_bytes(2, "little")
    return [bytes(8192) + bytes(block) + bytes(512), bytes(510) + b"\x55\xaa" + bytes(4096)]


def _drbdmd() -> list[bytes]:
    return [
        (2048).to_bytes(8, "big") + bytes(48) + (1).to_bytes(4, "big") + magic.to_bytes(4, "big") + bytes(64)
        for magic in (*drbdmd.MAGIC_8, drbdmd.MAGIC_9)
    ]


def _generator() -> list[bytes]:
    found = []
    for case in sorted(CASES.iterdir()):
        place = case / "input/etc"
        main, more = place / "drbdocfs/drbdocfs.conf", sorted(place.glob("drbdocfs/conf.d/*.conf"))
        parts = [path.read_bytes() if path.is_file() else b"" for path in (main, *more[:1])] + [b""] * (not more)
        table = place / "fstab"
        found.append(SEPARATOR.join([*parts, table.read_bytes() if table.is_file() else b""]))
    return found


# --- properties -------------------------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _require(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


@contextmanager
def _root(files: dict[str, bytes]) -> Iterator[str]:
    place = tempfile.mkdtemp(prefix="drbdocfs-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        for name, data in files.items():
            os.makedirs(os.path.dirname(place + name), exist_ok=True)
            Path(place + name).write_bytes(data)
        yield place
    finally:
        shutil.rmtree(place)


def _parts(data: bytes) -> dict[str, bytes]:
    main, more, table = [*data.split(SEPARATOR, 2), b"", b""][:3]
    return {lean.MAIN_FILE: main, lean.MORE_FILES + "/more.conf": more, "/etc/fstab": table}


def check_config(data: bytes) -> None:
    """Both readers read alike, and no value or message has more than one line."""
    with _root(_parts(data)) as root:
        boot = lean.read(root)
        _require(boot == config.read(root), "the two readers differ")
    for problem in boot.problems:
        _require(str(problem).isprintable(), f"not printable: {problem}")
        _require(len(str(problem)) < 4000, "a message without an end")
    for stack in boot.stacks:
        _require(stack.name not in boot.broken, "both good and broken")
        for name in values.KEYS:
            _require(not values.control(str(getattr(stack, name))), f"a control character in {name}")


def _benign(reading: Reading, problems: tuple[Problem, ...], table: dict[str, fstab.Line]) -> dict[str, str]:
    """The tree of a harmless configuration with as many stacks and mistakes, of the same kinds."""
    bad = {problem.stack for problem in problems}
    clusters: dict[str, str] = {}
    lines: dict[str, fstab.Line] = {}
    parts: dict[str, str] = {}  # a mount point below another one's stays so
    stacks = []
    for number, stack in enumerate(stack for stack in reading.stacks if stack.name not in bad):
        mountpoint = "/srv"
        for part in stack.mountpoint.split("/")[1:]:
            mountpoint += "/" + parts.setdefault(part, f"m{len(parts)}")
        if stack.mountpoint in table:
            line = table[stack.mountpoint]
            spec = f"/dev/drbd{number}" if line.spec == stack.device else f"/dev/drbd/by-res/r{number}"
            lines[mountpoint] = fstab.Line(1, spec, mountpoint, "ocfs2", line.options)
        stacks.append(
            Stack(
                f"s{number}", resource=f"r{number}", device=f"/dev/drbd{number}", mountpoint=mountpoint,
                cluster=clusters.setdefault(stack.cluster, f"c{len(clusters)}"),
                loop_device=stack.loop_device and f"/dev/loop{number}",
                backing_file=stack.backing_file and f"/b{number}",
                mount_options=stack.mount_options and "noatime",
            )
        )  # fmt: skip
    groups = {p.stack or p.file: (f"b{i}", bool(p.stack)) for i, p in enumerate(problems)}
    mistakes = tuple(Problem("/f" + n, 0, n if of_stack else "", "wrong") for n, of_stack in groups.values())
    return units.tree(Reading(tuple(stacks), mistakes), lines)[0]


def _shape(files: dict[str, str]) -> Counter[tuple[tuple[str, str], ...]]:
    return Counter(
        (("link", ""),)
        if text.startswith(units.LINK)
        else tuple((section, key) for section, key, _ in unitreader.assignments(text))
        for text in files.values()
    )


_UNIT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.\\@-")


def check_generator(data: bytes) -> None:
    """Nothing in any input adds a directive, a section, a word or a file."""
    with _root(_parts(data)) as root:
        out = root + "/out/normal"
        os.makedirs(out)
        before = {str(path) for path in Path(root).rglob("*")}
        reading = lean.read(root)
        table = fstab.parse(generator._read(root + "/etc/fstab"))
        files, problems = units.tree(reading, table)
        told, failed = generator.generate(root, out)
        _require(told == (problems if reading.stacks or reading.problems else ()), "other problems")
        _require(not failed, f"not written: {failed}")
        after = {str(path) for path in Path(root).rglob("*")} - before
        _require(all(name.startswith(out + "/") for name in after), "a file outside its directory")
        written = {name[len(out) + 1 :] for name in after if os.path.islink(name) or os.path.isfile(name)}
        _require(written == set(files), "other files than those of the tree")
        for name, text in files.items():
            if text.startswith(units.LINK):
                _require(os.readlink(f"{out}/{name}") == text[len(units.LINK) :], "another link")
            else:
                _require(Path(out, name).read_bytes() == text.encode(), "another text")
    for name, text in files.items():
        parts = (name[len(units.EARLY) :] if name.startswith(units.EARLY) else name).split("/")
        _require(len(parts) <= 2 and all(part not in ("", ".", "..") for part in parts), f"odd place {name!r}")
        # %i of these names is a word of ExecStart=.
        _require(set(name) <= _UNIT | {"/"}, f"odd name {name!r}")
        if name.startswith(units.EARLY):
            _require(text == f"{units.LINK}/dev/null", f"odd link {text!r}")
        elif name.startswith("remote-fs.target.wants/"):
            _require(text == f"{units.LINK}../{parts[1]}", f"odd link {text!r}")
        elif text.startswith(units.LINK):
            _require(
                text in (f"{units.LINK}{units.UNIT_DIRECTORY}{unit}" for unit in (
                    "drbdocfs@.target", "drbdocfs-broken@.service", units.FOLLOW)), f"odd link {text!r}",
            )  # fmt: skip
    benign = _benign(reading, problems, table)
    _require(_shape(files) == _shape(benign), f"another shape: {_shape(files) - _shape(benign)}")
    bad = {problem.stack for problem in problems}
    for stack in reading.stacks:
        if stack.name not in bad:
            _values(stack, files)
    for name, text in files.items():
        if not text.startswith(units.LINK):
            for _section, key, value in unitreader.assignments(text):
                _require(not key.startswith("Exec"), f"{key} in {name}")
                if key == "Environment":
                    _require(len(unitreader.words(value)) == 1, f"several words: {value}")
                    unitreader.plain(value)


def _values(stack: Stack, files: dict[str, str]) -> None:
    """What systemd makes of the texts is what the configuration says."""
    said: dict[str, set[str]] = {}
    for name, text in files.items():
        if f"@{stack.name}.service.d/" in name and "-o2cb@" not in name:
            for _section, key, value in unitreader.assignments(text):
                if key == "Environment":
                    variable, _, found = unitreader.plain(unitreader.words(value)[0]).partition("=")
                    said.setdefault(variable, set()).add(found)
    for key, expected in (
        ("RESOURCE", stack.resource), ("DEVICE", stack.device), ("MOUNTPOINT", stack.mountpoint),
        ("BACKING_FILE", stack.backing_file), ("LOOP_DEVICE", stack.loop_device),
        ("WHEN_ALONE", stack.when_alone), ("PEER_TIMEOUT", str(stack.peer_timeout)),
    ):  # fmt: skip
        if expected:
            _require(said["DRBDOCFS_" + key] == {expected}, f"{key}: {said} is not {expected!r}")
    mount = files.get(escape.mount_unit(stack.mountpoint))
    if mount is not None:
        given = {key: unitreader.plain(value) for section, key, value in unitreader.assignments(mount)
                 if section == "Mount"}  # fmt: skip
        wanted = {"What": stack.device, "Where": stack.mountpoint, "Type": "ocfs2"}
        options = stack.mount_options.split(",") if stack.mount_options else []
        if not any(option.strip().startswith("barrier") for option in options):
            options.append("barrier=1")
        wanted["Options"] = ",".join(options)
        _require(given == wanted, str(given))


def check_events(data: bytes) -> None:
    """State of any lines."""
    state = events.read(_text(data))
    _require(type(state.complete) is bool and type(state.split_brain) is bool, "type")
    for table in (state.connections, state.devices, state.peer_devices, state.paths, state.tiebreakers):
        _require(all(isinstance(value, str) for one in table.values() for value in one.values()), "type")


def check_clusterconf(data: bytes) -> None:
    """Stanzas of any text."""
    stanzas = clusterconf.parse(_text(data))
    for name in clusterconf.cluster_names(stanzas):
        for node, keys in clusterconf.nodes(stanzas, name).items():
            _require(keys.get("name", "") == node, "another node")
    lines = _text(data).count("\n") + 1
    _require(all("\n" not in v for s in stanzas for v in s.keys.values()) and len(stanzas) <= lines * 4 + 4, "lines")


def check_fstab(data: bytes) -> None:
    """Entries of any text."""
    text = _text(data)
    for target, line in fstab.parse(text).items():
        _require(target == line.target and target.startswith("/"), "another target")
        _require(1 <= line.number <= text.count("\n") + 1, "no such line")


def check_drbdconf(data: bytes) -> None:
    """Statements and mistakes of any text, an include of itself included."""
    text = _text(data)
    lines = text.count("\n") + 1
    found = drbdconf.load(lambda name: text, lambda pattern: ["/etc/drbd.d/a.res"])
    _require(len(found.files) <= 2, "read twice")
    for mistake in found.mistakes:
        _require(1 <= mistake.line <= lines, f"no such line: {mistake}")
    for resource in found.resources():
        _require(1 <= resource.line <= lines, "no such line")
        found.setting(resource, "net", "protocol")


def check_drbddump(data: bytes) -> None:
    """A description of any text."""
    found = drbddump.parse(_text(data), "server1")
    if found is not None:
        _require(all(name != "server1" for name, _ in found.peers), "its own peer")
    drbddump.net_options(_text(data))


def check_fenceoptions(data: bytes) -> None:
    """No option can add a line for the agent, nor take the place of the action; no message shows a value."""
    try:
        found = fenceoptions.parse(data.decode())
    except UnicodeDecodeError:
        return  # refused by tools/agent.py
    for host in (*found.hosts, "alpha"):
        options = found.of(host) or {}
        lines = fenceoptions.given(options, "off").decode("utf-8", "replace").split("\n")
        _require(len(lines) == len(options) + 2 and lines[-2:] == ["action=off", ""], f"lines: {lines}")
        _require(not any(line.startswith(("action", "option=")) for line in lines[:-2]), f"action: {lines}")
        secrets = fenceoptions.secrets(options)
        shown = fenceoptions.mask(" ".join(secrets), options)
        for secret in secrets:
            _require(len(secret) < 8 or "*" in secret or secret not in shown, "a secret is shown")


def check_shelltext(data: bytes) -> None:
    """Commands of any text, on lines that it has."""
    text = _text(data)
    lines = text.count("\n") + 1
    for command in shelltext.read(text).commands:
        _require(command.words, "no words")
        _require(1 <= command.row.first <= command.row.last <= lines, f"no such lines: {command.row} of {lines}")


def check_kernellog(data: bytes) -> None:
    """One of its words."""
    known = {word for name, word in vars(kernellog).items() if name.isupper() and isinstance(word, str)}
    _require(kernellog.why_stand_alone(_text(data).splitlines(), "r0", ["0"]) in {"", *known}, "unknown word")


def check_metadata(data: bytes) -> None:
    """Nothing is proved by what cannot be read."""
    slots = metadata.parse(_text(data))
    found = metadata.proof(slots)
    _require(not found.proved or all(int(slot.bitmap, 16) for slot in slots), "proved by nothing")
    _require(found.reason.isprintable(), "not printable")


def check_ocfs2sb(data: bytes) -> None:
    """A superblock or none."""
    found = ocfs2sb.parse(data)
    _require(found is None or (found.size >= 0 and len(found.uuid) == 32), "type")
    _require(isinstance(ocfs2sb.foreign(data), str), "type")


def check_drbdmd(data: bytes) -> None:
    """Metadata or none."""
    found = drbdmd.parse(data)
    _require(found is None or (found.size >= 0 and found.length >= 0), "type")


@contextmanager
def _environment(root: str) -> Iterator[None]:
    before = os.environ.get("DRBDOCFS_ROOT")
    os.environ["DRBDOCFS_ROOT"] = root
    try:
        yield
    finally:
        if before is None:
            del os.environ["DRBDOCFS_ROOT"]
        else:
            os.environ["DRBDOCFS_ROOT"] = before


def check_records(data: bytes) -> None:
    """Records of any bytes; what is written again is what is read again."""
    files = {f"{records.PLACE}/web.attach": data}
    files |= {f"{records.MARKERS}/web.{kind}": data for kind in ("split-brain", "witness")}
    with _root(files) as root, _environment(root):
        found = records.read("web", "attach")
        _require(found is not None, "not read")
        _require(records.split_brain("web"), "a split brain is forgotten")
        known = records.witness("web")
        _require(known is None or known[1], "no locks")
        records.write("web", "again", **{f"K{at}": value for at, value in enumerate((found or {}).values())})
        again = records.read("web", "again") or {}
        _require(len(again) == len(found or {}), "another number of keys")


def check_witness(data: bytes) -> None:
    """Only the exact words count, and only with their exit status."""
    code, text = (data[0] % 3 if data else 0), data[1:].decode("ascii", "replace")
    ask, witness._ask = witness._ask, lambda where, words, limit: Result(code, text, "")
    try:
        got = witness.take("host", GENERATION, "alpha", "00", "r0", 1.0)
        _require((got.kind == witness.TAKEN) == (code == 0 and text == "taken\n"), "taken")
        _require(got.kind != witness.HELD or (code == 1 and got.holder not in ("", "alpha")), "held")
        _require(got.said.isprintable(), "not printable")
        given = witness.release("host", GENERATION, "00", 1.0)
        _require(given.kind in (witness.RELEASED, witness.NOT_HELD, witness.ERROR), "released")
        _require(witness.probe("host", 1.0).kind in (witness.OK, witness.ERROR), "probe")
        try:
            for lock in witness.held("host", "", "", 1.0):
                _require(len(lock.generation) == 16, "generation")
        except Failure:
            pass
    finally:
        witness._ask = ask


CONFIG_TOKENS = (
    b"[web]\n", b"[db]", b"[[x]]", b"resource = r0\n", b"device = /dev/drbd0\n", b"device=/dev/drbd/by-res/a b\n",
    b"backing_file = /a b\n", b"loop_device = /dev/loop7\n", b"cluster = web\n", b"mountpoint = /srv/a%n b\n",
    b"mount_options = noatime,ro\n", b'"""', b"'''", b", ", b"= ", b"__many__", b"DEFAULT", SEPARATOR,
    b'mountpoint = "/srv/$x\\\\y"\n', b"/dev/drbd0 /srv ocfs2 defaults 0 0\n", b"/dev/drbd1 /mnt/x ocfs2 noauto\n",
)  # fmt: skip
DRBD_TOKENS = (
    b"resource r0 {\n", b"on server1 {", b"on server2 {", b"volume 0 {", b"device", b"disk ",
    b"address ipv6 [fd00::1]:1;",
    b"include \"*.res\"", b"include x", b"net {", b"}", b"{", b";", b"common {", b"meta-disk internal;",
    b"host a address 1:2;",
)  # fmt: skip
TARGETS: dict[str, Target] = {
    # ConfigObj's Validator takes 0.1 ms for each stack, in proportion: 25,000 of them are no sign of growth.
    "config": Target(
        check_config, _generator, CONFIG_TOKENS, (b"[a]\n", b"a=b\n", b"[a]\nx = ','\n", b",'a'", b"["), 25_000
    ),
    "generator": Target(check_generator, _generator, CONFIG_TOKENS, (b"[a]\n", b"/dev/drbd0 /srv ocfs2\n")),
    "events": Target(
        check_events, lambda: _files(TRANSCRIPTS, "*.events2"),
        (b"exists ", b"change ", b"destroy ", b"call ", b"- skipped 3", b"exists -\n", b"connection ", b"peer-device ",
         b"path ", b"device ", b"resource ", b"rename ", b"name:r0 ", b"peer-node-id:1 ", b"volume:0 ",
         b"peer-client:yes ",
         b"connection:StandAlone ", b"role:Primary ", b"helper:split-brain "),
        (b"exists peer-device peer-node-id:1 peer-client:yes\n", b"change connection peer-node-id:1\n", b"a:b "),
    ),
    "clusterconf": Target(check_clusterconf, lambda: [CLUSTER_CONF], (b"cluster:\n", b"node:\n", b"\tname = web\n",
    b"="),
                          (b"node:\n", b"a=b\n", b"=")),
    "fstab": Target(check_fstab, lambda: _files(CASES, "fstab"),
                    (b"/dev/drbd0 ", b"/srv ", b"ocfs2 ", b"\\040", b"\\777", b"\\0", b"UUID=", b'"'),
                    (b"\\040", b"a /b c\n", b"/")),
    "drbdconf": Target(check_drbdconf, lambda: _files(TRANSCRIPTS, "dump*"), DRBD_TOKENS,
                       (b"{", b"}", b"a;", b"include x ", b'"', b"#\n", b"a")),
    "drbddump": Target(check_drbddump, lambda: _files(TRANSCRIPTS, "dump*"), DRBD_TOKENS,
                       (b"on a {", b"a{device x;", b"}", b'"a', b"on server1 { volume 0 {")),
    "fenceoptions": Target(check_fenceoptions, lambda: [FENCE_CONF],
                           (b"action=off\n", b"Option = x", b"passwd=", b"[alpha]\n", b"missing-as-off=1\n", b"a=b\n"),
                           (b"a", b"[a]\n", b"=\n")),
    "shelltext": Target(check_shelltext, lambda: [SCRIPT],
                        (b"$(", b")", b"((", b"`", b"case x in ", b"esac", b";;", b"<<EOF\n", b"EOF\n", b"<<-", b"if ",
                         b"fi\n", b"${a:-", b"}", b"f() {", b"function f", b"for i in", b"&&", b"|\n", b"2>&1",
                         b"a=b "),
                        (b"$(", b"$(a ", b"`a`", b"(", b"<<E\n", b"a=b\n", b"if ", b'"', b"\\\n", b"${")),
    "kernellog": Target(check_kernellog, lambda: _files(TRANSCRIPTS, "*.kernel"),
                        (b"drbd r0: ", b"block drbd0: ", b"-> Disconnecting", b"[disconnect]", b"(", b"StandAlone"),
                        (b"drbd r0: -> Disconnecting ( \n", b"(")),
    "metadata": Target(check_metadata, lambda: _files(TRANSCRIPTS, "*.gi"), (b":", b"0000000000000000", b"1", b":0:1"),
                       (b":", b"0000000000000000:0\n")),
    "ocfs2sb": Target(check_ocfs2sb, _ocfs2, (b"OCFSV2", bytes(512), b"EFI PART", b"LABELONE"), ()),
    "drbdmd": Target(check_drbdmd, _drbdmd, (b"\x83\x74\x02\x6b", bytes(8), b"\xff" * 8), ()),
    "records": Target(check_records, lambda: [RECORDS, b"host\nAAAA 00\nBBBB 11\n"], (b"RESOURCE=", b"\n", b"a b\n"),
                      (b"a=b\n", b"=")),
    "witness": Target(check_witness, lambda: [bytes([n]) + one for one in ANSWERS for n in (0, 1)],
                      (b"taken\n", b"held ", b"ok 1 ", b"alpha", b"released\n"), (b"a", b"a b c d e\n")),
}  # fmt: skip
