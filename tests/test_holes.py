"""Missing tiles as polygons: read as an AOI, they plan exactly the tiles that were missing."""

from __future__ import annotations

import json
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


def test_outer_rings_turn_counter_clockwise_and_holes_clockwise(tmp_path: Path) -> None:
    ring = {(row, col) for row in range(3) for col in range(3)} - {(1, 1)}
    collection, _ = planned_again(mercator(-HALF, 2 * HALF / 256 / 128), ring, tmp_path)
    ((outer, inner),) = collection["features"][0]["geometry"]["coordinates"]
    assert shapely.is_ccw(shapely.LinearRing(outer))
    assert not shapely.is_ccw(shapely.LinearRing(inner))
