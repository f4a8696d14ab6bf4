"""What of a database is no tile cache's: one that holds a person's own is added to, and not replaced.

MBTiles: the tables of the specification (mapbox/mbtiles-spec 1.3, UTFGrid included), those in which the tools in use
keep each picture once, and ours. A table ``map`` or ``images`` may be anybody's: it is a cache's where a view of the
specification shows it. GeoPackage: the tables that describe tiles (OGC 12-128r17, clauses 1.1, 2.2 and annex F.8) and
the tile tables of one cache; of the rows that may be about anything, ours, GDAL's and those about the tile tables. What
the standard names beside them may be there, and empty. Every table has the columns that it is known with, and no other.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping, Set
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from harvester.caches.geopackage_schema import quoted
from harvester.caches.geopackage_state import read_state
from harvester.caches.geopackage_tables import list_tables
from harvester.database import is_unborn, open_read_only
from harvester.errors import CacheError

DELTA = "harvester_delta"
"""The table with what a delta says beside its tiles."""

_PLACE = frozenset({"zoom_level", "tile_column", "tile_row"})


class _Known(NamedTuple):
    """A table that a cache may have."""

    columns: Set[str]
    optional: Set[str] = frozenset()
    """Columns that some programs add."""
    is_shown: bool = False
    """A cache's where a view of the specification reads it: else the name alone says nothing."""
    is_empty: bool = False
    """It is made by habit, and a cache's without a row."""


_ANYWHERE = {DELTA: _Known({"name", "value"}), "android_metadata": _Known({"locale"})}
"""The second is made by Android with every database that an app opens to write."""

_VIEWS = ("tiles", "grids", "grid_data")
"""What the specification lets be a view."""

_MBTILES = _ANYWHERE | {
    "metadata": _Known({"name", "value"}),
    # The time is MapProxy's.
    "tiles": _Known(_PLACE | {"tile_data"}, optional={"last_modified"}),
    "grids": _Known(_PLACE | {"grid"}),
    "grid_data": _Known(_PLACE | {"key_name", "key_json"}),
    "map": _Known(_PLACE | {"tile_id"}, optional={"grid_id"}, is_shown=True),
    "images": _Known({"tile_id", "tile_data"}, is_shown=True),
    "grid_key": _Known({"grid_id", "key_name"}, is_shown=True),
    "grid_utfgrid": _Known({"grid_id", "grid_utfgrid"}, is_shown=True),
    "keymap": _Known({"key_name", "key_json"}, is_shown=True),
    "tiles_shallow": _Known(_PLACE | {"tile_data_id"}, is_shown=True),
    "tiles_data": _Known({"tile_data_id", "tile_data"}, is_shown=True),
    "tiles_with_hash": _Known(_PLACE | {"tile_data", "tile_hash"}, is_shown=True),
    # TileMill's and tilelive's.
    "geocoder_data": _Known({"type", "shard", "data"}, is_empty=True),
    "harvester_new_hashes": _Known({"entries"}),
    "harvester_hashes": _Known({"hash", "picture"}),
}

_GEOPACKAGE = _ANYWHERE | {
    # The two more: extension gpkg_crs_wkt (annex F.10).
    "gpkg_spatial_ref_sys": _Known(
        {"srs_name", "srs_id", "organization", "organization_coordsys_id", "definition", "description"},
        optional={"definition_12_063", "epoch"},
    ),
    "gpkg_contents": _Known(
        {"table_name", "data_type", "identifier", "description", "last_change", "srs_id"}
        | {"min_x", "min_y", "max_x", "max_y"}
    ),
    "gpkg_tile_matrix_set": _Known({"table_name", "srs_id", "min_x", "min_y", "max_x", "max_y"}),
    "gpkg_tile_matrix": _Known(
        {"table_name", "zoom_level", "matrix_width", "matrix_height", "tile_width", "tile_height"}
        | {"pixel_x_size", "pixel_y_size"}
    ),
    "gpkg_extensions": _Known({"table_name", "column_name", "extension_name", "definition", "scope"}),
    "gpkg_metadata": _Known({"id", "md_scope", "md_standard_uri", "mime_type", "metadata"}),
    "gpkg_metadata_reference": _Known(
        {"reference_scope", "table_name", "column_name", "row_id_value", "timestamp", "md_file_id", "md_parent_id"}
    ),
}

_TILE_TABLE = _Known(_PLACE | {"tile_data"}, optional={"id"})

_PROGRAMS = ("urn:harvester:", "http://gdal.org")
"""How the md_standard_uri of rows begins that programs write about tiles: ours, and GDAL's of a raster."""

_REGISTERS = frozenset({"epsg", "esri", "ogc"})
"""Of reference systems: what they define, a number says."""

_EXTENSION = "gpkg_"
"""How the names of the standard's own extensions begin, which say what a file with tiles makes use of."""


def foreign_part(path: Path, format: str) -> str | None:
    """The first table, view, column or row that no tile cache of the format has, in words that name its table; None
    where all are one cache's.

    ``format``: one of formats.DATABASES. Raises CacheError where that can't be seen.
    """
    if is_unborn(path):
        return None
    try:
        with closing(_open(path)) as connection:
            sql = "SELECT name, type, sql FROM sqlite_master WHERE type IN ('table', 'view')"
            rows = connection.execute(f"{sql} AND substr(name, 1, 7) <> 'sqlite_'").fetchall()
            names = [str(name) for name, _, _ in rows]
            views = {str(name).lower(): str(text).lower() for name, kind, text in rows if kind == "view"}
            found = _of_geopackage(connection, names) if format == "gpkg" else _of_mbtiles(connection, names, views)
            found = found or _trigger_in(connection)
    except (sqlite3.Error, UnicodeDecodeError) as cause:
        raise CacheError(
            f"{path} is damaged, and what it holds beside tiles can't be seen ({cause}): it is not replaced",
            hint="Move it away or choose another output; nothing was changed.",
            code="damaged",
        ) from cause
    return found


def _open(path: Path) -> sqlite3.Connection:
    try:
        return open_read_only(path)
    except CacheError as error:
        if error.code != "damaged":
            raise
    # Cut short: with the schema writable, SQLite looks at the pages that are there (sqlite.org/pragma.html).
    uri = f"file:{quote(os.fsencode(path.absolute().as_posix()))}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.execute("PRAGMA writable_schema=ON")
    return connection


def _trigger_in(connection: sqlite3.Connection) -> str | None:
    """A trigger that writes. Those of the GeoPackage standard (annex E), which GDAL makes, refuse rows and do nothing
    else; no program that makes tiles has another. An index says nothing of whose it is, and holds nothing."""
    for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"):
        body = re.split(r"\bbegin\b", re.sub(r"'[^']*'", "''", str(sql).lower()), maxsplit=1)[-1]
        if re.search(r"\b(insert|update|delete|replace)\b", body):
            return f"the trigger {name}"
    return None


def _of_mbtiles(connection: sqlite3.Connection, names: list[str], views: Mapping[str, str]) -> str | None:
    shown: set[str] = set()
    ahead = [name for name in _VIEWS if name in views]
    while ahead:
        words = set(re.findall(r"\w+", views[ahead.pop()])) - shown
        shown |= words
        ahead += [name for name in words if name in views]
    for name in names:
        low = name.lower()
        known = _MBTILES.get(low)
        if known is not None and known.is_shown and low not in shown and low not in views:
            known = None
        if found := _unlike(connection, name, known):
            return found
    return None


def _unlike(connection: sqlite3.Connection, name: str, known: _Known | None) -> str | None:
    """What of a table is not as it is known; None where all is."""
    columns = {str(row[1]).lower() for row in connection.execute(f"PRAGMA table_info({quoted(name)})")}
    if known is None or not columns >= known.columns or (known.is_empty and _has_rows(connection, name)):
        return f"the table {name}"
    more = sorted(columns - known.columns - known.optional)
    return f"the column {more[0]} of the table {name}" if more else None


def _has_rows(connection: sqlite3.Connection, table: str) -> bool:
    return bool(connection.execute(f"SELECT 1 FROM {quoted(table)} LIMIT 1").fetchall())


def _of_geopackage(connection: sqlite3.Connection, names: list[str]) -> str | None:
    state, tiled = read_state(connection), list_tables(connection)
    cache = {name.lower() for name in (state.tables if state is not None and state.tables else tiled[:1])}
    cache &= {name.lower() for name in tiled}
    for name in sorted(names, key=lambda name: name.lower().startswith("gpkg_")):
        low = name.lower()
        known = _TILE_TABLE if low in cache else _GEOPACKAGE.get(low)
        if known is None and low.startswith("gpkg_") and not _has_rows(connection, name):
            continue
        if found := _unlike(connection, name, known):
            return found
    there = {name.lower() for name in names}
    if "gpkg_extensions" in there:
        for table, extension in connection.execute("SELECT table_name, extension_name FROM gpkg_extensions"):
            about = str(table or "").lower()
            if not str(extension).lower().startswith(_EXTENSION) or about not in {"", *cache, *_GEOPACKAGE}:
                return f"the extension {extension} in the table gpkg_extensions"
    if "gpkg_metadata" in there and (found := _of_metadata(connection, there, cache)):
        return found
    return _of_reference_systems(connection, there) if "gpkg_spatial_ref_sys" in there else None


def _of_reference_systems(connection: sqlite3.Connection, there: Set[str]) -> str | None:
    """A row of gpkg_spatial_ref_sys that nothing in the file refers to and no register has: somebody's definition."""
    used = {-1, 0}
    for table in {"gpkg_contents", "gpkg_tile_matrix_set", "gpkg_geometry_columns"} & there:
        used |= {row[0] for row in connection.execute(f"SELECT DISTINCT srs_id FROM {table}")}
    for number, register in connection.execute("SELECT srs_id, organization FROM gpkg_spatial_ref_sys ORDER BY srs_id"):
        if number not in used and str(register).lower() not in _REGISTERS:
            return f"row {number} ({register}) of the table gpkg_spatial_ref_sys"
    return None


def _of_metadata(connection: sqlite3.Connection, there: Set[str], cache: Set[str]) -> str | None:
    """A row of gpkg_metadata that no program wrote about tiles, and that is not about the tile tables alone."""
    about: dict[object, set[str]] = {}
    if "gpkg_metadata_reference" in there:
        sql = "SELECT md_file_id, reference_scope, table_name FROM gpkg_metadata_reference"
        for row, scope, table in connection.execute(sql):
            about.setdefault(row, set()).add(str(table or "").lower() if scope == "table" else "")
    for row, standard in connection.execute("SELECT id, md_standard_uri FROM gpkg_metadata"):
        if not str(standard).startswith(_PROGRAMS) and not (about.get(row) and about[row] <= cache):
            return f"row {row} ({standard}) of the table gpkg_metadata"
    return None
