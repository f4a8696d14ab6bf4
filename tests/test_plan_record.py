"""A job's policies survive in the ledger: their words, and exactly the tiles that they meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.aoi import Area
from harvester.job import AoiFile, Job, Policy
from harvester.plan_record import bounded, exact_bytes, job_record, pack_runs, planners, policy_words, unpack_runs
from harvester.planning import make_plan
from harvester.testing.memory import memory_info
from harvester.tiling.runs import Runs
from harvester.tiling.tile import Tile

INFO = memory_info()
ORDER = {lod.level: place for place, lod in enumerate(INFO.scheme.lods)}

rectangles = st.lists(
    st.tuples(st.integers(0, 2**31 - 9), st.integers(0, 8), st.integers(0, 2**31 - 9), st.integers(0, 8)), max_size=12
)


@settings(max_examples=100, deadline=None)
@given(rectangles)
def test_packed_runs_are_the_same_runs_again(boxes: list[tuple[int, int, int, int]]) -> None:
    rows, heights, cols, widths = np.array(boxes, dtype=np.int64).reshape(-1, 4).T
    runs = Runs.from_bands(rows, rows + heights, cols, cols + widths)
    assert unpack_runs(pack_runs(runs)) == runs


def test_the_runs_of_a_long_outline_pack_into_a_few_bytes_each() -> None:
    circle = shapely.Point(3e6, 4e6).buffer(1e6, quad_segs=2000)
    plan = make_plan(INFO, [((14,), Area(geometry=circle))])
    runs = plan.runs[14]
    assert runs.top.size > 400
    assert len(pack_runs(runs)) < 6 * runs.top.size
    assert unpack_runs(pack_runs(runs)) == runs


@pytest.mark.parametrize("text", ["", "!!", "c-mc", pack_runs(Runs.box(0, 1, 0, 1))[:-4]])
def test_what_is_no_packed_runs_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        unpack_runs(text)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Policy(), "all LODs, the service's full extent"),
        (Policy(lods=((0, 9), (12, 12))), "LODs 0-9,12, the service's full extent"),
        (Policy(min_zoom=3), "LODs 3-, the service's full extent"),
        (Policy(scales=(577790.554289, 9000.0)), "scales 1:577,790.5543; 1:9,000, the service's full extent"),
        (Policy(min_scale=1e6, max_scale=5e4), "scales from 1:1,000,000 to 1:50,000, the service's full extent"),
        (Policy(bbox=(-10.5, 40, 10, 55)), "all LODs, the box -10.5,40,10,55"),
        (
            Policy(aoi=(AoiFile(path=Path("far/away/a.gpkg"), layer="town", where="pop > 9"),), buffer_metres=250),
            "all LODs, a.gpkg:town where pop > 9, grown by 250 m",
        ),
        (Policy(geometry=shapely.box(0, 0, 1, 1)), "all LODs, a geometry given in Python"),
        (Policy(aoi=(AoiFile(path=Path("a.geojson"), where="token = 'token=secret99'"),)), None),
    ],
)
def test_a_policy_is_told_in_words_without_folders_and_secrets(policy: Policy, words: str | None) -> None:
    told = policy_words(policy)
    assert told == words if words is not None else "secret99" not in told


def record_of(*choices: tuple[tuple[int, ...], Area | None], shard: tuple[int, int] | None = None):
    plan = make_plan(INFO, list(choices))
    policies = tuple(Policy(lods=tuple((level, level) for level in levels)) for levels, _ in choices)
    job = Job(source="http://x.test", policies=policies, shard=shard)
    return job_record(job, INFO, plan if shard is None else plan.shard(*shard)), plan


AREA = Area(geometry=shapely.Point(2e6, 5e6).buffer(1.5e6))


def test_every_tile_is_traced_to_exactly_the_policies_that_planned_it() -> None:
    record, plan = record_of(((0, 1, 2, 3, 4), None), ((4, 5, 6), AREA))
    seen = set()
    for level in (3, 4, 5, 6):
        for row in range(2**level // 2):
            for col in range(2 ** (level - 1) - 2, min(2**level, 2 ** (level - 1) + 14)):
                tile = Tile(level, row, col)
                found = planners({"1": record}, {"1": [1, 3]}, tile, ORDER)
                assert tuple(planner.number - 1 for planner in found) == plan.policies_of(tile)
                assert all(planner.certain and planner.in_shard for planner in found)
                seen.add(len(found))
    assert seen == {0, 1, 2}


def test_shards_share_out_the_tiles_of_a_plan_without_gap_or_overlap() -> None:
    records = [record_of(((0, 1, 2, 3, 4, 5), None), ((6, 7, 8, 9), AREA), shard=(i, 3))[0] for i in (1, 2, 3)]
    _, plan = record_of(((0, 1, 2, 3, 4, 5), None), ((6, 7, 8, 9), AREA))
    for k in (0, 1, plan.total // 3 - 1, plan.total // 3, plan.total // 2, plan.total * 2 // 3, plan.total - 1):
        tile = plan.tile_at(k)
        inside = [planners({"1": record}, {"1": [1, 1]}, tile, ORDER)[0].in_shard for record in records]
        assert inside.count(True) == 1
        assert plan.shard(inside.index(True) + 1, 3).contains(tile)


def test_beyond_the_limit_the_oldest_job_is_remembered_by_its_bounds() -> None:
    old, new = record_of(((6, 7), AREA))[0], record_of(((8, 9), AREA))[0]
    kept = bounded({"1": old, "2": new}, exact_bytes(old) + exact_bytes(new))
    assert kept == {"1": old, "2": new}
    kept = bounded({"1": old, "2": new}, exact_bytes(old) + exact_bytes(new) - 1)
    assert kept["2"] == new
    assert [lod["runs"] is not None for lod in kept["1"]["policies"][0]["lods"].values()] == [True, False]
    row_min, _, col_min, _ = old["policies"][0]["lods"]["7"]["bounds"]
    (corner,) = planners(kept, {"1": [1, 1], "2": [2, 2]}, Tile(7, row_min, col_min), ORDER)
    assert not corner.certain
    assert planners({"1": old}, {"1": [1, 1]}, Tile(7, row_min, col_min), ORDER) == []
    assert planners(kept, {"1": [1, 1], "2": [2, 2]}, Tile(7, row_min - 1, col_min), ORDER) == []


def test_a_box_is_certain_by_its_bounds_alone() -> None:
    record, _ = record_of(((3,), None))
    (planner,) = planners(bounded({"1": record}, 0), {"1": [1, 1]}, Tile(3, 7, 7), ORDER)
    assert planner.certain


def test_a_policy_that_fits_no_lod_of_a_layer_keeps_the_numbers_of_the_others() -> None:
    job = Job(source="http://x.test", policies=(Policy(lods=((77, 77),)), Policy(lods=((2, 2),))))
    record = job_record(job, INFO, make_plan(INFO, [((2,), None)]))
    assert [policy["number"] for policy in record["policies"]] == [2]


def test_a_job_is_the_same_job_whatever_its_limits() -> None:
    from harvester.job import Limits

    plan = make_plan(INFO, [((2,), None)])
    one, two = (
        Job(source="http://x.test", policies=(Policy(lods=((2, 2),)),), limits=Limits(retries=retries))
        for retries in (1, 2)
    )
    assert job_record(one, INFO, plan)["digest"] == job_record(two, INFO, plan)["digest"]
