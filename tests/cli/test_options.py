"""Mistakes on the command line are told in the words of the command line, with what to do."""

from __future__ import annotations

import pytest

WRONG = {
    "--max-tiles 0": "--max-tiles: 0",
    "--concurrency 0": "--concurrency: 0",
    "--rate 0": "--rate: 0.0",
    "--retries -1": "--retries: -1",
    "--timeout 0": "--timeout: ",
    "--max-bytes much": "--max-bytes: ",
    "--max-duration soon": "--max-duration: ",
    "--give-up-after x": "--give-up-after: ",
    "--format gif": "--format: ",
    "--min-zoom 5 --max-zoom 3": "--min-zoom 5 is above --max-zoom 3",
    "--min-scale 1000 --max-scale 5000": "--min-scale 1000 is below --max-scale 5000",
    "--lods 1 --min-zoom 2": "--lods and --min-zoom, --max-zoom select",
    "--lods 1 --scales 5000": "--lods and --scales select",
    "--lods 1,,2": "--lods: something is missing",
    "--buffer 10": "--buffer: there is no AOI",
    "--username me": "--password-env is missing",
    "--token-env A --username me --password-env B": "--token-env and --username",
    "--placeholder xyz": "--placeholder: ",
    "--aoi-layer x": "--aoi-layer needs --aoi",
    "--shard 4/3": "--shard: ",
    "--bbox 1,2,3": "--bbox: ",
}


@pytest.mark.parametrize("options", WRONG)
def test_an_error_names_the_option_and_never_the_key_of_a_job_file(cli, options):
    from harvester.cli.options import as_typed

    for verb in ("run", "plan"):
        result = cli(verb, "http://127.0.0.1:9/A/MapServer", *options.split(), "--json")
        error = result.json["error"]
        assert (result.code, error["code"]) == (2, "usage")
        assert error["message"].startswith(WRONG[options]), error
        assert error["hint"]
        assert as_typed(error["message"] + error["hint"]) == error["message"] + error["hint"]


def test_the_swap_is_shown_as_it_is_to_be_typed(cli):
    result = cli("plan", "http://127.0.0.1:9/A/MapServer", "--min-scale", "1000", "--max-scale", "5000")
    assert "Did you mean --min-scale 5000, --max-scale 1000?" in result.err


def test_a_format_may_be_typed_in_capitals(cli, serve, tmp_path):
    assert cli("run", serve().url, "--lods", "0", "-o", "out", "--format", "MBTiles", "-q").code == 0
    assert (tmp_path / "out").is_file()


def test_a_plan_beyond_the_limit_shows_every_way_out(cli, serve):
    result = cli("run", serve().url, "--lods", "0-13", "-o", "out.mbtiles", "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "plan_too_large")
    for word in ("--lods", "--aoi", "--max-tiles 89478485"):
        assert word in result.json["error"]["hint"]
    assert len(result.err.strip().splitlines()) == 2


def test_file_names_in_an_error_stay_as_they_are():
    from harvester.cli.options import as_typed

    text = "/data/lods/aoi.geojson: \"scales\" 'bbox' my_lods.geojson"
    assert as_typed(text) == text


@pytest.mark.parametrize(
    ("bbox", "meant"),
    [("40,-105,39,-104", "-105,39,-104,40"), ("39,-105,40,-104", "-105,39,-104,40"), ("10,50,20,40", "10,40,20,50")],
)
def test_a_mistyped_box_is_shown_as_it_was_meant(cli, bbox, meant):
    result = cli("plan", "http://127.0.0.1:9/A/MapServer", "--bbox", bbox)
    assert result.code == 2
    assert f"Did you mean {meant}?" in result.err
    assert cli("plan", "http://127.0.0.1:9/A/MapServer", "--bbox", meant).code == 3


def test_a_box_round_most_of_the_world_is_told(cli, serve):
    service = serve()
    wide = cli("plan", service.url, "--lods", "3", "--bbox", "-104,39,-105,40")
    assert wide.code == 0
    assert "359 degrees wide; did you mean -105,39,-104,40?" in wide.err
    assert "did you mean" not in cli("plan", service.url, "--lods", "3", "--bbox", "170,-20,-170,20").err


@pytest.mark.parametrize("name", ["area.geojson", "notes.txt", "out.mbtiles"])
def test_a_file_that_is_no_source_says_what_a_source_is(cli, tmp_path, name):
    (tmp_path / "area.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "out.mbtiles").write_bytes(b"SQLite format 3" + bytes(100))
    result = cli("plan", name)
    assert result.code == 3
    assert ("--aoi area.geojson" if name == "area.geojson" else "A source is the address of a service") in result.err


def test_the_home_folder_may_be_typed_as_a_tilde(cli, serve, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "area.wkt").write_text("POLYGON((1 1,20 1,20 20,1 20,1 1))")
    assert cli("plan", serve().url, "--lods", "1", "--aoi", "~/area.wkt", "--json", "-q").json["planned"] == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.geojson", "", "is empty"),
        ("a.geojson", "<html>404</html>", "A web page was saved"),
        ("a.geojson", '{"type": "Poly', "cut short"),
        ("a.wkt", "POLYGON((0,0;20,0;20,20;0,0))", "a space inside a point"),
        ("a.shp", "", ".shx and .dbf beside it"),
    ],
)
def test_a_broken_area_is_told_with_the_remedy(cli, serve, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    result = cli("plan", serve().url, "--lods", "1", "--aoi", name)
    assert result.code == 2
    assert said in result.err
    assert len([line for line in result.err.splitlines() if not line.startswith("note: ")]) == 2
