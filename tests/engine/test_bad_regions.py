"""Bad tiles and a bad host are told apart: a tile that is known to be good decides. In virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from harvester.edges import Answer, Fault, Request
from harvester.job import Limits
from harvester.testing.memory import MemoryService, broken, http
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

BAD = {
    "500": http(500),
    "502": http(502),
    "504": http(504),
    "a page": http(200, b"<html>"),
    "a redirect": http(302),
    "nothing": http(200, b""),
    "a reset": broken(Fault.RESET),
    "403": http(403),
}


def bad_where(is_bad: Callable[[Tile], bool], answer: Answer) -> MemoryService:
    return MemoryService(scripted=lambda request: answer if is_bad(request.tile) else None)


@pytest.mark.parametrize("name", BAD)
def test_a_region_of_bad_tiles_is_failed_and_the_good_ones_behind_it_are_stored(name):
    service = bad_where(lambda tile: tile.level == 5 and tile.row < 8, BAD[name])
    bench = Bench(service=service, plan=plan_of((0, 1, 2, 3, 4, 5)), limits=Limits(retries=2))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (1365, 1365 - 256, 0, 0, 256, 0)
    assert outturn.tally.fetched == 1365 - 256 == len(bench.cache.bodies)
    assert bench.seconds < 300


def test_a_region_as_large_as_a_bundle_costs_few_questions():
    service = bad_where(lambda tile: tile.level == 8 and tile.row < 128 and tile.col < 128, http(500))
    bench = Bench(service=service, plan=plan_of((8,)), limits=Limits(retries=1))
    first = Bench(plan=plan_of((0,)), cache=bench.cache, ledger=bench.ledger)
    first.go()
    bench.plan = plan_of((0, 8))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (65537, 65537 - 16384, 0, 0, 16384, 0)
    questions = Counter(request.attempt for request in bench.asked)[-1]
    assert 1 <= questions <= 14
    assert outturn.tally.tile_requests == len(bench.asked) == 65536 + 16384 + questions


@pytest.mark.parametrize("name", BAD)
def test_tiles_that_stay_bad_are_failed_again_when_the_job_is_run_again(name):
    bad = {Tile(5, i * 7 % 32, i * 11 % 32) for i in range(30)}
    first = Bench(service=bad_where(bad.__contains__, BAD[name]), plan=plan_of((5,)), limits=Limits(retries=1))
    assert first.go().tally.counts().failed == 30
    again = Bench(service=first.service, plan=first.plan, limits=first.limits, cache=first.cache, ledger=first.ledger)
    outturn = again.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (1024, 994, 0, 0, 30, 0)
    assert (outturn.tally.fetched, outturn.tally.kept) == (0, 994)
    assert len(again.asked) <= 60 + 4
    assert again.seconds < 60


@pytest.mark.parametrize("name", BAD)
def test_a_host_that_is_bad_for_all_it_was_good_for_before_is_exit_3_and_what_was_untried_stays_pending(name):
    cache_of = Bench(plan=plan_of((3,)))
    cache_of.go()
    again = Bench(
        service=MemoryService(scripted=lambda request: BAD[name]),
        plan=plan_of((3, 6)),
        cache=cache_of.cache,
        ledger=cache_of.ledger,
    )
    outturn = again.go()
    counts = outturn.tally.counts()
    assert outturn.stop is not None and outturn.stop.exit_code == 3
    assert (counts.stored, counts.planned) == (64, 4160)
    assert counts.pending > 4000
    tried = {request.tile for request in again.asked if request.attempt >= 0}
    assert len(again.asked) <= 1.1 * len(tried) + 60


def test_a_host_that_dies_in_the_middle_is_exit_3_with_what_was_tried_pending():
    asked: list[Request] = []

    def scripted(request: Request) -> Answer | None:
        asked.append(request)
        return http(500) if len(asked) > 2000 else None

    bench = Bench(service=MemoryService(scripted=scripted), plan=plan_of((6,)))
    outturn = bench.go()
    assert outturn.stop is not None and (outturn.stop.code, outturn.stop.exit_code) == ("source_failing", 3)
    assert outturn.tally.counts() == (4096, 2000, 0, 0, 0, 2096)
    tried = {request.tile for request in bench.asked}
    assert len(bench.asked) <= 1.1 * len(tried) + 60


def test_a_host_that_dies_amid_bad_tiles_is_found_out_after_as_many_failures_as_there_were():
    asked: list[Request] = []

    def scripted(request: Request) -> Answer | None:
        asked.append(request)
        return http(500) if len(asked) > 1000 or request.tile.row >= 20 else None

    bench = Bench(service=MemoryService(scripted=scripted), plan=plan_of((7,)))
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.exit_code == 3
    assert outturn.tally.counts().pending > 14000


def test_a_host_that_comes_back_amid_bad_tiles_is_noticed_by_the_tile_that_is_known_to_be_good():
    asked: list[Request] = []

    def scripted(request: Request) -> Answer | None:
        asked.append(request)
        return http(500) if request.tile.row >= 20 or 100 < len(asked) < 140 else None

    bench = Bench(service=MemoryService(scripted=scripted), plan=plan_of((5,)), limits=Limits(retries=1))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts().failed == 12 * 32


def test_a_tile_that_is_good_no_more_keeps_nobody_from_noticing_that_the_host_is_back():
    first = Bench(plan=plan_of((0,)))
    first.go()
    asked: list[Request] = []

    def scripted(request: Request) -> Answer | None:
        asked.append(request)
        return http(500) if len(asked) < 40 or request.tile == Tile(0, 0, 0) else None

    service = MemoryService(scripted=scripted)
    again = Bench(service=service, plan=plan_of((0, 5)), cache=first.cache, ledger=first.ledger)
    assert again.go().tally.counts() == (1025, 1025, 0, 0, 0, 0)
    assert any(request.tile == Tile(0, 0, 0) for request in asked)


def test_tiles_of_a_large_bad_region_come_to_their_end_long_before_the_last_one_was_tried():
    """At this rate all first tries together take longer than a run waits for a tile to end."""
    service = bad_where(lambda tile: tile.row >= 20, http(500))
    bench = Bench(service=service, plan=plan_of((7,)), limits=Limits(rate=5.0, retries=1, max_duration_seconds=6000))
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.code == "budget"
    assert outturn.tally.counts().failed > 10_000


def test_the_known_tile_is_asked_within_the_rate_and_counted_as_a_request_and_its_body_is_not_stored_again():
    service = bad_where(lambda tile: tile.row >= 20, http(500))
    bench = Bench(service=service, plan=plan_of((5,)), limits=Limits(rate=50.0, retries=0))
    outturn = bench.go()
    starts = [when for when, _ in bench.transport.log]
    questions = sum(request.attempt < 0 for request in bench.asked)
    assert outturn.tally.counts() == (1024, 640, 0, 0, 384, 0)
    assert sum(bench.cache.batches) == outturn.tally.fetched == 640
    assert questions >= 2
    assert (outturn.tally.questions, outturn.tally.retries) == (questions, 0)
    assert outturn.tally.requests == outturn.tally.tile_requests == len(bench.asked) == 1024 + questions
    assert max(sum(start <= other < start + 1.0 for other in starts) for start in starts) <= 50


# ------------------------------------------------------------------------------------------------ nothing known yet


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_region_of_bad_tiles_that_comes_first_is_told_soon_by_a_tile_elsewhere_in_the_plan(name, share):
    service = bad_where(lambda tile: tile.row < 64 * share, BAD[name])
    bench = Bench(service=service, plan=plan_of((6,)), limits=Limits(retries=1))
    bad = sum(tile.row < 64 * share for tile in bench.plan.tiles())
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (4096, 4096 - bad, 0, 0, bad, 0)
    assert bench.seconds < 14
    assert outturn.tally.questions <= 16
    assert outturn.tally.tile_requests == len(bench.asked)


@pytest.mark.parametrize("name", BAD)
def test_a_plan_with_nothing_but_bad_tiles_is_exit_3_after_few_requests(name):
    bench = Bench(service=bad_where(lambda tile: True, BAD[name]), plan=plan_of((6,)))
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.exit_code == 3
    assert outturn.tally.counts().pending > 4000
    tried = {request.tile for request in bench.asked}
    assert len(bench.asked) <= 1.1 * len(tried) + 60
    assert len(tried) < 100


def test_the_first_half_of_a_shard_or_a_later_lod_may_be_bad_as_well():
    service = bad_where(lambda tile: tile.level < 5, http(500))
    bench = Bench(service=service, plan=plan_of((0, 1, 2, 3, 4, 5)).shard(1, 2), limits=Limits(retries=1))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts()) == (None, (682, 341, 0, 0, 341, 0))
    assert bench.seconds < 30


# ------------------------------------------------------------------------------------------------ always busy


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("headers", [{"retry-after": "1"}, {}])
def test_a_tile_that_is_always_busy_keeps_no_other_waiting_and_is_failed(status, headers):
    bad = Tile(0, 0, 0)
    service = bad_where(bad.__eq__, http(status, headers=headers))
    bench = Bench(service=service, plan=plan_of((0, 1, 2, 3, 4, 5)))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (1365, 1364, 0, 0, 1, 0)
    assert [(failure.tile, failure.reason) for failure in outturn.failures] == [(bad, f"http_{status}")]
    started = [at - bench.transport.log[0][0] for at, request in bench.transport.log if request.tile != bad]
    assert started[-1] < 20
    assert sum(request.tile == bad for request in bench.asked) < 16


def test_a_host_that_is_busy_for_all_is_still_paused():
    bench = Bench(
        service=MemoryService(scripted=lambda request: http(429, headers={"retry-after": "10"})),
        plan=plan_of((5,)),
        limits=Limits(give_up_after_seconds=100),
    )
    bench.go()
    assert len(bench.asked) < 40
