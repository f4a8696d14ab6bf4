"""Every group of measurements: which contestants meet in it, and which numbers and ratios come out."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    CLIENT_CPU,
    ROOT,
    SERVER_CPU,
    Cost,
    Group,
    Reading,
    Round,
    children_cpu,
    cost_of,
    in_turn,
    pinned,
)

Start = Callable[[], Iterator[Round]]

TILE_BYTES, SMALL_BYTES = 15_000, 1_000
"""A street map's tile, and one that makes the cost of a tile itself show."""

SMALL_VERTICES = 5_000
"""For what is compared with testing tile by tile."""

ONE_IN = 40
"""Of the tiles that are tested one by one: all of them take a minute."""

BILLIONS_LEVEL = 23
"""Where the coast has three thousand million tiles."""

AGAIN = 5
"""Times that runs become arrays in one measurement: a single time is over after 15 ms, most of them the first touch."""

JAGGED_LEVEL = 17
"""Where the jagged ring has a thousand million."""

MEMORY_LEVELS = (14, 16, 17)
"""16,384, 262,144 and 1,048,576 tiles."""


def _group(name: str, about: str, *, long: bool = False) -> Callable[[Start], Group]:
    """What follows sets the group up and yields its rounds."""
    return lambda start: Group(name=name, about=about, start=contextlib.contextmanager(start), long=long)


# ---------------------------------------------------------------------------------------------- pure work


@_group("coverage", "tiles of a coast with 100,000 vertices: counted, expanded, iterated")
def coverage() -> Iterator[Round]:
    from benchmarks import bench_coverage as bench

    coast = bench.coast(bench.VERTICES)
    tracemalloc.start()
    assert bench.work(BILLIONS_LEVEL, coast).count >= 10**9
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    runs, many, small = bench.smooth(18, coast), bench.plan(coast, 17), bench.coast(SMALL_VERTICES)
    star = bench.jagged(bench.VERTICES)
    tracemalloc.start()
    assert bench.work(JAGGED_LEVEL, star).count >= 10**9
    jagged_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    contestants: dict[str, Callable[[], Cost]] = {
        "z18": lambda: cost_of(lambda: bench.work(18, coast), 1),
        "z22": lambda: cost_of(lambda: bench.work(22, coast), 1),
        "billions": lambda: cost_of(lambda: bench.work(BILLIONS_LEVEL, coast), 1),
        "jagged": lambda: cost_of(lambda: bench.work(JAGGED_LEVEL, star), 1),
        "arrays": lambda: cost_of(lambda: [runs.arrays()[0].size for _ in range(AGAIN)], AGAIN * runs.count),
        "plan": lambda: cost_of(lambda: sum(1 for _ in bench.plan(small, 16).places()), 1),
        "iterate": lambda: cost_of(lambda: sum(1 for _ in many.places()), many.total),
        "tiles": lambda: cost_of(lambda: sum(1 for _ in many.tiles()), many.total),
        "mercantile": lambda: Cost(1, one_by_one(small, 16), 0.0),
    }

    def rounds(number: int) -> Iterator[Reading]:
        costs = in_turn(number, contestants)
        yield Reading("coverage.count_1e9.seconds", costs["billions"].cpu_seconds, "s")
        yield Reading("coverage.count_1e9.peak", peak / 1e6, "MB")
        yield Reading("coverage.z22_over_z18", costs["z22"].cpu_seconds / costs["z18"].cpu_seconds, "x")
        yield Reading("coverage.arrays", 1 / costs["arrays"].microseconds, "million/s")
        yield Reading("coverage.jagged_1e9.seconds", costs["jagged"].cpu_seconds, "s")
        yield Reading("coverage.jagged_1e9.peak", jagged_peak / 1e6, "MB")
        yield Reading("coverage.iterate", 1 / costs["iterate"].microseconds, "million/s")
        yield Reading("coverage.tiles", 1 / costs["tiles"].microseconds, "million/s")
        ratio = costs["mercantile"].cpu_seconds / costs["plan"].cpu_seconds
        yield Reading("coverage.mercantile_over_plan", ratio, "x")

    yield rounds


def one_by_one(area: Any, level: int) -> float:
    """CPU seconds of testing every tile of the bounding box: mercantile's tiles, shapely's prepared geometry.

    One in ``ONE_IN`` is tested, and the tests' part counted so many times.
    """
    import mercantile
    from shapely.geometry import box
    from shapely.prepared import prep

    west, south, east, north = area.bounds
    corners = (*mercantile.lnglat(west, south), *mercantile.lnglat(east, north))
    prepared = prep(area)
    listed = cost_of(lambda: sum(1 for _ in mercantile.tiles(*corners, level)), 1)
    some = list(islice(mercantile.tiles(*corners, level), 0, None, ONE_IN))
    tested = cost_of(lambda: [tile for tile in some if prepared.intersects(box(*mercantile.xy_bounds(tile)))], 1)
    return listed.cpu_seconds + tested.cpu_seconds * ONE_IN


@_group("payload", "judging a tile of 15 KB, against one CRC-32 of its bytes")
def payload() -> Iterator[Round]:
    from benchmarks import bench_payload as bench

    n = 4000
    contestants: dict[str, Callable[[], Cost]] = {"crc": partial(cost_of, partial(bench.floor, n), n)}
    for form in ("PNG", "JPEG", "WEBP"):
        contestants[form.lower()] = partial(cost_of, partial(bench.work, n, form), n)

    def rounds(number: int) -> Iterator[Reading]:
        costs = in_turn(number, contestants)
        for name, cost in costs.items():
            yield Reading(f"payload.{name}", cost.microseconds, "us/tile")
        yield Reading("payload.png_over_crc", costs["png"].microseconds / costs["crc"].microseconds, "x")

    yield rounds


@_group("source", "an ArcGIS source: what to ask, what an answer means, a tilemap window")
def source() -> Iterator[Round]:
    from benchmarks import bench_source as bench

    def rounds(number: int) -> Iterator[Reading]:
        found = bench.work(10_000)
        yield Reading("source.request", found["request_us"], "us/tile")
        yield Reading("source.judge", found["judge_us"], "us/tile")
        yield Reading("source.window", found["window_us"], "us/window")

    yield rounds


@_group("pacing", "may it start, how did it end")
def pacing() -> Iterator[Round]:
    from benchmarks import bench_pacing as bench

    n = 100_000

    def rounds(number: int) -> Iterator[Reading]:
        costs = in_turn(
            number,
            {
                "loop": partial(cost_of, partial(bench.floor, n), n),
                "free": partial(cost_of, partial(bench.work, n), n),
                "limited": partial(cost_of, partial(bench.work, n, 1e6), n),
            },
        )
        for name in ("free", "limited"):
            yield Reading(f"pacing.{name}", costs[name].microseconds - costs["loop"].microseconds, "us/request")

    yield rounds


@_group("engine", "flow, feed, writer and tally, against a loop that does the least")
def engine() -> Iterator[Round]:
    from benchmarks import bench_engine as bench

    n = 100_000

    def rounds(number: int) -> Iterator[Reading]:
        costs = in_turn(number, {"whole": partial(bench.work, n), "bare": partial(bench.floor, n)})
        yield Reading("engine.whole", costs["whole"].microseconds, "us/tile")
        yield Reading("engine.bare", costs["bare"].microseconds, "us/tile")
        yield Reading("engine.alone", costs["whole"].microseconds - costs["bare"].microseconds, "us/tile")
        yield Reading("engine.over_bare", costs["whole"].microseconds / costs["bare"].microseconds, "x")

    yield rounds


# ---------------------------------------------------------------------------------------------- disk


@_group("mbtiles", "the MBTiles writer, flat and deduplicated, against a plain write with the same syncs")
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


@_group("compact", "the compact V2 writer against a plain write with the same syncs")
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


@_group("geopackage", "the GeoPackage writer against a plain write with the same syncs")
def geopackage() -> Iterator[Round]:
    from benchmarks import bench_geopackage as bench

    n = 20_000
    bench.work(bench.BATCH)

    def rounds(number: int) -> Iterator[Reading]:
        for size in (TILE_BYTES, SMALL_BYTES):
            spent = in_turn(
                number,
                {
                    "floor": partial(bench.floor, n, size),
                    "bare": partial(bench.bare, n, size),
                    "ours": partial(bench.work, n, size),
                },
            )
            yield Reading(f"geopackage.{size}.ours", spent["ours"] / n * 1e6, "us/tile")
            yield Reading(f"geopackage.{size}.of_plain_write", spent["floor"] / spent["ours"], "x")
            yield Reading(f"geopackage.{size}.of_executemany", spent["bare"] / spent["ours"], "x")

    yield rounds


@_group("folders", "tiles as files against the same files written, synced and renamed one by one (the wall)")
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


@_group("compact_v1", "the compact V1 writer against a plain write with the same syncs")
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


@_group("manifest", "counting tiles for the manifest as they pass, against the hash of their bytes alone")
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


@_group("pmtiles", "sealing a PMTiles archive against reading, hashing and copying the same tiles")
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


@_group("package", "sealing a tile package against copying its bytes with their CRC-32")
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


@_group("ledger", "recording batches in the ledger, commits included")
def ledger() -> Iterator[Round]:
    from benchmarks import bench_ledger as bench

    n = 100_000
    bench.work(bench.BATCH)

    def rounds(number: int) -> Iterator[Reading]:
        yield Reading("ledger.record", bench.work(n) / n * 1e6, "us/tile")

    yield rounds


@_group("demo_map", "drawing the embedded map")
def demo_map() -> Iterator[Round]:
    from benchmarks import bench_demo_map as bench

    squares = 4
    bench.work(1)

    def rounds(number: int) -> Iterator[Reading]:
        yield Reading(
            "demo_map.tile", cost_of(lambda: bench.work(squares), squares * 16).microseconds / 1000, "ms/tile"
        )

    yield rounds


# ---------------------------------------------------------------------------------------------- network


def _transport(name: str, *, tls: bool = False, pieces: int = 1) -> Iterator[Round]:
    from benchmarks import bench_transport as bench
    from benchmarks.tile_server import tile_server

    n = 8_000 if tls else 16_000
    # The server first: what is started while this process is pinned stays on its core.
    with tile_server(size=TILE_BYTES, tls=tls, pieces=pieces, cpu=SERVER_CPU) as tiles, pinned(CLIENT_CPU):

        def rounds(number: int) -> Iterator[Reading]:
            costs = in_turn(
                number,
                {
                    "lanes": lambda: bench.run(bench.lanes, tiles, n),
                    "aiohttp": lambda: bench.run(bench.aiohttp_best, tiles, n // 2),
                },
            )
            for who, cost in costs.items():
                yield Reading(f"{name}.{who}", cost.cpu_per_10k, "CPU s/10k")
                yield Reading(f"{name}.{who}.rate", cost.rate, "tiles/s")
            ratio = costs["aiohttp"].cpu_per_10k / costs["lanes"].cpu_per_10k
            yield Reading(f"{name}.aiohttp_over_lanes", ratio, "x")

        yield rounds


@_group("transport", "fetching 15 KB tiles: lanes against aiohttp's ClientSession at its best")
def transport() -> Iterator[Round]:
    yield from _transport("transport")


@_group("transport_pieces", "the same where each answer comes in four pieces, as over a network")
def transport_pieces() -> Iterator[Round]:
    yield from _transport("transport_pieces", pieces=4)


@_group("transport_tls", "the same over TLS 1.3")
def transport_tls() -> Iterator[Round]:
    yield from _transport("transport_tls", tls=True)


@_group(
    "latency", "lanes, 1 KB tiles at 50 ms, after the ramp-up: tiles a second over what so many connections can carry"
)
def latency() -> Iterator[Round]:
    from benchmarks import bench_transport as bench
    from benchmarks.tile_server import tile_server

    with tile_server(size=SMALL_BYTES, latency=bench.LATENCY_SECONDS, cpu=SERVER_CPU) as tiles, pinned(CLIENT_CPU):

        def rounds(number: int) -> Iterator[Reading]:
            for lanes in (64, 128, 256, 512):
                rate = bench.run(bench.steady, tiles, 40, lanes).rate
                yield Reading(f"latency.{lanes}", rate * bench.LATENCY_SECONDS / lanes, "x")

        yield rounds


def _end_to_end(name: str, size: int) -> Iterator[Round]:
    from benchmarks import bench_end_to_end as bench
    from benchmarks.map_server import map_server

    level = 15
    with map_server(size=size, cpu=SERVER_CPU) as service:
        contestants: dict[str, Callable[[], Cost]] = {
            format: partial(bench.in_process, "harvest", service, format, level) for format in bench.FORMATS
        }
        contestants["aiohttp"] = partial(bench.in_process, "fetch", service, "none", level)

        def rounds(number: int) -> Iterator[Reading]:
            costs = in_turn(number, contestants)
            fetch = costs["aiohttp"]
            for who, cost in costs.items():
                yield Reading(f"{name}.{who}", cost.per_10k, "CPU s/10k")
                yield Reading(f"{name}.{who}.rate", cost.rate, "tiles/s")
                yield Reading(f"{name}.{who}.peak", cost.peak_bytes / 1e6, "MB")
                if cost is not fetch:
                    yield Reading(f"{name}.{who}.per_cpu_over_fetch", fetch.per_10k / cost.per_10k, "x")

        yield rounds


@_group("end_to_end", "harvests of 15 KB tiles, every safety on, against aiohttp that only fetches")
def end_to_end() -> Iterator[Round]:
    yield from _end_to_end("end_to_end", TILE_BYTES)


@_group("end_to_end_1kb", "the same with tiles of 1 KB")
def end_to_end_1kb() -> Iterator[Round]:
    yield from _end_to_end("end_to_end_1kb", SMALL_BYTES)


@_group(
    "latency_run",
    "harvests of 1 KB tiles at 50 ms, after the ramp-up: tiles a second over what so many connections can carry",
)
def latency_run() -> Iterator[Round]:
    from benchmarks import bench_end_to_end as bench
    from benchmarks.map_server import map_server

    seconds = 0.05
    with map_server(size=SMALL_BYTES, latency=seconds, cpu=SERVER_CPU) as service:

        def rounds(number: int) -> Iterator[Reading]:
            for connections, level in ((64, 14), (512, 15)):
                cost = bench.in_process("steady", service, "mbtiles", level, connections)
                yield Reading(f"latency_run.{connections}", cost.rate / (connections / seconds), "x")

        yield rounds


@_group("memory", "time and memory of harvests from 10^4 to 10^6 tiles of 1 KB", long=True)
def memory() -> Iterator[Round]:
    from benchmarks import bench_end_to_end as bench
    from benchmarks.map_server import map_server

    with map_server(size=SMALL_BYTES, cpu=SERVER_CPU) as service:

        def rounds(number: int) -> Iterator[Reading]:
            for format in ("mbtiles", "compactv2"):
                costs = [bench.in_process("harvest", service, format, level) for level in MEMORY_LEVELS]
                for cost in costs:
                    yield Reading(f"memory.{format}.{cost.pieces}.peak", cost.peak_bytes / 1e6, "MB")
                    yield Reading(f"memory.{format}.{cost.pieces}.cpu", cost.microseconds, "us/tile")
                yield Reading(f"memory.{format}.1e6_over_1e4", costs[-1].peak_bytes / costs[0].peak_bytes, "x")

        yield rounds


# ---------------------------------------------------------------------------------------------- start


@_group("streaming", "the verbs: height and speed over caches of 10^5 to 10^7 tiles, a process each", long=True)
def streaming() -> Iterator[Round]:
    from benchmarks import bench_streaming as bench

    with tempfile.TemporaryDirectory() as own:
        yield lambda number: bench.readings(bench.SIZES, bench.JOBS, Path(own))


def _spawned(command: list[str]) -> Cost:
    """A process from its start to its end: CPU where the system tells it, else the wall."""
    cpu, wall = children_cpu(), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - wall
    return Cost(1, (children_cpu() - cpu) or seconds, seconds)


BARE_REQUEST = """
import asyncio, json, sys
import aiohttp

async def main():
    async with aiohttp.ClientSession() as session, session.get(sys.argv[1], params={"f": "json"}) as answer:
        for lod in (await answer.json())["tileInfo"]["lods"]:
            print(lod["level"], lod["scale"])

asyncio.run(main())
"""


@_group("startup", "harvester --version against an empty Python, harvester scales against a bare script")
def startup() -> Iterator[Round]:
    from benchmarks.map_server import map_server

    ours = [sys.executable, "-m", "harvester"]
    times = 5
    with map_server(size=SMALL_BYTES) as service:
        commands = {
            "empty": [sys.executable, "-c", "pass"],
            "version": [*ours, "--version"],
            "script": [sys.executable, "-c", BARE_REQUEST, service.url],
            "scales": [*ours, "scales", service.url],
        }

        def rounds(number: int) -> Iterator[Reading]:
            order = list(commands)
            random.Random(number).shuffle(order)
            spent = dict.fromkeys(order, 0.0)
            for _ in range(times):
                for name in order:
                    spent[name] += _spawned(commands[name]).cpu_seconds
            for name, seconds in sorted(spent.items()):
                yield Reading(f"startup.{name}", seconds / times * 1000, "ms")
            yield Reading("startup.version_over_empty", spent["version"] / spent["empty"], "x")
            yield Reading("startup.scales_over_script", spent["scales"] / spent["script"], "x")

        yield rounds


GROUPS: tuple[Group, ...] = (
    coverage,
    payload,
    source,
    pacing,
    engine,
    mbtiles,
    compact,
    compact_v1,
    geopackage,
    folders,
    package,
    pmtiles,
    manifest,
    ledger,
    demo_map,
    transport,
    transport_pieces,
    transport_tls,
    latency,
    end_to_end,
    end_to_end_1kb,
    latency_run,
    startup,
    memory,
    streaming,
)
