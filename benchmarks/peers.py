"""What a user would take instead: mapproxy-seed, curl with mb-util, aiohttp, pycurl, each against nginx, beside ours.

``make bench-peers`` sets the others up in ``.venv-peers`` and ``.peers`` and prints the table. One area of
256 x 256 tiles of 15 KB, 64 connections, the server on one core and each tool on the other. A tool is a process of its
own, start and imports counted; of what only fetches (aiohttp, pycurl, our lanes) the fetching alone is counted, which
favours it. After each run the tiles in the cache are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.map_server import HALF, HOME_COL, HOME_LEVEL, HOME_ROW, tiles_of
from benchmarks.measure import CLIENT_CPU, ROOT, Cost, Group, Line, Reading, Round, children_cpu, collect, in_turn, pin
from benchmarks.peer_nginx import PeerError, find_nginx, nginx
from benchmarks.rounds import at_least_one

LEVEL = 15
"""65,536 tiles, a gigabyte: a small job, but one in which starting a program is not what is measured."""
SIDE = 1 << LEVEL - HOME_LEVEL
SIZE = 15_000
CONNECTIONS = 64
ROW, COL = HOME_ROW * SIDE, HOME_COL * SIDE
TILES = tiles_of(LEVEL)

DEADLINE_SECONDS = 900.0

BIN = ROOT / ".venv-peers" / ("Scripts" if os.name == "nt" else "bin")

MAPPROXY = """
sources:
  tiles: {{type: tile, grid: world, url: "{url}/tile/%(z)s/%(y)s/%(x)s"}}
grids:
  world: {{base: GLOBAL_WEBMERCATOR, origin: nw, num_levels: 20}}
caches:
  mbtiles: {{<<: &best {{grids: [world], sources: [tiles], format: image/png, meta_size: [16, 16], meta_buffer: 0,
             bulk_meta_tiles: true, concurrent_tile_creators: 8}}, cache: {{type: mbtiles, filename: out.mbtiles}}}}
  compact: {{<<: *best, cache: {{type: compact, version: 2, directory: out}}}}
services: {{demo: }}
globals:
  cache: {{base_dir: ".", lock_dir: locks, tile_lock_dir: tile_locks}}
"""
"""The settings that were the fastest of all that were tried."""

SEED = """
seeds:
  block: {{caches: [{cache}], coverages: [home], levels: [{level}]}}
coverages:
  home: {{srs: "EPSG:3857", bbox: [{west}, {south}, {east}, {north}]}}
"""

TRIES = 3
"""Times that a peer may try to bring all tiles."""

INSET = 1.0
"""Metres that the seeded box is smaller by: its rim touches the neighbours."""


def _spawn(command: Sequence[object], folder: Path) -> None:
    """Run a tool on the client's core to its end. Raises PeerError when it fails."""
    keep = (lambda: pin(CLIENT_CPU)) if hasattr(os, "sched_setaffinity") else None
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        preexec_fn=keep,
        check=False,
    )
    if ended.returncode:
        raise PeerError(f"{command[0]} ended with {ended.returncode}: {(ended.stderr or ended.stdout)[-1500:]}")


def _level(folder: Path) -> None:
    """Give everyone the same start: what the one before left to be written is written, and memory for as many bytes as
    are to come is the machine's own. A virtual machine that lends what is idle to others pays for it with the next
    write (a third of a MBTiles' CPU was seen), and whoever comes next would have it for nothing."""
    ballast, piece = folder / "ballast", bytes(1 << 20)
    with ballast.open("wb") as file:
        for _ in range(TILES * SIZE // len(piece) + 1):
            file.write(piece)
        os.fsync(file.fileno())
    ballast.unlink()
    if hasattr(os, "sync"):
        os.sync()


def _whole(work: partial[None], check: Callable[[Path], int]) -> Cost:
    """CPU of all processes of the work, in an empty folder; what it made must hold every tile.

    Peers lose tiles now and then and end with 0 all the same: that is told, and they may try again.
    """
    for tries_left in reversed(range(1 if work.func is ours else TRIES)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _level(folder)
            wall, cpu = time.perf_counter(), children_cpu()
            work(folder)
            cost = Cost(TILES, children_cpu() - cpu, time.perf_counter() - wall)
            found = check(folder)
        if found == TILES:
            break
        told = f"{work.func.__name__}: {found} of {TILES} tiles are in the cache"
        if not tries_left:
            raise PeerError(told)
        print(told, file=sys.stderr)
    return cost


def _in_mbtiles(folder: Path) -> int:
    with sqlite3.connect(folder / "out.mbtiles") as db:
        return int(db.execute("SELECT count(*) FROM tiles WHERE length(tile_data) = ?", (SIZE,)).fetchone()[0])


def _in_bundles(folder: Path) -> int:
    """By the size of the bundles: indexes and headers are less than one tile in a hundred."""
    held = sum(path.stat().st_size for path in folder.rglob("*.bundle"))
    return TILES if TILES * SIZE <= held < TILES * SIZE * 1.02 else held // SIZE


def ours(url: str, name: str, folder: Path) -> None:
    """``harvester run``, every safety on."""
    command = [sys.executable, "-m", "harvester", "run", url, "--lods", str(LEVEL), "-o", folder / name]
    _spawn([*command, "--concurrency", str(CONNECTIONS), "--quiet"], ROOT)


def mapproxy(url: str, cache: str, folder: Path) -> None:
    """``mapproxy-seed`` by its best settings."""
    span = 2 * HALF / 2**HOME_LEVEL
    west, north = HOME_COL * span - HALF, HALF - HOME_ROW * span
    box = {"west": west + INSET, "south": north - span + INSET, "east": west + span - INSET, "north": north - INSET}
    (folder / "mapproxy.yaml").write_text(MAPPROXY.format(url=url))
    (folder / "seed.yaml").write_text(SEED.format(cache=cache, level=LEVEL, **box))
    _spawn([BIN / "mapproxy-seed", "-f", "mapproxy.yaml", "-s", "seed.yaml", "-c", "2", "--quiet"], folder)


def shell(url: str, folder: Path) -> None:
    """``curl --parallel`` into files (in memory, where the system has such a place), then ``mb-util``."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        address = f"{url}/tile/{LEVEL}/[{ROW}-{ROW + SIDE - 1}]/[{COL}-{COL + SIDE - 1}]"
        curl = ["curl", "--silent", "--fail", "--parallel", "--parallel-max", str(CONNECTIONS), "--create-dirs"]
        _spawn([*curl, "--output", f"{name}/{LEVEL}/#2/#1.png", address], folder)
        (Path(name) / "metadata.json").write_text('{"name": "block", "format": "png"}')
        _spawn([BIN / "python", BIN / "mb-util", "--silent", "--scheme=xyz", name, folder / "out.mbtiles"], folder)


def pycurl(url: str) -> Cost:
    """pycurl's multi interface, fetching alone."""
    arguments = map(str, (url, LEVEL, ROW, COL, SIDE, SIZE, CONNECTIONS))
    return _told([str(BIN / "python"), str(ROOT / "benchmarks" / "peer_pycurl.py"), *arguments])


def fetching(client: str, url: str) -> Cost:
    """aiohttp's session at its best, or our lanes, in a process of its own."""
    return _told([sys.executable, "-m", "benchmarks.peers", "--fetch", client, url])


def _told(command: Sequence[str]) -> Cost:
    keep = (lambda: pin(CLIENT_CPU)) if hasattr(os, "sched_setaffinity") else None
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=keep, check=False)
    if ended.returncode:
        raise PeerError(f"{command[0]} ended with {ended.returncode}: {ended.stderr[-1500:]}")
    found = json.loads(ended.stdout.splitlines()[-1])
    return Cost(TILES, found["cpu_seconds"], found["wall_seconds"])


def _fetch(client: str, url: str) -> None:
    from benchmarks.bench_transport import aiohttp_best, lanes, run
    from benchmarks.tile_server import Tiles

    port = int(url.removeprefix("http://127.0.0.1:").partition("/")[0])
    clients = {"lanes": lanes, "aiohttp": aiohttp_best}
    cost = run(clients[client], Tiles(port=port, size=SIZE, ca=None), TILES, CONNECTIONS)
    print(json.dumps({"cpu_seconds": cost.cpu_seconds, "wall_seconds": cost.wall_seconds}))


def require_tools() -> None:
    """Raises PeerError, with the remedy, where one of the others is missing."""
    find_nginx()
    if not shutil.which("curl"):
        raise PeerError("curl is needed to compare with: install it, or put it on the PATH")
    for name in ("mapproxy-seed", "mb-util"):
        if not (BIN / name).is_file():
            raise PeerError(f"{name} is not in .venv-peers: run make bench-peers")


def contestants(url: str) -> dict[str, Callable[[], Cost]]:
    """By name: what only fetches, and what writes."""
    return {
        "fetch.ours": partial(fetching, "lanes", url),
        "fetch.aiohttp": partial(fetching, "aiohttp", url),
        "fetch.pycurl": partial(pycurl, url),
        "mbtiles.ours": partial(_whole, partial(ours, url, "out.mbtiles"), _in_mbtiles),
        "mbtiles.mapproxy": partial(_whole, partial(mapproxy, url, "mbtiles"), _in_mbtiles),
        "mbtiles.shell": partial(_whole, partial(shell, url), _in_mbtiles),
        "compactv2.ours": partial(_whole, partial(ours, url, "out"), _in_bundles),
        "compactv2.mapproxy": partial(_whole, partial(mapproxy, url, "compact"), _in_bundles),
    }


RATIOS = {
    "mapproxy_over_mbtiles": ("mbtiles.mapproxy", "mbtiles.ours"),
    "mapproxy_over_compactv2": ("compactv2.mapproxy", "compactv2.ours"),
    "shell_over_mbtiles": ("mbtiles.shell", "mbtiles.ours"),
    "pycurl_over_lanes": ("fetch.pycurl", "fetch.ours"),
    "aiohttp_over_lanes": ("fetch.aiohttp", "fetch.ours"),
    "mbtiles_over_aiohttp_fetch": ("fetch.aiohttp", "mbtiles.ours"),
    "compactv2_over_aiohttp_fetch": ("fetch.aiohttp", "compactv2.ours"),
}
"""CPU of the first over CPU of the second."""


@contextmanager
def _start() -> Iterator[Round]:
    require_tools()
    with nginx(SIZE) as url:
        every = contestants(url)

        def rounds(number: int) -> Iterator[Reading]:
            costs = in_turn(number, every)
            for name, cost in costs.items():
                yield Reading(f"peers.{name}", cost.per_10k, "CPU s/10k")
                yield Reading(f"peers.{name}.rate", cost.rate, "tiles/s")
            for name, (theirs, mine) in RATIOS.items():
                yield Reading(f"peers.{name}", costs[theirs].cpu_seconds / costs[mine].cpu_seconds, "x")

        yield rounds


peers = Group(
    name="peers", about="mapproxy-seed, curl with mb-util, aiohttp, pycurl, each beside ours", start=_start, long=True
)

ROWS = {
    "mapproxy-seed, best settings": (None, "mbtiles.mapproxy", "compactv2.mapproxy"),
    "`curl --parallel`, then mb-util": (None, "mbtiles.shell", None),
    "aiohttp's ClientSession, tuned, uvloop": ("fetch.aiohttp", None, None),
    "pycurl, multi interface": ("fetch.pycurl", None, None),
    "harvester, every safety on": ("fetch.ours", "mbtiles.ours", "compactv2.ours"),
}


def table(lines: Mapping[str, Line]) -> str:
    """CPU seconds for ten thousand tiles, tiles a second in brackets; then the ratios."""

    def cell(name: str | None) -> str:
        if name is None:
            return ""
        return f"{lines[f'peers.{name}'].median:.2f} ({lines[f'peers.{name}.rate'].median / 1000:.1f}k)"

    rows = ["| | fetch only | into MBTiles | into compact V2 |", "|---|---:|---:|---:|"]
    rows += [f"| {what} | {' | '.join(map(cell, names))} |" for what, names in ROWS.items()]
    rows += ["", "| CPU, times ours | median | min - max |", "|---|---:|---:|"]
    for name in RATIOS:
        line = lines[f"peers.{name}"]
        rows.append(f"| {name} | {line.median:.2f} | {line.low:.2f} - {line.high:.2f} |")
    return "\n".join(rows)


def main(argv: Sequence[str]) -> int:
    """Measure and print; ``--fetch`` is one of the measured processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--runs", type=at_least_one, default=5, help="rounds (default 5)")
    parser.add_argument("--save", action="store_true", help="keep it in results/ and in the table of README.md")
    parser.add_argument("--fetch", nargs=2, metavar=("CLIENT", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.fetch:
        _fetch(*options.fetch)
        return 0
    lines: dict[str, Line] = {}
    try:
        collect(peers, options.runs, lines)
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    print(table(lines))
    if options.save:
        from benchmarks.__main__ import as_json
        from benchmarks.keep import keep, tell
        from benchmarks.suite import GROUPS

        keep("peers", as_json(lines.values()))
        tell([group.name for group in GROUPS])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
