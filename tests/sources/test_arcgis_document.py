"""Service documents: what is read, what is refused by the name of its field, and each captured one with its outcome."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.edges import TileFormat
from harvester.errors import SourceError
from harvester.sources.arcgis_document import NotTiledError
from harvester.tiling.scheme import Box
from harvester.transport.documents import Document, read_json
from tests.sources.documents import REMOVED, TILED, URL, changed, parse


def test_a_tiled_service_is_read_as_stated() -> None:
    document = parse(TILED)
    info = document.info
    assert (info.kind, info.name, info.source, info.identity) == ("arcgis-map", "Streets", URL, URL)
    assert (info.tile_format, info.format_name) == (TileFormat.PNG, "PNG8")
    assert info.scheme.crs.is_web_mercator and info.extent == Box(-1000.0, -2000.0, 3000.0, 4000.0)
    assert (info.scheme.origin_x, info.scheme.origin_y) == (-20037508.342787, 20037508.342787)
    assert [lod.level for lod in info.scheme.lods] == [0, 1, 2, 3, 4]
    assert info.attribution == "City of Example" and info.tilemap
    assert (document.version, document.tile_servers, info.notices) == (10.81, (), ())


def test_lods_are_put_in_order_from_the_coarsest() -> None:
    lods = list(reversed(TILED["tileInfo"]["lods"]))
    assert parse(changed("tileInfo.lods", lods)).info.scheme == parse(TILED).info.scheme


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("tileInfo.rows", 0, "tileInfo.rows is 0.0, not in 16 to 8192"),
        ("tileInfo.rows", 1_000_000, "tileInfo.rows"),
        ("tileInfo.cols", 255.5, "tileInfo.cols is 255.5, not a whole number"),
        ("tileInfo.cols", "256", "tileInfo.cols is '256', not a finite number"),
        ("tileInfo.cols", True, "tileInfo.cols is True"),
        ("tileInfo.dpi", -96, "tileInfo.dpi"),
        ("tileInfo.origin", REMOVED, "tileInfo.origin is missing"),
        ("tileInfo.origin.x", "NaN", "tileInfo.origin.x is 'NaN'"),
        ("tileInfo.origin.y", math.inf, "tileInfo.origin.y is inf"),
        ("tileInfo.origin.y", 10**400, "tileInfo.origin.y"),
        ("tileInfo.origin.y", 1e300, "tileInfo.origin.y"),
        ("tileInfo.lods", [], "tileInfo.lods has 0 entries, not 1 to 64"),
        ("tileInfo.lods", [{"level": 0}] * 65, "tileInfo.lods has 65 entries"),
        ("tileInfo.lods", {"0": 1}, "tileInfo.lods is an object, not a list"),
        ("tileInfo.lods.2", 7, "tileInfo.lods[2] is 7, not an object"),
        ("tileInfo.lods.2.level", 1, "tileInfo.lods names a level twice"),
        ("tileInfo.lods.2.level", -1, "tileInfo.lods[2].level"),
        ("tileInfo.lods.2.level", 2.5, "tileInfo.lods[2].level"),
        ("tileInfo.lods.2.resolution", 0, "tileInfo.lods[2].resolution"),
        ("tileInfo.lods.2.resolution", -1.0, "tileInfo.lods[2].resolution"),
        ("tileInfo.lods.2.resolution", 1e-300, "tileInfo.lods[2].resolution"),
        ("tileInfo.lods.2.resolution", 1e-9, "more columns than any grid"),
        ("tileInfo.lods.2.resolution", 156543.03392800014, "two levels of the same resolution"),
        ("tileInfo.lods.2.resolution", None, "tileInfo.lods[2].resolution is missing"),
        ("tileInfo.lods.2.scale", math.nan, "tileInfo.lods[2].scale"),
        ("tileInfo.spatialReference", {"wkid": -5}, "tileInfo.spatialReference"),
        ("tileInfo.spatialReference", {"wkid": 999999}, "tileInfo.spatialReference"),
    ],
)
def test_a_field_that_is_wrong_is_refused_by_name(path: str, value: Any, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(changed(path, value))
    assert words in caught.value.message
    assert caught.value.message.startswith(URL) and caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "the document is a list, not an object"),
        ("x", "not an object"),
        (changed("tileInfo", None), "no tileInfo"),
        (changed("singleFusedMapCache", False), "singleFusedMapCache = false"),
        (changed("singleFusedMapCache", "false"), "singleFusedMapCache = false"),
    ],
)
def test_a_document_of_something_else_says_what_is_missing(document: Any, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(document)
    assert words in caught.value.message and caught.value.hint


def test_a_vector_tile_service_has_vector_tiles_whatever_word_it_has_for_them() -> None:
    for word in ("pbf", "indexedVector", "PNG32"):
        document = {**TILED, "tileInfo": {**TILED["tileInfo"], "format": word}}
        info = parse(document, URL.replace("MapServer", "VectorTileServer")).info
        assert (info.kind, info.tile_format) == ("arcgis-vector", TileFormat.PBF)


def test_a_folder_of_services_lists_what_could_be_meant() -> None:
    folder = {
        "currentVersion": 11,
        "folders": [],
        "services": [{"name": "City/Roads", "type": "MapServer"}, {"name": 3}],
    }
    with pytest.raises(NotTiledError) as caught:
        parse(folder, "https://gis.example.org/arcgis/rest/services")
    assert "City/Roads/MapServer" in caught.value.hint


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("PNG", TileFormat.PNG),
        ("png24", TileFormat.PNG),
        ("PNG32", TileFormat.PNG),
        ("JPEG", TileFormat.JPEG),
        ("jpg", TileFormat.JPEG),
        ("Mixed", TileFormat.MIXED),
        ("LERC", TileFormat.LERC),
        ("LERC2D", TileFormat.LERC),
        ("pbf", TileFormat.PBF),
        ("indexedVector", TileFormat.PBF),
        ("WEBP", TileFormat.WEBP),
    ],
)
def test_format_words_in_any_case(word: str, expected: TileFormat) -> None:
    info = parse(changed("tileInfo.format", word)).info
    assert (info.tile_format, info.format_name, info.notices) == (expected, word, ())


@pytest.mark.parametrize("word", ["RAW", "", None, 8])
def test_an_unknown_format_is_noted_and_every_kind_is_taken(word: Any) -> None:
    info = parse(changed("tileInfo.format", word)).info
    assert info.tile_format is TileFormat.UNKNOWN and "tile format" in info.notices[0]
    assert ("'RAW'" in info.notices[0]) is (word == "RAW") and "nothing" not in info.notices[0]


def test_the_scheme_falls_back_to_the_crs_of_the_document() -> None:
    document = changed("tileInfo.spatialReference", REMOVED)
    document["spatialReference"] = document["fullExtent"]["spatialReference"] = {"wkid": 4326}
    assert parse(document).info.scheme.crs.wkid == 4326


def test_an_extent_in_another_crs_is_projected_into_that_of_the_tiles() -> None:
    degrees = {"xmin": -90.0, "ymin": 0.0, "xmax": 90.0, "ymax": 66.51326044311186, "spatialReference": {"wkid": 4326}}
    extent = parse(changed("fullExtent", degrees)).info.extent
    assert extent is not None
    assert extent == pytest.approx((-10018754.171, 0.0, 10018754.171, 10018754.171), abs=1.0)


@pytest.mark.parametrize(
    "extent",
    [
        None,
        {"xmin": "NaN", "ymin": "NaN", "xmax": "NaN", "ymax": "NaN"},
        {"xmin": 5, "ymin": 0, "xmax": -5, "ymax": 1},
        {"xmin": 0, "ymin": 0, "xmax": 0, "ymax": 0},
        {"xmin": 0, "ymin": 0, "xmax": 1e300, "ymax": 1},
        {"xmin": 0, "ymin": 0, "xmax": 1},
        [0, 0, 1, 1],
    ],
)
def test_an_extent_that_is_not_usable_bounds_nothing_and_is_noted(extent: Any) -> None:
    info = parse(changed("fullExtent", extent)).info
    assert info.extent is None and "xtent" in info.notices[0]


@pytest.mark.parametrize(
    ("west", "east", "is_told"),
    [
        (19e6, 21e6, True),
        (-21e6, -19e6, True),
        (-19e6, 22e6, True),
        (-3e7, 3e7, False),
        (-20037508.3428, 22041257.8, False),
        (-20037508.4, 20037508.4, False),
        (19e6, 20037508.4, False),
    ],
)
def test_an_extent_that_passes_the_antimeridian_is_told_where_the_grid_ends_there(
    west: float, east: float, is_told: bool
) -> None:
    extent = {"xmin": west, "ymin": -1e6, "xmax": east, "ymax": 1e6}
    notices = parse(changed("fullExtent", extent)).info.notices
    assert [("antimeridian" in text, "--no-extent" in text) for text in notices] == [(True, True)] * is_told


def test_an_image_service_may_state_only_extent() -> None:
    document = changed("fullExtent", REMOVED)
    document["extent"] = TILED["fullExtent"]
    assert parse(document, URL.replace("MapServer", "ImageServer")).info.extent == Box(-1000.0, -2000.0, 3000.0, 4000.0)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1, 3, (1, 3)), (2, None, (None, None)), (None, 2, (None, None)), (7, 9, (None, None))],
)
def test_min_and_max_lod_count_only_together_and_with_lods_between(low: Any, high: Any, expected: Any) -> None:
    info = parse({**TILED, "minLOD": low, "maxLOD": high}).info
    assert (info.min_lod, info.max_lod) == expected
    assert bool(info.notices) == (low == 7)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [("Image,Tilemap", True), ("map, TileMap", True), ("Map,TilesOnly", False), (None, False)],
)
def test_the_tilemap_is_a_capability(capabilities: Any, expected: bool) -> None:
    assert parse({**TILED, "capabilities": capabilities}).info.tilemap is expected


def test_export_that_is_not_allowed_is_noted_only_where_it_is_said() -> None:
    assert parse({**TILED, "exportTilesAllowed": True, "maxExportTilesCount": 100000}).info.max_export_tiles == 100000
    assert "exportTilesAllowed" in parse({**TILED, "exportTilesAllowed": False}).info.notices[0]


def test_service_scales_are_visibility_and_not_kept() -> None:
    info = parse({**TILED, "minScale": 5000, "maxScale": 1000}).info
    assert (info.min_scale, info.max_scale) == (None, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
PATHS = [
    *TILED,
    *(f"tileInfo.{name}" for name in TILED["tileInfo"]),
    "tileInfo.lods.1.level",
    "tileInfo.lods.1.resolution",
    "tileInfo.lods.1.scale",
    "fullExtent.xmax",
    "tileInfo.spatialReference.wkid",
    "fullExtent.spatialReference",
    "minLOD",
    "tileServers",
    "exportTilesAllowed",
]


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(PATHS), value=json_values)
def test_whatever_stands_in_a_field_gives_a_sane_service_or_a_source_error(path: str, value: Any) -> None:
    try:
        info = parse(changed(path, value)).info
    except SourceError as error:
        assert error.message.startswith(URL)
        return
    scheme = info.scheme
    assert 1 <= len(scheme.lods) <= 64 and len(scheme.by_level) == len(scheme.lods)
    assert all(math.isfinite(lod.resolution) and lod.resolution > 0 for lod in scheme.lods)
    assert 16 <= scheme.tile_width <= 8192 and 16 <= scheme.tile_height <= 8192
    assert math.isfinite(scheme.origin_x) and math.isfinite(scheme.origin_y)
    assert info.extent is None or all(math.isfinite(side) for side in info.extent)


# ---- captured documents


def captured(shared_data: Path, name: str) -> Any:
    path = shared_data / "arcgis_json" / name
    return read_json(Document(str(path), {}, path.read_bytes()))


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "server", "crs", "levels", "first", "lod_range", "format_name", "tilemap"),
    [
        ("agol_hosted_minlod15_webmercator.json", "MapServer", 3857, 24, 156543.033928, (15, 19), "PNG8", True),
        ("imageserver_tiled.json", "ImageServer", 3857, 20, 156543.033928, (None, None), "MIXED", False),
        ("itwin_bedrock_32086.json", "MapServer", 32086, 8, 78131.92854824483, (None, None), "Mixed", False),
        ("itwin_philadelphia_26918_tilesonly.json", "MapServer", 26918, 5, 66.1459656252646, (0, 4), "PNG", True),
        ("rio_wkid29193_nonhalving_lods.json", "MapServer", 29193, 11, 152.702921854802, (None, None), "PNG32", False),
    ],
)
def test_captured_tiled_services(
    shared_data: Path,
    name: str,
    server: str,
    crs: int,
    levels: int,
    first: float,
    lod_range: tuple[int | None, int | None],
    format_name: str,
    tilemap: bool,
) -> None:
    info = parse(captured(shared_data, name), f"https://gis.example.org/arcgis/rest/services/X/{server}").info
    assert (info.scheme.crs.latest_wkid or info.scheme.crs.wkid) == crs
    assert len(info.scheme.lods) == levels
    assert info.scheme.lods[0].resolution == first
    assert (info.min_lod, info.max_lod) == lod_range
    assert (info.format_name, info.tilemap) == (format_name, tilemap)
    assert info.extent is not None and info.kind == ("arcgis-image" if server == "ImageServer" else "arcgis-map")


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dynamic_no_cache.json", "no tileInfo"),
        ("sampleserver6_census.json", "no tileInfo"),
        ("server111_tileinfo_but_not_fused.json", "singleFusedMapCache = false"),
    ],
)
def test_captured_services_without_tiles(shared_data: Path, name: str, words: str) -> None:
    with pytest.raises(NotTiledError) as caught:
        parse(captured(shared_data, name))
    assert words in caught.value.message


@pytest.mark.shared_data
def test_captured_directory_and_item_are_no_services(shared_data: Path) -> None:
    root = "https://sampleserver6.arcgisonline.com/arcgis/rest/services"
    with pytest.raises(NotTiledError) as caught:
        parse(captured(shared_data, "sampleserver6_services_root.json"), root)
    assert "911CallsHotspotMS/MapServer" in caught.value.hint
    with pytest.raises(SourceError, match="no ArcGIS service"):
        parse(captured(shared_data, "portal_item_data.json"), root)


def test_rio_like_lods_that_do_not_halve_are_kept_exactly() -> None:
    resolutions = [152.702921854802, 76.3514609274011, 38.1757304637004, 16.9333672000677, 0.132291931250529]
    lods = [{"level": 3 + i, "resolution": r, "scale": r * 3779.5} for i, r in enumerate(resolutions)]
    document = changed("tileInfo.lods", lods)
    document["tileInfo"]["origin"] = {"x": 620000, "y": 7500000}
    document["tileInfo"]["spatialReference"] = {"wkid": 29193}
    document["fullExtent"] = {"xmin": 625241.9, "ymin": 7447280.5, "xmax": 695432.2, "ymax": 7484454.9}
    document["fullExtent"]["spatialReference"] = {"wkid": 29193}
    scheme = parse(json.loads(json.dumps(document))).info.scheme
    assert [lod.resolution for lod in scheme.lods] == resolutions and scheme.lods[0].level == 3
    assert scheme.origin_x == 620000.0
