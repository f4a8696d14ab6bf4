"""Where a run stands as a person is told it: what may still be taken back is never told as its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harvester.engine import Tally
from harvester.events import Counts, Event, Progress


class Standing:
    """Hands events on, and tells the one end of all that was fetched and asked. Tiles whose tilemap was believed too
    early had an end and have none, or another one: what was told last must not stay."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._last: Progress | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._last = event
        self._emit(event)

    def asks(self, tally: Tally, now: float, what: str) -> None:
        """Tiles are asked that may take back what has an end. ``now`` by the clock of ``tally``."""
        told = self._at(self._last or NOTHING, tally, now)
        self(replace(told, asking=what, tiles_per_second=0.0))

    def ends(self, tally: Tally, now: float) -> None:
        """The run has ended so. Of one that had nothing to fetch or to ask, nothing is told."""
        if self._last is not None:
            told = self._at(self._last, tally, now)
            self(replace(told, asking="", is_last=True))

    def _at(self, last: Progress, tally: Tally, now: float) -> Progress:
        counts = tally.counts()
        return replace(
            last, counts=counts, ended=counts.planned - counts.pending, requests=tally.requests,
            retries=tally.retries, throttled=tally.throttled, bytes=tally.bytes, seconds=now - tally.started,
            eta_seconds=None if counts.pending else 0.0, paused_seconds=0.0,
        )  # fmt: skip


NOTHING = Progress(
    counts=Counts(), ended=0, requests=0, retries=0, throttled=0, bytes=0, seconds=0.0, tiles_per_second=0.0,
    eta_seconds=None, concurrency=1,
)  # fmt: skip
"""Before anything was fetched."""
