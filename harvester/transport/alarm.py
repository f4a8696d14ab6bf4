"""One timer for many waits: the one that was asked for last counts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """Calls ``ring`` once. Setting it anew costs no timer where it would ring too early: that is slept over."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._timed = 0.0
        """When the timer goes off."""
        self._wanted = math.inf
        """When to ring, on the loop's clock."""

    def set(self, seconds: float) -> None:
        """Ring after so many seconds, and not before."""
        loop = asyncio.get_running_loop()
        self._wanted = loop.time() + max(0.0, seconds)
        if self._timer is not None:
            if self._timed <= self._wanted:
                return
            self._timer.cancel()
        self._start(loop)

    def unset(self) -> None:
        """Don't ring; a timer that runs is left to be used again."""
        self._wanted = math.inf

    def stop(self) -> None:
        """Don't ring, and leave no timer behind."""
        self._wanted = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timed = self._wanted
        self._timer = loop.call_at(self._timed, self._went_off)

    def _went_off(self) -> None:
        self._timer = None
        if self._wanted <= self._timed:
            self._wanted = math.inf
            self._ring()
        elif self._wanted < math.inf:
            self._start(asyncio.get_running_loop())
