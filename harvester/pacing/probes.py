"""When a level above the one that is held is tried, and how far above: rarely where that failed or costs pauses."""

from __future__ import annotations

import math

FIRST_SECONDS = 1.0
LAST_SECONDS = 64.0
"""Interval between probes: doubled by each that fails. 1, 2, 4 ... cost a thousandth of the requests after a minute."""

PAUSES = 16.0
"""Pauses' time between probes at least: each that fails may cost one."""


class Probes:
    """``step``: how far above, doubled by each probe that succeeds."""

    __slots__ = ("_at", "_every", "step")

    def __init__(self) -> None:
        self.step = 1
        self._every = FIRST_SECONDS
        self._at = -math.inf

    def is_due(self, now: float) -> bool:
        """True when the next may go."""
        return now >= self._at

    def later(self, now: float) -> None:
        """A level is held from now on: the next goes after the interval."""
        self._at = now + self._every

    def soon(self, now: float) -> None:
        """The next may go now."""
        self._at = now

    def often(self) -> None:
        """The host may have become another: the interval is the first again."""
        self._every = FIRST_SECONDS

    def restart(self) -> None:
        """Nothing is known of the host."""
        self.step = 1
        self._every = FIRST_SECONDS

    def failed(self, now: float) -> None:
        """A probe was refused, or only queued."""
        self.step = 1
        self._every = min(self._every * 2, LAST_SECONDS)
        self.later(now)

    def borne(self) -> None:
        """A probe was clean."""
        self.step *= 2
        self.often()

    def rest(self, now: float, until: float) -> None:
        """The host asked for a pause until then."""
        self._every = max(self._every, PAUSES * (until - now))
        self._at = max(self._at, now + self._every)

    def __repr__(self) -> str:
        return f"Probes(+{self.step}, each {self._every:g} s)"
