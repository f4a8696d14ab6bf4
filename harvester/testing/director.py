"""Which rule of a script answers a request, and when the server is beyond its capacity."""

from __future__ import annotations

from collections import Counter

from harvester.testing.log import Asked, RequestLog
from harvester.testing.script import Rule, Script


class Director:
    """Decides which rule answers a request. Pure but for its counters: no clock, no I/O."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._used: Counter[int] = Counter()

    def choose(self, asked: Asked, log: RequestLog, started: float) -> tuple[Rule | None, int | None, float]:
        """The rule that answers, its index (-1: the capacity), and seconds of latency before it."""
        latency = self.script.latency if asked.kind in ("tile", "tilemap") else 0.0
        for index, rule in enumerate(self.script.rules):
            if rule.times is not None and self._used[index] >= rule.times:
                continue
            draw = self.script.draw(index, asked) if rule.share < 1 else 0.0
            if rule.fits(asked, started=started, draw=draw):
                self._used[index] += 1
                return rule, index, latency + rule.delay
        over = self._beyond_capacity(asked, log)
        capacity = self.script.capacity
        if not over or capacity is None:
            return None, None, latency
        if capacity.beyond == "latency":
            return None, -1, latency + capacity.latency * over
        return Rule(do="status", status=int(capacity.beyond), retry_after=capacity.retry_after), -1, latency

    def _beyond_capacity(self, asked: Asked, log: RequestLog) -> int:
        """By how many requests the knee is passed."""
        capacity = self.script.capacity
        if capacity is None or asked.kind not in ("tile", "tilemap"):
            return 0
        over = asked.concurrency - capacity.concurrent if capacity.concurrent is not None else 0
        if capacity.rate is not None:
            over = max(over, log.in_last(asked.at, 1.0) - capacity.rate)
        return max(0, over)
