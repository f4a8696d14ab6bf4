"""What ``apply`` tells the ledger beside the cache: tiles that it deleted are absent, those that it stored are stored.

So ``verify`` and ``holes`` speak of the cache as it is, and the old job doesn't fetch again what the delta took away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from harvester.caches.open import open_cache
from harvester.caches.placed import PlacedReader, place_levels
from harvester.delta.record import Touched
from harvester.durable import Disk
from harvester.edges import BlockChange, Stamps, State
from harvester.errors import CacheError
from harvester.ledger import SqliteLedger, open_ledger
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.scheme_json import scheme_from_json
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey, Tile, block_of

CHUNK = 64
"""Blocks looked at together: a megabyte of masks."""

StampsOf = Callable[[Sequence[BlockKey]], Stamps]
"""Stamps of a cache by blocks of its own scheme, or under None of the whole."""


class Settlement:
    """A ledger, and the cache that it speaks of. ``stamps_of`` speaks the levels of ``written``."""

    def __init__(
        self, ledger: SqliteLedger, scheme: TilingScheme, out: Path, stamps_of: StampsOf, written: TilingScheme
    ) -> None:
        self._ledger = ledger
        self._scheme = scheme
        self._out = out
        self._stamps_of = stamps_of
        self._written = place_levels(scheme, written)

    async def agree(self) -> None:
        """Before anything is changed: where ledger and cache disagree, the cache's index decides, as a run has it."""
        ledger = self._ledger
        keys = await ledger.keys()
        doubtful = (await ledger.stamps([])).get(None, "") != self._stamps([]).get(None, "")
        with open_cache(self._out) as reader:
            placed = PlacedReader(reader, self._scheme)
            for first in range(0, len(keys), CHUNK):
                part = keys[first : first + CHUNK]
                then, now = await ledger.stamps(part), self._stamps(part)
                by_block = None not in now
                apart = [key for key in part if doubtful or (by_block and then.get(key, "") != now.get(key, ""))]
                if apart:
                    stamps: Stamps = {key: now[key] for key in apart if key in now}
                    await ledger.reconcile([(key, placed.present(key)) for key in apart], stamps)
        if doubtful:
            await ledger.record([], {None: self._stamps([]).get(None, "")})

    async def settle(
        self, scheme: TilingScheme, blocks: Iterable[BlockKey], touched: Callable[[BlockKey], Mapping[int, Touched]]
    ) -> None:
        """When the cache is what the delta leads to: the same of every tile that it touched, in the levels of
        ``scheme``."""
        places = place_levels(scheme, self._scheme)
        new_levels: set[int] = set()
        for key in blocks:
            place = places.get(key.level)
            if place is None:
                continue  # a LOD that the ledger's service does not have
            wanted: dict[BlockKey, np.ndarray[tuple[int], np.dtype[np.uint8]]] = {}
            for position, change in touched(key).items():
                _, row, col = key.tile(position)
                tile = Tile(place.level, row + place.rows, col + place.cols)
                ours = block_of(tile)
                into = wanted.setdefault(ours, np.zeros(BLOCK_TILES, dtype=np.uint8))
                into[ours.position(tile)] = State.STORED if change.new else State.ABSENT
            await self._set(wanted)
            new_levels |= {ours.level for ours, states in wanted.items() if (states == State.STORED).any()}
        await self._list(new_levels)
        now = self._stamps([]).get(None, "")
        if (await self._ledger.stamps([])).get(None, "") != now:
            await self._ledger.record([], {None: now})

    async def _set(self, wanted: Mapping[BlockKey, np.ndarray[tuple[int], np.dtype[np.uint8]]]) -> None:
        ledger, keys = self._ledger, list(wanted)
        stored = [(key, (wanted[key] == State.STORED).reshape(BLOCK, BLOCK)) for key in keys]
        await ledger.enlist([(key, mask) for key, mask in stored if mask.any()])
        changes = []
        for key, states in zip(keys, await ledger.states(keys), strict=True):
            there = states.ravel()
            for state in (State.STORED, State.ABSENT):
                which = (wanted[key] == state) & (there != state) & (there != State.UNPLANNED)
                if which.any():
                    changes.append(BlockChange(key, state, np.flatnonzero(which).tolist()))
        then, now = await ledger.stamps(keys), self._stamps(keys)
        stamps: Stamps = {key: now[key] for key in keys if key in now and then.get(key) != now[key]}
        if changes or stamps:
            await ledger.record(changes, stamps)

    async def _list(self, levels: set[int]) -> None:
        """LODs that the job did not have are the cache's now."""
        known = await self._ledger.get_meta("levels") or []
        if levels - set(known):
            order = [lod.level for lod in self._scheme.lods if lod.level in levels | set(known)]
            await self._ledger.set_meta({"levels": order})

    def _stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """By the ledger's own blocks; of one that is no block of the cache's nothing is said."""
        theirs: dict[BlockKey, BlockKey] = {}
        for key in keys:
            place = self._written.get(key.level)
            if place is not None and place.rows % BLOCK == 0 and place.cols % BLOCK == 0:
                theirs[key] = BlockKey(place.level, key.row + place.rows, key.col + place.cols)
        found = self._stamps_of(list(theirs.values()))
        stamps: dict[BlockKey | None, str] = {key: found[other] for key, other in theirs.items() if other in found}
        if None in found:
            stamps[None] = found[None]
        return stamps


@asynccontextmanager
async def settlement(
    path: Path, out: Path, stamps_of: StampsOf, written: TilingScheme, *, disk: Disk
) -> AsyncIterator[Settlement | None]:
    """The ledger at ``path``; None where there is none, or one that can't be read: the next run rebuilds that."""
    if not path.exists():
        yield None
        return
    try:
        ledger = await open_ledger(path, create=False, disk=disk)
    except CacheError:
        yield None
        return
    try:
        document = await ledger.get_meta("scheme")
        if document is None:
            yield None
        else:
            yield Settlement(ledger, scheme_from_json(document), out, stamps_of, written)
    finally:
        await ledger.close()
