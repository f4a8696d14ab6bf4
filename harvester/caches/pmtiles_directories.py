"""A PMTiles archive as its directories: of which a few are in memory, walked by tile id, down to a tile's bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harvester.caches import pmtiles_layout as layout
from harvester.caches.pmtiles_layout import Directory, Header
from harvester.durable import Disk
from harvester.edges import MAX_TILE_BYTES
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.tiling.scheme import MAX_GOOGLE_ZOOM
from harvester.tiling.tile import BLOCK_TILES, BlockKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harvester.caches.pmtiles_layout import Ints

CACHED_ENTRIES = 1 << 16
"""Entries of directories kept in memory, 48 bytes each: 16 leaves of 4,096, of which a screen of tiles touches four."""

MAX_DEPTH = 4
"""Directories from the root to a tile: the specification's own clients go no deeper."""

_NOT_OURS = "Use the program that made it to write it anew, with gzip."


class Directories:
    """The header and the directories of one archive. Usable from several threads."""

    def __init__(self, path: Path, disk: Disk, descriptor: int) -> None:
        self.path = path
        self._disk = disk
        self._descriptor: int | None = descriptor
        self._lock = threading.RLock()
        self._cache: OrderedDict[tuple[int, int], Directory] = OrderedDict()
        self._cached = 0
        self.size = disk.size(descriptor)
        self.header = self._read_header()
        self.root = self.directory(self.header.root_offset, self.header.root_length)

    def _read_header(self) -> Header:
        data = self.read_bytes(layout.HEADER_SIZE, 0)
        if not data.startswith(layout.MAGIC):
            hint = "Choose another output, or move the file away."
            raise CacheError(f"{self.path} is no PMTiles archive", hint=hint, code="not_a_cache")
        if len(data) < layout.HEADER_SIZE:
            raise self.damaged("its header is cut short")
        if data[7] != layout.VERSION:
            raise UnsupportedFormatError(f"{self.path} is PMTiles version {data[7]}, not 3", hint=_NOT_OURS)
        header = layout.parse_header(data)
        if header.internal_compression not in (layout.NONE, layout.GZIP):
            name = layout.COMPRESSIONS.get(header.internal_compression, str(header.internal_compression))
            raise UnsupportedFormatError(f"{self.path}: its directories are compressed with {name}", hint=_NOT_OURS)
        if header.tile_compression not in (0, layout.NONE, layout.GZIP):
            name = layout.COMPRESSIONS.get(header.tile_compression, str(header.tile_compression))
            raise UnsupportedFormatError(f"{self.path}: its tiles are compressed with {name}", hint=_NOT_OURS)
        for what, offset, length in (
            ("root directory", header.root_offset, header.root_length),
            ("metadata", header.metadata_offset, header.metadata_length),
            ("leaf directories", header.leaves_offset, header.leaves_length),
            ("tile data", header.data_offset, header.data_length),
        ):
            if length and (offset < layout.HEADER_SIZE or offset + length > self.size):
                raise self.damaged(
                    f"its {what} ({length:,} bytes at {offset:,}) lie outside of its {self.size:,} bytes"
                )
        return header

    def damaged(self, what: str) -> CacheError:
        """The CacheError for an archive that cannot be trusted."""
        return CacheError(f"{self.path} is damaged: {what}", hint="Get it from its origin again.", code="damaged")

    def read_bytes(self, size: int, offset: int) -> bytes:
        """Bytes of the file, fewer only where it ends."""
        # One at a time: where the system can't read at an offset, two threads would move the same file pointer.
        with self._lock:
            if self._descriptor is None:
                raise CacheError(f"{self.path} is closed already", hint="Open it again.")
            return self._disk.read(self._descriptor, size, offset)

    def section(self, offset: int, length: int, limit: int) -> bytes:
        """A part that is compressed as directories are, inflated. Raises ValueError beyond ``limit`` bytes."""
        if length > limit:
            raise ValueError(f"it has more than {limit:,} bytes")
        return layout.inflate(self.read_bytes(length, offset), self.header.internal_compression, limit)

    def directory(self, offset: int, length: int) -> Directory:
        """The directory at an offset of the file. Raises CacheError where it is damaged."""
        place = (offset, length)
        with self._lock:
            if (known := self._cache.get(place)) is not None:
                self._cache.move_to_end(place)
                return known
        try:
            found = layout.parse_directory(self.section(offset, length, layout.MAX_DIRECTORY_BYTES))
        except ValueError as cause:
            raise self.damaged(f"the directory at {offset:,} can't be read: {cause}") from cause
        with self._lock:
            if place not in self._cache:
                self._cache[place] = found
                self._cached += len(found.ids)
            while self._cached > CACHED_ENTRIES and len(self._cache) > 1:
                self._cached -= len(self._cache.popitem(last=False)[1].ids)
        return found

    def leaf(self, offset: int, length: int) -> Directory:
        """The leaf directory at an offset among the leaves."""
        if offset + length > self.header.leaves_length:
            raise self.damaged(f"a leaf directory at {offset:,} lies outside of the others")
        return self.directory(self.header.leaves_offset + offset, length)

    def entries(self, low: int, high: int) -> Iterator[Directory]:
        """Entries of tiles with an id of ``low .. high - 1``, in order, as one piece of each directory."""
        return self._pieces(self.root, low, high, 1)

    def _pieces(self, directory: Directory, low: int, high: int, depth: int) -> Iterator[Directory]:
        ids, runs, lengths, offsets = directory
        first = max(int(np.searchsorted(ids, low, side="right")) - 1, 0)
        last = int(np.searchsorted(ids, high, side="left"))
        start = first
        for at in (first + np.flatnonzero(runs[first:last] == 0)).tolist():
            if at > start:
                yield Directory(*(column[start:at] for column in directory))
            if depth >= MAX_DEPTH:
                raise self.damaged(f"its directories are more than {MAX_DEPTH} deep")
            leaf = self.leaf(int(offsets[at]), int(lengths[at]))
            end = int(ids[at + 1]) if at + 1 < len(ids) else layout.MAX_ID
            if len(leaf.ids) and (leaf.ids[0] < ids[at] or leaf.ids[-1] + max(int(leaf.runs[-1]), 1) > end):
                raise self.damaged(f"the leaf directory of tile id {int(ids[at]):,} holds tiles of another")
            yield from self._pieces(leaf, low, high, depth + 1)
            start = at + 1
        if last > start:
            yield Directory(*(column[start:last] for column in directory))

    def sound(self, piece: Directory) -> NDArray[np.bool_]:
        """Which entries of tiles lead to bytes that are there."""
        ends = piece.offsets + piece.lengths
        return (ends <= self.header.data_length) & (piece.lengths <= MAX_TILE_BYTES)

    def covered(self, low: int) -> int | None:
        """The lowest id from ``low`` on that has a tile."""
        for piece in self.entries(low, layout.MAX_ID):
            held = np.flatnonzero(self.sound(piece) & (piece.ids + piece.runs > low))
            if held.size:
                return max(int(piece.ids[held[0]]), low)
        return None

    def spans(self, key: BlockKey) -> tuple[Ints, Ints]:
        """Offsets among the tile data and lengths of a block's tiles, each of shape (16384,), row-major; length 0: no
        tile."""
        offsets, lengths = np.zeros(BLOCK_TILES, np.int64), np.zeros(BLOCK_TILES, np.int64)
        size = 1 << key.level if 0 <= key.level <= MAX_GOOGLE_ZOOM else 0
        if not (0 <= key.row < size and 0 <= key.col < size):
            return offsets, lengths
        low, count = layout.block_range(key)
        positions: Ints | None = None
        for piece in self.entries(low, low + count):
            piece = Directory(*(column[self.sound(piece)] for column in piece))
            begin = np.clip(piece.ids - low, 0, count)
            end = np.clip(piece.ids + piece.runs - low, 0, count)
            repeats = np.maximum(end - begin, 0)
            if not repeats.any():
                continue
            if positions is None:
                positions = layout.block_positions(key)
            within = np.arange(int(repeats.sum())) - (np.cumsum(repeats) - repeats).repeat(repeats)
            at = positions[begin.repeat(repeats) + within]
            offsets[at], lengths[at] = piece.offsets.repeat(repeats), piece.lengths.repeat(repeats)
        return offsets, lengths

    def body(self, tile_id: int) -> bytes | None:
        """A tile's bytes by its id."""
        for piece in self.entries(tile_id, tile_id + 1):
            held = np.flatnonzero(self.sound(piece) & (piece.ids <= tile_id) & (tile_id < piece.ids + piece.runs))
            if held.size:
                return self.content(int(piece.offsets[held[0]]), int(piece.lengths[held[0]]))
        return None

    def content(self, offset: int, length: int) -> bytes | None:
        """The bytes of a tile at an offset among the tile data; None where they are cut or can't be inflated."""
        body = self.read_bytes(length, self.header.data_offset + offset)
        if len(body) != length:
            return None
        if self.is_packed:
            try:
                return layout.inflate(body, layout.GZIP, MAX_TILE_BYTES)
            except ValueError:
                return None
        return body

    @property
    def is_packed(self) -> bool:
        """Are pictures gzip-compressed here? Vector tiles stay so, as everywhere."""
        return self.header.tile_compression == layout.GZIP and self.header.tile_type in (
            layout.PNG,
            layout.JPEG,
            layout.WEBP,
        )

    def close(self) -> None:
        """Release the file. May be called twice."""
        with self._lock:
            if self._descriptor is not None:
                descriptor, self._descriptor = self._descriptor, None
                self._disk.close(descriptor)
