"""An MBTiles file made fit for more tiles, new or anyone's: its tables and indexes, or why it can't take them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from harvester.caches.belongings import ELSEWHERE, or_replace
from harvester.caches.mbtiles_hash import HASH
from harvester.caches.mbtiles_metadata import commonest
from harvester.caches.mbtiles_reader import STAMP, open_reader
from harvester.caches.mbtiles_schema import APPLICATION_ID, DEDUP, FLAT, METADATA, Kind, Schema
from harvester.database import Database
from harvester.edges import ServiceInfo, TileFormat
from harvester.errors import CacheError

# What has a row for each tile, with its bytes; without bytes it is none.
_TILES = {
    Kind.FLAT: "{index} AS place",
    Kind.SHARED: "{index} AS place JOIN {pictures} AS picture ON picture.{id_column} = place.{id_column}",
}

_FIRST_TWICE = (
    "SELECT place.zoom_level, place.tile_column, place.tile_row FROM {tiles} WHERE length(tile_data) > 0"
    " GROUP BY 1, 2, 3 HAVING count(*) > 1 LIMIT 1"
)


def require_extendable(looking: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Raises CacheError where the file can't take more tiles: it holds one more than once, its metadata is a view, its
    tiles are of an unknown kind. Nothing is written."""
    if schema.writable:
        raise CacheError(f"{path} cannot be extended: {schema.writable}", hint=ELSEWHERE, code="schema")
    if looking.execute(
        "SELECT 1 FROM sqlite_master WHERE name = 'metadata' COLLATE NOCASE AND type = 'view'"
    ).fetchone():
        raise CacheError(f"{path} cannot be extended: its metadata is a view", hint=ELSEWHERE, code="schema")
    if not schema.may_repeat:
        return
    tiles = _TILES[schema.kind].format(index=schema.index, pictures=schema.pictures, id_column=schema.id_column)
    twice = looking.execute(_FIRST_TWICE.format(tiles=tiles)).fetchone()
    if twice is not None:
        zoom, col, row = twice
        raise CacheError(
            f"{path} cannot be extended: it holds a tile more than once (zoom {zoom}, column {col}, TMS row {row})",
            hint=ELSEWHERE,
            code="schema",
        )


def refuse_other_tiles(path: Path, info: ServiceInfo) -> None:
    """Raises CacheError where the file holds tiles that can't lie beside the source's: another kind, another size."""
    with open_reader(path) as reader:
        there = reader.info
        if not reader.levels():
            return
    vector = (there.tile_format is TileFormat.PBF, info.tile_format is TileFormat.PBF)
    if vector[0] != vector[1] and TileFormat.UNKNOWN not in (there.tile_format, info.tile_format):
        raise CacheError(
            f"{path} holds {there.tile_format.value} tiles, the source has {info.tile_format.value}",
            hint=or_replace(path),
        )
    if not vector[0] and there.scheme.tile_width != info.scheme.tile_width:
        widths = f"{there.scheme.tile_width} x {there.scheme.tile_height} is not"
        raise CacheError(
            f"{path}: tile size {widths} {info.scheme.tile_width} x {info.scheme.tile_height} pixels",
            hint=or_replace(path),
        )


async def prepare(database: Database, path: Path, schema: Schema, info: ServiceInfo) -> None:
    """Inside the first transaction: make a new file's tables, or make another's file, which ``require_extendable``
    passed, fit to be extended."""
    tables = [str(name).lower() for (name,) in await database.execute("SELECT name FROM sqlite_master")]
    if not tables:
        await database.execute(f"PRAGMA application_id={APPLICATION_ID}")
        for sql in (*METADATA, *(DEDUP if schema.kind is Kind.SHARED else FLAT)):
            await database.execute(sql)
        await set_metadata(
            database, {"name": info.name or "tiles", "format": commonest({}, info.tile_format), STAMP: ""}
        )
        return
    if "metadata" not in tables:
        for sql in METADATA:
            await database.execute(sql)
    await _drop_empty(database, schema)
    for sql in schema.missing_indexes:
        await database.execute(sql)
    await database.execute("DELETE FROM metadata WHERE name = ?", (HASH,))


async def _drop_empty(database: Database, schema: Schema) -> None:
    """Rows without bytes are no tiles; from here on the index alone says what is there."""
    if schema.kind is Kind.FLAT:
        await database.execute("DELETE FROM tiles WHERE tile_data IS NULL OR length(tile_data) = 0")
        return
    await database.execute(
        f"DELETE FROM {schema.index} WHERE NOT EXISTS (SELECT 1 FROM {schema.pictures} WHERE"
        f" {schema.pictures}.{schema.id_column} = {schema.index}.{schema.id_column} AND length(tile_data) > 0)"
    )


async def set_metadata(database: Database, rows: Mapping[str, str]) -> None:
    """Set metadata rows. By hand: not every file has a unique name there."""
    for name, value in rows.items():
        found = await database.execute("UPDATE metadata SET value = ? WHERE name = ? RETURNING name", (value, name))
        if not found:
            await database.execute("INSERT INTO metadata (name, value) VALUES (?, ?)", (name, value))
