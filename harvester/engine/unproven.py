"""Which answers a refusal puts in doubt though nothing shows it in them, remembered until they are looked back at.

A host that is too busy (429, 503), or a session that dies (401, 498, 499), may answer with stand-ins for a while before
it says so. What was stored before the refusal is looked back at when the trouble is over (``LookBack``): in this run,
or, where it does not end in it, at the start of the next one, for which the ledger keeps the list.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harvester.edges import Ledger, State
from harvester.engine.doubt import REMEMBERED, Doubt, Ended
from harvester.engine.lookback import LookBack, Past
from harvester.engine.tally import Tally
from harvester.engine.writer import Batch
from harvester.tiling.tile import BlockKey, Tile, block_of
from harvester.wording import counted

if TYPE_CHECKING:
    from harvester.edges import States

CALM_SECONDS = 5.0
"""A host is well again once it refused nothing for so long."""

SPACING = REMEMBERED
"""Tiles between two looks back at a host that is busy now and then: some forty questions for each 8,192 tiles."""

KEPT = "unproven"
"""The ledger's fact: ``tiles``, a list of [level, row, column, state, digest], oldest first, and ``marks``, how many of
them had come at refusals."""


OF_EARLIER_RUN = -1
"""The credential of answers that are not this run's."""


class Unproven:
    """``wanted``: something was refused since the last look back."""

    def __init__(self, doubt: Doubt, ledger: Ledger, tally: Tally, *, guarded: bool) -> None:
        self.wanted = False
        self._doubt = doubt
        self._ledger = ledger
        self._tally = tally
        self._guarded = guarded
        self._refusals = doubt.refusals
        self._written: deque[tuple[Tile, int]] = deque(maxlen=REMEMBERED)
        """Of a source without credentials, whose answers ``doubt`` doesn't watch."""
        self._earlier: list[Ended] = []
        """Of this run or an earlier one, looked back at in vain."""
        self._marks: list[int] = []
        """How many of these had come at refusals."""
        self._others: list[Any] = []
        """Rows of the ledger's list that are of other plans."""
        self._kept: dict[str, list[Any]] = {"tiles": [], "marks": []}
        self._settled = 0.0
        self._came = 0
        """Of all that was written since the run began."""
        self._wanted_from = self._next = 0
        self._again = 0
        self._beyond = self._restless = self._beyond_step = False
        self._out_of_step = 0

    def __repr__(self) -> str:
        return f"Unproven(wanted={self.wanted}, earlier={len(self._earlier)})"

    # ------------------------------------------------------------------------------------------ what came

    def saw(self, batch: Batch) -> None:
        """A batch was recorded."""
        if not self._guarded:
            self._came += len(batch.stored)
            self._written.extend(
                [(stored.tile, digest) for stored, digest in zip(batch.stored, batch.digests, strict=True)]
            )

    def is_refused(self) -> bool:
        """Looked at now and then: True when something was refused for the first time since the last look back."""
        if self.wanted or not self._refusals.number:
            return False
        self.wanted = True
        self._wanted_from = self._tally.ended
        return True

    def is_due(self, now: float) -> bool:
        """True when the host has been well for some time, or before what came until then is forgotten."""
        ended = self._tally.ended
        is_calm = now - self._refusals.last[0] >= CALM_SECONDS or ended - self._wanted_from >= REMEMBERED // 2
        return self.wanted and is_calm and ended >= self._next

    def past(self) -> Past:
        """What is to be looked back at, in the order in which it came, each tile once."""
        refusals = self._refusals
        watched = [Ended(0, tile, State.STORED, 0.0, 0.0, digest) for tile, digest in self._written]
        if self._guarded:
            watched = [one for one in self._doubt.recent if one.ended > self._settled and _can_be_asked(one)]
            before = [sum(one.ended <= now for one in watched) for now, _ in (refusals.first, refusals.last)]
        else:
            before = [came - self._came + len(watched) for _, came in (refusals.first, refusals.last)]
        new = {one.tile for one in watched}
        earlier, old = _without(self._earlier, self._marks, new)
        found = list({one.tile: one for one in watched}.values())
        marks = [len(earlier) + min(max(at, 0), len(found)) for at in before] if refusals.number else []
        cut = max(0, len(earlier) + len(found) - REMEMBERED)
        return Past((earlier + found)[cut:], [max(0, at - cut) for at in (*old, *marks)])

    async def standing(self) -> Past:
        """The same without what was taken back meanwhile for another reason; call when all is recorded."""
        past = self.past()
        return Past(*_without(past.ended, past.marks, await self._gone(past.ended)))

    async def all_that_came(self, now: float) -> list[Ended]:
        """The last answers of this run, each tile once, whose tiles are still in the state in which they ended: all are
        in doubt, and asked again. Call when all is recorded."""
        came = [Ended(0, tile, State.STORED, 0.0, 0.0, digest) for tile, digest in self._written]
        came += [one for one in self._doubt.recent if one.state is not State.PENDING and not one.indexes]
        found = list({one.tile: one for one in came}.values())
        gone = await self._gone(found)
        doubtful = [one for one in found if one.tile not in gone]
        self._out_of_step += len(doubtful)
        self._beyond_step = self._beyond_step or self._tally.ended > REMEMBERED
        self._written.clear()
        self._settled = now
        return doubtful

    async def _gone(self, ended: Sequence[Ended]) -> set[Tile]:
        """Tiles that are no longer in the state in which they ended."""
        keys = list(dict.fromkeys(block_of(one.tile) for one in ended))
        states = dict(zip(keys, await self._ledger.states(keys), strict=True))
        return {one.tile for one in ended if _state(states, one.tile) != one.state}

    # ------------------------------------------------------------------------------------------ what it showed

    def settle(self, now: float, look: LookBack, past: Past) -> list[Ended]:
        """A look back came to its end; gives what is to be taken out of the cache and fetched again."""
        doubtful = look.doubtful()
        left = _without(past.ended, past.marks, {one.tile for one in doubtful})
        self._earlier, self._marks = left if look.is_open else ([], [])
        self._restless = look.is_restless
        self._again += len(doubtful)
        self._beyond = self._beyond or (look.begins_before and len(past.ended) == REMEMBERED)
        self.wanted = False
        self._settled = now
        self._refusals.forget()
        self._written.clear()
        self._next = self._tally.ended + SPACING
        return doubtful

    def notices(self, *, complete: bool) -> tuple[str, ...]:
        """What a person should know of it. ``complete``: no further run will ask for a tile."""
        found = []
        if self._out_of_step:
            found.append(
                "a connection brought an answer that nobody had asked for, so each may have brought another tile's: "
                f"{counted(self._out_of_step, 'tile')} fetched again{'' if complete else ', by this or the next run'}"
            )
        if self._beyond_step:
            found.append(
                f"what came before the last {REMEMBERED:,} answers then may be other tiles', and was not asked for "
                "again: --mode overwrite harvests it anew"
            )
        if self._again:
            found.append(
                f"{counted(self._again, 'tile')} that came shortly before the source refused were in doubt, since some "
                "of them come otherwise now: fetched again"
            )
        if self._beyond:
            found.append(
                f"what came before the last {REMEMBERED:,} tiles when the source refused may hold stand-ins, too, and "
                "was not looked at again: --mode overwrite harvests it anew"
            )
        if self._earlier:
            tiles = counted(len(self._earlier), "tile")
            came = "came shortly before the source refused, and may be stand-ins"
            if self._restless:
                found.append(f"{tiles} {came}; nothing tells, since the source answers each time differently")
            elif complete:
                found.append(f"{tiles} {came}; it did not answer when they were asked again")
            else:
                found.append(f"{tiles} {came}: the next run holds them against what it answers then")
        return tuple(found)

    # ------------------------------------------------------------------------------------------ from run to run

    async def keep(self) -> None:
        """Leave in the ledger what is to be looked back at, durably."""
        past = self.past() if self.wanted else Past(self._earlier, self._marks)
        rows: list[Any] = [*self._others, *([*one.tile, int(one.state), one.digest] for one in past.ended)]
        kept = {"tiles": rows, "marks": [len(self._others) + at for at in past.marks]}
        if rows or self._kept["tiles"]:
            await self._ledger.set_meta({KEPT: kept})
            self._kept = kept

    async def end(self) -> None:
        """The run ends: what was wanted and not done is the next one's."""
        self.is_refused()
        if self.wanted:
            past = self.past()
            self._earlier, self._marks = list(past.ended), list(past.marks)
            self.wanted = self._restless = False
        await self.keep()

    async def load(self, planned: Callable[[Tile], bool]) -> bool:
        """What an earlier run left, as far as it is of this plan and still in its state; True where there is any."""
        self._kept = await self._ledger.get_meta(KEPT) or self._kept
        found: list[Ended] = []
        for row in self._kept["tiles"]:
            one = _read(row)
            if one is not None and planned(one.tile):
                found.append(one)
            elif one is not None:
                self._others.append(row)
        marks = [at - len(self._others) for at in self._kept["marks"]]
        self._earlier, self._marks = _without(found, [at for at in marks if at >= 0], await self._gone(found))
        return bool(self._earlier)


def _without(ended: Sequence[Ended], marks: Sequence[int], out: Collection[Tile]) -> tuple[list[Ended], list[int]]:
    """The answers but for those of some tiles, and where the marks are then."""
    left = [one for one in ended if one.tile not in out]
    return left, [sum(one.tile not in out for one in ended[:at]) for at in marks]


def _state(states: Mapping[BlockKey, States], tile: Tile) -> int:
    key = block_of(tile)
    return int(states[key].ravel()[key.position(tile)])


def _can_be_asked(ended: Ended) -> bool:
    if ended.state is State.PENDING:
        return False  # it was taken out already
    return ended.digest is not None or (ended.state is State.ABSENT and not ended.indexes)


def _read(row: Any) -> Ended | None:
    """A row of the ledger's list; None for anything else."""
    try:
        level, at, col, state, digest = row
        return Ended(OF_EARLIER_RUN, Tile(level, at, col), State(state), 0.0, 0.0, digest)
    except (ValueError, TypeError):
        return None
