"""A run in memory and in virtual time: what each engine test starts from, and what must be so at the end of any."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harvester.edges import Answer, Request, State
from harvester.engine import Engine, Outturn, agree
from harvester.engine.tally import FAILURES_KEPT
from harvester.events import Event
from harvester.job import Limits
from harvester.pacing import Pacer, RateLimit
from harvester.planning import Plan, make_plan
from harvester.testing.memory import (
    MemoryCache,
    MemoryLedger,
    MemoryService,
    MemorySource,
    MemoryTransport,
    memory_info,
)
from harvester.testing.virtual import run_virtual
from harvester.tiling.tile import Tile, block_of


def plan_of(levels: tuple[int, ...], info: Any = None, bbox: tuple[float, float, float, float] | None = None) -> Plan:
    """The full extent of the memory service at these levels, or a box of it in its CRS."""
    info = info or memory_info()
    area = None
    if bbox is not None:
        import shapely

        from harvester.aoi import Area

        area = Area(geometry=shapely.box(*bbox))
    return make_plan(info, [(levels, area)])


@dataclass
class Bench:
    """The parts of one run; ``go`` runs it. Cache and ledger may be handed from one run to the next."""

    service: Callable[[Request], Answer] = field(default_factory=MemoryService)
    plan: Plan = field(default_factory=lambda: plan_of((0, 1, 2, 3)))
    source: MemorySource = field(default_factory=MemorySource)
    cache: MemoryCache = field(default_factory=MemoryCache)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    limits: Limits = field(default_factory=Limits)
    probe: bool = False
    spread: bool = True
    """Tiles elsewhere in the plan can be asked as witnesses."""
    placeholders: tuple[str, ...] = ()
    events: list[Event] = field(default_factory=list)
    meanwhile: Callable[[Engine], Any] | None = None
    transport: MemoryTransport = field(init=False)
    engine: Engine = field(init=False)
    seconds: float = 0.0

    def go(self) -> Outturn:
        """Run to the end in virtual time."""
        return run_virtual(self._run())

    async def _run(self) -> Outturn:
        loop = asyncio.get_running_loop()
        raised: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: raised.append(context))
        rng = random.Random(7)
        now = loop.time()
        self.transport = MemoryTransport(
            self.service, connections=self.limits.concurrency, timeout_seconds=self.limits.timeout_seconds
        )
        rate = None if self.limits.rate is None else RateLimit(self.limits.rate, now)
        tally = await agree(self.plan.blocks(), self.ledger, self.cache)
        self.engine = Engine(
            blocks=self.plan.blocks,
            source=self.source,
            transport=self.transport,
            cache=self.cache,
            ledger=self.ledger,
            tally=tally,
            new_pacer=lambda most: Pacer(limit_max=most, now=now, draw=rng.random, rate=rate),
            limits=self.limits,
            clock=loop.time,
            probe=self.probe,
            placeholders=self.placeholders,
            elsewhere=lambda share: self.plan.tile_at(int(share * self.plan.total)) if self.spread else None,
            emit=self.events.append,
            draw=rng.random,
        )
        aside = asyncio.create_task(self.meanwhile(self.engine)) if self.meanwhile else None
        outturn = await self.engine.run("memory", "memory")
        if aside is not None:
            await aside
        self.seconds = loop.time() - now
        for context in raised:
            raise context.get("exception") or AssertionError(context)
        return outturn

    @property
    def asked(self) -> list[Request]:
        """Every request that was made."""
        return [request for _, request in self.transport.log]


def agreed(bench: Bench, outturn: Outturn) -> dict[Tile, State]:
    """Counts, ledger and cache say the same of a run that ended; the states by the ledger."""
    tally, counts = outturn.tally, outturn.tally.counts()
    assert counts.planned == sum(counts[1:]) == bench.plan.total and min(counts) >= 0
    assert outturn.stop is not None or counts.pending == 0
    assert tally.fetched + tally.kept == counts.stored == len(bench.cache.bodies)
    assert len(outturn.failures) == min(counts.failed, FAILURES_KEPT)
    assert tally.requests == len(bench.asked)
    assert tally.tile_requests == sum(not request.window for request in bench.asked)
    assert min(tally.absences.values(), default=0) >= 0 <= tally.answered_404
    states = asyncio.run(_states(bench))
    told = Counter(states.values())
    assert (told[State.STORED], told[State.ABSENT], told[State.FAILED], told[State.PENDING]) == (
        counts.stored, counts.absent, counts.failed, counts.pending,
    )  # fmt: skip
    assert {tile for tile, state in states.items() if state is State.STORED} == set(bench.cache.bodies)
    return states


async def _states(bench: Bench) -> dict[Tile, State]:
    keys = await bench.ledger.keys()
    states = dict(zip(keys, await bench.ledger.states(keys), strict=True))
    found = {}
    for tile in bench.plan.tiles():
        key = block_of(tile)
        found[tile] = State(int(states[key].ravel()[key.position(tile)]))
    return found
