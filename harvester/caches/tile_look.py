"""What the bytes of a cache's tile are: their type, and the pixels of a picture."""

from __future__ import annotations

from typing import NamedTuple

from harvester.edges import TileFormat
from harvester.payload.ends import Unwhole
from harvester.payload.jpeg import walk_jpeg
from harvester.payload.png import walk_png
from harvester.payload.webp import is_webp, walk_webp


class Look(NamedTuple):
    """A tile's type, width and height in pixels; None for what has none, or is no whole picture."""

    kind: TileFormat
    width: int | None = None
    height: int | None = None


def type_of(body: bytes) -> TileFormat:
    """The type by the first bytes alone; UNKNOWN for what is neither PNG, JPEG, WebP nor gzip (a vector tile)."""
    if body.startswith(b"\x89PNG"):
        return TileFormat.PNG
    if body.startswith(b"\xff\xd8\xff"):
        return TileFormat.JPEG
    if is_webp(body):
        return TileFormat.WEBP
    return TileFormat.PBF if body.startswith(b"\x1f\x8b") else TileFormat.UNKNOWN


_WALKS = {TileFormat.PNG: walk_png, TileFormat.JPEG: walk_jpeg, TileFormat.WEBP: walk_webp}


def look_at(body: bytes) -> Look:
    """The type and the pixels of a tile; a picture that is not whole is UNKNOWN."""
    kind = type_of(body)
    walk = _WALKS.get(kind)
    if walk is None:
        return Look(kind)
    try:
        width, height, _ = walk(body)
    except Unwhole:
        return Look(TileFormat.UNKNOWN)
    return Look(kind, width, height)
