"""The hard limit on requests a second: evenly spaced starts, with no window of one second above the rate."""

from __future__ import annotations

import math

JITTER_SECONDS = 0.06
"""How much later one request may reach the server than another after its start (loop, kernel, network), and the promise
still holds in the server's own log."""

SLACK_SECONDS = 0.04
"""How late the loop may come back without losing rate: two and a half of the 15.6 ms ticks of a Windows timer."""


class RateLimit:
    """Grants starts, by count and not by sleep; ``rate`` in starts a second, any positive number.

    Guarantee: any window of ``1 + JITTER_SECONDS`` seconds holds at most ``floor(rate)`` grants (below 1: any window of
    ``1 / rate`` seconds holds one), and so any one-second window in the log of a server that sees starts up to
    ``JITTER_SECONDS`` late. It holds across restarts without stored state: a new limit starts as if all grants had just
    been used up. A caller that comes at least every ``SLACK_SECONDS`` gets ``1 / (1 + JITTER + SLACK)`` = 91 % of
    ``floor(rate)``; a fraction above a whole number can't be used within one second.

    The generic cell rate algorithm (ITU-T I.371): n + 1 grants take at least n intervals less the slack.
    """

    __slots__ = ("_from", "_interval", "rate")

    def __init__(self, rate: float, now: float) -> None:
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"a rate is a positive number of requests a second, not {rate!r}")
        self.rate = rate
        window = max(1.0, 1.0 / rate)
        self._interval = (window + JITTER_SECONDS + SLACK_SECONDS) / max(1, math.floor(rate))
        self._from = now + self._interval

    def take(self, now: float) -> bool:
        """True when a request may start now; it is then counted."""
        since = self._from
        if now < since:
            return False
        idle = now - SLACK_SECONDS
        self._from = (since if since > idle else idle) + self._interval
        return True

    def ready_in(self, now: float) -> float:
        """Seconds until ``take`` can be true; 0.0 when it is."""
        return self._from - now if now < self._from else 0.0

    def __repr__(self) -> str:
        return f"RateLimit({self.rate:g}/s)"
