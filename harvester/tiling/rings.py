"""Tiles to the fewest valid polygons: outlines traced along the ends of row runs, in whole numbers and exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from harvester.tiling.intervals import Ints, offsets
from harvester.tiling.runs import Runs

# Every run has two vertical sides: 2i on its left, 2i + 1 on its right; side s has the ends 2s (upper), 2s + 1 (lower).


def outlines(runs: Runs) -> NDArray[Any]:
    """Valid shapely Polygons, x = column and y = row downwards, that cover exactly these tiles and overlap nowhere.

    Tiles that share a side are in one polygon, tiles that share a corner only are not. Outer rings turn clockwise as
    seen on a map whose rows grow downwards, holes the other way. No ring has a vertex in the
    middle of a straight side. Costs time and memory by runs, not by tiles.
    """
    if not runs:
        return np.empty(0, object)
    x = np.column_stack([runs.first, runs.first, runs.last + 1, runs.last + 1]).ravel()
    y = np.column_stack([runs.top, runs.bottom + 1, runs.top, runs.bottom + 1]).ravel()
    link, straight, touching = _links(x, y)
    order, starts = _walked(link)
    ends = np.column_stack([order, order ^ 1]).ravel()
    ring = np.zeros(ends.size, np.int64)
    ring[2 * starts[1:]] = 1
    np.cumsum(ring, out=ring)
    ring_of = np.empty_like(ring)
    ring_of[ends] = ring
    pinched = np.unique(ring_of[touching[0]][ring_of[touching[0]] == ring_of[touching[1]]])
    corners = ~straight[ends]
    ends, ring = ends[corners], ring[corners]
    return _polygons(*_simple(np.column_stack([x[ends], y[ends]]), ring, pinched))


def _links(x: Ints, y: Ints) -> tuple[Ints, NDArray[np.bool_], tuple[Ints, Ints]]:
    """Which end each end of a side is joined to; where the side just goes on; pairs of ends where tiles touch only at
    their corner.

    On each grid line what is above differs from what is below between every first and second end. Where two ends meet,
    that of a right side comes first: tiles that touch at a corner are kept apart.
    """
    is_left = (np.arange(x.size) & 2) == 0
    sorted_ = np.lexsort((is_left, x, y))
    same = (x[sorted_[1:]] == x[sorted_[:-1]]) & (y[sorted_[1:]] == y[sorted_[:-1]])
    alike = is_left[sorted_[1:]] == is_left[sorted_[:-1]]
    first = np.flatnonzero(same & alike)
    link = np.empty(x.size, np.int64)
    straight = np.zeros(x.size, np.bool_)
    rest = np.ones(x.size, np.bool_)
    rest[first] = rest[first + 1] = False
    straight[sorted_[~rest]] = True
    turns = sorted_[rest]
    for one, other in ((sorted_[first], sorted_[first + 1]), (turns[::2], turns[1::2])):
        link[one], link[other] = other, one
    corner = np.flatnonzero(same & ~alike)
    return link, straight, (sorted_[corner], sorted_[corner + 1])


def _walked(link: Ints) -> tuple[Ints, Ints]:
    """The end at which each side is entered, ring by ring, and where each ring begins: left sides downwards, right ones
    upwards, so that the tiles are always on the same hand."""
    to = link.tolist()
    seen = bytearray(len(to) // 2)
    order: list[int] = []
    starts: list[int] = []
    for side in range(len(seen)):
        if seen[side]:
            continue
        starts.append(len(order))
        begin = end = 2 * side + (side & 1)
        while True:
            seen[end >> 1] = 1
            order.append(end)
            end = to[end ^ 1]
            if end == begin:
                break
    return np.array(order, np.int64), np.array(starts, np.int64)


def _simple(points: Ints, ring: Ints, pinched: Ints) -> tuple[Ints, Ints]:
    """Rings that visit a point twice, cut there into rings that don't; points and where each ring begins."""
    starts = np.append(0, np.flatnonzero(np.diff(ring)) + 1)
    sizes = np.diff(starts, append=len(points))
    if not pinched.size:
        return points, starts
    pieces: list[Sequence[tuple[int, int]]] = []
    for one in pinched.tolist():
        x, y = points[starts[one] : starts[one] + sizes[one]].T.tolist()
        pieces += _cut(list(zip(x, y, strict=True)))
    keep = np.ones(starts.size, np.bool_)
    keep[pinched] = False
    kept = points[np.repeat(keep, sizes)]
    counts = np.concatenate([sizes[keep], [len(piece) for piece in pieces]])
    return np.vstack([kept, *map(np.array, pieces)]), np.cumsum(counts) - counts


def _cut(points: list[tuple[int, int]]) -> list[Sequence[tuple[int, int]]]:
    path: list[tuple[int, int]] = []
    place: dict[tuple[int, int], int] = {}
    loops: list[Sequence[tuple[int, int]]] = []
    for point in points:
        at = place.get(point)
        if at is None:
            place[point] = len(path)
            path.append(point)
            continue
        loops.append(path[at:])
        for gone in path[at + 1 :]:
            del place[gone]
        del path[at + 1 :]
    return [*loops, path]


def _polygons(points: Ints, starts: Ints) -> NDArray[Any]:
    """Simple rings, told by the way they turn, to polygons with their holes."""
    sizes = np.diff(starts, append=len(points))
    after = np.arange(1, len(points) + 1)
    after[starts + sizes - 1] = starts
    x, y = (points - points[starts].repeat(sizes, axis=0)).astype(np.float64).T
    area = np.add.reduceat(x * y[after] - x[after] * y, starts) / 2
    shells, holes = np.flatnonzero(area < 0), np.flatnonzero(area > 0)
    owner = np.arange(starts.size)
    if holes.size:
        around = shapely.polygons(_closed(points, starts[shells], sizes[shells])[2])
        owner[holes] = shells[_around(points, starts[holes], sizes[holes], around, -area[shells])]
    order = np.lexsort((area, owner))  # a shell's area is below zero, its holes' above
    coordinates, ring_ends, _ = _closed(points, starts[order], sizes[order])
    parts = np.append(np.flatnonzero(area[order] < 0), order.size)
    found: NDArray[Any] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, coordinates, (ring_ends, parts))
    return found


def _closed(points: Ints, starts: Ints, sizes: Ints) -> tuple[NDArray[np.float64], Ints, Any]:
    """Some rings with their first point repeated: coordinates, offsets of rings, and the rings themselves."""
    step = offsets(sizes + 1)
    index = starts.repeat(sizes + 1) + np.where(step == sizes.repeat(sizes + 1), 0, step)
    coordinates = points[index].astype(np.float64)
    ring = np.arange(starts.size).repeat(sizes + 1)
    return coordinates, np.append(0, np.cumsum(sizes + 1)), shapely.linearrings(coordinates, indices=ring)


def _around(points: Ints, starts: Ints, sizes: Ints, shells: Any, areas: NDArray[np.float64]) -> Ints:
    """The shell that each hole is cut from: the smallest around the tile to the left of the hole's top left corner."""
    index = starts.repeat(sizes) + offsets(sizes)
    hole = np.arange(starts.size).repeat(sizes)
    order = np.lexsort((points[index, 1], points[index, 0], hole))
    corner = points[index[order[np.cumsum(sizes) - sizes]]] + (-0.5, 0.5)
    which, shell = shapely.STRtree(shells).query(shapely.points(corner), predicate="within")
    order = np.lexsort((areas[shell], which))
    _, first = np.unique(which[order], return_index=True)
    return np.asarray(shell[order[first]], np.int64)
