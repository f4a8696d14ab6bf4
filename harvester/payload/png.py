"""PNG (ISO/IEC 15948): every chunk's CRC and the order of the chunks up to IEND."""

from __future__ import annotations

import struct
from functools import lru_cache

from harvester.payload.checksum import crc32
from harvester.payload.ends import Found, Unwhole

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# IHDR with its frame (11.2.2): length, type, width, height, depth, colour type, compression, filter, interlace, CRC
_HEADER = struct.Struct(">I4sIIBBBBBI")
_HEADER_AT = len(SIGNATURE)
_FIRST_CHUNK_AT = _HEADER_AT + _HEADER.size

_CHUNK = struct.Struct(">I4s")
_LINK = struct.Struct(">II4s")
"""A chunk's CRC, and the length and type of the chunk behind it: read at once."""

_LENGTH_AND_TYPE = _CHUNK.size
_CRC = struct.Struct(">I")
_FRAME = 12
"""Length, type and CRC of a chunk."""

_END = b"\0\0\0\0IEND\xaeB`\x82"
"""The one way to write IEND: no data, and the CRC of nothing but its type (11.2.5)."""

_MAX_CHUNK = (1 << 31) - 1

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bit depths that each colour type allows (table 11.1)."""

_PALETTE = 3

_new = tuple.__new__
"""Makes a NamedTuple in half the time."""


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
    """Follow the chunks to IEND. Expects the signature to be there already."""
    size = len(body)
    at = _FIRST_CHUNK_AT
    if size < at:
        raise Unwhole("truncated")
    width, height, needs_palette = _read_header(body[:at])
    if size < at + _FRAME:
        raise Unwhole("truncated")
    view = memoryview(body)
    palette = pixels = behind_pixels = False
    length, kind = _CHUNK.unpack_from(body, at)
    while length or body[at : at + _FRAME] != _END:
        end = at + _FRAME + length
        if end > size:
            cut = at + _FRAME > size or (length <= _MAX_CHUNK and kind.isalpha())
            raise Unwhole("truncated" if cut else "corrupt")
        follows = end + _LENGTH_AND_TYPE <= size
        crc, next_length, next_kind = (
            _LINK.unpack_from(body, end - 4) if follows else (*_CRC.unpack_from(body, end - 4), 0, b"")
        )
        if crc32(view[at + 4 : end - 4]) != crc:
            raise Unwhole("corrupt")
        if kind == b"IDAT":
            if behind_pixels:
                raise Unwhole("corrupt")
            pixels = True
        else:
            behind_pixels = pixels
            if kind == b"PLTE":
                if pixels or palette or length % 3 or not 0 < length <= 768:
                    raise Unwhole("corrupt")
                palette = True
            elif kind == b"IHDR" or kind == b"IEND":
                raise Unwhole("corrupt")
        if not follows:
            raise Unwhole("truncated")
        at, length, kind = end, next_length, next_kind
    if not pixels or (needs_palette and not palette):
        raise Unwhole("corrupt")
    return _new(Found, (width, height, at + _FRAME))
