"""A server that sends one answer too many gives each tile of that connection to the next request: once that is known,
all that is remembered is asked again."""

from __future__ import annotations

import pytest

from harvester.edges import Answer, Request
from harvester.job import Limits
from harvester.testing.images import tile_png
from harvester.testing.memory import MemoryService, MemorySource, http
from tests.engine.lab import Bench, plan_of

LEVELS = (0, 1, 2, 3, 4, 5)
TILES = 1365


class Shifting(MemoryService):
    """Until the ``until``th request each is answered as the one before it; then the transport knows. One tile in seven
    is not there, and one in eleven was refused in the answers that came too late."""

    def __init__(self, until: int) -> None:
        super().__init__(absent=lambda tile: (tile.row + 2 * tile.col) % 7 == 1)
        self.until = until
        self.asked = 0
        self.last: Request | None = None
        self.bench: Bench | None = None

    def __call__(self, request: Request) -> Answer:
        self.asked += 1
        if self.asked > self.until:
            return super().__call__(request)
        before, self.last = self.last or request, request
        if self.asked == self.until and self.bench is not None:
            self.bench.transport.unasked += 1
        return http(403, seconds=0.01) if before.tile.col % 11 == 5 else super().__call__(before)


def bench_of(service: Shifting, **more) -> Bench:
    service.bench = Bench(service=service, **more)
    return service.bench


def wrong(bench: Bench) -> int:
    return sum(body != tile_png(*tile) for tile, body in bench.cache.bodies.items())


@pytest.mark.parametrize("renewable", [False, True])
@pytest.mark.parametrize("until", [40, 700, TILES])
def test_what_came_before_is_asked_again_once_an_answer_came_that_nobody_asked_for(until, renewable):
    service = Shifting(until)
    bench = bench_of(service, plan=plan_of(LEVELS), source=MemorySource(renewable=renewable))
    outturn = bench.go()
    there = sum(not service.absent(tile) for tile in bench.plan.tiles())
    counts = outturn.tally.counts()
    assert (outturn.stop, outturn.failures) == (None, ())
    assert (counts.stored, counts.absent, counts.failed) == (there, TILES - there, 0)
    assert (wrong(bench), len(bench.cache.bodies), outturn.tally.fetched) == (0, there, there)
    assert outturn.tally.answered_404 == sum(outturn.tally.absences.values()) == TILES - there
    assert any("nobody had asked for" in text for text in outturn.notices)
    assert len(bench.asked) <= 2 * TILES + bench.limits.concurrency


def test_nothing_is_asked_twice_where_all_answers_were_asked_for():
    service = Shifting(0)
    bench = bench_of(service, plan=plan_of(LEVELS))
    outturn = bench.go()
    assert (len(bench.asked), outturn.notices) == (TILES, ())


@pytest.mark.parametrize("renewable", [False, True])
def test_where_the_run_stops_first_the_next_one_fetches_it(renewable):
    service = Shifting(400)
    bench = bench_of(
        service,
        plan=plan_of(LEVELS),
        source=MemorySource(renewable=renewable),
        limits=Limits(concurrency=8, max_tiles=330),
    )
    first = bench.go()
    assert first.stop is not None and service.asked >= 400
    assert (first.tally.counts().pending, first.tally.fetched, bench.cache.bodies) == (TILES, 0, {})
    again = Bench(service=MemoryService(absent=service.absent), cache=bench.cache, ledger=bench.ledger, plan=bench.plan)
    counts = again.go().tally.counts()
    there = sum(not service.absent(tile) for tile in again.plan.tiles())
    assert (counts.stored, counts.absent, wrong(again)) == (there, TILES - there, 0)
