"""Stand-ins that are all different prove nothing by themselves: what came before a refusal is held against what the
source answers once the trouble is over, and fetched again where it differs."""

from __future__ import annotations

import random

import pytest

from harvester.edges import Answer, Request
from harvester.engine import Outturn
from harvester.engine.stop import StopReason
from harvester.job import Limits
from harvester.testing.images import tile_png
from harvester.testing.memory import MemoryService, MemorySource, http
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

LEVELS = (0, 1, 2, 3, 4, 5)
TILES = 1365


class Dying(MemoryService):
    """From the ``since``th request on it answers ``lies`` times with a picture that says "request 123", another one
    each time, then ``refusals`` times with ``status``, then, if it ever does, with tiles again."""

    def __init__(self, since: int, lies: int, status: int, refusals: int, *, of_credential: bool = False) -> None:
        super().__init__()
        self.first, self.last, self.well = since, since + lies, since + lies + refusals
        self.status = status
        self.of_credential = of_credential
        self.asked = 0
        self.lied: set[Tile] = set()

    def __call__(self, request: Request) -> Answer:
        if self.of_credential and request.credential:
            return super().__call__(request)
        self.asked += 1
        if self.first <= self.asked < self.last:
            self.lied.add(request.tile)
            return http(200, tile_png(30, self.asked, 7), seconds=0.01)
        if self.last <= self.asked < self.well:
            return http(self.status, seconds=0.01)
        return super().__call__(request)


def truth(bench: Bench) -> bool:
    return all(body == tile_png(*tile) for tile, body in bench.cache.bodies.items())


def all_is_there(bench: Bench, outturn: Outturn) -> bool:
    counts = outturn.tally.counts()
    return (outturn.stop, counts.stored, outturn.tally.fetched + outturn.tally.kept, len(bench.cache.bodies)) == (
        None, TILES, TILES, TILES,
    )  # fmt: skip


@pytest.mark.parametrize("status", [401, 498, 499])
@pytest.mark.parametrize(("since", "lies"), [(2, 30), (400, 5), (400, 700), (1, 1300)])
def test_what_came_for_an_ended_token_is_fetched_again_though_no_two_stand_ins_are_alike(since, lies, status):
    service = Dying(since, lies, status, 10**9, of_credential=True)
    bench = Bench(
        service=service, source=MemorySource(renewable=True), plan=plan_of(LEVELS), limits=Limits(concurrency=8)
    )
    outturn = bench.go()
    assert service.lied
    assert all_is_there(bench, outturn) and truth(bench)
    assert bench.source.renewals == 1
    assert outturn.tally.tile_requests == len(bench.asked)
    assert lies < 30 or any("fetched again" in text for text in outturn.notices)


@pytest.mark.parametrize("status", [503, 429])
@pytest.mark.parametrize(("since", "lies", "refusals"), [(100, 600, 40), (700, 60, 5), (2, 900, 20)])
@pytest.mark.parametrize("renewable", [False, True])
def test_what_came_from_a_host_that_then_was_too_busy_is_fetched_again(since, lies, refusals, status, renewable):
    service = Dying(since, lies, status, refusals)
    bench = Bench(service=service, source=MemorySource(renewable=renewable), plan=plan_of(LEVELS))
    outturn = bench.go()
    assert len(service.lied) > lies // 2
    assert all_is_there(bench, outturn) and truth(bench)
    assert outturn.tally.tile_requests == len(bench.asked)


@pytest.mark.parametrize("status", [401, 498, 499, 503])
@pytest.mark.parametrize("source", [{}, {"renewable": True, "renew_fails": True}])
def test_where_the_trouble_does_not_end_the_next_run_looks_back(source, status):
    service = Dying(500, 600, status, 10**9)
    limits = Limits(concurrency=8, give_up_after_seconds=60)
    first = Bench(service=service, source=MemorySource(**source), plan=plan_of(LEVELS), limits=limits)
    ended = first.go()
    assert ended.stop is not None and ended.tally.counts().pending > 0
    assert any("next run" in text for text in ended.notices)
    again = Bench(cache=first.cache, ledger=first.ledger, plan=first.plan)
    outturn = again.go()
    assert all_is_there(again, outturn) and truth(again)
    assert len(again.asked) < ended.tally.counts().pending + 600 + 400
    third = Bench(cache=first.cache, ledger=first.ledger, plan=first.plan)
    assert (third.go().stop, third.asked) == (None, [])


def test_the_next_run_knows_where_the_refusal_was():
    """A budget ends the first run long after it, before anything was looked back at."""
    service = Dying(300, 20, 503, 2)
    first = Bench(service=service, plan=plan_of(LEVELS), limits=Limits(concurrency=8, max_tiles=1000))
    assert any("next run" in text for text in first.go().notices)
    assert not truth(first)
    again = Bench(cache=first.cache, ledger=first.ledger, plan=first.plan)
    assert all_is_there(again, again.go()) and truth(again)


def test_a_signal_in_the_midst_of_it_leaves_the_looking_back_to_the_next_run():
    service = Dying(300, 500, 503, 10**9)
    first = Bench(service=service, plan=plan_of(LEVELS))

    async def press(engine):
        import asyncio

        while service.asked < service.last + 3:
            await asyncio.sleep(0.01)
        engine.stop(StopReason.signal("SIGINT", 130))

    first.meanwhile = press
    assert first.go().stop is not None
    again = Bench(cache=first.cache, ledger=first.ledger, plan=first.plan)
    assert all_is_there(again, again.go()) and truth(again)


@pytest.mark.parametrize("status", [498, 503])
def test_an_honest_refusal_costs_a_few_questions_and_nothing_is_fetched_twice(status):
    def scripted(request: Request) -> Answer | None:
        return http(status) if len(bench.transport.log) in range(900, 906) and not request.credential else None

    bench = Bench(service=MemoryService(scripted=scripted), source=MemorySource(renewable=True), plan=plan_of(LEVELS))
    outturn = bench.go()
    assert all_is_there(bench, outturn)
    assert outturn.notices == ()
    assert len(bench.asked) <= TILES + 70 + outturn.tally.throttled
    assert outturn.tally.tile_requests == TILES + outturn.tally.retries + outturn.tally.questions


def test_a_service_whose_pictures_are_never_the_same_is_told_and_costs_a_few_questions():
    number = iter(range(10**9))

    def scripted(request: Request) -> Answer | None:
        at = next(number)
        return http(498) if at == 900 and not request.credential else http(200, tile_png(*request.tile) + b"%d" % at)

    bench = Bench(service=MemoryService(scripted=scripted), source=MemorySource(renewable=True), plan=plan_of(LEVELS))
    outturn = bench.go()
    assert all_is_there(bench, outturn)
    assert len(bench.asked) <= TILES + 90 + outturn.tally.throttled
    assert any("each time differently" in text for text in outturn.notices)


def test_absences_that_came_for_an_ended_token_amid_different_pictures_are_asked_again():
    class Mixed(Dying):
        def __call__(self, request: Request) -> Answer:
            answer = super().__call__(request)
            lies = answer.status == 200 and answer.body != tile_png(*request.tile)
            return http(404) if lies and self.asked % 3 == 0 else answer

    service = Mixed(500, 300, 498, 10**9, of_credential=True)
    bench = Bench(service=service, source=MemorySource(renewable=True), plan=plan_of(LEVELS))
    outturn = bench.go()
    assert all_is_there(bench, outturn) and truth(bench)
    assert outturn.tally.answered_404 == sum(outturn.tally.absences.values()) == 0


class Mixing(Dying):
    """As Dying, but only a share of those answers are stand-ins: the others are the tiles themselves."""

    def __init__(self, share: float, seed: int, since: int, lies: int, status: int, refusals: int) -> None:
        super().__init__(since, lies, status, refusals)
        self.share, self.dice = share, random.Random(seed)

    def __call__(self, request: Request) -> Answer:
        if self.first <= self.asked + 1 < self.last and self.dice.random() >= self.share:
            self.asked += 1
            return MemoryService.__call__(self, request)
        return super().__call__(request)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.15, 0.3, 0.6])
@pytest.mark.parametrize(("since", "lies"), [(1500, 1500), (200, 4000), (3000, 300)])
def test_stand_ins_that_came_mixed_with_tiles_are_all_found(since, lies, share, seed):
    service = Mixing(share, seed, since, lies, 503, 20)
    bench = Bench(service=service, plan=plan_of((0, 1, 2, 3, 4, 5, 6)))
    outturn = bench.go()
    assert outturn.tally.counts().stored == 5461
    wrong = [tile for tile, body in bench.cache.bodies.items() if body != tile_png(*tile)]
    assert (len(service.lied) > share * lies / 2, wrong) == (True, [])
