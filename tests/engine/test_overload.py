"""A host that says by faults (500, 502, 504, a reset) that it is asked too much, and hosts whose faults are about
something else. In virtual time."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter
from collections.abc import Callable

import pytest

from harvester.edges import Answer, Fault, Request
from harvester.job import Limits
from harvester.testing.memory import MemoryService, broken, http
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

FAULTS = {
    "500": http(500),
    "502": http(502),
    "504": http(504),
    "a reset": broken(Fault.RESET),
    "a page": http(200, b"<html>busy</html>"),
}


class Seats:
    """Serves so many requests at once, each in so many seconds; any other fails within ``soon``."""

    def __init__(
        self,
        seats: int,
        seconds: float,
        answer: Answer,
        *,
        soon: float = 0.005,
        bad: Callable[[Tile], bool] = lambda tile: False,
    ) -> None:
        self.refused = 0
        self._service = MemoryService()
        self._draw = random.Random(1)
        self._seats, self._seconds, self._answer, self._soon, self._bad = seats, seconds, answer, soon, bad
        self._ends: list[float] = []

    def __call__(self, request: Request) -> Answer:
        now = asyncio.get_running_loop().time()
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        if self._bad(request.tile):
            return self._answer._replace(seconds=self._soon)
        if len(self._ends) >= self._seats:
            self.refused += 1
            return self._answer._replace(seconds=self._soon)
        seconds = self._seconds * self._draw.uniform(0.8, 1.2)
        heapq.heappush(self._ends, now + seconds)
        return self._service(request)._replace(seconds=seconds)


# ------------------------------------------------------------------------------------------------ a limit


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize(("seats", "seconds", "level"), [(8, 0.25, 5), (3, 0.1, 5), (5, 1.0, 4)])
def test_a_limit_that_shows_as_faults_is_found_and_no_tile_is_failed_for_it(name, seats, seconds, level):
    host = Seats(seats, seconds, FAULTS[name])
    bench = Bench(service=host, plan=plan_of((level,)))
    outturn = bench.go()
    tiles = 4**level
    assert outturn.stop is None
    assert outturn.tally.counts() == (tiles, tiles, 0, 0, 0, 0)
    assert host.refused < 100
    assert bench.seconds < 1.25 * tiles * seconds / seats + 10


@pytest.mark.parametrize("seats", [1, 2])
def test_so_is_one_that_the_first_requests_exceed(seats):
    host = Seats(seats, 0.5, http(502))
    bench = Bench(service=host, plan=plan_of((4,)))
    assert bench.go().tally.counts() == (256, 256, 0, 0, 0, 0)
    assert host.refused < 300
    assert bench.seconds < 1.25 * 256 * 0.5 / seats + 10


def test_so_is_one_that_takes_its_time_to_refuse():
    host = Seats(8, 0.25, http(504), soon=0.25)
    bench = Bench(service=host, plan=plan_of((5,)))
    assert bench.go().tally.counts() == (1024, 1024, 0, 0, 0, 0)
    assert host.refused < 100


def test_tiles_that_are_broken_are_failed_by_a_host_with_such_a_limit_and_no_others():
    host = Seats(8, 0.25, http(500), bad=lambda tile: tile.row == tile.col)
    bench = Bench(service=host, plan=plan_of((5,)))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (1024, 992, 0, 0, 32, 0)
    assert {failure.tile for failure in outturn.failures} == {Tile(5, i, i) for i in range(32)}
    tries = Counter(request.tile for request in bench.asked)
    assert max(tries[Tile(5, i, i)] for i in range(32)) <= 24


def test_such_a_limit_is_found_without_retries_as_well():
    """135 of 341 were failed; those that came before it was found are."""
    bench = Bench(service=Seats(8, 0.25, http(502)), plan=plan_of((0, 1, 2, 3, 4)), limits=Limits(retries=0))
    counts = bench.go().tally.counts()
    assert counts.stored + counts.failed == 341
    assert counts.failed < 25
    assert bench.seconds < 25


def test_without_retries_faults_that_come_at_any_pace_do_not_lower_it():
    draw = random.Random(1)
    scripted = lambda request: http(500, seconds=0.005) if draw.random() < 0.2 else None  # noqa: E731
    bench = Bench(service=MemoryService(scripted=scripted, seconds=0.05), plan=plan_of((6,)), limits=Limits(retries=0))
    counts = bench.go().tally.counts()
    assert counts.stored + counts.failed == 4096
    assert 700 < counts.failed < 930
    assert bench.seconds < 18


@pytest.mark.parametrize(("seats", "seconds", "level", "most"), [(2, 0.5, 3, 60), (1, 0.5, 3, 115), (4, 0.5, 4, 100)])
def test_broken_tiles_behind_such_a_limit_cost_little_where_nothing_else_is_left(seats, seconds, level, most):
    """And no other is failed for the host's limit: nine of 85 were where one is served at a time."""
    bad = {Tile(level, i * 3 % 2**level, i * 7 % 2**level) for i in range(5 if level == 3 else 16)}
    host = Seats(seats, seconds, http(502))

    def answer(request: Request) -> Answer:
        came = host(request)
        return http(500, seconds=came.seconds) if request.tile in bad and came.status == 200 else came

    bench = Bench(service=answer, plan=plan_of(tuple(range(level + 1))))
    outturn = bench.go()
    assert outturn.stop is None
    assert {failure.tile for failure in outturn.failures} == bad
    assert bench.seconds < most
    assert host.refused < 200
    tries = Counter(request.tile for request in bench.asked if request.attempt >= 0)
    assert max(tries[tile] for tile in bad) <= 12


# ------------------------------------------------------------------------------------------------ none


@pytest.mark.parametrize(("share", "most"), [(0.2, 18), (0.33, 30), (0.5, 120)])
def test_faults_that_come_at_any_pace_do_not_lower_it(share, most):
    """11, 15 and 34 seconds where they never do; 41, 181 and 508 where they do until it shows."""
    draw = random.Random(1)
    bench = Bench(
        service=MemoryService(
            scripted=lambda request: http(500, seconds=0.005) if draw.random() < share else None, seconds=0.05
        ),
        plan=plan_of((6,)),
    )
    counts = bench.go().tally.counts()
    assert counts.stored + counts.failed == 4096
    assert counts.stored > 3950
    assert bench.seconds < most


def test_a_tile_that_is_broken_has_its_tries_and_no_more_where_nothing_speaks_of_a_limit():
    bad = {Tile(5, row, 7) for row in range(32)}
    bench = Bench(service=MemoryService(scripted=lambda request: http(500) if request.tile in bad else None))
    bench.plan, bench.limits = plan_of((5,)), Limits(retries=2)
    assert bench.go().tally.counts() == (1024, 992, 0, 0, 32, 0)
    tries = Counter(request.tile for request in bench.asked if request.attempt >= 0)
    assert {tries[tile] for tile in bad} == {3}


# ------------------------------------------------------------------------------------------------ made on demand


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "a page"])
@pytest.mark.parametrize(("level", "most"), [(4, 60), (6, 100)])
def test_tiles_that_are_served_when_they_are_asked_for_the_second_time_all_come(name, level, most):
    """A service that makes a tile when it is asked for it, behind a gateway that does not wait."""
    seen: set[Tile] = set()

    def scripted(request: Request) -> Answer | None:
        if request.tile in seen:
            return None
        seen.add(request.tile)
        return FAULTS[name]

    bench = Bench(service=MemoryService(scripted=scripted, seconds=0.05), plan=plan_of((level,)))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (4**level, 4**level, 0, 0, 0, 0)
    assert len(bench.asked) < 2.1 * 4**level + 20
    assert bench.seconds < most


@pytest.mark.parametrize(
    ("levels", "most", "headers"),
    [((4,), 90, {}), ((6,), 180, {}), ((0, 1, 2, 3, 4), 120, {"retry-after": "1"})],
)
def test_so_do_those_that_are_busy_when_they_are_asked_for_the_first_time(levels, most, headers):
    """638 and over ten thousand seconds where such refusals are taken for a word of the pace."""
    seen: set[Tile] = set()

    def scripted(request: Request) -> Answer | None:
        if request.tile in seen:
            return None
        seen.add(request.tile)
        return http(503, headers=headers)

    bench = Bench(service=MemoryService(scripted=scripted, seconds=0.05), plan=plan_of(levels))
    outturn = bench.go()
    assert outturn.stop is None
    tiles = sum(4**level for level in levels)
    assert outturn.tally.counts() == (tiles, tiles, 0, 0, 0, 0)
    assert bench.seconds < most


def test_a_host_that_serves_one_request_a_second_is_none_that_makes_tiles_on_demand():
    served: list[float] = [-1.0]

    def scripted(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        if now - served[-1] < 1.0:
            return http(503, headers={"retry-after": "1"}, seconds=0.005)
        served.append(now)
        return None

    bench = Bench(service=MemoryService(scripted=scripted, seconds=0.05), plan=plan_of((4,)))
    assert bench.go().tally.counts() == (256, 256, 0, 0, 0, 0)
    assert len(bench.asked) < 3 * 256
