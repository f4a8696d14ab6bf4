"""Scan conversion: which tiles do the edges of closed rings pass through, and which lie wholly inside. Exact, in numpy.

Coordinates are in tiles (column to the right, row downwards). The rings bound an area by the even-odd rule. A tile (an
open unit square) meets the area's interior if and only if an edge passes through the tile, or no edge does and it is
inside. So the edges are walked row by row, with care at grid corners (``walk``); what lies between is filled where an
odd number of edges is to the left. A band of rows is walked at a time, so that a jagged outline, whose edges cross
each row a thousand times, needs no more memory than a smooth one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harvester.errors import UsageError
from harvester.tiling.intervals import Ints, distinct, merge_intervals
from harvester.tiling.runs import MAX_PIECES, Runs
from harvester.tiling.tile import BLOCK
from harvester.tiling.walk import Edges, Span, Window, walk

CUT = 1 << 19
"""Row crossings of one outline that are scanned for one band of rows: 150,000 runs of a jagged one, 5 MB."""

GRAINS = 1 << 16
"""Places at most at which an outline is cut into bands of rows: whole block rows, as long as the grid has fewer."""

BAND = 1 << 16
"""Row crossings walked at a time: what they need fits into a core's cache."""

MAX_CROSSINGS = 1_000_000_000
"""Row crossings of one outline at one LOD: some minutes. A country's outline at zoom 23 makes 5 million."""


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

    def rows(self, strip: Ints) -> tuple[Ints, Ints]:
        """First and last row of strips."""
        segment = np.searchsorted(self.base, strip, side="right") - 1
        top = self.start[segment] + strip - self.base[segment]
        return top, np.where(self.dense[segment], top, self.stop[segment] - 1)


def scan(edges: Edges, window: Window, rounding: float) -> Runs:
    """The tiles within ``window`` whose interior meets the interior of the even-odd area that the edges of closed
    rings bound.

    ``rounding``: tiles by which the coordinates may be off. An edge that passes a grid corner as near as that goes
    through it: on which side it would pass, the coordinates cannot tell.
    Costs time by edges and by rows that slanted edges cross, memory by edges and by the runs that come out, neither by
    tiles. Raises UsageError for more than MAX_CROSSINGS rows crossed or MAX_PIECES runs.
    """
    if window.row_max < window.row_min or window.col_max < window.col_min:
        return Runs.empty()
    edges = _downwards(edges, window)
    if not edges.x0.size:
        return Runs.empty()
    top, bottom = _row_range(edges, window)
    strips = _strips(top, bottom, edges.x0 == edges.x1)
    begin, end = strips.of_row(top), strips.of_row(bottom) + 1
    held: list[tuple[NDArray[Any], ...]] = []
    count = 0
    last_band = Runs.empty()  # it may go on in the rows that come next
    for low, high, live in _bands(begin, end):
        span = Span(top[live], bottom[live], begin[live], end[live])
        strip, first, last = walk(edges.take(live), span, low, high, window, rounding)
        if not strip.size:
            continue
        found = (*strips.rows(strip), first, last)
        joined = Runs.from_sorted(*(np.concatenate(pair) for pair in zip(last_band.fields, found, strict=True)))
        ready, last_band = joined.without_last_band()
        held.append(tuple(field.astype(np.int32) for field in ready.fields))  # all below 2**31: half the memory
        count += ready.top.size
        if count > MAX_PIECES:
            raise UsageError(
                f"the area has more than {MAX_PIECES:,} separate runs of tiles",
                hint="Choose coarser LODs, or split the area.",
            )
    held.append(last_band.fields)
    return Runs(*(np.concatenate(field, dtype=np.int64) for field in zip(*held, strict=True)))


def row_bands(edges: Edges, window: Window) -> list[tuple[int, int]]:
    """The window's rows in bands (first row, last row) of about CUT row crossings: one band where the edges are few.

    Cuts lie on block rows, which are never split. Counted by arithmetic: the rows that edges cross above a row are the
    sum of its distances from their first rows, less the sum of those from the rows behind their last ones.
    Raises UsageError for more than MAX_CROSSINGS rows crossed.
    """
    whole = [(window.row_min, window.row_max)]
    if float(np.abs(edges.y1 - edges.y0).sum()) + 2 * edges.y0.size <= CUT:  # no edge crosses more rows than that
        return whole
    ranges = [_crossed(part, window) for part in _slices(edges)]
    crossings = sum(int((stop - begin).sum()) for begin, stop in ranges)
    _require_few(crossings)
    if crossings <= CUT:
        return whole
    first = int(min(begin.min() for begin, _ in ranges if begin.size)) // BLOCK * BLOCK
    last = int(max(stop.max() for _, stop in ranges if stop.size))
    grain = BLOCK
    while last - first > grain * GRAINS:
        grain *= 2
    size = (last - first) // grain + 2
    numbers, sums = np.zeros(size), np.zeros(size)
    for begin, stop in ranges:
        for rows, sign in ((begin - first, 1), (stop - first, -1)):
            place = rows // grain
            numbers += sign * np.bincount(place, minlength=size)
            sums += sign * np.bincount(place, rows, minlength=size)
    crossed = np.arange(1, size + 1) * grain * np.cumsum(numbers) - np.cumsum(sums)
    at = np.searchsorted(crossed, np.arange(CUT, crossings, CUT))
    cuts = distinct(first + (at + 1) * grain)
    cuts = cuts[(cuts > window.row_min) & (cuts <= window.row_max)]
    starts = [window.row_min, *cuts.tolist()]
    return list(zip(starts, [*(start - 1 for start in starts[1:]), window.row_max], strict=True))


def _crossed(edges: Edges, window: Window) -> tuple[Ints, Ints]:
    """The rows of the window that slanted edges cross, half-open."""
    low, high = np.minimum(edges.y0, edges.y1), np.maximum(edges.y0, edges.y1)
    keep = (high > window.row_min) & (low < window.row_max + 1) & (low < high) & (edges.x0 != edges.x1)
    begin = np.maximum(np.floor(low[keep]), window.row_min)
    stop = np.minimum(np.ceil(high[keep]), window.row_max + 1)
    return begin.astype(np.int64), stop.astype(np.int64)


def _slices(edges: Edges) -> Iterator[Edges]:
    """Edges some at a time: what is computed of them on the way fits into a core's cache."""
    for at in range(0, max(edges.x0.size, 1), BAND):
        yield edges.take(slice(at, at + BAND))


def _require_few(crossings: int) -> None:
    if crossings > MAX_CROSSINGS:
        raise UsageError(
            f"the area's edges cross {crossings:,} rows of tiles, more than {MAX_CROSSINGS:,}",
            hint="Choose coarser LODs, or split the area.",
        )


def _downwards(edges: Edges, window: Window) -> Edges:
    """Edges turned so that y grows, without those outside the window's rows, along a grid line, or of no length.

    Edges left and right of the window stay: whether a tile is inside is told by the edges to its left.
    """
    parts = [_turned(part, window) for part in _slices(edges)]
    return parts[0] if len(parts) == 1 else Edges(*map(np.concatenate, zip(*parts, strict=True)))


def _turned(edges: Edges, window: Window) -> Edges:
    low, high = np.minimum(edges.y0, edges.y1), np.maximum(edges.y0, edges.y1)
    flat = (low == high) & ((low == np.floor(low)) | (edges.x0 == edges.x1))
    keep = (high > window.row_min) & (low < window.row_max + 1) & ~flat
    edges, swap = edges.take(keep), (edges.y0 > edges.y1)[keep]
    return Edges(np.where(swap, edges.x1, edges.x0), low[keep], np.where(swap, edges.x0, edges.x1), high[keep])


def _row_range(edges: Edges, window: Window) -> tuple[Ints, Ints]:
    """First and last row of the window that each edge passes through."""
    top = np.maximum(np.floor(edges.y0), window.row_min).astype(np.int64)
    bottom = np.minimum(np.ceil(edges.y1) - 1, window.row_max).astype(np.int64)
    return top, np.maximum(top, bottom)


def _strips(top: Ints, bottom: Ints, upright: NDArray[np.bool_]) -> _Strips:
    # An upright edge that ends inside a row is followed there by a slanted edge, or by an upright one that cuts too.
    slanted = ~upright
    cuts = [top[upright], bottom[upright] + 1]
    begin, stop = top[slanted], bottom[slanted] + 1
    _require_few(int((stop - begin).sum()))
    if begin.size:
        begin, stop = merge_intervals(begin, stop)
    start = distinct(np.concatenate([begin, stop, *cuts]))
    start, end = start[:-1], start[1:]
    is_dense = np.searchsorted(begin, start, side="right") > np.searchsorted(stop, start, side="right")
    base = np.zeros(start.size + 1, np.int64)
    np.cumsum(np.where(is_dense, end - start, 1), out=base[1:])
    return _Strips(start, end, is_dense, base)


def _bands(begin: Ints, end: Ints) -> Iterator[tuple[int, int, Ints]]:
    """The strips in bands [low, high) in which about BAND strips are crossed, with the edges that cross each.

    ``begin``, ``end``: the strips that each edge crosses, half-open, none empty. A band is one strip at least, however
    many edges cross it.
    """
    order = np.argsort(begin, kind="stable")
    begins, ends = begin[order], np.sort(end)
    knots = distinct(np.concatenate([begins, ends]))
    live = np.searchsorted(begins, knots, side="right") - np.searchsorted(ends, knots, side="right")
    crossed = np.zeros(knots.size, np.int64)  # in all strips before each knot
    np.cumsum(live[:-1] * np.diff(knots), out=crossed[1:])
    wanted = np.arange(BAND, int(crossed[-1]), BAND)
    at = np.searchsorted(crossed, wanted, side="right") - 1
    cuts = distinct(np.concatenate([knots[:1], knots[at] + (wanted - crossed[at]) // live[at], knots[-1:]]))
    carried = order[:0]
    done = 0
    for low, high in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        seen = int(np.searchsorted(begins, high))
        carried = np.concatenate([carried[end[carried] > low], order[done:seen]])
        done = seen
        if carried.size:
            yield low, high, carried
