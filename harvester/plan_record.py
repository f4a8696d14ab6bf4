"""What the ledger keeps of a job's policies: their words, and their tiles as packed row runs, so that it can say years
later which of them planned a tile."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harvester.edges import ServiceInfo
from harvester.errors import UsageError
from harvester.job import Job, Policy
from harvester.planning import Plan
from harvester.policy_words import ALL_LEVELS, LEVELS, range_words
from harvester.redact import redact_text
from harvester.selection import select_levels, selected_here
from harvester.tiling.banded import joined
from harvester.tiling.intervals import Ints
from harvester.tiling.runs import Runs
from harvester.tiling.tile import BLOCK, Tile
from harvester.tiling.tile_rows import TileRows

EXACT_BYTES = 2 << 20
"""Packed runs that one ledger keeps, all jobs together, at 2 to 4 bytes a run: a country's outline down to zoom 20 and
more. Beyond it a policy's tiles of a LOD are remembered by their bounds alone: the oldest job's first, of one job the
longest."""

MOST_RUNS = EXACT_BYTES // 2
"""Runs of one LOD that are not even packed: they would not fit."""

# A packed Runs, base 85 of zlib of: four arrays of n little-endian int64 (the runs are told apart by their length),
# each taken apart into its eight byte planes, which are nearly all zeros and compress to nothing:
#   0  top      differences to the run before
#   1  bottom   bottom - top
#   2  first    differences to the run before
#   3  last     last - first
_ARRAYS = 4


def pack_runs(runs: Runs) -> str:
    """Row runs as text; ``unpack_runs`` gives the same runs again."""
    arrays = (
        np.diff(runs.top, prepend=0),
        runs.bottom - runs.top,
        np.diff(runs.first, prepend=0),
        runs.last - runs.first,
    )
    table = np.stack(arrays).astype("<i8")
    planes = np.ascontiguousarray(table.view(np.uint8).reshape(_ARRAYS, -1, 8).transpose(0, 2, 1))
    return base64.b85encode(zlib.compress(planes.tobytes(), 6)).decode("ascii")


def unpack_runs(text: str) -> Runs:
    """Row runs from their text. Raises ValueError on anything else."""
    try:
        planes = np.frombuffer(zlib.decompress(base64.b85decode(text)), dtype=np.uint8)
    except zlib.error as cause:
        raise ValueError("not packed row runs") from cause
    table = np.ascontiguousarray(planes.reshape(_ARRAYS, 8, -1).transpose(0, 2, 1)).reshape(-1).view("<i8")
    steps: Ints = table.reshape(_ARRAYS, -1).astype(np.int64)
    top, first = np.cumsum(steps[0]), np.cumsum(steps[2])
    return Runs(top, top + steps[1], first, first + steps[3])


# ---------------------------------------------------------------------------------------------- words


def policy_words(policy: Policy) -> str:
    """A policy as a person would say it: which LODs, where."""
    return redact_text(f"{_lods_words(policy)}, {_area_words(policy)}")


def _lods_words(policy: Policy) -> str:
    if policy.lods is not None:
        return LEVELS + range_words(policy.lods)
    if policy.scales is not None:
        return "scales " + "; ".join(f"1:{scale:,.10g}" for scale in policy.scales)
    if policy.min_scale is not None or policy.max_scale is not None:
        ends = [
            f"{word} 1:{scale:,.10g}"
            for word, scale in (("from", policy.min_scale), ("to", policy.max_scale))
            if scale is not None
        ]
        return f"scales {' '.join(ends)}"
    if policy.min_zoom is not None or policy.max_zoom is not None:
        low = "" if policy.min_zoom is None else str(policy.min_zoom)
        high = "" if policy.max_zoom is None else str(policy.max_zoom)
        return f"{LEVELS}{low}-{high}"
    return ALL_LEVELS


def _area_words(policy: Policy) -> str:
    if policy.bbox is not None:
        where = "the box " + ",".join(f"{value:.10g}" for value in policy.bbox)
    elif policy.aoi:
        where = " and ".join(
            file.path.name + (f":{file.layer}" if file.layer else "") + (f" where {file.where}" if file.where else "")
            for file in policy.aoi
        )
    elif policy.geometry is not None:
        where = "a geometry given in Python"
    else:
        return "the service's full extent"
    if policy.buffer_metres:
        where += f", grown by {policy.buffer_metres:,.10g} m"
    return where


# ---------------------------------------------------------------------------------------------- records


def job_record(job: Job, info: ServiceInfo, plan: Plan) -> dict[str, Any]:
    """A job's plan of one layer, as the JSON object that the ledger keeps."""
    numbered = [number for number, policy in enumerate(job.policies, 1) if _fits(info, policy)]
    policies = [
        {
            "number": number,
            "words": policy_words(job.policies[number - 1]),
            "lods": {
                str(level): {"tiles": runs.count, "bounds": runs.bounds, "runs": _packed(runs)}
                for level, runs in planned.items()
                if runs
            },
        }
        for number, planned in zip(numbered, plan.policies, strict=True)
    ]
    record: dict[str, Any] = {
        "policies": policies,
        "bound": None if plan.bound is None else list(plan.bound),
        "shard": None if job.shard is None else list(job.shard),
        "part": None if job.shard is None or not plan.total else [plan.tile_at(0), plan.tile_at(plan.total - 1)],
    }
    record["digest"] = hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).hexdigest()
    record["retries"] = job.limits.retries
    return record


def _packed(runs: TileRows) -> str | None:
    return pack_runs(joined(part.fields for part in runs.parts())) if runs.run_count <= MOST_RUNS else None


def _fits(info: ServiceInfo, policy: Policy) -> bool:
    """False for a policy of a web map that has no LOD in this layer: the plan left it out."""
    try:
        select_levels(info, selected_here(info, policy)[0])
    except UsageError:
        return False
    return True


def trimmed(record: Mapping[str, Any], room: int) -> dict[str, Any]:
    """The same record with bounds in place of exact tiles where its packed runs would be more than ``room``; the
    shortest are kept."""
    sizes = sorted(
        (len(lod["runs"] or ""), place, level)
        for place, policy in enumerate(record["policies"])
        for level, lod in policy["lods"].items()
    )
    kept = set()
    for size, place, level in sizes:
        room -= size
        if room >= 0:
            kept.add((place, level))
    policies = [
        {
            **policy,
            "lods": {
                level: lod if (place, level) in kept else {**lod, "runs": None} for level, lod in policy["lods"].items()
            },
        }
        for place, policy in enumerate(record["policies"])
    ]
    return {**record, "policies": policies}


def exact_bytes(record: Mapping[str, Any]) -> int:
    """How much of a record is packed runs."""
    return sum(len(lod["runs"] or "") for policy in record["policies"] for lod in policy["lods"].values())


def bounded(records: Mapping[str, Mapping[str, Any]], limit: int = EXACT_BYTES) -> dict[str, Mapping[str, Any]]:
    """The records with packed runs up to the limit, those of the newest job first."""
    kept: dict[str, Mapping[str, Any]] = {}
    for number in sorted(records, key=int, reverse=True):
        kept[number] = trimmed(records[number], limit)
        limit -= exact_bytes(kept[number])
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """A policy that planned a tile: its number in the job (from 1), its words, the runs that it was part of.

    ``certain`` is False where only the bounds of its tiles are remembered. ``in_shard`` is False where the policy means
    the tile but the job took another part of its plan.
    """

    job: int
    number: int
    of: int
    words: str
    first_run: int
    last_run: int
    certain: bool
    in_shard: bool
    shard: tuple[int, int] | None
    retries: int


def planners(
    records: Mapping[str, Mapping[str, Any]],
    spans: Mapping[str, Sequence[int]],
    tile: Tile,
    order: Mapping[int, int],
) -> list[Planner]:
    """The policies that mean a tile, of all jobs, the first job first. ``spans`` gives first and last run by job,
    ``order`` a level's place in the plan's order."""
    found = []
    for name in sorted(records, key=int):
        record = records[name]
        part = record["part"]
        key = _order_key(tile, order)
        inside = part is None or _order_key(Tile(*part[0]), order) <= key <= _order_key(Tile(*part[1]), order)
        if record["shard"] is not None and part is None:
            inside = False
        for policy in record["policies"]:
            lod = policy["lods"].get(str(tile.level))
            if lod is None or not _within(lod["bounds"], tile):
                continue
            if lod["runs"] is not None and not unpack_runs(lod["runs"]).contains(tile.row, tile.col):
                continue
            row_min, row_max, col_min, col_max = lod["bounds"]
            whole = lod["tiles"] == (row_max - row_min + 1) * (col_max - col_min + 1)
            found.append(
                Planner(
                    job=int(name),
                    number=policy["number"],
                    of=len(record["policies"]),
                    words=policy["words"],
                    first_run=spans[name][0],
                    last_run=spans[name][1],
                    certain=lod["runs"] is not None or whole,
                    in_shard=inside,
                    shard=None if record["shard"] is None else (record["shard"][0], record["shard"][1]),
                    retries=record["retries"],
                )
            )
    return found


def _within(bounds: Sequence[int], tile: Tile) -> bool:
    row_min, row_max, col_min, col_max = bounds
    return row_min <= tile.row <= row_max and col_min <= tile.col <= col_max


def _order_key(tile: Tile, order: Mapping[int, int]) -> tuple[int, int, int, int, int]:
    return order.get(tile.level, -1), tile.row // BLOCK, tile.col // BLOCK, tile.row, tile.col
