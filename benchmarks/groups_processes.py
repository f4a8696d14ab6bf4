"""Groups of measurements: whole processes, from their start to their end."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import ROOT, SMALL_BYTES, Cost, Reading, Round, children_cpu, group


@group("streaming", "the verbs: height and speed over caches of 10^5 to 10^7 tiles, a process each", long=True)
def streaming() -> Iterator[Round]:
    from benchmarks import bench_streaming as bench

    with tempfile.TemporaryDirectory() as own:
        yield lambda number: bench.readings(bench.SIZES, bench.JOBS, Path(own))


def _spawned(command: list[str]) -> Cost:
    """A process from its start to its end: CPU where the system tells it, else the wall."""
    cpu, wall = children_cpu(), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - wall
    return Cost(1, (children_cpu() - cpu) or seconds, seconds)


BARE_REQUEST = """
import asyncio, json, sys
import aiohttp

async def main():
    async with aiohttp.ClientSession() as session, session.get(sys.argv[1], params={"f": "json"}) as answer:
        for lod in (await answer.json())["tileInfo"]["lods"]:
            print(lod["level"], lod["scale"])

asyncio.run(main())
"""


@group("startup", "harvester --version against an empty Python, harvester scales against a bare script")
def startup() -> Iterator[Round]:
    from benchmarks.map_server import map_server

    ours = [sys.executable, "-m", "harvester"]
    times = 5
    with map_server(size=SMALL_BYTES) as service:
        commands = {
            "empty": [sys.executable, "-c", "pass"],
            "version": [*ours, "--version"],
            "script": [sys.executable, "-c", BARE_REQUEST, service.url],
            "scales": [*ours, "scales", service.url],
        }

        def rounds(number: int) -> Iterator[Reading]:
            order = list(commands)
            random.Random(number).shuffle(order)
            spent = dict.fromkeys(order, 0.0)
            for _ in range(times):
                for name in order:
                    spent[name] += _spawned(commands[name]).cpu_seconds
            for name, seconds in sorted(spent.items()):
                yield Reading(f"startup.{name}", seconds / times * 1000, "ms")
            yield Reading("startup.version_over_empty", spent["version"] / spent["empty"], "x")
            yield Reading("startup.scales_over_script", spent["scales"] / spent["script"], "x")

        yield rounds
