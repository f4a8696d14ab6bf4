"""Plans: exact totals, bounds, order, shards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely

from harvester import planning
from harvester.aoi import Area
from harvester.edges import ServiceInfo
from harvester.errors import UsageError
from harvester.planning import Plan, PlannedLod, make_plan
from harvester.tiling import banded, scan
from harvester.tiling.scheme import Box
from harvester.tiling.tile import Tile, block_of

Service = Callable[..., ServiceInfo]


def tile_boxes(info: ServiceInfo, *tiles: Tile) -> Any:
    return shapely.union_all([shapely.box(*info.scheme.box(tile)) for tile in tiles])


@pytest.fixture
def two_policies(philadelphia: ServiceInfo) -> Plan:
    """The whole city zoomed out, a round place zoomed in, both at level 3."""
    place = Area(geometry=shapely.Point(490000, 4425000).buffer(9000))
    return make_plan(philadelphia, [((0, 1, 2, 3), None), ((3, 4), place)])


# ------------------------------------------------------------------------------------------------ worked examples


def test_philadelphias_extent_has_the_tiles_worked_out_by_hand(philadelphia: ServiceInfo) -> None:
    plan = make_plan(philadelphia, [((0, 1, 2, 3, 4), None)])
    assert plan.lods == (
        PlannedLod(0, 250000.0, 6),
        PlannedLod(1, 125000.0, 16),
        PlannedLod(2, 64000.0, 56),
        PlannedLod(3, 32000.0, 210),
        PlannedLod(4, 16000.0, 783),
    )
    assert plan.total == 1071
    bounds = [plan.runs[level].bounds for level in range(5)]
    assert bounds == [
        (328, 329, 330, 332),
        (656, 659, 661, 664),
        (1281, 1288, 1291, 1297),
        (2563, 2577, 2582, 2595),
        (5126, 5154, 5164, 5190),
    ]
    assert [block_of(Tile(level, *bounds[level][::2]))[1:] for level in (0, 4)] == [(0x100, 0x100), (0x1400, 0x1400)]
    assert [(key.row, key.col) for key, _ in plan.blocks()][:2] == [(0x100, 0x100), (0x280, 0x280)]
    around = make_plan(philadelphia, [((4,), Area(geometry=shapely.Point(490000, 4425000).buffer(1)))])
    assert list(around.tiles()) == [Tile(4, 5142, 5177)]


def test_rios_extent_has_the_tiles_worked_out_by_hand(rio: ServiceInfo) -> None:
    plan = make_plan(rio, [((7, 8, 9, 10), None)])
    assert plan.runs[10].bounds == (459, 1556, 154, 2227)
    assert plan.lods[-1] == PlannedLod(10, 500.0, 2277252)
    around = make_plan(rio, [((7, 8), Area(geometry=shapely.Point(660000, 7470000).buffer(1)))])
    assert list(around.tiles()) == [Tile(7, 98, 130), Tile(8, 221, 295)]


# ------------------------------------------------------------------------------------------------ what bounds a plan


def test_without_area_and_extent_the_google_grid_is_the_world(service: Service) -> None:
    assert [lod.planned for lod in make_plan(service(), [((0, 1, 5), None)]).lods] == [1, 4, 1024]


def test_without_area_and_extent_a_foreign_grid_has_no_end(philadelphia: ServiceInfo) -> None:
    with pytest.raises(UsageError) as caught:
        make_plan(replace(philadelphia, extent=None), [((0,), None)])
    assert "--aoi" in caught.value.hint
    with pytest.raises(UsageError):
        make_plan(philadelphia, [((0,), None)], use_extent=False)


def test_the_extent_bounds_an_area_and_the_share_cut_is_told(philadelphia: ServiceInfo) -> None:
    extent = philadelphia.extent
    assert extent is not None
    wide = shapely.box(extent.xmin, extent.ymin, 2 * extent.xmax - extent.xmin, extent.ymax)
    plan = make_plan(philadelphia, [((4,), Area(geometry=wide))])
    assert plan.runs == make_plan(philadelphia, [((4,), None)]).runs
    assert plan.notices == ("50.0% of the area lies outside the service's extent and is left out",)
    free = make_plan(philadelphia, [((4,), Area(geometry=wide))], use_extent=False)
    assert free.total > 1.9 * plan.total
    assert free.notices == ()


def test_without_an_extent_the_world_bounds_an_area_and_the_share_cut_is_told(service: Service) -> None:
    half = 20037508.342789244
    over = Area(geometry=shapely.box(0, half - 1000, 1000, half + 3000))
    assert make_plan(service(), [((0, 5), over)]).notices == (
        "75.0% of the area lies outside the web-mercator world and is left out",
    )
    assert make_plan(service(), [((0, 5), Area(geometry=shapely.box(-half, -half, half, half)))]).notices == ()
    with pytest.raises(UsageError, match="the selection holds no tile"):
        make_plan(service(), [((0, 5), Area(geometry=shapely.box(0, half + 1000, 1000, half + 3000)))])


def test_an_area_as_large_as_the_extent_is_cut_by_nothing(philadelphia: ServiceInfo) -> None:
    extent = philadelphia.extent
    assert extent is not None
    rounded = shapely.box(*(round(value, 2) for value in extent))
    assert make_plan(philadelphia, [((0, 4), Area(geometry=rounded))]).notices == ()


def test_an_area_wholly_outside_the_extent_is_refused(philadelphia: ServiceInfo) -> None:
    far = Area(geometry=shapely.box(503695.2, 4412107, 503800, 4442655))  # the same tiles as the extent's, yet outside
    with pytest.raises(UsageError, match="policy 2: the area lies outside the service's extent"):
        make_plan(philadelphia, [((0,), None), ((4,), far)])


def test_every_policy_is_told_its_own_share(philadelphia: ServiceInfo) -> None:
    half = Area(geometry=shapely.box(503695.1381 - 1000, 4420000, 503695.1381 + 3000, 4430000))
    plan = make_plan(philadelphia, [((4,), half), ((3,), half)])
    assert [notice[:16] for notice in plan.notices] == ["policy 1: 75.0% ", "policy 2: 75.0% "]


def test_rows_left_of_the_origin_are_not_planned(rio: ServiceInfo) -> None:
    area = Area(geometry=shapely.box(610000, 7499000, 620100, 7510000))
    plan = make_plan(rio, [((7,), area)], use_extent=False)
    assert set(plan.tiles()) == {Tile(7, row, 0) for row in range(4)}
    beyond = Area(geometry=shapely.box(600000, 7499000, 610000, 7510000))
    with pytest.raises(UsageError, match="holds no tile"):
        make_plan(rio, [((7,), beyond)], use_extent=False)


def test_a_service_of_two_to_the_sixty_tiles_is_counted_not_listed(philadelphia: ServiceInfo) -> None:
    lods = (replace(philadelphia.scheme.lods[0], resolution=0.01),)
    vast = replace(
        philadelphia,
        scheme=replace(philadelphia.scheme, lods=lods, origin_x=0.0, origin_y=0.0),
        extent=Box(0, -5e9, 5e9, 0),
    )
    side = -(-5 * 10**9 * 100 // 256)
    plan = make_plan(vast, [((0,), None)])
    assert plan.total == side**2
    assert plan.tile_at(plan.total - 1) == Tile(0, side - 1, side - 1)
    assert plan.shard(7, 9).total in (plan.total // 9, plan.total // 9 + 1)
    with pytest.raises(UsageError, match="more than any tile service has"):
        make_plan(replace(vast, extent=Box(0, -5e12, 5e12, 0)), [((0,), None)])


# ------------------------------------------------------------------------------------------------ policies


def test_a_plan_is_the_union_of_its_policies(philadelphia: ServiceInfo, two_policies: Plan) -> None:
    alone = make_plan(philadelphia, [((3, 4), Area(geometry=shapely.Point(490000, 4425000).buffer(9000)))])
    assert [lod.level for lod in two_policies.lods] == [0, 1, 2, 3, 4]
    assert two_policies.lods[3].planned == 210
    assert two_policies.runs[4] == alone.runs[4]
    assert two_policies.policies_of(Tile(3, 2571, 2588)) == (0, 1)
    assert two_policies.policies_of(Tile(3, 2563, 2582)) == (0,)
    assert two_policies.policies_of(Tile(4, 5142, 5177)) == (1,)
    assert two_policies.policies_of(Tile(4, 0, 0)) == ()
    assert two_policies.policies_of(Tile(9, 0, 0)) == ()


def test_a_feature_with_a_level_counts_for_that_lod_alone(philadelphia: ServiceInfo) -> None:
    one, two = Tile(3, 2570, 2590), Tile(4, 5140, 5170)
    area = Area(geometry=None, by_level={level: tile_boxes(philadelphia, tile) for level, tile in ((3, one), (4, two))})
    assert list(make_plan(philadelphia, [((2, 3, 4), area)]).tiles()) == [one, two]
    plan = make_plan(philadelphia, [((3,), area)])
    assert list(plan.tiles()) == [one]
    assert plan.notices == ("features of LODs that are not selected are left out: 4",)


def test_boxes_of_tiles_are_planned_as_exactly_those_tiles(philadelphia: ServiceInfo, service: Service) -> None:
    """So that the polygons of missing tiles can be the next job's area."""
    random = np.random.default_rng(5)
    for info, level, (row, col) in ((philadelphia, 4, (5130, 5166)), (service(), 20, (400_000, 500_000))):
        for _ in range(10):
            tiles = {Tile(level, row + r, col + c) for r, c in random.integers(0, 20, (40, 2)).tolist()}
            plan = make_plan(info, [((level,), Area(geometry=tile_boxes(info, *tiles)))])
            assert set(plan.tiles()) == tiles


# ------------------------------------------------------------------------------------------------ order


def test_the_order_is_lod_bundle_row_bundle_column_row_column(two_policies: Plan) -> None:
    tiles = list(two_policies.tiles())
    assert tiles == sorted(set(tiles), key=lambda tile: (tile.level, *block_of(tile)[1:], *tile))
    assert len(tiles) == two_policies.total
    assert all(type(tile) is Tile for tile in tiles)
    assert [two_policies.tile_at(k) for k in range(0, len(tiles), 37)] == tiles[::37]
    by_blocks = [
        key.tile(index) for key, mask in two_policies.blocks() for index in np.flatnonzero(mask.ravel()).tolist()
    ]
    assert by_blocks == tiles
    for k in (-1, len(tiles)):
        with pytest.raises(IndexError):
            two_policies.tile_at(k)


def test_lods_come_coarsest_first_whatever_their_numbers(service: Service) -> None:
    lods = service().scheme.lods[:3]
    backwards = tuple(replace(lod, level=9 - lod.level) for lod in lods)
    info = service(scheme=replace(service().scheme, lods=backwards))
    plan = make_plan(info, [((7, 8, 9), None)])
    assert [lod[::2] for lod in plan.lods] == [(9, 1), (8, 4), (7, 16)]
    assert next(plan.tiles()) == Tile(9, 0, 0)


@pytest.mark.parametrize("n", [1, 2, 7, 100, 5000])
def test_shards_are_contiguous_and_differ_by_at_most_one_tile(two_policies: Plan, n: int) -> None:
    tiles = list(two_policies.tiles())
    chosen = range(1, n + 1) if n <= 7 else (1, 2, n // 2, n)
    for i in chosen:
        shard = two_policies.shard(i, n)
        low, high = len(tiles) * (i - 1) // n, len(tiles) * i // n
        assert list(shard.tiles()) == tiles[low:high]
        assert shard.total == sum(lod.planned for lod in shard.lods) == high - low
        assert high - low in (len(tiles) // n, len(tiles) // n + 1)
        assert sum(int(mask.sum()) for _, mask in shard.blocks()) == high - low
        assert all(shard.contains(tile) for tile in tiles[low:high])
        if low:
            assert not shard.contains(tiles[low - 1])
            assert shard.policies_of(tiles[low - 1]) == ()


@pytest.mark.parametrize(("i", "n"), [(0, 3), (4, 3), (1, 0)])
def test_a_shard_that_does_not_exist_is_refused(two_policies: Plan, i: int, n: int) -> None:
    with pytest.raises(UsageError, match="no shard"):
        two_policies.shard(i, n)


# ------------------------------------------------------------------------------------------------ identity


def test_the_fingerprint_is_that_of_the_tiles_not_of_the_policies(philadelphia: ServiceInfo) -> None:
    extent = philadelphia.extent
    assert extent is not None
    whole = make_plan(philadelphia, [((2, 3, 4), None)])
    split = make_plan(philadelphia, [((3,), None), ((4, 2), Area(geometry=shapely.box(*extent))), ((2, 3, 4), None)])
    assert whole.fingerprint == split.fingerprint
    assert len(whole.fingerprint) == 32
    moved = replace(philadelphia, scheme=replace(philadelphia.scheme, origin_x=-5120900.5))
    others = [
        make_plan(philadelphia, [((2, 3), None)]),
        whole.shard(1, 2),
        make_plan(moved, [((2, 3, 4), None)]),
    ]
    assert len({whole.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_the_extent_of_a_plan_is_its_tiles_within_the_services(philadelphia: ServiceInfo) -> None:
    tile = Tile(4, 5140, 5170)
    area = Area(geometry=tile_boxes(philadelphia, tile))
    assert make_plan(philadelphia, [((4,), area)]).extent == pytest.approx(philadelphia.scheme.box(tile))
    assert make_plan(philadelphia, [((0, 4), None)]).extent == philadelphia.extent


def test_tiles_in_a_rectangle_are_counted(two_policies: Plan) -> None:
    assert two_policies.count_between(2, 1281, 1282, 1291, 1292) == 4
    assert two_policies.count_between(2, 0, 10**9, 0, 1291) == 8
    assert two_policies.count_between(17, 0, 10**9, 0, 10**9) == 0


# ------------------------------------------------------------------------------------------------ too jagged to be held


@pytest.fixture
def jagged_choices(philadelphia: ServiceInfo) -> list[tuple[tuple[int, ...], Area | None]]:
    """Two rings whose edges cross every row many times, one over the other, and a box."""
    random = np.random.default_rng(9)
    angle = np.linspace(0, 2 * np.pi, 700, endpoint=False)

    def ring(x: float, y: float) -> Area:
        reach = 9000 * (1 + random.uniform(-0.5, 0.5, angle.size))
        return Area(geometry=shapely.Polygon(np.column_stack([x + reach * np.cos(angle), y + reach * np.sin(angle)])))

    box = Area(geometry=shapely.box(489000, 4415000, 491000, 4426000))
    return [((0, 4, 7, 8), ring(490000, 4425000)), ((7, 8), ring(494000, 4428000)), ((8,), box)]


def test_a_plan_held_as_bands_answers_as_one_held_as_runs(
    philadelphia: ServiceInfo,
    jagged_choices: list[tuple[tuple[int, ...], Area | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    last = philadelphia.scheme.lods[-1]
    finer = tuple(replace(last, level=last.level + i, resolution=last.resolution / 2**i) for i in (1, 2, 3, 4))
    info = replace(philadelphia, scheme=replace(philadelphia.scheme, lods=(*philadelphia.scheme.lods, *finer)))
    held = make_plan(info, jagged_choices)
    with monkeypatch.context() as patch:
        patch.setattr(banded, "MAX_HELD", 50)
        patch.setattr(scan, "CUT", 500)
        plan = make_plan(info, jagged_choices)
        shards = [plan.shard(i, 3) for i in (1, 2, 3)]
    finest = 8
    for tiles in (plan.runs[finest], *(one[finest] for one in plan.policies[:2]), shards[2].runs[finest]):
        assert isinstance(tiles, banded.Banded)
    assert plan.lods == held.lods
    assert plan.extent == held.extent
    assert plan.fingerprint == held.fingerprint
    places = list(held.places())
    assert list(plan.places()) == places
    assert [place for shard in shards for place in shard.places()] == places
    assert {shard.total for shard in shards} <= {plan.total // 3, plan.total // 3 + 1}
    for (key, mask), (other, theirs) in zip(plan.blocks(), held.blocks(), strict=True):
        assert key == other
        assert (mask == theirs).all()
        box = finest, key.row, key.row + 50, key.col, key.col + 127
        assert plan.count_between(*box) == held.count_between(*box)
    for k in range(0, plan.total, plan.total // 400):
        tile = held.tile_at(k)
        assert plan.tile_at(k) == tile
        assert plan.contains(tile)
        beside = tile._replace(col=tile.col - 1)
        assert plan.contains(beside) == held.contains(beside)
        assert plan.policies_of(tile) == held.policies_of(tile)
    monkeypatch.setattr(planning, "MAX_HELD", 50)
    again = [replace(one, notices=()).fingerprint for one in (plan, held)]
    assert again[0] == again[1] != held.fingerprint
