"""The level finds what a host bears, whatever kind of host it is."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.pacing import Concurrency


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("seats", [2, 5, 20, 37, 150])
def test_it_settles_below_a_host_that_throttles_by_requests_in_flight(lab: Any, seats: int, seed: int) -> None:
    course = lab.run(lab.Seats(seats, 0.05, random.Random(seed)), Concurrency(512), 20)
    assert course.goodput(10, 20) >= 0.85 * seats / 0.05
    assert course.goodput(0, 10) >= 0.8 * seats / 0.05
    assert course.error_share(0, 20) < 0.01


HOSTS = [(3, 0.01), (3, 0.3), (8, 0.05), (8, 0.3), (37, 0.01), (37, 0.3), (150, 0.05), (300, 0.3)]


@pytest.mark.parametrize(("seats", "seconds"), HOSTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_within_ten_seconds_it_gets_nine_tenths_of_what_a_host_can_give_whatever_its_latency(
    lab: Any, seats: int, seconds: float, seed: int
) -> None:
    """From the tenth second on 90 % of the best goodput with less than 1 % refused; before it, one overshoot."""
    best = seats / seconds
    course = lab.run(lab.Seats(seats, seconds, random.Random(seed)), Concurrency(512), 40)
    assert course.goodput(10, 40) >= 0.9 * best
    assert min(course.goodput(second, second + 5) for second in range(10, 40, 5)) >= 0.85 * best
    refused = sum(course.throttled[10:])
    assert refused <= 6 or course.error_share(10, 40) < 0.01  # the few probes of a host that answers 10 a second
    assert sum(course.throttled[:10]) <= 3 * seats + 10 or course.error_share(0, 10) < 0.01


CHANGES = [((0, 40), (20, 8), (40, 40)), ((0, 100), (20, 20), (40, 60)), ((0, 200), (20, 190), (40, 150))]


@pytest.mark.parametrize("seconds", [0.02, 0.05, 0.2])
@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: "-".join(str(seats) for _, seats in changes))
@pytest.mark.parametrize("seed", [1, 2])
def test_capacity_that_drops_in_the_middle_is_obeyed_at_once_and_used_again_when_it_returns(
    lab: Any, changes: tuple[tuple[int, int], ...], seconds: float, seed: int
) -> None:
    host = lab.Seats(0, seconds, random.Random(seed), changes=changes)
    course = lab.run(host, Concurrency(512), 80)
    (_, before), (fell, low), (rose, after) = changes
    assert course.goodput(10, fell) >= 0.9 * before / seconds
    assert course.goodput(fell + 3, rose) >= 0.85 * low / seconds
    assert course.error_share(fell + 3, rose) < 0.01
    # Upwards it is in no hurry: probes above a level that failed become rare.
    assert course.goodput(rose + 20, 80) >= 0.9 * after / seconds
    assert course.error_share(rose, 80) < 0.01


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("rate", [200, 1000])
def test_it_settles_below_a_host_that_throttles_by_requests_a_second(lab: Any, rate: int, seed: int) -> None:
    course = lab.run(lab.Tokens(rate, 0.1 * rate, 0.05, random.Random(seed)), Concurrency(512), 30)
    assert course.goodput(10, 30) >= 0.85 * rate
    assert course.error_share(10, 30) < 0.01
    assert course.error_share(0, 30) < 0.02


@pytest.mark.parametrize("workers", [3, 10, 40, 150])
def test_it_does_not_pile_up_requests_on_a_host_that_only_queues(lab: Any, workers: int) -> None:
    course = lab.run(lab.Queue(workers, 0.05, random.Random(workers)), Concurrency(512), 20)
    assert course.goodput(10, 20) >= 0.95 * workers / 0.05
    assert max(course.limits[10:]) <= max(2 * workers, 8)


def test_it_reaches_512_within_two_seconds_on_a_host_that_bears_them(lab: Any) -> None:
    course = lab.run(lab.Endless(lambda now: 0.05), Concurrency(512), 4)
    assert course.limits[1:] == [512, 512, 512]


@pytest.mark.parametrize("noise", ["none", "twice", "exponential", "shifting"])
def test_noise_in_the_latency_does_not_slow_it_down(lab: Any, noise: str) -> None:
    draw = random.Random(5)
    latency = {
        "none": lambda now: 0.05,
        "twice": lambda now: draw.uniform(0.05, 0.1),
        "exponential": lambda now: draw.expovariate(20),
        "shifting": lambda now: 0.1 if int(now) % 4 >= 2 else 0.05,
    }[noise]
    course = lab.run(lab.Endless(latency), Concurrency(512), 12)
    # Busy seconds of all 512 places, once the ramp is over.
    assert min(course.limits[2:]) >= 0.8 * 512
    assert sum(course.limits[2:]) >= 0.97 * 512 * 10


@pytest.mark.parametrize(("seconds", "first"), [(0.3, 0), (0.5, 0), (1.0, 14), (2.0, 0)])
def test_a_slow_host_whose_answers_vary_is_not_held_at_a_handful(lab: Any, seconds: float, first: int) -> None:
    """Windows of a few answers differ by chance, and the quick ones come first: no queue, and the ramp goes on."""
    for seed in range(first, first + 12):
        draw = random.Random(seed)
        host = lab.Endless(lambda now, draw=draw: draw.expovariate(1.0 / seconds))
        course = lab.run(host, Concurrency(512), 30)
        assert min(course.limits[24:]) >= 400


def test_a_host_that_has_become_faster_is_found_out(lab: Any) -> None:
    host = lab.Seats(10, 0.05, random.Random(1))
    pace = Concurrency(512)
    lab.run(host, pace, 10)
    assert pace.limit <= 11
    host = lab.Seats(200, 0.05, random.Random(1))
    course = lab.run(host, pace, 30, start=10.0)
    assert course.goodput(20, 30) >= 0.85 * 200 / 0.05


def test_one_slow_moment_does_not_end_the_ramp() -> None:
    pace = Concurrency(512)
    now = 0.0

    def answers(count: int, seconds: float) -> None:
        nonlocal now
        for _ in range(count):
            now += seconds / pace.limit
            pace.on_full()
            pace.on_success(now, seconds)

    while pace.limit < 16:
        answers(1, 0.05)
    answers(7, 0.05)  # what was in flight before
    answers(16, 0.2)
    assert (pace.limit, pace.mode) == (16, "ramp")
    answers(16, 0.05)
    assert pace.limit == 32
    answers(15, 0.05)
    answers(64, 0.2)
    assert pace.mode == "hold"


def test_a_host_that_has_become_narrow_is_obeyed_at_once(lab: Any) -> None:
    pace = Concurrency(64)
    lab.run(lab.Endless(lambda now: 0.05), pace, 5)
    assert pace.limit == 64
    course = lab.run(lab.Seats(8, 0.05, random.Random(2)), pace, 10, start=5.0)
    assert course.limits[0] <= 8
    assert course.goodput(2, 10) >= 0.85 * 8 / 0.05


def test_one_wave_of_refusals_halves_once() -> None:
    pace = Concurrency(64)
    now = 0.0
    while pace.limit < 64:
        now += 0.002
        pace.on_full()
        pace.on_success(now, 0.05)
    for _ in range(64):
        pace.on_throttle(now)
    assert pace.limit == 32
    pace.on_throttle(now)
    assert pace.limit == 16


def test_a_level_that_was_never_used_up_is_not_raised() -> None:
    pace = Concurrency(64)
    for step in range(2000):
        pace.on_success(step * 0.01, 0.01)
    assert pace.limit == 4


@given(st.lists(st.sampled_from(["error", "throttle"]), max_size=300), st.integers(1, 512))
@settings(max_examples=60, deadline=None)
def test_failed_answers_never_raise_the_level(kinds: list[str], limit_max: int) -> None:
    pace = Concurrency(limit_max)
    now, before = 0.0, pace.limit
    for kind in kinds:
        now += 0.05
        pace.on_full()
        if kind == "error":
            pace.on_error(now)
        else:
            pace.on_throttle(now)
        assert 1 <= pace.limit <= before
        before = pace.limit


def test_a_few_bad_tiles_do_not_keep_it_from_ramping_up() -> None:
    pace = Concurrency(128)
    for step in range(20000):
        pace.on_full()
        if step % 30 == 7:
            pace.on_error(step * 0.001)
        else:
            pace.on_success(step * 0.001, 0.05)
    assert pace.limit == 128


@given(
    st.lists(st.tuples(st.sampled_from("sssste"), st.floats(0, 2), st.floats(0, 40)), max_size=400),
    st.integers(1, 600),
)
@settings(max_examples=60, deadline=None)
def test_the_limit_stays_within_its_bounds_whatever_comes(answers: list[tuple[str, float, float]], most: int) -> None:
    pace = Concurrency(most)
    now = 0.0
    for kind, gap, seconds in answers:
        now += gap
        pace.on_full()
        if kind == "s":
            pace.on_success(now, seconds)
        elif kind == "t":
            pace.on_throttle(now)
        else:
            pace.on_error(now)
        assert 1 <= pace.limit <= most
    assert "Concurrency(" in repr(pace)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Concurrency(0)
