"""What a host refuses that was left alone says nothing of the pace, unless it serves others of the same time."""

from __future__ import annotations

import random

import pytest

from harvester.edges import Outcome
from harvester.pacing import Pacer
from harvester.pacing.waking import Waking


def test_only_what_was_asked_after_a_pause_and_before_anything_was_served_says_nothing() -> None:
    waking = Waking()
    assert waking.is_over and not waking.refused(1.0, 0.9)
    waking.rest(0.9, 3.0)
    assert not waking.refused(1.1, 0.95), "it was asked before the pause"
    assert waking.refused(3.1, 3.0)
    waking.rest(3.0, 5.1)
    assert waking.refused(3.2, 3.0) and waking.in_vain == 1, "one pause, whatever came after it"
    assert waking.refused(5.2, 5.1) and waking.in_vain == 2
    waking.rest(5.1, 7.2)
    assert waking.good(7.3, 7.2, 7.2) is None
    assert waking.is_over and waking.in_vain == 0
    assert not waking.refused(7.4, 7.3)


def test_a_refusal_is_obeyed_once_another_request_of_the_same_time_is_served() -> None:
    waking = Waking()
    waking.rest(0.0, 2.0)
    assert waking.refused(2.01, 2.0)
    waking.rest(2.0, 4.01)
    assert waking.good(2.05, 2.0, 4.01) == 2.0
    assert not waking.is_over, "what is asked after this pause is for itself"
    assert waking.good(2.06, 2.0, 4.01) is None, "once"
    assert waking.refused(4.02, 4.01)


def test_a_refusal_that_is_no_sign_of_the_pace_is_not_obeyed_later() -> None:
    waking = Waking()
    waking.rest(0.0, 2.0)
    assert waking.refused(2.01, 2.0, is_sign=False)
    waking.rest(2.0, 4.01)
    assert waking.good(2.05, 2.0, 4.01) is None


def woken(asked: float | None) -> tuple[Pacer, float]:
    """A pacer that found 8 in flight to be borne, and was then refused after a pause, twice: with a pause of so many
    seconds."""
    pacer, now = Pacer(limit_max=8, now=0.0, draw=random.Random(1).random), 0.0
    while pacer.limit < 8:
        pacer.may_start(now, pacer.limit)
        now += 0.05 / pacer.limit
        pacer.ended(now, Outcome.WHOLE, 0.05, first_try=True)
    pacer.ended(now, Outcome.THROTTLED, 0.01, first_try=True, retry_after=2.0)
    for _ in range(7):  # what was in flight
        now += 0.001
        pacer.ended(now, Outcome.WHOLE, 0.05, first_try=True)
    for _ in range(2):
        now = pacer.pause.until
        while wait := pacer.may_start(now, 0):
            now += wait
        now += 0.01
        pacer.ended(now, Outcome.THROTTLED, 0.01, first_try=True, retry_after=asked)
    return pacer, now


def test_the_pace_is_kept_but_a_host_that_serves_nothing_is_asked_less_until_it_does() -> None:
    pacer, now = woken(2.0)
    assert (pacer.limit, pacer.learned, pacer.in_vain) == (4, None, 2)
    assert pacer.retries_wait
    assert pacer.may_start(now, 0) == pytest.approx(2.0)
    now = pacer.pause.until
    assert pacer.may_start(now, 0) == 0.0
    assert pacer.may_start(now, 1) == float("inf"), "a quarter of four"
    pacer.ended(now + 0.05, Outcome.WHOLE, 0.05, first_try=True)
    assert (pacer.limit, pacer.in_vain) == (4, 0)
    assert pacer.may_start(now + 0.05, 3) == 0.0


def test_a_refusal_that_asks_for_no_pause_lowers_the_pace_whatever_came_before() -> None:
    pacer, _ = woken(None)
    assert pacer.in_vain == 0
    assert pacer.limit < 4 or pacer.learned is not None


def test_a_tile_that_is_refused_again_costs_its_pause_and_no_pace() -> None:
    pacer, now = Pacer(limit_max=8, now=0.0, draw=random.Random(1).random), 0.0
    for _ in range(200):
        pacer.may_start(now, 3)
        now += 0.01
        pacer.ended(now, Outcome.WHOLE, 0.05, first_try=True)
    before = pacer.limit
    pacer.refused_again(now, 0.01, first_try=True, asked=3.0)
    assert (pacer.limit, pacer.learned) == (before, None)
    assert pacer.may_start(now, 0) == pytest.approx(3.0)
