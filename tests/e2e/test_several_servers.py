"""Services that name several tile servers, one of which is sick: the others give every tile, at their own pace."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from harvester.testing.script import Rule
from harvester.testing.service import ArcGisSite
from harvester.tiling.tile import Tile
from tests.e2e.claims import failures, poisoned, script, sums_hold

TILES = 1365
RUN = ("--lods", "0-5", "-o", "out.mbtiles", "--json", "-q", "--allow-host", "127.0.0.1", "--timeout", "6")

PROBES = 72
"""More than a breaker lets through, and the requests that are under way by then."""

SICKNESSES = {
    "busy": Rule(do="status", status=503),
    "busy for an hour": Rule(do="status", status=503, retry_after=3600),
    "busy for half a minute": Rule(do="status", status=429, retry_after=30),
    "stalling": Rule(do="stall"),
    "broken": Rule(do="status", status=500),
    "resetting": Rule(do="reset_before"),
    "a portal": Rule(do="html", text="<html>log in</html>"),
    "refusing": Rule(do="status", status=403),
    "not knowing the token": Rule(do="status", status=498),
    "not knowing the token, in a page with 200": Rule(do="json_error", status=498),
    "knowing no tile": Rule(do="status", status=404),
    "having no content": Rule(do="status", status=204),
    "blank": Rule(do="blank_tile"),
    "empty": Rule(do="empty"),
}

ABSENCES = ("knowing no tile", "having no content", "blank")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken and not listened at: every connection is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("sickness", SICKNESSES)
def test_one_sick_tile_server_of_three_costs_no_tile_and_few_requests(serve, cli, tmp_path, sickness):
    service, other, sick = serve(), serve(), serve(script=script(SICKNESSES[sickness]))
    service.site.tile_servers = (sick.url, service.url, other.url)
    result = cli("run", service.url, *RUN)
    assert (result.code, result.json["stored"], result.json["failed"]) == (0, TILES, 0)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()
    assert sick.log.count("tile") <= PROBES
    assert service.log.count("tile") + other.log.count("tile") <= 1.1 * TILES
    assert min(service.log.count("tile"), other.log.count("tile")) > TILES / 5
    notices = result.json["notices"]
    assert not any("stand-ins" in notice for notice in notices), "those that serve bear all out"
    wrong = [notice for notice in notices if "not there" in notice]
    assert len(wrong) == (sickness in ABSENCES)
    assert all(sick.url.split("/arcgis")[0] in notice for notice in wrong)


def test_what_no_tile_server_has_is_absent_and_hardly_asked_twice(serve, cli):
    """Empty sea, the same at each: no server is held to be wrong."""
    service, other = serve(), serve()
    service.site.tile_servers = (service.url, other.url)
    for one in (service, other):
        one.site.absent = lambda tile: tile.level == 5 and tile.col % 2 == 1
    result = cli("run", service.url, *RUN, "--tilemap", "off")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, TILES - 512, 512)
    assert service.log.count("tile") + other.log.count("tile") <= TILES + 2 * 8 + 0.04 * 512
    assert not any("tile server" in notice for notice in result.json["notices"])


@pytest.mark.parametrize("how", ["on", "422", "html"])
def test_a_tile_server_whose_tilemap_is_wrong_costs_no_tile(serve, cli, tmp_path, how):
    """Denying all, or unreadable; the other one's says the truth."""

    def sea(tile: Tile) -> bool:
        return tile.col % 4 == 1

    service = serve(ArcGisSite(absent=sea, tilemap="on"))
    wrong = serve(ArcGisSite(absent=sea, tilemap=how, tilemap_says=lambda tile: False))
    service.site.tile_servers = (wrong.url, service.url)
    result = cli("run", service.url, *RUN)
    there = sum((not sea(Tile(level, 0, col))) * 2**level for level in range(6) for col in range(2**level))
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, there, TILES - there)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()
    told = any("tilemaps of the tile servers differ" in text for text in result.json["notices"])
    assert told == (how != "html")
    asked = service.log.count("tile") + wrong.log.count("tile")
    assert asked <= there + 40, "what both know nothing of is not asked"
    assert service.log.count("tilemap") + wrong.log.count("tilemap") <= 2 * 4


@pytest.mark.parametrize("sickness", ["busy for an hour", "busy for half a minute", "broken", "refusing"])
def test_a_sample_is_told_by_the_tile_servers_that_are_well(serve, cli, sickness):
    service, sick = serve(), serve(script=script(SICKNESSES[sickness]))
    service.site.tile_servers = (sick.url, service.url)
    result = cli("plan", service.url, "--lods", "0-5", "--sample", "20", "--json", "--allow-host", "127.0.0.1")
    assert (result.code, result.json["planned"]) == (0, TILES)
    assert result.json["estimate"]["bytes"] > 0
    assert service.log.count("tile") == 1 + 4 + 16 + 3 * 20, "each tile of the sample"
    assert sick.log.count("tile") <= 1 + 4 + 16 + 3 * 20


def test_a_tilemap_that_denies_all_is_held_against_tiles_of_the_server_that_is_well(serve, cli):
    site = ArcGisSite(tilemap="on", tilemap_says=lambda tile: False)
    sick = serve(
        ArcGisSite(tilemap="on", tilemap_says=lambda tile: False), script(SICKNESSES["busy for half a minute"])
    )
    service = serve(site)
    service.site.tile_servers = (sick.url, service.url)
    result = cli("run", service.url, *RUN, "--lods", "4-5")
    assert (result.code, result.json["stored"]) == (0, 256 + 1024)


@pytest.mark.parametrize("levels", ["0-2", "0-3"])
def test_a_tile_server_that_never_knows_the_token_puts_no_tile_of_the_others_in_doubt(serve, cli, levels):
    service, other = serve(), serve()
    sick = serve(script=script(Rule(do="json_error", status=498)))
    service.site.tile_servers = (service.url, sick.url, other.url)
    result = cli("run", service.url, *RUN, "--lods", levels)
    assert (result.code, result.json["failed"], result.json["pending"]) == (0, 0, 0)
    assert not any("stand-ins" in notice for notice in result.json["notices"])


def test_a_tile_server_that_is_gone_costs_no_tile(serve, cli, tmp_path, closed_port):
    service = serve()
    service.site.tile_servers = (f"http://127.0.0.1:{closed_port}/arcgis/rest/services/Gone/MapServer", service.url)
    result = cli("run", service.url, *RUN)
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()
    assert result.json["tile_requests"] <= TILES + PROBES


def test_tile_servers_are_asked_in_turn_over_connections_that_are_kept(serve, cli):
    service, other = serve(), serve()
    service.site.tile_servers = (service.url, other.url)
    result = cli("run", service.url, *RUN)
    assert (result.code, result.json["stored"]) == (0, TILES)
    for log in (service.log, other.log):
        assert log.count("tile") > TILES / 4
        assert len({asked.connection for asked in log.of("tile")}) <= 32


def test_tile_servers_that_all_fail_end_the_run_with_exit_3_after_few_requests(serve, cli):
    broken = script(SICKNESSES["broken"])
    service, other = serve(script=broken), serve(script=broken)
    service.site.tile_servers = (service.url, other.url)
    result = cli("run", service.url, *RUN, "--give-up-after", "4s")
    assert (result.code, result.json["error"]["code"]) == (3, "source_failing")
    assert result.json["pending"] == TILES and sums_hold(result.json)
    assert service.log.count("tile") + other.log.count("tile") <= 2 * PROBES


def test_tile_servers_that_all_ask_to_come_back_later_are_left_alone(serve, cli):
    busy = script(SICKNESSES["busy for an hour"])
    service, other = serve(script=busy), serve(script=busy)
    service.site.tile_servers = (service.url, other.url)
    result = cli("run", service.url, *RUN)
    assert (result.code, result.json["error"]["code"]) == (3, "retry_after")
    assert "60 minutes" in result.err
    assert max(service.log.count("tile"), other.log.count("tile")) <= 4


def test_tiles_that_no_tile_server_gives_are_the_failed_ones(serve, cli):
    bad = Rule(do="status", status=500, levels="5", rows="7")
    service, other = serve(script=script(bad)), serve(script=script(bad))
    service.site.tile_servers = (service.url, other.url)
    result = cli("run", service.url, *RUN, "--retries", "1")
    assert (result.code, result.json["failed"]) == (1, 32)
    assert set(failures(result.json)) == {f"5/7/{col}" for col in range(32)}
    assert result.json["stored"] == TILES - 32
