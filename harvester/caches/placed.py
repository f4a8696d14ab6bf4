"""A cache read in another scheme's levels: the source's, whose level 7 may be zoom 6 of an MBTiles, some rows further
down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harvester.edges import CacheReader
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask

SPAN_TOLERANCE = 1e-6
"""Relative difference of two tile spans that still are the same: services print resolutions with 8 to 17 digits."""

OFFSET_TOLERANCE = 1e-3
"""Tiles by which an origin may miss a whole number of tiles."""


class Place(NamedTuple):
    """A level's place in another scheme: that scheme's level, and what to add to rows and columns."""

    level: int
    rows: int
    cols: int


def place_levels(ours: TilingScheme, theirs: TilingScheme) -> dict[int, Place]:
    """For each of our levels that the other scheme has too, by tile span and origin, where it lies there."""
    places: dict[int, Place] = {}
    if not ours.crs.same_as(theirs.crs):
        return places
    for lod in ours.lods:
        width, height = ours.span(lod.level)
        for other in theirs.lods:
            their_width, their_height = theirs.span(other.level)
            if (
                abs(their_width - width) > SPAN_TOLERANCE * width
                or abs(their_height - height) > SPAN_TOLERANCE * height
            ):
                continue
            cols = (ours.origin_x - theirs.origin_x) / width
            rows = (theirs.origin_y - ours.origin_y) / height
            if abs(cols - round(cols)) <= OFFSET_TOLERANCE and abs(rows - round(rows)) <= OFFSET_TOLERANCE:
                places[lod.level] = Place(other.level, round(rows), round(cols))
                break
    return places


class PlacedReader:
    """Reads a cache by tiles of ``scheme``; a level that the cache's scheme doesn't have holds nothing."""

    def __init__(self, reader: CacheReader, scheme: TilingScheme) -> None:
        self.reader = reader
        self.scheme = scheme
        self._places = place_levels(scheme, reader.info.scheme)

    def there(self, tile: Tile) -> Tile | None:
        """The tile's address in the cache's own scheme."""
        place = self._places.get(tile.level)
        return None if place is None else Tile(place.level, tile.row + place.rows, tile.col + place.cols)

    def here(self, level: int, tile: Tile) -> Tile:
        """The address in our scheme of a tile that the cache names; ``level`` is ours."""
        place = self._places[level]
        return Tile(level, tile.row - place.rows, tile.col - place.cols)

    def level_here(self, level: int) -> int | None:
        """Our number for one of the cache's levels."""
        return next((ours for ours, place in self._places.items() if place.level == level), None)

    def read(self, tile: Tile) -> bytes | None:
        """The tile's bytes, or None."""
        there = self.there(tile)
        return None if there is None else self.reader.read(*there)

    def tiles(self, key: BlockKey) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of one of our blocks by row, then column, where it is a block of theirs; else none."""
        place = self._places.get(key.level)
        if place is None or place.rows % BLOCK or place.cols % BLOCK:
            return
        there = BlockKey(place.level, key.row + place.rows, key.col + place.cols)
        if place == (key.level, 0, 0):
            yield from self.reader.tiles(there)
            return
        for tile, body in self.reader.tiles(there):
            yield Tile(key.level, tile.row - place.rows, tile.col - place.cols), body

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of one of our blocks are there; shape (128, 128)."""
        place = self._places.get(key.level)
        mask = np.zeros((BLOCK, BLOCK), dtype=bool)
        if place is None:
            return mask
        top, left = key.row + place.rows, key.col + place.cols
        if top % BLOCK == 0 and left % BLOCK == 0:
            return self.reader.present(BlockKey(place.level, top, left))
        # Shifted by no whole block: up to four of theirs make one of ours.
        first_row, first_col = top - top % BLOCK, left - left % BLOCK
        for row in (first_row, first_row + BLOCK):
            for col in (first_col, first_col + BLOCK):
                theirs = self.reader.present(BlockKey(place.level, row, col))
                row0, row1 = max(row, top), min(row + BLOCK, top + BLOCK)
                col0, col1 = max(col, left), min(col + BLOCK, left + BLOCK)
                if row1 > row0 and col1 > col0:
                    mask[row0 - top : row1 - top, col0 - left : col1 - left] = theirs[
                        row0 - row : row1 - row, col0 - col : col1 - col
                    ]
        return mask
