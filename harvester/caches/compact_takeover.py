"""Taking over a bundle that is there already: what of it is sound, and what a kill or damage left in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harvester.caches import bundle_v2
from harvester.caches.bundle_v2 import DATA_START, HEADER_SIZE, INDEX_SIZE, Header
from harvester.caches.compact_block import Change, OpenBlock, OpenFile, absent
from harvester.caches.records import mask_of, read_index, sound_numbers
from harvester.durable import Disk
from harvester.errors import CacheError
from harvester.tiling.tile import BlockKey


def take_over(disk: Disk, key: BlockKey, path: Path, descriptor: int, stamp: str) -> tuple[OpenBlock, Change | None]:
    """An existing V2 bundle, every entry checked, and the change that takes the bad ones out; None where all are sound.

    Changes nothing itself. Raises CacheError where the file is no bundle.
    """
    span = OpenFile(disk, descriptor, str(path))
    index = read_index(span)
    if index is None:
        raise CacheError(
            f"{path} is damaged: it has no header and index of a compact cache V2 bundle",
            hint="Move it away, or write the cache anew with --mode overwrite.",
            code="damaged",
        )
    header = bundle_v2.parse_header(span.read(HEADER_SIZE, 0)) or Header()
    sound = mask_of(sound_numbers(span, index)).reshape(-1)
    block = OpenBlock(
        key=key,
        path=path,
        descriptor=descriptor,
        index=np.where(sound, index, np.uint64(0)),
        end=max(span.size(), DATA_START),
        largest=max(header.largest if header.records else 0, int(bundle_v2.sizes(index).max())),
        stamp=stamp,
    )
    stated = bundle_v2.parse_index(span.read(INDEX_SIZE, HEADER_SIZE))
    bad = np.flatnonzero((bundle_v2.sizes(stated) > 0) & ~sound)
    return block, absent(block, bad) if bad.size else None
