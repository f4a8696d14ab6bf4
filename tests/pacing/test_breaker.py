"""A host that gives nothing but failures is left alone, probed, and taken back with one good answer."""

from __future__ import annotations

import math

import pytest

from harvester.pacing import Breaker, HostPause


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(now)
    for _ in range(20):
        breaker.on_result(now, ok=False, first_try=True)
    assert breaker.open_since == now
    return breaker


def test_twenty_failed_first_tries_in_a_row_open_it() -> None:
    breaker = Breaker(0.0)
    for _ in range(19):
        breaker.on_result(1.0, ok=False, first_try=True)
    breaker.on_result(1.0, ok=True, first_try=True)
    for _ in range(19):
        breaker.on_result(2.0, ok=False, first_try=True)
        assert breaker.allow(2.0)
        assert breaker.ready_in(2.0) == 0.0
    breaker.on_result(3.0, ok=False, first_try=True)
    assert breaker.open_since == 3.0
    assert not breaker.allow(3.0)


def test_a_tiles_own_retries_neither_open_nor_feed_it() -> None:
    breaker = Breaker(0.0)
    for step in range(500):
        breaker.on_result(step * 0.2, ok=False, first_try=False)
    assert breaker.open_since is None
    for _ in range(19):
        breaker.on_result(1.0, ok=False, first_try=True)
    breaker.on_result(1.0, ok=True, first_try=False)  # another tile's retry went well: no first try did
    breaker.on_result(1.0, ok=False, first_try=True)
    assert breaker.open_since == 1.0


def test_probes_come_after_one_second_doubling_to_thirty() -> None:
    breaker = opened(0.0)
    now, waits = 0.0, []
    for _ in range(8):
        wait = breaker.ready_in(now)
        waits.append(wait)
        assert not breaker.allow(now + wait - 0.01)
        now += wait
        assert breaker.allow(now)
        assert not breaker.allow(now)  # one at a time
        assert breaker.ready_in(now) == math.inf
        breaker.on_result(now, ok=False, first_try=False)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    assert "open" in repr(breaker)


def test_one_good_probe_closes_it_and_all_is_forgotten() -> None:
    breaker = opened(0.0)
    assert breaker.allow(1.0)
    breaker.on_result(1.1, ok=True, first_try=False)
    assert breaker.open_since is None
    for _ in range(19):
        breaker.on_result(1.2, ok=False, first_try=True)
    assert breaker.open_since is None
    breaker.on_result(1.2, ok=False, first_try=True)
    assert breaker.ready_in(1.2) == pytest.approx(1.0)
    assert "open" in repr(breaker)


def test_answers_that_were_under_way_do_not_put_off_the_first_probe() -> None:
    breaker = opened(0.0)
    for _ in range(30):
        breaker.on_result(0.5, ok=False, first_try=True)
    assert breaker.ready_in(0.5) == 0.5


def test_a_cancelled_probe_makes_room_for_another() -> None:
    breaker = opened(0.0)
    assert breaker.allow(1.0)
    breaker.cancel_probe()
    assert breaker.allow(1.0)


def test_less_than_a_tenth_good_over_half_a_minute_opens_it() -> None:
    breaker = Breaker(0.0)
    now = 0.0
    while breaker.open_since is None and now < 60:
        now += 0.1  # one good in fifteen: never twenty bad ones in a row
        breaker.on_result(now, ok=round(now * 10) % 15 == 7, first_try=True)
    assert breaker.open_since is not None
    assert 30.0 <= breaker.open_since < 33


def test_good_minutes_long_ago_do_not_hide_a_bad_half_minute() -> None:
    breaker = Breaker(0.0)
    now = 0.0
    for _ in range(6000):
        now += 0.1
        breaker.on_result(now, ok=True, first_try=True)
    begin = now
    while breaker.open_since is None and now < begin + 60:
        now += 0.1
        breaker.on_result(now, ok=round(now * 10) % 15 == 7, first_try=True)
    assert breaker.open_since is not None
    assert breaker.open_since - begin < 34


def test_a_fifth_good_is_enough_to_stay_closed() -> None:
    breaker = Breaker(0.0)
    for step in range(10_000):
        breaker.on_result(step * 0.05, ok=step % 5 == 0, first_try=True)
    assert breaker.open_since is None


def test_a_wave_of_throttled_answers_is_no_failure_but_half_a_minute_of_them_is() -> None:
    breaker = Breaker(0.0)
    for _ in range(200):
        breaker.on_result(0.1, ok=False, first_try=True, throttled=True)
    assert breaker.open_since is None
    now = 0.1
    while breaker.open_since is None and now < 60:
        now += 0.1
        breaker.on_result(now, ok=False, first_try=True, throttled=True)
    assert breaker.open_since == pytest.approx(30.0, abs=0.2)


def test_the_latest_end_of_the_pauses_counts() -> None:
    pause = HostPause()
    assert pause.ready_in(0.0) == 0.0
    pause.pause(10.0, 120.0)
    pause.pause(20.0, 5.0)
    assert pause.ready_in(30.0) == 100.0
    assert pause.ready_in(131.0) == 0.0
    assert pause.too_long is None


def test_a_pause_over_ten_minutes_is_reported() -> None:
    pause = HostPause()
    pause.pause(0.0, 600.0)
    assert pause.too_long is None
    pause.pause(0.0, 3600.0)
    assert pause.too_long == 3600.0
    assert pause.ready_in(0.0) == 600.0
    assert "too long" in repr(pause)


def test_while_a_tile_that_is_known_to_be_good_is_asked_again_nothing_else_counts() -> None:
    breaker = opened(0.0)
    breaker.probe_now(0.0)
    assert breaker.ready_in(0.0) == 0.0 and breaker.allow(0.0)
    breaker.asking = True
    for ok in (False, True):
        breaker.on_result(0.1, ok=ok, first_try=True)
    assert breaker.open_since == 0.0 and breaker.ready_in(0.1) == math.inf
    breaker.asking = False
    breaker.on_result(0.2, ok=False, first_try=False)
    assert breaker.ready_in(0.2) == 1.0, "then it is as if it had just opened"


def test_a_host_that_was_vouched_for_is_doubted_after_twice_as_many_failures_until_a_first_try_is_good() -> None:
    breaker = Breaker(0.0)

    def failures_until_open() -> int:
        failed = 0
        while breaker.open_since is None:
            breaker.on_result(1.0, ok=False, first_try=failed % 2 == 0 or not breaker.is_vouched)
            failed += 1
        return failed

    row = []
    for _ in range(5):
        row.append(failures_until_open())
        breaker.on_result(1.0, ok=True, first_try=False)
        breaker.vouch()
        assert breaker.is_vouched
    assert row == [20, 40, 80, 160, 320]
    breaker.on_result(1.0, ok=True, first_try=True)
    assert not breaker.is_vouched
    assert failures_until_open() == 20


def test_a_host_that_was_vouched_for_is_not_doubted_for_its_share_of_failures_either() -> None:
    breaker = opened(0.0)
    breaker.on_result(0.0, ok=True, first_try=False)
    for _ in range(3):
        breaker.vouch()
    for step in range(159):
        breaker.on_result(step * 0.25, ok=False, first_try=True, throttled=True)
    assert breaker.open_since is None
    breaker.on_result(40.0, ok=False, first_try=True, throttled=True)
    assert breaker.open_since == 40.0


def test_pauses_are_counted_once_and_only_as_far_as_they_have_passed() -> None:
    pause = HostPause()
    assert pause.rested(5.0) == 0.0
    pause.pause(10.0, 2.0)
    pause.pause(11.0, 2.0)  # one more second
    pause.pause(11.0, 0.5)  # within it
    assert [pause.rested(now) for now in (10.0, 11.0, 13.0, 20.0)] == [0.0, 1.0, 3.0, 3.0]
    pause.pause(20.0, 1.0)
    assert pause.rested(30.0) == 4.0
