"""CRC-32 (ISO 3309) over a tile's bytes: isal's where it is installed, ten times as fast as zlib's, else zlib's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from zlib import crc32 as _plain

if TYPE_CHECKING:
    crc32: Callable[[bytes | memoryview], int]
else:
    try:
        from isal.isal_zlib import crc32
    except ImportError:  # no wheel for this machine: the same sums, slower
        crc32 = _plain

__all__ = ["crc32"]
