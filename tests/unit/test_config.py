"""What the readers make of configurations: stacks, and the exact words of every error. Each case goes to both."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest
from configobj import ConfigObj

from drbdocfs_boot import config, lean, values
from drbdocfs_boot.stack import Problem, Reading, Stack

Reader = Callable[[str], Reading]
MAIN = "/etc/drbdocfs/drbdocfs.conf"

GUIDE = """\
# the design's example
[web]
resource      = r0                  # DRBD resource, as in /etc/drbd.d/*.res
device        = /dev/drbd0          # its device node
backing_file  = /drbd-loop.img      # leave both out where DRBD's disk is a real block device
loop_device   = /dev/loop7
cluster       = web                 # O2CB cluster, as in /etc/ocfs2/cluster.conf
mountpoint    = /mnt/storage
mount_options = noatime             # as in fstab
peer_timeout  = 90s                 # systemd time span; how long to wait for the peer before `when_alone` decides
when_alone    = newest              # wait | newest | always
boot_timeout  = 3min                # the longest that this stack may hold back the boot
stop_holders  = report              # report | terminate | kill
survivor      = none                # none | HOST | power | witness
link_grace    = 20s                 # how long a lost link may take to come back while I/O is frozen
"""
GUIDE_STACK = Stack(
    "web",
    resource="r0",
    device="/dev/drbd0",
    backing_file="/drbd-loop.img",
    loop_device="/dev/loop7",
    cluster="web",
    mountpoint="/mnt/storage",
    mount_options="noatime",
    peer_timeout=90_000_000,
    when_alone="newest",
    boot_timeout=180_000_000,
    stop_holders="report",
    survivor="none",
    link_grace=20_000_000,
    file=MAIN,
    line=2,
)
# A good stack in four lines; cases put their lines after it or around it.
GOOD = "[ok]\nresource=r9\ndevice=/dev/drbd9\ncluster=c\nmountpoint=/srv/ok\n"
OK = Stack("ok", resource="r9", device="/dev/drbd9", cluster="c", mountpoint="/srv/ok", file=MAIN, line=1)

NAMES = "letters, digits, _ . and -, beginning with a letter or digit, at most 64 characters"
SPAN = "a time span from 1s to 1d, such as 90s or 1min 30s"
KEYS = (
    "resource, device, backing_file, loop_device, cluster, mountpoint, mount_options, peer_timeout, when_alone, "
    "boot_timeout, stop_holders, survivor, link_grace, fence_agent, fence_options, witness"
)
LINE = "[STACK], KEY = VALUE or # COMMENT"
HEADER = "[STACK] with nothing but a comment after it"
QUOTES = "a value in one line, bare or in a pair of quotes"
LINES = "text in lines that end in LF or CR LF"
DIRECTORY = "an absolute path of a directory, such as /mnt/storage, that is not the system's own"


@pytest.fixture(params=[lean.read, config.read], ids=["lean", "config"])
def reader(request: pytest.FixtureRequest) -> Reader:
    chosen: Reader = request.param
    return chosen


def put(root: Path, text: str | bytes, file: str = MAIN) -> str:
    path = root / file.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(root)


def told(reading: Reading) -> list[str]:
    return [str(problem).removeprefix(MAIN) for problem in reading.problems]


def test_designs_example(tmp_path: Path, reader: Reader) -> None:
    assert reader(put(tmp_path, GUIDE)) == Reading((GUIDE_STACK,))


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "\ufeff", "\ufeff# nothing", "  \t \r\n"])
def test_nothing(tmp_path: Path, reader: Reader, text: str) -> None:
    assert reader(put(tmp_path, text)) == Reading()


def test_no_file(tmp_path: Path, reader: Reader) -> None:
    assert reader(str(tmp_path)) == Reading()


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", "\r\n"),
        GOOD.rstrip("\n"),
        "\ufeff" + GOOD,
        GOOD.replace("=", " \t=\u00a0\t"),
        GOOD.replace("[ok]", '  [ "ok" ] # comment ]'),
        GOOD.replace("[ok]", "['ok']#comment"),
        GOOD.replace("r9", '"r9"# comment').replace("=c", "= 'c' # it's"),
        GOOD + "backing_file =\nloop_device = # none\nmount_options = ''\n",
        GOOD.replace("/srv/ok", "//srv/ok/"),
    ],
)
def test_spellings_of_one_stack(tmp_path: Path, reader: Reader, text: str) -> None:
    assert reader(put(tmp_path, text)) == Reading((OK,))


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("mount_options = noatime,ro", "mount_options", "noatime,ro"),
        ("mount_options = noatime , 'ro', # c", "mount_options", "noatime,ro"),
        ("mount_options = 'noatime,ro'", "mount_options", "noatime,ro"),
        ("mountpoint = '/srv/a # b, c'", "mountpoint", "/srv/a # b, c"),
        ("mountpoint = /srv/%(x)s/$y/${z}/it's", "mountpoint", "/srv/%(x)s/$y/${z}/it's"),
        ("mountpoint = /srv/a b = c # d", "mountpoint", "/srv/a b = c"),
        ('mountpoint = "/srv/it\'s"', "mountpoint", "/srv/it's"),
        ("mountpoint = /srv/Grüße", "mountpoint", "/srv/Grüße"),
        ("boot_timeout = 1min 30s", "boot_timeout", 90_000_000),
        ("survivor = alpha", "survivor", "alpha"),
    ],
)
def test_value(tmp_path: Path, reader: Reader, line: str, key: str, value: str | int) -> None:
    text = GOOD.replace("mountpoint=/srv/ok\n", "") if key == "mountpoint" else GOOD
    reading = reader(put(tmp_path, text + line))
    assert told(reading) == []
    assert getattr(reading.stacks[0], key) == value


# What is wrong, and every word that is said about it, as ":LINE: message" of the main file. The stack beside it stays.
ERRORS: list[tuple[str, list[str], list[str]]] = [
    # names
    ("[a/b]\nresource=r", ["a/b"], [f':6: [a/b] the section\'s name holds "/"; allowed: {NAMES}']),
    ("['a b']\nresource=r", ["a b"], [f':6: [a b] the section\'s name holds " "; allowed: {NAMES}']),
    ("[a\\nb]", ["a\\nb"], [f':6: [a\\\\nb] the section\'s name holds "\\\\"; allowed: {NAMES}']),
    (
        f"[{'n' * 65}]",
        ["n" * 65],
        [f":6: [{'n' * 60}…] the section's name has 65 characters; allowed: {NAMES}"],
    ),
    (
        "[x]\nresource=a\n[x]\nresource=b",
        ["x"],
        [
            f":6: [x] also stands in {MAIN}:8; allowed: one section for each stack",
            f":8: [x] also stands in {MAIN}:6; allowed: one section for each stack",
        ],
    ),
    # keys
    (
        "[x]\ndevcie = /dev/drbd1",
        ["x"],
        [f':7: [x] devcie = "/dev/drbd1": is no key of a stack, perhaps device is meant; allowed: {KEYS}'],
    ),
    ("[x]\ncolour = red, blue", ["x"], [f':7: [x] colour = "red, blue": is no key of a stack; allowed: {KEYS}']),
    (
        "[x]\ncluster = a\ncluster = b",
        ["x"],
        [':8: [x] cluster = "b": the key stands in line 7 already; allowed: each key once'],
    ),
    ("[x]\n'cluster' = a", ["x"], [f":7: [x] \"'cluster' = a\": has its key in quotes; allowed: {LINE}"]),
    # values
    (
        "[x]\nboot_timeout = 3 parsecs",
        ["x"],
        [f':7: [x] boot_timeout = "3 parsecs": has "parsecs", which is no unit of time; allowed: {SPAN}'],
    ),
    ("[x]\nboot_timeout = 2d", ["x"], [f':7: [x] boot_timeout = "2d": is longer than 1d; allowed: {SPAN}']),
    ("[x]\nmountpoint = /", ["x"], [f':7: [x] mountpoint = "/": is the root directory; allowed: {DIRECTORY}']),
    (
        "[x]\nmountpoint = mnt/x",
        ["x"],
        [f':7: [x] mountpoint = "mnt/x": does not begin with /; allowed: {DIRECTORY}'],
    ),
    (
        "[x]\nmountpoint = /srv/a, b",
        ["x"],
        [
            (
                ':7: [x] mountpoint = "/srv/a, b": is a list, because of the comma: put the value in quotes; '
                f"allowed: {DIRECTORY}"
            )
        ],
    ),
    (
        "[x]\nwhen_alone = wait,",
        ["x"],
        [
            (
                ':7: [x] when_alone = "wait,": is a list, because of the comma: put the value in quotes; '
                "allowed: wait, newest or always"
            )
        ],
    ),
    (
        "[x]\nwhen_alone = sometimes",
        ["x"],
        [':7: [x] when_alone = "sometimes": is none of the words; allowed: wait, newest or always'],
    ),
    (
        "[x]\nbacking_file = /x.img",
        ["x"],
        [':7: [x] backing_file = "/x.img": stands without loop_device; allowed: both of them or neither'],
    ),
    (
        "[x]\nloop_device = /dev/loop1",
        ["x"],
        [':7: [x] loop_device = "/dev/loop1": stands without backing_file; allowed: both of them or neither'],
    ),
    (
        "[x]\nbacking_file = /srv/ok/x.img\nloop_device = /dev/loop1",
        ["x"],
        [
            (
                f':7: [x] backing_file = "/srv/ok/x.img": lies on "/srv/ok", where [ok] in {MAIN}:5 is mounted; '
                "allowed: a file on a file system that is there before every stack"
            )
        ],
    ),
    (
        "[x]\nmountpoint = /srv/x\nbacking_file = /srv/x/y/x.img\nloop_device = /dev/loop1",
        ["x"],
        [
            (
                f':8: [x] backing_file = "/srv/x/y/x.img": lies on "/srv/x", where [x] in {MAIN}:7 is mounted; '
                "allowed: a file on a file system that is there before every stack"
            )
        ],
    ),
    # shared between stacks
    (
        "[x]\nresource = r9",
        ["x"],
        [f':7: [x] resource = "r9": belongs to [ok] in {MAIN}:2; allowed: a resource of its own'],
    ),
    (
        "[x]\ndevice = //dev/drbd9",
        ["x"],
        [f':7: [x] device = "//dev/drbd9": belongs to [ok] in {MAIN}:3; allowed: a device of its own'],
    ),
    (
        "[x]\nmountpoint = /srv/ok/",
        ["x"],
        [f':7: [x] mountpoint = "/srv/ok/": belongs to [ok] in {MAIN}:5; allowed: a directory of its own'],
    ),
    (
        "[x]\nbacking_file=/i\nloop_device=/dev/loop1\n[y]\nbacking_file=/i\nloop_device=/dev/loop1",
        ["x", "y"],
        [
            f':10: [y] backing_file = "/i": belongs to [x] in {MAIN}:7; allowed: a file of its own',
            f':11: [y] loop_device = "/dev/loop1": belongs to [x] in {MAIN}:8; allowed: a loop device of its own',
        ],
    ),
    # lines outside the grammar
    ("[x]\nwhat is this", ["x"], [f':7: [x] "what is this": is no line of a configuration; allowed: {LINE}']),
    ("[x]\n= 1", ["x"], [f':7: [x] "= 1": is no line of a configuration; allowed: {LINE}']),
    (
        "[x]\n[[y]]\nz = 1",
        ["x"],
        [f':7: [x] "[[y]]": is a section within a section; allowed: {HEADER}'],
    ),
    ("[x\nresource = r9", [], [f':6: "[x": is no section header; allowed: {HEADER}']),
    ("[x] y", [], [f':6: "[x] y": is no section header; allowed: {HEADER}']),
    ("[]", [], [f':6: "[]": is no section header; allowed: {HEADER}']),
    ("['']", [], [f":6: \"['']\": is no section header; allowed: {HEADER}"]),
    ('["x]', [], [f':6: "[\\"x]": is no section header; allowed: {HEADER}']),
    ("[x]]", [], [f':6: "[x]]": is no section header; allowed: {HEADER}']),
    (
        "[x]\ncluster = '''a\n[y]\n'''",
        ["x", "y"],
        [
            (
                ":7: [x] cluster = \"'''a\": is a value of several lines, so the rest of the section is not read; "
                f"allowed: {QUOTES}"
            ),
            f":9: [y] \"'''\": is no line of a configuration; allowed: {LINE}",
        ],
    ),
    ('[x]\ncluster = "a', ["x"], [f':7: [x] cluster = "\\"a": the quote is not closed; allowed: {QUOTES}']),
    (
        "[x]\ncluster = 'a' b",
        ["x"],
        [f":7: [x] cluster = \"'a' b\": has text after the closing quote; allowed: {QUOTES}"],
    ),
    (
        "[x]\nmountpoint = /srv/a#b",
        ["x"],
        [
            (
                f':7: [x] mountpoint = "/srv/a#b": has a # without a blank before it; allowed: {QUOTES}, '
                "or a blank before a comment"
            )
        ],
    ),
    (
        "[x]\nmount_options = a,,b",
        ["x"],
        [f':7: [x] mount_options = "a,,b": has a comma without a value before it; allowed: {QUOTES}'],
    ),
    (
        "[x]\nmount_options = ,",
        ["x"],
        [f':7: [x] mount_options = ",": has a comma without a value before it; allowed: {QUOTES}'],
    ),
    (
        '[x]\ncluster = "a" # the "first", of two',
        ["x"],
        [
            (
                ':7: [x] cluster = "\\"a\\" # the \\"first\\", of two": has a comment with a quote and a comma; '
                "allowed: such a comment in a line of its own"
            )
        ],
    ),
    # smuggled lines
    (
        "[x]\n# harmless\u2028[y]",
        ["x"],
        [f':7: [x] "# harmless\\u2028[y]": holds the control character "\\u2028"; allowed: {LINES}'],
    ),
    (
        "[x]\ncluster = a\x0bb",
        ["x"],
        [f':7: [x] "cluster = a\\x0bb": holds the control character "\\x0b"; allowed: {LINES}'],
    ),
    (
        "[x]\ncluster = a\rresource = b\r",
        ["x"],
        [f':7: [x] "cluster = a\\rresource = b": holds the control character "\\r"; allowed: {LINES}'],
    ),
    ("[x]\n\x0c\n", ["x"], [f':7: [x] "": holds the control character "\\x0c"; allowed: {LINES}']),
    ("[x]\n\0\0\0", ["x"], [f':7: [x] "\\x00\\x00\\x00": holds the control character "\\x00"; allowed: {LINES}']),
    ("[x\x85]", [], [f':6: "[x\\x85]": holds the control character "\\x85"; allowed: {LINES}']),
]


@pytest.mark.parametrize(("text", "broken", "messages"), ERRORS)
def test_error(tmp_path: Path, reader: Reader, text: str, broken: list[str], messages: list[str]) -> None:
    reading = reader(put(tmp_path, GOOD + text))
    said = [one for one in told(reading) if "is missing" not in one]
    assert said == messages
    assert list(reading.broken) == broken
    assert reading.stacks == (OK,)


def test_missing_keys(tmp_path: Path, reader: Reader) -> None:
    reading = reader(put(tmp_path, "\n[x]\nsurvivor = power\n"))
    assert reading.stacks == ()
    assert reading.problems == tuple(
        Problem(MAIN, 2, "x", f"[x] {name} is missing; allowed: {values.KEYS[name].allowed}")
        for name in ("resource", "device", "cluster", "mountpoint")
    )


def test_before_the_first_section(tmp_path: Path, reader: Reader) -> None:
    reading = reader(put(tmp_path, "resource = r0\n" + GOOD))
    assert told(reading) == [':1: "resource = r0": stands before the first section; allowed: keys below a [STACK]']
    assert [stack.name for stack in reading.stacks] == ["ok"]


def test_all_errors_at_once(tmp_path: Path, reader: Reader) -> None:
    """A line that cannot be read hides none of the other mistakes, and they come by line."""
    reading = reader(put(tmp_path, "[x]\nboot_timeout = x\nwhat\ndevcie = 1\n[y]\nsurvivor = a b\n"))
    assert [problem.line for problem in reading.problems] == [2, 3, 4, 5, 5, 5, 5, 6]
    assert reading.broken == ("x", "y")


def test_files_in_name_order(tmp_path: Path, reader: Reader) -> None:
    put(tmp_path, GOOD)
    more = "/etc/drbdocfs/conf.d/"
    other = GOOD.replace("ok", "b").replace("9", "8")
    put(tmp_path, other, more + "20-b.conf")
    put(tmp_path, "# first\n" + GOOD.replace("[ok]", "[a]"), more + "10-a.conf")
    put(tmp_path, "rubbish", more + ".hidden.conf")
    put(tmp_path, "rubbish", more + "note.txt")
    reading = reader(str(tmp_path))
    assert [(stack.name, stack.file, stack.line) for stack in reading.stacks] == [
        ("ok", MAIN, 1),
        ("b", more + "20-b.conf", 1),
    ]
    assert [str(problem) for problem in reading.problems] == [
        f'{more}10-a.conf:3: [a] resource = "r9": belongs to [ok] in {MAIN}:2; allowed: a resource of its own',
        f'{more}10-a.conf:4: [a] device = "/dev/drbd9": belongs to [ok] in {MAIN}:3; allowed: a device of its own',
        f'{more}10-a.conf:6: [a] mountpoint = "/srv/ok": belongs to [ok] in {MAIN}:5; allowed: a directory of its own',
    ]


def test_name_in_two_files(tmp_path: Path, reader: Reader) -> None:
    put(tmp_path, GOOD)
    other = "/etc/drbdocfs/conf.d/x.conf"
    put(tmp_path, "\n" + GOOD, other)
    reading = reader(str(tmp_path))
    assert reading.stacks == ()
    assert reading.broken == ("ok",)
    assert [str(problem) for problem in reading.problems] == [
        f"{MAIN}:1: [ok] also stands in {other}:2; allowed: one section for each stack",
        f"{other}:2: [ok] also stands in {MAIN}:1; allowed: one section for each stack",
    ]


def test_claim_of_a_broken_stack(tmp_path: Path, reader: Reader) -> None:
    """Mending one stack must not take another one down, so a refused stack keeps what it names."""
    text = GOOD + "when_alone = x\n" + GOOD.replace("[ok]", "[x]").replace("r9", "r8").replace("/srv/ok", "/srv/x")
    reading = reader(put(tmp_path, text))
    assert reading.broken == ("ok", "x")
    assert (
        told(reading)[1] == f':9: [x] device = "/dev/drbd9": belongs to [ok] in {MAIN}:3; allowed: a device of its own'
    )


def test_configspec_and_key_table_are_equal() -> None:
    """The configspec is the reference of every key; the table is what runs at boot."""
    spec = dict(config.specification())
    written = {}
    for name, key in values.KEYS.items():
        words = [f'"{word}"' for word in key.args]
        if key.default is not None:
            words.append(f'default="{key.default}"')
        written[name] = f"{key.rule}({', '.join(words)})"
    assert spec == written
    assert list(spec) == list(values.KEYS)
    assert {key.rule for key in values.KEYS.values()} == set(values.RULES)
    whole = ConfigObj(str(config.SPEC_FILE), _inspec=True, interpolation=False, list_values=False)
    assert list(whole) == ["__many__"]
    commented = whole["__many__"].comments
    assert [key for key in spec if not any("#" in line for line in commented[key])] == ["loop_device"]
