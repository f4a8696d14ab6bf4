"""The writer of a compact cache V2 folder: bundles grow in place, documents are written whole.

Order of a batch, over all blocks that it touches: **records, sync, index and header, sync, acknowledge**. So an entry
on disk only ever points at a record that is wholly there; a kill leaves at worst bytes at the end that no entry names.
A replaced tile is appended anew and its entry flipped; the old bytes stay as a gap.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harvester.caches import bundle_v2
from harvester.caches.bundle_folder import FolderBundles
from harvester.caches.bundle_v2 import INDEX_SIZE, MAX_OFFSET, MAX_SIZE, PREFIX_SIZE, Header
from harvester.caches.bundles import BundleReader
from harvester.caches.compact_block import Change, OpenBlock, absent, next_stamp, stamp_of
from harvester.caches.compact_documents import Documents
from harvester.caches.compact_takeover import take_over
from harvester.caches.records import mask_of
from harvester.caches.writer_thread import WriterThread
from harvester.durable import Bulk, Disk, disk_error, is_network_share
from harvester.edges import Stamps, Stored, Subject, groups_of
from harvester.errors import CacheError
from harvester.tiling.grouping import Group, by_block
from harvester.tiling.tile import BLOCK, BlockKey, Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harvester.caches.bundle_v2 import Index
    from harvester.edges import Mask

MAX_OPEN_BLOCKS = 16
"""Bundles open for writing: the plan's order works on a few at a time; each holds a descriptor and 128 KB of index."""

MAX_LEFT_BLOCKS = 512
"""Bundles that were closed again of which is remembered which tiles they hold: 2 KB each, where looking them up takes a
read for every record."""


async def open_writer(
    path: str | Path, subject: Subject, *, disk: Disk | None = None, read_soon: bool = False
) -> CompactWriter:
    """Open a compact cache V2 folder for writing; nothing is made before the first batch or ``finish``.

    ``read_soon``: what is written is read again by the same run, to make a package of it.

    Raises CacheError where ``path`` is neither empty nor a cache of the subject's tiling scheme.
    """
    disk = disk or Disk()
    documents = await asyncio.to_thread(Documents.open, Path(path), subject, disk)
    return CompactWriter(documents, disk, Bulk(disk, direct=not read_soon and not is_network_share(Path(path))))


class CompactWriter:
    """A CacheWriter. All file work of ``store``, ``remove`` and ``finish`` runs in one thread of its own, in order."""

    def __init__(self, documents: Documents, disk: Disk, bulk: Bulk) -> None:
        self._documents = documents
        self._disk = disk
        self._bulk = bulk
        self._bundles = self._folder()
        self._blocks: OrderedDict[BlockKey, OpenBlock] = OrderedDict()
        self._left: OrderedDict[BlockKey, tuple[str, NDArray[np.uint8]]] = OrderedDict()
        """Blocks that were written and closed: stamp, and which tiles are there, as bits."""
        self._thread = WriterThread("compact-writer")

    def _folder(self) -> FolderBundles:
        return FolderBundles(self._documents.bundles, Disk())

    def _reader(self) -> BundleReader:
        return BundleReader(self._documents.info(), self._folder())

    # ------------------------------------------------------------------------------------------ asking

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there."""
        block = self._blocks.get(key)
        if block is not None:
            return mask_of(np.flatnonzero(block.index))
        path = self._bundles.find(key)
        if path is None:
            return mask_of(())
        left = self._left.get(key)
        if left is not None:
            stamp, bits = left
            with suppress(OSError):  # the reader below says what is wrong
                if self._stamp(path) == stamp:
                    return np.unpackbits(bits).astype(np.bool_).reshape(BLOCK, BLOCK)
        # Opened and closed for this one look: blocks come by the thousand at the start of a run.
        with self._reader() as reader:
            return reader.present(key)

    def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """Size and time of each block's bundle; blocks without one are left out."""
        found: dict[BlockKey | None, str] = {}
        for key in keys:
            path = self._bundles.find(key)
            if path is not None:
                try:
                    found[key] = self._stamp(path)
                except OSError as cause:
                    raise disk_error("look at", path, cause) from cause
        return found

    # ------------------------------------------------------------------------------------------ changing

    async def store(self, batch: Sequence[Stored]) -> Stamps:
        """Write a batch durably; gives the stamps of its blocks. Tiles that are there already aren't written again."""
        return await self._thread.run(lambda: self._store(batch), self._release) if batch else {}

    async def remove(self, tiles: Sequence[Tile]) -> Stamps:
        """Take tiles out again, durably; their bytes stay as gaps."""
        return await self._thread.run(lambda: self._remove(tiles), self._release) if tiles else {}

    async def finish(self, subject: Subject) -> None:
        """Write conf.xml, conf.cdi and root.json, each only where its content differs."""
        await self._thread.run(lambda: self._finish(subject), self._release)

    async def close(self) -> None:
        """Release the files, after what is being written. May be called twice."""
        await self._thread.close(self._release)

    # ------------------------------------------------------------------------------------------ in the thread

    def _store(self, batch: Sequence[Stored]) -> Stamps:
        self._documents.begin({stored.kind for stored in batch})
        stamps: dict[BlockKey | None, str] = {}
        groups = groups_of(batch)
        # A batch rarely spans more blocks than may be open; then it is several commits, all before the acknowledgement.
        for first in range(0, len(groups), MAX_OPEN_BLOCKS):
            some = groups[first : first + MAX_OPEN_BLOCKS]
            changes = [self._append(self._open(group.key), group, batch) for group in some]
            stamps |= self._commit(change for change in changes if change.numbers.size)
            stamps |= {group.key: self._blocks[group.key].stamp for group in some}
        return stamps

    def _append(self, block: OpenBlock, group: Group, batch: Sequence[Stored]) -> Change:
        """Write the records of one block at its end, row-major; tiles that are there with the same bytes are left out.

        The arithmetic is done for all tiles at once (benchmarks/bench_compact.py).
        """
        numbers, last = _sorted(group.positions)
        bodies = [batch[number].body for number in group.numbers[last].tolist()]
        sizes = np.fromiter(map(len, bodies), np.int64, len(bodies))
        if not (sizes.min() > 0 and sizes.max() <= MAX_SIZE):
            number = int(np.flatnonzero((sizes == 0) | (sizes > MAX_SIZE))[0])
            raise CacheError(
                f"tile {block.key.tile(int(numbers[number]))} has {int(sizes[number]):,} bytes; "
                f"a bundle holds 1 to {MAX_SIZE:,}",
                hint="Leave its LOD out, or write MBTiles or GeoPackage.",
            )
        there = block.index[numbers]
        same = np.flatnonzero(bundle_v2.sizes(there) == sizes)
        held = [at for at in same.tolist() if self._holds(block, int(there[at]), bodies[at])]
        if held:
            numbers, sizes = np.delete(numbers, held), np.delete(sizes, held)
            for at in reversed(held):
                del bodies[at]
        ends = block.end + np.cumsum(sizes + PREFIX_SIZE)
        if not bodies:
            return Change(block, numbers, numbers.astype(np.uint64), block.end, block.largest)
        self._write_records(block, bodies, sizes, ends)
        entries = sizes.astype(np.uint64) << np.uint64(bundle_v2.OFFSET_BITS) | (ends - sizes).astype(np.uint64)
        return Change(block, numbers, entries, int(ends[-1]), max(block.largest, int(sizes.max())))

    def _write_records(
        self, block: OpenBlock, bodies: list[bytes], sizes: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> None:
        """Size word and bytes of each, some at a time; ``ends``: where in the file each record ends."""
        if int(ends[-1]) - 1 > MAX_OFFSET:
            raise CacheError(f"{block.path} would grow beyond 1 TiB", hint="Rewrite the cache with --mode overwrite.")
        if self._disk.size(block.descriptor) != block.end:
            raise CacheError(
                f"{block.path} was changed by another program while it was being written",
                hint="Leave a cache alone while a run writes it; harvester verify says what is whole.",
                code="damaged",
            )
        pieces: list[bytes] = [b""] * (2 * len(bodies))
        pieces[::2] = map(bundle_v2.prefix, sizes.tolist())
        pieces[1::2] = bodies
        first, start = 0, block.end
        while first < len(bodies):
            stop = max(first + 1, int(np.searchsorted(ends, start + self._bulk.at_once, "right")))
            end = int(ends[stop - 1])
            self._bulk.write(block.descriptor, pieces[2 * first : 2 * stop], end - start, start)
            first, start = stop, end

    def _holds(self, block: OpenBlock, entry: int, body: bytes) -> bool:
        return self._disk.read(block.descriptor, len(body), entry & MAX_OFFSET) == body

    def _commit(self, changes: Iterable[Change]) -> dict[BlockKey | None, str]:
        """Make the records durable in every block, then publish them."""
        changes = list(changes)
        for change in changes:
            self._disk.fsync(change.block.descriptor)
        return self._publish(changes)

    def _publish(self, changes: Sequence[Change]) -> dict[BlockKey | None, str]:
        """Write entries and headers, make them durable; only then is any of it counted as there."""
        updated = []
        for change in changes:
            block = change.block
            index = block.index.copy()
            index[change.numbers] = change.entries
            self._write_entries(change, index)
            updated.append(index)
        stamps: dict[BlockKey | None, str] = {}
        for change in changes:
            self._sync_entries(change.block)
            change.block.stamp = next_stamp(change.block, self._stamp)
            stamps[change.block.key] = change.block.stamp
        for change, index in zip(changes, updated, strict=True):
            change.block.index, change.block.end, change.block.largest = index, change.end, change.largest
        return stamps

    def _write_entries(self, change: Change, index: Index) -> None:
        """One write from the first to the last entry: those between are written with the bytes that they have."""
        low, high = int(change.numbers.min()), int(change.numbers.max()) + 1
        descriptor = change.block.descriptor
        self._disk.pwrite(descriptor, bundle_v2.pack_index(index, low, high), bundle_v2.entry_position(low))
        self._disk.pwrite(descriptor, Header(largest=change.largest, file_size=change.end).pack(), 0)

    def _sync_entries(self, block: OpenBlock) -> None:
        self._disk.fsync(block.descriptor)

    def _remove(self, tiles: Sequence[Tile]) -> Stamps:
        stamps: dict[BlockKey | None, str] = {}
        for key, positions, _ in by_block(tiles):
            if self._bundles.find(key) is None:
                continue
            block = self._open(key)
            gone = np.unique(positions[block.index[positions] > 0])
            if gone.size:
                self._publish([absent(block, gone)])
            stamps[key] = block.stamp
        return stamps

    def _finish(self, subject: Subject) -> None:
        with self._reader() as reader:
            self._documents.write(subject, reader)

    # ------------------------------------------------------------------------------------------ open blocks

    def _open(self, key: BlockKey) -> OpenBlock:
        block = self._blocks.get(key)
        if block is not None:
            self._blocks.move_to_end(key)
            return block
        path = self._bundles.find(key)
        if path is None:
            path = self._bundles.path(key)
            self._disk.make_dirs(path.parent)
            self._create(key, path)
        while len(self._blocks) >= MAX_OPEN_BLOCKS:
            self._leave(self._blocks.popitem(last=False)[1])
        descriptor = self._disk.open(path, write=True)
        try:
            block = self._validated(key, path, descriptor)
        except BaseException:
            self._disk.close(descriptor)
            raise
        self._blocks[key] = block
        return block

    def _leave(self, block: OpenBlock) -> None:
        self._close_block(block)
        self._left[block.key] = (block.stamp, np.packbits(block.index > 0))
        self._left.move_to_end(block.key)
        if len(self._left) > MAX_LEFT_BLOCKS:
            self._left.popitem(last=False)

    def _create(self, key: BlockKey, path: Path) -> None:
        """By rename, so that no kill leaves a bundle without its index."""
        self._disk.write_whole(path, Header().pack() + bytes(INDEX_SIZE))

    def _close_block(self, block: OpenBlock) -> None:
        self._disk.close(block.descriptor)

    def _stamp(self, path: Path) -> str:
        return stamp_of(path.stat())

    def _validated(self, key: BlockKey, path: Path, descriptor: int) -> OpenBlock:
        """An existing bundle, every entry checked; bad ones are zeroed on disk: missing, so that they are fetched."""
        block, bad = take_over(self._disk, key, path, descriptor, self._stamp(path))
        if bad is not None:
            self._publish([bad])
        return block

    def _release(self) -> None:
        while self._blocks:
            self._close_block(self._blocks.popitem()[1])
        self._bundles.close()
        self._bulk.close()


def _sorted(positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The positions, ascending, each once; and where the last one of each stands: the later of two bodies counts."""
    order = np.argsort(positions, kind="stable")
    ordered = positions[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    return ordered[last], order[last]
