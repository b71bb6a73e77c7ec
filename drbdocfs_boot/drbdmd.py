"""DRBD's superblock in internal metadata, as it stands on the disk below DRBD.

Pure: bytes in, values out.  Source: drbd-utils, user/shared/drbdmeta.c (md_on_disk_08, meta_data_on_disk_9 begin
alike as far as this goes; re_initialize_md_offsets, bm_bytes).  Big endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

BLOCK = 4096
MAGICS = (0x8374026B, 0x8374026C, 0x8374026D)  # 8.x, 8.4 unclean, 9
CONSISTENT = 1 << 0  # MDF_CONSISTENT, the same bit in 8.4 and 9
# Superblock and the activity log of the default size, in bytes; one bit of the bitmap stands for 4 KiB.
_FIXED = 4096 + 32768


@dataclass(frozen=True)
class Metadata:
    """``size``: bytes of the device as the nodes agreed last, 0 before they ever met; ``length``: of all metadata."""

    size: int
    length: int
    consistent: bool


def offset(size: int) -> int:
    """Where the superblock stands on a disk of so many bytes."""
    return (size - BLOCK) & ~(BLOCK - 1)


def parse(block: bytes) -> Metadata | None:
    """The superblock; None when these bytes are none."""
    if len(block) < 80:
        return None
    (sectors,) = struct.unpack_from(">Q", block, 0)
    flags, magic, length = struct.unpack_from(">III", block, 56)
    if magic not in MAGICS:
        return None
    return Metadata(sectors * 512, length * 512, bool(flags & CONSISTENT))


def least(size: int) -> int:
    """Bytes that internal metadata for one peer takes on a disk of so many bytes."""
    bits = _up(_up(size, 4096) // 4096, 64)
    return _FIXED + _up(bits // 8, BLOCK)


def _up(number: int, step: int) -> int:
    return (number + step - 1) // step * step
