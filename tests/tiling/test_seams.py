"""Areas across the antimeridian are covered as they are anywhere else: their edges are straight through the cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely

from harvester.aoi_shape import folded
from harvester.crs import WGS84, Crs
from harvester.tiling.coverage import cover
from harvester.tiling.scheme import GOOGLE_ORIGIN, Lod, TilingScheme

from .test_coverage import GRIDS, UNIT, WINDOW, by_fractions, hardly_there, random_area, snapped

BEFORE = 4
"""Columns of the window that lie before the antimeridian."""

ONTO_GRID = {
    "as written with few decimals": lambda random, points: (
        np.rint(points) + random.choice([0, 9e-7, -9e-7, 3e-8, -4e-7], points.shape)
    ),
    "on grid lines": GRIDS["on grid lines"],
    "every third on no line": lambda random, points: np.where(
        random.random(points.shape) < 1 / 3, points, np.rint(points) + random.choice([0, 9e-7, -5e-7], points.shape)
    ),
}


def grid(crs: Crs, half: float, columns: int) -> TilingScheme:
    """Square tiles, ``columns`` of them round the world, the first row at y = 0."""
    size = 2 * half / columns
    return TilingScheme(
        crs=crs, origin_x=-half, origin_y=0.0, tile_width=1, tile_height=1,
        lods=(Lod(level=0, resolution=size, scale=1.0),),
    )  # fmt: skip


def across(area: Any, half: float, columns: int) -> Any:
    """An area in tiles brought to the antimeridian and cut there."""
    size = 2 * half / columns
    moved = shapely.transform(area, lambda at: (at - (BEFORE, 0)) * size + (half, 0))
    return folded(moved, 2 * half)


def there(geometry: Any, scheme: TilingScheme, columns: int) -> set[tuple[int, int]]:
    """Its tiles, by the columns of the window."""
    found = cover(geometry, scheme, 0, (WINDOW[0], WINDOW[1], 0, columns - 1))
    near = {(row, (col + BEFORE) % columns) for row, col in found}
    return {place for place in near if place[1] <= WINDOW[3]}


WORLDS = {"degrees": (WGS84, 180.0, 512), "web mercator": (Crs(wkid=3857), GOOGLE_ORIGIN, 4096)}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kind", ONTO_GRID)
def test_an_edge_goes_straight_on_behind_the_antimeridian(kind: str, world: str) -> None:
    crs, half, columns = WORLDS[world]
    random = np.random.default_rng(5)
    crossing = 0
    for _ in range(150):
        area = random_area(random, ONTO_GRID[kind])
        polygons = snapped(area, UNIT)
        expected = by_fractions(polygons, WINDOW)
        found = there(across(area, half, columns), grid(crs, half, columns), columns)
        assert found == expected or (kind == "every third on no line" and hardly_there(polygons, found ^ expected))
        crossing += any(part.bounds[0] < BEFORE < part.bounds[2] for part in polygons)
    assert crossing > 30


def test_a_vertex_of_its_own_on_the_antimeridian_stays_where_it_is() -> None:
    bent = shapely.Polygon([(1, -1), (4, -2.5), (7, -1), (7, -6), (1, -6)])
    scheme = grid(*WORLDS["degrees"])
    found = there(across(bent, 180.0, 512), scheme, 512)
    assert found == by_fractions(snapped(bent, UNIT), WINDOW)


def test_parts_that_meet_the_antimeridian_at_one_place_keep_their_own_edges() -> None:
    """Two triangles, tip to tip, and one whose side lies on it."""
    tips = shapely.MultiPolygon(
        [
            shapely.Polygon([(4, -3), (1, -2), (1, -4)]),
            shapely.Polygon([(4, -3), (7, -2.5), (7, -6)]),
            shapely.Polygon([(4, -7), (4, -8), (2, -7.5)]),
        ]
    )
    found = there(across(tips, 180.0, 512), grid(*WORLDS["degrees"]), 512)
    assert found == by_fractions(snapped(tips, UNIT), WINDOW)
