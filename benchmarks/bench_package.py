"""Sealing a tile package against copying the same bytes with their CRC-32, which no stored zip can do without."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench_compact import SIZES, subject
from benchmarks.bench_compact import work as write
from harvester.caches import tpk
from harvester.caches.package import open_reader, seal
from harvester.durable import Disk

CHUNK = 4 << 20

SEALS: dict[str, Callable[..., None]] = {"tpkx": seal, "tpk": tpk.seal}


def work(folder: Path, timer: Callable[[], float] = time.process_time, *, format: str = "tpkx") -> float:
    """Seal the cache in ``folder``; gives seconds (of CPU by default)."""
    began = timer()
    SEALS[format](folder / "cache", folder / f"out.{format}", subject(), disk=Disk())
    return timer() - began


def floor(folder: Path, timer: Callable[[], float] = time.process_time) -> float:
    """Copy the same bundles into one file, with a CRC-32 of each and one sync; seconds."""
    began = timer()
    with open(folder / "copy", "wb", buffering=0) as out:
        for bundle in sorted(folder.rglob("*.bundle")):
            crc = 0
            with open(bundle, "rb", buffering=0) as file:
                while data := file.read(CHUNK):
                    crc = zlib.crc32(data, crc)
                    out.write(data)
        os.fsync(out.fileno())
    return timer() - began


def peak(folder: Path) -> int:
    """Bytes of Python's memory at the height of sealing."""
    tracemalloc.start()
    work(folder)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_a_sealed_package_is_whole_and_memory_stays_flat(tmp_path: Path) -> None:
    write(3000, SIZES[0], tmp_path)
    assert peak(tmp_path) < 40 << 20
    assert floor(tmp_path) > 0
    with zipfile.ZipFile(tmp_path / "out.tpkx") as archive:
        assert archive.testzip() is None
    with open_reader(tmp_path / "out.tpkx") as reader:
        assert sum(int(reader.present(key).sum()) for key in reader.blocks(12)) == 3000


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for size in SIZES:
        with tempfile.TemporaryDirectory() as own:
            folder = Path(own)
            write(n, size, folder)
            work(folder)  # once for the imports
            for name, timer in (("CPU", time.process_time), ("wall", time.perf_counter)):
                ratios = sorted((floor(folder, timer) / (spent := work(folder, timer)), n / spent) for _ in range(5))
                ratio, rate = ratios[2]
                spread = f"{ratios[0][0]:.2f}-{ratios[-1][0]:.2f}"
                print(f"{size:6} bytes, {name:4}: {ratio:.2f} of a copy [{spread}], {rate:,.0f} tiles/s")
            height, length = peak(folder) / 2**20, (folder / "out.tpkx").stat().st_size / 2**20
            print(f"{size:6} bytes: {height:.1f} MB at the height, of a package of {length:.0f} MB")


if __name__ == "__main__":
    main()
