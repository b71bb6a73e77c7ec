"""drbdadm's dump, on what it really printed for both drivers' ways to write a resource."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drbdocfs_boot.drbddump import parse

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
ONE = [("/dev/drbd0", "/dev/loop7")]
ADDRESSES = {"server1": "10.181.76.10", "server2": "10.181.76.11"}
V6 = {"server1": "fd00::1", "server2": "fd00::2"}
# (dump, volumes, address of each host)
DUMPS = [
    ("drbd-8.4/dump", ONE, ADDRESSES),
    ("drbd-9.3/dump-plain", ONE, ADDRESSES),
    ("drbd-9.3/dump-connection", ONE, ADDRESSES),
    ("drbd-9.3/dump-path", ONE, ADDRESSES),
    ("drbd-9.3/dump-path-only", ONE, ADDRESSES),  # the first path counts
    ("drbd-9.3/dump-mesh", ONE, ADDRESSES),
    ("drbd-9.3/dump-ipv6", ONE, V6),
    ("drbd-9.3/dump-volumes", [("/dev/drbd0", "/dev/loop7"), ("/dev/drbd1", "/dev/vdb")], ADDRESSES),
]


def text(name: str) -> str:
    return (TRANSCRIPTS / f"{name}.txt").read_text()


@pytest.mark.parametrize(("host", "other"), [("server1", "server2"), ("server2", "server1")])
@pytest.mark.parametrize(("name", "volumes", "addresses"), DUMPS)
def test_every_dump_for_both_hosts(
    name: str, volumes: list[tuple[str, str]], addresses: dict[str, str], host: str, other: str
) -> None:
    found = parse(text(name), host)
    assert found is not None
    assert found.volumes == volumes
    assert found.metadata == []
    assert found.internal == [(str(number), disk) for number, (_, disk) in enumerate(volumes)]
    assert found.address == addresses[host]
    port = "[{}]:7789" if ":" in addresses[other] else "{}:7789"
    assert found.peers == [(other, port.format(addresses[other]))]


def test_the_table_has_every_dump() -> None:
    files = {f"{file.parent.name}/{file.stem}" for file in TRANSCRIPTS.glob("drbd-*/dump*.txt")}
    assert files == {name for name, _, _ in DUMPS}


@pytest.mark.parametrize("host", ["server3", "server", "", "server1 ", "10.181.76.10", "_name"])
@pytest.mark.parametrize("name", [name for name, _, _ in DUMPS])
def test_a_host_that_is_not_in_it(name: str, host: str) -> None:
    assert parse(text(name), host) is None


@pytest.mark.parametrize("junk", ["", "\n", "# resource r0 on server1\n", "'r0' not defined in your config", "{}}};;"])
def test_no_resource(junk: str) -> None:
    assert parse(junk, "server1") is None


def test_own_section_goes_before_what_all_hosts_have() -> None:
    found = parse(
        """
        resource r0 {
            device /dev/drbd0 minor 0;
            disk /dev/vdb;
            on a { disk /dev/sda7; address ipv4 10.0.0.1:7789; }
            on b { device /dev/drbd5 minor 5; address ipv4 10.0.0.2:7789; }
        }
        """,
        "a",
    )
    assert found is not None
    assert found.volumes == [("/dev/drbd0", "/dev/sda7")]


@pytest.mark.parametrize(
    ("device", "node", "minor"),
    [
        ("/dev/drbd3", "/dev/drbd3", "3"),
        ("minor 3", "/dev/drbd3", "3"),
        ("/dev/drbd3 minor 3", "/dev/drbd3", "3"),
        ("/dev/drbd_web minor 3", "/dev/drbd_web", "3"),
        ("/dev/drbd_web", "/dev/drbd_web", ""),
    ],
)
def test_the_numbers_of_a_volume(device: str, node: str, minor: str) -> None:
    found = parse(f"resource r0 {{ on a {{ volume 1 {{ device {device}; disk /dev/sda; }} }} }}", "a")
    assert found is not None
    assert found.volumes == [(node, "/dev/sda")]
    assert found.numbers == [("1", minor)]


def test_devices_of_external_metadata() -> None:
    found = parse(
        """
        resource r0 {
            on a {
                volume 0 { device minor 0; disk /dev/sda7; meta-disk /dev/sdc [0]; }
                volume 1 { device minor 1; disk /dev/sda8; meta-disk /dev/sdc [1]; }
                volume 2 { device minor 2; disk /dev/sda9; meta-disk internal; }
                volume 3 { device minor 3; disk none; meta-disk /dev/sdd; }
                volume 4 { device minor 4; disk /dev/sdb1; meta-disk /dev/sde; }
            }
        }
        """,
        "a",
    )
    assert found is not None
    assert found.metadata == ["/dev/sdc", "/dev/sde"]
    assert found.internal == [("2", "/dev/sda9")]


def test_volumes_are_in_order_of_their_numbers() -> None:
    sections = "".join(f"volume {n} {{ device minor {n}; disk /dev/v{n}; }}" for n in (10, 2, 0))
    found = parse(f"resource r0 {{ {sections} on a {{ address ipv4 10.0.0.1:1; }} }}", "a")
    assert found is not None
    assert [device for device, _ in found.volumes] == ["/dev/drbd0", "/dev/drbd2", "/dev/drbd10"]


def test_quoted_strings_are_one_word_whatever_is_in_them() -> None:
    found = parse(
        r"""
        resource "r0" {
            net { shared-secret "on c { address ipv4 9.9.9.9:9; } # \" ; }"; }
            handlers { split-brain "/usr/lib/notify.sh \"x{y;z}\"; echo }"; }
            disk { fencing dont-care; }
            on "a" { device "/dev/drbd0" minor 0; disk "/dev/my; disk{0}"; address ipv4 10.0.0.1:7789; }
            on b { device /dev/drbd0 minor 0; disk none; address ipv4 10.0.0.2:7789; }  # on d { }
        }
        """,
        "a",
    )
    assert found is not None
    assert found.volumes == [("/dev/drbd0", "/dev/my; disk{0}")]
    assert found.peers == [("b", "10.0.0.2:7789")]


def test_a_diskless_peer_and_no_address_at_all() -> None:
    found = parse("resource r0 { on a { device minor 3; } on b { disk none; } }", "a")
    assert found is not None
    assert (found.volumes, found.address, found.peers) == ([("/dev/drbd3", "none")], "", [("b", "")])


def test_more_than_one_peer() -> None:
    hosts = "".join(f"on h{n} {{ address ipv4 10.0.0.{n}:7789; }}" for n in range(4))
    found = parse(f"resource r0 {{ device minor 0; {hosts} }}", "h2")
    assert found is not None
    assert found.peers == [(f"h{n}", f"10.0.0.{n}:7789") for n in (0, 1, 3)]


@pytest.mark.parametrize("host", ["a", "c"])
def test_of_two_peers_the_one_with_a_disk_comes_first(host: str) -> None:
    """The other one is there for DRBD 9's quorum."""
    sections = "on b { disk none; } on a { disk /dev/vda; } on c { disk /dev/vdb; }"
    found = parse(f"resource r0 {{ device minor 0; {sections} }}", host)
    assert found is not None
    assert [name for name, _ in found.peers] == [{"a": "c", "c": "a"}[host], "b"]


@pytest.mark.parametrize("host", ["server1.example.com", "SERVER1", "Server1.lan", "server1."])
@pytest.mark.parametrize("name", [name for name, _, _ in DUMPS])
def test_a_name_that_drbd_9_takes_for_this_host(name: str, host: str) -> None:
    found, exact = parse(text(name), host), parse(text(name), "server1")
    assert found is not None
    assert exact is not None
    assert (found.volumes, found.address, found.peers) == (exact.volumes, exact.address, exact.peers)


def test_the_host_s_own_volume_by_a_name_with_a_domain() -> None:
    dump = (
        "resource r0 { disk /dev/vdb; on a.example.com { device minor 1; disk /dev/sda7; address ipv4 10.0.0.1:7789; }"
        " on b.example.com { device minor 2; address ipv4 10.0.0.2:7789; } }"
    )
    found = parse(dump, "A")
    assert found is not None
    assert (found.volumes, found.address) == ([("/dev/drbd1", "/dev/sda7")], "10.0.0.1")
    assert found.peers == [("b.example.com", "10.0.0.2:7789")]


def test_the_exact_name_goes_first_and_of_two_alike_none_is_taken() -> None:
    dump = "resource r0 { on a.one { device minor 1; } on a.two { device minor 2; } on A { device minor 3; } }"
    found = parse(dump, "a.two")
    assert found is not None
    assert found.volumes == [("/dev/drbd2", "none")]
    assert parse(dump, "a") is None
    assert parse("resource r0 { on .a { device minor 1; } }", ".b") is None


def test_the_secret_is_kept_nowhere() -> None:
    found = parse(text("drbd-9.3/dump-plain"), "server1")
    assert found is not None
    assert "a b" not in repr([found.volumes, found.address, found.peers])


WORDS = st.lists(
    st.sampled_from(
        ["on", "a", "{", "}", ";", "address", "ipv4", "1.2.3.4:5", "device", "minor", "0", "disk", "host", "volume",
         "connection", "path", '"', "\\", "#", "\n", " "]
    ),
    max_size=40,
).map(" ".join)  # fmt: skip


@given(st.one_of(WORDS, st.text()), st.sampled_from(["a", "server1", ""]))
@example("on", "a")
@example("on {", "a")
@example("on a { address", "a")
@example('on a { disk "', "a")
@example('on a { disk "\\', "a")
@example("} } on a { device ; device minor ; address ; }", "a")
def test_no_text_makes_it_raise(junk: str, host: str) -> None:
    found = parse(junk, host)
    if found is not None:
        assert host not in [name for name, _ in found.peers]
        assert all(isinstance(part, str) for volume in found.volumes for part in volume)


@given(st.integers(0, 3000), st.sampled_from([name for name, _, _ in DUMPS]))
def test_a_dump_cut_off_anywhere_is_no_reason_to_raise(length: int, name: str) -> None:
    parse(text(name)[:length], "server1")
