"""A writer that takes tiles of the Google grid alone: whatever lies outside of the world is refused, not left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from harvester.caches.around import AroundWriter
from harvester.edges import Stamps, Stored, groups_of
from harvester.errors import UnsupportedFormatError
from harvester.tiling.scheme import GooglePlace, TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey, Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOLDS_ALL = "Write compactv2, compact, exploded or tpkx instead."
"""Formats that have a place for any tile of a scheme."""


@dataclass(slots=True)
class WorldWriter(AroundWriter):
    """``store`` raises UnsupportedFormatError for a tile outside of the world."""

    scheme: TilingScheme
    format: str
    """Its name for a person."""
    _places: dict[int, GooglePlace] = field(default_factory=dict)

    async def store(self, batch: Sequence[Stored]) -> Stamps:
        """Write a batch durably; none of it where one of its tiles lies outside."""
        for key, positions, _ in groups_of(batch):
            outside = first_outside(key, positions, self._place(key.level))
            if outside is not None:
                raise no_place(outside, self.format)
        return await self.inner.store(batch)

    def _place(self, level: int) -> GooglePlace:
        place = self._places.get(level)
        if place is None:
            place = self.scheme.google(level) if level in self.scheme.by_level else None
            if place is None:
                message = f"LOD {level} is off the Google grid; {self.format} holds no other"
                raise UnsupportedFormatError(message, hint=HOLDS_ALL)
            self._places[level] = place
        return place


def first_outside(key: BlockKey, positions: NDArray[np.int64], place: GooglePlace) -> Tile | None:
    """The first of a block's tiles (row-major positions) outside of the world's ``2**zoom`` rows and columns."""
    size, top, left = 1 << place.zoom, key.row + place.row_offset, key.col + place.col_offset
    if min(top, left) >= 0 and max(top, left) + BLOCK <= size:
        return None
    rows, cols = positions // BLOCK + top, positions % BLOCK + left
    outside = np.flatnonzero((rows < 0) | (rows >= size) | (cols < 0) | (cols >= size))
    return key.tile(int(positions[outside[0]])) if outside.size else None


def no_place(tile: Tile, format: str) -> UnsupportedFormatError:
    """What to say of a tile outside of the world."""
    what = f"tile {tile} lies outside the web-mercator world, which is all that {format} holds"
    return UnsupportedFormatError(what, hint=HOLDS_ALL)
