"""The tables of a GeoPackage being written: which are in the file, and what must be made before tiles go in.

Everything here runs inside the caller's transaction, and gives what is there when that has been committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harvester.caches.addresses import Address
from harvester.caches.geopackage_schema import Grid, quoted
from harvester.caches.geopackage_sql import ensure_core, ensure_grid, ensure_webp
from harvester.crs import Crs
from harvester.database import Database
from harvester.errors import CacheError


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What of the tables is in the file: grids by table with their extents there, and the zooms that have a matrix."""

    grids: Mapping[str, Grid]
    zooms: Mapping[str, frozenset[int]]
    core: bool = False
    webp: frozenset[str] = frozenset()


def grids_for(rows: Mapping[str, Mapping[Address, bytes]], grids: Mapping[str, Grid]) -> dict[str, Grid]:
    """The grids of the tables that tiles go into, large enough for them."""
    grown = {}
    for table, tiles in rows.items():
        grid = grids[table]
        for zoom in {address[0] for address in tiles}:
            columns = [address[1] for address in tiles if address[0] == zoom]
            lines = [address[2] for address in tiles if address[0] == zoom]
            try:
                grid = grid.grown(zoom, min(lines), min(columns)).grown(zoom, max(lines), max(columns))
            except CacheError:
                # The corner of all tiles need not be one of them: the first that has no place is named.
                for row, col in zip(lines, columns, strict=True):
                    grid.grown(zoom, row, col)
                raise
        grown[table] = grid
    return grown


async def prepare(database: Database, made: Made, crs: Crs) -> Made:
    """In the first transaction: make a new file's tables, or make another's file fit to be extended."""
    if made.core:
        return made
    await ensure_core(database)
    for table in made.grids:
        # Rows without bytes are no tiles; from here on the index alone says what is there.
        await database.execute(f"DELETE FROM {quoted(table)} WHERE tile_data IS NULL OR length(tile_data) = 0")
    return replace(made, core=True)


async def make_room(
    database: Database, made: Made, grid: Grid, zooms: frozenset[int], crs: Crs, moment: Callable[[], str]
) -> Made:
    """A tile table with its matrix set and its matrices, as large as the grid."""
    known = made.grids.get(grid.table)
    had = made.zooms.get(grid.table, frozenset())
    if known is not None and zooms <= had and all(known.size(zoom) == grid.size(zoom) for zoom in had):
        return made
    await ensure_grid(database, grid, crs, zooms | had, is_new=known is None, moment=moment)
    return replace(made, grids={**made.grids, grid.table: grid}, zooms={**made.zooms, grid.table: zooms | had})


async def allow_webp(database: Database, made: Made, table: str) -> Made:
    """The extension row of a table that gets WebP tiles."""
    await ensure_webp(database, table)
    return replace(made, webp=made.webp | {table})
