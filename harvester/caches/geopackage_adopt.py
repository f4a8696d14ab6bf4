"""A GeoPackage that is there already, held against the tiles to be added: its grids, or why it can't take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harvester.caches.belongings import ELSEWHERE, or_replace
from harvester.caches.geopackage_reader import GeoPackageReader
from harvester.caches.geopackage_schema import Grid, Place
from harvester.caches.geopackage_tables import Table
from harvester.caches.placed import place_levels
from harvester.edges import Subject
from harvester.errors import CacheError
from harvester.tiling.scheme import Box, TilingScheme

TOLERANCE = 1e-6
"""Relative difference of two tile spans that still are the same, and tiles by which two corners may differ."""


def adopt(reader: GeoPackageReader, subject: Subject, planned: Sequence[Grid]) -> tuple[Grid, ...]:
    """The grids to go on with: ``planned``, as large as they are in the file, or those of another program's table.

    Raises CacheError where the file is of another scheme, or its tile matrix set has no room for the plan.
    """
    scheme, theirs = subject.info.scheme, reader.info.scheme
    if not scheme.crs.same_as(theirs.crs):
        raise _other(reader.path, f"CRS {theirs.crs} is not {scheme.crs}")
    sizes = [f"{each.tile_width} x {each.tile_height}" for each in (theirs, scheme)]
    if sizes[0] != sizes[1]:
        raise _other(reader.path, f"tile size {sizes[0]} is not {sizes[1]} pixels")
    if reader.state is not None:
        planned = _named(planned, reader.tables)
    if reader.state is not None and all(any(_same(grid, table) for grid in planned) for table in reader.tables):
        tables = {table.name: table for table in reader.tables}
        return tuple(_as_large(grid, tables.get(grid.table)) for grid in planned)
    if len(reader.tables) > 1:
        raise _other(reader.path, scheme.mismatch(theirs) or "its tables hold other LODs")
    return (_foreign(reader, reader.tables[0], subject),)


def _named(planned: Sequence[Grid], tables: Sequence[Table]) -> tuple[Grid, ...]:
    """The grids under the names that their tables have in the file. A table is named after its first LOD, and that
    depends on which LODs were known when it was made: of a cache that holds a part of them, only these are."""
    names: dict[str, str] = {}
    for table in tables:
        for grid in planned:
            if grid.table not in names and _is_grid_of(grid, table):
                names[grid.table] = table.name
                break
    taken = {table.name for table in tables}
    for grid in planned:
        if grid.table not in names:
            name = grid.table if grid.table not in taken else f"tiles_lod{grid.zoom}"
            while name in taken:
                name += "_"
            names[grid.table] = name
            taken.add(name)
    return tuple(replace(grid, table=names[grid.table]) for grid in planned)


def _same(grid: Grid, table: Table) -> bool:
    """Is a table of ours the one that this grid would make?"""
    return grid.table == table.name and _is_grid_of(grid, table)


def _is_grid_of(grid: Grid, table: Table) -> bool:
    theirs = table.grid
    span = min(table.resolutions.values()) * theirs.tile_width
    return (
        abs(grid.origin_x - theirs.origin_x) <= TOLERANCE * span
        and abs(grid.origin_y - theirs.origin_y) <= TOLERANCE * span
        and all(
            zoom >= grid.zoom
            and abs(resolution * 2.0 ** (zoom - grid.zoom) * grid.tile_width / grid.span_x - 1) < TOLERANCE
            for zoom, resolution in table.resolutions.items()
        )
    )


def _as_large(grid: Grid, table: Table | None) -> Grid:
    if table is None:
        return grid
    zoom = table.grid.zoom
    # Upwards: where the grid begins with a coarser zoom than the table has, the last tile may reach out of it.
    cols, rows = (-(-size >> (zoom - grid.zoom)) for size in table.grid.size(zoom))
    return replace(grid, cols=max(grid.cols, cols), rows=max(grid.rows, rows))


def _foreign(reader: GeoPackageReader, table: Table, subject: Subject) -> Grid:
    scheme = subject.info.scheme
    found = place_levels(scheme, reader.info.scheme)
    places = {level: Place(place.level, place.rows, place.cols) for level, place in found.items()}
    missing = [level for level in subject.levels if level not in places]
    if missing:
        raise _other(reader.path, f"the tile matrix set of {table.name} has no LOD {missing[0]}")
    for level in subject.levels if subject.extent is not None else ():
        _require_room(reader.path, table.grid, places[level], scheme, level, subject.extent)
    return replace(table.grid, places=places)


def _require_room(path: Path, grid: Grid, place: Place, scheme: TilingScheme, level: int, extent: Box | None) -> None:
    assert extent is not None
    cols, rows = grid.size(place.zoom)
    nearly = 1e-3
    width, height = scheme.span(level)
    left, right = (extent.xmin - scheme.origin_x) / width, (extent.xmax - scheme.origin_x) / width
    top, bottom = (scheme.origin_y - extent.ymax) / height, (scheme.origin_y - extent.ymin) / height
    inside = (
        left + place.col_offset >= -nearly
        and top + place.row_offset >= -nearly
        and right + place.col_offset <= cols + nearly
        and bottom + place.row_offset <= rows + nearly
    )
    if not inside:
        raise CacheError(
            f"{path}: the plan reaches out of the tile matrix set of {grid.table}",
            hint=ELSEWHERE,
            code="schema",
        )


def _other(path: Path, why: str) -> CacheError:
    return CacheError(f"{path} has another tiling scheme: {why}", hint=or_replace(path), code="other_scheme")
