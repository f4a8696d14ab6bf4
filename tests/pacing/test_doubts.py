"""Refusals are doubted only where a limit can't explain them."""

from __future__ import annotations

import pytest

from harvester.pacing.doubts import BEARABLE, FIRST_AGAIN_SECONDS, HIGHER, Doubts


class Asked:
    """A host that is asked at one rate after another, and refuses now and then."""

    def __init__(self) -> None:
        self.doubts = Doubts(0.0)
        self.now = 0.0
        self.goods = 0

    def ask(self, rate: float, *, good: int, refused: int = 1, borne: float = 0.0, is_fresh: bool = True) -> None:
        """So many good answers at this rate, then so many refusals at once."""
        self.now += good / rate
        self.goods += good
        for _ in range(refused):
            self.doubts.on_refused(self.now, self.goods, rate, borne, is_fresh=is_fresh)


def bore_a_hundred() -> Asked:
    host = Asked()
    host.ask(100.0, good=400)
    assert not host.doubts.is_due
    return host


def test_three_refusals_below_what_was_borne_make_an_experiment_above_them() -> None:
    host = bore_a_hundred()
    for number in range(3):
        assert not host.doubts.is_due, number
        host.ask(80.0, good=160)
    assert host.doubts.is_due
    assert host.doubts.pace >= HIGHER * 80.0
    assert (host.doubts.refused, host.doubts.asked) == (3, 483)


def test_two_do_where_no_limit_is_left_that_could_explain_them() -> None:
    host = bore_a_hundred()
    host.ask(40.0, good=80, borne=38.0)
    assert not host.doubts.is_due
    host.ask(40.0, good=80, borne=38.0)
    assert host.doubts.is_due


@pytest.mark.parametrize(("rate", "borne", "growth"), [(80.0, 70.0, 1.0), (120.0, 0.0, 1.1)])
def test_a_rate_that_is_new_may_be_refused(rate: float, borne: float, growth: float) -> None:
    host = bore_a_hundred()
    for number in range(10):
        host.ask(rate * growth**number, good=int(2.1 * rate * growth**number), borne=borne)
        assert not host.doubts.is_due


def test_what_follows_in_the_wake_of_a_refusal_is_no_further_one() -> None:
    host = bore_a_hundred()
    for _ in range(10):
        host.ask(80.0, good=160, is_fresh=False)
    assert not host.doubts.is_due


def test_a_pause_makes_no_slower_pace() -> None:
    """A second of asking faster than ever and a second of rest: in the mean that is little."""
    for rested, due in ((0.0, True), (1.0, False)):
        host = bore_a_hundred()
        for number in range(1, 5):
            host.now += 2.0
            host.goods += 120
            host.doubts.on_refused(host.now, host.goods, 0.0, 0.0, is_fresh=True, rested=number * rested)
        assert host.doubts.is_due is due


def test_answers_that_come_while_it_rests_are_no_endless_pace() -> None:
    host = bore_a_hundred()
    host.now += 2.0
    host.goods += 3
    host.doubts.on_refused(host.now, host.goods, 0.0, 0.0, is_fresh=True, rested=2.0)
    assert not host.doubts.is_due


def test_refusals_with_no_good_answer_between_them_count_once() -> None:
    host = bore_a_hundred()
    for _ in range(3):
        host.ask(80.0, good=160, refused=50)
    assert host.doubts.refused == 3
    assert host.doubts.is_due


def test_a_host_that_answers_nothing_or_refuses_more_than_is_bearable_is_believed() -> None:
    host = bore_a_hundred()
    for _ in range(40):
        host.now += 2.0
        host.ask(50.0, good=0)
        assert not host.doubts.is_due
    host = bore_a_hundred()
    for _ in range(400):
        host.ask(5.0, good=3)
        assert not host.doubts.is_due or host.doubts.refused <= BEARABLE * host.doubts.asked
    assert not host.doubts.is_due


def test_after_an_experiment_that_failed_the_next_is_lower_and_later() -> None:
    host = bore_a_hundred()
    wait, paces = FIRST_AGAIN_SECONDS, []
    for _ in range(3):
        failed_at = host.now
        while not host.doubts.is_due and host.now < failed_at + 100:
            host.ask(40.0, good=80)
        paces.append(host.doubts.pace)
        if len(paces) > 1:
            assert host.now - failed_at >= wait
            wait *= 2
        host.doubts.forget()
        host.doubts.answered(host.now, host.goods, host.doubts.pace, was_chance=False)
    assert paces == sorted(paces, reverse=True)
    assert paces[-1] > 40.0
    assert "best" in repr(host.doubts)
