"""What people and services get wrong: the documented exit code, one or two lines that say what, where and what to do,
nothing left on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harvester.testing.script import Rule
from harvester.testing.service import ArcGisSite
from tests.e2e.claims import HASTY, SMALL, TILES, files, script

RUN = ("-o", "out.mbtiles", *HASTY)


def refused(result: Any, folder: Path, code: int, *words: str, left: frozenset[str] = frozenset()) -> bool:
    """Whether a command ended as an error should: code, document, at most two lines, nothing new on disk."""
    assert result.code == code, (result.code, result.err)
    error = result.json["error"]
    assert error["message"] and set(error) == {"code", "message", "hint"}
    lines = result.err.strip().splitlines()
    assert len(lines) <= 2 and lines[0].startswith("error: "), result.err
    assert all(len(line) < 1000 for line in lines)
    assert files(folder) == left
    for word in words:
        assert word in result.err, result.err
    return True


# ------------------------------------------------------------------------------------------------ service documents


def tile_info(**changes: Any) -> dict[str, Any]:
    document = ArcGisSite().describe()["tileInfo"]
    return {"tileInfo": {key: value for key, value in (document | changes).items() if value is not None}}


def lod(**changes: Any) -> dict[str, Any]:
    return tile_info(lods=[{"level": 0, "resolution": 156543.03, "scale": 591657527.59} | changes])


HOSTILE: dict[str, dict[str, Any]] = {
    "a resolution of 0": lod(resolution=0),
    "a negative resolution": lod(resolution=-5),
    "a resolution of 1e-300": lod(resolution=1e-300),
    "a resolution of 1e300": lod(resolution=1e300),
    "a resolution that is text": lod(resolution="12"),
    "a level of 1e300": lod(level=1e300),
    "a negative level": lod(level=-1),
    "a level of a half": lod(level=0.5),
    "a level that is true": lod(level=True),
    "a scale of 0": lod(scale=0),
    "no LODs": tile_info(lods=[]),
    "LODs that are a text": tile_info(lods="many"),
    "a hundred thousand LODs": tile_info(
        lods=[{"level": n, "resolution": 1 + n, "scale": 1 + n} for n in range(100_000)]
    ),
    "a level twice": tile_info(lods=[{"level": 0, "resolution": r, "scale": r} for r in (1.0, 2.0)]),
    "a resolution twice": tile_info(lods=[{"level": n, "resolution": 1.0, "scale": 1.0} for n in (0, 1)]),
    "a negative tile size": tile_info(rows=-256),
    "a tile size of 0": tile_info(cols=0),
    "a tile size of a million": tile_info(cols=1_000_000),
    "a tile size of 256.5": tile_info(rows=256.5),
    "no origin": tile_info(origin=None),
    "an origin of 1e308": tile_info(origin={"x": 1e308, "y": 0}),
    "an origin that is a list": tile_info(origin=[0, 0]),
    "a tileInfo that is a list": {"tileInfo": [1]},
    "a CRS of no meaning": tile_info(spatialReference={"wkid": 999999999}),
    "a WKT bomb": tile_info(spatialReference={"wkt": "PROJCS[" * 3000}),
    "more columns than any grid": lod(resolution=1e-9),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_service_document_is_refused_by_the_name_of_its_field(serve, cli, tmp_path, name):
    """Row 41."""
    service = serve(ArcGisSite(document=HOSTILE[name]))
    assert refused(cli("run", service.url, *RUN), tmp_path, 3, "tileInfo")
    assert service.log.count("tile") == 0


RAW: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello",
    "a page": b"<html><body>Sign in</body></html>",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "cut": b'{"currentVersion": 11.1, "tileInfo": {"rows"',
    "NaN": b'{"currentVersion": 11.1, "tileInfo": {"rows": NaN}}',
    "Infinity": b'{"currentVersion": 11.1, "tileInfo": {"rows": 256, "cols": 256, "origin": {"x": -Infinity}}}',
    "6000 deep": b'{"a":' * 6000 + b"1" + b"}" * 6000,
    "200 deep": b'{"a":' * 200 + b"1" + b"}" * 200,
    "a deep list": b"[" * 100_000,
    "a number of 5000 digits": b'{"tileInfo": {"rows": ' + b"9" * 5000 + b"}}",
    "binary": bytes(range(256)),
    "an error without a code": b'{"error": "no"}',
    "an error": b'{"error": {"code": 500, "message": "x"}}',
    "not tiled": b'{"currentVersion": 11.1, "mapName": "Layers"}',
    "another ArcGIS thing": b'{"currentVersion": 11.1, "services": [], "folders": []}',
}


@pytest.mark.parametrize("name", RAW)
def test_a_document_that_is_none_is_exit_3_in_two_lines(serve, cli, tmp_path, name):
    """Row 41."""
    service = serve(ArcGisSite(raw_document=RAW[name]))
    assert refused(cli("run", service.url, *RUN), tmp_path, 3)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(do="endless", kind="document"),
        Rule(do="gzip_bomb", kind="document"),
        Rule(do="answer", kind="document", headers={"X-Filler": "x" * 100_000}),
    ],
    ids=["endless", "gzip bomb", "header of 100 KB"],
)
def test_a_document_without_end_is_exit_3(serve, cli, tmp_path, rule):
    service = serve(script=script(rule))
    assert refused(cli("run", service.url, "-o", "out.mbtiles", "--json", "-q", "--timeout", "20"), tmp_path, 3)


@pytest.mark.parametrize(
    "extent", [None, {}, {"xmin": 1}, {"xmin": "a"}, {"xmin": 5, "ymin": 0, "xmax": 1, "ymax": 1}, 7]
)
def test_an_unusable_extent_bounds_nothing_and_is_told(serve, cli, extent):
    service = serve(ArcGisSite(document={"fullExtent": extent}))
    result = cli("run", service.url, *SMALL, *RUN)
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert any("xtent" in text for text in result.json["notices"])


@pytest.mark.parametrize("name", ["../../../etc", "CON", "a:b", "x" * 500, "Straße"])
def test_the_name_of_a_service_reaches_no_path(serve, cli, tmp_path, name):
    """Row 42."""
    service = serve(ArcGisSite(document={"mapName": name, "name": name, "serviceDescription": name * 3}))
    result = cli("run", service.url, "--lods", "0-1", "-o", "out.tpkx", *HASTY)
    assert (result.code, files(tmp_path)) == (0, {"out.tpkx", "out.tpkx.ledger"})


NOT_TILED = {
    "a feature service": ("/FeatureServer", 3),
    "a template": ("https://h.invalid/{z}/{x}/{y}.png", 2),
    "a file that is not there": ("nowhere.json", 3),
    "a job file that is not there": ("nowhere.toml", 2),
    "another protocol": ("ftp://h.invalid/A/MapServer", 2),
    "a file of this machine": ("file:///etc/passwd", 2),
    "a page of no item": ("https://h.invalid/home/item.html", 2),
    "an item of another protocol": ("ftp://h.invalid/home/item.html?id=0123456789abcdef0123456789abcdef", 2),
    "nothing": ("", 2),
    "a word": ("nowhere", 2),
    "a port that is none": ("http://127.0.0.1:99999/A/MapServer", 2),
}


@pytest.mark.parametrize("name", NOT_TILED)
def test_an_address_that_is_no_tiled_service_says_what_it_looks_like(serve, cli, tmp_path, name):
    source, code = NOT_TILED[name]
    if source.startswith("/"):
        source = serve().origin + "/arcgis/rest/services/A" + source
    assert refused(cli("run", source, *RUN), tmp_path, code)


def _lay_out(folder: Path) -> None:
    """What lies about where somebody works."""
    for name in ("empty", "jobs", "maps", "caches", "gis.example.org", "photos"):
        (folder / name).mkdir()
    for name in (
        "gis.example.org/a.txt",
        "photos/me.jpg",
        "maps/streets.json",
        "caches/a.mbtiles",
        "a.ledger",
        "a.shp",
    ):
        (folder / name).write_text("{}")
    for name in ("jobs/streets.toml", "streets.txt"):
        (folder / name).write_text('source = "https://h.invalid/A/MapServer"\noutput = "a.mbtiles"\n')
    (folder / "Map.aprx").write_bytes(b"PK\x03\x04")
    (folder / "notes.txt").write_text("hello")


INSTEAD: dict[str, tuple[str, str, str]] = {
    "an empty folder": ("empty", "empty is an empty folder", "…/MapServer"),
    "a folder by its path": ("./photos", "photos is a folder", "…/MapServer"),
    "a folder of job files": ("jobs", "jobs is a folder", "jobs/streets.toml"),
    "a folder of web maps": ("maps", "maps is a folder", "maps/streets.json"),
    "a folder of caches": ("caches", "caches is a folder", "harvester info caches/a.mbtiles"),
    "a folder named as a host": ("gis.example.org", "is a folder", "https://gis.example.org"),
    "a cache": ("made.mbtiles", "made.mbtiles is a cache (mbtiles)", "harvester convert made.mbtiles OUT"),
    "a cache's folder": ("made", "made is a cache (compactv2)", "harvester info made"),
    "a document of a cache": ("made/conf.xml", "is a cache (compactv2)", "harvester info"),
    "a ledger": ("a.ledger", "a.ledger is the ledger", "harvester report a"),
    "areas": ("a.shp", "holds areas", "--aoi a.shp"),
    "a job file of another name": ("streets.txt", "looks like a job file", "streets.toml"),
    "a project": ("Map.aprx", "project of a desktop program", "web map"),
    "a text": ("notes.txt", "is not valid JSON", "web map"),
}


@pytest.mark.parametrize("verb", ["plan", "scales"])
def test_a_path_where_a_source_is_expected_says_what_it_is_and_what_was_meant(serve, cli, tmp_path, verb):
    _lay_out(tmp_path)
    service = serve()
    for out in ("made.mbtiles", "made"):
        assert cli("run", service.url, "--lods", "0", "-o", out, *HASTY).code == 0
    for typed, message, hint in INSTEAD.values():
        result = cli(verb, typed, "--json")
        told = result.json["error"]
        assert result.code == 3, typed
        assert message in told["message"], typed
        assert hint.replace("…", "https://HOST/arcgis/rest/services/NAME") in told["hint"], typed
    before = files(tmp_path)
    assert cli("run", "photos", "-o", "out.mbtiles", "--json").code == 3
    assert files(tmp_path) == before


NO_CACHE: dict[str, tuple[str, str, str]] = {
    "an empty folder": ("empty", "empty is empty", "path"),
    "a folder": ("photos", "photos is no cache", "Formats that can be read"),
    "a folder of caches": ("many", "many is no cache", "many/made.mbtiles"),
    "an address": ("https://h.invalid/A/MapServer?token=abcdefgh", "https://h.invalid/A/MapServer", "harvester scales"),
    "a job file": ("jobs/streets.toml", "is no cache", "job file"),
    "a ledger": ("a.ledger", "is no cache", "a"),
    "nothing": ("nowhere", "nowhere is not there", "path"),
}


@pytest.mark.parametrize(
    "verb", [("info",), ("verify",), ("report",), ("holes", "-o", "h.geojson"), ("convert", "x.tpkx")]
)
def test_what_is_no_cache_says_what_it_is(serve, cli, tmp_path, verb):
    _lay_out(tmp_path)
    (tmp_path / "many").mkdir()
    assert cli("run", serve().url, "--lods", "0", "-o", "many/made.mbtiles", *HASTY).code == 0
    before = files(tmp_path)
    for typed, message, hint in NO_CACHE.values():
        result = cli(verb[0], typed, *verb[1:])
        assert (result.code, result.out) == (4, ""), typed
        told, remedy = result.err.strip().splitlines()
        assert message in told and "abcdefgh" not in told, typed
        assert hint in remedy, typed
    assert files(tmp_path) == before


# ------------------------------------------------------------------------------------------------ the command line

WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "scales the wrong way round": (("--min-scale", "1000", "--max-scale", "5000"), "--min-scale 5000"),
    "zooms the wrong way round": (("--min-zoom", "5", "--max-zoom", "3"), "--min-zoom 3"),
    "a LOD that is not there": (("--lods", "99"), "23"),
    "a scale that is not there": (("--scales", "123456"), "591657527"),
    "LODs in two ways": (("--lods", "0-3", "--min-zoom", "2"), "lods"),
    "LODs that are none": (("--lods", "a-b"), "a-b"),
    "a bbox of three": (("--bbox", "1,2,3"), "bbox"),
    "a bbox beyond the pole": (("--bbox", "0,80,10,95"), "95"),
    "a bbox upside down": (("--bbox", "0,50,10,40"), "40"),
    "a bbox of NaN": (("--bbox", "0,nan,10,40"), "nan"),
    "bbox and AOI": (("--bbox", "0,0,1,1", "--aoi", "a.geojson"), "--aoi"),
    "a buffer of nothing": (("--buffer", "10"), "AOI"),
    "an AOI that is not there": (("--aoi", "nowhere.geojson"), "nowhere.geojson"),
    "a concurrency of 0": (("--concurrency", "0"), "concurrency"),
    "a rate of 0": (("--rate", "0"), "rate"),
    "retries below 0": (("--retries", "-1"), "retries"),
    "a shard beyond the last": (("--shard", "4/3"), "4/3"),
    "a format that is none": (("--format", "gif"), "gif"),
    "a duration that is none": (("--max-duration", "soon"), "soon"),
    "a size that is none": (("--max-bytes", "much"), "much"),
    "a header without a colon": (("--header", "X-Key"), "header"),
    "an unknown option": (("--ratee", "5"), "--rate"),
    "a mode that is none": (("--mode", "replace"), "merge"),
    "a username alone": (("--username", "me"), "password"),
    "a suffix that is no format": (("--output", "out.zip"), "out.zip"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_option_is_exit_2_and_says_what_is_right(serve, cli, tmp_path, name):
    options, word = WRONG[name]
    service = serve()
    assert refused(cli("run", service.url, *RUN, *options), tmp_path, 2, word)
    assert service.log.count("tile") == 0


def test_a_range_that_reaches_beyond_the_lods_is_cut_with_a_notice_and_one_outside_is_exit_2(serve, cli, tmp_path):
    service = serve(ArcGisSite(min_lod=1, max_lod=3))
    result = cli("run", service.url, "--lods", "0-99", *RUN)
    assert (result.code, result.json["planned"]) == (0, 84)
    assert result.json["notices"]
    assert cli("run", service.url, "--lods", "30-40", "-o", "other.mbtiles", *HASTY).code == 2


def test_a_selection_beside_a_job_file_is_exit_2(serve, cli, tmp_path):
    service = serve()
    (tmp_path / "job.toml").write_text(f'source = "{service.url}"\noutput = "out.mbtiles"\n[[policy]]\nlods = "0-1"\n')
    for options in (("--aoi", "x.geojson"), ("--lods", "0"), ("--bbox", "0,0,1,1"), ("--scales", "5")):
        assert refused(
            cli("run", "job.toml", *options, "--json"), tmp_path, 2, options[0], left=frozenset({"job.toml"})
        )
    assert cli("run", "job.toml", "--retries", "2", "--max-tiles", "3", "--json").json["fetched"] == 3


JOBS = {
    "no TOML": ('source = "x', "job.toml"),
    "an empty file": ("", "source"),
    "an unknown key": ('source = "x"\nconcurency = 3', "concurrency"),
    "a key of another table": ('source = "x"\nrate = 3', "[limits]"),
    "a synonym": ('source = "x"\n[[policy]]\nlevels = "0-3"', "lods"),
    "an unknown table": ('source = "x"\n[limit]\nrate = 3', "limits"),
    "a wrong type": ('source = "x"\ndedup = "yes"', "dedup"),
    "a token": ('source = "x"\n[auth]\ntoken = "abc"', "token_env"),
    "a token in the address": ('source = "https://h.invalid/A/MapServer?token=abc"', "token"),
    "a policy that is a text": ('source = "x"\npolicy = "all"', "[[policy]]"),
    "scales the wrong way round": ('source = "x"\n[[policy]]\nmin_scale = 5\nmax_scale = 50', "min_scale 50"),
    "a bad second policy": ('source = "x"\n[[policy]]\nlods = 1\n[[policy]]\nlods = "x"', "policy 2"),
    "binary": ("\x00\x01\x02", "job.toml"),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_broken_job_file_is_exit_2_and_names_file_and_key(cli, tmp_path, name):
    text, word = JOBS[name]
    (tmp_path / "job.toml").write_text(text)
    assert refused(
        cli("run", "job.toml", "-o", "out.mbtiles", "--json"), tmp_path, 2, "job.toml", word, left={"job.toml"}
    )


def test_more_than_ten_million_tiles_need_a_word_but_plan_always_answers(serve, cli, tmp_path):
    service = serve()
    command = ("run", service.url, "--lods", "0-13", *RUN)
    result = cli(*command)
    assert refused(result, tmp_path, 2, "harvester run", "--max-tiles 89478485")
    assert result.json["error"]["code"] == "plan_too_large"
    assert cli("plan", service.url, "--lods", "0-13", "--json").json["planned"] == 89478485
    assert cli("run", service.url, "--lods", "0-13", "--dry-run", "--json").json["planned"] == 89478485
    assert service.log.count("tile") == 0
    lifted = cli(*command, "--max-tiles", "50")
    assert (lifted.code, lifted.json["fetched"], lifted.json["error"]["code"]) == (1, 50, "budget")
    assert lifted.json["pending"] == 89478485 - 50


# ------------------------------------------------------------------------------------------------ areas of interest


def feature(geometry: Any) -> str:
    return json.dumps(
        {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": geometry}]}
    )


def polygon(*points: tuple[float, float], **more: Any) -> str:
    return json.dumps({"type": "Polygon", "coordinates": [[*points, points[0]]], **more})


BAD_AREAS: dict[str, tuple[str, str]] = {
    "empty": ("a.geojson", ""),
    "no JSON": ("a.geojson", "hello"),
    "no features": ("a.geojson", '{"type":"FeatureCollection","features":[]}'),
    "no geometry": ("a.geojson", feature(None)),
    "an empty polygon": ("a.geojson", feature({"type": "Polygon", "coordinates": []})),
    "NaN": ("a.geojson", '{"type":"Polygon","coordinates":[[[0,0],[NaN,0],[1,1],[0,0]]]}'),
    "an infinite corner": ("a.geojson", '{"type":"Polygon","coordinates":[[[0,0],[1e999,0],[1,1],[0,0]]]}'),
    "two points": ("a.geojson", '{"type":"Polygon","coordinates":[[[0,0],[1,1],[0,0]]]}'),
    "no area": ("a.geojson", polygon((0, 0), (1, 1), (2, 2))),
    "a line without a buffer": ("a.geojson", '{"type":"LineString","coordinates":[[0,0],[1,1]]}'),
    "a polygon and a line without a buffer": (
        "a.geojson",
        feature(
            {
                "type": "GeometryCollection",
                "geometries": [
                    {"type": "Polygon", "coordinates": [[[-80, -40], [80, -40], [80, 40], [-80, 40], [-80, -40]]]},
                    {"type": "LineString", "coordinates": [[-170, 80], [170, 80]]},
                ],
            }
        ),
    ),
    "coordinates that are text": ("a.geojson", '{"type":"Polygon","coordinates":[[["a","b"],[1,0],[1,1]]]}'),
    "projected numbers without a CRS": ("a.geojson", polygon((500000, 5e6), (600000, 5e6), (600000, 6e6))),
    "latitude above 90": ("a.geojson", polygon((0, 80), (10, 80), (10, 120))),
    "a hundred brackets": ("a.geojson", '{"type":"Polygon","coordinates":' + "[" * 6000 + "]" * 6000 + "}"),
    "WKT of nonsense": ("a.wkt", "POLYGON ((0 0, 1"),
    "an unknown suffix": ("a.xyz", "hello"),
    "a shapefile without its parts": ("a.shp", "hello"),
    "KML with entities": (
        "a.kml",
        '<?xml version="1.0"?><!DOCTYPE k [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><kml>&b;</kml>',
    ),
    "KML that reads a file": (
        "a.kml",
        '<?xml version="1.0"?><!DOCTYPE k [<!ENTITY a SYSTEM "file:///etc/passwd">]><kml><Placemark>&a;</Placemark></kml>',
    ),
    "no database": ("a.gpkg", "SQLite format 3\x00 and nothing more"),
}


@pytest.mark.parametrize("name", BAD_AREAS)
def test_a_bad_area_is_exit_2_and_names_the_file(serve, cli, tmp_path, name):
    """Rows 44 and 45."""
    file, text = BAD_AREAS[name]
    (tmp_path / file).write_text(text)
    service = serve()
    result = cli("run", service.url, *SMALL, "--aoi", file, *RUN)
    assert refused(result, tmp_path, 2, file, left={file})
    assert service.log.count("tile") == 0


def test_an_area_off_the_service_is_exit_2_and_one_that_looks_swapped_says_so(serve, cli, tmp_path):
    extent = {"xmin": -8.40e6, "ymin": 4.82e6, "xmax": -8.30e6, "ymax": 4.92e6, "spatialReference": {"wkid": 3857}}
    service = serve(ArcGisSite(document={"fullExtent": extent}))
    (tmp_path / "off.geojson").write_text(polygon((10, 50), (11, 50), (11, 51)))
    (tmp_path / "swapped.geojson").write_text(polygon((39.95, -75.2), (39.97, -75.2), (39.97, -75.1)))
    left = frozenset({"off.geojson", "swapped.geojson"})
    command = ("run", service.url, "-o", "out", *HASTY)
    assert refused(cli(*command, "--aoi", "off.geojson"), tmp_path, 2, left=left)
    assert refused(cli(*command, "--aoi", "swapped.geojson"), tmp_path, 2, "swapped", left=left)


MENDED: dict[str, tuple[str, int]] = {
    "a bow tie": (polygon((-80, -40), (80, 40), (80, -40), (-80, 40)), 4),
    "a ring that is not closed": (
        json.dumps({"type": "Polygon", "coordinates": [[[-80, -40], [80, -40], [80, 40], [-80, 40]]]}),
        4,
    ),
    "the wrong winding": (polygon((-80, 40), (80, 40), (80, -40), (-80, -40)), 4),
    "across the antimeridian": (polygon((170, 10), (-170, 10), (-170, 20), (170, 20)), 2),
    "the whole world": (polygon((-180, -90), (180, -90), (180, 90), (-180, 90)), 4),
}


@pytest.mark.parametrize("name", MENDED)
def test_an_area_that_can_be_mended_is_and_none_of_it_is_lost(serve, cli, tmp_path, name):
    """Row 45: level 1 has four tiles, one for each quarter of the world."""
    text, tiles = MENDED[name]
    (tmp_path / "a.geojson").write_text(text)
    result = cli("run", serve().url, "--lods", "1", "--aoi", "a.geojson", *RUN)
    assert (result.code, result.json["stored"]) == (0, tiles), result.err


# ------------------------------------------------------------------------------------------------ caches of strangers

XML_BOMB = (
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "' + "x" * 1000 + '">'
    + "".join(f'<!ENTITY a{n} "{"&a;" * 50 if n == 0 else f"&a{n - 1};" * 50}">' for n in range(6))
    + "]><CacheInfo>&a5;</CacheInfo>"
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        XML_BOMB,
        '<?xml version="1.0"?><!DOCTYPE c [<!ENTITY a SYSTEM "file:///etc/passwd">]><CacheInfo>&a;</CacheInfo>',
        "<CacheInfo>" + "<a>" * 100_000,
        "",
        "<html/>",
    ],
    ids=["bomb", "reads a file", "deep", "empty", "another document"],
)
@pytest.mark.parametrize("verb", ["info", "verify"])
def test_a_hostile_conf_xml_is_exit_4(cli, tmp_path, text, verb):
    """Row 44."""
    (tmp_path / "cache" / "_alllayers" / "L00").mkdir(parents=True)
    (tmp_path / "cache" / "conf.xml").write_text(text)
    result = cli(verb, "cache", "--json")
    if verb == "info":
        assert refused(result, tmp_path, 4, left={"cache"})
    else:  # its own document, also at 4
        assert (result.code, result.json["sound"]) == (4, False)


@pytest.mark.parametrize(
    "entry", ["../evil.txt", "/evil.txt", "tile/../../evil.txt", "C:\\evil.txt", "a\\..\\..\\evil"]
)
def test_a_package_with_entries_that_lead_out_of_it_is_exit_4_and_writes_nothing(serve, cli, tmp_path, entry):
    """Row 42: zip-slip."""
    import zipfile

    service = serve()
    folder = tmp_path / "in"
    folder.mkdir()
    assert cli("run", service.url, *SMALL, "-o", folder / "out.tpkx", "-q").code == 0
    with zipfile.ZipFile(folder / "out.tpkx", "a") as package:
        info = zipfile.ZipInfo("x")
        info.filename = entry
        package.writestr(info, b"evil")
    (folder / "out.tpkx.ledger").unlink()
    before = (folder / "out.tpkx").read_bytes()
    result = cli("run", service.url, "--lods", "0-4", "-o", folder / "out.tpkx", *HASTY)
    assert result.code == 4
    assert files(folder) == {"out.tpkx"} and files(tmp_path) == {"in"}
    assert (folder / "out.tpkx").read_bytes() == before
    assert not Path("/evil.txt").exists()


# ------------------------------------------------------------------------------------------------ the shell


def test_a_reader_that_goes_away_ends_no_command_with_a_traceback(serve, tmp_path):
    """Row 34: ``harvester scales … | head -1``."""
    service = serve()
    process = subprocess.Popen(
        [sys.executable, "-m", "harvester", "scales", service.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=30)
    process.stderr.close()
    assert b"Traceback" not in err and b"BrokenPipe" not in err
