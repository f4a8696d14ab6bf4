"""Tiles on their way into a cache, sorted into its blocks."""

from __future__ import annotations

import pytest

from harvester.edges import Stored, StoredBatch, bodies_of, groups_of
from harvester.tiling.tile import Tile

NEAR = [Tile(9, 3, 7), Tile(9, 5, 6)]
FAR = [Tile(9, 3, 7), Tile(9, 300, 7), Tile(9, 5, 6), Tile(4, 3, 3)]


def stored(tiles: list[Tile]) -> list[Stored]:
    return [Stored(tile, b"%d/%d/%d" % tile, "png") for tile in tiles]


@pytest.mark.parametrize("tiles", [NEAR, FAR, []])
def test_a_batch_has_the_blocks_that_its_tiles_have_one_by_one(tiles: list[Tile]) -> None:
    plain, batch = stored(tiles), StoredBatch(stored(tiles))
    for one, other in zip(groups_of(plain), groups_of(batch), strict=True):
        assert one.key == other.key
        assert one.positions.tolist() == other.positions.tolist()
        assert one.numbers.tolist() == other.numbers.tolist()
        there = {one.key.tile(at): body for at, body in zip(one.positions.tolist(), bodies_of(plain, one), strict=True)}
        assert there == {tile: b"%d/%d/%d" % tile for tile in there}
    assert sum(len(group.numbers) for group in groups_of(batch)) == len(tiles)


def test_the_blocks_are_worked_out_once() -> None:
    batch = StoredBatch(stored(FAR))
    assert groups_of(batch) is groups_of(batch)
