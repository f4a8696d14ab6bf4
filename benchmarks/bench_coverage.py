"""Coverage of a fractal coast: tiles counted, expanded and iterated a second, and the memory that counting needs."""

from __future__ import annotations

import resource
import sys
import time
from itertools import islice
from typing import Any

import numpy as np
import shapely

from harvester.crs import Crs
from harvester.tiling.coverage import Runs, cover, grid_window
from harvester.tiling.scheme import GOOGLE_ORIGIN, GOOGLE_WIDTH, Lod, TilingScheme

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


def work(level: int, geometry: Any) -> Runs:
    """Count the tiles of one level."""
    runs = cover(geometry, WEB_MERCATOR, level, grid_window(WEB_MERCATOR, level))
    assert runs.count > 0
    return runs


def bench_the_coast_is_covered_alike_at_every_zoom() -> None:
    """Area of the tiles shrinks towards the area of the coast, from above."""
    geometry = coast(SMALL)
    areas = [work(z, geometry).count * (GOOGLE_WIDTH / 2**z) ** 2 for z in (12, 15, 18)]
    assert areas[0] > areas[1] > areas[2] > geometry.area
    assert areas[2] < geometry.area * 1.01


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print what ``VERTICES`` cost at each zoom."""
    geometry = coast(int(sys.argv[1]) if len(sys.argv) > 1 else VERTICES)
    print(f"{shapely.get_num_coordinates(geometry):,} coordinates, {_megabytes():.0f} MB before")
    for level in (14, 16, 18, 20, 22, 22, 22):
        start = time.perf_counter()
        runs = work(level, geometry)
        seconds = time.perf_counter() - start
        print(f"z{level} {runs.count:>13,} tiles {seconds:.3f} s {runs.top.size:>9,} runs {_megabytes():.0f} MB")
    runs = work(18, geometry)
    start = time.perf_counter()
    rows, _ = runs.arrays()
    print(f"arrays {rows.size / (time.perf_counter() - start) / 1e6:.0f} M/s")
    start = time.perf_counter()
    count = sum(1 for _ in islice(runs, 3_000_000))
    print(f"iteration {count / (time.perf_counter() - start) / 1e6:.1f} M/s")


if __name__ == "__main__":
    main()
