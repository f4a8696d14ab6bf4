"""Plan, ledger and cache brought to agree before the first tile is asked; of a plan beyond all measure, as far as
needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np

from harvester.edges import BlockChange, Ledger, Stamps, State
from harvester.engine.tally import FAILED_REMEMBERED, Tally
from harvester.tiling.tile import BlockKey

if TYPE_CHECKING:
    from harvester.edges import Mask, States

AGREE_BLOCKS = 256
"""Blocks compared between plan, ledger and cache at once: bounded memory, few ledger reads."""

LAZY_BLOCKS = 4096
"""Blocks (67 million tiles, if full) that are enlisted at once where a budget of tiles is given: a plan of 10^14
tiles has
a billion of them, and its budget will never come to most."""

Known = Callable[[BlockKey], "Awaitable[Mask | None]"]
"""Which tiles of a block there are by the source's own index; None where it can't tell."""


class Holding(Protocol):
    """What can say which tiles it holds: a cache opened for writing, or the finished package beside an empty work
    folder."""

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there."""

    def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """Short texts that change whenever these blocks may have changed."""


class Agreement:
    """Enlists the plan in the ledger, lets the cache's own index decide where the two disagree, and counts.

    Failed tiles of earlier runs become pending again. ``totals`` are the plan's tiles by level. With a ``budget`` of
    tiles,
    ``begin`` ends once so many are pending; the rest counts as pending too, and ``later`` settles it when it is come
    to. ``known`` is asked for blocks with pending tiles: those that are not there by the source's own index are absent
    (None: nothing is known); ``named_absent`` counts them.
    """

    def __init__(
        self,
        ledger: Ledger,
        holding: Holding,
        *,
        totals: Mapping[int, int] | None = None,
        budget: int | None = None,
        retry_failed: bool = True,
        known: Known | None = None,
    ) -> None:
        self.tally = Tally()
        self.named_absent: dict[int, int] = {}
        self._known = known
        self._ledger = ledger
        self._holding = holding
        self._totals = dict(totals or {})
        self._budget = budget if totals else None
        self._retry_failed = retry_failed
        self._whole_doubtful = False
        self._settled = 0
        self._listed: dict[int, int] = {}

    @property
    def unlisted(self) -> dict[int, int]:
        """Tiles by level that the ledger does not have yet."""
        rest = {level: total - self._listed.get(level, 0) for level, total in self._totals.items()}
        return {level: tiles for level, tiles in rest.items() if tiles > 0}

    async def begin(self, blocks: Iterable[tuple[BlockKey, Mask]]) -> Tally:
        """Settle the plan's blocks in their order; gives what stands, with ``kept`` set."""
        ledger, holding, tally = self._ledger, self._holding, self.tally
        self._whole_doubtful = (await ledger.stamps([])).get(None, "") != holding.stamps([]).get(None, "")
        if self._whole_doubtful:
            # The whole cache may be another one: tiles that other jobs recorded are looked at as well.
            known = await ledger.keys()
            for first in range(0, len(known), AGREE_BLOCKS):
                part = known[first : first + AGREE_BLOCKS]
                await ledger.reconcile([(key, holding.present(key)) for key in part], {})
        for chunk in _chunks(blocks):
            await self._settle(chunk, tally)
            self._settled += len(chunk)
            if self._budget is not None and self._settled >= LAZY_BLOCKS and tally.counts().pending >= self._budget:
                break
        if self._whole_doubtful:
            # Recorded only after the last block, so a crash in between checks all again.
            await ledger.record([], {None: holding.stamps([]).get(None, "")})
        for level, tiles in self.unlisted.items():
            tally.add(level, State.PENDING, tiles)
        tally.kept = sum(row[State.STORED] for row in tally.levels.values())
        return tally

    def goes_on_with(self, holding: Holding) -> None:
        """The same tiles are held elsewhere now: a package was unpacked to be added to."""
        self._holding = holding

    async def later(self, position: int, chunk: Sequence[tuple[BlockKey, Mask]]) -> None:
        """Settle blocks that ``begin`` left out; ``position`` is the number of blocks before them in the plan."""
        if position + len(chunk) <= self._settled:
            return
        chunk = chunk[max(0, self._settled - position) :]
        found = Tally()
        await self._settle(chunk, found)
        self._settled = position + len(chunk)
        for level, row in found.levels.items():
            counts = self.tally.levels[level]
            for state in (State.STORED, State.ABSENT, State.FAILED):
                counts[State.PENDING] -= row[state]
                counts[state] += row[state]
            self.tally.kept += row[State.STORED]
        self.tally.one_kept = self.tally.one_kept or found.one_kept
        self.tally.failed_before |= found.failed_before

    async def _settle(self, chunk: Sequence[tuple[BlockKey, Mask]], tally: Tally) -> None:
        ledger, holding = self._ledger, self._holding
        keys = [key for key, _ in chunk]
        unplanned = [states == State.UNPLANNED for states in await ledger.states(keys)]
        await ledger.enlist(chunk)
        then, now = await ledger.stamps(keys), holding.stamps(keys)
        # A cache with one stamp for the whole (a file) has none for its blocks: what the ledger has there is older.
        by_block = None not in now
        doubtful = {key for key in keys if self._whole_doubtful or (by_block and then.get(key, "") != now.get(key, ""))}
        if doubtful:
            await ledger.reconcile(
                [(key, holding.present(key)) for key in doubtful], {key: now.get(key, "") for key in doubtful}
            )
        found: list[BlockChange] = []
        for key, states in zip(keys, await ledger.states(keys), strict=True):
            # No commit stands behind what a 304 ended: the cache alone knows whether there was a tile to keep.
            kept = states == State.UNCHANGED
            if key not in doubtful and kept.any() and (lost := kept & ~holding.present(key)).any():
                found.append(BlockChange(key, State.PENDING, np.flatnonzero(lost.ravel()).tolist()))
        for (key, mask), before in zip(chunk, unplanned, strict=True):
            new = mask & before
            # The cache may hold tiles that this ledger never heard of: one that was lost knows only the jobs since.
            if key not in doubtful and new.any() and (there := new & holding.present(key)).any():
                found.append(BlockChange(key, State.STORED, np.flatnonzero(there.ravel()).tolist()))
        if found:
            await ledger.record(found, {})
        changes: list[BlockChange] = []
        for (key, mask), states in zip(chunk, await ledger.states(keys), strict=True):
            self._listed[key.level] = self._listed.get(key.level, 0) + int(mask.sum())
            _count(tally, key, mask, states, changes if self._retry_failed else None)
            gone = await self._gone(key, mask & (states == State.PENDING))
            if gone:
                changes.append(BlockChange(key, State.ABSENT, gone))
                tally.add(key.level, State.PENDING, -len(gone))
                tally.add(key.level, State.ABSENT, len(gone))
                self.named_absent[key.level] = self.named_absent.get(key.level, 0) + len(gone)
        if changes:
            await ledger.record(changes, {})

    async def _gone(self, key: BlockKey, pending: Mask) -> list[int]:
        """Pending tiles of a block that the source's own index does not name."""
        there = await self._known(key) if self._known is not None and pending.any() else None
        return [] if there is None else np.flatnonzero(pending & ~there).tolist()


async def agree(blocks: Iterable[tuple[BlockKey, Mask]], ledger: Ledger, holding: Holding) -> Tally:
    """The whole plan brought to agree at once."""
    return await Agreement(ledger, holding).begin(blocks)


def _chunks(blocks: Iterable[tuple[BlockKey, Mask]]) -> Iterator[list[tuple[BlockKey, Mask]]]:
    blocks = iter(blocks)
    while chunk := list(islice(blocks, AGREE_BLOCKS)):
        yield chunk


def _count(tally: Tally, key: BlockKey, mask: Mask, states: States, changes: list[BlockChange] | None) -> None:
    tiles = np.bincount(states[mask], minlength=len(State))
    if tiles[State.FAILED] and changes is not None:
        indexes = np.flatnonzero(mask.ravel() & (states.ravel() == State.FAILED)).tolist()
        changes.append(BlockChange(key, State.PENDING, indexes))
        room = FAILED_REMEMBERED - len(tally.failed_before)
        tally.failed_before.update(key.tile(index) for index in indexes[: max(0, room)])
        tiles[State.PENDING] += tiles[State.FAILED]
        tiles[State.FAILED] = 0
    if tally.one_kept is None and tiles[State.STORED]:
        tally.one_kept = key.tile(int(np.flatnonzero(mask.ravel() & (states.ravel() == State.STORED))[0]))
    # A tile that a refresh found unchanged is, for a run, one that was stored before it.
    tiles[State.STORED] += tiles[State.UNCHANGED]
    tiles[State.UNCHANGED] = 0
    for state in (State.STORED, State.ABSENT, State.FAILED, State.PENDING):
        tally.add(key.level, state, int(tiles[state]))
