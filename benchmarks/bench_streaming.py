"""convert with flat memory: the height of caches of 10^4, 10^5, ... tiles, each converted in a process of its own.

    python -m benchmarks.bench_streaming 10000 100000 1000000

makes an MBTiles of so many tiny distinct pictures for each number (140 bytes a tile) and converts it into each format.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester.delta.join import convert
from harvester.loop import run_loop

FORMATS = ("compactv2", "pmtiles", "gpkg", "dedup", "tpkx")
"""``dedup``: MBTiles that stores identical tiles once."""

ZOOM = 14

FEW, MANY = 18_000, 45_000
"""Tiles of the test; both fill a block and a batch."""

MAX_GROWTH = 40
"""Bytes by which the height may grow with each tile between the two: less than a list's entry with one number in it."""

KINDS = 64
"""Different pictures of the test, so that what is remembered to find them again is the same for both."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_HEAD = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 256, 256, 1, 0, 0, 0, 0))
_TAIL = _chunk(b"IDAT", zlib.compress(bytes(33 * 256), 9)) + _chunk(b"IEND", b"")


def picture(number: int) -> bytes:
    """A whole PNG of 256 x 256 pixels in some 130 bytes that only this number has."""
    return _HEAD + _chunk(b"tEXt", b"n\0%d" % number) + _TAIL


def make(path: Path, tiles: int, kinds: int = 1 << 62) -> Path:
    """An MBTiles with a square of at most ``tiles`` tiles of so many ``kinds``, by plain SQL."""
    side = int(tiles**0.5)
    last = (1 << ZOOM) - 1

    def rows() -> Iterator[tuple[int, int, int, bytes]]:
        for col in range(side):
            for row in range(side - 1, -1, -1):
                yield ZOOM, 4096 + col, last - 4096 - row, picture((col * side + row) % kinds)

    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size=16384")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
    connection.execute("INSERT INTO metadata VALUES ('name', 'many'), ('format', 'png')")
    connection.execute(
        "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB,"
        " PRIMARY KEY (zoom_level, tile_column, tile_row)) WITHOUT ROWID"
    )
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows())
    connection.execute("COMMIT")
    connection.close()
    return path


def work(source: Path, folder: Path, format: str) -> int:
    """Convert; gives the number of tiles."""
    name = "mbtiles" if format == "dedup" else format
    return run_loop(convert(source, folder / f"out-{format}", format=name, dedup=format == "dedup")).tiles


def peak(source: Path, folder: Path, format: str) -> int:
    """Bytes of Python's memory at the height of a conversion."""
    tracemalloc.start()
    try:
        work(source, folder, format)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# A sealed format is collected as a compact cache: that one is measured with it.
@pytest.mark.parametrize("format", ["pmtiles", "dedup"])
def test_more_tiles_take_no_more_memory(tmp_path: Path, format: str) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    few.mkdir()
    many.mkdir()
    work(make(tmp_path / "first.mbtiles", 100), tmp_path, format)  # once for the imports
    small = peak(make(few / "in.mbtiles", FEW, KINDS), few, format)
    large = peak(make(many / "in.mbtiles", MANY, KINDS), many, format)
    assert large - small < MAX_GROWTH * (MANY - FEW), f"{small:,} -> {large:,}"


_CHILD = """
import json, resource, sys, time
from pathlib import Path
from benchmarks.bench_streaming import work
began = time.process_time()
tiles = work(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"tiles": tiles, "peak_mb": round(used.ru_maxrss / 1024, 1),
                  "cpu_seconds": round(time.process_time() - began, 1)}))
"""


def measured(source: Path, folder: Path, format: str) -> dict[str, float]:
    """A conversion in a process of its own: peak_mb, cpu_seconds, tiles."""
    command = [sys.executable, "-c", _CHILD, str(source), str(folder), format]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()] or [10_000, 100_000]
    formats = [word for word in sys.argv[1:] if word in FORMATS] or list(FORMATS)
    for number in numbers:
        with tempfile.TemporaryDirectory() as own:
            source = make(Path(own) / "in.mbtiles", number)
            for format in formats:
                began = time.perf_counter()
                found = measured(source, Path(own), format)
                print(
                    json.dumps({"format": format, **found, "seconds": round(time.perf_counter() - began, 1)}),
                    flush=True,
                )


if __name__ == "__main__":
    main()
