"""The writer of tiles as files against the same files written and synced one by one; compact V1's against V2's; sealing
a .tpk against a .tpkx."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench_compact import LEVEL, batches, subject
from harvester.caches import compact_v1_writer, compact_writer, exploded, package, tpk, xyz_writer
from harvester.caches.open import open_cache
from harvester.durable import Disk

SIZE = 4_000
"""Bytes of a body: a file takes whole pages anyway."""

WRITERS: dict[str, Callable[..., Any]] = {
    "exploded": exploded.open_writer,
    "xyz": xyz_writer.open_writer,
    "compact": compact_v1_writer.open_writer,
    "compactv2": compact_writer.open_writer,
}


def work(
    n: int,
    format: str = "exploded",
    folder: Path | None = None,
    *,
    size: int = SIZE,
    timer: Callable[[], float] = time.perf_counter,
) -> float:
    """Write ``n`` tiles; gives the seconds (of the wall by default) that the writer took."""
    with tempfile.TemporaryDirectory() as own:
        target = (folder or Path(own)) / "cache"

        async def run() -> float:
            writer = await WRITERS[format](target, subject())
            spent = 0.0
            for batch in batches(n, size):
                began = timer()
                await writer.store(batch)
                spent += timer() - began
            began = timer()
            await writer.finish(subject())
            await writer.close()
            return spent + timer() - began

        return asyncio.run(run())


def floor(n: int) -> float:
    """The same tiles, a file each, written, synced and renamed one by one, folders synced once a batch; seconds."""
    sync = getattr(os, "fdatasync", os.fsync)
    with tempfile.TemporaryDirectory() as own:
        spent = 0.0
        for batch in batches(n, SIZE):
            began = time.perf_counter()
            folders = set()
            for tile, body, _ in batch:
                folder = Path(own) / str(tile.row)
                if folder not in folders:
                    folder.mkdir(exist_ok=True)
                    folders.add(folder)
                part = folder / "part"
                with open(part, "wb", buffering=0) as file:
                    file.write(body)
                    sync(file.fileno())
                part.replace(folder / str(tile.col))
            for folder in folders:
                Disk().sync_folder(folder)
            spent += time.perf_counter() - began
    return spent


def seal(n: int, module: Any) -> float:
    """Seal a work folder of ``n`` tiles; seconds."""
    with tempfile.TemporaryDirectory() as own:
        work(n, "compactv2", Path(own))
        began = time.perf_counter()
        module.seal(Path(own) / "cache", Path(own) / "out", subject(), disk=Disk())
        return time.perf_counter() - began


@pytest.mark.parametrize("format", WRITERS)
def test_every_tile_written_is_read(format: str, tmp_path: Path) -> None:
    n = 300
    assert work(n, format, tmp_path) > 0
    with open_cache(tmp_path / "cache") as reader:
        assert sum(int(reader.present(key).sum()) for key in reader.blocks(LEVEL)) == n


@pytest.mark.parametrize("module", [tpk, package])
def test_a_package_is_sealed(module: Any) -> None:
    assert seal(300, module) > 0


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000
    work(100)  # once for the imports
    for format in WRITERS:
        rates = []
        for _ in range(3):
            plain, ours = floor(n) if format in ("exploded", "xyz") else work(n, "compactv2"), work(n, format)
            rates.append((plain / ours, n / ours))
        ratio, rate = sorted(rates)[1]
        against = "files one by one" if format in ("exploded", "xyz") else "compactv2"
        print(f"{format:10} {ratio:.2f} of {against}, {rate:,.0f} tiles/s")
    for name, module in (("tpk", tpk), ("tpkx", package)):
        rates = [(0.0, 5 * n / seal(5 * n, module)) for _ in range(3)]
        print(f"sealing {name:5} {sorted(rates)[1][1]:,.0f} tiles/s")


if __name__ == "__main__":
    main()
