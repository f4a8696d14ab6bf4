"""Area x LOD to row runs: which tiles of a tiling scheme does a polygon need, exactly, and which does an extent allow.

The rule: vertices within SNAP of a grid line are moved onto it; then a tile is needed if and only if the interior of
its box meets the interior of the area. An edge along a grid line thus pulls in neither neighbour.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from harvester.tiling.runs import Runs
from harvester.tiling.scan import Edges, Floats, Window, scan
from harvester.tiling.scheme import GOOGLE_ORIGIN, Box, TilingScheme

__all__ = ["MAX_INDEX", "SNAP", "Outline", "Runs", "Window", "cover", "extent_window", "grid_window", "world"]

SNAP = 1e-6
"""Tiles by which a vertex may miss a grid line and still lie on it: what rounding in a projection or a file leaves
over."""

ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Relative error of coordinates in tiles and of places on edges between them: seven roundings of half a bit, with
room."""

EXTENT_SLACK = 1e-3
"""Tiles by which an extent may reach over a grid line without needing the next tile; as Esri's clients round."""

MAX_INDEX = (1 << 31) - 1
"""The largest row or column that is planned: all tiles of a LOD can then be counted in 62 bits, and at this index a
double still tells 1e-6 of a tile."""


class Outline:
    """The rings of polygonal geometry as flat arrays, taken apart once and scanned for every LOD."""

    def __init__(self, geometry: Any) -> None:
        """``geometry``: shapely Polygons or MultiPolygons, finite and valid; lines and points in a collection have no
        interior and are left out."""
        polygons = _polygons(geometry)
        self.coordinates: Floats = np.empty((0, 2))
        self._rings = self._parts = np.zeros(1, np.int64)
        if polygons.size:
            _, self.coordinates, (rings, parts) = shapely.to_ragged_array(polygons)
            self._rings, self._parts = rings.astype(np.int64), parts.astype(np.int64)
        inner = np.ones(max(len(self.coordinates) - 1, 0), np.bool_)
        inner[self._rings[1:-1] - 1] = False
        self._begins = np.flatnonzero(inner)

    def rounding(self, scheme: TilingScheme, level: int) -> float:
        """Tiles by which rounding may have moved a point: a few bits of the largest number on the way to it."""
        largest = max(abs(scheme.origin_x), abs(scheme.origin_y), float(np.abs(self.coordinates).max(initial=0.0)))
        return min(ROUNDING * largest / min(scheme.span(level)), SNAP)

    def edges(self, scheme: TilingScheme, level: int) -> Edges:
        """All edges in tiles of one LOD, vertices snapped to its grid, parts that snapping made invalid repaired."""
        width, height = scheme.span(level)
        x, moved_x = _snapped((self.coordinates[:, 0] - scheme.origin_x) / width)
        y, moved_y = _snapped((scheme.origin_y - self.coordinates[:, 1]) / height)
        moved = moved_x | moved_y
        begins = self._begins
        if not moved.any():
            return Edges(x[begins], y[begins], x[begins + 1], y[begins + 1])
        vertex_part = np.searchsorted(self._rings[self._parts], np.flatnonzero(moved), side="right") - 1
        suspects = np.unique(vertex_part)
        polygons = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, np.column_stack([x, y]), (self._rings, self._parts)
        )
        broken = suspects[~shapely.is_valid(polygons[suspects])]
        if not broken.size:
            return Edges(x[begins], y[begins], x[begins + 1], y[begins + 1])
        first, last = self._rings[self._parts[broken]], self._rings[self._parts[broken + 1]]
        change = np.zeros(len(x) + 1, np.int64)
        change[first] += 1
        change[last] -= 1
        begins = begins[np.cumsum(change)[begins] == 0]
        whole = Edges(x[begins], y[begins], x[begins + 1], y[begins + 1])
        mended = _edges(_polygons(shapely.make_valid(polygons[broken])))
        return Edges(*(np.concatenate(pair) for pair in zip(whole, mended, strict=True)))


def cover(geometry: Any, scheme: TilingScheme, level: int, window: Window | tuple[int, int, int, int]) -> Runs:
    """The tiles of a LOD, within ``window`` (row_min, row_max, col_min, col_max, inclusive), that an area needs.

    ``geometry``: an Outline, or valid polygonal shapely geometry, in the scheme's CRS. Nothing in it is expanded by
    tile: cost grows with vertices and with the rows that edges cross. Raises UsageError when those are more than
    MAX_PIECES.
    """
    outline = geometry if isinstance(geometry, Outline) else Outline(geometry)
    return scan(outline.edges(scheme, level), Window(*window), outline.rounding(scheme, level))


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


def _snapped(values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Values with those near a whole number moved onto it, and which ones moved."""
    nearest = np.rint(values)
    moved = (np.abs(values - nearest) <= SNAP) & (values != nearest)
    return np.where(moved, nearest, values), moved


def _polygons(geometry: Any) -> NDArray[Any]:
    """All polygons in a geometry or an array of geometries, however nested, as an array."""
    parts: NDArray[Any] = np.atleast_1d(np.asarray(geometry, dtype=object))
    while True:
        kinds = shapely.get_type_id(parts)
        if not (kinds > shapely.GeometryType.POLYGON).any():
            polygons: NDArray[Any] = parts[kinds == shapely.GeometryType.POLYGON]
            return polygons
        parts = shapely.get_parts(parts)


def _edges(polygons: NDArray[Any]) -> Edges:
    """The edges of polygons that are in tiles already."""
    coordinates, ring = shapely.get_coordinates(shapely.get_rings(polygons), return_index=True)
    begins = np.flatnonzero(ring[1:] == ring[:-1])
    x, y = coordinates[:, 0], coordinates[:, 1]
    return Edges(x[begins], y[begins], x[begins + 1], y[begins + 1])
