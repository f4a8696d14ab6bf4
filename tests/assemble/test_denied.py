"""The tiles that a tilemap which denies all is held against: whatever a pattern of rows, columns or diagonals leaves,
two of them are come upon."""

from __future__ import annotations

from functools import cache

import pytest

from harvester.assemble.denied import ASKED, BELIEVED, PERIODS, some_of
from tests.engine.lab import plan_of

PLANS = {
    "a level": plan_of((6,)),
    "a town": plan_of((12,), bbox=(600_000.0, 5_700_000.0, 900_000.0, 6_100_000.0)),
    "all levels": plan_of(tuple(range(8))),
    "a road": plan_of((14,), bbox=(0.0, 0.0, 3_000_000.0, 20_000.0)),
}

WAYS = {
    "rows": lambda tile: tile.row,
    "columns": lambda tile: tile.col,
    "falling": lambda tile: tile.row - tile.col,
    "rising": lambda tile: tile.row + tile.col,
}


@cache
def chosen(name):
    return some_of(PLANS[name])


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PLANS)
def test_two_tiles_of_any_stripes_are_among_them(name, way, period):
    tiles = chosen(name)
    assert len(set(tiles)) == len(tiles) == ASKED
    assert all(PLANS[name].contains(tile) for tile in tiles)
    for place in range(period):
        assert sum(WAYS[way](tile) % period == place for tile in tiles) >= BELIEVED


def test_of_a_small_plan_all_are_asked():
    assert set(some_of(plan_of((0, 1)))) == set(plan_of((0, 1)).tiles())
