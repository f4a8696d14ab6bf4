"""Tokens that end after a few answers: where nothing that comes for one can be believed (no pictures, only "not
there"), all is asked again with the next, and a run ends after some of them. In virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from harvester.edges import Answer, Request
from harvester.job import Limits
from harvester.testing.memory import HOST, MemoryService, MemorySource, http
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

USES, RENEWED_AFTER = 60, 3.0


def harvest(*, is_absent: bool) -> Bench:
    """Of two hosts that fail each tile at first, with tokens that are renewed every few seconds and end before."""
    used, asked = Counter[int](), Counter[Tile]()
    begun: list[float] = []

    def scripted(request: Request) -> Answer | None:
        used[request.credential] += 1
        asked[request.tile] += 1
        if used[request.credential] > USES:
            return http(498)
        return http(500) if asked[request.tile] == 1 else None

    def renews_in() -> float:
        now = asyncio.get_running_loop().time()
        if source.renewals >= len(begun):
            begun.append(now)
        return begun[-1] + RENEWED_AFTER - now

    source = MemorySource(
        renewable=True, renews_in=renews_in, hosts=[replace(HOST, name=f"host{at}.test") for at in range(2)]
    )
    return Bench(
        service=MemoryService(scripted=scripted, absent=lambda tile: is_absent, seconds=0.02),
        source=source,
        plan=plan_of((4,)),
        limits=Limits(concurrency=1, rate=50, max_duration_seconds=3600),
    )


def test_tokens_for_which_nothing_comes_that_can_be_believed_end_the_run():
    bench = harvest(is_absent=True)
    outturn = bench.go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("auth", 3) and "tokens in a row" in outturn.stop.message
    assert outturn.tally.counts().absent == 0 and bench.source.renewals < 200


def test_with_tokens_as_short_tiles_are_harvested():
    outturn = harvest(is_absent=False).go()
    assert (outturn.stop, outturn.tally.counts().stored) == (None, 256)


# ---------------------------------------------------------------------------------------- a host that is busy, too


class BusyHost:
    """Tokens live for so many ``seconds`` or ``uses``; of tiles every tenth answer or more is 429, some with a pause as
    long as a token lives or longer. ``is_open``: no token opens it."""

    def __init__(self, *, seconds: float, uses: float, busy: float = 0.1, is_open: bool = True) -> None:
        self.source = MemorySource(renewable=True)
        self._seconds, self._uses, self._busy, self._is_open = seconds, uses, busy, is_open
        self._draw = random.Random(3)
        self._begun: dict[int, float] = {}
        self._used = Counter[int]()
        renew = self.source.renew

        async def renewed(*, accepted: bool = False) -> None:
            await renew(accepted=accepted)
            self._begun[self.source.credential] = asyncio.get_running_loop().time()

        self.source.renew = renewed  # type: ignore[method-assign]

    def __call__(self, request: Request) -> Answer | None:
        if self._draw.random() < self._busy:
            asked = self._draw.choice(("", "1", "2"))
            return http(429, headers={"retry-after": asked} if asked else {})
        now, token = asyncio.get_running_loop().time(), request.credential
        self._used[token] += 1
        ended = now - self._begun.setdefault(token, now) > self._seconds or self._used[token] > self._uses
        return http(498) if ended or not self._is_open else None

    def bench(self, **limits: float) -> Bench:
        service = MemoryService(scripted=self, seconds=0.02)
        return Bench(service=service, source=self.source, plan=plan_of((3, 4)), limits=Limits(**limits))


@pytest.mark.parametrize(
    ("seconds", "uses", "busy"),
    [
        (1.0, 1e9, 0.0),
        (1.0, 1e9, 0.1),
        (3.0, 1e9, 0.1),
        (10.0, 1e9, 0.2),
        (1e9, 8, 0.0),
        (1e9, 20, 0.1),
        (1e9, 60, 0.3),
    ],
)
def test_tokens_that_end_while_the_host_is_busy_cost_renewals_and_no_run(seconds, uses, busy):
    bench = BusyHost(seconds=seconds, uses=uses, busy=busy).bench()
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().stored) == (None, 320)


@pytest.mark.parametrize("busy", [0.0, 0.1, 0.3])
def test_a_login_that_is_refused_by_a_busy_host_still_ends_the_run_soon(busy):
    bench = BusyHost(seconds=1e9, uses=1e9, busy=busy, is_open=False).bench()
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.exit_code == 3 and "with a new token" in outturn.stop.message
    assert bench.source.renewals < 10 and bench.seconds < 60
