"""PMTiles v3 made of a work folder: tiles in the order of their ids, then what is known of them.

Tiles are read block by block along the Hilbert curve, where a block of 128 x 128 is one stretch of ids, so nothing is
sorted but the blocks' names; entries wait in a scratch file until their number is known. Memory stays flat.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from harvester.caches import bundle_v2, compact, root_json
from harvester.caches import pmtiles_layout as layout
from harvester.caches.bundles import BundleReader
from harvester.caches.counted import manifest_of
from harvester.caches.json_text import with_texts
from harvester.caches.kept import KEPT, METADATA, Kept
from harvester.caches.layer_survey import Listed, layers_for
from harvester.caches.mbtiles_metadata import Span as ZoomSpan
from harvester.caches.mbtiles_metadata import data_box
from harvester.caches.pmtiles_archive import ELSEWHERE, TYPES, Archive, Limits
from harvester.caches.pmtiles_layout import Header
from harvester.caches.pmtiles_reader import VECTOR_TILE_SIZE
from harvester.caches.pmtiles_work import NAME
from harvester.caches.records import Span, read_bodies, read_index, read_record
from harvester.caches.vector_layers import joined_layers, render_layers
from harvester.caches.world import first_outside, no_place
from harvester.durable import Disk, disk_error, disk_full
from harvester.edges import CacheInfo, Subject, TileFormat, VectorLayer
from harvester.errors import UnsupportedFormatError
from harvester.manifest import KEY, Manifest, TileSum, counted_from, held_lods
from harvester.tiling.google import google_scheme, latitude, longitude
from harvester.tiling.scheme import GOOGLE_ORIGIN, GooglePlace
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey

if TYPE_CHECKING:
    from harvester.caches.pmtiles_layout import Ints

NORMAL = Limits()

_A_PERSONS = ("name", "description", "type", "version")
"""Keys of the metadata that stay as they are once they are there."""

_OF_THE_TILES = ("tile_size", "vector_layers", "attribution")
"""Keys that are there only where the tiles or their source have them."""


@dataclass(slots=True)
class Zoom:
    """What one zoom holds: its tiles, where they reach (rows from the top), what is stored of them, summed."""

    place: GooglePlace
    level: int
    tiles: int = 0
    top: int = 1 << 62
    bottom: int = -1
    left: int = 1 << 62
    right: int = -1
    held: TileSum = field(default_factory=TileSum)

    @property
    def span(self) -> ZoomSpan:
        """The same in MBTiles' words, rows from the bottom."""
        last = (1 << self.place.zoom) - 1
        return ZoomSpan(self.place.zoom, self.left, self.right, last - self.bottom, last - self.top)


def seal(work: Path, part: Path, subject: Subject, *, disk: Disk, limits: Limits = NORMAL) -> tuple[str, ...]:
    """Make the archive ``part`` of the compact cache in ``work``, durably; the caller renames it.

    The same tiles make the same bytes. Gives what a person should hear of them. Raises UnsupportedFormatError where
    tiles are of several types or no XYZ tiles, CacheError where the disk says so; then ``part`` is gone and ``work`` as
    it was.
    """
    total = sum(file.stat().st_size for file in work.rglob("*.bundle"))
    if total > disk.free_bytes(part):
        raise disk_full(part, total)
    with compact.open_reader(work) as reader:
        zooms = _zooms(reader, work)
        told = manifest_of(reader)
        if told is not None and told.extent is not None:
            subject = replace(subject, extent=told.extent)
        descriptor = disk.open(part, write=True, create=True, truncate=True)
        try:
            with _scratch(work) as scratch, Archive(disk, descriptor, scratch, work, limits) as archive:
                for zoom in zooms:
                    _add_zoom(archive, reader, zoom)
                held = [zoom for zoom in zooms if zoom.tiles]
                is_vector = archive.kind is TileFormat.PBF
                listed = layers_for(subject.info.vector_layers, reader) if is_vector else Listed(())
                metadata = _metadata(subject, reader.info, archive.kind, held, listed.layers, _kept(work, disk))
                kind = TYPES.get(archive.kind, TYPES.get(subject.info.tile_format, 0))
                archive.close(metadata, Header(tile_type=kind, **_places(subject, held)))
            disk.fsync(descriptor)
        except BaseException:
            disk.close(descriptor)
            disk.remove(part)
            raise
        disk.close(descriptor)
        return listed.notices


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
            raise UnsupportedFormatError(message, hint=ELSEWHERE.format(work=work.name))
        if place.zoom in found:
            levels = f"{found[place.zoom].level} and {level}"
            raise UnsupportedFormatError(
                f"LODs {levels} are both zoom {place.zoom}, and PMTiles holds each zoom once",
                hint=ELSEWHERE.format(work=work.name),
            )
        found[place.zoom] = Zoom(place, level)
        _require_inside(reader, level, place)
    return [found[zoom] for zoom in sorted(found)]


def _require_inside(reader: BundleReader, level: int, place: GooglePlace) -> None:
    """A tile without an id would be left out in silence. Blocks at the world's edge alone are looked at."""
    every = np.arange(BLOCK_TILES)
    for key in reader.bundles.keys(level):
        if first_outside(key, every, place) is None:
            continue
        outside = first_outside(key, np.flatnonzero(reader.present(key)), place)
        if outside is not None:
            raise no_place(outside, NAME)


# ---------------------------------------------------------------------------------------------- tiles in order


def _add_zoom(archive: Archive, reader: BundleReader, zoom: Zoom) -> None:
    """Every tile of one zoom in the order of ids."""
    half, _ = counted_from(google_scheme(reader.info.scheme.tile_width, zoom.place.zoom), zoom.place.zoom)
    for key in _blocks(reader, zoom):
        low, _ = layout.block_range(key)
        sources = list(_sources(reader, zoom, key))
        positions = layout.block_positions(key)
        held = np.zeros(BLOCK_TILES, np.int64)
        for number, (_, at, _, lengths) in enumerate(sources):
            held[at] = np.where(lengths > 0, number + 1, 0)
        spans = np.zeros((2, BLOCK_TILES), np.int64)
        for _, at, offsets, lengths in sources:
            spans[:, at] = offsets, lengths
        order = np.flatnonzero(held[positions])
        there = positions[order]
        bodies = _bodies([source[0] for source in sources], held[there] - 1, *spans[:, there])
        for place, position, body in zip(order.tolist(), there.tolist(), bodies, strict=True):
            if body is not None:
                row, col = key.row + position // BLOCK, key.col + position % BLOCK
                zoom.held.add(row + half, col + half, archive.add(low + place, body))
                zoom.tiles += 1
                if not zoom.top <= row <= zoom.bottom:
                    zoom.top, zoom.bottom = min(zoom.top, row), max(zoom.bottom, row)
                if not zoom.left <= col <= zoom.right:
                    zoom.left, zoom.right = min(zoom.left, col), max(zoom.right, col)


def _bodies(spans: Sequence[Span], numbers: Ints, offsets: Ints, lengths: Ints) -> Iterator[bytes | None]:
    """The bytes of records, each in the bundle of its number; most blocks lie in one bundle."""
    if len(spans) == 1:
        return read_bodies(spans[0], offsets, lengths)
    places = zip(numbers.tolist(), offsets.tolist(), lengths.tolist(), strict=True)
    return (read_record(spans[number], offset, length) for number, offset, length in places)


def _blocks(reader: BundleReader, zoom: Zoom) -> Iterator[BlockKey]:
    """The zoom's own blocks (of the Google grid) that may hold tiles, in the order of ids."""
    keys: set[BlockKey] = set()
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


def _sources(reader: BundleReader, zoom: Zoom, key: BlockKey) -> Iterator[tuple[Span, Ints, Ints, Ints]]:
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
        )


# ---------------------------------------------------------------------------------------------- what is known of them


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


def _metadata(
    subject: Subject,
    held: CacheInfo,
    kind: TileFormat,
    zooms: Sequence[Zoom],
    layers: Sequence[VectorLayer],
    text: bytes,
) -> bytes:
    """The archive's JSON; ``text``: what it said before it was added to, of which what a person wrote stays."""
    info, kept = subject.info, root_json.load(text, KEPT)
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
    if word == TileFormat.PBF.value and info.scheme.tile_width == VECTOR_TILE_SIZE:
        del document["tile_size"]
    document = {name: value for name, value in document.items() if value}
    document |= {name: kept[name] for name in _A_PERSONS if kept.get(name)}
    if word == TileFormat.PBF.value:
        document["vector_layers"] = joined_layers(kept.get("vector_layers"), render_layers(layers))
    document["levels"] = [{"zoom": zoom.place.zoom, "level": zoom.level, "tiles": zoom.tiles} for zoom in zooms]
    document[KEY] = _manifest(subject, held, zooms).to_dict()
    document |= {name: value for name, value in kept.items() if name not in {*document, *_OF_THE_TILES}}
    return with_texts(document, text, KEPT)


def _kept(work: Path, disk: Disk) -> bytes:
    with Kept(work, disk) as kept:
        return kept.document(METADATA) or b"{}"


def _manifest(subject: Subject, held: CacheInfo, zooms: Sequence[Zoom]) -> Manifest:
    """The work folder's manifest with what the archive holds: its levels are zooms, and vector tiles may have been
    compressed."""
    known = Manifest.parse(held.details.get(KEY, "")) or Manifest(
        source=subject.info.source, attribution=subject.info.attribution, policies=subject.policies
    )
    scheme = google_scheme(held.scheme.tile_width, max((zoom.place.zoom for zoom in zooms), default=0))
    return replace(known, lods=held_lods((scheme.by_level[zoom.place.zoom], zoom.held) for zoom in zooms))
