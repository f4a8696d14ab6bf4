"""Whole harvests of a loopback service, each in a process of its own, beside aiohttp that only fetches.

``python -m benchmarks.bench_end_to_end harvest URL FORMAT --level 14`` is one such process; it prints its Cost as JSON.
Caches are written where temporary files go (``TMPDIR``), durably, and removed again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.map_server import HOME_COL, HOME_LEVEL, HOME_ROW, MapService, body_of, map_server, tiles_of
from benchmarks.measure import CLIENT_CPU, ROOT, Cost, cost_of, peak_bytes, pin
from harvester.api import open_cache, run
from harvester.events import Progress
from harvester.job import Job, Limits, Policy

CONNECTIONS = 64
FORMATS = ("mbtiles", "compactv2", "tpkx")
WARM_LEVEL = 10
"""64 tiles that bring in every module and page before the clock starts."""

RAMP_SECONDS = 2.5
"""From 4 connections to 512 in windows of three answers at 50 ms, and time to settle."""

DEADLINE_SECONDS = 1800.0


def job_of(url: str, output: Path, format: str, level: int, connections: int = CONNECTIONS) -> Job:
    """All tiles of a level."""
    return Job(
        source=url,
        output=output,
        format=format,
        policies=(Policy(lods=((level, level),)),),
        limits=Limits(concurrency=connections),
    )


def harvest(url: str, format: str, level: int, folder: Path) -> Cost:
    """One run from the service document to the finished cache, every safety on."""
    warm = folder / "warm"
    warm.mkdir()
    run(job_of(url, warm / f"cache.{format}", format, WARM_LEVEL))
    job = job_of(url, folder / f"cache.{format}", format, level)
    reports: list[Any] = []
    cost = cost_of(lambda: reports.append(run(job)), tiles_of(level))
    report = reports[0]
    assert report.complete and report.counts.stored == cost.pieces == report.tile_requests, report
    return cost


def steady(url: str, format: str, level: int, folder: Path, connections: int) -> Cost:
    """The part of one run between its ramp-up and its last second: requests, and seconds on the wall."""
    seen: list[Progress] = []
    job = job_of(url, folder / f"cache.{format}", format, level, connections)
    cpu = time.process_time()
    report = run(job, on_event=lambda event: seen.append(event) if isinstance(event, Progress) else None)
    assert report.complete, report
    level_part = [event for event in seen[:-1] if event.seconds >= RAMP_SECONDS]
    first, last = level_part[0], level_part[-1]
    pieces, seconds = last.requests - first.requests, last.seconds - first.seconds
    return Cost(pieces, time.process_time() - cpu, seconds, peak_bytes())


def fetch(url: str, size: int, level: int) -> Cost:
    """The same number of tiles by aiohttp's ClientSession at its best, thrown away."""
    from benchmarks.bench_transport import aiohttp_best
    from benchmarks.bench_transport import run as run_client
    from benchmarks.tile_server import Tiles

    port = int(url.removeprefix("http://127.0.0.1:").partition("/")[0])
    found = run_client(aiohttp_best, Tiles(port=port, size=size, ca=None), tiles_of(level), CONNECTIONS)
    return Cost(found.tiles, found.cpu_seconds, found.wall_seconds, peak_bytes())


def work(n: int, format: str = "mbtiles", size: int = 1000) -> Cost:
    """Harvest the first level that has ``n`` tiles, in this process."""
    level = next(level for level in range(HOME_LEVEL, 20) if tiles_of(level) >= n)
    with tempfile.TemporaryDirectory() as folder, map_server(size=size) as service:
        return harvest(service.url, format, level, Path(folder))


def in_process(what: str, service: MapService, format: str, level: int, connections: int = CONNECTIONS) -> Cost:
    """Run ``harvest``, ``steady`` or ``fetch`` in a process of its own on its own core."""
    command = [sys.executable, "-m", "benchmarks.bench_end_to_end", what, service.url, format]
    command += ["--level", str(level), "--bytes", str(service.size), "--cpu", str(CLIENT_CPU)]
    command += ["--connections", str(connections)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    if ended.returncode:
        raise RuntimeError(f"{what} {format} ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return Cost(**json.loads(ended.stdout.splitlines()[-1]))


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("harvest", "steady", "fetch"))
    parser.add_argument("url")
    parser.add_argument("format", choices=(*FORMATS, "none"))
    parser.add_argument("--level", type=int, default=14)
    parser.add_argument("--bytes", type=int, default=15_000)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--cpu", type=int)
    options = parser.parse_args(argv)
    pin(options.cpu)
    if options.what == "fetch":
        cost = fetch(options.url, options.bytes, options.level)
    else:
        with tempfile.TemporaryDirectory() as folder:
            if options.what == "harvest":
                cost = harvest(options.url, options.format, options.level, Path(folder))
            else:
                cost = steady(options.url, options.format, options.level, Path(folder), options.connections)
    print(json.dumps(cost._asdict()))


@pytest.fixture(scope="module")
def service() -> Iterator[MapService]:
    with map_server(size=1000) as running:
        yield running


@pytest.mark.parametrize("format", FORMATS)
def test_every_tile_in_the_cache_is_the_one_that_was_served(service: MapService, format: str, tmp_path: Path) -> None:
    level = 10
    harvest(service.url, format, level, tmp_path)
    side = 2 ** (level - HOME_LEVEL)
    with open_cache(tmp_path / f"cache.{format}") as cache:
        for row in range(HOME_ROW * side, (HOME_ROW + 1) * side):
            for col in range(HOME_COL * side, (HOME_COL + 1) * side):
                assert cache.read(level, row, col) == body_of(row, col, service.size)


def test_what_it_is_measured_against_fetches_the_same_tiles(service: MapService) -> None:
    assert in_process("fetch", service, "none", 9).pieces == 16


if __name__ == "__main__":
    main(sys.argv[1:])
