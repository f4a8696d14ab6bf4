"""How many bytes and how long: a few real tiles of each LOD, fetched politely, and an interval around what they say."""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harvester.assemble.paces import pacers_of
from harvester.assemble.sample_time import Tried, reckon_time
from harvester.assemble.sources import Layer, transport_for
from harvester.edges import Outcome, Verdict
from harvester.engine import Tally
from harvester.engine.few import Few
from harvester.job import Job
from harvester.planning import Plan
from harvester.tiling.tile import Tile

Z95 = 1.96
"""Standard errors on each side of a 95 % interval."""

TRIES = 3
"""Tries for a sampled tile that is throttled or broken before it is left out of the sample."""

UNSEEN_BYTES = 20_000
"""Size of a tile that the sample may have missed: a busy town at 256 pixels, where the sampled tiles were water."""

OVERHEAD_BYTES = 24
"""What a cache needs beside a tile's bytes: an index entry and a size word, or a row's header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes and seconds of a whole plan, from ``sampled`` tiles; ``bytes_low`` to ``bytes_high`` is a 95 % interval,
    ``seconds_low`` to ``seconds_high`` what a quick and a slow run of it would take."""

    bytes: int
    bytes_low: int
    bytes_high: int
    seconds: float
    seconds_low: float
    seconds_high: float
    sampled: int
    failed: int = 0
    trouble: str = ""


def choose(plan: Plan, per_lod: int, rng: random.Random) -> list[Tile]:
    """Tiles to sample: of each LOD, one from each of ``per_lod`` equal stretches of its order (all, where it has
    fewer)."""
    tiles: list[Tile] = []
    start = 0
    for lod in plan.lods:
        number = min(per_lod, lod.planned)
        for part in range(number):
            low, high = lod.planned * part // number, lod.planned * (part + 1) // number
            tiles.append(plan.tile_at(start + rng.randrange(low, high)))
        start += lod.planned
    return tiles


async def estimate(job: Job, layer: Layer, plan: Plan, per_lod: int) -> Estimate:
    """Fetch ``per_lod`` tiles of each LOD and say what all would take. Nothing is written."""
    source, limits = layer.source, job.limits
    sizes: dict[int, list[int]] = defaultdict(list)
    failed = 0

    def saw(tile: Tile, verdict: Verdict) -> None:
        nonlocal failed
        if verdict.outcome is Outcome.WHOLE:
            sizes[tile.level].append(len(verdict.body) + OVERHEAD_BYTES)
        elif verdict.outcome is Outcome.ABSENT:
            sizes[tile.level].append(0)
        else:
            failed += 1

    few = Few(
        choose(plan, per_lod, random.Random(plan.total)), source, new_pacer=pacers_of(limits, time.monotonic()),
        connections=limits.concurrency, tries=TRIES, tally=Tally(), clock=time.monotonic, saw=saw,
    )  # fmt: skip
    transport = transport_for(job, layer)
    busy = time.process_time()
    try:
        await transport.drain(few.next_request, few.done)
    finally:
        await transport.close()
    busy = time.process_time() - busy
    size = reckon_bytes(plan, sizes)
    duration = reckon_time(
        [Tried(*one) for one in few.answers if one[0] is not Outcome.DENIED],
        limits=limits,
        asked=_asked(plan, sizes, tilemap=job.tilemap and source.info.tilemap),
        size=(size.low, size.likely, size.high),
        own_seconds=busy / max(len(few.answers), 1),
    )
    return Estimate(
        bytes=size.likely,
        bytes_low=size.low,
        bytes_high=size.high,
        seconds=duration.seconds,
        seconds_low=duration.low,
        seconds_high=duration.high,
        sampled=sum(len(seen) for seen in sizes.values()),
        failed=failed + few.left,
        trouble=few.trouble if few.stop is None else few.stop.message,
    )


def _asked(plan: Plan, sizes: Mapping[int, Sequence[int]], *, tilemap: bool) -> tuple[float, float]:
    """Tiles that are asked for, likely and at most: a tilemap spares those that it says are absent."""
    if not tilemap:
        return plan.total, plan.total
    likely = 0.0
    for lod in plan.lods:
        seen = sizes.get(lod.level, ())
        likely += lod.planned * (sum(1 for size in seen if size) / len(seen) if seen else 1.0)
    return max(likely, 1.0), plan.total


class Size(NamedTuple):
    """Bytes of a plan: the likely ones, in their 95 % interval."""

    low: int
    likely: int
    high: int


def reckon_bytes(plan: Plan, sizes: Mapping[int, Sequence[int]]) -> Size:
    """Bytes of a plan from the sizes of sampled tiles, by LOD (0: absent; with their overhead).

    Stratified by LOD: the sum of count x mean, and its standard error (finite population corrected); upwards at least
    what tiles of a kind that no sample showed could add (rule of three).
    """
    total = variance = 0.0
    everything = [size for level in sizes.values() for size in level]
    overall = sum(everything) / len(everything) if everything else 0.0
    largest = max(UNSEEN_BYTES, *everything) if everything else float(UNSEEN_BYTES)
    unseen = 0.0
    for lod in plan.lods:
        seen = sizes.get(lod.level, [])
        number = len(seen)
        mean = sum(seen) / number if number else overall
        total += mean * lod.planned
        if number > 1:
            spread = sum((size - mean) ** 2 for size in seen) / (number - 1)
            variance += lod.planned**2 * spread / number * (1 - number / lod.planned)
        elif lod.planned > number:
            variance += (mean * lod.planned) ** 2
        if number < lod.planned:
            # What no sample showed may still be there: with n tiles seen, up to 3/n of all, at 95 % (rule of three).
            unseen += lod.planned * min(1.0, 3 / max(number, 1)) * max(0.0, largest - mean)
    half = Z95 * math.sqrt(variance)
    return Size(low=max(0, round(total - half)), likely=round(total), high=round(total + max(half, unseen)))
