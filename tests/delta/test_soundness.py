"""What cannot be read of a damaged cache is said; nothing is made of it as if it had never been there."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from harvester.audit import verify
from harvester.caches.open import open_cache
from harvester.delta.application import apply
from harvester.delta.difference import diff
from harvester.delta.join import convert, merge
from harvester.errors import CacheError
from harvester.export.tile_cache import export_tile_cache
from harvester.loop import run_loop
from harvester.tiling.tile import Tile
from tests.delta.making import held, make, picture, some


def bundle_of(cache):
    return next(cache.rglob("R*.bundle"))


def cut_to(cache, size):
    with bundle_of(cache).open("r+b") as file:
        file.truncate(size)


def without_index(cache):
    next(cache.rglob("*.bundlx")).unlink()


WHOLE_BUNDLES = {
    "cut in the header": ("compactv2", lambda cache: cut_to(cache, 30)),
    "cut in the index": ("compactv2", lambda cache: cut_to(cache, 70_000)),
    "without its index": ("compact", without_index),
}


@pytest.mark.parametrize("damage", WHOLE_BUNDLES)
def test_a_bundle_that_cannot_be_read_ends_every_verb_with_4_and_leaves_nothing(tmp_path, damage):
    format, spoil = WHOLE_BUNDLES[damage]
    good, bad = tmp_path / "good", tmp_path / "bad"
    make(good, some("0/0/0", "2/1/1", "2/1/2", "2/2/3"), format=format)
    shutil.copytree(good, bad)
    spoil(bad)
    verbs = (
        lambda: run_loop(convert(bad, tmp_path / "out.mbtiles")),
        lambda: run_loop(merge([bad], tmp_path / "out.mbtiles")),
        lambda: run_loop(diff(good, bad, tmp_path / "out.mbtiles")),
        lambda: run_loop(diff(bad, good, tmp_path / "out.mbtiles")),
        lambda: run_loop(merge([good], bad, format=format)),
        lambda: export_tile_cache(str(bad), str(tmp_path), "out", "TILE_PACKAGE_TPKX"),
    )
    for verb in verbs:
        with pytest.raises(CacheError) as raised:
            verb()
        assert raised.value.code == "damaged" and "bundl" in raised.value.message
        assert {path.name for path in tmp_path.iterdir()} <= {"good", "bad"}


def test_tiles_whose_records_are_cut_off_are_damaged_and_not_deleted(tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    make(good, some("0/0/0", "2/1/1", "2/1/2", "2/2/3"), format="compactv2")
    shutil.copytree(good, bad)
    cut_to(bad, bundle_of(bad).stat().st_size - 10)
    with open_cache(bad) as reader:
        lost = [damage.tile for damage in reader.lost()]
    assert len(lost) == 1
    summary = run_loop(convert(bad, tmp_path / "out.mbtiles"))
    assert (summary.exit_code, summary.damaged) == (1, 1)
    assert set(held(good)) - set(held(tmp_path / "out.mbtiles")) == set(lost)
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(CacheError, match=f"tile {lost[0]}"):
            run_loop(diff(*pair, tmp_path / "delta.mbtiles"))
    delta = tmp_path / "delta.mbtiles"
    run_loop(diff(good, good, delta))
    with pytest.raises(CacheError, match="damaged"):
        run_loop(apply(delta, bad))


def test_tiles_off_the_grid_are_damaged(tmp_path):
    source = tmp_path / "in.mbtiles"
    make(source, some("0/0/0", "2/1/1", "2/1/2", "2/2/3"), format="mbtiles")
    with sqlite3.connect(source) as db:
        db.execute("INSERT INTO tiles SELECT 2, 4, 0, tile_data FROM tiles LIMIT 1")
    summary = run_loop(convert(source, tmp_path / "out"))
    assert (summary.exit_code, summary.damaged) == (1, 1)


def zeroed_in(cache):
    """One tile's entry in the index of a bundle is zero, as if it had never been there."""
    bundle = bundle_of(cache)
    index = bytearray(bundle.read_bytes())
    at = next(at for at in range(64, 64 + 131072, 8) if any(index[at : at + 8]))
    with bundle.open("r+b") as file:
        file.seek(at)
        file.write(bytes(8))


def without_a_row(cache):
    with sqlite3.connect(cache) as database:
        database.execute("DELETE FROM tiles WHERE zoom_level = 2 AND tile_column = 2 AND tile_row = 2")
    database.close()


def without_its_bundle(cache):
    next(cache.rglob("L02/*.bundle")).unlink()


GONE = {
    "an entry is zero": ("compactv2", zeroed_in, 1),
    "a bundle is gone": ("compactv2", without_its_bundle, 3),
    "a row is gone": ("mbtiles", without_a_row, 1),
}


@pytest.mark.parametrize("damage", GONE)
def test_what_only_the_manifest_knows_of_is_damaged_and_not_deleted(tmp_path, damage):
    format, spoil, tiles = GONE[damage]
    suffix = {"mbtiles": ".mbtiles"}.get(format, "")
    good, bad = tmp_path / f"good{suffix}", tmp_path / f"bad{suffix}"
    make(tmp_path / "first", some("0/0/0", "2/1/1", "2/1/2", "2/2/3"), format="compactv2")
    run_loop(convert(tmp_path / "first", good, format=format))
    (shutil.copytree if good.is_dir() else shutil.copyfile)(good, bad)
    spoil(bad)
    for verb in (convert, lambda source, out: merge([source], out)):
        summary = run_loop(verb(bad, tmp_path / "out.mbtiles"))
        assert (summary.damaged, summary.exit_code) == (tiles, 1)
        assert any("manifest" in text for text in summary.notices)
        (tmp_path / "out.mbtiles").unlink()
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(CacheError, match="that its manifest counts are gone"):
            run_loop(diff(*pair, tmp_path / "delta.mbtiles"))
    assert not (tmp_path / "delta.mbtiles").exists()


ODD = {"nothing": None, "no bytes": b"", "a text": "text", "a number": 5}


def with_an_odd_tile(path, odd, *, first=True):
    """A cache of another program's, one of whose two tiles has something odd for bytes."""
    tiles = [(2, 1, 2), (2, 2, 2)]
    if path.suffix == ".gpkg":
        make(path, some("2/1/1", "2/1/2"), format="gpkg")
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE odd AS SELECT * FROM tiles")
            database.execute("DROP TABLE tiles")
            database.execute("ALTER TABLE odd RENAME TO tiles")
            database.execute("UPDATE tiles SET tile_data = ? WHERE tile_column = ?", (odd, 1 if first else 2))
            database.execute("DELETE FROM gpkg_metadata WHERE md_standard_uri LIKE '%harvester%'")
        return path
    rows = [(*place, picture(number)) for number, place in enumerate(tiles)]
    rows[0 if first else 1] = (*tiles[0 if first else 1], odd)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
        database.execute("CREATE TABLE tiles (zoom_level, tile_column, tile_row, tile_data)")
        database.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows)
    return path


@pytest.mark.parametrize("name", ["in.mbtiles", "in.gpkg"])
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_whatever_a_tile_has_for_bytes_all_verbs_call_it_damaged(tmp_path, name, odd, first):
    bad = with_an_odd_tile(tmp_path / name, ODD[odd], first=first)
    finding = verify(bad)
    assert (finding.exit_code, finding.damaged) == (4, 1)
    for number, verb in enumerate((convert, lambda path, out: merge([path], out))):
        summary = run_loop(verb(bad, tmp_path / f"out-{number}.tpkx"))
        assert (summary.exit_code, summary.tiles, summary.damaged) == (1, 1, 1)
    good = make(tmp_path / "good.mbtiles", some("2/1/1", "2/1/2"), format="mbtiles")
    # Bytes that are no tile may be replaced by a delta; of none nobody knows what they were.
    for pair in ((good, bad), (bad, good)) if not ODD[odd] else ((good, bad),):
        with pytest.raises(CacheError) as raised:
            run_loop(diff(*pair, tmp_path / "delta.mbtiles"))
        assert raised.value.code == "damaged"
        assert not (tmp_path / "delta.mbtiles").exists()


def test_a_tile_that_another_program_emptied_in_our_file_is_damaged(tmp_path):
    for format, path in (("mbtiles", tmp_path / "a.mbtiles"), ("gpkg", tmp_path / "a.gpkg")):
        make(path, some("2/1/1", "2/1/2"), format=format)
        with open_cache(path) as reader:
            assert not list(reader.lost())
        with sqlite3.connect(path) as database:
            database.execute("UPDATE tiles SET tile_data = x'' WHERE tile_column = 1")
        summary = run_loop(convert(path, tmp_path / f"{format}.tpkx"))
        assert (summary.exit_code, summary.tiles, summary.damaged) == (1, 1, 1)


def test_tiles_of_an_archive_whose_entries_lead_nowhere_are_damaged(tmp_path):
    tiles = {tile: picture(3) for tile in some("2/1/1", "2/1/2")} | some("2/3/3", first=9)
    path = make(tmp_path / "in.pmtiles", tiles, format="pmtiles")
    data = bytearray(path.read_bytes())
    stated = int.from_bytes(data[64:72], "little")
    data[64:72] = (stated - 1).to_bytes(8, "little")
    path.write_bytes(data)
    with open_cache(path) as reader:
        lost = {damage.tile for damage in reader.lost()}
    assert lost and lost < set(tiles)
    summary = run_loop(convert(path, tmp_path / "out.mbtiles"))
    assert (summary.exit_code, summary.damaged) == (1, len(lost))
    assert held(tmp_path / "out.mbtiles") == {tile: body for tile, body in tiles.items() if tile not in lost}


@pytest.mark.parametrize("dedup", [False, True])
def test_a_tile_that_is_there_twice_is_damaged_in_every_verb_unless_it_is_the_same(tmp_path, dedup):
    tiles = some("2/1/1", "2/1/2", "2/2/3")
    for name in ("same", "unlike"):
        make(tmp_path / f"{name}.mbtiles", tiles, format="mbtiles", dedup=dedup)
        with closing(sqlite3.connect(tmp_path / f"{name}.mbtiles")) as connection, connection:
            table = "tiles_shallow" if dedup else "tiles"
            connection.execute(f"DROP INDEX {'tiles_shallow_index' if dedup else 'tile_index'}")
            connection.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE tile_column = 1")
            if name == "unlike":
                other = "tile_data_id = 2" if dedup else "tile_data = x'89504e47'"
                connection.execute(f"UPDATE {table} SET {other} WHERE rowid = (SELECT max(rowid) FROM {table})")
    same, unlike = tmp_path / "same.mbtiles", tmp_path / "unlike.mbtiles"
    good = make(tmp_path / "good.mbtiles", tiles, format="mbtiles")
    assert verify(same).exit_code == 0
    assert run_loop(convert(same, tmp_path / "one")).exit_code == 0 and held(tmp_path / "one") == tiles
    run_loop(diff(good, same, tmp_path / "delta"))
    assert held(tmp_path / "delta") == {}
    found = verify(unlike)
    assert (found.exit_code, [damage.tile for damage in found.damages]) == (4, [Tile(2, 1, 1)])
    for verb in (lambda out: convert(unlike, out), lambda out: merge([unlike], out)):
        summary = run_loop(verb(tmp_path / "some"))
        assert (summary.exit_code, summary.damaged, summary.tiles) == (1, 1, 2)
        assert held(tmp_path / "some") == {tile: body for tile, body in tiles.items() if tile != Tile(2, 1, 1)}
        shutil.rmtree(tmp_path / "some")
    with open_cache(unlike) as reader:
        assert reader.read(2, 1, 1) is None
    for verb in (lambda: diff(good, unlike, tmp_path / "new"), lambda: merge([good], unlike)):
        with pytest.raises(CacheError, match="2/1/1: is there more than once"):
            run_loop(verb())
    more = make(tmp_path / "more", some("2/3/3"), format="compactv2")
    with pytest.raises(CacheError, match=r"a tile more than once \(zoom 2, column 1, TMS row 2"):
        run_loop(merge([more], same))


def test_a_geopackage_that_has_a_tile_twice_is_damaged_too(tmp_path):
    tiles = some("2/1/1", "2/1/2", "2/2/3")
    good = make(tmp_path / "good.mbtiles", tiles, format="mbtiles")
    path = make(tmp_path / "twice.gpkg", tiles, format="gpkg")
    with closing(sqlite3.connect(path)) as connection, connection:
        (table,) = connection.execute("SELECT table_name FROM gpkg_contents").fetchone()
        connection.execute(f'CREATE TABLE bare AS SELECT * FROM "{table}"')
        connection.execute(f'DROP TABLE "{table}"')
        connection.execute(f'ALTER TABLE bare RENAME TO "{table}"')
        columns = "zoom_level, tile_column, tile_row"
        connection.execute(f'INSERT INTO "{table}" SELECT 99, {columns}, x\'89504e47\' FROM "{table}" WHERE id = 1')
        twice = Tile(2, *connection.execute(f'SELECT tile_row, tile_column FROM "{table}" WHERE id = 99').fetchone())
    found = verify(path)
    assert (found.exit_code, [damage.tile for damage in found.damages]) == (4, [twice])
    summary = run_loop(convert(path, tmp_path / "some.mbtiles"))
    assert (summary.exit_code, summary.damaged) == (1, 1)
    assert held(tmp_path / "some.mbtiles") == {tile: body for tile, body in tiles.items() if tile != twice}
    with pytest.raises(CacheError, match="more than once"):
        run_loop(diff(good, path, tmp_path / "delta"))
    with open_cache(path) as reader:
        assert reader.read(*twice) is None


def test_a_file_that_cannot_be_added_to_can_be_merged_elsewhere_as_its_hint_says(tmp_path):
    tiles, more = some("2/1/1", "2/1/2"), some("2/3/3", first=9)
    path = make(tmp_path / "old.mbtiles", tiles, format="mbtiles")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP INDEX tile_index")
        connection.execute("INSERT INTO tiles SELECT * FROM tiles WHERE tile_column = 1")
    new = make(tmp_path / "new.mbtiles", more, format="mbtiles")
    with pytest.raises(CacheError, match="more than once") as caught:
        run_loop(merge([new], path))
    hint = caught.value.hint or ""
    assert "Choose another output" in hint and "one of those that harvester merge joins" in hint
    assert run_loop(merge([path, new], tmp_path / "both.mbtiles")).exit_code == 0
    assert held(tmp_path / "both.mbtiles") == {**tiles, **more}
