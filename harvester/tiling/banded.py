"""The tiles of a LOD whose row runs are too many to hold: bands of rows, counted once and made again when asked.

A jagged outline has hundreds of runs in every row. What made them (an outline, the union of others, what a clip leaves)
is small, so of each band only its rows and its number of tiles are kept. A band is always made as a whole and in the
same way, so that what is iterated is what was counted, to the last tile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harvester.tiling.intervals import Ints
from harvester.tiling.runs import Runs
from harvester.tiling.tile import BLOCK
from harvester.tiling.tile_rows import Band, TileRows

MAX_HELD = 1 << 19
"""Row runs of one LOD that are held: 17 MB, and 25 MB while they are joined. A smooth outline of 100,000 vertices has
as many beyond zoom 22, a jagged one at zoom 13."""

SHELVED = 4
"""Bands that are kept once they were made, some 5 MB each: one of an outline, one of each union and clip above it."""

Make = Callable[[int, int], Runs]
"""Makes the runs of a band, given its first and last row; the same ones each time."""


class Shelf:
    """The bands that were asked for last, of all LODs of an outline together. Safe in any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._bands: OrderedDict[tuple[object, int], Runs] = OrderedDict()

    def take(self, owner: object, low: int, make: Callable[[], Runs]) -> Runs:
        """A band from the shelf, or made now."""
        with self._lock:
            found = self._bands.get((owner, low))
            if found is not None:
                self._bands.move_to_end((owner, low))
                return found
        found = make()
        with self._lock:
            self._bands[owner, low] = found
            while len(self._bands) > SHELVED:
                self._bands.popitem(last=False)
        return found


class Banded:
    """Tiles as a table of bands; see ``TileRows`` for what it promises and ``gathered`` for how it is made."""

    def __init__(self, table: Sequence[Band], make: Make, shelf: Shelf) -> None:
        """``table``: bands without a gap between them, from top to bottom."""
        self._table = table
        self._make = make
        self.shelf = shelf
        self._owner = object()
        self._lows = [band.low for band in table]
        self._before = list(accumulate((band.tiles for band in table), initial=0))
        self.count = self._before[-1]
        self.run_count = sum(band.runs for band in table)
        found = [band.bounds for band in table if band.bounds is not None]
        self.bounds: tuple[int, int, int, int] | None = (
            (found[0][0], found[-1][1], min(one[2] for one in found), max(one[3] for one in found)) if found else None
        )

    def __repr__(self) -> str:
        return f"<Banded: {self.count:,} tiles in {len(self._table):,} bands>"

    def __bool__(self) -> bool:
        return self.count > 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for band in self._table:
            yield from self._made(band)

    def parts(self) -> Iterator[Runs]:
        """The canonical runs in pieces, from top to bottom."""
        return canonical(map(self._made, self._table))

    def bands(self) -> Iterator[tuple[int, int]]:
        """First and last row of groups of rows that hold the same columns."""
        for band in self._table:
            yield from self._made(band).bands()

    def cuts(self) -> list[int]:
        """The first row of every band but the first."""
        return self._lows[1:]

    def known(self, low: int, high: int) -> Band | None:
        """What lies in the rows of exactly one band, or outside of all of them."""
        if high < self._lows[0] or low > self._table[-1].high:
            return Band(low, high)
        band = self._table[self._at(low)]
        return band if (band.low, band.high) == (low, high) else None

    def between(self, row_min: int, row_max: int) -> Runs:
        """The runs in some rows, at once."""
        found = [self._made(band).between(row_min, row_max) for band in self._touched(row_min, row_max)]
        if len(found) == 1:
            return found[0]
        return joined(one.fields for one in canonical(found))

    def rows_between(self, row_min: int, row_max: int) -> tuple[Ints, Ints, Ints]:
        """Runs of each single row between two rows: ``rows, first, last``. Allocates per row."""
        found = [self._made(band).rows_between(row_min, row_max) for band in self._touched(row_min, row_max)]
        if len(found) == 1:
            return found[0]
        rows, first, last = (np.concatenate([np.empty(0, np.int64), *some]) for some in zip(*found, strict=True))
        return rows, first, last

    def contains(self, row: int, col: int) -> bool:
        """Whether a tile is in the set."""
        return any(self._made(band).contains(row, col) for band in self._touched(row, row))

    def tiles_before_row(self, row: int) -> int:
        """How many tiles lie above a row."""
        if row <= self._lows[0]:
            return 0
        at = self._at(row)
        band = self._table[at]
        if row > band.high:
            return self._before[at + 1]
        return self._before[at] + (self._made(band).tiles_before_row(row) if row > band.low else 0)

    def row_of(self, k: int) -> int:
        """The row of the k-th tile, counted from 0 row by row."""
        at = bisect_right(self._before, k) - 1
        return self._made(self._table[at]).row_of(k - self._before[at])

    def clip(self, row_min: int, row_max: int, col_min: int, col_max: int) -> TileRows:
        """The tiles within a rectangle."""

        def make(low: int, high: int) -> Runs:
            return self.between(low, high).clip(low, high, col_min, col_max)

        def known(band: Band) -> Band | None:
            whole = row_min <= band.low and band.high <= row_max
            inside = band.bounds is None or (col_min <= band.bounds[2] and band.bounds[3] <= col_max)
            return band if whole and inside else None

        wanted = [
            (max(band.low, row_min), min(band.high, row_max), known(band)) for band in self._touched(row_min, row_max)
        ]
        return gathered(wanted, make, self.shelf)

    def _at(self, row: int) -> int:
        """The last band that begins at a row or above it; the first where none does."""
        return max(bisect_right(self._lows, row) - 1, 0)

    def _touched(self, row_min: int, row_max: int) -> list[Band]:
        some = self._table[self._at(row_min) : self._at(row_max) + 1] if row_min <= row_max else ()
        return [band for band in some if band.low <= row_max and band.high >= row_min]

    def _made(self, band: Band) -> Runs:
        if not band.tiles:
            return Runs.empty()
        return self.shelf.take(self._owner, band.low, lambda: self._make(band.low, band.high))


def gathered(wanted: Sequence[tuple[int, int, Band | None]], make: Make, shelf: Shelf) -> TileRows:
    """The tiles of bands of rows (first row, last row, what is known of it), from top to bottom without a gap: as runs
    where they are few, else as a table. Only what is not known is made then."""
    if len(wanted) < 2:
        return make(*wanted[0][:2]) if wanted else Runs.empty()
    too_many = sum(known.runs for _, _, known in wanted if known is not None) > MAX_HELD
    table: list[Band] = []

    def made() -> Iterator[Runs]:
        for low, high, known in wanted:
            if known is not None and (too_many or not known.tiles):
                table.append(known)
                continue
            runs = make(low, high)
            table.append(Band(low, high, runs.count, runs.run_count, runs.bounds))
            yield runs

    held: list[tuple[NDArray[Any], ...]] = []
    count = 0
    for runs in canonical(made()):
        count += runs.run_count
        too_many = too_many or count > MAX_HELD
        if too_many:
            held.clear()
        else:
            held.append(tuple(field.astype(np.int32) for field in runs.fields))  # below 2**31: half the memory
    return Banded(table, make, shelf) if too_many else joined(held)


def union(*sets: TileRows) -> TileRows:
    """The tiles of all these sets, band by band where they are too many to be joined at once."""
    found = [one for one in sets if one]
    if len(found) < 2:
        return found[0] if found else Runs.empty()

    def make(low: int, high: int) -> Runs:
        first, *others = (one.between(low, high) for one in found)
        return first.union(*others)

    bounds = [one.bounds for one in found if one.bounds is not None]
    low, high = min(one[0] for one in bounds), max(one[1] for one in bounds)
    cuts = {row for one in found for row in one.cuts()}
    if cuts:  # rows in which one set is alone need not be made where it knows them
        cuts |= {row // BLOCK * BLOCK for one in bounds for row in (one[0], one[1] + 1)}
    wanted = []
    for start, stop in pairwise([low, *sorted(row for row in cuts if low < row <= high), high + 1]):
        parts = [one.known(start, stop - 1) for one in found]
        some = [part for part in parts if part is None or part.tiles]
        wanted.append((start, stop - 1, some[0] if len(some) == 1 else None if some else Band(start, stop - 1)))
    shelf = next((one.shelf for one in found if isinstance(one, Banded)), None)
    return gathered(wanted, make, shelf or Shelf())


def canonical(parts: Iterable[Runs]) -> Iterator[Runs]:
    """Runs of bands from top to bottom so that rows with the same columns are one group wherever the bands were cut."""
    open_band = Runs.empty()  # it may go on in the rows that come next
    for part in parts:
        if part:
            pairs = zip(open_band.fields, part.fields, strict=True)
            ready, open_band = Runs.from_sorted(*map(np.concatenate, pairs)).without_last_band()
            if ready:
                yield ready
    if open_band:
        yield open_band


def joined(fields: Iterable[tuple[NDArray[Any], ...]]) -> Runs:
    """Canonical pieces as one."""
    columns = list(zip(*fields, strict=True))
    return Runs(*(np.concatenate(column, dtype=np.int64) for column in columns)) if columns else Runs.empty()
