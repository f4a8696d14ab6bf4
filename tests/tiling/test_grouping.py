"""Sorting a batch into blocks, against a loop that does it tile by tile."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harvester.tiling.grouping import by_block
from harvester.tiling.tile import BlockKey, Tile, block_of

TILES = st.builds(Tile, st.integers(0, 3), st.integers(0, 400), st.integers(0, 400))


@given(st.lists(TILES, max_size=60))
def test_every_tile_is_in_its_block_at_its_position_in_the_order_in_which_it_came(tiles: list[Tile]) -> None:
    slow: dict[BlockKey, list[tuple[int, int]]] = {}
    for number, tile in enumerate(tiles):
        slow.setdefault(block_of(tile), []).append((block_of(tile).position(tile), number))
    groups = by_block(tiles)
    assert [group.key for group in groups] == sorted(slow)
    for key, positions, numbers in groups:
        assert list(zip(positions.tolist(), numbers.tolist(), strict=True)) == slow[key]


def test_far_tiles_keep_their_addresses() -> None:
    ((key, positions, _),) = by_block([Tile(31, 2**31 - 1, 2**31 - 2), Tile(31, 2**31 - 128, 2**31 - 128)])
    assert key == (31, 2**31 - 128, 2**31 - 128)
    assert positions.tolist() == [127 * 128 + 126, 0]
