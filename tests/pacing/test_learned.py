"""Hosts that count requests a second are found out and kept just below it; others are left to the concurrency."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.edges import Outcome
from harvester.pacing import LearnedRate, Pacer, RateLimit
from harvester.pacing.rate import JITTER_SECONDS


def new_pacer(draw: random.Random, limit_max: int = 512, rate: RateLimit | None = None) -> Pacer:
    return Pacer(limit_max=limit_max, now=0.0, draw=draw.random, rate=rate)


def host_of(lab: Any, kind: str, rate: float, seconds: float, draw: random.Random) -> Any:
    if kind == "bucket":
        return lab.Tokens(rate, max(1.0, 0.1 * rate), seconds, draw)
    return (lab.FixedWindow if kind == "fixed" else lab.SlidingWindow)(rate, seconds, draw)


KINDS = ["bucket", "fixed", "sliding"]


def settled(lab: Any, kind: str, rate: float, seconds: float, seed: int, begin: int) -> tuple[float, int, float]:
    """Share of the best goodput from second ``begin`` to 40, refused answers in that time, and their share."""
    draw = random.Random(seed)
    course = lab.paced(host_of(lab, kind, rate, seconds, draw), new_pacer(draw), 40)
    best = min(rate, 512 / seconds)
    return course.goodput(begin, 40) / best, sum(course.throttled[begin:]), course.error_share(begin, 40)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [10, 20, 50, 200, 1000])
@pytest.mark.parametrize("seconds", [0.02, 0.05, 0.2])
def test_within_ten_seconds_it_gets_85_percent_of_what_a_host_allows_a_second(
    lab: Any, kind: str, rate: int, seconds: float
) -> None:
    """From the tenth second on; refused are less than 1 %, or a dozen where 1 % is less than that."""
    for seed in (1, 2, 3):
        share, refused, refused_share = settled(lab, kind, rate, seconds, seed, 10)
        assert share >= 0.85
        assert refused <= 12 or refused_share < 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [10, 20, 50, 200, 1000])
@pytest.mark.parametrize("seconds", [0.5, 1.0])
def test_a_host_that_takes_long_to_answer_is_found_out_within_twenty(
    lab: Any, kind: str, rate: int, seconds: float
) -> None:
    """Thirty of its answers one after the other; refused are less than 5 %, since it is still felt for."""
    for seed in (1, 2, 3):
        share, _, refused_share = settled(lab, kind, rate, seconds, seed, 20)
        assert share >= 0.85
        assert refused_share < 0.05


@pytest.mark.parametrize("rate", [20, 50, 200])
@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.0])
def test_a_host_that_saves_up_a_seconds_requests_refuses_hardly_any_for_the_probes(
    lab: Any, rate: int, seconds: float
) -> None:
    """A probe goes on with what was saved up, to twice what is allowed for good: 1.2 to 4 % were refused in two
    minutes where the way back was by steps, each of which was refused."""
    for seed in (1, 2, 3):
        draw = random.Random(seed)
        course = lab.paced(lab.Tokens(rate, rate, seconds, draw), new_pacer(draw), 130)
        assert course.goodput(10, 130) >= 0.95 * rate
        assert course.error_share(10, 130) < 0.01


def test_of_all_that_hosts_are_asked_less_than_one_percent_is_refused(lab: Any) -> None:
    refused = asked = 0.0
    for kind in KINDS:
        for rate in (20, 50, 200):
            for seconds in (0.05, 0.2, 0.5):
                _, times, share = settled(lab, kind, rate, seconds, 1, 10)
                refused += times
                asked += times / share if share else rate * 30
    assert refused < 0.01 * asked


@pytest.mark.parametrize(
    ("seats", "seconds"), [(3, 0.01), (3, 0.3), (8, 0.05), (37, 0.01), (37, 0.3), (150, 0.05), (300, 0.3), (20, 1.0)]
)
def test_a_host_that_counts_requests_in_flight_is_not_taken_for_one_that_counts_seconds(
    lab: Any, seats: int, seconds: float
) -> None:
    for seed in (1, 2):
        draw = random.Random(seed)
        course = lab.paced(lab.Seats(seats, seconds, draw), new_pacer(draw), 40)
        assert course.goodput(10, 40) >= 0.9 * seats / seconds
        assert sum(course.throttled[10:]) <= 7 or course.error_share(10, 40) < 0.01


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_host_that_allows_less_is_obeyed_in_seconds_and_more_is_found_within_a_minute(lab: Any, seed: int) -> None:
    draw = random.Random(seed)
    host = lab.FixedWindow(100, 0.05, draw, changes=((30, 40), (60, 400)))
    course = lab.paced(host, new_pacer(draw), 150)
    assert course.goodput(10, 30) >= 85
    assert course.goodput(35, 60) >= 0.8 * 40
    assert course.error_share(40, 60) < 0.02
    assert course.goodput(120, 150) >= 0.85 * 400


def test_512_are_in_flight_within_two_seconds_and_no_rate_is_learned_where_nothing_is_refused(lab: Any) -> None:
    pacer = new_pacer(random.Random(1))
    course = lab.paced(lab.Endless(lambda now: 0.05), pacer, 4)
    assert course.limits[1:] == [512, 512, 512]
    assert pacer.learned is None and pacer.free


def test_a_host_that_takes_a_second_is_given_512_within_ten(lab: Any) -> None:
    course = lab.paced(lab.Endless(lambda now: 1.0), new_pacer(random.Random(1)), 14)
    assert course.limits[10:] == [512] * 4


def test_the_rate_asked_for_stays_the_limit_whatever_is_learned(lab: Any) -> None:
    draw = random.Random(2)
    pacer = new_pacer(draw, rate=RateLimit(50, 0.0))
    host = lab.FixedWindow(30, 0.05, draw, changes=((15, 300),))
    starts = lab.paced(host, pacer, 100).starts
    assert pacer.learned is not None and pacer.learned.rate > 50
    assert all(later - first >= 1.0 + JITTER_SECONDS - 1e-9 for first, later in zip(starts, starts[50:], strict=False))


def test_a_rate_that_is_refused_drops_however_much_was_answered() -> None:
    rate = LearnedRate(100.0, 0.0)
    for step in range(5000):
        rate.take(step * 0.001)
    rate.on_refused(5.0, 0.01)
    assert rate.rate <= 95.0


def test_the_time_of_a_pause_is_not_taken_for_time_in_which_little_was_answered() -> None:
    rate = LearnedRate(100.0, 0.0)

    def ask(begin: float, end: float) -> None:
        now = begin
        while now < end:
            rate.take(now)
            now += 0.005

    ask(0.0, 5.0)
    rate.on_refused(5.0, 0.01)
    before = rate.rate
    ask(9.0, 9.9)  # the host wanted four seconds of rest
    rate.on_refused(9.9, 0.01)
    assert 0.75 * before < rate.rate < before


def test_refused_soon_after_a_pause_a_rate_keeps_so_much_at_least() -> None:
    rate = LearnedRate(100.0, 0.0)
    now = 0.0
    while now < 2.0:
        rate.take(now)
        now += 0.005
    for _ in range(3):
        now += 3.0
        rate.take(now)
        before = rate.rate
        rate.on_refused(now, 0.0)
        assert 0.35 * before < rate.rate < before


def test_one_wave_of_refusals_counts_once() -> None:
    rate = LearnedRate(100.0, 0.0)
    now = 2.0
    for step in range(30):
        rate.on_refused(now + step * 0.001, 0.05)
    assert rate.refused == 1
    after_one = rate.rate
    assert after_one < 100.0
    for step in range(1, 5):  # what is refused until the host's second is over was the first one's fault
        rate.on_refused(now + 0.2 * step, 0.01)
    assert rate.rate == after_one
    assert rate.refused == 5


@given(st.lists(st.tuples(st.floats(0.001, 3.0), st.floats(0.0, 2.0)), max_size=200), st.floats(0.1, 5000))
@settings(max_examples=60, deadline=None)
def test_refusals_never_raise_the_rate(refusals: list[tuple[float, float]], begin: float) -> None:
    rate = LearnedRate(begin, 0.0)
    now, before = 0.0, rate.rate
    for gap, seconds in refusals:
        now += gap
        rate.take(now)
        rate.on_refused(now, seconds)
        assert 0.0 < rate.rate <= before
        before = rate.rate


def test_failed_answers_do_not_speed_it_up(lab: Any) -> None:
    draw = random.Random(1)
    pacer = new_pacer(draw)
    lab.paced(host_of(lab, "bucket", 50, 0.02, draw), pacer, 20)
    assert pacer.learned is not None
    before, now = pacer.learned.rate, 20.0
    for _ in range(2000):
        now += 0.01
        pacer.may_start(now, 0)
        pacer.ended(now, Outcome.RETRY, 0.02, first_try=False)
        assert pacer.learned.rate == before


def test_a_rate_that_was_not_used_up_is_not_raised() -> None:
    rate = LearnedRate(100.0, 0.0)
    for step in range(200):
        rate.take(step * 0.1)  # ten a second
        rate.on_good(step * 0.1)
    assert rate.rate == 100.0
    assert "100/s" in repr(rate)


def test_a_rate_in_doubt_is_not_raised_though_the_host_answers_again() -> None:
    rate = LearnedRate(100.0, 0.0)
    rate.on_refused(0.5, 0.01)
    before = rate.rate
    now = 2.0
    while now < 10.0:
        rate.take(now)
        rate.on_good(now, may_rise=False)
        now += 0.005
    assert (rate.rate, rate.refused) == (before, 0)
    rate.on_good(now)
    assert rate.rate > before


def test_what_is_refused_by_chance_leaves_the_rate_but_was_not_answered() -> None:
    rate = LearnedRate(100.0, 0.0)
    now = 0.0
    while now < 5.0:
        if rate.take(now) and int(now * 100) % 2:
            rate.on_chance(now, 0.001)
        now += 0.005
    assert (rate.rate, rate.refused) == (100.0, 0)
    rate.on_refused(5.0, 0.01)
    assert rate.rate < 70.0


def test_a_rate_is_borne_though_pauses_that_are_no_word_of_it_come_in_between() -> None:
    """Half a second of asking, then one of rest, and so on."""
    for told in (True, False):
        rate = LearnedRate(100.0, 0.0, 0.0)
        now = 0.0
        for _ in range(6):
            end = now + 0.5
            while now < end:
                if rate.take(now):
                    rate.on_good(now)
                now += 0.005
            if told:
                rate.pause(now, now + 1.0)
            now += 1.0
        assert (rate.rate > 100.0) is told


def test_a_pause_does_not_shorten_the_time_that_a_wave_lasts() -> None:
    rate = LearnedRate(100.0, 0.0)
    rate.on_refused(2.0, 0.01)
    rate.pause(2.0, 2.5)
    assert not rate.is_fresh(3.0) and rate.is_fresh(3.1)
    rate.pause(3.2, 9.0)
    assert not rate.is_fresh(8.8) and rate.is_fresh(9.0)
