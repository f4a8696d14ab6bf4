"""After real runs: why a tile is or isn't there, and what each run did."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import sys
import time

import pytest

import harvester
from harvester.testing import schemes
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite
from harvester.testing.tickets import TicketOffice
from harvester.tiling.tile import Tile

from .claims import everything_in, sums_hold

SECRET = "canary-0123456789"
AREA = {"type": "Polygon", "coordinates": [[[0, 0], [20, 0], [20, 20], [0, 20], [0, 0]]]}


def two_policies(tmp_path, url):
    (tmp_path / "small.geojson").write_text(json.dumps(AREA))
    (tmp_path / "job.toml").write_text(
        f'source = "{url}"\noutput = "job.mbtiles"\n[[policy]]\nlods = "0-3"\n'
        '[[policy]]\nlods = "3-6"\naoi = "small.geojson"\nbuffer = 1000\n'
    )


@pytest.mark.parametrize("name", ["out.mbtiles", "out", "out.tpkx"])
def test_a_stored_tile_is_told_with_its_policy_its_request_and_its_bytes(cli, serve, tmp_path, name):
    service = serve()
    assert cli("run", service.url, "--lods", "0-3", "-o", name, "-q").code == 0
    asked = {asked.tile: asked.target for asked in service.log.of("tile")}
    said = cli("why", name, "3/5/2", "--json").json
    assert (said["state"], said["level"], said["row"], said["col"]) == ("stored", 3, 5, 2)
    assert said["asked"] == service.origin + asked[Tile(3, 5, 2)]
    assert said["cache"]["bytes"] == len(service.site.body(Tile(3, 5, 2)))
    assert (said["cache"]["kind"], said["cache"]["width"], said["cache"]["height"]) == ("png", 256, 256)
    assert [(one["policy"], one["words"]) for one in said["planned_by"]] == [(1, "LODs 0-3, the service's full extent")]
    assert said["fetching_runs"] == [1]


def test_the_policies_of_a_job_file_are_told_apart(cli, serve, tmp_path):
    service = serve()
    two_policies(tmp_path, service.url)
    assert cli("run", "job.toml", "-q").code == 0

    def policies(address):
        return [one["policy"] for one in cli("why", "job.mbtiles", address, "--json").json["planned_by"]]

    assert policies("2/1/1") == [1]
    assert policies("3/3/4") == [1, 2]
    assert policies("6/31/32") == [2]
    text = cli("why", "job.mbtiles", "3/3/4").out
    assert "policy 2 of 2: LODs 3-6, small.geojson, grown by 1,000 m (run 1)" in text
    assert "stored: It was fetched, found whole and stored." in text


def test_a_later_job_of_the_same_cache_is_another_planner(cli, serve, tmp_path):
    service = serve()
    for levels in ("0-2", "2-4", "0-2"):
        assert cli("run", service.url, "--lods", levels, "-o", "out.mbtiles", "-q").code == 0
    said = cli("why", "out.mbtiles", "2/0/0", "--json").json["planned_by"]
    assert [(one["words"].split(",")[0], one["first_run"], one["last_run"]) for one in said] == [
        ("LODs 0-2", 1, 3),
        ("LODs 2-4", 2, 2),
    ]


def test_a_failed_tile_is_told_with_its_reason_until_a_run_mends_it(cli, serve, tmp_path):
    service = serve(None, Script(rules=(Rule(tiles=("3/2/2",), do="status", status=500),)))
    run = ("run", service.url, "--lods", "0-3", "-o", "out.mbtiles", "--retries", "0", "-q")
    assert [cli(*run).code, cli(*run).code] == [1, 1]
    said = cli("why", "out.mbtiles", "3/2/2", "--json").json
    assert (said["state"], said["reason"], said["failed_in_run"], said["tries_allowed"]) == ("failed", "http_500", 2, 1)
    assert said["cache"] is None
    assert "http_500, in run 2 (up to 1 try a run)" in cli("why", "out.mbtiles", "3/2/2").out
    service.script = Script()
    assert cli(*run).code == 0
    mended = cli("why", "out.mbtiles", "3/2/2", "--json").json
    assert (mended["state"], mended["reason"], mended["fetching_runs"]) == ("stored", None, [1, 3])


def test_a_fault_of_the_transport_is_told_in_words_wherever_its_tile_is_told_of(cli, serve, tmp_path):
    service = serve(None, Script(rules=(Rule(tiles=("0/0/0",), do="bad_length"),)))
    run = ("run", service.url, "--lods", "0-3", "-o", "out.mbtiles", "--concurrency", "1")
    assert cli(*run, "--max-tiles", "10", "-q").code == 1
    said = cli("why", "out.mbtiles", "0/0/0", "--json").json
    assert (said["state"], said["reason"], said["tried_in_run"]) == ("pending", "protocol", 1)
    assert said["detail"] and "ended before a tile came: protocol (" in said["explanation"]
    assert "no run came so far" in cli("why", "out.mbtiles", "3/7/7").out
    again = cli(*run, "--retries", "0", "--debug", "--log-file", "run.log")
    failed = cli("why", "out.mbtiles", "0/0/0", "--json").json
    words = f"protocol ({failed['detail']})"
    assert failed["detail"] and words in failed["explanation"]
    assert f"the first: 0/0/0 ({failed['detail']})" in again.err
    assert f"tile 0/0/0, try 1: {words}" in (tmp_path / "run.log").read_text()
    assert cli("report", "out.mbtiles", "--json").json["failures"][0]["detail"] == failed["detail"]
    asked = cli("tile", service.url, "0/0/0")
    assert failed["detail"] in asked.err and "status 0" not in asked.err


def test_no_connection_to_a_host_of_tiles_is_told_with_the_host(cli, serve, tmp_path):
    with socket.socket() as bound:  # bound and never listening: nobody else takes the port
        bound.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{bound.getsockname()[1]}"
        service = serve(ArcGisSite(tile_servers=(f"http://{place}/x",)))
        run = ("run", service.url, "--lods", "0", "-o", "out.mbtiles", "--retries", "0", "--allow-host", place)
        assert cli(*run).code == 1
    said = cli("why", "out.mbtiles", "0/0/0", "--json").json
    assert (said["reason"], said["detail"].partition(": ")[0]) == ("connect", place)


@pytest.mark.parametrize(
    ("site", "way"),
    [({}, "http_404"), ({"tilemap": "on"}, "tilemap"), ({"blank": True, "version": 10.0}, "blank_tile")],
)
def test_an_absent_tile_is_told_with_how_the_source_said_so(cli, serve, tmp_path, site, way):
    service = serve(ArcGisSite(absent=lambda tile: tile.level == 5 and tile.col > 20, **site))
    assert cli("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", "-q").code == 0
    said = cli("why", "out.mbtiles", "5/3/30", "--json").json
    assert (said["state"], set(said["absent_by"])) == ("absent", {way})
    assert said["absent_by"][way] == 32 * 11


def test_absences_of_a_service_that_is_gone_are_forgotten_with_its_404s(cli, serve, tmp_path):
    service = serve(ArcGisSite(absent=lambda tile: True))
    run = ("run", service.url, "--lods", "0-3", "-o", "out.mbtiles", "-q")
    assert cli(*run).code == 3
    assert cli("why", "out.mbtiles", "3/0/0", "--json").json["state"] == "pending"
    service.site.absent = lambda tile: tile.level == 3
    assert cli(*run).code == 0
    assert cli("why", "out.mbtiles", "3/0/0", "--json").json["absent_by"] == {"http_404": 64}


def test_a_pending_tile_of_a_stopped_package_is_told_before_the_package_is_there(cli, serve, tmp_path):
    service = serve()
    assert cli("run", service.url, "--lods", "0-5", "-o", "out.tpkx", "--max-tiles", "300", "-q").code == 1
    assert cli("why", "out.tpkx", "5/31/31", "--json").json["state"] == "pending"
    held = cli("why", "out.tpkx", "0/0/0", "--json").json["cache"]
    assert held["file"] == "out.tpkx.work"


def test_an_unplanned_tile_is_told_why(cli, serve, tmp_path):
    service = serve(ArcGisSite(grid=schemes.WEB_MERCATOR))
    two_policies(tmp_path, service.url)
    assert cli("run", "job.toml", "-q").code == 0

    def because(address):
        result = cli("why", "job.mbtiles", address, "--json")
        assert (result.code, result.json["state"]) == (0, "unplanned")
        return result.json["unplanned"]

    assert because("9/1/1")["because"] == "No policy selects LOD 9."
    assert because("9/1/1")["levels"] == [0, 1, 2, 3, 4, 5, 6]
    outside = because("6/3/40")
    assert outside["because"].startswith("It is outside the areas of the policies that select LOD 6")
    row_min, row_max, col_min, col_max = outside["bounds"]
    assert outside["tiles"] <= (row_max - row_min + 1) * (col_max - col_min + 1)
    assert [(one["level"], one["row"], one["col"]) for one in outside["nearby"]] == [
        (0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 0, 5),
    ]  # fmt: skip
    assert "6/30/35 is planned: the row comes before the column." in because("6/35/30")["because"]


def test_a_tile_outside_the_services_extent_is_told_as_such(cli, serve, tmp_path):
    service = serve(ArcGisSite(grid=schemes.UTM_PHILADELPHIA))
    levels = str(schemes.UTM_PHILADELPHIA.scheme.lods[0].level)
    assert cli("run", service.url, "--lods", levels, "-o", "out", "-q").code == 0
    far = cli("why", "out", f"{levels}/500000/500000", "--json").json
    assert far["unplanned"]["because"] == "It lies outside the service's extent, which bounds the plan."


def test_a_tile_of_another_shard_is_told_as_such(cli, serve, tmp_path):
    service = serve()
    for part in (1, 2):
        assert cli("run", service.url, "--lods", "0-4", "--shard", f"{part}/2", "-o", f"{part}.mbtiles", "-q").code == 0
    for address in ("0/0/0", "4/15/15"):
        said = [cli("why", f"{part}.mbtiles", address, "--json").json for part in (1, 2)]
        assert sorted(one["state"] for one in said) == ["stored", "unplanned"]
        (other,) = (one for one in said if one["state"] == "unplanned")
        assert f"not in shard {other['output'][0]}/2" in other["explanation"]


def test_a_512_pixel_level_is_told_by_the_sources_number_and_the_caches_own(cli, serve, tmp_path):
    service = serve(ArcGisSite(grid=schemes.WEB_MERCATOR_512))
    level = schemes.WEB_MERCATOR_512.scheme.lods[2].level
    assert cli("run", service.url, "--lods", str(level), "-o", "out.mbtiles", "-q").code == 0
    said = cli("why", "out.mbtiles", f"{level}/0/0", "--json").json
    with harvester.open_cache(tmp_path / "out.mbtiles") as cache:
        assert cache.read(said["cache"]["level"], said["cache"]["row"], said["cache"]["col"]) is not None
    assert said["cache"]["width"] == 512


def test_a_tile_that_was_deleted_from_the_cache_is_no_stored_tile(cli, serve, tmp_path):
    service = serve()
    assert cli("run", service.url, "--lods", "0-2", "-o", "out.mbtiles", "-q").code == 0
    with sqlite3.connect(tmp_path / "out.mbtiles") as database:
        database.execute("DELETE FROM tiles WHERE zoom_level = 2 AND tile_column = 1 AND tile_row = 1")
    database.close()
    said = cli("why", "out.mbtiles", "2/2/1", "--json").json
    assert (said["state"], said["cache"]) == ("stored", None)
    assert "the cache does not hold it" in said["explanation"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("out.mbtiles", "2/1"), 2),
        (("out.mbtiles", "-1/0/0"), 2),
        (("out.mbtiles", "2/4/0"), 2),
        (("out.mbtiles", "40/0/0"), 2),
        (("other.mbtiles", "2/0/0"), 4),
    ],
)
def test_bad_addresses_are_exit_2_and_nothing_to_look_at_exit_4(cli, serve, tmp_path, arguments, code):
    assert cli("run", serve().url, "--lods", "0-2", "-o", "out.mbtiles", "-q").code == 0
    assert cli("why", *arguments).code == code
    assert cli("why", *arguments, "--json").code == code


def test_no_token_reaches_why_report_or_page(cli, serve, tmp_path, monkeypatch):
    monkeypatch.setenv("GIS_TOKEN", SECRET)
    service = serve(ArcGisSite(office=TicketOffice(tokens={SECRET})))
    rule = Rule(kind="document", requests="1", do="json_error", status=499)
    service.script = Script(rules=(rule, Rule(tiles=("2/2/2",), do="status", status=500)))
    run = ("run", service.url, "--token-env", "GIS_TOKEN", "--lods", "0-2", "-o", "out.mbtiles", "-q", "--retries", "0")
    assert cli(*run).code == 1
    said = cli("why", "out.mbtiles", "2/2/2", "--json")
    assert said.json["state"] == "failed" and said.json["asked"].endswith("/tile/2/2/2?blankTile=false&token=***")
    shown = said.out + cli("report", "out.mbtiles", "--html", "page.html").out + cli("report", "out.mbtiles").out
    assert SECRET not in shown
    assert SECRET.encode() not in everything_in(tmp_path)


# ---- report


def test_the_report_is_the_document_that_the_run_gave(cli, serve, tmp_path):
    service = serve()
    first = cli("run", service.url, "--lods", "0-2", "-o", "out.mbtiles", "--json", "-q").json
    second = cli("run", service.url, "--lods", "0-3", "-o", "out.mbtiles", "--json", "-q").json
    assert cli("report", "out.mbtiles", "--json").json == second
    assert cli("report", "out.mbtiles", "--run", "1", "--json").json == first
    listed = cli("report", "out.mbtiles", "--list", "--json").json
    assert [(run["run"], run["complete"], run["planned"], run["fetched"]) for run in listed["runs"]] == [
        (1, True, 21, 21),
        (2, True, 85, 64),
    ]


def test_the_text_is_the_summary_that_the_run_printed(cli, serve, tmp_path):
    service = serve(None, Script(rules=(Rule(share=0.1, do="status", status=500),), seed=2))
    printed = cli("run", service.url, "--lods", "0-3", "-o", "out.mbtiles", "--retries", "0", "--progress", "none").err
    summary = printed[printed.index("LOD") :].strip()
    assert "INCOMPLETE" in summary
    result = cli("report", "out.mbtiles")
    assert result.code == 0
    assert summary in result.out
    assert result.out.startswith("run 1 of 1: began ")
    assert result.out.count("took") == 1, "one run, one duration"
    (took,) = re.findall(r"took (.+)$", result.out, re.MULTILINE)
    assert f" {took} " in cli("report", "out.mbtiles", "--list").out
    assert cli("report", "out.mbtiles", "--html", "page.html", "-q").code == 0
    page = (tmp_path / "page.html").read_text()
    assert re.findall(r", took ([^<]+)<", page) == [took]
    assert f"<td>{took}</td>" in page


def test_the_list_names_every_run(cli, serve, tmp_path):
    service = serve()
    for levels in ("0-1", "0-2"):
        cli("run", service.url, "--lods", levels, "-o", "out.mbtiles", "-q")
    lines = cli("report", "out.mbtiles", "--list").out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["1", "2"]
    assert all(line.endswith("complete") for line in lines[2:])


def test_an_unknown_run_is_exit_2_and_a_cache_without_a_ledger_exit_4(cli, serve, tmp_path):
    assert cli("run", serve().url, "--lods", "0-1", "-o", "out.mbtiles", "-q").code == 0
    refused = cli("report", "out.mbtiles", "--run", "7")
    assert refused.code == 2 and "The runs are 1" in refused.err
    (tmp_path / "out.mbtiles.ledger").unlink()
    assert cli("report", "out.mbtiles").code == 4
    assert cli("report", "nothing.mbtiles").code == 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGKILL")
def test_a_killed_run_is_told_as_one_that_did_not_end(cli, serve, spawn, tmp_path):
    service = serve()
    run = ("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", "-q", "--rate", "100")
    process = spawn(*run)
    deadline = time.monotonic() + 60
    while len(service.log.of("tile")) < 150 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    report = cli("report", "out.mbtiles", "--json").json
    assert sums_hold(report)
    assert (report["complete"], report["planned"], report["fetched"]) == (False, 1365, None)
    assert report["pending"] > 0
    text = cli("report", "out.mbtiles").out
    assert "error: run 1 did not end: it was killed, or still runs (pid " in text
    assert "what the ledger holds now:" in text
    assert cli("report", "out.mbtiles", "--list").out.rstrip().endswith("did not end")
    assert cli("report", "out.mbtiles", "--html", "page.html", "-q").code == 0
    assert "did not end" in (tmp_path / "page.html").read_text("utf-8")
    assert cli("why", "out.mbtiles", "5/31/31", "--json").json["planned_by"][0]["policy"] == 1
    assert cli(*run[:-2]).code == 0
    after = cli("report", "out.mbtiles", "--list", "--json").json["runs"]
    assert [(one["complete"], one["ended"] is None) for one in after] == [(False, True), (True, False)]


def test_the_page_shows_the_run_and_needs_no_network(cli, serve, tmp_path):
    service = serve(None, Script(rules=(Rule(tiles=("4/3/5",), do="status", status=500),)))
    cli("run", service.url, "--lods", "0-4", "-o", "out.mbtiles", "--retries", "0", "-q")
    service.log.clear()
    result = cli("report", "out.mbtiles", "--html", "page.html", "--json")
    assert result.json["failed"] == 1
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "incomplete: 1 failed" in page and "harvester why out.mbtiles 4/3/5" in page
    assert page.count('src="data:image/png;base64,') == 6
    assert "<script" not in page and 'href="' not in page
    assert service.log.of("tile") == [] and service.log.of("document") == []


def test_a_page_that_cannot_be_written_is_an_error(cli, serve, tmp_path):
    assert cli("run", serve().url, "--lods", "0-1", "-o", "out.mbtiles", "-q").code == 0
    refused = cli("report", "out.mbtiles", "--html", "nowhere/page.html")
    assert refused.code in (2, 4) and "nowhere" in refused.err


@pytest.mark.parametrize("verb", ["why", "report"])
def test_the_help_shows_an_example(cli, verb):
    shown = cli(verb, "--help").out
    assert "Example:" in shown and f"harvester {verb} streets" in shown


def test_a_failed_tile_is_missing_from_its_cache_and_not_absent(cli, serve, tmp_path):
    service = serve(None, Script(rules=(Rule(tiles=("1/1/1",), do="status", status=500),)))
    assert cli("run", service.url, "--lods", "0-1", "-o", "out.mbtiles", "--retries", "0", "-q").code == 1
    found = cli("tile", "out.mbtiles", "1/1/1", "--json")
    assert (found.code, found.json["verdict"]) == (1, "missing")
