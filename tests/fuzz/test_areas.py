"""AOI files of any content: an area, or a UsageError that names the file; nothing else comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import shapely
from hypothesis import given, settings

from harvester.errors import UsageError
from tests.aoi.making import area_of, by_gdal
from tests.fuzz.making import CHANGES, NUMBERS, VALUES, changed

KINDS = ["Polygon", "MultiPolygon", "GeometryCollection", "LineString", "Point", "MultiPoint", "Feature", "Curve"]

POSITION = st.lists(NUMBERS | st.floats(-180, 180), min_size=0, max_size=4)
RINGS = st.lists(st.lists(POSITION, max_size=6), max_size=3)
COORDINATES = RINGS | st.lists(RINGS, max_size=2) | POSITION | VALUES

SHAPES: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS), "coordinates": COORDINATES}
) | st.fixed_dictionaries(
    {
        "type": st.just("Feature"),
        "properties": VALUES,
        "geometry": st.fixed_dictionaries({"type": st.sampled_from(KINDS), "coordinates": COORDINATES}) | VALUES,
    }
)

GEOJSON: st.SearchStrategy[Any] = SHAPES | st.fixed_dictionaries(
    {"type": st.just("FeatureCollection"), "features": st.lists(SHAPES, max_size=3) | VALUES}, optional={"crs": VALUES}
)

ESRI: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {
        "geometryType": st.sampled_from(["esriGeometryPolygon", "esriGeometryPolyline", "esriGeometryPoint"]),
        "features": st.lists(
            st.fixed_dictionaries({"geometry": st.fixed_dictionaries({"rings": RINGS | VALUES}) | VALUES}), max_size=3
        ),
    },
    optional={"spatialReference": VALUES | st.fixed_dictionaries({"wkid": NUMBERS | VALUES})},
) | st.fixed_dictionaries({"rings": RINGS | VALUES}, optional={"spatialReference": VALUES})

WKT = st.text("POLYGNMUTIZEM()0123456789.,-+eE naif;SRD=", max_size=60) | st.builds(
    lambda kind, inner: f"{kind} ({inner})",
    st.sampled_from(["POLYGON", "MULTIPOLYGON", "GEOMETRYCOLLECTION", "SRID=4326;POLYGON", "CURVEPOLYGON"]),
    st.text("()0123456789., -eEnaif", max_size=50),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("areas")


def try_area(path: Path) -> None:
    """Read it as a person's AOI, buffer and all."""
    try:
        area = area_of(path, buffer=10.0, resolution=100.0)
    except UsageError as error:
        assert error.message
        assert "Traceback" not in error.message
    else:
        for shape in (area.geometry, *area.by_level.values()):
            assert shape is None or (shapely.is_valid(shape) and not shape.is_empty)


@given(document=GEOJSON | ESRI | VALUES)
@settings(max_examples=150, deadline=None)
def test_any_json_is_an_area_or_a_usage_error(folder: Path, document: Any) -> None:
    path = folder / "any.geojson"
    path.write_text(json.dumps(document))
    try_area(path)


@given(text=WKT)
@settings(max_examples=120, deadline=None)
def test_any_text_is_an_area_or_a_usage_error(folder: Path, text: str) -> None:
    path = folder / "any.wkt"
    path.write_text(text)
    try_area(path)


@given(
    data=st.binary(max_size=200), suffix=st.sampled_from(["geojson", "json", "wkt", "kml", "shp", "zip", "gpkg", ""])
)
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_an_area_or_a_usage_error(folder: Path, data: bytes, suffix: str) -> None:
    path = folder / f"noise.{suffix}"
    path.write_bytes(data)
    try_area(path)


@pytest.mark.parametrize("suffix", ["gpkg", "kml", "fgb", "shp"])
@given(changes=CHANGES, cut=st.floats(0.1, 2.0))
@settings(max_examples=25, deadline=None)
def test_a_damaged_file_is_an_area_or_a_usage_error(
    folder: Path, suffix: str, changes: list[tuple[float, int]], cut: float
) -> None:
    sound = folder / f"sound.{suffix}"
    if not sound.exists():
        by_gdal(sound, [shapely.box(8, 50, 9, 51)])
    bad = folder / f"bad.{suffix}"
    for beside in (".shx", ".prj", ".dbf"):
        if sound.with_suffix(beside).exists():
            bad.with_suffix(beside).write_bytes(sound.with_suffix(beside).read_bytes())
    bad.write_bytes(changed(sound.read_bytes(), changes, cut))
    try_area(bad)
