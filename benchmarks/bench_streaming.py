"""The verbs with flat memory: the height of caches of 10^4 ... 10^7 tiles, each job in a process of its own.

    python -m benchmarks.bench_streaming 100000 1000000 10000000 [JOB ...] [--save]

makes an MBTiles of so many tiny distinct pictures for each number (130 bytes a tile), converts it into each format, and
merges, compares and applies it with its next version, of which one tile in a hundred is another.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.keep import RESULTS, keep, number, tell
from benchmarks.measure import ROOT, Line, Reading
from benchmarks.rounds import at_least_one
from harvester.delta.application import apply
from harvester.delta.difference import diff
from harvester.delta.join import convert, merge
from harvester.loop import run_loop

FORMATS = {
    "compactv2": "out",
    "mbtiles": "out.mbtiles",
    "dedup": "dedup.mbtiles",
    "gpkg": "out.gpkg",
    "pmtiles": "out.pmtiles",
    "tpkx": "out.tpkx",
}
"""What ``convert`` writes, and where. ``dedup``: MBTiles that stores identical tiles once."""

OTHERS = {"compact": "v1", "tpk": "out.tpk", "xyz": "xyz", "exploded": "exploded", "vtpk": "out.vtpk"}
"""What is tested with the rest and measured when it is named: the formats of before ArcGIS 10.3, a file a tile,
and vector tiles."""

ONE_EACH = ("xyz", "exploded")
"""A file a tile: what is remembered of some blocks' files, and the allocator, settle at more tiles than a test can make
(125 MB at 10^5, 143 at 10^6: README.md)."""

VERBS = ("from_compactv2", "merge", "diff", "apply", "verify")
"""``from_compactv2``: that cache into MBTiles that stores identical tiles once. ``verify`` is ``--deep``."""

JOBS = (*FORMATS, *VERBS)

SIZES = (100_000, 1_000_000, 10_000_000)

ZOOM = 14

FEW, MANY = 50_000, 200_000
"""Tiles of the tests; the first fill blocks and batches already."""

MOST_GROWTH = 0.15
"""Of the height of a process between the two, whose allocators settle at some 10^5 tiles: 80 bytes a tile, less than a
tile's address takes."""

MOST_HELD = 40
"""Bytes by which what Python holds may grow with each tile: less than a list's entry with one number in it."""

KINDS = 64
"""Different pictures of the tests, so that what is remembered to find them again is the same for both."""

CHANGED = 100
"""One tile in so many is another in the next version."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_HEAD = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 256, 256, 1, 0, 0, 0, 0))
_TAIL = _chunk(b"IDAT", zlib.compress(bytes(33 * 256), 9)) + _chunk(b"IEND", b"")


def picture(number: int) -> bytes:
    """A whole PNG of 256 x 256 pixels in some 130 bytes that only this number has."""
    return _HEAD + _chunk(b"tEXt", b"n\0%d" % number) + _TAIL


def vector_tile(number: int) -> bytes:
    """A whole vector tile in gzip, some 50 bytes, that only this number has: a layer with a value and no feature."""
    value = b"\x0a" + _sized(b"%d" % number)
    layer = b"\x0a" + _sized(b"n") + b"\x1a" + _sized(b"n") + b"\x22" + _sized(value) + b"\x28\x80\x20\x78\x02"
    return gzip.compress(b"\x1a" + _sized(layer), 1, mtime=0)


def _sized(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def make(
    path: Path, tiles: int, kinds: int = 1 << 62, *, changed: int = 0, body: Callable[[int], bytes] = picture
) -> Path:
    """An MBTiles with a square of at most ``tiles`` tiles of so many ``kinds``, by plain SQL.

    One tile in ``changed`` is of a kind of its own.
    """
    side = int(tiles**0.5)
    last = (1 << ZOOM) - 1

    def rows() -> Iterator[tuple[int, int, int, bytes]]:
        for col in range(side):
            for row in range(side - 1, -1, -1):
                place = col * side + row
                number = tiles + place if changed and place % changed == 0 else place % kinds
                yield ZOOM, 4096 + col, last - 4096 - row, body(number)

    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size=16384")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
    stated = "png" if body is picture else "pbf"
    connection.execute("INSERT INTO metadata VALUES ('name', 'many'), ('format', ?)", (stated,))
    connection.execute(
        "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB,"
        " PRIMARY KEY (zoom_level, tile_column, tile_row)) WITHOUT ROWID"
    )
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows())
    connection.execute("COMMIT")
    connection.close()
    return path


def work(folder: Path, job: str) -> int:
    """Do one job in a folder that ``prepare`` made; gives the number of tiles that it went through."""
    old, new, delta = folder / "old.mbtiles", folder / "new.mbtiles", folder / "delta.mbtiles"
    if job == "merge":
        return run_loop(merge([old, new], folder / "merged")).tiles
    if job == "diff":
        found = run_loop(diff(old, new, delta))
        return found.same + found.changed
    if job == "apply":
        applied = run_loop(apply(delta, folder / "applied.mbtiles"))
        return applied.stored * CHANGED
    if job == "verify":
        from harvester.audit import verify

        return verify(folder / "verified", deep=True).present
    source, out = {
        "from_compactv2": (folder / "source", "from.mbtiles"), "vtpk": (folder / "vector.mbtiles", OTHERS["vtpk"])
    }.get(job) or (old, {**FORMATS, **OTHERS}[job])  # fmt: skip
    dedup = job in ("dedup", "from_compactv2")
    format = {"dedup": "mbtiles", "from_compactv2": "mbtiles"}.get(job, job)
    return run_loop(convert(source, folder / out, format=format, dedup=dedup)).tiles


def prepare(folder: Path, job: str) -> None:
    """What a job needs beside the two versions, made in another process than the job's."""
    needed = {"from_compactv2": "source", "verify": "verified"}.get(job)
    if needed is not None:
        run_loop(convert(folder / "old.mbtiles", folder / needed, format="compactv2"))
    if job == "vtpk":
        connection = sqlite3.connect(folder / "old.mbtiles")
        ((tiles,),) = connection.execute("SELECT count(*) FROM tiles").fetchall()
        ((kinds,),) = connection.execute("SELECT count(DISTINCT tile_data) FROM tiles").fetchall()
        connection.close()
        make(folder / "vector.mbtiles", tiles, kinds, body=vector_tile)
    if job == "apply":
        run_loop(diff(folder / "old.mbtiles", folder / "new.mbtiles", folder / "delta.mbtiles"))
        shutil.copyfile(folder / "old.mbtiles", folder / "applied.mbtiles")


_CHILD = """
import json, sys, time
from pathlib import Path
from benchmarks.bench_streaming import prepare, work
from benchmarks.measure import peak_bytes
folder, step, job = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
began, wall = time.process_time(), time.perf_counter()
tiles = (work if step == "work" else prepare)(folder, job)
cpu, seconds = time.process_time() - began, time.perf_counter() - wall
print(json.dumps({"tiles": tiles, "peak_mb": peak_bytes() / (1 << 20), "cpu_seconds": cpu, "seconds": seconds}))
"""


def _child(folder: Path, step: str, job: str) -> dict[str, float]:
    command = [sys.executable, "-c", _CHILD, str(folder), step, job]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measured(folder: Path, job: str) -> dict[str, float]:
    """A job in a process of its own: peak_mb, cpu_seconds, seconds, tiles. What it wrote is removed."""
    kept = {"old.mbtiles", "new.mbtiles"}
    _child(folder, "prepare", job)
    found = _child(folder, "work", job)
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return found


def readings(sizes: tuple[int, ...], jobs: tuple[str, ...], folder: Path) -> Iterator[Reading]:
    """Each job's height and tiles a second of CPU for each size, and the height of the last over that before."""
    heights: dict[str, list[float]] = {job: [] for job in jobs}
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            make(Path(own) / "old.mbtiles", size)
            make(Path(own) / "new.mbtiles", size, changed=CHANGED)
            for job in jobs:
                found = measured(Path(own), job)
                heights[job].append(found["peak_mb"])
                name = f"streaming.{job}.{size:.0e}".replace("e+0", "e")
                yield Reading(name, found["peak_mb"], "MB")
                yield Reading(f"{name}.rate", found["tiles"] / max(found["cpu_seconds"], 0.01), "tiles/s")
    for job, each in heights.items():
        if len(each) > 1:
            yield Reading(f"streaming.{job}.growth", each[-1] / each[-2], "x")


@pytest.mark.slow
@pytest.mark.parametrize("job", [job for job in (*FORMATS, *OTHERS, *VERBS) if job not in ONE_EACH])
def test_ten_times_the_tiles_take_no_more_memory(tmp_path: Path, job: str) -> None:
    """The whole process's, what libraries hold included."""
    heights = []
    share = 4 if job == "verify" else 1  # to decode a tile takes ten times as long as to copy it
    for tiles in (FEW // share, MANY // share):
        folder = tmp_path / str(tiles)
        folder.mkdir()
        make(folder / "old.mbtiles", tiles, KINDS)
        make(folder / "new.mbtiles", tiles, KINDS, changed=CHANGED)
        found = measured(folder, job)
        assert found["tiles"] > 0.9 * tiles
        heights.append(found["peak_mb"])
    assert heights[1] <= heights[0] * (1 + MOST_GROWTH), heights


# A sealed format is collected as a compact cache: that one is measured with it.
@pytest.mark.parametrize("job", ["pmtiles", "dedup"])
def test_more_tiles_are_not_held(tmp_path: Path, job: str) -> None:
    few, many = 18_000, 45_000
    heights = []
    for tiles in (100, few, many):  # the first for what is imported
        folder = tmp_path / str(tiles)
        folder.mkdir()
        make(folder / "old.mbtiles", tiles, KINDS)
        tracemalloc.start()
        try:
            work(folder, job)
            heights.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert heights[2] - heights[1] < MOST_HELD * (many - few), heights


def save(readings: list[Reading]) -> None:
    """Put what was measured among what is kept of earlier jobs and sizes."""
    path = RESULTS / "streaming.json"
    held = json.loads(path.read_text(encoding="utf-8"))["lines"] if path.is_file() else []
    lines = {str(line["name"]): line for line in held}
    lines.update({each.name: Line(each.name, each.unit, [each.value]).as_json() for each in readings})
    from benchmarks.__main__ import as_json
    from benchmarks.suite import GROUPS

    keep("streaming", {**as_json([]), "lines": list(lines.values())})
    tell([group.name for group in GROUPS])


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_streaming", description="Verbs with flat memory.")
    parser.add_argument("words", nargs="*", metavar="TILES|JOB", help=f"sizes, and {', '.join((*JOBS, *OTHERS))}")
    parser.add_argument("--save", action="store_true", help="keep it in results/ and in the table of README.md")
    options = parser.parse_args(argv)
    try:
        sizes = tuple(at_least_one(word) for word in options.words if word.isdecimal()) or SIZES[:2]
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    jobs = tuple(word for word in options.words if not word.isdecimal()) or JOBS
    if wrong := [job for job in jobs if job not in (*JOBS, *OTHERS)]:
        parser.error(f"no job is named {', '.join(wrong)}; there are {', '.join((*JOBS, *OTHERS))}")
    found: list[Reading] = []
    with tempfile.TemporaryDirectory() as own:
        for reading in readings(sizes, jobs, Path(own)):
            found.append(reading)
            print(time.strftime("%H:%M:%S"), reading.name, number(reading.value), reading.unit, flush=True)
            if options.save:
                save(found)


if __name__ == "__main__":
    main(sys.argv[1:])
