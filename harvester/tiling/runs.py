"""A set of tiles of one LOD as row runs, held in bands of equal rows: counted, joined and clipped by arithmetic.

Canonical form. The rows fall into *bands*: maximal groups of consecutive rows that hold the same columns. Each band
has one or more *runs* of columns. A run is one entry of four equal-long int64 arrays, all bounds inclusive:

| array  | meaning                                      |
|--------|----------------------------------------------|
| top    | first row of the run's band                  |
| bottom | last row of the run's band                   |
| first  | first column                                 |
| last   | last column                                  |

Entries are sorted by (top, first); bands are disjoint; runs of one band neither overlap nor touch. Equal sets of tiles
have equal arrays, whatever way they were made, so their bytes can be hashed. A box of 2**31 x 2**31 tiles is one entry.

Rows and columns are below 2**31, so that counts and sort keys (strip of rows * width + column) fit in an int64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harvester.errors import UsageError
from harvester.tiling.intervals import Ints, distinct, expand, merge_intervals, offsets, single_rows
from harvester.tiling.tile import BLOCK
from harvester.tiling.tile_rows import Band

MAX_PIECES = 50_000_000
"""Pieces of runs that one operation may hold at once: 2 GB of arrays. A country's outline at zoom 23 makes 5
million."""

CUT_RUNS = 1 << 17
"""Runs of two sets that are joined at once, as far as whole block rows allow: 4 MB."""

ITERATION_CHUNK = 1 << 16
"""Tiles that iteration turns into Python numbers at a time: enough to hide numpy's fixed cost, little memory."""


@dataclass(frozen=True, eq=False)
class Runs:
    """The tiles of one LOD; see the module for the arrays. Build it with ``box``, ``from_bands`` or ``empty``."""

    top: Ints
    bottom: Ints
    first: Ints
    last: Ints

    @classmethod
    def empty(cls) -> Runs:
        """No tile."""
        none = np.empty(0, np.int64)
        return cls(none, none, none, none)

    @classmethod
    def box(cls, row_min: int, row_max: int, col_min: int, col_max: int) -> Runs:
        """All tiles of a rectangle, bounds inclusive; empty when a range is."""
        if row_max < row_min or col_max < col_min:
            return cls.empty()
        return cls(*(np.array([value], np.int64) for value in (row_min, row_max, col_min, col_max)))

    @classmethod
    def from_bands(cls, top: Ints, bottom: Ints, first: Ints, last: Ints) -> Runs:
        """The union of any rectangles (bounds inclusive, none empty), overlapping or not, in any order."""
        if not top.size:
            return cls.empty()
        cuts = distinct(np.concatenate([top, bottom + 1]))
        begin = np.searchsorted(cuts, top)
        counts = np.searchsorted(cuts, bottom + 1) - begin
        if int(counts.sum()) > MAX_PIECES:
            raise UsageError(
                f"the areas of this plan cross each other in more than {MAX_PIECES:,} rows",
                hint="Choose coarser LODs for the large area, or split the job.",
            )
        strip = begin.repeat(counts) + offsets(counts)
        return cls.from_strips(strip, first.repeat(counts), last.repeat(counts), cuts[:-1], cuts[1:] - 1)

    @classmethod
    def from_strips(cls, strip: Ints, first: Ints, last: Ints, strip_top: Ints, strip_bottom: Ints) -> Runs:
        """The union of runs of columns in strips of rows: ``strip`` indexes ``strip_top`` and ``strip_bottom``, which
        ascend."""
        if not strip.size:
            return cls.empty()
        left, right = int(first.min()), int(last.max())
        width = right - left + 2  # one free column keeps the end of a row from touching the start of the next
        begin = strip * width + (first - left)
        end = strip * width + (last - left + 1)
        begin, end = merge_intervals(begin, end)
        where = begin // width
        first = begin - where * width + left
        last = end - where * width + (left - 1)
        return cls.from_sorted(strip_top[where], strip_bottom[where], first, last)

    @classmethod
    def from_sorted(cls, top: Ints, bottom: Ints, first: Ints, last: Ints) -> Runs:
        """Canonical form of runs that are already sorted and disjoint: neighbouring bands with the same columns become
        one."""
        if not top.size:
            return cls.empty()
        starts = _starts(top)
        sizes = np.diff(starts, append=top.size)
        same = np.zeros(starts.size, np.bool_)
        same[1:] = (sizes[1:] == sizes[:-1]) & (bottom[starts[:-1]] + 1 == top[starts[1:]])
        alike = np.flatnonzero(same)
        if not alike.size:
            return cls(top, bottom, first, last)
        width = sizes[alike]
        index = starts[alike].repeat(width) + offsets(width)
        before = index - width.repeat(width)
        equal = (first[index] == first[before]) & (last[index] == last[before])
        same[alike] = np.logical_and.reduceat(equal, np.cumsum(width) - width)
        heads = np.flatnonzero(~same)
        final = bottom[starts[np.append(heads[1:], starts.size) - 1]]
        keep = np.repeat(~same, sizes)
        return cls(top[keep], final.repeat(sizes[heads]), first[keep], last[keep])

    def without_last_band(self) -> tuple[Runs, Runs]:
        """All bands but the last, and the last."""
        at = int(np.searchsorted(self.top, self.top[-1])) if self else 0
        return Runs(*(field[:at] for field in self.fields)), Runs(*(field[at:] for field in self.fields))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Runs):
            return NotImplemented
        return all(np.array_equal(mine, theirs) for mine, theirs in zip(self.fields, other.fields, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return bool(self.top.size)

    @property
    def fields(self) -> tuple[Ints, Ints, Ints, Ints]:
        """``top, bottom, first, last``."""
        return self.top, self.bottom, self.first, self.last

    @property
    def run_count(self) -> int:
        """How many runs."""
        return int(self.top.size)

    @cached_property
    def count(self) -> int:
        """How many tiles."""
        return int(((self.bottom - self.top + 1) * (self.last - self.first + 1)).sum())

    @cached_property
    def bounds(self) -> tuple[int, int, int, int] | None:
        """``row_min, row_max, col_min, col_max``, inclusive; None when empty."""
        if not self:
            return None
        return int(self.top[0]), int(self.bottom[-1]), int(self.first.min()), int(self.last.max())

    @cached_property
    def _bands(self) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """Of each band: its first run, first row, last row, tiles in a row; and the tiles before it (one entry
        more)."""
        starts = _starts(self.top)
        top, bottom = self.top[starts], self.bottom[starts]
        width = np.add.reduceat(self.last - self.first + 1, starts) if starts.size else starts
        before = np.zeros(starts.size + 1, np.int64)
        np.cumsum((bottom - top + 1) * width, out=before[1:])
        return starts, top, bottom, width, before

    def bands(self) -> Iterator[tuple[int, int]]:
        """First and last row of each band, ascending."""
        _, top, bottom, _, _ = self._bands
        for at in range(0, top.size, ITERATION_CHUNK):
            part = slice(at, at + ITERATION_CHUNK)
            yield from zip(top[part].tolist(), bottom[part].tolist(), strict=True)

    def parts(self) -> Iterator[Runs]:
        """The runs in pieces, from top to bottom: here all at once."""
        yield self

    def cuts(self) -> list[int]:
        """The block rows at which CUT_RUNS more runs begin."""
        rows = distinct(self.top[CUT_RUNS::CUT_RUNS] // BLOCK * BLOCK)
        found: list[int] = rows[rows > self.top[0]].tolist() if self else []
        return found

    def known(self, low: int, high: int) -> Band:
        """What lies in some rows."""
        some = self.between(low, high)
        return Band(low, high, some.count, some.run_count, some.bounds)

    def between(self, row_min: int, row_max: int) -> Runs:
        """The tiles in some rows, found by bisection."""
        low, high = np.searchsorted(self.bottom, row_min), np.searchsorted(self.top, row_max, side="right")
        if low == 0 and high == self.top.size and self and row_min <= self.top[0] and self.bottom[-1] <= row_max:
            return self
        part = slice(low, max(low, high))
        top, bottom = np.maximum(self.top[part], row_min), np.minimum(self.bottom[part], row_max)
        return Runs(top, bottom, self.first[part], self.last[part])

    def union(self, *others: Runs) -> Runs:
        """The tiles of this and of the others."""
        parts = [runs for runs in (self, *others) if runs]
        if len(parts) < 2:
            return parts[0] if parts else self
        return Runs.from_bands(*(np.concatenate(arrays) for arrays in zip(*(p.fields for p in parts), strict=True)))

    def clip(self, row_min: int, row_max: int, col_min: int, col_max: int) -> Runs:
        """The tiles within a rectangle, bounds inclusive."""
        top, bottom = np.maximum(self.top, row_min), np.minimum(self.bottom, row_max)
        first, last = np.maximum(self.first, col_min), np.minimum(self.last, col_max)
        keep = (top <= bottom) & (first <= last)
        return Runs.from_sorted(top[keep], bottom[keep], first[keep], last[keep])

    def contains(self, row: int, col: int) -> bool:
        """Whether a tile is in the set."""
        _, first, last = self.rows_between(row, row)
        return bool(((first <= col) & (col <= last)).any())

    def tiles_before_row(self, row: int) -> int:
        """How many tiles lie above a row."""
        _, top, bottom, width, before = self._bands
        band = int(np.searchsorted(bottom, row))
        if band == top.size:
            return int(before[-1])
        return int(before[band]) + max(0, row - int(top[band])) * int(width[band])

    def row_of(self, k: int) -> int:
        """The row of the k-th tile, counted from 0 row by row."""
        _, top, _, width, before = self._bands
        band = int(np.searchsorted(before, k, side="right")) - 1
        return int(top[band]) + (k - int(before[band])) // int(width[band])

    def rows_between(self, row_min: int, row_max: int) -> tuple[Ints, Ints, Ints]:
        """Runs of each single row between two rows, inclusive: ``rows, first, last`` by row, then column. Allocates
        per row."""
        starts, top, bottom, _, _ = self._bands
        low, high = int(np.searchsorted(bottom, row_min)), int(np.searchsorted(top, row_max, side="right"))
        begin = int(starts[low]) if low < starts.size else self.top.size
        end = int(starts[high]) if high < starts.size else self.top.size
        part = slice(begin, max(begin, end))
        starts = starts[low:high] - begin
        return single_rows(
            np.maximum(top[low:high], row_min),
            np.minimum(bottom[low:high], row_max),
            starts,
            self.first[part],
            self.last[part],
        )

    def arrays(self) -> tuple[Ints, Ints]:
        """Rows and columns of every tile, row by row: 16 bytes a tile, so count first."""
        if not self:
            return self.top, self.top
        row_min, row_max, _, _ = self.bounds or (0, -1, 0, -1)
        return expand(*self.rows_between(row_min, row_max))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Every tile as (row, col), row by row, in flat memory."""
        for top, bottom in self.bands():
            _, first, last = self.rows_between(top, top)
            width = int((last - first + 1).sum())
            if width > ITERATION_CHUNK:
                spans = list(zip(first.tolist(), last.tolist(), strict=True))
                for row in range(top, bottom + 1):
                    for start, end in spans:
                        yield from ((row, col) for col in range(start, end + 1))
                continue
            step = max(1, ITERATION_CHUNK // width)
            for row in range(top, bottom + 1, step):
                rows, cols = expand(*self.rows_between(row, min(bottom, row + step - 1)))
                yield from zip(rows.tolist(), cols.tolist(), strict=True)


def _starts(top: Ints) -> Ints:
    """Index of the first run of each band."""
    if not top.size:
        return np.empty(0, np.int64)
    return np.append(0, np.flatnonzero(top[1:] != top[:-1]) + 1).astype(np.int64)
