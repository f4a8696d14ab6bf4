"""What a level of requests in flight is doing, and the run of answers that tells what comes of it."""

from __future__ import annotations

import math
from enum import StrEnum

RAMP_ANSWERS = 12
"""Fewest answers of a window while ramping up: three rounds at the start."""

RAMP_SECONDS = 0.5
"""Or as many as come in this time, where a round takes so long."""

LONG_SECONDS = 0.25
"""Latency from which half a round is enough: the ramp takes eight rounds instead of sixteen."""

HOLD_ANSWERS = 64
"""Fewest answers of a window while holding a level: a mean over 64 varies by an eighth of one answer's spread."""

HOLD_SECONDS = 8.0
"""Or as many as come in this time, two rounds at least: where one takes a second, 64 are a minute."""

WINDOW_SECONDS = 0.04
"""Shortest window: below it one stall of our own loop is a host's throughput."""

PROBE_SECONDS = 0.5
"""Shortest window of a probe: hosts that count requests a second need a while to object."""

PAUSED_SECONDS = 1.05
"""Shortest window of either where refusals cost pauses: what is counted by the second has come back in each."""


class Mode(StrEnum):
    """What the level is doing."""

    RAMP = "ramp"
    SEEK = "seek"
    HOLD = "hold"
    PROBE = "probe"
    DIP = "dip"


def answers_needed(mode: Mode, limit: int, latency: float) -> int:
    """Answers of a window at this level, where they take so many seconds in the mean."""
    if mode in (Mode.RAMP, Mode.SEEK):
        rounds = RAMP_SECONDS / max(latency, 0.001)
        need = limit if latency < LONG_SECONDS or mode is Mode.SEEK else limit // 2
        return max(need, min(RAMP_ANSWERS, int(limit * rounds)))
    rounds = HOLD_SECONDS / max(latency, 0.001)
    return max(2 * limit, min(HOLD_ANSWERS, int(limit * rounds)))


def seconds_needed(mode: Mode, *, pauses: bool) -> float:
    """And its shortest time."""
    if pauses and mode in (Mode.SEEK, Mode.PROBE):
        return PAUSED_SECONDS
    return PROBE_SECONDS if mode is Mode.PROBE else WINDOW_SECONDS


class Window:
    """A run of answers at one level. It begins once those of the level before have drained (``settling``), and after a
    pause once the level was filled again. The owner adds up ``answers``, ``faults`` and ``seconds`` until ``need``."""

    __slots__ = ("_rests_until", "answers", "down", "faults", "full", "need", "seconds", "settling", "since")

    def __init__(self) -> None:
        self.answers = 0
        self.faults = 0
        self.seconds = 0.0
        """What the whole answers took."""
        self.need = 1
        self.full = False
        """Whether one more than the level was wanted."""
        self.settling = True
        self.down = False
        """The last change was downwards: what is throttled while settling was started before it."""
        self.since = math.nan
        """When it began; not known before the first answer."""
        self._rests_until = -math.inf  # end of the last pause

    @property
    def pauses(self) -> bool:
        """True where refusals cost pauses."""
        return self._rests_until > -math.inf

    def begin(self, now: float, need: int) -> None:
        """From now on."""
        self.settling = False
        self.since = now
        self.answers = self.faults = 0
        self.seconds = 0.0
        self.full = False
        self.need = need

    def settle(self, before: int) -> None:
        """After what was in flight at the level before."""
        self.settling = True
        self.need = max(1, before - 1)

    def settled(self, now: float, limit: int, need: int) -> None:
        """What was in flight has been answered. In a pause that was all there was."""
        if self.since < self._rests_until or now < self._rests_until:
            self._fill(now, limit)
        else:
            self.begin(now, need)

    def rest(self, now: float, until: float, limit: int) -> None:
        """Nothing is asked until then."""
        self._rests_until = until
        if not self.settling:
            self._fill(now, limit)

    def _fill(self, now: float, limit: int) -> None:
        self.settling, self.down = True, False
        self.since = max(now, self._rests_until)
        self.answers = self.faults = 0
        self.seconds = 0.0
        self.need = limit

    def missing(self, now: float, mode: Mode, limit: int, latency: float) -> int:
        """Answers that it needs beyond those that it needed, 0 if it has lasted long enough."""
        elapsed, least = self.lasted(now, mode, limit, latency), seconds_needed(mode, pauses=self.pauses)
        return max(1, int(self.answers * (least - elapsed) / max(elapsed, 0.01))) if elapsed < least else 0

    def lasted(self, now: float, mode: Mode, limit: int, latency: float) -> float:
        """Seconds for which its answers stand."""
        elapsed = now - self.since
        if mode is Mode.RAMP and latency >= LONG_SECONDS:
            # Half a round may come all at once: by Little's law it stands for so long.
            return max(elapsed, self.answers * latency / limit)
        return elapsed

    def __repr__(self) -> str:
        return f"Window({self.answers} of {self.need} answers{', settling' if self.settling else ''})"
