"""``harvester export`` on the command line: arcpy's parameters as options, run's exit codes, one line of output."""

from __future__ import annotations

import json
from pathlib import Path

import harvester
from harvester.testing import schemes
from harvester.testing.script import Rule
from harvester.testing.service import ArcGisSite
from tests.e2e.claims import files, script

SCALES = ";".join(f"{591657527.591555 / 2**level:.6f}" for level in range(3))


def test_a_package_is_written_and_its_path_is_all_that_stdout_says(cli, serve, tmp_path):
    service = serve(script=script(Rule(do="answer", kind="tile", delay=0.005)))
    result = cli(
        *(
            "export",
            service.url,
            "packages",
            "--export-cache-type",
            "tile_package",
            "--storage-format-type",
            "COMPACT_V2",
        ),
        *("--copy-data-from-server", "COPY_DATA", "--scales", SCALES, "--num-of-caching-service-instances", "2"),
        *("--overwrite", "MERGE", "--quiet"),
    )
    assert result.code == 0, result.err
    assert Path(result.out.strip()) == Path("packages", "Streets.tpkx")
    assert files(tmp_path / "packages") == {"Streets.tpkx", "Streets.tpkx.ledger"}
    assert service.log.max_concurrency("tile") <= 2
    with harvester.open_cache(tmp_path / "packages" / "Streets.tpkx") as cache:
        assert list(cache.levels()) == [0, 1, 2]


def test_json_is_runs_report_and_progress_json_its_lines(cli, serve):
    result = cli("export", serve().url, "out", "--scales", SCALES, "--json", "--progress", "json")
    assert (result.json["planned"], result.json["stored"], result.json["format"]) == (21, 21, "compact")
    assert Path(result.json["output"]) == Path("out", "Streets", "Layers")
    kinds = [json.loads(line)["type"] for line in result.err.splitlines()]
    assert "started" in kinds
    assert kinds[-1] == "summary"


def test_a_dataset_of_an_area_takes_its_feature_set_and_says_what_it_ignores(cli, serve, tmp_path):
    service = serve()
    box = {"xmin": 10, "ymin": 10, "xmax": 60, "ymax": 60}
    area = json.dumps({"features": [{"geometry": box}], "spatialReference": {"wkid": 4326}})
    result = cli(
        *("export", service.url, "out", "--storage-format-type", "EXPLODED", "--scales", SCALES),
        *("--area-of-interest", area, "--export-extent", "0 0 1 1", "--copy-data-from-server", "DO_NOT_COPY"),
    )
    assert result.code == 0, result.err
    assert "export_extent is ignored" in result.err
    assert "DO_NOT_COPY" in result.err
    assert {str(tile) for tile in service.log.tiles()} == {"0/0/0", "1/0/1", "2/1/2"}


def test_exit_codes_are_runs(cli, serve, tmp_path):
    service = serve(script=script(Rule(do="status", status=500, kind="tile", tiles=("2/0/0",))))
    partly = cli("export", service.url, "out", "--scales", SCALES, "--retries", "0", "--json", "-q")
    assert (partly.code, partly.json["failed"]) == (1, 1)
    for wrong in (
        ("--overwrite", "NO"),
        ("--export-extent", "1"),
        ("--area-of-interest", "none.shp"),
        ("--scales", "3"),
    ):
        refused = cli("export", service.url, "other", *wrong, "--json")
        assert refused.code == 2
        assert refused.json["error"]["message"]
    assert cli("export", "GIS Servers/x (admin)/A.MapServer", "other").code == 2
    assert cli("export", service.url.replace("Streets", "Nowhere"), "other").code == 3
    assert not (tmp_path / "other").exists()
    large = cli("export", service.url, "other")
    assert large.code == 2
    assert "harvester export" in large.err
    assert "--max-tiles" in large.err


def test_a_missing_area_is_looked_for_where_the_person_is(cli, serve):
    told = cli("export", serve().url, "out", "--area-of-interest", "none.geojson", "--json")
    assert told.code == 2
    assert "none.geojson: there is no such file" in told.json["error"]["message"]
    assert "a relative one starts at the current folder" in told.json["error"]["hint"]


def test_a_vector_tile_service_is_refused_with_the_command_that_takes_it(cli, serve, tmp_path):
    service = serve(ArcGisSite(kind="vector", grid=schemes.WEB_MERCATOR_512, name="Roads"))
    for kind in ("TILE_PACKAGE", "CACHE_DATASET"):
        told = cli("export", service.url, "out", "--export-cache-type", kind, "--json")
        assert told.code == 4
        assert "vector tile service" in told.json["error"]["message"]
        assert f"harvester run {service.url} -o Roads.vtpk" in told.json["error"]["hint"]
        assert "--format" not in told.err
    assert not (tmp_path / "out").exists()
    assert not service.log.tiles()


def test_an_export_extent_may_be_a_layer_whose_extent_counts(cli, serve, tmp_path):
    service = serve()
    ring = [[10.0, 10.0], [60.0, 10.0], [20.0, 60.0], [10.0, 10.0]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    (tmp_path / "area.geojson").write_text(json.dumps(shape))
    told = cli("export", service.url, "out", "--scales", SCALES, "--export-extent", "area.geojson")
    assert told.code == 0, told.err
    # Of the whole box, not of the triangle in it.
    assert {str(tile) for tile in service.log.tiles()} == {"0/0/0", "1/0/1", "2/1/2"}
    wrong = cli("export", service.url, "other", "--export-extent", "none.geojson", "--json")
    assert wrong.code == 2
    assert "no box and no layer" in wrong.json["error"]["message"]


def test_an_export_stopped_by_its_budget_goes_on_with_the_same_command(cli, serve):
    service = serve()
    command = ("export", service.url, "out", "--export-cache-type", "TILE_PACKAGE", "--scales", SCALES, "--json", "-q")
    stopped = cli(*command, "--max-tiles", "9")
    assert stopped.code == 1
    again = cli(*command)
    assert (again.code, again.json["kept"] + again.json["fetched"]) == (0, 21)
    assert again.json["kept"] >= 9


def test_secrets_of_the_address_are_in_nothing_that_is_written(cli, serve, tmp_path):
    from harvester.testing.service import ArcGisSite
    from harvester.testing.tickets import TicketOffice
    from tests.e2e.claims import everything_in

    service = serve(ArcGisSite(office=TicketOffice(tokens={"topsecret123"})))
    result = cli("export", f"{service.url}?token=topsecret123", "out", "--scales", SCALES, "--json", "--debug")
    assert result.code == 0, result.err
    assert "topsecret123" not in result.out + result.err
    assert b"topsecret123" not in everything_in(tmp_path)
