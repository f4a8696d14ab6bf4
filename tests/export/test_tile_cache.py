"""export_tile_cache: what is in the new cache is what the old one held of the scales and the area, byte for byte."""

from __future__ import annotations

import inspect
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
import shapely

import harvester
from harvester.edges import TileFormat
from harvester.errors import CacheError, UnsupportedFormatError, UsageError
from harvester.events import Event, Notice
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.tiling.tile import Tile
from tests.delta.making import make, picture

SCALES = [591657527.591555 / 2**level for level in range(5)]

NORTH_EAST = shapely.box(10, 10, 60, 60)


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """LODs 0 to 4 of a service in several formats, by format."""
    folder = tmp_path_factory.mktemp("caches")
    found = {}
    with FaultyService(ArcGisSite()) as service:
        for format, name in (("tpkx", "a.tpkx"), ("compact", "compact"), ("mbtiles", "a.mbtiles")):
            job = harvester.Job(source=service.url, policies=(harvester.Policy(lods=((0, 4),)),))
            assert harvester.run(job.with_options(output=folder / name, format=format)).complete
            found[format] = folder / name
    return found


def held(path: Path | str) -> dict[Tile, bytes]:
    with harvester.open_cache(path) as cache:
        return {
            tile: body for level in cache.levels() for key in cache.blocks(level) for tile, body in cache.tiles(key)
        }


def test_the_seven_parameters_have_arcpys_names_order_and_defaults():
    parameters = inspect.signature(harvester.export_tile_cache).parameters.values()
    assert [one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD] == [
        "in_cache_source", "in_target_cache_folder", "in_target_cache_name", "export_cache_type",
        "storage_format_type", "scales", "area_of_interest",
    ]  # fmt: skip
    assert [one.default for one in parameters][3:5] == ["TILE_CACHE", "COMPACT_V2"]


@pytest.mark.parametrize("source", ["tpkx", "compact", "mbtiles"])
@pytest.mark.parametrize(
    ("cache_type", "storage", "place", "format"),
    [
        ("TILE_CACHE", "COMPACT", "Target/Layers", "compact"),
        ("TILE_CACHE", "#", "Target/Layers", "compactv2"),
        ("tile_cache", "Exploded", "Target/Layers", "exploded"),
        ("TILE_PACKAGE", "COMPACT", "Target.tpk", "tpk"),
        ("TILE_PACKAGE_TPKX", "", "Target.tpkx", "tpkx"),
    ],
)
def test_every_tile_of_the_scales_is_copied_byte_for_byte(caches, tmp_path, source, cache_type, storage, place, format):
    out = harvester.export_tile_cache(caches[source], tmp_path / "new", "Target", cache_type, storage, SCALES[1:4])
    assert Path(out) == tmp_path / "new" / place
    assert held(out) == {tile: body for tile, body in held(caches[source]).items() if 1 <= tile.level <= 3}
    with harvester.open_cache(out) as cache:
        assert cache.info.format == format
        assert list(cache.check()) == []
    assert {path.name for path in Path(out).parent.iterdir()} == {Path(out).name}


def test_without_scales_and_area_all_that_the_cache_holds_is_copied(caches, tmp_path):
    out = harvester.export_tile_cache(str(caches["compact"]), str(tmp_path), "All.tpk", "TILE_PACKAGE")
    assert Path(out).name == "All.tpk"
    assert held(out) == held(caches["compact"])


def test_an_area_copies_the_tiles_whose_inside_meets_it(caches, tmp_path):
    out = harvester.export_tile_cache(caches["tpkx"], tmp_path, "Area", scales=SCALES[1:3], area_of_interest=NORTH_EAST)
    assert set(held(out)) == {Tile(1, 0, 1), Tile(2, 1, 2)}


def test_what_exists_is_never_touched(caches, tmp_path):
    before = caches["tpkx"].read_bytes()
    with pytest.raises(CacheError, match="there already"):
        harvester.export_tile_cache(caches["compact"], caches["tpkx"].parent, "a", "TILE_PACKAGE_TPKX")
    assert caches["tpkx"].read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": [7]}, "no LOD at scale 7"),
        ({"area_of_interest": shapely.Point(1, 1)}, "buffer|enclose nothing"),
        ({"export_cache_type": "TILE_PACKAGE", "storage_format_type": "EXPLODED"}, "storage_format_type: EXPLODED"),
        ({"export_cache_type": "PILE"}, "export_cache_type: 'PILE'"),
        ({"in_target_cache_name": "../x"}, "in_target_cache_name"),
        ({"in_target_cache_name": ""}, "in_target_cache_name"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(caches, tmp_path, arguments, message):
    given = {"in_cache_source": caches["tpkx"], "in_target_cache_folder": tmp_path / "new", "in_target_cache_name": "x"}
    with pytest.raises(UsageError, match=message):
        harvester.export_tile_cache(**{**given, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_selection_without_a_tile_and_a_source_that_is_none_leave_nothing(tmp_path):
    with FaultyService(ArcGisSite(absent=lambda tile: tile.col > 0)) as service:
        job = harvester.Job(source=service.url, policies=(harvester.Policy(lods=((0, 2),)),))
        harvester.run(job.with_options(output=tmp_path / "west"))
    target = tmp_path / "new"
    with pytest.raises(UsageError, match="holds no tile of this selection"):
        harvester.export_tile_cache(tmp_path / "west", target, "x", "TILE_PACKAGE", "", SCALES[2:3], NORTH_EAST)
    with pytest.raises(CacheError):
        harvester.export_tile_cache(tmp_path / "none", target, "x")
    assert not target.exists()


def test_an_unfinished_run_into_the_same_place_is_left_alone(caches, tmp_path):
    with FaultyService(ArcGisSite()) as service:
        job = harvester.Job(source=service.url, policies=(harvester.Policy(lods=((0, 3),)),))
        harvester.run(job.with_options(output=tmp_path / "x.tpkx", max_tiles=5))
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CacheError, match="not finished"):
        harvester.export_tile_cache(caches["compact"], tmp_path, "x", "TILE_PACKAGE_TPKX")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_a_killed_export_left_is_cleared_away(caches, tmp_path):
    left = tmp_path / "x" / "Layers.new" / "_alllayers" / "L00"
    left.mkdir(parents=True)
    (left / "R0000C0000.bundle").write_bytes(b"half")
    with pytest.raises(CacheError, match=r"Layers\.new is there"):  # nothing says whose it is
        harvester.export_tile_cache(caches["tpkx"], tmp_path, "x", scales=SCALES[3])
    (tmp_path / "x" / "Layers.lock").write_text("\npid 1 on there\nmakes .new\n")
    out = harvester.export_tile_cache(caches["tpkx"], tmp_path, "x", scales=SCALES[3])
    assert {tile.level for tile in held(out)} == {3}
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["Layers"]


def test_a_damaged_cache_is_refused_not_copied_with_holes(caches, tmp_path):
    shutil.copytree(caches["compact"], tmp_path / "damaged")
    index = next((tmp_path / "damaged").rglob("L03/*.bundlx"))
    data = bytearray(index.read_bytes())
    data[16:21] = (1 << 39).to_bytes(5, "little")  # the first entry points far beyond the bundle
    index.write_bytes(data)
    with pytest.raises(CacheError, match="3/0/0"):
        harvester.export_tile_cache(tmp_path / "damaged", tmp_path / "new", "x")
    assert not (tmp_path / "new").exists()


def test_tiles_that_only_the_manifest_knows_of_are_not_left_out_in_silence(caches, tmp_path):
    shutil.copy(caches["mbtiles"], tmp_path / "gone.mbtiles")
    with closing(sqlite3.connect(tmp_path / "gone.mbtiles")) as database, database:
        database.execute("DELETE FROM tiles WHERE zoom_level = 4 AND tile_column = 3")
    with pytest.raises(CacheError, match="LOD 4: 16 of the 256 tiles"):
        harvester.export_tile_cache(tmp_path / "gone.mbtiles", tmp_path / "new", "x")
    assert not (tmp_path / "new").exists()


def test_a_cache_whose_run_is_not_complete_is_exported_with_a_word_of_it(tmp_path):
    told: list[Event] = []
    with FaultyService(ArcGisSite()) as service:
        job = harvester.Job(source=service.url, policies=(harvester.Policy(lods=((0, 4),)),))
        harvester.run(job.with_options(output=tmp_path / "some.mbtiles", max_tiles=30))
    out = harvester.export_tile_cache(tmp_path / "some.mbtiles", tmp_path, "x", "TILE_PACKAGE", on_event=told.append)
    assert len(held(out)) == 30
    assert any("is not complete: 0 failed, 311 pending" in one.text for one in told if isinstance(one, Notice))


def test_a_package_whose_entries_somebody_compressed_is_exported_as_one_that_apps_open(caches, tmp_path):
    with zipfile.ZipFile(caches["tpkx"]) as old, zipfile.ZipFile(tmp_path / "zipped.tpkx", "w") as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry), zipfile.ZIP_DEFLATED)
    out = harvester.export_tile_cache(tmp_path / "zipped.tpkx", tmp_path, "x", "TILE_PACKAGE_TPKX")
    assert held(out) == held(caches["tpkx"])
    with zipfile.ZipFile(out) as package:
        assert {entry.compress_type for entry in package.infolist()} == {zipfile.ZIP_STORED}


def test_an_export_that_fails_half_way_leaves_nothing(caches, tmp_path):
    shutil.copy(caches["mbtiles"], tmp_path / "heavy.mbtiles")
    with closing(sqlite3.connect(tmp_path / "heavy.mbtiles")) as database:
        heavy = b"\x89PNG" + bytes(17_000_000)  # more than an entry of a bundle's index can say
        database.execute("UPDATE tiles SET tile_data = ? WHERE zoom_level = 3 AND tile_column = 0", (heavy,))
        database.commit()
    with pytest.raises(CacheError, match="bytes; a bundle holds"):
        harvester.export_tile_cache(tmp_path / "heavy.mbtiles", tmp_path / "new", "x")
    assert not (tmp_path / "new").exists()


def test_notices_reach_the_caller(caches, tmp_path):
    told: list[object] = []
    area = {"type": "Polygon", "coordinates": [[[0, 0], [40, 40], [40, 0], [0, 40], [0, 0]]]}
    harvester.export_tile_cache(caches["tpkx"], tmp_path, "x", area_of_interest=area, on_event=told.append)
    assert any("repaired" in one.text for one in told if isinstance(one, Notice))


def test_vector_tiles_are_not_packed_into_a_tile_package(tmp_path):
    from harvester.edges import Stored, TileFormat
    from tests.caches.making import subject, write

    about = subject(levels=(0,), tile_format=TileFormat.PBF)
    write(tmp_path / "vector", about, [Stored(Tile(0, 0, 0), b"\x1f\x8b" + bytes(40), "pbf")])
    with harvester.open_cache(tmp_path / "vector") as cache:
        if cache.info.tile_format is not TileFormat.PBF:
            pytest.fail("the fixture is no vector cache")
    with pytest.raises(UnsupportedFormatError):
        harvester.export_tile_cache(tmp_path / "vector", tmp_path / "new", "x", "TILE_PACKAGE")


def test_how_the_tiles_are_encoded_comes_along(tmp_path):
    tiles = {Tile(2, 1, 1): picture(4, kind="JPEG")}
    facts = {"tile_format": TileFormat.JPEG, "compression_quality": 55.0}
    made = make(tmp_path / "in.mbtiles", tiles, format="mbtiles", **facts)
    out = harvester.export_tile_cache(made, tmp_path, "out")
    with harvester.open_cache(out) as cache:
        assert (cache.info.tile_format, cache.info.details["compressionQuality"]) == (TileFormat.JPEG, "55")
