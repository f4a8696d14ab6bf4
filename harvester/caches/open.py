"""Caches opened by path or format: for reading, for writing, sealed and taken apart."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from harvester.caches.counted import CountedWriter
from harvester.caches.formats import FORMATS, NAMES, SUFFIXES, Format, format_for, require_can_hold, working
from harvester.caches.recognising import is_empty_or_missing, sniff
from harvester.durable import Disk
from harvester.edges import CacheReader, CacheWriter, Subject
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.tiling.scheme import TilingScheme

__all__ = [
    "FORMATS", "NAMES", "SUFFIXES", "Format", "format_for", "is_empty_or_missing", "open_cache", "open_writer",
    "require_can_hold", "seal", "sniff", "unpack",
]  # fmt: skip


def open_cache(path: str | Path) -> CacheReader:
    """Open any cache for reading; nothing on disk is changed. Raises CacheError where none is, or it is damaged."""
    path = Path(path)
    name = sniff(path)
    if name is None:
        if not path.exists():
            raise CacheError(f"{path} is not there", hint="Check the path.", code="missing")
        what = "is empty" if is_empty_or_missing(path) else "is no cache"
        hint = f"Formats that can be read: {', '.join(FORMATS)}."
        raise CacheError(f"{path} {what}", hint=hint, code="not_a_cache")
    if name not in FORMATS:
        raise UnsupportedFormatError(
            f"{path} is a {name} cache, which can't be read yet", hint=f"Formats that can: {', '.join(FORMATS)}."
        )
    reader: CacheReader = importlib.import_module(FORMATS[name].module).open_reader(path)
    return reader


async def open_writer(
    format: str, path: Path, subject: Subject, *, disk: Disk, dedup: bool = False, hash: bool = False
) -> CountedWriter:
    """Open a cache for writing, new or there already; of a sealed format, ``path`` is its work folder.

    ``dedup`` and ``hash`` are MBTiles' own. Raises CacheError where it can't be written.
    """
    chosen = FORMATS[working(format, f"format {format}")]
    options: dict[str, Any] = {"dedup": dedup, "hash": hash} if chosen.name == "mbtiles" else {}
    if chosen.sealed:
        options["read_soon"] = True
    opened = importlib.import_module(chosen.writer).open_writer(path, subject, disk=disk, **options)
    writer: CacheWriter = await opened
    written = "compactv2" if chosen.sealed else chosen.name

    def look() -> CacheReader | None:
        # By the format that is written, not by what lies there: a kill may have left only some of its documents.
        if is_empty_or_missing(path):
            return None
        reader: CacheReader = importlib.import_module(FORMATS[written].module).open_reader(path)
        return reader

    return CountedWriter(writer, subject, look)


def seal(format: str, work: Path, part: Path, subject: Subject, *, disk: Disk) -> None:
    """Make a sealed format's file ``part`` of its work folder, durably. Raises CacheError; then ``part`` is gone."""
    importlib.import_module(FORMATS[format].module).seal(work, part, subject, disk=disk)


def unpack(format: str, package: Path, work: Path, scheme: TilingScheme, *, disk: Disk) -> None:
    """Make the work folder of a sealed format's file, to add to it. ``scheme``: the source's. Raises CacheError."""
    chosen = FORMATS[format]
    options: dict[str, Any] = {"scheme": scheme} if chosen.google_only else {}
    importlib.import_module(chosen.module).unpack(package, work, disk=disk, **options)
