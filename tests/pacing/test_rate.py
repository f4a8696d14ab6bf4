"""The rate holds in every window of a second, in the server's log too, and is used."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.pacing import RateLimit
from harvester.pacing.rate import JITTER_SECONDS

TICK = 1 / 64
"""A Windows timer's 15.6 ms."""


def most_in_a_window(times: list[float], seconds: float) -> int:
    times = sorted(times)
    most = begin = 0
    for end, at in enumerate(times):
        while at - times[begin] >= seconds:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def grants(limit: RateLimit, ticks: list[float]) -> list[float]:
    """Starts of a caller that comes at these times and takes all it gets."""
    given_at = []
    for now in ticks:
        while limit.take(now):
            given_at.append(now)
    return given_at


@given(
    st.one_of(st.integers(1, 2000), st.floats(5, 2000)),
    st.floats(0, 0.03),
    st.sampled_from([0.001, TICK, 0.03]),
    st.integers(0, 1 << 30),
)
@settings(max_examples=40, deadline=None)
def test_no_second_in_the_servers_log_holds_more_and_the_rate_is_used(
    rate: float, jitter: float, tick: float, seed: int
) -> None:
    limit = RateLimit(rate, 100.0)
    count = int(6 / tick)
    starts = grants(limit, [100.0 + tick * step for step in range(count)])
    draw = random.Random(seed)
    log = [at + draw.uniform(0, jitter) for at in starts]
    assert most_in_a_window(log, 1.0) <= rate
    assert most_in_a_window(starts, 1.0 + JITTER_SECONDS) <= rate
    whole = math.floor(rate)
    assert len(starts) >= math.floor(0.9 * whole * 6 * 0.98) - 1


@pytest.mark.parametrize("rate", [1, 2, 3, 10, 50, 200, 1000, 2000])
@pytest.mark.parametrize("tick", [0.0005, TICK])
def test_at_least_85_percent_is_used(rate: int, tick: float) -> None:
    seconds = 20
    starts = grants(RateLimit(rate, 0.0), [tick * step for step in range(int(seconds / tick))])
    assert 0.85 * rate * seconds <= len(starts) + (rate < 3)
    assert len(starts) <= rate * seconds


def test_starts_are_spaced_and_bursts_are_small() -> None:
    limit = RateLimit(100, 0.0)
    starts = grants(limit, [step * 0.001 for step in range(5000)])
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert max(gaps) < 0.02
    assert len(grants(limit, [60.0])) <= 5  # after a long silence


def test_a_new_limit_begins_empty_so_the_rate_holds_across_restarts() -> None:
    draw = random.Random(3)
    for rate in (1, 7, 100, 999):
        starts: list[float] = []
        now = 0.0
        while now < 10:
            limit = RateLimit(rate, now)  # the program is started anew
            assert not limit.take(now)
            for _ in range(draw.randint(1, 300)):
                now += draw.uniform(0, 0.02)
                starts += grants(limit, [now])
        assert most_in_a_window(starts, 1.0 + JITTER_SECONDS) <= rate


def test_rates_below_one_are_one_start_in_as_many_seconds() -> None:
    starts = grants(RateLimit(0.25, 0.0), [step * 0.05 for step in range(2400)])
    assert min(b - a for a, b in itertools.pairwise(starts)) >= 4
    assert len(starts) >= 0.85 * 0.25 * 120


@given(st.floats(0.05, 5000), st.floats(0, 1e7), st.floats(0, 30))
@settings(max_examples=100, deadline=None)
def test_who_waits_as_long_as_told_gets_a_start(rate: float, begin: float, idle: float) -> None:
    limit = RateLimit(rate, begin)
    now = begin + idle
    for _ in range(5):
        waits = 0
        while (wait := limit.ready_in(now)) > 0:
            assert not limit.take(now)
            now = max(now + wait, math.nextafter(now, math.inf))
            waits += 1
            assert waits < 4
        assert limit.take(now)


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_a_rate_that_is_no_positive_number_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="positive number"):
        RateLimit(rate, 0.0)
    assert "50/s" in repr(RateLimit(50, 0.0))
