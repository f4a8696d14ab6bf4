"""The manifest: in every format, of the same tiles the same hashes, counted as they pass or by reading, never stale."""

from __future__ import annotations

import json
import sqlite3
import zipfile

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from harvester.audit import verify
from harvester.caches.counted import manifest_of, sum_of_block
from harvester.caches.open import FORMATS, open_cache, open_writer
from harvester.delta.join import convert, merge
from harvester.durable import Disk
from harvester.edges import Stored
from harvester.loop import run_loop
from harvester.manifest import HeldLod, Manifest, TileSum, counted_from
from harvester.tiling.google import google_scheme
from harvester.tiling.tile import Tile
from tests.caches.making import mercator, rio, utm
from tests.delta.making import SUFFIX, about, held, make, picture, some

TILES = some("0/0/0", "1/0/1", "1/1/0", "9/130/127", "9/130/128", "9/257/3")
RASTERS = tuple(name for name in FORMATS if name != "vtpk")
FOREIGN = tuple(name for name in RASTERS if not FORMATS[name].google_only)


def read(path):
    with open_cache(path) as reader:
        found = manifest_of(reader)
        counted = {}
        for level in reader.levels():
            total = TileSum()
            for key in reader.blocks(level):
                total.join(sum_of_block(reader, key))
            counted[level] = (total.tiles, total.size, total.text)
    assert found is not None
    assert {lod.level: (lod.tiles, lod.size, lod.hash) for lod in found.lods} == counted
    return found


@pytest.mark.parametrize("format", RASTERS)
def test_every_format_carries_source_policies_and_the_same_hashes(tmp_path, format):
    first = make(tmp_path / "first", TILES, format="compactv2", policies=("LODs 0-9, area.geojson",))
    path = tmp_path / f"out{SUFFIX[format]}"
    run_loop(convert(first, path, format=format))
    wanted, found = read(first), read(path)
    assert found.source == wanted.source or FORMATS[format].google_only
    assert "Streets" in found.source
    assert found.attribution == "© Example & Söhne <gis>"
    assert found.policies == ("LODs 0-9, area.geojson",)
    assert [(lod.tiles, lod.size, lod.hash) for lod in found.lods] == [
        (lod.tiles, lod.size, lod.hash) for lod in wanted.lods
    ]
    assert verify(path, deep=True).exit_code == 0


@pytest.mark.parametrize("scheme", [utm(), rio()], ids=["utm", "rio"])
def test_a_foreign_grid_has_the_same_hashes_in_every_format_that_holds_it(tmp_path, scheme):
    tiles = some("0/20/30", "1/40/60", "3/162/240", "4/3/2")
    first = make(tmp_path / "first", tiles, format="compactv2", scheme=scheme)
    for format in FOREIGN:
        path = tmp_path / f"out-{format}{SUFFIX[format]}"
        run_loop(convert(first, path, format=format))
        assert [lod.hash for lod in read(path).lods] == [lod.hash for lod in read(first).lods], format


def test_the_document_lies_where_a_person_finds_it_without_us(tmp_path):
    path = {
        name: make(tmp_path / f"out-{name}{SUFFIX[name]}", TILES, format=name)
        for name in ("mbtiles", "gpkg", "tpkx", "tpk", "compactv2", "xyz")
    }
    documents = []
    with sqlite3.connect(path["mbtiles"]) as connection:
        documents += [
            json.loads(connection.execute("SELECT value FROM metadata WHERE name = 'manifest'").fetchone()[0])
        ]
    with sqlite3.connect(path["gpkg"]) as connection:
        sql = "SELECT metadata FROM gpkg_metadata WHERE md_standard_uri = 'urn:harvester:manifest'"
        documents += [json.loads(connection.execute(sql).fetchone()[0])]
    for name in ("tpkx", "tpk"):
        with zipfile.ZipFile(path[name]) as archive:
            documents += [json.loads(archive.read("manifest.json"))]
    documents += [json.loads((path["compactv2"] / "manifest.json").read_text("utf-8"))]
    documents += [json.loads((path["xyz"] / "tiles.json").read_text("utf-8"))["manifest"]]
    for document in documents:
        assert document["source"] == "https://gis.example.org/arcgis/rest/services/Streets/MapServer"
        # As anybody would compute it: on the Google grid 2^(z-1) rows and columns lie before the point 0, 0.
        finest = document["lods"][-1]
        total = 0
        for tile, body in TILES.items():
            if tile.level == 9:
                row, col = (number - 256 & 0xFFFFFFFF for number in (tile.row, tile.col))
                total += xxhash.xxh3_128_intdigest(body, seed=row << 32 | col)
        assert (finest["tiles"], finest["hash"]) == (3, f"{total % 2**128:032x}")


def test_a_tile_has_the_same_numbers_whatever_origin_its_format_counts_from():
    arcgis, google = mercator(), google_scheme(256, 19)
    assert [counted_from(arcgis, n) for n in range(20)] == [counted_from(google, n) for n in range(20)]


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.binary(min_size=1, max_size=40)), max_size=9))
def test_the_hash_asks_for_no_order_and_parts_add_up(tiles):
    def total(some):
        found = TileSum()
        for row, col, body in some:
            found.add(row, col, body)
        return found

    whole = total(tiles)
    assert total(reversed(tiles)).text == whole.text
    one, other = total(tiles[::2]), total(tiles[1::2])
    one.join(other)
    assert (one.text, one.tiles, one.size) == (whole.text, whole.tiles, whole.size)


def test_other_places_and_other_bytes_are_other_hashes():
    texts = set()
    for row, col, body in ((1, 2, b"x"), (2, 1, b"x"), (1, 2, b"y"), (-1, 2, b"x"), (1, -2, b"x"), (1, 2, b"xx")):
        found = TileSum()
        found.add(row, col, body)
        texts.add(found.text)
    assert len(texts) == 6


def test_what_is_read_back_is_what_was_written_and_nonsense_is_no_manifest():
    lod = HeldLod(level=3, resolution=0.1, tiles=2, size=9, hash="0" * 32)
    manifest = Manifest(source="https://a/b", attribution="©", policies=("all LODs",), lods=(lod,))
    assert Manifest.parse(manifest.text()) == manifest
    for text in ("", "[]", "{}", '{"manifest": 2}', '{"manifest": 1}', manifest.text()[:-3], "null"):
        assert Manifest.parse(text) is None


APPENDABLE = [name for name, each in FORMATS.items() if not each.sealed]


class Watched:
    """A reader that notes which blocks are read."""

    def __init__(self, reader, looked):
        self._reader, self._looked = reader, looked

    def __getattr__(self, name):
        return getattr(self._reader, name)

    def tiles(self, key):
        self._looked.append(key)
        return self._reader.tiles(key)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._reader.close()


@pytest.mark.parametrize("format", APPENDABLE)
def test_only_blocks_where_tiles_were_replaced_or_taken_out_are_read_again(tmp_path, format):
    path, told = tmp_path / f"out{SUFFIX[format]}", about(TILES)
    looked = []
    stored = [Stored(tile, body, "png") for tile, body in TILES.items()]
    memory = None

    async def session(change):
        writer = await open_writer(format, path, told, disk=Disk())
        look = writer.look
        writer.look = lambda: Watched(look(), looked)
        try:
            writer.recall(memory)
            await change(writer)
            await writer.finish(told)
            return json.loads(json.dumps(writer.remembered()))
        finally:
            await writer.close()

    async def both(writer):
        await writer.store(stored[:4])
        await writer.store(stored[4:])

    memory = run_loop(session(both))
    assert not looked
    assert sum(lod.tiles for lod in read(path).lods) == 6

    async def nothing(writer):
        pass

    # The next run knows what the one before it counted.
    memory = run_loop(session(nothing))
    assert not looked
    later = Stored(Tile(9, 130, 127), picture(77), "png")

    async def replace_and_remove(writer):
        await writer.store([later])
        await writer.remove([Tile(9, 257, 3)])

    memory = run_loop(session(replace_and_remove))
    assert {key.level for key in looked} <= ({9} if memory["whole"] == "" else {0, 1, 9})
    assert held(path)[later.tile] == later.body
    assert [(lod.level, lod.tiles) for lod in read(path).lods] == [(0, 1), (1, 2), (9, 2)]

    # Who changed the cache in between is not overlooked.
    async def store_one(writer):
        await writer.store([Stored(Tile(9, 130, 128), picture(78), "png")])

    before, memory = memory, None
    run_loop(session(store_one))
    memory = before
    run_loop(session(nothing))
    read(path)


def test_an_unfinished_cache_says_what_it_is_of_and_not_what_it_holds(tmp_path):
    from dataclasses import replace

    path, told = tmp_path / "out.mbtiles", about(TILES, policies=("all LODs",))

    async def run(finished):
        writer = await open_writer("mbtiles", path, told, disk=Disk())
        try:
            await writer.store([Stored(tile, body, "png") for tile, body in TILES.items()])
            await writer.finish(replace(told, finished=finished))
        finally:
            await writer.close()

    for finished, lods in ((False, 0), (True, 3)):
        run_loop(run(finished))
        with open_cache(path) as reader:
            manifest = manifest_of(reader)
        assert manifest is not None
        assert (manifest.policies, len(manifest.lods)) == (("all LODs",), lods)


def test_verify_deep_finds_a_tile_that_was_exchanged_or_is_gone_and_only_tells_of_more(tmp_path):
    path = make(tmp_path / "out.mbtiles", TILES, format="mbtiles")
    assert verify(path, deep=True).exit_code == 0

    def change(sql, *values):
        with sqlite3.connect(path) as connection:
            connection.execute(sql, values)
        connection.close()

    change("UPDATE tiles SET tile_data = ? WHERE zoom_level = 0", picture(500))
    assert verify(path).exit_code == 0
    found = verify(path, deep=True)
    assert (found.exit_code, found.damages[0].where) == (4, "LOD 0")
    change("DELETE FROM tiles WHERE zoom_level = 1 AND tile_column = 0")
    assert {damage.where for damage in verify(path, deep=True).damages} == {"LOD 0", "LOD 1"}
    other = make(tmp_path / "more.mbtiles", TILES, format="mbtiles")
    path = other
    change("INSERT INTO tiles VALUES (9, 9, 9, ?)", picture(501))
    found = verify(other, deep=True)
    assert found.exit_code == 0
    assert "1 tiles more" in " ".join(found.notices)


def test_policies_of_all_parts_are_kept_once(tmp_path):
    one = make(tmp_path / "one.tpkx", some("3/1/1"), format="tpkx", policies=("a", "b"))
    other = make(tmp_path / "two.mbtiles", some("3/1/2"), format="mbtiles", policies=("b", "c"))
    run_loop(merge([one, other], tmp_path / "both.pmtiles"))
    assert read(tmp_path / "both.pmtiles").policies == ("a", "b", "c")
    # Also into a package that is there.
    third = make(tmp_path / "three.mbtiles", some("3/1/3"), format="mbtiles", policies=("d",))
    run_loop(merge([third], tmp_path / "both.pmtiles"))
    assert read(tmp_path / "both.pmtiles").policies == ("a", "b", "c", "d")


def test_the_same_tiles_make_the_same_package_whatever_order_they_came_in(tmp_path):
    for format in ("tpk", "tpkx", "pmtiles"):
        found = {
            make(tmp_path / f"{n}{SUFFIX[format]}", dict(tiles), format=format, policies=("p",)).read_bytes()
            for n, tiles in enumerate((list(TILES.items()), list(TILES.items())[::-1]))
        }
        assert len(found) == 1, format
