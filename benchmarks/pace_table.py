"""The table of simulated hosts: goodput over the best, refusals and time to settle, family by family.

    .venv/bin/python -m benchmarks.pace_table [--seeds 5] [--worst 5] [FAMILY ...]

Everything is in simulated time. ``+pauses``: each refusal carries a Retry-After of one second.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from harvester.pacing import Pacer
from tests.pacing.conftest import (
    AtRandom,
    Course,
    Endless,
    FixedWindow,
    Host,
    Queue,
    Seats,
    SlidingWindow,
    Tokens,
    paced,
)

LATENCIES = (0.02, 0.05, 0.2, 0.5, 1.0)
SHARES = (0.01, 0.02, 0.05, 0.1)
ENOUGH = 0.85
MOST_A_SECOND = 5100


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One host. ``best``: answers a second that it can give; ``window``: seconds that are looked at."""

    family: str
    name: str
    host: Callable[[random.Random], Host]
    best: float
    window: tuple[int, int]
    limit: int = 512
    retry_after: float | None = None

    def run(self, seed: int) -> Course:
        """The course of a pace that knows nothing of the host."""
        draw = random.Random(f"{self.family} {self.name} {seed}")
        pacer = Pacer(limit_max=self.limit, now=0.0, draw=draw.random)
        return paced(self.host(draw), pacer, self.window[1], self.retry_after)


class Outcome(NamedTuple):
    """What came of a cell with one seed; ``settled`` in seconds, None: not to the end."""

    share: float
    refused: float
    settled: int | None


def outcome(cell: Cell, seed: int) -> Outcome:
    """Goodput over the best and share of refusals in the window; settled is from where each ten seconds bring 80 %."""
    course = cell.run(seed)
    end = cell.window[1]
    settled = end - 9
    while settled > 0 and course.goodput(settled - 1, settled + 9) >= 0.8 * cell.best:
        settled -= 1
    is_settled = course.goodput(end - 10, end) >= 0.8 * cell.best
    return Outcome(
        course.goodput(*cell.window) / cell.best, course.error_share(*cell.window), settled if is_settled else None
    )


def counting(kind: str, rate: float, seconds: float, draw: random.Random) -> Host:
    """A host that counts requests a second."""
    if kind == "bucket":
        return Tokens(rate, max(1.0, 0.1 * rate), seconds, draw)
    if kind == "full bucket":
        return Tokens(rate, rate, seconds, draw)
    return (FixedWindow if kind == "fixed" else SlidingWindow)(rate, seconds, draw)


def even(seconds: float, draw: random.Random) -> Host:
    """A host without a limit."""
    return Endless(lambda now: seconds * draw.uniform(0.8, 1.2))


def cells() -> Iterator[Cell]:
    """All of them."""
    for pause in (None, 1.0):
        yield from limits("+pauses" if pause else "", pause)
        yield from changes("+pauses" if pause else "", pause)
    for share in SHARES:
        yield from amid_chance(share)
    for workers in (3, 10, 40, 150):
        for s in (0.05, 0.3):
            yield Cell(
                family="queue",
                name=f"{workers} workers, {s} s",
                host=lambda draw, workers=workers, s=s: Queue(workers, s, draw),  # type: ignore[misc]
                best=workers / s,
                window=(10, 30),
            )
    for s in (0.05, 0.2, 1.0):
        yield Cell(
            family="no limit",
            name=f"exponential, {s} s",
            host=lambda draw, s=s: Endless(lambda now: draw.expovariate(1 / s)),  # type: ignore[misc]
            best=512 / s,
            window=(15, 30),
        )


def limits(suffix: str, pause: float | None) -> Iterator[Cell]:
    """A limit of requests a second, or in flight."""
    for kind in ("bucket", "full bucket", "fixed", "sliding"):
        for rate in (10, 20, 50, 200, 1000):
            for s in LATENCIES:
                yield Cell(
                    family="rate" + suffix,
                    name=f"{kind} {rate}/s, {s} s",
                    host=lambda draw, kind=kind, rate=rate, s=s: counting(kind, rate, s, draw),  # type: ignore[misc]
                    best=min(rate, 512 / s),
                    window=(20, 40),
                    retry_after=pause,
                )
    for seats in (2, 3, 5, 8, 20, 37, 150):
        for s in (0.01, *LATENCIES):
            if seats / s < MOST_A_SECOND:
                yield Cell(
                    family="seats" + suffix,
                    name=f"{seats} seats, {s} s",
                    host=lambda draw, seats=seats, s=s: Seats(seats, s, draw),  # type: ignore[misc]
                    best=seats / s,
                    window=(20, 40),
                    retry_after=pause,
                )


def changes(suffix: str, pause: float | None) -> Iterator[Cell]:
    """Seats that become fewer or more in the thirtieth second."""
    for low, high in ((8, 40), (20, 100), (150, 200), (2, 5)):
        for before, after in ((low, high), (high, low)):
            for s in (0.02, 0.05, 0.2, 1.0):
                if high / s < MOST_A_SECOND:
                    yield Cell(
                        family="change" + suffix,
                        name=f"{before} to {after} seats, {s} s",
                        host=lambda draw, before=before, after=after, s=s: Seats(  # type: ignore[misc]
                            before, s, draw, changes=((30, after),)
                        ),
                        best=after / s,
                        window=(50, 70),
                        retry_after=pause,
                    )


def amid_chance(share: float) -> Iterator[Cell]:
    """Refusals at random, alone and before a limit."""
    for s, limit in ((0.02, 32), (0.05, 32), (0.2, 128), (0.2, 512), (0.5, 128), (1.0, 128), (1.0, 512)):
        yield Cell(
            family="chance",
            name=f"{share:.0%}, {s} s, {limit} connections",
            host=lambda draw, s=s: AtRandom(share, even(s, draw), draw),  # type: ignore[misc]
            best=limit / s * (1 - share),
            window=(40, 60),
            limit=limit,
        )
    for seats in (2, 3, 5, 8, 37, 150):
        for s in (0.05, 0.3, 1.0):
            yield Cell(
                family="seats amid chance",
                name=f"{share:.0%}, {seats} seats, {s} s",
                host=lambda draw, seats=seats, s=s: AtRandom(share, Seats(seats, s, draw), draw),  # type: ignore[misc]
                best=seats / s * (1 - share),
                window=(40, 60),
            )
    for kind, rate, s in (("bucket", 100, 0.05), ("fixed", 100, 0.2), ("sliding", 400, 0.05), ("bucket", 50, 1.0)):
        yield Cell(
            family="rate amid chance",
            name=f"{share:.0%}, {kind} {rate}/s, {s} s",
            host=lambda draw, kind=kind, rate=rate, s=s: AtRandom(  # type: ignore[misc]
                share, counting(kind, rate, s, draw), draw
            ),
            best=rate * (1 - share),
            window=(40, 60),
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worst", type=int, default=0, help="name so many of each family")
    asked = parser.parse_args()
    found: dict[str, list[tuple[Cell, list[Outcome]]]] = {}
    for cell in cells():
        if not asked.families or cell.family in asked.families:
            found.setdefault(cell.family, []).append((cell, [outcome(cell, seed) for seed in range(asked.seeds)]))
    print(f"{'family':18} cells  goodput/best  least  cells < {ENOUGH}  runs < {ENOUGH}  refused  settled in 10 s")
    for family, rows in found.items():
        runs = [run for _, outcomes in rows for run in outcomes]
        quick = f"{sum(run.settled is not None and run.settled <= 10 for run in runs)}/{len(runs)}"
        if family.startswith("change"):
            quick = "(changes later)"
        means = [sum(run.share for run in outcomes) / len(outcomes) for _, outcomes in rows]
        print(
            f"{family:18} {len(rows):5}  {sum(means) / len(means):12.3f}  {min(run.share for run in runs):5.2f}"
            f"  {sum(mean < ENOUGH for mean in means):12}  {sum(run.share < ENOUGH for run in runs):4}/{len(runs):<6}"
            f"  {sum(run.refused for run in runs) / len(runs):6.2%}"
            f"  {quick}"
        )
        for cell, outcomes in sorted(rows, key=lambda row: sum(run.share for run in row[1]))[: asked.worst]:
            shares = " ".join(f"{run.share:.2f}" for run in outcomes)
            print(f"    {cell.name:32} {shares}, refused {max(run.refused for run in outcomes):.1%}")


if __name__ == "__main__":
    main()
