"""The plan's order over runs, against sorting every tile."""

from __future__ import annotations

import random
import tracemalloc
from itertools import islice

import numpy as np
import pytest

from harvester.tiling import order
from harvester.tiling.runs import Runs
from harvester.tiling.tile import BLOCK, BlockKey
from harvester.tiling.tile_rows import TileRows


def random_runs(seed: int) -> Runs:
    generator = np.random.default_rng(seed)
    count, size = generator.integers(1, 12), generator.choice([5, 40, 150, 600])
    top, first = generator.integers(0, size, count), generator.integers(0, size, count)
    high, wide = generator.integers(0, size // 3, (2, count))
    return Runs.from_bands(top, top + high, first, first + wide)


def in_order(runs: TileRows) -> list[tuple[int, int]]:
    """The slow twin: every tile, sorted by bundle row, bundle column, row, column."""
    return sorted(runs, key=lambda tile: (tile[0] // BLOCK, tile[1] // BLOCK, *tile))


@pytest.mark.parametrize("seed", range(25))
def test_blocks_tiles_and_slices_are_those_of_the_sorted_list(seed: int) -> None:
    runs, chance = random_runs(seed), random.Random(seed)
    want = in_order(runs)
    found = []
    for key, mask in order.blocks(3, runs):
        assert key.level == 3
        assert key.row % BLOCK == key.col % BLOCK == 0
        assert mask.any()
        assert not mask.flags.writeable
        rows, cols = np.nonzero(mask)
        found += zip((rows + key.row).tolist(), (cols + key.col).tolist(), strict=True)
    assert found == want
    for k in chance.sample(range(len(want)), min(40, len(want))):
        assert order.kth(runs, k) == want[k]
    for _ in range(5):
        low, high = sorted(chance.sample(range(len(want) + 1), 2))
        assert set(order.cut(runs, low, high)) == set(want[low:high])


def test_full_blocks_share_one_mask() -> None:
    masks = dict(order.blocks(0, Runs.box(0, 4 * BLOCK - 1, 0, 4 * BLOCK - 2)))
    assert len(masks) == 16
    assert sum(mask is order.FULL for mask in masks.values()) == 12
    assert masks[BlockKey(0, 128, 384)].sum() == BLOCK * (BLOCK - 1)


def test_a_hostile_box_is_answered_by_arithmetic() -> None:
    side = 1 << 31
    box = Runs.box(0, side - 1, 0, side - 1)
    tracemalloc.start()
    assert box.count == 1 << 62
    assert order.kth(box, (1 << 61) + 12345) == ((1 << 30) + 96, 57)
    assert order.cut(box, (1 << 60) + 7, (1 << 61) + 9).count == (1 << 60) + 2
    keys = [key for key, _ in islice(order.blocks(0, box), 3)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert keys == [BlockKey(0, 0, 0), BlockKey(0, 0, 128), BlockKey(0, 0, 256)]
    assert peak < 20_000_000


@pytest.mark.parametrize("k", [-1, 12])
def test_there_is_no_tile_beyond_the_last(k: int) -> None:
    with pytest.raises(IndexError):
        order.kth(Runs.box(0, 2, 0, 3), k)
    assert not order.cut(Runs.box(0, 2, 0, 3), 12, 20)
