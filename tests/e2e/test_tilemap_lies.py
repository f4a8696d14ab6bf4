"""A tilemap that denies what is there, held against some of the tiles before a run calls its cache complete."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from harvester.testing.script import Rule
from harvester.testing.service import ArcGisSite
from harvester.tiling.tile import Tile
from tests.e2e.claims import HASTY, held, poisoned, script, sums_hold

FINE = ("--lods", "3-5", *HASTY)
ALL = 64 + 256 + 1024
ASKED = 32
"""Questions that an honest service is asked at most."""


def west(tile: Tile) -> bool:
    return tile.col < 2**tile.level // 2


def gap(tile: Tile) -> bool:
    """One tile in ten."""
    return (tile.row + tile.col) % 10 == 3


LIES = {
    "a quarter of a LOD": (lambda tile: True, lambda tile: tile.level < 5 or tile.row >= 16 or tile.col >= 16),
    "one tile in ten": (lambda tile: True, lambda tile: not gap(tile)),
    "columns for rows": (west, lambda tile: west(Tile(tile.level, tile.col, tile.row))),
    "all but one tile in a hundred": (lambda tile: True, lambda tile: (tile.row * 7 + tile.col * 31) % 100 == 0),
}


def lying(how: str) -> ArcGisSite:
    there, said = LIES[how]
    return ArcGisSite(tilemap="on", absent=lambda tile: not there(tile), tilemap_says=said)


def expected(how: str) -> int:
    return ALL // 2 if how == "columns for rows" else ALL


def test_tile_servers_whose_tilemaps_tell_the_same_lie_are_found_out_too(serve, cli, tmp_path):
    one, other = serve(lying("one tile in ten")), serve(lying("one tile in ten"))
    one.site.tile_servers = (one.url, other.url)
    result = cli("run", one.url, *FINE, "--allow-host", "127.0.0.1", "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["questions"]) == (0, ALL, ASKED)
    assert poisoned(tmp_path / "out.mbtiles", one.site) == set()


@pytest.mark.parametrize("how", LIES)
def test_what_a_lying_tilemap_denies_is_in_the_cache_all_the_same(serve, cli, tmp_path, how):
    service = serve(lying(how))
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["fetched"]) == (0, expected(how), expected(how))
    assert result.json["absent"] == ALL - expected(how)
    assert sums_hold(result.json)
    assert len(held(tmp_path / "out.mbtiles")) == expected(how)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()
    assert any("tilemap denies tiles that are there" in text for text in result.json["notices"])
    assert 0 < result.json["questions"] <= 2 * ASKED
    assert result.json["requests"] == len(service.log)
    service.log.clear()
    again = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (again.code, again.json["kept"], service.log.count("tile"), service.log.count("tilemap")) == (
        *(0, expected(how)), 0, 0
    )  # fmt: skip


def test_an_honest_tilemap_is_believed_after_a_few_questions(serve, cli):
    service = serve(ArcGisSite(tilemap="on", absent=west))
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, ALL // 2, ALL // 2)
    asked_in_vain = [tile for tile in service.log.tiles() if west(tile)]
    assert len(asked_in_vain) == result.json["questions"] == ASKED
    assert {tile.level for tile in asked_in_vain} == {3, 4, 5}
    assert not [text for text in result.json["notices"] if "tilemap" in text]
    service.log.clear()
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0
    assert service.log.count("tile") == 0


def test_one_picture_for_all_that_it_denies_is_no_sign_that_it_lies(serve, cli):
    grey = ArcGisSite().body(Tile(3, 1, 1))
    right = ArcGisSite()
    service = serve(
        ArcGisSite(
            tilemap="on", tilemap_says=lambda tile: not west(tile),
            tile=lambda tile: grey if west(tile) else right.body(tile),
        )
    )  # fmt: skip
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, ALL // 2, ALL // 2)
    assert result.json["questions"] == ASKED


def test_one_tile_that_is_there_is_enough(serve, cli):
    """Of twelve that the tilemap denies; the others are not there."""
    denied = [Tile(4, 3, col) for col in range(12)]
    service = serve(
        ArcGisSite(
            tilemap="on", absent=lambda tile: tile in denied[1:], tilemap_says=lambda tile: tile not in denied
        )
    )  # fmt: skip
    result = cli("run", service.url, "--lods", "4", *HASTY, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, 245, 11)


def test_a_budget_that_ends_a_run_leaves_the_question_to_the_next(serve, cli, tmp_path):
    service = serve(lying("one tile in ten"))
    part = cli("run", service.url, *FINE, "-o", "out.mbtiles", "--max-tiles", "700")
    assert (part.code, part.json["stored"], part.json.get("questions", 0)) == (1, 700, 0)
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"]) == (0, ALL)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


def test_a_budget_holds_for_both_parts_of_a_run(serve, cli):
    honest = sum(
        not gap(Tile(level, row, col)) for level in (3, 4, 5) for row in range(2**level) for col in range(2**level)
    )
    service = serve(lying("one tile in ten"))
    part = cli("run", service.url, *FINE, "-o", "out.mbtiles", "--max-tiles", honest + 20)
    assert (part.code, part.json["stored"], part.json["fetched"]) == (1, honest + 20, honest + 20)
    assert part.json["pending"] == ALL - honest - 20
    assert f"--max-tiles {honest + 20} " in part.json["error"]["message"]


def test_a_run_that_was_killed_before_the_question_leaves_it_to_the_next(serve, cli, tmp_path):
    service = serve(ArcGisSite(tilemap="on", absent=west))
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0
    with closing(sqlite3.connect(tmp_path / "out.mbtiles.ledger")) as ledger, ledger:
        ((plan,),) = ledger.execute("SELECT value FROM meta WHERE name = 'plan'").fetchall()
        ledger.execute(
            "UPDATE meta SET value = ? WHERE name = 'tilemap_unproven'", (json.dumps([json.loads(plan)]),)
        )  # fmt: skip
    assert "was not held against any tile" in cli("verify", "out.mbtiles").err
    service.site.absent = lambda tile: False
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["kept"]) == (0, ALL, ALL // 2)
    assert "note" not in cli("verify", "out.mbtiles").err


def test_denied_tiles_that_are_answered_by_failures_say_nothing_against_the_tilemap(serve, cli):
    service = serve(
        ArcGisSite(tilemap="on", absent=west),
        script(*(Rule(do="status", status=500, levels=str(n), cols=f"0-{2**n // 2 - 1}") for n in (3, 4, 5))),
    )
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, ALL // 2, ALL // 2)
    service.log.clear()
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0
    assert service.log.count("tile") == 0


def test_where_the_host_asks_to_come_back_nothing_is_known_and_nothing_called_complete(serve, cli):
    rules = [
        Rule(do="status", status=503, retry_after="3600", levels=str(n), cols=f"0-{2**n // 2 - 1}") for n in (3, 4, 5)
    ]
    service = serve(ArcGisSite(tilemap="on", tilemap_says=lambda tile: not west(tile)), script(*rules))
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["pending"]) == (1, ALL // 2, ALL // 2)
    assert cli("verify", "out.mbtiles").code == 1
    service.script = script()
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"]) == (0, ALL)
