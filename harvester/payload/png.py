"""PNG (ISO/IEC 15948): every chunk's CRC and the order of the chunks up to IEND."""

from __future__ import annotations

import struct

from harvester.payload.checksum import crc32
from harvester.payload.ends import Found, Unwhole

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# IHDR with its frame (11.2.2): length, type, width, height, depth, colour type, compression, filter, interlace, CRC
_HEADER = struct.Struct(">I4sIIBBBBBI")
_HEADER_AT = len(SIGNATURE)
_FIRST_CHUNK_AT = _HEADER_AT + _HEADER.size

_CHUNK = struct.Struct(">I4s")
_CRC = struct.Struct(">I")
_FRAME = 12
"""Length, type and CRC of a chunk."""

_END = b"\0\0\0\0IEND\xaeB`\x82"
"""The one way to write IEND: no data, and the CRC of nothing but its type (11.2.5)."""

_MAX_CHUNK = (1 << 31) - 1

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bit depths that each colour type allows (table 11.1)."""

_PALETTE = 3


def walk_png(body: bytes) -> Found:
    """Follow the chunks to IEND. Expects the signature to be there already."""
    size = len(body)
    if size < _FIRST_CHUNK_AT:
        raise Unwhole("truncated")
    view = memoryview(body)
    length, kind, width, height, depth, colour, compression, filtering, interlace, crc = _HEADER.unpack_from(
        body, _HEADER_AT
    )
    if length != 13 or kind != b"IHDR" or crc32(view[12:29]) != crc:
        raise Unwhole("corrupt")
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise Unwhole("corrupt")
    at = _FIRST_CHUNK_AT
    chunk, check = _CHUNK.unpack_from, _CRC.unpack_from
    previous = b""
    palette = pixels = False
    while at + _FRAME <= size:
        if body[at : at + _FRAME] == _END:
            if not pixels or (colour == _PALETTE and not palette):
                raise Unwhole("corrupt")
            return Found(width, height, at + _FRAME)
        length, kind = chunk(body, at)
        end = at + _FRAME + length
        if end > size:
            raise Unwhole("truncated" if length <= _MAX_CHUNK and kind.isalpha() else "corrupt")
        if check(body, end - 4)[0] != crc32(view[at + 4 : end - 4]):
            raise Unwhole("corrupt")
        if kind == b"IDAT":
            if pixels and previous != b"IDAT":
                raise Unwhole("corrupt")
            pixels = True
        elif kind == b"PLTE":
            if pixels or palette or length % 3 or not 0 < length <= 768:
                raise Unwhole("corrupt")
            palette = True
        elif kind in (b"IHDR", b"IEND"):
            raise Unwhole("corrupt")
        previous = kind
        at = end
    raise Unwhole("truncated")
