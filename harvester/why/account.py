"""Everything that is known of one tile, and in words why it is or isn't in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harvester.edges import State
from harvester.plan_record import Planner
from harvester.tiling.scheme import Box, Lod
from harvester.tiling.tile import Tile
from harvester.wording import counted, with_detail

WAYS = {
    "http_404": "a 404",
    "http_204": "a 204",
    "blank_tile": "the header blank-tile",
    "placeholder": "a declared placeholder",
    "tilemap": "the tilemap",
}
"""How a source says that there is no such tile, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The tile in the cache. ``trouble`` says what is wrong with its bytes; ``address`` is the cache's own."""

    where: Path
    address: Tile
    bytes: int
    kind: str
    width: int | None
    height: int | None
    trouble: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplanned:
    """Why no policy means the tile, and what is planned: at its LOD (rows and columns, inclusive) and in its place."""

    because: str
    bounds: tuple[int, int, int, int] | None
    tiles: int
    levels: tuple[int, ...]
    nearby: tuple[tuple[Tile, State], ...]
    """The planned tiles of other LODs over the middle of this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """The tilemap's word of pending tiles that couldn't be told true or untrue: in run ``run`` so many of them were
    asked, so many answered, and ``trouble`` is what came of another. ``absent_by`` as in Account."""

    run: int
    asked: int
    answered: int
    trouble: str
    absent_by: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Everything that is known of one tile."""

    output: Path
    tile: Tile
    lod: Lod
    box: Box
    degrees: bool
    """Whether the numbers of ``box`` are degrees."""
    state: State
    reason: str | None
    """Of a failed tile a stable word; of a pending one that was asked the same."""
    detail: str
    """What came then, for a person."""
    tried_in: int | None
    """The run in which a pending tile was asked last, as far as that is on record."""
    untried: bool
    """Whether the record holds that no run asked a pending tile: every run since has ended in order, and told all."""
    planned_by: tuple[Planner, ...]
    url: str | None
    tries: int | None
    """Tries that the failed tile was allowed."""
    failed_in: int | None
    """The run that it failed in."""
    fetching_runs: tuple[int, ...] | None
    """Runs that fetched tiles since it was planned; None without a ledger."""
    absent_by: Mapping[str, int]
    """Tiles of its LOD that were found absent, by the way in which the source said it."""
    denied: Denial | None
    """What is known of a pending tile that the tilemap denied, or another answer."""
    unproven: bool
    """Whether an absent tile may be so by a tilemap that was not held against any tile yet."""
    held: Held | None
    unplanned: Unplanned | None
    has_ledger: bool

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``why --json``."""
        held, unplanned = self.held, self.unplanned
        return {
            "output": str(self.output),
            **self.tile._asdict(),
            "scale": self.lod.scale,
            "box": list(self.box),
            "state": self.state.name.lower(),
            "reason": self.reason,
            "detail": self.detail,
            "explanation": explanation(self),
            "planned_by": [
                {
                    "policy": planner.number, "policies": planner.of, "words": planner.words, "job": planner.job,
                    "first_run": planner.first_run, "last_run": planner.last_run, "certain": planner.certain,
                    "in_shard": planner.in_shard, "shard": planner.shard and list(planner.shard),
                }
                for planner in self.planned_by
            ],
            "asked": self.url,
            "tries_allowed": self.tries,
            "failed_in_run": self.failed_in,
            "tried_in_run": self.tried_in,
            "fetching_runs": None if self.fetching_runs is None else list(self.fetching_runs),
            "absent_by": dict(self.absent_by) or None,
            "denied": None if (denied := self.denied) is None else {
                "run": denied.run, "asked": denied.asked, "answered": denied.answered, "trouble": denied.trouble,
                "absent_by": dict(denied.absent_by),
            },
            "unproven": self.unproven,
            "cache": None if held is None else {
                "file": str(held.where), **held.address._asdict(), "bytes": held.bytes, "kind": held.kind,
                "width": held.width, "height": held.height, "trouble": held.trouble,
            },
            "unplanned": None if unplanned is None else {
                "because": unplanned.because,
                "bounds": unplanned.bounds and list(unplanned.bounds),
                "tiles": unplanned.tiles,
                "levels": list(unplanned.levels),
                "nearby": [{**tile._asdict(), "state": state.name.lower()} for tile, state in unplanned.nearby],
            },
        }  # fmt: skip


def explanation(account: Account) -> str:
    """Why the tile is or isn't there, in a sentence or two."""
    state, held = account.state, account.held
    if not account.has_ledger:
        if held is None:
            return "The cache holds no such tile; without a ledger beside it nothing more is known."
        return _held_words(held) or "It is in the cache; there is no ledger beside it, so planned means present."
    if state is State.UNPLANNED:
        assert account.unplanned is not None
        extra = " The cache holds it nevertheless: another program or an earlier ledger put it there." if held else ""
        return account.unplanned.because + extra
    if state in (State.STORED, State.UNCHANGED):
        if held is None:
            return (
                "The ledger has it as stored, and the cache does not hold it: the cache was changed since. "
                "The next harvester run of this job asks for it again."
            )
        said = "The source said at the last refresh that it has not changed. " if state is State.UNCHANGED else ""
        return _held_words(held) or said + "It was fetched, found whole and stored."
    if state is State.ABSENT:
        yet = ", which was not held against any tile yet: the same harvester run asks some" if account.unproven else ""
        return f"The source said that there is no such tile{_absent_words(account.absent_by, account.lod.level)}{yet}."
    if state is State.FAILED:
        why = with_detail(account.reason, account.detail) if account.reason else "for a reason that was not kept"
        return f"It failed: {why}. The same harvester run asks it again."
    if account.denied is not None:
        return _denied_words(account, account.denied)
    goes_on = "The same harvester run goes on with it."
    if account.reason is not None:
        came = with_detail(account.reason, account.detail)
        return f"It was asked in run {account.tried_in}, which ended before a tile came: {came}. {goes_on}"
    so_far = "no run came so far" if account.untried else "no answer to it is on record"
    return f"It is planned and has no end yet: {so_far}. {goes_on}"


def _held_words(held: Held) -> str:
    return "" if held.trouble is None else f"It is in the cache, but damaged: {held.trouble}."


def _denied_words(account: Account, denied: Denial) -> str:
    said = f"that there is no such tile, in run {denied.run}{_absent_words(denied.absent_by, account.lod.level)}"
    came = f" ({denied.trouble})" if denied.trouble else ""
    others = f"Of {counted(denied.asked, 'such tile')} that were asked, {denied.answered:,} gave an answer that says it"
    if account.reason is None:
        this = "This one was not asked itself"
    else:
        this = f"This one was asked: {with_detail(account.reason, account.detail)}"
    return (
        f"The source said {said}. {others}{came}; that was too little to believe it. {this}. "
        "The same harvester run asks some of them first."
    )


def _absent_words(ways: Mapping[str, int], level: int) -> str:
    named = [(WAYS.get(way, way), count) for way, count in sorted(ways.items(), key=lambda item: -item[1])]
    if not named:
        return " (how it said so was not kept)"
    if len(named) == 1:
        return f", by {named[0][0]}"
    return f" (at LOD {level}, " + ", ".join(f"{count:,} by {words}" for words, count in named) + ")"
