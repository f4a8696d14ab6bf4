"""What a run leaves in the ledger for ``why``: its policies, the addresses of tiles, how absences were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from harvester.edges import Request, Source, State
from harvester.engine import TRIED_REMEMBERED, Tally
from harvester.job import Job
from harvester.ledger import SqliteLedger
from harvester.ledger_reader import TRIED
from harvester.plan_record import bounded, job_record
from harvester.planning import Plan
from harvester.redact import redact_url
from harvester.tiling.tile import BlockKey, Tile, block_of

JOBS_KEPT = 200
"""Jobs of other policies that one cache remembers; the oldest are forgotten first."""

PROBE_ROW, PROBE_COL = 1_234_567, 7_654_321
"""Numbers that occur in no service's address, to be found again in the address of their tile."""

BLOCKS_LOOKED_AT = 64
"""Of which states are held at a time: 1 MB."""

UNLISTED_BY_PLAN = "unlisted_by_plan"
"""The ledger's fact behind ``unlisted``: the same of each plan, by its fingerprint."""

MOST_HOSTS = 16
"""Tile servers among which rows may be shared out."""


async def remember_job(
    ledger: SqliteLedger, run: int, job: Job, plan: Plan, source: Source, *, keep: int = JOBS_KEPT
) -> str:
    """Keep a run's policies and addresses, durably; a job that was run before is kept once. Gives its name there."""
    spans: dict[str, list[int]] = dict(await ledger.get_meta("jobs") or {})
    records: dict[str, Any] = {name: await ledger.get_meta(f"job:{name}") for name in spans}
    record = job_record(job, source.info, plan)
    same = next((name for name, known in records.items() if known and known["digest"] == record["digest"]), None)
    name = same or str(max(map(int, spans), default=0) + 1)
    spans[name] = [spans[name][0] if same else run, run]
    records[name] = record
    forgotten = sorted(spans, key=int)[:-keep]
    kept = bounded({name: known for name, known in records.items() if known and name not in forgotten})
    addresses = dict(await ledger.get_meta("addresses") or {})
    addresses.update({str(lod.level): address_pattern(source, lod.level) for lod in plan.lods})
    await ledger.set_meta(
        {
            "jobs": {name: span for name, span in spans.items() if name not in forgotten},
            **{f"job:{name}": known for name, known in kept.items()},
            **{f"job:{name}": None for name in forgotten},
            "addresses": addresses,
        }
    )
    return name


async def policies_of(ledger: SqliteLedger) -> tuple[str, ...]:
    """The words of every policy that ``remember_job`` keeps, each once, oldest job first."""
    found: dict[str, None] = {}
    for name in sorted(await ledger.get_meta("jobs") or {}, key=int):
        record = await ledger.get_meta(f"job:{name}") or {}
        found.update((str(policy["words"]), None) for policy in record.get("policies", ()))
    return tuple(found)


def address_pattern(source: Source, level: int) -> list[str] | None:
    """The addresses of a level's tiles with ``{row}`` and ``{col}``, without secrets: row ``r`` is asked at number
    ``r`` modulo their count. None where an address does not hold row and column as they are."""
    rows = range(PROBE_ROW, PROBE_ROW + 2 * MOST_HOSTS)
    seen = [_pattern(source.request(Tile(level, row, PROBE_COL), 0), row) for row in rows]
    if None in seen:
        return None
    patterns = [pattern for pattern in seen if pattern is not None]
    for count in range(1, MOST_HOSTS + 1):
        if all(patterns[i] == patterns[i % count] for i in range(len(patterns))):
            return [patterns[(place - PROBE_ROW) % count] for place in range(count)]
    return None


def _pattern(request: Request, row: int) -> str | None:
    url = redact_url(request.host.origin + request.path)
    if url.count(str(row)) != 1 or url.count(str(PROBE_COL)) != 1 or "{" in url:
        return None
    return url.replace(str(row), "{row}").replace(str(PROBE_COL), "{col}")


async def remember_tried(
    ledger: SqliteLedger, run: int, tried: Mapping[Tile, str], *, keep: int = TRIED_REMEMBERED
) -> None:
    """Keep what came last of tiles that were asked and have no end, of this run and of those before it; the latest."""
    before = await ledger.get_meta(TRIED) or {}
    if not tried and not before:
        return
    known = {Tile(*tile): (at, text) for at, text, tiles in before.get("tiles", ()) for tile in tiles}
    for tile, text in tried.items():
        known.pop(tile, None)
        known[tile] = run, text
    blocks: dict[BlockKey, list[Tile]] = {}
    for tile in known:
        blocks.setdefault(block_of(tile), []).append(tile)
    keys = list(blocks)
    pending: set[Tile] = set()
    for first in range(0, len(keys), BLOCKS_LOOKED_AT):
        some = keys[first : first + BLOCKS_LOOKED_AT]
        for key, states in zip(some, await ledger.states(some), strict=True):
            flat = states.reshape(-1)
            pending.update(tile for tile in blocks[key] if flat[key.position(tile)] == State.PENDING)
    left = [(tile, what) for tile, what in known.items() if tile in pending]
    groups: dict[tuple[int, str], list[list[int]]] = {}
    for tile, what in left[-keep:]:
        groups.setdefault(what, []).append(list(tile))
    more = len(left) > keep or len(tried) >= keep or (bool(before.get("more")) and bool(left))
    await ledger.set_meta({TRIED: {"tiles": [[at, text, at_] for (at, text), at_ in groups.items()], "more": more}})


def absences(
    tally: Tally, before: Mapping[int, int], earlier: Mapping[str, Mapping[str, int]] | None
) -> dict[str, dict[str, int]]:
    """Absent tiles by level and by how that was found out, those of earlier runs included; what no answer to a tile
    said, the tilemap did. ``before``: absent tiles by level when the run began."""
    total: dict[str, Counter[str]] = {level: Counter(ways) for level, ways in (earlier or {}).items()}
    for level, states in tally.levels.items():
        ways = Counter({reason: count for (at, reason), count in tally.absences.items() if at == level})
        ways["tilemap"] = max(0, states[State.ABSENT] - before.get(level, 0) - ways.total())
        total.setdefault(str(level), Counter()).update(+ways)
    return {level: dict(ways) for level, ways in total.items() if ways}


async def remember_unlisted(ledger: SqliteLedger, plan: str, unlisted: Mapping[int, int]) -> None:
    """Keep, by level, how many tiles a plan (its fingerprint) means that the ledger doesn't list yet: a later job says
    nothing of those. Plans may mean the same tiles: of each level the most that one of them means counts."""
    known: dict[str, dict[str, int]] = await ledger.get_meta(UNLISTED_BY_PLAN) or {}
    known.pop(plan, None)
    if unlisted:
        known[plan] = {str(level): tiles for level, tiles in unlisted.items()}
    most: dict[str, int] = {}
    for tiles_of in known.values():
        for level, tiles in tiles_of.items():
            most[level] = max(tiles, most.get(level, 0))
    await ledger.set_meta({UNLISTED_BY_PLAN: known or None, "unlisted": most})
