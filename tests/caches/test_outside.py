"""Tiles that lie where their scheme has none: a format gives back all that it stored, or refuses to store it."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.caches.open import FORMATS, open_cache
from harvester.delta.application import apply
from harvester.delta.difference import diff
from harvester.delta.join import convert, merge
from harvester.edges import TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.loop import run_loop
from harvester.tiling.tile import BlockKey, Tile
from tests.caches.making import subject
from tests.delta.making import SUFFIX, files, held, make, picture, some

FORMATS_OF_ALL = ("compactv2", "compact", "exploded", "tpk", "tpkx", "vtpk")

LEVELS = (0, 2, 7, 9)

INDICES = st.one_of(st.integers(0, 9), st.integers(120, 136), st.integers(505, 520), st.integers(1 << 15, 1 << 20))


@settings(max_examples=6, deadline=None)
@given(tiles=st.sets(st.builds(Tile, st.sampled_from(LEVELS), INDICES, INDICES), min_size=1, max_size=6))
@pytest.mark.parametrize("format", sorted(FORMATS))
def test_what_is_stored_is_read_back_tile_for_tile_or_refused(tmp_path_factory, format, tiles):
    path = tmp_path_factory.mktemp("outside") / f"out{SUFFIX[format]}"
    wanted = {tile: picture(number) for number, tile in enumerate(sorted(tiles))}
    facts = {}
    if format == "vtpk":
        wanted = {tile: gzip.compress(b"\x1a\x00", mtime=0) for tile in tiles}
        facts = {"tile_format": TileFormat.PBF}
    inside = all(max(tile.row, tile.col) < 1 << tile.level for tile in tiles)
    try:
        make(path, wanted, format=format, **facts)
    except CacheError as refusal:
        assert "outside" in refusal.message and not inside and format not in FORMATS_OF_ALL
        return
    assert held(path) == wanted


@pytest.mark.parametrize("format", sorted(FORMATS.keys() - {"vtpk"}))
def test_a_conversion_of_such_tiles_has_all_of_them_or_replaces_nothing(tmp_path: Path, format):
    tiles = some("2/1/1", "2/5/5", "3/0/130", "9/511/512")
    source = make(tmp_path / "in", tiles, format="compactv2")
    for old in ({}, some("2/0/0", first=9)):
        out = tmp_path / f"out-{len(old)}{SUFFIX[format]}"
        if old:
            make(out, old, format=format)
        before = files(out) if old else {}
        try:
            run_loop(convert(source, out, format=format, overwrite=True))
        except CacheError as refusal:
            assert "outside" in refusal.message and "gpkg" not in refusal.hint
            assert (files(out) if out.exists() else {}) == before
        else:
            assert held(out) == tiles


@pytest.mark.parametrize("suffix", [".mbtiles", ".pmtiles", "xyz"])
def test_the_file_that_has_no_place_for_a_tile_is_named(tmp_path: Path, suffix: str):
    old = make(tmp_path / "old", some("2/1/1"), format="compactv2")
    new = make(tmp_path / "new", some("2/1/1", "2/5/5"), format="compactv2")
    format = suffix.removeprefix(".")
    verbs = [lambda out: convert(new, out, format=format), lambda out: diff(old, new, out, format=format)]
    for verb in verbs[: 1 if format == "pmtiles" else 2]:
        out = tmp_path / f"out{suffix}"
        with pytest.raises(UnsupportedFormatError, match=f"^{re.escape(str(out))}: tile 2/5/5 lies outside"):
            run_loop(verb(out))
        assert not out.exists()


def test_a_delta_with_such_tiles_is_not_applied_to_an_archive_that_has_no_place_for_them(tmp_path: Path):
    old = some("2/1/1", "2/1/2")
    base = make(tmp_path / "base.pmtiles", old, format="pmtiles")
    new = make(tmp_path / "new", {**old, **some("2/5/5", "2/0/3", first=7)}, format="compactv2")
    run_loop(diff(base, new, tmp_path / "delta.tpkx"))
    before = base.read_bytes()
    with pytest.raises(UnsupportedFormatError, match="tile 2/5/5 lies outside the web-mercator world"):
        run_loop(apply(tmp_path / "delta.tpkx", base))
    assert base.read_bytes() == before


def test_an_archive_is_not_made_of_a_work_folder_that_holds_such_tiles(tmp_path: Path):
    from harvester.caches.open import seal
    from harvester.durable import Disk

    make(tmp_path / "work", some("7/127/127", "7/3/128"), format="compactv2")
    with pytest.raises(UnsupportedFormatError, match="tile 7/3/128 lies outside"):
        seal("pmtiles", tmp_path / "work", tmp_path / "out.pmtiles", subject(levels=(7,)), disk=Disk())
    assert not (tmp_path / "out.pmtiles").exists()


def test_files_outside_of_the_grid_are_damage_in_every_verb(tmp_path: Path):
    folder = make(tmp_path / "in", some("2/1/1", "2/3/3"), format="xyz")
    stray = folder / "2" / "4" / "0.png"
    stray.parent.mkdir()
    for path in (stray, folder / "2" / "1" / "9.png"):
        path.write_bytes(picture(7))
    with open_cache(folder) as reader:
        assert {damage.tile for damage in reader.check()} == {Tile(2, 0, 4), Tile(2, 9, 1)}
        assert reader.read(2, 0, 4) is None and int(reader.present(BlockKey(2, 0, 0)).sum()) == 2
    for format in ("xyz", "pmtiles", "mbtiles", "gpkg", "compactv2"):
        out = tmp_path / f"out-{format}{SUFFIX[format]}"
        summary = run_loop(convert(folder, out, format=format))
        assert (summary.tiles, summary.damaged, summary.exit_code) == (2, 2, 1)
        assert held(out) == some("2/1/1", "2/3/3")
    with pytest.raises(CacheError, match="outside"):
        run_loop(diff(tmp_path / "out-mbtiles.mbtiles", folder, tmp_path / "delta"))
    assert stray.read_bytes() == picture(7)


def test_tiles_in_a_folder_that_is_no_column_are_damage_in_every_verb(tmp_path: Path):
    folder = make(tmp_path / "in", some("2/1/1", "2/3/3"), format="xyz")
    old = make(tmp_path / "old.mbtiles", some("2/1/1"), format="mbtiles")
    notes = folder / "2" / "notes"
    notes.mkdir()
    (notes / "thesis.txt").write_text("mine")
    with open_cache(folder) as reader:
        assert not list(reader.check())
    assert run_loop(convert(folder, tmp_path / "whole.mbtiles")).exit_code == 0
    (folder / "2" / "-1").mkdir()
    (folder / "2" / "-1" / "0.png").write_bytes(picture(7))
    with open_cache(folder) as reader:
        assert [Path(damage.where).name for damage in reader.check()] == ["-1"]
    with pytest.raises(CacheError, match="not that of a row or column"):
        run_loop(convert(folder, tmp_path / "out.mbtiles"))
    with pytest.raises(CacheError, match="not that of a row or column"):
        run_loop(diff(old, folder, tmp_path / "delta"))
    assert not (tmp_path / "out.mbtiles").exists()


XYZ = ["02/1/1.png", "2/-1/0.png", "2/01/0.png", "2/01/00.png", "2/1/01.png", "2/1/-0.jpg", "2/1/2.PNG", "31/0/0.png"]
EXPLODED = ["l02/R00000001/C00000001.png", "L2/R00000001/C00000001.png", "L002/R00000001/C00000001.png"]
EXPLODED += [
    "L02/R0000000A/C00000001.png",
    "L02/R1/C1.png",
    "L02/R00000001/C0000000A.png",
    "L02/R00000001/c00000002.png",
]


@pytest.mark.parametrize("format, name", [*(("xyz", each) for each in XYZ), *(("exploded", each) for each in EXPLODED)])
def test_a_tile_under_a_name_that_no_reader_looks_for_is_damage_in_every_verb(tmp_path: Path, format: str, name: str):
    folder = make(tmp_path / "in", some("2/1/1", "2/3/3"), format=format)
    old = make(tmp_path / "old.mbtiles", some("2/1/1"), format="mbtiles")
    stray = folder / ("_alllayers" if format == "exploded" else "") / name
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(picture(7))
    assert held(folder) == some("2/1/1", "2/3/3")
    with open_cache(folder) as reader:
        assert [damage.where in str(stray) for damage in reader.check()] == [True]
    for verb in (
        lambda: convert(folder, tmp_path / "out.mbtiles"),
        lambda: merge([old, folder], tmp_path / "out.mbtiles"),
        lambda: diff(old, folder, tmp_path / "delta"),
    ):
        with pytest.raises(CacheError, match="the name is not that of"):
            run_loop(verb())
    assert not (tmp_path / "out.mbtiles").exists() and stray.read_bytes() == picture(7)


@pytest.mark.parametrize(
    "name", ["notes/1/2.png", "2/photo.png", "2/1/photo.png", "2/1/1.txt", "02/readme.txt", "04/x/a.png"]
)
def test_what_is_no_tile_is_nobodys_concern(tmp_path: Path, name: str):
    folder = make(tmp_path / "in", some("2/1/1", "2/3/3"), format="xyz")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(picture(7))
    with open_cache(folder) as reader:
        assert not list(reader.check())
    assert run_loop(convert(folder, tmp_path / "out.mbtiles")).exit_code == 0


def test_a_geopackage_names_the_tile_that_it_has_no_place_for(tmp_path: Path):
    """And not the corner of all that came with it."""
    source = make(tmp_path / "in", some("2/3/1", "2/0/4", "2/2/2"), format="compactv2")
    with pytest.raises(CacheError, match="tile 2/0/4 lies outside"):
        run_loop(convert(source, tmp_path / "out.gpkg"))
