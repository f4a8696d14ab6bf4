"""merge: caches of one tiling scheme in one, the last argument's tile where several have it."""

from __future__ import annotations

import errno
import gzip
import sqlite3
from dataclasses import replace

import pytest
import rasterio

from harvester.audit import verify
from harvester.caches.counted import manifest_of
from harvester.caches.open import open_cache
from harvester.delta.join import convert, merge
from harvester.durable import Disk
from harvester.edges import TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.loop import run_loop
from harvester.tiling.tile import Tile
from tests.caches.making import mercator, utm
from tests.delta.making import SUFFIX, files, held, make, picture, some


def test_the_last_cache_wins_and_collisions_are_counted(tmp_path):
    same = some("3/1/1")
    one = make(tmp_path / "one.mbtiles", {**same, **some("3/2/2", "4/0/0", first=10)}, format="mbtiles")
    other = make(tmp_path / "two.tpkx", {**same, **some("3/2/2", "7/90/91", first=20)}, format="tpkx")
    for format in ("mbtiles", "compactv2", "pmtiles", "gpkg"):
        out = tmp_path / f"out-{format}{SUFFIX[format]}"
        summary = run_loop(merge([one, other], out, format=format))
        assert held(out) == {**same, **some("3/2/2", "4/0/0", first=10), **some("3/2/2", "7/90/91", first=20)}
        assert (summary.tiles, summary.collisions, summary.identical) == (4, 2, 1)


@pytest.mark.parametrize("format", ["mbtiles", "compactv2", "tpkx", "xyz", "compact"])
def test_a_cache_that_is_there_is_added_to_and_counts_least(tmp_path, format):
    out = make(tmp_path / f"out{SUFFIX[format]}", some("2/1/1", "2/1/2", "2/2/2"), format=format)
    new = {**some("2/1/1"), **some("2/1/2", "6/40/41", first=30)}
    source = make(tmp_path / "in", new, format="compactv2")
    summary = run_loop(merge([source], out, format=format))
    assert held(out) == {**some("2/1/1", "2/1/2", "2/2/2"), **new}
    assert (summary.tiles, summary.kept, summary.collisions, summary.identical) == (2, 1, 2, 1)
    before = files(out)
    assert run_loop(merge([source], out, format=format)).tiles == 0
    assert files(out) == before
    run_loop(merge([source], out, format=format, overwrite=True))
    assert held(out) == new


def test_another_scheme_is_refused_and_the_field_named(tmp_path):
    one = make(tmp_path / "one", some("1/0/1"), format="compactv2")
    for name, scheme, field in (
        ("crs", utm(), "CRS"),
        ("size", mercator(size=512), "tile size"),
        ("origin", replace(mercator(), origin_x=-20000000.0), "origin x"),
        ("resolution", replace(mercator(), lods=tuple(replace(lod, resolution=lod.resolution * 0.7)
                                                      for lod in mercator().lods)), "resolution of LOD 0"),
    ):  # fmt: skip
        tiles = {Tile(1, 0, 1): picture(4, scheme.tile_width)}
        other = make(tmp_path / name, tiles, format="compactv2", scheme=scheme)
        names = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(CacheError, match=f"another tiling scheme than .*: {field}"):
            run_loop(merge([one, other], tmp_path / "out.tpkx"))
        assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_caches_that_share_no_lod_are_of_one_scheme_all_the_same(tmp_path):
    one = make(tmp_path / "one.gpkg", some("1/0/1"), format="gpkg")
    other = make(tmp_path / "two.gpkg", some("4/9/9", first=3), format="gpkg")
    run_loop(merge([one, other], tmp_path / "out.tpkx"))
    assert held(tmp_path / "out.tpkx") == {**some("1/0/1"), **some("4/9/9", first=3)}


def test_zooms_and_a_services_own_numbers_meet_on_the_google_grid(tmp_path):
    lods = tuple(replace(lod, level=lod.level - 3) for lod in mercator().lods if lod.level >= 3)
    one = make(tmp_path / "one", some("2/1/1"), format="compactv2", scheme=replace(mercator(), lods=lods))
    other = make(tmp_path / "two.mbtiles", some("1/0/1", "5/4/4", first=5), format="mbtiles")
    run_loop(merge([one, other], tmp_path / "out.mbtiles"))
    assert held(tmp_path / "out.mbtiles") == {Tile(5, 1, 1): picture(0), **some("1/0/1", "5/4/4", first=5)}


def test_a_damaged_tile_gives_way_to_a_whole_one(tmp_path):
    one = make(tmp_path / "one", some("3/1/1"), format="compactv2")
    other = make(tmp_path / "two", {Tile(3, 1, 1): picture(9)[:40]}, format="compactv2")
    summary = run_loop(merge([one, other], tmp_path / "out"))
    assert held(tmp_path / "out") == some("3/1/1")
    assert (summary.exit_code, summary.damages[0]["source"]) == (1, str(other))


def test_both_attributions_are_kept(tmp_path):
    one = make(tmp_path / "one", some("3/1/1"), format="compactv2", attribution="© One")
    other = make(tmp_path / "two", some("3/1/2"), format="compactv2", attribution="© Two")
    run_loop(merge([one, other, one], tmp_path / "out.tpkx"))
    with open_cache(tmp_path / "out.tpkx") as reader:
        assert reader.info.attribution == "© One, © Two"


def test_vector_tiles_and_pictures_do_not_mix(tmp_path):
    import gzip

    one = make(tmp_path / "one", some("3/1/1"), format="compactv2")
    vector = {Tile(3, 1, 1): gzip.compress(b"\x1a\x02\x0a\x00")}
    other = make(tmp_path / "two.mbtiles", vector, format="mbtiles", tile_format=TileFormat.PBF)
    with pytest.raises(CacheError, match=r"holds pbf tiles, not png|tile size"):
        run_loop(merge([one, other], tmp_path / "out.mbtiles"))


def source_of(number):
    return f"https://gis.example.org/arcgis/rest/services/Streets{number}/MapServer"


def from_source(path, tiles, number, format, **facts):
    """A cache that a run of that source left."""
    return make(path, tiles, format=format, source=source_of(number), identity=source_of(number), **facts)


@pytest.mark.parametrize("format", [name for name in SUFFIX if name != "vtpk"])
def test_caches_of_different_sources_are_named_in_a_notice_and_in_the_manifest(tmp_path, format):
    one = from_source(tmp_path / f"one{SUFFIX[format]}", some("3/1/1", "4/0/0"), 1, format)
    two = from_source(tmp_path / f"two{SUFFIX[format]}", some("3/2/2", first=9), 2, format)
    three = from_source(tmp_path / f"three{SUFFIX[format]}", some("3/3/3", first=12), 3, format)
    out = tmp_path / f"out{SUFFIX[format]}"
    summary = run_loop(merge([one, two], out, format=format))
    assert f"tiles of different sources are joined: {source_of(1)}; {source_of(2)}" in summary.notices
    assert summary.notices == summary.to_dict()["notices"]
    said = manifest(out)
    assert said.sources == (source_of(1), source_of(2))
    assert said.source == f"{source_of(1)}; {source_of(2)}"
    assert [lod.tiles for lod in said.lods] == [2, 1]
    summary = run_loop(convert(three, out, format=format))
    assert any(text.endswith(f"; {source_of(3)}") for text in summary.notices)
    assert manifest(out).sources == tuple(map(source_of, (1, 2, 3)))
    again = run_loop(convert(out, tmp_path / "copy", format="compactv2"))
    assert manifest(tmp_path / "copy").sources == tuple(map(source_of, (1, 2, 3)))
    assert verify(tmp_path / "copy", deep=True).exit_code == 0
    assert again.complete


def test_one_source_is_no_news(tmp_path):
    one = from_source(tmp_path / "one", some("3/1/1"), 1, "compactv2")
    two = from_source(tmp_path / "two.mbtiles", some("3/2/2"), 1, "mbtiles")
    summary = run_loop(merge([one, two], tmp_path / "out.gpkg"))
    assert summary.notices == []
    said = manifest(tmp_path / "out.gpkg")
    assert (said.source, said.sources) == (source_of(1), ())
    assert "sources" not in said.to_dict()


@pytest.mark.parametrize("format", ["compactv2", "compact", "exploded", "xyz", "tpkx", "gpkg"])
def test_the_format_of_joined_tiles_is_that_of_all(tmp_path, format):
    pngs = from_source(tmp_path / "png", some("3/1/1"), 1, "compactv2", tile_format=TileFormat.PNG)
    jpegs = from_source(
        tmp_path / "jpg", {Tile(3, 2, 2): picture(9, kind="JPEG")}, 1, "compactv2", tile_format=TileFormat.JPEG
    )
    out = tmp_path / f"out{SUFFIX[format]}"
    run_loop(convert(pngs, out, format=format))
    run_loop(convert(jpegs, out, format=format))
    with open_cache(out) as reader:
        assert reader.info.tile_format is TileFormat.MIXED
    both = tmp_path / f"both{SUFFIX[format]}"
    run_loop(merge([pngs, jpegs], both, format=format))
    with open_cache(both) as reader:
        assert reader.info.tile_format is TileFormat.MIXED


def test_two_depths_of_png_are_png(tmp_path):
    eight = from_source(tmp_path / "8", some("3/1/1"), 1, "compactv2", format_name="PNG8")
    full = from_source(tmp_path / "32", some("3/2/2"), 1, "compactv2", format_name="PNG32")
    run_loop(merge([eight, full], tmp_path / "out"))
    run_loop(convert(full, eight))
    for name in ("out", "8"):
        with open_cache(tmp_path / name) as reader:
            assert reader.info.details["tileFormat"] == "PNG"


def manifest(path):
    with open_cache(path) as reader:
        found = manifest_of(reader)
    assert found is not None
    return found


class Full(Disk):
    """A disk that is full when the first batch is to be committed."""

    def step(self, name, path):
        if name == "sqlite_commit":
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_says_whether_the_same_command_begins_again_or_goes_on(tmp_path):
    some_tiles = make(tmp_path / "a.tpkx", some("3/1/1"), format="tpkx")
    make(tmp_path / "there.mbtiles", some("3/2/2"), format="mbtiles")
    for name, words in ("new.mbtiles", "begins anew"), ("there.mbtiles", "goes on where it stopped"):
        for work in (
            merge([some_tiles], tmp_path / name, disk=Full()),
            convert(some_tiles, tmp_path / name, disk=Full()),
        ):
            with pytest.raises(CacheError) as caught:
                run_loop(work)
            assert caught.value.code == "disk_full"
            assert words in caught.value.hint
    assert not (tmp_path / "new.mbtiles").exists()


@pytest.mark.parametrize("width", [256, 512])
@pytest.mark.parametrize("format", ["mbtiles", "pmtiles", "xyz"])
def test_vector_tiles_go_with_those_they_came_from_whatever_size_their_scheme_states(tmp_path, format, width):
    """They have no pixels that would tell it: what the scheme says is kept."""
    body = gzip.compress(b"\x1a\x05\x0a\x01a\x78\x02", mtime=0)
    facts = {"tile_format": TileFormat.PBF, "format_name": "PBF", "scheme": mercator(range(5), width)}
    source = make(tmp_path / "in", {Tile(3, 1, 1): body, Tile(4, 2, 2): body}, format="compactv2", **facts)
    out = tmp_path / f"out{SUFFIX[format]}"
    run_loop(convert(source, out, format=format))
    with open_cache(out) as reader:
        assert reader.info.scheme.tile_width == width
    assert run_loop(merge([source], out, format=format)).kept == 2
    assert run_loop(merge([out], source)).collisions == 2


@pytest.mark.parametrize(
    "parts", [((2,), (3,)), ((3,), (0,), (2, 4)), ((4,), (1,), (0,), (3,)), ((1, 3), (0, 2), (4,))]
)
def test_a_geopackage_takes_lods_in_any_order_also_where_steps_do_not_halve(tmp_path, parts):
    """Its tables are named after their first LOD: which that is depends on those that were known at the time."""
    out, model = tmp_path / "out.gpkg", {}
    for number, levels in enumerate(parts):
        tiles = {Tile(level, 5, col): picture(10 * level + col) for level in levels for col in (0, 6)}
        source = make(tmp_path / f"{number}.tpkx", tiles, format="tpkx", scheme=utm())
        run_loop(merge([source], out))
        model |= tiles
        assert held(out) == model
        assert verify(out, deep=True).sound
    connection = sqlite3.connect(out)
    outside = (
        "SELECT count(*) FROM {0} JOIN gpkg_tile_matrix m ON m.table_name = '{0}' AND m.zoom_level = {0}.zoom_level"
    )
    for (name,) in connection.execute("SELECT table_name FROM gpkg_contents").fetchall():
        sql = f"{outside.format(name)} WHERE tile_column >= matrix_width OR tile_row >= matrix_height"
        assert connection.execute(sql).fetchone() == (0,)
        with rasterio.open(f"GPKG:{out}:{name}") as dataset:
            assert dataset.width > 0
    connection.close()


def test_a_coarser_lod_leaves_room_for_what_a_geopackage_has_of_a_finer_one(tmp_path):
    """Seven columns are three and a half of the LOD before."""
    out = tmp_path / "out.gpkg"
    fine, coarse = {Tile(3, 0, 6): picture(1)}, {Tile(2, 0, 0): picture(2)}
    make(out, fine, format="gpkg", scheme=replace(utm(), lods=utm().lods[3:4]))
    make(out, coarse, format="gpkg", scheme=replace(utm(), lods=utm().lods[2:4]))
    connection = sqlite3.connect(out)
    sizes = "SELECT zoom_level, matrix_width FROM gpkg_tile_matrix WHERE zoom_level IN (2, 3) ORDER BY 1"
    assert connection.execute(sizes).fetchall() == [(2, 4), (3, 8)]
    connection.close()
    assert held(out) == fine | coarse


def test_pictures_of_two_kinds_that_a_format_cannot_hold_together_are_laid_to_none_of_the_two(tmp_path):
    one = make(tmp_path / "a", {Tile(2, 1, 1): picture(1)}, format="compactv2")
    jpeg = {Tile(2, 1, 2): picture(2, kind="JPEG")}
    other = make(tmp_path / "b", jpeg, format="compactv2", tile_format=TileFormat.JPEG)
    with pytest.raises(UnsupportedFormatError) as raised:
        run_loop(merge([one, other], tmp_path / "out.pmtiles"))
    assert f"{one} (PNG) with {other} (JPG) has MIXED tiles" in raised.value.message
