"""The compact writer against a plain sequential write of the same bytes with the same two syncs a batch; its reader."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harvester.caches.compact import open_reader
from harvester.caches.compact_writer import open_writer
from harvester.crs import Crs
from harvester.edges import ServiceInfo, Stored, Subject, TileFormat
from harvester.tiling.scheme import Lod, TilingScheme
from harvester.tiling.tile import BLOCK, Tile

BATCH = 2048
LEVEL = 12
SIZES = (15_000, 1_000)
"""Bytes of a body: a street map's tile, and one that makes the cost of a tile itself show."""


def subject() -> Subject:
    scheme = TilingScheme(
        crs=Crs(wkid=102100, latest_wkid=3857),
        origin_x=-20037508.342787,
        origin_y=20037508.342787,
        tile_width=256,
        tile_height=256,
        lods=tuple(Lod(level=n, resolution=156543.033928 / 2**n, scale=591657527.591555 / 2**n) for n in range(16)),
    )
    info = ServiceInfo(
        source="https://gis.example.org/x",
        identity="https://gis.example.org/x",
        kind="arcgis-map",
        name="x",
        scheme=scheme,
        extent=scheme.box(Tile(0, 0, 0)),
        tile_format=TileFormat.PNG,
    )
    return Subject(info=info, levels=(LEVEL,), extent=info.extent)


def batches(n: int, size: int) -> Iterator[list[Stored]]:
    """``n`` tiles in the plan's order (block by block, row by row), bodies of ``size`` bytes on average."""
    draw = random.Random(1)
    noise = draw.randbytes(4 * size)
    tiles: list[Stored] = []
    for number in range(n):
        block, index = divmod(number, BLOCK * BLOCK)
        tile = Tile(LEVEL, index // BLOCK, block * BLOCK + index % BLOCK)
        length = draw.randrange(size // 2, size * 3 // 2)
        start = draw.randrange(len(noise) - length)
        tiles.append(Stored(tile, noise[start : start + length], "png"))
        if len(tiles) == BATCH:
            yield tiles
            tiles = []
    if tiles:
        yield tiles


def work(
    n: int, size: int = SIZES[0], folder: Path | None = None, timer: Callable[[], float] = time.process_time
) -> float:
    """Write ``n`` tiles; gives the seconds (of CPU by default) that the writer took."""
    with tempfile.TemporaryDirectory() as own:
        target = (folder or Path(own)) / "cache"

        async def run() -> float:
            writer = await open_writer(target, subject())
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


def floor(n: int, size: int = SIZES[0], timer: Callable[[], float] = time.process_time) -> float:
    """The same bytes into one file, one write for each tile, synced twice for each batch; seconds."""
    sync = getattr(os, "fdatasync", os.fsync)
    with tempfile.TemporaryDirectory() as own, open(Path(own) / "x", "wb", buffering=0) as file:
        spent = 0.0
        for batch in batches(n, size):
            began = timer()
            for stored in batch:
                file.write(stored.body)
            sync(file.fileno())
            file.write(b"commit")
            sync(file.fileno())
            spent += timer() - began
    return spent


def read_all(folder: Path) -> int:
    """Read every tile by its address; gives how many there were."""
    count = 0
    with open_reader(folder) as reader:
        for key in reader.blocks(LEVEL):
            for index in reader.present(key).reshape(-1).nonzero()[0].tolist():
                count += reader.read(*key.tile(index)) is not None
    return count


@pytest.mark.parametrize("size", SIZES)
def test_the_writer_keeps_up_with_a_plain_write(size: int) -> None:
    n = 3000
    assert work(n, size) > 0
    assert floor(n, size) > 0


def test_every_tile_written_is_read(tmp_path: Path) -> None:
    n = 3000
    work(n, SIZES[1], tmp_path)
    assert read_all(tmp_path / "cache") == n


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    work(BATCH)  # once for the imports
    for size in SIZES:
        for name, timer in (("CPU", time.process_time), ("wall", time.perf_counter)):
            ratios = []
            for _ in range(5):
                plain, ours = floor(n, size, timer), work(n, size, timer=timer)
                ratios.append((plain / ours, n / ours))
            ratios.sort()
            ratio, rate = ratios[2]
            spread = f"{ratios[0][0]:.2f}-{ratios[-1][0]:.2f}"
            print(f"{size:6} bytes, {name:4}: {ratio:.2f} of a plain write [{spread}], {rate:,.0f} tiles/s")
    with tempfile.TemporaryDirectory() as own:
        work(n, SIZES[1], Path(own))
        began = time.perf_counter()
        count = read_all(Path(own) / "cache")
        print(f"reading by address: {count / (time.perf_counter() - began):,.0f} tiles/s")


if __name__ == "__main__":
    main()
