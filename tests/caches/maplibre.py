"""What MapLibre's ``mbtiles validate`` checks, written from its documentation (maplibre.org/martin, "MBTiles
Validation" and "MBTiles Schemas") and its queries' meaning, since the program itself is in no Python registry."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

ADDRESS = {"zoom_level", "tile_column", "tile_row"}
NUMBER, TEXT, BYTES = "INT", "TEXT", "BLOB"
NORMALIZED = (("map", "images", "tile_id", TEXT), ("tiles_shallow", "tiles_data", "tile_data_id", NUMBER))


def validate(path: Path) -> str:
    """The kind of file that it is taken for. AssertionError where it would be refused."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kind, table = _kind(connection)
        assert any(
            {row[0] for row in connection.execute("SELECT name FROM pragma_index_info(?)", (name,))} == ADDRESS
            for (name,) in connection.execute('SELECT name FROM pragma_index_list(?) WHERE "unique" = 1', (table,))
        ), f"{table} has no unique index on its addresses"
        rows = connection.execute(
            "SELECT * FROM tiles WHERE typeof(zoom_level) <> 'integer' OR zoom_level NOT BETWEEN 0 AND 30"
            " OR typeof(tile_column) <> 'integer' OR tile_column NOT BETWEEN 0 AND (1 << zoom_level) - 1"
            " OR typeof(tile_row) <> 'integer' OR tile_row NOT BETWEEN 0 AND (1 << zoom_level) - 1"
            " OR typeof(tile_data) NOT IN ('blob', 'null')"
        ).fetchall()
        assert not rows
        _check_pictures(connection, kind)
        stored = connection.execute("SELECT value FROM metadata WHERE name = 'agg_tiles_hash'").fetchall()
        assert stored, "there is no agg_tiles_hash"
        assert connection.execute("SELECT 1 FROM metadata WHERE name = 'hash_algorithm'").fetchall() == []
        digest = hashlib.md5()
        for zoom, col, row, body in connection.execute("SELECT * FROM tiles ORDER BY 1, 2, 3"):
            for part in (zoom, col, row):
                digest.update(str(part).encode())
            digest.update(body)
        assert stored == [(digest.hexdigest().upper(),)]
        return kind
    finally:
        connection.close()


def _kind(connection: sqlite3.Connection) -> tuple[str, str]:
    objects = dict(connection.execute("SELECT name, type FROM sqlite_master").fetchall())

    def has(table: str, wanted: dict[str, str]) -> bool:
        found = dict(connection.execute("SELECT name, upper(type) FROM pragma_table_info(?)", (table,)).fetchall())
        # Numbers may be of any integer type; text and bytes have to be called so.
        return all(
            NUMBER in found.get(name, "") if kind == NUMBER else found.get(name) == kind
            for name, kind in wanted.items()
        )

    numbers = dict.fromkeys(ADDRESS, NUMBER)
    for table, pictures, name, kind in NORMALIZED:
        both = objects.get(table) == objects.get(pictures) == "table"
        if both and has(table, {**numbers, name: kind}) and has(pictures, {name: kind, "tile_data": BYTES}):
            return table, table
    assert objects.get("tiles") == "table" and has("tiles", {**numbers, "tile_data": BYTES}), "of no known kind"
    return "flat", "tiles"


def _check_pictures(connection: sqlite3.Connection, kind: str) -> None:
    for table, pictures, name, _ in NORMALIZED:
        if kind != table:
            continue
        sql = f"SELECT count(*) FROM {table} WHERE {name} NOT IN (SELECT {name} FROM {pictures})"
        assert connection.execute(sql).fetchone() == (0,)
        if kind == "map":
            for found, body in connection.execute(f"SELECT {name}, tile_data FROM {pictures}"):
                assert found.upper() == hashlib.md5(body).hexdigest().upper()
