"""What becomes of a block's states, without a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harvester.edges import BlockChange, State
from harvester.ledger_changes import enlisted, reconciled, recorded
from harvester.ledger_reader import decode, encode
from harvester.tiling.tile import BLOCK, BlockKey

KEY, FILE = BlockKey(9, 128, 256), Path("out.ledger")


def block(*states):
    """A block whose first tiles are in these states."""
    array = np.zeros((BLOCK, BLOCK), dtype=np.uint8)
    array.reshape(-1)[: len(states)] = states
    return array


def mask(*positions):
    there = np.zeros((BLOCK, BLOCK), dtype=bool)
    there.reshape(-1)[list(positions)] = True
    return there


def test_only_tiles_that_nobody_planned_become_pending():
    row = enlisted(encode(block(State.STORED, State.UNPLANNED, State.FAILED)), mask(0, 1, 2), FILE)
    assert (decode(row, FILE) == block(State.STORED, State.PENDING, State.FAILED)).all()
    assert enlisted(row, mask(0, 1, 2), FILE) is None


@pytest.mark.parametrize("there", [mask(0, 5), np.ones((BLOCK, BLOCK), dtype=bool)], ids=["some", "all"])
def test_a_block_without_a_row_gets_the_tiles_that_are_planned(there):
    assert ((decode(enlisted(None, there, FILE), FILE) == State.PENDING) == there).all()


def test_a_tile_that_fails_has_a_reason_and_one_that_came_after_all_has_none():
    after = {KEY: block(State.PENDING, State.FAILED, State.UNPLANNED)}
    reasons = recorded(
        [
            BlockChange(KEY, State.FAILED, [0, 2], {0: "500"}),
            BlockChange(KEY, State.STORED, [1]),
        ],
        after,
    )
    assert reasons == {(*KEY, 0): "500", (*KEY, 1): None}
    assert (after[KEY] == block(State.FAILED, State.STORED, State.UNPLANNED)).all()


def test_the_index_of_the_cache_decides_what_is_stored():
    before = block(State.STORED, State.ABSENT, State.FAILED, State.PENDING, State.UNPLANNED, State.FAILED)
    states, mended = reconciled(KEY, before, mask(2, 3, 4))
    assert (states == block(State.PENDING, State.PENDING, State.STORED, State.STORED, 0, State.FAILED)).all()
    assert mended == {(*KEY, 2): None}
    assert reconciled(KEY, states, mask(2, 3, 4)) is None
