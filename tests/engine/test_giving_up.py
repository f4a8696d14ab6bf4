"""A run against a source that will not give its tiles ends by itself: after how long, with which exit code, after how
many requests. Hours of virtual time."""

from __future__ import annotations

import random
from typing import Any

import pytest

from harvester.edges import Answer, Request
from harvester.events import Notice
from harvester.job import Limits
from harvester.testing.memory import MemoryService, MemorySource, http
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

QUARTER_HOUR = 900.0


def failing_but(*good: Tile) -> MemoryService:
    """Answers 500 for every tile but these, and for these from the second time on."""
    left = set(good)

    def scripted(request: Request) -> Answer | None:
        if request.tile not in left:
            return http(500)
        left.remove(request.tile)
        return None

    return MemoryService(scripted=scripted)


@pytest.mark.parametrize("retries", [0, 1, 5])
@pytest.mark.parametrize("good", [Tile(5, 0, 0), Tile(5, 0, 9), Tile(5, 31, 31)])
def test_a_source_that_fails_nearly_every_tile_is_given_up_whether_or_not_tiles_are_tried_again(good, retries):
    bench = Bench(service=failing_but(good), plan=plan_of((5,)), limits=Limits(retries=retries))
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("source_failing", 3)
    assert "http_500" in outturn.stop.message
    assert bench.seconds < QUARTER_HOUR + 120
    assert counts.stored + counts.failed + counts.pending == 1024
    assert counts.pending > 900, "what was never tried, or may be tried again, is pending"
    tried = {request.tile for request in bench.asked}
    probes = QUARTER_HOUR / 30 + 10
    assert len(bench.asked) <= 1.1 * len(tried) + probes
    if not retries:
        assert counts.failed + counts.stored == len({one.tile for one in bench.asked if one.attempt >= 0})


def test_tiles_that_fail_by_themselves_among_good_ones_are_failed_and_the_run_ends_with_1():
    draw = random.Random(5)
    bad = {Tile(5, row, col) for row in range(32) for col in range(32) if draw.random() < 0.5}
    service = MemoryService(scripted=lambda request: http(500) if request.tile in bad else None)
    bench = Bench(service=service, plan=plan_of((5,)), limits=Limits(retries=0))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (1024, 1024 - len(bad), 0, 0, len(bad), 0)
    assert len(bench.asked) == 1024
    assert bench.seconds < 60


def test_a_source_that_recovers_while_it_is_probed_is_harvested_whole():
    started: list[float] = []

    def scripted(request: Request) -> Answer | None:
        started.append(0.0)
        return http(500) if 3 < len(started) < 40 else None

    bench = Bench(service=MemoryService(scripted=scripted), plan=plan_of((5,)), limits=Limits(retries=5))
    assert bench.go().tally.counts().stored == 1024


@pytest.mark.parametrize(("good", "exit_code"), [((), 3), ((Tile(3, 0, 0),), 1)])
def test_a_server_that_asks_to_come_back_tomorrow_is_not_waited_for(good, exit_code):
    """1 where a tile ended before, 3 where none ever did."""
    busy = http(429, headers={"retry-after": "86400"})
    service = MemoryService(scripted=lambda request: None if request.tile in good else busy)
    bench = Bench(service=service, limits=Limits(concurrency=1), plan=plan_of((3,)))
    outturn = bench.go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("retry_after", exit_code)
    assert "1440 minutes" in outturn.stop.hint
    assert bench.seconds < 60
    assert outturn.tally.counts().pending == 64 - len(good)


def test_a_pause_beyond_what_is_left_of_the_time_is_a_budget_used_up():
    service = MemoryService(scripted=lambda request: http(429, headers={"retry-after": "300"}))
    outturn = Bench(service=service, limits=Limits(max_duration_seconds=60.0)).go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("retry_after", 1)


@pytest.mark.parametrize(("good", "exit_code"), [((), 3), ((Tile(3, 0, 0),), 1)])
def test_a_server_that_pauses_without_end_is_given_up_after_that_long_without_a_tile(good, exit_code):
    """Pauses that are short enough to be waited for, but nothing comes of it, not for what was served either."""
    busy, left = http(429, headers={"retry-after": "240"}), list(good)
    service = MemoryService(scripted=lambda request: left.remove(request.tile) if request.tile in left else busy)
    bench = Bench(service=service, limits=Limits(concurrency=1), plan=plan_of((3,)))
    outturn = bench.go()
    assert outturn.stop is not None
    assert outturn.stop.exit_code == exit_code
    assert QUARTER_HOUR <= bench.seconds < QUARTER_HOUR + 60
    assert len(bench.asked) < 20


def expiring(**source: Any) -> Bench:
    """The first credential has ended."""
    service = MemoryService()
    service.least_credential = 1
    return Bench(service=service, source=MemorySource(renewable=True, **source))


def test_a_pause_that_the_token_service_asks_for_is_kept_and_the_run_goes_on():
    bench = expiring(renewal_pauses=(45.0, 300.0))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().stored, bench.source.renewals) == (None, 85, 1)
    assert 345 <= bench.seconds < 365


def test_a_token_service_that_is_away_for_a_while_is_asked_again_until_it_gives_a_token():
    bench = expiring(renewal_pauses=(None,) * 8)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().stored, bench.source.renewals) == (None, 85, 1)
    assert 121 <= bench.seconds < 150, "1 + 2 + 4 + 8 + 16 + 30 + 30 + 30"
    told = [event.text for event in bench.events if isinstance(event, Notice)]
    assert told == ["no new token yet: the token service is busy; it is asked for again"]


def test_a_token_service_that_stays_away_ends_the_run_with_3_once_no_tile_ended_for_give_up_after():
    bench = expiring(renewal_pauses=(None,) * 1000)
    outturn = bench.go()
    assert outturn.stop is not None
    assert (outturn.stop.message, outturn.stop.exit_code) == ("the token service is busy", 3)
    assert QUARTER_HOUR - 31 <= bench.seconds < QUARTER_HOUR


@pytest.mark.parametrize("good", [False, True])
@pytest.mark.parametrize(("pause", "limits", "minutes"), [(700.0, {}, 12), (300.0, {"max_duration_seconds": 60.0}, 5)])
def test_a_pause_of_the_token_service_that_is_too_long_ends_the_run_and_says_when_to_come_back(
    pause, limits, minutes, good
):
    """1 where a tile ended before, or the run's own time was too short; else 3."""
    left = [Tile(0, 0, 0)] if good else []

    def scripted(request: Request) -> Answer | None:
        if request.tile in left:
            left.remove(request.tile)
            return None
        return http(498)

    source = MemorySource(renewable=True, renewal_pauses=(pause,))
    bench = Bench(
        service=MemoryService(scripted=scripted),
        source=source,
        limits=Limits(concurrency=1, **limits),
        plan=plan_of((0, 3)),
    )
    outturn = bench.go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("retry_after", 1 if good or limits else 3)
    assert outturn.stop.message == f"the token service asked to come back in {minutes} minutes"
    assert f"after {minutes} minutes" in outturn.stop.hint
    assert bench.seconds < 60


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.9])
def test_a_service_that_refuses_all_that_it_is_not_too_busy_for_is_soon_given_up(share):
    """``share`` of the answers are 403, the others 503: it was six to eleven hours, and thousands of requests."""
    draw = random.Random(3)

    def scripted(request: Request) -> Answer | None:
        return http(403) if draw.random() < share else http(503)

    bench = Bench(service=MemoryService(scripted=scripted, seconds=0.02), plan=plan_of((0, 1, 2, 3, 4, 5)))
    outturn = bench.go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("unusable", 3)
    assert bench.seconds < 2 * QUARTER_HOUR
    assert len(bench.asked) < 150


@pytest.mark.parametrize("seed", range(4))
def test_a_region_that_is_refused_by_a_host_that_is_busy_now_and_then_is_none(seed):
    """A tile elsewhere is looked for until one is found that it is not too busy for."""
    draw = random.Random(seed)

    def scripted(request: Request) -> Answer | None:
        if draw.random() < 0.2:
            return http(503)
        return http(403) if request.tile.row < 20 else None

    bench = Bench(service=MemoryService(scripted=scripted, seconds=0.02), plan=plan_of((5,)))
    outturn, counts = bench.go(), bench.engine._tally.counts()
    assert (outturn.stop, counts.stored, counts.failed) == (None, 12 * 32, 20 * 32)
