"""The ledger and the cache, asked about one tile."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harvester.audited import Audited
from harvester.coverage_picture.raster import Level, survey
from harvester.edges import PASSING, LedgerFailure, Outcome, State
from harvester.errors import CacheError, UsageError
from harvester.ledger_reader import DENIED, TRIED, UNPROVEN
from harvester.output import exists
from harvester.payload import judge
from harvester.plan_record import Planner, planners
from harvester.tiling.coverage import extent_window, grid_window
from harvester.tiling.scheme import Box
from harvester.tiling.tile import Tile, block_of
from harvester.why.account import Account, Denial, Held, Unplanned
from harvester.wording import counted

UNTRIED = frozenset({"http_401", "http_429", "http_498", "http_499", "http_503", "invalid_token"})
"""Reasons that use up none of ``--retries``."""

FORBIDDEN = "forbidden"
"""Like most client errors (``http_400`` ...) final at the first try."""

RUNS_LISTED = 20
"""Runs that are named one by one."""


def why(out: Path, tile: Tile) -> Account:
    """What is known of a tile, by the source's own level, row and column; nothing is asked and nothing changed.

    Raises UsageError for an address that the tiling scheme doesn't have, CacheError where there is neither cache nor
    ledger, or one that can't be read.
    """
    with Audited(out) as audited:
        return _Asking(audited, tile).account()


def _tries(reason: str | None, retries: int) -> int | None:
    """Tries that a run gives a tile that fails for this reason; None where they are not counted."""
    if reason in UNTRIED:
        return None
    status = (reason or "").removeprefix("http_")
    is_final = reason == FORBIDDEN or (status.isdecimal() and 400 <= int(status) < 500 and int(status) not in PASSING)
    return 1 if is_final else 1 + retries


class _Asking:
    """One question to a cache and its ledger."""

    def __init__(self, audited: Audited, tile: Tile) -> None:
        self.audited = audited
        self.ledger = audited.ledger
        self.scheme = audited.scheme
        self.tile = tile
        self._check_address()

    def _check_address(self) -> None:
        scheme, (level, row, col) = self.scheme, self.tile
        if level not in scheme.by_level:
            levels = ", ".join(str(lod.level) for lod in scheme.lods)
            raise UsageError(f"the source has no LOD {level}", hint=f"Its LODs: {levels}.")
        grid = grid_window(scheme, level)
        if not (grid.row_min <= row <= grid.row_max and grid.col_min <= col <= grid.col_max):
            raise UsageError(
                f"LOD {level} has no row {row}, column {col}",
                hint=f"Its rows are {grid.row_min}-{grid.row_max}, its columns {grid.col_min}-{grid.col_max}; "
                "write LEVEL/ROW/COL, row before column.",
            )

    def _meta(self, name: str) -> Any:
        return None if self.ledger is None else self.ledger.meta(name)

    def account(self) -> Account:
        tile, scheme = self.tile, self.scheme
        state = self._state(tile)
        meant = self._planners()
        held = self._held()
        if self.ledger is None and held is not None:
            state = State.STORED
        if state is State.UNPLANNED and self._unlisted() and any(one.in_shard and one.certain for one in meant):
            # Of a plan beyond all measure the ledger lists what its budget came to; the rest has no end yet.
            state = State.PENDING
        planned_by = tuple(planner for planner in meant if planner.in_shard) if state is not State.UNPLANNED else ()
        failed = state is State.FAILED and self.ledger is not None
        failure = self.ledger.failure(tile, block_of(tile)) if failed and self.ledger is not None else None
        tried = self._tried() if state is State.PENDING else None
        reason = tried[1].reason if tried is not None else failure.reason if failure is not None else None
        known = tried[1] if tried is not None else failure
        ways = (self._meta("absences") or {}).get(str(tile.level), {}) if state is State.ABSENT else {}
        return Account(
            output=self.audited.out,
            tile=tile,
            lod=scheme.by_level[tile.level],
            box=scheme.box(tile),
            degrees=scheme.crs.is_geographic,
            state=state,
            reason=reason,
            detail=known.detail if known is not None else "",
            tried_in=tried[0] if tried is not None else None,
            untried=self._is_untried(planned_by),
            planned_by=planned_by,
            url=self._url(),
            tries=_tries(reason, _latest(planned_by).retries) if failed and planned_by else None,
            failed_in=_latest(planned_by).last_run if failed and planned_by else None,
            fetching_runs=self._fetching_runs(planned_by),
            absent_by=ways,
            denied=self._denied(planned_by) if state is State.PENDING else None,
            unproven=state is State.ABSENT and (not ways or "tilemap" in ways) and bool(self._meta(UNPROVEN)),
            held=held,
            unplanned=self._unplanned(meant) if state is State.UNPLANNED else None,
            has_ledger=self.ledger is not None,
        )

    def _state(self, tile: Tile) -> State:
        if self.ledger is None:
            return State.UNPLANNED
        key = block_of(tile)
        return State(int(self.ledger.states(key).reshape(-1)[key.position(tile)]))

    def _unlisted(self) -> int:
        """Tiles of this level that are planned and not listed in the ledger yet."""
        return int((self._meta("unlisted") or {}).get(str(self.tile.level), 0))

    def _planners(self) -> list[Planner]:
        spans = self._meta("jobs") or {}
        records = {name: self._meta(f"job:{name}") for name in spans}
        order = {lod.level: place for place, lod in enumerate(self.scheme.lods)}
        return planners({name: record for name, record in records.items() if record}, spans, self.tile, order)

    def _url(self) -> str | None:
        patterns: Sequence[str] | None = (self._meta("addresses") or {}).get(str(self.tile.level))
        if not patterns:
            return None
        pattern = patterns[self.tile.row % len(patterns)]
        return pattern.replace("{row}", str(self.tile.row)).replace("{col}", str(self.tile.col))

    def _fetching_runs(self, planned_by: Sequence[Planner]) -> tuple[int, ...] | None:
        if self.ledger is None:
            return None
        since = min((planner.first_run for planner in planned_by), default=1)
        return tuple(
            run.id
            for run in self.ledger.runs()
            if run.id >= since and (run.report is None or run.report.get("fetched"))
        )[-RUNS_LISTED:]

    def _tried(self) -> tuple[int, LedgerFailure] | None:
        """The run that asked a pending tile last, and what came."""
        place = list(self.tile)
        for run, text, tiles in (self._meta(TRIED) or {}).get("tiles", ()):
            if place in tiles:
                return run, LedgerFailure.of(self.tile, text)
        return None

    def _denied(self, planned_by: Sequence[Planner]) -> Denial | None:
        """The last run of a job that means the tile, as far as its level was denied there."""
        known = self._meta(DENIED) or {}
        found = [what for one in planned_by if one.certain and (what := known.get(str(one.job))) is not None]
        found = [what for what in found if str(self.tile.level) in what["absences"]]
        if not found:
            return None
        last = max(found, key=lambda what: what["run"])
        return Denial(
            run=last["run"], asked=last["asked"], answered=last["answered"], trouble=last["trouble"],
            absent_by=last["absences"][str(self.tile.level)],
        )  # fmt: skip

    def _is_untried(self, planned_by: Sequence[Planner]) -> bool:
        """Would the ledger know if a run had asked the tile?"""
        if self.ledger is None or (self._meta(TRIED) or {}).get("more"):
            return False
        since = min((planner.first_run for planner in planned_by), default=1)
        return all(run.report is not None for run in self.ledger.runs() if run.id >= since)

    def _held(self) -> Held | None:
        placed = self.audited.placed
        if placed is None:
            return None
        address = placed.there(self.tile)
        out = self.audited.out
        work = out.with_name(out.name + ".work")
        where = work if exists(work) else out
        try:
            body = self.audited.read(self.tile)
            fault = getattr(placed.reader, "fault", None)
            what = fault(*address) if fault is not None and body is None and address is not None else None
            trouble = f"it {what}" if what else None
        except CacheError as error:
            body, trouble = None, error.message
        if trouble is not None:
            return Held(
                where=where, address=address or self.tile, bytes=0, kind="", width=None, height=None, trouble=trouble
            )
        if body is None or address is None:
            return None
        scheme = self.scheme
        verdict = judge(body, stated=self.audited.tile_format, width=scheme.tile_width, height=scheme.tile_height)
        width, height = _pixels(body) if verdict.kind in ("png", "jpg", "webp", "gif") else (None, None)
        trouble = None if verdict.outcome is Outcome.WHOLE else verdict.reason
        return Held(
            where=where, address=address, bytes=len(body), kind=verdict.kind, width=width, height=height,
            trouble=trouble,
        )  # fmt: skip

    # ---- unplanned tiles

    def _unplanned(self, meant: Sequence[Planner]) -> Unplanned:
        tile, scheme = self.tile, self.scheme
        known: dict[int, Level] = {}
        for key, states in () if self.ledger is None else self.ledger.blocks(tile.level):
            survey(known, key, states)
        here = known.get(tile.level)
        levels = self._levels()
        box = scheme.box(tile)
        x, y = (box.xmin + box.xmax) / 2, (box.ymin + box.ymax) / 2
        over = [scheme.tile_at(level, x, y) for level in levels if level != tile.level]
        found = [(other, self._state(other)) for other in over]
        return Unplanned(
            because=self._because(meant, here),
            bounds=None if here is None else (here.top, here.bottom, here.left, here.right),
            tiles=0 if here is None else here.planned,
            levels=levels,
            nearby=tuple((other, state) for other, state in found if state is not State.UNPLANNED),
        )

    def _levels(self) -> tuple[int, ...]:
        if self.ledger is None:
            levels = () if self.audited.placed is None else self.audited.placed.reader.levels()
            placed = self.audited.placed
            found = [ours for level in levels if placed and (ours := placed.level_here(level)) is not None]
            return tuple(sorted(found))
        return tuple(sorted(self._meta("levels") or self.ledger.levels()))

    def _because(self, meant: Sequence[Planner], here: Level | None) -> str:
        level, row, col = self.tile
        if meant and all(not planner.in_shard for planner in meant):
            planner = meant[-1]
            shard = "/".join(map(str, planner.shard or ()))
            return f"Policy {planner.number} ({planner.words}) means it, but it is not in shard {shard} of that job."
        if unlisted := self._unlisted():
            return (
                f"Perhaps a policy means it: the ledger does not list {counted(unlisted, 'tile')} of LOD {level} yet."
            )
        if self.audited.unlisted:
            return f"Perhaps a policy means it: {self.audited.unlisted}."
        if here is None:
            return f"No policy selects LOD {level}."
        if self._outside_extent():
            return "It lies outside the service's extent, which bounds the plan."
        inside = here.top <= row <= here.bottom and here.left <= col <= here.right
        said = "" if inside else f"; those lie in rows {here.top}-{here.bottom}, columns {here.left}-{here.right}"
        swapped = Tile(level, col, row)
        hint = ""
        if row != col and self._state(swapped) is not State.UNPLANNED:
            hint = f" {swapped} is planned: the row comes before the column."
        planned = f"{counted(here.planned, 'tile')} planned{said}"
        return f"It is outside the areas of the policies that select LOD {level} ({planned}).{hint}"

    def _outside_extent(self) -> bool:
        """Whether every job that selects this level bounds its plan by an extent without this tile."""
        level, row, col = self.tile
        bounds = []
        for name in self._meta("jobs") or {}:
            record = self._meta(f"job:{name}")
            if record and any(str(level) in policy["lods"] for policy in record["policies"]):
                bounds.append(record["bound"])
        if not bounds or None in bounds:
            return False
        windows = [extent_window(self.scheme, level, Box(*bound)) for bound in bounds]
        return not any(one.row_min <= row <= one.row_max and one.col_min <= col <= one.col_max for one in windows)


def _latest(planned_by: Sequence[Planner]) -> Planner:
    return max(planned_by, key=lambda planner: planner.last_run)


def _pixels(body: bytes) -> tuple[int | None, int | None]:
    """Width and height as the picture's head says."""
    from PIL import Image  # heavy, and only stored pictures need it

    try:
        with Image.open(io.BytesIO(body)) as picture:
            return picture.width, picture.height
    except Exception:  # Pillow's plugins raise whatever their parsers run into; a damaged tile has no size
        return None, None
