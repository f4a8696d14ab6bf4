"""Tiles that all fail (500, a reset, a cut body) when they are first asked for, and are served at a later try: nothing
tells them from a host that is down but those tries. In virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from harvester.edges import Answer, Request
from harvester.job import Limits
from harvester.testing.memory import MemoryService, http
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of


def harvested(service: MemoryService, levels: tuple[int, ...], *, retries: int = 5) -> Bench:
    bench = Bench(service=service, plan=plan_of(levels), limits=Limits(retries=retries))
    outturn, tiles = bench.go(), bench.plan.total
    assert (outturn.stop, outturn.tally.counts()) == (None, (tiles, tiles, 0, 0, 0, 0))
    return bench


@pytest.mark.parametrize("levels", [(0, 1, 2, 3), (0, 1, 2, 3, 4, 5)], ids=["85 tiles", "1,365 tiles"])
@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_tiles_that_all_fail_a_few_times_are_served_within_a_minute(times, levels):
    """It was a quarter of an hour and nothing where they fail twice."""
    asked = Counter[Tile]()

    def scripted(request: Request) -> Answer | None:
        asked[request.tile] += 1
        return http(500) if asked[request.tile] <= times else None

    bench = harvested(MemoryService(scripted=scripted, seconds=0.02), levels)
    assert bench.seconds < 60
    assert len(bench.asked) < (times + 1) * bench.plan.total + 100


@pytest.mark.parametrize("retries", [2, 3, 5])
@pytest.mark.parametrize("seconds", [5, 30, 120, 600])
def test_a_host_that_is_down_at_first_costs_no_tile_all_its_tries(seconds, retries):
    began: list[float] = []

    def scripted(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        began.append(now)
        return http(502) if now < began[0] + seconds else None

    bench = harvested(MemoryService(scripted=scripted, seconds=0.02), (0, 1, 2, 3, 4), retries=retries)
    assert bench.seconds < seconds + 40
    assert len(bench.asked) < bench.plan.total + 80
