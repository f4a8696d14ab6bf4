"""Which of the tiles that a tilemap denied it is held against, and what is left of a run's budgets then."""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np
import pytest

from harvester.assemble.doubted import CANDIDATES, Sample, denied_levels, limits_left, some_denied, spread
from harvester.edges import BlockChange, State
from harvester.engine import StopReason, Tally
from harvester.job import Limits
from harvester.testing.memory import MemoryLedger
from harvester.tiling.tile import BlockKey, block_of
from tests.engine.lab import plan_of


async def chosen(plan, denied, most=32, levels=range(20)):
    ledger = MemoryLedger()
    await ledger.enlist(list(plan.blocks()))
    for key, mask in plan.blocks():
        absent = [at for at in np.flatnonzero(mask.ravel()).tolist() if denied(key.tile(at))]
        await ledger.record([BlockChange(key, State.ABSENT, absent)], {})
    return await some_denied(ledger, plan, levels, most)


def test_every_lod_has_some_and_the_largest_most():
    tiles = asyncio.run(chosen(plan_of(tuple(range(9))), lambda tile: tile.col % 3 == 0))
    found = Counter(tile.level for tile in tiles)
    assert (len(set(tiles)), set(found)) == (32, set(range(9)))
    assert all(tile.col % 3 == 0 for tile in tiles)
    assert found[8] == max(found.values()) >= 5


def test_they_are_spread_over_the_windows():
    plan = plan_of((10,), bbox=(-20_000_000.0, -4_900_000.0, 20_000_000.0, 4_900_000.0))
    blocks = {key for key, _ in plan.blocks()}
    tiles = asyncio.run(chosen(plan, lambda tile: True, most=len(blocks)))
    assert len({block_of(tile) for tile in tiles}) > len(blocks) // 2


def test_lods_that_nothing_was_denied_of_are_left_out():
    tiles = asyncio.run(chosen(plan_of((3, 4)), lambda tile: True, levels=[3]))
    assert {tile.level for tile in tiles} == {3}


def test_of_more_blocks_than_are_remembered_every_second_is_kept_and_so_on():
    sample = Sample()
    for number in range(1000):
        sample.add(BlockKey(12, number * 128, 0), np.array([5], dtype=np.int64))
    assert (sample.tiles, len(sample.blocks) <= CANDIDATES) == (1000, True)
    rows = [tile.row // 128 for tile in sample.candidates()]
    assert rows == list(range(0, 1000, sample.step))


def test_spread_positions_are_all_of_few_and_different_ones_of_many():
    assert spread(np.arange(5), 32) == [0, 1, 2, 3, 4]
    many = spread(np.arange(16384), 32)
    assert len(set(many)) == 32
    assert max(np.diff(sorted(many))) < 1400


def test_lods_where_more_is_absent_than_answers_said_were_denied():
    tally = Tally()
    for level, absent in ((3, 10), (4, 10), (5, 10)):
        tally.add(level, State.ABSENT, absent)
    tally.absences.update({(3, "http_404"): 10, (4, "http_404"): 4, (4, "blank_tile"): 1})
    assert denied_levels(tally, {5: 10}) == [4]


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        (Limits(), Limits()),
        (Limits(max_tiles=100, max_bytes=5000, max_duration_seconds=60.0), (60, 4000, 50.0)),
        (Limits(max_tiles=40), "--max-tiles 40 "),
        (Limits(max_bytes=1000), "--max-bytes 1000 "),
        (Limits(max_duration_seconds=10.0), "--max-duration 10 s "),
    ],
)
def test_budgets_hold_for_a_run_in_two_parts(limits, left):
    tally = Tally(fetched=40, bytes=1000)
    found = limits_left(limits, tally, 10.0)
    if isinstance(left, str):
        assert isinstance(found, StopReason) and left in found.message
    elif isinstance(left, tuple):
        assert (found.max_tiles, found.max_bytes, found.max_duration_seconds) == left
    else:
        assert found == left
