"""How far a run is, told once a second."""

from __future__ import annotations

from collections.abc import Callable

from harvester.engine.sites import Sites
from harvester.engine.tally import Tally
from harvester.events import Event, Progress
from harvester.job import Limits

PROGRESS_SECONDS = 1.0
"""Between two progress events: at the first look at the clock after each whole second of the run."""


class ProgressTeller:
    """Emits a Progress whenever it is due. ``waiting``: tiles that have ended and are not recorded yet."""

    def __init__(self, *, tally: Tally, sites: Sites, limits: Limits, emit: Callable[[Event], None]) -> None:
        self._tally = tally
        self._sites = sites
        self._limits = limits
        self._emit = emit
        self._due = 0.0

    def begin(self, now: float) -> None:
        """The run starts."""
        self._due = now + PROGRESS_SECONDS

    def tick(self, now: float, waiting: int) -> None:
        """The clock is looked at."""
        if now >= self._due:
            self._due += PROGRESS_SECONDS * (1 + (now - self._due) // PROGRESS_SECONDS)
            self.tell(now, waiting)

    def tell(self, now: float, waiting: int = 0) -> None:
        """Where the run stands."""
        tally, limits = self._tally, self._limits
        counts = tally.counts()
        most = None if limits.max_tiles is None else limits.max_tiles - tally.fetched - waiting
        rate, eta = tally.sample(now, waiting, most=most)
        if limits.max_duration_seconds is not None and eta is not None:
            eta = min(eta, max(0.0, tally.started + limits.max_duration_seconds - now))
        self._emit(
            Progress(
                counts=counts,
                ended=counts.planned - counts.pending + waiting,
                requests=tally.requests,
                retries=tally.retries,
                throttled=tally.throttled,
                bytes=tally.bytes,
                seconds=now - tally.started,
                tiles_per_second=rate,
                eta_seconds=eta,
                concurrency=self._sites.limit,
                paused_seconds=self._sites.paused_seconds(now),
            )
        )
