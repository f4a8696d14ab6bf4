"""PMTiles v3 opened for reading: web mercator, the scheme and the texts out of its header, metadata and first tile."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from harvester.caches import pmtiles_layout as layout
from harvester.caches.pmtiles_check import lost, problems
from harvester.caches.pmtiles_directories import Directories
from harvester.caches.pmtiles_layout import Directory, Header
from harvester.caches.tile_look import look_at
from harvester.caches.vector_layers import parse_layers
from harvester.durable import Disk
from harvester.edges import CacheInfo, Damage, TileFormat
from harvester.errors import CacheError
from harvester.tiling.google import google_scheme, mercator_box
from harvester.tiling.scheme import MAX_GOOGLE_ZOOM, Box
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey, Tile

if TYPE_CHECKING:
    from harvester.caches.pmtiles_layout import Ints
    from harvester.edges import Mask

FORMAT = "pmtiles"

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


class PMTilesReader(Directories):
    """One archive as a cache. Usable from several threads."""

    def __init__(self, path: Path, disk: Disk, descriptor: int) -> None:
        super().__init__(path, disk, descriptor)
        self.metadata, self.metadata_text = self._read_metadata()
        self.info = self._describe()

    def _read_metadata(self) -> tuple[Mapping[str, Any], bytes]:
        """The object, and the text that it is of."""
        header = self.header
        if not header.metadata_length:
            return {}, b"{}"
        try:
            data = self.section(header.metadata_offset, header.metadata_length, MAX_METADATA_BYTES)
            document = json.loads(data)
        except (ValueError, RecursionError) as cause:
            raise self.damaged(f"its metadata can't be read: {cause}") from cause
        return (document, data) if isinstance(document, dict) else ({}, b"{}")

    def _describe(self) -> CacheInfo:
        header = self.header
        stated = TILE_FORMATS.get(header.tile_type, TileFormat.UNKNOWN)
        first = self.covered(0)
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

    def read(self, level: int, row: int, col: int) -> bytes | None:
        """The tile's bytes, or None when the cache holds none."""
        if not (0 <= level <= MAX_GOOGLE_ZOOM and 0 <= row < 1 << level and 0 <= col < 1 << level):
            return None
        return self.body(layout.tile_id(level, row, col))

    def levels(self) -> Sequence[int]:
        """Zooms that hold at least one tile."""
        found: list[int] = []
        low: int | None = self.covered(0)
        while low is not None and (zoom := layout.zoom_of(low)) <= MAX_GOOGLE_ZOOM:
            found.append(zoom)
            low = self.covered(layout.first_id(zoom + 1))
        return found

    def blocks(self, level: int) -> Iterator[BlockKey]:
        """Blocks that hold a tile, by row, then column. Raises CacheError where the archive claims more than can be."""
        if not 0 <= level <= MAX_GOOGLE_ZOOM:
            return
        low, high = layout.first_id(level), layout.first_id(level + 1)
        parts: list[Ints] = []
        total = 0
        for piece in self.entries(low, high):
            piece = Directory(*(column[self.sound(piece)] for column in piece))
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

    def lost(self) -> Iterator[Damage]:
        """What ``tiles`` leaves out: tiles whose entries lead nowhere."""
        return lost(self)

    def unmendable(self) -> Iterator[Damage]:
        """Nothing: with any tile that comes, the archive is made anew of those that can be read."""
        return iter(())

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
