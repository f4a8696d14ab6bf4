"""Which of the tiles that a tilemap denied it is held against: few, from everywhere."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from harvester.edges import Ledger, State
from harvester.planning import Plan
from harvester.tiling.tile import BlockKey, Tile, block_of

ASKED = 32
"""Tiles that are asked themselves: what an empty plan costs at most, and enough to come upon two of a town, or of every
eighth column."""

MIDDLES = 4
"""Of these, in the middle of a LOD."""

PERIODS = range(2, 9)
"""Of stripes, tile for tile, that a tilemap in disorder may deny although they are there."""

SPREAD = 512
"""Tiles of a plan that are chosen from."""

OF_A_LOD = 256
"""Denied tiles of one LOD that are chosen from."""

OF_A_BLOCK = 4 * ASKED
"""Denied tiles of one block (one window) that are chosen from: where all lie in one, as many as are ever asked."""

NEAR = 16
"""Tiles that are asked around the only one that was there: of a bundle that was lost, one of many windows, the others
are there, too; of one odd picture, none is."""

CHUNK_BLOCKS = 256
"""Blocks of the ledger that are read at once."""

GOLDEN = (math.sqrt(5) - 1) / 2


def some_of(plan: Plan, most: int = ASKED) -> list[Tile]:
    """A few tiles: the middle one of LODs from the coarsest to the finest, and others from all over the plan, such that
    whatever every second to eighth row, column or diagonal holds is come upon twice. The first are the same for every
    ``most``."""
    if plan.total <= ASKED:
        return [plan.tile_at(place) for place in range(plan.total)]
    places, start = [], 0
    for lod in plan.lods:
        places += [start + lod.planned // 2] if lod.planned else []
        start += lod.planned
    middle = [places[len(places) * at // MIDDLES] for at in range(min(MIDDLES, len(places)))]
    chosen = list(dict.fromkeys(plan.tile_at(place) for place in middle))
    # Weyl's sequence: evenly spread, in step with nothing.
    spread = (int(plan.total * (GOLDEN * at % 1.0)) for at in range(1, SPREAD + 1))
    left = dict.fromkeys(plan.tile_at(place) for place in dict.fromkeys(spread))
    met = Counter(stripe for tile in chosen for stripe in stripes(tile))
    while left and len(chosen) < most:
        best = max(left, key=lambda tile: sum(2.0 ** -met[stripe] for stripe in stripes(tile)))
        del left[best]
        if best not in chosen:
            chosen.append(best)
            met.update(stripes(best))
    return chosen


def stripes(tile: Tile) -> list[tuple[int, int, int]]:
    """Those that a tile lies on: direction, period, place in the period."""
    _, row, col = tile
    ways = (row, col, row + col, row - col)
    return [(way, period, value % period) for way, value in enumerate(ways) for period in PERIODS]


@dataclass(slots=True)
class Sample:
    """Tiles of one LOD to choose from, some positions of each block: of every ``step``-th one that denies any."""

    step: int = 1
    seen: int = 0
    tiles: int = 0
    """All that are absent."""
    blocks: list[tuple[BlockKey, np.ndarray]] = field(default_factory=list)

    def add(self, key: BlockKey, absent: np.ndarray) -> None:
        """The next block."""
        self.seen += 1
        self.tiles += absent.size
        if (self.seen - 1) % self.step:
            return
        self.blocks.append((key, np.array(spread(absent, OF_A_BLOCK), dtype=np.uint16)))
        while len(self.blocks) > OF_A_LOD:
            self.blocks = self.blocks[::2]
            self.step *= 2

    def candidates(self) -> dict[Tile, None]:
        """At most so many, of as many blocks as there are."""
        ordered = ((key, places[at]) for at in range(OF_A_BLOCK) for key, places in self.blocks if at < places.size)
        return dict.fromkeys(key.tile(int(position)) for key, position in islice(ordered, OF_A_LOD))


def spread(positions: np.ndarray, number: int) -> list[int]:
    """So many of these, by Weyl's sequence: evenly spread, in step with nothing, and so are the first of them."""
    size = positions.size
    places = dict.fromkeys(int(size * (GOLDEN * at % 1.0)) for at in range(1, number + 1))
    if len(places) < min(number, size):
        places |= dict.fromkeys(range(size))
    return [int(positions[place]) for place in islice(places, number)]


async def some_denied(
    ledger: Ledger, plan: Plan, levels: Collection[int], most: int, first: Collection[Tile] = ()
) -> tuple[list[Tile], list[Tile], int]:
    """A few absent tiles of these LODs: of each LOD one at least, the more the more it has, of as many windows as there
    are, on as many rows, columns and diagonals as may be; the first are the same for every ``most``. Gives what is
    absent of ``first`` (``most`` of them), such others, and how many all of both kinds are."""
    samples = {level: Sample() for level in levels}
    by_block: dict[BlockKey, list[Tile]] = {}
    for tile in sorted(first):
        by_block.setdefault(block_of(tile), []).append(tile)
    before: list[Tile] = []
    async for key, absent in absent_tiles(ledger, plan):
        if key in by_block and len(before) < most:
            positions = set(absent.tolist())
            before += [tile for tile in by_block[key] if key.position(tile) in positions]
        if key.level in samples:
            samples[key.level].add(key, absent)
    left = {level: sample.candidates() for level, sample in samples.items() if sample.tiles}
    chosen: list[Tile] = []
    for tile in before:
        left.get(tile.level, {}).pop(tile, None)
    met: Counter[tuple[int, int, int]] = Counter()
    taken: Counter[int] = Counter()

    def need(level: int) -> tuple[bool, float]:
        return not taken[level], math.sqrt(samples[level].tiles) / (taken[level] + 1)

    while len(chosen) < most and (open_levels := [level for level in left if left[level]]):
        level = max(open_levels, key=need)
        best = max(left[level], key=lambda tile: sum(2.0 ** -met[stripe] for stripe in stripes(tile)))
        del left[level][best]
        taken[level] += 1
        chosen.append(best)
        met.update(stripes(best))
    elsewhere = sum(tile.level not in samples for tile in before)
    return before, chosen, elsewhere + sum(sample.tiles for sample in samples.values())


async def one_stored(ledger: Ledger, plan: Plan) -> list[Tile]:
    """A planned tile that was served, if there is one."""
    blocks = plan.blocks()
    while chunk := list(islice(blocks, CHUNK_BLOCKS)):
        for (key, mask), states in zip(chunk, await ledger.states([key for key, _ in chunk]), strict=True):
            positions = np.flatnonzero((mask & (states == State.STORED)).ravel())
            if positions.size:
                return [key.tile(int(positions[0]))]
    return []


async def some_near(ledger: Ledger, plan: Plan, there: Tile, asked: Collection[Tile]) -> list[Tile]:
    """Absent tiles of its block around one that is there, without those that were asked."""
    key = block_of(there)
    (states,) = await ledger.states([key])
    tiles = [key.tile(position) for position in np.flatnonzero(states.ravel() == State.ABSENT).tolist()]
    tiles.sort(key=lambda tile: max(abs(tile.row - there.row), abs(tile.col - there.col)))
    return [tile for tile in tiles if tile not in asked and plan.contains(tile)][:NEAR]


async def absent_outside(ledger: Ledger, plan: Plan) -> int:
    """How many tiles are absent that only other plans hold."""
    inside = total = 0
    async for _, absent in absent_tiles(ledger, plan):
        inside += absent.size
    keys = iter(await ledger.keys())
    while chunk := list(islice(keys, CHUNK_BLOCKS)):
        total += sum(int((states == State.ABSENT).sum()) for states in await ledger.states(chunk))
    return total - inside


async def absent_tiles(ledger: Ledger, plan: Plan) -> AsyncIterator[tuple[BlockKey, np.ndarray]]:
    """Positions of planned tiles that are absent, by block."""
    blocks = plan.blocks()
    while chunk := list(islice(blocks, CHUNK_BLOCKS)):
        for (key, mask), states in zip(chunk, await ledger.states([key for key, _ in chunk]), strict=True):
            positions = np.flatnonzero((mask & (states == State.ABSENT)).ravel())
            if positions.size:
                yield key, positions
