"""CRS records: which are the same, what they are called, and where boxes and points come out."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.crs import MERCATOR_HALF_WIDTH, WEB_MERCATOR, WGS84, Crs, local_equidistant, project_box, projector
from harvester.crs.lookup import write_wkt
from harvester.crs.record import MERCATOR_ESRI_WKT
from harvester.errors import SourceError, UsageError

UTM_18N = (
    'PROJCS["NAD_1983_UTM_Zone_18N",GEOGCS["GCS_North_American_1983",DATUM["D_North_American_1983",'
    'SPHEROID["GRS_1980",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],'
    'PROJECTION["Transverse_Mercator"],PARAMETER["False_Easting",500000.0],PARAMETER["False_Northing",0.0],'
    'PARAMETER["Central_Meridian",-75.0],PARAMETER["Scale_Factor",0.9996],PARAMETER["Latitude_Of_Origin",0.0],'
    'UNIT["Meter",1.0]]'
)


class Box4(NamedTuple):
    xmin: float
    ymin: float
    xmax: float
    ymax: float


@pytest.mark.parametrize("number", [3857, 102100, 102113, 900913, 3785])
def test_web_mercator_is_itself_under_each_of_its_numbers(number: int) -> None:
    crs = Crs.from_service({"wkid": number}, "spatialReference")
    assert crs.is_web_mercator
    assert crs.same_as(WEB_MERCATOR) and WEB_MERCATOR.same_as(crs)
    assert str(crs) == "EPSG:3857"
    assert not crs.same_as(WGS84)


def test_web_mercator_is_itself_as_wkt_alone() -> None:
    crs = Crs.from_service({"wkt": WEB_MERCATOR.esri_wkt()}, "spatialReference")
    assert crs.is_web_mercator and crs.same_as(WEB_MERCATOR) and str(crs) == "EPSG:3857"
    assert crs.unit_name() == "esriMeters"


def test_esri_wkt_of_web_mercator_is_the_text_that_real_conf_files_hold() -> None:
    assert WEB_MERCATOR.esri_wkt() == (
        'PROJCS["WGS_1984_Web_Mercator_Auxiliary_Sphere",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",'
        'SPHEROID["WGS_1984",6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],'
        'PROJECTION["Mercator_Auxiliary_Sphere"],PARAMETER["False_Easting",0.0],PARAMETER["False_Northing",0.0],'
        'PARAMETER["Central_Meridian",0.0],PARAMETER["Standard_Parallel_1",0.0],'
        'PARAMETER["Auxiliary_Sphere_Type",0.0],UNIT["Meter",1.0],AUTHORITY["EPSG",3857]]'
    )


def test_esri_wkt_of_web_mercator_is_what_proj_writes_and_needs_no_proj() -> None:
    assert write_wkt(WEB_MERCATOR, "WKT1_ESRI") == MERCATOR_ESRI_WKT
    code = "import sys; from harvester.crs import WEB_MERCATOR as m; print(m.esri_wkt(), 'pyproj' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == f"{WEB_MERCATOR.esri_wkt()} False"


def test_latest_wkid_is_preferred() -> None:
    crs = Crs.from_service({"wkid": 102750, "latestWkid": 26853}, "sr")
    assert str(crs) == "EPSG:26853" and crs.best_number == 26853


def test_an_esri_number_is_called_by_its_epsg_twin_where_one_is_known() -> None:
    assert str(Crs(wkid=102750)) == "EPSG:26853"
    assert str(Crs(wkid=102003)) == "ESRI:102003"


def test_a_crs_given_by_esri_wkt_is_the_epsg_one() -> None:
    by_text = Crs.from_service({"wkt": UTM_18N}, "sr")
    assert by_text.same_as(Crs(wkid=26918)) and Crs(wkid=26918).same_as(by_text)
    assert str(by_text) == "EPSG:26918"
    assert not by_text.same_as(Crs(wkid=26917))


def test_a_vertical_part_does_not_make_another_crs() -> None:
    vertical = (
        'VERTCS["NAVD_1988",VDATUM["North_American_Vertical_Datum_1988"],PARAMETER["Vertical_Shift",0.0],'
        'PARAMETER["Direction",1.0],UNIT["Meter",1.0]]'
    )
    assert Crs.from_service({"wkt": f"{UTM_18N},{vertical}"}, "sr").same_as(Crs(wkid=26918))


@pytest.mark.parametrize(
    "stated",
    [
        None,
        [],
        {},
        {"wkid": None, "latestWkid": None},
        {"wkid": 0},
        {"wkid": "102100"},
        {"wkid": True},
        {"wkid": 4326.0},
        {"wkid": 999999},
        {"wkt": "nonsense"},
        {"wkt": 5},
        {"wkt": "x" * 70_000},
        {"wkid": 5703},
        {"wkid": 4978},
    ],
)
def test_a_spatial_reference_that_names_nothing_usable_is_a_source_error_that_names_the_field(stated: object) -> None:
    with pytest.raises(SourceError, match=r"tileInfo\.spatialReference"):
        Crs.from_service(stated, "tileInfo.spatialReference")


def test_an_unknown_number_falls_back_on_the_wkt() -> None:
    crs = Crs.from_service({"wkid": 199999, "wkt": UTM_18N}, "sr")
    assert crs.same_as(Crs(wkid=26918))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("EPSG:3857", "EPSG:3857"),
        ("epsg:26918", "EPSG:26918"),
        ("102100", "EPSG:3857"),
        ("ESRI:102003", "ESRI:102003"),
        ("urn:ogc:def:crs:EPSG::3857", "EPSG:3857"),
        ("urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"),
        ("+proj=utm +zone=18 +datum=NAD83", "EPSG:26918"),
        (UTM_18N, "EPSG:26918"),
    ],
)
def test_people_may_name_a_crs_in_many_ways(text: str, name: str) -> None:
    assert str(Crs.from_user(text)) == name


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_text_does_worse_than_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        Crs.from_user(text)


def test_units_are_esris_words() -> None:
    assert WGS84.unit_name() == "esriDecimalDegrees" and WGS84.is_geographic
    feet = Crs(wkid=2263)
    assert feet.unit_name() == "esriFeet" and not feet.is_geographic
    assert feet.metres_per_unit == pytest.approx(1200 / 3937, rel=1e-12)
    assert WGS84.metres_per_unit == pytest.approx(math.pi * 6378137 / 180, rel=1e-9)


def test_points_go_east_first_whatever_the_axis_order_of_the_crs() -> None:
    x, y = projector("EPSG:4326", "EPSG:2193")(np.array([173.0]), np.array([-41.0]))
    assert x[0] == pytest.approx(1600000.0, abs=0.01) and y[0] == pytest.approx(5461000, abs=2000)


def test_poles_stay_on_the_edge_of_the_web_mercator_square() -> None:
    x, y = projector(WGS84, WEB_MERCATOR)(np.array([0.0, 180.0, -180.0]), np.array([90.0, -90.0, 0.0]))
    assert np.abs(y[:2]) == pytest.approx(MERCATOR_HALF_WIDTH, abs=1e-6)
    assert x[1:] == pytest.approx([MERCATOR_HALF_WIDTH, -MERCATOR_HALF_WIDTH], abs=1e-6)


def test_what_cannot_be_projected_is_infinite_and_does_not_raise() -> None:
    x, y = projector(WGS84, Crs(wkid=2154))(np.array([0.0, np.nan]), np.array([-90.0, 0.0]))
    assert not np.isfinite(x).any() and not np.isfinite(y).any()


def test_the_web_mercator_world_in_degrees_has_full_precision() -> None:
    half = MERCATOR_HALF_WIDTH
    box = project_box(Box4(-half, -half, half, half), WEB_MERCATOR, "EPSG:4326")
    assert isinstance(box, Box4)
    assert box == pytest.approx((-180.0, -85.0511287798066, 180.0, 85.0511287798066), abs=1e-12)


def test_the_whole_world_fits_the_web_mercator_square() -> None:
    box = project_box((-180.0, -90.0, 180.0, 90.0), WGS84, WEB_MERCATOR)
    half = MERCATOR_HALF_WIDTH
    assert box == pytest.approx((-half, -half, half, half), abs=1e-6)


def test_a_projected_box_holds_its_bent_edges() -> None:
    degrees = (-80.0, 36.0, -70.0, 42.0)
    xmin, ymin, xmax, ymax = project_box(degrees, WGS84, "EPSG:26918")
    project = projector(WGS84, "EPSG:26918")
    lon, lat = np.meshgrid(np.linspace(-80, -70, 4001), np.array([36.0, 42.0]))
    x, y = project(lon.ravel(), lat.ravel())
    assert xmin <= x.min() and xmax >= x.max() and ymax >= y.max()
    assert ymin == pytest.approx(y.min(), abs=1e-6)
    corners = project(np.array([-80.0, -70.0]), np.array([36.0, 36.0]))[1]
    assert ymin < corners.min() - 1000  # the parallel dips between its corners


def test_a_box_round_the_pole_reaches_it_and_spans_all_longitudes() -> None:
    west, south, east, north = project_box((-4e6, -4e6, 4e6, 4e6), "EPSG:3031", WGS84)
    assert (west, south, east) == (-180.0, -90.0, 180.0) and -45 < north < -35


def test_a_box_across_the_antimeridian_spans_all_longitudes() -> None:
    west, _, east, _ = project_box((1000000.0, 4700000.0, 2200000.0, 6300000.0), "EPSG:2193", WGS84)
    assert (west, east) == (-180.0, 180.0)


def test_a_box_that_cannot_be_shown_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="lies outside"):
        project_box((10.0, -90.0, 11.0, -90.0), WGS84, "EPSG:2154")


def test_distances_in_a_local_crs_are_those_on_the_ground() -> None:
    x, y = projector(WGS84, local_equidistant(24.0, 60.0))(np.array([24.0]), np.array([61.0]))
    assert math.hypot(x[0], y[0]) == pytest.approx(111420.7, abs=1.0)  # a degree of latitude at 60.5 N on WGS 84


@pytest.mark.shared_data
def test_every_real_service_document_names_a_crs(shared_data: Path) -> None:
    names = {}
    for path in sorted((shared_data / "arcgis_json").glob("*.json")):
        document = json.loads(path.read_bytes().decode("latin-1"))
        if isinstance(document.get("tileInfo"), dict):
            names[path.name] = str(Crs.from_service(document["tileInfo"]["spatialReference"], "tileInfo"))
    assert names["rio_wkid29193_nonhalving_lods.json"] == "EPSG:29193"
    assert names["itwin_bedrock_32086.json"] == "EPSG:32086"
    assert names["itwin_philadelphia_26918_tilesonly.json"] == "EPSG:26918"


def test_a_crs_that_is_stated_as_wkt_alone_has_the_number_of_the_very_same_one() -> None:
    """GDAL opens tile packages by number only."""
    lambert = Crs.from_epsg(2154)
    stated = Crs(wkt=lambert.esri_wkt())
    assert stated.best_number is None
    assert stated.numbered().spatial_reference() == {"wkid": 2154, "latestWkid": 2154}
    own = Crs(wkt=lambert.wkt2().replace('Longitude of false origin",3', 'Longitude of false origin",3.5'))
    assert own.wkt != lambert.wkt2() and own.numbered() is own
    assert lambert.numbered() is lambert
