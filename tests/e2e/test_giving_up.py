"""A run against a service that will not give its tiles ends by itself, and the same command goes on once it does."""

from __future__ import annotations

from harvester.testing.script import Rule
from tests.e2e.claims import files, script, sums_hold

WORLD = ("--lods", "5", "--json", "-q", "--timeout", "60")
"""1,024 tiles, and no fault but the scripted ones."""


def test_a_service_that_fails_all_but_one_tile_is_given_up_though_no_tile_is_tried_again(serve, cli, tmp_path):
    service = serve(script=script(Rule(do="status", status=500, requests="2-")))
    result = cli("run", service.url, *WORLD, "-o", "out.mbtiles", "--retries", "0", "--give-up-after", "6s")
    assert (result.code, result.json["error"]["code"]) == (3, "source_failing")
    assert result.json["stored"] == 1
    assert result.json["pending"] > 900
    assert sums_hold(result.json)
    asked = service.log.count("tile")
    assert asked == result.json["tile_requests"] < 80
    assert result.json["stored"] + result.json["failed"] + result.json["questions"] == asked, "each once, but to probe"
    assert result.json["retries"] == 0
    assert files(tmp_path) == {"out.mbtiles", "out.mbtiles.ledger"}
    service.script = script()
    again = cli("run", service.url, *WORLD, "-o", "out.mbtiles", "--retries", "0")
    assert (again.code, again.json["stored"], again.json["kept"]) == (0, 1024, 1)


def test_a_service_that_asks_to_come_back_tomorrow_before_any_tile_is_exit_3(serve, cli):
    service = serve(script=script(Rule(do="status", status=503, retry_after=86400)))
    result = cli("run", service.url, *WORLD, "-o", "out.mbtiles")
    assert (result.code, result.json["error"]["code"]) == (3, "retry_after")
    assert result.json["pending"] == 1024
    assert "1440 minutes" in result.err
    assert service.log.count("tile") <= 4
