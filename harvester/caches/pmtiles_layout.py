"""The layout of a PMTiles v3 archive: header, tile ids along the Hilbert curve, directories; pure functions on bytes.

Source: PMTiles specification, version 3. All numbers are little-endian. Rows count from the top.

Header, 127 bytes:
    offset  type    field
    0       7 x u8  "PMTiles"
    7       u8      version, 3
    8       u64     root directory: offset (in the first 16,384 bytes), then its length
    24      u64     metadata (JSON): offset, length
    40      u64     leaf directories: offset, length
    56      u64     tile data: offset, length
    72      u64     tiles addressed, entries of tiles, different contents; 0 where unknown
    96      u8      1: contents lie in the order of tile ids
    97      u8      compression of directories and metadata: 1 none, 2 gzip, 3 brotli, 4 zstd
    98      u8      compression of tiles: the same
    99      u8      tile type: 1 vector, 2 PNG, 3 JPEG, 4 WebP, 5 AVIF, 6 MLT
    100     u8      lowest zoom, highest zoom
    102     i32     west, south, east, north in 1e-7 degrees
    118     u8      zoom of the centre
    119     i32     longitude, latitude of the centre in 1e-7 degrees

Directory, compressed: varint number of entries n, then four columns of n varints each:
    tile id less that of the entry before · run length (0: the entry is a leaf directory) · length in bytes ·
    offset + 1, or 0 where the entry follows the one before it

Tile id: 0 for the one tile of zoom 0, then zoom after zoom, each along its Hilbert curve. An aligned square of
2^k x 2^k tiles is one stretch of 4^k ids, so a block of 128 x 128 is 16,384 ids in a row.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

MAGIC = b"PMTiles"
VERSION = 3
HEADER_SIZE = 127
FIRST_READ = 16384
"""Header and root directory lie within; that much a client asks for at once."""

MAX_ROOT = FIRST_READ - HEADER_SIZE

NONE, GZIP = 1, 2
COMPRESSIONS = {0: "unknown", NONE: "none", GZIP: "gzip", 3: "brotli", 4: "zstd"}
MVT, PNG, JPEG, WEBP = 1, 2, 3, 4
TYPES = {0: "unknown", MVT: "mvt", PNG: "png", JPEG: "jpg", WEBP: "webp", 5: "avif", 6: "mlt"}

MAX_DIRECTORY_BYTES = 1 << 23
"""Of one directory, inflated: a million entries. A planet's leaves have 100,000; parsing takes 40 times the bytes."""

MAX_RUN = (1 << 32) - 1
"""Writers count runs in 32 bits."""

MAX_ID = ((1 << 64) - 1) // 3
"""Behind the last tile of zoom 31, the deepest that 64 bits can address."""

_HEADER = struct.Struct("<7sB11Q6B4iB2i")
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""RFC 1952 without a time and with an unknown system: the same bytes on every machine."""

_SEVEN_BITS = 0x7F
_VARINT_BYTES = 10


class Header(NamedTuple):
    """The header's fields, in order."""

    root_offset: int = HEADER_SIZE
    root_length: int = 0
    metadata_offset: int = 0
    metadata_length: int = 0
    leaves_offset: int = 0
    leaves_length: int = 0
    data_offset: int = 0
    data_length: int = 0
    addressed: int = 0
    entries: int = 0
    contents: int = 0
    clustered: int = 1
    internal_compression: int = GZIP
    tile_compression: int = NONE
    tile_type: int = 0
    min_zoom: int = 0
    max_zoom: int = 0
    west: int = -1_800_000_000
    south: int = -850_511_287
    east: int = 1_800_000_000
    north: int = 850_511_287
    center_zoom: int = 0
    center_lon: int = 0
    center_lat: int = 0

    def pack(self) -> bytes:
        """The header's 127 bytes."""
        return _HEADER.pack(MAGIC, VERSION, *self)


def parse_header(data: bytes) -> Header:
    """The header of the first 127 bytes; magic and version are the caller's to check."""
    return Header(*_HEADER.unpack_from(data)[2:])


# ---------------------------------------------------------------------------------------------- tile ids


def first_id(zoom: int) -> int:
    """The id of a zoom's first tile: the number of tiles of all zooms above it."""
    return ((1 << (2 * zoom)) - 1) // 3


def zoom_of(tile_id: int) -> int:
    """The zoom that an id belongs to."""
    return ((3 * tile_id + 1).bit_length() - 1) // 2


def hilbert(zoom: int, rows: Ints, cols: Ints) -> Ints:
    """Places along the zoom's Hilbert curve, from 0."""
    x, y = cols.astype(np.int64), rows.astype(np.int64)
    place = np.zeros(x.shape, np.int64)
    for bit in range(zoom - 1, -1, -1):
        half = 1 << bit
        right, below = (x & half) != 0, (y & half) != 0
        place += ((3 * right.astype(np.int64)) ^ below) << (2 * bit)
        x, y = x & (half - 1), y & (half - 1)
        flip = right & ~below
        x, y = np.where(flip, half - 1 - x, x), np.where(flip, half - 1 - y, y)
        x, y = np.where(below, x, y), np.where(below, y, x)
    return place


def unhilbert(zoom: int, places: Ints) -> tuple[Ints, Ints]:
    """Rows and columns of places along the zoom's Hilbert curve."""
    place = places.astype(np.int64)
    x, y = np.zeros(place.shape, np.int64), np.zeros(place.shape, np.int64)
    for bit in range(zoom):
        half = 1 << bit
        right = (place >> 1) & 1
        below = (place ^ right) & 1
        flip = (right == 1) & (below == 0)
        x, y = np.where(flip, half - 1 - x, x), np.where(flip, half - 1 - y, y)
        x, y = np.where(below == 1, x, y), np.where(below == 1, y, x)
        x, y = x + half * right, y + half * below
        place = place >> 2
    return y, x


def tile_id(zoom: int, row: int, col: int) -> int:
    """The id of one tile: the plain form of ``hilbert``."""
    place, x, y = 0, col, row
    for bit in range(zoom - 1, -1, -1):
        half = 1 << bit
        right, below = x & half, y & half
        place += ((3 if right else 0) ^ (1 if below else 0)) << (2 * bit)
        x, y = x & (half - 1), y & (half - 1)
        if not below:
            if right:
                x, y = half - 1 - x, half - 1 - y
            x, y = y, x
    return first_id(zoom) + place


def block_range(key: BlockKey) -> tuple[int, int]:
    """The first id of a block's tiles, and how many ids there are: 16,384, or the whole zoom where it is smaller."""
    if 1 << key.level <= BLOCK:
        return first_id(key.level), 1 << (2 * key.level)
    depth = BLOCK.bit_length() - 1
    place = tile_id(key.level - depth, key.row // BLOCK, key.col // BLOCK) - first_id(key.level - depth)
    return first_id(key.level) + place * BLOCK_TILES, BLOCK_TILES


def block_positions(key: BlockKey) -> Ints:
    """For each id of ``block_range``, the row-major position in the block (0..16383) of its tile."""
    low, count = block_range(key)
    rows, cols = unhilbert(key.level, np.arange(count, dtype=np.int64) + (low - first_id(key.level)))
    positions: Ints = (rows - key.row) * BLOCK + (cols - key.col)
    return positions


# ---------------------------------------------------------------------------------------------- directories


class Directory(NamedTuple):
    """One directory's columns, each of shape (n,), by ascending tile id. A run of 0 is a leaf directory."""

    ids: Ints
    runs: Ints
    lengths: Ints
    offsets: Ints


def pack_directory(directory: Directory) -> bytes:
    """A directory's bytes before compression."""
    ids, runs, lengths, offsets = directory
    follows = np.zeros(len(ids), np.bool_)
    follows[1:] = offsets[1:] == offsets[:-1] + lengths[:-1]
    columns = [np.array([len(ids)]), np.diff(ids, prepend=0), runs, lengths, np.where(follows, 0, offsets + 1)]
    return _varints(np.concatenate(columns))


def _varints(values: Ints) -> bytes:
    """Base-128 varints, low bits first."""
    left = values.astype(np.uint64)
    octets = np.zeros((len(values), _VARINT_BYTES), np.uint8)
    sizes = np.ones(len(values), np.int64)
    for place in range(_VARINT_BYTES):
        octets[:, place] = left & np.uint64(_SEVEN_BITS)
        left >>= np.uint64(7)
        if not left.any():
            break
        more = left > 0
        octets[more, place] |= 0x80
        sizes += more
    return octets[np.arange(_VARINT_BYTES) < sizes[:, None]].tobytes()


def parse_directory(data: bytes) -> Directory:
    """A directory of its inflated bytes. Raises ValueError saying what is wrong with them."""
    octets = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(octets < 0x80)
    if not ends.size or ends[-1] != len(octets) - 1:
        raise ValueError("it ends within a number")
    starts = np.concatenate([[0], ends[:-1] + 1])
    if int((ends - starts).max()) >= _VARINT_BYTES - 1:
        raise ValueError("a number has more than 63 bits")
    places = np.arange(len(octets)) - starts.repeat(ends - starts + 1)
    parts = (octets & _SEVEN_BITS).astype(np.int64) << (7 * places)
    values = np.add.reduceat(parts, starts)
    count = int(values[0])
    if len(values) != 4 * count + 1:
        raise ValueError(f"it has {len(values) - 1:,} numbers for {count:,} entries")
    deltas, runs, lengths, stated = values[1:].reshape(4, count)
    if float(deltas.sum(dtype=np.float64)) >= MAX_ID or float(lengths.sum(dtype=np.float64)) >= 2.0**62:
        raise ValueError("its tile ids or lengths are beyond 64 bits")
    ids = np.cumsum(deltas)
    if count and (int(runs.max()) > MAX_RUN or (np.diff(ids) < np.maximum(runs[:-1], 1)).any()):
        raise ValueError("its entries overlap or are out of order")
    if count and (not int(lengths.min()) or not int(stated[0])):
        raise ValueError("an entry has no bytes, or no offset")
    if count and int(stated.max()) > 1 << 62:
        raise ValueError("an offset is beyond 64 bits")
    # An entry without an offset lies behind those since the last that has one.
    behind = np.cumsum(lengths) - lengths
    last = np.maximum.accumulate(np.where(stated > 0, np.arange(count), 0)) if count else stated
    offsets = stated[last] - 1 + behind - behind[last]
    return Directory(ids, runs, lengths, offsets)


def compress(data: bytes) -> bytes:
    """gzip, with the same bytes for the same data, whatever the time and the system."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    return _GZIP_HEADER + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def inflate(data: bytes, compression: int, limit: int) -> bytes:
    """Undo ``compression`` (none or gzip). Raises ValueError where the data is damaged or grows beyond ``limit``."""
    if compression == NONE:
        if len(data) > limit:
            raise ValueError(f"it has more than {limit:,} bytes")
        return data
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        inflated = stream.decompress(data, limit)
    except zlib.error as cause:
        raise ValueError(f"its gzip stream is damaged ({cause})") from cause
    if not stream.eof:
        more = f"it inflates to more than {limit:,} bytes" if stream.unconsumed_tail else "its gzip stream is cut short"
        raise ValueError(more)
    return inflated
