"""Killed, stopped, interrupted: nothing wrong is readable, nothing acknowledged is lost, the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import harvester
from harvester.assemble.run import harvest_job
from harvester.caches.open import is_empty_or_missing
from harvester.job import Job, Policy
from harvester.loop import run_loop
from harvester.testing.crash import CrashingDisk, CrashPoint
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite

OUTPUTS = ("out.mbtiles", "out", "out.tpkx")
TILES = 341
IN_FLIGHT = 32
KILLS = 8
"""Kill points of each loop, spread evenly over the file operations of a whole run."""


def readable(tmp_path, name, service) -> set:
    """Every tile that can be read under the final name; each must be right."""
    path = tmp_path / name
    if is_empty_or_missing(path):
        return set()
    found = set()
    with harvester.open_cache(path) as cache:
        for level in cache.levels():
            for key in cache.blocks(level):
                for tile, body in cache.tiles(key):
                    assert body == service.site.body(tile)
                    found.add(tile)
    return found


def steps_of(url: str, out: Path, levels: int, mode: str = "merge") -> int:
    """How many file operations a whole run makes."""
    disk = CrashingDisk(CrashPoint(0))
    run_loop(harvest_job(Job(source=url, output=out, mode=mode, policies=(Policy(lods=((0, levels),)),)), disk=disk))
    return disk.steps


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_run_killed_at_any_step_goes_on_and_asks_again_only_for_what_was_not_written(
    spawn, serve, cli, tmp_path, name
):
    steps = steps_of(serve().url, tmp_path / f"whole-{name}", 4)
    kills = 0
    for number in range(KILLS):
        out = f"{number}-{name}"
        service = serve(ArcGisSite(absent=lambda tile: tile.level == 4 and tile.col == 3))
        command = ("run", service.url, "--lods", "0-4", "-o", out, "--json", "--rate", "400")
        killed = spawn(*command, HARVESTER_CRASH_AT=str(1 + steps * number // KILLS))
        killed.communicate(timeout=120)
        kills += killed.returncode == -signal.SIGKILL if sys.platform != "win32" else killed.returncode != 0
        held = readable(tmp_path, out, service)
        assert killed.returncode == 0 or len(held) <= TILES
        rest = cli(*command)
        assert rest.code == 0, rest.err
        report = rest.json
        assert report["complete"]
        assert report["planned"] == TILES
        assert len(readable(tmp_path, out, service)) == report["stored"] == TILES - 16
        # One batch a second at 400 requests a second: what was being filled and written, and what was under way.
        twice = sum(times - 1 for times in service.log.tiles().values())
        assert twice <= 2 * 400 + IN_FLIGHT
        assert {path.name for path in tmp_path.iterdir() if path.name.startswith(out)} == {out, f"{out}.ledger"}
        assert cli("verify", out, "--deep").code == 0
    assert kills >= KILLS - 1


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUTS)
def test_an_overwrite_killed_at_any_step_leaves_the_old_cache_or_the_new_one(spawn, serve, cli, tmp_path, name):
    service = serve()
    assert cli("run", service.url, "--lods", "0-3", "-o", name, "-q").code == 0
    steps = steps_of(service.url, tmp_path / name, 3, "overwrite")
    for number in range(KILLS):
        before, service.site.variant = service.site.variant, number + 1
        command = ("run", service.url, "--lods", "0-3", "-o", name, "-q", "--mode", "overwrite")
        spawn(*command, HARVESTER_CRASH_AT=str(1 + steps * (KILLS - number - 1) // KILLS + number % 3)).communicate(
            timeout=120
        )
        if (tmp_path / name).exists():
            with harvester.open_cache(tmp_path / name) as cache:
                variants = set()
                for level in cache.levels():
                    for key in cache.blocks(level):
                        for tile, body in cache.tiles(key):
                            old = ArcGisSite(variant=before).body(tile)
                            new = ArcGisSite(variant=number + 1).body(tile)
                            assert body in (old, new)
                            variants.add(body == new)
                assert len(variants) == 1
        assert cli(*command).code == 0
        with harvester.open_cache(tmp_path / name) as cache:
            tile = next(tile for key in cache.blocks(3) for tile, _ in cache.tiles(key))
            assert cache.read(*tile) == ArcGisSite(variant=number + 1).body(tile)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}.ledger"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_state_and_the_same_command_goes_on(spawn, serve, tmp_path, number, code):
    service = serve(script=Script(rules=(Rule(do="answer", delay=0.1),)))
    command = ("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", "--json", "--concurrency", "16")
    process = spawn(*command, "--progress", "json")
    for line in process.stderr:
        if json.loads(line)["type"] == "progress":
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    stopped = json.loads(out)
    assert stopped["error"]["code"] == "stopped"
    assert stopped["stored"] == stopped["tile_requests"] > 0
    assert stopped["pending"] == 1365 - stopped["stored"]
    assert not (tmp_path / "out.mbtiles.lock").exists()
    rest = spawn(*command)
    report = json.loads(rest.communicate(timeout=120)[0])
    assert (rest.returncode, report["stored"], report["kept"]) == (0, 1365, stopped["stored"])
    assert max(service.log.tiles().values()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process alone")
def test_a_second_signal_ends_at_once_and_what_was_written_stays(spawn, serve, tmp_path):
    """Row 33: the first one waits for answers that are under way, and these never come."""
    service = serve(script=Script(rules=(Rule(do="stall", requests="100-"),)))
    command = ("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", "--json", "--progress", "json")
    process = spawn(*command, "--timeout", "600")
    for line in process.stderr:
        event = json.loads(line)
        if event["type"] == "progress" and event["stored"] == 99:
            break
    process.send_signal(signal.SIGINT)
    for line in process.stderr:
        if "once more" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    report = json.loads(out)
    assert (report["stored"], report["pending"]) == (99, 1365 - 99)
    service.script = Script()
    rest = spawn(*command)
    assert json.loads(rest.communicate(timeout=120)[0])["kept"] == 99
    assert rest.returncode == 0


def test_a_second_run_on_the_same_cache_ends_at_once_and_says_who_holds_it(spawn, serve, cli, tmp_path):
    service = serve(script=Script(rules=(Rule(do="answer", delay=0.2),)))
    process = spawn("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", "--progress", "json")
    for line in process.stderr:
        if json.loads(line)["type"] == "started":
            break
    second = cli("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", "--json")
    assert second.code == 4
    assert second.json["error"]["code"] == "locked"
    assert str(process.pid) in second.err
    assert cli("verify", "out.mbtiles", "--json").code == 1


def test_a_closed_stdout_or_stderr_stops_no_run(spawn, serve, cli, tmp_path):
    service = serve()
    process = spawn("run", service.url, "--lods", "0-4", "-o", "out.mbtiles", "--progress", "json")
    process.stderr.close()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert cli("verify", "out.mbtiles").code == 0
    process.stderr = process.stdout = None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM")
def test_a_signal_before_the_first_tile_ends_at_once_and_leaves_no_file(spawn, serve, tmp_path):
    service = serve(script=Script(rules=(Rule(kind="document", do="stall"),)))
    process = spawn("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", "--json")
    while not service.log.of("document"):
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "stopped"
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


IN_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
)
"""Makes stdin the process's own terminal, whose end it is told of by SIGHUP."""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGHUP")
def test_a_terminal_that_is_closed_stops_no_run(serve, cli, tmp_path):
    """A lost SSH connection, a closed window."""
    service = serve(script=Script(rules=(Rule(do="answer", delay=0.05),)))
    ours, its = os.openpty()
    command = ("-m", "harvester", "run", service.url, "--lods", "0-5", "-o", "out.mbtiles")
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, sys.executable, *command],
        cwd=tmp_path, stdin=its, stdout=its, stderr=its, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(its)
        while not service.log.of("tile"):
            os.read(ours, 4096)
        os.close(ours)
        assert process.wait(timeout=60) == 0
    assert cli("verify", "out.mbtiles").code == 0
