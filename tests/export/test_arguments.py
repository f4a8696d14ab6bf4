"""arcpy's arguments are read as people write them, and refused by name with what to write instead."""

from __future__ import annotations

import inspect
import json

import pytest
import shapely

import harvester
from harvester.errors import UsageError
from harvester.export.arguments import (
    extent_geometry,
    feature_class,
    read_area,
    read_extent,
    read_instances,
    read_scales,
    read_service,
    read_word,
)
from harvester.export.server_cache import CACHE_TYPES, COPYING, OVERWRITING, STORAGE_FORMATS, ServerExport

URL = "https://gis.example.org/arcgis/rest/services/Streets/MapServer"

BOX = {"xmin": 0, "ymin": 0, "xmax": 10, "ymax": 10, "spatialReference": {"wkid": 4326}}

FEATURE_SET = {
    "geometryType": "esriGeometryPolygon",
    "spatialReference": {"wkid": 4326},
    "features": [{"geometry": {"rings": [[[0, 0], [0, 10], [10, 10], [10, 0], [0, 0]]]}}],
}


class Arcpy:
    """What arcpy's FeatureSet, Polygon and Extent have in common."""

    def __init__(self, document: object) -> None:
        self.JSON = json.dumps(document)


def test_the_parameters_have_arcpys_names_order_and_defaults():
    parameters = inspect.signature(harvester.export_map_server_cache).parameters.values()
    places = [one for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert [(one.name, one.default) for one in places] == [
        ("input_service", inspect.Parameter.empty),
        ("target_cache_path", inspect.Parameter.empty),
        ("export_cache_type", "CACHE_DATASET"),
        ("copy_data_from_server", "DO_NOT_COPY"),
        ("storage_format_type", "COMPACT"),
        ("scales", None),
        ("num_of_caching_service_instances", -1),
        ("area_of_interest", None),
        ("export_extent", None),
        ("overwrite", "MERGE"),
        # Only the newest versions have this one; "Copy Python command" of ArcGIS Pro may give it by its place.
        ("ready_to_serve_format", "NON_READY_TO_SERVE_FORMAT"),
    ]
    read = inspect.signature(ServerExport.read).parameters.values()
    assert [one.name for one in read if one.kind is not one.KEYWORD_ONLY] == [one.name for one in places]


@pytest.mark.parametrize("value", ["NON_READY_TO_SERVE_FORMAT", "non_ready_to_serve_format", False, "false", None, "#"])
def test_the_newest_parameter_may_be_given_as_its_default(value):
    assert ServerExport.read(URL, "out", ready_to_serve_format=value) == ServerExport.read(URL, "out")


@pytest.mark.parametrize("value", ["READY_TO_SERVE_FORMAT", True])
def test_the_open_package_format_is_that_of_a_tpkx_and_as_a_folder_refused_with_the_way_to_it(value):
    package = ServerExport.read(URL, "out", "TILE_PACKAGE", None, "COMPACT_V2", ready_to_serve_format=value)
    assert package.format == "tpkx" and "READY_TO_SERVE_FORMAT" in package.notices[-1]
    for cache_type, storage in (("CACHE_DATASET", "COMPACT_V2"), ("CACHE_DATASET", "EXPLODED"), ("TILE_PACKAGE", None)):
        with pytest.raises(UsageError, match=r"^ready_to_serve_format: ") as caught:
            ServerExport.read(URL, "out", cache_type, None, storage, ready_to_serve_format=value)
        assert "TILE_PACKAGE" in caught.value.hint and "COMPACT_V2" in caught.value.hint


def test_a_word_that_is_none_of_the_newest_parameters_is_refused():
    with pytest.raises(UsageError, match="ready_to_serve_format: 'JSON' is none of"):
        ServerExport.read(URL, "out", ready_to_serve_format="JSON")


@pytest.mark.parametrize("default", [None, "", "#", " # "])
def test_none_a_hash_and_the_empty_text_mean_the_default(default):
    export = ServerExport.read(URL, "out", *[default] * 8)
    assert (export.format, export.mode, export.extent, export.concurrency) == ("compact", "merge", None, None)
    assert export.policy == harvester.Policy()
    assert export.notices == ()


@pytest.mark.parametrize(
    ("cache_type", "storage", "format", "place"),
    [
        ("TILE_PACKAGE", "COMPACT", "tpk", "out/Streets.tpk"),
        ("tile_package", "Compact_V2", "tpkx", "out/Streets.tpkx"),
        ("CACHE_DATASET", "compact", "compact", "out/Streets/Layers"),
        ("CACHE_DATASET", "COMPACT_V2", "compactv2", "out/Streets/Layers"),
        ("Cache_Dataset", "EXPLODED", "exploded", "out/Streets/Layers"),
    ],
)
def test_cache_type_and_storage_format_choose_format_and_place(cache_type, storage, format, place):
    export = ServerExport.read(URL, "out", cache_type, "COPY_DATA", storage)
    assert export.format == format
    assert export.output("Streets").as_posix() == place


def test_an_exploded_package_is_refused_with_what_there_is():
    with pytest.raises(UsageError, match="storage_format_type: EXPLODED") as caught:
        ServerExport.read(URL, "out", "TILE_PACKAGE", "COPY_DATA", "EXPLODED")
    assert ".tpkx" in caught.value.hint


def test_a_name_that_no_file_system_takes_stays_inside_the_target():
    assert ServerExport.read(URL, "out").output("../../CON/x").parent.parent.name == "out"
    assert ServerExport.read(URL, "out", "TILE_PACKAGE").output("../../CON/x").parent.name == "out"


@pytest.mark.parametrize(
    ("value", "word"), [(True, "OVERWRITE"), (False, "MERGE"), ("true", "OVERWRITE"), ("merge", "MERGE")]
)
def test_switches_take_booleans_as_arcpy_does(value, word):
    assert read_word("overwrite", value, OVERWRITING, "MERGE", switch="OVERWRITE") == word


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("export_cache_type", CACHE_TYPES),
        ("copy_data_from_server", COPYING),
        ("storage_format_type", STORAGE_FORMATS),
        ("overwrite", OVERWRITING),
    ],
)
def test_an_unknown_word_is_refused_by_parameter_with_the_words_there_are(name, words):
    with pytest.raises(UsageError) as caught:
        ServerExport.read(URL, "out", **{name: "PILE"})
    assert caught.value.message.startswith(f"{name}: 'PILE'")
    assert all(word in caught.value.message for word in words)


def test_do_not_copy_is_accepted_with_a_notice_when_it_is_written():
    assert "DO_NOT_COPY" in ServerExport.read(URL, "out", None, "DO_NOT_COPY").notices[0]
    assert ServerExport.read(URL, "out", None, "COPY_DATA").notices == ()


@pytest.mark.parametrize(
    "value",
    ["4000;2000;1000", "4000, 2000, 1000", [4000, 2000.0, "1000"], ("4000", 2000, 1000), ["1:4000", 2000, 1000]],
)
def test_scales_are_a_text_or_a_list(value):
    assert read_scales(value) == (4000.0, 2000.0, 1000.0)


def test_one_number_is_a_scale_and_an_empty_list_none():
    assert read_scales(4000) == (4000.0,)
    assert read_scales([]) is None


@pytest.mark.parametrize("value", ["4000;x", [None], [-1], True, {"a": 1}, [float("nan")]])
def test_scales_that_are_none_are_refused_by_name(value):
    with pytest.raises(UsageError, match=r"^scales: "):
        read_scales(value)


def test_instances_bound_the_requests_in_flight():
    assert [read_instances(value) for value in (None, "#", -1, "-1", 1, "4")] == [None, None, None, None, 1, 4]
    assert ServerExport.read(URL, "out", num_of_caching_service_instances=999999).concurrency == 1024
    for value in (0, -2, "many", True, 1.5):
        with pytest.raises(UsageError, match=r"^num_of_caching_service_instances: "):
            read_instances(value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GIS Servers/arcgis on MYSERVER (admin)/USA.MapServer", "/services/USA/MapServer"),
        ("GIS Servers\\arcgis on MYSERVER (admin)\\City\\USA.MapServer", "/services/City/USA/MapServer"),
        ("GIS Servers/myserver/City/USA.MapServer", "/services/City/USA/MapServer"),
        ("C:\\connections\\gis.ags\\Ortho.ImageServer", "/services/Ortho/ImageServer"),
        ("C:/connections/gis.ags", "/services/NAME/MapServer"),
        ("C:\\project\\Temp_Pub_Connection\\Streets.MapServer", "/services/NAME/MapServer"),
    ],
)
def test_connections_of_arcgis_are_refused_with_the_address_to_give(text, shown):
    with pytest.raises(UsageError, match=r"^input_service: ") as caught:
        read_service(text)
    assert f"https://HOST/arcgis/rest{shown} " in caught.value.hint


def test_addresses_are_taken_as_typed_and_files_are_not():
    assert read_service(f" {URL} ") == URL
    assert read_service("gis.example.org/arcgis/rest/services/A/MapServer").endswith("A/MapServer")
    for text in (None, "", "#", "webmap.json", "job.toml"):
        with pytest.raises(UsageError, match=r"^input_service: "):
            read_service(text)


@pytest.mark.parametrize(
    "value",
    [
        "-10 -20.5 1e1 40",
        "-10,-20.5,10,40",
        " -10, -20.5, 10, 40 ",
        "-10;-20.5;10;40",
        "-10 -20.5 10 40 NaN NaN NaN NaN",
        (-10, -20.5, 10, 40),
        ["-10", "-20.5", "10", "40"],
        {"xmin": -10, "ymin": -20.5, "xmax": 10, "ymax": 40},
        ' {"xmin": -10, "ymin": -20.5, "xmax": 10, "ymax": 40}',
    ],
)
def test_an_extent_is_four_numbers_however_they_are_written(value):
    found = read_extent(value)
    assert found is not None
    assert found == ((-10.0, -20.5, 10.0, 40.0), None)


def test_an_extent_may_bring_its_own_crs():
    found = read_extent('0 0 1 1 GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984"]]')
    assert found is not None
    assert found.reference == 'GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984"]]'
    found = read_extent(Arcpy({**BOX, "spatialReference": {"wkid": 2056}}))
    assert found is not None
    assert found.reference == {"wkid": 2056}


@pytest.mark.parametrize("value", ["MAXOF", "minof", "DEFAULT", "#", None])
def test_words_for_the_whole_extent_give_none(value):
    assert read_extent(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "DISPLAY",
        "{no json",
        "1 2 3",
        "a b c d",
        "10 0 0 10",
        "0 10 10 0",
        [1, 2, 3],
        [1, 2, 3, float("inf")],
        7,
        {"xmin": 1},
        "0 0 0 1",
    ],
)
def test_what_is_no_extent_is_refused_by_name(value):
    with pytest.raises(UsageError, match=r"^export_extent: "):
        read_extent(value)


def test_a_wide_box_in_degrees_never_looks_like_one_across_the_antimeridian():
    whole = extent_geometry((-170, -10, 170, 10), {"wkid": 4326}, degrees=True)
    parts = [shapely.box(*one["geometry"].values()) for one in whole["features"]]
    assert shapely.union_all(parts).bounds == (-170, -10, 170, 10)
    assert all(part.bounds[2] - part.bounds[0] <= 90 for part in parts)
    assert len(extent_geometry((-170, -10, 170, 10), {"wkid": 3857}, degrees=False)["features"]) == 1


def test_an_area_is_a_file_a_feature_set_or_a_geometry(tmp_path):
    assert read_area(None, (1.0,)) == harvester.Policy(scales=(1.0,))
    assert read_area("area.shp", None).aoi[0].path.name == "area.shp"
    assert read_area(tmp_path / "area.geojson", None).aoi[0].path == tmp_path / "area.geojson"
    assert read_area(json.dumps(FEATURE_SET), None).geometry == FEATURE_SET
    assert read_area(FEATURE_SET, None).geometry == FEATURE_SET
    assert read_area(Arcpy(FEATURE_SET), None).geometry == FEATURE_SET
    shape = shapely.box(0, 0, 1, 1)
    assert read_area(shape, None).geometry is shape
    with pytest.raises(UsageError, match=r"^area_of_interest: "):
        read_area("{no json", None)


@pytest.mark.parametrize(
    "text",
    ["in_memory/feature_set1", "memory\\area", "C:/data/gis.sde/db.owner.parcels", "d.geodatabase/main.x", "Parcels"],
)
def test_what_is_only_there_inside_arcgis_is_refused_with_what_to_give(text):
    with pytest.raises(UsageError, match=r"^area_of_interest: .* inside ArcGIS alone") as caught:
        read_area(text, None)
    assert "arcpy.FeatureSet" in caught.value.hint and "shapefile" in caught.value.hint


def test_an_extent_as_area_is_told_from_a_file():
    with pytest.raises(UsageError, match=r"^area_of_interest: .* is an extent") as caught:
        read_area("10 50 12 52 NaN NaN NaN NaN", None)
    assert "export_extent" in caught.value.hint


@pytest.mark.parametrize(
    ("inside", "layer"),
    [
        ("parcels", "parcels"),
        ("cadastre/parcels", "parcels"),
        ("main.parcels", "parcels"),
        ("cadastre\\parcels", "parcels"),
    ],
)
def test_a_feature_class_is_named_as_arcgis_names_it(tmp_path, inside, layer):
    (tmp_path / "city.gdb").mkdir()
    found = feature_class(f"{tmp_path}/city.gdb/{inside}")
    assert (found.path, found.layer) == (tmp_path / "city.gdb", layer)


def test_an_area_of_interest_takes_the_extents_place_with_a_notice():
    export = ServerExport.read(URL, "out", area_of_interest=FEATURE_SET, export_extent="0 0 1 1")
    assert export.extent is None
    assert "export_extent is ignored" in export.notices[0]


def test_a_target_that_is_a_file_or_nothing_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file", None, "", "#"):
        with pytest.raises(UsageError, match=r"^target_cache_path: "):
            ServerExport.read(URL, target)
