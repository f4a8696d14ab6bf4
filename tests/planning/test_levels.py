"""Which LODs a policy selects, and what is said when it can't."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from harvester.edges import ServiceInfo
from harvester.errors import UsageError
from harvester.job import Policy
from harvester.planning import select_levels

Service = Callable[..., ServiceInfo]


def refusal(info: ServiceInfo, policy: Policy) -> UsageError:
    with pytest.raises(UsageError) as caught:
        select_levels(info, policy)
    return caught.value


def test_all_lods_are_those_of_the_scheme(service: Service) -> None:
    assert select_levels(service(), Policy()) == (tuple(range(24)), ())


def test_all_lods_end_at_min_and_max_lod_when_both_are_stated(service: Service) -> None:
    assert select_levels(service(min_lod=15, max_lod=19), Policy())[0] == (15, 16, 17, 18, 19)
    assert select_levels(service(min_lod=15), Policy())[0] == tuple(range(24))
    for policy in (Policy(), Policy(lods=((3, 3),))):
        assert "minLOD" in refusal(service(min_lod=40, max_lod=50), policy).message


def test_a_level_named_outright_must_be_there(service: Service, rio: ServiceInfo) -> None:
    assert select_levels(rio, Policy(lods=((9, 9), (7, 7)))) == ((7, 9), ())
    error = refusal(rio, Policy(lods=((7, 7), (4, 4))))
    assert error.message == "the service has no LOD 4; the nearest is 7"
    assert error.hint == "The LODs are 7 (1:4508.935525), 8 (1:2000), 9 (1:1000), 10 (1:500)."
    assert (error.exit_code, error.code) == (2, "selection")
    assert "no LOD 12" in refusal(service(min_lod=15, max_lod=19), Policy(lods=((12, 12),))).message


def test_a_range_is_cut_to_what_is_there_with_a_notice(rio: ServiceInfo) -> None:
    assert select_levels(rio, Policy(lods=((0, 8),))) == ((7, 8), ("LODs 0-8: taken are 7-8",))
    assert select_levels(rio, Policy(lods=((8, 9),))) == ((8, 9), ())
    assert select_levels(rio, Policy(lods=((0, 3), (10, 10)))) == (
        (10,),
        ("LODs 0-3: the service has none of these",),
    )
    assert "none of the LODs 0-3, 11-99" in refusal(rio, Policy(lods=((0, 3), (11, 99)))).message


def test_levels_are_the_services_own_numbers_coarsest_first(service: Service) -> None:
    scheme = service().scheme
    odd = tuple(replace(lod, level=level) for lod, level in zip(scheme.lods[:3], (30, 10, 20), strict=True))
    info = service(scheme=replace(scheme, lods=odd))
    assert select_levels(info, Policy(lods=((10, 30),))) == ((30, 10, 20), ("LODs 10-30: taken are 10, 20, 30",))


def test_zooms_are_a_range_of_level_numbers(rio: ServiceInfo) -> None:
    assert select_levels(rio, Policy(min_zoom=9)) == ((9, 10), ())
    assert select_levels(rio, Policy(max_zoom=8)) == ((7, 8), ())
    assert select_levels(rio, Policy(min_zoom=0, max_zoom=8)) == (
        (7, 8),
        ("--min-zoom 0 --max-zoom 8: taken are 7-8",),
    )
    assert "--min-zoom 11" in refusal(rio, Policy(min_zoom=11)).message


def test_a_scale_is_matched_within_a_thousandth(service: Service) -> None:
    info = service()
    assert select_levels(info, Policy(scales=(577790.554289, 288895.277144))) == ((10, 11), ())
    assert select_levels(info, Policy(scales=(577790.0 * 1.0009,)))[0] == (10,)
    error = refusal(info, Policy(scales=(577790.554289, 577790.554289 * 1.002)))
    assert error.message == ("the service has no LOD at scale 578946.135398; the nearest is LOD 10 at 577790.554289")
    assert "10 (1:577790.554289)" in error.hint


def test_a_scale_range_is_inclusive_within_a_thousandth(service: Service) -> None:
    info = service()
    assert select_levels(info, Policy(min_scale=577790.6, max_scale=4514.0)) == (tuple(range(10, 18)), ())
    assert select_levels(info, Policy(min_scale=577790.0, max_scale=4513.0)) == (tuple(range(10, 18)), ())
    assert select_levels(info, Policy(max_scale=295828763.0))[0] == (0, 1)
    assert select_levels(info, Policy(min_scale=100.0))[0] == (23,)
    levels, notices = select_levels(info, Policy(min_scale=2e9, max_scale=295828763.0))
    assert levels == (0, 1)
    assert notices == ("--min-scale 2000000000 --max-scale 295828763: taken are 0-1",)
    assert "no LOD within" in refusal(info, Policy(min_scale=500000.0, max_scale=400000.0)).message


def test_a_web_map_layers_own_range_holds_until_something_is_selected(service: Service) -> None:
    info = service(min_scale=577790.554289, max_scale=70000.0)
    levels, notices = select_levels(info, Policy())
    assert levels == (10, 11, 12, 13)
    assert "own scale range" in notices[0]
    assert select_levels(info, Policy(lods=((3, 3),))) == ((3,), ())
    assert select_levels(info, Policy(max_scale=295828763.0))[0] == (0, 1)
    assert select_levels(service(min_scale=0.0, max_scale=0.0), Policy()) == (tuple(range(24)), ())
    assert "web map" in refusal(service(min_scale=3.0, max_scale=2.0), Policy()).message
