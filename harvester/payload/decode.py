"""Does a tile decode? The deep check, with Pillow, for tiles whose bytes are whole by every other measure."""

from __future__ import annotations

import io
import warnings

from harvester.edges import TileFormat
from harvester.payload.ends import Unwhole
from harvester.payload.lerc import walk_lerc
from harvester.payload.pbf import walk_pbf

MAX_PIXELS = 8192 * 8192
"""Pixels of the largest tile that a tiling scheme may have; a picture that claims more is a bomb and is not decoded."""

_PILLOW = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF"}


def decode_check(body: bytes, kind: str) -> str | None:
    """None when every pixel of the tile decodes, else what is wrong, in words. Never raises.

    ``kind`` is a Verdict's. LERC is checked by its blobs and checksums, vector tiles by their layers.
    """
    if kind in _PILLOW:
        return _decode_picture(body, _PILLOW[kind])
    try:
        if kind == "lerc":
            walk_lerc(body)
        elif kind == TileFormat.PBF:
            walk_pbf(body)
        else:
            return f"tiles of kind {kind!r} are not known"
    except Unwhole as broken:
        return broken.reason
    return None


def _decode_picture(body: bytes, form: str) -> str | None:
    from PIL import Image  # heavy; only the deep check pays for it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(body), formats=[form]) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    return f"{picture.width} x {picture.height} pixels is no tile"
                picture.load()
    except Exception as error:  # Pillow's plugins raise whatever their parsers run into
        return f"does not decode: {error or type(error).__name__}"
    return None
