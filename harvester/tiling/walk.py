"""One band of rows of a scan conversion: edges walked row by row to runs of tiles, the inside between them filled."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harvester.tiling.intervals import Ints, offsets

Floats: TypeAlias = NDArray[np.float64]

MAX_REACH = 0.5
"""Tiles beyond which no crossing is moved to a grid corner, however flat the edge: then the nearest corner is meant."""


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


class Span(NamedTuple):
    """Where each edge passes: first and last row within the window, and its strips of rows, half-open.

    A strip is one row, except where nothing but vertical edges pass.
    """

    top: Ints
    bottom: Ints
    begin: Ints
    end: Ints

    def take(self, index: NDArray[np.bool_]) -> Span:
        """Those of some edges."""
        return Span(self.top[index], self.bottom[index], self.begin[index], self.end[index])


class _Pieces(NamedTuple):
    """What edges cover strip by strip: whole numbers as float64 arrays of equal length."""

    strip: Floats
    """Counted from the band's first."""
    first: Floats
    """First column that the edge passes through ..."""
    stop: Floats
    """... and the first behind it: not greater where it passes through none, on a grid line."""
    crosses: NDArray[np.bool_]
    """Whether it crosses the strip's midline: what lies between two pieces is inside where an odd number to the left
    does."""


def walk(edges: Edges, span: Span, low: int, high: int, window: Window, rounding: float) -> tuple[Ints, Ints, Ints]:
    """Runs of tiles in the strips ``low .. high - 1`` that edges pass through or enclose: strip, first and last column,
    sorted, apart from each other, clipped to the window. ``edges`` are all that cross these strips, y growing."""
    starts_here = (span.begin >= low) & (edges.y0 >= span.top)
    ends_here = (span.end <= high) & (edges.y1 <= span.bottom + 1)
    short = starts_here & ends_here & (span.begin + 1 == span.end)
    tall = ~short
    parts = []
    if short.any():
        parts.append(_within_one_row(edges.take(short), span.take(short), low))
    if tall.any():
        some = edges.take(tall), span.take(tall), starts_here[tall], ends_here[tall]
        parts.append(_row_by_row(*some, low, high, rounding))
    pieces = parts[0] if len(parts) == 1 else _Pieces(*(np.concatenate(pair) for pair in zip(*parts, strict=True)))
    strip, first, stop = _joined(pieces, window)
    return strip + low, first, stop - 1


def _within_one_row(edges: Edges, span: Span, low: int) -> _Pieces:
    middle = span.top + 0.5
    return _Pieces(
        (span.begin - low).astype(np.float64),
        np.floor(np.minimum(edges.x0, edges.x1)),
        np.ceil(np.maximum(edges.x0, edges.x1)),
        (edges.y0 <= middle) & (middle < edges.y1),
    )


def _row_by_row(
    edges: Edges,
    span: Span,
    starts_here: NDArray[np.bool_],
    ends_here: NDArray[np.bool_],
    low: int,
    high: int,
    rounding: float,
) -> _Pieces:
    """Edges cut at grid lines. A crossing counts as left and as right of a corner when it is as near as rounding in x
    and in y allows; the ends of an edge are where they are."""
    x0, y0, x1, y1 = edges
    slope = (x1 - x0) / (y1 - y0)
    reach = np.minimum(rounding * (1 + np.abs(slope)), MAX_REACH)
    right = x1 > x0
    begin, end = np.maximum(span.begin, low), np.minimum(span.end, high)
    counts = end - begin
    # x at the upper line of the first strip here, and at its lower line
    upper = x0 + ((span.top - y0) + (begin - span.begin)) * slope
    lower = x0 + ((span.top + 1 - y0) + (begin - span.begin)) * slope
    step = offsets(counts).astype(np.float64)
    along = step * slope.repeat(counts)
    first = np.floor(along + (np.where(right, upper, lower) + reach).repeat(counts))
    stop = np.ceil(along + (np.where(right, lower, upper) - reach).repeat(counts))
    ends = np.cumsum(counts)
    for here, at, x, opens in ((starts_here, ends - counts, x0, right), (ends_here, ends - 1, x1, ~right)):
        one, other = here & opens, here & ~opens
        first[at[one]] = np.floor(x[one])
        stop[at[other]] = np.ceil(x[other])
    crosses = np.ones(step.size, np.bool_)
    mine = span.begin >= low
    crosses[(ends - counts)[mine]] = (y0 <= span.top + 0.5)[mine]
    mine = span.end <= high
    crosses[(ends - 1)[mine]] &= (span.bottom + 0.5 < y1)[mine]
    step += (begin - low).astype(np.float64).repeat(counts)
    return _Pieces(step, first, stop, crosses)


def _joined(pieces: _Pieces, window: Window) -> tuple[Ints, Ints, Ints]:
    """Strip, first column and the one behind the last of the runs that the pieces and what they enclose make.

    Begins and ends are sorted apart: the i-th begin opens a gap exactly when the i ends before it are smaller. The gap
    stays one when an even number of the pieces begun so far cross their midline; each row's number is even.
    """
    left, right = float(window.col_min), float(window.col_max + 1)
    first = np.clip(pieces.first, left, right)
    stop = np.maximum(np.clip(pieces.stop, left, right), first)
    left = float(first.min())
    width = float(stop.max()) - left + 1  # one free column keeps the end of a row from touching the start of the next
    row = pieces.strip * width - left
    largest = (float(pieces.strip.max()) + 1) * width * 2
    kind: type[np.uint32] | type[np.int64] = np.uint32 if largest < 2**32 else np.int64  # half the time to sort
    begin: NDArray[Any] = ((row + first) * 2 + pieces.crosses).astype(kind)
    end: NDArray[Any] = (row + stop).astype(kind)
    begin.sort()
    end.sort()
    odd = np.bitwise_xor.accumulate(begin & 1)
    begin >>= 1
    gap = np.flatnonzero((begin[1:] > end[:-1]) & (odd[:-1] == 0))
    start = begin[np.append(0, gap + 1)].astype(np.int64)
    finish = end[np.append(gap, end.size - 1)].astype(np.int64)
    some = finish > start
    start, finish = start[some], finish[some]
    strip = start // int(width)
    back = strip * int(width) - int(left)
    return strip, start - back, finish - back
