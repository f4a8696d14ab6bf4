"""What a run has counted: tiles by LOD and state, requests, bytes, and how fast tiles end just now."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from harvester.edges import State
from harvester.events import Counts
from harvester.tiling.tile import Tile

RATE_WINDOW_SECONDS = 30.0
"""Span over which the speed, and so the ETA, is averaged."""

ETA_MINIMUM_SECONDS = 3.0
"""Nothing honest can be said of the time left before this much of the run was seen."""

FAILURES_KEPT = 1000
"""Failed tiles that a report lists; the ledger has all of them."""


FAILED_REMEMBERED = 65_536
"""6 MB; of more, some may be asked in vain where a good tile is looked for."""

TYPES_LOOKED_AT = 64
"""First tiles whose Content-Type is looked at: a server that is set up wrongly is so from the start."""

PICTURES = frozenset({"png", "jpg", "webp", "gif"})


@dataclass(slots=True)
class Tally:
    """Counters of one run. Tiles are counted when recorded, so every report agrees with the ledger."""

    levels: dict[int, list[int]] = field(default_factory=dict)
    """Tiles by State value, per level."""
    requests: int = 0
    tile_requests: int = 0
    retries: int = 0
    """Requests made again for a tile or a window."""
    questions: int = 0
    """Requests for a tile whose body is only judged: they tell whether the host is well and the credential holds. Part
    of ``tile_requests``, none of ``retries``."""
    throttled: int = 0
    bytes: int = 0
    fetched: int = 0
    """Tiles stored by this run."""
    kept: int = 0
    """Tiles stored before it."""
    one_kept: Tile | None = None
    """One of them, where there is any."""
    failed_before: set[Tile] = field(default_factory=set)
    """Tiles that failed in an earlier run and are asked again: no witnesses. At most FAILED_REMEMBERED."""
    answered_404: int = 0
    absences: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Tiles that this run found absent, by level and how: ``http_404``, ``http_204``, ``blank_tile``,
    ``placeholder``."""
    odd_types: Counter[str] = field(default_factory=Counter)
    """Content-Types of pictures, among the first tiles, that are none of a picture's."""
    started: float = 0.0
    last_ended: float = 0.0
    """When a tile last reached an end, or when the run started."""
    ended: int = 0
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, level: int, state: State, tiles: int) -> None:
        """Tiles found in a state when the run started."""
        self.levels.setdefault(level, [0] * len(State))[state] += tiles

    def moved(self, level: int, state: State, tiles: int) -> None:
        """Pending tiles that were recorded in an end state."""
        counts = self.levels[level]
        counts[State.PENDING] -= tiles
        counts[state] += tiles
        if state is State.STORED:
            self.fetched += tiles

    def taken_back(self, level: int, state: State, tiles: int) -> None:
        """Tiles that this run had recorded in an end state are pending again."""
        counts = self.levels[level]
        counts[State.PENDING] += tiles
        counts[state] -= tiles
        if state is State.STORED:
            self.fetched -= tiles

    def look_at_type(self, stated: str, kind: str) -> None:
        """Bytes decide what a tile is; that a server calls pictures something else is worth a word."""
        stated = stated.partition(";")[0].strip().lower()
        if stated and kind in PICTURES and not stated.startswith(("image/", "application/octet-stream")):
            self.odd_types[stated[:60]] += 1

    def counts(self, levels: Iterable[int] | None = None) -> Counts:
        """Tiles by state, of these levels or all."""
        rows = [self.levels[level] for level in (self.levels if levels is None else levels)]
        stored, absent, failed, unchanged, pending = (
            sum(row[state] for row in rows)
            for state in (State.STORED, State.ABSENT, State.FAILED, State.UNCHANGED, State.PENDING)
        )
        return Counts(stored + absent + failed + unchanged + pending, stored, unchanged, absent, failed, pending)

    def sample(self, now: float, waiting: int = 0, *, most: int | None = None) -> tuple[float, float | None]:
        """Tiles ended a second over the last half minute, and the seconds left at that speed (None: can't say yet).

        ``waiting``: tiles that have ended and are not recorded yet; ``most``: no more than these are to come (a
        budget).
        """
        samples = self._samples
        if not samples:
            samples.append((self.started, 0))
        ended = self.ended + waiting
        samples.append((now, ended))
        while len(samples) > 2 and now - samples[0][0] > RATE_WINDOW_SECONDS:
            samples.popleft()
        seen = now - samples[0][0]
        rate = (ended - samples[0][1]) / seen if seen > 0 else 0.0
        left = sum(row[State.PENDING] for row in self.levels.values()) - waiting
        if most is not None:
            left = min(left, most)
        if left <= 0:
            return rate, 0.0
        if now - self.started < ETA_MINIMUM_SECONDS or rate <= 0:
            return rate, None
        return rate, left / rate
