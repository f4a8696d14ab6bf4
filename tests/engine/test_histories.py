"""Whatever several hosts do at once, over two runs on one cache and ledger: each tile has one end, and all that counts
or keeps tiles agrees."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import example, given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_hexdigest

from harvester.edges import Answer, Fault, Request, State
from harvester.engine.stop import StopReason
from harvester.job import Limits
from harvester.testing.images import tile_png
from harvester.testing.memory import HOST, MemoryService, MemorySource, broken, http, never
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, agreed, plan_of

NOTHING = tile_png(9, 9, 9)
STALE = broken(Fault.RESET)._replace(stale=True)
LASTING = (http(500), http(503), http(429), http(499), http(401), http(403), http(200, b"<html>"))
PASSING = (*LASTING, STALE, broken(Fault.TRUNCATED), broken(Fault.CONNECT))
ABSENT = (http(404), http(204))
SICK = (*LASTING, *ABSENT, http(404), http(498), http(200), never())
REFUSALS = 6


@dataclass
class Sickness:
    """What a host answers from one of its requests on, to a share of them."""

    answer: Answer
    share: float
    since: int


@dataclass
class World:
    """What a seed draws: the hosts, what is sick about them, which tiles there are, tokens that end, stand-ins."""

    seed: int
    draw: random.Random = field(init=False)
    asked: Counter[str] = field(default_factory=Counter)
    used: Counter[int] = field(default_factory=Counter)
    tiles: dict[Tile, tuple[str, Answer]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.draw = draw = random.Random(self.seed)
        self.hosts = tuple(replace(HOST, name=f"host{at}.test") for at in range(draw.choice([1, 2, 3, 3])))
        self.sick = {
            host.name: Sickness(draw.choice(SICK), draw.choice([1, 1, 0.3, 0.05]), draw.choice([0, 0, 20, 150]))
            for host in self.hosts[1:]
            if draw.random() < 0.35
        }
        self.renewable = draw.random() < 0.5
        self.ends = draw.choice([10**9, 10**9, 60, 200]) if self.renewable else 10**9
        self.passing = draw.choice([0, 0, 0.05, 0.2, 0.4])
        self.bad = draw.choice([0, 0, 0, 0.03, 0.2])
        self.absent = draw.choice([0, 0, 0.1, 0.6])
        self.empty = draw.choice([0, 0, 0.2])
        self.declared = draw.random() < 0.7
        self.lies_from = draw.randrange(1, 300)
        self.lies = draw.choice([0, 0, 0, 20, 60])
        self.refuses = http(draw.choice([498, 503]))
        self.plan = plan_of(draw.choice([(0, 1, 2, 3), (0, 1, 2, 3), (2, 3, 4)]))

    def kind(self, tile: Tile) -> tuple[str, Answer]:
        """``absent``, ``empty`` (a picture of nothing), ``bad`` with its answer, or ``tile``: the same at each host."""
        if tile not in self.tiles:
            own = random.Random(f"{self.seed} {tile}")
            shares = (self.absent, self.empty, self.bad, 1)
            kinds = zip(("absent", "empty", "bad", "tile"), shares, strict=True)
            self.tiles[tile] = next(kind for kind, share in kinds if own.random() < share), own.choice(LASTING)
        return self.tiles[tile]

    def __call__(self, request: Request) -> Answer:
        host, draw = request.host.name, self.draw
        self.used[request.credential] += 1
        self.asked[host] += 1
        number = self.asked.total() - self.lies_from
        if self.used[request.credential] > self.ends:
            return http(498)
        if 0 <= number < self.lies:
            return http(200, tile_png(30, number, 7))
        if self.lies and 0 <= number - self.lies < REFUSALS:
            return self.refuses
        sick = self.sick.get(host)
        if sick is not None and self.asked[host] > sick.since and draw.random() < sick.share:
            return sick.answer
        kind, bad = self.kind(request.tile)
        if kind == "absent":
            return http(404)
        if kind == "bad":
            return bad
        passing = draw.choice(PASSING) if draw.random() < self.passing else None
        if passing is not None and not (passing is STALE and request.fresh):
            return passing
        body = NOTHING if kind == "empty" else tile_png(*request.tile)
        return http(200, body, seconds=draw.choice([0.01, 0.05, 0.3]))

    def bench(self, **kept: object) -> Bench:
        """The next run."""
        draw = self.draw
        limits = Limits(
            retries=draw.choice([0, 2]),
            concurrency=draw.choice([1, 4, 12, 32]),
            give_up_after_seconds=120,
            max_duration_seconds=3000,
            max_tiles=draw.choice([None, None, 10, 50]),
            rate=draw.choice([None, None, 20]),
        )
        seconds = draw.choice([None, None, None, 0.3, 2.0])

        async def stop(engine):
            await asyncio.sleep(seconds)
            engine.stop(StopReason.signal("SIGINT", 130))

        return Bench(
            service=MemoryService(scripted=self),
            source=MemorySource(renewable=self.renewable, hosts=self.hosts),
            limits=limits,
            plan=self.plan,
            placeholders=(xxh3_128_hexdigest(NOTHING),) if self.declared else (),
            meanwhile=None if seconds is None else stop,
            **kept,  # type: ignore[arg-type]
        )

    @property
    def is_told_absent_wrongly(self) -> bool:
        """True when some host says 404 or 204 of tiles that are there."""
        return any(sick.answer in ABSENT for sick in self.sick.values())


@settings(max_examples=40, deadline=None)
@example(218)
@example(773)
@example(911)
@example(1361)
@given(st.integers(0, 2**32))
def test_whatever_several_hosts_do_over_two_runs_each_tile_has_one_end_and_every_byte_is_right(seed):
    world = World(seed)
    kept: dict[str, object] = {}
    for _ in range(2):
        bench = world.bench(**kept)
        states = agreed(bench, bench.go())
        kept = {"cache": bench.cache, "ledger": bench.ledger}
        for tile, body in bench.cache.bodies.items():
            kind, _ = world.kind(tile)
            assert not world.declared or body != NOTHING
            right = {"empty": NOTHING, "tile": tile_png(*tile)}.get(kind)
            assert body == right or world.lies, "stand-ins may stay until a later run looks back"
        for tile, state in states.items():
            is_absent = world.kind(tile)[0] in (("absent", "empty") if world.declared else ("absent",))
            assert state is not State.ABSENT or is_absent or world.is_told_absent_wrongly
