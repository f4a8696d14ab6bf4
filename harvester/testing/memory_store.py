"""Cache and Ledger in memory: what they were given stays when a run is killed, for the next run on the same objects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from harvester.edges import (
    BlockChange,
    CacheInfo,
    Damage,
    LedgerFailure,
    Stamps,
    State,
    Stored,
    Subject,
    TileFormat,
)
from harvester.errors import CacheError
from harvester.testing.schemes import WEB_MERCATOR
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey, Tile, block_of

if TYPE_CHECKING:
    from harvester.edges import Mask, States


class MemoryCache:
    """A cache opened for writing. A batch is in it whole or not at all; ``fails`` says which (from 1) it refuses.

    ``bodies`` are its tiles, ``kinds`` the kind of each, ``batches`` the sizes of the batches stored, ``finished`` the
    subject of ``finish``.
    """

    def __init__(
        self,
        scheme: TilingScheme = WEB_MERCATOR.scheme,
        *,
        stamp_blocks: bool = False,
        seconds: float = 0.0,
        fails: Callable[[int], bool] = lambda batch: False,
    ) -> None:
        self.info = CacheInfo(format="memory", scheme=scheme, tile_format=TileFormat.PNG)
        self.bodies: dict[Tile, bytes] = {}
        self.kinds: dict[Tile, str] = {}
        self.batches: list[int] = []
        self.finished: Subject | None = None
        self._stamp_blocks = stamp_blocks
        self._seconds = seconds
        self._fails = fails
        self._generation = 0
        self._block_generations: dict[BlockKey, int] = {}

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there."""
        mask = np.zeros((BLOCK, BLOCK), dtype=bool)
        for tile in self.bodies:
            if block_of(tile) == key:
                mask[tile.row - key.row, tile.col - key.col] = True
        return mask

    def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """One a block, or one for the whole, as chosen."""
        if self._stamp_blocks:
            return {key: str(self._block_generations[key]) for key in keys if key in self._block_generations}
        return {None: str(self._generation)}

    async def store(self, batch: Sequence[Stored]) -> Stamps:
        """Write a batch; takes ``seconds`` of the loop's time."""
        number = len(self.batches) + 1
        await asyncio.sleep(self._seconds)
        if self._fails(number):
            raise CacheError("the disk is full (in memory)", hint="Make room.", code="disk_full")
        self.batches.append(len(batch))
        for tile, body, kind in batch:
            self.bodies[tile] = body
            self.kinds[tile] = kind
        return self._touched([item.tile for item in batch])

    async def remove(self, tiles: Sequence[Tile]) -> Stamps:
        """Take tiles out again."""
        await asyncio.sleep(self._seconds)
        for tile in tiles:
            self.bodies.pop(tile, None)
        return self._touched(tiles)

    async def finish(self, subject: Subject) -> None:
        """Keep the subject; the first one stays."""
        self.finished = self.finished or subject

    async def close(self) -> None:
        """Nothing to release."""

    def _touched(self, tiles: Sequence[Tile]) -> Stamps:
        keys = {block_of(tile) for tile in tiles}
        self._generation += bool(tiles)
        for key in keys:
            self._block_generations[key] = self._block_generations.get(key, 0) + 1
        return self.stamps(sorted(keys))

    def reader(self) -> MemoryReader:
        """The same cache opened for reading."""
        return MemoryReader(self)


class MemoryReader:
    """A MemoryCache opened for reading; sees what is stored after it was opened, too."""

    def __init__(self, cache: MemoryCache) -> None:
        self.info = cache.info
        self._cache = cache

    def read(self, level: int, row: int, col: int) -> bytes | None:
        """The tile's bytes, or None."""
        return self._cache.bodies.get(Tile(level, row, col))

    def levels(self) -> Sequence[int]:
        """Levels that hold at least one tile."""
        return sorted({tile.level for tile in self._cache.bodies})

    def blocks(self, level: int) -> Iterator[BlockKey]:
        """Blocks of a level that hold at least one tile, by row, then column."""
        return iter(sorted({block_of(tile) for tile in self._cache.bodies if tile.level == level}))

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there."""
        return self._cache.present(key)

    def tiles(self, key: BlockKey) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of one block by row, then column."""
        return iter(sorted(item for item in self._cache.bodies.items() if block_of(item[0]) == key))

    def check(self) -> Iterator[Damage]:
        """Nothing can be damaged here."""
        return iter(())

    lost = unmendable = check

    def close(self) -> None:
        """Nothing to release."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


class MemoryLedger:
    """States by block. ``records`` holds every ``record`` in order, for tests of the write order."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.records: list[tuple[tuple[BlockChange, ...], dict[BlockKey | None, str]]] = []
        self._seconds = seconds
        self._states: dict[BlockKey, States] = {}
        self._reasons: dict[Tile, str] = {}
        self._stamps: dict[BlockKey | None, str] = {}
        self._meta: dict[str, str] = {}

    async def enlist(self, blocks: Sequence[tuple[BlockKey, Mask]]) -> None:
        """New tiles become PENDING, the others keep their state."""
        for key, mask in blocks:
            states = self._states.setdefault(key, np.zeros((BLOCK, BLOCK), dtype=np.uint8))
            states[mask & (states == State.UNPLANNED)] = State.PENDING

    async def keys(self) -> list[BlockKey]:
        """Every block that was enlisted."""
        return sorted(self._states)

    async def states(self, keys: Sequence[BlockKey]) -> list[States]:
        """Copies of the states of these blocks."""
        nothing = np.zeros((BLOCK, BLOCK), dtype=np.uint8)
        return [self._states.get(key, nothing).copy() for key in keys]

    async def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """As last recorded."""
        return {key: self._stamps[key] for key in (*keys, None) if key in self._stamps}

    async def reconcile(self, blocks: Sequence[tuple[BlockKey, Mask]], stamps: Stamps) -> None:
        """The cache's own index decides."""
        for key, present in blocks:
            states = self._states.get(key)
            if states is None:
                continue
            planned = states != State.UNPLANNED
            lost = (states == State.STORED) | (states == State.UNCHANGED) | (states == State.ABSENT)
            states[planned & lost & ~present] = State.PENDING
            states[planned & present] = State.STORED
        self._stamps.update(stamps)

    async def record(self, changes: Sequence[BlockChange], stamps: Stamps) -> None:
        """Tiles that reached a state, all of them or none."""
        await asyncio.sleep(self._seconds)
        self.records.append((tuple(changes), dict(stamps)))
        for key, state, indexes, reasons in changes:
            states = self._states.setdefault(key, np.zeros((BLOCK, BLOCK), dtype=np.uint8))
            for index in indexes:
                states[divmod(index, BLOCK)] = state
                self._reasons.pop(key.tile(index), None)
                if state is State.FAILED:
                    self._reasons[key.tile(index)] = reasons.get(index, "")
        self._stamps.update(stamps)

    async def failures(self, limit: int) -> list[LedgerFailure]:
        """Failed tiles in plan order: level, block row, block column, row, column."""
        failed = sorted(self._reasons, key=lambda tile: (*block_of(tile), tile.row, tile.col))
        return [
            LedgerFailure.of(tile, self._reasons[tile])
            for tile in failed
            if self._states[block_of(tile)][tile.row & 127, tile.col & 127] == State.FAILED
        ][:limit]

    async def set_meta(self, values: Mapping[str, Any]) -> None:
        """Kept as JSON, as a real ledger would."""
        self._meta |= {name: json.dumps(value) for name, value in values.items()}

    async def get_meta(self, name: str) -> Any:
        """One fact, None when unknown."""
        return json.loads(self._meta.get(name, "null"))

    async def close(self) -> None:
        """Nothing to leave behind."""
