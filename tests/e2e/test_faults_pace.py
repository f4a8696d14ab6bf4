"""The promises of pace, confirmed by the servers' own logs; and what the tilemap saves, or does not when it lies."""

from __future__ import annotations

import pytest

from harvester.testing.log import Asked
from harvester.testing.script import Capacity, Rule, Script
from harvester.testing.service import TILEMAPS, ArcGisSite
from harvester.tiling.tile import Tile
from tests.e2e.claims import HASTY, SMALL, STALLS, TILES, held, poisoned, script


def most_in_a_second(asked: list[Asked]) -> int:
    """The most requests that any half-open window of one second holds."""
    starts = sorted(one.at for one in asked)
    most = first = 0
    for index, at in enumerate(starts):
        while starts[first] <= at - 1.0:
            first += 1
        most = max(most, index - first + 1)
    return most


def hole(tile: Tile) -> bool:
    """A fifth of the tiles of level 3 is not there."""
    return tile.level == 3 and (tile.row + tile.col) % 5 == 0


HOLES = 12


# ------------------------------------------------------------------------------------------------ pace


def test_no_second_holds_more_requests_than_rate_and_a_busy_one_hardly_fewer(serve, cli):
    """Tiles, retries and tilemap windows, summed over the tile servers."""
    rate = 50
    faults = Rule(do="status", status=500, share=0.2, tries="1")
    other = serve(ArcGisSite(absent=hole, tilemap="on"), script(faults, seed=2))
    service = serve(ArcGisSite(absent=hole, tilemap="on"), script(faults, seed=1))
    service.site.tile_servers = (service.url, other.url)
    result = cli(
        *("run", service.url, "--lods", "0-3", "-o", "out.mbtiles", "--json", "-q"),
        *("--rate", rate, "--allow-host", "127.0.0.1"),
    )
    assert (result.code, result.json["stored"]) == (0, TILES - HOLES)
    assert other.log.count("tile") > 20 and service.log.count("tile") > 20
    asked = [one for log in (service.log, other.log) for kind in ("tile", "tilemap") for one in log.of(kind)]
    assert len(asked) == result.json["requests"] - service.log.count("document")
    assert 0.85 * rate <= most_in_a_second(asked) <= rate


def test_a_rate_below_one_is_kept_too(serve, cli):
    service = serve()
    result = cli("run", service.url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY, "--rate", "2.5", "--max-tiles", "3")
    assert result.json["stored"] == 3
    assert service.log.max_in_window(1.0, "tile") <= 2


@pytest.mark.parametrize("concurrency", [1, 3])
def test_never_more_requests_are_under_way_than_concurrency_says(serve, cli, concurrency):
    service = serve(ArcGisSite(tilemap="on"), Script(latency=0.02))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, "--concurrency", concurrency)
    assert result.code == 0
    assert service.log.max_concurrency() == concurrency
    assert service.log.max_connections <= concurrency + 1  # and the document's


def test_a_server_with_a_knee_is_harvested_whole_and_most_requests_are_served(serve, cli, tmp_path):
    service = serve(script=Script(capacity=Capacity(concurrent=6), latency=0.01))
    result = cli("run", service.url, "--lods", "0-4", "-o", "out.mbtiles", *HASTY)
    assert (result.code, result.json["stored"], result.json["failed"]) == (0, 341, 0)
    assert result.json["throttled"] < 80
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


# ------------------------------------------------------------------------------------------------ tilemap

TRUSTED = {"on", "adjusted", "moved"}
"""These say the truth, the last two of another window than the one asked."""


@pytest.mark.parametrize("how", sorted(set(TILEMAPS) - {"422"}))
def test_whatever_the_tilemap_does_the_cache_holds_what_the_service_serves(serve, cli, tmp_path, how):
    """Where it says the truth a few of the tiles that it denies are asked, to see that it does; where it can't be
    trusted, all are."""
    service = serve(ArcGisSite(absent=hole, tilemap=how))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY)
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, TILES - HOLES, HOLES)
    assert len(held(tmp_path / "out.mbtiles")) == TILES - HOLES
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()
    asked_in_vain = sum(hole(tile) for tile in service.log.tiles())
    assert service.log.count("tilemap") == (0 if how == "off" else 2)
    assert (asked_in_vain, result.json.get("questions", 0)) == (HOLES, HOLES if how in TRUSTED else 0)


def test_a_422_for_a_window_means_that_its_tiles_are_absent(serve, cli):
    service = serve(ArcGisSite(tilemap="422", absent=lambda tile: tile.level > 1))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY)
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, 5, 80)
    assert service.log.count("tile") == 5 + result.json["questions"] <= 5 + 32


def test_a_tilemap_that_promises_tiles_which_are_not_there_leaves_them_absent(serve, cli):
    service = serve(ArcGisSite(absent=hole, tilemap="on", tilemap_says=lambda tile: True))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY)
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, TILES - HOLES, HOLES)


def test_tilemap_off_asks_for_no_tilemap(serve, cli):
    service = serve(ArcGisSite(tilemap="on", tilemap_says=lambda tile: not hole(tile)))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, "--tilemap", "off")
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert service.log.count("tilemap") == 0


FINE = ("--lods", "3-4", *HASTY)
"""320 tiles, all in blocks that are asked for by their tilemap windows."""


@pytest.mark.parametrize("how", ["on", "422"])
def test_a_tilemap_that_denies_every_tile_is_held_against_a_few_of_them(serve, cli, tmp_path, how):
    """Where they are there all are asked, with a notice, also by the run that goes on; else an empty cache would be
    called complete."""
    service = serve(ArcGisSite(tilemap=how, tilemap_says=lambda tile: False))
    part = cli("run", service.url, *FINE, "-o", "out.mbtiles", "--max-tiles", "100")
    assert (part.code, part.json["stored"]) == (1, 100)
    windows = service.log.count("tilemap")
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, 320, 0)
    assert any("tilemap denies every tile" in text for text in part.json["notices"])
    assert service.log.count("tilemap") == windows, "it is not asked again"
    assert service.log.count("tile") <= 320 + 8 + 40
    assert part.json["requests"] + result.json["requests"] == len(service.log)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()
    assert len(held(tmp_path / "out.mbtiles")) == 320


@pytest.mark.parametrize(
    ("rule", "code", "error"),
    [
        (Rule(do="status", status=503, retry_after=3600, kind="tile"), 1, "retry_after"),
        (Rule(do="status", status=500, kind="tile"), 3, "source_failing"),
    ],
    ids=["busy for an hour", "failing"],
)
def test_where_nothing_can_be_learned_of_the_tiles_a_tilemap_that_denies_all_is_not_believed(
    serve, cli, tmp_path, rule, code, error
):
    """The run is not complete, and the next one finds out."""
    service = serve(ArcGisSite(tilemap="on", tilemap_says=lambda tile: False), script(rule))
    result = cli("run", service.url, *FINE, "--give-up-after", "1s", "-o", "out.mbtiles")
    assert (result.code, result.json["error"]["code"]) == (code, error)
    assert (result.json["pending"], result.json["absent"]) == (320, 0)
    assert service.log.count("tile") <= 32
    service.script = script()
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"]) == (0, 320)


@pytest.mark.parametrize("there", ["nothing", "one picture for all"])
def test_a_tilemap_that_truly_has_nothing_costs_a_few_requests_and_is_believed(serve, cli, tmp_path, there):
    """Beyond their data, services may give one picture for every tile, which nobody wants by the thousand."""
    grey = ArcGisSite().body(Tile(3, 1, 1))
    site = ArcGisSite(tilemap="on", tilemap_says=lambda tile: False, tile=lambda tile: grey)
    service = serve(ArcGisSite(tilemap="on", absent=lambda tile: True) if there == "nothing" else site)
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, 0, 320)
    assert 0 < service.log.count("tile") <= 32
    assert result.json["tile_requests"] == service.log.count("tile")
    assert any("none of the 320 tiles exists" in text for text in result.json["notices"])
    service.log.clear()
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0
    assert service.log.count("tile") == 0


@pytest.mark.parametrize(
    "rule",
    [
        Rule(do="status", status=500, kind="tilemap"),
        Rule(do="status", status=404, kind="tilemap"),
        Rule(do="reset_inside", kind="tilemap"),
        Rule(do="stall", kind="tilemap"),
        Rule(do="garbage", kind="tilemap"),
        Rule(do="status", status=503, kind="tilemap", times=2),
        Rule(do="gzip_bomb", kind="tilemap"),
    ],
    ids=lambda rule: f"{rule.do} {rule.status or ''}",
)
def test_a_tilemap_in_trouble_stops_nothing(serve, cli, tmp_path, rule):
    service = serve(ArcGisSite(absent=hole, tilemap="on"), script(rule))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, *STALLS, "--retries", "3")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, TILES - HOLES, HOLES)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


@pytest.mark.parametrize(("version", "asks"), [(10.0, False), (11.1, True)])
def test_blank_tiles_are_absent_not_stored(serve, cli, tmp_path, version, asks):
    """New servers are asked for 404 instead (blankTile=false), old ones say it in a header."""
    service = serve(ArcGisSite(absent=hole, blank=True, version=version))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY)
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, TILES - HOLES, HOLES)
    assert all(("blankTile=false" in asked.target) is asks for asked in service.log.of("tile"))
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


def test_an_absent_tile_is_not_asked_again_by_the_next_run(serve, cli):
    """Row 17."""
    service = serve(ArcGisSite(absent=hole))
    assert cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY).code == 0
    service.log.clear()
    again = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY)
    assert (again.json["tile_requests"], again.json["absent"]) == (0, HOLES)
    assert service.log.count("tile") == 0
