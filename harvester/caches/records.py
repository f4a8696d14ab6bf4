"""One bundle's entries and records, wherever its bytes lie, checked on the way.

An entry that leads nowhere, or to a record whose size word differs, is a tile that isn't there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from harvester.caches import bundle_v2
from harvester.caches.bundle_v2 import DATA_START, HEADER_SIZE, PREFIX_SIZE
from harvester.tiling.tile import BLOCK, BLOCK_TILES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harvester.caches.bundle_v2 import Index
    from harvester.edges import Mask

PAGE_BYTES = 4096
"""What a file system reads for a byte: a record smaller than this is read whole with its size word anyway."""

RUN_BYTES = 1 << 20
"""Bytes read at once where records follow each other; more is no faster, and memory stays flat."""

WINDOW_BYTES = 4 << 20
"""Read at once where records lie near each other in another order than they are wanted in: a block of small tiles."""


class Span(Protocol):
    """The bytes of one bundle."""

    where: str
    """What a person reads: the file, and the entry in it."""

    def size(self) -> int:
        """Bytes, now."""

    def read(self, size: int, offset: int) -> bytes:
        """``size`` bytes from ``offset``, fewer only where the bundle ends."""


def read_index(span: Span) -> Index | None:
    """The bundle's index, with entries that lead out of its records zeroed; None where header or index aren't whole."""
    head = span.read(DATA_START, 0)
    if len(head) < DATA_START or bundle_v2.parse_header(head) is None:
        return None
    index = bundle_v2.parse_index(head[HEADER_SIZE:])
    index[~bundle_v2.within(index, span.size())] = 0
    return index


def sound_numbers(span: Span, index: Index) -> NDArray[np.int64]:
    """Numbers of the entries, in order, whose record has their size word."""
    held = np.flatnonzero(index)
    offsets, sizes = bundle_v2.offsets(index)[held], bundle_v2.sizes(index)[held]
    if not held.size or sizes.mean() > PAGE_BYTES:
        return np.fromiter(each_sound(span, index), dtype=np.int64)
    # Small tiles lie several to a page: reading them all is a system call for thousands (benchmarks/bench_package.py).
    order = np.argsort(offsets, kind="stable")
    sound = np.zeros(held.size, dtype=np.bool_)
    for first, last, _, whole in read_runs(span, offsets[order], sizes[order]):
        sound[order[first:last]] = whole
    return held[sound]


def read_runs(
    span: Span, offsets: NDArray[np.int64], sizes: NDArray[np.int64], *, limit: int = RUN_BYTES
) -> Iterator[tuple[int, int, bytes, NDArray[np.bool_]]]:
    """Records that follow each other in the file, in one read of at most ``limit`` bytes (or one record).

    Gives the positions of the first record and of that behind the last, the bytes with their size words, and which
    records have theirs.
    """
    starts, ends = offsets - PREFIX_SIZE, offsets + sizes
    breaks = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    for low, high in pairwise([0, *breaks.tolist(), len(starts)]):
        first = low
        while first < high:
            last = low + int(np.searchsorted(ends[low:high], starts[first] + limit, side="right"))
            last = max(first + 1, last)
            data = span.read(int(ends[last - 1] - starts[first]), int(starts[first]))
            yield first, last, data, _have_prefix(data, starts[first:last] - starts[first], sizes[first:last])
            first = last


def _have_prefix(data: bytes, places: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which records, at ``places`` in ``data``, are wholly there behind the word of their size."""
    there = places + PREFIX_SIZE + sizes <= len(data)
    octets = np.frombuffer(data, dtype=np.uint8)
    at = places[there, None] + np.arange(PREFIX_SIZE)
    there[there] = octets[at].view("<u4")[:, 0] == sizes[there]
    return there


def each_sound(span: Span, index: Index) -> Iterator[int]:
    """The same as ``sound_numbers``, one after the other, a read for each."""
    held = np.flatnonzero(index)
    for number, offset, size in zip(
        held.tolist(), bundle_v2.offsets(index)[held].tolist(), bundle_v2.sizes(index)[held].tolist(), strict=True
    ):
        if span.read(PREFIX_SIZE, offset - PREFIX_SIZE) == bundle_v2.prefix(size):
            yield number


def read_record(span: Span, offset: int, size: int) -> bytes | None:
    """A tile's bytes; None where its record is cut or has another size word."""
    record = span.read(PREFIX_SIZE + size, offset - PREFIX_SIZE)
    if len(record) != PREFIX_SIZE + size or record[:PREFIX_SIZE] != bundle_v2.prefix(size):
        return None
    return record[PREFIX_SIZE:]


def read_bodies(
    span: Span,
    offsets: NDArray[np.int64],
    sizes: NDArray[np.int64],
    *,
    run: int = RUN_BYTES,
    window: int = WINDOW_BYTES,
) -> Iterator[bytes | None]:
    """The bytes of records in the order in which they are named, as ``read_record`` gives each: what lies close
    together is read at once, ``run`` bytes of records at most, ``window`` with what lies between them."""
    starts, ends = offsets - PREFIX_SIZE, offsets + sizes
    upto = np.cumsum(sizes + PREFIX_SIZE)
    first = 0
    while first < len(starts):
        before = int(upto[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(upto, before + run, side="right")))
        low, high = int(starts[first:last].min()), int(ends[first:last].max())
        if high - low > max(window, int(upto[last - 1]) - before):
            for offset, size in zip(offsets[first:last].tolist(), sizes[first:last].tolist(), strict=True):
                yield read_record(span, offset, size)
        else:
            data = span.read(high - low, low)
            places = starts[first:last] - low
            whole = _have_prefix(data, places, sizes[first:last]).tolist()
            begin, end = (places + PREFIX_SIZE).tolist(), (ends[first:last] - low).tolist()
            for there, start, stop in zip(whole, begin, end, strict=True):
                yield data[start:stop] if there else None
        first = last


def mask_of(numbers: NDArray[np.int64] | Sequence[int]) -> Mask:
    """A block's mask from row-major positions."""
    mask = np.zeros(BLOCK_TILES, dtype=np.bool_)
    mask[np.asarray(numbers, dtype=np.int64)] = True
    return mask.reshape(BLOCK, BLOCK)
