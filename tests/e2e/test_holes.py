"""Holes come out as polygons, and those polygons as an AOI plan exactly the tiles that were missing."""

from __future__ import annotations

import json
import sqlite3

import pytest

from harvester.testing import schemes
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite
from harvester.tiling.tile import Tile

from .test_run import coarse_levels

BROKEN = Rule(share=0.2, do="status", status=400)
"""The tile's own trouble: no word of the host, and not asked again."""


@pytest.mark.parametrize("name", ["WEB_MERCATOR", "UTM_PHILADELPHIA", "RIO", "NZTM", "GEOGRAPHIC", "WEB_MERCATOR_512"])
def test_holes_as_an_aoi_plan_exactly_the_tiles_that_failed(cli, serve, tmp_path, name):
    grid = getattr(schemes, name)
    service = serve(ArcGisSite(grid=grid), Script(rules=(BROKEN,), seed=3))
    levels = coarse_levels(grid, 500)
    run = ("run", service.url, "--lods", levels, "-o", "cache", "--retries", "0", "--json", "-q")
    report = cli(*run).json
    failed = {(tile["level"], tile["row"], tile["col"]) for tile in report["failures"]}
    assert 10 < len(failed) < report["planned"]
    assert report["failed"] == len(failed)
    assert cli("holes", "cache", "-o", "holes.geojson", "--json").json["failed"] == len(failed)
    collection = json.loads((tmp_path / "holes.geojson").read_text())
    assert {feature["properties"]["state"] for feature in collection["features"]} == {"failed"}
    assert all(feature["properties"]["reason"] == "http_400" for feature in collection["features"])
    planned = cli("plan", service.url, "--lods", levels, "--aoi", "holes.geojson", "--json", "-q").json
    assert planned["planned"] == len(failed)
    service.script = Script()
    service.log.clear()
    mended = cli("run", service.url, "--lods", levels, "--aoi", "holes.geojson", "-o", "cache", "--json", "-q")
    assert mended.code == 0, mended.err
    assert {tuple(tile) for tile in service.log.tiles()} == failed
    assert cli("verify", "cache").code == 0
    assert json.loads(cli("holes", "cache").out)["features"] == []


def test_holes_name_every_reason_with_its_number(cli, serve, tmp_path):
    wrong = (Rule(tiles=("2/0/0",), do="status", status=403), Rule(tiles=("2/0/1", "2/0/2"), do="status", status=500))
    service = serve(script=Script(rules=wrong))
    assert cli("run", service.url, "--lods", "2", "-o", "cache", "--retries", "0", "-q").code == 1
    features = json.loads(cli("holes", "cache").out)["features"]
    assert [feature["properties"]["reason"] for feature in features] == ["http_500 (2), forbidden (1)"]


def test_the_report_of_a_run_over_holes_has_the_lods_of_these_alone(cli, serve, tmp_path):
    service = serve(script=Script(rules=(Rule(tiles=("2/0/0",), do="status", status=403),)))
    assert cli("run", service.url, "--lods", "0-4", "-o", "cache", "-q").code == 1
    assert cli("holes", "cache", "-o", "holes.geojson").code == 0
    service.script = Script()
    report = cli("run", service.url, "--aoi", "holes.geojson", "-o", "cache", "-q", "--json").json
    assert [(lod["level"], lod["planned"]) for lod in report["lods"]] == [(2, 1)]
    assert (report["planned"], report["complete"]) == (1, True)


def test_verify_counts_a_damaged_tile_once_and_a_missing_one_as_missing(cli, serve, tmp_path):
    service = serve()
    for name in ("out.mbtiles", "out.tpkx"):
        assert cli("run", service.url, "--lods", "0-2", "-o", name, "-q").code == 0
    with sqlite3.connect(tmp_path / "out.mbtiles") as database:
        database.execute("UPDATE tiles SET tile_data = x'00' WHERE zoom_level = 2 AND tile_column = 1 AND tile_row = 1")
        database.execute("DELETE FROM tiles WHERE zoom_level = 2 AND tile_column = 3 AND tile_row = 3")
    database.close()
    package = tmp_path / "out.tpkx"
    body = service.site.body(Tile(2, 1, 1))
    spoiled = bytearray(package.read_bytes())
    spoiled[spoiled.index(body) + len(body) // 2] ^= 1
    package.write_bytes(spoiled)
    for deep in ((), ("--deep",)):
        found = cli("verify", "out.mbtiles", "--json", *deep)
        assert (found.code, found.json["missing"], found.json["damaged"]) == (4, 1, 1)
        found = cli("verify", "out.tpkx", "--json", *deep)
        assert (found.code, found.json["missing"], found.json["damaged"]) == (4, 0, 1)


def test_pending_tiles_of_a_stopped_run_are_holes_too(cli, serve, tmp_path):
    service = serve()
    assert cli("run", service.url, "--lods", "0-5", "-o", "out.tpkx", "--max-tiles", "300", "-q").code == 1
    assert not (tmp_path / "out.tpkx").exists()
    assert cli("verify", "out.tpkx", "--json").json["missing"] == 1065
    counted = cli("holes", "out.tpkx", "-o", "holes.geojson", "--json").json
    assert (counted["pending"], counted["failed"]) == (1065, 0)
    planned = cli("plan", service.url, "--lods", "0-5", "--aoi", "holes.geojson", "--json", "-q").json
    assert planned["planned"] == 1065


def test_a_plan_of_holes_shows_the_lods_that_have_any_and_names_the_others(cli, serve, tmp_path):
    service = serve(script=Script(rules=(Rule(levels="4", share=0.2, do="status", status=500),), seed=3))
    cli("run", service.url, "--lods", "0-5", "-o", "cache", "--retries", "0", "-q")
    cli("holes", "cache", "-o", "holes.geojson")
    typed = ("plan", service.url, "--aoi", "holes.geojson", "--lods", "0-5")
    shown = cli(*typed, "-q").out
    assert [line.split()[0] for line in shown.splitlines() if line[:4].strip().isdigit()] == ["4"]
    assert "without a tile: LOD 0, 1, 2, 3, 5\n" in shown
    assert [lod["level"] for lod in cli(*typed, "--json", "-q").json["lods"]] == [0, 1, 2, 3, 4, 5]
