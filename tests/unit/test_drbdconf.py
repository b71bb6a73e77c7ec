"""DRBD's configuration as it is written."""

from __future__ import annotations

import fnmatch

import pytest

from drbdocfs_boot import drbdconf
from drbdocfs_boot.drbdconf import Configuration, Statement


def load(files: dict[str, str], file: str = "/etc/drbd.conf") -> Configuration:
    return drbdconf.load(files.get, lambda pattern: fnmatch.filter(files, pattern), file)


def one(text: str) -> Configuration:
    return load({"/etc/drbd.conf": text})


RESOURCE = """\
# the first
resource r0 {
  net {
    protocol C; allow-two-primaries;   # both
    shared-secret "a{b;}\\"c # d";
  }
  on alice
  {
    address
      10.0.0.1:7789;
    volume 0 { device minor 0; }
  }
}
"""


def test_words_lines_and_quotes() -> None:
    found = one(RESOURCE)
    assert found.mistakes == []
    resource = found.resource("r0")
    assert resource is not None
    assert resource.place == "/etc/drbd.conf:2"
    (net,) = resource.sections("net")
    assert net.line == 3
    assert [s.words for s in net.children or ()] == [
        ("protocol", "C"),
        ("allow-two-primaries",),
        ("shared-secret", 'a{b;}"c # d'),
    ]
    assert [s.line for s in net.children or ()] == [4, 4, 5]
    (alice,) = resource.sections("on")
    assert (alice.words, alice.line) == (("on", "alice"), 7)
    (address,) = alice.settings("address")
    # A statement stands where it begins.
    assert (address.words[1], address.line) == ("10.0.0.1:7789", 9)
    assert [s.words for s in alice.sections("volume", "net")] == [("volume", "0")]
    assert list(alice.settings("volume")) == []


def test_a_quote_over_several_lines_keeps_the_count() -> None:
    found = one('resource r0 {\n handlers { split-brain "a\nb\nc"; }\n net { timeout 60; }\n}\n')
    (resource,) = found.resources()
    assert [s.line for s in resource.sections("net")] == [5 - 1 + 1]
    # drbdadm refuses it.
    assert [(m.line, m.message) for m in found.mistakes] == [(2, "a quote that is not closed")]


def test_a_word_may_hold_a_hash() -> None:
    (resource,) = one("resource r0 { disk /dev/disk#1; }").resources()
    assert [s.words for s in resource.settings("disk")] == [("disk", "/dev/disk#1")]


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("resource r0 {\n net {\n  protocol C;\n }\n", [(1, "the section 'resource …' is not closed")]),
        ("resource r0 {\n net {\n", [(2, "'net' is not closed"), (1, "'resource …' is not closed")]),
        ("resource r0 {\n}\n}\n", [(3, "no section open")]),
        ("resource r0 {\n net { protocol C }\n}\n", [(2, "'protocol …' has no ';'")]),
        ("global { usage-count no; }\nresource r0\n", [(2, "'resource …' has no ';'")]),
        ("\n{ a b; }\n", [(2, "without a section's name")]),
        (";;\n", []),
        ("", []),
        (
            'resource r0 { net { shared-secret "open; } }\n',
            [(1, "a quote that"), (1, "'…' has no ';'"), (1, "'…' is not closed"), (1, "'…' is not closed")],
        ),
        ("resource r0 {\n net { a", [(2, "'a' has no ';'"), (2, "'net' is"), (1, "'resource …' is")]),
        ('resource r0 {\n "a b" }\n', [(2, "'…' has no ';'")]),
        ('global { }\n"', [(2, "a quote that is not closed"), (2, "'…' has no ';'")]),
    ],
)
def test_mistakes_have_their_line(text: str, mistakes: list[tuple[int, str]]) -> None:
    found = one(text).mistakes
    assert [m.line for m in found] == [line for line, _ in mistakes]
    for mistake, (_, words) in zip(found, mistakes):
        assert words in mistake.message
        assert mistake.file == "/etc/drbd.conf"


def test_what_is_before_and_after_a_mistake_is_read() -> None:
    found = one("resource r0 { net { protocol C } }\nresource r1 { }\n")
    assert [s.words[1] for s in found.resources()] == ["r0", "r1"]
    # The unclosed ones, too.
    assert [s.words[1] for s in one("resource r0 { net {").resources()] == ["r0"]


def test_includes_relative_absolute_and_by_pattern() -> None:
    found = load(
        {
            "/etc/drbd.conf": 'include "drbd.d/global_common.conf";\ninclude "drbd.d/*.res"\ninclude /srv/x.res;\n',
            "/etc/drbd.d/global_common.conf": "common { net { timeout 50; } }",
            "/etc/drbd.d/b.res": "\nresource b { }",
            "/etc/drbd.d/a.res": "resource a { net { timeout 70; } }",
            "/etc/drbd.d/c.res.old": "resource c { }",
            "/srv/x.res": "resource x { }",
        }
    )
    assert [s.place for s in found.resources()] == ["/etc/drbd.d/a.res:1", "/etc/drbd.d/b.res:2", "/srv/x.res:1"]
    assert found.files[0] == "/etc/drbd.conf"
    assert found.mistakes == []
    a, b, _ = found.resources()

    def words(resource: Statement, name: str) -> tuple[str, ...] | None:
        setting = found.setting(resource, "net", name)
        return setting.words if setting is not None else None

    # Its own, else common's.
    assert words(a, "timeout") == ("timeout", "70")
    assert words(b, "timeout") == ("timeout", "50")
    assert words(b, "ko-count") is None


def test_an_include_loop_ends() -> None:
    found = load(
        {
            "/etc/drbd.conf": 'include "drbd.d/a.conf";\n',
            "/etc/drbd.d/a.conf": 'include "../drbd.conf";\ninclude "a.conf"; include /etc/drbd.conf;\nresource r0 { }',
        }
    )
    assert [s.words[1] for s in found.resources()] == ["r0"]
    assert len(found.files) == len(set(found.files))


def test_the_last_of_several_settings_counts() -> None:
    found = one("resource r0 { net { timeout 50; timeout 60; } net { timeout 70; } }")
    setting = found.setting(found.resources()[0], "net", "timeout")
    assert setting is not None
    assert setting.words == ("timeout", "70")


def test_nothing_there() -> None:
    found = load({})
    assert (found.files, found.statements, found.mistakes) == ([], [], [])
    assert found.resource("r0") is None
