"""A block's tiles on their way into a package, or out of one: row-major without gaps, in chunks.

Whatever order they arrived in leaves no trace, and memory stays flat.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from harvester.caches import bundle_v2
from harvester.caches.bundles import BundleReader
from harvester.caches.records import RUN_BYTES, Span, read_runs
from harvester.errors import CacheError
from harvester.tiling.tile import BLOCK_TILES, BlockKey

if TYPE_CHECKING:
    from numpy.typing import NDArray


def compacted(reader: BundleReader, key: BlockKey) -> tuple[int, Iterator[bytes]]:
    """A block's bundle row-major without gaps: its size in bytes, and its bytes in chunks."""
    span, offsets, sizes = sound_records(reader, key)
    packed, file_size = bundle_v2.layout(sizes)
    header = bundle_v2.Header(largest=int(sizes.max()), file_size=file_size)
    head = header.pack() + bundle_v2.pack_index(packed)
    return file_size, records(span, head, offsets, sizes)


def sound_records(reader: BundleReader, key: BlockKey) -> tuple[Span, NDArray[np.int64], NDArray[np.int64]]:
    """A block's bundle, and where in it each tile lies and its size: shape (16384,), 0 where there is none."""
    span = reader.bundles.open(key)
    index = reader.index(span) if span is not None else None
    if span is None or index is None:
        raise CacheError(f"the bundle of the block {key} is gone or damaged", hint="Run the same command again.")
    sizes = np.zeros(BLOCK_TILES, dtype=np.int64)
    numbers = reader.sound(span, index)
    sizes[numbers] = bundle_v2.sizes(index)[numbers]
    return span, bundle_v2.offsets(index), sizes


def records(span: Span, head: bytes, offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[bytes]:
    """``head``, then the tiles row-major. Records that lie in order are copied by the megabyte, size words and all;
    scattered ones are gathered."""
    held = np.flatnonzero(sizes)
    waiting, length = [head], len(head)
    for _, _, data, whole in read_runs(span, offsets[held], sizes[held]):
        if not whole.all():
            raise CacheError(f"{span.where} changed while it was read", hint="Run the same command again.")
        waiting.append(data)
        length += len(data)
        if length >= RUN_BYTES:
            yield b"".join(waiting)
            waiting, length = [], 0
    if waiting:
        yield b"".join(waiting)
