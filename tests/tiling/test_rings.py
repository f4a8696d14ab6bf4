"""Outlines of tiles against the union of their boxes."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.tiling.rings import outlines
from harvester.tiling.runs import Runs


def of(cells: list[tuple[int, int]]) -> Runs:
    if not cells:
        return Runs.empty()
    rows, cols = (np.array(side, np.int64) for side in zip(*cells, strict=True))
    return Runs.from_bands(rows, rows, cols, cols)


def check(runs: Runs) -> None:
    found = outlines(runs)
    rows, cols = runs.arrays()
    union = shapely.union_all(shapely.box(cols, rows, cols + 1, rows + 1))
    together = shapely.MultiPolygon(list(found))
    assert together.is_valid, shapely.is_valid_reason(together)
    assert shapely.equals(together, union)
    assert shapely.get_num_coordinates(together) == shapely.get_num_coordinates(shapely.simplify(together, 0))
    assert len(found) == max(1, shapely.get_num_geometries(union))


@settings(max_examples=300, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1))
def test_outlines_are_the_union_of_the_tiles(cells: set[tuple[int, int]]) -> None:
    check(of(sorted(cells)))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.6, 0.8, 0.97])
def test_outlines_of_scattered_tiles_are_their_union(share: float) -> None:
    held = np.random.default_rng(9).random((60, 60)) < share
    check(of([(int(row), int(col)) for row, col in zip(*np.nonzero(held), strict=True)]))


def test_islands_in_lakes_are_polygons_of_their_own() -> None:
    nested = [(0, 8, 0, 8), (1, 7, 1, 7), (2, 6, 2, 6), (3, 5, 3, 5), (4, 4, 4, 4)]
    cells = {
        (row, col)
        for row in range(9)
        for col in range(9)
        if sum(a <= row <= b and left <= col <= right for a, b, left, right in nested) % 2
    }
    check(of(sorted(cells)))
    assert len(outlines(of(sorted(cells)))) == 3


def test_a_box_of_two_to_the_sixty_tiles_has_four_corners() -> None:
    side = 1 << 30
    (box,) = outlines(Runs.box(5, side, 7, side))
    assert shapely.get_num_coordinates(box) == 5
    assert box.bounds == (7, 5, side + 1, side + 1)
    assert not outlines(Runs.empty()).size
