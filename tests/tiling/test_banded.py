"""Tiles held as bands that are made again, against exact fractions and against the same tiles held as row runs."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity

from harvester.tiling import banded, order, runs, scan
from harvester.tiling.banded import Banded, Shelf, gathered, union
from harvester.tiling.coverage import cover
from harvester.tiling.outline import Outline
from harvester.tiling.runs import Runs
from harvester.tiling.tile import BLOCK
from harvester.tiling.tile_rows import TileRows

from .test_coverage import GRIDS, UNIT, area, by_fractions, hardly_there, random_area, scheme, snapped, star
from .test_order import in_order

SIDE = 4 * BLOCK
WHOLE = (0, SIDE, 0, SIDE)


@pytest.fixture
def in_bands() -> Iterator[Callable[[Callable[[], TileRows]], TileRows]]:
    """Makes tiles with the limits so low that a handful is held as bands of one block row each."""

    def made(make: Callable[[], TileRows]) -> TileRows:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(banded, "MAX_HELD", 1)
            patch.setattr(scan, "CUT", 1)
            patch.setattr(runs, "CUT_RUNS", 2)
            return make()

    yield made


def jagged(seed: int) -> Any:
    """A ring with a hole, a few hundred tiles across, that every row crosses many times."""
    generator = np.random.default_rng(seed)
    return area(star(generator, 400, SIDE / 2, 150.0, 0.4), star(generator, 60, SIDE / 2, 40.0, 0.6))


def boxes(seed: int) -> Runs:
    generator = np.random.default_rng(seed)
    top, first = generator.integers(0, SIDE, (2, 30))
    high, wide = generator.integers(0, SIDE // 4, (2, 30))
    return Runs.from_bands(top, np.minimum(top + high, SIDE), first, np.minimum(first + wide, SIDE))


def same(found: TileRows, want: TileRows) -> bool:
    """Whether both hold the same tiles in the same runs."""
    pieces = banded.joined(part.fields for part in found.parts())
    assert found.count == pieces.count
    assert found.bounds == pieces.bounds
    return pieces == banded.joined(part.fields for part in want.parts())


@pytest.mark.parametrize("kind", GRIDS)
def test_bands_are_covered_as_exact_fractions_say(kind: str, in_bands: Any) -> None:
    """The areas lie across the end of a block row, so that each is cut in the middle."""
    generator = np.random.default_rng(400 + len(kind))
    window = (BLOCK - 4, BLOCK + 4, 0, 8)
    were_banded = 0
    for _ in range(60):
        geometry = shapely.transform(random_area(generator, kind), lambda points: points - (0, BLOCK - 4))
        if not geometry.is_valid:
            continue
        found = in_bands(lambda geometry=geometry: cover(geometry, UNIT, 0, window))
        were_banded += isinstance(found, Banded)
        parts = snapped(geometry, UNIT)
        odd = set(found) ^ by_fractions(parts, window)
        assert hardly_there(parts, odd), geometry.wkt
        assert found.count == len(list(found))
    assert were_banded > 20


@pytest.mark.parametrize("seed", range(3))
def test_bands_answer_whatever_runs_answer(seed: int, in_bands: Any) -> None:
    geometry, chance = jagged(seed), random.Random(seed)
    held = cover(geometry, UNIT, 0, WHOLE)
    found = in_bands(lambda: cover(geometry, UNIT, 0, WHOLE))
    assert isinstance(held, Runs)
    assert isinstance(found, Banded)
    assert same(found, held)
    assert list(found) == list(held)
    assert (found.count, found.bounds) == (held.count, held.bounds)
    for row in range(-1, SIDE + 2):
        assert found.tiles_before_row(row) == held.tiles_before_row(row)
    for k in range(0, held.count, 331):
        assert found.row_of(k) == held.row_of(k)
    for _ in range(300):
        row, col = chance.randrange(-1, SIDE + 2), chance.randrange(-1, SIDE + 2)
        assert found.contains(row, col) == held.contains(row, col)
    for _ in range(20):
        low, high = sorted(chance.sample(range(-5, SIDE + 5), 2))
        left, right = sorted(chance.sample(range(-5, SIDE + 5), 2))
        assert found.between(low, high) == held.between(low, high)
        for mine, theirs in zip(found.rows_between(low, high), held.rows_between(low, high), strict=True):
            assert mine.tolist() == theirs.tolist()
        assert same(found.clip(low, high, left, right), held.clip(low, high, left, right))
        clipped = in_bands(lambda box=(low, high, left, right): found.clip(*box))
        assert same(clipped, held.clip(low, high, left, right))
    assert not found.clip(5, 4, 0, SIDE)
    assert not found.between(SIDE + 1, SIDE + 9)


def test_the_plans_order_over_bands_is_that_over_runs(in_bands: Any) -> None:
    geometry = jagged(7)
    held = cover(geometry, UNIT, 0, WHOLE)
    found = in_bands(lambda: cover(geometry, UNIT, 0, WHOLE))
    want = in_order(held)
    assert [order.kth(found, k) for k in range(0, len(want), 97)] == want[::97]
    assert list(order.places(3, found)) == [(3, *tile) for tile in want]
    for (key, mask), (other, theirs) in zip(order.blocks(3, found), order.blocks(3, held), strict=True):
        assert key == other
        assert (mask == theirs).all()
    ends = [0, 1, 500, len(want) // 3, len(want) // 2 + 1, len(want) - 1, len(want)]
    for low, high in itertools.pairwise(ends):
        part = in_bands(lambda low=low, high=high: order.cut(found, low, high))
        assert part.count == high - low
        assert [tile[1:] for tile in order.places(3, part)] == want[low:high]


def test_every_tile_is_found_by_its_number(in_bands: Any) -> None:
    geometry = area(star(np.random.default_rng(3), 90, float(BLOCK), 25.0, 0.5))
    found = in_bands(lambda: cover(geometry, UNIT, 0, WHOLE))
    assert isinstance(found, Banded)
    assert [order.kth(found, k) for k in range(found.count)] == in_order(found)
    for k in (-1, found.count):
        with pytest.raises(IndexError):
            order.kth(found, k)


@pytest.mark.parametrize("seed", range(4))
def test_unions_of_bands_runs_and_boxes_are_those_of_their_runs(seed: int, in_bands: Any) -> None:
    one, two = jagged(seed), shapely.affinity.translate(jagged(seed + 10), 90, -60)
    held: list[TileRows] = [cover(geometry, UNIT, 0, WHOLE) for geometry in (one, two)]
    held += [boxes(seed), Runs.box(0, 200, 100, 300), Runs.empty()]
    want = Runs.empty().union(*(part for tiles in held for part in tiles.parts()))
    bands = [in_bands(lambda geometry=geometry: cover(geometry, UNIT, 0, WHOLE)) for geometry in (one, two)]
    some: list[TileRows] = [*bands, *held[2:]]
    random.Random(seed).shuffle(some)
    assert same(union(*some), want)
    found = in_bands(lambda: union(*some))
    assert isinstance(found, Banded)
    assert same(found, want)
    assert list(found) == list(want)
    middle = SIDE // 2
    clipped = in_bands(lambda: union(found.clip(0, middle, 9, SIDE), found.clip(middle - 9, SIDE, 9, SIDE)))
    assert same(clipped, want.clip(0, SIDE, 9, SIDE))


def test_a_union_with_one_set_is_that_set(in_bands: Any) -> None:
    found = in_bands(lambda: cover(jagged(1), UNIT, 0, WHOLE))
    assert union(Runs.empty(), found) is found
    assert not union()


def test_sets_side_by_side_are_joined_without_being_made() -> None:
    """What is known of a band is not found out again where nothing else lies in its rows."""
    made: list[int] = []

    def make(low: int, high: int) -> Runs:
        made.append(low)
        rows = np.arange(low, high + 1)
        return Runs(rows, rows, rows, rows)

    rows = range(0, 5000 * BLOCK, 1000 * BLOCK)
    above = gathered([(low, low + 1000 * BLOCK - 1, None) for low in rows], make, Shelf())
    assert isinstance(above, Banded)
    assert made == list(rows)
    made.clear()
    both = union(above, Runs.box(5000 * BLOCK, 5001 * BLOCK - 1, 0, 10))
    assert both.count == 5000 * BLOCK + 11 * BLOCK
    assert both.clip(0, 5000 * BLOCK - 1, 0, 5000 * BLOCK).count == 5000 * BLOCK
    assert both.clip(1000 * BLOCK, 1000 * BLOCK + 5, 0, 9000 * BLOCK).count == 6
    assert made == [1000 * BLOCK]


def test_few_bands_are_kept_and_each_is_always_the_same(in_bands: Any) -> None:
    made: list[int] = []

    def make(low: int, high: int) -> Runs:
        made.append(low)
        return Runs.box(low, high, 0, low)

    wanted = [(low, low + BLOCK - 1, None) for low in range(0, 20 * BLOCK, BLOCK)]
    tiles = in_bands(lambda: gathered(wanted, make, Shelf()))
    made.clear()
    assert all(tiles.contains(row, 0) for row in range(20 * BLOCK))
    assert len(made) == 20
    assert all(tiles.contains(row, 0) for row in range((20 - banded.SHELVED) * BLOCK, 20 * BLOCK))
    assert len(made) == 20
    assert tiles.contains(0, 0)
    assert len(made) == 21


def test_a_smooth_outline_is_held_as_runs() -> None:
    circle = shapely.Point(0, 0).buffer(1.0, quad_segs=5000)
    found = cover(circle, scheme((-2.0, 2.0), (1 / 4096, 1 / 4096)), 0, (0, 1 << 14, 0, 1 << 14))
    assert isinstance(found, Runs)


def test_a_jagged_outline_takes_memory_by_its_bands_not_by_its_runs() -> None:
    geometry, size = area(star(np.random.default_rng(5), 100_000, 0.0, 1.0, 0.025)), 1 << 14
    tracemalloc.start()
    outline = Outline(geometry)
    found = cover(outline, scheme((-2.0, 2.0), (1 / size, 1 / size)), 0, (0, 4 * size, 0, 4 * size))
    assert found.contains(*order.kth(found, found.count // 2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.count > 3 * size * size
    assert found.run_count > 3_500_000  # 168 MB, if they were held
    assert peak < 60_000_000


def test_vertices_within_one_tile_change_nothing() -> None:
    """Whatever an outline does inside of a tile, the tiles are those of all its edges."""
    generator = np.random.default_rng(11)
    for kind in ("anywhere", "half on grid lines", "nearly on grid lines"):
        for _ in range(6):
            ring = star(generator, int(generator.integers(30, 120)), 4.2, float(generator.choice([0.3, 2.0, 4.0])), 0.2)
            geometry = shapely.MultiPolygon(
                [
                    part
                    for part in shapely.get_parts(shapely.make_valid(area(GRIDS[kind](generator, ring))))
                    if part.geom_type == "Polygon"
                ]
            )
            window = (0, 8, 0, 8)
            parts = snapped(geometry, UNIT)
            odd = set(cover(geometry, UNIT, 0, window)) ^ by_fractions(parts, window)
            assert not odd or hardly_there(parts, odd), geometry.wkt


def test_a_ring_within_one_tile_is_scanned_as_a_few_edges() -> None:
    generator = np.random.default_rng(1)
    rings = [star(generator, 5_000, 4.5, reach, 0.2) for reach in (0.3, 0.1)]
    islands = shapely.MultiPolygon([area(*rings), area(star(generator, 3_000, 2.5, 0.1, 0.2))])
    assert set(cover(islands, UNIT, 0, (0, 8, 0, 8))) == {(4, 4), (2, 2)}
    assert Outline(islands).edges(UNIT, 0).x0.size < 15
