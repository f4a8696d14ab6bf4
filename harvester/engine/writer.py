"""The one writer: batches of whole tiles to the cache, then to the ledger, then to whoever counts. That order is the
safety."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from harvester.edges import BlockChange, CacheWriter, Ledger, Stamps, State, Stored, StoredBatch
from harvester.tiling.tile import BlockKey, Tile, block_of

BATCH_TILES: Final = 2048
"""Tiles in one commit: two syncs are then under a microsecond a tile on a fast disk, and a crash costs little."""

BATCH_BYTES: Final = 32 << 20
"""Bytes in one commit: with one batch filling, one queued and one being written, memory stays under 100 MB."""

BATCH_SECONDS: Final = 1.0
"""Age at which a batch is written however small: the most that a crash of a slow run can cost."""

QUEUED_BATCHES: Final = 1
"""Closed batches that may wait for the writer before the lanes do."""


@dataclass(slots=True)
class Batch:
    """Tiles that ended, on their way to the disk."""

    opened: float = 0.0
    size: int = 0
    stored: StoredBatch = field(default_factory=StoredBatch)
    digests: list[int] = field(default_factory=list)
    """xxh3-64 of each body, made while it was at hand."""
    changes: dict[tuple[BlockKey, State], list[int]] = field(default_factory=dict)
    """Row-major positions by block and state; those of ``stored`` come in when the batch is closed."""
    reasons: dict[BlockKey, dict[int, str]] = field(default_factory=dict)
    marked: int = 0
    """Tiles that ended without bytes."""
    taken_back: dict[tuple[BlockKey, State], list[int]] = field(default_factory=dict)
    """Tiles that had ended in this state and are pending again; such a batch holds nothing else."""

    @property
    def ended(self) -> int:
        """Tiles in all."""
        return len(self.stored) + self.marked

    def close(self) -> None:
        """Nothing more comes: sort what is stored into its blocks."""
        for key, positions, _ in self.stored.groups:
            self.changes.setdefault((key, State.STORED), []).extend(positions.tolist())

    def block_changes(self) -> list[BlockChange]:
        """The changes as the ledger takes them."""
        if self.taken_back:
            return [BlockChange(key, State.PENDING, indexes) for (key, _), indexes in self.taken_back.items()]
        return [
            BlockChange(key, state, indexes, self.reasons.get(key, {}) if state is State.FAILED else {})
            for (key, state), indexes in self.changes.items()
        ]


class Writer:
    """Collects what ended (``store``, ``mark``), writes it in batches, and tells ``on_recorded`` after each ledger
    commit.

    ``has_room`` is the back-pressure: while it is False, ``next_request`` hands out nothing.
    """

    def __init__(
        self,
        cache: CacheWriter,
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        on_recorded: Callable[[Batch], None],
        on_room: Callable[[], None],
    ) -> None:
        self._cache = cache
        self._ledger = ledger
        self._clock = clock
        self._on_recorded = on_recorded
        self._on_room = on_room
        self._batch = Batch()
        self._queue: deque[Batch] = deque()
        self._work = asyncio.Event()
        self._rest = asyncio.Event()
        self._writing = False
        self._closing = False
        self.has_room = True

    def __repr__(self) -> str:
        return f"Writer(filling={self._batch.ended}, queued={len(self._queue)}, writing={self._writing})"

    @property
    def waiting(self) -> int:
        """Tiles that have ended and are not recorded yet."""
        return self._batch.ended + sum(batch.ended for batch in self._queue)

    @property
    def idle(self) -> bool:
        """True when nothing waits to be written."""
        return not self._queue and not self._writing and not self._batch.ended

    def store(self, stored: Stored, digest: int) -> None:
        """A whole tile came; ``digest``: the xxh3-64 of its body."""
        batch = self._batch
        size = batch.size
        if not size and not batch.marked:
            batch.opened = self._clock()
        batch.stored.append(stored)
        batch.digests.append(digest)
        size = batch.size = size + len(stored.body)
        if size >= BATCH_BYTES or len(batch.stored) + batch.marked >= BATCH_TILES:
            self._close_batch()

    def mark(self, tile: Tile, state: State, reason: str = "") -> None:
        """A tile ended without bytes: absent, failed, unchanged."""
        key = block_of(tile)
        index = key.position(tile)
        self.mark_block(key, state, [index])
        if state is State.FAILED:
            self._batch.reasons.setdefault(key, {})[index] = reason
        if self._batch.ended >= BATCH_TILES:
            self._close_batch()

    def mark_block(self, key: BlockKey, state: State, indexes: list[int]) -> None:
        """Tiles of one block ended without bytes. Never closes the batch, so a reason can still be added to it."""
        batch = self._batch
        if not batch.ended:
            batch.opened = self._clock()
        batch.changes.setdefault((key, state), []).extend(indexes)
        batch.marked += len(indexes)

    def take_back(self, tiles: dict[tuple[BlockKey, State], list[int]]) -> None:
        """Tiles that were given are doubtful: once what came before is written, they are taken out of the cache and
        are pending again."""
        if self._batch.ended:
            self._close_batch()
        self._batch.taken_back = tiles
        self._close_batch()

    def close_old(self, now: float) -> None:
        """Close the batch if it has waited long enough; called by the run's ticker."""
        if self._batch.ended and now - self._batch.opened >= BATCH_SECONDS and not self._queue:
            self._close_batch()

    def _close_batch(self) -> None:
        self._batch.close()
        self._queue.append(self._batch)
        self._batch = Batch()
        self.has_room = len(self._queue) <= QUEUED_BATCHES
        self._work.set()

    async def run(self) -> None:
        """Write batches until ``finish``; raises CacheError at the first one that can't be written."""
        try:
            while True:
                while self._queue:
                    self._writing = True
                    await self._write(self._queue[0])
                    self._queue.popleft()
                    self._writing = False
                    if not self.has_room:
                        self.has_room = len(self._queue) <= QUEUED_BATCHES
                        self._on_room()
                self._rest.set()
                if self._closing:
                    return
                self._work.clear()
                await self._work.wait()
        finally:
            self._closing = True
            self._rest.set()

    async def flush(self) -> None:
        """Return when all that was given is written, or nothing more can be."""
        if self._batch.ended:
            self._close_batch()
        while (self._queue or self._writing) and not self._closing:
            self._rest.clear()
            await self._rest.wait()

    async def _write(self, batch: Batch) -> None:
        stamps: Stamps = _NO_STAMPS
        if batch.stored:
            stamps = await self._cache.store(batch.stored)
        elif batch.taken_back:
            stored = [(key, at) for (key, state), at in batch.taken_back.items() if state is State.STORED]
            stamps = await self._cache.remove([key.tile(index) for key, indexes in stored for index in indexes])
        await self._ledger.record(batch.block_changes(), stamps)
        self._on_recorded(batch)

    def finish(self) -> None:
        """No more tiles come: write what is there, then let ``run`` end."""
        if self._batch.ended:
            self._close_batch()
        self._closing = True
        self._work.set()


_NO_STAMPS: Mapping[BlockKey | None, str] = {}
