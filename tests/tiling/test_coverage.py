"""Coverage against brute force: every tile's box against the area, one at a time, in exact fractions and by relate."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import mercantile
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.crs import Crs
from harvester.errors import UsageError
from harvester.tiling import scan
from harvester.tiling.coverage import cover, extent_window, grid_window
from harvester.tiling.outline import SNAP, Outline
from harvester.tiling.runs import Runs
from harvester.tiling.scheme import GOOGLE_ORIGIN, GOOGLE_WIDTH, Box, Lod, TilingScheme

WINDOW = (0, 8, 0, 8)

RESOLUTION = 1e-8
"""Square tiles: a strip of one tile's length and the width of the worst rounding below."""


def scheme(origin: tuple[float, float] = (0.0, 0.0), span: tuple[float, float] = (1.0, 1.0)) -> TilingScheme:
    """A foreign grid with one LOD, 0; by default its tiles are unit squares."""
    return TilingScheme(
        crs=Crs(wkid=26918),
        origin_x=origin[0],
        origin_y=origin[1],
        tile_width=1,
        tile_height=round(span[1] / span[0]),
        lods=(Lod(level=0, resolution=span[0], scale=1.0),),
    )


UNIT = scheme()

GOOGLE = TilingScheme(
    crs=Crs(wkid=102100, latest_wkid=3857),
    origin_x=-20037508.342787,
    origin_y=20037508.342787,
    tile_width=256,
    tile_height=256,
    lods=tuple(Lod(level=z, resolution=GOOGLE_WIDTH / 256 / 2**z, scale=591657527.591555 / 2**z) for z in range(23)),
)


def area(*rings: Any) -> Any:
    """A polygon from rings in tiles, rows downwards, as the unit scheme sees it."""
    shell, *holes = [np.asarray(ring, float) * (1, -1) for ring in rings]
    return shapely.Polygon(shell, holes)


def covered(
    geometry: Any, window: tuple[int, int, int, int] = WINDOW, grid: TilingScheme = UNIT
) -> set[tuple[int, int]]:
    return set(cover(geometry, grid, 0, window))


# ------------------------------------------------------------------------------------------------ the slow twins


def snapped(geometry: Any, grid: TilingScheme) -> list[Any]:
    """The rule's first half: the polygons in tiles, vertices near a grid line on it, repaired where that broke them."""
    width, height = grid.span(0)

    def to_tiles(points: Any) -> Any:
        tiles = np.column_stack([(points[:, 0] - grid.origin_x) / width, (grid.origin_y - points[:, 1]) / height])
        near = np.rint(tiles)
        return np.where(np.abs(tiles - near) <= SNAP, near, tiles)

    parts = [shapely.transform(part, to_tiles) for part in shapely.get_parts(geometry)]
    parts = [part if part.is_valid else ring_by_ring(part) for part in parts]
    flat = shapely.get_parts(shapely.get_parts(parts))
    return [part for part in flat if part.geom_type == "Polygon" and not part.is_empty]


def ring_by_ring(polygon: Any) -> Any:
    """What is inside of the shell and in no hole, each ring repaired for itself."""
    shell, *holes = [shapely.make_valid(shapely.Polygon(ring)) for ring in (polygon.exterior, *polygon.interiors)]
    return shapely.difference(shell, shapely.union_all(holes)) if holes else shell


def candidates(polygon: Any, window: tuple[int, int, int, int]) -> Iterator[tuple[int, int]]:
    left, top, right, bottom = polygon.bounds
    rows = range(max(window[0], math.floor(top)), min(window[1], math.ceil(bottom)) + 1)
    cols = range(max(window[2], math.floor(left)), min(window[3], math.ceil(right)) + 1)
    return itertools.product(rows, cols)


def by_relate(polygons: list[Any], window: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    """The rule's second half by the library's own predicate: interiors intersect."""
    return {
        (row, col)
        for polygon in polygons
        for row, col in candidates(polygon, window)
        if shapely.relate_pattern(shapely.box(col, row, col + 1, row + 1), polygon, "T********")
    }


def by_fractions(polygons: list[Any], window: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    """The same without rounding: what area is left of the rings when fractions cut them to the tile."""
    return {
        (row, col)
        for polygon in polygons
        for row, col in candidates(polygon, window)
        if exact_area(polygon, row, col) > 0
    }


def exact_area(polygon: Any, row: int, col: int) -> Fraction:
    rings = [polygon.exterior, *polygon.interiors]
    areas = [
        cut_area([(Fraction(x), Fraction(y)) for x, y in ring.coords[:-1]], row, col)  # doubles are fractions
        for ring in rings
    ]
    return areas[0] - sum(areas[1:])


def cut_area(ring: list[tuple[Fraction, Fraction]], row: int, col: int) -> Fraction:
    """A ring cut to a tile, side by side, as Sutherland and Hodgman do; its area, without sign."""
    for axis, limit, sign in ((0, col, 1), (0, col + 1, -1), (1, row, 1), (1, row + 1, -1)):
        kept: list[tuple[Fraction, Fraction]] = []
        for a, b in zip(ring, ring[1:] + ring[:1], strict=True):
            far_a, far_b = sign * (a[axis] - limit), sign * (b[axis] - limit)
            if far_a >= 0:
                kept.append(a)
            if far_a * far_b < 0:
                t = far_a / (far_a - far_b)
                kept.append((a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])))
        ring = kept
        if not ring:
            return Fraction(0)
    twice = sum((a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:] + ring[:1], strict=True)), Fraction(0))
    return abs(twice) / 2


# ------------------------------------------------------------------------------------------------ random areas

GRIDS = {
    "anywhere": lambda random, points: points,
    "on grid lines": lambda random, points: np.rint(points),
    "half on grid lines": lambda random, points: np.rint(points * 2) / 2,
    "thirds": lambda random, points: np.rint(points * 3) / 3,
    "nearly on grid lines": lambda random, points: (
        np.rint(points) + random.choice([0, 9e-7, -9e-7, 1e-12, 2e-6, -2e-6, 0.25], points.shape)
    ),
    "one axis on grid lines": lambda random, points: np.column_stack([np.rint(points[:, 0]), points[:, 1]]),
}

ROUNDED = ("thirds", "nearly on grid lines")
"""Kinds whose edges are meant to pass through grid corners, but whose vertices are rounded: which side is chance."""


def random_area(random: np.random.Generator, place: str | Callable[[np.random.Generator, Any], Any]) -> Any:
    """A valid area of one to three parts, perhaps with a hole, in tiles -1..9 (rows upwards, below zero).

    ``place``: one of GRIDS, or what else to do to the points of a ring.
    """
    placed = GRIDS[place] if isinstance(place, str) else place
    parts = []
    for _ in range(random.integers(1, 4)):
        rings = []
        middle, size = random.uniform(0, 8, 2), random.choice([0.3, 1.5, 5.0])
        for reach in (1.0, 0.4)[: random.integers(1, 3)]:
            angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 9)))
            ring = np.column_stack([np.cos(angles), np.sin(angles)]) * random.uniform(0.5, 1, (len(angles), 1))
            rings.append(placed(random, middle + ring * size * reach))
        part = area(*rings)
        if not part.is_valid:
            part = area(rings[0])
        if part.is_valid and part.area > 0:
            parts.append(part)
    together = shapely.MultiPolygon(parts)
    return together if together.is_valid else shapely.MultiPolygon(parts[:1])


def hardly_there(polygons: list[Any], tiles: set[tuple[int, int]]) -> bool:
    """True when so little of the area is in each of these tiles, or so little parts it from them, that rounding alone
    may have put it there."""
    return all(
        sum(exact_area(polygon, row, col) for polygon in polygons) < RESOLUTION
        and any(side_of(row, col).distance(polygon.boundary) < RESOLUTION for polygon in polygons)
        for row, col in tiles
    )


def side_of(row: int, col: int) -> Any:
    return shapely.box(col, row, col + 1, row + 1).boundary


@pytest.mark.parametrize("kind", GRIDS)
def test_coverage_is_what_exact_fractions_say(kind: str) -> None:
    random = np.random.default_rng(len(kind))
    for _ in range(70):
        geometry = random_area(random, kind)
        parts = snapped(geometry, UNIT)
        odd = covered(geometry) ^ by_fractions(parts, WINDOW)
        assert not odd or (kind in ROUNDED and hardly_there(parts, odd)), geometry.wkt


@pytest.mark.parametrize("kind", GRIDS)
def test_coverage_is_what_relate_says_of_every_box(kind: str) -> None:
    random = np.random.default_rng(100 + len(kind))
    for _ in range(300):
        geometry = random_area(random, kind)
        parts = snapped(geometry, UNIT)
        odd = covered(geometry) ^ by_relate(parts, WINDOW)
        assert hardly_there(parts, odd), geometry.wkt


@pytest.mark.parametrize("kind", GRIDS)
def test_coverage_holds_in_any_scheme(kind: str) -> None:
    """Foreign origins, tiles that are not square, spans that are no round number."""
    random = np.random.default_rng(200 + len(kind))
    for _ in range(40):
        origin = tuple(random.uniform(-2e7, 2e7, 2))
        width = float(np.exp(random.uniform(-2, 12)))
        grid = scheme(origin, (width, width * random.integers(1, 3)))
        base = random.integers(0, 100_000, 2)
        width, height = grid.span(0)

        def place(points: Any) -> Any:
            return np.column_stack(
                [
                    grid.origin_x + (points[:, 0] + base[1]) * width,  # noqa: B023
                    grid.origin_y + (points[:, 1] - base[0]) * height,  # noqa: B023
                ]
            )

        geometry = shapely.transform(random_area(random, kind), place)
        if geometry.is_valid:
            window = (base[0], base[0] + 8, base[1], base[1] + 8)
            parts = snapped(geometry, grid)
            odd = covered(geometry, window, grid) ^ by_fractions(parts, window)
            assert hardly_there(parts, odd), (geometry.wkt, grid)


def star(random: np.random.Generator, vertices: int, middle: float, reach: float, jag: float) -> Any:
    """A ring whose every vertex lies at a distance of its own: valid, since its angles grow."""
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    far = reach * (1 + random.uniform(-jag, jag, vertices))
    return np.column_stack([middle + far * np.cos(angle), middle + far * np.sin(angle)])


@pytest.mark.parametrize("kind", ["anywhere", "half on grid lines", "nearly on grid lines", "one axis on grid lines"])
def test_jagged_outlines_are_covered_as_exact_fractions_say(kind: str) -> None:
    """Every edge crosses many rows and most tiles are crossed by many edges."""
    random = np.random.default_rng(300 + len(kind))
    for _ in range(8):
        rings = [star(random, int(random.integers(20, 60)), 4.2, reach, 0.6) for reach in (5.0, 1.4)]
        geometry = area(*(GRIDS[kind](random, ring) for ring in rings))
        geometry = shapely.MultiPolygon(
            [part for part in shapely.get_parts(shapely.make_valid(geometry)) if part.geom_type == "Polygon"]
        )
        parts = snapped(geometry, UNIT)
        odd = covered(geometry) ^ by_fractions(parts, WINDOW)
        assert not odd or (kind in ROUNDED and hardly_there(parts, odd)), geometry.wkt


def test_a_jagged_outline_of_many_bands_is_covered_as_testing_every_box_finds() -> None:
    random, side = np.random.default_rng(17), 400
    geometry = area(star(random, 9_000, 200.0, 150.0, 0.3), star(random, 900, 200.0, 40.0, 0.6))
    crossed = sum(abs(a - b) for (_, a), (_, b) in itertools.pairwise(geometry.exterior.coords))
    assert crossed > 2 * scan.BAND
    rows, cols = (grid.ravel() for grid in np.mgrid[0:side, 0:side])
    shapely.prepare(geometry)
    meets = shapely.intersects(geometry, shapely.box(cols, -rows - 1, cols + 1, -rows))
    found = cover(geometry, UNIT, 0, (0, side, 0, side))
    assert list(found) == list(zip(rows[meets].tolist(), cols[meets].tolist(), strict=True))
    for window in ((150, 250, 180, 399), (0, 399, 380, 399), (200, 200, 0, 100)):
        assert cover(geometry, UNIT, 0, window) == found.clip(*window)


def test_a_jagged_outline_takes_memory_by_its_vertices_not_by_the_rows_that_they_cross() -> None:
    geometry, peaks = area(star(np.random.default_rng(5), 100_000, 0.0, 1.0, 0.025)), []
    for size in (1 << 10, 1 << 12):
        grid = scheme((-2.0, 2.0), (1 / size, 1 / size))
        tracemalloc.start()
        found = cover(geometry, grid, 0, (0, 4 * size, 0, 4 * size))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.count > 3 * size * size
    assert peaks[1] < 40_000_000  # 4 million crossings, 50 million tiles
    assert peaks[1] < 2 * peaks[0]  # for four times the crossings


steps = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 2.0 + 1e-7, 3.0, 3.0 - 1e-7, 3.25, 4.0, 5.0])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(steps, steps), min_size=3, max_size=7))
def test_repaired_areas_are_covered_as_what_is_left_of_them(points: list[tuple[float, float]]) -> None:
    """Self-crossing outlines, mended first as an AOI is; then snapping may break them again."""
    geometry = shapely.make_valid(area(points)) if len(set(points)) > 2 else shapely.Point(0, 0)
    polygons = [p for p in shapely.get_parts(shapely.get_parts([geometry])) if p.geom_type == "Polygon"]
    geometry = shapely.MultiPolygon(polygons)
    parts = snapped(geometry, UNIT)
    odd = covered(geometry) ^ by_fractions(parts, WINDOW)
    assert hardly_there(parts, odd), geometry.wkt


# ------------------------------------------------------------------------------------------------ claims one by one


def test_an_edge_along_a_grid_line_pulls_in_neither_neighbour() -> None:
    assert covered(area([(2, 2), (4, 2), (4, 3), (2, 3)])) == {(2, 2), (2, 3)}


def test_a_vertex_within_a_millionth_of_a_tile_lies_on_the_grid_line() -> None:
    near, far = 0.9e-6, 1.1e-6
    assert covered(area([(2 - near, 2), (4, 2 - near), (4 + near, 3), (2, 3 + near)])) == {(2, 2), (2, 3)}
    assert (2, 4) in covered(area([(2, 2), (4 + far, 2), (4 + far, 3), (2, 3)]))


def test_a_tile_touched_at_its_corner_only_is_not_planned() -> None:
    assert covered(area([(1, 3), (3, 1), (3, 3)])) == {(1, 2), (2, 1), (2, 2)}


def test_a_sliver_thinner_than_a_tile_is_covered() -> None:
    assert covered(area([(0.5, 0.5), (5.5, 0.5), (5.5, 0.5001)])) == {(0, col) for col in range(6)}


def test_an_area_within_one_tile_plans_that_tile() -> None:
    assert covered(area([(3.2, 4.2), (3.3, 4.2), (3.3, 4.3)])) == {(4, 3)}


def test_a_hole_of_whole_tiles_is_left_out() -> None:
    ring, hole = [(0, 0), (5, 0), (5, 5), (0, 5)], [(1, 1), (4, 1), (4, 4), (1, 4)]
    tiles = covered(area(ring, hole))
    assert len(tiles) == 25 - 9
    assert (2, 2) not in tiles


@pytest.mark.parametrize("gap", [1e-7, 9e-7, 0.0])
@pytest.mark.parametrize("corner", [False, True])
@pytest.mark.parametrize("side", range(4))
def test_a_hole_whose_edge_snapping_moves_onto_its_shells_is_left_out(side: int, corner: bool, gap: float) -> None:
    """Of one side, or of two that meet in a corner."""
    shell, whole = [(1, 1), (7, 1), (7, 6), (1, 6)], {(row, col) for row in range(1, 6) for col in range(1, 7)}
    left, top, right, bottom = (3, 3, 5, 4)
    west, north = (1 + gap if side in (0, 1) else left), (1 + gap if side in (1, 2) else top)
    east, south = (7 - gap if side in (2, 3) else right), (6 - gap if side in (3, 0) else bottom)
    if not corner:  # only the first of the two
        west, north = (1 + gap if side == 0 else left), (1 + gap if side == 1 else top)
        east, south = (7 - gap if side == 2 else right), (6 - gap if side == 3 else bottom)
    hole = [(west, north), (east, north), (east, south), (west, south)]
    inside = {(row, col) for row in range(round(north), round(south)) for col in range(round(west), round(east))}
    geometry = area(shell, hole) if gap else shapely.difference(area(shell), area(hole))
    assert covered(geometry) == whole - inside


@pytest.mark.parametrize("kind", ["nearly on grid lines", "half on grid lines"])
def test_holes_that_snapping_moves_onto_their_shell_and_each_other_are_left_out(kind: str) -> None:
    random = np.random.default_rng(500 + len(kind))
    moved = 0
    for _ in range(100):
        near = [random.choice([1e-7, 9e-7, 1e-12, 2e-6, 0.25]) for _ in range(8)]
        middle = int(random.integers(2, 6))
        shell = [(0, 0), (8, 0), (8, 8), (0, 8)]
        first = [(near[0], near[1]), (middle - near[2], 1 + near[1]), (middle - near[2], 5), (near[0], 6)]
        other = [(middle + near[3], 1), (8 - near[4], near[5]), (8 - near[6], 8 - near[7]), (middle + near[3], 5)]
        holes = [first, other] if kind == "nearly on grid lines" else [first]
        geometry = area(shell, *holes)
        assert geometry.is_valid
        parts = snapped(geometry, UNIT)
        moved += sum(part.area for part in parts) != geometry.area
        assert covered(geometry) == by_fractions(parts, WINDOW), geometry.wkt
    assert moved > 50


def test_a_part_that_snapping_flattens_has_no_interior() -> None:
    thin = area([(2 - 1e-7, 1.5), (2 + 1e-7, 1.5), (2, 4.5)])
    spike = area([(0.5, 0.5), (2 + 1e-7, 2), (2, 2 + 1e-7)])
    assert covered(thin) == set()
    assert covered(spike) == set()
    assert covered(shapely.MultiPolygon([thin, area([(5, 5), (6, 5), (6, 6)])])) == {(5, 5)}


def test_lines_and_points_in_a_collection_have_no_interior() -> None:
    mixed = shapely.GeometryCollection(
        [shapely.Point(1, -1), shapely.LineString([(0, 0), (5, -5)]), shapely.box(0, -1, 1, 0)]
    )
    assert covered(mixed) == {(0, 0)}
    assert covered(shapely.Polygon()) == set()


def test_edges_beside_the_window_still_say_what_is_inside() -> None:
    wide = area([(-50, -50), (60, -50), (60.5, 70), (-50.5, 70)])
    assert cover(wide, UNIT, 0, WINDOW) == Runs.box(*WINDOW)
    assert covered(wide, (3, 3, 100, 101)) == set()
    assert covered(wide, (5, 4, 0, 8)) == set()


def test_a_box_of_two_to_the_sixty_tiles_is_one_run() -> None:
    side = 1 << 30
    runs = cover(area([(0, 0), (side, 0), (side, side), (0, side)]), UNIT, 0, (0, side, 0, side))
    assert runs.count == 1 << 60
    assert runs.top.size == 1


def test_boxes_far_apart_in_a_huge_grid_cost_no_more_than_their_edges() -> None:
    side = 1 << 30
    far = shapely.box(side - 0.5, -side + 0.25, side + 3, -7.75)
    near = shapely.box(0.5, -9, 2.5, -1)
    runs = cover(shapely.MultiPolygon([near, far]), UNIT, 0, (0, 2 * side, 0, 2 * side))
    assert runs.count == 8 * 3 + 4 * (side - 7)
    assert runs.top.size < 10


def test_an_edge_that_crosses_too_many_rows_is_refused_before_it_is_walked() -> None:
    side = 1 << 30
    with pytest.raises(UsageError, match="rows of tiles"):
        cover(area([(0, 0), (side, 0), (0, side)]), UNIT, 0, (0, side, 0, side))


@pytest.mark.parametrize("rows", [scan.BAND + 17, 2 * scan.BAND + 17])
def test_a_long_edge_is_walked_in_chunks_without_a_seam(rows: int) -> None:
    runs = cover(area([(0, 0), (3, 0), (5, rows), (0, rows)]), UNIT, 0, (0, rows, 0, 9))
    assert runs.count == rows * 3 + rows // 2 + 1 + rows
    assert runs.bounds == (0, rows - 1, 0, 4)
    assert runs.top.size == 2  # rows with the same columns are one band, wherever the walk was cut


def test_a_diagonal_through_a_million_corners_plans_no_tile_beyond_them() -> None:
    side = 1 << 18
    runs = cover(area([(0.1, 0.1), (side + 0.1, side + 0.1), (0.1, side + 0.1)]), UNIT, 0, (0, side, 0, side))
    assert runs.count == (side + 1) * (side + 2) // 2


@pytest.mark.parametrize("denominator", [3, 7, 10])
def test_an_edge_meant_to_pass_through_a_corner_does_though_its_ends_are_rounded(denominator: int) -> None:
    """Vertices at thirds, sevenths, tenths: the twin takes them as they were meant, before rounding to doubles."""
    random = np.random.default_rng(denominator)
    for _ in range(60):
        meant = [
            (Fraction(int(x), denominator), Fraction(int(y), denominator)) for x, y in random.integers(0, 40, (3, 2))
        ]
        if area([(float(x), float(y)) for x, y in meant]).is_valid:
            tiles = itertools.product(range(15), repeat=2)
            want = {tile for tile in tiles if cut_area(meant, *tile) > 0}
            assert covered(area([(float(x), float(y)) for x, y in meant]), (0, 14, 0, 14)) == want, meant


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_flat_edge_meant_to_pass_through_a_corner_does(tenths: int) -> None:
    """Far from the origin a row's rounding, times the edge's slope, is what moves the crossing."""
    start, middle = Fraction(tenths, 10), 1000
    end = float(middle + (middle - start) * 4 / 3)  # 0.3 rows above the corner at (1000, 1001), 0.4 below it
    edge = [(float(start), 1000.7), (end, 1001.4)]
    left, right = area([*edge, (float(start), 1001.4)]), area([*edge, (end, 1000.7)])
    assert cover(left, UNIT, 0, (1000, 1000, 0, 9999)) == Runs.box(1000, 1000, 0, middle - 1)
    assert cover(right, UNIT, 0, (1001, 1001, 0, 9999)) == Runs.box(1001, 1001, middle, math.ceil(end) - 1)


def test_a_nearly_flat_edge_keeps_the_tile_that_it_ends_in() -> None:
    thin = area([(0.3, 2 - 2e-6), (1000.0005, 2 + 2e-6), (0.3, 2 - 3e-6)])
    assert (2, 1000) in covered(thin, (0, 5, 0, 2000))


def test_an_outline_serves_every_lod() -> None:
    geometry = shapely.Point(1_000_000, 6_000_000).buffer(30_000)
    outline = Outline(geometry)
    for level in (0, 8, 14):
        window = grid_window(GOOGLE, level)
        assert cover(outline, GOOGLE, level, window) == cover(geometry, GOOGLE, level, window)


@settings(max_examples=60, deadline=None)
@given(st.floats(-179.9, 179.9), st.floats(-84.9, 84.9), st.floats(1e-4, 3), st.floats(1e-4, 3), st.integers(0, 9))
def test_boxes_on_the_google_grid_are_what_mercantile_says(
    w: float, s: float, wide: float, high: float, zoom: int
) -> None:
    e, n = min(w + wide, 179.95), min(s + high, 84.95)
    box = shapely.box(*mercantile.xy(w, s), *mercantile.xy(e, n))
    expected = {(tile.y, tile.x) for tile in mercantile.tiles(w, s, e, n, zoom)}
    if min(abs(v - round(v)) for v in in_tiles(box, zoom)) > 1e-5:  # its epsilon is another than ours
        assert set(cover(box, GOOGLE, zoom, grid_window(GOOGLE, zoom))) == expected


def in_tiles(box: Any, zoom: int) -> list[float]:
    span = GOOGLE_WIDTH / 2**zoom
    return [(value + GOOGLE_ORIGIN) / span for value in box.bounds]


# ------------------------------------------------------------------------------------------------ extents


def test_an_extent_that_ends_on_a_grid_line_pulls_in_no_neighbour() -> None:
    assert extent_window(UNIT, 0, Box(2.0005, -4.0005, 3.9995, -1.9995)) == (2, 3, 2, 3)
    assert extent_window(UNIT, 0, Box(1.998, -4.002, 4.002, -1.998)) == (1, 4, 1, 4)


def test_an_extent_thinner_than_the_slack_keeps_the_tiles_that_it_touches() -> None:
    assert extent_window(UNIT, 0, Box(2.9995, -4.5, 3.0004, -4.4)) == (4, 4, 2, 3)
    assert extent_window(UNIT, 0, Box(2.9995, -4.5, 2.9998, -4.5)) == (4, 4, 2, 2)


def test_rows_and_columns_are_never_negative() -> None:
    assert extent_window(UNIT, 0, Box(-5, -3, 2, 5)) == (0, 2, 0, 1)
    window = extent_window(UNIT, 0, Box(-5, 1, -2, 5))
    assert Runs.box(*window).count == 0


def test_the_google_grid_ends_where_the_world_does() -> None:
    wide = Box(-3e7, -3e7, 3e7, 3e7)
    assert extent_window(GOOGLE, 3, wide) == (0, 7, 0, 7)
    part = TilingScheme(crs=GOOGLE.crs, origin_x=0.0, origin_y=0.0, tile_width=256, tile_height=256, lods=GOOGLE.lods)
    assert extent_window(part, 3, wide) == (0, 3, 0, 3)


@pytest.mark.parametrize("size", [1e300, math.inf, 1e18])
def test_extents_beyond_any_number_are_cut_at_the_grids_end(size: float) -> None:
    assert max(extent_window(UNIT, 0, Box(-size, -size, size, size))) == 2**31 - 1
