"""The rings of an area as flat arrays, placed on the grid of one LOD after the other: vertices near a grid line moved
onto it, parts that this broke repaired."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from harvester.tiling.runs import Ints
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.walk import Edges, Floats

SNAP = 1e-6
"""Tiles by which a vertex may miss a grid line and still lie on it: what rounding in a projection or a file leaves
over."""

ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Relative error of coordinates in tiles and of places on edges between them: twelve roundings of half a bit, of
numbers up to twice the largest, with room."""

FEW_MOVED = 100
"""Moved vertices whose edges are looked at one by one: 100 times 100,000 edges are 0.1 s. Beyond it the parts are
tested as wholes, which takes 0.5 s for a part of 100,000 vertices however few of them moved."""


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
        moved = np.flatnonzero(moved_x | moved_y)
        begins = self._begins
        whole = Edges(x[begins], y[begins], x[begins + 1], y[begins + 1])
        if not moved.size or self._still_apart(whole, moved):
            return whole
        vertex_part = np.searchsorted(self._rings[self._parts], moved, side="right") - 1
        suspects = np.unique(vertex_part)
        polygons = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, np.column_stack([x, y]), (self._rings, self._parts)
        )
        broken = suspects[~shapely.is_valid(polygons[suspects])]
        if not broken.size:
            return whole
        first, last = self._rings[self._parts[broken]], self._rings[self._parts[broken + 1]]
        change = np.zeros(len(x) + 1, np.int64)
        change[first] += 1
        change[last] -= 1
        begins = begins[np.cumsum(change)[begins] == 0]
        whole = Edges(x[begins], y[begins], x[begins + 1], y[begins + 1])
        mended = _edges(_polygons(shapely.make_valid(polygons[broken])))
        return Edges(*(np.concatenate(pair) for pair in zip(whole, mended, strict=True)))

    def _still_apart(self, edges: Edges, moved: Ints) -> bool:
        """True when the edges at a few moved vertices meet no others but those that begin or end where they do.

        Then nothing is broken that a scan would notice: where edges lie on each other they may bound nothing, but they
        also touch. An edge can have jumped over a ring only if that is thinner than SNAP, and then no grid line is
        between them, or the ring has been moved too.
        """
        if moved.size > FEW_MOVED:
            return False
        is_moved = np.zeros(len(self.coordinates), np.bool_)
        is_moved[moved] = True
        left, right = np.minimum(edges.x0, edges.x1), np.maximum(edges.x0, edges.x1)
        top, bottom = np.minimum(edges.y0, edges.y1), np.maximum(edges.y0, edges.y1)
        for one in np.flatnonzero(is_moved[self._begins] | is_moved[self._begins + 1]).tolist():
            near = (left <= right[one]) & (right >= left[one]) & (top <= bottom[one]) & (bottom >= top[one])
            near[one] = False
            others = edges.take(near)
            x0, y0, x1, y1 = edges.take(slice(one, one + 1))
            if x0 == x1 and y0 == y1:
                return False
            ours, theirs = _lines(Edges(x0, y0, x1, y1)), _lines(others)
            share = np.zeros(len(theirs), np.bool_)
            for x, y in ((x0, y0), (x1, y1)):
                share |= ((others.x0 == x) & (others.y0 == y)) | ((others.x1 == x) & (others.y1 == y))
            if shapely.intersects(theirs[~share], ours).any() or not shapely.touches(theirs[share], ours).all():
                return False
        return True


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


def _lines(edges: Edges) -> NDArray[Any]:
    ends = np.column_stack(edges).reshape(-1, 2, 2)
    lines: NDArray[Any] = shapely.linestrings(ends)
    return lines
