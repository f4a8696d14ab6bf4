"""A database in which anybody keeps more than tiles is added to, and not replaced."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harvester.caches.foreign_tables import foreign_part
from harvester.caches.open import open_cache
from harvester.durable import Disk
from harvester.errors import CacheError
from harvester.output import OutputPaths, swap
from harvester.tiling.tile import Tile
from tests.caches.making import mercator
from tests.cli.test_whose_it_is import refused
from tests.delta.making import make, picture
from tests.e2e.claims import HASTY, held

OWN = {Tile(1, row, col): picture(2 * row + col) for row in range(2) for col in range(2)}
OTHER = {Tile(1, 0, 0): picture(9), Tile(2, 3, 3): picture(10)}

FEATURES = (
    "CREATE TABLE houses (fid INTEGER PRIMARY KEY AUTOINCREMENT, geom BLOB, name TEXT)",
    "INSERT INTO houses (name) VALUES ('mine')",
    "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) VALUES ('houses', 'features', 'houses', 0)",
)
ATTRIBUTES = (
    "CREATE TABLE houses (fid INTEGER PRIMARY KEY, name TEXT)",
    "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('houses', 'attributes', 'houses')",
)
UNLISTED = ("CREATE TABLE houses (id INTEGER, name TEXT)",)
A_VIEW = ("CREATE VIEW houses AS SELECT zoom_level FROM tiles",)
SECOND_TILES = (
    "CREATE TABLE houses (id INTEGER PRIMARY KEY, zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER,"
    " tile_data BLOB)",
    "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) SELECT 'houses', 'tiles', 'h', srs_id"
    " FROM gpkg_contents LIMIT 1",
    "INSERT INTO gpkg_tile_matrix_set SELECT 'houses', srs_id, min_x, min_y, max_x, max_y FROM gpkg_tile_matrix_set",
    "INSERT INTO gpkg_tile_matrix SELECT 'houses', zoom_level, matrix_width, matrix_height, tile_width, tile_height,"
    " pixel_x_size, pixel_y_size FROM gpkg_tile_matrix",
)
SURVEYED = ("ALTER TABLE tiles ADD COLUMN surveyed_by TEXT", "UPDATE tiles SET surveyed_by = 'Ann'")
OWN_PICTURES = ("CREATE TABLE Images (tile_id TEXT, tile_data BLOB)", "INSERT INTO Images VALUES ('a', x'00')")
OWN_MAP = (
    "CREATE TABLE map (zoom_level, tile_column, tile_row, tile_id, note TEXT)",
    "INSERT INTO map VALUES (1, 1, 1, 'a', 'dig here')",
)
GEOCODER = ("CREATE TABLE geocoder_data (type TEXT, shard INTEGER, data BLOB)",)
METADATA = "INSERT INTO gpkg_metadata (id, md_standard_uri, metadata) VALUES (99, 'http://iso', '<notes/>')"
REFERENCE = "INSERT INTO gpkg_metadata_reference (reference_scope, table_name, md_file_id) VALUES ({}, 99)"
EXTENSION = "INSERT INTO gpkg_extensions VALUES ('tiles', NULL, 'ann_ext', 'http://ann', 'read-write')"
CONTENTS = ("ALTER TABLE gpkg_contents ADD COLUMN note TEXT",)
NAMED_LIKE_OURS = ("CREATE TABLE images (id INTEGER, title TEXT)",)


@pytest.fixture
def url(serve):
    return serve().url


def add(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for sql in statements:
            connection.execute(sql)


@pytest.mark.parametrize(
    ("output", "statements", "name"),
    [
        ("topo.gpkg", FEATURES, "houses"),
        ("topo.gpkg", ATTRIBUTES, "houses"),
        ("topo.gpkg", SECOND_TILES, "houses"),
        ("topo.gpkg", UNLISTED, "houses"),
        ("topo.gpkg", A_VIEW, "houses"),
        ("topo.mbtiles", UNLISTED, "houses"),
        ("topo.mbtiles", A_VIEW, "houses"),
        ("topo.mbtiles", NAMED_LIKE_OURS, "images"),
        ("topo.mbtiles", OWN_PICTURES, "Images"),
        ("topo.mbtiles", OWN_MAP, "map"),
        ("topo.mbtiles", (*GEOCODER, "INSERT INTO geocoder_data (shard) VALUES (1)"), "geocoder_data"),
        ("topo.mbtiles", SURVEYED, "tiles"),
        ("topo.gpkg", SURVEYED, "tiles"),
        ("topo.gpkg", CONTENTS, "gpkg_contents"),
        ("topo.gpkg", (METADATA,), "gpkg_metadata"),
        ("topo.gpkg", (METADATA, REFERENCE.format("'geopackage', NULL")), "gpkg_metadata"),
        ("topo.gpkg", (METADATA, REFERENCE.format("'row', 'tiles'")), "gpkg_metadata"),
        ("topo.gpkg", (EXTENSION,), "gpkg_extensions"),
    ],
)
def test_a_database_with_a_table_of_somebodys_is_added_to_and_not_replaced(
    cli, url, tmp_path, output, statements, name
):
    format = output.rpartition(".")[2]
    make(tmp_path / output, OWN, format=format)
    add(tmp_path / output, *statements)
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    for verb in (
        ("run", url, "--lods", "0", "-o", output, *HASTY),
        ("convert", "in.mbtiles", output),
        ("merge", "in.mbtiles", "-o", output),
    ):
        refused(cli, tmp_path, *verb, "--mode", "overwrite", code=4, words=(f"the table {name},", "not replaced"))
    assert cli("convert", "in.mbtiles", output).code == 0
    assert set(held(tmp_path / output)) == {*OWN, *OTHER} and str(foreign_part(tmp_path / output, format)).endswith(
        name
    )


NOISY = "CREATE TRIGGER noisy AFTER INSERT ON tiles BEGIN UPDATE metadata SET value = 'x' WHERE name = 'seen'; END"
STRICT = (
    "CREATE TRIGGER strict BEFORE INSERT ON tiles BEGIN"
    " SELECT RAISE(ABORT, 'insert on table tiles violates a constraint') WHERE NEW.zoom_level < 0; END"
)
SRS = (
    "INSERT INTO gpkg_spatial_ref_sys (srs_name, srs_id, organization, organization_coordsys_id, definition)"
    " VALUES ('{0}', {1}, '{2}', {1}, 'PROJCS[mine]')"
)


@pytest.mark.parametrize(
    ("output", "sql", "words"),
    [
        ("topo.mbtiles", NOISY, "the trigger noisy"),
        ("topo.gpkg", NOISY.replace("metadata", "gpkg_contents").replace("value", "description"), "the trigger noisy"),
        ("topo.gpkg", SRS.format("mine", 200001, "Ann"), "row 200001 (Ann) of the table gpkg_spatial_ref_sys"),
        ("topo.gpkg", SRS.format("mine", 100007, "NONE"), "row 100007 (NONE) of the table gpkg_spatial_ref_sys"),
        ("topo.mbtiles", STRICT, None),
        ("topo.gpkg", STRICT, None),
        ("topo.gpkg", SRS.format("UTM", 32633, "EPSG"), None),
        ("topo.mbtiles", "CREATE INDEX mine ON tiles (tile_row)", None),
    ],
)
def test_what_somebody_made_a_database_do_or_defined_in_it_is_not_replaced(cli, tmp_path, output, sql, words):
    format = output.rpartition(".")[2]
    make(tmp_path / output, OWN, format=format)
    add(tmp_path / output, sql.replace("name = 'seen'", "table_name = ''") if format == "gpkg" else sql)
    assert foreign_part(tmp_path / output, format) == words
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    overwrite = ("convert", "in.mbtiles", output, "--mode", "overwrite")
    if words is None:
        assert cli(*overwrite).code == 0 and held(tmp_path / output) == OTHER
        return
    refused(cli, tmp_path, *overwrite, code=4, words=(words, "not replaced"))
    assert cli("convert", "in.mbtiles", output).code == 0
    assert foreign_part(tmp_path / output, format) == words


@pytest.mark.parametrize(("statements", "way"), [((), True), (UNLISTED, False)])
def test_to_replace_it_is_advised_where_it_would_be_replaced(cli, tmp_path, statements, way):
    make(tmp_path / "topo.gpkg", OWN, format="gpkg")
    # As another program's: a table that has no zoom beyond its own.
    add(tmp_path / "topo.gpkg", *statements, "DELETE FROM gpkg_metadata", "DELETE FROM gpkg_metadata_reference")
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    result = cli("convert", "in.mbtiles", "topo.gpkg")
    assert result.code == 4 and "another tiling scheme" in result.err and ("--mode overwrite" in result.err) is way


@pytest.mark.parametrize("is_theirs", [False, True])
@pytest.mark.parametrize("output", ["topo.mbtiles", "topo.gpkg", "topo.tpkx", "xyz", "compactv2", "exploded"])
def test_whatever_does_not_fit_the_hint_is_taken(cli, url, tmp_path, output, is_theirs):
    """A source of another kind or tile size, and another source: what is advised is not refused then."""
    format = output.rpartition(".")[2]
    path = make(tmp_path / output, OWN, format=format)
    make(tmp_path / "large.tpkx", {Tile(1, 0, 0): picture(9, 512)}, format="tpkx", scheme=mercator(size=512))
    if is_theirs and path.is_dir():
        (path / "notes.txt").write_text("mine")
    elif is_theirs and format != "tpkx":
        add(path, *UNLISTED)
    way = not is_theirs or format == "tpkx"
    convert = ("convert", "large.tpkx", output, "--format", format)
    result = cli(*convert)
    assert result.code == 4 and "tile size" in result.err, result.err
    assert ("--mode overwrite" in result.err) is way
    assert cli(*convert, "--mode", "overwrite").code == (0 if way else 4)


def test_a_geopackage_without_tiles_is_nobodys_to_replace(cli, url, tmp_path):
    make(tmp_path / "project.gpkg", OWN, format="gpkg")
    add(
        tmp_path / "project.gpkg",
        *FEATURES,
        *(f"DELETE FROM {table}" for table in ("gpkg_tile_matrix", "gpkg_tile_matrix_set")),
        "DELETE FROM gpkg_contents WHERE data_type = 'tiles'",
        "DROP TABLE tiles",
    )
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    for mode in ("merge", "overwrite"):
        for verb in (
            ("run", url, "--lods", "0", "-o", "project.gpkg", *HASTY),
            ("convert", "in.mbtiles", "project.gpkg"),
            ("merge", "in.mbtiles", "-o", "project.gpkg"),
        ):
            refused(cli, tmp_path, *verb, "--mode", mode, code=4, words=("project.gpkg",))
    refused(cli, tmp_path, "diff", "in.mbtiles", "in.mbtiles", "-o", "project.gpkg", code=4, words=("houses",))


@pytest.mark.parametrize("format", ["mbtiles", "gpkg"])
def test_a_tile_that_is_replaced_by_a_merge_keeps_its_row_and_what_other_columns_say_of_it(cli, tmp_path, format):
    make(tmp_path / f"topo.{format}", OWN, format=format)
    add(tmp_path / f"topo.{format}", *SURVEYED)
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    rows = "SELECT rowid, surveyed_by FROM tiles WHERE zoom_level = 1 ORDER BY rowid"
    with closing(sqlite3.connect(tmp_path / f"topo.{format}")) as connection:
        before = connection.execute(rows).fetchall()
    assert cli("merge", "in.mbtiles", "-o", f"topo.{format}").code == 0
    assert held(tmp_path / f"topo.{format}") == OWN | OTHER
    with closing(sqlite3.connect(tmp_path / f"topo.{format}")) as connection:
        assert connection.execute(rows).fetchall() == before
        assert connection.execute("SELECT surveyed_by FROM tiles WHERE zoom_level = 2").fetchall() == [(None,)]


@pytest.mark.parametrize("format", ["mbtiles", "gpkg"])
def test_a_delta_with_a_table_of_somebodys_is_not_replaced(cli, tmp_path, format):
    make(tmp_path / "old.mbtiles", OWN, format="mbtiles")
    make(tmp_path / "new.mbtiles", OWN | OTHER, format="mbtiles")
    diff = ("diff", "old.mbtiles", "new.mbtiles", "-o", f"delta.{format}")
    assert cli(*diff).code == 0 and cli(*diff).code == 0
    add(tmp_path / f"delta.{format}", *UNLISTED)
    refused(cli, tmp_path, *diff, code=4, words=("the table houses",))


@pytest.mark.parametrize("more", [(), ("--dedup",), ("--hash",)])
@pytest.mark.parametrize("format", ["mbtiles", "gpkg"])
def test_a_database_of_tiles_alone_is_replaced(cli, url, tmp_path, format, more):
    run = ("run", url, "--lods", "0-2", "-o", f"topo.{format}", *more, *HASTY)
    assert cli(*run).code == 0 and foreign_part(tmp_path / f"topo.{format}", format) is None
    assert cli(*run, "--mode", "overwrite").code == 0
    add(tmp_path / f"topo.{format}", "CREATE TABLE android_metadata (locale TEXT)", "ANALYZE")
    about_tiles = {"mbtiles": GEOCODER, "gpkg": (METADATA, REFERENCE.format("'table', 'tiles'"))}
    add(tmp_path / f"topo.{format}", *about_tiles[format])
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    assert cli("convert", "in.mbtiles", f"topo.{format}", "--mode", "overwrite").code == 0
    assert held(tmp_path / f"topo.{format}") == OTHER


def test_a_cache_that_is_cut_short_is_replaced_and_one_whose_tables_cannot_be_seen_is_not(cli, tmp_path):
    make(tmp_path / "topo.mbtiles", OWN, format="mbtiles")
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    whole = (tmp_path / "topo.mbtiles").read_bytes()
    overwrite = ("convert", "in.mbtiles", "topo.mbtiles", "--mode", "overwrite")
    (tmp_path / "topo.mbtiles").write_bytes(whole[:-4096])
    assert cli(*overwrite).code == 0 and held(tmp_path / "topo.mbtiles") == OTHER
    (tmp_path / "topo.mbtiles").write_bytes(whole[:100] + b"\xff" * 1000 + whole[1100:])
    refused(cli, tmp_path, *overwrite, code=4, words=("can't be seen", "Move it away"))


def test_a_table_that_came_while_the_new_cache_was_made_stays(tmp_path):
    make(tmp_path / "topo.mbtiles", OWN, format="mbtiles")
    make(tmp_path / "topo.mbtiles.new", OTHER, format="mbtiles")
    add(tmp_path / "topo.mbtiles", *UNLISTED)
    with pytest.raises(CacheError, match="the table houses"):
        swap(OutputPaths(out=tmp_path / "topo.mbtiles", sealed=False, overwrite=True), Disk())
    with open_cache(tmp_path / "topo.mbtiles") as cache:
        assert cache.read(1, 1, 1) == OWN[Tile(1, 1, 1)]
