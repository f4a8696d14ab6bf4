"""MBTiles that the verbs make are what MapLibre's ``mbtiles validate`` accepts: flat, deduplicated, or as they were."""

from __future__ import annotations

import hashlib
import sqlite3

import pytest

from harvester.delta.application import apply
from harvester.delta.difference import diff
from harvester.delta.join import convert, merge
from harvester.loop import run_loop
from tests.caches.maplibre import validate
from tests.delta.making import held, make, picture, some

OLD = some("0/0/0", "3/1/1", "3/1/2", "9/130/127") | {tile: picture(5) for tile in some("9/1/1", "9/1/2", "9/1/3")}
NEW = {**some("0/0/0", "3/1/1", first=3), **some("12/40/50", first=40)} | {tile: picture(6) for tile in some("9/1/1")}


@pytest.mark.parametrize("dedup", [False, True])
def test_what_convert_merge_diff_and_apply_make_is_accepted(tmp_path, dedup):
    kind = "tiles_shallow" if dedup else "flat"
    old, new = (make(tmp_path / name, tiles, format="tpkx") for name, tiles in (("o.tpkx", OLD), ("n.tpkx", NEW)))
    run_loop(convert(old, tmp_path / "old.mbtiles", dedup=dedup))
    assert validate(tmp_path / "old.mbtiles") == kind
    run_loop(merge([old, new], tmp_path / "both.mbtiles", dedup=dedup))
    assert validate(tmp_path / "both.mbtiles") == kind
    run_loop(diff(tmp_path / "old.mbtiles", new, tmp_path / "delta.mbtiles"))
    assert validate(tmp_path / "delta.mbtiles") == "flat"
    run_loop(apply(tmp_path / "delta.mbtiles", tmp_path / "old.mbtiles"))
    assert held(tmp_path / "old.mbtiles") == NEW
    assert validate(tmp_path / "old.mbtiles") == kind
    run_loop(diff(new, tmp_path / "old.mbtiles", tmp_path / "nothing.mbtiles"))
    assert validate(tmp_path / "nothing.mbtiles") == "flat"


@pytest.mark.parametrize(
    "hashing", [lambda body: hashlib.md5(body).hexdigest(), lambda body: hashlib.md5(body).hexdigest().upper()]
)
def test_another_programs_pictures_go_on_by_their_md5(tmp_path, hashing):
    path = tmp_path / "theirs.mbtiles"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE metadata (name TEXT, value TEXT);"
            "CREATE TABLE map (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_id TEXT);"
            "CREATE TABLE images (tile_id TEXT, tile_data BLOB);"
            "CREATE VIEW tiles AS SELECT zoom_level, tile_column, tile_row, tile_data FROM map"
            " JOIN images ON images.tile_id = map.tile_id;"
            "INSERT INTO metadata VALUES ('name', 'theirs'), ('format', 'png');"
        )
        connection.execute("INSERT INTO images VALUES (?, ?)", (hashing(picture(5)), picture(5)))
        connection.execute("INSERT INTO map VALUES (3, 3, 3, ?)", (hashing(picture(5)),))
    connection.close()
    more = make(tmp_path / "more.tpkx", OLD, format="tpkx")
    run_loop(merge([more], path))
    assert len(held(path)) == len(OLD) + 1
    assert validate(path) == "map"
