"""The extent that a cache states: a function of its tiles, their scheme and the source's extent, and of nothing else.

So it is the same whether the LODs came in one run or in several, and in whatever format they were in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harvester.tiling.scheme import Box, TilingScheme
from harvester.tiling.tile import BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask

EDGE_TOLERANCE = 1e-3
"""Tiles by which one edge may miss another and still be taken to reach it: the plan's own tolerance."""

FEWER_APART = 4
"""Where tiles of the finer of two levels lie across the edges of the coarser one's, a small area inside of one of them
can meet as many of the others."""


@dataclass(slots=True)
class Reach:
    """The rows and columns that one level's tiles reach over, inclusive, and their number; empty at first."""

    top: int = 1 << 62
    bottom: int = -(1 << 62)
    left: int = 1 << 62
    right: int = -(1 << 62)
    tiles: int = 0

    def add(self, key: BlockKey, there: Mask) -> None:
        """The tiles of one more block."""
        self.tiles += int(np.count_nonzero(there))
        for number, (low, high) in enumerate(((self.top, self.bottom), (self.left, self.right))):
            found = np.flatnonzero(there.any(axis=1 - number))
            if not found.size:
                return
            first = key.col if number else key.row
            low, high = min(low, first + int(found[0])), max(high, first + int(found[-1]))
            if number:
                self.left, self.right = low, high
            else:
                self.top, self.bottom = low, high

    def moved(self, rows: int, cols: int) -> Reach:
        """The same tiles, counted from another origin."""
        return Reach(self.top + rows, self.bottom + rows, self.left + cols, self.right + cols, self.tiles)


def extent_of(scheme: TilingScheme, reaches: Mapping[int, Reach], bound: Box | None) -> Box | None:
    """The box of tiles by level, in the scheme's CRS; None where there is none.

    The finest level follows an area most closely. A coarser one counts where it reaches out of it by a whole tile of
    its own; less is the overhang that every pyramid has. One with more tiles than the next finer one is of a larger
    area, for each tile has a part in that: it counts wherever it reaches out. Nor does the overhang over ``bound``,
    the source's extent, count.
    """
    edges: list[float] = []
    spans: list[float] = []
    finer: tuple[int, float] = (0, 1.0)
    for lod in reversed(scheme.lods):
        reach = reaches.get(lod.level)
        if reach is None or reach.top > reach.bottom:
            continue
        first = scheme.box(Tile(lod.level, reach.top, reach.left))
        last = scheme.box(Tile(lod.level, reach.bottom, reach.right))
        box = (first.xmin, last.ymin, last.xmax, first.ymax)
        span = scheme.span(lod.level) * 2
        (tiles, resolution), finer = finer, (reach.tiles, lod.resolution)
        if not edges:
            edges, spans = list(box), list(span)
            continue
        steps = lod.resolution / resolution
        is_larger = reach.tiles > tiles * (1 if abs(steps - round(steps)) < EDGE_TOLERANCE else FEWER_APART)
        for axis, edge in enumerate(box):
            over = _over(edge, edges[axis], axis) / span[axis]
            if over >= 1 - EDGE_TOLERANCE or (is_larger and over > EDGE_TOLERANCE):
                edges[axis], spans[axis] = edge, span[axis]
    if not edges:
        return None
    found = Box(*edges)
    if bound is not None:
        cut = [
            wanted if 0 < _over(edge, wanted, axis) < spans[axis] * (1 - EDGE_TOLERANCE) else edge
            for axis, (edge, wanted) in enumerate(zip(edges, bound, strict=True))
        ]
        if cut[0] < cut[2] and cut[1] < cut[3]:
            found = Box(*cut)
    return found


def _over(edge: float, other: float, axis: int) -> float:
    """By how much an edge lies further out than another; below 0 where it lies within."""
    return other - edge if axis < 2 else edge - other
