"""The layout of an Esri compact cache V1 bundle, a pair of .bundle and .bundlx, as pure functions on bytes.

Source: files that ArcGIS 10.0 to 10.3 wrote, alone and inside tile packages (.tpk); names are those of V2. All numbers
are little-endian. Records are those of V2 (u32 size, then the tile's bytes), so one index in memory serves both: shape
(16384,), row-major, offset of the tile's first byte and its size packed as ``bundle_v2`` has them.

.bundle, header:
    offset  type  field
    0       u32   version, 3
    4       u32   number of entries, 16384
    8       u32   largest tile, bytes
    12      u32   bytes of an entry's offset, 5
    16      u64   4 x number of tiles
    24      u64   file size
    32      u64   40
    40      u32   16
    44      u32   first row, last row, first column, last column of the block
    60      ...   16384 words of zero, one for each entry, then the records from 65596 on

.bundlx, 81952 bytes:
    0       u32   3, 16, 16384, 5
    16      5 x   16384 entries, **column-major**: offset of the record's size word in the .bundle
    81936   u32   0, 16, 16, 0

The entry of an absent tile points at its own word of zero: 60 + 4 x its number. Some writers put 0. So absent is what
points in front of the records.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harvester.caches import bundle_v2
from harvester.caches.bundle_v2 import MAX_OFFSET, MAX_SIZE, OFFSET_BITS, PREFIX_SIZE, Problem
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harvester.caches.bundle_v2 import Index

HEADER_SIZE = 60
ZERO_SIZE = 4
"""The word of zero that an absent tile's entry points at."""

DATA_START = HEADER_SIZE + BLOCK_TILES * ZERO_SIZE
"""Where the first record starts: 65596, also the size of a .bundle without tiles."""

INDEX_START = 16
ENTRY_SIZE = 5
INDEX_END = INDEX_START + BLOCK_TILES * ENTRY_SIZE
INDEX_FILE_SIZE = INDEX_END + 16

_HEADER = struct.Struct("<4I3Q5I")
_INDEX_HEAD = struct.pack("<4I", 3, 16, BLOCK_TILES, 5)
_INDEX_TAIL = struct.pack("<4I", 0, 16, 16, 0)

WALK_BYTES = 4096
"""Read at once while walking from size word to size word: a page, which a file system reads for four bytes anyway."""


class Header(NamedTuple):
    """The header's words."""

    version: int = 3
    records: int = BLOCK_TILES
    largest: int = 0
    offset_bytes: int = 5
    tile_words: int = 0
    file_size: int = DATA_START
    legacy_size: int = 40
    legacy_words: int = 16
    first_row: int = 0
    last_row: int = BLOCK - 1
    first_col: int = 0
    last_col: int = BLOCK - 1

    def pack(self) -> bytes:
        """The header's 60 bytes."""
        return _HEADER.pack(*self)


def header_of(key: BlockKey, *, largest: int = 0, tiles: int = 0, file_size: int = DATA_START) -> Header:
    """The header of a block's bundle with so many tiles."""
    return Header(
        largest=largest,
        tile_words=ZERO_SIZE * tiles,
        file_size=file_size,
        first_row=key.row,
        last_row=key.row + BLOCK - 1,
        first_col=key.col,
        last_col=key.col + BLOCK - 1,
    )


def parse_header(data: bytes) -> Header | None:
    """The header, or None when the bytes aren't one. Only what readers rely on is judged."""
    if len(data) < HEADER_SIZE:
        return None
    header = Header(*_HEADER.unpack_from(data))
    return header if header.version == 3 and header.offset_bytes == 5 else None


# ---------------------------------------------------------------------------------------------- index


def entry_number(number: int) -> int:
    """The column-major number of an entry, of a tile's row-major position."""
    return number % BLOCK * BLOCK + number // BLOCK


def entry_position(number: int) -> int:
    """Where in the .bundlx the entry of a row-major position lies."""
    return INDEX_START + ENTRY_SIZE * entry_number(number)


SECTOR_BYTES = 512
"""What a disk writes whole or not at all."""


def may_be_torn(number: int) -> bool:
    """Does the entry of a row-major position lie across the end of a sector? About one in a hundred does."""
    return entry_position(number) % SECTOR_BYTES > SECTOR_BYTES - ENTRY_SIZE


_ABSENT = HEADER_SIZE + ZERO_SIZE * np.arange(BLOCK_TILES, dtype=np.int64)
"""Offsets of the words of zero, by entry number."""


def pack_entries(index: Index, first: int = 0, last: int = BLOCK_TILES) -> bytes:
    """The bytes of entries ``first`` up to, not including, ``last``, by entry number, of a row-major index."""
    held = bundle_v2.sizes(index) > 0
    words = np.where(held, bundle_v2.offsets(index) - PREFIX_SIZE, 0).reshape(BLOCK, BLOCK).T.reshape(-1)
    words = np.where(held.reshape(BLOCK, BLOCK).T.reshape(-1), words, _ABSENT)[first:last]
    return words.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :ENTRY_SIZE].tobytes()


def pack_index(index: Index) -> bytes:
    """A whole .bundlx of a row-major index."""
    return _INDEX_HEAD + pack_entries(index) + _INDEX_TAIL


def begins_index(data: bytes) -> bool:
    """Do a file's first bytes, as far as they go, say that it is a .bundlx?"""
    return _INDEX_HEAD.startswith(data[:INDEX_START])


def parse_starts(data: bytes) -> NDArray[np.int64] | None:
    """Where each tile's record starts, row-major, 0 where there is none; None where the bytes are no .bundlx.

    The words behind the entries are not judged.
    """
    if len(data) < INDEX_END or not begins_index(data):
        return None
    packed = np.frombuffer(data, dtype=np.uint8, count=BLOCK_TILES * ENTRY_SIZE, offset=INDEX_START)
    wide = np.zeros((BLOCK_TILES, 8), dtype=np.uint8)
    wide[:, :ENTRY_SIZE] = packed.reshape(-1, ENTRY_SIZE)
    starts = wide.view("<u8").reshape(BLOCK, BLOCK).T.reshape(-1).astype(np.int64)
    starts[starts < DATA_START] = 0
    return starts


def layout(tile_sizes: NDArray[np.int64]) -> tuple[Index, int]:
    """The index of a bundle whose tiles follow each other row-major without gaps, as ArcGIS exports them, and the
    .bundle's size.

    ``tile_sizes``: shape (16384,), row-major, 0 where there is no tile. Raises ValueError where one does not fit.
    """
    ends = DATA_START + np.cumsum(np.where(tile_sizes > 0, tile_sizes + PREFIX_SIZE, 0))
    file_size = int(ends[-1])
    if int(tile_sizes.max(initial=0)) > MAX_SIZE or file_size - 1 > MAX_OFFSET:
        raise ValueError("a tile or a bundle is larger than an entry can state")
    packed = tile_sizes.astype(np.uint64) << np.uint64(OFFSET_BITS) | (ends - tile_sizes).astype(np.uint64)
    return np.where(tile_sizes > 0, packed, np.uint64(0)), file_size


# ---------------------------------------------------------------------------------------------- records

Read = Callable[[int, int], bytes]
"""``size`` bytes from ``offset`` of the .bundle, fewer only where it ends."""


def walk(file_size: int, read: Read) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """The records that follow each other from the first on: where they start, their sizes, and where that ends.

    Bundles are only ever appended to, so in a whole one this is every record that an entry may name, and the end is
    the file's. It ends early at a torn record, and at a gap that another writer left.
    """
    starts: list[int] = []
    sizes: list[int] = []
    at, data, begin = DATA_START, b"", DATA_START
    while at + PREFIX_SIZE < file_size:
        if not begin <= at <= begin + len(data) - PREFIX_SIZE:
            data, begin = read(WALK_BYTES, at), at
            if len(data) < PREFIX_SIZE:
                break
        size = int.from_bytes(data[at - begin : at - begin + PREFIX_SIZE], "little")
        if not 0 < size <= MAX_SIZE or at + PREFIX_SIZE + size > file_size:
            break
        starts.append(at)
        sizes.append(size)
        at += PREFIX_SIZE + size
    return np.array(starts, dtype=np.int64), np.array(sizes, dtype=np.int64), at


def sound_index(starts: NDArray[np.int64], file_size: int, read: Read) -> tuple[Index, int]:
    """The entries that name a whole record, packed, and where the records end that follow each other.

    An entry is five bytes and may be torn where a page or a sector ends, into an offset that leads into the middle of
    a tile. So where records follow each other, an entry must name one of them; behind that, one that fits the file.
    """
    chain, sizes, end = walk(file_size, read)
    index = bundle_v2.empty_index()
    inside = np.flatnonzero((starts > 0) & (starts < end))
    if inside.size and chain.size:
        at = np.searchsorted(chain, starts[inside])
        at[at == chain.size] = 0
        named = chain[at] == starts[inside]
        inside, at = inside[named], at[named]
        index[inside] = sizes[at].astype(np.uint64) << np.uint64(OFFSET_BITS) | (chain[at] + PREFIX_SIZE).astype(
            np.uint64
        )
    for number in np.flatnonzero((starts > 0) & (starts >= end)).tolist():
        start = int(starts[number])
        size = record_size(start, file_size, read)
        if size:
            index[number] = bundle_v2.entry(start + PREFIX_SIZE, size)
    return index, end


def record_size(start: int, file_size: int, read: Read) -> int:
    """Bytes of the tile whose record starts there; 0 where no whole one does."""
    if start < DATA_START or start + PREFIX_SIZE > file_size:
        return 0
    size = int.from_bytes(read(PREFIX_SIZE, start), "little")
    return size if 0 < size <= MAX_SIZE and start + PREFIX_SIZE + size <= file_size else 0


def problems(head: bytes, entries: bytes, file_size: int, read: Read) -> Iterator[Problem]:
    """All that is wrong in a pair. ``head``: the .bundle's first 60 bytes; ``entries``: the whole .bundlx.

    Gaps, orphaned records, and the header's sums are no problems: appending leaves them behind.
    """
    if len(head) < HEADER_SIZE or file_size < DATA_START:
        yield Problem(f"{file_size} bytes are too few for a header and its words of zero")
        return
    if parse_header(head) is None:
        yield Problem("the header is not that of a compact cache V1 bundle")
        return
    starts = parse_starts(entries)
    if starts is None:
        yield Problem("its .bundlx is missing, cut, or not that of a compact cache V1 bundle")
        return
    index, _ = sound_index(starts, file_size, read)
    for number in np.flatnonzero((starts > 0) & (index == 0)).tolist():
        # A word of zero behind the records is how some writers mark a tile as taken out.
        start = int(starts[number])
        if start + PREFIX_SIZE > file_size:
            yield Problem(f"offset {start} lies behind the file's end at {file_size}", number)
        elif read(PREFIX_SIZE, start) != bytes(PREFIX_SIZE):
            yield Problem(f"offset {start} is not where a whole record starts", number)
