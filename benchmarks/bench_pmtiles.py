"""Sealing a PMTiles archive against copying the same tiles' bytes, one read and one hash each; reading it again."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import xxhash

from benchmarks.bench_mbtiles import LEVEL, batches, subject
from harvester.caches.compact_writer import open_writer
from harvester.caches.pmtiles import open_reader, seal
from harvester.durable import Disk

SIZES = (15_000, 1_000)
"""Bytes of a body: a street map's tile, and one that makes the cost of a tile itself show."""

SIGNATURE = b"\x89PNG"

Timer = Callable[[], float]


def fill(folder: Path, n: int, size: int, *, repeated: bool = False) -> None:
    """A work folder of ``n`` tiles of ``size`` bytes, all different, or of 64 kinds in no order."""

    async def run() -> None:
        writer = await open_writer(folder / "work", subject(), disk=Disk())
        for batch in batches(n, size):
            if repeated:
                batch = [one._replace(body=bytes([one.tile.row * 7 + one.tile.col * 13 & 63]) * size) for one in batch]
            await writer.store([one._replace(body=SIGNATURE + one.body[4:8] + one.body) for one in batch])
        await writer.finish(subject())
        await writer.close()

    asyncio.run(run())


def work(folder: Path, timer: Timer = time.process_time) -> float:
    """Seal the cache in ``folder``; gives seconds (of CPU by default)."""
    began = timer()
    seal(folder / "work", folder / "out.pmtiles", subject(), disk=Disk())
    return timer() - began


def floor(folder: Path, n: int, size: int, timer: Timer = time.process_time) -> float:
    """Read as many records from the bundles, hash each and append it to one file, one sync; seconds."""
    began = timer()
    spent = 0
    with open(folder / "copy", "wb", buffering=1 << 20) as out:
        for bundle in sorted((folder / "work").rglob("*.bundle")):
            descriptor = os.open(bundle, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            place, end = 131140, os.fstat(descriptor).st_size
            while place < end and spent < n:
                os.lseek(descriptor, place, os.SEEK_SET)
                body = os.read(descriptor, size + 8)
                xxhash.xxh3_64_intdigest(body)
                out.write(body)
                place += size + 12
                spent += 1
            os.close(descriptor)
        out.flush()
        os.fsync(out.fileno())
    return timer() - began


def read_all(path: Path) -> int:
    """Read every tile by its address; gives how many there were."""
    count = 0
    with open_reader(path) as reader:
        for key in reader.blocks(LEVEL):
            for index in reader.present(key).reshape(-1).nonzero()[0].tolist():
                count += reader.read(*key.tile(index)) is not None
    return count


def peak(folder: Path) -> int:
    """Bytes of Python's memory at the height of sealing."""
    tracemalloc.start()
    work(folder)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_a_sealed_archive_is_whole_and_memory_stays_flat(tmp_path: Path) -> None:
    fill(tmp_path, 3000, SIZES[1])
    assert peak(tmp_path) < 30 << 20
    assert floor(tmp_path, 3000, SIZES[1]) > 0
    assert read_all(tmp_path / "out.pmtiles") == 3000


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for size in SIZES:
        for repeated in (False, True):
            with tempfile.TemporaryDirectory() as own:
                folder = Path(own)
                fill(folder, n, size, repeated=repeated)
                work(folder)  # once for the imports
                ratios = sorted((floor(folder, n, size) / (spent := work(folder)), n / spent) for _ in range(5))
                ratio, rate = ratios[2]
                began = time.process_time()
                read_all(folder / "out.pmtiles")
                reading = n / (time.process_time() - began)
                name = "repeated" if repeated else "distinct"
                spread = f"{ratios[0][0]:.2f}-{ratios[-1][0]:.2f}"
                print(
                    f"{size:6} bytes, {name}: {ratio:.2f} of a copy [{spread}], {rate:,.0f} tiles/s sealed,"
                    f" {reading:,.0f} read, {peak(folder) / 2**20:.1f} MB at the height"
                )


if __name__ == "__main__":
    main()
