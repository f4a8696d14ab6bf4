"""304 where nobody asked whether a tile changed: it says nothing, and no tile ends by it."""

from __future__ import annotations

import asyncio

import pytest

from harvester.edges import BlockChange, Request, State
from harvester.job import Limits
from harvester.testing.memory import MemoryCache, MemoryService, http
from harvester.tiling.tile import Tile, block_of
from tests.engine.lab import Bench

ODD = {Tile(3, 1, 1), Tile(3, 1, 2)}


def not_modified(times: int) -> MemoryService:
    """So often in answer to each of two tiles."""
    left = dict.fromkeys(ODD, times)

    def scripted(request: Request):
        if left.get(request.tile, 0) > 0 and not request.window:
            left[request.tile] -= 1
            return http(304)
        return None

    return MemoryService(scripted=scripted)


def test_it_is_tried_again():
    bench = Bench(service=not_modified(2))
    outturn = bench.go()
    assert (outturn.stop, set(bench.cache.bodies) >= ODD) == (None, True)
    assert (outturn.tally.counts().unchanged, outturn.tally.retries) == (0, 4)


def test_after_all_tries_the_tile_is_failed_for_it_and_asked_by_the_next_run():
    bench = Bench(service=not_modified(4), limits=Limits(retries=3))
    outturn = bench.go()
    assert {(one.tile, one.reason) for one in outturn.failures} == {(tile, "http_304") for tile in ODD}
    assert (outturn.tally.counts().failed, outturn.tally.counts().unchanged) == (2, 0)
    again = Bench(cache=bench.cache, ledger=bench.ledger)
    assert (again.go().tally.counts().stored, {request.tile for request in again.asked}) == (85, ODD)


@pytest.mark.parametrize("stamp_blocks", [False, True])
def test_what_a_ledger_has_as_unchanged_and_the_cache_has_not_is_asked_again(stamp_blocks):
    bench = Bench(cache=MemoryCache(stamp_blocks=stamp_blocks))
    bench.go()
    lost = min(ODD)
    del bench.cache.bodies[lost]
    for tile in ODD:
        key = block_of(tile)
        asyncio.run(bench.ledger.record([BlockChange(key, State.UNCHANGED, [key.position(tile)])], {}))
    again = Bench(cache=bench.cache, ledger=bench.ledger)
    outturn = again.go()
    assert [request.tile for request in again.asked] == [lost]
    assert (outturn.tally.kept, outturn.tally.counts().pending) == (84, 0)
    assert set(again.cache.bodies) >= ODD
