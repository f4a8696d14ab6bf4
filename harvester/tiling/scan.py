"""Scan conversion: which tiles do the edges of closed rings pass through, and which lie wholly inside. Exact, in numpy.

Coordinates are in tiles (column to the right, row downwards). The rings bound an area by the even-odd rule. A tile (an
open unit square) meets the area's interior if and only if an edge passes through the tile, or no edge does and its
centre is inside. So the boundary is walked first, with care at grid corners; the inside is filled between crossings of
row midlines, where a rounding error only matters for tiles that an edge passes through anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harvester.errors import UsageError
from harvester.tiling.runs import MAX_PIECES, Ints, Runs, merge_intervals, offsets

Floats: TypeAlias = NDArray[np.float64]

CHUNK = 1 << 17
"""Row crossings worked on at a time: a few MB of temporaries however many there are."""


class Edges(NamedTuple):
    """Straight edges in tiles: float64 arrays of equal length, from (x0, y0) to (x1, y1)."""

    x0: Floats
    y0: Floats
    x1: Floats
    y1: Floats

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Edges:
        """Some of the edges."""
        return Edges(self.x0[index], self.y0[index], self.x1[index], self.y1[index])


class Window(NamedTuple):
    """Rows and columns that bound a plan, inclusive."""

    row_min: int
    row_max: int
    col_min: int
    col_max: int


class _Strips(NamedTuple):
    """The window's rows cut into strips: single rows where slanted edges are, one strip where only vertical edges
    pass."""

    start: Ints
    """First row of each segment, ascending; a segment is one strip, or as many as it has rows."""
    stop: Ints
    dense: NDArray[np.bool_]
    base: Ints
    """Index of each segment's first strip, and the number of all strips."""

    def of_row(self, row: Ints) -> Ints:
        """The strip that a row lies in."""
        segment = np.searchsorted(self.start, row, side="right") - 1
        return self.base[segment] + np.where(self.dense[segment], row - self.start[segment], 0)

    def rows(self) -> tuple[Ints, Ints]:
        """First and last row of every strip."""
        counts = np.diff(self.base)
        step = offsets(counts)
        top = self.start.repeat(counts) + step
        bottom = np.where(self.dense.repeat(counts), top, (self.stop - 1).repeat(counts))
        return top, bottom


def scan(edges: Edges, window: Window, rounding: float) -> Runs:
    """The tiles within ``window`` whose interior meets the interior of the even-odd area that the edges of closed
    rings bound.

    ``rounding``: tiles by which the coordinates may be off. An edge that passes a grid corner as near as that goes
    through it: on which side it would pass, the coordinates cannot tell.
    Costs time and memory by edges and by rows that slanted edges cross, never by tiles. Raises UsageError when those
    rows are more than MAX_PIECES.
    """
    if window.row_max < window.row_min or window.col_max < window.col_min:
        return Runs.empty()
    edges = _downwards(edges, window)
    if not edges.x0.size:
        return Runs.empty()
    top, bottom = _row_range(edges, window)
    upright = edges.x0 == edges.x1
    strips = _strips(top, bottom, upright)
    spans: list[tuple[Ints, Ints, Ints]] = []
    crossings: list[tuple[Ints, Ints]] = []
    slanted = ~upright
    walks = (
        _walk_upright(edges.take(upright), top[upright], bottom[upright], strips, window),
        _walk_slanted(edges.take(slanted), top[slanted], bottom[slanted], strips, window, rounding),
    )
    for part in chain(*walks):
        spans.append(part[:3])
        crossings.append(part[3:])
    strip, first, last = (np.concatenate(arrays) for arrays in zip(*spans, strict=True))
    inside = _fill(window, *(np.concatenate(arrays) for arrays in zip(*crossings, strict=True)))
    del crossings, spans
    strip, first, last = (np.concatenate(pair) for pair in ((strip, inside[0]), (first, inside[1]), (last, inside[2])))
    return Runs.from_strips(strip, first, last, *strips.rows())


def _downwards(edges: Edges, window: Window) -> Edges:
    """Edges turned so that y grows, without those outside the window's rows, along a grid line, or of no length.

    Edges left and right of the window stay: each row's crossings are paired.
    """
    low, high = np.minimum(edges.y0, edges.y1), np.maximum(edges.y0, edges.y1)
    flat = (low == high) & ((low == np.floor(low)) | (edges.x0 == edges.x1))
    keep = (high > window.row_min) & (low < window.row_max + 1) & ~flat
    edges, swap = edges.take(keep), (edges.y0 > edges.y1)[keep]
    return Edges(np.where(swap, edges.x1, edges.x0), low[keep], np.where(swap, edges.x0, edges.x1), high[keep])


def _row_range(edges: Edges, window: Window) -> tuple[Ints, Ints]:
    """First and last row of the window that each edge passes through."""
    top = np.maximum(np.floor(edges.y0), window.row_min).astype(np.int64)
    bottom = np.minimum(np.ceil(edges.y1) - 1, window.row_max).astype(np.int64)
    return top, bottom


def _strips(top: Ints, bottom: Ints, upright: NDArray[np.bool_]) -> _Strips:
    # An upright edge that ends inside a row is followed there by a slanted edge, or by an upright one that cuts too.
    slanted = ~upright
    cuts = [top[upright], bottom[upright] + 1]
    begin, stop = top[slanted], bottom[slanted] + 1
    if begin.size:
        begin, stop = merge_intervals(begin, stop)
    start = np.unique(np.concatenate([begin, stop, *cuts]))
    start, end = start[:-1], start[1:]
    is_dense = np.searchsorted(begin, start, side="right") > np.searchsorted(stop, start, side="right")
    counts = np.where(is_dense, end - start, 1)
    total = int(counts.sum())
    pieces = int((bottom - top + 1)[slanted].sum())
    if max(total, pieces) > MAX_PIECES:
        raise UsageError(
            f"the area's edges cross {max(total, pieces):,} rows of tiles, more than {MAX_PIECES:,}",
            hint="Choose coarser LODs, or split the area.",
        )
    base = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts, out=base[1:])
    return _Strips(start, end, is_dense, base)


Walked: TypeAlias = tuple[Ints, Ints, Ints, Ints, Ints]
"""Strip, first and last column of boundary runs; strip and column of midline crossings."""


def _walk_upright(edges: Edges, top: Ints, bottom: Ints, strips: _Strips, window: Window) -> Iterator[Walked]:
    """Boundary and crossings of vertical edges: the same in every row, so whole strips at once."""
    low, high = np.floor(edges.x0), np.ceil(edges.x0) - 1
    first, last = _columns(low, high, window)
    begin, end = strips.of_row(top), strips.of_row(bottom) + 1
    inside = first <= last  # on a grid line it passes through no tile
    counts = np.where(inside, end - begin, 0)
    strip = begin.repeat(counts) + offsets(counts)
    upper, lower = _midline_rows(edges, window)
    crossed = upper <= lower
    upper, lower = upper[crossed], lower[crossed]
    begin = strips.of_row(upper)
    count = strips.of_row(lower) + 1 - begin
    column = _crossing_column(edges.x0[crossed], window)
    yield strip, first.repeat(counts), last.repeat(counts), begin.repeat(count) + offsets(count), column.repeat(count)


def _walk_slanted(
    edges: Edges, top: Ints, bottom: Ints, strips: _Strips, window: Window, rounding: float
) -> Iterator[Walked]:
    """Boundary and crossings of all other edges, row by row, in chunks of about CHUNK rows."""
    if not top.size:
        return
    shift = strips.of_row(top) - top
    ends = np.cumsum(bottom - top + 1)
    at = 0
    while at < top.size:
        done = int(ends[at - 1]) if at else 0
        stop = max(at + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        part = slice(at, stop)
        if stop == at + 1 and ends[at] - done > CHUNK:  # one very long edge: by rows
            for row in range(int(top[at]), int(bottom[at]) + 1, CHUNK):
                rows = np.array([row]), np.array([min(row + CHUNK - 1, int(bottom[at]))])
                yield _walk_rows(edges.take(part), *rows, shift[part], window, rounding)
        else:
            yield _walk_rows(edges.take(part), top[part], bottom[part], shift[part], window, rounding)
        at = stop


def _walk_rows(edges: Edges, top: Ints, bottom: Ints, shift: Ints, window: Window, rounding: float) -> Walked:
    """Boundary runs and midline crossings of slanted edges between rows ``top`` and ``bottom``."""
    low_x, high_x = np.minimum(edges.x0, edges.x1), np.maximum(edges.x0, edges.x1)
    counts = bottom - top + 1
    tall = counts > 1
    tall |= (top > edges.y0) | (bottom + 1 < edges.y1)
    flat = ~tall
    first, last = _columns(np.floor(low_x[flat]), np.ceil(high_x[flat]) - 1, window)
    keep = first <= last
    short = (top[flat] + shift[flat])[keep], first[keep], last[keep]
    edge = np.flatnonzero(tall).repeat(counts[tall])
    row = top[tall].repeat(counts[tall]) + offsets(counts[tall])
    upper, lower = (_grid_crossing(edges, edge, row + step, rounding) for step in (0, 1))
    right = (edges.x1 > edges.x0)[edge]
    first, last = _columns(np.where(right, upper[0], lower[0]), np.where(right, lower[1], upper[1]) - 1, window)
    keep = first <= last
    strip = np.concatenate([short[0], (row + shift[edge])[keep]])
    first, last = np.concatenate([short[1], first[keep]]), np.concatenate([short[2], last[keep]])

    begin, end = _midline_rows(edges, window)
    begin, end = np.maximum(begin, top), np.minimum(end, bottom)
    counts = np.maximum(end - begin + 1, 0)
    edge = np.arange(top.size).repeat(counts)
    row = begin.repeat(counts) + offsets(counts)
    x0, y0, x1, y1 = edges.take(edge)
    column = _crossing_column(x0 + (row + 0.5 - y0) * ((x1 - x0) / (y1 - y0)), window)
    return strip, first, last, row + shift[edge], column


def _columns(first: Floats, last: Floats, window: Window) -> tuple[Ints, Ints]:
    """Columns clipped to the window; the result is empty (first > last) where it was, or where the window has none of
    them."""
    low = np.clip(first, window.col_min, window.col_max + 1).astype(np.int64)
    high = np.clip(last, window.col_min - 1, window.col_max).astype(np.int64)
    return low, high


def _midline_rows(edges: Edges, window: Window) -> tuple[Ints, Ints]:
    """First and last row whose midline an edge crosses; half-open (y0 <= midline < y1), so that a shared vertex counts
    once."""
    upper = np.maximum(np.ceil(edges.y0 - 0.5), window.row_min).astype(np.int64)
    lower = np.minimum(np.ceil(edges.y1 - 0.5) - 1, window.row_max).astype(np.int64)
    return upper, lower


def _crossing_column(x: Floats, window: Window) -> Ints:
    """The first column whose centre lies to the right of a midline crossing, clipped to the window."""
    return np.clip(np.floor(x + 0.5), window.col_min, window.col_max + 1).astype(np.int64)


def _fill(window: Window, strip: Ints, column: Ints) -> tuple[Ints, Ints, Ints]:
    """Runs between every first and second crossing of a strip."""
    width = window.col_max - window.col_min + 2
    key = np.sort(strip * width + (column - window.col_min))
    strip = key[::2] // width
    first = key[::2] - strip * width + window.col_min
    last = key[1::2] - strip * width + (window.col_min - 1)
    keep = first <= last
    return strip[keep], first[keep], last[keep]


def _grid_crossing(edges: Edges, edge: NDArray[np.intp], line: Ints, rounding: float) -> tuple[Floats, Floats]:
    """Floor and ceiling of an edge's x at grid line y = ``line``, or at its end where it ends before the line; the same
    where it goes through the corner, to within rounding in x and in y."""
    x0, y0, x1, y1 = edges.take(edge)
    y = line.astype(np.float64)
    slope = (x1 - x0) / (y1 - y0)
    x = x0 + (y - y0) * slope
    x = np.where(y <= y0, x0, np.where(y >= y1, x1, np.clip(x, np.minimum(x0, x1), np.maximum(x0, x1))))
    nearest = np.rint(x)
    through = np.abs(x - nearest) <= rounding * (1 + np.abs(slope))
    through &= (y > y0) & (y < y1)
    return np.where(through, nearest, np.floor(x)), np.where(through, nearest, np.ceil(x))
