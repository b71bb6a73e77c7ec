"""DRBD's superblock in internal metadata, as it stands on the disk below DRBD.

Pure: bytes in, values out; imported at each attach.  Sources: drbd-utils, user/shared/drbdmeta.c (md_on_disk_08,
meta_data_on_disk_9 begin alike as far as this goes; re_initialize_md_offsets, bm_bytes); drbd_int.h of the kernel for
the flags.  Big endian.
"""

BLOCK = 4096
MAGIC_8 = (0x8374026B, 0x8374026C)  # 8.x, and 8.4 while it is in use and after that
MAGIC_9 = 0x8374026D
CONSISTENT = 1 << 0  # MDF_CONSISTENT, the same bit in 8.4 and 9
CONNECTED = 1 << 2  # MDF_CONNECTED_IND, of 8.4 alone: 9 has it for each peer
# Superblock and the activity log of the default size, in bytes; one bit of the bitmap stands for 4 KiB.
_FIXED = 4096 + 32768


class Metadata:
    """``size``: bytes of the device as the nodes agreed last, 0 before they ever met; ``length``: of all metadata;
    ``flags``: as they are; ``magic``: which driver's.
    """

    __slots__ = ("flags", "length", "magic", "size")

    def __init__(self, size: int, length: int, flags: int, magic: int) -> None:
        self.size = size
        self.length = length
        self.flags = flags
        self.magic = magic

    @property
    def consistent(self) -> bool:
        """False for the target of a resync that has not been to its end, and before the first one."""
        return bool(self.flags & CONSISTENT)

    @property
    def cut_short(self) -> bool:
        """True when this node was the target of a resync, and its end was none in good order.

        DRBD writes the flags at each change of its state, so a node that is taken down, and one that loses its peer
        before, is marked as not connected.  Read it while the resource is down: in a resync it is true as well.
        Of 8.4's metadata alone.
        """
        return self.magic in MAGIC_8 and self.flags & (CONSISTENT | CONNECTED) == CONNECTED


def offset(size: int) -> int:
    """Where the superblock stands on a disk of so many bytes."""
    return (size - BLOCK) & ~(BLOCK - 1)


def parse(block: bytes) -> "Metadata | None":
    """The superblock; None when these bytes are none."""
    if len(block) < 80:
        return None
    flags, magic, length = (int.from_bytes(block[at : at + 4], "big") for at in (56, 60, 64))
    if magic not in MAGIC_8 and magic != MAGIC_9:
        return None
    return Metadata(int.from_bytes(block[:8], "big") * 512, length * 512, flags, magic)


def least(size: int) -> int:
    """Bytes that internal metadata for one peer takes on a disk of so many bytes."""
    bits = _up(_up(size, 4096) // 4096, 64)
    return _FIXED + _up(bits // 8, BLOCK)


def _up(number: int, step: int) -> int:
    return (number + step - 1) // step * step
