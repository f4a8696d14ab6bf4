"""What a GeoPackage says of its tiles: the extent of the data, texts, and where they come from."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harvester.caches.geopackage_schema import SOURCE, Grid
from harvester.edges import Subject
from harvester.tiling.scheme import Box

EDGE_TOLERANCE = 1e-3
"""Tiles by which an extent may miss a tile's edge and still be taken to reach it: the plan's own tolerance."""

PIXEL_TOLERANCE = 1e-3
"""Pixels by which a box may miss the pixel grid and still be on it."""

Spans = list[tuple[int, ...]]
"""Of each zoom: zoom, lowest and highest row, lowest and highest column of its tiles."""


def data_extent(grid: Grid, spans: Spans, extent: Box | None) -> Box | None:
    """The box of a table's tiles, without the overhang of tiles that only reach into ``extent`` from outside.

    Its corners lie on the pixel grid of the coarsest zoom, and so on everyone's: GDAL begins its raster there, and
    rounds what lies between two pixels.
    """
    if not spans:
        return None
    boxes = []
    for zoom, top, bottom, left, right in spans:
        x, y = (pixel * size for pixel, size in zip(grid.pixel(zoom), (grid.tile_width, grid.tile_height), strict=True))
        box = Box(
            grid.origin_x + left * x, grid.origin_y - (bottom + 1) * y, grid.origin_x + (right + 1) * x,
            grid.origin_y - top * y,
        )  # fmt: skip
        boxes.append((box, (x, y)))
    edges = [_edge(boxes, axis, extent) for axis in range(4)]
    if edges[0] >= edges[2] or edges[1] >= edges[3]:
        edges = [_edge(boxes, axis, None) for axis in range(4)]
    pixel_x, pixel_y = grid.pixel(spans[0][0])
    return Box(
        grid.origin_x + math.floor((edges[0] - grid.origin_x) / pixel_x + PIXEL_TOLERANCE) * pixel_x,
        grid.origin_y - math.ceil((grid.origin_y - edges[1]) / pixel_y - PIXEL_TOLERANCE) * pixel_y,
        grid.origin_x + math.ceil((edges[2] - grid.origin_x) / pixel_x - PIXEL_TOLERANCE) * pixel_x,
        grid.origin_y - math.floor((grid.origin_y - edges[3]) / pixel_y + PIXEL_TOLERANCE) * pixel_y,
    )


def _edge(boxes: Sequence[tuple[Box, tuple[float, float]]], axis: int, extent: Box | None) -> float:
    """One edge of the union: of each box, or the extent's where the box only hangs over it by less than a tile."""
    sign = -1 if axis < 2 else 1

    def of(box: Box, spans: tuple[float, float]) -> float:
        if extent is None:
            return box[axis]
        overhang = (box[axis] - extent[axis]) * sign / spans[axis % 2]
        return extent[axis] if 0 < overhang < 1 - EDGE_TOLERANCE else box[axis]

    edges: Iterable[float] = [of(box, spans) for box, spans in boxes]
    return min(edges) if axis < 2 else max(edges)


def about(subject: Subject, grids: Mapping[str, Grid]) -> str:
    """The JSON object of where the tiles come from, and which of the source's LODs lies where. No secrets."""
    info = subject.info
    document: dict[str, Any] = {
        "name": info.name,
        "description": info.description,
        "attribution": info.attribution,
        "source": info.source,
        "generator": subject.generator,
    }
    document = {name: value for name, value in document.items() if value}
    document["lods"] = [
        {"level": level, "table": grid.table, "zoom_level": place.zoom}
        for grid in grids.values()
        for level, place in sorted(grid.places.items())
        if level in subject.levels
    ]
    return json.dumps(document, ensure_ascii=False)


def texts(subject: Subject, grid: Grid, *, several: bool) -> tuple[str, str]:
    """identifier (which is unique in a file) and description of a table."""
    info = subject.info
    name = info.name or "tiles"
    if several:
        levels = sorted(grid.places)
        name += f" LOD {levels[0]}" + (f"-{levels[-1]}" if len(levels) > 1 else "")
    return name, "\n".join(filter(None, (info.description, info.attribution, f"{SOURCE}{info.source}")))


def contents(connection: sqlite3.Connection, tables: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """identifier, description, min_x, min_y, max_x, max_y of tables in gpkg_contents, as they are."""
    sql = "SELECT identifier, description, min_x, min_y, max_x, max_y FROM gpkg_contents WHERE table_name = ?"
    found = {table: connection.execute(sql, (table,)).fetchone() for table in tables}
    return {table: tuple(row) for table, row in found.items() if row is not None}
