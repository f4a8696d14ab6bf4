"""The pace of each host of a source, as a job's limits want it."""

from __future__ import annotations

import random
from collections.abc import Callable

from harvester.job import Limits
from harvester.pacing import Pacer, RateLimit


def pacers_of(limits: Limits, now: float) -> Callable[[int], Pacer]:
    """What makes the pace of each host of a source, by the most requests that it is given at once, concurrency found as
    it goes; at most ``rate`` requests a second over all of them."""
    rate = None if limits.rate is None else RateLimit(limits.rate, now)
    return lambda most: Pacer(limit_max=most, now=now, draw=random.random, rate=rate)
