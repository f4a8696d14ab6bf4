"""A PMTiles archive taken apart into a work folder of the source's levels and blocks, so that tiles can be added."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harvester.caches import bundle_v2, work_folder
from harvester.caches.description import Description, format_word
from harvester.caches.kept import METADATA, keep_document
from harvester.caches.placed import Place, place_levels
from harvester.caches.pmtiles_reader import PMTilesReader, open_reader
from harvester.durable import Disk
from harvester.errors import UnsupportedFormatError
from harvester.manifest import KEY
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey

if TYPE_CHECKING:
    from harvester.caches.pmtiles_layout import Ints

CHUNK_BYTES = 1 << 20
"""Written at once: few calls, little memory."""


def unpack(package: Path, work: Path, *, disk: Disk, scheme: TilingScheme) -> None:
    """Make the compact cache folder ``work``, which must not be there, of an archive, in the levels of ``scheme``.

    It appears by rename, so a folder of that name is whole. Tiles of zooms that the scheme lacks would be lost, so they
    are refused. Raises CacheError.
    """
    with work_folder.appearing(package, work, disk) as part, open_reader(package) as reader:
        places = _places(reader, scheme)
        blocks = ((key, place) for level, place in places.items() for key in _blocks(reader, level, place))
        unpacked = sum(_size(_spans(reader, key, place)[1]) for key, place in blocks)
        # The archive is made anew beside what is unpacked.
        work_folder.begin(part, work, unpacked + package.stat().st_size, disk)
        for level, place in places.items():
            work_folder.write_level(part, level, _bundles(reader, level, place), disk)
        keep_document(METADATA, reader.metadata_text, part, disk)
        about, manifest = _description(reader, scheme), reader.info.details.get(KEY, "")
        work_folder.write_documents(part, about, list(places), manifest, disk)


def _places(reader: PMTilesReader, scheme: TilingScheme) -> dict[int, Place]:
    """The scheme's levels that the archive holds, ascending, and where they lie there."""
    placed = place_levels(scheme, reader.info.scheme)
    held = set(reader.levels())
    places = {level: place for level, place in sorted(placed.items()) if place.level in held}
    lost = sorted(held - {place.level for place in places.values()})
    if lost or reader.is_packed:
        what = f"zoom {lost[0]} is no LOD of the source" if lost else "its pictures are compressed once more"
        raise UnsupportedFormatError(
            f"{reader.path} cannot be added to: {what}",
            hint="Write to another output, or replace it: --mode overwrite.",
        )
    return places


def _blocks(reader: PMTilesReader, level: int, place: Place) -> list[BlockKey]:
    """The scheme's blocks that may hold tiles of the archive."""
    keys: set[BlockKey] = set()
    for block in reader.blocks(place.level):
        top, left = block.row - place.rows, block.col - place.cols
        keys.update(
            BlockKey(level, row & -BLOCK, col & -BLOCK)
            for row in (top, top + BLOCK - 1)
            for col in (left, left + BLOCK - 1)
        )
    return sorted(key for key in keys if min(key.row, key.col) >= 0)


def _spans(reader: PMTilesReader, key: BlockKey, place: Place) -> tuple[Ints, Ints]:
    """Offset and length of each tile of one of the scheme's blocks, row-major; up to four of the archive's make one."""
    top, left = key.row + place.rows, key.col + place.cols
    found = np.zeros((2, BLOCK, BLOCK), np.int64)
    for row in {top & -BLOCK, (top + BLOCK - 1) & -BLOCK}:
        for col in {left & -BLOCK, (left + BLOCK - 1) & -BLOCK}:
            spans = reader.spans(BlockKey(place.level, row, col))
            theirs = np.stack(spans).reshape(2, BLOCK, BLOCK)
            row0, row1 = max(row, top), min(row, top) + BLOCK
            col0, col1 = max(col, left), min(col, left) + BLOCK
            found[:, row0 - top : row1 - top, col0 - left : col1 - left] = theirs[
                :, row0 - row : row1 - row, col0 - col : col1 - col
            ]
    flat = found.reshape(2, BLOCK_TILES)
    return flat[0], flat[1]


def _size(lengths: Ints) -> int:
    """Bytes of one block's bundle: more than the archive has for it, in which a content lies once."""
    return bundle_v2.layout(lengths)[1] if lengths.any() else 0


def _bundles(reader: PMTilesReader, level: int, place: Place) -> Iterator[tuple[BlockKey, Iterator[bytes]]]:
    """A level's bundles, row-major without gaps; none of a block that holds nothing."""
    for key in _blocks(reader, level, place):
        offsets, lengths = _spans(reader, key, place)
        if lengths.any():
            packed, size = bundle_v2.layout(lengths)
            header = bundle_v2.Header(largest=int(lengths.max()), file_size=size)
            yield key, _chunks(header.pack() + bundle_v2.pack_index(packed), reader, offsets, lengths)


def _chunks(head: bytes, reader: PMTilesReader, offsets: Ints, lengths: Ints) -> Iterator[bytes]:
    waiting = bytearray(head)
    for position in np.flatnonzero(lengths).tolist():
        length = int(lengths[position])
        body = reader.content(int(offsets[position]), length)
        if body is None:
            raise reader.damaged("a tile is cut short")
        waiting += bundle_v2.prefix(length)
        waiting += body
        if len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting)
            waiting = bytearray()
    yield bytes(waiting)


def _description(reader: PMTilesReader, scheme: TilingScheme) -> Description:
    info = reader.info
    return Description(
        scheme=scheme,
        format_name=format_word(info.tile_format, ""),
        extent=info.extent,
        name=info.name,
        description=info.details.get("description", ""),
        attribution=info.attribution,
    )
