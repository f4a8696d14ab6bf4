"""Killed at any step while writing the older formats: nothing wrong is readable, and the same command goes on."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from harvester.assemble.run import harvest_job
from harvester.job import Job, Policy
from harvester.loop import run_loop
from harvester.testing.crash import CrashingDisk, CrashPoint
from tests.e2e.test_kill import readable

OUTPUTS = {"compact": "out", "exploded": "out", "xyz": "out", "tpk": "out.tpk"}
TILES = 85
KILLS = 5


def steps_of(url: str, out: Path, format: str) -> int:
    """How many file operations a whole run makes."""
    disk = CrashingDisk(CrashPoint(0))
    run_loop(harvest_job(Job(source=url, output=out, format=format, policies=(Policy(lods=((0, 3),)),)), disk=disk))
    return disk.steps


@pytest.mark.slow
@pytest.mark.parametrize("format", OUTPUTS)
def test_a_run_killed_at_any_step_goes_on(spawn, serve, cli, tmp_path, format):
    steps = steps_of(serve().url, tmp_path / f"whole-{OUTPUTS[format]}", format)
    kills = 0
    for number in range(KILLS):
        out = f"{number}-{OUTPUTS[format]}"
        service = serve()
        command = ("run", service.url, "--lods", "0-3", "-o", out, "--format", format, "--json")
        killed = spawn(*command, HARVESTER_CRASH_AT=str(1 + steps * number // KILLS))
        killed.communicate(timeout=120)
        kills += killed.returncode == -signal.SIGKILL if sys.platform != "win32" else killed.returncode != 0
        readable(tmp_path, out, service)
        rest = cli(*command)
        assert rest.code == 0, rest.err
        assert rest.json["stored"] == len(readable(tmp_path, out, service)) == TILES
        assert {path.name for path in tmp_path.iterdir() if path.name.startswith(out)} == {out, f"{out}.ledger"}
        assert not list((tmp_path / out).glob(".incoming")) if (tmp_path / out).is_dir() else True
        assert cli("verify", out, "--deep").code == 0
        again = cli(*command)
        assert (again.code, again.json["tile_requests"]) == (0, 0)
    assert kills >= KILLS - 1
