"""A host that gives no picture at all, only that some tiles are not there, and "too busy" for all others: no tile is
known that could tell whether it is well, and it is asked little. In virtual time."""

from __future__ import annotations

import pytest

from harvester.edges import Answer, Request
from harvester.job import Limits
from harvester.testing.memory import MemoryService, http
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of


def draws(tile: Tile) -> int:
    """A number below 100 that is this tile's."""
    return (tile.row * 7919 + tile.col * 104729 + tile.row * tile.col * 613) % 100


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("concurrency", [1, 8, 32])
@pytest.mark.parametrize("level", [2, 3, 4])
def test_a_host_that_is_too_busy_for_all_that_is_there_is_asked_little(level, concurrency, status):
    """It was 100 requests a second until the run gave up."""

    def scripted(request: Request) -> Answer | None:
        number = draws(request.tile)
        return http(404) if number < 50 else http(403) if number < 54 else http(status)

    bench = Bench(
        service=MemoryService(scripted=scripted, seconds=0.02),
        plan=plan_of((level,)),
        limits=Limits(concurrency=concurrency, retries=0),
    )
    outturn = bench.go()
    assert (outturn.stop is None) == (outturn.tally.counts().pending == 0)
    assert len(bench.asked) < bench.plan.total + 300
