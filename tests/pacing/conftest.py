"""Simulated hosts with a hidden limit, and a simulated engine that asks them on a simulated clock."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from harvester.edges import Outcome
from harvester.pacing import Concurrency, Pacer


class Host(Protocol):
    """Says for each request how long it takes and whether it is answered (else throttled)."""

    def ask(self, now: float) -> tuple[float, bool]: ...

    def leave(self) -> None: ...


@dataclass
class Seats:
    """Throttles whatever comes while ``seats`` requests are being served."""

    seats: int
    seconds: float
    draw: random.Random
    taken: int = 0
    changes: tuple[tuple[int, int], ...] = ()
    """(second, seats) from then on, in order."""

    def ask(self, now: float) -> tuple[float, bool]:
        while self.changes and self.changes[0][0] <= now:
            self.seats, self.changes = self.changes[0][1], self.changes[1:]
        self.taken += 1
        if self.taken > self.seats:
            return 0.005, False
        return self.seconds * self.draw.uniform(0.8, 1.2), True

    def leave(self) -> None:
        self.taken -= 1


@dataclass
class Tokens:
    """Throttles what exceeds ``rate`` a second, after a burst."""

    rate: float
    burst: float
    seconds: float
    draw: random.Random
    at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def ask(self, now: float) -> tuple[float, bool]:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return 0.01, False
        self.tokens -= 1
        return self.seconds * self.draw.uniform(0.8, 1.2), True

    def leave(self) -> None:
        pass


@dataclass
class FixedWindow:
    """Throttles what exceeds ``rate`` within one of its own whole seconds; these begin at any moment of ours."""

    rate: float
    seconds: float
    draw: random.Random
    window: int = -1
    number: int = 0
    changes: tuple[tuple[int, float], ...] = ()
    """(second, rate) from then on, in order."""

    def __post_init__(self) -> None:
        self.phase = self.draw.random()

    def ask(self, now: float) -> tuple[float, bool]:
        while self.changes and self.changes[0][0] <= now:
            self.rate, self.changes = self.changes[0][1], self.changes[1:]
        window = math.floor(now + self.phase)
        self.number = self.number + 1 if window == self.window else 1
        self.window = window
        if self.number > self.rate:
            return 0.01, False
        return self.seconds * self.draw.uniform(0.8, 1.2), True

    def leave(self) -> None:
        pass


@dataclass
class SlidingWindow:
    """Throttles what would make more than ``rate`` within the last second."""

    rate: float
    seconds: float
    draw: random.Random
    served: deque[float] = field(default_factory=deque)

    def ask(self, now: float) -> tuple[float, bool]:
        while self.served and self.served[0] <= now - 1.0:
            self.served.popleft()
        if len(self.served) >= self.rate:
            return 0.01, False
        self.served.append(now)
        return self.seconds * self.draw.uniform(0.8, 1.2), True

    def leave(self) -> None:
        pass


@dataclass
class Queue:
    """Never throttles: ``workers`` serve in turn, and whoever comes too early waits in line."""

    workers: int
    seconds: float
    draw: random.Random
    free: list[float] = field(default_factory=list)

    def ask(self, now: float) -> tuple[float, bool]:
        begin = now
        if len(self.free) >= self.workers:
            begin = max(now, heapq.heappop(self.free))
        end = begin + self.seconds * self.draw.uniform(0.8, 1.2)
        heapq.heappush(self.free, end)
        return end - now, True

    def leave(self) -> None:
        pass


@dataclass
class Endless:
    """Bears everything; each answer takes as long as ``latency`` says."""

    latency: Callable[[float], float]

    def ask(self, now: float) -> tuple[float, bool]:
        return self.latency(now), True

    def leave(self) -> None:
        pass


@dataclass
class AtRandom:
    """Refuses ``share`` of what it is asked, whatever the pace; the rest is ``host``'s."""

    share: float
    host: Host
    draw: random.Random

    def ask(self, now: float) -> tuple[float, bool]:
        took, served = self.host.ask(now)
        return (min(took, 0.01), False) if self.draw.random() < self.share else (took, served)

    def leave(self) -> None:
        self.host.leave()


@dataclass
class Course:
    """What a simulated run did, by second."""

    good: list[int]
    throttled: list[int]
    limits: list[int]
    """The limit at the end of each second."""
    starts: list[float] = field(default_factory=list)
    """When each request was started, where the whole pace was run."""

    def goodput(self, start: int, end: int) -> float:
        return sum(self.good[start:end]) / (end - start)

    def error_share(self, start: int, end: int) -> float:
        bad = sum(self.throttled[start:end])
        return bad / max(1, bad + sum(self.good[start:end]))


def run(host: Host, pace: Concurrency, seconds: int, start: float = 0.0) -> Course:
    """Keep as many requests in flight as the limit allows, for ``seconds`` of simulated time."""
    course = Course([0] * seconds, [0] * seconds, [0] * seconds)
    now = start
    ends: list[tuple[float, int, float, bool]] = []
    count = 0
    while True:
        while len(ends) < pace.limit:
            took, served = host.ask(now)
            count += 1
            heapq.heappush(ends, (now + took, count, now, served))
        pace.on_full()
        now, _, begun, served = heapq.heappop(ends)
        if now >= start + seconds:
            return course
        second = int(now - start)
        host.leave()
        course.limits[second] = pace.limit
        if served:
            course.good[second] += 1
            pace.on_success(now, now - begun)
        else:
            course.throttled[second] += 1
            pace.on_throttle(now)


def paced(host: Host, pacer: Pacer, seconds: int, retry_after: float | None = None) -> Course:
    """Start a request whenever the whole pace allows it, for ``seconds`` of simulated time. Refusals carry
    ``retry_after``."""
    course = Course([0] * seconds, [0] * seconds, [0] * seconds)
    now = 0.0
    ends: list[tuple[float, int, float, bool]] = []
    while True:
        while not (wait := pacer.may_start(now, len(ends))):
            took, served = host.ask(now)
            course.starts.append(now)
            heapq.heappush(ends, (now + took, len(course.starts), now, served))
        if not ends or now + wait < ends[0][0]:
            now = max(now + wait, math.nextafter(now, math.inf))
            if now >= seconds:
                return course
            continue
        now, _, begun, served = heapq.heappop(ends)
        if now >= seconds:
            return course
        host.leave()
        course.limits[int(now)] = pacer.limit
        (course.good if served else course.throttled)[int(now)] += 1
        outcome = Outcome.WHOLE if served else Outcome.THROTTLED
        pacer.ended(now, outcome, now - begun, first_try=True, retry_after=None if served else retry_after)


@dataclass(frozen=True)
class Lab:
    """All of the above, for tests."""

    Seats: type[Seats] = Seats
    Tokens: type[Tokens] = Tokens
    FixedWindow: type[FixedWindow] = FixedWindow
    SlidingWindow: type[SlidingWindow] = SlidingWindow
    Queue: type[Queue] = Queue
    Endless: type[Endless] = Endless
    AtRandom: type[AtRandom] = AtRandom

    def run(self, host: Host, pace: Concurrency, seconds: int, start: float = 0.0) -> Course:
        return run(host, pace, seconds, start)

    def paced(self, host: Host, pacer: Pacer, seconds: int, retry_after: float | None = None) -> Course:
        return paced(host, pacer, seconds, retry_after)


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()
