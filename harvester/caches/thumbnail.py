"""The thumbnail of a tile package: 200 x 133 pixels of the map, or a plain grid where its tiles are no pictures."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from harvester.edges import CacheReader
from harvester.tiling.scheme import Box, TilingScheme

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, HEIGHT = 200, 133

MAX_TILES = 64
"""Tiles decoded at most: enough for 8 x 8, while a long thin area does not take a thousand."""

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")


def thumbnail(reader: CacheReader, extent: Box | None) -> bytes:
    """A PNG of ``extent`` (scheme's CRS), from the coarsest level that fills it; the same for the same tiles."""
    canvas = None
    if extent is not None and extent.xmin < extent.xmax and extent.ymin < extent.ymax:
        for level in _levels(reader, extent):
            canvas = _compose(reader, level, extent)
            if canvas is not None:
                break
    picture = _fitted(canvas) if canvas is not None else _grid()
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=False)
    return stream.getvalue()


def _levels(reader: CacheReader, extent: Box) -> list[int]:
    """Levels to try: the coarsest whose pixels fill the thumbnail without too many tiles, then coarser ones."""
    scheme, held = reader.info.scheme, set(reader.levels())
    tried: list[int] = []
    for lod in scheme.lods:
        if lod.level not in held:
            continue
        first, last = _window(scheme, lod.level, extent)
        if (last[0] - first[0]) * (last[1] - first[1]) > MAX_TILES and tried:
            break
        tried.append(lod.level)
        if (extent.xmax - extent.xmin) >= WIDTH * lod.resolution <= (extent.ymax - extent.ymin) * WIDTH / HEIGHT:
            break
    return tried[::-1]


def _window(scheme: TilingScheme, level: int, extent: Box) -> tuple[tuple[int, int], tuple[int, int]]:
    """First row and column, and those behind the last."""
    width, height = scheme.span(level)
    first = math.floor((scheme.origin_y - extent.ymax) / height), math.floor((extent.xmin - scheme.origin_x) / width)
    last = math.ceil((scheme.origin_y - extent.ymin) / height), math.ceil((extent.xmax - scheme.origin_x) / width)
    return first, last


def _compose(reader: CacheReader, level: int, extent: Box) -> Image | None:
    """The extent's tiles side by side, cut to it; None where none of them is a picture."""
    from PIL import Image

    scheme = reader.info.scheme
    (top, left), (bottom, right) = _window(scheme, level, extent)
    bottom, right = min(bottom, top + MAX_TILES), min(right, left + MAX_TILES)
    wide, high = scheme.tile_width, scheme.tile_height
    tried = 0
    seen: list[tuple[int, int, Any]] = []
    for row in range(top, bottom):
        for col in range(left, right):
            body = reader.read(level, row, col) if tried < MAX_TILES else None
            if body is None:
                continue
            tried += 1
            picture = _decoded(body, (wide, high))
            if picture is not None:
                seen.append((row, col, picture))
    if not seen:
        return None
    # Only what the found tiles cover, so that a thin area does not make a huge canvas.
    rows, cols = [row for row, _, _ in seen], [col for _, col, _ in seen]
    top, left, bottom, right = min(rows), min(cols), max(rows) + 1, max(cols) + 1
    canvas = Image.new("RGB", ((right - left) * wide, (bottom - top) * high), "white")
    for row, col, picture in seen:
        canvas.paste(picture, ((col - left) * wide, (row - top) * high), picture)
    resolution = scheme.by_level[level].resolution
    x, y = scheme.origin_x + left * wide * resolution, scheme.origin_y - top * high * resolution
    box = (
        max(0, round((extent.xmin - x) / resolution)),
        max(0, round((y - extent.ymax) / resolution)),
        min(canvas.width, round((extent.xmax - x) / resolution)),
        min(canvas.height, round((y - extent.ymin) / resolution)),
    )
    return canvas.crop(box) if box[2] - box[0] >= 8 and box[3] - box[1] >= 8 else canvas


def _decoded(body: bytes, size: tuple[int, int]) -> Image | None:
    """A tile as RGBA, or None where it is no picture of the scheme's size."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(body), formats=_FORMATS) as picture:
            # The size comes first: decoding a small file that claims a huge picture would fill the memory.
            return picture.convert("RGBA") if picture.size == size else None
    except Exception:  # what decoders raise on foreign bytes is not listed anywhere; the picture is a courtesy
        return None


def _fitted(canvas: Image) -> Image:
    from PIL import Image, ImageOps

    return ImageOps.fit(
        canvas, (WIDTH, HEIGHT), Image.Resampling.BOX if canvas.width > WIDTH else Image.Resampling.NEAREST
    )


def _grid() -> Image:
    """A neutral picture: a plain grid."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (WIDTH, HEIGHT), "#eef1f4")
    draw = ImageDraw.Draw(picture)
    for x in range(0, WIDTH, 33):
        draw.line((x, 0, x, HEIGHT), fill="#c5ccd3")
    for y in range(0, HEIGHT, 33):
        draw.line((0, y, WIDTH, y), fill="#c5ccd3")
    return picture
