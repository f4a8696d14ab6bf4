"""Tiles that are answered "too busy, come back in two seconds" a few times, and are served then: each pause costs its
length, and the run goes on at its pace. In virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Collection

import pytest

from harvester.edges import Answer, Fault, Request
from harvester.testing.images import tile_png
from harvester.testing.memory import MemoryService, MemorySource, broken, http, memory_info
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

TILES = 1365


class NotYet:
    """Tiles that are refused on their first tries. ``resets``: share of first tries that are cut off; ``most``:
    requests at a time, beyond which any is refused. Answers take about ``seconds``, and by the seed they come in
    another order."""

    def __init__(
        self, tiles: Collection[Tile], seed: int, *, tries: int = 2, seconds: float = 0.005, resets: float = 0.0,
        most: int = 1000,
    ) -> None:  # fmt: skip
        self.tiles, self.tries, self.seconds, self.resets, self.most = tiles, tries, seconds, resets, most
        self.draw = random.Random(seed)
        self.asked: Counter[Tile] = Counter()
        self.flying: list[float] = []

    def __call__(self, request: Request) -> Answer:
        now, tile = asyncio.get_running_loop().time(), request.tile
        self.flying = [end for end in self.flying if end > now]
        seconds, cut = self.seconds * self.draw.uniform(0.5, 1.5), self.draw.random()
        is_full = len(self.flying) >= self.most
        self.asked[tile] += not is_full
        if is_full:
            answer = http(429, headers={"retry-after": "1"}, seconds=seconds)
        elif tile in self.tiles and self.asked[tile] <= self.tries:
            answer = http(503, headers={"retry-after": "2"}, seconds=seconds)
        elif self.asked[tile] == 1 and cut < self.resets:
            answer = broken(Fault.RESET, seconds=seconds)
        else:
            answer = http(200, tile_png(*tile), seconds=seconds)
        self.flying.append(now + answer.seconds)
        return answer


def beyond_the_pauses(service: NotYet) -> float:
    """Seconds that a run takes while no pause is on."""
    bench = Bench(service=service, plan=plan_of((0, 1, 2, 3, 4, 5)))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts()) == (None, (TILES, TILES, 0, 0, 0, 0))
    pacer = bench.engine._sites.first.pacer
    paused = pacer.pause.rested(bench.transport.log[0][0] + bench.seconds)
    return bench.seconds - paused


ROW = {row: frozenset(Tile(3, row, col) for col in range(8)) for row in (0, 2, 6)}


@pytest.mark.parametrize("row", ROW)
def test_a_row_of_tiles_that_ask_for_pauses_costs_the_pauses_and_little_more(row: int) -> None:
    """Whatever the order is in which they come: it was up to 80 seconds more."""
    assert max(beyond_the_pauses(NotYet(ROW[row], seed)) for seed in range(10)) < 6.0


@pytest.mark.parametrize("seed", range(4))
def test_that_is_so_where_the_host_has_a_limit_and_cuts_answers_off_as_well(seed: int) -> None:
    assert beyond_the_pauses(NotYet(ROW[2], seed, resets=0.02, most=16)) < 8.0


def test_three_tiles_that_alone_were_asked_leave_no_pace_behind() -> None:
    first = {Tile(0, 0, 0), Tile(1, 0, 0), Tile(1, 0, 1)}
    assert max(beyond_the_pauses(NotYet(first, seed)) for seed in range(4)) < 5.0


@pytest.mark.parametrize("seconds", [0.01, 0.2])
@pytest.mark.parametrize("asked", ["1", "5"])
def test_a_host_that_asks_for_a_short_pause_again_and_again_is_asked_little_and_at_its_pace_after_it(
    asked: str, seconds: float
) -> None:
    """For two minutes it serves nothing, and pauses of ``asked`` seconds do not help it."""
    began: list[float] = []
    during: list[float] = []

    def down(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        began.append(now)
        if not 6.0 < now - began[0] < 126.0:
            return None
        during.append(now)
        return http(503, headers={"retry-after": asked})

    bench = Bench(service=MemoryService(scripted=down, seconds=seconds), plan=plan_of((6, 7)))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().stored) == (None, 20_480)
    assert sum(at < during[0] + 10.0 for at in during) < 32 + 60, "what was in flight, then less each time"
    assert len(during) < 200
    assert bench.seconds < 126.0 + 1.5 * 20_480 * seconds / 32 + 15.0


# ------------------------------------------------------------------------------------------------ a tilemap's


@pytest.mark.parametrize(("status", "pause"), [(429, 1), (429, 2), (503, 1), (503, None)])
def test_a_tilemap_that_is_always_refused_costs_a_few_pauses_and_the_tiles_none(status: int, pause: int | None) -> None:
    """Two are kept, for the host may be busy; what comes then is the tilemap's own, and its tiles are asked."""
    headers = {} if pause is None else {"retry-after": str(pause)}
    busy = http(status, headers=headers)
    info = memory_info(tilemap=True)
    bench = Bench(
        service=MemoryService(scripted=lambda request: busy if request.window else None),
        source=MemorySource(info),
        plan=plan_of((0, 1, 2, 3, 4, 5), info),
        probe=True,
    )
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts()) == (None, (TILES, TILES, 0, 0, 0, 0))
    assert bench.seconds < 8.0 + 3 * (pause or 0)
    assert sum(request.window > 0 for request in bench.asked) <= 12


def test_a_tilemap_that_is_refused_for_a_while_is_read_after_it() -> None:
    info = memory_info(tilemap=True)
    refused: list[Request] = []

    def scripted(request: Request) -> Answer | None:
        if request.window and len(refused) < 4:
            refused.append(request)
            return http(429, headers={"retry-after": "2"})
        return None

    service = MemoryService(scripted=scripted, absent=lambda tile: tile.level == 5 and tile.row > 3)
    bench = Bench(service=service, source=MemorySource(info), plan=plan_of((2, 3, 4, 5), info), probe=True)
    outturn = bench.go()
    assert outturn.tally.counts() == (1360, 1360 - 28 * 32, 0, 28 * 32, 0, 0)
    assert sum(not request.window for request in bench.asked) < 1360 - 28 * 32 + 40, "the tilemap was read"
