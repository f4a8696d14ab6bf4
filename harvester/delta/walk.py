"""One cache read in the blocks and the order of a tiling scheme that several caches share."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from harvester.caches.placed import PlacedReader, place_levels
from harvester.edges import CacheReader
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask


class Walk:
    """A cache by the blocks of ``scheme``, whose levels may have other numbers and origins than the cache's own."""

    def __init__(self, reader: CacheReader, scheme: TilingScheme) -> None:
        self.reader = reader
        self.scheme = scheme
        self._placed = PlacedReader(reader, scheme)
        self._places = place_levels(scheme, reader.info.scheme)
        self._held = frozenset(reader.levels())

    @property
    def levels(self) -> list[int]:
        """Levels of the scheme of which the cache holds tiles, coarsest first."""
        return [
            lod.level
            for lod in self.scheme.lods
            if lod.level in self._places and self._places[lod.level].level in self._held
        ]

    @property
    def lost(self) -> list[int]:
        """Levels that hold tiles and that the scheme doesn't have, in the cache's own numbers."""
        return sorted(self._held - {place.level for place in self._places.values()})

    def theirs(self, level: int) -> int:
        """The cache's own number of one of ``levels``."""
        return self._places[level].level

    def blocks(self, level: int) -> Iterator[BlockKey]:
        """Blocks of the scheme that may hold a tile, by row, then column."""
        place = self._places.get(level)
        if place is None or place.level not in self._held:
            return
        if place.rows % BLOCK == 0 and place.cols % BLOCK == 0:
            for key in self.reader.blocks(place.level):
                yield BlockKey(level, key.row - place.rows, key.col - place.cols)
            return
        keys: set[BlockKey] = set()
        for key in self.reader.blocks(place.level):
            top, left = key.row - place.rows, key.col - place.cols
            keys.update(
                BlockKey(level, row & -BLOCK, col & -BLOCK)
                for row in (top, top + BLOCK - 1)
                for col in (left, left + BLOCK - 1)
            )
        yield from sorted(keys)

    def read(self, tile: Tile) -> bytes | None:
        """One tile's bytes, None where the cache has none."""
        if self._places.get(tile.level) == (tile.level, 0, 0):
            return self.reader.read(*tile)
        return self._placed.read(tile)

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of one block are there; shape (128, 128)."""
        itself = self._places.get(key.level) == (key.level, 0, 0)
        return self.reader.present(key) if itself else self._placed.present(key)

    def tiles(self, key: BlockKey) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of one block by row, then column."""
        place = self._places.get(key.level)
        if place is None:
            return
        if place == (key.level, 0, 0):
            yield from self.reader.tiles(key)
            return
        top, left = key.row + place.rows, key.col + place.cols
        if top % BLOCK == 0 and left % BLOCK == 0:
            for tile, body in self.reader.tiles(BlockKey(place.level, top, left)):
                yield Tile(key.level, tile.row - place.rows, tile.col - place.cols), body
            return
        for number in np.flatnonzero(self._placed.present(key)).tolist():
            tile = key.tile(number)
            found = self._placed.read(tile)
            if found is not None:
                yield tile, found


def levels_of(walks: Sequence[Walk], scheme: TilingScheme) -> list[int]:
    """Levels of which any of the caches holds tiles, coarsest first."""
    held = {level for walk in walks for level in walk.levels}
    return [lod.level for lod in scheme.lods if lod.level in held]


def blocks_of(walks: Sequence[Walk], level: int) -> Iterator[BlockKey]:
    """Blocks that any of the caches has, each once, by row, then column."""
    for key, _ in groupby(heapq.merge(*(walk.blocks(level) for walk in walks))):
        yield key


def together(walks: Sequence[Walk], key: BlockKey) -> Iterator[tuple[Tile, dict[int, bytes]]]:
    """Each tile of a block that any of the caches has, by row, then column, with its bytes by the cache's number."""
    if len(walks) == 1:
        for tile, body in walks[0].tiles(key):
            yield tile, {0: body}
    elif len(walks) == 2:
        yield from _side_by_side(walks[0].tiles(key), walks[1].tiles(key))
    else:
        yield from _merged(walks, key)


def _side_by_side(
    first: Iterator[tuple[Tile, bytes]], second: Iterator[tuple[Tile, bytes]]
) -> Iterator[tuple[Tile, dict[int, bytes]]]:
    """``_merged`` of two in a third of the time: a cache and its next version have nearly every tile in common."""
    one, other = next(first, None), next(second, None)
    while one is not None and other is not None:
        if one[0] == other[0]:
            yield one[0], {0: one[1], 1: other[1]}
            one, other = next(first, None), next(second, None)
        elif one[0] < other[0]:
            yield one[0], {0: one[1]}
            one = next(first, None)
        else:
            yield other[0], {1: other[1]}
            other = next(second, None)
    while one is not None:
        yield one[0], {0: one[1]}
        one = next(first, None)
    while other is not None:
        yield other[0], {1: other[1]}
        other = next(second, None)


def _merged(walks: Sequence[Walk], key: BlockKey) -> Iterator[tuple[Tile, dict[int, bytes]]]:
    """``together`` of any number of caches."""

    def numbered(number: int, walk: Walk) -> Iterator[tuple[Tile, int, bytes]]:
        for tile, body in walk.tiles(key):
            yield tile, number, body

    streams = [numbered(number, walk) for number, walk in enumerate(walks)]
    for tile, group in groupby(heapq.merge(*streams, key=lambda item: item[:2]), key=lambda item: item[0]):
        yield tile, {number: body for _, number, body in group}
