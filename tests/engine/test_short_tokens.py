"""Tokens that end after a few answers: where nothing that comes for one can be believed (no pictures, only "not
there"), all is asked again with the next, and a run ends after some of them. In virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from harvester.edges import Answer, Request
from harvester.job import Limits
from harvester.testing.memory import HOST, MemoryService, MemorySource, http
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

USES, RENEWED_AFTER = 60, 3.0


def harvest(*, is_absent: bool) -> Bench:
    """Of two hosts that fail each tile at first, with tokens that are renewed every few seconds and end before."""
    used, asked = Counter[int](), Counter[Tile]()
    begun: list[float] = []

    def scripted(request: Request) -> Answer | None:
        used[request.credential] += 1
        asked[request.tile] += 1
        if used[request.credential] > USES:
            return http(498)
        return http(500) if asked[request.tile] == 1 else None

    def renews_in() -> float:
        now = asyncio.get_running_loop().time()
        if source.renewals >= len(begun):
            begun.append(now)
        return begun[-1] + RENEWED_AFTER - now

    source = MemorySource(
        renewable=True, renews_in=renews_in, hosts=[replace(HOST, name=f"host{at}.test") for at in range(2)]
    )
    return Bench(
        service=MemoryService(scripted=scripted, absent=lambda tile: is_absent, seconds=0.02),
        source=source,
        plan=plan_of((4,)),
        limits=Limits(concurrency=1, rate=50, max_duration_seconds=3600),
    )


def test_tokens_for_which_nothing_comes_that_can_be_believed_end_the_run():
    bench = harvest(is_absent=True)
    outturn = bench.go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("auth", 3) and "tokens in a row" in outturn.stop.message
    assert outturn.tally.counts().absent == 0 and bench.source.renewals < 200


def test_with_tokens_as_short_tiles_are_harvested():
    outturn = harvest(is_absent=False).go()
    assert (outturn.stop, outturn.tally.counts().stored) == (None, 256)
