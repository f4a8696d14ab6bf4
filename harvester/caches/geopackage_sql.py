"""What is written into the tables of a GeoPackage beside its tiles, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from harvester.caches.geopackage_describe import texts
from harvester.caches.geopackage_schema import (
    APPLICATION_ID,
    CORE,
    CUSTOM_SRS,
    METADATA,
    METADATA_EXTENSION,
    TILES,
    UNDEFINED,
    USER_VERSION,
    WEBP_EXTENSION,
    Grid,
    Srs,
    srs_of,
    tile_table,
)
from harvester.crs import WGS84, Crs
from harvester.database import Database
from harvester.edges import Subject
from harvester.errors import UsageError
from harvester.tiling.scheme import Box


def moment(now: float, environment: Mapping[str, str]) -> str:
    """The time that rows are marked with: SOURCE_DATE_EPOCH where it is set, else ``now``, in ISO 8601 (UTC)."""
    stated = environment.get("SOURCE_DATE_EPOCH", "")
    try:
        found = datetime.fromtimestamp(int(stated) if stated else now, UTC)
    except (ValueError, OverflowError, OSError) as cause:
        raise UsageError(f"SOURCE_DATE_EPOCH is {stated[:40]!r}", hint="It is a whole number of seconds.") from cause
    return found.strftime("%Y-%m-%dT%H:%M:%S.") + f"{found.microsecond // 1000:03d}Z"


async def ensure_core(database: Database) -> None:
    """The tables that every GeoPackage with tiles and metadata has, the reference systems among them."""
    names = {str(row[0]).lower() for row in await database.execute("SELECT name FROM sqlite_master")}
    if "gpkg_contents" not in names:
        await database.execute(f"PRAGMA application_id={APPLICATION_ID}")
        await database.execute(f"PRAGMA user_version={USER_VERSION}")
        for sql in CORE:
            await database.execute(sql)
        for srs in (*UNDEFINED, srs_of(WGS84)):
            await _add_srs(database, srs)
    for sql in (*TILES, *METADATA):
        await database.execute(sql)
    for table in ("gpkg_metadata", "gpkg_metadata_reference"):
        await _extend(database, table, None, "gpkg_metadata", METADATA_EXTENSION)


async def _add_srs(database: Database, srs: Srs) -> None:
    await database.execute(
        "INSERT INTO gpkg_spatial_ref_sys (srs_name, srs_id, organization, organization_coordsys_id, definition,"
        " description) VALUES (?, ?, ?, ?, ?, ?)",
        srs,
    )


async def _srs_id(database: Database, crs: Crs) -> int:
    """The srs_id of a CRS, after adding it where it is not there."""
    wanted = srs_of(crs)
    sql = "SELECT srs_id FROM gpkg_spatial_ref_sys WHERE "
    if wanted.organization == "NONE":
        found = await database.execute(f"{sql} definition = ?", (wanted.definition,))
    else:
        found = await database.execute(
            f"{sql} upper(organization) = ? AND organization_coordsys_id = ?", (wanted.organization, wanted.number)
        )
    if found:
        return int(found[0][0])
    if await database.execute(f"{sql} srs_id = ?", (wanted.id,)):
        highest = (await database.execute("SELECT max(srs_id) FROM gpkg_spatial_ref_sys"))[0][0]
        wanted = wanted._replace(id=max(int(highest) + 1, CUSTOM_SRS))
        if wanted.organization == "NONE":
            wanted = wanted._replace(number=wanted.id)
    await _add_srs(database, wanted)
    return wanted.id


async def ensure_grid(
    database: Database, grid: Grid, crs: Crs, zooms: frozenset[int], *, is_new: bool, moment: Callable[[], str]
) -> None:
    """A tile table, its matrix set and the matrices of ``zooms``, all as large as the grid."""
    if is_new:
        srs_id = await _srs_id(database, crs)
        await database.execute(tile_table(grid.table))
        await database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change, srs_id) VALUES (?, ?, ?, ?, ?)",
            (grid.table, "tiles", grid.table, moment(), srs_id),
        )
        await database.execute(
            "INSERT INTO gpkg_tile_matrix_set (table_name, srs_id, min_x, min_y, max_x, max_y)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (grid.table, srs_id, *grid.box),
        )
    else:
        await database.execute(
            "UPDATE gpkg_tile_matrix_set SET min_x = ?, min_y = ?, max_x = ?, max_y = ? WHERE table_name = ?",
            (*grid.box, grid.table),
        )
    rows = [
        (grid.table, zoom, *grid.size(zoom), grid.tile_width, grid.tile_height, *grid.pixel(zoom))
        for zoom in sorted(zooms)
    ]
    await database.executemany(
        "INSERT OR REPLACE INTO gpkg_tile_matrix (table_name, zoom_level, matrix_width, matrix_height, tile_width,"
        " tile_height, pixel_x_size, pixel_y_size) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


async def ensure_webp(database: Database, table: str) -> None:
    """The extension row of a table with WebP tiles."""
    await _extend(database, table, "tile_data", "gpkg_webp", WEBP_EXTENSION)


async def _extend(database: Database, table: str, column: str | None, name: str, definition: str) -> None:
    found = await database.execute(
        "SELECT 1 FROM gpkg_extensions WHERE lower(table_name) = lower(?) AND extension_name = ?", (table, name)
    )
    if not found:
        await database.execute(
            "INSERT INTO gpkg_extensions (table_name, column_name, extension_name, definition, scope)"
            " VALUES (?, ?, ?, ?, 'read-write')",
            (table, column, name, definition),
        )


async def set_contents(
    database: Database,
    subject: Subject,
    grid: Grid,
    extent: Box | None,
    stated: tuple[Any, ...] | None,
    several: bool,
    moment: Callable[[], str],
) -> None:
    """A table's row in gpkg_contents; what another program or a person wrote there stays, but the extent grows."""
    identifier, description = texts(subject, grid, several=several)
    box: tuple[Any, ...] = tuple(extent) if extent is not None else (None,) * 4
    if stated is not None:
        if stated[0] and stated[0] != grid.table and grid.sizes:
            identifier = stated[0]
        if stated[1] and grid.sizes:
            description = stated[1]
        if grid.sizes and None not in (*stated[2:], *box):
            box = (*map(min, stated[2:4], box[:2]), *map(max, stated[4:], box[2:]))
    taken = await database.execute(
        "SELECT 1 FROM gpkg_contents WHERE identifier = ? AND table_name <> ?", (identifier, grid.table)
    )
    if taken:
        identifier = f"{identifier} ({grid.table})"
    await database.execute(
        "UPDATE gpkg_contents SET identifier = ?, description = ?, min_x = ?, min_y = ?, max_x = ?, max_y = ?,"
        " last_change = ? WHERE table_name = ?",
        (identifier, description, *box, moment(), grid.table),
    )


async def set_metadata(database: Database, standard: str, text: str, moment: Callable[[], str]) -> None:
    """One of our rows of gpkg_metadata, which refers to the whole file."""
    sql = "UPDATE gpkg_metadata SET metadata = ? WHERE md_standard_uri = ? RETURNING id"
    if await database.execute(sql, (text, standard)):
        return
    row = await database.execute(
        "INSERT INTO gpkg_metadata (md_scope, md_standard_uri, mime_type, metadata) VALUES ('dataset', ?,"
        " 'application/json', ?) RETURNING id",
        (standard, text),
    )
    await database.execute(
        "INSERT INTO gpkg_metadata_reference (reference_scope, timestamp, md_file_id) VALUES ('geopackage', ?, ?)",
        (moment(), row[0][0]),
    )
