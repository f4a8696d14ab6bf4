"""A tilemap that denies every tile of a plan, held against a few tiles themselves: where they are there, it is not
believed, and all are asked."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from xxhash import xxh3_128_hexdigest

from harvester.assemble.sources import Layer, transport_for
from harvester.edges import BlockChange, Ledger, Outcome, State, Verdict
from harvester.engine import StopReason, Tally
from harvester.engine.few import Few
from harvester.job import Job
from harvester.pacing import Pacer
from harvester.planning import Plan
from harvester.tiling.tile import Tile

ASKED = 32
"""Tiles that are asked themselves: what an empty plan costs at most, and enough to come upon two of a town, or of every
eighth column."""

MIDDLES = 4
"""Of these, in the middle of a LOD."""

PERIODS = range(2, 9)
"""Of stripes, tile for tile, that a tilemap in disorder may deny although they are there."""

CANDIDATES = 512
"""Tiles that are chosen from."""

GOLDEN = (math.sqrt(5) - 1) / 2

BELIEVED = 2
"""Different bodies that must come: beyond their data, services give one picture ("no data here") for every tile, while
their tilemap says the truth."""

DISTRUSTED = "tilemap_distrusted"
"""The ledger's fact: a tile that is there although the tilemap denies all; later runs don't ask the tilemap."""


def was_denied(tally: Tally) -> bool:
    """Did every planned tile end as absent, some of them without having been asked themselves?"""
    counts = tally.counts()
    return counts.planned > 0 and counts.absent == counts.planned and sum(tally.absences.values()) < counts.planned


def some_of(plan: Plan) -> list[Tile]:
    """A few tiles: the middle one of LODs from the coarsest to the finest, and others from all over the plan, such that
    whatever every second to eighth row, column or diagonal holds is come upon BELIEVED times."""
    if plan.total <= ASKED:
        return [plan.tile_at(place) for place in range(plan.total)]
    places, start = [], 0
    for lod in plan.lods:
        places += [start + lod.planned // 2] if lod.planned else []
        start += lod.planned
    middle = [places[len(places) * at // MIDDLES] for at in range(min(MIDDLES, len(places)))]
    chosen = list(dict.fromkeys(plan.tile_at(place) for place in middle))
    # Weyl's sequence: evenly spread, in step with nothing.
    spread = (int(plan.total * (GOLDEN * at % 1.0)) for at in range(1, CANDIDATES + 1))
    left = dict.fromkeys(plan.tile_at(place) for place in dict.fromkeys(spread))
    met = Counter(stripe for tile in chosen for stripe in _stripes(tile))
    while left and len(chosen) < ASKED:
        best = max(left, key=lambda tile: sum(2.0 ** -met[stripe] for stripe in _stripes(tile)))
        del left[best]
        if best not in chosen:
            chosen.append(best)
            met.update(_stripes(best))
    return chosen


def _stripes(tile: Tile) -> list[tuple[int, int, int]]:
    """Those that a tile lies on: direction, period, place in the period."""
    _, row, col = tile
    ways = (row, col, row + col, row - col)
    return [(way, period, value % period) for way, value in enumerate(ways) for period in PERIODS]


async def found_there(
    job: Job,
    layer: Layer,
    tiles: Sequence[Tile],
    tally: Tally,
    *,
    new_pacer: Callable[[int], Pacer],
    stopped: Callable[[], StopReason | None],
) -> Tile | StopReason | None:
    """Ask tiles; gives one that is there if there are several that differ, or why too little was learned to say that
    none is. ``tally`` counts the requests."""
    bodies: dict[str, Tile] = {}
    meant_as_none = {digest.lower() for digest in job.placeholders}

    def saw(tile: Tile, verdict: Verdict) -> None:
        if verdict.outcome is Outcome.WHOLE:
            bodies.setdefault(xxh3_128_hexdigest(verdict.body), tile)

    few = Few(
        tiles, layer.source, new_pacer=new_pacer, connections=job.limits.concurrency, tries=1, tally=tally,
        clock=time.monotonic, saw=saw, stopped=stopped,
    )  # fmt: skip
    transport = transport_for(job, layer)
    try:
        await transport.drain(few.next_request, few.done)
    finally:
        await transport.close()
    there = [tile for digest, tile in bodies.items() if digest not in meant_as_none]
    return there[0] if len(there) >= BELIEVED else few.stop


async def take_back(ledger: Ledger, plan: Plan) -> None:
    """Every planned tile is pending again: none was stored."""
    for key, mask in plan.blocks():
        await ledger.record([BlockChange(key, State.PENDING, np.flatnonzero(mask.ravel()).tolist())], {})


def joined(before: Tally, after: Tally) -> Tally:
    """``after`` with the requests of ``before`` counted, too."""
    for name in ("requests", "tile_requests", "retries", "questions", "throttled", "bytes"):
        setattr(after, name, getattr(after, name) + getattr(before, name))
    return after
