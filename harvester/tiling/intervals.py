"""Intervals of whole numbers as arrays: counted off, expanded, merged."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]


def distinct(values: Ints) -> Ints:
    """Each value once, ascending. ``np.unique`` does so too, and imports masked arrays for it: 7 ms of every start."""
    ordered = np.sort(values)
    keep = np.ones(ordered.size, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=keep[1:])
    return ordered[keep]


def offsets(counts: Ints) -> Ints:
    """0, 1, .. counts[0]-1, 0, 1, .. counts[1]-1 and so on, in one array."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if ends.size else 0
    return np.arange(total) - (ends - counts).repeat(counts)


def expand(rows: Ints, first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Rows and columns of every tile of single-row runs, none of which is empty.

    Summed up in place: from tile to tile it is a step of one, from run to run the gap. What is not allocated need not
    be given by the system page by page, which is most of the time where a machine has lent its memory to others.
    """
    counts = last - first + 1
    if not counts.size:
        return rows, first
    ends = np.cumsum(counts)
    cols = np.ones(int(ends[-1]), np.int64)
    cols[0] = first[0]
    cols[ends[:-1]] = first[1:] - last[:-1]
    np.cumsum(cols, out=cols)
    return rows.repeat(counts), cols


def merge_intervals(begin: Ints, end: Ints) -> tuple[Ints, Ints]:
    """The union of half-open intervals [begin, end), none empty, as sorted intervals that neither overlap nor touch.

    Begins and ends are sorted apart: the i-th begin opens a gap exactly when the i ends before it are smaller.
    """
    begin, end = np.sort(begin), np.sort(end)
    gap = begin[1:] > end[:-1]
    return begin[np.append(True, gap)], end[np.append(gap, True)]


def single_rows(top: Ints, bottom: Ints, starts: Ints, first: Ints, last: Ints) -> tuple[Ints, Ints, Ints]:
    """Bands (their rows, and where their runs start in ``first`` and ``last``) to runs of single rows."""
    sizes = np.diff(starts, append=first.size)
    if np.array_equal(top, bottom):
        return top.repeat(sizes), first, last
    counts = (bottom - top + 1) * sizes
    within = offsets(counts)
    width = sizes.repeat(counts)
    run = starts.repeat(counts) + within % width
    return top.repeat(counts) + within // width, first[run], last[run]
