"""OCFS2's superblock, from real bytes (values as debugfs.ocfs2 showed them), and whose signatures are foreign."""

from __future__ import annotations

import struct

import pytest

from drbdocfs_boot import drbdmd, ocfs2sb
from tests.unit.checktree import disk, metadata, superblock


def at(block_size: int, block: bytes) -> bytes:
    return bytes(2 * block_size) + block + bytes(8192)


def test_a_real_superblock() -> None:
    assert ocfs2sb.parse(at(4096, superblock())) == ocfs2sb.Superblock(
        block_size=4096,
        size=64 << 20,
        slots=2,
        label="web",
        uuid="d6d5f7ee542f4e44a8eb11f8d4cc571e",
        stack="o2cb",
        cluster="web",
        features=63312,
    )


@pytest.mark.parametrize("bits", [9, 10, 11, 12])
def test_every_block_size(bits: int) -> None:
    found = ocfs2sb.parse(at(1 << bits, superblock(at_f8=struct.pack("<I", bits))))
    assert found is not None
    assert found.block_size == 1 << bits


def test_made_for_one_host() -> None:
    # mkfs.ocfs2 -M local: features 46936, nothing in the place of the cluster.
    found = ocfs2sb.parse(at(4096, superblock(at_e0=struct.pack("<I", 46936), at_160=bytes(24))))
    assert found is not None
    assert (found.local, found.stack, found.cluster) == (True, "", "")


def test_classic_o2cb_names_no_cluster_even_if_bytes_stand_there() -> None:
    found = ocfs2sb.parse(at(4096, superblock(at_e0=struct.pack("<I", 63312 & ~0x4000))))
    assert found is not None
    assert (found.local, found.stack, found.cluster) == (False, "", "")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(ocfs2sb.NEEDED),
        at(2048, superblock()),  # says 4096 of itself: a copy
        at(4096, superblock(at_fc=struct.pack("<I", 99))),
        at(4096, superblock())[: 8192 + 300],
    ],
    ids=["empty", "zeros", "other-block-size", "impossible-cluster-size", "cut-short"],
)
def test_no_superblock(data: bytes) -> None:
    assert ocfs2sb.parse(data) is None


def put(offset: int, data: bytes) -> bytes:
    return (bytes(offset) + data).ljust(ocfs2sb.NEEDED, b"\0")


@pytest.mark.parametrize(
    ("data", "whose"),
    [
        (put(0, b"XFSB"), "XFS"),
        (put(1080, b"\x53\xef"), "ext4"),
        (put(0x10040, b"_BHRfS_M"), "btrfs"),
        (put(512, b"LABELONE"), "LVM"),
        (put(512, b"EFI PART"), "GPT"),
        (put(446, b"\x80\0\0\0\x83\0\0\0\0\x08\0\0\0\x10\0\0" + bytes(48) + b"\x55\xaa"), "MBR"),
        (put(0, b"LUKS\xba\xbe"), "LUKS"),
        (put(4086, b"SWAPSPACE2"), "swap"),
    ],
)
def test_foreign(data: bytes, whose: str) -> None:
    assert whose in ocfs2sb.foreign(data)


def test_not_foreign() -> None:
    assert ocfs2sb.foreign(bytes(ocfs2sb.NEEDED)) == ""
    assert ocfs2sb.foreign(put(510, b"\x55\xaa")) == ""
    assert ocfs2sb.foreign(disk()) == ""


def test_metadata_of_drbd() -> None:
    for magic in (0x8374026B, 0x8374026C, 0x8374026D):
        found = drbdmd.parse(metadata(1000, 80, magic=magic))
        assert found is not None
        assert (found.size, found.length, found.consistent) == (512000, 40960, True)
    assert drbdmd.parse(metadata(1000, 80, magic=0x8374026A)) is None
    assert drbdmd.parse(b"\0" * 79) is None


@pytest.mark.parametrize(
    # Flags and magic as DRBD 8.4.11 left them in the lab.
    ("flags", "magic", "cut_short"),
    [
        (0x04, 0x8374026C, True),  # the power went in a resync of which it was the target
        (0x00, 0x8374026C, False),  # taken down in a resync, or its peer went before
        (0x17, 0x8374026C, False),  # the power went while both were UpToDate
        (0x11, 0x8374026C, False),  # taken down, UpToDate
        (0x80, 0x8374026B, False),  # new
        (0x04, 0x8374026D, False),  # DRBD 9 has another flag there
    ],
)
def test_the_metadata_of_a_target_whose_power_went_in_a_resync(flags: int, magic: int, cut_short: bool) -> None:
    found = drbdmd.parse(metadata(1000, 80, flags, magic))
    assert found is not None
    assert found.cut_short == cut_short


@pytest.mark.parametrize(
    # What 'drbdmeta create-md' of drbd-utils 9.22 made of files of these sizes.
    ("size", "length"),
    [(160 << 20, 45056), (512 << 20, 53248)],
)
def test_least_metadata(size: int, length: int) -> None:
    assert drbdmd.least(size) == length
