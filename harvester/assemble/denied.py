"""A tilemap that denies every tile of a plan, held against a few tiles themselves: where they are there, it is not
believed, and all are asked."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from xxhash import xxh3_128_hexdigest

from harvester.assemble.sources import Layer, transport_for
from harvester.edges import BlockChange, Ledger, Outcome, State, Verdict
from harvester.engine import StopReason, Tally
from harvester.engine.few import Few
from harvester.job import Job
from harvester.pacing import Pacer
from harvester.planning import Plan
from harvester.tiling.tile import BlockKey, Tile

ASKED = 32
"""Tiles that are asked themselves: what an empty plan costs at most, and enough to come upon two of a town, or of every
eighth column."""

MIDDLES = 4
"""Of these, in the middle of a LOD."""

PERIODS = range(2, 9)
"""Of stripes, tile for tile, that a tilemap in disorder may deny although they are there."""

CANDIDATES = 512
"""Tiles that are chosen from."""

CHUNK_BLOCKS = 256
"""Blocks of the ledger that are read at once."""

GOLDEN = (math.sqrt(5) - 1) / 2

BELIEVED = 2
"""Different bodies that must come: beyond their data, services give one picture ("no data here") for every tile, while
their tilemap says the truth."""

DISTRUSTED = "tilemap_distrusted"
"""The ledger's fact: a tile that is there although the tilemap denies it; later runs don't ask the tilemap."""


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
    met = Counter(stripe for tile in chosen for stripe in stripes(tile))
    while left and len(chosen) < ASKED:
        best = max(left, key=lambda tile: sum(2.0 ** -met[stripe] for stripe in stripes(tile)))
        del left[best]
        if best not in chosen:
            chosen.append(best)
            met.update(stripes(best))
    return chosen


def stripes(tile: Tile) -> list[tuple[int, int, int]]:
    """Those that a tile lies on: direction, period, place in the period."""
    _, row, col = tile
    ways = (row, col, row + col, row - col)
    return [(way, period, value % period) for way, value in enumerate(ways) for period in PERIODS]


@dataclass(slots=True)
class Heard:
    """What came of tiles that were asked to learn of the tilemap."""

    there: dict[str, Tile] = field(default_factory=dict)
    """Tiles that are there, one for each body, by its digest; bodies that the job declares to mean none left out."""
    found: list[Tile] = field(default_factory=list)
    """All of these tiles."""
    answered: int = 0
    """Tiles of which something was learned: served, not there, or wrong; none that was refused or too early."""
    stop: StopReason | None = None
    """Why it ended too early."""

    @property
    def is_wrong(self) -> bool:
        """True when several are there that differ."""
        return len(self.there) >= BELIEVED

    def and_then(self, more: Heard) -> Heard:
        """This, and what came of others that were asked after it."""
        return Heard(
            {**more.there, **self.there}, self.found + more.found, self.answered + more.answered, more.stop or self.stop
        )


async def hear(
    job: Job,
    layer: Layer,
    tiles: Sequence[Tile],
    tally: Tally,
    *,
    new_pacer: Callable[[int], Pacer],
    stopped: Callable[[], StopReason | None],
) -> Heard:
    """Ask tiles. ``tally`` counts the requests, as questions."""
    heard = Heard()
    meant_as_none = {digest.lower() for digest in job.placeholders}

    def saw(tile: Tile, verdict: Verdict) -> None:
        heard.answered += verdict.outcome not in (Outcome.DENIED, Outcome.THROTTLED)
        if verdict.outcome is Outcome.WHOLE:
            digest = xxh3_128_hexdigest(verdict.body)
            if digest not in meant_as_none:
                heard.there.setdefault(digest, tile)
                heard.found.append(tile)

    few = Few(
        tiles, layer.source, new_pacer=new_pacer, connections=job.limits.concurrency, tries=1, tally=tally,
        clock=time.monotonic, saw=saw, stopped=stopped,
    )  # fmt: skip
    transport = transport_for(job, layer)
    before = tally.tile_requests
    try:
        await transport.drain(few.next_request, few.done)
    finally:
        tally.questions += tally.tile_requests - before
        await transport.close()
    heard.stop = few.stop
    return heard


async def take_back(ledger: Ledger, plan: Plan) -> None:
    """Every planned tile that is absent is pending again, whoever said so."""
    async for key, absent in absent_tiles(ledger, plan):
        await ledger.record([BlockChange(key, State.PENDING, absent.tolist())], {})


async def absent_tiles(ledger: Ledger, plan: Plan) -> AsyncIterator[tuple[BlockKey, np.ndarray]]:
    """Positions of planned tiles that are absent, by block."""
    blocks = plan.blocks()
    while chunk := list(islice(blocks, CHUNK_BLOCKS)):
        for (key, mask), states in zip(chunk, await ledger.states([key for key, _ in chunk]), strict=True):
            positions = np.flatnonzero((mask & (states == State.ABSENT)).ravel())
            if positions.size:
                yield key, positions


def joined(before: Tally, after: Tally) -> Tally:
    """``after`` with the requests of ``before`` counted, too, and what that one fetched as fetched by the same run."""
    for name in ("requests", "tile_requests", "retries", "questions", "throttled", "bytes", "fetched"):
        setattr(after, name, getattr(after, name) + getattr(before, name))
    after.kept -= before.fetched
    after.odd_types += before.odd_types
    return after
