"""conf.xml, conf.cdi and root.json: what is written is read again, in either spelling; real files; damage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.caches import conf, root_json
from harvester.caches.description import COMPACT_V1, COMPACT_V2, EXPLODED, Description, format_word, tile_format_of
from harvester.crs import Crs
from harvester.edges import TileFormat
from harvester.errors import CacheError
from harvester.tiling.scheme import Box, Lod, TilingScheme
from tests.caches.making import mercator, rio, utm

EXTENT = Box(-13885038.382960921, 2870337.1307936818, -7455049.489182421, 6338174.0557576185)


def degrees() -> TilingScheme:
    return TilingScheme(
        crs=Crs(wkid=4326, latest_wkid=4326),
        origin_x=-180,
        origin_y=90,
        tile_width=512,
        tile_height=512,
        lods=(Lod(level=0, resolution=0.3515625, scale=147748799.285417),),
    )


def about(scheme: TilingScheme, **facts: object) -> Description:
    given: dict[str, object] = {"format_name": "PNG8", "extent": EXTENT, "name": "Städte & <Straßen>", **facts}
    return Description(scheme=scheme, **given)  # type: ignore[arg-type]


SCHEMES = [mercator(), mercator(size=512), utm(), rio(), degrees()]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_conf_xml_is_read_as_it_was_written(scheme: TilingScheme) -> None:
    found = conf.parse_conf(conf.render_conf(about(scheme)), "conf.xml")
    assert found.scheme.mismatch(scheme) is None
    assert replace(found.scheme, crs=scheme.crs) == scheme
    assert (found.format_name, found.storage_format, found.packet_size) == ("PNG8", COMPACT_V2, 128)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_conf_cdi_is_read_as_it_was_written(scheme: TilingScheme) -> None:
    assert conf.parse_cdi(conf.render_cdi(about(scheme)), "conf.cdi") == EXTENT


@pytest.mark.parametrize("scheme", SCHEMES)
def test_root_json_is_read_as_it_was_written(scheme: TilingScheme) -> None:
    written = about(scheme, attribution="© x", description="text", compression_quality=75.0)
    data = root_json.render_root(written, bundles=root_json.FOLDER_BUNDLES, levels=[0])
    found, folders = root_json.parse_root(data, "root.json")
    assert folders == ("_alllayers",)
    assert replace(found, scheme=replace(found.scheme, crs=scheme.crs)) == written
    assert found.scheme.crs.same_as(scheme.crs)


def test_coordinates_have_seventeen_significant_digits() -> None:
    text = conf.render_conf(about(mercator())).decode()
    assert "<X>-20037508.342787001</X><Y>20037508.342787001</Y>" in text
    assert "<Resolution>156543.03392800014</Resolution>" in text
    assert "e+" not in text


def test_lods_stand_from_the_coarsest_to_the_finest_and_the_packet_size_is_128() -> None:
    root = fromstring(conf.render_conf(about(utm())))
    assert [lod.findtext("LevelID") for lod in root.iter("LODInfo")] == ["0", "1", "2", "3", "4"]
    assert root.findtext("CacheStorageInfo/PacketSize") == "128"
    assert root.findtext("CacheStorageInfo/StorageFormat") == "esriMapCacheStorageModeCompactV2"
    assert root.findtext("TileCacheInfo/SpatialReference/LatestWKID") == "26918"
    assert root.findtext("TileImageInfo/CacheTileFormat") == "PNG8"
    assert root.tag == "CacheInfo"


def test_the_spatial_reference_says_whether_it_is_geographic() -> None:
    kind = "{http://www.w3.org/2001/XMLSchema-instance}type"
    for scheme, expected in ((degrees(), "GeographicCoordinateSystem"), (utm(), "ProjectedCoordinateSystem")):
        found = fromstring(conf.render_conf(about(scheme))).find("TileCacheInfo/SpatialReference")
        assert found is not None
        assert found.get(kind) == f"typens:{expected}"
        assert ("LeftLongitude" in [child.tag for child in found]) is scheme.crs.is_geographic
        wkt = found.findtext("WKT") or ""
        assert wkt.startswith(("PROJCS[", "GEOGCS["))
        assert wkt.endswith(f'AUTHORITY["EPSG",{scheme.crs.wkid}]]')


def test_tile_bundles_path_stands_before_any_long_text() -> None:
    written = about(mercator(), name="n" * 9000, description="d" * 9000, attribution="a" * 9000)
    data = root_json.render_root(written, bundles="./tile", levels=[3, 4])
    assert data.index(b'"tileBundlesPath":"./tile"') < 200
    assert (json.loads(data)["minLOD"], json.loads(data)["maxLOD"]) == (3, 4)


@pytest.mark.parametrize(
    "word, meant",
    [
        ("PNG", TileFormat.PNG),
        ("PNG8", TileFormat.PNG),
        ("PNG32", TileFormat.PNG),
        ("jpg", TileFormat.JPEG),
        ("JPEG", TileFormat.JPEG),
        ("MIXED", TileFormat.MIXED),
        ("Mixed", TileFormat.MIXED),
        ("LERC2D", TileFormat.LERC),
        ("WEBP", TileFormat.WEBP),
        ("", TileFormat.UNKNOWN),
        ("TIFF", TileFormat.UNKNOWN),
    ],
)
def test_esri_words_for_formats_are_understood(word: str, meant: TileFormat) -> None:
    assert tile_format_of(word) is meant


def test_the_source_own_word_is_kept_where_it_fits() -> None:
    assert format_word(TileFormat.PNG, "png8") == "PNG8"
    assert format_word(TileFormat.PNG, "JPEG") == "PNG"
    assert format_word(TileFormat.JPEG, "jpg") == "JPEG"
    assert format_word(TileFormat.MIXED, "PNG8") == "MIXED"
    assert format_word(TileFormat.PNG, "PNG<x>") == "PNG"


def test_elements_are_found_wherever_they_stand() -> None:
    """Pro writes PreciseDPI behind LODInfos, and some tools put every element in a namespace."""
    text = conf.render_conf(about(replace(utm(), dpi=120.5))).decode()
    text = text.replace("<PreciseDPI>120.5</PreciseDPI>", "").replace(
        "</LODInfos>", "</LODInfos><PreciseDPI>120.5</PreciseDPI>"
    )
    text = text.replace("xmlns:typens", "xmlns='urn:x' xmlns:typens")
    assert conf.parse_conf(text.encode(), "x").scheme.dpi == 120.5


def test_a_conf_of_9x_without_storage_info_is_exploded() -> None:
    text = conf.render_conf(about(utm())).decode()
    start, end = text.index("<CacheStorageInfo"), text.index("</CacheInfo>")
    found = conf.parse_conf((text[:start] + text[end:]).encode(), "x")
    assert (found.storage_format, found.packet_size) == (EXPLODED, 0)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("<X>-5120900</X>", "<X>far</X>", "X is 'far', not a number"),
        ("<X>-5120900</X>", "<X>nan</X>", "X is 'nan'"),
        ("<TileCols>256</TileCols>", "<TileCols>0</TileCols>", "0 x 256 pixels"),
        ("<TileCols>256</TileCols>", "<TileCols>9e9</TileCols>", "pixels"),
        ("<TileCols>256</TileCols>", "<TileCols>25.5</TileCols>", "not a whole number"),
        ("<LevelID>1</LevelID>", "<LevelID>0</LevelID>", "two LODs of the same level"),
        ("<LevelID>1</LevelID>", "<LevelID>-1</LevelID>", "out of range"),
        ("<LevelID>1</LevelID>", "", "LevelID is ''"),
        ("TileOrigin", "Origin", "no TileOrigin"),
        ("<CacheInfo", "<!DOCTYPE x [<!ENTITY a 'b'>]><CacheInfo", "not plain XML"),
        ("</CacheInfo>", "", "not plain XML"),
        ("CacheInfo", "CaseInfo", "root element"),
        ("<LODInfo ", "<Info ", "not plain XML"),
    ],
)
def test_what_is_wrong_in_conf_xml_is_named_with_its_file(old: str, new: str, words: str) -> None:
    text = conf.render_conf(about(utm())).decode()
    assert old in text
    with pytest.raises(CacheError) as caught:
        conf.parse_conf(text.replace(old, new).encode(), "there/conf.xml")
    assert "there/conf.xml" in caught.value.message
    assert words in caught.value.message
    assert caught.value.hint


def test_a_conf_xml_without_a_usable_crs_is_refused() -> None:
    text = conf.render_conf(about(utm())).decode()
    for tag in ("WKT", "WKID", "LatestWKID"):
        start, end = text.index(f"<{tag}>"), text.index(f"</{tag}>")
        text = text[:start] + text[end + len(tag) + 3 :]
    with pytest.raises(CacheError, match="SpatialReference"):
        conf.parse_conf(text.encode(), "x")


def test_an_extent_inside_out_is_refused_in_conf_cdi_and_ignored_in_root_json() -> None:
    wrong = about(mercator(), extent=Box(1, 0, 0, 1))
    with pytest.raises(CacheError, match="inside out"):
        conf.parse_cdi(conf.render_cdi(wrong), "x")
    assert root_json.parse_root(root_json.render_root(wrong, bundles="./tile", levels=[0]), "x")[0].extent is None


@pytest.mark.parametrize("path", ["../x", "/x", "\\\\host\\x", "a/../../x", "C:\\x", "a/c:x", "a\0b"])
def test_a_bundles_path_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(CacheError, match="leads out"):
        root_json.bundle_folders(path, "x")


def test_a_bundles_path_may_have_dots_and_backslashes() -> None:
    assert root_json.bundle_folders(".\\tile\\", "x") == ("tile",)
    assert root_json.bundle_folders("./", "x") == ()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 3000), st.sampled_from(["conf", "root"]))
def test_no_bytes_make_anything_but_a_cache_error(noise: bytes, at: int, which: str) -> None:
    good = (
        conf.render_conf(about(utm()))
        if which == "conf"
        else root_json.render_root(about(utm()), bundles="./tile", levels=[0])
    )
    data = good[:at] + noise + good[at + len(noise) :]
    try:
        conf.parse_conf(data, "x") if which == "conf" else root_json.parse_root(data, "x")
    except CacheError as error:
        assert error.message.startswith(("cannot read x", "x:"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["level", "x", "lods"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["tileInfo", "lods", "origin", "spatialReference", "storageInfo", "fullExtent", "name"]),
    json_values,
)
def test_no_value_in_root_json_makes_anything_but_a_cache_error(key: str, value: object) -> None:
    document = json.loads(root_json.render_root(about(utm()), bundles="./tile", levels=[0]))
    (document["tileInfo"] if key in document["tileInfo"] else document)[key] = value
    try:
        root_json.parse_root(json.dumps(document).encode(), "x")
    except CacheError as error:
        assert error.message


# ---------------------------------------------------------------------------------------------- real files


@pytest.mark.shared_data
def test_every_real_conf_xml_is_read(shared_data: Path) -> None:
    seen = {}
    files = [
        *shared_data.glob("gwc_conf/*.xml"),
        *shared_data.glob("gwc_v*/Conf.xml"),
        shared_data / "esri_cc2/sample_cache/conf.xml",
    ]
    for file in files:
        found = conf.parse_conf(file.read_bytes(), str(file))
        seen[file.name if "gwc_conf" in str(file) else file.parent.name] = found
        again = conf.parse_conf(conf.render_conf(replace(found, storage_format=COMPACT_V2)), "again")
        assert again.scheme.mismatch(found.scheme) is None
        assert again.scheme.lods == found.scheme.lods
    assert len(seen) >= 7
    for number in (4326, 2263, 2193, 3857):
        assert any(found.scheme.crs.same_as(Crs(wkid=number)) for found in seen.values()), number
    assert seen["gwc_v2"].storage_format == COMPACT_V2
    assert seen["gwc_v1"].storage_format == COMPACT_V1


@pytest.mark.shared_data
def test_the_real_conf_cdi_is_the_box_of_its_tiles(shared_data: Path) -> None:
    box = conf.parse_cdi((shared_data / "gwc_v2/conf.cdi").read_bytes(), "conf.cdi")
    assert box == EXTENT
    scheme = conf.parse_conf((shared_data / "gwc_v2/Conf.xml").read_bytes(), "Conf.xml").scheme
    assert scheme.tile_at(5, box.xmin, box.ymax)[1:] == (10, 4)
    assert scheme.tile_at(5, box.xmax, box.ymin)[1:] == (13, 10)


@pytest.mark.shared_data
def test_our_root_json_has_the_keys_of_the_real_one(shared_data: Path) -> None:
    data = (shared_data / "esri_tpkx/extracted/root.json").read_bytes()
    found, folders = root_json.parse_root(data, "root.json")
    assert folders == ("tile",)
    ours = json.loads(root_json.render_root(found, bundles="./tile", levels=range(6)))
    theirs = json.loads(data)
    assert theirs.keys() - ours.keys() == set()
    assert theirs["tileInfo"].keys() - ours["tileInfo"].keys() == set()
    assert theirs["spatialReference"].keys() == ours["spatialReference"].keys()
    for key in (
        "tileImageInfo",
        "name",
        "version",
        "tileBundlesPath",
        "units",
        "minLOD",
        "maxLOD",
        "storageInfo",
        "resampling",
    ):
        assert ours[key] == theirs[key], key
    assert ours["tileInfo"]["lods"][:6] == theirs["tileInfo"]["lods"][:6]
    assert {k: v for k, v in ours["fullExtent"].items() if k != "spatialReference"} == {
        k: v for k, v in theirs["fullExtent"].items() if k != "spatialReference"
    }
