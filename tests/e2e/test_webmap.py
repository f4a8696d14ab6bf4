"""A web map gives one cache for each tiled layer: named safely, planned by its own LODs, the others skipped with the
reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harvester.testing import schemes
from harvester.testing.script import Rule
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.testing.tickets import TicketOffice
from tests.e2e.claims import HASTY, files, held, poisoned, script

SHORT = {level: 591657527.591555 / 2**level for level in range(24)}
"""Scale denominators of the web mercator service."""


def layer(service: FaultyService | str, title: str, **more: Any) -> dict[str, Any]:
    url = service if isinstance(service, str) else service.url
    return {"id": title, "title": title, "url": url, "layerType": "ArcGISTiledMapServiceLayer", **more}


def webmap(folder: Path, *layers: dict[str, Any], base: tuple[dict[str, Any], ...] = (), name: str = "map.json") -> str:
    document = {"operationalLayers": list(layers), "baseMap": {"baseMapLayers": list(base), "title": "Base"}}
    (folder / name).write_text(json.dumps(document), encoding="utf-8")
    return name


def by_output(report: Any) -> dict[str, Any]:
    return {Path(one["output"]).name: one for one in report["layers"]}


def test_every_tiled_layer_becomes_a_cache_of_its_own_and_the_others_are_skipped_with_the_reason(serve, cli, tmp_path):
    streets, roads = serve(ArcGisSite(name="Streets")), serve(ArcGisSite(name="Roads", variant=3))
    drawn = serve(ArcGisSite(name="Drawn", document={"tileInfo": None, "singleFusedMapCache": False}))
    group = {
        "title": "Group",
        "layerType": "GroupLayer",
        "layers": [
            layer(roads, "Roads"),
            {"title": "Deeper", "layerType": "GroupLayer", "layers": [layer(drawn, "Drawn")]},
            {"title": "Wells", "layerType": "ArcGISFeatureLayer", "url": "https://h.invalid/A/FeatureServer/0"},
        ],
    }
    source = webmap(
        tmp_path,
        group,
        {"title": "OSM", "layerType": "OpenStreetMap"},
        {"title": "Notes", "featureCollection": {}},
        base=(layer(streets, "Streets"),),
    )
    scales = cli("scales", source, "--json").json
    assert scales["kind"] == "web-map"
    assert [one["name"] for one in scales["layers"]] == ["Streets", "Roads"]
    assert {one["name"] for one in scales["skipped"]} == {"Drawn", "Wells", "OSM", "Notes"}
    result = cli("run", source, "--lods", "0-2", "-o", "maps", *HASTY)
    assert (result.code, result.json["complete"]) == (0, True)
    assert {name: one["stored"] for name, one in by_output(result.json).items()} == {
        "Streets.tpkx": 21,
        "Roads.tpkx": 21,
    }
    assert {one["name"] for one in result.json["skipped"]} == {"Drawn", "Wells", "OSM", "Notes"}
    assert all(one["reason"] for one in result.json["skipped"])
    assert files(tmp_path / "maps") == {"Streets.tpkx", "Streets.tpkx.ledger", "Roads.tpkx", "Roads.tpkx.ledger"}
    assert poisoned(tmp_path / "maps" / "Streets.tpkx", streets.site) == set()
    assert poisoned(tmp_path / "maps" / "Roads.tpkx", roads.site) == set()
    again = cli("run", source, "--lods", "0-2", "-o", "maps", *HASTY)
    assert (again.code, [one["tile_requests"] for one in again.json["layers"]]) == (0, [0, 0])


def test_what_is_told_of_one_layer_of_several_names_it(serve, cli, tmp_path):
    service = serve()
    source = webmap(
        tmp_path, layer(service, "World", minScale=SHORT[0], maxScale=SHORT[2]), layer(service, "All of it")
    )
    told = cli("plan", source).err
    assert "note: World: the web map's own scale range limits this layer: taken are 0-2" in told
    assert "All of it: the web map" not in told


NAMES = {
    "Streets": "Streets.mbtiles",
    "streets": "streets-2.mbtiles",
    "STREETS": "STREETS-3.mbtiles",
    "../../etc/passwd": None,
    "a/b\\c": None,
    "CON": None,
    "nul.txt": None,
    "...": None,
    "": None,
    "x" * 400: None,
    "Straße — 東京 \u202e": None,
    "tab\there\n": None,
}


def test_names_of_layers_are_safe_on_every_file_system_and_never_clash(serve, cli, tmp_path):
    """Row 42, and two layers of one name."""
    services = [serve(ArcGisSite(name=f"S{index}", variant=index)) for index in range(len(NAMES))]
    source = webmap(tmp_path, *(layer(service, title) for service, title in zip(services, NAMES, strict=True)))
    result = cli("run", source, "--lods", "0", "-o", "maps", "--format", "mbtiles", *HASTY)
    assert result.code == 0, result.err
    found = sorted(name for name in files(tmp_path / "maps") if name.endswith(".mbtiles"))
    assert len({name.casefold() for name in found}) == len(NAMES)
    assert {name for name in NAMES.values() if name} <= set(found)
    for name in found:
        assert not set(name) & set('<>:"/\\|?*\n\t\u202e')
        assert name.partition(".")[0].strip().upper() not in ("CON", "NUL")
        assert len(name.encode()) < 200 and not name.startswith(".")
    assert files(tmp_path) == {"map.json", "maps"}
    outputs = [Path(one["output"]) for one in result.json["layers"]]
    for service, output in zip(services, outputs, strict=True):
        assert len(held(tmp_path / output)) == 1
        assert poisoned(tmp_path / output, service.site) == set()


def test_a_policy_may_match_some_layers_only_but_must_match_one(serve, cli, tmp_path):
    world, city = serve(ArcGisSite()), serve(ArcGisSite(grid=schemes.UTM_PHILADELPHIA, name="City"))
    source = webmap(tmp_path, layer(world, "World"), layer(city, "City"))
    (tmp_path / "job.toml").write_text(
        f'source = "{source}"\noutput = "maps"\n[[policy]]\nscales = [{SHORT[1]}]\n[[policy]]\nscales = "250000"\n'
    )
    result = cli("run", "job.toml", *HASTY)
    assert result.code == 0, result.err
    planned = {
        name: [lod["level"] for lod in one["lods"] if lod["planned"]] for name, one in by_output(result.json).items()
    }
    assert planned == {"World.tpkx": [1], "City.tpkx": [0]}
    (tmp_path / "job.toml").write_text(
        f'source = "{source}"\noutput = "other"\n[[policy]]\nlods = "0"\n[[policy]]\nscales = "123456"\n'
    )
    nothing = cli("run", "job.toml", *HASTY)
    assert (nothing.code, nothing.json["error"]["code"]) == (2, "selection")
    assert "123456" in nothing.err
    assert not (tmp_path / "other").exists()


def test_each_scale_of_one_policy_must_match_some_layer_and_need_not_match_all(serve, cli, tmp_path):
    world, city = serve(ArcGisSite()), serve(ArcGisSite(grid=schemes.UTM_PHILADELPHIA, name="City"))
    source = webmap(tmp_path, layer(world, "World"), layer(city, "City"))
    result = cli("run", source, "--scales", f"{SHORT[1]};250000", "-o", "maps", *HASTY)
    assert result.code == 0, result.err
    planned = {
        name: [lod["level"] for lod in one["lods"] if lod["planned"]] for name, one in by_output(result.json).items()
    }
    assert planned == {"World.tpkx": [1], "City.tpkx": [0]}
    again = cli("run", source, "--scales", f"{SHORT[1]};250000", "-o", "maps", *HASTY)
    assert (again.code, [one["tile_requests"] for one in again.json["layers"]]) == (0, [0, 0])
    nowhere = cli("run", source, "--scales", f"{SHORT[1]};250000;777", "-o", "other", *HASTY)
    assert (nowhere.code, nowhere.json["error"]["code"]) == (2, "selection")
    assert nowhere.json["error"]["message"] == "no layer has a LOD at scale 777"
    assert "harvester scales" in nowhere.err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("selection", "said"),
    [(("--lods", "0,99"), "no layer has LOD 99"), (("--lods", "90-99"), "no layer has LODs of this selection")],
)
def test_what_no_layer_has_is_said_of_all_layers_and_not_of_the_first(serve, cli, tmp_path, selection, said):
    world, city = serve(ArcGisSite()), serve(ArcGisSite(grid=schemes.UTM_PHILADELPHIA, name="City"))
    source = webmap(tmp_path, layer(world, "World"), layer(city, "City"))
    result = cli("plan", source, *selection, "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "selection")
    assert result.json["error"]["message"].startswith(said)
    assert result.json["error"]["hint"] == "harvester scales SOURCE lists the layers with their LODs and extents."


def test_a_layer_that_no_policy_matches_is_skipped_with_the_reason(serve, cli, tmp_path):
    world, city = serve(ArcGisSite()), serve(ArcGisSite(grid=schemes.UTM_PHILADELPHIA, name="City"))
    source = webmap(tmp_path, layer(world, "World"), layer(city, "City"))
    result = cli("run", source, "--scales", "250000", "-o", "maps", *HASTY)
    assert (result.code, [one["name"] for one in result.json["skipped"]]) == (0, ["World"])
    assert list(by_output(result.json)) == ["City.tpkx"]
    planned = cli("plan", source, "--scales", "250000", "--json").json
    assert [one["name"] for one in planned["layers"]] == ["City"]
    assert planned["planned"] == 6


def test_a_layers_own_range_limits_its_lods_unless_scales_are_selected(serve, cli, tmp_path):
    service = serve()
    source = webmap(tmp_path, layer(service, "World", minScale=SHORT[1], maxScale=SHORT[3]))
    planned = cli("plan", source, "--json").json
    assert [lod["level"] for lod in planned["layers"][0]["lods"]] == [1, 2, 3]
    selected = cli("plan", source, "--lods", "0-1", "--json").json
    assert [lod["level"] for lod in selected["layers"][0]["lods"]] == [0, 1]


def test_one_layer_that_fails_does_not_stop_the_others_and_the_worst_code_wins(serve, cli, tmp_path):
    good = serve(ArcGisSite(name="Good"))
    bad = serve(ArcGisSite(name="Bad"), script(Rule(do="status", status=500, tiles=("2/1/1",))))
    worse = serve(ArcGisSite(name="Worse"), script(Rule(do="html")))
    source = webmap(tmp_path, layer(worse, "Worse"), layer(bad, "Bad"), layer(good, "Good"))
    result = cli("run", source, "--lods", "0-2", "-o", "maps", *HASTY)
    assert result.code == 3
    found = by_output(result.json)
    assert (found["Good.tpkx"]["stored"], found["Bad.tpkx"]["failed"], found["Worse.tpkx"]["stored"]) == (21, 1, 0)
    assert found["Worse.tpkx"]["error"]["code"] == "unusable"
    assert files(tmp_path / "maps") >= {"Good.tpkx", "Bad.tpkx"}
    for service in (bad, worse):
        service.script = script()
    assert cli("run", source, "--lods", "0-2", "-o", "maps", *HASTY).code == 0


def test_a_disk_error_of_one_layer_is_in_its_report_and_the_others_are_made(serve, cli, tmp_path):
    first, second = serve(ArcGisSite(name="A")), serve(ArcGisSite(name="B"))
    (tmp_path / "maps" / "First.tpkx").mkdir(parents=True)
    (tmp_path / "maps" / "First.tpkx" / "letter").write_text("mine")
    source = webmap(tmp_path, layer(first, "First"), layer(second, "Second"))
    result = cli("run", source, "--lods", "0-1", "-o", "maps", *HASTY)
    assert result.code == 4
    found = by_output(result.json)
    assert found["First.tpkx"]["error"]["hint"]
    assert found["Second.tpkx"]["stored"] == 5
    assert files(tmp_path / "maps" / "First.tpkx") == {"letter"}


def test_a_layer_that_is_gone_is_exit_3_and_named(serve, cli, tmp_path):
    service = serve()
    source = webmap(
        tmp_path, layer(service, "Here"), layer(service.origin + "/arcgis/rest/services/X/MapServer", "Gone")
    )
    result = cli("run", source, "--lods", "0", "-o", "maps", *HASTY)
    assert result.code == 3
    assert "Gone" in result.err + result.out
    assert result.json["complete"] is False
    assert [one["stored"] for one in result.json["layers"]] == [1]
    assert [one["name"] for one in result.json["skipped"]] == ["Gone"]
    assert (tmp_path / "maps" / "Here.tpkx").exists()
    listed = cli("scales", source, "--json")
    assert (listed.code, [one["name"] for one in listed.json["skipped"]]) == (0, ["Gone"])


def test_a_map_of_which_no_layer_can_be_opened_is_exit_3_and_leaves_no_file(serve, cli, tmp_path):
    service = serve()
    source = webmap(tmp_path, layer(service.origin + "/arcgis/rest/services/X/MapServer", "Gone"))
    before = files(tmp_path)
    assert cli("run", source, "--lods", "0", "-o", "maps", *HASTY).code == 3
    assert files(tmp_path) == before


def test_credentials_go_to_a_layers_host_only_when_it_refuses_without_them(serve, cli, tmp_path, monkeypatch):
    monkeypatch.setenv("MAP_TOKEN", "canary-token")
    closed = serve(ArcGisSite(name="Closed", office=TicketOffice(tokens={"canary-token"})))
    public = serve(ArcGisSite(name="Public"))
    source = webmap(tmp_path, layer(closed, "Closed"), layer(public, "Public"))
    result = cli("run", source, "--lods", "0-1", "-o", "maps", *HASTY, "--token-env", "MAP_TOKEN")
    assert (result.code, [one["stored"] for one in result.json["layers"]]) == (0, [5, 5])
    assert not any(b"canary" in asked.raw for asked in public.log)


STRANGE = (
    "file:///etc/passwd",
    "ftp://h.invalid/A/MapServer",
    "javascript:alert(1)",
    "data:,x",
    "\\\\host\\share",
    "http://",
)


@pytest.mark.parametrize("address", STRANGE)
def test_an_address_that_is_none_is_skipped_and_never_opened(serve, cli, tmp_path, address):
    """Row 43."""
    source = webmap(tmp_path, layer(address, "Strange"), layer(serve(), "Good"))
    result = cli("run", source, "--lods", "0", "-o", "maps", *HASTY)
    assert (result.code, [one["name"] for one in result.json["skipped"]]) == (0, ["Strange"])


GARBAGE: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"hello",
    "a list": b"[]",
    "a number": b"7",
    "no layers": b"{}",
    "null layers": b'{"operationalLayers": null, "baseMap": null}',
    "layers of a wrong type": b'{"operationalLayers": 7}',
    "layers that are numbers": b'{"operationalLayers": [1, "x", null, [[]]]}',
    "cut": b'{"operationalLayers": [{"title": "a"',
    "NaN": b'{"operationalLayers": [{"minScale": NaN}]}',
    "deep": b'{"operationalLayers":' + b"[" * 6000 + b"]" * 6000 + b"}",
    "deep groups": b'{"operationalLayers":' + b'[{"layerType":"GroupLayer","layers":' * 40 + b"[]" + b"}]" * 40 + b"}",
    "odd fields": b'{"operationalLayers": [{"title": {"a": 1}, "url": 7, "layerType": ["x"], "minScale": "y"}]}',
    "binary": bytes(range(256)),
    "UTF-16": '{"operationalLayers": []}'.encode("utf-16"),
    "a long number": b'{"operationalLayers": [{"minScale": ' + b"9" * 5000 + b"}]}",
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("verb", ["run", "plan"])
def test_a_web_map_that_is_garbage_is_refused_in_two_lines(cli, tmp_path, verb, name):
    (tmp_path / "map.json").write_bytes(GARBAGE[name])
    result = cli(verb, "map.json", "-o", "maps", "--json")
    assert result.code in (2, 3)
    assert result.json["error"]["message"]
    assert len(result.err.strip().splitlines()) <= 2
    assert files(tmp_path) == {"map.json"}
