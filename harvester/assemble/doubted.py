"""What a tilemap denied, held against some of these tiles themselves before a run may call its cache complete: where
they are there, the tilemap is not believed, and all that it denied is asked."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from harvester.assemble.denied import (
    ASKED,
    GOLDEN,
    Heard,
    absent_tiles,
    hear,
    some_of,
    stripes,
    was_denied,
)
from harvester.assemble.paces import pacers_of
from harvester.assemble.sources import Layer
from harvester.edges import Ledger, State
from harvester.engine import Outturn, StopReason, Tally
from harvester.job import Job, Limits
from harvester.ledger_reader import UNPROVEN
from harvester.planning import Plan
from harvester.tiling.tile import BlockKey, Tile, block_of

MOST_ASKED = 2 * ASKED
"""Where tiles that the tilemap knows of were answered 404: it errs in one way at least."""

SUSPECT_404 = 8
"""So many of these, and it is suspect."""

NEAR = 16
"""Tiles that are asked around the only one that was there: of a bundle that was lost, one of many windows, the others
are there, too; of one odd picture, none is."""

OF_A_BLOCK = 32
"""Denied tiles of one block (one window) that are chosen from."""

CANDIDATES = 256
"""Of one LOD."""

UNPROVEN_KEPT = 200
"""Plans of which a ledger remembers that; the oldest go first."""

PAUSE = "retry_after"
"""The code of a stop since the host asked for a pause that no run waits for."""


@dataclass(slots=True)
class Sample:
    """Tiles of one LOD to choose from, a list for each block: of every ``step``-th one that denies any."""

    step: int = 1
    seen: int = 0
    tiles: int = 0
    """All that are absent."""
    blocks: list[list[Tile]] = field(default_factory=list)

    def add(self, key: BlockKey, absent: np.ndarray) -> None:
        """The next block."""
        self.seen += 1
        self.tiles += absent.size
        if (self.seen - 1) % self.step:
            return
        self.blocks.append([key.tile(position) for position in spread(absent, OF_A_BLOCK)])
        while len(self.blocks) > CANDIDATES:
            self.blocks = self.blocks[::2]
            self.step *= 2

    def candidates(self) -> dict[Tile, None]:
        """At most so many, of as many blocks as there are."""
        ordered = (block[at] for at in range(OF_A_BLOCK) for block in self.blocks if at < len(block))
        return dict.fromkeys(tile for _, tile in zip(range(CANDIDATES), ordered, strict=False))


def spread(positions: np.ndarray, number: int) -> list[int]:
    """So many of these, by Weyl's sequence: evenly spread, in step with nothing."""
    if positions.size <= number:
        found: list[int] = positions.tolist()
        return found
    places = dict.fromkeys(int(positions.size * (GOLDEN * at % 1.0)) for at in range(1, number + 1))
    return [int(positions[place]) for place in places]


async def some_denied(ledger: Ledger, plan: Plan, levels: Collection[int], most: int) -> list[Tile]:
    """A few absent tiles of these LODs: of each LOD one at least, the more the more it has, of as many windows as there
    are, on as many rows, columns and diagonals as may be."""
    samples = {level: Sample() for level in levels}
    async for key, absent in absent_tiles(ledger, plan):
        if key.level in samples:
            samples[key.level].add(key, absent)
    left = {level: sample.candidates() for level, sample in samples.items() if sample.tiles}
    chosen: list[Tile] = []
    met: Counter[tuple[int, int, int]] = Counter()
    taken: Counter[int] = Counter()

    def need(level: int) -> tuple[bool, float]:
        return not taken[level], math.sqrt(samples[level].tiles) / (taken[level] + 1)

    while len(chosen) < most and (open_levels := [level for level in left if left[level]]):
        level = max(open_levels, key=need)
        best = max(left[level], key=lambda tile: sum(2.0 ** -met[stripe] for stripe in stripes(tile)))
        del left[level][best]
        taken[level] += 1
        chosen.append(best)
        met.update(stripes(best))
    return chosen


@dataclass(slots=True, kw_only=True)
class TilemapDoubt:
    """What one run of a plan believes of its service's tilemap. ``stopped`` gives a person's wish to end."""

    job: Job
    layer: Layer
    plan: Plan
    ledger: Ledger
    stopped: Callable[[], StopReason | None]

    async def is_unproven(self) -> bool:
        """Did an earlier run of this plan end before what the tilemap denied was held against any tile?"""
        return self.plan.fingerprint in (await self.ledger.get_meta(UNPROVEN) or ())

    async def begins(self) -> None:
        """From now on the tilemap is asked."""
        await self._note(unproven=True)

    async def _note(self, *, unproven: bool) -> None:
        known = [name for name in await self.ledger.get_meta(UNPROVEN) or () if name != self.plan.fingerprint]
        await self.ledger.set_meta({UNPROVEN: [*known, self.plan.fingerprint][-UNPROVEN_KEPT:] if unproven else known})

    async def look(self, tally: Tally, levels: Collection[int]) -> Tile | StopReason | None:
        """Ask some of the tiles that are absent in these LODs; gives one that is there if the tilemap is not to be
        believed, or why it isn't known. ``tally`` counts the requests, and knows what was answered so far."""
        if was_denied(tally):
            heard = await self._hear(some_of(self.plan), tally)
            if heard.is_wrong or heard.stop is not None:
                return next(iter(heard.there.values())) if heard.is_wrong else heard.stop
        else:
            most = MOST_ASKED if tally.answered_404 >= SUSPECT_404 else ASKED
            tiles = await some_denied(self.ledger, self.plan, levels, most)
            heard = await self._hear(tiles, tally)
            if len(heard.found) == 1 and heard.stop is None:
                heard = heard.and_then(await self._hear(await self._near(heard.found[0], tiles), tally))
            # One picture, and again and again that one, may stand for none; one alone does not.
            if heard.is_wrong or len(heard.found) == 1:
                return heard.found[0]
            # That tiles which are not there are answered by failures is no word against a tilemap that says so, too.
            if heard.stop is not None and (heard.stop.by_person or heard.stop.code == PAUSE):
                return heard.stop
            if tiles and not heard.answered:
                return None  # refused: the next run asks again
        await self._note(unproven=False)
        return None

    async def _near(self, there: Tile, asked: Collection[Tile]) -> list[Tile]:
        """Absent tiles of its block around one that is there."""
        key = block_of(there)
        (states,) = await self.ledger.states([key])
        tiles = [key.tile(position) for position in np.flatnonzero(states.ravel() == State.ABSENT).tolist()]
        tiles.sort(key=lambda tile: max(abs(tile.row - there.row), abs(tile.col - there.col)))
        return [tile for tile in tiles if tile not in asked and self.plan.contains(tile)][:NEAR]

    async def _hear(self, tiles: list[Tile], tally: Tally) -> Heard:
        new_pacer = pacers_of(self.job.limits, time.monotonic())
        return await hear(self.job, self.layer, tiles, tally, new_pacer=new_pacer, stopped=self.stopped)


def denied_levels(tally: Tally, before: Mapping[int, int]) -> list[int]:
    """LODs of which more tiles became absent in this run than answers to tiles said. ``before``: absent tiles by
    level when it began."""
    asked: Counter[int] = Counter()
    for (level, _), number in tally.absences.items():
        asked[level] += number
    return [
        level for level, states in tally.levels.items() if states[State.ABSENT] - before.get(level, 0) > asked[level]
    ]


def limits_left(limits: Limits, tally: Tally, seconds: float) -> Limits | StopReason:
    """What is left of a job's budgets after a part of its run that took ``seconds``, or which one is used up."""
    tiles, most_bytes, duration = limits.max_tiles, limits.max_bytes, limits.max_duration_seconds
    if tiles is not None and tiles <= tally.fetched:
        return StopReason.budget("--max-tiles", str(tiles))
    if most_bytes is not None and most_bytes <= tally.bytes:
        return StopReason.budget("--max-bytes", str(most_bytes))
    if duration is not None and duration <= seconds:
        return StopReason.budget("--max-duration", f"{duration:g} s")
    return replace(
        limits,
        max_tiles=None if tiles is None else tiles - tally.fetched,
        max_bytes=None if most_bytes is None else most_bytes - tally.bytes,
        max_duration_seconds=None if duration is None else duration - seconds,
    )


def after(first: Outturn, then: Outturn, limits: Limits) -> Outturn:
    """How a run in two parts ended: as its second part, with what the first one had to tell. ``limits``: of both."""
    stop = then.stop
    if stop is not None and stop.code == "budget":
        duration = f"{limits.max_duration_seconds or 0:g} s"
        for option, value in (
            ("--max-tiles", str(limits.max_tiles)), ("--max-bytes", str(limits.max_bytes)), ("--max-duration", duration)
        ):  # fmt: skip
            if option in stop.message:
                stop = StopReason.budget(option, value)
    known = {repeat.hash for repeat in then.repeats}
    return replace(
        then,
        stop=stop,
        repeats=(*(repeat for repeat in first.repeats if repeat.hash not in known), *then.repeats),
        notices=tuple(dict.fromkeys((*first.notices, *then.notices))),
    )
