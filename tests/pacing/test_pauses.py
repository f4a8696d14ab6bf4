"""A host with a limit that asks for a pause with each refusal is found out in spite of the pauses."""

from __future__ import annotations

import random
from typing import Any

import pytest

from harvester.pacing import Concurrency, Pacer
from harvester.pacing.gaps import TIMES, Gaps


def asked(lab: Any, host: Any, draw: random.Random, seconds: int = 40) -> tuple[Any, Pacer]:
    """A run in which every refusal carries a ``Retry-After`` of one second."""
    pacer = Pacer(limit_max=512, now=0.0, draw=draw.random)
    return lab.paced(host, pacer, seconds, 1.0), pacer


SEATS = [(seats, seconds) for seats in (2, 3, 5, 8, 20, 37, 150) for seconds in (0.01, 0.02, 0.05, 0.2)][:-4]


@pytest.mark.parametrize(("seats", "seconds"), [*SEATS, (150, 0.05), (150, 0.2)])
def test_seats_are_found_though_each_refusal_costs_a_pause(lab: Any, seats: int, seconds: float) -> None:
    for seed in (1, 2):
        draw = random.Random(seed)
        course, pacer = asked(lab, lab.Seats(seats, seconds, draw), draw)
        assert course.goodput(20, 40) >= 0.85 * seats / seconds
        assert sum(course.throttled[20:]) <= 7 or course.error_share(20, 40) < 0.01
        assert pacer.learned is None, "it counts requests in flight, not seconds"


@pytest.mark.parametrize("kind", ["bucket", "fixed", "sliding"])
@pytest.mark.parametrize(("rate", "seconds"), [(10, 0.05), (50, 0.05), (200, 0.05), (1000, 0.05), (50, 0.5)])
def test_rates_are_found_though_each_refusal_costs_a_pause(lab: Any, kind: str, rate: int, seconds: float) -> None:
    for seed in (1, 2):
        draw = random.Random(seed)
        hosts = {"fixed": lab.FixedWindow, "sliding": lab.SlidingWindow}
        host = lab.Tokens(rate, 0.1 * rate, seconds, draw) if kind == "bucket" else hosts[kind](rate, seconds, draw)
        course, pacer = asked(lab, host, draw)
        assert course.goodput(20, 40) >= 0.75 * rate
        assert sum(course.throttled[20:]) <= 7 or course.error_share(20, 40) < 0.01
        assert not pacer.chance.is_known


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_seats_that_become_fewer_and_more_are_found_again(lab: Any, seed: int) -> None:
    draw = random.Random(seed)
    host = lab.Seats(40, 0.05, draw, changes=((30, 8), (60, 40)))
    course, _ = asked(lab, host, draw, 140)
    assert course.goodput(45, 60) >= 0.85 * 8 / 0.05
    assert course.goodput(120, 140) >= 0.85 * 40 / 0.05


@pytest.mark.parametrize("pause", [1.0, 30.0])
def test_probes_come_so_seldom_that_the_pauses_they_cost_are_a_small_share(lab: Any, pause: float) -> None:
    draw = random.Random(1)
    course = lab.paced(lab.Seats(20, 0.05, draw), Pacer(limit_max=512, now=0.0, draw=draw.random), 1500, pause)
    assert course.goodput(500, 1500) >= 0.85 * 20 / 0.05


def test_the_time_of_a_pause_is_no_time_in_which_little_came() -> None:
    pace, now = Concurrency(512), 0.0

    def answer() -> None:
        nonlocal now
        now += 0.05 / pace.limit
        pace.on_full()
        pace.on_success(now, 0.05)

    while pace.limit < 64:
        answer()
    pace.on_throttle(now)
    assert (pace.limit, pace.mode) == (32, "seek")
    pace.rest(now, now + 5.0)
    for _ in range(20):  # what was in flight
        answer()
    now += 5.0
    while pace.limit == 32:
        answer()
    assert pace.throughput == pytest.approx(32 / 0.05, rel=0.05)


def test_refusals_after_as_many_requests_each_time_are_no_chance() -> None:
    even, chance = Gaps(), Gaps()
    assert even.vary(0)
    for number in range(TIMES):
        assert not even.are_even
        even.after(20 + 15 * (number % 2))
        assert not even.vary(40)
    assert even.are_even
    assert even.vary(60), "so many went well by now"
    for number in range(20):
        chance.after(1 + 7 * (number % 3))
        assert not chance.are_even
    assert chance.vary(0)
    assert repr(chance) == "Gaps(20 between 1 and 15)"


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_few_seats_that_are_slow_are_not_taken_for_chance(lab: Any, seed: int) -> None:
    """Of five that take a second the sixth request is refused, each time: a seventh of all, whatever the pace."""
    draw = random.Random(seed)
    _, pacer = asked(lab, lab.Seats(5, 1.0, draw), draw)
    assert not pacer.chance.is_on
