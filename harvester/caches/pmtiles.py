"""PMTiles v3 opened for reading: web mercator, found by tile id through directories of which only a few are in memory.

``seal`` and ``unpack`` are the way in: an archive is made whole of a work folder (``pmtiles_writer``).
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from harvester.caches import pmtiles_layout as layout
from harvester.caches.pmtiles_check import problems
from harvester.caches.pmtiles_layout import Directory, Header
from harvester.caches.pmtiles_unpack import unpack
from harvester.caches.pmtiles_writer import seal
from harvester.caches.tile_look import look_at
from harvester.caches.vector_layers import parse_layers
from harvester.durable import Disk
from harvester.edges import MAX_TILE_BYTES, CacheInfo, Damage, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.tiling.google import google_scheme, mercator_box
from harvester.tiling.scheme import MAX_GOOGLE_ZOOM, Box
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey, Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harvester.caches.pmtiles_layout import Ints
    from harvester.edges import Mask

__all__ = ["PMTilesReader", "open_reader", "seal", "unpack"]

FORMAT = "pmtiles"

CACHED_ENTRIES = 1 << 20
"""Entries of directories kept in memory, 32 bytes each."""

MAX_DEPTH = 4
"""Directories from the root to a tile: the specification's own clients go no deeper."""

MAX_METADATA_BYTES = 1 << 26
"""Of the JSON, inflated; that of a planet has some hundred kilobytes."""

MAX_BLOCKS = 1 << 22
"""Blocks that one zoom can list: 6.9e10 tiles. Beyond, a hostile run length claims tiles that cannot be."""

MAX_TILE_PIXELS = 8192

VECTOR_TILE_SIZE = 512
"""Vector tiles have no pixels of their own; their styles count in 512."""

TILE_FORMATS = {
    layout.PNG: TileFormat.PNG,
    layout.JPEG: TileFormat.JPEG,
    layout.WEBP: TileFormat.WEBP,
    layout.MVT: TileFormat.PBF,
}

_NOT_OURS = "Use the program that made it to write it anew, with gzip."


def open_reader(path: str | Path) -> PMTilesReader:
    """Open a PMTiles archive. Raises CacheError where it is none, damaged or hostile; UnsupportedFormatError where it
    is of another version or compression."""
    path, disk = Path(path), Disk()
    if path.is_dir():
        raise CacheError(f"{path} is a folder, no PMTiles archive", hint="Name a .pmtiles file.", code="not_a_cache")
    descriptor = disk.open(path)
    try:
        return PMTilesReader(path, disk, descriptor)
    except BaseException:
        disk.close(descriptor)
        raise


class PMTilesReader:
    """One archive. Usable from several threads."""

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
        self.metadata = self._read_metadata()
        self.info = self._describe()

    # ------------------------------------------------------------------------------------------ opening

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

    def _read_metadata(self) -> Mapping[str, Any]:
        header = self.header
        if not header.metadata_length:
            return {}
        try:
            data = self._section(header.metadata_offset, header.metadata_length, MAX_METADATA_BYTES)
            document = json.loads(data)
        except (ValueError, RecursionError) as cause:
            raise self.damaged(f"its metadata can't be read: {cause}") from cause
        return document if isinstance(document, dict) else {}

    def _section(self, offset: int, length: int, limit: int) -> bytes:
        if length > limit:
            raise ValueError(f"it has more than {limit:,} bytes")
        return layout.inflate(self.read_bytes(length, offset), self.header.internal_compression, limit)

    def _describe(self) -> CacheInfo:
        header = self.header
        stated = TILE_FORMATS.get(header.tile_type, TileFormat.UNKNOWN)
        first = self._covered(0)
        body = self.body(first) if first is not None else None
        seen = look_at(body) if body is not None else None
        width = seen.width if seen is not None else None
        if stated is TileFormat.UNKNOWN and seen is not None:
            stated = seen.kind
        if width is None:
            noted = self.metadata.get("tile_size")
            width = noted if isinstance(noted, int) and 0 < noted <= MAX_TILE_PIXELS else 256
            if stated is TileFormat.PBF and not isinstance(noted, int):
                width = VECTOR_TILE_SIZE
        return CacheInfo(
            format=FORMAT,
            scheme=google_scheme(width, max(self.levels(), default=0)),
            tile_format=stated,
            name=self._text("name"),
            attribution=self._text("attribution"),
            extent=_extent(header),
            vector_layers=parse_layers(self.metadata.get("vector_layers")),
            details={
                **{name: _shown(value) for name, value in self.metadata.items()},
                "tile type": layout.TYPES.get(header.tile_type, str(header.tile_type)),
                "tile compression": layout.COMPRESSIONS.get(header.tile_compression, "unknown"),
                "clustered": "yes" if header.clustered == 1 else "no",
                "contents": f"{header.contents:,} of {header.addressed:,} tiles",
            },
        )

    def _text(self, name: str) -> str:
        value = self.metadata.get(name)
        return value if isinstance(value, str) else ""

    # ------------------------------------------------------------------------------------------ directories

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

    def directory(self, offset: int, length: int) -> Directory:
        """The directory at an offset of the file. Raises CacheError where it is damaged."""
        place = (offset, length)
        with self._lock:
            if (known := self._cache.get(place)) is not None:
                self._cache.move_to_end(place)
                return known
        try:
            found = layout.parse_directory(self._section(offset, length, layout.MAX_DIRECTORY_BYTES))
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

    def _sound(self, piece: Directory) -> NDArray[np.bool_]:
        """Which entries of tiles lead to bytes that are there."""
        ends = piece.offsets + piece.lengths
        return (ends <= self.header.data_length) & (piece.lengths <= MAX_TILE_BYTES)

    def _covered(self, low: int) -> int | None:
        """The lowest id from ``low`` on that has a tile."""
        for piece in self.entries(low, layout.MAX_ID):
            held = np.flatnonzero(self._sound(piece) & (piece.ids + piece.runs > low))
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
            piece = Directory(*(column[self._sound(piece)] for column in piece))
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

    # ------------------------------------------------------------------------------------------ the contract

    def body(self, tile_id: int) -> bytes | None:
        """A tile's bytes by its id."""
        for piece in self.entries(tile_id, tile_id + 1):
            held = np.flatnonzero(self._sound(piece) & (piece.ids <= tile_id) & (tile_id < piece.ids + piece.runs))
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

    def read(self, level: int, row: int, col: int) -> bytes | None:
        """The tile's bytes, or None when the cache holds none."""
        if not (0 <= level <= MAX_GOOGLE_ZOOM and 0 <= row < 1 << level and 0 <= col < 1 << level):
            return None
        return self.body(layout.tile_id(level, row, col))

    def levels(self) -> Sequence[int]:
        """Zooms that hold at least one tile."""
        found: list[int] = []
        low: int | None = self._covered(0)
        while low is not None and (zoom := layout.zoom_of(low)) <= MAX_GOOGLE_ZOOM:
            found.append(zoom)
            low = self._covered(layout.first_id(zoom + 1))
        return found

    def blocks(self, level: int) -> Iterator[BlockKey]:
        """Blocks that hold a tile, by row, then column. Raises CacheError where the archive claims more than can be."""
        if not 0 <= level <= MAX_GOOGLE_ZOOM:
            return
        low, high = layout.first_id(level), layout.first_id(level + 1)
        parts: list[Ints] = []
        total = 0
        for piece in self.entries(low, high):
            piece = Directory(*(column[self._sound(piece)] for column in piece))
            begin = np.maximum(piece.ids, low) - low
            end = np.minimum(piece.ids + piece.runs, high) - low
            held = end > begin
            first, last = begin[held] // BLOCK_TILES, (end[held] - 1) // BLOCK_TILES
            total += int((last - first).sum(dtype=np.float64)) + len(np.unique(first))
            if total > MAX_BLOCKS:
                raise self.damaged(f"it claims more than {MAX_BLOCKS:,} blocks of 16,384 tiles at zoom {level}")
            counts = last - first + 1
            within = np.arange(int(counts.sum())) - (np.cumsum(counts) - counts).repeat(counts)
            parts.append(np.unique(first.repeat(counts) + within))
        if not parts:
            return
        if 1 << level <= BLOCK:
            if any(part.size for part in parts):
                yield BlockKey(level, 0, 0)
            return
        depth = BLOCK.bit_length() - 1
        rows, cols = layout.unhilbert(level - depth, np.unique(np.concatenate(parts)))
        order = np.lexsort((cols, rows))
        for row, col in zip(rows[order].tolist(), cols[order].tolist(), strict=True):
            yield BlockKey(level, row * BLOCK, col * BLOCK)

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there; shape (128, 128)."""
        mask: Mask = (self.spans(key)[1] > 0).reshape(BLOCK, BLOCK)
        return mask

    def tiles(self, key: BlockKey) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of one block by row, then column."""
        offsets, lengths = self.spans(key)
        for position in np.flatnonzero(lengths).tolist():
            body = self.content(int(offsets[position]), int(lengths[position]))
            if body is not None:
                yield key.tile(position), body

    def check(self) -> Iterator[Damage]:
        """Entries that lead nowhere, and counts and bounds of the header that the directories belie."""
        return problems(self)

    def close(self) -> None:
        """Release the file. May be called twice."""
        with self._lock:
            if self._descriptor is not None:
                descriptor, self._descriptor = self._descriptor, None
                self._disk.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _extent(header: Header) -> Box | None:
    west, south, east, north = (value / 1e7 for value in (header.west, header.south, header.east, header.north))
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        return None
    return mercator_box(west, south, east, north)
