"""Where an output goes: into folders that are made where they are missing; that of a web map is a folder itself, of
packages unless another format is named."""

from __future__ import annotations

import json

import pytest

from harvester.testing import Rule, Script
from tests.e2e.claims import HASTY, files

LEVELS = ("--lods", "0-1")


def webmap(tmp_path, service) -> str:
    layers = [{"title": "World", "url": service.url, "layerType": "ArcGISTiledMapServiceLayer"}]
    (tmp_path / "map.json").write_text(json.dumps({"operationalLayers": layers, "baseMap": {}}))
    return "map.json"


@pytest.mark.parametrize("output", ["maps.mbtiles", "maps.tpkx", "maps.GPKG"])
@pytest.mark.parametrize("more", [(), ("--format", "mbtiles")])
def test_a_web_map_never_becomes_a_folder_with_the_name_of_a_cache(cli, serve, tmp_path, output, more):
    service = serve()
    source = webmap(tmp_path, service)
    result = cli("run", source, *LEVELS, "-o", output, *more, *HASTY)
    assert (result.code, result.json["error"]["code"]) == (2, "usage")
    assert "-o maps --format " + (more[1] if more else output.partition(".")[2].lower()) in result.err
    assert files(tmp_path) == {"map.json"}
    assert service.log.count("tile") == 0


@pytest.mark.parametrize("output", ["maps", "maps/", "there", "there/", "Bridge 2.1", "there.mbtiles"])
def test_a_web_map_gives_packages_however_its_folder_is_typed(cli, serve, tmp_path, output):
    for name in ("there", "there.mbtiles"):
        (tmp_path / name).mkdir()
    source = webmap(tmp_path, serve())
    result = cli("run", source, *LEVELS, "-o", output, *HASTY)
    assert result.code == 0, result.err
    assert files(tmp_path / output) == {"World.tpkx", "World.tpkx.ledger"}
    again = cli("run", source, *LEVELS, "-o", output, *HASTY)
    assert (again.code, again.json["layers"][0]["tile_requests"]) == (0, 0)


@pytest.mark.parametrize("end", ["", "/"])
def test_a_web_map_of_a_job_file_gives_packages_too(cli, serve, tmp_path, end):
    (tmp_path / "job.toml").write_text(
        f'source = "{webmap(tmp_path, serve())}"\noutput = "maps{end}"\n[[policy]]\nlods = 0'
    )
    assert cli("run", "job.toml", *HASTY).code == 0
    assert files(tmp_path / "maps") == {"World.tpkx", "World.tpkx.ledger"}
    assert cli("run", "job.toml", "-o", "named/", "--format", "mbtiles", *HASTY).code == 0
    assert files(tmp_path / "named") == {"World.mbtiles", "World.mbtiles.ledger"}


def test_a_service_into_a_folder_is_a_compact_cache(cli, serve, tmp_path):
    for output in ("cache", "cache.v2/"):
        result = cli("run", serve().url, *LEVELS, "-o", output, *HASTY)
        assert (result.code, result.json["format"]) == (0, "compactv2")


@pytest.mark.parametrize("output", ["no/where/out.mbtiles", "no/where/cache/", "no/where/out.tpkx"])
def test_the_folders_above_an_output_are_made_and_taken_back_by_a_run_that_asked_for_no_tile(
    cli, serve, tmp_path, output
):
    refused = cli(
        "run", serve(None, Script(rules=(Rule(do="status", status=404, kind="document"),))).url, "-o", output, *HASTY
    )
    assert refused.code == 3
    assert not (tmp_path / "no").exists()
    assert cli("run", serve().url, *LEVELS, "-o", output, *HASTY).code == 0
    assert (tmp_path / output).exists()


def test_the_folder_of_a_web_map_and_those_above_it_are_made(cli, serve, tmp_path):
    source = webmap(tmp_path, serve())
    assert cli("run", source, *LEVELS, "-o", "no/maps", *HASTY).code == 0
    assert files(tmp_path / "no" / "maps") == {"World.tpkx", "World.tpkx.ledger"}
