"""Stand-ins of which no two are alike, in the place of tiles, before a source says openly that it refuses: none stays
in the cache once it serves again, and until then the report says how many tiles may be such."""

from __future__ import annotations

import pytest

from harvester.testing.script import Rule
from harvester.testing.service import ArcGisSite
from harvester.testing.tickets import TicketOffice
from tests.e2e.claims import HASTY, PATIENT, SMALL, TILES, poisoned, script, sums_hold

LYING = Rule(do="stand_in", requests="31-60")
TOKEN = "canary-token"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("name", ["out.mbtiles", "out", "out.tpkx"])
def test_what_a_busy_host_answered_before_it_said_so_is_fetched_again(serve, cli, tmp_path, name, status):
    service = serve(script=script(LYING, Rule(do="status", status=status, requests="61-63")))
    result = cli("run", service.url, "-o", name, *SMALL, *HASTY, *PATIENT)
    assert (result.code, result.json["stored"], result.json["fetched"]) == (0, TILES, TILES)
    assert sums_hold(result.json)
    assert poisoned(tmp_path / name, service.site) == set()
    assert any("fetched again" in notice for notice in result.json["notices"])
    assert result.json["tile_requests"] == service.log.count("tile")
    assert cli("verify", name, "--deep").code == 0


@pytest.mark.parametrize("status", [401, 498, 499])
@pytest.mark.parametrize("name", ["out.mbtiles", "out.gpkg", "out"])
def test_what_came_for_a_token_that_nothing_renews_is_looked_at_by_the_next_run(serve, cli, tmp_path, name, status):
    site = ArcGisSite(office=TicketOffice(tokens={TOKEN}))
    lies = Rule(do="stand_in", requests="31-60")
    service = serve(site, script(lies, Rule(do="status", status=status, requests="61-")))
    command = ("run", f"{service.url}?token={TOKEN}", "-o", name, *SMALL, *HASTY, *PATIENT)
    result = cli(*command)
    assert result.code == 3
    assert any("the next run" in notice for notice in result.json["notices"])
    service.script = script()
    again = cli(*command)
    assert (again.code, again.json["stored"]) == (0, TILES)
    assert sums_hold(again.json)
    assert poisoned(tmp_path / name, service.site) == set()
    assert again.json["fetched"] + again.json["kept"] == TILES
    third = cli(*command)
    assert (third.code, third.json["tile_requests"]) == (0, 0)
