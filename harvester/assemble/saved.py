"""What a run's cache saves by storing identical tiles once, for the report: of the cache as it is under its name."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from harvester.delta.summary import DEDUPLICATED, dedup_saved
from harvester.errors import CacheError
from harvester.report import Report


async def with_saved(report: Report, out: Path, *, sealed: bool, overwrite: bool) -> Report:
    """The report with ``dedup_saved``, where this run stored tiles and what it made lies under its name."""
    stands = report.complete if overwrite else not sealed or report.stop is None
    if report.format in DEDUPLICATED and report.fetched and stands and out.is_file():
        with suppress(CacheError):  # a cache that can't be read now is told of by who needs it
            return replace(report, dedup_saved=await asyncio.to_thread(dedup_saved, out))
    return report
