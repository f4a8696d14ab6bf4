"""Plan blocks and ledger states turned into the tiles still to ask, block by block, tilemap windows a little ahead of
them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice, repeat
from typing import TYPE_CHECKING

import numpy as np

from harvester.edges import Ledger, State
from harvester.tiling.tile import BLOCK, BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask

AHEAD_BLOCKS = 8
"""Blocks held ready beyond the one being asked: enough that a tilemap answer is back before its tiles are due, and at
most 8 x 16,384 small integers in memory."""

CHUNK_BLOCKS = 8
"""Blocks read from the ledger at once."""

PROBE_MINIMUM = 8
"""Pending tiles below which a tilemap window costs more than it can save."""

WINDOWS_IN_FLIGHT = 4
"""Tilemap windows asked at once; each is up to 16,384 numbers of JSON for the server to make."""


class _Work:
    """One block with tiles still to ask. ``pending`` are row-major positions in it, ascending."""

    __slots__ = ("key", "pending")

    def __init__(self, key: BlockKey, pending: np.ndarray) -> None:
        self.key = key
        self.pending = pending


class Feed:
    """Gives the tiles to ask in plan order. ``take`` is called from the hot path and never waits; ``fill`` runs
    beside it.

    A block that is worth a tilemap window gives its window first and its tiles only after ``window_answered`` or
    ``window_failed``; blocks behind it are given meanwhile, so no lane idles for it. ``rows_together``: rows that are
    given side by side; where rows are shared out over several hosts, so all of these have something to do at once.
    """

    def __init__(
        self,
        blocks: Iterable[tuple[BlockKey, Mask]],
        ledger: Ledger,
        *,
        probe: bool,
        settle: Callable[[int, Sequence[tuple[BlockKey, Mask]]], Awaitable[None]] | None = None,
        on_ready: Callable[[], None],
        rows_together: int = 1,
    ) -> None:
        self._blocks = iter(blocks)
        self._ledger = ledger
        self._probe = probe
        self._on_ready = on_ready
        self._rows_together = rows_together
        self._read_all = False
        self._read = 0
        self._settle = settle
        self._room = asyncio.Event()
        self._room.set()
        self._ready: deque[_Work] = deque()
        self._to_probe: deque[_Work] = deque()
        self._probing: dict[BlockKey, _Work] = {}
        self._tiles: Iterator[Tile] = iter(())
        self.next_tile: Tile | None = None
        """What ``take`` gives; None when there is none just now. Plain attributes, like ``window_due``: both are looked
        at for every request."""
        self.window_due: BlockKey | None = None
        """The block whose tilemap window should be asked now, if any."""

    def __repr__(self) -> str:
        return (
            f"Feed(ready={len(self._ready)}, to_probe={len(self._to_probe)}, probing={len(self._probing)}, "
            f"read_all={self._read_all})"
        )

    @property
    def exhausted(self) -> bool:
        """True when every tile was given and no window is open."""
        return self._read_all and self.next_tile is None and not self._to_probe and not self._probing

    def again(self, key: BlockKey, positions: Sequence[int]) -> None:
        """Tiles of a block that ended are pending again, and given once more."""
        self._ready.append(_Work(key, np.array(sorted(positions), dtype=np.uint16)))
        if self.next_tile is None:
            self._advance()
        self._on_ready()

    def open_window(self) -> BlockKey:
        """Take the window that is due; answer it with ``window_answered`` or ``window_failed``."""
        work = self._to_probe.popleft()
        self._probing[work.key] = work
        self._look_for_windows()
        return work.key

    def _look_for_windows(self) -> None:
        due = self._to_probe and len(self._probing) < WINDOWS_IN_FLIGHT
        self.window_due = self._to_probe[0].key if due else None

    def take(self) -> Tile:
        """The next tile; call only while there is a ``next_tile``."""
        tile = self.next_tile
        assert tile is not None
        self.next_tile = next(self._tiles, None)
        if self.next_tile is None:
            self._advance()
        return tile

    def _advance(self) -> None:
        """Begin the next block that is ready; blocks that are ready hold at least one tile."""
        if self._ready:
            work = self._ready.popleft()
            self._room.set()
            pending = work.pending.astype(np.int64)  # kept smaller by ``again``
            if self._rows_together > 1:
                pending = _woven(work.key, pending, self._rows_together)
            self._tiles = _tiles_of(work.key, pending)
            self.next_tile = next(self._tiles)

    def is_any_pending(self, key: BlockKey, mask: Mask) -> bool:
        """Whether a tile of this mask is still to be asked, of a block whose window is open."""
        return bool(mask.ravel()[self._probing[key].pending].any())

    def window_answered(self, key: BlockKey, present: Mask) -> list[int]:
        """Tiles that are not present by the tilemap are absent, at the positions given back; the others are asked."""
        work = self._probing.pop(key)
        keep = present.ravel()[work.pending]
        absent = work.pending[~keep]
        work.pending = work.pending[keep]
        self._open(work)
        positions: list[int] = absent.tolist()
        return positions

    def window_failed(self, key: BlockKey) -> None:
        """The tilemap can't be trusted for this block: its tiles are asked."""
        self._open(self._probing.pop(key))

    def _open(self, work: _Work) -> None:
        if work.pending.size:
            self._ready.append(work)
            if self.next_tile is None:
                self._advance()
        self._look_for_windows()
        self._room.set()
        self._on_ready()

    async def fill(self) -> None:
        """Keep a few blocks ready until the plan is read; ends by itself."""
        while True:
            while len(self._ready) + len(self._to_probe) + len(self._probing) >= AHEAD_BLOCKS:
                self._room.clear()
                await self._room.wait()
            chunk = list(islice(self._blocks, CHUNK_BLOCKS))
            if not chunk:
                self._read_all = True
                self._on_ready()
                return
            if self._settle is not None:
                await self._settle(self._read, chunk)
            self._read += len(chunk)
            states = await self._ledger.states([key for key, _ in chunk])
            for (key, mask), state in zip(chunk, states, strict=True):
                pending = np.flatnonzero(mask.ravel() & (state.ravel() == State.PENDING))
                if pending.size:
                    work = _Work(key, pending)
                    (self._to_probe if self._probe and pending.size >= PROBE_MINIMUM else self._ready).append(work)
            if self.next_tile is None:
                self._advance()
            self._look_for_windows()
            self._on_ready()
            await asyncio.sleep(0)


def _woven(key: BlockKey, pending: np.ndarray, rows_together: int) -> np.ndarray:
    """The same positions, so many rows side by side: column by column."""
    rows, cols = pending // BLOCK + key.row, pending % BLOCK
    woven: np.ndarray = pending[np.lexsort((rows, cols, rows // rows_together))]
    return woven


def _tiles_of(key: BlockKey, pending: np.ndarray) -> Iterator[Tile]:
    """Made by C alone (benchmarks/bench_engine.py): ``Tile(level, row, col)`` in a generator takes twice as long."""
    rows = (pending // BLOCK + key.row).tolist()
    cols = (pending % BLOCK + key.col).tolist()
    return map(tuple.__new__, repeat(Tile), zip(repeat(key.level), rows, cols))
