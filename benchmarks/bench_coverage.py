"""Coverage of a fractal coast: tiles counted, expanded and iterated a second, and the memory that counting needs."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely

from harvester.aoi import Area
from harvester.crs import Crs
from harvester.edges import ServiceInfo, TileFormat
from harvester.planning import Plan, make_plan
from harvester.tiling.coverage import Runs, cover, grid_window
from harvester.tiling.scheme import GOOGLE_ORIGIN, GOOGLE_WIDTH, Lod, TilingScheme
from harvester.tiling.tile_rows import TileRows

VERTICES = 100_000
SMALL = 2_000
"""Vertices in a run that only shows that the work is right."""

WEB_MERCATOR = TilingScheme(
    crs=Crs(wkid=102100, latest_wkid=3857),
    origin_x=-GOOGLE_ORIGIN,
    origin_y=GOOGLE_ORIGIN,
    tile_width=256,
    tile_height=256,
    lods=tuple(Lod(level=z, resolution=GOOGLE_WIDTH / 256 / 2**z, scale=591657527.591555 / 2**z) for z in range(24)),
)


def coast(vertices: int, seed: int = 7) -> Any:
    """A coast by midpoint displacement with 40 lakes, about 360 x 350 km of web mercator; the same for the same
    arguments."""
    random = np.random.default_rng(seed)

    def ring(count: int, x: float, y: float, radius: float) -> Any:
        size = 1 << int(np.ceil(np.log2(count)))
        swing = np.zeros(1)
        while swing.size < size:
            middle = (swing + np.roll(swing, -1)) / 2 + random.normal(0, 0.12 * swing.size**-0.8, swing.size)
            swing = np.column_stack([swing, middle]).ravel()
        swing = np.interp(np.linspace(0, size, count, endpoint=False), np.arange(size), swing)
        angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
        reach = radius * np.exp(swing)
        return np.column_stack([x + reach * np.cos(angle), y + reach * np.sin(angle)])

    shell = shapely.Polygon(ring(vertices, 1_100_000.0, 6_100_000.0, 150_000.0))
    lakes = []
    for i in range(40):
        angle, far = i * 2.399963, 15_000.0 * np.sqrt(i + 1)
        x, y = 1_100_000.0 + far * np.cos(angle), 6_100_000.0 + far * np.sin(angle)
        lakes.append(shapely.Polygon(ring(max(8, vertices // 200), x, y, 3_000.0)))
    return shapely.difference(shell, shapely.union_all(lakes))


def jagged(vertices: int, seed: int = 7) -> Any:
    """A ring of 12,000 km in web mercator, each vertex up to 2.5 % off: every edge crosses hundreds of rows of tiles
    and every row a thousand edges."""
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    reach = 6_000_000.0 * (1 + np.random.default_rng(seed).uniform(-0.025, 0.025, vertices))
    return shapely.Polygon(np.column_stack([reach * np.cos(angle), reach * np.sin(angle)]))


def work(level: int, geometry: Any) -> TileRows:
    """Count the tiles of one level."""
    runs = cover(geometry, WEB_MERCATOR, level, grid_window(WEB_MERCATOR, level))
    assert runs.count > 0
    return runs


def smooth(level: int, geometry: Any) -> Runs:
    """The tiles of one level of an outline that is smooth enough to be held as runs."""
    runs = work(level, geometry)
    assert isinstance(runs, Runs)
    return runs


def plan(geometry: Any, *levels: int) -> Plan:
    """A plan of the coast."""
    info = ServiceInfo(
        source="coast", identity="coast", kind="xyz", name="Coast", scheme=WEB_MERCATOR, extent=None,
        tile_format=TileFormat.PNG,
    )  # fmt: skip
    return make_plan(info, [(levels, Area(geometry=geometry))])


def test_the_coast_has_the_tiles_that_testing_every_box_finds() -> None:
    geometry, level = coast(SMALL), 13
    runs = work(level, geometry)
    row_min, row_max, col_min, col_max = runs.bounds or (0, 0, 0, 0)
    rows, cols = (grid.ravel() for grid in np.mgrid[row_min - 1 : row_max + 2, col_min - 1 : col_max + 2])
    span = GOOGLE_WIDTH / 2**level
    left, top = cols * span - GOOGLE_ORIGIN, GOOGLE_ORIGIN - rows * span
    shapely.prepare(geometry)
    inside = shapely.intersects(geometry, shapely.box(left, top - span, left + span, top))
    assert list(runs) == list(zip(rows[inside].tolist(), cols[inside].tolist(), strict=True))


def test_counting_needs_memory_by_the_coast_not_by_its_tiles() -> None:
    geometry = coast(SMALL)
    peaks = []
    for level in (16, 21):
        tracemalloc.start()
        work(level, geometry)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 40_000_000  # 190 million tiles
    assert peaks[1] < 40 * peaks[0]  # for 1,000 times the tiles


def timed(name: str, unit: str, run: Callable[[], int], times: int = 3) -> None:
    """Print the best of a few runs; ``run`` gives how many it did."""
    best, count = float("inf"), 0
    for _ in range(times):
        start = time.perf_counter()
        count = run()
        best = min(best, time.perf_counter() - start)
    print(f"{name:<22}{count:>15,} {unit:<7}{best:>9.4f} s {count / best / 1e6:>12,.1f} M/s")


def main() -> None:
    """Print what ``VERTICES`` cost: counting at each zoom, then what a plan is used for."""
    geometry = coast(int(sys.argv[1]) if len(sys.argv) > 1 else VERTICES)
    print(f"{shapely.get_num_coordinates(geometry):,} coordinates")
    for level in (14, 16, 18, 20, 22, 23):
        timed(f"count z{level}", "tiles", lambda level=level: work(level, geometry).count)  # type: ignore[misc]
    star = jagged(VERTICES)
    for level in (13, 15, 17):
        timed(f"count jagged z{level}", "tiles", lambda level=level: work(level, star).count, 1)  # type: ignore[misc]
    for name, level, shape in (("z22", 22, geometry), ("jagged z17", 17, star)):
        tracemalloc.start()
        work(level, shape)
        print(f"peak of counting {name}: {tracemalloc.get_traced_memory()[1] / 1e6:.0f} MB")
        tracemalloc.stop()
    jags = plan(star, 15)
    timed("jagged z15: blocks", "blocks", lambda: sum(1 for _ in jags.blocks()), 1)
    timed("jagged z15: shard", "tiles", lambda: jags.shard(3, 7).total, 1)
    runs, small, large = smooth(18, geometry), plan(geometry, 18), plan(geometry, 22)
    timed("arrays", "tiles", lambda: runs.arrays()[0].size)
    timed("iterate (row, col)", "tiles", lambda: sum(1 for _ in runs))
    timed("Plan.places", "tiles", lambda: sum(1 for _ in small.places()))
    timed("Plan.tiles", "tiles", lambda: sum(1 for _ in small.tiles()))
    timed("Plan.blocks z22", "blocks", lambda: sum(1 for _ in large.blocks()))
    timed(
        "Plan.tile_at z22", "tiles", lambda: len({large.tile_at(k) for k in range(0, large.total, large.total // 999)})
    )
    timed("Plan.shard z22", "tiles", lambda: large.shard(3, 7).total)


if __name__ == "__main__":
    main()
