"""Regions whose tiles are answered "too busy" for good: all others are fetched meanwhile, and these are failed with
their reason. In virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest

from harvester.edges import Answer, Fault, Request
from harvester.engine.asking import MOST_WAITING
from harvester.job import Limits
from harvester.testing.memory import MemoryService, MemorySource, broken, http, memory_info
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

Scripted = Callable[[Request], "Answer | None"]

PLACES = {"first": 0.0, "in the middle": 0.5, "last": 1.0}

SOON = 120.0
"""Seconds within which 4,096 tiles came, of which some are always busy: they would take five without."""


def region(tiles: list[Tile], size: int, place: str, step: int = 1) -> set[Tile]:
    start = int(PLACES[place] * (len(tiles) - size * step))
    return set(tiles[start : start + size * step : step])


def busy_in(bad: set[Tile], answer: Answer) -> MemoryService:
    return MemoryService(scripted=lambda request: answer if request.tile in bad and not request.window else None)


def last_good(bench: Bench, bad: set[Tile]) -> float:
    """When the last good tile was asked first, in seconds from the first request."""
    first: dict[Tile, float] = {}
    for at, request in bench.transport.log:
        if request.attempt >= 0:
            first.setdefault(request.tile, at)
    return max(at for tile, at in first.items() if tile not in bad) - bench.transport.log[0][0]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", [10, 100, 1000])
def test_a_region_that_is_always_busy_is_failed_and_keeps_no_other_tile_waiting(size, place, status):
    bench = Bench(plan=plan_of((6,)))
    bad = region(list(bench.plan.tiles()), size, place)
    bench.service = busy_in(bad, http(status))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (4096, 4096 - size, 0, 0, size, 0)
    assert {failure.tile: failure.reason for failure in outturn.failures} == dict.fromkeys(bad, f"http_{status}")
    assert last_good(bench, bad) < SOON
    assert bench.seconds < 900
    assert len(bench.asked) < 4096 + 16 * size + 60
    assert outturn.tally.tile_requests == len(bench.asked)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("step", [2, 5])
def test_busy_tiles_strewn_among_good_ones_do_not_slow_the_host_down(step, place):
    bench = Bench(plan=plan_of((6,)))
    bad = region(list(bench.plan.tiles()), 400, place, step)
    bench.service = busy_in(bad, http(503))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (4096, 3696, 0, 0, 400, 0)
    assert last_good(bench, bad) < SOON
    assert bench.seconds < 900


@pytest.mark.parametrize("place", PLACES)
def test_a_busy_region_that_names_a_time_is_waited_for_a_few_times_and_no_more(place):
    bench = Bench(plan=plan_of((6,)))
    bad = region(list(bench.plan.tiles()), 200, place)
    bench.service = busy_in(bad, http(503, headers={"retry-after": "5"}))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (4096, 3896, 0, 0, 200, 0)
    assert last_good(bench, bad) < 2 * SOON


@pytest.mark.parametrize("limits", [{"concurrency": 1}, {"rate": 50.0}, {"max_tiles": 3000}, {"retries": 0}])
def test_a_busy_region_is_told_whatever_the_limits_are(limits):
    bench = Bench(plan=plan_of((6,)), limits=Limits(**limits))
    bad = region(list(bench.plan.tiles()), 100, "first")
    bench.service = busy_in(bad, http(503))
    outturn = bench.go()
    counts = outturn.tally.counts()
    if "max_tiles" in limits:
        assert outturn.stop is not None and outturn.stop.code == "budget"
        assert counts.stored == 3000
        return
    assert outturn.stop is None
    assert counts == (4096, 3996, 0, 0, 100, 0)


def test_a_time_budget_ends_the_run_with_the_good_tiles_stored_and_the_busy_ones_pending_or_failed():
    bench = Bench(plan=plan_of((6,)), limits=Limits(max_duration_seconds=SOON / 3))
    bad = region(list(bench.plan.tiles()), 1000, "first")
    bench.service = busy_in(bad, http(503))
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert outturn.stop is not None and outturn.stop.code == "budget"
    assert counts.stored == 3096
    assert counts.failed + counts.pending == 1000


def test_a_busy_region_behind_a_tilemap_is_told_as_well():
    info = memory_info(tilemap=True)
    bench = Bench(plan=plan_of((6,), info), source=MemorySource(info), probe=True)
    bad = region(list(bench.plan.tiles()), 300, "first")
    bench.service = busy_in(bad, http(503))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts()) == (None, (4096, 3796, 0, 0, 300, 0))


@pytest.mark.parametrize("size", [1, 40])
def test_busy_tiles_that_alone_are_left_are_failed_again_by_every_run(size):
    """Nothing but an earlier run's tile can tell that the host is well."""
    first = Bench(plan=plan_of((5,)))
    bad = region(list(first.plan.tiles()), size, "in the middle")
    first.service = busy_in(bad, http(503))
    assert first.go().tally.counts() == (1024, 1024 - size, 0, 0, size, 0)
    for _ in range(2):
        again = Bench(service=first.service, plan=first.plan, cache=first.cache, ledger=first.ledger)
        outturn = again.go()
        assert (outturn.stop, outturn.tally.counts()) == (None, (1024, 1024 - size, 0, 0, size, 0))
        assert {failure.tile for failure in outturn.failures} == bad
        assert len(again.asked) < 16 * size + 40


def test_a_tile_that_alone_is_left_is_failed_when_the_run_gives_up_before_its_last_try():
    first = Bench(plan=plan_of((3,)), limits=Limits(give_up_after_seconds=8.0))
    bad = {Tile(3, 4, 4)}
    first.service = busy_in(bad, http(429))
    for _ in range(3):
        bench = Bench(
            service=first.service, plan=first.plan, cache=first.cache, ledger=first.ledger, limits=first.limits
        )
        outturn = bench.go()
        assert (outturn.stop, outturn.tally.counts()) == (None, (64, 63, 0, 0, 1, 0))
        assert [failure.reason for failure in outturn.failures] == ["http_429"]
        assert bench.seconds < 30


@pytest.mark.parametrize("headers", [{}, {"retry-after": "1"}])
@pytest.mark.parametrize("size", [1, 20])
def test_a_few_busy_tiles_keep_a_run_waiting_for_half_a_minute(size, headers):
    """It was four minutes, and the run had nothing else to do."""
    bench = Bench(plan=plan_of((6,)))
    bad = region(list(bench.plan.tiles()), size, "in the middle", 7)
    bench.service = busy_in(bad, http(503, headers=headers))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts()) == (None, (4096, 4096 - size, 0, 0, size, 0))
    assert {failure.tile for failure in outturn.failures} == bad
    first = {request.tile: at for at, request in reversed(bench.transport.log)}
    end = bench.transport.log[0][0] + bench.seconds
    assert all(20.0 <= end - first[tile] <= 50.0 for tile in bad)


def test_a_host_that_becomes_busy_for_all_while_such_a_tile_is_waited_for_fails_it_not():
    bench = Bench(plan=plan_of((5,)), limits=Limits(give_up_after_seconds=300))
    bad = Tile(5, 16, 16)
    began: list[float] = []

    def scripted(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        began.append(now)
        return http(503) if request.tile == bad or now - began[0] > 15 else None

    bench.service = MemoryService(scripted=scripted)
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.code == "gave_up"
    assert outturn.tally.counts() == (1024, 1023, 0, 0, 0, 1)


@pytest.mark.parametrize("size", [1, 20])
def test_a_host_with_a_limit_is_not_asked_beyond_it_for_a_few_busy_tiles(size):
    """2,000 refusals where all that is refused is then taken for the tiles' own trouble."""
    bench = Bench(plan=plan_of((5,)))
    bad = region(list(bench.plan.tiles()), size, "in the middle", 7)
    limit = knee(4)
    refused: list[Tile] = []

    def scripted(request: Request) -> Answer | None:
        answer = http(503) if request.tile in bad else limit(request)
        if answer is not None and request.tile not in bad:
            refused.append(request.tile)
        return answer

    bench.service = MemoryService(scripted=scripted, seconds=0.05)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts()) == (None, (1024, 1024 - size, 0, 0, size, 0))
    assert len(refused) < 400
    assert bench.seconds < 120


@pytest.mark.parametrize("headers", [{}, {"retry-after": "20"}])
@pytest.mark.parametrize("kept", [False, True])
def test_a_host_that_is_busy_for_all_gets_few_requests_and_no_tile_is_failed(kept, headers):
    first = Bench(plan=plan_of((3,)))
    if kept:
        first.go()
    bench = Bench(
        service=MemoryService(scripted=lambda request: http(503, headers=headers)),
        plan=plan_of((3, 6)),
        cache=first.cache,
        ledger=first.ledger,
    )
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert outturn.stop is not None and outturn.stop.exit_code == 3
    assert (counts.failed, counts.pending) == (0, 4160 - 64 * kept)
    tried = {request.tile for request in bench.asked}
    assert len(bench.asked) <= 1.1 * len(tried) + 900 / 20 + 15
    assert len(bench.asked) < 150, "a probe now and then"


def bucket(rate: float, burst: float) -> Scripted:
    """So many requests a second, and as many at once; 429 beyond."""
    state = {"at": 0.0, "tokens": burst}

    def scripted(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        state["tokens"] = min(burst, state["tokens"] + (now - state["at"]) * rate)
        state["at"] = now
        if state["tokens"] < 1.0:
            return http(429)
        state["tokens"] -= 1.0
        return None

    return scripted


def window(rate: int) -> Scripted:
    """So many requests in each second of the clock."""
    counts: Counter[int] = Counter()

    def scripted(request: Request) -> Answer | None:
        second = int(asyncio.get_running_loop().time())
        counts[second] += 1
        return http(429) if counts[second] > rate else None

    return scripted


def knee(most: int) -> Scripted:
    """So many at a time."""
    flying: list[float] = []

    def scripted(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        flying[:] = [end for end in flying if end > now]
        if len(flying) >= most:
            return http(503)
        flying.append(now + 0.05)
        return None

    return scripted


def at_random(share: float) -> Scripted:
    draw = random.Random(1)
    return lambda request: http(503) if draw.random() < share else None


HOSTS = {
    "a bucket of 5 a second": (lambda: bucket(5.0, 1.0), 80, 1.1),
    "a bucket of 100 a second": (lambda: bucket(100.0, 10.0), 10, 1.1),
    "windows of 10": (lambda: window(10), 40, 1.1),
    "one at a time": (lambda: knee(1), 30, 1.15),
    "three at a time": (lambda: knee(3), 15, 1.1),
    "one of twenty at random": (lambda: at_random(0.05), 400, 1.2),
    "one of two at random": (lambda: at_random(0.5), 4000, 2.5),
    "four of five at random": (lambda: at_random(0.8), 20_000, 6.0),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_that_is_busy_by_itself_fails_no_tile(name):
    make, seconds, amplification = HOSTS[name]
    bench = Bench(service=MemoryService(scripted=make(), seconds=0.05), plan=plan_of((4,)))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts()) == (None, (256, 256, 0, 0, 0, 0))
    assert bench.seconds < seconds
    assert len(bench.asked) - outturn.tally.questions < amplification * 256


def test_single_refusals_hold_nobody_up_for_a_trial():
    bench = Bench(service=MemoryService(scripted=at_random(0.05), seconds=0.05), plan=plan_of((5,)))
    outturn = bench.go()
    assert outturn.tally.counts().stored == 1024
    assert bench.seconds < 400, "with a trial for each of them it would be 525"
    assert outturn.tally.questions < 60


def test_a_host_that_becomes_busy_amid_a_busy_region_fails_no_good_tile():
    """Busy tiles are known by then; the host then refuses nine of ten for a minute."""
    draw = random.Random(3)
    bench = Bench(plan=plan_of((6,)), limits=Limits(rate=40.0))
    bad = region(list(bench.plan.tiles()), 300, "first")
    began: list[float] = []

    def scripted(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        began.append(now)
        if request.tile in bad:
            return http(503)
        return http(503) if 30 < now - began[0] < 90 and draw.random() < 0.9 else None

    bench.service = MemoryService(scripted=scripted)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts()) == (None, (4096, 3796, 0, 0, 300, 0))


def test_an_engine_that_knows_no_place_elsewhere_goes_on_without_a_question():
    bench = Bench(service=MemoryService(scripted=lambda request: http(500)), plan=plan_of((4,)), spread=False)
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.exit_code == 3
    assert outturn.tally.questions == 0


def test_a_host_that_becomes_busy_for_all_amid_a_busy_region_is_noticed_by_a_tile_it_served():
    began: list[float] = []
    bench = Bench(plan=plan_of((6,)), limits=Limits(give_up_after_seconds=300))
    bad = region(list(bench.plan.tiles()), 3000, "first")

    def scripted(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        began.append(now)
        return http(503) if request.tile in bad or now - began[0] > 15 else None

    bench.service = MemoryService(scripted=scripted, seconds=0.05)
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.code == "gave_up"
    late = [at for at in began if at - began[0] > 30]
    assert len(late) < 60, "in four and a half minutes"


def test_an_old_connection_that_closes_under_a_trial_makes_no_tile_two():
    stale = broken(Fault.RESET)._replace(stale=True)
    asked: Counter[Tile] = Counter()
    bench = Bench(plan=plan_of((4,)))
    bad = region(list(bench.plan.tiles()), 20, "first")

    def scripted(request: Request) -> Answer | None:
        asked[request.tile] += 1
        if not request.fresh and asked[request.tile] % 2 == 0:
            return stale
        return http(503) if request.tile in bad else None

    bench.service = MemoryService(scripted=scripted)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts()) == (None, (256, 236, 0, 0, 20, 0))
    assert max(asked[tile] for tile in bad) < 40
    assert outturn.tally.tile_requests == len(bench.asked) == 256 + outturn.tally.retries + outturn.tally.questions


def test_however_large_a_region_is_busy_no_more_tiles_wait_than_memory_is_given():
    """A quarter of a million of them, of a fast host."""
    most = 0

    def scripted(request: Request) -> Answer | None:
        nonlocal most
        most = max(most, len(bench.engine._flow.asking._waiting_tries))
        return http(503) if request.tile.level == 9 else None

    limits = Limits(concurrency=256, max_duration_seconds=90)
    bench = Bench(plan=plan_of((0, 1, 2, 9)), limits=limits)
    bench.service = MemoryService(scripted=scripted, seconds=0.001)
    bench.go()
    assert MOST_WAITING <= most <= MOST_WAITING + 256
