"""How long a plan takes: the run's own pacer on a simulated clock, asked by the outcomes and latencies that a sample
measured."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harvester.edges import Outcome
from harvester.job import Limits
from harvester.pacing import Pacer, RateLimit

SIMULATED = 4000
"""Answers that are simulated: the ramp of the concurrency and more; beyond them the pace of the last ones goes on."""

TAIL = 0.5
"""Share of the simulated answers, the last ones, whose pace goes on."""

OWN_SECONDS = (1 / 8000, 1 / 300)
"""What harvester itself takes for a tile on one core: the best that benchmarks/ measured, and a slow machine that is
busy; what the sample took is taken between these two."""

START_SECONDS = (0.3, 1.0, 3.0)
"""Starting, the service's document, ledger and cache: least, usual, slow disk."""

BYTES_A_SECOND = (500e6, 150e6, 30e6)
"""How fast the bytes become durable and, in a package, are sealed: fast disk, usual, slow."""

SLOWER = 2.0
"""At worst answers take so many times longer than in the sample: it fetched few tiles, at a quiet moment."""

USED_RATE = 0.85
"""Share of the allowed rate that is used at least while the server keeps up."""


class Tried(NamedTuple):
    """One answer of the sample: what it meant, and how long it took."""

    outcome: Outcome
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """Seconds that a plan takes: the likely ones, and the interval around them."""

    seconds: float
    low: float
    high: float


def reckon_time(
    tried: Sequence[Tried],
    *,
    limits: Limits,
    asked: tuple[float, float],
    size: tuple[float, float, float],
    own_seconds: float,
) -> Duration:
    """The duration of a run of ``asked`` (likely, at most) tile requests and of ``size`` (low, likely, high) bytes.

    ``own_seconds`` is what the sample's process took for an answer. Without an answer nothing is known: the interval
    reaches from what the rate allows to infinity.
    """
    likely, most = asked
    floor = 0.0 if limits.rate is None else likely / limits.rate
    if not tried:
        return Duration(seconds=floor, low=floor, high=math.inf)
    quick = sorted(one.seconds for one in tried)[len(tried) // 4]
    best, worst = OWN_SECONDS
    own = min(max(own_seconds, best), worst)
    ends = []
    for number, answers, each, start, speed, amount in (
        (likely, [one._replace(seconds=min(one.seconds, quick)) for one in tried], best, *_edge(0), size[0]),
        (likely, list(tried), own, *_edge(1), size[1]),
        (most, [one._replace(seconds=one.seconds * SLOWER) for one in tried], min(2 * own, worst), *_edge(2), size[2]),
    ):
        ends.append(start + amount / speed + pace(number, answers, limits, each))
    high = ends[2] if limits.rate is None else max(ends[2], most / limits.rate / USED_RATE)
    low = max(ends[0], floor)
    seconds = max(ends[1], low)
    return Duration(seconds=seconds, low=low, high=max(high, seconds))


def _edge(index: int) -> tuple[float, float]:
    return START_SECONDS[index], BYTES_A_SECOND[index]


def pace(number: float, tried: Sequence[Tried], limits: Limits, own_seconds: float) -> float:
    """Seconds for ``number`` tiles that answer as these did, in order by chance: concurrency that grows as the host
    bears it, the rate limit, tries that are repeated, and one core that judges and stores one tile after another."""
    draw = random.Random(0)
    rate = None if limits.rate is None else RateLimit(limits.rate, 0.0)
    pacer = Pacer(limit_max=limits.concurrency, now=0.0, draw=draw.random, rate=rate)
    wanted = min(round(number), SIMULATED)
    left, in_flight, done, again = wanted, 0, 0, wanted * limits.retries
    started = 0
    now = free = middle = 0.0
    ends: list[tuple[float, int, Tried]] = []
    while done < wanted:
        wait = pacer.may_start(now, in_flight) if left else math.inf
        if wait == 0.0:
            one = tried[int(draw.random() * len(tried))]
            heapq.heappush(ends, (now + one.seconds, started, one))
            left -= 1
            started += 1
            in_flight += 1
            continue
        if not ends or now + wait < ends[0][0]:
            now += wait
            continue
        end, _, (outcome, seconds) = heapq.heappop(ends)
        now = free = max(now, free, end) + own_seconds
        in_flight -= 1
        pacer.ended(now, outcome, seconds, first_try=True)
        if outcome in (Outcome.RETRY, Outcome.THROTTLED) and again:
            again -= 1
            left += 1
            continue
        done += 1
        if done == int(wanted * (1 - TAIL)):
            middle = now
    if number <= wanted:
        return now
    return now + (number - wanted) * (now - middle) / (wanted * TAIL)
