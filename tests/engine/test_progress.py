"""Progress moves with the tiles that end, once a second, and what it says of the time left is honest."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harvester.events import Progress
from harvester.job import Limits
from harvester.testing.memory import MemoryService
from tests.engine.lab import Bench, plan_of


def told(bench: Bench) -> list[Progress]:
    """All but the last, which comes at the end."""
    bench.go()
    return [event for event in bench.events if isinstance(event, Progress)][:-1]


@pytest.mark.parametrize("rate", [3.0, 40.0, 2500.0])
def test_every_line_has_moved_and_the_first_one_knows_the_speed(rate):
    """Tiles are written in batches of a second: at any moment some have ended that are not in the cache yet."""
    events = told(Bench(service=MemoryService(seconds=0.001), plan=plan_of((6,)), limits=Limits(rate=rate)))
    ended = [event.ended for event in events]
    assert ended[0] > 0
    assert all(later > earlier for earlier, later in pairwise(ended))
    for event in events:
        assert event.tiles_per_second == pytest.approx(0.9 * rate, rel=0.25, abs=1.0)
        assert event.counts.planned - event.counts.pending <= event.ended <= event.counts.planned


def test_lines_come_once_a_second():
    events = told(Bench(plan=plan_of((6,)), limits=Limits(rate=100)))
    times = [event.seconds for event in events]
    assert len(times) >= 40
    assert all(number + 1 <= when <= number + 1.3 for number, when in enumerate(times))


def test_the_time_left_is_that_of_the_budget_where_one_ends_the_run_earlier():
    tiles = told(Bench(plan=plan_of((6,)), limits=Limits(rate=100, max_tiles=1000)))
    assert tiles[4].eta_seconds == pytest.approx((1000 - tiles[4].ended) / 91, rel=0.1)
    seconds = told(Bench(plan=plan_of((6,)), limits=Limits(rate=100, max_duration_seconds=20)))
    assert seconds[9].eta_seconds == pytest.approx(10, abs=1)


def test_nothing_is_said_of_the_time_left_before_anything_was_seen_or_while_nothing_ends():
    events = told(Bench(service=MemoryService(seconds=6.0), plan=plan_of((3,)), limits=Limits(concurrency=4)))
    assert [event.eta_seconds for event in events[:5]] == [None] * 5
    assert all(event.tiles_per_second == 0 for event in events[:5])


def test_the_last_line_speaks_of_what_is_recorded():
    bench = Bench(plan=plan_of((4,)))
    bench.go()
    last = next(event for event in reversed(bench.events) if isinstance(event, Progress))
    assert (last.ended, last.counts.pending, last.eta_seconds) == (256, 0, 0.0)
