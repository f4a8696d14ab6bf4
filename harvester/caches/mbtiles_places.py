"""Where the tiles of a source lie in an MBTiles file: zoom, column and TMS row of each, and what has no place there."""

from __future__ import annotations

from collections.abc import Sequence

from harvester.caches.mbtiles_pictures import Address
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
        level, zoom, row_offset, col_offset, size = -1, 0, 0, 0, 0
        for tile in tiles:
            if tile[0] != level:
                level = tile[0]
                zoom, row_offset, col_offset = self.of(level)
                size = 1 << zoom
            row, col = tile[1] + row_offset, tile[2] + col_offset
            if not (0 <= row < size and 0 <= col < size):
                raise UnsupportedFormatError(
                    f"tile {tile} lies outside the web-mercator world, which is all that MBTiles holds",
                    hint=OTHER_FORMATS,
                )
            addresses.append((zoom, col, size - 1 - row))
        return addresses


def _place(subject: Subject, level: int) -> GooglePlace:
    scheme = subject.info.scheme
    place = scheme.google(level) if level in scheme.by_level else None
    if place is None:
        raise UnsupportedFormatError(
            f"LOD {level} of {subject.info.name or subject.info.source} is off the Google grid; MBTiles holds no other",
            hint=OTHER_FORMATS,
        )
    return place
