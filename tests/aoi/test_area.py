"""Where an area comes out: bent edges, repaired rings, the antimeridian, poles, and buffers on the ground."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from harvester.aoi import load_area, looks_swapped
from harvester.aoi_shape import only_polygons, united
from harvester.crs import MERCATOR_HALF_WIDTH, WEB_MERCATOR, WGS84, Crs, local_equidistant, project_box, projector
from harvester.errors import UsageError
from harvester.job import AoiFile, Policy

from .making import area_from, box, by_gdal, polygon, ring

UTM_18N = Crs(wkid=26918)
GEOD = Geod(ellps="WGS84")
CROSSING = polygon(ring((170, 40), (-170, 40), (-170, 41), (170, 41)))


def along(start: tuple[float, float], end: tuple[float, float], count: int = 997) -> Any:
    """Points of a straight edge."""
    return np.array(start) + np.linspace(0, 1, count)[:, None] * (np.array(end) - np.array(start))


def off_rim(geometry: Any, points: Any, crs: Crs, source: Crs = WGS84) -> float:
    """The largest distance of points (in ``source``) from a geometry's rim."""
    x, y = projector(source, crs)(points[:, 0], points[:, 1])
    return float(shapely.distance(geometry.boundary, shapely.points(x, y)).max())


# ---------------------------------------------------------------------------------------------- nothing, boxes


def test_a_policy_that_names_no_area_has_none() -> None:
    assert load_area(Policy(), WEB_MERCATOR, 1.0) is None


def test_a_box_is_a_box_in_web_mercator() -> None:
    area = load_area(Policy(bbox=(10, 50, 11, 51)), WEB_MERCATOR, 1.0)
    assert area is not None
    assert area.geometry.bounds == pytest.approx(project_box((10.0, 50.0, 11.0, 51.0), WGS84, WEB_MERCATOR), abs=1e-6)
    assert area.geometry.equals(area.geometry.envelope)


@pytest.mark.parametrize("bounds", [(170, -20, -170, -10), (170, -20, 190, -10)])
def test_a_box_across_the_antimeridian_has_parts_at_both_ends(bounds: tuple[float, float, float, float]) -> None:
    area = load_area(Policy(bbox=bounds), WGS84, 1e-4)
    assert area is not None
    assert area.geometry.equals(shapely.union(shapely.box(170, -20, 180, -10), shapely.box(-180, -20, -170, -10)))


def test_a_box_of_the_whole_world_stays_whole_and_is_cut_at_the_square() -> None:
    area = load_area(Policy(bbox=(-180, -90, 180, 90)), WEB_MERCATOR, 1.0)
    assert area is not None
    half = MERCATOR_HALF_WIDTH
    assert area.geometry.area == pytest.approx((2 * half) ** 2, rel=1e-12)
    assert area.geometry.bounds == pytest.approx((-half, -half, half, half), abs=1e-6)
    assert [said.partition(" of")[0] for said in area.notices] == ["bbox: 0.4%"]


POLAR = Crs(wkid=3413)
NAMED_3857 = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}
NAMED_3413 = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3413"}}


@pytest.mark.parametrize(
    ("policy", "share"),
    [
        (Policy(bbox=(-109, 80, -102, 89)), "23.8%"),
        (Policy(bbox=(10, -90, 20, -60)), "2.8%"),
        (Policy(bbox=(-180, -90, 180, 90)), "0.4%"),
        (Policy(geometry=polygon(ring((0, 80), (10, 80), (10, 89), (0, 89)))), "23.8%"),
    ],
)
def test_what_web_mercator_cannot_show_is_left_out_with_the_share_on_the_ground(policy: Policy, share: str) -> None:
    area = load_area(policy, WEB_MERCATOR, 1.0)
    assert area is not None
    (notice,) = area.notices
    assert f"{share} of the area lies beyond latitude 85.0511" in notice
    assert notice.startswith(("bbox: ", "geometry: "))
    whole = load_area(policy, WGS84, 1e-4)
    assert whole is not None and not whole.notices


@pytest.mark.parametrize("edge", [85.0511, 85.05112878, 85.051129, 85.05113])
def test_an_area_up_to_where_web_mercator_ends_as_people_write_it_is_not_cut(edge: float) -> None:
    area = load_area(Policy(bbox=(-180, -edge, 180, edge)), WEB_MERCATOR, 1.0)
    assert area is not None and not area.notices
    half = round(MERCATOR_HALF_WIDTH, 2)
    area = area_from({**shapely.geometry.mapping(shapely.box(0, 0, half, half)), "crs": NAMED_3857}, crs=WEB_MERCATOR)
    assert not area.notices


def test_what_a_polar_projection_has_beyond_the_square_is_left_out_with_its_share() -> None:
    cap = shapely.Point(0, 0).buffer(1_000_000, quad_segs=64)
    area = area_from({**shapely.geometry.mapping(cap), "crs": NAMED_3413}, crs=WEB_MERCATOR)
    (notice,) = [said for said in area.notices if "web mercator ends" in said]
    _, y = projector(POLAR, WGS84)(np.array([1_000_000.0]), np.array([0.0]))
    expected = (1 - math.sin(math.radians(85.0511287798))) / (1 - math.sin(math.radians(float(y[0]))))
    assert f"{expected:.1%} of the area" in notice
    far = shapely.box(2_000_000, 0, 2_500_000, 500_000)
    assert not area_from({**shapely.geometry.mapping(far), "crs": NAMED_3413}, crs=WEB_MERCATOR).notices


def test_web_mercator_numbers_beyond_the_square_are_cut_at_it() -> None:
    shape = {
        "type": "Polygon",
        "coordinates": [box(1e7, 1e7, 3e7, 3e7)],
        "crs": {"type": "name", "properties": {"name": "EPSG:3857"}},
    }
    half = MERCATOR_HALF_WIDTH
    both = shapely.union(shapely.box(1e7, 1e7, half, half), shapely.box(-half, 1e7, 3e7 - 2 * half, half))
    assert area_from(shape).geometry.symmetric_difference(both).area < 1


def test_a_wide_box_is_not_taken_the_short_way_round() -> None:
    area = load_area(Policy(bbox=(-180, -10, 20, 10)), WGS84, 1e-4)
    assert area is not None and area.geometry.equals(shapely.box(-180, -10, 20, 10)) and not area.notices


# ---------------------------------------------------------------------------------------------- edges


def test_edges_are_straight_in_their_own_crs_to_a_tenth_of_a_pixel() -> None:
    corners = [(-80.0, 35.0), (-70.0, 38.0), (-72.0, 45.0)]
    area = area_from(polygon(ring(*corners)), crs=UTM_18N, resolution=1.0)
    for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
        assert off_rim(area.geometry, along(start, end), UTM_18N) < 0.1


def test_an_edge_that_bends_both_ways_is_followed_too() -> None:
    corners = [(0.0, -20.0), (10.0, 20.0), (20.0, 20.0)]  # symmetric to the equator: straight in its very middle
    area = area_from(polygon(ring(*corners)), resolution=1.0)
    assert off_rim(area.geometry, along(corners[0], corners[1]), WEB_MERCATOR) < 0.1


def test_a_bent_edge_gets_hardly_more_vertices_than_its_bend_asks_for() -> None:
    """A hundred edges of one ring: as many pieces as a parabola so far off its chord needs, and no power of two."""
    turns = np.linspace(0, 2 * np.pi, 101)[:-1]
    reach = np.where(np.arange(100) % 2, 2.0, 5.0 + np.arange(100) / 50)
    corners = np.column_stack([10 + reach * np.cos(turns), 45 + reach * np.sin(turns)])
    start, end = corners, np.roll(corners, -1, axis=0)
    project = projector(WGS84, WEB_MERCATOR)
    middle, first, last = (np.column_stack(project(*at.T)) for at in ((start + end) / 2, start, end))
    along_chord = (last - first) / np.hypot(*(last - first).T)[:, None]
    off = middle - first
    bends = np.abs(off[:, 0] * along_chord[:, 1] - off[:, 1] * along_chord[:, 0])
    area = area_from(polygon(ring(*map(tuple, corners.tolist()))), resolution=1.0)
    asked = np.ceil(np.sqrt(bends / 0.1)).sum()
    assert asked <= shapely.get_num_coordinates(area.geometry) <= 1.25 * asked


def test_the_coarser_the_finest_lod_the_fewer_the_vertices() -> None:
    counts = [
        shapely.get_num_coordinates(area_from(polygon(box(-80, 35, -70, 45)), crs=UTM_18N, resolution=r).geometry)
        for r in (0.1, 10.0, 1000.0)
    ]
    assert counts[0] > 5 * counts[1] > 25 * counts[2]


def test_an_area_in_the_schemes_own_crs_keeps_its_vertices() -> None:
    shape = shapely.Polygon([(10, 40), (11, 40.5), (10.5, 41)])
    assert shapely.equals_exact(area_from(shape, crs=WGS84, resolution=1e-9).geometry.normalize(), shape.normalize())


DEGREES = st.integers(-170_000, 170_000).map(lambda thousandths: thousandths / 1000)


@given(
    st.lists(st.tuples(DEGREES, DEGREES.map(lambda x: x * 80 / 170)), min_size=3, max_size=6, unique=True),
    st.sampled_from([WEB_MERCATOR, Crs(wkid=54030)]),
)
@settings(max_examples=40, deadline=None)
def test_points_inside_stay_inside_and_points_outside_stay_outside(
    corners: list[tuple[float, float]], crs: Crs
) -> None:
    lon = [corner[0] for corner in corners]
    before = shapely.make_valid(shapely.Polygon(corners))
    if max(lon) - min(lon) >= 180 or before.area < 1e-3:
        return
    after = area_from(polygon(ring(*corners)), crs=crs, resolution=1000.0).geometry
    assert after.is_valid
    grid_x, grid_y = (axis.ravel() for axis in np.meshgrid(np.linspace(-175, 175, 40), np.linspace(-80, 80, 40)))
    inside = shapely.contains_xy(before, grid_x, grid_y)
    clear = shapely.distance(before.boundary, shapely.points(grid_x, grid_y)) > 0.02
    x, y = projector(WGS84, crs)(grid_x, grid_y)
    assert (shapely.contains_xy(after, x, y)[clear] == inside[clear]).all()


# ---------------------------------------------------------------------------------------------- repair


def even_odd_area(rings: list[list[tuple[float, float]]]) -> float:
    """The slow way: every face of the noded rings counts when a ray from it crosses them an odd number of times."""
    lines = shapely.union_all([shapely.LineString([*corners, corners[0]]) for corners in rings])
    total = 0.0
    for face in shapely.get_parts(shapely.polygonize([lines])):
        px, py = shapely.get_coordinates(shapely.point_on_surface(face))[0]
        crossings = 0
        for corners in rings:
            for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
                if (y0 > py) != (y1 > py) and px < x0 + (py - y0) / (y1 - y0) * (x1 - x0):
                    crossings += 1
        total += face.area if crossings % 2 else 0.0
    return total


def test_both_halves_of_a_bow_tie_are_kept_with_a_notice() -> None:
    area = area_from(polygon(ring((0, 0), (1, 1), (1, 0), (0, 1))), crs=WGS84)
    assert area.geometry.area == pytest.approx(0.5)
    assert any("Self-intersection" in notice and "area kept: 0.5" in notice for notice in area.notices)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=9, unique=True))
@settings(max_examples=100, deadline=None)
def test_a_repaired_ring_keeps_its_even_odd_area(corners: list[tuple[float, float]]) -> None:
    expected = even_odd_area([corners])
    try:
        area = area_from(polygon(ring(*corners)), crs=WGS84)
    except UsageError:
        assert expected == 0
        return
    assert area.geometry.area == pytest.approx(expected, rel=1e-9)


def test_overlapping_parts_are_joined_and_not_cancelled() -> None:
    shape = {"type": "MultiPolygon", "coordinates": [[box(0, 0, 2, 1)], [box(1, 0, 3, 1)]]}
    assert area_from(shape, crs=WGS84).geometry.area == pytest.approx(3)


def test_holes_are_kept() -> None:
    area = area_from(polygon(box(0, 0, 10, 10), box(2, 2, 8, 8)))
    assert len(area.geometry.interiors) == 1


def test_a_ring_of_two_points_is_left_out_with_a_notice() -> None:
    shape = {"type": "MultiPolygon", "coordinates": [[ring((0, 0), (1, 0))], [box(5, 5, 6, 6)]]}
    area = area_from(shape, crs=WGS84)
    assert area.geometry.area == pytest.approx(1) and any("three different points" in said for said in area.notices)
    with pytest.raises(UsageError, match="no polygon with an area"):
        area_from(polygon(ring((0, 0), (1, 0))))


# ---------------------------------------------------------------------------------------------- numbers


def test_a_latitude_beyond_90_looks_swapped() -> None:
    with pytest.raises(UsageError, match="look swapped"):
        area_from(polygon(box(39, 104, 40, 105)))


def test_projected_numbers_without_a_crs_are_refused() -> None:
    with pytest.raises(UsageError, match="no degrees") as caught:
        area_from(polygon(box(500000, 4000000, 500010, 4000010)))
    assert "crs member" in caught.value.hint


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the making of such a polygon
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_coordinate_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(UsageError, match="not finite"):
        area_from(shapely.Polygon([(0, 0), (1, bad), (1, 1)]))


@pytest.mark.parametrize("geometry", [5, "POLYGON", {"type": "Nonsense"}, {}, {"type": "Polygon"}, object()])
def test_what_is_no_geometry_is_refused(geometry: object) -> None:
    with pytest.raises(UsageError, match="geometry"):
        area_from(geometry)


def test_objects_with_a_geo_interface_are_taken() -> None:
    class Thing:
        __geo_interface__ = shapely.box(10, 50, 11, 51).__geo_interface__

    assert area_from(Thing(), crs=WGS84).geometry.equals(shapely.box(10, 50, 11, 51))


# ---------------------------------------------------------------------------------------------- round the world


def test_a_long_edge_is_taken_the_short_way_with_a_notice() -> None:
    area = area_from(CROSSING, crs=WGS84)
    assert area.geometry.equals(shapely.union(shapely.box(170, 40, 180, 41), shapely.box(-180, 40, -170, 41)))
    assert any("antimeridian" in notice for notice in area.notices)


def test_a_crossing_area_is_at_both_ends_of_web_mercator() -> None:
    geometry = area_from(CROSSING).geometry
    west, south, east, north = project_box((170.0, 40.0, 180.0, 41.0), WGS84, WEB_MERCATOR)
    both = shapely.union(shapely.box(west, south, east, north), shapely.box(-east, south, -west, north))
    assert geometry.symmetric_difference(both).area < 1


def test_coordinates_beyond_180_come_back_at_the_other_end() -> None:
    area = area_from(polygon(box(170, 40, 190, 41)), crs=WGS84)
    assert area.geometry.equals(area_from(CROSSING, crs=WGS84).geometry) and not area.notices


def test_a_hole_across_the_antimeridian_stays_a_hole() -> None:
    shape = polygon(*CROSSING["coordinates"], ring((175, 40.2), (-175, 40.2), (-175, 40.8), (175, 40.8)))
    assert area_from(shape, crs=WGS84).geometry.area == pytest.approx(20 - 6)


def test_a_polygon_of_the_whole_world_is_one() -> None:
    area = area_from(polygon(box(-180, -90, 180, 90)), crs=WGS84)
    assert area.geometry.area == pytest.approx(360 * 180) and not area.notices


def test_a_ring_round_the_pole_encloses_it() -> None:
    corners = [((lon + 180) % 360 - 180.0, 70.0) for lon in range(-170, 190, 20)]
    area = area_from(polygon(ring(*corners)), crs=WGS84)
    assert area.geometry.area == pytest.approx(360 * 20)
    polar = area_from(polygon(ring(*corners)), crs=Crs(wkid=3413), resolution=100.0)
    assert shapely.contains_xy(polar.geometry, 0, 0) and len(polar.geometry.interiors) == 0


def test_a_polar_area_covers_the_top_of_the_mercator_square() -> None:
    shape = {
        "type": "Polygon",
        "coordinates": [box(-2e6, -2e6, 2e6, 2e6)],
        "crs": {"type": "name", "properties": {"name": "EPSG:3413"}},
    }
    geometry = area_from(shape, resolution=100.0).geometry
    half = MERCATOR_HALF_WIDTH
    assert geometry.bounds[0] == pytest.approx(-half) and geometry.bounds[2] == pytest.approx(half)
    x = np.linspace(-half + 1, half - 1, 1000)
    assert shapely.intersects_xy(geometry, x, np.full_like(x, half - 1000)).all()


def test_a_projected_area_across_the_antimeridian_is_at_both_ends() -> None:
    fiji = {
        "type": "Polygon",
        "coordinates": [box(1_900_000, 3_900_000, 2_300_000, 4_100_000)],
        "crs": {"type": "name", "properties": {"name": "EPSG:3460"}},
    }
    geometry = area_from(fiji, crs=WGS84, resolution=1e-4).geometry
    assert geometry.bounds[0] == -180 and geometry.bounds[2] == 180 and geometry.area < 10
    area, _ = GEOD.geometry_area_perimeter(shapely.geometry.polygon.orient(shapely.box(0, 0, 1, 1)))
    assert area > 0
    total = sum(abs(GEOD.geometry_area_perimeter(part)[0]) for part in geometry.geoms)
    assert total == pytest.approx(400_000 * 200_000, rel=0.01)


def test_an_area_beyond_the_mercator_square_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"EPSG:3857.*85\.0511"):
        area_from(polygon(box(10, 86, 11, 87)))


def test_an_area_partly_beyond_the_mercator_square_is_cut_at_it() -> None:
    area = area_from(polygon(box(10, 80, 11, 90)))
    assert area.geometry.bounds[3] == pytest.approx(MERCATOR_HALF_WIDTH, abs=1e-6)


def test_a_world_that_a_zone_cannot_show_is_cut_around_the_zone_with_a_notice() -> None:
    area = area_from(polygon(box(-180, -90, 180, 90)), crs=UTM_18N, resolution=100.0)
    x, y = projector(WGS84, UTM_18N)(np.array([-75.0, -95.0, -55.0]), np.array([40.0, 30.0, 60.0]))
    assert shapely.contains_xy(area.geometry, x, y).all()
    assert any("EPSG:26918" in notice and "cut off" in notice for notice in area.notices)


def test_what_a_crs_cannot_show_at_all_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="EPSG:2154"):
        area_from(polygon(box(100, -89, 110, -90)), crs=Crs(wkid=2154))


# ---------------------------------------------------------------------------------------------- buffers


@pytest.mark.parametrize(
    ("lon", "lat", "metres"),
    [(10, 0, 100), (10, 60, 1000), (-20, 80, 250_000), (180, 70, 5000), (179.99, -65, 100_000), (30, 45, 1_500_000)],
)
def test_a_buffered_point_is_a_circle_on_the_ground(lon: float, lat: float, metres: float) -> None:
    fine = metres / 1e4
    geometry = area_from({"type": "Point", "coordinates": [lon, lat]}, resolution=fine, buffer=metres).geometry
    for share, expected in ((0.995, True), (1.005, False)):
        heading = np.linspace(0, 360, 360, endpoint=False)
        full = np.full_like(heading, 1.0)
        there = GEOD.fwd(lon * full, lat * full, heading, metres * share * full)
        x, y = projector(WGS84, WEB_MERCATOR)(np.array(there[0]), np.array(there[1]))
        assert (shapely.intersects_xy(geometry, x, y) == expected).all()


def test_a_buffered_line_reaches_as_far_everywhere_along_it() -> None:
    line = {"type": "LineString", "coordinates": [[0, 40], [30, 60]]}
    geometry = area_from(line, resolution=10.0, buffer=20_000).geometry
    points = along((0, 40), (30, 60), 101)
    here, there = points[:-1], points[1:]
    heading = np.array(GEOD.inv(*here.T, *there.T)[0])
    for side in (-90, 90):
        for share, expected in ((0.995, True), (1.005, False)):
            metres = np.full(len(here), 20_000 * share)
            lon, lat, _ = GEOD.fwd(*here[1:].T, heading[1:] + side, metres[1:])
            x, y = projector(WGS84, WEB_MERCATOR)(np.array(lon), np.array(lat))
            assert (shapely.intersects_xy(geometry, x, y) == expected).all()


def test_a_large_polygon_grows_by_ground_metres_on_every_side() -> None:
    geometry = area_from(polygon(box(-30, 20, 30, 70)), crs=WGS84, resolution=1e-3, buffer=100_000).geometry
    lon, lat, _ = GEOD.fwd([30.0, 30.0, 0.0], [30.0, 65.0, 20.0], [90.0, 90.0, 180.0], [99_500.0] * 3)
    assert shapely.contains_xy(geometry, lon, lat).all()
    lon, lat, _ = GEOD.fwd([30.0, 30.0, 0.0], [30.0, 65.0, 20.0], [90.0, 90.0, 180.0], [100_500.0] * 3)
    assert not shapely.contains_xy(geometry, lon, lat).any()


def test_a_buffer_across_a_pole_covers_it() -> None:
    geometry = area_from(
        {"type": "Point", "coordinates": [10, 89.9]}, crs=WGS84, resolution=1e-3, buffer=50_000
    ).geometry
    assert geometry.bounds[::2] == (-180.0, 180.0) and geometry.bounds[3] == 90.0
    assert shapely.intersects_xy(geometry, np.linspace(-179, 179, 90), np.full(90, 89.95)).all()


def test_lines_and_points_need_a_buffer() -> None:
    with pytest.raises(UsageError, match="enclose nothing") as caught:
        area_from({"type": "LineString", "coordinates": [[0, 0], [1, 1]]})
    assert "--buffer" in caught.value.hint


@pytest.mark.parametrize("metres", [-1e-9, -1000.0])
def test_a_buffer_never_shrinks(metres: float) -> None:
    with pytest.raises(UsageError, match="only grows"):
        area_from(polygon(box(10, 40, 11, 41)), buffer=metres)


def test_a_crs_around_a_point_measures_from_it() -> None:
    x, y = projector(WGS84, local_equidistant(0.0, 80.0))(np.array([0.0]), np.array([81.0]))
    assert math.hypot(x[0], y[0]) == pytest.approx(GEOD.inv(0, 80, 0, 81)[2], rel=1e-9)


# ---------------------------------------------------------------------------------------------- swapped


def test_an_area_whose_mirror_lies_in_the_extent_looks_swapped() -> None:
    extent = project_box((5.0, 45.0, 15.0, 55.0), WGS84, WEB_MERCATOR)
    assert looks_swapped(area_from(polygon(box(50, 10, 51, 11))), extent)
    assert not looks_swapped(area_from(polygon(box(10, 50, 11, 51))), extent)
    assert not looks_swapped(area_from(polygon(box(-60, -10, -50, -5))), extent)
    wide = project_box((0.0, 0.0, 60.0, 60.0), WGS84, WEB_MERCATOR)  # holds the area and its mirror
    assert not looks_swapped(area_from(polygon(box(50, 10, 51, 11))), wide)


@pytest.mark.parametrize(
    ("wkid", "home"),
    [(26918, (-75.3, 39.8, -74.9, 40.2)), (31983, (-43.8, -23, -43.1, -22.7)), (3035, (9, 50, 11, 51)),
     (3031, (-60, -80, -50, -75)), (2056, (7, 46, 8, 47))],
)  # fmt: skip
def test_an_area_far_outside_the_domain_of_a_projected_crs_looks_swapped(
    wkid: int, home: tuple[float, float, float, float]
) -> None:
    crs = Crs(wkid=wkid)
    extent = project_box(home, WGS84, crs)
    west, south, east, north = home
    assert looks_swapped(area_from(polygon(box(south, west, north, east)), crs=crs), extent)
    assert not looks_swapped(area_from(polygon(box(west, south, east, north)), crs=crs), extent)


# ---------------------------------------------------------------------------------------------- nothing chosen


def test_a_condition_that_chooses_nothing_is_named_as_the_cause(tmp_path: Path) -> None:
    path = by_gdal(tmp_path / "a.gpkg", [shapely.box(0, 0, 1, 1)], name=["here"])
    with pytest.raises(UsageError, match="no feature of it meets the condition") as caught:
        load_area(Policy(aoi=(AoiFile(path=path, where="name = 'there'"),)), WEB_MERCATOR, 1.0)
    assert "--aoi-where" in caught.value.hint
    assert load_area(Policy(aoi=(AoiFile(path=path, where="name = 'here'"),)), WEB_MERCATOR, 1.0) is not None


def test_a_collection_without_features_is_told_as_such() -> None:
    with pytest.raises(UsageError, match="no feature in it") as caught:
        area_from({"type": "FeatureCollection", "features": []})
    assert "harvester holes" in caught.value.hint


def test_polygons_that_lie_apart_are_overlaid_with_nothing() -> None:
    parcels = shapely.MultiPolygon([shapely.box(x, 0, x + 0.9, 1) for x in range(5)])
    assert only_polygons(parcels) is parcels
    assert united([parcels]) is parcels
    apart = united([*parcels.geoms, shapely.Polygon(), shapely.box(0.5, 0, 2, 1)])
    assert apart.is_valid and apart.equals(shapely.union_all([parcels, shapely.box(0.5, 0, 2, 1)]))
    assert len(apart.geoms) == 3
    assert united([]).is_empty and united([shapely.Polygon(), shapely.Polygon()]).is_empty
