"""What the engine costs a tile: asking, judging into the batch, counting; nothing is sent and nothing written.

``python -m benchmarks.bench_engine [TILES]`` prints microseconds, and who spends them.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from benchmarks.measure import Cost
from harvester.edges import Answer, BlockChange, Done, Next, Request, Stamps, State, Stored, Wait
from harvester.engine import Engine, Tally
from harvester.job import Limits
from harvester.loop import run_loop
from harvester.pacing import Pacer
from harvester.testing.memory import MemoryCache, MemoryLedger, MemorySource
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey, Tile

CONNECTIONS = 64
LEVEL = 15
BODY = bytes(15_000)
ANSWER = Answer(200, {}, BODY, 0.05)

TURN = 64
"""Answers that arrive in one turn of the loop."""


class Wire:
    """A transport that answers in the order of asking, some at each turn of the loop, as sockets would."""

    unasked = 0

    def __init__(self, connections: int = CONNECTIONS) -> None:
        self._connections = connections
        self._flying: deque[Request] = deque()
        self._woken = asyncio.Event()

    async def drain(self, next_request: Next, done: Done) -> None:
        flying = self._flying
        ended = False
        while True:
            while not ended and len(flying) < self._connections:
                item = next_request()
                if item is None:
                    ended = True
                elif isinstance(item, Wait):
                    break
                else:
                    flying.append(item)
            if not flying:
                if ended:
                    return
                self._woken.clear()
                await self._woken.wait()
            for _ in range(min(TURN, len(flying))):
                done(flying.popleft(), ANSWER)
                if ended or len(flying) >= self._connections:
                    continue
                item = next_request()
                if item is None:
                    ended = True
                elif not isinstance(item, Wait):
                    flying.append(item)
            await asyncio.sleep(0)

    def wake(self) -> None:
        self._woken.set()

    async def linger(self) -> None: ...

    def rebuild(self) -> None:
        raise AssertionError("nothing stalls here")

    async def close(self) -> None:
        """Nothing to close."""


class Shelf(MemoryCache):
    """A cache that counts what it is given, and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    async def store(self, batch: Sequence[Stored]) -> Stamps:
        self.count += len(batch)
        return {None: str(self.count)}


class Book(MemoryLedger):
    """A ledger that counts what it is told; its blocks have no tile that ever ended."""

    def __init__(self, blocks: Sequence[BlockKey]) -> None:
        super().__init__()
        self.count = 0
        self._blocks = frozenset(blocks)

    async def states(self, keys: Sequence[BlockKey]) -> list[np.ndarray]:
        return [np.full((BLOCK, BLOCK), State.PENDING, dtype=np.uint8) for key in keys if key in self._blocks]

    async def record(self, changes: Sequence[BlockChange], stamps: Stamps) -> None:
        self.count += sum(len(change.indexes) for change in changes)


def plan_of(n: int) -> list[tuple[BlockKey, np.ndarray]]:
    """Blocks with ``n`` tiles in all, the last one cut."""
    blocks = []
    for number in range(-(-n // BLOCK_TILES)):
        mask = np.arange(BLOCK_TILES).reshape(BLOCK, BLOCK) < n - number * BLOCK_TILES
        blocks.append((BlockKey(LEVEL, 0, BLOCK * number), mask))
    return blocks


async def engine(n: int) -> Cost:
    """A whole run of ``n`` tiles."""
    blocks = plan_of(n)
    shelf, book = Shelf(), Book([key for key, _ in blocks])
    tally = Tally()
    tally.add(LEVEL, State.PENDING, n)
    run = Engine(
        blocks=lambda: blocks,
        source=MemorySource(),
        transport=Wire(),
        cache=shelf,
        ledger=book,
        tally=tally,
        new_pacer=lambda most: Pacer(limit_max=most, now=time.monotonic(), draw=random.random),
        limits=Limits(concurrency=CONNECTIONS),
        clock=time.monotonic,
        probe=False,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    outturn = await run.run("memory", "memory")
    cost = Cost(n, time.process_time() - cpu, time.perf_counter() - wall)
    assert outturn.stop is None and shelf.count == book.count == tally.fetched == n
    return cost


async def bare(n: int) -> Cost:
    """The same tiles through the same transport and source, with the least that can be between them."""
    source = MemorySource()
    kept: list[bytes] = []

    def tiles() -> Iterator[Tile]:
        for key, _ in plan_of(n):
            for index in range(min(BLOCK_TILES, n - key.col // BLOCK * BLOCK_TILES)):
                yield Tile(LEVEL, index // BLOCK, key.col + index % BLOCK)

    given = tiles()

    def next_request() -> Request | Wait | None:
        tile = next(given, None)
        return None if tile is None else source.request(tile, 0)

    def done(request: Request, answer: Answer) -> None:
        kept.append(source.judge(request, answer).body)

    wire = Wire()
    wall, cpu = time.perf_counter(), time.process_time()
    await wire.drain(next_request, done)
    cost = Cost(n, time.process_time() - cpu, time.perf_counter() - wall)
    assert len(kept) == n
    return cost


def work(n: int) -> Cost:
    """Run ``n`` tiles through the engine."""
    return run_loop(engine(n))


def floor(n: int) -> Cost:
    """Run ``n`` tiles past it."""
    return run_loop(bare(n))


def test_every_tile_goes_through_the_engine() -> None:
    assert work(20_000).cpu_seconds > 0
    assert floor(2_000).cpu_seconds > 0


def main(argv: Sequence[str]) -> None:
    n = int(argv[0]) if argv else 100_000
    contestants: Mapping[str, Callable[[int], Cost]] = {"engine": work, "bare": floor}
    for name, run in contestants.items():
        costs = sorted(run(n).microseconds for _ in range(5))
        print(f"{name:8} {costs[2]:6.2f} us a tile [{costs[0]:.2f}-{costs[-1]:.2f}]")
    profile = cProfile.Profile()
    profile.runcall(work, n)
    pstats.Stats(profile).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main(sys.argv[1:])
