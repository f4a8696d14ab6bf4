"""Caches opened by path or format: for reading, for writing, sealed and taken apart."""

from __future__ import annotations

import importlib
import re
from itertools import islice
from pathlib import Path
from typing import Any

from harvester.caches.counted import CountedWriter
from harvester.caches.formats import FORMATS, NAMES, SUFFIXES, Format, format_for, require_can_hold, working
from harvester.caches.recognising import is_empty_or_missing, sniff
from harvester.durable import Disk
from harvester.edges import CacheReader, CacheWriter, Subject
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.redact import redact_url
from harvester.tiling.scheme import TilingScheme

__all__ = [
    "FORMATS", "NAMES", "SUFFIXES", "Format", "format_for", "is_empty_or_missing", "no_cache", "open_cache",
    "open_writer",
    "require_can_hold", "seal", "sniff", "unpack",
]  # fmt: skip

NAMED = 3
"""Caches of a folder that an error names."""

LOOKED_AT = 200
"""Entries of a folder that are looked at for them: each may have to be opened."""


def open_cache(path: str | Path) -> CacheReader:
    """Open any cache for reading; nothing on disk is changed. Raises CacheError where none is, or it is damaged."""
    path = Path(path)
    name = sniff(path)
    if name is None:
        raise no_cache(path)
    if name not in FORMATS:
        raise UnsupportedFormatError(
            f"{path} is a {name} cache, which can't be read yet", hint=f"Formats that can: {', '.join(FORMATS)}."
        )
    reader: CacheReader = importlib.import_module(FORMATS[name].module).open_reader(path)
    return reader


def no_cache(path: Path) -> CacheError:
    """What to say of a path at which no cache lies: what is there instead, and what was probably meant."""
    if address := re.fullmatch(r"(?i)(https?):/+(.*)", path.as_posix()):
        text = redact_url(f"{address[1]}://{address[2]}")
        return CacheError(
            f"{text} is an address, not a cache",
            hint="Name a cache's path; harvester scales shows a service, harvester run SOURCE -o OUT makes its cache.",
            code="missing",
        )
    if not path.exists():
        return CacheError(f"{path} is not there", hint="Check the path.", code="missing")
    if is_empty_or_missing(path):
        what = "folder" if path.is_dir() else "file"
        return CacheError(f"{path} is empty: a {what} without a cache", hint="Check the path.", code="not_a_cache")
    hint = f"Formats that can be read: {', '.join(FORMATS)}."
    inside = _caches_in(path)
    if inside:
        hint = f"Name one of the caches in it: {', '.join(map(str, inside[:NAMED]))}."
    elif path.suffix.lower() == ".ledger":
        hint = f"It is a ledger; name the cache: {path.with_suffix('')}."
    elif path.suffix.lower() == ".toml":
        hint = "A job file? Name its output, the cache."
    return CacheError(f"{path} is no cache", hint=hint, code="not_a_cache")


def _caches_in(folder: Path) -> list[Path]:
    try:
        entries = sorted(islice(folder.iterdir(), LOOKED_AT)) if folder.is_dir() else []
        return [entry for entry in entries if sniff(entry) is not None]
    except OSError:
        return []


async def open_writer(
    format: str,
    path: Path,
    subject: Subject,
    *,
    disk: Disk,
    dedup: bool = False,
    hash: bool = False,
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


def seal(format: str, work: Path, part: Path, subject: Subject, *, disk: Disk) -> tuple[str, ...]:
    """Make a sealed format's file ``part`` of its work folder, durably; gives what a person should hear of it. Raises
    CacheError; then ``part`` is gone."""
    return tuple(importlib.import_module(FORMATS[format].module).seal(work, part, subject, disk=disk) or ())


def unpack(format: str, package: Path, work: Path, scheme: TilingScheme, *, disk: Disk) -> None:
    """Make the work folder of a sealed format's file, to add to it. ``scheme``: the source's. Raises CacheError."""
    chosen = FORMATS[format]
    options: dict[str, Any] = {"scheme": scheme} if chosen.google_only else {}
    importlib.import_module(chosen.module).unpack(package, work, disk=disk, **options)
