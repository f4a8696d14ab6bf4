"""A whole run of a host that refuses some requests at random. In virtual time."""

from __future__ import annotations

import random

import pytest

from harvester.edges import Answer, Request
from harvester.testing.memory import MemoryService, http
from tests.engine.lab import Bench, plan_of


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_a_host_that_refuses_at_random_is_harvested_in_less_than_a_minute(share: float) -> None:
    """Five seconds without refusals; 34 minutes, two and a half hours and nearly nine if each were obeyed."""
    draw = random.Random(3)

    def busy(request: Request) -> Answer | None:
        return http(503) if not request.window and draw.random() < share else None

    bench = Bench(service=MemoryService(scripted=busy), plan=plan_of((7,)))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (16384, 16384, 0, 0, 0, 0)
    assert bench.seconds < 60
    assert len(bench.asked) < 16384 * (1 + 1.2 * share) + 400
