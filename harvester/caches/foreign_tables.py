"""Which tables of a database are no tile cache's: one that holds a person's own is added to, and not replaced.

MBTiles: the tables of the specification (mapbox/mbtiles-spec 1.3, UTFGrid included), those in which the tools in use
keep each picture once, and ours; each by its columns too, since a table ``map`` or ``images`` may be anybody's.
GeoPackage: the tables that describe tiles (OGC 12-128r17, clauses 1.1, 2.2 and annex F.8) and the tile tables of one
cache. What the standard names beside them may be there, and empty.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from harvester.caches.geopackage_schema import quoted
from harvester.caches.geopackage_state import read_state
from harvester.caches.geopackage_tables import list_tables
from harvester.database import is_unborn, open_read_only
from harvester.errors import CacheError

DELTA = "harvester_delta"
"""The table with what a delta says beside its tiles."""

DATABASES = frozenset({"mbtiles", "gpkg"})
"""Formats that are one."""

_PLACE = frozenset({"zoom_level", "tile_column", "tile_row"})

_ANYWHERE = {DELTA: frozenset({"name", "value"}), "android_metadata": frozenset({"locale"})}
"""The second is made by Android with every database that an app opens to write."""

_MBTILES = _ANYWHERE | {
    "metadata": frozenset({"name", "value"}),
    "tiles": _PLACE | {"tile_data"},
    "grids": _PLACE | {"grid"},
    "grid_data": _PLACE | {"key_name", "key_json"},
    "map": _PLACE,
    "images": frozenset({"tile_id", "tile_data"}),
    "grid_key": frozenset({"grid_id", "key_name"}),
    "grid_utfgrid": frozenset({"grid_id", "grid_utfgrid"}),
    "keymap": frozenset({"key_name", "key_json"}),
    "tiles_shallow": _PLACE | {"tile_data_id"},
    "tiles_data": frozenset({"tile_data_id", "tile_data"}),
    "tiles_with_hash": _PLACE | {"tile_data", "tile_hash"},
    "harvester_new_hashes": frozenset({"entries"}),
    "harvester_hashes": frozenset({"hash", "picture"}),
}

_GEOPACKAGE = frozenset(
    {
        "gpkg_spatial_ref_sys",
        "gpkg_contents",
        "gpkg_tile_matrix_set",
        "gpkg_tile_matrix",
        "gpkg_extensions",
        "gpkg_metadata",
        "gpkg_metadata_reference",
        *_ANYWHERE,
    }
)


def foreign_table(path: Path, format: str) -> str | None:
    """The first table or view that no tile cache of the format has; None where all are one cache's.

    ``format``: one of DATABASES. Raises CacheError where that can't be seen.
    """
    if is_unborn(path):
        return None
    try:
        with closing(_open(path)) as connection:
            sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND substr(name, 1, 7) <> 'sqlite_'"
            names = [str(row[0]) for row in connection.execute(sql)]
            found = _of_geopackage(connection, names) if format == "gpkg" else _of_mbtiles(connection, names)
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
    uri = f"file:{quote(path.absolute().as_posix())}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.execute("PRAGMA writable_schema=ON")
    return connection


def _of_mbtiles(connection: sqlite3.Connection, names: list[str]) -> str | None:
    return next((name for name in names if not _columns(connection, name) >= _MBTILES.get(name.lower(), {""})), None)


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]).lower() for row in connection.execute(f"PRAGMA table_info({quoted(table)})")}


def _of_geopackage(connection: sqlite3.Connection, names: list[str]) -> str | None:
    state, tiled = read_state(connection), list_tables(connection)
    cache = {name.lower() for name in (state.tables if state is not None and state.tables else tiled[:1])}
    cache &= {name.lower() for name in tiled}
    for name in sorted(names, key=lambda name: name.lower().startswith("gpkg_")):
        low = name.lower()
        if low in _GEOPACKAGE or low in cache:
            continue
        if not low.startswith("gpkg_") or connection.execute(f"SELECT 1 FROM {quoted(name)} LIMIT 1").fetchall():
            return name
    return None
