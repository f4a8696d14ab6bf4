"""What a cache says of its tiles' types after some were replaced: what they are now, not what they were."""

from __future__ import annotations

import json
import sqlite3

import pytest

from harvester.caches.counted import manifest_of
from harvester.caches.open import FORMATS, open_cache, open_writer
from harvester.delta.application import apply
from harvester.delta.difference import diff
from harvester.delta.join import convert, merge
from harvester.durable import Disk
from harvester.edges import Stored, TileFormat
from harvester.loop import run_loop
from harvester.tiling.tile import Tile
from tests.delta.making import SUFFIX, about, make, picture

PLACES = [Tile(level, row, col) for level in (0, 1, 2) for row in range(2**level) for col in range(2**level)]
PNGS = {tile: picture(number) for number, tile in enumerate(PLACES)}
JPEGS = {tile: picture(number, kind="JPEG") for number, tile in enumerate(PLACES)}
FIVE = {tile: JPEGS[tile] for tile in PLACES[:5]}
RASTERS = tuple(name for name in FORMATS if name != "vtpk")
MANY = tuple(name for name in RASTERS if name != "pmtiles")


def stated(path):
    with open_cache(path) as reader:
        return reader.info.tile_format, manifest_of(reader).format


def counted(path):
    connection = sqlite3.connect(path)
    rows = dict(connection.execute("SELECT name, value FROM metadata"))
    connection.close()
    return rows["format"], json.loads(rows["harvester_stamp"])["kinds"]


def both(tmp_path):
    old = make(tmp_path / "old.mbtiles", PNGS, format="mbtiles", tile_format=TileFormat.PNG)
    return old, make(tmp_path / "new.mbtiles", JPEGS, format="mbtiles", tile_format=TileFormat.JPEG)


@pytest.mark.parametrize("format", RASTERS)
def test_a_cache_whose_every_tile_a_delta_replaced_is_of_the_new_type(tmp_path, format):
    old, new = both(tmp_path)
    run_loop(diff(old, new, tmp_path / "delta.mbtiles"))
    out = tmp_path / f"out{SUFFIX[format]}"
    run_loop(convert(old, out, format=format))
    run_loop(apply(tmp_path / "delta.mbtiles", out))
    assert stated(out) == (TileFormat.JPEG, "JPEG")
    # A format that holds one type alone takes it.
    run_loop(convert(out, tmp_path / "again.pmtiles"))
    assert stated(tmp_path / "again.pmtiles")[0] is TileFormat.JPEG


@pytest.mark.parametrize("format", MANY)
def test_a_cache_whose_every_tile_a_merge_replaced_is_of_the_new_type(tmp_path, format):
    old, new = both(tmp_path)
    out = tmp_path / f"out{SUFFIX[format]}"
    run_loop(convert(old, out, format=format))
    told = run_loop(merge([new], out, format=format)).notices
    assert stated(out) == (TileFormat.JPEG, "JPEG")
    assert not [text for text in told if "several types" in text]


@pytest.mark.parametrize("format", MANY)
def test_a_cache_in_which_some_tiles_are_of_another_type_stays_mixed(tmp_path, format):
    old, _ = both(tmp_path)
    few = make(tmp_path / "few.mbtiles", FIVE, format="mbtiles", tile_format=TileFormat.JPEG)
    out = tmp_path / f"out{SUFFIX[format]}"
    run_loop(convert(old, out, format=format))
    run_loop(merge([few], out, format=format))
    assert stated(out)[1] == "MIXED"
    if format != "mbtiles":
        assert stated(out)[0] is TileFormat.MIXED


@pytest.mark.parametrize("format", MANY)
@pytest.mark.parametrize("verb", ["merge", "apply"])
def test_a_cache_that_was_mixed_by_its_tiles_is_of_one_type_when_the_others_are_replaced(tmp_path, format, verb):
    old, new = both(tmp_path)
    few = make(tmp_path / "few.mbtiles", FIVE, format="mbtiles", tile_format=TileFormat.JPEG)
    out = tmp_path / f"out{SUFFIX[format]}"
    run_loop(convert(old, out, format=format))
    run_loop(merge([few], out, format=format))
    assert stated(out)[1] == "MIXED"
    run_loop(merge([few], out, format=format))
    run_loop(convert(out, tmp_path / "copy.tpkx"))
    run_loop(convert(tmp_path / "copy.tpkx", tmp_path / "copy.mbtiles"))
    assert stated(tmp_path / "copy.mbtiles")[1] == "MIXED"
    for path, name in ((out, format), (tmp_path / "copy.mbtiles", "mbtiles")):
        if verb == "merge":
            run_loop(merge([new], path, format=name))
        else:
            run_loop(diff(path, new, tmp_path / f"delta-{name}.tpkx"))
            run_loop(apply(tmp_path / f"delta-{name}.tpkx", path))
        assert stated(path) == (TileFormat.JPEG, "JPEG")
        run_loop(convert(path, tmp_path / f"{name}-again.pmtiles"))


@pytest.mark.parametrize("dedup", [False, True])
def test_mbtiles_count_the_types_of_the_tiles_that_are_there(tmp_path, dedup):
    old, _ = both(tmp_path)
    most = {tile: JPEGS[tile] for tile in PLACES[5:]}
    make(tmp_path / "most.mbtiles", most, format="mbtiles", tile_format=TileFormat.JPEG)
    out = tmp_path / "out.mbtiles"
    run_loop(convert(old, out, dedup=dedup))
    told = run_loop(merge([tmp_path / "most.mbtiles"], out)).notices
    assert counted(out) == ("jpg", {"jpg": 16, "png": 5})
    assert any("(16 jpg, 5 png)" in text for text in told)


def test_a_file_that_counts_replaced_tiles_is_counted_anew_by_the_next_verb_that_finishes_it(tmp_path):
    _, new = both(tmp_path)
    connection = sqlite3.connect(new)
    text = connection.execute("SELECT value FROM metadata WHERE name = 'harvester_stamp'").fetchone()[0]
    state = json.loads(text)
    # As it was written before: with the tiles that were replaced, in one transaction more.
    state |= {"kinds": {"jpg": 21, "png": 21}, "changes": state["changes"] + 1}
    connection.execute("UPDATE metadata SET value = ? WHERE name = 'harvester_stamp'", (json.dumps(state),))
    connection.commit()
    connection.close()
    run_loop(merge([new], new))
    assert counted(new) == ("jpg", {"jpg": 21})


@pytest.mark.parametrize("format", MANY)
def test_a_source_that_says_it_has_several_types_is_believed(tmp_path, format):
    one = make(tmp_path / "one.tpkx", PNGS, format="tpkx", tile_format=TileFormat.MIXED)
    out = tmp_path / f"out{SUFFIX[format]}"
    run_loop(convert(one, out, format=format))
    assert stated(out)[1] == "MIXED"
    few = [make(tmp_path / "few.mbtiles", FIVE, format="mbtiles", tile_format=TileFormat.JPEG)]
    run_loop(merge(few, out, format=format))
    assert stated(out)[1] == "MIXED"


@pytest.mark.parametrize("format", [name for name in MANY if not FORMATS[name].sealed])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_run_that_fetches_every_tile_anew_leaves_none_of_the_old_type(tmp_path, format, earlier):
    """``earlier``: what the first run remembers is from a version that counted no types."""
    out = tmp_path / f"out{SUFFIX[format]}"
    memory = None
    for tiles, kind, tile_format in ((PNGS, "png", TileFormat.PNG), (JPEGS, "jpg", TileFormat.JPEG)):
        told = about(tiles, tile_format=tile_format)

        async def fill(tiles=tiles, kind=kind, told=told, before=memory):
            writer = await open_writer(format, out, told, disk=Disk())
            try:
                if before is not None:
                    writer.recall(before)
                await writer.store([Stored(tile, body, kind) for tile, body in tiles.items()])
                await writer.finish(told)
                return json.loads(json.dumps(writer.remembered()))
            finally:
                await writer.close()

        memory = run_loop(fill())
        if earlier:
            memory["blocks"] = [row[:7] for row in memory["blocks"]]
    assert stated(out) == (TileFormat.JPEG, "JPEG")
