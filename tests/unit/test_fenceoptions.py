"""Options of fence agents: what a file may hold, and that no secret leaves by a message."""

from __future__ import annotations

import base64
import re
import urllib.parse
from pathlib import Path

import pytest

from drbdocfs_boot import fenceoptions
from drbdocfs_boot.fenceoptions import MASK, mask, parse

TOP = Path(__file__).parent.parent.parent


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse(text).problems]


def test_options_before_the_first_section_hold_for_all_and_a_hosts_own_come_first() -> None:
    text = "# both\nip = 10.0.0.1\nlogin-timeout = 3\n\n[server1]\nplug = 1\n[ server2 ]\n  plug=2\nlogin_timeout = 9\n"
    options = parse(text)
    assert options.problems == []
    assert options.common == {"ip": "10.0.0.1", "login-timeout": "3"}
    assert options.of("server1") == {"ip": "10.0.0.1", "login-timeout": "3", "plug": "1"}
    assert options.of("server2") == {"ip": "10.0.0.1", "plug": "2", "login_timeout": "9"}
    assert parse("a_b = 1\n[x]\na-b = 2\n").of("x") == parse("A-b = 1\n[x]\na-b = 2\n").of("x") == {"a-b": "2"}
    assert options.of("server3") is None
    assert options.of("") is None


@pytest.mark.parametrize(
    "value",
    ["a#b", "a # b", "#", '"quoted"', "'", '"', "a = b", "a=b;c", "[x]", "pässwörd", "$(id) `id` \\n", "-n", "a  b"],
)
def test_a_value_is_taken_as_it_stands_to_the_end_of_its_line(value: str) -> None:
    options = parse(f"[a]\npassword = {value}\nplug=1\n")
    assert options.problems == []
    assert options.of("a") == {"password": value, "plug": "1"}
    assert fenceoptions.given({"password": value}, "off") == f"password={value}\naction=off\n".encode()


def test_blanks_around_key_and_value_are_dropped() -> None:
    assert parse("[a]\n\t password\t=   x y \t \n").of("a") == {"password": "x y"}


@pytest.mark.parametrize(
    "text", ["ip = 1\r\n[a]\r\nplug = 2\r\n", "\ufeffip = 1\n[a]\nplug = 2", "\ufeff[a]\nip=1\nplug=2"]
)
def test_a_byte_order_mark_and_the_line_ends_of_windows_change_nothing(text: str) -> None:
    options = parse(text)
    assert options.problems == []
    assert options.of("a") == {"ip": "1", "plug": "2"}


@pytest.mark.parametrize("key", ["action", "Action", "option", "operation"])
@pytest.mark.parametrize("before", ["", "[a]\n"])
def test_what_is_to_be_done_is_no_option(key: str, before: str) -> None:
    options = parse(f"{before}{key} = reboot\n[b]\nplug = 1\n")
    (problem,) = options.problems
    assert problem.message.startswith(f"the option {key}; allowed: all others")
    assert problem.host == before[1:2]
    assert options.of("b") == {"plug": "1"}


@pytest.mark.parametrize("key", ["missing_as_off", "missing-as-off"])
def test_an_option_that_takes_a_misspelt_plug_for_a_dead_host_is_refused(key: str) -> None:
    assert problems(f"{key} = 1\n") == [
        f"line 1: the option {key}, with which a misspelt plug would be taken for a host that is off"
    ]


@pytest.mark.parametrize("again", ["ip = 2", "IP=2", "ip =2 "])
def test_a_key_twice_is_a_mistake_of_its_section_only(again: str) -> None:
    options = parse(f"[a]\nip = 1\n{again}\n[b]\nip = 3\n")
    assert [(p.line, p.host) for p in options.problems] == [(3, "a")]
    assert "is given twice" in options.problems[0].message
    assert [str(p) for p in options.problems_of("b")] == []
    assert len(options.problems_of("a")) == 1


def test_names_are_compared_as_the_agents_do() -> None:
    assert problems("login-timeout = 1\nlogin_timeout = 2\n") == [
        "line 2: login_timeout is given twice; allowed: once a section"
    ]


def test_a_section_twice_is_a_mistake_and_neither_is_mixed_with_the_other() -> None:
    options = parse("[a]\nplug = 1\n[b]\nplug = 2\n[a]\nip = 3\n")
    assert [(p.line, p.host) for p in options.problems] == [(5, "a")]
    assert options.hosts == {"a": {"plug": "1"}, "b": {"plug": "2"}}


@pytest.mark.parametrize("header", ["[]", "[a b]", "[a", "[a] # x", "[a;b]", "[" + "a" * 65 + "]", "[ä]", "[[a]]"])
def test_after_a_header_that_is_none_nobodys_options_are_believed(header: str) -> None:
    options = parse(f"[a]\nplug = 1\n{header}\nplug = 2\n")
    (problem,) = options.problems
    assert (problem.line, problem.host) == (3, "")
    assert problem.message == "a section without the name of a host; allowed: [HOST], with the name as in uname -n"
    assert options.hosts == {"a": {"plug": "1"}}
    assert options.problems_of("a") == [problem]


def test_an_empty_value_is_refused_and_two_quotes_are_a_value() -> None:
    assert problems("[a]\npassword =\n") == [
        'line 2: password has no value; leave the line out, or write "" where the agent wants an empty one'
    ]
    assert parse('[a]\npassword = ""\n').of("a") == {"password": '""'}


@pytest.mark.parametrize(
    "line", ["s3cret", "= s3cret", "s3cret word = x", "s3cret! = x", "_s3cret=x", "s3cret" * 11 + "=x"]
)
def test_a_line_that_is_no_option_is_not_shown(line: str) -> None:
    (problem,) = problems(f"[a]\n{line}\n")
    assert problem.startswith("line 2: neither an option nor a section; allowed: key = value, [HOST]")
    assert "s3cret" not in problem


@pytest.mark.parametrize("text", ["[a]\ns3cretC2Vj=\n", "[a]\ns3cret=1\ns3cret=2\n", "[a]\npassword=s3cret\x01\n"])
def test_what_may_be_part_of_a_secret_is_not_shown(text: str) -> None:
    (problem,) = problems(text)
    assert "s3cret" not in problem


@pytest.mark.parametrize("char", ["\0", "\x1b", "\x7f", "\x0c", "a\rb"])
def test_control_characters_are_refused(char: str) -> None:
    (problem,) = problems(f"[a]\nplug = 1{char}2\n")
    assert problem == "line 2: a control character; allowed: text in lines that end in LF or CR LF"


def test_an_endless_value_is_refused() -> None:
    assert problems(f"password = {'x' * 1024}\n") == []
    assert problems(f"password = {'x' * 1025}\n") == ["line 1: password has a value of 1025 characters; allowed: 1024"]


def test_the_action_comes_last_and_no_value_can_bring_another_line() -> None:
    data = fenceoptions.given({"plug": "1\naction=on", "ip": "x"}, "off")
    assert data == b"plug=1 action=on\nip=x\naction=off\n"


SECRET = "p&s's\"\\ w/ä"


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        repr(SECRET)[1:-1],
        SECRET.replace("\\", "\\\\").replace('"', '\\"'),
        SECRET.replace("'", "'\"'\"'"),
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote(SECRET, safe="").lower(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"admin:{SECRET}".encode()).decode(),
        SECRET.replace("&", "&amp;").replace('"', "&quot;"),
    ],
)
@pytest.mark.parametrize("key", ["password", "passwd", "passwrod", "api_token", "snmp-priv-passwd", "mykey"])
def test_a_secret_is_masked_in_every_form_in_which_it_is_repeated(key: str, form: str) -> None:
    options = {"username": "admin", "ip": "10.0.0.1", "plug": "1", key: SECRET}
    said = mask(f"cannot log in as admin to 10.0.0.1: <{form}> refused", options)
    assert said == f"cannot log in as admin to 10.0.0.1: <{MASK}> refused"


def test_a_secret_in_quotes_is_masked_without_them_too() -> None:
    assert mask('tried hunter2 and "hunter2"', {"password": '"hunter2"'}) == f"tried {MASK} and {MASK}"


def test_a_short_password_is_masked_and_a_short_value_of_another_option_is_not() -> None:
    assert mask("port 7 x", {"password": "7", "outlet": "x"}) == f"port {MASK} x"


@pytest.mark.parametrize("part", ["h", "hunte", "hunter"])
def test_the_beginning_of_a_secret_at_the_end_of_a_text_that_was_cut_is_masked(part: str) -> None:
    assert mask(f"password={part}", {"password": "hunter2"}, cut=True) == f"password={MASK}"
    assert mask("no more", {"password": "hunter2"}, cut=True) == "no more"


def test_the_example_is_inactive_and_right_once_activated() -> None:
    text = (TOP / "packaging/examples/fence.conf").read_text(encoding="utf-8")
    nothing = parse(text)
    assert (nothing.common, nothing.hosts, nothing.problems) == ({}, {}, [])
    active = parse(re.sub(r"^#(?=[\[a-z])", "", text, flags=re.MULTILINE))
    assert active.problems == []
    assert set(active.hosts) == {"server1", "server2"}
    assert set(active.of("server1") or {}) == {"username", "password", "lanplus", "ip"}
