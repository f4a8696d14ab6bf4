"""What an MBTiles file says of itself, from what lies in it and what its source says: pure, rows in, rows out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harvester.caches.json_text import with_values
from harvester.caches.mbtiles_reader import TILE_SIZE
from harvester.caches.vector_layers import join_layers, joined_layers, parse_layers, parse_object, render_layers
from harvester.edges import Subject, TileFormat, VectorLayer
from harvester.errors import CacheError
from harvester.manifest import KEY as MANIFEST
from harvester.tiling.google import latitude, longitude
from harvester.tiling.scheme import GOOGLE_ORIGIN, GOOGLE_WIDTH, Box, TilingScheme

EDGE_TOLERANCE = 1e-3
"""Tiles by which an extent may miss a tile's edge and still be taken to reach it: the plan's own tolerance."""

VERSION = "1.0.0"
"""Of the tileset, as the specification asks; the file has no other."""

WORDS = {"gif": "image/gif"}
"""Kinds that MBTiles 1.3 has no short word for go by their media type."""


class Span(NamedTuple):
    """The columns and rows (TMS, from the bottom) that one zoom's tiles reach over, inclusive."""

    zoom: int
    first_col: int
    last_col: int
    lowest_row: int
    highest_row: int

    @property
    def box(self) -> Box:
        """In web-mercator metres."""
        size = GOOGLE_WIDTH / 2**self.zoom
        return Box(
            self.first_col * size - GOOGLE_ORIGIN,
            self.lowest_row * size - GOOGLE_ORIGIN,
            (self.last_col + 1) * size - GOOGLE_ORIGIN,
            (self.highest_row + 1) * size - GOOGLE_ORIGIN,
        )


def data_box(spans: Sequence[Span], extent: Box | None) -> Box | None:
    """The box of all tiles of all zooms, without the overhang of tiles that only reach into ``extent`` from outside."""
    if not spans:
        return None
    low, high = [], []
    for axis in (0, 1):
        low.append(min(_edge(span.box[axis], extent and extent[axis], span.zoom, -1) for span in spans))
        high.append(max(_edge(span.box[axis + 2], extent and extent[axis + 2], span.zoom, 1) for span in spans))
    if low[0] >= high[0] or low[1] >= high[1]:
        return data_box(spans, None)
    return Box(low[0], low[1], high[0], high[1])


def _edge(tile: float, wanted: float | None, zoom: int, sign: int) -> float:
    """A tile's edge, or the extent's where the tile only hangs over it by less than its own width."""
    if wanted is None:
        return tile
    overhang = (tile - wanted) * sign / (GOOGLE_WIDTH / 2**zoom)
    return wanted if 0 < overhang < 1 - EDGE_TOLERANCE else tile


def commonest(kinds: Mapping[str, int], tile_format: TileFormat) -> str:
    """The ``format`` row: the kind of most tiles, or what the source states when there are none."""
    if kinds:
        kind = min(kinds, key=lambda name: (-kinds[name], name))
        return WORDS.get(kind, kind)
    return {TileFormat.MIXED: "png", TileFormat.UNKNOWN: "png"}.get(tile_format, tile_format.value)


def describe(
    subject: Subject,
    spans: Sequence[Span] | None,
    kinds: Mapping[str, int],
    existing: Mapping[str, str],
    layers: Sequence[VectorLayer] = (),
) -> dict[str, str]:
    """The rows that the metadata table should have; rows of others that are not among them stay as they are.

    ``spans`` None: no tile came or went since bounds and zooms were written. ``layers``: of vector tiles; those listed
    already stay.
    """
    info = subject.info
    rows = {"format": commonest(kinds, info.tile_format)}
    first = {
        "name": info.name or "tiles",
        "description": info.description,
        "type": "baselayer" if rows["format"] == "jpg" else "overlay",
        "version": VERSION,
    }
    # What a person wrote there stays.
    rows.update({name: value for name, value in first.items() if value and not existing.get(name)})
    if info.attribution:
        rows["attribution"] = info.attribution
    if subject.generator:
        rows["generator"] = subject.generator
    if subject.manifest is not None:
        rows[MANIFEST] = subject.manifest.text()
    if rows["format"] == "pbf":
        rows["json"] = _listing(existing.get("json", ""), layers)
    if info.scheme.tile_width != 256:
        rows[TILE_SIZE] = str(info.scheme.tile_width)
        rows["note"] = _note(info.scheme)
    elif rows["format"] == "pbf":
        rows[TILE_SIZE] = "256"  # of vector tiles 512 is what goes without saying
    box = data_box(spans or (), subject.extent)
    if spans and box is not None:
        low, high = min(span.zoom for span in spans), max(span.zoom for span in spans)
        west, south = longitude(max(box.xmin, -GOOGLE_ORIGIN)), latitude(max(box.ymin, -GOOGLE_ORIGIN))
        east, north = longitude(min(box.xmax, GOOGLE_ORIGIN)), latitude(min(box.ymax, GOOGLE_ORIGIN))
        rows["minzoom"], rows["maxzoom"] = str(low), str(high)
        rows["bounds"] = ",".join(map(_number, (west, south, east, north)))
        middle = latitude((max(box.ymin, -GOOGLE_ORIGIN) + min(box.ymax, GOOGLE_ORIGIN)) / 2)
        rows["center"] = ",".join((_number((west + east) / 2), _number(middle), str((low + high) // 2)))
    return rows


def _listing(text: str, layers: Sequence[VectorLayer]) -> str:
    """The ``json`` row with these layers beside those that it lists, and whatever else it says; as it was where it
    lists layers twice."""
    known = parse_object(text)
    stated = known.get("vector_layers")
    listed = joined_layers(stated, render_layers(join_layers(parse_layers(stated), layers)))
    document = {**known, "vector_layers": listed}
    if not known or json.dumps(known, ensure_ascii=False) == text:
        return json.dumps(document, ensure_ascii=False)
    try:
        return with_values(text.encode(), document, "json").decode()
    except CacheError:
        return text


def _note(scheme: TilingScheme) -> str:
    places = {lod.level: scheme.google(lod.level) for lod in scheme.lods}
    pairs = ", ".join(f"{level} is zoom {place.zoom}" for level, place in sorted(places.items()) if place)
    return f"tiles are {scheme.tile_width} x {scheme.tile_height} pixels; zooms are by tile span: source level {pairs}"


def _number(value: float) -> str:
    """As short as it reads back to the same double, without ``.0`` and exponents; never minus zero."""
    text = f"{value:.13f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
