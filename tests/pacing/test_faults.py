"""Faults that are too many: taken for refusals when they become fewer with less that is asked, and only then."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from harvester.pacing.faults import Faults

SECONDS = 0.1


def fed(
    faults: Faults,
    now: float,
    share: float,
    answers: int,
    *,
    passing: bool = True,
    draw: random.Random | None = None,
) -> float:
    """So many answers, a share of them faults, or as many as come before the experiment; the time after them."""
    draw = draw or random.Random(5)
    for _ in range(answers):
        if faults.is_trying:
            break
        now += 0.01
        if draw.random() < share:
            faults.failed(now, now - 0.005)
        else:
            faults.served(SECONDS)
            if passing:
                faults.passed(now)
    return now


def tried(faults: Faults, now: float, share: Callable[[], float]) -> float:
    """The experiment, to its end; the time after it."""
    draw = random.Random(2)
    while faults.is_trying:
        wait = faults.ready_in(now)
        now += wait
        faults.take(now)
        started, now = now, now + SECONDS
        if draw.random() < share():
            faults.failed(now, started)
        else:
            faults.served(SECONDS)
            faults.served_in_trial(now, started)
    return now


def test_faults_that_become_fewer_with_less_that_is_asked_are_refusals() -> None:
    faults = Faults(0.0)
    now = fed(faults, 0.0, 0.7, 60)
    assert faults.is_trying
    assert not faults.are_refusals
    tried(faults, now, lambda: 0.0)
    assert faults.are_refusals
    assert "taken for refusals" in repr(faults)


def test_the_experiment_asks_for_less_than_was_served_and_evenly() -> None:
    faults = Faults(0.0)
    now = fed(faults, 0.0, 0.5, 60)
    assert faults.is_trying
    assert faults.ready_in(now) == 0.0
    faults.take(now)
    wait = faults.ready_in(now)
    assert 0.014 < wait < 0.04  # between thirty-five and a hundred a second were served
    faults.take(now)
    assert faults.ready_in(now) == pytest.approx(2 * wait)


def test_faults_that_are_as_many_with_less_that_is_asked_are_none_and_looked_into_ever_more_seldom() -> None:
    faults = Faults(0.0)
    draw = random.Random(4)
    now, begun = 0.0, []
    for _ in range(60_000):
        now = fed(faults, now, 0.4, 1, draw=draw)
        if faults.is_trying:
            begun.append(now)
            now = tried(faults, now, lambda: 0.4)
            assert not faults.are_refusals
    waits = [later - earlier for earlier, later in pairwise(begun)]
    assert 4 <= len(begun) <= 10
    assert waits[-1] > 16 * waits[0]


def test_what_never_passes_is_the_tiles_own_trouble() -> None:
    faults = Faults(0.0)
    fed(faults, 0.0, 0.7, 500, passing=False)
    assert not faults.is_trying
    assert not faults.are_refusals


def test_a_few_are_not_looked_into() -> None:
    faults = Faults(0.0)
    fed(faults, 0.0, 0.02, 2000)
    assert not faults.is_trying


def taken() -> tuple[Faults, float]:
    faults = Faults(0.0)
    now = tried(faults, fed(faults, 0.0, 0.7, 60), lambda: 0.0)
    assert faults.are_refusals
    return faults, now


def test_a_row_of_them_is_a_host_that_is_down_until_one_is_good() -> None:
    faults, now = taken()
    for _ in range(60):
        faults.failed(now, now)
    assert not faults.are_refusals
    faults.served(SECONDS)
    assert faults.are_refusals


def test_where_they_stay_as_many_though_the_pace_was_lowered_they_are_none_after_all() -> None:
    faults, now = taken()
    draw = random.Random(1)
    ended = False
    for _ in range(2000):
        now += 0.05
        if draw.random() < 0.6:
            ended = ended or faults.failed(now, now)
        else:
            faults.served(SECONDS)
        if ended:
            break
    assert ended
    assert not faults.are_refusals
    assert now < 20


def test_and_while_they_are_few_they_stay_refusals() -> None:
    faults, now = taken()
    for number in range(5000):
        now += 0.05
        if number % 25 == 0:
            assert not faults.failed(now, now)
        else:
            faults.served(SECONDS)
    assert faults.are_refusals


def test_asking_again_helps_where_most_that_failed_is_served_then() -> None:
    faults = Faults(0.0)
    assert not faults.retries_help
    for _ in range(4):
        faults.passed(1.0)
    assert faults.retries_help
    for _ in range(2):
        faults.failed_again()
    assert not faults.retries_help
