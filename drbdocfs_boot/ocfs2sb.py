"""What the first blocks of a disk say: OCFS2's superblock, or whose signature stands there instead.

Pure: bytes in, values out.  Sources: fs/ocfs2/ocfs2_fs.h (struct ocfs2_dinode, ocfs2_super_block), the signatures of
libblkid.  Little endian, as OCFS2 has it on every machine.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SIGNATURE = b"OCFSV2"
BLOCK_SIZES = (512, 1024, 2048, 4096)
# The superblock is block 2, whatever the block size (OCFS2_SUPER_BLOCK_BLKNO).
BLOCK = 2
# So much from the start of the disk holds everything that is looked for here: btrfs' superblock comes last.
NEEDED = 17 * 4096

# s_feature_incompat
LOCAL_MOUNT = 0x0008
USERSPACE_STACK = 0x0080
CLUSTER_INFO = 0x4000


@dataclass(frozen=True)
class Superblock:
    """``size``: bytes that the file system takes; ``uuid``: 32 hex digits in lower case; ``features``: the bits of
    s_feature_incompat.  ``stack`` and ``cluster``: "" where the disk names none, which means the classic o2cb."""

    block_size: int
    size: int
    slots: int
    label: str
    uuid: str
    stack: str
    cluster: str
    features: int

    @property
    def local(self) -> bool:
        """Made for one host: mounted without any cluster."""
        return bool(self.features & LOCAL_MOUNT)


def parse(data: bytes) -> Superblock | None:
    """The superblock in what a disk begins with; None when there is none for any block size."""
    for block_size in BLOCK_SIZES:
        start = BLOCK * block_size
        block = data[start : start + 512]
        if len(block) < 512 or not block.startswith(SIGNATURE):
            continue
        (clusters,) = struct.unpack_from("<I", block, 0x14)
        (features,) = struct.unpack_from("<I", block, 0xE0)
        block_bits, cluster_bits, slots = struct.unpack_from("<IIH", block, 0xF8)
        # A copy of a superblock (OCFS2 keeps some), or a block size that is not this one.
        if 1 << min(block_bits, 31) != block_size or not 9 <= cluster_bits <= 31:
            continue
        names = bool(features & (CLUSTER_INFO | USERSPACE_STACK))
        return Superblock(
            block_size=block_size,
            size=clusters << cluster_bits,
            slots=slots,
            label=_text(block[0x110:0x150]),
            uuid=block[0x150:0x160].hex(),
            stack=_text(block[0x160:0x164]) if names else "",
            cluster=_text(block[0x168:0x178]) if names else "",
            features=features,
        )
    return None


# Offset, bytes, whose they are.  OCFS2 itself is not among them.
_FOREIGN = (
    (0, b"XFSB", "an XFS file system"),
    (0, b"LUKS\xba\xbe", "a LUKS container"),
    (0, b"hsqs", "a squashfs image"),
    (0x438, b"\x53\xef", "an ext2, ext3 or ext4 file system"),
    (0x10040, b"_BHRfS_M", "a btrfs file system"),
    (0x200, b"EFI PART", "a partition table (GPT)"),
    (0x1000, b"EFI PART", "a partition table (GPT)"),
    (0xFF6, b"SWAPSPACE2", "swap space"),
    (0x1000, b"\xfc\x4e\x2b\xa9", "a member of an MD array"),
    (3, b"NTFS    ", "an NTFS file system"),
    (0x36, b"FAT", "a FAT file system"),
    (0x52, b"FAT32", "a FAT file system"),
    (0x8001, b"CD001", "an ISO 9660 image"),
)


def foreign(data: bytes) -> str:
    """Whose signature stands where OCFS2 should be, in words; "" when nothing known does."""
    for offset, signature, whose in _FOREIGN:
        if data[offset : offset + len(signature)] == signature:
            return whose
    for sector in range(0, 2048, 512):
        if data[sector : sector + 8] == b"LABELONE":
            return "a physical volume of LVM"
    # The mark of an MBR alone proves nothing; with an entry that is in use it is a partition table.
    if data[510:512] == b"\x55\xaa":
        for entry in range(446, 510, 16):
            if data[entry] in (0x00, 0x80) and data[entry + 4] and any(data[entry + 12 : entry + 16]):
                return "a partition table (MBR)"
    return ""


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")
