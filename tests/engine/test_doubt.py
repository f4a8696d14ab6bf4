"""A token that ends in silence: whatever came since it surely opened the service is asked again, and nothing twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from harvester.edges import Answer, Request, State
from harvester.engine.doubt import REMEMBERED, Doubt, Ended
from harvester.engine.stop import StopReason
from harvester.engine.tally import Tally
from harvester.job import Limits
from harvester.testing.images import tile_png
from harvester.testing.memory import MemoryCache, MemoryLedger, MemoryService, MemorySource, http, memory_info
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

BLANK = tile_png(0, 0, 0, variant=255)


class Ending(MemoryService):
    """A service whose tokens end after ``uses`` tiles; then it says something else ``silent`` times, once the truth
    (498), and for what was under way something else again."""

    def __init__(self, uses: int, silent: int, lie: Answer, *, latency: float = 0.01) -> None:
        super().__init__(seconds=latency)
        self.uses = uses
        self.silent = silent
        self.lie = lie
        self.used: Counter[int] = Counter()
        self.lies = 0

    def __call__(self, request: Request) -> Answer:
        self.used[request.credential] += 1
        late = self.used[request.credential] - self.uses
        if late <= 0 or request.credential > 0:
            # Some answers are slow: they come after lies that were asked for later.
            answer = super().__call__(request)
            return answer._replace(seconds=0.05) if not request.window and request.tile.col % 7 == 3 else answer
        if late == self.silent + 1:
            return http(498, seconds=0.01)
        self.lies += 1
        return self.lie


LIES = {
    "a picture": http(200, BLANK),
    "404": http(404),
    "403": http(403),
    "a page": http(200, b"<html>Sign in</html>"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(("uses", "silent"), [(0, 1), (0, 7), (1, 1), (1, 12), (20, 7), (20, 30), (54, 1), (54, 30)])
def test_what_came_for_an_ended_token_is_asked_again_and_every_byte_is_right(lie, uses, silent):
    service = Ending(uses, silent, LIES[lie])
    bench = Bench(
        service=service, source=MemorySource(renewable=True), limits=Limits(concurrency=16, retries=0, rate=None)
    )
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert outturn.stop is None
    assert service.lies >= silent
    assert (counts.planned, counts.stored, counts.pending) == (85, 85, 0)
    assert outturn.tally.fetched == 85
    assert bench.source.renewals == 1
    assert bench.cache.bodies == {tile: tile_png(*tile) for tile in bench.cache.bodies}
    assert outturn.tally.answered_404 == sum(outturn.tally.absences.values()) == 0
    assert outturn.tally.tile_requests == len(bench.asked)


def test_tiles_of_a_tilemap_that_was_asked_with_an_ended_token_are_asked_themselves():
    def scripted(request: Request) -> Answer | None:
        if request.credential:
            return None
        return http(422) if request.window else http(498)

    bench = Bench(
        service=MemoryService(scripted=scripted),
        source=MemorySource(memory_info(tilemap=True), renewable=True),
        plan=plan_of((2, 3)),
        probe=True,
        limits=Limits(concurrency=4),
    )
    bench.plan = plan_of((0, 1, 2, 3))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts().stored == 85
    assert bench.cache.bodies == {tile: tile_png(*tile) for tile in bench.cache.bodies}


def test_a_run_that_cannot_renew_leaves_what_is_in_doubt_pending_and_out_of_the_cache():
    cache, ledger = MemoryCache(), MemoryLedger()
    service = Ending(40, 10, http(200, BLANK))
    source = MemorySource(renewable=True, renew_fails=True)
    first = Bench(service=service, source=source, cache=cache, ledger=ledger, limits=Limits(concurrency=4)).go()
    assert first.stop is not None and first.stop.exit_code == 3
    counts = first.tally.counts()
    assert counts.stored + counts.pending == 85
    assert len(cache.bodies) == counts.stored == first.tally.fetched
    assert BLANK not in cache.bodies.values()
    assert 20 <= counts.stored <= 40
    again = Bench(cache=cache, ledger=ledger).go()
    assert (again.stop, again.tally.counts().stored, again.tally.fetched) == (None, 85, counts.pending)


def test_a_budget_of_tiles_counts_only_what_stays():
    service = Ending(20, 10, http(200, BLANK))
    bench = Bench(service=service, source=MemorySource(renewable=True), limits=Limits(concurrency=4, max_tiles=60))
    outturn = bench.go()
    assert (outturn.tally.fetched, outturn.tally.counts().stored, len(bench.cache.bodies)) == (60, 60, 60)
    assert BLANK not in bench.cache.bodies.values()


def test_nothing_is_asked_while_a_token_that_runs_out_is_renewed():
    """So no answer comes for a token that ended meanwhile."""

    class Slow(MemorySource):
        async def renew(self, *, accepted: bool = False) -> None:
            await asyncio.sleep(60)
            await super().renew(accepted=accepted)

    source = Slow(renewable=True)
    source._renews_in = lambda: 0.0 if source.renewals == 0 else None
    bench = Bench(source=source, plan=plan_of((0, 1, 2, 3, 4)), limits=Limits(concurrency=1))
    outturn = bench.go()
    times = [at for at, _ in bench.transport.log]
    assert outturn.tally.counts().stored == 341
    assert source.renewals == 1
    assert max(after - before for before, after in pairwise(times)) >= 59


# ------------------------------------------------------------------------------------------------ no refusal comes


@pytest.mark.parametrize("lie", ["a picture", "404"])
def test_where_the_plan_runs_out_before_the_refusal_the_credential_is_proven(lie):
    service = Ending(40, 10**6, LIES[lie])
    bench = Bench(service=service, source=MemorySource(renewable=True), limits=Limits(concurrency=4))
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert (outturn.stop, counts.stored, counts.absent, outturn.tally.fetched) == (None, 85, 0, 85)
    assert service.lies > 40
    assert bench.source.renewals == 1
    assert bench.cache.bodies == {tile: tile_png(*tile) for tile in bench.cache.bodies}
    assert outturn.tally.tile_requests == len(bench.asked)


@pytest.mark.parametrize(
    ("why", "lie"),
    [
        ("a signal", "a picture"), ("a signal", "404"), ("--max-duration", "a picture"), ("--max-duration", "404"),
        ("--max-tiles", "a picture"),
    ],
)  # fmt: skip
def test_a_run_that_is_stopped_before_the_refusal_leaves_what_is_in_doubt_pending(why, lie):
    service = Ending(40, 10**6, LIES[lie])
    limits = {"--max-tiles": {"max_tiles": 70}, "--max-duration": {"max_duration_seconds": 0.5}}.get(why, {})
    bench = Bench(
        service=service,
        source=MemorySource(renewable=True),
        plan=plan_of((0, 1, 2, 3, 4, 5)),
        limits=Limits(concurrency=4, **limits),
    )

    async def press(engine):
        while service.lies < 20:
            await asyncio.sleep(0.01)
        engine.stop(StopReason.signal("SIGINT", 130))

    bench.meanwhile = press if why == "a signal" else None
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert outturn.stop is not None and outturn.stop.code in ("stopped", "budget")
    assert service.lies >= 20
    assert (bench.source.renewals, counts.absent) == (0, 0)
    assert 20 <= counts.stored <= 40
    assert counts.stored == len(bench.cache.bodies) == outturn.tally.fetched
    assert bench.cache.bodies == {tile: tile_png(*tile) for tile in bench.cache.bodies}
    again = Bench(cache=bench.cache, ledger=bench.ledger, plan=bench.plan).go()
    assert (again.stop, again.tally.counts().stored) == (None, 1365)


@pytest.mark.parametrize("limits", [{}, {"max_tiles": 60}])
def test_an_honest_service_of_many_equal_tiles_keeps_them_all_for_one_request_more(limits):
    def body(tile):
        return tile_png(*tile) if tile.level < 3 else BLANK

    source = MemorySource(renewable=True)
    bench = Bench(service=MemoryService(body=body), source=source, limits=Limits(concurrency=4, **limits))
    outturn = bench.go()
    wanted = limits.get("max_tiles", 85)
    assert (outturn.stop is None) is not bool(limits)
    assert outturn.tally.counts().stored == len(bench.cache.bodies) == wanted
    assert (source.renewals, len(bench.asked)) == (0, wanted + 1)


def test_tokens_that_are_ended_from_the_start_end_the_run():
    """Each new one is answered with stand-ins: no loop of renewals."""
    good = MemoryService()

    def service(request):
        return good(request) if len(bench.transport.log) < 10 else http(200, BLANK)

    bench = Bench(service=service, source=MemorySource(renewable=True), limits=Limits(concurrency=4))
    outturn = bench.go()
    assert outturn.stop is not None and (outturn.stop.code, outturn.stop.exit_code) == ("auth", 3)
    assert BLANK not in bench.cache.bodies.values()
    assert bench.source.renewals <= 2


def test_a_credential_that_cannot_be_renewed_ends_the_run_when_the_proof_fails():
    source = MemorySource()
    bench = Bench(
        service=lambda request: http(200, tile_png(*request.tile) if len(bench.transport.log) < 30 else BLANK),
        source=source,
        limits=Limits(concurrency=4),
    )
    source.renewals = 1  # a token was given: its generation is above 0
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.exit_code == 3
    assert BLANK not in bench.cache.bodies.values()


def test_a_proof_that_nobody_answers_leaves_what_is_in_doubt_pending():
    def service(request):
        if len(bench.transport.log) >= 85:
            return http(502)
        return http(200, tile_png(*request.tile) if request.tile.level < 3 else BLANK)

    bench = Bench(service=service, source=MemorySource(renewable=True), limits=Limits(concurrency=4))
    outturn = bench.go()
    assert outturn.stop is not None and (outturn.stop.code, outturn.stop.exit_code) == ("unproven", 1)
    assert BLANK not in bench.cache.bodies.values()
    assert 10 <= outturn.tally.counts().stored <= 21


# ------------------------------------------------------------------------------------------------ what is in doubt


def doubt() -> Doubt:
    class Book:
        def take_back(self, tiles: dict[object, list[int]]) -> None:
            pass

    return Doubt(Book(), Tally())  # type: ignore[arg-type]


def picture(number: int, body: bytes, *, sent: float, ended: float, credential: int = 0) -> Ended:
    return Ended(credential, Tile(9, 0, number), State.STORED, sent, ended, hash(body))


def test_different_pictures_prove_what_came_before_the_first_of_them_was_asked_for():
    watched = doubt()
    # Sound ones, a stand-in that overtakes slow ones asked for before it, the slow ones, a stand-in.
    watched.recent.extend(picture(n, b"%d" % n, sent=n, ended=n + 0.5) for n in range(6))
    watched.recent.append(picture(6, b"blank", sent=6.2, ended=6.3))
    watched.recent.append(picture(7, b"blank", sent=6.4, ended=6.5))
    watched.recent.extend(picture(n, b"%d" % n, sent=6.0, ended=7.0 + n) for n in (8, 9, 10))
    watched.recent.append(picture(11, b"blank", sent=30, ended=31))
    assert sorted(one.tile.col for one in watched.take_back(0)) == [6, 7, 8, 9, 10, 11]
    assert watched.take_back(0) == []


def test_pictures_that_are_all_alike_prove_nothing():
    watched = doubt()
    watched.recent.extend(picture(n, b"sea", sent=n, ended=n + 1) for n in range(5000))
    assert len(watched.take_back(0)) == 5000


def test_only_answers_for_the_refused_token_are_doubted():
    watched = doubt()
    watched.recent.extend(picture(n, b"%d" % n, sent=n, ended=n + 1, credential=n // 50) for n in range(100))
    watched.take_back(0)
    assert {one.credential for one in watched.take_back(1)} == {1}


def test_what_is_remembered_is_bounded():
    watched = doubt()
    watched.recent.extend(picture(n, b"sea", sent=n, ended=n + 1) for n in range(REMEMBERED + 10))
    assert len(watched.take_back(0)) == REMEMBERED
