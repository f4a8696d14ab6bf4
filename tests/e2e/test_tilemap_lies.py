"""A tilemap that denies what is there, held against some of the tiles before a run calls its cache complete."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harvester.testing.script import Rule
from harvester.testing.service import ArcGisSite
from harvester.tiling.tile import Tile
from tests.e2e.claims import HASTY, held, poisoned, script, sums_hold

FINE = ("--lods", "3-5", *HASTY)
ALL = 64 + 256 + 1024
ALL_OF_5 = 1024
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
    leave_unproven(tmp_path / "out.mbtiles.ledger")
    service.site.absent = lambda tile: False
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["kept"]) == (0, ALL, ALL // 2)
    assert cli("verify", "out.mbtiles").code == 0


def half(do: str, **more) -> list[Rule]:
    """What becomes of the western half."""
    return [Rule(do=do, levels=str(n), cols=f"0-{2**n // 2 - 1}", **more) for n in (3, 4, 5)]


NO_WORD = {
    "500": half("status", status=500),
    "504": half("status", status=504),
    "403": half("status", status=403),
    "304": half("status", status=304),
    "410": half("status", status=410),
    "401": half("status", status=401),
    "a reset": half("reset_before"),
    "a page": half("html"),
}
"""Answers to denied tiles that say neither that these are there nor that they are not."""


@pytest.mark.parametrize("how", NO_WORD)
def test_where_questions_fail_nothing_is_called_complete_and_the_next_run_asks_again(serve, cli, tmp_path, how):
    service = serve(ArcGisSite(tilemap="on", tilemap_says=lambda tile: not west(tile)), script(*NO_WORD[how]))
    result = cli("run", service.url, *FINE, "--give-up-after", "1s", "-o", "out.mbtiles")
    assert (result.code, result.json["complete"], result.json["error"]["code"]) == (1, False, "tilemap_unproven")
    assert (result.json["stored"], result.json["absent"], result.json["pending"]) == (ALL // 2, 0, ALL // 2)
    assert sums_hold(result.json)
    assert cli("verify", "out.mbtiles").code == 1
    service.script = script()
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"]) == (0, ALL)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()
    assert cli("verify", "out.mbtiles").code == 0


def named_failed(report) -> set[Tile]:
    return {Tile(one["level"], one["row"], one["col"]) for one in report["failures"]}


def test_of_a_few_denied_tiles_each_counts_for_itself(serve, cli):
    """Of twelve tiles that the tilemap denies, and that are not there but for one, which fails at first."""
    denied = [Tile(4, 3, col) for col in range(12)]
    service = serve(
        ArcGisSite(
            tilemap="on", absent=lambda tile: tile in denied[1:], tilemap_says=lambda tile: tile not in denied
        ),
        script(Rule(do="status", status=500, levels="4", rows="3", cols="0")),
    )  # fmt: skip
    result = cli("run", service.url, "--lods", "4", *HASTY, "-o", "out.mbtiles")
    assert (result.code, result.json["failed"], result.json["absent"], result.json["pending"]) == (1, 1, 11, 0)
    assert sums_hold(result.json)
    assert named_failed(result.json) == {Tile(4, 3, 0)}
    assert cli("verify", "out.mbtiles").code == 1
    service.script = script()
    result = cli("run", service.url, "--lods", "4", *HASTY, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, 245, 11)


def asked_in_vain(serve, cli) -> list[Tile]:
    """What an honest service is asked."""
    service = serve(ArcGisSite(tilemap="on", absent=west))
    assert cli("run", service.url, *FINE, "-o", "honest.mbtiles").code == 0
    return sorted(tile for tile in service.log.tiles() if west(tile))


def only(tiles, status: int) -> list[Rule]:
    """These fail for good."""
    return [
        Rule(do="status", status=status, levels=str(tile.level), rows=str(tile.row), cols=str(tile.col))
        for tile in tiles
    ]


@pytest.mark.parametrize("status", [500, 403, 429])
@pytest.mark.parametrize("every", [32, 2])
def test_questions_that_fail_for_good_are_failed_tiles_and_others_are_asked_instead(
    serve, cli, tmp_path, status, every
):
    bad = asked_in_vain(serve, cli)[::every]
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*only(bad, status)))
    for number in range(1 if status == 429 else 2):  # asked as any tile, it is waited for as long as it is refused
        result = cli("run", service.url, *FINE, "--give-up-after", "1s", "-o", "out.tpkx")
        assert (result.code, result.json["stored"], result.json["failed"], result.json["pending"]) == (
            *(1, ALL // 2, len(bad)), 0
        )  # fmt: skip
        assert "error" not in result.json
        assert sums_hold(result.json)
        assert named_failed(result.json) == set(bad)
        assert (tmp_path / "out.tpkx").is_file()
        well = {tile for tile in service.log.tiles() if west(tile)} - set(bad)
        assert len(well) >= ASKED
        if every == ASKED and number:  # the tile itself is asked, and what was proven not once more
            assert result.json.get("questions", 0) == 0
    assert cli("verify", "out.tpkx").code == 1
    service.script = script()
    result = cli("run", service.url, *FINE, "-o", "out.tpkx")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, ALL // 2, ALL // 2)
    assert cli("verify", "out.tpkx").code == 0


def test_a_failed_question_that_is_answered_with_a_tile_by_the_next_run_is_a_lie_found_out(serve, cli):
    bad = asked_in_vain(serve, cli)[:1]
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*only(bad, 500)))
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").json["failed"] == 1
    service.script = script()
    service.site.absent = lambda tile: west(tile) and tile not in bad
    service.site.tilemap_says = lambda tile: not west(tile)
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, ALL // 2 + 1, ALL // 2 - 1)


def test_the_message_says_how_many_were_asked_and_how_many_answered(serve, cli):
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*half("status", status=500)))
    result = cli("run", service.url, *FINE, "--give-up-after", "1s", "-o", "out.mbtiles")
    assert result.json["error"]["code"] == "tilemap_unproven"
    asked = len({tile for tile in service.log.tiles() if west(tile)})
    assert f"only 0 of {asked} that were asked" in result.json["error"]["message"]


def test_in_a_shard_others_are_asked_as_well_instead_of_those_that_fail(serve, cli):
    """Two thirds of what is denied are refused for good, and all of it lies in one window."""
    service = serve(
        ArcGisSite(tilemap="on", absent=lambda tile: tile.col % 2 == 1),
        script(*(Rule(do="status", status=403, levels="5", cols=f"{col}") for col in range(32) if col % 6 in (1, 3))),
    )
    result = cli("run", service.url, "--lods", "5", "--shard", "2/2", *HASTY, "-o", "out.mbtiles").json
    denied = [tile for tile in service.log.tiles() if tile.col % 2]
    well = [tile for tile in denied if tile.col % 6 == 5]
    assert len(set(denied)) == 2 * ASKED
    assert (result["failed"], result["absent"], result["pending"]) == (
        len(set(denied) - set(well)),
        256 - 2 * ASKED + len(well),
        0,
    )
    assert len(well) >= ASKED // 2 and sums_hold(result)


def test_tiles_that_failed_before_are_failed_again_where_the_host_gives_nothing(serve, cli):
    """Nothing else is left to ask, and what was believed is not held against others once more."""
    rows = [row for row in range(32) if row % 5 < 2]
    denied = [Rule(do="status", status=403, levels="5", rows=str(row), cols="0-15") for row in rows]
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*denied))
    run = ("run", service.url, "--lods", "5", *HASTY, "--give-up-after", "1s", "-o", "out.mbtiles")
    first = cli(*run).json
    assert first["failed"] > 0 and first["pending"] == 0
    service.script = script(Rule(do="status", status=500))
    again = cli(*run)
    assert again.code == 1 and "error" not in again.json, again.err
    assert (again.json["failed"], again.json["absent"], again.json["pending"]) == (first["failed"], first["absent"], 0)
    assert named_failed(again.json) == named_failed(first) and sums_hold(again.json)
    reasons = {failure["reason"].partition(" ")[0] for failure in again.json["failures"]}
    assert reasons == {"http_500", "failed_before"}
    service.script = script()
    healed = cli(*run)
    assert (healed.code, healed.json["absent"], healed.json["failed"]) == (0, ALL_OF_5 // 2, 0)


def test_a_host_that_is_busy_for_denied_tiles_alone_is_not_waited_for_without_end(serve, cli):
    """Few are asked, since it gives nothing but refusals; that it waits is told meanwhile."""
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*half("status", status=503)))
    limits = ("--give-up-after", "2s", "--progress", "json")
    result = cli("run", service.url, *FINE, *limits, "-o", "out.mbtiles")
    assert (result.code, result.json["error"]["code"]) == (1, "tilemap_unproven")
    assert (result.json["stored"], result.json["pending"]) == (ALL // 2, ALL // 2)
    assert service.log.count("tile") - ALL // 2 <= 2 * ASKED + 2
    assert "the last answer was http_503" in result.err
    service.script = script()
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0


def test_a_shard_whose_tiles_are_all_denied_and_fail_ends_with_1(serve, cli):
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*half("status", status=403)))
    bbox = ("--bbox=-170,-80,-10,80",)
    result = cli("run", service.url, *FINE, *bbox, "-o", "out.mbtiles")
    assert (result.code, result.json["error"]["code"]) == (1, "tilemap_unproven")


def test_a_question_that_fails_in_passing_is_asked_again_by_the_same_run(serve, cli):
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*half("status", status=500, tries="1", share=0.3)))
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, ALL // 2, ALL // 2)


def test_denied_tiles_that_all_fail_at_first_are_asked_once_more_where_the_host_is_well(serve, cli):
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*half("status", status=500, tries="1")))
    result = cli("run", service.url, *FINE, "--give-up-after", "2s", "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, ALL // 2, ALL // 2), result.err


def test_what_was_believed_is_believed_by_the_next_equal_run(serve, cli):
    """Two in five of the denied tiles are refused, for good."""
    rows = [(n, row) for n in (3, 4, 5) for row in range(2**n) if row % 5 < 2]
    rules = [Rule(do="status", status=403, levels=str(n), rows=str(row), cols=f"0-{2**n // 2 - 1}") for n, row in rows]
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*rules))
    first = cli("run", service.url, *FINE, "-o", "out.mbtiles").json
    assert first["failed"] > 0 and first["pending"] == 0
    for _ in range(3):
        again = cli("run", service.url, *FINE, "-o", "out.mbtiles").json
        assert (again["failed"], again["absent"], again["pending"]) == (first["failed"], first["absent"], 0)
        assert sums_hold(again) and len(again["failures"]) == first["failed"]
    service.script = script()
    healed = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (healed.code, healed.json["absent"], healed.json["failed"]) == (0, ALL // 2, 0)


def test_what_is_not_known_is_no_failure(serve, cli):
    """Of denied tiles that failed when they were asked, none is listed while all are pending."""
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*half("status", status=403)))
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles").json
    assert (result["error"]["code"], result["failed"], result["failures"]) == ("tilemap_unproven", 0, [])
    assert cli("report", "out.mbtiles", "--json").json["failures"] == []


def test_where_denied_tiles_always_fail_each_is_listed_without_the_tilemap(serve, cli):
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*half("status", status=403)))
    first = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (first.code, first.json["pending"]) == (1, ALL // 2)
    assert "--tilemap off" in first.json["error"]["hint"]
    result = cli("run", service.url, *FINE, "--tilemap", "off", "-o", "out.mbtiles")
    assert (result.code, result.json["failed"], result.json["pending"]) == (1, ALL // 2, 0)


def ledger_facts(path: Path) -> dict[str, object]:
    with closing(sqlite3.connect(path)) as ledger:
        return {name: json.loads(value) for name, value in ledger.execute("SELECT name, value FROM meta")}


def leave_unproven(path: Path) -> None:
    """As a run that was killed amid its questions."""
    with closing(sqlite3.connect(path)) as ledger, ledger:
        ((plan,),) = ledger.execute("SELECT value FROM meta WHERE name = 'plan'").fetchall()
        ledger.execute("INSERT OR REPLACE INTO meta VALUES ('tilemap_unproven', ?)", (json.dumps([json.loads(plan)]),))


def test_until_a_denial_was_held_against_tiles_nothing_is_whole(serve, cli, tmp_path):
    service = serve(ArcGisSite(tilemap="on", absent=west))
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0
    assert cli("convert", "out.mbtiles", "old.mbtiles").code == 0
    leave_unproven(tmp_path / "out.mbtiles.ledger")
    verified = cli("verify", "out.mbtiles", "--json")
    assert (verified.code, verified.json["complete"], verified.json["missing"]) == (1, False, 0)
    assert "tilemap alone" in verified.json["unproven"]
    assert "the same harvester run asks" in verified.err
    assert "the same harvester run asks" in cli("holes", "out.mbtiles").err
    compared = cli("diff", "old.mbtiles", "out.mbtiles", "-o", "delta.mbtiles")
    assert (compared.code, "tilemap" in compared.err) == (4, True)
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0
    verified = cli("verify", "out.mbtiles", "--json")
    assert (verified.code, "unproven" in verified.json) == (0, False)


def test_a_run_of_another_plan_proves_its_part_and_the_whole_where_all_is_in_it(serve, cli, tmp_path):
    service = serve(ArcGisSite(tilemap="on", absent=west))
    assert cli("run", service.url, "--lods", "3-4", *HASTY, "-o", "out.mbtiles").code == 0
    leave_unproven(tmp_path / "out.mbtiles.ledger")
    part = cli("run", service.url, "--lods", "3", *HASTY, "-o", "out.mbtiles")
    assert (part.code, part.json["questions"]) == (0, 32)
    assert cli("verify", "out.mbtiles").code == 1
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0
    assert cli("verify", "out.mbtiles").code == 0


@pytest.mark.parametrize("options", [(), ("--tilemap", "off"), ("--tilemap", "off", "--max-duration", "1h")])
def test_a_run_that_was_killed_when_it_had_found_the_lie_is_gone_on_with(serve, cli, tmp_path, options):
    service = serve(ArcGisSite(tilemap="on", absent=west))
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0
    leave_unproven(tmp_path / "out.mbtiles.ledger")
    if not options:
        with closing(sqlite3.connect(tmp_path / "out.mbtiles.ledger")) as ledger, ledger:
            ledger.execute("INSERT OR REPLACE INTO meta VALUES ('tilemap_distrusted', '\"3/1/1\"')")
    service.site.absent = lambda tile: False
    result = cli("run", service.url, *FINE, *options, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["kept"]) == (0, ALL, ALL // 2)
    assert cli("verify", "out.mbtiles").code == 0


def test_without_the_tilemap_what_it_denied_before_is_asked_once(serve, cli):
    """Too few wrong denials to be met by questions."""
    denied = {Tile(5, 3, 3), *(Tile(5, row, col) for row in range(32) for col in range(16))}
    service = serve(
        ArcGisSite(
            tilemap="on", absent=lambda tile: tile in denied and tile != (5, 3, 3),
            tilemap_says=lambda tile: tile not in denied,
        )
    )  # fmt: skip
    first = cli("run", service.url, "--lods", "5", *HASTY, "-o", "out.mbtiles")
    assert (first.code, first.json["absent"]) == (0, 512)
    result = cli("run", service.url, "--lods", "5", *HASTY, "--tilemap", "off", "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, 513, 511)
    service.log.clear()
    assert cli("run", service.url, "--lods", "5", *HASTY, "--tilemap", "off", "-o", "out.mbtiles").code == 0
    assert service.log.count("tile") == 0


def test_once_all_was_asked_that_is_recorded(serve, cli, tmp_path):
    service = serve(
        ArcGisSite(
            tilemap="on", absent=lambda tile: tile.level == 5 and tile.row < 8,
            tilemap_says=lambda tile: tile.level < 5 or (tile.row >= 8 and tile.col >= 8),
        )
    )  # fmt: skip
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, ALL - 256, 256)
    assert ledger_facts(tmp_path / "out.mbtiles.ledger")["tilemap_unproven"] == []
    verified = cli("verify", "out.mbtiles")
    assert (verified.code, verified.err) == (0, "")
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
