"""LERC, Esri's limited error raster compression: the blobs of LERC1 (``CntZImage``) and Lerc2, end to end.

Layout and checksum: Esri/lerc, ``Lerc2.cpp`` (ReadHeader, ComputeChecksumFletcher32) and ``CntZImage.cpp`` (read).
"""

from __future__ import annotations

import struct

from harvester.payload.ends import Found, Unwhole

KEY_1 = b"CntZImage "
KEY_2 = b"Lerc2 "

# Lerc2, little-endian:  0 key, 6 version, [10 Fletcher-32 from v3], then
#   rows, cols, [depth from v4], valid pixels, micro block, blob size, data type, [blobs to come from v6]
_INT = struct.Struct("<i")
_SIZES = struct.Struct("<ii")
_MAX_VERSION = 6
_CHECKSUM_AT = 10
_CHECKED_FROM = 14

# CntZImage:  0 key, 10 version = 11, 14 type = 8, 18 height, 22 width, 26 largest error, then the parts "count" and "z"
_HEADER_1 = struct.Struct("<iiiid")
_PART_1 = struct.Struct("<iiif")
_VERSION_1, _TYPE_1 = 11, 8

_CHUNK_WORDS = 359
"""Words that are added before the sums are folded to 16 bits."""


def fletcher32(data: bytes) -> int:
    """Esri's Fletcher-32 over big-endian words.

    Sums start at FFFF and are folded every 359 words; an odd last byte is a word's high half, added before
    the last fold.
    """
    import numpy as np  # LERC tiles only

    words = np.frombuffer(data, dtype=">u2", count=len(data) // 2).astype(np.int64)
    one = two = 0xFFFF
    whole = len(words) // _CHUNK_WORDS * _CHUNK_WORDS
    chunks = words[:whole].reshape(-1, _CHUNK_WORDS)
    plain = chunks.sum(axis=1).tolist()
    weighted = (chunks @ np.arange(_CHUNK_WORDS, 0, -1, dtype=np.int64)).tolist()
    lengths = [_CHUNK_WORDS] * len(plain)
    if rest := len(words) - whole:
        plain.append(int(words[whole:].sum()))
        weighted.append(int(words[whole:] @ np.arange(rest, 0, -1, dtype=np.int64)))
        lengths.append(rest)
    for length, total, weight in zip(lengths, plain, weighted, strict=True):
        two += length * one + weight
        one += total
        one = (one & 0xFFFF) + (one >> 16)
        two = (two & 0xFFFF) + (two >> 16)
    if len(data) & 1:
        one += data[-1] << 8
        two += one
    one = (one & 0xFFFF) + (one >> 16)
    two = (two & 0xFFFF) + (two >> 16)
    return (two << 16 | one) & 0xFFFFFFFF


def walk_lerc(body: bytes) -> Found:
    """Follow the blobs (one or one per band) to the end of the last one; all must have the first one's pixel size."""
    try:
        return _walk_2(body) if body[:6] == KEY_2 else _walk_1(body)
    except struct.error:
        raise Unwhole("truncated") from None


def _walk_2(body: bytes) -> Found:
    at = 0
    size: tuple[int, int] | None = None
    to_come = 0
    while body[at : at + 6] == KEY_2:
        version = _INT.unpack_from(body, at + 6)[0]
        if not 0 <= version <= _MAX_VERSION:
            raise Unwhole("corrupt")
        fields = at + (14 if version >= 3 else 10)
        rows, cols = _SIZES.unpack_from(body, fields)
        length = _INT.unpack_from(body, fields + (20 if version >= 4 else 16))[0]
        to_come = _INT.unpack_from(body, fields + 28)[0] if version >= 6 else 0
        if length <= fields - at + 20 or rows <= 0 or cols <= 0 or (size and size != (cols, rows)):
            raise Unwhole("corrupt")
        if at + length > len(body):
            raise Unwhole("truncated")
        if version >= 3:
            stated = int.from_bytes(body[at + _CHECKSUM_AT : at + _CHECKED_FROM], "little")
            if fletcher32(body[at + _CHECKED_FROM : at + length]) != stated:
                raise Unwhole("corrupt")
        size = (cols, rows)
        at += length
    if size is None:
        raise Unwhole("corrupt")
    if to_come > 0 or _breaks_off(body, at, KEY_2):
        raise Unwhole("truncated")
    return *size, at


def _walk_1(body: bytes) -> Found:
    at = 0
    size: tuple[int, int] | None = None
    while body[at : at + 10] == KEY_1:
        version, kind, height, width, _ = _HEADER_1.unpack_from(body, at + 10)
        if version != _VERSION_1 or kind != _TYPE_1 or height <= 0 or width <= 0 or (size and size != (width, height)):
            raise Unwhole("corrupt")
        at += 10 + _HEADER_1.size
        for _ in range(2 if size is None else 1):  # bands after the first have no count part
            length = _PART_1.unpack_from(body, at)[2]
            if length < 0:
                raise Unwhole("corrupt")
            at += _PART_1.size + length
            if at > len(body):
                raise Unwhole("truncated")
        size = (width, height)
    if size is None:
        raise Unwhole("corrupt")
    if _breaks_off(body, at, KEY_1):
        raise Unwhole("truncated")
    return *size, at


def _breaks_off(body: bytes, at: int, key: bytes) -> bool:
    """True when what follows the last blob is the beginning of another's key."""
    rest = body[at : at + len(key)]
    return 0 < len(rest) < len(key) and key.startswith(rest)
