"""The layout of an Esri compact cache V2 bundle: names, header, index and tile records, as pure functions on bytes.

Source: Esri/raster-tiles-compactcache, CompactCacheV2.md, and files that ArcGIS 10.3 and 10.7 wrote. All numbers are
little-endian. A bundle is header (64 bytes), index (131072 bytes), then records in any order, with or without gaps.

Header:
    offset  type  field
    0       u32   version, 3
    4       u32   number of entries, 16384 (ArcGIS writes 0; GDAL's conf.xml path reads black unless it is 16384)
    8       u32   largest tile, bytes (ArcGIS writes 131092 where all are smaller)
    12      u32   bytes of an entry's offset, 5
    16      u64   slack space, 0
    24      u64   file size
    32      u64   offset of the user header, 40
    40      u32   size of the user header and index, 131092
    44..59  u32   3, 16, 16384, 5: the header of a V1 .bundlx file, carried along (ArcGIS writes 0 for the 16)
    60      u32   size of the index, 131072

Index: 128 x 128 entries of u64, row-major; bits 0..39 are the offset of the tile's first byte (behind its size word),
bits 40..63 its size. Size 0 is an absent tile, whatever the offset says (ArcGIS writes offset 4, Esri's script 0).

Record: u32 size, then the tile's bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Index = NDArray[np.uint64]
    """The entries of a bundle: shape (16384,), row-major, packed as on disk."""

HEADER_SIZE = 64
ENTRY_SIZE = 8
INDEX_SIZE = BLOCK_TILES * ENTRY_SIZE
PREFIX_SIZE = 4
"""The size word in front of each tile."""

DATA_START = HEADER_SIZE + INDEX_SIZE
"""Where the first record starts: 131136, also the size of a bundle without tiles."""

FIRST_TILE = DATA_START + PREFIX_SIZE
"""The lowest offset that an entry of a tile may have: 131140."""

OFFSET_BITS = 40
MAX_OFFSET = (1 << OFFSET_BITS) - 1
"""The last byte of a bundle that an entry can point at: 1 TiB - 1."""

MAX_SIZE = (1 << 24) - 1
"""The largest tile whose size an entry can state."""

_HEADER = struct.Struct("<4I3Q6I")
_PREFIX = struct.Struct("<I")

MOST_DIGITS = 12
"""Of a row or column in a name."""

_LEVEL = re.compile(r"[Ll]([0-9]{2,9})")
_NAME = re.compile(r"[Rr]([0-9a-fA-F]{9,25})\.bundle")
_LETTER = re.compile(r"(?<=[0-9a-fA-F]{4})[Cc](?=[0-9a-fA-F]{4})")


class Header(NamedTuple):
    """The header's words; the defaults are what Esri's paper says and every known reader accepts."""

    version: int = 3
    records: int = BLOCK_TILES
    largest: int = 0
    offset_bytes: int = 5
    slack: int = 0
    file_size: int = DATA_START
    user_offset: int = 40
    user_size: int = 20 + INDEX_SIZE
    legacy_version: int = 3
    legacy_size: int = 16
    legacy_records: int = BLOCK_TILES
    legacy_offset_bytes: int = 5
    index_size: int = INDEX_SIZE

    def pack(self) -> bytes:
        """The header's 64 bytes."""
        return _HEADER.pack(*self)


def parse_header(data: bytes) -> Header | None:
    """The header, or None when the bytes aren't one. ArcGIS's own words are taken as well as those of Esri's paper.

    File size, largest tile and slack are not judged: ArcGIS, GDAL and MapProxy all read bundles where they are wrong.
    """
    if len(data) < HEADER_SIZE:
        return None
    header = Header(*_HEADER.unpack_from(data))
    if header.version != 3 or header.offset_bytes != 5 or header.index_size != INDEX_SIZE:
        return None
    if header.records not in (0, BLOCK_TILES):
        return None
    return header


# ---------------------------------------------------------------------------------------------- names


def level_folder(level: int) -> str:
    """The folder of a level: ``L`` and the level in decimal, at least two digits."""
    return f"L{level:02d}"


def bundle_name(key: BlockKey) -> str:
    """The file of a block: row and column of its first tile in lower-case hex, at least four digits."""
    return f"R{key.row:04x}C{key.col:04x}.bundle"


def parse_level_folder(name: str) -> int | None:
    """The level of a folder's name in either case, or None."""
    match = _LEVEL.fullmatch(name)
    return int(match[1]) if match else None


def parse_bundle_name(level: int, name: str) -> BlockKey | None:
    """The block of a file's name in either case, or None, also where row and column are no block's first ones."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    text, found = match[1], None
    for letter in _LETTER.finditer(text):
        # The letter between row and column is a digit, too: ``R0000Cc0000`` has two places where it may be.
        row, col = text[: letter.start()], text[letter.end() :]
        key = BlockKey(level, int(row, 16), int(col, 16))
        if max(len(row), len(col)) > MOST_DIGITS or key.row % BLOCK or key.col % BLOCK:
            continue
        if bundle_name(key) == name:
            return key
        if found is None or bundle_name(key).lower() == name.lower():
            found = key
    return found


# ---------------------------------------------------------------------------------------------- index


def empty_index() -> Index:
    """An index without tiles."""
    return np.zeros(BLOCK_TILES, dtype=np.uint64)


def parse_index(data: bytes) -> Index:
    """The index from its 131072 bytes, writable."""
    return np.frombuffer(data, dtype="<u8", count=BLOCK_TILES).astype(np.uint64)


def pack_index(index: Index, first: int = 0, last: int = BLOCK_TILES) -> bytes:
    """The bytes of entries ``first`` up to, not including, ``last``."""
    return index[first:last].astype("<u8", copy=False).tobytes()


def entry_position(number: int) -> int:
    """Where in the file entry ``number`` (row-major) lies."""
    return HEADER_SIZE + ENTRY_SIZE * number


def entry(offset: int, size: int) -> int:
    """One packed entry; ``offset`` is that of the tile's first byte."""
    if not (0 <= offset <= MAX_OFFSET and 0 <= size <= MAX_SIZE):
        raise ValueError(f"no entry holds offset {offset} and size {size}")
    return size << OFFSET_BITS | offset


def offsets(index: Index) -> NDArray[np.int64]:
    """Offset of each tile's first byte."""
    return (index & np.uint64(MAX_OFFSET)).astype(np.int64)


def sizes(index: Index) -> NDArray[np.int64]:
    """Size of each tile, 0 where there is none."""
    return (index >> np.uint64(OFFSET_BITS)).astype(np.int64)


prefix: Callable[[int], bytes] = _PREFIX.pack
"""The size word in front of a tile of a size (the packing itself: it is called once a tile)."""


def within(index: Index, file_size: int) -> NDArray[np.bool_]:
    """Which entries state a tile that lies wholly in the file's records."""
    size, offset = sizes(index), offsets(index)
    return (size > 0) & (offset >= FIRST_TILE) & (offset + size <= file_size)


def layout(tile_sizes: NDArray[np.int64]) -> tuple[Index, int]:
    """The index of a bundle whose tiles follow each other row-major without gaps, and the file's size.

    ``tile_sizes``: shape (16384,), 0 where there is no tile. Raises ValueError where a size or an offset does not fit.
    """
    steps = np.where(tile_sizes > 0, tile_sizes + PREFIX_SIZE, 0)
    ends = DATA_START + np.cumsum(steps)
    file_size = int(ends[-1])
    if int(tile_sizes.max(initial=0)) > MAX_SIZE or file_size - 1 > MAX_OFFSET:
        raise ValueError("a tile or a bundle is larger than an entry can state")
    starts = (ends - tile_sizes).astype(np.uint64)
    index = tile_sizes.astype(np.uint64) << np.uint64(OFFSET_BITS) | starts
    return np.where(tile_sizes > 0, index, np.uint64(0)), file_size


# ---------------------------------------------------------------------------------------------- checking


class Problem(NamedTuple):
    """What is wrong in a bundle, at which entry (None: the whole file). ``warning``: odd, but every tile is whole."""

    what: str
    number: int | None = None
    warning: bool = False


def problems(head: bytes, file_size: int, read: Callable[[int, int], bytes]) -> Iterator[Problem]:
    """All that is wrong in a bundle. ``head``: its first 131136 bytes; ``read(size, offset)`` gives bytes of the file.

    Gaps, orphaned records, a wrong file size, largest tile or slack are no problems: appending leaves them behind.
    """
    if len(head) < DATA_START:
        yield Problem(f"{file_size} bytes are too few for a header and an index")
        return
    if parse_header(head) is None:
        yield Problem("the header is not that of a compact cache V2 bundle")
        return
    index = parse_index(head[HEADER_SIZE:DATA_START])
    size, offset = sizes(index), offsets(index)
    for number in np.flatnonzero(size).tolist():
        start, length = int(offset[number]), int(size[number])
        if start < FIRST_TILE:
            yield Problem(f"offset {start} lies in the header or the index", number)
        elif start + length > file_size:
            yield Problem(f"bytes {start} to {start + length} lie behind the file's end at {file_size}", number)
        elif (stated := read(PREFIX_SIZE, start - PREFIX_SIZE)) != prefix(length):
            yield Problem(f"the size word says {int.from_bytes(stated, 'little')}, the index {length}", number)
    sound = np.flatnonzero(within(index, file_size))
    ordered = sound[np.argsort(offset[sound], kind="stable")]
    overlaps = offset[ordered][1:] < (offset[ordered] + size[ordered])[:-1]
    for number in ordered[1:][overlaps].tolist():
        yield Problem(f"the bytes at {int(offset[number])} belong to another tile too", number, warning=True)
