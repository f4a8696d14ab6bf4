"""An exploded Esri cache: one file a tile, in conf.xml's own words esriMapCacheStorageModeExploded.

    DIR/conf.xml, DIR/conf.cdi, DIR/root.json
    DIR/_alllayers/L05/R0000000a/C00000004.png

Source: Esri's caches of 9.2 to 10.9 as they lie on disk: level in decimal, two digits; row and column in lower-case
hex, eight digits. The extension is ``png`` for every kind of PNG and ``jpg`` for JPEG; in a MIXED cache, tile by tile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from harvester.caches import compact
from harvester.caches.compact import EXPLODED
from harvester.caches.compact_documents import Documents
from harvester.caches.exploded_naming import ExplodedNaming
from harvester.caches.folders import TileFolder, kind_of
from harvester.caches.folders_reader import FolderReader
from harvester.caches.folders_writer import INCOMING, FolderWriter
from harvester.durable import Disk
from harvester.edges import Subject
from harvester.errors import CacheError
from harvester.tiling.tile import Tile

FORMAT = EXPLODED.format


def open_reader(path: str | Path) -> FolderReader:
    """Open an exploded cache by its folder, the folder above it, or its conf.xml. Raises CacheError."""
    path, disk = Path(path), Disk()
    layout = compact.locate(path)
    if layout is None:
        what = "is not there" if not path.exists() else "is no exploded cache: it has no conf.xml"
        raise CacheError(f"{path} {what}", hint="Name the folder that holds conf.xml.", code="not_a_cache")
    about, folder = compact.describe(layout, disk, EXPLODED)
    info = compact.cache_info(about, FORMAT, compact.read_manifest(layout, disk))
    return FolderReader(info, TileFolder(folder, ExplodedNaming()), disk)


class ExplodedDocuments:
    """conf.xml, conf.cdi and root.json, and where the tiles lie."""

    def __init__(self, documents: Documents, disk: Disk) -> None:
        self._documents = documents
        self._disk = disk
        self.folder = documents.bundles.parent
        self.files = TileFolder(documents.bundles, ExplodedNaming())

    def begin(self, kinds: Iterable[str]) -> None:
        """What is written before the first tile."""
        self._documents.begin(kinds)

    def extension(self, body: bytes, kind: str) -> str:
        """What the tile is, whatever the source called it."""
        return kind_of(body) or kind

    def place(self, tile: Tile) -> Tile:
        """Where a tile goes."""
        return tile

    def write(self, subject: Subject) -> None:
        """Write what describes the cache."""
        self._documents.write(subject, FolderReader(self._documents.info(), self.files, self._disk))


async def open_writer(path: str | Path, subject: Subject, *, disk: Disk | None = None) -> FolderWriter:
    """Open an exploded cache for writing; nothing is made before the first batch or ``finish``.

    Raises CacheError where ``path`` is neither empty nor a cache of the subject's tiling scheme.
    """
    disk = disk or Disk()
    documents = ExplodedDocuments(await asyncio.to_thread(Documents.open, Path(path), subject, disk, EXPLODED), disk)
    await asyncio.to_thread(disk.remove_tree, documents.folder / INCOMING)
    return FolderWriter(documents, disk)
