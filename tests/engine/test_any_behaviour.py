"""Whatever a host does, a run ends: each tile has one end, what was counted agrees, no tile is failed that was not
tried as often as it was to be, and nothing is asked without measure. In virtual time."""

from __future__ import annotations

import pytest

from harvester.edges import State
from harvester.testing.images import tile_png
from tests.engine.behaviours import HOURS, Behaviour
from tests.engine.lab import agreed

GROUPS, SEEDS = 30, 10

COSTS_NO_TRY = {"429", "503", "498", "499", "401", "stale", "200"}

MOST_A_TILE, MOST_BESIDES = 100, 2000
"""Requests: a token that ends every few tiles has them all asked many times."""


def is_run_right(seed: int) -> None:
    behaviour = Behaviour(seed)
    bench = behaviour.bench()
    outturn = bench.go()
    assert bench.seconds < HOURS * 3600.0
    assert len(bench.asked) <= MOST_A_TILE * bench.plan.total + MOST_BESIDES
    for tile, state in agreed(bench, outturn).items():
        kind = behaviour.kind(tile)
        if state is State.STORED:
            assert kind is None and bench.cache.bodies[tile] == tile_png(*tile)
        elif state is State.ABSENT:
            assert behaviour.is_absent(tile)
        elif state is State.FAILED and (kind is None or behaviour.is_absent(tile)):
            came = behaviour.answers[tile]
            tries = sum(what not in COSTS_NO_TRY for what in came) + (len(behaviour.hosts) > 1)
            assert tries > behaviour.limits.retries, came


@pytest.mark.parametrize("group", range(GROUPS))
def test_whatever_a_host_does_each_tile_has_one_end_and_the_run_ends(group: int) -> None:
    for seed in range(group * SEEDS, (group + 1) * SEEDS):
        try:
            is_run_right(seed)
        except Exception as error:
            error.add_note(f"seed {seed}: {Behaviour(seed).limits}")
            raise


@pytest.mark.parametrize("seed", [1612, 3549])
def test_a_tile_pays_with_its_tries_for_faults_alone(seed: int) -> None:
    """Of a host whose faults are refusals as well: "too busy" is none of them."""
    is_run_right(seed)
