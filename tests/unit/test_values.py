"""The rules of values: what is taken and as what, and why the rest is refused."""

from __future__ import annotations

import ast
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drbdocfs_boot import values

FIXED = settings(derandomize=True, database=None, deadline=None, max_examples=150)

TAKEN: list[tuple[str, str | list[str], str | int]] = [
    ("resource", "r0", "r0"),
    ("resource", "a.b_c+d-e", "a.b_c+d-e"),
    ("resource", "r" * 127, "r" * 127),
    ("cluster", "web.2-x_y", "web.2-x_y"),
    ("device", "/dev/drbd0", "/dev/drbd0"),
    ("device", "//dev///drbd12/", "/dev/drbd12"),
    ("device", "/dev/drbd_r0", "/dev/drbd_r0"),
    ("device", "/dev/drbd/by-res/r0/0", "/dev/drbd/by-res/r0/0"),
    ("loop_device", "", ""),
    ("loop_device", "/dev/loop0", "/dev/loop0"),
    ("loop_device", "/dev/loop1048575", "/dev/loop1048575"),
    ("backing_file", "", ""),
    ("backing_file", "//var//lib/drbd loop%.img", "/var/lib/drbd loop%.img"),
    ("mountpoint", "/mnt/storage/", "/mnt/storage"),
    ("mountpoint", "//srv//é ü", "/srv/é ü"),
    ("mountpoint", "/running", "/running"),
    ("mountpoint", "/" + "m" * 247, "/" + "m" * 247),
    ("mount_options", "", ""),
    ("mount_options", "noatime", "noatime"),
    ("mount_options", "noatime,ro", "noatime,ro"),
    ("mount_options", ["noatime", "ro"], "noatime,ro"),
    ("mount_options", ["noatime"], "noatime"),
    ("when_alone", "always", "always"),
    ("stop_holders", "kill", "kill"),
    ("survivor", "witness", "witness"),
    ("survivor", "Host-1.example", "Host-1.example"),
    ("boot_timeout", "1s", 1_000_000),
    ("boot_timeout", "1d", 86_400_000_000),
    ("peer_timeout", "0", 0),
    ("link_grace", "5min", 300_000_000),
    ("fence_agent", "", ""),
    ("fence_agent", "fence_ipmilan", "fence_ipmilan"),
    ("fence_agent", "/opt//power/switch", "/opt/power/switch"),
    ("fence_options", "/etc/drbdocfs/fence.conf", "/etc/drbdocfs/fence.conf"),
    ("witness", "tie", "tie"),
    ("witness", "drbdocfs@tie.example:2222", "drbdocfs@tie.example:2222"),
    ("witness", "lock@[fd00::1]:22", "lock@[fd00::1]:22"),
    ("witness", "[fd00::1]", "[fd00::1]"),
    ("witness", "/mnt/nas/locks/", "/mnt/nas/locks"),
]


@pytest.mark.parametrize(("key", "found", "value"), TAKEN)
def test_taken(key: str, found: str | list[str], value: str | int) -> None:
    assert values.KEYS[key].check(found) == value


REFUSED: list[tuple[str, str | list[str], str]] = [
    ("resource", "", "is empty"),
    ("resource", "-r", 'begins with "-"'),
    ("resource", "r/0", 'holds "/"'),
    ("resource", "rä", 'holds "ä"'),
    ("resource", "r" * 128, "has 128 characters"),
    ("resource", "all", "means every resource to drbdadm"),
    ("resource", ["a", "b"], "is a list, because of the comma: put the value in quotes"),
    ("cluster", "c" * 17, "has 17 characters"),
    ("cluster", "we b", 'holds " "'),
    ("device", "", "is empty"),
    ("device", "drbd0", "does not begin with /"),
    ("device", "/dev/sda", "is no DRBD device"),
    ("device", "/dev/drbd", "is no DRBD device"),
    ("device", "/dev/drbd/", "is no DRBD device"),
    ("device", "/dev/drbd٣", "is no DRBD device"),
    ("device", "/dev/drbd/../sda", 'has a component ".."'),
    ("loop_device", "/dev/loop", "is no loop device"),
    ("loop_device", "/dev/loop07", "is no loop device"),
    ("loop_device", "/dev/loop1048576", "is no loop device"),
    ("loop_device", "/dev/loop" + "9" * 5000, "has a component of more than 255 bytes"),
    ("loop_device", "loop7", "does not begin with /"),
    ("backing_file", "drbd.img", "does not begin with /"),
    ("backing_file", "/", "is a directory"),
    ("backing_file", "/a/./b", 'has a component "."'),
    ("backing_file", "/a\nb", 'holds the control character "\\n"'),
    ("backing_file", "/a\tb", 'holds the control character "\\t"'),
    ("backing_file", "/a\0", 'holds the control character "\\x00"'),
    ("backing_file", "/a\x85b", 'holds the control character "\\x85"'),
    ("backing_file", "/a\u2028b", 'holds the control character "\\u2028"'),
    ("backing_file", "/a\udc80", 'holds the control character "\\udc80"'),
    ("backing_file", "/a ", "ends in a blank"),
    ("backing_file", "/a\\", "ends in a backslash"),
    ("backing_file", "/a" * 2048, "has more than 4095 bytes"),
    ("backing_file", "/" + "é" * 128, "has a component of more than 255 bytes"),
    ("mountpoint", "mnt", "does not begin with /"),
    ("mountpoint", "/", "is the root directory"),
    ("mountpoint", "///", "is the root directory"),
    ("mountpoint", "/usr/", "is a directory of the system"),
    ("mountpoint", "/root", "is a directory of the system"),
    ("mountpoint", "/run/x", "is in /run, which is the kernel's or lost at reboot"),
    ("mountpoint", "/dev", "is in /dev, which is the kernel's or lost at reboot"),
    ("mountpoint", "/var/tmp/", "is a directory of the system"),
    ("mountpoint", "/var/log/journal", "is a directory of the system"),
    ("mountpoint", "/var/lib/drbdocfs", "is a directory of the system"),
    ("mountpoint", "/" + "-" * 70, "gives its mount unit a name of 286 characters, and 253 is the most"),
    ("mountpoint", "/" + "a/" * 123 + "aa", "gives its mount unit a name of 254 characters, and 253 is the most"),
    ("device", "/dev/drbd/by-res/" + "-" * 60, "gives its unit a name of 266 characters, and 253 is the most"),
    ("mount_options", "a b", 'holds " "'),
    ("mount_options", "a\nb", 'holds "\\n"'),
    ("mount_options", 'a="b"', 'holds "\\""'),
    ("mount_options", "a,,b", "has an empty option"),
    ("mount_options", ["a", ""], "has an empty option"),
    ("when_alone", "", "is empty"),
    ("when_alone", "Newest", "is none of the words"),
    ("survivor", "", "is empty"),
    ("survivor", "None", "is not written in small letters"),
    ("survivor", "a b", 'holds " "'),
    ("boot_timeout", "0", "is shorter than 1s"),
    ("boot_timeout", "25h", "is longer than 1d"),
    ("peer_timeout", "90 parsecs", 'has "parsecs", which is no unit of time'),
    ("peer_timeout", "infinity", "has no end"),
    ("peer_timeout", "", "is empty"),
    ("peer_timeout", "  ", "is empty"),
    ("peer_timeout", "-1", "is negative"),
    ("peer_timeout", "+1", 'has "+1" where a number is due'),
    ("peer_timeout", "1.", "has a point without digits after it"),
    ("peer_timeout", "1.2.3", 'has ".3" where a unit is due'),
    ("peer_timeout", "s", 'has "s" where a number is due'),
    ("peer_timeout", "9" * 5000, "has a number that is too large"),
    ("peer_timeout", ["1", "5s"], "is a list, because of the comma: put the value in quotes"),
    ("link_grace", "6min", "is longer than 5min"),
    ("fence_agent", "fence ipmilan", 'holds " "'),
    ("fence_agent", "-off", 'begins with "-"'),
    ("fence_agent", "/", "is a directory"),
    ("fence_options", "fence.conf", "does not begin with /"),
    ("witness", "-oProxyCommand=x", 'begins with "-"'),
    ("witness", "a@-oProxyCommand=x", 'begins with "-"'),
    ("witness", "tie:", 'has "", which is no port'),
    ("witness", "tie:70000", 'has "70000", which is no port'),
    ("witness", "fd00::1", "has more than one colon: an IPv6 address stands in brackets"),
    ("witness", "[fd00::1", 'has "[" without "]"'),
    ("witness", "[tie]:22", 'has "tie", which is no IPv6 address'),
    ("witness", "[fd00::1]22", 'has "22" after the address'),
    ("witness", "@tie", "is empty"),
    ("witness", "/", "is the root directory"),
]


@pytest.mark.parametrize(("key", "found", "why"), REFUSED)
def test_refused(key: str, found: str | list[str], why: str) -> None:
    with pytest.raises(values.Refused) as refused:
        values.KEYS[key].check(found)
    assert str(refused.value) == why


@pytest.mark.parametrize("name", ["web", "0", "a.b-c_d", "x" * 64, "DEFAULT"])
def test_name_taken(name: str) -> None:
    assert values.stack_name(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "-a", ".a", "_a", "a b", "a@b", "a%i", "ä", "x" * 65, "a\\b"])
def test_name_refused(name: str) -> None:
    with pytest.raises(values.Refused):
        values.stack_name(name)


SPANS = [
    ("90", 90_000_000),
    ("90s", 90_000_000),
    ("1min 30s", 90_000_000),
    ("1min30s", 90_000_000),
    (" 1 min  30 sec ", 90_000_000),
    ("2h", 7_200_000_000),
    ("500ms", 500_000),
    ("1.5min", 90_000_000),
    (".5", 500_000),
    ("0.1234567s", 123_456),
    ("3us", 3),
    ("3µs 2μs 1usec", 6),
    ("1d 1day 2days", 4 * 86_400_000_000),
    ("1w 1week", 14 * 86_400_000_000),
    ("1M", 2_629_800_000_000),
    ("1y", 31_557_600_000_000),
    ("5 6", 11_000_000),
    ("1min 2hr 1second", 7_261_000_000),
]


@pytest.mark.parametrize(("text", "usec"), SPANS)
def test_time_span(text: str, usec: int) -> None:
    assert values.time_span(text) == usec


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is the reference")
def test_time_spans_are_systemds() -> None:
    """systemd-analyze reads the table's spans as we do, and refuses what we call malformed."""

    def reference(text: str) -> int | None:
        run = subprocess.run(["systemd-analyze", "timespan", "--", text], capture_output=True, text=True, check=False)
        found = [line.split(":", 1)[1] for line in run.stdout.splitlines() if line.strip()[1:].startswith("s:")]
        return int(found[0]) if run.returncode == 0 else None

    for text, usec in SPANS:
        assert reference(text) == usec, text
    for text in ("1.", "1.2.3", "s", "-1", "1 fortnight", "1mins", "5secs", "1 .", "12 . 5", "", "1,5", "1e3", "0x10"):
        assert reference(text) is None, text
        with pytest.raises(values.Refused):
            values.time_span(text)


@FIXED
@given(st.text())
def test_rules_only_refuse(text: str) -> None:
    """Whatever the text, a rule takes it or refuses it; what it takes is a fixed point, without a control character."""
    for key in values.KEYS.values():
        value: str | int | values.Refused
        try:
            value = key.check(text)
        except values.Refused as refused:
            value = refused
        if isinstance(value, str):
            assert key.check(value) == value
            assert not values.control(value)
            assert "\t" not in value
        else:
            assert str(value).isprintable()


@FIXED
@given(st.text())
def test_shown_is_one_printable_line(text: str) -> None:
    shown = values.show(text)
    assert shown.isprintable()
    assert len(shown) <= 10 * values.SHOWN + 3
    if len(text) <= values.SHOWN:
        assert ast.literal_eval(shown) == text


def test_shown_is_shortened() -> None:
    assert values.show("x" * 1000) == '"' + "x" * 60 + '…"'
    assert values.show(["a"] * 1_000_000) == '"' + "a, " * 20 + '…"'
    assert values.show('a"\\\n\u202e\U000e0001') == '"a\\"\\\\\\n\\u202e\\U000e0001"'


@pytest.mark.parametrize(
    ("typo", "key"),
    [
        ("devcie", "device"),
        ("mount-point", "mountpoint"),
        ("Resource", "resource"),
        ("mountoptions", "mount_options"),
        ("loopdevice", "loop_device"),
        ("timeout", ""),
        ("x" * 100_000, ""),
    ],
)
def test_nearest_key(typo: str, key: str) -> None:
    assert values.nearest_key(typo) == key


def test_every_default_is_good() -> None:
    checked: dict[str, Any] = {
        name: key.check(key.default) for name, key in values.KEYS.items() if key.default is not None
    }
    assert checked["boot_timeout"] == 180_000_000
    assert [name for name, key in values.KEYS.items() if key.default is None] == [
        "resource", "device", "cluster", "mountpoint",
    ]  # fmt: skip
