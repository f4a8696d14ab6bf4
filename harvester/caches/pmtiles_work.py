"""The work folder of a PMTiles archive: a compact cache that takes tiles of the Google grid alone.

What has no id in an archive is refused while nothing is replaced yet; ``seal`` would come after hours of fetching.
"""

from __future__ import annotations

from pathlib import Path

from harvester.caches import compact_writer
from harvester.caches.world import WorldWriter
from harvester.durable import Disk
from harvester.edges import Subject

NAME = "PMTiles"


async def open_writer(
    path: str | Path, subject: Subject, *, disk: Disk | None = None, read_soon: bool = False
) -> WorldWriter:
    """Open a work folder for writing; nothing is made before the first batch or ``finish``. As compact_writer's."""
    inner = await compact_writer.open_writer(path, subject, disk=disk, read_soon=read_soon)
    return WorldWriter(inner, subject.info.scheme, NAME)
