"""Groups of measurements: what fetches, and whole harvests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.measure import (
    CLIENT_CPU,
    SERVER_CPU,
    SMALL_BYTES,
    TILE_BYTES,
    Cost,
    Reading,
    Round,
    group,
    in_turn,
    pinned,
)

MEMORY_LEVELS = (14, 16, 17)
"""16,384, 262,144 and 1,048,576 tiles."""


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


@group("transport", "fetching 15 KB tiles: lanes against aiohttp's ClientSession at its best")
def transport() -> Iterator[Round]:
    yield from _transport("transport")


@group("transport_pieces", "the same where each answer comes in four pieces, as over a network")
def transport_pieces() -> Iterator[Round]:
    yield from _transport("transport_pieces", pieces=4)


@group("transport_tls", "the same over TLS 1.3")
def transport_tls() -> Iterator[Round]:
    yield from _transport("transport_tls", tls=True)


@group(
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


@group("end_to_end", "harvests of 15 KB tiles, every safety on, against aiohttp that only fetches")
def end_to_end() -> Iterator[Round]:
    yield from _end_to_end("end_to_end", TILE_BYTES)


@group("end_to_end_1kb", "the same with tiles of 1 KB")
def end_to_end_1kb() -> Iterator[Round]:
    yield from _end_to_end("end_to_end_1kb", SMALL_BYTES)


@group(
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


@group("memory", "time and memory of harvests from 10^4 to 10^6 tiles of 1 KB", long=True)
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
