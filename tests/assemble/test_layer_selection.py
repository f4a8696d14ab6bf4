"""Levels and scales of a job for several layers: each takes those that it has; one that none has is refused."""

from __future__ import annotations

import pytest

from harvester.assemble.plan import plan_layers
from harvester.errors import UsageError
from harvester.job import Job, Policy
from harvester.tiling.scheme import Box
from tests.caches.making import mercator, subject, utm

WORLD = subject(mercator(range(4)), extent=None).info
CITY = subject(utm(), name="City").info


def infos():
    from dataclasses import replace

    world = replace(WORLD, extent=Box(-2e7, -2e7, 2e7, 2e7))
    return [world, replace(CITY, extent=Box(400000, 4400000, 500000, 4500000))]


def job(*policies: Policy) -> Job:
    return Job(source="https://gis.example.org/map", output="out", policies=policies)


def levels(*policies: Policy) -> list[list[int]]:
    planned, left_out = plan_layers(job(*policies), infos())
    assert not left_out
    return [[lod.level for lod in layer.plan.lods if lod.planned] for layer in planned]


def test_each_layer_takes_the_scales_that_it_has():
    assert levels(Policy(scales=(591657527, 250000))) == [[0], [0]]
    assert levels(Policy(scales=(295828763.8, 64000, 32000))) == [[1], [2, 3]]


def test_each_layer_takes_the_levels_that_it_has():
    assert levels(Policy(lods=((0, 0), (4, 4)))) == [[0], [0, 4]]
    assert levels(Policy(lods=((2, 9), (4, 4)))) == [[2, 3], [2, 3, 4]]


def test_a_layer_that_has_none_of_them_is_left_out():
    planned, left_out = plan_layers(job(Policy(scales=(250000, 64000))), infos())
    assert [layer.info.name for layer in planned] == ["City"]
    assert [place for place, _ in left_out] == [0]


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Policy(scales=(591657527, 250000, 777)), "no layer has a LOD at scale 777"),
        (Policy(scales=(777,)), "no layer has a LOD at scale 777"),
        (Policy(lods=((0, 2), (17, 17))), "no layer has LOD 17"),
        (Policy(lods=((12, 19),)), "no layer has .*none of the LODs 12-19"),
    ],
)
def test_what_no_layer_has_is_refused_by_its_name(policy, words):
    with pytest.raises(UsageError, match=words):
        plan_layers(job(policy, Policy(lods=((0, 1),))), infos())


def test_a_single_service_must_have_them_all():
    with pytest.raises(UsageError, match="no LOD at scale 250000"):
        plan_layers(job(Policy(scales=(591657527, 250000))), infos()[:1])
