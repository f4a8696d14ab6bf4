"""PMTiles v3 made of a work folder: tiles in the order of their ids, contents once, the directories after them.

    0        header, root directory, zeros up to
    16384    tile data
    ...      metadata, leaf directories

Tiles are read block by block along the Hilbert curve, where a block of 128 x 128 is one stretch of ids, so nothing is
sorted but the blocks' names; entries wait in a scratch file until their number is known. Memory stays flat.
"""

from __future__ import annotations

import json
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import xxhash

from harvester.caches import bundle_v2, compact
from harvester.caches import pmtiles_layout as layout
from harvester.caches.bundles import BundleReader
from harvester.caches.mbtiles_metadata import Span, data_box
from harvester.caches.pmtiles_layout import Directory, Header
from harvester.caches.records import read_index, read_record
from harvester.caches.tile_look import type_of
from harvester.durable import Disk, disk_error, disk_full
from harvester.edges import CacheInfo, Subject, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.tiling.google import latitude, longitude
from harvester.tiling.scheme import GOOGLE_ORIGIN, GooglePlace
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey

REMEMBERED = 1 << 18
"""Different contents remembered to be found again, the least lately used forgotten first: 50 MB. What repeats in a map
(sea, paper, nothing) repeats all the time."""

ROOT_ONLY = 1 << 14
"""Entries that may fit into the root directory; more never do."""

LEAF_ENTRIES = 4096
"""Entries of a leaf at least; a client reads a leaf for a tile, so more costs it time."""

ROOT_ENTRIES = 1800
"""Leaves that surely fit into the root directory, 9 bytes each; more are tried before leaves grow."""

WRITE_BYTES = 1 << 20

TYPES = {
    TileFormat.PNG: layout.PNG,
    TileFormat.JPEG: layout.JPEG,
    TileFormat.WEBP: layout.WEBP,
    TileFormat.PBF: layout.MVT,
}

_ENTRY = np.dtype([("id", "<i8"), ("run", "<i8"), ("length", "<i8"), ("offset", "<i8")])
_ELSEWHERE = "the tiles are kept in {work}; write mbtiles, gpkg, compactv2, exploded or tpkx instead"


@dataclass(slots=True)
class Zoom:
    """What one zoom holds: its tiles, where they reach (rows from the top), the digest of ids and contents in order."""

    place: GooglePlace
    level: int
    tiles: int = 0
    top: int = 1 << 62
    bottom: int = -1
    left: int = 1 << 62
    right: int = -1
    digest: Any = field(default_factory=xxhash.xxh3_128)

    @property
    def span(self) -> Span:
        """The same in MBTiles' words, rows from the bottom."""
        last = (1 << self.place.zoom) - 1
        return Span(self.place.zoom, self.left, self.right, last - self.bottom, last - self.top)


def seal(work: Path, part: Path, subject: Subject, *, disk: Disk) -> None:
    """Make the archive ``part`` of the compact cache in ``work``, durably; the caller renames it.

    The same tiles make the same bytes. Raises UnsupportedFormatError where tiles are of several types or no XYZ tiles,
    CacheError where the disk says so; then ``part`` is gone and ``work`` as it was.
    """
    total = sum(file.stat().st_size for file in work.rglob("*.bundle"))
    if total > disk.free_bytes(part):
        raise disk_full(part, total)
    with compact.open_reader(work) as reader:
        zooms = _zooms(reader, work)
        descriptor = disk.open(part, write=True, create=True, truncate=True)
        try:
            with _scratch(work) as scratch:
                archive = _Archive(disk, descriptor, scratch, work)
                for zoom in zooms:
                    _add_zoom(archive, reader, zoom)
                archive.close(subject, reader.info, [zoom for zoom in zooms if zoom.tiles])
            disk.fsync(descriptor)
        except BaseException:
            disk.close(descriptor)
            disk.remove(part)
            raise
        disk.close(descriptor)


def _scratch(work: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=work, prefix=".entries")
    except OSError as cause:
        raise disk_error("write", work, cause) from cause


def _zooms(reader: BundleReader, work: Path) -> list[Zoom]:
    """The zooms of the levels that hold tiles, ascending."""
    scheme = reader.info.scheme
    found: dict[int, Zoom] = {}
    for level in reader.levels():
        place = scheme.google(level) if level in scheme.by_level else None
        if place is None:
            message = f"LOD {level} is off the Google grid; PMTiles holds no other"
            raise UnsupportedFormatError(message, hint=_ELSEWHERE.format(work=work.name))
        if place.zoom in found:
            levels = f"{found[place.zoom].level} and {level}"
            raise UnsupportedFormatError(
                f"LODs {levels} are both zoom {place.zoom}, and PMTiles holds each zoom once",
                hint=_ELSEWHERE.format(work=work.name),
            )
        found[place.zoom] = Zoom(place, level)
    return [found[zoom] for zoom in sorted(found)]


# ---------------------------------------------------------------------------------------------- tiles in order


def _add_zoom(archive: _Archive, reader: BundleReader, zoom: Zoom) -> None:
    """Every tile of one zoom in the order of ids."""
    for key in _blocks(reader, zoom):
        low, _ = layout.block_range(key)
        sources = list(_sources(reader, zoom, key))
        positions = layout.block_positions(key)
        held = np.zeros(BLOCK_TILES, np.int64)
        for number, (_, at, _, lengths, _) in enumerate(sources):
            held[at] = np.where(lengths > 0, number + 1, 0)
        spans = np.zeros((2, BLOCK_TILES), np.int64)
        for _, at, offsets, lengths, _ in sources:
            spans[:, at] = offsets, lengths
        order = np.flatnonzero(held[positions])
        there = positions[order]
        for place, position, number, offset, length in zip(
            order.tolist(), there.tolist(), held[there].tolist(), *spans[:, there].tolist(), strict=True
        ):
            body = read_record(sources[number - 1][0], offset, length)
            if body is not None:
                archive.add(low + place, body, zoom)
                row, col = key.row + position // BLOCK, key.col + position % BLOCK
                if not zoom.top <= row <= zoom.bottom:
                    zoom.top, zoom.bottom = min(zoom.top, row), max(zoom.bottom, row)
                if not zoom.left <= col <= zoom.right:
                    zoom.left, zoom.right = min(zoom.left, col), max(zoom.right, col)


def _blocks(reader: BundleReader, zoom: Zoom) -> Iterator[BlockKey]:
    """The zoom's own blocks (of the Google grid) that may hold tiles, in the order of ids."""
    keys = set()
    size = 1 << zoom.place.zoom
    for block in reader.bundles.keys(zoom.level):
        top, left = block.row + zoom.place.row_offset, block.col + zoom.place.col_offset
        keys.update(
            BlockKey(zoom.place.zoom, row & -BLOCK, col & -BLOCK)
            for row in (top, top + BLOCK - 1)
            for col in (left, left + BLOCK - 1)
            if 0 <= row & -BLOCK < size and 0 <= col & -BLOCK < size
        )
    yield from sorted(keys, key=layout.block_range)


def _sources(reader: BundleReader, zoom: Zoom, key: BlockKey) -> Iterator[tuple[Any, Any, Any, Any, BlockKey]]:
    """The source's blocks that reach into a block of the zoom: their bundle, and of each tile within the block its
    position there, its offset and its length in the bundle."""
    size = 1 << zoom.place.zoom
    top, left = key.row - zoom.place.row_offset, key.col - zoom.place.col_offset
    blocks = {
        BlockKey(zoom.level, row & -BLOCK, col & -BLOCK)
        for row in (top, top + BLOCK - 1)
        for col in (left, left + BLOCK - 1)
    }
    for block in sorted(blocks):
        span = reader.bundles.open(block) if min(block.row, block.col) >= 0 else None
        index = read_index(span) if span is not None else None
        if span is None or index is None:
            continue
        numbers = np.flatnonzero(index)
        rows = numbers // BLOCK + block.row - top
        cols = numbers % BLOCK + block.col - left
        within = (rows >= 0) & (rows < min(BLOCK, size)) & (cols >= 0) & (cols < min(BLOCK, size))
        numbers = numbers[within]
        yield (
            span,
            rows[within] * BLOCK + cols[within],
            bundle_v2.offsets(index)[numbers].astype(np.int64),
            bundle_v2.sizes(index)[numbers].astype(np.int64),
            block,
        )


# ---------------------------------------------------------------------------------------------- the archive


class _Archive:
    """An archive being written: tile data first, then ``close``."""

    def __init__(self, disk: Disk, descriptor: int, scratch: IO[bytes], work: Path) -> None:
        self._disk = disk
        self._descriptor = descriptor
        self._scratch = scratch
        self._work = work
        self._kind = TileFormat.UNKNOWN
        self._waiting = bytearray()
        self._written = 0
        self._known: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._entries: list[tuple[int, int, int, int]] = []
        self._last: list[int] = []
        self._last_body: bytes | None = None
        self.addressed = self.entries = self.contents = 0

    def add(self, tile_id: int, body: bytes, zoom: Zoom) -> None:
        """The next tile; ids ascend."""
        kind = type_of(body)
        if kind is not self._kind:
            body = self._of_one_type(kind, body)
        zoom.tiles += 1
        zoom.digest.update(tile_id.to_bytes(8, "little"))
        zoom.digest.update(body)
        self.addressed += 1
        last = self._last
        if body == self._last_body:
            if last[0] + last[1] == tile_id and last[1] < layout.MAX_RUN:
                last[1] += 1
                return
            offset, length = last[3], last[2]
        else:
            offset, length = self._place(body)
            self._last_body = body
        self._flush_entry()
        self._last = [tile_id, 1, length, offset]

    def _of_one_type(self, kind: TileFormat, body: bytes) -> bytes:
        if kind is TileFormat.UNKNOWN and body[:1] == b"\x1a" and self._kind in (TileFormat.UNKNOWN, TileFormat.PBF):
            # A vector tile that came plain (its first field is a layer): the archive states one compression for all.
            self._kind = TileFormat.PBF
            return layout.compress(body)
        if self._kind is TileFormat.UNKNOWN and kind in TYPES:
            self._kind = kind
            return body
        hint = _ELSEWHERE.format(work=self._work.name)
        if kind not in TYPES:
            raise UnsupportedFormatError("a tile is neither PNG, JPEG, WebP nor a vector tile", hint=hint)
        both = f"{self._kind.value} and {kind.value}"
        raise UnsupportedFormatError(f"tiles are {both}, and PMTiles holds one type", hint=hint)

    def _place(self, body: bytes) -> tuple[int, int]:
        """Where a content is; written where it is new. A hash finds it, its bytes confirm it."""
        name = xxhash.xxh3_64_intdigest(body)
        known = self._known.get(name)
        if known is not None and known[1] == len(body) and self._bytes(*known) == body:
            self._known.move_to_end(name)
            return known
        place = self._written + len(self._waiting), len(body)
        self._waiting += body
        self.contents += 1
        if len(self._waiting) >= WRITE_BYTES:
            self._flush()
        self._known[name] = place
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return place

    def _bytes(self, offset: int, length: int) -> bytes:
        if offset >= self._written:
            return bytes(self._waiting[offset - self._written : offset - self._written + length])
        return self._disk.read(self._descriptor, length, layout.FIRST_READ + offset)

    def _flush(self) -> None:
        self._disk.pwrite(self._descriptor, self._waiting, layout.FIRST_READ + self._written)
        self._written += len(self._waiting)
        self._waiting = bytearray()

    def _flush_entry(self) -> None:
        if self._last:
            self._entries.append((self._last[0], self._last[1], self._last[2], self._last[3]))
            self.entries += 1
        if len(self._entries) >= LEAF_ENTRIES:
            self._spill()

    def _spill(self) -> None:
        try:
            self._scratch.write(np.array(self._entries, dtype=_ENTRY).tobytes())
        except OSError as cause:
            raise disk_error("write", self._work, cause) from cause
        self._entries = []

    # ------------------------------------------------------------------------------------------ the end

    def close(self, subject: Subject, held: CacheInfo, zooms: Sequence[Zoom]) -> None:
        """Metadata, directories, header."""
        self._flush_entry()
        self._spill()
        self._flush()
        metadata = layout.compress(_metadata(subject, held, self._kind, zooms))
        metadata_at = layout.FIRST_READ + self._written
        self._disk.pwrite(self._descriptor, metadata, metadata_at)
        leaves_at = metadata_at + len(metadata)
        root, leaves_length = self._directories(leaves_at)
        header = Header(
            root_length=len(root),
            metadata_offset=metadata_at,
            metadata_length=len(metadata),
            leaves_offset=leaves_at,
            leaves_length=leaves_length,
            data_offset=layout.FIRST_READ,
            data_length=self._written,
            addressed=self.addressed,
            entries=self.entries,
            contents=self.contents,
            tile_compression=layout.GZIP if self._kind is TileFormat.PBF else layout.NONE,
            tile_type=TYPES.get(self._kind, TYPES.get(subject.info.tile_format, 0)),
            **_places(subject, zooms),
        )
        self._disk.pwrite(self._descriptor, (header.pack() + root).ljust(layout.FIRST_READ, b"\0"), 0)

    def _directories(self, start: int) -> tuple[bytes, int]:
        """The root directory, compressed, and the length of the leaves, which are written from ``start`` on."""
        if self.entries <= ROOT_ONLY:
            root = layout.compress(layout.pack_directory(self._read_entries(0, self.entries)))
            if len(root) <= layout.MAX_ROOT:
                return root, 0
        size = max(LEAF_ENTRIES, -(-self.entries // (2 * ROOT_ENTRIES)))
        while True:
            root, length = self._leaves(start, size)
            if len(root) <= layout.MAX_ROOT:
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
            raise CacheError(f"the scratch file in {self._work} is cut short", hint="run the same command again")
        return Directory(rows["id"], rows["run"], rows["length"], rows["offset"])


def _places(subject: Subject, zooms: Sequence[Zoom]) -> dict[str, int]:
    """The header's zooms, bounds and centre."""
    box = data_box([zoom.span for zoom in zooms], subject.extent)
    if box is None:
        return {}
    low, high = zooms[0].place.zoom, zooms[-1].place.zoom
    south_y, north_y = max(box.ymin, -GOOGLE_ORIGIN), min(box.ymax, GOOGLE_ORIGIN)
    west, east = longitude(max(box.xmin, -GOOGLE_ORIGIN)), longitude(min(box.xmax, GOOGLE_ORIGIN))
    degrees = {
        "west": west,
        "south": latitude(south_y),
        "east": east,
        "north": latitude(north_y),
        "center_lon": (west + east) / 2,
        "center_lat": latitude((south_y + north_y) / 2),
    }
    places = {name: round(value * 1e7) for name, value in degrees.items()}
    return {**places, "min_zoom": low, "max_zoom": high, "center_zoom": (low + high) // 2}


def _metadata(subject: Subject, held: CacheInfo, kind: TileFormat, zooms: Sequence[Zoom]) -> bytes:
    info = subject.info
    word = (kind if kind is not TileFormat.UNKNOWN else info.tile_format).value
    document: dict[str, Any] = {
        "name": info.name or held.name or "tiles",
        "description": info.description or held.details.get("description", ""),
        "attribution": info.attribution or held.attribution,
        "type": "baselayer" if word == "jpg" else "overlay",
        "version": "1.0.0",
        "format": word,
        "generator": subject.generator,
        "source": info.source,
        "tile_size": info.scheme.tile_width,
    }
    if word == TileFormat.PBF.value:
        del document["tile_size"]
    document = {name: value for name, value in document.items() if value}
    if word == TileFormat.PBF.value:
        document["vector_layers"] = []
    document["levels"] = [
        {"zoom": zoom.place.zoom, "level": zoom.level, "tiles": zoom.tiles, "xxh3": zoom.digest.hexdigest()}
        for zoom in zooms
    ]
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
