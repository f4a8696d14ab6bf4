"""What a level of requests in flight is doing, and how many answers in how much time tell what comes of it."""

from __future__ import annotations

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
