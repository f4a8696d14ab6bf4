"""Groups of measurements: what writes, seals and records."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import SMALL_BYTES, TILE_BYTES, Reading, Round, group, in_turn


@group("mbtiles", "the MBTiles writer, flat and deduplicated, against a plain write with the same syncs")
def mbtiles() -> Iterator[Round]:
    from benchmarks import bench_mbtiles as bench

    n = 20_000
    bench.work(bench.BATCH)

    def rounds(number: int) -> Iterator[Reading]:
        for size in (TILE_BYTES, SMALL_BYTES):
            spent = in_turn(
                number,
                {
                    "floor": partial(bench.floor, n, size),
                    "flat": partial(bench.work, n, size),
                    "dedup": partial(bench.work, n, size, dedup=True),
                },
            )
            yield Reading(f"mbtiles.{size}.flat", spent["flat"] / n * 1e6, "us/tile")
            yield Reading(f"mbtiles.{size}.of_plain_write", spent["floor"] / spent["flat"], "x")
            yield Reading(f"mbtiles.{size}.dedup_over_flat", spent["dedup"] / spent["flat"], "x")

    yield rounds


@group("compact", "the compact V2 writer against a plain write with the same syncs")
def compact() -> Iterator[Round]:
    from benchmarks import bench_compact as bench

    n = 20_000
    bench.work(bench.BATCH)

    def rounds(number: int) -> Iterator[Reading]:
        for size in (TILE_BYTES, SMALL_BYTES):
            spent = in_turn(number, {"floor": partial(bench.floor, n, size), "ours": partial(bench.work, n, size)})
            yield Reading(f"compact.{size}.ours", spent["ours"] / n * 1e6, "us/tile")
            yield Reading(f"compact.{size}.of_plain_write", spent["floor"] / spent["ours"], "x")

    yield rounds


@group("geopackage", "the GeoPackage writer against a plain write with the same syncs")
def geopackage() -> Iterator[Round]:
    from benchmarks import bench_geopackage as bench
    from benchmarks.bench_mbtiles import BATCH, floor

    n = 20_000
    bench.work(BATCH)

    def rounds(number: int) -> Iterator[Reading]:
        for size in (TILE_BYTES, SMALL_BYTES):
            spent = in_turn(
                number,
                {
                    "floor": partial(floor, n, size),
                    "bare": partial(bench.bare, n, size),
                    "ours": partial(bench.work, n, size),
                },
            )
            yield Reading(f"geopackage.{size}.ours", spent["ours"] / n * 1e6, "us/tile")
            yield Reading(f"geopackage.{size}.of_plain_write", spent["floor"] / spent["ours"], "x")
            yield Reading(f"geopackage.{size}.of_executemany", spent["bare"] / spent["ours"], "x")

    yield rounds


@group("folders", "tiles as files against the same files written, synced and renamed one by one (the wall)")
def folders() -> Iterator[Round]:
    from benchmarks import bench_folders as bench

    n = 3_000
    bench.work(100)

    def rounds(number: int) -> Iterator[Reading]:
        spent = in_turn(
            number,
            {
                "floor": partial(bench.floor, n),
                "exploded": partial(bench.work, n),
                "xyz": partial(bench.work, n, "xyz"),
            },
        )
        for name in ("exploded", "xyz"):
            yield Reading(f"folders.{name}", spent[name] / n * 1e6, "us/tile")
            yield Reading(f"folders.{name}.of_plain_files", spent["floor"] / spent[name], "x")

    yield rounds


@group("compact_v1", "the compact V1 writer against a plain write with the same syncs")
def compact_v1() -> Iterator[Round]:
    from benchmarks import bench_compact, bench_folders

    n = 20_000
    bench_folders.work(100, "compact")

    def rounds(number: int) -> Iterator[Reading]:
        ours = partial(bench_folders.work, n, "compact", size=TILE_BYTES, timer=time.process_time)
        spent = in_turn(number, {"floor": partial(bench_compact.floor, n, TILE_BYTES), "ours": ours})
        yield Reading(f"compact_v1.{TILE_BYTES}.ours", spent["ours"] / n * 1e6, "us/tile")
        yield Reading(f"compact_v1.{TILE_BYTES}.of_plain_write", spent["floor"] / spent["ours"], "x")

    yield rounds


@group("manifest", "counting tiles for the manifest as they pass, against the hash of their bytes alone")
def manifest() -> Iterator[Round]:
    from benchmarks import bench_manifest as bench

    n = 20_000
    bench.work(1000)

    def rounds(number: int) -> Iterator[Reading]:
        for size in (TILE_BYTES, SMALL_BYTES):
            spent = in_turn(number, {"floor": partial(bench.floor, n, size), "ours": partial(bench.work, n, size)})
            yield Reading(f"manifest.{size}", spent["ours"] / n * 1e6, "us/tile")
            yield Reading(f"manifest.{size}.over_hash", spent["ours"] / spent["floor"], "x")

    yield rounds


@group("pmtiles", "sealing a PMTiles archive against reading, hashing and copying the same tiles")
def pmtiles() -> Iterator[Round]:
    from benchmarks import bench_pmtiles as bench

    n = 20_000
    with tempfile.TemporaryDirectory() as own:
        folder = Path(own)
        bench.fill(folder, n, TILE_BYTES)
        bench.work(folder)

        def rounds(number: int) -> Iterator[Reading]:
            spent = in_turn(
                number,
                {"copy": partial(bench.floor, folder, n, TILE_BYTES), "seal": partial(bench.work, folder)},
            )
            yield Reading("pmtiles.seal", spent["seal"] / n * 1e6, "us/tile")
            yield Reading("pmtiles.of_plain_copy", spent["copy"] / spent["seal"], "x")

        yield rounds


@group("package", "sealing a tile package against copying its bytes with their CRC-32")
def package() -> Iterator[Round]:
    from benchmarks import bench_compact, bench_package

    n = 20_000
    with tempfile.TemporaryDirectory() as own:
        folder = Path(own)
        bench_compact.work(n, TILE_BYTES, folder)
        bench_package.work(folder)

        def rounds(number: int) -> Iterator[Reading]:
            spent = in_turn(
                number,
                {
                    "copy": partial(bench_package.floor, folder),
                    "tpkx": partial(bench_package.work, folder),
                    "tpk": partial(bench_package.work, folder, format="tpk"),
                },
            )
            for name in ("tpkx", "tpk"):
                yield Reading(f"package.{name}", spent[name] / n * 1e6, "us/tile")
                yield Reading(f"package.{name}.of_plain_copy", spent["copy"] / spent[name], "x")

        yield rounds


@group("ledger", "recording batches in the ledger, commits included")
def ledger() -> Iterator[Round]:
    from benchmarks import bench_ledger as bench

    n = 100_000
    bench.work(bench.BATCH)

    def rounds(number: int) -> Iterator[Reading]:
        yield Reading("ledger.record", bench.work(n) / n * 1e6, "us/tile")

    yield rounds
