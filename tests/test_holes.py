"""Missing tiles as polygons: read as an AOI, they plan exactly the tiles that were missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from harvester.aoi import load_area
from harvester.crs import Crs
from harvester.edges import ServiceInfo, State, TileFormat
from harvester.holes import holes
from harvester.job import AoiFile, Policy
from harvester.planning import make_plan
from harvester.testing import schemes
from harvester.tiling.coverage import extent_window, grid_window
from harvester.tiling.scheme import GOOGLE_ORIGIN, Lod, TilingScheme
from harvester.tiling.tile import BlockKey

HALF = GOOGLE_ORIGIN


def mercator(origin_x: float, resolution: float, tile: int = 256) -> TilingScheme:
    return TilingScheme(
        crs=Crs(wkid=102100, latest_wkid=3857),
        origin_x=origin_x,
        origin_y=HALF,
        tile_width=tile,
        tile_height=tile,
        lods=(Lod(level=7, resolution=resolution, scale=resolution * 3779.5),),
    )


def planned_again(scheme: TilingScheme, missing: set[tuple[int, int]], folder: Path) -> tuple[dict, set]:
    states: dict[BlockKey, np.ndarray] = {}
    for row, col in missing:
        key = BlockKey(7, row // 128 * 128, col // 128 * 128)
        states.setdefault(key, np.zeros((128, 128), np.uint8))[row - key.row, col - key.col] = State.FAILED
    collection = holes(sorted(states.items()), scheme, {})
    (folder / "holes.geojson").write_text(json.dumps(collection))
    info = ServiceInfo(
        source="s", identity="s", kind="arcgis-map", name="S", scheme=scheme, extent=None, tile_format=TileFormat.PNG
    )
    area = load_area(Policy(aoi=(AoiFile(path=folder / "holes.geojson"),)), scheme.crs, scheme.lods[0].resolution)
    return collection, set(make_plan(info, [((7,), area)]).places())


def random_tiles(rows: int, cols: int, share: float) -> set[tuple[int, int]]:
    held = np.random.default_rng(4).random((rows, cols)) < share
    return {(int(row), int(col)) for row, col in zip(*np.nonzero(held), strict=True)}


@pytest.mark.parametrize("share", [0.1, 0.6, 0.9])
def test_scattered_holes_plan_exactly_themselves(share: float, tmp_path: Path) -> None:
    missing = random_tiles(128, 128, share)
    collection, again = planned_again(mercator(-HALF, 2 * HALF / 256 / 128), missing, tmp_path)
    assert "crs" not in collection
    assert again == {(7, *tile) for tile in missing}


def test_holes_that_begin_west_of_the_antimeridian_plan_exactly_themselves(tmp_path: Path) -> None:
    """The first column of a grid that is not the Google one reaches beyond -180 degrees, the last beyond 180."""
    scheme = mercator(-HALF - 700_000.0, 10_000.0)
    missing = random_tiles(15, 16, 0.5) | {(3, 0), (9, 0), (4, 15)}
    collection, again = planned_again(scheme, missing, tmp_path)
    west, _, east, _ = shapely.from_geojson(json.dumps(collection)).bounds
    assert (west, east) == pytest.approx((-180, 180), abs=1e-9)
    assert again == {(7, *tile) for tile in missing}


def test_holes_of_a_geographic_grid_that_begins_at_400_degrees_west_plan_exactly_themselves(tmp_path: Path) -> None:
    scheme = TilingScheme(
        crs=Crs(wkid=4326), origin_x=-400.0, origin_y=400.0, tile_width=256, tile_height=256,
        lods=(Lod(level=7, resolution=50 / 256, scale=1.0),),
    )  # fmt: skip
    missing = {(row, col) for row in range(7, 9) for col in range(4, 12)} - {(7, 5), (8, 9)}
    _, again = planned_again(scheme, missing, tmp_path)
    assert again == {(7, *tile) for tile in missing}


def geographic(wkid: int) -> TilingScheme:
    """A grid that begins at 400 degrees west and north; its row 175 begins at the pole but for rounding."""
    return TilingScheme(
        crs=Crs(wkid=wkid), origin_x=-400.0, origin_y=400.0, tile_width=256, tile_height=256,
        lods=(Lod(level=7, resolution=0.7 / 64, scale=1.0),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scheme", "rows", "cols"),
    [
        (geographic(4326), (100, 180), (60, 230)),
        (geographic(4326), (174, 176), (150, 160)),
        (geographic(4267), (100, 180), (0, 20)),
        (geographic(4267), (120, 130), (208, 214)),
        (mercator(-HALF - 7_000_000.0, 10_000.0), (0, 25), (0, 20)),
        (mercator(-HALF - 7_000_000.0, 10_000.0), (0, 3), (0, 2)),
        (mercator(-HALF - 7_000_000.0, 10_000.0), (3, 4), (19, 22)),
    ],
)
def test_holes_beyond_the_antimeridian_and_the_poles_are_not_taken_for_those_at_the_other_end(
    scheme: TilingScheme, rows: tuple[int, int], cols: tuple[int, int], tmp_path: Path
) -> None:
    """A foreign grid may reach round the world once more: there its tiles are others than those that lie there."""
    missing = {
        (row + rows[0], col + cols[0]) for row, col in random_tiles(rows[1] - rows[0], cols[1] - cols[0], 0.5)
    } | {rows[:1] + cols[:1]}
    _, again = planned_again(scheme, missing, tmp_path)
    assert again == {(7, *tile) for tile in missing}


@pytest.mark.parametrize("grid", [one for one in vars(schemes).values() if isinstance(one, schemes.Grid)])
def test_holes_of_every_grid_plan_exactly_themselves(grid: schemes.Grid, tmp_path: Path) -> None:
    """Of the finest LOD, in the extent and as far around it as the grid goes."""
    lod = replace(grid.scheme.lods[-1], level=7)
    scheme = replace(grid.scheme, lods=(lod,))
    top, bottom, left, right = extent_window(scheme, 7, grid.extent)
    ends = grid_window(scheme, 7)
    rows = {top, bottom, max(top - 2, ends.row_min), min(bottom + 2, ends.row_max)}
    cols = {left, right, max(left - 2, ends.col_min), min(right + 2, ends.col_max)}
    missing = {(row, col) for row in rows for col in cols}
    _, again = planned_again(scheme, missing, tmp_path)
    assert again == {(7, *tile) for tile in missing}


def test_holes_of_another_grid_come_round_again(tmp_path: Path) -> None:
    """What stands beyond the antimeridian on one grid is land at the other end for every other one."""
    scheme = geographic(4326)
    planned_again(scheme, {(150, 60), (150, 61)}, tmp_path)  # 400 - 150 * 2.8 = -20; 60 * 2.8 - 400 = -232, so 128 east
    area = load_area(Policy(aoi=(AoiFile(path=tmp_path / "holes.geojson"),)), Crs(wkid=3857), 100.0)
    assert area is not None
    west, _, east, _ = shapely.bounds(area.by_level[7])
    assert (west, east) == pytest.approx((128 * HALF / 180, 133.6 * HALF / 180), rel=1e-6)


def test_outer_rings_turn_counter_clockwise_and_holes_clockwise(tmp_path: Path) -> None:
    ring = {(row, col) for row in range(3) for col in range(3)} - {(1, 1)}
    collection, _ = planned_again(mercator(-HALF, 2 * HALF / 256 / 128), ring, tmp_path)
    ((outer, inner),) = collection["features"][0]["geometry"]["coordinates"]
    assert shapely.is_ccw(shapely.LinearRing(outer))
    assert not shapely.is_ccw(shapely.LinearRing(inner))
