"""The plan's order within a LOD (bundle row, bundle column, row, column) over row runs: blocks, k-th tile, slices."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harvester.tiling.banded import union
from harvester.tiling.intervals import Ints, distinct, offsets
from harvester.tiling.runs import Runs
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey
from harvester.tiling.tile_rows import TileRows

if TYPE_CHECKING:
    from harvester.edges import Mask

_CELLS = 64
"""Blocks whose masks are drawn in one numpy call: about 1 MB."""

_LONG_RUN = 8
"""Tiles in a block's runs, on average, from which on its tiles are told run by run: beginning a run costs as much as
eight tiles that are already numbers."""


def _full() -> NDArray[np.bool_]:
    mask = np.ones((BLOCK, BLOCK), np.bool_)
    mask.flags.writeable = False
    return mask


FULL: NDArray[np.bool_] = _full()
"""The mask of a block of which every tile is planned; shared and read-only."""


def blocks(level: int, runs: TileRows) -> Iterator[tuple[BlockKey, Mask]]:
    """Every block that holds a planned tile, with its mask, in plan order; masks are read-only, and full ones are
    ``FULL``.

    Lazy: memory is one bundle row's runs, whatever the plan's size.
    """
    for top in bundle_rows(runs):
        for col, count, mask in _cells(top, *runs.rows_between(top, top + BLOCK - 1)):
            for i in range(count):
                yield BlockKey(level, top, (col + i) * BLOCK), mask


def places(level: int, runs: TileRows) -> Iterator[tuple[int, int, int]]:
    """Every planned tile as (level, row, col), in plan order and flat memory."""
    return chain.from_iterable(piece for key, mask in blocks(level, runs) for piece in _places(key, mask))


def _places(key: BlockKey, mask: Mask) -> Iterator[Iterator[tuple[int, int, int]]]:
    """The tiles of one block in pieces. Of a run only the tuples are new: its numbers are the block's own."""
    level, top, left = key
    cols = range(left, left + BLOCK)
    if mask is FULL:
        numbers = list(cols)
        for row in range(top, top + BLOCK):
            yield zip(repeat(level), repeat(row), numbers)
        return
    line = np.zeros((BLOCK, BLOCK + 1), np.bool_)  # a free column keeps a row's end from the next one's start
    line[:, :BLOCK] = mask
    change = np.flatnonzero(np.diff(line.ravel(), prepend=False))
    begin, end = change[::2], change[1::2]
    if int((end - begin).sum()) < _LONG_RUN * begin.size:
        rows, found = np.nonzero(mask)
        yield zip(repeat(level), (rows + top).tolist(), (found + left).tolist(), strict=False)
        return
    numbers = list(cols)
    rows, first = np.divmod(begin, BLOCK + 1)
    last = first + end - begin
    for row, start, stop in zip((rows + top).tolist(), first.tolist(), last.tolist(), strict=True):
        yield zip(repeat(level), repeat(row), numbers[start:stop])


def bundle_rows(runs: TileRows) -> Iterator[int]:
    """First row of every bundle row that holds a planned tile."""
    done = -1
    for top, bottom in runs.bands():
        for bundle in range(max(done + 1, top // BLOCK), bottom // BLOCK + 1):
            yield bundle * BLOCK
            done = bundle


def _cells(top: int, rows: Ints, first: Ints, last: Ints) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """One bundle row as (bundle column, number of blocks alike, mask).

    A block in which a run begins or ends is drawn on its own; between two such blocks every row is either all in or
    all out, so one mask serves however many blocks lie there.
    """
    edge = distinct(np.concatenate([first // BLOCK, last // BLOCK]))
    begin = 2 * np.searchsorted(edge, first // BLOCK)
    end = 2 * np.searchsorted(edge, last // BLOCK)
    pieces = end - begin + 1
    step = offsets(pieces)
    cell = begin.repeat(pieces) + step
    left = np.where(step == 0, (first % BLOCK).repeat(pieces), 0)
    right = np.where(step == (pieces - 1).repeat(pieces), (last % BLOCK).repeat(pieces), BLOCK - 1)
    row = (rows - top).repeat(pieces)
    order = np.argsort(cell, kind="stable")
    cell, left, right, row = cell[order], left[order], right[order], row[order]
    tiles = np.bincount(cell, weights=right - left + 1, minlength=2 * edge.size)
    gaps = np.append(np.diff(edge) - 1, 0)
    start = np.column_stack([edge, edge + 1]).ravel().tolist()
    size = np.column_stack([np.ones_like(edge), gaps]).ravel().tolist()
    for low in range(0, len(start), _CELLS):
        high = min(low + _CELLS, len(start))
        part = slice(*np.searchsorted(cell, [low, high]).tolist())
        masks = _draw(high - low, cell[part] - low, row[part], left[part], right[part])
        for i in range(low, high):
            if tiles[i] and size[i]:
                yield start[i], size[i], FULL if tiles[i] == BLOCK_TILES else masks[i - low]


def _draw(count: int, cell: Ints, row: Ints, left: Ints, right: Ints) -> NDArray[np.bool_]:
    """``count`` masks from runs that neither overlap nor touch: +1 where one begins, -1 behind its end, summed along
    rows."""
    line = np.zeros((count, BLOCK, BLOCK + 1), np.int8)
    line[cell, row, left] = 1
    line[cell, row, right + 1] = -1
    masks = np.add.accumulate(line, axis=2)[:, :, :BLOCK].astype(np.bool_)
    masks.flags.writeable = False
    return masks


def kth(runs: TileRows, k: int) -> tuple[int, int]:
    """Row and column of the k-th tile (from 0) in plan order, by bisection over counts. Raises IndexError."""
    if not 0 <= k < runs.count:
        raise IndexError(f"tile {k} of {runs.count}")
    top = runs.row_of(k) // BLOCK * BLOCK
    k -= runs.tiles_before_row(top)
    rows, first, last = runs.rows_between(top, top + BLOCK - 1)

    def before(col: int) -> int:
        """Tiles of this bundle row left of a column."""
        return int(np.clip(col - first, 0, last - first + 1).sum())

    low, high = int(first.min()) // BLOCK, int(last.max()) // BLOCK
    while low < high:  # the last block with at most k tiles to its left
        middle = (low + high + 1) // 2
        low, high = (middle, high) if before(middle * BLOCK) <= k else (low, middle - 1)
    k -= before(low * BLOCK)
    first, last = np.maximum(first, low * BLOCK), np.minimum(last, low * BLOCK + BLOCK - 1)
    ends = np.cumsum(np.maximum(last - first + 1, 0))
    at = int(np.searchsorted(ends, k, side="right"))
    return int(rows[at]), int(last[at]) - (int(ends[at]) - 1 - k)


def cut(runs: TileRows, low: int, high: int) -> TileRows:
    """Tiles ``low .. high - 1`` of the plan's order."""
    low, high = max(low, 0), min(high, runs.count)
    if low >= high:
        return Runs.empty()
    start = kth(runs, low) if low else None
    if high < runs.count:
        runs = _before(runs, *kth(runs, high))
    return _from(runs, *start) if start else runs


def _before(runs: TileRows, row: int, col: int) -> TileRows:
    """The tiles before a tile in plan order."""
    top, left = row // BLOCK * BLOCK, col // BLOCK * BLOCK
    return _clipped(
        runs,
        (0, top - 1, None, None),
        (top, top + BLOCK - 1, None, left - 1),
        (top, row - 1, left, left + BLOCK - 1),
        (row, row, left, col - 1),
    )


def _from(runs: TileRows, row: int, col: int) -> TileRows:
    """A tile and those after it in plan order."""
    top, left = row // BLOCK * BLOCK, col // BLOCK * BLOCK
    return _clipped(
        runs,
        (row, row, col, left + BLOCK - 1),
        (row + 1, top + BLOCK - 1, left, left + BLOCK - 1),
        (top, top + BLOCK - 1, left + BLOCK, None),
        (top + BLOCK, None, None, None),
    )


def _clipped(runs: TileRows, *boxes: tuple[int | None, int | None, int | None, int | None]) -> TileRows:
    if runs.bounds is None:
        return runs
    parts = [
        runs.clip(*(edge if given is None else given for given, edge in zip(box, runs.bounds, strict=True)))
        for box in boxes
    ]
    return union(*parts)
