"""Tiles of a batch sorted into their blocks, by arithmetic on arrays instead of a loop over the tiles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harvester.tiling.tile import BLOCK, BlockKey, Tile


class Group(NamedTuple):
    """The tiles of a batch that lie in one block, in the order in which they came."""

    key: BlockKey
    positions: NDArray[np.int64]
    """Their row-major positions in the block (``BlockKey.position``)."""
    numbers: NDArray[np.int64]
    """Their places in the batch."""


def by_block(tiles: Sequence[Tile]) -> list[Group]:
    """The blocks of these tiles, by level, row and column."""
    if not tiles:
        return []
    places = np.fromiter(chain.from_iterable(tiles), np.int64, 3 * len(tiles)).reshape(-1, 3)
    inside = places[:, 1:] & (BLOCK - 1)
    positions = inside[:, 0] * BLOCK + inside[:, 1]
    blocks = places.copy()
    blocks[:, 1:] -= inside
    numbers = np.arange(len(tiles))
    if (blocks == blocks[0]).all():  # as most batches are: the plan goes block by block
        return [Group(BlockKey(*blocks[0].tolist()), positions, numbers)]
    order = np.lexsort(blocks.T[::-1])
    blocks, positions, numbers = blocks[order], positions[order], numbers[order]
    starts = np.flatnonzero((blocks[1:] != blocks[:-1]).any(axis=1)) + 1
    keys = blocks[np.concatenate(([0], starts))].tolist()
    parts = zip(keys, np.split(positions, starts), np.split(numbers, starts), strict=True)
    return [Group(BlockKey(*key), at, which) for key, at, which in parts]
