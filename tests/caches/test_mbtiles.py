"""What MBTiles adds to the promises of a cache: the TMS flip, metadata, other programs' files, pictures stored once."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mercantile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harvester.caches.mbtiles import MBTilesWriter, open_reader, open_writer
from harvester.caches.mbtiles_pictures import Pictures
from harvester.caches.mbtiles_reader import STAMP
from harvester.caches.mbtiles_schema import DEDUP, DEDUP_SCHEMA
from harvester.database import Database
from harvester.durable import Disk
from harvester.edges import ServiceInfo, Stored, Subject, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.tiling.google import google_scheme
from harvester.tiling.scheme import GOOGLE_ORIGIN, GOOGLE_WIDTH, Box, Lod, TilingScheme
from harvester.tiling.tile import BlockKey, Tile, block_of, tms_row
from tests.contracts.cache_contract import body_of, stored

SCHEME = google_scheme()


def subject(
    *,
    scheme: TilingScheme = SCHEME,
    levels: Sequence[int] = (8, 9),
    tile_format: TileFormat = TileFormat.PNG,
    extent: Box | None = None,
    **info: Any,
) -> Subject:
    facts: dict[str, Any] = {"name": "Streets", "attribution": "Example Maps", "description": "Roads", **info}
    service = ServiceInfo(
        source="https://gis.example.org/MapServer",
        identity="https://gis.example.org/mapserver",
        kind="arcgis-map",
        scheme=scheme,
        extent=None,
        tile_format=tile_format,
        **facts,
    )
    return Subject(info=service, levels=tuple(levels), extent=extent, generator="harvester 1.2.3")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.mbtiles"


def writing(
    path: Path, act: Callable[[MBTilesWriter], Awaitable[Any]], about: Subject | None = None, **options: Any
) -> Any:
    async def run() -> Any:
        given = {"dedup": False, "disk": Disk(), **options}
        writer = await open_writer(path, about or subject(), **given)
        try:
            return await act(writer)
        finally:
            await writer.close()

    return asyncio.run(run())


def fill(
    path: Path, batch: Sequence[Stored], about: Subject | None = None, *, finish: bool = True, **options: Any
) -> list[str]:
    async def act(writer: MBTilesWriter) -> list[str]:
        await writer.store(batch)
        if finish:
            await writer.finish(about or subject())
        return writer.notices

    notices: list[str] = writing(path, act, about, **options)
    return notices


def query(path: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def execute(path: Path, *statements: str | tuple[str, Sequence[object]]) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(*(statement if isinstance(statement, tuple) else (statement,)))
    connection.commit()
    connection.close()


def metadata(path: Path) -> dict[str, str]:
    return dict(query(path, "SELECT name, value FROM metadata"))


# ------------------------------------------------------------------------------------------------ addresses


@given(st.integers(0, 30).flatmap(lambda zoom: st.tuples(st.just(zoom), st.integers(0, (1 << zoom) - 1))))
def test_the_flip_is_its_own_inverse_and_turns_the_top_row_into_the_highest(address: tuple[int, int]) -> None:
    zoom, row = address
    assert tms_row(zoom, tms_row(zoom, row)) == row
    assert tms_row(zoom, 0) == (1 << zoom) - 1


def test_rows_are_counted_from_the_bottom_inside_the_file(path: Path) -> None:
    fill(path, stored([Tile(11, 791, 327)]), subject(levels=[11]))
    assert query(path, "SELECT zoom_level, tile_column, tile_row FROM tiles") == [(11, 327, 1256)]


def test_a_grid_that_starts_elsewhere_and_counts_levels_otherwise_lands_on_its_zoom(path: Path) -> None:
    step = GOOGLE_WIDTH / 2**7
    scheme = TilingScheme(
        crs=SCHEME.crs,
        origin_x=-GOOGLE_ORIGIN + 3 * step,
        origin_y=GOOGLE_ORIGIN - 5 * step,
        tile_width=256,
        tile_height=256,
        lods=tuple(Lod(level=n, resolution=step / 256 / 2**n, scale=1000.0 / 2**n) for n in range(4)),
    )
    about = subject(scheme=scheme, levels=[0, 2])
    tiles = [Tile(0, 1, 1), Tile(2, 6, 9)]

    async def act(writer: MBTilesWriter) -> list[bool]:
        await writer.store(stored(tiles))
        return [bool(writer.present(block_of(tile)).flat[block_of(tile).position(tile)]) for tile in tiles]

    assert writing(path, act, about) == [True, True]
    with open_reader(path) as reader:
        assert list(reader.levels()) == [7, 9]
        assert reader.read(7, 6, 4) == body_of(tiles[0])
        assert reader.read(9, 26, 21) == body_of(tiles[1])


def test_a_level_off_the_grid_is_refused_by_name_before_a_file_is_made(path: Path) -> None:
    odd = replace(SCHEME, lods=(*SCHEME.lods[:9], Lod(level=9, resolution=250.0, scale=1e6)))
    with pytest.raises(UnsupportedFormatError) as caught:
        fill(path, [], subject(scheme=odd))
    assert "LOD 9" in caught.value.message
    assert "tpkx" in caught.value.hint
    assert not path.exists()


def test_two_levels_of_one_zoom_are_refused(path: Path) -> None:
    twice = replace(SCHEME, lods=(SCHEME.lods[8], replace(SCHEME.lods[8], level=9)))
    with pytest.raises(UnsupportedFormatError) as caught:
        fill(path, [], subject(scheme=twice))
    assert "both zoom 8" in caught.value.message


def test_lerc_is_refused(path: Path) -> None:
    with pytest.raises(UnsupportedFormatError):
        fill(path, [], subject(tile_format=TileFormat.LERC))
    with pytest.raises(UnsupportedFormatError):
        fill(path, [Stored(Tile(9, 0, 0), b"Lerc2 ", "lerc")])


def test_a_tile_outside_the_world_is_refused(path: Path) -> None:
    with pytest.raises(UnsupportedFormatError):
        fill(path, stored([Tile(9, 0, 512)]))


def test_nothing_is_made_before_the_first_tile(path: Path) -> None:
    async def nothing(writer: MBTilesWriter) -> None:
        assert not writer.present(block_of(Tile(9, 0, 0))).any()
        assert writer.stamps([]) == {None: ""}

    writing(path, nothing)
    assert not path.exists()


HOSTILE = ("[" * 200_000, '{"stamp": "a", "changes": Infinity, "kinds": {}}', "[]", "{")


@pytest.mark.parametrize("text", HOSTILE, ids=["deep", "infinite", "list", "cut"])
def test_a_file_whose_state_is_nonsense_is_taken_for_one_that_another_program_wrote(path: Path, text: str) -> None:
    fill(path, stored([Tile(9, 1, 1)]))
    with sqlite3.connect(path) as connection:
        changed = connection.execute("UPDATE metadata SET value = ? WHERE name = ?", (text, STAMP)).rowcount
    connection.close()
    assert changed == 1
    fill(path, stored([Tile(9, 1, 2)]))
    assert query(path, "SELECT count(*) FROM tiles") == [(2,)]


# ------------------------------------------------------------------------------------------------ GDAL


def picture(tile: Tile, width: int = 256) -> bytes:
    shade = np.add.outer(np.arange(width) * 3, np.arange(width) * 5 + tile.row * 11 + tile.col * 17) % 256
    pixels = np.stack([shade, shade[::-1], np.full_like(shade, tile.col % 256)], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("dedup", [False, True])
def test_gdal_sees_each_tile_where_it_belongs_pixel_by_pixel(path: Path, dedup: bool) -> None:
    import rasterio
    from rasterio.windows import from_bounds

    tiles = [Tile(9, row, col) for row in (150, 151) for col in (270, 271, 272)]
    fill(path, [Stored(tile, picture(tile), "png") for tile in tiles], subject(levels=[9]), dedup=dedup)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as opened:
            assert opened.driver == "MBTiles"
            for tile in tiles:
                box = mercantile.xy_bounds(tile.col, tile.row, tile.level)
                window = from_bounds(*box, transform=opened.transform).round_offsets().round_lengths()
                pixels = opened.read([1, 2, 3], window=window)
                wanted = np.asarray(Image.open(io.BytesIO(picture(tile)))).transpose(2, 0, 1)
                assert np.array_equal(pixels, wanted), tile


# ------------------------------------------------------------------------------------------------ metadata


def test_the_metadata_is_complete(path: Path) -> None:
    extent = Box(-1_000_000.0, 5_000_000.0, 1_000_000.0, 7_000_000.0)
    about = subject(extent=extent, levels=[0, 9])
    west_south, east_north = SCHEME.tile_at(9, -999_999, 5_000_001), SCHEME.tile_at(9, 999_999, 6_999_999)
    fill(path, stored([Tile(0, 0, 0), west_south, east_north]), about)
    rows = metadata(path)
    west, south, east, north = map(float, rows["bounds"].split(","))
    low, high = mercantile.lnglat(-1_000_000, 5_000_000), mercantile.lnglat(1_000_000, 7_000_000)
    assert (west, south, east, north) == pytest.approx((low.lng, low.lat, high.lng, high.lat), abs=1e-9)
    lon, lat, zoom = map(float, rows["center"].split(","))
    assert west < lon < east and south < lat < north and zoom == 4
    assert (rows["minzoom"], rows["maxzoom"]) == ("0", "9")
    assert rows["name"] == "Streets"
    assert rows["format"] == "png"
    assert rows["attribution"] == "Example Maps"
    assert rows["description"] == "Roads"
    assert (rows["type"], rows["version"]) == ("overlay", "1.0.0")
    assert rows["generator"] == "harvester 1.2.3"
    assert query(path, "PRAGMA application_id") == [(0x4D504258,)]
    assert query(path, "PRAGMA page_size") == [(16384,)]


def test_bounds_of_the_world_have_all_their_digits(path: Path) -> None:
    fill(path, stored([Tile(0, 0, 0)]), subject(levels=[0]))
    assert metadata(path)["bounds"] == "-180,-85.0511287798066,180,85.0511287798066"


def test_bounds_reach_tiles_that_an_earlier_job_stored_outside_of_this_one_s_area(path: Path) -> None:
    fill(path, stored([Tile(9, 100, 100)]))
    small = Box(*mercantile.xy_bounds(300, 300, 9))
    fill(path, stored([Tile(9, 300, 300)]), subject(extent=small))
    west, south, east, north = map(float, metadata(path)["bounds"].split(","))
    first, second = mercantile.bounds(100, 100, 9), mercantile.bounds(300, 300, 9)
    assert (west, north) == pytest.approx((first.west, first.north))
    assert (east, south) == pytest.approx((second.east, second.south))


def test_an_earlier_job_run_again_changes_nothing(path: Path) -> None:
    fill(path, stored([Tile(9, 100, 100)]))
    west, south, east, north = mercantile.xy_bounds(30, 30, 8)
    fill(path, stored([Tile(8, 30, 30)]), subject(extent=Box((west + east) / 2, south, east, north), levels=[8]))
    before = path.read_bytes()
    fill(path, [])
    assert path.read_bytes() == before


def test_512_pixel_tiles_are_noted_and_read_back_as_such(path: Path) -> None:
    scheme = replace(
        SCHEME,
        tile_width=512,
        tile_height=512,
        lods=tuple(Lod(level=n, resolution=GOOGLE_WIDTH / 256 / 2**n, scale=1.0) for n in range(1, 5)),
    )
    fill(path, [Stored(Tile(2, 1, 1), picture(Tile(2, 1, 1), 512), "png")], subject(scheme=scheme, levels=[2]))
    rows = metadata(path)
    assert (rows["minzoom"], rows["tile_size"]) == ("1", "512")
    assert "source level 1 is zoom 0, 2 is zoom 1" in rows["note"]
    with open_reader(path) as reader:
        assert reader.info.scheme.tile_width == 512
        assert reader.info.scheme.google(1) == (1, 0, 0)


def test_the_commonest_type_of_a_mixed_service_is_its_format_with_a_notice(path: Path) -> None:
    batch = [
        *stored([Tile(9, 1, 1)]),
        *(Stored(Tile(9, 2, col), b"\xff\xd8\xff" + bytes([col]), "jpg") for col in (1, 2)),
    ]
    notices = fill(path, batch, subject(tile_format=TileFormat.MIXED))
    assert metadata(path)["format"] == "jpg"
    assert "2 jpg, 1 png" in notices[-1]
    assert "its format says jpg" in fill(path, [], subject(tile_format=TileFormat.MIXED))[-1]


def test_vector_tiles_have_the_json_row_that_the_specification_asks_for(path: Path) -> None:
    about = subject(tile_format=TileFormat.PBF)
    fill(path, [Stored(Tile(9, 1, 1), b"\x1f\x8b\x08rest", "pbf")], about)
    rows = metadata(path)
    assert (rows["format"], rows["json"]) == ("pbf", '{"vector_layers": []}')
    with open_reader(path) as reader:
        assert reader.info.tile_format is TileFormat.PBF


def test_what_a_person_wrote_into_the_metadata_stays(path: Path) -> None:
    fill(path, stored([Tile(9, 1, 1)]))
    execute(
        path, "UPDATE metadata SET value = 'My map' WHERE name = 'name'", "INSERT INTO metadata VALUES ('legend', 'x')"
    )
    fill(path, stored([Tile(9, 2, 1)]))
    assert metadata(path)["name"] == "My map"
    assert metadata(path)["legend"] == "x"


# MapLibre's own test file "v1" and its hash.
KNOWN = ((3, 6, 7, b"root"), (5, 0, 0, b"same"), (5, 0, 1, b""), (5, 1, 1, b"edit-v1"), (5, 1, 2, b""))
KNOWN += ((5, 1, 3, b"non-empty"), (5, 2, 2, b"remove"), (5, 2, 3, b""), (6, 0, 3, b"same"), (6, 0, 5, b"1-keep-1-rm"))
KNOWN += ((6, 1, 4, b"edit-v1"), (6, 2, 6, b"1-keep-1-rm"))


def test_the_hash_over_all_tiles_is_the_one_that_other_tools_compute(path: Path) -> None:
    assert hashlib.md5(b"".join(f"{z}{x}{y}".encode() + d for z, x, y, d in KNOWN)).hexdigest().upper() == (
        "9ED9178D7025276336C783C2B54D6258"
    )
    tiles = [(z, x, y, data) for z, x, y, data in KNOWN if data]
    batch = [Stored(Tile(z, tms_row(z, y), x), data, "png") for z, x, y, data in reversed(tiles)]
    for dedup in (False, True):
        target = path.with_name(f"{dedup}.mbtiles")
        fill(target, batch, subject(levels=[3, 5, 6]), dedup=dedup, hash=True)
        wanted = hashlib.md5(b"".join(f"{z}{x}{y}".encode() + d for z, x, y, d in tiles)).hexdigest().upper()
        assert metadata(target)["agg_tiles_hash"] == wanted


def test_a_hash_that_tiles_have_outgrown_goes_or_is_made_anew(path: Path) -> None:
    fill(path, stored([Tile(9, 1, 1)]), hash=True)
    first, before = metadata(path)["agg_tiles_hash"], path.read_bytes()
    fill(path, [], hash=True)
    assert path.read_bytes() == before
    fill(path, stored([Tile(9, 1, 2)]), hash=True)
    assert metadata(path)["agg_tiles_hash"] not in ("", first)
    fill(path, stored([Tile(9, 1, 3)]))
    assert "agg_tiles_hash" not in metadata(path)


# ------------------------------------------------------------------------------------------------ other programs' files

FLAT_OTHER = "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB)"
SHARED_OTHER = (
    "CREATE TABLE map (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_id TEXT, grid_id TEXT)",
    "CREATE TABLE images (tile_data BLOB, tile_id TEXT)",
    "CREATE VIEW tiles AS SELECT map.zoom_level AS zoom_level, map.tile_column AS tile_column,"
    " map.tile_row AS tile_row, images.tile_data AS tile_data FROM map JOIN images ON images.tile_id = map.tile_id",
)
NUMBERED_OTHER = (
    "CREATE TABLE tiles_shallow (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data_id INTEGER,"
    " PRIMARY KEY (zoom_level, tile_column, tile_row)) WITHOUT ROWID",
    "CREATE TABLE tiles_data (tile_data_id INTEGER PRIMARY KEY, tile_data BLOB)",
    "CREATE VIEW tiles AS SELECT tiles_shallow.zoom_level AS zoom_level, tiles_shallow.tile_column AS tile_column,"
    " tiles_shallow.tile_row AS tile_row, tiles_data.tile_data AS tile_data FROM tiles_shallow"
    " JOIN tiles_data ON tiles_shallow.tile_data_id = tiles_data.tile_data_id",
)
META = "CREATE TABLE metadata (name TEXT, value TEXT)"
OLD = Tile(9, 5, 5)


def other(path: Path, kind: str) -> None:
    row = tms_row(9, OLD.row)
    if kind == "flat":
        put: list[Any] = [FLAT_OTHER, ("INSERT INTO tiles VALUES (9, 5, ?, ?)", (row, body_of(OLD)))]
        put.append(("INSERT INTO tiles VALUES (9, 6, ?, NULL), (9, 7, ?, x'')", (row, row)))
    elif kind == "shared":
        put = [*SHARED_OTHER, ("INSERT INTO map VALUES (9, 5, ?, 'a', NULL), (9, 6, ?, 'gone', NULL)", (row, row))]
        put.append(("INSERT INTO images VALUES (?, 'a')", (body_of(OLD),)))
    else:
        put = [*NUMBERED_OTHER, ("INSERT INTO tiles_shallow VALUES (9, 5, ?, 1)", (row,))]
        put.append(("INSERT INTO tiles_data VALUES (1, ?)", (body_of(OLD),)))
    execute(path, META, "INSERT INTO metadata VALUES ('name', 'Theirs'), ('format', 'png')", *put)


@pytest.mark.parametrize("kind", ["flat", "shared", "numbered"])
def test_another_program_s_file_is_read_whatever_is_in_it(path: Path, kind: str) -> None:
    other(path, kind)
    before, changed = path.read_bytes(), path.stat().st_mtime_ns
    with open_reader(path) as reader:
        assert reader.info.name == "Theirs"
        assert reader.read(*OLD) == body_of(OLD)
        assert reader.read(9, 5, 6) is None
        assert int(reader.present(block_of(OLD)).sum()) == 1
        assert [tile for tile, _ in reader.tiles(block_of(OLD))] == [OLD]
        assert bool(list(reader.check())) == (kind != "numbered")
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == changed
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["flat", "shared", "numbered"])
def test_another_program_s_file_is_extended_in_its_own_layout(path: Path, kind: str) -> None:
    other(path, kind)
    tables = (
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'harvester%' ORDER BY name"
    )
    layout = query(path, tables)
    batch = [
        *stored([OLD], version=2),
        *stored([Tile(9, 5, 6), Tile(9, 200, 300)]),
        Stored(Tile(8, 1, 1), body_of(OLD), "png"),
    ]
    notices = fill(path, batch, dedup=kind == "flat")
    assert "goes on so" in notices[0]
    assert query(path, tables) == layout
    with open_reader(path) as reader:
        for tile, body, _ in batch:
            assert reader.read(*tile) == body
        assert list(reader.check()) == []
        assert reader.info.name == "Theirs"
    assert metadata(path)["maxzoom"] == "9"


@pytest.mark.parametrize(
    "statements",
    [
        (FLAT_OTHER.replace("tiles", "t"), "CREATE VIEW tiles AS SELECT * FROM t WHERE zoom_level < 9"),
        (FLAT_OTHER.replace("tiles", "tiles_with_hash"), "CREATE VIEW tiles AS SELECT * FROM tiles_with_hash"),
        (*SHARED_OTHER[:2], SHARED_OTHER[2] + " WHERE map.zoom_level < 9"),
        (FLAT_OTHER.replace("BLOB)", "BLOB, owner TEXT NOT NULL)"),),
    ],
)
def test_a_layout_that_cannot_be_extended_is_refused_and_left_alone(path: Path, statements: tuple[str, ...]) -> None:
    execute(path, META, *statements)
    before = path.read_bytes()
    with pytest.raises(CacheError) as caught:
        fill(path, stored([OLD]))
    assert caught.value.code == "schema"
    assert "merge" in caught.value.hint
    assert path.read_bytes() == before
    open_reader(path).close()


def test_a_file_that_holds_a_tile_twice_is_refused_and_left_alone(path: Path) -> None:
    other(path, "flat")
    execute(path, "INSERT INTO tiles SELECT * FROM tiles")
    before = query(path, "SELECT count(*) FROM tiles")
    with pytest.raises(CacheError) as caught:
        fill(path, stored([OLD]))
    assert caught.value.code == "schema"
    assert query(path, "SELECT count(*) FROM tiles") == before
    assert f"zoom {OLD.level}, column {OLD.col}" in caught.value.message
    with open_reader(path) as reader:
        assert not any("more than once" in damage.what for damage in reader.check()), "both rows say the same"


def test_a_database_of_something_else_is_refused(path: Path) -> None:
    execute(path, "CREATE TABLE people (name)")
    for opening in (lambda: open_reader(path), lambda: fill(path, stored([OLD]))):
        with pytest.raises(CacheError) as caught:
            opening()
        assert caught.value.code == "not_a_cache"


def test_tiles_of_another_size_or_kind_are_refused(path: Path) -> None:
    fill(path, [Stored(OLD, picture(OLD, 512), "png")], subject(scheme=google_scheme(512)))
    with pytest.raises(CacheError) as caught:
        fill(path, stored([OLD]))
    assert "tile size 512 x 512 is not 256 x 256" in caught.value.message
    with pytest.raises(CacheError):
        fill(path, [], subject(tile_format=TileFormat.PBF))


def test_a_file_without_metadata_is_read_by_what_its_tiles_are(path: Path) -> None:
    jpeg = io.BytesIO()
    Image.new("RGB", (512, 512)).save(jpeg, "JPEG")
    execute(path, FLAT_OTHER, ("INSERT INTO tiles VALUES (3, 1, 1, ?)", (jpeg.getvalue(),)))
    with open_reader(path) as reader:
        assert reader.info.tile_format is TileFormat.JPEG
        assert reader.info.scheme.tile_width == 512
        assert reader.info.extent is None


@pytest.mark.parametrize("word", ["jpg", "jpeg", "JPEG", "image/jpeg"])
def test_jpeg_goes_by_many_names(path: Path, word: str) -> None:
    fill(path, stored([OLD]))
    execute(path, ("UPDATE metadata SET value = ? WHERE name = 'format'", (word,)))
    with open_reader(path) as reader:
        assert reader.info.tile_format is TileFormat.JPEG


def test_a_wal_file_is_read_without_making_another_file_and_is_extended(path: Path) -> None:
    other(path, "flat")
    query(path, "PRAGMA journal_mode=WAL")
    before = path.read_bytes()
    with open_reader(path) as reader:
        assert reader.read(*OLD) == body_of(OLD)
        assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
    fill(path, stored([Tile(9, 1, 1)]))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with open_reader(path) as reader:
        assert reader.read(9, 1, 1) == body_of(Tile(9, 1, 1))


def test_tiles_that_another_program_took_out_change_the_stamp(path: Path) -> None:
    async def stamp(writer: MBTilesWriter) -> Any:
        return writer.stamps([])[None]

    fill(path, stored([OLD, Tile(9, 5, 6)]))
    before = writing(path, stamp)
    assert writing(path, stamp) == before
    execute(path, "DELETE FROM tiles WHERE tile_column = 5")
    after = writing(path, stamp)
    assert after != before
    fill(path, [])
    assert writing(path, stamp) == after


def test_a_block_comes_in_order_whatever_its_tiles_weigh(path: Path) -> None:
    """Of tiles whose block is larger than an answer may be, some rows are asked for at a time."""
    places = [(row, col) for row in range(90) for col in range(0, 128, 9)]
    sizes = {Tile(9, 128 + row, 256 + col): 40_000 if 30 <= row < 60 else 9 for row, col in places}
    batch = [Stored(tile, f"{tile}".encode().ljust(size, b"."), "png") for tile, size in sizes.items()]
    fill(path, random.Random(1).sample(batch, len(batch)))
    with open_reader(path) as reader:
        for _ in range(2):
            assert list(reader.tiles(BlockKey(9, 128, 256))) == [(each.tile, each.body) for each in batch]


# ------------------------------------------------------------------------------------------------ pictures once


def pictures(path: Path) -> int:
    return int(query(path, "SELECT count(*) FROM tiles_data")[0][0])


def same(tiles: Sequence[Tile], body: bytes) -> list[Stored]:
    return [Stored(tile, body, "png") for tile in tiles]


def test_identical_tiles_are_stored_once_over_batches_and_runs(path: Path) -> None:
    sea = body_of(OLD)
    for row in range(3):
        fill(path, same([Tile(9, row, col) for col in range(50)], sea), dedup=True)
    assert pictures(path) == 1
    assert query(path, "SELECT count(*) FROM tiles") == [(150,)]


def test_a_file_numbers_its_pictures_and_stores_each_once_over_batches(path: Path) -> None:
    async def act(writer: MBTilesWriter) -> None:
        for row in range(3):
            batch = [*same([Tile(9, row, col) for col in range(40)], b"sea"), *same([Tile(9, row, 40)], b"%d" % row)]
            await writer.store([*batch, *same([Tile(9, row, 41)], b"large" * 20_000)])
        await writer.finish(subject())

    writing(path, act, dedup=True)
    assert query(path, "SELECT tile_data_id, length(tile_data) FROM tiles_data ORDER BY rowid") == [
        (1, 3), (2, 1), (3, 100_000), (4, 1), (5, 1)
    ]  # fmt: skip
    fill(path, [*same([Tile(9, 5, 5)], b"sea"), *same([Tile(9, 0, 40)], b"later")], dedup=True)
    with open_reader(path) as reader:
        assert [reader.read(9, row, 40) for row in range(3)] == [b"later", b"1", b"2"]
        assert reader.read(9, 2, 41) == b"large" * 20_000
        assert reader.read(9, 1, 7) == reader.read(9, 5, 5) == b"sea"
    assert (2,) not in query(path, "SELECT tile_data_id FROM tiles_data")


def test_every_picture_of_a_file_is_found_by_whoever_adds_to_it(path: Path) -> None:
    fill(path, [*same([Tile(9, 0, col) for col in range(9)], b"sea"), *same([Tile(9, 1, 0)], b"1")], dedup=True)
    fill(path, [*same([Tile(9, 2, col) for col in range(9)], b"sea"), *same([Tile(9, 2, 9)], b"1")], dedup=True)
    assert sorted(body for (body,) in query(path, "SELECT tile_data FROM tiles_data")) == [b"1", b"sea"]

    async def act(writer: MBTilesWriter) -> None:
        await writer.store(same([Tile(9, row, col) for row in (0, 2) for col in range(9)], b"land"))
        await writer.finish(subject())
        await writer.store(same([Tile(9, 0, 0)], b"sea"))
        await writer.finish(subject())

    writing(path, act, dedup=True)
    assert sorted(body for (body,) in query(path, "SELECT tile_data FROM tiles_data")) == [b"1", b"land", b"sea"]
    with open_reader(path) as reader:
        assert (reader.read(9, 0, 0), reader.read(9, 2, 8)) == (b"sea", b"land")


def test_a_number_is_confirmed_by_the_picture_s_bytes(path: Path) -> None:
    """All pictures are of one length and one hash here: each looks like the one before."""
    rows = {(9, col, 3): b"%02d" % (col % 5) for col in range(30)}

    async def run() -> None:
        database = await Database.open(path, disk=Disk())
        for sql in DEDUP:
            await database.execute(sql)
        pictures = Pictures(database, DEDUP_SCHEMA, complete=True, hashes=None, hashing=lambda body: 7)
        for first in range(0, 30, 6):
            await pictures.put(dict(list(rows.items())[first : first + 6]))
        await database.close()

    asyncio.run(run())
    assert query(path, "SELECT tile_data FROM tiles ORDER BY tile_column") == [(body,) for body in rows.values()]


def test_numbers_of_a_batch_that_failed_are_given_again(path: Path) -> None:
    disk = FullDisk()

    async def act(writer: MBTilesWriter) -> None:
        with pytest.raises(CacheError):
            await writer.store(same([Tile(9, 0, 0)], b"lost"))
        disk.full = False
        await writer.store([*same([Tile(9, 0, 1)], b"lost"), *same([Tile(9, 0, 2)], b"kept")])
        await writer.finish(subject())

    writing(path, act, dedup=True, disk=disk)
    assert query(path, "SELECT tile_data_id, tile_data FROM tiles_data") == [(1, b"lost"), (2, b"kept")]


def test_a_picture_that_no_tile_uses_any_more_goes(path: Path) -> None:
    first, second = Tile(9, 1, 1), Tile(9, 1, 2)
    fill(path, [*same([first, second], b"shared"), *same([Tile(9, 1, 3)], b"alone")], dedup=True)
    fill(path, [*same([first], b"new"), *same([Tile(9, 1, 3)], b"new")], dedup=True)
    assert pictures(path) == 2

    async def remove(writer: MBTilesWriter) -> None:
        await writer.remove([second])
        await writer.finish(subject())

    writing(path, remove, dedup=True)
    assert query(path, "SELECT tile_data FROM tiles_data") == [(b"new",)]


def test_pictures_left_over_by_a_run_that_never_finished_go_with_the_next(path: Path) -> None:
    fill(path, same([OLD], b"old"), dedup=True)
    fill(path, same([OLD], b"new"), dedup=True, finish=False)
    assert pictures(path) == 2
    fill(path, [], dedup=True)
    assert pictures(path) == 1


# ------------------------------------------------------------------------------------------------ trouble


class FullDisk(Disk):
    full = True

    def step(self, name: str, path: Path) -> None:
        if self.full and name == "sqlite_commit":
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("dedup", [False, True])
def test_a_batch_that_failed_left_nothing_and_the_next_one_works(path: Path, dedup: bool) -> None:
    disk = FullDisk()
    disk.full = False

    async def act(writer: MBTilesWriter) -> None:
        await writer.store(stored([OLD]))
        before = writer.stamps([])
        disk.full = True
        with pytest.raises(CacheError) as caught:
            await writer.store(stored([OLD, Tile(9, 6, 6)], version=2))
        assert caught.value.code == "disk_full"
        assert "bytes were refused" in caught.value.message
        assert writer.stamps([]) == before
        with open_reader(path) as reader:
            assert reader.read(*OLD) == body_of(OLD)
            assert reader.read(9, 6, 6) is None
        disk.full = False
        await writer.store(stored([Tile(9, 6, 6)], version=2))

    async def stamp(writer: MBTilesWriter) -> Any:
        return writer.stamps([])

    writing(path, act, dedup=dedup, disk=disk)
    assert "+" not in writing(path, stamp, dedup=dedup)[None]
    with open_reader(path) as reader:
        assert reader.read(9, 6, 6) == body_of(Tile(9, 6, 6), 2)
        assert list(reader.check()) == []


def test_a_truncated_file_is_damaged_and_left_alone(path: Path) -> None:
    fill(path, stored([Tile(9, row, col) for row in range(20) for col in range(20)]))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    for opening in (lambda: open_reader(path), lambda: fill(path, stored([OLD]))):
        with pytest.raises(CacheError) as caught:
            opening()
        assert caught.value.code == "damaged"
        assert "Move the file away" in caught.value.hint
    assert path.read_bytes() == data[: len(data) // 2]


def test_an_overwritten_page_is_found_when_opened_for_writing(path: Path) -> None:
    fill(path, stored([Tile(9, row, col) for row in range(40) for col in range(20)]))
    data = bytearray(path.read_bytes())
    data[-16384:-16000] = b"\xa5" * 384
    path.write_bytes(data)
    with pytest.raises(CacheError) as caught:
        fill(path, stored([OLD]))
    assert caught.value.code == "damaged"


HALF_WRITTEN = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size=2")
connection.execute("PRAGMA journal_mode=TRUNCATE")
connection.execute("BEGIN")
connection.execute("UPDATE tiles SET tile_data = randomblob(60000)")
connection.execute("INSERT INTO tiles SELECT 8, tile_column, tile_row, randomblob(60000) FROM tiles")
os._exit(9)
"""


@pytest.mark.parametrize("how", ["read", "write"])
def test_what_a_killed_writer_left_half_written_is_rolled_back(path: Path, how: str) -> None:
    tiles = [Tile(9, 0, col) for col in range(20)]
    fill(path, stored(tiles))
    subprocess.run([sys.executable, "-c", HALF_WRITTEN, str(path)], check=False, timeout=60)
    assert path.with_name(path.name + "-journal").stat().st_size > 0
    if how == "write":
        fill(path, stored([OLD]))
    with open_reader(path) as reader:
        for tile in tiles:
            assert reader.read(*tile) == body_of(tile)
        assert list(reader.check()) == []
    assert [file.name for file in path.parent.iterdir()] == [path.name]


class ReadOnly(Disk):
    def step(self, name: str, path: Path) -> None:
        if name == "open":
            raise PermissionError(13, "Permission denied")


def test_a_file_that_may_not_be_written_is_refused_before_anything_is_asked(path: Path) -> None:
    fill(path, stored([OLD]))

    async def nothing(writer: MBTilesWriter) -> None: ...

    with pytest.raises(CacheError) as caught:
        writing(path, nothing, disk=ReadOnly())
    assert caught.value.code == "permission"
