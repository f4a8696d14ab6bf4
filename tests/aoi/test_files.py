"""What each kind of AOI file says, and what is refused by name."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import shapely

from harvester.crs import WGS84, Crs
from harvester.errors import UsageError
from harvester.job import AoiFile

from .making import area_of, box, by_gdal, polygon, ring, written

HERE = shapely.box(10, 50, 11, 51)
UTM_HERE = (500000.0, 5500000.0, 510000.0, 5510000.0)


def esri_box(west: float, south: float, east: float, north: float) -> list[list[float]]:
    """Esri's outer rings run clockwise."""
    return list(reversed(box(west, south, east, north)))


def lonlat(path: Path, **more: Any) -> Any:
    return area_of(path, crs=WGS84, resolution=1e-5, **more).geometry


@pytest.mark.parametrize("name", ["a.shp", "a.gpkg", "a.kml", "a.fgb", "a.geojson", "a.geojsonl"])
def test_files_that_other_programs_write_are_read(tmp_path: Path, name: str) -> None:
    assert lonlat(by_gdal(tmp_path / name, [HERE])).equals(HERE)


@pytest.mark.parametrize("name", ["a.shp", "a.gpkg", "a.fgb"])
def test_a_file_in_another_crs_lands_where_it_should(tmp_path: Path, name: str) -> None:
    path = by_gdal(tmp_path / name, [shapely.box(*UTM_HERE)], crs="EPSG:32632")
    there = area_of(path, crs=Crs(wkid=32632), resolution=1.0)
    assert there.geometry.equals(shapely.box(*UTM_HERE))
    west, south, east, _ = lonlat(path).bounds
    assert west == pytest.approx(9.0, abs=1e-4) and south == pytest.approx(49.6527, abs=1e-3) and east > 9.13


def test_a_zipped_shapefile_is_read(tmp_path: Path) -> None:
    by_gdal(tmp_path / "a.shp", [HERE])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for part in tmp_path.glob("a.*"):
            if part.suffix != ".zip":
                archive.write(part, part.name)
    assert lonlat(tmp_path / "a.zip").equals(HERE)


@pytest.mark.parametrize("kind", ["esri", "geojson", "geojson as ArcGIS writes it"])
def test_an_answer_of_a_server_that_was_cut_short_is_told(tmp_path: Path, kind: str) -> None:
    document: dict[str, Any] = {"type": "FeatureCollection", "features": [{"geometry": polygon(box(10, 50, 11, 51))}]}
    if kind == "esri":
        rings = [esri_box(10, 50, 11, 51)]
        document = {"spatialReference": {"wkid": 4326}, "features": [{"geometry": {"rings": rings}}]}
    else:
        document["features"][0]["type"] = "Feature"
    within = document if kind != "geojson as ArcGIS writes it" else document.setdefault("properties", {})
    assert area_of(written(tmp_path / "whole.json", document)).notices == ()
    within["exceededTransferLimit"] = True
    (notice,) = area_of(written(tmp_path / "a.json", document)).notices
    assert "a.json" in notice and "not all features" in notice


def test_an_address_is_no_aoi_file_and_says_so() -> None:
    with pytest.raises(UsageError, match="an address") as caught:
        area_of(Path("https://example.org/area.geojson"))
    assert "Download" in caught.value.hint


def packed(path: Path, folder: str, *files: Path) -> Path:
    """A zip with files in a folder of it, and what macOS and a publisher put beside them."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("licence.txt", "as is")
        for file in files:
            archive.write(file, f"{folder}{file.name}")
            archive.writestr(f"__MACOSX/{folder}._{file.name}", b"\0\5\x16\7")
    return path


@pytest.mark.parametrize("folder", ["", "project/", "exports/project/"])
@pytest.mark.parametrize("name", ["a.shp", "a.gpkg", "a.kml", "a.fgb", "a.geojson"])
def test_a_zip_is_read_in_whatever_folder_of_it_the_file_lies(tmp_path: Path, name: str, folder: str) -> None:
    by_gdal(tmp_path / name, [HERE])
    path = packed(tmp_path / "area.zip", folder, *tmp_path.glob("a.*"))
    assert lonlat(path).equals(HERE)


@pytest.mark.parametrize("folder", ["", "download/"])
def test_a_zipped_geodatabase_is_read(tmp_path: Path, folder: str) -> None:
    database = by_gdal(tmp_path / "a.gdb", [HERE])
    path = packed(tmp_path / "area.zip", f"{folder}a.gdb/", *database.iterdir())
    assert lonlat(path).normalize().equals_exact(HERE.normalize(), 1e-6)


def test_of_several_data_sets_in_a_zip_a_layer_names_one(tmp_path: Path) -> None:
    by_gdal(tmp_path / "a.shp", [HERE])
    by_gdal(tmp_path / "b.shp", [shapely.box(0, 0, 1, 1)])
    path = tmp_path / "areas.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part in (*tmp_path.glob("a.*"), *tmp_path.glob("b.*")):
            archive.write(part, f"{part.stem}_folder/{part.name}")
    assert lonlat(path, layer="a").equals(HERE)
    with pytest.raises(UsageError, match=r"several data sets .*a_folder, b_folder") as caught:
        area_of(path)
    assert "Unpack" in caught.value.hint


def test_metadata_beside_a_zipped_shapefile_is_no_data_set(tmp_path: Path) -> None:
    by_gdal(tmp_path / "a.shp", [HERE])
    (tmp_path / "a.json").write_text('{"title": "an area"}')
    assert lonlat(packed(tmp_path / "area.zip", "", *tmp_path.glob("a.*"))).equals(HERE)


def test_a_zip_without_any_area_says_so(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(UsageError, match="no data set in this zip"):
        area_of(packed(tmp_path / "area.zip", "", tmp_path / "readme.txt"))


def test_a_kmz_is_read(tmp_path: Path) -> None:
    by_gdal(tmp_path / "doc.kml", [HERE])
    with zipfile.ZipFile(tmp_path / "a.kmz", "w") as archive:
        archive.write(tmp_path / "doc.kml", "doc.kml")
    assert lonlat(tmp_path / "a.kmz").equals(HERE)


def test_a_shapefile_without_prj_is_longitude_and_latitude_if_its_numbers_are(tmp_path: Path) -> None:
    path = by_gdal(tmp_path / "a.shp", [HERE], crs=None)
    area = area_of(path, crs=WGS84, resolution=1e-5)
    assert area.geometry.equals(HERE)
    assert any("no CRS is stated" in notice for notice in area.notices)


def test_a_shapefile_without_prj_and_with_projected_numbers_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = by_gdal(tmp_path / "a.shp", [shapely.box(*UTM_HERE)], crs=None)
    with pytest.raises(UsageError, match="5510000") as caught:
        area_of(path)
    assert "a.shp" in caught.value.message and ".prj" in caught.value.hint


def test_the_union_of_several_files_counts(tmp_path: Path) -> None:
    one = by_gdal(tmp_path / "a.gpkg", [HERE])
    two = by_gdal(tmp_path / "b.shp", [shapely.box(10.5, 50, 12, 51)])
    assert area_of(one, two, crs=WGS84).geometry.equals(shapely.box(10, 50, 12, 51))


def test_a_layer_is_chosen_by_name(tmp_path: Path) -> None:
    path = by_gdal(tmp_path / "a.gpkg", [HERE], layer="boundary")
    by_gdal(path, [shapely.box(20, 50, 21, 51)], layer="other")
    assert lonlat(path, layer="boundary").equals(HERE)
    with pytest.raises(UsageError, match="missing") as caught:
        area_of(path, layer="missing")
    assert "boundary" in caught.value.hint


def test_of_several_layers_the_only_one_with_polygons_is_taken(tmp_path: Path) -> None:
    path = by_gdal(tmp_path / "a.gpkg", [shapely.Point(1, 1)], layer="points")
    by_gdal(path, [HERE], layer="boundary")
    assert lonlat(path).equals(HERE)


def test_several_layers_with_polygons_are_listed_instead_of_guessed(tmp_path: Path) -> None:
    path = by_gdal(tmp_path / "a.gpkg", [HERE], layer="first")
    by_gdal(path, [HERE], layer="second")
    with pytest.raises(UsageError, match=r"first, second"):
        area_of(path)


@pytest.mark.parametrize("name", ["a.gpkg", "a.shp", "a.geojson"])
def test_where_chooses_features(tmp_path: Path, name: str) -> None:
    path = by_gdal(tmp_path / name, [HERE, shapely.box(20, 50, 21, 51)], state=["CO", "UT"])
    assert lonlat(path, where="state = 'CO'").equals(HERE)
    with pytest.raises(UsageError, match="meets the condition") as empty:
        area_of(path, where="state = 'XX'")
    assert "aoi_where" in empty.value.hint
    for unreadable in ("no_such = 'CO'", "state ="):
        with pytest.raises(UsageError, match="no condition that can be read") as caught:
            area_of(path, where=unreadable)
        assert "Its fields: state" in caught.value.hint


def test_where_chooses_features_of_esri_json(tmp_path: Path) -> None:
    document = {
        "geometryType": "esriGeometryPolygon",
        "spatialReference": {"wkid": 4326},
        "fields": [{"name": "state", "type": "esriFieldTypeString", "length": 9}],
        "features": [
            {"attributes": {"state": "CO"}, "geometry": {"rings": [esri_box(10, 50, 11, 51)]}},
            {"attributes": {"state": "UT"}, "geometry": {"rings": [esri_box(20, 50, 21, 51)]}},
        ],
    }
    assert lonlat(written(tmp_path / "a.json", document), where="state = 'CO'").equals(HERE)


def test_wkt_has_no_attributes(tmp_path: Path) -> None:
    (tmp_path / "a.wkt").write_text(HERE.wkt)
    with pytest.raises(UsageError, match="neither layers nor attributes"):
        area_of(tmp_path / "a.wkt", where="1 = 1")


@pytest.mark.parametrize(
    "document",
    [
        polygon(box(10, 50, 11, 51)),
        {"type": "Feature", "properties": None, "geometry": polygon(box(10, 50, 11, 51))},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": polygon(box(10, 50, 11, 51))}]},
        {"type": "MultiPolygon", "coordinates": [[box(10, 50, 10.5, 51)], [box(10.5, 50, 11, 51)]]},
        {"type": "GeometryCollection", "geometries": [polygon(box(10, 50, 11, 51))]},
        polygon([[x, y, 7.5] for x, y in box(10, 50, 11, 51)]),
        polygon(box(10, 50, 11, 51)[:-1]),
    ],
)
def test_geojson_of_every_shape_is_read(tmp_path: Path, document: dict[str, Any]) -> None:
    assert lonlat(written(tmp_path / "a.json", document)).equals(HERE)


def test_the_crs_member_of_geojson_is_honoured(tmp_path: Path) -> None:
    document = {
        **polygon(box(*UTM_HERE)),
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}},
    }
    path = written(tmp_path / "a.geojson", document)
    assert area_of(path, crs=Crs(wkid=32632)).geometry.equals(shapely.box(*UTM_HERE))


@pytest.mark.parametrize("member", [{"type": "link"}, {"type": "name", "properties": {"name": "EPSG:999999"}}, 7])
def test_a_crs_member_that_names_nothing_is_refused(tmp_path: Path, member: object) -> None:
    with pytest.raises(UsageError, match="crs"):
        area_of(written(tmp_path / "a.geojson", {**polygon(box(10, 50, 11, 51)), "crs": member}))


@pytest.mark.parametrize(
    "document",
    [
        {"rings": [esri_box(10, 50, 11, 51)], "spatialReference": {"wkid": 4326}},
        {"geometry": {"rings": [esri_box(10, 50, 11, 51)], "spatialReference": {"wkid": 4326}}},
        {"features": [{"geometry": {"rings": [esri_box(10, 50, 11, 51)], "spatialReference": {"wkid": 4326}}}]},
        {"features": [{"geometry": {"rings": [box(10, 50, 11, 51)]}}], "spatialReference": {"wkid": 4326}},
        {"xmin": 10, "ymin": 50, "xmax": 11, "ymax": 51, "spatialReference": {"wkid": 4326}},
    ],
)
def test_esri_json_of_every_shape_is_read(tmp_path: Path, document: dict[str, Any]) -> None:
    assert lonlat(written(tmp_path / "a.json", document)).equals(HERE)


def test_esri_rings_are_outer_ones_holes_and_islands_by_their_direction_in_any_order(tmp_path: Path) -> None:
    rings = [
        esri_box(4, 4, 6, 6),  # an island
        box(2, 2, 8, 8),  # in a hole
        esri_box(0, 0, 10, 10),
        esri_box(20, 0, 30, 10),
        esri_box(25, 0, 35, 10),  # overlaps its neighbour
    ]
    path = written(tmp_path / "a.json", {"rings": rings, "spatialReference": {"wkid": 4326}})
    assert lonlat(path).area == pytest.approx(100 - 36 + 4 + 150)


def test_esri_rings_of_careless_direction_nest(tmp_path: Path) -> None:
    rings = [box(0, 0, 10, 10), box(2, 2, 8, 8)]
    path = written(tmp_path / "a.json", {"rings": rings, "spatialReference": {"wkid": 4326}})
    assert lonlat(path).area == pytest.approx(64)


@pytest.mark.parametrize("key", ["curveRings", "curvePaths"])
def test_esri_curves_are_refused_by_name(tmp_path: Path, key: str) -> None:
    document = {
        "features": [{"geometry": {key: [[[0, 0], {"c": [[3, 3], [1, 4]]}]]}}],
        "spatialReference": {"wkid": 4326},
    }
    with pytest.raises(UsageError, match=f"feature 1: {key}"):
        area_of(written(tmp_path / "a.json", document))


@pytest.mark.parametrize(
    "text",
    [
        "POLYGON ((10 50, 11 50, 11 51, 10 51, 10 50))",
        "SRID=4326;POLYGON ((10 50, 11 50, 11 51, 10 51, 10 50))",
        "\ufeffPOLYGON Z ((10 50 1,\n11 50 1,\n11 51 1, 10 51 1, 10 50 1))\n",
        "POLYGON ((10 50, 10.5 50, 10.5 51, 10 51, 10 50))\nPOLYGON ((10.5 50, 11 50, 11 51, 10.5 51, 10.5 50))",
    ],
)
def test_wkt_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.wkt").write_text(text, encoding="utf-8")
    assert lonlat(tmp_path / "a.wkt").equals(HERE)


def test_ewkt_names_its_crs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"SRID=32632;{shapely.box(*UTM_HERE).wkt}")
    assert area_of(tmp_path / "a.txt", crs=Crs(wkid=32632)).geometry.equals(shapely.box(*UTM_HERE))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.geojson", "{", "not JSON"),
        ("a.geojson", "[1]", "not a JSON object"),
        ("a.geojson", "[" * 100_000, "not JSON"),
        ("a.geojson", '{"type": "Nonsense"}', "neither GeoJSON nor Esri JSON"),
        ("a.geojson", '{"type": "Topology", "objects": {}}', "TopoJSON"),
        ("a.geojson", '{"type": "Polygon", "coordinates": 7}', "coordinates"),
        ("a.geojson", '{"type": "Polygon", "coordinates": [[["a", "b"]]]}', "not a number"),
        ("a.geojson", '{"type": "Polygon", "coordinates": [[[1]]]}', "at least two numbers"),
        ("a.geojson", '{"type": "FeatureCollection", "features": []}', "no polygon"),
        ("a.geojson", '{"type": "FeatureCollection", "features": [3]}', "feature 1"),
        ("a.wkt", "POLYGON ((0 0, 1", "not WKT"),
        ("a.wkt", "CURVEPOLYGON (CIRCULARSTRING (0 0, 1 1, 2 0, 1 -1, 0 0))", "curves"),
        ("a.wkt", "SRID=999999;POINT (1 1)", "999999"),
        ("a.wkt", "POLYGON ((0 0, nan 1, 1 1, 0 0))", "not finite"),
        ("a.fgb", "fgb\x03fgb" + "\x01" * 200, "damaged"),
        ("a.kml", "<kml>", "a.kml"),
        ("a.shp", "nonsense", "a.shp"),
        ("a.zip", "nonsense", "not a zip"),
        ("a.dxf", "0\nSECTION", "not a known kind"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with warnings.catch_warnings(), pytest.raises(UsageError, match=said) as caught:
        warnings.simplefilter("error")
        area_of(tmp_path / name)
    assert name in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.gpkg.*no such file"):
        area_of(tmp_path / "none.gpkg")


def test_the_text_after_the_last_colon_is_a_layer_only_if_the_rest_is_a_file(tmp_path: Path) -> None:
    path = by_gdal(tmp_path / "a.gpkg", [HERE], layer="boundary")
    assert AoiFile.from_text(f"{path}:boundary").layer == "boundary"
    assert AoiFile.from_text(f"{path}:boundary").path == path
    assert AoiFile.from_text(f"{path}x:boundary").layer is None
    assert AoiFile.from_text(str(path)).layer is None
    drive = AoiFile.from_text("C:/maps/area.gpkg")
    assert (drive.path, drive.layer) == (Path("C:/maps/area.gpkg"), None)


def test_a_level_property_restricts_a_feature_to_that_lod(tmp_path: Path) -> None:
    path = by_gdal(tmp_path / "a.gpkg", [HERE, shapely.box(20, 50, 21, 51)], level=[7, 9])
    area = area_of(path, crs=WGS84)
    assert area.geometry is None and set(area.by_level) == {7, 9}
    assert area.by_level[7].equals(HERE)
    assert any("LOD 7, 9" in notice for notice in area.notices)


def test_features_without_a_level_hold_for_all(tmp_path: Path) -> None:
    features = [
        {"type": "Feature", "properties": {"level": value}, "geometry": polygon(box(west, 50, west + 1, 51))}
        for west, value in ((10, None), (20, 3), (30, "4"), (40, "ground"), (50, 5.0), (60, True))
    ]
    area = area_of(written(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": features}), crs=WGS84)
    assert set(area.by_level) == {3, 4, 5} and area.geometry.area == pytest.approx(3)
    assert any("'ground'" in notice for notice in area.notices)


def test_a_feature_without_geometry_is_left_out_with_a_notice(tmp_path: Path) -> None:
    path = by_gdal(tmp_path / "a.gpkg", [HERE, None])
    area = area_of(path, crs=WGS84)
    assert area.geometry.equals(HERE) and any("1 feature has no geometry" in notice for notice in area.notices)
    with pytest.raises(UsageError, match="no polygon"):
        area_of(written(tmp_path / "b.geojson", {"type": "Feature", "geometry": None}))


def test_not_a_number_is_refused_by_feature(tmp_path: Path) -> None:
    text = json.dumps(polygon(ring((10, 50), (11, 50), (11, 51)))).replace("51", "NaN")
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(UsageError, match=r"a\.geojson: a coordinate is not finite"):
        area_of(tmp_path / "a.geojson")
    bad = by_gdal(tmp_path / "a.gpkg", [HERE, shapely.Polygon([(0, 0), (1, float("inf")), (1, 1)])])
    with pytest.raises(UsageError, match=r"feature 2: a coordinate is not finite"):
        area_of(bad)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.geojson").open("wb") as stream:
        stream.truncate((512 << 20) + 1)
    with pytest.raises(UsageError, match="larger than 512 MiB"):
        area_of(tmp_path / "a.geojson")
