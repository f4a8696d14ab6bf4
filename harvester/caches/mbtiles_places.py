"""Where the tiles of a source lie in an MBTiles file: zoom, column and TMS row of each, and what has no place there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from harvester.caches.addresses import Address
from harvester.caches.world import no_place
from harvester.edges import Subject, TileFormat
from harvester.errors import UnsupportedFormatError
from harvester.tiling.scheme import GooglePlace
from harvester.tiling.tile import Tile

OTHER_FORMATS = "Write compactv2, compact, exploded, tpkx or gpkg instead."


class Places:
    """The zooms of a source's LODs.

    Raises UnsupportedFormatError for a LOD off the Google grid, for two LODs of one zoom, and for LERC tiles.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._places = {level: _place(subject, level) for level in subject.levels}
        if subject.info.tile_format is TileFormat.LERC:
            raise UnsupportedFormatError("MBTiles cannot hold LERC tiles", hint=OTHER_FORMATS)
        taken: dict[int, int] = {}
        for level, place in self._places.items():
            if place.zoom in taken:
                raise UnsupportedFormatError(
                    f"LODs {taken[place.zoom]} and {level} are both zoom {place.zoom},"
                    " and MBTiles holds each zoom once",
                    hint=f"{OTHER_FORMATS} Or choose one of the LODs.",
                )
            taken[place.zoom] = level

    def of(self, level: int) -> GooglePlace:
        """The zoom of a LOD, and what its rows and columns are to be moved by."""
        place = self._places.get(level)
        if place is None:
            place = self._places[level] = _place(self._subject, level)
        return place

    def addresses(self, tiles: Sequence[Tile]) -> list[Address]:
        """Zoom, column and TMS row of tiles (MBTiles 1.3, "Tiles"), in their order."""
        addresses: list[Address] = []
        # Nearly always one run of one LOD; no step is made for each tile that C can make for all.
        for level, run in groupby(tiles, _LEVEL):
            zoom, row_offset, col_offset = self.of(level)
            of_level = list(run)
            _, rows, cols = zip(*of_level, strict=True)
            bottom = (1 << zoom) - 1 - row_offset
            if (
                min(rows) < -row_offset
                or max(rows) > bottom
                or min(cols) < -col_offset
                or max(cols) + col_offset >> zoom
            ):
                outside = next(tile for tile in of_level if not self._is_inside(tile))
                raise no_place(outside, "MBTiles")
            addresses += [(zoom, col + col_offset, bottom - row) for row, col in zip(rows, cols, strict=True)]
        return addresses

    def _is_inside(self, tile: Tile) -> bool:
        zoom, row_offset, col_offset = self.of(tile.level)
        return 0 <= tile.row + row_offset < 1 << zoom and 0 <= tile.col + col_offset < 1 << zoom


_LEVEL = itemgetter(0)


def _place(subject: Subject, level: int) -> GooglePlace:
    scheme = subject.info.scheme
    place = scheme.google(level) if level in scheme.by_level else None
    if place is None:
        raise UnsupportedFormatError(
            f"LOD {level} of {subject.info.name or subject.info.source} is off the Google grid; MBTiles holds no other",
            hint=OTHER_FORMATS,
        )
    return place
