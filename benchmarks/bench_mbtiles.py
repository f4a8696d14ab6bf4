"""The MBTiles writer, flat and with pictures stored once, against a plain sequential write and a bare executemany."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harvester.caches.mbtiles import open_reader, open_writer
from harvester.database import page_size_for
from harvester.durable import Disk
from harvester.edges import ServiceInfo, Stored, Subject, TileFormat
from harvester.tiling.google import google_scheme
from harvester.tiling.tile import BLOCK, Tile, tms_row

BATCH = 2048
LEVEL = 14
SIZES = (15_000, 1_000)
"""Bytes of a body: a street map's tile, and one that makes the cost of a tile itself show."""

Timer = Callable[[], float]


def subject() -> Subject:
    info = ServiceInfo(
        source="https://gis.example.org/x",
        identity="https://gis.example.org/x",
        kind="arcgis-map",
        name="x",
        scheme=google_scheme(),
        extent=None,
        tile_format=TileFormat.PNG,
    )
    return Subject(info=info, levels=(LEVEL,), extent=None)


def batches(n: int, size: int) -> Iterator[list[Stored]]:
    """``n`` distinct tiles in the plan's order (block by block, row by row)."""
    noise = os.urandom(size)
    tiles: list[Stored] = []
    for number in range(n):
        block, index = divmod(number, BLOCK * BLOCK)
        tile = Tile(LEVEL, index // BLOCK, block * BLOCK + index % BLOCK)
        tiles.append(Stored(tile, number.to_bytes(8, "big") + noise[8:], "png"))
        if len(tiles) == BATCH:
            yield tiles
            tiles = []
    if tiles:
        yield tiles


def work(
    n: int, size: int = SIZES[0], *, dedup: bool = False, folder: Path | None = None, timer: Timer = time.process_time
) -> float:
    """Write ``n`` distinct tiles; gives the seconds (of CPU by default) that the writer took."""
    with tempfile.TemporaryDirectory() as own:
        target = (folder or Path(own)) / "cache.mbtiles"

        async def run() -> float:
            writer = await open_writer(target, subject(), dedup=dedup, disk=Disk())
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


def floor(n: int, size: int = SIZES[0], timer: Timer = time.process_time) -> float:
    """The same bytes into one file, one write for each tile, synced as a commit does (journal, file); seconds."""
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


def bare(n: int, size: int = SIZES[0], timer: Timer = time.process_time) -> float:
    """The same rows by sqlite3 alone, under the same settings; seconds."""
    with tempfile.TemporaryDirectory() as own:
        connection = sqlite3.connect(Path(own) / "x.db", isolation_level=None)
        for pragma in (f"page_size={page_size_for([bytes(size)])}", "journal_mode=TRUNCATE", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE tiles (zoom_level, tile_column, tile_row, tile_data)")
        connection.execute("CREATE UNIQUE INDEX i ON tiles (zoom_level, tile_column, tile_row)")
        spent = 0.0
        for batch in batches(n, size):
            began = timer()
            rows = [(tile.level, tile.col, tms_row(tile.level, tile.row), body) for tile, body, _ in batch]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
            spent += timer() - began
        connection.close()
    return spent


def read_all(path: Path) -> int:
    """Read every tile by its address; gives how many there were."""
    count = 0
    with open_reader(path) as reader:
        for key in reader.blocks(LEVEL):
            for index in reader.present(key).reshape(-1).nonzero()[0].tolist():
                count += reader.read(*key.tile(index)) is not None
    return count


@pytest.mark.parametrize("dedup", [False, True])
def test_every_tile_written_is_read(tmp_path: Path, dedup: bool) -> None:
    assert work(3000, SIZES[1], dedup=dedup, folder=tmp_path) > 0
    assert read_all(tmp_path / "cache.mbtiles") == 3000


def test_what_it_is_measured_against_runs() -> None:
    assert floor(3000, SIZES[1]) > 0
    assert bare(3000, SIZES[1]) > 0


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    work(BATCH)  # once for the imports
    for size in SIZES:
        for name, timer in (("CPU", time.process_time), ("wall", time.perf_counter)):
            rows = []
            for _ in range(5):
                plain, sqlite, flat = floor(n, size, timer), bare(n, size, timer), work(n, size, timer=timer)
                shared = work(n, size, dedup=True, timer=timer)
                rows.append((plain / flat, sqlite / flat, shared / flat, n / flat))
            medians = [sorted(column)[2] for column in zip(*rows, strict=True)]
            print(
                f"{size:6} bytes, {name:4}: {medians[0]:.2f} of a plain write, {medians[1]:.2f} of bare sqlite3;"
                f" dedup takes {medians[2]:.2f} x flat; {medians[3]:,.0f} tiles/s"
            )
    with tempfile.TemporaryDirectory() as own:
        work(n, SIZES[1], folder=Path(own))
        began = time.perf_counter()
        count = read_all(Path(own) / "cache.mbtiles")
        print(f"reading by address: {count / (time.perf_counter() - began):,.0f} tiles/s")


if __name__ == "__main__":
    main()
