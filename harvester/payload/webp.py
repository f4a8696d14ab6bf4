"""WebP (RFC 9649): the RIFF container's size, its chunks, and the canvas of VP8, VP8L or VP8X."""

from __future__ import annotations

import struct

from harvester.payload.ends import Found, Unwhole

_RIFF = struct.Struct("<4sI4s")
_CHUNK = struct.Struct("<4sI")

_VP8_START = b"\x9d\x01\x2a"
_VP8L_SIGNATURE = 0x2F


def is_webp(body: bytes) -> bool:
    """True where a RIFF container of WebP begins, or breaks off before it can say so."""
    return body[:4] == b"RIFF" and b"WEBP".startswith(body[8:12])


def walk_webp(body: bytes) -> Found:
    """Follow the chunks to the end that the container states."""
    if len(body) < _RIFF.size:
        raise Unwhole("truncated")
    _, stated, _ = _RIFF.unpack_from(body)
    end = 8 + stated
    if end > len(body):
        raise Unwhole("truncated")
    size: tuple[int, int] | None = None
    image = False
    at = _RIFF.size
    while at + _CHUNK.size <= end:
        kind, length = _CHUNK.unpack_from(body, at)
        data = at + _CHUNK.size
        if data + length > end:
            raise Unwhole("corrupt")
        if kind == b"VP8X" and size is None:
            if length < 10:
                raise Unwhole("corrupt")
            size = (1 + int.from_bytes(body[data + 4 : data + 7], "little"),
                    1 + int.from_bytes(body[data + 7 : data + 10], "little"))  # fmt: skip
        elif kind == b"VP8 ":
            image = True
            if length < 10 or body[data + 3 : data + 6] != _VP8_START:
                raise Unwhole("corrupt")
            size = size or (int.from_bytes(body[data + 6 : data + 8], "little") & 0x3FFF,
                            int.from_bytes(body[data + 8 : data + 10], "little") & 0x3FFF)  # fmt: skip
        elif kind == b"VP8L":
            image = True
            if length < 5 or body[data] != _VP8L_SIGNATURE:
                raise Unwhole("corrupt")
            bits = int.from_bytes(body[data + 1 : data + 5], "little")
            size = size or (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
        elif kind == b"ANMF":
            image = True
        at = data + length + (length & 1)
    if size is None or not image or at < end:
        raise Unwhole("corrupt")
    return *size, end
