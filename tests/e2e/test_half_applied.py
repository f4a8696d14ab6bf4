"""A stopped or killed apply says so in the cache itself, until the same command has completed it; the ledger beside
the cache knows afterwards what the delta did."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from functools import partial

import pytest

from harvester.caches.open import open_cache
from harvester.cli.apply import HALF, how_it_stands
from harvester.cli.convert import BESIDE, finished
from harvester.delta.application import apply
from harvester.errors import CacheError, StoppedError
from harvester.manifest import KEY as MANIFEST
from harvester.testing.crash import CrashingDisk, CrashPoint
from tests.delta.making import SUFFIX, files, held, make, some

PLACES = ("9/1/1", "9/1/200", "9/200/1", "9/200/200", "9/300/1", "9/300/300")
OLD = some(*PLACES)
NEW = some(*PLACES[:-1], first=50)
APPENDABLE = ("mbtiles", "gpkg", "compact", "compactv2", "exploded", "xyz")


def stages(tmp_path, format):
    """The cache that is to be changed, and beside it what it is to become."""
    make(tmp_path / "new", NEW, format="compactv2")
    return make(tmp_path / f"out{SUFFIX[format]}", OLD, format=format)


@pytest.mark.parametrize("format", APPENDABLE)
@pytest.mark.skipif(os.name == "nt", reason="SIGINT to oneself is a Ctrl-C for the whole console there")
def test_a_stopped_apply_says_half_applied_and_verify_names_the_remedy(cli, tmp_path, format):
    out = stages(tmp_path, format)
    assert cli("diff", out.name, "new", "-o", "delta.mbtiles").code == 0
    copy = tmp_path / f"copy{SUFFIX[format]}"
    seen = set()
    whole = CrashingDisk(CrashPoint(0))
    shutil.copytree(out, copy) if out.is_dir() else shutil.copy(out, copy)
    finished(apply(tmp_path / "delta.mbtiles", copy, disk=whole))
    assert held(copy) == NEW
    assert cli("verify", copy.name, "--deep").code == 0
    for step in range(1, whole.steps, max(1, whole.steps // 6)):
        target = tmp_path / f"{step}{SUFFIX[format]}"
        shutil.copytree(out, target) if out.is_dir() else shutil.copy(out, target)
        stopping = CrashingDisk(CrashPoint(step), kill=lambda: os.kill(os.getpid(), signal.SIGINT))
        try:
            finished(apply(tmp_path / "delta.mbtiles", target, disk=stopping), partial(how_it_stands, target))
        except StoppedError as stop:
            seen.add(stop.hint)
            between = held(target) not in (OLD, NEW)
            assert stop.hint == HALF or not between
            for deep in ((), ("--deep",)):
                told = cli("verify", target.name, *deep)
                assert told.code == (1 if stop.hint == HALF else 0), (step, told)
                remedy = f"an apply was interrupted: run `harvester apply delta.mbtiles {target.name}` again"
                assert (remedy in told.err) == (stop.hint == HALF)
            assert cli("verify", target.name, "--json").json["complete"] == (stop.hint != HALF)
        assert cli("apply", "delta.mbtiles", target.name).code == 0
        assert held(target) == NEW
        assert cli("verify", target.name, "--deep").code == 0
    assert seen <= {HALF, BESIDE}
    assert HALF in seen


@pytest.mark.parametrize("format", APPENDABLE)
def test_also_a_killed_one_is_not_called_whole(cli, tmp_path, format):
    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    out = stages(tmp_path, format)
    assert cli("diff", out.name, "new", "-o", "delta.mbtiles").code == 0
    before = files(out)
    between = 0
    for step in range(1, 300, 5):
        target = tmp_path / f"{step}{SUFFIX[format]}"
        shutil.copytree(out, target) if out.is_dir() else shutil.copy(out, target)
        try:
            finished(apply(tmp_path / "delta.mbtiles", target, disk=CrashingDisk(CrashPoint(step), kill=kill)))
        except (Killed, CacheError):
            if held(target) not in (OLD, NEW):
                between += 1
                assert cli("verify", target.name).code == 1
            assert cli("apply", "delta.mbtiles", target.name).code == 0
            assert cli("verify", target.name).code == 0
            continue
        break
    assert files(out) == before
    assert between


def test_a_copy_of_a_half_applied_cache_is_told(cli, tmp_path):
    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    out = stages(tmp_path, "compactv2")
    assert cli("diff", out.name, "new", "-o", "delta.mbtiles").code == 0
    with pytest.raises((Killed, CacheError)):
        finished(apply(tmp_path / "delta.mbtiles", out, disk=CrashingDisk(CrashPoint(25), kill=kill)))
    assert cli("verify", out.name).code == 1
    notices = cli("convert", out.name, "copy.mbtiles", "--json").json["notices"]
    assert any("is half applied" in text for text in notices)


def test_a_run_into_a_half_applied_cache_leaves_the_mark(cli, serve, tmp_path):
    service = serve()
    assert cli("run", service.url, "--lods", "0-1", "-o", "out.mbtiles", "-q").code == 0
    assert cli("run", service.url, "--lods", "2", "-o", "new.mbtiles", "-q").code == 0
    assert cli("diff", "out.mbtiles", "new.mbtiles", "-o", "delta").code == 0

    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    with pytest.raises((Killed, CacheError)):
        finished(apply(tmp_path / "delta", tmp_path / "out.mbtiles", disk=CrashingDisk(CrashPoint(9), kill=kill)))
    assert cli("verify", "out.mbtiles").code == 1
    assert cli("run", service.url, "--lods", "0-1", "-o", "out.mbtiles", "-q").code == 0
    assert cli("verify", "out.mbtiles").code == 1
    assert cli("run", service.url, "--lods", "0-1", "-o", "out.mbtiles", "-q", "--mode", "overwrite").code == 0
    assert cli("verify", "out.mbtiles").code == 0


@pytest.mark.parametrize("name", ["out.mbtiles", "out.gpkg", "out.tpkx", "out", "out.pmtiles"])
def test_after_apply_ledger_holes_and_the_old_job_agree_with_the_cache(cli, serve, tmp_path, name):
    service = serve()
    job = ("run", service.url, "--lods", "0-3", "-o", name, "-q", "--json")
    assert cli(*job).code == 0
    # Of the new state a LOD is gone and a part of another is added.
    assert cli("run", service.url, "--lods", "0-2,4", "-o", "new.mbtiles", "-q").code == 0
    smaller = {tile: body for tile, body in held(tmp_path / "new.mbtiles").items() if tile.level != 4 or tile.row < 3}
    make(tmp_path / "newer.mbtiles", smaller, format="mbtiles")
    assert cli("diff", name, "newer.mbtiles", "-o", "delta.gpkg").code == 0
    service.log.clear()
    assert cli("apply", "delta.gpkg", name).code == 0
    assert held(tmp_path / name) == smaller
    told = cli("verify", name, "--deep")
    assert told.code == 0, told
    counts = cli("verify", name, "--json").json
    assert (counts["missing"], counts["absent"], counts["present"]) == (0, 64, len(smaller))
    assert cli("holes", name, "-o", "holes.geojson", "--json").json["pending"] == 0
    first = (tmp_path / f"{name}.ledger").read_bytes()
    assert cli("apply", "delta.gpkg", name).code == 0
    assert (tmp_path / f"{name}.ledger").read_bytes() == first
    report = cli(*job)
    assert report.code == 0
    assert (report.json["absent"], report.json["tile_requests"]) == (64, 0)
    assert held(tmp_path / name) == smaller
    assert not service.log.tiles()


def test_a_ledger_that_spoke_of_another_cache_is_not_believed(cli, serve, tmp_path):
    service = serve()
    job = ("run", service.url, "--lods", "0-2", "-o", "out.mbtiles", "-q", "--json")
    assert cli(*job).code == 0
    with sqlite3.connect(tmp_path / "out.mbtiles") as database:
        database.execute("DELETE FROM tiles WHERE zoom_level = 1 AND tile_column = 1")
        # With its manifest it would be refused as damaged.
        database.execute("DELETE FROM metadata WHERE name = ?", (MANIFEST,))
    database.close()
    tiles = held(tmp_path / "out.mbtiles")
    less = {tile: body for tile, body in tiles.items() if tile.level < 2}
    make(tmp_path / "new.mbtiles", less, format="mbtiles")
    assert cli("diff", "out.mbtiles", "new.mbtiles", "-o", "delta").code == 0
    assert cli("apply", "delta", "out.mbtiles").code == 0
    assert cli("verify", "out.mbtiles", "--json").json["missing"] == 2
    report = cli(*job).json
    assert (report["absent"], report["tile_requests"]) == (16, 2)
    with open_cache(tmp_path / "out.mbtiles") as reader:
        assert len(held(tmp_path / "out.mbtiles")) == 5, reader
