"""A long run: a million small tiles on loopback with 5 % mixed faults, complete, byte-exact, in flat memory.

``python -m benchmarks.soak --tiles 1000000`` serves, harvests into MBTiles in a process of its own, checks every
promise that a run makes, and, at its full size or with ``--save``, keeps what it measured in ``results/soak.json``.
``make soak`` does that; then it kills a
thousand runs (``benchmarks/kills.py``), lets the power fail at every moment of a run in every format, and has the
machine of runs, kills and damage play some hundred games. Naming one part with its number does that part alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.keep import keep
from benchmarks.kills import main as killing
from benchmarks.measure import ROOT, peak_bytes
from benchmarks.soak_service import SHARE, body_of
from harvester.api import open_cache, run
from harvester.audit import verify
from harvester.events import Progress
from harvester.job import Job, Limits, Policy

TILES, KILLS, CUTS, GAMES = 1_000_000, 1000, 10_000, 200
"""What ``make soak`` does unless told otherwise; no recorded run has so many moments for a cut, so that is all."""

TALE = ROOT / ".soak-kills.jsonl"
"""Each death as it is told, so that ``make soak`` goes on with the rest after a stop; gone when all were good."""

SETTLED = 0.2
"""Of the tiles: by then a run has all the memory that it needs for good."""

MAX_GROWTH = 1.10
MAX_AMPLIFICATION = 1.10
TIMEOUT_SECONDS = 5.0
DEADLINE_SECONDS = 6 * 3600.0


def part_of(tiles: int) -> tuple[int, int]:
    """Level, and the number of equal shards of it of which one has about so many tiles."""
    level = 0
    while 4**level < tiles:
        level += 1
    return level, max(1, 4**level // tiles)


def resident_bytes() -> int:
    """Memory that this process holds now; where the system doesn't say, the most that it has held."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return peak_bytes()


def job_of(url: str, out: Path, tiles: int) -> Job:
    """About so many tiles of one level."""
    level, shards = part_of(tiles)
    return Job(
        source=url,
        output=out,
        shard=(1, shards) if shards > 1 else None,
        policies=(Policy(lods=((level, level),)),),
        limits=Limits(timeout_seconds=TIMEOUT_SECONDS, concurrency=64),
    )


def harvest(url: str, out: Path, tiles: int) -> dict[str, Any]:
    """One run, its memory watched at every progress event."""
    seen: list[tuple[int, int]] = []

    def watch(event: object) -> None:
        if isinstance(event, Progress):
            seen.append((event.requests, resident_bytes()))

    report = run(job_of(url, out, tiles), on_event=watch)
    document = report.to_dict()
    whole = document["tile_requests"]
    settled = [memory for requests, memory in seen if SETTLED <= requests / whole <= 2 * SETTLED]
    last = [memory for requests, memory in seen if requests / whole >= 1 - 2 * SETTLED]
    return {
        "report": document,
        "exit_code": report.exit_code,
        "settled_bytes": max(settled, default=0),
        "last_bytes": max(last, default=0),
        "peak_bytes": peak_bytes(),
        "samples": len(seen),
    }


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wrong_tiles(out: Path) -> tuple[int, int]:
    """Tiles that the cache holds, and those among them that are not what the service holds."""
    held = wrong = 0
    with open_cache(out) as cache:
        for level in cache.levels():
            for key in cache.blocks(level):
                for tile, body in cache.tiles(key):
                    held += 1
                    wrong += body != body_of(tile)
    return held, wrong


def sqlite_is_whole(path: Path) -> bool:
    """SQLite's own ``integrity_check``."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))
    finally:
        connection.close()


def child(module: str, *arguments: object) -> subprocess.Popen[str]:
    """A module of ours in a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)


def soak(tiles: int, folder: Path, seed: int = 1) -> dict[str, Any]:
    """Serve, harvest, harvest again, check. Gives what was measured; ``broken`` lists promises that were not kept."""
    out = folder / "soak.mbtiles"
    began = time.monotonic()
    with child("soak_service", seed) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            with child("soak", "--harvest", url, out, "--tiles", tiles) as first:
                text, _ = first.communicate(timeout=DEADLINE_SECONDS)
            measured = json.loads(text.splitlines()[-1])
            seconds = time.monotonic() - began
            before = digest(out)
            with child("soak", "--harvest", url, out, "--tiles", tiles) as again:
                text, _ = again.communicate(timeout=DEADLINE_SECONDS)
            second = json.loads(text.splitlines()[-1])
        finally:
            server.stdin.close()
        asked = json.loads(server.stdout.readline())
    report = measured["report"]
    planned = report["planned"]
    held, wrong = wrong_tiles(out)
    finding = verify(out)
    growth = measured["last_bytes"] / measured["settled_bytes"] if measured["settled_bytes"] else 1.0
    amplification = report["tile_requests"] / planned
    kept = {
        "the run is complete": measured["exit_code"] == 0 and report["complete"],
        "every planned tile is stored": report["stored"] == planned == asked["tiles"] == held,
        "no tile is wrong": wrong == 0,
        "no tile is asked more than four times": asked["most"] <= 4,
        "faults were met": report["retries"] >= planned * SHARE * 0.8,
        "the report counts what the server saw": report["tile_requests"] == asked["asked"],
        "few requests more than tiles": amplification <= MAX_AMPLIFICATION,
        "the cache and its ledger agree": finding.complete and finding.sound and finding.planned == planned,
        "SQLite finds both files whole": sqlite_is_whole(out) and sqlite_is_whole(out.with_name(out.name + ".ledger")),
        "run again, no tile is asked": second["exit_code"] == 0 and second["report"]["tile_requests"] == 0,
        "run again, the cache is the same byte for byte": digest(out) == before,
        "nothing else lies beside it": sorted(path.name for path in folder.iterdir())
        == ["soak.mbtiles", "soak.mbtiles.ledger"],
        "memory is flat": growth <= MAX_GROWTH,
    }
    return {
        "tiles": planned,
        "tile_bytes": report["bytes"] // planned,
        "faults_share": SHARE,
        "retries": report["retries"],
        "throttled": report["throttled"],
        "tile_requests": report["tile_requests"],
        "amplification": round(amplification, 4),
        "most_requests_of_one_tile": asked["most"],
        "seconds": round(seconds, 1),
        "memory_settled_bytes": measured["settled_bytes"],
        "memory_last_bytes": measured["last_bytes"],
        "memory_peak_bytes": measured["peak_bytes"],
        "memory_growth": round(growth, 4),
        "checked": sorted(kept),
        "broken": sorted(name for name, holds in kept.items() if not holds),
    }


def main(argv: Sequence[str]) -> int:
    """Gives 0 when every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, help=f"tiles of the long run ({TILES:,})")
    parser.add_argument("--kills", type=int, help=f"runs to kill ({KILLS:,})")
    parser.add_argument("--cuts", type=int, help=f"moments of each run at which the power fails ({CUTS:,})")
    parser.add_argument("--games", type=int, help=f"sequences that each machine plays ({GAMES})")
    parser.add_argument("--minutes", type=float, default=120.0, help="the most that the kills may take (120)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", action="store_true", help="keep what a smaller trial measured, too")
    parser.add_argument("--harvest", nargs=2, metavar=("URL", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.harvest:
        url, out = options.harvest
        print(json.dumps(harvest(url, Path(out), options.tiles)))
        return 0
    named = [options.tiles, options.kills, options.cuts, options.games]
    tiles, kills, cuts, games = named if any(named) else (TILES, KILLS, CUTS, GAMES)
    broken = False
    if tiles:
        with tempfile.TemporaryDirectory() as folder:
            measured = soak(tiles, Path(folder), options.seed)
        if options.save or tiles >= TILES:
            keep("soak", measured)
        print(json.dumps(measured, indent=1))
        broken |= bool(measured["broken"])
    if kills:
        save = ["--save"] if options.save or kills >= KILLS else []
        broken |= bool(killing([*save, *f"--kills {kills} --minutes {options.minutes} --tale".split(), str(TALE)]))
        if not broken:
            TALE.unlink(missing_ok=True)
    if cuts:
        broken |= play(
            "HARVESTER_POWER_CUTS", cuts, "tests/crash/test_power_cut.py", "tests/crash/test_wrong_writers.py"
        )
    if games:
        broken |= play(
            "HARVESTER_MACHINE_EXAMPLES", games, "tests/crash/test_machine.py", "tests/crash/test_machine_sealed.py"
        )
    return int(broken)


def play(variable: str, number: int, *tests: str) -> bool:
    """Run tests so many times deeper than they go in every run; gives True when one failed."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--timeout",
        str(DEADLINE_SECONDS),
        *tests,
    ]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, variable: str(number)}, check=False).returncode != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
