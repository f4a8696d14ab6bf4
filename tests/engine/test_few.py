"""A few tiles, asked to learn something of a service: where one of several hosts is sick the others tell, and soon."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from harvester.edges import Answer, Fault, Host, Outcome, Request, Verdict
from harvester.engine import Tally
from harvester.engine.few import Few
from harvester.engine.stop import StopReason
from harvester.pacing import Pacer, RateLimit
from harvester.testing.memory import HOST, MemoryService, MemorySource, MemoryTransport, broken, http, never
from harvester.testing.virtual import run_virtual
from harvester.tiling.tile import Tile
from tests.engine.lab import plan_of

SICK, WELL = (replace(HOST, name=f"{name}.test") for name in ("sick", "well"))
TILES = list(plan_of((3,)).tiles())


class Sample:
    """One that was asked: what was seen of each tile, the requests, and how long it took."""

    def __init__(
        self,
        scripted: Callable[[Request], Answer | None],
        hosts: tuple[Host, ...] = (SICK, WELL),
        *,
        tries: int = 3,
        rate: float | None = None,
        stop_after: float | None = None,
        patience: float = 0.0,
        busy_patience: float = math.inf,
    ) -> None:
        self.patience, self.busy_patience = patience, busy_patience
        self.seen: dict[Tile, Verdict] = {}
        self.tally = Tally()
        run_virtual(self._ask(scripted, hosts, tries, rate, stop_after))

    async def _ask(self, scripted, hosts, tries, rate, stop_after) -> None:
        loop = asyncio.get_running_loop()
        limit = None if rate is None else RateLimit(rate, loop.time())
        draw = random.Random(3).random
        pressed = StopReason.signal("SIGINT", 130)
        self.few = Few(
            TILES,
            MemorySource(hosts=hosts),
            new_pacer=lambda most: Pacer(limit_max=most, now=loop.time(), draw=draw, rate=limit),
            connections=8,
            tries=tries,
            tally=self.tally,
            clock=loop.time,
            saw=lambda tile, verdict: self.seen.update({tile: verdict}),
            patience=self.patience,
            busy_patience=self.busy_patience,
            stopped=lambda: pressed if stop_after is not None and loop.time() >= stop_after else None,
        )
        transport = MemoryTransport(MemoryService(scripted=scripted), connections=8)
        await transport.drain(self.few.next_request, self.few.done)
        self.seconds = loop.time()
        self.asked = transport.log

    @property
    def whole(self) -> int:
        return sum(verdict.outcome is Outcome.WHOLE for verdict in self.seen.values())


SICKNESSES = {
    "busy": http(503),
    "busy for an hour": http(503, headers={"retry-after": "3600"}),
    "busy for ten minutes": http(429, headers={"retry-after": "600"}),
    "gone": broken(Fault.CONNECT),
    "broken": http(500),
    "a portal": http(200, b"<html>log in"),
    "refusing": http(403),
    "locked": http(498),
}


@pytest.mark.parametrize("tries", [1, 3])
@pytest.mark.parametrize("sickness", SICKNESSES)
def test_one_sick_host_of_two_costs_no_tile_and_hardly_any_time(sickness, tries):
    sample = Sample(lambda request: SICKNESSES[sickness] if request.host.name == "sick.test" else None, tries=tries)
    assert (sample.whole, sample.few.stop, sample.few.left) == (len(TILES), None, 0)
    assert sample.seconds < 15
    assert len(sample.asked) <= 2 * len(TILES)
    assert Counter(outcome for outcome, _ in sample.few.answers) == {Outcome.WHOLE: len(TILES)}
    assert sample.tally.requests == sample.tally.tile_requests == len(sample.asked)


def test_a_stalling_host_of_two_costs_a_timeout_or_two_and_no_tile():
    sample = Sample(lambda request: never() if request.host.name == "sick.test" else None)
    assert (sample.whole, sample.few.stop) == (len(TILES), None)
    assert sample.seconds < 200


def test_each_host_has_its_rows_where_all_are_well():
    sample = Sample(lambda request: None)
    assert min(Counter(request.host.name for _, request in sample.asked).values()) >= 24


@pytest.mark.parametrize("hosts", [(SICK,), (SICK, WELL)])
@pytest.mark.parametrize("sickness", ["gone", "broken", "a portal"])
def test_where_nothing_but_failures_come_it_ends_soon(sickness, hosts):
    sample = Sample(lambda request: SICKNESSES[sickness], hosts)
    assert sample.few.stop is not None and (sample.few.stop.code, sample.few.stop.exit_code) == ("source_failing", 3)
    assert sample.whole == 0 and sample.few.left > 0
    assert sample.seconds < 5 and len(sample.asked) <= 80


@pytest.mark.parametrize("hosts", [(SICK,), (SICK, WELL)])
def test_failures_that_pass_cost_no_tile_where_it_has_patience(hosts):
    until = []

    def passing(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        until.append(now)
        return http(500) if now < 12 else None

    sample = Sample(passing, hosts, patience=20.0, tries=6)
    assert (sample.whole, sample.few.stop, sample.few.left) == (len(TILES), None, 0)
    assert len(sample.asked) <= 2 * len(TILES)


def test_after_its_patience_it_ends():
    sample = Sample(lambda request: http(500), (SICK,), patience=20.0)
    assert sample.few.stop is not None and sample.few.stop.code == "source_failing"
    assert 20 <= sample.seconds < 25


@pytest.mark.parametrize("hosts", [(SICK,), (SICK, WELL)])
@pytest.mark.parametrize("tries", [1, 6])
def test_of_nothing_but_refusals_it_has_enough_after_its_patience(hosts, tries):
    sample = Sample(lambda request: http(503), hosts, busy_patience=30.0, tries=tries)
    assert sample.whole == 0 and sample.seconds < 33
    assert sample.few.stop is not None and sample.few.stop.code in ("gave_up", "source_failing")
    assert "503" in sample.few.stop.message
    assert sample.few.busy_seconds == pytest.approx(30, abs=3)


def test_refusals_that_pass_in_time_end_nothing():
    sample = Sample(
        lambda request: http(503) if asyncio.get_running_loop().time() < 12 else None, (SICK,),
        busy_patience=30.0, tries=6,
    )  # fmt: skip
    assert (sample.whole, sample.few.stop, sample.few.left) == (len(TILES), None, 0)
    assert 10 < sample.few.busy_seconds < 30


def test_pauses_that_are_asked_for_are_kept_and_three_in_vain_are_enough():
    def busy(until: float) -> Callable[[Request], Answer | None]:
        asks = http(503, headers={"retry-after": "40"})
        return lambda request: asks if asyncio.get_running_loop().time() < until else None

    passing = Sample(busy(100), (SICK,), busy_patience=30.0, tries=6)
    assert (passing.whole, passing.few.stop) == (len(TILES), None)
    staying = Sample(busy(math.inf), (SICK,), busy_patience=30.0, tries=6)
    assert staying.few.stop is not None and 120 <= staying.seconds < 135
    assert staying.few.busy_seconds >= 30


@pytest.mark.parametrize("hosts", [(SICK,), (SICK, WELL)])
def test_a_pause_that_no_run_waits_for_ends_it(hosts):
    sample = Sample(lambda request: SICKNESSES["busy for an hour"], hosts)
    assert sample.few.stop is not None and sample.few.stop.code == "retry_after"
    assert "60 minutes" in sample.few.stop.message
    assert sample.seconds < 2


def test_a_tile_that_fails_is_seen_as_failed_and_the_others_are_asked():
    bad = set(TILES[::9])
    sample = Sample(lambda request: http(500) if request.tile in bad else None, (SICK,))
    assert {tile for tile, verdict in sample.seen.items() if verdict.outcome is Outcome.RETRY} == bad
    assert (sample.whole, sample.few.trouble) == (len(TILES) - len(bad), "http_500")
    assert len(sample.asked) == len(TILES) + 2 * len(bad)


def test_a_wish_to_stop_is_heard_within_a_second_of_a_pause():
    sample = Sample(lambda request: SICKNESSES["busy for ten minutes"], (SICK,), stop_after=7.0)
    assert sample.few.stop is not None and sample.few.stop.code == "stopped"
    assert 7 <= sample.seconds <= 8.1


def test_a_connection_that_was_gone_costs_no_try():
    stale = broken(Fault.RESET)._replace(stale=True)
    sample = Sample(lambda request: None if request.fresh else stale, (SICK,), tries=1)
    assert sample.whole == len(TILES)


def test_the_rate_holds_over_all_hosts():
    sample = Sample(lambda request: None, rate=20)
    times = [when for when, _ in sample.asked]
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[20:], strict=False))
