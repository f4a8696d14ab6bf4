"""Counting tiles for the manifest as they pass, against nothing but the hash of their bytes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import xxhash

from benchmarks.bench_compact import SIZES, batches, subject
from harvester.caches.counted import CountedWriter
from harvester.edges import Stamps, Stored, Subject
from harvester.tiling.tile import BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask


class Nowhere:
    """A writer that writes nothing."""

    def present(self, key: BlockKey) -> Mask:
        raise NotImplementedError

    def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        return {None: "1"}

    async def store(self, batch: Sequence[Stored]) -> Stamps:
        return {}

    async def remove(self, tiles: Sequence[Tile]) -> Stamps:
        return {}

    async def finish(self, subject: Subject) -> None: ...

    async def close(self) -> None: ...


def counted(n: int, size: int) -> tuple[CountedWriter, float]:
    """Count ``n`` tiles; gives the writer and the CPU seconds that it took."""

    async def run() -> tuple[CountedWriter, float]:
        writer, spent = CountedWriter(Nowhere(), subject(), lambda: None), 0.0
        for batch in batches(n, size):
            began = time.process_time()
            await writer.store(batch)
            spent += time.process_time() - began
        return writer, spent

    return asyncio.run(run())


def work(n: int, size: int = SIZES[0]) -> float:
    """CPU seconds of counting ``n`` tiles."""
    return counted(n, size)[1]


def floor(n: int, size: int = SIZES[0]) -> float:
    """CPU seconds of the same bytes' XXH3-128."""
    spent = 0.0
    for batch in batches(n, size):
        began = time.process_time()
        for stored in batch:
            xxhash.xxh3_128_intdigest(stored.body)
        spent += time.process_time() - began
    return spent


def test_every_tile_is_counted() -> None:
    writer, spent = counted(3000, SIZES[1])
    assert spent > 0
    assert floor(3000, SIZES[1]) > 0
    assert sum(row[4] for row in writer.remembered()["blocks"]) == 3000


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for size in SIZES:
        rounds = sorted((work(n, size) / n * 1e6, floor(n, size) / n * 1e6) for _ in range(5))
        print(f"{size:6} bytes: {rounds[2][0]:.2f} us a tile, its hash alone {rounds[2][1]:.2f}")


if __name__ == "__main__":
    main()
