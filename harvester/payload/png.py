"""PNG (ISO/IEC 15948): every chunk's CRC and the order of the chunks up to IEND."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from harvester.payload.checksum import crc32
from harvester.payload.ends import Found, Unwhole

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

# IHDR with its frame (11.2.2): length, type, width, height, depth, colour type, compression, filter, interlace, CRC
_HEADER: Final = struct.Struct(">I4sIIBBBBBI")
_HEADER_AT: Final = len(SIGNATURE)
_FIRST_CHUNK_AT: Final = _HEADER_AT + _HEADER.size

_read_frame: Final = struct.Struct(">I4s").unpack_from
_read_link: Final = struct.Struct(">II4s").unpack_from
"""A chunk's CRC, and the length and type of the chunk behind it: read at once."""

_CRC: Final = struct.Struct(">I")
_FRAME: Final = 12
"""Length, type and CRC of a chunk."""

_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
"""The one way to write IEND: no data, and the CRC of nothing but its type (11.2.5)."""

_MAX_CHUNK: Final = (1 << 31) - 1

_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bit depths that each colour type allows (table 11.1)."""

_PALETTE: Final = 3

_IHDR, _PLTE, _IDAT, _IEND = b"IHDR", b"PLTE", b"IDAT", b"IEND"

_BEFORE, _WITHIN, _BEHIND = 0, 1, 2
"""Where the walk stands: IDAT chunks lie one behind the other (5.6)."""


@lru_cache(maxsize=256)
def _read_header(start: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether there must be a palette, of signature and IHDR: the same for all tiles of a service,
    so that its checks are mostly one look-up (benchmarks/bench_payload.py). Raises Unwhole."""
    length, kind, width, height, depth, colour, compression, filtering, interlace, crc = _HEADER.unpack_from(
        start, _HEADER_AT
    )
    if length != 13 or kind != b"IHDR" or crc32(start[12:29]) != crc:
        raise Unwhole("corrupt")
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise Unwhole("corrupt")
    return width, height, colour == _PALETTE


def walk_png(body: bytes) -> Found:
    """Follow the chunks to IEND. Expects the signature to be there already.

    Every step counts here: this is a seventh of the interpreter's steps for a tile of a harvest.
    """
    at = _FIRST_CHUNK_AT
    if len(body) < at + _FRAME:
        raise Unwhole("truncated")
    width, height, needs_palette = _read_header(body[:at])
    view = memoryview(body)
    palette = False
    pixels = _BEFORE
    length, kind = _read_frame(body, at)
    while kind != _IEND:
        end = at + 8 + length  # where its CRC stands
        try:
            crc, length, follows = _read_link(body, end)
        except struct.error:
            raise Unwhole(_why_short(body, at, length, kind)) from None
        if crc32(view[at + 4 : end]) != crc:
            raise Unwhole("corrupt")
        if kind == _IDAT:
            if pixels == _BEHIND:
                raise Unwhole("corrupt")
            pixels = _WITHIN
        else:
            if pixels:
                pixels = _BEHIND
            if kind == _PLTE:
                size = end - at - 8
                if pixels or palette or size % 3 or not 0 < size <= 768:
                    raise Unwhole("corrupt")
                palette = True
            elif kind == _IHDR:
                raise Unwhole("corrupt")
        at = end + 4
        kind = follows
    if body[at : at + _FRAME] != _END:
        raise Unwhole("truncated" if at + _FRAME + length > len(body) else "corrupt")
    if not pixels or (needs_palette and not palette):
        raise Unwhole("corrupt")
    return width, height, at + _FRAME


def _why_short(body: bytes, at: int, length: int, kind: bytes) -> str:
    """What is wrong with bytes that end in the chunk at ``at``, or just behind it."""
    end = at + _FRAME + length
    if end <= len(body):  # the chunk is there, the next one's frame isn't
        crc: int = _CRC.unpack_from(body, end - 4)[0]
        return "truncated" if crc32(memoryview(body)[at + 4 : end - 4]) == crc else "corrupt"
    return "truncated" if length <= _MAX_CHUNK and kind.isalpha() else "corrupt"
