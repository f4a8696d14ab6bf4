"""Mapbox vector tiles (MVT 2.1): protobuf layers, plain or in gzip, as a source sends them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from harvester.payload.ends import Unwhole

GZIP = b"\x1f\x8b"

MAX_DECODED = 64 << 20
"""Bytes that one vector tile may inflate to: four times the largest tile that a bundle holds; more is a bomb."""

_STEP = 1 << 20

_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
"""Without name, time and system: the same bytes for the same tile everywhere (RFC 1952, 2.3)."""

LAYER = 3
LAYER_NAME = 1
LENGTHS = 2
"""Wire type of strings and messages."""
_EXTENSIONS = 16
"""Field numbers of a Tile from here on are free for extensions (vector_tile.proto)."""


def inflate(body: bytes) -> bytes:
    """The decoded bytes of a gzip stream: of one member, or of several in a row (RFC 1952, 2.2).

    Anything else behind a member is damage: strict readers refuse the tile for it.
    """
    parts: list[bytes] = []
    room = MAX_DECODED
    at = 0
    while True:
        member = zlib.decompressobj(31)
        data = body[at:] if at else body
        try:
            while not member.eof:
                part = member.decompress(data, min(room, _STEP) + 1)
                room -= len(part)
                if room < 0:
                    raise Unwhole("too_large")
                parts.append(part)
                data = member.unconsumed_tail
                if not part and not data and not member.eof:
                    raise Unwhole("truncated")
        except zlib.error:
            raise Unwhole("corrupt") from None
        at = len(body) - len(member.unused_data)
        if at == len(body):
            return b"".join(parts)
        if body[at : at + 2] != GZIP:
            raise Unwhole("trailing_bytes")


def in_gzip(tile: bytes) -> bytes:
    """A plain vector tile in gzip: the same bytes for the same tile."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(tile) + deflate.flush()
    return _GZIP_HEADER + body + struct.pack("<II", zlib.crc32(tile), len(tile) & 0xFFFFFFFF)


def walk_pbf(body: bytes) -> None:
    """Check a vector tile, in gzip or plain: all its bytes belong to it."""
    if body[:2] == GZIP:
        if not is_mvt(inflate(body)):
            raise Unwhole("not_an_image")
    elif not is_mvt(body):
        raise Unwhole("truncated" if _starts_as_mvt(body) else "not_an_image")


def is_mvt(tile: bytes) -> bool:
    """True when named layers (and extensions) fill the bytes exactly; nothing at all is a tile too."""
    try:
        for number, wire, start, end in message_fields(tile, 0, len(tile)):
            if number == LAYER and wire == LENGTHS:
                if not any(
                    field == LAYER_NAME and kind == LENGTHS for field, kind, _, _ in message_fields(tile, start, end)
                ):
                    return False
            elif number < _EXTENSIONS:
                return False
    except MalformedError:
        return False
    return True


def _starts_as_mvt(body: bytes) -> bool:
    return body[0] == LAYER << 3 | LENGTHS


class MalformedError(Exception):
    """These bytes are no protobuf message."""


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A protobuf varint and where it ends. Raises MalformedError."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise MalformedError


def message_fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, first byte and end of each protobuf field; they must fill the bytes exactly."""
    while at < end:
        key, start = varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, at = varint(data, start, end)
        elif wire == 1:
            at = start + 8
        elif wire == LENGTHS:
            length, start = varint(data, start, end)
            at = start + length
        elif wire == 5:
            at = start + 4
        else:
            raise MalformedError
        if at > end or number < 1:
            raise MalformedError
        yield number, wire, start, at
