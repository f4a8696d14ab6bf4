"""Coverage of areas that break scan conversions: many holes, nested parts, vertices twice, spikes, odd grids, poles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from harvester.aoi import load_area
from harvester.crs import WGS84, Crs
from harvester.job import AoiFile, Policy
from harvester.tiling.coverage import cover, grid_window
from harvester.tiling.outline import Outline
from harvester.tiling.scheme import Lod, TilingScheme

from .test_coverage import UNIT, WINDOW, area, by_fractions, covered, snapped, star


def box_ring(west: float, north: float, east: float, south: float) -> list[tuple[float, float]]:
    return [(west, north), (east, north), (east, south), (west, south)]


def every_box(geometry: Any, scheme: TilingScheme, level: int, rows: range, cols: range) -> set[tuple[int, int]]:
    """The slow twin: the interior of each tile's box against the area's."""
    width, height = scheme.span(level)
    row, col = (grid.ravel() for grid in np.meshgrid(rows, cols, indexing="ij"))
    left, top = scheme.origin_x + col * width, scheme.origin_y - row * height
    boxes = shapely.box(left, top - height, left + width, top)
    meets = shapely.area(shapely.intersection(boxes, geometry)) > 1e-9 * width * height
    return set(zip(row[meets].tolist(), col[meets].tolist(), strict=True))


def test_ten_thousand_holes_each_leave_out_what_lies_wholly_inside_them() -> None:
    """Holes of 1.5 tiles hold no whole tile, those of two whole tiles on grid lines hold four."""
    holes = [
        box_ring(5 * i + 1 + off, 5 * j + 1 + off, 5 * i + 3 - off, 5 * j + 3 - off)
        for i in range(100)
        for j in range(100)
        for off in ((0.0,) if (i + j) % 2 else (0.25,))
    ]
    geometry = area(box_ring(0, 0, 500, 500), *holes)
    found = cover(geometry, UNIT, 0, (0, 600, 0, 600))
    assert found.count == 500 * 500 - 5_000 * 4
    assert not found.contains(1, 6)
    assert found.contains(1, 1)


def test_islands_in_lakes_in_islands() -> None:
    rings = [box_ring(0.5 + i, 0.5 + i, 8.5 - i, 8.5 - i) for i in range(4)]
    nested = shapely.MultiPolygon([area(rings[0], rings[1]), area(rings[2], rings[3])])
    assert covered(nested) == by_fractions(snapped(nested, UNIT), WINDOW)
    fine = shapely.transform(nested, lambda points: points * 10)
    assert set(cover(fine, UNIT, 0, (0, 90, 0, 90))) == every_box(fine, UNIT, 0, range(91), range(91))


def test_vertices_given_twice_change_nothing() -> None:
    ring = star(np.random.default_rng(2), 40, 4.0, 4.0, 0.5)
    assert covered(area(np.repeat(ring, 3, axis=0))) == covered(area(ring))


@pytest.mark.parametrize("tip", [(7.5, 1.5), (7.0, 2.0), (7.5, 2.0), (2.5, 7.5)])
def test_a_spike_without_area_plans_nothing_once_repaired(tip: tuple[float, float], tmp_path: Path) -> None:
    plain = [(1, 1), (2, 1), (2, 2), (2, 3), (1, 3)]
    spiked = [(1, 1), (2, 1), (2, 2), tip, (2, 2), (2, 3), (1, 3)]
    document = {"type": "Polygon", "coordinates": [[[x, -y] for x, y in (*spiked, spiked[0])]]}
    (tmp_path / "spike.geojson").write_text(json.dumps(document))
    found = load_area(Policy(aoi=(AoiFile(path=tmp_path / "spike.geojson"),)), WGS84, 1.0)
    assert found is not None
    assert covered(found.geometry) == covered(area(plain)) == {(1, 1), (2, 1)}


@pytest.mark.parametrize("tile", [256, 512])
@pytest.mark.parametrize("origin", [(0.0, 5_000_000.0), (-5_120_900.0, 9_998_100.0), (-20_037_700.0, 30_241_100.0)])
def test_lods_that_do_not_halve_far_from_their_origin(origin: tuple[float, float], tile: int) -> None:
    steps = (1322.9193125052918, 529.1677250021168, 132.29193125052919, 66.1459656252646, 26.458386250105836)
    grid = TilingScheme(
        crs=Crs(wkid=26918), origin_x=origin[0], origin_y=origin[1], tile_width=tile, tile_height=tile,
        lods=tuple(Lod(level=i, resolution=step, scale=step * 3779.5) for i, step in enumerate(steps)),
    )  # fmt: skip
    ring = np.add(star(np.random.default_rng(8), 300, 0.0, 90_000.0, 0.4), (480_000.0, 4_420_000.0))
    geometry = shapely.Polygon(ring)
    outline = Outline(geometry)
    for level in range(len(steps)):
        width, height = grid.span(level)
        west, south, east, north = geometry.bounds
        cols = range(int((west - origin[0]) // width) - 1, int((east - origin[0]) // width) + 2)
        rows = range(int((origin[1] - north) // height) - 1, int((origin[1] - south) // height) + 2)
        assert set(cover(outline, grid, level, grid_window(grid, level))) == every_box(
            geometry, grid, level, rows, cols
        )


@pytest.mark.parametrize("pole", [90, -90])
def test_a_cap_round_a_pole_covers_every_tile_above_its_rim(pole: int, tmp_path: Path) -> None:
    """The rim runs round the world; in degrees its inside is all that lies beyond it."""
    rim = [[lon, pole * 2 / 3 + 3 * np.sin(np.radians(5 * lon))] for lon in range(-180, 181, 5)]
    document = {"type": "Polygon", "coordinates": [[*rim, [180, pole], [-180, pole], rim[0]]]}
    (tmp_path / "cap.geojson").write_text(json.dumps(document))
    grid = TilingScheme(
        crs=WGS84, origin_x=-180.0, origin_y=90.0, tile_width=256, tile_height=256,
        lods=(Lod(level=0, resolution=5 / 256, scale=1.0),),
    )  # fmt: skip
    found = load_area(Policy(aoi=(AoiFile(path=tmp_path / "cap.geojson"),)), WGS84, 5 / 256)
    assert found is not None
    tiles = set(cover(found.geometry, grid, 0, (0, 35, 0, 71)))
    assert tiles == every_box(found.geometry, grid, 0, range(36), range(72))
    edge = 0 if pole > 0 else 35
    assert {(edge, col) for col in range(72)} <= tiles
