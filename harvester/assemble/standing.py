"""Where a run stands as a person saw it last, told once more where its end differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harvester.engine import Tally
from harvester.events import Event, Progress


class Standing:
    """Hands events on. Tiles whose tilemap was believed too early had an end and have none, or another one: what was
    told last must not stay."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._last: Progress | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._last = event
        self._emit(event)

    def ends(self, tally: Tally, now: float) -> None:
        """The run has ended so; ``now`` by the clock of ``tally``."""
        last, counts = self._last, tally.counts()
        if last is None or last.counts == counts:
            return
        self(
            replace(
                last, counts=counts, ended=counts.planned - counts.pending, requests=tally.requests,
                retries=tally.retries, throttled=tally.throttled, bytes=tally.bytes, seconds=now - tally.started,
                eta_seconds=None, paused_seconds=0.0,
            )
        )  # fmt: skip
