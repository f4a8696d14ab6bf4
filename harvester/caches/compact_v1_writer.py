"""The writer of a compact cache V1 folder: as that of V2, with the index of each bundle in a file of its own.

Order of a batch: **records, sync of the .bundle, entries, sync of the .bundlx, acknowledge**. The header's sums are
written with the entries and are durable with the next batch, or when the bundle is closed: no reader needs them.

An entry is five bytes and may lie across the end of a disk's sector. A power cut while a tile is replaced can tear such
an entry; then the tile is missing, also the old one, and is fetched again. It never leads to other bytes (bundle_v1).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harvester.caches import bundle_v1, bundle_v2
from harvester.caches.bundle_v1 import DATA_START, ENTRY_SIZE, HEADER_SIZE, INDEX_FILE_SIZE, INDEX_START
from harvester.caches.compact import COMPACT_V1
from harvester.caches.compact_block import Change, OpenBlock, OpenFile, absent, stamp_of
from harvester.caches.compact_documents import Documents
from harvester.caches.compact_v1 import PairFolder, PairReader, twin_of
from harvester.caches.compact_writer import CompactWriter
from harvester.durable import Bulk, Disk, is_network_share
from harvester.edges import Subject
from harvester.errors import CacheError
from harvester.tiling.tile import BlockKey

if TYPE_CHECKING:
    from harvester.caches.bundle_v2 import Index


async def open_writer(path: str | Path, subject: Subject, *, disk: Disk | None = None) -> CompactV1Writer:
    """Open a compact cache V1 folder for writing; nothing is made before the first batch or ``finish``.

    Raises CacheError where ``path`` is neither empty nor a cache of the subject's tiling scheme.
    """
    disk = disk or Disk()
    documents = await asyncio.to_thread(Documents.open, Path(path), subject, disk, COMPACT_V1)
    return CompactV1Writer(documents, disk, Bulk(disk, direct=not is_network_share(Path(path))))


class CompactV1Writer(CompactWriter):
    """A CacheWriter of pairs."""

    def __init__(self, documents: Documents, disk: Disk, bulk: Bulk) -> None:
        super().__init__(documents, disk, bulk)
        self._twins: dict[BlockKey, int] = {}
        """Descriptors of the open .bundlx files."""
        self._sums: set[BlockKey] = set()
        """Blocks whose header was written and not yet synced."""

    def _folder(self) -> PairFolder:
        return PairFolder(self._documents.bundles, Disk())

    def _reader(self) -> PairReader:
        return PairReader(self._documents.info(), self._folder())

    def _stamp(self, path: Path) -> str:
        return f"{stamp_of(path.stat())} {stamp_of(twin_of(path).stat())}"

    def _create(self, key: BlockKey, path: Path) -> None:
        """The .bundlx first: where a .bundle is, its index is."""
        self._disk.write_whole(twin_of(path), bundle_v1.pack_index(bundle_v2.empty_index()))
        self._disk.write_whole(path, bundle_v1.header_of(key).pack() + bytes(DATA_START - HEADER_SIZE))

    def _write_entries(self, change: Change, index: Index) -> None:
        block = change.block
        columns = change.numbers % 128 * 128 + change.numbers // 128
        low, high = int(columns.min()), int(columns.max()) + 1
        entries = bundle_v1.pack_entries(index, low, high)
        self._disk.pwrite(self._twins[block.key], entries, INDEX_START + ENTRY_SIZE * low)
        tiles = int(np.count_nonzero(index))
        header = bundle_v1.header_of(block.key, largest=change.largest, tiles=tiles, file_size=change.end)
        self._disk.pwrite(block.descriptor, header.pack(), 0)
        self._sums.add(block.key)

    def _sync_entries(self, block: OpenBlock) -> None:
        self._disk.fsync(self._twins[block.key])

    def _close_block(self, block: OpenBlock) -> None:
        try:
            if block.key in self._sums and self._thread.failure is None:
                self._disk.fsync(block.descriptor)
        finally:
            self._sums.discard(block.key)
            self._disk.close(self._twins.pop(block.key))
            self._disk.close(block.descriptor)

    def _validated(self, key: BlockKey, path: Path, descriptor: int) -> OpenBlock:
        """An existing pair, every entry checked; bad ones are made absent on disk: missing, so that they are fetched.

        What lies behind the last record that is whole or named is cut off, so that records go on following each other.
        """
        twin = self._disk.open(twin_of(path), write=True)
        try:
            return self._checked(key, path, descriptor, twin)
        except BaseException:
            self._twins.pop(key, None)
            self._disk.close(twin)
            raise

    def _checked(self, key: BlockKey, path: Path, descriptor: int, twin: int) -> OpenBlock:
        span = OpenFile(self._disk, descriptor, str(path))
        starts = bundle_v1.parse_starts(self._disk.read(twin, INDEX_FILE_SIZE, 0))
        header = bundle_v1.parse_header(span.read(HEADER_SIZE, 0))
        if starts is None or header is None or span.size() < DATA_START:
            raise CacheError(
                f"{path} is damaged: it and its .bundlx are no pair of a compact cache V1",
                hint="Move both away, or write the cache anew with --mode overwrite.",
                code="damaged",
            )
        index, end = bundle_v1.sound_index(starts, span.size(), span.read)
        end = max(end, int((bundle_v2.offsets(index) + bundle_v2.sizes(index)).max()))
        if end < span.size():
            self._disk.truncate(descriptor, end)
        self._twins[key] = twin
        block = OpenBlock(
            key=key,
            path=path,
            descriptor=descriptor,
            index=index,
            end=end,
            largest=max(header.largest, int(bundle_v2.sizes(index).max())),
            stamp=self._stamp(path),
        )
        bad = np.flatnonzero((starts > 0) & (index == 0))
        if bad.size:
            self._publish([absent(block, bad)])
        return block
