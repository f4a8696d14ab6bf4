"""A whole run of a host that refuses some requests at random. In virtual time."""

from __future__ import annotations

import random

import pytest

from harvester.edges import Answer, Request
from harvester.testing.memory import MemoryService, http
from tests.engine.lab import Bench, plan_of

TILES = 16384
FASTEST = 3200.0
"""Answers a second that 32 connections bring where each takes a hundredth of it."""


def harvested(share: float, retry_after: int | None) -> Bench:
    """A whole run of a host that refuses such a share."""
    draw = random.Random(3)
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}

    def busy(request: Request) -> Answer | None:
        return http(503, headers=headers) if not request.window and draw.random() < share else None

    bench = Bench(service=MemoryService(scripted=busy), plan=plan_of((7,)))
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.counts() == (TILES, TILES, 0, 0, 0, 0)
    assert len(bench.asked) < TILES * (1 + 1.2 * share) + 400
    return bench


def settled(bench: Bench) -> float:
    """Starts a second between the middle of the run and its last tenth, where what is refused last is asked again."""
    log = bench.transport.log
    first, last = len(log) // 2, len(log) * 9 // 10
    return (last - first) / (log[last][0] - log[first][0])


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_a_host_that_refuses_at_random_is_harvested_in_less_than_a_minute(share: float) -> None:
    """Five seconds without refusals; 34 minutes, two and a half hours and nearly nine if each were obeyed."""
    assert harvested(share, None).seconds < 60


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_a_retry_after_of_nothing_is_no_word_of_the_pace(share: float) -> None:
    bench = harvested(share, 0)
    assert bench.seconds < 60
    assert settled(bench) >= 0.85 * FASTEST


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_the_pauses_that_it_asks_for_are_all_that_a_host_costs_that_refuses_at_random(share: float) -> None:
    """However fast it is asked, ``1 / share`` tiles come until the next refusal, and then a second is lost; what is in
    flight by then comes as well, 32 at most. Nothing is asked in a pause."""
    bench = harvested(share, 1)
    assert TILES / bench.seconds >= 0.85 / share
    assert settled(bench) >= 0.75 * (1 / share + 32)


def test_nothing_is_asked_in_a_pause_though_it_says_nothing_of_the_pace() -> None:
    draw = random.Random(5)
    refused: list[int] = []
    asked = 0

    def busy(request: Request) -> Answer | None:
        nonlocal asked
        asked += 1
        if asked % 50 != 7 and draw.random() >= 0.02:
            return None
        refused.append(asked - 1)
        return http(429, headers={"retry-after": "1"})

    bench = Bench(service=MemoryService(scripted=busy), plan=plan_of((6,)))
    assert bench.go().stop is None
    starts = [at for at, _ in bench.transport.log]
    assert len(refused) > 100
    for number in refused:
        heard = starts[number] + 0.01
        assert not [at for at in starts[number + 1 : number + 64] if heard + 1e-6 < at < heard + 1.0 - 1e-6]
