"""A host that refuses by chance is not asked less for it, and one that has a limit is found out all the same."""

from __future__ import annotations

import heapq
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.edges import Outcome
from harvester.pacing import Pacer
from harvester.pacing.chance import MEMORY, Chance

SHARES = [0.01, 0.02, 0.05, 0.1]


def paced(lab: Any, share: float, host: Any, draw: random.Random, limit: int = 512, seconds: int = 60) -> Any:
    pacer = Pacer(limit_max=limit, now=0.0, draw=draw.random)
    return lab.paced(lab.AtRandom(share, host, draw), pacer, seconds)


def even(lab: Any, seconds: float, draw: random.Random) -> Any:
    return lab.Endless(lambda now: seconds * draw.uniform(0.8, 1.2))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("seconds", "limit"), [(0.02, 32), (0.05, 32), (0.2, 128), (0.2, 512)])
def test_refusals_at_random_do_not_slow_it_down(lab: Any, share: float, seconds: float, limit: int) -> None:
    for seed in (1, 2, 3):
        draw = random.Random(seed)
        course = paced(lab, share, even(lab, seconds, draw), draw, limit)
        assert course.goodput(40, 60) >= 0.85 * limit / seconds * (1 - share)
        assert course.error_share(40, 60) < 1.25 * share + 0.005


@pytest.mark.parametrize("share", SHARES)
def test_not_where_each_answer_takes_a_second_either(lab: Any, share: float) -> None:
    """A refusal in a hundred is one in ten seconds at first: it takes a minute to have seen enough of them."""
    for seed in (1, 2, 3):
        draw = random.Random(seed)
        course = paced(lab, share, even(lab, 1.0, draw), draw, 128, 100)
        assert course.goodput(80, 100) >= 0.85 * 128 * (1 - share)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(
    ("kind", "rate", "seconds"), [("bucket", 100, 0.05), ("fixed", 100, 0.2), ("sliding", 400, 0.05)]
)
def test_a_rate_that_is_counted_is_found_amid_them(
    lab: Any, share: float, kind: str, rate: float, seconds: float
) -> None:
    for seed in (1, 2):
        draw = random.Random(seed)
        hosts = {"fixed": lab.FixedWindow, "sliding": lab.SlidingWindow}
        host = lab.Tokens(rate, 0.1 * rate, seconds, draw) if kind == "bucket" else hosts[kind](rate, seconds, draw)
        course = paced(lab, share, host, draw)
        assert course.goodput(40, 60) >= 0.85 * rate * (1 - share)
        assert course.error_share(40, 60) < share + 0.16


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("seats", "seconds"), [(8, 0.05), (37, 0.05), (37, 0.3), (150, 0.3)])
def test_seats_are_found_amid_them(lab: Any, share: float, seats: int, seconds: float) -> None:
    for seed in (1, 2):
        draw = random.Random(seed)
        course = paced(lab, share, lab.Seats(seats, seconds, draw), draw)
        assert course.goodput(40, 60) >= 0.7 * seats / seconds * (1 - share)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("seconds", "limit"), [(0.02, 32), (0.2, 128)])
def test_refusals_at_random_that_ask_for_a_pause_cost_the_pause_and_no_more(
    lab: Any, share: float, seconds: float, limit: int
) -> None:
    """``1 / share`` answers come until the next one, however fast it is asked."""
    for seed in (1, 2, 3):
        draw = random.Random(seed)
        host = lab.AtRandom(share, even(lab, seconds, draw), draw)
        course = lab.paced(host, Pacer(limit_max=limit, now=0.0, draw=draw.random), 240, 1.0)
        assert course.goodput(120, 240) >= 0.6 / share


@pytest.mark.parametrize(
    ("kind", "rate", "seconds"),
    [("fixed", 10, 0.05), ("fixed", 20, 0.02), ("fixed", 200, 0.05), ("sliding", 20, 0.02), ("sliding", 20, 0.05)],
)
def test_a_limit_that_is_forgotten_in_each_pause_is_not_taken_for_chance(
    lab: Any, kind: str, rate: int, seconds: float
) -> None:
    """Asked too fast it refuses one in so many, as chance does, if the pauses are taken for a slower pace."""
    for seed in (1, 2):
        draw = random.Random(seed)
        host = (lab.FixedWindow if kind == "fixed" else lab.SlidingWindow)(rate, seconds, draw)
        pacer = Pacer(limit_max=512, now=0.0, draw=draw.random)
        course = lab.paced(host, pacer, 40, 1.0)
        assert not pacer.chance.is_known
        assert course.goodput(20, 40) >= 0.79 * rate
        assert course.error_share(20, 40) < 0.02


def test_a_pause_is_no_time_of_the_experiment() -> None:
    chance, goods = Chance(0.0), 0
    for rate in (100.0, 80.0, 75.0, 70.0, 65.0):
        for _ in range(15):
            goods += 20
            chance.on_refused(goods / 80.0, goods, rate, 0.0, is_fresh=True)
    assert chance.is_due
    now, goods = goods / 80.0, goods + 1
    chance.begin(now, goods, 7.0)
    assert not chance.is_proven(now + 2.5, goods + 300, 8.0)
    assert chance.is_proven(now + 3.1, goods + 300, 8.0)


def test_the_experiment_is_ended_by_a_host_that_has_a_limit_after_all(lab: Any) -> None:
    """Half of its rate is taken away, then given back, again and again: a few refusals each time."""
    draw = random.Random(4)
    changes = tuple((second, 40 if second // 20 % 2 else 100) for second in range(20, 200, 20))
    course = lab.paced(
        lab.FixedWindow(100, 0.05, draw, changes=changes), Pacer(limit_max=512, now=0.0, draw=draw.random), 200
    )
    assert course.goodput(20, 200) >= 0.75 * (5 * 40 + 4 * 100) / 9
    assert course.error_share(10, 200) < 0.03


def test_when_it_is_over_every_refusal_is_obeyed_again() -> None:
    chance = known()
    goods = 1000
    for second in range(20):  # as good as none
        goods += 1900
        obeyed = chance.on_refused(100.0 + second, goods, chance.pace, chance.pace, is_fresh=True)
    assert obeyed and not chance.is_on
    assert chance.on_refused(120.0, goods, 100.0, 100.0, is_fresh=True)


def known(share: float = 0.05) -> Chance:
    """Refusals of a twentieth have been found to be chance, at 100 a second."""
    chance = Chance(0.0)
    every = round(1 / share)
    now, goods = 0.0, 0
    for rate in (100.0, 80.0, 75.0, 70.0, 65.0):
        for _ in range(int(3 * rate)):
            now += 1 / rate
            goods += 1
            if goods % every == 0:
                assert chance.on_refused(now, goods, rate, 0.0, is_fresh=True)
    assert chance.is_due
    chance.begin(now, goods)
    rate = chance.pace
    assert 90.0 <= rate <= 100.0
    while not chance.is_proven(now, goods):
        now += 1 / rate
        goods += 1
        if goods % every == 0:
            assert not chance.on_refused(now, goods, rate, 0.0, is_fresh=True)
        assert goods < 2000
    assert chance.is_on and chance.is_known
    return chance


def test_a_rate_at_which_more_is_refused_is_not_borne_and_soon_refused() -> None:
    chance, goods = known(), 2000
    assert not chance.is_borne(goods, 200.0, 100.0)  # it is new
    goods += 40
    assert chance.is_borne(goods, 200.0, 100.0)
    chance.is_borne(goods, 400.0, 200.0)
    heard = 0
    while not chance.on_refused(100.0, goods, 400.0, 200.0, is_fresh=True):
        goods += 1
        heard += 1
        assert not chance.is_borne(goods, 400.0, 200.0)
        assert heard < 12
    assert chance.is_known  # it is a limit, and below it there is chance still


def test_a_host_that_refuses_everything_is_obeyed_after_a_few() -> None:
    chance = known()
    obeyed = [chance.on_refused(100.0, 2000, chance.pace, chance.pace, is_fresh=True) for _ in range(20)]
    assert obeyed.index(True) <= 8 and all(obeyed[8:])


def test_the_usual_share_is_learned() -> None:
    chance = known(0.1)
    goods = 2000
    for number in range(MEMORY // 20):
        goods += 20
        assert not chance.on_refused(100.0 + number, goods, 90.0, 90.0, is_fresh=True)
    assert 0.04 < chance.share < 0.06
    assert "4." in repr(chance) or "5." in repr(chance)


def test_whatever_is_learned_from_a_good_answer_holds_the_next_request_back(lab: Any) -> None:
    """Whoever asks a pacer that is free does not ask it whether the next request may start."""
    draw = random.Random(2)
    host, pacer = lab.AtRandom(0.05, even(lab, 1.0, draw), draw), Pacer(limit_max=32, now=0.0, draw=draw.random)
    now, tried = 0.0, 0
    ends: list[tuple[float, int, float, bool]] = []
    for number in range(6000):
        while len(ends) < pacer.limit and (pacer.free or not pacer.may_start(now, len(ends))):
            took, served = host.ask(now)
            heapq.heappush(ends, (now + took, number, now, served))
        if not ends:
            now += 0.01
            continue
        now, _, begun, served = heapq.heappop(ends)
        host.leave()
        if pacer.learned is None:
            pacer.may_start(now, 0)  # there was room, and nothing to ask
        was_on = pacer.chance.is_on
        pacer.ended(now, Outcome.WHOLE if served else Outcome.THROTTLED, now - begun, first_try=True)
        tried += pacer.chance.is_on and not was_on
        assert not (pacer.free and pacer.learned is not None)
    assert tried


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 2.0)), max_size=400), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_refusals_alone_never_speed_it_up(refusals: list[tuple[float, float]], goods: int) -> None:
    """Even where they would speak for it, the pace waits for a good answer."""
    pacer = Pacer(limit_max=64, now=0.0, draw=lambda: 0.5)
    now = 0.0
    for _ in range(goods):
        now += 0.01
        pacer.may_start(now, 64)
        pacer.ended(now, Outcome.WHOLE, 0.05, first_try=True)

    def pace() -> tuple[float, int]:
        return (pacer.learned.rate if pacer.learned else float("inf")), pacer.limit

    for gap, seconds in refusals:
        before = pace()
        now += gap
        pacer.ended(now, Outcome.THROTTLED, seconds, first_try=True)
        rate, limit = pace()
        assert rate <= before[0]
        assert limit <= before[1] or pacer.learned is not None  # a rate is learned: it bounds, not the level
