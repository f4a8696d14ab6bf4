"""A cache's ledger with runs as they ended, made without a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harvester.edges import BlockChange, State
from harvester.ledger import open_ledger
from harvester.planning import make_plan
from harvester.testing.memory import memory_info
from harvester.tiling.scheme_json import scheme_to_json
from harvester.tiling.tile import BlockKey, Tile, block_of

INFO = memory_info()


def document(**changes: Any) -> dict[str, Any]:
    """The report document of a run over LODs 0 and 1 that stored everything."""
    lods = [
        {
            "level": level,
            "planned": 4**level,
            "stored": 4**level,
            "unchanged": 0,
            "absent": 0,
            "failed": 0,
            "pending": 0,
        }
        for level in (0, 1)
    ]
    return {
        "source": "https://gis.example.org/arcgis/rest/services/Streets/MapServer", "output": "out.mbtiles",
        "format": "mbtiles", "complete": True, "planned": 5, "stored": 5, "unchanged": 0, "absent": 0, "failed": 0,
        "pending": 0, "fetched": 5, "kept": 0, "requests": 6, "tile_requests": 5, "retries": 0, "throttled": 0,
        "bytes": 12345, "seconds": 2.0, "lods": lods, "failures": [], **changes,
    }  # fmt: skip


def failures(number: int, reason: str = "http_500") -> list[dict[str, Any]]:
    """So many failed tiles of LOD 12."""
    return [{"level": 12, "row": i // 64, "col": i % 64, "reason": reason} for i in range(number)]


def make_ledger(
    out: Path,
    runs: Iterable[Mapping[str, Any] | None] = (None,),
    *,
    levels: tuple[int, ...] = (0, 1),
    states: Mapping[Tile, State] | None = None,
    **meta: Any,
) -> Path:
    """``OUT.ledger`` with these runs, a minute each, None for one that did not end; gives ``out``."""
    ticks = iter(range(1_700_000_000, 1_800_000_000, 60))

    blocks = list(make_plan(INFO, [(levels, None)]).blocks()) if levels else []

    async def make() -> None:
        ledger = await open_ledger(out.with_name(out.name + ".ledger"), create=True, clock=lambda: float(next(ticks)))
        await ledger.enlist(blocks)
        changes: dict[tuple[BlockKey, State], list[int]] = {}
        for tile, state in (states or {}).items():
            key = block_of(tile)
            changes.setdefault((key, state), []).append(key.position(tile))
        await ledger.record(
            [
                BlockChange(key, state, places, dict.fromkeys(places, "http_500"))
                for (key, state), places in changes.items()
            ],
            {},
        )
        await ledger.set_meta(
            {"scheme": scheme_to_json(INFO.scheme), "source": document()["source"], "format": "mbtiles", **meta}
        )
        for report in runs:
            number = await ledger.add_run(out.name)
            if report is not None:
                await ledger.finish_run(number, report)
        await ledger.close()

    asyncio.run(make())
    return out
