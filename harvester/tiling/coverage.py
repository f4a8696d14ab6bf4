"""Area x LOD to row runs: which tiles of a tiling scheme does a polygon need, exactly, and which does an extent allow.

The rule: vertices within SNAP of a grid line are moved onto it; then a tile is needed if and only if the interior of
its box meets the interior of the area. An edge along a grid line thus pulls in neither neighbour.
"""

from __future__ import annotations

import math
from typing import Any

from harvester.tiling.banded import gathered
from harvester.tiling.runs import Runs
from harvester.tiling.scan import row_bands, scan
from harvester.tiling.scheme import GOOGLE_ORIGIN, Box, TilingScheme
from harvester.tiling.tile_rows import TileRows
from harvester.tiling.walk import Window

__all__ = ["MAX_INDEX", "Runs", "Window", "cover", "extent_window", "grid_window", "world"]

EXTENT_SLACK = 1e-3
"""Tiles by which an extent may reach over a grid line without needing the next tile; as Esri's clients round."""

MAX_INDEX = (1 << 31) - 1
"""The largest row or column that is planned: all tiles of a LOD can then be counted in 62 bits, and at this index a
double still tells 1e-6 of a tile."""


def cover(geometry: Any, scheme: TilingScheme, level: int, window: Window | tuple[int, int, int, int]) -> TileRows:
    """The tiles of a LOD, within ``window`` (row_min, row_max, col_min, col_max, inclusive), that an area needs.

    ``geometry``: an Outline, or valid polygonal shapely geometry, in the scheme's CRS. Nothing in it is expanded by
    tile: time grows with vertices and with the rows that edges cross, memory with vertices, and with the runs that come
    out up to MAX_HELD; where there are more, bands of rows are scanned again when they are asked for.
    Raises UsageError as ``scan`` does.
    """
    from harvester.tiling.outline import Outline  # and with it shapely, which a plan without an area does without

    outline = geometry if isinstance(geometry, Outline) else Outline(geometry)
    window = Window(*window)
    rounding = outline.rounding(scheme, level)
    if window.row_max < window.row_min or window.col_max < window.col_min:
        return Runs.empty()

    def make(low: int, high: int) -> Runs:
        rows = Window(low, high, window.col_min, window.col_max)
        return scan(outline.edges(scheme, level), rows, rounding)

    bands = row_bands(outline.edges(scheme, level), window)
    return gathered([(low, high, None) for low, high in bands], make, outline.shelf)


def extent_window(scheme: TilingScheme, level: int, box: Box) -> Window:
    """Rows and columns of a LOD that an extent (in the scheme's CRS) holds, within ``grid_window``; empty where it
    holds none.

    ``floor(min + 1e-3) .. ceil(max - 1e-3) - 1``. Where that leaves nothing because the extent itself is thinner than
    the slack, the tiles that it touches are taken: an extent that exists has tiles at every LOD.
    """
    width, height = scheme.span(level)
    rows = _range((scheme.origin_y - box.ymax) / height, (scheme.origin_y - box.ymin) / height)
    cols = _range((box.xmin - scheme.origin_x) / width, (box.xmax - scheme.origin_x) / width)
    grid = grid_window(scheme, level)
    return Window(
        max(rows[0], grid.row_min), min(rows[1], grid.row_max), max(cols[0], grid.col_min), min(cols[1], grid.col_max)
    )


def grid_window(scheme: TilingScheme, level: int) -> Window:
    """Rows and columns that can exist at all: not negative, and on the Google grid inside the world."""
    place = scheme.google(level)
    if place is None:
        return Window(0, MAX_INDEX, 0, MAX_INDEX)
    size = (1 << place.zoom) - 1
    return Window(
        max(0, -place.row_offset), size - place.row_offset, max(0, -place.col_offset), size - place.col_offset
    )


def world(scheme: TilingScheme, level: int) -> Box | None:
    """The world's box in the scheme's CRS where this LOD is on the Google grid, else None."""
    if scheme.google(level) is None:
        return None
    return Box(-GOOGLE_ORIGIN, -GOOGLE_ORIGIN, GOOGLE_ORIGIN, GOOGLE_ORIGIN)


def _range(low: float, high: float) -> tuple[int, int]:
    low, high = (min(max(value, -2.0), MAX_INDEX + 2.0) for value in (low, high))
    first, last = math.floor(low + EXTENT_SLACK), math.ceil(high - EXTENT_SLACK) - 1
    if first > last:
        first, last = math.floor(low), max(math.floor(low), math.ceil(high) - 1)
    return first, last
