"""convert, merge, diff and apply on the command line: exit codes, documents, what a person reads."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harvester.testing.script import Rule
from harvester.tiling.tile import Tile
from tests.caches.making import mercator, utm
from tests.delta.making import held, make, picture, some
from tests.e2e.claims import HASTY, script

WORLD = some("0/0/0", "1/0/1", "1/1/0", "5/9/9")


def test_convert_shows_what_it_wrote(cli, tmp_path):
    make(tmp_path / "in.tpkx", WORLD, format="tpkx")
    told = cli("convert", "in.tpkx", "out.mbtiles")
    assert (told.code, told.err) == (0, "")
    assert "out.mbtiles: mbtiles, 4 tiles written" in told.out
    assert held(tmp_path / "out.mbtiles") == WORLD
    document = cli("convert", "in.tpkx", "new/", "--format", "exploded", "--json").json
    assert (document["format"], document["tiles"], document["complete"]) == ("exploded", 4, True)
    assert [lod["level"] for lod in document["lods"]] == [0, 1, 5]
    assert cli("convert", "in.tpkx", "quiet.mbtiles", "--quiet").out == ""
    assert cli("verify", "new", "--deep").code == 0


def test_convert_cuts_a_part_out_as_a_run_would_plan_it(cli, tmp_path):
    tiles = {**WORLD, **some("5/15/16", "5/15/17", "6/31/32", first=60)}
    make(tmp_path / "in.tpkx", tiles, format="tpkx")
    told = cli("convert", "in.tpkx", "part.mbtiles", "--bbox", "1,1,5,5", "--lods", "1-5")
    assert (told.code, set(held(tmp_path / "part.mbtiles"))) == (0, {Tile(1, 0, 1), Tile(5, 15, 16)})
    area = {"type": "Polygon", "coordinates": [[[1, 1], [5, 1], [1, 5], [1, 1]]]}
    (tmp_path / "area.geojson").write_text(json.dumps(area))
    done = cli("convert", "in.tpkx", "area.mbtiles", "--aoi", "area.geojson", "--min-zoom", "6", "--json").json
    assert (done["tiles"], set(held(tmp_path / "area.mbtiles"))) == (1, {Tile(6, 31, 32)})
    for wrong, word in (
        (("--bbox", "100,50,110,60", "--lods", "5"), "Check the area"),
        (("--lods", "9"), "in.tpkx has no LOD 9"),
        (("--bbox", "1,1,5,5", "--aoi", "area.geojson"), "--bbox cannot go with --aoi"),
        (("--buffer", "5"), "no AOI to grow"),
        (("--max-zoom", "-1"), "--max-zoom"),
    ):
        refused = cli("convert", "in.tpkx", "none.mbtiles", *wrong)
        assert refused.code == 2 and word in refused.err, refused.err
    assert not list(tmp_path.glob("none*"))


def test_a_copy_without_a_ledger_knows_the_levels_of_its_source(cli, tmp_path):
    scheme = mercator(range(3, 9))
    lods = tuple(replace(lod, level=lod.level - 3) for lod in scheme.lods)
    make(tmp_path / "in.tpkx", some("0/3/4", "5/100/130"), format="tpkx", scheme=replace(scheme, lods=lods))
    assert cli("convert", "in.tpkx", "out.mbtiles", "-q").code == 0
    told = cli("info", "out.mbtiles", "--json").json["lods"]
    assert [(lod["level"], lod["source_level"], lod["zoom"]) for lod in told] == [(3, 0, 3), (8, 5, 8)]


def test_convert_refuses_what_a_format_cannot_hold(cli, tmp_path):
    make(tmp_path / "in", some("1/2/3"), format="compactv2", scheme=utm())
    told = cli("convert", "in", "out.pmtiles", "--json")
    assert told.code == 4
    assert told.json["error"]["code"] == "format"
    assert "gpkg" in told.json["error"]["hint"]
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
    assert cli("convert", "in", "out.rar").code == 2
    assert cli("convert", "in").code == 2


def test_convert_ends_incomplete_where_tiles_are_damaged(cli, tmp_path):
    make(tmp_path / "in", {**WORLD, Tile(5, 1, 1): picture(1)[:-20]}, format="compactv2")
    told = cli("convert", "in", "out.mbtiles")
    assert told.code == 1
    assert "damaged  in 5/1/1: truncated" in told.err
    assert "INCOMPLETE: 1 damaged tile not copied" in told.err
    assert held(tmp_path / "out.mbtiles") == WORLD
    assert cli("convert", "in", "again.mbtiles", "--json").json["damaged"] == 1


@pytest.mark.slow
def test_a_killed_convert_leaves_no_half_cache_and_the_same_command_makes_it(cli, spawn, tmp_path):
    make(tmp_path / "in", WORLD, format="compactv2")
    for out in ("out.mbtiles", "out.tpkx", "folder"):
        for step in (3, 12, 25):
            killed = spawn("convert", "in", out, HARVESTER_CRASH_AT=str(step))
            killed.communicate(timeout=60)
            if (tmp_path / out).exists():
                assert held(tmp_path / out) == WORLD
        assert cli("convert", "in", out).code == 0
        assert held(tmp_path / out) == WORLD
        assert {path.name for path in tmp_path.iterdir() if path.name.startswith(out)} == {out}
        assert json.loads(cli("info", out, "--json").out)["tiles"] == len(WORLD)


def test_merge_joins_and_tells_collisions(cli, tmp_path):
    make(tmp_path / "a.mbtiles", some("3/1/1", "3/1/2"), format="mbtiles")
    make(tmp_path / "b.tpkx", some("3/1/1", "3/1/2", "9/4/4", first=1), format="tpkx")
    told = cli("merge", "a.mbtiles", "b.tpkx", "-o", "out.gpkg")
    assert (told.code, told.err) == (0, "")
    assert "in several caches: 2 tiles; 0 identical, of 2 the last cache's was taken" in told.out
    assert held(tmp_path / "out.gpkg") == some("3/1/1", "3/1/2", "9/4/4", first=1)
    document = cli("merge", "b.tpkx", "a.mbtiles", "-o", "b.tpkx", "--json").json
    assert (document["tiles"], document["collisions"]) == (2, 3)
    assert held(tmp_path / "b.tpkx")[Tile(3, 1, 1)] == picture(0)
    make(tmp_path / "utm", some("1/2/3"), format="compactv2", scheme=utm())
    refused = cli("merge", "a.mbtiles", "utm", "-o", "no.tpkx", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (4, "other_scheme")
    assert "CRS" in refused.json["error"]["message"]
    assert cli("merge", "-o", "out").code == 2
    assert cli("merge", "a.mbtiles").code == 2


def test_diff_and_apply_bring_old_to_new(cli, tmp_path):
    old, new = some("3/1/1", "3/1/2", "5/9/9"), {**some("3/1/1"), **some("3/1/2", "7/7/7", first=9)}
    make(tmp_path / "old.tpkx", old, format="tpkx")
    make(tmp_path / "new.mbtiles", new, format="mbtiles")
    told = cli("diff", "old.tpkx", "new.mbtiles", "-o", "delta.mbtiles")
    assert (told.code, told.err) == (0, "")
    assert "1 tile added, 1 changed" in told.out
    assert "1 deleted; 1 the same" in told.out
    document = cli("diff", "old.tpkx", "old.tpkx", "-o", "none/", "--json")
    assert (document.code, document.json["differ"], document.json["same"]) == (0, False, 3)
    assert cli("apply", "none", "old.tpkx").out.strip() == "old.tpkx is already there: nothing was changed"
    done = cli("apply", "delta.mbtiles", "old.tpkx", "--json")
    assert (done.code, done.json["applied"], done.json["stored"], done.json["deleted"]) == (0, True, 2, 1)
    assert held(tmp_path / "old.tpkx") == new
    again = cli("apply", "delta.mbtiles", "old.tpkx", "--json")
    assert (again.code, again.json["applied"], again.json["already"]) == (0, False, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["delta.mbtiles", "new.mbtiles", "none", "old.tpkx"]


def test_apply_refuses_another_base(cli, tmp_path):
    make(tmp_path / "old", some("3/1/1"), format="compactv2")
    make(tmp_path / "new", some("3/1/2"), format="compactv2")
    make(tmp_path / "third", some("3/1/3"), format="compactv2")
    assert cli("diff", "old", "new", "-o", "delta").code == 0
    told = cli("apply", "delta", "third", "--json")
    assert (told.code, told.json["error"]["code"]) == (4, "wrong_base")
    assert held(tmp_path / "third") == some("3/1/3")
    assert cli("diff", "old", "new", "-o", "delta.pmtiles").code == 4
    assert cli("diff", "old", "new").code == 2
    assert cli("apply", "new", "old").code == 4


@pytest.mark.slow
def test_a_killed_apply_is_completed_by_the_same_command(cli, spawn, tmp_path):
    make(tmp_path / "new", some("3/1/1", "4/4/4", first=5), format="compactv2")
    for name in ("out.mbtiles", "out"):
        make(tmp_path / name, some("3/1/1", "5/9/9"), format="compactv2" if name == "out" else "mbtiles")
        assert cli("diff", name, "new", "-o", "delta.gpkg").code == 0
        killed = spawn("apply", "delta.gpkg", name, HARVESTER_CRASH_AT="6")
        killed.communicate(timeout=60)
        assert killed.returncode != 0
        assert cli("apply", "delta.gpkg", name).code == 0
        assert held(tmp_path / name) == some("3/1/1", "4/4/4", first=5)
        assert cli("apply", "delta.gpkg", name, "--json").json["applied"] is False


def test_what_a_run_left_out_is_not_deleted_by_a_delta(cli, serve, tmp_path):
    """A bad night at the server must not wipe tiles off the device in the field."""
    good, bad = serve(), serve(script=script(Rule(do="status", status=500, levels="2")))
    assert cli("run", good.url, "--lods", "0-2", "-o", "full.mbtiles", *HASTY).code == 0
    assert cli("run", bad.url, "--lods", "0-2", "-o", "holes.mbtiles", "--retries", "0", *HASTY).code == 1
    refused = cli("diff", "full.mbtiles", "holes.mbtiles", "-o", "delta.gpkg")
    assert refused.code == 4 and "16 failed, 0 pending" in refused.err
    assert not (tmp_path / "delta.gpkg").exists()
    assert cli("diff", "holes.mbtiles", "full.mbtiles", "-o", "delta.gpkg").code == 0, "what came later is added"
    copied = cli("convert", "holes.mbtiles", "copy.mbtiles", "--json")
    assert copied.code == 0
    assert [text for text in copied.json["notices"] if "16 failed, 0 pending" in text]
    assert cli("diff", "full.mbtiles", "copy.mbtiles", "-o", "other.gpkg").code == 0, "deleted on purpose"
