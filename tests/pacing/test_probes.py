"""Probes come rarely where they fail or cost pauses; a window holds only what tells of its level."""

from __future__ import annotations

from harvester.pacing.probes import LAST_SECONDS, PAUSES, Probes
from harvester.pacing.windows import Mode, Window, answers_needed


def test_each_probe_that_fails_doubles_the_time_until_the_next() -> None:
    probes, now = Probes(), 0.0
    assert probes.is_due(now)
    waits = []
    for _ in range(8):
        probes.failed(now)
        begin = now
        while not probes.is_due(now):
            now += 0.5
        waits.append(now - begin)
    assert waits == [2, 4, 8, 16, 32, LAST_SECONDS, LAST_SECONDS, LAST_SECONDS]


def test_each_that_succeeds_doubles_the_step_and_a_failure_ends_that() -> None:
    probes = Probes()
    probes.borne()
    probes.borne()
    assert probes.step == 4
    assert "+4" in repr(probes)
    probes.failed(0.0)
    assert probes.step == 1


def test_a_pause_puts_off_the_next_probe_for_many_times_as_long() -> None:
    probes = Probes()
    probes.rest(10.0, 40.0)
    assert not probes.is_due(10.0 + 30.0 * PAUSES - 0.1)
    assert probes.is_due(10.0 + 30.0 * PAUSES)
    probes.soon(50.0)
    assert probes.is_due(50.0)
    probes.often()
    probes.later(50.0)
    assert probes.is_due(51.0)


def test_a_window_begins_after_a_pause_once_a_whole_round_came() -> None:
    window = Window()
    window.begin(0.0, 8)
    window.down = True
    window.answers = 5
    window.rest(1.0, 3.0, 4)
    assert (window.answers, window.need, window.settling, window.down) == (0, 4, True, False)
    window.settled(1.5, 4, 8)  # four answers in the pause: what was in flight
    assert (window.settling, window.since) == (True, 3.0)
    window.settled(3.6, 4, 8)
    assert (window.settling, window.since, window.need) == (False, 3.6, 8)
    assert window.pauses
    assert repr(window) == "Window(0 of 8 answers)"


def test_a_window_that_is_too_short_asks_for_more_answers_where_pauses_are_known_for_more() -> None:
    window = Window()
    window.begin(0.0, 8)
    window.answers = 8
    assert window.missing(0.5, Mode.SEEK, 8, 0.05) == 0
    window.rest(0.5, 1.0, 8)
    window.settled(1.5, 8, 8)
    window.answers = 8
    assert window.missing(2.0, Mode.SEEK, 8, 0.05) > 0
    assert window.missing(2.6, Mode.SEEK, 8, 0.05) == 0


def test_half_a_round_that_comes_at_once_stands_for_half_its_latency() -> None:
    window = Window()
    window.begin(0.0, 8)
    window.answers = 8
    assert window.lasted(0.01, Mode.RAMP, 16, 1.0) == 0.5
    assert window.lasted(0.01, Mode.HOLD, 16, 1.0) == 0.01
    assert answers_needed(Mode.RAMP, 16, 1.0) == 8
