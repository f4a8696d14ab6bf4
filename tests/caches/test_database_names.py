"""Names of tables and columns in other letters: SQLite takes them as the same, and so does every verb."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harvester.audit import verify
from harvester.caches.open import sniff
from harvester.delta.application import apply
from harvester.delta.difference import diff
from harvester.delta.join import convert, merge
from harvester.loop import run_loop
from tests.delta.making import held, make, some

OLD, MORE = some("2/1/1", "2/1/2"), some("2/3/3", first=9)


def mbtiles_of(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            "CREATE TABLE MetaData (Name TEXT, VALUE TEXT);"
            "CREATE TABLE Tiles (Zoom_Level INTEGER, TILE_COLUMN INTEGER, tile_Row INTEGER, Tile_Data BLOB);"
            "INSERT INTO METADATA VALUES ('name', 'mine'), ('format', 'png');"
        )
        rows = [(tile.level, tile.col, 3 - tile.row, body) for tile, body in OLD.items()]
        connection.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows)
    return path


def geopackage_of(path: Path) -> Path:
    make(path, OLD, format="gpkg")
    with closing(sqlite3.connect(path)) as connection, connection:
        (table,) = connection.execute("SELECT table_name FROM gpkg_contents").fetchone()
        connection.execute("PRAGMA legacy_alter_table = ON")
        connection.execute(f'ALTER TABLE "{table}" RENAME TO other')
        connection.execute(f'ALTER TABLE other RENAME TO "{table.upper()}"')
    return path


@pytest.mark.parametrize("format", ["mbtiles", "gpkg"])
def test_tables_whose_names_are_in_other_letters_are_read_and_added_to(tmp_path: Path, format: str) -> None:
    path = {"mbtiles": mbtiles_of, "gpkg": geopackage_of}[format](tmp_path / f"a.{format}")
    assert sniff(path) == format
    assert held(path) == OLD and verify(path).exit_code == 0
    new = make(tmp_path / "new", {**OLD, **MORE}, format="compactv2")
    run_loop(diff(path, new, tmp_path / "delta"))
    copy = tmp_path / f"b.{format}"
    copy.write_bytes(path.read_bytes())
    run_loop(apply(tmp_path / "delta", copy))
    assert run_loop(merge([new], path)).exit_code == 0
    assert held(path) == held(copy) == {**OLD, **MORE}
    assert verify(path, deep=True).exit_code == verify(copy, deep=True).exit_code == 0
    assert run_loop(convert(new, path, overwrite=True)).exit_code == 0
    assert held(path) == {**OLD, **MORE}
