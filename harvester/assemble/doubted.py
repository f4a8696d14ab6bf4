"""May a run call complete what its service's tilemap denied? It is held against some of these tiles themselves; where
they are there, it is not believed, and all that it denied is asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest

from harvester.assemble.budgets import after, limits_left
from harvester.assemble.denied import (
    ASKED,
    absent_outside,
    absent_tiles,
    one_stored,
    some_denied,
    some_near,
    some_of,
)
from harvester.assemble.hearing import BELIEVED, FAILING, Heard, hear, hear_enough
from harvester.assemble.remember import absences
from harvester.assemble.sources import Layer
from harvester.edges import BlockChange, Ledger, LedgerFailure, State
from harvester.engine import Agreement, Outturn, StopReason, Tally
from harvester.engine.run import FAILURES_READ
from harvester.engine.stop import TILEMAP_UNPROVEN
from harvester.engine.tally import FAILURES_KEPT
from harvester.job import Job, Limits
from harvester.ledger_reader import DENIED, UNPROVEN
from harvester.planning import Plan
from harvester.tiling.tile import BlockKey, Tile, block_of

MOST_ASKED = 2 * ASKED
"""Where tiles that the tilemap knows of were answered 404: it errs in one way at least."""

SUSPECT_404 = 8
"""So many of these, and it is suspect."""

UNPROVEN_KEPT = 200
"""Plans of which a ledger remembers that; the oldest go first."""

FAILED_BEFORE = "failed_before"
"""Why a tile is failed that failed in an earlier run, and was not asked again since the host gave nothing."""

DISTRUSTED = "tilemap_distrusted"
"""The ledger's fact: a tile that is there although the tilemap denies it; later runs don't ask the tilemap."""


@dataclass(slots=True, kw_only=True)
class TilemapDoubt:
    """What one run of a plan believes of its service's tilemap.

    ``stopped`` gives a person's wish to end; ``tell`` says something to a person, now and in the report. ``agree``
    gives a new Agreement, not begun, and ``fetch`` goes on with the run within the limits given. ``asks`` is told once
    a second, while tiles are asked that may take back what has an end, what is waited for.
    """

    job: Job
    run: int
    """Its number in the ledger."""
    named: str
    """What the ledger calls this job."""
    layer: Layer
    plan: Plan
    ledger: Ledger
    stopped: Callable[[], StopReason | None]
    tell: Callable[[str], None]
    agree: Callable[[], Awaitable[Agreement]]
    fetch: Callable[[Agreement, Limits], Awaitable[Outturn]]
    asks: Callable[[Tally, str], None]
    was_unproven: bool = False
    """An earlier run, of this plan or another one, ended before what the tilemap denied was held against any tile; or
    this one asks for all, and some are absent by its word."""
    is_distrusted: bool = False
    """The tilemap was found to deny what is there."""
    heard: Heard = field(default_factory=Heard)
    """What came of the tiles that it was held against."""

    @property
    def is_asked(self) -> bool:
        """True when windows of the tilemap go before the tiles."""
        return self.job.tilemap and self.layer.source.info.tilemap and not self.is_distrusted

    async def recall(self) -> None:
        """What earlier runs found."""
        self.was_unproven = bool(await self.ledger.get_meta(UNPROVEN))
        if not self.job.tilemap:  # whoever leaves it out now does not take its word of before either
            known = await self.ledger.get_meta("absences") or {}
            self.was_unproven |= any("tilemap" in known.get(str(lod.level), ()) for lod in self.plan.lods)
        self.is_distrusted = bool(await self.ledger.get_meta(DISTRUSTED))

    async def begin(self) -> None:
        """From now on the tilemap is asked, if it is believed."""
        if self.is_asked:
            await self._note()

    async def settle(
        self, agreement: Agreement, outturn: Outturn, absent_before: Mapping[int, int]
    ) -> tuple[Agreement, Outturn]:
        """Hold what the tilemap denied against the tiles, after a run that nothing stopped. ``absent_before``: absent
        tiles by level when it began.

        Gives what was given, or how it ended instead: with what was denied asked, or pending again, since it isn't
        known; the next run asks then.
        """
        tally, limits = agreement.tally, self.job.limits
        tally.started = tally.started or time.monotonic()  # where nothing was left to fetch
        if self.is_asked:
            levels = denied_levels(tally, absent_before, tally.failed_before)
            if self.was_unproven:
                levels = list(tally.levels)
            there = await self._look(tally, levels)
            if there is None:
                await self._proven()
                stop = self.heard.stop or outturn.stop
                return agreement, replace(outturn, failures=await self._failures(), stop=stop)
            if isinstance(there, StopReason):
                await self._denied(tally, absent_before)
                again = await self._taken_back(agreement)
                tried = {
                    **outturn.tried,
                    **self.heard.said,
                    **{t: text for t, text in self.heard.failed.items() if text},
                }
                failures = await self._failures()
                return again, replace(outturn, tally=again.tally, stop=there, tried=tried, failures=failures)
            self.tell(
                f"the service's tilemap denies every tile, but {there} and others are there: all are asked"
                if was_denied(tally)
                else f"the service's tilemap denies tiles that are there ({there}): all that it denied are asked"
            )
            self.is_distrusted = True
            await self.ledger.set_meta({DISTRUSTED: str(there)})
        elif not self.was_unproven:
            return agreement, outturn
        elif not tally.counts().absent:
            await self._proven()
            return agreement, outturn
        left = limits_left(limits, tally, time.monotonic() - tally.started)
        again = await self._taken_back(agreement)
        await self._proven()  # by nobody's word now; a kill before this has it all taken back once more
        if isinstance(left, StopReason):
            return again, replace(outturn, tally=again.tally, stop=left)
        return again, after(outturn, await self.fetch(again, left), limits)

    async def _taken_back(self, agreement: Agreement) -> Agreement:
        """All is pending again, and what was asked stays counted."""
        plan, ledger = self.plan, self.ledger
        await take_back(ledger, plan)
        known, levels = await ledger.get_meta("absences") or {}, {str(lod.level) for lod in plan.lods}
        await ledger.set_meta({"absences": {level: ways for level, ways in known.items() if level not in levels}})
        again = await self.agree()
        joined(agreement.tally, await again.begin(plan.blocks()))
        return again

    async def _failures(self) -> tuple[LedgerFailure, ...]:
        found = [one for one in await self.ledger.failures(FAILURES_READ) if self.plan.contains(one.tile)]
        return tuple(found[:FAILURES_KEPT])

    async def _note(self) -> None:
        known = [name for name in await self.ledger.get_meta(UNPROVEN) or () if name != self.plan.fingerprint]
        await self.ledger.set_meta({UNPROVEN: [*known, self.plan.fingerprint][-UNPROVEN_KEPT:]})

    async def _denied(self, tally: Tally, before: Mapping[int, int]) -> None:
        """Keep for a person what was denied, and what came of the tiles that were asked."""
        known, levels = await self.ledger.get_meta(DENIED) or {}, {str(lod.level) for lod in self.plan.lods}
        ways = absences(tally, before, await self.ledger.get_meta("absences"))
        known.pop(self.named, None)
        known[self.named] = {
            "run": self.run, "asked": self.heard.asked, "answered": len(self.heard.answered),
            "trouble": self.heard.trouble, "absences": {level: ways[level] for level in levels & ways.keys()},
        }  # fmt: skip
        await self.ledger.set_meta({DENIED: dict(list(known.items())[-UNPROVEN_KEPT:])})

    async def _proven(self) -> None:
        """No planned tile is absent by a word that was not held against any; and none at all, where this plan holds
        every absent tile."""
        known = [name for name in await self.ledger.get_meta(UNPROVEN) or () if name != self.plan.fingerprint]
        if known and await absent_outside(self.ledger, self.plan) == 0:
            known = []
        denied = await self.ledger.get_meta(DENIED) or {}
        denied = {name: what for name, what in denied.items() if known and name != self.named}
        await self.ledger.set_meta({UNPROVEN: known, DENIED: denied or None})

    async def _look(self, tally: Tally, levels: Collection[int]) -> Tile | StopReason | None:
        """Ask some of the tiles that are absent in these LODs; gives one that is there if the tilemap is not to be
        believed, or why it isn't known. ``tally`` counts the requests, and knows what was answered so far."""
        known = await one_stored(self.ledger, self.plan)
        if was_denied(tally):
            number, total = min(ASKED, self.plan.total), self.plan.total
            some = some_of(self.plan, 2 * number)
            self.heard = heard = await self._hear(some[:number], some[number:], number, known, tally)
            if heard.is_wrong:
                return next(iter(heard.there.values()))
        else:
            most = MOST_ASKED if tally.answered_404 >= SUSPECT_404 else ASKED
            again, others, total = await some_denied(self.ledger, self.plan, levels, 2 * most, tally.failed_before)
            number = min(most, len(others))
            tiles = [tile for pair in zip_longest(others[:number], again) for tile in pair if tile is not None]
            heard = await self._hear(tiles, others[number:], number, known, tally)
            if len(heard.found) == 1 and heard.stop is None:
                near = await some_near(self.ledger, self.plan, heard.found[0], [*again, *others])
                heard = heard.and_then(await self._hear(near, (), len(near), known, tally))
            self.heard = heard
            # One picture, and again and again that one, may stand for none; one alone does not.
            if heard.is_wrong or len(heard.found) == 1:
                return heard.found[0]
            if not others:  # no more is denied than what was believed before: those of a run that failed fail again
                silent = [tile for tile in again if tile not in heard.answered]
                await self._fail(tally, {tile: heard.failed.get(tile) or FAILED_BEFORE for tile in silent})
                heard.stop = None if heard.stop is None or heard.stop.code in FAILING else heard.stop
                return None
        if heard.stop is not None:
            return heard.stop if heard.stop.code not in FAILING or not known else unheard(heard)
        answered, failed = len(heard.answered), len(heard.failed)
        if not failed:
            return None
        # A failure says neither that a tile is there nor that it is not. Those of a few count each for itself.
        is_each = answered + failed >= total and bool(answered or known)
        if not is_each and (answered < BELIEVED or 2 * answered < number):
            return unheard(heard)
        await self._fail(tally, heard.failed)
        return None

    async def _fail(self, tally: Tally, failed: Mapping[Tile, str]) -> None:
        """Absent tiles that were asked and can't be had."""
        blocks: dict[BlockKey, dict[int, str]] = {}
        for tile, text in failed.items():
            key = block_of(tile)
            blocks.setdefault(key, {})[key.position(tile)] = text
            tally.levels[tile.level][State.ABSENT] -= 1
            tally.levels[tile.level][State.FAILED] += 1
        changes = [BlockChange(key, State.FAILED, list(texts), texts) for key, texts in blocks.items()]
        await self.ledger.record(changes, {})

    async def _hear(
        self, tiles: Sequence[Tile], spares: Sequence[Tile], enough: int, known: Sequence[Tile], tally: Tally
    ) -> Heard:
        async def ask(some: Sequence[Tile]) -> Heard:
            tell = partial(self.asks, tally)
            return await hear(self.job, self.layer, some, tally, stopped=self.stopped, tell=tell)

        return await hear_enough(ask, tiles, spares, enough, known)


def unheard(heard: Heard) -> StopReason:
    """Too little is known of tiles that the tilemap denies."""
    return StopReason(
        code=TILEMAP_UNPROVEN,
        message="the service's tilemap denies tiles, and whether that is so is not known: only "
        f"{len(heard.answered):,} of {heard.asked:,} that were asked gave an answer that says it "
        f"({heard.trouble})",
        hint="Run the same command again: it asks them again. Where they fail each time, --tilemap off asks for all "
        "tiles and lists those that fail.",
        exit_code=1,
    )


def was_denied(tally: Tally) -> bool:
    """Did every planned tile end as absent, some of them without having been asked themselves?"""
    counts = tally.counts()
    return counts.planned > 0 and counts.absent == counts.planned and sum(tally.absences.values()) < counts.planned


def denied_levels(tally: Tally, before: Mapping[int, int], again: Collection[Tile] = ()) -> list[int]:
    """LODs of which more tiles became absent in this run than answers to tiles said, and than had failed when they were
    asked for themselves (``again``). ``before``: absent tiles by level when it began."""
    asked: Counter[int] = Counter()
    for (level, _), number in tally.absences.items():
        asked[level] += number
    known = Counter(tile.level for tile in again)
    return [
        level
        for level, states in tally.levels.items()
        if states[State.ABSENT] - before.get(level, 0) > (asked[level] or known[level])
    ]


async def take_back(ledger: Ledger, plan: Plan) -> None:
    """Every planned tile that is absent is pending again, whoever said so."""
    async for key, absent in absent_tiles(ledger, plan):
        await ledger.record([BlockChange(key, State.PENDING, absent.tolist())], {})


def joined(before: Tally, after: Tally) -> Tally:
    """``after`` with the requests of ``before`` counted, too, and what that one fetched as fetched by the same run."""
    for name in ("requests", "tile_requests", "retries", "questions", "throttled", "bytes", "fetched"):
        setattr(after, name, getattr(after, name) + getattr(before, name))
    after.kept -= before.fetched
    after.odd_types += before.odd_types
    return after
