"""What every verb shares: help, exit codes, JSON on stdout alone, lines that a person and a program can read."""

from __future__ import annotations

import json
import sqlite3

import pytest

from harvester.cli.main import VERBS
from harvester.testing.script import Rule, Script


def test_no_argument_shows_the_help_and_is_exit_2(cli):
    result = cli()
    assert result.code == 2
    assert "Commands:" in result.err
    assert result.out == ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_with_an_example(cli, verb):
    result = cli(verb, "--help")
    assert result.code == 0
    assert "Example:" in result.out
    assert f"harvester {verb}" in result.out
    assert "--json" in result.out


def test_an_unknown_command_is_exit_2_and_names_the_nearest(cli):
    result = cli("verfy", "out.mbtiles", "--json")
    assert result.code == 2
    assert "harvester verify" in result.err
    assert set(result.json["error"]) == {"code", "message", "hint"}


def test_common_options_stand_before_or_after_the_verb(cli):
    for arguments in (("--json", "verify", "nothing.mbtiles"), ("verify", "nothing.mbtiles", "--json")):
        result = cli(*arguments)
        assert result.code == 4
        assert result.json["error"]["code"] == "missing"


def test_sample_without_a_number_never_takes_the_next_word(cli, serve):
    service = serve()
    result = cli("plan", "--sample", service.url, "--lods", "0-2", "--json", "-q")
    assert result.code == 0
    assert (
        result.json["estimate"]["bytes_low"]
        <= result.json["estimate"]["bytes"]
        <= result.json["estimate"]["bytes_high"]
    )
    assert len(service.log.of("tile")) == 21


def test_progress_as_json_is_json_lines_and_nothing_else_also_for_a_signal(spawn, serve):
    import signal
    import sys

    if sys.platform == "win32":
        pytest.skip("no SIGINT can be sent to one process there")
    service = serve(script=Script(rules=(Rule(do="answer", delay=0.2),)))
    process = spawn("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", "--progress", "json")
    lines = []
    for line in process.stderr:
        lines.append(json.loads(line))
        if lines[-1]["type"] == "progress":
            process.send_signal(signal.SIGINT)
            break
    lines += [json.loads(line) for line in process.stderr]
    assert process.wait(timeout=30) == 130
    assert {line["type"] for line in lines} >= {"started", "progress", "notice", "summary"}
    assert lines[-1]["error"]["code"] == "stopped"


def test_a_short_run_off_a_terminal_says_once_that_it_is_done_and_how_fast(cli, serve):
    result = cli("run", serve().url, "--lods", "0-3", "-o", "out.mbtiles")
    done = [line for line in result.err.splitlines() if "  done" in line]
    assert len(done) == 1
    assert "  0/s" not in done[0]


def test_bounds_follow_the_area_and_not_the_tile_of_level_0(cli, serve, tmp_path):
    assert cli("run", serve().url, "--bbox", "-10,35,10,50", "--lods", "0-7", "-o", "out.mbtiles", "-q").code == 0
    database = sqlite3.connect(tmp_path / "out.mbtiles")
    (bounds,) = database.execute("SELECT value FROM metadata WHERE name = 'bounds'").fetchone()
    database.close()
    west, south, east, north = map(float, bounds.split(","))
    assert -13 < west <= -10 and 10 <= east < 13 and 32 < south <= 35 and 50 <= north < 53


def test_a_gif_in_place_of_a_png_is_not_stored(cli, serve):
    from io import BytesIO

    from PIL import Image

    body = BytesIO()
    Image.new("P", (256, 256)).save(body, "GIF")
    service = serve()
    service.site.tile = lambda tile: body.getvalue()
    result = cli("run", service.url, "--lods", "0-1", "-o", "out.mbtiles", "--retries", "0", "--json", "-q")
    assert result.code == 1
    assert {tile["reason"] for tile in result.json["failures"]} <= {
        "format_drift",
        "truncated",
        "corrupt",
        "not_an_image",
    }


def test_what_a_service_says_of_itself_does_not_steer_the_terminal(cli, serve):
    from harvester.testing.service import ArcGisSite

    url = serve(ArcGisSite(copyright="c\x1b]0;owned\x07\r\x9b2J by us")).url
    assert cli("run", url, "--lods", "0-1", "-o", "out.mbtiles").code == 0
    for command in (
        ("scales", url),
        ("info", "out.mbtiles"),
        ("scales", url, "--json"),
        ("info", "out.mbtiles", "--json"),
    ):
        result = cli(*command)
        assert result.code == 0
        assert "owned" in result.out and "by us" in result.out
        assert not set(result.out + result.err) & {"\x1b", "\x07", "\r", "\x9b"}
    assert result.json["attribution"] == "c\x1b]0;owned\x07\r\x9b2J by us"


def test_a_tilemap_that_says_nothing_is_there_is_told(cli, serve):
    from harvester.testing.service import ArcGisSite

    service = serve(ArcGisSite(tilemap="on", absent=lambda tile: True))
    result = cli("run", service.url, "--lods", "3", "-o", "out.mbtiles", "--json")
    assert (result.code, result.json["absent"]) == (0, 64)
    assert "--tilemap off" in result.err


def test_a_disk_too_small_for_the_estimate_is_told(cli, serve):
    result = cli("plan", serve().url, "--lods", "0-21", "--sample", "3", "-o", "out.mbtiles")
    assert result.code == 0
    assert "free, less than the" in result.err
    small = cli("plan", serve().url, "--lods", "0-3", "--sample", "3", "-o", "out.mbtiles")
    assert "free, less than" not in small.err


def test_a_sample_tells_how_long_with_an_interval_and_never_less_than_the_rate_allows(cli, serve):
    guess = cli("plan", serve().url, "--lods", "0-4", "--sample", "5", "--rate", "100", "--json").json["estimate"]
    assert 341 / 100 <= guess["seconds_low"] <= guess["seconds"] <= guess["seconds_high"]
    assert set(guess) == {
        "bytes", "bytes_low", "bytes_high", "seconds", "seconds_low", "seconds_high",
    }  # fmt: skip
    text = cli("plan", serve().url, "--lods", "0-2", "--sample", "5").out
    assert " s (between " in text
    assert "from 10 sampled tiles" in text


def test_a_sample_of_which_nothing_came_is_no_estimate(cli, serve):
    refusing = serve(script=Script(rules=(Rule(do="json_error", status=498, kind="tile"),)))
    text = cli("plan", refusing.url, "--lods", "0-2", "--sample", "5").out
    assert "unknown, none of 10 sampled tiles could be had (http_498)" in text and "0 B" not in text
    assert cli("plan", refusing.url, "--lods", "0-2", "--sample", "5", "--json").json["estimate"] is None
