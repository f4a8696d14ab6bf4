"""Tiles that were stored before their body was declared to mean "no data": taken out of the cache, and absent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from xxhash import xxh3_128_hexdigest

from harvester.assemble.collect import Collection
from harvester.caches.open import is_empty_or_missing, open_cache
from harvester.caches.placed import PlacedReader
from harvester.edges import BlockChange, State
from harvester.engine import Agreement
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.tile import BlockKey, Tile, block_of

DECLARED = "placeholders"
"""The ledger's fact: bodies of which the cache holds none. What a run without them stored may be one again."""


async def take_out_placeholders(
    collection: Collection, agreement: Agreement, placeholders: Iterable[str], planned: Callable[[Tile], bool]
) -> int:
    """Read the cache, only where the ledger does not know these bodies yet, and take out the tiles that have one. A
    package is unpacked for it when there is such a tile. Call when ledger and cache agree; ``agreement`` counts them as
    absent. Gives how many there were. Raises CacheError."""
    ledger = collection.ledger
    wanted = {digest.lower() for digest in placeholders}
    known = set(await ledger.get_meta(DECLARED) or ())
    held = collection.paths.out if collection.package is not None else collection.paths.collect
    found: dict[BlockKey, list[int]] = {}
    if wanted - known and not is_empty_or_missing(held):
        found = await asyncio.to_thread(_having, held, collection.info.scheme, frozenset(wanted))
    if found:
        writer = await collection.open_for_writing()
        agreement.goes_on_with(await collection.holding())
        collection.made.kept = True
        await collection.begin_changes()
        for key, indexes in found.items():
            (states,) = await ledger.states([key])
            stored = [at for at in indexes if states.ravel()[at] in (State.STORED, State.UNCHANGED)]
            stamps = await writer.remove([key.tile(at) for at in indexes])
            await ledger.record([BlockChange(key, State.ABSENT, indexes)], stamps)
            _count(agreement, key, sum(planned(key.tile(at)) for at in stored))
    await ledger.set_meta({DECLARED: sorted(wanted)})
    return sum(map(len, found.values()))


def _count(agreement: Agreement, key: BlockKey, tiles: int) -> None:
    if tiles:
        tally = agreement.tally
        tally.add(key.level, State.STORED, -tiles)
        tally.add(key.level, State.ABSENT, tiles)
        tally.kept -= tiles
        tally.absences[key.level, "placeholder"] += tiles


def _having(path: Path, scheme: TilingScheme, digests: frozenset[str]) -> dict[BlockKey, list[int]]:
    """Positions by block, in the source's levels, of the tiles with one of these bodies."""
    found: dict[BlockKey, list[int]] = {}
    with open_cache(path) as reader:
        placed = PlacedReader(reader, scheme)
        for level in reader.levels():
            ours = placed.level_here(level)
            if ours is None:
                continue
            for block in reader.blocks(level):
                for tile, body in reader.tiles(block):
                    if xxh3_128_hexdigest(body) in digests:
                        here = placed.here(ours, tile)
                        key = block_of(here)
                        found.setdefault(key, []).append(key.position(here))
    return found
