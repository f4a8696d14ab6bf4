"""What a run's cache saves by storing identical tiles once, for the report: of the cache as it is or will be under its
name."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from harvester.delta.summary import DEDUPLICATED, dedup_saved
from harvester.errors import CacheError
from harvester.report import Report


async def with_saved(report: Report, cache: Path) -> Report:
    """The report of a run that stored tiles with ``dedup_saved`` of its cache, by where it lies."""
    if report.format in DEDUPLICATED and report.fetched and cache.is_file():
        with suppress(CacheError):  # a cache that can't be read now is told of by who needs it
            return replace(report, dedup_saved=await asyncio.to_thread(dedup_saved, cache))
    return report
