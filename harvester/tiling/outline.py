"""The rings of an area as flat arrays, placed on the grid of one LOD after the other: vertices near a grid line moved
onto it, parts that this broke repaired."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from harvester.tiling.banded import Shelf
from harvester.tiling.intervals import Ints, distinct
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.seams import seams
from harvester.tiling.walk import Edges, Floats

SNAP = 1e-6
"""Tiles by which a vertex may miss a grid line and still lie on it: what rounding in a projection or a file leaves
over."""

ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Relative error of coordinates in tiles and of places on edges between them: twelve roundings of half a bit, of
numbers up to twice the largest, with room."""

SLICE = 1 << 16
"""Vertices that are placed on a grid at a time: what is computed of them on the way fits into a core's cache."""

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
        self._goes_on = np.ones(len(self.coordinates), np.bool_)  # to the next vertex: all but the last of each ring
        self._goes_on[self._rings[1:] - 1] = False
        self._largest = max(-float(self.coordinates.min(initial=0.0)), float(self.coordinates.max(initial=0.0)))
        self._placed: tuple[TilingScheme, int, Edges] | None = None
        self.shelf = Shelf()
        """Bands of its tiles that were made last, of all LODs together."""

    def rounding(self, scheme: TilingScheme, level: int) -> float:
        """Tiles by which rounding may have moved a point: a few bits of the largest number on the way to it."""
        largest = max(abs(scheme.origin_x), abs(scheme.origin_y), self._largest)
        return min(ROUNDING * largest / min(scheme.span(level)), SNAP)

    def edges(self, scheme: TilingScheme, level: int) -> Edges:
        """Edges in tiles of one LOD, vertices snapped to its grid, parts that snapping made invalid repaired; what
        happens inside of one tile is left out as far as it tells nothing.

        Those of the last LOD are kept: a band of rows that is made again needs them again.
        """
        placed = self._placed
        if placed is None or placed[0] is not scheme or placed[1] != level:
            self._placed = None
            self._placed = placed = scheme, level, self._edges(scheme, level)
        return placed[2]

    def _edges(self, scheme: TilingScheme, level: int) -> Edges:
        width, height = scheme.span(level)
        x, y = np.empty(len(self.coordinates)), np.empty(len(self.coordinates))
        found = [np.empty(0, np.int64)]
        for at in range(0, len(x), SLICE):
            part = slice(at, at + SLICE)
            x[part], moved_x = _snapped((self.coordinates[part, 0] - scheme.origin_x) / width)
            y[part], moved_y = _snapped((scheme.origin_y - self.coordinates[part, 1]) / height)
            found.append(np.flatnonzero(moved_x | moved_y) + at)
        half = scheme.crs.half_world
        if half is not None and (crossing := seams(self.coordinates, self._rings, half[0])):
            cut = np.concatenate([crossing.east, crossing.west])
            places, _ = _snapped(np.tile(crossing.places(x, y, 2 * half[0] / width), 2))
            other = places != y[cut]
            y[cut] = places
            found.append(cut[other])
        moved = distinct(np.concatenate(found))
        begins, ends = self._telling(x, y)
        if not moved.size or self._still_apart(x, y, moved):
            return Edges(x[begins], y[begins], x[ends], y[ends])
        suspects = distinct(np.searchsorted(self._rings[self._parts], moved, side="right") - 1)
        polygons = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, np.column_stack([x, y]), (self._rings, self._parts)
        )
        broken = suspects[~shapely.is_valid(polygons[suspects])]
        first, last = self._rings[self._parts[broken]], self._rings[self._parts[broken + 1]]
        change = np.zeros(len(x) + 1, np.int64)
        change[first] += 1
        change[last] -= 1
        whole = np.cumsum(change)[begins] == 0
        begins, ends = begins[whole], ends[whole]
        left = Edges(x[begins], y[begins], x[ends], y[ends])
        if not broken.size:
            return left
        # By structure (shells less holes): of a hole with part of an edge on its shell, linework makes a mere line.
        mended = _edges(_polygons(shapely.make_valid(polygons[broken], method="structure", keep_collapsed=False)))
        return Edges(*(np.concatenate(pair) for pair in zip(left, mended, strict=True)))

    def _telling(self, x: Floats, y: Floats) -> tuple[Ints, Ints]:
        """The vertices between which edges tell all of the outline that is larger than a tile, and those at their ends.

        A vertex is left out where its two edges lie within the same open tile: the straight way between its neighbours
        does too, and is on both sides of the tile's midline when they are. Of a ring within one tile its
        westernmost and easternmost vertices are kept, so that it still is somewhere.
        """
        same = self._goes_on.copy()
        for at in range(0, len(x), SLICE):
            part = slice(at, at + SLICE + 1)  # one more, for the edge to the next slice
            row, col = np.floor(y[part]), np.floor(x[part])
            within = (y[part] != row) & (x[part] != col)
            alike = (row[1:] == row[:-1]) & (col[1:] == col[:-1])
            same[at : at + alike.size] &= alike & within[1:] & within[:-1]
        kept = np.ones(len(x), np.bool_)
        kept[1:] = ~(same[1:] & same[:-1])
        if kept.size:
            tiny = np.add.reduceat(kept, self._rings[:-1], dtype=np.int64) == 2
            if tiny.any():
                sizes = np.diff(self._rings)
                for ends in (np.minimum.reduceat(x, self._rings[:-1]), np.maximum.reduceat(x, self._rings[:-1])):
                    kept |= np.repeat(tiny, sizes) & (x == np.repeat(ends, sizes))
        vertices = np.flatnonzero(kept)
        follows = self._goes_on[vertices[:-1]]
        return vertices[:-1][follows], vertices[1:][follows]

    def _still_apart(self, x: Floats, y: Floats, moved: Ints) -> bool:
        """True when the edges at a few moved vertices meet no others but those that begin or end where they do.

        Then nothing is broken that a scan would notice: where edges lie on each other they may bound nothing, but they
        also touch. An edge can have jumped over a ring only if that is thinner than SNAP, and then no grid line is
        between them, or the ring has been moved too.
        """
        if moved.size > FEW_MOVED:
            return False
        at = distinct(np.concatenate([moved, moved - 1]))
        at = at[(at >= 0) & self._goes_on[at]]
        near = distinct(np.concatenate([self._beside(y, at), at]))
        edges = Edges(x[near], y[near], x[near + 1], y[near + 1])
        left, right = np.minimum(edges.x0, edges.x1), np.maximum(edges.x0, edges.x1)
        top, bottom = np.minimum(edges.y0, edges.y1), np.maximum(edges.y0, edges.y1)
        for one in np.searchsorted(near, at).tolist():
            meets = (left <= right[one]) & (right >= left[one]) & (top <= bottom[one]) & (bottom >= top[one])
            meets[one] = False
            others = edges.take(meets)
            x0, y0, x1, y1 = edges.take(slice(one, one + 1))
            if x0 == x1 and y0 == y1:
                return False
            ours, theirs = _lines(Edges(x0, y0, x1, y1)), _lines(others)
            share = np.zeros(len(theirs), np.bool_)
            for px, py in ((x0, y0), (x1, y1)):
                share |= ((others.x0 == px) & (others.y0 == py)) | ((others.x1 == px) & (others.y1 == py))
            if shapely.intersects(theirs[~share], ours).any() or not shapely.touches(theirs[share], ours).all():
                return False
        return True

    def _beside(self, y: Floats, at: Ints) -> Ints:
        """All edges in whose rows one of some edges lies, too, by their first vertices."""
        tops, bottoms = np.minimum(y[at], y[at + 1]), np.maximum(y[at], y[at + 1])
        order = np.argsort(tops)
        lowest = np.append(-np.inf, np.maximum.accumulate(bottoms[order]))  # of all that begin above
        reach = lowest[np.searchsorted(tops[order], np.maximum(y[1:], y[:-1]), side="right")]
        return np.flatnonzero((reach >= np.minimum(y[1:], y[:-1])) & self._goes_on[:-1])


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
