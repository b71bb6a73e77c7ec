"""The generator's reader and ConfigObj with the configspec, held together: same stacks, same problems, same words.

Equality is exact, for parse errors, too: both have their words from lean.scan, and what ConfigObj alone would refuse
gets a message of its own from config.py, which makes the two differ and fails the test.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from configobj import ConfigObj, ConfigObjError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drbdocfs_boot import config, lean, values
from drbdocfs_boot.stack import Reading

# The same examples each time: a failure belongs to a change, not to the day.
FIXED = settings(derandomize=True, database=None, deadline=None, max_examples=120)

BLANK = st.sampled_from(["", "", " ", "  ", "\t", "\u00a0", "\u3000"])
PIECES = [
    "a", "b c", "/srv/x", "r0", "90s", "newest", "noatime", "é", "%(a)s", "$a", "[", "]", "=", "\\", " ", "\t", ";",
    ",", ",", ", ", " , ", '"', '"', "'", "'", '""', "''", '"""', "'''", "#", " # ", "# c", '"a"', "'b'", '"a,b"',
    "'#'",     "\x00", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\u2028", "\u2029", "\r", "\ufeff", "\u200b", "\u00a0",
]  # fmt: skip
# Most values have no control character, or nothing else would ever be reached.
CALM = [piece for piece in PIECES if not values.control(piece)]
VALUE = st.one_of(
    st.lists(st.sampled_from(CALM), max_size=7).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=5).map("".join),
    st.text(max_size=12),
)
KEY = st.one_of(
    st.sampled_from([*values.KEYS]),
    st.sampled_from(["devcie", "", '"device"', "'a", "a b", "a#b", "[a", "#", "__many__", "DEFAULT", "a,b", "é"]),
    VALUE,
)
NAME = st.one_of(
    st.sampled_from(["web", "db", "DEFAULT", "__many__", "a/b", '"a b"', "'web'", "", " ", '""', "a]b", "[x", "a # b"]),
    VALUE,
)
# What a good stack may hold; N becomes the stack's number, so that most stacks have their values to themselves.
GOOD_VALUE = {
    "resource": ["rN", '"rN"', "'rN' # c", "r0"],
    "device": ["/dev/drbdN", '"/dev//drbdN/"'],
    "backing_file": ["/N.img", "'/N, c.img'"],
    "loop_device": ["/dev/loopN"],
    "cluster": ["web", "'db'"],
    "mountpoint": ["/srv/N", "/srv/N/", '"/srv/N # d, e"', "/srv/N/it's"],
    "mount_options": ["noatime", "noatime,ro", "noatime , 'ro',", "'a,b'", ""],
    "peer_timeout": ["0", "90s", "1min 30s # c"],
    "when_alone": ["wait", "newest"],
    "boot_timeout": ["3min", "1.5h"],
    "stop_holders": ["kill"],
    "survivor": ["none", "alpha"],
    "link_grace": ["500ms"],
    "fence_agent": ["fence_ipmilan", "/opt/N/fence"],
    "fence_options": ["/etc/drbdocfs/fence-N.conf"],
    "witness": ["drbdocfs@tie.example:2222", "/mnt/nas", "'[fd00::1]:22'"],
}
STACKS = ["web", "db", "x", "DEFAULT", " y "]


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A line that is nearly one of a configuration."""
    kind = draw(st.integers(0, 9))
    left, middle, right = draw(BLANK), draw(BLANK), draw(BLANK)
    if kind < 6:
        return f"{left}{draw(KEY)}{middle}={right}{draw(VALUE)}"
    if kind < 8:
        marks = draw(st.sampled_from([("[", "]"), ("[", "]"), ("[ ", " ]"), ("[[", "]]"), ("[", ""), ("[", "]]")]))
        return f"{left}{marks[0]}{draw(NAME)}{marks[1]}{middle}{draw(st.sampled_from(['', '# c', '#', 'c', '= 1']))}"
    return draw(VALUE)


@st.composite
def stacks(draw: st.DrawFn) -> str:
    """A section that is mostly good, with some lines that may not be."""
    number = draw(st.integers(0, len(STACKS) - 1))
    found = [f"[{STACKS[number]}]"]
    loop = draw(st.booleans())
    for key, good in GOOD_VALUE.items():
        if loop if key in ("backing_file", "loop_device") else values.KEYS[key].default is None or draw(st.booleans()):
            value = draw(st.sampled_from(good)).replace("N", str(number))
            found.append(f"{key}{draw(BLANK)}={draw(BLANK)}{value}")
    if draw(st.integers(0, 2)) == 0:
        found.insert(draw(st.integers(0, len(found))), draw(lines()))
    return "\n".join(found)


TEXT = st.tuples(
    st.sampled_from(["", "", "", "\ufeff", "# c\n"]),
    st.lists(st.one_of(stacks(), stacks(), lines()), max_size=4).map("\n".join),
    st.sampled_from(["", "\n", "\r\n", "\r"]),
    st.sampled_from(["\n", "\n", "\r\n"]),
).map(lambda parts: (parts[0] + parts[1]).replace("\n", parts[3]) + parts[2])


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "etc/drbdocfs/conf.d").mkdir(parents=True)
        yield Path(place)


def agree(root: Path, main: bytes, more: bytes = b"") -> Reading:
    (root / "etc/drbdocfs/drbdocfs.conf").write_bytes(main)
    (root / "etc/drbdocfs/conf.d/more.conf").write_bytes(more)
    boot, command = lean.read(str(root)), config.read(str(root))
    assert boot == command
    for problem in boot.problems:
        assert str(problem).isprintable()
        assert len(str(problem)) < 4000
        assert not problem.stack or problem.stack in boot.broken
    for stack in boot.stacks:
        assert stack.name not in boot.broken
        for name in values.KEYS:
            assert not values.control(str(getattr(stack, name)))
    return boot


@pytest.mark.exhaustive
@FIXED
@given(TEXT, st.one_of(st.just(""), TEXT))
@example('[x]\ncluster = "a" # "b", c', "")
@example("[x]\nmount_options = a, , b", "")
@example("[x]\ncluster = a,", "")
@example("[x]\n'''a''' = b", "")
@example("[DEFAULT]\nresource = r0\n[__many__]\nresource = r0", "")
@example("[x]\n[x]\n[[y]]\n[x]\na", "[x]")
@example("[x]\na=1\n__many__=2\na", "")
def test_from_a_grammar(root: Path, main: str, more: str) -> None:
    agree(root, main.encode("utf-8", "surrogatepass"), more.encode("utf-8", "surrogatepass"))


@FIXED
@given(st.binary(max_size=200))
def test_bytes(root: Path, data: bytes) -> None:
    agree(root, data)


@FIXED
@given(st.text(st.sampled_from("[]='\",# \t\na\u2028\r\x0b"), max_size=60))
def test_signs_of_the_grammar(root: Path, text: str) -> None:
    agree(root, ("[x]\n" + text).encode())


# The reasons for which the scan refuses lines (and sections), as the words stand in the messages.
REASONS = (
    "holds the control character",
    "is a section within a section",
    "is no section header",
    "is no line of a configuration",
    "stands before the first section",
    "has its key in quotes",
    "is a value of several lines",
    "has a # without a blank before it",
    "has a comma without a value before it",
    "has a comment with a quote and a comma",
    "the quote is not closed",
    "has text after the closing quote",
    "stands in line",
    "also stands in",
    "more lines down to here",
)


@pytest.mark.exhaustive
@FIXED
@given(TEXT)
def test_against_configobj_itself(root: Path, text: str) -> None:
    """ConfigObj on the untouched file: what the scan takes whole it reads alike; what it refuses the scan refuses."""
    if any(0xD800 <= ord(char) < 0xE000 for char in text):
        return
    file = root / "raw.conf"
    file.write_bytes(text.encode())
    scan = lean.scan("/f", text.removeprefix("\ufeff"))
    repeated = len({section.name for section in scan.sections}) < len(scan.sections)
    try:
        tree = ConfigObj(str(file), interpolation=False, file_error=True)
    except ConfigObjError:
        assert scan.problems or repeated
        return
    for problem in scan.problems:
        assert any(reason in problem.message for reason in REASONS), problem
    if not scan.problems:
        assert not repeated
        assert tree == {
            section.name: {key: value for key, (_, value) in section.entries.items()} for section in scan.sections
        }


@pytest.mark.exhaustive
@FIXED
@given(stacks())
def test_plain_lines_are_never_refused(text: str) -> None:
    """Lines KEY = VALUE with a value that is bare or in one pair of quotes, as people write them, are in the subset."""
    by_key = {}
    for line in text.split("\n"):
        key, equals, value = (part.strip() for part in line.partition("="))
        bare = not set(value) & set("\"'#,")
        quoted = len(value) > 1 and value[0] == value[-1] == '"' and value.count('"') == 2
        if equals and key in values.KEYS and (bare or quoted) and not values.control(line):
            by_key[key] = line
    assert lean.scan("/f", "\n".join(["[x]", *by_key.values()])).problems == []


def test_configobj_has_the_last_word(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Should the scan ever leave a line that ConfigObj cannot read, that section is refused, and no other."""
    good = "[a]\nresource=r\ndevice=/dev/drbd1\ncluster=c\nmountpoint=/srv/a\n"
    bad = "[b]\ncluster=c\n# later rubbish\nmountpoint=/srv/b\n"
    scan = lean.scan

    def careless(file: str, text: str) -> lean.Scan:
        found = scan(file, text)
        found.lines = ["rubbish" if "later" in line else line for line in found.lines]
        return found

    monkeypatch.setattr(lean, "scan", careless)
    (root / "etc/drbdocfs/drbdocfs.conf").write_text(bad + good)
    (root / "etc/drbdocfs/conf.d/more.conf").write_text("")
    reading = config.read(str(root))
    assert [stack.name for stack in reading.stacks] == ["a"]
    assert reading.broken == ("b",)
    assert [str(problem) for problem in reading.problems] == [
        '/etc/drbdocfs/drbdocfs.conf:3: [b] "rubbish": ConfigObj cannot read this line'
    ]


@pytest.mark.exhaustive
def test_grammar_reaches_good_and_bad(root: Path) -> None:
    """The generated files are worth comparing: among them are good stacks, and most of the reasons of the scan."""
    seen: set[str] = set()
    good = 0

    @settings(FIXED, max_examples=250)
    @given(TEXT)
    def look(text: str) -> None:
        nonlocal good
        reading = agree(root, text.encode("utf-8", "surrogatepass"))
        good += len(reading.stacks)
        for problem in reading.problems:
            seen.update(reason for reason in REASONS if reason in problem.message)

    look()
    assert good > 20
    assert len(seen) > len(REASONS) // 2
