"""The run's promises, in memory and virtual time: every planned tile ends in one state, and a stop loses nothing."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.edges import Answer, Fault, Request, State
from harvester.engine import Engine, StopReason
from harvester.events import Progress, TileFailed
from harvester.job import Limits
from harvester.testing.memory import MemoryService, MemorySource, broken, http, memory_info, never
from harvester.tiling.tile import Tile

from .lab import Bench, plan_of


def first_tries_fail(answer: Answer, tiles: int = 10**9):
    """Scripts the first try of the first ``tiles`` tiles asked."""
    seen: set[Tile] = set()

    def scripted(request: Request) -> Answer | None:
        if request.window or request.tile in seen or len(seen) >= tiles:
            return None
        seen.add(request.tile)
        return answer

    return scripted


def test_every_tile_of_the_plan_is_stored_once():
    bench = Bench()
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (85, 85, 0, 0, 0, 0)
    assert {tile: bench.cache.reader().read(*tile) for tile in bench.plan.tiles()} == {
        tile: bench.service.body(tile) for tile in bench.plan.tiles()
    }
    assert Counter(request.tile for request in bench.asked).most_common(1)[0][1] == 1


def test_a_finished_run_asks_for_nothing():
    first = Bench()
    first.go()
    again = Bench(cache=first.cache, ledger=first.ledger)
    outturn = again.go()
    assert again.asked == []
    assert outturn.tally.kept == 85
    assert outturn.tally.fetched == 0


@pytest.mark.parametrize("fault", list(Fault))
def test_a_transient_fault_ends_complete(fault):
    bench = Bench(service=MemoryService(scripted=first_tries_fail(broken(fault), 12)))
    outturn = bench.go()
    assert outturn.tally.counts() == (85, 85, 0, 0, 0, 0)
    assert outturn.tally.retries >= 12


def test_a_tile_that_keeps_failing_is_tried_retries_plus_one_times_and_listed_with_its_reason():
    bad = Tile(2, 1, 1)
    service = MemoryService(scripted=lambda request: http(500) if request.tile == bad else None)
    bench = Bench(service=service, limits=Limits(retries=3))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (85, 84, 0, 0, 1, 0)
    assert [(failure.tile, failure.reason) for failure in outturn.failures] == [(bad, "http_500")]
    assert sum(request.tile == bad for request in bench.asked) == 4
    assert [event for event in bench.events if isinstance(event, TileFailed)] == [
        TileFailed(tile=bad, reason="http_500")
    ]


def test_a_failed_tile_is_asked_again_by_the_next_run_and_nothing_else_is():
    bad = Tile(2, 1, 1)
    first = Bench(service=MemoryService(scripted=lambda r: http(500) if r.tile == bad else None))
    first.go()
    again = Bench(cache=first.cache, ledger=first.ledger)
    assert again.go().tally.counts() == (85, 85, 0, 0, 0, 0)
    assert [request.tile for request in again.asked] == [bad]


def test_absent_tiles_are_remembered():
    service = MemoryService(absent=lambda tile: tile.level == 3)
    first = Bench(service=service)
    assert first.go().tally.counts() == (85, 21, 0, 64, 0, 0)
    again = Bench(service=service, cache=first.cache, ledger=first.ledger)
    assert again.go().tally.counts() == (85, 21, 0, 64, 0, 0)
    assert again.asked == []


def test_a_stale_connection_costs_a_tile_no_try_and_the_host_no_pace():
    """Every first request meets an old connection: with no retries at all each tile goes again, afresh, at once."""
    stale = broken(Fault.RESET)._replace(stale=True)
    bench = Bench(
        service=MemoryService(scripted=lambda request: None if request.fresh else stale), limits=Limits(retries=0)
    )
    outturn = bench.go()
    assert outturn.tally.counts() == (85, 85, 0, 0, 0, 0)
    assert Counter(request.tile for request in bench.asked) == dict.fromkeys(bench.plan.tiles(), 2)
    assert (outturn.tally.retries, outturn.tally.tile_requests, outturn.tally.requests) == (85, 170, 170)
    assert bench.seconds < 1.0, "neither back-off nor breaker"


def test_a_tile_whose_fresh_connection_fails_too_has_its_own_tries_and_no_more():
    bad = Tile(3, 4, 4)

    def scripted(request: Request) -> Answer | None:
        fault = broken(Fault.RESET)._replace(stale=not request.fresh)
        return fault if request.tile == bad else None

    bench = Bench(service=MemoryService(scripted=scripted), limits=Limits(retries=2))
    outturn = bench.go()
    assert outturn.tally.counts().failed == 1 and outturn.failures[0].reason == "reset"
    asked = [request for request in bench.asked if request.tile == bad]
    assert [request.fresh for request in asked] == [False, True, True, True], "one free, then the first and two tries"
    assert [request.attempt for request in asked] == [0, 0, 1, 2]


def test_a_stale_connection_under_a_tilemap_window_is_asked_afresh_too():
    stale = broken(Fault.RESET)._replace(stale=True)
    info = memory_info(tilemap=True)
    bench = Bench(
        service=MemoryService(scripted=lambda request: stale if request.window and not request.fresh else None),
        plan=plan_of((5,), info),
        source=MemorySource(info),
        probe=True,
    )
    outturn = bench.go()
    assert outturn.tally.counts().pending == 0 and outturn.tally.retries == 1
    assert [request.attempt for request in bench.asked if request.window] == [0, 0]


def test_being_throttled_does_not_use_up_a_tiles_tries():
    refusals: Counter[Tile] = Counter()

    def scripted(request: Request) -> Answer | None:
        if request.tile == Tile(1, 0, 0) and refusals[request.tile] < 5:
            refusals[request.tile] += 1
            return http(429)
        return None

    bench = Bench(service=MemoryService(scripted=scripted), limits=Limits(retries=2))
    outturn = bench.go()
    assert outturn.tally.counts() == (85, 85, 0, 0, 0, 0)
    assert outturn.tally.throttled == 5


def test_retry_after_pauses_the_whole_host():
    answered = []

    def scripted(request: Request) -> Answer | None:
        if not answered:
            answered.append(request)
            return http(429, headers={"retry-after": "120"})
        return None

    bench = Bench(service=MemoryService(scripted=scripted), plan=plan_of((4,)))
    outturn = bench.go()
    assert outturn.tally.counts().stored == 256
    refused = bench.transport.log[0][0] + 0.01
    assert not [when for when, _ in bench.transport.log if refused < when < refused + 120]


def test_a_retry_after_longer_than_ten_minutes_ends_the_run_and_says_when_to_come_back():
    bench = Bench(service=MemoryService(scripted=lambda r: http(503, headers={"retry-after": "3600"})))
    outturn = bench.go()
    assert outturn.stop is not None
    assert outturn.stop.exit_code == 3, "no tile ever ended"
    assert "60 minutes" in outturn.stop.hint
    assert bench.seconds < 60


def test_the_rate_holds_for_every_kind_of_request():
    info = memory_info(tilemap=True)
    bench = Bench(
        service=MemoryService(scripted=first_tries_fail(http(500), 5), seconds=0.001),
        source=MemorySource(info),
        plan=plan_of((5,), info),
        limits=Limits(rate=50.0),
        probe=True,
    )
    assert bench.go().stop is None
    starts = [when for when, _ in bench.transport.log]
    assert max(sum(start <= other < start + 1.0 for other in starts) for start in starts) <= 50
    assert len(starts) / (starts[-1] - starts[0]) >= 0.85 * 50


def test_no_more_requests_are_in_flight_than_the_concurrency():
    bench = Bench(plan=plan_of((5,)), limits=Limits(concurrency=7))
    bench.go()
    assert bench.transport.most_in_flight == 7


def test_a_tilemap_window_spares_the_absent_tiles_of_its_block():
    info = memory_info(tilemap=True)
    service = MemoryService(absent=lambda tile: tile.col >= 20)
    bench = Bench(service=service, source=MemorySource(info), plan=plan_of((6,), info), probe=True)
    outturn = bench.go()
    assert outturn.tally.counts() == (4096, 1280, 0, 2816, 0, 0)
    assert sum(request.window > 0 for request in bench.asked) == 1
    assert sum(request.window == 0 for request in bench.asked) == 1280


@pytest.mark.parametrize("answer", [http(200, b"{}"), http(500), broken(Fault.RESET), http(404)])
def test_a_tilemap_that_cannot_be_trusted_means_that_the_tiles_are_asked(answer):
    info = memory_info(tilemap=True)
    service = MemoryService(scripted=lambda request: answer if request.window else None)
    bench = Bench(service=service, source=MemorySource(info), plan=plan_of((5,), info), probe=True)
    assert bench.go().tally.counts().stored == 1024


def test_one_renewal_serves_all_waiters_and_no_try_is_used_up():
    service = MemoryService()
    service.least_credential = 1
    bench = Bench(service=service, source=MemorySource(renewable=True), limits=Limits(retries=0))
    outturn = bench.go()
    assert outturn.tally.counts().stored == 85
    assert bench.source.renewals == 1


def test_a_tile_refused_again_after_the_renewal_ends_the_run_with_exit_3():
    service = MemoryService()
    service.least_credential = 2
    bench = Bench(service=service, source=MemorySource(renewable=True))
    outturn = bench.go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("auth", 3)
    assert "with a new token" in outturn.stop.message
    assert bench.source.renewals == 1
    assert outturn.tally.counts().pending == 85


def test_where_nothing_can_be_renewed_a_refused_tile_is_asked_once_more():
    service = MemoryService(scripted=lambda request: http(499))
    bench = Bench(service=service, plan=plan_of((0,)))
    outturn = bench.go()
    assert outturn.stop is not None
    assert outturn.stop.exit_code == 3
    assert len(bench.asked) == 2


def test_a_login_page_in_place_of_every_tile_stops_the_run():
    bench = Bench(service=MemoryService(scripted=lambda r: http(200, b"<html>login")), plan=plan_of((6,)))
    outturn = bench.go()
    assert outturn.stop is not None
    assert outturn.stop.exit_code == 3
    assert len(bench.asked) < 200


def test_a_few_pages_in_place_of_tiles_are_those_tiles_own_trouble():
    bad = {Tile(4, row, 3) for row in range(16)}
    service = MemoryService(scripted=lambda request: http(200, b"<html>") if request.tile in bad else None)
    outturn = Bench(service=service, plan=plan_of((4,)), limits=Limits(retries=1)).go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (256, 240, 0, 0, 16, 0)


def test_a_source_that_fails_everything_is_given_up_with_exit_3_and_few_requests():
    bench = Bench(
        service=MemoryService(scripted=lambda request: http(500)),
        plan=plan_of((7,)),
        limits=Limits(give_up_after_seconds=600),
    )
    outturn = bench.go()
    assert outturn.stop is not None
    assert outturn.stop.exit_code == 3
    tried = {request.tile for request in bench.asked}
    assert outturn.tally.counts().pending > 16000
    assert len(bench.asked) <= 1.1 * len(tried) + 60


def test_a_stalled_pool_is_dropped_and_the_run_goes_on():
    bench = Bench(service=MemoryService(scripted=first_tries_fail(never(), 4)), limits=Limits(timeout_seconds=5))
    assert bench.go().tally.counts().stored == 85


@pytest.mark.parametrize("tiles", [1, 40])
def test_max_tiles_is_a_budget_that_is_kept_to_the_tile(tiles):
    bench = Bench(limits=Limits(max_tiles=tiles))
    outturn = bench.go()
    assert outturn.stop is not None
    assert outturn.stop.exit_code == 1
    assert outturn.tally.counts() == (85, tiles, 0, 0, 0, 85 - tiles)


def test_a_budget_as_large_as_the_job_ends_complete():
    outturn = Bench(limits=Limits(max_tiles=85)).go()
    assert outturn.stop is None
    assert outturn.tally.counts().stored == 85


def test_max_duration_ends_the_run_and_the_next_one_goes_on():
    first = Bench(plan=plan_of((6,)), limits=Limits(rate=100, max_duration_seconds=10))
    outturn = first.go()
    assert outturn.stop is not None
    assert outturn.stop.exit_code == 1
    assert 800 <= outturn.tally.fetched <= 1100
    again = Bench(plan=first.plan, cache=first.cache, ledger=first.ledger)
    assert again.go().tally.counts().stored == 4096
    assert len(again.asked) == 4096 - outturn.tally.fetched


def test_max_bytes_ends_the_run():
    outturn = Bench(plan=plan_of((5,)), limits=Limits(max_bytes=10_000, concurrency=4)).go()
    assert outturn.stop is not None
    assert outturn.stop.exit_code == 1
    assert 0 < outturn.tally.counts().pending < 1024


def test_a_stop_by_a_person_awaits_what_is_under_way_and_records_it():
    async def meanwhile(engine: Engine) -> None:
        await asyncio.sleep(1.0)
        engine.stop(StopReason.signal("SIGINT", 130))

    bench = Bench(service=MemoryService(seconds=0.3), plan=plan_of((6,)), meanwhile=meanwhile)
    outturn = bench.go()
    assert outturn.stop is not None
    assert outturn.stop.exit_code == 130
    assert outturn.tally.fetched == len(bench.asked) > 0
    again = Bench(plan=bench.plan, cache=bench.cache, ledger=bench.ledger)
    again.go()
    assert len(bench.asked) + len(again.asked) == 4096


def test_a_second_stop_ends_at_once():
    async def meanwhile(engine: Engine) -> None:
        await asyncio.sleep(1.0)
        engine.stop(StopReason.signal("SIGINT", 130))
        await asyncio.sleep(0.5)
        engine.stop(StopReason.signal("SIGTERM", 143))

    bench = Bench(service=MemoryService(seconds=25), plan=plan_of((6,)), meanwhile=meanwhile)
    outturn = bench.go()
    assert outturn.stop is not None
    assert outturn.stop.exit_code == 143
    assert bench.seconds < 2


def test_progress_is_shown_and_its_counts_always_add_up():
    bench = Bench(plan=plan_of((6,)), limits=Limits(rate=200))
    bench.go()
    progress = [event for event in bench.events if isinstance(event, Progress)]
    assert len(progress) >= 15
    for event in progress:
        counts = event.counts
        assert counts.planned == 4096 == sum(counts[1:])
    middle = progress[len(progress) // 2]
    assert middle.eta_seconds == pytest.approx(middle.counts.pending / 185, rel=0.15)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 30), st.integers(1, 12))
def test_whatever_fails_the_states_add_up_and_no_wrong_byte_is_stored(seed, percent, concurrency):
    import random

    rng = random.Random(seed)
    bad = [http(500), http(200, b"<html>"), http(200, b""), http(429), broken(Fault.RESET), http(404), http(403)]

    def scripted(request: Request) -> Answer | None:
        return rng.choice(bad) if rng.random() * 100 < percent else None

    bench = Bench(service=MemoryService(scripted=scripted), limits=Limits(retries=2, concurrency=concurrency))
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert counts.planned == sum(counts[1:]) == 85
    assert outturn.stop is not None or counts.pending == 0
    reader = bench.cache.reader()
    held = {tile: reader.read(*tile) for tile in bench.plan.tiles()}
    assert all(body is None or body == bench.service.body(tile) for tile, body in held.items())
    assert sum(body is not None for body in held.values()) == counts.stored
    states = asyncio.run(bench.ledger.states([key for key, _ in bench.plan.blocks()]))
    assert sum(int((one == State.FAILED).sum()) for one in states) == counts.failed == len(outturn.failures)


def test_a_batch_that_cannot_be_written_ends_the_run_with_exit_4_and_is_not_taken_as_stored():
    from harvester.testing.memory import MemoryCache

    bench = Bench(plan=plan_of((6,)), cache=MemoryCache(fails=lambda batch: batch == 2))
    outturn = bench.go()
    assert outturn.stop is not None
    assert outturn.stop.exit_code == 4
    assert outturn.tally.fetched == len(bench.cache.bodies) == sum(bench.cache.batches)
    again = Bench(plan=bench.plan, cache=MemoryCache(), ledger=bench.ledger)
    again.cache.bodies.update(bench.cache.bodies)
    assert again.go().tally.counts().stored == 4096


def test_a_large_region_that_is_refused_is_failed_tile_by_tile_and_stops_nothing_else():
    service = MemoryService(scripted=lambda request: http(403) if request.tile.row % 2 else None)
    outturn = Bench(service=service, plan=plan_of((6,)), limits=Limits(concurrency=8)).go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (4096, 2048, 0, 0, 2048, 0)


@pytest.mark.parametrize("stamp_blocks", [False, True])
def test_tiles_that_another_job_recorded_are_doubted_too_when_the_cache_was_replaced(stamp_blocks):
    from harvester.testing.memory import MemoryCache

    first = Bench(plan=plan_of((3,)), cache=MemoryCache(stamp_blocks=stamp_blocks))
    first.go()
    replaced = MemoryCache(stamp_blocks=stamp_blocks)
    other = Bench(plan=plan_of((4,)), cache=replaced, ledger=first.ledger)
    assert other.go().tally.counts().stored == 256
    again = Bench(plan=first.plan, cache=replaced, ledger=first.ledger)
    assert again.go().tally.counts().stored == 64
    assert len(again.asked) == 64


PAGE = http(200, b"<html>Sign in</html>")


def pages_between(start: float, end: float):
    """A page instead of every tile from ``start`` to ``end``, in virtual seconds since the first request."""
    began: list[float] = []

    def scripted(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        began.append(now)
        return PAGE if start <= now - began[0] < end else None

    return scripted


def test_a_portal_that_comes_between_later_stops_the_run_after_a_few_probes():
    bench = Bench(service=MemoryService(scripted=pages_between(0.3, 1e9)), plan=plan_of((6,)))
    outturn = bench.go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("unusable", 3)
    assert outturn.tally.counts().stored > 20
    assert outturn.tally.counts().pending > 3000
    assert bench.seconds < 60


def test_a_maintenance_page_that_goes_away_is_waited_out():
    bench = Bench(service=MemoryService(scripted=pages_between(0.3, 10.0)), plan=plan_of((6,)))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts().stored == 4096


def test_one_body_for_many_tiles_is_told_with_its_hash_and_nothing_is_dropped():
    from xxhash import xxh3_128_hexdigest

    from harvester.testing.images import tile_png

    nothing = tile_png(0, 0, 0)
    service = MemoryService(body=lambda tile: nothing if tile.col < 8 else tile_png(*tile))
    bench = Bench(service=service, plan=plan_of((5,)))
    outturn = bench.go()
    assert outturn.tally.counts().stored == 1024
    assert [repeat.hash for repeat in outturn.repeats] == [xxh3_128_hexdigest(nothing)]
    assert 240 <= outturn.repeats[0].tiles <= 256
    assert outturn.repeats[0].sample.col < 8


def test_a_declared_placeholder_is_an_absent_tile():
    from xxhash import xxh3_128_hexdigest

    from harvester.testing.images import tile_png

    nothing = tile_png(0, 0, 0)
    service = MemoryService(body=lambda tile: nothing if tile.col < 8 else tile_png(*tile))
    bench = Bench(service=service, plan=plan_of((5,)), placeholders=(xxh3_128_hexdigest(nothing).upper(),))
    outturn = bench.go()
    assert outturn.tally.counts() == (1024, 768, 0, 256, 0, 0)
    assert outturn.tally.absences == {(5, "placeholder"): 256}
    assert outturn.repeats == ()
