"""Vector tiles from a service into every format that holds them, with what they need to be drawn, and back again."""

from __future__ import annotations

import gzip
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pyogrio
import pytest
from pmtiles.reader import MmapSource, Reader

from harvester.assemble.run import harvest_job
from harvester.job import Job, Policy
from harvester.loop import run_loop
from harvester.testing import schemes
from harvester.testing.crash import CrashingDisk, CrashPoint
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite
from harvester.testing.tickets import TicketOffice
from harvester.testing.vector import tile_mvt
from harvester.testing.vector_service import FONT, resources
from harvester.tiling.tile import Tile
from tests.e2e.claims import HASTY, held, poisoned

LAYERS = ["blocks", "places", "roads"]
LODS = ("--lods", "0-3")
TILES = 85


def site(**more: Any) -> ArcGisSite:
    return ArcGisSite(kind="vector", grid=schemes.WEB_MERCATOR_512, name="Roads", **more)


def entries(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def vector_layers(path: Path) -> Any:
    """What MBTiles, PMTiles, TileJSON and packages list, each read as its specification says."""
    if path.suffix == ".mbtiles":
        with sqlite3.connect(path) as connection:
            (text,) = connection.execute("SELECT value FROM metadata WHERE name = 'json'").fetchone()
        connection.close()
        return json.loads(text)["vector_layers"]
    if path.suffix == ".pmtiles":
        with path.open("rb") as file:
            return Reader(MmapSource(file)).metadata()["vector_layers"]
    if path.suffix == ".vtpk":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("p12/metadata.json"))["vector_layers"]
    return json.loads((path / "tiles.json").read_text())["vector_layers"]


def test_a_vector_tile_service_becomes_a_package_with_all_that_it_is_drawn_with(serve, cli, tmp_path):
    service = serve(site())
    scales = cli("scales", service.url, "--json").json
    assert (scales["kind"], scales["tile"]["format"]) == ("arcgis-vector", "pbf")
    before = len(service.log)
    result = cli("run", service.url, *LODS, "-o", "roads.vtpk", *HASTY)
    assert (result.code, result.json["complete"], result.json["stored"]) == (0, True, TILES)
    path = tmp_path / "roads.vtpk"
    assert {name.removeprefix("p12/resources/") for name in entries(path) if "/resources/" in name} == {
        *resources(),
        "info/root.json",
    }
    assert [each["id"] for each in vector_layers(path)] == LAYERS
    assert len(held(path)) == TILES and poisoned(path, service.site) == set()
    # Every request counts: the document, the tiles, the style, the list, sprites and glyphs; each was asked once.
    assert result.json["requests"] == len(service.log) - before and result.json["tile_requests"] == TILES
    assert {path.name for path in tmp_path.iterdir()} == {"roads.vtpk", "roads.vtpk.ledger"}
    made = path.read_bytes()
    again = cli("run", service.url, *LODS, "-o", "roads.vtpk", *HASTY)
    assert (again.code, again.json["tile_requests"], again.json["requests"]) == (0, 0, 1)
    assert path.read_bytes() == made
    assert cli("verify", "roads.vtpk", "--deep").code == 0
    told = cli("info", "roads.vtpk").out
    assert "layers: blocks (2-3), places (0-3), roads (0-3)" in told
    assert [each["id"] for each in cli("info", "roads.vtpk", "--json").json["vector_layers"]] == LAYERS


def test_more_lods_are_added_to_a_package_and_its_resources_stay(serve, cli, tmp_path):
    service = serve(site())
    assert cli("run", service.url, "--lods", "0-1", "-o", "roads.vtpk", *HASTY).code == 0
    asked = len(service.log)
    result = cli("run", service.url, "--lods", "2", "-o", "roads.vtpk", *HASTY)
    assert (result.code, result.json["fetched"]) == (0, 16)
    assert len(service.log) == asked + 1 + 16  # the document and the tiles: no resource again
    path = tmp_path / "roads.vtpk"
    assert set(resources()) <= {name.removeprefix("p12/resources/") for name in entries(path)}
    assert len(held(path)) == 21 and [each["id"] for each in vector_layers(path)] == LAYERS
    other = tmp_path / "other.vtpk"
    assert cli("run", service.url, "--lods", "0-2", "-o", other, *HASTY).code == 0
    with zipfile.ZipFile(path) as one, zipfile.ZipFile(other) as two:
        same = [name for name in one.namelist() if "tile/" in name or "resources" in name]
        assert {name: one.read(name) for name in same} == {name: two.read(name) for name in same}


def test_fonts_that_are_not_to_be_had_are_a_notice_and_no_failure(serve, cli, tmp_path):
    without = {name: data for name, data in resources().items() if not name.startswith("fonts/")}
    service = serve(site(resources=without))
    result = cli("run", service.url, *LODS, "-o", "roads.vtpk", *HASTY)
    assert (result.code, result.json["complete"]) == (0, True)
    assert any(FONT in notice for notice in result.json["notices"])
    assert not any("/fonts/" in name for name in entries(tmp_path / "roads.vtpk"))


def test_resources_are_asked_at_the_rate_too(serve, cli, tmp_path):
    service = serve(site())
    result = cli("run", service.url, "--lods", "0-1", "-o", "roads.vtpk", "--rate", "8", *HASTY)
    assert result.code == 0
    starts = sorted(asked.at for asked in service.log if asked.kind in ("tile", "resource"))
    assert len(starts) == 5 + len(resources()) + 1
    assert all(starts[index + 8] - starts[index] >= 1.0 for index in range(len(starts) - 8))


def test_a_resource_that_fails_once_is_asked_again(serve, cli, tmp_path):
    rule = Rule(do="status", kind="resource", status=503, tries="1", path="*/sprites/*")
    service = serve(site(), Script(rules=(rule,)))
    assert cli("run", service.url, "--lods", "0", "-o", "roads.vtpk", *HASTY).code == 0
    assert set(resources()) <= {name.removeprefix("p12/resources/") for name in entries(tmp_path / "roads.vtpk")}


def test_failed_tiles_still_make_a_package_that_can_be_completed(serve, cli, tmp_path):
    service = serve(site(), Script(rules=(Rule(do="status", status=500, tiles=("3/2/*",)),)))
    result = cli("run", service.url, *LODS, "-o", "roads.vtpk", *HASTY)
    assert (result.code, result.json["failed"]) == (1, 8)
    assert len(held(tmp_path / "roads.vtpk")) == TILES - 8
    service.script = Script()
    assert cli("run", service.url, *LODS, "-o", "roads.vtpk", *HASTY).code == 0
    assert poisoned(tmp_path / "roads.vtpk", service.site) == set() and len(held(tmp_path / "roads.vtpk")) == TILES


@pytest.mark.parametrize("name", ["roads.mbtiles", "roads.pmtiles", "roads"])
def test_other_formats_list_the_layers_that_the_tiles_have(serve, cli, tmp_path, name):
    service = serve(site())
    more = ("--format", "xyz") if name == "roads" else ()
    assert cli("run", service.url, *LODS, "-o", name, *more, *HASTY).code == 0
    path = tmp_path / name
    assert [(each["id"], each["minzoom"], each["maxzoom"]) for each in vector_layers(path)] == [
        ("blocks", 2, 3),
        ("places", 0, 3),
        ("roads", 0, 3),
    ]
    assert poisoned(path, service.site) == set()
    if name == "roads":
        return
    # GDAL's own reader finds the layers, their fields and their features in their places.
    assert sorted(layer for layer, _ in pyogrio.list_layers(path)) == LAYERS
    found, _, _, values = pyogrio.raw.read(path, layer="places", columns=["name", "row"])
    assert {str(value) for value in values[list(found["fields"]).index("name")]} == {
        f"3/{row}/{col}" for row in range(8) for col in range(8)
    }


def test_layers_are_found_anew_when_more_levels_come(serve, cli, tmp_path):
    service = serve(site())
    for name in ("roads.mbtiles", "roads"):
        more = ("--format", "xyz") if name == "roads" else ()
        assert cli("run", service.url, "--lods", "0-1", "-o", name, *more, *HASTY).code == 0
        assert [each["id"] for each in vector_layers(tmp_path / name)] == ["places", "roads"]
        assert cli("run", service.url, "--lods", "2", "-o", name, *more, *HASTY).code == 0
        found = {each["id"]: each["maxzoom"] for each in vector_layers(tmp_path / name)}
        assert found == {"places": 2, "roads": 2, "blocks": 2}


def test_tiles_and_layers_go_round_through_every_format_that_holds_them(serve, cli, tmp_path):
    service = serve(site())
    assert cli("run", service.url, *LODS, "-o", "a.vtpk", *HASTY).code == 0
    stated, tiles = vector_layers(tmp_path / "a.vtpk"), held(tmp_path / "a.vtpk")
    for one, other in (
        ("a.vtpk", "b.mbtiles"), ("b.mbtiles", "c.pmtiles"), ("c.pmtiles", "d"), ("d", "e.vtpk"), ("e.vtpk", "f.vtpk"),
    ):  # fmt: skip
        more = ("--format", "xyz") if other == "d" else ()
        assert cli("convert", one, other, *more).code == 0
        assert vector_layers(tmp_path / other) == stated, other
        assert held(tmp_path / other) == tiles, other
    assert cli("convert", "a.vtpk", "g.vtpk").code == 0
    assert set(entries(tmp_path / "g.vtpk")) == set(entries(tmp_path / "a.vtpk"))
    for name in ("a.tpkx", "a.gpkg", "a.tpk"):
        result = cli("convert", "a.vtpk", name)
        assert result.code == 4 and "PBF" in result.err and not (tmp_path / name).exists()


def test_the_difference_of_two_packages_brings_the_old_one_to_the_new(serve, cli, tmp_path):
    service = serve(site())
    assert cli("run", service.url, *LODS, "-o", "old.vtpk", *HASTY).code == 0
    service.site.variant = 5
    assert cli("run", service.url, "--lods", "0-3", "-o", "new.vtpk", *HASTY).code == 0
    assert cli("diff", "old.vtpk", "new.vtpk", "-o", "delta.vtpk").code == 0
    assert cli("apply", "delta.vtpk", "old.vtpk").code == 0
    assert held(tmp_path / "old.vtpk") == held(tmp_path / "new.vtpk") != {}
    assert set(resources()) <= {name.removeprefix("p12/resources/") for name in entries(tmp_path / "old.vtpk")}
    assert cli("merge", "old.vtpk", "new.vtpk", "-o", "both.vtpk").code == 0
    assert held(tmp_path / "both.vtpk") == held(tmp_path / "new.vtpk")


def test_holes_of_a_vector_tile_package_are_the_next_area(serve, cli, tmp_path):
    service = serve(site(), Script(rules=(Rule(do="status", status=500, tiles=("2/1/1",)),)))
    assert cli("run", service.url, "--lods", "2", "-o", "a.vtpk", *HASTY).code == 1
    assert cli("verify", "a.vtpk").code == 1
    assert cli("holes", "a.vtpk", "-o", "holes.geojson").code == 0
    service.script = Script()
    plan = cli("plan", service.url, "--aoi", "holes.geojson", "--lods", "2", "--json").json
    assert plan["planned"] == 1


def test_a_tile_that_comes_plain_is_in_gzip_in_every_format(serve, cli, tmp_path):
    service = serve(site(tile=lambda tile: gzip.decompress(tile_mvt(*tile))))
    for name in ("a.vtpk", "a.mbtiles"):
        assert cli("run", service.url, "--lods", "0-1", "-o", name, *HASTY).code == 0
        found = held(tmp_path / name)
        assert len(found) == 5
        assert all(gzip.decompress(body) == service.site.body(tile) for tile, body in found.items())


def test_a_tile_that_comes_deflated_is_in_gzip_all_the_same(serve, cli, tmp_path):
    service = serve(site(), Script(rules=(Rule(do="deflate", path="*/tile/*"),)))
    assert cli("run", service.url, "--lods", "0-1", "-o", "a.vtpk", *HASTY).code == 0
    found = held(tmp_path / "a.vtpk")
    assert len(found) == 5
    assert all(gzip.decompress(body) == gzip.decompress(service.site.body(tile)) for tile, body in found.items())


def test_tiles_in_a_coding_that_was_not_asked_for_are_told_by_its_name(serve, cli):
    rule = Rule(do="answer", path="*/tile/*", headers={"Content-Encoding": "br"})
    service = serve(site(tile=lambda tile: gzip.decompress(tile_mvt(*tile))), Script(rules=(rule,)))
    run = cli("run", service.url, "--lods", "0-1", "-o", "a.mbtiles", *HASTY)
    assert run.code in (1, 3)
    asked = cli("tile", service.url, "1/0/0")
    assert "content encoding 'br' was not asked for" in asked.out + asked.err


def test_tiles_that_only_the_connections_end_ends_are_not_stored_and_the_run_says_why(serve, cli):
    """Plain: cut between two layers each would still be a tile. In gzip, which has an end, they are stored."""
    words = "a vector tile with neither length nor chunks nor gzip: a cut one looks the same"
    script = Script(rules=(Rule(do="unframed", path="*/tile/*"),))
    plain = serve(site(tile=lambda tile: gzip.decompress(tile_mvt(*tile))), script)
    run = cli("run", plain.url, "--lods", "0-2", "-o", "a.mbtiles", "--give-up-after", "1s", *HASTY)
    assert run.code == 3
    assert words in run.out + run.err
    asked = cli("tile", plain.url, "1/0/0")
    assert words in asked.out + asked.err
    assert words in cli("why", "a.mbtiles", "0/0/0").out
    packed = serve(site(), script)
    assert cli("run", packed.url, "--lods", "0-2", "-o", "b.mbtiles", *HASTY).code == 0


def test_vector_layers_of_a_web_map_become_packages_by_address_or_by_style(serve, cli, tmp_path):
    direct, styled, pictures = serve(site()), serve(site(variant=3)), serve(ArcGisSite(name="Streets"))
    layers = [
        {"title": "Direct", "layerType": "VectorTileLayer", "url": direct.url},
        {"title": "Styled", "layerType": "VectorTileLayer", "styleUrl": f"{styled.url}/resources/styles/root.json"},
        {"title": "Streets", "layerType": "ArcGISTiledMapServiceLayer", "url": pictures.url},
    ]
    (tmp_path / "map.json").write_text(json.dumps({"operationalLayers": layers}), encoding="utf-8")
    scales = cli("scales", "map.json", "--json").json
    assert [one["kind"] for one in scales["layers"]] == ["arcgis-vector", "arcgis-vector", "arcgis-map"]
    result = cli("run", "map.json", "--scales", "295828763.795777", "-o", "maps", *HASTY)
    assert (result.code, result.json["complete"]) == (0, True)
    made = {file.name for file in (tmp_path / "maps").iterdir() if not file.name.endswith(".ledger")}
    assert made == {"Direct.vtpk", "Styled.vtpk", "Streets.tpkx"}
    for name, service in (("Direct", direct), ("Styled", styled)):
        path = tmp_path / "maps" / f"{name}.vtpk"
        assert set(resources()) <= {entry.removeprefix("p12/resources/") for entry in entries(path)}
        assert len(held(path)) == 1 and poisoned(path, service.site) == set()


def test_a_style_that_draws_no_service_is_skipped_with_the_reason(serve, cli, tmp_path):
    bare = serve(site(resources={"styles/root.json": b'{"version": 8, "sources": {}, "layers": []}'}))
    layers = [
        {"title": "Bare", "layerType": "VectorTileLayer", "styleUrl": f"{bare.url}/resources/styles/root.json"},
        {"title": "Taken", "layerType": "VectorTileLayer", "url": bare.url},
    ]
    (tmp_path / "map.json").write_text(json.dumps({"operationalLayers": layers}), encoding="utf-8")
    scales = cli("scales", "map.json", "--json").json
    assert [one["name"] for one in scales["layers"]] == ["Taken"]
    assert scales["skipped"] == [{"name": "Bare", "reason": "its style draws no vector tile service"}]


def test_plain_tiles_of_a_folder_are_in_gzip_where_the_format_says_so(cli, tmp_path):
    from harvester.testing.vector import tile_mvt

    (tmp_path / "in" / "1" / "0").mkdir(parents=True)
    plain = gzip.decompress(tile_mvt(1, 1, 0))
    (tmp_path / "in" / "1" / "0" / "1.pbf").write_bytes(plain)
    document = {"tilejson": "3.0.0", "tiles": ["{z}/{x}/{y}.pbf"], "name": "Plain"}
    (tmp_path / "in" / "tiles.json").write_text(json.dumps(document))
    for name in ("a.vtpk", "a.mbtiles", "a.pmtiles"):
        assert cli("convert", "in", name).code == 0
        assert [gzip.decompress(body) for body in held(tmp_path / name).values()] == [plain]
        assert [each["id"] for each in vector_layers(tmp_path / name)] == ["places", "roads"]


@pytest.mark.slow
def test_a_run_killed_at_any_step_of_gathering_and_sealing_goes_on_with_all_resources(spawn, serve, cli, tmp_path):
    disk = CrashingDisk(CrashPoint(0))
    job = Job(source=serve(site()).url, output=tmp_path / "whole.vtpk", policies=(Policy(lods=((0, 2),)),))
    run_loop(harvest_job(job, disk=disk))
    kills = 0
    # From the last tiles to the rename and what comes after it.
    for number, step in enumerate(range(disk.steps // 3, disk.steps, max(1, disk.steps // 9))):
        service, out = serve(site()), f"{number}.vtpk"
        command = ("run", service.url, "--lods", "0-2", "-o", out, "--json")
        killed = spawn(*command, HARVESTER_CRASH_AT=str(step))
        killed.communicate(timeout=240)
        kills += killed.returncode != 0
        rest = cli(*command)
        assert rest.code == 0, (step, rest.err)
        path = tmp_path / out
        assert {name.removeprefix("p12/resources/") for name in entries(path) if "/resources/" in name} == {
            *resources(),
            "info/root.json",
        }, step
        assert len(held(path)) == 21 and poisoned(path, service.site) == set()
        assert [each["id"] for each in vector_layers(path)] == LAYERS
        assert {each.name for each in tmp_path.iterdir() if each.name.startswith(out)} == {out, f"{out}.ledger"}
    assert kills >= 5


def deep(tile: Tile) -> bool:
    """A city: the east of the north alone has tiles below level 1."""
    return tile.level >= 2 and not (tile.row < 1 << (tile.level - 1) <= tile.col)


def test_the_index_of_a_service_says_which_tiles_are_not_there(serve, cli, tmp_path):
    service = serve(site(absent=deep, index=True))
    result = cli("run", service.url, *LODS, "-o", "a.vtpk", *HASTY)
    assert (result.code, result.json["complete"]) == (0, True)
    assert (result.json["stored"], result.json["absent"]) == (1 + 4 + 4 + 16, 12 + 48)
    assert result.json["tile_requests"] == 25
    assert sum(asked.kind == "index" for asked in service.log) == 1
    assert result.json["requests"] == len(service.log)
    assert any("60 tiles are not there" in notice for notice in result.json["notices"])
    assert "tilemap" in cli("why", "a.vtpk", "3/7/0").out
    again = cli("run", service.url, *LODS, "-o", "a.vtpk", *HASTY)
    assert (again.code, again.json["tile_requests"], again.json["requests"]) == (0, 0, 1)
    asked = cli("run", service.url, *LODS, "-o", "b.vtpk", "--tilemap", "off", *HASTY)
    assert (asked.json["tile_requests"], asked.json["absent"]) == (TILES, 60)
    assert held(tmp_path / "a.vtpk") == held(tmp_path / "b.vtpk")


@pytest.mark.parametrize(
    "text", ['{"index": 7}', "[]", '{"error": {"code": 500}}', "<html>", '{"index": [2, 2, 2, 2]}']
)
def test_an_index_that_cannot_be_trusted_means_ask_the_tiles(serve, cli, tmp_path, text):
    rule = Rule(do="html", kind="index", text=text)
    service = serve(site(absent=deep, index=True), Script(rules=(rule,)))
    result = cli("run", service.url, "--lods", "2", "-o", "a.vtpk", *HASTY)
    assert (result.code, result.json["stored"], result.json["tile_requests"]) == (0, 4, 16)


@pytest.mark.parametrize("way", ["token", "login"])
def test_resources_of_a_secured_service_come_with_its_credentials_and_keep_none(serve, cli, tmp_path, monkeypatch, way):
    monkeypatch.setenv("MAP_TOKEN", "canary-token")
    monkeypatch.setenv("MAP_PASSWORD", "canary-password")
    # The login's token ends among the resources, and is renewed there.
    office = TicketOffice(tokens={"canary-token"}) if way == "token" else TicketOffice()
    ended = [
        Rule(do="json_error", kind="resource", status=498, path=f"*/sprite.{end}", times=1) for end in ("json", "png")
    ]
    service = serve(site(office=office), Script(rules=tuple(ended) if way == "login" else ()))
    options = (
        ("--token-env", "MAP_TOKEN") if way == "token" else ("--username", "surveyor", "--password-env", "MAP_PASSWORD")
    )
    result = cli("run", service.url, "--lods", "0-1", "-o", "a.vtpk", *options, *HASTY)
    assert (result.code, result.json["stored"]) == (0, 5)
    path = tmp_path / "a.vtpk"
    assert set(resources()) <= {name.removeprefix("p12/resources/") for name in entries(path)}
    assert b"canary" not in path.read_bytes()
    assert office.sold in ((2, 3) if way == "login" else (0,))


@pytest.mark.parametrize("status", [500, 403])
def test_a_service_whose_tiles_all_fail_leaves_no_package_and_says_so(serve, cli, tmp_path, status):
    service = serve(site(), Script(rules=(Rule(do="status", status=status),)))
    result = cli("run", service.url, *LODS, "-o", "roads.vtpk", *HASTY, "--give-up-after", "2s")
    assert result.code in (1, 3), result.err
    assert result.json["failed"] + result.json["pending"] == TILES
    service.script = Script()
    assert cli("run", service.url, *LODS, "-o", "roads.vtpk", *HASTY).code == 0
    assert len(held(tmp_path / "roads.vtpk")) == TILES
