"""The ledger: enlisting the blocks of 10^9 tiles, and recording batches, beside the commit."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from harvester.edges import BlockChange, State
from harvester.events import Counts
from harvester.ledger import open_ledger
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey

BATCH = 2048
AT_ONCE = 256
"""Blocks that the engine enlists in one call."""


def work(n: int) -> float:
    """Record ``n`` tiles in batches, two states in each, in full blocks; gives CPU seconds."""

    async def run(path: Path) -> float:
        ledger = await open_ledger(path, create=True)
        keys = [BlockKey(18, 0, BLOCK * number) for number in range(-(-n // BLOCK_TILES))]
        full = np.ones((BLOCK, BLOCK), dtype=np.bool_)
        await ledger.enlist([(key, full) for key in keys])
        began = time.process_time()
        for first in range(0, n, BATCH):
            key, start = keys[first // BLOCK_TILES], first % BLOCK_TILES
            indexes = list(range(start, min(start + BATCH, start + n - first)))
            middle = len(indexes) // 2
            changes = [
                BlockChange(key, State.STORED, indexes[:middle]),
                BlockChange(key, State.ABSENT, indexes[middle:]),
            ]
            await ledger.record(changes, {None: str(first)})
        spent = time.process_time() - began
        counts = await ledger.counts()
        assert counts.stored + counts.absent == n
        await ledger.close()
        return spent

    with tempfile.TemporaryDirectory() as own:
        return asyncio.run(run(Path(own) / "ledger"))


def enlist(blocks: int) -> tuple[float, float]:
    """Enlist blocks, a tenth of them ragged, then do it again; gives the wall seconds of both."""
    full = np.ones((BLOCK, BLOCK), dtype=np.bool_)
    ragged = full.copy()
    ragged[40:, 30:90] = False
    plan = [(BlockKey(18, BLOCK * (n // 300), BLOCK * (n % 300)), full if n % 10 else ragged) for n in range(blocks)]

    async def run(path: Path) -> tuple[float, float]:
        ledger = await open_ledger(path, create=True)
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            for first in range(0, blocks, AT_ONCE):
                part = plan[first : first + AT_ONCE]
                await ledger.enlist(part)
                await ledger.states([key for key, _ in part])
            seconds.append(time.perf_counter() - began)
        planned = sum(int(mask.sum()) for _, mask in plan)
        assert await ledger.counts() == Counts(planned=planned, pending=planned)
        await ledger.close()
        return seconds[0], seconds[1]

    with tempfile.TemporaryDirectory() as own:
        return asyncio.run(run(Path(own) / "ledger"))


def test_recorded_tiles_are_counted() -> None:
    assert work(20_000) > 0


def test_enlisting_twice_plans_once() -> None:
    assert min(enlist(600)) > 0


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    work(BATCH)
    spent = sorted(work(n) for _ in range(5))
    print(
        f"record: {spent[2] / n * 1e6:.2f} us of CPU a tile, commit included [{spent[0] / n * 1e6:.2f}-"
        f"{spent[-1] / n * 1e6:.2f}]"
    )
    first, again = enlist(61_000)
    print(f"enlist 61,000 blocks (10^9 tiles): {first:.1f} s; again, nothing new: {again:.1f} s")


if __name__ == "__main__":
    main()
