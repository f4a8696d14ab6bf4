"""One PMTiles archive being written: contents once, entries in a scratch file, directories when their number is known.

0        header, root directory, zeros up to
16384    tile data
...      metadata, leaf directories
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np
import xxhash

from harvester.caches import pmtiles_layout as layout
from harvester.caches.known_files import MOST, KnownFiles
from harvester.caches.pmtiles_layout import Directory, Header
from harvester.caches.tile_look import type_of
from harvester.durable import Disk, disk_error
from harvester.edges import TileFormat
from harvester.errors import CacheError, UnsupportedFormatError

ROOT_ONLY = 1 << 14
"""Entries that may fit into the root directory; more hardly do."""

LEAF_ENTRIES = 4096
"""Entries of a leaf at least; a client reads a leaf for a tile, so more costs it time."""

ROOT_ENTRIES = 1800
"""Leaves that surely fit into the root directory, 9 bytes each before compression; twice as many are tried first."""

SPILLED = 4096
"""Entries written to the scratch file at once."""

WRITE_BYTES = 1 << 20

WAITING_TILES = 2048
"""Tiles, of ``WRITE_BYTES`` at most, whose contents are looked up together."""

TYPES = {
    TileFormat.PNG: layout.PNG,
    TileFormat.JPEG: layout.JPEG,
    TileFormat.WEBP: layout.WEBP,
    TileFormat.PBF: layout.MVT,
}

ELSEWHERE = "The tiles are kept in {work}: harvester convert {work} OUT takes them to mbtiles, gpkg, compactv2 or tpkx."

_LAYER = b"\x1a"
"""A plain vector tile begins with its first layer: field 3, length-delimited."""

_ENTRY = np.dtype([("id", "<i8"), ("run", "<i8"), ("length", "<i8"), ("offset", "<i8")])


def content_name(body: bytes) -> int:
    """The hash by which a content is found again."""
    return xxhash.xxh3_64_intdigest(body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many contents are known in memory, and how directories are cut."""

    in_memory: int = MOST
    root_only: int = ROOT_ONLY
    leaf_entries: int = LEAF_ENTRIES
    root_bytes: int = layout.MAX_ROOT
    hashing: Callable[[bytes], int] = content_name


class Archive:
    """An archive being written: tile data first, then ``close``."""

    def __init__(self, disk: Disk, descriptor: int, scratch: IO[bytes], work: Path, limits: Limits) -> None:
        self._disk = disk
        self._limits = limits
        self._descriptor = descriptor
        self._scratch = scratch
        self._work = work
        self.kind = TileFormat.UNKNOWN
        self._waiting = bytearray()
        self._written = 0
        self._known = KnownFiles(work, most=limits.in_memory)
        self._tiles: list[tuple[int, bytes]] = []
        self._tile_bytes = 0
        self._entries: list[tuple[int, int, int, int]] = []
        self._last: list[int] = []
        self._last_body: bytes | None = None
        self.addressed = self.entries = self.contents = 0

    def add(self, tile_id: int, body: bytes) -> bytes:
        """The next tile; ids ascend. Gives its bytes as they are stored."""
        kind = type_of(body)
        if kind is not self.kind or kind is TileFormat.UNKNOWN:
            body = self._of_one_type(kind, body)
        self._tiles.append((tile_id, body))
        self._tile_bytes += len(body)
        if len(self._tiles) >= WAITING_TILES or self._tile_bytes >= WRITE_BYTES:
            self._settle()
        return body

    def _settle(self) -> None:
        """Give the tiles that wait their places: a content's own where it is new, else where it lies already."""
        fresh: list[tuple[int, bytes]] = []
        last = self._last_body
        for tile in self._tiles:
            if tile[1] != last:
                fresh.append(tile)
                last = tile[1]
        names = [self._limits.hashing(body) for _, body in fresh]
        known = self._known.find(list(dict.fromkeys(names)))
        new: list[tuple[int, int]] = []
        placed: list[tuple[int, int]] = []
        for (_, body), name in zip(fresh, names, strict=True):
            there = known.setdefault(name, [])
            at = next((at for at in there if self._is_at(at, body)), None)
            if at is None:
                at = self._append(body)
                there.append(at)
                new.append((name, at))
            placed.append((at, len(body)))
        self._known.add([name for name, _ in new], [at for _, at in new])
        places = iter(placed)
        for tile_id, body in self._tiles:
            self._enter(tile_id, body, places)
        self._tiles, self._tile_bytes = [], 0

    def _enter(self, tile_id: int, body: bytes, places: Iterator[tuple[int, int]]) -> None:
        """One entry for each stretch of one content; ``places`` of those that are not the one before's."""
        self.addressed += 1
        last = self._last
        if body == self._last_body:
            if last[0] + last[1] == tile_id and last[1] < layout.MAX_RUN:
                last[1] += 1
                return
            offset, length = last[3], last[2]
        else:
            offset, length = next(places)
            self._last_body = body
        self._flush_entry()
        self._last = [tile_id, 1, length, offset]

    def _of_one_type(self, kind: TileFormat, body: bytes) -> bytes:
        if kind is TileFormat.UNKNOWN and body[:1] == _LAYER and self.kind in (TileFormat.UNKNOWN, TileFormat.PBF):
            # A vector tile that came plain (its first field is a layer): the archive states one compression for all.
            self.kind = TileFormat.PBF
            return layout.compress(body)
        if self.kind is TileFormat.UNKNOWN and kind in TYPES:
            self.kind = kind
            return body
        hint = ELSEWHERE.format(work=self._work.name)
        if kind not in TYPES:
            raise UnsupportedFormatError("a tile is neither PNG, JPEG, WebP nor a vector tile", hint=hint)
        both = f"{self.kind.value} and {kind.value}"
        raise UnsupportedFormatError(f"tiles are {both}, and PMTiles holds one type", hint=hint)

    def _append(self, body: bytes) -> int:
        """Write a new content; gives its offset."""
        at = self._written + len(self._waiting)
        self._waiting += body
        self.contents += 1
        if len(self._waiting) >= WRITE_BYTES:
            self._flush()
        return at

    def _is_at(self, offset: int, body: bytes) -> bool:
        """Is this content there? A hash found the place, the bytes confirm it. What comes behind a shorter content is
        that of another, which begins there: to share it is as good."""
        if offset >= self._written:
            at = offset - self._written
            return self._waiting[at : at + len(body)] == body
        return self._disk.read(self._descriptor, len(body), layout.FIRST_READ + offset) == body

    def _flush(self) -> None:
        self._disk.pwrite(self._descriptor, self._waiting, layout.FIRST_READ + self._written)
        self._written += len(self._waiting)
        self._waiting = bytearray()

    def _flush_entry(self) -> None:
        if self._last:
            self._entries.append((self._last[0], self._last[1], self._last[2], self._last[3]))
            self.entries += 1
        if len(self._entries) >= SPILLED:
            self._spill()

    def _spill(self) -> None:
        try:
            self._scratch.write(np.array(self._entries, dtype=_ENTRY).tobytes())
        except OSError as cause:
            raise disk_error("write", self._work, cause) from cause
        self._entries = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._known.close()

    # ------------------------------------------------------------------------------------------ the end

    def close(self, metadata: bytes, header: Header) -> None:
        """Write metadata (JSON), directories and ``header``, into which places, lengths, counts and types are put."""
        self._settle()
        self._flush_entry()
        self._spill()
        self._flush()
        packed = layout.compress(metadata)
        metadata_at = layout.FIRST_READ + self._written
        self._disk.pwrite(self._descriptor, packed, metadata_at)
        leaves_at = metadata_at + len(packed)
        root, leaves_length = self._directories(leaves_at)
        header = header._replace(
            root_length=len(root),
            metadata_offset=metadata_at,
            metadata_length=len(packed),
            leaves_offset=leaves_at,
            leaves_length=leaves_length,
            data_offset=layout.FIRST_READ,
            data_length=self._written,
            addressed=self.addressed,
            entries=self.entries,
            contents=self.contents,
            tile_compression=layout.GZIP if self.kind is TileFormat.PBF else layout.NONE,
        )
        self._disk.pwrite(self._descriptor, (header.pack() + root).ljust(layout.FIRST_READ, b"\0"), 0)

    def _directories(self, start: int) -> tuple[bytes, int]:
        """The root directory, compressed, and the length of the leaves, which are written from ``start`` on."""
        if self.entries <= self._limits.root_only:
            root = layout.compress(layout.pack_directory(self._read_entries(0, self.entries)))
            if len(root) <= self._limits.root_bytes:
                return root, 0
        size = max(self._limits.leaf_entries, -(-self.entries // (2 * ROOT_ENTRIES)))
        while True:
            root, length = self._leaves(start, size)
            if len(root) <= self._limits.root_bytes:
                return root, length
            size += size // 4
            self._disk.truncate(self._descriptor, start)

    def _leaves(self, start: int, size: int) -> tuple[bytes, int]:
        rows: list[tuple[int, int, int, int]] = []
        offset = 0
        for first in range(0, self.entries, size):
            entries = self._read_entries(first, min(size, self.entries - first))
            leaf = layout.compress(layout.pack_directory(entries))
            self._disk.pwrite(self._descriptor, leaf, start + offset)
            rows.append((int(entries.ids[0]), 0, len(leaf), offset))
            offset += len(leaf)
        root = Directory(*np.array(rows, np.int64).T)
        return layout.compress(layout.pack_directory(root)), offset

    def _read_entries(self, first: int, count: int) -> Directory:
        try:
            self._scratch.seek(first * _ENTRY.itemsize)
            rows = np.frombuffer(self._scratch.read(count * _ENTRY.itemsize), dtype=_ENTRY)
        except OSError as cause:
            raise disk_error("read", self._work, cause) from cause
        if len(rows) != count:
            raise CacheError(f"the scratch file in {self._work} is cut short", hint="Run the same command again.")
        return Directory(rows["id"], rows["run"], rows["length"], rows["offset"])
