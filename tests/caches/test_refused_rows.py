"""A database whose own triggers or conditions do not take a tile: nothing of the batch is written, and the person hears
why and what to do."""

from __future__ import annotations

import sqlite3

import pytest

from harvester.delta.application import apply
from harvester.delta.difference import diff
from harvester.delta.join import merge
from harvester.errors import CacheError
from harvester.loop import run_loop
from tests.delta.making import held, make, picture, some

TILES = some("0/0/0", "1/0/1", "1/1/0")
MORE = some("2/0/0", "2/1/1")
TABLES = {"mbtiles": "tiles", "dedup": "tiles_shallow", "gpkg": "tiles"}


def cache(tmp_path, kind):
    suffix = "gpkg" if kind == "gpkg" else "mbtiles"
    return make(tmp_path / f"out.{suffix}", TILES, format=suffix, dedup=kind == "dedup")


def table_of(path, kind):
    if kind != "gpkg":
        return TABLES[kind]
    connection = sqlite3.connect(path)
    (name,) = connection.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'tiles'").fetchone()
    connection.close()
    return f'"{name}"'


def add_trigger(path, kind, does, on="INSERT"):
    connection = sqlite3.connect(path)
    connection.execute(
        f"CREATE TRIGGER theirs BEFORE {on} ON {table_of(path, kind)} WHEN new.zoom_level = 2 BEGIN SELECT {does}; END"
    )
    connection.commit()
    connection.close()


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("does", ["RAISE(IGNORE)", "RAISE(ABORT, 'read only')"])
def test_tiles_that_a_trigger_does_not_take_are_an_error_with_the_remedy(tmp_path, kind, does):
    out = cache(tmp_path, kind)
    add_trigger(out, kind, does)
    before = held(out)
    with pytest.raises(CacheError) as refused:
        run_loop(merge([make(tmp_path / "more.mbtiles", MORE, format="mbtiles")], out))
    assert refused.value.code == "refused"
    assert "write to another output" in refused.value.hint
    assert "disk" not in refused.value.hint
    assert held(out) == before


@pytest.mark.parametrize("kind", TABLES)
def test_tiles_that_a_trigger_does_not_let_be_replaced_are_an_error(tmp_path, kind):
    out = make(tmp_path / f"out.{'gpkg' if kind == 'gpkg' else 'mbtiles'}", MORE,
               format="gpkg" if kind == "gpkg" else "mbtiles", dedup=kind == "dedup")  # fmt: skip
    add_trigger(out, kind, "RAISE(IGNORE)", on="UPDATE")
    before = held(out)
    other = {tile: picture(number) for number, tile in enumerate(MORE, 900)}
    others = make(tmp_path / "more.mbtiles", other, format="mbtiles")
    with pytest.raises(CacheError) as refused:
        run_loop(merge([others], out))
    assert refused.value.code == "refused"
    assert held(out) == before


def deleting(tmp_path, out):
    """A delta that takes two tiles out of a cache."""
    less = make(tmp_path / "less.mbtiles", some("0/0/0"), format="mbtiles")
    run_loop(diff(out, less, tmp_path / "delta.mbtiles"))
    return tmp_path / "delta.mbtiles"


KEEPING = {
    "before": "BEFORE DELETE ON {table} BEGIN SELECT RAISE(IGNORE); END",
    "one": "BEFORE DELETE ON {table} WHEN old.tile_column = 1 BEGIN SELECT RAISE(IGNORE); END",
    "after": (
        "AFTER DELETE ON {table} BEGIN INSERT INTO {table} (zoom_level, tile_column, tile_row, {column})"
        " VALUES (old.zoom_level, old.tile_column, old.tile_row, old.{column}); END"
    ),
}


def keep_rows(path, kind, how):
    column = "tile_data_id" if kind == "dedup" else "tile_data"
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TRIGGER theirs {KEEPING[how].format(table=table_of(path, kind), column=column)}")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("how", KEEPING)
def test_tiles_that_a_trigger_does_not_let_go_are_an_error_and_not_told_as_deleted(tmp_path, kind, how):
    out = cache(tmp_path, kind)
    delta = deleting(tmp_path, out)
    keep_rows(out, kind, how)
    before = held(out)
    for _ in range(2):
        with pytest.raises(CacheError) as refused:
            run_loop(apply(delta, out))
        assert refused.value.code == "refused"
        assert "write to another output" in refused.value.hint
        assert held(out) == before
    connection = sqlite3.connect(out)
    connection.execute("DROP TRIGGER theirs")
    connection.commit()
    connection.close()
    assert run_loop(apply(delta, out)).deleted == 2
    assert held(out) == {tile: before[tile] for tile in some("0/0/0")}
    assert run_loop(apply(delta, out)).was_there
