"""What a sample says of a whole plan: an interval of bytes that holds, and a duration by what a run really does."""

from __future__ import annotations

import math
import random

import pytest

from harvester.assemble.sample import UNSEEN_BYTES, choose, reckon_bytes
from harvester.assemble.sample_time import Tried, pace, reckon_time
from harvester.edges import Outcome
from harvester.job import Limits
from harvester.planning import make_plan
from harvester.testing.memory import memory_info
from harvester.tiling.tile import Tile

INFO = memory_info()
SEEDS = 400
BYTES = (0.0, 0.0, 0.0)


def population(share: float, big: int, seed: int) -> dict[Tile, int]:
    """Sizes of the tiles of a plan: water, and towns at random."""
    rng = random.Random(seed)
    return {tile: rng.randint(big // 2, big) if rng.random() < share else rng.randint(150, 300) for tile in TILES}


PLAN = make_plan(INFO, [((6,), None)])
TILES = [PLAN.tile_at(index) for index in range(PLAN.total)]


@pytest.mark.parametrize(("share", "big"), [(0.001, 60_000), (0.01, 30_000), (0.02, 20_000), (0.05, 20_000)])
def test_the_interval_holds_where_a_few_tiles_are_a_hundred_times_larger(share, big):
    """With 20 of 4,096 tiles most samples show no large one; the truth lies in the interval all the same."""
    sizes = population(share, big, seed=1)
    truth = sum(sizes.values())
    inside = 0
    for seed in range(SEEDS):
        size = reckon_bytes(PLAN, {6: [sizes[tile] for tile in choose(PLAN, 20, random.Random(seed))]})
        assert size.low <= size.likely <= size.high
        inside += size.low <= truth <= size.high
    assert inside >= 0.9 * SEEDS


def test_a_plan_that_is_sampled_whole_has_no_interval():
    plan = make_plan(INFO, [((2,), None)])
    tiles = choose(plan, 20, random.Random(1))
    assert len(set(tiles)) == plan.total
    size = reckon_bytes(plan, {2: [1000] * plan.total})
    assert size == (plan.total * 1000,) * 3


def test_a_level_without_a_sampled_tile_is_taken_for_the_mean_of_the_others_with_room():
    plan = make_plan(INFO, [((2, 3), None)])
    size = reckon_bytes(plan, {2: [1000] * 16})
    assert size.likely == 80 * 1000
    assert size.low <= 16_000 and size.high >= 16_000 + 64 * UNSEEN_BYTES


# ---------------------------------------------------------------------------------------------- time


def answers(seconds: float, outcome: Outcome = Outcome.WHOLE, number: int = 100) -> list[Tried]:
    return [Tried(outcome, seconds)] * number


def duration(tried, limits=None, *, total=10_000.0, likely=None, own=1 / 5000):
    return reckon_time(tried, limits=limits or Limits(), asked=(likely or total, total), size=BYTES, own_seconds=own)


def test_slow_answers_take_their_time_divided_by_the_concurrency_and_the_ramp_before_it():
    found = pace(10_000, answers(0.5), Limits(concurrency=32), 0.0)
    assert 10_000 * 0.5 / 32 < found < 2 * 10_000 * 0.5 / 32
    assert pace(20, answers(0.5), Limits(concurrency=32), 0.0) > 20 * 0.5 / 32 + 0.5


def test_fast_answers_take_what_one_core_takes():
    assert pace(10_000, answers(0.0001), Limits(), 1 / 1000) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("rate", [0.5, 10, 200])
def test_a_rate_is_the_floor_and_is_nearly_used(rate):
    total = 20 * rate + 10
    found = duration(answers(0.02), Limits(rate=rate), total=total)
    assert found.low >= total / rate
    assert found.low <= found.seconds <= found.high
    assert found.seconds < total / rate / 0.85 + 5
    assert found.high >= total / rate / 0.85


def test_tries_that_are_repeated_take_their_time_too():
    half = [*answers(0.2), *answers(0.2, Outcome.RETRY)]
    assert pace(2000, half, Limits(), 0.0) > 1.5 * pace(2000, answers(0.2), Limits(), 0.0)


def test_a_service_that_fails_every_try_ends_too():
    assert 0 < pace(500, answers(0.05, Outcome.RETRY), Limits(retries=2), 0.0) < math.inf


def test_tiles_that_a_tilemap_spares_take_no_time():
    assert duration(answers(0.1), likely=1000).seconds < duration(answers(0.1)).seconds / 5
    assert duration(answers(0.1), likely=1000).high >= duration(answers(0.1)).seconds


def test_without_an_answer_nothing_is_known_but_what_the_rate_allows():
    found = duration([], Limits(rate=100))
    assert (found.low, found.seconds, found.high) == (100, 100, math.inf)


def test_even_a_single_tile_takes_a_moment():
    found = duration(answers(0.001), total=1.0)
    assert 0 < found.low < found.seconds < found.high
