"""The writer of tiles as files in folders: each whole before it has its name.

Order of a batch: **every file written beside and synced, renamed into its place, its folder synced, acknowledge**. So a
name only ever leads to a whole tile. Files are synced by a few threads at once: a journalling file system then commits
several together (benchmarks/bench_folders.py).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harvester.caches.compact_block import STAMP_STEP_NANOSECONDS
from harvester.caches.folders import Found, TileFolder, block_stamp, read_file
from harvester.caches.records import mask_of
from harvester.caches.writer_thread import WriterThread
from harvester.durable import Disk, disk_error
from harvester.edges import Stamps, Stored, Subject
from harvester.errors import CacheError
from harvester.tiling.tile import BlockKey, Tile, block_of

if TYPE_CHECKING:
    from harvester.edges import Mask

INCOMING = ".incoming"
"""The folder in the cache in which files are written; it goes when the writer is closed."""

SYNC_THREADS = 4
"""Files synced at once: three times as fast as one by one, and no faster with more."""

MAX_BLOCKS = 8
"""Blocks whose files are remembered: 3 MB each when full; the plan's order works on a few at a time."""


class FolderDocuments(Protocol):
    """What describes a cache in folders, and where its tiles lie."""

    files: TileFolder
    """By the addresses of the cache."""
    folder: Path
    """Of the whole cache."""

    def begin(self, kinds: Iterable[str]) -> None:
        """Before a batch with tiles of these kinds: the documents are there and allow for them."""

    def extension(self, body: bytes, kind: str) -> str:
        """Of the file of a tile."""

    def place(self, tile: Tile) -> Tile:
        """The cache's address of one of the source's tiles."""

    def write(self, subject: Subject) -> None:
        """At the end: each document whose content differs."""


class FolderWriter:
    """A CacheWriter. All file work of ``store``, ``remove`` and ``finish`` runs in one thread of its own, in order;
    only syncing is shared with a few more."""

    def __init__(self, documents: FolderDocuments, disk: Disk, *, sync_threads: int = SYNC_THREADS) -> None:
        self._documents = documents
        self._files = documents.files
        self._disk = disk
        self._blocks: OrderedDict[BlockKey, dict[int, Found]] = OrderedDict()
        self._incoming = documents.folder / INCOMING
        self._thread = WriterThread("folder-writer")
        self._syncing = ThreadPoolExecutor(sync_threads, "folder-sync")
        self._sync_threads = sync_threads

    # ------------------------------------------------------------------------------------------ asking

    @property
    def notices(self) -> list[str]:
        """What the documents have for a person to read."""
        found: list[str] = getattr(self._documents, "notices", [])
        return found

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block (source's levels) are there."""
        numbers: list[int] = []
        for theirs in self._spread(key):
            for number, file in self._look(theirs).items():
                tile = self._documents.place(key.tile(0))
                there = theirs.tile(number)
                ours = Tile(key.level, there.row - tile.row + key.row, there.col - tile.col + key.col)
                if file.size and block_of(ours) == key:
                    numbers.append(key.position(ours))
        return mask_of(numbers)

    def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """Of each block's files; blocks without one are left out."""
        found: dict[BlockKey | None, str] = {}
        for key in keys:
            stamp = self._stamp(key)
            if stamp is not None:
                found[key] = stamp
        return found

    def _spread(self, key: BlockKey) -> list[BlockKey]:
        """The cache's blocks in which the tiles of one of the source's lie: one, or up to four where it is shifted."""
        first, last = self._documents.place(key.tile(0)), self._documents.place(key.tile(128 * 128 - 1))
        corners = {
            block_of(Tile(first.level, max(row, 0), max(col, 0)))
            for row in (first.row, last.row)
            for col in (first.col, last.col)
        }
        return sorted(corners)

    def _look(self, key: BlockKey) -> dict[int, Found]:
        """What lies in one of the cache's blocks."""
        known = self._blocks.get(key)
        return dict(known) if known is not None else self._files.look(key)

    def _stamp(self, key: BlockKey) -> str | None:
        stamps = [block_stamp(found) for theirs in self._spread(key) if (found := self._look(theirs))]
        return " ".join(stamps) or None

    # ------------------------------------------------------------------------------------------ changing

    async def store(self, batch: Sequence[Stored]) -> Stamps:
        """Write a batch durably; gives the stamps of its blocks. Tiles that are there already aren't written again."""
        return await self._thread.run(lambda: self._store(batch)) if batch else {}

    async def remove(self, tiles: Sequence[Tile]) -> Stamps:
        """Take tiles out again, durably."""
        return await self._thread.run(lambda: self._remove(tiles)) if tiles else {}

    async def finish(self, subject: Subject) -> None:
        """Write what describes the cache, each document only where its content differs."""
        await self._thread.run(lambda: self._documents.write(subject))

    async def close(self) -> None:
        """Release everything, after what is being written. May be called twice."""
        await self._thread.close(self._release)
        self._syncing.shutdown()

    # ------------------------------------------------------------------------------------------ in the thread

    def _store(self, batch: Sequence[Stored]) -> Stamps:
        self._documents.begin({kind for _, _, kind in batch})
        if not self._incoming.is_dir():
            self._disk.make_dirs(self._incoming)
        last = {tile: (body, kind) for tile, body, kind in batch}
        todo: list[tuple[Tile, Path, bytes]] = []
        for tile, (body, kind) in last.items():
            there = self._documents.place(tile)
            path = self._files.path(there, self._documents.extension(body, kind))
            if not self._holds(there, path, body):
                todo.append((there, path, body))
        parts = [self._incoming / f"{number}.part" for number in range(len(todo))]
        bodies, threads = [body for _, _, body in todo], self._sync_threads
        shares = [(parts[n::threads], bodies[n::threads]) for n in range(threads)]
        list(self._syncing.map(self._write_some, *zip(*shares, strict=True)))
        for folder in sorted({path.parent for _, path, _ in todo}):
            if not folder.is_dir():
                self._disk.make_dirs(folder)
        for part, (there, path, _) in zip(parts, todo, strict=True):
            self._disk.replace(part, path)
            self._changed(there, path)
        for folder in sorted({path.parent for _, path, _ in todo}):
            self._disk.sync_folder(folder)
        return self.stamps(sorted({block_of(tile) for tile in last}))

    def _write_some(self, parts: Sequence[Path], bodies: Sequence[bytes]) -> None:
        for part, body in zip(parts, bodies, strict=True):
            descriptor = self._disk.open(part, write=True, create=True, truncate=True)
            try:
                self._disk.pwrite(descriptor, body, 0)
                self._disk.fsync(descriptor)
            finally:
                self._disk.close(descriptor)

    def _holds(self, tile: Tile, path: Path, body: bytes) -> bool:
        """Is this tile's only file there, with these bytes?"""
        if not body:
            raise CacheError(f"tile {tile} has no bytes", hint="Run the same command again.")
        key = block_of(tile)
        found = self._known(key).get(key.position(tile))
        if found is None or found.size != len(body) or f".{found.extension}" != path.suffix:
            return False
        return len(self._files.files(tile)) == 1 and read_file(path, self._disk) == body

    def _changed(self, tile: Tile, path: Path) -> None:
        """Remember a file that took its place; files of the tile in other formats go."""
        key = block_of(tile)
        known, number = self._known(key), key.position(tile)
        old = known.get(number)
        try:
            status = path.stat()
            if old is not None and status.st_mtime_ns <= old.time:
                # The clock did not tick: the time is moved on, so that no two stamps are the same.
                os.utime(path, ns=(status.st_atime_ns, old.time + STAMP_STEP_NANOSECONDS))
                status = path.stat()
        except OSError as cause:
            raise disk_error("look at", path, cause) from cause
        for other in self._files.files(tile):
            if f".{other.extension}" != path.suffix:
                self._disk.remove(self._files.path(tile, other.extension))
        known[number] = Found(path.suffix[1:], status.st_size, status.st_mtime_ns)

    def _known(self, key: BlockKey) -> dict[int, Found]:
        known = self._blocks.get(key)
        if known is None:
            known = self._blocks[key] = self._files.look(key)
            while len(self._blocks) > MAX_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(key)
        return known

    def _remove(self, tiles: Sequence[Tile]) -> Stamps:
        folders: set[Path] = set()
        for tile in tiles:
            there = self._documents.place(tile)
            key = block_of(there)
            for file in self._files.files(there):
                self._disk.remove(self._files.path(there, file.extension))
                folders.add(self._files.folder(there))
            self._known(key).pop(key.position(there), None)
        for folder in sorted(folders):
            self._disk.sync_folder(folder)
        return self.stamps(sorted({block_of(tile) for tile in tiles}))

    def _release(self) -> None:
        if self._incoming.is_dir():
            with suppress(CacheError):
                self._disk.remove_tree(self._incoming)
        self._blocks.clear()
