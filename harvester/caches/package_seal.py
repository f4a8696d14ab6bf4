"""How a package of any layout is made of its work folder: the space looked for, the file whole or gone, and what all
layouts say of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from harvester.caches import compact, stored_zip
from harvester.caches.bundles import BundleReader
from harvester.caches.description import Description
from harvester.caches.kept import Kept
from harvester.caches.stored_zip import StoredZip
from harvester.crs import project_box
from harvester.durable import Disk, disk_full
from harvester.edges import Subject
from harvester.errors import CacheError, HarvesterError
from harvester.manifest import FILE, KEY
from harvester.tiling.scheme import Box

NO_GUID = "00000000-0000-0000-0000-000000000000"

Progress = Callable[[int, int], None]
"""Bytes done and bytes in total."""

Write = Callable[[StoredZip, BundleReader, Description, Kept, Progress, int], None]
"""Writes all entries of an archive: from which bundles, described how, beside what was there, telling of bytes done of
a total."""


def seal_archive(
    work: Path,
    part: Path,
    subject: Subject,
    write: Write,
    *,
    disk: Disk,
    progress: Progress | None = None,
    bytes_a_bundle: int = 0,
) -> None:
    """``seal`` for packages of any layout. ``bytes_a_bundle``: how much larger a bundle is there than in ``work``."""
    layout = compact.locate(work)
    if layout is None:
        raise CacheError(f"{work} is no compact cache", hint="Run the same command again.", code="not_a_cache")
    about, folder = compact.describe(layout, disk)
    about = _named(about, subject)
    with Kept(layout.folder, disk) as kept:
        total = kept.size + sum(file.stat().st_size + bytes_a_bundle for file in folder.rglob("*.bundle"))
        if total > disk.free_bytes(part):
            raise disk_full(part, total)
        descriptor = disk.open(part, write=True, create=True, truncate=True)
        try:
            with compact.open_reader(layout.folder) as reader:
                archive = StoredZip(disk, descriptor, time=stored_zip.entry_time())
                write(archive, reader, about, kept, progress or (lambda done, total: None), total)
            disk.fsync(descriptor)
        except BaseException:
            disk.close(descriptor)
            disk.remove(part)
            raise
        disk.close(descriptor)


def _named(about: Description, subject: Subject) -> Description:
    """The work folder's description; what the source says of itself decides its texts."""
    info = subject.info
    return replace(
        about,
        name=info.name or about.name,
        description=info.description or about.description,
        attribution=info.attribution or about.attribution,
    )


def add_manifest(archive: StoredZip, reader: BundleReader) -> None:
    """The work folder's manifest, whose tiles are the package's."""
    if text := reader.info.details.get(KEY):
        archive.add(FILE, text.encode())


def add_rest(archive: StoredZip, reader: BundleReader, kept: Kept) -> None:
    """Between documents and tiles: the manifest, and the members of a package that was there, which are nobody's
    business here."""
    add_manifest(archive, reader)
    kept.add_rest(archive)


def guid_of(digest: bytes) -> str:
    """An item's identifier from the content alone, so that the same tiles are the same item; 36 characters."""
    return str(uuid.UUID(bytes=digest, version=5)).upper()


def degrees(about: Description) -> Box:
    """The extent in degrees; the world where it can't be projected."""
    box = Box(-180.0, -90.0, 180.0, 90.0)
    if about.extent is not None:
        try:
            found = project_box(about.extent, about.scheme.crs, "EPSG:4326")
        except HarvesterError:
            found = box
        if all(np.isfinite(found)):
            box = Box(*(float(value) for value in found))
    return box
