"""What becomes of a block's states when tiles are planned, end or are found in the cache: pure, arrays in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harvester.edges import BlockChange, State
from harvester.ledger_reader import decode, encode
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey

if TYPE_CHECKING:
    from harvester.edges import Mask, States

Reasons = dict[tuple[int, ...], str | None]
"""By block key and position: why a tile is failed, None for one that is failed no more."""

_ALL_PENDING = encode(np.full((BLOCK, BLOCK), State.PENDING, dtype=np.uint8))


def enlisted(row: bytes | None, mask: Mask, path: Path) -> bytes | None:
    """A block's row with these tiles planned too; None where it has them all. ``row`` None: there is none yet."""
    if row is None:
        return _ALL_PENDING if mask.all() else encode(mask.astype(np.uint8))
    before = decode(row, path)
    new = mask & (before == State.UNPLANNED)
    return encode(np.where(new, np.uint8(State.PENDING), before)) if new.any() else None


def recorded(changes: Sequence[BlockChange], after: Mapping[BlockKey, States]) -> Reasons:
    """Put tiles into the states that they reached, in the arrays of ``after``; those that nobody planned get none."""
    reasons_now: Reasons = {}
    for key, state, indexes, reasons in changes:
        flat = after[key].reshape(BLOCK_TILES)
        where = np.asarray(indexes, dtype=np.intp)
        before = flat[where]
        if (before == State.UNPLANNED).any():
            where = where[before != State.UNPLANNED]
            before = flat[where]
        if (before == State.FAILED).any():
            reasons_now.update(((*key, index), None) for index in where[before == State.FAILED].tolist())
        flat[where] = state
        if state is State.FAILED:
            reasons_now.update(((*key, index), reasons.get(index, "")) for index in where.tolist())
    return reasons_now


def reconciled(key: BlockKey, before: States, there: Mask) -> tuple[States, Reasons] | None:
    """A block's states when the cache's own index decides: planned tiles there are STORED, ended ones that aren't
    PENDING. None where nothing changes."""
    states = before.copy()
    planned = before != State.UNPLANNED
    asked_again = (before == State.STORED) | (before == State.UNCHANGED) | (before == State.ABSENT)
    states[asked_again & ~there] = State.PENDING
    states[planned & there] = State.STORED
    if np.array_equal(states, before):
        return None
    found = np.flatnonzero((before == State.FAILED) & there)
    return states, {(*key, index): None for index in found.tolist()}
