"""An alarm rings once, at the time that was asked for last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from harvester.testing.virtual import run_virtual
from harvester.transport.alarm import Alarm


def rings(use: Callable[[Alarm], None]) -> tuple[list[float], int]:
    """When it rings after what ``use`` does at 0 s, until 100 s; and how many timers the loop was asked for."""
    found: list[float] = []
    timers: list[float] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        began, call_at = loop.time(), loop.call_at

        class Counted(type(loop)):  # type: ignore[misc]
            def call_at(self, when: float, *args: object, **options: object) -> asyncio.TimerHandle:
                timers.append(when)
                return call_at(when, *args, **options)  # type: ignore[arg-type]

        alarm = Alarm(lambda: found.append(round(loop.time() - began, 6)))
        loop.__class__ = Counted
        use(alarm)
        loop.__class__ = Counted.__base__  # type: ignore[assignment]
        await asyncio.sleep(100)

    run_virtual(work())
    return found, len(timers)


def set_to(*seconds: float) -> Callable[[Alarm], None]:
    def use(alarm: Alarm) -> None:
        for each in seconds:
            alarm.set(each)

    return use


def test_it_rings_once() -> None:
    assert rings(set_to(3)) == ([3], 1)


@pytest.mark.parametrize("times", [(3, 7), (7, 3), (3, 7, 5), (9, 2, 4)])
def test_what_was_asked_for_last_counts(times: tuple[float, ...]) -> None:
    assert rings(set_to(*times))[0] == [times[-1]]


def test_to_put_it_off_costs_no_timer() -> None:
    assert rings(set_to(*range(1, 50))) == ([49], 1)


def test_what_is_due_already_rings_in_the_loops_next_turn() -> None:
    assert rings(set_to(-5)) == ([0], 1)


def test_one_that_is_unset_or_stopped_does_not_ring() -> None:
    def unset(alarm: Alarm) -> None:
        alarm.set(3)
        alarm.unset()

    def stop(alarm: Alarm) -> None:
        alarm.set(3)
        alarm.stop()

    def again(alarm: Alarm) -> None:
        unset(alarm)
        alarm.set(5)

    assert rings(unset)[0] == rings(stop)[0] == []
    assert rings(again) == ([5], 1)
