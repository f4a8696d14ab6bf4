"""What a person is told of tiles that a tilemap denies, while it isn't known whether that is so."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from harvester.testing.script import Rule
from harvester.testing.service import ArcGisSite
from harvester.tiling.tile import Tile
from tests.e2e.claims import HASTY, script

FINE = ("--lods", "3-5", *HASTY)
ALL = 64 + 256 + 1024
COUNTS = ("planned", "stored", "absent", "failed", "pending")
PEOPLE = tuple(word for word in HASTY if word not in ("--json", "-q"))


def west(tile: Tile) -> bool:
    return tile.col < 2**tile.level // 2


def refusing(serve):
    """The western half is denied, and 403 is what comes for it."""
    rules = [Rule(do="status", status=403, levels=str(n), cols=f"0-{2**n // 2 - 1}") for n in (3, 4, 5)]
    return serve(ArcGisSite(tilemap="on", tilemap_says=lambda tile: not west(tile)), script(*rules))


@pytest.fixture
def unproven(serve, cli):
    """After a run that ended with ``tilemap_unproven``; gives the service, and tiles that were asked themselves."""
    service = refusing(serve)
    result = cli("run", service.url, *FINE, "-o", "out.mbtiles")
    assert result.json["error"]["code"] == "tilemap_unproven"
    return service, {tile for tile in service.log.tiles() if west(tile)}


def address(tile: Tile) -> str:
    return f"{tile.level}/{tile.row}/{tile.col}"


def one_unasked(asked: set[Tile]) -> Tile:
    return next(tile for row in range(32) if (tile := Tile(5, row, 3)) not in asked)


def test_of_a_denied_tile_that_was_not_asked_why_tells_who_denied_it_and_what_came_of_others(cli, unproven):
    _, asked = unproven
    said = cli("why", "out.mbtiles", address(one_unasked(asked)), "--json").json
    assert (said["state"], said["reason"], said["tried_in_run"]) == ("pending", None, None)
    assert said["denied"] == {
        "run": 1, "asked": len(asked), "answered": 0, "trouble": "forbidden", "absent_by": {"tilemap": 512}
    }  # fmt: skip
    text = cli("why", "out.mbtiles", address(one_unasked(asked))).out
    assert f"in run 1, by the tilemap. Of {len(asked)} such tiles that were asked, 0 gave an answer" in text
    assert "no run came so far" not in text
    assert "nothing yet" not in text
    assert "asks some" in text


def test_of_a_denied_tile_that_was_asked_why_tells_what_came(cli, unproven):
    _, asked = unproven
    tile = min(asked)
    said = cli("why", "out.mbtiles", address(tile), "--json").json
    assert (said["state"], said["reason"], said["tried_in_run"]) == ("pending", "forbidden", 1)
    text = cli("why", "out.mbtiles", address(tile)).out
    assert "by the tilemap" in text
    assert "This one was asked: forbidden" in text


def test_a_tile_that_said_itself_that_it_is_not_there_is_told_so(serve, cli):
    """Few questions are answered: too few."""
    rules = [Rule(do="status", status=403, levels=str(n), cols=f"0-{2**n // 2 - 1}", rows="2-99") for n in (3, 4, 5)]
    service = serve(ArcGisSite(tilemap="on", absent=west), script(*rules))
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").json["error"]["code"] == "tilemap_unproven"
    answered = min(tile for tile in service.log.tiles() if west(tile) and tile.row < 2)
    said = cli("why", "out.mbtiles", address(answered), "--json").json
    assert (said["state"], said["reason"], said["tried_in_run"]) == ("pending", "http_404", 1)
    assert said["denied"]["answered"] >= 1


def test_once_it_is_known_why_says_so_again(cli, unproven):
    service, asked = unproven
    service.script = script()
    service.site.absent = west
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0
    said = cli("why", "out.mbtiles", address(one_unasked(asked)), "--json").json
    assert (said["state"], said["denied"]) == ("absent", None)
    assert said["explanation"] == "The source said that there is no such tile, by the tilemap."


def test_a_tile_of_another_plan_was_not_denied(cli, unproven):
    service, _ = unproven
    assert cli("run", service.url, "--lods", "6", *HASTY, "--max-tiles", "1", "-o", "out.mbtiles").code == 1
    said = cli("why", "out.mbtiles", "6/63/63", "--json").json
    assert (said["state"], said["denied"]) == ("pending", None)


def test_of_an_absent_tile_whose_tilemap_was_not_held_against_any_yet_why_says_so(serve, cli, tmp_path):
    service = serve(ArcGisSite(tilemap="on", absent=west))
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0
    with closing(sqlite3.connect(tmp_path / "out.mbtiles.ledger")) as ledger, ledger:  # as a run that was killed
        ((plan,),) = ledger.execute("SELECT value FROM meta WHERE name = 'plan'").fetchall()
        ledger.execute("UPDATE meta SET value = ? WHERE name = 'tilemap_unproven'", (json.dumps([json.loads(plan)]),))
    text = cli("why", "out.mbtiles", "5/3/3").out
    assert "which was not held against any tile yet" in text


def test_the_report_and_the_summary_say_that_some_are_asked(serve, cli, unproven):
    service, _ = unproven
    shown = cli("run", service.url, "--lods", "3-5", *PEOPLE, "-o", "out.mbtiles").err
    for text in (shown, cli("report", "out.mbtiles").out):
        assert f"0 failed, {ALL // 2} pending; the same command asks some of them first" in text
        assert "asks just for those" not in text


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_the_last_line_the_report_and_the_document_have_the_same_figures(serve, cli):
    service = refusing(serve)
    result = cli("run", service.url, *FINE, "--progress", "json", "-o", "out.mbtiles")
    lines = events(result.err)
    last = [line for line in lines if line["type"] == "progress"][-1]
    (summary,) = [line for line in lines if line["type"] == "summary"]
    report = cli("report", "out.mbtiles", "--json").json
    for document in (last, summary, result.json, report):
        assert [document[name] for name in COUNTS] == [ALL, ALL // 2, 0, 0, ALL // 2]
    assert last["ended"] == ALL // 2
    assert last["bytes"] == result.json["bytes"]


def test_the_last_line_for_people_has_them_too(serve, cli):
    shown = cli("run", refusing(serve).url, "--lods", "3-5", *PEOPLE, "-o", "out.mbtiles").err
    last = [line for line in shown.splitlines() if "/1,344 tiles" in line][-1]
    assert last.split()[:2] == ["50.0%", "672/1,344"]
    assert "absent" not in last
    assert "done" not in last


def test_where_a_denied_tile_failed_the_last_line_has_it_as_failed(serve, cli):
    denied = [Tile(4, 3, col) for col in range(12)]
    service = serve(
        ArcGisSite(tilemap="on", absent=lambda tile: tile in denied, tilemap_says=lambda tile: tile not in denied),
        script(Rule(do="status", status=500, levels="4", rows="3", cols="0")),
    )
    shown = cli("run", service.url, "--lods", "4", *PEOPLE, "-o", "out.mbtiles").err
    last = [line for line in shown.splitlines() if "/256 tiles" in line][-1]
    assert "11 absent  1 failed" in last


def test_where_every_tile_answered_404_all_that_tells_of_it_agrees(serve, cli):
    service = serve(ArcGisSite(absent=lambda tile: True))
    result = cli("run", service.url, *FINE, "--progress", "json", "-o", "out.mbtiles")
    assert (result.code, result.json["error"]["code"]) == (3, "every_tile_404")
    last = [line for line in events(result.err) if line["type"] == "progress"][-1]
    for document in (last, result.json, cli("report", "out.mbtiles", "--json").json):
        assert [document[name] for name in COUNTS] == [ALL, 0, 0, 0, ALL]
    verified = cli("verify", "out.mbtiles", "--json").json
    assert (verified["absent"], verified["missing"]) == (0, ALL)
    said = cli("why", "out.mbtiles", "5/3/3", "--json").json
    assert (said["state"], said["reason"], said["tried_in_run"]) == ("pending", "http_404", 1)


def last_words(err: str) -> list[dict[str, object]]:
    """Progress of a run, the last of which alone may say that it is over."""
    lines = [line for line in events(err) if line["type"] == "progress"]
    assert [line["is_last"] for line in lines] == [False] * (len(lines) - 1) + [True]
    return lines


def test_nothing_is_done_before_a_denial_was_held_against_tiles(serve, cli):
    service = serve(ArcGisSite(tilemap="on", absent=west))
    result = cli("run", service.url, *FINE, "--progress", "json", "-o", "out.mbtiles")
    assert result.code == 0
    lines = last_words(result.err)
    assert any(line["asking"] for line in lines)
    assert (lines[-1]["pending"], lines[-1]["asking"]) == (0, "")


def test_people_see_the_end_once_and_none_that_is_taken_back(serve, cli):
    sites = {
        "honest": (ArcGisSite(tilemap="on", absent=west), 1),
        "lying": (ArcGisSite(tilemap="on", tilemap_says=lambda tile: not west(tile)), 1),
    }
    for name, (site, ends) in sites.items():
        shown = cli("run", serve(site).url, "--lods", "3-5", *PEOPLE, "-o", f"{name}.mbtiles").err
        lines = [line for line in shown.splitlines() if "/1,344 tiles" in line]
        assert sum("done" in line or "100.0%" in line for line in lines) == ends and "done" in lines[-1]
        assert any("asking tiles whether the tilemap is right" in line for line in lines)
    shown = cli("run", refusing(serve).url, "--lods", "3-5", *PEOPLE, "-o", "out.mbtiles").err
    assert "asking tiles whether the tilemap is right" in shown
    assert "100.0%" not in shown and " done" not in shown


def test_of_tiles_that_all_answered_404_none_is_called_done_before(serve, cli):
    service = serve(ArcGisSite(absent=lambda tile: True))
    shown = cli("run", service.url, "--lods", "3-5", *PEOPLE, "-o", "out.mbtiles").err
    assert "100.0%" not in shown and " done" not in shown


def test_a_run_that_only_asks_what_an_earlier_one_left_in_doubt_tells_of_it(serve, cli, tmp_path):
    service = serve(ArcGisSite(tilemap="on", absent=west))
    assert cli("run", service.url, *FINE, "-o", "out.mbtiles").code == 0
    with closing(sqlite3.connect(tmp_path / "out.mbtiles.ledger")) as ledger, ledger:  # as a run that was killed
        ((plan,),) = ledger.execute("SELECT value FROM meta WHERE name = 'plan'").fetchall()
        ledger.execute("UPDATE meta SET value = ? WHERE name = 'tilemap_unproven'", (json.dumps([json.loads(plan)]),))
    lines = last_words(cli("run", service.url, *FINE, "--progress", "json", "-o", "out.mbtiles").err)
    assert lines[0]["asking"] and (lines[-1]["absent"], lines[-1]["pending"]) == (ALL // 2, 0)
