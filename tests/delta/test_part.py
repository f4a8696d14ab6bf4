"""convert of a part: the LODs and the area that are asked for, tile for tile what a run of that selection plans."""

from __future__ import annotations

import pytest

from harvester.caches.counted import manifest_of
from harvester.caches.open import open_cache
from harvester.delta.join import convert
from harvester.edges import ServiceInfo, TileFormat
from harvester.errors import UsageError
from harvester.loop import run_loop
from harvester.planning import make_plan
from harvester.policy import Policy
from harvester.tiling.tile import Tile
from tests.caches.making import mercator, rio
from tests.delta.making import SUFFIX, files, held, make, picture, some

LEVELS = (0, 3, 8)
TILES = {Tile(0, 0, 0): picture(0)} | {
    Tile(level, row, col): picture(row * 5 + col)
    for level, middle in ((3, 4), (8, 128))
    for row in range(middle - 3, middle + 3)
    for col in range(middle - 3, middle + 3)
}
"""Around 0, 0, where four blocks of level 8 meet."""

BOX = (-1.0, -1.0, 2.0, 3.0)
"""Degrees: columns 127 to 129 and rows 125 to 128 of level 8."""


def planned(box, levels):
    from harvester.aoi import load_area

    scheme = mercator()
    info = ServiceInfo(
        source="x", identity="x", kind="cache", name="x", scheme=scheme, extent=None, tile_format=TileFormat.PNG
    )
    area = load_area(Policy(bbox=box), scheme.crs, scheme.by_level[max(levels)].resolution)
    return set(make_plan(info, [(tuple(levels), area)], use_extent=False).tiles())


@pytest.mark.parametrize("format", [name for name in SUFFIX if name != "vtpk"])
def test_a_box_of_any_cache_is_what_a_run_would_plan(tmp_path, format):
    source = make(tmp_path / f"in{SUFFIX[format]}", TILES, format=format)
    done = run_loop(convert(source, tmp_path / "out.mbtiles", part=Policy(bbox=BOX)))
    wanted = planned(BOX, LEVELS) & TILES.keys()
    assert 1 < len(wanted) < len(TILES)
    assert held(tmp_path / "out.mbtiles") == {tile: TILES[tile] for tile in wanted}
    assert done.complete and done.tiles == len(wanted)


@pytest.mark.parametrize(
    ("part", "levels"),
    [
        (Policy(lods=((0, 3),)), {0, 3}),
        (Policy(lods=((8, 8),)), {8}),
        (Policy(max_zoom=3), {0, 3}),
        (Policy(scales=(591657527.591555,)), {0}),
        (Policy(min_scale=1e8), {3, 8}),
    ],
)
def test_lods_are_chosen_as_for_a_run(tmp_path, part, levels):
    source = make(tmp_path / "in.tpkx", TILES, format="tpkx")
    run_loop(convert(source, tmp_path / "out", part=part))
    assert held(tmp_path / "out") == {tile: body for tile, body in TILES.items() if tile.level in levels}


def test_a_lod_that_the_cache_holds_nothing_of_is_refused_with_those_that_it_holds(tmp_path):
    source = make(tmp_path / "in.tpkx", TILES, format="tpkx")
    with pytest.raises(UsageError, match=r"in\.tpkx has no LOD 5") as refusal:
        run_loop(convert(source, tmp_path / "out", part=Policy(lods=((5, 5),))))
    assert refusal.value.hint.startswith("The LODs are 0 (1:591657527") and "8 (1:" in refusal.value.hint
    assert {path.name for path in tmp_path.iterdir()} == {"in.tpkx"}


def test_an_area_without_a_tile_is_refused_and_nothing_is_made(tmp_path):
    source = make(tmp_path / "in.mbtiles", some("8/128/128", "9/256/256"), format="mbtiles")
    out = make(tmp_path / "out", some("9/0/0"), format="compactv2")
    before = files(out)
    with pytest.raises(UsageError, match="holds no tile of this selection"):
        run_loop(convert(source, out, part=Policy(bbox=(100, 50, 110, 60))))
    assert files(out) == before
    assert {path.name for path in tmp_path.iterdir()} == {"in.mbtiles", "out"}


def test_a_foreign_grid_is_cut_too(tmp_path):
    tiles = {Tile(1, row, col): picture(row + col) for row in range(3) for col in range(3)}
    source = make(tmp_path / "in.gpkg", tiles, format="gpkg", scheme=rio())
    first = rio().box(Tile(1, 1, 1))
    from harvester.crs import project_box

    inner = [first.xmin + 1000, first.ymin + 1000, first.xmax - 1000, first.ymax - 1000]
    box = project_box(type(first)(*inner), rio().crs, "EPSG:4326")
    run_loop(convert(source, tmp_path / "out.tpkx", part=Policy(bbox=tuple(box))))
    assert held(tmp_path / "out.tpkx") == {Tile(1, 1, 1): tiles[Tile(1, 1, 1)]}


def test_what_was_cut_is_in_the_manifest_and_the_extent_is_that_of_the_part(tmp_path):
    source = make(tmp_path / "in.tpkx", TILES, format="tpkx", policies=["LODs 0-8, state.geojson"])
    run_loop(convert(source, tmp_path / "out.tpkx", part=Policy(bbox=BOX, lods=((8, 8),))))
    with open_cache(tmp_path / "out.tpkx") as reader:
        manifest, extent = manifest_of(reader), reader.info.extent
    assert manifest.policies == ("of this, LODs 8, the box -1,-1,2,3", "LODs 0-8, state.geojson")
    corners = [mercator().box(Tile(8, row, col)) for row, col in ((125, 127), (128, 129))]
    assert extent == (corners[0].xmin, corners[1].ymin, corners[1].xmax, corners[0].ymax)


def test_a_second_part_is_added_to_the_first(tmp_path):
    source = make(tmp_path / "in.mbtiles", TILES, format="mbtiles")
    for box in (BOX, (-4, -4, -2, -2)):
        run_loop(convert(source, tmp_path / "out.mbtiles", part=Policy(bbox=box, lods=((8, 8),))))
    wanted = (planned(BOX, [8]) | planned((-4, -4, -2, -2), [8])) & TILES.keys()
    assert held(tmp_path / "out.mbtiles").keys() == wanted
