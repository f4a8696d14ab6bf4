"""Natural Earth's shapes as they come from the data files."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from harvester.demo.topology import World, coarse_world, fine_world, smoothed


@pytest.mark.parametrize("load", [coarse_world, fine_world])
def test_shapes_are_valid_and_inside_the_world(load: object) -> None:
    world: World = load()  # type: ignore[operator]
    assert len(world.countries) > 1000
    assert len(world.countries) == len(world.colours)
    assert shapely.is_valid(world.countries).all()
    for shapes in (world.countries, world.coasts, world.borders, world.lakes, world.rivers):
        west, south, east, north = shapely.total_bounds(shapes)
        assert west >= -180 and east <= 180 and south >= -90 and north <= 90
        assert not shapely.is_empty(shapes).any()


def test_no_coast_runs_across_the_whole_map() -> None:
    for shapes in (coarse_world().coasts, fine_world().coasts):
        steps = max(np.abs(np.diff(shapely.get_coordinates(line)[:, 0])).max() for line in shapes)
        assert steps < 20


def test_the_larger_country_is_drawn_before_the_one_inside_it() -> None:
    areas = shapely.area(coarse_world().countries)
    assert (np.diff(areas) <= 0).all()


def test_smoothing_keeps_ends_and_closes_rings() -> None:
    line = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    smooth = smoothed(line, closed=False)
    assert (smooth[0] == line[0]).all() and (smooth[-1] == line[-1]).all()
    ring = smoothed(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), closed=True)
    assert (ring[0] == ring[-1]).all()
    assert shapely.polygons(ring).is_valid
