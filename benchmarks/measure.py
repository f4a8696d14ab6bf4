"""How anything is measured here: contestants in turn, CPU before wall clock, medians with their spread."""

from __future__ import annotations

import contextlib
import mmap
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")

SERVER_CPU, CLIENT_CPU = 0, 1
"""The server and what is measured against it have a core each, where there are two."""

ROOT = Path(__file__).resolve().parent.parent

TILE_BYTES, SMALL_BYTES = 15_000, 1_000
"""A street map's tile, and one that makes the cost of a tile itself show."""

BALLAST = 400 << 20
"""Bytes: more than any contestant holds or writes."""


class Reading(NamedTuple):
    """One number of one round. Names are dotted: group, contestant, what."""

    name: str
    value: float
    unit: str


Round = Callable[[int], Iterable[Reading]]
"""One round of a group, by its number from 0: every contestant once, ratios taken within the round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What is measured together. ``start`` sets it up (a server, files) and gives its rounds."""

    name: str
    about: str
    start: Callable[[], AbstractContextManager[Round]]
    long: bool = False
    """Takes many minutes: runs only when it is named."""


def group(name: str, about: str, *, long: bool = False) -> Callable[[Callable[[], Iterator[Round]]], Group]:
    """What follows sets the group up and yields its rounds."""
    return lambda start: Group(name=name, about=about, start=contextlib.contextmanager(start), long=long)


@dataclass(slots=True)
class Line:
    """One name over all rounds."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def as_json(self) -> dict[str, object]:
        """What ``--json`` writes of it."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": self.low,
            "max": self.high,
            "n": len(self.values),
        }


def collect(group: Group, runs: int, into: dict[str, Line]) -> None:
    """Run so many rounds of a group and add what they read to the lines, by name."""
    with group.start() as rounds:
        for name, value, unit in (reading for number in range(runs) for reading in rounds(number)):
            if not name.startswith(f"{group.name}."):
                raise ValueError(f"{name} is read in the group {group.name}: the gate would not find it")
            into.setdefault(name, Line(name, unit)).values.append(value)


def warm_memory() -> None:
    """Make memory for what is to come the machine's own. A virtual machine that lends what is idle to others pays for
    it with the next write (a third of a MBTiles' CPU was seen), and whoever comes next would have it for nothing."""
    ballast = mmap.mmap(-1, BALLAST)
    for page in range(0, BALLAST, mmap.PAGESIZE):
        ballast[page] = 1
    ballast.close()


def in_turn(number: int, contestants: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Each once and from the same start, every other round in the opposite order, so that a machine that tires favours
    no one."""
    names = list(contestants)
    results = {}
    for name in reversed(names) if number % 2 else names:
        warm_memory()
        results[name] = contestants[name]()
    return results


class Cost(NamedTuple):
    """What some pieces of work took: CPU seconds of the process, seconds on the wall, and the most memory it held."""

    pieces: int
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int = 0

    @property
    def microseconds(self) -> float:
        """CPU of one piece."""
        return self.cpu_seconds / self.pieces * 1e6

    @property
    def per_10k(self) -> float:
        """CPU seconds of ten thousand pieces."""
        return self.cpu_seconds / self.pieces * 10_000

    @property
    def rate(self) -> float:
        """Pieces a second on the wall."""
        return self.pieces / self.wall_seconds


def cost_of(run: Callable[[], object], pieces: int) -> Cost:
    """Run it in this process; all its threads count."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Cost(pieces, time.process_time() - cpu, time.perf_counter() - wall, peak_bytes())


def children_cpu() -> float:
    """CPU seconds of all children that have ended (Windows knows none: then the wall must do)."""
    times = os.times()
    return times.children_user + times.children_system


def peak_bytes() -> int:
    """The most memory that this process has held so far; 0 where the system doesn't say."""
    try:
        # ru_maxrss of a process begins with what its parent held when it was made; VmHWM is its own.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def pin(cpu: int | None) -> None:
    """Keep this process on one core, where the system can and has it."""
    if cpu is not None and hasattr(os, "sched_setaffinity") and cpu < (os.cpu_count() or 1):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {cpu})


@contextlib.contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """The same for a while. Whatever is to run on another core is started before."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    pin(cpu)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
