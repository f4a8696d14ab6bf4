"""What a service serves for a few tiles that are asked to learn of its tilemap."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from xxhash import xxh3_128_hexdigest

from harvester.assemble.paces import pacers_of
from harvester.assemble.sources import Layer, transport_for
from harvester.edges import Outcome, Verdict
from harvester.engine import StopReason, Tally
from harvester.engine.few import Few
from harvester.job import Job
from harvester.tiling.tile import Tile

BELIEVED = 2
"""Different bodies that must come: beyond their data, services give one picture ("no data here") for every tile, while
their tilemap says the truth."""


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
    job: Job, layer: Layer, tiles: Sequence[Tile], tally: Tally, *, stopped: Callable[[], StopReason | None]
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
        tiles, layer.source, new_pacer=pacers_of(job.limits, time.monotonic()), connections=job.limits.concurrency,
        tries=1, tally=tally, clock=time.monotonic, saw=saw, stopped=stopped,
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
