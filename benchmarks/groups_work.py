"""Groups of measurements: work that needs neither disk nor network."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from benchmarks.measure import Cost, Reading, Round, cost_of, group, in_turn

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


@group("coverage", "tiles of a coast with 100,000 vertices: counted, expanded, iterated")
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


@group("payload", "judging a tile of 15 KB, against one CRC-32 of its bytes")
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


@group("source", "an ArcGIS source: what to ask, what an answer means, a tilemap window")
def source() -> Iterator[Round]:
    from benchmarks import bench_source as bench

    def rounds(number: int) -> Iterator[Reading]:
        found = bench.work(10_000)
        yield Reading("source.request", found["request_us"], "us/tile")
        yield Reading("source.judge", found["judge_us"], "us/tile")
        yield Reading("source.window", found["window_us"], "us/window")

    yield rounds


@group("pacing", "may it start, how did it end")
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


@group("engine", "flow, feed, writer and tally, against a loop that does the least")
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


@group("demo_map", "drawing the embedded map")
def demo_map() -> Iterator[Round]:
    from benchmarks import bench_demo_map as bench

    squares = 4
    bench.work(1)

    def rounds(number: int) -> Iterator[Reading]:
        yield Reading(
            "demo_map.tile", cost_of(lambda: bench.work(squares), squares * 16).microseconds / 1000, "ms/tile"
        )

    yield rounds
