"""The tiles that a tilemap is held against: of one which denies all, two are come upon whatever a pattern of rows,
columns or diagonals leaves; of one which denies some, they come from every LOD and all over it."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import cache

import numpy as np
import pytest

from harvester.assemble.denied import ASKED, OF_A_LOD, PERIODS, Sample, some_denied, some_of, spread
from harvester.assemble.hearing import BELIEVED
from harvester.edges import BlockChange, State
from harvester.testing.memory import MemoryLedger
from harvester.tiling.tile import BlockKey, Tile, block_of
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


async def chosen_of(plan, denied, most=32, levels=range(20)):
    ledger = MemoryLedger()
    await ledger.enlist(list(plan.blocks()))
    for key, mask in plan.blocks():
        absent = [at for at in np.flatnonzero(mask.ravel()).tolist() if denied(key.tile(at))]
        await ledger.record([BlockChange(key, State.ABSENT, absent)], {})
    before, tiles, _ = await some_denied(ledger, plan, levels, most)
    assert before == []
    return tiles


def test_every_lod_has_some_and_the_largest_most():
    tiles = asyncio.run(chosen_of(plan_of(tuple(range(9))), lambda tile: tile.col % 3 == 0))
    found = Counter(tile.level for tile in tiles)
    assert (len(set(tiles)), set(found)) == (32, set(range(9)))
    assert all(tile.col % 3 == 0 for tile in tiles)
    assert found[8] == max(found.values()) >= 5


def test_they_are_spread_over_the_windows():
    plan = plan_of((10,), bbox=(-20_000_000.0, -4_900_000.0, 20_000_000.0, 4_900_000.0))
    blocks = {key for key, _ in plan.blocks()}
    tiles = asyncio.run(chosen_of(plan, lambda tile: True, most=len(blocks)))
    assert len({block_of(tile) for tile in tiles}) > len(blocks) // 2


def test_lods_that_nothing_was_denied_of_are_left_out():
    tiles = asyncio.run(chosen_of(plan_of((3, 4)), lambda tile: True, levels=[3]))
    assert {tile.level for tile in tiles} == {3}


def test_of_more_blocks_than_are_remembered_every_second_is_kept_and_so_on():
    sample = Sample()
    for number in range(1000):
        sample.add(BlockKey(12, number * 128, 0), np.array([5], dtype=np.int64))
    assert (sample.tiles, len(sample.blocks) <= OF_A_LOD) == (1000, True)
    rows = [tile.row // 128 for tile in sample.candidates()]
    assert rows == list(range(0, 1000, sample.step))


def test_spread_positions_are_all_of_few_and_different_ones_of_many():
    assert sorted(spread(np.arange(5), 32)) == [0, 1, 2, 3, 4]
    many = spread(np.arange(16384), 32)
    assert len(set(many)) == 32
    assert max(np.diff(sorted(many))) < 1400
    some = spread(np.arange(100), 90)
    assert len(set(some)) == 90
    assert max(np.diff(sorted(some[:10]))) < 25


def test_of_one_window_come_as_many_as_are_ever_asked():
    """A shard may have denied tiles in a single one."""
    for most in (2 * ASKED, 4 * ASKED):
        tiles = asyncio.run(chosen_of(plan_of((5,)), lambda tile: tile.col % 2 == 1, most=most))
        assert len(set(tiles)) == most and all(tile.col % 2 for tile in tiles)


def test_the_first_ones_are_the_same_however_many_are_chosen():
    plan = plan_of((5, 6))
    assert some_of(plan, 64)[:ASKED] == some_of(plan)
    few = asyncio.run(chosen_of(plan, lambda tile: tile.col % 3 == 0, most=32))
    assert asyncio.run(chosen_of(plan, lambda tile: tile.col % 3 == 0, most=64))[:32] == few


def test_absent_tiles_that_failed_before_are_told_apart_and_all_are_counted():
    async def chosen_first():
        plan, ledger = plan_of((3, 4)), MemoryLedger()
        await ledger.enlist(list(plan.blocks()))
        for key, mask in plan.blocks():
            absent = [at for at in np.flatnonzero(mask.ravel()).tolist() if key.tile(at).col < 4]
            await ledger.record([BlockChange(key, State.ABSENT, absent)], {})
        return await some_denied(ledger, plan, [4], 32, {Tile(4, 9, 1), Tile(3, 2, 2), Tile(4, 0, 15)})

    before, tiles, number = asyncio.run(chosen_first())
    assert before == [Tile(3, 2, 2), Tile(4, 9, 1)]
    assert (len(set(tiles)), {tile.level for tile in tiles}, number) == (32, {4}, 1 + 64)
    assert not set(before) & set(tiles)
