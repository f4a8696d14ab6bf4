"""Fetching tiles: our lanes against aiohttp's ClientSession at its best, CPU a tile; and what latency leaves of a rate.

``python -m benchmarks.bench_transport [--rounds 5] [--tiles 20000]`` measures; the server has a core of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from benchmarks.tile_server import Tiles, pin, tile_server
from harvester.edges import Answer, Host, Request, Wait
from harvester.tiling.tile import Tile
from harvester.transport.access import Access
from harvester.transport.lanes import LaneTransport

SERVER_CPU, CLIENT_CPU = 0, 1
CONNECTIONS = 64
LATENCY_SECONDS = 0.05
RAMP_WAVES = 2
"""Connections are opened in the first, and still come in step in the second."""


class Cost(NamedTuple):
    """Of so many tiles: CPU seconds of this process, and seconds on the wall."""

    tiles: int
    cpu_seconds: float
    wall_seconds: float

    @property
    def cpu_per_10k(self) -> float:
        return self.cpu_seconds / self.tiles * 10_000

    @property
    def rate(self) -> float:
        return self.tiles / self.wall_seconds


class Work:
    """The other side of ``drain``: ``count`` tiles, each checked for status, header and length."""

    def __init__(self, tiles: Tiles, count: int) -> None:
        self._host = Host(scheme=tiles.scheme, name="localhost" if tiles.ca else "127.0.0.1", port=tiles.port)
        self._size = tiles.size
        self._left = count
        self.good = 0

    def next(self) -> Request | Wait | None:
        left = self._left
        if not left:
            return None
        self._left = left - 1
        row, col = divmod(left, 1000)
        return Request(self._host, f"/tiles/MapServer/tile/15/{row}/{col}", Tile(15, row, col))

    def done(self, request: Request, answer: Answer) -> None:
        if answer.status == 200 and len(answer.body) == self._size and not answer.headers.get("blank-tile", ""):
            self.good += 1


async def lanes(tiles: Tiles, count: int, connections: int = CONNECTIONS) -> Cost:
    """Ours, its connections opened before the clock starts."""
    transport = LaneTransport(Access(ca_bundle=tiles.ca, environ={}), connections=connections)
    try:
        warm = Work(tiles, connections * 2)
        await transport.drain(warm.next, warm.done)
        work = Work(tiles, count)
        wall, cpu = time.perf_counter(), time.process_time()
        await transport.drain(work.next, work.done)
        cost = Cost(count, time.process_time() - cpu, time.perf_counter() - wall)
    finally:
        await transport.close()
    assert work.good == count, f"{work.good} of {count} tiles came whole"
    return cost


async def aiohttp_best(tiles: Tiles, count: int, connections: int = CONNECTIONS) -> Cost:
    """ClientSession with every setting that was measured to help: fixed workers, no timeout, no limit, no cookies,
    encoded URLs, no redirects, no context manager a request. Its connections too are opened before the clock starts.
    """
    import aiohttp
    from yarl import URL

    from harvester.transport.trust import tls_context

    base = f"{tiles.scheme}://{'localhost' if tiles.ca else '127.0.0.1'}:{tiles.port}/tiles/MapServer/tile/15"
    good = 0

    async def worker(rows: list[int]) -> None:
        nonlocal good
        while rows[0]:
            rows[0] -= 1
            row, col = divmod(rows[0], 1000)
            response = await client._request("GET", URL(f"{base}/{row}/{col}", encoded=True), allow_redirects=False)
            body = await response.read()
            if response.status == 200 and len(body) == tiles.size and not response.headers.get("blank-tile", ""):
                good += 1
            response.release()

    async def run(number: int) -> None:
        rows = [number]
        await asyncio.gather(*(worker(rows) for _ in range(connections)))

    connector = aiohttp.TCPConnector(limit=0, ssl=tls_context(tiles.ca, {}) if tiles.ca else False)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),
        auto_decompress=False,
        skip_auto_headers=("Accept-Encoding", "User-Agent", "Accept"),
    ) as client:
        await run(connections * 2)
        good = 0
        wall, cpu = time.perf_counter(), time.process_time()
        await run(count)
        cost = Cost(count, time.process_time() - cpu, time.perf_counter() - wall)
    assert good == count, f"{good} of {count} tiles came whole"
    return cost


Client = Callable[..., Coroutine[Any, Any, Cost]]


def run(client: Client, tiles: Tiles, count: int, connections: int = CONNECTIONS) -> Cost:
    """One measured run on uvloop where it exists."""
    gc.collect()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(client(tiles, count, connections))
    return uvloop.run(client(tiles, count, connections))


def work(n: int) -> None:
    """Fetch ``n`` tiles of 15 KB over eight lanes."""
    with tile_server(size=15_000) as tiles:
        asyncio.run(lanes(tiles, n, 8))


class Ratio(NamedTuple):
    """One line of the result: its name, and one number for each round."""

    name: str
    rounds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        return f"{self.name:58} {self.median:8.3f}  [{min(self.rounds):.3f}-{max(self.rounds):.3f}]"


def against_aiohttp(*, rounds: int, count: int, tls: bool) -> list[Ratio]:
    """CPU of aiohttp over ours, the rounds interleaved; then the absolutes."""
    ours: list[Cost] = []
    theirs: list[Cost] = []
    with tile_server(size=15_000, tls=tls, cpu=SERVER_CPU) as tiles:
        for at in range(rounds):
            pair = [(lanes, ours, count), (aiohttp_best, theirs, max(count // 4, CONNECTIONS))]
            for client, costs, number in pair if at % 2 else reversed(pair):
                costs.append(run(client, tiles, number))
    kind = "TLS" if tls else "plain"
    return [
        Ratio(
            f"{kind}: CPU aiohttp / ours", [b.cpu_per_10k / a.cpu_per_10k for a, b in zip(ours, theirs, strict=True)]
        ),
        Ratio(f"{kind}: ours, CPU s / 10,000", [cost.cpu_per_10k for cost in ours]),
        Ratio(f"{kind}: aiohttp, CPU s / 10,000", [cost.cpu_per_10k for cost in theirs]),
        Ratio(f"{kind}: ours, 1,000 tiles / s", [cost.rate / 1000 for cost in ours]),
        Ratio(f"{kind}: aiohttp, 1,000 tiles / s", [cost.rate / 1000 for cost in theirs]),
    ]


class Waves(Work):
    """Tiles in whole waves, one a lane; the clock runs from the end of the ramp-up wave to the end of the last."""

    def __init__(self, tiles: Tiles, connections: int, waves: int) -> None:
        super().__init__(tiles, connections * (RAMP_WAVES + waves))
        self._marks = (connections * RAMP_WAVES, connections * (RAMP_WAVES + waves))
        self.times: list[float] = []

    def done(self, request: Request, answer: Answer) -> None:
        super().done(request, answer)
        if self.good in self._marks:
            self.times.append(time.perf_counter())


async def steady(tiles: Tiles, waves: int, connections: int) -> Cost:
    """Ours after its ramp-up."""
    transport = LaneTransport(Access(ca_bundle=tiles.ca, environ={}), connections=connections)
    work = Waves(tiles, connections, waves)
    cpu = time.process_time()
    try:
        await transport.drain(work.next, work.done)
    finally:
        await transport.close()
    first, last = work.times
    return Cost(waves * connections, time.process_time() - cpu, last - first)


def under_latency(*, rounds: int, waves: int = 40) -> list[Ratio]:
    """Tiles a second over what the connections could carry at most, 1 KB and 50 ms."""
    found = []
    with tile_server(size=1000, latency=LATENCY_SECONDS, cpu=SERVER_CPU) as tiles:
        for connections in (1, 64, 128, 256, 512):
            rates = [run(steady, tiles, waves, connections).rate for _ in range(rounds)]
            shares = [rate * LATENCY_SECONDS / connections for rate in rates]
            found.append(Ratio(f"50 ms: tiles/s / (connections / latency), {connections} lanes", shares))
    return found


def main(argv: list[str]) -> list[Ratio]:
    """Measure and print; gives what it printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiles", type=int, default=20_000)
    parser.add_argument("--only", choices=("plain", "tls", "latency"))
    options = parser.parse_args(argv)
    pin(CLIENT_CPU)
    found: list[Ratio] = []
    if options.only in (None, "plain"):
        found += against_aiohttp(rounds=options.rounds, count=options.tiles, tls=False)
    if options.only in (None, "tls"):
        found += against_aiohttp(rounds=options.rounds, count=options.tiles // 2, tls=True)
    if options.only in (None, "latency"):
        found += under_latency(rounds=options.rounds)
    for line in found:
        print(line)
    return found


def test_every_tile_comes_whole_over_plain_connections() -> None:
    work(100)


def test_the_clock_of_waves_starts_after_the_ramp() -> None:
    with tile_server(size=1000, latency=0.001) as tiles:
        assert run(steady, tiles, 3, 4).tiles == 12


def test_both_clients_fetch_the_same_tiles_over_tls() -> None:
    with tile_server(size=1000, tls=True) as tiles:
        for client in (lanes, aiohttp_best):
            assert run(client, tiles, 40, 4).tiles == 40


if __name__ == "__main__":
    main(sys.argv[1:])
