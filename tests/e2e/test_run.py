"""Whole runs on the command line: what is in the cache is what the service served, for every format and every grid."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

import harvester
from harvester.caches.placed import PlacedReader
from harvester.testing import schemes
from harvester.testing.service import ArcGisSite
from harvester.tiling.tile import Tile
from tests.caches.maplibre import validate

GOOGLE = ("mbtiles", "gpkg", "pmtiles", "compactv2", "tpkx", "compact", "exploded", "xyz", "tpk")
FOREIGN = ("gpkg", "compactv2", "tpkx")
OUTPUTS = {
    "mbtiles": "out.mbtiles",
    "gpkg": "out.gpkg",
    "pmtiles": "out.pmtiles",
    "compactv2": "out",
    "tpkx": "out.tpkx",
    "compact": "out",
    "exploded": "out",
    "xyz": "out",
    "tpk": "out.tpk",
}
CASES = [
    (grid, format)
    for grid in (
        "WEB_MERCATOR",
        "WEB_MERCATOR_512",
        "UTM_PHILADELPHIA",
        "RIO",
        "NZTM",
        "US_FEET",
        "GEOGRAPHIC",
        "ARCMAP_DEFAULT",
    )
    for format in (GOOGLE if grid.startswith("WEB_MERCATOR") else FOREIGN)
]
CASES += [(grid, format) for grid in ("UTM_PHILADELPHIA", "RIO", "NZTM") for format in ("compact", "exploded", "tpk")]


def coarse_levels(grid: schemes.Grid, tiles: int = 900) -> str:
    """The coarsest levels of a grid that together have at most so many tiles."""
    from harvester.testing.memory import memory_info
    from tests.engine.lab import plan_of

    levels: list[int] = []
    for lod in grid.scheme.lods:
        if plan_of((*levels, lod.level), memory_info(grid)).total > tiles:
            break
        levels.append(lod.level)
    return ",".join(map(str, levels))


@pytest.mark.parametrize(("name", "format"), CASES)
def test_every_tile_in_the_cache_equals_what_the_service_served(cli, serve, tmp_path, name, format):
    grid = getattr(schemes, name)
    absent = lambda tile: (tile.row + tile.col) % 5 == 4  # noqa: E731
    service = serve(ArcGisSite(grid=grid, absent=absent, tilemap="on", format="MIXED" if name == "NZTM" else "PNG"))
    levels = coarse_levels(grid)
    result = cli("run", service.url, "--lods", levels, "-o", OUTPUTS[format], "--format", format, "--json", "--quiet")
    assert result.code == 0, result.err
    report = result.json
    assert report["complete"]
    assert report["format"] == format
    asked = {asked.tile for asked in service.log.of("tile")}
    assert report["planned"] == report["stored"] + report["absent"] > 30
    with harvester.open_cache(tmp_path / OUTPUTS[format]) as cache:
        placed = PlacedReader(cache, grid.scheme)
        stored = {tile: placed.read(tile) for tile in asked}
    served = {tile: None if absent(tile) else service.site.body(tile) for tile in asked}
    assert stored == served
    assert sum(body is not None for body in stored.values()) == report["stored"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([OUTPUTS[format], OUTPUTS[format] + ".ledger"])
    assert cli("verify", OUTPUTS[format], "--deep").code == 0


@pytest.mark.parametrize("format", GOOGLE)
def test_a_finished_job_run_again_asks_for_no_tile_and_leaves_the_cache_byte_for_byte(cli, serve, tmp_path, format):
    service = serve()
    command = ("run", service.url, "--lods", "0-4", "-o", OUTPUTS[format], "--format", format, "--json", "-q")
    assert cli(*command).json["fetched"] == 341
    before = contents(tmp_path / OUTPUTS[format])
    service.log.clear()
    again = cli(*command)
    assert (again.code, again.json["tile_requests"], again.json["kept"]) == (0, 0, 341)
    assert service.log.of("tile") == []
    assert contents(tmp_path / OUTPUTS[format]) == before


def contents(path: Path) -> dict[str, tuple[bytes, int]]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


@pytest.mark.parametrize("format", GOOGLE)
def test_a_job_with_more_tiles_merges_into_the_cache_and_asks_for_those_alone(cli, serve, tmp_path, format):
    service = serve()
    assert cli("run", service.url, "--lods", "0-3", "-o", OUTPUTS[format], "--format", format, "-q").code == 0
    service.log.clear()
    result = cli("run", service.url, "--lods", "2-4", "-o", OUTPUTS[format], "--format", format, "--json", "-q")
    assert result.code == 0
    assert (result.json["planned"], result.json["kept"], result.json["fetched"]) == (336, 80, 256)
    assert {asked.tile.level for asked in service.log.of("tile")} == {4}
    assert cli("verify", OUTPUTS[format], "--json").json["present"] == 341


@pytest.mark.parametrize("format", GOOGLE)
def test_overwrite_replaces_the_cache_only_when_the_new_one_is_complete(cli, serve, tmp_path, format):
    service = serve()
    out = OUTPUTS[format]
    assert cli("run", service.url, "--lods", "0-4", "-o", out, "--format", format, "-q").code == 0
    before = contents(tmp_path / out)
    service.site.variant = 1
    partly = cli(
        "run",
        service.url,
        "--lods",
        "0-3",
        "-o",
        out,
        "--format",
        format,
        "-q",
        "--mode",
        "overwrite",
        "--max-tiles",
        "40",
        "--json",
    )
    assert partly.code == 1
    assert partly.json["fetched"] == 40
    assert contents(tmp_path / out) == before
    service.log.clear()
    rest = cli(
        "run", service.url, "--lods", "0-3", "-o", out, "--format", format, "-q", "--mode", "overwrite", "--json"
    )
    assert rest.code == 0
    assert (rest.json["fetched"], rest.json["kept"]) == (45, 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out, out + ".ledger"])
    with harvester.open_cache(tmp_path / out) as cache:
        assert list(cache.levels()) == [0, 1, 2, 3]
        assert cache.read(3, 2, 1) == service.site.body(Tile(3, 2, 1))
    anew = cli(
        "run", service.url, "--lods", "0-3", "-o", out, "--format", format, "-q", "--mode", "overwrite", "--json"
    )
    assert anew.json["fetched"] == 85


@pytest.mark.parametrize("format", GOOGLE)
def test_a_cache_without_its_ledger_is_taken_over(cli, serve, tmp_path, format):
    service = serve()
    out = OUTPUTS[format]
    assert cli("run", service.url, "--lods", "0-3", "-o", out, "--format", format, "-q").code == 0
    (tmp_path / f"{out}.ledger").unlink()
    again = cli("run", service.url, "--lods", "0-4", "-o", out, "--format", format, "-q", "--json")
    assert (again.code, again.json["kept"], again.json["fetched"]) == (0, 85, 256)


@pytest.mark.parametrize("format", GOOGLE)
def test_a_ledger_beside_a_deleted_cache_never_says_complete(cli, serve, tmp_path, format):
    import shutil

    service = serve()
    out = tmp_path / OUTPUTS[format]
    assert cli("run", service.url, "--lods", "0-3", "-o", out, "--format", format, "-q").code == 0
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    assert cli("verify", out).code == 1
    again = cli("run", service.url, "--lods", "0-3", "-o", out, "--format", format, "-q", "--json")
    assert (again.code, again.json["fetched"], again.json["kept"]) == (0, 85, 0)


@pytest.mark.parametrize("format", GOOGLE)
def test_a_cache_restored_from_a_copy_is_compared_with_its_own_index(cli, serve, tmp_path, format):
    import shutil

    service = serve()
    out, copy = tmp_path / OUTPUTS[format], tmp_path / "copy"
    assert cli("run", service.url, "--lods", "0-3", "-o", out, "--format", format, "-q").code == 0
    (shutil.copytree if out.is_dir() else shutil.copyfile)(out, copy)
    assert cli("run", service.url, "--lods", "0-4", "-o", out, "--format", format, "-q").code == 0
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    (shutil.copytree if copy.is_dir() else shutil.copyfile)(copy, out)
    again = cli("run", service.url, "--lods", "0-4", "-o", out, "--format", format, "-q", "--json")
    assert (again.code, again.json["fetched"], again.json["kept"]) == (0, 256, 85)


@pytest.mark.parametrize("ledger", ["ledger", "no ledger"])
@pytest.mark.parametrize("format", GOOGLE)
def test_another_source_or_scheme_is_refused_and_the_cache_untouched(cli, serve, tmp_path, format, ledger):
    """A cache that was copied alone says itself where it is from."""
    out = OUTPUTS[format]
    assert cli("run", serve().url, "--lods", "0-2", "-o", out, "--format", format, "-q").code == 0
    if ledger == "no ledger":
        (tmp_path / f"{out}.ledger").unlink()
    before = contents(tmp_path / out)
    other = cli("run", serve(ArcGisSite(name="Other")).url, "--lods", "0-2", "-o", out, "--format", format)
    assert other.code == 4
    assert "another source" in other.err
    assert contents(tmp_path / out) == before
    assert (tmp_path / f"{out}.ledger").exists() is (ledger == "ledger")


def test_a_cache_of_several_sources_takes_more_of_each_of_them_and_of_no_other(cli, serve, tmp_path):
    one, two, three = serve(), serve(ArcGisSite(name="Other")), serve(ArcGisSite(name="Third"))
    for number, service in enumerate((one, two)):
        assert cli("run", service.url, "--lods", str(number), "-o", f"{number}.mbtiles", "-q").code == 0
    assert cli("merge", "0.mbtiles", "1.mbtiles", "-o", "out.mbtiles", "-q").code == 0
    assert cli("run", three.url, "--lods", "2", "-o", "out.mbtiles", "-q").code == 4
    assert cli("run", two.url, "--lods", "2", "-o", "out.mbtiles", "-q", "--json").json["fetched"] == 16


def test_a_service_that_answers_404_to_everything_is_exit_3_and_asked_again_the_next_time(cli, serve, tmp_path):
    service = serve(ArcGisSite(absent=lambda tile: True))
    result = cli("run", service.url, "--lods", "0-3", "-o", "out.mbtiles", "--json")
    assert result.code == 3
    assert result.json["error"]["code"] == "every_tile_404"
    assert "every tile answered 404" in result.err
    service.site.absent = lambda tile: False
    assert cli("run", service.url, "--lods", "0-3", "-o", "out.mbtiles", "--json").json["fetched"] == 85


def test_a_scheme_that_the_format_cannot_hold_is_refused_before_the_first_tile(cli, serve, tmp_path):
    service = serve(ArcGisSite(grid=schemes.ARCMAP_DEFAULT))
    result = cli("run", service.url, "--lods", "0-3", "-o", "out.mbtiles", "--json")
    assert result.code == 4
    assert "compactv2" in result.err and "tpkx" in result.err
    assert "LOD 0" in result.err
    assert service.log.of("tile") == []
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_no_cache_is_refused_in_every_mode(cli, serve, tmp_path):
    (tmp_path / "out.mbtiles").write_bytes(b"a letter to my aunt, never to be lost")
    for mode in ("merge", "overwrite"):
        result = cli("run", serve().url, "--lods", "0-1", "-o", "out.mbtiles", "--mode", mode)
        assert result.code == 4
    assert (tmp_path / "out.mbtiles").read_bytes() == b"a letter to my aunt, never to be lost"
    assert [path.name for path in tmp_path.iterdir()] == ["out.mbtiles"]


def test_a_sealed_package_with_failed_tiles_appears_and_the_next_run_mends_it(cli, serve, tmp_path):
    from harvester.testing.script import Rule, Script

    broken = Rule(tiles=("3/2/2",), do="status", status=500, tries="1")
    service = serve(None, Script(rules=(broken,)))
    first = cli("run", service.url, "--lods", "0-3", "-o", "out.tpkx", "--json", "--retries", "0", "-q")
    assert first.json["failures"] == [{"level": 3, "row": 2, "col": 2, "reason": "http_500"}]
    assert first.code == 1
    assert (tmp_path / "out.tpkx").exists()
    again = cli("run", service.url, "--lods", "0-3", "-o", "out.tpkx", "--json", "-q")
    assert (again.code, again.json["fetched"]) == (0, 1)
    assert not (tmp_path / "out.tpkx.work").exists()


def test_mbtiles_metadata_is_complete_and_says_where_the_map_is_from(cli, serve, tmp_path):
    service = serve(ArcGisSite(copyright="Example Survey, 2026"))
    assert cli("run", service.url, "--bbox", "-10,40,10,55", "--lods", "2-6", "-o", "out.mbtiles", "-q").code == 0
    with sqlite3.connect(tmp_path / "out.mbtiles") as database:
        rows = dict(database.execute("SELECT name, value FROM metadata"))
    database.close()
    assert rows["attribution"] == "Example Survey, 2026"
    assert (rows["format"], rows["minzoom"], rows["maxzoom"]) == ("png", "2", "6")
    west, south, east, north = map(float, rows["bounds"].split(","))
    assert west <= -10 and south <= 40 and east >= 10 and north >= 55


def test_dedup_stores_identical_tiles_once(cli, serve, tmp_path):
    same = ArcGisSite().body(Tile(0, 0, 0))
    service = serve(ArcGisSite(tile=lambda tile: same))
    for lods, tiles in ("0-4", 341), ("0-5", 1365):
        done = cli("run", service.url, "--lods", lods, "-o", "out.mbtiles", "--dedup", "--report", "report.json")
        assert done.code == 0
        assert "identical tiles stored once save" in done.out + done.err
        saved = (tiles - 1) * len(same)
        assert json.loads((tmp_path / "report.json").read_text())["dedup_saved"] == saved
        assert cli("report", "out.mbtiles", "--json").json["dedup_saved"] == saved
        with sqlite3.connect(tmp_path / "out.mbtiles") as database:
            assert database.execute("SELECT count(*) FROM tiles_data").fetchone() == (1,)
            assert database.execute("SELECT count(*) FROM tiles").fetchone() == (tiles,)
        database.close()


def test_what_a_run_saves_in_an_archive_is_reported_and_of_a_flat_file_nothing_is(cli, serve):
    same = ArcGisSite().body(Tile(0, 0, 0))
    service = serve(ArcGisSite(tile=lambda tile: same))
    assert cli("run", service.url, "--lods", "0-3", "-o", "out.pmtiles", "--json").json["dedup_saved"] == 84 * len(same)
    assert cli("run", service.url, "--lods", "0-4", "-o", "out.pmtiles", "--json").json["dedup_saved"] == 340 * len(
        same
    )
    again = cli("run", service.url, "--lods", "0-3", "-o", "out.pmtiles", "--mode", "overwrite", "--json").json
    assert again["dedup_saved"] == 84 * len(same)
    assert cli("report", "out.pmtiles", "--json").json["dedup_saved"] == 84 * len(same)
    over = ("run", service.url, "--lods", "0-3", "-o", "shared.mbtiles", "--dedup", "--mode", "overwrite", "--json")
    for _ in range(2):
        assert cli(*over).json["dedup_saved"] == 84 * len(same)
        assert cli("report", "shared.mbtiles", "--json").json["dedup_saved"] == 84 * len(same)
    assert "dedup_saved" not in cli("run", service.url, "--lods", "0-3", "-o", "flat.mbtiles", "--json").json


def test_a_job_file_with_two_policies_harvests_their_union(cli, serve, tmp_path):
    service = serve()
    (tmp_path / "small.geojson").write_text(
        json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [20, 0], [20, 20], [0, 20], [0, 0]]]})
    )
    (tmp_path / "job.toml").write_text(
        f'source = "{service.url}"\noutput = "job.tpkx"\n[[policy]]\nlods = "0-2"\n'
        '[[policy]]\nmin_scale = 73957190.948944\nmax_scale = 18489297.737236\naoi = "small.geojson"\n'
    )
    planned = cli("plan", "job.toml", "--json").json
    assert [(lod["level"], lod["planned"]) for lod in planned["lods"]] == [
        (0, 1),
        (1, 4),
        (2, 16),
        (3, 1),
        (4, 1),
        (5, 4),
    ]
    result = cli("run", "job.toml", "--json", "-q")
    assert (result.code, result.json["stored"]) == (0, 27)


def test_shards_together_are_the_plan(cli, serve, tmp_path):
    service = serve()
    for part in (1, 2, 3):
        assert (
            cli("run", service.url, "--lods", "0-4", "--shard", f"{part}/3", "-o", f"part{part}.mbtiles", "-q").code
            == 0
        )
    counts = [cli("info", f"part{part}.mbtiles", "--json").json["tiles"] for part in (1, 2, 3)]
    assert sum(counts) == 341 and max(counts) - min(counts) <= 1
    assert max(service.log.tiles().values()) == 1


def test_the_report_is_written_as_json(cli, serve, tmp_path):
    result = cli("run", serve().url, "--lods", "0-2", "-o", "out.mbtiles", "--report", "report.json", "--json", "-q")
    assert json.loads((tmp_path / "report.json").read_text()) == result.json
    assert set(result.json) >= {
        "source", "output", "format", "complete", "planned", "stored", "unchanged", "absent", "failed", "pending",
        "fetched", "kept", "requests", "tile_requests", "retries", "throttled", "bytes", "seconds", "lods", "failures",
    }  # fmt: skip


def test_a_budget_of_tiles_runs_at_once_also_in_a_plan_beyond_all_measure(cli, serve, tmp_path):
    service = serve()
    refused = cli("run", service.url, "-o", "out.mbtiles")
    assert refused.code == 2
    assert "--max-tiles" in refused.err
    first = cli("run", service.url, "-o", "out.mbtiles", "--max-tiles", "50", "--json", "-q")
    assert (first.code, first.json["fetched"]) == (1, 50)
    assert first.json["planned"] == (4**24 - 1) // 3 == first.json["stored"] + first.json["pending"]
    again = cli("run", service.url, "-o", "out.mbtiles", "--max-tiles", "70", "--json", "-q")
    assert (again.code, again.json["kept"], again.json["fetched"]) == (1, 50, 70)
    found = cli("verify", "out.mbtiles", "--json").json
    assert (found["planned"], found["present"]) == ((4**24 - 1) // 3, 120)
    assert max(service.log.tiles().values()) == 1


def test_a_cache_that_happens_to_be_called_like_a_replacement_is_never_taken_for_one(cli, serve, tmp_path):
    mine, other = serve(), serve(ArcGisSite(name="Other"))
    assert cli("run", mine.url, "-o", "X/", "--lods", "0-1", "-q").code == 0
    for name in ("X.new", "X.old"):
        assert cli("run", other.url, "-o", f"{name}/", "--lods", "0-1", "-q").code == 0
    before = contents(tmp_path / "X.new") | contents(tmp_path / "X.old") | contents(tmp_path / "X")
    for taken in ("X.new", "X.old"):
        refused = cli("run", mine.url, "-o", "X/", "--lods", "0-1", "--mode", "overwrite")
        assert refused.code == 4
        assert taken in refused.err
        assert contents(tmp_path / "X.new") | contents(tmp_path / "X.old") | contents(tmp_path / "X") == before
        (tmp_path / taken).rename(tmp_path / f"kept-{taken}")
        before = contents(tmp_path / "X.new") | contents(tmp_path / "X.old") | contents(tmp_path / "X")
        (tmp_path / f"{taken}.ledger").rename(tmp_path / f"kept-{taken}.ledger")
    assert cli("run", mine.url, "-o", "X/", "--lods", "0-1", "--mode", "overwrite", "-q").code == 0


def test_an_empty_output_is_exit_2_and_writes_nothing(cli, serve, tmp_path):
    assert cli("run", serve().url, "--lods", "0-1", "-o", "").code == 2
    assert list(tmp_path.iterdir()) == []


def test_hash_is_written_into_a_finished_cache_too(cli, serve, tmp_path):
    service = serve()
    assert cli("run", service.url, "--lods", "0-2", "-o", "out.mbtiles", "-q").code == 0
    assert cli("run", service.url, "--lods", "0-2", "-o", "out.mbtiles", "-q", "--hash").code == 0
    database = sqlite3.connect(tmp_path / "out.mbtiles")
    assert database.execute("SELECT count(*) FROM metadata WHERE name = 'agg_tiles_hash'").fetchone() == (1,)
    database.close()
    before = contents(tmp_path / "out.mbtiles")
    assert cli("run", service.url, "--lods", "0-2", "-o", "out.mbtiles", "-q", "--hash").code == 0
    assert contents(tmp_path / "out.mbtiles") == before


@pytest.mark.parametrize("dedup", [False, True])
def test_what_run_writes_with_hash_passes_the_rules_of_mbtiles_validate(cli, serve, tmp_path, dedup):
    """Also when a later job has added to it: the hash is that of all tiles then."""
    service, more = serve(), ("--dedup",) if dedup else ()
    for lods, tiles in (("0-2", 21), ("1-3", 85)):
        assert cli("run", service.url, "--lods", lods, "-o", "out.mbtiles", "-q", "--hash", *more).code == 0
        assert validate(tmp_path / "out.mbtiles") == ("tiles_shallow" if dedup else "flat")
        with harvester.open_cache(tmp_path / "out.mbtiles") as reader:
            held = sum(int(reader.present(key).sum()) for level in reader.levels() for key in reader.blocks(level))
        assert held == tiles
    # Without --hash a later run leaves none that is wrong.
    assert cli("run", service.url, "--lods", "4", "-o", "out.mbtiles", "-q", *more).code == 0
    with pytest.raises(AssertionError, match="there is no agg_tiles_hash"):
        validate(tmp_path / "out.mbtiles")


@pytest.mark.parametrize("format", sorted(OUTPUTS))
def test_absent_tiles_are_not_asked_again_by_the_same_command_nor_by_a_larger_job(cli, serve, tmp_path, format):
    service = serve(ArcGisSite(absent=lambda tile: (tile.row + tile.col) % 3 == 2))
    command = (
        "-o",
        OUTPUTS[format],
        *(("--format", format) if format not in ("mbtiles", "tpkx") else ()),
        "--json",
        "-q",
    )
    first = cli("run", service.url, "--lods", "0-4", *command)
    assert first.code == 0 and first.json["absent"] > 50
    before = contents(tmp_path / OUTPUTS[format])
    service.log.clear()
    again = cli("run", service.url, "--lods", "0-4", *command)
    assert (again.code, again.json["tile_requests"], len(service.log.of("tile"))) == (0, 0, 0)
    assert contents(tmp_path / OUTPUTS[format]) == before
    larger = cli("run", service.url, "--lods", "0-5", *command)
    assert (larger.code, larger.json["tile_requests"]) == (0, 1024)
    assert {asked.tile.level for asked in service.log.of("tile")} == {5}
    last = cli("run", service.url, "--lods", "0-5", *command)
    assert last.json["tile_requests"] == 0
