"""What is unsound in a PMTiles archive: its directories walked from end to end, held against the header."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from harvester.caches import pmtiles_layout as layout
from harvester.edges import Damage
from harvester.errors import CacheError
from harvester.tiling.scheme import MAX_GOOGLE_ZOOM
from harvester.tiling.tile import Tile

if TYPE_CHECKING:
    from harvester.caches.pmtiles_directories import Directories
    from harvester.caches.pmtiles_layout import Directory

MOST = 100
"""Entries named one by one; a file cut in the middle has them by the thousand."""


MOST_LOST = 1 << 20
"""Tiles that are counted one by one: a hostile run can claim any number."""


def problems(archive: Directories) -> Iterator[Damage]:
    """Entries that lead nowhere, directories that can't be read, numbers of the header that are not so."""
    where, header = str(archive.path), archive.header
    addressed = entries = told = behind = 0
    lowest = highest = None
    clustered = True
    try:
        for piece in archive.entries(0, layout.MAX_ID):
            entries += len(piece.ids)
            addressed += int(piece.runs.sum())
            ends = piece.offsets + piece.lengths
            outside = np.flatnonzero(~archive.sound(piece))
            for at in outside[: MOST - told].tolist():
                yield _astray(where, piece, at, int(piece.ids[at]))
                told += 1
            # In order of tile ids: contents either follow all those before them or are one of those.
            reach = np.maximum.accumulate(np.concatenate([[behind], ends]))
            clustered = clustered and bool((piece.offsets <= reach[:-1]).all())
            behind = int(reach[-1])
            lowest = int(piece.ids[0]) if lowest is None else lowest
            highest = int(piece.ids[-1] + piece.runs[-1]) - 1
    except CacheError as error:
        yield Damage(where, error.message)
        return
    for what, stated, found in (("tiles", header.addressed, addressed), ("entries", header.entries, entries)):
        if stated and stated != found:
            yield Damage(where, f"its header counts {stated:,} {what}, its directories have {found:,}")
    if header.contents > max(entries, header.entries):
        yield Damage(where, f"its header counts {header.contents:,} contents of {entries:,} entries")
    if header.clustered == 1 and not clustered:
        yield Damage(where, "its header says that tiles lie in the order of their ids, and they do not")
    if lowest is not None and highest is not None:
        zooms = layout.zoom_of(lowest), layout.zoom_of(highest)
        if zooms != (header.min_zoom, header.max_zoom):
            stated_zooms = f"{header.min_zoom} to {header.max_zoom}"
            yield Damage(where, f"its header says zooms {stated_zooms}, its tiles have {zooms[0]} to {zooms[1]}")


def lost(archive: Directories) -> Iterator[Damage]:
    """The tiles whose entries lead nowhere, each of a run's; one damage of the whole where there are too many."""
    where = str(archive.path)
    told = 0
    for piece in archive.entries(0, layout.MAX_ID):
        for at in np.flatnonzero(~archive.sound(piece)).tolist():
            first, run = int(piece.ids[at]), int(piece.runs[at])
            told += run
            if told > MOST_LOST:
                yield Damage(where, f"more than {MOST_LOST:,} tiles have entries that lead out of the tile data")
                return
            for tile_id in range(first, first + run):
                yield _astray(where, piece, at, tile_id)


def _astray(where: str, piece: Directory, at: int, tile_id: int) -> Damage:
    tile = _tile(tile_id)
    span = f"{int(piece.lengths[at]):,} bytes at {int(piece.offsets[at]):,}"
    return Damage(str(tile or where), f"its entry ({span}) leads out of the tile data", tile)


def _tile(tile_id: int) -> Tile | None:
    zoom = layout.zoom_of(tile_id)
    if zoom > MAX_GOOGLE_ZOOM:
        return None
    rows, cols = layout.unhilbert(zoom, np.array([tile_id - layout.first_id(zoom)]))
    return Tile(zoom, int(rows[0]), int(cols[0]))
