"""The tile tables of an open GeoPackage: their grids and CRS as the file states them, and which belong together."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harvester.caches.geopackage_schema import Grid, quoted
from harvester.caches.geopackage_state import FileState, names_of
from harvester.crs import Crs
from harvester.errors import CacheError, HarvesterError, UnsupportedFormatError
from harvester.tiling.scheme import Box, Lod, TilingScheme

MAX_ZOOM = 99
MAX_TILE_PIXELS = 8192
MAX_TABLES = 256
"""A scheme has at most that many LODs, and each at most a table."""

DPI = 96
SCALE_INCHES = 39.37
"""Inches in a metre as ArcGIS Server counts, so that scales read back as they were."""

SQUARE_TOLERANCE = 1e-6
"""Relative difference of a pixel's width and height that still is a square."""

EXACT_TOLERANCE = 0.5
"""Pixels by which whole tiles of a zoom may miss the extent of their set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One tile table as the file states it."""

    grid: Grid
    crs: Crs
    srs_id: int
    resolutions: Mapping[int, float]
    """Map units per pixel by zoom."""
    identifier: str = ""
    description: str = ""
    extent: Box | None = None
    """Of the data, as gpkg_contents states it."""

    @property
    def name(self) -> str:
        """The table's name."""
        return self.grid.table


def list_tables(connection: sqlite3.Connection) -> list[str]:
    """The tile tables that gpkg_contents names."""
    if not {"gpkg_contents", "gpkg_tile_matrix_set", "gpkg_tile_matrix"} <= names_of(connection):
        return []
    sql = "SELECT table_name FROM gpkg_contents WHERE data_type = 'tiles' ORDER BY rowid"
    return [str(row[0]) for row in connection.execute(sql)]


def choose(path: Path, tables: Sequence[str], state: FileState | None, table: str | None) -> list[str]:
    """The tables to read as one cache: the one named, those that we wrote, or the only one. Raises CacheError."""
    if table is not None:
        if table not in tables:
            listed = f"Its tile tables: {', '.join(tables[:20])}." if tables else "It has no tile table."
            raise CacheError(f"{path} has no tile table {table!r}", hint=listed, code="missing")
        return [table]
    if not tables:
        raise CacheError(f"{path} holds no tiles", hint="Name a GeoPackage with tiles.", code="not_a_cache")
    ours = [name for name in (state.tables if state else ()) if name in tables]
    if ours:
        return ours[:MAX_TABLES]
    if len(tables) > 1:
        more = f" and {len(tables) - 20} more" if len(tables) > 20 else ""
        raise CacheError(
            f"{path} holds several tile tables: {', '.join(tables[:20])}{more}",
            hint=f"Name one of them: {path}:{tables[0]}",
            code="ambiguous",
        )
    return list(tables)


def read_table(connection: sqlite3.Connection, path: Path, name: str) -> Table:
    """One tile table. Raises CacheError where it is damaged, UnsupportedFormatError where its grid is none we know."""
    sets: list[Any] = connection.execute(
        "SELECT m.min_x, m.min_y, m.max_x, m.max_y, m.srs_id, c.identifier, c.description, c.min_x, c.min_y, c.max_x,"
        " c.max_y FROM gpkg_tile_matrix_set m JOIN gpkg_contents c ON c.table_name = m.table_name"
        " WHERE m.table_name = ?",
        (name,),
    ).fetchall()
    rows: list[Any] = connection.execute(
        "SELECT zoom_level, matrix_width, matrix_height, tile_width, tile_height, pixel_x_size, pixel_y_size FROM"
        f" gpkg_tile_matrix WHERE table_name = ? ORDER BY zoom_level LIMIT {MAX_ZOOM + 1}",
        (name,),
    ).fetchall()
    if not sets or not rows:
        raise CacheError(f"{path}: the tile table {name} has no tile matrix", hint="Write it anew.", code="damaged")
    box = Box(*_numbers(path, name, sets[0][:4]))
    resolutions: dict[int, float] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for zoom, cols, height, _, _, pixel_x, pixel_y in rows:
        pixel_x, pixel_y = _numbers(path, name, (pixel_x, pixel_y))
        whole = all(isinstance(value, int) for value in (zoom, cols, height))
        if not whole or not 0 <= zoom <= MAX_ZOOM or min(cols, height) < 1 or min(pixel_x, pixel_y) <= 0:
            raise CacheError(f"{path}: the tile matrix of {name} is damaged", hint="Write it anew.", code="damaged")
        if abs(pixel_x - pixel_y) > SQUARE_TOLERANCE * pixel_x:
            raise UnsupportedFormatError(
                f"{path}: pixels of {name} are not square", hint="Warp it, then write it anew."
            )
        resolutions[zoom], sizes[zoom] = pixel_x, (cols, height)
    width, height = rows[0][3:5]
    if any(row[3:5] != (width, height) for row in rows):
        hint = "Write it anew with tiles of one size."
        raise UnsupportedFormatError(f"{path}: tiles of {name} have several sizes", hint=hint)
    if not all(isinstance(size, int) and 0 < size <= MAX_TILE_PIXELS for size in (width, height)):
        raise CacheError(
            f"{path}: tiles of {name} are {width} x {height} pixels", hint="Write it anew.", code="damaged"
        )
    first = rows[0][0]
    stated = sets[0][7:11]
    return Table(
        grid=Grid(
            table=name,
            origin_x=box.xmin,
            origin_y=box.ymax,
            zoom=first,
            span_x=resolutions[first] * width,
            span_y=resolutions[first] * height,
            tile_width=width,
            tile_height=height,
            cols=sizes[first][0],
            rows=sizes[first][1],
            sizes=sizes,
        ),
        crs=_crs(connection, path, sets[0][4]),
        srs_id=sets[0][4],
        resolutions=resolutions,
        identifier=str(sets[0][5] or ""),
        description=str(sets[0][6] or ""),
        extent=None if any(value is None for value in stated) else Box(*_numbers(path, name, stated)),
    )


def _numbers(path: Path, name: str, values: Sequence[object]) -> list[float]:
    found = [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
    if len(found) != len(values):
        raise CacheError(f"{path}: the extent of {name} is no box of numbers", hint="Write it anew.", code="damaged")
    return found


def _crs(connection: sqlite3.Connection, path: Path, srs_id: object) -> Crs:
    sql = "SELECT organization, organization_coordsys_id, definition FROM gpkg_spatial_ref_sys WHERE srs_id = ?"
    rows: list[Any] = connection.execute(sql, (srs_id,)).fetchall()
    if not rows:
        raise CacheError(f"{path}: the reference system {srs_id} is not there", hint="Write it anew.", code="damaged")
    organization, number, definition = rows[0]
    if str(organization).upper() in ("EPSG", "ESRI") and isinstance(number, int) and number > 0:
        try:
            return Crs.from_epsg(number)
        except HarvesterError:
            pass  # A number that this machine's PROJ is too old for; the text says it as well.
    try:
        return Crs.from_user(str(definition))
    except HarvesterError as cause:
        raise UnsupportedFormatError(
            f"{path}: the reference system {srs_id} ({organization} {number}) is not known", hint=cause.hint
        ) from cause


def scheme_of(path: Path, tables: Sequence[Table]) -> TilingScheme:
    """The one tiling scheme of the tables. Raises CacheError where they are no parts of one."""
    first = tables[0]
    finest = min(resolution for table in tables for resolution in table.resolutions.values())
    lods: dict[int, float] = {}
    for table in tables:
        grid = table.grid
        same = (
            (grid.tile_width, grid.tile_height) == (first.grid.tile_width, first.grid.tile_height)
            and abs(grid.origin_x - first.grid.origin_x) <= 0.01 * finest
            and abs(grid.origin_y - first.grid.origin_y) <= 0.01 * finest
            and table.srs_id == first.srs_id
            and not lods.keys() & table.resolutions.keys()
        )
        if not same:
            raise CacheError(
                f"{path}: the tile tables {first.name} and {table.name} are not of one tiling scheme",
                hint=f"Name one of them: {path}:{table.name}",
                code="ambiguous",
            )
        lods.update(table.resolutions)
    factor = DPI * SCALE_INCHES * first.crs.metres_per_unit
    return TilingScheme(
        crs=first.crs,
        origin_x=first.grid.origin_x,
        origin_y=first.grid.origin_y,
        tile_width=first.grid.tile_width,
        tile_height=first.grid.tile_height,
        lods=tuple(
            Lod(level=zoom, resolution=resolution, scale=resolution * factor)
            for zoom, resolution in sorted(lods.items(), key=lambda pair: -pair[1])
        ),
    )


def inexact(table: Table) -> int | None:
    """A zoom whose tiles don't fill the extent of their set, or None."""
    grid = table.grid
    for zoom, resolution in table.resolutions.items():
        cols, rows = grid.size(zoom)
        first = table.resolutions[grid.zoom]
        off_x = cols * grid.tile_width * resolution - grid.cols * grid.tile_width * first
        off_y = rows * grid.tile_height * resolution - grid.rows * grid.tile_height * first
        if max(abs(off_x), abs(off_y)) > EXACT_TOLERANCE * resolution:
            return zoom
    return None


def columns_of(connection: sqlite3.Connection, table: str) -> dict[str, tuple[bool, bool]]:
    """Name -> (must be given, is part of the primary key)."""
    rows = connection.execute(f"PRAGMA table_info({quoted(table)})").fetchall()
    return {str(row[1]).lower(): (bool(row[3]) and row[4] is None and not row[5], bool(row[5])) for row in rows}


def obstacle(connection: sqlite3.Connection, table: str) -> str:
    """Why a tile table cannot be extended; empty where it can."""
    kinds = connection.execute("SELECT type FROM sqlite_master WHERE name = ? COLLATE NOCASE", (table,)).fetchall()
    if kinds != [("table",)]:
        return f"{table} is a view"
    columns = columns_of(connection, table)
    address = {"zoom_level", "tile_column", "tile_row"}
    extra = [name for name, (needed, _) in columns.items() if needed and name not in {*address, "tile_data"}]
    if extra:
        return f"{table} needs a column {extra[0]} that is not known here"
    for _, name, unique, _, partial in connection.execute(f"PRAGMA index_list({quoted(table)})").fetchall():
        found = {str(row[2]).lower() for row in connection.execute(f"PRAGMA index_info({quoted(name)})") if row[2]}
        if unique and not partial and found == address:
            return ""
    if {name for name, (_, key) in columns.items() if key} == address:
        return ""
    return f"{table} has no unique index over its addresses"
