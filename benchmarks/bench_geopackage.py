"""The GeoPackage writer against a plain sequential write and a bare executemany into the same tables."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench_mbtiles import BATCH, LEVEL, SIZES, batches, floor, subject
from harvester.caches.geopackage import open_reader, open_writer
from harvester.caches.geopackage_schema import tile_table
from harvester.database import page_size_for
from harvester.durable import Disk

Timer = Callable[[], float]


def work(n: int, size: int = SIZES[0], *, folder: Path | None = None, timer: Timer = time.process_time) -> float:
    """Write ``n`` distinct tiles; gives the seconds (of CPU by default) that the writer took."""
    with tempfile.TemporaryDirectory() as own:
        target = (folder or Path(own)) / "cache.gpkg"

        async def run() -> float:
            writer = await open_writer(target, subject(), disk=Disk())
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


def bare(n: int, size: int = SIZES[0], timer: Timer = time.process_time) -> float:
    """The same rows by sqlite3 alone, under the same settings; seconds."""
    with tempfile.TemporaryDirectory() as own:
        connection = sqlite3.connect(Path(own) / "x.db", isolation_level=None)
        for pragma in (f"page_size={page_size_for([bytes(size)])}", "journal_mode=TRUNCATE", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(tile_table("tiles"))
        sql = "INSERT OR REPLACE INTO tiles (zoom_level, tile_column, tile_row, tile_data) VALUES (?, ?, ?, ?)"
        spent = 0.0
        for batch in batches(n, size):
            began = timer()
            rows = [(tile.level, tile.col, tile.row, body) for tile, body, _ in batch]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(sql, rows)
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


def test_every_tile_written_is_read(tmp_path: Path) -> None:
    assert work(3000, SIZES[1], folder=tmp_path) > 0
    assert read_all(tmp_path / "cache.gpkg") == 3000


def test_what_it_is_measured_against_runs() -> None:
    assert bare(3000, SIZES[1]) > 0


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    work(BATCH)  # once for the imports
    for size in SIZES:
        rounds = [(work(n, size), floor(n, size), bare(n, size)) for _ in range(5)]
        spent, plain, alone = (sorted(column)[2] for column in zip(*rounds, strict=True))
        print(
            f"{size:6} bytes: {n / spent:,.0f} tiles/s of CPU, {plain / spent:.2f} of a plain write,"
            f" {alone / spent:.2f} of executemany"
        )


if __name__ == "__main__":
    main()
