"""One timer for the deadlines of all requests in flight: what is beyond its own, or only drips, is ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from harvester.edges import Fault
from harvester.transport.access import LEAST_RATE
from harvester.transport.lane import Lane

SWEEP_SECONDS = 0.01
"""The least time between two looks: how late a timeout may be."""


class Deadlines:
    """Of the requests in flight on ``lanes``: ``timeout`` in all, ``patience`` with one that drips, in seconds."""

    def __init__(self, lanes: Iterable[Lane], timeout: float, patience: float) -> None:
        self._lanes = lanes
        self._timeout = timeout
        self._patience = patience
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"Deadlines(timeout={self._timeout:g}, watching={self._timer is not None})"

    def watch(self) -> None:
        """Something is in flight. Costs nothing while the timer runs."""
        if self._timer is None:
            self._look_in(min(self._patience / 2, self._timeout))

    def stop(self) -> None:
        """Nothing is in flight any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Look again when the oldest request in flight reaches its own, or may have dripped for too long."""
        self._timer = None
        now = time.monotonic()
        due, patience = now - self._timeout, self._patience
        for lane in [lane for lane in self._flying() if lane.started <= due or lane.drips(now, patience)]:
            if lane.request is not None:
                slow = lane.started > due
                lane.fail(Fault.TIMEOUT, f"less than {LEAST_RATE:.0f} bytes a second" if slow else lane.stage)
        oldest = min((lane.started for lane in self._flying()), default=None)
        if oldest is not None:
            self._look_in(min(patience / 2, oldest + self._timeout - time.monotonic()))

    def _look_in(self, seconds: float) -> None:
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(max(SWEEP_SECONDS, seconds), self._look)

    def _flying(self) -> Iterator[Lane]:
        return (lane for lane in self._lanes if lane.request is not None)
