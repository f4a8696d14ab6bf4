"""What a service serves for a few tiles that are asked to learn of its tilemap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
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

FAILING = ("source_failing", "gave_up")
"""Codes of a stop since nothing but failures came; where they are answers to denied tiles alone, only these may
fail."""

PATIENCE_SECONDS = 20.0
"""A host that gives nothing but failures is waited for so long, or for as long as the run would: a server starts anew
meanwhile."""

BUSY_SECONDS = 30.0
"""One that only refuses (429, 503), beside the pauses that it asks for: as long as a run waits for its last busy
tiles."""

BUSY_TIMES = 3
"""So often in all: what was not come to is asked once more, and others instead."""

TOLD_SECONDS = 1.0
"""Between two words of what is being asked."""


@dataclass(slots=True)
class Heard:
    """What came of tiles that were asked to learn of the tilemap."""

    there: dict[str, Tile] = field(default_factory=dict)
    """Tiles that are there, one for each body, by its digest; bodies that the job declares to mean none left out."""
    found: list[Tile] = field(default_factory=list)
    """All of these tiles."""
    answered: list[Tile] = field(default_factory=list)
    """These, and those that were said to be not there."""
    said: dict[Tile, str] = field(default_factory=dict)
    """How it was said of the latter, as a word."""
    failed: dict[Tile, str] = field(default_factory=dict)
    """Tiles of which nothing was learned after all tries, with what came last, as a ledger keeps it; empty where none
    was made."""
    trouble: str = ""
    """What came for one of these."""
    unended: list[Tile] = field(default_factory=list)
    """Those of them that would have been asked again, or at all."""
    stop: StopReason | None = None
    """Why it ended too early."""
    busy_seconds: float = 0.0
    """How long nothing but refusals came."""

    @property
    def is_long_busy(self) -> bool:
        """True when so many were refused for so long that no others are asked."""
        return self.busy_seconds >= BUSY_TIMES * BUSY_SECONDS

    @property
    def asked(self) -> int:
        """Tiles of which anything came."""
        return len(self.answered) + sum(1 for text in self.failed.values() if text)

    @property
    def is_wrong(self) -> bool:
        """True when several are there that differ."""
        return len(self.there) >= BELIEVED

    def and_then(self, more: Heard) -> Heard:
        """This, and what came of others that were asked after it."""
        return Heard(
            {**more.there, **self.there}, self.found + more.found, self.answered + more.answered,
            {**self.said, **more.said}, {**self.failed, **more.failed}, more.trouble or self.trouble,
            more.unended, more.stop or self.stop, self.busy_seconds + more.busy_seconds,
        )  # fmt: skip


async def hear_enough(
    ask: Callable[[Sequence[Tile]], Awaitable[Heard]],
    tiles: Sequence[Tile],
    spares: Sequence[Tile],
    enough: int,
    known: Sequence[Tile],
) -> Heard:
    """Ask these, and of the ``spares`` as many as answers are missing until there are ``enough``.

    Where a host gave nothing but failures, one of the tiles that answered before, or of those ``known`` to be there, is
    asked: if it answers, the host is well, and what it did not come to is asked once more; tiles that fail then, too,
    fail for their own sake (``stop`` is None).
    """
    heard = await ask(tiles)
    once_more = True
    while True:
        witness = [*heard.answered, *known][:1]
        if heard.stop is not None and heard.stop.code in FAILING and witness and (await ask(witness)).answered:
            heard.stop = None
            if once_more and heard.unended:
                once_more, left = False, {tile: heard.failed.pop(tile) for tile in heard.unended}
                more = await ask(list(left))
                more.failed = {tile: text or left[tile] for tile, text in more.failed.items()}
                heard = heard.and_then(more)
                continue
            heard.failed = {tile: text for tile, text in heard.failed.items() if text}  # the others were not asked
        missing = enough - len(heard.answered)
        is_enough = heard.is_wrong or not heard.answered or missing <= 0 or not spares
        if heard.stop is not None or is_enough or heard.is_long_busy:
            return heard
        heard, spares = heard.and_then(await ask(spares[:missing])), spares[missing:]


async def hear(
    job: Job,
    layer: Layer,
    tiles: Sequence[Tile],
    tally: Tally,
    *,
    stopped: Callable[[], StopReason | None],
    tell: Callable[[str], None],
) -> Heard:
    """Ask tiles, each as often as a run would. ``tally`` counts the requests, as questions; ``tell`` is told once a
    second what is waited for."""
    heard, limits = Heard(), job.limits
    learned = time.monotonic()
    meant_as_none = {digest.lower() for digest in job.placeholders}

    def saw(tile: Tile, verdict: Verdict) -> None:
        nonlocal learned
        if verdict.outcome not in (Outcome.WHOLE, Outcome.ABSENT):
            heard.failed[tile] = few.told
            heard.trouble = verdict.reason
            return
        learned = time.monotonic()
        heard.answered.append(tile)
        if verdict.outcome is Outcome.ABSENT:
            heard.said[tile] = verdict.reason
        else:
            digest = xxh3_128_hexdigest(verdict.body)
            if digest not in meant_as_none:
                heard.there.setdefault(digest, tile)
                heard.found.append(tile)

    def ended() -> StopReason | None:
        now = time.monotonic()
        if (reason := stopped()) is not None:
            return reason
        if limits.max_duration_seconds is not None and now - tally.started >= limits.max_duration_seconds:
            return StopReason.budget("--max-duration", f"{limits.max_duration_seconds:g} s")
        if now - learned >= limits.give_up_after_seconds:
            ever = tally.counts().stored > 0
            return StopReason.gave_up(now - learned, ever=ever, breaker_open=False, last=few.trouble)
        return None

    few = Few(
        tiles, layer.source, new_pacer=pacers_of(limits, time.monotonic()), connections=limits.concurrency,
        tries=limits.retries + 1, tally=tally, clock=time.monotonic, saw=saw, stopped=ended,
        patience=min(PATIENCE_SECONDS, limits.give_up_after_seconds),
        busy_patience=min(BUSY_SECONDS, limits.give_up_after_seconds),
    )  # fmt: skip

    def words() -> str:
        came = f", the last answer was {few.trouble}" if few.trouble else ""
        return f"asking tiles whether the tilemap is right: {len(heard.answered)} of {len(tiles)} answered{came}"

    transport = transport_for(job, layer)
    before = tally.tile_requests
    telling = asyncio.create_task(_tell(tell, words))
    try:
        await transport.drain(few.next_request, few.done)
        if telling.done():
            telling.result()
    finally:
        telling.cancel()
        tally.questions += tally.tile_requests - before
        await transport.close()
    heard.stop, heard.busy_seconds = few.stop, few.busy_seconds
    if few.left:
        heard.failed.update(few.unended)
        heard.unended = list(few.unended)
        heard.trouble = heard.trouble or few.trouble
    return heard


async def _tell(tell: Callable[[str], None], words: Callable[[], str]) -> None:
    while True:
        tell(words())
        await asyncio.sleep(TOLD_SECONDS)
