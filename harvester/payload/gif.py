"""GIF (GIF89a specification): the blocks from the logical screen to the trailer."""

from __future__ import annotations

from harvester.payload.ends import Found, Unwhole

SIGNATURES = (b"GIF87a", b"GIF89a")

_SCREEN = 13
"""Header and logical screen descriptor."""

_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B


def _table(flags: int) -> int:
    """Bytes of a colour table, by the packed field of its descriptor."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def walk_gif(body: bytes) -> Found:
    """Follow the blocks to the trailer."""
    try:
        width = body[6] | body[7] << 8
        height = body[8] | body[9] << 8
        at = _SCREEN + _table(body[10])
        images = 0
        while (block := body[at]) != _TRAILER:
            if block == _IMAGE:
                images += 1
                at += 11 + _table(body[at + 9])
            elif block == _EXTENSION:
                at += 2
            else:
                raise Unwhole("corrupt")
            while step := body[at]:
                at += step + 1
            at += 1
    except IndexError:
        raise Unwhole("truncated") from None
    if not images:
        raise Unwhole("corrupt")
    return width, height, at + 1
