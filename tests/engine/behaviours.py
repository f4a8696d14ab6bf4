"""Whatever hosts do, drawn by a seed: limits, refusals, faults, broken and absent tiles, tokens that end, outages and a
person's limits, in any mixture."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from harvester.edges import Answer, Fault, Request
from harvester.engine import Engine
from harvester.engine.stop import StopReason
from harvester.job import Limits
from harvester.testing.images import tile_png
from harvester.testing.memory import HOST, MemoryService, MemorySource, broken, http, memory_info, never
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

Rule = Callable[[Request, float], "Answer | None"]
"""An answer to a request of a time, or None: it is no matter of this rule."""

HOURS = 6.0
"""No run should need more; it would end by this."""

PAUSES = ({}, {}, {}, {"retry-after": "0"}, {"retry-after": "1"}, {"retry-after": "5"})
PAGE = http(200, b"<html>")
STALE = broken(Fault.RESET)._replace(stale=True)
PASSING = (http(500), http(502), http(504), http(408), PAGE, http(200), STALE, never(),
           *map(broken, (Fault.RESET, Fault.TRUNCATED, Fault.CONNECT)))  # fmt: skip
LASTING = (*map(http, (500, 503, 504, 429, 400, 401, 403, 499)), PAGE, broken(Fault.TRUNCATED), never())
OUTAGES = (*map(http, (500, 502, 503, 429)), PAGE, broken(Fault.CONNECT), broken(Fault.RESET), never())
PLANS = (
    ((0,), None), ((0, 1), None), ((2,), None), ((0, 1, 2, 3), None), ((0, 1, 2, 3), None), ((0, 1, 2, 3, 4), None),
    ((3, 4), (-20e6, -20e6, -10e6, -12e6)), ((4,), (0, 0, 9e6, 20e6)), ((1, 5), (-20e6, 19e6, -19e6, 20e6)),
    ((5,), (-20e6, -20e6, -10e6, -12e6)), ((0, 1, 2, 3, 4, 5), None),
)  # fmt: skip
"""1 to 1,365 tiles."""


# ------------------------------------------------------------------------------------------------ limits


def knee(most: int, seconds: float, busy: Answer) -> Rule:
    """So many at a time."""
    flying: list[float] = []

    def rule(request: Request, now: float) -> Answer | None:
        flying[:] = [end for end in flying if end > now]
        if len(flying) >= most:
            return busy
        flying.append(now + seconds)
        return None

    return rule


def bucket(rate: float, burst: float, busy: Answer) -> Rule:
    """So many a second, and as many at once."""
    at, tokens = 0.0, burst

    def rule(request: Request, now: float) -> Answer | None:
        nonlocal at, tokens
        tokens, at = min(burst, tokens + (now - at) * rate), now
        if tokens < 1.0:
            return busy
        tokens -= 1.0
        return None

    return rule


def window(most: int, length: float, busy: Answer) -> Rule:
    """So many in each stretch of the clock."""
    counts = Counter[int]()

    def rule(request: Request, now: float) -> Answer | None:
        counts[int(now / length)] += 1
        return busy if counts[int(now / length)] > most else None

    return rule


def sliding(most: int, length: float, busy: Answer) -> Rule:
    """So many in any stretch of that length."""
    served: deque[float] = deque()

    def rule(request: Request, now: float) -> Answer | None:
        while served and served[0] <= now - length:
            served.popleft()
        if len(served) >= most:
            return busy
        served.append(now)
        return None

    return rule


def limit(draw: random.Random, seconds: float) -> Rule:
    """Any of these, or a share of refusals whatever the pace."""
    busy = http(draw.choice([429, 503]), headers=draw.choice(PAUSES), seconds=draw.choice([0.005, 0.02, 0.3]))
    rate, share = draw.choice([2.0, 5.0, 20.0, 50.0]), draw.choice([0.02, 0.1, 0.3])
    most, length = draw.choice([5, 20, 100]), draw.choice([1.0, 10.0])
    kinds: list[Callable[[], Rule]] = [
        lambda: knee(draw.choice([1, 2, 4, 8, 16, 32]), seconds, busy),
        lambda: bucket(rate, draw.choice([1.0, 5.0, rate]), busy),
        lambda: window(most, length, busy),
        lambda: sliding(most, length, busy),
        lambda: lambda request, now: busy if draw.random() < share else None,
    ]
    return draw.choice(kinds)()


def refused_first(draw: random.Random) -> Rule:
    """A share of the tiles is refused once, twice, or three times before it is served."""
    share, times = draw.choice([0.05, 0.2, 0.35, 0.6, 0.9, 1.0]), draw.choice([1, 1, 1, 2, 3])
    busy = http(draw.choice([429, 503, 503, 500]), headers=draw.choice(PAUSES), seconds=0.02)
    asked, refused = Counter[Tile](), dict[Tile, bool]()

    def rule(request: Request, now: float) -> Answer | None:
        tile = request.tile
        asked[tile] += 1
        if tile not in refused:
            refused[tile] = draw.random() < share
        return busy if refused[tile] and asked[tile] <= times else None

    return rule


# ------------------------------------------------------------------------------------------------ all of it


@dataclass
class Behaviour:
    """What a seed draws. ``answers``: by tile, all that came: an HTTP status, or what was wrong."""

    seed: int
    answers: dict[Tile, list[str]] = field(default_factory=dict)
    used: Counter[int] = field(default_factory=Counter)
    tiles: dict[Tile, Answer | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.draw = draw = random.Random(self.seed)
        number = draw.choice([1, 1, 1, 1, 1, 2, 3])
        self.hosts = tuple(replace(HOST, name=f"host{at}.test") for at in range(number))
        self.info = memory_info(tilemap=draw.random() < 0.3)
        self.plan = plan_of(*(lambda levels, box: (levels, self.info, box))(*draw.choice(PLANS)))
        self.seconds = draw.choice([0.005, 0.02, 0.1, 0.5])
        self.rules = {host.name: self._rules() for host in self.hosts}
        self.first = refused_first(draw) if draw.random() < 0.35 else None
        self.passing = draw.choice([0, 0, 0, 0.01, 0.05, 0.2, 0.5])
        self.faults = draw.sample(PASSING, draw.choice([1, 1, 2, len(PASSING)]))
        self.bad = draw.choice([0, 0, 0, 0, 0.01, 0.05, 0.3, 1.0])
        self.badly = draw.sample(LASTING, draw.choice([1, 1, 2, len(LASTING)]))
        self.absent = draw.choice([0, 0, 0, 0.05, 0.5, 0.95])
        self.side = draw.choice([1, 1, 4])
        """Tiles of a square of so many rows and columns share what they are."""
        self.slow = draw.choice([0, 0, 0, 0.02, 0.2])
        begins = draw.choice([0.0, 0.5, 3.0, 10.0]) if draw.random() < 0.2 else HOURS * 3600.0
        self.outage = begins, begins + draw.choice([0.5, 5.0, 40.0, 200.0]), draw.choice(OUTAGES)
        self.renewable = draw.random() < 0.3
        self.ends_after = draw.choice([5, 60, 200, 10**9]) if self.renewable else 10**9
        self.ended = http(draw.choice([498, 499, 401]))
        self.renewed_every = draw.choice([0.0, 0.0, 3.0])
        self.limits = Limits(
            retries=draw.choice([0, 1, 2, 5, 5, 5]),
            concurrency=draw.choice([1, 2, 4, 8, 32, 32, 64]),
            max_tiles=draw.choice([None] * 6 + [1, 10, 100]),
            max_bytes=draw.choice([None] * 8 + [2_000, 50_000]),
            rate=draw.choice([None] * 4 + [2.0, 20.0, 200.0]),
            max_duration_seconds=draw.choice([HOURS * 3600.0] * 5 + [2.0, 30.0]),
        )
        self.probe = self.info.tilemap and draw.random() < 0.8
        self.stopped_after = draw.choice([None] * 5 + [0.0, 0.3, 2.0, 20.0])

    def _rules(self) -> Rule:
        return limit(self.draw, self.seconds) if self.draw.random() < 0.45 else lambda request, now: None

    def kind(self, tile: Tile) -> Answer | None:
        """What is always answered for a tile; None: the tile."""
        if tile not in self.tiles:
            own = random.Random(f"{self.seed} {tile.level} {tile.row // self.side} {tile.col // self.side}")
            is_absent, is_bad, bad = own.random() < self.absent, own.random() < self.bad, own.choice(self.badly)
            self.tiles[tile] = http(404, seconds=self.seconds) if is_absent else bad if is_bad else None
        return self.tiles[tile]

    def is_absent(self, tile: Tile) -> bool:
        """True where there is no such tile."""
        kind = self.kind(tile)
        return kind is not None and kind.status == 404

    def __call__(self, request: Request) -> Answer:
        answer = self._answer(request)
        if not request.window:
            what = "stale" if answer.stale else answer.fault.value if answer.fault else str(answer.status)
            is_page = answer.status == 200 and answer.body != tile_png(*request.tile)
            self.answers.setdefault(request.tile, []).append("page" if is_page else what)
        return answer

    def _answer(self, request: Request) -> Answer:
        now, draw = asyncio.get_running_loop().time(), self.draw
        begins, ends, outage = self.outage
        if begins <= now < ends:
            return outage
        busy = self.rules[request.host.name](request, now)
        if busy is not None:
            return busy
        self.used[request.credential] += 1
        if self.used[request.credential] > self.ends_after:
            return self.ended
        if request.window:
            return self._tilemap(request)
        if self.first is not None and (busy := self.first(request, now)) is not None:
            return busy
        if (kind := self.kind(request.tile)) is not None:
            return kind
        fault = draw.choice(self.faults) if draw.random() < self.passing else None
        if fault is not None and not (fault.stale and request.fresh):
            return fault
        seconds = draw.choice([1.0, 5.0, 29.0]) if draw.random() < self.slow else self.seconds
        return http(200, tile_png(*request.tile), seconds=seconds)

    def _tilemap(self, request: Request) -> Answer:
        level, row, col = request.tile
        size, end = request.window, 1 << level
        present = np.zeros((size, size), dtype=bool)
        for y in range(min(size, end - row)):
            for x in range(min(size, end - col)):
                present[y, x] = not self.is_absent(Tile(level, row + y, col + x))
        return http(200, np.packbits(present).tobytes(), seconds=self.seconds)

    def bench(self) -> Bench:
        """A run against it."""
        renewed_at: list[float] = []

        def renews_in() -> float | None:
            now = asyncio.get_running_loop().time()
            if source.renewals >= len(renewed_at):
                renewed_at.append(now)
            return renewed_at[-1] + self.renewed_every - now if self.renewed_every and self.renewable else None

        async def stop(engine: Engine) -> None:
            await asyncio.sleep(self.stopped_after or 0.0)
            engine.stop(StopReason.signal("SIGINT", 130))

        source = MemorySource(self.info, renewable=self.renewable, hosts=self.hosts, renews_in=renews_in)
        return Bench(
            service=MemoryService(scripted=self),
            source=source,
            limits=self.limits,
            plan=self.plan,
            probe=self.probe,
            meanwhile=None if self.stopped_after is None else stop,
        )
